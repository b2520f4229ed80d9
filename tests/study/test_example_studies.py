"""The packaged studies: truth, draws, provenance and answers of each."""

from __future__ import annotations

import re
import tomllib
from importlib import resources

import numpy as np
import pytest

import ketastats as ks


@pytest.fixture(scope="module", params=ks.packaged_studies())
def study(request):
    return ks.load_study(request.param)


def test_every_estimand_has_a_true_value_on_both_scales(study):
    truth = study.true_values()
    assert len(truth) == len(study.estimands)
    assert np.isfinite(truth[["latent", "natural"]]).all(axis=None)


def test_every_outcome_is_drawn_alike_alone_and_again(study):
    for outcome in study.outcomes:
        once, again = (study.simulate(7, outcome=outcome.name) for _ in range(2))
        assert once.equals(again) and once[outcome.name].notna().any()


def test_sex_is_a_factor_with_a_question_of_its_own_in_every_outcome(study):
    assert "sex" in {s.name for s in study.design.strata}
    asked = {e.outcome for e in study.estimands if "sex" in dict(e.contrast)}
    assert asked == {o.name for o in study.outcomes}


def test_the_first_question_of_every_outcome_is_put_to_both_schools(study):
    """Sixty brain regions may do without a sampler: what counts there is their number."""
    for o in study.outcomes:
        first = next(e for e in study.estimands if e.outcome == o.name)
        engines = {
            a.engine
            for a in study.analyses
            if a.role != "published" and first in study.estimands_of(a)
        }
        assert engines & {"reml", "gee", "glmm"}, first.name
        assert engines & {"posterior", "mcmc"} or o.name == "density", first.name


def test_no_question_stands_without_an_analysis(study):
    asked = {e.name for a in study.analyses for e in study.estimands_of(a)}
    assert asked == {e.name for e in study.estimands}


def unsourced(said: dict, wanted: list[str]) -> list[str]:
    """Return what has no provenance of the form ``kind: note``."""
    form = re.compile(r"assumed|(paper|secondary|derived|typical|assumed): .{4,}")
    return [key for key in wanted if not form.fullmatch(said.get(key, ""))]


def test_every_number_of_the_file_says_where_it_comes_from(study):
    """Read off the file itself, so that what no table of parameters lists is not forgotten."""
    text = resources.files("ketastats").joinpath("studies", f"{study.id}.toml").read_text("utf-8")
    raw = tomllib.loads(text)
    design = raw["design"]
    wanted = ["subjects", *design.get("strata", {}), *design.get("clusters", {})]
    wanted += design.get("within", {})
    wanted += [k for key, k in (("times", "time"), ("washout_days", "washout")) if key in design]
    assert not unsourced(raw["study"]["provenance"], wanted)
    for o in raw["outcomes"].values():
        assert all(not unsourced(e, ["provenance"]) for e in o["effects"])
        keys = ["scale", "baseline", *(f"spread.{term}" for term in o["spread"])]
        keys += [k for k in ("missing", "dropout", "carry_over", "linked", "entry") if k in o]
        keys += ["scale.overdispersion"] if "overdispersion" in o["scale"] else []
        own = o.get("within", {})
        keys += [k for k in own if k not in ("time", *design.get("within", {}))]
        assert not unsourced(o["provenance"], keys)


@pytest.mark.slow
def test_every_frequentist_analysis_answers_or_says_why(study):
    chosen = [a.name for a in study.analyses if a.engine in ("reml", "glmm", "gee")]
    table = ks.analyse(study, seed=1, analyses=chosen).estimates
    answered = table[table["status"].isin(["ok", "boundary"])]
    assert len(answered) > 0.8 * len(table)
    assert np.isfinite(answered[["estimate", "se"]]).all(axis=None)
    rest = table[~table["status"].isin(["ok", "boundary"])]
    assert (rest["notes"] != "").all()
