"""What the data look like before any model: cell means and missing rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ketastats.analysis.responses import share_of_trials
from ketastats.study.model import BinomialScale, Design, Outcome, Study

if TYPE_CHECKING:
    import pandas as pd


def arm_columns(design: Design) -> list[str]:
    """Return the columns that name an arm: the sequence, or the factors between subjects."""
    return ["sequence"] if design.kind == "crossover" else [name for name, _ in design.factors]


def visit_columns(design: Design, outcome: Outcome) -> list[str]:
    """Return the column of the visit within which an outcome is measured.

    The period of a crossover; in a parallel design the outermost of several occasions.
    """
    if design.kind == "crossover":
        return ["period"]
    return [outcome.occasions[0].name] if len(outcome.occasions) > 1 else []


def in_percent(outcome: Outcome) -> bool:
    """Whether numbers out of different trials are shown as percentages of them."""
    return isinstance(outcome.scale, BinomialScale) and outcome.scale.trials.by is not None


def as_shown(outcome: Outcome, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table as figures and means show it; see :func:`in_percent`."""
    if not in_percent(outcome):
        return frame
    shares = share_of_trials(outcome, frame)[outcome.name]
    return frame.assign(**{outcome.name: 100.0 * shares})


def shown_label(outcome: Outcome) -> str:
    """Return the label of what :func:`as_shown` shows."""
    return f"{outcome.label} (% of the trials)" if in_percent(outcome) else outcome.label


def cell_means(study: Study, outcome: Outcome, frame: pd.DataFrame) -> pd.DataFrame:
    """Return n, mean and SD of every arm on every occasion.

    Returns
    -------
    pandas.DataFrame
        Arm and occasion columns (with the treatment in a crossover), n, mean, sd.
    """
    design = study.design
    by = [*arm_columns(design)]
    if design.kind == "crossover":
        by += ["period", "treatment"]
    by += [o.name for o in outcome.occasions]
    values = frame.assign(_value=frame[outcome.name].astype("float64"))
    out = values.groupby(by, observed=True, sort=True)["_value"].agg(["count", "mean", "std"])
    return out.reset_index().rename(columns={"count": "n", "std": "sd"})


def missing_rows(study: Study, outcome: Outcome, frame: pd.DataFrame) -> pd.DataFrame:
    """Count what was planned, observed and lost per arm and visit.

    A subject is lost at a visit when it has no observation then or later, but had one before.

    Returns
    -------
    pandas.DataFrame
        Arm and visit columns, subjects, rows_planned, rows_observed, rows_missing,
        subjects_lost.
    """
    import pandas as pd

    design = study.design
    plan = study.plan(outcome.name)
    arms, visits = arm_columns(design), visit_columns(design, outcome)
    keys = [*arms, *visits]
    observed = frame[frame[outcome.name].notna()]
    planned = plan.groupby(keys, observed=True).size()
    seen = observed.groupby(keys, observed=True).size()
    last = _last_visit(observed, visits)
    records = []
    for key, rows in planned.items():
        label = key if isinstance(key, tuple) else (key,)
        at = plan
        for name, level in zip(keys, label, strict=True):
            at = at[at[name] == level]
        subjects = [str(s) for s in pd.unique(at["subject"])]
        visit = 0 if not visits else list(plan[visits[0]].cat.categories).index(label[-1])
        lost = sum(0 <= last.get(s, -1) < visit for s in subjects)
        got = int(seen.get(key, 0))
        records.append(
            dict(zip(keys, (str(v) for v in label), strict=True))
            | {"subjects": len(subjects), "rows_planned": int(rows), "rows_observed": got,
               "rows_missing": int(rows) - got, "subjects_lost": lost}
        )  # fmt: skip
    return pd.DataFrame(records)


def _last_visit(observed: pd.DataFrame, visits: list[str]) -> dict[str, int]:
    """Return the code of the last visit with an observation, per subject."""
    codes = (
        observed[visits[0]].cat.codes.to_numpy() if visits else np.zeros(len(observed), dtype=int)
    )
    out: dict[str, int] = {}
    for subject, code in zip(observed["subject"].astype(str), codes, strict=True):
        out[subject] = max(out.get(subject, -1), int(code))
    return out


def sizes(study: Study) -> pd.DataFrame:
    """Return the planned number of subjects per arm and stratum.

    Returns
    -------
    pandas.DataFrame
        One row per sequence or arm: its columns, one column per combination of strata levels,
        ``all``.
    """
    plan = study.plan()
    design = study.design
    arms, strata = arm_columns(design), [s.name for s in design.strata]
    people = plan.drop_duplicates("subject")
    out = people.groupby(arms, observed=True, sort=True).size().rename("all").to_frame()
    if strata:
        counts = people.groupby([*arms, *strata], observed=True).size()
        wide = counts.unstack(strata, fill_value=0)
        wide.columns = [
            ", ".join(map(str, c)) if isinstance(c, tuple) else str(c) for c in wide.columns
        ]
        out = wide.join(out)
    return out.reset_index()
