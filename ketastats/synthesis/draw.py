"""Synthetic outcomes as a B x N array.

Every draw has an address ``(seed, purpose, outcome, draw)``; every subject consumes the same count
of numbers, subject by subject in plan order, so that a larger trial contains the smaller one and a
draw is the same alone or in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

from ketastats.core.errors import StudyError
from ketastats.core.random import Purpose, generator
from ketastats.study.model import CarryOver, Design, Dropout, Entry, Outcome, Scale, Spread, Study
from ketastats.study.plan import Plan, expand
from ketastats.study.truth import add_carry_over, component_sd, latent_means, matches


def draw_outcomes(
    study: Study, outcome: str, seed: int, draws: Sequence[int], *, missing: bool = True
) -> np.ndarray:
    """Draw an outcome many times.

    Parameters
    ----------
    study : Study
    outcome : str
    seed : int
        Non-negative.
    draws : sequence of int
        Which draws; row b of the result is draw ``draws[b]`` whatever the others are.
    missing : bool
        Whether declared missing data and dropout apply.

    Returns
    -------
    numpy.ndarray, shape (len(draws), rows)
        In plan order, NaN where missing.

    Examples
    --------
    >>> import ketastats as ks
    >>> study = ks.load_study("jelen2025")
    >>> draw_outcomes(study, "madrs", 1, range(3)).shape
    (3, 104)
    """
    if seed < 0:
        raise StudyError(f"the seed {seed} is negative", mend="use 0 or a positive integer")
    o, design = study.outcome(outcome), study.design
    plan = expand(design, o.occasions)
    columns = {c.name: c for c in plan.columns}
    mean = latent_means(o, design, columns, plan.n)
    parts = [_Component(s, plan) for s in o.spread]
    counts = [p.per_subject for p in parts]
    rows, n = plan.rows_per_subject, plan.n // plan.rows_per_subject
    own = np.stack(
        [_normals(seed, Purpose.OUTCOME, o.name, d, n, sum(counts)) for d in draws]
    )  # (B, subjects, numbers per subject)
    direct = np.broadcast_to(mean, (len(draws), plan.n)).copy()
    for part in parts:
        if part.cluster:
            shared = np.stack([_cluster_normals(seed, o, part, d) for d in draws])
            direct += part.sd * shared[:, part.index]
    if o.entry is not None:
        own = _enrol(own, parts, direct.reshape(len(draws), n, rows)[:, :, 0], o.entry, o.scale)
    residual = np.zeros_like(direct)
    for part, numbers in zip(parts, np.split(own, np.cumsum(counts)[:-1], axis=2), strict=True):
        if part.is_residual:
            residual += part.over_rows(numbers)
        elif not part.cluster:
            direct += part.over_rows(numbers)
    latent = direct + residual
    if o.carry_over is not None:
        latent = latent + _carried(direct, o, o.carry_over, design, plan)
    values = record(latent, o.scale)
    return _lose(values, o, plan, study, seed, draws) if missing else values


def record(latent: np.ndarray, scale: Scale) -> np.ndarray:
    """Round and clip latent values to what the instrument records."""
    values = np.round(latent, scale.decimals)
    values = np.clip(values, scale.min, scale.max) if _bounded(scale) else values
    return values + 0.0  # no negative zeros


def _bounded(scale: Scale) -> bool:
    return scale.min is not None or scale.max is not None


def _normals(seed: int, purpose: Purpose, name: str, draw: int, n: int, per: int) -> np.ndarray:
    return generator(seed, purpose, name, draw).standard_normal((n, per))


class _Component:
    """One variance component laid out over a plan's rows."""

    def __init__(self, spread: Spread, plan: Plan) -> None:
        columns = {c.name: c for c in plan.columns}
        rows = plan.rows_per_subject
        n = plan.n // rows
        self.is_residual = not spread.factors
        factors = spread.factors or plan.names
        varying = [f for f in factors if f != "subject"]
        # a factor that no subject owns (cage, batch, drug) is shared between subjects
        self.cluster = "" if ("subject" in factors or self.is_residual) else ":".join(factors)
        self.sd = component_sd(spread, columns, plan.n) * matches(spread.when, columns, plan.n)
        if self.is_residual:
            self.per_subject, self.index = rows, np.tile(np.arange(rows), n)
            return
        shape = tuple(len(columns[f].levels) for f in varying)
        codes = [columns[f].codes for f in varying]
        absent = np.any([c < 0 for c in codes], axis=0) if codes else np.zeros(plan.n, bool)
        self.sd = np.where(absent, 0.0, self.sd)
        flat = (
            np.ravel_multi_index([np.maximum(c, 0) for c in codes], shape)
            if codes
            else np.zeros(plan.n, dtype=int)
        )
        if self.cluster:
            self.per_subject, self.index, self.n_clusters = 0, flat, int(np.prod(shape))
            return
        within = [f for f in varying if _varies_within(columns[f].codes, rows)]
        shape = tuple(len(columns[f].levels) for f in within)
        codes = [columns[f].codes for f in within]
        self.index = np.ravel_multi_index(codes, shape) if codes else np.zeros(plan.n, dtype=int)
        self.per_subject = int(np.prod(shape, dtype=int))

    def over_rows(self, own: np.ndarray) -> np.ndarray:
        """Return the deviations of every row, shape (B, rows), from the subjects' own numbers."""
        b, n, _ = own.shape
        index = np.broadcast_to(self.index.reshape(1, n, -1), (b, n, self.index.size // n))
        return self.sd * np.take_along_axis(own, index, axis=2).reshape(b, -1)


def _varies_within(codes: np.ndarray, rows: int) -> bool:
    return bool(np.any(codes.reshape(-1, rows) != codes.reshape(-1, rows)[:, :1]))


def _cluster_normals(seed: int, o: Outcome, part: _Component, draw: int) -> np.ndarray:
    rng = generator(seed, Purpose.CLUSTER, f"{o.name}/{part.cluster}", draw)
    return rng.standard_normal(part.n_clusters)


def _enrol(
    own: np.ndarray, parts: Sequence[_Component], offset: np.ndarray, entry: Entry, scale: Scale
) -> np.ndarray:
    r"""Condition on the first measurement of every subject meeting the entry threshold.

    The first measurement is offset + s with :math:`s = \sum_j a_j u_j` over the subject's own
    standard normals. s is mapped to the truncated normal by its quantile and every number moves by
    :math:`a_j (s^* - s) / \sum a^2`, which is the exact conditional distribution, without
    rejection, and with the same count of random numbers for everybody.

    Parameters
    ----------
    own : numpy.ndarray, shape (B, subjects, numbers per subject)
    parts : sequence of _Component
    offset : numpy.ndarray, shape (B, subjects)
        Mean and shared deviations of the first row of every subject.
    entry, scale
        As declared.
    """
    n = own.shape[1]
    own = own.copy()
    subjects, start = np.arange(n), 0
    places, loads = [], []
    for part in parts:
        if part.per_subject:
            places.append(start + part.index.reshape(n, -1)[:, 0])
            loads.append(part.sd.reshape(n, -1)[:, 0])
            start += part.per_subject
    a = np.stack(loads)  # (components, subjects)
    variance = (a**2).sum(axis=0)
    sd = np.sqrt(variance)
    s = sum(load * own[:, subjects, place] for load, place in zip(a, places, strict=True))
    low, high = entry.at_least, entry.at_most
    sign, limit = (1.0, low) if low is not None else (-1.0, high or 0.0)
    need = sign * (limit - sign * 0.5 * 10.0 ** (-scale.decimals) - offset) / sd
    below = ndtr(need)
    if below.max() > 1 - 1e-6:
        raise StudyError(
            "the entry threshold lets fewer than one in a million people in",
            where="entry",
            mend="lower the threshold or raise the baseline",
        )
    z = ndtri(below + (1 - below) * ndtr(sign * s / sd))
    shift = (sign * sd * z - s) / variance
    for load, place in zip(a, places, strict=True):
        own[:, subjects, place] += load * shift
    return own


def _carried(
    direct: np.ndarray, o: Outcome, carry: CarryOver, design: Design, plan: Plan
) -> np.ndarray:
    """Return the carry-over of every row, shape (B, rows)."""
    per_period = plan.rows_per_subject // design.n_periods
    treatment = plan["treatment"].codes.reshape(-1, design.n_periods, per_period)[:, :, 0]
    cube = direct.reshape(len(direct), -1, design.n_periods, per_period)
    out = add_carry_over(cube, treatment, design, o.occasions, carry)
    return out.reshape(direct.shape)


def _lose(
    values: np.ndarray, o: Outcome, plan: Plan, study: Study, seed: int, draws: Sequence[int]
) -> np.ndarray:
    """Return the values with declared missing rows and dropouts as NaN.

    A person who leaves is lost to every outcome, whichever outcome's dropout took them.
    """
    n, rows, design = plan.n // plan.rows_per_subject, plan.rows_per_subject, study.design
    gone = np.zeros((len(draws), n, design.n_periods), dtype=bool)
    for other in study.outcomes:
        if other.dropout is not None:
            full = (
                values
                if other.name == o.name
                else draw_outcomes(study, other.name, seed, draws, missing=False)
            )
            gone |= _dropped(full, other, other.dropout, n, design, seed, draws)
    if o.missing is not None and o.missing.at_random > 0:
        u = np.stack([generator(seed, Purpose.MISSING, o.name, d).random((n, rows)) for d in draws])
        values = np.where(u.reshape(values.shape) < o.missing.at_random, np.nan, values)
    per_period = rows // design.n_periods
    return np.where(np.repeat(gone, per_period, axis=2).reshape(values.shape), np.nan, values)


def _dropped(
    full: np.ndarray,
    o: Outcome,
    drop: Dropout,
    n: int,
    design: Design,
    seed: int,
    draws: Sequence[int],
) -> np.ndarray:
    """Return who is gone in which period, shape (B, subjects, periods)."""
    u = np.stack([generator(seed, Purpose.DROPOUT, o.name, d).random(n) for d in draws])
    cube = full.reshape(len(full), n, design.n_periods, -1)
    last = cube[:, :, drop.before_period - 2, -1]
    probability = expit(logit(drop.probability) + drop.log_odds_per_unit * (last - drop.centre))
    late = np.arange(design.n_periods) >= drop.before_period - 1
    return (u < probability)[:, :, None] & late
