"""Generalised linear mixed models with random intercepts, by quadrature: arrays in and out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError
from ketastats.core.threads import one_thread
from ketastats.frequentist.families import Family, dispersion_of, family_named

if TYPE_CHECKING:
    from ketastats.frequentist.glmm_batch import Batch

REASONS = (
    "",
    "separation: a combination of predictors determines an outcome and its coefficient is infinite",
    "the spread runs off: no finite standard deviation or overdispersion fits best",
    "the search did not converge",
    "the rows present do not determine every coefficient and spread",
    "the random intercept runs away: neither the rows (groups are all or nothing) nor the nodes "
    "determine a standard deviation this large",
    "there are as many coefficients between units as units, which leaves no degrees of freedom",
)
"""What the code of a row says; 0 is a converged fit."""
MAX_NODES = 100
SPREADS = ("sd", "dispersion", "inner_sd")
"""Of the random intercept, of the rows, and of the random intercept of parts within groups."""


@dataclass(frozen=True, slots=True, eq=False)
class GlmmFit:
    """A batch of fits; NaN where one has not converged, never a number that ran off.

    Attributes
    ----------
    family : Family
    nodes : int
    beta : numpy.ndarray, shape (B, q)
    sd : numpy.ndarray, shape (B,)
        Standard deviation of the random intercept on the link scale; 0 without one.
    dispersion : numpy.ndarray, shape (B,)
        Beta-binomial: intraclass correlation rho (a + b = (1 - rho) / rho). Negative binomial:
        alpha in variance mu + alpha mu^2 (theta = 1 / alpha). 0 in other families.
    inner_sd : numpy.ndarray, shape (B,)
        Standard deviation of the random intercept of parts within groups; 0 without one.
    spreads : tuple of str
        The last of the p parameters, after the q coefficients: those there are of :data:`SPREADS`.
    loglik : numpy.ndarray, shape (B,)
        All constants included: binomial coefficients, log y!. Under separation its limit to
        about 1e-8.
    roughness : numpy.ndarray, shape (B,)
        What ten more nodes add to the log-likelihood: how far to trust it (under 1e-3 is fine).
    covariance : numpy.ndarray, shape (B, p, p)
        Inverse observed information of beta and the spreads. A parameter on its boundary counts
        as known: its row is zero.
    score : numpy.ndarray, shape (B, p)
        At the end; 0 for a parameter on its boundary.
    converged : numpy.ndarray of bool, shape (B,)
    boundary : numpy.ndarray of bool, shape (B, 3)
        Which of :data:`SPREADS` ended at 0; a fit on the boundary is valid.
    reason : numpy.ndarray of int, shape (B,)
        Position in :data:`REASONS`.
    runaway : numpy.ndarray of bool, shape (B, q)
        Under separation the coefficients that are infinite, where they could be told.
    iterations : numpy.ndarray of int, shape (B,)
        Newton steps from all starts.
    modes : numpy.ndarray, shape (B, G)
        Posterior modes of the random intercepts on the link scale.
    mode_sd : numpy.ndarray, shape (B, G)
        Their spread from the curvature at the mode; a group without rows has its prior.
    inner_modes, inner_mode_sd : numpy.ndarray, shape (B, H)
        Those of the parts.
    """

    family: Family
    nodes: int
    beta: np.ndarray
    sd: np.ndarray
    dispersion: np.ndarray
    inner_sd: np.ndarray
    spreads: tuple[str, ...]
    loglik: np.ndarray
    roughness: np.ndarray
    covariance: np.ndarray
    score: np.ndarray
    converged: np.ndarray
    boundary: np.ndarray
    reason: np.ndarray
    runaway: np.ndarray
    iterations: np.ndarray
    modes: np.ndarray
    mode_sd: np.ndarray
    inner_modes: np.ndarray
    inner_mode_sd: np.ndarray


@one_thread()
def fit_glmm(
    family: str,
    x: np.ndarray,
    group: np.ndarray | None,
    y: np.ndarray,
    *,
    size: np.ndarray | float | None = None,
    offset: np.ndarray | None = None,
    nodes: int = 25,
    inner: np.ndarray | None = None,
) -> GlmmFit:
    """Fit a batch of outcomes by maximum likelihood with adaptive Gauss-Hermite quadrature.

    Every outcome is fitted by itself, so it equals the same outcome alone.

    Parameters
    ----------
    family : str
        ``binomial``, ``binomial-probit``, ``beta-binomial``, ``poisson``, ``negative-binomial``.
    x : numpy.ndarray, shape (n, q)
        Full column rank.
    group : numpy.ndarray of int, shape (n,), optional
        Group of every row, from 0; -1 where a row has no random intercept. None: no random part.
    y : numpy.ndarray, shape (B, n)
        Whole numbers; NaN where missing.
    size : numpy.ndarray, shape (n,) or (B, n), or float
        Trials, for the binomial families.
    offset : numpy.ndarray, shape (n,), optional
        Added to the linear predictor: the logarithm of an exposure.
    nodes : int
        1 is the Laplace approximation.
    inner : numpy.ndarray of int, shape (n,), optional
        Part of every row, from 0, -1 exactly where there is no group; a part lies in one group.
        It has a random intercept of its own, integrated by as many nodes for every node of the
        group's.

    Returns
    -------
    GlmmFit

    Notes
    -----
    lme4's ``glmer`` with nAGQ > 1 leaves constants out of its log-likelihood; here they are in.

    Examples
    --------
    >>> x, group = np.ones((6, 1)), np.arange(6)
    >>> fit = fit_glmm("binomial", x, group, np.array([[1, 8, 4, 6, 2, 8]]), size=10)
    >>> fit.beta.round(3).tolist(), fit.sd.round(3).tolist()
    ([[-0.096]], [1.123])
    """
    from ketastats.frequentist.glmm_batch import Batch  # compiled when first used

    kind = family_named(family)
    x, y, group, trials, offset = _checked(kind, x, group, y, size, offset)
    if not 1 <= nodes <= MAX_NODES:
        raise DataError(f"nodes = {nodes} is not between 1 and {MAX_NODES}", mend="use 25")
    if inner is not None:
        inner = _checked_parts(group, inner)
    order = np.argsort(group, kind="stable") if inner is None else np.lexsort((inner, group))
    batch = Batch(
        kind, x[order], y[:, order], trials[:, order], offset[order], group[order], nodes,
        None if inner is None else inner[order],
    )  # fmt: skip
    batch.fit()
    return _result(batch, nodes)


def _result(batch: Batch, nodes: int) -> GlmmFit:
    """Return the fits: NaN where there is none, spreads as they are reported."""
    q, z, has = batch.q, batch.z, batch.has
    good = batch.reason == 0
    rough = (
        batch.with_nodes(nodes + 10)[0] - batch.loglik if has[0] else np.where(good, 0.0, np.nan)
    )
    kept = np.flatnonzero([True] * q + has.tolist())
    held = has & ~batch.free[:, q:] & good[:, None]
    out = np.concatenate([np.zeros((len(z), q), dtype=bool), held], axis=1)[:, kept]
    covariance = _covariance(batch.hess[:, kept[:, None], kept], out, good)
    score = np.where(out, 0.0, batch.score[:, kept])
    for a in (z, batch.mode, batch.tau, score):
        a[~good] = np.nan
    dispersion, slope = dispersion_of(batch.kind, z[:, q + 1] ** 2)
    if batch.kind.overdispersed:
        slope = slope * 2 * z[:, q + 1]  # of the dispersion in omega
        at = q + int(has[0])
        covariance[:, at] *= slope[:, None]
        covariance[:, :, at] *= slope[:, None]
        score[:, at] /= np.where(held[:, 1], 1.0, slope)
    sd, inner_sd, g = z[:, q], z[:, q + 2], batch.groups
    modes, spread = (np.split(a, [g], axis=1) for a in (batch.mode, batch.tau))
    return GlmmFit(
        batch.kind, nodes, z[:, :q], sd, dispersion, inner_sd,
        tuple(s for s, there in zip(SPREADS, has, strict=True) if there),
        batch.loglik, rough, covariance, score, good, held, batch.reason, batch.runaway,
        batch.steps, sd[:, None] * modes[0], sd[:, None] * spread[0],
        inner_sd[:, None] * modes[1], inner_sd[:, None] * spread[1],
    )  # fmt: skip


def _covariance(hess: np.ndarray, out: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Invert the information over the parameters that are not held at 0, shape (B, p, p)."""
    apart = out[:, :, None] | out[:, None, :]
    information = np.where(apart, np.eye(hess.shape[1]), -hess)
    information[~good] = np.eye(hess.shape[1])
    inverse = np.where(apart, 0.0, np.linalg.inv(information))
    inverse[~good] = np.nan
    return inverse


