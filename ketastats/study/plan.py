"""A design expanded to its planned observations.

Subjects are numbered so that a larger trial contains the smaller one: the first subject of every
sequence (or arm), then the second of every sequence, and so on. Random numbers are consumed in
that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.study.model import Cluster, Design, Occasions, Stratum

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One factor of the plan: level codes per row, -1 where it does not apply."""

    name: str
    levels: tuple[str, ...]
    codes: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Planned observations.

    Attributes
    ----------
    columns : tuple of Column
        ``subject`` first. Codes have shape (rows,).
    rows_per_subject : int
        The same for every subject; rows of a subject are consecutive.
    """

    columns: tuple[Column, ...]
    rows_per_subject: int

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.columns[0].codes)

    def __getitem__(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)

    def __contains__(self, name: str) -> bool:
        return any(c.name == name for c in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names."""
        return tuple(c.name for c in self.columns)


def largest_remainder(shares: Sequence[float], n: int) -> list[int]:
    """Split ``n`` whole people by shares: floors first, then the largest remainders.

    Examples
    --------
    >>> largest_remainder([0.54, 0.46], 13)
    [7, 6]
    """
    exact = [s * n for s in shares]
    counts = [int(np.floor(x + 1e-9)) for x in exact]
    order = sorted(range(len(shares)), key=lambda i: (-(exact[i] - counts[i]), i))
    for i in order[: n - sum(counts)]:
        counts[i] += 1
    return counts


def spread_evenly(counts: Sequence[int]) -> list[int]:
    """Return level codes in an order in which every level comes up at a steady pace.

    Examples
    --------
    >>> spread_evenly([2, 1])
    [0, 1, 0]
    """
    n, given, out = sum(counts), [0] * len(counts), []
    for j in range(n):
        behind = [
            c * (j + 1) / n - g if g < c else -np.inf for c, g in zip(counts, given, strict=True)
        ]
        level = int(np.argmax(behind))
        given[level] += 1
        out.append(level)
    return out


def _strata_codes(strata: Sequence[Stratum], n: int) -> list[list[int]]:
    """Return one list of ``n`` codes per stratum, by largest remainder over their combinations."""
    if not strata:
        return []
    shapes = [len(s.levels) for s in strata]
    cells = list(np.ndindex(*shapes))
    shares = [
        float(np.prod([s.shares[c] for s, c in zip(strata, cell, strict=True)])) for cell in cells
    ]
    order = spread_evenly(largest_remainder(shares, n))
    return [[cells[i][k] for i in order] for k in range(len(strata))]


def _arms(design: Design) -> list[tuple[int, list[list[int]]]]:
    """Return, per arm, its size and its strata codes."""
    sizes = design.subjects_per_sequence or tuple(g.n for g in design.groups)
    return [(n, _strata_codes(design.strata, n)) for n in sizes]


def expand(design: Design, occasions: tuple[Occasions, ...] | None = None) -> Plan:
    """Expand a design over the given occasions.

    Parameters
    ----------
    design : Design
    occasions : tuple of Occasions, optional
        The design's own by default.

    Returns
    -------
    Plan
    """
    occasions = design.occasions if occasions is None else occasions
    arms = _arms(design)
    members = sorted((j, k) for k, (n, _) in enumerate(arms) for j in range(n))
    arm = np.array([k for _, k in members])
    ordinal = [j for j, _ in members]
    n, periods = len(members), design.n_periods
    shape = (n, periods, *(len(o.levels) for o in occasions))
    index = np.indices(shape).reshape(len(shape), -1)
    subject, period = index[0], index[1]
    width = len(str(n))
    ids = tuple(f"{design.subject[0].upper()}{i + 1:0{width}d}" for i in range(n))
    columns = [Column("subject", ids, subject)]
    if design.kind == "crossover":
        labels = tuple(label for label, _ in design.sequences)
        table = np.array([[design.treatments.index(t) for t in ts] for _, ts in design.sequences])
        columns += [
            Column("sequence", labels, arm[subject]),
            Column("period", tuple(str(p + 1) for p in range(periods)), period),
            Column("treatment", design.treatments, table[arm[subject], period]),
        ]
    else:
        for name, levels in design.factors:
            codes = np.array([levels.index(dict(g.levels)[name]) for g in design.groups])
            columns.append(Column(name, levels, codes[arm[subject]]))
    columns += [Column(o.name, o.levels, index[2 + i]) for i, o in enumerate(occasions)]
    for s, stratum in enumerate(design.strata):
        codes = np.array([arms[k][1][s][j] for j, k in zip(ordinal, arm, strict=True)])
        columns.append(Column(stratum.name, stratum.levels, codes[subject]))
    rows = int(np.prod(shape[1:]))
    for cluster in design.clusters:
        columns.append(_cluster_column(cluster, columns, n, rows))
    return Plan(tuple(columns), rows)


def _cluster_column(cluster: Cluster, columns: list[Column], n: int, rows: int) -> Column:
    """Fill clusters in subject order, never mixing the levels named in ``within``."""
    per_subject = {c.name: c.codes[::rows] for c in columns}
    levels = {c.name: c.levels for c in columns}
    eligible = np.ones(n, dtype=bool)
    for name, level in cluster.where:
        eligible &= per_subject[name] == levels[name].index(level)
    keys = [tuple(int(per_subject[w][i]) for w in cluster.within) for i in range(n)]
    members: dict[tuple[int, ...], list[int]] = {}
    for i in np.flatnonzero(eligible):
        members.setdefault(keys[i], []).append(int(i))
    codes, count = np.full(n, -1), 0
    for key in sorted(members):
        people = members[key]
        for start in range(0, len(people), cluster.size):
            codes[people[start : start + cluster.size]] = count
            count += 1
    width = len(str(max(count, 1)))
    ids = tuple(f"{cluster.name}{i + 1:0{width}d}" for i in range(count))
    return Column(cluster.name, ids, np.repeat(codes, rows))


def plan_frame(plan: Plan) -> pd.DataFrame:
    """Return the plan as a DataFrame of categorical columns."""
    import pandas as pd

    return pd.DataFrame(
        {
            c.name: pd.Categorical.from_codes(c.codes.astype(int), pd.Index(c.levels))
            for c in plan.columns
        }
    )
