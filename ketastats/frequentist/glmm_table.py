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
from ketastats.problem.build import Problem, build_problem
from ketastats.problem.random import absorbed, blocks_of
from ketastats.study.formula import RandomTerm, SplitFormula

if TYPE_CHECKING:
    import pandas as pd


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
    nodes: int,
    contrasts: str,
) -> tuple[Problem, Rows]:
    """Return matrices without an outcome over the rows ``whole`` that have all predictors."""
    term = _intercept_of(split.random)
    problem = build_problem(split.fixed, data.iloc[whole], coding=contrasts)
    rows = whole[problem.rows]
    trials, spent = (a[rows] for a in amounts)
    problem = replace(problem, rows=rows, formula=formula.split("~")[-1].strip())
    if term is not None:
        problem = _with_intercept(problem, term, data, kind, trials)
    group = problem.random[0].group if problem.random else None
    return problem, Rows(kind, problem.x, group, trials, np.log(spent), nodes)


def _intercept_of(random: Sequence[RandomTerm]) -> RandomTerm | None:
    """Return the one random intercept, None without; anything else is for ks.mcmc."""
    if not random:
        return None
    if len(random) > 1:
        raise FormulaError(
            f"the formula has {len(random)} random terms, and glmm integrates over one intercept",
            mend="keep the one that the treatments vary between, or use ks.mcmc",
        )
    if random[0].columns != ("1",):
        raise FormulaError(
            f"({random[0].text}) has slopes, and glmm integrates over one intercept",
            mend=f"write (1|{random[0].name}), or use ks.mcmc",
        )
    return random[0]


def _with_intercept(
    problem: Problem, term: RandomTerm, data: pd.DataFrame, kind: Family, trials: np.ndarray
) -> Problem:
    """Return a problem with its random intercept, if the rows can show one."""
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
    block = blocks_of((design,), problem.residual, len(problem.rows))
    return replace(problem, random=(design,), block=block, notes=tuple(notes))
