"""What would change the conclusion: random part, influence, choices, multiplicity."""

import numpy as np
import pytest

import ketastats as ks
from ketastats.analysis.run import Results
from ketastats.diagnosis.batch import answer_batch, draw_complete
from ketastats.diagnosis.choices import method_choices
from ketastats.diagnosis.influence import leave_one_out
from ketastats.diagnosis.multiplicity import adjusted_p
from ketastats.diagnosis.random_part import random_part_panels, scaled_effect
from ketastats.study.model import Study


@pytest.fixture(scope="module")
def study() -> Study:
    return ks.load_study("jelen2025")


@pytest.fixture(scope="module")
def results(study: Study) -> Results:
    names = [a.name for a in study.analyses if a.engine == "reml"]
    return ks.analyse(study, seed=1, analyses=names)


def test_the_published_random_part_errs_in_both_directions(study: Study) -> None:
    draws = 1000
    madrs, glx = random_part_panels(study, draws=draws, seed=5)
    for panel in (madrs, glx):
        t = panel.table.set_index(["truth", "analysis"])
        right, published = t.loc["none"].iloc[0], t.loc["none"].iloc[1]
        se = np.sqrt(0.05 * 0.95 / draws)
        assert abs(right["rejection_rate"] - 0.05) < 4 * se
        assert published["median_df"] > 2.5 * right["median_df"]
        assert (t["unconverged"] == 0).all()
    rates = {
        p.outcome: p.table.set_index(["truth", "analysis"])["rejection_rate"] for p in (madrs, glx)
    }
    assert rates["madrs"]["none", "published"] < 0.02  # conservative: people differ in response
    assert rates["glx"]["none", "glx_published"] > 0.2  # anticonservative: the session left out
    assert rates["madrs"]["claimed", "primary"] > rates["madrs"]["claimed", "published"] + 0.2
    assert madrs.claim.startswith("F(1,74)")
    percentile = madrs.table.set_index(["truth", "analysis"])["f_percentile"]
    assert percentile["none", "published"] > percentile["claimed", "published"]


def test_the_size_of_kenward_roger_at_the_design_of_the_design_page(study: Study) -> None:
    """The design page quotes 0.39 against 0.705 power at a 4.2-point attenuation."""
    y = draw_complete(study, "madrs", 9, 1500)
    e = study.estimand("attenuation")
    power = {
        n: float((answer_batch(study, study.analysis(n), e, y).p < 0.05).mean())
        for n in ("primary", "published")
    }
    se = np.sqrt(0.25 / 1500)
    assert power["primary"] == pytest.approx(0.705, abs=4 * se)
    assert power["published"] == pytest.approx(0.39, abs=4 * se)


def test_scaling_an_effect_leaves_the_rest(study: Study) -> None:
    half = scaled_effect(study, study.estimand("attenuation"), 0.5)
    truth = half.true_values().set_index("estimand")["latent"]
    assert truth["attenuation"] == pytest.approx(2.1)
    assert truth["glx"] == pytest.approx(-3.0)
    assert half.outcome("madrs").baseline == study.outcome("madrs").baseline


def test_a_batch_row_equals_the_analysis_alone(study: Study) -> None:
    y = draw_complete(study, "madrs", 2, 3)
    e = study.estimand("attenuation")
    batch = answer_batch(study, study.analysis("primary"), e, y)
    frame = study.plan("madrs").assign(madrs=y[1])
    fit = ks.lmm(study.analysis("primary").formula, frame, outcome="madrs")
    row = fit.contrast(estimands=[e]).iloc[0]
    for name in ("estimate", "se", "df", "p"):
        assert getattr(batch, name)[1] == pytest.approx(row[name], rel=1e-10)


def test_leave_one_out_equals_refitting(study: Study, results: Results) -> None:
    table = leave_one_out(results, "attenuation").set_index("subject")
    assert len(table) == 27
    data = results.data["madrs"]
    a = study.analysis("primary")
    for subject in ("P03", "P26"):
        kept = data[data["subject"] != subject]
        row = ks.lmm(a.formula, kept, outcome="madrs").contrast(
            estimands=[study.estimand("attenuation")]
        )
        assert table.loc[subject, "estimate"] == pytest.approx(row["estimate"].item(), rel=1e-8)
        assert table.loc[subject, "p"] == pytest.approx(row["p"].item(), rel=1e-6)


def test_other_choices_stand_beside_the_primary_one(results: Results) -> None:
    table = method_choices(results, "attenuation")
    choices = table["choice"].str.cat(sep="|")
    for word in (
        "Kenward-Roger",
        "Satterthwaite",
        "z test",
        "published",
        "completers",
        "half-diff",
    ):
        assert word in choices
    z, kr = table[table["ddf"] == "z"].iloc[0], table.iloc[0]
    assert z["p"] < kr["p"]


def test_holm_never_lowers_a_p_value(results: Results) -> None:
    table = adjusted_p(results)
    assert set(table["outcome"]) == {"madrs", "glx"}
    for _, part in table.groupby("family"):
        assert (part["p_holm"] >= part["p"] - 1e-15).all()
        assert part["p_holm"].min() == pytest.approx(min(1.0, part["p"].min() * len(part)))
