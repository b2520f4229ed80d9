"""From a checked [design] table to a Design, with the checks of impossible designs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ketastats.core.errors import StudyError
from ketastats.study.designs import named_design
from ketastats.study.lookup import suggestion
from ketastats.study.model import Cluster, Design, Group, Occasions, Stratum

if TYPE_CHECKING:
    from ketastats.study.schema import DesignTable


def build_design(table: DesignTable, where: str) -> Design:
    """Build a Design; raises StudyError for one that cannot be run."""
    place = f"{where}: design"
    crossover = table.kind == "crossover"
    sequences = _sequences(table, place) if crossover else ()
    treatments = _treatments(table, sequences, place) if crossover else ()
    groups, factors = ((), ()) if crossover else _groups(table, place)
    foreign = (
        ("groups", "factors") if crossover else ("sequences", "treatments", "name", "washout_days")
    )
    for key in foreign:
        if getattr(table, key):
            raise StudyError(
                f"a {table.kind} design has no {key}", where=f"{place}.{key}", mend="leave it out"
            )
    design = Design(
        kind=table.kind,
        subject=table.subject,
        sequences=sequences,
        treatments=treatments,
        subjects_per_sequence=_sizes(table, sequences, place) if crossover else (),
        groups=groups,
        factors=factors,
        occasions=occasions_of(table.times, table.within, place),
        washout_days=table.washout_days,
        strata=tuple(
            _stratum(name, shares, f"{place}.strata.{name}")
            for name, shares in table.strata.items()
        ),
        clusters=(),
    )
    return _with_clusters(design, table, place)


def _sequences(table: DesignTable, where: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if bool(table.sequences) == bool(table.name):
        raise StudyError(
            "give the sequences, or the name of a design",
            where=where,
            mend='sequences = { AB = ["A", "B"], BA = ["B", "A"] } or name = "williams"',
        )
    if table.name:
        if not table.treatments:
            raise StudyError(
                "a named design needs its treatments", where=where, mend='treatments = ["A", "B"]'
            )
        return named_design(table.name, table.treatments, where=f"{where}.name")
    out = tuple((label, tuple(ts)) for label, ts in table.sequences.items())
    first_label, first = out[0]
    for label, ts in out:
        if len(ts) != len(first):
            raise StudyError(
                f"sequence {label} has {len(ts)} periods and {first_label} has {len(first)}",
                where=f"{where}.sequences",
                mend="give every sequence the same number of periods",
            )
    if len(first) < 2:
        raise StudyError(
            "a crossover needs two periods or more",
            where=f"{where}.sequences",
            mend='give each sequence two periods, or kind = "parallel"',
        )
    return out


def _treatments(
    table: DesignTable, sequences: tuple[tuple[str, tuple[str, ...]], ...], where: str
) -> tuple[str, ...]:
    used = tuple(dict.fromkeys(t for _, ts in sequences for t in ts))
    for t in table.treatments:
        if t not in used:
            raise StudyError(
                f"treatment {t!r} is in no sequence",
                where=f"{where}.treatments",
                mend=suggestion(t, used),
            )
    for t in used:
        if table.treatments and t not in table.treatments:
            raise StudyError(
                f"the sequences use {t!r}, which is not among the treatments",
                where=f"{where}.sequences",
                mend=suggestion(t, table.treatments),
            )
    if len(used) < 2:
        raise StudyError(
            "a crossover needs two treatments or more",
            where=f"{where}.sequences",
            mend="name another treatment in the sequences",
        )
    return tuple(table.treatments) or used


def _sizes(
    table: DesignTable, sequences: tuple[tuple[str, tuple[str, ...]], ...], where: str
) -> tuple[int, ...]:
    sizes, labels = table.subjects_per_sequence, [label for label, _ in sequences]
    if sizes is None:
        raise StudyError("subjects_per_sequence is missing", where=where, mend="set it, e.g. to 13")
    if isinstance(sizes, int):
        return tuple(sizes for _ in labels)
    if set(sizes) != set(labels):
        raise StudyError(
            "subjects_per_sequence must name every sequence once",
            where=f"{where}.subjects_per_sequence",
            mend="the sequences are " + ", ".join(labels),
        )
    return tuple(sizes[label] for label in labels)


def _groups(
    table: DesignTable, where: str
) -> tuple[tuple[Group, ...], tuple[tuple[str, tuple[str, ...]], ...]]:
    if not table.factors or not table.groups:
        raise StudyError(
            "a parallel design needs factors and groups",
            where=where,
            mend='factors = { drug = ["saline", "R"] } and a group with its levels and n each',
        )
    factors = tuple((name, tuple(levels)) for name, levels in table.factors.items())
    groups, seen = [], set()
    for name, group in table.groups.items():
        extra: dict[str, Any] = dict(group.model_extra or {})
        place = f"{where}.groups.{name}"
        for key in extra:
            if key not in table.factors:
                raise StudyError(
                    f"unknown key {key!r}", where=place, mend=suggestion(key, [*table.factors, "n"])
                )
        for factor, levels in factors:
            if factor not in extra:
                raise StudyError(
                    f"the level of {factor} is missing", where=place, mend=suggestion("", levels)
                )
            if extra[factor] not in levels:
                raise StudyError(
                    f"{factor} = {extra[factor]!r} is not one of its levels",
                    where=place,
                    mend=suggestion(str(extra[factor]), levels),
                )
        pairs = tuple((f, extra[f]) for f, _ in factors)
        if pairs in seen:
            raise StudyError(
                "two groups have the same levels", where=place, mend="join them, or change a level"
            )
        seen.add(pairs)
        groups.append(Group(name, pairs, group.n))
    for factor, levels in factors:
        unused = set(levels) - {dict(g.levels)[factor] for g in groups}
        if unused:
            raise StudyError(
                f"level {sorted(unused)[0]!r} of {factor} is in no group",
                where=f"{where}.factors",
                mend="add a group with it, or leave it out",
            )
    return tuple(groups), factors


def occasions_of(times: Any, within: Any, where: str) -> tuple[Occasions, ...]:
    """Read ``times`` and ``within``: a count, a list of levels, or levels with their days."""
    raw = dict(within or {})
    if times is not None:
        if "time" in raw:
            raise StudyError(
                "time is declared twice", where=where, mend="keep times or within.time"
            )
        raw = {"time": times, **raw}
    out = []
    for name, value in raw.items():
        place = (
            f"{where}.times" if name == "time" and times is not None else f"{where}.within.{name}"
        )
        if isinstance(value, int):
            if not 1 <= value <= 10_000:
                raise StudyError(
                    f"{value} is no number of levels", where=place, mend="give 1 to 10000"
                )
            levels, days = tuple(str(i + 1) for i in range(value)), (0.0,) * value
        elif isinstance(value, dict):
            levels, days = tuple(value), tuple(float(d) for d in value.values())
        else:
            levels, days = tuple(value), (0.0,) * len(value)
        if not levels or len(set(levels)) != len(levels):
            raise StudyError(
                f"the levels of {name} are empty or not distinct",
                where=place,
                mend="name every level once",
            )
        out.append(Occasions(name, levels, days))
    return tuple(out)


def _stratum(name: str, shares: dict[str, float], where: str) -> Stratum:
    total = sum(shares.values())
    if abs(total - 1) > 1e-9:
        raise StudyError(
            f"the shares add up to {total:g}", where=where, mend="make them add up to 1"
        )
    if len(shares) < 2:
        raise StudyError(
            "a stratum needs two levels or more", where=where, mend="add a level or leave it out"
        )
    return Stratum(name, tuple(shares), tuple(shares.values()))


def _with_clusters(design: Design, table: DesignTable, where: str) -> Design:
    from dataclasses import replace

    between = {s.name: s.levels for s in design.strata} | dict(design.factors)
    if design.sequences:
        between["sequence"] = tuple(label for label, _ in design.sequences)
    clusters = []
    for name, c in table.clusters.items():
        place = f"{where}.clusters.{name}"
        for factor, level in c.where.items():
            if factor not in between or level not in between[factor]:
                known = factor in between
                raise StudyError(
                    f"{factor} = {level!r} is not a between-{design.subject} level",
                    where=f"{place}.where",
                    mend=suggestion(level, between[factor])
                    if known
                    else suggestion(factor, between),
                )
        for factor in c.within:
            if factor not in between:
                raise StudyError(
                    f"{factor!r} is not a between-{design.subject} factor",
                    where=f"{place}.within",
                    mend=suggestion(factor, between),
                )
        clusters.append(Cluster(name, c.size, tuple(c.where.items()), tuple(c.within)))
    taken = ["subject", *(o.name for o in design.occasions), *between, *(c.name for c in clusters)]
    taken += ["period", "treatment"] if design.sequences else []
    taken += [s.name for s in design.strata if s.name in {"sequence", *dict(design.factors)}]
    twice = [n for n in taken if taken.count(n) > 1]
    if twice:
        raise StudyError(f"{twice[0]!r} is declared twice", where=where, mend="rename one")
    return replace(design, clusters=tuple(clusters))
