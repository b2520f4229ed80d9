"""Comparison of ketastats with blocks of an ``expected.json`` that are not one mixed model."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ketastats.frequentist.classical import first_period_only, hills_armitage, paired_t
from ketastats.frequentist.lmm import MixedModel, lmm
from tests.reference.conftest import Comparison
from tests.reference.model_answers import Block, as_row, joint_f
from tests.reference.sets import DataSet
from tests.reference.translate import call_formula, evaluate, translated

SATTERTHWAITE, KENWARD_ROGER = "satterthwaite", "kenward-roger"


def treatments(d: DataSet) -> tuple[str, str]:
    """Return the treatment that is compared and its reference."""
    reference, other = (str(v) for v in d.data["treatment"].cat.categories)
    return other, reference


def two_sample_t(d: DataSet, block: str, wanted: Block, comparison: Comparison) -> None:
    """Compare with t tests on sums and differences; where REML is interior, the model's is one."""
    contrast, y = " - ".join(treatments(d)), outcome_of(d)
    data = d.data[evaluate(f"count({y}, subject) == 2", d.data) == 1]
    effects = hills_armitage(data, y, contrast=contrast)
    rows = {
        "treatment_A_minus_B": effects.loc["treatment"],
        "period_1_minus_2": effects.loc["period"],
        "carryover_or_sequence_AB_minus_BA_on_subject_totals": effects.loc["carry_over"],
        "period1_only_A_minus_B": first_period_only(data, y, contrast=contrast).iloc[0],
        "ignoring_period_paired_A_minus_B": paired_t(data, y, contrast=contrast).iloc[0],
    }
    for name, row in rows.items():
        if name in wanted:
            numbers = as_row(wanted[name])
            numbers["t"] = numbers.pop("statistic")
            comparison.numbers(row, numbers, name)
    began = (
        data[data["period"] == data["period"].cat.categories[0]]["treatment"]
        .astype(str)
        .value_counts()
    )
    for order, start in zip(("AB", "BA"), treatments(d), strict=True):
        if order in wanted.get("n_per_sequence", {}):
            comparison.add("n", began[start], wanted["n_per_sequence"][order], order)
    model = block.replace("two_sample_t", "lmm")
    if model in d.models and "treatment_A_minus_B" in wanted:
        fit = d.fitted(model, KENWARD_ROGER)
        if fit.status == "ok" and (np.bincount(fit.problem.random[0].group) == 2).all():
            row = fit.contrast({"treatment": contrast}).iloc[0]
            comparison.numbers(row, as_row(wanted["treatment_A_minus_B"]), "model", "model ")


def bioequivalence(d: DataSet, block: str, wanted: Block, comparison: Comparison) -> None:
    """Compare the regulators' methods: subjects fixed (A), or random with some df (B)."""
    other, reference = treatments(d)
    method = block.split("_", 2)[2]
    if block.startswith("method_A"):
        fit = all_fixed(d, "sequence + subject + period + treatment", level=0.9)
    else:
        ddf = {"containment_df": "containment"}.get(method, method.replace("_", "-"))
        fit = d.fitted("lmm", ddf, level=0.9)
    row = fit.contrast({"treatment": f"{other} - {reference}"}).iloc[0]
    got = {"df": row["df"], "log_estimate": row["estimate"], "log_se": row["se"]}
    got["pe_percent"] = 100 * np.exp(row["estimate"])
    prefix = "nlme " if "containment" in block else ""
    comparison.numbers(got, wanted, block, prefix)
    for name, end in zip(("ci_low", "ci_high"), wanted["ci90_percent"], strict=True):
        comparison.add(f"{prefix}ci90", 100 * np.exp(row[name]), end, name)


def within_reference(d: DataSet, block: str, wanted: float, comparison: Comparison) -> None:
    """Compare the coefficient of variation within subjects under the reference."""
    only = d.data[d.data["treatment"] == d.data["treatment"].cat.categories[0]]
    residual = all_fixed(d, "sequence + subject + period", data=only).variance["residual"]
    comparison.add("cv", 100 * np.sqrt(np.exp(residual) - 1), wanted, block)


def all_fixed(d: DataSet, right: str, data: Any = None, **options: Any) -> MixedModel:
    """Fit a model without random terms to the outcome of the set's first model."""
    table = d.data if data is None else data
    return lmm(f"{outcome_of(d)} ~ {right}", table, ddf="residual", **options)


def outcome_of(d: DataSet) -> str:
    """Return the outcome of a set's first model."""
    return d.fitted(next(iter(d.models)), SATTERTHWAITE).problem.outcome


def fixed_subjects(d: DataSet, block: str, wanted: Block, comparison: Comparison) -> None:
    """Compare an lm() with subjects fixed: coefficients, contrasts and residual."""
    formula = call_formula(wanted["r_call"], "lm")
    assert formula is not None, f"{block} holds no lm() call"
    fit = all_fixed(d, translated(formula)[1])
    comparison.add("variance", fit.variance["residual"], wanted["sigma2"], block)
    comparison.add("df", fit.coefficients["df"].iloc[0], wanted["residual_df"], block)
    for name, entry in wanted.items():
        if isinstance(entry, dict) and "estimate" not in entry:  # one entry per coefficient
            comparison.coefficients(fit, [{"name": k, "residual": v} for k, v in entry.items()])
        elif isinstance(entry, dict) and (found := re.match(r"(\w+?)_(\w+)_minus_(\w+)$", name)):
            row = fit.contrast({found[1]: f"{found[2]} - {found[3]}"}).iloc[0]
            comparison.numbers(row, as_row(entry), name)
        elif isinstance(entry, dict):
            comparison.coefficients(fit, [{"name": name, "residual": entry}])


