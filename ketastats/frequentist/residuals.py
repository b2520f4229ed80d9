"""Residuals and predicted random deviations of a fit."""

from __future__ import annotations

import numpy as np

from ketastats.frequentist.moments import basis_of
from ketastats.problem.build import Problem


def block_covariance(problem: Problem, theta: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return V of some rows of one block, shape (m, m).

    Parameters
    ----------
    problem : Problem
    theta : numpy.ndarray, shape (R,)
    rows : numpy.ndarray of int
    """
    basis = basis_of(problem, rows)
    v = np.einsum("r,rij->ij", theta[: len(basis)], basis)
    residual = problem.residual
    if not residual.structure.linear:
        v = v + residual_covariance(problem, theta, rows)
    return v


def residual_covariance(problem: Problem, theta: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the residual part of V, shape (m, m)."""
    residual = problem.residual
    own = theta[len(theta) - len(residual.structure.names) :]
    c, _, _ = residual.structure.evaluate(own[None])
    level = residual.level[rows]
    return c[0][np.ix_(level, level)] * residual.same(rows)


def residuals(
    problem: Problem, y: np.ndarray, beta: np.ndarray, theta: np.ndarray, kind: str
) -> np.ndarray:
    r"""Return residuals, shape (rows,).

    Parameters
    ----------
    problem : Problem
    y : numpy.ndarray, shape (rows,)
    beta : numpy.ndarray, shape (q,)
    theta : numpy.ndarray, shape (R,)
    kind : str
        ``raw``: :math:`y - X\hat\beta`; ``conditional``: :math:`y - X\hat\beta - Z\hat u =
        \hat R \hat V^{-1}(y - X\hat\beta)` (Robinson 1991, Stat Sci 6:15); ``scaled``:
        :math:`\hat L^{-1}(y - X\hat\beta)` with :math:`\hat V = LL'`, uncorrelated with variance 1.
    """
    marginal = y - problem.x @ beta
    if kind == "raw":
        return marginal
    out = np.empty_like(marginal)
    for b in np.unique(problem.block):
        rows = np.flatnonzero(problem.block == b)
        v = block_covariance(problem, theta, rows)
        if kind == "scaled":
            out[rows] = np.linalg.solve(np.linalg.cholesky(v), marginal[rows])
        else:
            r = residual_covariance(problem, theta, rows)
            out[rows] = r @ np.linalg.solve(v, marginal[rows])
    return out
