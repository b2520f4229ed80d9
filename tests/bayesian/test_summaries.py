import numpy as np
import pytest
from scipy.stats import norm

from ketastats.bayesian import summaries


def test_moments_are_those_of_all_draws_together():
    draws = np.arange(1.0, 101.0).reshape(4, 25, 1) - 30
    m = summaries.moments(draws, 0.9)
    assert m.mean.tolist() == [20.5]
    assert m.sd[0] == pytest.approx(np.arange(100).std(ddof=1))
    assert (m.low[0], m.high[0]) == pytest.approx((-24.05, 65.05))  # 5 and 95 % of 1..100, less 30
    assert m.positive.tolist() == [0.7]


def test_independent_draws_have_full_size_and_chains_apart_are_found():
    draws = np.random.default_rng(1).normal(size=(4, 1000, 2))
    draws[0, :, 1] += 1.0
    known = summaries.convergence(draws)
    assert known.r_hat[0] < 1.01
    assert known.ess_bulk[0] == pytest.approx(4000, rel=0.1)  # the estimate's own error, 3 %, x 3
    assert known.mcse[0] == pytest.approx(1 / np.sqrt(4000), rel=0.1)
    assert known.r_hat[1] > 1.05
    assert known.ess_bulk[1] < 100


@pytest.mark.parametrize("value", [3.0, np.inf, np.nan])
def test_draws_without_variation_have_no_r_hat(value):
    known = summaries.convergence(np.full((2, 50, 1), value))
    for name in ("r_hat", "ess_bulk", "ess_tail", "mcse"):
        assert np.isnan(getattr(known, name)).tolist() == [True]


def test_no_draws_at_all_give_empty_arrays():
    assert summaries.convergence(np.empty((4, 10, 0))).r_hat.shape == (0,)


def test_e_bfmi_of_independent_energies_is_2_and_of_a_slow_walk_small():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(3, 4000))
    # (E_n - E_n-1)^2 of independent values has expectation 2 var; error of the ratio about 3 %
    assert summaries.e_bfmi(noise) == pytest.approx(np.full(3, 2.0), rel=0.1)
    assert (summaries.e_bfmi(noise.cumsum(axis=1)) < 0.05).all()
    assert np.isnan(summaries.e_bfmi(np.ones((2, 10)))).all()


def test_e_bfmi_by_hand():
    # steps 1, -2: 5; deviations from 1/3: 1/9 + 4/9 + 1/9... of 0, 1, -1 with mean 0: 2
    assert summaries.e_bfmi(np.array([[0.0, 1.0, -1.0]])).tolist() == [2.5]


def test_the_density_of_normal_draws_is_normal():
    draws = norm.ppf((np.arange(4000) + 0.5) / 4000).reshape(4, 1000) * 2 + 5
    at, density = summaries.kernel_density(draws, 300)
    assert at.shape == density.shape == (300,)
    assert np.trapezoid(density, at) == pytest.approx(1.0, abs=2e-3)  # what lies beyond the ends
    # smoothing with width h multiplies the SD by sqrt(1 + h²/σ²): 1.5 % at the peak
    np.testing.assert_allclose(density, norm.pdf(at, 5, 2), atol=0.02 * norm.pdf(0, 0, 2))
