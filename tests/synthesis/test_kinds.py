"""Draws of every kind of scale: distribution, addresses, serial and linked deviations."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit

import ketastats as ks
from ketastats.core.random import Purpose, generator
from ketastats.reporting.datapackage import data_differences, read_data, write_data
from ketastats.study.links import solve_predictor
from ketastats.study.model import (
    Amount,
    Dropout,
    Entry,
    LinkedSpread,
    Missing,
    SerialSpread,
    Spread,
    Study,
)
from ketastats.synthesis.draw import draw_outcomes

EXAMPLES = Path(__file__).parents[1] / "study" / "examples"
# a p value this small comes up once in 100,000 seeds; the seeds here are fixed
RARE = 1e-5


@pytest.fixture(scope="module")
def mice() -> Study:
    return ks.parse_study((EXAMPLES / "mice.toml").read_text())


@pytest.fixture(scope="module")
def people() -> Study:
    return ks.parse_study((EXAMPLES / "people.toml").read_text())


LINKS = ["failures", "spines", "preference", "dopamine"]


def changed(study: Study, name: str, **changes: object) -> Study:
    outcomes = tuple(replace(o, **changes) if o.name == name else o for o in study.outcomes)
    return replace(study, outcomes=outcomes)


def over_mice(mean: float, sd: float, pmf: Callable[[float], np.ndarray]) -> np.ndarray:
    """Return probabilities averaged over mice whose logits are normal around that mean."""
    z = stats.norm.ppf((np.arange(400) + 0.5) / 400)
    eta = solve_predictor(np.array([mean]), np.array([sd]), "logit")[0]
    return np.mean([pmf(expit(eta + sd * v)) for v in z], axis=0)


def chi_squared_p(observed: np.ndarray, probability: np.ndarray) -> float:
    """Return the p value of Pearson's test; classes with less than 10 expected go together."""
    expected = probability * observed.sum()
    common = expected >= 10
    rest = observed.sum() - observed[common].sum()
    f_exp = np.append(expected[common], observed.sum() - expected[common].sum())
    return stats.chisquare(np.append(observed[common], rest), f_exp).pvalue


# distribution


MEANS = {  # before, shocked, treated
    "failures": (0.02, 0.74, 0.74),
    "spines": (6.0, 6.0, 6.0),
    "preference": (0.8, 0.65, 0.8),
    "dopamine": (100.0, 70.0, 100.0),
}
KETAMINE = {("failures", "F"): 0.30, ("failures", "M"): 0.38}
KETAMINE |= {("spines", "F"): 11.0, ("spines", "M"): 11.0}
PER = {"failures": (30, 30, 30), "spines": (2, 1, 1)}  # trials, exposure


@pytest.mark.parametrize("name", LINKS)
def test_means_of_220_000_mice_are_the_declared_ones(mice, name):
    y = draw_outcomes(mice, name, 5, range(10_000), missing=False)
    phases = ["before", "shocked", "treated"]
    cells = mice.plan(name).groupby(["drug", "phase", "sex"], observed=True).indices
    for (drug, phase, sex), rows in cells.items():
        at = phases.index(phase)
        mean = MEANS[name][at]
        if (drug, phase) == ("ketamine", "treated"):
            mean = KETAMINE.get((name, sex), mean)
        per_draw = y[:, rows].mean(axis=1) / PER.get(name, (1, 1, 1))[at]
        se = per_draw.std() / np.sqrt(len(per_draw))  # draws are independent, mice of a cage not
        assert abs(per_draw.mean() - mean) < 4.5 * se, (drug, phase, sex)
        assert se < 0.02 * mean


