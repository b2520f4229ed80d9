"""Sections on tempting analyses, printed statistics and equivalence."""

from dataclasses import replace

import numpy as np
import pytest

import ketastats as ks
from ketastats.reporting.document import Table, plain_text
from ketastats.reporting.material import gather
from ketastats.reporting.section_equivalence import equivalence_blocks, equivalence_table
from ketastats.reporting.section_pitfalls import tempting_analyses


@pytest.fixture(scope="module")
def material():
    study = ks.load_study("lazarevic2021")
    keep = [p for p in study.pitfalls if p.rule == "own control"]
    study = replace(study, pitfalls=tuple(keep), claims=study.claims[:1])
    results = ks.analyse(
        study, seed=1, analyses=["swim_primary", "swim_published", "field_primary"]
    )
    return gather(results, draws=60, seed=1, environment={}, command="")


def texts(blocks):
    out = []
    for block in blocks:
        if isinstance(block, Table):
            out += [plain_text(c.text) for row in block.rows for c in row]
        elif hasattr(block, "text"):
            out.append(plain_text(block.text))
    return out


def test_both_sides_and_both_rates_are_shown(material):
    said = " ".join(texts(tempting_analyses(material).blocks))
    assert "Each half on its own control mean, controls dropped" in said
    assert "the tempting analysis claims an effect in" in said
    rates = material.pitfalls[0].table.set_index(["truth", "side"])["rejection_rate"]
    assert f"{100 * rates['none', 'tempting']:.1f}" in said
    assert "Printed statistics among draws" in said and "F(2,39) = 2.48, p = 0.097" in said


def test_a_study_without_pitfalls_has_no_such_section(material):
    plain = replace(material.study, pitfalls=(), claims=())
    bare = replace(
        material, results=replace(material.results, study=plain), pitfalls=(), said={}, printed=()
    )
    assert tempting_analyses(bare) is None


def test_equivalence_is_judged_by_the_90_percent_interval(material):
    table = equivalence_table(material).set_index("estimand")
    fit = ks.lmm(
        material.study.analysis("field_primary").formula, material.results.data["distance"],
        outcome="distance", ddf="residual", level=0.90,
    )  # fmt: skip
    row = fit.contrast(estimands=[material.study.estimand("field_ketamine")]).iloc[0]
    assert table.loc["field_ketamine", "ci_low"] == pytest.approx(row["ci_low"], rel=1e-9)
    assert table.loc["field_ketamine", "ci_high"] == pytest.approx(row["ci_high"], rel=1e-9)
    inside = row["ci_low"] > -9 and row["ci_high"] < 9
    assert (table.loc["field_ketamine", "verdict"] == "equivalence shown") == inside
    assert np.isnan(table["inside"]).all()  # no posterior was asked for


def test_equivalence_stands_with_the_outcome_it_belongs_to(material):
    assert equivalence_blocks(material, "immobility") == []
    said = " ".join(texts(equivalence_blocks(material, "distance")))
    assert "is no evidence of no effect" in said and "Ketamine minus vehicle" in said
