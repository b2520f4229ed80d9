# What golden.R and studies.R share. Reads <folder>/models.json and its tables, fits every model with
# lme4, and writes <folder>/answers.json: variances, coefficients with the degrees of freedom of
# lmerTest (Satterthwaite) and pbkrtest (Kenward-Roger), type 3 tables, and the estimands by emmeans.
suppressPackageStartupMessages({
  library(lme4); library(lmerTest); library(pbkrtest); library(emmeans); library(jsonlite)
})
options(contrasts = c("contr.treatment", "contr.poly"))
emm_options(pbkrtest.limit = 5000, lmerTest.limit = 5000)

# A search, then components that do not matter are set to 0, then Newton steps on the others: lme4
# stops about 1e-4 standard errors from the optimum, which is too far for a comparison at 1e-7.
polished <- function(fn, par, lower, upper, control) {
  best <- lme4::nloptwrap(par, fn, lower, upper,
                          control = list(xtol_abs = 1e-9, ftol_abs = 1e-12, maxeval = 20000))$par
  for (i in which(lower == 0)) {
    zero <- replace(best, i, 0)
    if (best[i] < 1e-2 && fn(zero) <= fn(best) + 1e-7) best <- zero
  }
  free <- which(best > 0 | lower < 0)
  at <- function(z) fn(replace(best, free, z))
  for (step in 1:10) {
    if (!length(free)) break
    move <- solve(numDeriv::hessian(at, best[free]), numDeriv::grad(at, best[free]))
    best[free] <- best[free] - move
    if (max(abs(move)) < 1e-11) break
  }
  list(par = best, fval = fn(best), conv = 0, message = "polished", feval = 0)
}
control <- lmerControl(optimizer = "polished", calc.derivs = FALSE, check.conv.singular = "ignore")

read_table <- function(file, levels) {
  d <- read.csv(file, na.strings = c("", "NA"), colClasses = "character")
  for (v in names(d)) d[[v]] <- if (is.null(levels[[v]])) as.numeric(d[[v]]) else
    factor(d[[v]], levels = unlist(levels[[v]]))
  d
}

# Animals without a cage: the term counts only for those that have one.
with_partial_nesting <- function(d, formula) {
  if (grepl("(1 | cage)", formula, fixed = TRUE)) {
    d$has_cage <- as.numeric(!is.na(d$cage))
    formula <- sub("(1 | cage)", "(0 + has_cage | cage)", formula, fixed = TRUE)
  }
  if (!is.null(d$cage)) d$cage[is.na(d$cage)] <- levels(d$cage)[1]
  list(data = d, formula = formula)
}

variances <- function(m) {
  v <- as.data.frame(VarCorr(m))
  setNames(as.list(v$vcov), ifelse(v$grp == "Residual", "residual", v$grp))
}

coefficient_list <- function(m, adjusted = pbkrtest::vcovAdj(m)) {
  raw <- vcov(m); b <- fixef(m); names <- names(b)
  lapply(seq_along(b), function(i) {
    l <- as.numeric(seq_along(b) == i)
    s <- contest1D(m, l, ddf = "Satterthwaite")
    df <- pbkrtest::ddf_Lb(adjusted, l, raw); se <- sqrt(adjusted[i, i])
    list(name = names[i], estimate = b[[i]],
         satterthwaite = list(se = s[["Std. Error"]], df = s$df, p = s[["Pr(>|t|)"]]),
         kenward_roger = list(se = se, df = df, p = 2 * pt(-abs(b[[i]] / se), df)))
  })
}

