"""From a checked [outcomes.NAME] table to an Outcome, with the checks that need the design."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ketastats.core.errors import StudyError
from ketastats.study.checks import (
    Factors,
    all_factors,
    known,
    provenance_of,
    read_provenance,
    read_when,
)
from ketastats.study.design_build import occasions_of
from ketastats.study.model import (
    CarryOver,
    Design,
    Dropout,
    Effect,
    Entry,
    Missing,
    Occasions,
    Outcome,
    Scale,
)
from ketastats.study.scale_build import build_scale, check_cells
from ketastats.study.scales import is_linear, needs_residual
from ketastats.study.spread_build import build_spread, check_serial, link_outcome

if TYPE_CHECKING:
    from ketastats.study.schema import OutcomeTable


_NO_SCALE = Scale("real", None, None, 0, "")


def build_outcome(
    name: str, table: OutcomeTable, design: Design, above: Mapping[str, Outcome], where: str
) -> Outcome:
    """Build an Outcome.

    Parameters
    ----------
    name : str
    table : OutcomeTable
    design : Design
    above : mapping of str to Outcome
        The outcomes declared before it, with which it may be linked.
    where : str
        Key path, for messages.
    """
    occasions = occasions_of(table.times, table.within, where)
    if table.times is None and table.within is None:
        occasions = design.occasions
    else:
        _fresh_occasions(occasions, design, where)
    bare = Outcome(
        name, table.label or name, _NO_SCALE, occasions, table.baseline, (), (), None, None, None,
        None, table.higher_is, table.typical_sd, (),
    )  # fmt: skip
    factors = all_factors(design, bare)
    _fresh_name(name, factors, design, where)
    for i, e in enumerate(table.effects):
        if e.provenance:
            read_provenance("", e.provenance, f"{where}.effects.{i}.provenance")
    spread = tuple(
        build_spread(k, v, factors, design, f"{where}.spread.{k}") for k, v in table.spread.items()
    )
    outcome = replace(
        bare,
        scale=build_scale(table.scale, factors, f"{where}.scale"),
        effects=tuple(
            Effect(
                read_when(e.when, factors, f"{where}.effects.{i}.when"),
                e.add,
                e.centred,
                e.provenance,
            )
            for i, e in enumerate(table.effects)
        ),
        spread=spread,
        carry_over=_carry_over(table, design, occasions, f"{where}.carry_over"),
        missing=Missing(table.missing.at_random) if table.missing else None,
        dropout=_dropout(table, design, f"{where}.dropout"),
        entry=_entry(table, where),
        provenance=provenance_of(
            table.provenance, _outcome_parameters(table, occasions), f"{where}.provenance"
        ),
    )
    _check_outcome(outcome, design, where)
    check_cells(outcome, design, where)
    if table.linked is None:
        return outcome
    return link_outcome(outcome, table.linked, design, above, f"{where}.linked")


def _fresh_occasions(occasions: Iterable[Occasions], design: Design, where: str) -> None:
    strata, clusters = (s.name for s in design.strata), (c.name for c in design.clusters)
    taken = {"subject", *dict(design.factors), *strata, *clusters}
    taken |= {"sequence", "period", "treatment"} if design.kind == "crossover" else set()
    for o in occasions:
        if o.name in taken:
            raise StudyError(
                f"{o.name!r} is declared twice", where=f"{where}.within.{o.name}", mend="rename one"
            )


def _fresh_name(name: str, factors: Factors, design: Design, where: str) -> None:
    taken = {"subject", *factors, *(c.name for c in design.clusters)}
    if name in taken:
        raise StudyError(
            f"the outcome {name!r} has the name of a factor", where=where, mend="rename the outcome"
        )


def _outcome_parameters(table: OutcomeTable, occasions: Iterable[Any]) -> list[str]:
    """Return the keys that a provenance of an outcome may have."""
    optional = ("carry_over", "missing", "dropout", "entry", "typical_sd", "linked")
    amounts = ("trials", "exposure", "overdispersion", "precision")
    return [
        "scale",
        *(f"scale.{name}" for name in amounts if getattr(table.scale, name) is not None),
        "baseline",
        *(f"effects.{i}" for i in range(len(table.effects))),
        *(f"spread.{name}" for name in table.spread),
        *(name for name in optional if getattr(table, name) is not None),
        *(o.name for o in occasions),
    ]


def _carry_over(
    table: OutcomeTable, design: Design, occasions: tuple[Any, ...], where: str
) -> CarryOver | None:
    raw = table.carry_over
    if raw is None:
        return None
    if design.kind != "crossover":
        raise StudyError("carry-over needs a crossover design", where=where, mend="leave it out")
    if raw.half_life_days is not None and design.washout_days is None:
        raise StudyError(
            "a half-life needs the washout", where=where, mend="set design.washout_days"
        )
    if raw.of == "treatment":
        if not raw.amounts:
            raise StudyError(
                "carry-over of treatment needs amounts", where=where, mend="amounts = { A = 1.0 }"
            )
        for t in raw.amounts:
            known(t, design.treatments, "treatment", f"{where}.amounts")
        return CarryOver(raw.of, tuple(raw.amounts.items()), raw.half_life_days, None)
    if not occasions:
        raise StudyError(
            "a previous response needs times within each period", where=where, mend="set times"
        )
    ends = tuple(raw.response or (occasions[0].levels[0], occasions[0].levels[-1]))
    if not any(all(e in o.levels for e in ends) for o in occasions):
        raise StudyError(
            f"response = {list(ends)} are not two levels of one time",
            where=where,
            mend="name two levels of times, the earlier first",
        )
    return CarryOver(raw.of, (), raw.half_life_days, (ends[0], ends[1]))


def _dropout(table: OutcomeTable, design: Design, where: str) -> Dropout | None:
    raw = table.dropout
    if raw is None:
        return None
    if raw.before_period > design.n_periods:
        raise StudyError(
            f"there is no period {raw.before_period}",
            where=where,
            mend=f"the design has {design.n_periods}",
        )
    return Dropout(raw.before_period, raw.probability, raw.log_odds_per_unit, raw.centre)


def _entry(table: OutcomeTable, where: str) -> Entry | None:
    raw = table.entry
    if raw is None:
        return None
    if (raw.at_least is None) == (raw.at_most is None):
        raise StudyError(
            "the threshold is not at_least or at_most",
            where=f"{where}.entry",
            mend="give one of the two",
        )
    return Entry(raw.at_least, raw.at_most)


def _check_residual(outcome: Outcome, where: str) -> None:
    has = any(not s.factors for s in outcome.spread)
    if needs_residual(outcome.scale) and not has:
        size = "4.0" if is_linear(outcome.scale) else "0.1"
        raise StudyError(
            "the residual SD is missing", where=f"{where}.spread", mend=f"add residual = {size}"
        )
    if has and not needs_residual(outcome.scale):
        kind = outcome.scale.kind
        more = "precision" if kind == "proportion" else "overdispersion"
        raise StudyError(
            f"a {kind} outcome has no residual SD: its mean decides how much a row varies",
            where=f"{where}.spread.residual",
            mend=f"leave it out; scale.{more} says how much more it varies",
        )


def _check_outcome(outcome: Outcome, design: Design, where: str) -> None:
    _check_residual(outcome, where)
    check_serial(outcome, f"{where}.spread.residual")
    for key, words in (("carry_over", "a carry-over"), ("entry", "an entry threshold")):
        if getattr(outcome, key) is not None and not is_linear(outcome.scale):
            raise StudyError(
                f"{words} is not defined for a {outcome.scale.kind} outcome",
                where=f"{where}.{key}",
                mend="leave it out, or declare it for an outcome of kind integer or real",
            )
    strata = {s.name for s in design.strata}
    for i, effect in enumerate(outcome.effects):
        if effect.centred and not strata & {f for f, _ in effect.when}:
            raise StudyError(
                "centred needs a stratum such as sex among the conditions",
                where=f"{where}.effects.{i}",
                mend="add one to when, or leave centred out",
            )
    if not is_linear(outcome.scale):
        return  # its means are checked cell by cell
    s = outcome.scale
    low = s.min is not None and outcome.baseline < s.min
    if low or (s.max is not None and outcome.baseline > s.max):
        low_end, high_end = ("no bound" if b is None else f"{b:g}" for b in (s.min, s.max))
        raise StudyError(
            f"the baseline {outcome.baseline:g} lies outside the scale",
            where=f"{where}.baseline",
            mend=f"give one from {low_end} to {high_end}",
        )
