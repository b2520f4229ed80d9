"""Whether a crossover can tell people who differ in the effect: two periods beside four."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import chi2

from ketastats.core.threads import one_thread
from ketastats.diagnosis.batch import draw_complete
from ketastats.diagnosis.pitfall_rules import period_scores
from ketastats.frequentist.lmm import lmm_many
from ketastats.study.model import Design, Estimand, Outcome, Spread, Study
from ketastats.study.scales import is_linear

if TYPE_CHECKING:
    import pandas as pd

FORMULA = "treatment + period + (1 | subject)"
PEOPLE = "(1 | subject:treatment)"
LEVEL = 0.05
NOTHING = 1e-8
"""A likelihood ratio below this is that of two equal fits: a variance estimated as zero."""


@dataclass(frozen=True, slots=True, eq=False)
class HeterogeneityPanel:
    """One effect of a two-period crossover, in people who do and do not differ in it.

    Attributes
    ----------
    estimand : str
    sd : float
        SD of people's own effects in the second truth: as large as the mean effect.
    sequences : tuple of str
        Of the design with replicate periods.
    table : pandas.DataFrame
        truth (``alike`` or ``differ``), sd, two_low, two_median, two_high (quartiles over draws of
        the SD of the double differences of two periods), four_low, four_median, four_high (of
        the SD of people's own effects estimated from four), four_zero (share estimated as 0),
        four_found (share in which the test of people x treatment finds it), mc_se, draws.
    """

    estimand: str
    sd: float
    sequences: tuple[str, ...]
    table: pd.DataFrame


@one_thread()
def heterogeneity_panels(study: Study, *, draws: int, seed: int) -> tuple[HeterogeneityPanel, ...]:
    r"""Draw people who are alike in an effect and people who differ, in two and in four periods.

    In two periods a person's own effect is seen once, in the difference of two differences, whose
    variance is that of the errors and that of people's effects together: no analysis separates
    them (Senn 2002, Cross-over Trials in Clinical Research; Senn 2016, Stat Med 35:966). With
    every treatment given twice the repeats separate them. There people x treatment is tested by
    the likelihood ratio of REML fits, a variance of zero having half of the distribution (Self &
    Liang 1987, J Am Stat Assoc 82:605).

    Parameters
    ----------
    study : Study
    draws : int
        Draws per truth.
    seed : int

    Returns
    -------
    tuple of HeterogeneityPanel
        One per outcome on a linear scale of an AB/BA crossover whose first estimand contrasts the
        treatments and at most the times; none for other designs.
    """
    found = [_effect(study, o) for o in study.outcomes]
    return tuple(_panel(study, e, draws, seed) for e in found if e is not None)


def _effect(study: Study, outcome: Outcome) -> Estimand | None:
    """Return the first estimand of an outcome where it is one that the panel is about."""
    design = study.design
    if design.kind != "crossover" or design.n_periods != 2 or not is_linear(outcome.scale):
        return None
    first = next((e for e in study.estimands if e.outcome == outcome.name), None)
    if first is None or first.target != "direct" or first.within:
        return None
    factors = {f for f, _ in first.contrast}
    inner = {o.name for o in outcome.occasions}
    return first if "treatment" in factors and factors - {"treatment"} <= inner else None


def with_own_effects(study: Study, estimand: Estimand, sd: float) -> Study:
    """Return the Study in which people's effects vary with an SD around their mean.

    The deviations belong to person, treatment and the occasions of the contrast, and apply where
    its coefficients are positive.
    """
    when = tuple(
        (f, tuple(level for level, c in coefficients if c > 0))
        for f, coefficients in estimand.contrast
        if f != "treatment"
    )
    factors = ("subject", "treatment", *(f for f, _ in when))
    # a difference of two treatments has two such deviations
    own = Spread(":".join(factors), factors, sd / np.sqrt(2.0), None, (), when)
    outcomes = tuple(
        replace(o, spread=(own, *o.spread)) if o.name == estimand.outcome else o
        for o in study.outcomes
    )
    return replace(study, outcomes=outcomes)


def without_strata(study: Study, estimand: Estimand) -> Study:
    """Return the Study in which the effect is the same in every stratum."""
    strata = {s.name for s in study.design.strata}
    outcomes = tuple(
        replace(
            o,
            effects=tuple(
                f
                for f in o.effects
                if not ("treatment" in dict(f.when) and strata & set(dict(f.when)))
            ),
        )
        if o.name == estimand.outcome
        else o
        for o in study.outcomes
    )
    return replace(study, outcomes=outcomes)


def replicate(design: Design) -> Design:
    """Return the design with its two periods given twice: ABAB and BABA."""
    return replace(
        design,
        sequences=tuple((f"{name}{name}", given * 2) for name, given in design.sequences),
    )


def _panel(study: Study, e: Estimand, draws: int, seed: int) -> HeterogeneityPanel:
    import pandas as pd

    study = without_strata(study, e)
    mean = float(study.true_values().set_index("estimand")["latent"][e.name])
    four = replace(study, design=replicate(study.design))
    records = []
    for truth, sd in (("alike", 0.0), ("differ", abs(mean))):
        pair, people = _scores(study, e, sd, draws, seed)
        sequence = people.drop_duplicates("subject")["sequence"].cat.codes.to_numpy()
        two_sd = double_difference_sd(pair, sequence)
        scores, plan = _scores(four, e, sd, draws, seed)
        own, p = people_by_treatment(scores, plan)
        found = float(np.mean(p < LEVEL))
        records.append(
            {"truth": truth, "sd": sd}
            | dict(zip(("two_low", "two_median", "two_high"), _quartiles(two_sd), strict=True))
            | dict(zip(("four_low", "four_median", "four_high"), _quartiles(own), strict=True))
            | {"four_zero": float(np.mean(own < 1e-6 * max(abs(mean), 1e-300))),
               "four_found": found, "mc_se": float(np.sqrt(found * (1 - found) / draws)),
               "draws": draws}
        )  # fmt: skip
    names = tuple(s for s, _ in four.design.sequences)
    return HeterogeneityPanel(e.name, abs(mean), names, pd.DataFrame(records))


def _quartiles(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, [0.25, 0.5, 0.75])


def _scores(
    study: Study, e: Estimand, sd: float, draws: int, seed: int
) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the score of every person and period, shape (draws, people, periods), and its plan."""
    changed = with_own_effects(study, e, sd) if sd else study
    plan = study.plan(e.outcome)
    y = draw_complete(changed, e.outcome, seed, draws)
    rows = plan.drop_duplicates(["subject", "period"]).reset_index(drop=True)
    return period_scores(e, plan, y), rows


def double_difference_sd(scores: np.ndarray, sequence: np.ndarray) -> np.ndarray:
    """Return the SD over people of period 1 minus period 2, pooled within sequences, shape (B,).

    Parameters
    ----------
    scores : numpy.ndarray, shape (B, n, 2)
    sequence : numpy.ndarray of int, shape (n,)
    """
    d = scores[:, :, 0] - scores[:, :, 1]
    groups = np.unique(sequence)
    square = np.zeros(len(d))
    for g in groups:
        part = d[:, sequence == g]
        square += ((part - part.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return np.asarray(np.sqrt(square / (d.shape[1] - len(groups))))


def people_by_treatment(scores: np.ndarray, plan: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the SD of people's own effects and p of the test that it is zero, shapes (B,).

    Parameters
    ----------
    scores : numpy.ndarray, shape (B, n, periods)
    plan : pandas.DataFrame
        One row per person and period, in the order of the scores.
    """
    y = scores.reshape(len(scores), -1)
    plain = lmm_many(FORMULA, plan, y, ddf="z")
    full = lmm_many(f"{FORMULA} + {PEOPLE}", plan, y, ddf="z")
    k = full.parameters.index("subject:treatment")
    ratio = np.maximum(2 * (full.loglik - plain.loglik), 0.0)
    p = np.where(ratio > NOTHING, 0.5 * chi2.sf(ratio, 1), 1.0)
    return np.sqrt(2 * full.variance[:, k]), p
