"""The slow oracle against closed forms, one-dimensional integrals and stored Bayes factors."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from scipy.special import gammaln

from tests.bayesian import dense

REFERENCE = Path(__file__).parents[1] / "reference"
JZS = json.loads((REFERENCE / "jzs" / "answers.json").read_text(encoding="utf-8"))

ALGEBRA = 1e-10
"""Relative: two orders of double precision's 2e-16 times condition numbers of up to 1e4."""
NODES = 20
QUADRATURE = 1e-8
"""With 20 nodes a panel the tables below move by at most 1e-9 when nodes are added."""
COARSE = 1e-6
"""With 10 nodes a panel of the residual SD and 9 of z three effects reach 2e-7, with 12 of z one or
two reach 3e-9. lmBF's own error is 3e-4."""
NESTED = 1e-8
"""scipy's nested quadrature is asked for 1e-10 relative in either direction."""
SAMPLED = 4.0
"""lmBF draws at random: its stated proportional error is one standard error."""


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def mixed(rng):
    """Six subjects in two visits under two treatments: y, X, Z, subject."""
    subject = np.repeat(np.arange(6), 4)
    X = np.column_stack([np.ones(24), np.tile([-0.5, 0.5], 12)])
    y = 5 + X[:, 1] + rng.normal(0, 1, 6)[subject] + rng.normal(0, 1, 24)
    return y, X, np.eye(6)[subject], subject


# --- for given standard deviations ----------------------------------------------------------------


def spread(mixed):
    y, X, Z, _ = mixed
    return y, X, 0.7 * Z @ Z.T + 1.3 * np.eye(len(y))


def likelihood(mixed):
    """Of (b0, b1), times e^30 to be near 1; whitened once, since a double integral asks often."""
    y, X, V = spread(mixed)
    values, vectors = np.linalg.eigh(V)
    white = vectors / np.sqrt(values)
    z, W = white.T @ y, white.T @ X
    constant = 30 - 12 * np.log(2 * np.pi) - np.log(values).sum() / 2

    def at(b0, b1):
        rest = z - b0 * W[:, 0] - b1 * W[:, 1]
        return np.exp(constant - rest @ rest / 2)

    return at


def test_the_proper_marginal_likelihood_is_the_likelihood_integrated_over_the_prior(mixed):
    y, X, V = spread(mixed)
    m, S = np.array([4.0, 0.5]), np.array([[2.0, 0.4], [0.4, 1.0]])
    like, P = likelihood(mixed), np.linalg.inv(S)

    def inside(b1, b0):
        off = np.array([b0, b1]) - m
        return like(b0, b1) * np.exp(-off @ P @ off / 2) * np.sqrt(np.linalg.det(P)) / (2 * np.pi)

    integral, _ = integrate.dblquad(inside, -2, 10, -5, 6, epsabs=0, epsrel=1e-10)
    found = dense.log_marginal(y, X, V, m, np.linalg.inv(S))
    assert found == pytest.approx(np.log(integral) - 30, rel=NESTED)
    other = dense.information_form(y, X, V, m, np.linalg.inv(S))
    assert other == pytest.approx(found, rel=ALGEBRA)


def test_a_flat_coefficient_integrates_the_likelihood_without_a_constant(mixed):
    y, X, V = spread(mixed)
    like = likelihood(mixed)

    def inside(b1, b0):
        return like(b0, b1) * np.exp(-(((b1 - 0.5) / 2) ** 2) / 2) / (2 * np.sqrt(2 * np.pi))

    integral, _ = integrate.dblquad(inside, -2, 12, -5, 7, epsabs=0, epsrel=1e-10)
    found = dense.log_marginal(y, X, V, np.array([0.0, 0.5]), np.array([0.0, 0.25]))
    assert found == pytest.approx(np.log(integral) - 30, rel=NESTED)


