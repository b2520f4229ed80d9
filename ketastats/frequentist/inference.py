r"""Estimands of a generalised model on the link or the natural scale: values, tests, intervals.

Arrays in and out, over any number of fits at once. A model says only how the means of the reference
grid's cells follow from its parameters and what the covariance of these is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri, stdtr, stdtrit

from ketastats.core.errors import NotEstimable
from ketastats.problem.build import Problem
from ketastats.problem.questions import ask
from ketastats.study.contrasts import cell_weights
from ketastats.study.model import Estimand

SCALES = ("link", "natural")


@dataclass(frozen=True, slots=True)
class Link:
    """A link function.

    Attributes
    ----------
    inverse, forward : callable
        Mean from the linear predictor, and back.
    slope : callable
        Derivative of the inverse, as a function of the mean.
    """

    inverse: Callable[[np.ndarray], np.ndarray]
    forward: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]


LINKS = {
    "identity": Link(lambda e: e, lambda m: m, np.ones_like),
    "logit": Link(expit, logit, lambda m: m * (1 - m)),
    "probit": Link(ndtr, ndtri, lambda m: np.exp(-0.5 * ndtri(m) ** 2) / np.sqrt(2 * np.pi)),
    "log": Link(np.exp, np.log, lambda m: m),
}


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Estimands as weights over the cells of a problem's reference grid, on a scale.

    Attributes
    ----------
    scale : str
    weights : numpy.ndarray, shape (k, cells)
    matrix : numpy.ndarray, shape (cells, q)
        Linear predictor of every cell from the coefficients.
    rows : numpy.ndarray, shape (k, q)
        Weights times matrix: all that the link scale needs.
    mean : numpy.ndarray of bool, shape (k,)
        A mean on the natural scale: its interval is made on the link scale, and 0 is no hypothesis.
    reasons : tuple of str
        Why there is no answer; empty where there is.
    """

    scale: str
    weights: np.ndarray
    matrix: np.ndarray
    rows: np.ndarray
    mean: np.ndarray
    reasons: tuple[str, ...]

    @property
    def estimable(self) -> np.ndarray:
        """Whether there is an answer, shape (k,)."""
        return np.array([not r for r in self.reasons], dtype=bool)


