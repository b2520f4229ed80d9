"""Estimates of many questions of one kind, shrunk: brute force, identities, Gibbs, calibration."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import beta
from scipy.stats import multivariate_normal, norm

import ketastats as ks
from ketastats.bayesian import spike_slab
from ketastats.bayesian.spike_slab import effect_posterior, one_factor
from ketastats.core.errors import DataError, NotEstimable
from ketastats.diagnosis.shrinkage import shrink, shrink_estimands
from ketastats.problem.questions import as_estimands

# sums of a few thousand terms of double precision
EXACT = 1e-10
# 16 Gauss-Legendre nodes for log tau over a tenfold range against adaptive quadrature to 1e-12
QUADRATURE = 2e-9
# the trapezoidal rule for z errs by exp(-2 pi^2) = 3e-9 of a normal, twice
TRAPEZOID = 2e-8

FIELDS = ("mean", "sd", "effect", "positive", "negative")


def brute_force(e, a, d, slab):
    """Sum over which effects there are, exact in pi (uniform), adaptive in tau: no z, no nodes."""
    k = len(e)
    error = np.outer(a, a) + np.diag(d)

    def moments(log_tau):
        total = np.zeros((5, k))
        for there in itertools.product((0, 1), repeat=k):
            s = sum(there)
            prior = np.diag(np.exp(2 * log_tau) * np.array(there))
            density = multivariate_normal.pdf(e, np.zeros(k), error + prior)
            weight = beta(s + 1, k - s + 1) * density
            gain = prior @ np.linalg.inv(error + prior)
            mean, var = gain @ e, np.diagonal(prior - gain @ prior)
            on = np.array(there, dtype=bool)
            above = np.where(on, norm.sf(0, mean, np.sqrt(np.where(on, var, 1.0))), 0.0)
            total += weight * np.array([np.ones(k), mean, mean**2 + var, on, above])
        return total

    low, high = np.log(slab)
    out = np.array([
        [quad(lambda t, i=i, j=j: moments(t)[i, j], low, high, epsabs=0, epsrel=1e-11)[0]
         for j in range(k)]
        for i in range(5)
    ])  # fmt: skip
    evidence, out = out[0, 0] / (high - low), out[1:] / out[0]
    mean, square, effect, positive = out
    return evidence, {
        "mean": mean,
        "sd": np.sqrt(square - mean**2),
        "effect": effect,
        "positive": positive,
        "negative": effect - positive,
    }


@pytest.mark.parametrize(
    ("e", "a", "d"),
    [
        ([0.3, -0.05, 0.02], [0.08, 0.08, 0.08], [0.01, 0.01, 0.01]),
        ([0.4, 0.35, -0.5], [0.15, -0.05, 0.02], [0.01, 0.02, 0.004]),
        ([0.2, 0.25, 0.22], [0.0, 0.0, 0.0], [0.01, 0.03, 0.01]),
    ],
)
def test_three_effects_by_brute_force(e, a, d):
    e, a, d = map(np.array, (e, a, d))
    found = effect_posterior(e, a, d, (0.0, 1.0), (0.1, 1.0))
    evidence, wanted = brute_force(e, a, d, (0.1, 1.0))
    assert found.log_evidence == pytest.approx(np.log(evidence), abs=TRAPEZOID)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name), wanted[name], rtol=0, atol=TRAPEZOID)


def test_more_nodes_change_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    e = np.r_[np.full(5, 0.35), np.zeros(45)] + 0.09 * rng.normal() + 0.11 * rng.normal(size=50)
    args = e, np.full(50, 0.09), np.full(50, 0.0121), (0.0, 1.0), (0.22, 1.1)
    few = effect_posterior(*args)
    for name, value in {"STEP": 0.4, "REACH": 12.0, "NEGLIGIBLE": 500.0, "NODES_SLAB": 60}.items():
        monkeypatch.setattr(spike_slab, name, value)
    more = effect_posterior(*args)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(few, name), getattr(more, name), atol=QUADRATURE)


def test_effects_without_size_are_none():
    """A slab of no width holds every effect at 0, and the estimates say nothing of their share."""
    e = np.array([0.5, -0.3, 0.1, 0.0])
    found = effect_posterior(e, np.full(4, 0.1), np.full(4, 0.01), (0.0, 1.0), (1e-9, 1e-9))
    np.testing.assert_allclose(found.mean, 0, atol=1e-15)
    np.testing.assert_allclose(found.sd, 0, atol=2e-9)
    assert found.share == pytest.approx(0.5, abs=EXACT)
    np.testing.assert_allclose(found.effect, 0.5, atol=EXACT)


def test_without_shared_error_each_effect_has_the_textbook_posterior():
    """pi and tau held: the posterior of a spike and a normal slab in closed form, one by one."""
    e, d = np.array([0.5, -0.3, 0.1, 0.0]), np.array([0.01, 0.02, 0.03, 0.01])
    pi, tau = 0.2, 0.3
    found = effect_posterior(e, np.zeros(4), d, (pi, pi), (tau, tau))
    on, off = pi * norm.pdf(e, 0, np.sqrt(d + tau**2)), (1 - pi) * norm.pdf(e, 0, np.sqrt(d))
    p, keep = on / (on + off), tau**2 / (d + tau**2)
    np.testing.assert_allclose(found.effect, p, rtol=EXACT)
    np.testing.assert_allclose(found.mean, p * keep * e, rtol=EXACT, atol=1e-16)
    square = p * ((keep * e) ** 2 + keep * d)
    np.testing.assert_allclose(found.sd, np.sqrt(square - (p * keep * e) ** 2), rtol=EXACT)
    above = p * norm.cdf(keep * e / np.sqrt(keep * d))
    np.testing.assert_allclose(found.positive, above, rtol=EXACT)
    np.testing.assert_allclose(found.false_sign, 1 - np.maximum(above, p - above), rtol=EXACT)
    assert found.log_evidence == pytest.approx(np.log(on + off).sum(), rel=EXACT)


def test_order_signs_and_unit_do_not_matter():
    rng = np.random.default_rng(5)
    e, a, d = rng.normal(size=12), rng.uniform(0.2, 0.5, 12), rng.uniform(0.05, 0.2, 12)
    plain = effect_posterior(e, a, d, (0, 1), (0.5, 5.0))
    order = rng.permutation(12)
    moved = effect_posterior(e[order], a[order], d[order], (0, 1), (0.5, 5.0))
    flipped = effect_posterior(-e, a, d, (0, 1), (0.5, 5.0))
    wide = effect_posterior(1000 * e, 1000 * a, 1e6 * d, (0, 1), (500.0, 5000.0))
    for name in FIELDS:
        np.testing.assert_allclose(getattr(moved, name), getattr(plain, name)[order], rtol=EXACT)
    np.testing.assert_allclose(flipped.mean, -plain.mean, atol=TRAPEZOID)
    np.testing.assert_allclose(flipped.negative, plain.positive, atol=TRAPEZOID)
    np.testing.assert_allclose(wide.mean, 1000 * plain.mean, rtol=EXACT)
    np.testing.assert_allclose(wide.effect, plain.effect, rtol=EXACT)


def test_a_change_of_all_alike_is_taken_for_the_shared_error():
    """With a shared error of 100 own ones a constant added to all estimates changes nothing."""
    rng = np.random.default_rng(6)
    e = np.r_[0.8, 0.0, 0.0, rng.normal(0, 0.1, 20)]
    a, d = np.full(23, 10.0), np.full(23, 0.01)
    plain, lifted = (effect_posterior(x, a, d, (0, 1), (0.2, 2.0)) for x in (e, e + 3.0))
    # the prior of z tilts the posterior by 3 / 10 SDs of 10, over the own error's 0.02
    np.testing.assert_allclose(lifted.effect, plain.effect, atol=3e-4)
    np.testing.assert_allclose(lifted.mean, plain.mean, atol=3e-4)


def test_one_estimate_is_a_family_of_one():
    found = effect_posterior(np.array([0.3]), np.zeros(1), np.array([0.01]), (0, 1), (0.2, 0.2))
    on, off = norm.pdf(0.3, 0, np.hypot(0.1, 0.2)), norm.pdf(0.3, 0, 0.1)
    assert found.effect[0] == pytest.approx(on / (on + off), rel=EXACT)  # pi has the mean 1/2


def gibbs(e, a, d, slab, *, chains, sweeps, burn, rng):
    """Sample the same model; many short chains. tau by inversion on a grid of 400."""
    k = len(e)
    grid = np.exp(np.linspace(*np.log(slab), 401))
    grid = np.sqrt(grid[1:] * grid[:-1])
    pi, tau, z = np.full(chains, 0.3), np.full(chains, grid[200]), np.zeros(chains)
    kept = []
    for sweep in range(sweeps):
        r = e - z[:, None] * a
        wide = d + tau[:, None] ** 2
        odds = np.log(pi / (1 - pi))[:, None] + 0.5 * (np.log(d / wide) + r**2 * (1 / d - 1 / wide))
        on = rng.random((chains, k)) < 1 / (1 + np.exp(-odds))
        keep = tau[:, None] ** 2 / wide
        theta = np.where(on, keep * r + np.sqrt(keep * d) * rng.normal(size=(chains, k)), 0.0)
        precision = 1 + (a**2 / d).sum()
        z = ((e - theta) * a / d).sum(axis=1) / precision
        z += rng.normal(size=chains) / np.sqrt(precision)
        count = on.sum(axis=1)
        pi = rng.beta(1 + count, 1 + k - count)
        logs = -count[:, None] * np.log(grid) - 0.5 * (theta**2).sum(axis=1)[:, None] / grid**2
        cdf = np.exp(logs - logs.max(axis=1, keepdims=True)).cumsum(axis=1)
        tau = grid[(cdf < rng.random((chains, 1)) * cdf[:, -1:]).sum(axis=1)]
        if sweep >= burn:
            kept.append(theta)
    return np.array(kept)  # (kept sweeps, chains, K)


def test_a_long_gibbs_run_agrees():
    rng = np.random.default_rng(11)
    k = 12
    a, d = np.full(k, 0.09), np.full(k, 0.012)
    truth = np.r_[0.4, 0.35, np.zeros(k - 2)]
    e = truth + 0.09 * rng.normal() + np.sqrt(0.012) * rng.normal(size=k)
    found = effect_posterior(e, a, d, (0.0, 1.0), (0.2, 1.1))
    draws = gibbs(e, a, d, (0.2, 1.1), chains=400, sweeps=450, burn=50, rng=rng)
    chains = {
        "mean": draws.mean(axis=0),
        "effect": (draws != 0).mean(axis=0),
        "positive": (draws > 0).mean(axis=0),
        "negative": (draws < 0).mean(axis=0),
    }
    for name, values in chains.items():  # chains are independent: their spread gives the error
        error = values.std(axis=0, ddof=1) / np.sqrt(values.shape[0])
        assert (np.abs(values.mean(axis=0) - getattr(found, name)) < 4.5 * error + 1e-4).all(), name
    square = (draws**2).mean(axis=(0, 1))
    np.testing.assert_allclose(
        np.sqrt(square - chains["mean"].mean(axis=0) ** 2), found.sd, atol=2e-3
    )


@pytest.mark.slow
def test_probabilities_are_calibrated_where_the_prior_draws_the_truth():
    rng = np.random.default_rng(2)
    k, families = 30, 1500
    a, d = np.full(k, 0.09), np.full(k, 0.012)
    slab = (0.22, 1.1)
    p, false_sign, there, wrong, z = [], [], [], [], []
    for _ in range(families):
        pi, tau = rng.random(), np.exp(rng.uniform(*np.log(slab)))
        theta = np.where(rng.random(k) < pi, tau * rng.normal(size=k), 0.0)
        e = theta + 0.09 * rng.normal() + np.sqrt(0.012) * rng.normal(size=k)
        found = effect_posterior(e, a, d, (0.0, 1.0), slab)
        sign = np.where(found.positive >= found.negative, 1, -1)
        p.append(found.effect)
        false_sign.append(found.false_sign)
        there.append(theta != 0)
        wrong.append(np.sign(theta) != sign)
        z.append((theta - found.mean) ** 2 / np.maximum(found.sd, 1e-12) ** 2)
    for stated, event in ((p, there), (false_sign, wrong)):
        stated, event = np.array(stated), np.array(event)
        for low, high in itertools.pairwise((0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95, 1)):
            inside = (stated >= low) & (stated < high)
            gap = np.where(inside, event - stated, 0.0).sum(axis=1)  # effects of a family depend
            n = inside.sum()
            assert n > 100, (low, high)
            error = np.sqrt((gap**2).sum()) / n
            assert abs(gap.sum() / n) < 4 * error, (low, high, gap.sum() / n, error)
    # squared errors have the posterior variance on average
    z = np.array(z).mean(axis=1)
    assert abs(z.mean() - 1) < 4 * z.std() / np.sqrt(families)


# the covariance of estimates


def test_one_factor_takes_a_covariance_apart_and_names_what_is_left():
    rng = np.random.default_rng(1)
    a, d = rng.uniform(0.2, 0.6, 10), rng.uniform(0.1, 0.3, 10)
    loading, own, left = one_factor(np.outer(a, a) + np.diag(d))
    # the iteration stops when squares move by less than 1e-13 of the largest variance
    np.testing.assert_allclose(loading, a, rtol=1e-8)
    np.testing.assert_allclose(own, d, rtol=1e-8)
    assert left < 1e-8
    same = one_factor(0.02 * np.eye(60) + 0.01)
    np.testing.assert_allclose(same[0], 0.1, rtol=1e-12)
    np.testing.assert_allclose(same[1], 0.02, rtol=1e-12)
    alone = one_factor(np.diag(d))
    assert not alone[0].any() and alone[2] == 0
    np.testing.assert_array_equal(alone[1], d)


def test_two_causes_of_shared_error_are_refused():
    blocks = 0.5 * np.eye(10) + 0.5 * np.kron(np.eye(2), np.ones((5, 5)))
    with pytest.raises(NotEstimable, match=r"leaves a correlation of 0\.5"):
        shrink(np.zeros(10), covariance=blocks)


def test_covariance_and_standard_errors_say_the_same():
    e = np.linspace(-0.2, 0.5, 12)
    one = shrink(e, np.full(12, 0.15), shared=0.09)
    two = shrink(e, covariance=(0.15**2 - 0.09**2) * np.eye(12) + 0.09**2)
    pd.testing.assert_frame_equal(one, two, rtol=1e-9)
    assert one["own_se"].iloc[0] == pytest.approx(0.12)


@pytest.fixture(scope="module")
def brain():
    """Twelve mice of two drugs, ten regions each."""
    rng = np.random.default_rng(8)
    drug, regions = np.repeat(["a", "b"], [5, 7]), [f"r{i}" for i in range(10)]
    frame = pd.DataFrame(
        [(f"m{m}", drug[m], r) for m in range(12) for r in regions],
        columns=["subject", "drug", "region"],
    )
    mouse = np.repeat(rng.normal(0, 0.4, 12), 10)
    there = (frame["drug"] == "b") & (frame["region"] == "r3")
    return frame.assign(y=1.5 * there + mouse + rng.normal(0, 0.3, 120))


def test_errors_come_from_the_fit_as_mean_squares_have_them(brain):
    """Balanced over regions: the classical mean squares give the shared and the own error."""
    fit = ks.lmm("y ~ drug * region + (1 | subject)", brain)
    asked = [
        as_estimands(fit.problem, {"drug": "b - a"}, {"region": f"r{i}"})[0] for i in range(10)
    ]
    table = shrink_estimands(fit, asked)
    wide = brain.pivot(index="subject", columns="region", values="y")
    drug = brain.groupby("subject")["drug"].first().loc[wide.index]
    rest = wide - wide.groupby(drug).transform("mean")
    of_mice = 10 * (rest.mean(axis=1) ** 2).sum() / 10
    within = (rest.sub(rest.mean(axis=1), axis=0) ** 2).to_numpy().sum() / 90
    per_mouse = 1 / 5 + 1 / 7
    # REML equals the mean squares to its convergence
    np.testing.assert_allclose(table["own_se"], np.sqrt(within * per_mouse), rtol=1e-8)
    shared = (of_mice - within) / 10 * per_mouse
    np.testing.assert_allclose(table["se"] ** 2 - table["own_se"] ** 2, shared, rtol=1e-7)
    assert table.index.tolist() == [e.name for e in asked]
    assert table["p_effect"].idxmax() == asked[3].name
    assert table["false_sign"].idxmin() == asked[3].name


def test_a_question_without_an_answer_is_refused_by_name(brain):
    fit = ks.lmm("y ~ drug + region + (1 | subject)", brain)
    asked = as_estimands(fit.problem, {"drug": "b - a", "region": "r1 - r0"})
    with pytest.raises(NotEstimable, match="cannot answer b - a, r1 - r0: the model holds it at"):
        shrink_estimands(fit, asked)


def test_a_table_of_estimates_keeps_its_names():
    frame = pd.DataFrame({"estimand": ["x", "y"], "estimate": [0.1, 0.9], "se": [0.1, 0.1]})
    table = shrink(frame)
    assert table.index.tolist() == ["x", "y"]
    pd.testing.assert_frame_equal(
        table.reset_index(drop=True), shrink(frame["estimate"], frame["se"])
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"se": None}, "there are no standard errors; give se or covariance"),
        ({"se": [0.1]}, r"se: the shape is \(1,\), not \(2,\)"),
        ({"se": [0.1, 0.0]}, "se: a standard error is not above 0"),
        ({"shared": 0.2}, "not above its shared part"),
        ({"estimates": [0.1, np.nan]}, "estimates: a value is missing or not finite"),
        ({"estimates": ["a", "b"]}, "estimates: these are no numbers"),
        ({"share": (0.5, 0.2)}, "share: .* are no bounds of a share"),
        ({"share": (0.0, 0.0)}, "are no bounds of a share"),
        ({"slab": (0.0, 1.0)}, "slab: .* are no bounds of an SD"),
        ({"estimates": pd.DataFrame({"estimate": [1.0]}), "se": None}, "no column 'se'"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"estimates": [0.1, 0.2], "se": [0.1, 0.1]} | change
    with pytest.raises(DataError, match=message):
        shrink(**given)
