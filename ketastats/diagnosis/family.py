"""Many questions of one kind side by side: unadjusted, Holm, Benjamini-Hochberg, shrunken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.analysis.run import Results
from ketastats.core.errors import NotEstimable
from ketastats.core.threads import one_thread
from ketastats.diagnosis.family_rates import family_rates
from ketastats.diagnosis.influence import primary_of
from ketastats.diagnosis.multiplicity import Family, adjust, families
from ketastats.diagnosis.shrinkage import shrink_estimands
from ketastats.frequentist.model import MixedModel

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class FamilyPanel:
    """One family of questions, answered four ways.

    Attributes
    ----------
    family : Family
    analysis : str
        The primary REML analysis behind the estimates.
    alpha : float
        1 minus the level of the intervals.
    shared_se, own_se : float
        Standard error that the estimates have in common, and the median of their own.
    table : pandas.DataFrame
        level, estimand, estimate, se, ci_low, ci_high, p, p_holm, p_bh, shrunken, sd, p_effect,
        false_sign, true (NaN for data that were given); in declared order.
    rates : pandas.DataFrame
        What each rule does over many draws, see :func:`.family_rates.family_rates`; no rows
        when no draws were asked for.
    note : str
        How the draws were made, or why there are none.
    """

    family: Family
    analysis: str
    alpha: float
    shared_se: float
    own_se: float
    table: pd.DataFrame
    rates: pd.DataFrame
    note: str


@one_thread()
def family_panels(results: Results, *, draws: int, seed: int) -> tuple[FamilyPanel, ...]:
    """Answer every family of exchangeable questions four ways, and count what each way gets wrong.

    Parameters
    ----------
    results : Results
    draws : int
        Per truth, without missing rows; 0 leaves the rates out.
    seed : int

    Returns
    -------
    tuple of FamilyPanel
        One per family that a primary REML analysis answers.

    Raises
    ------
    NotEstimable
        When a family cannot be shrunk.

    Examples
    --------
    >>> import ketastats as ks
    >>> results = ks.analyse(ks.load_study("jelen2025"), seed=1, analyses=["primary"])
    >>> family_panels(results, draws=0, seed=1)
    ()
    """
    panels = []
    for family in families(results.study):
        answered = {
            str(e)
            for a in results.answers
            if a.analysis.engine == "reml" and a.analysis.role == "primary"
            for e in a.estimates["estimand"]
        }
        if answered.issuperset(family.estimands):
            panels.append(_panel(results, family, draws, seed))
    return tuple(panels)


def _panel(results: Results, family: Family, draws: int, seed: int) -> FamilyPanel:
    import pandas as pd

    study = results.study
    analysis = primary_of(results, family.estimands[0])
    answer = results.answer(analysis.name)
    if not isinstance(answer.result, MixedModel):
        raise NotEstimable(f"{analysis.name} gives no model", where=f"analyses.{analysis.name}")
    estimates = answer.estimates.set_index("estimand").loc[list(family.estimands)]
    known = estimates[estimates["p"].notna()]
    posterior = shrink_estimands(answer.result, [study.estimand(str(e)) for e in known.index])
    table = pd.DataFrame({"level": family.levels, "estimand": family.estimands})
    for column in ("estimate", "se", "ci_low", "ci_high", "p"):
        table[column] = estimates[column].to_numpy(dtype=float)
    table["p_holm"] = adjust(table["p"].to_numpy(), "holm")
    table["p_bh"] = adjust(table["p"].to_numpy(), "fdr_bh")
    for column in ("shrunken", "sd", "p_effect", "false_sign"):
        table[column] = posterior[column].reindex(table["estimand"]).to_numpy()
    truth = results.truth.set_index("estimand")
    scale = "latent" if study.estimand(family.estimands[0]).scale == "link" else "natural"
    known_truth = results.seed is not None
    table["true"] = truth.loc[list(family.estimands), scale].to_numpy() if known_truth else np.nan
    own = float(posterior["own_se"].median())
    shared = float(np.sqrt(np.median(posterior["se"] ** 2 - posterior["own_se"] ** 2)))
    rates, note = family_rates(study, analysis, family, draws=draws, seed=seed)
    return FamilyPanel(family, analysis.name, 1 - analysis.level, shared, own, table, rates, note)