def test_the_conditional_of_the_coefficients_is_the_bayesian_least_squares(mixed):
    """As the normal distribution of (b, y) conditioned on y, which inverts other matrices."""
    y, X, V = spread(mixed)
    m, S = np.array([4.0, 0.5]), np.array([[2.0, 0.4], [0.4, 1.0]])
    gain = S @ X.T @ np.linalg.inv(V + X @ S @ X.T)
    mean, covariance = dense.conditional(y, X, V, m, np.linalg.inv(S))
    np.testing.assert_allclose(mean, m + gain @ (y - X @ m), rtol=ALGEBRA)
    np.testing.assert_allclose(covariance, S - gain @ X @ S, rtol=ALGEBRA)


def test_a_stack_of_covariances_is_each_alone(mixed):
    y, X, V = spread(mixed)
    m, P = np.zeros(2), np.array([0.0, 1.0])
    stack = np.stack([V, 2 * V, V + np.eye(24)])
    alone = [dense.log_marginal(y, X, one, m, P) for one in stack]
    np.testing.assert_allclose(dense.log_marginal(y, X, stack, m, P), alone, rtol=ALGEBRA)
    means = [dense.conditional(y, X, one, m, P)[0] for one in stack]
    np.testing.assert_allclose(dense.conditional(y, X, stack, m, P)[0], means, rtol=ALGEBRA)


def test_a_flat_coefficient_that_the_data_do_not_know_is_refused(mixed):
    y, X, V = spread(mixed)
    with pytest.raises(ValueError, match="say nothing"):
        dense.log_marginal(y, np.column_stack([X, X[:, 1]]), V, np.zeros(3), np.zeros(3))


def test_reml_is_the_likelihood_of_error_contrasts_and_of_flat_coefficients(mixed):
    """Harville (1974): log N(K'y; 0, K'V K) plus log|X'X| / 2, K orthonormal to X."""
    y, X, V = spread(mixed)
    K = np.linalg.qr(X, mode="complete")[0][:, 2:]
    contrasts = stats.multivariate_normal(np.zeros(22), K.T @ V @ K).logpdf(K.T @ y)
    found = dense.reml_loglik(y, X, V)
    assert found == pytest.approx(contrasts - np.linalg.slogdet(X.T @ X)[1] / 2, rel=ALGEBRA)
    flat = dense.log_marginal(y, X, V, np.zeros(2), np.zeros(2))
    assert flat == pytest.approx(found, rel=ALGEBRA)


@pytest.mark.parametrize("table", ["bal", "unb"])
def test_reml_equals_lme4_at_its_variances(table):
    """lme4's likelihood is stored with 15 digits, and is flat at its variances."""
    answers = json.loads((REFERENCE / "golden" / "answers.json").read_text(encoding="utf-8"))
    (answer,) = [a for a in answers["models"] if a["name"] == f"{table}_ri"]
    d = pd.read_csv(REFERENCE / "golden" / f"{table}.csv")
    trt, sex, period, time, seq = (
        (d[c] == sorted(d[c].unique())[1]).to_numpy(float)
        for c in ("trt", "sex", "period", "time", "seq")
    )
    X = np.column_stack([np.ones(len(d)), trt, sex, period, time, seq, trt * sex])
    Z = pd.get_dummies(d["subj"]).to_numpy(float)
    var = answer["variance"]
    V = var["subj"] * Z @ Z.T + var["residual"] * np.eye(len(d))
    found = dense.reml_loglik(d["y"].to_numpy(), X, V)
    assert -2 * found == pytest.approx(answer["minus2_reml_loglik"], rel=ALGEBRA)


# --- one standard deviation -----------------------------------------------------------------------


