"""Are the truth recovered and Wald intervals right as often as they say, where mice are many?"""

from __future__ import annotations

import numpy as np
import pytest

from ketastats.frequentist.families import FAMILIES
from ketastats.frequentist.marginal import marginal_mean
from ketastats.frequentist.quadrature import fit_glmm

pytestmark = pytest.mark.slow
DRAWS, MICE, SD = 800, 80, 0.8
BETA = np.array([-0.4, 0.5, 0.7, -0.6])
DISPERSION = {"beta-binomial": 0.15, "negative-binomial": 0.3}
ERROR = np.sqrt(0.05 * 0.95 / DRAWS)


def drawn(name: str, seed: int) -> tuple:
    """Return x, group, y: two arms, two phases measured twice, 12 trials or counts."""
    rng = np.random.default_rng([20261121, seed])
    group = np.repeat(np.arange(MICE), 4)
    arm, phase = (group % 2).astype(float), np.tile([0.0, 0.0, 1.0, 1.0], MICE)
    x = np.stack([np.ones(4 * MICE), arm, phase, arm * phase], axis=1)
    eta = x @ BETA + rng.normal(0, SD, (DRAWS, MICE))[:, group]
    d = DISPERSION.get(name, 0.0)
    if FAMILIES[name].trials:
        p = 1 / (1 + np.exp(-eta))
        if d:
            p = rng.beta(p * (1 - d) / d, (1 - p) * (1 - d) / d)
        return x, group, rng.binomial(12, p)
    mu = np.exp(eta + 1)
    return x, group, rng.poisson(mu * rng.gamma(1 / d, d, mu.shape) if d else mu)


@pytest.mark.parametrize("name", ["binomial", "beta-binomial", "poisson", "negative-binomial"])
def test_truth_is_recovered_and_covered(name):
    x, group, y = drawn(name, list(FAMILIES).index(name))
    offset = None if FAMILIES[name].trials else np.ones(len(x))
    fit = fit_glmm(name, x, group, y, size=12, offset=offset)
    assert np.all(fit.converged)
    se = np.sqrt(np.diagonal(fit.covariance, axis1=1, axis2=2))
    truth = np.array([*BETA, SD, *([DISPERSION[name]] if name in DISPERSION else [])])
    got = np.column_stack([fit.beta, fit.sd, fit.dispersion])[:, : len(truth)]
    # maximum likelihood is biased by order 1 / mice: 0.1 standard errors for coefficients
    bias = (got.mean(axis=0) - truth) / got.std(axis=0)
    assert np.all(np.abs(bias[:4]) < 0.1 + 3 / np.sqrt(DRAWS))
    np.testing.assert_allclose(got.mean(axis=0)[4:], truth[4:], rtol=0.05)
    # z takes the spread as known: with 80 mice that costs half a percent of coverage
    covered = (np.abs(got[:, :4] - BETA) < 1.959964 * se[:, :4]).mean(axis=0)
    assert np.all(np.abs(covered - 0.95) < 0.005 + 3 * ERROR)
    # standard errors say what the draws do; the SD of 800 draws has an error of 2.5 %
    np.testing.assert_allclose(se.mean(axis=0), got.std(axis=0), rtol=0.1)


def test_delta_interval_of_a_population_mean_covers_it():
    x, group, y = drawn("beta-binomial", 7)
    fit = fit_glmm("beta-binomial", x, group, y, size=12)
    row = np.array([1.0, 1.0, 1.0, 1.0])
    at = marginal_mean(fit.family, fit.beta @ row, fit.sd)
    slope = np.column_stack([at.d_eta[:, None] * row, at.d_sd, np.zeros(DRAWS)])
    se = np.sqrt(np.einsum("bi,bij,bj->b", slope, fit.covariance, slope))
    truth = float(marginal_mean(fit.family, BETA @ row, SD).mean)
    assert np.abs(at.mean.mean() - truth) < 0.1 * se.mean() + 3 * at.mean.std() / np.sqrt(DRAWS)
    covered = (np.abs(at.mean - truth) < 1.959964 * se).mean()
    assert abs(covered - 0.95) < 0.005 + 3 * ERROR


def test_ignoring_the_mice_is_visibly_wrong():
    """The check above can fail: without the random intercept the arms' interval is too short."""
    x, _, y = drawn("binomial", 8)
    fit = fit_glmm("binomial", x, None, y, size=12)
    se = np.sqrt(fit.covariance[:, 1, 1])
    marginal = marginal_mean(fit.family, BETA[0] + np.array([0.0, BETA[1]]), SD).mean
    truth = np.diff(np.log(marginal / (1 - marginal)))[0]  # what the plain model estimates
    covered = (np.abs(fit.beta[:, 1] - truth) < 1.959964 * se).mean()
    assert covered < 0.95 - 10 * ERROR
