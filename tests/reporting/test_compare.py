import copy
import math

import pytest

from ketastats.reporting.compare import (
    agree,
    bytes_difference,
    close_difference,
    csv_close,
    json_difference,
    results_close,
)


def test_equal_bytes_do_not_differ():
    assert bytes_difference("a.json", b"{}", b"{}") is None


def test_the_first_line_that_differs_is_named_with_both_values():
    found = bytes_difference("t/a.csv", b"a\n1\n2\n", b"a\n1\n3\n")
    assert found == "t/a.csv: line 3: '2' in the report, '3' rebuilt"


def test_a_missing_tail_is_named():
    assert "line 3" in bytes_difference("a.csv", b"a\n1\n", b"a\n1\n2\n")


def test_a_long_line_is_shown_where_it_differs():
    long = b"x" * 500
    found = bytes_difference("a.html", long + b"1", long + b"2")
    assert len(found) < 250 and "1'" in found and "2'" in found


def test_json_that_differs_in_layout_only_is_named_by_its_line():
    assert "line 1" in bytes_difference("a.json", b'{"a": 1}', b'{"a":1}')


@pytest.mark.parametrize(
    ("a", "b", "path"),
    [
        ({"x": [1, {"p": 0.1}]}, {"x": [1, {"p": 0.2}]}, "x[1].p: 0.1"),
        ({"x": [1]}, {"x": [1, 2]}, "x: 1 entries"),
        ({"x": 1}, {"y": 1}, "x: absent rebuilt"),
        ({"x": 1}, {"x": 1.0}, "x: 1 in the report, 1.0"),
        ({"x": None}, {"x": 0}, "x: null"),
        ({"x": True}, {"x": 1}, "x: true"),
    ],
)
def test_the_key_path_that_differs_is_named(a, b, path):
    assert json_difference(a, b).startswith(path)


def test_digits_mean_significant_digits():
    assert agree(1234.561, 1234.562, 6) and not agree(1234.56, 1234.57, 6)
    assert agree(1e-15, 0.0, 6)  # zero in another arithmetic
    assert agree(math.nan, math.nan, 6) and not agree(math.nan, 1.0, 6)
    assert agree(math.inf, math.inf, 6) and not agree(math.inf, -math.inf, 6)


def test_numbers_are_held_against_their_standard_error():
    a, b = {"estimate": 0.001, "se": 1.0}, {"estimate": 0.03, "se": 1.0}
    assert close_difference(a, b, 2) is None
    assert close_difference(a, b, 6) is not None


def results():
    base = {"notes": "", "prob_positive": None, "p": 0.03, "se": 1.4, "estimate": 4.8}
    return {
        "schema": 1, "study": {"id": "x"}, "synthetic": True, "seed": 1, "truth": [{"latent": 4.0}],
        "estimates": [
            base | {"engine": "reml"},
            base | {"engine": "mcmc", "prob_positive": 0.97, "p": None},
        ],
        "panels": {"random_part": [{"rejection_rate": 0.05}], "left_out": {"e": [{"p": 0.03}]}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "equal"),
    [
        (lambda r: r["estimates"][0].update(estimate=4.8 * (1 + 1e-7)), True),
        (lambda r: r["estimates"][0].update(estimate=4.8 * (1 + 1e-4)), False),
        (lambda r: r["estimates"][1].update(estimate=4.83), True),
        (lambda r: r["estimates"][1].update(estimate=5.3), False),
        (lambda r: r["estimates"][1].update(prob_positive=0.96), True),
        (lambda r: r["estimates"][1].update(prob_positive=0.9), False),
        (lambda r: r["truth"][0].update(latent=4.01), False),
        (lambda r: r["panels"]["random_part"][0].update(rejection_rate=0.051), True),
        (lambda r: r["panels"]["left_out"]["e"][0].update(p=0.031), False),
        (lambda r: r["estimates"].pop(), False),
    ],
)
def test_sampled_numbers_agree_to_2_digits_and_others_to_6(change, equal):
    other = copy.deepcopy(results())
    change(other)
    assert (results_close(results(), other) is None) is equal


def test_tables_are_compared_cell_by_cell():
    assert csv_close("a,b\nx,1.0000000\n", "a,b\nx,1.0000001\n") is None
    assert csv_close("a,b\nx,1.0\n", "a,b\nx,1.1\n").startswith("line 2")
    assert csv_close("a,b\nx,1.0\n", "a,b\ny,1.0\n").startswith("line 2")
    assert csv_close("a\n1\n", "a\n") is not None
