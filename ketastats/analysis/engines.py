"""Engines by name: the one plug-in point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ketastats.analysis.responses import prior_scales, response
from ketastats.core.errors import DataError, StudyError
from ketastats.core.random import Purpose, integer_seed
from ketastats.study.lookup import suggestion
from ketastats.study.model import Analysis, Estimand, Study

if TYPE_CHECKING:
    import pandas as pd

UserEngine = Callable[["pd.DataFrame", tuple[Estimand, ...]], "pd.DataFrame"]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one analysis says.

    Attributes
    ----------
    analysis : Analysis
    estimates : pandas.DataFrame
        The Estimates table.
    details : mapping
        JSON-ready facts about the fit: rows, subjects, variances, warnings, priors, gates.
    result : object
        The engine's own result: MixedModel, Posterior or None.
    """

    analysis: Analysis
    estimates: pd.DataFrame
    details: Mapping[str, Any]
    result: object


@dataclass(frozen=True, slots=True)
class Context:
    """What engines may use beside data: sampler seed and where draws are cached."""

    study: Study
    seed: int
    draw_cache: Path | None


def _reml(
    analysis: Analysis, estimands: tuple[Estimand, ...], data: pd.DataFrame, context: Context
) -> Answer:
    from ketastats.frequentist.lmm import lmm

    ready = response(context.study.outcome(analysis.outcome), analysis, data)
    fit = lmm(
        analysis.formula,
        ready.data,
        outcome=analysis.outcome,
        ddf=analysis.ddf,
        level=analysis.level,
        residual=analysis.residual or None,
    )
    details = {
        "rows": len(fit.problem.y),
        "subjects": _subjects(data, fit.problem.rows),
        "variances": {k: float(v) for k, v in fit.variance.items()},
        "warnings": list(fit.warnings),
        "loglik": fit.loglik,
        "iterations": int(fit.fit.iterations[0]),
        "status": fit.status,
    }
    table = by_scale(
        analysis, estimands, ready.scales, lambda asked, _: fit.contrast(estimands=asked)
    )
    return Answer(analysis, table, details, fit)


def _gee(
    analysis: Analysis, estimands: tuple[Estimand, ...], data: pd.DataFrame, context: Context
) -> Answer:
    from ketastats.frequentist.gee import gee

    ready = response(context.study.outcome(analysis.outcome), analysis, data)
    fit = gee(
        analysis.formula,
        ready.data,
        outcome=analysis.outcome,
        family=analysis.family,
        size=ready.size,
        exposure=ready.exposure,
        ddf="between" if analysis.ddf == "kenward-roger" else analysis.ddf,
        level=analysis.level,
    )
    details = {
        "rows": len(fit.problem.y),
        "subjects": _subjects(data, fit.problem.rows),
        "correlation": fit.correlation,
        "scale": fit.scale,
        "warnings": list(fit.warnings),
        "status": fit.status,
    }
    return _on_every_scale(analysis, estimands, ready.scales, fit, details)


def _glmm(
    analysis: Analysis, estimands: tuple[Estimand, ...], data: pd.DataFrame, context: Context
) -> Answer:
    from ketastats.frequentist.glmm import glmm

    ready = response(context.study.outcome(analysis.outcome), analysis, data)
    fit = glmm(
        analysis.formula,
        ready.data,
        outcome=analysis.outcome,
        family=analysis.family,
        size=ready.size,
        exposure=ready.exposure,
        ddf="between" if analysis.ddf == "between" else "z",
        level=analysis.level,
    )
    details = {
        "rows": len(fit.problem.y),
        "subjects": _subjects(data, fit.problem.rows),
        "loglik": fit.loglik,
        "warnings": list(fit.warnings),
        "status": fit.status,
    }
    return _on_every_scale(analysis, estimands, ready.scales, fit, details)


def _on_every_scale(
    analysis: Analysis,
    estimands: tuple[Estimand, ...],
    scales: tuple[str, ...],
    fit: Any,
    details: Mapping[str, Any],
) -> Answer:
    """Return the answer of a fit whose ``contrast`` takes a scale."""
    table = by_scale(
        analysis,
        estimands,
        scales,
        lambda asked, scale: fit.contrast(estimands=asked, scale=scale),
    )
    return Answer(analysis, table, details, fit)


def by_scale(
    analysis: Analysis,
    estimands: tuple[Estimand, ...],
    scales: tuple[str, ...],
    answer: Callable[[tuple[Estimand, ...], str], pd.DataFrame],
) -> pd.DataFrame:
    """Return the Estimates table, each estimand answered on the scale it asks for.

    Parameters
    ----------
    analysis : Analysis
    estimands : tuple of Estimand
    scales : tuple of str
        On which the analysis can answer.
    answer : callable
        Estimands and a scale to the Estimates table.
    """
    import pandas as pd

    from ketastats.problem.estimates import estimates_frame

    frames = []
    for scale in ("natural", "link"):
        asked = tuple(e for e in estimands if e.scale == scale)
        if not asked:
            continue
        if scale in scales:
            frames.append(answer(asked, scale))
            continue
        records = [
            {
                "outcome": analysis.outcome,
                "estimand": e.name,
                "engine": analysis.engine,
                "level": analysis.level,
                "status": "not_estimable",
                "notes": f"asked on the {scale} scale, and this analysis answers on the "
                f"{' and '.join(scales)} scale",
            }
            for e in asked
        ]
        frames.append(estimates_frame(records))
    order = [e.name for e in estimands]
    whole = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    place = whole["estimand"].map(order.index)
    return whole.iloc[place.argsort(kind="stable").to_numpy()].reset_index(drop=True)


