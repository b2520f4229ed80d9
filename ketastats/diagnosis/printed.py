"""Where a printed F falls among draws of a Study, under several truths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import NotEstimable
from ketastats.core.threads import one_thread
from ketastats.diagnosis.batch import CHUNK, draw_complete, share_of
from ketastats.diagnosis.random_part import TRUTHS, scaled_effect
from ketastats.frequentist.fit import fit_problem
from ketastats.frequentist.small_sample import wald_f
from ketastats.problem.build import Problem, build_problem
from ketastats.problem.hypotheses import type3_rows
from ketastats.study.model import Printed, PublishedClaim, Study

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class PrintedPanel:
    """A printed F among draws.

    Attributes
    ----------
    claim : PublishedClaim
    printed : Printed
        The claim's statistic.
    num_df : int
        Of the hypothesis in the declared design.
    rows : int
        Rows that enter an analysis here.
    table : pandas.DataFrame
        truth, effect (of the estimand the claim is read against), share_above (of the draws, F as
        large as the printed one or larger), percentile, mc_se (of the share), median_f, draws,
        unconverged.
    """

    claim: PublishedClaim
    printed: Printed
    num_df: int
    rows: int
    table: pd.DataFrame


@one_thread()
def printed_panels(
    study: Study,
    *,
    draws: int,
    seed: int,
    progress: Callable[[str], None] | None = None,
) -> tuple[PrintedPanel, ...]:
    """Find the place of every printed F that a Study declares with its formula.

    The truth is never tuned to a printed F: one draw that passed a threshold tends to be too
    large.

    Parameters
    ----------
    study : Study
    draws : int
        Draws per truth (none, half, 0.67 and all of the declared effect).
    seed : int
    progress : callable, optional

    Returns
    -------
    tuple of PrintedPanel
    """
    out = []
    for claim in study.claims:
        if claim.statistic is not None:
            if progress is not None:
                progress(f"{study.id}: {draws} draws per truth for {claim.text}")
            out.append(_panel(study, claim, claim.statistic, draws, seed))
    return tuple(out)


def _panel(
    study: Study, claim: PublishedClaim, printed: Printed, draws: int, seed: int
) -> PrintedPanel:
    import pandas as pd

    e = study.estimand(claim.about)
    problem, kept = _laid_out(study, e.outcome, printed)
    hypothesis = _rows_of(problem, printed)
    records = []
    for truth, share in TRUTHS:
        changed = scaled_effect(study, e, share)
        effect = float(changed.true_values().set_index("estimand")["natural"][e.name])
        y = share_of(changed, e.outcome, draw_complete(changed, e.outcome, seed, draws))[:, kept]
        f, converged = _f_of(problem, hypothesis, y)
        above = float(np.mean(f[converged] >= printed.f))
        records.append(
            {
                "truth": truth,
                "effect": 0.0 if share == 0 else effect,
                "share_above": above,
                "percentile": 100 * (1 - above),
                "mc_se": float(np.sqrt(above * (1 - above) / converged.sum())),
                "median_f": float(np.median(f[converged])),
                "draws": draws,
                "unconverged": int((~converged).sum()),
            }
        )
    return PrintedPanel(claim, printed, len(hypothesis), int(kept.sum()), pd.DataFrame(records))


def _laid_out(study: Study, outcome: str, printed: Printed) -> tuple[Problem, np.ndarray]:
    """Return the published formula over its rows, and which rows of the plan these are."""
    plan = study.plan(outcome)
    kept = np.ones(len(plan), dtype=bool)
    for factor, levels in printed.where:
        kept &= plan[factor].astype(str).isin(levels).to_numpy()
    part = plan[kept].copy()
    for column in part.columns:
        part[column] = part[column].cat.remove_unused_categories()
    return build_problem(printed.formula, part), kept


def _rows_of(problem: Problem, printed: Printed) -> np.ndarray:
    """Return the type III hypothesis of the printed term, shape (num_df, q)."""
    wanted = frozenset(printed.term.split(":"))
    for name, rows in type3_rows(problem):
        if frozenset(name.split(":")) == wanted:
            return rows
    raise NotEstimable(f"{printed.formula!r} does not test {printed.term!r} in this design")


def _f_of(problem: Problem, hypothesis: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return F and whether the fit converged, shapes (B,).

    In balanced data with variances above zero this is the F of the analysis of variance.
    """
    parts = []
    for start in range(0, len(y), CHUNK):
        fit = fit_problem(problem, y[start : start + CHUNK])
        parts.append((wald_f(fit, hypothesis, np.inf).f, fit.converged))
    f, converged = (np.concatenate(p) for p in zip(*parts, strict=True))
    return f, converged & np.isfinite(f)
