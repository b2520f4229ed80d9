"""How often exact intervals hold the truth: fixed truths, and truths drawn from the prior.

A crossover of 26 people, two periods, twice in each, with sex. Every column of its X lies in one of
three strata, so that the posterior under flat effects is known from three sums of squares, and with
it the coverage at fixed SDs; with the SDs drawn from their prior it would be nominal.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.interpolate import PchipInterpolator
from scipy.special import ndtr

import ketastats as ks
from ketastats.bayesian.exact.search import MANY
from ketastats.problem.build import build_problem
from tests.bayesian.exact.designs import CROSSED, crossover, rng_of

LEVELS = (0.5, 0.8, 0.95)
ERRORS = 4.0
"""Standard errors a share may be off: 27 shares are compared, and 4 is exceeded once in 16,000."""
NEAR = 0.01
"""A half-normal prior of SDs that is half as wide again as the largest of them moves coverage by
at most this from nominal."""
DRAWS = 4000
FROM_PRIOR = 500
"""Outcomes per level, each with other SDs: a hundred times slower than outcomes that share them."""
SETS = 2000
"""Of sums of squares, for the expected coverage: its error is 0.002 or less."""

FORMULA = f"treatment*sex + period + time{CROSSED}"
TERMS = ("Intercept", "treatment[1]", "sex[1]", "period[1]", "time[1]", "treatment[1]:sex[1]")
STRATA = {"sex[1]": 2, "treatment[1]": 1, "treatment[1]:sex[1]": 1}
DF = (52 - 1, 26 - 3, 26 - 2)
"""Of residuals in the strata: within, between periods within people, between people."""
SD = (2.0, 1.0, 1.5)
"""True ones of subject, subject:period and residual."""
SD_SCALE = 3.0
"""Of their half-normal prior."""
SDS = f"half-normal({SD_SCALE})"
FLAT = {"effects": "normal(0, 27)", "intercept": "normal(10, 100)", "sd": SDS}
"""Effects with priors of ten SDs of the outcome: as good as flat."""


@pytest.fixture(scope="module")
def plan() -> pd.DataFrame:
    return crossover(26, ("before", "after"))


def design_matrix(plan: pd.DataFrame) -> np.ndarray:
    """Return the columns of TERMS: half the difference to either side, (rows, 6)."""
    half = {
        name: np.where(plan[name] == level, 0.5, -0.5)
        for name, level in (("treatment", "B"), ("sex", "M"), ("period", "p2"), ("time", "before"))
    }
    both = half["treatment"] * half["sex"]
    return np.column_stack([np.ones(len(plan)), *(half[k] for k in ("treatment", "sex")),
                            half["period"], half["time"], both])  # fmt: skip


def outcomes(
    rng: np.random.Generator, plan: pd.DataFrame, beta: np.ndarray, sd: np.ndarray
) -> np.ndarray:
    """Draw outcomes from coefficients (B, 6) and SDs (B, 3); rows go by subject, then period."""
    b = len(beta)
    parts = [rng.normal(size=(b, n)).repeat(len(plan) // n, axis=1) for n in (26, 52, 104)]
    return beta @ design_matrix(plan).T + sum(sd[:, [k]] * part for k, part in enumerate(parts))


def test_the_columns_are_those_of_the_formula(plan):
    problem = build_problem(FORMULA, plan, coding="difference")
    assert problem.names == TERMS
    assert problem.x == pytest.approx(design_matrix(plan), abs=1e-12)


def test_an_outcome_without_residuals_has_no_answer_and_leaves_the_others_theirs(plan):
    rng = rng_of("no residuals")
    beta = np.array([[10.0, 1.0, 0.8, 0.3, -0.4, -0.5]])
    noisy, exact = outcomes(rng, plan, beta, np.array([SD])), beta @ design_matrix(plan).T
    both = np.vstack([exact, noisy, np.full_like(exact, 3.1)])
    found = ks.posterior_many(FORMULA, plan, both, priors=FLAT)
    alone = ks.posterior_many(FORMULA, plan, noisy, priors=FLAT)
    assert found.converged.tolist() == [False, True, False]
    assert np.isnan(found.mean[[0, 2]]).all()
    gap = np.abs(found.mean[1] - alone.mean[0]) / alone.sd[0]
    assert gap.max() < MANY.error


def expected_coverage(rng: np.random.Generator) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return coverage at LEVELS and its error, by stratum, under flat effects at the true SDs.

    The strata have variances e², e² + 2 p² and e² + 2 p² + 4 s² and sums of squares that are these
    times chi-squares. Given them an effect is a mixture of normals around its estimate, which is
    independent of them: an interval of half-width h holds the truth with probability
    2 Phi(h / true SD) - 1. Integrated over the SDs on a dense grid.
    """
    s, p, e = SD
    true = np.array([e**2, e**2 + 2 * p**2, e**2 + 2 * p**2 + 4 * s**2])
    squares = true * np.column_stack([rng.chisquare(df, SETS) for df in DF])
    axes = [(a + (np.arange(n) + 0.5) * (b - a) / n, n) for a, b, n in
            ((0.8, 2.6, 30), (0.0, 3.2, 48), (0.0, 6.0, 60))]  # fmt: skip
    e, p, s = (g.ravel() for g in np.meshgrid(*(x for x, _ in axes), indexing="ij"))
    variance = np.stack([e**2, e**2 + 2 * p**2, e**2 + 2 * p**2 + 4 * s**2])  # (3, nodes)
    prior = -0.5 * (e**2 + p**2 + s**2) / SD_SCALE**2
    fixed = prior - 0.5 * np.array(DF) @ np.log(variance)
    log = fixed - 0.5 * squares @ (1 / variance)
    weight = np.exp(log - log.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    z = np.linspace(0.0, 4.0, 81)  # half-widths in true SDs
    out = {}
    for k in set(STRATA.values()):
        below = weight @ ndtr(z * np.sqrt(true[k] / variance[k])[:, None])  # (SETS, 81)
        h = np.array([PchipInterpolator(row, z)(0.5 + np.array(LEVELS) / 2) for row in below])
        held = 2 * ndtr(h) - 1
        out[k] = held.mean(axis=0), held.std(axis=0, ddof=1) / np.sqrt(SETS)
    return out


@pytest.mark.slow
def test_coverage_at_a_fixed_truth_is_what_theory_expects_and_near_nominal(plan):
    rng = rng_of("coverage")
    expected = expected_coverage(rng)
    beta = np.array([10.0, 1.0, 0.8, 0.3, -0.4, -0.5])
    y = outcomes(rng, plan, np.tile(beta, (DRAWS, 1)), np.tile(SD, (DRAWS, 1)))
    for i, level in enumerate(LEVELS):
        found = ks.posterior_many(FORMULA, plan, y, priors=FLAT, level=level)
        assert found.converged.all()
        held = ((found.ci_low <= beta) & (beta <= found.ci_high)).mean(axis=0)
        for term, stratum in STRATA.items():
            mean, error = (x[i] for x in expected[stratum])
            assert abs(mean - level) < NEAR
            spread = np.hypot(np.sqrt(mean * (1 - mean) / DRAWS), error)
            assert abs(held[TERMS.index(term)] - mean) < ERRORS * spread, (term, level)


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_coverage_of_truths_from_the_prior_is_nominal(plan, level):
    """Exactly so in expectation, of every coefficient; new truths and outcomes for every level."""
    rng = rng_of(f"prior {level}")
    centre, scale = np.array([10.0, 0, 0, 0, 0, 0]), np.array([5.0, 2, 2, 2, 2, 2])
    beta = centre + scale * rng.normal(size=(FROM_PRIOR, 6))
    y = outcomes(rng, plan, beta, np.abs(rng.normal(0, SD_SCALE, (FROM_PRIOR, 3))))
    priors = {"effects": "normal(0, 2)", "intercept": "normal(10, 5)", "sd": SDS}
    found = ks.posterior_many(FORMULA, plan, y, priors=priors, level=level)
    assert found.converged.all()
    held = ((found.ci_low <= beta) & (beta <= found.ci_high)).mean(axis=0)
    error = np.sqrt(level * (1 - level) / FROM_PRIOR)
    assert np.abs(held - level).max() < ERRORS * error, dict(zip(TERMS, held, strict=True))
