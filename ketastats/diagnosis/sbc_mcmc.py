"""Calibration of the sampler: compiled once, its outcome swapped for every draw."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ketastats.analysis.responses import prior_scales, response
from ketastats.bayesian.answers import answer, stacked
from ketastats.bayesian.calibration import pit_from_ranks
from ketastats.bayesian.design import StandardDesign, standard_design
from ketastats.bayesian.exact.draws import draw_prior
from ketastats.bayesian.families import family_named
from ketastats.bayesian.gates import diagnose_draws, gates_of
from ketastats.bayesian.mcmc import check_numbers, in_data_units, model_inputs, prior_text
from ketastats.bayesian.outcomes import check_options, likelihood_of
from ketastats.bayesian.predictive import replicate
from ketastats.bayesian.priors import PriorSet, choose_priors
from ketastats.bayesian.sampling import (
    ADAPTATION,
    TARGET_ACCEPT,
    Draws,
    Inputs,
    build_model,
    ensure_reproducible,
)
from ketastats.bayesian.summaries import convergence
from ketastats.core.errors import DataError, NotEstimable, StudyError
from ketastats.core.random import Purpose, generator, integer_seed
from ketastats.diagnosis.sbc_exact import Judged, Values, empty_values, own_data
from ketastats.problem.build import Problem, build_problem
from ketastats.study.lookup import suggestion
from ketastats.study.model import Analysis, Estimand, Study
from ketastats.study.priors import Prior
from ketastats.synthesis.draw import draw_outcomes

FIXED = ("censored", "truncated", "ordered")
"""Families whose density is laid out around the values of one outcome: they cannot be swapped."""
SETTINGS = ("draws", "tune", "chains", "thin")


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """An analysis laid out over a Study's complete plan for the sampler.

    Attributes
    ----------
    problem : Problem
    design : StandardDesign
    inputs : Inputs
        With a stand-in for the outcome.
    priors : PriorSet
    estimands : tuple of Estimand
        Those that can be answered.
    names : tuple of str
        Estimands, SDs and the family's own parameters.
    notes : tuple of str
    """

    problem: Problem
    design: StandardDesign
    inputs: Inputs
    priors: PriorSet
    estimands: tuple[Estimand, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...]

    def values_of(self, draws: Draws) -> np.ndarray:
        """Return what is judged from draws in the units of the data, (chains, draws, K)."""
        parts = [draws.sd, draws.own]
        for e in reversed(self.estimands):
            parts.insert(0, answer(self.problem, draws, self.inputs.rows, (e,), e.scale).draws)
        return np.concatenate(parts, axis=2)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw parameters from the priors, (K,), and an outcome given them, (rows,)."""
        i = self.inputs
        gamma = i.location + i.scale * rng.standard_normal(len(i.location))
        sd = np.concatenate([np.empty(0), *(_drawn(i.sd, rng) for _ in i.z)])
        residual = [_drawn(i.sd, rng) for _ in i.rows.groups]
        own = np.concatenate([np.empty(0), *residual, *(_drawn(p, rng) for p in i.own)])
        one = Draws(gamma[None, None], sd[None, None], own[None, None], *(np.empty((1, 1)),) * 2)
        terms = list(zip(i.z, i.group, i.levels, strict=True))
        unpacked = i.rows.unpack(i.rows.reported(own[None]))
        y = replicate(rng, (i.x @ gamma)[None], terms, sd[None], unpacked, i.rows)[0]
        return self.values_of(in_data_units(one, self.design, i.rows))[0, 0], y


def _drawn(prior: Prior, rng: np.random.Generator) -> np.ndarray:
    """Draw one value, (1,)."""
    if prior.family == "normal":
        mean, sd = prior.parameters
        return rng.normal(mean, sd, 1)
    return draw_prior(prior, rng, 1)


