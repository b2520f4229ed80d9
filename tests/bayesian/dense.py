"""Exact posteriors of Gaussian mixed models the slow way: an oracle for tests.

y ~ N(X b, V) with V the sum of sd² Z Z' over random terms and of sd² diag(rows of a group) over
residual groups; b ~ N(m, P^-1), flat where a row of P is zero. Every matrix is rows by rows, every
standard deviation is integrated over a product of Gauss-Legendre panels on its own axis. Nothing is
collapsed and nothing is imported from the package.

A prior of a standard deviation is ``("half-normal", scale)``, ``("half-t", df, scale)``,
``("exponential", mean)``, ``("jeffreys",)`` for 1 / sd, or ``("known", sd)``, a point.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, special, stats
from scipy.special import logsumexp

PANELS = (0.0, 0.1, 0.3, 0.7, 1.0, 1.5, 3.0, 10.0, 40.0)
"""Edges of the panels of a standard deviation, in units of ``data_scale``.

What is beyond the last is lost: a heavy-tailed prior with two or three levels needs more panels, a
table of hundreds of rows narrower ones around its residual SD."""
CAUCHY_PANELS = (0.0, 0.1, 0.3, 1.0, 3.0, 9.0)
"""Edges for z = r / sqrt(g), half-normal(1) a priori; beyond 9 is a mass of 1e-19."""
CHUNK = 2000
"""Nodes whose rows-by-rows matrices are in memory at once."""


# --- for given standard deviations; V may be a stack of matrices, shape (..., N, N) ---------------


def log_normal(y: np.ndarray, mean: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Return the log density of N(mean, V) at y, shape (...)."""
    L = np.linalg.cholesky(V)
    z = np.linalg.solve(L, (y - mean)[..., None])[..., 0]
    log_root = np.log(np.diagonal(L, axis1=-2, axis2=-1)).sum(-1)
    return -0.5 * y.shape[-1] * np.log(2 * np.pi) - log_root - 0.5 * (z**2).sum(-1)


def log_marginal(
    y: np.ndarray, X: np.ndarray, V: np.ndarray, m: np.ndarray, precision: np.ndarray
) -> np.ndarray:
    """Return the log of the integral over b of N(y; X b, V) N(b; m, precision^-1), shape (...).

    A flat coefficient, whose row of ``precision`` is zero, adds no constant: its prior is 1.
    """
    P, flat = _precision(X, precision)
    if flat.any():
        return information_form(y, X, V, m, precision)
    return log_normal(y, X @ m, V + X @ np.linalg.inv(P) @ X.T)


def information_form(
    y: np.ndarray, X: np.ndarray, V: np.ndarray, m: np.ndarray, precision: np.ndarray
) -> np.ndarray:
    """Return ``log_marginal`` by completing the square in b, proper or flat, shape (...).

    It is log N(y; X b, V) + log N(b; m, P^-1) - log N(b; b, A^-1) at the conditional mean of b.
    """
    P, flat = _precision(X, precision)
    mean, covariance = conditional(y, X, V, m, precision)
    proper = P[..., ~flat, :][..., :, ~flat]
    off = mean - m
    prior = 0.5 * np.linalg.slogdet(proper)[1] - 0.5 * np.einsum("...i,...ij,...j", off, P, off)
    posterior = -0.5 * np.linalg.slogdet(covariance)[1]
    fitted = np.einsum("ij,...j->...i", X, mean)
    turns = 0.5 * flat.sum() * np.log(2 * np.pi)
    return log_normal(y, fitted, V) + prior - posterior + turns


