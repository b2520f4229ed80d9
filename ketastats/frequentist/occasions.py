"""Outcomes by unit and occasion, for tests that rank within or between units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ketastats.core.errors import DataError
from ketastats.frequentist.abba import need_columns, numbers
from ketastats.study.lookup import suggestion

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class Occasions:
    """Units observed on every occasion asked for.

    Attributes
    ----------
    y : numpy.ndarray, shape (n, k)
    units : tuple
        As labelled in the data.
    occasions : tuple of str
    notes : tuple of str
        What was averaged and who was left out.
    """

    y: np.ndarray
    units: tuple[Any, ...]
    occasions: tuple[str, ...]
    notes: tuple[str, ...]


def levels_of(column: pd.Series) -> list[str]:
    """Return the levels in use as text: in the order of categories, else sorted."""
    category = column.astype("category").cat.remove_unused_categories()
    return [str(v) for v in category.cat.categories]


def read_occasions(
    data: pd.DataFrame,
    outcome: str,
    unit: str,
    occasion: str,
    wanted: Sequence[str] | None = None,
) -> Occasions:
    """Read outcomes by unit and occasion; several rows of one are averaged.

    Parameters
    ----------
    data : pandas.DataFrame
    outcome, unit, occasion : str
        Columns.
    wanted : sequence of str, optional
        Occasions in order; all by default.

    Raises
    ------
    DataError
        For a missing column or occasion, or fewer than two complete units.
    """
    need_columns(data, [outcome, unit, occasion], outcome)
    known = levels_of(data[occasion])
    names = known if wanted is None else [str(w) for w in wanted]
    for name in names:
        if name not in known:
            raise DataError(
                f"there is no {occasion} {name!r}", where=outcome, mend=suggestion(name, known)
            )
    if len(set(names)) < max(2, len(names)):
        raise DataError(
            f"{len(set(names))} different {occasion} cannot be compared",
            where=outcome,
            mend="name two or more",
        )
    frame = data[[unit]].assign(
        at=data[occasion].astype("str"), value=numbers(data[outcome], outcome)
    )
    frame = frame[frame["at"].isin(names)].dropna()
    cells = frame.groupby([unit, "at"], sort=False, observed=True)["value"]
    table = cells.mean().unstack("at").reindex(columns=names)
    complete = table.dropna()
    notes = []
    if (cells.size() > 1).any():
        notes.append(f"several rows of a {unit} and {occasion} are averaged")
    if len(complete) < len(table):
        notes.append(
            f"{len(table) - len(complete)} units of {unit} without every {occasion} are left out"
        )
    if len(complete) < 2:
        raise DataError(
            f"fewer than two units of {unit} have every {occasion}",
            where=outcome,
            mend="leave out an occasion",
        )
    return Occasions(
        complete.to_numpy(dtype=float), tuple(complete.index), tuple(names), tuple(notes)
    )
