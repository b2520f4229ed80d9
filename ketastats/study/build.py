"""From a checked Study file to frozen values, with the checks that need the whole file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ketastats.core.errors import FormulaError, StudyError
from ketastats.study.contrasts import parse_contrast
from ketastats.study.design_build import build_design, occasions_of
from ketastats.study.formula import names_in, split_formula
from ketastats.study.lookup import suggestion
from ketastats.study.model import (
    Analysis,
    CarryOver,
    Design,
    Dropout,
    Effect,
    Entry,
    Estimand,
    Missing,
    Occasions,
    Outcome,
    Provenance,
    PublishedClaim,
    Reference,
    Scale,
    Spread,
    Study,
)
from ketastats.study.priors import check_priors

if TYPE_CHECKING:
    from ketastats.study.schema import AnalysisTable, EstimandTable, OutcomeTable, StudyFile

Factors = Mapping[str, tuple[str, ...]]


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
    outcomes = tuple(
        _outcome(name, table, design, f"{where}: outcomes.{name}")
        for name, table in file.outcomes.items()
    )
    by_name = {o.name: o for o in outcomes}
    estimands = tuple(
        _estimand(name, table, design, by_name, f"{where}: estimands.{name}")
        for name, table in file.estimands.items()
    )
    analyses = tuple(
        _analysis(name, table, design, by_name, estimands, f"{where}: analyses.{name}")
        for name, table in file.analyses.items()
    )
    for i, claim in enumerate(file.claims):
        _known(claim.about, [e.name for e in estimands], "estimand", f"{where}: claims.{i}.about")
    s = file.study
    return Study(
        id=s.id,
        title=s.title,
        summary=s.summary,
        doi=s.doi,
        citation=s.citation,
        design=design,
        outcomes=outcomes,
        estimands=estimands,
        analyses=analyses,
        claims=tuple(PublishedClaim(c.text, c.about, c.source) for c in file.claims),
        questions=tuple(s.questions),
        references=tuple(Reference(k, r.text, r.doi) for k, r in s.references.items()),
        provenance=_provenance(
            s.provenance, _design_parameters(design), f"{where}: study.provenance"
        ),
        factor_labels=tuple(s.labels.items()),
    )


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


def _known(name: str, known: Iterable[str], what: str, where: str) -> None:
    known = list(known)
    if name not in known:
        raise StudyError(
            f"{name!r} is not a {what}" if what[0] not in "aeo" else f"{name!r} is not an {what}",
            where=where,
            mend=suggestion(name, known) or f"declare the {what} first",
        )


def _when(
    raw: Mapping[str, Any], factors: Factors, where: str
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    out = []
    for name, value in raw.items():
        _known(name, factors, "factor of this design", where)
        levels = (value,) if isinstance(value, str) else tuple(value)
        for level in levels:
            _known(level, factors[name], f"level of {name}", f"{where}.{name}")
        out.append((name, levels))
    return tuple(out)


def _provenance(raw: Mapping[str, str], known: Iterable[str], where: str) -> tuple[Provenance, ...]:
    known = list(known)
    for key in raw:
        _known(key, known, "parameter declared here", f"{where}.{key}")
    return tuple(read_provenance(key, text, f"{where}.{key}") for key, text in raw.items())


def _design_parameters(design: Design) -> list[str]:
    """Return the keys that a provenance of the design may have."""
    named: list[Any] = [*design.occasions, *design.strata, *design.clusters]
    return ["subjects", *(["washout"] if design.washout_days is not None else [])] + [
        x.name for x in named
    ]


def _outcome_parameters(table: OutcomeTable, occasions: Iterable[Any]) -> list[str]:
    """Return the keys that a provenance of an outcome may have."""
    optional = ("carry_over", "missing", "dropout", "entry", "typical_sd")
    return [
        "scale",
        "baseline",
        *(f"effects.{i}" for i in range(len(table.effects))),
        *(f"spread.{name}" for name in table.spread),
        *(name for name in optional if getattr(table, name) is not None),
        *(o.name for o in occasions),
    ]


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


def _outcome(name: str, table: OutcomeTable, design: Design, where: str) -> Outcome:
    occasions = occasions_of(table.times, table.within, where)
    if table.times is None and table.within is None:
        occasions = design.occasions
    else:
        _fresh_occasions(occasions, design, where)
    scale = _scale(table, where)
    bare = Outcome(
        name, table.label or name, scale, occasions, table.baseline, (), (), None, None, None,
        None, table.higher_is, table.typical_sd, (),
    )  # fmt: skip
    factors = all_factors(design, bare)
    _fresh_name(name, factors, design, where)
    from dataclasses import replace

    for i, e in enumerate(table.effects):
        if e.provenance:
            read_provenance("", e.provenance, f"{where}.effects.{i}.provenance")
    outcome = replace(
        bare,
        effects=tuple(
            Effect(
                _when(e.when, factors, f"{where}.effects.{i}.when"), e.add, e.centred, e.provenance
            )
            for i, e in enumerate(table.effects)
        ),
        spread=tuple(
            _spread(k, v, factors, design, f"{where}.spread") for k, v in table.spread.items()
        ),
        carry_over=_carry_over(table, design, occasions, f"{where}.carry_over"),
        missing=Missing(table.missing.at_random) if table.missing else None,
        dropout=_dropout(table, design, f"{where}.dropout"),
        entry=_entry(table, where),
        provenance=_provenance(
            table.provenance, _outcome_parameters(table, occasions), f"{where}.provenance"
        ),
    )
    _check_outcome(outcome, design, where)
    return outcome


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


def _scale(table: OutcomeTable, where: str) -> Scale:
    s = table.scale
    if s.min is not None and s.max is not None and s.min >= s.max:
        raise StudyError(
            f"min {s.min:g} is not below max {s.max:g}",
            where=f"{where}.scale",
            mend="give a min below the max",
        )
    if s.kind == "integer" and any(b is not None and b != int(b) for b in (s.min, s.max)):
        raise StudyError(
            "an integer scale needs whole bounds",
            where=f"{where}.scale",
            mend='round them, or kind = "real"',
        )
    for bound in (s.min, s.max):
        if s.kind == "real" and bound is not None and round(bound, s.decimals) != bound:
            raise StudyError(
                f"the bound {bound:g} has more decimals than the {s.decimals} recorded",
                where=f"{where}.scale",
                mend="round it, or set more decimals",
            )
    return Scale(s.kind, s.min, s.max, 0 if s.kind == "integer" else s.decimals, s.unit)


def _spread(key: str, value: Any, factors: Factors, design: Design, where: str) -> Spread:
    place = f"{where}.{key}"
    names = () if key == "residual" else tuple(key.split(":"))
    known = ["subject", *factors, *(c.name for c in design.clusters), "residual"]
    for n in names:
        _known(n, known, "factor of this design", place)
    if isinstance(value, int | float):
        return Spread(key, names, float(value), None, (), ())
    extra = dict(value.model_extra or {})
    if value.by is None:
        if extra or value.sd is None:
            raise StudyError(
                f"cannot read this spread (keys {', '.join(map(repr, extra)) or 'none'})",
                where=place,
                mend='write a number, { sd = 7, when = { time = "day1" } } or '
                '{ by = "sex", F = 4, M = 5 }',
            )
        when = _when(value.when, factors, f"{place}.when")
        return Spread(key, names, value.sd, None, (), when)
    _known(value.by, factors, "factor of this design", f"{place}.by")
    levels = factors[value.by]
    for level in levels:
        if not isinstance(extra.get(level), int | float) or not 0 <= extra[level] < math.inf:
            raise StudyError(
                f"by = {value.by!r} needs a non-negative SD for level {level!r}",
                where=place,
                mend=f"set {level} = to 0 or more",
            )
    for level in extra:
        _known(level, levels, f"level of {value.by}", place)
    by_sd = tuple((level, float(extra[level])) for level in levels)
    return Spread(key, names, 0.0, value.by, by_sd, _when(value.when, factors, f"{place}.when"))


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
            _known(t, design.treatments, "treatment", f"{where}.amounts")
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


def _check_outcome(outcome: Outcome, design: Design, where: str) -> None:
    names = [s.name for s in outcome.spread]
    if "residual" not in names:
        raise StudyError(
            "the residual SD is missing", where=f"{where}.spread", mend="add residual = 4.0"
        )
    strata = {s.name for s in design.strata}
    for i, effect in enumerate(outcome.effects):
        if effect.centred and not strata & {f for f, _ in effect.when}:
            raise StudyError(
                "centred needs a stratum such as sex among the conditions",
                where=f"{where}.effects.{i}",
                mend="add one to when, or leave centred out",
            )
    s = outcome.scale
    low = s.min is not None and outcome.baseline < s.min
    if low or (s.max is not None and outcome.baseline > s.max):
        low_end, high_end = ("no bound" if b is None else f"{b:g}" for b in (s.min, s.max))
        raise StudyError(
            f"the baseline {outcome.baseline:g} lies outside the scale",
            where=f"{where}.baseline",
            mend=f"give one from {low_end} to {high_end}",
        )


def _estimand(
    name: str, table: EstimandTable, design: Design, outcomes: Mapping[str, Outcome], where: str
) -> Estimand:
    _known(table.outcome, outcomes, "outcome", f"{where}.outcome")
    factors = all_factors(design, outcomes[table.outcome])
    contrast = []
    for factor, text in table.contrast.items():
        _known(factor, factors, "factor of this outcome", f"{where}.contrast")
        parsed = parse_contrast(text, factors[factor], where=f"{where}.contrast.{factor}")
        contrast.append((factor, parsed))
    for factor, level in table.within.items():
        _known(factor, factors, "factor of this outcome", f"{where}.within")
        _known(level, factors[factor], f"level of {factor}", f"{where}.within.{factor}")
        if factor in table.contrast:
            raise StudyError(
                f"{factor!r} is in the contrast too",
                where=f"{where}.within.{factor}",
                mend="leave it out of one",
            )
    for factor, shares in table.weights.items():
        _known(factor, factors, "factor of this outcome", f"{where}.weights")
        for level in shares:
            _known(level, factors[factor], f"level of {factor}", f"{where}.weights.{factor}")
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
    return Estimand(
        name=name,
        outcome=table.outcome,
        contrast=tuple(contrast),
        within=tuple(table.within.items()),
        weights=tuple((f, tuple(w.items())) for f, w in table.weights.items()),
        target=table.target,
        label=table.label or name.replace("_", " "),
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
    _known(outcome, outcomes, "outcome", f"{where}.outcome")
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
    known = ["subject", *all_factors(design, outcomes[outcome])]
    known += [c.name for c in design.clusters]
    for column in [*names_in(split.fixed), *(g for t in split.random for g in t.group)]:
        _known(column, known, "column of this design", f"{where}.formula")
    answered = {e.name for e in estimands if e.outcome == outcome}
    for e in table.estimands:
        _known(e, answered, f"estimand of {outcome}", f"{where}.estimands")
    check_priors({str(k): v for k, v in table.priors.items()}, f"{where}.priors")
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
    )