@pytest.mark.parametrize(
    ("phase", "mean", "rho", "sds"),
    [(0, 0.02, 0.04, (0.5, 0.3)), (1, 0.74, 0.2, (0.5, 0.6, 0.3))],
)
def test_failures_follow_a_beta_binomial_over_mice(mice, phase, mean, rho, sds):
    y = draw_outcomes(mice, "failures", 6, range(20_000), missing=False)
    one = y.reshape(20_000, 22, 3)[:, 4, phase]  # one mouse per draw: independent
    total = (1 - rho) / rho

    def pmf(p: float) -> np.ndarray:
        return stats.betabinom.pmf(np.arange(31), 30, p * total, (1 - p) * total)

    probability = over_mice(mean, float(np.linalg.norm(sds)), pmf)
    assert chi_squared_p(np.bincount(one.astype(int), minlength=31), probability) > RARE


def test_seventy_per_cent_of_mice_have_no_failure_at_baseline(mice):
    # Wu et al. 2021: 73 of 105 mice at exactly 0 with mean 2.19 %, rho 0.04
    y = draw_outcomes(mice, "failures", 7, range(4000), missing=False).reshape(4000, 22, 3)
    assert (y[:, :, 0] == 0).mean() == pytest.approx(73 / 105, abs=0.02)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_counts_follow_their_distribution_without_heterogeneity(mice, alpha):
    scale = replace(mice.outcome("spines").scale, overdispersion=Amount(alpha))
    study = changed(mice, "spines", scale=scale, spread=())
    y = draw_outcomes(study, "spines", 8, range(3000), missing=False).reshape(3000, 22, 3)
    k = np.arange(300)
    for phase, mean in ((0, 12.0), (1, 6.0)):
        pmf = (
            stats.nbinom.pmf(k, 1 / alpha, 1 / (1 + alpha * mean))
            if alpha
            else stats.poisson.pmf(k, mean)
        )
        observed = np.bincount(y[:, :, phase].ravel().astype(int), minlength=300)
        assert chi_squared_p(observed, pmf) > RARE


def test_shares_and_ratios_follow_their_distribution_without_heterogeneity(mice):
    study = changed(mice, "preference", spread=())
    y = draw_outcomes(study, "preference", 9, range(1000), missing=False).reshape(1000, 22, 3)
    shares = stats.beta(0.65 * 20, 0.35 * 20)
    # rounded to 4 decimals: a step of 1e-4 under a density below 4 moves the distance by 2e-4
    assert stats.kstest(y[:, :, 1].ravel(), shares.cdf).pvalue > RARE
    assert y.min() >= 0.0001 and y.max() <= 0.9999
    scale = replace(mice.outcome("dopamine").scale, decimals=6)
    study = changed(mice, "dopamine", scale=scale)
    ratios = draw_outcomes(study, "dopamine", 9, range(5000)).reshape(5000, 22, 3)[:, 3, 1]
    sd = np.hypot(0.2, 0.15)
    shape = stats.norm(np.log(70) - sd**2 / 2, sd)
    assert stats.kstest(np.log(ratios), shape.cdf).pvalue > RARE


def test_the_smallest_share_and_ratio_stay_inside_the_scale(mice):
    scale = replace(mice.outcome("preference").scale, decimals=2, precision=Amount(0.05))
    y = draw_outcomes(changed(mice, "preference", scale=scale), "preference", 1, range(50))
    assert y.min() == 0.01 and y.max() == 0.99
    scale = replace(mice.outcome("dopamine").scale, decimals=0)
    small = changed(mice, "dopamine", scale=scale, baseline=1.0, effects=())
    assert draw_outcomes(small, "dopamine", 1, range(50)).min() == 1.0


# addresses


@pytest.mark.parametrize("name", LINKS)
def test_a_draw_is_the_same_alone_and_in_any_batch(mice, name):
    batch = draw_outcomes(mice, name, 3, [0, 5, 2])
    for row, draw in zip(batch, [0, 5, 2], strict=True):
        assert np.array_equal(draw_outcomes(mice, name, 3, [draw])[0], row)
    assert not np.array_equal(batch[0], batch[1])
    assert not np.array_equal(batch[0], draw_outcomes(mice, name, 4, [0])[0])


