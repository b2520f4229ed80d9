"""Small symmetric matrices by the thousand, compiled: one call for all nodes of a grid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", nogil=True)
def factorise(a: Any) -> Any:
    """Replace the lower triangle of a symmetric matrix by its Cholesky factor, (m, m).

    Of the diagonal the reciprocal is kept. Returns the log determinant, infinite for a matrix that
    is not positive definite.
    """
    m = a.shape[0]
    total = 0.0
    for j in range(m):
        d = a[j, j]
        for i in range(j):
            d -= a[j, i] * a[j, i]
        if not d > 0.0:
            return math.inf
        total += math.log(d)
        d = 1.0 / math.sqrt(d)
        a[j, j] = d
        for r in range(j + 1, m):
            s = a[r, j]
            for i in range(j):
                s -= a[r, i] * a[j, i]
            a[r, j] = s * d
    return total


@njit(cache=True, error_model="numpy", nogil=True)
def invert(v: Any) -> Any:
    """Replace symmetric matrices by their inverses.

    Parameters
    ----------
    v : numpy.ndarray, shape (J, m, m)
        Overwritten. A matrix that is not positive definite becomes zero.

    Returns
    -------
    numpy.ndarray, shape (J,)
        Log determinants; infinite where not positive definite.
    """
    n, m = v.shape[0], v.shape[1]
    logdet = np.empty(n)
    for k in range(n):
        a = v[k]
        logdet[k] = factorise(a)
        if logdet[k] == math.inf:
            a[:] = 0.0
            continue
        for j in range(m):  # L^-1 in place
            for r in range(j + 1, m):
                s = 0.0
                for i in range(j, r):
                    s -= a[r, i] * a[i, j]
                a[r, j] = s * a[r, r]
        for j in range(m):  # L^-T L^-1, column by column
            for i in range(j + 1):
                s = 0.0
                for r in range(j, m):
                    s += a[r, i] * a[r, j]
                a[i, j] = s
        for j in range(m):
            for i in range(j):
                a[j, i] = a[i, j]
    return logdet


@njit(cache=True, error_model="numpy", nogil=True)
def solve(a: Any, right: Any, rows: Any, unit: Any) -> Any:
    """Solve for the coefficients at every node and project them on rows.

    Parameters
    ----------
    a : numpy.ndarray, shape (J, q, q)
        Precision of the coefficients; its lower triangle is overwritten by the Cholesky factor.
    right : numpy.ndarray, shape (B, J, q)
    rows : numpy.ndarray, shape (K, q)
    unit : numpy.ndarray, shape (J, q) or (1, q)
        What the columns of the rows are multiplied by, at every node or at all.

    Returns
    -------
    logdet : numpy.ndarray, shape (J,)
        Infinite where ``a`` is not positive definite.
    quad : numpy.ndarray, shape (J, B)
        right' a^-1 right.
    mean : numpy.ndarray, shape (K, J, B)
        rows a^-1 right.
    var : numpy.ndarray, shape (K, J)
        rows a^-1 rows'.
    """
    n, q = a.shape[0], a.shape[1]
    b, k = right.shape[0], rows.shape[0]
    logdet, quad = np.empty(n), np.zeros((n, b))
    mean, var = np.zeros((k, n, b)), np.zeros((k, n))
    w, c = np.empty(q), np.empty((k, q))
    for t in range(n):
        m = a[t]
        logdet[t] = factorise(m)
        if logdet[t] == math.inf:
            continue
        scale = unit[min(t, len(unit) - 1)]
        for r in range(k):
            s2 = 0.0
            for j in range(q):
                s = rows[r, j] * scale[j]
                for i in range(j):
                    s -= m[j, i] * c[r, i]
                c[r, j] = s * m[j, j]
                s2 += c[r, j] * c[r, j]
            var[r, t] = s2
        for y in range(b):
            total = 0.0
            for j in range(q):
                s = right[y, t, j]
                for i in range(j):
                    s -= m[j, i] * w[i]
                w[j] = s * m[j, j]
                total += w[j] * w[j]
            quad[t, y] = total
            for r in range(k):
                s = 0.0
                for j in range(q):
                    s += c[r, j] * w[j]
                mean[r, t, y] = s
    return logdet, quad, mean, var


@njit(cache=True, error_model="numpy", nogil=True)
def pattern_sums(
    theta: Any, basis: Any, counts: Any, xx: Any, xy: Any, yy: Any,
    out_xx: Any, out_xy: Any, out_yy: Any, logdet: Any,
) -> None:  # fmt: skip
    """Add X'V^-1X, X'V^-1y, y'V^-1y and log|V| of patterns of small blocks.

    Parameters
    ----------
    theta : numpy.ndarray, shape (J, R)
    basis : numpy.ndarray, shape (P, R, m, m)
    counts : numpy.ndarray, shape (P,)
    xx : numpy.ndarray, shape (P, m (m + 1) / 2, q (q + 1) / 2)
        Lower triangles of the symmetric sums of x_a x_b', for b <= a, row by row.
    xy : numpy.ndarray, shape (B, P, m (m + 1) / 2, q)
    yy : numpy.ndarray, shape (B, P, m (m + 1) / 2)
    out_xx, out_xy, out_yy, logdet : numpy.ndarray
        Shapes (J, q, q), (B, J, q), (J, B) and (J,); added to.
    """
    patterns, r, m = basis.shape[0], basis.shape[1], basis.shape[2]
    b, q = out_xy.shape[0], out_xy.shape[2]
    v, lower = np.empty((1, m, m)), np.empty(xx.shape[2])
    for t in range(len(theta)):
        lower[:] = 0.0
        for p in range(patterns):
            for i in range(m):
                for j in range(i + 1):
                    s = 0.0
                    for k in range(r):
                        s += theta[t, k] * basis[p, k, i, j]
                    v[0, i, j] = s
            logdet[t] += counts[p] * invert(v)[0]
            pair = 0
            for i in range(m):
                for j in range(i + 1):
                    w = v[0, i, j] if i == j else 2.0 * v[0, i, j]
                    for c in range(len(lower)):
                        lower[c] += w * xx[p, pair, c]
                    for y in range(b):
                        out_yy[t, y] += w * yy[y, p, pair]
                        for c in range(q):
                            out_xy[y, t, c] += w * xy[y, p, pair, c]
                    pair += 1
        at = 0
        for i in range(q):
            for j in range(i + 1):
                out_xx[t, i, j] += lower[at]
                if i != j:
                    out_xx[t, j, i] += lower[at]
                at += 1
