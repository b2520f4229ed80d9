"""Other priors, and three readers of a claim."""

from __future__ import annotations

import numpy as np
import pytest

import ketastats as ks
from ketastats.bayesian.exact.search import MANY, ONE
from ketastats.bayesian.exact.sensitivity import (
    MEDIAN,
    prior_sensitivity,
    sceptics,
    views,
    would_need,
)
from ketastats.core.errors import DataError, StudyError

FORMULA = "madrs ~ treatment*time*sex + period*time + (1|subject)"
PRIORS = {"effects": "normal(0, 10)", "intercept": "normal(30, 30)", "sd": "half-normal(10)"}


@pytest.fixture(scope="module")
def study():
    return ks.load_study("jelen2025")


@pytest.fixture(scope="module")
def data(study):
    return study.simulate(seed=1, outcome="madrs")


@pytest.fixture(scope="module")
def post(data):
    return ks.posterior(FORMULA, data, priors=PRIORS)


def test_a_refit_is_a_fit(post, data, study):
    asked = [study.estimand("attenuation"), study.estimand("attenuation_sex")]
    table = prior_sensitivity(post, asked)
    assert (table["status"] == "ok").all()
    changed = dict(table[["prior", "changed"]].to_numpy())
    assert changed["effects, scale times 0.25"] == "effects: normal(0, 2.5)"
    for label, own in (
        ("effects, scale times 0.25", {"effects": "normal(0, 2.5)"}),
        ("effects without a prior", {"effects": "flat"}),
        ("SDs, scale times 2", {"sd": "half-normal(20)"}),
    ):
        fresh = ks.posterior(FORMULA, data, priors=PRIORS | own).contrast(estimands=asked)
        rows = table[table["prior"] == label]
        for name in ("estimate", "ci_low", "ci_high"):
            gap = np.abs(rows[name].to_numpy() - fresh[name].to_numpy()) / fresh["se"].to_numpy()
            assert gap.max() < MANY.error + ONE.error, (label, name)
    first = table[table["estimand"] == "attenuation"].iloc[0]
    own = table[table["estimand"] == "attenuation"].iloc[1]
    assert own["shift"] == pytest.approx((own["estimate"] - first["estimate"]) / first["se"])


def test_a_narrow_prior_shrinks_and_a_flat_one_is_least_squares(post, study):
    table = prior_sensitivity(post, [study.estimand("attenuation_sex")]).set_index("prior")
    size = table["estimate"].abs()
    order = [f"effects, scale times {k}" for k in ("0.25", "0.5")]
    order += ["as declared", "effects, scale times 2", "effects, scale times 4"]
    assert size[order].is_monotonic_increasing
    assert size["effects without a prior"] > size["effects, scale times 4"]


def test_priors_of_equal_median(post, study):
    from scipy.stats import expon, halfnorm, t

    assert MEDIAN["half-normal"] == pytest.approx(halfnorm.ppf(0.5), rel=1e-12)
    assert MEDIAN["exponential"] == pytest.approx(expon.ppf(0.5), rel=1e-12)
    assert MEDIAN["half-t"] == pytest.approx(t.ppf(0.75, 3), rel=1e-9)


def test_the_three_views():
    sceptic, neutral, enthusiast = views(-2.0)
    from scipy.stats import norm

    assert norm.cdf(-2.0, sceptic.mean, sceptic.sd) == pytest.approx(0.05)
    assert norm.sf(0.0, enthusiast.mean, enthusiast.sd) == pytest.approx(0.05)
    assert (neutral.mean, neutral.sd) == (0.0, 10 * sceptic.sd)
    for claim in (0.0, np.nan, np.inf):
        with pytest.raises(DataError, match="is not an effect"):
            views(claim)


def test_an_estimand_with_a_prior_of_its_own_has_that_prior(post, study):
    e = study.estimand("attenuation_sex")
    other = post.with_priors({e.name: "normal(2, 1.5)"}, [e])
    mean, sd = other.prior_of([e])[e.name]
    assert (mean, sd) == (pytest.approx(2.0, abs=1e-9), pytest.approx(1.5, rel=1e-9))
    # what is orthogonal to it a priori keeps its own
    plain = study.estimand("attenuation")
    assert other.prior_of([plain])["attenuation"] == pytest.approx(
        post.prior_of([plain])["attenuation"], rel=1e-9
    )


def test_the_estimate_that_would_convince_does(post, data, study):
    e = study.estimand("attenuation_sex")
    table = sceptics(post, e, claim=4.0).set_index("view")
    assert list(table.index) == ["sceptic", "neutral", "enthusiast"]
    assert (table["needed"]["enthusiast"] < table["needed"]["neutral"]).all()
    # move the data so that they estimate what is said to be needed, and look
    for view in ("neutral", "enthusiast"):
        own = {e.name: str(table.loc[view, "prior"])}
        move = table.loc[view, "needed"] - table.loc[view, "seen"]
        cell = (
            data["treatment"].map({"naltrexone": 0.5, "placebo": -0.5}).astype(float)
            * data["time"].map({"day1": 0.5, "pre": -0.5}).astype(float)
            * data["sex"].map({"M": 0.5, "F": -0.5}).astype(float)
        )
        moved = data.assign(madrs=data["madrs"] + move * cell)
        found = ks.posterior(FORMULA, moved, priors=PRIORS | own, estimands=[e])
        p = found.contrast(estimands=[e])["prob_positive"].item()
        # moving the cells moves other coefficients' least squares by nothing, so only the
        # interpolation between five estimates and the lattice of MANY are in the way
        assert p == pytest.approx(0.975, abs=1e-3)
        seen, _ = would_need(found, e, 1.0, 0.975)
        # the plug-in SDs differ a little between the two data sets
        assert seen == pytest.approx(table.loc[view, "needed"], abs=0.05)


def test_a_sceptic_that_nothing_convinces(post, study):
    table = sceptics(post, study.estimand("attenuation_sex"), claim=0.5).set_index("view")
    assert np.isposinf(table.loc["sceptic", "needed"])
    negative = sceptics(post, study.estimand("attenuation_sex"), claim=-0.5).set_index("view")
    assert np.isneginf(negative.loc["sceptic", "needed"])
    assert negative.loc["sceptic", "prob_claimed"] == pytest.approx(
        1 - table.loc["sceptic", "prob_claimed"], abs=1e-3
    )


def test_an_unknown_role_in_other_priors_is_named(post):
    with pytest.raises(StudyError, match="no prior for 'effect'"):
        post.with_priors({"effect": "normal(0, 1)"})