@pytest.mark.parametrize("name", LINKS)
def test_a_larger_trial_shares_its_first_mice(mice, name):
    # without cages and sexes, which sit elsewhere in a larger trial
    o = mice.outcome(name)
    spread = tuple(replace(s, by=None, by_sd=(), sd=0.4) for s in o.spread if s.name != "cage")
    effects = tuple(e for e in o.effects if not e.centred)
    study = changed(mice, name, spread=spread, effects=effects)
    groups = tuple(replace(g, n=30) for g in study.design.groups)
    large = replace(study, design=replace(study.design, groups=groups))
    small_y = draw_outcomes(study, name, 1, [0, 1])
    assert np.array_equal(draw_outcomes(large, name, 1, [0, 1])[:, : 22 * 3], small_y)


@pytest.mark.parametrize("name", ["failures", "spines", "preference"])
def test_a_higher_mean_never_lowers_an_outcome(mice, name):
    o = mice.outcome(name)
    higher = changed(mice, name, baseline=o.baseline * 1.1)
    low, high = (draw_outcomes(s, name, 2, range(200)) for s in (mice, higher))
    assert (high >= low).all()
    assert (high > low).mean() > 0.02


def test_an_outcome_is_the_same_whichever_others_are_drawn(mice):
    frame = mice.simulate(seed=3)
    for name in LINKS:
        alone = mice.simulate(seed=3, outcome=name)
        pd.testing.assert_series_equal(frame[name], alone[name])
    without = replace(mice, outcomes=(mice.outcome("failures"), mice.outcome("dopamine")))
    both = without.simulate(seed=3)
    pd.testing.assert_series_equal(frame["dopamine"], both["dopamine"])


def test_frames_and_data_packages_hold_whole_numbers_whole(mice, tmp_path):
    frame = mice.simulate(seed=3)
    assert frame.dtypes[LINKS].map(str).tolist() == ["Int64", "Int64", "float64", "float64"]
    write_data(mice, tmp_path / "mice", seed=3)
    assert data_differences(mice, tmp_path / "mice") == []
    back = read_data(tmp_path / "mice")["failures"]
    pd.testing.assert_series_equal(back["failures"], frame["failures"])
    readme = (tmp_path / "mice" / "README.md").read_text()
    assert (
        "Synthetic outcome, number out of 30 trials; empty where missing. | from 0 to 30" in readme
    )


def test_rows_and_people_are_lost_on_every_scale(people):
    study = changed(people, "response", missing=Missing(0.2), dropout=Dropout(2, 0.3, -2.0, 0.5))
    y = draw_outcomes(study, "response", 1, range(2000)).reshape(2000, 24, 2)
    first, second = np.isnan(y[:, :, 0]), np.isnan(y[:, :, 1])
    assert first.mean() == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / 48_000))
    whole = draw_outcomes(study, "response", 1, range(2000), missing=False).reshape(2000, 24, 2)
    said_yes = whole[:, :, 0] == 1
    gone = 0.2 + 0.8 * expit(np.log(0.3 / 0.7) - 2.0 * (np.array([0, 1]) - 0.5))
    for yes, expected in zip((False, True), gone, strict=True):
        lost = second[said_yes == yes]
        assert lost.mean() == pytest.approx(expected, abs=4 * np.sqrt(0.25 / lost.size))


# serial correlation


def test_residuals_are_correlated_over_the_days_of_their_levels(people):
    only = tuple(s for s in people.outcome("mood").spread if not s.factors)
    y = draw_outcomes(changed(people, "mood", spread=only), "mood", 1, range(3000)) - 20
    y = y.reshape(3000 * 24, 2, 3)  # days 0, 1 and 3: 0.6 over one day, 0.36 over two
    expected = 64 * np.array([[1, 0.6, 0.216], [0.6, 1, 0.36], [0.216, 0.36, 1]])
    for period in range(2):
        got = y[:, period].T @ y[:, period] / len(y)
        assert got == pytest.approx(expected, abs=4 * 64 * np.sqrt(2 / len(y)))
    assert abs(np.mean(y[:, 0, 2] * y[:, 1, 0])) < 4 * 64 / np.sqrt(len(y))  # a series per period


