"""Tempting procedures that are no analysis of a Study, on arrays of many outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtr

from ketastats.core.errors import DataError
from ketastats.diagnosis.batch import share_of
from ketastats.frequentist.t_tests import two_sample_t
from ketastats.frequentist.two_stage import two_stage_tests
from ketastats.study.model import Estimand, Pitfall, Study

if TYPE_CHECKING:
    import pandas as pd

GATE = 0.10
"""Level at which the two-stage procedure tests carry-over (Grizzle 1965, Biometrics 21:467)."""


def own_control_p(study: Study, pitfall: Pitfall, plan: pd.DataFrame, y: np.ndarray) -> np.ndarray:
    """Return p of the dividing factor after re-expression on own controls, shape (B,).

    With c the mean of the controls of a part, :math:`y - c` is analysed over the other groups as
    if c were known. Every animal of a part gets the same error, which no residual shows.

    Parameters
    ----------
    study : Study
    pitfall : Pitfall
        Of the rule ``own control``.
    plan : pandas.DataFrame
        One row per subject.
    y : numpy.ndarray, shape (B, rows)
        NaN where missing, alike in every outcome.

    Raises
    ------
    DataError
        For an outcome with several rows a subject.
    """
    e = study.estimand(pitfall.estimand)
    if plan["subject"].duplicated().any():
        raise DataError(
            "own controls need one row per subject", where=e.outcome, mend="choose another rule"
        )
    seen = ~np.isnan(y).any(axis=0)
    others = [f for f, _ in study.design.factors if f != pitfall.by]
    cell = plan[others].astype(str).agg(" ".join, axis=1).to_numpy()
    control = np.ones(len(plan), dtype=bool)
    for factor, level in pitfall.control:
        control &= (plan[factor].astype(str) == level).to_numpy()
    part = plan[pitfall.by].astype(str).to_numpy()
    levels = dict(study.design.factors)[pitfall.by]
    if len(levels) != 2:
        raise DataError(
            f"{pitfall.by} has {len(levels)} levels and own controls need two", where=pitfall.name,
            mend="choose another rule",
        )  # fmt: skip
    difference, square, df, spread = np.zeros(len(y)), np.zeros(len(y)), 0, 0.0
    left = [c for c in dict.fromkeys(cell) if not control[cell == c].all()]
    for sign, level in zip((1.0, -1.0), levels, strict=True):
        centre = y[:, seen & control & (part == level)].mean(axis=1)
        for name in left:
            values = y[:, seen & (cell == name) & (part == level)] - centre[:, None]
            difference += sign * values.mean(axis=1) / len(left)
            square += values.var(axis=1) * values.shape[1]
            df += values.shape[1] - 1
            spread += 1 / values.shape[1] / len(left) ** 2
    t = difference / np.sqrt(square / df * spread)
    return np.asarray(2 * stdtr(df, -np.abs(t)))


def two_stage_p(study: Study, pitfall: Pitfall, plan: pd.DataFrame, y: np.ndarray) -> np.ndarray:
    """Return p of Grizzle's two-stage procedure, shape (B,); see :func:`.two_stage_tests`.

    A contrast over times becomes a score per period; other occasions are averaged.
    """
    scores = period_scores(study.estimand(pitfall.estimand), plan, y)
    first = plan.drop_duplicates("subject")["sequence"].cat.codes.to_numpy() == 0
    return two_stage_tests(scores, first, GATE).p


def responder_p(study: Study, pitfall: Pitfall, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return p of the comparison of responders with others, and of the spreads, shapes (B,).

    A subject's change is its rows weighed by the estimand's coefficients over occasions, less the
    mean of its arm. Split at the median of the treated, the halves differ by construction. The
    spread of the changes is compared with that of the untreated instead (Brown & Forsythe 1974, J
    Am Stat Assoc 69:364).

    Parameters
    ----------
    study : Study
    pitfall : Pitfall
        Of the rule ``responders``; its estimand contrasts two levels of one factor between
        subjects, the treated one with the positive coefficient.
    y : numpy.ndarray, shape (B, rows)
        Complete, in plan order.
    """
    e = study.estimand(pitfall.estimand)
    plan = study.plan(e.outcome)
    factor, coefficients = next(
        (f, c) for f, c in e.contrast if f in {name for name, _ in study.design.factors}
    )
    weight = weights_beside(e, factor, plan)
    subject = plan["subject"].cat.codes.to_numpy()
    into = np.zeros((len(plan), subject.max() + 1))
    into[np.arange(len(plan)), subject] = weight
    change = share_of(study, e.outcome, y) @ into
    people = plan.drop_duplicates("subject")
    arm = people[[f for f, _ in study.design.factors]].astype(str).agg(" ".join, axis=1)
    deviation = np.empty_like(change)
    distance = np.empty_like(change)
    for name in dict.fromkeys(arm):
        own = change[:, (arm == name).to_numpy()]
        deviation[:, (arm == name).to_numpy()] = own - own.mean(axis=1, keepdims=True)
        distance[:, (arm == name).to_numpy()] = np.abs(own - np.median(own, axis=1, keepdims=True))
    treated = next(level for level, c in coefficients if c > 0)
    given = (people[factor].astype(str) == treated).to_numpy()
    low = np.sort(deviation[:, given], axis=1)
    half = low.shape[1] // 2
    split = two_sample_t(low[:, -half:], low[:, :half], np.abs(low).max(axis=1))
    spread = two_sample_t(distance[:, given], distance[:, ~given], distance.max(axis=1))
    return split.p, spread.p


def period_scores(e: Estimand, plan: pd.DataFrame, y: np.ndarray) -> np.ndarray:
    """Return one score per person and period, shape (B, people, periods).

    Parameters
    ----------
    e : Estimand
        Its coefficients over occasions weigh the rows of a period.
    plan : pandas.DataFrame
    y : numpy.ndarray, shape (B, rows)
        Complete.
    """
    weight = weights_beside(e, "treatment", plan)
    if all(f == "treatment" for f, _ in e.contrast):  # several rows of a period: their mean
        weight /= plan.groupby(["subject", "period"], observed=True)["subject"].transform("size")
    subject = plan["subject"].cat.codes.to_numpy()
    period = plan["period"].cat.codes.to_numpy()
    people, periods = subject.max() + 1, period.max() + 1
    into = np.zeros((len(plan), people * periods))
    into[np.arange(len(plan)), subject * periods + period] = weight
    return (y @ into).reshape(len(y), people, periods)


def weights_beside(e: Estimand, factor: str, plan: pd.DataFrame) -> np.ndarray:
    """Return the product of an estimand's coefficients per row, one factor left out, (rows,)."""
    weight = np.ones(len(plan))
    for name, coefficients in e.contrast:
        if name != factor:
            by_level = dict(coefficients)
            weight *= [by_level.get(str(v), 0.0) for v in plan[name]]
    return weight
