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
from ketastats.problem.build import Problem, RandomDesign, build_problem, numeric_outcome
from ketastats.problem.columns import column_of
from ketastats.problem.strata import find_units
from ketastats.study.formula import RandomTerm, split_formula
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
    if not 0 < level < 1:
        raise DataError(f"level = {level} is not between 0 and 1", mend="use 0.95")
    for column, name, home in ((size, "size", "binomial"), (exposure, "exposure", "poisson")):
        if column is not None and chosen != home:
            raise DataError(f"{name} belongs to the family {home}", where=column, mend="leave out")
    if not hasattr(data, "columns"):
        raise DataError("the data are not a pandas DataFrame", mend="read them with pandas first")
    split = split_formula(formula)
    unit = _unit_of(split.random)
    name = split.outcome or outcome or ""
    if not name:
        raise DataError("the formula names no outcome", mend='write "y ~ ..." or pass outcome=')
    whole, notes = _complete(data, [c for c in (size, exposure) if c])
    trials, spent = _positive(data, size, whole=True), _positive(data, exposure)
    y = _shares(numeric_outcome(data, name), trials, name, chosen, size)
    used = data.assign(**{name: y}).iloc[whole]
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


def _complete(data: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return the rows that have all of some columns, and what to say of the others."""
    keep, notes = np.ones(len(data), dtype=bool), []
    for name in names:
        absent = column_of(data, name).isna().to_numpy() & keep
        if absent.any():
            notes.append(f"{int(absent.sum())} rows without {name} are left out")
            keep &= ~absent
    return np.flatnonzero(keep), notes


def _positive(data: pd.DataFrame, name: str | None, *, whole: bool = False) -> np.ndarray:
    """Return a column of positive numbers, NaN where missing; 1 for every row without a name."""
    if name is None:
        return np.ones(len(data))
    values = numeric_outcome(data, name)
    known = values[~np.isnan(values)]
    wrong = (known <= 0) | ((known % 1 != 0) & whole)
    if wrong.any():
        what = "a whole number of 1 or more" if whole else "more than 0"
        raise DataError(f"{known[wrong][0]:g} is not {what}", where=name, mend="correct it")
    return values


def _shares(
    y: np.ndarray, trials: np.ndarray, name: str, family: str, size: str | None
) -> np.ndarray:
    """Return the outcome as the kernel takes it, after a look at its range."""
    if family == "gaussian":
        return y
    known = ~np.isnan(y) & ~np.isnan(trials)
    low, high, broken = y < 0, np.zeros(len(y), dtype=bool), np.zeros(len(y), dtype=bool)
    if family == "binomial":
        high = y > trials
    if family == "poisson" or size:
        broken = y % 1 != 0
    wrong = known & (low | high | broken)
    if wrong.any():
        first = int(np.argmax(wrong))
        what = "a count" if family == "poisson" else f"a count of up to {trials[first]:g} successes"
        if family == "binomial" and size is None:
            what = "0, 1 or a share between them"
        raise DataError(
            f"{y[first]:g} is not {what}",
            where=name,
            mend="name the trials with size=" if high[first] and not size else "correct the column",
        )
    return y / trials


def _with_unit(
    problem: Problem,
    data: pd.DataFrame,
    rows: np.ndarray,
    term: RandomTerm,
    formula: str,
    notes: Sequence[str],
) -> Problem:
    """Return a problem of the fixed part with its independent units; one row a unit is enough."""
    import pandas as pd

    columns = pd.DataFrame({c: column_of(data, c) for c in term.group}).iloc[rows]
    if columns.isna().any(axis=None):
        raise DataError(
            f"{int(columns.isna().any(axis=1).sum())} rows belong to no {term.name}",
            where=term.name,
            mend="every row needs its unit",
        )
    codes = columns.groupby(list(term.group), sort=False, observed=True).ngroup().to_numpy()
    _, first, group = np.unique(codes, return_index=True, return_inverse=True)
    if len(first) < 2:
        raise DataError(
            f"there is only one {term.name}", where=term.name, mend="two independent units or more"
        )
    levels = tuple(":".join(str(v) for v in row) for row in columns.iloc[first].to_numpy())
    design = RandomDesign(term, np.ones((len(rows), 1)), ("1",), group, levels)
    return replace(
        problem,
        formula=formula.split("~")[-1].strip(),
        random=(design,),
        block=group,
        rows=rows,
        notes=(*notes, *problem.notes),
    )
