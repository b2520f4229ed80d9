"""The checks that need no answers pass a right fit and fail a wrong one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ketastats.frequentist.lmm import lmm
from tests.reference import identities
from tests.reference.made_up import trial

BOTH = ("satterthwaite", "kenward-roger")
FORMULA = "y ~ sequence + period + treatment + (1 | subject)"


@pytest.fixture
def incomplete() -> pd.DataFrame:
    return trial().drop(index=[1, 6, 21]).reset_index(drop=True)


@pytest.fixture(params=BOTH)
def fit(request, incomplete):
    return lmm(FORMULA, incomplete, ddf=request.param)


def stand_in(of, /, **other: Any) -> SimpleNamespace:
    """Return what the checks ask of a fit, some of it replaced."""
    names = ("problem", "fit", "ddf", "variance", "coefficients", "loglik", "warnings", "status")
    own = {n: getattr(of, n) for n in names} | {"anova": of.anova}
    return SimpleNamespace(**own | other)


def test_a_right_fit_passes(fit, incomplete):
    identities.check_table(fit)
    identities.check_all(fit, incomplete)


@pytest.mark.parametrize("column", ["estimate", "se", "df"])
def test_a_wrong_table_fails(column, fit):
    table = fit.coefficients
    table.loc["treatment[T.B]", column] *= 1 + 1e-6
    with pytest.raises(AssertionError, match="limits"):
        identities.check_dense(stand_in(fit, coefficients=table))


def test_one_method_is_not_the_other(incomplete):
    """The df of one are not those of the other, and neither is the dense algebra."""
    one, other = (lmm(FORMULA, incomplete, ddf=ddf) for ddf in BOTH)
    for a, b in ((one, other), (other, one)):
        with pytest.raises(AssertionError, match=r"standard errors|degrees of freedom"):
            identities.check_dense(stand_in(a, coefficients=b.coefficients))


@pytest.mark.parametrize("name", ["subject", "residual"])
def test_a_variance_beside_the_maximum_fails(name, fit):
    moved = fit.variance.copy()
    moved[name] *= 1 + 1e-5
    with pytest.raises(AssertionError, match="slope of the likelihood"):
        identities.check_optimum(stand_in(fit, variance=moved))


def test_a_variance_that_is_not_zero_fails(fit):
    flat = fit.variance.copy()
    flat["residual"] += flat["subject"]
    flat["subject"] = 0.0
    held = replace(fit.fit, boundary=np.array([[True, False]]))
    with pytest.raises(AssertionError, match="subject is not 0 at the maximum"):
        identities.check_optimum(stand_in(fit, variance=flat, fit=held))


def test_another_maximum_fails(fit):
    """All of the variance in the people: a point that a search could stop at."""
    lost = fit.variance.copy()
    lost["subject"] *= 1e4
    held = replace(fit.fit, boundary=np.array([[True, True]]))  # nothing is differentiated
    with pytest.raises(AssertionError, match="higher at ratios"):
        identities.check_optimum(stand_in(fit, variance=lost, fit=held))


def test_a_wrong_likelihood_fails(fit):
    with pytest.raises(AssertionError, match="log-likelihood"):
        identities.check_dense(stand_in(fit, loglik=fit.loglik + 1e-6))


@pytest.mark.parametrize("formula", ["sequence + treatment", "sequence * treatment + period * sex"])
def test_other_columns_fail(formula, fit, incomplete):
    made = incomplete.assign(sex=np.where(incomplete.index % 3, "F", "M"))
    other = replace(fit.problem, formula=f"{formula} + (1 | subject)")
    with pytest.raises(AssertionError, match="columns"):
        identities.check_columns(stand_in(fit, problem=other), made)


def test_a_fit_that_depends_on_the_order_of_the_rows_fails(fit, incomplete):
    moved = incomplete.copy()
    moved.loc[0, "y"] += 1e-3
    with pytest.raises(AssertionError, match="rows permuted"):
        identities.check_again(fit, moved)


def test_an_unsaid_boundary_and_numbers_that_are_none_fail(fit):
    for other in ({"status": "unconverged"}, {"status": "boundary"}):
        with pytest.raises(AssertionError):
            identities.check_table(stand_in(fit, **other))
    table = fit.coefficients
    table.loc["Intercept", "se"] = np.nan
    with pytest.raises(AssertionError, match="no number"):
        identities.check_table(stand_in(fit, coefficients=table))
