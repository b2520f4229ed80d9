r"""Mixtures of normals: :math:`\sum_j w_j N(m_j, s_j^2)`, for batches of outcomes and questions.

Weights have shape (B, J), means (B, J, K) and SDs (J, K): the SD of a question given the variance
components does not depend on the outcome.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

NEGLIGIBLE = 1e-12
"""Weights below this do not enter distribution functions."""


def moments(weight: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and SD of the mixtures, (B, K)."""
    centre = np.einsum("bj,bjk->bk", weight, mean)
    within = weight @ sd**2
    between = np.einsum("bj,bjk->bk", weight, (mean - centre[:, None]) ** 2)
    return centre, np.sqrt(within + between)


@njit(cache=True, error_model="numpy")
def cdf(weight: Any, mean: Any, sd: Any, at: Any) -> Any:
    """Return the distribution function at one place per mixture, (B, K).

    Parameters
    ----------
    weight : numpy.ndarray, shape (B, J)
    mean : numpy.ndarray, shape (B, J, K)
    sd : numpy.ndarray, shape (J, K)
    at : numpy.ndarray, shape (B, K)
    """
    n, j, k = mean.shape
    out = np.zeros((n, k))
    for b in range(n):
        for i in range(j):
            w = weight[b, i]
            if w < NEGLIGIBLE:
                continue
            for q in range(k):
                z = (at[b, q] - mean[b, i, q]) / sd[i, q]
                out[b, q] += w * 0.5 * math.erfc(-z * 0.7071067811865476)
    return out


@njit(cache=True, error_model="numpy")
def density(weight: Any, mean: Any, sd: Any, at: Any) -> Any:
    """Return the density at X places per question, (X, K), of one outcome.

    Parameters
    ----------
    weight : numpy.ndarray, shape (J,)
    mean, sd : numpy.ndarray, shape (J, K)
    at : numpy.ndarray, shape (X, K)
    """
    x, k = at.shape
    out = np.zeros((x, k))
    for i in range(len(weight)):
        w = weight[i]
        if w < NEGLIGIBLE * 1e-8:
            continue
        for q in range(k):
            scale = w * 0.3989422804014327 / sd[i, q]
            for p in range(x):
                z = (at[p, q] - mean[i, q]) / sd[i, q]
                out[p, q] += scale * math.exp(-0.5 * z * z)
    return out


@njit(cache=True, error_model="numpy")
def quantiles(weight: Any, mean: Any, sd: Any, centre: Any, spread: Any, start: Any, p: Any) -> Any:
    """Return quantiles by Newton steps inside a bracket, (Q, B, K).

    Parameters
    ----------
    weight, mean, sd
        As above.
    centre, spread : numpy.ndarray, shape (B, K)
        Mean and SD of the mixtures.
    start : numpy.ndarray, shape (Q,)
        Normal quantiles at ``p``.
    p : numpy.ndarray, shape (Q,)
    """
    n, j, k = mean.shape
    out = np.empty((len(p), n, k))
    w, m, s = np.empty(j), np.empty(j), np.empty(j)
    for b in range(n):
        for q in range(k):
            used = 0
            for i in range(j):
                if weight[b, i] >= NEGLIGIBLE:
                    w[used], m[used], s[used] = weight[b, i], mean[b, i, q], sd[i, q]
                    used += 1
            for t in range(len(p)):
                x = centre[b, q] + start[t] * spread[b, q]
                low, high = -math.inf, math.inf
                for _ in range(60):
                    f, d = 0.0, 0.0
                    for i in range(used):
                        z = (x - m[i]) / s[i]
                        f += w[i] * 0.5 * math.erfc(-z * 0.7071067811865476)
                        d += w[i] * 0.3989422804014327 / s[i] * math.exp(-0.5 * z * z)
                    gap = f - p[t]
                    if gap > 0:
                        high = min(high, x)
                    else:
                        low = max(low, x)
                    step = gap / d if d > 0.0 else math.inf
                    limit = spread[b, q]
                    new = x - min(max(step, -limit), limit)
                    if not low < new < high and low > -math.inf and high < math.inf:
                        new = 0.5 * (low + high)
                    done = abs(new - x) < 1e-9 * spread[b, q]
                    x = new
                    if done:
                        break
                out[t, b, q] = x
    return out


def highest(
    weight: np.ndarray, mean: np.ndarray, sd: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the shortest interval of one outcome's mixtures, (K,) each.

    Of all intervals from the p to the p + level quantile: golden section over p.

    Parameters
    ----------
    weight : numpy.ndarray, shape (J,)
    mean, sd : numpy.ndarray, shape (J, K)
    level : float
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import ndtri

    low, high = np.empty(mean.shape[1]), np.empty(mean.shape[1])
    centre, spread = moments(weight[None], mean[None], sd)
    for k in range(mean.shape[1]):
        part = (weight[None], mean[None, :, k : k + 1], sd[:, k : k + 1])
        of = (centre[:, k : k + 1], spread[:, k : k + 1])

        def ends(p: float, part: Any = part, of: Any = of) -> np.ndarray:
            both = np.array([p, p + level])
            w, m, s = part
            return np.asarray(quantiles(w, m, s, of[0], of[1], ndtri(both), both)[:, 0, 0])

        edge = 1e-6 * (1 - level)
        best = minimize_scalar(
            lambda p, ends=ends: float(np.diff(ends(p))[0]),
            bounds=(edge, 1 - level - edge),
            method="bounded",
            options={"xatol": 1e-7},
        )
        low[k], high[k] = ends(float(best.x))
    return low, high
