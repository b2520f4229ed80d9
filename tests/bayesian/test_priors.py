import numpy as np
import pytest

from ketastats.bayesian.priors import choose_priors
from ketastats.core.errors import DataError, StudyError
from ketastats.study.model import Scale

BOUNDED = Scale("integer", 0.0, 60.0, 0, "points")
OPEN = Scale("real", 0.0, None, 1, "%")
Y = np.array([90.0, 101.0, 104.0, 117.0])  # mean 103, SD 11.1


def test_a_bounded_scale_gives_every_default_without_looking_at_the_data():
    chosen = choose_priors(None, Y, "madrs", BOUNDED, None)
    assert chosen.text == (
        ("intercept", "normal(30, 30)"),
        ("effects", "normal(0, 10)"),
        ("sd", "half-normal(10)"),
    )
    assert chosen.notes == ()
    assert choose_priors(None, Y * 7, "madrs", BOUNDED, None) == chosen


def test_a_typical_sd_goes_before_a_sixth_of_the_scale():
    chosen = choose_priors(None, Y, "madrs", BOUNDED, 8.0)
    assert dict(chosen.text) == {
        "intercept": "normal(30, 30)",
        "effects": "normal(0, 8)",
        "sd": "half-normal(8)",
    }
    assert chosen.notes == ()


def test_without_bounds_the_data_set_the_scale_and_a_note_says_so():
    chosen = choose_priors(None, Y, "glx", OPEN, None)
    assert dict(chosen.text) == {
        "intercept": "normal(100, 50)",  # 103 to two digits, five times 10
        "effects": "normal(0, 10)",  # 11.1 to one digit
        "sd": "half-normal(10)",
    }
    assert len(chosen.notes) == 2
    assert "SD of the data, about 10" in chosen.notes[0]
    assert "mean of the data, about 100" in chosen.notes[1]


def test_an_open_scale_with_a_typical_sd_takes_only_the_mean_from_the_data():
    chosen = choose_priors(None, Y, "glx", OPEN, 12.0)
    assert dict(chosen.text)["intercept"] == "normal(100, 60)"
    assert [n.split(":")[1].split(",")[0] for n in chosen.notes] == [" the mean of the data"]


def test_what_is_given_is_used_as_written_and_needs_no_note():
    given = {"effects": "normal(0,2.5)", "sd": "half-t(3, 5)", "intercept": "normal(50, 20)"}
    chosen = choose_priors(given, Y, "glx", None, None)
    assert dict(chosen.text) == given
    assert (chosen.effects.parameters, chosen.sd.parameters) == ((0.0, 2.5), (3.0, 5.0))
    assert chosen.notes == ()


@pytest.mark.parametrize("low, high", [(0.0, 100.0), (0.0, 22.0), (-3.0, 4.0)])
def test_the_text_of_a_default_is_its_exact_value(low, high):
    from ketastats.study.priors import parse_prior

    chosen = choose_priors(None, Y, "y", Scale("real", low, high, 1, ""), None)
    for role, text in chosen.text:
        assert parse_prior(text, role) == getattr(chosen, role)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"effects": "normal(0, -1)"}, "not positive"),
        ({"sd": "normal(0, 1)"}, "cannot read the prior"),
        ({"effect": "normal(0, 1)"}, "did you mean 'effects'"),
        ({"effects": "normal(1, 1)"}, "mean that is not 0"),
    ],
)
def test_a_prior_that_cannot_be_used_is_refused(given, words):
    with pytest.raises(StudyError, match=words):
        choose_priors(given, Y, "y", BOUNDED, None)


@pytest.mark.parametrize("typical", [0.0, -1.0, float("nan"), float("inf")])
def test_a_typical_sd_must_be_positive(typical):
    with pytest.raises(DataError, match="typical_sd"):
        choose_priors(None, Y, "y", BOUNDED, typical)
