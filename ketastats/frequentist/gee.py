"""``ks.gee``: population-averaged models of few units from a formula and a table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError, FormulaError, NotEstimable
from ketastats.frequentist.gee_answers import DDF, evaluate, infer
from ketastats.frequentist.gee_fit import fit_gee
from ketastats.frequentist.gee_kernel import FAMILIES, POWERS, Rows
from ketastats.frequentist.gee_model import PopulationModel
from ketastats.frequentist.inference import lay_out
from ketastats.frequentist.tables import (
    check_counts,
    check_table,
    complete_rows,
    positive_column,
    split_with_outcome,
    unit_design,
)
from ketastats.problem.build import Problem, build_problem, numeric_outcome
from ketastats.problem.strata import find_units
from ketastats.study.formula import RandomTerm
from ketastats.study.lookup import suggestion

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.study.model import Estimand

WORKING = ("exchangeable", "independence")
_EXTRA = {"beta-binomial": "binomial", "negative-binomial": "poisson"}


def gee(
    formula: str,
    data: pd.DataFrame,
    *,
    family: str = "gaussian",
    size: str | None = None,
    exposure: str | None = None,
    covariance: str = "bias-reduced",
    ddf: str = "between",
    working: str = "exchangeable",
    level: float = 0.95,
    outcome: str | None = None,
    contrasts: str = "treatment",
) -> PopulationModel:
    r"""Fit a population-averaged model with standard errors for few units.

    The coefficients compare means of the population, not of one animal: generalised estimating
    equations (Liang & Zeger 1986), whose covariance is judged from the differences between units
    and needs no model of the correlation within them. With few units it is too small; here it is
    corrected, and referred to t.

    Parameters
    ----------
    formula : str
        ``"failures ~ treatment*sex + (1|mouse)"``. Exactly one term ``(1|unit)`` names what is
        independent.
    data : pandas.DataFrame
        One row per observation; never changed. Rows without outcome or predictor are left out and
        counted in ``warnings``.
    family : str
        ``gaussian`` (identity link), ``binomial`` (logit) or ``poisson`` (log). More variation
        than binomial or Poisson is allowed for by the covariance.
    size : str, optional
        Binomial: column of trials. Without it the outcome is 0 or 1, or a share of unknown trials.
    exposure : str, optional
        Poisson: column of exposures (minutes, length); means are per unit of exposure.
    covariance : str
        ``bias-reduced`` (Mancl & DeRouen 2001, Biometrics 57:126), ``kauermann-carroll`` (2001,
        J Am Stat Assoc 96:1387; smaller) or ``robust`` (Liang & Zeger, uncorrected).
    ddf : str
        ``between``: units minus the rank of the columns of the fixed part that are constant within
        every unit, read off the data, for all contrasts, since each unit adds one score to each of
        them. ``satterthwaite``: from the two first moments of the covariance (Pan & Wall 2002, Stat
        Med 21:1429), for groups of unequal size. ``z``: the normal distribution.
    working : str
        ``exchangeable`` or ``independence``; it moves weights, the covariance holds with either.
    level : float
        Level of the intervals.
    outcome : str, optional
        Column of the outcome when the formula is a right side only.
    contrasts : str
        Coding of the factors in ``coefficients``, as in :func:`.lmm`.

    Returns
    -------
    PopulationModel
        With status ok, boundary (working correlation held), unconverged, or failed: separation, a
        unit that alone decides a coefficient, no unit left over.

    Raises
    ------
    FormulaError, DataError
        One sentence that names the column and the mend.

    Notes
    -----
    In balanced groups the bias-reduced t is conservative: with one row per unit its standard error
    is :math:`\sqrt{n/(n-1)}` that of Welch's test, n units a group, so 5 % becomes 3.5 % for six
    and 3.8 % for eight. Kauermann & Carroll's is Welch's.

    Examples
    --------
    >>> import pandas as pd
    >>> data = pd.DataFrame({"mouse": range(8), "drug": list("AAAABBBB"),
    ...     "failed": [12, 9, 14, 7, 4, 6, 2, 5], "trials": 15})
    >>> fit = gee("failed ~ drug + (1|mouse)", data, family="binomial", size="trials")
    >>> fit.coefficients["df"].tolist()
    [6.0, 6.0]
    >>> fit.means("drug", scale="natural")["estimate"].round(4).tolist()
    [0.7, 0.2833]
    """
    check_table(data, level)
    _options(covariance, ddf, working)
    problem, arrays = _prepare(formula, data, family, size, exposure, working, outcome, contrasts)
    fit = fit_gee(problem, arrays, covariance)
    return PopulationModel(problem, fit, covariance, ddf, working, level, find_units(problem, data))


@dataclass(frozen=True, slots=True, eq=False)
class ManyPopulations:
    """Population-averaged fits of many outcomes; arrays with one row per outcome.

    Attributes
    ----------
    terms : tuple of str
        Names of the estimands, K of them.
    estimate, se, df, statistic, p, ci_low, ci_high : numpy.ndarray, shape (B, K)
        NaN where an outcome has no answer.
    boundary, converged : numpy.ndarray of bool, shape (B,)
        A boundary fit (working correlation held) is valid and counted; an outcome with separation
        has not converged.
    """

    terms: tuple[str, ...]
    estimate: np.ndarray
    se: np.ndarray
    df: np.ndarray
    statistic: np.ndarray
    p: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray
    boundary: np.ndarray
    converged: np.ndarray


def gee_many(
    formula: str,
    data: pd.DataFrame,
    y: np.ndarray,
    *,
    estimands: Sequence[Estimand],
    family: str = "gaussian",
    size: str | None = None,
    exposure: str | None = None,
    covariance: str = "bias-reduced",
    ddf: str = "between",
    working: str = "exchangeable",
    level: float = 0.95,
    scale: str = "natural",
) -> ManyPopulations:
    """Fit many outcomes over one table; the fits are those of :func:`gee`, one after the other.

    Parameters
    ----------
    formula : str
        Right side only.
    data : pandas.DataFrame
        Predictors, trials or exposure, complete.
    y : numpy.ndarray, shape (B, rows)
        Outcomes in the order of the rows, without missing values: successes out of ``size``,
        counts, or numbers.
    estimands : sequence of Estimand
    family, size, exposure, covariance, ddf, working, level
        As in :func:`gee`.
    scale : str
        On which estimands are answered: ``natural`` or ``link``.

    Returns
    -------
    ManyPopulations

    Raises
    ------
    DataError, NotEstimable

    Examples
    --------
    >>> import ketastats as ks
    >>> study = ks.load_study("wu2021")
    >>> from ketastats.synthesis.draw import draw_outcomes
    >>> y = draw_outcomes(study, "failures", 1, range(3), missing=False)
    >>> plan = study.plan("failures")
    >>> plan["trials"] = plan["paradigm"].map({"strong": 30, "weak": 100}).astype(int)
    >>> fits = gee_many("paradigm*phase + drug*phase + (1|subject)", plan, y, family="binomial",
    ...                 size="trials", estimands=[study.estimand("rescue")])
    >>> fits.estimate.shape, bool(fits.converged.all())
    ((3, 1), True)
    """
    check_table(data, level)
    _options(covariance, ddf, working)
    y = np.atleast_2d(np.asarray(y, dtype=np.float64))
    if y.shape[1] != len(data) or not np.isfinite(y).all():
        raise DataError(
            f"y has the shape {y.shape} for {len(data)} rows, or values are missing", where="y",
            mend="give one complete row of values per outcome",
        )  # fmt: skip
    name = "y"
    while name in data.columns:
        name += "_"
    first = data.assign(**{name: y[0]})
    problem, arrays = _prepare(formula, first, family, size, exposure, working, name, "treatment")
    divisor = arrays.size if size is not None else 1.0
    asked = lay_out(problem, estimands, "link" if arrays.family.link == "identity" else scale)
    if not asked.estimable.all():
        k = int(np.argmin(asked.estimable))
        raise NotEstimable(f"the data cannot answer {estimands[k].name!r}: {asked.reasons[k]}")
    fields = ("estimate", "se", "df", "statistic", "p", "ci_low", "ci_high")
    table = np.full((len(fields), len(y), len(estimands)), np.nan)
    boundary, converged = np.zeros(len(y), dtype=bool), np.zeros(len(y), dtype=bool)
    for b, row in enumerate(y[:, problem.rows] / divisor):
        fit = fit_gee(problem, replace(arrays, y=row), covariance)
        if fit.made is None:
            continue
        answer = infer(fit, evaluate(asked, fit), ddf, level)
        table[:, b] = [getattr(answer, f) for f in fields]
        boundary[b], converged[b] = fit.status == "boundary", True
    columns = dict(zip(fields, table, strict=True))
    names = tuple(e.name for e in estimands)
    return ManyPopulations(names, **columns, boundary=boundary, converged=converged)


def _options(covariance: str, ddf: str, working: str) -> None:
    _option("covariance", covariance, POWERS)
    _option("ddf", ddf, DDF)
    _option("working correlation", working, WORKING)


def _prepare(
    formula: str,
    data: pd.DataFrame,
    family: str,
    size: str | None,
    exposure: str | None,
    working: str,
    outcome: str | None,
    contrasts: str,
) -> tuple[Problem, Rows]:
    """Check what is given and lay it out: the problem with its unit, and the rows to fit."""
    chosen = _option("family", family, FAMILIES)
    for column, name, home in ((size, "size", "binomial"), (exposure, "exposure", "poisson")):
        if column is not None and chosen != home:
            raise DataError(f"{name} belongs to the family {home}", where=column, mend="leave out")
    split, name = split_with_outcome(formula, outcome)
    unit = _unit_of(split.random)
    whole, notes = complete_rows(data, [c for c in (size, exposure) if c])
    trials, spent = positive_column(data, size, whole=True), positive_column(data, exposure)
    y = numeric_outcome(data, name)
    if chosen != "gaussian":
        counts = trials if chosen == "binomial" else None
        check_counts(y, counts, name, size=size, shares=True)
    used = data.assign(**{name: y / trials}).iloc[whole]
    left = f"{split.outcome} ~ " if split.outcome else ""
    problem = build_problem(left + split.fixed, used, outcome=outcome, coding=contrasts)
    rows = whole[problem.rows]
    problem = _with_unit(problem, data, rows, unit, formula, notes)
    arrays = Rows(
        x=problem.x,
        y=problem.y,
        group=problem.random[0].group,
        size=trials[rows],
        offset=np.log(spent[rows]),
        family=FAMILIES[chosen],
        exchangeable=working == "exchangeable",
    )
    return problem, arrays


def _option(what: str, value: str, known: Collection[str]) -> str:
    if value in known:
        return value
    if value in _EXTRA:
        raise DataError(
            f"there is no {what} {value!r}",
            mend=f"use {_EXTRA[value]!r}: the covariance allows for more variation",
        )
    raise DataError(f"there is no {what} {value!r}", mend=suggestion(value, known))


def _unit_of(random: Sequence[RandomTerm]) -> RandomTerm:
    """Return the one term that names what is independent."""
    if len(random) != 1:
        raise FormulaError(
            f"the formula has {len(random)} terms for the independent units, not one",
            mend="name the largest: (1|mouse), or (1|cage) where cages share mice",
        )
    if random[0].columns != ("1",):
        raise FormulaError(
            f"({random[0].text}) has slopes, and here a term only names the independent units",
            mend=f"write (1|{random[0].name})",
        )
    return random[0]


def _with_unit(
    problem: Problem,
    data: pd.DataFrame,
    rows: np.ndarray,
    term: RandomTerm,
    formula: str,
    notes: Sequence[str],
) -> Problem:
    """Return a problem of the fixed part with its independent units; one row a unit is enough."""
    design = unit_design(term, data, rows)
    if (alone := int((design.group < 0).sum())) > 0:
        raise DataError(
            f"{alone} rows belong to no {term.name}",
            where=term.name,
            mend="every row needs its unit",
        )
    if len(design.levels) < 2:
        raise DataError(
            f"there is only one {term.name}", where=term.name, mend="two independent units or more"
        )
    return replace(
        problem,
        formula=formula.split("~")[-1].strip(),
        random=(design,),
        block=design.group,
        rows=rows,
        notes=(*notes, *problem.notes),
    )
