"""Sufficient statistics of a Problem: after this pass the number of subjects costs nothing.

Blocks (subjects with everything they share) that have the same covariance basis form a pattern.
Where all outcomes of a batch miss the same rows, a pattern enters every later formula only through
sums over its blocks of x x', x y' and y y'. Where every outcome misses rows of its own, each block
is a pattern with a mask, and blocks with the same X are summed before they meet X.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ketastats.frequentist.cross import CrossProducts, cross_products
from ketastats.problem.build import Problem
from ketastats.problem.residual import FREE, ResidualStructure


@dataclass(frozen=True, slots=True, eq=False)
class PatternGroup:
    """Patterns with the same number of rows per block, m.

    Attributes
    ----------
    basis : numpy.ndarray, shape (P, R, m, m)
        Constant derivatives of V: random terms, then the residual where it is linear.
    signed : bool
        Whether covariances are parameters, so that V must be checked to be positive definite.
    structure : ResidualStructure or None
        The residual structure where it is not linear in its parameters.
    pairs : numpy.ndarray of int, shape (2, P, m, m)
        Levels of the residual factor of every two rows (structure only).
    same : numpy.ndarray, shape (P, m, m)
        1 where two rows share their residual group (structure only).
    counts : numpy.ndarray, shape (P,)
        Blocks per pattern.
    cross : CrossProducts
        Contracts X' M X over the cells: patterns, or sets of blocks with the same X.
    cells : numpy.ndarray of int, shape (cells,)
        With masks: first block of every cell; blocks of a cell are neighbours. Else empty.
    pattern : numpy.ndarray of int, shape (P,)
        With masks: pattern of every block, indexing ``basis``. Else empty.
    xy : numpy.ndarray, shape (B, P * m * m, q)
        Sums of x_a y_b, symmetrised over (a, b). Empty with masks.
    yy : numpy.ndarray, shape (B, P * m * m)
        Sums of y_a y_b. Empty with masks.
    x : numpy.ndarray, shape (P * m, q)
        Rows of X. Empty without masks.
    y : numpy.ndarray, shape (B, P, m)
        Outcomes, zero where missing. Empty without masks.
    mask : numpy.ndarray of bool, shape (B, P, m)
        True where observed. Empty without masks.
    """

    basis: np.ndarray
    structure: ResidualStructure | None
    signed: bool
    pairs: np.ndarray
    same: np.ndarray
    counts: np.ndarray
    cross: CrossProducts
    cells: np.ndarray
    pattern: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    x: np.ndarray
    y: np.ndarray
    mask: np.ndarray

    @property
    def ragged(self) -> bool:
        """Whether every outcome of the batch misses rows of its own."""
        return self.mask.size > 0

    def contract(
        self, m: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return X'MX, X'My and y'My summed over blocks (where no outcome has a mask).

        Parameters
        ----------
        m : numpy.ndarray, shape (T, J, P, m, m)
            T is the number of rows asked for, or 1 for one set of matrices for all.
        rows : numpy.ndarray of int
            Rows of the batch.

        Returns
        -------
        xx : numpy.ndarray, shape (T, J, q, q)
        xy : numpy.ndarray, shape (len(rows), J, q)
        yy : numpy.ndarray, shape (len(rows), J)
        """
        t, j = m.shape[:2]
        xx = self.cross.contract(m.reshape(t * j, *m.shape[2:]))
        m = m.reshape(t, j, -1)
        whole = len(rows) == len(self.yy)
        xy = m @ (self.xy if whole else self.xy[rows])
        yy = (m @ (self.yy if whole else self.yy[rows])[:, :, None])[:, :, 0]
        q = xy.shape[-1]
        return xx.reshape(t, j, q, q), xy, yy


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Everything the likelihood needs.

    Attributes
    ----------
    groups : tuple of PatternGroup
    n : numpy.ndarray of int, shape (B,)
        Rows used by each outcome.
    q : int
        Columns of X.
    shift : numpy.ndarray, shape (B, q)
        Least-squares coefficients taken off y beforehand, against cancellation.
    scale : numpy.ndarray, shape (B,)
        Residual variance of least squares: starting values, and the unit in which the y-sums
        are kept. NaN where an outcome has too few rows to estimate the fixed effects.
    """

    groups: tuple[PatternGroup, ...]
    n: np.ndarray
    q: int
    shift: np.ndarray
    scale: np.ndarray


def basis_of(problem: Problem, rows: np.ndarray) -> np.ndarray:
    """Return the constant covariance basis of some rows, shape (R, m, m)."""
    m = len(rows)
    out = []
    for r in problem.random:
        g = r.group[rows]
        same = (g[:, None] == g[None, :]) & (g[:, None] >= 0)
        z = r.z[rows]
        for i, j, _ in r.parameters:
            outer = np.outer(z[:, i], z[:, j])
            out.append(same * (outer if i == j else outer + outer.T))
    residual = problem.residual
    if residual.structure.linear:
        level, same = residual.level[rows], residual.same(rows)
        out += [b[np.ix_(level, level)] * same for b in residual.structure.basis()]
    return np.array(out).reshape(-1, m, m)


def make_moments(problem: Problem, y: np.ndarray) -> Moments:
    """Collect the sums over patterns.

    Parameters
    ----------
    problem : Problem
    y : numpy.ndarray, shape (B, rows)
        Outcomes over the problem's rows, NaN where missing.

    Returns
    -------
    Moments
    """
    present = ~np.isnan(y)
    if (present == present[0]).all():
        return _shared(problem, y, present[0])
    return _ragged(problem, y, present)


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """What a batch of one set of rows needs besides outcomes, worked out once for all batches.

    Attributes
    ----------
    x : numpy.ndarray, shape (n, q)
    orthogonal, triangle : numpy.ndarray, shapes (n, q) and (q, q)
        QR of X.
    usable : bool
        Whether the fixed effects can be estimated.
    found : tuple of lists of numpy.ndarray, each of shape (blocks, m)
        Per block size the rows of every pattern's blocks.
    groups : tuple of PatternGroup
        Without outcomes.
    """

    x: np.ndarray
    orthogonal: np.ndarray
    triangle: np.ndarray
    usable: bool
    found: tuple[list[np.ndarray], ...]
    groups: tuple[PatternGroup, ...]


@lru_cache(maxsize=2)
def _lay_out(problem: Problem, present: bytes) -> _Layout:
    """Lay out the rows that ``present`` (a mask as bytes) marks."""
    index = np.flatnonzero(np.frombuffer(present, dtype=bool))
    x = problem.x[index]
    n, q = x.shape
    usable = n > q and bool(_well_posed((x.T @ x)[None])[0])
    orthogonal, triangle = np.linalg.qr(x) if usable else (np.zeros((n, q)), np.eye(q))
    found = tuple(patterns_of(problem, index, blocks) for blocks in blocks_by_size(problem, index))
    groups = tuple(_shared_group(problem, index, rows, x) for rows in found)
    return _Layout(x, orthogonal, triangle, usable, found, groups)


def _shared(problem: Problem, y: np.ndarray, present: np.ndarray) -> Moments:
    """Every outcome has the same rows."""
    layout = _lay_out(problem, present.tobytes())
    x, orthogonal = layout.x, layout.orthogonal
    n, q = x.shape
    y = y[:, present]
    shift = np.linalg.solve(layout.triangle, orthogonal.T @ y.T).T if q else np.zeros((len(y), 0))
    e = y - shift @ x.T
    e = e - (e @ orthogonal) @ orthogonal.T  # once more, for data with a large mean
    scale = (e**2).sum(axis=1) / max(n - q, 1) if layout.usable else np.full(len(y), np.nan)
    e = e / np.sqrt(np.where(scale > 0, scale, 1.0))[:, None]
    return Moments(
        groups=tuple(
            _with_outcomes(group, found, x, e)
            for group, found in zip(layout.groups, layout.found, strict=True)
        ),
        n=np.full(len(y), n),
        q=q,
        shift=shift,
        scale=scale,
    )


def blocks_by_size(problem: Problem, index: np.ndarray) -> list[np.ndarray]:
    """Return, per block size m, the positions within ``index`` of its blocks, shape (blocks, m)."""
    block = problem.block[index]
    order = np.argsort(block, kind="stable")
    starts = np.flatnonzero(np.diff(block[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    return [
        order[starts[sizes == m][:, None] + np.arange(m)[None]] for m in np.unique(sizes).tolist()
    ]


def patterns_of(problem: Problem, index: np.ndarray, blocks: np.ndarray) -> list[np.ndarray]:
    """Split blocks of one size into patterns, in order of first appearance, (blocks, m) each.

    Blocks are alike when their rows share groups in the same way and have the same design of the
    random terms and the same levels of the residual factor: that decides the covariance basis.
    """
    rows = index[blocks]
    parts = [_first_of_group(r.group[rows]) for r in problem.random]
    parts += [r.z[rows].reshape(len(rows), -1) for r in problem.random]
    residual = problem.residual
    parts += [_first_of_group(residual.group[rows]), residual.level[rows]]
    key = np.ascontiguousarray(np.hstack([p.astype(np.float64) for p in parts]))
    flat = key.view(np.dtype((np.void, key.dtype.itemsize * key.shape[1]))).ravel()
    _, first, inverse = np.unique(flat, return_index=True, return_inverse=True)
    return [blocks[inverse == k] for k in np.argsort(first)]


def _first_of_group(group: np.ndarray) -> np.ndarray:
    """Return for every row of a block the first row of its group, -1 without one, (blocks, m)."""
    first = (group[:, :, None] == group[:, None, :]).argmax(axis=2)
    return np.where(group >= 0, first, -1)


def _residual_arrays(
    problem: Problem, blocks: list[np.ndarray]
) -> tuple[ResidualStructure | None, np.ndarray, np.ndarray]:
    residual = problem.residual
    if residual.structure.linear:
        return None, np.empty((2, 0), dtype=int), np.empty(0)
    levels = np.array([residual.level[rows] for rows in blocks])
    m = levels.shape[1]
    i = np.broadcast_to(levels[:, :, None], (len(blocks), m, m))
    j = np.broadcast_to(levels[:, None, :], (len(blocks), m, m))
    return residual.structure, np.array([i, j]), np.array([residual.same(rows) for rows in blocks])


def _shared_group(
    problem: Problem, index: np.ndarray, found: list[np.ndarray], x: np.ndarray
) -> PatternGroup:
    """Collect what the patterns of one block size need besides outcomes."""
    firsts = [index[rows[0]] for rows in found]
    structure, pairs, same = _residual_arrays(problem, firsts)
    return PatternGroup(
        basis=np.array([basis_of(problem, rows) for rows in firsts]),
        structure=structure,
        signed=FREE in problem.parameter_kinds,
        pairs=pairs,
        same=same,
        counts=np.array([len(rows) for rows in found], dtype=float),
        cross=cross_products([x[rows] for rows in found]),
        cells=np.empty(0, dtype=int),
        pattern=np.empty(0, dtype=int),
        xy=np.empty(0),
        yy=np.empty(0),
        x=np.empty(0),
        y=np.empty(0),
        mask=np.empty(0, dtype=bool),
    )


def _with_outcomes(
    group: PatternGroup, found: list[np.ndarray], x: np.ndarray, y: np.ndarray
) -> PatternGroup:
    """Add the sums over every pattern's blocks, (blocks, m) each, of x y' and y y'."""
    m, q, b = found[0].shape[1], x.shape[1], len(y)
    xy, yy = [], []
    for rows in found:
        flat = x[rows].reshape(len(rows), m * q)
        yb = y[:, rows]  # (B, blocks, m)
        sums = np.einsum("kf,bkm->bfm", flat, yb, optimize=True).reshape(b, m, q, m)
        sums = sums.transpose(0, 1, 3, 2)  # (B, m, m, q): x_a y_b
        xy.append((0.5 * (sums + sums.transpose(0, 2, 1, 3))).reshape(b, m * m, q))
        yy.append(np.einsum("bki,bkj->bij", yb, yb, optimize=True).reshape(b, m * m))
    return replace(group, xy=np.concatenate(xy, axis=1), yy=np.concatenate(yy, axis=1))


