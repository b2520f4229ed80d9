"""How often do the intervals of a population-averaged model of few mice miss the truth?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from scipy.special import expit

from ketastats.core.threads import one_thread
from ketastats.frequentist.gee import gee
from ketastats.frequentist.gee_answers import infer, on_scale
from ketastats.frequentist.gee_fit import fit_gee
from ketastats.frequentist.inference import Asked
from ketastats.problem.questions import as_estimands

pytestmark = pytest.mark.slow
DRAWS = 2000
ERROR = np.sqrt(0.05 * 0.95 / DRAWS)  # 0.5 %
KINDS = ("robust", "bias-reduced", "kauermann-carroll")


def plan(mice: int, occasions: int, *, other: int | None = None) -> pd.DataFrame:
    """Return ``mice`` mice of drug A and ``other`` (as many) of B at several occasions."""
    other = mice if other is None else other
    rows = [
        (f"m{m}", "AB"[m >= mice], "pre" if t < occasions / 2 else "post")
        for m in range(mice + other)
        for t in range(occasions)
    ]
    return pd.DataFrame(rows, columns=["mouse", "drug", "time"])


@one_thread()
def sizes(first, draw, kinds=KINDS) -> dict[tuple[str, str], float]:
    """Return how often the last coefficient (true value 0) is significant, by covariance and df.

    The problem is built once, by ``gee``; each draw is fitted by what ``gee`` calls.
    """
    q = len(first.problem.names)
    asked = Asked(np.zeros(1), np.eye(q)[[q - 1]], np.zeros(1, bool), np.ones(1, bool))
    hits: dict[tuple[str, str], int] = {}
    for _ in range(DRAWS):
        rows = replace(first.fit.rows, y=draw())
        for kind in kinds:
            fit = fit_gee(first.problem, rows, kind)
            assert fit.made is not None, fit.reasons
            here = replace(asked, value=fit.solution.beta[[q - 1]])
            for ddf in ("z", "between", "satterthwaite"):
                p = infer(fit, here, ddf, 0.95).p[0]
                hits[kind, ddf] = hits.get((kind, ddf), 0) + (p < 0.05)
    return {k: v / DRAWS for k, v in hits.items()}


@pytest.mark.parametrize("n", [6, 8])
def test_one_row_a_mouse_has_the_sizes_theory_gives(n):
    """In two equal groups t is Welch's times sqrt((n - 1) / n), and Welch's has 2n - 2 df here."""
    rng = np.random.default_rng(20240710)
    d = plan(n, 1).assign(y=rng.normal(size=2 * n))
    got = sizes(gee("y ~ drug + (1 | mouse)", d), lambda: rng.normal(size=2 * n))
    cut = stats.t.isf(0.025, 2 * n - 2)
    wanted = {
        ("bias-reduced", "between"): 2 * stats.t.sf(cut * np.sqrt(n / (n - 1)), 2 * n - 2),
        ("kauermann-carroll", "between"): 0.05,
        ("robust", "between"): 2 * stats.t.sf(cut * np.sqrt((n - 1) / n), 2 * n - 2),
        ("robust", "z"): 2 * stats.t.sf(stats.norm.isf(0.025) * np.sqrt((n - 1) / n), 2 * n - 2),
    }
    assert 0.034 < wanted["bias-reduced", "between"] < 0.039
    for key, size in wanted.items():
        assert abs(got[key] - size) < 3 * np.sqrt(size * (1 - size) / DRAWS), key


def failures(rng: np.random.Generator, d: pd.DataFrame):
    """Return draws of shares of 30 trials; mice differ, and in their change, drugs do not."""
    mouse, post = pd.factorize(d["mouse"])[0], (d["time"] == "post").to_numpy(float)
    count = mouse.max() + 1

    def draw() -> np.ndarray:
        own, change = rng.normal(0, 0.8, count)[mouse], rng.normal(0, 0.6, count)[mouse]
        return rng.binomial(30, expit(-0.5 + 0.8 * post + own + change * post)) / 30

    return draw


def spines(rng: np.random.Generator, d: pd.DataFrame):
    """Return draws of counts, mice and their changes apart."""
    mouse, post = pd.factorize(d["mouse"])[0], (d["time"] == "post").to_numpy(float)
    count = mouse.max() + 1

    def draw() -> np.ndarray:
        own, change = rng.normal(0, 0.4, count)[mouse], rng.normal(0, 0.3, count)[mouse]
        return rng.poisson(np.exp(1.5 + 0.3 * post + own + change * post)).astype(float)

    return draw


def first_fit(d: pd.DataFrame, draw, family: str):
    d = d.assign(y=draw(), of=30)
    if family == "binomial":
        return gee(
            "hits ~ drug * time + (1 | mouse)", d.assign(hits=(d["y"] * 30).round()),
            family=family, size="of",
        )  # fmt: skip
    return gee("y ~ drug * time + (1 | mouse)", d, family=family)


@pytest.mark.parametrize("n", [6, 8])
@pytest.mark.parametrize(
    ("family", "occasions", "make"), [("binomial", 2, failures), ("poisson", 6, spines)]
)
def test_drug_by_time_in_few_mice(family, occasions, make, n):
    """Robust z rejects about twice too often; bias-reduced t 3 to 5 %; the smaller correction 5."""
    rng = np.random.default_rng(20240711)
    d = plan(n, occasions)
    draw = make(rng, d)
    got = sizes(first_fit(d, draw, family), draw)
    assert got["robust", "z"] > 0.08
    assert got["robust", "between"] > 0.05 + 2 * ERROR
    assert 0.025 < got["bias-reduced", "between"] < 0.05 + 3 * ERROR
    assert 0.05 - 3 * ERROR < got["kauermann-carroll", "between"] < 0.065
    assert got["robust", "z"] > got["robust", "between"] > got["bias-reduced", "between"]


def test_groups_of_unequal_size():
    """4 and 12 mice: df from the data (14) are too many for the smaller correction."""
    rng = np.random.default_rng(20240712)
    d = plan(4, 2, other=12)
    draw = failures(rng, d)
    got = sizes(first_fit(d, draw, "binomial"), draw)
    assert got["bias-reduced", "between"] < 0.065
    assert got["bias-reduced", "satterthwaite"] < 0.05 + ERROR
    assert got["kauermann-carroll", "between"] > 0.065
    assert abs(got["kauermann-carroll", "satterthwaite"] - 0.05) < 0.015


def test_natural_scale_answers_the_question_of_the_population():
    """True shares are means over mice, by integration; the model knows nothing of mice."""
    rng = np.random.default_rng(20240713)
    d = plan(8, 2)
    mouse = pd.factorize(d["mouse"])[0]
    eta = -0.5 + 1.2 * ((d["time"] == "post") & (d["drug"] == "B")).to_numpy(float)

    def draw() -> np.ndarray:
        return rng.binomial(30, expit(eta + rng.normal(0, 1.2, 16)[mouse])) / 30

    def share(centre: float) -> float:
        return integrate.quad(
            lambda u: expit(centre + 1.2 * u) * stats.norm.pdf(u), -9, 9, epsabs=1e-12
        )[0]

    first = first_fit(d, draw, "binomial")
    (asked,) = as_estimands(first.problem, {"drug": "B - A"}, {"time": "post"})
    truth, found, covered = share(0.7) - share(-0.5), [], 0
    for _ in range(DRAWS):
        fit = fit_gee(first.problem, replace(first.fit.rows, y=draw()), "bias-reduced")
        got = infer(fit, on_scale(first.problem, fit, [asked], "natural"), "between", 0.95)
        found.append(got.estimate[0])
        covered += got.ci_low[0] < truth < got.ci_high[0]
    assert abs(np.mean(found) - truth) < 3 * np.std(found) / np.sqrt(DRAWS)
    assert 0.95 - 3 * ERROR < covered / DRAWS < 0.975
    assert expit(0.7) - expit(-0.5) - truth > 0.04  # the question of one mouse is another one