def _mcmc(
    analysis: Analysis, estimands: tuple[Estimand, ...], data: pd.DataFrame, context: Context
) -> Answer:
    from ketastats.bayesian.mcmc import mcmc

    outcome = context.study.outcome(analysis.outcome)
    ready = response(outcome, analysis, data)
    scale, typical_sd = prior_scales(outcome, analysis)
    post = mcmc(
        analysis.formula,
        ready.data,
        outcome=analysis.outcome,
        family=analysis.family,
        size=ready.size,
        exposure=ready.exposure,
        residual=analysis.residual or None,
        priors=dict(analysis.priors),
        scale=scale,
        typical_sd=typical_sd,
        level=analysis.level,
        draws=analysis.draws,
        tune=analysis.tune,
        chains=analysis.chains,
        thin=analysis.thin,
        seed=integer_seed(context.seed, Purpose.SAMPLER, analysis.name, 0),
        draw_cache=context.draw_cache,
    )
    details = {
        "rows": len(post.problem.y),
        "subjects": _subjects(data, post.problem.rows),
        "priors": dict(post.priors),
        "diagnostics": dict(post.diagnostics),
        "gates": _gates(post),
        "warnings": list(post.warnings),
        "status": post.status,
    }
    return _on_every_scale(analysis, estimands, ready.scales, post, details)


def _posterior(
    analysis: Analysis, estimands: tuple[Estimand, ...], data: pd.DataFrame, context: Context
) -> Answer:
    from ketastats.bayesian.exact.fit import posterior

    if analysis.family != "gaussian":
        raise StudyError(
            f"the exact posterior is for Gaussian outcomes, not for {analysis.family!r}",
            where=f"analyses.{analysis.name}.engine",
            mend='write engine = "mcmc"',
        )
    outcome = context.study.outcome(analysis.outcome)
    ready = response(outcome, analysis, data)
    scale, typical_sd = prior_scales(outcome, analysis)
    post = posterior(
        analysis.formula,
        ready.data,
        outcome=analysis.outcome,
        residual=analysis.residual or None,
        priors=dict(analysis.priors),
        scale=scale,
        typical_sd=typical_sd,
        estimands=estimands,
        level=analysis.level,
    )
    details = {
        "rows": len(post.problem.y),
        "subjects": _subjects(data, post.problem.rows),
        "priors": dict(post.priors),
        "gates": _gates(post),
        "warnings": list(post.warnings),
        "status": post.status,
    }
    table = by_scale(
        analysis, estimands, ready.scales, lambda asked, _: post.contrast(estimands=asked)
    )
    return Answer(analysis, table, details, post)


def _gates(post: Any) -> list[dict[str, Any]]:
    return [
        {"name": g.name, "value": g.value, "threshold": g.threshold, "passed": g.passed}
        for g in post.gates
    ]


def _subjects(data: pd.DataFrame, rows: np.ndarray) -> int:
    return int(data.iloc[rows]["subject"].nunique())


_BUILT_IN = MappingProxyType(
    {"reml": _reml, "posterior": _posterior, "mcmc": _mcmc, "glmm": _glmm, "gee": _gee}
)
_REGISTERED: dict[str, UserEngine] = {}


def register_engine(name: str, engine: UserEngine) -> None:
    """Make an engine of your own available to analyses by name.

    Parameters
    ----------
    name : str
        As written in a Study's ``engine = "..."``.
    engine : callable
        ``engine(data, estimands) -> DataFrame`` with at least the columns ``estimand`` and
        ``estimate``; missing columns of the Estimates table are filled.

    Raises
    ------
    StudyError
        When the name belongs to a built-in engine.

    Examples
    --------
    >>> import ketastats as ks, pandas as pd
    >>> def halves(data, estimands):
    ...     return pd.DataFrame({"estimand": [e.name for e in estimands], "estimate": 0.5})
    >>> ks.register_engine("halves", halves)
    """
    if name in _BUILT_IN:
        raise StudyError(f"{name!r} is a built-in engine", mend="choose another name")
    _REGISTERED[name] = engine


def check_engine(analysis: Analysis) -> None:
    """Raise StudyError when an analysis names an engine that does not exist."""
    if analysis.engine not in (*_BUILT_IN, *_REGISTERED):
        raise StudyError(
            f"there is no engine {analysis.engine!r}",
            where=f"analyses.{analysis.name}.engine",
            mend=suggestion(analysis.engine, [*_BUILT_IN, *_REGISTERED])
            + " (or register it with ks.register_engine)",
        )


def run_engine(
    analysis: Analysis, estimands: tuple[Estimand, ...], data: pd.DataFrame, context: Context
) -> Answer:
    """Answer estimands with the engine an analysis names."""
    check_engine(analysis)
    if analysis.engine in _BUILT_IN:
        return _BUILT_IN[analysis.engine](analysis, estimands, data, context)
    return _user(analysis, estimands, data)


def _user(analysis: Analysis, estimands: tuple[Estimand, ...], data: pd.DataFrame) -> Answer:
    from ketastats.problem.estimates import COLUMNS, estimates_frame

    frame = _REGISTERED[analysis.engine](data, estimands)
    for column in ("estimand", "estimate"):
        if column not in frame:
            raise DataError(
                f"the engine {analysis.engine!r} returned no column {column!r}",
                mend="return estimand and estimate at least",
            )
    base = {"outcome": analysis.outcome, "engine": analysis.engine, "status": "ok",
            "level": analysis.level, "method": analysis.engine}  # fmt: skip
    records = [
        base | {k: v for k, v in row.items() if k in COLUMNS}
        for row in frame.to_dict(orient="records")
    ]
    return Answer(analysis, estimates_frame(records), {"status": "ok", "warnings": []}, None)
