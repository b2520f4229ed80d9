"""Random terms over the rows, and the independent blocks they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ketastats.core.errors import DataError
from ketastats.problem.columns import column_of
from ketastats.problem.inputs import FACTOR_ROLES
from ketastats.problem.residual import ResidualDesign
from ketastats.study.formula import RandomTerm


@dataclass(frozen=True, slots=True, eq=False)
class RandomDesign:
    """One random term over the rows.

    Attributes
    ----------
    term : RandomTerm
    z : numpy.ndarray, shape (rows, effects)
        Design of the term's effects; zero where a row belongs to no group.
    effects : tuple of str
        Names of the effects, ``("1",)`` for a random intercept.
    group : numpy.ndarray of int, shape (rows,)
        Group of every row; -1 where the row has none.
    levels : tuple of str
        Names of the groups.
    """

    term: RandomTerm
    z: np.ndarray
    effects: tuple[str, ...]
    group: np.ndarray
    levels: tuple[str, ...]

    @property
    def parameters(self) -> tuple[tuple[int, int, str], ...]:
        """Variances and covariances of the term: (effect i, effect j, name)."""
        k, name = len(self.effects), self.term.name
        if k == 1:
            only = self.effects[0]
            return ((0, 0, name if only == "1" else f"{name} {only}"),)
        return tuple(
            (i, j, f"{name} {self.effects[i]}" + ("" if i == j else f", {self.effects[j]}"))
            for i in range(k)
            for j in range(i, k)
        )


def random_designs(
    terms: Sequence[RandomTerm], data: pd.DataFrame, notes: list[str]
) -> tuple[RandomDesign, ...]:
    """Lay random terms out over the rows of a table; what a user should know goes to ``notes``.

    Raises
    ------
    DataError
        For a term with one group, a group per row, or the groups of another term.
    """
    factorised = cache(lambda name: _codes_and_labels(data, name))
    random = tuple(_random_design(t, data, factorised, notes) for t in terms)
    _check_random(random)
    return random


def _random_design(
    term: RandomTerm, data: pd.DataFrame, factorised: Factorised, notes: list[str]
) -> RandomDesign:
    codes = np.zeros(len(data), dtype=np.int64)
    absent = np.zeros(len(data), dtype=bool)
    grouping = [factorised(name) for name in term.group]
    for code, levels in grouping:
        absent |= code < 0
        codes = codes * (len(levels) + 1) + code
    _, first, group = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # groups in order of appearance
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    group = rank[group]
    named = [levels[code[first[order]]] for code, levels in grouping]
    levels_text = np.array([":".join(parts) for parts in zip(*named, strict=True)])
    if absent.any():
        notes.append(
            f"{int(absent.sum())} rows belong to no {term.name} and carry no such deviation"
        )
        present = np.unique(group[~absent])
        remap = np.full(len(levels_text), -1)
        remap[present] = np.arange(len(present))
        group, levels_text = np.where(absent, -1, remap[group]), levels_text[present]
    if len(levels_text) < 2:
        raise DataError(
            f"the random term ({term.text}) has {len(levels_text)} group",
            where=term.name,
            mend="a variance needs at least two groups; drop the term",
        )
    if len(levels_text) == len(data) and term.columns == ("1",):
        raise DataError(
            f"the random term ({term.text}) has one row per group, like the residual",
            where=term.name,
            mend="drop the term",
        )
    z, effects = _effects(term, data)
    z[group < 0] = 0.0
    return RandomDesign(term, z, effects, group, tuple(str(v) for v in levels_text))


Factorised = Callable[[str], tuple[np.ndarray, np.ndarray]]
"""Codes of a column, -1 where missing, and its levels as text."""


def _codes_and_labels(data: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    codes, levels = pd.factorize(column_of(data, name), sort=False)
    return codes, np.array([*(str(v) for v in levels), "nan"])  # code -1 finds the last


def _effects(term: RandomTerm, data: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...]]:
    columns, names = [], []
    for c in term.columns:
        if c == "1":
            columns.append(np.ones(len(data)))
            names.append("1")
            continue
        column = column_of(data, c)
        numeric = pd.api.types.is_numeric_dtype(column) and c not in FACTOR_ROLES
        if numeric and not pd.api.types.is_bool_dtype(column):
            columns.append(column.to_numpy(dtype=np.float64))
            names.append(c)
            continue
        category = column.astype("category")
        levels = [v for v in category.cat.categories if (category == v).any()]
        for level in levels[1:] if "1" in term.columns else levels:
            columns.append((category == level).to_numpy(dtype=np.float64))
            names.append(f"{c}[{level}]")
    return np.stack(columns, axis=1), tuple(names)


MAX_BLOCK = 2000
"""Rows of the largest independent block: its covariance matrix is inverted whole. At 2,000 rows
an iteration takes some seconds and half a gigabyte; both grow faster than the square."""


def small_enough(block: np.ndarray, random: Sequence[RandomDesign]) -> np.ndarray:
    """Return the blocks, or refuse one that is too large to invert."""
    largest = int(np.bincount(block).max())
    if largest > MAX_BLOCK:
        terms = " and ".join(f"({r.term.text})" for r in random) or "the residual structure"
        raise DataError(
            f"{terms} tie {largest} rows into one block, and at most {MAX_BLOCK} can be fitted",
            where="random terms",
            mend="nest the groups, or make one of crossed groups a fixed effect",
        )
    return block


def blocks_of(random: Sequence[RandomDesign], residual: ResidualDesign, n: int) -> np.ndarray:
    """Return the independent block of every row, shape (n,): connected component of all groups."""
    heads, tails, offset = [], [], n
    for group in [*(r.group for r in random), residual.group]:
        rows = np.flatnonzero(group >= 0)
        heads.append(rows)
        tails.append(offset + group[rows])
        offset += int(group.max(initial=-1)) + 1
    i, j = np.concatenate(heads), np.concatenate(tails)
    graph = coo_array((np.ones(len(i)), (i, j)), shape=(offset, offset))
    _, label = connected_components(graph, directed=False)
    return np.unique(label[:n], return_inverse=True)[1]


def _check_random(random: Sequence[RandomDesign]) -> None:
    """Refuse two random terms that are the same up to the names of their groups."""
    for i, a in enumerate(random):
        for b in random[:i]:
            pairs = len(np.unique(a.group * (len(b.levels) + 1) + b.group))
            same = pairs == len(np.unique(a.group)) == len(np.unique(b.group))
            if same and a.z.shape == b.z.shape and np.array_equal(a.z, b.z):
                raise DataError(
                    f"the random terms ({b.term.text}) and ({a.term.text}) are the same",
                    where=a.term.name,
                    mend="drop one of them",
                )


def absorbed(r: RandomDesign, x: np.ndarray) -> bool:
    """Whether fixed effects already tell the groups of a random term apart.

    Then its variance has no information. One combination of the groups with weights in general
    position lies in the span of x if and only if all of them do.
    """
    if len(r.effects) > 1 or len(r.levels) > x.shape[1] + 1:
        return False
    weights = np.sqrt(np.arange(2.0, 2.0 + len(r.levels)))
    z = np.where(r.group >= 0, weights[r.group], 0.0) * r.z[:, 0]
    left = z - x @ np.linalg.lstsq(x, z, rcond=None)[0]
    return bool(np.abs(left).max() <= 1e-9 * np.abs(z).max())
