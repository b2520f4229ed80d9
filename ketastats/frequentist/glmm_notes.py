"""What a reader should know of a generalised linear mixed model before using its numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ketastats.frequentist.comparison import chi2_sf
from ketastats.frequentist.families import family_named
from ketastats.frequentist.glmm_answers import DISPERSIONS, RICHER, Rows
from ketastats.frequentist.quadrature import MAX_NODES, REASONS, GlmmFit

SEPARATION = 1
MENDS = (
    "",
    "join cells, or use a model with priors (ks.mcmc)",
    "use a model with priors (ks.mcmc)",
    "do not use it",
    "simplify the formula or the family",
    "use a model with priors (ks.mcmc) or ks.gee, or nodes=100 if groups do differ that much",
    "simplify the formula, or use ddf='z'",
)
FEW_GROUPS = 25
"""Groups under which a reader is warned of z; the figures of the warning are those of
tests/frequentist/test_glmm_size.py."""
ROUGH = 1e-3
"""Roughness of the quadrature above which more nodes are asked for."""


def reason(fit: GlmmFit, names: tuple[str, ...]) -> str:
    """Return why the first outcome has no answer, empty where it has one."""
    code = int(fit.reason[0])
    if code != SEPARATION or not fit.runaway[0].any():
        return f"{REASONS[code]}; {MENDS[code]}" if code else ""
    away = [name for name, out in zip(names, fit.runaway[0], strict=True) if out]
    text = f"{away[0]} is" if len(away) == 1 else f"{', '.join(away)} are"
    return (
        f"separation: {text} infinite, since the formula can fit rows at a limit of the outcome "
        f"exactly; {MENDS[code]}"
    )


def extra_variation(rows: Rows, y: np.ndarray, fit: GlmmFit) -> str:
    """Say whether rows vary more than a binomial or Poisson family allows; empty where not.

    The likelihood ratio against the family with overdispersion, at 5 %, where a group has several
    rows: without it what mice differ in their change is taken for certainty.
    """
    richer = RICHER.get(rows.family.name)
    several = rows.group is None or len(rows.group) > len(np.unique(rows.group))
    if (
        richer is None
        or not several
        or not fit.converged[0]
        or (rows.family.trials and rows.size.max() <= 1)
    ):
        return ""
    more = replace(rows, family=family_named(richer)).fit(y)
    ratio = 2 * float(more.loglik[0] - fit.loglik[0])
    p = 0.5 * chi2_sf(ratio, 1)
    if not more.converged[0] or more.boundary[0, 1] or p > 0.05:
        return ""
    return (
        f"rows vary more than the {rows.family.name} family allows ({DISPERSIONS[richer]} "
        f"{more.dispersion[0]:.3g}, likelihood ratio {ratio:.3g}, p = {p:.2g}), so intervals are "
        f"too narrow: use family={richer!r}"
    )


def rough_quadrature(rows: Rows, fit: GlmmFit) -> str:
    """Say how far the quadrature is to be trusted; empty where it is."""
    if rows.group is None or not abs(fit.roughness[0]) > ROUGH:
        return ""
    return (
        f"{rows.nodes} nodes leave the log-likelihood uncertain by {abs(fit.roughness[0]):.2g}; "
        f"use more, such as nodes={min(2 * rows.nodes + 1, MAX_NODES)}"
    )


def few_groups(count: int, name: str, fit: GlmmFit) -> str:
    """Say what z costs with few groups; empty where there are more, or no fit."""
    if count >= FEW_GROUPS or not fit.converged[0]:
        return ""
    return (
        f"z is for many groups, and there are {count} of {name}: at 5 % it rejected 7.4 % of null "
        "differences between arms of 11 mice and 10 % of 6 in simulations (5.7 % of changes within "
        'mice), t 3 to 5.5 % with 8 and 11 (ddf="between"), the bootstrap 4 to 6 %: '
        'contrast(..., interval="bootstrap")'
    )
