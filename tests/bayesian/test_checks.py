"""Posterior predictive checks see what was planted, and nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from ketastats.bayesian.checks import Check, around_cells, targeted_checks

ROWS, DRAWS = 80, 800


def make(change=None, seed=1):
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(4), ROWS // 4)
    sex = np.tile([0, 1], ROWS // 2)
    period = np.tile([0, 0, 1, 1], ROWS // 4)
    mean = 30 + 5.0 * cell
    y = mean + 6 * rng.normal(size=ROWS)
    replicated = mean + 6 * rng.normal(size=(DRAWS, ROWS))
    if change is not None:
        y = change(y, sex, period)
    found = targeted_checks(
        np.round(y), replicated, low=0, high=60, step=1.0, strata={"sex": sex}, period=period,
        cell=cell,
    )  # fmt: skip
    return {c.name: c for c in found}


def flagged(change, seed=1):
    return {name for name, c in make(change, seed).items() if c.surprising}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (
            lambda y, sex, period: np.minimum(y, 42) * 60 / 42,
            "share at the upper bound 60 or over it",
        ),
        (lambda y, sex, period: np.maximum(y - 28, 0), "share at the lower bound 0 or under it"),
        (lambda y, sex, period: 5 * np.round(y / 5), "share on multiples of 5"),
        (
            lambda y, sex, period: np.where(sex == 1, 37 + 2.2 * (y - 37), y),
            "SD ratio between the levels of sex",
        ),
        (lambda y, sex, period: y + 6 * period, "mean of the last period less the first"),
        (
            lambda y, sex, period: np.where(period == 1, 37 + 2.2 * (y - 37), y),
            "SD ratio, last period to first",
        ),
        (lambda y, sex, period: y + 45 * (np.arange(ROWS) == 40), "largest value"),
        (lambda y, sex, period: y - 45 * (np.arange(ROWS) == 40), "smallest value"),
        (
            lambda y, sex, period: 37 + np.exp((y - 37) / 8) * 4,
            "skewness around the cell means",
        ),
    ],
)
def test_what_is_planted_is_seen(change, name):
    assert name in flagged(change)


def test_nothing_is_seen_where_nothing_is():
    """10 checks at 5 % over 20 data sets: 10 expected, and 25 has a chance below 1e-4."""
    total = sum(len(flagged(None, seed)) for seed in range(20))
    assert total < 25


def test_p_is_the_share_above_with_ties_halved():
    assert Check("t", 1.0, np.array([0.0, 1.0, 2.0, 3.0])).p == pytest.approx(0.625)
    assert not Check("t", 1.0, np.array([1.0, 1.0])).surprising


def test_around_cells_takes_means_off():
    y = np.array([[1.0, 3.0, 10.0, 20.0]])
    assert around_cells(y, np.array([0, 0, 1, 1])).tolist() == [[-1.0, 1.0, -5.0, 5.0]]


def test_a_stratum_of_three_levels_and_no_bounds_gives_no_such_checks():
    rng = np.random.default_rng(3)
    y, replicated = rng.normal(size=12), rng.normal(size=(50, 12))
    found = targeted_checks(
        y, replicated, low=None, high=None, step=None, strata={"site": np.arange(12) % 3},
        period=None, cell=np.zeros(12, dtype=int),
    )  # fmt: skip
    assert [c.name for c in found] == [
        "smallest value",
        "largest value",
        "skewness around the cell means",
    ]
