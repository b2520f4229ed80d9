"""Parts of the sections whose numbers are worked out here by hand."""

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.diagnosis.random_part import RandomPartPanel
from ketastats.reporting import numbers as n
from ketastats.reporting.document import (
    Paragraph,
    Table,
    formula,
    plain_text,
    rich,
    table,
)
from ketastats.reporting.material import gather
from ketastats.reporting.questions import interactions, main_estimand, main_factor
from ketastats.reporting.section_diagnostics import reml_components
from ketastats.reporting.section_posterior import normal_of_rows
from ketastats.reporting.section_random_part import random_part
from ketastats.reporting.summaries import cell_means, missing_rows, sizes

# textbook formulas evaluated twice in double precision
EXACT = 1e-12


# summaries


@pytest.fixture(scope="module")
def lost(tiny):
    """The tiny plan with one person gone after period 1 and one value missing."""
    frame = tiny.plan("score").assign(score=10.0)
    frame.loc[(frame["subject"] == "P01") & (frame["period"] == "2"), "score"] = np.nan
    frame.loc[frame.index[-1], "score"] = np.nan
    return frame


def test_missing_rows_are_counted_per_sequence_and_period(tiny, lost):
    counts = missing_rows(tiny, tiny.outcome(), lost).set_index(["sequence", "period"])
    assert counts["rows_planned"].tolist() == [12] * 4
    assert counts.loc[("AB", "2"), ["rows_observed", "rows_missing"]].tolist() == [10, 2]
    assert counts["subjects_lost"].to_dict() == {
        ("AB", "1"): 0, ("AB", "2"): 1, ("BA", "1"): 0, ("BA", "2"): 0,
    }  # fmt: skip


def test_rows_that_are_absent_count_as_missing(tiny, lost):
    shorter = lost[lost["score"].notna()]
    pd.testing.assert_frame_equal(
        missing_rows(tiny, tiny.outcome(), shorter), missing_rows(tiny, tiny.outcome(), lost)
    )


def test_cell_means_are_those_of_the_observed(tiny, lost):
    frame = lost.copy()
    frame["score"] = frame["score"] * (1 + frame["subject"].cat.codes)
    means = cell_means(tiny, tiny.outcome(), frame).set_index(["sequence", "period", "time"])
    at = frame[(frame["sequence"] == "AB") & (frame["period"] == "2") & (frame["time"] == "pre")]
    values = at["score"].dropna().to_numpy()
    row = means.loc[("AB", "2", "pre")]
    assert (row["n"], len(values)) == (5, 5)
    assert row["mean"] == pytest.approx(values.mean(), abs=EXACT)
    assert row["sd"] == pytest.approx(values.std(ddof=1), abs=EXACT)


def test_sizes_are_whole_people_per_stratum(tiny):
    frame = sizes(tiny).set_index("sequence")
    assert frame.loc["AB"].to_dict() == {"F": 3, "M": 3, "all": 6}


def test_arms_of_a_parallel_design_are_counted_by_test():
    study = ks.load_study("yokoyama2024")
    data = study.simulate(1, outcome="investigation")
    counts = missing_rows(study, study.outcome(), data)
    assert list(counts.columns[:3]) == ["housing", "drug", "test"]
    assert counts["rows_planned"].sum() == len(data)
    assert counts["rows_missing"].sum() == data["investigation"].isna().sum()


# which estimands belong together


def test_an_interaction_finds_its_levels_and_its_overall_effect(tiny):
    (found,) = interactions(tiny)
    assert found.difference.name == "effect_sex" and found.overall.name == "effect"
    assert [(level, c, e.name) for level, c, e in found.within] == [
        ("F", -1.0, "effect_women"), ("M", 1.0, "effect_men"),
    ]  # fmt: skip


def test_a_contrast_of_a_stratum_alone_is_no_interaction():
    found = [x.difference for x in interactions(ks.load_study("yokoyama2024"))]
    assert [e.name for e in found if e.outcome == "investigation"] == ["memory_R_sex"]
    assert all(len(e.contrast) > 1 for e in found)


def test_the_main_estimand_is_the_first_declared(tiny):
    assert main_estimand(tiny, tiny.outcome()).name == "effect"
    assert main_factor(tiny) == "treatment"


# the random part


def material_with(tiny, made, rates, f_percentile=(99.0, 95.0)):
    rows = []
    for truth, effect in (("none", 0.0), ("claimed", 4.0)):
        for name, label, ddf in (("primary", "REML", "kenward-roger"),
                                 ("published", "person only", "satterthwaite")):  # fmt: skip
            rate = rates[truth, name]
            rows.append(
                {"truth": truth, "effect": effect, "analysis": name, "label": label,
                 "formula": tiny.analysis(name).formula, "ddf": ddf, "median_df": 10.0,
                 "rejection_rate": rate, "mc_se": (rate * (1 - rate) / 2000) ** 0.5,
                 "boundary_share": 0.1, "unconverged": 0,
                 "f_percentile": f_percentile[truth == "claimed"]}
            )  # fmt: skip
    panel = RandomPartPanel("score", "effect", "F(1,33) = 5.0", "a note", pd.DataFrame(rows))
    from dataclasses import replace

    material = gather(made.results, draws=0, seed=1, environment={}, command="")
    return replace(material, random_part=(panel,), draws=2000)


