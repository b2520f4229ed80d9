"""The posterior against brute force, REML, and itself with other reference levels."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.polynomial.legendre import leggauss
from scipy import stats
from scipy.special import ndtr

from ketastats.bayesian import sampling
from ketastats.bayesian.answers import stacked
from ketastats.bayesian.mcmc import mcmc
from ketastats.bayesian.summaries import convergence, moments
from ketastats.frequentist.lmm import lmm
from ketastats.problem.questions import as_estimands
from ketastats.study.priors import Prior

QUANTILE = {
    "half-normal": lambda u, s: stats.halfnorm.ppf(u, scale=s),
    "exponential": lambda u, s: stats.expon.ppf(u, scale=s),
    "half-t": lambda u, df, s: stats.t.ppf((1 + u) / 2, df) * s,
}


def tiny():
    """Six synthetic animals, five rows each, a covariate far from 0, a group that some lack."""
    rng = np.random.default_rng(11)
    animal = np.repeat(np.arange(6), 5)
    dose = np.tile([3.0, 4.0, 5.0, 6.0, 7.0], 6)
    arm = np.where((animal + np.tile(np.arange(5), 6)) % 2, "b", "a")
    y = 2 + 0.8 * (arm == "b") + 0.5 * (dose - 5) + rng.normal(0, 1, 6)[animal]
    y = y + rng.normal(0, 0.4, 6)[animal] * (dose - 5) + rng.normal(0, 0.7, 30)
    cage = np.where(animal < 2, None, np.array(["k", "k", "l", "l", "m", "m"])[animal])
    return pd.DataFrame({"y": y, "animal": animal, "arm": arm, "dose": dose, "cage": cage})


def brute_force(y, x, bases, location, scale, priors, nodes):
    """Integrate the SDs on a grid; given them the coefficients are normal, exactly.

    Parameters are the mean, the SD and the probability above 0 of every coefficient, and the mean
    of every SD, the residual's last. ``bases`` are the matrices Z Z' of the random terms.
    """
    node, weight = leggauss(nodes)
    u, w = (node + 1) / 2, weight / 2
    axes = [QUANTILE[family](u, *parameters) for family, parameters in priors]
    grids = np.meshgrid(*axes, indexing="ij")
    sds = np.stack([g.ravel() for g in grids], axis=1)
    prior = np.prod(np.stack(np.meshgrid(*[w] * len(axes), indexing="ij"), axis=0), axis=0).ravel()
    stack = np.array([*bases, np.eye(len(y))])
    logs, means, sds_of = [], [], []
    for some in np.array_split(sds**2, max(1, len(sds) // 2000)):
        v = np.einsum("gr,rij->gij", some, stack)
        vinv_x = np.linalg.solve(v, np.broadcast_to(x, (len(some), *x.shape)))
        precision = x.T @ vinv_x + np.diag(1 / scale**2)
        covariance = np.linalg.inv(precision)
        e = y - x @ location
        mean = location + (covariance @ (vinv_x.transpose(0, 2, 1) @ e)[:, :, None])[:, :, 0]
        marginal = v + (x * scale**2) @ x.T
        solved = np.linalg.solve(marginal, np.broadcast_to(e[:, None], (len(some), len(e), 1)))
        logs.append(-0.5 * (np.linalg.slogdet(marginal)[1] + solved[:, :, 0] @ e))
        means.append(mean)
        sds_of.append(np.sqrt(np.einsum("gii->gi", covariance)))
    log, mean, sd = np.concatenate(logs), np.concatenate(means), np.concatenate(sds_of)
    p = prior * np.exp(log - log.max())
    p /= p.sum()
    first = p @ mean
    return {
        "mean": first,
        "sd": np.sqrt(p @ (sd**2 + mean**2) - first**2),
        "positive": p @ ndtr(mean / sd),
        "sds": p @ sds,
    }


def compare_with_brute_force(post, truth):
    """Compare within 4 Monte-Carlo standard errors: 1 in 16 000 by chance, for each number."""
    m = moments(post.draws.gamma, 0.95)
    q = len(m.mean)
    mcse, ess = post.known.mcse, post.known.ess_bulk[:q]
    assert (np.abs(m.mean - truth["mean"]) < 4 * mcse[:q]).all()
    # error of a normal sample's SD: 1 / sqrt(2 n) of it; doubled n for squares that mix less well
    assert (np.abs(m.sd / truth["sd"] - 1) < 4 / np.sqrt(ess)).all()
    spread = np.sqrt(truth["positive"] * (1 - truth["positive"]) / ess)
    assert (np.abs(m.positive - truth["positive"]) < 4 * spread + 2 / 4000).all()
    sds = np.concatenate([post.draws.sd, post.draws.own], axis=2)
    assert (np.abs(sds.mean(axis=(0, 1)) - truth["sds"]) < 4 * mcse[q:]).all()


def test_the_posterior_is_the_one_brute_force_gives():
    data = tiny()
    # narrow, so that a prior in the wrong unit would show: by 20 errors (slope), by 10 (its SD)
    priors = {"effects": "normal(0, 0.4)", "intercept": "normal(1, 3)", "sd": "half-t(4, 0.3)"}
    post = mcmc("y ~ arm + dose + (1|animal) + (0+dose|animal)", data, priors=priors)
    dose, sd = data["dose"].to_numpy(), data["dose"].std()
    x = np.column_stack([np.ones(30), np.where(data["arm"] == "b", 0.5, -0.5), dose - 5])
    same = data["animal"].to_numpy()[:, None] == data["animal"].to_numpy()
    truth = brute_force(
        data["y"].to_numpy(),
        x,
        [same * 1.0, same * np.outer(dose, dose)],
        np.array([1.0, 0.0, 0.0]),
        np.array([3.0, 0.4, 0.4 / sd]),  # the slope's prior is per SD of the dose
        [("half-t", (4, 0.3)), ("half-t", (4, 0.3 / sd)), ("half-t", (4, 0.3))],
        nodes=24,  # 40 nodes change no number by more than 0.0004
    )
    # back from the intercept at the mean dose, 5, to the problem's, at dose 0
    gamma = post.draws.gamma.copy()
    assert post.problem.names == ("Intercept", "arm[1]", "dose")
    gamma[:, :, 0] += 5 * gamma[:, :, 2]
    centred = replace(post.draws, gamma=gamma)
    compare_with_brute_force(
        replace(post, draws=centred, known=convergence(stacked(centred))), truth
    )


@pytest.mark.slow
@pytest.mark.parametrize("sd", [("half-normal", (1.0,)), ("exponential", (0.7,))])
def test_rows_without_a_group_and_other_priors_agree_with_brute_force(sd):
    data = tiny()
    text = f"{sd[0]}({sd[1][0]})"
    priors = {"effects": "normal(0, 1.5)", "intercept": "normal(1, 3)", "sd": text}
    post = mcmc("y ~ arm + (1|animal) + (1|cage)", data, priors=priors)
    x = np.column_stack([np.ones(30), np.where(data["arm"] == "b", 0.5, -0.5)])
    animal, cage = data["animal"].to_numpy(), data["cage"].to_numpy()
    together = (cage[:, None] == cage) & (cage[:, None] != None)  # noqa: E711 - element by element
    truth = brute_force(
        data["y"].to_numpy(),
        x,
        [(animal[:, None] == animal) * 1.0, together * 1.0],
        np.array([1.0, 0.0]),
        np.array([3.0, 1.5]),
        [sd] * 3,
        nodes=30,
    )
    compare_with_brute_force(post, truth)


def doses():
    """Sixteen synthetic people, three doses each, unbalanced by five lost rows."""
    rng = np.random.default_rng(3)
    person = np.repeat(np.arange(16), 3)
    dose = np.tile(["low", "mid", "high"], 16)
    sex = np.where(person % 2, "M", "F")
    y = rng.normal(0, 2, 16)[person] + 1.5 * (dose == "high") * (sex == "M") + rng.normal(0, 1, 48)
    data = pd.DataFrame({"y": y + 20, "person": person, "dose": dose, "sex": sex})
    return data.drop(index=[4, 11, 17, 30, 41])


def test_the_order_of_the_levels_changes_nothing_but_the_draws():
    answers = []
    for order in (["low", "mid", "high"], ["high", "low", "mid"]):
        data = doses()
        data["dose"] = pd.Categorical(data["dose"], categories=order)
        # a narrow prior, so that one that depended on the reference level would show
        post = mcmc("y ~ dose*sex + (1|person)", data, priors={"effects": "normal(0, 0.7)"})
        asked = [
            as_estimands(post.problem, contrast)[0]
            for contrast in (
                {"dose": "high - low"},
                {"dose": "mid - low"},
                {"dose": "high - mid", "sex": "M - F"},
                {"sex": "M - F"},
            )
        ]
        draws = post.estimand_draws(asked)
        answers.append((moments(draws, 0.95), convergence(draws)))
    (a, known_a), (b, known_b) = answers
    assert (np.abs(a.mean - b.mean) < 4 * np.hypot(known_a.mcse, known_b.mcse)).all()
    error = np.sqrt(1 / known_a.ess_bulk + 1 / known_b.ess_bulk)  # twice that of an SD
    assert (np.abs(np.log(a.sd / b.sd)) < 4 * error).all()


def test_with_wide_priors_and_many_people_it_is_reml():
    rng = np.random.default_rng(8)
    person = np.repeat(np.arange(60), 4)
    drug, time = np.tile(["p", "p", "n", "n"], 60), np.tile(["pre", "post"], 120)
    y = 30 + rng.normal(0, 4, 60)[person] + 3.0 * (drug == "n") * (time == "post")
    data = pd.DataFrame({"person": person, "drug": drug, "time": time})
    data["y"] = y + rng.normal(0, 3, 240)
    formula = "y ~ drug*time + (1|person)"
    wide = {"effects": "normal(0, 1000)", "intercept": "normal(0, 1000)", "sd": "half-t(3, 100)"}
    post, fit = mcmc(formula, data, priors=wide), lmm(formula, data)
    for contrast in ({"drug": "n - p", "time": "post - pre"}, {"drug": "n - p"}):
        b, f = post.contrast(contrast).iloc[0], fit.contrast(contrast).iloc[0]
        # balanced: the estimate does not depend on the variances, and the prior moves it by 1e-5
        mcse = convergence(post.estimand_draws(as_estimands(post.problem, contrast))).mcse[0]
        assert abs(b["estimate"] - f["estimate"]) < 4 * mcse
        # SD of a t with 177 df is 0.6 % above its scale; Monte-Carlo error of an SD 1.1 %, x 4
        assert b["se"] == pytest.approx(f["se"], rel=0.05)
        width = (b["ci_high"] - b["ci_low"]) / (f["ci_high"] - f["ci_low"])
        assert width == pytest.approx(1, abs=0.06)  # two quantiles, each known to 2 % of the SD
    sds = post.summary().loc[["sd person", "sd residual"], "mean"] ** 2
    # posterior mean of a right-skewed SD against the REML mode: 59 df, about 1/59 apart, + error
    assert sds.to_numpy() == pytest.approx(fit.variance.to_numpy(), rel=0.08)


def test_the_caller_s_compiler_settings_are_put_back():
    import pytensor

    before = pytensor.config.numba__fastmath
    with sampling.ensure_reproducible():
        assert pytensor.config.numba__fastmath is False
    assert pytensor.config.numba__fastmath is before


def test_the_start_is_least_squares_when_the_priors_are_wide():
    data = tiny()
    x = np.column_stack([np.ones(30), np.where(data["arm"] == "b", 0.5, -0.5)])
    y = data["y"].to_numpy()
    inputs = sampling.Inputs(
        y, x, (), (), (), np.zeros(2), np.full(2, 1e6), Prior("half-normal", (1e3,))
    )
    centre, step, start = sampling.unit_of(inputs)
    fitted, rss = np.linalg.lstsq(x, y, rcond=None)[:2]
    sigma = np.sqrt(rss[0] / 28)
    # three digits of the step, a tenth of a step of the centre: nothing that another thread moves
    np.testing.assert_allclose(step, sigma * np.sqrt(np.diag(np.linalg.inv(x.T @ x))), rtol=5e-3)
    assert (np.abs(centre - fitted) <= 0.0501 * step).all()
    assert start == pytest.approx(sigma, rel=5e-3)
    moved = replace(inputs, y=y + 1e-13 * np.random.default_rng(1).normal(size=30))
    for a, b in zip(sampling.unit_of(moved), (centre, step, start), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.slow
def test_a_run_that_is_too_short_fails_its_gates(madrs_arguments):
    arguments, keywords = madrs_arguments
    keywords = keywords | {"draw_cache": None}
    post = mcmc(*arguments, **keywords, tune=50, draws=100, chains=2, thin=1)
    failed = {g.name for g in post.gates if not g.passed}
    assert {"bulk ESS", "tail ESS"} <= failed  # 200 draws that follow each other
    assert set(post.contrast({"treatment": "naltrexone - placebo"})["status"]) == {"unconverged"}
