"""Tempting analyses beside the right ones: what each says, and how often it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import StudyError
from ketastats.core.threads import one_thread
from ketastats.diagnosis.batch import answers, draw_complete, problem_of
from ketastats.diagnosis.pitfall_rules import GATE, own_control_p, responder_p, two_stage_p
from ketastats.frequentist.two_stage import two_stage
from ketastats.study.checks import all_factors
from ketastats.study.model import Effect, Pitfall, Study
from ketastats.study.scales import is_linear

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.analysis.run import Results

LOOPED = 400
"""Draws where an analysis is fitted one draw at a time (GEE): a 5 % rate is known to 1.1 points."""

COSTLY = 2e9
"""Rows x columns squared x draws of a mixed model above which draws are left out, down to
:data:`LOOPED`: about 15 seconds a truth."""


@dataclass(frozen=True, slots=True, eq=False)
class PitfallPanel:
    """A pitfall over many draws.

    Attributes
    ----------
    pitfall : Pitfall
    table : pandas.DataFrame
        truth (``none`` or ``declared``), effect, side (``tempting`` or ``right``), label,
        rejection_rate, mc_se, draws, unconverged.
    """

    pitfall: Pitfall
    table: pd.DataFrame


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """What one side of a pitfall claims; arrays of shape (B,).

    Attributes
    ----------
    claimed : numpy.ndarray of bool
        Whether an effect is claimed; an outcome without a usable fit claims none.
    unconverged : numpy.ndarray of bool
    """

    claimed: np.ndarray
    unconverged: np.ndarray


def null_of(study: Study, pitfall: Pitfall) -> Study:
    """Return the Study in which the answer to the pitfall's question is zero.

    Raises
    ------
    StudyError
        When the question still has another answer: the null has to be declared otherwise.

    Examples
    --------
    >>> import ketastats as ks
    >>> study = ks.load_study("jelen2025")
    >>> none = null_of(study, study.pitfalls[0])
    >>> none.hash != study.hash
    True
    """
    if pitfall.rule == "responders":
        return _with_sd(study, pitfall, {pitfall.component: 0.0})
    e = study.estimand(pitfall.estimand)
    factor = pitfall.without or e.contrast[0][0]
    outcomes = []
    for o in study.outcomes:
        if o.name == e.outcome:
            levels = all_factors(study.design, o)
            effects = o.effects
            if pitfall.alike:
                for name, level, like in pitfall.alike:
                    effects = tuple(
                        changed
                        for effect in effects
                        if (changed := _alike(effect, name, level, like, levels[name])) is not None
                    )
            else:
                effects = tuple(f for f in effects if all(n != factor for n, _ in f.when))
            o = replace(o, effects=effects)
        outcomes.append(o)
    null = replace(study, outcomes=tuple(outcomes))
    left = effect_of(null, e.name)
    if left:
        raise StudyError(
            f"{e.name} is still {left:g} when its null is made",
            where=f"pitfalls.{pitfall.name}",
            mend='name the factor to take away, without = "...", or levels that are alike',
        )
    return null


def effect_of(study: Study, estimand: str) -> float:
    """Return a true value, zero where only rounding is left.

    Latent where the scale is linear: there the bounds of the record can leave a difference between
    arms of different spread.
    """
    outcome = study.outcome(study.estimand(estimand).outcome)
    column = "latent" if is_linear(outcome.scale) else "natural"
    value = float(study.true_values().set_index("estimand")[column][estimand])
    baseline = outcome.baseline
    return value if abs(value) > 1e-6 * max(1.0, abs(baseline)) else 0.0


def _alike(
    effect: Effect, name: str, level: str, like: str, levels: Sequence[str]
) -> Effect | None:
    """Return an effect with one level treated as another; None when no row is left to it."""
    when = []
    for factor, chosen in effect.when:
        if factor == name:
            chosen = tuple(v for v in levels if (like if v == level else v) in chosen)
            if not chosen:
                return None
        when.append((factor, chosen))
    return replace(effect, when=tuple(when))


def with_spread(study: Study, pitfall: Pitfall) -> Study:
    """Return the Study with the SDs that the pitfall asks for."""
    return _with_sd(study, pitfall, dict(pitfall.spread)) if pitfall.spread else study


def _with_sd(study: Study, pitfall: Pitfall, wanted: Mapping[str, float]) -> Study:
    """Return the Study with other SDs in the spread of the pitfall's outcome."""
    name = study.estimand(pitfall.estimand).outcome
    outcomes = tuple(
        replace(o, spread=tuple(replace(s, sd=wanted.get(s.name, s.sd)) for s in o.spread))
        if o.name == name
        else o
        for o in study.outcomes
    )
    return replace(study, outcomes=outcomes)