def test_known_standard_deviations_leave_a_normal_posterior(mixed):
    y, X, Z, _ = mixed
    m, precision, rows = np.array([4.0, 0.5]), np.array([0.1, 0.5]), np.array([[1, -0.5], [0, 1]])
    found = dense.dense_posterior(
        y, X, [Z], [("known", 0.8), ("known", 1.1)], rows_K=rows, m=m, precision=precision
    )
    S = np.diag(1 / precision)
    V = 0.64 * Z @ Z.T + 1.21 * np.eye(24)
    gain = S @ X.T @ np.linalg.inv(V + X @ S @ X.T)
    mean = rows @ (m + gain @ (y - X @ m))
    sd = np.sqrt(np.diag(rows @ (S - gain @ X @ S) @ rows.T))
    normal = stats.norm(mean, sd)
    np.testing.assert_allclose(found.contrast_mean(), mean, rtol=ALGEBRA)
    np.testing.assert_allclose(found.contrast_sd(), sd, rtol=ALGEBRA)
    np.testing.assert_allclose(found.prob_positive(), normal.sf(0), rtol=ALGEBRA)
    np.testing.assert_allclose(found.quantile(0.025), normal.ppf(0.025), rtol=ALGEBRA)
    np.testing.assert_allclose(found.density(0.3), normal.pdf(0.3), rtol=ALGEBRA)
    evidence = stats.multivariate_normal(X @ m, V + X @ S @ X.T).logpdf(y)
    assert found.log_marginal_likelihood == pytest.approx(evidence, rel=ALGEBRA)


def test_flat_coefficients_and_jeffreys_give_students_t_and_inverse_chi(mixed):
    """Box & Tiao (1973), section 2.7: t with n - p df; SS / sigma² is chi-square with n - p df."""
    y, X, _, _ = mixed
    found = dense.dense_posterior(y, X, [], [("jeffreys",)], nodes=NODES)
    b, ss = np.linalg.lstsq(X, y, rcond=None)[:2]
    df = 22
    unscaled = np.linalg.inv(X.T @ X)
    t = stats.t(df, b, np.sqrt(np.diag(unscaled) * ss / df))
    np.testing.assert_allclose(found.contrast_mean(), b, rtol=QUADRATURE)
    np.testing.assert_allclose(found.contrast_sd(), t.std(), rtol=QUADRATURE)
    np.testing.assert_allclose(found.prob_positive(), t.sf(0), rtol=QUADRATURE)
    np.testing.assert_allclose(found.density(0.7), t.pdf(0.7), rtol=QUADRATURE)
    for p in (0.005, 0.5, 0.975):
        np.testing.assert_allclose(found.quantile(p), t.ppf(p), rtol=QUADRATURE)
    # sigma = sqrt(ss) chi^-1: E sigma^k = (ss / 2)^(k/2) gamma((df - k) / 2) / gamma(df / 2)
    mean = np.exp(np.log(ss[0] / 2) / 2 + gammaln((df - 1) / 2) - gammaln(df / 2))
    assert found.sd_mean()[0] == pytest.approx(mean, rel=QUADRATURE)
    sd = np.sqrt(ss[0] / (df - 2) - mean**2)
    assert found.sd_sd()[0] == pytest.approx(sd, rel=QUADRATURE)
    for at in (0.8, 1.0, 1.5):
        expected = stats.chi2(df).sf(ss[0] / at**2)
        assert found.sd_cdf(0, at) == pytest.approx(expected, abs=QUADRATURE)
    median = np.sqrt(ss[0] / stats.chi2(df).median())
    assert found.sd_quantile(0, 0.5) == pytest.approx(median, rel=QUADRATURE)
    evidence = (
        -df / 2 * np.log(np.pi)
        + np.linalg.slogdet(unscaled)[1] / 2
        + gammaln(df / 2)
        - np.log(2)
        - df / 2 * np.log(ss[0])
    )
    assert found.log_marginal_likelihood == pytest.approx(evidence, rel=QUADRATURE)


