"""Sentences computed from numbers: nothing here is said that the numbers do not say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

from ketastats.reporting import numbers as n

POWER = 0.8
STATUS = {
    "ok": "ok",
    "boundary": "boundary",
    "unconverged": "not converged",
    "not_estimable": "not estimable",
    "failed": "failed",
}
STATUS_MEANING = {
    "ok": "converged, all variances above 0",
    "boundary": "a variance is estimated as 0; the estimate is valid, see the diagnostics",
    "unconverged": "the fit did not converge, or its chains did not mix: do not use it",
    "not_estimable": "these data cannot answer the question",
    "failed": "the fit failed",
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a sentence needs to know of one estimate.

    Attributes
    ----------
    name : str
    estimate, se, df, low, high, p : float
        NaN where absent.
    """

    name: str
    estimate: float
    se: float
    df: float
    low: float
    high: float
    p: float

    @property
    def known(self) -> bool:
        """Whether there is an estimate and a p-value."""
        return math.isfinite(self.estimate) and math.isfinite(self.p)

    def __str__(self) -> str:
        return n.with_interval(self.estimate, self.low, self.high, self.se)


def capital(text: str) -> str:
    """Return a text with its first letter as a capital."""
    return text[:1].upper() + text[1:]


def listing(items: Sequence[str], last: str = "and") -> str:
    """Return items joined by commas and a word.

    Examples
    --------
    >>> listing(["a", "b", "c"]), listing(["a"]), listing([])
    ('a, b and c', 'a', '')
    """
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> count(1, "row"), count(3, "row"), count(2, "person", "people")
    ('1 row', '3 rows', '2 people')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def people(subject: str) -> str:
    """Return the plural of what a subject is called."""
    return {"person": "people", "mouse": "mice"}.get(subject, f"{subject}s")


def interaction_sentences(
    levels: Sequence[Estimate],
    difference: Estimate,
    overall: Estimate | None,
    *,
    true: float,
    alpha: float,
    unit: str,
) -> list[str]:
    """Say what the effects within levels and their difference do and do not show.

    Parameters
    ----------
    levels : sequence of Estimate
    difference : Estimate
    overall : Estimate or None
    true : float
        True value of the difference; NaN when unknown.
    alpha : float
    unit : str

    Returns
    -------
    list of str

    Examples
    --------
    >>> a = Estimate("men", 8.2, 2.0, 21, 4.0, 12.3, 0.0005)
    >>> b = Estimate("women", 1.4, 2.0, 22, -2.7, 5.5, 0.49)
    >>> d = Estimate("men minus women", 3.0, 2.8, 21.5, -2.8, 8.8, 0.3)
    >>> interaction_sentences([a, b], d, None, true=2.0, alpha=0.05, unit="points")[1][:66]
    'Significant in men and not in women is not an interaction: the dif'
    """
    if not difference.known:
        return ["The difference could not be estimated, so these data say nothing about it."]
    parts = [f"{e} in {e.name} ({n.p_equals(e.p)})" for e in levels if e.known]
    effect = f"The effect is {listing(parts)}. " if parts else ""
    unit = f"{n.NB}{unit}" if unit else ""
    first = (
        f"{effect}The interaction is the difference between them, {difference}{unit}, "
        f"{n.p_equals(difference.p)}."
    )
    out = [first, _pattern(levels, difference, alpha), _precision(difference, overall, alpha, unit)]
    if math.isfinite(true):
        out.append(_against_truth(difference, true, alpha, unit))
    return out


def _pattern(levels: Sequence[Estimate], difference: Estimate, alpha: float) -> str:
    """Say what follows from which of the effects are significant."""
    yes = [e.name for e in levels if e.known and e.p < alpha]
    no = [e.name for e in levels if e.known and e.p >= alpha]
    found = difference.p < alpha
    one_sided = f"ignificant in {listing(yes)} and not in {listing(no)}"
    reach = n.interval(difference.low, difference.high, difference.se)
    if yes and no and not found:
        return (
            f"S{one_sided} is not an interaction: the difference itself is not significant, and "
            f"its interval, {reach}, holds no difference at all as well as large ones."
        )
    if yes and no:
        return (
            f"The evidence for an interaction is this one test of the difference, not the pattern "
            f"'s{one_sided}'."
        )
    if not yes and not no:
        return "The effect at each level was not asked for; the difference has its own test."
    which = f"significant in {listing(yes)}" if yes else f"not significant in {listing(no, 'or')}"
    if found:
        return f"The effect is {which}, yet the difference is significant: its own test counts."
    return (
        f"The effect is {which}, and the difference is not significant. That does not show that "
        f"the effect is the same: the interval reaches from {reach}."
    )


def _precision(difference: Estimate, overall: Estimate | None, alpha: float, unit: str) -> str:
    ratio = ""
    if overall is not None and overall.known and overall.se > 0:
        ratio = f", {difference.se / overall.se:.1f} times that of the overall effect"
    needed = detectable(difference.se, difference.df, alpha)
    return (
        f"Its standard error is {n.value(difference.se, difference.se)}{unit}{ratio}. To be found "
        f"with {100 * POWER:.0f}{n.NB}% power at that precision, the true difference would have "
        f"to be about {n.value(needed, difference.se)}{unit}."
    )


