"""Rank tests against R and against enumeration."""

import itertools

import numpy as np
import pandas as pd
import pytest

from ketastats.frequentist.ranks import (
    hodges_lehmann,
    rank_sum_p,
    rank_tests,
    sum_distribution,
    two_sided,
)
from ketastats.frequentist.t_tests import rounded

# Grizzle 1965, Biometrics 21:467-480: half-differences are made of these, period 1 and 2
AB = [(0.2, 1.0), (0.0, -0.7), (-0.8, 0.2), (0.6, 1.1), (0.3, 0.4), (1.5, 1.2)]
BA = [(1.3, 0.9), (-2.3, 1.0), (0.0, 0.6), (-0.8, -0.3), (-0.4, -1.0), (-2.9, 1.7), (-1.9, -0.3),
      (-2.9, 0.9)]  # fmt: skip


def grizzle() -> pd.DataFrame:
    rows = [
        (f"{s}{k}", s, p, s[p - 1], y)
        for s, people in (("AB", AB), ("BA", BA))
        for k, pair in enumerate(people)
        for p, y in enumerate(pair, start=1)
    ]
    return pd.DataFrame(rows, columns=["subject", "sequence", "period", "treatment", "y"])


def enumerated_p(scores: np.ndarray, n1: int) -> float:
    """Two-sided p of the rank sum by looking at every split."""
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    sums = np.array([ranks[list(c)].sum() for c in itertools.combinations(range(len(ranks)), n1)])
    return float(np.mean(np.abs(sums - sums.mean()) >= abs(ranks[:n1].sum() - sums.mean()) - 1e-9))


def test_exact_figures_equal_r() -> None:
    # R 4.2.2, v rounded to 10 decimals: wilcox.test(v[AB], v[BA], conf.int = TRUE)
    table = rank_tests(grizzle(), "y")
    columns = ["statistic", "p", "ci_low", "ci_high", "estimate"]
    assert table.loc["carry_over", columns].tolist() == pytest.approx(
        [41, 0.0293040293040293, 0.4, 3.4, 1.85], rel=1e-12
    )
    assert table.loc["period", columns].tolist() == pytest.approx(
        [9, 0.0592740592740593, -2.15, 0.05, -0.725], rel=1e-12
    )
    # treatment: two half-differences are tied (-0.25); R has no exact answer there
    assert "ties" in table.loc["treatment", "method"]
    half = rounded(np.array([(a - b) / 2 for a, b in AB + BA]), np.array([3.0]))
    assert table.loc["treatment", "p"] == pytest.approx(enumerated_p(half, 6), rel=1e-12)


def test_normal_approximation_equals_r() -> None:
    # R 4.2.2: x <- (1:60*37)%%41; y <- (1:55*29)%%43+3; wilcox.test(x, y, exact = FALSE)
    x, y = (np.arange(1, 61) * 37) % 41, (np.arange(1, 56) * 29) % 43 + 3
    u, p, tied = rank_sum_p(np.concatenate([x, y])[None, :].astype(float), np.arange(115) < 60)
    assert (float(u[0]), bool(tied[0])) == (1436.0, True)
    assert p[0] == pytest.approx(0.2318068966734, rel=1e-10)
    # x <- (1:60*37)%%61/7; y <- ((1:55*29)%%59)/7+3.05; wilcox.test(x, y, conf.int = TRUE,
    # exact = FALSE): W 686, p 6.86900095322416e-08, interval -3.9072, -2.0499, estimate -2.9072
    x, y = (np.arange(1, 61) * 37) % 61 / 7, (np.arange(1, 56) * 29) % 59 / 7 + 3.05
    u, p, _ = rank_sum_p(np.concatenate([x, y])[None, :], np.arange(115) < 60)
    assert (float(u[0]), p[0]) == (686.0, pytest.approx(6.86900095322416e-08, rel=1e-10))
    # R solves for the roots of z to 1e-4, the order statistics are exact
    assert hodges_lehmann(x, y, 0.95) == pytest.approx((-2.9072, -3.9072, -2.0499), abs=2e-4)


@pytest.mark.parametrize("seed", range(6))
def test_ties_by_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n1 = int(rng.integers(2, 6))
    scores = rng.integers(0, 4, size=(5, 9)).astype(float)
    _, p, _ = rank_sum_p(scores, np.arange(9) < n1)
    assert p == pytest.approx([enumerated_p(row, n1) for row in scores], rel=1e-12)


def test_the_shift_algorithm_without_ties_is_scipys_exact_test() -> None:
    from scipy.stats import mannwhitneyu

    scores = np.random.default_rng(2).normal(size=(20, 19))
    first = np.arange(19) < 8
    ranks = scores.argsort(axis=1).argsort(axis=1)
    ours = [two_sided(r[first].sum(), *sum_distribution(r, 8)) for r in ranks]
    theirs = mannwhitneyu(scores[:, first], scores[:, ~first], axis=1, method="exact").pvalue
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_size_and_coverage_are_the_exact_ones() -> None:
    draws, first = 20_000, np.arange(12) < 6
    scores = np.random.default_rng(5).normal(size=(draws, 12))
    _, p, _ = rank_sum_p(scores, first)
    _, probabilities = sum_distribution(np.arange(12), 6)
    # 36 pairs: p <= 0.05 when the count of pairs is 5 or less, or 31 or more
    size = 2 * probabilities[15:21].sum()
    assert 0.04 < size <= 0.05
    assert abs((p <= 0.05).mean() - size) < 3 * np.sqrt(size * (1 - size) / draws)
    covered = 0
    for row in scores[:4000]:
        _, low, high = hodges_lehmann(row[first], row[~first], 0.95)
        covered += low < 0 < high
    assert abs(covered / 4000 - (1 - size)) < 3 * np.sqrt(size * (1 - size) / 4000)


def test_the_interval_is_what_the_test_does_not_reject() -> None:
    rng = np.random.default_rng(9)
    x, y = rng.normal(1, 1, 7), rng.normal(0, 1, 6)
    _, low, high = hodges_lehmann(x, y, 0.95)
    for shift, inside in ((low + 1e-6, True), (low - 1e-6, False), (high - 1e-6, True),
                          (high + 1e-6, False)):  # fmt: skip
        scores = np.concatenate([x - shift, y])[None, :]
        assert (rank_sum_p(scores, np.arange(13) < 7)[1][0] > 0.05) == inside


def test_too_few_people_for_an_interval() -> None:
    data = grizzle()
    few = data[data["subject"].isin(["AB0", "AB1", "BA0", "BA1"])]
    row = rank_tests(few, "y").loc["treatment"]
    assert (row["ci_low"], row["ci_high"]) == (-np.inf, np.inf)
    assert "too few people" in row["notes"]
    assert row["p"] >= 1 / 3  # the smallest that 2 + 2 people can give
