"""Numbers from draws: functions on arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Posterior summaries; every array has shape (K,)."""

    mean: np.ndarray
    sd: np.ndarray
    low: np.ndarray
    high: np.ndarray
    positive: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Convergence:
    """How well draws are known; every array has shape (K,)."""

    r_hat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray
    mcse: np.ndarray


def moments(draws: np.ndarray, level: float) -> Moments:
    """Summarise draws: mean, SD, equal-tailed interval, probability of being above 0.

    Parameters
    ----------
    draws : numpy.ndarray, shape (chains, draws, K)
    level : float
    """
    flat = draws.reshape(-1, draws.shape[-1])
    low, high = np.quantile(flat, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Moments(flat.mean(axis=0), flat.std(axis=0, ddof=1), low, high, (flat > 0).mean(axis=0))


def convergence(draws: np.ndarray) -> Convergence:
    """Return rank-normalised split R-hat, bulk and tail ESS and the MCSE of the mean.

    Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Bayesian Analysis 16:667, through ArviZ:
    R-hat is the larger of that of the ranks and of the folded ranks, the tail ESS the smaller of
    those of the 5 % and 95 % quantiles. Draws that do not vary have none of them: NaN.

    Parameters
    ----------
    draws : numpy.ndarray, shape (chains, draws, K)
    """
    import arviz as az

    out = {name: np.full(draws.shape[-1], np.nan) for name in Convergence.__slots__}
    for k in range(draws.shape[-1]):
        one = draws[:, :, k]
        if not np.isfinite(one).all() or np.ptp(one) == 0:
            continue
        out["r_hat"][k] = az.rhat(one, chain_axis=0, draw_axis=1)
        out["ess_bulk"][k] = az.ess(one, method="bulk", chain_axis=0, draw_axis=1)
        out["ess_tail"][k] = az.ess(
            one, method="tail", prob=(0.05, 0.95), chain_axis=0, draw_axis=1
        )
        out["mcse"][k] = az.mcse(one, method="mean", chain_axis=0, draw_axis=1)
    return Convergence(**out)


def e_bfmi(energy: np.ndarray) -> np.ndarray:
    r"""Return the energy fraction of missing information of every chain, shape (chains,).

    :math:`\sum_n (E_n - E_{n-1})^2 / \sum_n (E_n - \bar E)^2` over consecutive draws (Betancourt
    2016, arXiv:1604.00695).

    Parameters
    ----------
    energy : numpy.ndarray, shape (chains, all draws)
    """
    step = (np.diff(energy, axis=1) ** 2).sum(axis=1)
    spread = ((energy - energy.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return np.divide(step, spread, out=np.full(len(energy), np.nan), where=spread > 0)


def kernel_density(draws: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a Gaussian kernel density of draws.

    The bandwidth is Silverman's (1986, equation 3.31): 0.9 min(SD, IQR / 1.34) n^(-1/5).

    Parameters
    ----------
    draws : numpy.ndarray
        Of any shape; read as one sample.
    points : int

    Returns
    -------
    at, density : numpy.ndarray, shape (points,)
        ``at`` goes 3 bandwidths beyond the 0.1 % and 99.9 % quantiles.
    """
    flat = draws.ravel()
    low, q1, q3, high = np.quantile(flat, [0.001, 0.25, 0.75, 0.999])
    spread = min(float(flat.std(ddof=1)), float(q3 - q1) / 1.34)
    width = 0.9 * spread * len(flat) ** -0.2
    at = np.linspace(low - 3 * width, high + 3 * width, points)
    kernel = np.exp(-0.5 * ((at[:, None] - flat) / width) ** 2)
    return at, kernel.mean(axis=1) / (width * np.sqrt(2 * np.pi))
