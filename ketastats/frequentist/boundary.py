"""A variance estimated as zero: the answers with it kept, left out, and with its groups fixed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ketastats.frequentist import small_sample
from ketastats.frequentist.fit import contrast_table, fit_problem
from ketastats.frequentist.reml import RemlFit
from ketastats.problem.build import Problem
from ketastats.problem.random import absorbed, blocks_of
from ketastats.problem.rank import find_aliases

FIXED_UP_TO = 500
"""Groups that are fitted as fixed effects; with more the answer would take seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class BoundaryAnswers:
    """Three answers where random intercepts are estimated as zero.

    Attributes
    ----------
    zero : tuple of str
        Names of the zero terms.
    kept, left_out : ContrastTable
        The fit with the zero components counted in the degrees of freedom, and without them.
    fixed : ContrastTable or None
        A fit with the groups of the zero terms as fixed effects; None with too many groups.
    estimable : numpy.ndarray of bool, shape (K,)
        Whether the fixed fit can answer a contrast: not what varies between the groups.
    """

    zero: tuple[str, ...]
    kept: small_sample.ContrastTable
    left_out: small_sample.ContrastTable
    fixed: small_sample.ContrastTable | None
    estimable: np.ndarray

    def columns(self) -> dict[tuple[str, str], np.ndarray]:
        """Return estimate, se, df and p of the three answers; NaN where one does not exist."""
        groups = " and ".join(self.zero)
        answers = {"kept": self.kept, "left out": self.left_out, f"{groups} fixed": self.fixed}
        out = {}
        for name, table in answers.items():
            for number in ("estimate", "se", "df", "p"):
                values = np.full(len(self.estimable), np.nan)
                if table is not None:
                    values = getattr(table, number)[0].copy()
                if table is self.fixed:
                    values[~self.estimable] = np.nan
                out[name, number] = values
        return out

    def sentence(self, k: int) -> str:
        """Say the three answers to contrast k in one line."""
        groups = " and ".join(self.zero)
        kept, left = float(self.kept.df[0, k]), float(self.left_out.df[0, k])
        start = f"{groups} at 0: {kept:.4g} df with it kept, {left:.4g} left out"
        if self.fixed is None or not self.estimable[k]:
            return f"{start}; with {groups} fixed the contrast is not estimable"
        e, s, d, p = (float(getattr(self.fixed, n)[0, k]) for n in ("estimate", "se", "df", "p"))
        return f"{start}; with {groups} fixed {e:.4g} (SE {s:.4g}, {d:.4g} df, p = {p:.3g})"


def zero_terms(problem: Problem, fit: RemlFit) -> tuple[int, ...]:
    """Return the positions of the random intercepts whose variance is estimated as zero."""
    out, at = [], 0
    for i, r in enumerate(problem.random):
        if r.effects == ("1",) and fit.boundary[0, at]:
            out.append(i)
        at += len(r.parameters)
    return tuple(out)


def boundary_answers(
    problem: Problem, fit: RemlFit, rows: np.ndarray, ddf: str, level: float, *, ml: bool = False
) -> BoundaryAnswers | None:
    """Answer contrasts in the three ways that differ at a boundary.

    Parameters
    ----------
    problem : Problem
    fit : RemlFit
        A batch of one.
    rows : numpy.ndarray, shape (K, q)
    ddf : str
    level : float
    ml : bool

    Returns
    -------
    BoundaryAnswers or None
        None when no random intercept is estimated as zero.
    """
    zero = zero_terms(problem, fit)
    if not zero:
        return None
    fixed, estimable = None, np.zeros(len(rows), dtype=bool)
    if sum(len(problem.random[i].levels) for i in zero) <= FIXED_UP_TO:
        other, reduced, estimable = _with_fixed_groups(problem, zero, rows)
        refit = fit_problem(other, other.y[None], ml=ml)
        estimable &= refit.converged[0]
        if estimable.any():
            fixed = contrast_table(other, refit, reduced, ddf, level)
    return BoundaryAnswers(
        tuple(problem.random[i].term.name for i in zero),
        contrast_table(problem, fit, rows, ddf, level, at_boundary="keep"),
        contrast_table(problem, fit, rows, ddf, level, at_boundary="leave out"),
        fixed,
        estimable,
    )


def _with_fixed_groups(
    problem: Problem, zero: tuple[int, ...], rows: np.ndarray
) -> tuple[Problem, np.ndarray, np.ndarray]:
    """Return the problem with some groups as fixed effects, and the contrasts over its columns."""
    moved = [problem.random[i] for i in zero]
    groups = np.hstack([(r.group[:, None] == np.arange(len(r.levels))) * 1.0 for r in moved])
    x = np.hstack([problem.x, groups])
    names = (*problem.names, *(f"{r.term.name}[{v}]" for r in moved for v in r.levels))
    aliasing = find_aliases(x, names)
    kept = list(aliasing.kept)
    padded = np.hstack([rows, np.zeros((len(rows), groups.shape[1]))])
    reduced, estimable = aliasing.reduce(padded)
    fixed = x[:, kept]
    random = tuple(
        r for i, r in enumerate(problem.random) if i not in zero and not absorbed(r, fixed)
    )
    other = replace(
        problem,
        x=fixed,
        names=tuple(names[i] for i in kept),
        aliasing=aliasing,
        random=random,
        block=blocks_of(random, problem.residual, len(x)),
    )
    return other, reduced, estimable
