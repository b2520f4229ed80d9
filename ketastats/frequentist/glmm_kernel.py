r"""Adaptive Gauss-Hermite quadrature of one outcome's likelihood, with its exact score, compiled.

A group's rows have :math:`\eta_i = x_i'\beta + o_i + \sigma v`, :math:`v \sim N(0, 1)`. With
:math:`f(v) = \sum_i \ell_i(\eta_i) - v^2/2`, its mode :math:`\hat v`, :math:`\tau =
(-f''(\hat v))^{-1/2}`, Hermite nodes :math:`x_k` and weights :math:`w_k`,

.. math:: \log L \approx f(\hat v) + \log\tau +
   \log \sum_k \pi^{-1/2} w_k e^{x_k^2 + f(v_k) - f(\hat v)}, \quad v_k = \hat v + \sqrt 2 \tau x_k

(Pinheiro & Bates 1995, J Comput Graph Stat 4:12; Pinheiro & Chao 2006, ibid. 15:58). One
node is the Laplace approximation. The score is that of this sum, the dependence of mode and
curvature on the parameters included, so it is exact for any number of nodes.

Parameters are :math:`\beta, \sigma, \gamma`. The likelihood is even in :math:`\sigma` and equals
that of the generalised linear model at 0.

numba sees changes in this file only: after one in ``family_terms.py`` clear its cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ketastats.frequentist.family_terms import constants, terms

MODE_STEPS = 100


@njit(cache=True, error_model="numpy")
def evaluate(
    code: int, par: Any, x: Any, y: Any, m: Any, offset: Any, first: Any, t: Any, w: Any,
    mode: Any, tau: Any, score: Any, hess: Any,
) -> float:  # fmt: skip
    """Return the log-likelihood; fill the score and the Hessian.

    Parameters
    ----------
    code : int
        Family.
    par : numpy.ndarray, shape (q + 2,)
        beta, sigma, gamma.
    x : numpy.ndarray, shape (n, q)
        Rows sorted by group; those before ``first[0]`` belong to none.
    y, m, offset : numpy.ndarray, shape (n,)
    first : numpy.ndarray of int, shape (G + 1,)
        Where each group's rows begin, and n.
    t, w : numpy.ndarray, shape (K,)
        sqrt(2) times the Hermite nodes; weights times exp(node^2) / sqrt(pi).
    mode, tau : numpy.ndarray, shape (G,)
        Modes of v, from the last call as a start, and their spread; overwritten.
    score : numpy.ndarray, shape (q + 2,)
    hess : numpy.ndarray, shape (q + 2, q + 2)
        Mean of the second derivatives and covariance of the first under the posterior of v (Louis
        1982, J R Stat Soc B 44:226): exact up to the error of the quadrature, so for many nodes.
        At sigma = 0 it is exact, and the entry of sigma is twice the slope in sigma^2.
    """
    n, q = x.shape
    sigma, gamma = par[q], par[q + 1]
    eta = np.empty(n)
    value = 0.0
    for j in range(q + 2):
        score[j] = 0.0
        for k in range(q + 2):
            hess[j, k] = 0.0
    for i in range(n):
        eta[i] = offset[i]
        for j in range(q):
            eta[i] += x[i, j] * par[j]
        c0, c1, c2 = constants(code, y[i], m[i], gamma)
        value += c0
        score[q + 1] += c1
        hess[q + 1, q + 1] += c2
    fixed = n if sigma == 0.0 else first[0]
    own = np.empty((2, fixed))
    for i in range(fixed):
        l0, l1, l2, _, lg, l1g, _, lgg = terms(code, y[i], m[i], eta[i], gamma)
        own[0, i], own[1, i] = l1, l2
        value += l0
        score[q + 1] += lg
        hess[q + 1, q + 1] += lgg
        for j in range(q):
            score[j] += l1 * x[i, j]
            hess[j, q + 1] += l1g * x[i, j]
            for k in range(j + 1):
                hess[k, j] += l2 * x[i, j] * x[i, k]
    for g in range(len(first) - 1):
        a, b = first[g], first[g + 1]
        if sigma == 0.0:  # twice the slope in sigma^2: v keeps its prior
            total = 0.0
            for i in range(a, b):
                total += own[0, i]
                hess[q, q] += own[1, i]
            hess[q, q] += total * total
            mode[g], tau[g] = 0.0, 1.0
            continue
        value += add_group(
            code, sigma, gamma, x[a:b], y[a:b], m[a:b], eta[a:b], t, w, mode[g : g + 1],
            tau[g : g + 1], score, hess,
        )  # fmt: skip
    for j in range(q + 2):
        for k in range(j):
            hess[j, k] = hess[k, j]
    return value


@njit(cache=True, error_model="numpy")
def add_group(
    code: int, sigma: float, gamma: float, x: Any, y: Any, m: Any, eta: Any, t: Any, w: Any,
    mode: Any, tau: Any, score: Any, hess: Any,
) -> float:  # fmt: skip
    """Return log L of one group and add its derivatives (the upper triangle of the Hessian).

    Shapes as in :func:`evaluate`, of the group's rows; ``mode`` and ``tau`` have one value.
    """
    n, q = x.shape
    size = len(t)
    v_hat, f_hat, curvature = find_mode(code, sigma, gamma, y, m, eta, mode[0])
    mode[0] = v_hat
    if not curvature > 1e-8:
        return -math.inf
    spread = 1.0 / math.sqrt(curvature)
    tau[0] = spread
    weight, slope, shift = np.empty(size), np.empty(size), np.empty(size)
    f_gamma, own = np.zeros(size), np.empty((size, n, 5))
    total = 0.0
    for k in range(size):
        v = v_hat + spread * t[k]
        f, d = -0.5 * v * v, 0.0
        for i in range(n):
            l0, l1, l2, _, lg, l1g, _, lgg = terms(code, y[i], m[i], eta[i] + sigma * v, gamma)
            own[k, i, 0], own[k, i, 1], own[k, i, 2] = l1, l2, l1g
            own[k, i, 3], own[k, i, 4] = lg, lgg
            f += l0
            d += l1
            f_gamma[k] += lg
        weight[k] = w[k] * math.exp(f - f_hat)
        slope[k], shift[k] = d, v
        total += weight[k]
    along, across = 0.0, 0.0  # what moving and stretching the nodes does to the sum
    for k in range(size):
        weight[k] /= total
        down = weight[k] * (sigma * slope[k] - shift[k])
        along += down
        across += down * (shift[k] - v_hat)
    _add_moving(
        code, sigma, gamma, x, y, m, eta, v_hat, curvature, along, 1.0 + across, score
    )  # fmt: skip
    first = np.zeros(q + 2)
    for k in range(size):
        p = weight[k]
        first[q] += p * shift[k] * slope[k]
        first[q + 1] += p * f_gamma[k]
        for i in range(n):
            for j in range(q):
                first[j] += p * own[k, i, 0] * x[i, j]
    for j in range(q + 2):
        score[j] += first[j]
    _add_louis(x, weight, slope, shift, f_gamma, own, first, hess)
    return f_hat + math.log(spread) + math.log(total)


@njit(cache=True, error_model="numpy")
def _add_moving(
    code: int, sigma: float, gamma: float, x: Any, y: Any, m: Any, eta: Any, v: float,
    curvature: float, along: float, across: float, score: Any,
) -> None:  # fmt: skip
    """Add what the parameters do through mode and curvature (zero for an exact integral).

    d v / d a = f_va / c and d log tau / d a = (f_vva + f_vvv d v / d a) / (2 c), c = -f_vv.
    """
    n, q = x.shape
    s1, s2, s3, s1g, s2g = 0.0, 0.0, 0.0, 0.0, 0.0
    at = np.empty((n, 2))
    for i in range(n):
        _, l1, l2, l3, _, l1g, l2g, _ = terms(code, y[i], m[i], eta[i] + sigma * v, gamma)
        at[i, 0], at[i, 1] = l2, l3
        s1 += l1
        s2 += l2
        s3 += l3
        s1g += l1g
        s2g += l2g
    third = sigma**3 * s3
    for j in range(q + 2):
        if j < q:
            mixed, twice = 0.0, 0.0
            for i in range(n):
                mixed += sigma * at[i, 0] * x[i, j]
                twice += sigma * sigma * at[i, 1] * x[i, j]
        elif j == q:
            mixed = s1 + sigma * v * s2
            twice = 2.0 * sigma * s2 + sigma * sigma * v * s3
        else:
            mixed, twice = sigma * s1g, sigma * sigma * s2g
        moved = mixed / curvature
        score[j] += along * moved + across * 0.5 * (twice + third * moved) / curvature


@njit(cache=True, error_model="numpy")
def _add_louis(
    x: Any, weight: Any, slope: Any, shift: Any, f_gamma: Any, own: Any, first: Any, hess: Any
) -> None:
    """Add E[f_ab] + Cov(f_a, f_b) over the nodes."""
    n, q = x.shape
    at = np.empty(q + 2)
    for k in range(len(weight)):
        p, v = weight[k], shift[k]
        for j in range(q):
            at[j] = 0.0
        at[q], at[q + 1] = v * slope[k], f_gamma[k]
        for i in range(n):
            for j in range(q):
                at[j] += own[k, i, 0] * x[i, j]
        for j in range(q + 2):
            for l in range(j + 1):  # noqa: E741
                hess[l, j] += p * (at[j] - first[j]) * (at[l] - first[l])
    for i in range(n):
        e2, e2v, e2vv, eg, egv, egg = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(len(weight)):
            p, v = weight[k], shift[k]
            e2 += p * own[k, i, 1]
            e2v += p * v * own[k, i, 1]
            e2vv += p * v * v * own[k, i, 1]
            eg += p * own[k, i, 2]
            egv += p * v * own[k, i, 2]
            egg += p * own[k, i, 4]
        for j in range(q):
            for l in range(j + 1):  # noqa: E741
                hess[l, j] += e2 * x[i, j] * x[i, l]
            hess[j, q] += e2v * x[i, j]
            hess[j, q + 1] += eg * x[i, j]
        hess[q, q] += e2vv
        hess[q, q + 1] += egv
        hess[q + 1, q + 1] += egg


@njit(cache=True, error_model="numpy")
def find_mode(code: int, sigma: float, gamma: float, y: Any, m: Any, eta: Any, start: float) -> Any:
    """Return the mode of f, f there and -f'' there, by Newton steps that never go downhill.

    The beta-binomial is not log-concave in eta: where -f'' is small, steps are those of the prior.
    """
    v = start
    f, d1, d2 = _profile(code, sigma, gamma, y, m, eta, v)
    for _ in range(MODE_STEPS):
        step = d1 / (-d2 if d2 < -0.1 else 1.0)
        whole = True
        while True:
            new, n1, n2 = _profile(code, sigma, gamma, y, m, eta, v + step)
            if new >= f - 1e-12 * (1.0 + abs(f)) or abs(step) < 1e-12:
                break
            step *= 0.5
            whole = False
        v += step
        f, d1, d2 = new, n1, n2
        if whole and abs(step) < 1e-8 * (1.0 + abs(v)):  # Newton squares it: 1e-16 is left
            break
    return v, f, -d2


@njit(cache=True, error_model="numpy")
def _profile(code: int, sigma: float, gamma: float, y: Any, m: Any, eta: Any, v: float) -> Any:
    """Return f, f' and f'' at v."""
    f, s1, s2 = -0.5 * v * v, 0.0, 0.0
    for i in range(len(y)):
        l0, l1, l2, _, _, _, _, _ = terms(code, y[i], m[i], eta[i] + sigma * v, gamma)
        f += l0
        s1 += l1
        s2 += l2
    return f, sigma * s1 - v, sigma * sigma * s2 - 1.0
