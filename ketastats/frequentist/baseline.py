"""A baseline of every period as its mean per person and the deviation from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ketastats.core.errors import DataError
from ketastats.study.tables import need_columns, numbers

if TYPE_CHECKING:
    import pandas as pd


def baseline_split(data: pd.DataFrame, baseline: str, subject: str = "subject") -> pd.DataFrame:
    """Split a baseline into a mean per person and the deviation from it within the person.

    The two carry different questions: the mean says how people differ, the deviation how a
    person's periods differ, and one coefficient for both mixes them (Kenward & Roger 2010,
    Biostatistics 11:1). With both in the formula the treatment effect within people is adjusted
    by the deviation alone.

    Parameters
    ----------
    data : pandas.DataFrame
        Long, with the baseline of its period in every row. With a column ``period`` the mean
        weighs periods equally, however many rows each has.
    baseline : str
        Column of the baseline.
    subject : str
        Column of the person.

    Returns
    -------
    pandas.DataFrame
        A copy with two more columns, ``<baseline>_mean`` and ``<baseline>_within``. A row whose
        baseline is missing has no deviation, a person without any baseline no mean; of a person
        with one baseline the deviation is 0.

    Raises
    ------
    DataError
        For a missing column, a baseline that is not numbers or that differs within a period, or
        a column of one of the new names.

    Examples
    --------
    >>> import pandas as pd
    >>> data = pd.DataFrame({"subject": [1, 1, 2, 2], "base": [10.0, 14.0, 20.0, 18.0]})
    >>> baseline_split(data, "base")[["base_mean", "base_within"]].to_numpy().tolist()
    [[12.0, -2.0], [12.0, 2.0], [19.0, 1.0], [19.0, -1.0]]
    """
    need_columns(data, [subject, baseline], baseline)
    names = f"{baseline}_mean", f"{baseline}_within"
    for name in names:
        if name in data.columns:
            raise DataError(
                f"there is a column {name!r} already", where=baseline, mend="drop or rename it"
            )
    if data[subject].isna().any():
        raise DataError(f"the column {subject!r} is empty in some rows", where=baseline)
    keys = [subject, "period"] if "period" in data.columns and subject != "period" else [subject]
    frame = data[keys].assign(value=numbers(data[baseline], baseline))
    rows = frame.dropna()
    if rows.empty:
        raise DataError("every value is missing", where=baseline, mend="choose another baseline")
    if len(keys) == 2:
        rows = _one_per_period(rows, keys, baseline)
    means = rows.groupby(subject, observed=True)["value"].mean()
    mean = frame[subject].map(means).astype(float)
    return data.assign(**{names[0]: mean, names[1]: frame["value"] - mean})


def _one_per_period(rows: pd.DataFrame, keys: list[str], baseline: str) -> pd.DataFrame:
    """Return one row per person and period, whose baseline must be one number."""
    by_period = rows.groupby(keys, observed=True)["value"]
    differs = by_period.nunique() > 1
    if differs.any():
        who, when = differs.index[differs][0]
        raise DataError(
            f"subject {str(who)!r} has more than one value in period {when}",
            where=baseline,
            mend="a baseline is one number per person and period",
        )
    return by_period.first().reset_index()
