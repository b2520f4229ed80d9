"""Mixtures of normals against scipy; the cardinal series against the densities it is given."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import norm

import ketastats as ks
from ketastats.bayesian.exact import marginal, mixture
from ketastats.bayesian.exact.axes import Axis
from ketastats.study.priors import Prior

EXACT = 1e-12


@pytest.fixture
def parts():
    rng = np.random.default_rng(1)
    weight = rng.dirichlet(np.ones(7), size=3)
    return weight, rng.normal(0, 2, size=(3, 7, 2)), rng.uniform(0.3, 3, size=(7, 2))


def of(parts, b, k):
    weight, mean, sd = parts
    return weight[b], mean[b, :, k], sd[:, k]


def test_moments(parts):
    mean, sd = mixture.moments(*parts)
    for b in range(3):
        for k in range(2):
            w, m, s = of(parts, b, k)
            assert mean[b, k] == pytest.approx(w @ m, abs=EXACT)
            assert sd[b, k] ** 2 == pytest.approx(w @ (s**2 + m**2) - (w @ m) ** 2, abs=1e-11)


def test_distribution_function_density_and_quantiles(parts):
    p = np.array([1e-6, 0.025, 0.5, 0.9, 1 - 1e-6])
    centre, spread = mixture.moments(*parts)
    found = mixture.quantiles(*parts, centre, spread, ndtri(p), p)
    for b in range(3):
        for k in range(2):
            w, m, s = of(parts, b, k)
            for t, q in enumerate(p):
                x = brentq(lambda v: w @ norm.cdf(v, m, s) - q, -60, 60, xtol=1e-13)  # noqa: B023
                assert found[t, b, k] == pytest.approx(x, abs=1e-7 * spread[b, k])
    at = np.array([[0.3, -1.0]] * 3)
    below = mixture.cdf(*parts, at)
    assert below[2, 1] == pytest.approx(
        parts[0][2] @ norm.cdf(-1.0, *of(parts, 2, 1)[1:]), abs=EXACT
    )
    dense = mixture.density(parts[0][0], parts[1][0], parts[2], at[:1])
    assert dense[0, 0] == pytest.approx(
        parts[0][0] @ norm.pdf(0.3, *of(parts, 0, 0)[1:]), abs=EXACT
    )


def test_the_shortest_interval_has_equal_densities_at_its_ends(parts):
    low, high = mixture.highest(parts[0][0], parts[1][0], parts[2], 0.9)
    for k in range(2):
        w, m, s = of(parts, 0, k)
        assert w @ (norm.cdf(high[k], m, s) - norm.cdf(low[k], m, s)) == pytest.approx(
            0.9, abs=1e-6
        )
        x = np.linspace(-12, 12, 4001)  # brute force: of all intervals with that mass
        mass = (norm.cdf(x[:, None], m, s) @ w)[:-1]
        ends = np.interp(mass + 0.9, mass, x[:-1], right=np.inf)
        assert high[k] - low[k] <= np.nanmin(ends - x[:-1]) + 0.012  # two steps of the grid


@pytest.mark.parametrize("kind", ["even", "log"])
def test_the_cardinal_series_gives_back_a_distribution(kind):
    """0.9 nodes to an SD: the transform of a normal at pi / h is 0.02 of that at 0, and falls."""
    axis = Axis("sd", kind, 1.0, Prior("half-normal", (1.0,)))
    level = 4
    h = float(marginal.spacing(level))
    sd, mean = h / 0.9, 0.3
    k = np.arange(0, 40) if kind == "even" else np.arange(-40, 41)
    density = norm.pdf(k * h, mean, sd)
    if kind == "even":
        density = density + norm.pdf(-k * h, mean, sd)
        density[0] /= 2
    mass = (density / density.sum())[None]
    t = np.linspace(0.05, 1.5, 12) if kind == "even" else np.linspace(-1, 1.6, 12)
    found = marginal.cumulative(axis, level, int(k[0]), np.tile(mass, (12, 1)), t)
    true = norm.cdf(t, mean, sd)
    if kind == "even":
        true = true - norm.cdf(-t, mean, sd)
    assert np.abs(found - true).max() < 5e-3
    finer = marginal.cumulative(axis, level, int(k[0]), np.tile(mass, (12, 1)), t[:12] * 0 + 50.0)
    assert np.allclose(finer, 1.0, atol=1e-3)


def test_the_density_of_an_sd_integrates_to_one_and_has_its_quantiles():
    data = ks.load_study("jelen2025").simulate(seed=2, outcome="madrs")
    post = ks.posterior("madrs ~ treatment*time + period + (1|subject)", data, typical_sd=10)
    for name in ("sd subject", "sd residual"):
        x, density = post.axis_density(name, points=4000)
        assert np.trapezoid(density, x) == pytest.approx(1.0, abs=2e-3)
        row = post.summary().loc[name]
        inside = (x >= row["ci_low"]) & (x <= row["ci_high"])
        assert np.trapezoid(density[inside], x[inside]) == pytest.approx(0.95, abs=3e-3)
        assert np.trapezoid(density * x, x) == pytest.approx(row["mean"], rel=2e-3)


def test_the_share_of_a_variance_agrees_with_its_draws():
    data = ks.load_study("jelen2025").simulate(seed=2, outcome="madrs")
    formula = "madrs ~ treatment*time + period + (1|subject) + (1|subject:period)"
    post = ks.posterior(formula, data, typical_sd=10)
    table = post.shares()
    draws = post.draws(20_000, seed=1).parameters ** 2
    share = draws[:, :2] / draws.sum(axis=1, keepdims=True)
    for k, name in enumerate(("subject", "subject:period")):
        low, high = np.quantile(share[:, k], [0.025, 0.975])
        assert table.loc[name, "mean"] == pytest.approx(share[:, k].mean(), abs=4 * 0.2 / 141)
        # standard error of a 2.5 % quantile of 20,000 draws: sqrt(p q / n) / density, below 0.005
        assert table.loc[name, "ci_low"] == pytest.approx(low, abs=0.01)
        assert table.loc[name, "ci_high"] == pytest.approx(high, abs=0.01)
