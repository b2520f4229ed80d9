"""Carry-over in the two-period crossover, where it has no contrast of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import NotEstimable

if TYPE_CHECKING:
    import pandas as pd

ROLES = ("subject", "period", "treatment")


def refuse_aliased_carry_over(data: pd.DataFrame, variables: Sequence[str]) -> None:
    """Refuse carry-over beside treatment in an AB/BA trial with one observation per period.

    Judged from the data: a variable that is the same for everybody in period 1 and in period 2
    tells which treatment came before. The difference it asks for is that of the two sequences,
    between people; in the formula it would take the treatment effect with it, which is then
    estimated from period 1 alone (Senn 2002, Cross-over Trials in Clinical Research, chapter 3).

    Parameters
    ----------
    data : pandas.DataFrame
        The rows used.
    variables : sequence of str
        Columns of the fixed part.

    Raises
    ------
    NotEstimable
    """
    if not set(ROLES) <= set(data.columns):
        return
    others = [v for v in variables if v not in (*ROLES, "sequence")]
    if not others or "treatment" not in variables:
        return
    if len(data) > 2 * data["subject"].nunique():
        return  # more than one observation per period
    subject, period, treatment = (_codes(data[c]) for c in ROLES)
    if not _is_abba(subject, period, treatment):
        return
    for name in others:
        value = _codes(data[name])
        first, second = period == 0, period == 1
        cells = {(t, v) for t, v in zip(treatment[second], value[second], strict=True)}
        if len(set(value[first])) == 1 and len(cells) == 2 == len({v for _, v in cells}):
            raise NotEstimable(
                f"carry-over ({name!r}) cannot be told from sequence in a two-period crossover "
                "with one observation per period: both are the difference of the people's totals",
                where=name,
                mend=f"leave {name} out; a third period estimates it, or the periods' baselines do "
                "in a model of their own without treatment",
            )


def _is_abba(subject: np.ndarray, period: np.ndarray, treatment: np.ndarray) -> bool:
    """Whether two treatments are given in both orders over two periods, one row each."""
    if period.max() != 1 or treatment.max() != 1 or min(period.min(), treatment.min()) < 0:
        return False
    cell = subject * 2 + period
    if len(np.unique(cell)) < len(cell):
        return False
    order = np.where(period == 0, treatment, 1 - treatment)  # what came first, were it AB or BA
    people = np.unique(subject)
    firsts = np.zeros(len(people), dtype=int)
    at = np.searchsorted(people, subject)
    firsts[at] = order
    return bool((firsts[at] == order).all()) and len(np.unique(firsts)) == 2


def _codes(column: pd.Series) -> np.ndarray:
    """Return codes in the order of the levels, -1 where missing."""
    category = column.astype("category").cat.remove_unused_categories()
    return category.cat.codes.to_numpy(dtype=np.int64)
