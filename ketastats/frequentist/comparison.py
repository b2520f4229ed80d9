"""Likelihood-ratio comparison of two fits, with the boundary mixture for a variance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincc

from ketastats.core.errors import DataError
from ketastats.problem.build import Problem

NESTED = {
    "id": ("by", "cs", "csh", "ar1", "arh1", "toep", "toeph", "un"),
    "cs": ("csh", "toep", "toeph", "un"),
    "ar1": ("arh1", "toep", "toeph", "un"),
    "toep": ("toeph", "un"),
    "csh": ("toeph", "un"),
    "arh1": ("toeph", "un"),
    "toeph": ("un",),
}
"""Residual structures that contain another as a special case."""


@dataclass(frozen=True, slots=True)
class LikelihoodRatio:
    """Twice the difference of two log-likelihoods and its p value.

    Attributes
    ----------
    statistic : float
    df : int
        Difference in the number of parameters.
    p : float
    reference : str
        The distribution used, in words.
    """

    statistic: float
    df: int
    p: float
    reference: str

    def __str__(self) -> str:
        return f"likelihood ratio {self.statistic:.4g}, {self.reference}: p = {self.p:.4g}"


def chi2_sf(x: float, df: int) -> float:
    """Upper tail of chi-squared; a point mass at zero for df = 0."""
    return float(x <= 0) if df == 0 else float(gammaincc(df / 2, max(x, 0.0) / 2))


def compare(
    small: tuple[Problem, float, bool], large: tuple[Problem, float, bool]
) -> LikelihoodRatio:
    """Compare nested fits, each given as (problem, log-likelihood, fitted by ML).

    One more random effect than the smaller model: half-and-half mixture of chi-squared with the
    added parameters and one fewer (Self & Liang 1987, J Am Stat Assoc 82:605; Stram & Lee 1994,
    Biometrics 50:1171). Otherwise plain chi-squared.

    Raises
    ------
    DataError
        When the models are not nested, the rows differ, or fixed parts differ under REML.
    """
    (p0, ll0, ml0), (p1, ll1, ml1) = sorted(
        (small, large), key=lambda m: (m[0].x.shape[1], len(m[0].parameters))
    )
    if len(p0.y) != len(p1.y) or not np.array_equal(p0.y, p1.y):
        raise DataError(
            "the models were fitted to different rows", mend="fit both to the same data"
        )
    if ml0 != ml1:
        raise DataError("one model is fitted by REML and one by ML", mend="fit both alike")
    basis = np.linalg.lstsq(p1.x, p0.x, rcond=None)[0]
    if not np.allclose(p1.x @ basis, p0.x, atol=1e-8 * max(1.0, float(np.abs(p0.x).max()))):
        raise DataError("the fixed parts are not nested", mend="one must contain the other")
    fixed = p1.x.shape[1] - p0.x.shape[1]
    if fixed and not ml0:
        raise DataError(
            "REML likelihoods of different fixed parts cannot be compared",
            mend="fit both with method='ml'",
        )
    names0, names1 = set(p0.parameters), set(p1.parameters)
    own0 = {t.term.text for t in p0.random}
    own1 = {t.term.text for t in p1.random}
    added = len(p1.parameters) - len(p0.parameters)
    if not (own0 <= own1 or names0 <= names1 or added > 0):
        raise DataError("the random parts are not nested", mend="one must contain the other")
    small_kind, large_kind = p0.residual.spec, p1.residual.spec
    if small_kind != large_kind and large_kind.kind not in NESTED.get(small_kind.kind, ()):
        raise DataError(
            f"the residual structures {small_kind} and {large_kind} are not nested",
            mend="one must be a special case of the other",
        )
    statistic = max(2 * (ll1 - ll0), 0.0)
    df = fixed + added
    if df == 0:
        raise DataError("the two models have the same parameters", mend="compare nested models")
    effects = sum(len(t.effects) for t in p1.random) - sum(len(t.effects) for t in p0.random)
    if effects == 1 and fixed == 0:
        p = 0.5 * chi2_sf(statistic, df) + 0.5 * chi2_sf(statistic, df - 1)
        words = f"half-and-half mixture of chi-squared on {df - 1} and {df} df"
        return LikelihoodRatio(statistic, df, p, words)
    return LikelihoodRatio(statistic, df, chi2_sf(statistic, df), f"chi-squared on {df} df")