def fixed_subjects_f(d: DataSet, block: str, wanted: Block, comparison: Comparison) -> None:
    """Compare the F of treatment or of carry-over with subjects fixed."""
    right = "subject + period + treatment"
    if "treatment" in block:
        comparison.numbers(all_fixed(d, right).anova(type=2).loc["treatment"], wanted, block)
        return
    columns = next(iter(d.said["joint"].values()))
    fit = all_fixed(d, " + ".join([right, *columns]))
    comparison.numbers(joint_f(fit, columns), wanted, block)


def interval_90(d: DataSet, block: str, wanted: list[float], comparison: Comparison) -> None:
    """Compare the 90 % interval of a difference of treatments."""
    contrast = block.removeprefix("ci90_").replace("_minus_", " - ")
    row = d.fitted("lmm", SATTERTHWAITE, level=0.9).contrast({"treatment": contrast}).iloc[0]
    comparison.numbers(row, {"ci_low": wanted[0], "ci_high": wanted[1]}, block)


def adjusted_means(d: DataSet, block: str, wanted: list[Block], comparison: Comparison) -> None:
    """Compare emmeans of one factor, df by Satterthwaite."""
    factor, fit = block.removeprefix("emmeans_"), d.fitted("lmm", SATTERTHWAITE)
    for mean in wanted:
        row = fit.contrast({factor: str(mean[factor])}).iloc[0]
        comparison.numbers(row, as_row(mean) | {"estimate": mean["mean"]}, str(mean[factor]))


def dropped_term(d: DataSet, block: str, wanted: Block, comparison: Comparison) -> None:
    """Compare pbkrtest's comparison of models without and with one term."""
    row = d.fitted("lmm", KENWARD_ROGER).anova(type=2).loc[block.removeprefix("KRmodcomp_drop_")]
    comparison.numbers(row, wanted, block)


def sums_of_squares(d: DataSet, block: str, wanted: Block, comparison: Comparison) -> None:
    """Compare sums of squares in the order stored, all effects fixed."""
    names = {"sequence:subject": "subject", "sequence:treatment": "period"}  # within AB/BA
    terms = {names.get(k, k): v for k, v in wanted.items() if k != "Residuals"}
    fit = all_fixed(d, " + ".join(terms))
    table, residual = fit.anova(type=1), fit.variance["residual"]
    for term, stored in terms.items():
        row = table.loc[term]
        comparison.add("sum of squares", row["F"] * row["num_df"] * residual, stored, term)
    comparison.add("sum of squares", residual * row["den_df"], wanted["Residuals"], "residual")


def ml_likelihoods(d: DataSet, block: str, wanted: Block, comparison: Comparison) -> None:
    """Compare maximised likelihoods of models that the description writes out."""
    for name, stored in wanted.items():
        if name in d.said.get("likelihoods", {}):
            options = dict(d.said["likelihoods"][name])
            fit = lmm(options.pop("formula"), d.data, ddf="z", method="ml", **options)
            comparison.add("loglik", -2 * fit.loglik, stored, name)


def one_way(d: DataSet, block: str, wanted: Block, comparison: Comparison) -> None:
    """Compare the variances that follow from certified mean squares."""
    fit = d.fitted(next(iter(d.models)), SATTERTHWAITE)
    rows, groups = len(fit.problem.y), len(fit.problem.random[0].levels)
    sizes = {"n_obs": rows, "replicates_per_treatment": rows / groups}
    comparison.numbers(sizes, wanted, block)
    for name, stored in wanted.items():
        if name.startswith("variance_"):
            share = fit.variance[name.removeprefix("variance_")] / stored
            comparison.add("variance", share, 1.0, name)  # below the floor of differences else


def one_way_f(d: DataSet, block: str, wanted: float, comparison: Comparison) -> None:
    """Compare the F of the groups."""
    comparison.add("F", all_fixed(d, "treatment").anova()["F"].item(), wanted, block)


Reader = Callable[[DataSet, str, Any, Comparison], None]
READERS: dict[str, Reader] = {
    r"two_sample_t(_completers)?": two_sample_t,
    r"method_A_all_fixed|method_B_(containment_df|satterthwaite|kenward_roger)": bioequivalence,
    r"cv_within_reference_percent": within_reference,
    r"fixed_subjects(_with_carry)?": fixed_subjects,
    r"fixed_subjects_(treatment|carry)_F": fixed_subjects_f,
    r"ci90_\w+_minus_\w+": interval_90,
    r"emmeans_\w+": adjusted_means,
    r"KRmodcomp_drop_\w+": dropped_term,
    r"anova_ss|sequential_ss_fixed_subjects": sums_of_squares,
    r"minus2_ml_loglik": ml_likelihoods,
    r"derived": one_way,
    r"F": one_way_f,
}


def reader(block: str) -> Reader | None:
    """Return what compares a block that is not a model."""
    name = block.removeprefix("published.")
    return next((f for pattern, f in READERS.items() if re.fullmatch(pattern, name)), None)