def lay_out_sampled(study: Study, analysis: Analysis, seed: int) -> Sampled:
    """Lay an analysis out over the plan of its outcome; see :class:`Sampled`.

    Raises
    ------
    StudyError
        For a family whose outcome cannot be swapped.
    NotEstimable
        When it can answer none of the estimands.
    """
    if analysis.family in FIXED:
        raise StudyError(
            f"the family {analysis.family!r} would have to be compiled for every draw",
            where=f"analyses.{analysis.name}.family",
            mend='calibrate it with family = "gaussian"',
        )
    name = analysis.outcome
    outcome, kind = study.outcome(name), family_named(analysis.family)
    complete = draw_outcomes(study, name, seed, range(1), missing=False)[0]
    ready = response(outcome, analysis, study.plan(name).assign(**{name: complete}))
    check_options(kind, ready.size, ready.exposure, analysis.residual or None, None)
    problem = build_problem(
        analysis.formula, ready.data, outcome=name, coding="difference",
        residual=analysis.residual or None,
    )  # fmt: skip
    rows, said = likelihood_of(
        kind, problem, ready.data.iloc[problem.rows], size=ready.size, exposure=ready.exposure
    )
    design = standard_design(problem, ready.data)
    y = problem.y  # with a link the defaults need it row by row
    if kind.link == "identity":
        y = own_data(study, analysis, seed)[0]
        y = y[~np.isnan(y)]
    priors = choose_priors(
        dict(analysis.priors), y, name, *prior_scales(outcome, analysis), rows,
    )  # fmt: skip
    inputs = model_inputs(problem, design, priors, rows)
    estimands, left = _answered(study, analysis, problem, inputs, ready.scales)
    terms = (f"sd {n}" for r in problem.random for _, _, n in r.parameters)
    names = (*(e.name for e in estimands), *terms, *rows.names)
    return Sampled(problem, design, inputs, priors, estimands, names, (*said, *priors.notes, *left))


def _answered(
    study: Study, analysis: Analysis, problem: Problem, inputs: Inputs, scales: tuple[str, ...]
) -> tuple[tuple[Estimand, ...], tuple[str, ...]]:
    """Return the estimands that can be answered, and why others cannot."""
    zero = [
        np.zeros((1, 1, k)) for k in (len(problem.names), len(inputs.z), len(inputs.rows.names))
    ]
    none = Draws(zero[0], zero[1], zero[2] + 1.0, zero[0], zero[0])
    kept, left = [], []
    for e in study.estimands_of(analysis):
        reason = f"it is asked on the {e.scale} scale"
        if e.scale in scales:
            reason = answer(problem, none, inputs.rows, (e,), e.scale).reasons[0]
        if reason:
            left.append(f"{e.name} is not judged: {reason}")
        else:
            kept.append(e)
    if not kept:
        raise NotEstimable(
            f"{analysis.name} can answer none of its estimands",
            where=f"analyses.{analysis.name}",
            mend="ask for something else or change the formula",
        )
    return tuple(kept), tuple(left)


class Compiled:
    """A compiled model whose outcome is data.

    Parameters
    ----------
    inputs : Inputs
    settings : mapping of str to int
        draws, tune, chains, thin.
    """

    def __init__(self, inputs: Inputs, settings: Mapping[str, int]) -> None:
        import nutpie
        import pymc as pm

        base = inputs.rows.family

        def density(mean: Any, own: Mapping[str, Any], y: np.ndarray, rows: Any) -> None:
            base.density(mean, own, pm.Data("outcome", y), rows)

        swapped = replace(inputs.rows, family=replace(base, density=density))
        groups = ["sigma"] if inputs.rows.groups else []
        self._own = [*groups, *(p.variable for p in inputs.rows.own)]
        self._sd, self._settings = ["sd"] if inputs.z else [], settings
        with ensure_reproducible():
            self._model = nutpie.compile_pymc_model(
                build_model(replace(inputs, rows=swapped)),
                var_names=["gamma", *self._own, *self._sd],
            )

    def sample(self, y: np.ndarray, seed: int) -> Draws:
        """Sample the posterior of one outcome, in standard units."""
        import nutpie

        s = self._settings
        tree = nutpie.sample(
            self._model.with_data(outcome=y),
            draws=s["draws"] * s["thin"],
            tune=s["tune"],
            chains=s["chains"],
            cores=min(2, os.cpu_count() or 1, s["chains"]),
            seed=seed,
            **ADAPTATION,
            target_accept=TARGET_ACCEPT,
            save_warmup=False,
            progress_bar=False,
        )
        found, stats = tree["posterior"], tree["sample_stats"]
        keep = slice(s["thin"] - 1, None, s["thin"])

        def kept(names: list[str]) -> np.ndarray:
            parts = [found[n].values[:, keep] for n in names]
            shaped = [p[:, :, None] if p.ndim == 2 else p for p in parts]
            return np.concatenate([np.empty((s["chains"], s["draws"], 0)), *shaped], axis=2)

        return Draws(
            kept(["gamma"]), kept(self._sd), kept(self._own),
            np.asarray(stats["diverging"].values, dtype=bool),
            np.asarray(stats["energy"].values, dtype=np.float64),
        )  # fmt: skip


