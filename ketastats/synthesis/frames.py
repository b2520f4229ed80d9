"""Drawn outcomes as pandas DataFrames."""

from __future__ import annotations

from itertools import chain

import pandas as pd

from ketastats.study.model import Study
from ketastats.study.plan import expand, plan_frame
from ketastats.study.scales import is_whole
from ketastats.synthesis.draw import draw_outcomes


def outcome_frame(study: Study, outcome: str, seed: int, draw: int = 0) -> pd.DataFrame:
    """Return the plan of one outcome with one column of drawn values.

    Whole points come as nullable integers, so that a missing one stays visibly missing.
    """
    o = study.outcome(outcome)
    frame = plan_frame(expand(study.design, o.occasions))
    values = pd.Series(draw_outcomes(study, outcome, seed, [draw])[0])
    frame[outcome] = values.astype("Int64") if is_whole(o.scale) else values
    return frame


def simulate_frame(
    study: Study, seed: int, *, draw: int = 0, outcome: str | None = None
) -> pd.DataFrame:
    """Return synthetic data of one outcome, or of all; see :meth:`Study.simulate`."""
    if outcome is not None:
        return outcome_frame(study, study.outcome(outcome).name, seed, draw)
    groups: dict[tuple[object, ...], list[str]] = {}
    for o in study.outcomes:
        groups.setdefault(o.occasions, []).append(o.name)
    parts = []
    for names in groups.values():
        frame = outcome_frame(study, names[0], seed, draw)
        for name in names[1:]:
            frame[name] = outcome_frame(study, name, seed, draw)[name]
        parts.append(frame)
    if len(parts) == 1:
        return parts[0]
    return _stack(parts, [o.name for o in study.outcomes])


def _stack(parts: list[pd.DataFrame], outcomes: list[str]) -> pd.DataFrame:
    """Stack frames of different occasions; a column has the levels of all, outcomes come last."""
    columns = list(dict.fromkeys(c for p in parts for c in p.columns if c not in outcomes))
    whole = pd.concat(parts, ignore_index=True)
    for c in columns:
        levels = sorted((p[c].cat.categories for p in parts if c in p.columns), key=len)[::-1]
        whole[c] = pd.Categorical(whole[c], categories=list(dict.fromkeys(chain(*levels))))
    return whole[columns + outcomes]
