"""Kernels of the randomisation test: allocations, the differences they give, p and interval."""

from __future__ import annotations

import itertools
from math import comb, prod

import numpy as np

_CHUNK = 10_000  # re-allocations at a time
_ROUNDING = 1e-9  # of the largest score: statistics nearer than this are equal


def count_allocations(first: np.ndarray, stratum: np.ndarray) -> int:
    """Count the allocations with as many people per sequence and stratum as there were.

    Examples
    --------
    >>> count_allocations(np.array([True, True, False, False]), np.zeros(4, dtype=int))
    6
    """
    members = [first[stratum == s] for s in np.unique(stratum)]
    return prod(comb(len(m), int(m.sum())) for m in members)


def all_allocations(first: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """Return every allocation with as many people per sequence and stratum as there were.

    Parameters
    ----------
    first : numpy.ndarray
        Shape (n,), whether a person was in the first sequence.
    stratum : numpy.ndarray
        Shape (n,), integers.

    Returns
    -------
    numpy.ndarray
        Shape (R, n), True for the first sequence.

    Examples
    --------
    >>> all_allocations(np.array([True, False, False]), np.zeros(3, dtype=int)).astype(int)
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 0, 1]])
    """
    out = np.zeros((1, len(first)), dtype=bool)
    for s in np.unique(stratum):
        members = np.flatnonzero(stratum == s)
        k = int(first[members].sum())
        chosen = np.array(list(itertools.combinations(members, k)), dtype=int)
        here = np.zeros((len(chosen), len(first)), dtype=bool)
        here[np.arange(len(chosen))[:, None], chosen] = True
        out = (out[:, None, :] | here[None, :, :]).reshape(-1, len(first))
    return out


def random_allocations(
    first: np.ndarray, stratum: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw allocations at random; each takes n numbers, so that more draws begin with the same.

    Parameters
    ----------
    first, stratum : numpy.ndarray
        As for :func:`all_allocations`.
    draws : int
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        Shape (draws, n), True for the first sequence.

    Examples
    --------
    >>> drawn = random_allocations(np.arange(6) < 2, np.zeros(6, dtype=int), 100,
    ...                            np.random.default_rng(1))
    >>> set(drawn.sum(axis=1).tolist())
    {2}
    """
    out = np.zeros((draws, len(first)), dtype=bool)
    for start in range(0, draws, _CHUNK):
        keys = rng.random((min(_CHUNK, draws - start), len(first)))
        rows = np.arange(start, start + len(keys))[:, None]
        for s in np.unique(stratum):
            members = np.flatnonzero(stratum == s)
            k = int(first[members].sum())
            order = np.argsort(keys[:, members], axis=1)[:, :k]
            out[rows, members[order]] = True
    return out


def mean_differences(scores: np.ndarray, allocations: np.ndarray) -> np.ndarray:
    """Return the mean of the first sequence minus the second, for every allocation.

    Parameters
    ----------
    scores : numpy.ndarray
        Shape (B, n).
    allocations : numpy.ndarray
        Shape (R, n), all with the same number in the first sequence.

    Returns
    -------
    numpy.ndarray
        Shape (B, R).

    Examples
    --------
    >>> mean_differences(np.array([[3.0, 1.0]]), np.array([[True, False], [False, True]])).tolist()
    [[2.0, -2.0]]
    """
    n, n1 = allocations.shape[1], int(allocations[0].sum())
    out = np.empty((len(scores), len(allocations)))
    for start in range(0, len(allocations), _CHUNK):
        part = allocations[start : start + _CHUNK].astype(float)
        out[:, start : start + _CHUNK] = scores @ part.T
    return out / n1 - (scores.sum(axis=1)[:, None] - out) / (n - n1)


def randomisation_p(
    scores: np.ndarray, first: np.ndarray, allocations: np.ndarray, *, exact: bool
) -> np.ndarray:
    """Return two-sided p values of many trials over one set of re-allocations.

    Parameters
    ----------
    scores : numpy.ndarray
        Shape (B, n).
    first : numpy.ndarray
        Shape (n,), the allocation that happened.
    allocations : numpy.ndarray
        Shape (R, n).
    exact : bool
        Whether these are all allocations. If not, p is (k + 1)/(R + 1), which keeps the size
        (Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39).

    Returns
    -------
    numpy.ndarray
        Shape (B,).

    Examples
    --------
    >>> first = np.array([True, True, True, False, False, False])
    >>> every = all_allocations(first, np.zeros(6, dtype=int))
    >>> randomisation_p(np.array([[5.0, 6, 7, 1, 2, 3]]), first, every, exact=True).tolist()
    [0.1]
    """
    centred = scores - scores.mean(axis=1, keepdims=True)
    size = _ROUNDING * np.abs(centred).max(axis=1)[:, None]
    observed = np.abs(mean_differences(centred, first[None, :]))
    k = (np.abs(mean_differences(centred, allocations)) >= observed - size).sum(axis=1)
    return k / len(allocations) if exact else (k + 1) / (len(allocations) + 1)


def randomisation_interval(
    scores: np.ndarray, first: np.ndarray, allocations: np.ndarray, level: float, *, exact: bool
) -> tuple[float, float]:
    """Return the shifts that the one-sided randomisation tests do not reject.

    Shifting the first sequence back by s changes the observed difference T by -s and that of an
    allocation by -c s, with c = a/n1 - (n1 - a)/n2 when it shares a people with the first
    sequence. The allocation is at least as extreme from s = (T - T*)/(1 - c) on, so the limits
    are order statistics of these critical shifts (after Ernst 2004, Stat Sci 19:676).

    Parameters
    ----------
    scores : numpy.ndarray
        Shape (n,).
    first, allocations, exact
        As for :func:`randomisation_p`.
    level : float

    Returns
    -------
    low, high : float
        Infinite when there are too few allocations for the level.

    Examples
    --------
    >>> first = np.arange(8) < 4
    >>> every = all_allocations(first, np.zeros(8, dtype=int))
    >>> randomisation_interval(np.arange(8.0), first, every, 0.9, exact=True)
    (-6.0, -2.0)
    """
    n1, n2 = int(first.sum()), int((~first).sum())
    star = mean_differences(scores[None, :], allocations)[0]
    observed = mean_differences(scores[None, :], first[None, :])[0, 0]
    shared = (allocations & first).sum(axis=1)
    moved = shared < n1  # the allocation that happened is as extreme at every shift
    slope = 1 - (shared / n1 - (n1 - shared) / n2)
    critical = np.sort((observed - star[moved]) / slope[moved])
    always = int((~moved).sum()) + (0 if exact else 1)
    total = len(allocations) + (0 if exact else 1)
    spare = int(np.floor((1 - level) / 2 * total * (1 + 1e-12))) - always
    if not 0 <= spare < len(critical):
        return -np.inf, np.inf
    return float(critical[spare]), float(critical[-1 - spare])
