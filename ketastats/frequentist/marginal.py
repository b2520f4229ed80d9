r"""Population-averaged means: the inverse link integrated over a normal random intercept.

:math:`m(\eta, \sigma) = \int g^{-1}(\eta + \sigma v)\, \phi(v)\, dv`. Log and probit links have
closed forms. For the logit the trapezoid rule is used: its error falls as
:math:`e^{-2\pi d/h}`, d the distance of the nearest pole :math:`i\pi/\sigma` from the real line
(Trefethen & Weideman 2014, SIAM Review 56:385), and is under 1e-14 for every sigma, where 25
Gauss-Hermite nodes are wrong by 5e-7 at a sigma of 2 and by 1e-3 at 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr

from ketastats.frequentist.families import Family

REACH = 8.5
"""Standard deviations to either side; 2e-17 of the normal lies beyond."""


@dataclass(frozen=True, slots=True, eq=False)
class MarginalMean:
    """Means and what the delta method needs; arrays of one shape.

    Attributes
    ----------
    mean : numpy.ndarray
        Of the outcome, of one trial for the binomial families. Overdispersion does not move it.
    d_eta, d_sd : numpy.ndarray
        Derivatives in the linear predictor and in the standard deviation.
    """

    mean: np.ndarray
    d_eta: np.ndarray
    d_sd: np.ndarray


def marginal_mean(family: Family, eta: np.ndarray | float, sd: np.ndarray | float) -> MarginalMean:
    """Average the inverse link over the random intercept.

    Parameters
    ----------
    family : Family
    eta : numpy.ndarray
        Linear predictor at a random intercept of 0, of any shape.
    sd : numpy.ndarray
        Standard deviation of the random intercept; broadcasts with ``eta``. At 0 the mean is that
        of the linear predictor.

    Returns
    -------
    MarginalMean

    Examples
    --------
    >>> from ketastats.frequentist.families import family_named
    >>> averaged = marginal_mean(family_named("binomial"), 2.0, np.array([0.0, 2.0]))
    >>> averaged.mean.round(4).tolist()
    [0.8808, 0.7752]
    """
    at, spread = np.broadcast_arrays(np.asarray(eta, dtype=float), np.asarray(sd, dtype=float))
    if family.link == "log":
        mean = np.exp(at + 0.5 * spread**2)
        return MarginalMean(mean, mean, spread * mean)
    if family.link == "probit":
        scale = np.sqrt(1 + spread**2)
        density = np.exp(-0.5 * (at / scale) ** 2) / np.sqrt(2 * np.pi)
        return MarginalMean(ndtr(at / scale), density / scale, -density * at * spread / scale**3)
    largest = float(np.nanmax(np.abs(spread), initial=0.0))
    step = min(0.25, 0.5 / max(largest, 1e-300))  # 2 pi^2 / (sigma h) > 39
    v = step * np.arange(-np.ceil(REACH / step), np.ceil(REACH / step) + 1)
    weight = np.exp(-0.5 * v**2)
    weight /= weight.sum()
    share = expit(at[..., None] + spread[..., None] * v)
    slope = share * (1 - share)
    return MarginalMean(share @ weight, slope @ weight, slope @ (weight * v))
