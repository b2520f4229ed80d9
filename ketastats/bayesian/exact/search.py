r"""Where the posterior is: a rectangle of nodes per outcome, on lattices all outcomes share.

Axis a has lattices of spacing :math:`h = 1.6 \cdot 2^{-l/2}`, l = 0, 1, ...; an outcome uses a
rectangle of one of them on every axis. It grows where the density at its faces is not negligible,
shrinks where it is, and changes to the next finer lattice until the aliasing error is small.

The trapezoidal rule errs by the Fourier transform of the integrand at multiples of :math:`2\pi/h`.
At half of that, :math:`\pi/h`, it can be computed: as a sum with alternating signs. The transform
falls at least exponentially (it does for all integrands that are analytic), so that its square at
:math:`\pi/h` bounds what it is at :math:`2\pi/h`. Signs alternate along one axis, or along several
at once, which sees posteriors that are narrow across a diagonal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ketastats.bayesian.exact.axes import Axis, log_weights, values

COARSEST = 1.6
FINEST = 22
_BITS = 16
LIMITS = {"even": (0.0, 25.0), "end": (-4.0, 25.0), "log": (-25.0, 25.0),
          "correlation": (-4.0, 4.0), "ratio": (-25.0, 4.0)}  # fmt: skip
"""Ends of t: beyond them a parameter is 0, infinite or 1 in double precision."""
ROUNDS = 60
MOST_NODES = 2_000_000
"""Evaluated at once; more are a sign that an integral does not exist, and would fill the memory."""
SPARSELY = 10
"""How many times more a rectangle may have when only those near mass are evaluated."""
NEAR = 1e-3
"""Aliasing error from which on the next lattice is likely to be the last."""
DEEPER = 0.75
"""By how much faces lie deeper with every axis beyond two: there is more room around the mass."""
SPARSE = 3
"""Axes from which on nodes far from all mass are left out of a rectangle."""
BEYOND = 0.2
"""Mass outside all nodes over the mass of those at the border, which are deeper than the tolerance:
0.11 to 0.21 in 2 to 4 dimensions, with all three families of priors."""
NEARER = 4.0
"""Nodes whose neighbours must have been evaluated are this much higher than those kept."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """When a rectangle is good enough.

    Attributes
    ----------
    error : float
        Aliasing error, relative to the normalising constant.
    depth : float
        Faces lie this far under the maximum of the log density, or farther where that does not
        do.
    """

    error: float
    depth: float

    def at(self, error: float) -> Tolerance:
        """Return the tolerance of another error: faces lie deeper by its logarithm."""
        return Tolerance(error, self.depth - np.log(error / self.error))


ONE = Tolerance(1e-5, 12.0)
MANY = Tolerance(1e-3, 7.5)


@dataclass(frozen=True, slots=True, eq=False)
class Rectangles:
    """One rectangle of nodes per outcome.

    Attributes
    ----------
    level, low, high : numpy.ndarray of int, shape (B, axes)
        Of the lattice, and first and last node on it.
    error : numpy.ndarray, shape (B,)
        Estimated: aliasing and what lies outside.
    found : numpy.ndarray of bool, shape (B,)
        Whether the tolerance is kept.
    seen : tuple of Seen or None
        From three axes on: where in the rectangle the mass is.
    """

    level: np.ndarray
    low: np.ndarray
    high: np.ndarray
    error: np.ndarray
    found: np.ndarray
    seen: tuple[Seen | None, ...]

    @property
    def state(self) -> np.ndarray:
        """Level, low and high of every outcome, shape (B, 3, axes)."""
        return np.stack([self.level, self.low, self.high], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """The nodes of one rectangle, the last axis fastest.

    Attributes
    ----------
    shape : tuple of int
        Of the whole rectangle.
    at : numpy.ndarray of int, shape (J,)
        Positions in it.
    lattice : tuple of int
        Level on every axis.
    keys : numpy.ndarray of int, shape (J,)
        One number per node of these lattices.
    values : numpy.ndarray, shape (J, axes)
        Of the parameters.
    log_weight : numpy.ndarray, shape (J,)
        Prior density, derivative of the maps and spacing.
    """

    shape: tuple[int, ...]
    at: np.ndarray
    lattice: tuple[int, ...]
    keys: np.ndarray
    values: np.ndarray
    log_weight: np.ndarray


def spacing(level: np.ndarray | int) -> np.ndarray:
    """Return h of a lattice."""
    return np.asarray(COARSEST * 0.5 ** (0.5 * np.asarray(level, dtype=np.float64)))


def axis_places(level: int, low: int, high: int) -> np.ndarray:
    """Return t of the nodes from low to high on a lattice."""
    return np.asarray(spacing(level) * np.arange(low, high + 1))


def nodes_of(
    axes: tuple[Axis, ...], rectangle: np.ndarray, wanted: np.ndarray | None = None
) -> Nodes:
    """Lay out a rectangle: level, low and high, shape (3, axes).

    Parameters
    ----------
    axes : tuple of Axis
    rectangle : numpy.ndarray of int, shape (3, axes)
    wanted : numpy.ndarray of int, optional
        Only these of its nodes.
    """
    shape = tuple((rectangle[2] - rectangle[1] + 1).tolist())
    at = np.arange(int(np.prod(shape))) if wanted is None else wanted
    keys, log_weight = np.zeros(len(at), dtype=np.int64), np.zeros(len(at))
    parameters = np.empty((len(at), len(axes)))
    places = np.unravel_index(at, shape)
    for a, (axis, (level, low, high)) in enumerate(zip(axes, rectangle.T.tolist(), strict=True)):
        t = axis_places(level, low, high)
        weight = log_weights(axis, t) + np.log(spacing(level))
        if axis.map == "even" and low == 0:
            weight[0] -= np.log(2.0)
        keys = keys * 2**_BITS + (places[a] + low + 2 ** (_BITS - 1))
        log_weight += weight[places[a]]
        parameters[:, a] = values(axis, t)[places[a]]
    return Nodes(shape, at, tuple(rectangle[0].tolist()), keys, parameters, log_weight)


def nodes_near(axes: tuple[Axis, ...], rectangle: np.ndarray, seen: list[Seen | None]) -> Nodes:
    """Lay out the nodes of a rectangle that lie near mass that outcomes have seen."""
    return nodes_of(axes, rectangle, wanted(rectangle, seen))


def search(
    axes: tuple[Axis, ...], start: np.ndarray, density: Callable[[Nodes, np.ndarray], np.ndarray],
    tolerance: Tolerance,
) -> Rectangles:  # fmt: skip
    """Find the rectangle of every outcome.

    Parameters
    ----------
    axes : tuple of Axis
    start : numpy.ndarray of int, shape (B, 3, axes)
        Level, low and high to begin with.
    density : callable
        Nodes and outcomes to the log density of both data and parameters, without the spacing,
        shape (outcomes, J).
    tolerance : Tolerance
    """
    b, _, d = start.shape
    state = start.astype(np.int64)
    last = state.copy()  # what was evaluated, and what the error speaks of
    error, found = np.full(b, np.inf), np.zeros(b, dtype=bool)
    seen: list[Seen | None] = [None] * b
    depth = np.full(b, tolerance.depth + DEEPER * max(d - 2, 0))
    active, lost = np.arange(b), np.zeros(b, dtype=bool)
    for _ in range(ROUNDS):
        for members, rectangle in groups_of(state[active]):
            who = active[members]
            if _too_large(rectangle, [seen[i] for i in who]):
                lost[who] = True
                continue
            nodes = nodes_near(axes, rectangle, [seen[i] for i in who])
            if len(nodes.at) > MOST_NODES:
                lost[who] = True
                continue
            last[who] = rectangle
            log = np.full((len(who), int(np.prod(nodes.shape))), -np.inf)
            log[:, nodes.at] = density(nodes, who)
            log = log.reshape(len(who), *nodes.shape)
            new, error[who], done, shallow = _judge(
                axes, rectangle, log, depth[who], tolerance.error
            )
            depth[who] += 1.5 * shallow
            if d >= SPARSE:
                had = np.zeros(nodes.shape, dtype=bool)
                had.flat[nodes.at] = True
                for j, i in enumerate(who):
                    seen[i] = Seen(rectangle, _around(log[j], depth[i]))
                    if done[j] and not had[_around(log[j], depth[i] - NEARER)].all():
                        new[j], done[j] = rectangle, False
            found[who] = done
            state[who] = np.where(done[:, None, None], rectangle, new)
        active = active[~found[active] & ~lost[active]]
        if not active.size:
            break
    return Rectangles(last[:, 0], last[:, 1], last[:, 2], error, found, tuple(seen))


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Where a rectangle that was evaluated has mass, one node around it included.

    Attributes
    ----------
    rectangle : numpy.ndarray of int, shape (3, axes)
    near : numpy.ndarray of bool
        In the rectangle's shape.
    """

    rectangle: np.ndarray
    near: np.ndarray


