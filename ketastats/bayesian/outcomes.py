"""From a table to the rows of a family; what a family cannot take is refused in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ketastats.bayesian.categories import ordered_rows
from ketastats.bayesian.families import Family
from ketastats.bayesian.likelihood import Likelihood
from ketastats.core.errors import DataError, FormulaError
from ketastats.problem.build import Problem, numeric_outcome
from ketastats.problem.columns import column_of
from ketastats.problem.residual import ResidualDesign, parse_residual
from ketastats.study.model import Scale

if TYPE_CHECKING:
    import pandas as pd


def check_options(
    family: Family,
    size: str | None,
    exposure: str | None,
    residual: str | None,
    scale: Scale | None,
) -> None:
    """Raise for options that do not go with a family, before anything is built."""
    for name, value, needs in (("size", size, "trials"), ("exposure", exposure, "counts")):
        if value is None:
            continue
        if family.needs != needs:
            home = {
                "trials": "trials belong to the binomial families",
                "counts": "an exposure belongs to the families of counts",
            }[needs]
            raise DataError(
                f"{home}, and the family is {family.name}", where=name, mend="leave it out"
            )
        if not isinstance(value, str):
            raise DataError(
                f"{value!r} is not the name of a column", where=name, mend="name a column"
            )
    if family.needs == "bounds" and (scale is None or (scale.min is None and scale.max is None)):
        raise DataError(
            f"the {family.name} family needs a bound",
            where="scale",
            mend="pass a scale with min, max or both",
        )
    kind = parse_residual(residual).kind
    if kind not in ("id", "by", "ar1"):
        raise FormulaError(
            f"mcmc does not offer the residual structure {residual!r}",
            where="residual",
            mend='use "by sex" or "ar1(visit | subject)"',
        )
    if kind != "id" and family.name != "gaussian":
        raise DataError(
            f"the residual structure {residual!r} belongs to the gaussian family, and the family "
            f"is {family.name}",
            where="residual",
            mend="leave it out",
        )


def complete_rows(
    data: pd.DataFrame, names: tuple[str | None, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the positions of rows that have some columns, and what to say of the others."""
    keep, notes = np.ones(len(data), dtype=bool), []
    for name in names:
        if name is None:
            continue
        absent = column_of(data, name).isna().to_numpy() & keep
        if absent.any():
            notes.append(f"{int(absent.sum())} rows without {name} are left out")
            keep &= ~absent
    return np.flatnonzero(keep), tuple(notes)


def likelihood_of(
    family: Family,
    problem: Problem,
    used: pd.DataFrame,
    *,
    size: str | None = None,
    exposure: str | None = None,
    scale: Scale | None = None,
) -> tuple[Likelihood, tuple[str, ...]]:
    """Return the rows of a family and notes, or say what is wrong with the outcome.

    Parameters
    ----------
    family : Family
    problem : Problem
        With its residual structure.
    used : pandas.DataFrame
        The rows of the problem.
    size, exposure : str, optional
        Columns of trials and exposures.
    scale : Scale, optional

    Raises
    ------
    DataError
    """
    y, name = problem.y, problem.outcome
    if family.needs == "trials":
        return Likelihood(family, trials=_trials(family, y, name, used, size), groups=()), ()
    if family.needs == "counts":
        _refuse(y, (y < 0) | (y % 1 != 0), name, "a count: a whole number from 0")
        spent = np.ones(len(y)) if exposure is None else numeric_outcome(used, exposure)
        _refuse(spent, spent <= 0, exposure or "", "an exposure: a number above 0")
        return Likelihood(family, log_exposure=np.log(spent), groups=()), ()
    if family.needs == "shares":
        _check_shares(y, name)
        return Likelihood(family, groups=()), ()
    if family.needs == "categories":
        return ordered_rows(y, used[name], name)
    if family.needs == "bounds":
        return _bounded(Likelihood(family, scale=scale), y, name)
    return _residual(family, problem.residual), ()


