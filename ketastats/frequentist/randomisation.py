"""The randomisation test of an AB/BA trial: re-allocate sequences and look again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError
from ketastats.core.random import Purpose, generator
from ketastats.frequentist.abba import CrossoverArrays, read_crossover
from ketastats.frequentist.reallocation import (
    all_allocations,
    count_allocations,
    random_allocations,
    randomisation_interval,
    randomisation_p,
)
from ketastats.frequentist.t_tests import FLAT, SCORES, effect_scores, effect_table
from ketastats.study.lookup import suggestion

if TYPE_CHECKING:
    import pandas as pd

STATISTICS = {"half-difference": "treatment", "sum": "carry_over"}


def randomisation_test(
    data: pd.DataFrame,
    outcome: str,
    *,
    strata: Sequence[str] = (),
    statistic: str = "half-difference",
    draws: int = 10_000,
    seed: int = 1,
    exact_up_to: int = 100_000,
    change: tuple[str, str] | None = None,
    contrast: str | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Test by re-allocating the sequences, as the trial itself did.

    Under no effect each person's half-difference is the same in either sequence, whatever the
    period effect, so the allocation that happened is one of many equally likely ones. The
    numbers per sequence, within strata when there are any, are kept. All allocations are looked
    at where there are few enough, else ``draws`` of them at random. People without both periods
    are left out, as if the allocation had not made them leave.

    Parameters
    ----------
    data, outcome, change, contrast, level
        As for :func:`~ketastats.frequentist.classical.hills_armitage`.
    strata : sequence of str
        Columns that the allocation was stratified by, such as ``("sex",)``.
    statistic : str
        ``"half-difference"`` for the treatment effect, ``"sum"`` for carry-over.
    draws : int
        Random re-allocations when there are more than ``exact_up_to``.
    seed : int
        Their random address.
    exact_up_to : int

    Returns
    -------
    pandas.DataFrame
        One row, treatment or carry_over: contrast, estimate, p, mc_error (Monte-Carlo standard
        error of p, 0 when exact), ci_low, ci_high (the shifts not rejected), n, allocations,
        method, status, notes.

    Raises
    ------
    DataError
        As for ``hills_armitage``; for an unknown statistic, or when nothing can be re-allocated.

    Examples
    --------
    >>> import ketastats as ks
    >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
    >>> table = randomisation_test(data, "madrs", change=("pre", "day1"), strata=("sex",))
    >>> int(table.loc["treatment", "allocations"])
    10000
    """
    if statistic not in STATISTICS:
        raise DataError(
            f"there is no statistic {statistic!r}",
            where=outcome,
            mend=suggestion(statistic, STATISTICS),
        )
    trial = read_crossover(data, outcome, change=change, contrast=contrast, strata=strata)
    trial = trial.observed()
    effect, first = STATISTICS[statistic], trial.first
    allocations, exact, what = _allocations(trial, draws, seed, exact_up_to)
    scores = effect_scores(trial.y, first)[effect]
    p = float(randomisation_p(scores[None, :], first, allocations, exact=exact)[0])
    low, high = randomisation_interval(scores, first, allocations, level, exact=exact)
    flat = np.ptp(scores) <= FLAT * np.abs(trial.y).max()
    notes = (
        trial.notes,
        "all scores are equal: every allocation gives the same" if flat else "",
        f"too few allocations for an interval of level {level:g}" if np.isinf(low) else "",
    )
    within = f" within {', '.join(strata)}" if strata else ""
    record = {
        "effect": effect,
        "contrast": trial.labels[effect],
        "estimate": float(scores[first].mean() - scores[~first].mean()),
        "p": p,
        "mc_error": 0.0 if exact else float(np.sqrt(p * (1 - p) / (draws + 1))),
        "ci_low": low,
        "ci_high": high,
        "n": len(scores),
        "allocations": len(allocations),
        "method": f"randomisation, {what}{within}: {SCORES[effect]}",
        "status": "boundary" if flat else "ok",
        "notes": "; ".join(filter(None, notes)),
    }
    return effect_table([record])


def _allocations(
    trial: CrossoverArrays, draws: int, seed: int, exact_up_to: int
) -> tuple[np.ndarray, bool, str]:
    """Return re-allocations, whether these are all there are, and words for it."""
    possible = count_allocations(trial.first, trial.stratum)
    if possible == 1:
        raise DataError(
            "there is nothing to re-allocate: every stratum holds one sequence only",
            where=trial.outcome,
            mend="leave out a column of strata",
        )
    if possible <= exact_up_to:
        return all_allocations(trial.first, trial.stratum), True, f"all {possible:,} allocations"
    if draws < 1:
        raise DataError(f"draws is {draws}", where=trial.outcome, mend="ask for 1 or more")
    rng = generator(seed, Purpose.RESAMPLING, trial.outcome, 0)
    drawn = random_allocations(trial.first, trial.stratum, draws, rng)
    return drawn, False, f"{draws:,} of {possible:,} allocations at random"
