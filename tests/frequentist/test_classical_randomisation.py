"""The randomisation test against enumeration, scipy and its nominal size."""

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.core.errors import DataError
from ketastats.frequentist.randomisation import randomisation_test
from ketastats.frequentist.reallocation import (
    all_allocations,
    count_allocations,
    mean_differences,
    random_allocations,
    randomisation_interval,
    randomisation_p,
)


@pytest.fixture(scope="module")
def madrs() -> pd.DataFrame:
    return ks.load_study("jelen2025").simulate(seed=2, outcome="madrs")


def small(madrs: pd.DataFrame) -> pd.DataFrame:
    people = madrs.drop_duplicates("subject")
    keep = people.groupby(["sequence", "sex"], observed=True).head(4)["subject"]
    return madrs[madrs["subject"].isin(keep)]


def by_hand(data: pd.DataFrame) -> pd.DataFrame:
    """Half-differences of the day-1 change, one row per person."""
    wide = data.pivot(index=["subject", "sequence", "sex"], columns=["period", "time"])["madrs"]
    wide = wide.astype(float)
    half = ((wide["1"]["day1"] - wide["1"]["pre"]) - (wide["2"]["day1"] - wide["2"]["pre"])) / 2
    return half.rename("d").reset_index().dropna()


def test_all_allocations_are_there_once() -> None:
    first = np.array([True, False, True, False, False, True, False])
    stratum = np.array([0, 0, 0, 1, 1, 1, 1])
    every = all_allocations(first, stratum)
    assert len(every) == count_allocations(first, stratum) == 3 * 4
    assert len(np.unique(every, axis=0)) == len(every)
    assert (every[:, :3].sum(axis=1) == 2).all()
    assert (every[:, 3:].sum(axis=1) == 1).all()
    assert (every == first).all(axis=1).sum() == 1


def test_exact_p_is_scipys_permutation_test(madrs: pd.DataFrame) -> None:
    from scipy.stats import permutation_test

    data = small(madrs)
    people = by_hand(data)
    x, y = (people.loc[people["sequence"] == s, "d"].to_numpy() for s in ("PN", "NP"))
    theirs = permutation_test(
        (x, y), lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis), vectorized=True,
        n_resamples=np.inf, alternative="greater",
    )  # fmt: skip
    away = np.abs(theirs.null_distribution) >= abs(theirs.statistic) - 1e-9
    row = randomisation_test(data, "madrs", change=("pre", "day1")).loc["treatment"]
    assert row["p"] == away.mean()
    assert row["mc_error"] == 0
    assert row["estimate"] == pytest.approx(theirs.statistic, rel=1e-12)


def test_strata_are_kept(madrs: pd.DataFrame) -> None:
    data = small(madrs)
    people = by_hand(data)
    first = (people["sequence"] == "PN").to_numpy()
    men = (people["sex"] == "M").to_numpy()
    d = people["d"].to_numpy()
    observed = d[first].mean() - d[~first].mean()
    extreme = total = 0
    for allocation in all_allocations(first, np.zeros(len(d), dtype=int)):
        if allocation[men].sum() == first[men].sum():
            total += 1
            extreme += abs(d[allocation].mean() - d[~allocation].mean()) >= abs(observed) - 1e-9
    row = randomisation_test(data, "madrs", change=("pre", "day1"), strata=("sex",)).iloc[0]
    assert row["allocations"] == total
    assert row["p"] == pytest.approx(extreme / total, rel=1e-12)
    assert "within sex" in row["method"]


def test_monte_carlo_is_near_the_exact_answer(madrs: pd.DataFrame) -> None:
    data = small(madrs)
    exact = randomisation_test(data, "madrs", change=("pre", "day1")).iloc[0]
    drawn = randomisation_test(
        data, "madrs", change=("pre", "day1"), exact_up_to=10, draws=20_000
    ).iloc[0]
    again = randomisation_test(
        data, "madrs", change=("pre", "day1"), exact_up_to=10, draws=20_000
    ).iloc[0]
    other = randomisation_test(
        data, "madrs", change=("pre", "day1"), exact_up_to=10, draws=20_000, seed=2
    ).iloc[0]
    assert drawn["p"] == again["p"] != other["p"]
    assert abs(drawn["p"] - exact["p"]) < 3 * drawn["mc_error"] + 1 / 20_001
    assert drawn["mc_error"] == pytest.approx(
        np.sqrt(exact["p"] * (1 - exact["p"]) / 20_000), rel=0.1
    )
    # the limits are 2.5 % quantiles of 20,000 critical shifts, whose SD is about a quarter of the
    # interval: SE = sqrt(0.025 * 0.975 / 20,000) / density, near 1 % of the interval; three of it
    width = exact["ci_high"] - exact["ci_low"]
    for limit in ("ci_low", "ci_high"):
        assert drawn[limit] == pytest.approx(exact[limit], abs=0.03 * width)


def test_more_draws_begin_with_the_same() -> None:
    first, stratum = np.arange(20) < 9, np.arange(20) % 3
    few = random_allocations(first, stratum, 50, np.random.default_rng(4))
    many = random_allocations(first, stratum, 10_050, np.random.default_rng(4))
    assert (few == many[:50]).all()
    for s in range(3):
        assert set(many[:, stratum == s].sum(axis=1)) == {first[stratum == s].sum()}


