import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from scipy.stats import norm

import ketastats as ks
from ketastats.figures.design import design_diagram
from ketastats.figures.diagnostics import (
    Density,
    densities,
    normal_quantiles,
    residual_plots,
)
from ketastats.figures.forest import ForestRow, forest
from ketastats.figures.influence import left_out
from ketastats.figures.svg import PALETTE
from ketastats.figures.trajectories import panels_of, trajectories
from ketastats.reporting.questions import main_factor

NAN = float("nan")
NOTHING = (NAN, NAN, NAN)


def description(svg):
    return ET.fromstring(svg).find("{http://www.w3.org/2000/svg}desc").text


def test_a_crossover_is_drawn_as_sequences_by_periods():
    design = ks.load_study("jelen2025").design
    svg = design_diagram(
        design, sizes={"PN": "n = 13", "NP": "n = 13"}, factor="treatment", names={}
    )
    assert description(svg) == (
        "PN (n = 13): placebo, then naltrexone; NP (n = 13): naltrexone, then placebo"
    )
    assert svg.count(PALETTE[0]) >= 2 and svg.count(PALETTE[1]) >= 2


def test_a_parallel_trial_is_coloured_where_its_factor_acts():
    study = ks.load_study("yokoyama2024")
    svg = design_diagram(
        study.design, sizes={}, factor="drug", names={}, acts_at=frozenset(["after"])
    )
    assert "untreated, then R" in description(svg)
    whole = design_diagram(study.design, sizes={}, factor="drug", names={})
    assert "untreated" not in description(whole)


def test_a_design_without_occasions_can_be_drawn():
    from dataclasses import replace

    design = replace(ks.load_study("yokoyama2024").design, occasions=())
    assert "saline" in description(design_diagram(design, sizes={}, factor="drug", names={}))


@pytest.mark.parametrize("name", ks.packaged_studies())
def test_trajectories_show_the_means_of_those_observed(name):
    study = ks.load_study(name)
    outcome = study.outcome()
    data = study.simulate(1, outcome=outcome.name)
    factor = main_factor(study)
    panels = panels_of(study.design, outcome, data, factor, {})
    arms = len(study.design.sequences) + len(study.design.groups)
    assert len(panels) == arms
    run = panels[0].runs[0]
    rows = data
    if study.design.kind == "crossover":
        rows = rows[(rows["sequence"] == study.design.sequences[0][0]) & (rows["period"] == "1")]
    else:
        for factor_name, level in study.design.groups[0].levels:
            rows = rows[rows[factor_name] == level]
        for outer in outcome.occasions[:-1]:
            rows = rows[rows[outer.name] == outer.levels[0]]
    inner = outcome.occasions[-1].name
    expected = rows.groupby(inner, observed=False)[outcome.name].mean().to_numpy(dtype=float)
    np.testing.assert_allclose(np.nanmean(run.values, axis=0), expected, atol=1e-12)
    svg = trajectories(panels, levels=tuple(str(v) for v in data[factor].cat.categories), names={},
                       y_label=outcome.label, x_label=inner, ident="t")  # fmt: skip
    assert f"{expected[0]:.3g}" in description(svg)
    lines = sum(len(r.values) for p in panels for r in p.runs)
    assert svg.count("stroke-opacity: 0.32") >= lines


def test_somebody_without_any_value_has_no_line():
    study = ks.load_study("jelen2025")
    data = study.plan("madrs").assign(madrs=20.0)
    data.loc[(data["subject"] == "P01") & (data["period"] == "2"), "madrs"] = np.nan
    first = panels_of(study.design, study.outcome("madrs"), data, "treatment", {})[0]
    assert [len(r.values) for r in first.runs] == [13, 12]


def test_a_forest_names_truth_and_both_schools():
    rows = [ForestRow("effect", 4.0, (4.8, 1.9, 7.7), (4.6, 1.7, 7.6)),
            ForestRow("carry-over", NAN, (1.0, -1.0, 3.0), NOTHING)]  # fmt: skip
    svg = forest(rows, x_label="value", ident="f", title="t")
    assert description(svg) == (
        "effect: true 4, REML 4.8 (1.9 to 7.7), posterior 4.6 (1.7 to 7.6); "
        "carry-over: REML 1 (-1 to 3)"
    )


def test_a_forest_of_one_school_draws_only_that_one():
    svg = forest([ForestRow("e", 4.0, (4.8, 1.9, 7.7), NOTHING)], x_label="v", ident="f", title="t")
    assert PALETTE[0] in svg and PALETTE[1] not in svg
    assert "posterior" not in description(svg)


def test_a_forest_with_an_estimand_that_gave_nothing_says_so():
    rows = [ForestRow("a", NAN, NOTHING, NOTHING), ForestRow("b", 1.0, (1.0, 0.0, 2.0), NOTHING)]
    assert "a: no estimate" in description(forest(rows, x_label="v", ident="f", title="t"))


def test_normal_quantiles_are_blom_scores():
    expected = norm.ppf((np.arange(1, 11) - 0.375) / 10.25)
    np.testing.assert_allclose(normal_quantiles(10), expected, atol=1e-12)


def test_residuals_are_described_by_number_and_spread():
    residual = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    text = description(residual_plots(residual + 9, residual, unit="s", ident="r", subject="mouse"))
    assert text.startswith("5 residuals, SD 1.41 s") and "skewness 0.00" in text


def test_densities_draw_the_prior_over_the_posterior():
    x = np.linspace(-2, 6, 50)
    row = Density("effect", x, norm.pdf(x, 2, 1), (0.0, 10.0), 1.5, (0.1, 3.9))
    svg = densities([row], unit="points", ident="d")
    assert description(svg) == "effect: interval 0.1 to 3.9"
    assert svg.count("stroke-dasharray") >= 2  # the prior and its place in the legend


def test_who_moves_p_across_is_drawn_apart():
    estimate, p = np.array([3.0, 2.5, 3.2]), np.array([0.03, 0.06, 0.02])
    svg = left_out(["", "P1", "P2"], estimate, estimate - 2, estimate + 2, p, true=2.0, alpha=0.05,
                   x_label="points", ident="l")  # fmt: skip
    assert "p crosses 0.05 without P1" in description(svg)
    assert PALETTE[1] in svg


def test_nobody_who_moves_p_leaves_one_colour():
    estimate, p = np.array([3.0, 2.5, NAN]), np.array([0.03, 0.04, NAN])
    svg = left_out(["", "P1", "P2"], estimate, estimate - 2, estimate + 2, p, true=NAN, alpha=0.05,
                   x_label="points", ident="l")  # fmt: skip
    assert "without nobody" in description(svg) and PALETTE[1] not in svg


def test_no_figure_says_nan():
    rows = [ForestRow("a", NAN, (1.0, NAN, NAN), NOTHING)]
    svg = forest(rows, x_label="v", ident="f", title="t")
    assert not re.search(r"\bnan\b", svg)


def test_a_forest_without_an_estimate_shows_the_true_values():
    rows = [ForestRow("a", 1.0, NOTHING, NOTHING), ForestRow("b", NAN, NOTHING, NOTHING)]
    svg = forest(rows, x_label="v", ident="f", title="t")
    assert "a: true 1" in svg and "b: no estimate" in svg
