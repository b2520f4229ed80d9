"""New outcomes from posterior draws: functions on arrays.

A family's ``noise`` takes a generator, the shape (n, rows), its parameters by name, of shape (n,),
(n, groups) or (n, cut points), and the rows, and returns residuals. Its ``record`` takes the linear
predictor with deviations and residuals instead of the shape, and returns outcomes. Both are (n,
rows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, log_ndtr, ndtri_exp

if TYPE_CHECKING:
    from ketastats.bayesian.likelihood import Likelihood

Own = Mapping[str, np.ndarray]


def replicate(
    rng: np.random.Generator,
    mean: np.ndarray,
    terms: Sequence[tuple[np.ndarray, np.ndarray, int]],
    sd: np.ndarray,
    own: Own,
    rows: Likelihood,
) -> np.ndarray:
    """Draw new outcomes for the same rows, with new groups.

    Parameters
    ----------
    rng : numpy.random.Generator
    mean : numpy.ndarray, shape (n, rows)
        X gamma of n posterior draws.
    terms : sequence of (z, group, levels)
        Per random term: design (rows,), group (rows,) with -1 for none, number of groups.
    sd : numpy.ndarray, shape (n, terms)
    own : mapping of str to numpy.ndarray, shape (n,) or (n, groups)
        Residual SDs and the family's own parameters.
    rows : Likelihood

    Returns
    -------
    numpy.ndarray, shape (n, rows)
    """
    family = rows.family
    out = mean.copy() if family.noise is None else mean + family.noise(rng, mean.shape, own, rows)
    for k, (z, group, levels) in enumerate(terms):
        deviation = rng.standard_normal((len(mean), levels))
        out += sd[:, k, None] * deviation[:, np.maximum(group, 0)] * z
    return out if family.record is None else family.record(rng, out, own, rows)


def normal(
    rng: np.random.Generator, shape: tuple[int, ...], own: Own, rows: Likelihood
) -> np.ndarray:
    """Draw normal residuals with one SD, one per group, or AR(1) along each series."""
    sigma, noise = own["sigma"], rng.standard_normal(shape)
    if rows.residual == "by":
        return np.asarray(sigma[:, rows.level] * noise)
    if rows.residual == "ar1":
        noise = serial(noise, own["rho"], rows.previous, rows.gap)
    return np.asarray(sigma[:, None] * noise)


def serial(noise: np.ndarray, rho: np.ndarray, previous: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Turn independent standard normal residuals into AR(1) ones of variance 1.

    Parameters
    ----------
    noise : numpy.ndarray, shape (n, rows)
    rho : numpy.ndarray, shape (n,)
    previous, gap : numpy.ndarray of int, shape (rows,)
        Row before it in its series, -1 for none, and the levels between them.
    """
    out, place = noise.copy(), np.zeros(len(previous), dtype=np.int64)
    for _ in range(len(previous)):  # ends after the longest series
        further = np.where(previous >= 0, place[previous] + 1, 0)
        if np.array_equal(further, place):
            break
        place = further
    for k in range(1, int(place.max(initial=0)) + 1):
        at = np.flatnonzero(place == k)  # rows of one place do not depend on each other
        share = rho[:, None] ** gap[at]
        out[:, at] = share * out[:, previous[at]] + np.sqrt(1 - share**2) * noise[:, at]
    return out


def student_t(
    rng: np.random.Generator, shape: tuple[int, ...], own: Own, rows: Likelihood
) -> np.ndarray:
    """Draw Student's t residuals with scale sigma."""
    return np.asarray(own["sigma"][:, None] * rng.standard_t(own["nu"][:, None], shape))


def censored(rng: np.random.Generator, eta: np.ndarray, own: Own, rows: Likelihood) -> np.ndarray:
    """Record at a bound what lies beyond it."""
    return np.clip(eta, rows.low, rows.high)


def truncated(rng: np.random.Generator, eta: np.ndarray, own: Own, rows: Likelihood) -> np.ndarray:
    """Draw normal rows inside the bounds, by the inverse of the distribution in logarithms."""
    sigma = own["sigma"][:, None]
    a, b = (rows.low - eta) / sigma, (rows.high - eta) / sigma
    upper = a > 0  # in the upper tail mirrored: the lower tail has the digits
    a, b = np.where(upper, -b, a), np.where(upper, -a, b)
    u = rng.random(eta.shape)
    with np.errstate(divide="ignore"):  # log of u = 0: the lower end
        log_p = np.logaddexp(np.log1p(-u) + log_ndtr(a), np.log(u) + log_ndtr(b))
    z = ndtri_exp(np.minimum(log_p, 0.0))
    return np.clip(eta + sigma * np.where(upper, -z, z), rows.low, rows.high)


def _shares(rng: np.random.Generator, eta: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Draw beta shares; a shape parameter that underflows counts as the smallest there is."""
    tiny = np.finfo(float).tiny
    a, b = expit(eta) * precision[:, None], expit(-eta) * precision[:, None]
    return np.asarray(rng.beta(np.maximum(a, tiny), np.maximum(b, tiny)))


def beta(rng: np.random.Generator, eta: np.ndarray, own: Own, rows: Likelihood) -> np.ndarray:
    """Draw shares between 0 and 1."""
    return _shares(rng, eta, own["precision"])


def binomial(rng: np.random.Generator, eta: np.ndarray, own: Own, rows: Likelihood) -> np.ndarray:
    """Draw successes out of the trials of every row."""
    return rng.binomial(rows.trials, expit(eta)).astype(np.float64)


def beta_binomial(
    rng: np.random.Generator, eta: np.ndarray, own: Own, rows: Likelihood
) -> np.ndarray:
    """Draw successes with a probability that varies between rows."""
    rho = own["overdispersion"]
    return rng.binomial(rows.trials, _shares(rng, eta, (1 - rho) / rho)).astype(np.float64)


LARGEST_RATE = 1e15
"""Counts of a higher rate are drawn at it: numpy's sampler stops near 9e18."""


def poisson(rng: np.random.Generator, eta: np.ndarray, own: Own, rows: Likelihood) -> np.ndarray:
    """Draw counts over the exposure of every row."""
    return _counts(rng, eta, rows, 1.0)


def negative_binomial(
    rng: np.random.Generator, eta: np.ndarray, own: Own, rows: Likelihood
) -> np.ndarray:
    """Draw Poisson counts whose rates vary between rows as a gamma with variance alpha."""
    alpha = own["overdispersion"][:, None]
    return _counts(rng, eta, rows, rng.gamma(1 / alpha, alpha, eta.shape))


def _counts(
    rng: np.random.Generator, eta: np.ndarray, rows: Likelihood, factor: np.ndarray | float
) -> np.ndarray:
    with np.errstate(over="ignore"):
        mu = np.exp(eta + rows.log_exposure) * factor
    return rng.poisson(np.minimum(mu, LARGEST_RATE)).astype(np.float64)


def ordered(rng: np.random.Generator, eta: np.ndarray, own: Own, rows: Likelihood) -> np.ndarray:
    """Draw the score of the category in which a logistic variable around eta falls."""
    latent, category = rng.logistic(eta), np.zeros(eta.shape, dtype=np.int64)
    for cut in own["cutpoints"].T:
        category += latent > cut[:, None]
    return np.asarray(rows.scores[category])
