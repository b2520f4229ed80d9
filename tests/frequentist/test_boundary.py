"""A variance of zero: both conventions for the df, and the answer with subjects fixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

import ketastats as ks

GRIZZLE = Path(__file__).parents[1] / "reference" / "external" / "grizzle_1965_abba.csv"
FORMULA = "y ~ sequence + period + treatment + (1|subject)"


@pytest.fixture(scope="module")
def grizzle():
    return pd.read_csv(GRIZZLE)


def numbers(frame: pd.DataFrame, answer: str) -> dict[str, float]:
    return frame[answer].iloc[0].to_dict()


def test_grizzle_has_twelve_df_kept_and_twenty_four_left_out(grizzle):
    """pbkrtest keeps the component, lmerTest drops it."""
    table = ks.lmm(FORMULA, grizzle).at_boundary({"treatment": "A - B"})
    assert numbers(table, "kept")["df"] == pytest.approx(12, rel=1e-9)
    assert numbers(table, "left out")["df"] == pytest.approx(24, rel=1e-9)
    other = ks.lmm(FORMULA, grizzle, ddf="satterthwaite").at_boundary({"treatment": "A - B"})
    assert numbers(other, "left out")["df"] == pytest.approx(24, rel=1e-9)
    # and the methods' own tables keep to their conventions
    assert ks.lmm(FORMULA, grizzle).coefficients.loc["treatment[T.B]", "df"] == pytest.approx(12)
    assert ks.lmm(FORMULA, grizzle, ddf="satterthwaite").coefficients.loc[
        "treatment[T.B]", "df"
    ] == pytest.approx(24)


def test_subjects_fixed_give_the_published_two_sample_t(grizzle):
    """0.7208 (SE 0.4262, t 1.691 on 12 df, p 0.1165): SAS PROC GLM and R's t.test."""
    fixed = numbers(ks.lmm(FORMULA, grizzle).at_boundary({"treatment": "A - B"}), "subject fixed")
    wanted = {
        "estimate": 0.7208333333333,
        "se": 0.4261609280238,
        "df": 12.0,
        "p": 0.11653211327,
    }
    for name, value in wanted.items():
        assert fixed[name] == pytest.approx(value, rel=1e-10), name


def test_every_coefficient_equals_least_squares_with_subjects(grizzle):
    table = ks.lmm(FORMULA, grizzle).at_boundary()["subject fixed"]
    ols = smf.ols("y ~ C(subject) + C(period) + treatment", grizzle).fit()
    for ours, theirs in (("period[T.2]", "C(period)[T.2]"), ("treatment[T.B]", "treatment[T.B]")):
        got = table.loc[ours]
        wanted = (ols.params[theirs], ols.bse[theirs], ols.df_resid, ols.pvalues[theirs])
        np.testing.assert_allclose(got, wanted, rtol=1e-9)
    # what varies between people has no answer with people fixed, and says so instead of a zero
    assert table.loc["sequence[T.BA]"].isna().all()


def test_the_sentence_stands_with_the_contrast_and_in_print(grizzle):
    fit = ks.lmm(FORMULA, grizzle)
    notes = fit.contrast({"treatment": "A - B"})["notes"].item()
    assert "12 df with it kept, 24 left out" in notes
    assert "with subject fixed 0.7208 (SE 0.4262, 12 df, p = 0.117)" in notes
    between = fit.contrast({"sequence": "AB - BA"})["notes"].item()
    assert "with subject fixed the contrast is not estimable" in between
    assert "subject fixed" in str(fit)


def test_a_fit_inside_has_no_such_table():
    data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
    fit = ks.lmm("madrs ~ treatment*time + period + (1|subject)", data)
    assert fit.status == "ok"
    assert fit.at_boundary().empty and "fixed" not in str(fit)


