import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from ketastats.core.errors import DataError
from ketastats.figures.calibration import EcdfPanel, RankPanel, ecdf_difference, rank_histogram
from ketastats.figures.svg import PALETTE

Z = np.arange(1, 10) / 10
BAND = 0.4 * np.sqrt(Z * (1 - Z))
NOTHING = np.full(9, np.nan)


def description(drawing):
    return ET.fromstring(drawing.svg).find("{http://www.w3.org/2000/svg}desc").text


def ecdf(difference, label="a", note=""):
    return EcdfPanel(label, Z, difference, -BAND, BAND, note)


def test_an_ecdf_inside_its_band_has_one_colour():
    drawing = ecdf_difference([ecdf(0.5 * BAND)], ident="e")
    assert description(drawing) == "a: at most 0.1 from uniform, at 0.5, inside the band"
    assert PALETTE[0] in drawing.svg and PALETTE[1] not in drawing.svg


def test_points_outside_are_counted_named_and_marked():
    difference = np.where(Z > 0.65, -1.2 * BAND, 0.0)
    drawing = ecdf_difference([ecdf(difference, note="too narrow")], ident="e")
    assert "outside the band at 3 of 9 points (too narrow)" in description(drawing)
    # one marker per point and one in the legend, each in the second colour
    marks = re.findall(rf'<use href="#e-[^"]*" x="[^"]*" y="[^"]*" style="fill: {PALETTE[1]}',
                       drawing.svg)  # fmt: skip
    assert len(marks) == 3 + 1


@pytest.mark.parametrize("side", [-1, 1])
def test_a_value_on_the_edge_of_the_band_is_inside(side):
    panel = ecdf(side * BAND * (1 + 1e-14))
    assert not panel.outside.any()
    assert ecdf(side * BAND * 1.001).outside.all()


def test_a_parameter_without_values_is_said_to_have_none():
    panels = [ecdf(0 * Z, "fine"), EcdfPanel("gone", Z, NOTHING, NOTHING, NOTHING)]
    drawing = ecdf_difference(panels, ident="e")
    assert description(drawing).endswith("; gone: no values")
    assert not re.search(r"\bnan\b", drawing.svg)
    none = RankPanel("gone", np.zeros(5, dtype=int), 0, 0)
    assert description(rank_histogram([none], ident="r")) == "gone: no values"


def test_bins_outside_their_band_are_counted_and_hatched():
    fine, off = np.array([9, 10, 11, 10]), np.array([20, 10, 9, 1])
    inside = rank_histogram([RankPanel("a", fine, 4, 16)], ident="r")
    assert description(inside) == "a: 9 to 11 values in a bin, band 4 to 16, inside the band"
    assert "<pattern" not in inside.svg and PALETTE[1] not in inside.svg
    outside = rank_histogram([RankPanel("a", off, 4, 16, "shifted up")], ident="r")
    assert "outside the band at 2 of 4 bins (shifted up)" in description(outside)
    hatched = outside.svg.count("fill: url(#r-")  # two bins and the legend
    assert hatched == 2 + 1 and PALETTE[1] in outside.svg


def test_a_count_on_the_edge_is_inside():
    assert RankPanel("a", np.array([3, 4, 16, 17]), 4, 16).outside.tolist() == [
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("panels", [1, 2, 3, 4, 7])
def test_every_parameter_is_described_and_drawn_the_same_twice(panels):
    rows = [ecdf(0.1 * k * BAND, f"parameter {k}") for k in range(panels)]
    bars = [RankPanel(f"parameter {k}", np.array([k, 5, 9]), 1, 9) for k in range(panels)]
    for call, given in ((ecdf_difference, rows), (rank_histogram, bars)):
        one, other = call(given, ident="e"), call(given, ident="e")
        assert one.svg == other.svg
        said = description(one).split("; ")
        assert [s.split(":")[0] for s in said] == [f"parameter {k}" for k in range(panels)]


def test_each_line_of_panels_adds_the_same_height():
    heights = []
    for n in (1, 3, 4, 7):
        root = ET.fromstring(ecdf_difference([ecdf(0 * Z)] * n, ident="e").svg)
        heights.append(float(root.get("height").removesuffix("pt")))
    assert heights[0] == heights[1]
    assert heights[2] - heights[1] == pytest.approx(heights[3] - heights[2], abs=0.01)
    assert heights[2] > heights[1]


def test_labels_are_words_and_not_markup():
    drawing = ecdf_difference([ecdf(0 * Z, "a < b & $5")], ident="e", title="<T>")
    assert description(drawing).startswith("a < b & $5:") and str(drawing).startswith("<T>")


@pytest.mark.parametrize("call", [ecdf_difference, rank_histogram])
def test_no_parameter_is_no_figure(call):
    with pytest.raises(DataError, match="no panel to draw; give one per parameter"):
        call([], ident="e")
