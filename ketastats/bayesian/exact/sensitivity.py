"""How far an answer depends on the prior: other scales and families, sceptics and enthusiasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from ketastats.bayesian.exact.integrate import quadrature
from ketastats.bayesian.exact.mixture import cdf
from ketastats.bayesian.exact.nodes import covariances, information
from ketastats.bayesian.exact.posterior import ExactPosterior
from ketastats.bayesian.exact.search import MANY
from ketastats.core.errors import DataError
from ketastats.study.priors import Prior

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.study.model import Estimand

MEDIAN = {"half-normal": 0.6744897501960817, "exponential": np.log(2.0), "half-t": 0.7648923284}
"""Of an SD's prior with scale 1; half-t with 3 degrees of freedom."""
SAME_MEDIAN_DF = 3.0


def prior_variants(post: ExactPosterior) -> list[tuple[str, dict[str, str]]]:
    """Return other priors to try, each with what is changed: scales times 1/4 to 4, families.

    Only those of roles whose prior has a scale.
    """
    out: list[tuple[str, dict[str, str]]] = []
    effects, sd = post.chosen.roles["effects"], post.chosen.roles["sd"]
    if effects.family == "normal":
        for factor in (0.25, 0.5, 2.0, 4.0):
            prior = Prior("normal", (0.0, effects.parameters[1] * factor))
            out.append((f"effects, scale times {factor:g}", {"effects": str(prior)}))
        out.append(("effects without a prior", {"effects": "flat"}))
    for factor in (0.5, 2.0):
        prior = Prior(sd.family, (*sd.parameters[:-1], sd.parameters[-1] * factor))
        out.append((f"SDs, scale times {factor:g}", {"sd": str(prior)}))
    if sd.family in ("half-normal", "exponential"):
        median = MEDIAN[sd.family] * sd.parameters[-1]
        for family in ("half-normal", "exponential", "half-t"):
            if family != sd.family:
                scale = float(f"{median / MEDIAN[family]:.4g}")
                of = (SAME_MEDIAN_DF, scale) if family == "half-t" else (scale,)
                prior = Prior(family, of)
                out.append((f"SDs, {family} of the same median", {"sd": str(prior)}))
    return out


def prior_sensitivity(post: ExactPosterior, estimands: Sequence[Estimand]) -> pd.DataFrame:
    """Return the answers under other priors, the posterior's own first.

    Parameters
    ----------
    post : ExactPosterior
    estimands : sequence of Estimand

    Returns
    -------
    pandas.DataFrame
        Columns prior, changed, estimand, estimate, se, ci_low, ci_high, prob_positive, shift (of
        the estimate, in posterior SDs under the own prior) and status.

    Examples
    --------
    >>> import ketastats as ks
    >>> study = ks.load_study("jelen2025")
    >>> data = study.simulate(seed=1, outcome="madrs")
    >>> post = ks.posterior("madrs ~ treatment*time + period + (1|subject)", data, typical_sd=10)
    >>> table = prior_sensitivity(post, [study.estimand("attenuation")])
    >>> table["prior"].iloc[0]
    'as declared'
    """
    import pandas as pd

    frames = []
    own = post.contrast(estimands=estimands)
    for label, changes in [("as declared", {}), *prior_variants(post)]:
        other = post.with_priors(changes, tolerance=MANY.error) if changes else post
        found = other.contrast(estimands=estimands) if changes else own
        frame = found[["estimand", "estimate", "se", "ci_low", "ci_high", "prob_positive"]].copy()
        frame["shift"] = (found["estimate"] - own["estimate"]) / own["se"]
        frame["status"] = found["status"]
        frame.insert(0, "changed", "; ".join(f"{k}: {v}" for k, v in changes.items()))
        frame.insert(0, "prior", label)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


@dataclass(frozen=True, slots=True)
class View:
    """Somebody's prior of one estimand.

    Attributes
    ----------
    name : str
    mean, sd : float
    """

    name: str
    mean: float
    sd: float

    def __str__(self) -> str:
        return str(Prior("normal", (float(f"{self.mean:.4g}"), float(f"{self.sd:.4g}"))))


