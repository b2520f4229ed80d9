# What glmm/glmm.R and families.R share: fits by lme4 and glmmTMB, ended by Newton steps, and their
# contrasts on both scales.
suppressPackageStartupMessages({
  library(lme4); library(glmmTMB); library(numDeriv); library(emmeans); library(jsonlite)
})

# Newton steps from the packages' own optimum, which is too far for a comparison at 1e-6
polish <- function(value, gradient, par, close = 1e-10) {
  for (step in 1:30) {
    h <- jacobian(gradient, par); h <- (h + t(h)) / 2
    move <- solve(h, gradient(par))
    par <- par - move
    if (max(abs(move)) < close) break
  }
  list(par = par, value = value(par), hessian = h, score = max(abs(gradient(par))))
}
square <- function(m) lapply(seq_len(nrow(m)), function(i) m[i, ])

by_lme4 <- function(spec) {
  control <- glmerControl(optimizer = "nloptwrap", calc.derivs = FALSE, tolPwrss = 1e-13,
                          check.conv.singular = "ignore",
                          optCtrl = list(xtol_abs = 1e-10, ftol_abs = 1e-14, maxeval = 1e5))
  m <- eval(bquote(glmer(.(as.formula(spec$formula)), .(spec$data), family = .(spec$family),
                         nAGQ = .(spec$nodes), control = control)))
  f <- update(m, devFunOnly = TRUE)
  start <- c(getME(m, "theta"), fixef(m))
  b <- length(fixef(m)); close <- if (is.null(spec$close)) 1e-10 else spec$close
  if (isSingular(m, tol = 1e-4)) {
    beta <- function(x) f(c(0, x))
    best <- polish(beta, function(x) grad(beta, x), start[-1], close)
    out <- list(beta = best$par, sd = 0, covariance = square(2 * solve(hessian(beta, best$par))))
  } else {
    best <- polish(f, function(x) grad(f, x), start, close)
    order <- c(1 + seq_len(b), 1)
    out <- list(beta = best$par[-1], sd = best$par[1],
                covariance = square(2 * solve(hessian(f, best$par))[order, order]))
  }
  out$deviance <- best$value
  # nAGQ = 1: -2 log-likelihood; more: less that of the saturated model
  saturated <- m@resp$aic() - sum(m@resp$devResid())
  if (spec$nodes > 1) out$deviance <- out$deviance + saturated
  out$loglik <- -out$deviance / 2
  list(out = out, score = best$score, model = m)
}

by_glmmtmb <- function(spec) {
  m <- glmmTMB(as.formula(spec$formula), spec$data, family = spec$family)
  o <- m$obj
  best <- polish(function(x) as.numeric(o$fn(x)), function(x) as.numeric(o$gr(x)), m$fit$par)
  par <- best$par
  beta <- which(names(par) == "beta"); disp <- which(names(par) == "betad")
  theta <- which(names(par) == "theta")
  out <- list(beta = unname(par[beta]), sd = unname(exp(par[theta])), loglik = -best$value)
  slope <- c(rep(1, length(beta)), out$sd)
  if (length(disp)) {
    size <- exp(par[[disp]])   # NB2: theta; beta-binomial: a + b
    out$dispersion <- if (spec$family$family == "nbinom2") 1 / size else 1 / (1 + size)
    slope <- c(slope, if (spec$family$family == "nbinom2") -1 / size else -size / (1 + size)^2)
  }
  at <- c(beta, theta, disp)
  out$covariance <- square(slope * t(slope * solve(best$hessian)[at, at]))
  list(out = out, score = best$score)
}

# emmeans takes the polished coefficients and their covariance (qdrg); an exposure is held at 1
ask <- function(questions, fixed, data, out, family) {
  b <- length(out$beta)
  vcov <- do.call(rbind, out$covariance)
  cells <- emmeans(qdrg(as.formula(paste("~", fixed)), data, coef = out$beta,
                        vcov = vcov[1:b, 1:b], df = Inf),
                   all.vars(as.formula(paste("~", fixed))))
  natural <- function(par, weight) {
    means <- sapply(cells@linfct %*% par[1:b], function(eta)
      integrate(function(v) family$linkinv(eta + par[b + 1] * v) * dnorm(v), -12, 12,
                rel.tol = 1e-12, subdivisions = 1000L)$value)
    sum(weight * means)
  }
  par <- c(out$beta, out$sd)
  at <- if (out$sd > 0) seq_len(b + 1) else seq_len(b)
  lapply(questions, function(q) {
    weight <- q$weight(cells@grid)
    link <- summary(contrast(cells, list(asked = weight)), infer = TRUE)
    slope <- grad(natural, par, weight = weight)[at]
    q$weight <- NULL
    c(q, list(
      link = list(estimate = link$estimate, se = link$SE, z = link$z.ratio, p = link$p.value,
                  ci_low = link$asymp.LCL, ci_high = link$asymp.UCL),
      natural = list(estimate = natural(par, weight),
                     se = sqrt(c(slope %*% vcov[at, at] %*% slope)))))
  })
}
