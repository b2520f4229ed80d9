"""Who carries the conclusion: every subject left out in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ketastats.analysis.responses import response
from ketastats.analysis.run import Results
from ketastats.core.errors import DataError
from ketastats.core.threads import one_thread
from ketastats.frequentist.fit import estimate_rows, fit_problem
from ketastats.problem.build import build_problem
from ketastats.study.model import Analysis

if TYPE_CHECKING:
    import pandas as pd


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
    """
    import pandas as pd

    analysis = primary_of(results, estimand)
    asked = (results.study.estimand(estimand),)
    data = response_of(results, analysis)
    problem = build_problem(
        analysis.formula, data, outcome=analysis.outcome, residual=analysis.residual or None
    )
    subjects = data["subject"].astype(str).to_numpy()[problem.rows]
    records = []
    for subject in ["", *dict.fromkeys(subjects)]:
        y = np.where(subjects == subject, np.nan, problem.y)[None]
        kept = np.unique(problem.x[~np.isnan(y[0])], axis=0)
        if np.linalg.matrix_rank(kept) < problem.x.shape[1]:
            records.append({"subject": subject, "status": "not_estimable"})
            continue
        fit = fit_problem(problem, y)
        row = estimate_rows(problem, fit, asked, analysis.ddf, analysis.level)[0]
        names = ("estimate", "ci_low", "ci_high", "p", "status")
        records.append({"subject": subject} | {n: row.get(n, np.nan) for n in names})
    return pd.DataFrame(
        records, columns=["subject", "estimate", "ci_low", "ci_high", "p", "status"]
    )


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
