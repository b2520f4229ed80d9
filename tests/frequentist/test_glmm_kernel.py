"""Adaptive quadrature against R, brute-force integration and its own differences."""

from __future__ import annotations

import json
from pathlib import Path

import formulaic
import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad

from ketastats.frequentist.families import FAMILIES, log_density
from ketastats.frequentist.glmm_batch import Batch
from ketastats.frequentist.glmm_kernel import evaluate
from ketastats.frequentist.quadrature import GlmmFit, fit_glmm

FOLDER = Path(__file__).parents[1] / "reference" / "glmm"
ANSWERS = json.loads((FOLDER / "answers.json").read_text(encoding="utf-8"))["models"]
R_RTOL = 1e-7
"""R's optima are polished by Newton steps (glmm.R); lme4's own Laplace modes are found to 2e-8, the
rest agrees to 5e-10."""
R_COVARIANCE = 5e-6
"""Relative to the standard errors: R's Hessians are numerical derivatives."""
SCORE_RTOL = 1e-7
"""Central differences of a log-likelihood of about -60 at steps of 1e-5."""
BRUTE_ATOL = 1e-8
"""60 adaptive nodes against scipy's adaptive integration, per fit of six groups."""
NAMES = tuple(FAMILIES)
FIXED = {"mice": "drug * phase + sex", "branches": "arm"}


def family_of(answer: dict) -> str:
    counts = answer.get("trials") is None
    if "overdispersed" in answer["name"]:
        return "negative-binomial" if counts else "beta-binomial"
    if "probit" in answer["name"]:
        return "binomial-probit"
    return "poisson" if counts else "binomial"


@pytest.mark.parametrize(
    "answer", ANSWERS, ids=[f"{a['name']} {a['engine']} {a['nodes']}" for a in ANSWERS]
)
def test_fit_equals_r(answer):
    frame = pd.read_csv(FOLDER / answer["table"])
    x = np.asarray(formulaic.model_matrix(FIXED[answer["table"][:-4]], frame), dtype=float)
    fit = fit_glmm(
        family_of(answer), x, pd.factorize(frame[answer["group"]])[0],
        frame[answer["outcome"]].to_numpy()[None], nodes=answer["nodes"],
        size=frame[answer["trials"]].to_numpy() if answer.get("trials") else None,
        offset=np.log(frame["length"].to_numpy()) if "length" in frame else None,
    )  # fmt: skip
    assert fit.converged[0]
    assert fit.boundary[0, 0] == (answer["sd"] == 0)
    np.testing.assert_allclose(fit.beta[0], answer["beta"], rtol=R_RTOL)
    np.testing.assert_allclose(fit.sd[0], answer["sd"], rtol=R_RTOL)
    np.testing.assert_allclose(fit.dispersion[0], answer.get("dispersion", 0.0), rtol=R_RTOL)
    np.testing.assert_allclose(fit.loglik[0], answer["loglik"], atol=1e-7)
    wanted = np.array(answer["covariance"])
    se = np.sqrt(np.diag(wanted))
    got = fit.covariance[0][: len(se), : len(se)]
    np.testing.assert_allclose(got / np.outer(se, se), wanted / np.outer(se, se), atol=R_COVARIANCE)


def drawn(name: str, seed: int, draws: int = 1, sd: float = 0.9) -> tuple:
    """Return x, group, y, size of six groups of uneven size with an overdispersed outcome."""
    rng = np.random.default_rng([seed, NAMES.index(name)])
    group = np.repeat(np.arange(6), [5, 3, 4, 2, 5, 4])
    n = len(group)
    x = np.stack([np.ones(n), np.arange(n) % 2, rng.normal(size=n)], axis=1)
    eta = x @ [0.2, 0.6, -0.3] + rng.normal(0, sd, (draws, 6))[:, group]
    size = rng.integers(8, 14, n)
    if FAMILIES[name].trials:
        p = 1 / (1 + np.exp(-eta))
        return x, group, rng.binomial(size, rng.beta(4 * p, 4 * (1 - p))).astype(float), size
    return x, group, rng.poisson(np.exp(eta + 0.5) * rng.gamma(3, 1 / 3, eta.shape)) * 1.0, None


