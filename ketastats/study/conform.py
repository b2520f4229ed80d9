"""A user's table against the Study that declares it, and against itself.

What is refused here would become a traceback further down or, worse, a number that answers for
another trial. Each refusal is one sentence that names the column and the mend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError
from ketastats.study.build import all_factors
from ketastats.study.formula import names_in, split_formula
from ketastats.study.lookup import suggestion
from ketastats.study.tables import (
    as_text,
    cell_text,
    codes_of,
    crossed,
    differing_rows,
    need_columns,
    need_filled,
    need_one_each,
    numbers,
)

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.study.model import Design, Outcome, Study

UNDECLARED = -2
"""Code of a level that is not declared; -1 is an empty cell."""


def check_table(study: Study, outcome: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Check a table against a Study and return the part of it that analyses use.

    Rows without the outcome are left out first; what they say of the design is not looked at. Rows
    may stand in any order and be fewer than planned, subjects may have names of their own, and
    columns that the Study does not declare are kept.

    Parameters
    ----------
    study : Study
    outcome : str
    frame : pandas.DataFrame
        One row per observation. Never changed.

    Returns
    -------
    pandas.DataFrame
        The rows with an outcome, factors as categories in the Study's order of levels.

    Raises
    ------
    DataError
        For a missing or empty column, an outcome that is not measured on the declared scale or
        does not vary, one subject only, levels that are not declared, and rows that contradict
        the Study or each other.

    Examples
    --------
    >>> import ketastats as ks
    >>> study = ks.load_study("jelen2025")
    >>> data = study.simulate(seed=1, outcome="madrs")
    >>> int(check_table(study, "madrs", data)["madrs"].isna().sum())
    0
    >>> check_table(study, "madrs", data.rename(columns={"sex": "sexe"}))
    Traceback (most recent call last):
        ...
    ketastats.core.errors.DataError: sex: there is no column 'sex' in the data; did you mean 'sexe'?
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            "the data are not a pandas DataFrame", where=outcome, mend="read them with pandas first"
        )
    declared, design = study.outcome(outcome), study.design
    needed, clusters = _needed(study, declared), [c.name for c in design.clusters]
    need_columns(frame, [outcome, *needed])
    y = numbers(frame[outcome], outcome)
    table, y = frame[~np.isnan(y)], y[~np.isnan(y)]
    _check_bounds(table, y, declared)
    _check_kind(table, y, declared)
    need_filled(table, [n for n in needed if n not in clusters])
    table = declared_levels(study, declared, table)
    table[outcome] = table[outcome].infer_objects()  # numbers that came as objects
    _check_variety(table, y, outcome)
    _check_between(table, design)
    crossover = design.kind == "crossover"
    if crossover:
        _check_sequences(table, design)
    else:
        _check_arms(table, design)
    within = ["period"] if crossover else []
    _check_cells(table, ["subject", *within, *(o.name for o in declared.occasions)], outcome)
    return table


def _needed(study: Study, outcome: Outcome) -> list[str]:
    """Return the columns of the design that must be there.

    A stratum or cluster may be left out when no estimand and no formula of the outcome names it.
    """
    used: set[str] = set()
    for e in study.estimands:
        if e.outcome == outcome.name:
            used |= {name for name, *_ in (*e.contrast, *e.within, *e.weights)}
    for a in study.analyses:
        if a.outcome == outcome.name:
            split = split_formula(a.formula)
            used |= {*names_in(split.fixed)}
            used |= {n for t in split.random for n in (*t.columns, *t.group)}
    design = study.design
    clusters = [c.name for c in design.clusters]
    optional = {*(s.name for s in design.strata), *clusters}
    names = ["subject", *all_factors(design, outcome), *clusters]
    return [n for n in names if n in used or n not in optional]


def declared_levels(study: Study, outcome: Outcome, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the data with factors as categories in the Study's order of levels.

    Raises
    ------
    DataError
        For a level that the Study does not declare.
    """
    import pandas as pd

    frame = frame.copy()
    for name, levels in all_factors(study.design, outcome).items():
        if name not in frame.columns:
            continue
        need_columns(frame, [name])
        codes = _level_codes(frame[name], levels)
        if (codes == UNDECLARED).any():
            value = cell_text(frame, name, int(np.argmax(codes == UNDECLARED)))
            raise DataError(
                f"{value} is not a declared level of {name}",
                where=name,
                mend=suggestion(value[1:-1], levels),
            )
        frame[name] = pd.Categorical.from_codes(codes.tolist(), pd.Index(levels))
    return frame


def _level_codes(column: pd.Series, levels: Sequence[str]) -> np.ndarray:
    """Return the place of every value among levels, shape (rows,); -1 empty, -2 not among them.

    Whole floats count as integers: a column of 1 and 2 with a hole is read from a file as 1.0, 2.0.
    """
    codes, values = codes_of(column)
    places = []
    for value in values:
        text = str(value) if str(value) in levels else as_text(value)
        places.append(levels.index(text) if text in levels else UNDECLARED)
    return np.array([*places, -1])[codes]  # the code of an empty cell, -1, picks the last


