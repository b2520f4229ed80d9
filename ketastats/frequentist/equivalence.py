"""Equivalence: whether an effect is shown to lie inside bounds that do not matter."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtr, stdtrit

from ketastats.core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

SHOWN = "equivalence shown"
NOT_SHOWN = "equivalence not shown"
RELEVANT = "relevant difference"
NOT_TESTED = "not tested"
CARRIED = ("study", "outcome", "analysis", "estimand", "engine")
NEEDED = ("estimate", "se", "df", "status")


def equivalence(
    estimates: pd.DataFrame, low: float, high: float, *, alpha: float = 0.05
) -> pd.DataFrame:
    r"""Say of every estimate whether it is shown to lie inside bounds.

    Two one-sided t tests, of :math:`\theta \le` low and of :math:`\theta \ge` high, each at alpha
    (Schuirmann 1987, J Pharmacokinet Biopharm 15:657). Both are rejected exactly where the interval
    of level 1 - 2 alpha lies inside the bounds. A p value above 0.05 for a difference is no such
    statement.

    Parameters
    ----------
    estimates : pandas.DataFrame
        The Estimates table of a frequentist engine, or any table with estimate, se, df and status.
    low, high : float
        Bounds in the units of the estimates, chosen before the data were seen. They need not lie
        on two sides of 0: for non-inferiority one of them may be infinite.
    alpha : float
        Level of each one-sided test.

    Returns
    -------
    pandas.DataFrame
        A row per estimate: what it is, estimate, se, df, low, high, p_low and p_high (the one-sided
        tests), p (the larger), ci_low, ci_high (of level 1 - 2 alpha), level, verdict, status,
        notes. The verdict is ``equivalence shown`` (interval inside the bounds), ``relevant
        difference`` (interval outside), ``equivalence not shown``, or ``not tested`` with the
        reason in the notes: a failed fit, or a posterior, which has a probability inside the
        bounds.

    Raises
    ------
    DataError
        For bounds that are not in order, or a table without the columns.

    Examples
    --------
    >>> import ketastats as ks
    >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
    >>> fit = ks.lmm("madrs ~ treatment*time + period + (1|subject)", data)
    >>> before = fit.contrast({"treatment": "naltrexone - placebo"}, within={"time": "pre"})
    >>> equivalence(before, -4, 4)["verdict"].item(), equivalence(before, -6, 6)["verdict"].item()
    ('equivalence not shown', 'equivalence shown')
    """
    import pandas as pd

    _check(estimates, low, high, alpha)
    estimate, se, df = (estimates[c].to_numpy(dtype=float) for c in ("estimate", "se", "df"))
    reasons = [_reason(row) for row in estimates.to_dict("records")]
    tested = np.array([not r for r in reasons], dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        p_low, p_high = stdtr(df, (low - estimate) / se), stdtr(df, (estimate - high) / se)
        half = stdtrit(df, 1 - alpha) * se
    p = np.maximum(p_low, p_high)
    outside = (estimate - half > high) | (estimate + half < low)
    verdicts = np.where(p < alpha, SHOWN, np.where(outside, RELEVANT, NOT_SHOWN))
    numbers = {
        "estimate": estimate,
        "se": se,
        "df": df,
        "low": np.full(len(se), float(low)),
        "high": np.full(len(se), float(high)),
        "p_low": np.where(tested, p_low, np.nan),
        "p_high": np.where(tested, p_high, np.nan),
        "p": np.where(tested, p, np.nan),
        "ci_low": np.where(tested, estimate - half, np.nan),
        "ci_high": np.where(tested, estimate + half, np.nan),
        "level": np.full(len(se), 1 - 2 * alpha),
    }
    out = estimates[[c for c in CARRIED if c in estimates.columns]].assign(**numbers)
    out["verdict"] = pd.Series(np.where(tested, verdicts, NOT_TESTED), index=out.index, dtype="str")
    out["status"] = estimates["status"].astype("str")
    notes = estimates["notes"].fillna("") if "notes" in estimates.columns else [""] * len(out)
    joined = ["; ".join(t for t in (r, str(n)) if t) for r, n in zip(reasons, notes, strict=True)]
    out["notes"] = pd.Series(joined, index=out.index, dtype="str")
    return out


def _check(estimates: pd.DataFrame, low: float, high: float, alpha: float) -> None:
    if not low < high:
        raise DataError(f"the bounds {low:g} and {high:g} are not in order", mend="low, then high")
    if np.isinf(low) and np.isinf(high):
        raise DataError("both bounds are infinite", mend="give at least one in raw units")
    if not 0 < alpha < 0.5:
        raise DataError(f"alpha = {alpha:g} is not between 0 and 0.5", mend="use 0.05")
    for column in NEEDED:
        if column not in estimates.columns:
            raise DataError(
                f"the table has no column {column!r}",
                where="estimates",
                mend="pass the Estimates table of a fit, such as fit.contrast(...)",
            )


def _reason(row: Mapping[Hashable, object]) -> str:
    """Return why a row cannot be tested, empty when it can."""
    engine, status = str(row.get("engine", "")), str(row["status"])
    if engine in ("mcmc", "posterior") or np.isfinite(float(str(row.get("prob_positive", "nan")))):
        return "a posterior has a probability inside the bounds"
    if status not in ("ok", "boundary"):
        return f"the estimate has the status {status}"
    se, df = float(str(row["se"])), float(str(row["df"]))
    if not (se > 0 and df > 0 and np.isfinite(float(str(row["estimate"])))):
        return "there is no standard error to test with"
    return ""
