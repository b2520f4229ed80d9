"""Draws from priors and from the exact posterior, against densities, quadrature and brute force."""

import arviz as az
import numpy as np
import pytest
from scipy import integrate, stats

import ketastats as ks
from ketastats.bayesian.exact import marginal
from ketastats.bayesian.exact.axes import log_prior, log_weights, places, values
from ketastats.bayesian.exact.draws import draw_from_prior, draw_outcomes_given, draw_prior
from ketastats.bayesian.exact.joint import draw_effects
from ketastats.bayesian.exact.nodes import at_nodes
from ketastats.bayesian.exact.reject import log_height, propose, tents
from ketastats.bayesian.exact.search import spacing
from ketastats.core.errors import DataError
from ketastats.study.priors import Prior, parse_prior
from tests.bayesian.exact.cases import (
    CASES,
    PROPER,
    TWO,
    covariance_of_rows,
    joint,
    posterior,
    table,
)

SE = 4.0
"""Monte Carlo standard errors: one in 16,000 comparisons is farther off."""
KS_P = 1e-3
"""Of Kolmogorov-Smirnov tests; seeds are fixed and some thirty are made."""
DRAWS = 20_000
REACH = 1.15
"""How much larger than its acceptance rate says the factor between posterior and proposal may be at
any place: it is estimated from thousands."""


def off_in_se(draws, mean):
    """Monte Carlo standard errors between means of draws, (n, ...), and what they should be."""
    return np.abs(draws.mean(axis=0) - mean) / (draws.std(axis=0) / np.sqrt(len(draws)))


def cumulative(post, axis):
    """Distribution function of what is on an axis."""
    part = post.refined(axis)
    level, low, _ = part.rectangle[:, axis].tolist()
    mass, of = marginal.masses(part, axis)[:1], post.model.axes[axis]
    return lambda x: marginal.cumulative(of, level, low, np.tile(mass, (len(x), 1)), places(of, x))


# --- priors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prior", ["half-normal(3)", "exponential(2)", "half-t(3, 2)", "inverse-root-gamma(0.7)"]
)
def test_a_prior_is_drawn_by_its_density(prior):
    family = prior.split("(")[0]
    parsed = Prior(family, (0.7,)) if family[0] == "i" else parse_prior(prior, "sd")
    draws = draw_prior(parsed, np.random.default_rng(1), DRAWS)
    at = np.quantile(draws, [0.05, 0.25, 0.5, 0.75, 0.95])
    for x in at:
        exact = integrate.quad(lambda v: float(np.exp(log_prior(parsed, v))), 0, x)[0]
        se = np.sqrt(exact * (1 - exact) / DRAWS)
        assert abs((draws <= x).mean() - exact) < SE * se


@pytest.mark.parametrize("eta", [1.0, 2.0, 5.0])
def test_a_correlation_is_drawn_by_the_density_of_its_axis(eta):
    post = posterior("two correlated effects")
    axis = next(a for a in post.model.axes if a.map == "correlation")
    of = type(axis)(axis.name, axis.map, axis.unit, Prior("lkj", (eta,)))
    draws = draw_prior(of.prior, np.random.default_rng(2), DRAWS)
    for x in (-0.7, -0.2, 0.5):
        end = float(places(of, np.array(x)))
        exact = integrate.quad(lambda t: float(np.exp(log_weights(of, np.array(t)))), -3.2, end)[0]
        assert abs((draws <= x).mean() - exact) < SE * np.sqrt(exact * (1 - exact) / DRAWS)


def test_coefficients_are_drawn_from_their_prior_with_its_location_and_covariance():
    post = posterior("intercept")
    _, beta = draw_from_prior(post.model, DRAWS, np.random.default_rng(3))
    covariance = np.linalg.inv(post.model.precision)
    assert off_in_se(beta, post.model.location).max() < SE
    off = beta - post.model.location
    products = off[:, :, None] * off[:, None, :]
    assert off_in_se(products.reshape(DRAWS, -1), covariance.ravel()).max() < SE


def test_cauchy_effects_are_cauchy_in_residual_sds():
    post = posterior("Cauchy")
    parameters, beta = draw_from_prior(post.model, DRAWS, np.random.default_rng(4))
    column = post.problem.names.index("treatment[1]")
    sigma = [a.name for a in post.model.axes].index("sd residual")
    ratio = beta[:, column] / parameters[:, sigma]
    assert stats.kstest(ratio, stats.cauchy(scale=0.7).cdf).pvalue > KS_P


