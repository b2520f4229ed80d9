r"""Outcome families of ``ks.mcmc``: link, parameters of their own with priors, density, sampler.

A family is one frozen record: a density from :mod:`.densities`, a sampler from :mod:`.predictive`
and, where means are not linear predictors, their integral from :mod:`.natural`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ketastats.bayesian import densities, natural, predictive
from ketastats.core.errors import DataError
from ketastats.study.lookup import suggestion
from ketastats.study.priors import Prior

if TYPE_CHECKING:
    from ketastats.bayesian.likelihood import Likelihood

Density = Callable[[Any, Mapping[str, Any], np.ndarray, "Likelihood"], None]
"""Linear predictor, variables, outcome, rows: adds the log-density to the open PyMC model."""

Values = Mapping[str, np.ndarray]
Noise = Callable[[np.random.Generator, tuple[int, ...], Values, "Likelihood"], np.ndarray]
"""Generator, shape (n, rows), parameters, rows: residuals, shape (n, rows)."""

Record = Callable[[np.random.Generator, np.ndarray, Values, "Likelihood"], np.ndarray]
"""Generator, linear predictor of shape (n, rows), parameters, rows: outcomes, shape (n, rows)."""

Mean = Callable[[np.ndarray, np.ndarray, Values, "Likelihood"], np.ndarray]
"""Linear predictor, SD of the deviations, parameters, rows: population means; all (n,)."""


@dataclass(frozen=True, slots=True)
class Own:
    """A parameter that a family has beside coefficients and SDs.

    Attributes
    ----------
    name : str
        As reported, and the key under which a prior may be given.
    variable : str
        The variable that is sampled and has the prior.
    role : str
        Priors it takes: those of an ``sd`` (above 0), of an ``intercept`` (any number), or of
        ``shares`` (numbers that add up to 1).
    prior : Prior
        When none is given.
    of : str
        What the prior is of, in words.
    reported : callable
        From draws of the variable to draws of what is reported.
    """

    name: str
    variable: str
    role: str
    prior: Prior
    of: str
    reported: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Family:
    """A distribution of the rows.

    Attributes
    ----------
    name : str
    link : str
        ``identity``, ``logit`` or ``log``.
    residual : str
        What a residual's spread is called: ``sd``, ``scale``, or empty for none.
    own : tuple of Own
    density : callable
        See :data:`Density`.
    noise : callable or None
        See :data:`Noise`; None without residuals.
    record : callable or None
        See :data:`Record`; None where the outcome is the linear predictor with its residual.
    mean : callable or None
        See :data:`Mean`; None where the natural scale is that of the linear predictor.
    needs : str
        ``trials``, ``bounds``, ``counts``, ``shares``, ``categories`` or nothing.
    """

    name: str
    link: str
    residual: str
    own: tuple[Own, ...]
    density: Density
    noise: Noise | None
    record: Record | None
    mean: Mean | None
    needs: str


NU = Own(
    "nu",
    "excess",
    "sd",
    Prior("exponential", (29.0,)),
    "nu - 1",
    lambda v: 1 + v,
)
"""Degrees of freedom of Student's t. The prior is Kruschke's (2013, J Exp Psychol Gen 142:573):
a third of it lies above 30, which is nearly normal, a third below 12."""

ALPHA = Own(
    "overdispersion",
    "omega",
    "sd",
    Prior("half-normal", (1.0,)),
    "the square root of alpha in the variance mu + alpha mu²",
    np.square,
)
"""The root of alpha is the coefficient of variation of the rates behind rows of one mean: 1 is that
of an exponential distribution, and a half-normal does not push towards or away from 0, Poisson."""

RHO_TRIALS = Own(
    "overdispersion",
    "omega",
    "sd",
    Prior("half-normal", (0.5,)),
    "sqrt(rho / (1 - rho)), rho the correlation of two trials of a row",
    lambda v: v**2 / (1 + v**2),
)
"""For small rho its root is the SD of the rows' probabilities as a share of the largest possible,
sqrt(p (1 - p)). Median of rho 0.10, 95 % below 0.49."""

PRECISION = Own(
    "precision",
    "omega",
    "sd",
    Prior("half-normal", (0.5,)),
    "1 / sqrt(phi), phi the precision in the variance mu (1 - mu) / (1 + phi)",
    lambda v: v**-2.0,
)
"""The same scale and prior as for the beta-binomial, whose rows have the precision (1 - rho) / rho:
an SD as a share of the largest possible, median 0.32."""

RHO = Own(
    "rho",
    "fisher_z",
    "intercept",
    Prior("normal", (0.0, 0.9)),
    "Fisher's z of rho",
    np.tanh,
)
"""Correlation of neighbouring residuals. z is logistic with SD 0.907 when rho is uniform between -1
and 1; the normal keeps off the ends, where rho cannot be told from a deviation per subject."""


def cut_points(size: int) -> Own:
    """Return the cut points between so many categories, with their prior.

    The probabilities of the K categories where the linear predictor is 0 have a symmetric
    Dirichlet prior, which treats all categories alike; without a category that never occurs it is
    again one of the same kind (Betancourt 2019, *Ordinal Regression*, on induced Dirichlet priors).
    The default weight of a category, 1 / (0.8 + 0.35 K), is that of ``blrm`` in R's rmsb: together
    they count as no more than three rows, however many there are. A weight of 1 each would flatten
    long scales: with 38 values in 120 synthetic rows it took a quarter off an effect.
    """
    weight = float(f"{1 / (0.8 + 0.35 * max(size, 3)):.2g}")
    of = "the probabilities of the categories at the average of the grid, covariates at their means"
    return Own("cutpoints", "cutpoints", "shares", Prior("dirichlet", (weight,)), of, np.asarray)


_LINKED = natural.linked
FAMILIES = {
    f.name: f
    for f in (
        Family("gaussian", "identity", "sd", (),
               densities.gaussian, predictive.normal, None, None, ""),
        Family("student-t", "identity", "scale", (NU,),
               densities.student_t, predictive.student_t, None, None, ""),
        Family("censored", "identity", "sd", (),
               densities.censored, predictive.normal, predictive.censored, natural.recorded,
               "bounds"),
        Family("truncated", "identity", "sd", (),
               densities.truncated, None, predictive.truncated, natural.truncated, "bounds"),
        Family("beta", "logit", "", (PRECISION,),
               densities.beta, None, predictive.beta, _LINKED, "shares"),
        Family("binomial", "logit", "", (),
               densities.binomial, None, predictive.binomial, _LINKED, "trials"),
        Family("beta-binomial", "logit", "", (RHO_TRIALS,),
               densities.beta_binomial, None, predictive.beta_binomial, _LINKED, "trials"),
        Family("poisson", "log", "", (),
               densities.poisson, None, predictive.poisson, _LINKED, "counts"),
        Family("negative-binomial", "log", "", (ALPHA,),
               densities.negative_binomial, None, predictive.negative_binomial, _LINKED, "counts"),
        Family("ordered", "logit", "", (),
               densities.ordered, None, predictive.ordered, natural.scored, "categories"),
    )
}  # fmt: skip


def family_named(name: str) -> Family:
    """Return a family by name.

    Raises
    ------
    DataError
        Names the nearest.

    Examples
    --------
    >>> family_named("beta-binomial").link
    'logit'
    """
    if name not in FAMILIES:
        raise DataError(
            f"there is no family {name!r}", where="family", mend=suggestion(str(name), FAMILIES)
        )
    return FAMILIES[name]
