"""Calibration of the exact posterior: PIT values by quadrature, functions on arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ketastats.analysis.responses import prior_scales, response
from ketastats.bayesian.exact import marginal, mixture
from ketastats.bayesian.exact.axes import places, values
from ketastats.bayesian.exact.draws import draw_from_prior, draw_outcomes_given
from ketastats.bayesian.exact.fit import prepare, same_rows
from ketastats.bayesian.exact.integrate import Quadrature, quadrature, quadratures
from ketastats.bayesian.exact.nodes import Gaussian
from ketastats.bayesian.exact.search import MANY, axis_places, spacing
from ketastats.core.errors import DataError, NotEstimable, StudyError
from ketastats.core.random import Purpose, generator
from ketastats.diagnosis.sbc_profiles import Profiles
from ketastats.problem.build import build_problem
from ketastats.problem.questions import ask
from ketastats.study.model import Analysis, Study

BLOCK = 100
"""Draws from one stream of random numbers, always drawn whole: draw k never depends on how many."""
CHUNK = 5000
"""Outcomes on shared lattices at a time."""
ERROR = 3e-4
"""Largest quadrature error, relative to the posterior's mass: PIT values are then off by less than
1e-3, a fifth of the standard error of an ECDF of 10,000 values."""
DOUBT = 1e-3
"""Difference between two ways to integrate the same masses from which an outcome is done again."""
THIN = 1e-3
"""Residual SD over the SD of the outcome below which an outcome is done alone: functions that many
share are interpolated to 1e-9 of their size, which goes with the square of this."""


@dataclass(frozen=True, slots=True, eq=False)
class Exact:
    """An analysis laid out over a Study's complete plan, ready for many outcomes.

    Attributes
    ----------
    model : Gaussian
    rows : numpy.ndarray, shape (E, q)
        Estimands over the coefficients in standard units.
    names : tuple of str
        E estimands, then every SD, correlation and scale.
    estimands : tuple of str
    prior_text : tuple of (str, str)
    notes : tuple of str
    """

    model: Gaussian
    rows: np.ndarray
    names: tuple[str, ...]
    estimands: tuple[str, ...]
    prior_text: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    def draw(
        self, seed: int, name: str, first: int, last: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw parameters and outcomes first to last - 1 from the priors.

        Returns
        -------
        estimands, parameters, outcomes : numpy.ndarray
            Shapes (n, E), (n, axes) and (n, rows).
        """
        blocks = []
        for block in range(first // BLOCK, -(-last // BLOCK)):
            rng = generator(seed, Purpose.PRIOR, name, block)
            parameters, coefficients = draw_from_prior(self.model, BLOCK, rng)
            y = draw_outcomes_given(self.model, parameters, coefficients, rng)
            blocks.append((coefficients @ self.rows.T, parameters, y))
        start = first // BLOCK * BLOCK
        keep = slice(first - start, last - start)
        asked, parameters, y = (np.concatenate(b)[keep] for b in zip(*blocks, strict=True))
        return asked, parameters, y


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """What posteriors say of their truths; arrays of shape (draws, K), NaN where one failed.

    Attributes
    ----------
    pit, mean, sd, prob_positive : numpy.ndarray, shape (draws, K)
    failed : numpy.ndarray of bool, shape (draws,)
    """

    pit: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    prob_positive: np.ndarray
    failed: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Draws from the prior and what their posteriors say.

    Attributes
    ----------
    names : tuple of str
        K parameters, estimands first.
    estimands : int
        How many of them are estimands.
    truth : numpy.ndarray, shape (draws, K)
    values : Values
    prior_text : tuple of (str, str)
    notes : tuple of str
    """

    names: tuple[str, ...]
    estimands: int
    truth: np.ndarray
    values: Values
    prior_text: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def check_draws(draws: int, seed: int) -> None:
    """Raise DataError for a count or a seed that cannot be."""
    for name, value, least in (("draws", draws, 1), ("seed", seed, 0)):
        if not isinstance(value, int | np.integer) or value < least:
            raise DataError(
                f"{name} = {value!r} is not a whole number of at least {least}",
                where=name,
                mend="leave it out for the default",
            )


def empty_values(draws: int, k: int) -> Values:
    """Return values that are all NaN and failed."""
    a, b, c, d = (np.full((draws, k), np.nan) for _ in range(4))
    return Values(a, b, c, d, np.ones(draws, dtype=bool))


def own_data(study: Study, analysis: Analysis, seed: int) -> np.ndarray:
    """Return the response of the Study's own synthetic data, (1, rows), NaN where missing.

    Priors that nothing is declared for take their scale from it.
    """
    name = analysis.outcome
    ready = response(study.outcome(name), analysis, study.simulate(seed, outcome=name))
    return np.asarray(ready.data[name].to_numpy(dtype=np.float64))[None]


def lay_out(study: Study, analysis: Analysis, seed: int) -> Exact:
    """Lay an analysis out over the plan of its outcome; see :class:`Exact`.

    Raises
    ------
    StudyError
        For a family that is not Gaussian.
    NotEstimable
        When the formula can answer none of the estimands.
    """
    if analysis.family != "gaussian":
        raise StudyError(
            f"the exact posterior is for Gaussian outcomes, not for {analysis.family!r}",
            where=f"analyses.{analysis.name}.engine",
            mend='use engine="mcmc"',
        )
    outcome, table = study.outcome(analysis.outcome), study.plan(analysis.outcome)
    asked_for = study.estimands_of(analysis)
    laid = build_problem(
        analysis.formula, table, residual=analysis.residual or None, coding="difference"
    )
    problem = replace(laid, outcome=analysis.outcome)
    design, model, text, notes = prepare(
        problem, table, own_data(study, analysis, seed), dict(analysis.priors),
        *prior_scales(outcome, analysis), asked_for,
    )  # fmt: skip
    asked = ask(problem, asked_for)
    if not asked.estimable.any():
        raise NotEstimable(
            f"{analysis.name} can answer none of its estimands",
            where=f"analyses.{analysis.name}",
            mend="ask for something else or change the formula",
        )
    known = tuple(e.name for e, ok in zip(asked_for, asked.estimable, strict=True) if ok)
    left = [
        f"{e.name} is not judged: {r}" for e, r in zip(asked_for, asked.reasons, strict=True) if r
    ]
    return Exact(
        model, asked.rows[asked.estimable] @ design.back, (*known, *(a.name for a in model.axes)),
        known, text, (*notes, *left),
    )  # fmt: skip


def pit_of(
    exact: Exact,
    y: np.ndarray,
    asked: np.ndarray,
    parameters: np.ndarray,
    error: float = ERROR,
    progress: Callable[[int], None] | None = None,
) -> Values:
    """Compute the posterior of every outcome at its truth.

    Parameters
    ----------
    exact : Exact
    y : numpy.ndarray, shape (n, rows)
        NaN where missing.
    asked : numpy.ndarray, shape (n, E)
        True values of the estimands.
    parameters : numpy.ndarray, shape (n, axes)
        True values on the axes, NaN for none: there is no PIT then.
    error : float
        Largest quadrature error, relative to the posterior's mass.
    progress : callable, optional
        Gets the number of outcomes done.

    Notes
    -----
    The PIT of an SD comes from the masses on its axis in two ways: a spline through their
    logarithms, and the cardinal series. The first is the better one; where they differ, about once
    in 500 draws, the lattice is too coarse for either and the outcome is done again on a finer one.

    With up to two axes outcomes share lattices, thousands at a time. With more, posteriors of prior
    draws have hardly a node in common, and one after the other is ten times as fast.
    """
    out = empty_values(len(y), len(exact.names))
    again = []
    done = 0
    for members in same_rows(y):
        if not np.isfinite(y[members[0]]).any():
            continue
        for some, found in quadratures(exact.model, y[members], exact.rows, MANY.at(error), CHUNK):
            who = members[some]
            doubtful = _fill(out, who, found, asked[who], parameters[who])
            if not found.table.direct:
                doubtful |= _thin(exact, out.mean[who], y[who])
            again += who[doubtful].tolist()
            done += len(who)
            if progress is not None:
                progress(done)
    for i in again:
        one = np.array([i])
        found = quadrature(exact.model, y[one], exact.rows, MANY.at(error / 1000))
        if found.rectangles.found[0]:
            _fill(out, one, found, asked[one], parameters[one])
    return out


def _fill(
    out: Values, who: np.ndarray, found: Quadrature, asked: np.ndarray, parameters: np.ndarray
) -> np.ndarray:
    """Fill in the values of some outcomes; those without an accurate posterior stay NaN.

    Returns whether PIT values are in doubt, (len(who),).
    """
    axes, e = found.model.axes, asked.shape[1]
    other = np.full((len(out.pit), len(axes)), np.nan)
    profiles = [Profiles() for _ in axes]
    for part in found.parts():
        fine = found.rectangles.found[part.outcomes]
        local = part.outcomes[fine]
        if not len(local):
            continue
        at, weight, mean = who[local], part.weight[fine], part.mean[fine]
        out.failed[at] = False
        out.mean[at, :e], out.sd[at, :e] = mixture.moments(weight, mean, part.sd)
        out.pit[at, :e] = mixture.cdf(weight, mean, part.sd, asked[local])
        out.prob_positive[at, :e] = mixture.cdf(weight, -mean, part.sd, np.zeros((len(at), e)))
        for a, axis in enumerate(axes):
            level, low, high = part.rectangle[:, a].tolist()
            mass = marginal.masses(part, a)[fine]
            value = values(axis, axis_places(level, low, high))
            out.mean[at, e + a] = mass @ value
            centred = value - out.mean[at, e + a, None]
            out.sd[at, e + a] = np.sqrt((mass * centred**2).sum(axis=1))
            true = parameters[local, a]
            t = places(axis, np.maximum(true, 1e-300) if axis.map != "correlation" else true)
            other[at, a] = marginal.cumulative(axis, level, low, mass, t)
            mirrored = axis.map == "even" and low == 0
            profiles[a].add(at, mass, t / float(spacing(level)) - low, mirrored)
    for a in range(len(axes)):
        for at, share in profiles[a].shares():
            out.pit[at, e + a] = share
    out.pit[who] = np.clip(out.pit[who], 0.0, 1.0)
    return np.asarray((np.abs(out.pit[who, e:] - other[who]) > DOUBT).any(axis=1))


def _thin(exact: Exact, mean: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell which outcomes have a residual that is tiny beside the rest, (B,)."""
    e = len(exact.estimands)
    residual = [e + a for a, axis in enumerate(exact.model.axes) if axis.map == "log"]
    return np.asarray(mean[:, residual].min(axis=1) < THIN * np.nanstd(y, axis=1))