def _refuse(values: np.ndarray, wrong: np.ndarray, where: str, what: str) -> None:
    if wrong.any():
        some = f" ({int(wrong.sum())} such rows)" if wrong.sum() > 1 else ""
        raise DataError(
            f"{values[wrong][0]:g} is not {what}{some}", where=where, mend="correct the column"
        )


def _trials(
    family: Family, y: np.ndarray, name: str, used: pd.DataFrame, size: str | None
) -> np.ndarray:
    """Return the trials of every row; without a column the outcome is 0 or 1."""
    _refuse(y, (y < 0) | (y % 1 != 0), name, "a number of successes: a whole number from 0")
    if size is None:
        if family.own or y.max() > 1:
            raise DataError(
                f"the {family.name} family needs the number of trials",
                where="size",
                mend='name its column: size="trials"',
            )
        return np.ones(len(y), dtype=np.int64)
    trials = numeric_outcome(used, size)
    _refuse(trials, (trials < 1) | (trials % 1 != 0), size, "a whole number of trials")
    over = y > trials
    if over.any():
        k = int(np.argmax(over))
        raise DataError(
            f"{y[k]:g} successes out of {trials[k]:g} trials",
            where=name,
            mend=f"correct {name} or {size}",
        )
    if family.own and trials.max() == 1:
        raise DataError(
            "single trials cannot show overdispersion", where=size, mend='use family="binomial"'
        )
    return trials.astype(np.int64)


def _check_shares(y: np.ndarray, name: str) -> None:
    _refuse(y, (y < 0) | (y > 1), name, "a share between 0 and 1")
    ends = (y == 0) | (y == 1)
    if ends.any():
        count = f"{int(ends.sum())} values are" if ends.sum() > 1 else "a value is"
        raise DataError(
            f"{count} exactly 0 or 1, where the beta family has no density",
            where=name,
            mend='use counts out of trials with family="binomial" or "beta-binomial"',
        )


def _bounded(rows: Likelihood, y: np.ndarray, name: str) -> tuple[Likelihood, tuple[str, ...]]:
    beyond = (y < rows.low) | (y > rows.high)
    if beyond.any():
        value = y[beyond][0]
        side, bound = ("below", rows.low) if value < rows.low else ("above", rows.high)
        raise DataError(
            f"{value:g} lies {side} the bound {bound:g}",
            where=name,
            mend="correct the value or the scale",
        )
    at = int(((y == rows.low) | (y == rows.high)).sum())
    if rows.family.name == "censored" and not at:
        return rows, (f"no value of {name} stands at a bound: this is the gaussian family",)
    if rows.family.name == "truncated" and at:
        note = f"{at} values of {name} stand exactly at a bound: if they were recorded there"
        return rows, (f"{note} because they lay beyond, use the censored family",)
    return rows, ()


def _residual(family: Family, design: ResidualDesign) -> Likelihood:
    """Return the rows of a family with residuals, with its structure."""
    kind = design.spec.kind
    if kind == "by":
        groups = tuple(f"residual {level}" for level in design.structure.levels)
        return Likelihood(family, residual="by", groups=groups, level=design.level)
    if kind == "ar1":
        previous, gap = series(design.group, design.level)
        return Likelihood(family, residual="ar1", previous=previous, gap=gap)
    return Likelihood(family)


def series(group: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the row before every row in its series, -1 for none, and the levels between them.

    Parameters
    ----------
    group, level : numpy.ndarray of int, shape (rows,)

    Examples
    --------
    >>> previous, gap = series(np.array([0, 1, 0, 0]), np.array([3, 0, 0, 1]))
    >>> previous.tolist(), gap.tolist()
    ([3, -1, -1, 2], [2, 0, 0, 1])
    """
    order = np.lexsort((level, group))
    same = group[order[1:]] == group[order[:-1]]
    previous, gap = np.full(len(group), -1, dtype=np.int64), np.zeros(len(group), dtype=np.int64)
    previous[order[1:][same]] = order[:-1][same]
    gap[order[1:][same]] = (level[order[1:]] - level[order[:-1]])[same]
    return previous, gap