def test_steps_of_levels_count_when_days_do_not(people):
    residual = next(s for s in people.outcome("mood").spread if isinstance(s, SerialSpread))
    study = changed(people, "mood", spread=(replace(residual, spaced=False, ar1=-0.5),))
    y = draw_outcomes(study, "mood", 1, range(3000)).reshape(-1, 3) - 20
    expected = 64 * np.array([[1, -0.5, 0.25], [-0.5, 1, -0.5], [0.25, -0.5, 1]])
    assert y.T @ y / len(y) == pytest.approx(expected, abs=4 * 64 * np.sqrt(2 / len(y)))


def test_serial_correlation_runs_within_the_levels_of_other_occasions(mice):
    text = (EXAMPLES / "mice.toml").read_text()
    text = text[: text.index("[outcomes.failures]")]
    text = text.replace("within = {", "within = { pulse = 2, after = 2,")
    text += """
[outcomes.level]
scale = { kind = "real", decimals = 6 }
baseline = 0
spread = { residual = { by = "drug", saline = 1.0, ketamine = 2.0, ar1 = 0.7, over = "after" } }
"""
    study = ks.parse_study(text)
    y = draw_outcomes(study, "level", 1, range(2000)).reshape(2000, 22, 2, 2, 3)
    sd = np.where(study.plan()["drug"][::12] == "saline", 1.0, 2.0)
    y = (y / sd[:, None, None, None]).reshape(-1, 2, 2, 3)
    se = 1 / np.sqrt(len(y))
    assert np.mean(y[:, 0, 0, 0] * y[:, 0, 1, 0]) == pytest.approx(0.7, abs=6 * se)
    assert np.mean(y[:, 0, 0, 0] * y[:, 1, 0, 0]) == pytest.approx(0.0, abs=6 * se)
    assert np.mean(y[:, 0, 0, 0] * y[:, 0, 0, 1]) == pytest.approx(0.0, abs=6 * se)
    assert y.var(axis=0) == pytest.approx(np.ones((2, 2, 3)), abs=6 * se)


def test_the_first_of_a_series_is_what_it_is_without_correlation(people):
    residual = next(s for s in people.outcome("mood").spread if isinstance(s, SerialSpread))
    spread = tuple(s for s in people.outcome("mood").spread if s.factors)
    plain = changed(people, "mood", spread=(*spread, replace(residual, ar1=0.0)))
    y, z = (draw_outcomes(s, "mood", 1, [0]).reshape(24, 2, 3) for s in (people, plain))
    assert np.array_equal(y[:, :, 0], z[:, :, 0])
    assert not np.isclose(y[:, :, 1:], z[:, :, 1:]).any()


def test_an_entry_threshold_holds_under_serial_correlation(people):
    enrolled = changed(people, "mood", entry=Entry(22.0, None))
    y = draw_outcomes(enrolled, "mood", 1, range(600)).reshape(-1, 2, 3)
    assert y[:, 0, 0].min() >= 22.0 - 0.5e-6
    free = draw_outcomes(people, "mood", 2, range(2000)).reshape(-1, 2, 3)
    free = free[free[:, 0, 0] >= 22.0]
    for period, time in ((0, 1), (0, 2), (1, 0)):
        a, b = y[:, period, time], free[:, period, time]
        se = np.sqrt(a.var() / len(a) + b.var() / len(b))
        assert abs(a.mean() - b.mean()) < 4.5 * se


# linked outcomes


def deviations(study: Study, name: str, draws: int) -> np.ndarray:
    """Return draws of an outcome without what rows add, shape (draws, people, 2, 3)."""
    spread = tuple(replace(s, sd=1e-9) if not s.factors else s for s in study.outcome(name).spread)
    y = draw_outcomes(changed(study, name, spread=spread), name, 4, range(draws))
    return y.reshape(draws, 24, 2, 3)


