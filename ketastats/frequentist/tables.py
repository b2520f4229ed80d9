"""Columns of a user's table as the generalised models take them, each checked with a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError, FormulaError
from ketastats.problem.build import RandomDesign, numeric_outcome
from ketastats.problem.columns import column_of
from ketastats.study.formula import SplitFormula, split_formula

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.study.formula import RandomTerm


def check_table(data: pd.DataFrame, level: float) -> None:
    """Raise DataError for data that are no table, or a level that is none."""
    if not 0 < level < 1:
        raise DataError(f"level = {level} is not between 0 and 1", mend="use 0.95")
    if not hasattr(data, "columns"):
        raise DataError("the data are not a pandas DataFrame", mend="read them with pandas first")


def split_with_outcome(formula: str, outcome: str | None) -> tuple[SplitFormula, str]:
    """Return a formula taken apart and the name of its outcome."""
    split = split_formula(formula)
    if split.outcome and outcome and split.outcome != outcome:
        raise FormulaError(f"the formula names {split.outcome!r} and the outcome is {outcome!r}")
    name = split.outcome or outcome
    if not name:
        raise DataError("the formula names no outcome", mend='write "y ~ ..." or pass outcome=')
    return split, name


def complete_rows(data: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return the positions of rows that have all of some columns, and what to say of the others."""
    keep, notes = np.ones(len(data), dtype=bool), []
    for name in names:
        absent = column_of(data, name).isna().to_numpy() & keep
        if absent.any():
            notes.append(f"{int(absent.sum())} rows without {name} are left out")
            keep &= ~absent
    return np.flatnonzero(keep), notes


def positive_column(data: pd.DataFrame, name: str | None, *, whole: bool = False) -> np.ndarray:
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


def check_counts(
    y: np.ndarray, trials: np.ndarray | None, name: str, *, size: str | None, shares: bool = False
) -> None:
    """Raise DataError for the first value that is not a count, or a count of successes.

    Parameters
    ----------
    y : numpy.ndarray, shape (rows,) or (B, rows)
        NaN where missing.
    trials : numpy.ndarray, shape (rows,), optional
        For successes; NaN where missing.
    name : str
        Column of the outcome.
    size : str or None
        Column of the trials.
    shares : bool
        Whether, without a column of trials, an outcome may be a share.
    """
    top = np.broadcast_to(np.inf if trials is None else trials, y.shape)
    single = trials is not None and size is None
    known = ~np.isnan(y) & ~np.isnan(top)
    broken = (np.floor(y) != y) & (not (single and shares))
    wrong = known & ((y < 0) | (y > top) | np.isinf(y) | broken)
    if not wrong.any():
        return
    at = np.unravel_index(int(np.argmax(wrong)), y.shape)
    what = "a count" if trials is None else f"a count of up to {top[at]:g} successes"
    mend = "correct the column"
    if single:
        what = "0, 1 or a share between them" if shares else "0 or 1"
        mend = "name the trials with size=" if y[at] > 1 else mend
        mend = (
            "give successes, not shares, and name the trials with size=" if 0 < y[at] < 1 else mend
        )
    raise DataError(f"{y[at]:g} is not {what}", where=name, mend=mend)


def unit_design(term: RandomTerm, data: pd.DataFrame, rows: np.ndarray) -> RandomDesign:
    """Return a random intercept over rows of a table, -1 where a row has no group.

    Unlike in a Gaussian model, one row per group is enough: its counts vary by themselves.
    """
    import pandas as pd

    columns = pd.DataFrame({c: column_of(data, c) for c in term.group}).iloc[rows]
    absent = columns.isna().any(axis=1).to_numpy()
    codes = columns.groupby(list(term.group), sort=False, observed=True).ngroup().to_numpy()
    _, first, group = np.unique(codes[~absent], return_index=True, return_inverse=True)
    whole = np.full(len(rows), -1)
    whole[~absent] = group
    present = columns.to_numpy()[~absent]
    levels = tuple(":".join(str(v) for v in row) for row in present[first])
    return RandomDesign(term, (whole[:, None] >= 0) * 1.0, ("1",), whole, levels)
