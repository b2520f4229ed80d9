"""Section: tempting analyses beside the right ones, and printed statistics among draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ketastats.reporting import numbers as n
from ketastats.reporting.document import (
    Block,
    Cell,
    Heading,
    Section,
    Table,
    cell,
    formula,
    paragraph,
    rich,
    table,
)
from ketastats.reporting.material import Material
from ketastats.reporting.section_random_part import TRUTH_NAMES
from ketastats.reporting.words import VERDICT_MEANING, capital, size_verdict

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.diagnosis.pitfalls import PitfallPanel
    from ketastats.diagnosis.printed import PrintedPanel
    from ketastats.study.model import Pitfall


def tempting_analyses(material: Material) -> Section | None:
    """Return every pitfall: both answers on these data, both rates; None without pitfalls."""
    study = material.study
    if not study.pitfalls and not material.printed:
        return None
    blocks: list[Block] = []
    panels = {p.pitfall.name: p for p in material.pitfalls}
    for pitfall in study.pitfalls:
        blocks.append(Heading(rich(pitfall.title)))
        if pitfall.why:
            blocks.append(paragraph(pitfall.why))
        said = material.said.get(pitfall.name)
        if said is not None and len(said):
            blocks.append(_said_table(material, pitfall, said))
        if pitfall.name in panels:
            blocks.append(_rates(material, panels[pitfall.name]))
            blocks.append(paragraph(_sentence(material, panels[pitfall.name])))
    if material.printed:
        blocks += _printed(material)
    return Section("tempting", "The tempting analysis beside the right one", tuple(blocks))


SIDES = {"tempting": "tempting", "right": "right"}


def _said_table(material: Material, pitfall: Pitfall, said: pd.DataFrame) -> Table:
    """Return what both sides say about the data at hand."""
    e = material.estimand(pitfall.estimand)
    unit = material.unit(e.outcome, e.scale)
    rows = []
    for r in said.to_dict(orient="records"):
        se = (float(r["ci_high"]) - float(r["ci_low"])) / 4
        text = n.with_interval(r["estimate"], r["ci_low"], r["ci_high"], se)
        absent = not math.isfinite(float(r["estimate"]))
        rows.append(
            [
                cell(SIDES[str(r["side"])]),
                cell(capital(str(r["label"]))),
                cell(text, "the procedure gives a p-value only" if absent else ""),
                cell(n.p_value(float(r["p"]))),
                cell("claims an effect" if bool(r["claimed"]) else "claims none"),
            ]
        )
    data = "synthetic data" if material.synthetic else "data"
    return table(
        f"Both on the same {data}{f' ({unit})' if unit else ''}.",
        ("side", "analysis", "estimate (CI)", "p", "verdict"),
        rows, numbers=(2, 3), file="pitfalls-on-data.csv",
    )  # fmt: skip


def _rate(row: Mapping[Any, Any]) -> str:
    rate, draws = float(row["rejection_rate"]), int(row["draws"])
    if rate in (0.0, 1.0):
        return f"{'none' if rate == 0 else 'all'} of {draws}"
    return n.percent(rate, float(row["mc_se"]))


def _rates(material: Material, panel: PitfallPanel) -> Table:
    """Return how often each side claims an effect, without one and as declared."""
    e = material.estimand(panel.pitfall.estimand)
    by = {(r["truth"], r["side"]): r for r in panel.table.to_dict(orient="records")}
    unit = material.unit(e.outcome, e.scale)
    effect = float(by["declared", "right"]["effect"])
    if panel.pitfall.rule == "responders":
        return _responder_rates(panel)
    heads = (
        "side", "no effect in truth: claims one (false positives)",
        f"declared effect {n.plain(effect)}{f' {unit}' if unit else ''}: claims one",
        "fits without a number",
    )  # fmt: skip
    rows = []
    for side in ("tempting", "right"):
        none, full = by["none", side], by["declared", side]
        lost = f"{int(none['unconverged'])} and {int(full['unconverged'])} of {int(none['draws'])}"
        rows.append(
            [cell(SIDES[side], str(none["label"])), cell(_rate(none)), cell(_rate(full)),
             cell(lost)]
        )  # fmt: skip
    draws = int(by["none", "right"]["draws"])
    spread = ", ".join(f"{name} {n.plain(sd)}" for name, sd in panel.pitfall.spread)
    changed = f" With the SDs {spread} instead of the declared ones." if spread else ""
    return table(
        f"Share of {draws} draws without missing rows in which each claims an effect, ± "
        f"Monte-Carlo standard error. A fit without a number claims none.{changed}",
        heads, rows, numbers=(1, 2, 3), file="pitfalls.csv",
    )  # fmt: skip


def _responder_rates(panel: PitfallPanel) -> Table:
    """Return how often each side claims that responses differ, with and without reason."""
    by = {(r["truth"], r["side"]): r for r in panel.table.to_dict(orient="records")}
    rows = [
        [cell(SIDES[side], str(by["none", side]["label"])), cell(_rate(by["none", side])),
         cell(_rate(by["declared", side]))]
        for side in ("tempting", "right")
    ]  # fmt: skip
    return table(
        f"Share of {int(by['none', 'right']['draws'])} draws in which each claims that responses "
        "differ, ± Monte-Carlo standard error.",
        ("side", "all respond alike in truth (false positives)", "responses differ as declared"),
        rows, numbers=(1, 2), file="pitfalls.csv",
    )  # fmt: skip


def _sentence(material: Material, panel: PitfallPanel) -> str:
    """Judge both sides' false positives."""
    alpha = 1 - material.study.analysis(panel.pitfall.right).level
    none = panel.table[panel.table["truth"] == "none"]
    by = {r["side"]: r for r in none.to_dict(orient="records")}
    parts = []
    for side in ("tempting", "right"):
        row = by[side]
        verdict = size_verdict(float(row["rejection_rate"]), int(row["draws"]), alpha)
        of = " of draws" if 0 < float(row["rejection_rate"]) < 1 else ""
        parts.append(f"in {_rate(row)}{of} ({VERDICT_MEANING[verdict]})")
    return (
        f"Where there is nothing to find, the tempting analysis claims an effect {parts[0]}, and "
        f"the right one {parts[1]}. {100 * alpha:g}{n.NB}% is promised."
    )


