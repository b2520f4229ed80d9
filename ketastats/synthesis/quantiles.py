r"""Outcomes from standard normal numbers by the quantile of their distribution.

A number z gives the smallest value whose distribution function reaches :math:`\Phi(z)`: exact, one
number per row, and never smaller for a larger z or a larger mean, so that trials that share their
numbers share their chance.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import bdtr, betainc, betaincinv, gammaincinv, ndtr, pdtr

CHUNK = 1 << 16
"""Values worked on at a time, so that they stay in the processor's cache."""

Cdf = Callable[..., np.ndarray]


def _uniform(z: np.ndarray) -> np.ndarray:
    """Return the normal distribution function, kept below 1, whose count would be infinite."""
    return np.minimum(ndtr(z), 1 - 2.0**-53)


def binomial_quantile(
    z: np.ndarray, trials: np.ndarray, mean: np.ndarray, rho: np.ndarray
) -> np.ndarray:
    """Return numbers of successes, beta-binomial with intraclass correlation rho, binomial at 0.

    Parameters
    ----------
    z, trials, mean, rho : numpy.ndarray, shapes that broadcast
        Standard normal numbers, numbers of trials, probabilities, correlations from 0 to below 1.

    Returns
    -------
    numpy.ndarray, the common shape

    Examples
    --------
    >>> z = np.array([-1.0, 0.0, 1.0])
    >>> binomial_quantile(z, np.array(30), np.array(0.5), np.array(0.0)).tolist()
    [12.0, 15.0, 18.0]
    >>> binomial_quantile(z, np.array(30), np.array(0.5), np.array(0.2)).tolist()
    [7.0, 15.0, 23.0]
    """
    return _in_chunks(_binomial, z, trials, mean, rho)


