"""Simulation-based calibration: parameters from the priors, data from the sampler of the family.

Ranks of the true values among posterior draws are then uniform (Talts et al. 2018,
arXiv:1804.06788), which ties priors, densities and predictive samplers to each other.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ketastats.bayesian.mcmc import mcmc
from ketastats.bayesian.predictive import replicate

REPEATS = 40
PRIORS = {"effects": "normal(0, 0.7)", "intercept": "normal(0.5, 0.5)", "sd": "half-normal(0.5)"}
PRIOR_OF = {"omega": stats.halfnorm(scale=0.5), "fisher_z": stats.norm(0, 0.9)}
OPTIONS = {
    "beta-binomial": {"family": "beta-binomial", "size": "trials"},
    "negative-binomial": {"family": "negative-binomial", "priors": PRIORS | {
        "overdispersion": "half-normal(0.5)"}},
    "ar1": {"residual": "ar1(day | mouse)"},
}  # fmt: skip
SHORT = {"draws": 100, "tune": 500, "thin": 4, "chains": 4}


def frame():
    mouse = np.repeat(np.arange(10), 4)
    data = {"mouse": mouse, "day": np.tile([1, 2, 3, 4], 10), "arm": np.where(mouse % 2, "b", "a")}
    return pd.DataFrame(data | {"trials": 12, "y": np.arange(40) % 3})


def drawn_from_the_prior(rng, rows):
    """Return coefficients, the mouse SD, and residual SD and own parameters as reported."""
    gamma = np.array([rng.normal(0.5, 0.5), rng.normal(0, 0.7)])
    own = [abs(rng.normal(0, 0.5)) for _ in rows.groups]
    own += [float(PRIOR_OF[p.variable].rvs(random_state=rng)) for p in rows.own]
    return gamma, abs(rng.normal(0, 0.5)), rows.reported(np.array([own]))


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_ranks_of_the_truth_are_uniform(name):
    rng = np.random.default_rng(17)
    options = {"priors": PRIORS} | OPTIONS[name]
    data = frame()
    shape = mcmc("y ~ arm + (1|mouse)", data, **options, draws=4, tune=1, chains=1, thin=1)
    rows, x = shape.rows, shape.problem.x
    (term,) = shape.problem.random
    shares = []
    for _ in range(REPEATS):
        gamma, tau, own = drawn_from_the_prior(rng, rows)
        terms = [(term.z[:, 0], term.group, len(term.levels))]
        y = replicate(rng, (x @ gamma)[None], terms, np.array([[tau]]), rows.unpack(own), rows)[0]
        if np.ptp(y) == 0:
            continue  # refused by name; hardly ever with forty rows
        post = mcmc("y ~ arm + (1|mouse)", data.assign(y=y), **options, **SHORT)
        flat = [a.reshape(400, -1) for a in (post.draws.gamma, post.draws.sd, post.draws.own)]
        truth = np.concatenate([gamma, [tau], own[0]])
        shares.append((np.hstack(flat) < truth).mean(axis=0))
    u = np.array(shares)
    assert len(u) >= REPEATS - 2
    # mean and mean square of a uniform about its middle: SDs 0.289 and 0.0745 of one rank; 4 errors
    error = 4 / np.sqrt(len(u))
    assert (np.abs(u.mean(axis=0) - 0.5) < 0.289 * error).all()
    assert (np.abs(((u - 0.5) ** 2).mean(axis=0) - 1 / 12) < 0.0745 * error).all()
