"""Are PIT values uniform? The statistics of simulation-based calibration, functions on arrays.

A parameter is drawn from its prior, data from the model, and u is the posterior probability below
the drawn value (or the share of posterior draws below it). Where the posterior is right, u is
uniform: Talts, Betancourt, Simpson, Vehtari & Gelman (2018), arXiv:1804.06788, theorem 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import bdtr, chdtrc, gammaln, ndtri

from ketastats.core.errors import DataError

POINTS = 199
"""Evaluation points of the ECDF: every half per cent."""
BINS = 20
"""Most bins of a rank histogram; with fewer than 5 values expected in one, there are fewer."""
_HALVINGS = 30
_NAMED, _HINTED = 3.0, 2.0
"""Standard errors from which a shift and a wrong width are named; from which one alone is."""
_ROUND = 1e-9
"""Below this pointwise p, 1 - P(inside) has lost its digits and the union bound is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Bands:
    """Simultaneous band for the ECDF of uniform values; arrays have shape (points,).

    Attributes
    ----------
    draws : int
    prob : float
        Simultaneous coverage asked for.
    coverage : float
        The one there is, exact: never smaller, and larger because counts are whole.
    limit : float
        Smallest two-sided pointwise p value inside the band (gamma in the paper).
    z, low, high : numpy.ndarray
        Evaluation points; smallest and largest ECDF inside.
    """

    draws: int
    prob: float
    coverage: float
    limit: float
    z: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, slots=True)
class Uniformity:
    """Whether the PIT values of one parameter are uniform.

    Attributes
    ----------
    name : str
    draws, failed : int
        Values judged; fits without one.
    family : int
        Parameters judged together.
    prob : float
        Simultaneous coverage of this parameter's band, ``1 - (1 - family-wise) / family``.
    distance, at : float
        Largest distance of the ECDF from uniform at the evaluation points, and where.
    pointwise, limit : float
        Smallest two-sided pointwise p value, and the smallest that the band allows.
    p : float
        Probability of a `pointwise` as small under uniformity, exact, of this parameter alone.
    passed : bool
        The ECDF stays inside the band everywhere. Without values: False.
    shift : float
        By how many of its SDs the posterior lies above the truth, were it normal.
    width : float
        Posterior SD over the right one, were it normal.
    departure : str
        ``""`` when passed, else how: ``shifted up``, ``shifted down``, ``too wide``,
        ``too narrow``, two of them joined by ``and``, or ``of the wrong shape``.
    chi_square, chi_df, chi_p : float
        Of the rank histogram; NaN with fewer than 10 values.
    """

    name: str
    draws: int
    failed: int
    family: int
    prob: float
    distance: float
    at: float
    pointwise: float
    limit: float
    p: float
    passed: bool
    shift: float
    width: float
    departure: str
    chi_square: float
    chi_df: float
    chi_p: float

    @property
    def p_adjusted(self) -> float:
        """The p value times the number of parameters (Bonferroni), at most 1."""
        return min(1.0, self.family * self.p)

    @property
    def verdict(self) -> str:
        """One sentence for a reader."""
        total = self.draws + self.failed
        if not self.draws:
            return f"no PIT values, all {total:,} fits failed: nothing is known of the posterior"
        numbers = f"(smallest pointwise p {_short(self.pointwise)}, limit {_short(self.limit)})"
        if self.passed:
            text = f"PIT values are compatible with a uniform distribution {numbers}"
        else:
            text = f"PIT values are not uniform {numbers}: the posterior is {self._how()}"
        if self.failed:
            text += f"; {self.failed:,} of {total:,} fits failed and are not in this"
        return text

    def _how(self) -> str:
        sizes = []
        if "shifted" in self.departure:
            sizes.append(f"by about {_short(abs(self.shift))} posterior SDs")
        if "too" in self.departure:
            sizes.append(f"SD about {_short(self.width)} times the right one")
        return self.departure + (f" ({', '.join(sizes)})" if sizes else "")

    def __str__(self) -> str:
        return f"{self.name}: {self.verdict}"


def _short(value: float) -> str:
    return "below 1e-99" if value < 1e-99 else f"{value:.2g}"


