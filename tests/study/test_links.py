"""The mean over heterogeneity against numerical integration, and back."""

import numpy as np
import pytest
from scipy import integrate, optimize
from scipy.special import expit

from ketastats.study.links import marginal_mean, solve_predictor

# the trapezoidal rule is exact to rounding; adaptive integration is asked for 1e-12
CLOSE = 1e-11


def integrated(eta: float, sd: float) -> float:
    def f(z: float) -> float:
        return float(expit(eta + sd * z) * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))

    bends = sorted({-eta / sd, 0.0, sd})
    return integrate.quad(f, -30, 30, points=bends, limit=2000, epsabs=0, epsrel=1e-12)[0]


@pytest.mark.parametrize("sd", [0.05, 0.5, 1.0, 2.5, 5.0])
@pytest.mark.parametrize("eta", [-20.0, -3.0, -0.2, 1.0, 8.0])
def test_the_mean_of_a_logit_normal_is_the_integral(eta, sd):
    got = marginal_mean(np.array([eta]), np.array([sd]), "logit")[0]
    assert got == pytest.approx(integrated(eta, sd), rel=CLOSE)


@pytest.mark.parametrize("sd", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("mean", [1e-6, 0.02, 0.5, 0.74, 0.999])
def test_the_predictor_solves_the_integral(mean, sd):
    eta = optimize.brentq(lambda e: integrated(e, sd) - mean, -60, 60, xtol=1e-12)
    got = solve_predictor(np.array([mean]), np.array([sd]), "logit")[0]
    assert got == pytest.approx(eta, abs=1e-8)  # brentq sees a mean of 1e-6 to 1e-16


@pytest.mark.parametrize("link", ["identity", "log", "logit"])
def test_mean_and_predictor_undo_each_other_in_a_batch(link):
    rng = np.random.default_rng(1)
    sd = rng.uniform(0, 5, 300)
    mean = expit(rng.normal(0, 4, 300))
    eta = solve_predictor(mean, sd, link)
    assert marginal_mean(eta, sd, link) == pytest.approx(mean, rel=1e-12)
    alone = [solve_predictor(mean[i : i + 1], sd[i : i + 1], link)[0] for i in range(300)]
    assert np.abs(eta - alone).max() < 1e-12


def test_a_logit_mean_is_symmetric_and_a_log_mean_is_the_moment():
    sd = np.full(3, 1.7)
    low = solve_predictor(np.array([0.01, 0.3, 0.5]), sd, "logit")
    high = solve_predictor(np.array([0.99, 0.7, 0.5]), sd, "logit")
    assert low == pytest.approx(-high, abs=1e-12)
    draws = np.exp(0.4 + 0.3 * np.random.default_rng(2).standard_normal(400_000))
    se = draws.std() / np.sqrt(len(draws))
    exact = marginal_mean(np.array([0.4]), np.array([0.3]), "log")[0]
    assert abs(draws.mean() - exact) < 4 * se
