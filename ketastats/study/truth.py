"""The true value of every estimand, exactly, from the declared truth.

Natural values are contrasts of means of the outcome as recorded: rounded to whole points, clipped
at the bounds; of proportions for a binomial outcome, per unit of exposure for a count. Latent
values are contrasts before rounding and clipping or, for outcomes with a link, on the link scale
for a typical subject. Carry-over and dropout do not change a true value; what an additive
carry-over does to the usual within-subject estimate is given as a bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ketastats.study.contrasts import Grid, cell_weights, full_grid
from ketastats.study.means import Columns, declared_means, latent_means, natural_means
from ketastats.study.model import CarryOver, Design, Estimand, Occasions, Outcome, Study
from ketastats.study.plan import Column, Plan, expand

if TYPE_CHECKING:
    import pandas as pd


def decay_weights(design: Design, occasions: tuple[Occasions, ...], carry: CarryOver) -> np.ndarray:
    r"""Return what share of the amount left by period k acts in period p at occasion m.

    :math:`2^{-(p-k) w / h - d_m / h}` with washout w, half-life h and days d after dosing; without
    a half-life 1 for the preceding period and 0 for earlier ones.

    Returns
    -------
    numpy.ndarray, shape (periods, periods, occasions per period)
    """
    shape = tuple(len(o.levels) for o in occasions)
    days = np.zeros(shape)
    for axis, o in enumerate(occasions):
        expanded = [1] * len(shape)
        expanded[axis] = len(o.levels)
        days = days + np.asarray(o.days).reshape(expanded)
    flat, periods = days.ravel(), design.n_periods
    out = np.zeros((periods, periods, flat.size))
    for p in range(periods):
        for k in range(p):
            if carry.half_life_days is None:
                out[p, k] = 1.0 if k == p - 1 else 0.0
            else:
                elapsed = (p - k) * float(design.washout_days or 0.0) + flat
                out[p, k] = 0.5 ** (elapsed / carry.half_life_days)
    return out


def add_carry_over(
    direct: np.ndarray,
    treatment: np.ndarray,
    design: Design,
    occasions: tuple[Occasions, ...],
    carry: CarryOver,
) -> np.ndarray:
    """Return the carry-over in every row.

    Parameters
    ----------
    direct : numpy.ndarray, shape (..., subjects, periods, occasions per period)
        Direct latent values without residual, from which a previous response is read.
    treatment : numpy.ndarray of int, shape (subjects, periods)
    design, occasions, carry
        As declared.

    Returns
    -------
    numpy.ndarray, the shape of ``direct``
    """
    weights = decay_weights(design, occasions, carry)
    if carry.of == "treatment":
        amounts = dict(carry.amounts)
        per_level = np.array([amounts.get(t, 0.0) for t in design.treatments])
        source = np.broadcast_to(per_level[treatment], direct.shape[:-1])
    else:
        start, end = _response_occasions(occasions, carry)
        source = direct[..., end].mean(axis=-1) - direct[..., start].mean(axis=-1)
    return np.einsum("pkm,...k->...pm", weights, source)


def _response_occasions(
    occasions: tuple[Occasions, ...], carry: CarryOver
) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat occasion indices at which a response starts and ends."""
    ends = carry.response or ("", "")  # the schema fills it for a previous response
    axis = next(i for i, o in enumerate(occasions) if all(level in o.levels for level in ends))
    shape = tuple(len(o.levels) for o in occasions)
    codes = np.indices(shape).reshape(len(shape), -1)[axis]
    levels = occasions[axis].levels
    start, end = (np.flatnonzero(codes == levels.index(level)) for level in ends)
    return start, end


def factual_plan(design: Design, occasions: tuple[Occasions, ...]) -> Plan:
    """Return a plan with one subject per arm and combination of strata."""
    from dataclasses import replace

    cells = int(np.prod([len(s.levels) for s in design.strata], dtype=int))
    even = tuple(
        replace(s, shares=tuple(1.0 / len(s.levels) for _ in s.levels)) for s in design.strata
    )
    small = replace(
        design,
        strata=even,
        subjects_per_sequence=tuple(cells for _ in design.subjects_per_sequence),
        groups=tuple(replace(g, n=cells) for g in design.groups),
        clusters=(),
    )
    return expand(small, occasions)


def counterfactual_cells(design: Design, outcome: Outcome) -> tuple[Grid, Columns]:
    """Every treatment in every period: the grid for treatment contrasts in a crossover."""
    factors = [("treatment", design.treatments)]
    if _uses(outcome, "sequence"):
        factors.append(("sequence", tuple(label for label, _ in design.sequences)))
    factors.append(("period", tuple(str(p + 1) for p in range(design.n_periods))))
    factors += [(o.name, o.levels) for o in outcome.occasions]
    grid = full_grid(factors + [(s.name, s.levels) for s in design.strata])
    codes = np.array(grid.codes)
    columns = {
        name: Column(name, levels, codes[:, i]) for i, (name, levels) in enumerate(grid.factors)
    }
    return grid, columns


def _uses(outcome: Outcome, factor: str) -> bool:
    """Whether the truth of an outcome depends on a factor."""
    whens = [e.when for e in outcome.effects] + [c.when for c in outcome.spread]
    return any(factor == f for when in whens for f, _ in when) or any(
        c.by == factor for c in outcome.spread
    )


