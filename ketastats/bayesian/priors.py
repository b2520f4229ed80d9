"""Weakly informative priors, scaled from what is declared of the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ketastats.core.errors import DataError, StudyError
from ketastats.study.lookup import suggestion
from ketastats.study.model import Scale
from ketastats.study.priors import FAMILIES, Prior, parse_prior


@dataclass(frozen=True, slots=True)
class PriorSet:
    """The priors of one model.

    Attributes
    ----------
    intercept : Prior
        Of the average over the reference grid, covariates at their means.
    effects : Prior
        Of every difference between two levels and every difference of such differences.
    sd : Prior
        Of every standard deviation, the residual's too.
    text : tuple of (str, str)
        Role and prior as used, in this order.
    notes : tuple of str
        What a reader should know about where they come from.
    """

    intercept: Prior
    effects: Prior
    sd: Prior
    text: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def choose_priors(
    given: Mapping[str, str] | None,
    y: np.ndarray,
    outcome: str,
    scale: Scale | None,
    typical_sd: float | None,
) -> PriorSet:
    """Return the priors given, and defaults for those that are not.

    With s the typical SD, else a sixth of a bounded scale, else the SD of the data: effects
    normal(0, s), SDs half-normal(s), intercept over the whole of a bounded scale, else around the
    mean of the data.

    Parameters
    ----------
    given : mapping of str to str or None
        Keys among effects, intercept, sd; text such as ``normal(0, 10)``.
    y : numpy.ndarray, shape (rows,)
        Used only where nothing is declared, and a note then says so.
    outcome : str
        Named in the notes.
    scale : Scale or None
        The outcome's declared scale.
    typical_sd : float or None
        SD between people that the literature has for the outcome.

    Returns
    -------
    PriorSet

    Raises
    ------
    StudyError
        For a prior that cannot be read or an effects prior whose mean is not 0.

    Examples
    --------
    >>> scale = Scale("integer", 0.0, 60.0, 0, "points")
    >>> dict(choose_priors(None, np.zeros(4), "madrs", scale, 10.0).text)
    {'intercept': 'normal(30, 30)', 'effects': 'normal(0, 10)', 'sd': 'half-normal(10)'}
    """
    given = dict(given or {})
    for role in given:
        if role not in FAMILIES:
            raise StudyError(
                f"there is no prior for {role!r}", where="priors", mend=suggestion(role, FAMILIES)
            )
    notes: list[str] = []
    chosen: dict[str, Prior] = {r: parse_prior(t, r) for r, t in given.items()}
    text = {r: t.strip() for r, t in given.items()}
    if len(chosen) < len(FAMILIES):
        roles = [r for r in FAMILIES if r not in chosen]
        for role, prior in _defaults(roles, y, outcome, scale, typical_sd, notes).items():
            chosen[role], text[role] = prior, str(prior)
    if chosen["effects"].parameters[0] != 0:
        raise StudyError(
            f"the prior {text['effects']!r} of the effects has a mean that is not 0",
            where="priors.effects",
            mend="write normal(0, s): the sign of an effect depends on the order of the levels",
        )
    order = ("intercept", "effects", "sd")
    return PriorSet(
        chosen["intercept"],
        chosen["effects"],
        chosen["sd"],
        tuple((r, text[r]) for r in order),
        tuple(notes),
    )


def _defaults(
    roles: list[str],
    y: np.ndarray,
    outcome: str,
    scale: Scale | None,
    typical_sd: float | None,
    notes: list[str],
) -> dict[str, Prior]:
    low, high = (None, None) if scale is None else (scale.min, scale.max)
    bounded = low is not None and high is not None
    if typical_sd is not None:
        if not (np.isfinite(typical_sd) and typical_sd > 0):
            raise DataError(
                f"typical_sd = {typical_sd} is not a positive number", mend="leave it out"
            )
        s = _round(typical_sd, 6)
    elif low is not None and high is not None:
        s = _round((high - low) / 6, 3)
    else:
        s = _round(float(np.std(y, ddof=1)), 1)
        notes.append(
            f"no typical SD and no bounded scale is declared for {outcome}: the SD of the data, "
            f"about {s:g}, sets the scale of the priors of {', '.join(roles)}"
        )
    out = {"effects": Prior("normal", (0.0, s)), "sd": Prior("half-normal", (s,))}
    if bounded and low is not None and high is not None:
        middle, half = _round((low + high) / 2, 6), _round((high - low) / 2, 6)
        out["intercept"] = Prior("normal", (middle, half))
    else:
        mean = _round(float(np.mean(y)), 2)
        out["intercept"] = Prior("normal", (mean, _round(5 * s, 6)))
        if "intercept" in roles:
            notes.append(
                f"no bounded scale is declared for {outcome}: the mean of the data, about "
                f"{mean:g}, is the middle of the intercept's prior"
            )
    return {r: out[r] for r in roles}


def _round(value: float, digits: int) -> float:
    """Round to significant digits, so that the text of a prior is its exact value."""
    return float(f"{value:.{digits}g}")
