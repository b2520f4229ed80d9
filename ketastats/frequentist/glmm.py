"""``ks.glmm`` and ``ks.glmm_many``: counts and shares of grouped rows, by adaptive quadrature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError, NotEstimable
from ketastats.frequentist import glmm_answers as answers
from ketastats.frequentist.glmm_bootstrap import CHUNK
from ketastats.frequentist.glmm_df import DDF, degrees, limited
from ketastats.frequentist.glmm_model import GeneralisedModel
from ketastats.frequentist.glmm_notes import extra_variation
from ketastats.frequentist.glmm_table import amounts_of, checked_family, prepare
from ketastats.frequentist.inference import SCALES, lay_out
from ketastats.frequentist.tables import (
    check_counts,
    check_table,
    complete_rows,
    split_with_outcome,
)
from ketastats.problem.build import numeric_outcome
from ketastats.problem.strata import find_units
from ketastats.study.formula import split_formula
from ketastats.study.lookup import suggestion

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.study.model import Estimand


def glmm(
    formula: str,
    data: pd.DataFrame,
    *,
    family: str,
    size: str | None = None,
    exposure: str | None = None,
    nodes: int | None = None,
    ddf: str = "z",
    level: float = 0.95,
    outcome: str | None = None,
    contrasts: str = "treatment",
) -> GeneralisedModel:
    r"""Fit a generalised linear mixed model with random intercepts by maximum likelihood.

    The integral over the random intercept, or over two of which one lies within the other, is done
    by adaptive Gauss-Hermite quadrature. On the link scale a contrast is that of one animal; on
    the natural scale (shares, counts) it is that of the population, averaged over animals.

    Parameters
    ----------
    formula : str
        ``"failures ~ drug*phase + sex + (1|mouse)"``; no random intercept, one, or two that are
        nested: ``(1|mouse/branch)``.
    data : pandas.DataFrame
        One row per count; never changed. Rows without outcome, predictor, trials or exposure are
        left out and counted in ``warnings``.
    family : str
        ``binomial`` (logit), ``binomial-probit``, ``beta-binomial`` (logit), ``poisson`` (log) or
        ``negative-binomial`` (log; variance :math:`\mu + \alpha \mu^2`).
    size : str, optional
        Column of trials, for the binomial families. Without it a binomial outcome is 0 or 1.
    exposure : str, optional
        Column of exposures (minutes, length), for counts; means are per unit of exposure.
    nodes : int, optional
        Of the quadrature; 1 is the Laplace approximation. 25 by default, and 11 for two random
        intercepts, whose nodes multiply.
    ddf : str
        ``z``: the normal distribution, for many groups. ``between``: t with units minus the rank of
        the columns of the fixed part that are constant within every unit, for all contrasts; units
        are the groups of the random intercept, the larger of two. As in :func:`.gee`.
    level : float
        Level of the intervals.
    outcome : str, optional
        Column of the outcome when the formula is a right side only.
    contrasts : str
        Coding of the factors in ``coefficients``, as in :func:`.lmm`.

    Returns
    -------
    GeneralisedModel
        With status ok, boundary (a spread of 0), unconverged (also a random intercept that runs
        away: groups that are all or nothing), or failed: separation, an overdispersion that runs
        off, rows that determine too little.

    Raises
    ------
    FormulaError, DataError
        One sentence that names the column and the mend.

    Notes
    -----
    Tests are z tests, which hold for many groups; with few use ``ddf="between"``, or
    ``fit.contrast(..., interval="bootstrap")``. Where rows vary more than binomial or Poisson, and
    mice differ not only in level but in change, a warning asks for the family with
    overdispersion; population-averaged with t for few mice is :func:`.gee`.

    Examples
    --------
    >>> import pandas as pd
    >>> data = pd.DataFrame({"mouse": range(8), "drug": list("AAAABBBB"),
    ...     "failed": [12, 9, 14, 7, 4, 6, 2, 5], "trials": 15})
    >>> fit = glmm("failed ~ drug + (1|mouse)", data, family="binomial", size="trials")
    >>> fit.coefficients["estimate"].round(3).tolist()
    [0.893, -1.855]
    >>> fit.means("drug", scale="natural")["estimate"].round(3).tolist()
    [0.702, 0.285]
    """
    kind = checked_family(family, size, exposure)
    _check_ddf(ddf)
    check_table(data, level)
    split, name = split_with_outcome(formula, outcome)
    y = numeric_outcome(data, name)
    amounts = amounts_of(kind, data, size, exposure)
    check_counts(y, amounts[0] if kind.trials else None, name, size=size)
    whole, notes = complete_rows(data, [c for c in (size, exposure) if c])
    if missing := int(np.isnan(y[whole]).sum()):
        notes.append(f"{missing} rows without an outcome are left out")
        whole = whole[~np.isnan(y[whole])]
    problem, rows = prepare(split, formula, data, kind, amounts, whole, nodes, contrasts)
    problem = replace(problem, outcome=name, y=y[problem.rows], notes=(*notes, *problem.notes))
    fit = rows.fit(problem.y)
    extra = extra_variation(rows, problem.y, fit)
    df = degrees(rows, problem.y, ddf)
    units = find_units(problem, data)
    return GeneralisedModel(problem, rows, limited(fit, df), level, units, extra, ddf, float(df[0]))


def _check_ddf(ddf: str) -> None:
    if ddf not in DDF:
        raise DataError(f"there is no ddf {ddf!r}", where="ddf", mend=suggestion(ddf, DDF))


@dataclass(frozen=True, slots=True, eq=False)
class ManyCounts:
    """Fits of many outcomes over one table; arrays with one row per outcome.

    Attributes
    ----------
    terms : tuple of str
        Names of the coefficients or estimands, K of them.
    estimate, se, df, z, p, ci_low, ci_high : numpy.ndarray, shape (B, K)
        NaN where an outcome has no answer. ``z`` is the estimate by its standard error, referred to
        t with ``df``, which is infinite for z.
    sd : numpy.ndarray, shape (B,)
        Of the random intercept on the link scale; 0 without one.
    inner_sd : numpy.ndarray, shape (B,)
        Of the random intercept within the first.
    dispersion : numpy.ndarray, shape (B,)
        rho or alpha; 0 in a family without.
    loglik : numpy.ndarray, shape (B,)
    boundary, converged : numpy.ndarray of bool, shape (B,)
        A boundary fit is valid and counted.
    reason : numpy.ndarray of int, shape (B,)
        Position in :data:`.quadrature.REASONS`; 0 for a fit.
    """

    terms: tuple[str, ...]
    estimate: np.ndarray
    se: np.ndarray
    df: np.ndarray
    z: np.ndarray
    p: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray
    sd: np.ndarray
    inner_sd: np.ndarray
    dispersion: np.ndarray
    loglik: np.ndarray
    boundary: np.ndarray
    converged: np.ndarray
    reason: np.ndarray

    @property
    def status(self) -> tuple[str, ...]:
        """One of ok, boundary, unconverged, failed per outcome."""
        return tuple(answers.status_names(self.reason, self.boundary))


def glmm_many(
    formula: str,
    data: pd.DataFrame,
    y: np.ndarray,
    *,
    family: str,
    size: str | None = None,
    exposure: str | None = None,
    nodes: int | None = None,
    ddf: str = "z",
    level: float = 0.95,
    contrasts: str = "treatment",
    estimands: Sequence[Estimand] | None = None,
    scale: str = "link",
) -> ManyCounts:
    """Fit many outcomes over one table; :func:`glmm` is the same code with one.

    Parameters
    ----------
    formula : str
        Right side only.
    data : pandas.DataFrame
        Predictors, trials or exposure.
    y : numpy.ndarray, shape (B, rows)
        Counts in the order of the rows; NaN where missing, each outcome its own rows.
    family, size, exposure, nodes, ddf, level, contrasts
        As in :func:`glmm`; df are those of the rows that an outcome has.
    estimands : sequence of Estimand, optional
        Questions instead of the coefficients.
    scale : str
        On which estimands are answered: ``link`` or ``natural``.

    Returns
    -------
    ManyCounts

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> plan = pd.DataFrame({"mouse": range(12), "drug": ["A", "B"] * 6, "trials": 30})
    >>> y = np.random.default_rng(1).binomial(30, 0.4, (50, 12))
    >>> fits = glmm_many("drug + (1|mouse)", plan, y, family="binomial", size="trials")
    >>> fits.estimate.shape, bool(fits.converged.all())
    ((50, 2), True)
    """
    kind = checked_family(family, size, exposure)
    _check_ddf(ddf)
    check_table(data, level)
    if scale not in SCALES:
        raise DataError(f"there is no scale {scale!r}", mend=suggestion(scale, SCALES))
    y = np.atleast_2d(np.asarray(y, dtype=np.float64))
    if y.shape[1] != len(data):
        raise DataError(
            f"y has {y.shape[1]} columns and the data {len(data)} rows", where="y",
            mend="give one column per row of the data",
        )  # fmt: skip
    amounts = amounts_of(kind, data, size, exposure)
    check_counts(y, amounts[0] if kind.trials else None, "y", size=size)
    whole, _ = complete_rows(data, [c for c in (size, exposure) if c])
    split = split_formula(formula)
    problem, rows = prepare(split, formula, data, kind, amounts, whole, nodes, contrasts)
    cells, names = None, problem.names
    if estimands is not None:
        cells, names = lay_out(problem, estimands, scale), tuple(e.name for e in estimands)
        if not cells.estimable.all():
            k = int(np.argmin(cells.estimable))
            raise NotEstimable(f"the data cannot answer {names[k]!r}: {cells.reasons[k]}")
    parts = []
    for start in range(0, len(y), CHUNK):
        own = y[start : start + CHUNK, problem.rows]
        df = degrees(rows, own, ddf)
        fit = limited(rows.fit(own), df)
        asked = answers.coefficients_of(fit) if cells is None else answers.evaluate(cells, fit)
        n = answers.infer(asked, fit, level, df=df)
        loglik = np.where(fit.converged, fit.loglik, np.nan)
        held = fit.boundary.any(axis=1)
        parts.append(
            [
                *(n.estimate, n.se, n.df, n.statistic, n.p, n.ci_low, n.ci_high),
                *(
                    *(
                        np.where(fit.converged, v, np.nan)
                        for v in (fit.sd, fit.inner_sd, fit.dispersion)
                    ),
                    loglik,
                    held,
                    fit.converged,
                    fit.reason,
                ),
            ]
        )
    return ManyCounts(tuple(names), *(np.concatenate(c) for c in zip(*parts, strict=True)))