def _around(log: np.ndarray, depth: float) -> np.ndarray:
    """Return which nodes, and nodes next to them, lie no deeper than this under the maximum."""
    mass = log > log.max() - depth
    near = mass.copy()
    for a in range(near.ndim):
        after, before = [slice(None)] * near.ndim, [slice(None)] * near.ndim
        after[a], before[a] = slice(1, None), slice(None, -1)
        near[tuple(before)] |= mass[tuple(after)]
        near[tuple(after)] |= mass[tuple(before)]
    return near


def _too_large(rectangle: np.ndarray, seen: list[Seen | None]) -> bool:
    """Whether a rectangle would not fit into memory, or is none."""
    size = rectangle[2] - rectangle[1] + 1
    if (size < 1).any():
        return True
    nodes = int(np.prod(size.astype(float)))
    return nodes > MOST_NODES * (1 if None in seen else SPARSELY)


def wanted(rectangle: np.ndarray, seen: list[Seen | None]) -> np.ndarray | None:
    """Return which nodes of a rectangle lie near mass that was seen, None for all of them."""
    size = rectangle[2] - rectangle[1] + 1
    out = np.zeros(tuple(size), dtype=bool)
    for one in seen:
        if one is None:
            return None
        index = []
        for a, (level, low, high) in enumerate(rectangle.T.tolist()):
            old_level, old_low, old_high = one.rectangle[:, a].tolist()
            ratio = float(spacing(level) / spacing(old_level))
            at = np.round(np.arange(low, high + 1) * ratio).astype(int)
            index.append(np.clip(at, old_low, old_high) - old_low)
        out |= one.near[np.ix_(*index)]
    return np.flatnonzero(out)


