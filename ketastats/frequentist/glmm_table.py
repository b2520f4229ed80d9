"""From a formula and a table to what ``ks.glmm`` fits; each refusal is a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError, FormulaError
from ketastats.frequentist.families import Family, family_named
from ketastats.frequentist.glmm_answers import Rows
from ketastats.frequentist.tables import positive_column, unit_design
from ketastats.problem.build import Problem, RandomDesign, build_problem
from ketastats.problem.random import absorbed, blocks_of
from ketastats.study.formula import RandomTerm, SplitFormula

if TYPE_CHECKING:
    import pandas as pd


NODES, NESTED_NODES = 25, 11
"""Of the quadrature with one random intercept, and with two, where 11 mean 121."""
ELSEWHERE = "use ks.mcmc, or ks.gee with (1 | the larger unit)"


def checked_family(family: str, size: str | None, exposure: str | None) -> Family:
    """Return the family, if trials and exposure go with it."""
    if family == "gaussian":
        raise DataError("glmm has no gaussian family", mend="use ks.lmm")
    kind = family_named(family)
    if kind.trials and exposure is not None:
        raise DataError(
            "exposure belongs to the families of counts", where=exposure, mend="leave out"
        )
    if not kind.trials and size is not None:
        raise DataError("size belongs to the binomial families", where=size, mend="leave out")
    if kind.trials and kind.overdispersed and size is None:
        raise DataError(
            f"the {family} family needs the number of trials", mend="name their column with size="
        )
    return kind


def amounts_of(
    kind: Family, data: pd.DataFrame, size: str | None, exposure: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return trials and exposures of every row of a table."""
    return positive_column(data, size, whole=True), positive_column(data, exposure)


def prepare(
    split: SplitFormula,
    formula: str,
    data: pd.DataFrame,
    kind: Family,
    amounts: tuple[np.ndarray, np.ndarray],
    whole: np.ndarray,
    nodes: int | None,
    contrasts: str,
) -> tuple[Problem, Rows]:
    """Return matrices without an outcome over the rows ``whole`` that have all predictors."""
    terms = _intercepts_of(split.random)
    problem = build_problem(split.fixed, data.iloc[whole], coding=contrasts)
    rows = whole[problem.rows]
    trials, spent = (a[rows] for a in amounts)
    problem = replace(problem, rows=rows, formula=formula.split("~")[-1].strip())
    for term in terms:
        problem = _with_intercept(problem, term, data, kind, trials)
    problem = _nested(problem)
    group, inner = (*(r.group for r in problem.random), None, None)[:2]
    nodes = nodes if nodes is not None else NODES if inner is None else NESTED_NODES
    return problem, Rows(kind, problem.x, group, trials, np.log(spent), nodes, inner)


def _intercepts_of(random: Sequence[RandomTerm]) -> Sequence[RandomTerm]:
    """Return the random intercepts, two at most; anything else is for ks.mcmc."""
    if len(random) > 2:
        raise FormulaError(
            f"the formula has {len(random)} random terms, and glmm integrates over two intercepts "
            "at most",
            mend=f"keep the ones that the treatments vary between, or {ELSEWHERE}",
        )
    for term in random:
        if term.columns != ("1",):
            raise FormulaError(
                f"({term.text}) has slopes, and glmm integrates over intercepts",
                mend=f"write (1|{term.name}), or use ks.mcmc",
            )
    return random


def _nested(problem: Problem) -> Problem:
    """Return a problem with its two random intercepts from the larger unit to its parts."""
    if len(problem.random) < 2:
        return problem
    outer, inner = sorted(problem.random, key=lambda r: len(r.levels))
    names = f"(1 | {outer.term.name}) and (1 | {inner.term.name})"
    pairs = len(np.unique(np.stack([outer.group, inner.group]), axis=1).T)
    if pairs > len(np.unique(inner.group)):
        raise FormulaError(
            f"{names} are crossed, and glmm integrates over parts within units",
            mend=f"write (1 | {outer.term.name}/part) with the parts of each, or {ELSEWHERE}",
        )
    if pairs == len(np.unique(outer.group)):
        raise DataError(f"the random terms {names} are the same", mend="drop one of them")
    if np.any((outer.group < 0) != (inner.group < 0)):
        raise DataError(
            f"some rows have one of {outer.term.name} and {inner.term.name}, but not both",
            where=inner.term.name,
            mend="name both, or leave these rows out",
        )
    block = blocks_of((outer, inner), problem.residual, len(problem.rows))
    return replace(problem, random=(outer, inner), block=block)


def _with_intercept(
    problem: Problem, term: RandomTerm, data: pd.DataFrame, kind: Family, trials: np.ndarray
) -> Problem:
    """Return a problem with one more random intercept, if the rows can show it."""
    design, notes = unit_design(term, data, problem.rows), list(problem.notes)
    if loose := int((design.group < 0).sum()):
        notes.append(f"{loose} rows belong to no {term.name} and carry no such deviation")
    if len(design.levels) < 2:
        raise DataError(
            f"the random term ({term.text}) has {len(design.levels)} group",
            where=term.name,
            mend="a spread needs at least two groups; drop the term",
        )
    single = len(design.levels) == int((design.group >= 0).sum())
    if single and kind.overdispersed:
        raise DataError(
            f"({term.text}) has one row per group, and so does the overdispersion",
            where=term.name,
            mend="drop the term, or use the family without overdispersion",
        )
    if single and kind.trials and trials[design.group >= 0].max() <= 1:
        raise DataError(
            f"({term.text}) has one trial per group, which shows no spread",
            where=term.name,
            mend="drop the term",
        )
    if absorbed(design, problem.x):
        text = f"({term.text}) is left out: the fixed effects already tell its groups apart"
        return replace(problem, notes=(*notes, text))
    random: tuple[RandomDesign, ...] = (*problem.random, design)
    block = blocks_of(random, problem.residual, len(problem.rows))
    return replace(problem, random=random, block=block, notes=tuple(notes))
