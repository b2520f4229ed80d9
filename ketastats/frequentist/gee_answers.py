"""Estimands of a population-averaged fit, on the link or the natural scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ketastats.frequentist.gee_fit import GeeFit
from ketastats.frequentist.gee_kernel import satterthwaite_df
from ketastats.frequentist.inference import (
    LINKS,
    Asked,
    Cells,
    Inference,
    inference,
    lay_out,
    on_link,
    on_means,
)
from ketastats.problem.build import Problem
from ketastats.study.model import Estimand

DDF = {"between": "between-unit t", "satterthwaite": "Satterthwaite t", "z": "z"}
"""Methods of the degrees of freedom, and what tables call them."""
FLAT = 1e-8
"""A standard error this much smaller than the model-based one is rounding: the units asked about do
not differ."""


def cells_of(problem: Problem, fit: GeeFit, estimands: Sequence[Estimand], scale: str) -> Cells:
    """Return estimands over the cells; with an identity link both scales are one."""
    return lay_out(problem, estimands, "link" if fit.rows.family.link == "identity" else scale)


def on_scale(problem: Problem, fit: GeeFit, estimands: Sequence[Estimand], scale: str) -> Asked:
    """Return the value of estimands and their gradients in the coefficients.

    Parameters
    ----------
    problem : Problem
    fit : GeeFit
    estimands : sequence of Estimand
    scale : str
        ``link`` or ``natural``.
    """
    return evaluate(cells_of(problem, fit, estimands, scale), fit)


def evaluate(cells: Cells, fit: GeeFit) -> Asked:
    """Return estimands laid out over cells; see :func:`on_scale`."""
    beta, family = fit.solution.beta, fit.rows.family
    if cells.scale == "link":
        return on_link(cells, beta)
    mu = family.inverse(cells.matrix @ beta)
    return on_means(cells, mu, family.variance(mu))


def infer(fit: GeeFit, asked: Asked, ddf: str, level: float) -> Inference:
    """Return standard errors (NaN where the units do not differ), tests against 0 and intervals.

    Parameters
    ----------
    fit : GeeFit
        With a covariance.
    asked : Asked
    ddf : str
        One of :data:`DDF`.
    level : float
    """
    if fit.made is None:
        raise ValueError("; ".join(fit.reasons))
    g = asked.gradient
    square = np.einsum("ki,ij,kj->k", g, fit.made.covariance, g)
    model = np.einsum("ki,ij,kj->k", g, fit.made.bread, g) * fit.solution.scale
    se = np.sqrt(np.where(square > FLAT**2 * model, square, np.nan))
    df = np.full(len(g), np.inf if ddf == "z" else fit.between)
    if ddf == "satterthwaite":
        df = satterthwaite_df(fit.made, g)
    return inference(asked, se, df, LINKS[fit.rows.family.link], level)
