"""Baselines as subject mean and deviation."""

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.core.errors import DataError
from ketastats.frequentist.baseline import baseline_split


def with_baseline(seed: int = 3) -> pd.DataFrame:
    """Day-1 scores with the pre score of the same period in a column."""
    data = ks.load_study("jelen2025").simulate(seed=seed, outcome="madrs")
    pre = data[data["time"] == "pre"].rename(columns={"madrs": "base"})
    day1 = data[data["time"] == "day1"]
    return day1.merge(pre[["subject", "period", "base"]], on=["subject", "period"])


def test_the_parts_add_up_and_deviations_cancel() -> None:
    data = with_baseline()
    out = baseline_split(data, "base")
    assert list(out.columns) == [*data.columns, "base_mean", "base_within"]
    assert "base_mean" not in data.columns
    base = data["base"].astype(float)
    np.testing.assert_allclose(out["base_mean"] + out["base_within"], base, rtol=1e-14)
    within = out.groupby("subject", observed=True)["base_within"].sum()
    np.testing.assert_allclose(within, 0, atol=1e-12)  # sums of two scores up to 60
    assert (out.groupby("subject", observed=True)["base_mean"].nunique() <= 1).all()


def test_rows_per_period_do_not_weigh() -> None:
    data = pd.DataFrame(
        {"subject": list("aaabb"), "period": [1, 1, 2, 1, 2], "base": [4.0, 4.0, 10.0, 1.0, 3.0]}
    )
    assert baseline_split(data, "base")["base_mean"].tolist() == [7, 7, 7, 2, 2]
    names = {"subject": "mouse"}
    assert baseline_split(data.rename(columns=names), "base", "mouse")["base_mean"].iloc[0] == 7
    assert baseline_split(data.drop(columns="period"), "base")["base_mean"].iloc[0] == 6


def test_missing_in_missing_out() -> None:
    data = pd.DataFrame(
        {"subject": list("aabbcc"), "period": [1, 2] * 3, "base": [4, 6, 5, None, None, None]}
    )
    out = baseline_split(data, "base")
    assert out["base_mean"].tolist()[:4] == [5, 5, 5, 5]
    assert out["base_mean"].isna().tolist()[4:] == [True, True]
    assert out["base_within"].isna().tolist() == [False, False, False, True, True, True]
    assert out["base_within"].tolist()[:3] == [-1, 1, 0]


def test_a_mixed_model_gets_both_coefficients() -> None:
    # between people the slope is 2, within people 0.5: one coefficient would mix them
    rng = np.random.default_rng(1)
    n = 400
    level = rng.normal(0, 3, n)
    base = level[:, None] + rng.normal(0, 1, (n, 2))
    mean = base.mean(axis=1, keepdims=True)
    y = 2 * mean + 0.5 * (base - mean) + rng.normal(0, 1, (n, 1)) + rng.normal(0, 0.5, (n, 2))
    data = pd.DataFrame(
        {
            "subject": np.repeat(np.arange(n), 2),
            "period": np.tile(["1", "2"], n),
            "base": base.ravel(),
            "y": y.ravel(),
        }
    )
    split = baseline_split(data, "base")
    fit = ks.lmm("y ~ period + base_mean + base_within + (1|subject)", split)
    for term, truth in (("base_mean", 2.0), ("base_within", 0.5)):
        row = fit.coefficients.loc[term]
        assert abs(row["estimate"] - truth) < 4 * row["se"]
        assert row["se"] < 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.rename(columns={"base": "bases"}), "did you mean 'bases'"),
        (lambda d: d.assign(base="x"), "not numbers"),
        (lambda d: d.assign(base=np.nan), "every value is missing"),
        (lambda d: d.assign(base=np.inf), "infinite"),
        (lambda d: d.assign(base_mean=1.0), "a column 'base_mean' already"),
        (lambda d: pd.concat([d, d.assign(base=d["base"] + 1)]), "more than one value in period"),
        (lambda d: d.assign(subject=None), "'subject' is empty"),
    ],
)
def test_bad_input(change, message: str) -> None:
    data = pd.DataFrame({"subject": ["a", "a"], "period": [1, 2], "base": [1.0, 2.0]})
    with pytest.raises(DataError, match=message):
        baseline_split(change(data), "base")
