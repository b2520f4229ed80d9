"""Batched REML and ML: the search for the maximum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ketastats.frequentist import factor_search
from ketastats.frequentist.likelihood import Derivatives, evaluate
from ketastats.frequentist.moments import Moments
from ketastats.problem.residual import BOUNDED, POSITIVE

MAX_ITERATIONS = 200
DECREMENT = 1e-13
"""Newton decrement g'H^-1 g at which a row stops, after one more step: the step is then shorter
than 3e-7 standard errors, and the error after it (Newton converges quadratically) below 1e-12."""


EXACT = 1e-24
"""Decrement at which no further step is needed: what is left is shorter than 1e-12 standard errors.
Balanced data get there in one step, because Fisher scoring is exact for them."""


@dataclass(frozen=True, slots=True, eq=False)
class RemlFit:
    """A batch of fits.

    Attributes
    ----------
    theta : numpy.ndarray, shape (B, R)
        Variances and covariances, residual last.
    beta : numpy.ndarray, shape (B, q)
    at : Derivatives
        At ``theta``, in outcome units.
    boundary : numpy.ndarray of bool, shape (B, R)
        Variances estimated as zero.
    converged : numpy.ndarray of bool, shape (B,)
    iterations : numpy.ndarray of int, shape (B,)
    residual_df : numpy.ndarray of int, shape (B,)
        Rows minus fixed effects.
    terms : tuple of numpy.ndarray
        Per random term the positions of its covariance matrix in ``theta``.
    """

    theta: np.ndarray
    beta: np.ndarray
    at: Derivatives
    boundary: np.ndarray
    converged: np.ndarray
    iterations: np.ndarray
    residual_df: np.ndarray
    terms: factor_search.Terms


def fit_reml(
    moments: Moments,
    kinds: np.ndarray,
    units: np.ndarray,
    start: np.ndarray,
    *,
    terms: factor_search.Terms = (),
    ml: bool = False,
) -> RemlFit:
    """Maximise the REML (or ML) likelihood of every outcome in a batch.

    Newton steps with the observed information where it is positive definite, Fisher scoring where
    not, variances kept at zero while their score is negative, steps halved until the likelihood
    does not fall. Every row stops at its own convergence.

    Parameters
    ----------
    moments : Moments
    kinds : numpy.ndarray of int, shape (R,)
        BOUNDED, POSITIVE or FREE per parameter.
    units : numpy.ndarray of bool, shape (R,)
        Whether a parameter is in squared outcome units; correlations are not.
    start : numpy.ndarray, shape (R,)
        Starting values in units of the least-squares residual variance.
    terms : tuple of numpy.ndarray
        Per random term the positions of its covariance matrix in the parameters.
    ml : bool
        Maximum likelihood instead of restricted maximum likelihood.

    Returns
    -------
    RemlFit
    """
    rows = np.arange(len(moments.scale))
    state = _Search(np.tile(start, (len(rows), 1)), kinds, units, terms)
    state.done |= np.isnan(moments.scale)
    ragged = any(g.ragged for g in moments.groups)
    # all start alike: without masks one V serves the whole batch
    first = evaluate(moments, state.theta if ragged else start[None], rows, ml=ml)
    state.accept(rows, first)
    best = _climb(state, moments, first, ml)
    _finish_singular(state, moments, best, start, ml)
    boundary = (kinds == BOUNDED) & (state.theta <= 0) | factor_search.singular(state.theta, terms)
    return _rescale(best, state, boundary, moments, kinds, ml)


def _climb(state: _Search, moments: Moments, best: Derivatives, ml: bool) -> Derivatives:
    """Iterate until every row is done; returns the derivatives at the rows' best parameters."""
    kept = state.done.copy()  # rows whose derivatives in ``best`` are those at their parameters
    for _ in range(MAX_ITERATIONS):
        active = np.flatnonzero(~state.done)
        if active.size == 0:
            break
        at = evaluate(moments, state.proposal[active], active, ml=ml)
        ended = state.accept(active, at) & state.done[active]
        best = _merge(best, at, ended, active)
        kept[active[ended]] = True
    rest = np.flatnonzero(~kept)
    if rest.size:
        at = evaluate(moments, state.theta[rest], rest, ml=ml)
        best = _merge(best, at, np.ones(len(rest), dtype=bool), rest)
    return best


