# Generalised linear mixed models with one random intercept: lme4 (nAGQ = 25, 7 and 1) and glmmTMB
# (Laplace), their coefficients with z tests, contrasts on the link scale by emmeans and on the
# natural scale by R's integrate() and numDeriv. Draws its own synthetic tables (mice.csv,
# branches.csv; written once) and writes answers.json. Run from this folder:  Rscript glmm.R
source("../glmm_common.R")

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
