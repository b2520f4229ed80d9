"""Parts of the methods: true values, latent and natural, and carry-over."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ketastats.analysis.schools import FREQUENTIST
from ketastats.reporting import numbers as n
from ketastats.reporting.document import Block, Heading, Table, cell, paragraph, rich, table
from ketastats.reporting.material import Material
from ketastats.reporting.words import capital
from ketastats.study.model import Estimand, Outcome

if TYPE_CHECKING:
    import pandas as pd


def true_values(material: Material) -> list[Block]:
    """Say what a true value is, and show those that rounding, bounds or carry-over concern."""
    if not material.synthetic:
        return []
    truth = material.results.truth
    shifted = truth[[not _same(r) for _, r in truth.iterrows()]]
    blocks: list[Block] = [
        Heading(rich("True values")),
        paragraph(
            "The true value of an estimand is computed from the declared means, not simulated. "
            "Recorded values are rounded and bounded, which moves means: the latent value is that "
            "of the declaration, the natural value that of the outcome as recorded. Estimates are "
            "compared with the natural value, with the latent one where a question is asked on the "
            "link scale. Carry-over and dropout do not change a true value "
            "(a carry-over estimand is the carry-over itself); they can bias estimates, and what "
            "the declared mean carry-over adds to the within-subject estimate stands in a column "
            "of its own."
        ),
    ]
    if len(shifted):
        blocks.append(_truth_table(material, shifted))
    else:
        blocks.append(paragraph("Here latent and natural values are the same, and no bias is due."))
    return blocks


def _same(row: object) -> bool:
    latent, natural, bias = (float(row[k]) for k in ("latent", "natural", "carry_over_bias"))  # type: ignore[index]
    return math.isclose(latent, natural, rel_tol=1e-6, abs_tol=1e-9) and abs(bias) < 1e-9


def _truth_table(material: Material, frame: pd.DataFrame) -> Table:
    body = []
    for _, r in frame.iterrows():
        e = material.estimand(str(r["estimand"]))
        latent, natural, bias = (float(str(r[k])) for k in ("latent", "natural", "carry_over_bias"))
        moved = "–" if math.isnan(bias) else n.plain(0.0 if abs(bias) < 1e-9 else bias, 2)
        title = (
            "the estimand is the carry-over, or is confounded with it" if math.isnan(bias) else ""
        )
        body.append(
            [cell(capital(e.label), title=e.name), cell(_outcome_name(material, e.outcome)),
             cell(n.plain(latent)), cell(n.plain(0.0 if abs(natural) < 1e-9 else natural)),
             cell(moved, title)]
        )  # fmt: skip
    return table(
        "Estimands whose natural value differs from the latent one, or that carry-over biases.",
        ("estimand", "outcome", "latent", "natural", "bias by carry-over"), body,
        numbers=(2, 3, 4), file="truth.csv",
    )  # fmt: skip


def _outcome_name(material: Material, name: str) -> str:
    return material.study.outcome(name).name


def carry_over(material: Material) -> list[Block]:
    """Say per outcome what a crossover can know about carry-over."""
    design = material.study.design
    if design.kind != "crossover":
        return []
    blocks: list[Block] = [Heading(rich("Carry-over"))]
    for outcome in material.study.outcomes:
        blocks.append(paragraph(carry_over_text(material, outcome)))
    return blocks


def carry_over_text(material: Material, outcome: Outcome) -> str:
    """Say what a crossover can know about carry-over from this outcome."""
    asked = [
        e
        for e in material.study.estimands
        if e.outcome == outcome.name and e.target == "carry_over"
    ]
    parts = [f"{outcome.label}: {_what_can_be_known(material, outcome)}"]
    parts += [_estimated(material, e) for e in asked]
    if asked:
        parts.append(
            "It speaks of what is left at that measurement, not of the response that follows. It "
            "is never a gate: choosing the analysis by a test of carry-over makes the whole "
            "procedure reject too often (Freeman 1989)."
        )
    if material.synthetic:
        parts.append(_declared(outcome))
    return " ".join(parts)


def _what_can_be_known(material: Material, outcome: Outcome) -> str:
    design = material.study.design
    baselines = any(0.0 in o.days and max(o.days) > 0 for o in outcome.occasions)
    if design.n_periods != 2 or len(design.sequences) != 2:
        return (
            "what carry-over can be told apart from depends on the sequences; it is estimated only "
            "where an estimand asks for it."
        )
    if baselines:
        return (
            "the measurement before each dosing shows what the first period left behind, compared "
            "between sequences and within subjects."
        )
    return (
        "with two sequences, two periods and one occasion per period, carry-over is aliased with "
        "sequence and with the treatment-by-period interaction. These data cannot tell them apart, "
        "so carry-over is not estimated and not tested; a long washout has to exclude it."
    )


def _estimated(material: Material, e: Estimand) -> str:
    row = material.row(e.name, FREQUENTIST)
    if row is None or not math.isfinite(row["estimate"]):
        return f"{capital(e.label)} could not be estimated."
    value = n.with_interval(row["estimate"], row["ci_low"], row["ci_high"], row["se"])
    text = f"{capital(e.label)}: {value}, {n.p_equals(row['p'])}"
    true = material.true_value(e.name)
    return f"{text}; the true value is {n.value(true, row['se'])}." if true == true else f"{text}."


def _declared(outcome: Outcome) -> str:
    declared = outcome.carry_over
    if declared is None:
        return "The declared truth has none."
    half = declared.half_life_days
    fades = "" if half is None else f", half-life {half:g} days"
    return f"The declared truth has one: of {declared.of}{fades}."
