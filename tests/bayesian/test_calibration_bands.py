import itertools
import time
from math import comb

import numpy as np
import pytest
from scipy.stats import binom, chisquare, kstest, norm

from ketastats.bayesian.calibration import (
    POINTS,
    Uniformity,
    ecdf_bands,
    ecdf_difference,
    evaluation_points,
    histogram_band,
    inside_probability,
    judge,
    pit_from_ranks,
    rank_counts,
)
from ketastats.core.errors import DataError

EXACT = 1e-12
"""Sums of fewer than a thousand positive terms in double precision."""
STEPS = 0.02
"""Relative, of a published gamma. Theirs comes nearest to the coverage and may lie on either side
of it, ours never lies below it: the two differ by one step of a discrete distribution."""
NAN = float("nan")


def inside_by_binomials(draws, low, high):
    """P(inside) by the binomial transitions of the paper: given c values up to z_i, those in the
    next stretch are Bin(n - c, (z_j - z_i) / (1 - z_i))."""
    z = np.concatenate(([0.0], evaluation_points(len(low))))
    counts, probability = np.array([0]), np.array([1.0])
    for i in range(len(low)):
        after = np.arange(low[i], high[i] + 1)
        step = (z[i + 1] - z[i]) / (1 - z[i])
        moves = binom.pmf(after[:, None] - counts, draws - counts, step)
        counts, probability = after, moves @ probability
    return probability.sum()


def inside_by_listing(draws, low, high):
    """P(inside) by listing every way in which values fall into the stretches between points."""
    cells, total = len(low) + 1, 0.0
    for counts in itertools.product(range(draws + 1), repeat=cells):
        if sum(counts) != draws:
            continue
        reached = np.cumsum(counts)[:-1]
        ways, left = 1, draws
        for c in counts:
            ways *= comb(left, c)
            left -= c
        if ((reached >= low) & (reached <= high)).all():
            total += ways / cells**draws
    return total


def whole(band):
    return (np.rint(a * band.draws).astype(int) for a in (band.low, band.high))


def pointwise(u, z):
    """Smallest two-sided p of the counts, from scipy.stats in place of scipy.special."""
    c = (u[:, None] <= z).sum(axis=0)
    return min(
        2 * min(binom.cdf(c[i], len(u), z[i]), binom.sf(c[i] - 1, len(u), z[i]))
        for i in range(len(z))
    )


@pytest.mark.parametrize("draws", [1, 2, 3])
@pytest.mark.parametrize("points", [1, 2, 3, 4])
@pytest.mark.parametrize("prob", [0.5, 0.8, 0.95])
def test_coverage_of_a_tiny_band_is_that_of_listing_all_outcomes(draws, points, prob):
    band = ecdf_bands(draws, points, prob)
    low, high = whole(band)
    assert band.coverage == pytest.approx(inside_by_listing(draws, low, high), abs=EXACT)
    assert band.coverage >= prob - EXACT


@pytest.mark.parametrize("draws", [1, 2])
def test_any_bounds_of_one_or_two_values_have_their_listed_probability(draws):
    for low in itertools.combinations_with_replacement(range(draws + 1), 3):
        for high in itertools.combinations_with_replacement(range(draws + 1), 3):
            found = inside_probability(draws, np.array(low), np.array(high))
            assert found == pytest.approx(inside_by_listing(draws, low, high), abs=EXACT)


def test_one_value_against_one_point_is_never_outside():
    # P(Bin(1, 1/2) <= 0) = 1/2 on both sides: every pointwise p is 1
    band = ecdf_bands(1, 1)
    assert (band.coverage, band.limit, *band.low, *band.high) == (pytest.approx(1), 1.0, 0.0, 1.0)


@pytest.mark.parametrize(("draws", "points", "prob"), [(20, 9, 0.9), (150, 40, 0.95)])
def test_coverage_is_that_of_the_binomial_transitions(draws, points, prob):
    band = ecdf_bands(draws, points, prob)
    low, high = whole(band)
    # a sum of binomial probabilities that SciPy gives to 12 digits
    assert band.coverage == pytest.approx(inside_by_binomials(draws, low, high), rel=1e-10)


