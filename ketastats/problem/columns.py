"""Finding a column of a table, with a suggestion when the name is wrong."""

from __future__ import annotations

import pandas as pd

from ketastats.core.errors import DataError
from ketastats.study.lookup import suggestion


def column_of(data: pd.DataFrame, name: str) -> pd.Series:
    """Return a column, or raise DataError with the nearest name."""
    if name not in data.columns:
        raise DataError(
            f"there is no column {name!r} in the data",
            mend=suggestion(name, [str(c) for c in data.columns]),
        )
    column = data[name]
    if isinstance(column, pd.DataFrame):
        raise DataError(
            f"the data have {column.shape[1]} columns called {name!r}", mend="rename one"
        )
    return column
