"""Estimands from draws, on the scale of the link or the natural one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ketastats.bayesian import summaries
from ketastats.bayesian.gates import failed_estimands
from ketastats.bayesian.likelihood import Likelihood
from ketastats.bayesian.natural import cell_means
from ketastats.bayesian.sampling import Draws
from ketastats.core.errors import DataError, NotEstimable
from ketastats.problem.build import Problem
from ketastats.problem.questions import Asked, ask
from ketastats.study.contrasts import cell_weights
from ketastats.study.lookup import suggestion
from ketastats.study.model import Estimand
from ketastats.study.priors import parse_prior

SCALES = ("link", "natural")


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Draws of K estimands; zeros where there is no answer.

    Attributes
    ----------
    draws : numpy.ndarray, shape (chains, draws, K)
    estimable : numpy.ndarray of bool, shape (K,)
    reasons : tuple of str
        Why there is no answer; empty where there is.
    """

    draws: np.ndarray
    estimable: np.ndarray
    reasons: tuple[str, ...]


def answer(
    problem: Problem, draws: Draws, rows: Likelihood, estimands: Sequence[Estimand], scale: str
) -> Answers:
    r"""Return the draws of estimands.

    On the scale of the link an estimand is a row over the coefficients; on the natural scale its
    weights are applied to the population means of the cells of the reference grid,
    :math:`\sum_c w_c \int g^{-1}(x_c \gamma + s_c u) \phi(u)\, du`, in every draw.

    Parameters
    ----------
    problem : Problem
    draws : Draws
    rows : Likelihood
    estimands : sequence of Estimand
    scale : str
        One of :data:`SCALES`.
    """
    if scale not in SCALES:
        raise DataError(
            f"there is no scale {scale!r}", where="scale", mend=suggestion(str(scale), SCALES)
        )
    if scale == "link" or rows.family.mean is None:
        asked = ask(problem, estimands)
        return Answers(draws.gamma @ asked.rows.T, asked.estimable, asked.reasons)
    weights, asked = _over_cells(problem, estimands)
    cells = np.flatnonzero((weights != 0).any(axis=0))
    means = cell_means(problem, draws, rows, asked.rows, cells)
    return Answers(means @ weights[:, cells].T, asked.estimable, asked.reasons)


def _over_cells(problem: Problem, estimands: Sequence[Estimand]) -> tuple[np.ndarray, Asked]:
    """Return weights over cells, (K, cells), and the cells over the coefficients, (cells, q).

    There is no answer where a cell with a weight cannot be told from the data.
    """
    grid, matrix = problem.fixed.grid()
    cells, known = problem.aliasing.reduce(matrix)
    weights, reasons = np.zeros((len(estimands), len(matrix))), []
    aliased = "; ".join(f"aliased: {a.name} equals {a.equals}" for a in problem.aliasing.aliased)
    for k, estimand in enumerate(estimands):
        try:
            weights[k] = cell_weights(estimand, grid)
        except NotEstimable as error:
            reasons.append(error.message)
            continue
        reasons.append(aliased if (weights[k][~known] != 0).any() else "")
    fine = np.array([not r for r in reasons], dtype=bool)
    weights[~fine] = 0.0
    return weights, Asked(cells, fine, tuple(reasons))


def stacked(draws: Draws) -> np.ndarray:
    """Return all parameters, shape (chains, draws, q + terms + own)."""
    return np.concatenate([draws.gamma, draws.sd, draws.own], axis=2)


WIDEST = 0.7
"""Scale of a half-normal prior of an SD of logarithms above which exp(sd²) has no expectation:
the scale is 1 / sqrt(2), and 1 for exp(sd²/2)."""


def no_expectation(rows: Likelihood, problem: Problem, sd: str, scale: str) -> tuple[str, ...]:
    """Say where means and SDs of population means need not exist, whatever the data.

    With a log link they are averages of exp(eta + sd²/2); only a half-normal prior of the SDs that
    is narrow enough holds their tail down.
    """
    if scale == "link" or rows.family.link != "log" or not problem.random:
        return ()
    prior = parse_prior(sd, "sd")
    if prior.family == "half-normal" and prior.parameters[0] <= WIDEST:
        return ()
    return (
        f"with the prior {sd} of SDs in logarithms the posterior mean and SD on the natural scale "
        "need not exist: read the interval, or use half-normal(0.5)",
    )


@dataclass(frozen=True, slots=True)
class Said:
    """What stands in every row of a table of estimates.

    Attributes
    ----------
    outcome : str
    level : float
    method : str
    failed : tuple of str
        Gates of the model that are not kept.
    notes : tuple of str
    """

    outcome: str
    level: float
    method: str
    failed: tuple[str, ...]
    notes: tuple[str, ...]


def estimate_rows(
    answers: Answers, estimands: Sequence[Estimand], said: Said
) -> list[dict[str, object]]:
    """Return one record of Estimates per estimand."""
    m = summaries.moments(answers.draws, said.level)
    known = summaries.convergence(answers.draws)
    poor = failed_estimands(known)
    records = []
    for k, e in enumerate(estimands):
        record: dict[str, object] = {
            "outcome": said.outcome,
            "estimand": e.name,
            "engine": "mcmc",
            "level": said.level,
            "method": said.method,
        }
        if not answers.estimable[k]:
            record |= {"status": "not_estimable", "notes": answers.reasons[k]}
        else:
            own = f"R-hat {known.r_hat[k]:.4g}, bulk ESS {known.ess_bulk[k]:.0f}, tail ESS " + (
                f"{known.ess_tail[k]:.0f} of its own draws"
            )
            notes = [*said.failed, *([own] if poor[k] else []), *said.notes]
            record |= {
                "estimate": float(m.mean[k]),
                "se": float(m.sd[k]),
                "prob_positive": float(m.positive[k]),
                "ci_low": float(m.low[k]),
                "ci_high": float(m.high[k]),
                "status": "unconverged" if said.failed or poor[k] else "ok",
                "notes": "; ".join(notes),
            }
        records.append(record)
    return records
