# Population-averaged models by geepack, their natural-scale contrasts by emmeans, small-sample
# covariances and Satterthwaite df of Gaussian ones by clubSandwich. Draws its own synthetic table
# (mice.csv, written once) and writes answers.json. Run from this folder:  Rscript gee.R
suppressPackageStartupMessages({
  library(geepack); library(emmeans); library(clubSandwich); library(nlme); library(jsonlite)
})
options(contrasts = c("contr.treatment", "contr.poly"))

if (!file.exists("mice.csv")) {
  set.seed(20240705)
  d <- expand.grid(occasion = 1:3, mouse = 1:18)
  d$drug <- c("A", "B", "C")[1 + d$mouse %% 3]; d$sex <- c("F", "M")[1 + (d$mouse %/% 3) %% 2]
  d$time <- c("pre", "h1", "h24")[d$occasion]
  own <- rnorm(18, 0, 0.7)[d$mouse]
  effect <- 0.8 * (d$drug == "B") * (d$time == "h24") - 0.4 * (d$time == "h1")
  d$trials <- sample(8:30, nrow(d), TRUE)
  d$failures <- rbinom(nrow(d), d$trials, plogis(-0.3 + effect + own + rnorm(nrow(d), 0, 0.3)))
  d$escaped <- rbinom(nrow(d), 1, plogis(0.4 + effect + own))
  d$minutes <- sample(c(5, 10, 20), nrow(d), TRUE)
  d$bouts <- rpois(nrow(d), d$minutes * exp(-0.6 + effect + own + rnorm(nrow(d), 0, 0.4)))
  d$y <- round(20 + 4 * effect + 3 * own + rnorm(nrow(d)), 3)
  d$occasion <- NULL
  d <- d[runif(nrow(d)) > 0.1, ]
  write.csv(d, "mice.csv", row.names = FALSE, quote = FALSE)
}
d <- read.csv("mice.csv")
d$drug <- factor(d$drug); d$sex <- factor(d$sex); d$time <- factor(d$time, levels = c("pre", "h1", "h24"))
d$share <- d$failures / d$trials
tight <- geese.control(epsilon = 1e-13, maxit = 500)

fit <- function(outcome, corstr) {
  call <- switch(outcome,
    y = quote(geeglm(y ~ drug * time + sex, gaussian, d, id = mouse, corstr = corstr, control = tight)),
    escaped = quote(geeglm(escaped ~ drug + time + sex, binomial, d, id = mouse, corstr = corstr,
                           control = tight)),
    failures = quote(geeglm(share ~ drug * time + sex, binomial, d, weights = trials, id = mouse,
                            corstr = corstr, control = tight)),
    bouts = quote(geeglm(bouts ~ drug * time + sex + offset(log(minutes)), poisson, d, id = mouse,
                         corstr = corstr, control = tight)))
  suppressWarnings(eval(call))
}
# one contrast of each kind, on the natural scale: B - A at 24 h, and how much more than before
natural <- function(m, interacts) {
  g <- if (interacts) ~ drug * time else ~ drug
  e <- regrid(emmeans(m, c("drug", "time", "sex"), vcov.method = "vbeta", offset = 0), "response")
  e <- emmeans(e, g)
  w <- if (interacts) list(at_24 = c(0, 0, 0, 0, 0, 0, -1, 1, 0), change = c(1, -1, 0, 0, 0, 0, -1, 1, 0))
       else list(drug = c(-1, 1, 0))
  s <- as.data.frame(contrast(e, w))
  setNames(lapply(seq_len(nrow(s)), function(i) list(estimate = s$estimate[i], se = s$SE[i])), names(w))
}
answers <- list()
for (outcome in c("y", "escaped", "failures", "bouts")) for (corstr in c("independence", "exchangeable")) {
  m <- fit(outcome, corstr); s <- summary(m)
  answers[[length(answers) + 1]] <- list(outcome = outcome, working = corstr,
    correlation = if (corstr == "exchangeable") s$corr[["Estimate"]] else 0,
    estimate = as.list(coef(m)), se = as.list(setNames(s$coefficients[["Std.err"]], names(coef(m)))),
    natural = if (outcome != "y") natural(m, outcome != "escaped"))
}

# the Gaussian model as least squares, and as generalised least squares with geepack's correlation
alpha <- answers[[2]]$correlation
small <- function(m, type, cluster) {
  test <- coef_test(m, vcovCR(m, cluster = cluster, type = type), test = "Satterthwaite", coefs = "All")
  list(type = type, se = as.list(setNames(test$SE, names(coef(m)))),
       df = as.list(setNames(if (is.null(test$df)) test$df_Satt else test$df, names(coef(m)))))
}
ols <- lm(y ~ drug * time + sex, d)
gls <- gls(y ~ drug * time + sex, d, correlation = corCompSymm(alpha, form = ~ 1 | mouse, fixed = TRUE))
stopifnot(max(abs(coef(gls) / unlist(answers[[2]]$estimate) - 1)) < 1e-8)
corrected <- list(
  list(working = "independence", answers = lapply(c("CR0", "CR2", "CR3"), small, m = ols, cluster = d$mouse)),
  list(working = "exchangeable", answers = lapply(c("CR0", "CR3"), small, m = gls, cluster = d$mouse)))

used <- c("geepack", "emmeans", "clubSandwich", "nlme", "jsonlite")
versions <- c(list(R = as.character(getRversion())),
              lapply(setNames(used, used), function(p) as.character(packageVersion(p))))
write(toJSON(list(schema = 1, software = versions, models = answers, corrected = corrected),
             auto_unbox = TRUE, digits = I(15), pretty = TRUE, na = "null"), "answers.json")
