# Repeated structures by nlme::gls, random slopes, adjusted means and pairs, type 1 and 2 tables,
# predictions. Draws its own synthetic tables (features/*.csv, written once) and writes
# features/answers.json. Run from this folder:  Rscript features.R
source("common.R")
suppressPackageStartupMessages(library(nlme))
folder <- "features"

keep <- function(name, make) {
  path <- file.path(folder, name)
  if (!file.exists(path)) {
    set.seed(sum(utf8ToInt(name)))
    write.csv(make(), path, row.names = FALSE, quote = FALSE)
  }
  d <- read.csv(path, stringsAsFactors = TRUE)
  d$subject <- if (!is.null(d$subject)) factor(d$subject)
  d
}

repeated <- keep("repeated.csv", function() {
  d <- expand.grid(visit = 1:4, subject = 1:30)
  d$sex <- c("F", "M")[1 + d$subject %% 2]; d$arm <- c("A", "B")[1 + (d$subject %/% 2) %% 2]
  sd <- c(1, 1.4, 1.8, 2.4)
  z <- unlist(lapply(1:30, function(i) as.numeric(arima.sim(list(ar = 0.6), 4)) * 0.8 * sd))
  d$y <- round(10 + d$visit + (d$arm == "B") + z * ifelse(d$sex == "M", 1.5, 1), 4)
  d[runif(nrow(d)) > 0.1, ]
})
flat <- keep("flat.csv", function() {   # subjects differ in level, not in slope
  d <- expand.grid(time = 0:4, subject = 1:12)
  d$arm <- c("A", "B")[1 + d$subject %% 2]
  d$y <- round(5 + 0.5 * d$time + rnorm(12, 0, 2)[d$subject] + rnorm(nrow(d)), 4)
  d[runif(nrow(d)) > 0.08, ]
})
slopes <- keep("slopes.csv", function() {
  d <- expand.grid(time = 0:4, subject = 1:16)
  d$arm <- c("A", "B")[1 + d$subject %% 2]
  d$y <- round(5 + (0.5 + 0.4 * (d$arm == "B") + rnorm(16, 0, 0.9)[d$subject]) * d$time +
                 rnorm(16, 0, 2)[d$subject] + rnorm(nrow(d)), 4)
  d[runif(nrow(d)) > 0.08, ]
})
litters <- keep("litters.csv", function() {
  d <- expand.grid(cell = 1:3, mouse = 1:4, litter = 1:8)   # mice numbered within litters
  d$arm <- c("A", "B")[1 + d$litter %% 2]
  id <- (d$litter - 1) * 4 + d$mouse
  d$y <- round(3 + (d$arm == "B") + rnorm(8)[d$litter] + rnorm(32, 0, 0.8)[id] + rnorm(nrow(d)), 4)
  d[runif(nrow(d)) > 0.1, c("litter", "mouse", "cell", "arm", "y")]
})
arms <- keep("arms.csv", function() {
  d <- expand.grid(treatment = c("A", "B", "C"), subject = 1:18)
  d$sex <- c("F", "M")[1 + d$subject %% 2]
  d$base <- round(rnorm(18, 50, 5)[d$subject] + rnorm(nrow(d)), 3)
  d$y <- round(2 + c(A = 0, B = 1, C = 1.6)[as.character(d$treatment)] + 0.2 * d$base +
                 rnorm(18, 0, 1.5)[d$subject] + rnorm(nrow(d)), 4)
  d[runif(nrow(d)) > 0.1, c("subject", "sex", "treatment", "base", "y")]
})

# ---- gls ---------------------------------------------------------------------------------------
visit <- varIdent(form = ~ 1 | visit)
structures <- list(
  cs = list(corCompSymm(form = ~ visit | subject), NULL), ar1 = list(corAR1(form = ~ visit | subject), NULL),
  csh = list(corCompSymm(form = ~ visit | subject), visit), arh1 = list(corAR1(form = ~ visit | subject), visit),
  un = list(corSymm(form = ~ visit | subject), visit), `by sex` = list(NULL, varIdent(form = ~ 1 | sex)))
