# Generalised linear mixed models with branches within mice: lme4 (Laplace) and glmmTMB (Laplace).
# Draws its own synthetic table (nested.csv, written once) and writes nested.json.
# The probit is glmmTMB's: lme4 takes the expected curvature at the mode, which for other than
# canonical links is another approximation. Run from this folder:  Rscript nested.R
source("../glmm_common.R")

if (!file.exists("nested.csv")) {
  set.seed(20261121)
  d <- expand.grid(stretch = 1:3, branch = 1:4, mouse = sprintf("m%02d", 1:14))
  mouse <- as.integer(d$mouse); branch <- as.integer(interaction(d$mouse, d$branch, drop = TRUE))
  d$arm <- c("control", "stress")[1 + mouse %% 2]
  d$length <- round(runif(nrow(d), 4, 12), 1)
  d$trials <- sample(8:14, nrow(d), TRUE)
  own <- rnorm(14, 0, 0.7)[mouse] + rnorm(56, 0, 0.6)[branch]
  mu <- d$length * exp(-0.8 - 0.4 * (d$arm == "stress") + own)
  p <- plogis(0.4 - 0.5 * (d$arm == "stress") + own)
  d$count <- rpois(nrow(d), mu)
  d$clumped <- rnbinom(nrow(d), mu = mu, size = 3)
  d$mature <- rbinom(nrow(d), d$trials, p)
  d$uneven <- rbinom(nrow(d), d$trials, rbeta(nrow(d), 7 * p, 7 * (1 - p)))
  write.csv(d[-c(4, 40:42, 77), ], "nested.csv", row.names = FALSE, quote = FALSE)
}
d <- read.csv("nested.csv", stringsAsFactors = TRUE)
d$branch <- factor(d$branch)

random <- " + (1 | mouse) + (1 | mouse:branch)"

# parameters: beta, sd of mice, (dispersion,) sd of branches
nested_lme4 <- function(formula, family) {
  control <- glmerControl(optimizer = "nloptwrap", calc.derivs = FALSE, tolPwrss = 1e-13,
                          optCtrl = list(xtol_abs = 1e-10, ftol_abs = 1e-14, maxeval = 1e5))
  m <- eval(bquote(glmer(.(as.formula(formula)), d, family = .(family), nAGQ = 1, control = control)))
  f <- update(m, devFunOnly = TRUE)
  best <- polish(f, function(x) grad(f, x), c(getME(m, "theta"), fixef(m)))
  b <- length(fixef(m))
  terms <- names(getME(m, "theta"))
  mouse <- which(terms == "mouse.(Intercept)"); branch <- which(terms == "mouse:branch.(Intercept)")
  order <- c(2 + seq_len(b), mouse, branch)
  list(beta = best$par[-(1:2)], sd = best$par[mouse], inner_sd = best$par[branch],
       loglik = -best$value / 2, score = best$score,
       covariance = square(2 * solve(hessian(f, best$par))[order, order]))
}

nested_glmmtmb <- function(formula, family) {
  m <- glmmTMB(as.formula(formula), d, family = family)
  o <- m$obj
  best <- polish(function(x) as.numeric(o$fn(x)), function(x) as.numeric(o$gr(x)), m$fit$par)
  par <- best$par
  beta <- which(names(par) == "beta"); disp <- which(names(par) == "betad")
  theta <- which(names(par) == "theta")
  stopifnot(identical(names(m$modelInfo$reTrms$cond$cnms), c("mouse", "mouse:branch")))
  out <- list(beta = unname(par[beta]), sd = exp(par[[theta[1]]]), inner_sd = exp(par[[theta[2]]]),
              loglik = -best$value, score = best$score)
  slope <- c(rep(1, length(beta)), out$sd)
  if (length(disp)) {
    size <- exp(par[[disp]])
    counts <- family$family == "nbinom2"
    out$dispersion <- if (counts) 1 / size else 1 / (1 + size)
    slope <- c(slope, if (counts) -1 / size else -size / (1 + size)^2)
  }
  slope <- c(slope, out$inner_sd)
  at <- c(beta, theta[1], disp, theta[2])
  out$covariance <- square(slope * t(slope * solve(best$hessian)[at, at]))
  out
}

answer <- function(family, engine, outcome, trials, r_family) {
  left <- if (trials) sprintf("cbind(%s, trials - %s)", outcome, outcome) else outcome
  formula <- paste0(left, " ~ arm", if (!trials) " + offset(log(length))", random)
  got <- if (engine == "lme4") nested_lme4(formula, r_family) else nested_glmmtmb(formula, r_family)
  cat(family, engine, "score", format(got$score), "\n")
  c(list(family = family, engine = engine, outcome = outcome, r_formula = formula), got)
}
models <- list(
  answer("binomial", "lme4", "mature", TRUE, binomial()),
  answer("binomial", "glmmTMB", "mature", TRUE, binomial()),
  answer("binomial-probit", "glmmTMB", "mature", TRUE, binomial("probit")),
  answer("beta-binomial", "glmmTMB", "uneven", TRUE, betabinomial()),
  answer("poisson", "lme4", "count", FALSE, poisson()),
  answer("poisson", "glmmTMB", "count", FALSE, poisson()),
  answer("negative-binomial", "glmmTMB", "clumped", FALSE, nbinom2()))
used <- c("lme4", "glmmTMB", "TMB", "numDeriv", "jsonlite")
versions <- c(list(R = as.character(getRversion())),
              lapply(setNames(used, used), function(p) as.character(packageVersion(p))))
out <- list(schema = 1, software = versions, models = models)
write(toJSON(out, auto_unbox = TRUE, digits = I(15), pretty = TRUE, null = "null"), "nested.json")
