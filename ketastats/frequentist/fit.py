"""Fitting a Problem: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.threads import one_thread
from ketastats.frequentist import small_sample
from ketastats.frequentist.containment import containment_df
from ketastats.frequentist.moments import make_moments
from ketastats.frequentist.reml import RemlFit, fit_reml
from ketastats.problem.build import Problem
from ketastats.problem.questions import ask

if TYPE_CHECKING:
    from ketastats.study.model import Estimand


METHODS = (
    "kenward-roger",
    "satterthwaite",
    "kenward-roger-observed",
    "kenward-roger-observed-linear",
    "containment",
    "residual",
    "z",
)


@one_thread()
def fit_problem(problem: Problem, y: np.ndarray, *, ml: bool = False) -> RemlFit:
    """Fit a batch of outcomes over one Problem; see :func:`fit_reml`.

    Parameters
    ----------
    problem : Problem
    y : numpy.ndarray, shape (B, rows)
        NaN where missing, alike in every outcome or not.
    ml : bool
        Maximum likelihood instead of REML.
    """
    structure = problem.residual.structure
    own = [(r, i, j) for r in problem.random for i, j, _ in r.parameters]
    share = 1.0 / (1 + sum(i == j for _, i, j in own))
    start = [
        share / max(float(np.mean(r.z[:, i] ** 2)), 1e-300) if i == j else 0.0 for r, i, j in own
    ]
    return fit_reml(
        make_moments(problem, y),
        np.array(problem.parameter_kinds),
        np.array([True] * len(own) + list(structure.units)),
        np.array([*start, *structure.start(share)]),
        terms=_terms(problem),
        ml=ml,
    )


def _terms(problem: Problem) -> tuple[np.ndarray, ...]:
    """Return the positions of every random term's covariance matrix among the parameters."""
    out, at = [], 0
    for r in problem.random:
        index = np.zeros((len(r.effects), len(r.effects)), dtype=int)
        for i, j, _ in r.parameters:
            index[i, j] = index[j, i] = at
            at += 1
        out.append(index)
    return tuple(out)


def statuses(fit: RemlFit) -> list[str]:
    """Return ok, boundary or unconverged per row of a batch."""
    at_zero = fit.boundary.any(axis=1)
    return [
        "unconverged" if not c else "boundary" if b else "ok"
        for c, b in zip(fit.converged, at_zero, strict=True)
    ]


def estimate_rows(
    problem: Problem, fit: RemlFit, estimands: Sequence[Estimand], ddf: str, level: float
) -> list[dict[str, object]]:
    """Return one record per estimand for a batch of one."""
    asked = ask(problem, estimands)
    table = contrast_table(problem, fit, asked.rows, ddf, level)
    status = statuses(fit)[0]
    records = []
    for k, e in enumerate(estimands):
        record: dict[str, object] = {
            "outcome": problem.outcome,
            "estimand": e.name,
            "engine": "reml",
            "level": level,
            "method": ddf,
            "status": status if asked.estimable[k] else "not_estimable",
        }
        if asked.estimable[k] and status != "unconverged":
            names = ("estimate", "se", "df", "statistic", "p", "ci_low", "ci_high")
            source = ("estimate", "se", "df", "t", "p", "ci_low", "ci_high")
            record |= {
                n: float(getattr(table, s)[0, k]) for n, s in zip(names, source, strict=True)
            }
        elif not asked.estimable[k]:
            record["notes"] = asked.reasons[k]
        else:
            record["notes"] = "the fit did not converge"
        records.append(record)
    return records


def contrast_table(
    problem: Problem,
    fit: RemlFit,
    rows: np.ndarray,
    ddf: str,
    level: float,
    present: np.ndarray | None = None,
    at_boundary: str | None = None,
) -> small_sample.ContrastTable:
    """Estimate and test contrasts with any method of degrees of freedom.

    Parameters
    ----------
    problem : Problem
    fit : RemlFit
    rows : numpy.ndarray, shape (K, q)
    ddf : str
        One of :data:`METHODS`.
    level : float
    present : numpy.ndarray of bool, optional, shape (B, rows of the problem)
        Rows that have an outcome; all by default.
    at_boundary : str, optional
        See :func:`.small_sample.contrasts`.
    """
    given = None
    if ddf == "containment" and present is None:
        given = containment_df(problem, rows)
    elif ddf == "containment" and present is not None:
        masks, which = np.unique(present, axis=0, return_inverse=True)
        given = np.array([containment_df(problem, rows, mask) for mask in masks])[which.ravel()]
    return small_sample.contrasts(fit, rows, ddf, level, given_df=given, at_boundary=at_boundary)
