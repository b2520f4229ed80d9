"""Section: methods with their formulas, written from the analyses that were run."""

from __future__ import annotations

from ketastats.analysis.engines import Answer
from ketastats.reporting import numbers as n
from ketastats.reporting.document import (
    Block,
    Heading,
    Paragraph,
    Section,
    Span,
    Table,
    Text,
    b,
    cell,
    code,
    formula,
    i,
    paragraph,
    rich,
    sub,
    sup,
    table,
)
from ketastats.reporting.material import Material
from ketastats.reporting.section_truth import carry_over, true_values
from ketastats.study.formula import split_formula
from ketastats.study.model import Analysis

_LETTERS = "uvwabcdfgh"
_V, _X, _Y, _BETA, _PHI = b("V"), b("X"), b("y"), b("β"), b("Φ")
_XTX = rich(_X, sup("⊤"), _V, sup("−1"), _X)


def methods(material: Material) -> Section:
    """Return how every number was computed, written from the analyses that were run."""
    blocks: list[Block] = [Heading(rich("Analyses run")), _analyses_table(material)]
    blocks += _model(material)
    blocks += _reml(material)
    blocks += _population(material)
    blocks += _bayes(material)
    blocks += true_values(material)
    blocks += carry_over(material)
    blocks += _computing(material)
    return Section("methods", "Methods", tuple(blocks))


def _answers(material: Material, engine: str) -> list[Answer]:
    return [a for a in material.results.answers if a.analysis.engine == engine]


def _analyses_table(material: Material) -> Table:
    rows = []
    for answer in material.results.answers:
        a = answer.analysis
        rows.append(
            [cell(rich(a.label, " ", code(a.name))), cell(a.outcome), cell(a.role),
             cell(_how(a)), cell(formula(a.formula)),
             cell(str(answer.details.get("rows", n.ABSENT)))]
        )  # fmt: skip
    return table(
        "Analyses in the order they were run; the formula is the right side, as in R.",
        ("analysis", "outcome", "role", "engine", "formula", "rows"), rows, numbers=(5,),
    )  # fmt: skip


def _how(a: Analysis) -> str:
    """Return the engine of an analysis and its options."""
    words = [a.engine]
    words += [a.family] * (a.family != "gaussian")
    words += [f"residual {a.residual}"] * bool(a.residual)
    words += ["of logarithms"] * (a.response == "log")
    words += [f"df {a.ddf}"] * (a.engine == "reml")
    if a.engine == "posterior":
        words.append("by quadrature")
    if a.engine == "mcmc":
        words.append(f"{a.chains} chains of {a.draws} draws after {a.tune}")
    return ", ".join(words)


def _population(material: Material) -> list[Block]:
    """Say what generalised estimating equations are and how few units are allowed for."""
    if not _answers(material, "gee"):
        return []
    return [
        Heading(rich("Population-averaged models")),
        paragraph(
            "Generalised estimating equations compare means of the population, on the link of the "
            "family; rows of one unit share a working correlation. The covariance is judged from "
            "the differences between units and corrected for their small number (Mancl and "
            "DeRouen 2001, Biometrics 57:126); intervals and tests take t with the degrees of "
            "freedom between units. On the natural scale the weights of an estimand are applied to "
            "the means of the cells, with standard errors by the delta method."
        ),
    ]


def _model(material: Material) -> list[Block]:
    """Write the mixed model of each outcome's first analysis as a formula."""
    blocks: list[Block] = [Heading(rich("Model"))]
    done: set[str] = set()
    for answer in material.results.answers:
        a = answer.analysis
        key = f"{a.outcome}"
        if key in done or a.family != "gaussian" or a.engine not in ("reml", "posterior", "mcmc"):
            continue
        done.add(key)
        blocks += model_formula(a.outcome, a.formula)
    return blocks


def model_formula(outcome: str, text: str) -> list[Block]:
    """Return the model of a formula in mathematics: y = Xb + sum of random terms + e."""
    split = split_formula(text)
    parts: list[str | Span | Text] = [i("y"), sub("k"), " = ", b("x"), sub("k"), sup("⊤"), b("β")]
    laws: list[str | Span | Text] = []
    for letter, term in zip(_LETTERS, split.random, strict=False):
        simple = term.columns == ("1",)
        index = f"{term.name}({'k'})"
        if simple:
            parts += [" + ", i(letter), sub(index)]
            laws += [i(letter), " ~ N(0, ", i("σ"), sup("2"), sub(term.name), "), "]
        else:
            parts += [" + ", b("z"), sub("k"), sup("⊤"), b(letter), sub(index)]
            laws += [b(letter), " ~ N(0, ", b("G"), sub(term.name), "), "]
    parts += [" + ", i("e"), sub("k")]
    laws += [i("e"), " ~ N(0, ", i("σ"), sup("2"), ")"]
    return [
        paragraph(
            code(outcome), ", measurement ", i("k"), ", fixed part ", formula(split.fixed), ":"
        ),
        Paragraph(rich(*parts), "formula"),
        Paragraph(rich(*laws, ", all independent."), "formula"),
    ]


