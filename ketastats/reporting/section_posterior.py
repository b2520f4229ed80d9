"""Part of the diagnostics: the posterior's densities with their priors, and its SDs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ketastats.analysis.engines import Answer
from ketastats.bayesian.exact.posterior import ExactPosterior
from ketastats.figures.diagnostics import Density, densities
from ketastats.problem.questions import ask
from ketastats.reporting.document import Picture, rich
from ketastats.reporting.material import Material
from ketastats.reporting.words import capital, listing
from ketastats.study.model import Estimand, Outcome

if TYPE_CHECKING:
    import pandas as pd

SHOWN_DENSITIES = 6


def posterior_densities(material: Material, outcome: Outcome, answer: Answer) -> Picture | None:
    """Draw the posterior of the first estimands, where the engine gives densities."""
    if answer.analysis.family != "gaussian":
        return None  # priors are on the link, most questions are not
    asked = material.study.estimands_of(answer.analysis)[:SHOWN_DENSITIES]
    found = answer.result.densities(asked)  # type: ignore[attr-defined]
    priors = estimand_priors(answer, asked, material.results.data[outcome.name])
    rows = []
    for e in asked:
        row = material.row(e.name, answer.analysis.engine)
        if row is None or e.name not in found:
            continue
        x, density = found[e.name]
        rows.append(
            Density(
                capital(e.label),
                x,
                density,
                priors.get(e.name),
                material.true_value(e.name),
                (float(row["ci_low"]), float(row["ci_high"])),
            )
        )
    if not rows:
        return None
    name = f"posterior-{outcome.name}"
    svg = densities(rows, unit=outcome.scale.unit, ident=name)
    said = listing([f"{k} {v}" for k, v in answer.details.get("priors", {}).items()])
    caption = f"Posterior densities and the priors that the model's own imply ({said})."
    return Picture(name, svg, rich(caption))


def estimand_priors(
    answer: Answer, estimands: Sequence[Estimand], data: pd.DataFrame
) -> dict[str, tuple[float, float]]:
    """Return mean and SD of the normal prior that the priors of the coefficients imply.

    An estimand is a row over the coefficients, which are independent and normal a priori. Those
    that have no normal prior are left out.
    """
    if isinstance(answer.result, ExactPosterior):
        return answer.result.prior_of(estimands)
    from ketastats.bayesian.design import standard_design
    from ketastats.study.priors import parse_prior

    problem = answer.result.problem  # type: ignore[attr-defined]
    design = standard_design(problem, data)
    text = dict(answer.result.priors)  # type: ignore[attr-defined]
    effects = parse_prior(text["effects"], "effects").parameters
    mean = np.zeros(design.x.shape[1])
    sd = np.full(design.x.shape[1], effects[1])
    if design.intercept >= 0:
        mean[design.intercept], sd[design.intercept] = parse_prior(
            text["intercept"], "intercept"
        ).parameters
    means, sds = normal_of_rows(ask(problem, estimands).rows @ design.back, mean, sd)
    return {e.name: (float(m), float(s)) for e, m, s in zip(estimands, means, sds, strict=True)}


def normal_of_rows(
    rows: np.ndarray, mean: np.ndarray, sd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and SD of linear combinations of independent normal variables.

    Parameters
    ----------
    rows : numpy.ndarray, shape (K, q)
    mean, sd : numpy.ndarray, shape (q,)

    Returns
    -------
    mean, sd : numpy.ndarray, shape (K,)
    """
    return rows @ mean, np.sqrt(((rows * sd) ** 2).sum(axis=1))


def posterior_sds(answer: Answer) -> dict[str, dict[str, float]]:
    """Return the posterior of every random SD: mean, sd, low, high, mcse."""
    exact = isinstance(answer.result, ExactPosterior)
    summary = answer.result.sds() if exact else answer.result.summary()  # type: ignore[attr-defined]
    return {
        str(name).removeprefix("sd "): {
            "mean": float(r["mean"]), "sd": float(r["sd"]),
            "low": float(r["ci_low"]), "high": float(r["ci_high"]),
            "mcse": float(r.get("mcse", np.nan)),
        }
        for name, r in summary.iterrows()
        if str(name).startswith("sd ")
    }  # fmt: skip
