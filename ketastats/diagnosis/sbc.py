"""Simulation-based calibration of a Study's Bayesian analyses, in the design it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from ketastats.core.errors import DataError, StudyError
from ketastats.diagnosis.sbc_exact import Exact, Judged, Values, check_draws, lay_out, pit_of
from ketastats.diagnosis.sbc_rates import assurance, coverage_at
from ketastats.diagnosis.sbc_result import Calibration
from ketastats.study.lookup import suggestion
from ketastats.study.model import Analysis, Study

__all__ = ["Calibration", "assurance", "coverage_at", "sbc"]

ENGINES = ("posterior", "mcmc")
CHANGES = ("formula", "priors", "residual")
"""What ``analysed_with`` may change."""
STEP = 10_000
"""Draws that are in memory at a time."""


def sbc(
    study: Study,
    analysis: str | Analysis,
    *,
    draws: int = 1000,
    seed: int = 1,
    engine: str | None = None,
    analysed_with: Mapping[str, object] | None = None,
    sampler: Mapping[str, int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Calibration:
    r"""Check that posteriors are right, over the prior of an analysis and the plan of a Study.

    Parameters are drawn from the priors of the analysis and outcomes from its likelihood over the
    complete plan; the Study's truth plays no part. Where the posterior is right, the posterior
    probability below the drawn value is uniform (Talts, Betancourt, Simpson, Vehtari & Gelman
    2018, arXiv:1804.06788), for every estimand and every SD.

    Parameters
    ----------
    study : Study
    analysis : str or Analysis
        Its formula, residual, family and priors. Priors that nothing is declared for are those it
        has for the Study's own data of this seed.
    draws : int
        10,000 take the exact posterior about ten seconds with one random term, a hundred
        times as long with three.
    seed : int
        Draw k is the same whatever the number of draws.
    engine : str, optional
        ``posterior`` (exact) or ``mcmc`` instead of the engine of the analysis.
    analysed_with : mapping, optional
        A demonstration of what calibration catches: ``formula``, ``priors`` or ``residual`` of an
        analysis that differs from the model drawn from. What both have is judged.
    sampler : mapping of str to int, optional
        ``draws``, ``tune``, ``chains`` and ``thin`` of the sampler instead of those of the
        analysis. Every draw kept enters the ranks: thin until they are nearly independent.
    progress : callable, optional
        Gets the number of posteriors computed.

    Returns
    -------
    Calibration

    Raises
    ------
    StudyError, DataError, NotEstimable
        For an engine without posterior, or a prior from which nothing can be drawn.

    Examples
    --------
    >>> import ketastats as ks
    >>> study = ks.load_study("jelen2025")
    >>> right = ks.sbc(study, "published", engine="posterior", draws=300)
    >>> right.passed
    True
    >>> priors = {"effects": "normal(0, 10)", "sd": "half-normal(2)"}
    >>> wrong = ks.sbc(study, "published", engine="posterior", draws=300,
    ...     analysed_with={"priors": priors})
    >>> wrong.passed
    False
    """
    check_draws(draws, seed)
    drawn, name = _analysis(study, analysis, engine)
    used = _changed(drawn, analysed_with)
    if name == "mcmc":
        from ketastats.diagnosis.sbc_mcmc import calibrate_mcmc

        found = calibrate_mcmc(study, drawn, used, draws, seed, dict(sampler or {}), progress)
    elif sampler is not None:
        raise DataError("the exact posterior has no sampler", where="sampler", mend="leave it out")
    else:
        found = _calibrate_exact(study, drawn, used, draws, seed, progress)
    values = found.values
    return Calibration(
        study=study.id,
        outcome=drawn.outcome,
        analysis=drawn.name,
        engine=name,
        seed=seed,
        names=found.names,
        estimands=found.estimands,
        truth=found.truth,
        pit=values.pit,
        mean=values.mean,
        sd=values.sd,
        prob_positive=values.prob_positive,
        failed=values.failed,
        prior_text=found.prior_text,
        analysed_with=_said(analysed_with),
        notes=found.notes,
    )


def _calibrate_exact(
    study: Study,
    drawn: Analysis,
    used: Analysis,
    draws: int,
    seed: int,
    progress: Callable[[int], None] | None,
) -> Judged:
    given = lay_out(study, drawn, seed)
    asked = given if used is drawn else lay_out(study, used, seed)
    pieces = []
    for first in range(0, draws, STEP):
        one = given.draw(seed, drawn.name, first, min(first + STEP, draws))
        truth = _by_name(given, asked, np.hstack(one[:2]))
        e = len(asked.estimands)
        pieces.append((truth, pit_of(asked, one[2], truth[:, :e], truth[:, e:], progress=progress)))
    truth = np.concatenate([t for t, _ in pieces])
    values = joined([v for _, v in pieces])
    both = np.array([n in given.names for n in asked.names])
    names = tuple(n for n in asked.names if n in given.names)
    estimands = sum(n in asked.estimands for n in names)
    kept = only(values, both)
    return Judged(names, estimands, truth[:, both], kept, given.prior_text, asked.notes)


def _by_name(given: Exact, asked: Exact, truth: np.ndarray) -> np.ndarray:
    """Return the truth in the order of what is asked, NaN where nothing was drawn."""
    place = {n: i for i, n in enumerate(given.names)}
    none = np.full(len(truth), np.nan)
    return np.stack([truth[:, place[n]] if n in place else none for n in asked.names], axis=1)


def joined(parts: list[Values]) -> Values:
    """Return values of draws that follow each other as one."""
    names = Values.__slots__
    return Values(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


def only(values: Values, columns: np.ndarray) -> Values:
    """Return the values of some parameters."""
    kept = {n: getattr(values, n)[:, columns] for n in ("pit", "mean", "sd", "prob_positive")}
    return Values(**kept, failed=values.failed)


def _analysis(study: Study, analysis: str | Analysis, engine: str | None) -> tuple[Analysis, str]:
    """Return the analysis and its engine, one that has a posterior."""
    found = study.analysis(analysis) if isinstance(analysis, str) else analysis
    name = engine or found.engine
    if name not in ENGINES:
        raise StudyError(
            f"the engine {name!r} has no posterior to calibrate",
            where="engine" if engine else f"analyses.{found.name}.engine",
            mend=f'pass engine="{ENGINES[0]}" or engine="{ENGINES[1]}"',
        )
    return found, name


def _changed(analysis: Analysis, changes: Mapping[str, object] | None) -> Analysis:
    """Return the analysis with another formula, priors or residual."""
    if changes is None:
        return analysis
    for key in changes:
        if key not in CHANGES:
            raise DataError(
                f"analysed_with cannot change {key!r}",
                where="analysed_with",
                mend=suggestion(str(key), CHANGES),
            )
    priors = changes.get("priors")
    own = {k: str(v) for k, v in changes.items() if k != "priors"}
    if isinstance(priors, Mapping):
        pairs = tuple((str(k), str(v)) for k, v in priors.items())
        return replace(analysis, **own, priors=pairs)  # type: ignore[arg-type]
    return replace(analysis, **own)  # type: ignore[arg-type]


def _said(changes: Mapping[str, object] | None) -> str:
    def text(value: object) -> str:
        if isinstance(value, Mapping):
            return ", ".join(f"{k} {v}" for k, v in value.items())
        return str(value)

    return "; ".join(f"{k} {text(v)}" for k, v in (changes or {}).items())