def factual_cells(plan: Plan) -> tuple[Grid, Columns]:
    """Only what happens: arms of a parallel design, or sequences over periods."""
    names = [n for n in plan.names if n not in ("subject", "treatment")]
    codes = np.stack([plan[n].codes for n in names], axis=1)
    cells = tuple(tuple(int(x) for x in row) for row in codes)
    grid = Grid(tuple((n, plan[n].levels) for n in names), cells)
    return grid, {c.name: c for c in plan.columns}


def cells_of(outcome: Outcome, design: Design) -> tuple[Grid, Columns]:
    """Return every cell that has a mean: the arms, or every treatment in every period."""
    if design.kind == "parallel":
        return factual_cells(factual_plan(design, outcome.occasions))
    return counterfactual_cells(design, outcome)


def estimand_truth(study: Study, estimand: Estimand) -> tuple[float, float]:
    """Return the latent and the natural true value of one estimand.

    Examples
    --------
    >>> import ketastats as ks
    >>> study = ks.load_study("jelen2025")
    >>> latent, natural = estimand_truth(study, study.estimand("attenuation"))
    >>> round(latent, 2)
    4.2
    """
    outcome, design = study.outcome(estimand.outcome), study.design
    named = {name for name, _ in estimand.contrast} | {name for name, _ in estimand.within}
    factual = design.kind == "parallel" or "sequence" in named or estimand.target == "carry_over"
    plan = factual_plan(design, outcome.occasions)
    grid, columns = factual_cells(plan) if factual else counterfactual_cells(design, outcome)
    weights = cell_weights(estimand, grid)
    n = len(grid.codes)
    natural = natural_means(outcome, design, columns, n)
    if estimand.target == "carry_over":
        latent = expected_carry_over(outcome, design, plan)
        natural = natural_means(outcome, design, columns, n, shift=latent) - natural
    else:
        latent = latent_means(outcome, design, columns, n)
    return float(weights @ latent), float(weights @ natural)


def expected_carry_over(outcome: Outcome, design: Design, plan: Plan) -> np.ndarray:
    """Return the mean carry-over in every row of a plan, shape (rows,)."""
    if outcome.carry_over is None or design.kind != "crossover":
        return np.zeros(plan.n)
    shape = (-1, design.n_periods, plan.rows_per_subject // design.n_periods)
    columns = {c.name: c for c in plan.columns}
    direct = declared_means(outcome, design, columns, plan.n).reshape(shape)
    treatment = plan["treatment"].codes.reshape(shape)[:, :, 0]
    carried = add_carry_over(direct, treatment, design, outcome.occasions, outcome.carry_over)
    return carried.ravel()


def carry_over_bias(study: Study, estimand: Estimand) -> float:
    """Return what the declared mean carry-over adds to the within-subject estimate.

    The expected carry-over of every planned row is fitted by least squares with a parameter per
    subject, per cell of treatment x occasion x strata, and per period x occasion; the estimand is
    read off the fit. NaN where that model cannot answer the estimand.
    """
    outcome, design = study.outcome(estimand.outcome), study.design
    if design.kind != "crossover" or outcome.carry_over is None:
        return 0.0
    named = {name for name, _ in estimand.contrast} | {name for name, _ in estimand.within}
    if "sequence" in named or estimand.target == "carry_over":
        return float("nan")
    plan = expand(design, outcome.occasions)
    rows = {c.name: c for c in plan.columns}
    grid, cells = counterfactual_cells(design, outcome)
    occasion_names = [o.name for o in outcome.occasions]
    sets = [
        ["treatment", *occasion_names, *(s.name for s in design.strata)],
        ["period", *occasion_names],
    ]
    x = np.hstack([_one_hot(["subject"], rows), *(_one_hot(s, rows) for s in sets)])
    g = np.hstack(
        [np.zeros((len(grid.codes), design.n_subjects)), *(_one_hot(s, cells) for s in sets)]
    )
    row = cell_weights(estimand, grid) @ g
    pinv = np.linalg.pinv(x, rcond=1e-10)  # indicators: true zeros come out near 1e-16
    if not np.allclose(row @ pinv @ x, row, atol=1e-8):
        return float("nan")
    return float(row @ pinv @ expected_carry_over(outcome, design, plan))


def _one_hot(names: list[str], columns: Columns) -> np.ndarray:
    """Return indicators of every combination of the named factors, shape (rows, cells)."""
    shape = tuple(len(columns[n].levels) for n in names)
    flat = np.ravel_multi_index(tuple(columns[n].codes for n in names), shape)
    return np.eye(int(np.prod(shape)))[flat]


def true_values(study: Study) -> pd.DataFrame:
    """Return one row per estimand: latent and natural truth and the carry-over bias."""
    import pandas as pd

    rows = []
    for estimand in study.estimands:
        latent, natural = estimand_truth(study, estimand)
        rows.append(
            {
                "estimand": estimand.name,
                "outcome": estimand.outcome,
                "label": estimand.label,
                "latent": latent,
                "natural": natural,
                "carry_over_bias": carry_over_bias(study, estimand),
            }
        )
    columns = ["estimand", "outcome", "label", "latent", "natural", "carry_over_bias"]
    return pd.DataFrame(rows, columns=columns)
