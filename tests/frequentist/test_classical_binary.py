"""Binary outcomes against R, published tables and enumeration."""

import itertools
from math import comb

import numpy as np
import pandas as pd
import pytest

from ketastats.core.errors import DataError
from ketastats.frequentist.binary import binary_tests, prescott_p
from ketastats.frequentist.randomisation import randomisation_test

OUTCOMES = ((1, 1), (1, 0), (0, 1), (0, 0))


def trial(first: tuple[int, ...], second: tuple[int, ...], labels: str = "AB") -> pd.DataFrame:
    """Long data from counts of (1,1), (1,0), (0,1), (0,0) in both sequences."""
    rows, who = [], 0
    for sequence, counts in ((labels, first), (labels[::-1], second)):
        for pair, count in zip(OUTCOMES, counts, strict=True):
            for _ in range(count):
                who += 1
                rows += [(who, sequence, p, sequence[p - 1], pair[p - 1]) for p in (1, 2)]
    return pd.DataFrame(rows, columns=["subject", "sequence", "period", "treatment", "y"])


# Formoterol and salbutamol, good or bad response: preferences 9-3-0 and 1-5-6 (Senn 2002,
# Cross-over Trials in Clinical Research). How the ties split does not enter the tests.
SENN = trial((2, 9, 0, 1), (3, 1, 6, 2), "FS")


def test_senns_example() -> None:
    result = binary_tests(SENN, "y", contrast="F - S")
    t = result.tests
    # R 4.2.2: fisher.test(matrix(c(9, 1, 0, 6), 2)); the root of its odds ratio and interval
    assert t.loc["mainland_gart", "p"] == pytest.approx(0.000874125874126, rel=1e-10)
    assert t.loc["mainland_gart", "ci_low"] == pytest.approx(3.33397233099316**0.5, rel=1e-4)
    assert t.loc["mainland_gart", "estimate"] == np.inf
    assert t.loc["mainland_gart", "status"] == "boundary"
    # binom.test(15, 16), and its interval p/(1 - p)
    assert t.loc["mcnemar", "p"] == pytest.approx(0.000518798828125, rel=1e-12)
    assert t.loc["mcnemar", ["estimate", "ci_low", "ci_high"]].tolist() == pytest.approx(
        [15, 2.30774529454436, 631.46637514689951], rel=1e-9
    )
    # with s = 1, 0, -1 and g the sequence: t.test(s/2 ~ g)$conf.int
    assert t.loc["prescott", ["estimate", "ci_low", "ci_high"]].tolist() == pytest.approx(
        [0.583333333333333, 0.339764023180508, 0.826902643486158], rel=1e-10
    )
    # (N - 1) cor(s, g)^2 = 12.25, pchisq(12.25, 1, lower = FALSE)
    asymptotic = binary_tests(SENN, "y", method="asymptotic").tests
    assert asymptotic.loc["prescott", "p"] == pytest.approx(0.00046525815807105, rel=1e-10)
    assert "asymptotic" in asymptotic.loc["prescott", "method"]


def test_tables() -> None:
    result = binary_tests(SENN, "y", contrast="F - S")
    assert result.pairs.loc["FS"].tolist() == [2, 9, 0, 1, 12]
    assert result.pairs.loc["SF"].tolist() == [3, 1, 6, 2, 12]
    assert result.pairs.loc["all"].tolist() == [5, 10, 6, 3, 24]
    assert list(result.preferences.columns) == ["F", "none", "S"]
    assert result.preferences.loc["FS"].tolist() == [9, 3, 0]
    assert result.preferences.loc["SF"].tolist() == [6, 5, 1]
    for text in (str(result), result._repr_html_()):
        assert "mainland_gart" in text
        assert "none" in text
    pd.testing.assert_frame_equal(result.to_frame(), result.tests)
    turned = binary_tests(SENN, "y", contrast="S - F")
    assert turned.preferences.loc["SF"].tolist() == [1, 5, 6]
    assert turned.tests.loc["mainland_gart", "estimate"] == 0
    np.testing.assert_allclose(turned.tests["p"], result.tests["p"], rtol=1e-12)


def test_odds_ratios_equal_r() -> None:
    # R 4.2.2: fisher.test(matrix(c(8, 3, 2, 6), 2)); roots of the estimate and its interval
    t = binary_tests(trial((4, 8, 2, 3), (5, 3, 6, 1)), "y").tests
    assert t.loc["mainland_gart", "p"] == pytest.approx(0.0697785186949273, rel=1e-10)
    # both solve an equation: R to 1e-4, scipy to 1e-9
    assert t.loc["mainland_gart", ["estimate", "ci_low", "ci_high"]].tolist() == pytest.approx(
        [2.6509339841786277, 0.8534575467132979, 10.5752216023248096], rel=1e-4
    )
    # binom.test(14, 19): 8 + 6 of 19 preferred A
    assert t.loc["mcnemar", ["p", "ci_low", "ci_high"]].tolist() == pytest.approx(
        [0.063568115234375, 0.953013062805035, 9.933050003446494], rel=1e-9
    )


