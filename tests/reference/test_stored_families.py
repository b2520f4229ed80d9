"""The studies' models of counts and shares against stored R answers (families.R)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ketastats.frequentist import gee_kernel
from ketastats.frequentist.gee import gee
from ketastats.frequentist.glmm import glmm
from ketastats.study.load import load_study, packaged_studies
from tests.reference.conftest import by_term, term_key
from tests.reference.test_stored_answers import HERE, as_estimand

GEEPACK = 1e-7
"""geepack stops when no coefficient moves by 1e-13 of itself; its correlation, which has no rule of
its own, is then known to about 1e-8."""
ESTIMATE = 1e-7
"""In standard errors: R's optima are ended by Newton steps of at most 1e-8."""
ERROR = 1e-5
"""R's Hessians are numerical derivatives, those of lme4 of a search within: up to 2e-6 where the
likelihood is flat. On the natural scale the gradient of R's integrate() is numerical too."""


def stored() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    spec = json.loads((HERE / "families" / "models.json").read_text(encoding="utf-8"))
    answers = json.loads((HERE / "families" / "answers.json").read_text(encoding="utf-8"))
    assert [m["name"] for m in spec["models"]] == [a["name"] for a in answers["models"]]
    levels = spec["levels"]
    models = [m | {"levels": levels[m["data"]]} for m in spec["models"]]
    return list(zip(models, answers["models"], strict=True))


CASES = stored()
POPULATION = [(m, a) for m, answer in CASES if m["engine"] == "gee" for a in answer["answers"]]
RUNS_AWAY = "jelen2025_1_response_person"
TYPICAL = [(m, a) for m, a in CASES if m["engine"] == "glmm" and m["name"] != RUNS_AWAY]


def table(model: dict[str, Any]) -> pd.DataFrame:
    levels = model["levels"]
    d = pd.read_csv(HERE / "studies" / model["data"], dtype=dict.fromkeys(levels, "str"))
    d = d.assign(**{c: pd.Categorical(d[c], categories=v) for c, v in levels.items()})
    return d[d[model["outcome"]].notna()]


def amount(model: dict[str, Any]) -> dict[str, str]:
    return {"size" if model["amount"].endswith("_trials") else "exposure": model["amount"]}


def questions(model: dict[str, Any], scale: str) -> list:
    asked = [q for q in model["estimands"] if q["scale"] == scale]
    return [as_estimand(q, model["outcome"]) for q in asked]


def on(scale: str, model: dict[str, Any], fit) -> pd.DataFrame:
    """Return the answers asked on a scale, by estimand; no row where none is."""
    asked = questions(model, scale)
    return fit.contrast(estimands=asked, scale=scale).set_index("estimand") if asked else None


@pytest.mark.parametrize(
    ("model", "answer"), POPULATION,
    ids=[f"{m['name']}-{a['working']}-{a['covariance']}" for m, a in POPULATION],
)  # fmt: skip
def test_population_averages_equal_geepack_and_clubsandwich(model, answer, monkeypatch):
    """Bias-reduced errors are CR3 of a glm, whose working correlation is none.

    geepack's correlation of shares weighs products by the trials of both rows, ours is of residuals
    in units of their own: there it is taken from geepack, and the equations are the same.
    """
    if model["family"] == "binomial":
        given = (float(answer["correlation"]), False)
        monkeypatch.setattr(gee_kernel, "_correlation", lambda rows, pearson: given)
    fit = gee(
        model["formula"], table(model), outcome=model["outcome"], family=model["family"],
        working=answer["working"], covariance=answer["covariance"], ddf="z", **amount(model),
    )  # fmt: skip
    np.testing.assert_allclose(fit.correlation, answer["correlation"], rtol=GEEPACK)
    got = by_term(fit.coefficients)
    assert set(got) == {term_key(name) for name in answer["estimate"]}
    for column in ("estimate", "se"):
        for name, wanted in answer[column].items():
            close = GEEPACK * answer["se"][name]
            np.testing.assert_allclose(
                got[term_key(name)][column], wanted, rtol=GEEPACK, atol=close
            )
    for scale in ("natural", "link"):
        rows = on(scale, model, fit)
        for wanted in answer["asked"] if rows is not None else []:
            if wanted["name"] in rows.index:
                row = rows.loc[wanted["name"]]
                np.testing.assert_allclose(
                    row["estimate"], wanted["estimate"], atol=GEEPACK * wanted["se"]
                )
                np.testing.assert_allclose(row["se"], wanted["se"], rtol=GEEPACK)


@pytest.mark.parametrize(("model", "answer"), TYPICAL, ids=[m["name"] for m, _ in TYPICAL])
def test_a_typical_animal_equals_lme4_and_glmmtmb(model, answer):
    fit = glmm(
        model["formula"], table(model), outcome=model["outcome"], family=model["family"],
        nodes=answer["nodes"], **amount(model),
    )  # fmt: skip
    got = by_term(fit.coefficients)
    assert set(got) == {term_key(name) for name in answer["terms"]}
    for name, estimate, se in zip(answer["terms"], answer["beta"], answer["se"], strict=True):
        row = got[term_key(name)]
        np.testing.assert_allclose(row["estimate"], estimate, atol=ESTIMATE * se, err_msg=name)
        np.testing.assert_allclose(row["se"], se, rtol=ERROR, err_msg=name)
    np.testing.assert_allclose(fit.variance["subject"] ** 0.5, answer["sd"], rtol=ESTIMATE)
    if "dispersion" in answer:
        name = "alpha" if model["family"] == "negative-binomial" else "rho"
        found = fit.spreads.loc[name, "estimate"]
        np.testing.assert_allclose(found, answer["dispersion"], rtol=ESTIMATE)
    np.testing.assert_allclose(fit.loglik, answer["loglik"], atol=ESTIMATE)
    link, natural = on("link", model, fit), on("natural", model, fit)
    for wanted in answer["asked"]:
        rows, numbers = (natural if wanted["scale"] == "natural" else link), wanted[wanted["scale"]]
        row = rows.loc[wanted["name"]]
        np.testing.assert_allclose(row["se"], numbers["se"], rtol=ERROR, err_msg=wanted["name"])
        np.testing.assert_allclose(
            row["estimate"], numbers["estimate"], atol=ESTIMATE * numbers["se"]
        )


def test_a_standard_deviation_that_the_nodes_make_up_is_refused():
    """Eight of 26 people change their answer, and lme4's SD is 4.5, 7.4, 16 and 12 with 7, 15, 25
    and 100 nodes: it is the nodes that decide."""
    ((model, answer),) = [(m, a) for m, a in CASES if m["name"] == RUNS_AWAY]
    assert answer["sd"] > 10
    fit = glmm(
        model["formula"], table(model), outcome="response", family="binomial",
        nodes=answer["nodes"], **amount(model),
    )  # fmt: skip
    assert fit.status == "unconverged" and fit.coefficients["estimate"].isna().all()
    assert any("runs away" in note for note in fit.warnings)


@pytest.mark.parametrize("name", packaged_studies())
def test_the_stored_models_are_those_that_the_studies_declare(name):
    """A changed formula needs new answers: run make_inputs.py and families.R again."""
    declared = {
        (a.engine, a.outcome, a.family, a.formula)
        for a in load_study(name).analyses
        if a.engine in ("gee", "glmm")
    }
    kept = {
        (m["engine"], m["outcome"], m["family"], m["formula"])
        for m, _ in CASES
        if m["study"] == name
    }
    assert kept <= declared
    assert {engine for engine, *_ in kept} == {engine for engine, *_ in declared}
