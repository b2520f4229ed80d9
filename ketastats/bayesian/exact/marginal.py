r"""Posteriors of what is on the axes: SDs, correlations, shares of variance.

On an even-spaced lattice a smooth density is the sum of its values times sinc functions (the
cardinal series), whose integral is :math:`S(x) = \tfrac12 + \mathrm{Si}(\pi x) / \pi`. The lattice
of the quadrature is twice as coarse as this needs, so that the axis asked for is refined first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.special import sici

from ketastats.bayesian.exact.axes import Axis, log_jacobian, places, values
from ketastats.bayesian.exact.integrate import Part, Quadrature
from ketastats.bayesian.exact.search import (
    FINEST,
    LIMITS,
    groups_of,
    nodes_near,
    spacing,
)

HALVED = 2
"""Lattices finer than the quadrature's: half its spacing."""


@lru_cache(maxsize=8)
def refined(quadrature: Quadrature, axis: int) -> tuple[Part, ...]:
    """Integrate with one axis refined, in parts of outcomes that share nodes; kept for a while."""
    r = quadrature.rectangles
    out = []
    for members, rectangle in groups_of(r.state):
        fine = rectangle.copy()
        if fine[0, axis] + HALVED <= FINEST:
            fine[0, axis] += HALVED
            fine[1:, axis] *= 2
        nodes = nodes_near(quadrature.model.axes, fine, [r.seen[i] for i in members])
        out.append(quadrature.part(members, fine, nodes))
    return tuple(out)


def masses(part: Part, axis: int) -> np.ndarray:
    """Return the posterior mass at every node of one axis, (B, n)."""
    index = np.unravel_index(part.nodes.at, part.nodes.shape)[axis]
    out = np.zeros((part.nodes.shape[axis], len(part.weight)))
    np.add.at(out, index, part.weight.T)
    return out.T


def step(x: np.ndarray) -> np.ndarray:
    """Return the integral of the sinc function up to x."""
    return np.asarray(0.5 + sici(np.pi * x)[0] / np.pi)


def cumulative(axis: Axis, level: int, low: int, mass: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the mass below t on an axis, (B,).

    Parameters
    ----------
    axis : Axis
    level, low : int
        Lattice, and first node on it.
    mass : numpy.ndarray, shape (B, n)
    t : numpy.ndarray, shape (B,)
    """
    k = low + np.arange(mass.shape[1])
    u = (t / float(spacing(level)))[:, None]
    below = step(u - k)
    if axis.map == "even":  # the density goes on evenly below 0
        below = below - step(-1.0 * k) + step(u + k) - step(1.0 * k)
    return np.asarray(np.clip((mass * below).sum(axis=1), 0.0, mass.sum(axis=1)))


def density(axis: Axis, level: int, low: int, mass: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return the density of the parameter at some values, (X,), from the masses of one outcome."""
    t, h = places(axis, value), float(spacing(level))
    k, u = low + np.arange(len(mass)), (t / h)[:, None]
    basis = np.sinc(u - k) + (np.sinc(u + k) if axis.map == "even" else 0.0)
    return np.asarray(np.maximum(basis @ mass, 0.0) / h * np.exp(-log_jacobian(axis, t)))


def invert(
    below: Callable[[np.ndarray], np.ndarray], p: np.ndarray, low: float, high: float
) -> np.ndarray:
    """Return where a distribution function has the values p, by bisection between two ends."""
    a, b = np.full(len(p), low), np.full(len(p), high)
    for _ in range(60):
        middle = 0.5 * (a + b)
        above = below(middle) > p
        a, b = np.where(above, a, middle), np.where(above, middle, b)
    return 0.5 * (a + b)


def axis_mean(axis: Axis, part: Part, index: int) -> float:
    """Return the posterior mean of the parameter of the first outcome of a part.

    An SD is a kinked function of t at 0, where the plain sum errs by the square of the spacing: the
    cardinal series is integrated over the half line by Gauss-Legendre instead.
    """
    level, low, high = part.rectangle[:, index].tolist()
    mass, h = masses(part, index)[0], float(spacing(level))
    k = low + np.arange(len(mass))
    if axis.map != "even":
        return float(mass @ values(axis, h * k))
    x, w = np.polynomial.legendre.leggauss(10)
    u = (np.arange(0, high + 2)[:, None] + 0.5 + 0.5 * x).ravel()[:, None]
    density = (np.sinc(u - k) + np.sinc(u + k)) @ mass
    return float((np.tile(0.5 * w, high + 2) * values(axis, h * u[:, 0])) @ density)


def axis_quantiles(axis: Axis, part: Part, index: int, p: np.ndarray) -> np.ndarray:
    """Return quantiles of the parameter of the first outcome of a part, (len(p),)."""
    level, low, high = part.rectangle[:, index].tolist()
    mass = masses(part, index)[:1]
    h = float(spacing(level))
    ends = (max((low - 1) * h, LIMITS[axis.map][0]), min((high + 1) * h, LIMITS[axis.map][1]))

    def below(t: np.ndarray) -> np.ndarray:
        return cumulative(axis, level, low, np.tile(mass, (len(t), 1)), t)

    return values(axis, invert(below, p, *ends))


def share_below(
    axes: tuple[Axis, ...], part: Part, index: int, others: list[int], x: float
) -> float:
    r"""Return the probability that a variance's share of a sum of variances is below x.

    Given the others, :math:`\tau^2 / (\tau^2 + \sum \tau_i^2) < x` is a bound on its own SD.

    Parameters
    ----------
    axes : tuple of Axis
    part : Part
        Refined along ``index``.
    index : int
        Axis of the SD above the line.
    others : list of int
        Axes of the SDs it is compared with.
    x : float
    """
    full = np.zeros(part.nodes.shape)
    full.flat[part.nodes.at] = part.weight[0]
    slices = np.moveaxis(full, index, -1).reshape(-1, part.nodes.shape[index])
    rest = np.zeros(part.nodes.shape)
    for other in others:
        level, low, high = part.rectangle[:, other].tolist()
        squares = values(axes[other], float(spacing(level)) * np.arange(low, high + 1)) ** 2
        rest += squares.reshape([-1 if a == other else 1 for a in range(len(axes))])
    bound = np.sqrt(np.moveaxis(rest, index, -1).reshape(len(slices), -1)[:, 0] * x / (1 - x))
    level, low, _ = part.rectangle[:, index].tolist()
    used = slices.sum(axis=1) > 0
    t = places(axes[index], np.maximum(bound[used], 1e-300))
    return float(cumulative(axes[index], level, low, slices[used], t).sum())
