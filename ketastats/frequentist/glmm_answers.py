"""What a generalised linear mixed model says: estimands, spreads, status, all for any batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from ketastats.frequentist.families import Family
from ketastats.frequentist.inference import (
    LINKS,
    Asked,
    Cells,
    Drawn,
    Inference,
    inference,
    on_link,
    on_means,
    standard_errors,
)
from ketastats.frequentist.marginal import marginal_mean
from ketastats.frequentist.quadrature import SPREADS, GlmmFit, fit_glmm

STATUSES = ("ok", "failed", "failed", "unconverged", "failed", "unconverged", "failed")
"""Status of a fit by its reason, position for position in :data:`.quadrature.REASONS`."""
DISPERSIONS = {"beta-binomial": "rho", "negative-binomial": "alpha"}
"""What an overdispersion is called."""
RICHER = {"binomial": "beta-binomial", "poisson": "negative-binomial"}
"""The family that lets rows vary more."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What is fitted, but for the outcome.

    Attributes
    ----------
    family : Family
    x : numpy.ndarray, shape (n, q)
    group : numpy.ndarray of int, shape (n,), or None
        Group of every row, -1 for none; None without a random intercept.
    inner : numpy.ndarray of int, shape (n,), or None
        Part of every row, within its group; None without a second random intercept.
    size : numpy.ndarray, shape (n,)
        Trials; 1 for counts.
    offset : numpy.ndarray, shape (n,)
        Logarithm of the exposure.
    nodes : int
    """

    family: Family
    x: np.ndarray
    group: np.ndarray | None
    size: np.ndarray
    offset: np.ndarray
    nodes: int
    inner: np.ndarray | None = None

    def fit(self, y: np.ndarray) -> GlmmFit:
        """Fit outcomes, shape (B, n) or (n,)."""
        return fit_glmm(
            self.family.name, self.x, self.group, y,
            size=self.size if self.family.trials else None, offset=self.offset, nodes=self.nodes,
            inner=self.inner,
        )  # fmt: skip


def status_names(reason: np.ndarray, boundary: np.ndarray) -> list[str]:
    """Return ok, boundary, unconverged or failed per outcome.

    Parameters
    ----------
    reason : numpy.ndarray of int, shape (B,)
    boundary : numpy.ndarray of bool, shape (B,)
        Whether a spread is held at 0.
    """
    return [
        "boundary" if code == 0 and held else STATUSES[code]
        for code, held in zip(reason, boundary, strict=True)
    ]


def evaluate(cells: Cells, fit: GlmmFit) -> Asked:
    """Return estimands of every outcome with gradients in beta and the spreads.

    On the natural scale the cells' means are those of the population, the inverse link integrated
    over the random intercepts (:func:`.marginal_mean`), whose variances add up.

    Returns
    -------
    Asked
        With a first axis over the B outcomes.
    """
    if cells.scale == "link":
        return on_link(cells, fit.beta, len(fit.spreads))
    eta = fit.beta @ cells.matrix.T
    total = whole_sd(fit)
    each = [marginal_mean(fit.family, e, s) for e, s in zip(eta, total, strict=True)]
    d_spread = np.zeros((*eta.shape, len(fit.spreads)))
    for name, own in (("sd", fit.sd), ("inner_sd", fit.inner_sd)):
        if name in fit.spreads:
            part = np.divide(own, total, out=np.ones_like(own), where=total > 0)
            d_spread[..., fit.spreads.index(name)] = part[:, None] * [m.d_sd for m in each]
    return on_means(
        cells, np.array([m.mean for m in each]), np.array([m.d_eta for m in each]), d_spread
    )


def whole_sd(fit: GlmmFit) -> np.ndarray:
    """Return the standard deviation of the sum of the random intercepts, shape (B,)."""
    return np.hypot(fit.sd, fit.inner_sd) if "inner_sd" in fit.spreads else fit.sd


def errors(asked: Asked, fit: GlmmFit) -> np.ndarray:
    """Return standard errors, shape (B, k); NaN where there is none."""
    se = standard_errors(asked, fit.covariance)
    return np.where(se > 0, se, np.nan)


def infer(
    asked: Asked, fit: GlmmFit, level: float, drawn: Drawn | None = None,
    df: np.ndarray | float = np.inf,
) -> Inference:  # fmt: skip
    """Return tests and intervals by t or z (infinite df), or those of a bootstrap, shape (B, k).

    What has not converged has none.

    Parameters
    ----------
    asked : Asked
    fit : GlmmFit
    level : float
    drawn : Drawn, optional
    df : numpy.ndarray, shape (B,), or float
    """
    known = np.where(fit.converged, df, np.nan)[:, None]
    numbers = inference(asked, errors(asked, fit), known, LINKS[fit.family.link], level, drawn)
    if fit.converged.all():
        return numbers
    good = fit.converged[:, None]
    each = (np.where(good, getattr(numbers, n), np.nan) for n in Inference.__slots__)
    return Inference(*each)


def coefficients_of(fit: GlmmFit) -> Asked:
    """Return the coefficients as quantities to estimate."""
    q = fit.beta.shape[1]
    gradient = np.broadcast_to(
        np.eye(q, q + len(fit.spreads)), (len(fit.beta), q, q + len(fit.spreads))
    )
    return Asked(fit.beta, gradient, np.zeros(q, dtype=bool), np.ones(q, dtype=bool))


def spread_rows(fit: GlmmFit, level: float) -> list[tuple[float, float, float, float, bool]]:
    """Return estimate, se, interval and boundary of the first outcome's spreads.

    Wald intervals on the log scale (sd, alpha) or the logit scale (rho); none on the boundary.
    """
    out = []
    q, z = fit.beta.shape[1], ndtri(0.5 + level / 2)
    for k, name in enumerate(fit.spreads):
        value = float(getattr(fit, name)[0])
        held = bool(fit.boundary[0, SPREADS.index(name)])
        if held or not fit.converged[0]:
            out.append((value, np.nan, np.nan, np.nan, held))
            continue
        se = float(np.sqrt(fit.covariance[0, q + k, q + k]))
        link = LINKS[
            "logit" if DISPERSIONS.get(fit.family.name) == "rho" and name == "dispersion" else "log"
        ]
        ends = link.forward(np.array(value)) + np.array([-z, z]) * se / link.slope(np.array(value))
        low, high = link.inverse(ends)
        out.append((value, se, float(low), float(high), held))
    return out