@pytest.mark.parametrize("name", ["nested", "two correlated effects", "two residuals"])
def test_outcomes_have_the_covariance_of_the_model(name):
    model = posterior(name).model
    parameters, beta = draw_from_prior(model, 1, np.random.default_rng(5))
    n = 40_000
    y = draw_outcomes_given(
        model, np.repeat(parameters, n, 0), np.repeat(beta, n, 0), np.random.default_rng(6)
    )
    mean, v = model.problem.x @ beta[0], covariance_of_rows(model, parameters[0])
    assert off_in_se(y, mean).max() < SE
    upper = np.triu_indices(len(v))
    products = (y - mean)[:, upper[0]] * (y - mean)[:, upper[1]]
    off = np.abs(products.mean(0) - v[upper]) / (products.std(0) / np.sqrt(n))
    assert off.max() < 5.0  # of some 560 numbers: one in 3,000 tables is farther off


def test_prior_predictive_has_the_prior_mean_and_variance():
    post = posterior("exponential")
    y = post.prior_predictive(DRAWS, seed=3)
    x, s = post.model.problem.x, np.linalg.inv(post.model.precision)
    assert off_in_se(y, x @ post.model.location).max() < SE
    exact = np.einsum("ni,ij,nj->n", x, s, x) + 2 * 2 * 2.0**2  # E sd^2 = 2 mean^2, of two SDs
    assert off_in_se((y - x @ post.model.location) ** 2, exact).max() < SE


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ({"residual": "jeffreys"}, "priors.residual: nothing can be drawn"),
        ({"intercept": "flat"}, "priors.intercept: nothing can be drawn from a flat prior, and In"),
        ({"effects": "flat"}, "priors.effects: nothing can be drawn from a flat prior, and treat"),
    ],
)
def test_an_improper_prior_is_refused_by_its_name(priors, message):
    post = ks.posterior(TWO, table(), priors=PROPER | priors)
    with pytest.raises(DataError, match=message):
        post.prior_predictive(10)


# --- the posterior --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_draws_have_the_moments_and_quantiles_of_the_quadrature(name):
    post = posterior(name)
    draws, summary = post.draws(DRAWS, seed=2), post.summary()
    all_of_them = np.concatenate([draws.gamma, draws.parameters], axis=1)
    mean, sd = summary["mean"].to_numpy(), summary["sd"].to_numpy()
    assert off_in_se(all_of_them, mean).max() < SE
    low, high = summary["ci_low"].to_numpy(), summary["ci_high"].to_numpy()
    for share in ((all_of_them < low).mean(0), (all_of_them > high).mean(0)):
        assert np.abs(share - 0.025).max() < SE * np.sqrt(0.025 * 0.975 / DRAWS)
    light = np.isfinite(sd) & (stats.kurtosis(all_of_them) < 20)  # else its own error is unknown
    assert light.sum() >= len(sd) - 1
    assert off_in_se((all_of_them - mean) ** 2, sd**2)[light].max() < SE


@pytest.mark.parametrize("name", CASES)
def test_sds_follow_their_marginal_distribution(name):
    post = posterior(name)
    draws = post.draws(DRAWS, seed=3)
    for a in range(len(post.model.axes)):
        x = draws.parameters[:, a]
        assert stats.kstest(x, cumulative(post, a)).pvalue > KS_P


@pytest.mark.parametrize("name", CASES)
def test_no_place_exceeds_the_factor_of_the_rejection(name):
    post = posterior(name)
    axes, part = post.model.axes, next(post.quadrature.parts())
    tent = tents(axes, part)
    place = propose(tent, np.random.default_rng(99), 20_000)
    t = place * tent.spacing
    parameters = np.stack([values(a, t[:, i]) for i, a in enumerate(axes)], axis=1)
    none, first = np.empty((0, post.model.problem.x.shape[1])), np.zeros(1, dtype=int)
    found = at_nodes(post.model, post.quadrature.table.moments, parameters, none, first)
    log = found.constant - 0.5 * found.quad[:, 0] - post.log_evidence
    log += sum(log_weights(a, t[:, i]) for i, a in enumerate(axes))
    ratio = np.exp(log - log_height(tent, place))
    acceptance = post.draws(4000, seed=1).acceptance
    assert ratio.mean() == pytest.approx(1.0, abs=SE * ratio.std() / np.sqrt(len(ratio)) + 1e-4)
    assert ratio.max() < REACH / acceptance
    assert acceptance > 0.5


