"""Section: may the numbers be used? Variances, statuses, gates, residuals, posteriors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ketastats.analysis.engines import Answer
from ketastats.analysis.schools import BAYESIAN
from ketastats.figures.diagnostics import residual_plots
from ketastats.reporting import numbers as n
from ketastats.reporting.document import (
    Block,
    Cell,
    Heading,
    Items,
    Picture,
    Section,
    Table,
    Text,
    cell,
    code,
    paragraph,
    rich,
    table,
)
from ketastats.reporting.material import Material
from ketastats.reporting.opening import findings
from ketastats.reporting.section_posterior import posterior_densities, posterior_sds
from ketastats.reporting.words import capital, listing
from ketastats.study.model import Outcome, Spread
from ketastats.study.scales import is_linear

if TYPE_CHECKING:
    from ketastats.frequentist.lmm import MixedModel


def diagnostics(material: Material) -> Section:
    """Return what must hold for the numbers to be used, per outcome."""
    blocks: list[Block] = [paragraph(f"{capital(t)}.", kind="failure") for t in findings(material)]
    for outcome in material.study.outcomes:
        if len(material.study.outcomes) > 1:
            blocks.append(Heading(rich(outcome.label)))
        blocks += _of_outcome(material, outcome)
    return Section("diagnostics", "Diagnostics", tuple(blocks))


def _of_outcome(material: Material, outcome: Outcome) -> list[Block]:
    out: list[Block] = []
    reml = _main(material, outcome, "reml")
    bayes = _main(material, outcome, BAYESIAN)
    if reml is not None or bayes is not None:
        out.append(_variance_table(material, outcome, reml, bayes))
        out += _partial_note(material, outcome)
    out += _warnings(material, outcome)
    for answer in material.answers_of(outcome.name, BAYESIAN):
        out.append(_gates_table(answer))
    if reml is not None:
        out.append(_residuals(material, outcome, reml))
    if bayes is not None:
        picture = posterior_densities(material, outcome, bayes)
        if picture is not None:
            out.append(picture)
    return out


def _main(material: Material, outcome: Outcome, engine: str) -> Answer | None:
    """Return an engine's or school's first answer, not of published type or completers only."""
    for answer in material.answers_of(outcome.name, engine):
        a = answer.analysis
        if a.role != "published" and not a.completers and answer.result is not None:
            return answer
    return None


@dataclass(frozen=True, slots=True)
class Component:
    """One covariance parameter of a fit: an SD with its standard error, or a covariance."""

    value: float
    se: float
    is_sd: bool


def reml_components(model: MixedModel) -> dict[str, Component]:
    """Return the random part as SDs, with standard errors from the expected information.

    se(SD) = se(variance) / (2 SD) by the delta method, NaN at 0. Covariances and correlations
    stay as they are.
    """
    from ketastats.frequentist.small_sample import parameter_covariance
    from ketastats.problem.residual import FREE

    covariance = parameter_covariance(model.fit, "expected")[0]
    out = {}
    for k, (name, theta) in enumerate(model.variance.items()):
        se = math.sqrt(max(float(covariance[k, k]), 0.0))
        if model.problem.parameter_kinds[k] == FREE:
            out[str(name)] = Component(float(theta), se, False)
        else:
            sd = math.sqrt(max(float(theta), 0.0))
            out[str(name)] = Component(sd, se / (2 * sd) if sd > 0 else math.nan, True)
    return out


def _variance_table(
    material: Material, outcome: Outcome, reml: Answer | None, bayes: Answer | None
) -> Table:
    fitted = reml_components(reml.result) if reml else {}  # type: ignore[arg-type]
    drawn = posterior_sds(bayes) if bayes else {}
    same = is_linear(outcome.scale) or (reml is not None and reml.analysis.response == "log")
    declared = {s.name: s for s in outcome.spread} if material.synthetic and same else {}
    heads = ["component"]
    heads += ["declared SD"] * bool(declared) + ["REML SD (SE)"] * bool(fitted)
    heads += ["posterior SD (interval)"] * bool(drawn)
    rows = []
    for name in dict.fromkeys([*declared, *fitted, *drawn]):
        row: list[Cell] = [cell(code(name))]
        if declared:
            row.append(_declared(declared.get(name)))
        if fitted:
            row.append(_fitted(fitted.get(name)))
        if drawn:
            row.append(_drawn(drawn.get(name)))
        rows.append(row)
    log = reml is not None and reml.analysis.response == "log"
    unit = material.unit(outcome.name, "link" if log else "natural")
    unit = f" ({unit})" if unit else ""
    return table(
        f"Standard deviations of the random part{unit}.", heads, rows,
        numbers=range(1, len(heads)), file="variances.csv",
    )  # fmt: skip


def _declared(spread: Spread | None) -> Cell:
    if spread is None:
        return cell(n.ABSENT, "not in the declared truth")
    text = (
        n.plain(spread.sd)
        if spread.by is None
        else ", ".join(f"{level} {n.plain(sd)}" for level, sd in spread.by_sd)
    )
    when = ", ".join(f"{f} = {'/'.join(levels)}" for f, levels in spread.when)
    return cell(f"{text} (only {when})" if when else text)


def _fitted(found: Component | None) -> Cell:
    if found is None:
        return cell(n.ABSENT, "not in the formula of the REML analysis")
    if found.is_sd and found.value == 0:
        return cell("0 (boundary)", "the variance is estimated as 0", "warning")
    text = f"{n.value(found.value, found.se)} ({n.value(found.se, found.se)})"
    return cell(text, "" if found.is_sd else "a covariance or correlation, not an SD")


def _drawn(found: dict[str, float] | None) -> Cell:
    if found is None:
        return cell(n.ABSENT, "not in the formula of the posterior")
    return cell(
        n.with_interval(found["mean"], found["low"], found["high"], found["sd"], found["mcse"])
    )


def _partial_note(material: Material, outcome: Outcome) -> list[Block]:
    partial = [s for s in outcome.spread if s.when]
    if not (partial and material.synthetic):
        return []
    which = listing([s.name for s in partial])
    return [
        paragraph(
            f"The declared {which} acts on some occasions only, the model's on all: its estimate "
            "is an average over occasions and not meant to equal the declared SD.",
            kind="note",
        )
    ]


def _warnings(material: Material, outcome: Outcome) -> list[Block]:
    said: dict[str, list[str]] = {}
    for answer in material.answers_of(outcome.name):
        for note in map(str, answer.details.get("warnings", ())):
            said.setdefault(note, []).append(answer.analysis.name)
    items = tuple(
        rich(f"{capital(note)} (", *_names(analyses), ").") for note, analyses in said.items()
    )
    return [paragraph("What the fits say of themselves:"), Items(items)] if items else []


def _names(analyses: list[str]) -> Text:
    return rich(*(x for a in analyses for x in (", ", code(a))))[1:]


def _gates_table(answer: Answer) -> Table:
    rows = []
    signs = {g.name: g.sign for g in getattr(answer.result, "gates", ())}
    for gate in answer.details.get("gates", ()):
        passed, sign = bool(gate["passed"]), signs.get(gate["name"], "")
        sign = {"<=": "≤", ">=": "≥"}.get(sign, sign)
        rows.append(
            [
                cell(str(gate["name"])),
                cell(n.plain(float(gate["value"]), 4)),
                cell(f"{sign} {n.plain(float(gate['threshold']), 4)}".strip()),
                cell("passed" if passed else "FAILED", kind="" if passed else "failure"),
            ]
        )
    return table(
        f"Checks of the posterior, {answer.analysis.label}.",
        ("check", "value", "threshold", "result"), rows, numbers=(1, 2), file="gates.csv",
    )  # fmt: skip


def _residuals(material: Material, outcome: Outcome, answer: Answer) -> Picture:
    residual = answer.result.residuals("conditional")  # type: ignore[attr-defined]
    fitted = answer.result.predict()  # type: ignore[attr-defined]
    name = f"residuals-{outcome.name}"
    svg = residual_plots(
        fitted, residual, unit=outcome.scale.unit, ident=name,
        subject=material.study.design.subject,
    )  # fmt: skip
    caption = f"Conditional residuals of {answer.analysis.label}: y − Xb − Zu."
    return Picture(name, svg, rich(caption))
