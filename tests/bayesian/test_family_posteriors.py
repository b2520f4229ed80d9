"""Posteriors of every family against brute-force integration on tiny data."""

import numpy as np
import pandas as pd
import pytest
from numpy.polynomial.hermite_e import hermegauss
from numpy.polynomial.legendre import leggauss
from scipy import stats
from scipy.special import expit, log_ndtr

from ketastats.bayesian.mcmc import mcmc
from ketastats.bayesian.summaries import convergence
from ketastats.problem.questions import as_estimands
from ketastats.study.model import Scale

SHORT = {"draws": 1000, "tune": 500, "thin": 2}
GIVEN = {"effects": "normal(0, 0.7)", "intercept": "normal(0.5, 1)", "sd": "half-normal(0.8)"}
"""Narrow, so that a prior on another scale or of another parameter would show."""

CODE = np.tile([-0.5, 0.5], 6)
BOUNDS = Scale("real", -1.0, 1.5, 2, "s")


def table():
    """Twelve rows in two arms, one column per family; no structure but what priors allow."""
    rng = np.random.default_rng(21)
    eta = 0.4 + 0.9 * CODE
    trials, spent = np.tile([5, 12, 20], 4), np.tile([1.0, 1.0, 3.0, 3.0], 3)
    y = eta + 0.8 * rng.standard_t(4, 12)
    share = np.clip(rng.beta(4 * expit(eta), 4 * expit(-eta)), 0.02, 0.98)
    return pd.DataFrame(
        {
            "arm": np.tile(["a", "b"], 6),
            "group": np.repeat(["u", "v"], 6),
            "day": np.tile([1, 2, 3, 4, 6, 7], 2),
            "trials": trials,
            "spent": spent,
            "y": y.round(2),
            "bounded": np.clip(y, -1.0, 1.5).round(2),
            "inside": np.clip(y, -0.9, 1.4).round(2),
            "share": share.round(3),
            "failed": rng.binomial(trials, share),
            "count": rng.poisson(np.exp(eta) * spent * rng.gamma(2.0, 0.5, 12)),
        }
    )


DATA = table()
TRIALS, SPENT = DATA["trials"].to_numpy(), DATA["spent"].to_numpy()


def grid(axes):
    """Return Gauss-Legendre nodes of some ranges, shape (axes, G), and their weights."""
    nodes, weights = [], []
    for low, high, count in axes:
        x, w = leggauss(count)
        nodes.append(low + (high - low) * (x + 1) / 2)
        weights.append(w)
    mesh = np.array([m.ravel() for m in np.meshgrid(*nodes, indexing="ij")])
    weight = np.prod([m.ravel() for m in np.meshgrid(*weights, indexing="ij")], axis=0)
    return mesh, weight


def normalised(log, weight):
    p = weight * np.exp(log - log.max())
    return p / p.sum()


COEFFICIENTS = [(-1.6, 3.2, 44), (-2.4, 5.0, 44)]
"""Ranges beyond which nothing is left, and nodes: half as many again in wider ranges move no mean
or SD by more than 0.005 SDs, where four Monte-Carlo errors are some 0.07."""


def coefficients_prior(b):
    return stats.norm.logpdf(b[0], 0.5, 1.0) + stats.norm.logpdf(b[1], 0.0, 0.7)


def shapes(eta, omega):
    return expit(eta) / omega**2, expit(-eta) / omega**2


def normal(y, eta, v):
    """The log-density; scipy.stats takes ten times as long for as many values."""
    return -0.5 * ((y - eta) / v) ** 2 - np.log(v) - 0.5 * np.log(2 * np.pi)


def censored(y, eta, v):
    inner = np.where(y <= -1.0, log_ndtr((-1.0 - eta) / v), normal(y, eta, v))
    return np.where(y >= 1.5, log_ndtr((eta - 1.5) / v), inner)


def truncated(y, eta, v):
    far = np.abs(eta - 0.25)  # from the middle: both bounds seen from the side of the mean
    low, high = log_ndtr((-1.25 - far) / v), log_ndtr((1.25 - far) / v)
    return normal(y, eta, v) - high - np.log1p(-np.exp(low - high))