tight <- glsControl(tolerance = 1e-10, msTol = 1e-14, msMaxIter = 1000, maxIter = 500)

# gls stops about 3e-5 standard errors from the maximum: Newton steps on log ratios of the standard
# deviations and Fisher's z of the correlations follow, with the structure held at given values.
at_values <- function(name, method, par) {
  s <- structures[[name]]; correlation <- s[[1]]; weights <- s[[2]]
  n_w <- if (is.null(weights)) 0 else if (name == "by sex") 1 else 3
  ratio <- exp(head(par, n_w)); corr <- tanh(tail(par, length(par) - n_w))
  if (n_w) {
    names(ratio) <- if (name == "by sex") setdiff(unique(repeated$sex), repeated$sex[1]) else
      setdiff(unique(repeated$visit), repeated$visit[1])
    weights <- varIdent(form = formula(weights), fixed = ratio)
  }
  if (length(corr)) correlation <- switch(class(correlation)[1],
    corAR1 = corAR1(corr, form = ~ visit | subject, fixed = TRUE),
    corCompSymm = corCompSymm(corr, form = ~ visit | subject, fixed = TRUE),
    corSymm = corSymm(corr, form = ~ visit | subject, fixed = TRUE))
  gls(y ~ arm * factor(visit) + sex, repeated, correlation = correlation, weights = weights,
      method = method)
}

gls_answer <- function(name, method) {
  s <- structures[[name]]
  m <- gls(y ~ arm * factor(visit) + sex, repeated, correlation = s[[1]], weights = s[[2]],
           method = method, control = tight)
  ratio <- if (is.null(s[[2]])) NULL else coef(m$modelStruct$varStruct, unconstrained = FALSE)
  corr <- if (is.null(s[[1]])) NULL else unname(coef(m$modelStruct$corStruct, unconstrained = FALSE))
  par <- c(log(as.numeric(unname(ratio))), atanh(as.numeric(corr)))
  value <- function(z) as.numeric(logLik(at_values(name, method, z)))
  stopifnot(abs(value(par) - as.numeric(logLik(m))) < 1e-8)
  for (step in 1:4) par <- par - solve(numDeriv::hessian(value, par), numDeriv::grad(value, par))
  last <- at_values(name, method, par)
  stopifnot(as.numeric(logLik(last)) > as.numeric(logLik(m)) - 1e-10)
  n_w <- length(ratio)
  sd <- c(1, exp(head(par, n_w)))
  names(sd) <- if (!n_w) "all" else c(as.character(if (name == "by sex") repeated$sex[1] else
    repeated$visit[1]), names(ratio))
  list(structure = name, method = method, log_likelihood = as.numeric(logLik(last)),
       estimate = as.list(coef(last)), se = as.list(sqrt(diag(vcov(last)))),
       variance = as.list((last$sigma * sd)^2), correlation = as.list(tanh(tail(par, length(par) - n_w))))
}
gls_answers <- list()
for (name in names(structures)) for (method in c("REML", "ML"))
  gls_answers[[length(gls_answers) + 1]] <- gls_answer(name, method)

# ---- random slopes and nesting -----------------------------------------------------------------
mixed <- function(name, d, formula, REML = TRUE) {
  m <- eval(bquote(lmerTest::lmer(.(as.formula(formula)), d, REML = REML, control = control)))
  v <- as.data.frame(VarCorr(m))
  out <- list(name = name, r_formula = formula, singular = isSingular(m, tol = 1e-5),
       log_likelihood = as.numeric(logLik(m)), aic = AIC(m), bic = BIC(m),
       variance = lapply(seq_len(nrow(v)), function(i) list(
         group = v$grp[i], first = v$var1[i], second = v$var2[i], value = v$vcov[i])),
       fitted = unname(fitted(m)))
  if (REML) out$coefficients <- coefficient_list(m)
  list(answer = out, model = m)
}
models <- list(
  mixed("flat", flat, "y ~ arm * time + (1 + time | subject)"),
  mixed("correlated", slopes, "y ~ arm * time + (1 + time | subject)"),
  mixed("uncorrelated", slopes, "y ~ arm * time + (1 | subject) + (0 + time | subject)"),
  mixed("litters", litters, "y ~ arm + (1 | litter/mouse)"),
  mixed("ml", slopes, "y ~ arm * time + (1 + time | subject)", REML = FALSE))