def _reml(material: Material) -> list[Block]:
    """Write likelihood, estimate and statistic; then the df methods that were used."""
    answers = _answers(material, "reml")
    if not answers:
        return []
    blocks: list[Block] = [
        Heading(rich("REML")),
        paragraph(
            "With ", _V, " = Σ", sub("r"), " ", i("θ"), sub("r"), b("G"), sub("r"),
            ", linear in the variances ", i("θ"), ", the restricted likelihood",
        ),
        Paragraph(
            rich("−2 ℓ(", i("θ"), ") = log|", _V, "| + log|", _XTX, "| + (", _Y, " − ", _X, _BETA,
                 ")", sup("⊤"), _V, sup("−1"), "(", _Y, " − ", _X, _BETA, ") + constant"),
            "formula",
        ),
        paragraph(
            "is maximised over ", i("θ"), " ≥ 0 by Newton steps; ", _BETA, " is the generalised "
            "least squares estimate and ", _PHI, " = (", _XTX, ")", sup("−1"), " its covariance. "
            "An estimand is a row ", b("l"), " over the coefficients, made from weights over the "
            "cells of the reference grid: the contrasted levels with their coefficients, all "
            "other factors averaged with equal weights unless weights are declared. Its statistic "
            "is ", i("t"), " = ", b("l"), sup("⊤"), _BETA, " / SE, its interval ", b("l"),
            sup("⊤"), _BETA, " ± ", i("t"), sub("ν, 1 − α/2"), " SE.",
        ),
    ]  # fmt: skip
    used = {a.analysis.ddf for a in answers} | {
        str(m) for frame in material.choices.values() for m in frame["ddf"]
    }
    if "kenward-roger" in used:
        blocks += _kenward_roger()
    if "satterthwaite" in used:
        kenward = "the same" if "kenward-roger" in used else "as Kenward and Roger's"
        blocks.append(
            paragraph(
                f"Satterthwaite: {kenward} ", i("ν"), " with ", _PHI, " as it is and ", b("W"),
                " the inverse of the observed information, variances at 0 left out.",
            )
        )  # fmt: skip
    return blocks


def _kenward_roger() -> list[Block]:
    p, q, w, g, ell = b("P"), b("Q"), b("W"), b("G"), b("l")
    vg = rich(_V, sup("−1"), g)
    return [
        paragraph(
            "Kenward-Roger: the standard error comes from the covariance adjusted for the "
            "estimated variances,"
        ),
        Paragraph(
            rich(_PHI, sub("A"), " = ", _PHI, " + 2", _PHI, " {Σ", sub("rs"), " ", i("W"),
                 sub("rs"), " (", q, sub("rs"), " − ", p, sub("r"), _PHI, p, sub("s"), ")} ",
                 _PHI, ","),
            "formula",
        ),
        Paragraph(
            rich(p, sub("r"), " = −", _X, sup("⊤"), vg, sub("r"), _V, sup("−1"), _X, ", ", q,
                 sub("rs"), " = ", _X, sup("⊤"), vg, sub("r"), vg, sub("s"), _V, sup("−1"), _X,
                 ","),
            "formula",
        ),
        paragraph(
            "with ", w, " the inverse of the expected information on ", i("θ"),
            ". For one contrast",
        ),
        Paragraph(
            rich(i("ν"), " = 2 (", ell, sup("⊤"), _PHI, ell, ")", sup("2"), " / ", b("g"),
                 sup("⊤"), w, b("g"), ", ", i("g"), sub("r"), " = ", ell, sup("⊤"), _PHI, p,
                 sub("r"), _PHI, ell),
            "formula",
        ),
    ]  # fmt: skip


