"""Printed statistics and pitfalls of a Study file, checked against the rest of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ketastats.core.errors import FormulaError, StudyError
from ketastats.study.checks import all_factors, known
from ketastats.study.formula import names_in, split_formula
from ketastats.study.model import (
    Analysis,
    Association,
    Design,
    Estimand,
    Outcome,
    Pairs,
    Pitfall,
    Printed,
    PublishedClaim,
)

if TYPE_CHECKING:
    from ketastats.study.schema import (
        AssociationTable,
        ClaimTable,
        MeasureTable,
        PitfallTable,
    )

NEEDS = {
    "analysis": ("tempting",),
    "two tests": ("shown", "not_shown"),
    "own control": ("control", "by"),
    "two stages": (),
    "responders": ("component",),
}
"""What a rule must name; a key of another rule is refused."""


def build_claim(
    table: ClaimTable,
    design: Design,
    outcomes: Mapping[str, Outcome],
    estimands: Sequence[Estimand],
    where: str,
) -> PublishedClaim:
    """Build a published claim.

    Raises
    ------
    StudyError
        For an estimand, a factor or a level that does not exist, or a term the formula lacks.
    """
    known(table.about, [e.name for e in estimands], "estimand", f"{where}.about")
    if table.statistic is None:
        return PublishedClaim(table.text, table.about, table.source)
    s, place = table.statistic, f"{where}.statistic"
    outcome = next(e.outcome for e in estimands if e.name == table.about)
    factors = all_factors(design, outcomes[outcome])
    rows = []
    for factor, levels in s.where.items():
        known(factor, factors, "factor of this outcome", f"{place}.where")
        chosen = (levels,) if isinstance(levels, str) else tuple(levels)
        for level in chosen:
            known(level, factors[factor], f"level of {factor}", f"{place}.where.{factor}")
        rows.append((factor, chosen))
    try:
        split = split_formula(s.formula)
    except FormulaError as error:
        raise StudyError(error.message, where=f"{place}.formula", mend=error.mend) from error
    columns = ["subject", *factors, *(c.name for c in design.clusters)]
    named = names_in(split.fixed)
    for column in [*named, *(g for t in split.random for g in t.group)]:
        known(column, columns, "column of this design", f"{place}.formula")
    for part in s.term.split(":"):
        known(part, named, "factor of the formula", f"{place}.term")
    return PublishedClaim(
        table.text, table.about, table.source, Printed(s.F, s.term, s.formula, tuple(rows))
    )


def build_association(
    name: str,
    table: AssociationTable,
    design: Design,
    outcomes: Mapping[str, Outcome],
    where: str,
) -> Association:
    """Build an association.

    Raises
    ------
    StudyError
        For an outcome, a factor or a level that does not exist, or an occasion that is left open.
    """

    def measure(part: MeasureTable, key: str) -> tuple[str, Pairs]:
        place = f"{where}.{key}"
        known(part.outcome, outcomes, "outcome", f"{place}.outcome")
        occasions = {o.name: o.levels for o in outcomes[part.outcome].occasions}
        for factor, level in part.at.items():
            known(factor, occasions, "occasion of this outcome", f"{place}.at")
            known(level, occasions[factor], f"level of {factor}", f"{place}.at.{factor}")
        for factor in occasions:
            if factor not in part.at:
                raise StudyError(
                    f"{part.outcome} is measured at several levels of {factor!r}",
                    where=f"{place}.at",
                    mend=f'say which: at = {{ {factor} = "..." }}',
                )
        return part.outcome, tuple(part.at.items())

    x, y = measure(table.x, "x"), measure(table.y, "y")
    given = measure(table.given, "given") if table.given is not None else ()
    subjects = dict(design.factors) | {s.name: s.levels for s in design.strata}
    for factor, level in table.where.items():
        known(factor, subjects, "factor between subjects", f"{where}.where")
        known(level, subjects[factor], f"level of {factor}", f"{where}.where.{factor}")
    if bool(table.printed) != (table.printed_n is not None):
        raise StudyError(
            "printed correlations and their number of subjects go together",
            where=f"{where}.printed",
            mend="give printed and printed_n, or neither",
        )
    return Association(
        name=name,
        title=table.title,
        why=table.why,
        x=x,
        y=y,
        given=given,
        where=tuple(table.where.items()),
        printed=tuple(table.printed),
        printed_n=table.printed_n or 0,
    )


def build_pitfall(
    name: str,
    table: PitfallTable,
    design: Design,
    outcomes: Mapping[str, Outcome],
    estimands: Sequence[Estimand],
    analyses: Sequence[Analysis],
    where: str,
) -> Pitfall:
    """Build a pitfall.

    Raises
    ------
    StudyError
        For a name that does not exist, or keys that do not go with the rule.
    """
    known(table.estimand, [e.name for e in estimands], "estimand", f"{where}.estimand")
    outcome = next(e.outcome for e in estimands if e.name == table.estimand)
    own = [e.name for e in estimands if e.outcome == outcome]
    mine = [a.name for a in analyses if a.outcome == outcome]
    known(table.right, mine, f"analysis of {outcome}", f"{where}.right")
    for key in NEEDS[table.rule]:
        if not getattr(table, key):
            raise StudyError(
                f"the rule {table.rule!r} needs {key!r}", where=where, mend=f"add {key} = ..."
            )
    for rule, keys in NEEDS.items():
        for key in keys:
            if rule != table.rule and getattr(table, key):
                raise StudyError(
                    f"{key!r} belongs to the rule {rule!r}, not to {table.rule!r}",
                    where=f"{where}.{key}",
                    mend="leave it out",
                )
    if table.tempting:
        known(table.tempting, mine, f"analysis of {outcome}", f"{where}.tempting")
    for key in ("asks", "shown", "not_shown"):
        if getattr(table, key):
            known(getattr(table, key), own, f"estimand of {outcome}", f"{where}.{key}")
    if table.rule == "two stages" and (design.kind != "crossover" or design.n_periods != 2):
        raise StudyError(
            "two stages need a crossover of two periods", where=f"{where}.rule",
            mend="choose another rule",
        )  # fmt: skip
    factors = all_factors(design, outcomes[outcome])
    for factor, level in table.control.items():
        known(factor, factors, "factor of this outcome", f"{where}.control")
        known(level, factors[factor], f"level of {factor}", f"{where}.control.{factor}")
    for key in ("by", "without"):
        if getattr(table, key):
            known(getattr(table, key), factors, "factor of this outcome", f"{where}.{key}")
    alike = []
    for factor, pairs in table.alike.items():
        known(factor, factors, "factor of this outcome", f"{where}.alike")
        for level, like in pairs.items():
            for one in (level, like):
                known(one, factors[factor], f"level of {factor}", f"{where}.alike.{factor}")
            alike.append((factor, level, like))
    declared = [s.name for s in outcomes[outcome].spread]
    for component in [*table.spread, *([table.component] if table.component else [])]:
        known(component, declared, f"component of spread of {outcome}", where)
    return Pitfall(
        name=name,
        title=table.title,
        why=table.why,
        rule=table.rule,
        estimand=table.estimand,
        right=table.right,
        tempting=table.tempting,
        asks=table.asks,
        shown=table.shown,
        not_shown=table.not_shown,
        control=tuple(table.control.items()),
        by=table.by,
        without=table.without,
        alike=tuple(alike),
        component=table.component,
        spread=tuple(table.spread.items()),
    )
