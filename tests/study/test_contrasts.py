"""The estimand grammar and weights over cells."""

import numpy as np
import pytest

from ketastats.core.errors import NotEstimable, StudyError
from ketastats.study.contrasts import cell_weights, full_grid, parse_contrast
from ketastats.study.model import Estimand

LEVELS = ("1", "2", "3", "4", "5")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5 - 4", {"4": -1, "5": 1}),
        ("5 - mean(2, 3, 4)", {"2": -1 / 3, "3": -1 / 3, "4": -1 / 3, "5": 1}),
        ("2*1 - 2*2", {"1": 2, "2": -2}),
        ("1/2 + 2/2 - 3", {"1": 0.5, "2": 0.5, "3": -1}),
        ("-1 + 2", {"1": -1, "2": 1}),
        ("'5' - \"4\"", {"4": -1, "5": 1}),
        ("mean(4, 5) - mean(1, 2)", {"1": -0.5, "2": -0.5, "4": 0.5, "5": 0.5}),
    ],
)
def test_contrasts_are_read(text: str, expected: dict[str, float]) -> None:
    assert dict(parse_contrast(text, LEVELS)) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "5 -", "5 4", "mean(2, 3", "5 - 5", "mean()", "5 ** 2", "1/0 - 2", "()", "5 , 4"]
)
def test_what_is_not_a_contrast_is_refused(text: str) -> None:
    with pytest.raises(StudyError):
        parse_contrast(text, LEVELS)


def test_an_unknown_level_is_named_with_the_nearest() -> None:
    with pytest.raises(StudyError, match="did you mean 'naltrexone'"):
        parse_contrast("naltrexon - placebo", ["placebo", "naltrexone"])


def _estimand(**changes: object) -> Estimand:
    base = {
        "name": "e",
        "outcome": "y",
        "contrast": (("t", (("a", -1.0), ("b", 1.0))),),
        "within": (),
        "weights": (),
        "target": "direct",
        "label": "e",
    }
    return Estimand(**(base | changes))  # type: ignore[arg-type]


def test_weights_average_the_other_factors() -> None:
    grid = full_grid([("t", ("a", "b")), ("s", ("f", "m")), ("k", ("1", "2", "3"))])
    w = cell_weights(_estimand(), grid)
    assert w.sum() == pytest.approx(0)
    assert np.abs(w).sum() == pytest.approx(2)
    assert set(np.round(np.abs(w), 12)) == {round(1 / 6, 12)}


def test_an_interaction_is_a_difference_of_differences() -> None:
    grid = full_grid([("t", ("a", "b")), ("s", ("f", "m"))])
    e = _estimand(contrast=(("t", (("a", -1.0), ("b", 1.0))), ("s", (("f", -1.0), ("m", 1.0)))))
    assert cell_weights(e, grid).tolist() == [1.0, -1.0, -1.0, 1.0]


def test_within_and_given_weights() -> None:
    grid = full_grid([("t", ("a", "b")), ("s", ("f", "m"))])
    assert cell_weights(_estimand(within=(("s", "m"),)), grid).tolist() == [0, -1, 0, 1]
    w = cell_weights(_estimand(weights=(("s", (("f", 0.25), ("m", 0.75))),)), grid)
    assert w.tolist() == [-0.25, -0.75, 0.25, 0.75]


def test_empty_arms_must_be_held_at_one_level() -> None:
    from ketastats.study.contrasts import Grid

    # grouped animals were never given drug b
    grid = Grid((("h", ("iso", "grp")), ("t", ("a", "b"))), ((0, 0), (0, 1), (1, 0)))
    with pytest.raises(NotEstimable, match="hold the unbalanced factor"):
        cell_weights(_estimand(), grid)
    assert cell_weights(_estimand(within=(("h", "iso"),)), grid).tolist() == [-1.0, 1.0, 0.0]
