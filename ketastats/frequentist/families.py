r"""Outcome families: log-likelihood of one row and its derivatives.

Derivatives are in the linear predictor :math:`\eta` and in the overdispersion :math:`\gamma`, which
is 0 for the family without overdispersion, so that the boundary is an ordinary point:

- beta-binomial: :math:`\gamma = 1/(a+b)`, intraclass correlation :math:`\rho=\gamma/(1+\gamma)`,
  :math:`\log p = \log\binom{m}{y} + \sum_{j<y}\log(\mu+j\gamma) + \sum_{j<m-y}\log(1-\mu+j\gamma)
  - \sum_{j<m}\log(1+j\gamma)` (Griffiths 1973, Biometrics 29:637, with products of gamma functions
  written out: no cancellation at :math:`\gamma\to 0`).
- negative binomial: :math:`\gamma = \alpha = 1/\theta`, variance :math:`\mu+\alpha\mu^2` (NB2;
  Lawless 1987, Can J Stat 15:209), :math:`\log p = y\eta-(y+1/\alpha)\log(1+\alpha\mu)
  +\sum_{j<y}\log(1+j\alpha) - \log y!`.

All constants are included: binomial coefficients and :math:`\log y!`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ketastats.core.errors import DataError, nearest

BINOMIAL, PROBIT, BETA_BINOMIAL, POISSON, NEGATIVE_BINOMIAL = range(5)


@dataclass(frozen=True, slots=True)
class Family:
    """An outcome family.

    Attributes
    ----------
    name : str
    code : int
        What the compiled functions know it by.
    link : str
        logit, probit or log.
    overdispersed : bool
        Whether it has an overdispersion parameter.
    trials : bool
        Whether an outcome is a number of successes out of trials.
    """

    name: str
    code: int
    link: str
    overdispersed: bool
    trials: bool


FAMILIES = {
    f.name: f
    for f in (
        Family("binomial", BINOMIAL, "logit", False, True),
        Family("binomial-probit", PROBIT, "probit", False, True),
        Family("beta-binomial", BETA_BINOMIAL, "logit", True, True),
        Family("poisson", POISSON, "log", False, False),
        Family("negative-binomial", NEGATIVE_BINOMIAL, "log", True, False),
    )
}


def family_named(name: str) -> Family:
    """Return a family by name.

    Examples
    --------
    >>> family_named("beta-binomial").link
    'logit'
    """
    if name not in FAMILIES:
        near = nearest(name, FAMILIES)
        mend = f"did you mean {near!r}?" if near else f"use {', '.join(FAMILIES)}"
        raise DataError(f"there is no family {name!r}", mend=mend)
    return FAMILIES[name]


def dispersion_of(family: Family, gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the overdispersion as reported and its derivative in gamma.

    The intraclass correlation rho for the beta-binomial, alpha = 1 / theta for the negative
    binomial.

    Parameters
    ----------
    family : Family
    gamma : numpy.ndarray
    """
    if family.code == BETA_BINOMIAL:
        return gamma / (1 + gamma), (1 + gamma) ** -2
    return gamma, np.ones_like(gamma)


def log_density(
    family: Family, y: np.ndarray, size: np.ndarray, eta: np.ndarray, gamma: np.ndarray
) -> np.ndarray:
    """Return the log-likelihood and its derivatives.

    Parameters
    ----------
    family : Family
    y, size, eta, gamma : numpy.ndarray, shape (n,)
        Outcome, trials (ignored for counts), linear predictor, overdispersion.

    Returns
    -------
    numpy.ndarray, shape (n, 8)
        l, l_eta, l_eta2, l_eta3, l_gamma, l_eta_gamma, l_eta2_gamma, l_gamma2.

    Examples
    --------
    >>> one = np.ones(1)
    >>> log_density(family_named("poisson"), 0 * one, one, 0 * one, 0 * one)[0, :3].tolist()
    [-1.0, -1.0, -1.0]
    """
    from ketastats.frequentist.family_terms import log_densities  # compiled when first used

    arrays = (np.ascontiguousarray(a, dtype=np.float64) for a in (y, size, eta, gamma))
    return np.asarray(log_densities(family.code, *arrays))