def _checked(
    kind: Family,
    x: np.ndarray,
    group: np.ndarray | None,
    y: np.ndarray,
    size: np.ndarray | float | None,
    offset: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the arrays in the kernel's types and shapes, or say what is wrong with them."""
    x = np.asarray(x, dtype=np.float64)
    y = np.atleast_2d(np.asarray(y, dtype=np.float64))
    n = len(x)
    group = np.full(n, -1) if group is None else np.asarray(group)
    offset = np.zeros(n) if offset is None else np.asarray(offset, dtype=np.float64)
    if y.shape[1] != n or group.shape != (n,) or offset.shape != (n,):
        raise DataError(
            f"x has {n} rows, y {y.shape[1]}, group {len(group)}, offset {len(offset)}",
            mend="give one value per row",
        )
    if not (np.isfinite(x).all() and np.isfinite(offset).all()):
        raise DataError("x or offset has values that are not finite", mend="leave those rows out")
    group = group.astype(np.int64)
    if group.min(initial=-1) < -1:
        raise DataError("a group is a whole number from 0, or -1 for none", where="group")
    seen = ~np.isnan(y)
    if not np.all(~seen | (y >= 0) & (y == np.floor(y)) & (y < 1e9)):
        raise DataError(
            f"a {kind.name} outcome is a whole number from 0", where="y", mend="check the outcome"
        )
    if not kind.trials:
        return x, y, group, np.ones((1, n)), offset
    return x, y, group, _trials(kind, y, seen, size), offset


def _checked_parts(group: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return parts that lie in one group each, or say which do not."""
    inner = np.asarray(inner).astype(np.int64)
    if inner.shape != group.shape or np.any((inner < 0) != (group < 0)):
        raise DataError("every row with a group, and no other, has a part", where="inner")
    pairs = np.unique(np.stack([inner, group]), axis=1)
    if pairs.shape[1] > len(np.unique(inner)):
        raise DataError("a part lies in more than one group", where="inner", mend="number anew")
    return inner


def _trials(
    kind: Family, y: np.ndarray, seen: np.ndarray, size: np.ndarray | float | None
) -> np.ndarray:
    """Return the number of trials, shape (1 or B, n)."""
    if size is None:
        raise DataError(f"the {kind.name} family needs the number of trials", mend="pass size=")
    trials = np.atleast_2d(np.asarray(size, dtype=np.float64))
    if trials.shape[0] not in (1, len(y)) or trials.shape[1] not in (1, y.shape[1]):
        raise DataError(f"size has the shape {trials.shape}", mend="give one number per row")
    trials = np.broadcast_to(trials, (len(trials), y.shape[1]))
    whole = (trials >= 0) & (trials == np.floor(trials))
    if not np.all(whole | ~seen):
        raise DataError("size is not a whole number in every row", where="size")
    if np.any((y > trials) & seen):
        raise DataError("there are more successes than trials", where="y", mend="check size")
    if kind.overdispersed and not np.any((trials > 1) & seen):
        raise DataError("single trials cannot show overdispersion", mend="use the binomial family")
    return np.where(whole, trials, 0.0)
