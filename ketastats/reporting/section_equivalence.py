"""Part of the answers: statements of no relevant effect, with declared bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ketastats.analysis.schools import BAYESIAN, FREQUENTIST
from ketastats.reporting import numbers as n
from ketastats.reporting.document import Block, Cell, cell, paragraph, table
from ketastats.reporting.material import Material
from ketastats.reporting.rows import why_absent
from ketastats.reporting.words import capital
from ketastats.study.model import Estimand

if TYPE_CHECKING:
    import pandas as pd

MEANING = {
    "equivalence shown": "shown: the interval lies inside the bounds",
    "equivalence not shown": "not shown: neither inside nor outside the bounds",
    "relevant difference": "refuted: the interval lies outside the bounds",
    "not tested": "not tested",
}


def equivalence_table(material: Material) -> pd.DataFrame:
    """Return two one-sided tests and posterior probabilities of every estimand with bounds.

    Returns
    -------
    pandas.DataFrame
        estimand, low, high, estimate, ci_low, ci_high (90 %), p, verdict, inside (posterior
        probability of lying between the bounds; NaN without a posterior).
    """
    import pandas as pd

    from ketastats.frequentist.equivalence import equivalence

    rows = []
    for e in material.study.estimands:
        if not e.equivalence:
            continue
        low, high = e.equivalence
        row: dict[str, Any] = {"estimand": e.name, "low": low, "high": high}
        found = material.row(e.name, FREQUENTIST)
        if found is not None:
            tested = equivalence(pd.DataFrame([found]), low, high).to_dict(orient="records")[0]
            row |= {k: tested[k] for k in ("estimate", "ci_low", "ci_high", "p", "verdict")}
        rows.append(row | {"inside": _inside(material, e)})
    columns = ["estimand", "low", "high", "estimate", "ci_low", "ci_high", "p", "verdict", "inside"]
    return pd.DataFrame(rows, columns=columns)


def _inside(material: Material, e: Estimand) -> float:
    """Return the posterior probability of lying between the bounds; NaN without a posterior."""
    from ketastats.bayesian.posterior import Posterior

    answer = material.answer_for(e.name, BAYESIAN)
    row = material.row(e.name, BAYESIAN)
    if answer is None or row is None or not isinstance(answer.result, Posterior):
        return float("nan")
    if not np.isfinite(float(row["estimate"])):
        return float("nan")
    draws = answer.result.estimand_draws([e], e.scale)
    return float(np.mean((draws > e.equivalence[0]) & (draws < e.equivalence[1])))


def equivalence_blocks(material: Material, outcome: str) -> list[Block]:
    """Return the statements of one outcome; nothing where no bounds are declared."""
    frame = equivalence_table(material)
    asked = {e.name: e for e in material.study.estimands if e.outcome == outcome}
    frame = frame[frame["estimand"].isin(list(asked))]
    if not len(frame):
        return []
    rows: list[list[Cell]] = []
    for r in frame.to_dict(orient="records"):
        e = asked[str(r["estimand"])]
        unit = material.unit(e.outcome, e.scale)
        why = why_absent(material.row(e.name, FREQUENTIST))
        se = (float(r["ci_high"]) - float(r["ci_low"])) / 3.3
        verdict = MEANING.get(str(r["verdict"]), n.ABSENT)
        bounds = f"{n.plain(float(r['low']))} to {n.plain(float(r['high']))}"
        rows.append(
            [
                cell(capital(e.label), title=e.name),
                cell(f"{bounds}{f'{n.NB}{unit}' if unit else ''}"),
                cell(n.with_interval(r["estimate"], r["ci_low"], r["ci_high"], se), why),
                cell(n.p_value(float(r["p"])), why),
                cell(verdict),
                cell(n.probability(float(r["inside"])), "no posterior answers this"),
            ]
        )
    return [
        table(
            "No relevant effect? Two one-sided tests at 5 % each against bounds declared "
            "beforehand.",
            ("estimand", "bounds", "estimate (90 % CI)", "larger p", "equivalence",
             "posterior probability inside"),
            rows, numbers=(1, 2, 3, 5), file="equivalence.csv",
        ),
        paragraph(
            "A large p-value of the usual test is no evidence of no effect. Equivalence is shown "
            "only where the 90 % interval lies inside the bounds (Schuirmann 1987).",
            kind="note",
        ),
    ]  # fmt: skip
