"""Hypotheses of the terms of a fixed part: types I, II and III."""

from __future__ import annotations

import numpy as np

from ketastats.core.errors import NotEstimable
from ketastats.problem.build import Problem

TOLERANCE = 1e-8
"""Relative size under which a singular value counts as zero; designs of indicators lose 1e-14."""


def type3_rows(problem: Problem, covariates: str = "zero") -> list[tuple[str, np.ndarray]]:
    r"""Return the type III hypothesis of every term that can be tested.

    With one column for every level of every term (a matrix Z with more columns than its rank), the
    estimable functions are the rows that Z spans. Those of a term involve it and the terms that
    contain it and no others; its hypothesis is what of them is orthogonal to the functions of the
    containing terms alone (the definition of SAS; Goodnight 1980, Commun Stat A 9:167). In filled
    layouts this gives the other factors equal weights and holds a covariate at 0 in the form in
    which it enters, or at its mean where Z is built from centred covariates.

    Parameters
    ----------
    problem : Problem
    covariates : str
        ``zero`` or ``mean``.

    Returns
    -------
    list of (term, rows)
        Rows of shape (num_df, kept columns). A term without rows of its own has been absorbed by
        the others and is left out.
    """
    z, terms = problem.fixed.every_level(centred=covariates == "mean")
    # equal rows say nothing new about what is estimable
    both = np.unique(np.hstack([z, problem.x]), axis=0)
    z, x = both[:, : z.shape[1]], both[:, z.shape[1] :]
    back = np.linalg.pinv(z, rcond=TOLERANCE) @ x
    if covariates == "mean" and not np.allclose(z @ back, x, rtol=0, atol=1e-7 * np.abs(x).max()):
        raise NotEstimable(
            f"with covariates at their means {problem.formula!r} is another model",
            mend="add the main effects its interactions leave out, or ask at zero",
        )
    span = _row_space(z)
    out = []
    for term in terms:
        if not term.factors and not term.numbers:
            continue
        above = [t.columns for t in terms if t.numbers == term.numbers and t.factors > term.factors]
        upper = np.array([c for columns in above for c in columns], dtype=int)
        inside = np.concatenate([np.array(term.columns, dtype=int), upper])
        both, only = _confined(span, inside), _confined(span, upper)
        rows = _row_space(_row_space(both - both @ only.T @ only) @ back)
        own = [i for i, c in enumerate(problem.aliasing.kept) if c in term.kept_columns]
        if len(rows) and len(rows) == len(own) and np.linalg.cond(rows[:, own]) < 1 / TOLERANCE:
            rows = np.linalg.solve(rows[:, own], rows)  # Satterthwaite's joint df need this basis
        if len(rows):
            out.append((term.name, rows))
    return out


def _row_space(a: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the row space of a matrix."""
    if a.size == 0:
        return np.empty((0, a.shape[1]))
    _, values, rows = np.linalg.svd(a, full_matrices=False)
    return rows[values > TOLERANCE * max(values[0], 1.0)]


def _confined(span: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the part of a row space that is zero outside some columns."""
    if columns.size == 0:
        return np.empty((0, span.shape[1]))
    outside = np.ones(span.shape[1], dtype=bool)
    outside[columns] = False
    if not outside.any():
        return span
    left, values, _ = np.linalg.svd(span[:, outside], full_matrices=True)
    rank = int((values > TOLERANCE).sum())
    return _row_space(left[:, rank:].T @ span)


def interacting_numbers(problem: Problem) -> tuple[tuple[str, float], ...]:
    """Return the numbers that a term joins with a factor, as they enter, and their means.

    The test of such a factor depends on the value of the number at which it is asked.
    """
    fixed, factors = problem.fixed, dict(problem.fixed.factors)
    joined = [t for t in fixed.terms if any(p in factors for p in t)]
    used = dict.fromkeys(p for t in joined for p in t if p not in factors)
    return tuple(
        (name, float(mean))
        for number in used
        for name, mean in zip(
            fixed.numbers[number][1], fixed.numbers[number][0].mean(axis=0), strict=True
        )
    )


def type1_rows(problem: Problem) -> list[tuple[str, np.ndarray]]:
    """Return sequential hypotheses: each term after the terms before it.

    With X'X = L D L' (unit lower triangular L) the rows of L' that belong to a term are its
    sequential hypothesis (Goodnight 1979, SAS R-106, the forward Doolittle matrix).
    """
    triangle = np.linalg.qr(problem.x, mode="r")
    doolittle = triangle / np.diag(triangle)[:, None]
    return [(name, doolittle[columns]) for name, _, columns in _own_columns(problem)]


def type2_rows(problem: Problem) -> list[tuple[str, np.ndarray]]:
    """Return hypotheses of each term after all terms that do not contain it.

    A term contains another when it has the same covariates and more factors, as for type III. A
    term that nothing contains is tested on its own coefficients.
    """
    q = problem.x.shape[1]
    terms = [t for t in problem.fixed.every_level()[1] if t.factors or t.numbers]
    own = {
        t.name: [i for i, c in enumerate(problem.aliasing.kept) if c in t.kept_columns]
        for t in terms
    }
    out = []
    for term in terms:
        mine = own[term.name]
        above = [
            c
            for t in terms
            if t.numbers == term.numbers and term.factors < t.factors
            for c in own[t.name]
        ]
        if not mine:
            continue
        if not above:
            out.append((term.name, np.eye(q)[mine]))
            continue
        before = [i for i in range(q) if i not in mine and i not in above]
        order = before + mine + above
        triangle = np.linalg.qr(problem.x[:, order], mode="r")
        doolittle = triangle / np.diag(triangle)[:, None]
        rows = np.zeros((len(mine), q))
        rows[:, order] = doolittle[len(before) : len(before) + len(mine)]
        out.append((term.name, rows))
    return out


def _own_columns(problem: Problem) -> list[tuple[str, frozenset[str], list[int]]]:
    """Return every term with its parts and its columns among the kept ones."""
    out = []
    for term in problem.fixed.every_level()[1]:
        parts = term.factors | term.numbers
        own = [i for i, c in enumerate(problem.aliasing.kept) if c in term.kept_columns]
        if parts and own:
            out.append((term.name, parts, own))
    return out
