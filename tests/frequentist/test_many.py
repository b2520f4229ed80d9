"""``lmm_many``: every row of a batch is ``lmm`` alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ketastats.core.errors import DataError, NotEstimable
from ketastats.frequentist.lmm import lmm, lmm_many
from ketastats.problem.build import build_problem
from ketastats.problem.questions import as_estimands

RTOL = 1e-9
"""Two searches that both end in Newton steps at the same maximum."""
RIGHT = "treatment * time + period + (1 | subject)"
TERMS = RIGHT + " + (1 | subject:period)"
COLUMNS = ("estimate", "se", "df", "t", "p", "ci_low", "ci_high")


def design(crossover, subjects: int = 14) -> pd.DataFrame:
    return crossover(21, (2.0, 1.5, 0.0, 1.0), subjects).drop(columns="y")


def outcomes(d: pd.DataFrame, count: int, seed: int = 5) -> np.ndarray:
    """Return synthetic outcomes with a deviation per person and per visit."""
    rng = np.random.default_rng(seed)
    who, _ = pd.factorize(d["subject"])
    visit, _ = pd.factorize(d["subject"] + d["period"])
    y = 2 * rng.normal(size=(count, who.max() + 1))[:, who]
    y += 1.5 * rng.normal(size=(count, visit.max() + 1))[:, visit]
    return 10 + y + rng.normal(size=(count, len(d)))


def with_holes(y: np.ndarray, seed: int = 6) -> np.ndarray:
    """Return outcomes of which each misses rows of its own; the first misses none."""
    lost = np.random.default_rng(seed).random(y.shape) < 0.12
    lost[0] = False
    return np.where(lost, np.nan, y)


@pytest.mark.parametrize("ddf", ["kenward-roger", "satterthwaite", "residual", "containment"])
@pytest.mark.parametrize("holes", [False, True])
def test_a_row_is_lmm_alone(ddf, holes, crossover):
    d = design(crossover)
    y = outcomes(d, 6)
    y = with_holes(y) if holes else y
    many = lmm_many(TERMS, d, y, ddf=ddf)
    assert many.converged.all()
    for b in range(len(y)):
        alone = lmm(f"y ~ {TERMS}", d.assign(y=y[b]).dropna(subset="y"), ddf=ddf)
        assert tuple(alone.coefficients.index) == many.terms
        assert tuple(alone.variance.index) == many.parameters
        assert (alone.status == "boundary") == many.boundary[b]
        largest = alone.variance.max()
        np.testing.assert_allclose(many.variance[b], alone.variance, rtol=RTOL, atol=RTOL * largest)
        np.testing.assert_allclose(many.loglik[b], alone.loglik, rtol=1e-11)
        for name in COLUMNS:
            np.testing.assert_allclose(
                getattr(many, name)[b], alone.coefficients[name], rtol=RTOL, atol=1e-10
            )


@pytest.mark.parametrize("residual", ["ar1(visit | subject)", "un(visit | subject)", "by sex"])
def test_a_row_is_lmm_alone_under_residual_structures(residual, crossover):
    d = design(crossover, 30)
    d = d.assign(visit=d["period"] + d["time"])
    y = with_holes(outcomes(d, 4))
    right = "treatment * time + period" + (" + (1 | subject)" if residual.startswith("by") else "")
    ddf = "kenward-roger-observed"
    many = lmm_many(right, d, y, residual=residual, ddf=ddf)
    assert many.converged.all()
    for b in range(len(y)):
        frame = d.assign(y=y[b]).dropna(subset="y")
        alone = lmm(f"y ~ {right}", frame, residual=residual, ddf=ddf)
        np.testing.assert_allclose(many.variance[b], alone.variance, rtol=1e-8)  # flat in rho
        for name in COLUMNS:
            np.testing.assert_allclose(
                getattr(many, name)[b], alone.coefficients[name], rtol=1e-8, atol=1e-9
            )


@pytest.mark.parametrize("size", [4, 501])
def test_too_few_rows_do_not_touch_the_others(size, crossover):
    """Outcomes are fitted 500 at a time: the second chunk must know its own failures."""
    d = design(crossover)
    y = with_holes(outcomes(d, size))
    clean = lmm_many(RIGHT, d, y)
    bad = [1, size - 1]
    spoiled = y.copy()
    spoiled[1] = np.nan
    spoiled[size - 1, 4:] = np.nan
    many = lmm_many(RIGHT, d, spoiled)
    assert not many.converged[bad].any()
    for name in COLUMNS:
        assert np.isnan(getattr(many, name)[bad]).all()
    others = np.setdiff1d(np.arange(size), bad)
    assert many.converged[others].all()
    for name in (*COLUMNS, "variance", "loglik"):
        np.testing.assert_allclose(
            getattr(many, name)[others], getattr(clean, name)[others], rtol=RTOL, atol=1e-10
        )


def test_one_outcome_with_too_few_rows_is_not_converged(crossover):
    """Alone in its batch it takes the way of outcomes that share their rows."""
    d = design(crossover)
    y = outcomes(d, 1)
    y[0, 4:] = np.nan
    many = lmm_many(RIGHT, d, y)
    assert not many.converged[0] and np.isnan(many.estimate).all()


def test_an_outcome_that_stops_short_does_so_alone_too(crossover):
    """14 people and 10 covariances: the maximum is interior, and the search must reach it."""
    d = design(crossover)
    d = d.assign(visit=d["period"] + d["time"])
    y = with_holes(outcomes(d, 4))
    many = lmm_many("treatment * time + period", d, y, residual="un(visit | subject)")
    assert many.converged.all()


def test_rows_that_alias_a_column_do_not_pass_for_a_fit(crossover):
    """One period only: the period effect cannot be estimated from that outcome."""
    d = design(crossover)
    y = outcomes(d, 3)
    y[1, d["period"].to_numpy() == "2"] = np.nan
    many = lmm_many(RIGHT, d, y)
    assert many.converged.tolist() == [True, False, True]
    assert np.isnan(many.estimate[1]).all()


def test_estimands_instead_of_coefficients(crossover):
    d = design(crossover)
    y = with_holes(outcomes(d, 3))
    problem = build_problem(f"y ~ {RIGHT}", d.assign(y=y[0]))
    asked = (
        *as_estimands(problem, {"treatment": "B - A"}, {"time": "b"}),
        *as_estimands(problem, {"treatment": "B - A", "time": "b - a"}),
    )
    many = lmm_many(RIGHT, d, y, estimands=asked)
    assert many.terms == tuple(e.name for e in asked)
    assert many.estimate.shape == (3, 2)
    names = ("estimate", "se", "df", "statistic", "p", "ci_low", "ci_high")
    for b in range(3):
        frame = d.assign(y=y[b]).dropna(subset="y")
        alone = lmm(f"y ~ {RIGHT}", frame).contrast(estimands=asked)
        for mine, theirs in zip(COLUMNS, names, strict=True):
            np.testing.assert_allclose(getattr(many, mine)[b], alone[theirs], rtol=RTOL, atol=1e-10)


def test_an_estimand_that_the_data_cannot_answer_is_refused(crossover):
    d = design(crossover)
    problem = build_problem(f"y ~ {RIGHT}", d.assign(y=1.0 * np.arange(len(d))))
    asked = as_estimands(problem, {"treatment": "B - A"}, {"time": "b"})
    thin = d[~((d["treatment"] == "B") & (d["time"] == "b"))]
    with pytest.raises(NotEstimable, match="B - A"):
        lmm_many(RIGHT, thin, outcomes(thin, 2), estimands=asked)


@pytest.mark.parametrize(("change", "words"), [("width", "columns"), ("inf", "infinite")])
def test_bad_outcomes_are_named(change, words, crossover):
    d = design(crossover)
    y = outcomes(d, 2)
    y = y[:, 1:] if change == "width" else np.where(y == y[0, 0], np.inf, y)
    with pytest.raises(DataError, match=words):
        lmm_many(RIGHT, d, y)


def test_one_outcome_may_be_a_vector(crossover):
    d = design(crossover)
    y = outcomes(d, 1)
    np.testing.assert_array_equal(lmm_many(RIGHT, d, y[0]).estimate, lmm_many(RIGHT, d, y).estimate)