@pytest.mark.parametrize(("draws", "points", "prob"), [(2, 3, 0.9), (25, 9, 0.95), (60, 30, 0.8)])
def test_the_band_is_the_narrowest_that_keeps_its_promise(draws, points, prob):
    band = ecdf_bands(draws, points, prob)
    assert band.coverage >= prob
    c = np.arange(draws + 1)[:, None]
    p = 2 * np.minimum(binom.cdf(c, draws, band.z), binom.sf(c - 1, draws, band.z))
    inside = p >= band.limit * (1 - 1e-9)  # the two binomials differ in the last digits
    low, high = whole(band)
    np.testing.assert_array_equal(low, inside.argmax(axis=0))
    np.testing.assert_array_equal(high, draws - inside[::-1].argmax(axis=0))
    narrower = p > band.limit * (1 + 1e-9)
    assert (narrower.sum() < inside.sum()) and narrower.any(axis=0).all()
    less = inside_by_binomials(
        draws, narrower.argmax(axis=0), draws - narrower[::-1].argmax(axis=0)
    )
    assert less < prob


# T. Säilynoja's gamma for prob 0.95 (github.com/TeemuSailynoja/simultaneous-confidence-bands,
# data/gamma_vals_N_K.csv), by draws and K stretches, that is K - 1 points.
@pytest.mark.parametrize(
    ("draws", "stretches", "gamma"),
    [
        (100, 100, 0.00404870243290342),
        (200, 100, 0.00353618396331715),
        (500, 200, 0.00232260502340088),
        (1000, 100, 0.00266983110242927),
        (1000, 200, 0.00215979235836847),
        (2000, 500, 0.00156658088074169),
    ],
)
def test_limits_agree_with_the_authors_of_the_bands(draws, stretches, gamma):
    assert ecdf_bands(draws, stretches - 1).limit == pytest.approx(gamma, rel=STEPS)


@pytest.mark.parametrize(("draws", "prob"), [(200, 0.95), (200, 0.5), (37, 0.9)])
def test_uniform_values_stay_inside_as_often_as_the_band_says(draws, prob):
    runs, band = 2000, ecdf_bands(draws, prob=prob)
    u = np.sort(np.random.default_rng(11).random((runs, draws)), axis=1)
    shares = np.array([np.searchsorted(x, band.z, side="right") for x in u]) / draws
    inside = ((shares >= band.low - EXACT) & (shares <= band.high + EXACT)).all(axis=1).mean()
    error = np.sqrt(band.coverage * (1 - band.coverage) / runs)
    assert abs(inside - band.coverage) < 4 * error
    assert 0 <= band.coverage - prob < 0.01


def test_the_p_value_is_the_share_of_uniform_samples_with_a_smaller_one():
    n, points, runs = 12, 7, 4000
    z, rng = evaluation_points(points), np.random.default_rng(2)
    u = rng.random((n, 1))
    seen = judge(u, ["a"], points=points)[0]
    assert seen.pointwise == pytest.approx(pointwise(u[:, 0], z), rel=EXACT * 100)
    c = (rng.random((runs, n, 1)) <= z).sum(axis=1)
    p = 2 * np.minimum(binom.cdf(c, n, z), binom.sf(c - 1, n, z)).min(axis=1)
    share = (p <= seen.pointwise * (1 + 1e-9)).mean()
    assert abs(share - seen.p) < 4 * np.sqrt(seen.p * (1 - seen.p) / runs)
    assert 0.02 < seen.p < 0.98


def test_p_values_of_uniform_samples_are_uniform():
    u = np.random.default_rng(3).random((400, 1000))
    p = [judge(column[:, None], ["a"])[0].p for column in u.T]
    # 199 points and 400 values: the steps of p are far below the resolution of this test
    assert kstest(p, "uniform").pvalue > 0.001


