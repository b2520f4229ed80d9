"""Sections: references, provenance, how to rebuild."""

from __future__ import annotations

from ketastats.reporting.document import (
    Block,
    Commands,
    Items,
    Section,
    cell,
    code,
    doi_link,
    paragraph,
    rich,
    table,
)
from ketastats.reporting.material import Material
from ketastats.reporting.words import count, listing
from ketastats.study.describe import parameters
from ketastats.study.model import Reference

_METHOD_WORKS = {
    "reml": Reference(
        "patterson1971",
        "Patterson HD, Thompson R. Recovery of inter-block information when block sizes are "
        "unequal. Biometrika 1971;58:545-554.",
        "10.1093/biomet/58.3.545",
    ),
    "kenward-roger": Reference(
        "kenward1997",
        "Kenward MG, Roger JH. Small sample inference for fixed effects from restricted maximum "
        "likelihood. Biometrics 1997;53:983-997.",
        "10.2307/2533558",
    ),
    "satterthwaite": Reference(
        "satterthwaite1946",
        "Satterthwaite FE. An approximate distribution of estimates of variance components. "
        "Biometrics Bulletin 1946;2:110-114.",
        "10.2307/3002019",
    ),
    "carry_over": Reference(
        "freeman1989",
        "Freeman PR. The performance of the two-stage analysis of two-treatment, two-period "
        "crossover trials. Statistics in Medicine 1989;8:1421-1432.",
        "10.1002/sim.4780081202",
    ),
    "mcmc": Reference(
        "vehtari2021",
        "Vehtari A, Gelman A, Simpson D, Carpenter B, Bürkner P-C. Rank-normalization, folding, "
        "and localization: an improved R-hat for assessing convergence of MCMC. Bayesian Analysis "
        "2021;16:667-718.",
        "10.1214/20-BA1221",
    ),
}


def references(material: Material) -> Section:
    """Return the Study's references and those of the methods that were used."""
    works = list(material.study.references)
    used = [a.analysis.engine for a in material.results.answers]
    used += [a.analysis.ddf for a in material.results.answers if a.analysis.engine == "reml"]
    used += ["carry_over"] * any(e.target == "carry_over" for e in material.study.estimands)
    for name, work in _METHOD_WORKS.items():
        if name in used and all(work.doi != r.doi for r in works):
            works.append(work)
    items = tuple(
        rich(r.text.rstrip("."), ". ", doi_link(r.doi)) if r.doi else rich(r.text) for r in works
    )
    return Section("references", "References", (Items(items, ordered=True),))


KINDS = (
    "read in the paper",
    "read in a secondary source",
    "derived",
    "typical of the literature",
    "assumed",
)


def provenance(material: Material) -> Section:
    """Return where every parameter comes from, grouped by kind with counts."""
    rows = parameters(material.study)
    counts = {kind: sum(p.kind == kind for *_, p in rows) for kind in KINDS}
    others = sorted({p.kind for *_, p in rows} - set(KINDS))
    counts |= {kind: sum(p.kind == kind for *_, p in rows) for kind in others}
    said = listing([f"{number} {kind}" for kind, number in counts.items() if number])
    body = []
    for kind in counts:
        for outcome, name, value, p in rows:
            if p.kind == kind:
                body.append([cell(kind), cell(outcome or "design"), cell(name), cell(value),
                             cell(p.note)])  # fmt: skip
    blocks: tuple[Block, ...] = (
        paragraph(f"{count(len(rows), 'parameter')}: {said}."),
        table(
            "Every parameter of the design and the truth, by where it comes from.",
            ("source", "of", "parameter", "value", "note"), body, file="parameters.csv",
        ),
    )  # fmt: skip
    return Section("provenance", "Where every assumption comes from", blocks)


def rebuild(material: Material) -> Section:
    """Return the commands that rebuild and verify the report."""
    if not material.rebuildable:
        return Section(
            "rebuild",
            "How to rebuild",
            (
                paragraph(
                    "The study was made in Python and its file is not here, so no command can "
                    "rebuild the report; ", code("study.json"), " holds what was declared.",
                ),
            ),
        )  # fmt: skip
    verify = f"ketastats verify {folder_name(material.study.id)}"
    blocks: list[Block] = [
        Commands((material.command, verify) if material.command else (verify,)),
        paragraph(
            code("verify"), " builds the report again in a temporary folder and compares every "
            "file byte by byte, outside the block ", code("meta"), " of ", code("record.json"),
            ". Bytes are the same for the same versions, operating system and family of "
            "processors; elsewhere numbers are compared, to 6 digits for REML and 2 for sampled "
            "and simulated quantities.",
        ),
    ]  # fmt: skip
    if not material.synthetic:
        blocks.append(paragraph("The folder ", code("data"), " holds the data that were given."))
    return Section("rebuild", "How to rebuild", tuple(blocks))


def folder_name(study: str) -> str:
    """Return the folder that commands name: the reports' own, wherever this one was written."""
    return f"reports/{study}"
