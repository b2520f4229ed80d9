"""Small symmetric matrices by the thousand, compiled: one call for all nodes of a grid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit


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
        total = 0.0
        for j in range(m):  # a = L L', L in the lower triangle
            d = a[j, j]
            for i in range(j):
                d -= a[j, i] * a[j, i]
            if not d > 0.0:
                total = math.inf
                break
            total += math.log(d)
            d = 1.0 / math.sqrt(d)
            a[j, j] = d  # of the diagonal the reciprocal is kept
            for r in range(j + 1, m):
                s = a[r, j]
                for i in range(j):
                    s -= a[r, i] * a[j, i]
                a[r, j] = s * d
        logdet[k] = total
        if total == math.inf:
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
        total = 0.0
        for j in range(q):
            d = m[j, j]
            for i in range(j):
                d -= m[j, i] * m[j, i]
            if not d > 0.0:
                total = math.inf
                break
            total += math.log(d)
            d = 1.0 / math.sqrt(d)
            m[j, j] = d
            for r in range(j + 1, q):
                s = m[r, j]
                for i in range(j):
                    s -= m[r, i] * m[j, i]
                m[r, j] = s * d
        logdet[t] = total
        if total == math.inf:
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
