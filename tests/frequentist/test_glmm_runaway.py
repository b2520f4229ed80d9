"""A random intercept without a finite standard deviation is said to have none."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import norm

from ketastats.frequentist.families import FAMILIES
from ketastats.frequentist.glmm import glmm, glmm_many
from ketastats.frequentist.glmm_search import OK, RUNAWAY
from ketastats.frequentist.quadrature import fit_glmm

QUADRATURE = 0.1
"""Standard errors: MOVES in glmm_runaway.py, what a fit may owe to the number of its nodes."""


def pairs(neither: int, one: int, both: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, group, y of people with two yes/no rows each."""
    n = neither + one + both
    y = np.zeros((n, 2))
    y[neither : neither + one, 1] = 1
    y[neither + one :] = 1
    return np.ones((2 * n, 1)), np.repeat(np.arange(n), 2), y.reshape(1, -1)


def brute(counts: tuple[int, int, int], beta: float, sd: float) -> float:
    """Return the log-likelihood of such people by adaptive integration."""
    middle = -beta / sd  # where the share passes a half
    shapes = (lambda p: (1 - p) ** 2, lambda p: p * (1 - p), lambda p: p * p)
    edges = sorted({-9.0, 9.0, *(np.clip(middle + k / sd, -9, 9) for k in (-8, -2, 0, 2, 8))})
    total = 0.0
    for shape, count in zip(shapes, counts, strict=True):
        area = sum(
            quad(lambda v, s=shape: s(expit(beta + sd * v)) * norm.pdf(v), a, b, epsabs=1e-14)[0]
            for a, b in pairwise(edges)
        )
        total += count * np.log(area) if count else 0.0
    return float(total)


@pytest.mark.parametrize("counts", [(44, 0, 6), (90, 0, 10), (20, 0, 20)])
def test_people_who_always_answer_alike_have_no_finite_spread(counts):
    """The likelihood rises towards that of the shares of the patterns, for ever."""
    n = sum(counts)
    limit = sum(c * np.log(c / n) for c in counts if c)
    threshold = norm.ppf(counts[2] / n)
    along = np.array([brute(counts, t * threshold, t) for t in (5, 10, 20, 40, 80)])
    assert np.all(np.diff(along) > 0) and -2 < along[-1] - limit < 0
    x, group, y = pairs(*counts)
    for nodes in (1, 7, 25, 51, 100):
        fit = fit_glmm("binomial", x, group, y, size=1, nodes=nodes)
        assert fit.reason[0] == RUNAWAY, nodes
        assert not fit.converged[0]
        assert np.isnan([fit.beta[0, 0], fit.sd[0], fit.covariance[0, 0, 0]]).all()


def test_a_few_who_differ_leave_it_undetermined():
    """The maximum is finite but the likelihood is flat to its right: twice the spread costs 0.3."""
    x, group, y = pairs(20, 1, 20)
    for nodes in (1, 7, 25, 51, 100):
        assert fit_glmm("binomial", x, group, y, size=1, nodes=nodes).reason[0] == RUNAWAY
    assert brute((20, 1, 20), 0, 30.0) - brute((20, 1, 20), 0, 60.0) < 0.4


def test_a_large_spread_that_the_rows_determine_stays_ok():
    """So it is not the size alone: an SD of 7, by brute force, found with 25 nodes."""
    counts = (20, 5, 20)
    x, group, y = pairs(*counts)
    found = minimize(lambda s: -brute(counts, 0.0, s[0]), [6.0], method="Nelder-Mead").x[0]
    for nodes in (25, 51):
        fit = fit_glmm("binomial", x, group, y, size=1, nodes=nodes)
        assert fit.reason[0] == OK and fit.sd[0] > 5
        assert abs(fit.sd[0] - found) < QUADRATURE * np.sqrt(fit.covariance[0, 1, 1])
    assert fit.sd[0] == pytest.approx(found, rel=1e-3)  # 51 nodes
    # seven nodes find another maximum, which is theirs
    assert fit_glmm("binomial", x, group, y, size=1, nodes=7).reason[0] == RUNAWAY


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("nodes", [1, 25])
def test_ordinary_fits_are_not_touched(name, nodes):
    """SD 1 between 40 mice; four rows of ten trials, or counts."""
    rng = np.random.default_rng([7, list(FAMILIES).index(name)])
    group = np.repeat(np.arange(40), 4)
    x = np.stack([np.ones(160), group % 2, np.tile([0, 0, 1, 1], 40)], axis=1).astype(float)
    eta = x @ [-0.5, 0.4, 0.6] + rng.normal(0, 1, (100, 40))[:, group]
    trials = FAMILIES[name].trials
    y = rng.binomial(10, expit(eta)) if trials else rng.poisson(np.exp(eta + 1))
    fit = fit_glmm(name, x, group, y, size=10 if trials else None, nodes=nodes)
    assert np.all(fit.reason == OK)


def test_it_is_one_note_and_counted_among_many():
    _, group, alike = pairs(44, 0, 6)
    plain = pairs(10, 10, 30)[2]
    data = pd.DataFrame({"person": group, "yes": alike[0]})
    fit = glmm("yes ~ 1 + (1 | person)", data, family="binomial")
    assert fit.status == "unconverged"
    (said,) = fit.warnings
    assert said == (
        "the random intercept runs away: neither the rows (groups are all or nothing) nor the "
        "nodes determine a standard deviation this large; use a model with priors (ks.mcmc) or "
        "ks.gee, or nodes=100 if groups do differ that much"
    )
    assert fit.coefficients.isna().all(axis=None) and np.isnan(fit.loglik)
    y = np.concatenate([alike, plain, alike, plain])
    many = glmm_many("1 + (1 | person)", data, y, family="binomial")
    assert many.status == ("unconverged", "ok", "unconverged", "ok")
    assert np.isnan(many.estimate[[0, 2]]).all()
    alone = glmm_many("1 + (1 | person)", data, plain, family="binomial")
    np.testing.assert_array_equal(many.estimate[1], alone.estimate[0])
    np.testing.assert_array_equal(many.sd[[1, 3]], alone.sd[[0, 0]])


def test_parts_within_groups_run_away_too():
    """Twelve mice of four branches; the two rows of a branch always agree."""
    rng = np.random.default_rng(5)
    group, inner = np.repeat(np.arange(12), 8), np.repeat(np.arange(48), 2)
    y = rng.integers(0, 2, (3, 48))[:, inner].astype(float)
    y[2] = rng.integers(0, 2, 96)
    fit = fit_glmm("binomial", np.ones((96, 1)), group, y, size=1, inner=inner, nodes=11)
    assert fit.reason.tolist() == [RUNAWAY, RUNAWAY, OK]
    assert np.isnan(fit.inner_sd[:2]).all()
