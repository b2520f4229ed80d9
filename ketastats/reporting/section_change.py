"""Section: what would change the conclusion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ketastats.figures.influence import left_out
from ketastats.reporting import numbers as n
from ketastats.reporting.document import (
    Block,
    Heading,
    Picture,
    Section,
    cell,
    formula,
    paragraph,
    rich,
    table,
)
from ketastats.reporting.material import Material
from ketastats.reporting.rows import absent_or, reml_cells, status_cell
from ketastats.reporting.section_association import heterogeneity
from ketastats.reporting.section_random_part import random_part, random_terms
from ketastats.reporting.words import capital, count, left_out_sentence, p_range_sentence, people

if TYPE_CHECKING:
    import pandas as pd


def what_would_change(material: Material) -> Section:
    """Return the random part, other choices, completers, subjects left out, published claims."""
    blocks: list[Block] = [
        paragraph(f"{capital(what)}: not computed, because {why}.", kind="warning")
        for what, why in material.omitted.items()
    ]
    blocks += random_part(material)
    blocks += heterogeneity(material)
    blocks += _choices(material)
    blocks += _family(material)
    blocks += _completers(material)
    blocks += _left_out(material)
    blocks += _claims(material)
    return Section("change", "What would change the conclusion", tuple(blocks))


# other choices


def _choices(material: Material) -> list[Block]:
    blocks: list[Block] = []
    for name, frame in material.choices.items():
        e = material.estimand(name)
        primary = material.answer_for(name, "reml")
        alpha = 1 - primary.analysis.level if primary is not None else 0.05
        rows = []
        for _, r in frame.iterrows():
            rows.append(
                [cell(str(r["choice"]), title=str(r["formula"])),
                 cell(formula(random_terms(str(r["formula"])))),
                 absent_or(n.value(r["estimate"], r["se"]), _with_notes(r)),
                 absent_or(n.value(r["se"], r["se"]), _with_notes(r)),
                 cell(n.df(float(r["df"]))), cell(n.p_value(float(r["p"]))),
                 status_cell({"REML": r})]
            )  # fmt: skip
        blocks.append(
            table(
                f"{capital(e.label)} under other choices, same data.",
                ("choice", "random part", "estimate", "SE", "df", "p", "status"),
                rows, numbers=(2, 3, 4, 5), file="method_choices.csv",
            )
        )  # fmt: skip
        blocks.append(paragraph(p_range_sentence([float(p) for p in frame["p"]], "choices", alpha)))
    if blocks:
        blocks.insert(0, Heading(rich("Other choices of analysis")))
    return blocks


def _with_notes(row: pd.Series[Any]) -> pd.Series[Any]:
    if "notes" in row.index:
        return row
    import pandas as pd

    return pd.concat([row, pd.Series({"notes": ""})])


# many questions


def _family(material: Material) -> list[Block]:
    """Show p-values adjusted within families; questions of one kind stand in their own section."""
    frame = material.adjusted
    if frame is None or not frame["p"].notna().any():
        return []
    whole = frame["family"] == frame["outcome"]
    rows = [
        [cell(capital(str(r["label"])), title=str(r["estimand"])), cell(str(r["outcome"])),
         *(cell(n.p_value(float(r[c]))) for c in ("p", "p_holm", "p_bh"))]
        for _, r in frame[whole].iterrows()
    ]  # fmt: skip
    blocks: list[Block] = [Heading(rich("Many questions"))]
    if rows:
        blocks.append(
            table(
                "p-values of the primary analyses, as they are and adjusted over the questions of "
                "one outcome: by Holm's method, which bounds the probability of any false find, "
                "and by Benjamini and Hochberg's, which bounds the expected share of false ones "
                "among the finds.",
                ("estimand", "outcome", "p", "Holm", "Benjamini-Hochberg"), rows,
                numbers=(2, 3, 4), file="adjusted_p.csv",
            )
        )  # fmt: skip
    parts = [
        _counted(material, str(name), part) for name, part in frame.groupby("family", sort=False)
    ]
    blocks.append(paragraph(" ".join(p for p in parts if p)))
    if not whole.all():
        blocks.append(
            paragraph(
                "Questions of one kind are a family of their own, are not counted among the "
                "others, and stand with their estimates in a section of their own.", kind="note",
            )
        )  # fmt: skip
    return blocks


def _counted(material: Material, family: str, part: pd.DataFrame) -> str:
    """Count the p-values of a family below alpha, before and after."""
    tested, outcome = part[part["p"].notna()], str(part["outcome"].iloc[0])
    if not len(tested):
        return ""
    levels = [
        a.analysis.level
        for a in material.answers_of(outcome)
        if a.analysis.role == "primary" and set(part["estimand"]) & set(a.estimates["estimand"])
    ]
    alpha = 1 - max(levels, default=0.95)
    below = {c: int((tested[c] < alpha).sum()) for c in ("p", "p_holm", "p_bh")}
    about = outcome if family == outcome else f"{outcome} by {family.removeprefix(f'{outcome}, ')}"
    return (
        f"Of {count(len(tested), 'question')} about {about} {below['p']} "
        f"{'has' if below['p'] == 1 else 'have'} p below {alpha:.3g}, {below['p_holm']} after "
        f"Holm, {below['p_bh']} after Benjamini-Hochberg."
    )


# completers


def _completers(material: Material) -> list[Block]:
    blocks: list[Block] = []
    who = people(material.study.design.subject)
    for answer in material.results.answers:
        a = answer.analysis
        if not a.completers:
            continue
        rows, subjects = [], ""
        for name in answer.estimates["estimand"]:
            whole = material.row(str(name), a.engine)
            kept = answer.estimates[answer.estimates["estimand"] == name].iloc[0]
            rows.append(
                [cell(capital(material.estimand(str(name)).label)),
                 *reml_cells(whole), *reml_cells(kept)]
            )  # fmt: skip
            other = material.answer_for(str(name), a.engine)
            if other is not None:
                subjects = (
                    f"All data: {other.details.get('subjects', n.ABSENT)} {who}, "
                    f"{other.details.get('rows', n.ABSENT)} measurements; completers: "
                    f"{answer.details.get('subjects', n.ABSENT)} {who}, "
                    f"{answer.details.get('rows', n.ABSENT)} measurements."
                )
        outcome = material.study.outcome(a.outcome)
        blocks.append(
            table(
                f"{outcome.label}: everybody beside {a.label}. {subjects}",
                ("estimand", "all data", "df", "p", "completers", "df", "p"),
                rows, numbers=range(1, 7), file="estimates.csv",
            )
        )  # fmt: skip
    if blocks:
        blocks.insert(0, Heading(rich("Completers")))
        blocks.append(
            paragraph(
                "The answer from all data holds when missing values depend on nothing that was "
                "not measured; the answer from completers needs more than that."
            )
        )
    return blocks


# one subject left out


def _left_out(material: Material) -> list[Block]:
    blocks: list[Block] = []
    for name, frame in material.left_out.items():
        e = material.estimand(name)
        answer = material.answer_for(name, "reml")
        row = material.row(name, "reml")
        alpha = 1 - answer.analysis.level if answer is not None else 0.05
        se = float(row["se"]) if row is not None else math.nan
        if not math.isfinite(frame["p"].iloc[0]):
            why = "not estimated with everybody, so nobody is left out"
            blocks.append(paragraph(f"{capital(e.label)}: {why}."))
            continue
        unit = material.unit(e.outcome)
        columns = [frame[c].to_numpy(dtype=float) for c in ("estimate", "ci_low", "ci_high", "p")]
        subjects = [str(s) for s in frame["subject"]]
        ident = f"left-out-{e.outcome}"
        svg = left_out(
            subjects, *columns, true=material.true_value(name), alpha=alpha,
            x_label=f"estimate{f' ({unit})' if unit else ''}", ident=ident,
        )  # fmt: skip
        who = material.study.design.subject
        blocks.append(
            Picture(ident, svg, rich(f"{capital(e.label)}: estimate without each {who} in turn."))
        )
        blocks.append(
            paragraph(left_out_sentence(subjects, columns[3].tolist(), columns[0].tolist(), se,
                                        alpha))
        )  # fmt: skip
    if blocks:
        blocks.insert(0, Heading(rich(f"One {material.study.design.subject} left out")))
    return blocks


# published claims


def _claims(material: Material) -> list[Block]:
    study = material.study
    if not study.claims:
        return []
    labels = {e.name: e.label for e in study.estimands}
    rows = [
        [cell(c.text), cell(c.source), cell(capital(labels.get(c.about, c.about)))]
        for c in study.claims
    ]
    return [
        Heading(rich("Published claims")),
        table(
            "Statistics as the paper prints them. They come from its data, everything else here "
            "from synthetic data."
            if material.synthetic
            else "Statistics as the paper prints them.",
            ("printed", "where", "read against"), rows,
        ),
    ]  # fmt: skip