def pit_from_ranks(ranks: np.ndarray, largest: int, rng: np.random.Generator) -> np.ndarray:
    """Spread ranks over the unit interval: (rank + uniform) / (L + 1), uniform when ranks are.

    Parameters
    ----------
    ranks : numpy.ndarray, any shape
        Whole numbers 0 to L, the posterior draws below the true value; NaN where a fit failed.
    largest : int
        L, the number of posterior draws.
    rng : numpy.random.Generator
        Gives one number per rank, failed or not.

    Returns
    -------
    numpy.ndarray, the shape of ranks

    Examples
    --------
    >>> u = pit_from_ranks(np.array([0, 99]), 99, np.random.default_rng(1))
    >>> bool(0 < u[0] < 0.01 and 0.99 < u[1] < 1)
    True
    """
    r = np.asarray(ranks, dtype=float)
    seen = r[~np.isnan(r)]
    if not ((seen >= 0) & (seen <= largest) & (seen == np.floor(seen))).all():
        raise DataError(
            f"a rank is not a whole number from 0 to {largest}",
            where="ranks",
            mend="count the posterior draws below the true value; NaN where the fit failed",
        )
    return (r + rng.random(r.shape)) / (largest + 1)


def rank_counts(pit: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Count PIT values in equal bins; NaN is in none.

    Parameters
    ----------
    pit : numpy.ndarray, shape (draws, K)
    bins : int

    Returns
    -------
    numpy.ndarray of int, shape (bins, K)

    Examples
    --------
    >>> rank_counts(np.array([[0.1], [0.2], [0.9], [np.nan]]), bins=2).tolist()
    [[2], [1]]
    """
    u = _checked(pit)
    out = np.zeros((bins, u.shape[1]), dtype=int)
    for k, column in enumerate(u.T):
        seen = column[~np.isnan(column)]
        out[:, k] = np.bincount(np.minimum((seen * bins).astype(int), bins - 1), minlength=bins)
    return out


def histogram_band(draws: int, bins: int = BINS, prob: float = 0.95) -> tuple[int, int]:
    """Return the smallest and largest count that fit a bin of uniform values.

    Binomial quantiles at (1 - prob) / (2 bins) and its complement: all bins lie inside together
    with probability `prob` or more (Bonferroni).

    Examples
    --------
    >>> histogram_band(1000, 20)
    (30, 72)
    """
    share, gamma = np.array([1 / bins, 1 - 1 / bins]), (1 - prob) / bins
    low, rest = _lowest(draws, share, gamma)
    return int(low), int(draws - rest)


@lru_cache(maxsize=256)
def ecdf_bands(draws: int, points: int = POINTS, prob: float = 0.95) -> Bands:
    r"""Return the simultaneous band for the ECDF of `draws` uniform values, exactly.

    Säilynoja, Bürkner & Vehtari (2022), Statistics and Computing 32:32, the optimisation method:
    at :math:`z_i` the count is :math:`n F(z_i) \sim \mathrm{Bin}(n, z_i)`; the band lies between
    its quantiles at :math:`\gamma / 2` and :math:`1 - \gamma / 2`, and :math:`\gamma` is the
    largest with which the whole ECDF stays inside with probability `prob`. That probability is
    the one of a Poisson process given its total: Moscovich & Nadler (2017), Statistics &
    Probability Letters 123:177; see :func:`inside_probability`.

    Parameters
    ----------
    draws : int
    points : int
        Evaluation points i / (points + 1).
    prob : float
        Simultaneous coverage.

    Notes
    -----
    ArviZ simulates the same bands. For 10,000 draws that takes 14 s and its gamma has a
    Monte-Carlo error; this takes 0.1 s and has none.

    Examples
    --------
    >>> band = ecdf_bands(1000, points=99)
    >>> f"{band.limit:.4f} {band.coverage:.4f} {band.low[49]:.3f} {band.high[49]:.3f}"
    '0.0027 0.9501 0.453 0.547'
    """
    if draws < 1 or points < 1 or not 0 < prob < 1:
        raise DataError(
            f"no band for {draws} draws, {points} points and probability {prob}",
            mend="use at least one draw and point, and a probability between 0 and 1",
        )
    z = evaluation_points(points)
    # the union bound keeps the promise below; at p > 1 nothing is left inside
    inside, outside = np.log((1 - prob) / points), np.log(2.0)
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        low = _lowest(draws, z, np.exp(middle))
        if inside_probability(draws, low, draws - low[::-1]) >= prob:
            inside = middle
        else:
            outside = middle
    low = _lowest(draws, z, np.exp(inside))
    high = draws - low[::-1]
    limit = float((2 * bdtr(low, draws, z)).min())
    arrays = z, low / draws, high / draws
    for a in arrays:
        a.setflags(write=False)
    return Bands(draws, prob, inside_probability(draws, low, high), limit, *arrays)


def evaluation_points(points: int = POINTS) -> np.ndarray:
    """Return where an ECDF is judged: i / (points + 1), shape (points,)."""
    return np.arange(1, points + 1) / (points + 1)


def ecdf_difference(pit: np.ndarray, points: int = POINTS) -> np.ndarray:
    """Return ECDF minus uniform at the evaluation points, shape (points, K); NaN is left out.

    Examples
    --------
    >>> ecdf_difference(np.array([[0.2], [0.3], [0.6], [0.9]]), points=1).tolist()
    [[0.0]]
    """
    u, z = _checked(pit), evaluation_points(points)
    out = np.full((points, u.shape[1]), np.nan)
    for k, column in enumerate(u.T):
        seen = column[~np.isnan(column)]
        if len(seen):
            out[:, k] = _counts(seen, z) / len(seen) - z
    return out


def inside_probability(draws: int, low: np.ndarray, high: np.ndarray) -> float:
    r"""Return the probability that counts of uniform values stay between bounds at all points.

    The number of n uniform values up to z is a Poisson process of rate n given n at its end, so
    the recursion over points (Säilynoja et al. 2022, the optimisation method) is a convolution
    with Poisson probabilities, the same at every step, divided by :math:`e^{-n} n^n / n!`.

    Parameters
    ----------
    draws : int
    low, high : numpy.ndarray of int, shape (points,)
        Bounds at i / (points + 1), both inside, neither ever falling.

    Examples
    --------
    >>> round(inside_probability(2, np.array([1]), np.array([1])), 12)  # one on each side of 1/2
    0.5
    """
    if (low > high).any():
        return 0.0
    lows, highs = np.concatenate(([0], low, [draws])), np.concatenate(([0], high, [draws]))
    rate = draws / (len(low) + 1)
    steps = np.arange((highs[1:] - lows[:-1]).max() + 1)
    poisson = np.exp(steps * np.log(rate) - rate - gammaln(steps + 1.0))
    share, log_total = np.ones(1), 0.0
    for before, start, end in zip(lows[:-1], lows[1:], highs[1:], strict=True):
        width = end - before + 1
        share = np.convolve(share, poisson[:width])[start - before : width]
        total = share.sum()
        if total == 0:
            return 0.0
        share, log_total = share / total, log_total + np.log(total)
    log_end = draws * np.log(draws) - draws - gammaln(draws + 1.0)
    return float(min(1.0, np.exp(log_total - log_end)))


def judge(
    pit: np.ndarray, names: Sequence[str], prob: float = 0.95, points: int = POINTS
) -> tuple[Uniformity, ...]:
    """Judge the PIT values of every parameter against its simultaneous band.

    The family-wise coverage over all K parameters is `prob` or more: each has a band with
    coverage 1 - (1 - prob) / K (Bonferroni, which needs no independence).

    Parameters
    ----------
    pit : numpy.ndarray, shape (draws, K)
        Posterior probability below the true value; NaN where the fit failed, which is counted.
    names : sequence of str
        K names.
    prob : float
    points : int
        Evaluation points of the ECDF.

    Examples
    --------
    >>> u = np.random.default_rng(1).beta(0.7, 0.7, (1000, 1))
    >>> print(judge(u, ["effect"])[0].departure)
    too narrow
    """
    u = _checked(pit)
    if u.shape[1] != len(names) or not len(names):
        raise DataError(
            f"{u.shape[1]} columns of PIT values and {len(names)} names",
            where="pit",
            mend="give one name per column",
        )
    each = 1 - (1 - prob) / len(names)
    return tuple(
        _judge_one(column, name, len(names), each, points)
        for column, name in zip(u.T, names, strict=True)
    )


def _judge_one(column: np.ndarray, name: str, family: int, prob: float, points: int) -> Uniformity:
    seen = column[~np.isnan(column)]
    n, failed, nan = len(seen), int(np.isnan(column).sum()), float("nan")
    if not n:
        return Uniformity(name, 0, failed, family, prob, nan, nan, nan, nan, nan, False, nan, nan,
                          "", nan, nan, nan)  # fmt: skip
    band = ecdf_bands(n, points, prob)
    counts = _counts(seen, band.z)
    away = np.abs(counts / n - band.z)
    # the upper tail at z is the lower tail of the values left over, at 1 - z
    below = 2 * bdtr(counts, n, band.z)
    above = 2 * bdtr(n - counts[::-1], n, band.z)
    least = float(min(below.min(), above.min()))
    shift, width, named = _shape(seen)
    passed = least >= band.limit
    return Uniformity(
        name, n, failed, family, prob, float(away.max()), float(band.z[away.argmax()]),
        min(1.0, least), min(1.0, band.limit), _p_value(n, band.z, least), passed,
        shift, width, "" if passed else named, *_chi_square(seen),
    )  # fmt: skip


def _p_value(n: int, z: np.ndarray, least: float) -> float:
    """Return the probability that the smallest pointwise p of uniform values is `least` or less."""
    if least < _ROUND:
        return min(1.0, len(z) * least)
    low = _lowest(n, z, np.nextafter(least, 3.0))
    return max(0.0, 1 - inside_probability(n, low, n - low[::-1]))


def _shape(u: np.ndarray) -> tuple[float, float, str]:
    """Return shift and width of the posterior and the words for what departs most.

    With normal posteriors the scores ndtri(u) are normal: minus their mean is the shift in
    posterior SDs, 1 over their SD the posterior's SD over the right one. Values nearer to an end
    than 1 / (4 n) are taken to lie there. A width is named only where values crowd in the
    middle or at the ends as it says, so that a large shift alone gives none.
    """
    n = len(u)
    if n < 2:
        return float("nan"), float("nan"), "of the wrong shape"
    scores = ndtri(np.clip(u, 0.25 / n, 1 - 0.25 / n))
    shift, sd = -float(scores.mean()), max(float(scores.std(ddof=1)), 1e-12)
    narrow = float(np.abs(u - 0.5).mean()) > 0.25
    width_z = np.sqrt(2 * n) * np.log(sd) if narrow == (sd > 1) else 0.0
    sizes = (abs(shift) * np.sqrt(n), abs(width_z))
    words = ("shifted up" if shift > 0 else "shifted down", "too narrow" if sd > 1 else "too wide")
    least = _NAMED if max(sizes) >= _NAMED else max(_HINTED, max(sizes))
    named = [w for w, s in zip(words, sizes, strict=True) if s >= least]
    return shift, 1 / sd, " and ".join(named) or "of the wrong shape"


def _chi_square(u: np.ndarray) -> tuple[float, float, float]:
    """Return Pearson's chi-square of the rank histogram, its df and p value."""
    bins = min(BINS, len(u) // 5)
    if bins < 2:
        return float("nan"), float("nan"), float("nan")
    expected = len(u) / bins
    value = float(((rank_counts(u[:, None], bins)[:, 0] - expected) ** 2).sum() / expected)
    return value, float(bins - 1), float(chdtrc(bins - 1, value))


def _lowest(n: int, z: np.ndarray, gamma: float) -> np.ndarray:
    """Return the smallest counts c with 2 P(Bin(n, z) <= c) >= gamma, shape of z, by halving."""
    below, fits = np.full(z.shape, -1), np.full(z.shape, n)
    while (fits - below > 1).any():
        middle = (below + fits + 1) // 2  # where both have met this is the one that fits
        enough = 2 * bdtr(middle, n, z) >= gamma
        fits, below = np.where(enough, middle, fits), np.where(enough, below, middle)
    return fits


def _counts(u: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the number of values up to each point, shape of z."""
    return np.searchsorted(np.sort(u), z, side="right")


def _checked(pit: np.ndarray) -> np.ndarray:
    u = np.asarray(pit, dtype=float)
    if u.ndim != 2 or not len(u):
        raise DataError(
            f"PIT values of shape {u.shape}", where="pit", mend="give draws x parameters"
        )
    if not ((u >= 0) & (u <= 1) | np.isnan(u)).all():
        raise DataError(
            "a PIT value lies outside 0 to 1", where="pit", mend="give NaN where a fit failed"
        )
    return u
