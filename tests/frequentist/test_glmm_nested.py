"""Two nested random intercepts: against R, integration in two dimensions, the model with one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from ketastats.core.errors import DataError, FormulaError
from ketastats.frequentist.families import FAMILIES, log_density
from ketastats.frequentist.glmm import glmm, glmm_many
from ketastats.frequentist.glmm_batch import _hermite
from ketastats.frequentist.glmm_bootstrap import Bootstrap, draw_outcomes
from ketastats.frequentist.glmm_kernel import evaluate
from ketastats.frequentist.glmm_nested import evaluate_nested
from ketastats.frequentist.quadrature import fit_glmm

FOLDER = Path(__file__).parents[1] / "reference" / "glmm"
ANSWERS = json.loads((FOLDER / "nested.json").read_text(encoding="utf-8"))["models"]
R_RTOL = 1e-7
"""R's optima are polished by Newton steps (nested.R); lme4's Laplace modes are found to 2e-8,
glmmTMB agrees to 2e-10."""
R_COVARIANCE = 5e-6
"""Relative to the standard errors: R's Hessians are numerical derivatives."""
SCORE_RTOL = 1e-7
"""Central differences of a log-likelihood of about -60 at steps of 1e-5."""
BRUTE_ATOL = 1e-9
"""40 x 40 adaptive nodes against 361 x 361 points of a grid."""
SAME = 1e-7
"""Two searches for one maximum, each within 1e-9 standard errors."""
NAMES = tuple(FAMILIES)
Q = 3


def drawn(name: str, seed: int, draws: int = 1, sd: float = 0.9, inner_sd: float = 0.7) -> tuple:
    """Return x, group, inner, y, size: six mice of two to four branches, three rows of each."""
    rng = np.random.default_rng([seed, NAMES.index(name)])
    branches = np.array([3, 2, 4, 3, 2, 4])
    inner = np.repeat(np.arange(branches.sum()), 3)
    group = np.repeat(np.arange(6), 3 * branches)
    n = len(group)
    x = np.stack([np.ones(n), np.arange(n) % 2, rng.normal(size=n)], axis=1)
    own = rng.normal(0, sd, (draws, 6))[:, group]
    eta = x @ [0.2, 0.6, -0.3] + own + rng.normal(0, inner_sd, (draws, 18))[:, inner]
    size = rng.integers(8, 14, n)
    over = FAMILIES[name].overdispersed
    if FAMILIES[name].trials:
        p = expit(eta)
        p = rng.beta(6 * p, 6 * (1 - p)) if over else p
        return x, group, inner, rng.binomial(size, p).astype(float), size
    mu = np.exp(eta + 0.7) * (rng.gamma(4, 1 / 4, eta.shape) if over else 1.0)
    return x, group, inner, rng.poisson(mu).astype(float), None


def value_at(name, nodes, par, x, group, inner, y, size) -> tuple:
    """Return log-likelihood, score and Hessian at beta, sigma, gamma, kappa."""
    groups, parts, p = group.max() + 1, inner.max() + 1, len(par)
    first = np.searchsorted(group, np.arange(groups + 1))
    second = np.searchsorted(inner, np.arange(parts + 1))
    score, hess, zero = np.zeros(p), np.zeros((p, p)), np.zeros(len(y))
    m = np.ones(len(y)) if size is None else size.astype(float)
    value = evaluate_nested(
        FAMILIES[name].code, np.array(par), x, y, m, zero, first, *_hermite(nodes), second,
        np.searchsorted(second, first), np.zeros(groups + parts), np.ones(groups + parts), score,
        hess,
    )  # fmt: skip
    return value, score, hess


def parameters(name: str) -> np.ndarray:
    return np.array([0.4, 0.3, -0.1, 1.1, 0.2 if FAMILIES[name].overdispersed else 0.0, 0.8])


def moving(name: str) -> list[int]:
    return [j for j in range(6) if j != 4 or FAMILIES[name].overdispersed]


