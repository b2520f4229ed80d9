"""Joint draws from the exact posterior: SDs, coefficients, random effects, new outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.bayesian.exact.draws import draw_outcomes_given, new_effects, stream
from ketastats.bayesian.exact.given import (
    at_rows,
    coefficients,
    inverse,
    of_groups,
    passes,
    patterns,
    residual_sds,
    roots,
    weighted_rows,
)
from ketastats.bayesian.exact.nodes import Gaussian, at_nodes, covariances
from ketastats.bayesian.exact.reject import reject, tents
from ketastats.core.errors import DataError

if TYPE_CHECKING:
    from ketastats.bayesian.exact.posterior import ExactPosterior


@dataclass(frozen=True, slots=True, eq=False)
class ExactDraws:
    """Independent joint draws from the exact posterior; n of them, in the units of the data.

    Attributes
    ----------
    gamma : numpy.ndarray, shape (n, q)
        Coefficients of the problem.
    parameters : numpy.ndarray, shape (n, axes)
        What is on the axes: SDs, correlations, scales of priors.
    terms : tuple of str
        Effects of the random terms, as the parameters of a model are called.
    sd : numpy.ndarray, shape (n, terms)
        Their SDs.
    effects : tuple of numpy.ndarray, shape (n, groups) each
        Deviations of the groups, in the order of ``terms``.
    acceptance : float
        Share of the proposals that were taken.
    """

    gamma: np.ndarray
    parameters: np.ndarray
    terms: tuple[str, ...]
    sd: np.ndarray
    effects: tuple[np.ndarray, ...]
    acceptance: float


def draw_parameters(
    post: ExactPosterior, rng: np.random.Generator, n: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Draw parameters (n, axes) and coefficients in standard units (n, q) from the posterior.

    Also returns the share of the proposals that were taken.
    """
    model, moments = post.model, post.quadrature.table.moments
    part = next(post.quadrature.parts())
    if not np.isfinite(part.weight).all():
        raise DataError(
            "the quadrature found no posterior to draw from", mend="use priors that are less wide"
        )
    none, first = np.empty((0, moments.q)), np.zeros(1, dtype=np.int64)

    def log_density(values: np.ndarray) -> np.ndarray:
        found = at_nodes(model, moments, values, none, first)
        return np.asarray(found.constant - 0.5 * found.quad[:, 0])

    parameters, acceptance = reject(tents(model.axes, part), log_density, rng, n)
    noise = rng.standard_normal((n, moments.q))
    out = np.empty_like(noise)
    for some in passes(patterns(model.problem), moments.q, n):
        mean, half = coefficients(model, moments, parameters[some])
        out[some] = mean + (half @ noise[some, :, None])[:, :, 0]
    return parameters, out, acceptance


def draw_effects(
    model: Gaussian,
    y: np.ndarray,
    parameters: np.ndarray,
    coefficients: np.ndarray,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    r"""Draw the random effects given the rest, (n, groups, effects) per term.

    Effects and residuals drawn anew are moved to the data: with :math:`u^* \sim N(0, G)` and
    :math:`y^*` outcomes with these, :math:`u^* + G Z' V^{-1} (y - y^*)` (Hoffman & Ribak 1991,
    Astrophys J 380:L5).

    Parameters
    ----------
    model : Gaussian
    y : numpy.ndarray, shape (rows,)
    parameters : numpy.ndarray, shape (n, axes)
    coefficients : numpy.ndarray, shape (n, q)
        In standard units.
    rng : numpy.random.Generator
    """
    random = model.problem.random
    found = patterns(model.problem)
    out = [np.empty((len(parameters), len(r.levels), len(r.effects))) for r in random]
    for some in passes(found, model.problem.x.shape[1], len(parameters)):
        values = parameters[some]
        theta, factors = covariances(model, values), roots(model, values)
        rest = y - coefficients[some] @ model.problem.x.T
        rest -= residual_sds(model, values) * rng.standard_normal(rest.shape)
        for r, root, u in zip(random, factors, out, strict=True):
            u[some] = new_effects(r, root, rng)
            rest -= at_rows(r, u[some])
        rest = weighted_rows(found, [inverse(p, theta) for p in found], rest)
        for r, root, u in zip(random, factors, out, strict=True):
            u[some] += of_groups(r, rest) @ (root @ np.swapaxes(root, 1, 2))
    return out


def joint_draws(post: ExactPosterior, n: int = 1000, seed: int = 1) -> ExactDraws:
    """Draw SDs, coefficients and random effects jointly; see :class:`ExactDraws`.

    The draws are independent and not confined to the nodes; they are as exact as the quadrature.

    Parameters
    ----------
    post : ExactPosterior
    n : int
    seed : int
        The same draws for the same seed.
    """
    rng = stream(post.problem.outcome, "posterior", n, seed)
    model = post.model
    parameters, beta, acceptance = draw_parameters(post, rng, n)
    effects = draw_effects(model, post.problem.y, parameters, beta, rng)
    names = [name for r in model.problem.random for a, b, name in r.parameters if a == b]
    sds = [model.parameters[model.problem.parameters.index(name)][0] for name in names]
    return ExactDraws(
        gamma=beta @ post.design.back.T,
        parameters=parameters,
        terms=tuple(names),
        sd=parameters[:, sds],
        effects=tuple(u[:, :, i] for u in effects for i in range(u.shape[2])),
        acceptance=acceptance,
    )


def predictive(post: ExactPosterior, n: int = 200, seed: int = 1) -> np.ndarray:
    """Draw outcomes anew for the same rows and new people, shape (n, rows).

    Parameters
    ----------
    post : ExactPosterior
    n : int
        Each from another posterior draw.
    seed : int
    """
    rng = stream(post.problem.outcome, "predictive", n, seed)
    parameters, beta, _ = draw_parameters(post, rng, n)
    return draw_outcomes_given(post.model, parameters, beta, rng)
