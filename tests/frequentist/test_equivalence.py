"""Equivalence statements: against statsmodels where a model is a t test, and by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from ketastats.core.errors import DataError
from ketastats.frequentist.classical import hills_armitage
from ketastats.frequentist.equivalence import (
    NOT_SHOWN,
    NOT_TESTED,
    RELEVANT,
    SHOWN,
    equivalence,
)
from ketastats.frequentist.lmm import lmm, lmm_many
from ketastats.frequentist.ranks import rank_tests
from ketastats.problem.estimates import estimates_frame

EXACT = 1e-12
"""Both sides are the same few operations on the same numbers."""
REML = 1e-7
"""The variance of a mixed model is found by a search; see tests/reference/README.md."""


def row(estimate: float = 0.0, se: float = 1.0, df: float = 10.0, **more) -> pd.DataFrame:
    return estimates_frame(
        [{"estimand": "e", "estimate": estimate, "se": se, "df": df, "status": "ok", **more}]
    )


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-0.3, 0.5), (0.2, 3.0)])
def test_a_model_of_two_groups_equals_ttost_ind(low, high):
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.2, 1, 12), rng.normal(0, 1, 9)
    data = pd.DataFrame({"group": ["A"] * 12 + ["B"] * 9, "y": np.concatenate([a, b])})
    fit = lmm("y ~ group", data, ddf="residual")
    got = equivalence(fit.contrast({"group": "A - B"}), low, high).iloc[0]
    p, lower, upper = ttost_ind(a, b, low, high)
    for mine, theirs in {"p": p, "p_low": lower[1], "p_high": upper[1], "df": lower[2]}.items():
        np.testing.assert_allclose(got[mine], theirs, rtol=REML, err_msg=mine)


@pytest.mark.parametrize("ddf", ["kenward-roger", "satterthwaite"])
def test_a_mixed_model_of_pairs_equals_ttost_paired(ddf):
    rng = np.random.default_rng(2)
    own = rng.normal(0, 2, 11)
    a, b = own + rng.normal(0.3, 0.6, 11), own + rng.normal(0, 0.6, 11)
    data = pd.DataFrame({"mouse": [f"m{k}" for k in range(11)] * 2,
                         "drug": ["A"] * 11 + ["B"] * 11, "y": np.concatenate([a, b])})  # fmt: skip
    fit = lmm("y ~ drug + (1 | mouse)", data, ddf=ddf)
    assert fit.status == "ok"
    got = equivalence(fit.contrast({"drug": "A - B"}), -0.5, 0.9).iloc[0]
    p, lower, upper = ttost_paired(a, b, -0.5, 0.9)
    for mine, theirs in {"p": p, "p_low": lower[1], "p_high": upper[1], "df": lower[2]}.items():
        np.testing.assert_allclose(got[mine], theirs, rtol=REML, err_msg=mine)


def test_verdict_p_and_interval_say_the_same():
    """Over a grid: shown exactly where the interval is inside, outside where it does not touch."""
    frame = pd.concat(
        [
            row(e, s, d)
            for e in np.linspace(-3, 3, 41)
            for s in (0.1, 0.4, 1.5)
            for d in (3, 30, np.inf)
        ]
    )
    got = equivalence(frame, -1.0, 1.3, alpha=0.1)
    inside = (got["ci_low"] > -1.0) & (got["ci_high"] < 1.3)
    outside = (got["ci_low"] > 1.3) | (got["ci_high"] < -1.0)
    assert (inside == (got["verdict"] == SHOWN)).all()
    assert (inside == (got["p"] < 0.1)).all()
    assert (outside == (got["verdict"] == RELEVANT)).all()
    assert ((~inside & ~outside) == (got["verdict"] == NOT_SHOWN)).all()
    assert inside.any() and outside.any() and (~inside & ~outside).any()
    assert (got["level"] == 0.8).all()
    np.testing.assert_array_equal(got["p"], np.maximum(got["p_low"], got["p_high"]))


def test_turning_the_sign_turns_the_tests():
    one, other = equivalence(row(0.4), -1, 2).iloc[0], equivalence(row(-0.4), -2, 1).iloc[0]
    assert one["p_low"] == pytest.approx(other["p_high"], rel=EXACT)
    assert one["ci_low"] == pytest.approx(-other["ci_high"], rel=EXACT)


def test_one_infinite_bound_is_non_inferiority():
    got = equivalence(row(0.4), -1, np.inf).iloc[0]
    assert got["p_high"] == 0 and got["p"] == got["p_low"]


def test_the_level_is_as_in_the_estimates_at_alpha_half_of_it():
    data = pd.DataFrame({"group": list("AABB") * 4, "y": np.random.default_rng(4).normal(size=16)})
    table = lmm("y ~ group", data, ddf="residual", level=0.9).contrast({"group": "A - B"})
    got = equivalence(table, -1, 1)
    np.testing.assert_allclose(got[["ci_low", "ci_high"]], table[["ci_low", "ci_high"]], rtol=EXACT)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"status": "unconverged"}, "status unconverged"),
        ({"status": "not_estimable", "notes": "aliased"}, "status not_estimable; aliased"),
        ({"status": "failed"}, "status failed"),
        ({"engine": "mcmc"}, "a posterior has a probability inside the bounds"),
        ({"engine": "posterior", "prob_positive": 0.7}, "a posterior"),
        ({"engine": "mine", "prob_positive": 0.7}, "a posterior"),
        ({"se": np.nan}, "no standard error"),
        ({"se": 0.0}, "no standard error"),
        ({"df": np.nan}, "no standard error"),
    ],
)
def test_what_cannot_be_tested_says_why(more, reason):
    got = equivalence(pd.concat([row(**more), row()]), -5, 5)
    assert got["verdict"].tolist() == [NOT_TESTED, SHOWN]
    assert reason in got["notes"].iloc[0] and got["notes"].iloc[1] == ""
    assert got[["p", "p_low", "p_high", "ci_low", "ci_high"]].iloc[0].isna().all()


def test_a_boundary_fit_is_tested():
    assert equivalence(row(status="boundary", se=0.1), -1, 1)["verdict"].item() == SHOWN


@pytest.mark.parametrize(
    ("low", "high", "alpha", "message"),
    [
        (1, -1, 0.05, "not in order"),
        (1, 1, 0.05, "not in order"),
        (np.nan, 1, 0.05, "not in order"),
        (-np.inf, np.inf, 0.05, "both bounds are infinite"),
        (-1, 1, 0.5, "alpha"),
        (-1, 1, 0, "alpha"),
    ],
)
def test_bounds_and_level_are_checked(low, high, alpha, message):
    with pytest.raises(DataError, match=message):
        equivalence(row(), low, high, alpha=alpha)


def crossover(people: int = 12) -> pd.DataFrame:
    rng = np.random.default_rng(6)
    rows = [
        (k, s, p, s[p - 1], rng.normal())
        for k in range(people)
        for s in [("AB", "BA")[k % 2]]
        for p in (1, 2)
    ]
    return pd.DataFrame(rows, columns=["subject", "sequence", "period", "treatment", "y"])


def test_tables_of_t_tests_serve_and_those_of_ranks_are_refused():
    t = hills_armitage(crossover(), "y", level=0.9)
    got = equivalence(t, -2, 2)
    assert list(got.index) == ["treatment", "period", "carry_over"]
    np.testing.assert_allclose(got["ci_low"], t["ci_low"], rtol=EXACT)
    with pytest.raises(DataError, match="no column 'se'"):
        equivalence(rank_tests(crossover(), "y"), -2, 2)


@pytest.mark.slow
def test_equivalence_is_shown_wrongly_as_often_as_alpha_at_the_bound_and_less_beyond():
    """A crossover analysed by a mixed model; the true effect is on the bound, or past it."""
    draws, people, high = 4000, 14, 1.2
    rng = np.random.default_rng(20240714)
    plan = pd.DataFrame(
        [(f"s{k}", str(p), "AB"[(k + p) % 2]) for k in range(people) for p in (0, 1)],
        columns=["subject", "period", "treatment"],
    )
    own = np.repeat(rng.normal(0, 2, (draws, people)), 2, axis=1)
    noise = own + rng.normal(0, 1, (draws, 2 * people))
    on_b = (plan["treatment"] == "B").to_numpy(float)
    error = np.sqrt(0.05 * 0.95 / draws)

    def verdicts(effect: float) -> pd.Series:
        fits = lmm_many("treatment + period + (1 | subject)", plan, noise + effect * on_b)
        k = fits.terms.index("treatment[T.B]")
        table = estimates_frame(
            {"estimate": e, "se": s, "df": d, "status": "ok"}
            for e, s, d in zip(fits.estimate[:, k], fits.se[:, k], fits.df[:, k], strict=True)
        )
        return equivalence(table, -high, high)["verdict"]

    at_bound = verdicts(high)
    assert abs((at_bound == SHOWN).mean() - 0.05) < 3 * error
    assert abs((at_bound == RELEVANT).mean() - 0.05) < 3 * error
    beyond = verdicts(high + 0.5)
    assert (beyond == SHOWN).mean() < 0.01
    inside = verdicts(0.0)
    assert (inside == RELEVANT).mean() < 0.001 and (inside == SHOWN).mean() > 0.7
