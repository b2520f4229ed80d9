"""Golden cases, printed data sets and the studies' own formulas against stored R answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ketastats.frequentist.lmm import lmm
from ketastats.study.load import load_study, packaged_studies
from ketastats.study.model import Estimand

HERE = Path(__file__).parent
METHODS = ("satterthwaite", "kenward-roger")
# R's own variances are off by 4e-7 of the largest where a variance is hardly determined (four cages
# of three mice): df and p follow them. Its numerical derivatives add 1e-7 to Satterthwaite df.
LOOSE = {"df": 5e-7, "p": 5e-7, "type 3 den_df": 5e-7, "type 3 p": 5e-7}
LIMITS = {"satterthwaite": LOOSE, "kenward-roger": LOOSE}


def stored(folder: str) -> list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]]:
    spec = json.loads((HERE / folder / "models.json").read_text(encoding="utf-8"))
    answers = json.loads((HERE / folder / "answers.json").read_text(encoding="utf-8"))
    assert [m["name"] for m in spec["models"]] == [a["name"] for a in answers["models"]]
    pairs = zip(spec["models"], answers["models"], strict=True)
    return [(folder, m, spec["levels"][m["data"]], a) for m, a in pairs]


CASES = [*stored("golden"), *stored("external"), *stored("studies")]
NAMES = [model["name"] for _, model, _, _ in CASES]


def table(folder: str, model: dict[str, Any], levels: dict[str, list[str]]) -> pd.DataFrame:
    frame = pd.read_csv(HERE / folder / model["data"], dtype=dict.fromkeys(levels, "str"))
    return frame.assign(**{c: pd.Categorical(frame[c], categories=v) for c, v in levels.items()})


def as_estimand(question: dict[str, Any], outcome: str) -> Estimand:
    return Estimand(
        name=question["name"],
        outcome=outcome,
        contrast=tuple((f, tuple(c.items())) for f, c in question["contrast"].items()),
        within=tuple(question["within"].items()),
        weights=(),
        target="direct",
        label="",
    )


@pytest.mark.parametrize("ddf", METHODS)
@pytest.mark.parametrize(("folder", "model", "levels", "answer"), CASES, ids=NAMES)
def test_fit_equals_r(folder, model, levels, answer, ddf, comparison):
    data = table(folder, model, levels)
    fit = lmm(model["formula"], data, outcome=model["outcome"], ddf=ddf)
    assert len(fit.problem.rows) == answer["n_obs"]
    assert fit.status == ("boundary" if answer["singular"] else "ok")
    comparison.variances(fit, named(answer["variance"], fit.variance))
    comparison.loglik(fit, answer["minus2_reml_loglik"])
    comparison.coefficients(fit, answer["coefficients"])
    assert len(answer["coefficients"]) == len(fit.coefficients)
    comparison.type3(fit, answer["type3"][ddf.replace("-", "_")])
    comparison.check(LIMITS[ddf])


def named(variance: dict[str, float], mine: pd.Series) -> dict[str, float]:
    """Let R's ``0 + grouped | cage`` answer for the name that the fit gives it."""
    renamed = {
        name: next((m for m in mine.index if m.split()[0] == name), name) for name in variance
    }
    return {renamed[name]: value for name, value in variance.items()}


ASKED = [case for case in CASES if case[1]["estimands"]]


@pytest.mark.parametrize("ddf", METHODS)
@pytest.mark.parametrize(
    ("folder", "model", "levels", "answer"), ASKED, ids=[c[1]["name"] for c in ASKED]
)
def test_estimands_equal_emmeans(folder, model, levels, answer, ddf, comparison):
    data = table(folder, model, levels)
    fit = lmm(model["formula"], data, outcome=model["outcome"], ddf=ddf)
    questions = [as_estimand(q, model["outcome"]) for q in model["estimands"]]
    rows = fit.contrast(estimands=questions).set_index("estimand")
    assert set(rows["status"]) == {fit.status}
    for wanted in answer["estimands"]:
        comparison.numbers(rows.loc[wanted["name"]], wanted[ddf.replace("-", "_")], wanted["name"])
    comparison.check(LIMITS[ddf])


def test_attenuation_asked_in_words_equals_emmeans(comparison):
    """The question as a user writes it, not as stored weights: overall, men, women, difference."""
    folder, model, levels, answer = CASES[NAMES.index("jelen2025_madrs_1_primary")]
    fit = lmm(model["formula"], table(folder, model, levels), outcome="madrs")
    wanted = {e["name"]: e["kenward_roger"] for e in answer["estimands"]}
    ask = {"treatment": "naltrexone - placebo", "time": "day1 - pre"}
    rows = {
        "attenuation": fit.contrast(ask),
        "attenuation_men": fit.contrast(ask, within={"sex": "M"}),
        "attenuation_women": fit.contrast(ask, within={"sex": "F"}),
        "attenuation_sex": fit.contrast(ask | {"sex": "M - F"}),
    }
    for name, row in rows.items():
        comparison.numbers(row.iloc[0], wanted[name], name)
    comparison.check()
    both = rows["attenuation_men"]["estimate"].item() - rows["attenuation_women"]["estimate"].item()
    np.testing.assert_allclose(both, rows["attenuation_sex"]["estimate"].item(), rtol=1e-12)


def test_a_missing_cage_means_no_shared_deviation():
    """``(1 | cage)`` with empty cages is the fit that ``(0 + grouped | cage)`` writes out."""
    folder, model, levels, _ = CASES[NAMES.index("nested")]
    data = table(folder, model, levels)
    filled = data["cage"].cat.add_categories("none").fillna("none")
    written = lmm(model["formula"], data.assign(cage=filled), outcome="y")
    short = lmm(model["formula"].replace("0 + grouped", "1"), data, outcome="y")
    assert any("belong to no cage" in note for note in short.warnings)
    np.testing.assert_allclose(
        short.variance, written.variance, rtol=1e-9
    )  # two searches, one optimum
    np.testing.assert_allclose(short.coefficients, written.coefficients, rtol=1e-9)


@pytest.mark.parametrize("name", packaged_studies())
def test_every_reml_formula_of_the_studies_has_stored_answers(name):
    """A changed formula needs new answers: run make_inputs.py and studies.R again."""
    covered = {(m["study"], m["outcome"], m["formula"]) for _, m, _, _ in CASES if "study" in m}
    declared = {
        (name, a.outcome, a.formula) for a in load_study(name).analyses if a.engine == "reml"
    }
    missing = {
        formula for study, _, formula in declared - covered if study in {c[0] for c in covered}
    }
    assert not missing
