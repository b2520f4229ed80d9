"""Declared means and SDs of every row or cell, on the scale of declaration and on the link."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ketastats.core.errors import StudyError
from ketastats.study.links import recorded_mean, solve_predictor
from ketastats.study.model import Amount, Design, Outcome, Spread, When
from ketastats.study.plan import Column
from ketastats.study.scales import KINDS, is_linear

Columns = Mapping[str, Column]


def matches(when: When, columns: Columns, n: int) -> np.ndarray:
    """Return 1 for rows that meet all conditions, else 0.

    Returns
    -------
    numpy.ndarray, shape (n,)
    """
    out = np.ones(n)
    for name, levels in when:
        column = columns[name]
        wanted = [column.levels.index(level) for level in levels]
        out = out * np.isin(column.codes, wanted)
    return out


def declared_means(outcome: Outcome, design: Design, columns: Columns, n: int) -> np.ndarray:
    """Return the declared direct mean of every row, carry-over zero: baseline and effects.

    Parameters
    ----------
    outcome : Outcome
    design : Design
    columns : mapping of str to Column
        Codes of shape (n,).
    n : int

    Returns
    -------
    numpy.ndarray, shape (n,)
    """
    strata = {s.name for s in design.strata}
    mean = np.full(n, outcome.baseline)
    for effect in outcome.effects:
        plain = tuple((f, ls) for f, ls in effect.when if not (effect.centred and f in strata))
        factor = matches(plain, columns, n)
        for name, levels in effect.when:
            if effect.centred and name in strata:
                share = len(levels) / len(columns[name].levels)
                factor = factor * (matches(((name, levels),), columns, n) - share)
        mean = mean + effect.add * factor
    return mean


def latent_means(outcome: Outcome, design: Design, columns: Columns, n: int) -> np.ndarray:
    """Return the latent mean of every row: the linear predictor of a typical subject, shape (n,).

    Without a link the declared mean itself; with one, what gives that mean over the population.
    """
    mean = declared_means(outcome, design, columns, n)
    if is_linear(outcome.scale):
        return mean
    kind = KINDS[outcome.scale.kind]
    if not np.all((mean > kind.low) & (mean < kind.high)):
        raise StudyError(
            f"a mean of {outcome.name} is not {kind.mean}", mend="change its baseline or effects"
        )
    return solve_predictor(mean, total_sd(outcome, design, columns, n), kind.link)


def natural_means(
    outcome: Outcome, design: Design, columns: Columns, n: int, shift: np.ndarray | float = 0.0
) -> np.ndarray:
    """Return the population mean of the outcome as recorded, in every row, shape (n,).

    Rounding and bounds move the mean of an outcome without a link. With a link the declared mean
    is this mean, per trial or per unit of exposure; rounding a proportion or a ratio to its
    decimals, which moves it by less than half of the last one, is left out.

    Parameters
    ----------
    outcome, design, columns, n
        As for :func:`declared_means`.
    shift : numpy.ndarray, shape (n,), or float
        Added to the latent mean: a carry-over. Only without a link.
    """
    mean = declared_means(outcome, design, columns, n)
    if not is_linear(outcome.scale):
        return mean
    return recorded_mean(mean + shift, total_sd(outcome, design, columns, n), outcome.scale)


def total_sd(outcome: Outcome, design: Design, columns: Columns, n: int) -> np.ndarray:
    """Return the SD of a single latent value in every row, all components together, shape (n,).

    On the link scale where there is one.
    """
    where = {c.name: tuple((f, (level,)) for f, level in c.where) for c in design.clusters}
    variance = np.zeros(n)
    for component in outcome.spread:
        applies = matches(component.when, columns, n)
        for factor in component.factors:  # a mouse without a cage has no cage deviation
            applies = applies * matches(where.get(factor, ()), columns, n)
        variance += applies * component_sd(component, columns, n) ** 2
    return np.sqrt(variance)


def component_sd(component: Spread, columns: Columns, n: int) -> np.ndarray:
    """Return a component's SD in every row, shape (n,): constant, or by the level of a factor."""
    if component.by is None:
        return np.full(n, component.sd)
    table, column = dict(component.by_sd), columns[component.by]
    return np.array([table[level] for level in column.levels])[column.codes]


def amount_rows(amount: Amount, columns: Columns, n: int) -> np.ndarray:
    """Return an amount in every row, shape (n,): constant, or by the level of a factor."""
    if amount.by is None:
        return np.full(n, amount.value)
    table, column = dict(amount.levels), columns[amount.by]
    return np.array([table[level] for level in column.levels])[column.codes]
