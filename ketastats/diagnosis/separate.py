r"""Models of complete subjects that separate into subject means and deviations from them.

Every subject has the same K rows, one per cell of what varies within subjects, and the shared
errors are intercepts of subjects and of what subjects share. Where the fixed part is the sum of
terms between subjects and of such terms times all differences of cells, the REML likelihood is the
product of two: of the subject means, a mixed model of one row per subject, and of the deviations, a
least-squares fit with variance :math:`\sigma^2` (Searle, Casella & McCulloch 1992, Variance
Components, section 4.5, for balanced classes). Estimates, Kenward-Roger and Satterthwaite are those
of the whole model as long as its subject variance is above zero, at a thousandth of the cost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit

from ketastats.diagnosis.shrinkage import contrast_covariance
from ketastats.frequentist.fit import fit_problem
from ketastats.frequentist.small_sample import contrasts
from ketastats.problem.build import Problem
from ketastats.problem.random import RandomDesign

METHODS = ("kenward-roger", "satterthwaite", "residual", "z")


@dataclass(frozen=True, slots=True, eq=False)
class Separated:
    """A Problem of complete subjects, in two parts.

    Attributes
    ----------
    between : Problem
        One row per subject: the model of subject means.
    columns : int
        Fixed effects of the whole Problem.
    a : numpy.ndarray, shape (S, r)
        What the differences of cells depend on; orthonormal.
    order : numpy.ndarray of int, shape (S, K)
        Rows of the Problem, subject by subject.
    of_mean : numpy.ndarray, shape (E, columns of between)
        Every question as a row over the coefficients of the means.
    of_cells : numpy.ndarray, shape (E, r, K)
        And over the coefficients of the deviations; sums over K are zero.
    """

    between: Problem
    columns: int
    a: np.ndarray
    order: np.ndarray
    of_mean: np.ndarray
    of_cells: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Answers of a batch to E questions; arrays of shape (B, E) where not said.

    Attributes
    ----------
    estimate, se, df, p, ci_low, ci_high : numpy.ndarray
    covariance : numpy.ndarray, shape (B, E, E)
    usable : numpy.ndarray of bool, shape (B,)
        The coefficients can be estimated, the fit converged and its subject variance is above zero.
    boundary : numpy.ndarray of bool, shape (B,)
        Another variance was estimated as zero.
    """

    estimate: np.ndarray
    se: np.ndarray
    df: np.ndarray
    p: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray
    covariance: np.ndarray
    usable: np.ndarray
    boundary: np.ndarray


def separate(problem: Problem, subject: np.ndarray, rows: np.ndarray) -> Separated | None:
    """Split a Problem and questions of it; None where it does not separate.

    Parameters
    ----------
    problem : Problem
    subject : numpy.ndarray, shape (rows of the problem,)
        Any labels.
    rows : numpy.ndarray, shape (E, q)
        Questions over the coefficients.
    """
    _, code, counts = np.unique(subject, return_inverse=True, return_counts=True)
    k = int(counts[0])
    if k < 2 or (counts != k).any() or problem.residual.spec.kind != "id":
        return None
    order = np.argsort(code, kind="stable").reshape(-1, k)
    random = _between_terms(problem, order)
    spaces = _spaces(problem.x[order])
    if random is None or spaces is None:
        return None
    b, a = spaces
    first = order[:, 0]
    between = replace(
        problem,
        y=np.empty(0),
        x=b,
        names=tuple(f"mean {i + 1}" for i in range(b.shape[1])),
        random=random,
        residual=replace(
            problem.residual,
            level=problem.residual.level[first],
            group=problem.residual.group[first],
        ),
        block=problem.block[first],
        rows=np.arange(len(first)),
    )
    # l'beta = u'X beta with u in the column space of X, split over subjects and cells
    u = np.linalg.lstsq(problem.x.T, rows.T, rcond=None)[0].T[:, order]
    mean = u.mean(axis=2, keepdims=True)
    return Separated(
        between=between,
        columns=problem.x.shape[1],
        a=a,
        order=order,
        of_mean=k * mean[..., 0] @ b,
        of_cells=np.einsum("sr,esk->erk", a, u - mean),
    )


