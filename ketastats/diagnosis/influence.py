"""Who carries the conclusion: every subject left out in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ketastats.analysis.responses import response
from ketastats.analysis.run import Results
from ketastats.core.errors import DataError
from ketastats.core.threads import one_thread
from ketastats.diagnosis.separate import METHODS, answer_separated, separate
from ketastats.frequentist.fit import contrast_table, fit_problem, statuses
from ketastats.frequentist.reml import RemlFit
from ketastats.problem.build import Problem, build_problem
from ketastats.problem.questions import ask
from ketastats.study.model import Analysis, Estimand

if TYPE_CHECKING:
    import pandas as pd


Record = dict[str, object]
NUMBERS = ("estimate", "ci_low", "ci_high", "p")
LARGE = 5e9
"""Rows x columns squared x subjects above which the whole model is not refitted: 20 s or more."""


@one_thread()
def leave_one_out(results: Results, estimand: str) -> pd.DataFrame:
    """Refit the primary REML analysis without each subject in turn.

    Parameters
    ----------
    results : Results
    estimand : str

    Returns
    -------
    pandas.DataFrame
        subject, estimate, ci_low, ci_high, p, status. The first row, with an empty subject, leaves
        nobody out.

    Raises
    ------
    DataError
        When no primary REML analysis answers, or the model is too large to be fitted this often.
    """
    import pandas as pd

    analysis = primary_of(results, estimand)
    asked = (results.study.estimand(estimand),)
    data = response_of(results, analysis)
    problem = build_problem(
        analysis.formula, data, outcome=analysis.outcome, residual=analysis.residual or None
    )
    names = data["subject"].astype(str).to_numpy()[problem.rows]
    subjects = ["", *dict.fromkeys(names)]
    which = np.array([subjects.index(name) for name in names])
    rows, columns = problem.x.shape
    large = rows * columns**2 * len(subjects) > LARGE
    records = (_separately if large else _in_batches)(problem, which, asked, analysis)
    for subject, record in zip(subjects, records, strict=True):
        record["subject"] = subject
    return pd.DataFrame(records, columns=["subject", *NUMBERS, "status"])


def _in_batches(
    problem: Problem, which: np.ndarray, asked: tuple[Estimand, ...], analysis: Analysis
) -> list[Record]:
    """Refit without nobody (0) and every subject, those whose places are alike in one batch."""
    alike: dict[bytes, list[int]] = {b"": [0]}
    for k in range(1, int(which.max()) + 1):
        place = _place(problem, which == k)
        first = alike.get(place, [0])[0]
        if np.isin(_block(problem, which == k), _block(problem, which == first)).any():
            place += k.to_bytes(8)  # two who share a block cannot change places
        alike.setdefault(place, []).append(k)
    found: dict[int, Record] = {}
    for members in alike.values():
        found |= zip(members, _refits(problem, which, members, asked, analysis), strict=True)
    return [found[k] for k in sorted(found)]


def _separately(
    problem: Problem, which: np.ndarray, asked: tuple[Estimand, ...], analysis: Analysis
) -> list[Record]:
    """Refit subject means and deviations, which is all of a model that separates."""
    rows = ask(problem, asked).rows
    parts = separate(problem, which, rows) if analysis.ddf in METHODS else None
    if parts is None:
        n, columns = problem.x.shape
        raise DataError(
            f"{which.max()} more fits of {n} rows and {columns} columns would take minutes, and "
            "the model does not separate into subject means and deviations",
            mend="ask the same of an analysis of fewer cells",
        )
    records: list[Record] = []
    for k in range(int(which.max()) + 1):  # one by one: each needs milliseconds
        y = np.where(which == k, np.nan, problem.y)[None]
        table = answer_separated(parts, y, analysis.ddf, analysis.level)
        if table.usable[0]:
            status = "boundary" if table.boundary[0] else "ok"
            values = {n: float(getattr(table, n)[0, 0]) for n in NUMBERS}
            records.append({"status": status, **values})
        else:
            records += _refits(problem, which, [k], asked, analysis)
    return records


def _place(problem: Problem, own: np.ndarray) -> bytes:
    """Describe the independent block that a subject is in, and where the subject is in it.

    Subjects of one description may change places, with all others of their blocks, without any
    change to the model: to leave out one is to leave out the other from outcomes that have
    changed places.
    """
    rows = _block(problem, own)
    parts = [own[rows], problem.x[rows], problem.residual.level[rows]]
    for group in (problem.residual.group, *(r.group for r in problem.random)):
        here = group[rows]
        first = (here[:, None] == here[None, :]).argmax(axis=1)
        parts.append(np.where(here >= 0, first, -1))
    parts += [r.z[rows] for r in problem.random]
    return b"".join(np.asarray(part, dtype=float).tobytes() for part in parts)


def _block(problem: Problem, own: np.ndarray) -> np.ndarray:
    """Return the rows of the blocks that a subject is in."""
    return np.flatnonzero(np.isin(problem.block, problem.block[own]))


def _refits(
    problem: Problem,
    which: np.ndarray,
    members: list[int],
    asked: tuple[Estimand, ...],
    analysis: Analysis,
) -> list[Record]:
    """Leave out subjects of one description in turn: one batch that misses the same rows."""
    y = np.tile(problem.y, (len(members), 1))
    left = which == members[0]
    here = _block(problem, left)
    for b, k in enumerate(members[1:], start=1):
        there = _block(problem, which == k)
        y[b, here], y[b, there] = problem.y[there], problem.y[here]
    y[:, left] = np.nan
    kept = np.unique(problem.x[~left], axis=0)
    if np.linalg.matrix_rank(kept) < problem.x.shape[1]:
        return [{"status": "not_estimable"} for _ in members]
    fit = fit_problem(problem, y)
    return _answers(problem, fit, asked, analysis, ~np.isnan(y))


def _answers(
    problem: Problem,
    fit: RemlFit,
    asked: tuple[Estimand, ...],
    analysis: Analysis,
    present: np.ndarray,
) -> list[Record]:
    """Return the answer of every row of a batch to one estimand."""
    found = ask(problem, asked)
    if not found.estimable[0]:
        return [{"status": "not_estimable"} for _ in present]
    table = contrast_table(problem, fit, found.rows, analysis.ddf, analysis.level, present)
    records: list[Record] = []
    for b, status in enumerate(statuses(fit)):
        names = () if status == "unconverged" else NUMBERS
        records.append({"status": status} | {n: float(getattr(table, n)[b, 0]) for n in names})
    return records


def response_of(results: Results, analysis: Analysis) -> pd.DataFrame:
    """Return the table that an analysis was fitted to: shares, rates or logarithms."""
    outcome = results.study.outcome(analysis.outcome)
    return response(outcome, analysis, results.data[analysis.outcome]).data


def primary_of(results: Results, estimand: str) -> Analysis:
    """Return the primary REML analysis that answers an estimand.

    Raises
    ------
    DataError
        When none was run.
    """
    for answer in results.answers:
        a = answer.analysis
        wanted = a.engine == "reml" and a.role == "primary" and not a.completers
        known = answer.estimates[answer.estimates["status"] != "not_estimable"]
        if wanted and estimand in set(known["estimand"]):
            return a
    raise DataError(
        f"no primary REML analysis answers {estimand!r}", mend="declare one with role primary"
    )
