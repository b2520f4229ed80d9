"""Large models in parts, subjects left out in batches, and four rules over many draws."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.core.errors import DataError
from ketastats.diagnosis import family_rates as rates_module
from ketastats.diagnosis import influence
from ketastats.diagnosis.family import family_panels
from ketastats.diagnosis.family_rates import RULES, _finds, _records, family_rates
from ketastats.diagnosis.influence import leave_one_out
from ketastats.diagnosis.multiplicity import families
from ketastats.diagnosis.separate import METHODS, answer_separated, separate
from ketastats.diagnosis.shrinkage import contrast_covariance
from ketastats.frequentist.fit import contrast_table, fit_problem
from ketastats.problem.build import build_problem
from ketastats.problem.questions import ask
from ketastats.study.load import parse_study

# two searches for one maximum, each to 1e-12 standard errors, and sums in another order
SAME = 1e-9

REGIONS = ", ".join(f'"r{i}"' for i in range(10))
ASKED = "\n".join(
    f"""[estimands.in_r{i}]
outcome = "density"
contrast = {{ drug = "b - a" }}
within = {{ region = "r{i}" }}"""
    for i in range(10)
)
BRAIN = f"""
schema = 1
[study]
id = "brain"
title = "Ten regions of sixteen brains"
[design]
kind = "parallel"
subject = "mouse"
factors = {{ drug = ["a", "b"] }}
within = {{ region = [{REGIONS}] }}
strata = {{ sex = {{ F = 0.5, M = 0.5 }} }}
[design.groups]
a = {{ drug = "a", n = 8 }}
b = {{ drug = "b", n = 8 }}
[design.clusters.cage]
size = 2
where = {{ drug = "a" }}
within = ["sex"]
[outcomes.density]
scale = {{ kind = "real", min = -100, max = 100, decimals = 6 }}
baseline = 0.0
effects = [{{ when = {{ drug = "b", region = ["r1", "r4"] }}, add = 1.0 }}]
spread = {{ subject = 0.5, cage = 0.4, residual = 0.5 }}
{ASKED}
[estimands.everywhere]
outcome = "density"
contrast = {{ drug = "b - a" }}
[estimands.unlike]
outcome = "density"
contrast = {{ drug = "b - a", region = "r1 - mean(r2, r3)" }}
[analyses.primary]
engine = "reml"
outcome = "density"
formula = "drug * region + sex + (1 | subject) + (1 | cage)"
ddf = "kenward-roger"
"""


@pytest.fixture(scope="module")
def brain():
    return parse_study(BRAIN, where="brain.toml")


@pytest.fixture(scope="module")
def results(brain):
    return ks.analyse(brain, seed=4)


def laid_out(study, formula=None):
    a = study.analysis("primary")
    problem = build_problem(formula or a.formula, study.plan("density"))
    rows = ask(problem, study.estimands).rows
    return problem, rows, study.plan("density")["subject"].astype(str).to_numpy()


def outcomes(study, draws):
    return np.array([study.simulate(9, draw=d)["density"].to_numpy() for d in range(draws)])


# models in two parts


@pytest.mark.parametrize("ddf", METHODS)
@pytest.mark.parametrize(
    "formula",
    [
        "drug * region + sex + (1 | subject) + (1 | cage)",
        "drug * sex * region + (1 | subject) + (1 | cage)",
        "drug * region + (1 | subject)",
    ],
)
def test_the_parts_say_what_the_whole_model_says(brain, formula, ddf):
    problem, rows, subject = laid_out(brain, formula)
    y = outcomes(brain, 6)
    whole = fit_problem(problem, y)
    found = answer_separated(separate(problem, subject, rows), y, ddf, 0.9)
    assert found.usable.all()
    table = contrast_table(problem, whole, rows, ddf, 0.9)
    for name in ("se", "df", "p"):
        np.testing.assert_allclose(getattr(found, name), getattr(table, name), rtol=SAME)
    for name in ("estimate", "ci_low", "ci_high"):
        np.testing.assert_allclose(getattr(found, name), getattr(table, name), atol=SAME)
    covariance = contrast_covariance(whole, rows, ddf)
    np.testing.assert_allclose(found.covariance, covariance, atol=SAME)
    np.testing.assert_array_equal(found.boundary, whole.boundary.any(axis=1))


def test_a_subject_without_rows_leaves_both_parts(brain):
    problem, rows, subject = laid_out(brain)
    parts = separate(problem, subject, rows)
    for y, left in zip(outcomes(brain, 2), (subject[0], subject[-1]), strict=True):
        y = np.where(subject == left, np.nan, y)[None]
        found = answer_separated(parts, y, "kenward-roger", 0.95)
        table = contrast_table(problem, fit_problem(problem, y), rows, "kenward-roger", 0.95)
        np.testing.assert_allclose(found.p, table.p, rtol=SAME)
        np.testing.assert_allclose(found.df, table.df, rtol=SAME)


def test_a_subject_variance_of_zero_is_not_answered_in_parts(brain):
    """The whole model then pools what the parts keep apart."""
    problem, rows, subject = laid_out(brain)
    y = np.random.default_rng(0).normal(size=(40, len(subject)))
    found = answer_separated(separate(problem, subject, rows), y, "kenward-roger", 0.95)
    at = [p.split()[0] for p in problem.parameters].index("subject")
    whole = fit_problem(problem, y)
    np.testing.assert_array_equal(found.usable, ~whole.boundary[:, at])
    assert 5 < found.usable.sum() < 35


@pytest.mark.parametrize(
    ("formula", "drop", "separates"),
    [
        ("region + sex:region + (1 | subject)", 0, True),
        ("drug + sex + (1 | subject)", 0, True),  # nothing differs between regions
        ("drug * region + sex + (1 | subject)", 1, False),  # a row is missing
        ("drug * region + sex + (1 | cage)", 0, False),  # no error of the subject
        ("drug * region + x + (1 | subject)", 0, False),  # varies within and between subjects
        ("drug * x + (1 | subject)", 0, False),
        ("drug * region + (1 | subject) + (1 | sex:region)", 0, False),  # shared by regions
    ],
)
def test_what_does_not_separate_is_not_separated(brain, formula, drop, separates):
    data = brain.plan("density").iloc[drop:]
    data = data.assign(x=np.random.default_rng(1).normal(size=len(data)))
    problem = build_problem(formula, data)
    subject = data["subject"].astype(str).to_numpy()
    found = separate(problem, subject, np.eye(problem.x.shape[1]))
    assert (found is not None) == separates
    if found is not None:
        y = outcomes(brain, 2)
        parts = answer_separated(found, y, "kenward-roger", 0.95)
        whole = fit_problem(problem, y)
        table = contrast_table(problem, whole, np.eye(len(problem.names)), "kenward-roger", 0.95)
        np.testing.assert_allclose(parts.p, table.p, rtol=SAME)


# subjects left out


def one_by_one(study, results, estimand):
    a = study.analysis("primary")
    data = results.data["density"]
    for subject in dict.fromkeys(data["subject"].astype(str)):
        fit = ks.lmm(a.formula, data[data["subject"] != subject], outcome="density")
        row = fit.contrast(estimands=[study.estimand(estimand)]).iloc[0]
        yield subject, row


@pytest.mark.parametrize("large", [np.inf, 0.0])
def test_leaving_out_by_batches_or_in_parts_is_refitting(brain, results, monkeypatch, large):
    monkeypatch.setattr(influence, "LARGE", large)
    table = leave_one_out(results, "in_r1").set_index("subject")
    assert len(table) == 17
    for subject, row in one_by_one(brain, results, "in_r1"):
        for name in ("estimate", "ci_low", "ci_high", "p"):
            assert table.loc[subject, name] == pytest.approx(row[name], rel=1e-7), subject
        assert table.loc[subject, "status"] == row["status"]
    whole = results.estimates.set_index("estimand").loc["in_r1"]
    assert table.loc["", "p"] == pytest.approx(whole["p"], rel=SAME)


def test_mice_of_one_place_share_a_batch(brain, results, monkeypatch):
    """Eight single mice of two sexes, and eight in cages of two: six places, and nobody."""
    sizes = []

    def counted(problem, y, **options):
        sizes.append(len(y))
        return fit_problem(problem, y, **options)

    monkeypatch.setattr(influence, "fit_problem", counted)
    leave_one_out(results, "in_r1")
    assert sorted(sizes) == [1, 2, 2, 2, 2, 4, 4]


def test_a_large_model_that_does_not_separate_is_refused(brain, results, monkeypatch):
    monkeypatch.setattr(influence, "LARGE", 0.0)
    data = results.data["density"].iloc[1:]
    answered = ks.analyse(brain, {"density": data})
    with pytest.raises(DataError, match=r"16 more fits of 159 rows and 21 columns would take"):
        leave_one_out(answered, "in_r1")


# the rules


def test_finds_are_counted_by_hand():
    estimate = np.array([[5.0, 0.1, -3.0, 2.9], [5.0, 2.9, 3.0, 0.0]])
    p = np.array([[0.001, 0.9, 0.012, 0.030], [0.001, 0.030, 0.012, 1.0]])
    true = np.array([1.0, 0.0, 1.0, 0.0])
    covariance = np.tile(np.eye(4), (2, 1, 1))
    found = _finds(estimate, p, covariance, 0.05)
    assert found["unadjusted"].tolist() == [[True, False, True, True], [True, True, True, False]]
    assert found["holm"].tolist() == [[True, False, True, False], [True, False, True, False]]
    assert found["bh"].tolist() == found["unadjusted"].tolist()
    usable = np.array([True, True])
    by = {r["rule"]: r for r in _records("claimed", true, (estimate, p, covariance, usable), 0.05)}
    assert (by["unadjusted"]["any_false"], by["holm"]["any_false"]) == (1.0, 0.0)
    assert by["unadjusted"]["fdr"] == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert by["holm"]["found"] == 1.5  # 1 and 2: one of the first draw has the wrong sign
    assert by["holm"]["wrong_sign"] == 0.5
    assert by["holm"]["found_se"] == pytest.approx(0.5 / np.sqrt(2))
    half = _records("claimed", true, (estimate, p, covariance, ~usable | [True, False]), 0.05)
    assert half[0]["left_out"] == 1 and half[0]["draws"] == 1


def test_whole_models_and_parts_find_the_same(brain, monkeypatch):
    (family,) = families(brain)
    a = brain.analysis("primary")
    quick, note = family_rates(brain, a, family, draws=30, seed=2)
    monkeypatch.setattr(rates_module, "separate", lambda *_: None)
    whole, _ = family_rates(brain, a, family, draws=30, seed=2)
    pd.testing.assert_frame_equal(quick, whole)
    assert note.startswith("30 draws per truth")
    monkeypatch.setattr(rates_module, "LARGE", 0.0)
    none, why = family_rates(brain, a, family, draws=30, seed=2)
    assert len(none) == 0 and "too large" in why


def test_a_panel_sets_four_answers_beside_the_truth(brain, results):
    (panel,) = family_panels(results, draws=40, seed=3)
    t = panel.table
    assert t["level"].tolist() == [f"r{i}" for i in range(10)]
    assert t.loc[t["true"] != 0, "level"].tolist() == ["r1", "r4"]
    own = results.estimates.set_index("estimand").loc[t["estimand"]]
    np.testing.assert_array_equal(t["p"], own["p"])
    assert (t["p_holm"] >= t["p_bh"]).all() and (t["p_bh"] >= t["p"]).all()
    assert panel.alpha == pytest.approx(0.05)
    np.testing.assert_allclose(t["se"] ** 2, panel.shared_se**2 + panel.own_se**2, rtol=1e-9)
    assert set(panel.rates["rule"]) == set(RULES)
    rates = panel.rates.set_index(["truth", "rule"])
    assert rates.loc[("none", "holm"), "effects"] == 0
    assert rates.loc[("claimed", "holm"), "effects"] == 2
    assert (
        rates.loc[("none", "unadjusted"), "fdr"] == rates.loc[("none", "unadjusted"), "any_false"]
    )
    given = ks.analyse(brain, results.data)
    (bare,) = family_panels(given, draws=0, seed=3)
    assert bare.table["true"].isna().all() and len(bare.rates) == 0
    pd.testing.assert_frame_equal(bare.table.drop(columns="true"), t.drop(columns="true"))


def test_a_family_that_is_not_answered_has_no_panel(brain, results):
    a = replace(brain.analysis("primary"), estimands=("everywhere",))
    assert family_panels(ks.analyse(replace(brain, analyses=(a,)), seed=4), draws=0, seed=1) == ()


@pytest.mark.slow
def test_rules_keep_what_they_promise_over_many_draws():
    """Sixty regions, 1,000 draws: the paper's brain. Four Monte-Carlo standard errors."""
    study = ks.load_study("yokoyama2024")
    (family,) = families(study)
    table, _ = family_rates(study, study.analysis("density_primary"), family, draws=1000, seed=7)
    rates = table.set_index(["truth", "rule"])
    for truth in ("none", "claimed"):
        holm = rates.loc[(truth, "holm")]
        assert holm["any_false"] < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 1000)
        for rule in ("bh", "shrinkage"):
            assert rates.loc[(truth, rule), "fdr"] < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 1000)
        assert rates.loc[(truth, "unadjusted"), "any_false"] > 0.6
    assert (table["left_out"] == 0).all()
