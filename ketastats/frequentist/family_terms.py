"""The families' log-likelihoods and derivatives, one row at a time, compiled.

Formulas and notation in ``families.py``. A change here reaches the compiled callers in
``glmm_kernel.py`` and ``glmm_search.py`` only after their numba cache is cleared: numba looks at a
function's own file.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ketastats.frequentist.families import (
    BETA_BINOMIAL,
    BINOMIAL,
    NEGATIVE_BINOMIAL,
    POISSON,
    PROBIT,
)

FAR = 100.0
"""Linear predictors are held within this: a mean of exp(100) or of 1e-44 has no data."""


@njit(cache=True, error_model="numpy")
def log_densities(code: int, y: Any, size: Any, eta: Any, gamma: Any) -> Any:
    """Return log-likelihoods and derivatives row by row; see ``families.log_density``."""
    out = np.empty((len(y), 8))
    for i in range(len(y)):
        l0, l1, l2, l3, g1, l1g, l2g, g2 = terms(code, y[i], size[i], eta[i], gamma[i])
        c0, c1, c2 = constants(code, y[i], size[i], gamma[i])
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = l0 + c0, l1, l2, l3
        out[i, 4], out[i, 5], out[i, 6], out[i, 7] = g1 + c1, l1g, l2g, g2 + c2
    return out


@njit(cache=True, error_model="numpy")
def constants(code: int, y: float, m: float, gamma: float) -> Any:
    """Return what does not depend on eta, and its two derivatives in gamma."""
    if code == POISSON:
        return -math.lgamma(y + 1.0), 0.0, 0.0
    if code == NEGATIVE_BINOMIAL:
        value, sign, count = -math.lgamma(y + 1.0), 1.0, y
    else:
        value = math.lgamma(m + 1.0) - math.lgamma(y + 1.0) - math.lgamma(m - y + 1.0)
        sign, count = -1.0, m
    if code in (BINOMIAL, PROBIT):
        return value, 0.0, 0.0
    first, second = 0.0, 0.0
    total, product = 0.0, 1.0
    for j in range(1, int(count)):
        s = j / (1.0 + j * gamma)
        first += s
        second -= s * s
        product *= 1.0 + j * gamma
        if product > 1e150:  # one logarithm for many factors
            total += math.log(product)
            product = 1.0
    total += math.log(product)
    return value + sign * total, sign * first, sign * second


@njit(cache=True, error_model="numpy")
def terms(code: int, y: float, m: float, eta: float, gamma: float) -> Any:
    """Return the part that depends on eta; the order of :func:`log_density`."""
    eta = min(max(eta, -FAR), FAR)
    if code == BINOMIAL:
        small = math.exp(-abs(eta))
        far = 1.0 / (1.0 + small)
        near = small * far
        mu, nu = (far, near) if eta > 0 else (near, far)
        v = far * near
        l0 = y * eta - m * (max(eta, 0.0) + math.log1p(small))
        return l0, y * nu - (m - y) * mu, -m * v, -m * v * (nu - mu), 0.0, 0.0, 0.0, 0.0
    if code == POISSON:
        mu = math.exp(eta)
        return y * eta - mu, y - mu, -mu, -mu, 0.0, 0.0, 0.0, 0.0
    if code == NEGATIVE_BINOMIAL:
        return _negative_binomial(y, eta, gamma)
    if code == BETA_BINOMIAL:
        mu = 1.0 / (1.0 + math.exp(-eta))
        nu = 1.0 / (1.0 + math.exp(eta))
        a = _rising(int(y), mu, nu, gamma)
        b = _rising(int(m - y), nu, mu, gamma)
        return (
            a[0] + b[0], a[1] - b[1], a[2] + b[2], a[3] - b[3],
            a[4] + b[4], a[5] - b[5], a[6] + b[6], a[7] + b[7],
        )  # fmt: skip
    a0, a1, a2, a3 = _log_normal_cdf(eta)
    b0, b1, b2, b3 = _log_normal_cdf(-eta)
    n = m - y
    return y * a0 + n * b0, y * a1 - n * b1, y * a2 + n * b2, y * a3 - n * b3, 0.0, 0.0, 0.0, 0.0


@njit(cache=True, error_model="numpy")
def _rising(n: int, mu: float, nu: float, gamma: float) -> Any:
    """Return sum over j < n of log(mu + j gamma), mu the inverse logit of eta, nu = 1 - mu.

    With r = mu / (mu + j gamma) and s = j / (mu + j gamma), d mu / d eta = mu nu gives
    dr / d eta = nu r (1 - r), dr / d gamma = -r s. As r = 1 - gamma s, sums of s, s^2 and s^3
    suffice.
    """
    total, product = 0.0, 1.0
    s1, s2, s3 = 0.0, 0.0, 0.0
    for j in range(n):
        at = mu + j * gamma
        product *= at
        if product < 1e-150 or product > 1e150:  # one logarithm for many factors
            total += math.log(product)
            product = 1.0
        s = j / at
        square = s * s
        s1 += s
        s2 += square
        s3 += square * s
    total += math.log(product)
    g = gamma
    rs = s1 - g * s2
    rrs = rs - g * (s2 - g * s3)
    r1, spread, v = n - g * s1, g * rs, mu * nu  # sums of r, r (1 - r)
    d2 = nu * nu * spread - v * r1
    d3 = nu**3 * (spread - 2.0 * g * rrs) - 3.0 * v * nu * spread - v * (nu - mu) * r1
    return total, nu * r1, d2, d3, s1, -nu * rs, v * rs - nu * nu * (rs - 2.0 * rrs), -s2


@njit(cache=True, error_model="numpy")
def _negative_binomial(y: float, eta: float, alpha: float) -> Any:
    mu = math.exp(eta)
    z = alpha * mu
    r = 1.0 / (1.0 + z)
    mr = mu * r
    l0 = y * eta - y * math.log1p(z) - (math.log1p(z) / alpha if z > 0 else mu)
    if z < 0.05:  # h = (log(1 + z) - z / (1 + z)) / z^2 and its derivative, by their series
        h, dh, power = 0.5, 0.0, 1.0
        for k in range(1, 14):
            c = -power if k % 2 else power
            dh += c * k * (k + 1.0) / (k + 2.0)
            power *= z
            h += (-power if k % 2 else power) * (k + 1.0) / (k + 2.0)
    else:
        h = (math.log1p(z) - z * r) / (z * z)
        dh = (r * r - 2.0 * h) / z
    weight = mr * r * (1.0 + alpha * y)
    return (
        l0, (y - mu) * r, -weight, -weight * (1.0 - 2.0 * z * r),
        mu * mu * h - y * mr, -(y - mu) * mr * r, 2.0 * weight * mr - y * mr * r,
        mu**3 * dh + y * mr * mr,
    )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _log_normal_cdf(z: float) -> Any:
    """Return log Phi(z) and three derivatives; the ratio phi / Phi by its expansion far left."""
    if z > -20.0:
        p = 0.5 * math.erfc(-z * math.sqrt(0.5))
        log_p = math.log(p) if z < 5.0 else math.log1p(-0.5 * math.erfc(z * math.sqrt(0.5)))
        ratio = math.exp(-0.5 * z * z) / (p * math.sqrt(2.0 * math.pi))
        excess = ratio + z
    else:
        w = 1.0 / (z * z)
        series = 1.0 - w * (1.0 - 3.0 * w * (1.0 - 5.0 * w * (1.0 - 7.0 * w * (1.0 - 9.0 * w))))
        ratio = -z / series
        excess = ratio * w * (1.0 - 3.0 * w * (1.0 - 5.0 * w * (1.0 - 7.0 * w * (1.0 - 9.0 * w))))
        log_p = -0.5 * z * z - math.log(ratio) - 0.5 * math.log(2.0 * math.pi)
    d2 = -ratio * excess
    return log_p, ratio, d2, -d2 * excess - ratio * (1.0 + d2)