def _finish_singular(
    state: _Search, moments: Moments, best: Derivatives, start: np.ndarray, ml: bool
) -> None:
    """Take rows that stalled at a singular covariance matrix to their maximum."""
    several = any(len(index) > 1 for index in state.terms)
    for row in np.flatnonzero(~state.converged & ~np.isnan(moments.scale)) if several else ():
        where = np.array([row])

        def value_and_score(theta: np.ndarray, at: np.ndarray = where) -> tuple[float, np.ndarray]:
            here = evaluate(moments, theta[None], at, ml=ml)
            return float(here.loglik[0]), here.score[0]

        theta, converged = factor_search.search(
            value_and_score, start, state.terms, state.kinds == POSITIVE
        )
        state.theta[row], state.converged[row] = theta, converged
        _merge(best, evaluate(moments, theta[None], where, ml=ml), np.array([True]), where)


class _Search:
    """State of the search: one row per outcome."""

    def __init__(
        self, theta: np.ndarray, kinds: np.ndarray, units: np.ndarray, terms: factor_search.Terms
    ) -> None:
        b = len(theta)
        self.terms = terms
        self.kinds = kinds
        self.units = units
        self.theta = theta.copy()
        self.proposal = theta.copy()
        self.loglik = np.full(b, -np.inf)
        self.last_step = np.zeros(b, dtype=bool)
        self.exact = np.zeros(b, dtype=bool)
        self.done = np.zeros(b, dtype=bool)
        self.converged = np.zeros(b, dtype=bool)
        self.iterations = np.zeros(b, dtype=int)
        self.halvings = np.zeros(b, dtype=int)

    def accept(self, active: np.ndarray, at: Derivatives) -> np.ndarray:
        """Judge the proposals of the active rows; returns which of them were accepted."""
        slack = 1e-10 * (1.0 + np.abs(self.loglik[active]))
        with np.errstate(invalid="ignore"):
            good = np.isfinite(at.loglik) & ~(at.loglik < self.loglik[active] - slack)
        good &= factor_search.feasible(self.proposal[active], self.terms)
        self.iterations[active] += 1
        bad = active[~good]
        self.halvings[bad] += 1
        self.proposal[bad] = 0.5 * (self.theta[bad] + self.proposal[bad])
        stuck = bad[self.halvings[bad] > 40]
        self.done[stuck] = True
        rows = active[good]
        self.theta[rows] = self.proposal[rows]
        self.loglik[rows] = at.loglik[good]
        self.halvings[rows] = 0
        finished = self.last_step[rows]
        onward = good.copy()
        onward[good] = ~finished
        self._propose(active[onward], onward, at)
        finished = finished | self.exact[rows]
        self.done[rows[finished]] = True
        self.converged[rows[finished]] = True
        return good

    def _propose(self, rows: np.ndarray, good: np.ndarray, at: Derivatives) -> None:
        if rows.size == 0:
            return
        theta, score = self.theta[rows], at.score[good]
        step = bounded_step(theta, score, at.observed[good], at.expected[good], self.kinds)
        bounded = self.kinds == BOUNDED
        self.proposal[rows] = np.where(bounded, np.maximum(theta + step, 0.0), theta + step)
        held = bounded & (theta <= 0) & (score <= 0)
        decrement = (np.where(held, 0.0, score) * step).sum(axis=1)
        self.last_step[rows] = np.abs(decrement) < DECREMENT
        self.exact[rows] = np.abs(decrement) < EXACT


NEAR = 0.5
"""Newton decrement below which the observed information replaces the expected one: within 0.7
standard errors of the maximum the likelihood is close to quadratic; farther away the observed
information can be nearly singular and its steps wild."""


