"""One analysis over many draws that share their missing rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ketastats.analysis.responses import response
from ketastats.core.errors import NotEstimable, StudyError
from ketastats.frequentist.fit import fit_problem
from ketastats.frequentist.gee import gee_many
from ketastats.frequentist.glmm import glmm_many
from ketastats.frequentist.small_sample import contrasts
from ketastats.problem.build import Problem, build_problem
from ketastats.problem.questions import ask
from ketastats.study.means import amount_rows
from ketastats.study.model import Analysis, BinomialScale, CountScale, Estimand, Study
from ketastats.study.plan import expand
from ketastats.synthesis.draw import draw_outcomes

if TYPE_CHECKING:
    from ketastats.frequentist.small_sample import ContrastTable

CHUNK = 250
"""Draws fitted at a time: fixed, so that results do not depend on memory or workers."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchAnswers:
    """Answers of one analysis; arrays of shape (B, K), or (B,) for one estimand.

    Attributes
    ----------
    estimate, se, df, t, p : numpy.ndarray
    boundary : numpy.ndarray of bool, shape (B,)
        A variance was estimated as zero: the test is valid and counted.
    converged : numpy.ndarray of bool, shape (B,)
    """

    estimate: np.ndarray
    se: np.ndarray
    df: np.ndarray
    t: np.ndarray
    p: np.ndarray
    boundary: np.ndarray
    converged: np.ndarray


def answer_batch(
    study: Study, analysis: Analysis, estimand: Estimand, y: np.ndarray
) -> BatchAnswers:
    """Fit many complete outcomes of a Study's plan and answer one estimand; see :func:`answers`."""
    a = answers(study, analysis, (estimand,), y)
    only = {n: getattr(a, n)[:, 0] for n in ("estimate", "se", "df", "t", "p")}
    return replace(a, **only)


def answers(
    study: Study, analysis: Analysis, estimands: Sequence[Estimand], y: np.ndarray
) -> BatchAnswers:
    """Fit many complete outcomes of a Study's plan and answer estimands of one scale.

    Parameters
    ----------
    study : Study
    analysis : Analysis
        Of engine ``reml``, ``gee`` or ``glmm``.
    estimands : sequence of Estimand
        K of them.
    y : numpy.ndarray, shape (B, rows)
        In plan order, complete, as recorded.

    Raises
    ------
    NotEstimable
        When the formula cannot answer an estimand in this design.
    StudyError
        For another engine.
    """
    if analysis.engine == "reml":
        return _reml(study, analysis, estimands, y)
    if analysis.engine not in ("gee", "glmm"):
        raise StudyError(
            f"the engine {analysis.engine!r} has no batch", where=f"analyses.{analysis.name}",
            mend="choose reml, gee or glmm",
        )  # fmt: skip
    name = analysis.outcome
    ready = response(
        study.outcome(name), analysis, study.plan(name).assign(**{name: np.zeros(y.shape[1])})
    )
    table = ready.data.drop(columns=name)
    common: dict[str, Any] = {
        "family": analysis.family,
        "size": ready.size,
        "exposure": ready.exposure,
        "level": analysis.level,
        "estimands": estimands,
        "scale": estimands[0].scale,
    }
    if analysis.engine == "gee":
        ddf = "between" if analysis.ddf == "kenward-roger" else analysis.ddf
        many = gee_many(analysis.formula, table, y, ddf=ddf, **common)
        return BatchAnswers(
            many.estimate, many.se, many.df, many.statistic, many.p, many.boundary, many.converged
        )
    ddf = "between" if analysis.ddf == "between" else "z"
    fits = glmm_many(analysis.formula, table, y, ddf=ddf, **common)
    return BatchAnswers(
        fits.estimate, fits.se, fits.df, fits.z, fits.p, fits.boundary, fits.converged
    )


def _reml(
    study: Study, analysis: Analysis, estimands: Sequence[Estimand], y: np.ndarray
) -> BatchAnswers:
    problem = problem_of(study, analysis)
    y = as_fitted(study, analysis, y)
    asked = ask(problem, estimands)
    for k, e in enumerate(estimands):
        if not asked.estimable[k]:
            raise NotEstimable(
                f"{analysis.name} cannot answer {e.name}: {asked.reasons[k]}",
                where=f"analyses.{analysis.name}",
            )
    parts = []
    for start in range(0, len(y), CHUNK):
        fit = fit_problem(problem, y[start : start + CHUNK])
        table: ContrastTable = contrasts(fit, asked.rows, analysis.ddf, analysis.level)
        columns = [getattr(table, k) for k in ("estimate", "se", "df", "t", "p")]
        parts.append([*columns, fit.boundary.any(axis=1), fit.converged])
    return BatchAnswers(*(np.concatenate(c) for c in zip(*parts, strict=True)))


def problem_of(study: Study, analysis: Analysis) -> Problem:
    """Return an analysis of engine ``reml`` laid out over the plan of its outcome."""
    return build_problem(
        analysis.formula, study.plan(analysis.outcome), residual=analysis.residual or None
    )


def as_fitted(study: Study, analysis: Analysis, y: np.ndarray) -> np.ndarray:
    """Return what a Gaussian model is fitted to: shares, rates or logarithms, shape (B, rows)."""
    return np.log(y) if analysis.response == "log" else share_of(study, analysis.outcome, y)


def share_of(study: Study, outcome: str, y: np.ndarray) -> np.ndarray:
    """Return shares of the trials, counts per exposure, or the outcome as it is, (B, rows)."""
    declared = study.outcome(outcome)
    scale = declared.scale
    if isinstance(scale, BinomialScale | CountScale):
        amount = scale.trials if isinstance(scale, BinomialScale) else scale.exposure
        plan = expand(study.design, declared.occasions)
        return y / amount_rows(amount, {c.name: c for c in plan.columns}, plan.n)
    return y


def draw_complete(study: Study, outcome: str, seed: int, draws: int) -> np.ndarray:
    """Draw an outcome ``draws`` times without missing rows, shape (draws, rows)."""
    return draw_outcomes(study, outcome, seed, range(draws), missing=False)
