"""What a search for a maximum must get right: limits, boundaries, infinities, invariances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from ketastats.core.errors import DataError
from ketastats.frequentist.families import FAMILIES
from ketastats.frequentist.glmm_search import OK, RANK, SEPARATED, SPREAD
from ketastats.frequentist.quadrature import REASONS, fit_glmm

RTOL = 1e-8
"""The search stops within 1e-9 standard errors (DECREMENT in glmm_search.py)."""
NAMES = tuple(FAMILIES)
PARTS = ("beta", "sd", "dispersion", "loglik", "covariance", "modes", "mode_sd")


def mice(name: str, seed: int, draws: int = 1, sd: float = 1.0, spread: float = 4.0, n: int = 12):
    """Return x, group, y, size: mice in two arms, three phases each, 20 trials or counts."""
    rng = np.random.default_rng([seed, NAMES.index(name)])
    group, phase = np.repeat(np.arange(n), 3), np.tile(np.arange(3.0), n)
    x = np.stack([np.ones(3 * n), group % 2, phase == 1, phase == 2], axis=1).astype(float)
    eta = x @ [0.3, 0.5, -0.4, 0.8] + rng.normal(0, sd, (draws, n))[:, group]
    if FAMILIES[name].trials:
        p = 1 / (1 + np.exp(-eta))
        p = rng.beta(spread * p, spread * (1 - p)) if FAMILIES[name].overdispersed else p
        return x, group, rng.binomial(20, p).astype(float), np.full(3 * n, 20)
    mu = np.exp(eta + 0.5)
    if FAMILIES[name].overdispersed:
        mu = mu * rng.gamma(spread, 1 / spread, mu.shape)
    return x, group, rng.poisson(mu).astype(float), None


@pytest.mark.parametrize("name", ["binomial", "binomial-probit", "poisson"])
def test_without_a_random_effect_the_fit_is_the_generalised_linear_model(name):
    import statsmodels.api as sm

    x, _, y, size = mice(name, 1)
    rng = np.random.default_rng(1)
    offset = rng.normal(0, 0.3, len(x))
    fit = fit_glmm(name, x, None, y, size=size, offset=offset)
    if size is None:
        model = sm.GLM(y[0], x, sm.families.Poisson(), offset=offset)
    else:
        link = sm.families.links.Probit() if "probit" in name else None
        both = np.stack([y[0], size - y[0]], axis=1)
        model = sm.GLM(both, x, sm.families.Binomial(link), offset=offset)
    wanted = model.fit(tol=1e-14, method="newton")
    np.testing.assert_allclose(fit.beta[0], wanted.params, rtol=RTOL)
    np.testing.assert_allclose(fit.loglik[0], wanted.llf, rtol=RTOL)
    hessian = model.hessian(wanted.params, observed=True)  # probit: expected is another matrix
    np.testing.assert_allclose(fit.covariance[0], np.linalg.inv(-hessian), rtol=RTOL, atol=1e-12)
    assert fit.spreads == () and fit.sd[0] == 0 and fit.roughness[0] == 0


def test_negative_binomial_without_a_random_effect_equals_statsmodels():
    import statsmodels.api as sm

    x, _, y, _ = mice("negative-binomial", 2, sd=0.0)
    fit = fit_glmm("negative-binomial", x, None, y)
    model = sm.NegativeBinomial(y[0], x)
    start = np.concatenate([fit.beta[0], fit.dispersion]) * 1.01
    wanted = model.fit(start, method="newton", tol=1e-14, disp=0)
    np.testing.assert_allclose([*fit.beta[0], fit.dispersion[0]], wanted.params, rtol=1e-7)
    assert fit.loglik[0] == pytest.approx(wanted.llf, rel=1e-10)
    # statsmodels has no second derivative in alpha: its own differences
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance[0])), wanted.bse, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nodes", [1, 25])
def test_an_outcome_in_a_batch_equals_the_outcome_alone(name, nodes):
    x, group, y, size = mice(name, 3, draws=7)
    y[2, [0, 5]] = np.nan
    y[4, 3:6] = np.nan  # a whole mouse
    batch = fit_glmm(name, x, group, y, size=size, nodes=nodes)
    for b in range(7):
        alone = fit_glmm(name, x, group, y[b], size=size, nodes=nodes)
        for part in (*PARTS, "iterations", "reason", "boundary"):
            np.testing.assert_array_equal(getattr(batch, part)[b], getattr(alone, part)[0])


@pytest.mark.parametrize("name", NAMES)
def test_missing_rows_are_rows_left_out_and_order_and_labels_do_not_matter(name):
    x, group, y, size = mice(name, 4)
    trials = None if size is None else size + np.arange(len(size)) % 3
    y[0, [1, 7, 8]] = np.nan
    whole = fit_glmm(name, x, group, y, size=trials)
    keep = np.random.default_rng(0).permutation(np.flatnonzero(~np.isnan(y[0])))
    label = np.random.default_rng(1).permutation(12)
    other = fit_glmm(
        name, x[keep], label[group][keep], y[:, keep],
        size=None if trials is None else trials[keep],
    )  # fmt: skip
    for part in ("beta", "sd", "dispersion", "loglik", "covariance"):
        np.testing.assert_allclose(getattr(whole, part), getattr(other, part), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(whole.modes[0], other.modes[0][label], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["binomial", "binomial-probit", "beta-binomial"])
def test_counting_failures_instead_of_successes_turns_the_coefficients(name):
    x, group, y, size = mice(name, 5)
    up, down = (fit_glmm(name, x, group, v, size=size) for v in (y, size - y))
    np.testing.assert_allclose(up.beta, -down.beta, rtol=RTOL)
    np.testing.assert_allclose([up.sd, up.loglik], [down.sd, down.loglik], rtol=RTOL)


@pytest.mark.parametrize("name", ["poisson", "negative-binomial"])
def test_a_common_exposure_moves_the_intercept_only(name):
    x, group, y, _ = mice(name, 6)
    plain = fit_glmm(name, x, group, y)
    exposed = fit_glmm(name, x, group, y, offset=np.full(len(x), np.log(7.0)))
    np.testing.assert_allclose(plain.beta[0, 0] - exposed.beta[0, 0], np.log(7.0), rtol=RTOL)
    np.testing.assert_allclose(plain.beta[0, 1:], exposed.beta[0, 1:], rtol=RTOL)
    np.testing.assert_allclose([plain.sd, plain.loglik], [exposed.sd, exposed.loglik], rtol=RTOL)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nodes", [1, 25])
def test_on_the_boundary_the_fit_is_that_without_the_random_intercept(name, nodes):
    x, group, y, size = mice(name, 8, draws=40, sd=0.0, spread=50.0)
    plain = fit_glmm(name, x, None, y, size=size)
    fit = fit_glmm(name, x, group, y, size=size, nodes=nodes)
    assert np.all(fit.reason == OK)
    zero = fit.boundary[:, 0]
    assert 8 < zero.sum() < 36  # about half of them, as theory has it
    assert np.all(fit.sd[zero] == 0) and np.all(fit.sd[~zero] > 0)
    np.testing.assert_allclose(fit.beta[zero], plain.beta[zero], rtol=RTOL, atol=1e-10)
    np.testing.assert_allclose(fit.loglik[zero], plain.loglik[zero], rtol=1e-12)
    assert np.all(fit.loglik[~zero] > plain.loglik[~zero])
    assert np.all(fit.covariance[zero][:, 4] == 0) and np.all(fit.score[zero][:, 4] == 0)
    q = x.shape[1]
    np.testing.assert_allclose(
        fit.covariance[zero][:, :q, :q], plain.covariance[zero][:, :q, :q], rtol=1e-7, atol=1e-10
    )


@pytest.mark.parametrize(
    ("name", "base"), [("beta-binomial", "binomial"), ("negative-binomial", "poisson")]
)
@pytest.mark.parametrize("nodes", [1, 25])
def test_no_fit_is_worse_than_with_fewer_parameters_and_equal_on_the_boundary(name, base, nodes):
    x, group, y, size = mice(base, 9, draws=60, sd=0.7)
    less = fit_glmm(base, x, group, y, size=size, nodes=nodes)
    fixed = fit_glmm(name, x, None, y, size=size, nodes=nodes)
    fit = fit_glmm(name, x, group, y, size=size, nodes=nodes)
    assert np.all(fit.reason == OK)
    zero = fit.boundary[:, 1]
    assert 15 < zero.sum() < 55
    np.testing.assert_allclose(fit.beta[zero], less.beta[zero], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(fit.sd[zero], less.sd[zero], rtol=1e-7)
    assert np.all(fit.loglik >= np.maximum(less.loglik, fixed.loglik) - 1e-8)
    assert np.all(fit.dispersion[zero] == 0) and np.all(fit.dispersion[~zero] > 0)


def separated_by_linear_programming(x, y, size) -> bool:
    """Whether some direction raises no likelihood anywhere and some row's for ever."""
    low, high = (y == 0), (y == size)
    inner = ~low & ~high
    a = np.where(high[:, None], -x, x)[low | high]
    found = linprog(
        a.sum(axis=0), A_ub=a, b_ub=np.zeros(len(a)), bounds=[(-1, 1)] * x.shape[1],
        A_eq=x[inner] if inner.any() else None, b_eq=np.zeros(inner.sum()) if inner.any() else None,
    )  # fmt: skip
    return bool(found.fun < -1e-7)


