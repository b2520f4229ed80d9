# Random effects of lme4 at its REML estimates, for tests/bayesian/exact/test_exact_subjects.py.
# Run in this folder: Rscript exact_effects.R. Writes exact_effects.csv and exact_effects.json.
library(lme4)
library(jsonlite)

set.seed(20240702)
data <- expand.grid(subject = sprintf("s%02d", 1:10), visit = 1:5)
person <- as.integer(data$subject)
u <- rnorm(10, 0, 3)
v <- rnorm(10, 0, 1.2)
data$x <- round(rnorm(50), 3)
data$drug <- ifelse((person + data$visit) %% 2 == 0, "A", "B")
data$y <- round(20 + 2 * (data$drug == "B") + u[person] + (1 + v[person]) * data$x + rnorm(50, 0, 1.5), 3)
data <- data[-c(3, 17, 41), c("subject", "drug", "x", "y")]
write.csv(data, "exact_effects.csv", row.names = FALSE, quote = FALSE)

answers <- function(formula) {
  fit <- lmer(formula, data, control = lmerControl(optCtrl = list(ftol_abs = 1e-14, xtol_abs = 1e-12)))
  g <- as.data.frame(VarCorr(fit))
  sds <- g$sdcor[is.na(g$var2) & g$grp == "subject"]
  rho <- g$sdcor[!is.na(g$var2)]
  effects <- ranef(fit, condVar = FALSE)$subject
  list(
    formula = paste(deparse(formula, width.cutoff = 200), collapse = ""),
    values = c(sds, rho, sigma(fit)),
    effects = lapply(split(effects, rownames(effects)), as.numeric)
  )
}
found <- list(intercept = answers(y ~ drug + x + (1 | subject)), slope = answers(y ~ drug + x + (1 + x | subject)))
found$versions <- list(R = as.character(getRversion()), lme4 = as.character(packageVersion("lme4")))
write(toJSON(found, digits = 12, auto_unbox = TRUE, pretty = TRUE), "exact_effects.json")
