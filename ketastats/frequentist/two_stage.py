"""Grizzle's two-stage procedure, kept as an example of what not to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError
from ketastats.frequentist.abba import read_crossover
from ketastats.frequentist.t_tests import (
    SCORES,
    TTest,
    effect_table,
    effect_tests,
    t_row,
    two_sample_t,
)

if TYPE_CHECKING:
    import pandas as pd

WARNING = (
    "for teaching, not for use: the gate and the period-1 test share the data of period 1, so the "
    "type I error of the whole is 8 to 9 % and not 5 % (Freeman 1989)"
)


@dataclass(frozen=True, slots=True, eq=False)
class TwoStage:
    """The two-stage procedure in one or many trials: arrays of shape (...,).

    Attributes
    ----------
    carry_over, crossover, first_period : TTest
        The gate, and the two tests it decides between.
    gated : numpy.ndarray
        Whether the gate was significant, so that period 1 alone was used.
    p : numpy.ndarray
        The p value the procedure reports.
    """

    carry_over: TTest
    crossover: TTest
    first_period: TTest
    gated: np.ndarray
    p: np.ndarray


def two_stage_tests(y: np.ndarray, first: np.ndarray, gate: float = 0.10) -> TwoStage:
    """Run the two-stage procedure on many trials at once.

    Parameters
    ----------
    y : numpy.ndarray
        Shape (..., n, 2). NaN for a missed period, the same in every trial; people observed in
        both periods enter the gate and the crossover test, all of period 1 the other test.
    first : numpy.ndarray
        Shape (n,), whether a person is in the first sequence.
    gate : float
        Significance level of the test of carry-over.

    Returns
    -------
    TwoStage

    Examples
    --------
    >>> y = np.random.default_rng(1).normal(size=(1000, 24, 2))
    >>> result = two_stage_tests(y, np.arange(24) < 12)
    >>> bool((result.p[~result.gated] == result.crossover.p[~result.gated]).all())
    True
    """
    seen = ~np.isnan(y).any(axis=tuple(range(y.ndim - 2)))
    whole, start = seen.all(axis=1), seen[:, 0]
    tests = effect_tests(y[..., whole, :], first[whole])
    y1 = y[..., 0]
    first_period = two_sample_t(
        y1[..., start & first], y1[..., start & ~first], np.abs(y1[..., start]).max(axis=-1)
    )
    gated = tests["carry_over"].p < gate
    p = np.where(gated, first_period.p, tests["treatment"].p)
    return TwoStage(tests["carry_over"], tests["treatment"], first_period, gated, p)


def two_stage(
    data: pd.DataFrame,
    outcome: str,
    *,
    gate: float = 0.10,
    change: tuple[str, str] | None = None,
    contrast: str | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Run the two-stage procedure of Grizzle, which is here to be taught against.

    It tests carry-over at 10 % and, when that is significant, drops period 2. The gate and the
    test of period 1 share data and are correlated: with 12 people a sequence and a correlation
    of 0.5 the procedure rejects a true null in 8.1 % of trials instead of 5 %, and in 36 to 45 %
    of the trials where the gate is significant. The gate also has little power. Use
    :func:`~ketastats.frequentist.classical.hills_armitage` or a mixed model, and design
    carry-over away (Grizzle 1965, Biometrics 21:467; Freeman 1989, Stat Med 8:1421; Senn 2002,
    Cross-over Trials in Clinical Research).

    Parameters
    ----------
    data, outcome, change, contrast, level
        As for :func:`~ketastats.frequentist.classical.hills_armitage`.
    gate : float
        Significance level of the test of carry-over.

    Returns
    -------
    pandas.DataFrame
        Rows treatment (what the procedure reports), carry_over (the gate), crossover and
        first_period (the two tests it decides between). The columns are those of
        ``hills_armitage`` and ``branch``: ``"crossover"`` or ``"first_period"``, the test taken.

    Raises
    ------
    DataError
        As for ``hills_armitage``, or for a gate that is not between 0 and 1.

    Examples
    --------
    >>> import ketastats as ks
    >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
    >>> table = two_stage(data, "madrs", change=("pre", "day1"))
    >>> list(table.index)
    ['treatment', 'carry_over', 'crossover', 'first_period']
    """
    if not 0 < gate < 1:
        raise DataError(f"the gate is {gate}", where=outcome, mend="choose a level such as 0.10")
    trial = read_crossover(data, outcome, change=change, contrast=contrast)
    whole, start = trial.observed(), trial.observed((0,))
    result = two_stage_tests(trial.y, trial.first, gate)
    branch = "first_period" if result.gated else "crossover"
    label = trial.labels["treatment"]
    sizes = {"crossover": len(whole.y), "first_period": len(start.y)}
    tests = {"crossover": result.crossover, "first_period": result.first_period}
    methods = {
        "crossover": f"two-sample t: {SCORES['treatment']}",
        "first_period": f"two-sample t: period {trial.periods[0]} only",
    }
    notes = "; ".join(filter(None, (trial.notes, WARNING)))
    p_gate = f"carry-over p {float(result.carry_over.p):.3g}, gate {gate:g}"
    rows = [
        t_row("treatment", label, tests[branch], level, sizes[branch],
              f"two-stage (Grizzle 1965): {p_gate}; {methods[branch]}", notes),
        t_row("carry_over", trial.labels["carry_over"], result.carry_over, level, len(whole.y),
              f"two-sample t: {SCORES['carry_over']}", notes),
        *(t_row(b, label, tests[b], level, sizes[b], methods[b], notes) for b in tests),
    ]  # fmt: skip
    return effect_table(rows).assign(branch=branch)
