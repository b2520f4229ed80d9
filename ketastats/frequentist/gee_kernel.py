r"""Generalised estimating equations on arrays (Liang & Zeger 1986, Biometrika 73:13).

With :math:`V_i = A_i^{1/2} R(\alpha) A_i^{1/2}`, A the variance function over the trials of a row,
everything is done in whitened coordinates :math:`\tilde X_i = V_i^{-1/2} D_i`,
:math:`\tilde r_i = V_i^{-1/2} (y_i - \mu_i)`, where a unit's leverage is the symmetric matrix
:math:`S_i = \tilde X_i B \tilde X_i'`, :math:`B = (\sum_i \tilde X_i' \tilde X_i)^{-1}`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

POWERS = {"bias-reduced": -1.0, "kauermann-carroll": -0.5, "robust": 0.0}
"""Power of :math:`I - S_i` that multiplies a unit's residuals: Mancl & DeRouen 2001 (Biometrics
57:126), Kauermann & Carroll 2001 (J Am Stat Assoc 96:1387), Liang & Zeger 1986."""
ALONE = 1e-7
"""A unit whose leverage comes this near to 1 decides a coefficient by itself."""
MAX_ITERATIONS = 200
STEP, ROUNDING = 1e-20, 1e-28
"""The last step's squared length is less than this share of the residuals' (1e-10 standard errors),
or of the linear predictor's, which is what rounding leaves."""
TOP = 0.99
"""Largest working correlation; at 1 there is no inverse."""


@dataclass(frozen=True, slots=True)
class MeanModel:
    """Mean and variance of an outcome, with the canonical link: the slope is the variance.

    Attributes
    ----------
    name, link : str
    inverse, forward, variance : callable
        Mean from the linear predictor, back, and the variance function of the mean.
    """

    name: str
    link: str
    inverse: Callable[[np.ndarray], np.ndarray]
    forward: Callable[[np.ndarray], np.ndarray]
    variance: Callable[[np.ndarray], np.ndarray]


FAMILIES = {
    f.name: f
    for f in (
        MeanModel("gaussian", "identity", lambda e: e, lambda m: m, np.ones_like),
        MeanModel("binomial", "logit", expit, lambda m: np.log(m / (1 - m)), lambda m: m * (1 - m)),
        MeanModel("poisson", "log", np.exp, np.log, lambda m: m),
    )
}


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What is fitted.

    Attributes
    ----------
    x : numpy.ndarray, shape (N, q)
    y : numpy.ndarray, shape (N,)
        Outcome; of a binomial the share of successes.
    group : numpy.ndarray of int, shape (N,)
        Unit of every row, 0 ... K - 1.
    size : numpy.ndarray, shape (N,)
        Trials of a row, else 1.
    offset : numpy.ndarray, shape (N,)
        Part of the linear predictor that is known.
    family : MeanModel
    exchangeable : bool
        Whether the rows of a unit share a working correlation, else 0.
    """

    x: np.ndarray
    y: np.ndarray
    group: np.ndarray
    size: np.ndarray
    offset: np.ndarray
    family: MeanModel
    exchangeable: bool


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Where the estimating equations are solved.

    Attributes
    ----------
    beta : numpy.ndarray, shape (q,)
    correlation : float
        Working correlation.
    held : bool
        Whether the correlation was outside what a correlation matrix allows and is held inside.
    scale : float
        Mean squared Pearson residual, over N - q.
    x, residual : numpy.ndarray, shapes (N, q), (N,)
        Whitened.
    converged : bool
    iterations : int
    """

    beta: np.ndarray
    correlation: float
    held: bool
    scale: float
    x: np.ndarray
    residual: np.ndarray
    converged: bool
    iterations: int


