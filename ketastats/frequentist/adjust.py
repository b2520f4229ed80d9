"""Adjustment of p values and intervals for a family of contrasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from ketastats.core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def simultaneous_factor(frame: pd.DataFrame, method: str, family: int, level: float) -> np.ndarray:
    """Return the multiple of the SE that belongs to an adjustment.

    Tukey and Bonferroni have simultaneous intervals. Holm has none; Bonferroni's serve it and are
    never narrower than its tests.
    """
    df = np.minimum(frame["df"].to_numpy(), 1e12)
    if method == "tukey":
        from scipy.stats import studentized_range

        return np.asarray(studentized_range.ppf(level, family, df)) / np.sqrt(2)
    return np.asarray(stdtrit(df, 1 - (1 - level) / (2 * max(len(frame), 1))))


def adjusted(frame: pd.DataFrame, method: str, family: int) -> np.ndarray:
    """Return adjusted p values of a family of contrasts.

    Parameters
    ----------
    frame : pandas.DataFrame
        With statistic, df and p.
    method : str
        ``holm``, ``bonferroni`` or ``tukey``.
    family : int
        Number of means compared (tukey).
    """
    if method == "tukey":
        from scipy.stats import studentized_range

        if not family:
            raise DataError("tukey is for all pairs of one factor", mend="use fit.pairs(factor)")
        q = np.abs(frame["statistic"].to_numpy()) * np.sqrt(2)
        return np.asarray(studentized_range.sf(q, family, frame["df"].to_numpy()))
    if method not in ("holm", "bonferroni"):
        raise DataError(
            f"there is no adjustment {method!r}", mend="use holm, bonferroni, tukey or None"
        )
    from statsmodels.stats.multitest import multipletests

    out = np.full(len(frame), np.nan)
    tested = frame["p"].notna().to_numpy()
    if tested.any():
        out[tested] = multipletests(frame["p"].to_numpy()[tested], method=method)[1]
    return out
