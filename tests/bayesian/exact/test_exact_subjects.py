"""Shrunken effects of groups against one big regression, the dense oracle, lme4 and draws."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.bayesian.exact.subjects import at_nodes
from tests.bayesian import dense
from tests.bayesian.exact.cases import CASES, PROPER, TWO, dense_arguments, joint, posterior, table

REFERENCE = Path(__file__).parents[2] / "reference"
SAME = 1e-9
"""The same numbers from larger matrices."""
LME4 = 1e-6
"""lme4's effects at its own estimates, which are stored with 10 digits."""
DENSE = 1e-5
"""In posterior SDs: the tolerance of the quadrature."""
SE = 4.0
"""Monte Carlo standard errors: one in 16,000 comparisons is farther off."""
DRAWS = 20_000


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("Cauchy", "hierarchical")])
def test_effects_at_a_node_are_those_of_one_big_regression(name):
    post = posterior(name)
    order = np.argsort(post.weight)[-50:]
    nodes = post.nodes[order][(post.nodes[order] > 0).all(axis=1)][-5:]
    q = post.problem.x.shape[1]
    beta, mean, sd = at_nodes(
        post.model, post.quadrature.table.moments, post.problem.y, nodes
    )  # fmt: skip
    for j, node in enumerate(nodes):
        exact, covariance = joint(post.model, node)
        assert np.allclose(beta[j], exact[:q], rtol=SAME, atol=SAME)
        u = np.concatenate([m[j].T.ravel() for m in mean])
        s = np.concatenate([v[j].T.ravel() for v in sd])
        assert np.allclose(u, exact[q:], rtol=SAME, atol=SAME)
        assert np.allclose(s, np.sqrt(np.diag(covariance)[q:]), rtol=SAME, atol=SAME)


def test_effects_whose_prior_sd_is_zero_are_zero_and_change_nothing_else():
    post, without = (
        posterior("hierarchical"),
        ks.posterior("y ~ (1|subject)", table(), priors=PROPER),
    )
    node = post.nodes[np.argmax(post.weight)].copy()
    node[-1] = 0.0
    moments, y = post.quadrature.table.moments, post.problem.y
    beta, (mean,), (sd,) = at_nodes(post.model, moments, y, node[None])
    moments = without.quadrature.table.moments
    one, (exact,), (spread,) = at_nodes(without.model, moments, y, node[None, :-1])
    assert np.all(beta[0, 1:] == 0.0)
    assert np.allclose(beta[0, 0], one[0, 0], rtol=SAME)
    assert np.allclose(mean, exact, rtol=SAME, atol=SAME)
    assert np.allclose(sd, spread, rtol=SAME)


@pytest.mark.parametrize("name", ["intercept", "exponential", "heavy tails"])
def test_effects_are_those_of_the_dense_oracle(name):
    post = posterior(name)
    (y, x, zs, priors), keywords = dense_arguments(post)
    model = dense.dense_model(y, x, zs, priors, **keywords)
    oracle = dense.integrate(model)
    heavy = oracle.weight > 1e-12
    theta, weight = oracle.theta[heavy], oracle.weight[heavy]
    v, p = model.covariance(theta), model.prior_precision(theta)
    b, c = dense.conditional(y, x, v, model.m, p)
    pull = theta[:, :1, None] ** 2 * np.swapaxes(np.linalg.solve(v, zs[0][None]), 1, 2)
    mean = np.einsum("jgn,jn->jg", pull, y - b @ x.T)
    to = pull @ x
    var = theta[:, :1] ** 2 * (1 - np.einsum("jgn,ng->jg", pull, zs[0]))
    var = var + np.einsum("jgq,jqr,jgr->jg", to, c, to)
    centre = weight @ mean
    spread = np.sqrt(weight @ (var + (mean - centre) ** 2))
    found = post.effects()
    assert np.abs((found["mean"] - centre) / spread).max() < DENSE
    assert np.abs(found["sd"] / spread - 1).max() < DENSE


@pytest.mark.parametrize("name", CASES)
def test_effects_are_those_of_the_draws(name):
    post = posterior(name)
    draws, found = np.concatenate(post.draws(DRAWS, seed=4).effects, axis=1), post.effects()
    mean, sd = found["mean"].to_numpy(), found["sd"].to_numpy()
    assert np.abs(draws.mean(0) - mean).max() < SE * (draws.std(0) / np.sqrt(DRAWS)).max()
    squares = (draws - mean) ** 2
    assert (np.abs(squares.mean(0) - sd**2) / (squares.std(0) / np.sqrt(DRAWS))).max() < SE
    low, high = found["ci_low"].to_numpy(), found["ci_high"].to_numpy()
    for share in ((draws < low).mean(0), (draws > high).mean(0)):
        assert np.abs(share - 0.025).max() < SE * np.sqrt(0.025 * 0.975 / DRAWS)