def groups_of(state: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the distinct rectangles of outcomes, (B, 3, axes), with the outcomes of each."""
    distinct, inverse = np.unique(state.reshape(len(state), -1), axis=0, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(np.bincount(inverse, minlength=len(distinct)))
    members = np.split(order, ends[:-1])
    return [(m, r.reshape(3, -1)) for m, r in zip(members, distinct, strict=True)]


def _judge(
    axes: tuple[Axis, ...], rectangle: np.ndarray, log: np.ndarray, depth: np.ndarray, aim: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Judge outcomes that share a rectangle.

    Returns the next rectangles, the errors, which outcomes are done, and which have to go deeper.
    """
    b, d = len(log), len(axes)
    shape = log.shape[1:]
    top = log.reshape(b, -1).max(axis=1)
    bad = ~np.isfinite(top)
    log = np.where(np.isfinite(log), log - np.where(bad, 0.0, top).reshape(-1, *[1] * d), -np.inf)
    mass = np.exp(log)
    new = np.tile(rectangle, (b, 1, 1))
    settled = np.ones(b, dtype=bool)
    for a, axis in enumerate(axes):
        others = tuple(i + 1 for i in range(d) if i != a)
        profile = log.max(axis=others)
        settled &= _trim(axis, new[:, :, a], profile, depth, shape[a])
    deep = (log < -depth.reshape(-1, *[1] * d)) & (log > -np.inf)
    alias = 0.5 * aliasing(axes, rectangle, mass)
    per_axis = [alias.sum(axis=tuple(i + 1 for i in range(d) if i != a))[:, 1:].sum(axis=1)
                for a in range(d)]  # fmt: skip
    total = alias.reshape(b, -1)[:, 1:].sum(axis=1)
    fine = total <= 0.5 * aim
    worst = np.max(per_axis, axis=0)
    near = (d >= SPARSE) & (total < NEAR)
    for a in range(d):
        # one that is far off refines with the worst; one that is fine stays
        finer = (per_axis[a] > aim / (2 * d)) & (per_axis[a] >= 0.3 * worst)
        # close to the aim, where lattices cost most: those for which the others leave no room
        up_to = np.sum([np.where(e <= per_axis[a], e, 0.0) for e in per_axis], axis=0)
        finer = ~fine & np.where(near, up_to > 0.3 * aim, finer)
        steps = np.where(
            finer & settled, _steps(per_axis[a], aim / (2 * d), 4 if d < SPARSE else 2), 0
        )
        steps = np.minimum(steps, FINEST - new[:, 0, a])
        ratio = np.sqrt(2.0) ** steps
        new[:, 0, a] += steps
        new[:, 1, a] = np.floor(new[:, 1, a] * ratio)
        new[:, 2, a] = np.ceil(new[:, 2, a] * ratio)
    border = (mass * deep).reshape(b, -1).sum(axis=1)
    outside = BEYOND * border / np.maximum(mass.reshape(b, -1).sum(axis=1), 1e-300)
    shallow = settled & fine & ~bad & (outside > 0.5 * aim)
    done = settled & fine & ~bad & ~shallow
    return new, np.where(bad, np.inf, total + outside), done, shallow


def _steps(error: np.ndarray, aim: float, most: int) -> np.ndarray:
    """Return how many lattices finer to go: what a normal density would need, (B,).

    Its squared transform at pi / h is exp(-(pi sd / h)^2), and h^2 halves with each lattice.
    """
    have = np.log(4 / np.clip(error, aim, 3.0))
    return np.clip(np.ceil(np.log2(np.log(4 / aim) / have) - 0.25), 1, most).astype(np.int64)


def _trim(
    axis: Axis, rectangle: np.ndarray, profile: np.ndarray, depth: np.ndarray, n: int
) -> np.ndarray:
    """Move the faces of one axis in place, (B, 3): level, low, high.

    Returns whether the faces lay deep enough, (B,).
    """
    level, first = int(rectangle[0, 0]), int(rectangle[0, 1])
    h = float(spacing(level))
    lowest, highest = (
        int(np.ceil(LIMITS[axis.map][0] / h - 1e-9)),
        int(np.floor(LIMITS[axis.map][1] / h + 1e-9)),
    )
    kept = profile > -depth[:, None]
    begin = kept.argmax(axis=1)
    end = n - 1 - kept[:, ::-1].argmax(axis=1)
    closed = axis.map == "even" and first == 0  # the line ends here; elsewhere mass may lie beyond
    at_low = (begin == 0) & (not closed)
    at_high = end == n - 1
    grow = max(1, (n + 1) // 2)
    rectangle[:, 1] = np.maximum(first + np.where(at_low, -grow, begin - 1), lowest)
    rectangle[:, 2] = np.minimum(first + np.where(at_high, n - 1 + grow, end + 1), highest)
    return np.asarray(~(at_low | at_high))


def aliasing(axes: tuple[Axis, ...], rectangle: np.ndarray, mass: np.ndarray) -> np.ndarray:
    r"""Return estimates of the aliasing error by axes, shape (B, 3, ..., 3), squared ratios.

    On every axis index 0 stands for the plain sum, 1 for alternating signs, 2 for alternating signs
    with the distance from the centre as a weight (a cosine can be zero by luck, its sine is not
    then); on an even axis the square of t, which is smooth there, takes the place of t.
    """
    d = len(axes)
    out = mass
    total = mass.reshape(len(mass), -1).sum(axis=1)
    safe = np.where(total > 0, total, 1.0)
    for a in range(d):
        low, high = int(rectangle[1, a]), int(rectangle[2, a])
        k = np.arange(low, high + 1, dtype=np.float64)
        share = mass.sum(axis=tuple(i + 1 for i in range(d) if i != a)) / safe[:, None]
        u = k**2 if axes[a].map == "even" else k
        centre = share @ u
        sd = np.sqrt(np.maximum(share @ u**2 - centre**2, 1e-4))
        sign = np.where(np.arange(low, high + 1) % 2, -1.0, 1.0)
        basis = np.empty((len(mass), len(k), 3))
        basis[:, :, 0] = 1.0
        basis[:, :, 1] = sign
        basis[:, :, 2] = sign * (u - centre[:, None]) / sd[:, None]
        # contract the axis that is first now; the new one goes last
        rest = out.reshape(len(mass), len(k), -1)
        out = np.matmul(rest.transpose(0, 2, 1), basis)
        shape = (*mass.shape[a + 2 :], *[3] * (a + 1))
        out = out.reshape(len(mass), *shape)
    return np.asarray((out / safe.reshape(-1, *[1] * d)) ** 2)
