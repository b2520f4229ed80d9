import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketastats.reporting import numbers as n

NAN = math.nan


@pytest.mark.parametrize(
    ("se", "decimals"),
    [(1.41, 1), (0.234, 2), (14.2, 0), (142.0, 0), (0.0996, 2), (9.96, 0), (0.0123, 3)],
)
def test_the_standard_error_shows_two_significant_digits(se, decimals):
    assert n.decimals_for(se) == decimals


def test_a_monte_carlo_quantity_is_not_finer_than_its_error():
    assert n.value(4.7913, 1.405, mcse=0.02) == "4.8"
    assert n.value(4.7913, 1.405, mcse=0.2) == "5"
    assert n.value(0.12345, 0.0123, mcse=0.002) == "0.12"


@given(
    st.floats(0.001, 1000),
    st.floats(-1e4, 1e4),
)
def test_rounding_moves_a_value_by_less_than_a_tenth_of_its_error(se, estimate):
    shown = float(n.value(estimate, se).replace("−", "-"))
    # two significant digits of the SE: the last decimal is at most 1/10 of it, above 5 a unit is
    # at most half a digit of the integer part
    assert abs(shown - estimate) <= 0.5 * max(0.1 * se, 10.0 ** -n.decimals_for(se)) + 1e-9


def test_intervals_take_the_decimals_of_the_estimate():
    text = n.with_interval(-0.75, -5.11, 3.61, 2.1)
    assert text == "−0.8 (−5.1 to 3.6)"


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.00261, "0.0026"),
        (0.023, "0.023"),
        (0.5, "0.50"),
        (0.0496, "0.0496"),  # two digits would print 0.050
        (0.04999, "0.04999"),
        (0.0504, "0.050"),
        (0.05, "0.050"),
        (0.000123, "0.00012"),
        (0.0000999, f"<{n.NB}0.0001"),
        (0.994, f">{n.NB}0.99"),
        (0.99, "0.99"),
    ],
)
def test_p_values_keep_two_digits_and_their_side_of_0_05(p, text):
    assert n.p_value(p) == text


@given(st.floats(1e-4, 0.99))
def test_a_printed_p_is_on_the_side_of_0_05_of_the_true_one(p):
    assert (float(n.p_value(p)) < 0.05) == (p < 0.05)


def test_df_have_one_decimal_and_infinity_a_sign():
    assert (n.df(21.513), n.df(23.0), n.df(math.inf)) == ("21.5", "23.0", "∞")


def test_probabilities_have_two_digits_and_three_near_the_ends():
    assert [n.probability(p) for p in (0.5, 0.95, 0.977, 0.012)] == [
        "0.50",
        "0.95",
        "0.977",
        "0.012",
    ]
    assert n.probability(1.0) == f">{n.NB}0.999"
    assert n.direction(0.01) == f"0.990 (<{n.NB}0)"


def test_what_is_absent_is_an_en_dash_and_never_nan():
    texts = [
        n.value(NAN, 1.0), n.interval(NAN, 1.0, 1.0), n.with_interval(NAN, NAN, NAN, NAN),
        n.p_value(NAN), n.df(NAN), n.probability(NAN), n.direction(NAN), n.percent(NAN),
        n.plain(NAN), n.fixed(math.inf, 1), n.fixed(-math.inf, 1),
    ]  # fmt: skip
    assert set(texts) == {n.ABSENT}


def test_zero_has_no_sign():
    assert n.fixed(-0.004, 2) == "0.00"
    assert n.plain(-0.0) == "0"


def test_shares_carry_their_monte_carlo_error():
    assert n.percent(0.0525, 0.005).replace(n.NB, " ") == "5.25 ± 0.50 %"
    assert n.percent(0.268, 0.0099).replace(n.NB, " ") == "26.80 ± 0.99 %"
    assert n.percent(0.0, 0.0).replace(n.NB, " ") == "0 %"
