"""``ks.mcmc``: the posterior of one mixed model from a formula and a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ketastats.bayesian.answers import stacked
from ketastats.bayesian.cache import cached_sample
from ketastats.bayesian.categories import (
    check_intercept,
    to_data_units,
    with_scores,
    without_intercept,
)
from ketastats.bayesian.design import StandardDesign, prior_lines, standard_design
from ketastats.bayesian.families import Family, family_named
from ketastats.bayesian.likelihood import GAUSSIAN, Likelihood
from ketastats.bayesian.outcomes import check_options, complete_rows, likelihood_of
from ketastats.bayesian.posterior import Posterior
from ketastats.bayesian.priors import PriorSet, choose_priors
from ketastats.bayesian.sampling import TARGET_ACCEPT, Draws, Inputs, Settings
from ketastats.bayesian.summaries import convergence
from ketastats.core.errors import DataError
from ketastats.core.random import Purpose, integer_seed
from ketastats.problem.build import Problem, build_problem
from ketastats.study.formula import split_formula

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.study.model import Scale

SMALLEST = {"draws": 4, "tune": 1, "chains": 1, "thin": 1, "seed": 0}
"""R-hat splits a chain in two and needs two draws of each half."""


def mcmc(
    formula: str,
    data: pd.DataFrame,
    *,
    family: str = "gaussian",
    size: str | None = None,
    exposure: str | None = None,
    residual: str | None = None,
    priors: Mapping[str, str] | None = None,
    outcome: str | None = None,
    scale: Scale | None = None,
    typical_sd: float | None = None,
    level: float = 0.95,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    thin: int = 8,
    target_accept: float = TARGET_ACCEPT,
    seed: int = 1,
    draw_cache: Path | None = None,
    progress: bool = False,
) -> Posterior:
    r"""Sample the posterior of a mixed model with PyMC and nutpie.

    Parameters
    ----------
    formula : str
        As for :func:`ketastats.lmm`. Random effects are independent: ``(1|subject)``,
        ``(1|subject:period)``, ``(0+dose|subject)``.
    data : pandas.DataFrame
        One row per observation; never changed.
    family : str
        Identity link: ``gaussian``, ``student-t``, ``censored`` (normal, recorded at the bounds of
        ``scale`` beyond them), ``truncated`` (normal, never seen beyond them). Logit link:
        ``beta`` (shares), ``binomial``, ``beta-binomial``, ``ordered`` (three or more ordered
        categories, a pandas Categorical or whole numbers; proportional odds). Log link:
        ``poisson``, ``negative-binomial``.
    size : str, optional
        Column of trials, for the binomial families; binomial rows of 0 and 1 need none.
    exposure : str, optional
        Column of exposures (minutes, length), for counts; means are per unit of exposure.
    residual : str, optional
        Gaussian: ``"by sex"`` for a residual SD per group, ``"ar1(time | subject)"`` for residuals
        that follow each other.
    priors : mapping of str to str, optional
        ``effects`` (normal with mean 0), ``intercept`` (normal), ``sd`` (half-normal, exponential
        or half-t). Every difference between two levels, and every difference of differences, has
        the prior of the effects, whatever the reference level; a slope has it per SD of its
        covariate. With a link they are on its scale, log odds or logarithms. A family's own
        parameter takes one under its name: ``nu``, ``precision``, ``overdispersion``, ``rho``; the
        result's ``priors`` say of what.
    outcome : str, optional
        Column of the outcome when the formula is a right side only.
    scale : Scale, optional
        The outcome's declared scale, for the priors not given and for the bounds of ``censored``
        and ``truncated``.
    typical_sd : float, optional
        SD of the outcome in the literature, on the scale of the link: the scale of the priors not
        given. Without it, a sixth of a bounded scale, else the SD of the data (a note says so);
        with a link, 1.5 and 1 in log odds, 1 and 0.5 in logarithms, for effects and SDs.
    level : float
        Level of the equal-tailed intervals.
    draws, tune, chains : int
        Draws kept and tuning steps per chain, and number of chains.
    thin : int
        Every thin-th draw is kept, so that kept draws are nearly independent.
    target_accept : float
        Nearer to 1 for smaller steps, when there are divergences.
    seed : int
        Same seed, same bytes, whatever the number of cores and the state of compile caches.
    draw_cache : pathlib.Path, optional
        Folder that keeps draws by everything that decides them; the result is the same with it.
    progress : bool
        Show nutpie's progress.

    Returns
    -------
    Posterior

    Raises
    ------
    FormulaError, DataError, StudyError
        One sentence that names the column, term or prior and the mend.

    Notes
    -----
    .. math:: y \sim N(X \gamma + \sum_k \tau_k z_{k,g(k)} d_k, \sigma^2), \quad z \sim N(0, 1)

    with X in sum-to-zero difference coding; in other families the mean is the linear predictor,
    inside the inverse link.

    Examples
    --------
    >>> import ketastats as ks
    >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
    >>> post = ks.mcmc("madrs ~ treatment*time + period + (1|subject)", data, typical_sd=10)
    >>> post.priors["effects"]
    'normal(0, 10)'

    Successes out of trials, and the difference between shares in a population of mice:

    >>> import pandas as pd
    >>> data = pd.DataFrame({"mouse": range(8), "drug": list("AAAABBBB"),
    ...     "failed": [12, 9, 14, 7, 4, 6, 2, 5], "trials": 15})
    >>> post = ks.mcmc("failed ~ drug", data, family="beta-binomial", size="trials")
    >>> post.priors["overdispersion"]
    'half-normal(0.5) on sqrt(rho / (1 - rho)), rho the correlation of two trials of a row'
    >>> table = post.contrast({"drug": "B - A"}, scale="natural")
    >>> bool(table["ci_high"].item() < 0)
    True
    """
    numbers = {"draws": draws, "tune": tune, "chains": chains, "thin": thin, "seed": seed}
    check_numbers(numbers, {"level": level, "target_accept": target_accept})
    kind = family_named(family)
    check_options(kind, size, exposure, residual, scale)
    problem, used = _problem(formula, data, outcome, residual, (size, exposure), kind)
    rows, said = likelihood_of(
        kind, problem, used.iloc[problem.rows], size=size, exposure=exposure, scale=scale
    )
    design = standard_design(problem, used)
    problem = without_intercept(problem) if rows.cuts else problem
    chosen = choose_priors(priors, problem.y, problem.outcome, scale, typical_sd, rows)
    address = integer_seed(seed, Purpose.SAMPLER, problem.outcome, 0)
    settings = Settings(draws, tune, chains, thin, address, target_accept)
    inputs = model_inputs(problem, design, chosen, rows)
    drawn = in_data_units(
        cached_sample(inputs, settings, draw_cache, progress=progress), design, rows
    )
    return Posterior(
        problem=_in_table(problem, data, (size, exposure)),
        prior_text=prior_text(problem, design, chosen),
        level=level,
        seed=seed,
        settings=settings,
        draws=drawn,
        known=convergence(stacked(drawn)),
        notes=(*said, *chosen.notes),
        rows=rows,
    )


def _problem(
    formula: str,
    data: pd.DataFrame,
    outcome: str | None,
    residual: str | None,
    names: tuple[str | None, ...],
    family: Family,
) -> tuple[Problem, pd.DataFrame]:
    """Return the problem on the rows that have trials and exposure, and these rows."""
    table = hasattr(data, "iloc")  # what is no table is refused below
    used = data.iloc[complete_rows(data, names)[0]] if any(names) and table else data
    ready, name = used, split_formula(formula).outcome or outcome
    if family.needs == "categories" and table and name:
        ready = with_scores(used, name)
    problem = build_problem(formula, ready, outcome=outcome, coding="difference", residual=residual)
    if not problem.outcome:
        raise DataError("the formula names no outcome", mend='write "y ~ ..." or pass outcome=')
    if family.needs == "categories":
        check_intercept(problem)
    return problem, used


def _in_table(problem: Problem, data: pd.DataFrame, names: tuple[str | None, ...]) -> Problem:
    """Return a problem whose rows are positions in the whole table."""
    if not any(names):
        return problem
    whole, notes = complete_rows(data, names)
    return replace(problem, rows=whole[problem.rows], notes=(*notes, *problem.notes))


def model_inputs(
    problem: Problem, design: StandardDesign, priors: PriorSet, rows: Likelihood = GAUSSIAN
) -> Inputs:
    """Return what the sampler needs, in standard units."""
    x = np.delete(design.x, design.intercept, axis=1) if rows.cuts else design.x
    q = x.shape[1]
    location, scale = np.zeros(q), np.full(q, priors.effects.parameters[1])
    if design.intercept >= 0 and not rows.cuts:
        location[design.intercept], scale[design.intercept] = priors.intercept.parameters
    return Inputs(
        y=problem.y,
        x=x,
        z=design.z,
        group=tuple(r.group for r in problem.random),
        levels=tuple(len(r.levels) for r in problem.random),
        location=location,
        scale=scale,
        sd=priors.sd,
        rows=rows,
        own=priors.own,
    )


def in_data_units(draws: Draws, design: StandardDesign, rows: Likelihood = GAUSSIAN) -> Draws:
    """Return draws of the problem's own coefficients and SDs, and parameters as reported."""
    own = rows.reported(draws.own)
    if rows.cuts:
        gamma, own = to_data_units(draws.gamma, own, design.back, design.intercept)
    else:
        gamma = draws.gamma @ design.back.T
    return Draws(
        gamma=gamma,
        sd=draws.sd / design.z_scale,
        own=own,
        diverging=draws.diverging,
        energy=draws.energy,
    )


def prior_text(
    problem: Problem, design: StandardDesign, priors: PriorSet
) -> tuple[tuple[str, str], ...]:
    """Return the priors used, as text, those of covariates in their own units too."""
    some = "Intercept" in problem.names
    lines = [(k, v) for k, v in priors.text if k != "intercept" or some]
    return (*lines, *prior_lines(design, problem, priors.effects, priors.sd))


def check_numbers(numbers: Mapping[str, int], shares: Mapping[str, float]) -> None:
    """Raise DataError for a share or a whole number out of its range."""
    for name, share in shares.items():
        if not 0 < share < 1:
            raise DataError(f"{name} = {share} is not between 0 and 1", mend="use 0.95")
    for name, value in numbers.items():
        if not isinstance(value, int | np.integer) or value < SMALLEST[name]:
            raise DataError(
                f"{name} = {value!r} is not a whole number of at least {SMALLEST[name]}",
                mend="leave it out for the default",
            )