def lay_out(problem: Problem, estimands: Sequence[Estimand], scale: str) -> Cells:
    """Return estimands over the cells; what a problem cannot answer has weights of 0 and a reason.

    On the link scale as in :func:`.questions.ask`. On the natural scale every cell with a weight
    must be estimable by itself, and a difference that is 0 on the link scale need not be 0.
    """
    grid, full = problem.fixed.grid()
    matrix, known = problem.aliasing.reduce(full)
    linear = ask(problem, estimands)
    weights, reasons = np.zeros((len(estimands), len(matrix))), [""] * len(estimands)
    aliased = "; ".join(f"aliased: {a.name} equals {a.equals}" for a in problem.aliasing.aliased)
    for k, estimand in enumerate(estimands):
        try:
            weights[k] = cell_weights(estimand, grid)
        except NotEstimable as error:
            reasons[k] = error.message
            continue
        if ((weights[k] != 0) & ~known).any():
            reasons[k] = aliased
    if scale == "link":
        reasons = list(linear.reasons)
    weights[[bool(r) for r in reasons]] = 0.0
    averages = (weights >= 0).all(axis=1) & np.isclose(weights.sum(axis=1), 1)
    return Cells(
        scale, weights, matrix, linear.rows, averages & (scale == "natural"), tuple(reasons)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Quantities to estimate; leading axes, if any, run over fits.

    Attributes
    ----------
    value : numpy.ndarray, shape (..., k)
    gradient : numpy.ndarray, shape (..., k, p)
        In the parameters that the covariance is of.
    mean, estimable : numpy.ndarray of bool, shape (k,)
        See :class:`Cells`.
    """

    value: np.ndarray
    gradient: np.ndarray
    mean: np.ndarray
    estimable: np.ndarray


def on_link(cells: Cells, beta: np.ndarray, spreads: int = 0) -> Asked:
    """Return estimands of the linear predictor; further parameters (``spreads``) do not enter."""
    rows = np.hstack([cells.rows, np.zeros((len(cells.rows), spreads))])
    gradient = np.broadcast_to(rows, (*beta.shape[:-1], *rows.shape))
    return Asked(beta @ cells.rows.T, gradient, cells.mean, cells.estimable)


def on_means(
    cells: Cells, mean: np.ndarray, d_eta: np.ndarray, d_spread: np.ndarray | None = None
) -> Asked:
    r"""Return estimands of the cells' means, with gradients for the delta method.

    :math:`\theta = \sum_c w_c m_c`, with :math:`\sum_c w_c\, \partial m_c/\partial\eta_c\, x_c` for
    the coefficients and :math:`\sum_c w_c\, \partial m_c/\partial\sigma` for a spread.

    Parameters
    ----------
    cells : Cells
    mean, d_eta : numpy.ndarray, shape (..., cells)
        Means and their derivatives in the linear predictor.
    d_spread : numpy.ndarray, shape (..., cells, s), optional
        Derivatives in further parameters.
    """
    gradient = (cells.weights * d_eta[..., None, :]) @ cells.matrix
    if d_spread is not None:
        gradient = np.concatenate([gradient, cells.weights @ d_spread], axis=-1)
    return Asked(mean @ cells.weights.T, gradient, cells.mean, cells.estimable)


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """Inference for k quantities; every array has shape (..., k)."""

    estimate: np.ndarray
    se: np.ndarray
    df: np.ndarray
    statistic: np.ndarray
    p: np.ndarray
    ci_low: np.ndarray
    ci_high: np.ndarray

    def first(self) -> Inference:
        """Return the first of a batch of fits."""
        return Inference(*(getattr(self, n)[0] for n in Inference.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    r"""Distribution of the size of t under the fitted model, in place of t or z.

    Attributes
    ----------
    size : numpy.ndarray, shape (draws, k)
        :math:`|\hat\theta^* - \hat\theta| / se^*`; infinite for a draw without an answer.
    """

    size: np.ndarray

    def factor(self, level: float) -> np.ndarray:
        """Return the multiple of the standard error for a level; infinite with too few draws."""
        at = int(np.ceil(level * (len(self.size) + 1) - 1e-9))
        if at > len(self.size):
            return np.full(self.size.shape[1], np.inf)
        return np.asarray(np.sort(self.size, axis=0)[at - 1])

    def p(self, t: np.ndarray) -> np.ndarray:
        """Return p values: below 1 - level exactly where the interval of that level omits 0."""
        larger = (self.size >= np.abs(t)).sum(axis=0)
        return np.where(np.isnan(t), np.nan, (1 + larger) / (len(self.size) + 1))


def pivots(asked: Asked, se: np.ndarray, link: Link) -> tuple[np.ndarray, np.ndarray]:
    """Return where intervals are made and their standard errors there, each of shape (..., k).

    That is the link scale for a mean on the natural scale, where it cannot leave the range of the
    outcome, and the estimate itself for all else.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.where(asked.mean, link.forward(asked.value), asked.value)
        return centre, se / np.where(asked.mean, link.slope(asked.value), 1.0)


def inference(
    asked: Asked,
    se: np.ndarray,
    df: np.ndarray | float,
    link: Link,
    level: float,
    drawn: Drawn | None = None,
) -> Inference:
    """Test quantities against 0 and make intervals.

    Parameters
    ----------
    asked : Asked
    se : numpy.ndarray, shape (..., k)
        NaN where there is none.
    df : numpy.ndarray or float
        Of t; infinite for z.
    link : Link
    level : float
    drawn : Drawn, optional
        In place of t: there are then no degrees of freedom.
    """
    centre, spread = pivots(asked, se, link)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(asked.mean, np.nan, asked.value / se)
    if drawn is None:
        df = np.broadcast_to(df, t.shape)
        half, p = stdtrit(df, 0.5 + level / 2) * spread, 2 * stdtr(df, -np.abs(t))
    else:
        df, half, p = np.full(t.shape, np.nan), drawn.factor(level) * spread, drawn.p(t)
    low, high = centre - half, centre + half
    return Inference(
        estimate=asked.value,
        se=se,
        df=df,
        statistic=t,
        p=p,
        ci_low=np.where(asked.mean, link.inverse(low), low),
        ci_high=np.where(asked.mean, link.inverse(high), high),
    )


def standard_errors(asked: Asked, covariance: np.ndarray) -> np.ndarray:
    """Return standard errors, shape (..., k), by the delta method.

    Parameters
    ----------
    asked : Asked
    covariance : numpy.ndarray, shape (..., p, p)
    """
    square = ((asked.gradient @ covariance) * asked.gradient).sum(axis=-1)
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))
