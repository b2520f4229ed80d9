"""Golden cases, printed data sets and the studies' own formulas against stored R answers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ketastats.frequentist.lmm import MixedModel, lmm
from ketastats.study.load import load_study, packaged_studies
from ketastats.study.model import Estimand
from tests.reference.conftest import by_term, term_key

HERE = Path(__file__).parent
METHODS = ("satterthwaite", "kenward-roger")
# R's own variances are off by 4e-7 of the largest where a variance is hardly determined (four cages
# of three mice): df and p follow them. Its numerical derivatives add 1e-7 to Satterthwaite df.
LOOSE = {"df": 5e-7, "p": 5e-7, "type 3 den_df": 5e-7, "type 3 p": 5e-7}
LIMITS = {"satterthwaite": LOOSE, "kenward-roger": LOOSE, "residual": {}}
# Newton steps on numerical derivatives end R's search of a residual structure; one covariance among
# 28 is then known to a few 1e-7 of the largest, and estimates follow them.
STRUCTURE = 1e-6


def stored(folder: str) -> list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]]:
    spec = json.loads((HERE / folder / "models.json").read_text(encoding="utf-8"))
    answers = json.loads((HERE / folder / "answers.json").read_text(encoding="utf-8"))
    assert [m["name"] for m in spec["models"]] == [a["name"] for a in answers["models"]]
    pairs = zip(spec["models"], answers["models"], strict=True)
    return [(folder, m, spec["levels"][m["data"]], a) for m, a in pairs]


CASES = [*stored("golden"), *stored("external"), *stored("studies")]
NAMES = [model["name"] for _, model, _, _ in CASES]
STRUCTURED = [case for case in CASES if "residual" in case[1]]


def methods(model: dict[str, Any]) -> tuple[str, ...]:
    """Return the df that R has for a model: least squares have one kind, nlme none."""
    return () if "residual" in model else METHODS if "|" in model["formula"] else ("residual",)


def by_method(cases: list) -> dict[str, list]:
    pairs = [(*case, ddf) for case in cases for ddf in methods(case[1])]
    return {"argvalues": pairs, "ids": [f"{p[1]['name']}-{p[-1]}" for p in pairs]}


def table(folder: str, model: dict[str, Any], levels: dict[str, list[str]]) -> pd.DataFrame:
    """Return the stored table, its outcome as a share, rate or logarithm where that is fitted."""
    frame = pd.read_csv(HERE / folder / model["data"], dtype=dict.fromkeys(levels, "str"))
    frame = frame.assign(**{c: pd.Categorical(frame[c], categories=v) for c, v in levels.items()})
    y = frame[model["outcome"]]
    y = y / frame[model["per"]] if "per" in model else y
    return frame.assign(**{model["outcome"]: np.log(y) if model.get("response") == "log" else y})


@cache
def fitted(name: str, ddf: str) -> MixedModel:
    """Return the fit of a stored model; two tests look at it."""
    folder, model, levels, _ = CASES[NAMES.index(name)]
    data = table(folder, model, levels)
    residual = model.get("residual")
    return lmm(model["formula"], data, outcome=model["outcome"], ddf=ddf, residual=residual)


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


@pytest.mark.parametrize(("folder", "model", "levels", "answer", "ddf"), **by_method(CASES))
def test_fit_equals_r(folder, model, levels, answer, ddf, comparison):
    fit = fitted(model["name"], ddf)
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


@pytest.mark.parametrize(("folder", "model", "levels", "answer", "ddf"), **by_method(ASKED))
def test_estimands_equal_emmeans(folder, model, levels, answer, ddf, comparison):
    fit = fitted(model["name"], ddf)
    questions = [as_estimand(q, model["outcome"]) for q in model["estimands"]]
    rows = fit.contrast(estimands=questions).set_index("estimand")
    assert set(rows["status"]) == {fit.status}
    for wanted in answer["estimands"]:
        comparison.numbers(rows.loc[wanted["name"]], wanted[ddf.replace("-", "_")], wanted["name"])
    comparison.check(LIMITS[ddf])


@pytest.mark.parametrize(
    ("folder", "model", "levels", "answer"), STRUCTURED, ids=[c[1]["name"] for c in STRUCTURED]
)
def test_residual_structures_equal_nlme(folder, model, levels, answer, comparison):
    """Estimates, errors as if the variances were known, variances, likelihood: all nlme has."""
    fit = fitted(model["name"], "residual")
    assert fit.status == "ok" and len(fit.problem.rows) == answer["n_obs"]
    comparison.variances(fit, answer["variance"])
    for name in {"rho"} & set(fit.variance.index):
        comparison.add("correlation", fit.variance[name], answer["variance"][name], name)
    comparison.loglik(fit, answer["minus2_reml_loglik"])
    got = by_term(fit.coefficients)
    assert len(got) == len(answer["coefficients"])
    for wanted in answer["coefficients"]:
        numbers = {"estimate": wanted["estimate"]} | wanted["given_variances"]
        comparison.numbers(got[term_key(wanted["name"])], numbers, wanted["name"])
    asked = [as_estimand(q, model["outcome"]) for q in model["estimands"]]
    rows = fit.contrast(estimands=asked).set_index("estimand")
    for wanted in answer["estimands"]:
        comparison.numbers(rows.loc[wanted["name"]], wanted["given_variances"], wanted["name"])
    comparison.check(dict.fromkeys(("variance", "correlation", "estimate", "se"), STRUCTURE))


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


def key(study: str, outcome: str, formula: str, response: str, residual: str) -> tuple[str, ...]:
    return study, outcome, formula, response, residual


@pytest.mark.parametrize("name", packaged_studies())
def test_every_reml_formula_of_the_studies_has_stored_answers(name):
    """A changed formula needs new answers: run make_inputs.py and studies.R again."""
    covered = {
        key(m["study"], m["outcome"], m["formula"], m.get("response", ""), m.get("residual", ""))
        for _, m, _, _ in CASES
        if m.get("study") == name
    }
    declared = {
        key(name, a.outcome, a.formula, a.response.replace("natural", ""), a.residual)
        for a in load_study(name).analyses
        if a.engine == "reml"
    }
    assert declared and not declared - covered
