"""The rank test of group by occasion: changes within units, compared between groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError
from ketastats.frequentist.abba import need_columns
from ketastats.frequentist.occasions import levels_of, read_occasions
from ketastats.frequentist.ranks import EXACT_BELOW, hodges_lehmann, rank_sum_p
from ketastats.frequentist.t_tests import effect_table, rounded
from ketastats.study.contrasts import parse_contrast

if TYPE_CHECKING:
    import pandas as pd


def rank_interaction(
    data: pd.DataFrame,
    outcome: str,
    *,
    group: str,
    change: tuple[str, str],
    contrast: str | None = None,
    occasion: str = "time",
    unit: str = "subject",
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare changes within units between two groups by Wilcoxon's rank-sum test.

    The rank test of group by occasion. Every unit gives one difference, so units are compared with
    units; under no interaction the differences are exchangeable between the groups, whatever the
    groups' levels and the common change. Ranks of the outcomes themselves have no such property:
    what is additive before ranking is not after it.

    Parameters
    ----------
    data : pandas.DataFrame
        Long. Several rows of a unit on one occasion are averaged; a unit without both occasions is
        left out and counted in the notes.
    outcome : str
    group : str
        Column that is constant within a unit.
    change : tuple of (str, str)
        Occasions: the second minus the first.
    contrast : str, optional
        Direction, such as ``"R - S"``; needed where there are more than two groups. Without it the
        second group minus the first.
    occasion, unit : str
        Columns.
    level : float

    Returns
    -------
    pandas.DataFrame
        The row ``group:occasion``: contrast, estimate (Hodges-Lehmann shift of the changes),
        statistic (pairs in which the left group changes more), p, ci_low, ci_high, n, method,
        status, notes.

    Raises
    ------
    DataError
        For a missing column, groups that are not two, or fewer than two units in one.

    Examples
    --------
    >>> import pandas as pd
    >>> data = pd.DataFrame({"mouse": [1, 2, 3, 4, 5, 6] * 2, "drug": list("AAABBB") * 2,
    ...     "time": ["pre"] * 6 + ["post"] * 6, "y": [5, 6, 9, 4, 7, 8, 6, 8, 12, 9, 13, 15]})
    >>> table = rank_interaction(data, "y", group="drug", change=("pre", "post"), unit="mouse")
    >>> table.loc["drug:time", ["estimate", "p"]].tolist()
    [4.0, 0.1]
    """
    need_columns(data, [group, unit], outcome)
    if not 0 < level < 1:
        raise DataError(f"level = {level} is not between 0 and 1", mend="use 0.95")
    found = read_occasions(data, outcome, unit, occasion, change)
    left, right = _two_groups(data[group], contrast, group)
    belongs = _group_of_units(data, group, unit, outcome)
    labels = np.array([belongs.get(u, "") for u in found.units])
    first = labels == left
    used = first | (labels == right)
    counts = [int(first.sum()), int((labels == right).sum())]
    if min(counts) < 2:
        short = (left, right)[int(np.argmin(counts))]
        raise DataError(
            f"fewer than two units of {unit} with {group} {short!r} have both {change[0]} and "
            f"{change[1]}",
            where=outcome,
            mend="each group needs two or more",
        )
    y, first = found.y[used], first[used]
    scores = rounded(y[:, 1] - y[:, 0], y)
    u, p, tied = rank_sum_p(scores[None, :], first)
    estimate, low, high = hodges_lehmann(scores[first], scores[~first], level)
    flat = bool(np.ptp(scores) == 0)
    notes = list(found.notes)
    lost = int((labels == "").sum())
    notes += [f"{lost} units of {unit} without {group} are left out"] * (lost > 0)
    notes += ["all changes are equal: every rank is tied and p is 1"] * flat
    notes += [f"too few units for an interval of level {level:g}"] * bool(np.isinf(low))
    how = "exact given the ties" if tied[0] else "exact"
    how = how if max(counts) < EXACT_BELOW else "normal approximation"
    record = {
        "effect": f"{group}:{occasion}",
        "contrast": f"({left} - {right}) x ({change[1]} - {change[0]})",
        "estimate": estimate,
        "statistic": float(u[0]),
        "p": float(p[0]),
        "ci_low": low,
        "ci_high": high,
        "n": len(scores),
        "method": f"Wilcoxon rank-sum, {how}: changes within {unit}",
        "status": "boundary" if flat else "ok",
        "notes": "; ".join(notes),
    }
    return effect_table([record])


def _two_groups(column: pd.Series, contrast: str | None, group: str) -> tuple[str, str]:
    """Return the group on the left and the one on the right."""
    levels = levels_of(column)
    if contrast is None:
        if len(levels) != 2:
            raise DataError(
                f"{group} has {len(levels)} levels, and two are compared",
                where=group,
                mend='name them: contrast="B - A"',
            )
        return levels[1], levels[0]
    weights = {v: k for k, v in parse_contrast(contrast, levels, where=group)}
    if set(weights) != {1.0, -1.0} or len(parse_contrast(contrast, levels, where=group)) != 2:
        raise DataError(
            f"the contrast {contrast!r} is not a difference of two groups",
            where=group,
            mend='write "B - A"',
        )
    return weights[1.0], weights[-1.0]


def _group_of_units(data: pd.DataFrame, group: str, unit: str, outcome: str) -> dict[object, str]:
    pairs = data[[unit, group]].dropna().astype({group: "str"}).drop_duplicates()
    twice = pairs[unit].duplicated()
    if twice.any():
        raise DataError(
            f"{unit} {str(pairs.loc[twice, unit].iloc[0])!r} is in more than one {group}",
            where=outcome,
            mend=f"{group} must be constant within a {unit}; compare conditions within units by "
            "their differences",
        )
    return dict(zip(pairs[unit], pairs[group], strict=True))
