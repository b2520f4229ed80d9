"""Carry-over: refused where it has no contrast, estimated within people where it has."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import ketastats as ks
from ketastats.core.errors import DataError, NotEstimable

FOLDER = Path(os.environ.get("KETASTATS_REFERENCE_DATA", "no-such-folder"))
NUMBERS = ["estimate", "se", "df", "p", "ci_low", "ci_high"]


@pytest.fixture
def abba():
    rng = np.random.default_rng(5)
    rows = []
    for i in range(16):
        order = "AB" if i < 8 else "BA"
        person = rng.normal(0, 3)
        for period, treatment in enumerate(order, start=1):
            rows.append((i, order, period, treatment, 20 + person + rng.normal(0, 2)))
    return pd.DataFrame(rows, columns=["subject", "sequence", "period", "treatment", "y"])


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ sequence + period + treatment + carry_over + (1|subject)",
        "y ~ period + treatment + carry_over + (1|subject)",
        "y ~ period + treatment + coded + (1|subject)",
        "y ~ period*treatment + C(label) + (1|subject)",
    ],
)
def test_carry_over_beside_treatment_is_refused_in_abba(formula, abba):
    """Whatever the column is called or how it is coded, and with sequence in the model or not."""
    data = ks.add_carry_over(abba)
    sign = {"A": 1.0, "B": -1.0, "none": 0.0}
    data = data.assign(
        coded=data["carry_over"].astype(str).map(sign),
        label=data["carry_over"].astype(str).map({"A": 7, "B": 3, "none": 1}),
    )
    with pytest.raises(NotEstimable, match="cannot be told from sequence") as refused:
        ks.lmm(formula, data)
    assert "the people's totals" in str(refused.value)


def test_it_is_refused_with_periods_missing_too(abba):
    data = ks.add_carry_over(abba).drop(index=[1, 6])
    with pytest.raises(NotEstimable, match="cannot be told from sequence"):
        ks.lmm("y ~ sequence + period + treatment + carry_over + (1|subject)", data)


def test_other_columns_pass(abba):
    """Sex, an age, a baseline that differs in period 1: none of them is a carry-over."""
    rng = np.random.default_rng(1)
    data = abba.assign(
        sex=np.where(abba["subject"] % 2, "F", "M"), age=20.0 + abba["subject"],
        base=rng.normal(size=len(abba)),
    )  # fmt: skip
    for extra in ("sex", "age", "base", "sex*treatment"):
        fit = ks.lmm(f"y ~ sequence + period + treatment + {extra} + (1|subject)", data)
        assert fit.status in ("ok", "boundary")


def test_the_alias_is_exact(abba):
    """What the sentence says: the column of carry-over is one of sequence, period and treatment."""
    data = ks.add_carry_over(abba)
    carry = (data["carry_over"] == "A").to_numpy(float) - (data["carry_over"] == "B")
    x = np.column_stack(
        [
            np.ones(len(data)),
            data["sequence"] == "AB",
            data["period"] == 2,
            data["treatment"] == "A",
        ]
    ).astype(float)
    both = np.column_stack([x, carry])
    assert np.linalg.matrix_rank(both) == np.linalg.matrix_rank(x) == 4


def test_baselines_estimate_what_is_left_within_people():
    """The contrast equals the two-sample t test of second minus first baseline by sequence."""
    data = ks.add_carry_over(ks.load_study("jelen2025").simulate(seed=4, outcome="madrs"))
    both = data[data["time"] == "pre"].dropna(subset="madrs")
    both = both[both.groupby("subject")["madrs"].transform("size") == 2]
    fit = ks.lmm("madrs ~ sequence + period + carry_over + (1|subject)", both)
    row = fit.contrast({"carry_over": "naltrexone - placebo"}).iloc[0]
    wide = both.pivot(index="subject", columns="period", values="madrs")
    change = wide.iloc[:, 1] - wide.iloc[:, 0]
    first = both.drop_duplicates("subject").set_index("subject")["treatment"].loc[wide.index]
    t = stats.ttest_ind(change[first == "naltrexone"], change[first == "placebo"])
    # complete pairs, an interior variance: the same projection, computed twice
    assert fit.status == "ok"
    assert row["estimate"] / row["se"] == pytest.approx(t.statistic, rel=1e-9)
    assert row["df"] == pytest.approx(t.df, rel=1e-9)
    assert row["p"] == pytest.approx(t.pvalue, rel=1e-9)


@pytest.mark.skipif(not FOLDER.is_dir(), reason="KETASTATS_REFERENCE_DATA names no folder")
def test_three_periods_estimate_it_as_r_does():
    """The hypertension trial: R's coded column is half the difference of the levels."""
    data = pd.read_csv(FOLDER / "jk_hypertension_3period" / "data.csv")
    coded = data.assign(carryA=(data["carry"] == "A") * 1.0 - (data["carry"] == "B"))
    one = ks.lmm("y ~ sequence + period + treatment + carryA + (1|subject)", coded)
    two = ks.lmm(
        "y ~ sequence + period + treatment + carry_over + (1|subject)", ks.add_carry_over(data)
    )
    wanted = one.coefficients.loc["carryA"]
    got = two.contrast({"carry_over": "A - B"}).iloc[0]
    assert got["estimate"] == pytest.approx(2 * wanted["estimate"], rel=1e-8)
    assert got["se"] == pytest.approx(2 * wanted["se"], rel=1e-8)
    assert got["p"] == pytest.approx(wanted["p"], rel=1e-8)
    assert got["p"] == pytest.approx(0.81, abs=0.005)  # printed by the reference as .81
    assert any("carry_over[T.none] is left out" in w for w in two.warnings)