def conditional(
    y: np.ndarray, X: np.ndarray, V: np.ndarray, m: np.ndarray, precision: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean, shape (..., p), and covariance, shape (..., p, p), of b given V."""
    P, _ = _precision(X, precision)
    inverse_X = np.linalg.solve(V, np.broadcast_to(X, (*V.shape[:-2], *X.shape)))
    covariance = np.linalg.inv(X.T @ inverse_X + P)
    right = np.einsum("...ij,i->...j", inverse_X, y) + P @ m
    return np.einsum("...ij,...j->...i", covariance, right), covariance


def reml_loglik(y: np.ndarray, X: np.ndarray, V: np.ndarray) -> float:
    """Return Patterson & Thompson's likelihood as R reports it, without log|X'X| / 2."""
    inverse = np.linalg.inv(V)
    A = X.T @ inverse @ X
    rest = y - X @ np.linalg.solve(A, X.T @ inverse @ y)
    logdet = np.linalg.slogdet(V)[1] + np.linalg.slogdet(A)[1]
    n, p = X.shape
    return float(-0.5 * ((n - p) * np.log(2 * np.pi) + logdet + rest @ inverse @ rest))


def _precision(X: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return P, shape (..., p, p), of its diagonal (p,) or itself, and which rows are flat."""
    P = np.asarray(precision, dtype=float)
    P = np.diag(P) if P.ndim == 1 else P
    flat = ~P.any(axis=(*range(P.ndim - 2), -1))
    if flat.any() and np.linalg.matrix_rank(X[:, flat]) < flat.sum():
        raise ValueError("the data say nothing of some coefficient that is flat")
    return P, flat


# --- priors and nodes -----------------------------------------------------------------------------


def log_prior(prior: tuple, sd: np.ndarray) -> np.ndarray:
    """Return the log density of standard deviations, of any shape."""
    match prior:
        case ("half-normal", scale):
            return stats.halfnorm.logpdf(sd, scale=scale)
        case ("half-t", df, scale):
            return np.log(2) + stats.t.logpdf(sd, df, scale=scale)
        case ("exponential", mean):
            return stats.expon.logpdf(sd, scale=mean)
        case ("jeffreys",):
            return -np.log(sd)
        case ("known", _):
            return np.zeros_like(sd)
    raise ValueError(f"no such prior: {prior!r}")


def gauss_legendre(edges: Sequence[float], nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return abscissae and weights of Gauss-Legendre on every panel, each (panels * nodes,)."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    half = np.diff(edges)[:, None] / 2
    return (np.asarray(edges)[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()


def data_scale(y: np.ndarray, X: np.ndarray) -> float:
    """Return the residual SD of least squares."""
    rest = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
    return float(np.sqrt(rest @ rest / max(len(y) - np.linalg.matrix_rank(X), 1)))


@dataclass(frozen=True, slots=True)
class Axis:
    """Nodes of one standard deviation, or of one z: abscissae, weights, log prior, panel edges."""

    x: np.ndarray
    w: np.ndarray
    log_prior: np.ndarray
    edges: np.ndarray


def _axis(prior: tuple, edges: np.ndarray, nodes: int) -> Axis:
    if prior[0] == "known":
        return Axis(np.array([prior[1]]), np.ones(1), np.zeros(1), np.empty(0))
    x, w = gauss_legendre(edges, nodes)
    return Axis(x, w, log_prior(prior, x), edges)


# --- the model ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Model:
    """Data, covariance components and axes: N rows, p coefficients, K standard deviations.

    ``columns`` has, for every Cauchy prior, which coefficients share its g, shape (p,); ``r`` its
    scale. ``parts`` are Z Z' and diag(group), each (N, N), in the order of the SDs.
    """

    y: np.ndarray
    X: np.ndarray
    parts: tuple[np.ndarray, ...]
    m: np.ndarray
    precision: np.ndarray
    columns: tuple[np.ndarray, ...]
    r: tuple[float, ...]
    axes: tuple[Axis, ...]

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all nodes, shape (nodes, axes), and log weight with prior, shape (nodes,)."""
        theta = np.stack(np.meshgrid(*[a.x for a in self.axes], indexing="ij"), axis=-1)
        log_w = np.meshgrid(*[np.log(a.w) + a.log_prior for a in self.axes], indexing="ij")
        return theta.reshape(-1, len(self.axes)), sum(log_w).ravel()

    def covariance(self, theta: np.ndarray) -> np.ndarray:
        """Return V at nodes of shape (n, axes), shape (n, N, N)."""
        return sum(theta[:, k, None, None] ** 2 * part for k, part in enumerate(self.parts))

    def prior_precision(self, theta: np.ndarray) -> np.ndarray:
        """Return P at nodes, shape (n, p, p): g sd² = (r sd / z)² for coefficients with a g."""
        P = np.broadcast_to(self.precision, (len(theta), *self.precision.shape)).copy()
        K = len(self.parts)
        for j, (columns, r) in enumerate(zip(self.columns, self.r, strict=True)):
            one = (theta[:, K + j] / (r * theta[:, K - 1])) ** 2
            P += one[:, None, None] * np.diag(columns.astype(float))
        return P

    def without(self, out: np.ndarray) -> Model:
        """Return the model of the other rows; the axes stay."""
        keep = np.setdiff1d(np.arange(len(self.y)), out)
        parts = tuple(part[np.ix_(keep, keep)] for part in self.parts)
        return replace(self, y=self.y[keep], X=self.X[keep], parts=parts)


def dense_model(
    y: np.ndarray,
    X: np.ndarray,
    Zs: Sequence[np.ndarray],
    priors: Sequence[tuple],
    *,
    m: np.ndarray | None = None,
    precision: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    cauchy: Sequence[tuple[Sequence[int], float]] = (),
    scale: float | None = None,
    panels: Sequence[float] | Sequence[Sequence[float]] = PANELS,
    nodes: int | Sequence[int] = 16,
    cauchy_panels: Sequence[float] = CAUCHY_PANELS,
    cauchy_nodes: int = 12,
) -> Model:
    """Return the model with its nodes.

    Parameters
    ----------
    y, X : shape (N,), (N, p)
    Zs : list of shape (N, q)
        One per random term.
    priors : list of tuple
        One per random term, then one per residual group in sorted order.
    m, precision : shape (p,), (p,) or (p, p)
        Of the coefficients' normal prior; flat with mean 0 when left out.
    groups : shape (N,) or None
        Residual group of every row; one group when left out.
    cauchy : list of (columns, r)
        Coefficients with variance g sd² of the one residual SD, one g ~ inverse-gamma(1/2, r²/2)
        for all the columns of an entry. Their rows of ``precision`` are zero.
    scale : float or None
        Unit of the panels: the residual SD of least squares when left out.
    panels, nodes
        Edges in units of ``scale`` and nodes per panel, for all SDs or one for each.
    """
    N, p = X.shape
    groups = np.zeros(N, dtype=int) if groups is None else np.asarray(groups)
    names = np.unique(groups)
    parts = [Z @ Z.T for Z in Zs] + [np.diag((groups == g).astype(float)) for g in names]
    P = np.zeros(p) if precision is None else np.asarray(precision, dtype=float)
    P = np.diag(P) if P.ndim == 1 else P
    columns = tuple(np.isin(np.arange(p), c) for c, _ in cauchy)
    if len(priors) != len(parts) or (cauchy and len(names) > 1):
        raise ValueError("one prior per standard deviation, and one residual SD for a Cauchy prior")
    if any(P[c].any() for c in columns) or (sum(columns, np.zeros(p)) > 1).any():
        raise ValueError("a coefficient has one prior")
    scale = data_scale(y, X) if scale is None else scale
    K = len(parts)
    each = [panels] * K if np.ndim(panels[0]) == 0 else panels
    counts = [nodes] * K if np.ndim(nodes) == 0 else nodes
    axes = [
        _axis(prior, scale * np.asarray(e, dtype=float), n)
        for prior, e, n in zip(priors, each, counts, strict=True)
    ]
    half = ("half-normal", 1.0)
    axes += [_axis(half, np.asarray(cauchy_panels, dtype=float), cauchy_nodes) for _ in cauchy]
    m = np.zeros(p) if m is None else np.asarray(m, dtype=float)
    return Model(y, X, tuple(parts), m, P, columns, tuple(r for _, r in cauchy), tuple(axes))


# --- posteriors -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dense:
    """A posterior as a mixture over nodes.

    ``theta`` (nodes, axes), ``log_joint`` (nodes,) with quadrature weights, ``weight`` (nodes,)
    sums to 1, ``mean`` and ``variance`` (nodes, c) of the contrasts given the node. Axes are the
    SDs in the order of the priors, then z = r / sqrt(g) of every Cauchy prior.
    """

    axes: tuple[Axis, ...]
    theta: np.ndarray
    log_joint: np.ndarray
    weight: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    @property
    def log_marginal_likelihood(self) -> float:
        return float(logsumexp(self.log_joint))

    def contrast_mean(self) -> np.ndarray:
        return self.weight @ self.mean

    def contrast_sd(self) -> np.ndarray:
        return np.sqrt(self.weight @ (self.variance + (self.mean - self.contrast_mean()) ** 2))

    def cdf(self, at: float | np.ndarray) -> np.ndarray:
        """Return P(contrast <= at), shape (c,)."""
        return self.weight @ special.ndtr((at - self.mean) / np.sqrt(self.variance))

    def prob_positive(self) -> np.ndarray:
        return self.weight @ special.ndtr(self.mean / np.sqrt(self.variance))

    def density(self, at: float | np.ndarray) -> np.ndarray:
        return self.weight @ stats.norm.pdf(at, self.mean, np.sqrt(self.variance))

    def quantile(self, p: float) -> np.ndarray:
        """Return the quantile of every contrast by root finding, shape (c,)."""
        one = [replace(self, mean=self.mean[:, [c]], variance=self.variance[:, [c]])
               for c in range(self.mean.shape[1])]  # fmt: skip
        return np.array([
            _root(lambda x, o=o: float(o.cdf(x)[0]) - p, o.contrast_mean()[0], o.contrast_sd()[0])
            for o in one
        ])  # fmt: skip

    def sd_mean(self) -> np.ndarray:
        """Return the posterior mean of every axis, shape (axes,)."""
        return self.weight @ self.theta

    def sd_sd(self) -> np.ndarray:
        return np.sqrt(self.weight @ (self.theta - self.sd_mean()) ** 2)

    def sd_marginal(self, k: int) -> np.ndarray:
        """Return the posterior density at the nodes of axis k."""
        mass = np.moveaxis(self.weight.reshape([len(a.x) for a in self.axes]), k, 0)
        return mass.reshape(len(mass), -1).sum(1) / self.axes[k].w

    def sd_cdf(self, k: int, at: float) -> float:
        """Return P(SD k <= at): in every panel the polynomial through the nodes is integrated."""
        axis = self.axes[k]
        density = self.sd_marginal(k).reshape(len(axis.edges) - 1, -1)
        x = axis.x.reshape(density.shape)
        total = 0.0
        for (a, b), nodes, values in zip(
            itertools.pairwise(axis.edges), x, density, strict=True
        ):  # fmt: skip
            if at > a:
                fit = np.polynomial.Legendre.fit(nodes, values, len(nodes) - 1, domain=[a, b])
                total += float(fit.integ(lbnd=a)(min(at, b)))
        return total

    def sd_quantile(self, k: int, p: float) -> float:
        edges = self.axes[k].edges
        return float(optimize.brentq(lambda x: self.sd_cdf(k, x) - p, edges[0], edges[-1]))


def _root(f, centre: float, spread: float) -> float:
    """Widen until the root is inside."""
    width = 4.0
    while f(centre - width * spread) > 0 or f(centre + width * spread) < 0:
        width *= 2
    ends = centre - width * spread, centre + width * spread
    return float(optimize.brentq(f, *ends, xtol=1e-13 * spread, rtol=1e-14))


def integrate(model: Model, rows_K: np.ndarray | None = None) -> Dense:
    """Return the posterior of the contrasts ``rows_K`` (c, p): the coefficients when left out."""
    K = np.eye(model.X.shape[1]) if rows_K is None else np.atleast_2d(rows_K)
    theta, log_w = model.grid()
    log_joint, mean, variance = [], [], []
    for part in np.array_split(np.arange(len(theta)), -(-len(theta) // CHUNK)):
        V, P = model.covariance(theta[part]), model.prior_precision(theta[part])
        log_joint.append(log_w[part] + log_marginal(model.y, model.X, V, model.m, P))
        b, C = conditional(model.y, model.X, V, model.m, P)
        mean.append(b @ K.T)
        variance.append(np.einsum("ci,nij,cj->nc", K, C, K))
    log_joint = np.concatenate(log_joint)
    weight = np.exp(log_joint - logsumexp(log_joint))
    return Dense(
        model.axes, theta, log_joint, weight, np.concatenate(mean), np.concatenate(variance)
    )


def dense_posterior(
    y: np.ndarray,
    X: np.ndarray,
    Zs: Sequence[np.ndarray],
    priors: Sequence[tuple],
    *,
    rows_K: np.ndarray | None = None,
    **options,
) -> Dense:
    """Return ``integrate(dense_model(...), rows_K)``; for the options see :func:`dense_model`."""
    return integrate(dense_model(y, X, Zs, priors, **options), rows_K)


def left_out_log_density(
    y: np.ndarray,
    X: np.ndarray,
    Zs: Sequence[np.ndarray],
    priors: Sequence[tuple],
    out: Sequence[int],
    **options,
) -> float:
    """Return log p(y[out] | the other rows), jointly: the rows are deleted and all is done anew.

    Given a node, y[out] is normal around X b plus what the other rows' residuals say of the random
    effects they share; its density is averaged over the posterior of the other rows.
    """
    whole = dense_model(y, X, Zs, priors, **options)
    out = np.asarray(out)
    rest = whole.without(out)
    keep = np.setdiff1d(np.arange(len(y)), out)
    post = integrate(rest)
    terms = []
    for part in np.array_split(np.arange(len(post.theta)), -(-len(post.theta) // CHUNK)):
        theta = post.theta[part]
        V, P = whole.covariance(theta), rest.prior_precision(theta)
        V_kk, V_ko = V[:, keep][:, :, keep], V[:, keep][:, :, out]
        V_oo = V[:, out][:, :, out]
        W = np.swapaxes(np.linalg.solve(V_kk, V_ko), -1, -2)
        b, C = conditional(rest.y, rest.X, V_kk, rest.m, P)
        mean = b @ X[out].T + np.einsum("nok,nk->no", W, y[keep] - b @ X[keep].T)
        D = X[out] - W @ X[keep]
        cov = V_oo - W @ V_ko + D @ C @ np.swapaxes(D, -1, -2)
        terms.append(post.log_joint[part] + log_normal(y[out], mean, cov))
    return float(logsumexp(np.concatenate(terms))) - post.log_marginal_likelihood
