"""The model at nodes of the lattices, every node once, for one outcome or ten thousand.

The quadratic form of an outcome at a node, and the mean of a question, are values of functions of
the outcome that depend smoothly on the node. All of them lie in a space of some 10 to 40 functions.
With few outcomes they are evaluated as they are. With many, probes (outcomes of noise) find nodes
whose functions span that space, the skeleton, and every other node becomes a combination of them
(an interpolative decomposition: Cheng, Gimbutas, Martinsson & Rokhlin 2005, SIAM J Sci Comput
26:1389). An outcome is then evaluated at the skeleton only.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import qr, solve_triangular

from ketastats.bayesian.exact.nodes import Gaussian, at_nodes
from ketastats.bayesian.exact.search import Nodes
from ketastats.frequentist.moments import Moments, make_moments

FEW = 64
"""Outcomes up to which every node is evaluated for each of them."""
PROBES = 128
"""Outcomes of noise that tell functions apart."""
SPARE = 16
"""Probes that must be left over: functions that all probes are needed for are not told apart."""
FIT = 1e-9
"""Largest relative misfit of a node's function by the skeleton, in its values at the probes."""


class Space:
    """Functions of an outcome, spanned by those of some nodes.

    Attributes
    ----------
    values : numpy.ndarray, shape (R, P)
        Of the spanning functions at the probes, of length 1.
    size : numpy.ndarray, shape (R,)
        Their lengths before.
    nodes : numpy.ndarray, shape (R, axes)
        Where they are from.
    """

    def __init__(self, axes: int, probes: int) -> None:
        self.values = np.empty((0, probes))
        self.nodes = np.empty((0, axes))
        self.size = np.empty(0)
        self._factor = np.linalg.qr(self.values.T)

    def combine(self, at_probes: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """Return the coefficients of functions, (J, R); the space grows where they need it.

        Parameters
        ----------
        at_probes : numpy.ndarray, shape (J, P)
        nodes : numpy.ndarray, shape (J, axes)
        """
        size = np.sqrt((at_probes**2).sum(axis=1))
        size = np.where(size > 0, size, 1.0)[:, None]
        unit = at_probes / size
        along = unit @ self._factor[0]
        rest = unit - along @ self._factor[0].T
        poor = np.flatnonzero((rest**2).sum(axis=1) > FIT**2)
        if poor.size:
            _, triangle, order = qr(rest[poor].T, mode="economic", pivoting=True)
            new = poor[order[: int((np.abs(np.diag(triangle)) > FIT / 10).sum())]]
            self.values = np.concatenate([self.values, unit[new]])
            self.nodes = np.concatenate([self.nodes, nodes[new]])
            self.size = np.concatenate([self.size, size[new, 0]])
            self._factor = np.linalg.qr(self.values.T)
            along = unit @ self._factor[0]
        return np.asarray(solve_triangular(self._factor[1], along.T).T * size / self.size)


class Table:
    """What is known of the nodes met so far; grows as nodes are asked for.

    Parameters
    ----------
    model : Gaussian
    moments : Moments
        Of B outcomes that miss the same rows.
    present : numpy.ndarray of bool, shape (n,)
        The rows they have.
    rows : numpy.ndarray, shape (K, q)
        Questions over the coefficients.
    """

    def __init__(
        self, model: Gaussian, moments: Moments, present: np.ndarray, rows: np.ndarray
    ) -> None:
        self.model, self.moments, self.rows = model, moments, rows
        b = len(moments.scale)
        self.direct = b <= FEW
        self._probes = moments if self.direct else _noise(model, moments, present, PROBES)
        self._spaces = [Space(len(model.axes), PROBES) for _ in range(1 + len(rows))]
        self._coordinates = [np.empty((0, b)) for _ in range(1 + len(rows))]
        if self.direct:
            self._coordinates = [np.eye(b)] * (1 + len(rows))
        self._known: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
        self._constant = np.empty(0)
        self._var = np.empty((len(rows), 0))
        self._weights = [np.empty((0, b if self.direct else 0)) for _ in range(1 + len(rows))]

    @property
    def crowded(self) -> bool:
        """Whether there are too few probes to tell the functions apart."""
        return any(len(s.values) > PROBES - SPARE for s in self._spaces)

    def find(self, nodes: Nodes) -> np.ndarray:
        """Return the places of nodes in this table, evaluating those it has not met, (J,)."""
        none = np.empty(0, dtype=np.int64)
        keys, places = self._known.get(nodes.lattice, (none, none))
        if not len(keys):  # nodes of a rectangle are in the order of their keys
            places = len(self._constant) + np.arange(len(nodes.keys))
            self._add(nodes.values)
            self._known[nodes.lattice] = nodes.keys, places
            return places
        at = np.searchsorted(keys, nodes.keys)
        known = at < len(keys)
        known[known] = keys[at[known]] == nodes.keys[known]
        if not known.all():
            new = nodes.keys[~known]
            start = len(self._constant)
            self._add(nodes.values[~known])
            merged = np.concatenate([keys, new])
            places = np.concatenate([places, start + np.arange(len(new))])
            order = np.argsort(merged, kind="stable")
            keys, places = merged[order], places[order]
            self._known[nodes.lattice] = keys, places
            at = np.searchsorted(keys, nodes.keys)
        return np.asarray(places[at])

    def _add(self, values: np.ndarray) -> None:
        everyone = np.arange(len(self._probes.scale))
        found = at_nodes(self.model, self._probes, values, self.rows, everyone)
        self._constant = np.concatenate([self._constant, found.constant])
        self._var = np.concatenate([self._var, found.var], axis=1)
        base = self.rows @ self.model.location
        for f, functions in enumerate([found.quad, *(found.mean - base[:, None, None])]):
            new = functions
            if not self.direct:
                new = self._spaces[f].combine(functions, values)
                self._extend(f)
            old = self._weights[f]
            short = new.shape[1] - old.shape[1]
            self._weights[f] = np.concatenate([np.pad(old, ((0, 0), (0, short))), new])

    def _extend(self, f: int) -> None:
        """Evaluate all outcomes at what the space has grown by."""
        have, space = len(self._coordinates[f]), self._spaces[f]
        new = space.nodes[have:]
        if not len(new):
            return
        rows = self.rows[f - 1 : f] if f else self.rows[:0]
        found = at_nodes(self.model, self.moments, new, rows, np.arange(len(self.moments.scale)))
        exact = found.quad if f == 0 else found.mean[0] - rows[0] @ self.model.location
        self._coordinates[f] = np.concatenate([self._coordinates[f], exact])

    def log_density(self, at: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
        """Return log p(y | node) of some outcomes at some places, (len(outcomes), len(at))."""
        quad = self._coordinates[0][:, outcomes].T @ self._weights[0][at].T
        return np.asarray(self._constant[at] - 0.5 * quad)

    def questions(self, at: np.ndarray, outcomes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return conditional means (len(outcomes), J, K) and SDs (J, K) of the questions."""
        base = self.rows @ self.model.location
        mean = np.empty((len(outcomes), len(at), len(self.rows)))
        for k in range(len(self.rows)):
            coordinates, weights = self._coordinates[k + 1], self._weights[k + 1]
            mean[:, :, k] = base[k] + coordinates[:, outcomes].T @ weights[at].T
        return mean, np.sqrt(self._var[:, at].T)


def _noise(model: Gaussian, moments: Moments, present: np.ndarray, count: int) -> Moments:
    """Return outcomes of noise around the prior mean, with the batch's typical size."""
    rng = np.random.default_rng(1)  # only a basis: the posterior does not depend on it
    unit = float(np.sqrt(np.nanmedian(moments.scale)))
    away = moments.shift - model.location  # outcomes far from the prior mean fill other directions
    size = np.sqrt((np.where(np.isfinite(away), away, 0.0) ** 2).mean(axis=0))
    beta = model.location + size * rng.standard_normal((count, len(size)))
    y = beta @ model.problem.x.T + unit * rng.standard_normal((count, len(present)))
    return make_moments(model.problem, np.where(present, y, np.nan))
