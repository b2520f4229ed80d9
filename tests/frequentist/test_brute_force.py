"""The batched code against dense N x N algebra written separately (conftest.py of this folder)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ketastats.frequentist import small_sample
from ketastats.frequentist.likelihood import evaluate
from ketastats.frequentist.lmm import lmm
from ketastats.frequentist.moments import make_moments
from ketastats.problem.build import build_problem

RTOL = 1e-9
"""Both searches end in Newton steps, and df and p are smooth functions of the optimum."""
ALGEBRA_RTOL = 1e-9
"""At given parameters only rounding differs; inverting dense V costs a few digits."""

FIXED = "treatment * time + period + sex"
TERMS = {
    "subject": ("subject",),
    "visit": ("subject", "period"),
    "response": ("subject", "time"),
    "rater": ("rater",),
}
CASES = {  # seed, sd of the components, random terms
    "two components": (1, (2.0, 0.0, 0.0, 1.0), ("subject",)),
    "three components, nested": (2, (2.0, 1.5, 0.0, 1.0), ("subject", "visit")),
    "three components, crossed within people": (3, (1.5, 0.0, 2.0, 1.0), ("subject", "response")),
    "four components": (6, (2.0, 1.5, 1.5, 0.7), ("subject", "visit", "response")),
    "crossed, one block": (4, (2.0, 0.0, 0.0, 1.0), ("subject", "rater")),
    "boundary: no variance between people": (11, (0.0, 0.0, 0.0, 1.0), ("subject",)),
    "boundary: no variance between visits": (8, (2.0, 0.0, 0.0, 1.0), ("subject", "visit")),
}


def built(name, dense, same_group, crossover):
    seed, sd, terms = CASES[name]
    frame = crossover(seed, sd)
    formula = f"y ~ {FIXED} + " + " + ".join(f"(1 | {':'.join(TERMS[t])})" for t in terms)
    basis = [same_group(*(frame[c] for c in TERMS[t])) for t in terms] + [np.eye(len(frame))]
    return frame, formula, dense(frame["y"].to_numpy(), fixed_columns(frame), tuple(basis))


def fixed_columns(frame: pd.DataFrame) -> np.ndarray:
    b, t = (frame["treatment"] == "B").to_numpy(float), (frame["time"] == "b").to_numpy(float)
    period, sex = (frame["period"] == "2").to_numpy(float), (frame["sex"] == "M").to_numpy(float)
    return np.column_stack([np.ones(len(frame)), b, t, period, sex, b * t])


ORDER = (
    "Intercept",
    "treatment[T.B]",
    "time[T.b]",
    "period[T.2]",
    "sex[T.M]",
    "treatment[T.B]:time[T.b]",
)


def in_order(rows: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Return rows over the columns of the dense X as rows over the columns of a fit."""
    return rows[:, [ORDER.index(n) for n in names]]


@pytest.mark.parametrize("name", CASES)
def test_optimum_and_estimates(name, dense, same_group, crossover):
    frame, formula, brute = built(name, dense, same_group, crossover)
    fit = lmm(formula, frame)
    theta = brute.maximum()
    assert fit.status == ("boundary" if name.startswith("boundary") else "ok")
    np.testing.assert_allclose(fit.variance.to_numpy(), theta, rtol=RTOL, atol=1e-12)
    np.testing.assert_allclose(fit.loglik, brute.loglik(theta), rtol=1e-12)
    beta = fit.coefficients.loc[list(ORDER), "estimate"]
    np.testing.assert_allclose(beta, brute.beta(theta), rtol=RTOL)


@pytest.mark.parametrize("name", CASES)
def test_kenward_roger_of_every_coefficient(name, dense, same_group, crossover):
    """The one-row case of the general F must give df and p; se is the adjusted covariance."""
    frame, formula, brute = built(name, dense, same_group, crossover)
    table = lmm(formula, frame, ddf="kenward-roger").coefficients.loc[list(ORDER)]
    theta = brute.maximum()
    adjusted = brute.kr_pieces(theta)[2]
    wanted = [brute.kenward_roger(theta, row[None]) for row in np.eye(len(ORDER))]
    np.testing.assert_allclose(table["se"], np.sqrt(np.diag(adjusted)), rtol=RTOL)
    np.testing.assert_allclose(table["df"], [w["df"] for w in wanted], rtol=RTOL)
    np.testing.assert_allclose(table["p"], [w["p"] for w in wanted], rtol=RTOL)
    np.testing.assert_allclose(table["t"] ** 2, [w["F"] for w in wanted], rtol=RTOL)


@pytest.mark.parametrize("name", CASES)
def test_satterthwaite_of_every_coefficient(name, dense, same_group, crossover):
    frame, formula, brute = built(name, dense, same_group, crossover)
    table = lmm(formula, frame, ddf="satterthwaite").coefficients.loc[list(ORDER)]
    theta = brute.maximum()
    wanted = [brute.satterthwaite_df(theta, row) for row in np.eye(len(ORDER))]
    np.testing.assert_allclose(table["se"], np.sqrt(np.diag(brute.phi(theta))), rtol=RTOL)
    np.testing.assert_allclose(table["df"], wanted, rtol=RTOL)


