"""Tempting analyses: their nulls, their arithmetic, and their false positives."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import ketastats as ks
from ketastats.core.errors import StudyError
from ketastats.diagnosis.batch import answers, draw_complete
from ketastats.diagnosis.pitfall_rules import own_control_p, two_stage_p
from ketastats.diagnosis.pitfalls import (
    both_sides,
    effect_of,
    null_of,
    on_data,
    pitfall_panels,
    with_spread,
)
from ketastats.frequentist.two_stage import two_stage

NAMED = [(s, p.name) for s in ks.packaged_studies() for p in ks.load_study(s).pitfalls]


def pitfall(study, name):
    return next(p for p in study.pitfalls if p.name == name)


@pytest.mark.parametrize(("name", "which"), NAMED)
def test_the_null_takes_the_answer_away_and_nothing_of_other_outcomes(name, which):
    study = ks.load_study(name)
    p = pitfall(study, which)
    null = with_spread(null_of(study, p), p)
    assert effect_of(null, p.estimand) == 0.0 or p.rule == "responders"
    assert effect_of(study, p.estimand) != 0.0
    own = study.estimand(p.estimand).outcome
    for before, after in zip(study.outcomes, null.outcomes, strict=True):
        assert (before == after) == (before.name != own)


def test_every_study_has_a_pitfall():
    assert {name for name, _ in NAMED} == set(ks.packaged_studies())


def test_levels_that_are_alike_have_the_same_means():
    study = ks.load_study("yokoyama2024")
    null = null_of(study, pitfall(study, "two_tests"))
    truth = null.true_values().set_index("estimand")["natural"]
    assert truth["memory_S"] == pytest.approx(truth["memory_R"], abs=1e-9)
    whole = study.true_values().set_index("estimand")["natural"]
    assert truth["memory_R"] == pytest.approx(whole["memory_R"], abs=1e-9)


def test_a_null_that_leaves_an_effect_is_refused():
    study = ks.load_study("yokoyama2024")
    wrong = replace(
        pitfall(study, "two_tests"), alike=(), without="trial", estimand="swim_isolation"
    )
    with pytest.raises(StudyError, match=r"is still .* when its null is made"):
        null_of(study, wrong)


def test_own_controls_equal_an_analysis_of_variance_by_least_squares():
    """The same numbers from ordinary least squares on the re-expressed values."""
    import statsmodels.formula.api as smf

    study = ks.load_study("lazarevic2021")
    p = pitfall(study, "own_control")
    plan = study.plan("immobility")
    y = draw_complete(study, "immobility", 4, 3)
    got = own_control_p(study, p, plan, y)
    for b in range(3):
        frame = pd.DataFrame({c: plan[c].astype(str) for c in ("drug", "blocker")}).assign(y=y[b])
        centre = frame[frame["drug"] == "vehicle"].groupby("blocker")["y"].mean()
        frame["z"] = frame["y"] - frame["blocker"].map(centre)
        fit = smf.ols("z ~ C(drug, Sum) * C(blocker, Sum)", frame[frame["drug"] != "vehicle"]).fit()
        name = next(n for n in fit.pvalues.index if n.startswith("C(blocker"))
        assert got[b] == pytest.approx(fit.pvalues[name], rel=1e-9)  # two ways of rounding


def test_a_common_constant_changes_no_test():
    study = ks.load_study("lazarevic2021")
    p = pitfall(study, "own_control")
    plan, y = study.plan("immobility"), draw_complete(study, "immobility", 4, 5)
    moved = own_control_p(study, p, plan, 3.0 * y + 100.0)
    np.testing.assert_allclose(moved, own_control_p(study, p, plan, y), rtol=1e-9)


def test_two_stages_equal_the_function_for_one_table():
    study = ks.load_study("jelen2025")
    p = pitfall(study, "two_stages")
    plan, y = study.plan("madrs"), draw_complete(study, "madrs", 4, 6)
    got = two_stage_p(study, p, plan, y)
    for b in range(6):
        table = two_stage(plan.assign(madrs=y[b]), "madrs", change=("pre", "day1"))
        assert got[b] == pytest.approx(table.loc["treatment", "p"], rel=1e-9)


def test_two_tests_claim_what_two_answers_say():
    study = ks.load_study("yokoyama2024_silencing")
    p = pitfall(study, "two_tests_swim")
    y = draw_complete(study, "immobility", 2, 60)
    asked = [study.estimand(n) for n in (p.shown, p.not_shown)]
    found = answers(study, study.analysis(p.right), asked, y)
    expected = (found.p[:, 0] < 0.05) & (found.p[:, 1] >= 0.05)
    assert (both_sides(study, p, y)["tempting"].claimed == expected).all()
    assert expected.any() and not expected.all()


def test_batches_of_gee_equal_single_fits():
    study = ks.load_study("jelen2025")
    a = study.analysis("response_primary")
    y = draw_complete(study, "response", 3, 4)
    asked = [study.estimand(n) for n in ("response", "response_sex")]
    many = answers(study, a, asked, y)
    for b in range(4):
        one = ks.gee(
            a.formula, study.plan("response").assign(response=y[b], n=1), outcome="response",
            family="binomial", size="n",
        ).contrast(estimands=asked, scale="natural")  # fmt: skip
        np.testing.assert_allclose(many.p[b], one["p"], rtol=1e-12)


def test_an_engine_without_a_batch_is_refused():
    study = ks.load_study("jelen2025")
    with pytest.raises(StudyError, match="'posterior' has no batch"):
        answers(study, study.analysis("bayes"), [study.estimand("attenuation")], np.zeros((1, 104)))


def test_on_the_data_both_sides_say_what_was_estimated():
    study = ks.load_study("jelen2025")
    names = ["primary", "glx_primary", "glx_published"]
    results = ks.analyse(study, seed=1, analyses=names)
    said = on_data(results, pitfall(study, "spectra")).set_index("side")
    estimates = results.estimates.set_index(["analysis", "estimand"])
    assert said.loc["tempting", "p"] == estimates.loc[("glx_published", "glx"), "p"]
    assert said.loc["right", "p"] == estimates.loc[("glx_primary", "glx"), "p"]
    stages = on_data(results, pitfall(study, "two_stages")).set_index("side")
    table = two_stage(results.data["madrs"], "madrs", change=("pre", "day1"))
    assert stages.loc["tempting", "p"] == table.loc["treatment", "p"]
    assert list(on_data(results, pitfall(study, "pairs"))["side"]) == []  # neither was run


def test_the_same_seed_gives_the_same_panel():
    study = ks.load_study("jelen2025")
    study = replace(study, pitfalls=(pitfall(study, "two_stages"),))
    first, again = (pitfall_panels(study, draws=50, seed=3)[0].table for _ in range(2))
    assert first.equals(again)
    assert (first["mc_se"] == np.sqrt(first.rejection_rate * (1 - first.rejection_rate) / 50)).all()


RATES = {
    # tempting false positives measured over 2,000 to 10,000 draws of these declarations
    ("jelen2025", "spectra"): 0.267,
    ("jelen2025", "two_stages"): 0.079,
    ("lazarevic2021", "own_control"): 0.223,
    ("lazarevic2021", "pulses"): 0.286,
    ("yokoyama2024_silencing", "two_tests"): 0.254,
    ("yokoyama2024_silencing", "two_tests_swim"): 0.209,
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "which"), RATES)
def test_false_positives_are_those_measured(name, which):
    study = ks.load_study(name)
    study = replace(study, pitfalls=(pitfall(study, which),))
    draws = 1000
    table = pitfall_panels(study, draws=draws, seed=17)[0].table.set_index(["truth", "side"])
    wrong, right = (table.loc[("none", s), "rejection_rate"] for s in ("tempting", "right"))
    rate = RATES[name, which]
    # four standard errors, of this rate and of the one it is compared with
    assert abs(wrong - rate) < 4 * np.sqrt(rate * (1 - rate) * (1 / draws + 1 / 2000))
    assert abs(right - 0.05) < 4 * np.sqrt(0.05 * 0.95 / draws)
    assert wrong > right


@pytest.mark.slow
@pytest.mark.parametrize("name", ks.packaged_studies())
def test_no_right_analysis_finds_too_much(name):
    """One-sided: the bias-reduced GEE is conservative on purpose."""
    for panel in pitfall_panels(ks.load_study(name), draws=400, seed=23):
        table = panel.table.set_index(["truth", "side"])
        row = table.loc[("none", "right")]
        assert row["rejection_rate"] < 0.05 + 4 * np.sqrt(0.05 * 0.95 / row["draws"]), (
            panel.pitfall.name
        )


def test_the_rate_of_own_controls_is_that_of_plain_normal_data():
    """Brute force: six cells of eight normal values, no effect; 25.4 +- 0.3 % measured apart."""
    rng = np.random.default_rng(11)
    draws, n = 4000, 8
    y = rng.normal(size=(draws, 2, 3, n))
    z = y[:, :, 1:] - y[:, :, :1].mean(axis=3, keepdims=True)
    difference = z.mean(axis=(2, 3))
    pooled = z.var(axis=3, ddof=1).mean(axis=(1, 2))
    t = (difference[:, 0] - difference[:, 1]) / np.sqrt(pooled * 2 / (2 * n))
    rate = np.mean(2 * stats.t.sf(np.abs(t), 4 * (n - 1)) < 0.05)
    # the variance of the difference is three times what the analysis assumes
    exact = 2 * stats.t.sf(stats.t.isf(0.025, 4 * (n - 1)) / np.sqrt(3), 4 * (n - 1))
    assert rate == pytest.approx(exact, abs=4 * np.sqrt(0.25 * 0.75 / draws))
    assert exact == pytest.approx(0.25, abs=0.01)


def test_slow_analyses_get_fewer_draws_and_say_so():
    from ketastats.diagnosis.pitfalls import LOOPED, affordable

    mice, people = ks.load_study("yokoyama2024"), ks.load_study("jelen2025")
    assert affordable(people, pitfall(people, "spectra"), 2000) == 2000
    assert affordable(people, pitfall(people, "pairs"), 2000) == LOOPED
    few = affordable(mice, pitfall(mice, "two_tests"), 2000)
    assert LOOPED <= few < 2000
    assert affordable(mice, pitfall(mice, "two_tests"), 50) == 50