def calibrate_mcmc(
    study: Study,
    drawn: Analysis,
    used: Analysis,
    draws: int,
    seed: int,
    sampler: Mapping[str, int],
    progress: Callable[[int], None] | None,
) -> Judged:
    """Draw from the priors of one analysis, sample the posteriors of another; see ``ks.sbc``."""
    settings = _settings(used, sampler)
    given = lay_out_sampled(study, drawn, seed)
    asked = given if used is drawn else lay_out_sampled(study, used, seed)
    names = tuple(n for n in asked.names if n in given.names)
    at_given = [given.names.index(n) for n in names]
    at_asked = [asked.names.index(n) for n in names]
    estimands = sum(n in {e.name for e in asked.estimands} for n in names)
    compiled = Compiled(asked.inputs, settings)
    truth, values = np.empty((draws, len(names))), empty_values(draws, len(names))
    for k in range(draws):
        true, y = given.draw(generator(seed, Purpose.PRIOR, drawn.name, k))
        truth[k] = true[at_given]
        kept = compiled.sample(y, integer_seed(seed, Purpose.SAMPLER, drawn.name, k))
        kept = in_data_units(kept, asked.design, asked.inputs.rows)
        if _fine(kept):
            rng = generator(seed, Purpose.RESAMPLING, drawn.name, k)
            _rank(values, k, asked.values_of(kept)[:, :, at_asked], truth[k], estimands, rng)
        if progress is not None:
            progress(k + 1)
    text = prior_text(given.problem, given.design, given.priors)
    return Judged(names, estimands, truth, values, text, (*asked.notes, _said(settings)))


def _settings(analysis: Analysis, sampler: Mapping[str, int]) -> dict[str, int]:
    for key in sampler:
        if key not in SETTINGS:
            raise DataError(
                f"the sampler has no setting {key!r}",
                where="sampler",
                mend=suggestion(key, SETTINGS),
            )
    settings = {n: int(sampler.get(n, getattr(analysis, n))) for n in SETTINGS}
    check_numbers(settings, {})
    return settings


def _said(settings: Mapping[str, int]) -> str:
    count = settings["chains"] * settings["draws"]
    return (
        f"ranks among {count:,} posterior draws ({settings['chains']} chains, 1 in "
        f"{settings['thin']} kept), spread over the unit interval by a random number"
    )


def _fine(kept: Draws) -> bool:
    """Tell whether draws pass every gate."""
    known = convergence(stacked(kept))
    sd = stacked(kept).std(axis=(0, 1))
    return all(g.passed for g in gates_of(diagnose_draws(known, sd, kept.diverging, kept.energy)))


def _rank(
    values: Values,
    k: int,
    draws: np.ndarray,
    truth: np.ndarray,
    estimands: int,
    rng: np.random.Generator,
) -> None:
    """Fill in draw k from posterior draws of shape (chains, draws, K)."""
    flat = draws.reshape(-1, draws.shape[-1])
    values.pit[k] = pit_from_ranks((flat < truth).sum(axis=0), len(flat), rng)
    values.mean[k], values.sd[k] = flat.mean(axis=0), flat.std(axis=0, ddof=1)
    values.prob_positive[k, :estimands] = (flat[:, :estimands] > 0).mean(axis=0)
    values.failed[k] = False