# lmerTest keeps 7 decimals of the weights of a type 3 hypothesis (1/6 becomes 0.1666666), which moves
# F by up to 1e-5: the weights are put back to the fractions they stand for.
type3 <- function(m, adjusted = pbkrtest::vcovAdj(m)) {
  hypotheses <- lapply(lmerTest:::get_contrasts_type3(m), function(L) {
    exact <- round(L * 5040) / 5040
    stopifnot(max(abs(exact - L)) < 1e-6)
    exact
  })
  satterthwaite <- lapply(hypotheses, function(L) {
    a <- contestMD(m, L, ddf = "Satterthwaite")
    list(num_df = a$NumDF, den_df = a$DenDF, F = a[["F value"]], p = a[["Pr(>F)"]])
  })
  # what contestMD(ddf = "Kenward-Roger") asks pbkrtest for, with one adjusted covariance for all terms
  kenward_roger <- lapply(hypotheses, function(L) {
    a <- pbkrtest:::.KR_adjust(adjusted, vcov(m), matrix(L, ncol = length(fixef(m))), fixef(m), 0)
    list(num_df = a$ndf, den_df = a$ddf, F = a$Fstat, p = a$p.value)
  })
  list(satterthwaite = satterthwaite, kenward_roger = kenward_roger)
}

# Weight of every cell of the reference grid: the contrast's coefficients, the fixed level, and equal
# weights over what is left.
cell_weights <- function(cells, estimand) {
  w <- rep(1, nrow(cells))
  for (f in names(cells)) {
    at <- as.character(cells[[f]])
    w <- w * if (!is.null(estimand$contrast[[f]])) {
      k <- unlist(estimand$contrast[[f]]); ifelse(at %in% names(k), k[at], 0)
    } else if (!is.null(estimand$within[[f]])) as.numeric(at == estimand$within[[f]])
    else 1 / length(unique(at))
  }
  unname(w)
}

estimand_list <- function(m, d, asked) {
  if (!length(asked)) return(list())
  factors <- intersect(all.vars(nobars(formula(m)))[-1], names(d)[sapply(d, is.factor)])
  by <- list(satterthwaite = "satterthwaite", kenward_roger = "kenward-roger")
  grids <- lapply(by, function(method) emmeans(m, factors, lmer.df = method, data = d))
  cells <- as.data.frame(grids[[1]])[factors]
  lapply(asked, function(e) {
    w <- list(cell_weights(cells, e))
    c(list(name = e$name), lapply(grids, function(g) {
      r <- as.data.frame(contrast(g, w))
      list(estimate = r$estimate, se = r$SE, df = r$df, p = r$p.value)
    }))
  })
}

# Rows with an outcome; a share or a rate where the model says of what, logs where it says so.
rows_of <- function(model, folder, levels) {
  d <- read_table(file.path(folder, model$data), levels[[model$data]])
  y <- model$outcome
  if (!is.null(model$per)) d[[y]] <- d[[y]] / d[[model$per]]
  if (identical(model$response, "log")) d[[y]] <- log(d[[y]])
  d[!is.na(d[[y]]), ]
}

answer <- function(model, folder, levels) {
  cat(model$name, "\n")
  ready <- with_partial_nesting(rows_of(model, folder, levels), model$formula)
  d <- droplevels(ready$data)
  m <- eval(bquote(lmerTest::lmer(.(as.formula(paste(model$outcome, "~", ready$formula))), d,
                                  control = control)))
  adjusted <- pbkrtest::vcovAdj(m)
  list(name = model$name, r_formula = paste(model$outcome, "~", ready$formula), n_obs = nobs(m),
       minus2_reml_loglik = as.numeric(-2 * logLik(m)), singular = isSingular(m, tol = 1e-6),
       variance = variances(m), coefficients = coefficient_list(m, adjusted),
       type3 = type3(m, adjusted), estimands = estimand_list(m, d, model$estimands))
}

write_answers <- function(folder, how = answer, used = c("lme4", "lmerTest", "pbkrtest", "emmeans",
                                                          "numDeriv", "jsonlite")) {
  spec <- fromJSON(file.path(folder, "models.json"), simplifyVector = FALSE)
  versions <- c(list(R = as.character(getRversion())),
                lapply(setNames(used, used), function(p) as.character(packageVersion(p))))
  out <- list(schema = 1, software = versions, models = lapply(spec$models, how, folder, spec$levels))
  write(toJSON(out, auto_unbox = TRUE, digits = I(15), pretty = TRUE), file.path(folder, "answers.json"))
}