def solve_equations(rows: Rows) -> Solution:
    """Solve the estimating equations by Fisher scoring, the correlation renewed at every step.

    Parameters
    ----------
    rows : Rows

    Returns
    -------
    Solution
    """
    x, family = rows.x, rows.family
    beta = _start(rows)
    length, converged, steps = np.inf, False, 0
    with np.errstate(all="ignore"):
        while True:
            mu = family.inverse(x @ beta + rows.offset)
            variance = family.variance(mu)
            root = np.sqrt(variance / rows.size)
            pearson = (rows.y - mu) / root
            alpha, held = _correlation(rows, pearson)
            xt = whiten(x * (variance / root)[:, None], rows.group, alpha)
            residual = whiten(pearson, rows.group, alpha)
            small = STEP * (residual @ residual) + ROUNDING * np.sum((xt @ beta) ** 2)
            converged = bool(length <= small)
            lost = not (np.isfinite(xt).all() and np.isfinite(residual).all())
            if converged or lost or steps == MAX_ITERATIONS:
                break
            steps += 1
            step = _step(xt, residual)
            beta = beta + step
            length = float(np.sum((xt @ step) ** 2))
        scale = float(pearson @ pearson) / (len(x) - x.shape[1])
    return Solution(beta, alpha, held, scale, xt, residual, converged, steps)


