"""The error-stratum check: the unit at which a contrast varies, and whether the model knows it.

Judged from the data, not from syntax. A factor that is constant within a unit (drug within cage,
treatment within session) is tested against the differences between such units; a factor that varies
within subjects but comes in several rows per subject and level (time in each of two periods) is
tested against the differences between subjects in that factor. A model without a random term, or a
residual structure, for the unit takes its rows for independent replicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.problem.build import Problem

UNIT_NAMES = (
    "subject", "person", "patient", "animal", "mouse", "rat", "session", "visit_id", "cage",
    "litter", "batch", "slice", "branch", "cell", "dendrite", "neuron", "site",
)  # fmt: skip
"""Columns that are units whatever the formula says of them."""

CROSSED = ("sequence", "period", "treatment", "time", "visit", "session")
"""Columns that are units only together with another: ``(1 | subject:period)``."""


@dataclass(frozen=True, slots=True)
class MissingUnit:
    """A unit at which a factor varies and which the model leaves out.

    Attributes
    ----------
    factor : str
        Factor of the contrast.
    unit : str
        Columns whose combination is the unit: ``subject:period``.
    units : int
        How many there are.
    rows : int
        How many rows they hold.
    """

    factor: str
    unit: str
    units: int
    rows: int

    def __str__(self) -> str:
        return (
            f"{self.factor} varies between the {self.units} units of {self.unit}, and the model "
            f"takes their {self.rows} rows for independent: add (1 | {self.unit})"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Partitions of the rows by the units in a table.

    Attributes
    ----------
    names : tuple of str
        Unit columns, coarsest first.
    codes : tuple of numpy.ndarray
        Code of every row, -1 where it belongs to none.
    factors : tuple of (str, numpy.ndarray)
        Codes of the factors of the fixed part and of other columns that may name a unit.
    known : tuple of bytes
        Partitions the model already has a term for.
    structured : bool
        Whether a residual structure other than compound symmetry takes care of the rows of the
        finest unit.
    """

    names: tuple[str, ...]
    codes: tuple[np.ndarray, ...]
    factors: tuple[tuple[str, np.ndarray], ...]
    known: tuple[bytes, ...]
    structured: bool


def find_units(problem: Problem, data: pd.DataFrame) -> Units:
    """Work out the units of a table.

    Parameters
    ----------
    problem : Problem
    data : pandas.DataFrame
        The table the problem was built from.
    """
    used = data.iloc[problem.rows]
    grouped = {name for r in problem.random for name in r.term.group if name not in CROSSED}
    grouped |= {problem.residual.spec.group} - {""}
    fixed = {name for name, _ in problem.fixed.factors}
    units = {}
    for column in used.columns:
        name = str(column)
        if (name in grouped or name.lower() in UNIT_NAMES) and name not in fixed:
            units[name] = _codes(used[column])
    order = sorted(units, key=lambda n: len(np.unique(units[n])))
    others = [c for c in ("period", "session", "visit") if c in used.columns and c not in fixed]
    known = [_key(r.group) for r in problem.random]
    if problem.residual.spec.group:
        known.append(_key(problem.residual.group))
    return Units(
        tuple(order),
        tuple(units[n] for n in order),
        tuple((n, _codes(used[n])) for n in [*sorted(fixed), *others]),
        tuple(known),
        problem.residual.spec.kind not in ("id", "by", "cs"),
    )


def missing_units(units: Units, factors: tuple[str, ...]) -> tuple[MissingUnit, ...]:
    """Return the units that contrasts of the given factors vary at and the model leaves out."""
    codes = dict(units.factors)
    out: dict[bytes, MissingUnit] = {}
    for factor in factors:
        if factor not in codes:
            continue
        for name, unit in _candidates(units, factor, codes[factor]):
            key = _key(unit)
            count = len(np.unique(unit[unit >= 0]))
            rows = int((unit >= 0).sum())
            covered = key in units.known or (units.structured and ":" in name)
            if count < rows and not covered and key not in out:
                out[key] = MissingUnit(factor, _prettiest(name, unit, units), count, rows)
    return tuple(out.values())


def _candidates(units: Units, factor: str, codes: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Return every unit a factor is constant in, else its cross with the finest unit."""
    constant = []
    for name, unit in zip(units.names, units.codes, strict=True):
        inside = unit >= 0
        pairs = np.unique(np.stack([unit[inside], codes[inside]]), axis=1).shape[1]
        if pairs == len(np.unique(unit[inside])):
            constant.append((name, unit))
    if constant or not units.names:
        return constant
    finest = units.codes[-1]
    crossed = np.where(finest >= 0, finest * (codes.max() + 1) + codes, -1)
    return [(f"{units.names[-1]}:{factor}", crossed)]


def _prettiest(name: str, unit: np.ndarray, units: Units) -> str:
    """Prefer ``subject:period`` to ``subject:treatment`` where both are the same partition."""
    if ":" not in name:
        return name
    first = name.split(":")[0]
    base = units.codes[units.names.index(first)]
    for other, codes in units.factors:
        if other in ("period", "session", "visit", "test"):
            crossed = np.where(base >= 0, base * (codes.max() + 1) + codes, -1)
            if _key(crossed) == _key(unit):
                return f"{first}:{other}"
    return name


def _codes(column: pd.Series) -> np.ndarray:
    import pandas as pd

    return np.asarray(pd.factorize(column)[0], dtype=np.int64)


def _key(group: np.ndarray) -> bytes:
    """Return a partition of the rows whatever its groups are called."""
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    return np.where(group >= 0, first[inverse], -1).tobytes()
