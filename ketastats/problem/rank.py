"""Aliased columns of a design matrix, found in order and explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TOLERANCE = 1e-9
"""A column is aliased when what is left of it after projection on the earlier ones is shorter than
this share of it; designs of indicators lose 1e-15, collinear covariates in practice keep 1e-6."""


@dataclass(frozen=True, slots=True)
class Aliased:
    """One column and what it equals."""

    index: int
    name: str
    combination: tuple[float, ...]
    equals: str


@dataclass(frozen=True, slots=True)
class Aliasing:
    """Kept and aliased columns.

    Attributes
    ----------
    kept : tuple of int
        Indices of a full-rank set of columns, earlier columns first.
    aliased : tuple of Aliased
        Each with its combination over the kept columns.
    """

    kept: tuple[int, ...]
    aliased: tuple[Aliased, ...]

    def reduce(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r"""Reduce coefficient rows to the kept columns.

        With :math:`x_j = X_k c_j` a row l is estimable when :math:`l_j = l_k \cdot c_j` for every
        aliased j.

        Parameters
        ----------
        rows : numpy.ndarray, shape (k, all columns)

        Returns
        -------
        reduced : numpy.ndarray, shape (k, kept columns)
        estimable : numpy.ndarray of bool, shape (k,)
        """
        kept = rows[:, list(self.kept)]
        estimable = np.ones(len(rows), dtype=bool)
        for a in self.aliased:
            gap = np.abs(rows[:, a.index] - kept @ np.array(a.combination))
            estimable &= gap <= 1e-8 * np.maximum(1.0, np.abs(rows).max(axis=1))
        return kept, estimable


def find_aliases(x: np.ndarray, names: Sequence[str]) -> Aliasing:
    """Find columns that are linear combinations of earlier ones.

    Parameters
    ----------
    x : numpy.ndarray, shape (rows, columns)
    names : sequence of str

    Returns
    -------
    Aliasing
    """
    basis: list[np.ndarray] = []
    kept: list[int] = []
    lost: list[int] = []
    for j in range(x.shape[1]):
        v = x[:, j].astype(float)
        length = np.linalg.norm(v)
        for _ in range(2):  # twice is enough (Kahan; Parlett 1980)
            for q in basis:
                v = v - (q @ v) * q
        if length == 0 or np.linalg.norm(v) <= TOLERANCE * length:
            lost.append(j)
        else:
            basis.append(v / np.linalg.norm(v))
            kept.append(j)
    aliased = []
    for j in lost:
        c = np.linalg.lstsq(x[:, kept], x[:, j], rcond=None)[0]
        c[np.abs(c) < 1e-8] = 0.0
        aliased.append(Aliased(j, names[j], tuple(c), _in_words(c, [names[k] for k in kept])))
    return Aliasing(tuple(kept), tuple(aliased))


def _in_words(c: np.ndarray, names: Sequence[str]) -> str:
    parts = []
    for value, name in zip(c, names, strict=True):
        if value:
            size = "" if abs(abs(value) - 1) < 1e-8 else f"{abs(value):.3g} "
            parts.append(f"{'-' if value < 0 else '+'} {size}{name}")
    return " ".join(parts).removeprefix("+ ") or "zero (the combination does not occur)"
