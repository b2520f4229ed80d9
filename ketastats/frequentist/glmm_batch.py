"""A batch of generalised linear mixed models under way: starts, boundaries, several maxima."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
from scipy.special import logit, ndtri

from ketastats.frequentist.families import BINOMIAL, POISSON, Family, log_density
from ketastats.frequentist.glmm_runaway import runaways
from ketastats.frequentist.glmm_search import OK, RANK, RUNAWAY, SEPARATED, STALLED, climb

ZERO = 1e-3
"""A spread that the search leaves under this on the link scale is tried at exactly 0."""
RISES = 1e-6
"""A spread held at 0 is let go when the log-likelihood has more than half this slope in its
square."""
WORTH = 1e-8
"""What another start must add to the log-likelihood to be taken."""
BEYOND = 25.0
"""A linear predictor beyond this where a search stalls: its mean is 0 (or 1) to 1e-11."""
WIDE = 500.0
"""A spread with a larger standard error on the link scale is not determined."""
DIGITS = 6
"""Starts are rounded, so that the order of sums in a batch does not reach the search."""
MAX_ROUNDS = 6
BASES = {"beta-binomial": BINOMIAL, "negative-binomial": POISSON}
"""The family at overdispersion 0."""
LINKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "logit": logit,
    "probit": ndtri,
    "log": np.log,
}


class Batch:
    """Parameters, derivatives and verdicts of every outcome.

    Rows are sorted by group, -1 first, and within it by part (``inner``).

    Attributes
    ----------
    has : numpy.ndarray of bool, shape (3,)
        Whether there is a random intercept, an overdispersion, and a random intercept within.
    z : numpy.ndarray, shape (B, q + 3)
        beta, sigma, omega, kappa; see ``glmm_search``.
    free : numpy.ndarray of bool, shape (B, q + 3)
        Parameters that are not held at 0.
    mode, tau : numpy.ndarray, shape (B, G + H)
        Modes and spread of the standardised random intercepts of groups, then of their parts.
    score, hess : numpy.ndarray, shapes (B, q + 3), (B, q + 3, q + 3)
    runaway : numpy.ndarray of bool, shape (B, q)
    loglik, reason, steps : numpy.ndarray, shape (B,)
    """

    def __init__(
        self, kind: Family, x: np.ndarray, y: np.ndarray, trials: np.ndarray, offset: np.ndarray,
        group: np.ndarray, nodes: int, inner: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.kind, self.offset, self.group = kind, offset, group
        self.inner = inner
        self.x, self.y, self.trials = (np.ascontiguousarray(a) for a in (x, y, trials))
        self.nodes = _hermite(nodes)
        self.groups = int(group.max(initial=-1)) + 1
        parts = 0 if inner is None else int(inner.max(initial=-1)) + 1
        b, q, every = len(y), x.shape[1], self.groups + parts
        self.q, self.has = q, np.array([self.groups > 0, kind.overdispersed, parts > 0])
        self.z, self.score, self.hess = (np.zeros((b, *[q + 3] * k)) for k in (1, 1, 2))
        self.free = np.zeros((b, q + 3), dtype=bool)
        self.mode, self.tau = np.zeros((b, every)), np.ones((b, every))
        self.runaway, self.loglik = np.zeros((b, q), dtype=bool), np.full(b, np.nan)
        self.reason, self.steps = np.full(b, RANK), np.zeros(b, dtype=np.int64)

    def fit(self) -> None:
        """Fit without spreads, then with them.

        With several spreads the likelihood can have several maxima: those with some of them at 0
        are looked at as well, so that no fit is worse than one with fewer parameters.
        """
        good = self._start()
        self.free[good, : self.q] = True
        self._climb(good)
        plain, bare = self.reason == OK, self._snapshot()
        if self.has.any():
            begin = self._first_spreads()
            self._set(plain, begin, self.has)
            self._settle(plain, begin)
        for has in self._fewer():
            best = self._snapshot()
            self._restore(plain, bare)
            self._set(plain, begin, has)
            base = self.has[1] and not has[1]
            self._climb(plain, BASES[self.kind.name] if base else self.kind.code)
            better = plain & (self.reason == OK) & (self.loglik > best[0] + WORTH)
            better |= plain & (self.reason == OK) & (best[1] != OK) & (self.loglik > best[0])
            self._restore(plain & ~better, best)
            self._settle(better, begin)
        self._judge(plain)
        self.reason[runaways(self)] = RUNAWAY

    def _fewer(self) -> list[np.ndarray]:
        """Return the spreads of the models with some, but not all of them."""
        every = (np.array(h) for h in product(*([False, True] if h else [False] for h in self.has)))
        return [h for h in every if h.any() and not (h == self.has).all()]

    def _judge(self, plain: np.ndarray) -> None:
        """Say what a search that ended without a maximum, or on a ridge, has found.

        What the plain model fits is not separated: there it is the spread that is not determined.
        """
        with np.errstate(invalid="ignore"):
            far = np.abs(self._eta()).max(axis=1, initial=0.0, where=~np.isnan(self.y)) > BEYOND
        self.reason[(self.reason == STALLED) & far & ~plain] = SEPARATED
        self.reason[(self.reason == SEPARATED) & plain] = RANK
        self.runaway[self.reason != SEPARATED] = False
        apart = ~self.free[:, :, None] | ~self.free[:, None, :]
        information = np.where(apart, np.eye(self.q + 3), -self.hess)
        scale = np.sqrt(np.abs(np.diagonal(information, axis1=1, axis2=2))) + 1e-150
        scaled = information / (scale[:, :, None] * scale[:, None, :])
        scaled[self.reason != OK] = np.eye(self.q + 3)
        flat = np.linalg.eigvalsh(scaled)[:, 0] < 1e-13
        scaled[flat] = np.eye(self.q + 3)
        variance = np.diagonal(np.linalg.inv(scaled), axis1=1, axis2=2) / scale**2
        flat |= (self.free & (variance > WIDE**2))[:, self.q :].any(axis=1)
        self.reason[(self.reason == OK) & flat] = RANK

    def with_nodes(
        self, nodes: int, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return log-likelihood and score at the same parameters with another number of nodes."""
        state, own, steps = self._snapshot(), self.nodes, self.steps.copy()
        self.nodes = _hermite(nodes)
        good = (self.reason == OK) if rows is None else rows
        self.free[:] = False
        self._climb(good)
        value, score = np.where(good, self.loglik, np.nan), self.score.copy()
        self.nodes, self.steps = own, steps
        self._restore(np.ones_like(good), state)
        return value, score

    def _set(self, rows: np.ndarray, begin: np.ndarray, has: np.ndarray) -> None:
        self.free[rows, self.q :] = has
        self.z[rows, self.q :] = np.where(has, begin, 0.0)[rows]

    def _settle(self, rows: np.ndarray, begin: np.ndarray) -> None:
        """Climb; hold at 0 the spreads that end there and let go those that rise from 0."""
        q = self.q
        self._climb(rows)
        released = np.zeros_like(self.free[:, q:])
        for _ in range(MAX_ROUNDS):
            before, free = self._snapshot(), self.free[:, q:]
            settled = rows & np.isin(self.reason, (OK, STALLED, RANK))
            zero = free & (self.z[:, q:] < ZERO) & settled[:, None]
            rises = np.diagonal(self.hess, axis1=1, axis2=2)[:, q:] > RISES
            back = self.has & ~free & ~released & rises
            back &= (rows & (self.reason == OK) & ~zero.any(axis=1))[:, None]
            if not (zero | back).any():
                break
            self.free[:, q:] = free & ~zero | back
            self.z[:, q:] = np.where(zero, 0.0, np.where(back, 0.5 * begin, self.z[:, q:]))
            released |= back
            self._climb((zero | back).any(axis=1))
            lost = (self.reason != OK) | (self.loglik < before[0])
            self._restore(back.any(axis=1) & lost, before)

    def _climb(self, rows: np.ndarray, code: int | None = None) -> None:
        climb(
            self.kind.code if code is None else code, self.x, self.y, self.trials, self.offset,
            self.group, self.inner, *self.nodes, np.flatnonzero(rows), self.free, self.z, self.mode,
            self.tau, self.score, self.hess, self.runaway, self.loglik, self.reason, self.steps,
        )  # fmt: skip

    def _snapshot(self) -> tuple[np.ndarray, ...]:
        return tuple(a.copy() for a in self._state())

    def _restore(self, rows: np.ndarray, snapshot: tuple[np.ndarray, ...]) -> None:
        for now, then in zip(self._state(), snapshot, strict=True):
            now[rows] = then[rows]

    def _state(self) -> tuple[np.ndarray, ...]:
        return (
            self.loglik, self.reason, self.free, self.z, self.mode, self.tau, self.score,
            self.hess, self.runaway,
        )  # fmt: skip

    def _eta(self) -> np.ndarray:
        return self.z[:, : self.q] @ self.x.T + self.offset

    def _start(self) -> np.ndarray:
        """Set coefficients by weighted least squares on the link scale; False where X lost rank."""
        seen = ~np.isnan(self.y)
        y = np.where(seen, self.y, 0.0) + 0.5
        share = y / (self.trials + 1)
        weight = self.trials * share * (1 - share) if self.kind.trials else y
        target = LINKS[self.kind.link](share if self.kind.trials else y) - self.offset
        weight = weight * seen
        scaled = self.x / np.maximum(np.abs(self.x).max(axis=0, initial=0.0), 1e-300)
        gram = np.einsum("bn,nj,nk->bjk", seen * (self.trials > 0.0), scaled, scaled)
        good = np.linalg.eigvalsh(gram)[:, 0] > 1e-10
        gram = np.einsum("bn,nj,nk->bjk", weight, self.x, self.x)[good]
        right = np.einsum("bn,nj->bj", weight * target, self.x)[good]
        found = np.linalg.solve(gram, right[..., None])[..., 0]
        self.z[good, : self.q] = np.round(found, DIGITS)
        return good

    def _first_spreads(self) -> np.ndarray:
        """Return starts of the spreads by moments of the score of the plain model, (B, 3)."""
        b, n = self.y.shape
        seen = ~np.isnan(self.y)
        trials = np.broadcast_to(self.trials, (b, n))
        y = np.where(seen, self.y, 0.0)
        at = log_density(self.kind, y.ravel(), trials.ravel(), self._eta().ravel(), np.zeros(b * n))
        s1, s2 = (at[:, k].reshape(b, n) * seen for k in (1, 2))
        scale = -s2 * (trials - 1) if self.kind.trials else s2**2
        share = 1.0 / max(int(self.has.sum()), 1)

        def among(group: np.ndarray) -> np.ndarray:
            member = (group[:, None] == np.arange(group.max(initial=-1) + 1)).astype(float)
            g1, g2 = s1 @ member, s2 @ member
            return np.asarray(share * (g1**2 + g2).sum(axis=1) / (g2**2).sum(axis=1))

        with np.errstate(divide="ignore", invalid="ignore"):
            rows = share * (s1**2 + s2).sum(axis=1) / scale.sum(axis=1)
            within = rows if self.inner is None else among(self.inner)
            squares = np.stack([among(self.group), rows, within], axis=1)
        least, most = [0.04, 0.01, 0.04], [4.0, 1.0, 4.0]
        found = np.sqrt(np.clip(np.nan_to_num(squares), least, most)) * self.has
        return np.asarray(np.round(found, DIGITS))


@cache
def _hermite(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sqrt(2) times the Hermite nodes, and the weights times exp(node^2) / sqrt(pi)."""
    at, weight = np.polynomial.hermite.hermgauss(nodes)
    return np.sqrt(2) * at, weight * np.exp(at**2) / np.sqrt(np.pi)
