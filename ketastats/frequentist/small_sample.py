r"""Small-sample inference for linear contrasts of a REML fit.

Kenward & Roger (1997, Biometrics 53:983) with the expected information, as pbkrtest computes it
(Halekoh & Højsgaard 2014, J Stat Softw 59(9)); Satterthwaite as lmerTest computes it (Kuznetsova,
Brockhoff & Christensen 2017, J Stat Softw 82(13)): observed information, components on the boundary
left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, stdtr, stdtrit

from ketastats.frequentist.reml import RemlFit


@dataclass(frozen=True, slots=True, eq=False)
class ContrastTable:
    """One-dimensional contrasts of a batch; every array has shape (B, K)."""

    estimate: np.ndarray
    se: np.ndarray
    df: np.ndarray
    t: np.ndarray
    p: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class FTest:
    """A multi-dimensional test of a batch; arrays of shape (B,)."""

    num_df: int
    den_df: np.ndarray
    f: np.ndarray
    p: np.ndarray


def parameter_covariance(fit: RemlFit, kind: str, at_boundary: str = "keep") -> np.ndarray:
    """Return the covariance of the variance parameters, shape (B, R, R).

    Parameters
    ----------
    fit : RemlFit
    kind : str
        ``expected`` or ``observed`` information.
    at_boundary : str
        ``keep`` counts parameters on the boundary as if they could vary either way; ``leave out``
        gives them zero rows.
    """
    information = fit.at.expected if kind == "expected" else fit.at.observed
    if at_boundary == "keep":
        return _inverse(information)
    free = ~fit.boundary
    for index in fit.terms:
        if len(index) > 1:
            free[:, np.unique(index)] = True  # a singular term is left to the rows below
    both = free[:, :, None] & free[:, None, :]
    eye = np.eye(free.shape[1])
    unit = np.sqrt(np.einsum("brr->br", fit.at.expected))[:, :, None]
    scaling = unit * unit.transpose(0, 2, 1)
    inverse = _inverse(np.where(both, information / scaling, eye)) / scaling
    out = np.where(both, inverse, 0.0)
    several = [np.unique(index) for index in fit.terms if len(index) > 1]
    for row in np.flatnonzero(np.any([fit.boundary[:, s].any(axis=1) for s in several], axis=0)):
        out[row] = _singular_covariance(fit, int(row), information[row])
    return out


def _singular_covariance(fit: RemlFit, row: int, h: np.ndarray) -> np.ndarray:
    r"""Return the covariance of the parameters where a term's covariance matrix lost rank.

    On the boundary only directions that keep the rank can vary. With :math:`\Psi = FF'` for each
    singular term, J the derivative of the parameters with respect to F and the others, and S the
    score times their second derivatives, :math:`W = J (J'HJ - S)^- J'`. This is what derivatives in
    the relative factor give (lmerTest).
    """
    theta, score = fit.theta[row], fit.at.score[row]
    inside = {int(i) for index in fit.terms if len(index) > 1 for i in np.unique(index)}
    columns = [np.eye(len(theta))[i] for i in range(len(theta)) if i not in inside
               and not fit.boundary[row, i]]  # fmt: skip
    factors: list[tuple[np.ndarray, np.ndarray]] = []
    for index in fit.terms:
        if len(index) > 1:
            values, vectors = np.linalg.eigh(theta[index])
            keep = values > 1e-7 * values[-1]
            factors.append((index, vectors[:, keep] * np.sqrt(values[keep])))
    count = len(columns) + sum(f.size for _, f in factors)
    j, s = np.zeros((len(theta), count)), np.zeros((count, count))
    j[:, : len(columns)] = np.array(columns).T.reshape(len(theta), len(columns))
    at = len(columns)
    for index, f in factors:
        k, r = f.shape
        for a, c in np.ndindex(k, r):
            for i in range(k):
                j[index[i, a], at + a * r + c] += f[i, c] * (2.0 if i == a else 1.0)
            for b in range(k):
                s[at + a * r + c, at + b * r + c] += score[index[a, b]] * (2.0 if a == b else 1.0)
        at += f.size
    return j @ np.linalg.pinv(j.T @ h @ j - s, rcond=1e-10, hermitian=True) @ j.T


def _inverse(a: np.ndarray) -> np.ndarray:
    """Invert symmetric matrices; directions without information are left out."""
    unit = np.sqrt(np.maximum(np.einsum("brr->br", np.abs(a)), 1e-300))
    scaling = unit[:, :, None] * unit[:, None, :]
    values, vectors = np.linalg.eigh(a / scaling)
    keep = values > 1e-10 * values[:, -1:]
    inverse = np.where(keep, 1.0 / np.where(keep, values, 1.0), 0.0)
    return (vectors * inverse[:, None, :]) @ vectors.transpose(0, 2, 1) / scaling


def kenward_roger_covariance(fit: RemlFit, w: np.ndarray, *, curved: bool = False) -> np.ndarray:
    r"""Return the adjusted covariance of the coefficients, shape (B, q, q).

    :math:`\hat\Phi_A = \hat\Phi + 2 \hat\Phi \{\sum_{rs} W_{rs} (Q_{rs} - P_r \hat\Phi P_s -
    R_{rs} / 4)\} \hat\Phi` (Kenward & Roger 1997, equation 3).

    Parameters
    ----------
    fit : RemlFit
    w : numpy.ndarray, shape (B, R, R)
        Covariance of the variance parameters.
    curved : bool
        Whether the second derivatives of V enter (R_rs); without them this is SAS's kr(linear).
    """
    at = fit.at
    b, r, q, _ = at.p.shape
    i, j = np.triu_indices(r)
    pairs = w[:, i, j] * np.where(i == j, 1.0, 2.0)
    middle = (pairs[:, None] @ at.q.reshape(b, -1, q * q)).reshape(b, q, q)
    if curved and at.second.shape[1]:
        middle -= 0.25 * (pairs[:, None] @ at.second.reshape(b, -1, q * q)).reshape(b, q, q)
    wp = (w @ at.p.reshape(b, r, q * q)).reshape(b, r, q, q)
    middle -= ((at.p @ at.phi[:, None]) @ wp).sum(axis=1)
    adjusted = at.phi + 2 * at.phi @ middle @ at.phi
    return 0.5 * (adjusted + adjusted.transpose(0, 2, 1))


def contrasts(
    fit: RemlFit,
    rows: np.ndarray,
    method: str,
    level: float,
    *,
    given_df: np.ndarray | None = None,
    at_boundary: str | None = None,
) -> ContrastTable:
    """Estimate and test contrasts one at a time.

    Parameters
    ----------
    fit : RemlFit
    rows : numpy.ndarray, shape (K, q)
    method : str
        ``kenward-roger``, ``satterthwaite``, ``residual`` or ``z``.
    level : float
        Level of the intervals.
    given_df : numpy.ndarray, optional, shape (K,)
        Degrees of freedom worked out elsewhere (containment).
    at_boundary : str, optional
        ``keep`` or ``leave out`` components estimated as zero in the degrees of freedom; without
        it the method's own way: Kenward-Roger keeps them, Satterthwaite leaves them out.

    Returns
    -------
    ContrastTable
    """
    at = fit.at
    estimate = fit.beta @ rows.T
    variance = _quadratic(at.phi, rows)
    if method.startswith("kenward-roger"):
        w, curved = kenward_roger_parts(fit, method, at_boundary or "keep")
        df = _one_df(at.phi, at.p, rows, variance, w)
        se = np.sqrt(_quadratic(kenward_roger_covariance(fit, w, curved=curved), rows))
    elif method == "satterthwaite":
        w = parameter_covariance(fit, "observed", at_boundary or "leave out")
        df, se = _one_df(at.phi, at.p, rows, variance, w), np.sqrt(variance)
    else:
        se = np.sqrt(variance)
        plain = np.inf if method == "z" else fit.residual_df[:, None].astype(float)
        df = np.broadcast_to(plain if given_df is None else given_df, se.shape)
    t = np.divide(estimate, se, out=np.full_like(estimate, np.nan), where=se > 0)
    half = _t_quantile(df, level) * se
    return ContrastTable(
        estimate, se, df, t, 2 * _t_cdf(df, -np.abs(t)), estimate - half, estimate + half
    )


def kenward_roger_parts(
    fit: RemlFit, method: str, at_boundary: str = "keep"
) -> tuple[np.ndarray, bool]:
    """Return the covariance of the variance parameters and whether R_rs enters.

    ``kenward-roger`` is the expected information (Kenward & Roger 1997; pbkrtest);
    ``kenward-roger-observed`` the observed one with second derivatives, as SAS's ddfm=kr;
    ``kenward-roger-observed-linear`` the observed one without R_rs, as kr(linear).
    """
    if method == "kenward-roger":
        return parameter_covariance(fit, "expected", at_boundary), True
    return parameter_covariance(fit, "observed", at_boundary), method == "kenward-roger-observed"


def _quadratic(covariance: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return ((rows @ covariance) * rows).sum(axis=-1)


def _one_df(
    phi: np.ndarray, p: np.ndarray, rows: np.ndarray, variance: np.ndarray, w: np.ndarray
) -> np.ndarray:
    r"""Return :math:`2 (l'\Phi l)^2 / (g'Wg)` with :math:`g_r = l'\Phi P_r \Phi l`, shape (B, K).

    For one contrast Kenward and Roger's df reduce to this form (their A1 = A2).
    """
    lp = rows @ phi  # (B, K, q)
    g = ((lp[:, None] @ p) * lp[:, None]).sum(axis=-1).transpose(0, 2, 1)  # (B, K, R)
    spread = ((g @ w) * g).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, 2 * variance**2 / spread, np.inf)


def kenward_roger_f(fit: RemlFit, rows: np.ndarray, method: str = "kenward-roger") -> FTest:
    """Test several contrasts jointly; see :func:`kenward_roger_fs`."""
    return kenward_roger_fs(fit, [rows], method)[0]


def kenward_roger_fs(fit: RemlFit, hypotheses: Sequence[np.ndarray], method: str) -> list[FTest]:
    """Test several hypotheses, each of several contrasts (Kenward & Roger 1997, section 3).

    Parameters
    ----------
    fit : RemlFit
    hypotheses : sequence of numpy.ndarray, each of shape (l, q)
        Linearly independent contrasts.
    method : str
    """
    w, curved = kenward_roger_parts(fit, method)
    adjusted = kenward_roger_covariance(fit, w, curved=curved)
    return [_kenward_roger_f(fit, rows, w, adjusted) for rows in hypotheses]


def _kenward_roger_f(fit: RemlFit, rows: np.ndarray, w: np.ndarray, adjusted: np.ndarray) -> FTest:
    at, ell = fit.at, len(rows)
    middle = np.linalg.inv(rows @ at.phi @ rows.T)
    theta_phi = rows.T @ middle @ rows @ at.phi  # Theta Phi, (B, q, q)
    tpp = theta_phi[:, None] @ at.p @ at.phi[:, None]
    b, r = w.shape[:2]
    trace = np.einsum("brii->br", tpp)
    a1 = ((trace[:, None] @ w)[:, 0] * trace).sum(axis=1)
    products = tpp.reshape(b, r, -1) @ tpp.transpose(0, 3, 2, 1).reshape(b, -1, r)
    a2 = (w * products).sum(axis=(1, 2))  # sum W_rs tr(T_r T_s)
    scale, df = kenward_roger_scale(a1, a2, ell)
    f = _wald(fit.beta @ rows.T, rows @ adjusted @ rows.T) / ell
    return FTest(ell, df, scale * f, f_sf(scale * f, ell, df))


def kenward_roger_scale(a1: np.ndarray, a2: np.ndarray, ell: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale of F and its denominator df from A1 and A2.

    Where the df are 2 the formulas divide zero by zero (Kenward & Roger 1997, section 3.2); as in
    pbkrtest such a quotient is 1, and so is the scale next to 2 df.
    """
    b = (a1 + 6 * a2) / (2 * ell)
    g = ((ell + 1) * a1 - (ell + 4) * a2) / ((ell + 2) * a2)
    denominator = 3 * ell + 2 * (1 - g)
    c1, c2, c3 = g / denominator, (ell - g) / denominator, (ell + 2 - g) / denominator
    v0, v1, v2 = 1 + c1 * b, 1 - c2 * b, 1 - c3 * b
    v0 = np.where(np.abs(v0) < ZERO, 0.0, v0)
    left = 1 - a2 / ell
    both = (np.abs(left) < ZERO) & (np.abs(v1) < ZERO)
    quotient = np.where(both, 1.0, left / np.where(both, 1.0, v1))
    rho = (1 / ell) * quotient**2 * v0 / v2
    df = 4 + (ell + 2) / (ell * rho - 1)
    near = np.abs(df - 2) < 1e-2
    scale = np.where(near, 1.0, df * left / np.where(near, 1.0, df - 2))
    return scale, df


