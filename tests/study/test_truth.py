"""True values: algebra, and the mean of many draws."""

from dataclasses import replace

import numpy as np
import pytest

import ketastats as ks
from ketastats.study.links import recorded_mean
from ketastats.study.model import Scale
from ketastats.synthesis.draw import draw_outcomes, record


@pytest.mark.parametrize(
    "scale",
    [
        Scale("integer", 0, 60, 0, ""),
        Scale("integer", None, None, 0, ""),
        Scale("real", 0, 90, 1, ""),
        Scale("real", 10, None, 2, ""),
        Scale("real", None, None, 3, ""),
    ],
)
@pytest.mark.parametrize("mean", [-3.0, 4.4, 15.0, 58.0])
def test_recorded_mean_is_the_integral(scale: Scale, mean: float) -> None:
    # midpoint rule on 400,000 quantiles: error below 1e-5 of the SD for these smooth tails
    from scipy.special import ndtri

    z = ndtri((np.arange(400_000) + 0.5) / 400_000)
    brute = record(mean + 9.0 * z, scale).mean()
    exact = recorded_mean(np.array([mean]), np.array([9.0]), scale)[0]
    assert exact == pytest.approx(brute, abs=2e-4)


def test_declared_effects_come_back_exactly() -> None:
    truth = ks.load_study("jelen2025").true_values().set_index("estimand")["latent"]
    assert truth["attenuation"] == pytest.approx(4.2, abs=1e-12)
    assert truth["attenuation_men"] == pytest.approx(5.2, abs=1e-12)
    assert truth["attenuation_women"] == pytest.approx(3.2, abs=1e-12)
    assert truth["attenuation_sex"] == pytest.approx(2.0, abs=1e-12)
    # 15 and 10.8 points decaying with a half-life of 6 days over 19 days: 1.67 against 1.20
    decay = 0.5 ** (19 / 6)
    assert truth["carry_over"] == pytest.approx((15 - 10.8) * decay, abs=1e-12)
    mice = ks.load_study("yokoyama2024").true_values().set_index("estimand")["latent"]
    assert mice["memory_R"] == pytest.approx(8.0, abs=1e-12)
    assert mice["memory_R_S"] == pytest.approx(5.0, abs=1e-12)


def test_carry_over_bias_of_ab_ba_is_half_the_difference() -> None:
    # Senn (2002), section 3: treatment is biased by -(lambda_A - lambda_B)/2 at each time
    truth = ks.load_study("jelen2025").true_values().set_index("estimand")
    day1 = -(10.8 - 15) * 0.5 ** (20 / 6) / 2  # naltrexone leaves less improvement behind
    assert truth.loc["day1", "carry_over_bias"] == pytest.approx(-day1, abs=1e-9)
    change = day1 - (15 - 10.8) * 0.5 ** (19 / 6) / 2
    assert truth.loc["attenuation", "carry_over_bias"] == pytest.approx(-change, abs=1e-9)


def test_natural_values_are_the_mean_of_many_draws() -> None:
    study = ks.load_study("jelen2025")
    study = replace(
        study, outcomes=tuple(replace(o, carry_over=None, entry=None) for o in study.outcomes)
    )
    draws = 4000
    y = draw_outcomes(study, "madrs", 11, range(draws), missing=False)
    plan = study.plan("madrs")
    mean = y.mean(axis=0)
    cell = (
        plan.assign(mean=mean)
        .groupby(["treatment", "time", "sex"], observed=True)["mean"]
        .mean()
        .unstack("treatment")
    )
    effect = (cell["naltrexone"] - cell["placebo"]).unstack("time")
    drawn = (effect["day1"] - effect["pre"]).mean()
    truth = study.true_values().set_index("estimand")["natural"]["attenuation"]
    # SE of the mean of 4,000 trials of SE 1.6: 0.026; four of them
    assert drawn == pytest.approx(truth, abs=0.1)


def test_a_sequence_effect_is_averaged_in_a_treatment_contrast() -> None:
    from ketastats.study.model import Effect

    study = ks.load_study("jelen2025")
    effect = Effect((("sequence", ("NP",)),), 6.0, False, "")
    madrs = study.outcome("madrs")
    madrs = replace(madrs, effects=(*madrs.effects, effect))
    study = replace(study, outcomes=(madrs, *study.outcomes[1:]))
    truth = study.true_values().set_index("estimand")["latent"]
    assert truth["attenuation"] == pytest.approx(4.2, abs=1e-12)


def test_the_hash_covers_truth_and_not_prose() -> None:
    study = ks.load_study("jelen2025")
    assert replace(study, title="another").hash == study.hash
    madrs = replace(study.outcome("madrs"), baseline=29.0)
    assert replace(study, outcomes=(madrs, *study.outcomes[1:])).hash != study.hash


def test_every_parameter_of_the_packaged_studies_has_a_stated_provenance() -> None:
    from ketastats.study.describe import parameters

    for name in ks.packaged_studies():
        silent = [
            (o, p)
            for o, p, _, source in parameters(ks.load_study(name))
            if source.note == "not stated in the Study file"
        ]
        assert silent == []
