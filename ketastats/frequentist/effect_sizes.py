"""Standardised sizes of a contrast: raw units first, then by three named SDs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ketastats.frequentist.reml import RemlFit
from ketastats.frequentist.residuals import block_covariance, residual_covariance
from ketastats.frequentist.small_sample import parameter_covariance
from ketastats.problem.build import Problem


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """A standard deviation read off the fit: its square is linear in the parameters nearby."""

    name: str
    variance: float
    gradient: np.ndarray


def spreads(problem: Problem, theta: np.ndarray) -> tuple[Spread, ...]:
    """Return the residual, the within-unit and the total SD of a single row, averaged over rows.

    ``within`` leaves out what the rows of the largest unit share: the first random intercept.
    """

    def mean_variances(values: np.ndarray) -> np.ndarray:
        total, residual, first = 0.0, 0.0, 0.0
        for b in np.unique(problem.block):
            rows = np.flatnonzero(problem.block == b)
            total += float(np.trace(block_covariance(problem, values, rows)))
            residual += float(np.trace(residual_covariance(problem, values, rows)))
            if problem.random:
                first += float((problem.random[0].z[rows, 0] ** 2).sum() * values[0])
        n = len(problem.x)
        return np.array([residual, total - first, total]) / n

    at = mean_variances(theta)
    step = 1e-6 * np.maximum(np.abs(theta), np.abs(theta).max())
    gradient = np.stack(
        [
            (mean_variances(theta + h * e) - mean_variances(theta - h * e)) / (2 * h)
            for h, e in zip(step, np.eye(len(theta)), strict=True)
        ],
        axis=1,
    )
    names = ("residual SD", "within-unit SD", "total SD")
    return tuple(Spread(n, float(v), g) for n, v, g in zip(names, at, gradient, strict=True))


def standardised(fit: RemlFit, spread: Spread, estimate: float, se: float) -> tuple[float, float]:
    r"""Return d = estimate / SD and its standard error by the delta method.

    :math:`var(d) = se^2/s^2 + d^2 var(s^2) / (4 s^4)`, the estimate and the variances being
    independent to first order under REML.
    """
    s2 = spread.variance
    d = estimate / np.sqrt(s2)
    w = parameter_covariance(fit, "observed", "leave out")[0]
    var_s2 = float(spread.gradient @ w @ spread.gradient)
    return float(d), float(np.sqrt(se**2 / s2 + d**2 * var_s2 / (4 * s2**2)))
