# The studies' own formulas on stored synthetic draws, and a partially nested design: lmer where the
# formula has a random term, lm where it has none, nlme where rows of a subject have a structure of
# their own. Run from this folder:  Rscript studies.R
source("common.R")
suppressPackageStartupMessages(library(nlme))

# ---- no random term ----------------------------------------------------------------------------
by_lm <- function(model, folder, levels) {
  cat(model$name, "(lm)\n")
  d <- droplevels(rows_of(model, folder, levels))
  f <- as.formula(paste(model$outcome, "~", model$formula))
  m <- lm(f, d)
  s <- coef(summary(m)); df <- m$df.residual
  tests <- drop1(lm(f, d, contrasts = lapply(Filter(is.factor, d[all.vars(f)]), function(v) "contr.sum")),
                 . ~ ., test = "F")[-1, ]
  factors <- all.vars(f)[-1]
  grid <- emmeans(m, factors, data = d)
  cells <- as.data.frame(grid)[factors]
  list(name = model$name, r_formula = deparse1(f), n_obs = nobs(m), singular = FALSE,
       minus2_reml_loglik = as.numeric(-2 * logLik(m, REML = TRUE)),
       variance = list(residual = sigma(m)^2),
       coefficients = lapply(rownames(s), function(i) list(name = i, estimate = s[i, 1],
         residual = list(se = s[i, 2], df = df, p = s[i, 4]))),
       type3 = list(residual = setNames(lapply(seq_len(nrow(tests)), function(i) list(
         num_df = tests$Df[i], den_df = df, F = tests[["F value"]][i], p = tests[["Pr(>F)"]][i])),
         rownames(tests))),
       estimands = lapply(model$estimands, function(e) {
         r <- as.data.frame(contrast(grid, list(cell_weights(cells, e))))
         list(name = e$name, residual = list(estimate = r$estimate, se = r$SE, df = r$df, p = r$p.value))
       }))
}

# ---- residual structures -----------------------------------------------------------------------
# nlme searches and gives no Kenward-Roger. Its maximum is too far off for a comparison at 1e-6: Newton
# steps on the likelihood written out here follow, which must be nlme's own where nlme stopped.
# par -> the covariance of the levels of the repeated factor, for a subject in group g
structures <- list(
  ar1 = function(par, levels, g) exp(par[1]) + exp(par[2]) * tanh(par[3])^abs(outer(levels, levels, "-")),
  un = function(par, levels, g) {
    k <- max(levels); L <- matrix(0, k, k)
    L[lower.tri(L, TRUE)] <- par
    tcrossprod(L)[levels, levels]
  },
  by = function(par, levels, g) exp(par[1]) + diag(exp(par[1 + g]), length(levels)))

reml <- function(par, structure, parts, p) {
  total <- Reduce(function(a, b) Map(`+`, a, b), lapply(parts, function(s) {
    R <- chol(structure(par, s$level, s$group))
    x <- backsolve(R, s$x, transpose = TRUE); y <- backsolve(R, s$y, transpose = TRUE)
    list(xx = crossprod(x), xy = crossprod(x, y), yy = sum(y^2), log = 2 * sum(log(diag(R))))
  }))
  n <- sum(vapply(parts, function(s) length(s$y), 1))
  b <- solve(total$xx, total$xy)
  list(value = -0.5 * ((n - p) * log(2 * pi) + total$log + total$yy - sum(b * total$xy) +
                         as.numeric(determinant(total$xx)$modulus)),
       b = drop(b), covariance = solve(total$xx))
}

searched <- function(kind, f, d, by) {
  tight <- list(tolerance = 1e-9, msTol = 1e-12, msMaxIter = 2000, maxIter = 500, niterEM = 100,
                msVerbose = FALSE, returnObject = TRUE)
  d$at <- as.integer(d[[by]])
  var_of <- function(m) as.numeric(VarCorr(m)[1, 1])
  if (kind == "ar1") {
    m <- eval(bquote(lme(.(f), d, ~ 1 | subject, corAR1(form = ~ at | subject), control = do.call(lmeControl, tight))))
    rho <- coef(m$modelStruct$corStruct, unconstrained = FALSE)
    par <- c(log(var_of(m)), 2 * log(m$sigma), atanh(rho))
  } else if (kind == "by") {
    m <- eval(bquote(lme(.(f), d, ~ 1 | subject, weights = varIdent(form = .(as.formula(paste("~ 1 |", by)))),
                         control = do.call(lmeControl, tight))))
    ratio <- coef(m$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)[levels(d[[by]])]
    par <- c(log(var_of(m)), 2 * log(m$sigma * ratio))
  } else {
    k <- nlevels(d[[by]])
    m <- eval(bquote(gls(.(f), d, corSymm(form = ~ at | subject), varIdent(form = .(as.formula(paste("~ 1 |", by)))),
                         control = glsControl(tolerance = 1e-9, msTol = 1e-12, msMaxIter = 5000,
                                              maxIter = 500, returnObject = TRUE))))
    R <- diag(k); R[lower.tri(R)] <- coef(m$modelStruct$corStruct, unconstrained = FALSE)
    R <- R + t(R) - diag(k)
    sd <- m$sigma * coef(m$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)[levels(d[[by]])]
    L <- t(chol(R * outer(sd, sd)))
    par <- L[lower.tri(L, TRUE)]
  }
  list(par = unname(par), value = as.numeric(logLik(m)))
}