# outcome, options, density of rows, third axis, its prior, what is reported of it
CASES = {  # Student's t has a test of its own
    "censored": (
        "bounded", {"scale": BOUNDS}, censored, (0.15, 4.0, 44), stats.halfnorm(scale=0.8), None,
    ),
    "truncated": (
        "inside", {"scale": BOUNDS}, truncated, (0.15, 4.0, 44), stats.halfnorm(scale=0.8), None,
    ),
    "beta": (
        "share", {}, lambda y, eta, v: stats.beta.logpdf(y, *shapes(eta, v)), (0.05, 1.4, 44),
        stats.halfnorm(scale=0.5), lambda v: v**-2.0,
    ),
    "binomial": (
        "failed", {"size": "trials"}, lambda y, eta, v: stats.binom.logpmf(y, TRIALS, expit(eta)),
        None, None, None,
    ),
    "beta-binomial": (
        "failed", {"size": "trials"},
        lambda y, eta, v: stats.betabinom.logpmf(y, TRIALS, *shapes(eta, v)), (0.0, 2.6, 40),
        stats.halfnorm(scale=0.5), lambda v: v**2 / (1 + v**2),
    ),
    "poisson": (
        "count", {"exposure": "spent"},
        lambda y, eta, v: stats.poisson.logpmf(y, np.exp(eta) * SPENT), None, None, None,
    ),
    "negative-binomial": (
        "count", {"exposure": "spent"},
        lambda y, eta, v: stats.nbinom.logpmf(y, v**-2.0, 1 / (1 + v**2 * np.exp(eta) * SPENT)),
        (1e-3, 5.0, 40), stats.halfnorm(scale=1.0), np.square,
    ),
}  # fmt: skip


def agree(draws, known, p, values):
    """Compare mean and SD with an integral within 4 Monte-Carlo errors: 1 in 16 000 by chance."""
    mean, sd = draws.mean(), draws.std()
    truth = p @ values
    spread = np.sqrt(p @ (values - truth) ** 2)
    kurtosis = p @ (values - truth) ** 4 / spread**4
    assert abs(mean - truth) < 4 * known.mcse[0]
    # error of an SD: sqrt((kurtosis - 1) / 4n) of it; doubled n for squares that mix less well
    assert abs(sd / spread - 1) < 4 * np.sqrt((kurtosis - 1) / (2 * known.ess_bulk[0]))


def check(post, p, values):
    """Compare coefficients and the family's own parameters with their integrals."""
    drawn = np.concatenate([post.draws.gamma, post.draws.sd, post.draws.own], axis=2)
    assert drawn.shape[2] == len(values)
    for k, v in enumerate(values):
        agree(drawn[:, :, k], convergence(drawn[:, :, k : k + 1]), p, v)


QUICK = ("beta-binomial", "negative-binomial", "censored")
"""Sampled in the fast tier; the log-densities of all are checked in ``test_densities``."""


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CASES]
)
def test_the_posterior_is_the_one_brute_force_gives(name):
    outcome, options, density, axis, prior, reported = CASES[name]
    post = mcmc(f"{outcome} ~ arm", DATA, family=name, priors=GIVEN, **options, **SHORT)
    points, weight = grid(COEFFICIENTS + ([axis] if axis else []))
    eta = points[0][:, None] + points[1][:, None] * CODE
    third = points[2][:, None] if axis else None
    log = coefficients_prior(points) + density(DATA[outcome].to_numpy(), eta, third).sum(axis=1)
    if prior is not None:
        log = log + prior.logpdf(points[2])
    p = normalised(log, weight)
    values = [points[0], points[1]]
    if axis:
        values.append(points[2] if reported is None else reported(points[2]))
    check(post, p, values)
    if post.rows.family.link != "identity":
        inverse = expit if post.rows.family.link == "logit" else np.exp
        difference = inverse(points[0] + points[1] / 2) - inverse(points[0] - points[1] / 2)
        asked = as_estimands(post.problem, {"arm": "b - a"})
        found = post.estimand_draws(asked, scale="natural")
        agree(found[:, :, 0], convergence(found), p, difference)


@pytest.mark.slow
def test_student_s_t_agrees_with_brute_force():
    priors = GIVEN | {"nu": "exponential(5)"}
    post = mcmc("y ~ 1", DATA, family="student-t", priors=priors, **SHORT)
    (mu, sigma, excess), weight = grid([(-2.5, 3.0, 60), (0.02, 4.0, 40), (0.0, 80.0, 60)])
    y = DATA["y"].to_numpy()
    log = stats.t.logpdf(y, 1 + excess[:, None], mu[:, None], sigma[:, None]).sum(axis=1)
    log += stats.norm.logpdf(mu, 0.5, 1.0) + stats.halfnorm.logpdf(sigma, scale=0.8)
    log += stats.expon.logpdf(excess, scale=5.0)
    check(post, normalised(log, weight), [mu, sigma, 1 + excess])


