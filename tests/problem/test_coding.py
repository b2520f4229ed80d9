"""Columns of the fixed part against formulaic, and what contrasts may not change."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from formulaic import Formula
from formulaic.parser.types import Factor, Term

import ketastats as ks
from ketastats.core.errors import DataError, FormulaError
from ketastats.problem.coding import contrast_matrix, full_rank_parts
from ketastats.problem.fixed import fixed_spec

FORMULAS = [
    "1", "p", "p*q", "p:q", "0+p", "0+p:q", "p+p:q", "0+p*q", "p/q", "(p+q+r)**2 - p:q", "q:p:r",
    "p + q:r", "p+q+r+p:q:r", "r*q*p", "0+p+q", "x", "x-1", "x*p", "p:x", "x:p + x", "0+x:p",
    "p*x*q", "x + x:p:q", "poly(x, 2)*p", "center(x)*log(z)", "scale(x)+p:z:x", "log(z + x*x)",
]  # fmt: skip


@pytest.fixture(scope="module")
def table():
    frame = pd.DataFrame(list(itertools.product("ab", "cde", "fg")), columns=list("pqr"))
    frame = pd.concat([frame, frame], ignore_index=True).astype("category")
    rng = np.random.default_rng(1)
    return frame.assign(x=rng.normal(size=len(frame)), z=rng.uniform(1, 2, size=len(frame)))


@pytest.mark.parametrize("text", FORMULAS)
def test_treatment_contrasts_equal_formulaic(text, table):
    """Column by column, names and values: both follow the rule of Wilkinson and Rogers."""
    wanted = Formula(text).get_model_matrix(table, na_action="ignore")
    spec = fixed_spec(text, table)
    assert list(spec.columns) == list(wanted.columns)
    np.testing.assert_array_equal(spec.learned, np.asarray(wanted, dtype=float))
    np.testing.assert_array_equal(spec.matrix(table), spec.learned)


@pytest.mark.parametrize("text", ["p", "q", "p*q", "q*r*p", "x*q", "0+q", "q:x"])
def test_sum_contrasts_equal_formulaic(text, table):
    def recoded(term: Term) -> Term:
        return Term(
            [
                Factor(f"C({f.expr}, contr.sum)", eval_method="python") if f.expr in "pqr" else f
                for f in term.factors
            ]
        )

    formula = Formula([recoded(t) for t in Formula(text)])
    wanted = formula.get_model_matrix(table, na_action="ignore")
    spec = fixed_spec(text, table, "sum")
    plain = [str(c).replace(", contr.sum)", "").replace("C(", "") for c in wanted.columns]
    assert list(spec.columns) == plain
    np.testing.assert_array_equal(spec.learned, np.asarray(wanted, dtype=float))


@pytest.mark.parametrize("text", FORMULAS)
@pytest.mark.parametrize("coding", ["sum", "difference"])
def test_every_coding_spans_the_same_columns(text, coding, table):
    """The model is the same whatever the contrasts, with main effects left out or not."""
    treatment, other = fixed_spec(text, table).learned, fixed_spec(text, table, coding).learned
    assert other.shape == treatment.shape
    both = np.hstack([treatment, other])
    assert np.linalg.matrix_rank(both) == np.linalg.matrix_rank(treatment)


@pytest.mark.parametrize("text", FORMULAS)
def test_full_rank_parts_have_full_rank_where_every_cell_is_filled(text, table):
    x = fixed_spec(text, table).learned
    assert np.linalg.matrix_rank(x) == x.shape[1]


def test_sum_contrasts_are_deviations_from_the_mean_of_the_levels(table):
    matrix, names = contrast_matrix(["c", "d", "e"], "sum")
    assert names == ("S.c", "S.d")
    np.testing.assert_array_equal(matrix.sum(axis=0), 0.0)


def test_contrasts_of_a_fit_change_coefficients_and_nothing_else():
    data = ks.load_study("jelen2025").simulate(seed=2, outcome="madrs")
    formula = "madrs ~ treatment*time*sex + period + (1|subject)"
    one, two = ks.lmm(formula, data), ks.lmm(formula, data, contrasts="sum")
    asked = {"treatment": "naltrexone - placebo", "time": "day1 - pre"}
    numbers = ["estimate", "se", "df", "p"]
    # the same optimum reached along other columns: the search stops at 1e-12 of a standard error
    np.testing.assert_allclose(
        one.contrast(asked)[numbers].to_numpy(dtype=float),
        two.contrast(asked)[numbers].to_numpy(dtype=float),
        rtol=1e-8,
    )
    np.testing.assert_allclose(one.anova(), two.anova(), rtol=1e-7)
    # with two levels a sum-coded coefficient is half the difference of the marginal means
    half = two.coefficients.loc["sex[S.F]", "estimate"]
    means = two.means("sex")["estimate"].to_numpy()
    assert half == pytest.approx((means[0] - means[1]) / 2, rel=1e-10)


def test_a_level_the_model_has_not_seen_is_refused_by_name(table):
    spec = fixed_spec("p*x", table)
    new = table.head(2).assign(p=["a", "z"])
    with pytest.raises(DataError, match="'z' is not a level of 'p'"):
        spec.matrix(new)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("C(x + z)", "is not C\\(\\) of one column"),
        ("log(p)", "'p' is a factor"),
        ("x + 2", "cannot read"),
    ],
)
def test_parts_that_cannot_be_columns(text, message, table):
    with pytest.raises(FormulaError, match=message):
        fixed_spec(text, table)


def test_unknown_contrasts_are_refused(table):
    with pytest.raises(DataError, match="there are no contrasts 'helmert'"):
        fixed_spec("p", table, "helmert")


def test_earlier_terms_leave_nothing_twice():
    parts = full_rank_parts([(), ("a",), ("a", "b")], frozenset("ab"))
    assert [(p.order, sorted(p.every)) for p in parts] == [
        ((), []),
        (("a",), []),
        (("a", "b"), ["a"]),
    ]