@one_thread()
def pitfall_panels(
    study: Study,
    *,
    draws: int,
    seed: int,
    progress: Callable[[str], None] | None = None,
) -> tuple[PitfallPanel, ...]:
    """Run every pitfall of a Study over many draws, without the effect and as declared.

    Parameters
    ----------
    study : Study
    draws : int
        Draws per truth; fewer where an analysis is slow, see :func:`affordable`.
    seed : int
    progress : callable, optional

    Returns
    -------
    tuple of PitfallPanel
    """
    panels = []
    for pitfall in study.pitfalls:
        if progress is not None:
            progress(f"{study.id}: {pitfall.title}")
        panels.append(_panel(study, pitfall, draws, seed))
    return tuple(panels)


def _panel(study: Study, pitfall: Pitfall, draws: int, seed: int) -> PitfallPanel:
    import pandas as pd

    e = study.estimand(pitfall.estimand)
    count = affordable(study, pitfall, draws)
    records = []
    for truth in ("none", "declared"):
        changed = with_spread(study if truth == "declared" else null_of(study, pitfall), pitfall)
        effect = effect_of(changed, e.name)
        y = draw_complete(changed, e.outcome, seed, count)
        for side, decided in both_sides(changed, pitfall, y).items():
            rate = float(decided.claimed.mean())
            records.append(
                {
                    "truth": truth,
                    "effect": effect,
                    "side": side,
                    "label": side_label(study, pitfall, side),
                    "rejection_rate": rate,
                    "mc_se": float(np.sqrt(rate * (1 - rate) / count)),
                    "draws": count,
                    "unconverged": int(decided.unconverged.sum()),
                }
            )
    return PitfallPanel(pitfall, pd.DataFrame(records))


def affordable(study: Study, pitfall: Pitfall, draws: int) -> int:
    """Return how many draws a pitfall is given: fewer where one of its analyses is slow."""
    count = draws
    if pitfall.rule == "responders":
        return count
    for name in {pitfall.right, pitfall.tempting} - {""}:
        a = study.analysis(name)
        if a.engine == "gee":
            count = min(count, LOOPED)
        elif a.engine == "reml":
            rows, columns = problem_of(study, a).x.shape
            count = min(count, max(int(COSTLY / (rows * columns**2)), LOOPED))
    return count


def side_label(study: Study, pitfall: Pitfall, side: str) -> str:
    """Return what one side of a pitfall does, in words."""
    if pitfall.rule == "responders":
        return {
            "tempting": "split by their own change, and the halves compared",
            "right": "spread of the changes with the drug against without it (Brown-Forsythe)",
        }[side]
    if side == "right":
        return f"{study.estimand(pitfall.estimand).label}: {study.analysis(pitfall.right).label}"
    if pitfall.rule == "analysis":
        asked = study.estimand(pitfall.asks or pitfall.estimand)
        return f"{asked.label}: {study.analysis(pitfall.tempting).label}"
    if pitfall.rule == "two tests":
        shown, missing = (study.estimand(n).label for n in (pitfall.shown, pitfall.not_shown))
        return f"“{shown}” is significant and “{missing}” is not"
    if pitfall.rule == "own control":
        controls = " ".join(level for _, level in pitfall.control)
        return (
            f"each {pitfall.by} minus the mean of its own {controls} group, which is then dropped: "
            f"two-way analysis of variance, effect of {pitfall.by}"
        )
    return "carry-over tested at 10 %, then period 1 alone or both periods (Grizzle's two stages)"


def both_sides(study: Study, pitfall: Pitfall, y: np.ndarray) -> dict[str, Decisions]:
    """Return what both sides claim; y of shape (B, rows), complete, in plan order."""
    alpha = 1 - study.analysis(pitfall.right).level
    if pitfall.rule == "responders":
        split, spread = responder_p(study, pitfall, y)
        return {"tempting": _by_p(split, alpha), "right": _by_p(spread, alpha)}
    if pitfall.rule == "two tests":
        asked = (pitfall.shown, pitfall.not_shown, pitfall.estimand)  # one fit answers all three
        small, lost = _significant(study, pitfall.right, asked, y)
        return {
            "tempting": Decisions(small[:, 0] & ~small[:, 1], lost),
            "right": Decisions(small[:, 2], lost),
        }
    small, lost = _significant(study, pitfall.right, (pitfall.estimand,), y)
    right = Decisions(small[:, 0], lost)
    if pitfall.rule == "analysis":
        name = pitfall.asks or pitfall.estimand
        small, lost = _significant(study, pitfall.tempting, (name,), y)
        return {"tempting": Decisions(small[:, 0], lost), "right": right}
    plan = study.plan(study.estimand(pitfall.estimand).outcome)
    p_of = own_control_p if pitfall.rule == "own control" else two_stage_p
    return {"tempting": _by_p(p_of(study, pitfall, plan, y), alpha), "right": right}


