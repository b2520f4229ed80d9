"""One analysis over many draws that share their missing rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ketastats.core.errors import NotEstimable
from ketastats.frequentist.fit import fit_problem
from ketastats.frequentist.small_sample import contrasts
from ketastats.problem.build import build_problem
from ketastats.problem.questions import ask
from ketastats.study.model import Analysis, Estimand, Study
from ketastats.synthesis.draw import draw_outcomes

CHUNK = 250
"""Draws fitted at a time: fixed, so that results do not depend on memory or workers."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchAnswers:
    """Answers of one analysis to one estimand; arrays of shape (B,).

    Attributes
    ----------
    estimate, se, df, t, p : numpy.ndarray
    boundary : numpy.ndarray of bool
        A variance was estimated as zero: the test is valid and counted.
    converged : numpy.ndarray of bool
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
    """Fit many complete outcomes of a Study's plan and answer one estimand.

    Parameters
    ----------
    study : Study
    analysis : Analysis
        Of engine ``reml``.
    estimand : Estimand
    y : numpy.ndarray, shape (B, rows)
        In plan order, complete.

    Raises
    ------
    NotEstimable
        When the formula cannot answer the estimand in this design.
    """
    problem = build_problem(analysis.formula, study.plan(analysis.outcome))
    asked = ask(problem, (estimand,))
    if not asked.estimable.all():
        raise NotEstimable(
            f"{analysis.name} cannot answer {estimand.name}: {asked.reasons[0]}",
            where=f"analyses.{analysis.name}",
        )
    parts = []
    for start in range(0, len(y), CHUNK):
        fit = fit_problem(problem, y[start : start + CHUNK])
        table = contrasts(fit, asked.rows, analysis.ddf, analysis.level)
        columns = [getattr(table, k)[:, 0] for k in ("estimate", "se", "df", "t", "p")]
        parts.append([*columns, fit.boundary.any(axis=1), fit.converged])
    return BatchAnswers(*(np.concatenate(c) for c in zip(*parts, strict=True)))


def draw_complete(study: Study, outcome: str, seed: int, draws: int) -> np.ndarray:
    """Draw an outcome ``draws`` times without missing rows, shape (draws, rows)."""
    return draw_outcomes(study, outcome, seed, range(draws), missing=False)
