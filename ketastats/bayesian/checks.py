"""Posterior predictive checks aimed at what a Gaussian model of a small trial gets wrong.

Bounds of the scale, rounding to favourite numbers, SDs that differ between strata, and patterns
over periods: a statistic of the data against the same statistic of replicated data (Gelman, Meng &
Stern 1996, Statistica Sinica 6:733).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """One statistic of the data, and of data that the model would give.

    Attributes
    ----------
    name : str
    observed : float
    replicated : numpy.ndarray, shape (n,)
    """

    name: str
    observed: float
    replicated: np.ndarray

    @property
    def p(self) -> float:
        """Share of replicates above the observed value, ties counting half."""
        return float(
            ((self.replicated > self.observed) + 0.5 * (self.replicated == self.observed)).mean()
        )

    @property
    def central(self) -> tuple[float, float]:
        """Ends of the central 95 % of the replicates."""
        low, high = np.quantile(self.replicated, [0.025, 0.975])
        return float(low), float(high)

    @property
    def surprising(self) -> bool:
        """Whether the observed value lies in the outer 2.5 % on either side."""
        return not 0.025 <= self.p <= 0.975


def around_cells(y: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return values less the mean of their cell, shape (n, rows)."""
    size = int(cell.max()) + 1
    indicator = np.zeros((len(cell), size))
    indicator[np.arange(len(cell)), cell] = 1.0
    means = (y @ indicator) / indicator.sum(axis=0)
    return np.asarray(y - means[:, cell])


def targeted_checks(
    y: np.ndarray,
    replicated: np.ndarray,
    *,
    low: float | None,
    high: float | None,
    step: float | None,
    strata: Mapping[str, np.ndarray],
    period: np.ndarray | None,
    cell: np.ndarray,
) -> tuple[Check, ...]:
    """Return the checks that the scale and the design call for.

    Parameters
    ----------
    y : numpy.ndarray, shape (rows,)
    replicated : numpy.ndarray, shape (n, rows)
    low, high : float or None
        Bounds of the scale.
    step : float or None
        Whole values are recorded to this; replicates are rounded to it first.
    strata : mapping of str to numpy.ndarray of int, shape (rows,)
        Such as sex, coded from 0; those with two levels are compared.
    period : numpy.ndarray of int or None
    cell : numpy.ndarray of int, shape (rows,)
        Cell of the design, around whose mean SDs are taken.

    Returns
    -------
    tuple of Check
    """
    if step:
        replicated = np.round(replicated / step) * step
    out: dict[str, Statistic] = {}
    if low is not None:
        out[f"share at the lower bound {low:g} or under it"] = lambda v: (v <= low).mean(axis=1)
    if high is not None:
        out[f"share at the upper bound {high:g} or over it"] = lambda v: (v >= high).mean(axis=1)
    if step:
        out[f"share on multiples of {5 * step:g}"] = lambda v: (
            np.abs(v / (5 * step) - np.round(v / (5 * step))) < 1e-9
        ).mean(axis=1)
    out["smallest value"] = lambda v: v.min(axis=1)
    out["largest value"] = lambda v: v.max(axis=1)
    out["skewness around the cell means"] = lambda v: _skewness(around_cells(v, cell))
    for name, codes in strata.items():
        if int(codes.max()) != 1:
            continue

        def ratio(v: np.ndarray, codes: np.ndarray = codes) -> np.ndarray:
            rest = around_cells(v, cell)
            return np.asarray(rest[:, codes == 1].std(axis=1) / rest[:, codes == 0].std(axis=1))

        out[f"SD ratio between the levels of {name}"] = ratio
    if period is not None and int(period.max()) >= 1:
        last = int(period.max())
        out["mean of the last period less the first"] = lambda v: (
            v[:, period == last].mean(axis=1) - v[:, period == 0].mean(axis=1)
        )
        out["SD ratio, last period to first"] = lambda v: np.asarray(
            around_cells(v, cell)[:, period == last].std(axis=1)
            / around_cells(v, cell)[:, period == 0].std(axis=1)
        )
    return tuple(Check(n, float(f(y[None])[0]), f(replicated)) for n, f in out.items())


def _skewness(rest: np.ndarray) -> np.ndarray:
    sd = rest.std(axis=1)
    return np.asarray((rest**3).mean(axis=1) / np.where(sd > 0, sd, 1.0) ** 3)
