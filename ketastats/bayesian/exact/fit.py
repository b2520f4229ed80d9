"""``ks.posterior`` and ``ks.posterior_many``: exact posteriors from a formula and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from ketastats.bayesian.design import StandardDesign, prior_lines, scaled_design
from ketastats.bayesian.exact import mixture
from ketastats.bayesian.exact.compile import (
    Chosen,
    check_random,
    choose,
    compile_model,
    whole_design,
)
from ketastats.bayesian.exact.integrate import Quadrature, quadrature, quadratures
from ketastats.bayesian.exact.nodes import Gaussian
from ketastats.bayesian.exact.posterior import ExactPosterior
from ketastats.bayesian.exact.search import MANY, ONE, Tolerance
from ketastats.core.errors import DataError
from ketastats.problem.build import Problem, build_problem, outcomes_of
from ketastats.problem.questions import rows_of_questions

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.study.model import Estimand, Scale

LIGHT = 0.01
"""Nodes that are not kept have this share of the tolerated error as their probability, together."""


def posterior(
    formula: str,
    data: pd.DataFrame,
    *,
    priors: Mapping[str, str] | None = None,
    residual: str | None = None,
    outcome: str | None = None,
    scale: Scale | None = None,
    typical_sd: float | None = None,
    estimands: Sequence[Estimand] = (),
    level: float = 0.95,
    tolerance: float = ONE.error,
) -> ExactPosterior:
    r"""Compute the exact posterior of a Gaussian mixed model.

    Parameters
    ----------
    formula : str
        As for :func:`ketastats.lmm`.
    data : pandas.DataFrame
        One row per observation; never changed.
    priors : mapping of str to str, optional
        ``effects``: normal(0, s), standardised-cauchy(r) (in residual SDs), hierarchical(s)
        (normal with an SD that is half-normal(s)) or flat. ``intercept``: normal or flat. ``sd``:
        half-normal, half-t or exponential; ``residual``: the same or jeffreys; ``correlation``:
        lkj(shape). The name of a term (``"treatment:sex"``) or of one of ``estimands`` gives it a
        prior of its own, of any mean.
    residual : str, optional
        ``"by sex"`` for a residual SD per group.
    outcome : str, optional
        Column of the outcome when the formula is a right side only.
    scale : Scale, optional
        The outcome's declared scale, for the priors not given.
    typical_sd : float, optional
        SD of the outcome in the literature: the scale of the priors not given. Without it, a sixth
        of a bounded scale, else the SD of the data (a note says so).
    estimands : sequence of Estimand
        Those that ``priors`` name.
    level : float
        Level of the intervals.
    tolerance : float
        Largest quadrature error, relative to posterior SDs.

    Returns
    -------
    ExactPosterior

    Raises
    ------
    FormulaError, DataError, StudyError
        One sentence that names the column, term or prior and the mend; more than four components
        (SDs, correlations, scales of priors) are for :func:`ketastats.mcmc`.

    Notes
    -----
    Given the SDs the coefficients are normal; the SDs are integrated by the trapezoidal rule on a
    lattice that is refined until its error is small. See :mod:`ketastats.bayesian.exact.search`.

    Examples
    --------
    >>> import ketastats as ks
    >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
    >>> post = ks.posterior("madrs ~ treatment*time + period + (1|subject)", data, typical_sd=10)
    >>> post.priors["effects"]
    'normal(0, 10)'
    >>> post.error < 1e-5
    True
    """
    problem = build_problem(formula, data, outcome=outcome, residual=residual, coding="difference")
    if not problem.outcome:
        raise DataError("the formula names no outcome", mend='write "y ~ ..." or pass outcome=')
    check_level(level)
    check_random(problem)
    chosen = choose(priors, problem, problem.y, scale, typical_sd, estimands)
    design = scaled_design(problem, data)
    return integrate(problem, design, chosen, tuple(estimands), level, tolerance)


def integrate(
    problem: Problem,
    design: StandardDesign,
    chosen: Chosen,
    named: tuple[Estimand, ...],
    level: float,
    tolerance: float,
) -> ExactPosterior:
    """Compile the model of one outcome and integrate it; see :func:`posterior`."""
    aim, y = _tolerance(tolerance), problem.y[None]
    model = compile_model(problem, design, chosen, _unit(problem, y), named)
    found = quadrature(model, y, np.zeros((0, problem.x.shape[1])), aim)
    if not found.rectangles.found[0]:
        _check_residual(problem)
    part = next(found.parts())
    order = np.argsort(part.weight[0])
    kept = np.ones(len(order), dtype=bool)
    kept[order[np.cumsum(part.weight[0, order]) < LIGHT * tolerance]] = False
    return ExactPosterior(
        problem=problem,
        design=design,
        quadrature=found,
        weight=part.weight[0, kept] / part.weight[0, kept].sum(),
        nodes=part.nodes.values[kept],
        prior_text=(*chosen.text, *_lines(design, problem, chosen)),
        level=level,
        notes=chosen.notes,
        log_evidence=float(part.log_evidence[0]),
        tolerance=tolerance,
        chosen=chosen,
        named=named,
    )


def _check_residual(problem: Problem) -> None:
    """Refuse an outcome that fixed and random effects together fit exactly."""
    whole, y = whole_design(problem), problem.y
    rest = y - whole @ np.linalg.lstsq(whole, y, rcond=None)[0]
    if np.abs(rest).max() <= 1e-9 * np.abs(y - y.mean()).max():
        raise DataError(
            "the posterior of the residual SD is improper: fixed and random effects together fit "
            f"{problem.outcome!r} exactly",
            where=problem.outcome,
            mend="leave out a random term, or check the outcome",
        )


def _lines(design: StandardDesign, problem: Problem, chosen: Chosen) -> tuple[tuple[str, str], ...]:
    """Return the priors of covariates and slopes in their own units, as text."""
    return prior_lines(design, problem, chosen.roles["effects"], chosen.roles["sd"])


def under_priors(
    post: ExactPosterior,
    priors: Mapping[str, str],
    estimands: Sequence[Estimand] = (),
    tolerance: float | None = None,
) -> ExactPosterior:
    """Return the posterior under other priors; see :meth:`.ExactPosterior.with_priors`."""
    named = (*(e for e in post.named if e.name not in {x.name for x in estimands}), *estimands)
    text = dict(post.chosen.text) | {k: v.strip() for k, v in priors.items()}
    chosen = choose(text, post.problem, post.problem.y, None, None, named)
    tolerance = post.tolerance if tolerance is None else tolerance
    return integrate(post.problem, post.design, chosen, named, post.level, tolerance)


def check_level(level: float) -> None:
    """Refuse a level that is not between 0 and 1."""
    if not 0 < level < 1:
        raise DataError(f"level = {level} is not between 0 and 1", mend="use 0.95")


def _tolerance(error: float, default: Tolerance = ONE) -> Tolerance:
    if not 1e-10 <= error <= 0.1:
        raise DataError(
            f"tolerance = {error} is not between 1e-10 and 0.1",
            mend=f"leave it out for {default.error:g}",
        )
    return default.at(error)


def prepare(
    problem: Problem,
    data: pd.DataFrame,
    y: np.ndarray,
    priors: Mapping[str, str] | None,
    scale: Scale | None,
    typical_sd: float | None,
    estimands: Sequence[Estimand],
) -> tuple[StandardDesign, Gaussian, tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return design, model, the priors as text, and notes.

    Parameters
    ----------
    y : numpy.ndarray, shape (B, rows)
        For the default priors and the unit in which the quadrature begins.
    """
    check_random(problem)
    design = scaled_design(problem, data)
    known = y[~np.isnan(y)]
    chosen = choose(priors, problem, known, scale, typical_sd, estimands)
    model = compile_model(problem, design, chosen, _unit(problem, y), estimands)
    return design, model, (*chosen.text, *_lines(design, problem, chosen)), chosen.notes


