"""Population-averaged means against numerical integration and differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, ndtr

from ketastats.frequentist.families import FAMILIES
from ketastats.frequentist.marginal import marginal_mean

ATOL = 1e-12
"""What scipy's adaptive integration reaches on these integrands."""
DIFFERENCE_RTOL = 1e-8
"""Central differences at steps of 1e-5."""
INVERSE = {"logit": expit, "probit": ndtr, "log": np.exp}
CASES = [(eta, sd) for eta in (-4.0, 0.0, 1.7) for sd in (0.0, 0.3, 1.0, 2.5, 8.0)]


def integrated(link: str, eta: float, sd: float) -> float:
    def density(v: float) -> float:
        return INVERSE[link](eta + sd * v) * np.exp(-0.5 * v * v) / np.sqrt(2 * np.pi)

    peaks = [min(max(at, -35.0), 35.0) for at in (-eta / sd if sd else 0.0, 0.0, sd)]
    options = {"epsabs": 1e-15, "epsrel": 1e-13, "limit": 1000, "points": sorted(set(peaks))}
    return float(quad(density, -36, 36, **options)[0])


@pytest.mark.parametrize("name", list(FAMILIES))
def test_means_equal_numerical_integration(name):
    link = FAMILIES[name].link
    eta, sd = (np.array(a) for a in zip(*CASES, strict=True))
    wanted = [integrated(link, *case) for case in CASES]
    rtol = ATOL if link == "log" else 0.0
    np.testing.assert_allclose(
        marginal_mean(FAMILIES[name], eta, sd).mean, wanted, rtol=rtol, atol=ATOL
    )


@pytest.mark.parametrize("name", ["binomial", "binomial-probit", "poisson"])
def test_derivatives_equal_differences(name):
    eta, sd = (np.array(a) for a in zip(*CASES, strict=True))
    h = 1e-5

    def mean(by_eta: float, by_sd: float) -> np.ndarray:
        return marginal_mean(FAMILIES[name], eta + by_eta, sd + by_sd).mean

    at = marginal_mean(FAMILIES[name], eta, sd)
    for got, ahead, behind in (
        (at.d_eta, mean(h, 0), mean(-h, 0)),
        (at.d_sd, mean(0, h), mean(0, -h)),
    ):
        np.testing.assert_allclose(
            got, (ahead - behind) / (2 * h), rtol=DIFFERENCE_RTOL, atol=1e-10
        )


def test_shapes_broadcast_and_zero_spread_is_the_inverse_link():
    eta = np.linspace(-2, 2, 6).reshape(2, 3)
    at = marginal_mean(FAMILIES["beta-binomial"], eta, np.zeros((2, 1)))
    np.testing.assert_allclose(at.mean, expit(eta), rtol=1e-15)
    np.testing.assert_allclose(at.d_sd, 0.0, atol=1e-15)
    assert at.d_eta.shape == (2, 3)


def test_an_unfitted_row_stays_nan_and_leaves_the_others_alone():
    at = marginal_mean(FAMILIES["binomial"], np.array([1.0, np.nan]), np.array([2.0, np.nan]))
    alone = marginal_mean(FAMILIES["binomial"], 1.0, 2.0)
    assert at.mean[0] == pytest.approx(float(alone.mean), rel=1e-15)
    assert np.isnan(at.mean[1])
