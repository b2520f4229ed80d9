"""Ordered categories: from a column to scores, cut points instead of an intercept, thresholds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ketastats.bayesian.families import FAMILIES
from ketastats.bayesian.likelihood import Likelihood
from ketastats.core.errors import DataError, FormulaError
from ketastats.problem.build import Problem
from ketastats.problem.columns import column_of
from ketastats.problem.rank import Aliasing
from ketastats.study.lookup import suggestion

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 1000
"""Range of whole numbers within which those without rows are looked for."""

NAMED = 8
"""Empty categories that a note names; more are counted."""


@dataclass(frozen=True, slots=True)
class Declared:
    """The categories that a column may have, lowest first.

    Attributes
    ----------
    scores : tuple of float
        What each counts in a mean: its number, else its place from 1 on.
    labels : tuple of str
    placed : bool
        Whether scores are places.
    """

    scores: tuple[float, ...]
    labels: tuple[str, ...]
    placed: bool


def with_scores(data: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a table whose outcome is the score of its category, NaN where there is none.

    Raises
    ------
    DataError
        For text or categories without an order, and numbers that are not whole.
    """
    import pandas as pd

    column = column_of(data, name)
    declared = declared_of(column, name)
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return data
    codes = column.cat.codes.to_numpy()
    scores = np.array([*declared.scores, np.nan])  # code -1, a missing value, is the last
    return data.assign(**{name: scores[codes]})


def declared_of(column: pd.Series, name: str) -> Declared:
    """Return the categories of an ordered Categorical, or the whole numbers of a column."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return _categorical(column.dtype, name)
    if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
        raise DataError(
            f"the outcome {name!r} is text, which has no order",
            where=name,
            mend='make it one: pandas.Categorical(values, ["none", "mild", ...], ordered=True)',
        )
    y = column.to_numpy(dtype=np.float64, na_value=np.nan)
    y = y[np.isfinite(y)]
    wrong = y % 1 != 0
    if wrong.any():
        raise DataError(
            f"{y[wrong][0]:g} is not a whole number, and categories are",
            where=name,
            mend="use another family, or cut the column into an ordered pandas.Categorical",
        )
    scores = np.unique(y)
    if len(y) and np.ptp(y) <= LONGEST:  # those between without rows, to name them
        scores = np.arange(y.min(), y.max() + 1)
    return Declared(tuple(scores.tolist()), tuple(f"{s:g}" for s in scores), False)


def _categorical(dtype: pd.CategoricalDtype, name: str) -> Declared:
    categories = dtype.categories
    labels = tuple(str(c) for c in categories)
    if not dtype.ordered:
        raise DataError(
            f"the categories of {name!r} have no order",
            where=name,
            mend=f"name it, lowest first: pandas.Categorical({name}, {list(labels)}, ordered=True)",
        )
    if categories.dtype.kind not in "iuf":
        return Declared(tuple(1.0 + i for i in range(len(labels))), labels, True)
    scores = categories.to_numpy(dtype=np.float64)
    if (np.diff(scores) <= 0).any():
        raise DataError(
            f"the categories of {name!r} are numbers that do not rise",
            where=name,
            mend="order them from low to high, or name them in words",
        )
    return Declared(tuple(scores.tolist()), tuple(f"{s:g}" for s in scores), False)


def ordered_rows(y: np.ndarray, column: pd.Series, name: str) -> tuple[Likelihood, tuple[str, ...]]:
    """Return the rows of the ordered family, and what to say of its categories.

    Parameters
    ----------
    y : numpy.ndarray, shape (rows,)
        Scores of the rows.
    column : pandas.Series
        As given.
    name : str

    Raises
    ------
    DataError
        For fewer than three categories with rows.
    """
    declared = declared_of(column, name)
    scores = np.unique(y)
    label = dict(zip(declared.scores, declared.labels, strict=True))
    if len(scores) < 3:
        raise DataError(
            f"{name} has {len(scores)} categories with rows, and the ordered family needs three",
            where=name,
            mend='code them as 0 and 1 and use family="binomial"',
        )
    labels = tuple(label[s] for s in scores.tolist())
    empty = [text for s, text in label.items() if s not in scores]
    notes = []
    if empty:
        some = "category" if len(empty) == 1 else "categories"
        rest = f" and {len(empty) - NAMED} more" if len(empty) > NAMED else ""
        notes.append(f"{name} has no rows at its {some} {', '.join(empty[:NAMED])}{rest}, left out")
    if declared.placed:
        count = ", ".join(f"{text} as {s:g}" for s, text in zip(scores, labels, strict=True))
        notes.append(f"in means the categories of {name} count by their place: {count}")
    rows = Likelihood(FAMILIES["ordered"], groups=(), scores=scores, categories=labels)
    return rows, tuple(notes)


@dataclass(frozen=True, slots=True)
class WithoutIntercept(Aliasing):
    """Aliasing whose reduced rows lack the intercept, which the cut points take.

    Attributes
    ----------
    intercept : int
        Its place among the kept columns.
    """

    intercept: int

    def reduce(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reduce coefficient rows to the kept columns without the intercept."""
        kept, estimable = Aliasing.reduce(self, rows)
        return np.delete(kept, self.intercept, axis=1), estimable


