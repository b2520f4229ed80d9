"""From a checked spread table to variance components, with serial and linked ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ketastats.core.errors import StudyError
from ketastats.study.checks import Factors, all_factors, known, read_when
from ketastats.study.lookup import suggestion
from ketastats.study.model import Design, LinkedSpread, Outcome, SerialSpread, Spread

if TYPE_CHECKING:
    from ketastats.study.schema import LinkedTable, SpreadTable


def build_spread(
    key: str, value: float | SpreadTable, factors: Factors, design: Design, where: str
) -> Spread:
    """Build one variance component.

    Parameters
    ----------
    key : str
        ``subject``, ``subject:period``, ``residual``.
    value : float or SpreadTable
    factors : mapping of str to tuple of str
        Factors of the outcome with their levels.
    design : Design
    where : str
        Key path, for messages.
    """
    names = () if key == "residual" else tuple(key.split(":"))
    columns = ["subject", *factors, *(c.name for c in design.clusters), "residual"]
    for n in names:
        known(n, columns, "factor of this design", where)
    if isinstance(value, int | float):
        return Spread(key, names, float(value), None, (), ())
    extra = dict(value.model_extra or {})
    sd = 0.0
    by_sd: tuple[tuple[str, float], ...] = ()
    if value.by is not None:
        by_sd = _sd_by_level(value.by, extra, factors, where)
    elif extra or value.sd is None:
        raise StudyError(
            f"cannot read this spread (keys {', '.join(map(repr, extra)) or 'none'})",
            where=where,
            mend='write a number, { sd = 7, when = { time = "day1" } } or '
            '{ by = "sex", F = 4, M = 5 }',
        )
    else:
        sd = value.sd
    when = read_when(value.when, factors, f"{where}.when")
    return _serial(Spread(key, names, sd, value.by, by_sd, when), value, where)


def _sd_by_level(
    by: str, given: Mapping[str, object], factors: Factors, where: str
) -> tuple[tuple[str, float], ...]:
    known(by, factors, "factor of this design", f"{where}.by")
    out = []
    for level in factors[by]:
        sd = given.get(level)
        if not isinstance(sd, int | float) or not 0 <= sd < math.inf:
            raise StudyError(
                f"by = {by!r} needs a non-negative SD for level {level!r}",
                where=where,
                mend=f"set {level} = to 0 or more",
            )
        out.append((level, float(sd)))
    for level in given:
        known(level, factors[by], f"level of {by}", where)
    return tuple(out)


def _serial(plain: Spread, value: SpreadTable, where: str) -> Spread:
    """Return the component with its serial correlation, if it has one."""
    if value.ar1 is None:
        if value.over is not None or value.spaced:
            raise StudyError(
                "the size of the serial correlation is missing", where=where, mend="add ar1 = 0.6"
            )
        return plain
    if plain.factors:
        raise StudyError(
            f"a serial correlation is that of the residual, not of {plain.name}",
            where=f"{where}.ar1",
            mend='write residual = { sd = 8, ar1 = 0.6, over = "time" }',
        )
    return SerialSpread(
        plain.name, plain.factors, plain.sd, plain.by, plain.by_sd, plain.when,
        value.ar1, value.over or "", value.spaced,
    )  # fmt: skip


def check_serial(outcome: Outcome, where: str) -> None:
    """Raise StudyError for a serial correlation over what is not measured in order."""
    serial = next((s for s in outcome.spread if isinstance(s, SerialSpread)), None)
    if serial is None:
        return
    repeated = {o.name: o for o in outcome.occasions if len(o.levels) > 1}
    if not repeated:
        raise StudyError(
            "a serial correlation needs repeated measurements", where=where, mend="set times"
        )
    known(serial.over, repeated, "factor measured repeatedly", f"{where}.over")
    days = repeated[serial.over].days
    if serial.spaced and any(b <= a for a, b in itertools.pairwise(days)):
        raise StudyError(
            f"the days of {serial.over} do not rise",
            where=f"{where}.spaced",
            mend="give each level its day, in order, or leave spaced out",
        )
    if serial.spaced and serial.ar1 < 0:
        raise StudyError(
            f"ar1 = {serial.ar1:g} has no power for uneven steps",
            where=f"{where}.ar1",
            mend="give 0 or more, or leave spaced out",
        )


def link_outcome(
    outcome: Outcome, table: LinkedTable, design: Design, above: Mapping[str, Outcome], where: str
) -> Outcome:
    """Return the outcome with its deviations correlated with those of another outcome.

    Parameters
    ----------
    outcome : Outcome
    table : LinkedTable
    design : Design
    above : mapping of str to Outcome
        Outcomes declared before this one.
    where : str
        Key path, for messages.
    """
    if table.with_ not in above:
        raise StudyError(
            f"no outcome {table.with_!r} is declared above this one",
            where=f"{where}.with",
            mend=suggestion(table.with_, above) or "declare that one first",
        )
    other, correlations = above[table.with_], dict(table.model_extra or {})
    if not correlations:
        raise StudyError(
            "no correlation is given", where=where, mend='write { with = "...", subject = 0.5 }'
        )
    own = {s.name: s for s in outcome.spread if "subject" in s.factors}
    mine, its = all_factors(design, outcome), all_factors(design, other)
    for name, r in correlations.items():
        known(name, own, "component of its spread that subjects own", where)
        known(name, [s.name for s in other.spread], f"component of the spread of {other.name}",
              where)  # fmt: skip
        if isinstance(r, bool) or not isinstance(r, int | float) or not -1 <= r <= 1:
            raise StudyError(
                f"{r!r} is not a correlation", where=f"{where}.{name}", mend="give one from -1 to 1"
            )
        for factor in own[name].factors:
            if mine.get(factor) != its.get(factor):
                raise StudyError(
                    f"{factor} has other levels in {other.name}",
                    where=f"{where}.{name}",
                    mend="link a component whose factors both share, such as subject",
                )
    return replace(
        outcome,
        spread=tuple(
            _link(s, other.name, correlations[s.name]) if s.name in correlations else s
            for s in outcome.spread
        ),
    )


def _link(s: Spread, other: str, correlation: float) -> LinkedSpread:
    return LinkedSpread(s.name, s.factors, s.sd, s.by, s.by_sd, s.when, other, float(correlation))
