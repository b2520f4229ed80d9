"""A population-averaged fit with a status, and a sentence for every status that is not ok."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ketastats.core.threads import one_thread
from ketastats.frequentist.gee_kernel import (
    Rows,
    Sandwich,
    Solution,
    between_df,
    sandwich,
    solve_equations,
)
from ketastats.problem.build import Problem
from ketastats.problem.rank import find_aliases

FAR = 10.0
"""Linear predictors beyond this are checked for separation: shares of 5e-5 and less."""


@dataclass(frozen=True, slots=True, eq=False)
class GeeFit:
    """A population-averaged fit.

    Attributes
    ----------
    rows : Rows
    solution : Solution
    made : Sandwich or None
        None where there is no covariance to trust; ``reasons`` say why.
    units : int
    between : float
        Units minus the rank of the columns that vary between units only.
    status : str
        ok, boundary, unconverged or failed.
    reasons : tuple of str
        Sentences about a status that is not ok.
    """

    rows: Rows
    solution: Solution
    made: Sandwich | None
    units: int
    between: float
    status: str
    reasons: tuple[str, ...]


@one_thread()
def fit_gee(problem: Problem, rows: Rows, covariance: str) -> GeeFit:
    """Solve the estimating equations and make the covariance; say what stands in the way.

    Parameters
    ----------
    problem : Problem
        With the unit as its one random term.
    rows : Rows
    covariance : str
        One of :data:`.gee_kernel.POWERS`.
    """
    solution = solve_equations(rows)
    units, between = len(problem.random[0].levels), between_df(rows.x, rows.group)

    def ended(status: str, reasons: Sequence[str], made: Sandwich | None = None) -> GeeFit:
        return GeeFit(rows, solution, made, units, between, status, tuple(reasons))

    if not solution.converged or np.abs(rows.x @ solution.beta).max() > FAR:
        apart = separated(rows)
        if apart.any():
            return ended("failed", [_separation(problem, rows, apart)])
    if not solution.converged:
        return ended(
            "unconverged",
            [f"the fit did not converge in {solution.iterations} iterations; there are no numbers"],
        )
    made = sandwich(solution.x, solution.residual, rows.group, covariance)
    if made.alone or between < 1:
        return ended("failed", _too_few(problem, made.alone, between))
    if solution.held:
        text = f"the working correlation is held at {solution.correlation:.2f} (boundary)"
        return ended("boundary", [text + "; the covariance allows for it"], made)
    return ended("ok", [], made)


def separated(rows: Rows) -> np.ndarray:
    """Return the rows at a limit of the outcome that the formula can fit exactly, shape (N,).

    A direction d that no row between the limits and no row at a limit speaks against (x d >= 0 at
    the upper limit, <= 0 at the lower, 0 between) makes the equations have no finite solution
    (Albert & Anderson 1984, Biometrika 71:1). It is found by linear programming (Konis 2007).

    Parameters
    ----------
    rows : Rows
    """
    from scipy.optimize import linprog

    if rows.family.link == "identity":
        return np.zeros(len(rows.y), dtype=bool)
    top = rows.y == 1 if rows.family.link == "logit" else np.zeros(len(rows.y), dtype=bool)
    sign = np.where(top, 1.0, np.where(rows.y == 0, -1.0, 0.0))
    x = rows.x / np.abs(rows.x).max(axis=0)
    limit = np.unique(x[sign != 0] * sign[sign != 0, None], axis=0)
    between = np.unique(x[sign == 0], axis=0)
    if not len(limit):
        return sign != 0
    found = linprog(
        -limit.sum(axis=0),
        A_ub=-limit,
        b_ub=np.zeros(len(limit)),
        A_eq=between if len(between) else None,
        b_eq=np.zeros(len(between)) if len(between) else None,
        bounds=(-1, 1),
    )
    if found.x is None:
        return np.zeros(len(sign), dtype=bool)
    return np.asarray(sign * (x @ found.x) > 1e-7)


def _separation(problem: Problem, rows: Rows, apart: np.ndarray) -> str:
    names = []
    for factor, levels in problem.fixed.factors:
        seen = np.unique(problem.fixed.codes[factor][apart])
        if len(seen) == 1:
            names.append(f"{factor}={levels[seen[0]]}")
    limits = np.unique(rows.y[apart])
    what = "at a limit" if len(limits) > 1 else "0" if limits[0] == 0 else "successes only"
    where = f" ({', '.join(names)})" if names else ""
    return (
        f"separation: {int(apart.sum())} rows{where} are {what} and the formula can fit them "
        f"exactly, so a coefficient is infinite on the {rows.family.link} scale; join cells, or "
        "use a model with priors"
    )


def _too_few(problem: Problem, alone: tuple[int, ...], between: float) -> list[str]:
    """Say which units decide a coefficient by themselves, and where no unit is left over."""
    unit = problem.random[0]
    out = []
    if between < 1:
        out.append(
            f"{len(unit.levels)} units of {unit.term.name} leave {between:.0f} degrees of freedom "
            "between units; simplify the formula"
        )
    for k in alone[:3]:
        lost = find_aliases(problem.x[unit.group != k], problem.names).aliased
        names = ", ".join(a.name for a in lost) or "a combination of coefficients"
        out.append(
            f"{unit.term.name} {unit.levels[k]!r} alone decides {names}: a cell needs two units "
            "or more"
        )
    if len(alone) > 3:
        out.append(f"and so do {len(alone) - 3} more")
    return out
