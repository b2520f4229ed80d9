"""Families against scipy's probabilities, their own differences and their limits."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from ketastats.core.errors import DataError
from ketastats.frequentist.families import FAMILIES, dispersion_of, family_named, log_density

RTOL = 1e-10
"""scipy's own beta-binomial and negative binomial lose digits to gamma functions of 1 / gamma."""
DIFFERENCE_RTOL = 1e-7
"""Central differences at steps of 1e-5: rounding 1e-16 / 1e-5 times values up to 100."""
ETA = np.array([-8.0, -2.5, -0.3, 0.0, 0.8, 3.0, 6.0])
GAMMA = (0.01, 0.4, 3.0, 40.0)
OUTCOMES = {True: (0, 1, 7, 29, 30), False: (0, 1, 3, 12, 150)}
NAMES = tuple(FAMILIES)


def cells(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return every combination of outcome, linear predictor and overdispersion."""
    family = FAMILIES[name]
    gammas = GAMMA if family.overdispersed else (0.0,)
    y, eta, gamma = (
        a.ravel() for a in np.meshgrid(np.array(OUTCOMES[family.trials], float), ETA, gammas)
    )
    return y, np.full_like(y, 30.0), eta, gamma


def scipys(name: str, y: np.ndarray, eta: np.ndarray, g: np.ndarray) -> np.ndarray:
    p, mu = expit(eta), np.exp(eta)
    if name == "binomial":
        return stats.binom.logpmf(y, 30, p)
    if name == "binomial-probit":
        choose = np.log([comb(30, int(k)) for k in y])
        return choose + y * stats.norm.logcdf(eta) + (30 - y) * stats.norm.logcdf(-eta)
    if name == "beta-binomial":
        return stats.betabinom.logpmf(y, 30, p / g, expit(-eta) / g)
    if name == "poisson":
        return stats.poisson.logpmf(y, mu)
    return stats.nbinom.logpmf(y, 1 / g, 1 / (1 + g * mu))


@pytest.mark.parametrize("name", NAMES)
def test_log_likelihood_equals_the_log_probability_constants_included(name):
    y, size, eta, gamma = cells(name)
    got = log_density(FAMILIES[name], y, size, eta, gamma)[:, 0]
    np.testing.assert_allclose(got, scipys(name, y, eta, gamma), rtol=RTOL, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_sum_to_one(name):
    family = FAMILIES[name]
    y = np.arange(31.0 if family.trials else 4000.0)
    for eta, gamma in ((-1.3, 0.0), (1.1, 0.5 if family.overdispersed else 0.0)):
        same = np.ones_like(y)
        p = np.exp(log_density(family, y, 30 * same, eta * same, gamma * same)[:, 0])
        np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("column", [0, 1, 2])
def test_derivatives_in_eta_equal_differences(name, column):
    y, size, eta, gamma = cells(name)

    def value(shift: float) -> np.ndarray:
        return log_density(FAMILIES[name], y, size, eta + shift, gamma)[:, column]

    got = log_density(FAMILIES[name], y, size, eta, gamma)[:, column + 1]
    wanted = (value(1e-5) - value(-1e-5)) / 2e-5
    np.testing.assert_allclose(got, wanted, rtol=DIFFERENCE_RTOL, atol=1e-7 * np.abs(wanted).max())


@pytest.mark.parametrize("name", ["beta-binomial", "negative-binomial"])
@pytest.mark.parametrize(("column", "derivative"), [(0, 4), (1, 5), (2, 6), (4, 7)])
def test_derivatives_in_the_overdispersion_equal_differences(name, column, derivative):
    y, size, eta, gamma = cells(name)
    h = 1e-5 * gamma

    def value(by: np.ndarray) -> np.ndarray:
        return log_density(FAMILIES[name], y, size, eta, gamma + by)[:, column]

    got = log_density(FAMILIES[name], y, size, eta, gamma)[:, derivative]
    wanted = (value(h) - value(-h)) / (2 * h)
    # the sums over up to 150 terms, of 1 or of 1 / gamma each, are rounded before they cancel
    rounding = 1e-16 * 150 * np.where(column == 4, 1 / gamma, 1.0) / h
    assert np.all(np.abs(got - wanted) < 1e-7 * np.abs(wanted) + rounding + 1e-9)


@pytest.mark.parametrize(
    ("name", "base"), [("beta-binomial", "binomial"), ("negative-binomial", "poisson")]
)
def test_without_overdispersion_the_base_family_is_reached_smoothly(name, base):
    y, size, eta, _ = cells(base)
    zero = np.zeros_like(y)
    at = log_density(FAMILIES[name], y, size, eta, zero)
    np.testing.assert_allclose(
        at[:, :4], log_density(FAMILIES[base], y, size, eta, zero)[:, :4], rtol=1e-12, atol=1e-12
    )
    # second-order Taylor series in gamma; what is left is of the third order
    h = 1e-7 * np.minimum(1.0, np.exp(-np.abs(eta)))
    near = log_density(FAMILIES[name], y, size, eta, h)[:, 0]
    change = h * at[:, 4] + 0.5 * h**2 * at[:, 7]
    np.testing.assert_allclose(near - at[:, 0], change, rtol=1e-3, atol=1e-11)


def test_mean_and_variance_are_those_the_parameters_promise():
    same = np.ones(31)
    p = np.exp(
        log_density(FAMILIES["beta-binomial"], np.arange(31.0), 30 * same, same, 0.25 * same)
    )
    k, mu, rho = np.arange(31.0), expit(1.0), 0.2
    mean = (k * p[:, 0]).sum()
    assert mean == pytest.approx(30 * mu, rel=1e-12)
    variance = 30 * mu * (1 - mu) * (1 + 29 * rho)
    assert ((k - mean) ** 2 * p[:, 0]).sum() == pytest.approx(variance, rel=1e-12)
    got = dispersion_of(FAMILIES["beta-binomial"], np.array([0.25]))
    assert (got[0].item(), got[1].item()) == pytest.approx((rho, 1.25**-2))


def test_far_tails_of_the_probit_are_smooth():
    """The ratio phi / Phi changes its formula at -20."""
    eta = np.array([-20.0 - 1e-9, -20.0 + 1e-9])
    one = np.ones(2)
    at = log_density(FAMILIES["binomial-probit"], one, one, eta, 0 * one)
    np.testing.assert_allclose(at[0, :3], at[1, :3], rtol=1e-7)
    np.testing.assert_allclose(at[0, 3], at[1, 3], rtol=1e-4)


def test_unknown_family_is_refused_with_the_nearest_name():
    with pytest.raises(DataError, match="did you mean 'poisson'"):
        family_named("poison")