PRIORS = {
    "half-normal": (("half-normal", 1.5), lambda s: 2 * stats.norm.pdf(s / 1.5) / 1.5),
    "half-t": (("half-t", 3, 0.8), lambda s: 2 * stats.t.pdf(s / 0.8, 3) / 0.8),
    "exponential": (("exponential", 0.6), lambda s: np.exp(-s / 0.6) / 0.6),
}


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_of_the_residual_sd_weighs_the_closed_form(mixed, name):
    """The likelihood with b integrated out is sigma^-(n - p) exp(-SS / 2 sigma²) and a constant."""
    y, X, _, _ = mixed
    text, prior = PRIORS[name]
    ss, df = np.linalg.lstsq(X, y, rcond=None)[1][0], 22

    def moment(power, upper=np.inf):
        def inside(s):
            log = -df * np.log(s) - ss / (2 * s**2) + df / 2 * np.log(ss / df)
            return s**power * np.exp(log + df / 2) * prior(s)

        cuts = [c for c in (0.05, 0.7, 1.0, 1.5, 3.0, 8.0, 40.0) if c < upper]
        edges = [*cuts, upper]
        pieces = itertools.pairwise(edges)
        return sum(integrate.quad(inside, a, b, epsabs=0, epsrel=1e-11)[0] for a, b in pieces)

    found = dense.dense_posterior(y, X, [], [text], nodes=NODES)
    total = moment(0)
    constant = -df / 2 * np.log(2 * np.pi * np.e * ss / df) - np.linalg.slogdet(X.T @ X)[1] / 2
    evidence = np.log(total) + constant
    assert found.log_marginal_likelihood == pytest.approx(evidence, rel=QUADRATURE)
    mean = moment(1) / total
    assert found.sd_mean()[0] == pytest.approx(mean, rel=QUADRATURE)
    assert found.sd_sd()[0] == pytest.approx(
        np.sqrt(moment(2) / total - mean**2), rel=10 * QUADRATURE
    )  # a difference of two that are alike
    assert found.sd_cdf(0, 1.1) == pytest.approx(moment(0, 1.1) / total, rel=QUADRATURE)
    variance = moment(2) / total * np.diag(np.linalg.inv(X.T @ X))
    np.testing.assert_allclose(found.contrast_sd(), np.sqrt(variance), rtol=QUADRATURE)


# --- two and three standard deviations ------------------------------------------------------------


def test_a_random_intercept_equals_the_integral_over_two_sums_of_squares(mixed):
    """Balanced: between and within people are independent chi-squares (Tiao & Tan 1965)."""
    y, X, Z, subject = mixed
    mean = np.array([y[subject == s].mean() for s in range(6)])
    between = 4 * ((mean - mean.mean()) ** 2).sum()
    b = np.linalg.lstsq(X, y, rcond=None)[0][1]
    within = ((y - mean[subject] - b * X[:, 1]) ** 2).sum()

    def inside(tau, sigma, power=0):
        v1, v2 = sigma**2 + 4 * tau**2, sigma**2
        log = -0.5 * (5 * np.log(v1) + between / v1 + 17 * np.log(v2) + within / v2)
        half_normals = 2 / np.pi / 3 * np.exp(-(tau**2) / 8 - sigma**2 / 4.5)
        return tau**power * np.exp(log + 15) * half_normals

    def integral(power=0, upper=20.0):
        args = {"args": (power,), "epsabs": 0, "epsrel": 1e-10}
        return integrate.dblquad(inside, 0.2, 8, 0, upper, **args)[0]

    total = integral()
    found = dense.dense_posterior(
        y, X, [Z], [("half-normal", 2.0), ("half-normal", 1.5)], nodes=NODES
    )
    # |X'V^-1 X| = (n / v1) (n / 4 v2), which leaves n - p factors of 2 pi
    constant = -11 * np.log(2 * np.pi) - 0.5 * np.log(24 * 6) - 15
    assert found.log_marginal_likelihood == pytest.approx(np.log(total) + constant, rel=NESTED)
    assert found.sd_mean()[0] == pytest.approx(integral(1) / total, rel=NESTED)
    assert found.sd_cdf(0, 0.9) == pytest.approx(integral(upper=0.9) / total, rel=NESTED)
    assert found.contrast_mean()[1] == pytest.approx(b, rel=QUADRATURE)


