"""One analysis over many draws that share their missing rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ketastats.core.errors import NotEstimable
from ketastats.frequentist.fit import fit_problem
from ketastats.frequentist.small_sample import contrasts
from ketastats.problem.build import build_problem
from ketastats.problem.questions import ask
from ketastats.study.means import amount_rows
from ketastats.study.model import Analysis, BinomialScale, CountScale, Estimand, Study
from ketastats.study.plan import expand
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
        In plan order, complete, as recorded.

    Raises
    ------
    NotEstimable
        When the formula cannot answer the estimand in this design.
    """
    problem = build_problem(
        analysis.formula, study.plan(analysis.outcome), residual=analysis.residual or None
    )
    y = _responses(study, analysis, y)
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


def _responses(study: Study, analysis: Analysis, y: np.ndarray) -> np.ndarray:
    """Return what a Gaussian model is fitted to: shares, rates or logarithms, shape (B, rows)."""
    outcome = study.outcome(analysis.outcome)
    if analysis.response == "log":
        return np.log(y)
    scale = outcome.scale
    if isinstance(scale, BinomialScale | CountScale):
        amount = scale.trials if isinstance(scale, BinomialScale) else scale.exposure
        plan = expand(study.design, outcome.occasions)
        return y / amount_rows(amount, {c.name: c for c in plan.columns}, plan.n)
    return y


def draw_complete(study: Study, outcome: str, seed: int, draws: int) -> np.ndarray:
    """Draw an outcome ``draws`` times without missing rows, shape (draws, rows)."""
    return draw_outcomes(study, outcome, seed, range(draws), missing=False)
