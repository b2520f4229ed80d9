"""The quadrature of many outcomes over one table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ketastats.bayesian.exact.axes import places
from ketastats.bayesian.exact.nodes import Gaussian
from ketastats.bayesian.exact.search import (
    SPARSE,
    Nodes,
    Rectangles,
    Tolerance,
    groups_of,
    nodes_near,
    search,
    spacing,
)
from ketastats.bayesian.exact.table import FEW, Table
from ketastats.frequentist.moments import Moments, make_moments

TOGETHER = 400
"""Outcomes whose weights are in memory at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The quadrature of outcomes that share their nodes.

    Attributes
    ----------
    outcomes : numpy.ndarray of int, shape (B,)
    rectangle : numpy.ndarray of int, shape (3, axes)
    nodes : Nodes
    weight : numpy.ndarray, shape (B, J)
        Posterior probabilities of the nodes; NaN where the quadrature failed.
    log_evidence : numpy.ndarray, shape (B,)
        Log density of the outcomes.
    mean : numpy.ndarray, shape (B, J, K)
        Of the questions, given the node.
    sd : numpy.ndarray, shape (J, K)
    """

    outcomes: np.ndarray
    rectangle: np.ndarray
    nodes: Nodes
    weight: np.ndarray
    log_evidence: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Quadrature:
    """Where the posteriors of B outcomes are; :meth:`parts` integrates.

    Attributes
    ----------
    model : Gaussian
    table : Table
        With the questions.
    rectangles : Rectangles
    crowded : bool
        Whether the outcomes are too many for their skeleton.
    """

    model: Gaussian
    table: Table
    rectangles: Rectangles
    crowded: bool

    def parts(self) -> Iterator[Part]:
        """Go through the outcomes, those that share nodes together."""
        seen = self.rectangles.seen
        for members, rectangle in groups_of(self.rectangles.state):
            for i in range(0, len(members), TOGETHER):
                who = members[i : i + TOGETHER]
                nodes = nodes_near(self.model.axes, rectangle, [seen[j] for j in who])
                yield self.part(who, rectangle, nodes)

    def part(self, outcomes: np.ndarray, rectangle: np.ndarray, nodes: Nodes) -> Part:
        """Integrate some outcomes over some nodes."""
        at = self.table.find(nodes)
        log = self.table.log_density(at, outcomes) + nodes.log_weight
        top = log.max(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            weight = np.exp(log - top)
            total = weight.sum(axis=1, keepdims=True)
            weight /= total
        mean, sd = self.table.questions(at, outcomes)
        evidence = (np.log(total) + top)[:, 0]
        return Part(outcomes, rectangle, nodes, weight, evidence, mean, sd)


def quadrature(
    model: Gaussian, y: np.ndarray, rows: np.ndarray, tolerance: Tolerance
) -> Quadrature:
    """Find the nodes of outcomes that miss the same rows.

    Parameters
    ----------
    model : Gaussian
    y : numpy.ndarray, shape (B, rows)
        NaN where missing, in all of them alike.
    rows : numpy.ndarray, shape (K, q)
        Questions over the coefficients in standard units.
    tolerance : Tolerance
    """
    moments = make_moments(model.problem, y)
    present = ~np.isnan(y[0])
    few = Table(model, moments, present, rows)
    # with few outcomes the questions cost next to nothing; with many, only where the mass is
    finder = few if few.direct else Table(model, moments, present, rows[:0])

    def density(nodes: Nodes, outcomes: np.ndarray) -> np.ndarray:
        return finder.log_density(finder.find(nodes), outcomes) + nodes.log_weight

    found = search(model.axes, _start(model, moments), density, tolerance)
    return Quadrature(model, few, found, finder.crowded)


def quadratures(
    model: Gaussian, y: np.ndarray, rows: np.ndarray, tolerance: Tolerance, together: int
) -> Iterator[tuple[np.ndarray, Quadrature]]:
    """Find the nodes of many outcomes in batches that pay; yields which, and their quadrature.

    With up to two axes outcomes share lattices, unless functions of the nodes are too many for a
    skeleton; with more, rectangles of outcomes hardly ever coincide and one by one is faster.

    Parameters
    ----------
    model, y, rows, tolerance
        As for :func:`quadrature`.
    together : int
        Most outcomes of a batch.
    """
    if len(model.axes) >= SPARSE:
        together = 1
    for i in range(0, len(y), together):
        some = np.arange(i, min(i + together, len(y)))
        found = quadrature(model, y[some], rows, tolerance)
        if not found.crowded:
            yield some, found
            continue
        for j in range(0, len(some), FEW):
            yield some[j : j + FEW], quadrature(model, y[some[j : j + FEW]], rows, tolerance)


def _start(model: Gaussian, moments: Moments) -> np.ndarray:
    """Return coarse rectangles around the size of every outcome, (B, 3, axes)."""
    unit = np.sqrt(np.where(moments.scale > 0, moments.scale, 1.0))
    out = np.zeros((len(unit), 3, len(model.axes)), dtype=np.int64)
    h = float(spacing(0))
    for a, axis in enumerate(model.axes):
        own = axis.map in ("correlation", "ratio")  # not in the units of the outcome
        middle = np.zeros(len(unit)) if own else places(axis, unit)
        k = np.round(middle / h).astype(np.int64)
        out[:, 1, a] = 0 if axis.map == "even" else k - 2
        out[:, 2, a] = k + 1
    return out
