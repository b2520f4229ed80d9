r"""Axes of the quadrature: a parameter, its prior, and the variable that is evenly spaced.

Given the standard deviations the coefficients are normal, so that only SDs (and a correlation, or
the scale of a prior) are integrated numerically. On each axis the trapezoidal rule runs over a
variable t in which the integrand is smooth and falls off on both sides; the rule then converges
exponentially (Trefethen & Weideman 2014, SIAM Review 56:385). The maps:

``even``
    :math:`\tau = c \sinh t`, for an SD whose prior continues evenly through 0 (half-normal,
    half-t). The likelihood depends on :math:`\tau^2`, so the integrand is even in t and half a
    line with half a weight at 0 serves.
``end``
    :math:`\tau = c \exp(t - e^{-t})`, for an SD whose prior has a kink at 0 (exponential): the
    double-exponential map of the half line (Takahasi & Mori 1974, Publ. RIMS 9:721).
``log``
    :math:`\sigma = c e^t`, for the residual: the likelihood itself vanishes at 0.
``correlation``
    :math:`\rho = \tanh(\tfrac{\pi}{2} \sinh t)`.
``ratio``
    :math:`c \exp(t + e^t)`, for the scale of a Cauchy prior: its density falls algebraically above
    and like :math:`\exp(-r^2 / 2 s^2)` below, so that only the upper side is stretched twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from ketastats.study.priors import Prior

MAPS = ("even", "end", "log", "correlation", "ratio")


@dataclass(frozen=True, slots=True)
class Axis:
    """One parameter that is integrated numerically.

    Attributes
    ----------
    name : str
        ``sd subject``.
    map : str
        One of :data:`MAPS`.
    unit : float
        c above; 1 for a correlation.
    prior : Prior
        Of the parameter, in its own units.
    """

    name: str
    map: str
    unit: float
    prior: Prior


def sd_axis(name: str, prior: Prior, unit: float) -> Axis:
    """Return the axis of the SD of a random term or of effects."""
    return Axis(name, "end" if prior.family == "exponential" else "even", unit, prior)


def values(axis: Axis, t: np.ndarray) -> np.ndarray:
    """Return the parameter at t; same shape."""
    if axis.map == "even":
        return np.asarray(axis.unit * np.sinh(t))
    if axis.map == "end":
        return np.asarray(axis.unit * np.exp(t - np.exp(-t)))
    if axis.map == "log":
        return np.asarray(axis.unit * np.exp(t))
    if axis.map == "ratio":
        return np.asarray(axis.unit * np.exp(t + np.exp(t)))
    return np.asarray(np.tanh(0.5 * np.pi * np.sinh(t)))


def places(axis: Axis, value: np.ndarray) -> np.ndarray:
    """Return t where the parameter has a value: the inverse of :func:`values`."""
    if axis.map == "even":
        return np.asarray(np.arcsinh(value / axis.unit))
    if axis.map == "log":
        return np.asarray(np.log(value / axis.unit))
    if axis.map == "correlation":
        return np.asarray(np.arcsinh(np.arctanh(value) * 2 / np.pi))
    log = np.log(np.asarray(value, dtype=np.float64) / axis.unit)
    if axis.map == "ratio":  # t + exp(t) is minus the other at -t
        return -_inverse(-log)
    return _inverse(log)


def _inverse(log: np.ndarray) -> np.ndarray:
    """Return t where t - exp(-t) has a value."""
    t = np.where(log > -1.0, log, -np.log(np.maximum(-log, 1.0)))
    for _ in range(60):  # Newton; t - exp(-t) is concave and rises
        t = t - (t - np.exp(-t) - log) / (1 + np.exp(-t))
    return np.asarray(t)


def log_jacobian(axis: Axis, t: np.ndarray) -> np.ndarray:
    """Return the log of the derivative of :func:`values`."""
    if axis.map == "even":
        return np.asarray(np.log(axis.unit) + np.log(np.cosh(t)))
    if axis.map == "end":
        return np.asarray(np.log(axis.unit) + t - np.exp(-t) + np.log1p(np.exp(-t)))
    if axis.map == "log":
        return np.asarray(np.log(axis.unit) + t)
    if axis.map == "ratio":
        return np.asarray(np.log(axis.unit) + t + np.exp(t) + np.log1p(np.exp(t)))
    return np.asarray(np.log(0.5 * np.pi * np.cosh(t)) - 2 * log_cosh(0.5 * np.pi * np.sinh(t)))


def log_cosh(x: np.ndarray) -> np.ndarray:
    """Return log(cosh(x)) without overflow."""
    a = np.abs(x)
    return np.asarray(a + np.log1p(np.exp(-2 * a)) - np.log(2.0))


def log_weights(axis: Axis, t: np.ndarray) -> np.ndarray:
    """Return the log prior density of t: that of the parameter times the derivative of the map."""
    if axis.map == "correlation":  # (1 - rho^2) = sech^2, kept in logarithms near +-1
        (eta,) = axis.prior.parameters
        log_rest = -2 * log_cosh(0.5 * np.pi * np.sinh(t))
        const = gammaln(2 * eta) - 2 * gammaln(eta) - (2 * eta - 1) * np.log(2.0)
        return np.asarray(const + eta * log_rest + np.log(0.5 * np.pi * np.cosh(t)))
    return log_prior(axis.prior, values(axis, t)) + log_jacobian(axis, t)


def log_prior(prior: Prior, value: np.ndarray) -> np.ndarray:
    r"""Return the log density of a prior at values of its parameter.

    half-normal, half-t, exponential on an SD; ``jeffreys`` is :math:`1 / \sigma` and improper;
    ``lkj(eta)`` is :math:`\propto (1 - \rho^2)^{\eta - 1}` (Lewandowski, Kurowicka & Joe 2009, J
    Multivariate Anal 100:1989); ``inverse-root-gamma(r)`` is the density of :math:`\sqrt g` where
    :math:`g \sim \mathrm{InvGamma}(1/2, r^2/2)`: a normal with that SD is Cauchy(0, r) (Rouder et
    al. 2009, Psychon Bull Rev 16:225).
    """
    v = np.asarray(value, dtype=np.float64)
    scale = prior.parameters[-1] if prior.parameters else 1.0
    with np.errstate(divide="ignore", over="ignore"):
        if prior.family == "half-normal":
            out = 0.5 * np.log(2 / np.pi) - np.log(scale) - 0.5 * (v / scale) ** 2
        elif prior.family == "exponential":
            out = -np.log(scale) - v / scale
        elif prior.family == "half-t":
            df = prior.parameters[0]
            const = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * np.log(df * np.pi)
            out = np.log(2.0) + const - np.log(scale)
            out = out - 0.5 * (df + 1) * np.log1p((v / scale) ** 2 / df)
        elif prior.family == "jeffreys":
            out = -np.log(v)
        elif prior.family == "inverse-root-gamma":
            out = 0.5 * np.log(2 / np.pi) + np.log(scale) - 2 * np.log(v) - 0.5 * (scale / v) ** 2
        else:
            raise ValueError(f"no density for {prior}")
    return np.asarray(out)