def without_intercept(problem: Problem) -> Problem:
    """Return a problem whose intercept has gone to the cut points."""
    j = problem.names.index("Intercept")
    aliasing = WithoutIntercept(problem.aliasing.kept, problem.aliasing.aliased, j)
    names = tuple(n for n in problem.names if n != "Intercept")
    return replace(problem, x=np.delete(problem.x, j, axis=1), names=names, aliasing=aliasing)


def check_intercept(problem: Problem) -> None:
    """Refuse a fixed part without an intercept, or with nothing else."""
    if "Intercept" not in problem.names:
        raise FormulaError(
            "cut points are intercepts, and the fixed part leaves the intercept out",
            mend="write no 0 in the formula",
        )
    if problem.names == ("Intercept",):
        raise FormulaError(
            "the fixed part has only an intercept, which the cut points take",
            mend="add a factor or a covariate",
        )


def to_data_units(
    gamma: np.ndarray, cuts: np.ndarray, back: np.ndarray, intercept: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients and cut points of the problem from those of the centred design.

    Parameters
    ----------
    gamma : numpy.ndarray, shape (chains, draws, q - 1)
        Without the intercept.
    cuts : numpy.ndarray, shape (chains, draws, cut points)
    back : numpy.ndarray, shape (q, q)
        Coefficients of the problem = back @ coefficients of the centred design.
    intercept : int
        Its column.
    """
    whole = np.insert(gamma, intercept, 0.0, axis=2) @ back.T
    return np.delete(whole, intercept, axis=2), cuts - whole[:, :, intercept, None]


def at_least(problem: Problem, rows: Likelihood, category: object) -> tuple[Problem, Likelihood]:
    """Return problem and rows whose outcome is whether a row is in a category or above it.

    Raises
    ------
    DataError
        For another family, an unknown category, or the lowest.
    """
    if not rows.cuts or (np.diff(rows.scores) == 0).any():
        raise DataError(
            "a probability of a category or above belongs to the ordered family",
            where="at_least",
            mend='sample with family="ordered"',
        )
    text = f"{category:g}" if isinstance(category, int | float | np.number) else str(category)
    if text in rows.categories:
        first = rows.categories.index(text)
    elif text.lstrip("-").isdigit() and rows.categories == tuple(f"{s:g}" for s in rows.scores):
        first = int(np.searchsorted(rows.scores, float(text)))  # a number without rows
    else:
        first = -1
    if not 0 < first < len(rows.scores):
        raise DataError(
            f"{text!r} is not a category above the lowest",
            where="at_least",
            mend=suggestion(text, rows.categories[1:]),
        )
    y = (problem.y >= rows.scores[first]) * 1.0
    scores = (np.arange(len(rows.scores)) >= first) * 1.0
    name = f"{problem.outcome} >= {text}"
    return replace(problem, y=y, outcome=name), replace(rows, scores=scores)
