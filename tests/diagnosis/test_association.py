"""Correlations between outcomes, and people who differ in an effect."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.core.errors import StudyError
from ketastats.diagnosis.association import (
    association_panels,
    correlation_p,
    correlations,
    fisher_interval,
    partial,
)
from ketastats.diagnosis.heterogeneity import (
    double_difference_sd,
    heterogeneity_panels,
    people_by_treatment,
    replicate,
    with_own_effects,
)
from ketastats.diagnosis.pitfall_rules import responder_p
from ketastats.diagnosis.pitfalls import null_of


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_printed_correlations_have_the_intervals_of_the_reference():
    """Wu et al.: R2 0.399, 0.629 and 0.715, n = 11; intervals and p worked out by hand."""
    r = np.sqrt([0.399, 0.629, 0.715])
    low, high = fisher_interval(r, 11)
    np.testing.assert_allclose(low, [0.05, 0.37, 0.50], atol=0.006)  # two printed digits
    np.testing.assert_allclose(high, [0.89, 0.94, 0.96], atol=0.006)
    np.testing.assert_allclose(
        correlation_p(r, 11), [0.037, 0.0036, 0.0010], rtol=0.05
    )  # two digits


def test_rows_equal_numpy_and_pingouin(rng):
    import pingouin as pg

    x, y, z = rng.normal(size=(3, 4, 12))
    y = y + x
    z = z + y
    found, left = correlations(x, y), partial(x, y, z)
    for b in range(4):
        assert found[b] == pytest.approx(np.corrcoef(x[b], y[b])[0, 1], rel=1e-12)
        frame = pd.DataFrame({"x": x[b], "y": y[b], "z": z[b]})
        one = pg.partial_corr(frame, x="x", y="y", covar="z")
        assert left[b] == pytest.approx(one["r"].iloc[0], rel=1e-9)
        p_column = next(c for c in one.columns if c.startswith("p"))
        assert correlation_p(left[b : b + 1], 12, 1)[0] == pytest.approx(
            one[p_column].iloc[0], rel=1e-6
        )


def test_a_partial_correlation_is_that_of_the_residuals(rng):
    x, y, z = rng.normal(size=(3, 1, 30))
    x, y = x + z, y - z
    design = np.column_stack([np.ones(30), z[0]])
    rest = [v[0] - design @ np.linalg.lstsq(design, v[0], rcond=None)[0] for v in (x, y)]
    assert partial(x, y, z)[0] == pytest.approx(np.corrcoef(*rest)[0, 1], rel=1e-10)


def test_tests_of_no_correlation_have_their_size(rng):
    x, y, z = rng.normal(size=(3, 4000, 9))
    for r, k in ((correlations(x, y), 0), (partial(x, y, z), 1)):
        low, high = fisher_interval(r, 9, k)
        se = np.sqrt(0.05 * 0.95 / 4000)
        assert abs(np.mean(correlation_p(r, 9, k) < 0.05) - 0.05) < 4 * se
        # Fisher's z is an approximation: at 9 rows it covers within a point of 95 %
        assert abs(np.mean((low < 0) & (high > 0)) - 0.95) < 0.01 + 4 * se


def test_an_association_of_a_study_is_that_of_its_tables():
    study = ks.load_study("wu2021")
    results = ks.analyse(study, seed=1, analyses=["percentages"])
    panel = association_panels(results, draws=50, seed=1)[0]
    parts = []
    for name, phase in (("distance", "treated"), ("failures", "treated"), ("failures", "shocked")):
        t = results.data[name]
        t = t[(t["phase"] == phase) & (t["paradigm"] == "weak") & (t["drug"] == "ketamine")]
        parts.append(t[name].to_numpy(dtype=float)[None])
    table = panel.on_data.set_index("which")
    assert table.loc["plain", "r"] == pytest.approx(correlations(*parts[:2])[0], rel=1e-12)
    assert table.loc["partial", "r"] == pytest.approx(partial(*parts)[0], rel=1e-9)
    assert (table["n"] == 9).all() and len(panel.draws) == 2 and len(panel.printed) == 3


def test_the_double_difference_has_the_sd_of_its_errors(rng):
    sequence = np.array([0, 1] * 13)
    scores = rng.normal(0, 2, (2000, 26, 2)) + np.where(sequence[:, None] == 0, [9, 0], [0, 9])
    sd = double_difference_sd(scores, sequence)
    # sqrt(2) * 2, and the median of a chi with 24 df lies 1.4 % below its root mean square
    assert np.median(sd) == pytest.approx(np.sqrt(8) * 0.986, rel=0.01)


def test_four_periods_see_the_sd_that_two_cannot():
    study = ks.load_study("jelen2025")
    panels = heterogeneity_panels(study, draws=600, seed=3)
    assert [p.estimand for p in panels] == ["attenuation", "glx"]
    t = panels[0].table.set_index("truth")
    assert panels[0].sequences == ("PNPN", "NPNP")
    # people who differ raise the SD of single differences by less than its own spread
    assert t.loc["differ", "two_median"] - t.loc["alike", "two_median"] < (
        t.loc["alike", "two_high"] - t.loc["alike", "two_low"]
    )
    assert t.loc["differ", "four_median"] == pytest.approx(panels[0].sd, rel=0.1)
    # a test on the boundary: at most its level, up to Monte-Carlo error
    assert t.loc["alike", "four_found"] < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 600)
    assert t.loc["differ", "four_found"] > 0.25


def test_people_by_treatment_equals_the_likelihood_ratio_of_single_fits(rng):
    study = ks.load_study("jelen2025")
    four = replace(study, design=replicate(study.design))
    plan = four.plan("madrs").drop_duplicates(["subject", "period"]).reset_index(drop=True)
    y = rng.normal(size=(3, len(plan))) + rng.normal(size=(3, 1))
    sd, p = people_by_treatment(y.reshape(3, 26, 4), plan)
    for b in range(3):
        data = plan.assign(y=y[b])
        base = ks.lmm("y ~ treatment + period + (1|subject)", data, ddf="z")
        full = ks.lmm("y ~ treatment + period + (1|subject) + (1|subject:treatment)", data, ddf="z")
        assert sd[b] == pytest.approx(np.sqrt(2 * full.variance["subject:treatment"]), rel=1e-9)
        same = full.compare(base).p
        # two equal fits: a ratio of rounding's size, p one half there and 1 here
        assert p[b] == pytest.approx(same, rel=1e-6) or (p[b] == 1.0 and same > 0.4999)


def test_own_effects_have_the_declared_sd():
    study = ks.load_study("jelen2025")
    e = study.estimand("attenuation")
    changed = with_own_effects(study, e, 4.0)
    own = changed.outcome("madrs").spread[0]
    assert own.factors == ("subject", "treatment", "time")
    assert own.when == (("time", ("day1",)),)
    assert 2 * own.sd**2 == pytest.approx(16.0)


def test_halves_by_their_own_change_always_differ_and_spreads_do_not():
    from ketastats.diagnosis.batch import draw_complete

    study = ks.load_study("wu2021")
    p = next(p for p in study.pitfalls if p.rule == "responders")
    y = draw_complete(null_of(study, p), "failures", 9, 1500)
    split, spread = responder_p(study, p, y)
    assert np.mean(split < 0.05) > 0.99
    assert abs(np.mean(spread < 0.05) - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 1500)


def test_brown_and_forsythe_is_that_of_scipy_for_one_arm_each(rng):
    from scipy import stats

    study = ks.load_study("wu2021")
    p = next(p for p in study.pitfalls if p.rule == "responders")
    groups = tuple(g for g in study.design.groups if dict(g.levels)["paradigm"] == "weak")
    study = replace(study, design=replace(study.design, groups=groups))
    plan = study.plan("failures")
    y = rng.integers(0, 100, (1, len(plan))).astype(float)
    spread = responder_p(study, p, y)[1]
    changes = {}
    for drug in ("saline", "ketamine"):
        rows = [
            y[0, ((plan["drug"] == drug) & (plan["phase"] == phase)).to_numpy()]
            for phase in ("treated", "shocked")
        ]
        changes[drug] = rows[0] - rows[1]
    assert spread[0] == pytest.approx(stats.levene(*changes.values(), center="median").pvalue)


def test_an_association_that_does_not_fit_is_refused():
    from importlib import resources

    text = (resources.files("ketastats") / "studies" / "wu2021.toml").read_text("utf-8")
    for old, new, said in (
        ('x = { outcome = "distance", at = { phase = "treated" } }',
         'x = { outcome = "distance" }', "measured at several levels of 'phase'"),
        ('x = { outcome = "distance"', 'x = { outcome = "distanse"', "did you mean 'distance'"),
        ("printed_n = 11\n", "", "go together"),
        ('component = "subject:phase"', 'component = "subject:phas"', "component of spread"),
    ):  # fmt: skip
        assert old in text
        with pytest.raises(StudyError, match=said):
            ks.parse_study(text.replace(old, new, 1))