# ---- means, pairs, tables ----------------------------------------------------------------------
a <- mixed("arms", arms, "y ~ treatment * sex + base + (1 | subject)")
m <- a$model
rows <- function(g) { r <- as.data.frame(g); lapply(seq_len(nrow(r)), function(i) as.list(r[i, ])) }
by <- c(satterthwaite = "satterthwaite", kenward_roger = "kenward-roger")
means <- lapply(by, function(b) rows(emmeans(m, ~ treatment * sex, lmer.df = b, data = arms)))
pairs_of <- function(b) {
  e <- emmeans(m, "treatment", lmer.df = b, data = arms)
  men <- emmeans(m, "treatment", at = list(sex = "M"), lmer.df = b, data = arms)
  p <- lapply(setNames(nm = c("tukey", "holm", "bonferroni", "none")), function(adjust)
    rows(summary(contrast(e, "revpairwise"), infer = c(FALSE, TRUE), adjust = adjust)))
  p$men_tukey <- rows(summary(contrast(men, "revpairwise"), infer = c(FALSE, TRUE), adjust = "tukey"))
  p
}
tables <- lapply(c(satterthwaite = "Satterthwaite", kenward_roger = "Kenward-Roger"), function(ddf) {
  one <- function(d) setNames(lapply(seq_len(nrow(d)), function(i) list(
    num_df = d$NumDF[i], den_df = d$DenDF[i], F = d[["F value"]][i], p = d[["Pr(>F)"]][i])), rownames(d))
  list(`1` = one(anova(m, type = "I", ddf = ddf)), `2` = one(anova(m, type = "II", ddf = ddf)),
       `3` = type3(m)[[if (ddf == "Satterthwaite") 1 else 2]])
})
L <- rbind(c(0, 1, 0, 0, 0, 0.5, 0), c(0, 0, 1, 0, 0, 0, 0.5), c(0, 0, 0, 1, 0, 0.25, -0.5))
colnames(L) <- names(fixef(m))
joint <- lapply(c(satterthwaite = "Satterthwaite", kenward_roger = "Kenward-Roger"), function(ddf) {
  f <- contestMD(m, L, ddf = ddf)
  list(num_df = f$NumDF, den_df = f$DenDF, F = f[["F value"]], p = f[["Pr(>F)"]])
})
# a covariate that interacts with a factor: which terms contain which
covariate <- mixed("slopes_by_time", slopes, "y ~ arm * time + (1 | subject)")$model
type2 <- anova(covariate, type = "II", ddf = "Satterthwaite")

used <- c("lme4", "lmerTest", "pbkrtest", "emmeans", "nlme", "numDeriv", "jsonlite")
versions <- c(list(R = as.character(getRversion())),
              lapply(setNames(used, used), function(p) as.character(packageVersion(p))))
out <- list(schema = 1, software = versions, gls = gls_answers,
            models = lapply(c(models, list(a)), function(x) x$answer), means = means,
            pairs = lapply(by, pairs_of), tables = tables,
            joint = c(list(terms = colnames(L), rows = L), joint),
            covariate_type2 = setNames(lapply(1:3, function(i) list(num_df = type2$NumDF[i],
              den_df = type2$DenDF[i], F = type2[["F value"]][i], p = type2[["Pr(>F)"]][i])), rownames(type2)))
write(toJSON(out, auto_unbox = TRUE, digits = I(15), pretty = TRUE, na = "null"), file.path(folder, "answers.json"))