named_variances <- function(kind, par, levels) switch(kind,
  ar1 = list(subject = exp(par[1]), residual = exp(par[2]), rho = tanh(par[3])),
  by = c(list(subject = exp(par[1])), setNames(as.list(exp(par[-1])), paste("residual", levels))),
  un = {
    k <- length(levels); L <- matrix(0, k, k); L[lower.tri(L, TRUE)] <- par; V <- tcrossprod(L)
    pairs <- which(lower.tri(V, TRUE), arr.ind = TRUE)
    setNames(as.list(V[pairs]), apply(pairs, 1, function(i) if (i[1] == i[2]) levels[i[1]] else
      paste(levels[i[2]], levels[i[1]], sep = ", ")))
  })

by_nlme <- function(model, folder, levels) {
  cat(model$name, "(nlme)\n")
  d <- droplevels(rows_of(model, folder, levels))
  kind <- sub("[ (].*", "", model$residual)
  by <- sub("^by ", "", sub("^[a-z0-9]+\\((.*) \\| subject\\)$", "\\1", model$residual))
  fixed <- sub(" + (1 | subject)", "", model$formula, fixed = TRUE)
  stopifnot(grepl("|", fixed, fixed = TRUE) == FALSE, (fixed == model$formula) == (kind == "un"))
  f <- as.formula(paste(model$outcome, "~", fixed))
  X <- model.matrix(f, d); level <- as.integer(d[[by]])
  parts <- lapply(split(seq_len(nrow(d)), d$subject, drop = TRUE), function(i)
    list(x = X[i, , drop = FALSE], y = d[[model$outcome]][i], level = level[i], group = level[i]))
  start <- searched(kind, f, d, by)
  value <- function(par) reml(par, structures[[kind]], parts, ncol(X))$value
  stopifnot(abs(value(start$par) - start$value) < 1e-6)  # the likelihood is nlme's
  par <- start$par
  for (step in 1:8) {
    move <- solve(numDeriv::hessian(value, par), numDeriv::grad(value, par))
    par <- par - move
    if (max(abs(move) / pmax(1, abs(par))) < 1e-8) break
  }
  last <- reml(par, structures[[kind]], parts, ncol(X))
  cat("  steps", step, "gain", last$value - start$value, "\n")
  stopifnot(last$value > start$value - 1e-9)
  plain <- lm(f, d); factors <- all.vars(f)[-1]
  grid <- emmeans(plain, factors, data = d); cells <- as.data.frame(grid)[factors]
  list(name = model$name, r_formula = deparse1(f), r_residual = model$residual, n_obs = nrow(d),
       singular = FALSE, minus2_reml_loglik = -2 * last$value,
       variance = named_variances(kind, par, levels(d[[by]])),
       coefficients = lapply(seq_along(last$b), function(i) list(name = colnames(X)[i],
         estimate = last$b[[i]], given_variances = list(se = sqrt(last$covariance[i, i])))),
       estimands = lapply(model$estimands, function(e) {
         l <- drop(cell_weights(cells, e) %*% grid@linfct)
         list(name = e$name, given_variances = list(estimate = sum(l * last$b),
                                                    se = sqrt(drop(l %*% last$covariance %*% l))))
       }))
}

how <- function(model, ...) {
  if (!is.null(model$residual)) by_nlme(model, ...)
  else if (!grepl("|", model$formula, fixed = TRUE)) by_lm(model, ...)
  else answer(model, ...)
}
write_answers("studies", how, c("lme4", "lmerTest", "pbkrtest", "emmeans", "nlme", "numDeriv", "jsonlite"))