# ---- against R ----------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ANSWERS, ids=[f"{a['family']} {a['engine']}" for a in ANSWERS])
def test_with_one_node_it_is_the_laplace_approximation_of_lme4_and_glmmtmb(answer):
    amount = {"size": "trials"} if answer["outcome"] in ("mature", "uneven") else {}
    data = pd.read_csv(FOLDER / "nested.csv")
    fit = glmm(
        f"{answer['outcome']} ~ arm + (1 | mouse/branch)", data, family=answer["family"], nodes=1,
        **(amount or {"exposure": "length"}),
    )  # fmt: skip
    assert fit.status == "ok"
    spreads = [answer[k] for k in ("sd", "dispersion", "inner_sd") if k in answer]
    np.testing.assert_allclose(fit.coefficients["estimate"], answer["beta"], rtol=R_RTOL)
    np.testing.assert_allclose(fit.spreads["estimate"], spreads, rtol=R_RTOL)
    assert fit.loglik == pytest.approx(answer["loglik"], abs=1e-7)
    wanted = np.array(answer["covariance"])
    se = np.sqrt(np.diag(wanted))
    scaled = fit.fit.covariance[0] / np.outer(se, se)
    np.testing.assert_allclose(scaled, wanted / np.outer(se, se), atol=R_COVARIANCE)
    np.testing.assert_allclose(fit.coefficients["se"], se[:2], rtol=R_COVARIANCE)
    assert list(fit.spreads.index)[0 :: len(spreads) - 1] == ["sd mouse", "sd mouse:branch"]
    squares = [answer["sd"] ** 2, answer["inner_sd"] ** 2]
    np.testing.assert_allclose(fit.variance, squares, rtol=3 * R_RTOL)


# ---- brute force and differences ----------------------------------------------------------------


def brute(name: str, par: np.ndarray, x, group, inner, y, size) -> float:
    """Sum over a grid of v and u: the trapezoid rule from -9 to 9 in steps of 0.05.

    For such integrands its error falls as exp(-2 pi d / h), d their distance from a pole (Trefethen
    & Weideman 2014): far under 1e-12.
    """
    kind, m = FAMILIES[name], np.ones(len(y)) if size is None else size.astype(float)
    grid = np.arange(-9.0, 9.025, 0.05)
    weight, total = 0.05 * norm.pdf(grid), 0.0
    shift = (par[3] * grid[:, None] + par[5] * grid).ravel()
    for g in np.unique(group):
        of_v = weight.copy()
        for b in np.unique(inner[group == g]):
            logs = np.zeros(len(shift))
            for i in np.flatnonzero(inner == b):
                ones = np.ones(len(shift))
                eta, gamma = x[i] @ par[:Q] + shift, par[4] * ones
                logs += log_density(kind, y[i] * ones, m[i] * ones, eta, gamma)[:, 0]
            of_v *= np.exp(logs).reshape(len(grid), -1) @ weight
        total += np.log(of_v.sum())
    return float(total)


@pytest.mark.parametrize("name", NAMES)
def test_many_nodes_are_integration_in_two_dimensions(name):
    """Two mice, two branches each."""
    x, group, inner, y, size = drawn(name, 21)
    keep = np.isin(inner, [0, 1, 3, 4]) & (np.arange(len(y)) % 3 < 2)
    x, group, y = x[keep], group[keep], y[0, keep]
    inner = np.unique(inner[keep], return_inverse=True)[1]
    size = None if size is None else size[keep]
    par = parameters(name)
    got = value_at(name, 40, par, x, group, inner, y, size)[0]
    assert got == pytest.approx(brute(name, par, x, group, inner, y, size), abs=BRUTE_ATOL)


@pytest.mark.parametrize("nodes", [1, 2, 3, 7, 25])
@pytest.mark.parametrize("name", NAMES)
def test_score_is_exact_for_any_number_of_nodes_anywhere(name, nodes):
    x, group, inner, y, size = drawn(name, 22)
    rest = (x, group, inner, y[0], size)
    for held in (None, 3, 5):
        par = parameters(name)
        if held is not None:
            par[held] = 0.0
        got = value_at(name, nodes, par, *rest)[1]
        for j in moving(name):
            h = 1e-5 * np.eye(6)[j]
            up, down = (value_at(name, nodes, par + s * h, *rest)[0] for s in (1, -1))
            if j != held:
                assert got[j] == pytest.approx((up - down) / 2e-5, rel=SCORE_RTOL, abs=1e-6)
            else:
                assert got[j] == 0