def test_draws_are_not_confined_to_the_nodes():
    post = posterior("intercept")
    draws = post.draws(2000)
    assert len(np.unique(draws.parameters[:, 0])) == 2000
    on = places(post.model.axes[0], draws.parameters[:, 0])
    h = float(spacing(int(post.quadrature.rectangles.level[0, 0])))
    share = on / h % 1
    assert ((share > 0.25) & (share < 0.75)).mean() > 0.2  # a tent alone has half there


def test_the_same_seed_gives_the_same_draws_and_another_others():
    post = posterior("nested")
    one, same, other = post.draws(50, seed=1), post.draws(50, seed=1), post.draws(50, seed=2)
    assert np.array_equal(one.gamma, same.gamma)
    assert all(np.array_equal(a, b) for a, b in zip(one.effects, same.effects, strict=True))
    assert not np.isin(one.gamma, other.gamma).any()
    assert np.array_equal(post.predictive(5, seed=1), post.predictive(5, seed=1))


@pytest.mark.parametrize("name", ["nested", "two correlated effects", "two residuals", "flat"])
def test_random_effects_have_their_conditional_distribution(name):
    post = posterior(name)
    model, q, n = post.model, post.problem.x.shape[1], 20_000
    node = post.nodes[np.argmax(post.weight)]
    mean, covariance = joint(model, node)
    beta = mean[:q] + 0.5 * np.sqrt(np.diag(covariance)[:q])
    gain = covariance[q:, :q] @ np.linalg.inv(covariance[:q, :q])
    exact = mean[q:] + gain @ (beta - mean[:q])
    spread = covariance[q:, q:] - gain @ covariance[:q, q:]
    found = draw_effects(
        model, post.problem.y, np.repeat(node[None], n, 0), np.repeat(beta[None], n, 0),
        np.random.default_rng(7),
    )  # fmt: skip
    u = np.concatenate([e[:, :, i] for e in found for i in range(e.shape[2])], axis=1)
    assert off_in_se(u, exact).max() < SE
    upper = np.triu_indices(len(exact))
    products = (u - exact)[:, upper[0]] * (u - exact)[:, upper[1]]
    off = np.abs(products.mean(0) - spread[upper]) / (products.std(0) / np.sqrt(n))
    assert off.max() < 5.0  # of some 380 numbers


def test_an_sd_of_zero_gives_effects_of_zero():
    post = posterior("two correlated effects")
    parameters = np.tile(post.nodes[np.argmax(post.weight)], (3, 1))
    parameters[:, :2] = 0.0
    beta = np.zeros((3, post.problem.x.shape[1]))
    (u,) = draw_effects(post.model, post.problem.y, parameters, beta, np.random.default_rng(1))
    assert np.all(u == 0.0)


def test_predictive_has_the_posterior_mean_and_variance_of_new_people():
    post = posterior("nested")
    y = post.predictive(DRAWS, seed=5)
    mean, sd = post.of_rows(post.problem.x)
    centre = post.weight @ mean
    of_mean = post.weight @ (sd**2 + (mean - centre) ** 2)
    exact = of_mean + post.weight @ (post.nodes**2).sum(axis=1)
    assert off_in_se(y, centre).max() < SE
    assert off_in_se((y - centre) ** 2, exact).max() < SE


def test_draws_say_which_effects_they_are_of():
    draws = posterior("two correlated effects").draws(10)
    assert draws.terms == ("subject 1", "subject x")
    assert np.array_equal(draws.sd, draws.parameters[:, [0, 1]])
    assert [e.shape for e in draws.effects] == [(10, 9), (10, 9)]


def test_no_draws_are_refused():
    with pytest.raises(DataError, match="n = 0 is not 1 or more"):
        posterior("intercept").draws(0)


@pytest.mark.slow
def test_two_hundred_thousand_draws_of_four_axes_follow_the_marginals():
    post = posterior("two correlated effects")
    draws = post.draws(200_000, seed=8)
    for a in range(len(post.model.axes)):
        assert stats.kstest(draws.parameters[:, a], cumulative(post, a)).pvalue > KS_P


