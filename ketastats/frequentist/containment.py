"""Containment degrees of freedom, judged from the data."""

from __future__ import annotations

import numpy as np

from ketastats.problem.build import Problem
from ketastats.problem.random import RandomDesign


def containment_df(
    problem: Problem, rows: np.ndarray, present: np.ndarray | None = None
) -> np.ndarray:
    """Return the containment df of contrasts, shape (K,).

    A column of X that is constant within every group of a random term is tested against that
    term's groups: its df are what the term adds to the rank of [X Z] without the terms nested in
    it. A column that varies
    within the groups of every term is tested against the residual: rows minus the rank of [X Z].
    A contrast takes the smallest df of its columns (SAS's ddfm=contain, with "contains" read off
    the data instead of the names).

    Parameters
    ----------
    problem : Problem
    rows : numpy.ndarray, shape (K, q)
    present : numpy.ndarray of bool, optional, shape (rows of the problem,)
        Rows that have an outcome; all by default.
    """
    seen = np.ones(len(problem.x), dtype=bool) if present is None else present
    x = problem.x[seen]
    dense = [_indicators(r)[seen] for r in problem.random]
    whole = np.linalg.matrix_rank(np.hstack([x, *dense]))
    shares = []
    for k, term in enumerate(problem.random):
        coarser = [
            z
            for i, (z, other) in enumerate(zip(dense, problem.random, strict=True))
            if i != k and not _within(other, term)
        ]
        without = np.linalg.matrix_rank(np.hstack([x, *coarser]))
        shares.append(np.linalg.matrix_rank(np.hstack([x, *coarser, dense[k]])) - without)
    columns = np.full(problem.x.shape[1], float(len(x) - whole))
    for j in range(problem.x.shape[1]):
        within = [
            share
            for r, share in zip(problem.random, shares, strict=True)
            if _constant(problem.x[:, j], r)
        ]
        if within:
            columns[j] = float(min(within))
    used = np.abs(rows) > 1e-12 * np.abs(rows).max(axis=1, keepdims=True)
    return np.where(used, columns, np.inf).min(axis=1)


def _within(fine: RandomDesign, coarse: RandomDesign) -> bool:
    """Whether every group of one term lies within one group of the other."""
    pairs = np.unique(np.stack([fine.group, coarse.group]), axis=1).shape[1]
    return pairs == len(np.unique(fine.group))


def _indicators(r: RandomDesign) -> np.ndarray:
    """Return Z of a term, shape (rows, groups x effects)."""
    hit = (r.group[:, None] == np.arange(len(r.levels))).astype(float)
    return np.hstack([hit * r.z[:, [e]] for e in range(r.z.shape[1])])


def _constant(column: np.ndarray, r: RandomDesign) -> bool:
    """Whether a column does not vary within any group of a random intercept."""
    if r.effects[0] != "1" or (r.group < 0).any():
        return False
    first = np.full(len(r.levels), np.nan)
    first[r.group[::-1]] = column[::-1]
    return bool(np.allclose(column, first[r.group], rtol=0, atol=1e-12))
