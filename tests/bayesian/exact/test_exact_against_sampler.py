"""Two engines, one answer: the exact posterior against draws of the same model by PyMC.

The draws are stored (``tests/reference/posterior``): 80,000 of each of seven designs, which know a
mean to 0.4 % of a posterior SD. Compared are mean, SD, the 2.5, 50 and 97.5 % quantiles and P(> 0)
of every coefficient and of two estimands, and the first five of every SD: 443 numbers.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.bayesian.exact import mixture
from ketastats.bayesian.exact.posterior import ExactPosterior
from tests.bayesian.exact.designs import DESIGNS
from tests.reference.posterior.sample import QUANTILES, model_of, sampled

REFERENCE = Path(__file__).parents[2] / "reference" / "posterior"
STORED = json.loads((REFERENCE / "answers.json").read_text(encoding="utf-8"))["designs"]
NAMES = list(STORED)

ERRORS = 4.0
"""Standard errors a number may be off. Were all numbers independent, one of them in 16,000 would be
off by more, so 3 % of stored sets of 443 would have one; this set is stored and has none."""
TYPICAL = 1.35
"""Largest root mean square of the numbers of all designs in standard errors, 1 for engines that
agree. Numbers of one parameter go together: as if there were about 150 of them, the mean square has
an SD of sqrt(2 / 150) = 0.12, and 1.35² is 7 of these above 1. A bias of one standard error
throughout gives 1.41."""
FEWEST = 10
"""A probability nearer to 0 or 1 than this many draws has the error of one that is as near."""
ALGEBRA = 1e-9
"""Relative to the SD: the same mixture asked for in two ways; quantiles are roots to 1e-12."""


def table_of(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / f"{name}.csv")


@cache
def posterior_of(name: str) -> ExactPosterior:
    design = DESIGNS[name]
    return ks.posterior(
        design.formula, table_of(name), priors=design.priors, residual=design.residual
    )


def answers_of(post: ExactPosterior, name: str) -> dict[str, dict[str, Any]]:
    """Return the numbers that are stored of draws, by name of the quantity."""
    median = replace(post, level=1e-9)  # an interval of no width
    both, middle = post.summary(), median.summary()["ci_low"]
    out = {
        k: {
            "mean": row["mean"],
            "sd": row["sd"],
            "quantiles": [row["ci_low"], middle[k], row["ci_high"]],
        }
        for k, row in both.iterrows()
    }
    m, s = post.of_rows(np.eye(len(post.problem.names)))
    above = mixture.cdf(post.weight[None], -m[None], s, np.zeros((1, m.shape[1])))[0]
    for k, p in zip(post.problem.names, above, strict=True):
        out[k]["prob_positive"] = p
    for question in DESIGNS[name].questions:
        row = post.contrast(**question).iloc[0]
        out[row["estimand"]] = {
            "mean": row["estimate"],
            "sd": row["se"],
            "quantiles": [
                row["ci_low"], median.contrast(**question)["ci_low"].item(), row["ci_high"],
            ],
            "prob_positive": row["prob_positive"],
        }  # fmt: skip
    return out


def off(exact: dict[str, Any], drawn: dict[str, Any]) -> dict[str, float]:
    """Return what a quantity's numbers are off, in standard errors."""
    out = {k: (exact[k] - drawn[k]) / drawn[f"{k}_error"] for k in ("mean", "sd")}
    triples = zip(
        QUANTILES, exact["quantiles"], drawn["quantiles"], drawn["quantile_errors"], strict=True
    )
    out |= {f"quantile {p}": (a - b) / error for p, a, b, error in triples}
    if "prob_positive" in drawn:
        p, n = exact["prob_positive"], drawn["prob_ess"]
        held = np.clip(p, FEWEST / n, 1 - FEWEST / n)
        out["P(> 0)"] = (p - drawn["prob_positive"]) / np.sqrt(held * (1 - held) / n)
    return out


def all_off(name: str, exact: dict[str, Any], drawn: dict[str, Any]) -> dict[str, float]:
    assert set(exact) == set(drawn)
    return {f"{name}, {k}, {n}": z for k in drawn for n, z in off(exact[k], drawn[k]).items()}


def compared(name: str, post: ExactPosterior | None = None) -> dict[str, float]:
    post = posterior_of(name) if post is None else post
    return all_off(name, answers_of(post, name), STORED[name]["sampled"])


def beyond(found: dict[str, float], limit: float = ERRORS) -> dict[str, float]:
    return {k: z for k, z in found.items() if not abs(z) <= limit}


def test_the_stored_answers_belong_to_the_designs():
    assert {n: STORED[n]["model"] for n in NAMES} == {n: model_of(d) for n, d in DESIGNS.items()}


@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_the_sampler_s(name):
    assert posterior_of(name).status == "ok"
    assert beyond(compared(name)) == {}


def test_all_numbers_together_are_no_further_off_than_draws_are():
    found = [z for name in NAMES for z in compared(name).values()]
    assert len(found) == 443
    assert np.sqrt(np.mean(np.square(found))) < TYPICAL


OTHERS = {
    "abba": {"intercept": "normal(9, 3.3)"},
    "repeated": {"effects": "normal(0, 2.2)"},
    "lost": {"effects": "normal(0, 1.1)"},
    "litters": {"sd": "exponential(0.8)"},
    "williams": {"sd": "half-t(4, 2.2)"},
    "mice": {"sd": "half-normal(3.2)"},
    "doses": {"sd": "half-normal(1)"},
}
"""Priors a tenth wider, or of a neighbouring family."""


@pytest.mark.parametrize("name", NAMES)
def test_a_prior_that_is_slightly_another_is_noticed(name):
    assert len(beyond(compared(name, posterior_of(name).with_priors(OTHERS[name])))) > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_median_halves_the_draws_exactly(name):
    post = posterior_of(name)
    for question in DESIGNS[name].questions:
        row = post.contrast(**question).iloc[0]
        middle = answers_of(post, name)[row["estimand"]]["quantiles"][1]
        assert post.probability(**question, above=middle) == pytest.approx(0.5, abs=ALGEBRA)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["repeated", "litters", "mice"])
def test_the_stored_answers_are_what_the_sampler_gives(name):
    """With the sampler's default settings and another seed: 4,000 draws."""
    again, stored = sampled(name, table_of(name), seed=2), STORED[name]["sampled"]
    exact = answers_of(posterior_of(name), name)
    assert beyond(all_off(name, exact, again)) == {}
    assert beyond(all_off(name, stored, again)) == {}
