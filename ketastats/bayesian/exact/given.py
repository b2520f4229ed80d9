r"""At given standard deviations in full: coefficients, rows, and independent blocks of rows.

With V of one block, :math:`C = V^{-1} X` and A the precision of the coefficients (see
:mod:`ketastats.bayesian.exact.nodes`), the precision of the rows themselves, coefficients
integrated out, is :math:`P = V^{-1} - C A^{-1} C'`, and
:math:`P (y - X m) = V^{-1} (y - X E[\beta \mid y])`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ketastats.bayesian.exact.linear import invert
from ketastats.bayesian.exact.nodes import Gaussian, block_sd, covariances, information
from ketastats.frequentist.moments import Moments, basis_of, blocks_by_size, patterns_of
from ketastats.problem.build import Problem, RandomDesign

TOGETHER = 1_000_000
"""Numbers in the largest array of one pass over nodes: 8 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Blocks of rows that have the same covariance.

    Attributes
    ----------
    rows : numpy.ndarray of int, shape (blocks, m)
    basis : numpy.ndarray, shape (R, m, m)
        Derivatives of their covariance.
    x : numpy.ndarray, shape (cells, m, q)
        Designs that occur.
    cell : numpy.ndarray of int, shape (blocks,)
        Which of them every block has.
    """

    rows: np.ndarray
    basis: np.ndarray
    x: np.ndarray
    cell: np.ndarray


def patterns(problem: Problem) -> tuple[Pattern, ...]:
    """Sort the independent blocks of a problem by their size, random-effect design and residual."""
    every = np.arange(len(problem.x))
    out = []
    for blocks in blocks_by_size(problem, every):
        for rows in patterns_of(problem, every, blocks):
            x = problem.x[rows]
            cell = _kinds(x.reshape(len(rows), -1))
            first = np.unique(cell, return_index=True)[1]
            out.append(Pattern(rows, basis_of(problem, rows[0]), x[first], cell))
    return tuple(out)


def _kinds(key: np.ndarray) -> np.ndarray:
    """Return which of the distinct rows of an array each row is, (rows,)."""
    return np.unique(key, axis=0, return_inverse=True)[1].ravel()


def passes(found: tuple[Pattern, ...], q: int, count: int) -> Iterator[slice]:
    """Split nodes so that no array of a pass is large."""
    largest = max(q * q, *(p.x.shape[0] * p.x.shape[1] * max(q, p.x.shape[1]) for p in found),
                  sum(p.rows.size for p in found))  # fmt: skip
    step = max(1, TOGETHER // largest)
    for i in range(0, count, step):
        yield slice(i, i + step)


def coefficients(
    model: Gaussian, moments: Moments, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the posterior of the coefficients at J nodes, of the first outcome.

    Parameters
    ----------
    model : Gaussian
    moments : Moments
    values : numpy.ndarray, shape (J, axes)

    Returns
    -------
    mean : numpy.ndarray, shape (J, q)
        In standard units.
    half : numpy.ndarray, shape (J, q, q)
        H with A^-1 = H H'.
    """
    a, right, _, _ = information(model, moments, covariances(model, values), np.zeros(1, dtype=int))
    # in units of their prior SD, which may be 0, as in nodes.at_nodes
    shift, own = moments.shift[0].copy(), np.zeros(moments.q)
    unit, one = np.ones((len(values), moments.q)), np.zeros(moments.q)
    for block in model.blocks:
        columns = block.columns
        own[columns], shift[columns], one[columns] = shift[columns], 0.0, 1.0
        unit[:, columns] = block_sd(block, values)[:, None]
    right = (right[0] + a @ own + model.precision @ (model.location - shift)) * unit
    a = (a + model.precision) * (unit[:, :, None] * unit[:, None, :]) + np.diag(one)
    root = np.linalg.cholesky(a)
    half = np.swapaxes(np.linalg.solve(root, np.broadcast_to(np.eye(a.shape[1]), a.shape)), 1, 2)
    mean = (half @ (np.swapaxes(half, 1, 2) @ right[:, :, None]))[:, :, 0]
    return shift + unit * mean, unit[:, :, None] * half


