r"""Nested adaptive Gauss-Hermite quadrature over two random intercepts, compiled.

Rows of a group (mouse) lie in its parts (branches) b and have :math:`\eta_i = x_i'\beta + o_i +
\sigma v + \kappa u_b`, all v and u standard normal. Given v the parts are independent, and each is
integrated as in ``glmm_kernel`` by nodes of its own; what is left is one integral over v:

.. math:: h(v) = \sum_b \log L_b(v) - v^2/2, \quad \log L \approx \log\tau +
   \log \sum_k \pi^{-1/2} w_k e^{x_k^2 + h(v_k)}, \quad v_k = \hat v + \sqrt 2 \tau x_k

Centre and scale are those of the joint mode of (v, u): with :math:`A_b = \sum_{i \in b} \ell_i''`
there, :math:`D_b = 1 - \kappa^2 A_b` and :math:`C = 1 - \sigma^2 \sum_b A_b / D_b` are the pivots
of the joint curvature, and :math:`\tau = C^{-1/2}`. So one node is the joint Laplace approximation
(Pinheiro & Chao 2006, J Comput Graph Stat 15:58). The score is exact for any number of nodes.

Parameters are :math:`\beta, \sigma, \gamma, \kappa`; with a spread at 0 this is the model with one.

numba sees changes in this file only: after one in ``glmm_kernel.py`` or ``glmm_joint.py`` clear its
cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ketastats.frequentist.family_terms import constants, terms
from ketastats.frequentist.glmm_joint import add_moving, joint_mode
from ketastats.frequentist.glmm_kernel import add_group, evaluate, find_mode


@njit(cache=True, error_model="numpy")
def evaluate_nested(
    code: int, par: Any, x: Any, y: Any, m: Any, offset: Any, first: Any, t: Any, w: Any,
    second: Any, owner: Any, mode: Any, tau: Any, score: Any, hess: Any,
) -> float:  # fmt: skip
    """Return the log-likelihood; fill the score and the Hessian.

    Parameters
    ----------
    code, x, y, m, offset, first, t, w
        As in :func:`.glmm_kernel.evaluate`; rows of a group are sorted by its parts.
    par : numpy.ndarray, shape (q + 3,)
        beta, sigma, gamma, kappa.
    second : numpy.ndarray of int, shape (H + 1,)
        Where the rows of each part begin, and n; every row with a group has a part, if H > 0.
    owner : numpy.ndarray of int, shape (G + 1,)
        The first part of every group, and H.
    mode, tau : numpy.ndarray, shape (G + H,)
        Of v, then of u.
    score, hess : numpy.ndarray, shapes (q + 3,), (q + 3, q + 3)
        The Hessian as in ``evaluate``: of a spread at 0 twice the slope in its square.
    """
    q, groups, parts = x.shape[1], len(first) - 1, len(second) - 1
    sigma, gamma, kappa = par[q], par[q + 1], par[q + 2]
    for j in range(q + 3):
        score[j] = 0.0
        for k in range(q + 3):
            hess[j, k] = 0.0
    if kappa == 0.0:
        value = alone(
            code, par[: q + 2].copy(), x, y, m, offset, first, t, w, mode[:groups], tau[:groups],
            score, hess, q,
        )  # fmt: skip
        for b in range(parts):
            mode[groups + b], tau[groups + b] = 0.0, 1.0
        if parts:
            hess[q + 2, q + 2] = _rise_within(
                code, par, x, y, m, offset, first, t, w, second, owner, mode
            )
        return value
    if sigma == 0.0:
        own = par[: q + 2].copy()
        own[q] = kappa
        value = alone(
            code, own, x, y, m, offset, second, t, w, mode[groups:], tau[groups:], score, hess,
            q + 2,
        )  # fmt: skip
        for g in range(groups):
            mode[g], tau[g] = 0.0, 1.0
        hess[q, q] = _rise_between(
            code, par, x, y, m, offset, t, w, second, owner, mode[groups:].copy()
        )
        return value
    loose = first[0]
    none = np.full(1, loose)
    value = alone(
        code, par[: q + 2].copy(), x[:loose], y[:loose], m[:loose], offset[:loose], none, t, w,
        mode[:0], tau[:0], score, hess, q,
    )  # fmt: skip
    for i in range(loose, len(y)):
        c0, c1, c2 = constants(code, y[i], m[i], gamma)
        value += c0
        score[q + 1] += c1
        hess[q + 1, q + 1] += c2
    eta = _predictor(par, x, offset)
    for g in range(groups):
        a, b, low, high = first[g], first[g + 1], owner[g], owner[g + 1]
        value += _group(
            code, sigma, gamma, kappa, x[a:b], y[a:b], m[a:b], eta[a:b], t, w,
            second[low : high + 1] - a, mode, tau, g, groups + low, score, hess,
        )  # fmt: skip
    for j in range(q + 3):
        for k in range(j):
            hess[j, k] = hess[k, j]
    return value


@njit(cache=True, error_model="numpy")
def _predictor(par: Any, x: Any, offset: Any) -> Any:
    eta = offset.copy()
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            eta[i] += x[i, j] * par[j]
    return eta


@njit(cache=True, error_model="numpy")
def alone(
    code: int, par: Any, x: Any, y: Any, m: Any, offset: Any, first: Any, t: Any, w: Any,
    mode: Any, tau: Any, score: Any, hess: Any, place: int,
) -> float:  # fmt: skip
    """Evaluate the model with one spread, whose derivatives go to position ``place``.

    Those of the other, at 0, are 0.
    """
    q = x.shape[1]
    for j in range(q + 3):
        score[j] = 0.0
        for k in range(q + 3):
            hess[j, k] = 0.0
    own, square = np.empty(q + 2), np.empty((q + 2, q + 2))
    value = evaluate(code, par, x, y, m, offset, first, t, w, mode, tau, own, square)
    for j in range(q + 2):
        to = place if j == q else j
        score[to] = own[j]
        for k in range(q + 2):
            hess[to, place if k == q else k] = square[j, k]
    return value


@njit(cache=True, error_model="numpy")
def _rise_within(
    code: int, par: Any, x: Any, y: Any, m: Any, offset: Any, first: Any, t: Any, w: Any,
    second: Any, owner: Any, mode: Any,
) -> float:  # fmt: skip
    """Return twice the slope in kappa^2 at kappa = 0: E sum_b (S_b^2 + S_b') given v."""
    q = x.shape[1]
    sigma, gamma, eta, out = par[q], par[q + 1], _predictor(par, x, offset), 0.0
    for g in range(len(first) - 1):
        a, b = first[g], first[g + 1]
        v_hat, f_hat, curvature = find_mode(code, sigma, gamma, y[a:b], m[a:b], eta[a:b], mode[g])
        if not curvature > 1e-8:
            continue
        total, held = 0.0, 0.0
        for k in range(len(t)):
            v = v_hat + t[k] / math.sqrt(curvature)
            f, rise = -0.5 * v * v, 0.0
            for part in range(owner[g], owner[g + 1]):
                s1, s2 = 0.0, 0.0
                for i in range(second[part], second[part + 1]):
                    l0, l1, l2, _, _, _, _, _ = terms(code, y[i], m[i], eta[i] + sigma * v, gamma)
                    f += l0
                    s1 += l1
                    s2 += l2
                rise += s1 * s1 + s2
            p = w[k] * math.exp(f - f_hat)
            total += p
            held += p * rise
        out += held / total
    return out


@njit(cache=True, error_model="numpy")
def _rise_between(
    code: int, par: Any, x: Any, y: Any, m: Any, offset: Any, t: Any, w: Any, second: Any,
    owner: Any, mode: Any,
) -> float:  # fmt: skip
    """Return twice the slope in sigma^2 at sigma = 0: sum over groups of S^2 + S'."""
    q = x.shape[1]
    gamma, kappa, eta, out = par[q + 1], par[q + 2], _predictor(par, x, offset), 0.0
    one, spare = np.ones((len(y), 1)), np.empty(1)
    for g in range(len(owner) - 1):
        score, hess = np.zeros(3), np.zeros((3, 3))
        for part in range(owner[g], owner[g + 1]):
            a, b = second[part], second[part + 1]
            add_group(
                code, kappa, gamma, one[a:b], y[a:b], m[a:b], eta[a:b], t, w,
                mode[part : part + 1], spare, score, hess,
            )  # fmt: skip
        out += score[0] ** 2 + hess[0, 0]
    return out


@njit(cache=True, error_model="numpy")
def _group(
    code: int, sigma: float, gamma: float, kappa: float, x: Any, y: Any, m: Any, eta: Any, t: Any,
    w: Any, start: Any, mode: Any, tau: Any, outer: int, inner: int, score: Any, hess: Any,
) -> float:  # fmt: skip
    """Return log L of one group and add its derivatives (the upper triangle of the Hessian).

    ``start`` says where its parts begin; its modes stand at ``outer`` and from ``inner`` on.
    """
    n, q = x.shape
    parts, size = len(start) - 1, len(t)
    u = mode[inner : inner + parts]
    v_hat, bend, pivot, across = joint_mode(
        code, sigma, gamma, kappa, y, m, eta, start, mode[outer], u
    )
    mode[outer] = v_hat
    if not bend > 1e-8 or not pivot.min() > 1e-8:
        return -math.inf
    scale = 1.0 / math.sqrt(bend)
    tau[outer] = scale
    wide = np.ones((n, q + 1))  # a column for the shift that v makes
    for i in range(n):
        for j in range(q):
            wide[i, j] = x[i, j]
    own, square = np.zeros((size, q + 3)), np.zeros((size, q + 3, q + 3))
    at, h, one, spare = np.empty(n), np.empty(size), np.empty(1), np.empty(1)
    for k in range(size):
        v = v_hat + scale * t[k]
        h[k] = -0.5 * v * v
        for i in range(n):
            at[i] = eta[i] + sigma * v
        for b in range(parts):
            one[0] = u[b] + kappa * sigma * across[b] / pivot[b] * scale * t[k]
            low, high = start[b], start[b + 1]
            h[k] += add_group(
                code, kappa, gamma, wide[low:high], y[low:high], m[low:high], at[low:high], t, w,
                one, spare, own[k], square[k],
            )  # fmt: skip
    top = h.max()
    if not top > -math.inf:
        return -math.inf
    total = 0.0
    weight = np.empty(size)
    for k in range(size):
        weight[k] = w[k] * math.exp(h[k] - top)
        total += weight[k]
    along, stretch = 0.0, 1.0 / scale
    for k in range(size):
        weight[k] /= total
        v = v_hat + scale * t[k]
        down = weight[k] * (sigma * own[k, q] - v)
        along += down
        stretch += down * t[k]
    add_moving(
        code, sigma, gamma, kappa, x, y, m, eta, start, v_hat, u, bend, along, stretch, score
    )
    _add_louis(weight, v_hat + scale * t, own, square, score, hess)
    for b in range(parts):
        pull = kappa * sigma * across[b] / pivot[b]
        tau[inner + b] = math.sqrt(1.0 / pivot[b] + pull * pull / bend)
    return top + math.log(scale) + math.log(total)


@njit(cache=True, error_model="numpy")
def _add_louis(weight: Any, at: Any, own: Any, square: Any, score: Any, hess: Any) -> None:
    """Add E[h_a] to the score and E[h_ab] + Cov(h_a, h_b) to the Hessian, over the nodes of v.

    ``own`` and ``square`` are in beta, shift, kappa, gamma; the results in beta, sigma, gamma,
    kappa.
    """
    p = own.shape[1]
    q = p - 3
    place, factor = np.arange(p), np.ones(p)
    place[q + 1], place[q + 2] = q + 2, q + 1
    mean = np.zeros(p)
    for k in range(len(weight)):
        own[k, q] *= at[k]
        for j in range(p):
            mean[j] += weight[k] * own[k, j]
    for k in range(len(weight)):
        factor[q] = at[k]
        for j in range(p):
            for l in range(j + 1):  # noqa: E741
                a, b = min(place[j], place[l]), max(place[j], place[l])
                both = (own[k, j] - mean[j]) * (own[k, l] - mean[l])
                hess[a, b] += weight[k] * (factor[j] * factor[l] * square[k, l, j] + both)
    for j in range(p):
        score[place[j]] += mean[j]
