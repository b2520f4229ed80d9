"""Simulation-based calibration of the sampler."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import ketastats as ks
from ketastats.bayesian.mcmc import in_data_units
from ketastats.core.errors import DataError, StudyError
from ketastats.core.random import Purpose, generator
from ketastats.diagnosis.sbc_exact import lay_out, pit_of
from ketastats.diagnosis.sbc_mcmc import Compiled, lay_out_sampled

ERRORS = 4.0
"""Monte-Carlo standard errors: 6 in 100,000 lie beyond."""
SETTINGS = {"draws": 300, "tune": 600, "chains": 4, "thin": 4}
"""A quarter of the default draws, so that hundreds of fits take minutes."""
FAILED = 0.25
"""Share of fits that may fail a gate: of 250 with these settings 38 did, most for an ESS that 1,200
draws do not reach where the two SDs are hard to tell apart."""

TOML = """
schema = 1
[study]
id = "small"
title = "A small crossover"
[design]
kind = "crossover"
sequences = { AB = ["a", "b"], BA = ["b", "a"] }
subjects_per_sequence = 5
washout_days = 7
[outcomes.score]
scale = { kind = "real", decimals = 1 }
baseline = 20.0
typical_sd = 5.0
effects = [{ when = { treatment = "b" }, add = 3.0 }]
spread = { subject = 3.0, residual = 2.0 }
[outcomes.yes]
scale = { kind = "binomial", trials = 8 }
baseline = 0.5
effects = [{ when = { treatment = "b" }, add = 0.1 }]
spread = { subject = 0.5 }
[estimands.effect]
outcome = "score"
contrast = { treatment = "b - a" }
[estimands.more]
outcome = "yes"
contrast = { treatment = "b - a" }
[estimands.odds]
outcome = "yes"
contrast = { treatment = "b - a" }
scale = "link"
[analyses.score]
engine = "mcmc"
outcome = "score"
formula = "treatment + period + (1 | subject)"
priors = { effects = "normal(0, 5)", intercept = "normal(20, 10)", sd = "half-normal(4)" }
[analyses.yes]
engine = "mcmc"
outcome = "yes"
family = "binomial"
formula = "treatment + period + (1 | subject)"
priors = { effects = "normal(0, 1)", intercept = "normal(0, 1)", sd = "half-normal(1)" }
"""


@pytest.fixture(scope="module")
def study():
    return ks.parse_study(TOML)


def drawn_many(ready, name, n=2000):
    draws = [ready.draw(generator(1, Purpose.PRIOR, name, k)) for k in range(n)]
    return (np.array(column) for column in zip(*draws, strict=True))


def test_draws_follow_the_priors(study):
    """The effect is a difference of two cells: its prior is that of the coefficient."""
    ready = lay_out_sampled(study, study.analysis("score"), 1)
    assert ready.names == ("effect", "sd subject", "sd residual")
    truth, _ = drawn_many(ready, "score")
    for column, prior in zip(
        truth.T, (stats.norm(0, 5), stats.halfnorm(scale=4), stats.halfnorm(scale=4)), strict=True
    ):
        assert stats.kstest(column, prior.cdf).pvalue > 1e-4


def test_outcomes_have_the_variance_of_the_model(study):
    """E var(y) = 10² + 2 x (5/2)² + E tau² + E sigma², the last two 4² each; differences coded
    half a step to either side."""
    ready = lay_out_sampled(study, study.analysis("score"), 1)
    _, y = drawn_many(ready, "score", 4000)
    total = 10**2 + 2 * 2.5**2 + 2 * 4**2
    assert y.mean() == pytest.approx(20, abs=ERRORS * np.sqrt(total / 4000))
    assert y.var(axis=0).mean() == pytest.approx(total, rel=0.1)
    assert study.plan("score")["subject"].iloc[0] == study.plan("score")["subject"].iloc[1]
    pairs = y.reshape(len(y), -1, 2)
    within = np.diff(pairs, axis=2)[:, :, 0].var(axis=0).mean()
    assert within == pytest.approx(2 * 5**2 + 2 * 4**2, rel=0.1)


def test_counts_out_of_trials_stay_inside(study):
    ready = lay_out_sampled(study, study.analysis("yes"), 1)
    assert ready.names == ("more", "odds", "sd subject")
    truth, y = drawn_many(ready, "yes", 300)
    assert y.min() >= 0
    assert y.max() <= 8
    assert (y == np.round(y)).all()
    assert (np.abs(truth[:, 0]) < 1).all()  # a difference of shares
    assert (np.sign(truth[:, 0]) == np.sign(truth[:, 1])).all()


def test_messages_name_the_mend(study):
    analysis = study.analysis("score")
    with pytest.raises(StudyError, match="compiled for every draw"):
        ks.sbc(study, replace(analysis, family="censored"), draws=2)
    with pytest.raises(DataError, match="no setting 'burn'"):
        ks.sbc(study, analysis, draws=2, sampler={"burn": 5})
    with pytest.raises(DataError, match="chains = 0"):
        ks.sbc(study, analysis, draws=2, sampler={"chains": 0})


@pytest.mark.slow
def test_the_sampler_is_calibrated(study):
    made = ks.sbc(study, "score", draws=250, sampler=SETTINGS)
    assert made.engine == "mcmc"
    assert made.passed, made.verdict
    assert made.failed.mean() < FAILED
    assert (np.isnan(made.pit).all(axis=1) == made.failed).all()


@pytest.mark.slow
def test_the_sampler_with_a_link_is_calibrated(study):
    made = ks.sbc(study, "yes", draws=150, sampler=SETTINGS)
    assert made.passed, made.verdict
    assert made.failed.mean() < FAILED


@pytest.mark.slow
def test_the_sampler_is_caught_with_the_wrong_prior(study):
    priors = {"effects": "normal(0, 5)", "intercept": "normal(20, 10)", "sd": "half-normal(1)"}
    made = ks.sbc(study, "score", draws=150, sampler=SETTINGS, analysed_with={"priors": priors})
    assert not made.passed
    assert "sd residual" in {u.name for u in made.uniformity if not u.passed}


@pytest.mark.slow
def test_a_model_compiled_once_has_the_posterior_of_every_outcome(study):
    """Against the exact posterior of the same outcomes; and the same bytes from the same seed."""
    analysis = study.analysis("score")
    ready, exact = lay_out_sampled(study, analysis, 1), lay_out(study, analysis, 1)
    truth, y = drawn_many(ready, "score", 6)
    right = pit_of(exact, y, truth[:, :1], truth[:, 1:])
    compiled = Compiled(ready.inputs, SETTINGS)
    n = SETTINGS["draws"] * SETTINGS["chains"]
    for k in range(6):
        kept = in_data_units(compiled.sample(y[k], k), ready.design, ready.inputs.rows)
        values = ready.values_of(kept).reshape(n, -1)
        below = (values < truth[k]).mean(axis=0)
        # a third of the draws count as independent: the worst bulk ESS that passes the gates
        limit = ERRORS * np.sqrt(np.maximum(right.pit[k] * (1 - right.pit[k]), 1e-3) / (n / 3))
        assert (np.abs(below - right.pit[k]) < limit).all()
        assert values.mean(axis=0) == pytest.approx(right.mean[k], abs=0.2 * right.sd[k].max())
    again = Compiled(ready.inputs, SETTINGS).sample(y[0], 0)
    first = compiled.sample(y[0], 0)
    assert again.gamma.tobytes() == first.gamma.tobytes()
