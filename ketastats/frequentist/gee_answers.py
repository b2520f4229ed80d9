"""Estimands of a population-averaged fit, on the link or the natural scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from ketastats.frequentist.gee_fit import GeeFit
from ketastats.frequentist.gee_kernel import satterthwaite_df
from ketastats.problem.build import Problem
from ketastats.study.contrasts import cell_weights
from ketastats.study.model import Estimand

DDF = {"between": "between-unit t", "satterthwaite": "Satterthwaite t", "z": "z"}
"""Methods of the degrees of freedom, and what tables call them."""
SCALES = ("link", "natural")
FLAT = 1e-8
"""A standard error this much smaller than the model-based one is rounding: the units asked about do
not differ."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Quantities to estimate: values, gradients in the coefficients, and where they live.

    Attributes
    ----------
    value : numpy.ndarray, shape (k,)
    gradient : numpy.ndarray, shape (k, q)
    mean : numpy.ndarray of bool, shape (k,)
        A mean on the natural scale: its interval is made on the link scale, and 0 is no hypothesis.
    estimable : numpy.ndarray of bool, shape (k,)
    """

    value: np.ndarray
    gradient: np.ndarray
    mean: np.ndarray
    estimable: np.ndarray


def on_scale(problem: Problem, fit: GeeFit, estimands: Sequence[Estimand], scale: str) -> Asked:
    r"""Return estimands as weights over the reference grid's cells, on a scale.

    On the natural scale :math:`\theta = \sum_c w_c g^{-1}(x_c \beta)` with the gradient
    :math:`\sum_c w_c \mu'_c x_c` (delta method); on the link scale both sums are of
    :math:`x_c \beta`.

    Parameters
    ----------
    problem : Problem
    fit : GeeFit
    estimands : sequence of Estimand
    scale : str
        One of :data:`SCALES`.
    """
    grid, matrix = problem.fixed.grid()
    weights = np.array([cell_weights(e, grid) for e in estimands]).reshape(-1, len(matrix))
    beta, family = fit.solution.beta, fit.rows.family
    if scale == "link" or family.link == "identity":
        gradient, estimable = problem.aliasing.reduce(weights @ matrix)
        return Asked(gradient @ beta, gradient, np.zeros(len(weights), dtype=bool), estimable)
    cells, known = problem.aliasing.reduce(matrix)
    mu = family.inverse(cells @ beta)
    return Asked(
        value=weights @ mu,
        gradient=(weights * family.variance(mu)) @ cells,
        mean=(weights >= 0).all(axis=1) & np.isclose(weights.sum(axis=1), 1),
        estimable=~((weights != 0) & ~known).any(axis=1),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """Inference for quantities of one fit; every array has shape (k,)."""

    estimate: np.ndarray
    se: np.ndarray
    df: np.ndarray
    statistic: np.ndarray
    p: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray


def infer(fit: GeeFit, asked: Asked, ddf: str, level: float) -> Inference:
    """Return standard errors (NaN where the units do not differ), tests against 0 and intervals.

    A mean on the natural scale has its interval made on the link scale, where it cannot leave the
    range of the outcome, and no test.

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
    family, g = fit.rows.family, asked.gradient
    square = np.einsum("ki,ij,kj->k", g, fit.made.covariance, g)
    model = np.einsum("ki,ij,kj->k", g, fit.made.bread, g) * fit.solution.scale
    se = np.sqrt(np.where(square > FLAT**2 * model, square, np.nan))
    df = np.full(len(g), np.inf if ddf == "z" else fit.between)
    if ddf == "satterthwaite":
        df = satterthwaite_df(fit.made, g)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(asked.mean, np.nan, asked.value / se)
        unit = np.where(asked.mean, family.variance(asked.value), 1.0)
        centre = np.where(asked.mean, family.forward(asked.value), asked.value)
    half = stdtrit(df, 0.5 + level / 2) * se / unit
    low, high = centre - half, centre + half
    return Inference(
        estimate=asked.value,
        se=se,
        df=df,
        statistic=t,
        p=2 * stdtr(df, -np.abs(t)),
        ci_low=np.where(asked.mean, family.inverse(low), low),
        ci_high=np.where(asked.mean, family.inverse(high), high),
    )


def estimate_rows(
    problem: Problem,
    fit: GeeFit,
    estimands: Sequence[Estimand],
    *,
    method: str,
    ddf: str,
    level: float,
    scale: str,
) -> list[dict[str, object]]:
    """Return one record of the Estimates table per estimand."""
    asked = on_scale(problem, fit, estimands, scale)
    numbers = None if fit.made is None else infer(fit, asked, ddf, level)
    aliased = "; ".join(f"aliased: {a.name} equals {a.equals}" for a in problem.aliasing.aliased)
    records = []
    for k, estimand in enumerate(estimands):
        record: dict[str, object] = {
            "outcome": problem.outcome,
            "estimand": estimand.name,
            "engine": "gee",
            "level": level,
            "method": method,
            "status": fit.status,
            "notes": "; ".join(fit.reasons),
        }
        if not asked.estimable[k]:
            record |= {"status": "not_estimable", "notes": aliased}
        elif numbers is not None and np.isnan(numbers.se[k]):
            record |= {
                "status": "failed",
                "notes": "the outcome does not vary between the units asked about: there is no "
                "standard error",
            }
        elif numbers is not None:
            record |= {n: float(getattr(numbers, n)[k]) for n in Inference.__slots__}
        records.append(record)
    return records
