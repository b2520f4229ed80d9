"""Many questions of one kind in the report: numbers worked out by hand."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.diagnosis.family import FamilyPanel
from ketastats.diagnosis.multiplicity import Family
from ketastats.figures.family import FamilyDots, family_dots
from ketastats.reporting import numbers as n
from ketastats.reporting.document import Heading, Paragraph, Picture, Table, plain_text
from ketastats.reporting.material import gather
from ketastats.reporting.section_change import what_would_change
from ketastats.reporting.section_family import family_section, finds, number_word

NAN = float("nan")
LEVELS = ("Q", "R", "S", "T", "U", "V", "W", "X")


@pytest.fixture(scope="module")
def material(tiny):
    results = ks.analyse(tiny, seed=3, analyses=["primary"])
    return gather(results, draws=0, seed=3, environment={}, command="")


@pytest.fixture
def panel():
    p = np.array([0.001, 0.004, 0.010, 0.045, 0.2, 0.5, 0.8, NAN])
    table = pd.DataFrame(
        {
            "level": LEVELS,
            "estimand": "effect",
            "estimate": [3.0, 2.5, 2.2, -1.7, 1.1, 0.6, 0.2, NAN],
            "se": [0.85] * 7 + [NAN],
            "p": p,
            "p_holm": [0.007, 0.024, 0.05, 0.18, 0.6, 1.0, 1.0, NAN],
            "p_bh": [0.007, 0.014, 0.0233, 0.079, 0.28, 0.583, 0.8, NAN],
            "shrunken": [2.1, 1.6, 1.2, -0.4, 0.2, 0.1, 0.0, NAN],
            "sd": [0.9, 0.9, 0.8, 0.5, 0.4, 0.3, 0.3, NAN],
            "p_effect": [0.97, 0.9, 0.8, 0.4, 0.3, 0.2, 0.1, NAN],
            "false_sign": [0.03, 0.11, 0.2, 0.65, 0.75, 0.85, 0.95, NAN],
            "true": [2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        }
    )
    table["ci_low"] = table["estimate"] - 1.7
    table["ci_high"] = table["estimate"] + 1.7
    rates = pd.DataFrame(
        [
            (truth, rule, 2 if truth == "claimed" else 0, false, 0.02, fdr, 0.01, found, 0.05, 0.0,
             400, 3 if truth == "none" else 0)
            for truth, rule, false, fdr, found in (
                ("none", "unadjusted", 0.30, 0.30, 0.0),
                ("none", "holm", 0.04, 0.04, 0.0),
                ("none", "bh", 0.04, 0.04, 0.0),
                ("none", "shrinkage", 0.0, 0.0, 0.0),
                ("claimed", "unadjusted", 0.25, 0.12, 1.4),
                ("claimed", "holm", 0.03, 0.01, 0.8),
                ("claimed", "bh", 0.04, 0.02, 0.9),
                ("claimed", "shrinkage", 0.02, 0.01, 0.9),
            )
        ],
        columns=["truth", "rule", "effects", "any_false", "any_false_se", "fdr", "fdr_se", "found",
                 "found_se", "wrong_sign", "draws", "left_out"],
    )  # fmt: skip
    family = Family("score", "region", LEVELS, ("effect",) * 8)
    note = "400 draws per truth without missing rows, seed 3"
    return FamilyPanel(family, "primary", 0.05, 0.3, 0.8, table, rates, note)


def of(section, kind):
    return [b for b in section.blocks if isinstance(b, kind)]


def words(blocks):
    return " ".join(plain_text(b.text) for b in blocks).replace(n.NB, " ")


def cells(table):
    return [[plain_text(c.text).replace(n.NB, " ") for c in row] for row in table.rows]


def test_without_a_family_there_is_no_section(material):
    assert family_section(material, ()) is None


def test_every_level_stands_with_four_answers_and_the_truth(material, panel):
    section = family_section(material, (panel,))
    assert section.title == "Eight regions as one family"
    answers = cells(of(section, Table)[0])
    assert answers[0] == [
        "Q", "3.00 (1.30 to 4.70)", "0.0010", "0.0070", "0.0070", "2.10 ± 0.90", "0.970", "0.030",
        "2.00",
    ]  # fmt: skip
    assert answers[7] == ["X", *[n.ABSENT] * 7, "0.00"]
    heads = [plain_text(c.head) for c in of(section, Table)[0].columns]
    assert heads[0] == "region" and heads[-1] == "true value"


def test_finds_are_counted_and_false_ones_named(material, panel):
    text = words(of(family_section(material, (panel,)), Paragraph))
    assert (
        "Below 0.05 in these data: unadjusted p 4 (2 of them false: S and T); Holm 2; "
        "Benjamini-Hochberg 3 (1 of them false: S); shrinkage 1. There are 2 true effects." in text
    )
    assert {k: int(v.sum()) for k, v in finds(panel).items()} == {
        "unadjusted": 4, "holm": 2, "bh": 3, "shrinkage": 1,
    }  # fmt: skip


def test_rates_have_their_errors_and_none_is_a_count(material, panel):
    section = family_section(material, (panel,))
    rates = cells(of(section, Table)[1])
    assert rates[0] == [
        "unadjusted p < 0.05", "30.0 ± 2.0 %", "25.0 ± 2.0 %", "12.0 ± 1.0 %", "1.400 ± 0.050",
    ]  # fmt: skip
    assert rates[3][:2] == ["shrinkage, false sign rate < 0.05", "none of 400"]
    assert "Up to 3 fits per truth did not converge" in plain_text(of(section, Table)[1].caption)
    text = words(of(section, Paragraph))
    # 1 - 0.95^8 = 34 %
    assert "in 30.0 ± 2.0 % of 400 draws; with 8 independent questions it would be 34 %" in text
    assert "Of 2 declared effects are found on average 1.400 ± 0.050 by unadjusted p" in text


def test_without_draws_the_reason_stands_in_their_place(material, panel):
    bare = replace(panel, rates=panel.rates.iloc[:0], note="no draws were asked for")
    section = family_section(material, (bare,))
    assert len(of(section, Table)) == 1
    assert "over many draws: no draws were asked for." in words(of(section, Paragraph))


def test_data_that_were_given_have_no_truth(tiny, panel):
    data = {"score": tiny.simulate(3)}
    results = ks.analyse(tiny, data, analyses=["primary"])
    given = gather(results, draws=0, seed=3, environment={}, command="")
    section = family_section(given, (replace(panel, table=panel.table.assign(true=NAN)),))
    text = words(of(section, Paragraph))
    assert "unadjusted p 4; Holm 2" in text and "true effect" not in text
    assert len(of(section, Table)[0].columns) == 8


def test_two_families_have_headings(material, panel):
    section = family_section(material, (panel, panel))
    assert section.title == "Many questions of one kind"
    assert words(of(section, Heading)).count("Eight regions as one family") == 2


@pytest.mark.parametrize(("number", "word"), [(8, "eight"), (60, "sixty"), (61, "61"), (13, "13")])
def test_short_numbers_are_words(number, word):
    assert number_word(number) == word


# the figure


def description(svg):
    return ET.fromstring(svg).find("{http://www.w3.org/2000/svg}desc").text


def test_the_figure_says_what_it_shows(material, panel):
    picture = of(family_section(material, (panel,)), Picture)[0]
    assert picture.name == "family-score-region"
    assert description(picture.svg) == (
        "7 estimates from -1.7 (T) to 3 (Q); shrunken they run from -0.4 to 2.1; the unadjusted "
        "interval leaves out 0 in S, R, Q; the shrunken sign is sure in Q; true effects in R, Q"
    )


def test_the_figure_is_drawn_the_same_twice_and_without_truth(panel):
    t = panel.table
    columns = ("estimate", "ci_low", "ci_high", "shrunken", "false_sign", "true")
    dots = FamilyDots(LEVELS, *(t[c].to_numpy() for c in columns))
    options = {"alpha": 0.05, "x_label": "region", "y_label": "y", "ident": "f", "title": "T"}
    one, two = (family_dots(dots, **options) for _ in range(2))
    assert one.svg == two.svg
    bare = family_dots(replace(dots, true=np.full(8, NAN)), **options)
    assert "true effects" not in description(bare.svg)
    assert len(bare.svg) < len(one.svg)
    assert dots.sorted().levels == ("T", "W", "V", "U", "S", "R", "Q")


# adjusted p values in what would change the conclusion


def test_adjusted_p_stand_beside_the_unadjusted_one(material):
    section = what_would_change(material)
    (adjusted,) = (t for t in of(section, Table) if t.file == "adjusted_p.csv")
    frame = material.adjusted.set_index("estimand")
    for row, (_, wanted) in zip(cells(adjusted), frame.iterrows(), strict=True):
        assert row[2:] == [n.p_value(wanted[c]).replace(n.NB, " ") for c in
                           ("p", "p_holm", "p_bh")]  # fmt: skip
    k = int((frame["p"] < 0.05).sum())
    assert f"Of 4 questions about score {k} " in words(of(section, Paragraph))


def test_questions_of_one_kind_are_left_to_their_section(material):
    adjusted = material.adjusted.copy()
    adjusted.loc[adjusted["estimand"] == "effect_men", "family"] = "score, sex"
    section = what_would_change(replace(material, adjusted=adjusted))
    (shown,) = (t for t in of(section, Table) if t.file == "adjusted_p.csv")
    assert len(shown.rows) == 3
    text = words(of(section, Paragraph))
    assert "Of 3 questions about score " in text and "Of 1 question about score by sex" in text
    assert "are a family of their own" in text
