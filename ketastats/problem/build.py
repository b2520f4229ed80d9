"""From a formula and a table to a Problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ketastats.core.errors import DataError, FormulaError
from ketastats.problem.carry import refuse_aliased_carry_over
from ketastats.problem.columns import column_of
from ketastats.problem.fixed import FixedSpec, fixed_spec, predictors
from ketastats.problem.random import (
    RandomDesign,
    absorbed,
    blocks_of,
    random_designs,
    small_enough,
)
from ketastats.problem.rank import Aliasing, find_aliases
from ketastats.problem.residual import (
    BOUNDED,
    FREE,
    ResidualDesign,
    parse_residual,
    residual_design,
)
from ketastats.study.formula import RandomTerm, split_formula
from ketastats.study.tables import contradictions


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """A formula and a table as matrices.

    Attributes
    ----------
    outcome : str
        Column of the outcome; empty when the outcome comes as an array.
    formula : str
        Right side as given.
    y : numpy.ndarray, shape (rows,)
        Outcome of the rows used; empty when the outcome comes as an array.
    x : numpy.ndarray, shape (rows, columns)
        Fixed effects, full column rank.
    names : tuple of str
        Names of the columns of ``x``.
    aliasing : Aliasing
        Columns left out because others determine them.
    random : tuple of RandomDesign
    residual : ResidualDesign
    block : numpy.ndarray of int, shape (rows,)
        Independent block of every row: connected component of all groups.
    rows : numpy.ndarray of int
        Positions of the rows used in the table given.
    fixed : FixedSpec
        Rebuilds ``x`` on a reference grid.
    notes : tuple of str
        What a user should know: rows dropped, columns aliased.
    """

    outcome: str
    formula: str
    y: np.ndarray
    x: np.ndarray
    names: tuple[str, ...]
    aliasing: Aliasing
    random: tuple[RandomDesign, ...]
    residual: ResidualDesign
    block: np.ndarray
    rows: np.ndarray
    fixed: FixedSpec
    notes: tuple[str, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the covariance parameters, those of the residual last."""
        return (*(p[2] for r in self.random for p in r.parameters), *self.residual.structure.names)

    @property
    def parameter_kinds(self) -> tuple[int, ...]:
        """BOUNDED, POSITIVE or FREE per covariance parameter."""
        of_random = (BOUNDED if i == j else FREE for r in self.random for i, j, _ in r.parameters)
        return (*of_random, *self.residual.structure.kinds)


def build_problem(
    formula: str,
    data: pd.DataFrame,
    *,
    outcome: str | None = None,
    coding: str = "treatment",
    residual: str | None = None,
) -> Problem:
    """Build the matrices of a mixed model.

    Parameters
    ----------
    formula : str
        ``"y ~ treatment*sex + period + (1|subject)"``, or the right side only with ``outcome``.
    data : pandas.DataFrame
        Never changed.
    outcome : str, optional
        Column of the outcome when the formula has no left side. Without either the Problem has no
        outcome and serves outcomes given as arrays.
    coding : str
        ``treatment`` (first level is the reference), ``sum`` (against the mean of all levels) or
        ``difference`` (sum to zero; the coefficient of a two-level factor is the difference of its
        levels).
    residual : str, optional
        ``"by sex"`` or ``"un(visit | subject)"``; see :mod:`ketastats.problem.residual`.

    Returns
    -------
    Problem

    Raises
    ------
    FormulaError, DataError
        One sentence that names the column and the mend.
    """
    split = split_formula(formula)
    name = split.outcome or outcome or ""
    if split.outcome and outcome and split.outcome != outcome:
        raise FormulaError(f"the formula names {split.outcome!r} and the outcome is {outcome!r}")
    if not isinstance(data, pd.DataFrame):
        raise DataError("the data are not a pandas DataFrame", mend="read them with pandas first")
    notes: list[str] = []
    structure = parse_residual(residual)
    y_all = numeric_outcome(data, name) if name else None
    keep = _rows_to_keep(data, y_all, predictors(split.fixed), split.random, notes)
    used = data.iloc[keep]
    if len(used) == 0:
        raise DataError(
            "no row has both an outcome and all predictors", where=name or None,
            mend="check for empty columns",
        )  # fmt: skip
    refuse_aliased_carry_over(used, predictors(split.fixed))
    spec = fixed_spec(split.fixed, used, coding)
    x_full = spec.learned
    _check_matrix(x_full, spec)
    aliasing = find_aliases(x_full, spec.columns)
    notes += _unused_levels(used, spec)
    notes += [f"column {a.name} is left out: it equals {a.equals}" for a in aliasing.aliased]
    random = random_designs(split.random, used, notes)
    x = x_full[:, list(aliasing.kept)]
    taken = [absorbed(r, x) for r in random]
    notes += [
        f"({r.term.text}) is left out: the fixed effects already tell its groups apart"
        for r, out in zip(random, taken, strict=True)
        if out
    ]
    random = tuple(r for r, out in zip(random, taken, strict=True) if not out)
    notes += _slope_notes(used, spec, split.random)
    if {"treatment", "sequence", "period"} & set(spec.variables):
        notes += contradictions(used)
    design = residual_design(structure, used)
    y = y_all[keep] if y_all is not None else np.empty(0)
    if y_all is not None:
        notes += _copies(used, np.column_stack([x_full, y, *(r.group for r in random)]))
        _check_outcome(y, name, x)
    return Problem(
        outcome=name,
        formula=formula.split("~")[-1].strip(),
        y=y,
        x=x,
        names=tuple(spec.columns[i] for i in aliasing.kept),
        aliasing=aliasing,
        random=random,
        residual=design,
        block=small_enough(blocks_of(random, design, len(used)), random),
        rows=keep,
        fixed=spec,
        notes=tuple(notes),
    )


