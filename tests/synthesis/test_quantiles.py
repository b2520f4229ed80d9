"""Quantiles of discrete distributions: exact, monotone, and calm at the ends."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln, ndtr, ndtri

from ketastats.synthesis.quantiles import beta_quantile, binomial_quantile, count_quantile

RNG = np.random.default_rng(20240501)
N = 4000
Z = RNG.normal(0, 1.3, N)
P = 1 / (1 + np.exp(-RNG.normal(0, 2.5, N)))


@pytest.mark.parametrize("trials", [1, 7, 30, 100, 5000])
def test_binomial_numbers_are_the_quantile(trials):
    got = binomial_quantile(Z, np.array(trials), P, np.array(0.0))
    assert np.array_equal(got, stats.binom.ppf(ndtr(Z), trials, P))


@pytest.mark.parametrize("trials", [2, 30, 200])
@pytest.mark.parametrize("rho", [0.02, 0.23, 0.7])
def test_beta_binomial_numbers_are_the_quantile(trials, rho):
    z, p = Z[:500], P[:500]
    total = (1 - rho) / rho
    got = binomial_quantile(z, np.array(trials), p, np.array(rho))
    assert np.array_equal(got, stats.betabinom.ppf(ndtr(z), trials, p * total, (1 - p) * total))


@pytest.mark.parametrize("rho", [1e-9, 1e-3, 0.3, 0.999])
@pytest.mark.parametrize("mean", [1e-8, 0.01, 0.49, 0.51, 0.97])
def test_beta_binomial_numbers_of_many_trials_by_their_probabilities(rho, mean):
    m = 1000
    j, k = np.arange(m), np.arange(m + 1)
    a, b = mean * (1 - rho) / rho, (1 - mean) * (1 - rho) / rho
    # log P as sums over factors; no difference of large log gamma functions of a and b
    rising_a = np.concatenate([[0], np.cumsum(np.log(a + j))])
    rising_b = np.concatenate([[0], np.cumsum(np.log(b + j))])
    choose = gammaln(m + 1) - gammaln(k + 1) - gammaln(m - k + 1)
    log_p = choose + rising_a + rising_b[::-1] - np.log(a + b + j).sum()
    cdf = np.cumsum(np.exp(log_p))
    assert cdf[-1] == pytest.approx(1, abs=1e-9)
    u = np.linspace(0.001, 0.999, 401)
    got = binomial_quantile(ndtri(u), np.array(m), np.array(mean), np.array(rho)).astype(int)
    # the sum above has errors of 1e-9: the reached probability is right to that
    assert (cdf[got] > u - 1e-8).all()
    assert (np.where(got > 0, cdf[got - 1], 0) < u + 1e-8).all()


def test_trials_and_overdispersion_by_row_are_each_rows_own():
    trials, rho = RNG.integers(1, 60, N), np.where(RNG.random(N) < 0.5, 0.0, 0.2)
    together = binomial_quantile(Z, trials, P, rho)
    each = [
        binomial_quantile(Z[i : i + 1], trials[i : i + 1], P[i : i + 1], rho[i : i + 1])[0]
        for i in range(0, N, 37)
    ]
    assert np.array_equal(together[::37], each)


@pytest.mark.parametrize("centre", [-1.0, 2.0, 7.0])
@pytest.mark.parametrize("alpha", [0.0, 1e-8, 0.05, 1.0, 4.0])
def test_counts_are_the_quantile(centre, alpha):
    mean = np.exp(centre + RNG.normal(0, 1, N))
    got = count_quantile(Z, mean, np.array(alpha))
    expected = (
        stats.nbinom.ppf(ndtr(Z), 1 / alpha, 1 / (1 + alpha * mean))
        if alpha
        else stats.poisson.ppf(ndtr(Z), mean)
    )
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("precision", [0.3, 8.0, 300.0])
def test_shares_are_the_quantile(precision):
    got = beta_quantile(Z, P, np.array(precision))
    back = stats.beta.cdf(got, P * precision, (1 - P) * precision)
    inside = (got > 1e-300) & (got < 1 - 1e-6)  # nearer to 1 its distance has few digits left
    assert inside.mean() > 0.5
    assert back[inside] == pytest.approx(ndtr(Z)[inside], abs=1e-8)
    assert ((got >= 0) & (got <= 1)).all()


KINDS = {
    "binomial": lambda z, p: binomial_quantile(z, np.array(30), p, np.array(0.0)),
    "beta-binomial": lambda z, p: binomial_quantile(z, np.array(30), p, np.array(0.3)),
    "Poisson": lambda z, p: count_quantile(z, 20 * p, np.array(0.0)),
    "negative binomial": lambda z, p: count_quantile(z, 20 * p, np.array(0.8)),
    "beta": lambda z, p: beta_quantile(z, p, np.array(6.0)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_number_or_mean_never_gives_a_smaller_value(kind):
    draw, rng = KINDS[kind], np.random.default_rng(8)
    z, p = np.sort(rng.normal(0, 2, 3000)), np.sort(rng.random(3000))
    slack = 1e-12 if kind == "beta" else 0  # computed values of equal quantiles may differ by that
    for at in (0.003, 0.2, 0.5, 0.51, 0.96):
        assert (np.diff(draw(z, np.full(3000, at))) >= -slack).all()
    for at in (-2.0, -0.3, 0.0, 1.0, 2.5):
        assert (np.diff(draw(np.full(3000, at), p)) >= -slack).all()


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_numbers_and_means_give_finite_values(kind):
    z, p = np.meshgrid([-40.0, -9.0, 0.0, 9.0, 40.0], [1e-300, 1e-12, 0.5, 1 - 1e-12, 1.0])
    y = KINDS[kind](z, p)
    assert np.isfinite(y).all()
    assert (y >= 0).all()
    if "binomial" in kind and "negative" not in kind:
        assert (y <= 30).all()