def test_drawn_allocations_are_uniform() -> None:
    first, stratum = np.arange(6) < 3, np.zeros(6, dtype=int)
    drawn = random_allocations(first, stratum, 20_000, np.random.default_rng(7))
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 20
    chi = ((counts - 1000) ** 2 / 1000).sum()
    assert chi < 19 + 4 * np.sqrt(38)  # chi-squared on 19 df: mean and four SD


def test_size_exact_and_monte_carlo() -> None:
    draws, n = 8000, 12
    first, stratum = np.arange(n) < 6, np.repeat([0, 1, 0, 1], 3)
    scores = np.random.default_rng(11).standard_cauchy(size=(draws, n))  # no moments needed
    every = all_allocations(first, stratum)  # 20 x 20
    exact = randomisation_p(scores, first, every, exact=True)
    se = np.sqrt(0.05 * 0.95 / draws)
    # p is a multiple of 2/400: exactly uniform on those
    assert abs((exact <= 0.05).mean() - 0.05) < 3 * se
    some = random_allocations(first, stratum, 199, np.random.default_rng(3))
    drawn = randomisation_p(scores, first, some, exact=False)
    # one set of allocations serves every trial: its own scatter adds to the binomial one
    spread = np.sqrt(se**2 + 0.05 * 0.95 / 199)
    assert abs((drawn <= 0.05).mean() - 0.05) < 3 * spread
    assert drawn.min() >= 1 / 200


def test_interval_is_what_the_one_sided_tests_do_not_reject() -> None:
    rng = np.random.default_rng(6)
    scores, first = rng.normal(size=10).round(2), np.arange(10) < 4
    every = all_allocations(first, np.zeros(10, dtype=int))
    low, high = randomisation_interval(scores, first, every, 0.9, exact=True)

    def rejected(shift: float, side: float) -> bool:
        moved = (scores - shift * first)[None, :]
        star = side * mean_differences(moved, every)[0]
        return bool(
            (star >= side * mean_differences(moved, first[None, :])[0, 0] - 1e-12).mean() <= 0.05
        )

    for shift, side, out in ((low - 1e-6, 1, True), (low + 1e-6, 1, False),
                             (high + 1e-6, -1, True), (high - 1e-6, -1, False)):  # fmt: skip
        assert rejected(shift, side) == out


def test_interval_coverage() -> None:
    draws, first = 1500, np.arange(10) < 5
    every = all_allocations(first, np.zeros(10, dtype=int))
    scores = np.random.default_rng(12).exponential(size=(draws, 10)) + 3.0 * first
    covered = 0
    for row in scores:
        low, high = randomisation_interval(row, first, every, 0.9, exact=True)
        covered += low < 3.0 < high
    truth = 1 - 2 * np.floor(0.05 * 252) / 252
    assert abs(covered / draws - truth) < 3 * np.sqrt(truth * (1 - truth) / draws)


def test_carry_over_and_what_is_refused(madrs: pd.DataFrame) -> None:
    data = small(madrs)
    row = randomisation_test(data, "madrs", statistic="sum", change=("pre", "day1"))
    assert list(row.index) == ["carry_over"]
    with pytest.raises(DataError, match="did you mean 'half-difference'"):
        randomisation_test(data, "madrs", statistic="half-diference")
    with pytest.raises(DataError, match=r"no column 'sx'.*did you mean 'sex'"):
        randomisation_test(data, "madrs", strata=("sx",))
    with pytest.raises(DataError, match="nothing to re-allocate"):
        randomisation_test(data, "madrs", strata=("subject",))
    with pytest.raises(DataError, match="more than one sex"):
        mixed = data.assign(sex=np.where(np.arange(len(data)) % 2, "F", "M"))
        randomisation_test(mixed, "madrs", strata=("sex",))
    with pytest.raises(DataError, match="draws is 0"):
        randomisation_test(data, "madrs", draws=0, exact_up_to=1)


def test_too_few_allocations_for_an_interval(madrs: pd.DataFrame) -> None:
    people = madrs.drop_duplicates("subject").groupby("sequence", observed=True).head(3)
    few = madrs[madrs["subject"].isin(people["subject"])]
    row = randomisation_test(few, "madrs", change=("pre", "day1")).iloc[0]
    assert row["allocations"] == 20
    assert (row["ci_low"], row["ci_high"]) == (-np.inf, np.inf)
    assert "too few allocations" in row["notes"]
    assert row["p"] >= 0.1


def test_drawn_allocations_count_the_one_that_happened() -> None:
    # 40 people apart by far: no other allocation of the 99 comes near, so p is 1 in 100
    first = np.arange(40) < 20
    scores = 100.0 * first + np.random.default_rng(2).normal(size=40)
    drawn = random_allocations(first, np.zeros(40, dtype=int), 99, np.random.default_rng(1))
    assert randomisation_p(scores[None, :], first, drawn, exact=False)[0] == 1 / 100
    low, high = randomisation_interval(scores, first, drawn, 0.9, exact=False)

    def one_sided(shift: float, side: float) -> float:
        moved = (scores - shift * first)[None, :]
        star = side * mean_differences(moved, drawn)[0]
        extreme = (star >= side * mean_differences(moved, first[None, :])[0, 0]).sum()
        return float((extreme + 1) / 100)

    assert one_sided(low - 1e-6, 1) <= 0.05 < one_sided(low + 1e-6, 1)
    assert one_sided(high + 1e-6, -1) <= 0.05 < one_sided(high - 1e-6, -1)