@pytest.mark.parametrize("name", ["binomial", "binomial-probit", "poisson"])
def test_separation_is_found_exactly_where_linear_programming_finds_it(name):
    rng = np.random.default_rng(10)
    seen = [0, 0]
    for _ in range(90):
        n = int(rng.integers(6, 14))
        x = np.stack([np.ones(n), rng.integers(0, 2, n), rng.normal(size=n).round(1)], axis=1)
        if np.linalg.matrix_rank(x) < 3:
            continue
        size = np.full(n, 2.0)
        y = rng.binomial(2, 0.2, n).astype(float) if name != "poisson" else rng.poisson(0.4, n)
        top = size if name != "poisson" else np.full(n, np.inf)
        wanted = separated_by_linear_programming(x, y, top)
        seen[wanted] += 1
        group = np.arange(n) % 3
        for which in (None, group):
            fit = fit_glmm(name, x, which, y, size=size)
            assert (fit.reason[0] == SEPARATED) == wanted, (y, x, fit.reason)
            assert fit.converged[0] != wanted
            assert np.isnan(fit.beta).all() == wanted
    assert min(seen) > 10


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_without_events_is_called_separation_and_its_coefficient_named(name):
    x, group, y, size = mice(name, 11)
    y[0, x[:, 3] == 1] = 0
    fit = fit_glmm(name, x, group, y, size=size)
    assert fit.reason[0] == SEPARATED and "separation" in REASONS[fit.reason[0]]
    assert fit.runaway[0].tolist() == [False, False, False, True]
    assert np.isnan(fit.beta).all() and np.isnan(fit.sd).all() and np.isnan(fit.covariance).all()
    # the limit of the likelihood is that of the other rows
    rest = x[:, 3] == 0
    other = fit_glmm(
        name, x[rest][:, :3], None, y[:, rest], size=None if size is None else size[rest]
    )
    alone = fit_glmm(name, x, None, y, size=size)
    if not FAMILIES[name].overdispersed:
        assert alone.loglik[0] == pytest.approx(other.loglik[0], abs=1e-6)


