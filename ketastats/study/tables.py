"""What a table must have whatever the Study: columns, numbers, labels that agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ketastats.core.errors import DataError
from ketastats.study.lookup import suggestion

if TYPE_CHECKING:
    import pandas as pd


def need_columns(data: pd.DataFrame, names: Sequence[str], where: str | None = None) -> None:
    """Raise a DataError for the first column that is not there, with a suggestion, or is twice."""
    columns = list(data.columns)
    for name in names:
        if name not in columns:
            raise DataError(
                f"there is no column {name!r} in the data",
                where=where or name,
                mend=suggestion(name, [str(c) for c in columns]),
            )
        if columns.count(name) > 1:
            raise DataError(
                f"the data have {columns.count(name)} columns called {name!r}",
                where=where or name,
                mend="rename one",
            )


def need_filled(data: pd.DataFrame, names: Sequence[str], where: str | None = None) -> None:
    """Raise a DataError for the first column that is empty in some rows."""
    for name in names:
        empty = data[name].isna().to_numpy()
        if empty.any():
            raise DataError(
                f"the column {name!r} is empty in some rows, first in row "
                f"{data.index[int(np.argmax(empty))]}",
                where=where or name,
                mend="fill it in, or leave these rows out",
            )


def need_one_each(
    data: pd.DataFrame, column: str, where: str | None = None, *, unit: str = "subject"
) -> None:
    """Raise a DataError when a column that belongs to subjects (or cages) differs within one."""
    unit_codes, codes = codes_of(data[unit])[0], codes_of(data[column])[0]
    rows = differing_rows(unit_codes, codes)
    if rows.size:
        i = int(rows[0])
        first = int(np.argmax((unit_codes == unit_codes[i]) & (codes >= 0)))
        raise DataError(
            f"{unit} {cell_text(data, unit, i)} has more than one {column}: "
            f"{cell_text(data, column, first)} in row {data.index[first]} and "
            f"{cell_text(data, column, i)} in row {data.index[i]}",
            where=where or column,
            mend=f"give every {unit} one {column}, and a name of its own",
        )


def numbers(column: pd.Series, where: str) -> np.ndarray:
    """Return a column as floats, missing values as NaN, shape (rows,).

    Raises
    ------
    DataError
        For values that are not numbers, or infinite ones.
    """
    import pandas as pd

    y = np.full(len(column), np.nan)
    filled = column.dropna()
    if filled.empty:
        return y
    typed = filled.infer_objects()
    if not (pd.api.types.is_any_real_numeric_dtype(typed) or pd.api.types.is_bool_dtype(typed)):
        i = next((i for i, value in enumerate(filled) if not _is_number(value)), 0)
        raise DataError(
            f"the values are not numbers, first {str(filled.iloc[i])!r} in row {filled.index[i]}",
            where=where,
            mend="convert the column, for example with pandas.to_numeric",
        )
    y[column.notna().to_numpy()] = typed.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(y).any():
        raise DataError(
            f"there are infinite values, first in row {column.index[int(np.argmax(np.isinf(y)))]}",
            where=where,
            mend="correct them or set them to missing",
        )
    return y


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def contradictions(frame: pd.DataFrame) -> tuple[str, ...]:
    """Say where the labels of a crossover contradict each other, without a Study.

    Parameters
    ----------
    frame : pandas.DataFrame

    Returns
    -------
    tuple of str
        At most one sentence each for subjects with several sequences, subjects with several
        treatments in a period, and treatments that most people of the sequence do not have in
        that period. Empty without the columns subject, sequence, period and treatment.

    Examples
    --------
    >>> import pandas as pd
    >>> data = pd.DataFrame({"subject": [1, 2, 3, 1, 2, 3], "sequence": "AB",
    ...     "period": [1, 1, 1, 2, 2, 2], "treatment": ["A", "A", "A", "B", "A", "B"]})
    >>> contradictions(data)[0]
    "sequence 'AB' has treatment 'B' in period '2', but subject '2' has 'A': check the labels"
    """
    names = ("subject", "sequence", "period", "treatment")
    if any(n not in frame.columns for n in names):
        return ()
    columns = [frame[n] for n in names]
    if any(c.ndim > 1 for c in columns):  # two columns of one name, refused elsewhere
        return ()
    subject, sequence, period, treatment = (codes_of(c)[0] for c in columns)
    visit, cell = crossed(subject, period), crossed(sequence, period)
    out = []
    if (rows := differing_rows(subject, sequence)).size:
        who = cell_text(frame, "subject", rows[0])
        out.append(f"subject {who} has more than one sequence{_others(subject[rows], 'subject')}")
    if (rows := differing_rows(visit, treatment)).size:
        who, when = cell_text(frame, "subject", rows[0]), cell_text(frame, "period", rows[0])
        others = _others(visit[rows], "visit")
        out.append(f"subject {who} has more than one treatment in period {when}{others}")
    if differing_rows(cell, treatment).size:
        usual = _usual(cell, treatment, subject)
        known = (usual >= 0) & (treatment >= 0) & (subject >= 0)
        rows = np.flatnonzero(known & (treatment != usual))
        if rows.size:
            i = int(rows[0])
            like = int(np.argmax((cell == cell[i]) & (treatment == usual[i])))
            out.append(
                f"sequence {cell_text(frame, 'sequence', i)} has treatment "
                f"{cell_text(frame, 'treatment', like)} in period "
                f"{cell_text(frame, 'period', i)}, but subject "
                f"{cell_text(frame, 'subject', i)} has {cell_text(frame, 'treatment', i)}"
                f"{_others(visit[rows], 'visit')}"
            )
    return tuple(f"{text}: check the labels" for text in out)


def _others(groups: np.ndarray, word: str) -> str:
    n = len(np.unique(groups)) - 1
    return f" (and {n} more {word}{'s' if n > 1 else ''})" if n else ""


def _usual(group: np.ndarray, code: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """Return the code that most subjects of a row's group have, shape (rows,).

    It is -1 where no code is in more than half of them, or more than one is.
    """
    keep = np.flatnonzero((group >= 0) & (code >= 0) & (subject >= 0))
    triples = np.unique(np.stack([group[keep], code[keep], subject[keep]], axis=1), axis=0)
    pairs, having = np.unique(triples[:, :2], axis=0, return_counts=True)
    people = np.bincount(np.unique(triples[:, ::2], axis=0)[:, 0])
    pairs = pairs[2 * having > people[pairs[:, 0]]]
    once = np.bincount(pairs[:, 0], minlength=len(people))[pairs[:, 0]] == 1
    usual = np.full(int(group.max(initial=-1)) + 2, -1)  # the last is that of group -1
    usual[pairs[once, 0]] = pairs[once, 1]
    return usual[group]


# codes: integers of shape (rows,), -1 where a cell is empty


def codes_of(column: pd.Series) -> tuple[np.ndarray, Any]:
    """Return codes and the values that they stand for; categories keep their own, used or not."""
    array: Any = column.array
    if hasattr(array, "categories"):
        return array.codes.astype(np.int64), array.categories
    return array.factorize()  # a third of the time of pandas.factorize on a short column


def crossed(*codes: np.ndarray) -> np.ndarray:
    """Return one code per combination; -1 where any of them is."""
    out = codes[0]
    for code in codes[1:]:
        empty = (out < 0) | (code < 0)
        out = np.where(empty, -1, out * (int(code.max(initial=0)) + 1) + code)
        if int(out.max(initial=0)) > 16 * len(out) + 1000:  # keep tables over codes small
            out = np.where(empty, -1, np.unique(out, return_inverse=True)[1])
    return out


def differing_rows(group: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Return the rows whose code is not that of the first row of their group."""
    rows = np.flatnonzero((group >= 0) & (code >= 0))
    g, c = group[rows], code[rows]
    first = np.empty(int(g.max(initial=-1)) + 1, dtype=np.int64)
    first[g[::-1]] = c[::-1]  # the last to be written is the first row
    return rows[c != first[g]]


def cell_text(data: pd.DataFrame, column: str, row: int | np.integer[Any]) -> str:
    """Return the value in a row of a column as quoted text."""
    return repr(as_text(data[column].iloc[int(row)]))


def as_text(value: Any) -> str:
    """Return a value as text, a whole float as an integer."""
    whole = isinstance(value, float | np.floating) and value.is_integer()
    return str(int(value)) if whole else str(value)
