r"""Population means of the cells of the reference grid, draw by draw.

In a cell with linear predictor :math:`\eta` the random terms add up to a normal deviation of
variance :math:`s^2 = \sum_k \tau_k^2 z_k^2`, whose groups are new ones; the mean is
:math:`\int g^{-1}(\eta + s u) \phi(u)\, du`, with closed forms or one-dimensional quadrature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import erfcx, ndtr

from ketastats.study.links import marginal_mean, recorded_mean

if TYPE_CHECKING:
    from ketastats.bayesian.likelihood import Likelihood
    from ketastats.bayesian.sampling import Draws
    from ketastats.problem.build import Problem

Own = Mapping[str, np.ndarray]
_STEP, _REACH = 0.1, 8.5
_NODES = _STEP * np.arange(-round(_REACH / _STEP), round(_REACH / _STEP) + 1)
_WEIGHTS = np.exp(-0.5 * _NODES**2) / np.exp(-0.5 * _NODES**2).sum()
"""The trapezoidal rule on the whole line; 2e-17 of the normal lies beyond."""


def linked(eta: np.ndarray, sd: np.ndarray, own: Own, rows: Likelihood) -> np.ndarray:
    """Average the inverse link; overdispersion does not move a mean.

    Parameters
    ----------
    eta, sd : numpy.ndarray, shape (n,)
        Linear predictor and SD of the deviations.
    own : mapping of str to numpy.ndarray, shape (n,)
    rows : Likelihood

    Returns
    -------
    numpy.ndarray, shape (n,)
        A mean per trial, or per unit of exposure.
    """
    return marginal_mean(eta, sd, rows.family.link)


def recorded(eta: np.ndarray, sd: np.ndarray, own: Own, rows: Likelihood) -> np.ndarray:
    """Mean of a normal value as recorded: at a bound beyond it, rounded on an integer scale.

    Parameters and result as for :func:`linked`.
    """
    if rows.scale is None:
        raise ValueError("a recorded mean needs a scale")
    return recorded_mean(eta, np.hypot(sd, own["sigma"]), rows.scale)


LARGEST = 300.0
"""What is further away counts as this far: e^300 times e^-300 is still a number."""


def scored(eta: np.ndarray, sd: np.ndarray, own: Own, rows: Likelihood) -> np.ndarray:
    r"""Mean score of ordered categories, averaged over the deviations.

    :math:`s_0 + \sum_k (s_k - s_{k-1}) \int \sigma(\eta + s u - c_k) \phi(u)\, du`. Parameters and
    result as for :func:`linked`.
    """
    odds = np.exp(-np.clip(sd[:, None] * _NODES, -LARGEST, LARGEST))
    cuts = np.exp(np.clip(own["cutpoints"] - eta[:, None], -LARGEST, LARGEST))
    mean = np.full(len(eta), rows.scores[0])
    for step, cut in zip(np.diff(rows.scores), cuts.T, strict=True):
        if step:
            mean += step * ((1 / (1 + cut[:, None] * odds)) @ _WEIGHTS)
    return mean


def truncated(eta: np.ndarray, sd: np.ndarray, own: Own, rows: Likelihood) -> np.ndarray:
    """Mean of a normal value inside the bounds, averaged over the deviations.

    Parameters and result as for :func:`linked`.
    """
    at, sigma = eta[:, None] + sd[:, None] * _NODES, own["sigma"][:, None]
    return np.asarray(truncated_mean(at, sigma, rows.low, rows.high) @ _WEIGHTS)


def truncated_mean(mean: np.ndarray, sigma: np.ndarray, low: float, high: float) -> np.ndarray:
    r"""Mean of a normal variable given that it lies inside bounds.

    :math:`\mu + \sigma (\phi(a) - \phi(b)) / (\Phi(b) - \Phi(a))` (Johnson, Kotz & Balakrishnan
    1994, *Continuous Univariate Distributions*, chapter 13), with a common factor
    :math:`e^{-a^2/2}` taken out where both bounds lie on one side.

    Parameters
    ----------
    mean, sigma : numpy.ndarray
        Of shapes that broadcast.
    low, high : float
        Infinite where there is none.
    """
    a, b = (low - mean) / sigma, (high - mean) / sigma
    mirrored = b < 0
    a, b = np.where(mirrored, -b, a), np.where(mirrored, -a, b)
    tail = a > 0
    near = np.where(tail, a, 0.0)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        rest = np.exp(-0.5 * (b - near) * (b + near))  # phi(b) / phi(a) in the tail
        far = np.where(np.isinf(b), 0.0, rest * erfcx(np.where(np.isinf(b), 0.0, b) / np.sqrt(2)))
        in_tail = np.sqrt(2 / np.pi) * (1 - rest) / (erfcx(near / np.sqrt(2)) - far)
        density = (np.exp(-0.5 * a * a) - np.exp(-0.5 * b * b)) / np.sqrt(2 * np.pi)
        around = density / (ndtr(b) - ndtr(a))
    shift = np.where(tail, in_tail, around)
    return np.clip(mean + sigma * np.where(mirrored, -shift, shift), low, high)


def cell_means(
    problem: Problem, draws: Draws, rows: Likelihood, matrix: np.ndarray, cells: np.ndarray
) -> np.ndarray:
    """Return the population mean of some cells in every draw.

    Parameters
    ----------
    problem : Problem
    draws : Draws
    rows : Likelihood
        Of a family whose means are not its linear predictors.
    matrix : numpy.ndarray, shape (cells, q)
        The whole reference grid over the coefficients.
    cells : numpy.ndarray of int, shape (k,)

    Returns
    -------
    numpy.ndarray, shape (chains, draws, k)
    """
    if rows.family.mean is None:
        raise ValueError(f"the means of the family {rows.family.name} are linear predictors")
    shape = draws.gamma.shape[:2]
    gamma = draws.gamma.reshape(-1, draws.gamma.shape[-1])
    variance = draws.sd.reshape(len(gamma), -1) ** 2
    own = rows.unpack(draws.own.reshape(len(gamma), -1))
    squares, share = patterns(problem)
    out = np.zeros((len(gamma), len(cells)))
    for j, cell in enumerate(cells):
        eta = gamma @ matrix[cell]
        for p in np.flatnonzero(share[cell]):
            sd = np.sqrt(variance @ squares[p])
            out[:, j] += share[cell, p] * rows.family.mean(eta, sd, own, rows)
    return out.reshape(*shape, len(cells))


def patterns(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return which random terms act in the cells, and how strongly.

    A term acts on the rows that belong to one of its groups. A slope acts with the value of its
    column: the mean, as in the reference grid, when the fixed part has it too, else as in the rows
    of the cell. A cell without rows takes those of the whole table.

    Returns
    -------
    squares : numpy.ndarray, shape (P, terms)
        The distinct squared designs among the rows.
    share : numpy.ndarray, shape (cells, P)
        Share of a cell's rows with each of them.
    """
    factors, means = problem.fixed.factors, dict(problem.fixed.covariates)
    z = np.zeros((len(problem.rows), len(problem.random)))
    for k, r in enumerate(problem.random):
        fixed = means.get(r.effects[0])
        z[:, k] = r.z[:, 0] if fixed is None else np.where(r.group >= 0, fixed, 0.0)
    squares, pattern = np.unique(z**2, axis=0, return_inverse=True)
    cell = np.zeros(len(z), dtype=np.int64)
    for name, levels in factors:  # the last factor of the grid runs fastest
        cell = cell * len(levels) + problem.fixed.codes[name]
    size = int(np.prod([len(levels) for _, levels in factors], dtype=int))
    count = np.zeros((size, len(squares)))
    np.add.at(count, (cell, pattern.ravel()), 1.0)
    count[count.sum(axis=1) == 0] = count.sum(axis=0)
    return squares, count / count.sum(axis=1, keepdims=True)
