"""``ks.mcmc_linked``: two Gaussian outcomes whose subjects and occasions are correlated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ketastats.bayesian import summaries
from ketastats.bayesian.answers import stacked
from ketastats.bayesian.design import StandardDesign, standard_design
from ketastats.bayesian.linked_model import Links, build_linked, links_of
from ketastats.bayesian.linked_posterior import Linked
from ketastats.bayesian.mcmc import check_numbers, in_data_units, model_inputs, prior_text
from ketastats.bayesian.posterior import Posterior
from ketastats.bayesian.priors import PriorSet, choose_priors
from ketastats.bayesian.sampling import (
    TARGET_ACCEPT,
    Draws,
    Inputs,
    Settings,
    ensure_reproducible,
    run,
)
from ketastats.core.errors import DataError, FormulaError
from ketastats.core.random import Purpose, integer_seed
from ketastats.problem.build import Problem, build_problem
from ketastats.study.formula import split_formula

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.study.model import Scale


def mcmc_linked(
    formulas: Mapping[str, str],
    data: pd.DataFrame,
    *,
    priors: Mapping[str, Mapping[str, str]] | None = None,
    lkj: float = 2.0,
    scales: Mapping[str, Scale] | None = None,
    typical_sd: Mapping[str, float] | None = None,
    level: float = 0.95,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    thin: int = 8,
    target_accept: float = TARGET_ACCEPT,
    seed: int = 1,
    progress: bool = False,
) -> Linked:
    r"""Sample two Gaussian outcomes together.

    Random terms with the same groups in both formulas have correlated deviations; residuals are
    correlated where a row of the table has both outcomes. A row may lack either.

    Parameters
    ----------
    formulas : mapping of str to str
        Two outcomes and the right sides of their formulas, as for :func:`mcmc`.
    data : pandas.DataFrame
        One row per occasion, the outcomes in columns of their own; never changed.
    priors, scales, typical_sd : mapping, optional
        By outcome, as for :func:`mcmc`.
    lkj : float
        Shape of the prior of every correlation, :math:`p(r) \propto (1 - r^2)^{\eta - 1}`; 1 is
        uniform, 2 keeps off the ends, where few subjects cannot tell a correlation.
    level, draws, tune, chains, thin, target_accept, seed, progress
        As for :func:`mcmc`.

    Returns
    -------
    Linked

    Raises
    ------
    FormulaError, DataError, StudyError
        One sentence that names the column, term or prior and the mend.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from ketastats.bayesian.linked import mcmc_linked
    >>> rng = np.random.default_rng(1)
    >>> data = pd.DataFrame({"mouse": np.repeat(range(12), 2), "day": ["pre", "post"] * 12})
    >>> data["still"] = rng.normal(60, 9, 12)[data["mouse"]] + rng.normal(0, 4, 24)
    >>> data["distance"] = 90 - data["still"] + rng.normal(0, 4, 24)
    >>> both = {"still": "day + (1|mouse)", "distance": "day + (1|mouse)"}
    >>> linked = mcmc_linked(both, data)
    >>> bool(linked.correlations.loc["mouse", "ci_high"] < 0)
    True
    """
    numbers = {"draws": draws, "tune": tune, "chains": chains, "thin": thin, "seed": seed}
    check_numbers(numbers, {"level": level, "target_accept": target_accept})
    _check(formulas, lkj, {"priors": priors, "scales": scales, "typical_sd": typical_sd})
    parts = [
        _part(y, f, data, (priors or {}).get(y), (scales or {}).get(y), (typical_sd or {}).get(y))
        for y, f in formulas.items()
    ]
    links = _links(*parts)
    address = integer_seed(seed, Purpose.SAMPLER, " ".join(formulas), 0)
    settings = Settings(draws, tune, chains, thin, address, target_accept)
    with ensure_reproducible():
        model = build_linked((parts[0].inputs, parts[1].inputs), links, lkj)
        names = [v.name for v in model.unobserved_RVs if v.name.startswith(KEPT)]
        kept, stats = run(model, names, settings, progress)
    empty = np.empty((chains, draws, 0))
    posteriors = []
    for i, part in enumerate(parts):
        drawn = Draws(kept[f"gamma_{i}"], kept.get(f"sd_{i}", empty), kept[f"sigma_{i}"], **stats)
        own = replace(settings, linked=parts[1 - i].problem.outcome)
        posteriors.append(_posterior(part, in_data_units(drawn, part.design), own, level, seed))
    correlation = kept["correlation"]
    return Linked(
        (posteriors[0], posteriors[1]), links.names, correlation,
        summaries.convergence(correlation), lkj, _notes(parts, links),
    )  # fmt: skip


KEPT = ("correlation", "gamma_", "sd_", "sigma_")
"""Beginnings of the names of the variables whose draws are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One of the outcomes."""

    problem: Problem
    design: StandardDesign
    priors: PriorSet
    inputs: Inputs


def _part(
    outcome: str,
    formula: str,
    data: pd.DataFrame,
    priors: Mapping[str, str] | None,
    scale: Scale | None,
    typical_sd: float | None,
) -> _Part:
    problem = build_problem(formula, data, outcome=outcome, coding="difference")
    design = standard_design(problem, data)
    chosen = choose_priors(priors, problem.y, outcome, scale, typical_sd)
    return _Part(problem, design, chosen, model_inputs(problem, design, chosen))


def _links(one: _Part, two: _Part) -> Links:
    links = links_of(one.problem, two.problem)
    if not links.names:
        raise DataError(
            "nothing links the outcomes: no row has both, and no random term stands in both "
            "formulas",
            mend="add (1|subject) to both",
        )
    return links


def _posterior(part: _Part, drawn: Draws, settings: Settings, level: float, seed: int) -> Posterior:
    return Posterior(
        problem=part.problem,
        prior_text=prior_text(part.problem, part.design, part.priors),
        level=level,
        seed=seed,
        settings=settings,
        draws=drawn,
        known=summaries.convergence(stacked(drawn)),
        notes=part.priors.notes,
    )


def _notes(parts: list[_Part], links: Links) -> tuple[str, ...]:
    if len(links.first):
        return ()
    one, two = (p.problem.outcome for p in parts)
    return (f"no row has both {one} and {two}: the correlation of their residuals is left out",)


def _check(
    formulas: Mapping[str, str], lkj: float, by_outcome: Mapping[str, Mapping[str, object] | None]
) -> None:
    if not isinstance(formulas, Mapping) or len(formulas) != 2:
        raise FormulaError(
            "linked are two outcomes, each with a formula",
            mend='write {"immobility": "drug + (1|subject)", "distance": "drug + (1|subject)"}',
        )
    for outcome, formula in formulas.items():
        if split_formula(formula).outcome not in ("", None, outcome):
            raise FormulaError(
                f"the formula of {outcome!r} names another outcome", mend="write its right side"
            )
    if not (np.isfinite(lkj) and lkj > 0):
        raise DataError(f"lkj = {lkj} is not a positive number", mend="leave it out")
    for name, mapping in by_outcome.items():
        for outcome in mapping or {}:
            if outcome not in formulas:
                raise DataError(
                    f"{outcome!r} is not one of the linked outcomes",
                    where=name,
                    mend=f"use {' or '.join(map(repr, formulas))}",
                )
