"""New outcomes: means, variances and correlations of every family."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from ketastats.bayesian import predictive
from ketastats.bayesian.families import FAMILIES
from ketastats.bayesian.likelihood import GAUSSIAN, Likelihood
from ketastats.bayesian.outcomes import series
from ketastats.study.model import Scale

N = 40_000
"""Draws: a mean is known to 0.5 % of an SD; 5 such errors are asked for throughout."""

ETA = np.array([-1.2, 0.3, 0.9])
BOUNDS = Scale("real", -1.0, 1.5, 2, "s")
TRIALS = np.array([1, 12, 30])
SPENT = np.array([0.5, 2.0, 4.0])


def rows_of(name, **changes):
    groups = ("residual",) if FAMILIES[name].residual else ()
    return Likelihood(FAMILIES[name], groups=groups, **changes)


def shapes(precision):
    return expit(ETA) * precision, expit(-ETA) * precision


MU = np.exp(ETA) * SPENT
TRUTH = {
    "gaussian": (rows_of("gaussian"), {"sigma": 0.7}, stats.norm(ETA, 0.7)),
    "student-t": (rows_of("student-t"), {"sigma": 0.7, "nu": 9.0}, stats.t(9, ETA, 0.7)),
    "truncated": (
        rows_of("truncated", scale=BOUNDS),
        {"sigma": 0.7},
        stats.truncnorm((-1 - ETA) / 0.7, (1.5 - ETA) / 0.7, ETA, 0.7),
    ),
    "beta": (rows_of("beta"), {"precision": 6.0}, stats.beta(*shapes(6.0))),
    "binomial": (rows_of("binomial", trials=TRIALS), {}, stats.binom(TRIALS, expit(ETA))),
    "beta-binomial": (
        rows_of("beta-binomial", trials=TRIALS),
        {"overdispersion": 0.2},
        stats.betabinom(TRIALS, *shapes(4.0)),
    ),
    "poisson": (rows_of("poisson", log_exposure=np.log(SPENT)), {}, stats.poisson(MU)),
    "negative-binomial": (
        rows_of("negative-binomial", log_exposure=np.log(SPENT)),
        {"overdispersion": 0.5},
        stats.nbinom(2.0, 1 / (1 + 0.5 * MU)),
    ),
}


def drawn(rows, own, eta=ETA, n=N):
    values = {k: np.full(n, v) for k, v in own.items()}
    rng = np.random.default_rng(6)
    return predictive.replicate(rng, np.tile(eta, (n, 1)), [], np.empty((n, 0)), values, rows)


@pytest.mark.parametrize("name", TRUTH)
def test_mean_and_variance_are_those_of_the_distribution(name):
    rows, own, truth = TRUTH[name]
    y = drawn(rows, own)
    assert (np.abs(y.mean(axis=0) - truth.mean()) < 5 * truth.std() / np.sqrt(N)).all()
    kurtosis = truth.stats("k")
    error = truth.var() * np.sqrt((2 + kurtosis) / N)
    assert (np.abs(y.var(axis=0) - truth.var()) < 5 * error).all()


def test_the_censored_family_is_the_gaussian_clipped_and_ordered_has_a_test_of_its_own():
    assert set(FAMILIES) - set(TRUTH) == {"censored", "ordered"}
    y = drawn(rows_of("censored", scale=BOUNDS), {"sigma": 0.7})
    assert (y == np.clip(drawn(GAUSSIAN, {"sigma": 0.7}), -1.0, 1.5)).all()
    assert ((y == 1.5).any(axis=0) & (y == -1.0).any(axis=0)).all()


def test_truncated_draws_far_from_the_bounds_stay_inside():
    rows = rows_of("truncated", scale=BOUNDS)
    y = drawn(rows, {"sigma": 1.0}, eta=np.array([-60.0, 60.0]), n=4000)
    assert ((y >= -1.0) & (y <= 1.5)).all()
    # so far out the density falls as exp(-59 d) from the near bound: mean distance 1/59, 1/58.5
    distance = np.stack([y[:, 0] + 1, 1.5 - y[:, 1]]).mean(axis=1)
    np.testing.assert_allclose(distance, [1 / 59, 1 / 58.5], rtol=5 / np.sqrt(4000) + 0.001)


def test_extreme_linear_predictors_draw_what_is_next_to_certain():
    eta = np.array([-800.0, 800.0])
    trials = np.array([5, 5])
    for name in ("binomial", "beta-binomial"):
        y = drawn(rows_of(name, trials=trials), {"overdispersion": 0.2}, eta=eta, n=50)
        assert (y == [0, 5]).all()
    none = {"log_exposure": np.zeros(2)}
    y = drawn(rows_of("poisson", **none), {}, eta=eta, n=50)
    assert (y[:, 0] == 0).all()
    assert np.isfinite(y).all()


def test_a_residual_sd_per_group():
    rows = Likelihood(
        FAMILIES["gaussian"], residual="by", groups=("a", "b"), level=np.array([0, 1, 1])
    )
    own = {"sigma": np.tile([0.5, 2.0], (N, 1))}
    rng = np.random.default_rng(1)
    y = predictive.replicate(rng, np.tile(ETA, (N, 1)), [], np.empty((N, 0)), own, rows)
    np.testing.assert_allclose(y.std(axis=0), [0.5, 2.0, 2.0], rtol=5 / np.sqrt(2 * N))


def test_serial_residuals_have_powers_of_rho_over_gaps():
    group, level = np.array([0, 1, 0, 0, 1]), np.array([3, 0, 0, 1, 1])
    previous, gap = series(group, level)
    noise = np.random.default_rng(2).standard_normal((N, 5))
    y = predictive.serial(noise, np.full(N, -0.7), previous, gap)
    expected = (group[:, None] == group) * (-0.7) ** np.abs(level[:, None] - level)
    error = np.sqrt((1 + expected**2) / N)
    assert (np.abs(np.cov(y.T) - expected) < 5 * error).all()


def test_replicates_have_the_declared_covariance():
    rng = np.random.default_rng(3)
    z, group = np.array([1.0, 1.0, 2.0, 0.0]), np.array([0, 0, 1, -1])
    mean = np.tile([1.0, 2.0, 3.0, 4.0], (N, 1))
    own, sd = {"sigma": np.full(N, 2.0)}, np.full((N, 1), 3.0)
    y = predictive.replicate(rng, mean, [(z, group, 2)], sd, own, GAUSSIAN)
    expected = np.array([[13, 9, 0, 0], [9, 13, 0, 0], [0, 0, 40, 0], [0, 0, 0, 4.0]])
    # error of a covariance: sqrt((v_i v_j + c_ij²) / n), at most 0.28 for the largest
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / N)
    assert (np.abs(np.cov(y.T) - expected) < 5 * error).all()
    assert (np.abs(y.mean(axis=0) - mean[0]) < 5 * np.sqrt(np.diag(expected) / N)).all()


def test_rows_of_one_group_share_its_deviation_on_the_scale_of_the_link():
    rng = np.random.default_rng(8)
    group = np.array([0, 0, 1])
    rows = rows_of("poisson", log_exposure=np.zeros(3))
    sd, mean = np.full((N, 1), 0.6), np.tile([1.0, 1.0, 1.0], (N, 1))
    y = predictive.replicate(rng, mean, [(np.ones(3), group, 2)], sd, {}, rows)
    mu = np.exp(1 + 0.18)
    between = mu**2 * np.expm1(0.36)  # variance of a log-normal rate
    found = np.cov(y.T)
    assert found[0, 0] == pytest.approx(mu + between, rel=0.1)  # its fourth moment is heavy
    assert found[0, 1] == pytest.approx(between, rel=0.1)
    assert abs(found[0, 2]) < 5 * (mu + between) / np.sqrt(N)