ZERO = 1e-10
"""Terms near one that cancel to less than this are zero: rounding leaves 1e-16 of the information,
which in nearly singular cases is 1e-11 of these."""


def satterthwaite_f(fit: RemlFit, rows: np.ndarray) -> FTest:
    """Test several contrasts jointly (Fai & Cornelius 1996, J Stat Comput Simul 54:363)."""
    at, ell = fit.at, len(rows)
    w = parameter_covariance(fit, "observed", "leave out")
    covariance = rows @ at.phi @ rows.T
    values, vectors = np.linalg.eigh(covariance)
    lp = (vectors.transpose(0, 2, 1) @ rows) @ at.phi
    g = ((lp[:, None] @ at.p) * lp[:, None]).sum(axis=-1).transpose(0, 2, 1)  # (B, l, R)
    spread = ((g @ w) * g).sum(axis=-1)
    nu = 2 * values**2 / spread
    d = np.einsum("bij,bi->bj", vectors, fit.beta @ rows.T)
    f = (d**2 / values).sum(axis=1) / ell
    equal = np.ptp(nu, axis=1) < 1e-8 * nu[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        e = np.where(nu > 2, nu / (nu - 2), 0.0).sum(axis=1)
        df = np.where(equal, nu[:, 0], np.where(e > ell, 2 * e / (e - ell), 2.0))
    return FTest(ell, df, f, f_sf(f, ell, df))


def wald_f(fit: RemlFit, rows: np.ndarray, df: float) -> FTest:
    """Test several contrasts jointly with given denominator df."""
    f = _wald(fit.beta @ rows.T, rows @ fit.at.phi @ rows.T) / len(rows)
    den = np.full(len(f), min(df, 1e12))
    return FTest(len(rows), den, f, f_sf(f, len(rows), den))


def _wald(d: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return d' C^-1 d, shape (B,)."""
    return (d * np.linalg.solve(covariance, d[:, :, None])[:, :, 0]).sum(axis=1)


def f_sf(f: np.ndarray, num_df: int, den_df: np.ndarray) -> np.ndarray:
    """Upper tail of the F distribution through the incomplete beta function."""
    x = den_df / (den_df + num_df * np.maximum(f, 0.0))
    return betainc(den_df / 2, num_df / 2, x)


def _t_cdf(df: np.ndarray, t: np.ndarray) -> np.ndarray:
    return stdtr(np.minimum(df, 1e12), t)


def _t_quantile(df: np.ndarray, level: float) -> np.ndarray:
    return stdtrit(np.minimum(df, 1e12), 0.5 + level / 2)
