"""The two-treatment, two-period crossover as arrays: one row per person, one column per period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ketastats.core.errors import DataError
from ketastats.study.contrasts import parse_contrast
from ketastats.study.lookup import suggestion
from ketastats.study.tables import need_columns, need_filled, need_one_each, numbers

if TYPE_CHECKING:
    import pandas as pd

_MEND_DESIGN = "an AB/BA trial gives two treatments in two periods, in both orders"


@dataclass(frozen=True, slots=True, eq=False)
class CrossoverArrays:
    """An AB/BA trial as arrays, people in the order of their labels.

    Attributes
    ----------
    outcome : str
    y : numpy.ndarray
        Shape (n, 2): a person's outcome by period, NaN where it was not observed.
    first : numpy.ndarray
        Shape (n,): whether the person is in the first sequence.
    stratum : numpy.ndarray
        Shape (n,): number of the person's stratum, all zero without strata.
    sequences, treatments, periods : tuple of (str, str)
        The treatments are those of the first sequence, by period.
    notes : str
        What was averaged.
    """

    outcome: str
    y: np.ndarray
    first: np.ndarray
    stratum: np.ndarray
    sequences: tuple[str, str]
    treatments: tuple[str, str]
    periods: tuple[str, str]
    notes: str

    @property
    def labels(self) -> dict[str, str]:
        """What each effect of :func:`~ketastats.frequentist.t_tests.effect_scores` compares."""
        return {
            "treatment": " - ".join(self.treatments),
            "period": " - ".join(self.periods),
            "carry_over": " - ".join(self.sequences) + " (sums)",
        }

    def observed(self, periods: Sequence[int] = (0, 1)) -> CrossoverArrays:
        """Return the people observed in every one of some periods (0 and 1).

        Raises
        ------
        DataError
            For fewer than two of them in a sequence, or an outcome that is the same in all.
        """
        keep = ~np.isnan(self.y[:, list(periods)]).any(axis=1)
        counts = [int((keep & self.first).sum()), int((keep & ~self.first).sum())]
        if min(counts) < 2:
            where = "both periods" if len(periods) == 2 else f"period {self.periods[periods[0]]}"
            raise DataError(
                f"fewer than two people of sequence {self.sequences[int(np.argmin(counts))]!r} "
                f"were observed in {where}",
                where=self.outcome,
                mend="each sequence needs two or more",
            )
        used = self.y[keep][:, list(periods)]
        if np.ptp(used) == 0:
            raise DataError(
                "the outcome is the same in every person and period",
                where=self.outcome,
                mend="choose an outcome that varies",
            )
        return replace(self, y=self.y[keep], first=self.first[keep], stratum=self.stratum[keep])


def read_crossover(
    data: pd.DataFrame,
    outcome: str,
    *,
    change: tuple[str, str] | None = None,
    contrast: str | None = None,
    strata: Sequence[str] = (),
) -> CrossoverArrays:
    """Read an AB/BA trial from a long data frame.

    Parameters
    ----------
    data : pandas.DataFrame
        Columns subject, sequence, period, treatment and the outcome, one row per person and
        period. With a column ``time`` there may be one row per time, averaged over the times; a
        person who misses one of them misses the period.
    outcome : str
    change : tuple of (str, str), optional
        Two levels of ``time``: the outcome is the second minus the first of each period.
    contrast : str, optional
        Direction of the treatment effect, such as ``"naltrexone - placebo"``. Without it the
        sequence that comes first (in the order of categories, else sorted) is on the left.
    strata : sequence of str
        Columns within which people were allocated.

    Returns
    -------
    CrossoverArrays

    Raises
    ------
    DataError
        For a missing column, labels that contradict each other, a design that is not AB/BA,
        duplicated rows, or an outcome that is not numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> data = pd.DataFrame({"subject": [1, 1, 2, 2], "sequence": ["AB", "AB", "BA", "BA"],
    ...     "period": [1, 2, 1, 2], "treatment": ["A", "B", "B", "A"], "y": [5.0, 3.0, 2.0, 6.0]})
    >>> read_crossover(data, "y", contrast="B - A").y.tolist()
    [[5.0, 3.0], [2.0, 6.0]]
    """
    labels = ["subject", "sequence", "period", "treatment", *strata]
    timed = change is not None or "time" in data.columns
    labels += ["time"] if timed else []
    need_columns(data, [*labels, outcome], outcome)
    need_filled(data, labels, outcome)
    sequences, periods, given = _design(data, outcome)
    if contrast is not None and _reversed(contrast, given[0], outcome):
        sequences, given = sequences[::-1], given[::-1]
    levels = _levels(data["subject"])
    times = _time_weights(data, outcome, change) if timed else {}
    cube = _cube(data, outcome, levels, list(times))
    people = data.drop_duplicates("subject").set_index("subject").loc[levels]
    return CrossoverArrays(
        outcome=outcome,
        y=np.einsum("ntp,t->np", cube, list(times.values()) if timed else [1.0]),
        first=people["sequence"].astype(str).to_numpy() == sequences[0],
        stratum=_stratum(data, people, strata, outcome),
        sequences=sequences,
        treatments=given[0],
        periods=periods,
        notes=_note(change, [str(t) for t in times]),
    )


def _levels(column: pd.Series) -> list[Any]:
    """Return the levels in use: in the order of categories, else sorted."""
    if hasattr(column, "cat"):
        return list(column.cat.remove_unused_categories().cat.categories)
    found = list(column.unique())
    try:
        return sorted(found)
    except TypeError:
        return sorted(found, key=str)


def _design(
    data: pd.DataFrame, outcome: str
) -> tuple[tuple[str, str], tuple[str, str], tuple[tuple[str, str], tuple[str, str]]]:
    """Return sequences, periods, and what each sequence receives by period."""
    need_one_each(data, "sequence", outcome)
    sequences, periods = _levels(data["sequence"]), _levels(data["period"])
    if len(sequences) != 2 or len(periods) != 2:
        raise DataError(
            f"this is not an AB/BA trial: sequences {_list(sequences)} over periods "
            f"{_list(periods)}",
            where=outcome,
            mend=_MEND_DESIGN,
        )
    orders = []
    for s in sequences:
        given = []
        for p in periods:
            cell = data.loc[(data["sequence"] == s) & (data["period"] == p), "treatment"]
            given.append([str(t) for t in _levels(cell)])
            if len(given[-1]) > 1:
                raise DataError(
                    f"sequence {str(s)!r} receives {_list(given[-1])} in period {p}",
                    where=outcome,
                    mend="a sequence label must stand for one order of treatments",
                )
        orders.append(tuple("".join(g) for g in given))
    (a, b), (c, d) = orders
    if (a, b) != (d, c) or a == b or not (a and b):
        text = ", ".join(f"{s} = {'-'.join(g)}" for s, g in zip(sequences, orders, strict=True))
        raise DataError(
            f"this is not an AB/BA trial: the sequences are {text}",
            where=outcome,
            mend=_MEND_DESIGN,
        )
    names = (str(sequences[0]), str(sequences[1])), (str(periods[0]), str(periods[1]))
    return *names, ((a, b), (c, d))


def _list(levels: Sequence[Any]) -> str:
    return ", ".join(repr(str(level)) for level in levels)


def _reversed(contrast: str, treatments: tuple[str, str], outcome: str) -> bool:
    """Return whether a contrast has the second treatment of the first sequence on the left."""
    weights = dict(parse_contrast(contrast, treatments, where=outcome))
    signs = tuple(weights.get(t, 0.0) for t in treatments)
    if signs not in ((1.0, -1.0), (-1.0, 1.0)):
        raise DataError(
            f"the contrast {contrast!r} is not a difference of the two treatments",
            where=outcome,
            mend=f"write {' - '.join(treatments)!r} or {' - '.join(treatments[::-1])!r}",
        )
    return signs == (-1.0, 1.0)


def _time_weights(
    data: pd.DataFrame, outcome: str, change: tuple[str, str] | None
) -> dict[Any, float]:
    """Return what each time counts in the outcome of a period."""
    times = _levels(data["time"])
    if change is None:
        return {t: 1 / len(times) for t in times}
    by_name = {str(t): t for t in times}
    for name in change:
        if name not in by_name:
            raise DataError(
                f"there is no time {name!r}", where=outcome, mend=suggestion(name, by_name)
            )
    if change[0] == change[1]:
        raise DataError("change names one time twice", where=outcome, mend="name two times")
    return {by_name[change[0]]: -1.0, by_name[change[1]]: 1.0}


def _note(change: tuple[str, str] | None, times: Sequence[str]) -> str:
    if change is not None:
        return f"{change[1]} - {change[0]} of each period"
    return f"mean over time {_list(times)}" if len(times) > 1 else ""


def _cube(
    data: pd.DataFrame, outcome: str, subjects: Sequence[Any], times: Sequence[Any]
) -> np.ndarray:
    """Return outcomes by subject, time (one where there is none) and period, NaN where missing."""
    import pandas as pd

    keys = ["subject", "period", "time"] if times else ["subject", "period"]
    frame = data[keys].assign(value=numbers(data[outcome], outcome)).dropna()
    if frame.empty:
        raise DataError("every value is missing", where=outcome, mend="choose another outcome")
    twice = frame.duplicated(keys)
    if twice.any():
        row = frame.loc[twice, keys].iloc[0]
        raise DataError(
            "more than one row for " + ", ".join(f"{k} {str(row[k])!r}" for k in keys),
            where=outcome,
            mend="remove the duplicates, or average within person and period first",
        )
    if times:
        frame = frame[frame["time"].isin(times)]
    levels = {"subject": subjects, "time": times, "period": _levels(data["period"])}
    at = {k: pd.Index(levels[k]).get_indexer(frame[k].astype(object)) for k in keys}
    cube = np.full((len(subjects), max(1, len(times)), 2), np.nan)
    cube[at["subject"], at.get("time", 0), at["period"]] = frame["value"].to_numpy()
    return cube


def _stratum(
    data: pd.DataFrame, people: pd.DataFrame, strata: Sequence[str], outcome: str
) -> np.ndarray:
    """Return the number of each person's stratum, shape (n,)."""
    for column in strata:
        need_one_each(data, column, outcome)
    if not strata:
        return np.zeros(len(people), dtype=int)
    return people.groupby(list(strata), observed=True).ngroup().to_numpy()
