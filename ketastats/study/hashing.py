"""The Study's hash: design, truth, estimands, analyses and defaults, not prose."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from ketastats.core.files import canonical_json, sha256_of
from ketastats.study.model import Study

_PROSE = {"title", "summary", "doi", "citation", "claims", "questions", "references",
          "provenance", "factor_labels", "label", "role", "why"}  # fmt: skip


def as_data(value: Any) -> Any:
    """Return a frozen value as plain dicts, lists and scalars, prose left out.

    A field at its default is left out too: a field that came later with a default changes no hash.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: as_data(getattr(value, f.name))
            for f in fields(value)
            if f.name not in _PROSE and getattr(value, f.name) != f.default
        }
    if isinstance(value, tuple | list):
        return [as_data(v) for v in value]
    return value


def study_hash(study: Study) -> str:
    """Return the SHA-256 of the parts of a Study that decide results."""
    printed = [
        {"about": c.about, "statistic": as_data(c.statistic)} for c in study.claims if c.statistic
    ]
    declared = {"schema": 1, "study": as_data(study)} | ({"printed": printed} if printed else {})
    text = canonical_json(declared)
    return sha256_of(text.encode())
