"""The joint mode of two nested random intercepts, and what the parameters do through it, compiled.

Notation in ``glmm_nested.py``: S and A are the sums of first and second derivatives over a part's
rows, D = 1 - kappa^2 A and C = 1 - sigma^2 sum A / D the pivots of the joint curvature.

numba sees changes in this file only: after one in ``family_terms.py`` clear its cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ketastats.frequentist.family_terms import terms
from ketastats.frequentist.glmm_kernel import MODE_STEPS


@njit(cache=True, error_model="numpy")
def add_moving(
    code: int, sigma: float, gamma: float, kappa: float, x: Any, y: Any, m: Any, eta: Any,
    start: Any, v: float, u: Any, bend: float, along: float, stretch: float, score: Any,
) -> None:  # fmt: skip
    """Add what the parameters do through centre and scale of the nodes of v.

    With e_b the partial derivative of the equation of u_b and pivots D, C of the joint curvature,
    d v = ([sigma] S + sigma sum_b (m_b + kappa A_b e_b / D_b)) / C, d u_b = (e_b + kappa sigma A_b
    d v) / D_b, and d C follows from A_b's third derivatives.
    """
    n, q = x.shape
    parts = len(start) - 1
    row = np.empty((n, 4))
    total = np.zeros((parts, 5))  # S, A, sum of third derivatives, and S, A in gamma
    for b in range(parts):
        for i in range(start[b], start[b + 1]):
            _, l1, l2, l3, _, l1g, l2g, _ = terms(
                code, y[i], m[i], eta[i] + sigma * v + kappa * u[b], gamma
            )
            row[i, 0], row[i, 1], row[i, 2], row[i, 3] = l2, l3, l1g, l2g
            total[b, 0] += l1
            total[b, 1] += l2
            total[b, 2] += l3
            total[b, 3] += l1g
            total[b, 4] += l2g
    first, second, e = np.empty(parts), np.empty(parts), np.empty(parts)
    for a in range(q + 3):
        moved = 0.0
        for b in range(parts):
            s1, s2, s3 = total[b, 0], total[b, 1], total[b, 2]
            first[b], second[b] = 0.0, 0.0  # what S and A do at fixed v and u
            if a < q:
                for i in range(start[b], start[b + 1]):
                    first[b] += row[i, 0] * x[i, a]
                    second[b] += row[i, 1] * x[i, a]
            elif a == q + 1:
                first[b], second[b] = total[b, 3], total[b, 4]
            else:
                by = v if a == q else u[b]
                first[b], second[b] = by * s2, by * s3
            e[b] = kappa * first[b] + (s1 if a == q + 2 else 0.0)
            pivot = 1.0 - kappa * kappa * s2
            moved += sigma * (first[b] + kappa * s2 * e[b] / pivot) + (s1 if a == q else 0.0)
        moved /= bend
        bent = 0.0
        for b in range(parts):
            s2, s3 = total[b, 1], total[b, 2]
            pivot = 1.0 - kappa * kappa * s2
            inner = (e[b] + kappa * sigma * s2 * moved) / pivot
            turned = second[b] + s3 * (sigma * moved + kappa * inner)
            bent -= sigma * sigma * turned / (pivot * pivot)
            if a == q:
                bent -= 2.0 * sigma * s2 / pivot
            elif a == q + 2:
                bent -= sigma * sigma * 2.0 * kappa * s2 * s2 / (pivot * pivot)
        score[a] += along * moved - stretch * 0.5 * bent / bend**1.5


@njit(cache=True, error_model="numpy")
def joint_mode(
    code: int, sigma: float, gamma: float, kappa: float, y: Any, m: Any, eta: Any, start: Any,
    v: float, u: Any,
) -> Any:  # fmt: skip
    """Return the mode of v, C, D and A; u is overwritten. Newton steps that never go downhill.

    Where the curvature is small (the beta-binomial is not log-concave), A is held at 0 or less.
    """
    parts = len(start) - 1
    slope, curve, pivot = np.empty(parts), np.empty(parts), np.empty(parts)
    trial = u.copy()
    f = _joint(code, sigma, gamma, kappa, y, m, eta, start, v, u, slope, curve)
    for _ in range(MODE_STEPS):
        bend = _pivots(sigma, kappa, curve, pivot)
        used = curve.copy()
        if not (bend > 0.1 and pivot.min() > 0.1):
            for b in range(parts):
                used[b] = min(used[b], 0.0)
            bend = _pivots(sigma, kappa, used, pivot)
        step = -v
        for b in range(parts):
            step += sigma * slope[b]
            step += sigma * kappa * used[b] / pivot[b] * (kappa * slope[b] - u[b])
        step /= bend
        largest, size = abs(step) / (1.0 + abs(v)), 1.0
        move = np.empty(parts)
        for b in range(parts):
            move[b] = (kappa * slope[b] - u[b] + sigma * kappa * used[b] * step) / pivot[b]
            largest = max(largest, abs(move[b]) / (1.0 + abs(u[b])))
        while True:
            for b in range(parts):
                trial[b] = u[b] + size * move[b]
            new = _joint(
                code, sigma, gamma, kappa, y, m, eta, start, v + size * step, trial, slope, curve
            )
            if new >= f - 1e-12 * (1.0 + abs(f)) or size * largest < 1e-12:
                break
            size *= 0.5
        v += size * step
        for b in range(parts):
            u[b] = trial[b]
        f = new
        if size == 1.0 and largest < 1e-8:  # Newton squares it: 1e-16 is left
            break
    return v, _pivots(sigma, kappa, curve, pivot), pivot, curve


@njit(cache=True, error_model="numpy")
def _pivots(sigma: float, kappa: float, curve: Any, pivot: Any) -> float:
    """Fill D and return C."""
    bend = 1.0
    for b in range(len(curve)):
        pivot[b] = 1.0 - kappa * kappa * curve[b]
        bend -= sigma * sigma * curve[b] / pivot[b]
    return bend


@njit(cache=True, error_model="numpy")
def _joint(
    code: int, sigma: float, gamma: float, kappa: float, y: Any, m: Any, eta: Any, start: Any,
    v: float, u: Any, slope: Any, curve: Any,
) -> float:  # fmt: skip
    """Return the joint log density at v and u; fill S and A of every part."""
    f = -0.5 * v * v
    for b in range(len(u)):
        slope[b], curve[b] = 0.0, 0.0
        f -= 0.5 * u[b] * u[b]
        for i in range(start[b], start[b + 1]):
            l0, l1, l2, _, _, _, _, _ = terms(
                code, y[i], m[i], eta[i] + sigma * v + kappa * u[b], gamma
            )
            f += l0
            slope[b] += l1
            curve[b] += l2
    return f