def _printed(material: Material) -> list[Block]:
    """Return where every printed F falls under each truth."""
    blocks: list[Block] = [Heading(rich("Printed statistics among draws"))]
    blocks.append(
        paragraph(
            "How often the published type of analysis gives an F as large as the printed one or "
            "larger, under four truths. The declared truth was not tuned to any of them: a "
            "printed F is one draw, often one that passed a threshold, and such draws tend to be "
            "too large."
        )
    )
    rows: list[list[Cell]] = []
    truths: list[str] = []
    for p in material.printed:
        truths = [str(t) for t in p.table["truth"]]
        e = material.estimand(p.claim.about)
        rows.append(
            [
                cell(p.claim.text, p.claim.source),
                cell(capital(e.label)),
                cell(formula(p.printed.formula), f"tests {p.printed.term} on {p.num_df} df, "
                     f"{p.rows} rows"),
                *(cell(_share(r), _effect(material, p, r)) for r in p.table.to_dict("records")),
            ]
        )  # fmt: skip
    blocks.append(
        table(
            f"Share of {material.draws} draws with an F at least as large, ± Monte-Carlo standard "
            "error; the percentile of the printed F is what is left to 100 %.",
            ("printed", "read against", "published type",
             *(TRUTH_NAMES.get(t, t) for t in truths)),
            rows, numbers=range(3, 3 + len(truths)), file="printed.csv",
        )
    )  # fmt: skip
    return blocks


def _share(row: Mapping[Any, Any]) -> str:
    share = float(row["share_above"])
    if share in (0.0, 1.0):
        return f"{'none' if share == 0 else 'all'} of {int(row['draws'])}"
    return n.percent(share, float(row["mc_se"]))


def _effect(material: Material, panel: PrintedPanel, row: Mapping[Any, Any]) -> str:
    unit = material.unit(material.estimand(panel.claim.about).outcome)
    lost = int(row["unconverged"])
    return (
        f"true value {n.plain(float(row['effect']))}{f' {unit}' if unit else ''}, median F "
        f"{n.plain(float(row['median_f']))}"
        + (f", {lost} fits did not converge and are left out" if lost else "")
    )
