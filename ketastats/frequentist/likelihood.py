r"""The REML and ML likelihood of a batch, with first and second derivatives.

:math:`G_r = \partial V / \partial \theta_r`, constant where V is linear in its parameters: all
random terms and most residual structures. Notation of Kenward & Roger (1997, Biometrics 53:983):
:math:`\Phi = (X'V^{-1}X)^{-1}`, :math:`P_r = -X'V^{-1}G_rV^{-1}X` (stored with positive sign),
:math:`Q_{rs} = X'V^{-1}G_rV^{-1}G_sV^{-1}X`, :math:`P = V^{-1} - V^{-1}X\Phi X'V^{-1}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ketastats.frequentist.moments import Moments, PatternGroup


@dataclass(frozen=True, slots=True, eq=False)
class Derivatives:
    """The likelihood and what inference needs, at one value of the parameters.

    Attributes
    ----------
    loglik : numpy.ndarray, shape (B,)
        REML log-likelihood, constants included as lme4 does.
    score : numpy.ndarray, shape (B, R)
    expected : numpy.ndarray, shape (B, R, R)
        Expected information.
    observed : numpy.ndarray, shape (B, R, R)
        Observed information.
    beta : numpy.ndarray, shape (B, q)
    phi : numpy.ndarray, shape (B, q, q)
    p : numpy.ndarray, shape (B, R, q, q)
        X'V^-1 G_r V^-1 X.
    q : numpy.ndarray, shape (B, R (R + 1) / 2, q, q)
        Q_rs for r <= s, symmetrised, in the order of ``numpy.triu_indices``.
    second : numpy.ndarray, shape (B, R (R + 1) / 2, q, q)
        R_rs = X'V^-1 (d2 V / d theta_r d theta_s) V^-1 X; zeros, of shape (B, 0, q, q), where V is
        linear.
    """

    loglik: np.ndarray
    score: np.ndarray
    expected: np.ndarray
    observed: np.ndarray
    beta: np.ndarray
    phi: np.ndarray
    p: np.ndarray
    q: np.ndarray
    second: np.ndarray


def evaluate(
    moments: Moments, theta: np.ndarray, rows: np.ndarray, *, ml: bool = False
) -> Derivatives:
    """Evaluate the REML (or ML) likelihood and its derivatives.

    Parameters
    ----------
    moments : Moments
    theta : numpy.ndarray, shape (B, R) or (1, R)
        In units of ``moments.scale``; one row serves the whole batch.
    rows : numpy.ndarray of int, shape (B,)
        Rows of the batch the parameters belong to.
    """
    sums: list[np.ndarray] = []
    with np.errstate(all="ignore"):  # what is not finite is no likelihood and is stepped back from
        for group in moments.groups:
            if group.ragged:
                parts = _ragged_parts(group, theta, rows)
            else:
                m, logdet, traces = inverse_products(group, theta)
                parts = [logdet, *traces, *group.contract(m, rows)]
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
        return assemble(sums, moments.n[rows], ml)


def _ragged_parts(group: PatternGroup, theta: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """Return the sums of :func:`assemble` for a group whose outcomes miss rows of their own."""
    from ketastats.frequentist.ragged import ragged_sums

    v, g, gg = _covariance(group, theta)
    cell = np.repeat(np.arange(len(group.cells)), np.diff(group.cells, append=len(group.pattern)))
    m, q = v.shape[-1], group.x.shape[1]
    summed, xy, yy, logdet, *traces = ragged_sums(
        v,
        np.ascontiguousarray(g),
        np.ascontiguousarray(gg),
        group.pattern,
        cell,
        len(group.cells),
        group.mask[rows],
        group.y[rows],
        group.x.reshape(-1, m, q),
    )
    b, j = yy.shape
    xx = group.cross.contract(summed.reshape(b * j, *summed.shape[2:])).reshape(b, j, q, q)
    return [logdet, *traces, xx, xy, yy]


def inverse_products(
    group: PatternGroup, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """Return V^-1, V^-1 G_r V^-1, V^-1 G_r V^-1 G_s V^-1 (and V^-1 V_rs V^-1) and traces.

    Parameters
    ----------
    group : PatternGroup
    theta : numpy.ndarray, shape (B, R)

    Returns
    -------
    products : numpy.ndarray, shape (B, J, P, m, m)
        J = 1 + R + R (R + 1) / 2, and as many again as there are second derivatives.
    logdet : numpy.ndarray, shape (B,)
    traces : tuple of numpy.ndarray
        tr V^-1 G_r, (B, R); tr V^-1 G_r V^-1 G_s, (B, R, R); tr V^-1 V_rs, (B, R (R + 1) / 2 or 0).
    """
    v, g, gg = _covariance(group, theta)
    b, p, m = v.shape[0], v.shape[1], v.shape[-1]
    r = g.shape[2]
    sign, logdet = np.linalg.slogdet(v)
    singular = (sign <= 0) | ~np.isfinite(logdet)
    if group.structure is not None or group.signed:
        singular |= np.linalg.eigvalsh(np.where(np.isfinite(v), v, 0.0))[..., 0] <= 0
    v = np.where(singular[:, :, None, None], np.eye(m), v)
    inverse = safe_inverse(v)
    h = inverse[:, :, None] @ g  # V^-1 G_r, (B, P, R, m, m)
    single = h @ inverse[:, :, None]
    pairs = [(s, t) for s in range(r) for t in range(s, r)]
    products = np.empty((b, 1 + r + len(pairs) + gg.shape[2], p, m, m))
    products[:, 0] = inverse
    products[:, 1 : 1 + r] = single.transpose(0, 2, 1, 3, 4)
    for at, (s, t) in enumerate(pairs, start=1 + r):
        double = h[:, :, s] @ single[:, :, t]
        products[:, at] = 0.5 * (double + double.transpose(0, 1, 3, 2))
    tr1 = np.einsum("bprii,p->br", h, group.counts)
    flipped = h.transpose(0, 1, 4, 3, 2).reshape(b, p, m * m, r)
    tr2 = np.einsum("bprs,p->brs", h.reshape(b, p, r, m * m) @ flipped, group.counts)
    tr3 = np.zeros((b, gg.shape[2]))
    if gg.shape[2]:
        half = inverse[:, :, None] @ gg
        tr3 = np.einsum("bpkii,p->bk", half, group.counts)
        products[:, 1 + r + len(pairs) :] = (half @ inverse[:, :, None]).transpose(0, 2, 1, 3, 4)
    total = np.where(singular, np.inf, logdet) @ group.counts
    return products, total, (tr1, tr2, tr3)


def _covariance(
    group: PatternGroup, theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return V, its first and its second derivatives, (B, P, [R or K,] m, m)."""
    p, r, m, _ = group.basis.shape
    b = len(theta)
    flat = group.basis.transpose(1, 0, 2, 3).reshape(r, p * m * m)
    v = (theta[:, :r] @ flat).reshape(b, p, m, m)
    if group.structure is None:
        return v, group.basis[None], np.empty((b, p, 0, m, m))
    c, d, dd = group.structure.evaluate(theta[:, r:])
    i, j = group.pairs
    extra = d.shape[1]
    same = group.same
    dv = d[:, :, i, j].transpose(0, 2, 1, 3, 4) * same[None, :, None]
    g = np.concatenate([np.broadcast_to(group.basis, (b, p, r, m, m)), dv], axis=2)
    total = r + extra
    s, t = np.triu_indices(total)
    second = np.zeros((b, p, len(s), m, m))
    for at, (a, z) in enumerate(zip(s, t, strict=True)):
        if a >= r and z >= r:
            second[:, :, at] = dd[:, a - r, z - r][:, i, j] * same
    return v + c[:, i, j] * same, g, second