def test_three_standard_deviations_factorise_where_two_groups_share_nothing(mixed, rng):
    y, X, Z, _ = mixed
    alone = rng.normal(3, 0.5, 9)
    joined = np.concatenate([y, alone])
    zeros = np.zeros((9, 2)), np.zeros((24, 1)), np.zeros((9, 6))
    XX = np.block([[X, zeros[1]], [zeros[0], np.ones((9, 1))]])
    priors = [("half-normal", 2.0), ("half-t", 4, 1.0), ("exponential", 1.0)]
    precision = np.array([0.0, 0.3, 0.1])
    coarse = {"scale": 1.0, "panels": (0, 0.3, 1, 3, 10), "nodes": 8}
    found = dense.dense_posterior(
        joined, XX, [np.vstack([Z, zeros[2]])], priors,
        groups=np.repeat(["one", "two"], [24, 9]), precision=precision, **coarse,
    )  # fmt: skip
    first = dense.dense_posterior(y, X, [Z], priors[:2], precision=precision[:2], **coarse)
    second = dense.dense_posterior(
        alone, np.ones((9, 1)), [], priors[2:], precision=precision[2:], **coarse
    )
    # the same nodes: only sums in another order
    evidence = first.log_marginal_likelihood + second.log_marginal_likelihood
    assert found.log_marginal_likelihood == pytest.approx(evidence, rel=ALGEBRA)
    for part in ("contrast_mean", "contrast_sd", "sd_mean", "sd_sd"):
        apart = np.concatenate([getattr(first, part)(), getattr(second, part)()])
        np.testing.assert_allclose(getattr(found, part)(), apart, rtol=ALGEBRA)
    assert found.sd_cdf(1, 1.0) == pytest.approx(first.sd_cdf(1, 1.0), rel=ALGEBRA)


def test_the_cdf_of_an_sd_is_the_share_of_the_marginal_likelihood_under_it(mixed):
    """The panels are cut at 0.6 and all is integrated again."""
    y, X, Z, _ = mixed
    priors = [("half-t", 3, 1.0), ("half-normal", 1.5)]
    whole = dense.dense_posterior(y, X, [Z], priors, scale=1.0, nodes=NODES)
    cut = dense.dense_posterior(
        y, X, [Z], priors, scale=1.0, nodes=NODES, panels=[(0, 0.1, 0.3, 0.6), dense.PANELS]
    )
    share = np.exp(cut.log_marginal_likelihood - whole.log_marginal_likelihood)
    assert whole.sd_cdf(0, 0.6) == pytest.approx(share, rel=QUADRATURE)


def test_more_nodes_change_nothing(mixed):
    y, X, Z, _ = mixed
    priors = [("half-normal", 2.0), ("half-t", 3, 1.0)]
    few, many = (dense.dense_posterior(y, X, [Z], priors, nodes=n) for n in (NODES, 28))
    evidence = many.log_marginal_likelihood
    assert few.log_marginal_likelihood == pytest.approx(evidence, abs=QUADRATURE)
    for part in ("contrast_mean", "contrast_sd", "prob_positive", "sd_mean", "sd_sd"):
        np.testing.assert_allclose(getattr(few, part)(), getattr(many, part)(), rtol=QUADRATURE)
    for call in (("sd_cdf", 0, 0.4), ("sd_cdf", 1, 1.2), ("quantile", 0.01), ("density", 0.2)):
        one, other = (getattr(d, call[0])(*call[1:]) for d in (few, many))
        np.testing.assert_allclose(one, other, rtol=QUADRATURE)


# --- rows that are left out -----------------------------------------------------------------------