@pytest.mark.parametrize("name", NAMES)
def test_louis_hessian_is_that_of_the_quadrature_with_many_nodes(name):
    x, group, inner, y, size = drawn(name, 23)
    par, rest = parameters(name), (x, group, inner, y[0], size)
    hess, index = value_at(name, 40, par, *rest)[2], moving(name)
    for j in index:
        h = 1e-4 * np.eye(6)[j]
        up, down = (value_at(name, 40, par + s * h, *rest)[1] for s in (1, -1))
        np.testing.assert_allclose(
            hess[j, index], ((up - down) / 2e-4)[index], rtol=2e-6, atol=1e-5
        )


@pytest.mark.parametrize("name", NAMES)
def test_at_a_spread_of_zero_the_slope_in_its_square_is_known(name):
    x, group, inner, y, size = drawn(name, 24)
    for j in (3, 5):
        par, step = parameters(name), 1e-2 * np.eye(6)[j]
        par[j] = 0.0
        low, _, hess = value_at(name, 25, par, x, group, inner, y[0], size)
        high = value_at(name, 25, par + step, x, group, inner, y[0], size)[0]
        # the next term of the series is of order 1e-4 of the fourth derivative
        assert hess[j, j] == pytest.approx(2e4 * (high - low), rel=0.01, abs=0.1)