def views(claim: float) -> tuple[View, ...]:
    """Return a sceptic, somebody neutral and an enthusiast about a claimed effect.

    Spiegelhalter, Freedman & Parmar (1994), J R Stat Soc A 157:357: the sceptic gives 5 % to an
    effect beyond the claim and expects none; the enthusiast expects the claim and gives 5 % to an
    effect on the other side of 0. The neutral prior is ten times as wide.

    Parameters
    ----------
    claim : float
        In the units of the outcome, not 0.
    """
    if not (np.isfinite(claim) and claim != 0):
        raise DataError(f"the claim {claim} is not an effect", mend="give one that is not 0")
    sd = abs(claim) / -float(ndtri(0.05))
    return (View("sceptic", 0.0, sd), View("neutral", 0.0, 10 * sd), View("enthusiast", claim, sd))


SURE = 0.975


def sceptics(
    post: ExactPosterior, estimand: Estimand, claim: float, sure: float = SURE
) -> pd.DataFrame:
    """Return what a sceptic, somebody neutral and an enthusiast conclude, and would need to see.

    Parameters
    ----------
    post : ExactPosterior
    estimand : Estimand
    claim : float
        The effect that is claimed, in the units of the outcome.
    sure : float
        Probability of the claim's direction that convinces.

    Returns
    -------
    pandas.DataFrame
        Columns view, prior, estimate, se, ci_low, ci_high, prob_claimed (of the claim's
        direction), seen (the estimate without a prior of it) and needed (the smallest such
        estimate, with data as noisy as these, at which the probability reaches ``sure``).

    Examples
    --------
    >>> import ketastats as ks
    >>> study = ks.load_study("jelen2025")
    >>> data = study.simulate(seed=1, outcome="madrs")
    >>> formula = "madrs ~ treatment*time*sex + period + (1|subject)"
    >>> post = ks.posterior(formula, data, typical_sd=10)
    >>> table = sceptics(post, study.estimand("attenuation_sex"), claim=2.0)
    >>> list(table["view"])
    ['sceptic', 'neutral', 'enthusiast']
    """
    import pandas as pd

    side = 1.0 if claim > 0 else -1.0
    records = []
    for view in views(claim):
        other = post.with_priors({estimand.name: str(view)}, [estimand], MANY.error)
        row = other.contrast(estimands=[estimand]).iloc[0]
        seen, needed = would_need(other, estimand, side, sure)
        above = float(row["prob_positive"])
        records.append(
            {
                "view": view.name,
                "prior": str(view),
                "estimate": row["estimate"],
                "se": row["se"],
                "ci_low": row["ci_low"],
                "ci_high": row["ci_high"],
                "prob_claimed": above if side > 0 else 1 - above,
                "seen": seen,
                "needed": needed,
                "status": row["status"],
            }
        )
    return pd.DataFrame(records)


def would_need(
    post: ExactPosterior, estimand: Estimand, side: float, sure: float
) -> tuple[float, float]:
    """Return the estimate that the data give without a prior, and the one that would convince.

    The outcome is moved along the direction in which generalised least squares sees the estimand
    and nothing else. Infinite when no estimate would convince: one that contradicts the prior is
    explained by larger SDs instead.
    """
    row = (post.asked([estimand]).rows @ post.design.back)[0]
    mean = post.weight @ post.nodes
    theta = covariances(post.model, mean[None])
    moments = post.quadrature.table.moments
    xx, xy, _, _ = information(post.model, moments, theta, np.zeros(1, dtype=np.int64))
    weights = np.linalg.solve(xx[0], row)
    direction = post.model.problem.x @ (weights / (row @ weights))
    seen = float(row @ moments.shift[0] + weights @ xy[0, 0])
    target = float(ndtri(sure))

    def excess(estimates: np.ndarray) -> np.ndarray:
        """Return the probability on the probit scale less the one that is needed."""
        y = post.problem.y + (side * estimates - seen)[:, None] * direction
        found, out = quadrature(post.model, y, row[None], MANY), np.empty(len(y))
        for part in found.parts():
            at = np.zeros((len(part.outcomes), 1))
            below = cdf(part.weight, side * part.mean, part.sd, at)[:, 0]
            out[part.outcomes] = -ndtri(np.clip(below, 1e-15, 1 - 1e-15)) - target
        return out

    grid = STEPS * float(np.sqrt(row @ weights))
    above = excess(grid) >= 0
    if not above.any():
        return seen, side * np.inf
    first = int(np.argmax(above))
    if first == 0:
        return seen, side * float(grid[0])
    between = np.linspace(grid[first - 1], grid[first], 5)
    return seen, side * float(np.interp(0.0, excess(between), between))


STEPS = np.array([-6, -3, -1.5, 0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 6, 8, 12, 16, 24.0])
"""Estimates that are tried, in standard errors."""
