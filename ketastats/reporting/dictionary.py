"""What a Data Package says of itself, to machines and to people.

The descriptor (fields, levels, units, provenance) and the README hold the same facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ketastats.core.files import sha256_of
from ketastats.study.describe import design_sentence, parameters, recorded_as
from ketastats.study.model import Cluster, Outcome, Study
from ketastats.study.scales import is_linear, is_whole

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION: Final = 1
DESCRIPTOR: Final = "datapackage.json"
_PROFILE = "https://datapackage.org/profiles/2.0/datapackage.json"
_LICENCE = {
    "name": "CC0-1.0",
    "title": "CC0 1.0 Universal",
    "path": "https://creativecommons.org/publicdomain/zero/1.0/",
}


def file_name(outcome: str) -> str:
    """Return the name of an outcome's CSV file."""
    return f"{outcome.lower()}.csv"


def content_hash(content: bytes) -> str:
    """Return the hash of a file as a Data Package writes it."""
    return f"sha256:{sha256_of(content)}"


def descriptor(
    study: Study, resources: list[dict[str, Any]], seed: int, draw: int
) -> dict[str, Any]:
    """Return the content of ``datapackage.json``."""
    return {
        "$schema": _PROFILE,
        "name": study.id,
        "title": f"Synthetic data: {study.title}",
        "description": _what_it_is(study, seed, draw),
        "licenses": [_LICENCE],
        "keywords": ["synthetic data", study.design.kind],
        "resources": resources,
        "ketastats": {
            "schema": SCHEMA_VERSION,
            "synthetic": True,
            "study": study.id,
            "study_hash": study.hash,
            "seed": seed,
            "draw": draw,
            "design": design_sentence(study.design),
            "imitates": {"citation": study.citation, "doi": study.doi},
            "parameters": [
                {
                    "outcome": outcome,
                    "parameter": name,
                    "value": value,
                    "source": source.kind,
                    "note": source.note,
                }
                for outcome, name, value, source in parameters(study)
            ],
        },
    }


def _what_it_is(study: Study, seed: int, draw: int) -> str:
    which = f"seed {seed}" + (f", draw {draw}" if draw else "")
    return (
        f"Synthetic data: ketastats drew them from the parameters listed here (Study {study.id}, "
        f"{which}). Nobody was measured. Design: {design_sentence(study.design)}."
    )


def resource(study: Study, outcome: Outcome, frame: pd.DataFrame, content: bytes) -> dict[str, Any]:
    """Return what the descriptor says of one CSV file."""
    factors = [_factor_field(study, outcome, frame[name]) for name in frame.columns[:-1]]
    return {
        "name": outcome.name.lower(),
        "type": "table",
        "title": f"Synthetic: {outcome.label}",
        "path": file_name(outcome.name),
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "hash": content_hash(content),
        "bytes": len(content),
        "schema": {
            "fields": [*factors, _outcome_field(outcome)],
            "missingValues": [""],
            "primaryKey": _key(study, outcome),
        },
    }


def _key(study: Study, outcome: Outcome) -> list[str]:
    """Return the columns that name one row."""
    period = ["period"] if study.design.kind == "crossover" else []
    return ["subject", *period, *(o.name for o in outcome.occasions)]


_COLUMNS: Final[Mapping[str, tuple[str, str]]] = {
    "sequence": ("Sequence", "Order of treatments, the same through the whole trial."),
    "period": ("Period", "Number of the treatment period."),
    "treatment": ("Treatment", "Treatment given in this period; the first level is the reference."),
}


def _factor_field(study: Study, outcome: Outcome, column: pd.Series[Any]) -> dict[str, Any]:
    name = str(column.name)
    title, description = _about(study, outcome, name)
    labels = _level_labels(study, name, list(column.cat.categories))
    constraints = {"enum": list(column.cat.categories), "required": bool(column.notna().all())}
    field = {
        "name": name,
        "type": "string",
        "title": title,
        "description": description,
        "constraints": constraints,
    }
    return field | ({"labels": labels} if labels else {})


def _about(study: Study, outcome: Outcome, name: str) -> tuple[str, str]:
    """Return title and description of a factor's column."""
    design = study.design
    title = name.replace("_", " ").capitalize()
    if name == "subject":
        return design.subject.capitalize(), f"Identifier of the {design.subject}; invented."
    if design.kind == "crossover" and name in _COLUMNS:
        return _COLUMNS[name]
    for occasions in outcome.occasions:
        if occasions.name == name:
            return title, "Repeated measurement, in order." + _days(
                occasions.levels, occasions.days
            )
    for cluster in design.clusters:
        if cluster.name == name:
            return title, _about_cluster(cluster, design.subject)
    if any(s.name == name for s in design.strata):
        return title, f"Fixed for each {design.subject}, in declared shares within every arm."
    return title, f"Fixed for each {design.subject}, as assigned; the first level is the reference."


