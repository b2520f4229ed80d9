"""Section: many questions of one kind as one family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ketastats.figures.family import FamilyDots, family_dots
from ketastats.reporting import numbers as n
from ketastats.reporting.document import (
    Block,
    Cell,
    Heading,
    Picture,
    Section,
    Table,
    cell,
    paragraph,
    rich,
    table,
)
from ketastats.reporting.material import Material
from ketastats.reporting.words import capital, count, listing

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.diagnosis.family import FamilyPanel

RULE_NAMES = {
    "unadjusted": "unadjusted p",
    "holm": "Holm",
    "bh": "Benjamini-Hochberg",
    "shrinkage": "shrinkage",
}
CRITERION = {"shrinkage": ", false sign rate"}
TRUTH_NAMES = {"none": "no effect", "claimed": "the declared effects"}
SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
         "eleven", "twelve")  # fmt: skip
TENS = {20: "twenty", 30: "thirty", 40: "forty", 50: "fifty", 60: "sixty", 70: "seventy",
        80: "eighty", 90: "ninety", 100: "a hundred"}  # fmt: skip


def family_section(material: Material, panels: Sequence[FamilyPanel]) -> Section | None:
    """Return estimates, four rules and what each gets wrong; None without families.

    Parameters
    ----------
    material : Material
    panels : sequence of FamilyPanel
    """
    if not panels:
        return None
    blocks: list[Block] = []
    for panel in panels:
        if len(panels) > 1:
            blocks.append(Heading(rich(_title(panel))))
        blocks.append(paragraph(_opening(material, panel)))
        blocks.append(_picture(material, panel))
        blocks.append(_table(material, panel))
        blocks.append(paragraph(_found_sentence(panel)))
        blocks += _rates(panel)
    title = _title(panels[0]) if len(panels) == 1 else "Many questions of one kind"
    return Section("family", title, tuple(blocks))


def number_word(number: int) -> str:
    """Return a number in words where that is short.

    Examples
    --------
    >>> number_word(60), number_word(12), number_word(61)
    ('sixty', 'twelve', '61')
    """
    return SMALL[number] if number < len(SMALL) else TENS.get(number, str(number))


def _title(panel: FamilyPanel) -> str:
    many = f"{number_word(len(panel.table))} {panel.family.factor}s as one family"
    return capital(many)


def _opening(material: Material, panel: FamilyPanel) -> str:
    label = material.study.analysis(panel.analysis).label
    factor = panel.family.factor
    return (
        f"One question, asked of {len(panel.table)} {factor}s of the same subjects: the answers of "
        f"“{label}” share a standard error of {n.plain(panel.shared_se, 2)}, because subjects "
        f"differ in all {factor}s alike, and each has one of {n.plain(panel.own_se, 2)} of its "
        "own. The hierarchical model takes the shared part as an error of all, lets every effect "
        "be none or normal around none, and learns from all together how many there are and how "
        f"large. An effect on all {factor}s alike cannot be told from the shared error: it is a "
        "question of its own."
    )


def _picture(material: Material, panel: FamilyPanel) -> Picture:
    f, t = panel.family, panel.table
    unit = material.unit(f.outcome, material.estimand(f.estimands[0]).scale)
    columns = ("estimate", "ci_low", "ci_high", "shrunken", "false_sign", "true")
    levels = tuple(material.names.get(level, level) for level in f.levels)
    dots = FamilyDots(levels, *(t[c].to_numpy(dtype=float) for c in columns))
    name = f"family-{f.outcome}-{f.factor}"
    drawing = family_dots(
        dots, alpha=panel.alpha, x_label=f.factor,
        y_label=f"estimate{f' ({unit})' if unit else ''}", ident=name,
        title=f"Raw and shrunken estimates of {len(t)} {f.factor}s",
    )  # fmt: skip
    truth = "; the bar is the true value" if material.synthetic else ""
    return Picture(
        name,
        drawing.svg,
        rich(f"Raw estimates with unadjusted intervals, grey; shrunken ones, coloured{truth}."),
    )


def _table(material: Material, panel: FamilyPanel) -> Table:
    f = panel.family
    unit = material.unit(f.outcome, material.estimand(f.estimands[0]).scale)
    heads = [f.factor, "estimate (CI)", "p", "Holm", "BH", "shrunken ± SD", "P(effect)",
             "false sign rate"]  # fmt: skip
    heads += ["true value"] * material.synthetic
    rows = []
    for r in panel.table.to_dict(orient="records"):
        row: list[Cell] = [
            cell(material.names.get(r["level"], r["level"]), title=r["estimand"]),
            cell(n.with_interval(r["estimate"], r["ci_low"], r["ci_high"], r["se"])),
            *(cell(n.p_value(r[c])) for c in ("p", "p_holm", "p_bh")),
            cell(_plus_minus(r["shrunken"], r["sd"], r["se"])),
            *(cell(n.probability(r[c])) for c in ("p_effect", "false_sign")),
        ]
        row += [cell(n.value(r["true"], r["se"]))] * material.synthetic
        rows.append(row)
    return table(
        f"Every {f.factor}{f' ({unit})' if unit else ''}: unadjusted, adjusted over the "
        f"{len(rows)}, and shrunken. P(effect) is the probability of any effect, the false sign "
        "rate the probability that the shrunken estimate's sign is wrong or that there is none.",
        heads, rows, numbers=range(1, len(heads)), file="family.csv",
    )  # fmt: skip


def _plus_minus(mean: float, sd: float, se: float) -> str:
    if not np.isfinite(mean):
        return n.ABSENT
    return f"{n.value(mean, se)}{n.NB}±{n.NB}{n.value(sd, se)}"


def finds(panel: FamilyPanel) -> dict[str, pd.Series[Any]]:
    """Return which levels every rule finds in the data at hand."""
    t = panel.table
    return {
        "unadjusted": t["p"] < panel.alpha,
        "holm": t["p_holm"] < panel.alpha,
        "bh": t["p_bh"] < panel.alpha,
        "shrinkage": t["false_sign"] < panel.alpha,
    }


def _found_sentence(panel: FamilyPanel) -> str:
    """Say what each rule finds here, and what of it is there."""
    t, parts = panel.table, []
    known = bool(t["true"].notna().any())
    effect = t["true"].abs() > 1e-9
    for rule, hit in finds(panel).items():
        text = f"{RULE_NAMES[rule]} {int(hit.sum())}"
        wrong = [str(level) for level in t.loc[hit & ~effect, "level"]]
        if known and wrong:
            text += f" ({len(wrong)} of them false: {listing(wrong)})"
        parts.append(text)
    there = f" There are {count(int(effect.sum()), 'true effect')}." if known else ""
    return f"Below {panel.alpha:.3g} in these data: {'; '.join(parts)}.{there}"


def _rates(panel: FamilyPanel) -> list[Block]:
    """Return a table of what the rules get wrong over many draws, or why there is none."""
    if not len(panel.rates):
        return [paragraph(f"What the rules do over many draws: {panel.note}.", kind="note")]
    factor = panel.family.factor
    by = {(r["truth"], r["rule"]): r for r in panel.rates.to_dict(orient="records")}
    effects = int(by["claimed", "holm"]["effects"])
    heads = (
        "rule", f"no effect: any false {factor}",
        f"declared effects: any false {factor}", "declared effects: false ones among finds",
        f"declared effects: found of {effects}",
    )  # fmt: skip
    rows = []
    for rule, name in RULE_NAMES.items():
        none, full = by["none", rule], by["claimed", rule]
        rule_name = f"{name}{CRITERION.get(rule, '')} < {panel.alpha:.3g}"
        rows.append(
            [cell(rule_name), cell(_rate(none, "any_false")),
             cell(_rate(full, "any_false")), cell(_rate(full, "fdr")), cell(_mean(full, "found"))]
        )  # fmt: skip
    lost = int(panel.rates["left_out"].max())
    left = f" Up to {count(lost, 'fit')} per truth did not converge and are left out." * bool(lost)
    return [
        table(
            f"Share of draws with any false {factor}, mean share of false ones among finds (FDR), "
            f"and effects found with the right sign, ± Monte-Carlo standard error. "
            f"{capital(panel.note)}.{left}",
            heads, rows, numbers=(1, 2, 3, 4), file="family-rates.csv",
        ),
        paragraph(_rates_sentence(panel, by)),
    ]  # fmt: skip


def _rate(row: Mapping[Any, Any], name: str) -> str:
    """Return a rate with its Monte-Carlo error; a count where it is 0 or 1."""
    rate, draws = float(row[name]), int(row["draws"])
    if rate in (0.0, 1.0):
        return f"{'none' if rate == 0 else 'all'} of {draws}"
    return n.percent(rate, float(row[f"{name}_se"]))


def _mean(row: Mapping[Any, Any], name: str) -> str:
    value, se = float(row[name]), float(row[f"{name}_se"])
    return f"{n.value(value, se)}{n.NB}±{n.NB}{n.value(se, se)}"


def _rates_sentence(panel: FamilyPanel, by: Mapping[tuple[Any, Any], Mapping[Any, Any]]) -> str:
    """Say what unadjusted p values cost, and what the other rules pay."""
    draws, k = int(by["none", "holm"]["draws"]), len(panel.table)
    alone = float(by["none", "unadjusted"]["any_false"])
    independent = 1 - (1 - panel.alpha) ** k
    text = (
        f"Where there is nothing to find, unadjusted p values find something in "
        f"{_rate(by['none', 'unadjusted'], 'any_false')} of {draws} draws"
    ).replace(f"of {draws} of {draws}", f"of {draws}")
    if alone < independent - 0.02:
        text += (
            f"; with {k} independent questions it would be {100 * independent:.0f}{n.NB}%, but the "
            f"{panel.family.factor}s of a subject move together"
        )
    found = [f"{_mean(by['claimed', rule], 'found')} by {RULE_NAMES[rule]}" for rule in RULE_NAMES]
    effects = int(by["claimed", "holm"]["effects"])
    return (
        f"{text}. Of {count(effects, 'declared effect')} are found on average {listing(found)}: "
        "what an adjustment leaves out is the price of being believed."
    )
