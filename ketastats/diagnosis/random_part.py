"""What the published-type random part does: df, p, false positives, percentile of the printed F."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.threads import one_thread
from ketastats.diagnosis.batch import answer_batch, draw_complete
from ketastats.study.formula import split_formula
from ketastats.study.model import Analysis, Estimand, Study

if TYPE_CHECKING:
    import pandas as pd

TRUTHS = (("none", 0.0), ("half", 0.5), ("shrunk", 0.67), ("claimed", 1.0))
"""Share of the declared effect. 0.67 is the mean shrinkage of trials with z near 2.3 in Cochrane's
collection (van Zwet, Schwab & Senn 2021, Stat Med 40:6107)."""

_F = re.compile(r"F\s*\(\s*1\s*,\s*([\d.]+)\s*\)\s*=\s*([\d.]+)")


@dataclass(frozen=True, slots=True, eq=False)
class RandomPartPanel:
    """One estimand under the right and the published-type random part.

    Attributes
    ----------
    outcome, estimand : str
    claim : str
        The printed statistic, empty when there is none with one numerator df.
    note : str
        How the draws were made.
    table : pandas.DataFrame
        truth, effect, analysis, label, formula, ddf, median_df, rejection_rate, mc_se,
        boundary_share, unconverged, f_percentile.
    """

    outcome: str
    estimand: str
    claim: str
    note: str
    table: pd.DataFrame


def scaled_effect(study: Study, estimand: Estimand, share: float) -> Study:
    """Return the Study with every effect of the estimand's first factor multiplied by ``share``.

    Examples
    --------
    >>> import ketastats as ks
    >>> study = ks.load_study("jelen2025")
    >>> none = scaled_effect(study, study.estimand("attenuation"), 0.0)
    >>> float(none.true_values().set_index("estimand").latent["attenuation"])
    0.0
    """
    factor = estimand.contrast[0][0]
    outcomes = []
    for o in study.outcomes:
        if o.name == estimand.outcome:
            effects = tuple(
                replace(e, add=e.add * share) if any(f == factor for f, _ in e.when) else e
                for e in o.effects
            )
            outcomes.append(replace(o, effects=effects))
        else:
            outcomes.append(o)
    return replace(study, outcomes=tuple(outcomes))


@one_thread()
def random_part_panels(study: Study, *, draws: int, seed: int) -> tuple[RandomPartPanel, ...]:
    """Run the published-type analyses and their right counterparts over many draws.

    Parameters
    ----------
    study : Study
    draws : int
        Draws per truth; the Monte-Carlo standard error of a 5 % rate is sqrt(0.0475 / draws).
    seed : int

    Returns
    -------
    tuple of RandomPartPanel
        One per analysis with ``role = "published"`` that has a primary REML counterpart with the
        same fixed part.
    """
    panels = []
    for published in study.analyses:
        if published.role != "published" or published.engine != "reml":
            continue
        right = next(
            (
                a
                for a in study.analyses
                if a.outcome == published.outcome and a.role == "primary" and a.engine == "reml"
            ),
            None,
        )
        if right is not None and _differ_in_random_part(study, published, right):
            estimand = study.estimands_of(published)[0]
            panels.append(_panel(study, (right, published), estimand, draws, seed))
    return tuple(panels)


def _differ_in_random_part(study: Study, published: Analysis, right: Analysis) -> bool:
    """Whether nothing else differs, and no pitfall of the Study compares the two already."""
    split = [split_formula(a.formula) for a in (published, right)]
    alike = split[0].fixed.split() == split[1].fixed.split()
    alike = alike and published.response == right.response
    named = {(p.tempting, p.right) for p in study.pitfalls}
    printed = any(
        _F.search(c.text) and c.about in {e.name for e in study.estimands_of(published)}
        for c in study.claims
        if c.statistic is None
    )
    return alike and (printed or (published.name, right.name) not in named)


def _panel(
    study: Study, analyses: tuple[Analysis, ...], estimand: Estimand, draws: int, seed: int
) -> RandomPartPanel:
    import pandas as pd

    claim = next(
        (c.text for c in study.claims if c.about == estimand.name and _F.search(c.text)), ""
    )
    printed = _F.search(claim)
    records = []
    for truth, share in TRUTHS:
        changed = scaled_effect(study, estimand, share)
        effect = changed.true_values().set_index("estimand")["natural"][estimand.name]
        y = draw_complete(changed, estimand.outcome, seed, draws)
        for a in analyses:
            f_printed = float(printed.group(2)) if printed else float("nan")
            records.append(
                {"truth": truth, "effect": float(effect)}
                | _characteristics(changed, a, estimand, y, f_printed)
            )
    return RandomPartPanel(
        outcome=estimand.outcome,
        estimand=estimand.name,
        claim=claim,
        note=f"{draws} draws per truth without missing rows, seed {seed}; the same random numbers "
        "serve every truth and both analyses",
        table=pd.DataFrame(records),
    )


def _characteristics(
    study: Study, a: Analysis, estimand: Estimand, y: np.ndarray, f_printed: float
) -> dict[str, object]:
    answers = answer_batch(study, a, estimand, y)
    rejected = np.where(answers.converged, answers.p < 1 - a.level, False)
    rate = float(rejected.mean())
    return {
        "analysis": a.name,
        "label": a.label,
        "formula": a.formula,
        "ddf": a.ddf,
        "median_df": float(np.median(answers.df[answers.converged])),
        "rejection_rate": rate,
        "mc_se": float(np.sqrt(rate * (1 - rate) / len(y))),
        "boundary_share": float(answers.boundary.mean()),
        "unconverged": int((~answers.converged).sum()),
        "f_percentile": float(100 * np.mean(answers.t**2 <= f_printed))
        if np.isfinite(f_printed)
        else float("nan"),
    }
