# The studies' models of counts and shares on their stored synthetic draws: population averages by
# geepack (robust errors) and by glm with clubSandwich's CR3, models of a typical animal by lme4
# (nAGQ = 25) and glmmTMB (Laplace). Run from this folder:  Rscript families.R
source("common.R"); source("glmm_common.R")
suppressPackageStartupMessages({ library(geepack); library(clubSandwich) })

table_of <- function(model, levels) {
  d <- read_table(file.path("studies", model$data), levels[[model$data]])
  droplevels(d[!is.na(d[[model$outcome]]), ])
}
fixed_of <- function(model) sub(" + (1 | subject)", "", model$formula, fixed = TRUE)

# ---- population averages -----------------------------------------------------------------------
mean_model <- function(model, d) {
  d$amount <- d[[model$amount]]
  counts <- model$family == "poisson"
  d$y <- if (counts) d[[model$outcome]] else d[[model$outcome]] / d$amount
  d$weight <- if (counts) 1 else d$amount
  list(formula = as.formula(paste("y ~", fixed_of(model), if (counts) "+ offset(log(amount))")),
       data = d, family = if (counts) poisson() else binomial())
}
asked_of <- function(grid, model, factors) {
  natural <- regrid(grid, "response")
  lapply(model$estimands, function(e) {
    g <- if (e$scale == "link") grid else natural
    r <- as.data.frame(contrast(g, list(cell_weights(as.data.frame(g)[factors], e))))
    list(name = e$name, estimate = r$estimate, se = r$SE)
  })
}
by_gee <- function(model, levels) {
  w <- mean_model(model, table_of(model, levels)); d <- w$data
  factors <- all.vars(as.formula(paste("~", fixed_of(model))))
  answers <- lapply(c("independence", "exchangeable"), function(corstr) {
    m <- suppressWarnings(eval(bquote(geeglm(.(w$formula), .(w$family), d, weights = weight, id = subject,
           corstr = .(corstr), control = geese.control(epsilon = 1e-13, maxit = 500)))))
    s <- summary(m)
    grid <- emmeans(m, factors, vcov.method = "vbeta", offset = 0)
    list(working = corstr, covariance = "robust",
         correlation = if (corstr == "exchangeable") s$corr[["Estimate"]] else 0,
         estimate = as.list(coef(m)), se = as.list(setNames(s$coefficients[["Std.err"]], names(coef(m)))),
         asked = asked_of(grid, model, factors))
  })
  m <- suppressWarnings(eval(bquote(glm(.(w$formula), .(w$family), d, weights = weight,
                                        control = glm.control(epsilon = 1e-14, maxit = 100)))))
  V <- as.matrix(vcovCR(m, cluster = d$subject, type = "CR3"))
  grid <- emmeans(m, factors, vcov. = V, offset = 0)
  few <- list(working = "independence", covariance = "bias-reduced", correlation = 0,
              estimate = as.list(coef(m)), se = as.list(sqrt(diag(V))),
              asked = asked_of(grid, model, factors))
  list(name = model$name, engine = "gee", r_formula = deparse1(w$formula), answers = c(answers, list(few)))
}

# ---- a typical animal --------------------------------------------------------------------------
kinds <- list(binomial = binomial(), `beta-binomial` = betabinomial(), `negative-binomial` = nbinom2())
by_glmm <- function(model, levels) {
  d <- table_of(model, levels); fixed <- fixed_of(model)
  counts <- model$family == "negative-binomial"
  left <- if (counts) model$outcome else
    sprintf("cbind(%s, %s - %s)", model$outcome, model$amount, model$outcome)
  offset <- if (counts) sprintf(" + offset(log(%s))", model$amount) else ""
  nodes <- if (model$family == "binomial") 25 else 1
  spec <- list(formula = sprintf("%s ~ %s%s + (1 | subject)", left, fixed, offset), data = d,
               family = kinds[[model$family]], nodes = nodes, close = 1e-8)  # lme4's derivatives are numerical
  got <- if (nodes > 1) by_lme4(spec) else by_glmmtmb(spec)
  cat("  score", format(got$score), "\n")
  out <- got$out; b <- length(out$beta)
  factors <- all.vars(as.formula(paste("~", fixed)))
  questions <- lapply(model$estimands, function(e)
    list(name = e$name, scale = e$scale, weight = function(g) cell_weights(g[factors], e)))
  asked <- ask(questions, fixed, d, out, spec$family)
  c(list(name = model$name, engine = "glmm", nodes = nodes, r_formula = spec$formula,
         terms = colnames(model.matrix(as.formula(paste("~", fixed)), d)),
         se = sqrt(diag(do.call(rbind, out$covariance)))[1:b]), out[setdiff(names(out), "covariance")],
    list(asked = asked))
}

spec <- fromJSON("families/models.json", simplifyVector = FALSE)
answers <- lapply(spec$models, function(model) {
  cat(model$name, model$engine, "\n")
  if (model$engine == "gee") by_gee(model, spec$levels) else by_glmm(model, spec$levels)
})
used <- c("geepack", "clubSandwich", "lme4", "glmmTMB", "TMB", "numDeriv", "emmeans", "jsonlite")
versions <- c(list(R = as.character(getRversion())),
              lapply(setNames(used, used), function(p) as.character(packageVersion(p))))
write(toJSON(list(schema = 1, software = versions, models = answers), auto_unbox = TRUE, digits = I(15),
             pretty = TRUE, null = "null"), "families/answers.json")
