"""Printed statistics and pitfalls of a Study file, checked against the rest of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ketastats.core.errors import FormulaError, StudyError
from ketastats.study.checks import all_factors, known
from ketastats.study.formula import names_in, split_formula
from ketastats.study.model import (
    Analysis,
    Design,
    Estimand,
    Outcome,
    Pitfall,
    Printed,
    PublishedClaim,
)

if TYPE_CHECKING:
    from ketastats.study.schema import ClaimTable, PitfallTable

NEEDS = {
    "analysis": ("tempting",),
    "two tests": ("shown", "not_shown"),
    "own control": ("control", "by"),
    "two stages": (),
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
    for component in table.spread:
        known(component, declared, f"component of spread of {outcome}", f"{where}.spread")
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
        spread=tuple(table.spread.items()),
    )