def _bayes(material: Material) -> list[Block]:
    exact, sampled = _answers(material, "posterior"), _answers(material, "mcmc")
    if not (exact or sampled):
        return []
    blocks: list[Block] = [Heading(rich("Posterior")), *_quadrature(exact)]
    if sampled:
        blocks.append(
            paragraph(
                f"Sampled: the models with priors, built in PyMC and drawn by NUTS "
                f"({_sampler(sampled)}), random deviations non-centred. Estimands are computed "
                "from the draws of the coefficients by the same rows."
            )
        )
    blocks.append(
        paragraph(
            "Every difference of two levels, and every difference of such differences, has the "
            "prior of the effects, whatever level is the reference, unless a term or an estimand "
            "has a prior of its own. Intervals are equal-tailed."
        )
    )
    rows = []
    for answer in (*exact, *sampled):
        a = answer.analysis
        for name, prior in answer.details.get("priors", {}).items():
            rows.append([cell(rich(a.label, " ", code(a.name))), cell(str(name)), cell(str(prior))])
    if rows:
        blocks.append(table("Priors as used.", ("analysis", "parameter", "prior"), rows))
    return blocks


def _quadrature(answers: list[Answer]) -> list[Block]:
    """Write what is exact about the exact posterior."""
    if not answers:
        return []
    worst = max(a.result.error for a in answers)  # type: ignore[attr-defined]
    aim = max(a.result.tolerance for a in answers)  # type: ignore[attr-defined]
    s, m, d, a = b("S"), b("m"), b("d"), b("A")
    return [
        paragraph(
            "Exact: given the standard deviations ", i("τ"), " the coefficients are normal. With "
            "prior mean ", m, " and covariance ", s, ", ", a, " = ", _XTX, " + ", s, sup("−1"),
            ", ", d, " = ", m, " − ", b("β̂"), " around the least-squares ", b("β̂"), " and ",
            b("e"), " = ", _Y, " − ", _X, b("β̂"), ",",
        ),
        Paragraph(
            rich(_BETA, " | ", _Y, ", ", i("τ"), " ~ N(", b("β̂"), " + ", a, sup("−1"), b("b"),
                 ", ", a, sup("−1"), "), ", b("b"), " = ", _X, sup("⊤"), _V, sup("−1"), b("e"),
                 " + ", s, sup("−1"), d, ","),
            "formula",
        ),
        Paragraph(
            rich("−2 log ", i("p"), "(", _Y, " | ", i("τ"), ") = log|", _V, "| + log|", s,
                 "| + log|", a, "| + ", b("e"), sup("⊤"), _V, sup("−1"), b("e"), " + ", d,
                 sup("⊤"), s, sup("−1"), d, " − ", b("b"), sup("⊤"), a, sup("−1"), b("b"),
                 " + constant."),
            "formula",
        ),
        paragraph(
            "The standard deviations are integrated by the trapezoidal rule on a lattice that is "
            f"refined until its error is below {aim:g} of a posterior SD; the largest estimate of "
            f"the error here is {worst:.1e}. An estimand is a mixture of normals over the nodes, "
            "so that nothing is sampled.",
        ),
    ]  # fmt: skip


def _sampler(answers: list[Answer]) -> str:
    """Return how the draws were made, from the settings that were used."""
    from ketastats.bayesian.sampling import ADAPTATION

    said = []
    for answer in answers:
        settings = getattr(answer.result, "settings", None)
        if settings is None:
            continue
        text = f"{settings.method}, {settings.tune} tuning steps, target acceptance "
        text += f"{settings.target_accept:g}"
        if text not in said:
            said.append(text)
    if not said:
        return "settings not kept"
    kind = str(dict(ADAPTATION).get("adaptation", "")).replace("_", "-")
    return "; ".join(said) + (f", {kind} mass matrix" if kind else "")


def _computing(material: Material) -> list[Block]:
    env = material.environment
    packages = ", ".join(f"{k} {v}" for k, v in sorted(env.get("packages", {}).items()))
    where = " ".join(str(env.get(k, "")) for k in ("system", "machine")).strip()
    seeds = f"Seed {material.seed}: data, sampler and draws each take their random numbers from "
    seeds += "an address of their own under it."
    if not material.synthetic:
        seeds = f"Seed {material.seed} serves sampler and draws; the data were given."
    return [
        Heading(rich("Seeds and versions")),
        paragraph(
            f"{seeds} Python {env.get('python', '')}, {packages}; {where}. {_precision_text()}"
        ),
    ]


def _precision_text() -> str:
    return (
        "Numbers are printed to the decimals that show two significant digits of their standard "
        "error, Monte-Carlo quantities not finer than their Monte-Carlo error; the CSV files and "
        "results.json hold them in full."
    )