def _unit(problem: Problem, y: np.ndarray) -> float:
    """Return the typical SD of outcomes around the fixed effects."""
    some = y[:: max(1, len(y) // 50)]
    found = []
    for one in some:
        here = ~np.isnan(one)
        x = problem.x[here]
        rest = one[here] - x @ np.linalg.lstsq(x, one[here], rcond=None)[0]
        found.append(float(np.sqrt((rest**2).sum() / max(len(rest) - x.shape[1], 1))))
    some_left = [unit for unit, one in zip(found, some, strict=True) if unit > _rounding(one)]
    return float(np.median(some_left)) if some_left else 1.0


def _rounding(y: np.ndarray) -> float:
    """Return what residuals must exceed to be more than rounding."""
    return 1e-12 * float(np.abs(y[~np.isnan(y)]).max(initial=0.0))


@dataclass(frozen=True, slots=True, eq=False)
class ManyPosteriors:
    """Posteriors of many outcomes over one table; arrays with one row per outcome.

    Attributes
    ----------
    terms : tuple of str
        Names of the coefficients or estimands, K of them.
    mean, sd, prob_positive, ci_low, ci_high : numpy.ndarray, shape (B, K)
        The interval is NaN when it was not asked for.
    log_evidence : numpy.ndarray, shape (B,)
        Log density of the outcome.
    error : numpy.ndarray, shape (B,)
        Estimated quadrature error.
    converged : numpy.ndarray of bool, shape (B,)
        Whether it is below the tolerance; numbers of others are NaN.
    """

    terms: tuple[str, ...]
    mean: np.ndarray
    sd: np.ndarray
    prob_positive: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray
    log_evidence: np.ndarray
    error: np.ndarray
    converged: np.ndarray


def posterior_many(
    formula: str,
    data: pd.DataFrame,
    y: np.ndarray,
    *,
    priors: Mapping[str, str] | None = None,
    residual: str | None = None,
    scale: Scale | None = None,
    typical_sd: float | None = None,
    estimands: Sequence[Estimand] | None = None,
    level: float | None = 0.95,
    tolerance: float = MANY.error,
) -> ManyPosteriors:
    """Compute the exact posteriors of many outcomes; :func:`posterior` is the same code with one.

    Outcomes whose posteriors lie close to each other share a grid; others have another.

    Parameters
    ----------
    formula : str
        Right side only.
    data : pandas.DataFrame
        Predictors, complete.
    y : numpy.ndarray, shape (B, rows)
        Outcomes in the order of the rows; NaN where missing, each outcome its own rows.
    priors, residual, scale, typical_sd
        As in :func:`posterior`; without typical SD and bounded scale the defaults come from the SD
        of all outcomes together.
    estimands : sequence of Estimand, optional
        Questions instead of the coefficients.
    level : float or None
        Of equal-tailed intervals; None leaves them out, which is four times as fast.
    tolerance : float
        Largest quadrature error, relative to posterior SDs.

    Returns
    -------
    ManyPosteriors

    Examples
    --------
    >>> import ketastats as ks
    >>> study = ks.load_study("jelen2025")
    >>> from ketastats.synthesis.draw import draw_outcomes
    >>> y = draw_outcomes(study, "madrs", 1, range(20))
    >>> many = ks.posterior_many("treatment*time + period + (1|subject)", study.plan("madrs"), y)
    >>> many.mean.shape
    (20, 5)
    """
    problem = build_problem(formula, data, residual=residual, coding="difference")
    y = outcomes_of(y, data)[:, problem.rows]
    if level is not None:
        check_level(level)
    asked = estimands or ()
    design, model, _, _ = prepare(problem, data, y, priors, scale, typical_sd, asked)
    rows, names = rows_of_questions(problem, estimands)
    aim = _tolerance(tolerance, MANY)
    out = _Answers(len(y), len(names))
    for members in same_rows(y):
        _integrate(model, y, members, rows @ design.back, level, aim, out)
    return ManyPosteriors(
        tuple(names), out.mean, out.sd, out.positive, out.low, out.high, out.evidence,
        out.error, out.converged,
    )  # fmt: skip


def same_rows(y: np.ndarray) -> list[np.ndarray]:
    """Return the outcomes that miss the same rows together, those with enough rows only."""
    present = ~np.isnan(y)
    _, inverse = np.unique(np.packbits(present, axis=1), axis=0, return_inverse=True)
    return [np.flatnonzero(inverse == i) for i in range(int(inverse.max(initial=-1)) + 1)]


def _with_residuals(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell which outcomes, (B, rows), the fixed effects do not fit exactly.

    The others have no proper posterior: more rows than coefficients and no residual, and the
    density of the outcome has no bound as the residual SD goes to 0.
    """
    here = np.isfinite(y[0])
    y, x = y[:, here], x[here]
    if not here.any():
        return np.zeros(len(y), dtype=bool)
    if np.linalg.matrix_rank(x) == len(x):
        return np.ones(len(y), dtype=bool)
    left = y.T - x @ np.linalg.lstsq(x, y.T, rcond=None)[0]
    return np.abs(left).max(axis=0) > np.array([_rounding(one) for one in y])


class _Answers:
    """Arrays that fill up."""

    def __init__(self, b: int, k: int) -> None:
        self.mean, self.sd, self.positive, self.low, self.high = (
            np.full((b, k), np.nan) for _ in range(5)
        )
        self.evidence, self.error = np.full(b, np.nan), np.full(b, np.inf)
        self.converged = np.zeros(b, dtype=bool)


def _integrate(
    model: Gaussian,
    y: np.ndarray,
    members: np.ndarray,
    rows: np.ndarray,
    level: float | None,
    aim: Tolerance,
    out: _Answers,
) -> None:
    """Fill in the answers of outcomes that miss the same rows."""
    members = members[_with_residuals(model.problem.x, y[members])]
    if not len(members):
        return
    for some, found in quadratures(model, y[members], rows, aim, len(members)):
        _fill_in(members[some], found, level, out)


def _fill_in(members: np.ndarray, found: Quadrature, level: float | None, out: _Answers) -> None:
    """Fill in the answers of one quadrature."""
    out.error[members] = found.rectangles.error
    out.converged[members] = found.rectangles.found
    p = np.array([]) if level is None else np.array([0.5 - level / 2, 0.5 + level / 2])
    for part in found.parts():
        fine = found.rectangles.found[part.outcomes]
        who = members[part.outcomes[fine]]
        weight, mean = part.weight[fine], part.mean[fine]
        if not len(who):
            continue
        out.mean[who], out.sd[who] = mixture.moments(weight, mean, part.sd)
        zero = np.zeros((len(who), mean.shape[2]))
        out.positive[who] = mixture.cdf(weight, -mean, part.sd, zero)
        out.evidence[who] = part.log_evidence[fine]
        if level is not None:
            ends = mixture.quantiles(weight, mean, part.sd, out.mean[who], out.sd[who], ndtri(p), p)
            out.low[who], out.high[who] = ends
