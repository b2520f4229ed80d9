"""Which declared estimands belong together: the main one, its interaction, the levels within."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ketastats.study.model import Estimand, Outcome, Study


@dataclass(frozen=True, slots=True)
class Interaction:
    """An effect compared between the levels of a stratum.

    Attributes
    ----------
    stratum : str
    outcome : str
    difference : Estimand
        The interaction itself.
    within : tuple of (str, float, Estimand)
        Level, its coefficient in the difference, the effect in that level.
    overall : Estimand or None
        The effect over all levels.
    """

    stratum: str
    outcome: str
    difference: Estimand
    within: tuple[tuple[str, float, Estimand], ...]
    overall: Estimand | None


def main_factor(study: Study) -> str:
    """Return the factor whose effect the study is about.

    The treatment of a crossover; else the factor between subjects that most estimands contrast.

    Examples
    --------
    >>> import ketastats as ks
    >>> main_factor(ks.load_study("yokoyama2024"))
    'drug'
    """
    if study.design.kind == "crossover":
        return "treatment"
    between = [name for name, _ in study.design.factors]
    counts = Counter(f for e in study.estimands for f, _ in e.contrast if f in between)
    return max(between, key=lambda f: counts[f], default="")


def levels_of(study: Study, factor: str) -> tuple[str, ...]:
    """Return the levels of the treatment or of a factor between subjects."""
    if factor == "treatment" and study.design.kind == "crossover":
        return study.design.treatments
    return dict(study.design.factors).get(factor, ())


def main_estimand(study: Study, outcome: Outcome) -> Estimand | None:
    """Return the first estimand declared for an outcome."""
    return next((e for e in study.estimands if e.outcome == outcome.name), None)


def interactions(study: Study) -> tuple[Interaction, ...]:
    """Return every declared interaction with a stratum that has its levels declared too.

    Examples
    --------
    >>> import ketastats as ks
    >>> [x.difference.name for x in interactions(ks.load_study("jelen2025"))]
    ['attenuation_sex', 'glx_sex', 'response_sex']
    """
    strata = {s.name for s in study.design.strata}
    out = []
    for e in study.estimands:
        for factor, coefficients in e.contrast:
            rest = tuple(c for c in e.contrast if c[0] != factor)
            if factor not in strata or not rest:
                continue
            found = [
                (level, c, _find(study, e, rest, (*e.within, (factor, level))))
                for level, c in coefficients
            ]
            within = tuple((level, c, f) for level, c, f in found if f is not None)
            out.append(Interaction(factor, e.outcome, e, within, _find(study, e, rest, e.within)))
    return tuple(out)


def _find(study: Study, like: Estimand, contrast: object, within: object) -> Estimand | None:
    wanted = (dict(contrast), dict(within))  # type: ignore[call-overload]
    for e in study.estimands:
        if e.outcome == like.outcome and (dict(e.contrast), dict(e.within)) == wanted:
            return e
    return None