def test_deviations_of_linked_outcomes_have_the_declared_correlation(people):
    mood, sleep = (deviations(people, name, 3000) for name in ("mood", "sleep"))
    # variances 16 + 4 and 100 + 25; covariances -0.5 * 4 * 10 and 0.8 * 2 * 5
    same = np.mean((mood - 20) * (sleep - 50), axis=(0, 1))
    tolerance = 4 * np.sqrt(2 * 20 * 125 / 72_000)
    assert same == pytest.approx(np.full((2, 3), -20 + 8), abs=tolerance)
    other = np.mean((mood[..., 0] - 20) * (sleep[..., 1] - 50))
    assert other == pytest.approx(-20, abs=tolerance)
    assert sleep.var() == pytest.approx(125, rel=0.02)


def test_a_link_leaves_the_other_outcome_alone_and_none_is_none(people):
    before = replace(people, outcomes=people.outcomes[:2])
    alone, linked = (draw_outcomes(s, "mood", 1, range(5)) for s in (before, people))
    assert np.array_equal(alone, linked)
    sleep = people.outcome("sleep")
    zero = tuple(
        replace(s, correlation=0.0) if isinstance(s, LinkedSpread) else s for s in sleep.spread
    )
    fields = ("name", "factors", "sd", "by", "by_sd", "when")
    plain = tuple(Spread(*(getattr(s, f) for f in fields)) for s in sleep.spread)
    a, b = (
        draw_outcomes(changed(people, "sleep", spread=s), "sleep", 1, range(5))
        for s in (zero, plain)
    )
    assert np.array_equal(a, b)


def test_links_pass_through_outcomes_between(people):
    sleep = people.outcome("sleep")
    third = replace(
        sleep,
        name="energy",
        spread=tuple(
            replace(s, linked_with="sleep", correlation=1.0) if isinstance(s, LinkedSpread) else s
            for s in sleep.spread
        ),
    )
    study = replace(people, outcomes=(*people.outcomes, third))
    sleep_y, energy_y = (deviations(study, name, 3) for name in ("sleep", "energy"))
    assert energy_y == pytest.approx(sleep_y, abs=1e-5)  # recorded to 6 decimals


def test_who_enters_by_one_outcome_is_who_they_are_in_the_other(people):
    enrolled = changed(people, "mood", entry=Entry(24.0, None))
    sleep = draw_outcomes(enrolled, "sleep", 1, range(2000)).reshape(-1, 2, 3)
    mood, free = (
        draw_outcomes(people, name, 9, range(6000)).reshape(-1, 2, 3) for name in ("mood", "sleep")
    )
    chosen = free[mood[:, 0, 0] >= 24.0]
    for period, time in ((0, 0), (0, 2), (1, 0)):
        a, b = sleep[:, period, time], chosen[:, period, time]
        se = np.sqrt(a.var() / len(a) + b.var() / len(b))
        assert abs(a.mean() - b.mean()) < 4.5 * se
    assert sleep[:, 1, 1].mean() < 49.5  # high in mood, low in sleep


def test_a_link_to_a_scale_with_a_link_correlates_on_its_scale(mice):
    spread = {n: mice.outcome(n).spread for n in ("failures", "dopamine")}
    only = tuple(replace(s, sd=1.0) for s in spread["failures"] if s.name == "subject")
    study = changed(mice, "failures", spread=only)
    low = tuple(replace(s, sd=1e-6) if not s.factors else s for s in spread["dopamine"])
    scale = replace(mice.outcome("dopamine").scale, decimals=9)
    study = changed(study, "dopamine", spread=low, scale=scale)
    dopamine = np.log(draw_outcomes(study, "dopamine", 1, range(500)).reshape(500, 22, 3)[:, :, 0])
    # the mice's own logits, from the numbers at the address of failures
    own = [
        generator(1, Purpose.OUTCOME, "failures", d).standard_normal((22, 4)) for d in range(500)
    ]
    logits = np.stack(own)[:, :, 0]
    r = np.corrcoef(logits.ravel(), dopamine.ravel())[0, 1]
    assert r == pytest.approx(-0.6, abs=4 * (1 - 0.36) / np.sqrt(11_000))
