"""Larger declarations that use every kind of scale, after published designs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ketastats as ks

FOLDER = Path(__file__).parent / "examples"
NAMES = [
    "jelen2025_response",
    "lazarevic2021",
    "modasava2019",
    "wu2021",
    "yokoyama2024_more",
    "yokoyama2024_silencing",
]


@pytest.fixture(scope="module", params=NAMES)
def study(request):
    return ks.load_study(FOLDER / f"{request.param}.toml")


def test_every_estimand_has_a_true_value_on_both_scales(study):
    truth = study.true_values()
    assert len(truth) == len(study.estimands)
    assert np.isfinite(truth[["latent", "natural"]]).all(axis=None)


def test_every_outcome_is_drawn_alike_alone_and_again(study):
    for outcome in study.outcomes:
        once, again = (study.simulate(7, outcome=outcome.name) for _ in range(2))
        assert once.equals(again) and once[outcome.name].notna().any()


def test_sex_is_a_factor_with_a_question_of_its_own(study):
    assert "sex" in {s.name for s in study.design.strata}
    assert any("sex" in dict(e.contrast) for e in study.estimands)


@pytest.mark.slow
def test_every_frequentist_analysis_answers_or_says_why(study):
    chosen = [a.name for a in study.analyses if a.engine in ("reml", "glmm", "gee")]
    table = ks.analyse(study, seed=1, analyses=chosen).estimates
    answered = table[table["status"].isin(["ok", "boundary"])]
    assert len(answered) > 0.8 * len(table)
    assert np.isfinite(answered[["estimate", "se"]]).all(axis=None)
    rest = table[~table["status"].isin(["ok", "boundary"])]
    assert (rest["notes"] != "").all()
