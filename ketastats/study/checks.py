"""What the parts of a Study file check alike: names, conditions, provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ketastats.core.errors import StudyError
from ketastats.study.lookup import suggestion
from ketastats.study.model import Design, Outcome, Provenance, When

Factors = Mapping[str, tuple[str, ...]]


def all_factors(design: Design, outcome: Outcome) -> dict[str, tuple[str, ...]]:
    """Return every factor of an outcome's plan with its levels; clusters without levels."""
    out: dict[str, tuple[str, ...]] = {}
    if design.kind == "crossover":
        out["sequence"] = tuple(label for label, _ in design.sequences)
        out["period"] = tuple(str(p + 1) for p in range(design.n_periods))
        out["treatment"] = design.treatments
    out.update(dict(design.factors))
    out.update({o.name: o.levels for o in outcome.occasions})
    out.update({s.name: s.levels for s in design.strata})
    return out


def known(name: str, names: Iterable[str], what: str, where: str) -> None:
    """Raise StudyError for a name that is not among the names, with a suggestion."""
    names = list(names)
    if name not in names:
        raise StudyError(
            f"{name!r} is not a {what}" if what[0] not in "aeo" else f"{name!r} is not an {what}",
            where=where,
            mend=suggestion(name, names) or f"declare the {what} first",
        )


def read_when(raw: Mapping[str, Any], factors: Factors, where: str) -> When:
    """Read conditions, ``{ time = "day1" }``."""
    out = []
    for name, value in raw.items():
        known(name, factors, "factor of this design", where)
        levels = (value,) if isinstance(value, str) else tuple(value)
        for level in levels:
            known(level, factors[name], f"level of {name}", f"{where}.{name}")
        out.append((name, levels))
    return tuple(out)


def provenance_of(
    raw: Mapping[str, str], names: Iterable[str], where: str
) -> tuple[Provenance, ...]:
    """Read the provenance of declared parameters."""
    names = list(names)
    for key in raw:
        known(key, names, "parameter declared here", f"{where}.{key}")
    return tuple(read_provenance(key, text, f"{where}.{key}") for key, text in raw.items())


def read_provenance(key: str, text: str, where: str) -> Provenance:
    """Read ``"typical: MADRS 25-34 in comparable trials"``."""
    from ketastats.study.schema import PROVENANCE_KINDS

    kind, _, note = text.partition(":")
    if kind.strip() not in PROVENANCE_KINDS:
        raise StudyError(
            f"the provenance {text!r} does not start with where the value comes from",
            where=where,
            mend='begin with one of "paper:", "secondary:", "derived:", "typical:", "assumed:"',
        )
    return Provenance(key, PROVENANCE_KINDS[kind.strip()], note.strip())