@pytest.mark.parametrize("name", ["intercept", "slope"])
def test_effects_at_reml_estimates_are_lme4s(name):
    stored = json.loads((REFERENCE / "exact_effects.json").read_text(encoding="utf-8"))[name]
    data = pd.read_csv(REFERENCE / "exact_effects.csv", dtype={"subject": str})
    flat = {"effects": "flat", "intercept": "flat"}
    post = ks.posterior(stored["formula"], data, priors=flat)
    nodes = np.array([stored["values"]])
    _, (mean,), _ = at_nodes(post.model, post.quadrature.table.moments, post.problem.y, nodes)
    exact = np.array([stored["effects"][s] for s in post.problem.random[0].levels])
    exact = exact.reshape(mean[0].shape)
    assert np.abs(mean[0] - exact).max() < LME4 * np.abs(exact).max()


def test_the_table_names_terms_and_groups_and_has_the_raw_deviations():
    post = posterior("two correlated effects")
    found = post.effects()
    assert list(found.columns) == ["term", "group", "mean", "sd", "ci_low", "ci_high", "raw"]
    assert found["term"].unique().tolist() == ["subject 1", "subject x"]
    data = table(slope=1.5)
    rest = post.problem.y - post.problem.x @ post.summary()["mean"].to_numpy()[:3]
    for s, own in found.groupby("group"):
        rows = (data["subject"] == s).to_numpy()
        line = np.polyfit(data["x"][rows], rest[rows], 1)
        assert np.allclose(own["raw"], line[::-1], atol=1e-8)  # the same least squares


def test_raw_deviations_of_an_intercept_are_means_and_shrink():
    post, data = posterior("intercept"), table()
    found = post.effects().set_index("group")
    coefficients = post.summary()["mean"].to_numpy()[: post.problem.x.shape[1]]
    rest = pd.Series(post.problem.y - post.problem.x @ coefficients)
    means = rest.groupby(data["subject"]).mean()
    assert np.allclose(found["raw"], means[found.index], atol=1e-9)
    assert (found["mean"].abs() < found["raw"].abs()).all()


def test_a_wider_level_gives_wider_intervals_and_the_same_means():
    post = posterior("intercept")
    narrow, wide = post.effects(0.5), post.effects(0.99)
    assert (wide["ci_low"] < narrow["ci_low"]).all() and (wide["ci_high"] > narrow["ci_high"]).all()
    assert np.array_equal(narrow["mean"], wide["mean"])


def test_without_random_terms_the_table_is_empty():
    post = ks.posterior("y ~ treatment", table(), priors=PROPER)
    assert len(post.effects()) == 0
    assert post.draws(10).effects == ()


def test_where_people_hardly_differ_effects_shrink_to_nothing():
    found = posterior("no variance between people").effects()
    others = posterior("intercept").effects()
    ratio = (found["mean"] / found["raw"]).median(), (others["mean"] / others["raw"]).median()
    assert ratio[0] < 0.5 < 0.7 < ratio[1]


@pytest.mark.slow
def test_intervals_cover_effects_drawn_from_the_prior():
    """With truths from the prior, 90 % intervals cover exactly 90 %."""
    data = table()
    groups = data["subject"].astype("category")
    rng, covered, below = np.random.default_rng(12), [], []
    x = posterior("intercept").problem.x
    for _ in range(300):
        beta = rng.normal([20.0, *[0.0] * (x.shape[1] - 1)], [8.0, *[4.0] * (x.shape[1] - 1)])
        tau, sigma = np.abs(rng.normal(0, 3, 2))
        u = tau * rng.normal(size=len(groups.cat.categories))
        y = x @ beta + u[groups.cat.codes] + sigma * rng.normal(size=len(x))
        found = ks.posterior(TWO, data.assign(y=y), priors=PROPER, tolerance=1e-4).effects(0.9)
        one = found.set_index("group").loc[groups.cat.categories[0]]
        covered.append(one["ci_low"] < u[0] < one["ci_high"])
        below.append(u[0] < one["ci_low"])
    assert abs(np.mean(covered) - 0.9) < 3 * np.sqrt(0.9 * 0.1 / 300)  # standard errors
    assert abs(np.mean(below) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 300)
