"""REML over Cholesky factors: the way to singular random-slope covariances.

Steps in variances and covariances stall where a term's covariance matrix loses rank. There the
factors L of each term (Psi = L L'), the logarithms of residual variances and plain correlations
are free parameters, and the maximum is reached smoothly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

Terms = tuple[np.ndarray, ...]
"""Per random term the (k, k) positions of its parameters in theta."""


def feasible(theta: np.ndarray, terms: Terms) -> np.ndarray:
    """Whether every term's covariance matrix is positive semidefinite, shape (B,)."""
    good = np.ones(len(theta), dtype=bool)
    for index in terms:
        if index.shape[0] > 1:
            values = np.linalg.eigvalsh(theta[:, index])
            good &= values[:, 0] >= -1e-12 * np.maximum(values[:, -1], 1e-300)
    return good


def singular(theta: np.ndarray, terms: Terms) -> np.ndarray:
    """Which parameters belong to a term of several effects whose covariance lost rank, (B, R).

    An eigenvalue below 1e-7 of the largest is a zero to the accuracy of the search.
    """
    out = np.zeros(theta.shape, dtype=bool)
    for index in terms:
        if index.shape[0] > 1:
            values = np.linalg.eigvalsh(theta[:, index])
            out[:, np.unique(index)] = (values[:, 0] < 1e-7 * values[:, -1])[:, None]
    return out


def search(
    value_and_score: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    terms: Terms,
    positive: np.ndarray,
) -> tuple[np.ndarray, bool]:
    """Maximise over factors from a feasible start.

    Parameters
    ----------
    value_and_score : callable
        theta of shape (R,) to log-likelihood and score.
    start : numpy.ndarray, shape (R,)
    terms : tuple of numpy.ndarray
    positive : numpy.ndarray of bool, shape (R,)
        Residual variances, which move on the log scale.

    Returns
    -------
    theta : numpy.ndarray, shape (R,)
    converged : bool
    """
    inside = np.zeros(len(start), dtype=bool)
    for index in terms:
        inside[np.unique(index)] = True
    rest = np.flatnonzero(~inside)

    def unpack(phi: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        theta, at, factors = np.zeros(len(start)), 0, []
        for index in terms:
            k = len(index)
            lower = np.zeros((k, k))
            lower[np.tril_indices(k)] = phi[at : at + k * (k + 1) // 2]
            at += k * (k + 1) // 2
            theta[index] = lower @ lower.T
            factors.append(lower)
        tail = phi[at:]
        theta[rest] = np.where(positive[rest], np.exp(tail), tail)
        return theta, factors

    def objective(phi: np.ndarray) -> tuple[float, np.ndarray]:
        theta, factors = unpack(phi)
        value, score = value_and_score(theta)
        if not np.isfinite(value):
            return 1e10, np.zeros(len(phi))
        parts = []
        for index, lower in zip(terms, factors, strict=True):
            # theta holds each covariance once: halve its score to spread it over both corners
            s = score[index] * np.where(np.eye(len(index), dtype=bool), 1.0, 0.5)
            parts.append((2 * s @ lower)[np.tril_indices(len(index))])
        parts.append(score[rest] * np.where(positive[rest], theta[rest], 1.0))
        return -value, -np.concatenate(parts)

    phi0 = []
    for index in terms:
        psi = start[index] + 1e-10 * np.eye(len(index)) * max(float(np.trace(start[index])), 1e-8)
        phi0.append(np.linalg.cholesky(psi)[np.tril_indices(len(index))])
    phi0.append(np.where(positive[rest], np.log(np.maximum(start[rest], 1e-300)), start[rest]))
    options = {"gtol": 1e-9, "maxiter": 500}
    phi = np.concatenate(phi0)
    for _ in range(2):  # a second run forgets the first one's curvature
        phi = np.asarray(
            minimize(objective, phi, jac=True, method="BFGS", options=options).x  # type: ignore[call-overload]
        )
    theta, _ = unpack(phi)
    return theta, bool(np.max(np.abs(objective(phi)[1])) < 1e-4)
