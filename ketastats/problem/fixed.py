"""The fixed part: design matrix and reference grid. formulaic reads formulas and transforms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ketastats.core.errors import DataError
from ketastats.problem.coding import (
    CODINGS,
    Numbers,
    Part,
    every_level_parts,
    full_rank_parts,
    part_columns,
)
from ketastats.problem.columns import column_of
from ketastats.problem.inputs import (
    classify,
    codes_of,
    learn_transforms,
    number_columns,
    plain_name,
    read_terms,
)
from ketastats.study.contrasts import Grid, full_grid
from ketastats.study.formula import names_in
from ketastats.study.lookup import suggestion


@dataclass(frozen=True, slots=True)
class TermColumns:
    """One term of the fixed part.

    Attributes
    ----------
    name : str
    factors, numbers : frozenset of str
        Its categorical parts, and its numeric ones as written (``log(dose)``).
    columns : tuple of int
        Columns in the matrix with every level.
    kept_columns : frozenset of int
        Columns in the full-rank coding.
    """

    name: str
    factors: frozenset[str]
    numbers: frozenset[str]
    columns: tuple[int, ...]
    kept_columns: frozenset[int]


@dataclass(frozen=True, slots=True, eq=False)
class FixedSpec:
    """Rebuilds the fixed-effects matrix on any rows.

    Attributes
    ----------
    text : str
        The fixed part.
    variables : tuple of str
        Columns it uses.
    factors : tuple of (str, tuple of str)
        Categorical columns and their levels as text.
    covariates : tuple of (str, float)
        Numeric columns and their means over the rows.
    coding : str
        Contrasts of the factors: treatment, sum or difference.
    terms : tuple of tuple of str
        Factors and numbers of every term; the intercept has none.
    parts : tuple of Part
        Blocks of columns of the full matrix.
    term_of : tuple of int
        Term of every column of the full matrix.
    columns : tuple of str
        Names of the columns of the full matrix.
    transforms : object
        formulaic's ModelSpec of transformed numbers (``log(dose)``, ``poly(dose, 2)``) with what
        it learned; None without any.
    codes : mapping of str to numpy.ndarray of int, shape (rows,)
        Levels of the rows it was learned on.
    numbers : mapping of str to (numpy.ndarray of shape (rows, k), names)
        Numbers of those rows.
    learned : numpy.ndarray, shape (rows, columns)
        The full matrix on those rows.
    """

    text: str
    variables: tuple[str, ...]
    factors: tuple[tuple[str, tuple[str, ...]], ...]
    covariates: tuple[tuple[str, float], ...]
    coding: str
    terms: tuple[tuple[str, ...], ...]
    parts: tuple[Part, ...]
    term_of: tuple[int, ...]
    columns: tuple[str, ...]
    transforms: Any
    codes: Mapping[str, np.ndarray]
    numbers: Numbers
    learned: np.ndarray

    def matrix(self, data: pd.DataFrame) -> np.ndarray:
        """Return the full matrix on rows of a table, shape (rows, columns).

        Raises
        ------
        DataError
            For a missing column or a level the model has not seen.
        """
        codes = {name: codes_of(data, name, levels) for name, levels in self.factors}
        values = {
            name: column_of(data, name).to_numpy(dtype=np.float64, na_value=np.nan)
            for name, _ in self.covariates
        }
        return self._build(codes, values, len(data))

    def _build(
        self, codes: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray], rows: int
    ) -> np.ndarray:
        numbers = number_columns(self.terms, values, self.transforms)
        return assemble(self.parts, codes, numbers, dict(self.factors), self.coding, rows)[0]

    def every_level(self, *, centred: bool = False) -> tuple[np.ndarray, tuple[TermColumns, ...]]:
        """Return the matrix with a column for every level of every term, and its terms.

        Parameters
        ----------
        centred : bool
            Take the mean off every number (transformed ones in the form in which they enter).
        """
        factors = dict(self.factors)
        parts = every_level_parts(self.terms, frozenset(factors))
        numbers = self.numbers
        if centred:
            numbers = {k: (a - a.mean(axis=0), names) for k, (a, names) in numbers.items()}
        matrix, _, term_of = assemble(
            parts, self.codes, numbers, factors, self.coding, len(self.learned)
        )
        terms = tuple(
            TermColumns(
                ":".join(term) or "1",
                frozenset(p for p in term if p in factors),
                frozenset(p for p in term if p not in factors),
                tuple(np.flatnonzero(np.array(term_of) == i).tolist()),
                frozenset(np.flatnonzero(np.array(self.term_of) == i).tolist()),
            )
            for i, term in enumerate(self.terms)
        )
        return matrix, terms

    def grid(self) -> tuple[Grid, np.ndarray]:
        """Return the reference grid and its matrix: all levels, covariates at their means."""
        return full_grid(self.factors), self.grid_matrix(dict(self.covariates))

    def grid_matrix(self, covariates: Mapping[str, float]) -> np.ndarray:
        """Return the matrix of the grid with covariates at given values, (cells, columns)."""
        grid = full_grid(self.factors)
        cells = np.array(grid.codes, dtype=int).reshape(len(grid.codes), -1)
        codes = {name: cells[:, i] for i, (name, _) in enumerate(self.factors)}
        values = {name: np.full(len(cells), float(v)) for name, v in covariates.items()}
        return self._build(codes, values, len(cells))


def assemble(
    parts: Sequence[Part],
    codes: Mapping[str, np.ndarray],
    numbers: Numbers,
    levels: Mapping[str, Sequence[str]],
    coding: str,
    rows: int,
) -> tuple[np.ndarray, tuple[str, ...], tuple[int, ...]]:
    """Return the columns of all parts, their names, and the term of each."""
    blocks = [np.empty((rows, 0))]
    names: list[str] = []
    terms: list[int] = []
    for part in parts:
        block, labels = part_columns(part, codes, numbers, levels, coding, rows)
        blocks.append(block)
        names += labels
        terms += [part.term] * len(labels)
    return np.hstack(blocks), tuple(names), tuple(terms)


def predictors(text: str) -> tuple[str, ...]:
    """Return the columns a fixed part uses."""
    return tuple(n for n in names_in(text) if n != "Intercept")


def fixed_spec(text: str, data: pd.DataFrame, coding: str = "treatment") -> FixedSpec:
    """Learn the fixed part on a table.

    Parameters
    ----------
    text : str
    data : pandas.DataFrame
        Rows without missing predictors.
    coding : str
        ``treatment``, ``sum`` or ``difference``.

    Raises
    ------
    FormulaError, DataError
    """
    if coding not in CODINGS:
        raise DataError(f"there are no contrasts {coding!r}", mend=suggestion(coding, CODINGS))
    written, forced = read_terms(text)
    variables = predictors(text)
    factors, codes, covariates, values = classify(variables, forced, data)
    terms = tuple(tuple(plain_name(p) for p in term) for term in written)
    levels = dict(factors)
    transforms = learn_transforms(terms, frozenset(levels), values, text)
    numbers = number_columns(terms, values, transforms)
    parts = full_rank_parts(terms, frozenset(levels))
    learned, names, term_of = assemble(parts, codes, numbers, levels, coding, len(data))
    return FixedSpec(
        text=text,
        variables=variables,
        factors=factors,
        covariates=covariates,
        coding=coding,
        terms=terms,
        parts=parts,
        term_of=term_of,
        columns=names,
        transforms=transforms,
        codes=codes,
        numbers=numbers,
        learned=learned,
    )
