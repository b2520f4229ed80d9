"""From a checked scale table to a Scale, with the checks of its parameters and of every cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import StudyError
from ketastats.study.checks import Factors, known
from ketastats.study.model import (
    Amount,
    BinomialScale,
    CountScale,
    Design,
    Outcome,
    ProportionScale,
    Scale,
)
from ketastats.study.scales import KINDS, LARGEST_SD, is_linear

if TYPE_CHECKING:
    from ketastats.study.schema import ScaleTable

MOST_TRIALS = 1000
"""With overdispersion; drawing then sums over every number of successes."""

Raw = float | Mapping[str, str | float]
Rule = tuple[str, Callable[[float], bool]]
"""What a number must be, in words and as a test."""

_TRIALS: Rule = ("a whole number of trials, 1 or more", lambda v: v >= 1 and v == int(v))
_POSITIVE: Rule = ("a number above 0", lambda v: v > 0)
_NOT_NEGATIVE: Rule = ("0 or more", lambda v: v >= 0)
_CORRELATION: Rule = ("an intraclass correlation, 0 or more and below 1", lambda v: 0 <= v < 1)


def build_scale(table: ScaleTable, factors: Factors, where: str) -> Scale:
    """Build a Scale.

    Parameters
    ----------
    table : ScaleTable
    factors : mapping of str to tuple of str
        Factors of the outcome with their levels.
    where : str
        Key path of the scale, for messages.

    Raises
    ------
    StudyError
        For keys that the kind does not have and numbers that it cannot have.
    """
    kind, name = KINDS[table.kind], table.kind
    for key in sorted(table.model_fields_set - {"kind", "unit", *kind.keys}):
        raise StudyError(
            f"{'an' if name[0] in 'aeio' else 'a'} {name} scale has no {key}",
            where=f"{where}.{key}",
            mend="leave it out; it may have " + ", ".join(kind.keys),
        )
    if kind.link == "identity":
        _check_bounds(table, where)
        return Scale(name, table.min, table.max, 0 if kind.whole else table.decimals, table.unit)
    if name == "binomial":
        return _binomial(table, factors, where)
    if name == "count":
        exposure = _amount(table.exposure, factors, f"{where}.exposure", _POSITIVE, 1.0)
        more = _amount(table.overdispersion, factors, f"{where}.overdispersion", _NOT_NEGATIVE, 0.0)
        return CountScale(name, 0, None, 0, table.unit, exposure, more)
    decimals = table.decimals if "decimals" in table.model_fields_set else kind.decimals
    if name == "ratio":
        return Scale(name, 0, None, decimals, table.unit)
    if decimals < 2:
        raise StudyError(
            f"a proportion with {decimals} decimals is hardly ever more than 0 or 1",
            where=f"{where}.decimals",
            mend="record 2 or more",
        )
    precision = _amount(table.precision, factors, f"{where}.precision", _POSITIVE, None)
    return ProportionScale(name, 0, 1, decimals, table.unit, precision)


def _check_bounds(s: ScaleTable, where: str) -> None:
    if s.min is not None and s.max is not None and s.min >= s.max:
        raise StudyError(
            f"min {s.min:g} is not below max {s.max:g}",
            where=where,
            mend="give a min below the max",
        )
    if s.kind == "integer" and any(b is not None and b != int(b) for b in (s.min, s.max)):
        raise StudyError(
            "an integer scale needs whole bounds", where=where, mend='round them, or kind = "real"'
        )
    for bound in (s.min, s.max):
        if s.kind == "real" and bound is not None and round(bound, s.decimals) != bound:
            raise StudyError(
                f"the bound {bound:g} has more decimals than the {s.decimals} recorded",
                where=where,
                mend="round it, or set more decimals",
            )


def _binomial(table: ScaleTable, factors: Factors, where: str) -> BinomialScale:
    trials = _amount(table.trials, factors, f"{where}.trials", _TRIALS, None)
    rho = _amount(table.overdispersion, factors, f"{where}.overdispersion", _CORRELATION, 0.0)
    most = max(trials.values)
    if max(rho.values) > 0 and most == 1:
        raise StudyError(
            "single trials cannot be overdispersed",
            where=f"{where}.overdispersion",
            mend="leave it out, or declare more trials",
        )
    if max(rho.values) > 0 and most > MOST_TRIALS:
        raise StudyError(
            f"overdispersion goes with at most {MOST_TRIALS} trials, not {most:g}",
            where=f"{where}.trials",
            mend="leave overdispersion out and give the spread of a row, or count fewer trials",
        )
    return BinomialScale(table.kind, 0, most, 0, table.unit, trials, rho)


def _amount(
    raw: Raw | None, factors: Factors, where: str, rule: Rule, default: float | None
) -> Amount:
    """Read a number, or one per level: ``{ by = "phase", before = 30, after = 60 }``."""
    words = rule[0]
    name = where.rpartition(".")[2]
    if raw is None and default is None:
        raise StudyError(f"{name} is missing", where=where, mend=f"set it to {words}")
    raw = default if raw is None else raw
    if not isinstance(raw, Mapping):
        return Amount(_checked(raw, "", where, rule))
    levels = dict(raw)
    by = levels.pop("by", None)
    if not isinstance(by, str):
        raise StudyError(
            f"the factor whose levels have {name} of their own is missing",
            where=where,
            mend='write { by = "phase", before = ..., after = ... }',
        )
    known(by, factors, "factor of this design", f"{where}.by")
    for level in levels:
        known(level, factors[by], f"level of {by}", where)
    for level in factors[by]:
        if level not in levels:
            raise StudyError(
                f"by = {by!r} needs a number for level {level!r}",
                where=where,
                mend=f"set {level} = to {words}",
            )
    return Amount(0.0, by, tuple((v, _checked(levels[v], v, where, rule)) for v in factors[by]))


def _checked(value: object, level: str, where: str, rule: Rule) -> float:
    words, holds = rule
    if not isinstance(value, int | float) or not holds(value):
        of = f" at {level}" if level else ""
        raise StudyError(f"{value!r}{of} is not {words}", where=where, mend=f"give {words}")
    return float(value)


def check_cells(outcome: Outcome, design: Design, where: str) -> None:
    """Raise StudyError for the first cell of an outcome with a link that has no such mean.

    Parameters
    ----------
    outcome : Outcome
        Whole, with effects and spread.
    design : Design
    where : str
        Key path of the outcome, for messages.
    """
    if is_linear(outcome.scale):
        return
    from ketastats.study.means import declared_means, total_sd
    from ketastats.study.truth import cells_of

    kind = KINDS[outcome.scale.kind]
    grid, columns = cells_of(outcome, design)
    n = len(grid.codes)
    mean = declared_means(outcome, design, columns, n)
    bad = np.flatnonzero(~((mean > kind.low) & (mean < kind.high)))
    if len(bad):
        used = {f for e in outcome.effects for f, _ in e.when}
        names = [f"{c} = {columns[c].levels[columns[c].codes[bad[0]]]}" for c in grid.names
                 if c in used]  # fmt: skip
        at = f" at {', '.join(names)}" if names else ""
        raise StudyError(
            f"the mean{at} is {mean[bad[0]]:.6g}, not {kind.mean}",
            where=f"{where}.{'effects' if names else 'baseline'}",
            mend="make baseline and effects add up to one in every cell"
            + (" (0.74, not 74)" if kind.link == "logit" else ""),
        )
    sd = total_sd(outcome, design, columns, n).max()
    if sd > LARGEST_SD:
        raise StudyError(
            f"the SDs amount to {sd:.3g} on the {kind.link} scale",
            where=f"{where}.spread",
            mend=f"give SDs on the {kind.link} scale, such as 0.8, not in outcome units; "
            f"together at most {LARGEST_SD:g}",
        )
