"""A Study in words: for terminals and notebooks, and the table of its parameters."""

from __future__ import annotations

from html import escape

from ketastats.study.checks import read_provenance
from ketastats.study.model import (
    Amount,
    BinomialScale,
    CountScale,
    Design,
    LinkedSpread,
    Outcome,
    ProportionScale,
    Provenance,
    SerialSpread,
    Spread,
    Study,
)
from ketastats.study.scales import KINDS, is_linear, units


def design_sentence(design: Design) -> str:
    """Return one sentence: how many units, in which arms, measured when."""
    many = {"mouse": "mice", "person": "people"}.get(design.subject, design.subject + "s")
    if design.kind == "crossover":
        arms = ", ".join(
            f"{label} ({' then '.join(ts)}; n = {n})"
            for (label, ts), n in zip(design.sequences, design.subjects_per_sequence, strict=True)
        )
        wash = "" if design.washout_days is None else f", {design.washout_days:g} days apart"
        return (
            f"crossover of {design.n_subjects} {many} over {design.n_periods} periods{wash}: {arms}"
        )
    arms = ", ".join(
        f"{' '.join(level for _, level in g.levels)} (n = {g.n})" for g in design.groups
    )
    return f"parallel groups of {design.n_subjects} {many}: {arms}"


def as_text(study: Study) -> str:
    """Return the Study for a terminal."""
    lines = [f"Study {study.id}: {study.title}", f"  {design_sentence(study.design)}"]
    for o in study.outcomes:
        unit = f" [{o.scale.unit}]" if o.scale.unit else ""
        lines.append(f"  outcome {o.name}{unit}: {o.label}")
    lines += [f"  estimand {e.name}: {e.label}" for e in study.estimands]
    lines += [f"  analysis {a.name}: {a.engine}, {a.formula}" for a in study.analyses]
    lines.append("  data drawn from it are SYNTHETIC")
    return "\n".join(lines)


def as_html(study: Study) -> str:
    """Return the Study for a notebook."""
    rows = "".join(f"<div>{escape(line)}</div>" for line in as_text(study).splitlines())
    return f'<div class="ketastats-study">{rows}</div>'


def parameters(study: Study) -> list[tuple[str, str, str, Provenance]]:
    """Return every parameter of the truth and the design with its provenance.

    Returns
    -------
    list of (outcome, parameter, value, Provenance)
        ``outcome`` is empty for parameters of the design.
    """
    stated = {p.key: p for p in study.provenance}
    d = study.design
    rows = [("", "subjects", design_sentence(d), _stated(stated, "subjects"))]
    if d.washout_days is not None:
        rows.append(("", "washout", f"{d.washout_days:g} days", _stated(stated, "washout")))
    for o in d.occasions:
        rows.append(("", o.name, ", ".join(o.levels), _stated(stated, o.name)))
    for s in d.strata:
        shares = ", ".join(f"{a} {b:g}" for a, b in zip(s.levels, s.shares, strict=True))
        rows.append(("", s.name, shares, _stated(stated, s.name)))
    for c in d.clusters:
        rows.append(("", c.name, f"{c.size} per {c.name}", _stated(stated, c.name)))
    for outcome in study.outcomes:
        own = {p.key: p for p in outcome.provenance}
        if outcome.occasions != d.occasions:
            rows += [
                (outcome.name, o.name, ", ".join(o.levels), _stated(own, o.name))
                for o in outcome.occasions
            ]
        rows += _outcome_parameters(outcome)
    return rows


def _stated(stated: dict[str, Provenance], key: str) -> Provenance:
    return stated.get(key) or Provenance(key, "assumed", "not stated in the Study file")