def test_the_column_equals_the_one_the_trial_was_published_with():
    if not FOLDER.is_dir():
        pytest.skip("KETASTATS_REFERENCE_DATA names no folder")
    for name in ("jk_hypertension_3period", "jk_claudication_4x4"):
        data = pd.read_csv(FOLDER / name / "data.csv")
        assert (ks.add_carry_over(data)["carry_over"].astype(str) == data["carry"]).all()


def test_a_missed_period_is_filled_from_the_sequence(abba):
    data = abba.drop(index=[0])  # the first person's first period
    assert ks.add_carry_over(data).loc[1, "carry_over"] == "A"
    alone = ks.add_carry_over(data.drop(columns="sequence"))
    assert pd.isna(alone.loc[1, "carry_over"])


def test_the_table_is_not_changed(abba):
    before = abba.copy()
    ks.add_carry_over(abba)
    pd.testing.assert_frame_equal(abba, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop(columns="period"), "no column 'period'"),
        (lambda d: d.assign(carry_over=1), "there is a column 'carry_over' already"),
        (lambda d: pd.concat([d, d.iloc[[0]].assign(treatment="B")]), "two treatments in period"),
        (lambda d: d.replace({"treatment": {"A": "none"}}), "'none' is a treatment"),
    ],
)
def test_tables_that_cannot_have_the_column(change, message, abba):
    with pytest.raises(DataError, match=message):
        ks.add_carry_over(change(abba))


@pytest.mark.slow
def test_coverage_of_the_carry_over_contrast_in_three_periods():
    """ABB and BAA, 10 people a sequence, carry-over 1.5: 95 % intervals over 4,000 trials."""
    rng = np.random.default_rng(11)
    rows = [(i, "ABB" if i < 10 else "BAA", p) for i in range(20) for p in range(3)]
    plan = pd.DataFrame(rows, columns=["subject", "sequence", "period"])
    plan["treatment"] = [s[p] for s, p in zip(plan["sequence"], plan["period"], strict=True)]
    plan = ks.add_carry_over(plan)
    true = 1.5
    mean = true * (plan["carry_over"] == "A").to_numpy(float) + 2.0 * (plan["treatment"] == "A")
    b = 4000
    person = np.repeat(rng.normal(0, 2, (b, 20)), 3, axis=1)
    y = mean.to_numpy() + person + rng.normal(0, 1, (b, 60))
    fits = ks.lmm_many("sequence + period + treatment + carry_over + (1|subject)", plan, y)
    k = fits.terms.index("carry_over[T.B]")  # B - A: the true value is -1.5
    inside = (fits.ci_low[:, k] <= -true) & (-true <= fits.ci_high[:, k])
    # Monte-Carlo SD .0034: within four of them
    assert inside.mean() == pytest.approx(0.95, abs=0.014)
