"""Complete AB/BA crossovers, where every textbook has the answer in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ketastats.frequentist.lmm import lmm

EXTERNAL = Path(__file__).parents[1] / "reference" / "external"
MODEL = "y ~ sequence + period + treatment + (1 | subject)"
RTOL = 1e-10
"""Both sides are closed forms once the variances are at their optimum, which the search reaches to
1e-12 of a standard error."""


def drawn(seed: int, n: tuple[int, int], person: float) -> pd.DataFrame:
    """Return a synthetic complete AB/BA crossover."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(sum(n)):
        sequence, own = ("AB", "BA")[i >= n[0]], rng.normal(0, person)
        for p in (0, 1):
            y = 20 + own + 1.2 * (sequence[p] == "B") - 0.7 * p + rng.normal()
            rows.append((f"s{i}", sequence, str(p + 1), sequence[p], y))
    return pd.DataFrame(rows, columns=["subject", "sequence", "period", "treatment", "y"])


def chow_liu() -> pd.DataFrame:
    frame = pd.read_csv(EXTERNAL / "chow_liu_auc_abba.csv")
    names = {"R": "A", "T": "B", "RT": "AB", "TR": "BA"}
    return frame.assign(
        treatment=frame["treatment"].map(names),
        sequence=frame["sequence"].map(names),
        period=frame["period"].astype(str),
    )


CASES = {
    "12 + 12 (Chow & Liu)": chow_liu,
    "balanced": lambda: drawn(1, (8, 8), 2.0),
    "unbalanced": lambda: drawn(2, (5, 11), 2.0),
    "very unbalanced": lambda: drawn(3, (3, 12), 4.0),
    "the fewest": lambda: drawn(4, (2, 2), 3.0),
}


