"""False regions, false discoveries and finds of four rules over many draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ketastats.diagnosis.batch import CHUNK, as_fitted, draw_complete, problem_of
from ketastats.diagnosis.multiplicity import Family
from ketastats.diagnosis.random_part import scaled_effect
from ketastats.diagnosis.separate import METHODS, answer_separated, separate
from ketastats.diagnosis.shrinkage import contrast_covariance, shrunken, split_covariance
from ketastats.frequentist.fit import contrast_table, fit_problem
from ketastats.problem.build import Problem
from ketastats.problem.questions import ask
from ketastats.study.model import Analysis, Study

if TYPE_CHECKING:
    import pandas as pd

RULES = ("unadjusted", "holm", "bh", "shrinkage")
TRUTHS = (("none", 0.0), ("claimed", 1.0))
LARGE = 1e7
"""Rows x columns squared above which the whole model is not fitted to every draw: 10 ms or more."""
SILENT = 1e-9
"""A true value closer to 0 than this is none: cells that cancel leave rounding."""
COLUMNS = ["truth", "rule", "effects", "any_false", "any_false_se", "fdr", "fdr_se", "found",
           "found_se", "wrong_sign", "draws", "left_out"]  # fmt: skip
Answer = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Estimates and p, (B, K); covariance, (B, K, K); which can be used, (B,)."""


def family_rates(
    study: Study, analysis: Analysis, family: Family, *, draws: int, seed: int
) -> tuple[pd.DataFrame, str]:
    """Apply four rules to many draws under no effect and under the declared truth.

    A question is found when its p, adjusted by the rule, or its probability of a false sign is
    below alpha. A find is false where the true value is 0.

    Parameters
    ----------
    study : Study
    analysis : Analysis
    family : Family
    draws : int
    seed : int

    Returns
    -------
    table : pandas.DataFrame
        truth, rule, effects (questions whose true value is not 0), any_false (share of draws with
        any false find), fdr (mean share of false ones among finds), found (mean number of effects
        found, with the right sign), each with its Monte-Carlo standard error; wrong_sign (mean
        number of effects found with the wrong sign), draws, left_out (fits that did not converge).
    note : str
        How the draws were made, or why there are none.
    """
    import pandas as pd

    none = pd.DataFrame(columns=COLUMNS)
    if draws <= 0:
        return none, "no draws were asked for"
    answer = _answerer(study, analysis, family)
    if answer is None:
        return none, "no draws: the model is too large to be fitted to each and does not separate"
    records = []
    asked = study.estimand(family.estimands[0])
    scale = "latent" if asked.scale == "link" else "natural"
    for truth, share in TRUTHS:
        changed = scaled_effect(study, asked, share)
        true = changed.true_values().set_index("estimand").loc[list(family.estimands), scale]
        y = as_fitted(study, analysis, draw_complete(changed, family.outcome, seed, draws))
        parts = [answer(y[at : at + CHUNK]) for at in range(0, draws, CHUNK)]
        joined: Answer = tuple(np.concatenate(p) for p in zip(*parts, strict=True))  # type: ignore[assignment]
        records += _records(truth, true.to_numpy(), joined, 1 - analysis.level)
    return pd.DataFrame(records, columns=COLUMNS), (
        f"{draws} draws per truth without missing rows, seed {seed}; the same random numbers serve "
        "both truths and every rule"
    )


def _answerer(
    study: Study, analysis: Analysis, family: Family
) -> Callable[[np.ndarray], Answer] | None:
    """Return what answers the family for outcomes (B, rows); None where that costs too much."""
    problem = problem_of(study, analysis)
    rows = ask(problem, [study.estimand(e) for e in family.estimands]).rows
    small = problem.x.shape[0] * problem.x.shape[1] ** 2 <= LARGE
    parts = None
    if analysis.ddf in METHODS:
        subject = study.plan(analysis.outcome)["subject"].to_numpy().astype(str)
        parts = separate(problem, subject[problem.rows], rows)
    if parts is None:
        return (lambda y: _whole(problem, rows, analysis, y)) if small else None

    def answer(y: np.ndarray) -> Answer:
        found = answer_separated(parts, y, analysis.ddf, analysis.level)
        out = found.estimate, found.p, found.covariance, found.usable
        rest = ~found.usable
        if rest.any() and small:  # a subject variance of zero: only the whole model knows
            for kept, whole in zip(out, _whole(problem, rows, analysis, y[rest]), strict=True):
                kept[rest] = whole
        return out

    return answer


def _whole(problem: Problem, rows: np.ndarray, analysis: Analysis, y: np.ndarray) -> Answer:
    fit = fit_problem(problem, y)
    table = contrast_table(problem, fit, rows, analysis.ddf, analysis.level)
    return table.estimate, table.p, contrast_covariance(fit, rows, analysis.ddf), fit.converged


def _records(truth: str, true: np.ndarray, answer: Answer, alpha: float) -> list[dict[str, object]]:
    """Judge the finds of every rule."""
    estimate, p, covariance, usable = answer
    estimate, p, covariance = estimate[usable], p[usable], covariance[usable]
    effect = np.abs(true) > SILENT
    signs = np.sign(np.where(effect, true, 0.0))
    sign, found = np.sign(estimate), _finds(estimate, p, covariance, alpha)
    records = []
    for rule in RULES:
        hits = found[rule]
        false = (hits & ~effect).sum(axis=1)
        right = (hits & (sign == signs)).sum(axis=1)
        share = false / np.maximum(hits.sum(axis=1), 1)
        values = {"any_false": (false > 0).astype(float), "fdr": share, "found": right}
        record: dict[str, object] = {"truth": truth, "rule": rule, "effects": int(effect.sum())}
        for name, value in values.items():
            record[name] = float(value.mean())
            record[f"{name}_se"] = float(value.std() / np.sqrt(len(value)))
        record["wrong_sign"] = float((hits & effect & (sign != signs)).sum(axis=1).mean())
        record |= {"draws": len(p), "left_out": int((~usable).sum())}
        records.append(record)
    return records


def _finds(
    estimate: np.ndarray, p: np.ndarray, covariance: np.ndarray, alpha: float
) -> dict[str, np.ndarray]:
    """Return what every rule finds, (B, K) each."""
    from scipy.stats import false_discovery_control

    false_sign = np.array(
        [
            shrunken(e, *split_covariance(c)).false_sign
            for e, c in zip(estimate, covariance, strict=True)
        ]
    ).reshape(p.shape)
    return {
        "unadjusted": p < alpha,
        "holm": _holm(p) < alpha,
        "bh": false_discovery_control(p, axis=1) < alpha,
        "shrinkage": false_sign < alpha,
    }


def _holm(p: np.ndarray) -> np.ndarray:
    """Adjust every row of p values, shape (B, K), by Holm (1979, Scand J Stat 6:65).

    statsmodels takes one row at a time, and collects garbage at each.
    """
    order = np.argsort(p, axis=1)
    times = np.arange(p.shape[1], 0, -1) * np.take_along_axis(p, order, axis=1)
    out = np.empty_like(p)
    np.put_along_axis(out, order, np.minimum(np.maximum.accumulate(times, axis=1), 1.0), axis=1)
    return out
