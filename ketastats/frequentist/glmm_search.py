r"""Newton's search for the maximum of one outcome's likelihood, compiled.

The search moves in :math:`z = (\beta, \sigma, \omega, \kappa)`, :math:`\omega^2 = \gamma`, where
:math:`\kappa` is the spread of a second random intercept within the first. The likelihood is even
in :math:`\sigma, \omega` and :math:`\kappa`, so a spread whose best value is 0 is reached like any
other maximum, by Newton steps and without bounds.

numba sees changes in this file only: after one in a kernel clear its cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ketastats.frequentist.glmm_nested import alone, evaluate_nested

OK, SEPARATED, SPREAD, STALLED, RANK, RUNAWAY = range(6)
MAX_ITERATIONS = 200
DECREMENT = 1e-18
"""Newton decrement g'H^-1 g at which a row stops: what is left is 1e-9 standard errors."""
PATIENCE = 20
"""Iterations after which the Hessian is made by differences: where the quadrature is rough, Louis's
form is not that of the sum."""
FLAT = 1e-8
"""Decrement (1e-4 standard errors) under which a linear predictor may move no more than MOVED:
otherwise its standard error is 500 on the link scale, which is separation."""
MOVED = 0.05
LIMIT = 100.0
"""A spread above this on the link scale runs off."""
FEW, MANY = 5, 20
"""Louis's form is the Hessian of the search from FEW nodes and that of the result from MANY; with
fewer, central differences of the exact score."""


@njit(cache=True, error_model="numpy")
def climb(
    code: int, x: Any, y: Any, m: Any, offset: Any, group: Any, inner: Any, t: Any, w: Any,
    rows: Any, free: Any, z: Any, mode: Any, tau: Any, score: Any, hess: Any, runaway: Any,
    loglik: Any, reason: Any, steps: Any,
) -> None:  # fmt: skip
    """Take each of the outcomes ``rows`` from its z to its maximum, by itself.

    Parameters
    ----------
    code : int
        Family.
    x, offset, group, inner : numpy.ndarray, shapes (n, q), (n,), (n,), (n,)
        Rows sorted by group, and by part in it; -1, without a random intercept, first. ``inner`` is
        None without a second random intercept: numba then leaves out all that belongs to it, which
        halves the time to compile.
    y, m : numpy.ndarray, shapes (B, n), (B or 1, n)
        y is NaN where missing.
    t, w : numpy.ndarray, shape (K,)
        Nodes and weights as in ``evaluate``.
    rows : numpy.ndarray of int
    free : numpy.ndarray of bool, shape (B, q + 3)
        Parameters that move.
    z, mode, tau, score, hess, runaway, loglik, reason, steps : numpy.ndarray
        Shapes (B, q + 3), (B, G + H), (B, G + H), (B, q + 3), (B, q + 3, q + 3), (B, q), (B,),
        (B,), (B,), with H parts of G groups; start and result.
    """
    n, n_all = len(x), mode.shape[1]
    n_groups = group.max() + 1
    n_parts = n_all - n_groups
    for b in rows:
        own_m = m[b if len(m) > 1 else 0]
        first, second = np.empty(n_groups + 1, np.int64), np.empty(n_parts + 1, np.int64)
        owner, kept = np.empty(n_groups + 1, np.int64), np.empty(n_groups, np.int64)
        held = np.empty(n_parts, np.int64)
        own_x, rest = np.empty(x.shape), np.empty((3, n))
        k, groups, last, parts, latest = 0, 0, -1, 0, -1
        for i in range(n):
            if math.isnan(y[b, i]):
                continue
            if group[i] != last:
                last = group[i]
                first[groups], kept[groups], owner[groups] = k, last, parts
                groups += 1
            if inner is not None and inner[i] != latest:
                latest = inner[i]
                second[parts], held[parts] = k, n_groups + latest
                parts += 1
            for j in range(x.shape[1]):
                own_x[k, j] = x[i, j]
            rest[0, k], rest[1, k], rest[2, k] = y[b, i], own_m[i], offset[i]
            k += 1
        first[groups], second[parts], owner[groups] = k, k, parts
        data = (
            code, own_x[:k], rest[0, :k], rest[1, :k], rest[2, :k], first[: groups + 1], t, w,
            None if inner is None else second[: parts + 1], owner[: groups + 1],
        )  # fmt: skip
        place = np.concatenate((kept[:groups], held[:parts]))
        v, spread = np.empty(groups + parts), np.empty(groups + parts)
        for g in range(len(place)):
            v[g], spread[g] = mode[b, place[g]], tau[b, place[g]]
        loglik[b], reason[b], more = newton(
            data, z[b], free[b], v, spread, score[b], hess[b], runaway[b]
        )
        steps[b] += more
        if len(t) < MANY and max(z[b, x.shape[1]], z[b, x.shape[1] + 2]) > 0.0:
            differences(data, z[b], np.flatnonzero(free[b]), v, spread, hess[b])
        for g in range(len(place)):
            mode[b, place[g]], tau[b, place[g]] = v[g], spread[g]


