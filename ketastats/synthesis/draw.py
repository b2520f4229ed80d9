"""Synthetic outcomes as a B x N array.

Every draw has an address ``(seed, purpose, outcome, draw)``; every subject consumes the same count
of numbers, subject by subject in plan order, so that a larger trial contains the smaller one and a
draw is the same alone or in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from ketastats.core.errors import StudyError
from ketastats.core.random import Purpose, generator
from ketastats.study.means import amount_rows, latent_means
from ketastats.study.model import (
    Amount,
    BinomialScale,
    CarryOver,
    CountScale,
    Design,
    Dropout,
    LinkedSpread,
    Outcome,
    ProportionScale,
    Scale,
    Spread,
    Study,
)
from ketastats.study.plan import Plan, expand
from ketastats.study.scales import is_linear, needs_residual
from ketastats.study.truth import add_carry_over
from ketastats.synthesis.components import Component, enrol
from ketastats.synthesis.quantiles import beta_quantile, binomial_quantile, count_quantile


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
    layout = _lay_out(o, design)
    direct = _shared(layout, seed, draws)
    own = _own_numbers(study, layout, direct, seed, draws)
    residual = np.zeros_like(direct)
    for part, numbers in zip(layout.parts, layout.split(own), strict=True):
        if part.is_residual:
            residual += part.over_rows(numbers)
        elif not part.cluster:
            direct += part.over_rows(numbers)
    if is_linear(o.scale):
        latent = direct + residual
        if o.carry_over is not None:
            latent = latent + _carried(direct, o, o.carry_over, design, layout.plan)
        values = record(latent, o.scale)
    else:
        values = observe(direct, residual, o.scale, layout.plan)
    return _lose(values, o, layout.plan, study, seed, draws) if missing else values


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """An outcome laid out over its plan: latent means, shape (rows,), and components."""

    outcome: Outcome
    plan: Plan
    mean: np.ndarray
    parts: tuple[Component, ...]

    @property
    def n_subjects(self) -> int:
        return self.plan.n // self.plan.rows_per_subject

    @property
    def per_subject(self) -> int:
        """Numbers that every subject consumes."""
        return sum(p.per_subject for p in self.parts)

    def split(self, own: np.ndarray) -> list[np.ndarray]:
        """Return views of the subjects' numbers, one per component, from (B, subjects, all)."""
        return np.split(own, np.cumsum([p.per_subject for p in self.parts])[:-1], axis=2)


def _lay_out(o: Outcome, design: Design) -> _Layout:
    plan = expand(design, o.occasions)
    mean = latent_means(o, design, {c.name: c for c in plan.columns}, plan.n)
    spread = o.spread
    if not needs_residual(o.scale):  # one number per row, whose quantile is drawn
        spread = (*spread, Spread("residual", (), 1.0, None, (), ()))
    return _Layout(o, plan, mean, tuple(Component(s, plan, o.occasions) for s in spread))


def _shared(layout: _Layout, seed: int, draws: Sequence[int]) -> np.ndarray:
    """Return means and deviations that subjects share, a new array of shape (B, rows)."""
    out = np.broadcast_to(layout.mean, (len(draws), layout.plan.n)).copy()
    for part in layout.parts:
        if part.cluster:
            name = f"{layout.outcome.name}/{part.cluster}"
            normals = np.stack(
                [_normals(seed, Purpose.CLUSTER, name, d, (part.n_clusters,)) for d in draws]
            )
            out += part.sd * normals[:, part.index]
    return out


def _own_numbers(
    study: Study, layout: _Layout, shared: np.ndarray, seed: int, draws: Sequence[int]
) -> np.ndarray:
    """Return the subjects' own standard normals, shape (B, subjects, numbers per subject).

    They come from the outcome's own address. A linked component mixes in those of the other
    outcome, drawn from that one's address; the threshold of entry moves what it selects on.
    """
    o, shape = layout.outcome, (layout.n_subjects, layout.per_subject)
    own = np.stack([_normals(seed, Purpose.OUTCOME, o.name, d, shape) for d in draws])
    others: dict[str, dict[str, np.ndarray]] = {}
    for part, numbers in zip(layout.parts, layout.split(own), strict=True):
        s = part.spread
        if isinstance(s, LinkedSpread):
            if s.linked_with not in others:
                others[s.linked_with] = _numbers_of(study, s.linked_with, seed, draws)
            r = s.correlation
            numbers[...] = r * others[s.linked_with][s.name] + np.sqrt(1 - r * r) * numbers
    if o.entry is not None:
        first = shared.reshape(len(draws), layout.n_subjects, -1)[:, :, 0]
        own = enrol(own, layout.parts, first, o.entry, o.scale)
    return own


def _numbers_of(
    study: Study, outcome: str, seed: int, draws: Sequence[int]
) -> dict[str, np.ndarray]:
    """Return another outcome's numbers by component."""
    layout = _lay_out(study.outcome(outcome), study.design)
    own = _own_numbers(study, layout, _shared(layout, seed, draws), seed, draws)
    names = [p.spread.name for p in layout.parts]
    return dict(zip(names, layout.split(own), strict=True))


def _normals(
    seed: int, purpose: Purpose, name: str, draw: int, shape: tuple[int, ...]
) -> np.ndarray:
    return generator(seed, purpose, name, draw).standard_normal(shape)


def record(latent: np.ndarray, scale: Scale) -> np.ndarray:
    """Round and clip latent values to what the instrument records."""
    values = np.round(latent, scale.decimals)
    bounded = scale.min is not None or scale.max is not None
    values = np.clip(values, scale.min, scale.max) if bounded else values
    return values + 0.0  # no negative zeros


def observe(eta: np.ndarray, z: np.ndarray, scale: Scale, plan: Plan) -> np.ndarray:
    """Return the outcomes of a scale with a link.

    Parameters
    ----------
    eta : numpy.ndarray, shape (B, rows)
        Linear predictor of every row with all deviations.
    z : numpy.ndarray, shape (B, rows)
        A number per row: standard normal, whose quantile is drawn, or the residual of a ratio.
    scale : Scale
    plan : Plan

    Returns
    -------
    numpy.ndarray, shape (B, rows)
    """
    columns = {c.name: c for c in plan.columns}

    def rows(amount: Amount) -> np.ndarray:
        return amount_rows(amount, columns, plan.n)

    if isinstance(scale, BinomialScale):
        return binomial_quantile(z, rows(scale.trials), expit(eta), rows(scale.overdispersion))
    if isinstance(scale, CountScale):
        mean = rows(scale.exposure) * np.exp(eta)
        return count_quantile(z, mean, rows(scale.overdispersion))
    if isinstance(scale, ProportionScale):
        share = beta_quantile(z, expit(eta), rows(scale.precision))
        return _inside(share, scale.decimals, 1.0)
    return _inside(np.exp(eta + z), scale.decimals, np.inf)


def _inside(values: np.ndarray, decimals: int, top: float) -> np.ndarray:
    """Round to decimals, keeping clear of 0 and the top, which the scale does not contain."""
    least = 10.0**-decimals
    return np.round(np.clip(values, least, top - least), decimals)


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