def assemble(sums: Sequence[np.ndarray], n: np.ndarray, ml: bool) -> Derivatives:
    """Turn the contracted sums into likelihood, score and informations.

    Parameters
    ----------
    sums : sequence of numpy.ndarray
        logdet, the three traces, X'MX, X'My and y'My, as :func:`inverse_products` and
        :meth:`PatternGroup.contract` return them, summed over pattern groups.
    n : numpy.ndarray of int, shape (B,)
    ml : bool
    """
    logdet, tr1, tr2, tr3, xx, xy, yy = sums
    r, b, q = tr1.shape[1], len(yy), xx.shape[-1]
    pairs = r * (r + 1) // 2
    phi = safe_inverse(xx[:, 0])
    phi = 0.5 * (phi + phi.transpose(0, 2, 1))
    beta = (phi @ xy[:, 0][:, :, None])[:, :, 0]
    xe = xy - (xx @ beta[:, None, :, None])[..., 0]  # X'M_j e
    ee = yy - (xy * beta[:, None]).sum(-1) - (xe * beta[:, None]).sum(-1)  # e'M_j e
    p, q_pairs, second = xx[:, 1 : 1 + r], xx[:, 1 + r : 1 + r + pairs], xx[:, 1 + r + pairs :]
    t = len(phi)
    phi_p = phi[:, None] @ p
    tr_phi_p = np.einsum("brii->br", phi_p)
    tr_pp = phi_p.reshape(t, r, q * q) @ phi_p.transpose(0, 3, 2, 1).reshape(t, q * q, r)
    tr_q = _symmetric(_traces(q_pairs, phi), r)
    xe1 = xe[:, 1 : 1 + r]
    ee2 = _symmetric(ee[:, 1 + r : 1 + r + pairs], r) - xe1 @ phi @ xe1.transpose(0, 2, 1)
    expected = 0.5 * tr2 if ml else 0.5 * (tr2 - 2 * tr_q + tr_pp)
    observed = ee2 - expected
    if second.shape[1]:
        bend = tr3 if ml else tr3 - _traces(second, phi)
        observed = observed + 0.5 * _symmetric(bend - ee[:, 1 + r + pairs :], r)
    _, logdet_xx = np.linalg.slogdet(xx[:, 0])
    logdet_xx = np.where(np.isfinite(phi).all(axis=(1, 2)), logdet_xx, np.inf)
    constant = n * np.log(2 * np.pi) if ml else (n - q) * np.log(2 * np.pi) + logdet_xx
    trace = tr1 if ml else tr1 - tr_phi_p

    def full(a: np.ndarray) -> np.ndarray:
        return a if len(a) == b else np.repeat(a, b, axis=0)

    return Derivatives(
        loglik=-0.5 * (constant + logdet + ee[:, 0]),
        score=-0.5 * trace + 0.5 * ee[:, 1 : 1 + r],
        expected=full(expected),
        observed=observed,
        beta=beta,
        phi=full(phi),
        p=full(p),
        q=full(q_pairs),
        second=full(second),
    )


