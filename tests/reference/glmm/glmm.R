# Generalised linear mixed models with one random intercept: lme4 (nAGQ = 25, 7 and 1) and glmmTMB
# (Laplace), their coefficients with z tests, contrasts on the link scale by emmeans and on the
# natural scale by R's integrate() and numDeriv. Draws its own synthetic tables (mice.csv,
# branches.csv; written once) and writes answers.json. Run from this folder:  Rscript glmm.R
suppressPackageStartupMessages({
  library(lme4); library(glmmTMB); library(numDeriv); library(emmeans); library(jsonlite)
})

keep <- function(name, make) {
  if (!file.exists(name)) {
    set.seed(sum(utf8ToInt(name)))
    write.csv(make(), name, row.names = FALSE, quote = FALSE)
  }
  read.csv(name, stringsAsFactors = TRUE)
}

# failures out of 30 escapable shocks per mouse before and after the drug; a few sessions lost.
# failures: mice differ and sessions vary beyond the binomial; quiet: no two mice differ.
mice <- keep("mice.csv", function() {
  d <- expand.grid(phase = c("helpless", "treated"), mouse = sprintf("m%02d", 1:22))
  id <- as.integer(d$mouse)
  d$drug <- c("ketamine", "saline")[1 + id %% 2]
  d$sex <- c("F", "M")[1 + (id %/% 2) %% 2]
  d$trials <- 30
  eta <- 1.0 - 1.6 * (d$drug == "ketamine" & d$phase == "treated") + 0.3 * (d$sex == "M")
  p <- plogis(eta + rnorm(22)[id])
  d$failures <- rbinom(nrow(d), 30, rbeta(nrow(d), 8 * p, 8 * (1 - p)))
  d$quiet <- rbinom(nrow(d), 30, plogis(eta))
  d[-c(5, 16, 39), ]
})
# new spines counted on stretches of dendrite of known length, branches within mice
branches <- keep("branches.csv", function() {
  d <- expand.grid(branch = 1:5, mouse = sprintf("m%02d", 1:12))
  id <- as.integer(d$mouse)
  d$arm <- c("control", "stress")[1 + id %% 2]
  d$length <- round(runif(nrow(d), 20, 60), 1)
  mu <- d$length * exp(-2.2 - 0.5 * (d$arm == "stress") + rnorm(12, 0, 0.5)[id])
  d$count <- rpois(nrow(d), mu)
  d$clumped <- rnbinom(nrow(d), mu = mu, size = 3)
  d[-c(7, 31), ]
})

# Newton steps from the packages' own optimum, which is too far for a comparison at 1e-6
polish <- function(value, gradient, par) {
  for (step in 1:30) {
    h <- jacobian(gradient, par); h <- (h + t(h)) / 2
    move <- solve(h, gradient(par))
    par <- par - move
    if (max(abs(move)) < 1e-10) break
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
  b <- length(fixef(m))
  if (isSingular(m, tol = 1e-4)) {
    beta <- function(x) f(c(0, x))
    best <- polish(beta, function(x) grad(beta, x), start[-1])
    out <- list(beta = best$par, sd = 0, covariance = square(2 * solve(hessian(beta, best$par))))
  } else {
    best <- polish(f, function(x) grad(f, x), start)
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

# questions: weights over the cells of the reference grid
sides <- function(v, plus, minus) (v == plus) - (v == minus)
mouse_questions <- list(
  list(contrast = list(drug = "saline - ketamine"),
       weight = function(g) sides(g$drug, "saline", "ketamine") / 4),
  list(contrast = list(drug = "saline - ketamine"), within = list(phase = "treated"),
       weight = function(g) sides(g$drug, "saline", "ketamine") * (g$phase == "treated") / 2),
  list(contrast = list(drug = "saline - ketamine", phase = "treated - helpless"),
       weight = function(g) sides(g$drug, "saline", "ketamine") * sides(g$phase, "treated", "helpless") / 2),
  list(contrast = list(drug = "ketamine"), within = list(phase = "treated"),
       weight = function(g) (g$drug == "ketamine") * (g$phase == "treated") / 2))
branch_questions <- list(
  list(contrast = list(arm = "stress - control"), weight = function(g) sides(g$arm, "stress", "control")),
  list(contrast = list(arm = "stress"), weight = function(g) 1 * (g$arm == "stress")))

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

answer <- function(name, engine, data, outcome, trials, fixed, offset, family, nodes, questions) {
  left <- if (is.null(trials)) outcome else sprintf("cbind(%s, %s - %s)", outcome, trials, outcome)
  spec <- list(formula = sprintf("%s ~ %s%s + (1 | mouse)", left, fixed, offset), family = family,
               data = get(data), nodes = nodes)
  got <- if (engine == "lme4") by_lme4(spec) else by_glmmtmb(spec)
  cat(name, engine, nodes, "score", format(got$score), "\n")
  out <- got$out
  b <- length(out$beta)
  se <- sqrt(diag(do.call(rbind, out$covariance)))[1:b]
  terms <- colnames(model.matrix(as.formula(paste("~", fixed)), get(data)))
  tests <- list(terms = terms, se = se, z = out$beta / se, p = 2 * pnorm(-abs(out$beta / se)))
  asked <- ask(questions, fixed, get(data), out, family)
  c(list(name = name, engine = engine, nodes = nodes, table = paste0(data, ".csv"),
         outcome = outcome, trials = trials, group = "mouse", r_formula = spec$formula),
    out, tests, list(asked = asked))
}

mouse_model <- function(name, engine, family, nodes, outcome = "failures")
  answer(name, engine, "mice", outcome, "trials", "drug * phase + sex", "", family, nodes,
         mouse_questions)
branch_model <- function(name, engine, family, nodes, outcome)
  answer(name, engine, "branches", outcome, NULL, "arm", " + offset(log(length))", family, nodes,
         branch_questions)
models <- list(
  mouse_model("mice", "lme4", binomial(), 25), mouse_model("mice", "lme4", binomial(), 7),
  mouse_model("mice", "lme4", binomial(), 1), mouse_model("mice", "glmmTMB", binomial(), 1),
  mouse_model("mice_probit", "lme4", binomial("probit"), 25),
  mouse_model("mice_quiet", "lme4", binomial(), 25, "quiet"),
  mouse_model("mice_overdispersed", "glmmTMB", betabinomial(), 1),
  branch_model("branches", "lme4", poisson(), 25, "count"),
  branch_model("branches", "lme4", poisson(), 7, "count"),
  branch_model("branches", "lme4", poisson(), 1, "count"),
  branch_model("branches", "glmmTMB", poisson(), 1, "count"),
  branch_model("branches_clumped", "lme4", poisson(), 25, "clumped"),
  branch_model("branches_overdispersed", "glmmTMB", nbinom2(), 1, "clumped"))

used <- c("lme4", "glmmTMB", "TMB", "numDeriv", "emmeans", "jsonlite")
versions <- c(list(R = as.character(getRversion())),
              lapply(setNames(used, used), function(p) as.character(packageVersion(p))))
out <- list(schema = 1, software = versions, models = models)
write(toJSON(out, auto_unbox = TRUE, digits = I(15), pretty = TRUE, null = "null"), "answers.json")
