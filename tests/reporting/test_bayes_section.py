"""The Bayesian panel of a report: what it says is what the posterior says."""

from dataclasses import replace

import numpy as np
import pytest

import ketastats as ks
from ketastats.diagnosis.bayes_panel import bayes_panels, claim_of, questions_of, work_of
from ketastats.figures.bayes import outside
from ketastats.reporting.document import Items, Picture, Table, plain_text
from ketastats.reporting.material import gather
from ketastats.reporting.section_bayes import bayes_section, bayes_tables, moved

NAMES = ["glx_bayes", "carry_over_bayes"]


@pytest.fixture(scope="module")
def material():
    """Glx with one random term, so that calibration takes seconds; carry-over beside it."""
    study = ks.load_study("jelen2025")
    quick = {
        "glx_bayes": "treatment * sex + period + spectrum + (1 | subject)",
        "carry_over_bayes": "sequence * period * time + (1 | subject)",
    }
    analyses = tuple(
        replace(a, formula=quick[a.name]) if a.name in quick else a for a in study.analyses
    )
    study = replace(study, analyses=analyses, pitfalls=(), associations=(), claims=())
    results = ks.analyse(study, seed=1, analyses=NAMES)
    return gather(results, draws=150, seed=1, environment={}, command="")


@pytest.fixture(scope="module")
def section(material):
    return bayes_section(material)


def said(section):
    out = []
    for block in section.blocks:
        if isinstance(block, Table):
            out += [plain_text(c.text) for row in block.rows for c in row]
        elif isinstance(block, Items):
            out += [plain_text(item) for item in block.items]
        elif hasattr(block, "text"):
            out.append(plain_text(block.text))
    return " ".join(out)


def test_every_outcome_has_its_panel_once(material, section):
    assert [p.answer.analysis.name for p in material.bayes] == ["glx_bayes", "carry_over_bayes"]
    pictures = [b.name for b in section.blocks if isinstance(b, Picture)]
    assert len(set(pictures)) == len(pictures)
    for name in ("predictive-glx", "sds-glx", "priors-glx", "calibration-glx"):
        assert name in pictures
    for picture in (b for b in section.blocks if isinstance(b, Picture)):
        assert "<svg" in picture.svg


def test_prior_to_posterior_shows_how_little_is_learnt_of_carry_over(material, section):
    frame = moved(material, "madrs").set_index("estimand")
    row = frame.loc["carry_over"]
    assert (row["prior_mean"], row["prior_sd"]) == (pytest.approx(0, abs=1e-9), pytest.approx(2))
    post = material.results.answer("carry_over_bayes").result
    own = post.contrast(estimands=[material.study.estimand("carry_over")]).iloc[0]
    assert row["learnt"] == pytest.approx(1 - (own["se"] / 2) ** 2)
    assert 0 < row["learnt"] < 0.5
    assert "The data hardly move" in said(section)
    glx = moved(material, "glx").set_index("estimand")
    assert glx.loc["glx", "learnt"] > 0.9


def test_tables_hold_what_the_objects_hold(material):
    tables = bayes_tables(material)
    panel = material.bayes[0]
    factors = tables["bayes_factors.csv"].set_index(["analysis", "estimand"])
    again = panel.answer.result.bayes_factor(estimands=[panel.asked[0]])
    assert factors.loc[("glx_bayes", "glx"), "log_bf10"] == pytest.approx(again.log_bf10, abs=1e-9)
    gap = factors["log_bf10"] - factors["log_savage_dickey"]
    assert np.abs(gap).max() < 1e-4  # both are integrals to 1e-5
    loo = tables["loo.csv"].set_index(["analysis", "left_out"])
    found = panel.answer.result.loo(by="subject")
    assert loo.loc[("glx_bayes", "subject"), "elpd"] == pytest.approx(found.elpd, abs=1e-9)
    checks = tables["checks.csv"]
    y = panel.answer.result.problem.y
    largest = checks[(checks["outcome"] == "glx") & (checks["statistic"] == "largest value")]
    assert largest["data"].item() == y.max()
    assert len(tables["calibration.csv"]) and len(tables["priors.csv"])


def test_the_share_beyond_the_scale_is_that_of_the_prior_draws(material, section):
    panel = material.bayes[0]
    share = outside(panel.prior, 0, None)
    assert share == pytest.approx(np.mean(panel.prior < 0))
    assert (
        f"{100 * share:.0f}" in said(section)
        or share == 0
        or any(
            f"{100 * share:.0f}" in plain_text(b.caption)
            for b in section.blocks
            if isinstance(b, Picture)
        )
    )


def test_calibration_and_assurance_are_said(section, material):
    text = said(section)
    assert f"{material.bayes[0].calibration.draws} times" in text
    assert (
        "over the prior, a direction with posterior probability 0.975 or more is found rightly"
        in text
    )
    assert material.bayes[0].calibration.passed


def test_questions_and_claims(material):
    answer = material.results.answer("glx_bayes")
    asked = questions_of(material.study, answer)
    assert [e.name for e in asked] == ["glx", "glx_sex"]
    truth = material.results.truth.set_index("estimand")["latent"]
    expected = truth["glx_sex"] if abs(truth["glx_sex"]) > 1e-9 else truth["glx"]
    assert claim_of(material.results, asked) == pytest.approx(expected)
    given = replace(material.results, seed=None)
    assert np.isnan(claim_of(given, asked))


def test_without_an_exact_posterior_there_is_no_section(material):
    assert bayes_section(replace(material, bayes=())) is None


def test_what_takes_too_long_is_left_out_and_said(material, monkeypatch):
    from ketastats.diagnosis import bayes_panel

    assert work_of(material.results.answer("glx_bayes").result) < bayes_panel.LARGEST_WORK
    for name in ("LARGEST_WORK", "FACTOR_WORK", "CALIBRATION_WORK"):
        monkeypatch.setattr(bayes_panel, name, 1.0)
    only = replace(material.results, answers=(material.results.answer("glx_bayes"),))
    (panel,) = bayes_panels(only, draws=150, seed=1)
    assert panel.sensitivity is None and panel.calibration is None and panel.loo_rows is None
    text = said(bayes_section(replace(material, bayes=(panel,))))
    assert "Not computed" in text and "takes too long" in text
