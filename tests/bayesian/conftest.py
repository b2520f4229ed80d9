import numpy as np
import pandas as pd
import pytest

from ketastats.bayesian.answers import stacked
from ketastats.bayesian.likelihood import GAUSSIAN
from ketastats.bayesian.mcmc import mcmc
from ketastats.bayesian.posterior import Posterior
from ketastats.bayesian.sampling import Draws, Settings
from ketastats.bayesian.summaries import convergence
from ketastats.problem.build import build_problem
from ketastats.study.load import load_study


@pytest.fixture(scope="session")
def study():
    return load_study("jelen2025")


@pytest.fixture(scope="session")
def draw_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("draws")


@pytest.fixture(scope="session")
def madrs_arguments(study, draw_cache):
    """Arguments of the model the fast tests share: synthetic MADRS data of the packaged study."""
    analysis, outcome = study.analysis("bayes"), study.outcome("madrs")
    data = study.simulate(seed=1, outcome="madrs")
    keywords = {
        "outcome": "madrs",
        "priors": dict(analysis.priors),
        "scale": outcome.scale,
        "typical_sd": outcome.typical_sd,
        "draw_cache": draw_cache,
    }
    return (analysis.formula, data), keywords


@pytest.fixture(scope="session")
def madrs(madrs_arguments):
    """The one compiled model of the session, sampled afresh."""
    arguments, keywords = madrs_arguments
    return mcmc(*arguments, **keywords)


@pytest.fixture(scope="session")
def small():
    """Twelve synthetic people, two periods, two treatments, aliased on purpose: see ``made``."""
    rng = np.random.default_rng(5)
    rows = [
        (f"s{s}", "AB" if s % 2 else "BA", str(p + 1), "AB"[(s + p) % 2 == 0], rng.normal(s, 1))
        for s in range(12)
        for p in range(2)
    ]
    return pd.DataFrame(rows, columns=["subject", "sequence", "period", "treatment", "y"])


@pytest.fixture(scope="session")
def made():
    """Return a Posterior of given draws, without sampling: normal ones by default."""

    def make(formula, data, *, seed=0, chains=4, draws=500, rows=GAUSSIAN, **changes):
        problem = build_problem(formula, data, coding="difference")
        rng = np.random.default_rng(seed)
        q, terms = len(problem.names), len(problem.random)
        fields = {
            "gamma": rng.normal(size=(chains, draws, q)),
            "sd": np.abs(rng.normal(size=(chains, draws, terms))),
            "own": np.abs(rng.normal(size=(chains, draws, len(rows.names)))),
            "diverging": np.zeros((chains, draws), dtype=bool),
            "energy": rng.normal(size=(chains, draws)),
        }
        own = Draws(**(fields | changes))
        settings = Settings(draws, 1, chains, 1, 1)
        text = (("effects", "normal(0, 1)"), ("sd", "half-normal(1)"))
        return Posterior(problem, text, 0.95, 1, settings, own, convergence(stacked(own)), (), rows)

    return make
