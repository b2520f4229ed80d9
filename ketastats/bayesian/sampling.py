"""The model in PyMC and its draws by nutpie.

PyMC, PyTensor and nutpie are imported inside the functions: a cached result needs none of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ketastats.bayesian.densities import add_cut_points
from ketastats.bayesian.likelihood import GAUSSIAN, Likelihood
from ketastats.study.priors import Prior

ADAPTATION = {
    "adaptation": "low_rank",
    "mass_matrix_gamma": 1e-2,
    "mass_matrix_eigval_cutoff": 4.0,
}
"""Low rank, because an intercept and its deviations move together: with a subject SD of 10 residual
SDs a diagonal mass matrix gave 56 effective draws of a difference between people where this one
gave 3200. The two numbers keep only strong directions: nutpie's defaults take four times as long
with the 142 dimensions of the MADRS model and mix no better."""

TARGET_ACCEPT = 0.98
"""No divergence in 24 synthetic crossovers (12 each of MADRS and Glx) and 4 mouse trials with 4
cages, 32 000 draws each; with 0.95 two to five in every mouse trial."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to sample.

    Attributes
    ----------
    draws : int
        Kept per chain.
    tune : int
        Tuning steps per chain.
    chains : int
    thin : int
        Every thin-th draw is kept.
    seed : int
        Of the sampler, after addressing.
    target_accept : float
    linked : str
        Outcome sampled together with this one; empty for none.
    """

    draws: int
    tune: int
    chains: int
    thin: int
    seed: int
    target_accept: float = TARGET_ACCEPT
    linked: str = ""

    @property
    def method(self) -> str:
        """What stands in the tables."""
        kept = f", 1 in {self.thin} kept" if self.thin > 1 else ""
        linked = f", linked with {self.linked}" if self.linked else ""
        return f"nutpie, {self.chains} x {self.draws} draws{kept}{linked}"


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Everything that decides the posterior.

    Attributes
    ----------
    y : numpy.ndarray, shape (rows,)
    x : numpy.ndarray, shape (rows, q)
    z : tuple of numpy.ndarray, each of shape (rows,)
    group : tuple of numpy.ndarray of int, each of shape (rows,)
        -1 where a row has none; ``z`` is zero there.
    levels : tuple of int
        Groups per random term.
    location, scale : numpy.ndarray, shape (q,)
        Normal priors of the coefficients.
    sd : Prior
        Of every standard deviation.
    rows : Likelihood
        The family.
    own : tuple of Prior
        Of the family's own parameters.
    """

    y: np.ndarray
    x: np.ndarray
    z: tuple[np.ndarray, ...]
    group: tuple[np.ndarray, ...]
    levels: tuple[int, ...]
    location: np.ndarray
    scale: np.ndarray
    sd: Prior
    rows: Likelihood = GAUSSIAN
    own: tuple[Prior, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Draws of the parameters, and what the sampler says of itself.

    Attributes
    ----------
    gamma : numpy.ndarray, shape (chains, draws, q)
        Fixed effects.
    sd : numpy.ndarray, shape (chains, draws, terms)
    own : numpy.ndarray, shape (chains, draws, parameters)
        Residual SDs, then the family's own parameters.
    diverging : numpy.ndarray of bool, shape (chains, draws * thin)
        Of every draw, the ones not kept too.
    energy : numpy.ndarray, shape (chains, draws * thin)
    """

    gamma: np.ndarray
    sd: np.ndarray
    own: np.ndarray
    diverging: np.ndarray
    energy: np.ndarray

    @property
    def sigma(self) -> np.ndarray:
        """The residual SD of a model with one, shape (chains, draws)."""
        return self.own[:, :, 0]


@contextmanager
def ensure_reproducible() -> Iterator[None]:
    """Compile so that a process that compiles and one that loads the cache draw the same bytes.

    With numba's fast mathematics, PyTensor's default, the two differ. The caller's settings are
    as before afterwards.
    """
    import pytensor

    with pytensor.config.change_flags(numba__fastmath=False, floatX="float64"):
        yield


def build_model(inputs: Inputs) -> Any:
    r"""Return the PyMC model, non-centred (Betancourt & Girolami 2015, arXiv:1312.0906).

    .. math:: \eta = X \gamma + \sum_k \tau_k z_{k,g(k)} d_k, \quad z \sim N(0, 1)

    and rows of the family around it, :math:`y \sim N(\eta, \sigma^2)` for the Gaussian.

    Returns
    -------
    pymc.Model
        With the variables ``gamma``, ``sd`` (when there are random terms), ``sigma`` (in a family
        with residuals) and those of the family.
    """
    import pymc as pm

    with pm.Model() as model:
        mean, start = fixed_part(inputs)
        if inputs.z:
            sd = sd_prior("sd", inputs.sd, initval=np.full(len(inputs.z), start))
        for k, (z, group) in enumerate(zip(inputs.z, inputs.group, strict=True)):
            deviation = pm.Normal(f"deviation_{k}", 0.0, 1.0, shape=inputs.levels[k])
            mean = mean + sd[k] * deviation[np.maximum(group, 0)] * z
        rows, own = inputs.rows, {}
        if rows.groups:
            first = np.full(len(rows.groups), start) if rows.residual == "by" else start
            own["sigma"] = sd_prior("sigma", inputs.sd, initval=first)
        for parameter, prior in zip(rows.own, inputs.own, strict=True):
            own[parameter.variable] = _own_prior(parameter.variable, prior, inputs)
        rows.family.density(mean, own, inputs.y, rows)
    return model


def fixed_part(inputs: Inputs, suffix: str = "") -> tuple[Any, float]:
    """Add the coefficients to the open model; return the mean of the rows and a start for SDs."""
    import pymc as pm

    centre, step, start = unit_of(inputs)
    cells, cell = np.unique(inputs.x, axis=0, return_inverse=True)
    unit = pm.Normal(
        f"unit{suffix}",
        (inputs.location - centre) / step,
        inputs.scale / step,
        initval=np.zeros(len(centre)),
    )
    gamma = pm.Deterministic(f"gamma{suffix}", centre + step * unit)
    # rows of one cell share a product; no BLAS, so that sums have the same order everywhere
    return (cells * gamma).sum(axis=-1)[cell], start


def unit_of(inputs: Inputs) -> tuple[np.ndarray, np.ndarray, float]:
    """Return where chains start and in which units they move; the posterior does not depend on it.

    Returns
    -------
    centre, step : numpy.ndarray, shape (q,)
        Mean and SD of the coefficients without random terms, the residual SD as of least squares,
        on the scale of the link.
    start : float
        First value of every SD: the residual SD shared equally, or the prior's scale when less.

    Notes
    -----
    All three are rounded, so that the last bits of linear algebra, which may change with the
    number of threads, do not reach the draws.
    """
    x, y = inputs.x, inputs.rows.working(inputs.y)
    fitted = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    variance = float(((y - fitted) ** 2).sum()) / max(len(y) - x.shape[1], 1)
    variance = variance if variance > 0 else 1.0
    precision = x.T @ x / variance + np.diag(1 / inputs.scale**2)
    covariance = np.linalg.inv(precision)
    centre = covariance @ (x.T @ y / variance + inputs.location / inputs.scale**2)
    start = min(float(np.sqrt(variance / (1 + len(inputs.z)))), inputs.sd.parameters[-1])
    step = np.array([_rounded(s) for s in np.sqrt(np.diag(covariance))])
    return step * np.round(centre / step, 1), step, _rounded(start)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def sd_prior(name: str, prior: Prior, **kwargs: Any) -> Any:
    """Add standard deviations to the open model, of the shape of their first values."""
    import pymc as pm

    kwargs["shape"] = np.shape(kwargs["initval"])
    if prior.family == "half-normal":
        return pm.HalfNormal(name, sigma=prior.parameters[0], **kwargs)
    if prior.family == "exponential":
        return pm.Exponential(name, scale=prior.parameters[0], **kwargs)
    df, scale = prior.parameters
    return pm.HalfStudentT(name, nu=df, sigma=scale, **kwargs)


def _own_prior(name: str, prior: Prior, inputs: Inputs) -> Any:
    """Give a family's own parameter its prior; it starts at half the prior's scale, or at 0."""
    import pymc as pm

    if prior.family == "dirichlet":
        return add_cut_points(name, prior.parameters[0], inputs.y, inputs.rows)
    if prior.family == "normal":
        return pm.Normal(name, *prior.parameters, initval=0.0)
    return sd_prior(name, prior, initval=prior.parameters[-1] / 2)


def sample(inputs: Inputs, settings: Settings, *, progress: bool = False) -> Draws:
    """Compile the model and sample it; the number of cores does not change the draws."""
    own = [*(["sigma"] if inputs.rows.groups else []), *(p.variable for p in inputs.rows.own)]
    names = ["gamma", *own] + (["sd"] if inputs.z else [])
    with ensure_reproducible():
        kept, stats = run(build_model(inputs), names, settings, progress)
    empty = np.empty((*kept["gamma"].shape[:2], 0))
    return Draws(
        gamma=kept["gamma"],
        sd=kept.get("sd", empty),
        own=np.concatenate([empty, *(kept[n] for n in own)], axis=2),
        **stats,
    )


def run(
    model: Any, names: list[str], settings: Settings, progress: bool
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Sample a PyMC model; return draws of shape (chains, draws, k) by name, and statistics."""
    import nutpie

    tree = nutpie.sample(
        nutpie.compile_pymc_model(model, var_names=names),
        draws=settings.draws * settings.thin,
        tune=settings.tune,
        chains=settings.chains,
        cores=min(2, os.cpu_count() or 1, settings.chains),
        seed=settings.seed,
        **ADAPTATION,
        target_accept=settings.target_accept,
        save_warmup=False,
        progress_bar=progress,
    )
    posterior, stats = tree["posterior"], tree["sample_stats"]
    keep = slice(settings.thin - 1, None, settings.thin)
    return {n: _columns(posterior[n].values, keep) for n in names}, {
        "diverging": np.ascontiguousarray(stats["diverging"].values, dtype=bool),
        "energy": np.ascontiguousarray(stats["energy"].values, dtype=np.float64),
    }


def _columns(values: np.ndarray, keep: slice) -> np.ndarray:
    """Return the draws kept, with an axis of parameters, which a single one lacks."""
    kept = np.ascontiguousarray(values[:, keep], dtype=np.float64)
    return kept[:, :, None] if kept.ndim == 2 else kept
