"""Population means on the natural scale: brute-force integration, identities, who acts where."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from scipy.special import expit

from ketastats.bayesian import natural
from ketastats.bayesian.answers import no_expectation
from ketastats.bayesian.families import FAMILIES
from ketastats.bayesian.likelihood import Likelihood
from ketastats.core.errors import DataError
from ketastats.problem.build import build_problem
from ketastats.problem.questions import as_estimands
from ketastats.study.model import Scale

QUADRATURE = 1e-9
"""Relative: the tolerance asked of scipy's adaptive integration, 1e-11, with room for its sums."""

BOUNDS = Scale("real", 0.0, 10.0, 1, "s")


def rows_of(name, **changes):
    groups = ("residual",) if FAMILIES[name].residual else ()
    return Likelihood(FAMILIES[name], groups=groups, **changes)


def integral(inside, eta, sd):
    """Integrate over the deviation, piece by piece so that no narrow part is stepped over."""

    def weighted(u):
        return inside(eta + sd * u) * stats.norm.pdf(u)

    cuts = np.linspace(-9, 9, 19)
    pieces = [
        integrate.quad(weighted, a, b, epsabs=0, epsrel=1e-11)[0]
        for a, b in itertools.pairwise(cuts)
    ]
    return sum(pieces)


NODES, WEIGHTS = np.polynomial.legendre.leggauss(400)


def inside_mean(mean, sigma=2.0):
    """The mean inside the bounds, by quadrature over the values."""
    v = 5 + 5 * NODES
    log = -0.5 * ((v - mean) / sigma) ** 2
    p = WEIGHTS * np.exp(log - log.max())
    return p @ v / p.sum()


def clipped_mean(mean, sigma=2.0):
    """The mean of what is recorded: both bounds and what lies between, by quadrature."""
    v = 5 + 5 * NODES
    between = 5 * WEIGHTS @ (v * stats.norm.pdf(v, mean, sigma))
    return between + 10 * stats.norm.sf(10, mean, sigma)


@pytest.mark.parametrize("eta, sd", [(-3.0, 0.4), (0.5, 1.7), (2.0, 4.0)])
@pytest.mark.parametrize(
    "name, inverse", [("binomial", expit), ("beta", expit), ("negative-binomial", np.exp)]
)
def test_the_inverse_link_is_averaged_over_the_deviations(name, inverse, eta, sd):
    if inverse is np.exp:
        sd = min(sd, 1.7)  # beyond it the integrand peaks outside the nine SDs integrated
    found = natural.linked(np.array([eta]), np.array([sd]), {}, rows_of(name))
    assert found[0] == pytest.approx(integral(inverse, eta, sd), rel=QUADRATURE)


@pytest.mark.parametrize("eta, sd", [(4.0, 1.0), (9.0, 3.0), (-2.0, 2.0), (14.0, 0.5)])
def test_censored_and_truncated_means_are_averaged_over_the_deviations(eta, sd):
    own = {"sigma": np.array([2.0])}
    found = natural.truncated(
        np.array([eta]), np.array([sd]), own, rows_of("truncated", scale=BOUNDS)
    )
    assert found[0] == pytest.approx(integral(inside_mean, eta, sd), rel=QUADRATURE)
    found = natural.recorded(
        np.array([eta]), np.array([sd]), own, rows_of("censored", scale=BOUNDS)
    )
    assert found[0] == pytest.approx(integral(clipped_mean, eta, sd), rel=QUADRATURE)


@pytest.mark.parametrize("mean", [-300.0, -12.0, 3.0, 9.9, 25.0, 300.0])
@pytest.mark.parametrize("low, high", [(0.0, 10.0), (0.0, np.inf), (-np.inf, 10.0)])
def test_truncated_means_hold_in_the_tails(mean, low, high):
    found = natural.truncated_mean(np.array(mean), np.array(1.5), low, high)
    near = low if mean < low else high if mean > high else None
    if near is None:
        a, b = (low - mean) / 1.5, (high - mean) / 1.5
        assert found == pytest.approx(stats.truncnorm.mean(a, b, mean, 1.5), rel=1e-10)
    else:
        # a normal tail beyond z has the mean excess sigma / (z + 2 / (z + 3 / (z + ...)))
        z = abs(near - mean) / 1.5
        rest = z
        for k in range(200, 0, -1):
            rest = z + k / rest if k > 1 else rest
        hazard = z + 1 / rest  # Laplace's continued fraction of the hazard
        excess = 1.5 * (hazard - z)
        assert abs(found - near) == pytest.approx(excess, rel=1e-9)
        assert low <= found <= high