def _ragged(problem: Problem, y: np.ndarray, present: np.ndarray) -> Moments:
    """Every outcome misses rows of its own."""
    x, q = problem.x, problem.x.shape[1]
    n = present.sum(axis=1)
    filled = np.where(present, y, 0.0)
    normal = np.einsum("bn,ni,nj->bij", present.astype(float), x, x, optimize=True)
    usable = _well_posed(normal) & (n > q)
    normal[~usable] = np.eye(q)
    shift, e = np.zeros((len(y), q)), filled
    for _ in range(2):  # once more, for data with a large mean
        step = np.linalg.solve(normal, (e @ x)[:, :, None])[:, :, 0]
        shift = shift + step
        e = np.where(present, e - step @ x.T, 0.0)
    scale = np.where(usable, (e**2).sum(axis=1) / np.maximum(n - q, 1), np.nan)
    e = e / np.sqrt(np.where(scale > 0, scale, 1.0))[:, None]
    return Moments(
        groups=tuple(
            _ragged_group(problem, blocks, e, present)
            for blocks in blocks_by_size(problem, np.arange(len(x)))
        ),
        n=n,
        q=q,
        shift=shift,
        scale=scale,
    )


def _well_posed(normal: np.ndarray) -> np.ndarray:
    """Whether X'X is positive definite in working precision, shape (B,)."""
    unit = np.sqrt(np.maximum(np.einsum("bii->bi", normal), 1e-300))
    values = np.linalg.eigvalsh(normal / (unit[:, :, None] * unit[:, None, :]))
    return values[:, 0] > 1e-10 * values[:, -1]


