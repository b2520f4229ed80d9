r"""Densities of rows given the others, at given standard deviations: functions on arrays.

With P the precision of all rows, coefficients integrated out, and :math:`g = P (y - X m)` (see
:mod:`ketastats.bayesian.exact.given`), rows S given the others are normal with covariance
:math:`P_{SS}^{-1}` around :math:`y_S - P_{SS}^{-1} g_S` (Sundararajan & Keerthi 2001, Neural
Comput 13:1103).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ketastats.bayesian.exact.given import (
    Pattern,
    coefficients,
    flat_directions,
    inverse,
    passes,
    patterns,
    weighted_rows,
)
from ketastats.bayesian.exact.linear import invert
from ketastats.bayesian.exact.nodes import Gaussian, covariances
from ketastats.frequentist.moments import Moments

ALONE = 1e-9
"""How near to 1 the leverage of rows is that decide a flat coefficient alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Alike:
    """Units of rows that have the same place in blocks of the same pattern.

    Attributes
    ----------
    local : numpy.ndarray of int, shape (s,)
        Rows within the block.
    rows : numpy.ndarray of int, shape (units, s)
    units : numpy.ndarray of int, shape (units,)
    cells : numpy.ndarray of int, shape (cells,)
        Designs of their blocks, of those of the pattern.
    cell : numpy.ndarray of int, shape (units,)
        Which of ``cells`` every unit has.
    """

    local: np.ndarray
    rows: np.ndarray
    units: np.ndarray
    cells: np.ndarray
    cell: np.ndarray


def sort_units(p: Pattern, unit: np.ndarray) -> list[Alike]:
    """Sort the units of one pattern's blocks.

    Parameters
    ----------
    p : Pattern
    unit : numpy.ndarray of int, shape (rows,)
        Of every row, -1 for none; all rows of a unit are in one block.
    """
    found: dict[tuple[int, ...], list[tuple[int, np.ndarray, int]]] = {}
    for rows, cell in zip(p.rows, p.cell.tolist(), strict=True):
        own = unit[rows]
        for u in dict.fromkeys(own[own >= 0].tolist()):
            local = np.flatnonzero(own == u)
            found.setdefault(tuple(local.tolist()), []).append((u, rows[local], cell))
    out = []
    for place, some in found.items():
        units, rows_of, cell_of = (np.array(v) for v in zip(*some, strict=True))
        cells, cell = np.unique(cell_of, return_inverse=True)
        out.append(Alike(np.array(place), rows_of, units, cells, cell.ravel()))
    return out


def log_densities(
    model: Gaussian, moments: Moments, y: np.ndarray, values: np.ndarray, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the log density of every unit given all other rows, at J nodes.

    Parameters
    ----------
    model : Gaussian
    moments : Moments
        Of y alone.
    y : numpy.ndarray, shape (rows,)
    values : numpy.ndarray, shape (J, axes)
    unit : numpy.ndarray of int, shape (rows,)
        From 0 on, -1 for rows in none; all rows of a unit are in one independent block.

    Returns
    -------
    log : numpy.ndarray, shape (J, units)
    z : numpy.ndarray, shape (J, units)
        Distance of each unit's first row from its mean given all other rows, in SDs.
    """
    x = model.problem.x
    shape = (len(values), int(unit.max()) + 1)
    log, z = np.empty(shape), np.empty(shape)
    sorted_units = [(p, sort_units(p, unit)) for p in patterns(model.problem)]
    found = [(p, alike) for p, alike in sorted_units if alike]
    whole = tuple(p for p, _ in found)
    for some in passes(whole, x.shape[1], len(values)):
        theta = covariances(model, values[some])
        beta, half = coefficients(model, moments, values[some])
        rest = y - beta @ x.T
        inverses = [inverse(p, theta) for p in whole]
        pull = weighted_rows(whole, inverses, rest)
        for (p, alike), v in zip(found, inverses, strict=True):
            c = v[:, None] @ p.x @ half[:, None]  # (J, cells, m, q)
            for a in alike:
                own = c[:, a.cells][:, :, a.local]
                precision = v[:, a.local][:, :, a.local][:, None] - own @ np.swapaxes(own, 2, 3)
                found_here = _densities(precision, a.cell, pull[:, a.rows])
                log[some, a.units], z[some, a.units] = found_here
    return log, z


def _densities(
    precision: np.ndarray, cell: np.ndarray, pull: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return log densities and distances of units that are alike, (J, units) each.

    Parameters
    ----------
    precision : numpy.ndarray, shape (J, cells, s, s)
        P_SS.
    cell : numpy.ndarray of int, shape (units,)
    pull : numpy.ndarray, shape (J, units, s)
        g.
    """
    j, cells, s, _ = precision.shape
    alone = precision[:, :, 0, 0]
    covariance = precision.reshape(-1, s, s).copy()
    logdet = invert(covariance).reshape(j, cells)
    moved = np.matmul(covariance.reshape(j, cells, s, s)[:, cell], pull[:, :, :, None])[:, :, :, 0]
    quad = (moved * pull).sum(axis=2)
    log = 0.5 * (logdet[:, cell] - s * np.log(2 * np.pi) - quad)
    return log, pull[:, :, 0] / np.sqrt(alone[:, cell])


def decide_alone(model: Gaussian, unit: np.ndarray) -> np.ndarray:
    """Return which units leave a flat coefficient open when they are left out, (units,)."""
    out = np.zeros(int(unit.max()) + 1, dtype=bool)
    if not model.flat:
        return out
    basis = np.linalg.qr(model.problem.x @ flat_directions(model))[0]
    order = np.argsort(unit, kind="stable")
    ends = np.cumsum(np.bincount(unit))
    for u, rows in enumerate(np.split(order, ends[:-1])):
        out[u] = np.linalg.norm(basis[rows], 2) ** 2 > 1 - ALONE
    return out
