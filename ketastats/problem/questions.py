"""Ad hoc questions of a fitted model, turned into estimands."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ketastats.core.errors import NotEstimable
from ketastats.problem.build import Problem
from ketastats.study.contrasts import cell_weights, parse_contrast
from ketastats.study.lookup import suggestion
from ketastats.study.model import Estimand


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Estimands as rows over the coefficients of a problem.

    Attributes
    ----------
    rows : numpy.ndarray, shape (K, q)
        Zeros where there is no answer.
    estimable : numpy.ndarray of bool, shape (K,)
    reasons : tuple of str
        Why there is none; empty where there is.
    """

    rows: np.ndarray
    estimable: np.ndarray
    reasons: tuple[str, ...]


def ask(problem: Problem, estimands: Sequence[Estimand]) -> Asked:
    """Turn estimands into rows over the coefficients, or say why the problem has no answer.

    There is none for a factor or level that the formula or the rows do not have, for cells that
    differ between the sides of a contrast, for a difference that the model holds at zero, and for
    columns that the data cannot tell apart.
    """
    grid, matrix = problem.fixed.grid()
    full = np.zeros((len(estimands), matrix.shape[1]))
    reasons = [""] * len(estimands)
    for k, estimand in enumerate(estimands):
        try:
            full[k] = cell_weights(estimand, grid) @ matrix
        except NotEstimable as error:
            reasons[k] = error.message
        else:
            if np.abs(full[k]).max(initial=0.0) < 1e-12:  # cells cancel to rounding
                term = ":".join(f for f, _ in estimand.contrast)
                reasons[k] = f"the model holds it at zero: add {term} to the formula"
    rows, estimable = problem.aliasing.reduce(full)
    aliased = "; ".join(f"aliased: {a.name} equals {a.equals}" for a in problem.aliasing.aliased)
    reasons = [r or ("" if ok else aliased) for r, ok in zip(reasons, estimable, strict=True)]
    estimable = np.array([not r for r in reasons], dtype=bool)
    return Asked(np.where(estimable[:, None], rows, 0.0), estimable, tuple(reasons))


def rows_of_questions(
    problem: Problem, estimands: Sequence[Estimand] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return estimands as rows over the coefficients with their names; None for the coefficients.

    Raises
    ------
    NotEstimable
        When the data cannot answer one of them.
    """
    if estimands is None:
        return np.eye(problem.x.shape[1]), problem.names
    asked = ask(problem, estimands)
    names = tuple(e.name for e in estimands)
    if not asked.estimable.all():
        k = int(np.argmin(asked.estimable))
        raise NotEstimable(f"the data cannot answer {names[k]!r}: {asked.reasons[k]}")
    return asked.rows, names


def as_estimands(
    problem: Problem,
    contrast: Mapping[str, str] | None,
    within: Mapping[str, str] | None = None,
    weights: Mapping[str, Mapping[str, float]] | None = None,
    estimands: Sequence[Estimand] | None = None,
) -> tuple[Estimand, ...]:
    """Return the estimands given, or the one the arguments describe.

    Raises
    ------
    NotEstimable
        For a factor or level the model does not contain.
    """
    if estimands is not None:
        return tuple(estimands)
    levels = dict(problem.fixed.factors)
    for name, value in (("contrast", contrast), ("within", within), ("weights", weights)):
        if value is not None and not isinstance(value, Mapping):
            raise NotEstimable(
                f"{name} is {value!r}, not a mapping", mend='write {"treatment": "B - A"}'
            )
    contrast = {str(k): str(v) for k, v in (contrast or {}).items()}
    within = {str(k): str(v) for k, v in (within or {}).items()}
    if not contrast:
        raise NotEstimable("no contrast is given", mend='such as {"treatment": "B - A"}')
    for factor in [*contrast, *within]:
        if factor not in levels:
            raise NotEstimable(
                f"the model has no factor {factor!r}", mend=suggestion(factor, levels)
            )
    for factor, level in within.items():
        if level not in levels[factor]:
            raise NotEstimable(
                f"{level!r} is not a level of {factor}", mend=suggestion(level, levels[factor])
            )
    parsed = tuple(
        (f, parse_contrast(text, levels[f], where=f"contrast.{f}")) for f, text in contrast.items()
    )
    name = ", ".join(contrast.values()).replace("'", "") + "".join(
        f" | {f}={v}" for f, v in within.items()
    )
    return (
        Estimand(
            name=name,
            outcome=problem.outcome,
            contrast=parsed,
            within=tuple(within.items()),
            weights=tuple((f, tuple(w.items())) for f, w in (weights or {}).items()),
            target="direct",
            label=name,
        ),
    )


def _known(problem: Problem, factors: Sequence[str]) -> dict[str, tuple[str, ...]]:
    levels = dict(problem.fixed.factors)
    for factor in factors:
        if factor not in levels:
            raise NotEstimable(
                f"the model has no factor {factor!r}", mend=suggestion(factor, levels)
            )
    return levels


def pair_estimands(
    problem: Problem, factor: str, within: Mapping[str, str] | None
) -> tuple[Estimand, ...]:
    """Return all differences between two levels of a factor, later minus earlier."""
    levels = _known(problem, [factor, *(within or {})])[factor]
    quoted = [f"'{level}'" for level in levels]
    return tuple(
        as_estimands(problem, {factor: f"{b} - {a}"}, within)[0]
        for a, b in itertools.combinations(quoted, 2)
    )


def mean_estimands(
    problem: Problem, factors: Sequence[str], within: Mapping[str, str] | None
) -> tuple[list[tuple[str, ...]], tuple[Estimand, ...]]:
    """Return the cells of some factors and one estimand for the mean of each."""
    levels = _known(problem, [*factors, *(within or {})])
    if not factors:
        raise NotEstimable("name at least one factor", mend='such as fit.means("treatment")')
    within = {str(k): str(v) for k, v in (within or {}).items()}
    cells = list(itertools.product(*(levels[f] for f in factors)))
    asked = tuple(
        Estimand(
            name=", ".join(cell),
            outcome=problem.outcome,
            contrast=tuple((f, ((level, 1.0),)) for f, level in zip(factors, cell, strict=True)),
            within=tuple((within or {}).items()),
            weights=(),
            target="direct",
            label=", ".join(cell),
        )
        for cell in cells
    )
    return cells, asked
