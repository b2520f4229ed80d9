"""From a checked Study file to frozen values, with the checks that need the whole file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ketastats.core.errors import FormulaError, StudyError
from ketastats.study.checks import all_factors, known, provenance_of, read_provenance
from ketastats.study.contrasts import parse_contrast
from ketastats.study.design_build import build_design
from ketastats.study.formula import names_in, split_formula
from ketastats.study.model import (
    Analysis,
    Design,
    Estimand,
    Outcome,
    Reference,
    Study,
)
from ketastats.study.outcome_build import build_outcome
from ketastats.study.panel_build import build_association, build_claim, build_pitfall
from ketastats.study.priors import check_priors

if TYPE_CHECKING:
    from ketastats.study.schema import AnalysisTable, EstimandTable, StudyFile

__all__ = ["all_factors", "build_study", "read_provenance"]


def build_study(file: StudyFile, where: str) -> Study:
    """Build a Study from a validated file.

    Parameters
    ----------
    file : StudyFile
    where : str
        Name of the source, for messages.

    Raises
    ------
    StudyError
        For anything that does not fit together.
    """
    design = build_design(file.design, where)
    by_name: dict[str, Outcome] = {}
    for name, outcome in file.outcomes.items():
        place = f"{where}: outcomes.{name}"
        by_name[name] = build_outcome(name, outcome, design, by_name, place)
    estimands = tuple(
        _estimand(name, table, design, by_name, f"{where}: estimands.{name}")
        for name, table in file.estimands.items()
    )
    analyses = tuple(
        _analysis(name, table, design, by_name, estimands, f"{where}: analyses.{name}")
        for name, table in file.analyses.items()
    )
    claims = tuple(
        build_claim(c, design, by_name, estimands, f"{where}: claims.{i}")
        for i, c in enumerate(file.claims)
    )
    pitfalls = tuple(
        build_pitfall(name, p, design, by_name, estimands, analyses, f"{where}: pitfalls.{name}")
        for name, p in file.pitfalls.items()
    )
    associations = tuple(
        build_association(name, a, design, by_name, f"{where}: associations.{name}")
        for name, a in file.associations.items()
    )
    s = file.study
    return Study(
        id=s.id,
        title=s.title,
        summary=s.summary,
        doi=s.doi,
        citation=s.citation,
        design=design,
        outcomes=tuple(by_name.values()),
        estimands=estimands,
        analyses=analyses,
        claims=claims,
        questions=tuple(s.questions),
        references=tuple(Reference(k, r.text, r.doi) for k, r in s.references.items()),
        provenance=provenance_of(
            s.provenance, _design_parameters(design), f"{where}: study.provenance"
        ),
        factor_labels=tuple(s.labels.items()),
        pitfalls=pitfalls,
        associations=associations,
    )


def _design_parameters(design: Design) -> list[str]:
    """Return the keys that a provenance of the design may have."""
    named: list[Any] = [*design.occasions, *design.strata, *design.clusters]
    return ["subjects", *(["washout"] if design.washout_days is not None else [])] + [
        x.name for x in named
    ]


def _estimand(
    name: str, table: EstimandTable, design: Design, outcomes: Mapping[str, Outcome], where: str
) -> Estimand:
    known(table.outcome, outcomes, "outcome", f"{where}.outcome")
    factors = all_factors(design, outcomes[table.outcome])
    contrast = []
    for factor, text in table.contrast.items():
        known(factor, factors, "factor of this outcome", f"{where}.contrast")
        parsed = parse_contrast(text, factors[factor], where=f"{where}.contrast.{factor}")
        contrast.append((factor, parsed))
    for factor, level in table.within.items():
        known(factor, factors, "factor of this outcome", f"{where}.within")
        known(level, factors[factor], f"level of {factor}", f"{where}.within.{factor}")
        if factor in table.contrast:
            raise StudyError(
                f"{factor!r} is in the contrast too",
                where=f"{where}.within.{factor}",
                mend="leave it out of one",
            )
    for factor, shares in table.weights.items():
        known(factor, factors, "factor of this outcome", f"{where}.weights")
        for level in shares:
            known(level, factors[factor], f"level of {factor}", f"{where}.weights.{factor}")
        if factor in table.contrast or factor in table.within:
            raise StudyError(
                f"{factor!r} is not averaged: it is in contrast or within",
                where=f"{where}.weights.{factor}",
                mend="leave its weights out",
            )
        if abs(sum(shares.values()) - 1) > 1e-9:
            raise StudyError(
                "the weights do not add up to 1",
                where=f"{where}.weights.{factor}",
                mend="make them add up to 1",
            )
    if table.target == "carry_over" and design.kind != "crossover":
        raise StudyError(
            "carry-over needs a crossover design",
            where=f"{where}.target",
            mend='leave target out, or target = "direct"',
        )
    bounds = tuple(table.equivalence or ())
    if bounds and not bounds[0] < bounds[1]:
        raise StudyError(
            f"the bounds {bounds[0]:g} and {bounds[1]:g} are not in order",
            where=f"{where}.equivalence",
            mend="write the low one first",
        )
    return Estimand(
        name=name,
        outcome=table.outcome,
        contrast=tuple(contrast),
        within=tuple(table.within.items()),
        weights=tuple((f, tuple(w.items())) for f, w in table.weights.items()),
        target=table.target,
        label=table.label or name.replace("_", " "),
        scale=table.scale,
        equivalence=bounds,
    )


def _analysis(
    name: str,
    table: AnalysisTable,
    design: Design,
    outcomes: Mapping[str, Outcome],
    estimands: tuple[Estimand, ...],
    where: str,
) -> Analysis:
    outcome = table.outcome or next(iter(outcomes))
    known(outcome, outcomes, "outcome", f"{where}.outcome")
    if table.outcome is None and len(outcomes) > 1:
        raise StudyError(
            "several outcomes are declared", where=where, mend='say which: outcome = "..."'
        )
    try:
        split = split_formula(table.formula)
    except FormulaError as error:
        raise StudyError(error.message, where=f"{where}.formula", mend=error.mend) from error
    if split.outcome is not None:
        raise StudyError(
            "the formula has a left side; the outcome is named once",
            where=f"{where}.formula",
            mend="write the right side only",
        )
    columns = ["subject", *all_factors(design, outcomes[outcome])]
    columns += [c.name for c in design.clusters]
    for column in [*names_in(split.fixed), *(g for t in split.random for g in t.group)]:
        known(column, columns, "column of this design", f"{where}.formula")
    answered = {e.name for e in estimands if e.outcome == outcome}
    for e in table.estimands:
        known(e, answered, f"estimand of {outcome}", f"{where}.estimands")
    exact = table.engine == "posterior"  # which gives terms and estimands priors of their own
    factors, named = (names_in(split.fixed), answered) if exact else ((), set[str]())
    check_priors(table.priors, factors, named, f"{where}.priors")
    _check_family(table, outcomes[outcome], where)
    return Analysis(
        name=name,
        engine=table.engine,
        formula=table.formula,
        outcome=outcome,
        estimands=tuple(table.estimands),
        ddf=table.ddf,
        level=table.level,
        priors=tuple(sorted(table.priors.items())),
        draws=table.draws,
        tune=table.tune,
        chains=table.chains,
        completers=table.completers,
        label=table.label or name,
        role=table.role,
        family=table.family,
        residual=table.residual,
        response=table.response,
        thin=table.thin,
    )


FAMILIES = {
    "binomial": "binomial",
    "beta-binomial": "binomial",
    "poisson": "count",
    "negative-binomial": "count",
    "beta": "proportion",
    "ordered": "integer",
}
"""Families of rows that belong to one kind of scale."""


def _check_family(table: AnalysisTable, outcome: Outcome, where: str) -> None:
    """Refuse a family for another kind of outcome, and a logarithm where zeros are recorded."""
    kind = FAMILIES.get(table.family, outcome.scale.kind)
    if kind != outcome.scale.kind:
        raise StudyError(
            f"the family {table.family!r} is for a {kind} scale, and {outcome.name!r} is "
            f"{outcome.scale.kind}",
            where=f"{where}.family",
            mend="choose another family or declare another scale",
        )
    if table.response == "log" and (table.family != "gaussian" or outcome.scale.kind != "ratio"):
        raise StudyError(
            "a logarithm is taken of a ratio, for a Gaussian model",
            where=f"{where}.response",
            mend="leave response out",
        )
