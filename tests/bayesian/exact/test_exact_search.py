"""The lattice search on densities whose integral is known, and the skeleton against every node."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import ketastats as ks
from ketastats.bayesian.exact.axes import MAPS, Axis, log_jacobian, log_weights, places, values
from ketastats.bayesian.exact.search import (
    MANY,
    ONE,
    Nodes,
    Tolerance,
    aliasing,
    nodes_of,
    search,
    spacing,
    wanted,
)
from ketastats.study.priors import Prior

ROUNDING = 1e-12
START = {"even": (0, 3), "log": (-2, 1)}


def integral(axes, density, tolerance, start=None):
    """Return log of the integral, the estimated error and whether the search ended well."""
    state = np.zeros((1, 3, len(axes)), dtype=np.int64)
    for a, axis in enumerate(axes):
        state[0, 1:, a] = START[axis.map]
    if start is not None:
        state[0, 1:] += start

    def of(nodes: Nodes, outcomes: np.ndarray) -> np.ndarray:
        return np.tile(density(nodes.values) + nodes.log_weight, (len(outcomes), 1))

    found = search(axes, state, of, tolerance)
    rectangle = np.stack([found.level, found.low, found.high], axis=1)[0]
    some = wanted(rectangle, [found.seen[0]])
    nodes = nodes_of(axes, rectangle, some)
    total = logsumexp(density(nodes.values) + nodes.log_weight)
    return float(total), float(found.error[0]), bool(found.found[0]), nodes


def logs(count: int) -> tuple[Axis, ...]:
    """Axes whose weight is uniform in the logarithm: 1 / value times the derivative of the map."""
    return tuple(Axis(f"a{i}", "log", 1.0, Prior("jeffreys", ())) for i in range(count))


@pytest.mark.parametrize("tolerance", [ONE, MANY, Tolerance(1e-8, 20.0)], ids=["one", "many", "8"])
@pytest.mark.parametrize(
    ("sds", "correlation", "mean"),
    [
        ((0.3,), 0.0, 0.0),
        ((0.01,), 0.0, 3.0),  # far from the start and narrow
        ((2.0,), 0.0, -4.0),
        ((0.3, 0.1), 0.0, 0.5),
        ((0.3, 0.3), 0.95, 0.0),  # narrow across a diagonal
        ((0.3, 0.3), -0.95, 0.7),
        ((0.3, 0.2, 0.5), 0.6, 0.2),
        ((0.3, 0.2, 0.5, 0.4), 0.5, 0.2),
    ],
)
def test_a_normal_density_integrates_to_one(sds, correlation, mean, tolerance):
    d = len(sds)
    covariance = np.full((d, d), correlation) + (1 - correlation) * np.eye(d)
    covariance = covariance * np.outer(sds, sds)
    law = multivariate_normal(np.full(d, mean), covariance)
    total, error, found, _ = integral(logs(d), lambda v: law.logpdf(np.log(v)).ravel(), tolerance)
    assert found
    assert error <= tolerance.error
    assert abs(np.expm1(total)) <= error + ROUNDING


@pytest.mark.parametrize("tolerance", [ONE, MANY], ids=["one", "many"])
@pytest.mark.parametrize("family", ["half-normal", "half-t", "exponential"])
@pytest.mark.parametrize("unit", [0.02, 1.0, 50.0])
def test_a_prior_integrates_to_one_wherever_the_map_bends(family, unit, tolerance):
    from ketastats.bayesian.exact.axes import sd_axis

    parameters = (3.0, 2.0) if family == "half-t" else (2.0,)
    axis = sd_axis("sd", Prior(family, parameters), unit)
    start = np.zeros((1, 3, 1), dtype=np.int64)
    start[0, 1:, 0] = (0, 3) if axis.map == "even" else (-1, 3)

    def of(nodes: Nodes, outcomes: np.ndarray) -> np.ndarray:
        return nodes.log_weight[None]

    found = search((axis,), start, of, tolerance)
    assert found.found[0]
    rectangle = np.stack([found.level, found.low, found.high], axis=1)[0]
    total = np.exp(nodes_of((axis,), rectangle).log_weight).sum()
    # the tail of half-t falls like 1/sd^3: mass at depth 12 is not small, and is estimated
    slack = 30 if family == "half-t" else 1
    assert abs(total - 1) <= slack * found.error[0] + ROUNDING


def test_a_density_that_does_not_end_is_reported():
    _, error, found, _ = integral(logs(1), lambda v: np.zeros(len(v)), ONE)
    assert not found
    assert error > ONE.error


def test_two_far_peaks_are_both_found_when_the_start_sees_them():
    def density(v: np.ndarray) -> np.ndarray:
        t = np.log(v[:, 0])
        each = [-0.5 * ((t - m) / 0.4) ** 2 - np.log(0.4 * np.sqrt(2 * np.pi)) for m in (-1.5, 1.5)]
        return logsumexp(each, axis=0) - np.log(2)

    total, error, found, _ = integral(logs(1), density, ONE)
    assert found
    assert abs(np.expm1(total)) <= error + ROUNDING


def test_the_alternating_sum_sees_what_the_plain_one_misses():
    """The aliasing of a normal is 2 exp(-2 pi^2 sd^2), sd in nodes; a power of it is seen."""
    axes = logs(1)
    for phase in (0.0, 0.25, 0.5):  # a cosine is zero at a quarter
        rectangle = np.array([[0], [-12], [12]])
        t = np.arange(-12, 13) - phase
        seen = aliasing(axes, rectangle, np.exp(-0.5 * (t / 0.7) ** 2)[None])[0, 1:].sum()
        true = 2 * np.exp(-2 * np.pi**2 * 0.49)
        assert true <= 0.5 * seen
        # the sine has the transform's derivative, pi sd times its height, in units of the SD
        assert seen <= 1.01 * (2 * np.exp(-0.5 * np.pi**2 * 0.49) * np.pi * 0.7) ** 2


@pytest.mark.parametrize("kind", MAPS)
def test_a_map_has_its_inverse_and_its_derivative(kind):
    axis = Axis(
        "a",
        kind,
        0.7,
        Prior("lkj", (2.0,)) if kind == "correlation" else Prior("half-normal", (1.0,)),
    )
    t = np.linspace(0.05, 1.5, 30) if kind == "even" else np.linspace(-1.4, 1.4, 41)
    assert np.allclose(places(axis, values(axis, t)), t, rtol=0, atol=1e-9)
    step = 1e-6  # central differences: error about step squared
    slope = (values(axis, t + step) - values(axis, t - step)) / (2 * step)
    assert np.allclose(np.log(slope), log_jacobian(axis, t), rtol=0, atol=1e-7)


@pytest.mark.parametrize("shape", [1.0, 2.0, 5.0])
def test_the_correlation_prior_integrates_to_one(shape):
    axis = Axis("correlation", "correlation", 1.0, Prior("lkj", (shape,)))
    t = np.arange(-3.2, 3.2, 0.05)
    assert np.exp(log_weights(axis, t)).sum() * 0.05 == pytest.approx(1.0, abs=1e-9)


# the skeleton: many outcomes


def crossover(seed: int, sd_subject: float, n: int = 16) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = [
        (i, "FM"[i % 2], p, ("AB", "BA")[i // 2 % 2][p], t)
        for i, p, t in itertools.product(range(n), range(2), range(2))
    ]
    frame = pd.DataFrame(rows, columns=["subject", "sex", "period", "treatment", "time"])
    frame = frame.astype({"time": str})
    y = rng.normal(size=(300, len(frame))) * rng.uniform(0.5, 8, size=(300, 1))
    y += sd_subject * rng.normal(size=(300, n))[:, frame["subject"]] + 20
    return frame, y


TWO = "treatment*time*sex + period + (1|subject)"
THREE = "treatment*sex + period + (1|subject) + (1|subject:period)"


@pytest.mark.parametrize(("formula", "count"), [(TWO, 300), (THREE, 90)], ids=["two", "three"])
def test_the_skeleton_gives_what_every_node_gives(formula, count):
    """More than 64 outcomes go through the skeleton, 60 at a time do not."""
    frame, y = crossover(3, 4.0)
    y = y[:count]
    priors = {"effects": "normal(0, 5)", "intercept": "normal(20, 10)", "sd": "half-normal(5)"}
    whole = ks.posterior_many(formula, frame, y, priors=priors)
    parts = [
        ks.posterior_many(formula, frame, y[i : i + 60], priors=priors) for i in range(0, count, 60)
    ]
    assert whole.converged.all()
    for name in ("mean", "sd", "prob_positive", "ci_low", "ci_high", "log_evidence"):
        both = np.concatenate([getattr(p, name) for p in parts])
        one = getattr(whole, name)
        unit = whole.sd if name in ("mean", "sd", "ci_low", "ci_high") else 1.0
        # units differ between batches (the maps bend elsewhere): up to both quadrature errors
        assert np.abs((one - both) / unit).max() < 2.5e-3, name


def test_outcomes_too_many_for_their_skeleton_go_in_small_batches(monkeypatch):
    from ketastats.bayesian.exact import integrate, table

    frame, y = crossover(5, 3.0)
    y, sizes = y[:150], []
    priors = {"effects": "normal(0, 5)", "intercept": "normal(20, 10)", "sd": "half-normal(5)"}
    plain = ks.posterior_many(TWO, frame, y, priors=priors)
    whole = integrate.quadrature

    def counted(model, some, rows, tolerance):
        sizes.append(len(some))
        return whole(model, some, rows, tolerance)

    monkeypatch.setattr(table, "SPARE", table.PROBES - 2)  # more than two functions are too many
    monkeypatch.setattr(integrate, "quadrature", counted)
    crowded = ks.posterior_many(TWO, frame, y, priors=priors)
    assert sizes == [150, 64, 64, 22]
    assert crowded.converged.all()
    assert np.abs((crowded.mean - plain.mean) / plain.sd).max() < 2.5e-3  # as above


def test_missing_rows_of_each_outcome_are_its_own():
    frame, y = crossover(4, 2.0)
    y = y[:6].copy()
    y[1, 3] = y[2, 3] = np.nan
    y[4, :7] = np.nan
    formula = "treatment*time + period + (1|subject)"
    priors = {"effects": "normal(0, 5)", "intercept": "normal(20, 10)", "sd": "half-normal(5)"}
    many = ks.posterior_many(formula, frame, y, priors=priors, tolerance=1e-6)
    for k in range(6):
        data = frame.assign(y=y[k])
        one = ks.posterior(f"y ~ {formula}", data, priors=priors, tolerance=1e-6)
        table = one.summary().loc[list(one.problem.names)]
        assert np.abs(many.mean[k] - table["mean"]).max() < 5e-6 * table["sd"].max()
        assert np.abs(many.ci_low[k] - table["ci_low"]).max() < 2e-5 * table["sd"].max()
        assert many.log_evidence[k] == pytest.approx(one.log_evidence, abs=5e-6)


def test_spacing_falls_by_the_square_root_of_two():
    assert np.allclose(spacing(np.array([2, 4])) / spacing(0), [0.5, 0.25])