# --- ArviZ ----------------------------------------------------------------------------------------


def test_the_tree_has_the_groups_and_no_clock():
    post = posterior("two correlated effects")
    tree = post.datatree(400, seed=1)
    assert set(tree.children) == {
        "posterior", "log_likelihood", "log_prior", "posterior_predictive", "observed_data",
    }  # fmt: skip
    assert "prior_predictive" in post.datatree(400, prior=True).children
    assert all(node.attrs == {} for node in tree.children.values())
    assert tree.attrs["formula"] == "y ~ treatment + x + (1+x|subject)"
    assert tree["posterior"]["gamma"].dims == ("chain", "draw", "coefficient")
    assert list(tree["posterior"]["term"].values) == ["subject 1", "subject x"]
    assert np.array_equal(tree["observed_data"]["y"].values, post.problem.y)


def test_the_tree_has_the_densities_of_its_draws():
    post = posterior("two correlated effects")
    tree, draws = post.datatree(400, seed=1), post.draws(400, seed=1)
    r, p = post.problem.random[0], post.problem
    mean = draws.gamma @ p.x.T
    for i in range(2):
        mean += draws.effects[i][:, r.group] * r.z[:, i]
    sigma = draws.parameters[:, -1]
    exact = stats.norm.logpdf(p.y, mean, sigma[:, None])
    log_likelihood = tree["log_likelihood"]["y"].values.reshape(400, -1)
    assert np.allclose(log_likelihood, exact, atol=1e-10)  # the same sums
    s = {a.name: a.prior.parameters[-1] for a in post.model.axes}
    beta = np.linalg.solve(post.design.back, draws.gamma.T).T
    sds = np.diag(post.model.precision) ** -0.5
    exact = stats.norm.logpdf(beta, post.model.location, sds).sum(axis=1)
    for a, name in enumerate(s):
        x = draws.parameters[:, a]
        exact = exact + (
            stats.beta.logpdf((1 + x) / 2, 2, 2) - np.log(2)
            if name.startswith("correlation")
            else stats.halfnorm.logpdf(x, scale=s[name])
        )
    found = sum(v.values for v in tree["log_prior"].data_vars.values())
    assert np.allclose(found.ravel(), exact, atol=1e-10)


def test_the_prior_of_cauchy_effects_is_their_own():
    post = posterior("Cauchy")
    tree, draws = post.datatree(40, seed=1), post.draws(40, seed=1)
    names = [a.name for a in post.model.axes]
    assert "scale of treatment" not in tree["log_prior"]
    others = [i for i, n in enumerate(post.problem.names) if n != "treatment[1]"]
    treatment = post.problem.names.index("treatment[1]")
    sds = np.diag(post.model.precision)[others] ** -0.5
    exact = stats.norm.logpdf(draws.gamma[:, others], post.model.location[others], sds).sum(axis=1)
    sigma = draws.parameters[:, names.index("sd residual")]
    exact += stats.cauchy.logpdf(draws.gamma[:, treatment], scale=0.7 * sigma)
    assert np.allclose(tree["log_prior"]["gamma"].values.ravel(), exact, atol=1e-10)


def test_arviz_summarises_and_scales_the_priors():
    post = posterior("intercept")
    tree = post.datatree(4000, seed=1)
    found = az.summary(tree, var_names=["gamma", "sd", "sigma"], round_to="none")
    mean, sd = (post.summary()[c].to_numpy() for c in ("mean", "sd"))
    assert np.abs((found["mean"].to_numpy() - mean) / sd).max() < SE / np.sqrt(4000)
    assert found["r_hat"].max() < 1.01  # the draws are independent
    scaling = az.psense_summary(tree, var_names=["gamma", "sd", "sigma"])
    assert (scaling["likelihood"] > 0).all()
    narrow = ks.posterior(TWO, table(), priors=PROPER | {"effects": "normal(0, 0.3)"})
    tight = az.psense_summary(narrow.datatree(4000, seed=1), var_names=["gamma"])
    loose = az.psense_summary(tree, var_names=["gamma"])
    row = "gamma[treatment[1]]"
    assert tight.loc[row, "prior"] > 5 * loose.loc[row, "prior"]


def test_a_number_of_draws_that_makes_no_chains_is_refused():
    with pytest.raises(DataError, match="n = 10 is not a multiple of 4"):
        posterior("intercept").datatree(10)
