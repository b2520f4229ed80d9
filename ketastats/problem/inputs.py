"""What a fixed part is made of: its terms as written, factors as codes, numbers as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from ketastats.core.errors import DataError, FormulaError
from ketastats.problem.coding import Numbers
from ketastats.problem.columns import column_of
from ketastats.study.formula import names_in
from ketastats.study.lookup import suggestion

FACTOR_ROLES = ("sequence", "period", "treatment", "subject")
"""Columns that are factors whatever their type: a period coded 1, 2, 3 is not a straight line."""


@lru_cache(maxsize=256)
def read_terms(text: str) -> tuple[tuple[tuple[str, ...], ...], frozenset[str]]:
    """Return the terms of a fixed part as written, and the columns inside C()."""
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    try:
        terms = list(Formula(text))
    except FormulaicError as error:
        raise FormulaError(f"cannot read the fixed part {text!r}") from error
    out, forced = [], set()
    for term in terms:
        parts = [f.expr for f in term.factors if f.eval_method.value != "literal"]
        for p in parts:
            if p.startswith("C("):
                if not p[2:-1].strip().isidentifier():
                    raise FormulaError(
                        f"{p} in {text!r} is not C() of one column", mend="write C(visit)"
                    )
                forced.add(plain_name(p))
        out.append(tuple(parts))
    return tuple(out), frozenset(forced)


def plain_name(part: str) -> str:
    """``C(visit)`` -> ``visit``."""
    return part[2:-1].strip() if part.startswith("C(") else part


def classify(
    variables: tuple[str, ...], forced: frozenset[str], data: pd.DataFrame
) -> tuple[
    tuple[tuple[str, tuple[str, ...]], ...],
    dict[str, np.ndarray],
    tuple[tuple[str, float], ...],
    dict[str, np.ndarray],
]:
    """Return the factors with levels, their codes, the covariates with means, their values."""
    factors, codes, covariates, numbers = [], {}, [], {}
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
            numbers[name] = values
            continue
        category = column.astype("category").cat
        present, inverse = np.unique(category.codes.to_numpy(), return_inverse=True)
        levels = tuple(str(category.categories[i]) for i in present if i >= 0)
        if len(levels) < 2:
            only = f" ({levels[0]})" if levels else ""
            raise DataError(
                f"the factor {name!r} has only one level{only} in the rows used",
                where=name,
                mend="leave it out of the formula",
            )
        factors.append((name, levels))
        codes[name] = inverse - (len(present) - len(levels))
    return tuple(factors), codes, tuple(covariates), numbers


def codes_of(data: pd.DataFrame, name: str, levels: Sequence[str]) -> np.ndarray:
    """Return the level of every row of a factor, shape (rows,)."""
    text = column_of(data, name).astype("object")
    known = {level: i for i, level in enumerate(levels)}
    codes = np.array([known.get(str(v), -1) for v in text], dtype=np.int64)
    if len(codes) and codes.min() < 0:
        value = text.iloc[int(np.argmin(codes))]
        raise DataError(
            f"{value!r} is not a level of {name!r} in the model",
            where=name,
            mend=suggestion(str(value), levels),
        )
    return codes


def learn_transforms(
    terms: Sequence[tuple[str, ...]],
    factors: frozenset[str],
    values: Mapping[str, np.ndarray],
    text: str,
) -> Any:
    """Return formulaic's spec of the numbers that are not plain columns, None without any."""
    from formulaic import Formula
    from formulaic.errors import FormulaicError
    from formulaic.parser.types import Factor, Term

    made = dict.fromkeys(p for t in terms for p in t if p not in factors and p not in values)
    if not made:
        return None
    for p in made:
        inside = sorted(factors & set(names_in(p)))
        if inside:
            raise FormulaError(
                f"{p} in {text!r} needs numbers, and {inside[0]!r} is a factor",
                mend="use the factor itself",
            )
    formula = Formula([Term([Factor(p, eval_method="python")]) for p in made])
    try:
        with np.errstate(all="ignore"):  # log(0) is named by the check of the finished matrix
            matrix = formula.get_model_matrix(
                pd.DataFrame(dict(values)), context=_context(), na_action="ignore"
            )
    except FormulaicError as error:
        raise FormulaError(f"cannot build {text!r} on the data ({error})") from error
    return matrix.model_spec


def number_columns(
    terms: Sequence[tuple[str, ...]], values: Mapping[str, np.ndarray], transforms: Any
) -> Numbers:
    """Return every number a term uses: its columns and their names."""
    out: dict[str, tuple[np.ndarray, tuple[str, ...]]] = {
        p: (values[p][:, None], (p,))
        for p in dict.fromkeys(p for term in terms for p in term)
        if p in values
    }
    if transforms is not None:
        with np.errstate(all="ignore"):
            matrix = transforms.get_model_matrix(pd.DataFrame(dict(values)), context=_context())
        array = np.asarray(matrix, dtype=np.float64)
        names = tuple(str(c) for c in matrix.columns)
        for term, where in transforms.term_slices.items():
            out[str(term)] = (array[:, where], names[where])
    return out


def _context() -> dict[str, Any]:
    """Return what a formula may call beside formulaic's own transforms."""
    return {"log": np.log, "exp": np.exp, "sqrt": np.sqrt}
