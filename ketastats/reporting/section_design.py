"""Section: question and design."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ketastats.figures.design import design_diagram
from ketastats.reporting import numbers as n
from ketastats.reporting.document import (
    Block,
    Items,
    Picture,
    Section,
    Table,
    Text,
    code,
    paragraph,
    rich,
    table,
)
from ketastats.reporting.material import Material
from ketastats.reporting.questions import main_factor
from ketastats.reporting.summaries import arm_columns, sizes
from ketastats.reporting.words import capital, count, listing, people
from ketastats.study.describe import design_sentence, recorded_as
from ketastats.study.model import Outcome
from ketastats.study.scales import is_linear

if TYPE_CHECKING:
    import pandas as pd


def question_and_design(material: Material) -> Section:
    """Return what is asked, of whom, and who got what when."""
    study = material.study
    blocks: list[Block] = []
    if study.questions:
        blocks.append(Items(tuple(rich(q) for q in study.questions), ordered=True))
    blocks.append(paragraph(f"{capital(design_sentence(study.design))}."))
    svg = design_diagram(
        study.design, sizes=_size_texts(material), factor=main_factor(study),
        names=material.names, acts_at=_acts_at(material),
    )  # fmt: skip
    blocks.append(Picture("design", svg, rich(_diagram_caption(material))))
    blocks.append(_sizes_table(material))
    blocks.append(_outcomes_table(material))
    return Section("design", "Question and design", tuple(blocks))


def _acts_at(material: Material) -> frozenset[str]:
    """Return the levels of the outermost occasion at which the treatment acts in the truth.

    Empty when it acts throughout, or at different levels for different outcomes.
    """
    study = material.study
    if study.design.kind == "crossover" or not study.design.occasions:
        return frozenset()
    outer, factor = study.design.occasions[0], main_factor(study)
    levels: set[str] = set()
    for outcome in study.outcomes:
        for effect in outcome.effects:
            when = dict(effect.when)
            if factor in when:
                levels |= set(when.get(outer.name, outer.levels))
    return frozenset(levels) if levels != set(outer.levels) else frozenset()


def _diagram_caption(material: Material) -> str:
    design = material.study.design
    if design.kind == "crossover":
        wash = (
            f", {design.washout_days:g} days from one dosing to the next"
            if design.washout_days is not None
            else ""
        )
        return f"Sequences by periods{wash}."
    text = "Arms by time."
    at = _acts_at(material)
    if at:
        names = material.names
        text += (
            f" Colour marks when the declared truth lets the {main_factor(material.study)} act: "
            f"{listing([names.get(v, v) for v in sorted(at)])}."
        )
    return text


def _records(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [{str(k): v for k, v in r.items()} for r in frame.to_dict(orient="records")]


def _arm_name(material: Material, row: Mapping[str, object]) -> str:
    names = material.names
    if material.study.design.kind == "crossover":
        return str(row["sequence"])
    values = [str(row[c]) for c in arm_columns(material.study.design)]
    return ", ".join(names.get(v, v) for v in values)


def _size_texts(material: Material) -> dict[str, str]:
    """Return the size of every sequence or arm in words, by its declared name."""
    design, names = material.study.design, material.names
    arms = arm_columns(design)
    out = {}
    for row in _records(sizes(material.study)):
        parts = [
            f"{row[c]} {', '.join(names.get(v, v) for v in c.split(', '))}"
            for c in row
            if c not in arms and c != "all"
        ]
        text = f"n = {row['all']}"
        if parts and len(design.strata) == 1:  # more of them stand in the table
            text += f": {', '.join(parts)}"
        out[_declared_name(material, row)] = text
    return out


def _declared_name(material: Material, row: Mapping[str, object]) -> str:
    design = material.study.design
    if design.kind == "crossover":
        return str(row["sequence"])
    for g in design.groups:
        if all(str(row[f]) == level for f, level in g.levels):
            return g.name
    return ""


def _sizes_table(material: Material) -> Table:
    study, names = material.study, material.names
    frame = sizes(study)
    arms = arm_columns(study.design)
    counted = [c for c in frame.columns if c not in arms]
    rows = [[_arm_name(material, row), *(str(row[c]) for c in counted)] for row in _records(frame)]
    rows.append(["all", *(str(int(frame[c].sum())) for c in counted)])
    heads = [
        "sequence" if study.design.kind == "crossover" else "arm",
        *(", ".join(names.get(v, v) for v in c.split(", ")) for c in counted),
    ]
    who = people(study.design.subject)
    return table(
        f"{capital(who)} planned, whole {who} by largest remainder of the declared shares."
        if study.design.strata
        else f"{capital(who)} planned.",
        heads, rows, numbers=range(1, len(heads)), file="sizes.csv",
    )  # fmt: skip


def _outcomes_table(material: Material) -> Table:
    rows: list[list[Text | str]] = []
    for o in material.study.outcomes:
        rows.append(
            [
                rich(o.label, " ", code(o.name)),
                scale_words(o),
                _occasions(material, o),
                {"worse": "higher is worse", "better": "higher is better"}.get(
                    o.higher_is, "neither end is better"
                ),
            ]
        )
    return table("Outcomes.", ("outcome", "recorded as", "measured", "direction"), rows)


def scale_words(outcome: Outcome) -> str:
    """Return how an outcome is recorded, in words."""
    s = outcome.scale
    if not is_linear(s):
        return recorded_as(outcome) + (f" ({s.unit})" if s.unit else "")
    unit = s.unit or ("points" if s.kind == "integer" else "")
    grain = "whole numbers" if s.kind == "integer" else count(s.decimals, "decimal")
    ends = [] if s.min is None else [f"from {n.plain(s.min)}"]
    ends += [] if s.max is None else [f"to {n.plain(s.max)}"]
    return ", ".join(x for x in (unit, grain, " ".join(ends)) if x)


def _occasions(material: Material, outcome: Outcome) -> str:
    names = material.names
    parts = []
    for o in outcome.occasions:
        labels = [names.get(v, v) for v in o.levels]
        many = len(labels) > 4
        said = f"{labels[0]} to {labels[-1]}" if many else ", ".join(labels)
        parts.append(f"{o.name} {said}")
    if material.study.design.kind == "crossover":
        return ", ".join([" × ".join(parts)] * bool(parts) + ["in each period"])
    return " × ".join(parts) or "once"