def _outcome_parameters(o: Outcome) -> list[tuple[str, str, str, Provenance]]:
    stated = {p.key: p for p in o.provenance}
    unit = "" if isinstance(o.scale, BinomialScale) or not o.scale.unit else f" {o.scale.unit}"
    on = unit if is_linear(o.scale) else f" on the {KINDS[o.scale.kind].link} scale"
    rows = [(o.name, "scale", scale_sentence(o), _stated(stated, "scale"))]
    for name, value in _amounts(o):
        from_where = stated.get(f"scale.{name}") or _stated(stated, "scale")
        rows.append((o.name, name, value, from_where))
    rows.append((o.name, "baseline", f"{o.baseline:g}{unit}", _stated(stated, "baseline")))
    for i, e in enumerate(o.effects):
        what = ", ".join(f"{f} = {'/'.join(ls)}" for f, ls in e.when)
        note = " (centred)" if e.centred else ""
        key = f"effect: {what}"
        source = read_provenance(key, e.provenance, "effects") if e.provenance else None
        rows.append(
            (o.name, key, f"{e.add:+g}{unit}{note}", source or _stated(stated, f"effects.{i}"))
        )
    for s in o.spread:
        rows.append(
            (o.name, f"SD: {s.name}", _spread_words(s, on), _stated(stated, f"spread.{s.name}"))
        )
    linked = [s for s in o.spread if isinstance(s, LinkedSpread)]
    if linked:
        each = ", ".join(f"{s.name} {s.correlation:+g}" for s in linked)
        text = f"correlation with {linked[0].linked_with}: {each}"
        rows.append((o.name, "linked", text, _stated(stated, "linked")))
    if o.carry_over is not None:
        c = o.carry_over
        amounts = ", ".join(f"{t} {a:+g}" for t, a in c.amounts) or c.of
        half = "" if c.half_life_days is None else f", half-life {c.half_life_days:g} days"
        rows.append((o.name, "carry-over", amounts + half, _stated(stated, "carry_over")))
    if o.missing is not None:
        share = f"{100 * o.missing.at_random:g} % of rows at random"
        rows.append((o.name, "missing", share, _stated(stated, "missing")))
    if o.dropout is not None:
        text = f"{100 * o.dropout.probability:g} % before period {o.dropout.before_period}"
        if o.dropout.log_odds_per_unit:
            text += (
                f" at a last value of {o.dropout.centre:g}; log odds "
                f"{o.dropout.log_odds_per_unit:+g} per unit above it"
            )
        rows.append((o.name, "dropout", text, _stated(stated, "dropout")))
    if o.entry is not None:
        text = (
            f"at least {o.entry.at_least:g}"
            if o.entry.at_least is not None
            else f"at most {o.entry.at_most:g}"
        )
        rows.append((o.name, "entry threshold", text + unit, _stated(stated, "entry")))
    return rows


def _spread_words(s: Spread, on: str) -> str:
    value = f"{s.sd:g}" if s.by is None else ", ".join(f"{level} {sd:g}" for level, sd in s.by_sd)
    when = "".join(f" at {f} = {'/'.join(ls)}" for f, ls in s.when)
    if not isinstance(s, SerialSpread):
        return f"{value}{on}{when}"
    step = "over the shortest step" if s.spaced else "from one level to the next"
    return f"{value}{on}{when}, serial correlation {s.ar1:g} {step} of {s.over}"


def _amounts(o: Outcome) -> list[tuple[str, str]]:
    """Return the numbers that a scale with a class of its own carries, in words."""
    s = o.scale
    if isinstance(s, BinomialScale):
        rho = _amount_words(s.overdispersion)
        more = [("overdispersion", f"intraclass correlation {rho}")]
        return [("trials", _amount_words(s.trials)), *more * any(s.overdispersion.values)]
    if isinstance(s, CountScale):
        exposure = [("exposure", _amount_words(s.exposure))]
        more = [("overdispersion", f"alpha {_amount_words(s.overdispersion)}")]
        return [
            *exposure * (s.exposure != Amount(1.0)),
            *more * any(s.overdispersion.values),
        ]
    if isinstance(s, ProportionScale):
        return [("precision", _amount_words(s.precision))]
    return []


def _amount_words(a: Amount) -> str:
    if a.by is None:
        return f"{a.value:g}"
    return ", ".join(f"{level} {value:g}" for level, value in a.levels)


def scale_sentence(o: Outcome) -> str:
    """Return the scale in words, with the scales of true values where they differ from it."""
    s = o.scale
    named = f" ({s.unit})" if s.unit else ""
    if not is_linear(s):
        latent, natural = units(s)
        per = " per unit of exposure" if s.kind == "count" else ""
        link = "differences of log odds" if latent == "log odds" else "logarithms of ratios"
        return f"{recorded_as(o)}{named}; true values as {natural or 'means'}{per} and {link}"
    low = "" if s.min is None else f"from {s.min:g}"
    high = "" if s.max is None else f"to {s.max:g}"
    bounds = " ".join(part for part in (low, high) if part)
    kind = recorded_as(o)
    return (f"{kind}, {bounds}" if bounds else kind) + named


def recorded_as(o: Outcome) -> str:
    """Return what numbers are recorded: ``whole points``, ``number out of 30 trials``."""
    s = o.scale
    decimals = f"{s.decimals} decimal{'s' * (s.decimals != 1)}"
    if isinstance(s, BinomialScale):
        values = s.trials.values
        low, high = min(values), max(values)
        if high == 1:
            return "0 or 1"
        return f"number out of {low:g}{f' to {high:g}' * (low != high)} trials"
    if isinstance(s, CountScale):
        return "count"
    if s.kind in ("proportion", "ratio"):
        return f"{s.kind}, {decimals}"
    return "whole points" if s.kind == "integer" else decimals
