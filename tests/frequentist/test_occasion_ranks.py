"""Friedman's test and the rank test of group by occasion: R, enumeration, size."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ketastats.core.errors import DataError
from ketastats.frequentist.friedman import friedman, friedman_exact, moment_p
from ketastats.frequentist.rank_interaction import rank_interaction

EXACT = 1e-12
"""Sums of a few hundred products of numbers below 1."""


def long(y: np.ndarray, occasions: list[str], **columns) -> pd.DataFrame:
    """Return a table of units by occasion as rows."""
    n, k = y.shape
    frame = pd.DataFrame(
        {"mouse": np.repeat(np.arange(n), k), "time": occasions * n, "y": y.ravel()}
    )
    return frame.assign(**{c: np.repeat(v, k) for c, v in columns.items()})


# ---- Friedman -----------------------------------------------------------------------------------

FIGURES = np.array(
    [[5, 6, 9], [8, 7, 13], [9, 8, 12], [4, 4, 6], [7, 7, 7], [2, 5, 5]], dtype=float
)


def enumerated(ranks: np.ndarray) -> float:
    """Return p by looking at every arrangement of every row."""
    n, k = ranks.shape
    centre = n * (k + 1) / 2
    observed = ((ranks.sum(axis=0) - centre) ** 2).sum()
    rows = [np.array(list(itertools.permutations(r))) for r in ranks]
    sums = rows[0]
    for r in rows[1:]:
        sums = (sums[:, None, :] + r[None, :, :]).reshape(-1, k)
    return float(np.mean(((sums - centre) ** 2).sum(axis=1) >= observed - 1e-9))


def test_statistic_equals_r_with_ties():
    # R 4.2.2: friedman.test(FIGURES)
    row = friedman(long(FIGURES, ["a", "b", "c"]), "y", unit="mouse").loc["time"]
    assert row["statistic"] == pytest.approx(6.77777777777777768, rel=EXACT)
    assert stats.chi2.sf(row["statistic"], 2) == pytest.approx(0.03374615180055036, rel=1e-10)
    assert (row["df"], row["n"], row["status"]) == (2, 6, "ok")
    assert row["concordance"] == pytest.approx(row["statistic"] / 12, rel=EXACT)
    assert row["p"] == pytest.approx(enumerated(stats.rankdata(FIGURES, axis=1)), rel=EXACT)
    assert row["method"] == "Friedman, exact: ranks within mouse"


@pytest.mark.parametrize(("n", "k"), [(2, 3), (4, 3), (5, 3), (3, 4), (2, 5)])
@pytest.mark.parametrize("tied", [False, True])
def test_p_equals_enumeration(n, k, tied):
    rng = np.random.default_rng(n * k)
    for _ in range(5):
        y = rng.integers(0, 3, (n, k)) if tied else rng.normal(size=(n, k))
        ranks = stats.rankdata(y, axis=1)
        assert friedman_exact(ranks) == pytest.approx(enumerated(ranks), rel=EXACT)


def test_known_points_of_the_exact_distribution():
    """Printed in every table of the test: three occasions, 4 and 5 units."""
    four = np.array([[1, 2, 3], [1, 2, 3], [1, 3, 2], [1, 2, 3.0]])  # Q = 6.5
    five = np.array([[1, 2, 3], [1, 2, 3], [1, 3, 2], [1, 2, 3], [2, 1, 3.0]])  # Q = 6.4
    got = [friedman(long(r, ["a", "b", "c"]), "y", unit="mouse").loc["time"] for r in (four, five)]
    assert got[0]["statistic"] == pytest.approx(6.5) and got[0]["p"] == pytest.approx(
        0.042, abs=5e-4
    )
    assert got[1]["statistic"] == pytest.approx(6.4) and got[1]["p"] == pytest.approx(
        0.039, abs=5e-4
    )


def test_the_approximation_is_nearer_the_exact_p_than_the_chi_squared():
    """Four units on five occasions, p between 0.01 and 0.1."""
    rng = np.random.default_rng(5)
    gaps = []
    while len(gaps) < 20:
        ranks = stats.rankdata(rng.normal(0, 1, (4, 5)) + 0.3 * np.arange(5), axis=1)
        p = friedman_exact(ranks)
        if 0.01 < p < 0.1:
            q = stats.friedmanchisquare(*ranks.T).statistic
            gaps.append((moment_p(q, 4, 5) / p - 1, stats.chi2.sf(q, 4) / p - 1))
    ours, plain = np.abs(np.array(gaps)).mean(axis=0)
    assert ours < 0.2 < 0.3 < plain


def test_the_approximation_equals_pingouins():
    import pingouin

    y = np.random.default_rng(3).integers(0, 9, (7, 6)).astype(float)
    data = long(y, list("abcdef"))
    row = friedman(data, "y", unit="mouse").loc["time"]
    theirs = pingouin.friedman(data, dv="y", within="time", subject="mouse", method="f").iloc[0]
    assert "F approximation" in row["method"]
    assert row["concordance"] == pytest.approx(theirs["W"], rel=1e-10)
    assert row["p"] == pytest.approx(theirs["p_unc"], rel=1e-10)


def test_many_occasions_take_the_approximation_and_full_agreement_has_the_least_p():
    y = np.arange(9.0) + np.zeros((4, 9))
    row = friedman(long(y, list("abcdefghi")), "y", unit="mouse").loc["time"]
    assert "F approximation" in row["method"] and row["concordance"] == pytest.approx(1)
    assert row["p"] == pytest.approx(1 / 362880**3)


def test_size_is_the_exact_one():
    """The attained size of a discrete test: all p values are possible ones, none too often."""
    rng, draws = np.random.default_rng(7), 4000
    p = np.array(
        [friedman_exact(stats.rankdata(r, axis=1)) for r in rng.normal(size=(draws, 6, 3))]
    )
    for level in (0.05, 0.1):
        size = p[p <= level].max()  # P(p <= level) is the largest p value under it
        assert abs((p <= level).mean() - size) < 3 * np.sqrt(size * (1 - size) / draws)


def test_units_without_every_occasion_are_left_out_and_rows_averaged():
    data = long(FIGURES, ["a", "b", "c"])
    more = pd.concat(
        [data, data.iloc[[0]].assign(y=7.0), long(np.ones((1, 2)), ["a", "b"]).assign(mouse=9)]
    )
    row = friedman(more, "y", unit="mouse").loc["time"]
    assert row["n"] == 6
    assert row["notes"].split("; ") == [
        "several rows of a mouse and time are averaged",
        "1 units of mouse without every time are left out",
    ]
    same = FIGURES.copy()
    same[0, 0] = 6.0
    assert row["p"] == friedman(long(same, ["a", "b", "c"]), "y", unit="mouse").loc["time", "p"]


def test_nothing_but_ties_is_flagged():
    row = friedman(long(np.ones((4, 3)), ["a", "b", "c"]), "y", unit="mouse").loc["time"]
    assert (row["status"], row["p"], row["statistic"]) == ("boundary", 1.0, 0.0)
    assert "all ranks are tied" in row["notes"]


# ---- group by occasion --------------------------------------------------------------------------

LEFT = [1.2, -0.4, 3.1, 2.2, 0.7, 1.9, 2.8]
RIGHT = [-0.9, 0.3, 0.1, -1.4, 1.1, -0.2]


def changes(left=LEFT, right=RIGHT, seed: int = 1) -> pd.DataFrame:
    """Return mice whose changes are given; their levels, which must not matter, are drawn."""
    change = np.array([*left, *right])
    level = np.round(np.random.default_rng(seed).normal(50, 20, len(change)), 1)
    group = ["B"] * len(left) + ["A"] * len(right)
    return long(np.stack([level, level + change], axis=1), ["pre", "post"], drug=group)


def ask(data: pd.DataFrame, **options) -> pd.Series:
    given = {"group": "drug", "change": ("pre", "post"), "unit": "mouse"} | options
    return rank_interaction(data, "y", **given).iloc[0]


def test_changes_are_compared_as_r_does():
    # R 4.2.2: wilcox.test(LEFT, RIGHT, conf.int = TRUE)
    row = ask(changes())
    columns = ["statistic", "p", "ci_low", "ci_high", "estimate"]
    assert row[columns].tolist() == pytest.approx(
        [37, 0.02214452214452214, 0.4, 3.3, 1.95], rel=1e-10
    )
    assert row["contrast"] == "(B - A) x (post - pre)" and row.name == "drug:time"
    assert row["method"] == "Wilcoxon rank-sum, exact: changes within mouse"
    assert (row["n"], row["status"], row["notes"]) == (13, "ok", "")


@pytest.mark.parametrize("seed", [2, 3])
def test_levels_of_the_units_do_not_matter(seed):
    """Equal changes are ties whatever level they are reached from, in spite of rounding."""
    left, right = [0.3, 0.3, 1.1, 0.2], [0.3, -0.1, 0.2]
    a, b = ask(changes(left, right)), ask(changes(left, right, seed))
    pd.testing.assert_series_equal(a, b)
    assert "given the ties" in a["method"]


def test_direction_of_contrast_and_change():
    row, back = ask(changes()), ask(changes(), contrast="A - B")
    assert back["estimate"] == pytest.approx(-row["estimate"]) and back["p"] == row["p"]
    down = ask(changes(), change=("post", "pre"))
    assert down["ci_low"] == pytest.approx(-row["ci_high"]) and down["p"] == row["p"]


def test_two_of_three_groups_and_incomplete_mice():
    data = changes()
    third = changes([5, 6], [7, 8]).assign(drug="C", mouse=lambda f: f["mouse"] + 100)
    both = pd.concat([data, third])
    with pytest.raises(DataError, match="drug has 3 levels"):
        ask(both)
    assert ask(both, contrast="B - A")["p"] == ask(data)["p"]
    unknown = data.assign(drug=data["drug"].mask(data["mouse"] == 0))
    assert ask(unknown)["notes"] == "1 units of mouse without drug are left out"
    less = ask(data[~((data["mouse"] == 0) & (data["time"] == "post"))])
    assert less["n"] == 12 and less["notes"] == "1 units of mouse without every time are left out"


def test_too_few_for_an_interval_is_said():
    row = ask(changes([1.0, 2.0], [0.1, 0.2]))
    assert np.isinf(row["ci_low"]) and "too few units" in row["notes"]
    flat = ask(changes([1.0, 1.0], [1.0, 1.0]))
    assert (flat["status"], flat["p"]) == ("boundary", 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "drugs"}, "did you mean 'drug'"),
        ({"change": ("pre", "pst")}, "did you mean 'post'"),
        ({"change": ("pre", "pre")}, "1 different time cannot be compared"),
        ({"group": "time"}, "is in more than one time"),
        ({"contrast": "2*B - A"}, "not a difference of two groups"),
        ({"contrast": "B"}, "not a difference of two groups"),
        ({"level": 95}, "not between 0 and 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        ask(changes(), **options)
    with pytest.raises(DataError, match="fewer than two units of mouse with drug 'A'"):
        ask(changes(LEFT, [0.5]))


def test_size_is_kept_where_ranks_of_the_outcomes_lose_it():
    """Groups differ in level and everybody changes alike, skewed: no interaction.

    Ranking the outcomes first makes one: Wilcoxon's test on changes of ranks is wrong here.
    """
    rng, draws, n = np.random.default_rng(11), 2000, 8
    first = np.arange(2 * n) < n
    level = rng.exponential(1, (draws, 2 * n)) ** 2 + 6.0 * first
    after = level + 3.0 + rng.normal(0, 0.7, level.shape)
    change = stats.mannwhitneyu(
        (after - level)[:, first], (after - level)[:, ~first], axis=1, method="exact"
    ).pvalue
    ranks = stats.rankdata(np.concatenate([level, after], axis=1), axis=1)
    moved = ranks[:, 2 * n :] - ranks[:, : 2 * n]
    ranked = stats.mannwhitneyu(moved[:, first], moved[:, ~first], axis=1).pvalue
    y = np.stack([level[0], after[0]], axis=1)
    data = long(y, ["pre", "post"], drug=np.where(first, "B", "A"))
    assert ask(data)["p"] == pytest.approx(change[0], rel=1e-10)  # what is simulated is what is run
    assert (change <= 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)
    assert (ranked <= 0.05).mean() > 0.1