def _between_terms(problem: Problem, order: np.ndarray) -> tuple[RandomDesign, ...] | None:
    """Return the random terms besides the subject's own, one row per subject."""
    first, kept, own = order[:, 0], [], 0
    for r in problem.random:
        group, z = r.group[order], r.z[order]
        if (group != group[:, :1]).any() or (z != z[:, :1]).any():
            return None
        plain = r.effects == ("1",) and (group[:, 0] >= 0).all()
        if plain and len(np.unique(group[:, 0])) == len(first):
            own += 1
        else:
            kept.append(replace(r, group=r.group[first], z=r.z[first]))
    return tuple(kept) if own == 1 else None


def _spaces(x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return orthonormal bases of what the mean and the differences of cells depend on.

    The columns of X lie in the span of both, means times ones and the rest times differences; the
    model separates when they fill it, that is when the dimensions agree.

    Parameters
    ----------
    x : numpy.ndarray, shape (S, K, q)
    """
    s, k, q = x.shape
    mean = x.mean(axis=1)
    b = _basis(mean)
    a = _basis((x - mean[:, None]).reshape(s, k * q))
    return (b, a) if b.shape[1] + a.shape[1] * (k - 1) == q else None


def _basis(x: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(x @ x.T)
    return vectors[:, values > 1e-10 * max(values[-1], 1e-300)]


def answer_separated(s: Separated, y: np.ndarray, ddf: str, level: float) -> Answers:
    """Fit and answer a batch.

    Parameters
    ----------
    s : Separated
    y : numpy.ndarray, shape (B, rows)
        Complete, or without all rows of some subjects.
    ddf : str
        One of :data:`METHODS`.
    level : float
    """
    cells = y[:, s.order]
    mean = cells.mean(axis=2)  # NaN for subjects without rows
    present = ~np.isnan(mean)
    deviation = np.where(present[..., None], cells - mean[..., None], 0.0)
    k, n_a = cells.shape[2], s.a.shape[1]

    posed = [_posed(present, x) for x in (s.a, s.between.x)]
    usable = posed[0] & posed[1]
    normal = np.einsum("bs,sr,st->brt", present.astype(float), s.a, s.a)
    inverse = np.linalg.inv(np.where(usable[:, None, None], normal, np.eye(n_a)))
    gamma = inverse @ (s.a.T @ deviation)  # (B, r, K)
    rest = (deviation**2).sum(axis=(1, 2)) - (gamma * (s.a.T @ deviation)).sum(axis=(1, 2))
    n = present.sum(axis=1)
    df_cells = (n - n_a) * (k - 1)
    sigma2 = rest / df_cells

    fit = fit_problem(s.between, mean)
    of_mean = contrasts(fit, s.of_mean, ddf, level)
    plain = ((s.of_mean @ fit.at.phi) * s.of_mean).sum(axis=-1)
    weighted = np.einsum("brt,etk->berk", inverse, s.of_cells)
    own = np.einsum("erk,bfrk->bef", s.of_cells, weighted) * sigma2[:, None, None]
    covariance = contrast_covariance(fit, s.of_mean, ddf) + own
    se = np.sqrt(np.einsum("bee->be", covariance))
    own = np.einsum("bee->be", own)
    if ddf == "residual":
        df = np.broadcast_to((n * k - s.columns)[:, None].astype(float), se.shape)
    else:  # two independent variances: Satterthwaite's formula, exact for Kenward-Roger as well
        df = (plain + own) ** 2 / (plain**2 / of_mean.df + own**2 / df_cells[:, None])
        df = np.minimum(df, 1e12) if ddf != "z" else np.full_like(se, np.inf)
    estimate = of_mean.estimate + np.einsum("erk,brk->be", s.of_cells, gamma)
    finite = np.minimum(df, 1e12)
    half = stdtrit(finite, 0.5 + level / 2) * se
    residual = fit.theta[:, -1]
    return Answers(
        estimate=estimate,
        se=se,
        df=df,
        p=2 * stdtr(finite, -np.abs(estimate / se)),
        ci_low=estimate - half,
        ci_high=estimate + half,
        covariance=covariance,
        usable=usable & fit.converged & (residual > sigma2 / k),
        boundary=fit.boundary.any(axis=1),
    )


def _posed(present: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Whether every coefficient of orthonormal columns can be estimated from those present."""
    if not x.shape[1]:
        return np.ones(len(present), dtype=bool)
    normal = np.einsum("bs,sr,st->brt", present.astype(float), x, x)
    return np.asarray(np.linalg.eigvalsh(normal)[:, 0] > 1e-10) & (present.sum(axis=1) > x.shape[1])
