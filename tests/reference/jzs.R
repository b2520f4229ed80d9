# Bayes factors with Cauchy priors on effect / residual SD (Jeffreys, Zellner, Siow): t tests and 2 x 2
# designs by BayesFactor, and the same by quadrature of the formulas in Rouder et al. (2009, 2012).
# Writes the tables of jzs/ once (two printed ones of R's datasets, Darwin's maize, one synthetic) and
# jzs/answers.json. Run from this folder:  Rscript jzs.R
suppressPackageStartupMessages({ library(BayesFactor); library(jsonlite) })

keep <- function(name, make) {
  file <- file.path("jzs", paste0(name, ".csv"))
  if (!file.exists(file)) write.csv(make(), file, row.names = FALSE, quote = FALSE)
  d <- read.csv(file)
  d[names(d) != "y"] <- lapply(d[names(d) != "y"], factor)
  d
}

# Cushny & Peebles (1905) as in Student (1908): hours of sleep gained with two drugs by ten people
sleep_table <- keep("sleep", function()
  data.frame(subject = sprintf("s%02d", datasets::sleep$ID), treatment = datasets::sleep$group,
             y = datasets::sleep$extra))
# Darwin (1876) as in Fisher (1935): heights of fifteen pairs of maize plants in inches
maize_table <- keep("maize", function() {
  crossed <- c(23.5, 12, 21, 22, 19.125, 21.5, 22.125, 20.375, 18.25, 21.625, 23.25, 21, 22.125, 23, 12)
  selfed <- c(17.375, 20.375, 20, 20, 18.375, 18.625, 18.625, 15.25, 16.5, 18, 16.25, 18, 12.75, 15.5, 18)
  data.frame(subject = rep(sprintf("s%02d", 1:15), 2), treatment = rep(c("crossed", "selfed"), each = 15),
             y = c(crossed, selfed))
})
# Crampton (1947): teeth of guinea pigs, a the supplement, b the dose in mg per day (2 mg left out)
tooth_table <- keep("tooth", function() {
  d <- subset(datasets::ToothGrowth, dose < 2)
  data.frame(a = d$supp, b = d$dose, y = d$len)
})
# synthetic, cells of 5, 7, 4 and 6
uneven_table <- keep("uneven", function() {
  set.seed(20)
  d <- data.frame(a = rep(c("a1", "a1", "a2", "a2"), c(5, 7, 4, 6)),
                  b = rep(c("b1", "b2", "b1", "b2"), c(5, 7, 4, 6)))
  d$y <- round(10 + 1.5 * (d$a == "a2") + 2 * (d$a == "a2" & d$b == "b2") + rnorm(22, 0, 2), 1)
  d
})
tables <- list(sleep = sleep_table, maize = maize_table, tooth = tooth_table, uneven = uneven_table)

# Gauss-Legendre nodes by Golub & Welsch (1969), on panels
legendre <- function(edges, n) {
  k <- seq_len(n - 1); off <- k / sqrt(4 * k^2 - 1); J <- matrix(0, n, n)
  J[cbind(k, k + 1)] <- off; J[cbind(k + 1, k)] <- off
  e <- eigen(J, symmetric = TRUE)
  lo <- head(edges, -1); half <- diff(edges) / 2
  list(x = c(outer(e$values + 1, half) + rep(lo, each = n)), w = c(outer(2 * e$vectors[1, ]^2, half)))
}

# Rouder et al. (2009), equation 1 with g / r^2 inverse chi-square: g = r^2 / z^2, z half-normal
log_bf_t <- function(t, n, df, r) {
  inside <- function(z) {
    spread <- 1 + n * r^2 / z^2
    2 * dnorm(z) * exp(-0.5 * log(spread) - (df + 1) / 2 * (log1p(t^2 / (df * spread)) - log1p(t^2 / df)))
  }
  parts <- lapply(list(c(0, 0.3), c(0.3, 1), c(1, 3), c(3, Inf)), function(e)
    integrate(inside, e[1], e[2], rel.tol = 1e-12, abs.tol = 0, subdivisions = 1000))
  total <- sum(sapply(parts, `[[`, "value"))
  list(value = log(total), error = sum(sapply(parts, `[[`, "abs.error")) / total)
}

