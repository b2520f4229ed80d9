r"""Log-densities of the rows, added to the PyMC model that is open; all constants included.

Every function takes the linear predictor, the family's sampled variables by name, the outcome and
the rows. PyMC is imported inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ketastats.bayesian.likelihood import Likelihood


def gaussian(mean: Any, own: Mapping[str, Any], y: np.ndarray, rows: Likelihood) -> None:
    r"""Add normal rows with one SD, one per group, or AR(1) within subjects.

    AR(1) by its conditionals over a gap of g levels:
    :math:`e_t \mid e_s \sim N(\rho^g e_s, \sigma^2 (1 - \rho^{2g}))`, the first of a series
    :math:`N(0, \sigma^2)` (Box, Jenkins & Reinsel, *Time Series Analysis*, chapter 3).
    """
    import pymc as pm
    import pytensor.tensor as pt

    sigma = own["sigma"]
    if rows.residual == "by":
        sigma = sigma[rows.level]
    elif rows.residual == "ar1":
        follows = rows.previous >= 0
        before = np.maximum(rows.previous, 0)
        share = follows * pt.tanh(own["fisher_z"]) ** np.maximum(rows.gap, 1)
        mean = mean + share * (y[before] - mean[before])
        sigma = sigma * pt.sqrt(1 - share**2)
    pm.Normal("y", mean, sigma, observed=y)


def student_t(mean: Any, own: Mapping[str, Any], y: np.ndarray, rows: Likelihood) -> None:
    """Add Student's t around the mean; ``sigma`` is its scale, not its SD."""
    import pymc as pm

    pm.StudentT("y", nu=1 + own["excess"], mu=mean, sigma=own["sigma"], observed=y)


def censored(mean: Any, own: Mapping[str, Any], y: np.ndarray, rows: Likelihood) -> None:
    """Add normal rows recorded at a bound beyond it (Tobin 1958, Econometrica 26:24).

    Without a value at a bound it is the Gaussian density, term for term.
    """
    import pymc as pm

    low, high = y <= rows.low, y >= rows.high
    free = np.flatnonzero(~(low | high))
    if len(free) == len(y):
        return gaussian(mean, own, y, rows)
    sigma = own["sigma"]
    pm.Normal("y", mean[free], sigma, observed=y[free])
    for name, there, sign, bound in (("low", low, 1, rows.low), ("high", high, -1, rows.high)):
        if there.any():
            z = sign * (np.full(int(there.sum()), bound) - mean[np.flatnonzero(there)]) / sigma
            pm.Potential(f"at_{name}", _log_cdf(z))
    return None


def truncated(mean: Any, own: Mapping[str, Any], y: np.ndarray, rows: Likelihood) -> None:
    r"""Add normal rows that are never seen beyond the bounds: their density over that between.

    With two bounds :math:`\log(\Phi(b) - \Phi(a))` is taken in the tail where both are small.
    """
    import pymc as pm
    import pytensor.tensor as pt

    sigma = own["sigma"]
    pm.Normal("y", mean, sigma, observed=y)
    a, b = ((np.full(len(y), bound) - mean) / sigma for bound in (rows.low, rows.high))
    if np.isinf(rows.low):
        between = _log_cdf(b)
    elif np.isinf(rows.high):
        between = _log_cdf(-a)
    else:
        above = a + b > 0
        upper = _log_cdf(pt.switch(above, -a, b))
        between = upper + pt.log1mexp(_log_cdf(pt.switch(above, -b, a)) - upper)
    pm.Potential("between", -between)


def _log_cdf(z: Any) -> Any:
    """Return the logarithm of the normal distribution function, its gradient finite everywhere.

    Each branch sees only values that it can take: a gradient of 0 times infinity is no number.
    """
    import pytensor.tensor as pt

    root = np.sqrt(np.array(2.0))  # an array: a number would be taken for single precision
    tail, rest = pt.minimum(z, -1.0), pt.maximum(z, -1.0)
    in_tail = pt.log(pt.erfcx(-tail / root) / 2) - tail**2 / 2
    return pt.switch(z < -1.0, in_tail, pt.log1p(-pt.erfc(rest / root) / 2))


def _shapes(mean: Any, omega: Any) -> dict[str, Any]:
    r"""Return a and b of a beta distribution with a + b = :math:`\omega^{-2}`."""
    import pytensor.tensor as pt

    total = omega**-2.0
    return {"alpha": pt.sigmoid(mean) * total, "beta": pt.sigmoid(-mean) * total}