def _step(x: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return the least-squares step; its own error only costs iterations, the root is the same."""
    try:
        step = np.linalg.solve(x.T @ x, x.T @ residual)
    except np.linalg.LinAlgError:
        step = np.full(x.shape[1], np.nan)
    if np.isfinite(step).all():
        return step
    return np.asarray(np.linalg.lstsq(x, residual, rcond=None)[0])


def _start(rows: Rows) -> np.ndarray:
    """Return one least-squares step from outcomes drawn in from their limits."""
    y, size = rows.y, rows.size
    if rows.family.link == "logit":
        y = (y * size + 0.5) / (size + 1)
    if rows.family.link == "log":
        y = y + 0.5
    weight = np.sqrt(size * rows.family.variance(y))
    target = rows.family.forward(y) - rows.offset
    return _step(rows.x * weight[:, None], target * weight)


def _correlation(rows: Rows, pearson: np.ndarray) -> tuple[float, bool]:
    """Return the mean product of two rows of a unit over the mean square, and whether it is held.

    Neither mean is corrected for the coefficients. The usual N - q and pairs - q (Liang & Zeger,
    section 3.3) does not suit few units: two rows each of eight mice in four cells have 8 pairs
    and 6 degrees of freedom for their products, not 4, and correlations of 1.2 would follow.
    """
    if not rows.exchangeable:
        return 0.0, False
    n = np.bincount(rows.group)
    pairs = float(n @ (n - 1)) / 2
    square = float(pearson @ pearson)
    if pairs == 0 or not square > 0:
        return 0.0, False
    sums = np.bincount(rows.group, pearson)
    alpha = float(sums @ sums - square) / 2 / pairs / (square / len(pearson))
    inside = float(np.clip(alpha, -TOP / (n.max() - 1), TOP))
    return inside, inside != alpha


def whiten(a: np.ndarray, group: np.ndarray, alpha: float) -> np.ndarray:
    r"""Multiply by :math:`R_i^{-1/2}` of an exchangeable correlation, within every unit.

    R has the eigenvalue :math:`1 + (n_i - 1) \alpha` for the unit's mean and :math:`1 - \alpha` for
    deviations from it.

    Parameters
    ----------
    a : numpy.ndarray, shape (N,) or (N, k)
    group : numpy.ndarray of int, shape (N,)
    alpha : float
    """
    if alpha == 0:
        return a
    n = np.bincount(group)
    columns = a.reshape(len(a), -1)
    sums = np.stack([np.bincount(group, c, minlength=len(n)) for c in columns.T], axis=1)
    mean = (sums / n[:, None])[group]
    of_mean = (1 / np.sqrt(1 + (n - 1) * alpha))[group][:, None]
    return ((columns - mean) / np.sqrt(1 - alpha) + mean * of_mean).reshape(a.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Sandwich:
    """A covariance of the coefficients from the units' scores.

    Attributes
    ----------
    covariance : numpy.ndarray, shape (q, q)
    bread : numpy.ndarray, shape (q, q)
        B, the model-based covariance up to the scale.
    spread, pull : numpy.ndarray, shape (K, q, q)
        Of a unit's score its covariance and its product with the design, for the df.
    alone : tuple of int
        Units that decide a coefficient by themselves.
    """

    covariance: np.ndarray
    bread: np.ndarray
    spread: np.ndarray
    pull: np.ndarray
    alone: tuple[int, ...]


def sandwich(x: np.ndarray, residual: np.ndarray, group: np.ndarray, kind: str) -> Sandwich:
    r"""Return the covariance :math:`B \{\sum_i g_i g_i'\} B`.

    :math:`g_i = \tilde X_i' (I - S_i)^p \tilde r_i` with p of :data:`POWERS`; the power is taken
    through the singular values of :math:`\tilde X_i B^{1/2}`, or through the eigenvalues of
    :math:`S_i` where a unit has fewer rows than columns.

    Parameters
    ----------
    x, residual : numpy.ndarray, shapes (N, q), (N,)
        Whitened.
    group : numpy.ndarray of int, shape (N,)
    kind : str
        One of :data:`POWERS`.
    """
    q = x.shape[1]
    root = np.linalg.inv(np.linalg.qr(x)[1])  # B = root root'
    bread = root @ root.T
    scores, spread, pull, alone = [], [], [], []
    for unit, rows in enumerate(_rows_of(group)):
        u, square = _leverage(x[rows] @ root)
        left = 1 - square
        if left.min() < ALONE:
            alone.append(unit)
        factor = np.maximum(left, ALONE) ** POWERS[kind] - 1
        lift = x[rows] @ bread
        lift = lift + u @ (factor[:, None] * (u.T @ lift))
        scores.append(lift.T @ residual[rows])
        spread.append(lift.T @ lift)
        pull.append(lift.T @ x[rows])
    g = np.array(scores).reshape(-1, q)
    return Sandwich(g.T @ g, bread, np.array(spread), np.array(pull), tuple(alone))


def _leverage(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvectors and eigenvalues of zz', those that are not zero by shape."""
    if len(z) <= z.shape[1]:
        values, vectors = np.linalg.eigh(z @ z.T)
        return vectors, values
    u, s, _ = np.linalg.svd(z, full_matrices=False)
    return u, s**2


def _rows_of(group: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(group, kind="stable")
    return np.split(order, np.cumsum(np.bincount(group))[:-1])


def satterthwaite_df(made: Sandwich, rows: np.ndarray) -> np.ndarray:
    r"""Return the df of the variance of contrasts, by its first two moments, shape (k,).

    Were the working covariance true, the units' scores for a contrast l had the covariance
    :math:`G = \mathrm{diag}(l' M_i l) - W B W'`, :math:`W_i = N_i' l`, and their sum of squares
    the df :math:`(\mathrm{tr}\, G)^2 / \mathrm{tr}\, G^2` (Bell & McCaffrey 2002, Surv Methodol
    28:169; Pan & Wall 2002, Stat Med 21:1429).

    Parameters
    ----------
    made : Sandwich
    rows : numpy.ndarray, shape (k, q)
    """
    out = np.full(len(rows), np.nan)
    for k, row in enumerate(rows):
        own = np.einsum("kij,i,j->k", made.spread, row, row)
        w = np.einsum("kij,i->kj", made.pull, row)
        g = np.diag(own) - w @ made.bread @ w.T
        if own.max() > 0:
            out[k] = np.trace(g) ** 2 / np.sum(g**2)
    return out


def between_df(x: np.ndarray, group: np.ndarray) -> float:
    """Return the units minus the rank of the columns that are constant within every unit.

    Parameters
    ----------
    x : numpy.ndarray, shape (N, q)
    group : numpy.ndarray of int, shape (N,)
    """
    first = np.unique(group, return_index=True)[1]
    constant = np.all(np.abs(x - x[first][group]) <= 1e-12 * np.abs(x).max(axis=0), axis=0)
    rank = np.linalg.matrix_rank(x[first][:, constant]) if constant.any() else 0
    return float(len(first) - rank)
