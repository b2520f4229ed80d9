"""Public data sets of the field with answers by R, SAS and NIST, read from a folder outside.

The folder is named by the environment variable ``KETASTATS_REFERENCE_DATA``; every set in it is a
folder with ``data.csv`` and, for some, ``expected.json``. Sets that may be copied are in
``external/`` here and are tested in test_stored_answers.py and test_nist.py without the folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ketastats.frequentist import small_sample
from ketastats.frequentist.lmm import MixedModel, lmm

FOLDER = Path(os.environ.get("KETASTATS_REFERENCE_DATA", "no-such-folder"))
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(
        not FOLDER.is_dir(), reason="KETASTATS_REFERENCE_DATA names no folder with reference data"
    ),
]
METHODS = ("satterthwaite", "kenward-roger")
FOUR = ("subject", "sequence", "period", "treatment")
CROSSOVER = "y ~ sequence + period + treatment + (1 | subject)"


@dataclass(frozen=True)
class Set:
    """How a data set is read: factors, the reference level of some, derived columns, models."""

    factors: tuple[str, ...]
    reference: dict[str, str]
    models: dict[str, str]
    derive: Callable[[pd.DataFrame], pd.DataFrame] = lambda d: d
    type3_rtol: float = 1e-7


def log_pk(d: pd.DataFrame) -> pd.DataFrame:
    pk = pd.to_numeric(d["pk"], errors="coerce")
    return d.assign(y=np.log(pk))[pk.notna()]


def within_and_between(d: pd.DataFrame) -> pd.DataFrame:
    mean = d.groupby("subject")["baseline"].transform("mean")
    return d.assign(pmean=mean, dbase=d["baseline"] - mean)


def carry_columns(letters: str, reference: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def derive(d: pd.DataFrame) -> pd.DataFrame:
        minus = (d["carry"] == reference).astype(float)
        return d.assign(**{f"c_{g}": (d["carry"] == g) - minus for g in letters})

    return derive


REPLICATE = Set(FOUR, {"treatment": "R"}, {"lmm": CROSSOVER}, log_pk)
COPD = Set(
    FOUR,
    {"treatment": "B"},
    {
        "lmm_all_data": CROSSOVER,
        "lmm_all_data_no_sequence": "y ~ period + treatment + (1 | subject)",
        "lmm_completers": CROSSOVER,
    },
)
LATIN = "y ~ period + treatment + c_A + c_B + c_C + (1 | subject)"
SETS = {
    "grizzle_1965_abba": Set(FOUR, {"treatment": "B"}, {"lmm": CROSSOVER}),
    "chow_liu_auc_abba": Set(FOUR, {"treatment": "R"}, {"lmm": CROSSOVER}),
    "senn_asthma_pef": Set(
        (*FOUR, "sex"),
        {"treatment": "S"},
        {
            "lmm": CROSSOVER,
            "lmm_sex": "y ~ sequence + period + treatment * sex + (1 | subject)",
            "lmm_period_baseline": "y ~ sequence + period + treatment + baseline + (1 | subject)",
            "lmm_baseline_within_between": (
                "y ~ sequence + period + treatment + pmean + dbase + (1 | subject)"
            ),
        },
        within_and_between,
    ),
    "jk_copd_pefr": COPD,
    "jk_copd_pefr_missing": COPD,
    "ema_replicate_ds1": REPLICATE,
    "ema_replicate_ds2": REPLICATE,
    "replicatebe_ds17_unbalanced": REPLICATE,
    "replicatebe_ds29_incomplete": REPLICATE,
    "replicatebe_ds30_partial_incomplete": REPLICATE,
    "patterson_jones_ds26": REPLICATE,
    "phenytoin_ds05": REPLICATE,
    "jk_hypertension_3period": Set(
        FOUR,
        {"treatment": "B"},
        {
            "lmm_no_carry": CROSSOVER,
            "lmm_carry": "y ~ sequence + period + treatment + carryA + (1 | subject)",
        },
        lambda d: d.assign(carryA=(d["carry"] == "A").astype(float) - (d["carry"] == "B")),
    ),
    "jk_claudication_4x4": Set(
        FOUR,
        {"treatment": "P"},
        {"lmm_no_carry": "y ~ period + treatment + (1 | subject)", "lmm_carry": LATIN},
        carry_columns("ABC", "P"),
    ),
    "jk_respiratory_4x4_incomplete": Set(
        FOUR,
        {"treatment": "A"},
        {
            "lmm_no_carry": "y ~ period + treatment + (1 | subject)",
            "lmm_carry": "y ~ period + treatment + c_B + c_C + c_D + (1 | subject)",
        },
        carry_columns("BCD", "A"),
    ),
    "senn_mta_7x5_incomplete_block": Set(
        ("subject", "period", "treatment"),
        {"treatment": "P"},
        {"lmm": "y ~ period + treatment + (1 | subject)"},
    ),
    "mmrm_fev": Set(
        ("subject", "visit", "arm", "race", "sex"),
        {"arm": "PBO"},
        {
            "lmm_arm": "y ~ arm + (1 | subject)",
            "lmm_full": "y ~ race + sex * arm + arm * visit + (1 | subject)",
        },
    ),
    "lmertest_ham_sex": Set(
        ("subject", "sex", "product", "information"),
        {},
        {"lmm": "y ~ product * information * sex + (1 | product:subject) + (1 | subject)"},
    ),
    "sasmixed_hr": Set(
        ("subject", "drug", "timef"),
        {"drug": "p"},
        {
            "lmm_linear_time": "y ~ baseline + drug * time + (1 | subject)",
            "lmm_time_factor": "y ~ baseline + drug * timef + (1 | subject)",
        },
        lambda d: d.assign(timef=d["time"]),
    ),
    "pothoff_roy_sex": Set(
        ("subject", "sex"), {}, {"lmm_random_intercept": "y ~ sex * age + (1 | subject)"}
    ),
    "sas_splitplot_stroup": Set(
        ("block", "A", "B"),
        {},
        {"lmm": "y ~ A * B + (1 | block) + (1 | block:A)"},
        type3_rtol=1e-5,  # lmerTest keeps 7 decimals of the weight 1/3
    ),
    "pbkrtest_beets": Set(
        ("harvest", "block", "sow"),
        {},
        {"lmm": "sugpct ~ block + sow + harvest + (1 | block:harvest)"},
    ),
}


def table(name: str, block: str = "") -> pd.DataFrame:
    spec = SETS[name]
    d = spec.derive(pd.read_csv(FOLDER / name / "data.csv"))
    if block == "lmm_completers":
        d = d[d.groupby("subject")["y"].transform("size") == 2]
    for f in spec.factors:
        levels = sorted(d[f].unique(), key=lambda v: v.casefold() if isinstance(v, str) else v)
        first = [v for v in levels if v == spec.reference.get(f)]
        d = d.assign(
            **{f: pd.Categorical(d[f], categories=[*first, *(v for v in levels if v not in first)])}
        )
    return d


def expected(name: str) -> dict[str, Any] | None:
    path = FOLDER / name / "expected.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def fitted(name: str, block: str, ddf: str) -> MixedModel:
    return lmm(SETS[name].models[block], table(name, block), ddf=ddf)


def variance_name(stored: str) -> str:
    """Return the fit's name: ``subject:(Intercept)`` -> ``subject``; R's column sp is a product."""
    plain = stored.removesuffix(":(Intercept)")
    return {"Residual": "residual", "sp": "product:subject"}.get(plain, plain)


def blocks() -> list[tuple[str, str]]:
    return [(name, block) for name, spec in SETS.items() for block in spec.models]


@pytest.mark.parametrize("ddf", METHODS)
@pytest.mark.parametrize(("name", "block"), blocks())
def test_fit_equals_r_or_has_a_clear_status(name, block, ddf, comparison):
    """Against expected.json where there is one; elsewhere every number must be a number."""
    fit = fitted(name, block, ddf)
    if (answers := expected(name)) is None:
        assert fit.status in ("ok", "boundary")
        assert np.isfinite(fit.coefficients.to_numpy()).all()
        assert np.isfinite(fit.anova().to_numpy()).all()
        assert (fit.variance >= 0).all() and fit.variance["residual"] > 0
        assert any("boundary" in w for w in fit.warnings) == (fit.status == "boundary")
        return
    wanted = answers["computed"][block]
    assert len(fit.problem.rows) == wanted["n_obs"]
    comparison.variances(fit, {variance_name(k): v for k, v in wanted["variance"].items()})
    comparison.loglik(fit, wanted["minus2_reml_loglik"])
    if "fixed" in wanted:
        comparison.coefficients(fit, wanted["fixed"])
    comparison.type3(fit, wanted["type3"][ddf.replace("-", "_")])
    comparison.check({"type 3": SETS[name].type3_rtol})
    if "singular" in wanted:
        assert fit.status == ("boundary" if wanted["singular"] else "ok")


def test_every_set_in_the_folder_is_read():
    found = {p.parent.name for p in FOLDER.glob("*/data.csv")}
    assert found - {"nist_atmwtag", "nist_sirstv", "nist_smls07"} == set(SETS)


@pytest.mark.parametrize("ddf", METHODS)
def test_joint_carry_over_test_equals_r(ddf, comparison):
    """Several contrasts at once: F with pbkrtest's scale and with lmerTest's joint df."""
    fit = fitted("jk_claudication_4x4", "lmm_carry", ddf)
    answers = expected("jk_claudication_4x4")
    assert answers is not None
    rows = np.eye(len(fit.problem.names))[[n.startswith("c_") for n in fit.problem.names]]
    joint = small_sample.kenward_roger_f if ddf == "kenward-roger" else small_sample.satterthwaite_f
    f = joint(fit.fit, rows)
    got = {"num_df": f.num_df, "den_df": f.den_df[0], "F": f.f[0], "p": f.p[0]}
    wanted = answers["computed"]["lmm_carry"]["joint_carry_test"][ddf.replace("-", "_")]
    comparison.numbers(got, wanted, "carry-over")
    comparison.check()


def test_adjusted_means_equal_emmeans(comparison):
    fit = fitted("lmertest_ham_sex", "lmm", "satterthwaite")
    answers = expected("lmertest_ham_sex")
    assert answers is not None
    for mean in answers["computed"]["emmeans_product"]:
        row = fit.contrast({"product": mean["product"]}).iloc[0]
        wanted = {"estimate": mean["mean"], "se": mean["se"], "df": mean["df"]}
        wanted["ci_low"], wanted["ci_high"] = mean["ci95"]
        comparison.numbers(row, wanted, mean["product"])
    comparison.check()


@pytest.mark.parametrize("name", ["ema_replicate_ds1", "replicatebe_ds17_unbalanced"])
def test_all_fixed_analysis_equals_lm(name, comparison):
    """The regulators' method A: subjects fixed, sequence aliased with them, residual df."""
    fit = lmm("y ~ sequence + subject + period + treatment", table(name), ddf="residual")
    answers = expected(name)
    assert answers is not None
    row = fit.contrast({"treatment": "T - R"}).iloc[0]
    wanted = answers["computed"]["method_A_all_fixed"]
    wanted |= {"estimate": wanted["log_estimate"], "se": wanted["log_se"]}
    comparison.numbers(row, wanted, "T - R")
    comparison.check()


@pytest.mark.parametrize(
    ("name", "block", "contrast"),
    [
        ("chow_liu_auc_abba", "two_sample_t", "T - R"),
        ("jk_copd_pefr", "two_sample_t_completers", "A - B"),
    ],
)
def test_complete_two_period_crossover_equals_the_two_sample_t(name, block, contrast, comparison):
    model = "lmm_completers" if "completers" in block else "lmm"
    answers = expected(name)
    assert answers is not None
    row = fitted(name, model, "kenward-roger").contrast({"treatment": contrast}).iloc[0]
    wanted = dict(answers["computed"][block]["treatment_A_minus_B"])
    wanted["statistic"] = wanted.pop("t")
    comparison.numbers(row, wanted, contrast)
    comparison.check()
