r"""Many effects of one kind, most of them perhaps none: an exact posterior by quadrature.

Estimate k is :math:`e_k = a_k z + \theta_k + \epsilon_k`: an error :math:`z \sim N(0, 1)` that all
share, with loading :math:`a_k`, and an own error :math:`\epsilon_k \sim N(0, d_k)`, so that the
covariance of the estimates is :math:`aa' + \mathrm{diag}(d)` (Dunnett & Sobel 1955, Biometrika
42:258). Effects are none or normal, :math:`\theta_k \sim (1 - \pi)\delta_0 + \pi N(0, \tau^2)`
(Mitchell & Beauchamp 1988, J Am Stat Assoc 83:1023). :math:`\pi` is uniform, which makes the
posterior allow for the number of questions (Scott & Berger 2010, Ann Stat 38:2587, section 2);
:math:`\log\tau` is uniform between two bounds.

Given z, :math:`\pi` and :math:`\tau` the effects are independent. The likelihood is a polynomial in
:math:`\pi`, for which Gauss-Legendre nodes are exact; in :math:`\log\tau` it is smooth; in z it is
a mixture of normals, for which the trapezoidal rule is exact to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, ndtr

STEP = 1.0
"""Nodes of z apart, in SDs of the narrowest normal: the trapezoidal rule then errs by
2 exp(-2 pi^2) = 5e-9 of it."""
REACH = 7.5
"""SDs of z on either side of where its posterior can be centred: 6e-14 lies beyond."""
NEGLIGIBLE = 25.0
"""Nodes of z this far in logarithms under the best are left out: 1e-11 of it."""
TOGETHER = 24
"""Mixtures multiplied before a logarithm is taken: each is at least 1e-12, see LEAST_SHARE."""
LEAST_SHARE = 1e-12
"""Least share, and least share of none, that may be held."""
NODES_SLAB, NODES_SHARE = 16, 48
"""Gauss-Legendre nodes for log tau (1e-9 over a tenfold range), and at most for pi: exact for up to
94 effects, and good to 1e-12 for 400 and 2e-7 for 1,000 of which none is there, the hardest."""


@dataclass(frozen=True, slots=True, eq=False)
class EffectPosterior:
    """Posterior of many effects; arrays of shape (K,).

    Attributes
    ----------
    mean, sd : numpy.ndarray
    effect : numpy.ndarray
        Probability that there is an effect at all.
    positive, negative : numpy.ndarray
        Probability that it is above and below 0; what is left to 1 is none.
    share : float
        Posterior mean of the share of effects that are not none.
    log_evidence : float
        Logarithm of the density of the estimates.
    """

    mean: np.ndarray
    sd: np.ndarray
    effect: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    share: float
    log_evidence: float

    @property
    def false_sign(self) -> np.ndarray:
        """Probability that the better sign is wrong (Stephens 2017, Biostatistics 18:275)."""
        return 1.0 - np.maximum(self.positive, self.negative)


def effect_posterior(
    estimates: np.ndarray,
    loading: np.ndarray,
    own: np.ndarray,
    share: tuple[float, float],
    slab: tuple[float, float],
) -> EffectPosterior:
    """Integrate over the shared error, the share of effects and their size.

    Parameters
    ----------
    estimates, loading : numpy.ndarray, shape (K,)
    own : numpy.ndarray, shape (K,)
        Variances, above 0.
    share : (float, float)
        Bounds of the uniform prior of pi; equal ones hold it there.
    slab : (float, float)
        Bounds of tau, above 0; equal ones hold it there.
    """
    order = min(len(estimates) // 2 + 1, NODES_SHARE)  # exact for polynomials of degree K + 1
    pi, log_pi = _legendre(*share, order)
    log_tau, log_slab = _legendre(float(np.log(slab[0])), float(np.log(slab[1])), NODES_SLAB)
    tau2 = np.exp(2 * log_tau)
    z, width = _shared_nodes(estimates, loading, own)
    z = z[_needed(z, estimates, loading, own, pi, tau2)]

    log_joint = np.empty((len(z), len(tau2), len(pi)))
    inside = np.empty((len(z), len(tau2), len(own)))  # chance of an effect at every node
    ratio = _log_ratio(estimates - z[:, None] * loading, own, tau2)
    base = _log_base(z, estimates, loading, own)
    for node in range(len(z)):  # one node at a time stays in the cache: three times as fast
        some, mixed, logs = _mixture(ratio[node], pi)
        log_joint[node] = logs + (base[node] + log_pi + log_slab[:, None])
        weight = np.exp(log_joint[node] - log_joint[node].max())
        inside[node] = some * ((pi / mixed) @ weight[..., None])[..., 0]
    evidence = float(logsumexp(log_joint))
    inside *= np.exp(log_joint.max(axis=(1, 2)) - evidence)[:, None, None]
    weight = np.exp(log_joint - evidence)

    keep = tau2[:, None] / (tau2[:, None] + own)  # (tau, K)
    centre = (estimates - z[:, None] * loading)[:, None] * keep  # (z, tau, K)
    spread = own * keep
    above = ndtr(centre / np.sqrt(spread))
    effect = inside.sum(axis=(0, 1))
    mean = (inside * centre).sum(axis=(0, 1))
    square = (inside * (centre**2 + spread)).sum(axis=(0, 1))
    positive = (inside * above).sum(axis=(0, 1))
    return EffectPosterior(
        mean=mean,
        sd=np.sqrt(np.maximum(square - mean**2, 0.0)),
        effect=effect,
        positive=positive,
        negative=(inside * (1 - above)).sum(axis=(0, 1)),
        share=float((weight * pi).sum()),
        log_evidence=evidence + float(np.log(width)),
    )


def _legendre(low: float, high: float, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and log weights of a uniform density; one node where the bounds are equal."""
    if low == high:
        return np.array([low]), np.zeros(1)
    x, w = np.polynomial.legendre.leggauss(order)
    return 0.5 * (low + high) + 0.5 * (high - low) * x, np.log(0.5 * w)


