"""Sections: correlations between outcomes, and whether people differ in an effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ketastats.reporting import numbers as n
from ketastats.reporting.document import Block, Cell, Heading, Section, cell, paragraph, rich, table
from ketastats.reporting.material import Material
from ketastats.reporting.words import capital, people

if TYPE_CHECKING:
    from ketastats.diagnosis.association import AssociationPanel
    from ketastats.diagnosis.heterogeneity import HeterogeneityPanel

WHICH = {"plain": "correlation", "partial": "what is left beside the third"}


def association_section(material: Material) -> Section | None:
    """Return every association of the Study; None without one."""
    blocks: list[Block] = []
    for panel in material.associations:
        a = panel.association
        blocks.append(Heading(rich(a.title)))
        if a.why:
            blocks.append(paragraph(a.why))
        blocks += _association(material, panel)
    return (
        Section("association", "Associations between outcomes", tuple(blocks)) if blocks else None
    )


def _measure(material: Material, measure: tuple[str, tuple[tuple[str, str], ...]]) -> str:
    name, at = measure
    when = ", ".join(material.names.get(level, level) for _, level in at)
    return f"{material.study.outcome(name).label}" + (f" ({when})" if when else "")


def _association(material: Material, panel: AssociationPanel) -> list[Block]:
    a = panel.association
    drawn = {str(r["which"]): r for r in panel.draws.to_dict(orient="records")}
    rows: list[list[Cell]] = []
    for r in panel.on_data.to_dict(orient="records"):
        which = str(r["which"])
        row = [
            cell(WHICH[which]),
            cell(str(int(r["n"]))),
            cell(_r(r["r"], r["ci_low"], r["ci_high"])),
            cell(n.p_value(float(r["p"]))),
        ]
        if drawn:
            d = drawn[which]
            row += [
                cell(_r(d["median"], d["low"], d["high"])),
                cell(n.percent(float(d["significant"]), float(d["mc_se"]))),
            ]
        rows.append(row)
    heads = ["", people(material.study.design.subject), "r (95 % CI)", "p"]
    if drawn:
        heads += ["over draws: median (central 95 %)", "p below 0.05"]
    third = f"; the third is {_measure(material, a.given)}" if a.given else ""
    where = ", ".join(material.names.get(level, level) for _, level in a.where)
    blocks: list[Block] = [
        table(
            f"{capital(_measure(material, a.x))} with {_measure(material, a.y)}"
            f"{f', {where}' if where else ''}{third}. Intervals by Fisher's z.",
            heads, rows, numbers=range(1, len(heads)), file="associations.csv",
        )
    ]  # fmt: skip
    if len(panel.printed):
        parts = [
            f"{_r(r['r'], r['ci_low'], r['ci_high'])}"
            for r in panel.printed.to_dict(orient="records")
        ]
        blocks.append(
            paragraph(
                f"Printed, with {a.printed_n} {people(material.study.design.subject)}: "
                f"{'; '.join(parts)}. The intervals, which the paper does not give, follow from r "
                "and n alone. The largest of several correlations is, on average, too large."
            )
        )
    return blocks


def _r(r: float, low: float, high: float) -> str:
    return f"{n.fixed(float(r), 2)} ({n.fixed(float(low), 2)} to {n.fixed(float(high), 2)})"


def heterogeneity(material: Material) -> list[Block]:
    """Say what the periods of a crossover can tell of people who differ in the effect."""
    if not material.heterogeneity:
        return []
    blocks: list[Block] = [
        Heading(rich("Do people differ in the effect?")),
        paragraph(
            "In two periods everybody shows their own effect once, mixed with that visit's error. "
            "The spread of these single differences is no measure of how much people differ: "
            "nothing but an assumed error could take it apart. Periods that repeat both treatments "
            "can."
        ),
    ]
    for panel in material.heterogeneity:
        blocks += _heterogeneity(material, panel)
    return blocks


def _heterogeneity(material: Material, panel: HeterogeneityPanel) -> list[Block]:
    e = material.estimand(panel.estimand)
    unit = material.unit(e.outcome)
    rows: list[list[Cell]] = []
    for r in panel.table.to_dict(orient="records"):
        truth = (
            "everybody has the mean effect"
            if r["truth"] == "alike"
            else f"effects differ with SD {n.plain(panel.sd)}{f'{n.NB}{unit}' if unit else ''}"
        )
        found = float(r["four_found"])
        rows.append(
            [
                cell(truth),
                cell(_quartiles(r["two_low"], r["two_median"], r["two_high"])),
                cell(_quartiles(r["four_low"], r["four_median"], r["four_high"])),
                cell(n.percent(float(r["four_zero"]))),
                cell(n.percent(found, float(r["mc_se"]))),
            ]
        )
    draws = int(panel.table["draws"].iloc[0])
    one, other = panel.table["two_median"].to_numpy(dtype=float)
    subjects = material.study.design.n_subjects
    return [
        table(
            f"{capital(e.label)}{f' ({unit})' if unit else ''}: {subjects} "
            f"{people(material.study.design.subject)}, {draws} draws; medians and quartiles. Four "
            f"periods: {' and '.join(panel.sequences)}.",
            ("truth", "two periods: SD of the single differences",
             "four periods: estimated SD of own effects", "estimated as 0",
             "four periods: test finds it"),
            rows, numbers=range(1, 5), file="heterogeneity.csv",
        ),
        paragraph(
            f"Effects that differ by as much as their mean raise the SD of the single differences "
            f"from {n.fixed(one, 1)} to {n.fixed(other, 1)} at the median, and one trial shows one "
            "such number. Four periods find them in the share of trials in the last column."
        ),
    ]  # fmt: skip


def _quartiles(low: float, median: float, high: float) -> str:
    return f"{n.fixed(float(median), 1)} ({n.fixed(float(low), 1)} to {n.fixed(float(high), 1)})"