def _ragged_group(
    problem: Problem, blocks: np.ndarray, e: np.ndarray, present: np.ndarray
) -> PatternGroup:
    """Collect blocks of one size, shape (P, m), every outcome with its own missing rows."""
    q = problem.x.shape[1]
    _, cell = np.unique(problem.x[blocks].reshape(len(blocks), -1), axis=0, return_inverse=True)
    order = np.argsort(cell, kind="stable")
    blocks, cell = blocks[order], cell[order]
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    found = patterns_of(problem, np.arange(len(problem.x)), blocks)
    first_row = {int(row): k for k, rows in enumerate(found) for row in rows[:, 0]}
    firsts = [rows[0] for rows in found]
    structure, pairs, same = _residual_arrays(problem, firsts)
    return PatternGroup(
        basis=np.array([basis_of(problem, rows) for rows in firsts]),
        structure=structure,
        signed=FREE in problem.parameter_kinds,
        pairs=pairs,
        same=same,
        counts=np.ones(len(blocks)),
        cross=cross_products([problem.x[rows][None] for rows in blocks[starts]]),
        cells=starts,
        pattern=np.array([first_row[int(row)] for row in blocks[:, 0]]),
        xy=np.empty(0),
        yy=np.empty(0),
        x=np.ascontiguousarray(problem.x[blocks].reshape(-1, q)),
        y=np.ascontiguousarray(e[:, blocks]),
        mask=np.ascontiguousarray(present[:, blocks]),
    )
