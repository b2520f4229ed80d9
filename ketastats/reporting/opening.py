"""The head of a report: what the data are, and the answers in a few lines."""

from __future__ import annotations

from ketastats.analysis.schools import BAYESIAN, FREQUENTIST, NAMES, SCHOOLS
from ketastats.reporting import numbers as n
from ketastats.reporting.document import Block, Items, Text, b, doi_link, paragraph, rich
from ketastats.reporting.material import Material
from ketastats.reporting.questions import interactions, main_estimand
from ketastats.reporting.rows import as_estimate, mcse
from ketastats.reporting.words import capital


def banner(material: Material) -> Text:
    """Return what must be read before anything else."""
    study = material.study
    if not material.synthetic:
        return rich(
            b("DATA GIVEN, NOT DRAWN: "),
            "the report analyses data that were handed in. The declared truth is not known to be "
            "theirs, so no true value is shown beside an estimate.",
        )
    lead = rich(b("SYNTHETIC DATA: "), f"drawn from a declared truth with seed {material.seed}; ")
    if study.citation:
        link = (" ", doi_link(study.doi)) if study.doi else ()
        return rich(
            lead, "imitates the design of ", study.citation.rstrip("."), ".", *link,
            " Reproduces none of its data.",
        )  # fmt: skip
    return rich(lead, "nobody and nothing was measured.")


def facts(material: Material) -> tuple[tuple[str, str], ...]:
    """Return short facts for the head."""
    study = material.study
    data = f"synthetic, seed {material.seed}" if material.synthetic else "given"
    return (
        ("study", study.id),
        ("design", f"{study.design.kind}, {study.design.n_subjects} subjects"),
        ("data", data),
        ("declaration", study.hash[:12]),
    )


def failed_gates(material: Material) -> list[str]:
    """Return one sentence per diagnostic gate that failed."""
    out = []
    for answer in material.results.answers:
        for gate in answer.details.get("gates", ()):
            if not gate["passed"]:
                out.append(
                    f"check failed in {answer.analysis.label} ({answer.analysis.name}): "
                    f"{gate['name']} {n.plain(float(gate['value']), 4)}, threshold "
                    f"{n.plain(float(gate['threshold']), 4)}; do not use its numbers"
                )
    return out


def findings(material: Material) -> list[str]:
    """Return what stands in the way of using the numbers: failed gates, fits without a number."""
    out = failed_gates(material)
    for answer in material.results.answers:
        gates = answer.details.get("gates", ())
        bad = answer.estimates[answer.estimates["status"].isin(["unconverged", "failed"])]
        if len(bad) and all(g["passed"] for g in gates):
            which = ", ".join(bad["estimand"])
            out.append(
                f"{answer.analysis.label} ({answer.analysis.name}): not converged or failed for "
                f"{which}"
            )
    return out


def short_answers(material: Material) -> tuple[Block, ...]:
    """Return the answers in a few lines: per outcome the main effect and its interactions."""
    lines = []
    for outcome in material.study.outcomes:
        main = main_estimand(material.study, outcome)
        if main is None or not _answered(material, main.name):
            continue
        line = rich(b(f"{capital(main.label)}: "), answer_line(material, main.name))
        for found in interactions(material.study):
            if found.overall is main and _answered(material, found.difference.name):
                label = f" {capital(found.difference.label)}: "
                line = rich(line, b(label), answer_line(material, found.difference.name))
        lines.append(line)
    blocks: list[Block] = [Items(tuple(lines))] if lines else []
    blocks += [paragraph(f"{capital(t)}.", kind="failure") for t in findings(material)]
    return tuple(blocks)


def _answered(material: Material, estimand: str) -> bool:
    return any(material.row(estimand, engine) is not None for engine in SCHOOLS)


def headline(material: Material) -> dict[str, str]:
    """Return label and text of the first outcome's main answer; empty when nothing is asked."""
    for outcome in material.study.outcomes:
        main = main_estimand(material.study, outcome)
        if main is not None and _answered(material, main.name):
            return {"label": capital(main.label), "text": answer_line(material, main.name)}
    return {"label": "", "text": ""}


def answer_line(material: Material, estimand: str) -> str:
    """Return truth and both schools for one estimand in one line."""
    asked = material.estimand(estimand)
    unit = material.unit(asked.outcome, asked.scale)
    unit = f"{n.NB}{unit}" if unit else ""
    first, post = material.row(estimand, FREQUENTIST), material.row(estimand, BAYESIAN)
    parts = []
    e = as_estimate(first, estimand)
    if first is not None and e.known:
        parts.append(f"{NAMES[str(first['engine'])]} {e}{unit}, {n.p_equals(e.p)}")
    q = as_estimate(post, estimand)
    if post is not None and q.estimate == q.estimate:
        text = n.with_interval(q.estimate, q.low, q.high, q.se, mcse(material, post))
        parts.append(f"posterior {text}{unit}, probability {n.direction(post['prob_positive'])}")
    true = material.true_value(estimand)
    if true == true:
        scale = e.se if e.se == e.se else q.se
        parts.append(f"true value {n.value(true, scale)}{unit}")
    return ("; ".join(parts) if parts else "not answered") + "."