def test_rows_that_determine_too_little_are_not_fitted():
    x, group, y, size = mice("binomial", 12, draws=3)
    y[1, x[:, 3] == 1] = np.nan  # a level is gone
    y[2] = np.nan
    fit = fit_glmm("binomial", x, group, y, size=size)
    assert fit.reason.tolist() == [OK, RANK, RANK]
    assert np.isnan(fit.beta[1:]).all() and np.isfinite(fit.beta[0]).all()


def test_one_yes_or_no_per_group_does_not_determine_a_spread():
    for ones in range(1, 10):
        y = (np.arange(10) < ones).astype(float)
        fit = fit_glmm("binomial", np.ones((10, 1)), np.arange(10), y, size=1)
        assert fit.reason[0] == RANK and np.isnan(fit.sd[0])


def test_all_or_nothing_outcomes_send_the_overdispersion_to_its_end():
    y = np.array([0.0, 20, 20, 0, 20, 0, 0, 20])
    fit = fit_glmm("beta-binomial", np.ones((8, 1)), None, y, size=20)
    assert fit.reason[0] == SPREAD and np.isnan(fit.dispersion[0])


def test_roughness_tells_rough_quadrature_from_fine():
    x, group, y, size = mice("binomial", 13, sd=1.5)
    rough = [
        abs(fit_glmm("binomial", x, group, y, size=size, nodes=k).roughness[0]) for k in (1, 5, 25)
    ]
    assert rough[0] > 1e-2 > rough[1] > 1e-4 and rough[2] < 1e-6
    values = [fit_glmm("binomial", x, group, y, size=size, nodes=k).loglik[0] for k in (25, 90)]
    assert values[0] == pytest.approx(values[1], abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.full((1, 36), 0.5)}, "a binomial outcome is a whole number"),
        ({"y": np.full((1, 36), 21.0)}, "more successes than trials"),
        ({"size": None}, "needs the number of trials"),
        ({"size": 19.5}, "size is not a whole number"),
        ({"size": np.ones(5)}, "size has the shape"),
        ({"nodes": 0}, "nodes = 0"),
        ({"group": np.arange(5)}, "x has 36 rows"),
        ({"group": np.full(36, -2)}, "whole number from 0, or -1"),
        ({"x": np.full((36, 1), np.inf)}, "not finite"),
        ({"family": "binomal"}, "did you mean 'binomial'"),
        ({"family": "beta-binomial", "size": 1, "y": np.ones((1, 36))}, "single trials"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(change, message):
    x, group, y, size = mice("binomial", 14)
    given = {"family": "binomial", "x": x, "group": group, "y": y, "size": size} | change
    with pytest.raises(DataError, match=message):
        fit_glmm(given.pop("family"), given.pop("x"), given.pop("group"), given.pop("y"), **given)
