"""What a Bayesian referee asks of an analysis: priors, calibration, checks, sensitivity."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ketastats.analysis.engines import Answer
from ketastats.analysis.responses import response
from ketastats.analysis.run import Results
from ketastats.bayesian.checks import Check, targeted_checks
from ketastats.bayesian.exact.posterior import ExactPosterior
from ketastats.bayesian.exact.sensitivity import prior_sensitivity, sceptics
from ketastats.core.errors import DataError, StudyError
from ketastats.study.model import Estimand, Outcome, Study
from ketastats.study.scales import is_linear, is_whole

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.bayesian.exact.evidence import BayesFactor
    from ketastats.bayesian.exact.loo import Loo
    from ketastats.diagnosis.sbc import Calibration

REPLICATES = 400
LARGEST_WORK = 4e9
"""Multiplications of one quadrature (see :func:`work_of`) up to which an analysis is fitted again
under other priors and without some of its rows."""
FACTOR_WORK = 5e8
"""The same for Bayes factors, whose integrals reach farther into the tails."""
CALIBRATION_WORK = 4e10
"""The same for all draws of a calibration together."""
FEWEST = 100
"""Draws of a calibration that say something."""


@dataclass(frozen=True, slots=True, eq=False)
class BayesPanel:
    """One exact analysis as a referee would look at it.

    Attributes
    ----------
    answer : Answer
    outcome : Outcome
    asked : tuple of Estimand
        The main question and its interaction, where there is one.
    prior : numpy.ndarray, shape (n, rows), or None
        Outcomes under the priors alone; None where one is improper.
    replicated : numpy.ndarray, shape (n, rows)
    checks : tuple of Check
    factors : tuple of BayesFactor
    loo_rows, loo_subjects : Loo or None
    scaling : DataFrame or None
        Power-scaling sensitivity by ArviZ.
    sensitivity : DataFrame or None
        Answers under other priors; None where a refit takes too long.
    claim : float
        Effect that the sceptic doubts; NaN without one.
    views : DataFrame or None
    calibration : Calibration or None
    left_out : tuple of str
        What was not computed, and why.
    """

    answer: Answer
    outcome: Outcome
    asked: tuple[Estimand, ...]
    prior: np.ndarray | None
    replicated: np.ndarray
    checks: tuple[Check, ...]
    factors: tuple[BayesFactor, ...]
    loo_rows: Loo | None
    loo_subjects: Loo | None
    scaling: pd.DataFrame | None
    sensitivity: pd.DataFrame | None
    claim: float
    views: pd.DataFrame | None
    calibration: Calibration | None
    left_out: tuple[str, ...]


def bayes_panels(
    results: Results, *, draws: int, seed: int, progress: Callable[[str], None] | None = None
) -> tuple[BayesPanel, ...]:
    """Look at the first exact analysis of every outcome.

    Parameters
    ----------
    results : Results
    draws : int
        For the calibration of an analysis with up to two SDs; fewer for slower ones; 0 leaves the
        calibration out.
    seed : int
    progress : callable, optional
    """
    out = []
    seen: set[str] = set()
    for answer in results.answers:
        a = answer.analysis
        exact = isinstance(answer.result, ExactPosterior)
        if not exact or a.outcome in seen or a.role == "published" or a.completers:
            continue
        seen.add(a.outcome)
        if progress is not None:
            progress(f"{results.study.id}: {a.outcome}, priors, checks and calibration")
        out.append(_panel(results, answer, draws, seed))
    return tuple(out)


def questions_of(study: Study, answer: Answer) -> tuple[Estimand, ...]:
    """Return the first estimand of an analysis and the first with a further contrast."""
    asked = study.estimands_of(answer.analysis)
    first = asked[0]
    own = {f for f, _ in first.contrast}
    wider = [e for e in asked if own < {f for f, _ in e.contrast} and e.target == first.target]
    return (first, *wider[:1])


def _panel(results: Results, answer: Answer, draws: int, seed: int) -> BayesPanel:
    study, a = results.study, answer.analysis
    outcome, post = study.outcome(a.outcome), cast(ExactPosterior, answer.result)
    asked = tuple(e for e in questions_of(study, answer) if answer_known(answer, e.name))
    left_out: list[str] = []
    replicated = post.predictive(REPLICATES, seed)
    prior = None
    try:
        prior = post.prior_predictive(REPLICATES, seed)
    except DataError as error:
        left_out.append(f"prior predictive distribution: {error.message}")
    factors: list[BayesFactor] = []
    work = work_of(post)
    if work > FACTOR_WORK:
        left_out.append("Bayes factors: their integrals of this model take too long")
    for e in asked if work <= FACTOR_WORK else ():
        try:
            factors.append(post.bayes_factor(estimands=[e]))
        except (DataError, StudyError) as error:
            left_out.append(f"Bayes factor of {e.label}: {error.message}")
    claim = claim_of(results, asked)
    cheap = work <= LARGEST_WORK
    if not cheap:
        left_out.append(
            "other priors, calibration, leaving out: a refit of this model takes too long"
        )
    sensitivity = prior_sensitivity(post, asked) if cheap and asked else None
    views = None
    if cheap and asked and np.isfinite(claim) and claim != 0:
        views = sceptics(post, asked[-1], claim)
    groups = {":".join(r.term.group) for r in post.problem.random}
    calibration = None
    if cheap and draws:
        calibration = _calibration(results, answer, draws, seed, left_out)
    used = response(outcome, a, results.data[outcome.name]).data
    return BayesPanel(
        answer=answer,
        outcome=outcome,
        asked=asked,
        prior=prior,
        replicated=replicated,
        checks=_checks(study, outcome, post, used, replicated, a.response == "log"),
        factors=tuple(factors),
        loo_rows=post.loo() if cheap else None,
        loo_subjects=post.loo(by="subject") if cheap and "subject" in groups else None,
        scaling=_scaling(post, asked, seed) if cheap and post.problem.random else None,
        sensitivity=sensitivity,
        claim=claim,
        views=views,
        calibration=calibration,
        left_out=tuple(left_out),
    )


def answer_known(answer: Answer, estimand: str) -> bool:
    """Whether an analysis has a number for an estimand."""
    row = answer.estimates[answer.estimates["estimand"] == estimand]
    return bool(len(row)) and bool(np.isfinite(row["estimate"].iloc[0]))


def work_of(post: ExactPosterior) -> float:
    """Return roughly how many multiplications one quadrature of a model takes."""
    q = len(post.problem.names)
    blocks = sum(
        g.basis.shape[0] * g.basis.shape[-1] ** 3 for g in post.quadrature.table.moments.groups
    )
    return float(len(post.weight)) * (q**3 / 3 + blocks)


def claim_of(results: Results, asked: tuple[Estimand, ...]) -> float:
    """Return the effect that a sceptic doubts: the declared one of the last question.

    Where that is 0, the declared main effect; NaN for data that were given.
    """
    if results.seed is None or not asked:
        return float("nan")
    truth = results.truth.set_index("estimand")["latent"]
    for e in reversed(asked):
        if abs(float(truth[e.name])) > 1e-9:
            return float(truth[e.name])
    return float("nan")


def _checks(
    study: Study,
    outcome: Outcome,
    post: ExactPosterior,
    data: pd.DataFrame,
    replicated: np.ndarray,
    logarithm: bool,
) -> tuple[Check, ...]:
    used = data.iloc[post.problem.rows]
    y = post.problem.y
    plain = is_linear(outcome.scale) and not logarithm
    factors = [n for n, _ in post.problem.fixed.factors]
    codes = {n: _codes(used[n]) for n in factors}
    cell = np.zeros(len(used), dtype=np.int64)
    for n in factors:
        if n not in ("sex", "period", "sequence"):
            cell = cell * (int(codes[n].max()) + 1) + codes[n]
    cell = np.unique(cell, return_inverse=True)[1]
    strata = {s.name: _codes(used[s.name]) for s in study.design.strata if s.name in used}
    return targeted_checks(
        y,
        replicated,
        low=outcome.scale.min if plain else None,
        high=outcome.scale.max if plain else None,
        step=1.0 if plain and is_whole(outcome.scale) else None,
        strata=strata,
        period=_codes(used["period"]) if "period" in used else None,
        cell=cell,
    )


def _codes(column: pd.Series[Any]) -> np.ndarray:
    return np.unique(column.astype(str).to_numpy(), return_inverse=True)[1]


SCALING_DRAWS = 2000


def _scaling(post: ExactPosterior, asked: tuple[Estimand, ...], seed: int) -> pd.DataFrame | None:
    """Return ArviZ's power-scaling sensitivity of the questions and the SDs."""
    import arviz as az

    tree = post.datatree(SCALING_DRAWS, seed)
    draws = tree["posterior"].to_dataset()
    rows = post.asked(asked).rows
    values = np.einsum("cdq,kq->kcd", draws["gamma"].to_numpy(), rows)
    draws = draws.assign(
        {e.name: (("chain", "draw"), v) for e, v in zip(asked, values, strict=True)}
    )
    tree["posterior"] = draws
    names = [e.name for e in asked] + ["sd"] * ("sd" in draws)
    log = logging.getLogger("arviz_stats")
    level = log.level
    log.setLevel(logging.ERROR)  # what it found stands in the table
    try:
        return az.psense_summary(tree, var_names=names)
    finally:
        log.setLevel(level)


def _calibration(
    results: Results, answer: Answer, draws: int, seed: int, left_out: list[str]
) -> Calibration | None:
    """Return the calibration over as many draws as a report has time for."""
    from ketastats.diagnosis.sbc import sbc

    post = cast(ExactPosterior, answer.result)
    most = int(CALIBRATION_WORK / work_of(post))
    fewer = {1: 1, 2: 1, 3: 4, 4: 16}[len(post.model.axes)]
    draws = min(max(draws // fewer, FEWEST), most)
    if draws < FEWEST:
        left_out.append("calibration: one draw of this model takes too long; see ks.sbc")
        return None
    return sbc(results.study, answer.analysis.name, draws=draws, seed=seed)
