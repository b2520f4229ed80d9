"""Part of what would change the conclusion: the published-type random part over many draws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ketastats.reporting import numbers as n
from ketastats.reporting.document import (
    Block,
    Cell,
    Heading,
    Table,
    cell,
    formula,
    paragraph,
    rich,
    table,
)
from ketastats.reporting.material import Material
from ketastats.reporting.words import VERDICT_MEANING, capital, listing, size_verdict

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.diagnosis.random_part import RandomPartPanel

TRUTH_NAMES = {
    "none": "no effect",
    "half": "half the declared effect",
    "shrunk": "0.67 of the declared effect",
    "claimed": "the declared effect",
}


def _alpha(material: Material, analysis: str) -> float:
    return 1 - material.study.analysis(analysis).level


def random_part(material: Material) -> list[Block]:
    """Return a table and sentences per panel, and what they say together."""
    if not material.random_part:
        return []
    blocks: list[Block] = [Heading(rich("The random part"))]
    verdicts: dict[str, list[str]] = {}
    for panel in material.random_part:
        e = material.estimand(panel.estimand)
        blocks.append(_panel_table(material, panel))
        for sentence, verdict, published in _panel_sentences(material, panel):
            blocks.append(sentence)
            if published:
                verdicts.setdefault(verdict, []).append(e.label)
    blocks += _both_directions(verdicts)
    return blocks


def is_null(row: pd.Series[Any]) -> bool:
    """Whether a row of a panel is drawn without the effect."""
    return abs(float(row["effect"])) < 1e-9 or str(row["truth"]) == "none"


def _panel_table(material: Material, panel: RandomPartPanel) -> Table:
    """Return one row per truth, the analyses side by side."""
    e = material.estimand(panel.estimand)
    unit = material.unit(panel.outcome)
    frame = panel.table
    analyses = list(dict.fromkeys(frame["analysis"]))
    heads = ["truth", f"effect{f' ({unit})' if unit else ''}"]
    key = []
    for letter, name in zip("ABCDEFGH", analyses, strict=False):
        key.append(f"{letter} “{material.study.analysis(name).label}”")
        heads += [f"{letter}: median df", f"{letter}: rejected ± Monte-Carlo SE"]
        heads += [f"{letter}: percentile of the printed F"] * _printed(material, panel, name)
    rows = []
    for truth in dict.fromkeys(frame["truth"]):
        part = frame[frame["truth"] == truth].set_index("analysis")
        effect = 0.0 if is_null(part.iloc[0]) else float(part["effect"].iloc[0])
        row: list[Cell] = [cell(TRUTH_NAMES.get(truth, truth)), cell(n.fixed(effect, 2))]
        for name in analyses:
            r = part.loc[name]
            row += [cell(n.df(float(r["median_df"]))), cell(_rate(material, r), _caveat(r))]
            if _printed(material, panel, name):
                row.append(cell(n.fixed(float(r["f_percentile"]), 0)))
        rows.append(row)
    note = capital(panel.note)
    claim = f" Printed: {panel.claim}." if panel.claim else ""
    return table(
        f"{capital(e.label)}: {', '.join(key)}.{claim} {note}.",
        heads, rows, numbers=range(1, len(heads)), file="random_part.csv",
    )  # fmt: skip


def _printed(material: Material, panel: RandomPartPanel, analysis: str) -> bool:
    """Whether a printed F is compared with an analysis: only with the published type."""
    if not panel.claim or material.study.analysis(analysis).role != "published":
        return False
    return bool(panel.table["f_percentile"].notna().any())


def _rate(material: Material, row: pd.Series[Any]) -> str:
    """Return a rejection rate with its Monte-Carlo error; a count where it is 0 or 1."""
    rate = float(row["rejection_rate"])
    if rate in (0.0, 1.0):
        return f"{'none' if rate == 0 else 'all'} of {material.draws}"
    return n.percent(rate, float(row["mc_se"]))


def _caveat(row: pd.Series[Any]) -> str:
    return (
        f"{int(row['unconverged'])} fits did not converge; a variance was estimated as 0 in "
        f"{n.percent(float(row['boundary_share']))}"
    )


def _panel_sentences(material: Material, panel: RandomPartPanel) -> list[tuple[Any, str, bool]]:
    """Judge the size of each analysis, then its power, then where the printed F falls."""
    out: list[tuple[Any, str, bool]] = []
    frame = panel.table
    for _, r in frame[[is_null(row) for _, row in frame.iterrows()]].iterrows():
        name = str(r["analysis"])
        alpha = _alpha(material, name)
        verdict = size_verdict(float(r["rejection_rate"]), material.draws, alpha)
        published = material.study.analysis(name).role == "published"
        said = paragraph(
            f"“{capital(str(r['label']))}”, with ", formula(random_terms(str(r["formula"]))),
            f", tests on {n.df(float(r['median_df']))} df (median). Under no effect it rejects in "
            f"{_rate(material, r)} draws".replace("% draws", "% of draws")
            + f", where {100 * alpha:g}{n.NB}% is promised: {VERDICT_MEANING[verdict]}.",
        )  # fmt: skip
        out.append((said, verdict, published))
    for sentence in (
        _trouble_sentence(material, panel),
        _power_sentence(material, panel),
        _percentile_sentence(material, panel) if panel.claim else "",
    ):
        if sentence:
            out.append((paragraph(sentence), "", False))
    return out


def _trouble_sentence(material: Material, panel: RandomPartPanel) -> str:
    """Count fits that did not converge: they are not rejections, and not hidden."""
    parts = [
        f"{int(r['unconverged'])} of {material.draws} with “{r['label']}” "
        f"({TRUTH_NAMES.get(r['truth'], r['truth'])})"
        for _, r in panel.table.iterrows()
        if r["unconverged"]
    ]
    return f"Fits that did not converge count as no rejection: {listing(parts)}." if parts else ""


def random_terms(formula: str) -> str:
    """Return the random part of a formula.

    Examples
    --------
    >>> random_terms("a * b + (1 | subject) + (1 | subject:period)")
    '(1 | subject) + (1 | subject:period)'
    """
    from ketastats.study.formula import split_formula

    if not formula:
        return n.ABSENT
    return " + ".join(f"({t.text})" for t in split_formula(formula).random)


def _power_sentence(material: Material, panel: RandomPartPanel) -> str:
    full = panel.table[panel.table["truth"] == "claimed"]
    null = panel.table[[is_null(row) for _, row in panel.table.iterrows()]]
    parts, loose = [], []
    for _, r in full.iterrows():
        parts.append(f"{_rate(material, r)} with “{r['label']}”")
        rate = null.loc[null["analysis"] == r["analysis"], "rejection_rate"]
        if len(rate) and (
            size_verdict(float(rate.iloc[0]), material.draws, _alpha(material, r["analysis"]))
            == "anticonservative"
        ):
            loose.append(f"“{r['label']}”")
    if not parts:
        return ""
    text = f"Under the declared effect the test rejects in {listing(parts)}."
    if loose:
        text += (
            f" The rate of {listing(loose)} is not power that could be had: it comes with the "
            "false positives above."
        )
    return text


def _percentile_sentence(material: Material, panel: RandomPartPanel) -> str:
    published = panel.table[
        [material.study.analysis(a).role == "published" for a in panel.table["analysis"]]
    ]
    parts = []
    for _, r in published.iterrows():
        above = (100 - float(r["f_percentile"])) / 100
        if math.isfinite(above):
            error = math.sqrt(max(above * (1 - above), 0.0) / max(material.draws, 1))
            share = f"{n.percent(above, error)} of draws"
            if above in (0.0, 1.0):
                share = f"{'all' if above else 'none'} of {material.draws} draws"
            parts.append(f"{share} under {TRUTH_NAMES.get(r['truth'], r['truth'])}")
    if not parts:
        return ""
    return (
        f"An F as large as the printed one ({panel.claim}) or larger comes up in {listing(parts)}. "
        "The declared truth was not tuned to it: a published F is one draw that "
        "passed a threshold, and such draws tend to be too large."
    )


def _both_directions(verdicts: dict[str, list[str]]) -> list[Block]:
    loose, tight = verdicts.get("anticonservative", []), verdicts.get("conservative", [])
    if not (loose or tight):
        return []
    parts = []
    if loose:
        parts.append(f"anticonservative for {listing([f'“{x}”' for x in loose])}")
    if tight:
        parts.append(f"conservative for {listing([f'“{x}”' for x in tight])}")
    text = f"In this study the published type of random part is {listing(parts)}."
    if loose and tight:
        text += " One habit, both directions."
    why = []
    if loose:
        why.append(
            "a component left out that varies with the treatment is taken for independent noise, "
            "so the standard error comes out too small"
        )
    if tight:
        why.append(
            "a component left out that cancels from the contrast swells the residual, so the "
            "standard error comes out too large"
        )
    return [paragraph(f"{text} The usual reason: {'; '.join(why)}.")]