def inverse(pattern: Pattern, theta: np.ndarray) -> np.ndarray:
    """Return V^-1 of a pattern's blocks, (J, m, m), from variances and covariances (J, R)."""
    r, m, _ = pattern.basis.shape
    v = (theta @ pattern.basis.reshape(r, -1)).reshape(-1, m, m)
    invert(v)
    return v


def weighted_rows(
    found: tuple[Pattern, ...], inverses: list[np.ndarray], rest: np.ndarray
) -> np.ndarray:
    """Return V^-1 times deviations of all rows, (J, rows).

    Parameters
    ----------
    found : tuple of Pattern
    inverses : list of numpy.ndarray, shape (J, m, m) each
    rest : numpy.ndarray, shape (J, rows)
    """
    out = np.zeros_like(rest)
    for p, v in zip(found, inverses, strict=True):
        out[:, p.rows] = rest[:, p.rows] @ v
    return out


def flat_directions(model: Gaussian) -> np.ndarray:
    """Return a basis of the coefficients without a prior, (q, flat)."""
    scaled = [c for b in model.blocks for c in b.columns]
    size = np.sqrt(np.diag(model.precision))
    none = np.setdiff1d(np.flatnonzero(size == 0), scaled)
    used = np.flatnonzero(size > 0)
    alike = model.precision[np.ix_(used, used)] / np.outer(size[used], size[used])
    _, vectors = np.linalg.eigh(alike)  # eigenvalues rise, those of flat directions are zero
    out = np.zeros((len(size), model.flat))
    out[none, np.arange(len(none))] = 1.0
    out[np.ix_(used, np.arange(len(none), model.flat))] = (
        vectors[:, : model.flat - len(none)] / size[used, None]
    )
    return out


def roots(model: Gaussian, parameters: np.ndarray) -> list[np.ndarray]:
    r"""Return the lower Cholesky factor of every random term's covariance, (n, k, k) each.

    Of two effects :math:`(\tau_1, 0; \rho \tau_2, \sqrt{1 - \rho^2}\, \tau_2)`, which an SD of
    zero does not hurt.

    Parameters
    ----------
    model : Gaussian
    parameters : numpy.ndarray, shape (n, axes)
    """
    out, at = [], 0
    for r in model.problem.random:
        k = len(r.effects)
        own = model.parameters[at : at + len(r.parameters)]
        at += len(own)
        root = np.zeros((len(parameters), k, k))
        root[:, 0, 0] = parameters[:, own[0][0]]
        if k == 2:
            rho, sd = parameters[:, own[1][0]], parameters[:, own[2][0]]
            root[:, 1, 0], root[:, 1, 1] = rho * sd, np.sqrt(1 - rho**2) * sd
        out.append(root)
    return out


def residual_sds(model: Gaussian, parameters: np.ndarray) -> np.ndarray:
    """Return the residual SD of every row, (n, rows)."""
    structure, level = model.problem.residual.structure, model.problem.residual.level
    own = covariances(model, parameters)[:, -len(structure.names) :]
    of_level = np.einsum("rkk->rk", structure.basis())
    return np.asarray(np.sqrt(own @ of_level)[:, level])


def at_rows(r: RandomDesign, effects: np.ndarray) -> np.ndarray:
    """Return Z u, (n, rows), of effects (n, groups, effects)."""
    out = np.zeros((len(effects), len(r.z)))
    for i in range(len(r.effects)):
        out += effects[:, np.maximum(r.group, 0), i] * r.z[:, i]
    return out


def of_groups(r: RandomDesign, rows: np.ndarray) -> np.ndarray:
    """Return Z' w, (n, groups, effects), of numbers per row, (n, rows)."""
    out = np.zeros((len(r.levels), len(r.effects), len(rows)))
    inside = r.group >= 0
    for i in range(len(r.effects)):
        np.add.at(out[:, i], r.group[inside], (rows * r.z[:, i]).T[inside])
    return out.transpose(2, 0, 1)
