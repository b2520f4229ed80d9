"""``ks.gee``: population-averaged models of few units from a formula and a table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError, FormulaError
from ketastats.frequentist.gee_answers import DDF
from ketastats.frequentist.gee_fit import fit_gee
from ketastats.frequentist.gee_kernel import FAMILIES, POWERS, Rows
from ketastats.frequentist.gee_model import PopulationModel
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
    chosen = _option("family", family, FAMILIES)
    _option("covariance", covariance, POWERS)
    _option("ddf", ddf, DDF)
    _option("working correlation", working, WORKING)
    check_table(data, level)
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
    fit = fit_gee(problem, arrays, covariance)
    return PopulationModel(problem, fit, covariance, ddf, working, level, find_units(problem, data))


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
