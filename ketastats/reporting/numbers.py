"""The one rule by which numbers are rounded for people.

A value and its interval are printed to the decimals that show two significant digits of the
standard error; a Monte-Carlo quantity never finer than its Monte-Carlo error. p-values keep two
significant digits and are never rounded across 0.05. Degrees of freedom keep one decimal,
probabilities two digits, three near 0 and 1. What is absent or not finite prints as an en dash.
Files for machines keep full precision; only pages are rounded.
"""

from __future__ import annotations

import math

ABSENT = "–"
NB = "\N{NO-BREAK SPACE}"
"""Between a number and its sign or unit, so that a line does not end there."""
MAX_DECIMALS = 10
SMALLEST_P = 0.0001


def decimals_for(se: float, mcse: float = math.nan) -> int:
    """Return the decimals that show two significant digits of a standard error.

    Parameters
    ----------
    se : float
    mcse : float
        Monte-Carlo standard error of the value; the last decimal is not smaller than it.

    Examples
    --------
    >>> decimals_for(1.41), decimals_for(0.234), decimals_for(14.2), decimals_for(1.41, 0.2)
    (1, 2, 0, 0)
    """
    known = math.isfinite(se) and se > 0
    decimals = 1 - int(f"{se:.1e}".partition("e")[2]) if known else 2
    if math.isfinite(mcse) and mcse > 0:
        decimals = min(decimals, math.floor(-math.log10(mcse)))
    return min(max(decimals, 0), MAX_DECIMALS)


def fixed(value: float, decimals: int) -> str:
    """Return a number with fixed decimals, a true minus sign and no negative zero.

    Examples
    --------
    >>> fixed(-0.04, 1), fixed(-2.26, 1), fixed(float("nan"), 1)
    ('0.0', '−2.3', '–')
    """
    if not math.isfinite(value):
        return ABSENT
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def value(estimate: float, se: float, mcse: float = math.nan) -> str:
    """Return an estimate to the decimals its standard error allows.

    Examples
    --------
    >>> value(4.7913, 1.405)
    '4.8'
    """
    return fixed(estimate, decimals_for(se, mcse))


def interval(low: float, high: float, se: float, mcse: float = math.nan) -> str:
    """Return ``low to high``, or an en dash when either end is absent.

    Examples
    --------
    >>> interval(1.874, 7.709, 1.405)
    '1.9 to 7.7'
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return ABSENT
    decimals = decimals_for(se, mcse)
    return f"{fixed(low, decimals)} to {fixed(high, decimals)}"


def with_interval(
    estimate: float, low: float, high: float, se: float, mcse: float = math.nan
) -> str:
    """Return ``estimate (low to high)``.

    Examples
    --------
    >>> with_interval(4.7913, 1.874, 7.709, 1.405)
    '4.8 (1.9 to 7.7)'
    """
    if not math.isfinite(estimate):
        return ABSENT
    return f"{value(estimate, se, mcse)} ({interval(low, high, se, mcse)})"


def p_value(p: float) -> str:
    """Return a p-value with two significant digits, more where two would reach 0.05.

    Examples
    --------
    >>> p_value(0.00261), p_value(0.0496)
    ('0.0026', '0.0496')
    >>> p_value(1e-9) == f"<{NB}0.0001"
    True
    """
    if not math.isfinite(p):
        return ABSENT
    if p < SMALLEST_P:
        return f"<{NB}{SMALLEST_P:.4f}"
    if p > 0.99:
        return f">{NB}0.99"
    for digits in range(2, 8):
        decimals = digits - 1 - int(f"{p:.{digits - 1}e}".partition("e")[2])
        text = f"{p:.{decimals}f}"
        if (float(text) < 0.05) == (p < 0.05):
            break
    return text


def p_equals(p: float) -> str:
    """Return a p-value for a sentence.

    Examples
    --------
    >>> p_equals(0.0253).replace(NB, " ")
    'p = 0.025'
    """
    text = p_value(p)
    return f"p{NB}{text}" if text[0] in "<>" else f"p{NB}={NB}{text}"


def df(value: float) -> str:
    """Return degrees of freedom with one decimal; infinite ones as a sign.

    Examples
    --------
    >>> df(21.513), df(float("inf"))
    ('21.5', '∞')
    """
    return "∞" if value == math.inf else fixed(value, 1)


def probability(p: float) -> str:
    """Return a probability: two digits, three near 0 and 1, limits beyond 0.001 and 0.999.

    Examples
    --------
    >>> probability(0.534), probability(0.9762)
    ('0.53', '0.976')
    """
    if not math.isfinite(p):
        return ABSENT
    if p < 0.001:
        return f"<{NB}0.001"
    if p > 0.999:
        return f">{NB}0.999"
    return f"{p:.{2 if 0.05 <= p <= 0.95 else 3}f}"


def direction(prob_positive: float) -> str:
    """Return the probability of the more probable direction, and which one it is.

    Examples
    --------
    >>> direction(0.03).replace(NB, " ")
    '0.970 (< 0)'
    """
    if not math.isfinite(prob_positive):
        return ABSENT
    if prob_positive >= 0.5:
        return f"{probability(prob_positive)} (>{NB}0)"
    return f"{probability(1 - prob_positive)} (<{NB}0)"


def percent(share: float, mcse: float = math.nan) -> str:
    """Return a share in per cent, with its Monte-Carlo standard error when there is one.

    Examples
    --------
    >>> percent(0.0525, 0.005).replace(NB, " ")
    '5.25 ± 0.50 %'
    """
    if not math.isfinite(share):
        return ABSENT
    if not (math.isfinite(mcse) and mcse > 0):
        return f"{fixed(100 * share, 0)}{NB}%"
    decimals = decimals_for(100 * mcse)
    return f"{fixed(100 * share, decimals)}{NB}±{NB}{fixed(100 * mcse, decimals)}{NB}%"


def plain(value: float, digits: int = 3) -> str:
    """Return a declared or descriptive number with significant digits, no trailing zeros.

    Examples
    --------
    >>> plain(-15.0), plain(0.467719), plain(1.234567e-7)
    ('−15', '0.468', '1.23e−07')
    """
    if not math.isfinite(value):
        return ABSENT
    return f"{value + 0.0:.{digits}g}".replace("-", "−")