def detectable(se: float, df: float, alpha: float) -> float:
    r"""Return the true value that a two-sided t test finds with 80 % power, approximately.

    :math:`(t_{1-\alpha/2,\nu} + t_{0.8,\nu})` standard errors.
    """
    df = min(df, 1e9) if math.isfinite(df) else 1e9
    return float((stdtrit(df, 1 - alpha / 2) + stdtrit(df, POWER)) * se)


def _against_truth(difference: Estimate, true: float, alpha: float, unit: str) -> str:
    if abs(true) < 1e-6 * difference.se:  # what integration leaves of an exact zero
        true = 0.0
    text = f"The true difference is {n.value(true, difference.se)}{unit}"
    inside = difference.low <= true <= difference.high
    if difference.p < alpha and difference.estimate * true < 0:
        return f"{text}: this significant estimate has the wrong sign."
    if difference.p < alpha and true == 0:
        return f"{text}: this significant estimate is a false positive."
    if difference.p < alpha and abs(difference.estimate) > 1.5 * abs(true):
        return (
            f"{text}. The estimate is {difference.estimate / true:.1f} times as large: what passes "
            "a threshold of significance in a small trial is, on average, exaggerated."
        )
    if difference.p >= alpha and true != 0:
        return f"{text}: there is one, and this trial did not find it."
    return f"{text}; the interval {'contains' if inside else 'misses'} it."


def size_verdict(rate: float, draws: int, alpha: float) -> str:
    """Judge a rejection rate under no effect against the nominal level.

    The Monte-Carlo error is that of a test of the nominal level: sqrt(alpha (1 - alpha) / draws).
    Within two of them the rate is not told apart from the level.

    Examples
    --------
    >>> size_verdict(0.28, 2000, 0.05), size_verdict(0.004, 2000, 0.05)
    ('anticonservative', 'conservative')
    >>> size_verdict(0.053, 2000, 0.05)
    'close to its level'
    """
    z = (rate - alpha) / math.sqrt(alpha * (1 - alpha) / max(draws, 1))
    if z > 2:
        return "anticonservative"
    if z < -2:
        return "conservative"
    return "close to its level"


VERDICT_MEANING = {
    "anticonservative": "anticonservative: it finds effects that are not there too often",
    "conservative": "conservative: it rejects a true null hypothesis more rarely than it promises, "
    "and loses power",
    "close to its level": "not to be told apart from its promised level with this many draws",
}


def p_range_sentence(p: Sequence[float], what: str, alpha: float) -> str:
    """Say whether a set of p-values stays on one side of alpha.

    Examples
    --------
    >>> p_range_sentence([0.001, 0.03], "choices", 0.05)
    'Over the 2 choices p runs from 0.0010 to 0.030: all below 0.05.'
    """
    known = [x for x in p if math.isfinite(x)]
    if not known:
        return f"None of the {what} gives a p-value."
    low, high = min(known), max(known)
    below = sum(x < alpha for x in known)
    if below == len(known):
        side = f"all below {alpha:g}"
    elif below == 0:
        side = f"none below {alpha:g}"
    else:
        side = f"{below} of {len(known)} below {alpha:g}, so significance depends on the choice"
    span = f"from {n.p_value(low)} to {n.p_value(high)}"
    text = f"Over the {len(known)} {what} p runs {span}: {side}."
    absent = len(p) - len(known)
    return text + (f" {absent} more gave no p-value." if absent else "")


def left_out_sentence(
    subjects: Sequence[str], p: Sequence[float], estimate: Sequence[float], se: float, alpha: float
) -> str:
    """Say whether one subject carries the significance.

    Parameters
    ----------
    subjects : sequence of str
        The first is nobody.
    p, estimate : sequence of float
    se : float
        For rounding.
    alpha : float

    Examples
    --------
    >>> left_out_sentence(["", "P1", "P2"], [0.03, 0.06, 0.02], [3.0, 2.5, 3.2], 1.2, 0.05)
    'Without P1, p crosses 0.05. The estimate runs from 2.5 to 3.2.'
    """
    if not math.isfinite(p[0]):
        return "With everybody there is no p-value, so there is nothing to compare."
    below = p[0] < alpha
    moved = [s for s, x in zip(subjects[1:], p[1:], strict=True)
             if math.isfinite(x) and (x < alpha) != below]  # fmt: skip
    unknown = [s for s, x in zip(subjects[1:], p[1:], strict=True) if not math.isfinite(x)]
    if moved:
        text = f"Without {listing(moved, 'or')}, p crosses {alpha:g}."
    else:
        text = f"No single one moves p across {alpha:g}."
    known = [x for x in estimate[1:] if math.isfinite(x)]
    if known:
        text += f" The estimate runs from {n.value(min(known), se)} to {n.value(max(known), se)}."
    if unknown:
        text += f" Without {listing(unknown, 'or')} the fit gives no p-value."
    return text