def numeric_outcome(data: pd.DataFrame, name: str) -> np.ndarray:
    """Return the outcome as float64 with NaN for missing, shape (rows,)."""
    column = column_of(data, name)
    if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
        raise DataError(
            f"the outcome {name!r} is not numeric",
            where=name,
            mend="convert it first, for example with pandas.to_numeric",
        )
    y = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(y).any():
        raise DataError(
            f"the outcome {name!r} has {int(np.isinf(y).sum())} infinite values",
            where=name,
            mend="set them to missing or correct them",
        )
    return y


def outcomes_of(y: np.ndarray, data: pd.DataFrame) -> np.ndarray:
    """Return outcomes as an array of shape (B, rows), or refuse them."""
    y = np.atleast_2d(np.asarray(y, dtype=np.float64))
    if y.ndim > 2:
        raise DataError(
            f"y has {y.ndim} dimensions", where="y", mend="give one row per outcome and one column "
            "per row of the data",
        )  # fmt: skip
    if y.shape[1] != len(data):
        raise DataError(
            f"y has {y.shape[1]} columns and the data {len(data)} rows", where="y",
            mend="give one column per row of the data",
        )  # fmt: skip
    if np.isinf(y).any():
        raise DataError("y has infinite values", where="y", mend="set them to NaN")
    return y


def _check_outcome(y: np.ndarray, name: str, x: np.ndarray) -> None:
    if np.ptp(y) == 0:
        raise DataError(
            f"the outcome {name!r} is constant ({y[0]:g})", where=name, mend="check the column"
        )
    if len(y) <= x.shape[1]:
        raise DataError(
            f"{len(y)} rows cannot estimate {x.shape[1]} fixed effects",
            where=name,
            mend="simplify the formula",
        )
    left = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    if np.abs(left).max() <= 1e-12 * np.abs(y - y.mean()).max():
        raise DataError(
            f"the fixed effects fit the outcome {name!r} exactly: nothing is left to estimate a "
            "variance from",
            where=name,
            mend="check the outcome, or simplify the formula",
        )


TWICE_UP_TO = 100_000
"""Rows up to which copies are looked for."""


def _unused_levels(data: pd.DataFrame, spec: FixedSpec) -> list[str]:
    """Say which declared levels have no row."""
    notes = []
    for name, levels in spec.factors:
        declared = getattr(data[name].dtype, "categories", ())
        absent = [str(v) for v in declared if str(v) not in levels]
        if absent:
            some = "level" if len(absent) == 1 else "levels"
            notes.append(f"{name} has no rows at its {some} {', '.join(absent)}, left out")
    return notes


def _copies(used: pd.DataFrame, numbers: np.ndarray) -> list[str]:
    """Say how many rows are copies; only where they are alike in all that the model sees."""
    if len(used) > TWICE_UP_TO or len(np.unique(numbers, axis=0)) == len(used):
        return []
    twice = int(used.duplicated().sum())
    return [f"{twice} rows stand twice, the same in every column: check for copies"] * (twice > 0)


def _slope_notes(data: pd.DataFrame, spec: FixedSpec, random: Sequence[RandomTerm]) -> list[str]:
    """Say which whole-number columns are slopes, where a factor may be meant."""
    grouping = {name for t in random for name in t.group}
    notes = []
    for name, _ in spec.covariates:
        if name in grouping:
            notes.append(f"{name} is a slope in the fixed part and a group in the random part")
        elif pd.api.types.is_integer_dtype(data[name]) and 3 <= data[name].nunique() <= 12:
            notes.append(f"{name} is numeric and fitted as a slope; write C({name}) for a factor")
    return notes


def _check_matrix(x: np.ndarray, spec: FixedSpec) -> None:
    if x.shape[1] == 0:
        raise FormulaError(
            f"the fixed part {spec.text!r} has no column", mend="keep the intercept: write 1 + ..."
        )
    bad = ~np.isfinite(x).all(axis=0)
    if bad.any():
        name, rows = spec.columns[int(np.argmax(bad))], ~np.isfinite(x[:, bad]).all(axis=1)
        raise DataError(
            f"the column {name!r} is not finite in {int(rows.sum())} rows",
            where=name,
            mend="check for log(0) or overflow in its formula",
        )


def _rows_to_keep(
    data: pd.DataFrame,
    y: np.ndarray | None,
    names: Sequence[str],
    random: Sequence[RandomTerm],
    notes: list[str],
) -> np.ndarray:
    keep = np.ones(len(data), dtype=bool)
    if y is not None:
        keep = ~np.isnan(y)
        if not keep.any():
            raise DataError("the outcome is missing in every row", mend="check the column name")
    slopes = [c for t in random for c in t.columns if c != "1"]
    for name in dict.fromkeys([*names, *slopes]):
        absent = column_of(data, name).isna().to_numpy() & keep
        if absent.any():
            notes.append(f"{int(absent.sum())} rows without {name} are left out")
            keep &= ~absent
    if y is not None and (missing := int(np.isnan(y).sum())):
        notes.insert(0, f"{missing} rows without an outcome are left out")
    return np.flatnonzero(keep)
