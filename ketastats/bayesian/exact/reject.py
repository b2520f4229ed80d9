r"""Draws of SDs, correlations and scales from their posterior, by rejection.

On an even-spaced lattice the multilinear interpolation of the density at the nodes is a mixture of
tents: a node drawn by its probability and, on every axis, a triangular deviation of up to one
spacing. The lattice of the quadrature is fine enough that the posterior exceeds this density by a
factor of little more than 1 (Devroye 1986, Non-Uniform Random Variate Generation, II.3). A small
share of the proposals comes from tents over the square root of the density, spread to neighbours:
they cover what lies just beyond the nodes. The factor is the largest that any proposal or centre of
a heavy cell has had; when one exceeds it all proposals are judged anew (Caffo, Booth & Davis 2002,
Biometrika 89:745).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter

from ketastats.bayesian.exact.axes import Axis, log_weights, values
from ketastats.bayesian.exact.integrate import Part
from ketastats.bayesian.exact.search import LIMITS, spacing
from ketastats.core.errors import DataError

SHARE = 0.05
"""Of the proposals that come from the spread tents."""
HEAVY = 64
"""Nodes around which the cells' centres are tried first."""
FEWEST = 100
"""Proposals per draw after which to give up."""
MARGIN = 1.02
"""Between the largest factor seen and the one used."""

LogDensity = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class Tents:
    """A density that is multilinear between the nodes of a lattice.

    Attributes
    ----------
    axes : tuple of Axis
    spacing : numpy.ndarray, shape (axes,)
    first : numpy.ndarray of int, shape (axes,)
        First node of ``height``.
    mirrored : numpy.ndarray of bool, shape (axes,)
        Where the density goes on evenly below 0.
    height : numpy.ndarray
        Density times the volume of a cell; zero at both ends of every axis.
    mass : numpy.ndarray
        Probability of every node's tent.
    """

    axes: tuple[Axis, ...]
    spacing: np.ndarray
    first: np.ndarray
    mirrored: np.ndarray
    height: np.ndarray
    mass: np.ndarray


def tents(axes: tuple[Axis, ...], part: Part) -> Tents:
    """Return the proposal for the first outcome of a part."""
    level, low, _ = part.rectangle
    mirrored = np.array([a.map == "even" for a in axes]) & (low == 0)
    pad = [(0 if m else 2, 2) for m in mirrored]
    weight = np.zeros(part.nodes.shape)
    weight.flat[part.nodes.at] = part.weight[0]
    share = np.ones(weight.ndim * (1,))
    for a in np.flatnonzero(mirrored):
        half = np.ones(weight.shape[a] + 2)
        half[0] = 0.5
        share = share * half.reshape([-1 if i == a else 1 for i in range(weight.ndim)])
    height = np.pad(weight, pad)
    height /= share
    wide = maximum_filter(np.sqrt(height), 3, mode="constant")
    height = (1 - SHARE) * height + SHARE * wide / (wide * share).sum()
    return Tents(
        axes, spacing(level), np.where(mirrored, low, low - 2), mirrored, height, height * share
    )


def propose(tent: Tents, rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw places on the lattice, in spacings, (n, axes)."""
    total = np.cumsum(tent.mass.ravel())
    at = np.minimum(np.searchsorted(total, rng.random(n) * total[-1], side="right"), len(total) - 1)
    node = np.stack(np.unravel_index(at, tent.mass.shape), axis=1) + tent.first
    offset = rng.random((n, len(tent.axes))) + rng.random((n, len(tent.axes))) - 1
    place = node + offset
    return np.where(tent.mirrored, np.abs(place), place)


def log_height(tent: Tents, place: np.ndarray) -> np.ndarray:
    """Return the log density at places, in variables t, (n,)."""
    inside = place - tent.first
    base = np.floor(inside).astype(np.int64)
    base = np.clip(base, 0, np.array(tent.height.shape) - 2)
    beyond = np.clip(inside - base, 0.0, 1.0)
    out = np.zeros(len(place))
    for corner in itertools.product((0, 1), repeat=base.shape[1]):
        weight = np.prod(np.where(corner, beyond, 1 - beyond), axis=1)
        out += weight * tent.height[tuple((base + corner).T)]
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(out) - np.log(tent.spacing).sum())


def _log_ratio(tent: Tents, log_density: LogDensity, place: np.ndarray) -> np.ndarray:
    """Return the log of the posterior over the proposal, (n,), each up to its constant."""
    t = place * tent.spacing
    ends = np.array([LIMITS[a.map] for a in tent.axes])
    inside = ((t >= ends[:, 0]) & (t <= ends[:, 1])).all(axis=1)
    out = np.full(len(t), -np.inf)
    if not inside.any():
        return out
    t = t[inside]
    log = log_density(in_parameters(tent.axes, t))
    log = log + sum(log_weights(a, t[:, i]) for i, a in enumerate(tent.axes))
    height = log_height(tent, place[inside])
    never = np.isnan(log) | (height == -np.inf)  # places without height are not proposed
    out[inside] = np.where(never, -np.inf, log) - np.where(never, 0.0, height)
    return out


def in_parameters(axes: tuple[Axis, ...], t: np.ndarray) -> np.ndarray:
    """Return the parameters at t, both (n, axes)."""
    return np.stack([values(a, t[:, i]) for i, a in enumerate(axes)], axis=1)


def _centres(tent: Tents) -> np.ndarray:
    """Return the centres of the cells around the heaviest nodes, (n, axes)."""
    heavy = np.argsort(tent.mass.ravel())[-HEAVY:]
    node = np.stack(np.unravel_index(heavy, tent.mass.shape), axis=1) + tent.first
    offsets = np.array(list(itertools.product((-0.5, 0.0, 0.5), repeat=len(tent.axes))))
    offsets = offsets[(offsets != 0).any(axis=1)]
    place = np.unique((node[:, None] + offsets).reshape(-1, len(tent.axes)), axis=0)
    return place[~((place < 0) & tent.mirrored).any(axis=1)]


def reject(
    tent: Tents, log_density: LogDensity, rng: np.random.Generator, n: int
) -> tuple[np.ndarray, float]:
    """Draw parameters from their posterior.

    Parameters
    ----------
    tent : Tents
    log_density : callable
        Parameters (n, axes) to the log density of the data, (n,).
    rng : numpy.random.Generator
    n : int

    Returns
    -------
    parameters : numpy.ndarray, shape (n, axes)
    acceptance : float
        Share of the proposals that were taken.
    """
    bound = float(_log_ratio(tent, log_density, _centres(tent)).max()) + np.log(MARGIN)
    places, ratios, uniforms = np.empty((0, len(tent.axes))), np.empty(0), np.empty(0)
    rate, taken = 0.7, np.empty(0, dtype=bool)
    while taken.sum() < n:
        if len(places) > FEWEST * (n + 10_000):
            raise DataError(
                f"not 1 in {FEWEST} proposals is taken: the nodes do not cover the posterior",
                mend="ask for a smaller tolerance or use ks.mcmc",
            )
        more = int((n - taken.sum()) / rate * 1.1) + 50
        place = propose(tent, rng, more)
        places = np.concatenate([places, place])
        ratios = np.concatenate([ratios, _log_ratio(tent, log_density, place)])
        uniforms = np.concatenate([uniforms, rng.random(more)])
        bound = max(bound, float(ratios.max()) + np.log(MARGIN))
        taken = uniforms < np.exp(ratios - bound)
        rate = max(float(taken.mean()), 0.01)
    chosen = places[np.flatnonzero(taken)[:n]]
    return in_parameters(tent.axes, chosen * tent.spacing), float(taken.mean())
