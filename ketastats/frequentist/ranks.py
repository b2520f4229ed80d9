"""Rank tests of the two-treatment, two-period crossover (Koch 1972)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import ndtri

from ketastats.frequentist.abba import read_crossover
from ketastats.frequentist.t_tests import SCORES, effect_scores, effect_table, rounded

if TYPE_CHECKING:
    import pandas as pd

EXACT_BELOW = 50
"""Sequences smaller than this have their exact distribution, as in R's ``wilcox.test``."""


def sum_distribution(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distribution of the sum of ``k`` scores drawn without replacement.

    The shift algorithm (Streitberg & Roehmel 1986, Stat Software Newsletter 12:10): scores are
    added one by one to a table of counts by how many were drawn and what they sum to.

    Parameters
    ----------
    scores : numpy.ndarray
        Shape (N,), integers of 0 or more; equal scores are ties.
    k : int

    Returns
    -------
    sums, probabilities : numpy.ndarray
        Shape (S + 1,), S the sum of all scores; most probabilities may be 0.

    Examples
    --------
    >>> sums, p = sum_distribution(np.array([0, 1, 2]), 2)
    >>> p.round(3).tolist()
    [0.0, 0.333, 0.333, 0.333]
    """
    total = int(scores.sum())
    counts = np.zeros((k + 1, total + 1))  # below 2**53 exact, beyond to 1e-16: all terms positive
    counts[0, 0] = 1.0
    for s in scores.astype(int):
        for j in range(k, 0, -1):
            counts[j, s:] += counts[j - 1, : total + 1 - s]
    return np.arange(total + 1), counts[k] / counts[k].sum()


def two_sided(observed: float, sums: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the probability of a sum at least as far from its expectation as the observed one.

    Examples
    --------
    >>> two_sided(2.0, np.arange(3), np.array([0.25, 0.5, 0.25]))
    0.5
    """
    centre = float(sums @ probabilities)
    away = np.abs(sums - centre) >= abs(observed - centre) - 1e-9  # sums are whole numbers
    return float(min(1.0, probabilities[away].sum()))


def rank_sum_p(scores: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare two sequences by Wilcoxon's rank-sum test, in many trials at once.

    Exact in sequences of fewer than 50 people, with ties by the distribution given the midranks;
    beyond that the normal approximation, corrected for ties and continuity.

    Parameters
    ----------
    scores : numpy.ndarray
        Shape (B, n); equal values are ties, see :func:`~ketastats.frequentist.t_tests.rounded`.
    first : numpy.ndarray
        Shape (n,), whether a person is in the first sequence.

    Returns
    -------
    u, p, tied : numpy.ndarray
        Shape (B,): Mann-Whitney count of pairs in which the first sequence is larger (ties one
        half), two-sided p, and whether there are ties.

    Examples
    --------
    >>> u, p, tied = rank_sum_p(np.array([[5.0, 6.0, 7.0, 1.0, 2.0, 3.0]]), np.arange(6) < 3)
    >>> float(u[0]), float(p[0])
    (9.0, 0.1)
    """
    from scipy.stats import mannwhitneyu, rankdata

    n1, n2 = int(first.sum()), int((~first).sum())
    x, y = scores[:, first], scores[:, ~first]
    tied = (np.diff(np.sort(scores, axis=1), axis=1) == 0).any(axis=1)
    ranks = rankdata(scores, axis=1)
    u = ranks[:, first].sum(axis=1) - n1 * (n1 + 1) / 2
    p = np.ones(len(scores))
    small = max(n1, n2) < EXACT_BELOW
    plain = ~tied if small else np.ptp(scores, axis=1) > 0
    if plain.any():
        method: Literal["exact", "asymptotic"] = "exact" if small else "asymptotic"
        p[plain] = mannwhitneyu(x[plain], y[plain], axis=1, method=method).pvalue
    for b in np.flatnonzero(tied) if small else ():
        doubled = np.round(2 * ranks[b]).astype(int)  # midranks are halves
        p[b] = two_sided(float(doubled[first].sum()), *sum_distribution(doubled, n1))
    return u, p, tied


def hodges_lehmann(x: np.ndarray, y: np.ndarray, level: float) -> tuple[float, float, float]:
    """Estimate a shift by the median of all differences between two samples, with an interval.

    The interval goes from the C-th smallest to the C-th largest difference, C from the
    distribution of the Mann-Whitney count without ties: exact below 50 a sample, else normal
    (Hollander & Wolfe 1999, section 4.3). With ties the closed interval covers at least as often.
    Where no interval of this level exists, it is unbounded.

    Parameters
    ----------
    x, y : numpy.ndarray
        Shapes (n1,) and (n2,).
    level : float

    Returns
    -------
    estimate, low, high : float

    Examples
    --------
    >>> hodges_lehmann(np.array([1.1, 2.2, 3.3, 4.5]), np.array([0.4, 0.9, 1.6, 2.0]), 0.9)
    (1.5, -0.5, 3.6)
    """
    differences = np.sort((x[:, None] - y[None, :]).ravel())
    n1, n2 = len(x), len(y)
    if max(n1, n2) < EXACT_BELOW:
        below = _mann_whitney_cdf(n1, n2)
        c = int(np.searchsorted(below, (1 - level) / 2 * (1 + 1e-12), side="right"))
    else:
        spread = np.sqrt(n1 * n2 * (n1 + n2 + 1) / 12)
        c = int(n1 * n2 / 2 + float(ndtri((1 - level) / 2)) * spread)
    estimate = float(np.median(differences))
    if c == 0:
        return estimate, -np.inf, np.inf
    return estimate, float(differences[c - 1]), float(differences[-c])


@cache
def _mann_whitney_cdf(n1: int, n2: int) -> np.ndarray:
    """Return P(U <= u) for u = 0 ... n1 n2, without ties."""
    _, p = sum_distribution(np.arange(1, n1 + n2 + 1), n1)
    smallest = n1 * (n1 + 1) // 2
    return np.cumsum(p[smallest : smallest + n1 * n2 + 1])


def rank_tests(
    data: pd.DataFrame,
    outcome: str,
    *,
    change: tuple[str, str] | None = None,
    contrast: str | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Wilcoxon rank-sum tests on half-differences and sums of people seen in both periods.

    The rank version of :func:`~ketastats.frequentist.classical.hills_armitage` (Koch 1972,
    Biometrics 28:577), with the Hodges-Lehmann estimate of the shift. The test of carry-over
    compares people, has little power, and is never a gate.

    Parameters
    ----------
    data, outcome, change, contrast, level
        As for ``hills_armitage``.

    Returns
    -------
    pandas.DataFrame
        Indexed by effect (treatment, period, carry_over): contrast, estimate, statistic (pairs
        in which the first sequence is larger), p, ci_low, ci_high, n, method, status, notes.

    Raises
    ------
    DataError
        For a design that is not AB/BA, or fewer than two complete people in a sequence.

    Examples
    --------
    >>> import ketastats as ks
    >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
    >>> rank_tests(data, "madrs", change=("pre", "day1")).loc["treatment", "method"]
    'Wilcoxon rank-sum, exact given the ties: half-differences'
    """
    trial = read_crossover(data, outcome, change=change, contrast=contrast).observed()
    first, records = trial.first, []
    for effect, raw in effect_scores(trial.y, first).items():
        scores = rounded(raw, trial.y)
        u, p, tied = rank_sum_p(scores[None, :], first)
        estimate, low, high = hodges_lehmann(scores[first], scores[~first], level)
        flat = np.ptp(scores) == 0
        records.append(
            {
                "effect": effect,
                "contrast": trial.labels[effect],
                "estimate": estimate,
                "statistic": float(u[0]),
                "p": float(p[0]),
                "ci_low": low,
                "ci_high": high,
                "n": len(scores),
                "method": f"Wilcoxon rank-sum, {_how(first, bool(tied[0]))}: {SCORES[effect]}",
                "status": "boundary" if flat else "ok",
                "notes": "; ".join(filter(None, _notes(trial.notes, flat, low, level))),
            }
        )
    return effect_table(records)


def _how(first: np.ndarray, tied: bool) -> str:
    if max(first.sum(), (~first).sum()) >= EXACT_BELOW:
        return "normal approximation"
    return "exact given the ties" if tied else "exact"


def _notes(notes: str, flat: bool, low: float, level: float) -> tuple[str, str, str]:
    return (
        notes,
        "all scores are equal: every rank is tied and p is 1" if flat else "",
        f"too few people for an interval of level {level:g}" if np.isinf(low) else "",
    )
