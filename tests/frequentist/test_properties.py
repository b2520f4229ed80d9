"""What must not change an answer does not, and what must, changes it by the known amount."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ketastats.frequentist.fit import fit_problem, statuses
from ketastats.frequentist.lmm import lmm
from ketastats.problem.build import build_problem

FORMULA = "y ~ treatment * time + period + sex + (1 | subject) + (1 | subject:period)"
SPREADS = [(2.0, 1.5, 0.0, 1.0), (1.0, 0.0, 0.0, 1.0), (0.0, 0.0, 0.0, 1.0), (20.0, 5.0, 0.0, 0.5)]
NUMBERS = ["estimate", "se", "df", "t", "p", "ci_low", "ci_high"]
RTOL = 1e-8
"""Two searches for the same optimum, from rows in another order or unit; each ends within 1e-12 of
a standard error, and what is left is rounding in ill-conditioned cases."""

few = settings(
    derandomize=True,
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
seeds = st.integers(0, 10_000)
spreads = st.sampled_from(SPREADS)
methods = st.sampled_from(["kenward-roger", "satterthwaite"])


def assert_same(a: pd.DataFrame, b: pd.DataFrame, columns: list[str] | None = None) -> None:
    names = columns or NUMBERS
    np.testing.assert_allclose(a[names], b.loc[a.index, names], rtol=RTOL, atol=1e-9)


@few
@given(seed=seeds, sd=spreads, ddf=methods)
def test_order_of_rows_does_not_matter(crossover, seed, sd, ddf):
    frame = crossover(seed, sd)
    shuffled = frame.sample(frac=1, random_state=seed)
    a, b = lmm(FORMULA, frame, ddf=ddf), lmm(FORMULA, shuffled, ddf=ddf)
    assert_same(a.coefficients, b.coefficients)
    np.testing.assert_allclose(a.variance, b.variance, rtol=RTOL, atol=1e-9)


@few
@given(seed=seeds, sd=spreads)
def test_names_of_people_do_not_matter(crossover, seed, sd):
    frame = crossover(seed, sd)
    names = frame["subject"].unique()
    new = dict(zip(names, np.random.default_rng(seed).permutation(names), strict=True))
    renamed = frame.assign(subject=frame["subject"].map(new) + " (renamed)")
    assert_same(lmm(FORMULA, frame).coefficients, lmm(FORMULA, renamed).coefficients)


@few
@given(seed=seeds, sd=spreads)
def test_spelling_of_levels_changes_names_only(crossover, seed, sd):
    """Levels renamed in the same order: the same numbers under the new names."""
    frame = crossover(seed, sd)
    renamed = frame.assign(treatment=frame["treatment"].map({"A": "1 alpha", "B": "2 beta"}))
    a, b = lmm(FORMULA, frame).coefficients, lmm(FORMULA, renamed).coefficients
    np.testing.assert_allclose(a, b, rtol=RTOL, atol=1e-9)
    assert "treatment[T.2 beta]" in b.index


@few
@given(
    seed=seeds,
    sd=spreads,
    ddf=methods,
    shift=st.sampled_from([0.0, -37.0, 1e6]),
    factor=st.sampled_from([1e-6, 0.5, 1e3, 1e8]),
)
def test_shift_and_scale_of_the_outcome(crossover, seed, sd, ddf, shift, factor):
    frame = crossover(seed, sd)
    a = lmm(FORMULA, frame, ddf=ddf)
    b = lmm(FORMULA, frame.assign(y=factor * (frame["y"] + shift)), ddf=ddf)
    slopes = a.coefficients.index[1:]
    got, wanted = b.coefficients.loc[slopes], a.coefficients.loc[slopes]
    rounding = 1e-15 * abs(shift)  # what the doubles of y + shift have lost
    tolerance = {"rtol": 1e-7, "atol": 1e3 * rounding + 1e-9}
    for name in ("df", "t", "p"):
        np.testing.assert_allclose(got[name], wanted[name], **tolerance)
    for name in ("estimate", "se", "ci_low", "ci_high"):
        np.testing.assert_allclose(got[name] / factor, wanted[name], **tolerance)
    np.testing.assert_allclose(b.variance / factor**2, a.variance, **tolerance)
    intercept = b.coefficients.loc["Intercept", "estimate"] / factor - shift
    np.testing.assert_allclose(intercept, a.coefficients.loc["Intercept", "estimate"], **tolerance)


@few
@given(seed=seeds, sd=spreads, ddf=methods)
def test_reference_level_does_not_change_a_contrast(crossover, seed, sd, ddf):
    frame = crossover(seed, sd)
    turned = frame.assign(
        treatment=pd.Categorical(frame["treatment"], ["B", "A"]),
        time=pd.Categorical(frame["time"], ["b", "a"]),
        sex=pd.Categorical(frame["sex"], ["M", "F"]),
    )
    ask = {"treatment": "B - A", "time": "b - a"}
    a, b = (lmm(FORMULA, d, ddf=ddf) for d in (frame, turned))
    names = ["estimate", "se", "df", "statistic", "p", "ci_low", "ci_high"]
    for question in (ask, {"treatment": "B - A"}, {"sex": "M - F"}):
        x, y = a.contrast(question)[names], b.contrast(question)[names]
        np.testing.assert_allclose(x, y, rtol=RTOL, atol=1e-9)
    assert_tables_equal(a.anova(), b.anova())


def assert_tables_equal(a: pd.DataFrame, b: pd.DataFrame) -> None:
    assert list(a.index) == list(b.index)
    np.testing.assert_allclose(a, b, rtol=RTOL, atol=1e-9)


@few
@given(seed=seeds, sd=spreads)
def test_coding_of_the_columns_does_not_change_the_fit(crossover, seed, sd):
    """Sum-to-zero columns span the same space: the variances and the fitted values are the same."""
    frame = crossover(seed, sd)
    treatment = build_problem(FORMULA, frame)
    difference = build_problem(FORMULA, frame, coding="difference")
    a, b = fit_problem(treatment, treatment.y[None]), fit_problem(difference, difference.y[None])
    np.testing.assert_allclose(a.theta, b.theta, rtol=RTOL, atol=1e-9)
    np.testing.assert_allclose(
        treatment.x @ a.beta[0], difference.x @ b.beta[0], rtol=RTOL, atol=1e-9
    )


def test_index_of_the_table_does_not_matter(crossover):
    """Labels that stand twice, or that are no numbers, are never used to align rows."""
    frame = crossover(1, SPREADS[0])
    odd = frame.set_axis(["x", "y"] * (len(frame) // 2) + ["z"] * (len(frame) % 2), axis=0)
    assert_same(lmm(FORMULA, frame).coefficients, lmm(FORMULA, odd).coefficients)


def test_rows_without_an_outcome_are_as_if_not_there(crossover):
    frame = crossover(2, SPREADS[0])
    lost = frame["y"].where(np.arange(len(frame)) % 7 != 0)
    holes = lmm(FORMULA, frame.assign(y=lost))
    assert_same(lmm(FORMULA, frame[lost.notna()]).coefficients, holes.coefficients)
    assert holes.warnings[0] == f"{int(lost.isna().sum())} rows without an outcome are left out"


def test_rows_entered_twice_keep_the_estimates_and_shrink_the_residual():
    """Balanced: means are means. Two copies of n residuals have twice the sum of squares."""
    rng = np.random.default_rng(3)
    rows = [(f"s{i}", "AB"[t], rng.normal(3 * t, 1)) for i in range(10) for t in range(2)]
    frame = pd.DataFrame(rows, columns=["subject", "treatment", "y"])
    frame["y"] += frame["subject"].map({f"s{i}": v for i, v in enumerate(rng.normal(0, 2, 10))})
    once = lmm("y ~ treatment + (1 | subject)", frame)
    twice = lmm("y ~ treatment + (1 | subject)", pd.concat([frame, frame]))
    np.testing.assert_allclose(
        once.coefficients["estimate"], twice.coefficients["estimate"], rtol=1e-12
    )
    # within people: 9 df and the sum S become 40 - 11 = 29 df and 2 S
    ratio = twice.variance["residual"] / once.variance["residual"]
    np.testing.assert_allclose(ratio, 2 * 9 / 29, rtol=1e-9)


@pytest.mark.parametrize("terms", ["(1 | subject)", "(1 | subject) + (1 | subject:period)"])
def test_a_row_of_a_batch_equals_the_row_alone(crossover, terms):
    """Interior and boundary rows together: none changes another.

    Differences count in the unit of the number's own standard error (a covariance near zero in the
    product of two), since products of matrices may be summed in another order.
    """
    frame = crossover(4, SPREADS[0])
    problem = build_problem(f"treatment * time + period + sex + {terms}", frame)
    rng = np.random.default_rng(4)
    person = rng.normal(size=(40, 9))[:, pd.factorize(frame["subject"])[0]]
    y = 5 + rng.choice([0.0, 1.0, 5.0], size=(40, 1)) * person + rng.normal(size=(40, len(frame)))
    batch = fit_problem(problem, y)
    assert {"ok", "boundary"} <= set(statuses(batch))
    for i in range(len(y)):
        alone = fit_problem(problem, y[i : i + 1])
        se = np.sqrt(np.diag(alone.at.phi[0]))
        unit = 1 / np.sqrt(np.diag(alone.at.expected[0]))
        assert np.abs((alone.theta[0] - batch.theta[i]) / unit).max() < 1e-12
        assert np.abs((alone.beta[0] - batch.beta[i]) / se).max() < 1e-12
        assert np.abs((alone.at.phi[0] - batch.at.phi[i]) / np.outer(se, se)).max() < 1e-12
        assert alone.iterations[0] == batch.iterations[i]


def test_missing_cells_of_a_batch_are_left_out(crossover):
    frame = crossover(5, SPREADS[0])
    problem = build_problem(FORMULA.split("~")[1], frame)
    y = frame["y"].to_numpy()[None].repeat(2, axis=0)
    y[:, 3] = np.nan
    fit = fit_problem(problem, y)
    some = lmm(FORMULA, frame.drop(index=3))
    np.testing.assert_allclose(fit.theta[1], some.variance, rtol=RTOL)
    np.testing.assert_allclose(fit.beta[0], some.coefficients["estimate"], rtol=RTOL)


def test_every_search_ends(crossover):
    """Two variances that head for zero together once sent the search to and fro without end."""
    frame = crossover(0, (1.0, 1.0, 1.0, 1.0))
    random = "(1 | subject) + (1 | subject:period) + (1 | subject:time)"
    problem = build_problem(f"treatment * time + period + sex + {random}", frame)
    rng = np.random.default_rng(7)
    y = rng.normal(size=(1500, len(frame)))
    for columns in (["subject"], ["subject", "period"], ["subject", "time"]):
        group = frame.groupby(columns).ngroup().to_numpy()
        size = rng.choice([0.0, 0.5, 2.0, 10.0], size=(1500, 1))
        y += size * rng.normal(size=(1500, group.max() + 1))[:, group]
    fit = fit_problem(problem, y)
    assert np.flatnonzero(~fit.converged).tolist() == []
    free = ~fit.boundary
    # at the optimum the score is 0 where a variance is positive and not above 0 where it is zero
    unit = np.sqrt(np.einsum("brr->br", fit.at.expected))
    assert np.abs(np.where(free, fit.at.score / unit, 0.0)).max() < 1e-6
    assert np.where(free, -1.0, fit.at.score / unit).max() < 1e-6


@few
@given(seed=seeds, sd=spreads, copies=st.integers(2, 4))
def test_independent_copies_multiply_the_information(crossover, seed, sd, copies):
    """By ML, k copies with people of their own: the same maximum, k times the log-likelihood."""
    frame = crossover(seed, sd)
    many = pd.concat(
        [frame.assign(subject=frame["subject"].astype(str) + f"-{k}") for k in range(copies)]
    )
    once, often = (lmm(FORMULA, d, ddf="z", method="ml") for d in (frame, many))
    np.testing.assert_allclose(often.variance, once.variance, rtol=RTOL, atol=1e-9)
    np.testing.assert_allclose(often.loglik, copies * once.loglik, rtol=1e-10)
    a, b = once.coefficients, often.coefficients
    np.testing.assert_allclose(b["estimate"], a["estimate"], rtol=RTOL, atol=1e-9)
    np.testing.assert_allclose(b["se"], a["se"] / np.sqrt(copies), rtol=RTOL)


@few
@given(seed=seeds, sd=spreads, ddf=methods)
def test_sum_contrasts_change_no_question(crossover, seed, sd, ddf):
    frame = crossover(seed, sd)
    a, b = (lmm(FORMULA, frame, ddf=ddf, contrasts=c) for c in ("treatment", "sum"))
    names = ["estimate", "se", "df", "statistic", "p", "ci_low", "ci_high"]
    for question in ({"treatment": "B - A", "time": "b - a"}, {"sex": "M - F"}):
        x, y = a.contrast(question)[names], b.contrast(question)[names]
        np.testing.assert_allclose(x, y, rtol=RTOL, atol=1e-9)
    assert_tables_equal(a.anova(), b.anova())
