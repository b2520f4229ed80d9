import re
import xml.etree.ElementTree as ET

import matplotlib
import pytest

from ketastats.figures.svg import INK, PALETTE, colours, draw, markers

SVG = "{http://www.w3.org/2000/svg}"


def paint(figure):
    ax = figure.subplots()
    ax.plot([0, 1, 2], [1, 3, 2], marker="o", color=PALETTE[0])
    ax.fill_between([0, 1], [1, 1], alpha=0.3)
    ax.set_xlabel("costs $5 \\frac{ <b> & é")
    ax.set_title("A")


def drawn(ident="one", title="T", desc="D"):
    return draw(paint, size=(3, 2), ident=ident, title=title, desc=desc)


def luminance(colour):
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_same_figure_gives_the_same_text():
    assert drawn() == drawn()


def test_settings_of_the_user_do_not_reach_the_figure():
    expected = drawn()
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 9, "axes.grid": True}):
        assert drawn() == expected
        assert matplotlib.rcParams["font.size"] == 20  # and the figure does not reach theirs


def test_the_text_is_one_xml_element_without_date_or_address():
    text = drawn()
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    rest = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    for word in (
        "http",
        "metadata",
        "<!--",
        "<?xml",
        "DOCTYPE",
        "<style",
        "Date",
        "matplotlib.org",
    ):
        assert word not in rest


def test_every_id_carries_the_name_of_the_figure_and_every_reference_has_its_target():
    text = drawn("abc")
    ids = re.findall(r' id="([^"]*)"', text)
    assert ids and len(ids) == len(set(ids)) and all(x.startswith("abc-") for x in ids)
    targets = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert targets and targets <= set(ids)


def test_two_figures_share_no_id():
    one, other = (set(re.findall(r' id="([^"]*)"', drawn(x))) for x in ("one", "two"))
    assert not one & other


def test_title_and_description_are_there_and_escaped():
    root = ET.fromstring(drawn(title="<script>", desc="a & b"))
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "one-title one-desc"
    assert root.find(f"{SVG}title").text == "<script>" and root.find(f"{SVG}desc").text == "a & b"


def test_neutral_ink_takes_the_colour_of_the_page():
    text = drawn()
    assert INK not in text and "currentColor" in text
    assert not re.search(r"#000000|#ffffff|\bblack\b|\bwhite\b", text)


def test_words_are_drawn_and_not_typeset():
    assert "<text" not in drawn()


def test_a_name_that_would_break_the_page_is_refused():
    with pytest.raises(ValueError, match="name of a figure"):
        drawn('x" onload="y')


def test_levels_keep_their_colour_and_marker():
    levels = ("placebo", "low", "high")
    assert colours(levels)["low"] == PALETTE[1]
    assert len(set(colours(levels).values())) == len(set(markers(levels).values())) == 3


@pytest.mark.parametrize("paper", ["#ffffff", "#15181d"])
def test_colours_stand_out_in_light_and_in_dark(paper):
    # 3:1 is what WCAG 2.1 asks of graphics
    assert min(contrast(c, paper) for c in PALETTE) >= 3