@pytest.mark.parametrize("out", [[3], [4, 5, 6, 7]])
def test_without_random_terms_a_left_out_row_has_students_t(mixed, out):
    """Flat coefficients and Jeffreys: a (multivariate) t around the refit, with its n - p df."""
    y, X, _, _ = mixed
    keep = np.setdiff1d(np.arange(24), out)
    b, ss = np.linalg.lstsq(X[keep], y[keep], rcond=None)[:2]
    df = len(keep) - 2
    shape = np.eye(len(out)) + X[out] @ np.linalg.inv(X[keep].T @ X[keep]) @ X[out].T
    expected = stats.multivariate_t(X[out] @ b, shape * ss / df, df).logpdf(y[out])
    found = dense.left_out_log_density(y, X, [], [("jeffreys",)], out, nodes=NODES)
    assert found == pytest.approx(float(expected), abs=QUADRATURE)


@pytest.mark.parametrize("out", [[3], [4, 5, 6, 7], [0, 9]])
def test_a_left_out_density_is_a_ratio_of_marginal_likelihoods(mixed, out):
    """log p(y) - log p(the rest), by two integrals, with people who share rows on both sides."""
    y, X, Z, _ = mixed
    priors = [("half-normal", 2.0), ("exponential", 1.0)]
    more = {"precision": np.array([0.0, 0.5]), "scale": 1.0, "nodes": NODES}
    found = dense.left_out_log_density(y, X, [Z], priors, out, **more)
    keep = np.setdiff1d(np.arange(24), out)
    whole = dense.dense_posterior(y, X, [Z], priors, **more)
    rest = dense.dense_posterior(y[keep], X[keep], [Z[keep]], priors, **more)
    ratio = whole.log_marginal_likelihood - rest.log_marginal_likelihood
    assert found == pytest.approx(ratio, abs=QUADRATURE)


def test_a_left_out_row_equals_one_refit_at_known_standard_deviations(mixed):
    y, X, Z, _ = mixed
    m, S, out = np.array([4.0, 0.0]), np.diag([4.0, 1.0]), [10]
    V = 0.49 * Z @ Z.T + 1.44 * np.eye(24) + X @ S @ X.T
    keep = np.setdiff1d(np.arange(24), out)
    gain = V[np.ix_(out, keep)] @ np.linalg.inv(V[np.ix_(keep, keep)])
    mean = X[out] @ m + gain @ (y - X @ m)[keep]
    sd = np.sqrt(V[np.ix_(out, out)] - gain @ V[np.ix_(keep, out)])
    found = dense.left_out_log_density(
        y, X, [Z], [("known", 0.7), ("known", 1.2)], out, m=m, precision=np.linalg.inv(S)
    )
    assert found == pytest.approx(stats.norm.logpdf(y[out], mean, sd).item(), rel=ALGEBRA)


# --- Cauchy priors on coefficient / residual SD ---------------------------------------------------


def half(column):
    """Difference coding: the first level is plus a half."""
    first = column.iloc[0]
    return np.where(column == first, 0.5, -0.5)


def log_bf(y, X, tested, null, **options):
    """The columns of ``tested`` [(column, r)] against a model without them."""
    fine = {"nodes": NODES, "scale": dense.data_scale(y, X)}
    one = dense.dense_posterior(y, X, [], [("jeffreys",)], cauchy=tested, **(fine | options))
    none = dense.dense_posterior(y, X[:, null], [], [("jeffreys",)], **fine)
    return one.log_marginal_likelihood - none.log_marginal_likelihood