@njit(cache=True, error_model="numpy")
def newton(
    data: Any, z: Any, free: Any, mode: Any, tau: Any, score: Any, hess: Any, runaway: Any
) -> Any:
    """Climb from z over the free parameters; returns log-likelihood, reason, iterations.

    z, mode, tau, score and hess are left at the end. ``runaway`` marks the coefficients that move
    where the likelihood is flat.
    """
    x = data[1]
    q = x.shape[1]
    index: Any = np.flatnonzero(free)
    few = len(data[6]) < FEW and (free[q] or free[q + 2])
    value = derivatives(data, z, mode, tau, score, hess)
    trial, own, other = z.copy(), mode.copy(), tau.copy()
    for iteration in range(1, MAX_ITERATIONS + 1):
        if not value > -math.inf:
            return value, STALLED, iteration
        if few or iteration > PATIENCE:
            differences(data, z, index, mode, tau, hess)
        step, definite = _direction(score, hess, index)
        gain = 0.0
        for j in index:
            gain += step[j] * score[j]
        far = _reach(x, step)
        if definite and gain < FLAT and far > MOVED:
            for j in range(q):
                runaway[j] = abs(step[j]) > 0.01 * MOVED
            return value, SEPARATED, iteration
        if gain < DECREMENT:  # stationary; if no maximum, a ridge or a spread at 0 that rises
            return value, OK if definite else RANK, iteration
        scale = min(1.0, 10.0 / max(far, 1e-300))
        for j in range(q, q + 3):
            scale = min(scale, 0.7 * max(1.0, z[j]) / max(abs(step[j]), 1e-300))
        new = -math.inf
        for _ in range(30):
            for j in range(q + 3):
                trial[j] = z[j] + scale * step[j]
            for g in range(len(own)):
                own[g] = mode[g]
            new = derivatives(data, trial, own, other, score, hess)
            if new >= value + 1e-4 * scale * gain - 1e-10 * (1.0 + abs(value)):
                break
            scale *= 0.5
        else:
            return value, STALLED, iteration
        for g in range(len(own)):
            turned = trial[q] < 0 if g < len(data[5]) - 1 else trial[q + 2] < 0
            mode[g], tau[g] = -own[g] if turned else own[g], other[g]
        _turn(trial, score, hess)
        for j in range(q + 3):
            z[j] = trial[j]
        value = new
        if z[q] > LIMIT or z[q + 1] > LIMIT or z[q + 2] > LIMIT:
            return value, SPREAD, iteration
    return value, STALLED, MAX_ITERATIONS


@njit(cache=True, error_model="numpy")
def _turn(z: Any, score: Any, hess: Any) -> None:
    """Make the spreads positive, in which the likelihood is even."""
    p = len(z)
    for j in range(p - 3, p):
        if z[j] < 0:
            z[j], score[j] = -z[j], -score[j]
            for k in range(p):
                if k != j:
                    hess[j, k] = hess[k, j] = -hess[j, k]


