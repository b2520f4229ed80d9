"""The treatment of the period before, as a column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError
from ketastats.study.tables import need_columns

if TYPE_CHECKING:
    import pandas as pd

FIRST = "none"
"""Level of the first period."""


def add_carry_over(
    data: pd.DataFrame,
    *,
    subject: str = "subject",
    period: str = "period",
    treatment: str = "treatment",
    name: str = "carry_over",
) -> pd.DataFrame:
    """Add the treatment of the period before as a factor, for first-order carry-over.

    In ``"y ~ sequence + period + treatment + carry_over + (1|subject)"`` the contrast
    ``{"carry_over": "A - B"}`` is the difference between what A and B leave behind. Three or more
    periods estimate it within people. An AB/BA trial with one observation per period cannot, and
    the model refuses it; with a baseline in each period ``"baseline ~ sequence + period +
    carry_over + (1|subject)"`` estimates, within people, what is left at the second baseline. It
    is an estimate with an interval, not a gate for choosing another analysis (Freeman 1989, Stat
    Med 8:1421; Jones & Kenward 2014, Design and Analysis of Cross-Over Trials, chapters 2 and 3).

    Parameters
    ----------
    data : pandas.DataFrame
        Long, one treatment per subject and period. Where a person's row of the period before is
        missing, the treatment comes from others of the same ``sequence`` if there is that column.
    subject, period, treatment : str
        Columns.
    name : str
        Column to add.

    Returns
    -------
    pandas.DataFrame
        A copy with a categorical column: the treatments in their order, then ``none`` for the first
        period; missing where the treatment before is not known.

    Raises
    ------
    DataError
        For a missing column, a column that is there already, or two treatments in one period.

    Examples
    --------
    >>> import pandas as pd
    >>> data = pd.DataFrame({"subject": [1, 1, 1], "period": [1, 2, 3],
    ...                      "treatment": ["A", "B", "B"]})
    >>> add_carry_over(data)["carry_over"].tolist()
    ['none', 'A', 'B']
    """
    import pandas as pd

    need_columns(data, [subject, period, treatment], name)
    if name in data.columns:
        raise DataError(f"there is a column {name!r} already", where=name, mend="drop or rename it")
    treatments = data[treatment].astype("category").cat.remove_unused_categories().cat
    if FIRST in treatments.categories:
        raise DataError(
            f"{FIRST!r} is a treatment, and the carry-over of the first period",
            where=treatment,
            mend="rename the treatment",
        )
    who, _ = pd.factorize(data[subject])
    when = data[period].astype("category").cat.remove_unused_categories().cat.codes.to_numpy()
    code = treatments.codes.to_numpy()
    given = np.full((who.max() + 1, when.max() + 1), -1)
    known = np.flatnonzero((who >= 0) & (when >= 0) & (code >= 0))
    given[who[known], when[known]] = code[known]
    clash = known[given[who[known], when[known]] != code[known]]
    if len(clash):
        row = data.iloc[clash[0]]
        raise DataError(
            f"subject {str(row[subject])!r} has two treatments in period {str(row[period])!r}",
            where=treatment,
            mend="give every person one treatment per period",
        )
    if "sequence" in data.columns:
        given = _filled(given, who, pd.factorize(data["sequence"])[0])
    before = np.hstack([np.full((len(given), 1), len(treatments.categories)), given[:, :-1]])
    codes = np.where((who >= 0) & (when >= 0), before[who, when], -1)
    levels = [*treatments.categories, FIRST]
    return data.assign(**{name: pd.Categorical.from_codes(codes, categories=pd.Index(levels))})


def _filled(given: np.ndarray, who: np.ndarray, sequence: np.ndarray) -> np.ndarray:
    """Fill unknown treatments from people of the same sequence, where those agree, (n, periods)."""
    out = given.copy()
    own = np.full(len(given), -1)
    own[who[sequence >= 0]] = sequence[sequence >= 0]
    for s in np.unique(own[own >= 0]):
        people = np.flatnonzero(own == s)
        for p in range(given.shape[1]):
            seen = np.unique(given[people, p][given[people, p] >= 0])
            if len(seen) == 1:
                out[people, p] = seen[0]
    return out
