"""Classical t tests of the two-treatment, two-period crossover.

The only module that imports pingouin (GPL-3): see the licence section of the README.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ketastats.frequentist.abba import read_crossover
from ketastats.frequentist.t_tests import (
    FLAT,
    SCORES,
    TTest,
    effect_table,
    effect_tests,
    t_row,
    t_test,
    two_sample_t,
)

if TYPE_CHECKING:
    import pandas as pd


def hills_armitage(
    data: pd.DataFrame,
    outcome: str,
    *,
    change: tuple[str, str] | None = None,
    contrast: str | None = None,
    equal_variance: bool = True,
    level: float = 0.95,
) -> pd.DataFrame:
    r"""Two-sample t tests on half-differences of people observed in both periods.

    With :math:`d = (y_1 - y_2)/2` per person, the treatment effect is the difference of the mean
    :math:`d` between sequences, the period effect the difference after changing the sign in one
    sequence, and the sum :math:`y_1 + y_2` compares sequences: carry-over, sequence effect and
    treatment-by-period interaction in one number, between people, and never a gate (Hills &
    Armitage 1979, Br J Clin Pharmacol 8:7; Freeman 1989, Stat Med 8:1421).

    Parameters
    ----------
    data : pandas.DataFrame
        Columns subject, sequence, period, treatment and the outcome; two sequences, two periods.
    outcome : str
    change : tuple of (str, str), optional
        Levels of ``time``: analyse the second minus the first of each period.
    contrast : str, optional
        Direction of the treatment effect, such as ``"naltrexone - placebo"``.
    equal_variance : bool
        False for Welch's test.
    level : float

    Returns
    -------
    pandas.DataFrame
        Indexed by effect (treatment, period, carry_over): contrast, estimate, se, df, t, p,
        ci_low, ci_high, n, method, status, notes.

    Raises
    ------
    DataError
        For a design that is not AB/BA, or fewer than two complete people in a sequence.

    Examples
    --------
    >>> import ketastats as ks
    >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
    >>> table = hills_armitage(data, "madrs", change=("pre", "day1"))
    >>> int(table.loc["treatment", "df"])
    22
    """
    trial = read_crossover(data, outcome, change=change, contrast=contrast).observed()
    tests = effect_tests(trial.y, trial.first, equal_variance=equal_variance)
    method, n = "two-sample t" if equal_variance else "Welch t", len(trial.y)
    return effect_table(
        t_row(e, trial.labels[e], tests[e], level, n, f"{method}: {what}", trial.notes)
        for e, what in SCORES.items()
    )


def paired_t(
    data: pd.DataFrame,
    outcome: str,
    *,
    change: tuple[str, str] | None = None,
    contrast: str | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Paired t test of the treatments, ignoring the period.

    Right only without a period effect. With one, sequences of equal size leave the estimate
    unbiased but count the period effect as noise; unequal sizes bias it as well.

    Parameters
    ----------
    data, outcome, change, contrast, level
        As for :func:`hills_armitage`.

    Returns
    -------
    pandas.DataFrame
        The row treatment, with the columns of :func:`hills_armitage`.

    Raises
    ------
    DataError
        As for :func:`hills_armitage`.

    Examples
    --------
    >>> import ketastats as ks
    >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
    >>> paired_t(data, "madrs", change=("pre", "day1"), contrast="naltrexone - placebo").index[0]
    'treatment'
    """
    trial = read_crossover(data, outcome, change=change, contrast=contrast).observed()
    left = np.where(trial.first, trial.y[:, 0], trial.y[:, 1])
    right = np.where(trial.first, trial.y[:, 1], trial.y[:, 0])
    test = _paired(left, right)
    notes = "; ".join(filter(None, (trial.notes, "ignores the period effect")))
    return effect_table(
        [t_row("treatment", trial.labels["treatment"], test, level, len(left), "paired t", notes)]
    )


def _paired(x: np.ndarray, y: np.ndarray) -> TTest:
    """Test the mean of x - y, shape (n,); pingouin rounds its interval, so that is ours."""
    import pingouin

    d, scale = x - y, np.asarray(np.abs([x, y]).max())
    se, df = np.asarray(d.std(ddof=1) / np.sqrt(len(d))), np.asarray(len(d) - 1.0)
    flat = np.asarray(d.std(ddof=1) <= FLAT * scale)
    if flat:
        return t_test(np.asarray(d.mean()), se, df, flat, scale)
    row = pingouin.ttest(x, y, paired=True).iloc[0]
    t, p = np.asarray(float(row["T"])), np.asarray(float(row["p_val"]))
    return TTest(np.asarray(d.mean()), se, df, t, p, flat)


def first_period_only(
    data: pd.DataFrame,
    outcome: str,
    *,
    change: tuple[str, str] | None = None,
    contrast: str | None = None,
    equal_variance: bool = True,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare the treatments in period 1, as a parallel trial of everybody observed in it.

    Free of carry-over, and of the gain of a crossover: the variance is that between people.

    Parameters
    ----------
    data, outcome, change, contrast, equal_variance, level
        As for :func:`hills_armitage`.

    Returns
    -------
    pandas.DataFrame
        The row treatment, with the columns of :func:`hills_armitage`.

    Raises
    ------
    DataError
        For a design that is not AB/BA, or fewer than two people of a sequence in period 1.

    Examples
    --------
    >>> import ketastats as ks
    >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
    >>> table = first_period_only(data, "madrs", change=("pre", "day1"))
    >>> bool(table.loc["treatment", "n"] >= 24)
    True
    """
    trial = read_crossover(data, outcome, change=change, contrast=contrast).observed((0,))
    y = trial.y[:, 0]
    test = two_sample_t(
        y[trial.first], y[~trial.first], np.abs(y).max(), equal_variance=equal_variance
    )
    method = ("two-sample t" if equal_variance else "Welch t") + f": period {trial.periods[0]} only"
    return effect_table(
        [t_row("treatment", trial.labels["treatment"], test, level, len(y), method, trial.notes)]
    )