def safe_inverse(a: np.ndarray) -> np.ndarray:
    """Return inverses, with infinity for a matrix that has none; shape (..., m, m)."""
    try:
        return np.linalg.inv(a)
    except np.linalg.LinAlgError:
        flat = a.reshape(-1, *a.shape[-2:])
        out = np.full_like(flat, np.inf)
        for i, matrix in enumerate(flat):
            if np.isfinite(matrix).all() and np.linalg.matrix_rank(matrix) == len(matrix):
                out[i] = np.linalg.inv(matrix)
        return out.reshape(a.shape)


def _traces(matrices: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Return tr(phi M_k), shape (B, K)."""
    t, k, q, _ = matrices.shape
    return (matrices.reshape(t, k, q * q) @ phi.reshape(t, q * q, 1))[:, :, 0]


def _symmetric(pairs: np.ndarray, r: int) -> np.ndarray:
    """Return symmetric matrices, shape (B, R, R), from their upper triangles."""
    return pairs[:, _places(r)]


@cache
def _places(r: int) -> np.ndarray:
    """Return where every element of a symmetric matrix stands in its upper triangle, (R, R)."""
    i, j = np.triu_indices(r)
    out = np.empty((r, r), dtype=int)
    out[i, j] = out[j, i] = np.arange(len(i))
    return out
