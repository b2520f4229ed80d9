"""Draws from the priors, and of outcomes; those from the posterior are in :mod:`.joint`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ketastats.bayesian.exact.given import at_rows, flat_directions, residual_sds, roots
from ketastats.bayesian.exact.nodes import Gaussian, block_sd
from ketastats.core.errors import DataError
from ketastats.core.random import Purpose, generator
from ketastats.problem.build import RandomDesign
from ketastats.study.priors import Prior

if TYPE_CHECKING:
    from ketastats.bayesian.exact.posterior import ExactPosterior

STREAMS = {"posterior": 0, "predictive": 1, "prior": 2, "rows": 3}
"""Number of the stream of random numbers for each kind of draw."""


def draw_prior(prior: Prior, rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw an SD, correlation or scale from its prior, (n,).

    Parameters
    ----------
    prior : Prior
        Of an axis; densities in :func:`ketastats.bayesian.exact.axes.log_prior`.
    rng : numpy.random.Generator
    n : int

    Raises
    ------
    DataError
        When the prior is improper.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> bool((draw_prior(Prior("half-normal", (10.0,)), rng, 5) > 0).all())
    True
    """
    scale = prior.parameters[-1] if prior.parameters else 1.0
    if prior.family == "half-normal":
        return scale * np.abs(rng.standard_normal(n))
    if prior.family == "exponential":
        return scale * rng.standard_exponential(n)
    if prior.family == "half-t":
        return np.asarray(scale * np.abs(rng.standard_t(prior.parameters[0], n)))
    if prior.family == "lkj":  # of two: (1 + rho) / 2 is beta(eta, eta)
        return 2 * rng.beta(scale, scale, n) - 1
    if prior.family == "inverse-root-gamma":
        return np.asarray(scale / np.abs(rng.standard_normal(n)))
    raise DataError(
        f"nothing can be drawn from the prior {str(prior)!r}: it is improper",
        where="priors.residual",
        mend="use half-normal, half-t or exponential",
    )


def draw_from_prior(
    model: Gaussian, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw parameters and coefficients from their priors.

    Parameters
    ----------
    model : Gaussian
    n : int
    rng : numpy.random.Generator

    Returns
    -------
    parameters : numpy.ndarray, shape (n, axes)
    coefficients : numpy.ndarray, shape (n, q)
        In standard units: of ``model.problem.x``.

    Raises
    ------
    DataError
        Where a prior is improper; it names the prior.
    """
    refuse_flat(model)
    parameters = np.stack([draw_prior(a.prior, rng, n) for a in model.axes], axis=1)
    noise = rng.standard_normal((n, len(model.location)))
    scaled = np.array([c for b in model.blocks for c in b.columns], dtype=np.int64)
    free = np.setdiff1d(np.arange(len(model.location)), scaled)
    out = np.empty_like(noise)
    if free.size:  # S^-1 = L L', and L'^-1 z has covariance S
        root = np.linalg.cholesky(model.precision[np.ix_(free, free)])
        out[:, free] = model.location[free] + np.linalg.solve(root.T, noise[:, free].T).T
    for block in model.blocks:
        sd = block_sd(block, parameters)[:, None]
        out[:, block.columns] = model.location[block.columns] + noise[:, block.columns] * sd
    return parameters, out


def refuse_flat(model: Gaussian) -> None:
    """Raise DataError, naming the prior, where there is none to draw from."""
    for axis in model.axes:
        if axis.prior.family == "jeffreys":
            draw_prior(axis.prior, np.random.default_rng(0), 0)
    if not model.flat:
        return
    some = np.abs(flat_directions(model)).max(axis=1) > 1e-9
    flat = [name for name, f in zip(model.problem.names, some, strict=True) if f]
    role = "intercept" if flat == ["Intercept"] else "effects"
    raise DataError(
        f"nothing can be drawn from a flat prior, and {', '.join(flat)} have one",
        where=f"priors.{role}",
        mend="use normal(mean, sd)",
    )


def draw_outcomes_given(
    model: Gaussian, parameters: np.ndarray, coefficients: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw outcomes of the same rows, with new groups, (n, rows).

    Parameters
    ----------
    model : Gaussian
    parameters : numpy.ndarray, shape (n, axes)
    coefficients : numpy.ndarray, shape (n, q)
        In standard units.
    rng : numpy.random.Generator
    """
    x = model.problem.x
    out = coefficients @ x.T
    out += residual_sds(model, parameters) * rng.standard_normal(out.shape)
    for r, root in zip(model.problem.random, roots(model, parameters), strict=True):
        out += at_rows(r, new_effects(r, root, rng))
    return out


def new_effects(r: RandomDesign, root: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the effects of new groups, (n, groups, effects)."""
    noise = rng.standard_normal((len(root), len(r.levels), len(r.effects)))
    return np.asarray(noise @ np.swapaxes(root, 1, 2))


def prior_predictive(post: ExactPosterior | Gaussian, n: int = 200, seed: int = 1) -> np.ndarray:
    """Draw outcomes for the same rows from the priors alone, shape (n, rows).

    Parameters
    ----------
    post : ExactPosterior or Gaussian
    n : int
    seed : int

    Raises
    ------
    DataError
        Where a prior is improper; it names the prior.
    """
    model = post if isinstance(post, Gaussian) else post.model
    rng = stream(model.problem.outcome, "prior", n, seed)
    parameters, beta = draw_from_prior(model, n, rng)
    return draw_outcomes_given(model, parameters, beta, rng)


def stream(outcome: str, what: str, n: int, seed: int) -> np.random.Generator:
    """Open the random numbers of one kind of draw, or refuse a number of draws."""
    if n < 1:
        raise DataError(f"n = {n} is not 1 or more", mend="ask for 1000 draws")
    return generator(seed, Purpose.RESAMPLING, outcome, STREAMS[what])