def _check_bounds(table: pd.DataFrame, y: np.ndarray, outcome: Outcome) -> None:
    if not len(y):
        raise DataError(
            "every value is missing", where=outcome.name, mend="check the column, or choose another"
        )
    scale = outcome.scale
    for bound, word, beyond in (
        (scale.min, "below the declared minimum", lambda b: y < b),
        (scale.max, "above the declared maximum", lambda b: y > b),
    ):
        if bound is not None and (bad := beyond(bound)).any():
            i = int(np.argmax(bad))
            raise DataError(
                f"the value {y[i]:.10g} in row {table.index[i]} is {word} {bound:.10g}",
                where=outcome.name,
                mend="correct it or set it to missing; or declare other bounds in the Study",
            )


def _check_kind(table: pd.DataFrame, y: np.ndarray, outcome: Outcome) -> None:
    """Refuse values that the kind of scale cannot record: half a count, a ratio of 0."""
    kind = outcome.scale.kind
    rules = []
    if kind in ("binomial", "count"):  # a score of whole points may come as a mean of raters
        rules.append((y != np.round(y), f"is no whole number, and {kind}"))
    if kind == "ratio":
        rules.append((y <= 0, "is not above 0, and a ratio"))
    if kind == "proportion":
        rules.append(((y <= 0) | (y >= 1), "is not between 0 and 1, and a proportion"))
    for bad, what in rules:
        if bad.any():
            i = int(np.argmax(bad))
            raise DataError(
                f"the value {y[i]:.10g} in row {table.index[i]} {what} is declared",
                where=outcome.name,
                mend="correct it, or declare another scale in the Study",
            )


def _check_variety(table: pd.DataFrame, y: np.ndarray, outcome: str) -> None:
    if np.ptp(codes_of(table["subject"])[0]) == 0:
        raise DataError(
            f"all observed rows are of one subject, {cell_text(table, 'subject', 0)}",
            where="subject",
            mend="give the rows of every subject, each with a name of its own",
        )
    if np.ptp(y) == 0:
        raise DataError(
            f"the outcome is constant ({y[0]:.10g})", where=outcome, mend="check the column"
        )


def _check_between(table: pd.DataFrame, design: Design) -> None:
    """Refuse what differs within a subject, or within a cluster that never mixes it."""
    names = ["sequence"] if design.kind == "crossover" else [name for name, _ in design.factors]
    names += [s.name for s in design.strata] + [c.name for c in design.clusters]
    pairs = [(name, "subject") for name in names]
    pairs += [(name, c.name) for c in design.clusters for name in c.within]
    for name, unit in pairs:
        if name in table.columns and unit in table.columns:
            need_columns(table, [name, unit])
            need_one_each(table, name, unit=unit)


def _check_sequences(table: pd.DataFrame, design: Design) -> None:
    """Refuse treatments that never vary within a subject, or are not those of the sequence."""
    subject, _ = codes_of(table["subject"])
    sequence, period, given = (codes_of(table[n])[0] for n in ("sequence", "period", "treatment"))
    if not differing_rows(subject, given).size:
        raise DataError(
            f"no {design.subject} has more than one treatment in the observed rows, and the Study "
            "is a crossover",
            where="treatment",
            mend="check the column, or declare a parallel design",
        )
    declared = np.array([[design.treatments.index(t) for t in ts] for _, ts in design.sequences])
    rows = np.flatnonzero(given != declared[sequence, period])
    if rows.size:
        i = int(rows[0])
        right = design.treatments[declared[sequence[i], period[i]]]
        raise DataError(
            f"subject {cell_text(table, 'subject', i)} has {cell_text(table, 'treatment', i)} in "
            f"period {cell_text(table, 'period', i)} (row {table.index[i]}), where sequence "
            f"{cell_text(table, 'sequence', i)} of the Study gives {right!r}",
            where="treatment",
            mend="correct the treatment, the period or the sequence",
        )


def _check_arms(table: pd.DataFrame, design: Design) -> None:
    """Refuse combinations of factors that are no group of the design."""
    names = [name for name, _ in design.factors]
    codes = np.stack([codes_of(table[n])[0] for n in names], axis=1)
    levels = dict(design.factors)
    arms = {tuple(levels[f].index(level) for f, level in g.levels) for g in design.groups}
    for row in np.unique(codes, axis=0):
        if tuple(row.tolist()) in arms:
            continue
        i = int(np.argmax((codes == row).all(axis=1)))
        cells = " with ".join(f"{n} {cell_text(table, n, i)}" for n in names)
        raise DataError(
            f"subject {cell_text(table, 'subject', i)} has {cells}, which is no group of the Study",
            where=names[-1],
            mend=f"correct the {' or the '.join(names)}, or declare the group",
        )


def _check_cells(table: pd.DataFrame, keys: Sequence[str], outcome: str) -> None:
    """Refuse two rows for one subject on one occasion."""
    cell = crossed(*(codes_of(table[k])[0] for k in keys))
    order = np.argsort(cell, kind="stable")
    again = order[1:][cell[order[1:]] == cell[order[:-1]]]
    if again.size:
        i = int(again.min())
        first = int(np.argmax(cell == cell[i]))
        raise DataError(
            "more than one row for "
            + ", ".join(f"{k} {cell_text(table, k, i)}" for k in keys)
            + f": rows {table.index[first]} and {table.index[i]}",
            where=outcome,
            mend="keep one, average them, or declare in the Study what tells them apart",
        )
