"""What commands print: lines for people, canonical JSON for machines."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketastats.core.files import canonical_json
from ketastats.study.describe import design_sentence, parameters

if TYPE_CHECKING:
    from ketastats.reporting.report import Report
    from ketastats.reporting.verify import Verification
    from ketastats.study.model import Study

SCHEMA_VERSION = 1


def study_list(studies: Sequence[Study], as_json: bool) -> str:
    """Return one line per study."""
    if as_json:
        return _json(studies=[_head(s) for s in studies])
    width = max(len(s.id) for s in studies)
    return "".join(f"{s.id:{width}}  {s.title}\n" for s in studies)


def study_page(study: Study, as_json: bool) -> str:
    """Return a study with the true values of its estimands and the source of every parameter."""
    truth = study.true_values().to_dict(orient="records")
    rows = parameters(study)
    if as_json:
        return _json(
            **_head(study),
            study_hash=study.hash,
            summary=study.summary,
            estimands=[{k: _finite(v) for k, v in row.items()} for row in truth],
            analyses=[
                {"name": a.name, "engine": a.engine, "outcome": a.outcome, "formula": a.formula}
                for a in study.analyses
            ],
            parameters=[
                {"outcome": o, "parameter": p, "value": v, "source": s.kind, "note": s.note}
                for o, p, v, s in rows
            ],
        )
    lines = [str(study), "", "True values (as measured)"]
    width = max((len(row["label"]) for row in truth), default=0)
    lines += [f"  {row['label']:{width}}  {_number(row['natural'])}" for row in truth]
    lines += ["", "Where the parameters come from"]
    for outcome, parameter, value, source in rows:
        of = f"{outcome}: " if outcome else ""
        note = f": {source.note}" if source.note else ""
        text = f"{of}{parameter} = {value} [{source.kind}{note}]"
        lines += textwrap.wrap(text, 98, initial_indent="  ", subsequent_indent="      ")
    return "\n".join(lines) + "\n"


def data_written(folder: Path, as_json: bool) -> str:
    """Return what was drawn into a Data Package."""
    record = json.loads((folder / "datapackage.json").read_text(encoding="utf-8"))
    files = [{k: r[k] for k in ("path", "hash", "bytes")} for r in record["resources"]]
    own = record["ketastats"]
    if as_json:
        keys = ("study", "study_hash", "seed", "draw", "synthetic")
        return _json(folder=str(folder), files=files, **{k: own[k] for k in keys})
    names = ", ".join(f["path"] for f in files)
    return f"wrote {folder}: synthetic data of {own['study']}, seed {own['seed']} ({names})\n"


def report_written(made: Report, as_json: bool) -> str:
    """Return where a report is, what it says and what failed in it."""
    folder, study = made.folder, made.results.study
    if as_json:
        files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        return _json(
            study=study.id,
            study_hash=study.hash,
            seed=made.results.seed,
            folder=str(folder),
            files=files,
            headline=made.headline,
            findings=list(made.findings),
        )
    answer = f"  SYNTHETIC data: {made.headline}\n" if made.headline else ""
    return f"wrote {folder / 'report.html'}\n{answer}"


def verified(found: Sequence[tuple[Path, Verification]], as_json: bool) -> str:
    """Return whether reports were rebuilt as they are, and where they differ."""
    if as_json:
        return _json(
            equal=all(v.equal for _, v in found),
            reports=[
                {
                    "folder": str(folder),
                    "equal": v.equal,
                    "compared": v.compared,
                    "scope": v.scope,
                    "differences": list(v.differences),
                }
                for folder, v in found
            ],
        )
    return "".join(f"{folder}: {v}\n" for folder, v in found)


def _head(study: Study) -> dict[str, Any]:
    return {
        "id": study.id,
        "title": study.title,
        "doi": study.doi,
        "citation": study.citation,
        "design": design_sentence(study.design),
        "outcomes": [
            {"name": o.name, "label": o.label, "unit": o.scale.unit} for o in study.outcomes
        ],
    }


def _json(**content: Any) -> str:
    return canonical_json({"schema": SCHEMA_VERSION, **content})


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "none"