def test_only_the_zero_term_is_fixed():
    """Two terms, one of them zero: the other stays random in the fixed answer."""
    rng = np.random.default_rng(3)
    rows = [(s, c, k) for s in range(8) for c in range(3) for k in range(4)]
    data = pd.DataFrame(rows, columns=["litter", "mouse", "cell"])
    data["mouse"] = data["litter"] * 3 + data["mouse"]
    data["drug"] = np.where(data["mouse"] % 3 == 0, "d", "c")
    mouse = rng.normal(0, 2, 24)
    mouse -= np.repeat(mouse.reshape(8, 3).mean(axis=1), 3)  # litters do not differ
    data["y"] = mouse[data["mouse"]] + rng.normal(size=len(data))
    fit = ks.lmm("y ~ drug + (1|litter) + (1|mouse)", data)
    assert fit.variance["litter"] == 0 and fit.variance["mouse"] > 0
    table = fit.at_boundary({"drug": "d - c"})
    fixed = ks.lmm("y ~ drug + C(litter) + (1|mouse)", data).contrast({"drug": "d - c"}).iloc[0]
    for name in ("estimate", "se", "df", "p"):
        # two searches that stop at 1e-12 of a standard error
        assert table["litter fixed", name].item() == pytest.approx(fixed[name], rel=1e-8)


def test_a_term_inside_the_fixed_groups_is_left_out():
    """Subject periods at zero and fixed: subjects then have nothing left to tell apart."""
    rng = np.random.default_rng(7)
    rows = [(i, p, t) for i in range(8) for p in range(2) for t in range(3)]
    data = pd.DataFrame(rows, columns=["subject", "period", "time"])
    data["treatment"] = np.where((data["subject"] + data["period"]) % 2, "A", "B")
    visit = data["subject"] * 2 + data["period"]
    noise = rng.normal(size=len(data))
    noise -= pd.Series(noise).groupby(visit).transform("mean").to_numpy()
    data["y"] = 3 * rng.normal(size=8)[data["subject"]] + noise
    fit = ks.lmm("y ~ treatment * C(time) + (1|subject) + (1|subject:period)", data)
    assert fit.variance["subject:period"] == 0 and fit.variance["subject"] > 0
    asked = {"treatment": "B - A", "time": "2 - 0"}
    table = fit.at_boundary(asked)["subject:period fixed"]
    visits = data.assign(visit=visit)
    wanted = ks.lmm("y ~ treatment * C(time) + C(visit)", visits, ddf="residual").contrast(asked)
    for name in ("estimate", "se", "df", "p"):
        assert table[name].item() == pytest.approx(wanted[name].item(), rel=1e-9)


def test_many_groups_are_not_fitted_one_by_one():
    rng = np.random.default_rng(8)
    n = 600
    data = pd.DataFrame({"subject": np.repeat(np.arange(n), 2), "arm": np.tile(["a", "b"], n)})
    y = rng.normal(size=(n, 2))
    data["y"] = np.column_stack([y[:, 0], -y[:, 0] + 0.1 * y[:, 1]]).ravel()
    table = ks.lmm("y ~ arm + (1|subject)", data).at_boundary({"arm": "b - a"})
    assert table["subject fixed", "p"].isna().all()
    assert table["kept", "df"].item() == pytest.approx(n - 1, rel=1e-6)


@pytest.mark.slow
def test_size_of_the_conventions_when_subjects_do_not_differ():
    """No subject variance, no effect: 14 people, half the fits on the boundary."""
    rng = np.random.default_rng(2)
    plan = pd.DataFrame(
        [(i, p + 1, "AB"[(p + i) % 2], "AB" if i % 2 == 0 else "BA")
         for i in range(14) for p in range(2)],
        columns=["subject", "period", "treatment", "sequence"],
    )  # fmt: skip
    y = rng.normal(size=(4000, len(plan)))
    formula = "sequence + period + treatment + (1|subject)"
    rates = {}
    for ddf in ("kenward-roger", "satterthwaite"):
        fits = ks.lmm_many(formula, plan, y, ddf=ddf)
        rates[ddf] = float((fits.p[:, fits.terms.index("treatment[T.B]")] < 0.05).mean())
        assert 0.35 < fits.boundary.mean() < 0.65
    # The variance kept at or above zero makes the smaller of the two tests anticonservative, and
    # counting the component makes up for part of it: Monte-Carlo SD .0035
    assert rates["kenward-roger"] < rates["satterthwaite"]
    assert 0.03 < rates["kenward-roger"] < 0.065