def words(blocks):
    texts = [plain_text(x.text) for x in blocks if isinstance(x, Paragraph)]
    return " ".join(texts).replace(n.NB, " ")


@pytest.mark.parametrize(
    ("rate", "said", "other"),
    [
        (0.005, "conservative: it rejects a true null hypothesis more rarely", "anticonservative"),
        (0.27, "anticonservative: it finds effects that are not there", " conservative"),
        (0.052, "not to be told apart from its promised level", "conservative"),
    ],
)
def test_the_direction_of_the_error_is_read_off_the_rate(tiny, made, rate, said, other):
    rates = {("none", "primary"): 0.05, ("none", "published"): rate,
             ("claimed", "primary"): 0.7, ("claimed", "published"): 0.4}  # fmt: skip
    text = words(random_part(material_with(tiny, made, rates)))
    assert said in text and other not in text


def test_power_that_comes_with_false_positives_is_not_praised(tiny, made):
    rates = {("none", "primary"): 0.05, ("none", "published"): 0.27,
             ("claimed", "primary"): 0.5, ("claimed", "published"): 0.86}  # fmt: skip
    text = words(random_part(material_with(tiny, made, rates)))
    assert "The rate of “person only” is not power that could be had" in text


def test_the_printed_f_is_placed_under_every_truth(tiny, made):
    rates = {(t, a): 0.05 for t in ("none", "claimed") for a in ("primary", "published")}
    material = material_with(tiny, made, rates, f_percentile=(100.0, 77.0))
    text = words(random_part(material))
    # 23 of 100 draws above; sqrt(0.23 * 0.77 / 2000) = 0.0094
    assert "none of 2000 draws under no effect" in text
    assert "23.00 ± 0.94 % of draws under the declared effect" in text


def test_fits_that_did_not_converge_are_counted(tiny, made):
    rates = {(t, a): 0.05 for t in ("none", "claimed") for a in ("primary", "published")}
    material = material_with(tiny, made, rates)
    material.random_part[0].table.loc[1, "unconverged"] = 7
    assert "count as no rejection: 7 of 2000 with “person only” (no effect)" in words(
        random_part(material)
    )


# diagnostics


def test_component_sds_are_roots_with_delta_method_errors(made):
    fit = made.results.answer("primary").result
    found = reml_components(fit)
    variance = fit.variance_intervals()
    assert set(found) == set(fit.variance.index)
    for name, c in found.items():
        assert c.is_sd and c.value == pytest.approx(fit.variance[name] ** 0.5, abs=EXACT)
        assert np.isfinite(c.se) or fit.variance[name] == 0
    assert len(variance) == len(found)


def test_a_covariance_is_not_rooted():
    data = ks.load_study("jelen2025").simulate(1, outcome="glx")
    data["day"] = data["spectrum"].cat.codes.astype(float)
    slopes = np.random.default_rng(3).normal(scale=2.0, size=26)
    data["glx"] += slopes[data["subject"].cat.codes] * data["day"]
    fit = ks.lmm("glx ~ treatment + day + (1 + day | subject)", data)
    (covariance,) = [c for c in reml_components(fit).values() if not c.is_sd]
    assert covariance.value in fit.variance.tolist()


def test_the_prior_of_a_contrast_adds_independent_variances():
    rows = np.array([[0.0, 1.0, -1.0], [1.0, 0.5, 0.0]])
    mean, sd = normal_of_rows(rows, np.array([30.0, 0.0, 0.0]), np.array([10.0, 3.0, 4.0]))
    np.testing.assert_allclose(mean, [0.0, 30.0], atol=EXACT)
    np.testing.assert_allclose(sd, [5.0, np.sqrt(100 + 2.25)], atol=EXACT)


# the document


def test_a_table_with_a_ragged_row_is_refused():
    with pytest.raises(ValueError, match="row of 1 cells"):
        table("t", ("a", "b"), [["only one"]])


def test_text_keeps_its_words_whatever_their_style():
    text = rich("p ", formula("a * b + (1 | s)"))
    assert plain_text(text) == "p a * b + (1 | s)"
    assert [s.style for s in text] == ["", "term", "", "term"]
    assert isinstance(table("t", ("a",), [["1"]]), Table)


def test_what_could_not_be_computed_is_said_with_its_reason(made, monkeypatch):
    from ketastats.core.errors import DataError
    from ketastats.reporting.section_change import what_would_change

    def fails(*arguments):
        raise DataError("the random term has 1 group")

    monkeypatch.setattr("ketastats.diagnosis.influence.leave_one_out", fails)
    material = gather(made.results, draws=0, seed=1, environment={}, command="")
    assert set(material.choices) == {"effect"} and not material.left_out
    said = words(what_would_change(material).blocks)
    assert "subjects left out: not computed, because the random term has 1 group." in said