def _about_cluster(cluster: Cluster, subject: str) -> str:
    mixed = f", never of different {' or '.join(cluster.within)}" if cluster.within else ""
    only = " and ".join(f"{f} {level}" for f, level in cluster.where)
    empty = f" Only with {only}; empty otherwise." if only else ""
    who = {"mouse": "mice", "person": "people"}.get(subject, f"{subject}s")
    return f"Up to {cluster.size} {who} share one {cluster.name}{mixed}.{empty}"


def _days(levels: tuple[str, ...], days: tuple[float, ...]) -> str:
    if not any(days):
        return ""
    each = ", ".join(f"{a} {d:g}" for a, d in zip(levels, days, strict=True))
    return f" Days after the start of the period: {each}."


def _level_labels(study: Study, name: str, levels: list[str]) -> dict[str, str]:
    """Return what the levels stand for, where that is declared."""
    if name == "subject":
        return {}
    if name == "sequence":
        return {label: " then ".join(order) for label, order in study.design.sequences}
    declared = dict(study.factor_labels)
    return {level: declared[level] for level in levels if level in declared}


def _outcome_field(outcome: Outcome) -> dict[str, Any]:
    s = outcome.scale
    bounds = {"minimum": s.min, "maximum": s.max}
    integer = is_whole(s)
    recorded = recorded_as(outcome)
    recorded = f"recorded to {recorded}" if is_linear(s) else recorded
    return {
        "name": outcome.name,
        "type": "integer" if integer else "number",
        "title": outcome.label,
        "description": f"Synthetic outcome, {recorded}; empty where missing.",
        "unit": s.unit,
        "decimals": s.decimals,
        "constraints": {k: int(v) if integer else v for k, v in bounds.items() if v is not None},
    }


def readme(study: Study, resources: list[dict[str, Any]], seed: int, draw: int) -> str:
    """Return the README of a Data Package; its first line says that the data are synthetic."""
    lines = [
        f"# Synthetic data: {study.title}",
        "",
        _what_it_is(study, seed, draw),
        "",
        *_imitates(study),
        f"Study hash `{study.hash}`. Licence: CC0 1.0. `{DESCRIPTOR}` says the same to machines.",
        "",
        "## Data dictionary",
        "",
        "Factors are text, also where their levels look like numbers. An empty cell is missing.",
    ]
    for entry in resources:
        lines += ["", f"### {entry['path']}: {entry['title']}", ""]
        lines += _table(
            ("column", "what", "levels or range", "unit"),
            [_dictionary_row(f) for f in entry["schema"]["fields"]],
        )
    lines += ["", "## Where the parameters come from", ""]
    rows = [
        (outcome or "design", name, value, source.kind + (f": {source.note}" * bool(source.note)))
        for outcome, name, value, source in parameters(study)
    ]
    lines += _table(("of", "parameter", "value", "source"), rows)
    lines += ["", "## Draw another", "", *_another(study, seed)]
    return "\n".join(lines) + "\n"


def _imitates(study: Study) -> list[str]:
    if not study.citation:
        return []
    doi = f" https://doi.org/{study.doi}" if study.doi else ""
    return [f"The design imitates: {study.citation}{doi}", ""]


def _dictionary_row(field: dict[str, Any]) -> tuple[str, str, str, str]:
    constraints = field["constraints"]
    if "enum" not in constraints:
        low, high = constraints.get("minimum"), constraints.get("maximum")
        ends = ("" if low is None else f"from {low:g}", "" if high is None else f"to {high:g}")
        levels = " ".join(e for e in ends if e)
    elif len(constraints["enum"]) > 12:
        levels = f"{constraints['enum'][0]} to {constraints['enum'][-1]}"
    else:
        labels = field.get("labels", {})
        levels = ", ".join(
            f"{level} ({labels[level]})" if level in labels else level
            for level in constraints["enum"]
        )
    what = f"{field['title']}. {field['description']}"
    return field["name"], what, levels, field.get("unit", "")


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return a Markdown table."""

    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(" ".join(c.split()).replace("|", "\\|") for c in cells) + " |"

    return [line(head), "|" + " --- |" * len(head), *map(line, rows)]


def _another(study: Study, seed: int) -> list[str]:
    from ketastats.study.load import packaged_studies

    name = study.id if study.id in packaged_studies() else f"{study.id}.toml"
    return [
        "```",
        f"ketastats simulate {name} --seed {seed + 1} --out another",
        "```",
        "",
        f"The same Study and seed give the same bytes; `--seed {seed}` gives these.",
    ]