def _shared_nodes(
    estimates: np.ndarray, loading: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return equally spaced nodes over all of the posterior of z, and their distance.

    Given which effects are none, z is normal around a weighted mean of 0 and the e / a; its SD is
    smallest where all are none. One node, of weight 1, where nothing is shared.
    """
    if not loading.any():
        return np.zeros(1), 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.where(loading != 0, estimates / loading, 0.0)
    farthest = float(np.abs(loading * estimates / own).sum())  # the mean's denominator is above 1
    low, high = max(min(at.min(), 0.0), -farthest), min(max(at.max(), 0.0), farthest)
    step = STEP / float(np.sqrt(1 + (loading**2 / own).sum()))
    first, last = np.floor((low - REACH) / step), np.ceil((high + REACH) / step)
    return step * np.arange(first, last + 1), step


def _needed(
    z: np.ndarray,
    estimates: np.ndarray,
    loading: np.ndarray,
    own: np.ndarray,
    pi: np.ndarray,
    tau2: np.ndarray,
) -> np.ndarray:
    """Mark the nodes of z that any share and size give weight, looking at every fourth or so."""
    if len(z) == 1:
        return np.ones(1, dtype=bool)
    ratio = _log_ratio(estimates - z[:, None] * loading, own, tau2[::4])
    logs = _mixture(ratio, pi[:: max(len(pi) // 6, 1)])[2]
    best = logs.max(axis=(1, 2)) + _log_base(z, estimates, loading, own)
    return np.asarray(best > best.max() - NEGLIGIBLE)


def _mixture(ratio: np.ndarray, pi: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mix no effect (density 1) and an effect (density exp(ratio)), the larger one scaled to 1.

    Parameters
    ----------
    ratio : numpy.ndarray, shape (..., K)
    pi : numpy.ndarray, shape (P,)

    Returns
    -------
    some : numpy.ndarray, shape (..., K)
        Scaled density with an effect.
    mixed : numpy.ndarray, shape (..., K, P)
    logs : numpy.ndarray, shape (..., P)
        Log of the product of the mixtures over K, not scaled.
    """
    top = np.maximum(ratio, 0.0)
    some = np.exp(ratio - top)
    mixed = np.exp(-top)[..., None] * (1 - pi) + some[..., None] * pi
    products = [
        np.log(mixed[..., at : at + TOGETHER, :].prod(axis=-2))
        for at in range(0, ratio.shape[-1], TOGETHER)
    ]
    return some, mixed, sum(products) + top.sum(axis=-1)[..., None]


def _log_ratio(rest: np.ndarray, own: np.ndarray, tau2: np.ndarray) -> np.ndarray:
    """Return the log density of every rest (z, K) with an effect over that without, (z, tau, K)."""
    wide = own + tau2[:, None]
    gain = 0.5 * (1 / own - 1 / wide)
    return rest[:, None] ** 2 * gain - 0.5 * np.log(wide / own)


def _log_base(
    z: np.ndarray, estimates: np.ndarray, loading: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """Return the log density of z, where it varies, and of the estimates without effects, (z,)."""
    rest = estimates - z[:, None] * loading
    logs = -0.5 * (rest**2 / own + np.log(2 * np.pi * own)).sum(axis=1)
    return logs if len(z) == 1 else logs - 0.5 * z**2 - 0.5 * np.log(2 * np.pi)


def one_factor(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Split covariances of errors into one that all share and their own.

    Principal factor iteration (Harman 1976, Modern Factor Analysis, chapter 8): the loading is the
    first principal axis of the covariance with the loading's square on its diagonal. Exact where
    one shared error made the covariance.

    Parameters
    ----------
    covariance : numpy.ndarray, shape (K, K)

    Returns
    -------
    loading, own : numpy.ndarray, shape (K,)
        Shared SE with its sign, and own variance.
    left : float
        Largest correlation that the two do not explain.
    """
    total = np.diagonal(covariance)
    k = len(total)
    alone = np.zeros(k), total.copy()
    if k == 1:
        return *alone, 0.0
    off = covariance - np.diag(total)
    shared = np.clip(off.sum(axis=1) / (k - 1), 0.0, total)
    loading = np.sqrt(shared)
    for _ in range(500):
        values, vectors = np.linalg.eigh(off + np.diag(shared))
        if values[-1] <= 1e-12 * total.max():
            loading = alone[0]
            break
        axis = vectors[:, -1] * np.sign(vectors[:, -1].sum() or 1.0)
        loading = np.sqrt(values[-1]) * axis
        moved = np.abs(loading**2 - shared).max()
        shared = np.minimum(loading**2, total)
        if moved < 1e-13 * total.max():
            break
    scale = np.sqrt(total)
    unexplained = np.abs(off - np.outer(loading, loading)) / np.outer(scale, scale)
    np.fill_diagonal(unexplained, 0.0)
    return loading, total - loading**2, float(unexplained.max())