@pytest.mark.parametrize("prob", [0.5, 0.9, 0.95])
def test_passing_is_a_p_value_above_its_level(prob):
    u = np.random.default_rng(4).random((60, 300))
    found = [judge(column[:, None], ["a"], prob=prob, points=19)[0] for column in u.T]
    assert [x.passed for x in found] == [x.p > 1 - prob for x in found]
    assert {x.passed for x in found} == {True, False}


def test_a_p_value_too_small_for_a_difference_is_its_union_bound():
    u = np.random.default_rng(5).random((1000, 1)) ** 2
    far = judge(u, ["a"])[0]
    assert 0 < far.p == POINTS * far.pointwise < 1e-6
    assert judge(np.ones((1000, 1)), ["a"])[0].p == 0.0


def test_mirrored_values_have_the_mirrored_judgement():
    u = np.random.default_rng(6).beta(1.1, 0.9, (500, 1))
    one, other = judge(u, ["a"])[0], judge(1 - u, ["a"])[0]
    assert (one.p, one.pointwise) == (other.p, other.pointwise)
    assert one.shift == pytest.approx(-other.shift, abs=EXACT)
    assert one.width == pytest.approx(other.width, abs=EXACT)


Z = np.random.default_rng(20).standard_normal((200, 1000))
U = norm.cdf(Z)
# share of samples of 1,000 values that are caught, from a run of its own with 2,000 samples
CAUGHT = [("beta", 1.2, 0.89), ("beta", 0.8, 0.99), ("shift", 0.15, 0.98), ("shift", 0.25, 0.999)]


@pytest.mark.parametrize(("kind", "by", "power"), CAUGHT)
def test_departures_are_caught_in_a_thousand_draws(kind, by, power):
    from scipy.special import betaincinv

    band = ecdf_bands(1000)
    u = betaincinv(by, by, U) if kind == "beta" else norm.cdf(Z - by)
    shares = np.array([np.searchsorted(np.sort(x), band.z, side="right") for x in u]) / 1000
    caught = 1 - ((shares >= band.low) & (shares <= band.high)).all(axis=1).mean()
    assert caught >= power - 4 * np.sqrt(power * (1 - power) / len(u))


def scores(shift=0.0, width=1.0, n=1000):
    """PIT values of posteriors that lie `shift` of their SDs too high and are `width` too wide."""
    z = norm.ppf((np.arange(n) + 0.5) / n)
    return norm.cdf(z / width - shift)[:, None]


@pytest.mark.parametrize(
    ("shift", "width", "departure"),
    [
        (0.25, 1.0, "shifted up"),
        (-0.25, 1.0, "shifted down"),
        (3.0, 1.0, "shifted up"),
        (0.0, 0.8, "too narrow"),
        (0.0, 1.3, "too wide"),
        (0.3, 0.7, "shifted up and too narrow"),
        (-0.3, 1.6, "shifted down and too wide"),
    ],
)
def test_a_departure_has_its_name_and_its_size(shift, width, departure):
    found = judge(scores(shift, width), ["a"])[0]
    assert found.departure == departure and not found.passed
    # plotting positions have a few per mille less spread than the normal; values beyond
    # 1 / (4 n) count as lying there, which pulls in a shift of 3
    assert found.shift == pytest.approx(shift, abs=0.01 if abs(shift) < 1 else 0.3)
    if abs(shift) < 1:
        assert found.width == pytest.approx(width, rel=0.02)


@pytest.mark.parametrize(("a", "departure"), [(1.5, "too wide"), (0.7, "too narrow")])
def test_beta_values_are_named(a, departure):
    u = np.random.default_rng(8).beta(a, a, (1000, 1))
    assert judge(u, ["a"])[0].departure == departure


@pytest.mark.parametrize(("value", "departure"), [(0.0, "shifted up"), (1.0, "shifted down")])
def test_values_all_at_one_end_are_a_shift_alone(value, departure):
    found = judge(np.full((100, 1), value), ["a"])[0]
    assert found.departure == departure
    assert found.p < 1e-99


