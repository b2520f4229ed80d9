"""Parametric bootstrap of a generalised linear mixed model: outcomes drawn and fitted again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ketastats.core.errors import DataError
from ketastats.core.random import Purpose, generator
from ketastats.core.threads import one_thread
from ketastats.frequentist.families import BETA_BINOMIAL
from ketastats.frequentist.glmm_answers import Rows, errors, evaluate
from ketastats.frequentist.inference import LINKS, Cells, Drawn, pivots
from ketastats.frequentist.quadrature import GlmmFit

CHUNK = 500
"""Outcomes fitted at a time: fixed, so that memory stays small and results the same."""
TINY, HUGE = 1e-12, 1e8
"""Means of a beta distribution are kept this far from 0 and 1, and counts under this."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How many draws, and the seed and name of their address."""

    draws: int
    seed: int
    name: str

    def check(self, cover: float) -> None:
        """Raise DataError for a seed that is none, or too few draws for intervals of a level."""
        if self.seed < 0:
            raise DataError(f"the seed {self.seed} is negative", where="seed", mend="use 0 or more")
        least = int(np.ceil(1 / (1 - cover) - 1e-9)) - 1
        if self.draws < least:
            raise DataError(
                f"{self.draws} draws are too few for intervals of level {cover:.4g}",
                where="draws",
                mend=f"use {max(least, 999)} or more",
            )


def draw_outcomes(rows: Rows, fit: GlmmFit, how: Bootstrap, draws: range) -> np.ndarray:
    """Return outcomes of the fitted model with new random intercepts, shape (draws, n)."""
    eta = rows.x @ fit.beta[0] + rows.offset
    groups, parts = (0 if g is None else int(g.max()) + 1 for g in (rows.group, rows.inner))
    out = np.empty((len(draws), len(eta)))
    for k, draw in enumerate(draws):
        rng = generator(how.seed, Purpose.RESAMPLING, how.name, draw)
        own = np.append(float(fit.sd[0]) * rng.standard_normal(groups), 0.0)  # the last for -1
        here = eta if rows.group is None else eta + own[rows.group]
        if rows.inner is not None:
            within = np.append(float(fit.inner_sd[0]) * rng.standard_normal(parts), 0.0)
            here = here + within[rows.inner]
        mean = LINKS[fit.family.link].inverse(here)
        out[k] = _draw(rng, fit, rows.size, mean)
    return out


def _draw(rng: np.random.Generator, fit: GlmmFit, size: np.ndarray, mean: np.ndarray) -> np.ndarray:
    spread = float(fit.dispersion[0])
    if not fit.family.trials:
        own = rng.gamma(1 / spread, spread, mean.shape) if spread else 1.0
        return rng.poisson(np.minimum(mean * own, HUGE))
    if fit.family.code == BETA_BINOMIAL and spread:
        both, mean = (1 - spread) / spread, np.clip(mean, TINY, 1 - TINY)
        mean = rng.beta(mean * both, (1 - mean) * both)
    return rng.binomial(size.astype(np.int64), mean)


@one_thread()
def bootstrap(rows: Rows, fit: GlmmFit, cells: Cells, how: Bootstrap) -> Drawn:
    """Return the sizes of t in draws from the fitted model (Davison & Hinkley 1997, section 5.2).

    A draw without a finite fit counts as larger than any t: p values and intervals can only grow.

    Parameters
    ----------
    rows : Rows
    fit : GlmmFit
        A batch of one.
    cells : Cells
    how : Bootstrap
    """
    link = LINKS[fit.family.link]
    asked = evaluate(cells, fit)
    centre = pivots(asked, errors(asked, fit), link)[0]
    parts = []
    for start in range(0, how.draws, CHUNK):
        draws = range(start, min(start + CHUNK, how.draws))
        again = rows.fit(draw_outcomes(rows, fit, how, draws))
        there = evaluate(cells, again)
        centres, spreads = pivots(there, errors(there, again), link)
        parts.append(np.abs(centres - centre) / spreads)
    size = np.concatenate(parts)
    return Drawn(np.where(np.isnan(size), np.inf, size))
