"""Draws from the exact posterior as an ArviZ DataTree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import gammaln

from ketastats.bayesian.exact.axes import log_prior
from ketastats.bayesian.exact.draws import prior_predictive, stream
from ketastats.bayesian.exact.given import at_rows, residual_sds
from ketastats.bayesian.exact.joint import ExactDraws, joint_draws
from ketastats.bayesian.exact.nodes import Gaussian
from ketastats.core.errors import DataError

if TYPE_CHECKING:
    from ketastats.bayesian.exact.posterior import ExactPosterior

CHAINS = 4


def datatree(post: ExactPosterior, n: int = 4000, seed: int = 1, prior: bool = False) -> Any:
    """Return joint draws as an ArviZ DataTree without clock times.

    Groups: ``posterior`` (4 chains of independent draws), ``log_likelihood`` of every row given
    its subjects' effects, ``log_prior`` of what is not a random effect (that is what power-scaling
    should change: Kallioinen et al. 2024, Stat Comput 34:57), ``posterior_predictive`` of the same
    subjects, ``observed_data``, and ``prior_predictive`` of new ones on request.

    Parameters
    ----------
    post : ExactPosterior
    n : int
        A multiple of 4.
    seed : int
    prior : bool
        Whether to draw from the priors too, which must be proper then.

    Returns
    -------
    xarray.DataTree
    """
    import arviz as az

    if n < CHAINS or n % CHAINS:
        raise DataError(f"n = {n} is not a multiple of {CHAINS}", mend=f"use {CHAINS * 1000}")
    problem, draws = post.problem, joint_draws(post, n, seed)
    mean, sd = _rows_given(post, draws)
    z = (problem.y - mean) / sd
    noise = stream(problem.outcome, "rows", n, seed).standard_normal(mean.shape)
    density = -0.5 * z**2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
    values, coords, dims = _variables(post, draws)
    groups = {
        "posterior": values,
        "log_likelihood": {problem.outcome: density},
        "posterior_predictive": {problem.outcome: mean + sd * noise},
    }
    if prior:
        groups["prior_predictive"] = {problem.outcome: prior_predictive(post, n, seed)}
    tree = az.from_dict(
        {g: {k: _chains(v) for k, v in of.items()} for g, of in groups.items()},
        coords=coords,
        dims=dims,
    )
    prior_of = log_priors(post.model, draws.parameters, _standard(post, draws))
    tree.update(az.from_dict({"log_prior": {k: _chains(v) for k, v in prior_of.items()}}))
    observed = {"observed_data": {problem.outcome: problem.y}}
    of_rows = {"dims": {problem.outcome: ["row"]}, "coords": {"row": problem.rows}}
    tree.update(az.from_dict(observed, sample_dims=[], **of_rows))
    for node in tree.children.values():
        node.attrs = {}
    tree.attrs = {
        "schema": 1,
        "formula": f"{problem.outcome} ~ {problem.formula}",
        "priors": "; ".join(f"{k}: {v}" for k, v in post.prior_text),
        "method": "independent draws from the posterior by quadrature",
        "seed": str(seed),
    }
    return tree


def _chains(draws: np.ndarray) -> np.ndarray:
    """Split draws into chains: (n, ...) to (4, n / 4, ...)."""
    return draws.reshape(CHAINS, -1, *draws.shape[1:])


def _standard(post: ExactPosterior, draws: ExactDraws) -> np.ndarray:
    """Return the coefficients of draws in standard units, (n, q)."""
    return np.asarray(np.linalg.solve(post.design.back, draws.gamma.T).T)


def _rows_given(post: ExactPosterior, draws: ExactDraws) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and SD of every row given its subjects' effects, (n, rows) each."""
    mean = draws.gamma @ post.problem.x.T
    at = 0
    for r in post.problem.random:
        own = draws.effects[at : at + len(r.effects)]
        mean += at_rows(r, np.stack(own, axis=2))
        at += len(own)
    return mean, residual_sds(post.model, draws.parameters)


def _variables(
    post: ExactPosterior, draws: ExactDraws
) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, list[str]]]:
    """Return the variables of the posterior with their coordinates and dimensions."""
    problem, axes = post.problem, post.model.axes
    outcome = problem.outcome
    values = {"gamma": draws.gamma}
    coords: dict[str, Any] = {"coefficient": list(problem.names), "row": problem.rows}
    dims = {"gamma": ["coefficient"], outcome: ["row"]}
    if draws.terms:
        values["sd"] = draws.sd
        coords["term"], dims["sd"] = list(draws.terms), ["term"]
    residual = [i for i, a in enumerate(axes) if a.map == "log"]
    values["sigma"] = draws.parameters[:, residual[0]]
    if len(residual) > 1:
        values["sigma"] = draws.parameters[:, residual]
        coords["residual"] = [axes[i].name.removeprefix("sd residual ") for i in residual]
        dims["sigma"] = ["residual"]
    for i, axis in enumerate(axes):
        if axis.name.startswith(("correlation ", "scale ")):
            values[axis.name] = draws.parameters[:, i]
    of = [r for r in problem.random for _ in r.effects]
    for r, name, effect in zip(of, draws.terms, draws.effects, strict=True):
        group = f"group {r.term.name}"
        coords[group], dims[f"effects {name}"] = list(r.levels), [group]
        values[f"effects {name}"] = effect
    return values, coords, dims


def log_priors(
    model: Gaussian, parameters: np.ndarray, coefficients: np.ndarray
) -> dict[str, np.ndarray]:
    """Return log prior densities of draws by what they are of, (n,) each.

    Coefficients with a Cauchy prior have its own density here, their scale integrated out; flat
    ones and the constants of improper priors are left out. Of effects whose prior has an SD to be
    estimated only that SD's prior counts, as for random effects.

    Parameters
    ----------
    model : Gaussian
    parameters : numpy.ndarray, shape (n, axes)
    coefficients : numpy.ndarray, shape (n, q)
        In standard units.
    """
    off = coefficients - model.location
    held = len(model.location) - model.flat - sum(len(b.columns) for b in model.blocks)
    gamma = -0.5 * np.einsum("nq,qp,np->n", off, model.precision, off)
    gamma += 0.5 * model.logdet - 0.5 * held * np.log(2 * np.pi)
    own = np.ones(len(model.axes), dtype=bool)
    for block in model.blocks:
        if block.times >= 0:
            own[block.axis] = False
            scale = parameters[:, block.times] * model.axes[block.axis].prior.parameters[0]
            gamma += log_cauchy(off[:, block.columns], scale)
    out = {"gamma": gamma}
    for i in np.flatnonzero(own).tolist():
        axis = model.axes[i]
        value = parameters[:, i]
        if axis.map == "correlation":
            (eta,) = axis.prior.parameters
            out[axis.name] = log_correlation(eta, value)
        else:
            out[axis.name] = log_prior(axis.prior, value)
    return out


def log_correlation(eta: float, value: np.ndarray) -> np.ndarray:
    """Return the log density of a correlation, lkj(eta)."""
    const = gammaln(2 * eta) - 2 * gammaln(eta) - (2 * eta - 1) * np.log(2.0)
    return np.asarray(const + (eta - 1) * np.log1p(-(value**2)))


def log_cauchy(value: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the log density of a multivariate Cauchy around 0, (n,), at (n, k)."""
    k = value.shape[1]
    const = gammaln(0.5 * (1 + k)) - gammaln(0.5) - 0.5 * k * np.log(np.pi)
    distance = (value**2).sum(axis=1) / scale**2
    return np.asarray(const - k * np.log(scale) - 0.5 * (1 + k) * np.log1p(distance))
