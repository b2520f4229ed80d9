"""Containment degrees of freedom, judged from the data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ketastats.frequentist.lmm import lmm

FOLDER = Path(os.environ.get("KETASTATS_REFERENCE_DATA", "no-such-folder"))
outside = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="KETASTATS_REFERENCE_DATA names no folder with reference data"
)
CROSSOVER = "y ~ sequence + period + treatment + (1 | subject)"
PRINTED = {  # df, interval in per cent
    "ema_replicate_ds1": (217, (107.1707, 124.9725)),
    "replicatebe_ds17_unbalanced": (34, (115.9678, 155.0942)),
}
UNPRINTED_DF = {  # rows - subjects - (periods - 1) - 1 treatment
    "ema_replicate_ds2": 72 - 24 - 2 - 1,
    "replicatebe_ds29_incomplete": 41 - 12 - 3 - 1,
    "replicatebe_ds30_partial_incomplete": 35 - 14 - 2 - 1,
}


def method_b(name: str):
    d = pd.read_csv(FOLDER / name / "data.csv")
    pk = pd.to_numeric(d["pk"], errors="coerce")
    d = d.assign(y=np.log(pk))[pk.notna()]
    d = d.astype(dict.fromkeys(("subject", "sequence", "period", "treatment"), str))
    fit = lmm(CROSSOVER, d, ddf="containment", level=0.9)
    return fit.contrast({"treatment": "T - R"}).iloc[0]


@pytest.mark.oracle
@outside
@pytest.mark.parametrize("name", PRINTED)
def test_intervals_of_replicate_crossovers(name):
    row = method_b(name)
    df, printed = PRINTED[name]
    assert row["df"] == df
    interval = 100 * np.exp([row["ci_low"], row["ci_high"]])
    np.testing.assert_allclose(interval, printed, rtol=5e-7)  # printed to four decimals
    block = json.loads((FOLDER / name / "expected.json").read_text())["computed"]
    wanted = block["method_B_containment_df"]
    assert wanted["df"] == df
    # R's nlme stops 4e-9 standard errors of the log short of ours
    np.testing.assert_allclose(interval, wanted["ci90_percent"], rtol=5e-8)


@pytest.mark.oracle
@outside
@pytest.mark.parametrize("name", UNPRINTED_DF)
def test_df_of_replicate_crossovers_by_counting(name):
    assert method_b(name)["df"] == UNPRINTED_DF[name]


BLOCKS, WHOLE, SUB = 5, 3, 2


def split_plot(seed: int = 3) -> pd.DataFrame:
    """Return a synthetic split plot: 5 blocks, A on 3 plots of each, B within plots."""
    rng = np.random.default_rng(seed)
    block, plot = rng.normal(0, 2, BLOCKS), rng.normal(0, 1.5, (BLOCKS, WHOLE))
    rows = [
        (f"b{i}", f"p{i}{a}", "xyz"[a], "uv"[b], a + b + block[i] + plot[i, a] + rng.normal())
        for i in range(BLOCKS)
        for a in range(WHOLE)
        for b in range(SUB)
    ]
    return pd.DataFrame(rows, columns=["block", "plot", "A", "B", "y"])


WHOLE_DF = (BLOCKS - 1) * (WHOLE - 1)
SUB_DF = BLOCKS * WHOLE * (SUB - 1) - WHOLE * (SUB - 1)


@pytest.mark.parametrize(
    "terms", ["(1 | block) + (1 | block:A)", "(1 | block/plot)", "(1 | block) + (1 | plot)"]
)
def test_split_plot_by_hand(terms):
    """However the plots are called: judged from the data, not from the names in the formula."""
    fit = lmm(f"y ~ A * B + {terms}", split_plot(), ddf="containment")
    table = fit.anova()
    assert table["den_df"].to_dict() == {"A": WHOLE_DF, "B": SUB_DF, "A:B": SUB_DF}
    pairs = fit.pairs("A", adjust=None)
    assert (pairs["df"] == WHOLE_DF).all()
    assert fit.contrast({"B": "v - u"})["df"].item() == SUB_DF
    assert fit.contrast({"B": "v - u", "A": "y - x"})["df"].item() == SUB_DF
    assert fit.contrast({"B": "v - u"}, within={"A": "x"})["df"].item() == SUB_DF


def test_split_plot_f_is_the_ratio_of_mean_squares():
    """Balanced: the classical table by hand, to rounding of an interior REML optimum."""
    d = split_plot()
    table = lmm("y ~ A * B + (1 | block) + (1 | plot)", d, ddf="containment").anova()
    plot = d.groupby(["block", "A"])["y"].mean().unstack()
    grand = plot.to_numpy().mean()
    a, b = plot.mean(axis=0).to_numpy(), plot.mean(axis=1).to_numpy()
    ms_a = SUB * BLOCKS * ((a - grand) ** 2).sum() / (WHOLE - 1)
    rest = plot.to_numpy() - a - b[:, None] + grand
    ms_plot = SUB * (rest**2).sum() / WHOLE_DF
    np.testing.assert_allclose(table.loc["A", "F"], ms_a / ms_plot, rtol=1e-9)
    wide = d.pivot(index=["block", "A"], columns="B", values="y")
    gap = wide["v"] - wide["u"]
    ms_rest = sum((g - g.mean()).pow(2).sum() for _, g in gap.groupby("A")) / 2 / SUB_DF
    ms_b = BLOCKS * WHOLE * gap.mean() ** 2 / 2
    np.testing.assert_allclose(table.loc["B", "F"], ms_b / ms_rest, rtol=1e-9)


def test_the_mean_is_tested_between_blocks():
    """The intercept is constant within every block: SAS prints the df of blocks for it."""
    fit = lmm("y ~ 1 + (1 | block) + (1 | plot)", split_plot(), ddf="containment")
    assert fit.coefficients.loc["Intercept", "df"] == BLOCKS - 1


def test_parallel_groups_are_tested_between_people():
    """Arm constant within people, time within: people - arms, and rows - people - ..."""
    rng = np.random.default_rng(4)
    who = np.repeat(np.arange(14), 3)
    d = pd.DataFrame({"subject": who.astype(str), "time": np.tile(list("abc"), 14)})
    d["arm"] = np.where(who % 2, "x", "y")
    d["y"] = rng.normal(0, 2, 14)[who] + rng.normal(size=len(d))
    table = lmm("y ~ arm * time + (1 | subject)", d, ddf="containment").anova()
    assert table["den_df"].to_dict() == {"arm": 12, "time": 24, "arm:time": 24}
    # the same in another order of the rows
    shuffled = lmm("y ~ arm * time + (1 | subject)", d.sample(frac=1, random_state=1),
                   ddf="containment").anova()  # fmt: skip
    np.testing.assert_array_equal(shuffled["den_df"], table["den_df"])