t_test <- function(name, kind, r) {
  d <- tables[[name]]; arm <- if (is.null(d$treatment)) d$a else d$treatment
  x <- d$y[arm == levels(arm)[1]]; y <- d$y[arm == levels(arm)[2]]
  if (kind == "one-sample") {
    bf <- ttestBF(y, rscale = r); classical <- t.test(y); n <- length(y)
  } else if (kind == "paired") {
    bf <- ttestBF(x, y, paired = TRUE, rscale = r); classical <- t.test(x, y, paired = TRUE); n <- length(x)
  } else {
    bf <- ttestBF(x, y, rscale = r); classical <- t.test(x, y, var.equal = TRUE)
    n <- length(x) * length(y) / (length(x) + length(y))
  }
  t <- unname(classical$statistic)
  exact <- log_bf_t(t, n, unname(classical$parameter), r)
  sizes <- if (kind == "one-sample") list(n_x = n) else list(n_x = length(x), n_y = length(y))
  c(list(data = name, kind = kind, rscale = r, t = t), sizes,
    list(log_bf = bf@bayesFactor$bf, error = bf@bayesFactor$error,
         log_bf_quadrature = exact$value, error_quadrature = exact$error))
}

# Rouder et al. (2012): given the g of each column the Bayes factor against the intercept alone is
# |G|^-1/2 |X'X + G^-1|^-1/2 (residual sum of squares, ridge / null)^-((N - 1) / 2), X and y centred.
log_bf_given <- function(y, X, g) {
  A <- crossprod(X) + diag(1 / g, length(g))
  b <- solve(A, crossprod(X, y))
  rest <- 1 - sum(crossprod(X, y) * b) / sum(y^2)
  -0.5 * sum(log(g)) - 0.5 * as.numeric(determinant(A)$modulus) - (length(y) - 1) / 2 * log(rest)
}
by_quadrature <- function(y, X, r, n) {
  rule <- legendre(c(0, 0.5, 2, 4, 9), n)
  at <- as.matrix(expand.grid(rep(list(seq_along(rule$x)), length(r))))
  log_weight <- log(2) + dnorm(rule$x, log = TRUE) + log(rule$w)
  y <- y - mean(y); X <- scale(X, scale = FALSE)
  each <- apply(at, 1, function(i) log_bf_given(y, X, (r / rule$x[i])^2) + sum(log_weight[i]))
  max(each) + log(sum(exp(each - max(each))))
}

# BayesFactor's columns: +-1/sqrt(2) for a factor of two levels, their products for an interaction
effect <- function(d, term) {
  Reduce(`*`, lapply(strsplit(term, ":")[[1]], function(f) ifelse(d[[f]] == levels(d[[f]])[1], 1, -1) / sqrt(2)))
}

# draws from the prior of the g: importance sampling, which "auto" prefers, errs up to 20 times as much
iterations <- 1e7
linear_model <- function(name, terms, r) {
  d <- tables[[name]]
  names(r) <- terms
  set.seed(1)
  bf <- lmBF(as.formula(paste("y ~", paste(terms, collapse = " + "))), d, rscaleEffects = r,
             iterations = iterations, method = "simple", progress = FALSE)
  X <- sapply(terms, function(term) effect(d, term))
  fine <- by_quadrature(d$y, X, r, 16); coarse <- by_quadrature(d$y, X, r, 12)
  cat(name, terms, bf@bayesFactor$bf, bf@bayesFactor$error, fine, fine - coarse, "\n")
  list(data = name, terms = as.list(terms), rscale = as.list(unname(r)), log_bf = bf@bayesFactor$bf,
       error = bf@bayesFactor$error, log_bf_quadrature = fine, error_quadrature = abs(fine - coarse))
}

scales <- c(0.5, sqrt(2) / 2, 1)
asked <- rbind(c("sleep", "two-sample"), c("tooth", "two-sample"), c("uneven", "two-sample"),
               c("sleep", "paired"), c("maize", "paired"), c("sleep", "one-sample"))
tests <- do.call(c, lapply(seq_len(nrow(asked)), function(i)
  lapply(scales, function(r) t_test(asked[i, 1], asked[i, 2], r))))

designs <- list(list("a", 0.5), list("b", 1), list(c("a", "b"), c(0.5, 0.8)),
                list(c("a", "b", "a:b"), c(0.5, 0.8, 0.3)))
models <- do.call(c, lapply(c("tooth", "uneven"), function(name)
  lapply(designs, function(k) linear_model(name, k[[1]], k[[2]]))))

used <- c("BayesFactor", "jsonlite")
versions <- c(list(R = as.character(getRversion())),
              lapply(setNames(used, used), function(p) as.character(packageVersion(p))))
out <- list(schema = 1, software = versions, lmBF = list(method = "simple", iterations = iterations, seed = 1),
            tests = tests, models = models)
write(toJSON(out, auto_unbox = TRUE, digits = I(15), pretty = TRUE), "jzs/answers.json")
