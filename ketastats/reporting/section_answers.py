"""Sections: the analysis in both schools, and the interaction with a stratum such as sex."""

from __future__ import annotations

import math

from ketastats.analysis.schools import BAYESIAN, FREQUENTIST, SCHOOLS
from ketastats.diagnosis.multiplicity import families
from ketastats.figures.forest import ForestRow, forest
from ketastats.reporting import numbers as n
from ketastats.reporting.document import (
    Block,
    Cell,
    Heading,
    Paragraph,
    Picture,
    Section,
    Table,
    cell,
    formula,
    paragraph,
    rich,
    table,
)
from ketastats.reporting.material import Material
from ketastats.reporting.questions import Interaction, interactions, main_estimand
from ketastats.reporting.rows import (
    as_estimate,
    mcse,
    posterior_cells,
    reml_cells,
    status_cell,
)
from ketastats.reporting.section_equivalence import equivalence_blocks
from ketastats.reporting.words import capital, interaction_sentences, listing
from ketastats.study.model import Estimand, Outcome


def both_schools(material: Material) -> Section:
    """Return one table and one forest plot per outcome."""
    blocks: list[Block] = []
    elsewhere = {name for f in families(material.study) for name in f.estimands}
    for outcome in material.study.outcomes:  # others refer to the first one
        elsewhere -= {getattr(main_estimand(material.study, outcome), "name", "")}
    for outcome in material.study.outcomes:
        asked = [
            e
            for e in material.study.estimands
            if e.outcome == outcome.name and e.name not in elsewhere
        ]
        if not asked:
            continue
        if len(material.study.outcomes) > 1:
            blocks.append(Heading(rich(outcome.label)))
        if not any(_engines(material, asked).values()):
            blocks.append(paragraph("No analysis of this outcome was run."))
            continue
        blocks += _models(material, asked)
        groups = [[e for e in asked if e.scale == scale] for scale in ("natural", "link")]
        groups = [g for g in groups if g]
        blocks += [_table(material, outcome, g) for g in groups]
        blocks += _notes(material, asked)
        blocks += [_forest(material, outcome, g) for g in groups]
        blocks += equivalence_blocks(material, outcome.name)
    return Section("answers", "Analysis in both schools", tuple(blocks))


def _in_brackets(unit: str) -> str:
    return f" ({unit})" if unit else ""


def _engines(material: Material, asked: list[Estimand]) -> dict[str, bool]:
    return {
        engine: any(material.row(e.name, engine) is not None for e in asked) for engine in SCHOOLS
    }


def _models(material: Material, asked: list[Estimand]) -> list[Block]:
    """Name the formula behind every estimand, once."""
    by_formula: dict[str, list[str]] = {}
    for engine in SCHOOLS:
        for e in asked:
            answer = material.answer_for(e.name, engine)
            if answer is not None:
                names = by_formula.setdefault(answer.analysis.formula, [])
                if answer.analysis.label not in names:
                    names.append(answer.analysis.label)
    return [
        paragraph(f"{capital(listing(labels))}: ", formula(f)) for f, labels in by_formula.items()
    ]


def _table(material: Material, outcome: Outcome, asked: list[Estimand]) -> Table:
    has = _engines(material, asked)
    unit = _in_brackets(material.unit(outcome.name, asked[0].scale))
    heads = ["estimand"]
    if material.synthetic:
        heads.append("true value")
    if has[FREQUENTIST]:
        label = material.school_label(asked, FREQUENTIST)
        heads += [f"{label} estimate ({_level(material, asked, FREQUENTIST)}{n.NB}CI)", "df", "p"]
    if has[BAYESIAN]:
        heads += [f"posterior mean ({_level(material, asked, BAYESIAN)}{n.NB}CrI)",
                  "probability of direction"]  # fmt: skip
    heads.append("status")
    rows = []
    for e in asked:
        found = {
            material.school_label([e], school): material.row(e.name, school)
            for school in SCHOOLS
            if has[school]
        }
        row: list[Cell] = [cell(capital(e.label), title=e.name)]
        if material.synthetic:
            row.append(cell(_true(material, e)))
        if has[FREQUENTIST]:
            row += reml_cells(material.row(e.name, FREQUENTIST))
        if has[BAYESIAN]:
            row += posterior_cells(material, material.row(e.name, BAYESIAN))
        rows.append([*row, status_cell(found)])
    return table(
        f"Every question, the truth and both schools{unit}. CI confidence, CrI credible interval.",
        heads, rows, numbers=range(1, len(heads) - 1), file="side_by_side.csv",
    )  # fmt: skip


def _level(material: Material, asked: list[Estimand], engine: str) -> str:
    for e in asked:
        row = material.row(e.name, engine)
        if row is not None:
            return f"{100 * float(row['level']):g}{n.NB}%"
    return ""


def _true(material: Material, e: Estimand) -> str:
    """Return the true value to the decimals of its estimates."""
    for engine in SCHOOLS:
        row = material.row(e.name, engine)
        if row is not None and math.isfinite(row["se"]):
            return n.value(material.true_value(e.name), float(row["se"]))
    return n.plain(material.true_value(e.name))


def _notes(material: Material, asked: list[Estimand]) -> list[Block]:
    out: list[Block] = []
    carried = [e for e in asked if e.target == "carry_over"]
    for e in carried:
        answer = material.answer_for(e.name, FREQUENTIST)
        if answer is not None:
            out.append(
                paragraph(
                    f"{capital(e.label)} comes from an analysis of its own, ",
                    formula(answer.analysis.formula),
                    ". It is reported, and never used to choose an analysis.",
                    kind="note",
                )
            )
    if material.synthetic:
        out.append(_coverage(material, asked))
    out.append(
        paragraph(
            "p-values test against 0. They and the intervals are not adjusted for the number of "
            "questions; adjusted p-values stand under what would change the conclusion.",
            kind="note",
        )
    )
    return out


