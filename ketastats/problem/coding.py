"""How terms of a fixed part become columns: contrasts of factors, and products of parts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CODINGS = ("treatment", "sum", "difference")

Numbers = Mapping[str, tuple[np.ndarray, tuple[str, ...]]]
"""By number as written: its columns, shape (rows, k), and their names."""


def difference_contrasts(k: int) -> np.ndarray:
    r"""Return sum-to-zero contrasts in which any two levels differ by one unit of prior scale.

    An orthonormal basis of the contrasts divided by :math:`\sqrt 2`: with independent N(0, s²)
    coefficients every difference between two levels is N(0, s²), whatever the reference. For two
    levels the coefficient is the difference itself.

    Returns
    -------
    numpy.ndarray, shape (k, k - 1)

    Examples
    --------
    >>> difference_contrasts(2).ravel().round(12).tolist()
    [-0.5, 0.5]
    """
    helmert = np.zeros((k, k - 1))
    for j in range(1, k):
        helmert[:j, j - 1] = -1.0
        helmert[j, j - 1] = j
        helmert[:, j - 1] /= np.sqrt(j * (j + 1.0))
    return helmert / np.sqrt(2.0)


def contrast_matrix(levels: Sequence[str], coding: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the contrasts of a factor and the names of its columns.

    Parameters
    ----------
    levels : sequence of str
    coding : str
        ``treatment``: each level against the first. ``sum``: each level but the last against the
        mean of all (R's contr.sum). ``difference``: :func:`difference_contrasts`. ``every``: one
        column per level.

    Returns
    -------
    matrix : numpy.ndarray, shape (levels, columns)
    names : tuple of str

    Examples
    --------
    >>> contrast_matrix(["F", "M"], "sum")
    (array([[ 1.],
           [-1.]]), ('S.F',))
    """
    k = len(levels)
    if coding == "every":
        return np.eye(k), tuple(levels)
    if coding == "treatment":
        return np.eye(k)[:, 1:], tuple(f"T.{level}" for level in levels[1:])
    if coding == "sum":
        matrix = np.eye(k)[:, :-1]
        matrix[-1] = -1.0
        return matrix, tuple(f"S.{level}" for level in levels[:-1])
    return difference_contrasts(k), tuple(str(j + 1) for j in range(k - 1))


@dataclass(frozen=True, slots=True)
class Part:
    """A block of columns: the product of some factors and numbers.

    Attributes
    ----------
    term : int
        The term it belongs to.
    order : tuple of str
        Factors and numbers as written.
    every : frozenset of str
        Factors with a column for every level; the others have contrasts.
    """

    term: int
    order: tuple[str, ...]
    every: frozenset[str]


def full_rank_parts(terms: Sequence[tuple[str, ...]], factors: frozenset[str]) -> tuple[Part, ...]:
    """Return parts that span all terms without a column too many.

    A term of factors spans every combination of a subset of them. What earlier terms with the same
    numbers span already is left out; of the rest a combination with one factor more takes in the
    one with it missing, and has then a column for every level of that factor: ``0 + sex`` has two
    columns, ``dose:sex`` a slope for each sex. This is the rule of S, R and Wilkinson's notation
    (Wilkinson & Rogers 1973, Appl Stat 22:392).

    Parameters
    ----------
    terms : sequence of tuple of str
        Factors and numbers of each term; the intercept has none.
    factors : frozenset of str

    Examples
    --------
    >>> [(p.order, sorted(p.every)) for p in full_rank_parts([("sex",)], frozenset({"sex"}))]
    [(('sex',), ['sex'])]
    >>> [p.order for p in full_rank_parts([(), ("sex",)], frozenset({"sex"}))]
    [(), ('sex',)]
    """
    spanned: set[tuple[frozenset[str], frozenset[str]]] = set()
    out: list[Part] = []
    for index, term in enumerate(terms):
        own = [f for f in term if f in factors]
        numbers = frozenset(term) - factors
        subsets = [frozenset(c) for k in range(len(own) + 1)
                   for c in itertools.combinations(own, k)]  # fmt: skip
        new = [s for s in subsets if (numbers, s) not in spanned]
        spanned |= {(numbers, s) for s in new}
        for contrasts, every in _absorbed(new):
            inside = contrasts | every | numbers
            out.append(Part(index, tuple(f for f in term if f in inside), every))
    return tuple(out)


def _absorbed(
    subsets: Sequence[frozenset[str]],
) -> list[tuple[frozenset[str], frozenset[str]]]:
    """Return (factors by contrasts, factors by every level) that span the given subsets."""
    parts: list[tuple[frozenset[str], frozenset[str]]] = [(s, frozenset()) for s in subsets]
    while True:
        for i, j in itertools.combinations(range(len(parts)), 2):
            (short, every), (long, more) = parts[i], parts[j]
            if every == more and short < long and len(long) == len(short) + 1:
                parts[j] = (short, more | (long - short))
                del parts[i]
                break
        else:
            return parts


def every_level_parts(
    terms: Sequence[tuple[str, ...]], factors: frozenset[str]
) -> tuple[Part, ...]:
    """Return one part per term with a column for every combination of levels."""
    return tuple(Part(i, t, frozenset(t) & factors) for i, t in enumerate(terms))


def part_columns(
    part: Part,
    codes: Mapping[str, np.ndarray],
    numbers: Numbers,
    levels: Mapping[str, Sequence[str]],
    coding: str,
    rows: int,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the columns of a part, the first factor's levels varying fastest, and their names.

    Parameters
    ----------
    part : Part
    codes : mapping of str to numpy.ndarray of int, shape (rows,)
        Level of every row, by factor.
    numbers : Numbers
    levels : mapping of str to sequence of str
    coding : str
        Contrasts of the factors not in ``part.every``.
    rows : int

    Returns
    -------
    columns : numpy.ndarray, shape (rows, columns)
    names : tuple of str
    """
    out, names = np.ones((rows, 1)), [""]
    for name in part.order:
        if name in codes:
            chosen = "every" if name in part.every else coding
            matrix, labels = contrast_matrix(levels[name], chosen)
            block, labels = matrix[codes[name]], tuple(f"{name}[{label}]" for label in labels)
        else:
            block, labels = numbers[name]
        out = (block[:, :, None] * out[:, None, :]).reshape(rows, -1)
        names = [f"{before}:{label}" if before else label for label in labels for before in names]
    return out, tuple(n or "Intercept" for n in names)