@njit(cache=True, error_model="numpy")
def differences(data: Any, z: Any, index: Any, mode: Any, tau: Any, hess: Any) -> None:
    """Overwrite the Hessian over ``index`` by central differences of the score."""
    x, p = data[1], len(z)
    up, down, at, own, other = np.empty(p), np.empty(p), z.copy(), mode.copy(), tau.copy()
    spare = np.empty((p, p))
    for j in index:
        size = 1.0 if j >= p - 3 else 1e-300
        for i in range(len(x) if j < p - 3 else 0):
            size = max(size, abs(x[i, j]))
        h = 1e-4 / size
        at[j] = z[j] + h
        derivatives(data, at, own, other, up, spare)
        at[j] = z[j] - h
        derivatives(data, at, own, other, down, spare)
        at[j] = z[j]
        for k in index:
            hess[j, k] = (up[k] - down[k]) / (2.0 * h)
    for j in index:
        for k in index:
            if k < j:
                hess[j, k] = hess[k, j] = 0.5 * (hess[j, k] + hess[k, j])


@njit(cache=True, error_model="numpy")
def derivatives(data: Any, z: Any, mode: Any, tau: Any, score: Any, hess: Any) -> float:
    """Return the log-likelihood and fill score and Hessian in z; see ``evaluate_nested``."""
    code, x, y, m, offset, first, t, w, second, owner = data
    last = len(z) - 2
    omega = z[last]
    par = z.copy()  # loops, not array expressions, throughout: they compile in half the time
    par[last] = omega * omega
    value = _evaluate(
        code, par, x, y, m, offset, first, t, w, second, owner, mode, tau, score, hess
    )
    for j in range(len(z)):
        if j != last:
            hess[last, j] *= 2.0 * omega
            hess[j, last] = hess[last, j]
    hess[last, last] = 4.0 * omega * omega * hess[last, last] + 2.0 * score[last]
    score[last] *= 2.0 * omega
    return value


@njit(cache=True, error_model="numpy")
def _evaluate(
    code: int, par: Any, x: Any, y: Any, m: Any, offset: Any, first: Any, t: Any, w: Any,
    second: Any, owner: Any, mode: Any, tau: Any, score: Any, hess: Any,
) -> float:  # fmt: skip
    """Evaluate the model with one random intercept at most, or with two."""
    if second is None:
        q = x.shape[1]
        return alone(
            code, par[: q + 2].copy(), x, y, m, offset, first, t, w, mode, tau, score, hess, q
        )
    return evaluate_nested(
        code, par, x, y, m, offset, first, t, w, second, owner, mode, tau, score, hess
    )


@njit(cache=True, error_model="numpy")
def _direction(score: Any, hess: Any, index: Any) -> Any:
    """Return the Newton step, damped until it goes uphill, and whether it needed no damping."""
    k, largest = len(index), 0.0
    step = np.empty(k)
    for a in index:
        largest = max(largest, abs(hess[a, a]))
    damping = 0.0
    lower = np.empty((k, k))
    for _ in range(40):
        for a in range(k):
            step[a] = score[index[a]]
            for b in range(k):
                lower[a, b] = -hess[index[a], index[b]]
            lower[a, a] += damping * max(abs(lower[a, a]), 1e-8 * largest)
        if _solve(lower, step):
            break
        damping = 2.0 * damping if damping else 1e-3
    full = np.zeros(len(score))
    for a in range(k):
        full[index[a]] = step[a]
    return full, damping == 0.0


@njit(cache=True, error_model="numpy")
def _solve(a: Any, b: Any) -> bool:
    """Overwrite b with the solution of a s = b by Cholesky; False where a is not positive."""
    n = len(b)
    for j in range(n):
        pivot = a[j, j]
        for k in range(j):
            pivot -= a[j, k] ** 2
        if not pivot > 1e-14 * abs(a[j, j]):
            return False
        a[j, j] = math.sqrt(pivot)
        for i in range(j + 1, n):
            for k in range(j):
                a[i, j] -= a[i, k] * a[j, k]
            a[i, j] /= a[j, j]
        for k in range(j):
            b[j] -= a[j, k] * b[k]
        b[j] /= a[j, j]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            b[i] -= a[k, i] * b[k]
        b[i] /= a[i, i]
    return True


@njit(cache=True, error_model="numpy")
def _reach(x: Any, step: Any) -> float:
    """Return the largest change of a linear predictor."""
    far = 0.0
    for i in range(x.shape[0]):
        change = 0.0
        for j in range(x.shape[1]):
            change += x[i, j] * step[j]
        far = max(far, abs(change))
    return far
