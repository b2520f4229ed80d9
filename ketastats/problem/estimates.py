"""Estimates: the one tidy table that every engine returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

TEXT = ("study", "outcome", "analysis", "estimand", "engine", "method", "status", "notes")
COLUMNS = (
    "study",
    "outcome",
    "analysis",
    "estimand",
    "engine",
    "estimate",
    "se",
    "df",
    "statistic",
    "p",
    "prob_positive",
    "ci_low",
    "ci_high",
    "level",
    "method",
    "status",
    "notes",
)
STATUSES = ("ok", "boundary", "unconverged", "not_estimable", "failed")


def estimates_frame(records: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Return records as the Estimates table: fixed columns, text or float.

    Parameters
    ----------
    records : iterable of mapping
        Keys among :data:`COLUMNS`; text that is not given is empty, numbers are NaN.

    Returns
    -------
    pandas.DataFrame
    """
    import pandas as pd

    rows = list(records)
    unknown = {k for r in rows for k in r} - set(COLUMNS)
    if unknown:
        raise KeyError(f"not columns of Estimates: {sorted(unknown)}")
    wrong = {str(r.get("status", "ok")) for r in rows} - set(STATUSES)
    if wrong:
        raise ValueError(f"not a status: {sorted(wrong)}")
    out: dict[str, pd.Series] = {}
    for column in COLUMNS:
        text = column in TEXT
        values = [r.get(column, "" if text else float("nan")) for r in rows]
        out[column] = pd.Series(values, dtype="str" if text else "float64")
    return pd.DataFrame(out)