def test_a_departure_without_shift_and_width_is_a_wrong_shape():
    z = norm.ppf((np.arange(500) + 0.5) / 500)
    two_humps = np.concatenate((0.9 + np.sqrt(1 - 0.81) * z, -0.9 - np.sqrt(1 - 0.81) * z))
    found = judge(norm.cdf(two_humps)[:, None], ["a"])[0]
    assert found.departure == "of the wrong shape"
    assert found.verdict.endswith("the posterior is of the wrong shape")


def test_each_of_many_parameters_has_a_wider_band_and_the_family_keeps_its_level():
    rng, k, runs = np.random.default_rng(9), 5, 600
    names = list("abcde")
    alone = judge(rng.random((100, 1)), ["a"], points=29)[0]
    kept = 0
    for _ in range(runs):
        found = judge(rng.random((100, k)), names, points=29)
        kept += all(x.passed for x in found)
    assert [x.name for x in found] == names
    assert {x.prob for x in found} == {1 - 0.05 / 5}
    assert found[0].limit < alone.limit
    assert found[0].p_adjusted == min(1, 5 * found[0].p)
    # independent columns: (1 - 0.05 / 5)^5 = 0.951, and a little more for whole counts
    assert abs(kept / runs - 0.951) < 4 * np.sqrt(0.951 * 0.049 / runs) + 0.005


def test_failed_fits_are_counted_and_said():
    u = np.random.default_rng(10).random((300, 2))
    u[:7, 1] = NAN
    whole_column, some = judge(u, ["a", "b"])
    assert (whole_column.failed, some.failed, some.draws) == (0, 7, 293)
    assert some.verdict.endswith("; 7 of 300 fits failed and are not in this")
    assert "failed" not in whole_column.verdict
    again = judge(u[7:], ["a", "b"])[1]
    assert (again.p, again.distance) == (some.p, some.distance)


def test_fits_that_all_failed_are_not_a_pass():
    found = judge(np.full((12, 1), NAN), ["a"])[0]
    assert not found.passed and found.failed == 12 and found.draws == 0
    assert found.verdict == "no PIT values, all 12 fits failed: nothing is known of the posterior"
    assert np.isnan(ecdf_difference(np.full((12, 1), NAN))).all()


def test_the_verdict_is_one_sentence_with_its_numbers():
    fine = judge(scores(), ["effect"])[0]
    assert str(fine) == (
        "effect: PIT values are compatible with a uniform distribution "
        f"(smallest pointwise p 1, limit {fine.limit:.2g})"
    )
    narrow = judge(scores(shift=0.3, width=0.7), ["effect"])[0]
    assert "PIT values are not uniform" in narrow.verdict
    assert narrow.verdict.endswith(
        "the posterior is shifted up and too narrow "
        f"(by about 0.3 posterior SDs, SD about {narrow.width:.2g} times the right one)"
    )
    gone = judge(np.ones((1000, 1)), ["effect"])[0]
    assert "pointwise p below 1e-99" in gone.verdict


def test_distance_and_difference_are_those_of_the_ecdf():
    u = np.array([[0.1], [0.15], [0.2], [0.9]])
    assert ecdf_difference(u, points=3)[:, 0].tolist() == [0.5, 0.25, 0.0]
    # a value on an evaluation point counts as reached
    assert ecdf_difference(np.array([[0.25]]), points=3)[:, 0].tolist() == [0.75, 0.5, 0.25]
    found = judge(u, ["a"], points=3)[0]
    assert (found.distance, found.at) == (0.5, 0.25)


def test_chi_square_is_that_of_the_rank_histogram():
    u = np.random.default_rng(12).beta(0.9, 1, (400, 1))
    found = judge(u, ["a"])[0]
    statistic, p = chisquare(rank_counts(u)[:, 0])
    assert (found.chi_square, found.chi_p) == (pytest.approx(statistic), pytest.approx(p))
    assert found.chi_df == 19
    assert judge(u[:55], ["a"])[0].chi_df == 10  # 5 or more expected in each bin
    assert np.isnan(judge(u[:9], ["a"])[0].chi_square)