def count_quantile(z: np.ndarray, mean: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return counts, negative binomial with variance mean + alpha mean^2, Poisson at alpha 0.

    Parameters
    ----------
    z, mean, alpha : numpy.ndarray, shapes that broadcast

    Returns
    -------
    numpy.ndarray, the common shape

    Examples
    --------
    >>> count_quantile(np.array([-1.0, 0.0, 1.0]), np.array(9.0), np.array(0.0)).tolist()
    [6.0, 9.0, 12.0]
    """
    return _in_chunks(_count, z, mean, alpha)


def beta_quantile(z: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Return shares, beta with variance mean (1 - mean) / (1 + precision).

    Parameters
    ----------
    z, mean, precision : numpy.ndarray, shapes that broadcast

    Returns
    -------
    numpy.ndarray, the common shape

    Examples
    --------
    >>> beta_quantile(np.array([-1.0, 0.0]), np.array(0.5), np.array(8.0)).round(3).tolist()
    [0.324, 0.5]
    """
    return _in_chunks(_beta, z, mean, precision)


def _in_chunks(kernel: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """Apply a kernel on flat arrays to arrays of any shape."""
    full = np.broadcast_arrays(*arrays)
    flat = [np.ravel(a) for a in full]
    parts = [
        kernel(*(a[start : start + CHUNK] for a in flat)) for start in range(0, flat[0].size, CHUNK)
    ]
    return np.concatenate(parts or [np.zeros(0)]).reshape(full[0].shape)


def _binomial(z: np.ndarray, m: np.ndarray, p: np.ndarray, rho: np.ndarray) -> np.ndarray:
    plain = rho == 0
    out = np.empty(z.shape)
    if plain.any():
        args = z[plain], m[plain], p[plain]
        sd = np.sqrt(args[1] * args[2] * (1 - args[2]))
        # Cornish & Fisher (1938): the quantile with the skewness (1 - 2 p) / sd
        start = args[1] * args[2] + sd * args[0] + (1 - 2 * args[2]) * (args[0] ** 2 - 1) / 6
        out[plain] = _smallest(_binomial_cdf, start, args[1], _uniform(args[0]), args[1], args[2])
    if not plain.all():
        out[~plain] = _beta_binomial(z[~plain], m[~plain], p[~plain], rho[~plain])
    return out


def _binomial_cdf(k: np.ndarray, m: np.ndarray, p: np.ndarray) -> np.ndarray:
    return np.asarray(bdtr(k, m.astype(np.int64), p))


def _beta_binomial(z: np.ndarray, m: np.ndarray, p: np.ndarray, rho: np.ndarray) -> np.ndarray:
    r"""Sum probabilities from 0 successes on until they reach the number's.

    :math:`P(k+1)/P(k) = \frac{(m-k)(a+k)}{(k+1)(b+m-k-1)}` with :math:`a = p(1-\rho)/\rho`,
    :math:`b = (1-p)(1-\rho)/\rho`, from :math:`P(0) = \prod_{j<m} (b+j)/(a+b+j)` (Griffiths 1973,
    Biometrics 29:637). Failures are counted where they are the rarer, so P(0) does not vanish.
    """
    many = p > 0.5
    mean, total = np.where(many, 1 - p, p), (1 - rho) / rho
    u = _uniform(np.where(many, -z, z))
    a, b = mean * total, (1 - mean) * total
    probability = np.ones_like(a)
    for j in range(int(m.max(initial=0))):
        probability *= np.where(j < m, (b + j) / (total + j), 1.0)
    k, reached = np.zeros_like(a), probability.copy()
    left = np.flatnonzero(reached < u)
    a, b, m_left, u = a[left], b[left], m[left], u[left]
    probability, reached = probability[left], reached[left]
    step = 0
    while len(left):
        probability *= (m_left - step) * (a + step) / ((step + 1) * (b + m_left - step - 1))
        reached += probability
        step += 1
        k[left] = step
        on = (reached < u) & (step < m_left)
        left, a, b, m_left, u = left[on], a[on], b[on], m_left[on], u[on]
        probability, reached = probability[on], reached[on]
    return np.where(many, m - k, k)


def _count(z: np.ndarray, mean: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    u = _uniform(z)
    inflation = 1 + alpha * mean  # a gamma distribution of the same mean and variance comes close
    start = inflation * gammaincinv(np.maximum(mean / inflation, 1e-300), u)
    plain = alpha == 0
    out = np.empty(z.shape)
    top = np.full(z.shape, np.inf)
    for which, cdf in ((plain, _poisson_cdf), (~plain, _negative_binomial_cdf)):
        if which.any():
            arguments = (start, top, u, mean, alpha)
            out[which] = _smallest(cdf, *(x[which] for x in arguments))
    return out


def _poisson_cdf(k: np.ndarray, mean: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.asarray(pdtr(k, mean))


def _negative_binomial_cdf(k: np.ndarray, mean: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.asarray(betainc(1 / alpha, k + 1, 1 / (1 + alpha * mean)))


def _smallest(
    cdf: Cdf, start: np.ndarray, top: np.ndarray, u: np.ndarray, *parameters: np.ndarray
) -> np.ndarray:
    """Return the smallest whole k from 0 to top with cdf(k) >= u, walking from a near start.

    Parameters
    ----------
    cdf : callable
        Of k and the parameters.
    start, top, u, parameters : numpy.ndarray, shape (n,)

    Returns
    -------
    numpy.ndarray, shape (n,)
    """
    k = np.clip(np.rint(start), 0, top)
    reached = cdf(k, *parameters) >= u
    for direction in (1.0, -1.0):
        going = np.flatnonzero(~reached if direction > 0 else reached)
        while len(going):
            here = k[going]
            if direction > 0:
                here = here + 1
                k[going] = here
                short = cdf(here, *(x[going] for x in parameters)) < u[going]
                going = going[short & (here < top[going])]
            else:
                going, here = going[here > 0], here[here > 0] - 1
                enough = cdf(here, *(x[going] for x in parameters)) >= u[going]
                going = going[enough]
                k[going] = here[enough]
    return k


def _beta(z: np.ndarray, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    least = 1e-300  # for a mean that has rounded to 0 or 1
    a, b = np.maximum(mean * precision, least), np.maximum((1 - mean) * precision, least)
    return np.asarray(betaincinv(a, b, _uniform(z)))