def _coverage(material: Material, asked: list[Estimand]) -> Paragraph:
    """Count the intervals that hold the true value: what one draw can show."""
    parts = []
    for engine in SCHOOLS:
        name = material.school_label(asked, engine)
        inside, total, missed = 0, 0, []
        for e in asked:
            row, true = material.row(e.name, engine), material.true_value(e.name)
            if row is None or not math.isfinite(row["ci_low"]) or not math.isfinite(true):
                continue
            total += 1
            if row["ci_low"] <= true <= row["ci_high"]:
                inside += 1
            else:
                missed.append(e.label)
        if total:
            text = f"{inside} of {total} {name} intervals hold the true value"
            parts.append(text + (f" (not: {listing(missed)})" if missed else ""))
    sentence = capital(listing(parts)) if parts else "No interval could be computed"
    return paragraph(
        f"In this draw {sentence}. The intervals share their data, so they tend to hit or miss "
        "together; how often a method hits is a matter of many draws.",
        kind="note",
    )


def _forest(material: Material, outcome: Outcome, asked: list[Estimand]) -> Picture:
    def triple(e: Estimand, engine: str) -> tuple[float, float, float]:
        row = material.row(e.name, engine)
        if row is None:
            return (math.nan, math.nan, math.nan)
        return (float(row["estimate"]), float(row["ci_low"]), float(row["ci_high"]))

    rows = [
        ForestRow(
            capital(e.label),
            material.true_value(e.name),
            triple(e, FREQUENTIST),
            triple(e, BAYESIAN),
        )
        for e in asked
    ]
    scale = asked[0].scale
    unit = _in_brackets(material.unit(outcome.name, scale))
    name = f"forest-{outcome.name}" + ("" if scale == "natural" else f"-{scale}")
    truth = " and true values" if material.synthetic else ""
    title = f"Estimates of both schools{truth}: {outcome.label}"
    labels = tuple(material.school_label(asked, school) for school in SCHOOLS)
    svg = forest(rows, x_label=f"value{unit}", ident=name, title=title, schools=labels)
    caption = "The table as a forest plot" + (
        "; the upright bar is the true value." if material.synthetic else "."
    )
    return Picture(name, svg, rich(caption))


def interaction_section(material: Material) -> Section | None:
    """Return what the data say about the interaction with a stratum; None when none is asked."""
    found = [
        x for x in interactions(material.study) if any(_engines(material, [x.difference]).values())
    ]
    if not found:
        return None
    strata = list(dict.fromkeys(x.stratum for x in found))
    blocks: list[Block] = []
    for x in found:
        outcome = material.study.outcome(x.outcome)
        if len(found) > 1:
            about = x.overall.label if x.overall is not None else outcome.label
            blocks.append(Heading(rich(capital(about))))
        blocks.append(_interaction_table(material, x))
        blocks += [paragraph(s) for s in _sentences(material, x)]
    title = f"{capital(listing(strata))} interaction"
    return Section("interaction", title, tuple(blocks))


def _level_name(material: Material, level: str) -> str:
    return material.names.get(level, level)


def _interaction_table(material: Material, x: Interaction) -> Table:
    entries = [(_level_name(material, level), e) for level, _, e in x.within]
    entries.append(("difference (the interaction)", x.difference))
    asked = [e for _, e in entries]
    has = _engines(material, asked)
    heads = [x.stratum]
    if material.synthetic:
        heads.append("true value")
    if has[FREQUENTIST]:
        heads += [f"{material.school_label(asked, FREQUENTIST)} estimate (CI)", "df", "p"]
    if has[BAYESIAN]:
        heads += ["posterior mean (CrI)", "probability of direction"]
    rows = []
    for name, e in entries:
        row: list[Cell] = [cell(name, title=e.name)]
        if material.synthetic:
            row.append(cell(_true(material, e)))
        if has[FREQUENTIST]:
            row += reml_cells(material.row(e.name, FREQUENTIST))
        if has[BAYESIAN]:
            row += posterior_cells(material, material.row(e.name, BAYESIAN))
        rows.append(row)
    unit = material.unit(x.outcome, x.difference.scale)
    caption = f"The effect by {x.stratum}" + (f" ({unit})." if unit else ".")
    return table(caption, heads, rows, numbers=range(1, len(heads)), file="side_by_side.csv")


def _sentences(material: Material, x: Interaction) -> list[str]:
    row = material.row(x.difference.name, FREQUENTIST)
    levels = [
        as_estimate(material.row(e.name, FREQUENTIST), _level_name(material, level))
        for level, _, e in x.within
    ]
    overall = (
        as_estimate(material.row(x.overall.name, FREQUENTIST), x.overall.label)
        if x.overall
        else None
    )
    alpha = 1 - float(row["level"]) if row is not None else 0.05
    out = interaction_sentences(
        levels,
        as_estimate(row, x.difference.label),
        overall,
        true=material.true_value(x.difference.name),
        alpha=alpha,
        unit=material.unit(x.outcome, x.difference.scale),
    )
    post = material.row(x.difference.name, BAYESIAN)
    if post is not None and math.isfinite(post["estimate"]):
        text = n.with_interval(
            post["estimate"], post["ci_low"], post["ci_high"], post["se"], mcse(material, post)
        )
        out.append(
            f"The posterior of the difference is {text}; its direction has the probability "
            f"{n.direction(post['prob_positive'])}."
        )
    return out
