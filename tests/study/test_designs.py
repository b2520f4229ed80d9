"""Designs by name and their expansion."""

import itertools

import pytest

import ketastats as ks
from ketastats.core.errors import StudyError
from ketastats.study.designs import named_design, williams_square
from ketastats.study.plan import expand, largest_remainder, spread_evenly


@pytest.mark.parametrize("n", range(2, 9))
def test_williams_designs_are_balanced_for_carry_over(n: int) -> None:
    rows = williams_square(n)
    pairs = [pair for row in rows for pair in itertools.pairwise(row)]
    counts = {pair: pairs.count(pair) for pair in itertools.permutations(range(n), 2)}
    assert set(counts.values()) == {1 if n % 2 == 0 else 2}
    assert all(sorted(row) == list(range(n)) for row in rows)
    even = sorted(list(range(n)) * (len(rows) // n))
    assert all(sorted(column) == even for column in zip(*rows, strict=True))


def test_designs_by_name() -> None:
    assert named_design("AB/BA", ["placebo", "drug"]) == (
        ("PD", ("placebo", "drug")),
        ("DP", ("drug", "placebo")),
    )
    assert [s for s, _ in named_design("balaam", ["a", "b"])] == ["AA", "BB", "AB", "BA"]
    assert [s for s, _ in named_design("ABB/BAA", ["a", "b"])] == ["ABB", "BAA"]
    # initials that clash become letters
    assert [s for s, _ in named_design("AB/BA", ["drug one", "drug two"])] == ["AB", "BA"]


@pytest.mark.parametrize(
    ("name", "treatments"),
    [
        ("williamz", ["a", "b"]),
        ("balaam", ["a", "b", "c"]),
        ("AB/BAA", ["a", "b"]),
        ("AB/BA", ["a", "b", "c"]),
        ("ABC/BCA", ["a", "b"]),
        ("williams", ["a"]),
    ],
)
def test_impossible_names_are_refused(name: str, treatments: list[str]) -> None:
    with pytest.raises(StudyError):
        named_design(name, treatments)


def test_whole_people_by_largest_remainder() -> None:
    assert largest_remainder([0.54, 0.46], 13) == [7, 6]
    assert largest_remainder([1 / 3, 1 / 3, 1 / 3], 10) == [4, 3, 3]
    assert largest_remainder([0.25, 0.75], 0) == [0, 0]
    for n in range(1, 40):
        assert sum(largest_remainder([0.2, 0.3, 0.5], n)) == n
        assert (
            sorted(spread_evenly(largest_remainder([0.3, 0.7], n)))
            == [0] * largest_remainder([0.3, 0.7], n)[0] + [1] * largest_remainder([0.3, 0.7], n)[1]
        )


def test_the_crossover_plan() -> None:
    plan = ks.load_study("jelen2025").plan("madrs")
    assert list(plan.columns) == ["subject", "sequence", "period", "treatment", "time", "sex"]
    assert len(plan) == 26 * 2 * 2
    per_person = plan.drop_duplicates("subject")
    assert per_person.groupby(["sequence", "sex"], observed=True).size().tolist() == [7, 6, 7, 6]
    given = plan.groupby(["sequence", "period"], observed=True)["treatment"].unique()
    assert given[("PN", "1")].tolist() == ["placebo"]
    assert given[("NP", "1")].tolist() == ["naltrexone"]
    assert len(ks.load_study("jelen2025").plan("glx")) == 26 * 2 * 6


def test_isolated_mice_have_no_cage_and_cages_hold_one_sex() -> None:
    plan = ks.load_study("yokoyama2024").plan().drop_duplicates("subject")
    assert plan.loc[plan["housing"] == "isolated", "cage"].isna().all()
    caged = plan[plan["housing"] == "grouped"]
    assert caged["cage"].notna().all()
    assert caged.groupby("cage", observed=True)["sex"].nunique().eq(1).all()
    assert caged.groupby("cage", observed=True).size().eq(3).all()


def test_a_larger_trial_contains_the_smaller_one() -> None:
    from dataclasses import replace

    design = ks.load_study("jelen2025").design
    small, large = expand(design), expand(replace(design, subjects_per_sequence=(20, 20)))
    assert (large["sequence"].codes[: small.n] == small["sequence"].codes).all()
