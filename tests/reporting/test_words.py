import math

import pytest
from scipy.stats import nct

from ketastats.reporting import numbers as n
from ketastats.reporting.words import (
    Estimate,
    detectable,
    interaction_sentences,
    left_out_sentence,
    listing,
    p_range_sentence,
    size_verdict,
)


def estimate(name, value, se, p, df=20.0):
    return Estimate(name, value, se, df, value - 2 * se, value + 2 * se, p)


def sentences(p_men, p_women, p_difference, *, value=3.0, true=2.0):
    men, women = estimate("men", 5.0, 2.0, p_men), estimate("women", 2.0, 2.0, p_women)
    difference = estimate("men minus women", value, 2.8, p_difference)
    overall = estimate("all", 3.5, 1.4, 0.02)
    out = interaction_sentences(
        [men, women], difference, overall, true=true, alpha=0.05, unit="points"
    )
    return " ".join(out).replace(n.NB, " ")


def test_significant_in_one_and_not_in_the_other_is_called_no_interaction():
    text = sentences(0.001, 0.4, 0.3)
    assert "Significant in men and not in women is not an interaction" in text


def test_a_significant_difference_is_credited_to_its_own_test():
    text = sentences(0.001, 0.4, 0.02)
    assert "not an interaction" not in text
    assert "is this one test of the difference" in text


@pytest.mark.parametrize(("p", "which"), [(0.001, "significant in men and women"),
                                          (0.4, "not significant in men or women")])  # fmt: skip
def test_no_difference_found_is_not_called_the_same(p, which):
    text = sentences(p, p, 0.3)
    assert which in text and "does not show that the effect is the same" in text


def test_a_difference_can_be_significant_when_neither_effect_is():
    assert "its own test counts" in sentences(0.4, 0.4, 0.02)


@pytest.mark.parametrize(
    ("value", "p", "true", "said"),
    [
        (7.0, 0.02, 2.0, "3.5 times as large"),
        (-7.0, 0.02, 2.0, "wrong sign"),
        (7.0, 0.02, 0.0, "false positive"),
        (3.0, 0.3, 2.0, "this trial did not find it"),
        (0.5, 0.8, 0.0, "the interval contains it"),
    ],
)
def test_the_estimate_is_held_against_the_truth(value, p, true, said):
    assert said in sentences(0.01, 0.4, p, value=value, true=true)


def test_without_a_truth_none_is_mentioned():
    assert "true difference is" not in sentences(0.01, 0.4, 0.3, true=math.nan)


def test_a_difference_that_was_not_estimated_says_so():
    absent = Estimate("d", *[math.nan] * 6)
    out = interaction_sentences([], absent, None, true=2.0, alpha=0.05, unit="")
    assert out == ["The difference could not be estimated, so these data say nothing about it."]


def test_the_detectable_difference_has_80_percent_power():
    se, df, alpha = 2.8, 21.5, 0.05
    shift = detectable(se, df, alpha) / se
    critical = nct.ppf(1 - alpha / 2, df, 0)
    power = nct.sf(critical, df, shift)
    # the formula adds two central t quantiles: within half a point of the exact power at 21 df
    assert power == pytest.approx(0.8, abs=0.005)


def test_size_is_judged_in_both_directions_and_by_the_number_of_draws():
    assert size_verdict(0.28, 2000, 0.05) == "anticonservative"
    assert size_verdict(0.005, 2000, 0.05) == "conservative"
    assert size_verdict(0.08, 100, 0.05) == "close to its level"
    assert size_verdict(0.08, 2000, 0.05) == "anticonservative"


def test_choices_are_said_to_matter_only_when_they_do():
    assert p_range_sentence([0.001, 0.03], "choices", 0.05).endswith("all below 0.05.")
    assert p_range_sentence([0.2, 0.3], "choices", 0.05).endswith("none below 0.05.")
    mixed = p_range_sentence([0.01, 0.3, math.nan], "choices", 0.05)
    assert "1 of 2 below 0.05, so significance depends" in mixed and "1 more gave no" in mixed


def test_who_moves_p_across_is_named():
    text = left_out_sentence(["", "P1", "P2", "P3"], [0.03, 0.06, 0.02, math.nan],
                             [3.0, 2.5, 3.2, math.nan], 1.2, 0.05)  # fmt: skip
    assert "Without P1, p crosses 0.05" in text and "Without P3 the fit gives no p-value" in text
    assert "No single one" in left_out_sentence(["", "P1"], [0.2, 0.3], [1.0, 1.1], 0.5, 0.05)


def test_lists_read_as_sentences():
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing(["a", "b"], "or") == "a or b"