def table():
    rng = np.random.default_rng(1)
    data = pd.DataFrame(
        {
            "mouse": np.repeat(np.arange(12), 4),
            "day": np.tile(["pre", "post"], 24),
            "housing": np.repeat(["single", "grouped"], 24),
            "dose": np.tile([1.0, 1.0, 3.0, 3.0], 12),
        }
    )
    data["cage"] = np.where(
        data["housing"] == "single", None, "c" + (data["mouse"] // 3).astype(str)
    )
    data["grouped"] = (data["housing"] == "grouped") * 1.0
    data["y"] = rng.poisson(5, 48)
    return data


def test_a_term_acts_in_the_cells_whose_rows_have_its_groups():
    problem = build_problem("y ~ housing*day + (1|mouse) + (1|cage)", table(), coding="difference")
    squares, share = natural.patterns(problem)
    grid = problem.fixed.grid()[0]
    for cell, housing in enumerate(grid.column("housing")):
        acting = share[cell] @ squares
        assert acting.tolist() == [1.0, float(housing == "grouped")]


def test_a_slope_acts_with_the_value_of_its_column():
    formula = "y ~ housing*day + dose + (0+dose|mouse) + (0+grouped|cage)"
    data = table().assign(cage=np.repeat(np.arange(6), 8).astype(str))
    problem = build_problem(formula, data, coding="difference")
    squares, share = natural.patterns(problem)
    for cell, housing in enumerate(problem.fixed.grid()[0].column("housing")):
        # dose is in the fixed part and stands at its mean, 2; grouped is 0 or 1 as in the rows
        assert (share[cell] @ squares).tolist() == [4.0, float(housing == "grouped")]


def test_a_cell_without_rows_takes_the_terms_of_the_table():
    data = table().query("not (housing == 'single' and day == 'post')")
    problem = build_problem("y ~ housing + day + (1|mouse) + (1|cage)", data, coding="difference")
    squares, share = natural.patterns(problem)
    grid = problem.fixed.grid()[0]
    empty = [
        h == "single" and d == "post"
        for h, d in zip(grid.column("housing"), grid.column("day"), strict=True)
    ]
    (cell,) = np.flatnonzero(empty)
    # 24 of the 36 rows have a cage
    assert share[cell] @ squares == pytest.approx([1.0, 24 / 36])


def test_estimands_are_weights_over_the_cells_means_draw_by_draw(made):
    formula, rows = (
        "y ~ housing*day + (1|mouse) + (1|cage)",
        rows_of("negative-binomial", log_exposure=np.zeros(48)),
    )
    post = made(formula, table(), rows=rows, draws=50)
    contrast = {"housing": "grouped - single", "day": "post - pre"}
    asked = as_estimands(post.problem, contrast)
    found = post.estimand_draws(asked, scale="natural")[:, :, 0]
    grid, matrix = post.problem.fixed.grid()
    eta = post.draws.gamma @ matrix.T
    expected, signs = np.zeros(found.shape), []
    for j, (h, d) in enumerate(zip(grid.column("housing"), grid.column("day"), strict=True)):
        variance = post.draws.sd[:, :, 0] ** 2 + (h == "grouped") * post.draws.sd[:, :, 1] ** 2
        sign = (1 if h == "grouped" else -1) * (1 if d == "post" else -1)
        signs.append(sign)
        expected += sign * np.exp(eta[:, :, j] + variance / 2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    row = post.contrast(contrast, scale="natural").iloc[0]
    assert row["estimate"] == pytest.approx(expected.mean(), rel=1e-12)
    assert row["method"].endswith("draws, natural scale")
    assert row["method"].startswith("negative-binomial, ")
    link = eta @ np.array(signs)
    assert post.contrast(contrast)["estimate"].item() == pytest.approx(link.mean(), abs=1e-10)
    assert set(post.densities(asked, scale="natural")) == {asked[0].name}


def test_a_difference_that_the_link_scale_holds_at_zero_is_not_zero_on_the_natural_one(made):
    rows = rows_of("binomial", trials=np.full(48, 20))
    post = made("y ~ housing + day + (1|mouse)", table(), rows=rows)
    contrast = {"housing": "grouped - single", "day": "post - pre"}
    assert post.contrast(contrast)["status"].item() == "not_estimable"
    row = post.contrast(contrast, scale="natural").iloc[0]
    assert row["status"] == "ok"
    assert np.isfinite(row["estimate"])


def test_without_a_link_both_scales_are_the_same(made, small):
    post = made("y ~ treatment + period + (1|subject)", small)
    both = [post.contrast({"treatment": "B - A"}, scale=s) for s in ("link", "natural")]
    assert both[0].equals(both[1])


def test_cells_that_the_data_cannot_tell_have_no_natural_mean(made, small):
    rows = rows_of("binomial", trials=np.full(len(small), 9))
    post = made("y ~ treatment*period + sequence + (1|subject)", small, rows=rows)
    assert post.contrast({"treatment": "B - A"})["status"].item() == "ok"
    row = post.contrast({"treatment": "B - A"}, scale="natural").iloc[0]
    assert row["status"] == "not_estimable"
    assert row["notes"].startswith("aliased: ")


def test_an_unknown_scale_is_refused(made, small):
    post = made("y ~ treatment + (1|subject)", small)
    with pytest.raises(DataError, match="did you mean 'natural'"):
        post.contrast({"treatment": "B - A"}, scale="naturl")


@pytest.mark.parametrize(
    "sd, said",
    [
        ("half-normal(0.5)", False),
        ("half-normal(0.9)", True),
        ("exponential(0.2)", True),
        ("half-t(3, 0.2)", True),
    ],
)
def test_a_prior_that_leaves_population_rates_without_an_expectation_is_said(sd, said):
    problem = build_problem("y ~ day + (1|mouse)", table(), coding="difference")
    alone = build_problem("y ~ day", table(), coding="difference")
    rows = rows_of("poisson", log_exposure=np.zeros(48))
    assert bool(no_expectation(rows, problem, sd, "natural")) is said
    assert no_expectation(rows, problem, sd, "link") == ()
    assert no_expectation(rows, alone, sd, "natural") == ()
    assert no_expectation(rows_of("binomial"), problem, sd, "natural") == ()
