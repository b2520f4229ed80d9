"""Outcomes with a link: what an analysis is fitted to, and on which scale it answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.analysis.responses import response
from ketastats.core.errors import DataError, StudyError

MICE = (Path(__file__).parents[1] / "study" / "examples" / "mice.toml").read_text(encoding="utf-8")
ANALYSES = """
[estimands.rescue_link]
outcome = "failures"
scale = "link"
contrast = { drug = "ketamine - saline", phase = "treated - shocked" }
[estimands.weaker_link]
outcome = "dopamine"
scale = "link"
contrast = { phase = "shocked - before" }
[analyses.shares]
engine = "reml"
outcome = "failures"
formula = "drug * phase * sex + (1 | subject)"
[analyses.averaged]
engine = "gee"
family = "binomial"
outcome = "failures"
formula = "drug * phase + sex + (1 | subject)"
role = "companion"
[analyses.conditional]
engine = "glmm"
family = "beta-binomial"
outcome = "failures"
formula = "drug * phase + sex + (1 | subject)"
role = "companion"
[analyses.logs]
engine = "reml"
outcome = "dopamine"
response = "log"
formula = "drug * phase + (1 | subject)"
[analyses.serial]
engine = "reml"
outcome = "dopamine"
residual = "ar1(phase | subject)"
formula = "drug * phase"
role = "companion"
"""


@pytest.fixture(scope="module")
def study():
    return ks.parse_study(MICE + ANALYSES, where="mice")


@pytest.fixture(scope="module")
def results(study):
    return ks.analyse(study, seed=3)


def answers(results, analysis):
    table = results.estimates
    return table[table["analysis"] == analysis].set_index("estimand")


def test_a_gaussian_model_of_failures_is_one_of_shares(study, results):
    """By hand: the share of the trials, then ks.lmm."""
    data = study.simulate(3, outcome="failures")
    share = data.assign(share=data["failures"].astype(float) / 30)
    fit = ks.lmm("share ~ drug * phase * sex + (1 | subject)", share)
    wanted = fit.contrast({"drug": "ketamine - saline", "phase": "treated - shocked"}).iloc[0]
    got = answers(results, "shares").loc["rescue"]
    assert got["estimate"] == pytest.approx(wanted["estimate"], rel=1e-12)
    assert got["p"] == pytest.approx(wanted["p"], rel=1e-9)  # categories in another order of rows
    assert -1 < got["estimate"] < 1


def test_the_link_scale_is_not_answered_by_shares_and_says_so(results):
    row = answers(results, "shares").loc["rescue_link"]
    assert row["status"] == "not_estimable" and np.isnan(row["estimate"])
    assert row["notes"] == (
        "asked on the link scale, and this analysis answers on the natural scale"
    )


def test_gee_answers_each_estimand_on_its_own_scale(study, results):
    data = study.simulate(3, outcome="failures").assign(trials=30)
    fit = ks.gee(
        "failures ~ drug * phase + sex + (1 | subject)", data, family="binomial", size="trials"
    )
    asked = {"drug": "ketamine - saline", "phase": "treated - shocked"}
    table = answers(results, "averaged")
    for name, scale in (("rescue", "natural"), ("rescue_link", "link")):
        wanted = fit.contrast(asked, scale=scale).iloc[0]
        assert table.loc[name, "estimate"] == pytest.approx(wanted["estimate"], rel=1e-12)
        assert scale in table.loc[name, "method"]
    order = [e.name for e in study.estimands if e.outcome == "failures"]
    assert list(table.index) == order


def test_glmm_answers_each_estimand_on_its_own_scale(study, results):
    data = study.simulate(3, outcome="failures").assign(trials=30)
    fit = ks.glmm(
        "failures ~ drug * phase + sex + (1 | subject)", data, family="beta-binomial", size="trials"
    )
    asked = {"drug": "ketamine - saline", "phase": "treated - shocked"}
    table = answers(results, "conditional")
    for name, scale in (("rescue", "natural"), ("rescue_link", "link")):
        wanted = fit.contrast(asked, scale=scale).iloc[0]
        assert np.isfinite(wanted["estimate"])
        assert table.loc[name, "estimate"] == pytest.approx(wanted["estimate"], rel=1e-9)
        assert table.loc[name, "p"] == pytest.approx(wanted["p"], rel=1e-7)


def test_logarithms_answer_on_the_link_scale_only(study, results):
    table = answers(results, "logs")
    assert table.loc["weaker", "status"] == "not_estimable"
    data = study.simulate(3, outcome="dopamine")
    logs = data.assign(log=np.log(data["dopamine"]))
    wanted = ks.lmm("log ~ drug * phase + (1 | subject)", logs)
    row = wanted.contrast({"phase": "shocked - before"}).iloc[0]
    assert table.loc["weaker_link", "estimate"] == row["estimate"]


def test_a_residual_structure_reaches_the_model(study, results):
    data = study.simulate(3, outcome="dopamine")
    fit = ks.lmm("dopamine ~ drug * phase", data, residual="ar1(phase | subject)")
    row = fit.contrast({"phase": "shocked - before"}).iloc[0]
    assert answers(results, "serial").loc["weaker", "se"] == row["se"]


def test_truth_stands_on_the_scale_that_is_asked(study, results):
    table = results.side_by_side().set_index("estimand")
    truth = results.truth.set_index("estimand")
    assert table.loc["rescue", "true"] == truth.loc["rescue", "natural"]
    assert table.loc["rescue_link", "true"] == truth.loc["rescue", "latent"]
    # the first analysis that has an answer: shares have none on the link scale
    assert table.loc["rescue", "frequentist_engine"] == "reml"
    assert table.loc["rescue_link", "frequentist_engine"] == "gee"
    assert "conditional" in set(results.estimates["analysis"])


def test_trials_of_ones_own_are_used(study):
    data = study.simulate(3, outcome="failures").dropna()
    outcome, analysis = study.outcome("failures"), study.analysis("averaged")
    assert (response(outcome, analysis, data).data["failures_trials"] == 30).all()
    own = data.assign(failures_trials=np.where(data["phase"] == "before", 100, 30))
    assert response(outcome, analysis, own).data["failures_trials"].max() == 100
    with pytest.raises(DataError, match="not above 0"):
        response(outcome, analysis, own.assign(failures_trials=0))


def test_exposure_by_level_divides_a_count(study):
    data = study.simulate(3, outcome="spines").dropna()
    gaussian = replace(study.analysis("shares"), outcome="spines")
    ready = response(study.outcome("spines"), gaussian, data)
    by = data["phase"].astype(str).map({"before": 2.0, "shocked": 1.0, "treated": 1.0})
    pd.testing.assert_series_equal(
        ready.data["spines"], data["spines"].astype(float) / by.to_numpy(), check_names=False
    )
    with pytest.raises(DataError, match="no column 'phase', which decides 'spines_exposure'"):
        response(study.outcome("spines"), gaussian, data.drop(columns="phase"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('family = "binomial"', 'family = "poisson"', "'poisson' is for a count scale"),
        ('outcome = "dopamine"\nresponse', 'outcome = "spines"\nresponse', "taken of a ratio"),
    ],
)
def test_a_family_for_another_kind_is_refused(old, new, message):
    text = (MICE + ANALYSES).replace(old, new)
    with pytest.raises(StudyError, match=message):
        ks.parse_study(text, where="mice")


def test_a_scale_at_its_default_changes_no_hash(study):
    """Studies written before there were scales keep their hash; asking on the link changes it."""
    plain = replace(study, estimands=tuple(replace(e, scale="natural") for e in study.estimands))
    assert plain.hash != study.hash
    said = MICE.replace("[estimands.rescue]\n", '[estimands.rescue]\nscale = "natural"\n')
    assert ks.parse_study(said, where="m").hash == ks.parse_study(MICE, where="m").hash


def test_draws_are_answered_as_the_data_are(study, results):
    """The batch behind the false-positive rates fits shares and logarithms too."""
    from ketastats.diagnosis.batch import answer_batch
    from ketastats.synthesis.draw import draw_outcomes

    for name, estimand in (("shares", "rescue"), ("logs", "weaker_link"), ("serial", "weaker")):
        analysis, asked = study.analysis(name), study.estimand(estimand)
        y = draw_outcomes(study, analysis.outcome, 3, range(2), missing=False)
        got = answer_batch(study, analysis, asked, y)
        # no rows are lost in this study, so draw 0 is the data set
        assert got.estimate[0] == pytest.approx(answers(results, name).loc[estimand, "estimate"])
        assert got.p[0] == pytest.approx(answers(results, name).loc[estimand, "p"], rel=1e-6)


def test_other_choices_and_subjects_left_out_use_the_same_response(study, results):
    from ketastats.diagnosis.choices import method_choices
    from ketastats.diagnosis.influence import leave_one_out

    for estimand in ("rescue", "weaker", "weaker_link"):
        row = results.side_by_side().set_index("estimand").loc[estimand]
        if row["frequentist_analysis"] != "serial":  # a companion, which is not re-analysed
            choice = method_choices(results, estimand).iloc[0]
            assert choice["estimate"] == pytest.approx(row["frequentist_estimate"])
            whole = leave_one_out(results, estimand).iloc[0]
            assert whole["estimate"] == pytest.approx(row["frequentist_estimate"])
    with pytest.raises(DataError, match="no primary REML analysis answers 'weaker'"):
        method_choices(results, "weaker")


@pytest.mark.parametrize(
    ("outcome", "value", "message"),
    [
        ("failures", 4.5, r"the value 4.5 in row 3 is no whole number, and binomial is declared"),
        ("failures", 31, r"the value 31 in row 3 is above the declared maximum 30"),
        ("spines", 2.5, r"is no whole number, and count is declared"),
        ("preference", 1.0, r"is not between 0 and 1, and a proportion is declared"),
        ("dopamine", 0.0, r"is not above 0, and a ratio is declared"),
    ],
)
def test_values_that_a_kind_cannot_record_are_refused(study, outcome, value, message):
    data = {o.name: study.simulate(3, outcome=o.name) for o in study.outcomes}
    column = data[outcome][outcome].astype(float)
    column.iloc[3] = value
    data[outcome] = data[outcome].assign(**{outcome: column})
    with pytest.raises(DataError, match=message):
        ks.analyse(study, data)


def test_more_failures_than_trials_of_ones_own_are_refused(study):
    data = study.simulate(3, outcome="failures").assign(failures_trials=20)
    with pytest.raises(DataError, match="out of 20 trials"):
        response(study.outcome("failures"), study.analysis("averaged"), data)