def half_differences(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return (period 2 - period 1) / 2 of the people of AB and of BA."""
    wide = frame.pivot(index=["subject", "sequence"], columns="period", values="y").reset_index()
    half = (wide["2"] - wide["1"]) / 2
    return half[wide["sequence"] == "AB"].to_numpy(), half[wide["sequence"] == "BA"].to_numpy()


@pytest.mark.parametrize("ddf", ["kenward-roger", "satterthwaite"])
@pytest.mark.parametrize("name", CASES)
def test_treatment_and_period_equal_the_two_sample_t(name, ddf):
    """Interior variances: treatment by the difference of half differences, period by the sum."""
    frame = CASES[name]()
    fit = lmm(MODEL, frame, ddf=ddf)
    assert fit.status == "ok"
    ab, ba = half_differences(frame)
    for question, (x, y) in (
        ({"treatment": "B - A"}, (ab, ba)),
        ({"period": "2 - 1"}, (ab, -ba)),
    ):
        row = fit.contrast(question).iloc[0]
        wanted = stats.ttest_ind(x, y, equal_var=True)
        low, high = wanted.confidence_interval(0.95)
        np.testing.assert_allclose(row["estimate"], x.mean() - y.mean(), rtol=RTOL)
        np.testing.assert_allclose(row["statistic"], wanted.statistic, rtol=RTOL)
        np.testing.assert_allclose(row["df"], wanted.df, rtol=RTOL)
        np.testing.assert_allclose(row["p"], wanted.pvalue, rtol=RTOL)
        np.testing.assert_allclose([row["ci_low"], row["ci_high"]], [low, high], rtol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_sequence_equals_the_two_sample_t_of_the_means(name):
    """Between people: the two-sample t on each person's mean, on its n - 2 df."""
    frame = CASES[name]()
    row = lmm(MODEL, frame).contrast({"sequence": "BA - AB"}).iloc[0]
    mean = frame.groupby(["subject", "sequence"])["y"].mean().reset_index()
    ab, ba = (mean.loc[mean["sequence"] == s, "y"] for s in ("AB", "BA"))
    wanted = stats.ttest_ind(ba, ab, equal_var=True)
    np.testing.assert_allclose(row["statistic"], wanted.statistic, rtol=RTOL)
    np.testing.assert_allclose(row["df"], wanted.df, rtol=RTOL)


def test_variances_are_those_of_the_analysis_of_variance():
    frame = CASES["unbalanced"]()
    fit = lmm(MODEL, frame)
    ab, ba = half_differences(frame)
    n = len(ab) + len(ba)
    within = 2 * (ab.var() * len(ab) + ba.var() * len(ba)) / (n - 2)
    mean = frame.groupby(["subject", "sequence"])["y"].mean().reset_index()
    groups = [mean.loc[mean["sequence"] == s, "y"].to_numpy() for s in ("AB", "BA")]
    between = sum(g.var() * len(g) for g in groups) / (n - 2)
    np.testing.assert_allclose(fit.variance["residual"], within, rtol=RTOL)
    np.testing.assert_allclose(fit.variance["subject"], between - within / 2, rtol=RTOL)


def test_on_the_boundary_the_two_methods_part_as_documented():
    """Grizzle 1965: Kenward-Roger keeps the variance of 0 (12 df), Satterthwaite drops it (24)."""
    frame = pd.read_csv(EXTERNAL / "grizzle_1965_abba.csv")
    rows = {}
    for ddf in ("kenward-roger", "satterthwaite"):
        fit = lmm(MODEL, frame, ddf=ddf)
        assert fit.status == "boundary"
        assert fit.variance["subject"] == 0.0
        rows[ddf] = fit.contrast({"treatment": "A - B"}).iloc[0]
        assert rows[ddf]["status"] == "boundary"
    kept, dropped = rows["kenward-roger"], rows["satterthwaite"]
    np.testing.assert_allclose([kept["df"], dropped["df"]], [12, 24], rtol=RTOL)
    np.testing.assert_allclose(kept["estimate"], dropped["estimate"], rtol=1e-12)
    # pooled: 24 df for the residual of the fit without people
    pooled = lmm("y ~ sequence + period + treatment", frame, ddf="residual")
    wanted = pooled.contrast({"treatment": "A - B"}).iloc[0]
    for name in ("estimate", "se", "df", "p"):
        np.testing.assert_allclose(dropped[name], wanted[name], rtol=RTOL)


def test_repeated_measures_in_balance_equal_the_error_strata():
    """Every level of the random part gives the df of its own stratum, Kenward-Roger and not."""
    rng = np.random.default_rng(5)
    rows = []
    for i in range(14):
        sequence, own = ("AB", "BA")[i % 2], rng.normal(0, 3)
        for p in (0, 1):
            visit = rng.normal(0, 2)
            for t in "abc":
                y = own + visit + rng.normal() + (t == "b")
                rows.append((f"s{i}", sequence, str(p + 1), sequence[p], t, y))
    names = ["subject", "sequence", "period", "treatment", "time", "y"]
    frame = pd.DataFrame(rows, columns=names)
    model = "y ~ sequence + period + treatment * time + (1 | subject) + (1 | subject:period)"
    for ddf in ("kenward-roger", "satterthwaite"):
        fit = lmm(model, frame, ddf=ddf)
        assert fit.status == "ok"
        df = fit.anova()["den_df"]
        wanted = {"sequence": 12, "period": 12, "treatment": 12, "time": 52, "treatment:time": 52}
        np.testing.assert_allclose(df[list(wanted)], list(wanted.values()), rtol=1e-8)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    shared=st.sampled_from([-0.95, -0.5, 0.0, 0.4, 0.99]),
)
def test_compound_symmetry_equals_the_two_sample_t_whatever_the_correlation(seed, n, shared):
    """A covariance that may be negative has no boundary: the identity holds for every data set.

    To 1e-10 while the variances between and within people are within a factor 50 of each other.
    Beyond, X'V^-1X loses a digit to every power of ten of that factor and the information matrix
    two, so that the df lose three.
    """
    rng = np.random.default_rng(seed)
    frame = drawn(seed, n, 0.0)
    z = rng.multivariate_normal([0, 0], [[1, shared], [shared, 1]], size=sum(n))
    frame["y"] = 20.0 + 3 * z.ravel()
    fit = lmm("y ~ sequence + period + treatment", frame, residual="cs(period | subject)")
    row = fit.contrast({"treatment": "B - A"}).iloc[0]
    ab, ba = half_differences(frame)
    wanted = stats.ttest_ind(ab, ba, equal_var=True)
    assert fit.status == "ok"
    covariance, within = fit.variance
    ratio = (within + 2 * covariance) / within
    rtol = max(RTOL, 1e-15 * max(ratio, 1 / ratio) ** 3)
    np.testing.assert_allclose(row["df"], sum(n) - 2, rtol=rtol)
    np.testing.assert_allclose(row["statistic"], wanted.statistic, rtol=rtol)
    np.testing.assert_allclose(row["p"], wanted.pvalue, rtol=rtol)
