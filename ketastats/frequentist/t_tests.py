"""Kernels of the t tests of an AB/BA trial: one trial is a batch of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtr, stdtrit

if TYPE_CHECKING:
    import pandas as pd

NO_SPREAD = (
    "the scores do not vary within sequences: the standard error is 0 and p is a limit, not a test"
)
SCORES = {
    "treatment": "half-differences",
    "period": "half-differences, sign changed",
    "carry_over": "sums, between people",
}
FLAT = 1e-12  # of the largest outcome: below it a standard deviation is rounding


@dataclass(frozen=True, slots=True, eq=False)
class TTest:
    """One or many t tests: arrays of one shape, (...,).

    Attributes
    ----------
    estimate, se, df, t, p : numpy.ndarray
    flat : numpy.ndarray
        Where the scores do not vary: ``se`` is 0, ``t`` 0 or infinite, ``p`` its limit 1 or 0.
    """

    estimate: np.ndarray
    se: np.ndarray
    df: np.ndarray
    t: np.ndarray
    p: np.ndarray
    flat: np.ndarray


def two_sample_t(
    x: np.ndarray, y: np.ndarray, scale: np.ndarray | float, *, equal_variance: bool = True
) -> TTest:
    """Compare the means of two samples, many pairs of samples at once.

    Pooled variance, or Welch's with Satterthwaite's degrees of freedom (Welch 1947, Biometrika
    34:28). Only ``scipy.special`` is needed, so that 100,000 simulated trials cost one pass.

    Parameters
    ----------
    x, y : numpy.ndarray
        Shapes (..., n1) and (..., n2).
    scale : numpy.ndarray or float
        Shape (...,): size of the outcomes, against which a spread counts as none.
    equal_variance : bool

    Returns
    -------
    TTest

    Examples
    --------
    >>> test = two_sample_t(np.array([1.0, 2.0, 3.0]), np.array([4.0, 6.0]), 6.0)
    >>> float(test.estimate), float(test.df)
    (-3.0, 3.0)
    """
    n1, n2 = x.shape[-1], y.shape[-1]
    estimate = x.mean(axis=-1) - y.mean(axis=-1)
    v1, v2 = x.var(axis=-1, ddof=1), y.var(axis=-1, ddof=1)
    flat = np.sqrt(np.maximum(v1, v2)) <= FLAT * np.asarray(scale)
    pooled = ((n1 - 1) * v1 + (n2 - 1) * v2) / (n1 + n2 - 2)
    df = np.full(estimate.shape, n1 + n2 - 2.0)
    square = pooled * (1 / n1 + 1 / n2)
    if not equal_variance:
        square = v1 / n1 + v2 / n2
        with np.errstate(invalid="ignore"):
            welch = square**2 / ((v1 / n1) ** 2 / (n1 - 1) + (v2 / n2) ** 2 / (n2 - 1))
        df = np.where(flat, df, welch)
    return t_test(estimate, np.sqrt(square), df, flat, np.asarray(scale))


def t_test(
    estimate: np.ndarray, se: np.ndarray, df: np.ndarray, flat: np.ndarray, scale: np.ndarray
) -> TTest:
    """Return t and p, with their limits where there is no spread."""
    se = np.where(flat, 0.0, se)
    nothing = np.abs(estimate) <= FLAT * scale
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(flat, np.where(nothing, 0.0, np.sign(estimate) * np.inf), estimate / se)
    return TTest(estimate, se, df, t, 2 * stdtr(df, -np.abs(t)), flat)


def effect_scores(y: np.ndarray, first: np.ndarray) -> dict[str, np.ndarray]:
    r"""Return the scores whose mean difference between sequences is each effect.

    With :math:`d = (y_1 - y_2)/2`, the treatment effect compares :math:`d`, the period effect
    :math:`d` with its sign changed in the second sequence, and carry-over the sums
    :math:`y_1 + y_2` (Hills & Armitage 1979, Br J Clin Pharmacol 8:7).

    Parameters
    ----------
    y : numpy.ndarray
        Shape (..., n, 2).
    first : numpy.ndarray
        Shape (n,), whether a person is in the first sequence.

    Returns
    -------
    dict of str to numpy.ndarray
        For treatment, period and carry_over, each of shape (..., n).

    Examples
    --------
    >>> scores = effect_scores(np.array([[5.0, 3.0], [2.0, 6.0]]), np.array([True, False]))
    >>> scores["treatment"], scores["period"], scores["carry_over"]
    (array([ 1., -2.]), array([1., 2.]), array([8., 8.]))
    """
    half = (y[..., 0] - y[..., 1]) / 2
    return {
        "treatment": half,
        "period": np.where(first, half, -half),
        "carry_over": y[..., 0] + y[..., 1],
    }


def rounded(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Round scores to 12 digits of the largest outcome, so that equal differences are ties.

    In binary 0.3 - 0.1 and 0.2 - 0 differ in the last place: unrounded, ranks would call them
    unequal.

    Parameters
    ----------
    scores : numpy.ndarray
    y : numpy.ndarray
        Outcomes that the scores were made of.

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> rounded(np.array([0.3 - 0.1, 0.2]), np.array([0.3])).tolist()
    [0.2, 0.2]
    """
    top = float(np.nanmax(np.abs(y)))
    return np.round(scores, 12 - int(np.ceil(np.log10(top)))) if top > 0 else scores


def effect_tests(
    y: np.ndarray, first: np.ndarray, *, equal_variance: bool = True
) -> dict[str, TTest]:
    """Test treatment, period and carry-over in many trials at once.

    Parameters
    ----------
    y : numpy.ndarray
        Shape (..., n, 2), complete.
    first : numpy.ndarray
        Shape (n,), whether a person is in the first sequence.
    equal_variance : bool

    Returns
    -------
    dict of str to TTest
        For treatment, period and carry_over; see :func:`effect_scores`.

    Examples
    --------
    >>> y = np.random.default_rng(1).normal(size=(1000, 12, 2))
    >>> effect_tests(y, np.arange(12) < 6)["treatment"].p.shape
    (1000,)
    """
    scale = np.abs(y).max(axis=(-1, -2))
    return {
        effect: two_sample_t(s[..., first], s[..., ~first], scale, equal_variance=equal_variance)
        for effect, s in effect_scores(y, first).items()
    }


def t_row(
    effect: str, contrast: str, test: TTest, level: float, n: int, method: str, notes: str
) -> dict[str, object]:
    """Return one t test (arrays of shape ()) as a record of :func:`effect_table`."""
    half = float(stdtrit(test.df, 0.5 + level / 2) * test.se)
    estimate, flat = float(test.estimate), bool(test.flat)
    return {
        "effect": effect,
        "contrast": contrast,
        "estimate": estimate,
        "se": float(test.se),
        "df": float(test.df),
        "t": float(test.t),
        "p": float(test.p),
        "ci_low": estimate - half,
        "ci_high": estimate + half,
        "n": n,
        "method": method,
        "status": "boundary" if flat else "ok",
        "notes": "; ".join(filter(None, (notes, NO_SPREAD if flat else ""))),
    }


def effect_table(records: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Return records as a frame indexed by their ``effect``."""
    import pandas as pd

    return pd.DataFrame(list(records)).set_index("effect")
