"""Section: the data as they are, before any model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ketastats.figures.trajectories import panels_of, trajectories
from ketastats.reporting import numbers as n
from ketastats.reporting.document import (
    Block,
    Heading,
    Paragraph,
    Picture,
    Section,
    Table,
    paragraph,
    rich,
    table,
)
from ketastats.reporting.material import Material
from ketastats.reporting.questions import levels_of, main_factor
from ketastats.reporting.summaries import (
    arm_columns,
    as_shown,
    cell_means,
    in_percent,
    missing_rows,
    shown_label,
    visit_columns,
)
from ketastats.reporting.words import capital, count, people
from ketastats.study.model import Design, Outcome

if TYPE_CHECKING:
    import pandas as pd

MOST_CELLS = 12
"""More cells than this are left to the figure and the CSV file."""


def the_data(material: Material) -> Section:
    """Return trajectories, cell means and missing rows of every outcome."""
    blocks: list[Block] = []
    if material.synthetic:
        blocks.append(
            paragraph(
                "Every value below is synthetic. Means are over those observed, so an arm from "
                "which somebody was lost is compared with itself without them.",
            )
        )
    for outcome in material.study.outcomes:
        frame = as_shown(outcome, material.results.data[outcome.name])
        if len(material.study.outcomes) > 1:
            blocks.append(Heading(rich(outcome.label)))
        blocks.append(_trajectories(material, outcome, frame))
        means = _means_table(material, outcome, frame)
        if means is not None:
            blocks.append(means)
        lost = missing_rows(material.study, outcome, frame)
        blocks.append(_missing_sentence(material, lost))
        if lost["rows_missing"].any():
            blocks.append(_missing_table(material, outcome, lost))
    return Section("data", "Data", tuple(blocks))


def _trajectories(material: Material, outcome: Outcome, frame: pd.DataFrame) -> Picture:
    study, names = material.study, material.names
    factor = main_factor(study)
    panels = panels_of(study.design, outcome, frame, factor, names)
    x_label = outcome.occasions[-1].name if outcome.occasions else ""
    subject = study.design.subject
    svg = trajectories(
        panels, levels=levels_of(study, factor), names=names, y_label=shown_label(outcome),
        x_label=x_label, ident=f"trajectories-{outcome.name}", subject=subject,
    )  # fmt: skip
    kind = "Synthetic" if material.synthetic else "Observed"
    once = design_of_one_visit(study.design, outcome)
    drawn = f"one point per {subject}" if once else f"one thin line per {subject}, thick"
    caption = (
        f"{kind} values of {shown_label(outcome)}: {drawn}{', larger' if once else ''} the mean."
    )
    return Picture(f"trajectories-{outcome.name}", svg, rich(caption))


def design_of_one_visit(design: Design, outcome: Outcome) -> bool:
    """Whether every subject is measured once."""
    return design.kind == "parallel" and not outcome.occasions


def _means_table(material: Material, outcome: Outcome, frame: pd.DataFrame) -> Table | None:
    means = cell_means(material.study, outcome, frame)
    if len(means) > MOST_CELLS:
        return None
    names = material.names
    keys = [c for c in means.columns if c not in ("n", "mean", "sd")]
    errors = means["sd"] / means["n"].clip(lower=1) ** 0.5
    rough = float(errors.max())  # one number of decimals for the whole table
    rows = [
        [*(names.get(str(row[k]), str(row[k])) if k != "sequence" else str(row[k])
           for k in keys), str(row["n"]), n.value(row["mean"], rough), n.value(row["sd"], rough)]
        for row in means.to_dict(orient="records")
    ]  # fmt: skip
    unit = f" ({outcome.scale.unit})" if outcome.scale.unit else ""
    unit = " (% of the trials)" if in_percent(outcome) else unit
    return table(
        f"Mean and standard deviation{unit} of those observed.",
        [*keys, "n", "mean", "SD"], rows,
        numbers=range(len(keys), len(keys) + 3), file=f"means-{outcome.name}.csv",
    )  # fmt: skip


def _missing_sentence(material: Material, lost: pd.DataFrame) -> Paragraph:
    planned, missing = int(lost["rows_planned"].sum()), int(lost["rows_missing"].sum())
    subject = material.study.design.subject
    if missing == 0:
        return paragraph(f"All {planned} planned measurements are there.")
    arms = arm_columns(material.study.design)
    gone = int(lost.groupby(arms)["subjects_lost"].max().sum())
    verb = "is" if missing == 1 else "are"
    text = f"{missing} of {planned} planned measurements {verb} missing"
    if gone:
        text += f"; {count(gone, subject, people(subject))} left between visits and did not return"
    return paragraph(text + ".")


def _missing_table(material: Material, outcome: Outcome, lost: pd.DataFrame) -> Table:
    design, names = material.study.design, material.names
    keys = [*arm_columns(design), *visit_columns(design, outcome)]
    who = people(design.subject)
    rows = [
        [*(names.get(str(row[k]), str(row[k])) if k != "sequence" else str(row[k]) for k in keys),
         str(row["subjects"]), str(row["rows_planned"]), str(row["rows_observed"]),
         f"{row['rows_missing']} ({n.percent(row['rows_missing'] / row['rows_planned'])})",
         str(row["subjects_lost"])]
        for row in lost.to_dict(orient="records")
    ]  # fmt: skip
    heads = [*keys, f"{who} planned", "rows planned", "observed", "missing", f"{who} lost"]
    what = " by ".join(["arm" if design.kind != "crossover" else "sequence",
                        *visit_columns(design, outcome)])  # fmt: skip
    return table(
        f"Missing measurements, {what}. {capital(who)} lost have nothing at this visit or later.",
        heads, rows, numbers=range(len(keys), len(heads)), file=f"missing-{outcome.name}.csv",
    )  # fmt: skip