@pytest.mark.parametrize("name", CASES)
def test_joint_tests(name, dense, same_group, crossover):
    frame, formula, brute = built(name, dense, same_group, crossover)
    fit = lmm(formula, frame)
    theta = brute.maximum()
    rows = np.array([[0, 1.0, 0, 0, 0, 0.5], [0, 0, 1.0, 0, -1.0, 0.5], [0, 0, 0, 1.0, 1.0, 0]])
    mine = in_order(rows, fit.problem.names)
    for got, wanted in (
        (small_sample.kenward_roger_f(fit.fit, mine), brute.kenward_roger(theta, rows)),
        (small_sample.satterthwaite_f(fit.fit, mine), brute.satterthwaite_f(theta, rows)),
    ):
        assert got.num_df == 3
        np.testing.assert_allclose(got.f[0], wanted["F"], rtol=RTOL)
        np.testing.assert_allclose(got.den_df[0], wanted["df"], rtol=RTOL)
        np.testing.assert_allclose(got.p[0], wanted["p"], rtol=RTOL)


def at_point(name, dense, same_group, crossover):
    """Return the dense algebra and the batched one away from the optimum, in outcome units."""
    frame, formula, brute = built(name, dense, same_group, crossover)
    problem = build_problem(formula, frame)
    moments = make_moments(problem, problem.y[None])
    theta = np.linspace(0.7, 1.6, len(problem.parameters)) * moments.scale[0]
    return problem, moments, theta, brute


def batched(moments, theta):
    """Evaluate in outcome units: y is kept divided by the square root of the scale."""
    s = moments.scale[0]
    at = evaluate(moments, theta[None] / s, np.array([0]))
    constant = -0.5 * (moments.n - moments.q) * np.log(s)
    return at.loglik[0] + constant, at.score[0] / s, at.expected[0] / s**2, at.observed[0] / s**2


@pytest.mark.parametrize("name", list(CASES)[:4])
def test_likelihood_and_derivatives_at_any_point(name, dense, same_group, crossover):
    _, moments, theta, brute = at_point(name, dense, same_group, crossover)
    loglik, score, expected, observed = batched(moments, theta)
    np.testing.assert_allclose(loglik, brute.loglik(theta), rtol=1e-12)
    np.testing.assert_allclose(score, brute.score(theta), rtol=ALGEBRA_RTOL, atol=1e-10)
    np.testing.assert_allclose(expected, brute.expected(theta), rtol=ALGEBRA_RTOL)
    np.testing.assert_allclose(observed, brute.observed(theta), rtol=ALGEBRA_RTOL, atol=1e-10)


@pytest.mark.parametrize("name", list(CASES)[:4])
def test_derivatives_are_those_of_the_likelihood(name, dense, same_group, crossover):
    """Five-point differences: the score of the log-likelihood, the information of the score."""
    _, moments, theta, _ = at_point(name, dense, same_group, crossover)
    _, score, _, observed = batched(moments, theta)
    h = 1e-3 * theta  # error h^4 f5/30 of 1e-11 and rounding 1e-13/h of 1e-10, relative
    for r in range(len(theta)):
        move = np.zeros_like(theta)
        move[r] = h[r]
        points = [batched(moments, theta + k * move) for k in (-2, -1, 1, 2)]
        weights = np.array([1, -8, 8, -1]) / (12 * h[r])
        slope = weights @ np.array([p[0] for p in points])
        curve = weights @ np.array([p[1] for p in points])
        np.testing.assert_allclose(score[r], slope, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(-observed[r], curve, rtol=1e-7, atol=1e-9)


def test_kenward_roger_at_two_df_survives_rounding():
    """Three blocks by two: df 2 exactly, where the published formulas are zero by zero.

    Every order of the rows rounds otherwise; F of one contrast is its t squared all the same.
    """
    rng = np.random.default_rng(4)
    rows = [(f"b{i}", h, k) for i in range(3) for h in "xy" for k in range(4)]
    frame = pd.DataFrame(rows, columns=["block", "harvest", "plot"])
    plot = frame["block"] + frame["harvest"]
    frame["y"] = 3 * rng.normal(size=6)[pd.factorize(plot)[0]] + rng.normal(size=len(frame))
    seen = set()
    for seed in range(60):
        order = np.random.default_rng(seed).permutation(len(frame))
        fit = lmm("y ~ block + harvest + (1 | block:harvest)", frame.iloc[order])
        row = fit.anova().loc["harvest"]
        t = fit.contrast({"harvest": "y - x"}).iloc[0]
        assert fit.status == "ok"
        np.testing.assert_allclose(row["den_df"], 2, rtol=1e-8)
        np.testing.assert_allclose(row["F"], t["statistic"] ** 2, rtol=1e-8)
        np.testing.assert_allclose(row["p"], t["p"], rtol=1e-8)
        seen.add(float(row["F"]))
    assert len(seen) > 1  # the orders did round differently
