"""Weakly informative priors, scaled from what is declared of the outcome."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ketastats.bayesian.families import Own
from ketastats.bayesian.likelihood import GAUSSIAN, Likelihood
from ketastats.core.errors import DataError, StudyError
from ketastats.study.lookup import suggestion
from ketastats.study.model import Scale
from ketastats.study.priors import EXACT, Prior, parse_prior


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
        Role and prior as used, in this order; then those of the family's own parameters and, with a
        link, the scale on which the first three are.
    notes : tuple of str
        What a reader should know about where they come from.
    own : tuple of Prior
        Of the family's own parameters, in their order.
    """

    intercept: Prior
    effects: Prior
    sd: Prior
    text: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    own: tuple[Prior, ...] = ()


ROLES = ("effects", "intercept", "sd")
"""What every model has a prior of."""

LINKS = {"logit": "log odds", "log": "logarithms"}
"""What the linear predictor of a link is in."""

LINK_SCALES = {
    "logit": {"intercept": 2.5, "effects": 1.5, "sd": 1.0},
    "log": {"intercept": 2.5, "effects": 1.0, "sd": 0.5},
}
"""Scales of the priors on the scale of a link. Effects: 95 % of odds ratios between 1/19 and 19, of
rate ratios between 1/7 and 7. SDs: half of them below 0.67 in log odds; below 0.34 in log rates,
where people at plus and minus one SD differ by a factor of 2. A wider normal prior of an SD of log
rates would leave population means, exp(eta + sd²/2), without an expectation."""


def choose_priors(
    given: Mapping[str, str] | None,
    y: np.ndarray,
    outcome: str,
    scale: Scale | None,
    typical_sd: float | None,
    rows: Likelihood = GAUSSIAN,
) -> PriorSet:
    """Return the priors given, and defaults for those that are not.

    With s the typical SD, else a sixth of a bounded scale, else the SD of the data: effects
    normal(0, s), SDs half-normal(s), intercept over the whole of a bounded scale, else around the
    mean of the data. With a link they are on its scale: :data:`LINK_SCALES`, or s for effects and
    SDs; the intercept is around 0 in log odds, around the mean of the data in logarithms.

    Parameters
    ----------
    given : mapping of str to str or None
        Keys among effects, intercept, sd and the family's own parameters; text such as
        ``normal(0, 10)``.
    y : numpy.ndarray, shape (rows,)
        Used only where nothing is declared, and a note then says so.
    outcome : str
        Named in the notes.
    scale : Scale or None
        The outcome's declared scale.
    typical_sd : float or None
        SD between people that the literature has for the outcome, on the scale of the link.
    rows : Likelihood

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
    own = {p.name: p for p in rows.own}
    if "intercept" in given and rows.cuts:
        raise StudyError(
            "the ordered family has cut points instead of an intercept",
            where="priors.intercept",
            mend='give "cutpoints" a prior such as dirichlet(1), or leave it out',
        )
    for role in given:
        if role not in ROLES and role not in own:
            raise StudyError(
                f"there is no prior for {role!r}",
                where="priors",
                mend=suggestion(role, [*ROLES, *own]),
            )
    notes: list[str] = []
    chosen: dict[str, Prior] = {r: parse_prior(t, r) for r, t in given.items() if r in ROLES}
    for role, prior in chosen.items():
        if prior.family in EXACT:
            raise StudyError(
                f"the sampler has no prior {prior.family!r}",
                where=f"priors.{role}",
                mend="use ks.posterior, or another family",
            )
    text = {r: t.strip() for r, t in given.items()}
    if len(chosen) < len(ROLES):
        roles = [r for r in ROLES if r not in chosen]
        if rows.family.link == "identity":
            defaults = _defaults(roles, y, outcome, scale, typical_sd, notes)
        else:
            defaults = _link_defaults(roles, y, outcome, rows, typical_sd, notes)
        for role, prior in defaults.items():
            chosen[role], text[role] = prior, str(prior)
    if chosen["effects"].parameters[0] != 0:
        raise StudyError(
            f"the prior {text['effects']!r} of the effects has a mean that is not 0",
            where="priors.effects",
            mend="write normal(0, s): the sign of an effect depends on the order of the levels",
        )
    of_own = {n: _parse_own(text[n], p) if n in text else p.prior for n, p in own.items()}
    lines = [(n, f"{text.get(n, of_own[n])} on {p.of}") for n, p in own.items()]
    if rows.family.link != "identity":
        first = "cut points" if rows.cuts else "intercept"
        units = f"{first}, effects and SDs are in {LINKS[rows.family.link]}"
        lines.append(("link", f"{rows.family.link}: {units}"))
    order = ("intercept", "effects", "sd")
    return PriorSet(
        chosen["intercept"],
        chosen["effects"],
        chosen["sd"],
        (*((r, text[r]) for r in order), *lines),
        tuple(notes),
        tuple(of_own.values()),
    )


def _parse_own(text: str, parameter: Own) -> Prior:
    """Parse the prior of a family's own parameter; an error names the parameter."""
    if parameter.role == "shares":
        return _parse_shares(text, parameter.name)
    try:
        return parse_prior(text, parameter.role)
    except StudyError as error:
        raise StudyError(error.message, where=f"priors.{parameter.name}", mend=error.mend) from None


def _parse_shares(text: str, name: str) -> Prior:
    """Parse ``dirichlet(1)``, the weight of every share."""
    match = re.fullmatch(r"\s*dirichlet\(\s*([\d.eE+-]+)\s*\)\s*", text)
    try:
        weight = float(match.group(1)) if match else 0.0
    except ValueError:
        weight = 0.0
    if not (np.isfinite(weight) and weight > 0):
        raise StudyError(
            f"cannot read the prior {text!r}",
            where=f"priors.{name}",
            mend="write dirichlet(weight), the weight above 0",
        )
    return Prior("dirichlet", (weight,))


def _link_defaults(
    roles: list[str],
    y: np.ndarray,
    outcome: str,
    rows: Likelihood,
    typical_sd: float | None,
    notes: list[str],
) -> dict[str, Prior]:
    """Return defaults on the scale of a link."""
    scales = LINK_SCALES[rows.family.link]
    if typical_sd is not None:
        s = _typical(typical_sd)
        scales = scales | {"effects": s, "sd": s}
    middle = 0.0
    if rows.family.link == "log" and "intercept" in roles:
        rate = float(y.sum() / np.exp(rows.log_exposure).sum())
        middle = _round(float(np.log(rate)), 2)
        notes.append(
            f"the logarithm of the mean rate of {outcome}, about {middle:g}, is the middle of the "
            "intercept's prior"
        )
    out = {
        "intercept": Prior("normal", (middle, scales["intercept"])),
        "effects": Prior("normal", (0.0, scales["effects"])),
        "sd": Prior("half-normal", (scales["sd"],)),
    }
    return {r: out[r] for r in roles}


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
        s = _typical(typical_sd)
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


def _typical(value: float) -> float:
    if not (np.isfinite(value) and value > 0):
        raise DataError(f"typical_sd = {value} is not a positive number", mend="leave it out")
    return _round(value, 6)


def _round(value: float, digits: int) -> float:
    """Round to significant digits, so that the text of a prior is its exact value."""
    return float(f"{value:.{digits}g}")