def test_mainland_gart_by_enumeration() -> None:
    # 0-6 against 4-2 (the cerebrovascular trial in Diggle et al. 2002, table 8.1): 30/495
    t = binary_tests(trial((22, 6, 0, 6), (18, 2, 4, 9)), "y").tests
    chances = [comb(8, k) * comb(4, 6 - k) / comb(12, 6) for k in range(2, 7)]
    p = sum(c for c in chances if c <= chances[-1] * (1 + 1e-9))
    assert t.loc["mainland_gart", "p"] == pytest.approx(p, rel=1e-12)
    assert p == pytest.approx(0.0606, abs=5e-5)


@pytest.mark.parametrize(
    "table", [((3, 2, 0), (1, 2, 2)), ((0, 4, 1), (3, 1, 1)), ((2, 0, 2), (1, 3, 1))]
)
def test_prescott_by_enumeration(table: tuple[tuple[int, ...], ...]) -> None:
    counts = np.array(table)
    scores = np.repeat([1, 0, -1], counts.sum(axis=0))
    n1 = int(counts[0].sum())
    sums = [sum(scores[list(c)]) for c in itertools.combinations(range(len(scores)), n1)]
    away = np.abs(np.array(sums) - np.mean(sums))
    observed = abs(counts[0, 0] - counts[0, 2] - np.mean(sums))
    assert prescott_p(counts) == pytest.approx(np.mean(away >= observed - 1e-9), rel=1e-12)


def test_prescott_is_the_randomisation_test_of_half_differences() -> None:
    data = trial((1, 4, 0, 2), (2, 1, 3, 1))
    exact = binary_tests(data, "y").tests.loc["prescott"]
    randomised = randomisation_test(data, "y").loc["treatment"]
    assert exact["p"] == pytest.approx(randomised["p"], rel=1e-12)
    assert exact["estimate"] == pytest.approx(randomised["estimate"], rel=1e-12)


def test_size_is_kept_and_prescott_is_nearer() -> None:
    from scipy.stats import fisher_exact

    # people of differing inclination and a strong period effect, no effect of treatment
    rng = np.random.default_rng(3)
    draws, n = 1200, 15
    rejected = np.zeros(2)
    for _ in range(draws):
        chance = rng.beta(1, 1, size=(2, n, 1))
        y = rng.random((2, n, 2)) < np.clip(chance + np.array([0.0, 0.3]), 0, 1)
        column = (3 - 2 * y[..., 0].astype(int) - y[..., 1]).astype(int)
        c = np.array([np.bincount(k, minlength=4) for k in column])
        rejected[0] += prescott_p(np.column_stack([c[:, 1], c[:, 0] + c[:, 3], c[:, 2]])) <= 0.05
        rejected[1] += fisher_exact(c[:, 1:3]).pvalue <= 0.05
    prescott, gart = rejected / draws
    assert gart < prescott  # more discrete, so more conservative
    assert prescott < 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)


def test_nobody_with_a_preference() -> None:
    t = binary_tests(trial((3, 0, 0, 2), (2, 0, 0, 4)), "y").tests
    assert (t["p"] == 1.0).all()
    assert t["status"].tolist() == ["not_estimable", "not_estimable", "boundary"]
    assert (t["notes"] != "").all()
    assert t.loc["mcnemar", ["ci_low", "ci_high"]].tolist() == [0.0, np.inf]
    forced = binary_tests(trial((3, 0, 0, 2), (2, 0, 0, 4)), "y", method="asymptotic").tests
    assert forced.loc["prescott", "p"] == 1.0


def test_no_difference_is_no_boundary() -> None:
    t = binary_tests(trial((2, 3, 3, 2), (2, 3, 3, 2)), "y").tests
    assert (t["status"] == "ok").all()
    assert t.loc["prescott", "estimate"] == 0
    assert t.loc["mcnemar", "estimate"] == 1
    assert t["p"].tolist() == pytest.approx([1, 1, 1])


def test_true_and_false_count_and_other_values_do_not() -> None:
    data = SENN.assign(y=SENN["y"].astype(bool))
    np.testing.assert_array_equal(
        binary_tests(data, "y").tests["p"], binary_tests(SENN, "y").tests["p"]
    )
    with pytest.raises(DataError, match="0 or 1"):
        binary_tests(SENN.assign(y=SENN["y"] + 1), "y")
    with pytest.raises(DataError, match="no method 'exakt'"):
        binary_tests(SENN, "y", method="exakt")