@pytest.mark.slow
def test_a_residual_sd_per_group_agrees_with_brute_force():
    post = mcmc("y ~ 1", DATA, residual="by group", priors=GIVEN, **SHORT)
    (mu, one, two), weight = grid([(-2.5, 3.0, 40), (0.02, 5.0, 50), (0.02, 5.0, 50)])
    y = DATA["y"].to_numpy()
    log = stats.norm.logpdf(y[:6], mu[:, None], one[:, None]).sum(axis=1)
    log += stats.norm.logpdf(y[6:], mu[:, None], two[:, None]).sum(axis=1)
    log += stats.norm.logpdf(mu, 0.5, 1.0)
    log += stats.halfnorm.logpdf(one, scale=0.8) + stats.halfnorm.logpdf(two, scale=0.8)
    check(post, normalised(log, weight), [mu, one, two])


def test_ar1_residuals_agree_with_brute_force():
    """Two series of six days, neighbours in order of the days; a dense covariance by Cholesky."""
    post = mcmc("y ~ 1", DATA, residual="ar1(day | group)", priors=GIVEN, **SHORT)
    (mu, sigma, z), weight = grid([(-3.0, 3.5, 40), (0.05, 5.0, 40), (-2.5, 3.0, 40)])
    rho, at = np.tanh(np.unique(z)), np.unique(z, return_inverse=True)[1]
    lag = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    y = DATA["y"].to_numpy().reshape(2, 6)
    root = np.linalg.cholesky(np.linalg.inv(rho[:, None, None] ** lag))
    scaled = [np.einsum("gi,gij->gj", series - mu[:, None], root[at]) for series in y]
    square = sum((s**2).sum(axis=1) for s in scaled) / sigma**2
    determinant = np.linalg.slogdet(rho[:, None, None] ** lag)[1][at]
    log = -0.5 * square - 12 * np.log(sigma) - determinant
    log += stats.norm.logpdf(mu, 0.5, 1.0) + stats.halfnorm.logpdf(sigma, scale=0.8)
    log += stats.norm.logpdf(z, 0.0, 0.9)
    check(post, normalised(log, weight), [mu, sigma, np.tanh(z)])


def nested():
    """Eight mice in two arms, three rows each, on both scales of counting."""
    rng = np.random.default_rng(5)
    mouse = np.repeat(np.arange(8), 3)
    code = np.where(mouse % 2, 0.5, -0.5)
    eta = 0.2 + 1.0 * code + 0.9 * rng.standard_normal(8)[mouse]
    data = pd.DataFrame({"mouse": mouse, "arm": np.where(mouse % 2, "b", "a"), "trials": 10})
    return data.assign(failed=rng.binomial(10, expit(eta)), count=rng.poisson(np.exp(eta))), code


@pytest.mark.parametrize("name", ["binomial", pytest.param("poisson", marks=pytest.mark.slow)])
def test_a_random_intercept_agrees_with_quadrature_over_every_mouse(name):
    data, code = nested()
    y = data["failed" if name == "binomial" else "count"].to_numpy()
    options = {"size": "trials"} if name == "binomial" else {}
    post = mcmc(
        f"{'failed' if name == 'binomial' else 'count'} ~ arm + (1|mouse)", data, family=name,
        priors=GIVEN, **options, **SHORT,
    )  # fmt: skip
    (one, two, tau), weight = grid([(-3.0, 3.5, 40), (-2.8, 2.8, 30), (0.0, 4.0, 40)])
    u, w = hermegauss(40)
    log = coefficients_prior((one, two)) + stats.halfnorm.logpdf(tau, scale=0.8)
    base = one[:, None] + tau[:, None] * u
    for m in range(8):
        rows = slice(3 * m, 3 * m + 3)
        eta = base + two[:, None] * code[3 * m]
        total, n = y[rows].sum(), 30 if name == "binomial" else 3
        parts = n * np.logaddexp(0, eta) if name == "binomial" else n * np.exp(eta)
        log = log + np.log(np.exp(total * eta - parts) @ w)
    p = normalised(log, weight)
    check(post, p, [one, two, tau])
    # the difference between population means: its integral, with the deviations averaged again
    inverse = expit if name == "binomial" else np.exp
    share = w / w.sum()
    means = [inverse(base + two[:, None] * c) @ share for c in (0.5, -0.5)]
    asked = as_estimands(post.problem, {"arm": "b - a"})
    found = post.estimand_draws(asked, scale="natural")
    if name == "binomial":
        agree(found[:, :, 0], convergence(found), p, means[0] - means[1])
    else:  # exp(tau²/2) has heavy tails under this prior: the median, and its error by order
        values = means[0] - means[1]
        order = np.argsort(values)
        middle = values[order][np.searchsorted(np.cumsum(p[order]), [0.47, 0.53])]
        assert middle[0] < np.median(found) < middle[1]
