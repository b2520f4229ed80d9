"""The fixed part: design matrix and reference grid, through formulaic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ketastats.core.errors import DataError, FormulaError
from ketastats.problem.columns import column_of
from ketastats.study.contrasts import Grid, cell_weights, full_grid
from ketastats.study.formula import names_in
from ketastats.study.model import Estimand

FACTOR_ROLES = ("sequence", "period", "treatment", "subject")
"""Columns that are factors whatever their type: a period coded 1, 2, 3 is not a straight line."""


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
    columns : tuple of str
        Names of the columns of the full matrix.
    spec : object
        formulaic's ModelSpec with learned state.
    frame : pandas.DataFrame
        The columns it was learned on: text categories and floats.
    learned : numpy.ndarray, shape (rows, columns)
        The full matrix on those rows.
    """

    text: str
    variables: tuple[str, ...]
    factors: tuple[tuple[str, tuple[str, ...]], ...]
    covariates: tuple[tuple[str, float], ...]
    columns: tuple[str, ...]
    spec: Any
    frame: pd.DataFrame
    learned: np.ndarray

    def matrix(self, data: pd.DataFrame) -> np.ndarray:
        """Return the full matrix on rows of a table, shape (rows, columns)."""
        return self._build(_prepare(data, self.factors, self.covariates))

    def _build(self, frame: pd.DataFrame) -> np.ndarray:
        if not self.columns:
            return np.empty((len(frame), 0))
        with np.errstate(all="ignore"):  # log(0) is named by the check of the finished matrix
            matrix = self.spec.get_model_matrix(frame, context=_context())
        return np.asarray(matrix, dtype=np.float64)

    def every_level(self) -> tuple[np.ndarray, tuple[TermColumns, ...]]:
        """Return the matrix with a column for every level of every term, and its terms."""
        from formulaic import Formula

        full = Formula(list(self.spec.formula)).get_model_matrix(
            self.frame, context=_context(), na_action="ignore", ensure_full_rank=False
        )
        factors = dict(self.factors)
        kept = {_term_name(t): s for t, s in self.spec.term_slices.items()}
        terms = []
        for term, where in full.model_spec.term_slices.items():
            parts = [_plain_factor(f.expr) for f in term.factors if f.expr != "1"]
            name = _term_name(term)
            terms.append(
                TermColumns(
                    name,
                    frozenset(p for p in parts if p in factors),
                    frozenset(p for p in parts if p not in factors),
                    tuple(range(where.start, where.stop)),
                    frozenset(range(kept[name].start, kept[name].stop)),
                )
            )
        return np.asarray(full, dtype=np.float64), tuple(terms)

    def grid(self) -> tuple[Grid, np.ndarray]:
        """Return the reference grid and its matrix: all levels, covariates at their means."""
        return full_grid(self.factors), self.grid_matrix(dict(self.covariates))

    def grid_matrix(self, covariates: dict[str, float]) -> np.ndarray:
        """Return the matrix of the grid with covariates at given values, (cells, columns)."""
        grid = full_grid(self.factors)
        codes = np.array(grid.codes, dtype=int).reshape(len(grid.codes), -1)
        frame = pd.DataFrame(
            {
                name: pd.Categorical.from_codes(codes[:, i].astype(int), pd.Index(levels))
                for i, (name, levels) in enumerate(self.factors)
            },
            index=range(len(grid.codes)),
        )
        for name, value in covariates.items():
            frame[name] = value
        return self._build(frame)

    def rows_for(self, estimands: tuple[Estimand, ...]) -> np.ndarray:
        """Return one coefficient row per estimand, shape (estimands, all columns)."""
        grid, matrix = self.grid()
        return np.array([cell_weights(e, grid) @ matrix for e in estimands]).reshape(
            len(estimands), matrix.shape[1]
        )


def predictors(text: str) -> tuple[str, ...]:
    """Return the columns a fixed part uses."""
    return tuple(n for n in names_in(text) if n != "Intercept")


