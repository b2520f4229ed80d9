r"""The Gaussian mixed model at given standard deviations.

With :math:`y \mid \beta \sim N(X \beta, V)` and :math:`\beta \sim N(m, S)` (Lindley & Smith 1972,
J R Stat Soc B 34:1), where :math:`e = y - X \hat\beta` for least-squares :math:`\hat\beta`,
:math:`d = m - \hat\beta` and :math:`A = X'V^{-1}X + S^{-1}`:

.. math::
   \beta \mid y &\sim N(\hat\beta + A^{-1} b, A^{-1}), \quad b = X'V^{-1}e + S^{-1}d, \\
   \log p(y) &= -\tfrac12 \{ n \log 2\pi + \log|V| + \log|S| + \log|A|
     + e'V^{-1}e + d'S^{-1}d - b'A^{-1}b \}.

A flat coefficient has :math:`S^{-1} = 0`; it takes :math:`\log 2\pi` from n and nothing from
:math:`\log|S|`, and with all flat the second line is the REML likelihood.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ketastats.bayesian.exact.axes import Axis
from ketastats.bayesian.exact.linear import invert, pattern_sums, solve
from ketastats.frequentist.moments import Moments, PatternGroup
from ketastats.problem.build import Problem

CHUNK = 100_000
"""Numbers in the largest array of one pass over nodes: 0.8 MB, so that it stays near the core."""


MANY_CHUNKS = 4
"""Chunks from which on threads share them."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Columns whose prior SD is a parameter.

    Attributes
    ----------
    columns : numpy.ndarray of int
    axis : int
        Of the parameter.
    times : int
        Axis of the SD that multiplies it (the residual's, for standardised effects); -1 for none.
    """

    columns: np.ndarray
    axis: int
    times: int


@dataclass(frozen=True, slots=True, eq=False)
class Gaussian:
    """A mixed model with priors, ready for quadrature.

    Attributes
    ----------
    problem : Problem
        With X in standard units; see :mod:`ketastats.bayesian.design`.
    axes : tuple of Axis
        What is integrated numerically.
    parameters : tuple of tuple of int
        Per covariance parameter the axes whose values multiply to it: an SD twice, or a
        correlation and two SDs.
    location : numpy.ndarray, shape (q,)
        Prior means.
    precision : numpy.ndarray, shape (q, q)
        Inverse prior covariance; zero for flat coefficients and for those of blocks.
    logdet : float
        Of the precision over the columns it is not zero for.
    flat : int
        Directions without a prior.
    blocks : tuple of Block
    """

    problem: Problem
    axes: tuple[Axis, ...]
    parameters: tuple[tuple[int, ...], ...]
    location: np.ndarray
    precision: np.ndarray
    logdet: float
    flat: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AtNodes:
    """The model of B outcomes at J nodes.

    Attributes
    ----------
    constant : numpy.ndarray, shape (J,)
        What the log density of an outcome has besides its quadratic form.
    quad : numpy.ndarray, shape (J, B)
        The quadratic form.
    mean : numpy.ndarray, shape (K, J, B)
        Of K rows over the coefficients.
    var : numpy.ndarray, shape (K, J)
    """

    constant: np.ndarray
    quad: np.ndarray
    mean: np.ndarray
    var: np.ndarray


def covariances(model: Gaussian, values: np.ndarray) -> np.ndarray:
    """Return variances and covariances from values on the axes, (J, axes) to (J, R)."""
    out = np.empty((len(values), len(model.parameters)))
    for r, (first, *others) in enumerate(model.parameters):
        out[:, r] = values[:, first]
        for axis in others:
            out[:, r] *= values[:, axis]
    return out


def block_precision(model: Gaussian, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the prior precision of block columns, (J, q), and the log determinant, (J,)."""
    out = np.zeros((len(values), len(model.location)))
    logdet = np.full(len(values), model.logdet)
    for block in model.blocks:
        sd = block_sd(block, values)
        out[:, block.columns] = sd[:, None] ** -2
        logdet -= 2 * len(block.columns) * np.log(sd)
    return out, logdet


def prior_of_rows(model: Gaussian, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return prior means and SDs of rows over the coefficients, (K,) each.

    The SD is infinite where a row has a flat direction or effects whose prior has a scale.
    """
    values, vectors = np.linalg.eigh(model.precision)
    along = rows @ vectors
    held = values > 1e-12 * max(float(values.max(initial=0.0)), 1e-300)
    variance = (along[:, held] ** 2 / values[held]).sum(axis=1)
    size = np.abs(rows).max(axis=1, initial=0.0)
    open_ = np.abs(along[:, ~held]).max(axis=1, initial=0.0) > 1e-9 * size
    return rows @ model.location, np.where(open_, np.inf, np.sqrt(variance))


def inverses(group: PatternGroup, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return V^-1 of every pattern, (J, P, m, m), and log|V| over all blocks, (J,)."""
    p, r, m, _ = group.basis.shape
    v = (theta @ group.basis.transpose(1, 0, 2, 3).reshape(r, -1)).reshape(-1, m, m)
    logdet = invert(v)
    return v.reshape(len(theta), p, m, m), logdet.reshape(len(theta), p) @ group.counts


def at_nodes(
    model: Gaussian, moments: Moments, values: np.ndarray, rows: np.ndarray, outcomes: np.ndarray
) -> AtNodes:
    """Evaluate the model.

    Parameters
    ----------
    model : Gaussian
    moments : Moments
        Of outcomes that miss the same rows.
    values : numpy.ndarray, shape (J, axes)
    rows : numpy.ndarray, shape (K, q)
        Questions over the coefficients.
    outcomes : numpy.ndarray of int, shape (B,)
        Which of the batch.
    """
    q = moments.q
    largest = max(
        [
            len(outcomes) * q,
            q * q,
            *(g.basis.shape[0] * g.basis.shape[-1] ** 2 for g in moments.groups),
        ]
    )
    step = max(1, CHUNK // largest)
    chunks = [values[i : i + step] for i in range(0, max(len(values), 1), step)]

    def of(chunk: np.ndarray) -> AtNodes:
        return _at_nodes(model, moments, chunk, rows, outcomes)

    if len(chunks) < MANY_CHUNKS:
        parts = [of(c) for c in chunks]
    else:  # nodes do not depend on each other: the numbers are the same with any number of threads
        with ThreadPoolExecutor() as pool:
            parts = list(pool.map(of, chunks))
    if len(parts) == 1:
        return parts[0]
    return AtNodes(
        np.concatenate([p.constant for p in parts]),
        np.concatenate([p.quad for p in parts]),
        np.concatenate([p.mean for p in parts], axis=1),
        np.concatenate([p.var for p in parts], axis=1),
    )


def _at_nodes(
    model: Gaussian, moments: Moments, values: np.ndarray, rows: np.ndarray, outcomes: np.ndarray
) -> AtNodes:
    theta = covariances(model, values)
    a, right, ee, logdet_v = information(model, moments, theta, outcomes)
    shift, unit = moments.shift[outcomes], np.ones((1, moments.q))
    if model.blocks:
        # in units of their prior SD coefficients have precision 1, and 0 is as good an SD as any;
        # least squares are not taken off them, for what has an SD of 0 cannot give them back
        shift, own = shift.copy(), np.zeros_like(shift)
        unit = np.ones((len(values), moments.q))
        for block in model.blocks:
            columns = block.columns
            own[:, columns], shift[:, columns] = shift[:, columns], 0.0
            unit[:, columns] = block_sd(block, values)[:, None]
        back = own @ a  # (J, B, q)
        ee = ee + 2 * np.einsum("bjq,bq->jb", right, own) + np.einsum("jbq,bq->jb", back, own)
        right = (right + back.transpose(1, 0, 2)) * unit
        a = a * (unit[:, :, None] * unit[:, None, :])
        scaled = np.concatenate([block.columns for block in model.blocks])
        a[:, scaled, scaled] += 1.0
    d = model.location - shift  # (B, q)
    fixed = d @ model.precision
    right += fixed[:, None]
    a += model.precision
    logdet_a, quad, mean, var = solve(a, right, rows, unit)
    n = moments.n[outcomes[0]] - model.flat
    constant = -0.5 * (n * np.log(2 * np.pi) + logdet_v + logdet_a - model.logdet)
    mean += (rows @ shift.T)[:, None]
    return AtNodes(constant, ee + (fixed * d).sum(axis=1) - quad, mean, var)


def block_sd(block: Block, values: np.ndarray) -> np.ndarray:
    """Return the prior SD of a block's coefficients at nodes, (J,)."""
    return np.asarray(values[:, block.axis] * (values[:, block.times] if block.times >= 0 else 1.0))


def information(
    model: Gaussian, moments: Moments, theta: np.ndarray, outcomes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return X'V^-1X (J, q, q), X'V^-1e (B, J, q), e'V^-1e (J, B) and log|V| (J,)."""
    unit = np.where(moments.scale[outcomes] > 0, moments.scale[outcomes], 1.0)
    xx = np.zeros((len(theta), moments.q, moments.q))
    xy = np.zeros((len(outcomes), len(theta), moments.q))
    yy, logdet = np.zeros((len(theta), len(outcomes))), np.zeros(len(theta))
    for group in moments.groups:
        packed = pack(group) if group.basis.shape[-1] <= SMALL_BLOCK else None
        if packed is not None:
            pattern_sums(
                theta, group.basis, group.counts, packed.xx, packed.xy[outcomes],
                packed.yy[outcomes], xx, xy, yy, logdet,
            )  # fmt: skip
            continue
        inverse, part = inverses(group, theta)
        gxx, gxy, gyy = group.contract(inverse[None], outcomes)
        xx, xy, yy, logdet = xx + gxx[0], xy + gxy, yy + gyy.T, logdet + part
    return xx, xy * np.sqrt(unit)[:, None, None], yy * unit, logdet


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Sums of a group over its blocks, lower triangles only; see :func:`.linear.pattern_sums`."""

    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray


SMALL_BLOCK = 10
"""Rows of a block up to which sums over pairs of rows are faster than products of matrices."""


@lru_cache(maxsize=16)
def pack(group: PatternGroup) -> Packed:
    """Pack the sums of a group; kept for a while."""
    p, _, m, _ = group.basis.shape
    q = group.xy.shape[-1]
    if group.cross.blocks:
        stacks = [s.reshape(-1, m, q) for s in group.cross.stacked]
        sums = np.array([np.einsum("uaq,ubr->abqr", s, s, optimize=True) for s in stacks])
    else:
        sums = group.cross.sums.reshape(p, m, m, q, q)
    a, b = np.tril_indices(m)
    pairs = sums[:, a, b]
    i, j = np.tril_indices(q)
    outcomes = len(group.yy)
    return Packed(
        np.ascontiguousarray((0.5 * (pairs + pairs.swapaxes(-1, -2)))[:, :, i, j]),
        np.ascontiguousarray(group.xy.reshape(outcomes, p, m, m, q)[:, :, a, b]),
        np.ascontiguousarray(group.yy.reshape(outcomes, p, m, m)[:, :, a, b]),
    )