def _by_p(p: np.ndarray, alpha: float) -> Decisions:
    return Decisions(p < alpha, np.isnan(p))


def _significant(
    study: Study, analysis: str, names: Sequence[str], y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return which answers are significant, (B, K), and which fits have no number, (B,)."""
    a = study.analysis(analysis)
    found = answers(study, a, [study.estimand(n) for n in names], y)
    lost = ~found.converged
    return ~lost[:, None] & (found.p < 1 - a.level), lost


def on_data(results: Results, pitfall: Pitfall) -> pd.DataFrame:
    """Return what both sides of a pitfall say about the data at hand.

    Parameters
    ----------
    results : Results
    pitfall : Pitfall

    Returns
    -------
    pandas.DataFrame
        side, label, estimand, estimate, ci_low, ci_high, p, claimed; one row per test. Where an
        analysis was not run, no row.
    """
    import pandas as pd

    study = results.study
    alpha = 1 - study.analysis(pitfall.right).level
    rows: list[dict[str, object]] = []
    columns = ["side", "label", "estimand", "estimate", "ci_low", "ci_high", "p"]
    if pitfall.rule == "responders":
        outcome = study.estimand(pitfall.estimand).outcome
        y = results.data[outcome][outcome].astype(float).to_numpy()[None]
        if y.shape[1] != len(study.plan(outcome)) or np.isnan(y).any():
            return pd.DataFrame(columns=[*columns, "claimed"])
        both = zip(("tempting", "right"), responder_p(study, pitfall, y), strict=True)
        table = pd.DataFrame(
            [{"side": s, "label": side_label(study, pitfall, s), "estimand": pitfall.estimand,
              "p": float(p[0])} for s, p in both], columns=columns,
        )  # fmt: skip
        return table.assign(claimed=table["p"] < alpha)
    if pitfall.rule == "analysis":
        rows += _said(results, "tempting", pitfall.tempting, pitfall.asks or pitfall.estimand)
    elif pitfall.rule == "two tests":
        for name in (pitfall.shown, pitfall.not_shown):
            rows += _said(results, "tempting", pitfall.right, name)
    else:
        rows.append(_recomputed(results, pitfall))
    rows += _said(results, "right", pitfall.right, pitfall.estimand)
    table = pd.DataFrame(rows, columns=columns)
    table["claimed"] = table["p"] < alpha
    if pitfall.rule == "two tests" and (table["side"] == "tempting").sum() == 2:
        shown, missing = table["claimed"].iloc[:2]
        table.loc[table["side"] == "tempting", "claimed"] = bool(shown and not missing)
    return table


def _said(results: Results, side: str, analysis: str, estimand: str) -> list[dict[str, object]]:
    """Return the row of an analysis that was run, or none."""
    for answer in results.answers:
        if answer.analysis.name == analysis:
            hit = answer.estimates[answer.estimates["estimand"] == estimand]
            for _, r in hit.iterrows():
                names = ("estimate", "ci_low", "ci_high", "p")
                label = results.study.estimand(estimand).label
                said = {"side": side, "label": f"{label}: {answer.analysis.label}"}
                return [said | {"estimand": estimand} | {n: float(r[n]) for n in names}]
    return []


def _recomputed(results: Results, pitfall: Pitfall) -> dict[str, object]:
    """Return the tempting p of a rule that is no analysis of the Study."""
    e = results.study.estimand(pitfall.estimand)
    frame = results.data[e.outcome]
    label = side_label(results.study, pitfall, "tempting")
    said: dict[str, object] = {"side": "tempting", "label": label, "estimand": pitfall.estimand}
    if pitfall.rule == "own control":
        y = frame[e.outcome].astype(float).to_numpy()[None]
        return said | {"p": float(own_control_p(results.study, pitfall, frame, y)[0])}
    times = dict(e.contrast).get("time")
    change = None
    if times is not None:
        by_sign = {c: level for level, c in times}
        change = (by_sign[-1.0], by_sign[1.0])
    row = two_stage(frame, e.outcome, change=change, gate=GATE).to_dict("index")["treatment"]
    turn = dict(dict(e.contrast)["treatment"])[str(row["contrast"]).split(" - ")[0]]
    low, high = sorted((turn * float(row["ci_low"]), turn * float(row["ci_high"])))
    estimate = turn * float(row["estimate"])
    return said | {"estimate": estimate, "ci_low": low, "ci_high": high, "p": float(row["p"])}
