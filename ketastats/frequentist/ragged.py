"""Products of V^-1 where every outcome misses rows of its own, compiled.

NumPy needs 26 tiny matrix products per subject, outcome and step here; one loop over the distinct
(pattern, missing rows) of an outcome needs a tenth of the time. Compiled on first use and cached.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, fastmath=False)
def ragged_sums(
    v: Any, g: Any, gg: Any, pattern: Any, cell: Any, n_cells: int, mask: Any, y: Any, x: Any
) -> Any:
    """Sum the products of V^-1 over blocks, each outcome with its own missing rows.

    Parameters
    ----------
    v : numpy.ndarray, shape (B, K, m, m)
        V of every distinct pattern, all rows present.
    g : numpy.ndarray, shape (B or 1, K, R, m, m)
        First derivatives of V.
    gg : numpy.ndarray, shape (B, K, Q, m, m)
        Second derivatives; Q = 0 where V is linear.
    pattern, cell : numpy.ndarray of int, shape (P,)
        Pattern and cell (blocks with the same X) of every block.
    n_cells : int
    mask : numpy.ndarray of bool, shape (B, P, m)
    y : numpy.ndarray, shape (B, P, m)
        Zero where missing.
    x : numpy.ndarray, shape (P, m, q)

    Returns
    -------
    summed : numpy.ndarray, shape (B, J, cells, m, m)
    xy : numpy.ndarray, shape (B, J, q)
    yy : numpy.ndarray, shape (B, J)
    logdet : numpy.ndarray, shape (B,)
        Infinite where a V is not positive definite.
    tr1, tr2, tr3 : numpy.ndarray, shapes (B, R), (B, R, R), (B, Q)
    """
    n_b, n_p, m = y.shape
    r, n_q, q = g.shape[2], gg.shape[2], x.shape[2]
    pairs = r * (r + 1) // 2
    n_j = 1 + r + pairs + n_q
    summed = np.zeros((n_b, n_j, n_cells, m, m))
    xy, yy, logdet = np.zeros((n_b, n_j, q)), np.zeros((n_b, n_j)), np.zeros(n_b)
    tr1, tr2, tr3 = np.zeros((n_b, r)), np.zeros((n_b, r, r)), np.zeros((n_b, n_q))
    products = np.empty((n_p, n_j, m, m))
    first = np.empty(n_p, np.int64)
    own_logdet, own1 = np.empty(n_p), np.empty((n_p, r))
    own2, own3 = np.empty((n_p, r, r)), np.empty((n_p, n_q))
    h = np.empty((r, m, m))
    for b in range(n_b):
        distinct = 0
        bg = b if g.shape[0] > 1 else 0
        for p in range(n_p):
            u = -1
            for k in range(distinct):
                same = pattern[first[k]] == pattern[p]
                for a in range(m):
                    same = same and mask[b, first[k], a] == mask[b, p, a]
                if same:
                    u = k
                    break
            if u < 0:
                u = distinct
                first[u] = p
                distinct += 1
                t = pattern[p]
                own_logdet[u] = _inverse(v[b, t], mask[b, p], products[u, 0])
                _derivatives(
                    products[u], g[bg, t], gg[b, t], mask[b, p], h, own1[u], own2[u], own3[u]
                )
            logdet[b] += own_logdet[u]
            tr1[b] += own1[u]
            tr2[b] += own2[u]
            tr3[b] += own3[u]
            c = cell[p]
            for j in range(n_j):
                for a in range(m):
                    if not mask[b, p, a]:
                        continue
                    total = 0.0
                    for z in range(m):
                        value = products[u, j, a, z]
                        summed[b, j, c, a, z] += value
                        total += value * y[b, p, z]
                    yy[b, j] += total * y[b, p, a]
                    for z in range(q):
                        xy[b, j, z] += x[p, a, z] * total
    return summed, xy, yy, logdet, tr1, tr2, tr3


@njit(cache=True, fastmath=False)
def _inverse(v: Any, seen: Any, out: Any) -> float:
    """Write the inverse of the rows seen into ``out``, zero elsewhere; return log|V|."""
    m = len(seen)
    lower = np.zeros((m, m))
    out[:] = 0.0
    logdet = 0.0
    for j in range(m):
        if not seen[j]:
            continue
        s = v[j, j]
        for k in range(j):
            s -= lower[j, k] ** 2
        if not s > 1e-14 * v[j, j]:
            return math.inf
        lower[j, j] = math.sqrt(s)
        logdet += math.log(s)
        for i in range(j + 1, m):
            if seen[i]:
                s = v[i, j]
                for k in range(j):
                    s -= lower[i, k] * lower[j, k]
                lower[i, j] = s / lower[j, j]
    # the inverse of L, column by column, then L^-T L^-1
    half = np.zeros((m, m))
    for j in range(m):
        if not seen[j]:
            continue
        half[j, j] = 1.0 / lower[j, j]
        for i in range(j + 1, m):
            if seen[i]:
                s = 0.0
                for k in range(j, i):
                    s -= lower[i, k] * half[k, j]
                half[i, j] = s / lower[i, i]
    for i in range(m):
        for j in range(i + 1):
            s = 0.0
            for k in range(i, m):
                s += half[k, i] * half[k, j]
            out[i, j] = s
            out[j, i] = s
    return logdet


@njit(cache=True, fastmath=False)
def _derivatives(
    out: Any, g: Any, gg: Any, seen: Any, h: Any, tr1: Any, tr2: Any, tr3: Any
) -> None:
    """Fill V^-1 G_r V^-1, V^-1 G_r V^-1 G_s V^-1 and V^-1 V_rs V^-1 and their traces."""
    r, m = g.shape[0], g.shape[1]
    for s in range(r):
        _multiply(out[0], g[s], h[s])
        tr1[s] = 0.0
        for a in range(m):
            tr1[s] += h[s, a, a]
        _multiply(h[s], out[0], out[1 + s])
    at = 1 + r
    for s in range(r):
        for t in range(s, r):
            _multiply(h[s], out[1 + t], out[at])
            for a in range(m):
                for z in range(a):
                    value = 0.5 * (out[at, a, z] + out[at, z, a])
                    out[at, a, z] = value
                    out[at, z, a] = value
            total = 0.0
            for a in range(m):
                for z in range(m):
                    total += h[s, a, z] * h[t, z, a]
            tr2[s, t] = total
            tr2[t, s] = total
            at += 1
    half = np.empty((m, m))
    for k in range(gg.shape[0]):
        _multiply(out[0], gg[k], half)
        tr3[k] = 0.0
        for a in range(m):
            tr3[k] += half[a, a]
        _multiply(half, out[0], out[at])
        at += 1


@njit(cache=True, fastmath=False)
def _multiply(a: Any, b: Any, out: Any) -> None:
    m = a.shape[0]
    for i in range(m):
        for j in range(m):
            s = 0.0
            for k in range(m):
                s += a[i, k] * b[k, j]
            out[i, j] = s