# ---- identities ---------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 9])
@pytest.mark.parametrize("name", NAMES)
def test_with_one_spread_at_zero_it_is_the_model_with_the_other(name, nodes):
    x, group, inner, y, size = drawn(name, 25)
    for j, which in ((5, group), (3, inner)):
        par = parameters(name)
        par[j] = 0.0
        alone = np.array([*par[:3], par[5] if j == 3 else par[3], par[4]])
        first = np.searchsorted(which, np.arange(which.max() + 2))
        score, hess = np.zeros(5), np.zeros((5, 5))
        m = np.ones(len(y[0])) if size is None else size.astype(float)
        wanted = evaluate(
            FAMILIES[name].code, alone, x, y[0], m, np.zeros(len(m)), first, *_hermite(nodes),
            np.zeros(len(first) - 1), np.ones(len(first) - 1), score, hess,
        )  # fmt: skip
        got = value_at(name, nodes, par, x, group, inner, y[0], size)
        assert got[0] == pytest.approx(wanted, rel=1e-14)
        np.testing.assert_allclose(got[1][:3], score[:3], rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_on_a_boundary_the_fit_is_that_with_one_random_intercept(name):
    """Branches do not differ: about half of the fits hold their spread at 0."""
    x, group, inner, y, size = drawn(name, 26, draws=30, inner_sd=0.0)
    fit = fit_glmm(name, x, group, y, size=size, inner=inner, nodes=9)
    one = fit_glmm(name, x, group, y, size=size, nodes=9)
    both = fit.converged & one.converged
    assert both.sum() > 26
    zero = both & fit.boundary[:, 2]
    assert 6 < zero.sum() < 28
    np.testing.assert_allclose(fit.beta[zero], one.beta[zero], rtol=SAME, atol=1e-8)
    np.testing.assert_allclose(fit.loglik[zero], one.loglik[zero], rtol=1e-12)
    q, p = Q, one.covariance.shape[1]
    np.testing.assert_allclose(
        fit.covariance[zero][:, :p, :p], one.covariance[zero], rtol=1e-5, atol=1e-8
    )
    assert np.all(fit.covariance[zero][:, p] == 0) and np.all(fit.inner_sd[zero] == 0)
    assert np.all(fit.loglik[both] >= one.loglik[both] - 1e-8)
    assert np.all(fit.loglik[both & ~zero] > one.loglik[both & ~zero])
    # and where mice do not differ, it is the model of branches
    x, group, inner, y, size = drawn(name, 27, draws=30, sd=0.0)
    fit = fit_glmm(name, x, group, y, size=size, inner=inner, nodes=9)
    one = fit_glmm(name, x, inner, y, size=size, nodes=9)
    zero = fit.converged & fit.boundary[:, 0] & one.converged
    assert zero.sum() > 6
    np.testing.assert_allclose(fit.beta[zero], one.beta[zero], rtol=SAME, atol=1e-8)
    np.testing.assert_allclose(fit.inner_sd[zero], one.sd[zero], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(
        fit.covariance[zero][:, :q, :q], one.covariance[zero][:, :q, :q], rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_outcome_in_a_batch_is_the_outcome_alone_and_missing_rows_are_left_out(name):
    x, group, inner, y, size = drawn(name, 28, draws=4)
    y[1, [0, 5]] = np.nan
    y[2, inner == 4] = np.nan  # a whole branch
    y[3, group == 1] = np.nan  # a whole mouse
    batch = fit_glmm(name, x, group, y, size=size, inner=inner, nodes=7)
    parts = ("beta", "sd", "inner_sd", "dispersion", "loglik", "covariance", "modes", "inner_modes")
    rng = np.random.default_rng(2)
    for b in range(4):
        alone = fit_glmm(name, x, group, y[b], size=size, inner=inner, nodes=7)
        for part in (*parts, "reason", "boundary", "iterations"):
            np.testing.assert_array_equal(getattr(batch, part)[b], getattr(alone, part)[0])
        keep = rng.permutation(np.flatnonzero(~np.isnan(y[b])))
        label, name_of = rng.permutation(18), rng.permutation(6)
        other = fit_glmm(
            name, x[keep], name_of[group][keep], y[b][None, keep], inner=label[inner][keep],
            size=None if size is None else size[keep], nodes=7,
        )  # fmt: skip
        for part in parts[:6]:
            np.testing.assert_allclose(
                getattr(batch, part)[b], getattr(other, part)[0], rtol=1e-6, atol=1e-8
            )


def test_the_modes_are_those_of_the_joint_density():
    x, group, inner, y, size = drawn("binomial", 29)
    fit = fit_glmm("binomial", x, group, y, size=size, inner=inner, nodes=5)
    v, u = fit.modes[0] / fit.sd[0], fit.inner_modes[0] / fit.inner_sd[0]
    eta = x @ fit.beta[0] + fit.modes[0][group] + fit.inner_modes[0][inner]
    left = y[0] - size * expit(eta)
    np.testing.assert_allclose(fit.sd[0] * np.bincount(group, left), v, atol=1e-8)
    np.testing.assert_allclose(fit.inner_sd[0] * np.bincount(inner, left), u, atol=1e-8)
    # their spread is that of the inverse of the joint curvature
    z = np.hstack([np.eye(6)[group] * fit.sd[0], np.eye(18)[inner] * fit.inner_sd[0]])
    weight = size * expit(eta) * expit(-eta)
    spread = np.sqrt(np.diag(np.linalg.inv(z.T * weight @ z + np.eye(24))))
    np.testing.assert_allclose(fit.mode_sd[0], fit.sd[0] * spread[:6], rtol=1e-6)
    np.testing.assert_allclose(fit.inner_mode_sd[0], fit.inner_sd[0] * spread[6:], rtol=1e-6)


# ---- from formula to answer ---------------------------------------------------------------------


def table(mice: int = 16, seed: int = 3, inner_sd: float = 0.6) -> pd.DataFrame:
    """Return synthetic successes of 12 on three branches of every mouse, two rows of each."""
    rng = np.random.default_rng(seed)
    d = pd.DataFrame(
        [(f"m{m}", "AB"[m % 2], f"b{b}", t) for m in range(mice) for b in range(3) for t in "xy"],
        columns=["mouse", "drug", "branch", "time"],
    )
    mouse, branch = pd.factorize(d["mouse"])[0], pd.factorize(d["mouse"] + d["branch"])[0]
    eta = rng.normal(0, 0.7, mice)[mouse] + rng.normal(0, inner_sd, 3 * mice)[branch]
    return d.assign(of=12, hits=rng.binomial(12, expit(eta)))


def binomial(data: pd.DataFrame, formula: str = "hits ~ drug * time + (1 | mouse/branch)", **more):
    return glmm(formula, data, **({"family": "binomial", "size": "of"} | more))


def test_shares_of_the_population_are_integrals_over_both():
    fit = binomial(table())
    total = np.sqrt(fit.variance.sum())
    means = fit.means("drug", "time", scale="natural")["estimate"]
    for eta, got in zip(fit.means("drug", "time")["estimate"], means, strict=True):
        wanted = quad(lambda v, e=eta: expit(e + total * v) * norm.pdf(v), -12, 12, epsabs=1e-13)[0]
        assert got == pytest.approx(wanted, rel=1e-10)
    new = fit.predict(table().iloc[:2])
    assert new[0] == pytest.approx(means.loc["A", "x"], rel=1e-12)
    modes = fit.fit.modes[0][fit.rows.group] + fit.fit.inner_modes[0][fit.rows.inner]
    eta = fit.problem.x @ fit.fit.beta[0] + modes
    np.testing.assert_allclose(fit.predict(), expit(eta), rtol=1e-13)
    np.testing.assert_allclose(fit.predict(scale="link"), eta, atol=1e-14)


def test_the_delta_error_knows_both_spreads():
    """Of a share, by differences in the coefficients and in both standard deviations."""
    fit = binomial(table())
    row = fit.problem.x[fit.problem.fixed.matrix(table().iloc[:1])[0].astype(bool).argmax()]
    beta, sds = fit.fit.beta[0], np.array([fit.fit.sd[0], fit.fit.inner_sd[0]])

    def share(par: np.ndarray) -> float:
        at, total = row @ par[:4], np.hypot(*par[4:])
        return quad(lambda v: expit(at + total * v) * norm.pdf(v), -12, 12, epsabs=1e-13)[0]

    par = np.concatenate([beta, sds])
    slope = np.array([(share(par + h) - share(par - h)) / 2e-5 for h in 1e-5 * np.eye(6)])
    got = fit.contrast({"drug": "A"}, within={"time": "x"}, scale="natural").iloc[0]
    assert got["estimate"] == pytest.approx(share(par), rel=1e-10)
    assert got["se"] == pytest.approx(np.sqrt(slope @ fit.fit.covariance[0] @ slope), rel=1e-6)


def test_it_says_what_it_fitted_and_is_compared_with_one_random_intercept():
    d = table()
    fit, one = binomial(d), binomial(d, "hits ~ drug * time + (1 | mouse)", nodes=11)
    assert (fit.rows.nodes, binomial(d, "hits ~ drug + (1 | mouse)").rows.nodes) == (11, 25)
    assert "96 rows of 16 groups of mouse, 48 groups of mouse:branch" in str(fit)
    assert list(fit.spreads.index) == ["sd mouse", "sd mouse:branch"]
    assert fit.n_parameters == 6 and "ML, 11 nodes" in fit.contrast({"drug": "B - A"})["method"][0]
    ratio = fit.compare(one)
    assert ratio.df == 1 and ratio.statistic == pytest.approx(2 * (fit.loglik - one.loglik))
    inner = binomial(d, "hits ~ drug * time + (1 | mouse:branch)", nodes=11)
    assert fit.compare(inner).statistic >= 0
    written = binomial(d, "hits ~ drug * time + (1 | mouse:branch) + (1 | mouse)")
    assert written.loglik == fit.loglik and list(written.variance.index) == [
        "mouse",
        "mouse:branch",
    ]
    between = binomial(d, ddf="between")
    assert between.df == 14  # 16 mice, not 48 branches
    drawn_ = fit.contrast({"drug": "B - A"}, interval="bootstrap", draws=39)
    assert drawn_["status"][0] in ("ok", "boundary") and 0 < drawn_["p"][0] <= 1


def test_the_bootstrap_draws_both_random_intercepts():
    """Rows of one branch are alike, of one mouse less so: correlations on the link scale."""
    d = table(mice=40, inner_sd=0.9).assign(of=300)
    d["hits"] = np.random.default_rng(4).binomial(300, expit(np.tile([0.4, -0.3], 120)))
    fit = binomial(d, "hits ~ time + (1 | mouse/branch)", nodes=3)
    fit.fit.sd[:], fit.fit.inner_sd[:] = 0.6, 0.8
    y = draw_outcomes(fit.rows, fit.fit, Bootstrap(200, 1, "hits"), range(200))
    eta = np.log((y + 0.5) / (300.5 - y)) - (fit.problem.x @ fit.fit.beta[0])
    by = eta.reshape(200, 40, 3, 2)
    assert np.mean(by[..., 0] * by[..., 1]) == pytest.approx(0.36 + 0.64, abs=0.04)
    assert np.mean(by[:, :, 0, 0] * by[:, :, 1, 0]) == pytest.approx(0.36, abs=0.04)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("drug + (1 | mouse) + (1 | time)", r"\(1 \| time\) and .* crossed.*ks.mcmc, or ks.gee"),
        ("drug + (1 | lab/mouse/branch)", "3 random terms.*two intercepts at most.*ks.gee"),
        ("drug + (1 + time | mouse) + (1 | mouse:branch)", r"slopes.*write \(1\|mouse\).*mcmc"),
        ("drug + (1 | mouse/name)", "are the same; drop one"),
        ("drug + (1 | mouse/loose)", "some rows have one of mouse and mouse:loose.*name both"),
    ],
)
def test_what_is_not_two_nested_intercepts_is_refused_with_a_mend(formula, message):
    d = table().assign(lab=lambda f: f["mouse"].str[-1], name=lambda f: f["mouse"])
    d["loose"] = d["branch"].where(d.index > 1)
    with pytest.raises((DataError, FormulaError), match=message):
        binomial(d, f"hits ~ {formula}")


def test_overdispersed_rows_need_more_than_one_of_a_part():
    d = table()
    with pytest.raises(DataError, match=r"mouse:branch.* has one row per group"):
        binomial(d[d["time"] == "x"], "hits ~ drug + (1 | mouse/branch)", family="beta-binomial")


# ---- calibration --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_factor_of_branches_within_mice_needs_their_random_intercept():
    """24 mice, four branches of two kinds, three counts on each; nothing differs."""
    d = pd.DataFrame(
        [(m, b, "pq"[b % 2], r) for m in range(24) for b in range(4) for r in range(3)],
        columns=["mouse", "branch", "kind", "row"],
    )
    rng, draws = np.random.default_rng(20261122), 400
    own = rng.normal(0, 0.5, (draws, 24))[:, d["mouse"]]
    within = rng.normal(0, 0.5, (draws, 96))[:, 4 * d["mouse"] + d["branch"]]
    y = rng.poisson(np.exp(1.2 + own + within)).astype(float)
    nested, one = (
        glmm_many(f"kind + (1 | {t})", d, y, family="poisson") for t in ("mouse/branch", "mouse")
    )
    assert nested.converged.all()
    size = [(f.p[:, 1] < 0.05).mean() for f in (nested, one)]
    error = np.sqrt(0.05 * 0.95 / draws)
    assert abs(size[0] - 0.05) < 3 * error + 0.01 and size[1] > 0.2, size
    # maximum likelihood takes 1/24 off the variance of mice, less off that of 96 branches
    np.testing.assert_allclose(nested.sd.mean(), 0.5, atol=0.03)
    np.testing.assert_allclose(nested.inner_sd.mean(), 0.5, atol=0.02)
    covered = (nested.ci_low[:, 1] < 0) & (nested.ci_high[:, 1] > 0)
    assert covered.mean() == 1 - size[0]