def test_ranks_become_uniform_values_in_their_own_cell():
    ranks = np.tile(np.arange(10), 500).reshape(-1, 2)
    u = pit_from_ranks(ranks, 9, np.random.default_rng(13))
    assert (np.floor(u * 10) == ranks).all()
    assert kstest(u.ravel(), "uniform").pvalue > 0.01
    again = pit_from_ranks(ranks, 9, np.random.default_rng(13))
    assert again.tobytes() == u.tobytes()


def test_a_failed_fit_keeps_its_place_among_ranks():
    ranks = np.array([3.0, NAN, 5.0])
    u = pit_from_ranks(ranks, 9, np.random.default_rng(1))
    assert np.isnan(u).tolist() == [False, True, False]
    other = pit_from_ranks(np.array([3, 4, 5]), 9, np.random.default_rng(1))
    assert u[2] == other[2]


def test_bins_hold_every_value_once():
    u = np.array([[0.0, 0.1], [0.05, NAN], [1.0, 0.5], [0.999, 0.9]])
    counts = rank_counts(u, bins=10)
    assert counts.sum(axis=0).tolist() == [4, 3]
    assert counts[0].tolist() == [2, 0] and counts[9].tolist() == [2, 1]


@pytest.mark.parametrize(("draws", "bins", "prob"), [(1000, 20, 0.95), (50, 5, 0.9)])
def test_the_band_of_a_histogram_has_binomial_quantiles(draws, bins, prob):
    low, high = histogram_band(draws, bins, prob)
    tail = (1 - prob) / (2 * bins)
    assert (low, high) == tuple(binom.ppf([tail, 1 - tail], draws, 1 / bins))
    counts = np.random.default_rng(14).multinomial(draws, np.full(bins, 1 / bins), 3000)
    inside = ((counts >= low) & (counts <= high)).all(axis=1).mean()
    assert inside > prob - 4 * np.sqrt(prob * (1 - prob) / 3000)


def test_the_same_values_give_the_same_bytes():
    u = np.random.default_rng(15).random((500, 3))
    before, bands = repr(judge(u, list("abc"))), ecdf_bands(777)
    ecdf_bands.cache_clear()
    after = ecdf_bands(777)
    assert repr(judge(u, list("abc"))) == before
    assert after.low.tobytes() == bands.low.tobytes() and after.limit == bands.limit
    assert judge(u[::-1], list("abc"))[0].p == judge(u, list("abc"))[0].p


def test_a_kept_band_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        ecdf_bands(100).low[0] = 1.0


def test_ten_thousand_draws_take_a_moment():
    ecdf_bands.cache_clear()
    start = time.process_time()
    ecdf_bands(10_000)
    # 0.12 s alone on the machine it was written on; five times that, for a busy one
    assert time.process_time() - start < 0.6


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: judge(np.array([[1.2]]), ["a"]), "lies outside 0 to 1; give NaN"),
        (lambda: judge(np.array([[np.inf]]), ["a"]), "lies outside 0 to 1"),
        (lambda: judge(np.array([0.2, 0.3]), ["a"]), r"shape \(2,\); give draws x parameters"),
        (lambda: judge(np.empty((0, 1)), ["a"]), r"shape \(0, 1\)"),
        (lambda: judge(np.ones((3, 2)), ["a"]), "2 columns of PIT values and 1 names"),
        (lambda: ecdf_bands(0), "no band for 0 draws"),
        (lambda: ecdf_bands(10, 5, 1.0), "probability between 0 and 1"),
        (lambda: pit_from_ranks(np.array([10]), 9, np.random.default_rng(1)), "from 0 to 9"),
        (lambda: pit_from_ranks(np.array([0.5]), 9, np.random.default_rng(1)), "whole number"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_a_mend(call, says):
    with pytest.raises(DataError, match=says):
        call()


def test_a_judgement_is_frozen():
    found = judge(scores(n=50), ["a"])[0]
    assert isinstance(found, Uniformity)
    with pytest.raises(AttributeError):
        found.passed = False
