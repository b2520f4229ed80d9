"""``ks.lmm`` and ``ks.lmm_many``: mixed models from a formula and a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError
from ketastats.frequentist.fit import METHODS, contrast_table, fit_problem
from ketastats.frequentist.model import MixedModel
from ketastats.problem.build import build_problem, outcomes_of
from ketastats.problem.questions import rows_of_questions
from ketastats.problem.strata import find_units

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.study.model import Estimand


def lmm(
    formula: str,
    data: pd.DataFrame,
    *,
    ddf: str = "kenward-roger",
    level: float = 0.95,
    outcome: str | None = None,
    residual: str | None = None,
    method: str = "reml",
    contrasts: str = "treatment",
) -> MixedModel:
    """Fit a linear mixed model by REML, with degrees of freedom for small trials.

    Parameters
    ----------
    formula : str
        ``"y ~ treatment*sex + period + (1|subject)"``. Random terms in parentheses:
        ``(1|subject)``, ``(1|subject:period)``, ``(1|litter/mouse)``.
    data : pandas.DataFrame
        One row per observation; never changed. Rows without outcome or predictor are left out and
        counted in ``warnings``.
    ddf : str
        ``kenward-roger`` (expected information, as pbkrtest), ``kenward-roger-observed`` (as SAS
        ddfm=kr), ``kenward-roger-observed-linear`` (as kr(linear)), ``satterthwaite`` (as
        lmerTest), ``containment``, ``residual`` or ``z``.
    level : float
        Level of the intervals.
    outcome : str, optional
        Column of the outcome when the formula is a right side only.
    residual : str, optional
        ``"by sex"`` for a variance per level, or a structure over an ordered factor within
        subjects: ``"un(visit | subject)"``, ``cs``, ``csh``, ``ar1``, ``arh1``, ``toep``,
        ``toeph``.
    method : str
        ``reml`` or ``ml``. Kenward-Roger is defined for REML only.
    contrasts : str
        Coding of the factors in ``coefficients``: ``treatment`` (each level against the first) or
        ``sum`` (each level but the last against the mean of all, as R's contr.sum). Means,
        contrasts and F tests are the same with either; Satterthwaite's df of a joint test depend
        a little on the basis it is asked in.

    Returns
    -------
    MixedModel

    Raises
    ------
    FormulaError, DataError
        One sentence that names the column and the mend.

    Notes
    -----
    Kenward & Roger (1997), Biometrics 53:983. On the boundary (a variance of 0) Kenward-Roger keeps
    the component, as pbkrtest does, and Satterthwaite leaves it out, as lmerTest does.

    Examples
    --------
    >>> import ketastats as ks
    >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
    >>> fit = ks.lmm("madrs ~ treatment*time + period + (1|subject)", data)
    >>> list(fit.variance.index)
    ['subject', 'residual']
    """
    if ddf not in METHODS:
        from ketastats.study.lookup import suggestion

        raise DataError(f"there is no ddf method {ddf!r}", mend=suggestion(ddf, METHODS))
    if not 0 < level < 1:
        raise DataError(f"level = {level} is not between 0 and 1", mend="use 0.95")
    if method not in ("reml", "ml"):
        raise DataError(f"there is no method {method!r}", mend="use 'reml' or 'ml'")
    if method == "ml" and ddf.startswith("kenward-roger"):
        raise DataError(
            "Kenward-Roger is defined for REML", where="ddf", mend='use ddf="satterthwaite" with ML'
        )
    problem = build_problem(formula, data, outcome=outcome, residual=residual, coding=contrasts)
    if not problem.outcome:
        raise DataError("the formula names no outcome", mend='write "y ~ ..." or pass outcome=')
    fit = fit_problem(problem, problem.y[None], ml=method == "ml")
    return MixedModel(problem, fit, ddf, level, find_units(problem, data), method == "ml")


@dataclass(frozen=True, slots=True, eq=False)
class ManyFits:
    """Fits of many outcomes over one table; arrays with one row per outcome.

    Attributes
    ----------
    terms : tuple of str
        Names of the coefficients or estimands, K of them.
    parameters : tuple of str
        Names of the variances and covariances, R of them.
    estimate, se, df, t, p, ci_low, ci_high : numpy.ndarray, shape (B, K)
    variance : numpy.ndarray, shape (B, R)
    loglik : numpy.ndarray, shape (B,)
    boundary, converged : numpy.ndarray of bool, shape (B,)
        A boundary fit is valid and counted; an outcome with too few rows has not converged.
    """

    terms: tuple[str, ...]
    parameters: tuple[str, ...]
    estimate: np.ndarray
    se: np.ndarray
    df: np.ndarray
    t: np.ndarray
    p: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray
    variance: np.ndarray
    loglik: np.ndarray
    boundary: np.ndarray
    converged: np.ndarray


CHUNK = 500
"""Outcomes fitted at a time: fixed, so that memory stays small and results the same."""


def lmm_many(
    formula: str,
    data: pd.DataFrame,
    y: np.ndarray,
    *,
    ddf: str = "kenward-roger",
    level: float = 0.95,
    residual: str | None = None,
    contrasts: str = "treatment",
    estimands: Sequence[Estimand] | None = None,
) -> ManyFits:
    """Fit many outcomes over one table; :func:`lmm` is the same code with one.

    Parameters
    ----------
    formula : str
        Right side only.
    data : pandas.DataFrame
        Predictors, complete.
    y : numpy.ndarray, shape (B, rows)
        Outcomes in the order of the rows; NaN where missing, each outcome its own rows.
    ddf, level, residual, contrasts
        As in :func:`lmm`.
    estimands : sequence of Estimand, optional
        Questions instead of the coefficients.

    Returns
    -------
    ManyFits

    Examples
    --------
    >>> import ketastats as ks
    >>> study = ks.load_study("jelen2025")
    >>> from ketastats.synthesis.draw import draw_outcomes
    >>> y = draw_outcomes(study, "madrs", 1, range(20))
    >>> fits = lmm_many("treatment*time + period + (1|subject)", study.plan("madrs"), y)
    >>> fits.estimate.shape
    (20, 5)
    """
    problem = build_problem(formula, data, residual=residual, coding=contrasts)
    y = outcomes_of(y, data)[:, problem.rows]
    rows, names = rows_of_questions(problem, estimands)
    columns = ("estimate", "se", "df", "t", "p", "ci_low", "ci_high")
    parts = []
    for start in range(0, len(y), CHUNK):
        part = y[start : start + CHUNK]
        fit = fit_problem(problem, part)
        with np.errstate(all="ignore"):  # outcomes that were not fitted become NaN below
            table = contrast_table(problem, fit, rows, ddf, level, ~np.isnan(part))
        parts.append(
            [np.where(fit.converged[:, None], getattr(table, c), np.nan) for c in columns]
            + [fit.theta, fit.at.loglik, fit.boundary.any(axis=1), fit.converged]
        )
    return ManyFits(
        tuple(names),
        problem.parameters,
        *(np.concatenate(c) for c in zip(*parts, strict=True)),
    )