def t_test(answer):
    """The t test as a linear model: y, X, column tested, scale on coefficient / residual SD."""
    d = pd.read_csv(REFERENCE / "jzs" / f"{answer['data']}.csv", dtype={"b": str})
    r = answer["rscale"]
    if answer["kind"] == "one-sample":
        y = d["y"][d["treatment"] == d["treatment"].iloc[-1]].to_numpy()
        return y, np.ones((len(y), 1)), r
    arm = half(d["treatment"] if "treatment" in d else d["a"])
    if answer["kind"] == "two-sample":
        return d["y"].to_numpy(), np.column_stack([arm, np.ones(len(d))]), r
    people = pd.get_dummies(d["subject"]).to_numpy(float)
    # the SD of a difference is sqrt(2) residual SDs
    return d["y"].to_numpy(), np.column_stack([arm, people]), np.sqrt(2) * r


TESTS = [pytest.param(a, id=f"{a['kind']}-{a['data']}-{a['rscale']:.2f}") for a in JZS["tests"]]


@pytest.mark.parametrize("answer", TESTS)
def test_a_jzs_t_test_is_a_linear_model(answer):
    """``error`` is the bound that R's integrate() states for BayesFactor; the second answer is of
    the same formula asked for 1e-12."""
    y, X, r = t_test(answer)
    found = log_bf(y, X, [([0], r)], list(range(1, X.shape[1])))
    assert found == pytest.approx(answer["log_bf_quadrature"], abs=QUADRATURE)
    assert found == pytest.approx(answer["log_bf"], abs=QUADRATURE + answer["error"])


@pytest.mark.parametrize("answer", TESTS)
def test_pingouin_has_the_same_bayes_factor(answer):
    """Its integral, unnormalised, is left to quad's absolute tolerance of 1.5e-8."""
    import pingouin

    found = pingouin.bayesfactor_ttest(
        answer["t"], answer["n_x"], answer.get("n_y"),
        paired=answer["kind"] == "paired", r=answer["rscale"],
    )  # fmt: skip
    n, t = answer["n_x"] + answer.get("n_y", 0), answer["t"]
    df = n - 2 if answer["kind"] == "two-sample" else answer["n_x"] - 1
    room = 1.5e-8 * (1 + t**2 / df) ** ((df + 1) / 2)
    assert found == pytest.approx(np.exp(answer["log_bf_quadrature"]), abs=room)


def design(answer):
    """2 x 2 in difference coding. Two levels are 1 apart here and sqrt(2) in BayesFactor, and a
    difference of differences 1 against 2."""
    d = pd.read_csv(REFERENCE / "jzs" / f"{answer['data']}.csv", dtype={"b": str})
    codes = {"a": half(d["a"]), "b": half(d["b"])}
    codes["a:b"] = codes["a"] * codes["b"]
    X = np.column_stack([*[codes[term] for term in answer["terms"]], np.ones(len(d))])
    orders = [term.count(":") + 1 for term in answer["terms"]]
    r = [np.sqrt(2) ** k * scale for k, scale in zip(orders, answer["rscale"], strict=True)]
    return d["y"].to_numpy(), X, [([j], scale) for j, scale in enumerate(r)]


def models():
    for a in JZS["models"]:
        name = f"{a['data']}-{'+'.join(a['terms'])}"
        slow = [pytest.mark.slow] if len(a["terms"]) > 2 else []
        yield pytest.param(a, id=name, marks=slow)


@pytest.mark.parametrize("answer", list(models()))
def test_effects_with_scales_of_their_own_equal_bayesfactor(answer):
    y, X, tested = design(answer)
    # the residual SD is of 22 or 40 rows: 1e-20 of its mass is outside 0.3 to 10
    options = {"panels": (0.3, 0.7, 1, 1.5, 3, 10), "nodes": 10, "cauchy_panels": (0, 1, 3, 9)}
    few = 9 if len(tested) > 2 else 12
    found = log_bf(y, X, tested, [len(tested)], cauchy_nodes=few, **options)
    assert found == pytest.approx(answer["log_bf_quadrature"], abs=COARSE)
    assert found == pytest.approx(answer["log_bf"], abs=COARSE + SAMPLED * answer["error"])