def bounded_step(
    theta: np.ndarray,
    score: np.ndarray,
    observed: np.ndarray,
    expected: np.ndarray,
    kinds: np.ndarray,
) -> np.ndarray:
    """Return the step to the maximum of the quadratic model with variances kept at or above zero.

    Parameters
    ----------
    theta, score : numpy.ndarray, shape (B, R)
    observed, expected : numpy.ndarray, shape (B, R, R)
    kinds : numpy.ndarray of int, shape (R,)

    Returns
    -------
    numpy.ndarray, shape (B, R)
    """
    bounded, positive_kind = kinds == BOUNDED, kinds == POSITIVE
    unit = np.sqrt(np.maximum(np.einsum("brr->br", expected), 1e-300))
    scaling = unit[:, :, None] * unit[:, None, :]
    o, i = observed / scaling, expected / scaling
    t, g = theta * unit, score / unit  # in units of each parameter's own standard error
    fisher = _active_set(t, g, i + 1e-14 * np.eye(t.shape[1]), bounded)
    near = (g * fisher).sum(axis=1) < NEAR
    free = ~((t <= 0) & (g <= 0) & bounded)
    both = free[:, :, None] & free[:, None, :]
    positive = np.linalg.eigvalsh(np.where(both, o, np.eye(t.shape[1])))[:, 0] > 1e-8
    newton = near & positive
    step = np.where(
        newton[:, None],
        _active_set(t, g, np.where(newton[:, None, None], o, i + np.eye(t.shape[1])), bounded),
        fisher,
    )
    # residual variances stay positive: at most four fifths of one are taken at a time
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(positive_kind & (step < -0.8 * t), -0.8 * t / step, 1.0)
    return ratio.min(axis=1, keepdims=True) * step / unit


def _active_set(t: np.ndarray, g: np.ndarray, h: np.ndarray, bounded: np.ndarray) -> np.ndarray:
    """Maximise g's - s'hs/2 subject to t + s >= 0 by walking from bound to bound, shape (B, R)."""
    r = t.shape[1]
    fixed = bounded & (t <= 0) & (g <= 0)
    step = np.zeros_like(t)
    for _ in range(r):
        free = ~fixed
        both = free[:, :, None] & free[:, None, :]
        right = np.where(free, g - (h @ step[:, :, None])[:, :, 0], 0.0)
        move = np.linalg.solve(np.where(both, h, np.eye(r)), right[:, :, None])[:, :, 0]
        out = free & bounded & (t + step + move < 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(out, (t + step) / -move, np.inf)
        length = np.minimum(share.min(axis=1), 1.0)
        step = step + length[:, None] * move
        if not out.any():
            break
        # only the first bound on the way is fixed: fixing all at once may point downhill
        hit = out & (share <= length[:, None])
        step = np.where(hit, -t, step)
        fixed = fixed | hit
    return step


_FIELDS = ("loglik", "score", "expected", "observed", "beta", "phi", "p", "q", "second")


def _merge(kept: Derivatives, at: Derivatives, good: np.ndarray, active: np.ndarray) -> Derivatives:
    """Store the derivatives of accepted rows; rows never accepted keep those they started with."""
    for name in _FIELDS:
        getattr(kept, name)[active[good]] = getattr(at, name)[good]
    return kept


def _rescale(
    at: Derivatives,
    state: _Search,
    boundary: np.ndarray,
    moments: Moments,
    kinds: np.ndarray,
    ml: bool,
) -> RemlFit:
    """Return to outcome units: y was divided by sqrt(scale) and had its fit taken off."""
    s = np.where(moments.scale > 0, moments.scale, 1.0)
    unit = np.where(state.units, s[:, None], 1.0)  # correlations have no unit
    pair = unit[:, :, None] * unit[:, None, :]
    i, j = np.triu_indices(len(kinds))
    flat = pair[:, i, j][:, :, None, None]
    s1, s2, s4 = s[:, None], s[:, None, None], s[:, None, None, None]
    counted = moments.n if ml else moments.n - moments.q
    scaled = Derivatives(
        loglik=at.loglik - 0.5 * counted * np.log(s),
        score=at.score / unit,
        expected=at.expected / pair,
        observed=at.observed / pair,
        beta=moments.shift + at.beta * np.sqrt(s1),
        phi=at.phi * s2,
        p=at.p / (unit[:, :, None, None] * s4),
        q=at.q / (flat * s4),
        second=at.second / (flat * s4) if at.second.shape[1] else at.second,
    )
    return RemlFit(
        theta=state.theta * unit,
        beta=scaled.beta,
        at=scaled,
        boundary=boundary,
        converged=state.converged & (moments.scale > 0),
        iterations=state.iterations,
        residual_df=moments.n - moments.q,
        terms=state.terms,
    )