def fixed_spec(text: str, data: pd.DataFrame, coding: str = "treatment") -> FixedSpec:
    """Learn the fixed part on a table.

    Raises
    ------
    FormulaError, DataError
    """
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    try:
        terms = list(Formula(text))
    except FormulaicError as error:
        raise FormulaError(f"cannot read the fixed part {text!r}") from error
    variables = predictors(text)
    forced = {f.expr[2:-1].strip() for t in terms for f in t.factors if _is_plain_c(f.expr)}
    factors, covariates = _classify(variables, forced, data)
    frame = _prepare(data, factors, covariates)
    levels = {name: len(ls) for name, ls in factors}
    formula = Formula([_recode(t, levels, coding) for t in terms])
    try:
        with np.errstate(all="ignore"):
            matrix = formula.get_model_matrix(
                frame, context=_context(levels.values()), na_action="ignore"
            )
    except FormulaicError as error:
        raise FormulaError(f"cannot build {text!r} on the data ({error})") from error
    raw = tuple(str(c) for c in matrix.columns)
    return FixedSpec(
        text=text,
        variables=variables,
        factors=factors,
        covariates=covariates,
        columns=tuple(_plain_name(c, levels) for c in raw),
        spec=matrix.model_spec,
        frame=frame,
        learned=np.asarray(matrix, dtype=np.float64).reshape(len(frame), len(raw)),
    )


def _is_plain_c(expr: str) -> bool:
    return expr.startswith("C(") and expr.endswith(")") and expr[2:-1].strip().isidentifier()


def _classify(
    variables: tuple[str, ...], forced: set[str], data: pd.DataFrame
) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], tuple[tuple[str, float], ...]]:
    factors, covariates = [], []
    for name in variables:
        column = column_of(data, name)
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        if numeric and name not in forced and name not in FACTOR_ROLES:
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            if np.isinf(values).any():
                raise DataError(f"the column {name!r} has infinite values", where=name)
            covariates.append(
                (name, float(np.nanmean(values)) if np.isfinite(values).any() else 0.0)
            )
            continue
        category = column.astype("category")
        present = category.cat.remove_unused_categories().cat.categories
        if len(present) < 2:
            only = f" ({present[0]})" if len(present) else ""
            raise DataError(
                f"the factor {name!r} has only one level{only} in the rows used",
                where=name,
                mend="leave it out of the formula",
            )
        factors.append((name, tuple(str(v) for v in present)))
    return tuple(factors), tuple(covariates)


def _prepare(
    data: pd.DataFrame,
    factors: tuple[tuple[str, tuple[str, ...]], ...],
    covariates: tuple[tuple[str, float], ...],
) -> pd.DataFrame:
    """Return a new frame of the needed columns: text categories and floats."""
    out: dict[str, Any] = {}
    for name, levels in factors:
        column = data[name]
        text = [None if pd.isna(v) else str(v) for v in column]
        out[name] = pd.Categorical(text, categories=list(levels))
    for name, _ in covariates:
        out[name] = data[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return pd.DataFrame(out, index=range(len(data)))


def _recode(term: Any, levels: dict[str, int], coding: str) -> Any:
    """Return a formulaic term whose categorical factors use the wanted contrasts."""
    from formulaic.parser.types import Factor, Term

    new = []
    for f in term.factors:
        name = f.expr[2:-1].strip() if _is_plain_c(f.expr) else f.expr
        if name not in levels:
            new.append(f)
        elif coding == "difference":
            new.append(Factor(f"C({name}, difference_{levels[name]})", eval_method="python"))
        else:
            new.append(Factor(name, eval_method="lookup"))
    return Term(new)


def _context(sizes: Any = range(2, 41)) -> dict[str, Any]:
    """Return what a formula may call, and the difference contrasts by number of levels."""
    from formulaic.transforms.contrasts import CustomContrasts

    allowed: dict[str, Any] = {"log": np.log, "exp": np.exp, "sqrt": np.sqrt}
    for k in set(sizes):
        names = [str(j + 1) for j in range(k - 1)]
        allowed[f"difference_{k}"] = CustomContrasts(difference_contrasts(k), names=names)
    return allowed


def _plain_factor(expr: str) -> str:
    """``C(sex, difference_2)`` -> ``sex``."""
    return expr[2:-1].split(",")[0].strip() if expr.startswith("C(") else expr


def _term_name(term: Any) -> str:
    return ":".join(_plain_factor(f.expr) for f in term.factors)


def _plain_name(column: str, levels: dict[str, int]) -> str:
    """``C(sex, difference_2)[1]`` -> ``sex[1]``."""
    for name, k in levels.items():
        column = column.replace(f"C({name}, difference_{k})", name)
    return column