def value_at(
    name: str, nodes: int, par: np.ndarray, x: np.ndarray, group: np.ndarray, y: np.ndarray,
    size: np.ndarray | None,
) -> tuple[float, np.ndarray, np.ndarray]:  # fmt: skip
    """Return log-likelihood, score and Hessian at beta, sigma, gamma."""
    trials = np.ones((1, len(y))) if size is None else size[None].astype(float)
    batch = Batch(FAMILIES[name], x, y[None], trials, np.zeros(len(y)), group, nodes)
    first = np.searchsorted(group, np.arange(group.max() + 2))
    score, hess = np.zeros(len(par)), np.zeros((len(par), len(par)))
    value = evaluate(
        FAMILIES[name].code, np.array(par), x, y, trials[0], np.zeros(len(y)), first, *batch.nodes,
        np.zeros(len(first) - 1), np.ones(len(first) - 1), score, hess,
    )  # fmt: skip
    return value, score, hess


@pytest.mark.parametrize("nodes", [1, 2, 3, 7, 25])
@pytest.mark.parametrize("name", NAMES)
def test_score_is_exact_for_any_number_of_nodes_anywhere(name, nodes):
    x, group, y, size = drawn(name, 1)
    par = np.array([0.4, 0.3, -0.1, 1.3, 0.3 if FAMILIES[name].overdispersed else 0.0])
    got = value_at(name, nodes, par, x, group, y[0], size)[1]
    moving = range(5 if FAMILIES[name].overdispersed else 4)
    for j in moving:
        h = 1e-5 * np.eye(5)[j]
        up, down = (value_at(name, nodes, par + s * h, x, group, y[0], size)[0] for s in (1, -1))
        assert got[j] == pytest.approx((up - down) / 2e-5, rel=SCORE_RTOL, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_louis_hessian_is_that_of_the_quadrature_with_many_nodes(name):
    x, group, y, size = drawn(name, 1)
    par = np.array([0.4, 0.3, -0.1, 1.3, 0.3 if FAMILIES[name].overdispersed else 0.0])
    hess = value_at(name, 60, par, x, group, y[0], size)[2]
    for j in range(5 if FAMILIES[name].overdispersed else 4):
        h = 1e-4 * np.eye(5)[j]
        up, down = (value_at(name, 60, par + s * h, x, group, y[0], size)[1] for s in (1, -1))
        wanted = (up - down) / 2e-4
        np.testing.assert_allclose(hess[j][:4], wanted[:4], rtol=1e-6, atol=1e-6)


def test_likelihood_is_even_in_the_spread_and_that_of_the_plain_model_at_zero():
    x, group, y, size = drawn("beta-binomial", 2)
    par = np.array([0.4, 0.3, -0.1, 0.8, 0.3])
    up = value_at("beta-binomial", 5, par, x, group, y[0], size)
    down = value_at("beta-binomial", 5, par * [1, 1, 1, -1, 1], x, group, y[0], size)
    assert up[0] == pytest.approx(down[0], rel=1e-13)
    assert up[1][3] == pytest.approx(-down[1][3], rel=1e-9)
    zero = par * [1, 1, 1, 0, 1]
    rows = log_density(FAMILIES["beta-binomial"], y[0], size, x @ zero[:3], np.full(len(x), 0.3))
    value, score, hess = value_at("beta-binomial", 25, zero, x, group, y[0], size)
    assert value == pytest.approx(rows[:, 0].sum(), rel=1e-13)
    np.testing.assert_allclose(score[:3], x.T @ rows[:, 1], rtol=1e-12)
    # the slope in sigma^2 at 0, here by values at small sigma, is half the entry of sigma
    small = value_at("beta-binomial", 25, zero + 1e-3 * np.eye(5)[3], x, group, y[0], size)[0]
    assert (small - value) / 1e-6 == pytest.approx(hess[3, 3] / 2, rel=1e-4)


def brute(name: str, beta, sd, gamma, x, group, y, size) -> float:
    """Return the log-likelihood by scipy's integration, group by group."""
    total = 0.0
    for g in np.unique(group):
        rows = np.flatnonzero(group == g)
        trials = np.ones(len(rows)) if size is None else size[rows]

        def log_joint(v: float, rows=rows, trials=trials) -> float:
            eta = x[rows] @ beta + sd * v
            like = log_density(FAMILIES[name], y[rows], trials, eta, np.full(len(rows), gamma))
            return float(like[:, 0].sum()) - 0.5 * v * v - 0.5 * np.log(2 * np.pi)

        grid = np.linspace(-8, 8, 321)
        peak = max(log_joint(v) for v in grid)
        inside = quad(
            lambda v, f=log_joint, c=peak: np.exp(f(v) - c), -9, 9, epsabs=1e-13, epsrel=1e-12,
            limit=400, points=[grid[np.argmax([log_joint(v) for v in grid])]],
        )[0]  # fmt: skip
        total += peak + np.log(inside)
    return total


def gamma_of(fit: GlmmFit) -> float:
    d = float(fit.dispersion[0])
    return d / (1 - d) if fit.family.name == "beta-binomial" else d


@pytest.mark.parametrize("name", NAMES)
def test_log_likelihood_equals_brute_force_integration_and_is_highest_there(name):
    x, group, y, size = drawn(name, 3)
    fit = fit_glmm(name, x, group, y, size=size, nodes=60)
    assert fit.converged[0] and not fit.boundary[0, 0]
    at = (fit.beta[0], float(fit.sd[0]), gamma_of(fit))
    top = brute(name, *at, x, group, y[0], size)
    assert fit.loglik[0] == pytest.approx(top, abs=BRUTE_ATOL)
    se = np.sqrt(np.diag(fit.covariance[0]))
    for j in range(3):  # a quarter of a standard error to either side: both lower, and alike
        step = 0.25 * se[j] * np.eye(3)[j]
        sides = [brute(name, at[0] + s * step, *at[1:], x, group, y[0], size) for s in (1, -1)]
        assert max(sides) < top
    for s in (1, -1):
        assert brute(name, at[0], at[1] * (1 + 0.05 * s), at[2], x, group, y[0], size) < top
        if at[2] > 0:
            assert brute(name, *at[:2], at[2] * (1 + 0.05 * s), x, group, y[0], size) < top


def test_rows_without_a_group_have_no_random_intercept():
    """Mice without a cage: the log-likelihood is that of the loose rows and of the caged, added."""
    x, group, y, size = drawn("binomial", 7)
    loose = group < 2
    fit = fit_glmm("binomial", x, np.where(loose, -1, group - 2), y, size=size)
    assert fit.modes.shape == (1, 4) and not fit.boundary[0, 0]

    def value(beta: np.ndarray, sd: float) -> float:
        plain = log_density(
            FAMILIES["binomial"], y[0, loose], size[loose], x[loose] @ beta, np.zeros(loose.sum())
        )
        par, rest = np.array([*beta, sd, 0.0]), ~loose
        caged = value_at("binomial", 25, par, x[rest], group[rest] - 2, y[0, rest], size[rest])
        return float(plain[:, 0].sum() + caged[0])

    top = value(fit.beta[0], fit.sd[0])
    assert fit.loglik[0] == pytest.approx(top, rel=1e-13)
    for j in range(3):
        assert max(value(fit.beta[0] + s * np.eye(3)[j], fit.sd[0]) for s in (1e-3, -1e-3)) < top
    assert max(value(fit.beta[0], fit.sd[0] * s) for s in (1.001, 0.999)) < top
    none = fit_glmm("binomial", x, np.full(len(x), -1), y, size=size)
    assert none.loglik[0] == fit_glmm("binomial", x, None, y, size=size).loglik[0]


@pytest.mark.parametrize("nodes", [1, 9, 40])
@pytest.mark.parametrize("name", NAMES)
def test_covariance_is_the_inverse_of_the_numerical_information(name, nodes):
    """Of the reported parameters, by differences of the kernel's value only."""
    x, group, y, size = drawn(name, 4)
    fit = fit_glmm(name, x, group, y, size=size, nodes=nodes)
    assert fit.converged[0] and not fit.boundary.any()
    best = np.concatenate([fit.beta[0], fit.sd, fit.dispersion])[: len(fit.spreads) + 3]

    def value(par: np.ndarray) -> float:
        rho = par[4] if len(par) > 4 else 0.0
        gamma = rho / (1 - rho) if name == "beta-binomial" else rho
        return value_at(name, nodes, np.array([*par[:4], gamma]), x, group, y[0], size)[0]

    se = np.sqrt(np.diag(fit.covariance[0]))
    h, p = 3e-3 * np.diag(se), len(se)
    information = np.empty((p, p))
    for i in range(p):
        for j in range(p):
            corners = [value(best + a * h[i] + b * h[j]) for a in (1, -1) for b in (1, -1)]
            information[i, j] = -(corners[0] - corners[1] - corners[2] + corners[3])
    information /= 4 * np.outer(np.diag(h), np.diag(h)) / np.outer(se, se)
    got = fit.covariance[0] / np.outer(se, se)
    # second differences at steps of 3e-3 standard errors: 1e-14 * 60 / 1e-5, and truncation
    np.testing.assert_allclose(got, np.linalg.inv(information), atol=2e-4)
    assert np.abs(fit.score[0] * se).max() < 1e-7