def beta(mean: Any, own: Mapping[str, Any], y: np.ndarray, rows: Likelihood) -> None:
    """Add shares between 0 and 1 (Ferrari & Cribari-Neto 2004, J Appl Stat 31:799)."""
    import pymc as pm

    pm.Beta("y", **_shapes(mean, own["omega"]), observed=y)


def binomial(mean: Any, own: Mapping[str, Any], y: np.ndarray, rows: Likelihood) -> None:
    """Add successes out of trials."""
    import pymc as pm

    pm.Binomial("y", n=rows.trials, logit_p=mean, observed=y.astype(np.int64))


def beta_binomial(mean: Any, own: Mapping[str, Any], y: np.ndarray, rows: Likelihood) -> None:
    """Add successes out of trials whose probability varies between rows as a beta."""
    import pymc as pm

    shapes = _shapes(mean, own["omega"])
    pm.BetaBinomial("y", **shapes, n=rows.trials, observed=y.astype(np.int64))


def poisson(mean: Any, own: Mapping[str, Any], y: np.ndarray, rows: Likelihood) -> None:
    """Add counts over an exposure."""
    import pymc as pm
    import pytensor.tensor as pt

    pm.Poisson("y", mu=pt.exp(mean + rows.log_exposure), observed=y.astype(np.int64))


def negative_binomial(mean: Any, own: Mapping[str, Any], y: np.ndarray, rows: Likelihood) -> None:
    r"""Add counts with variance :math:`\mu + \alpha \mu^2`, :math:`\alpha = \omega^2` (NB2).

    With :math:`a = 1 / \alpha` the rows enter through :math:`\sum_i y_i \log \mu_i - (y_i + a) \log
    (\mu_i + a)`, and gamma functions are needed once for every different count, not for every row.
    """
    import pymc as pm
    import pytensor.tensor as pt

    a = pt.reshape(own["omega"], ()) ** -2.0
    log_mu = mean + rows.log_exposure
    count, times = np.unique(y, return_counts=True) if isinstance(y, np.ndarray) else (y, 1)
    gammas = (times * (pt.gammaln(count + a) - pt.gammaln(count + 1.0))).sum()
    by_row = y * log_mu - (y + a) * pt.logaddexp(pt.log(a), log_mu)
    pm.Potential("counts", by_row.sum() + gammas + rows_of(y) * (a * pt.log(a) - pt.gammaln(a)))


def rows_of(y: Any) -> Any:
    """Return the number of rows, also of an outcome that is a variable of the model."""
    return len(y) if isinstance(y, np.ndarray) else y.shape[0]


def ordered(mean: Any, own: Mapping[str, Any], y: np.ndarray, rows: Likelihood) -> None:
    r"""Add ordered categories, cumulative logit (McCullagh 1980, J R Stat Soc B 42:109, eq. 2.4).

    :math:`P(y \le k) = \sigma(c_k - \eta)`, and with :math:`\sigma(a) - \sigma(b) =
    \sigma(a) \sigma(-b) (1 - e^{b - a})` no category's probability is a difference of two numbers.
    """
    import pymc as pm
    import pytensor.tensor as pt

    cut, last = own["cutpoints"], len(rows.scores) - 1
    k = pt.searchsorted(rows.scores, y)  # a constant, unless one compilation serves many outcomes
    below, above = pt.flatnonzero(k < last), pt.flatnonzero(k > 0)
    inner = pt.eq(k[:, None], np.arange(1, last)).sum(axis=0)
    pm.Potential("at_most", -pt.softplus(mean[below] - cut[k[below]]).sum())
    pm.Potential("at_least", -pt.softplus(cut[k[above] - 1] - mean[above]).sum())
    pm.Potential("between", (inner * pt.log1mexp(cut[:-1] - cut[1:])).sum())


def add_cut_points(name: str, weight: float, y: np.ndarray, rows: Likelihood) -> Any:
    """Give the probabilities of the categories at 0 a Dirichlet prior; return the cut points.

    They start as in the data, one row more in every category.
    """
    import pymc as pm
    import pytensor.tensor as pt

    size = len(rows.scores)
    count = np.bincount(np.searchsorted(rows.scores, y), minlength=size) + 1.0
    shares = pm.Dirichlet(f"{name}_shares", np.full(size, weight), initval=count / count.sum())
    below, above = pt.cumsum(shares)[:-1], pt.cumsum(shares[::-1])[::-1][1:]
    return pm.Deterministic(name, pt.log(below) - pt.log(above))
