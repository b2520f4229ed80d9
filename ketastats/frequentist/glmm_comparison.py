"""Likelihood ratio of two generalised linear mixed models, with spreads on their boundary."""

from __future__ import annotations

import numpy as np

from ketastats.core.errors import DataError
from ketastats.frequentist.comparison import LikelihoodRatio, chi2_sf
from ketastats.frequentist.glmm_answers import RICHER, Rows

Fitted = tuple[Rows, np.ndarray, float, tuple[str, ...]]
"""Rows, outcome, log-likelihood and the spreads of a fit."""


def likelihood_ratio(one: Fitted, other: Fitted) -> LikelihoodRatio:
    """Compare nested fits.

    With one spread more (a random intercept or an overdispersion) the reference is the
    half-and-half mixture of chi-squared with the added parameters and one fewer (Self & Liang
    1987, J Am Stat Assoc 82:605); with both more that mixture is an upper bound.

    Raises
    ------
    DataError
        When the models are not nested or the rows differ.
    """
    (small, y0, ll0, own0), (large, y1, ll1, own1) = sorted(
        (one, other), key=lambda m: (m[0].x.shape[1] + len(m[3]), m[0].x.shape[1])
    )
    if len(y0) != len(y1) or not (
        np.array_equal(y0, y1)
        and np.array_equal(small.size, large.size)
        and np.array_equal(small.offset, large.offset)
    ):
        raise DataError(
            "the models were fitted to different rows", mend="fit both to the same data"
        )
    before, after = small.family.name, large.family.name
    if before != after and RICHER.get(before) != after:
        raise DataError(
            f"the families {before} and {after} are not nested",
            mend="binomial is within beta-binomial, and poisson within negative-binomial",
        )
    basis = np.linalg.lstsq(large.x, small.x, rcond=None)[0]
    if not np.allclose(large.x @ basis, small.x, atol=1e-8 * max(1.0, np.abs(small.x).max())):
        raise DataError("the fixed parts are not nested", mend="one must contain the other")
    if any(
        part is not None and not any(_same(part, g) for g in (large.group, large.inner))
        for part in (small.group, small.inner)
    ):
        raise DataError("the random parts are not nested", mend="one must contain the other")
    if small.group is not None and small.nodes != large.nodes:
        raise DataError("the models have different nodes", mend="fit both with the same nodes=")
    spreads = len(own1) - len(own0)
    df = large.x.shape[1] - small.x.shape[1] + spreads
    if df == 0:
        raise DataError("the two models have the same parameters", mend="compare nested models")
    ratio = max(2 * (ll1 - ll0), 0.0)
    if not spreads:
        return LikelihoodRatio(ratio, df, chi2_sf(ratio, df), f"chi-squared on {df} df")
    words = f"half-and-half mixture of chi-squared on {df - 1} and {df} df"
    if spreads > 1:
        words += ", an upper bound"
    p = 0.5 * chi2_sf(ratio, df) + 0.5 * chi2_sf(ratio, df - 1)
    return LikelihoodRatio(ratio, df, p, words)


def _same(a: np.ndarray, b: np.ndarray | None) -> bool:
    """Whether two partitions are one, whatever their groups are called; -1 is no group."""
    if b is None or not np.array_equal(a < 0, b < 0):
        return False
    pairs = len(np.unique(np.stack([a, b]), axis=1).T)
    return pairs == len(np.unique(a)) == len(np.unique(b))
