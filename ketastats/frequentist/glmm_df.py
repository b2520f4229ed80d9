"""Degrees of freedom of a generalised linear mixed model: none (z), or those between units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ketastats.frequentist.gee_kernel import between_df
from ketastats.frequentist.glmm_answers import Rows
from ketastats.frequentist.quadrature import GlmmFit

DDF = {"z": "z", "between": "between-unit t"}
"""Methods of the degrees of freedom, and what tables call them."""
NO_DF = 6
"""Position in :data:`.quadrature.REASONS`."""


def degrees(rows: Rows, y: np.ndarray, ddf: str) -> np.ndarray:
    """Return the degrees of freedom of every outcome, shape (B,); infinite for z.

    ``between``: units minus the rank of the columns that are constant within every unit, over the
    rows that an outcome has. Units are the groups of the random intercept; a row without one is
    a unit by itself.

    Parameters
    ----------
    rows : Rows
    y : numpy.ndarray, shape (B, n) or (n,)
        NaN where missing.
    ddf : str
        One of :data:`DDF`.
    """
    seen = ~np.isnan(np.atleast_2d(y))
    if ddf == "z":
        return np.full(len(seen), np.inf)
    n = len(rows.x)
    unit = np.full(n, -1) if rows.group is None else rows.group
    unit = np.where(unit < 0, unit.max(initial=-1) + 1 + np.arange(n), unit)
    patterns, place = np.unique(seen, axis=0, return_inverse=True)
    found = np.zeros(len(patterns))
    for k, keep in enumerate(patterns):
        if keep.any():
            found[k] = between_df(rows.x[keep], np.unique(unit[keep], return_inverse=True)[1])
    return found[place.ravel()]


def limited(fit: GlmmFit, df: np.ndarray) -> GlmmFit:
    """Return fits, those without a degree of freedom as failed."""
    none = fit.converged & (df < 1)
    if not none.any():
        return fit
    reason = np.where(none, NO_DF, fit.reason)
    return replace(fit, reason=reason, converged=fit.converged & ~none)
