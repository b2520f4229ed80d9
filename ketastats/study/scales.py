"""Kinds of outcome scale: link, range of a declared mean, units of true values.

A declared mean is a population mean on the scale that a reader thinks in; deviations are normal on
the scale of the link. :mod:`ketastats.study.links` has the mathematics between the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ketastats.study.outcome import Scale

LARGEST_SD = 5.0
"""Total SD on a link scale that a declaration may have; the quadrature of the logit is
exact up to it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of scale means.

    Attributes
    ----------
    link : str
        ``identity``, ``logit`` or ``log``: the scale on which deviations are normal.
    low, high : float
        A declared mean lies between them, both excluded.
    whole : bool
        Whether whole numbers are recorded.
    decimals : int
        Recorded when not declared.
    mean : str
        What a declared mean is, with its range.
    natural_unit, latent_unit : str
        Of a true value, when the scale's own unit does not name it.
    keys : tuple of str
        What a declaration may set besides kind and unit.
    """

    link: str
    low: float
    high: float
    whole: bool
    decimals: int
    mean: str
    natural_unit: str
    latent_unit: str
    keys: tuple[str, ...]


_ANY = (-np.inf, np.inf)
_BOUNDED = ("min", "max", "decimals")
_SHARE, _ABOVE = "between 0 and 1", "above 0"
KINDS = {
    "integer": Kind("identity", *_ANY, True, 0, "a mean", "", "", _BOUNDED),
    "real": Kind("identity", *_ANY, False, 2, "a mean", "", "", _BOUNDED),
    "binomial": Kind(
        "logit", 0, 1, True, 0, f"a probability {_SHARE}", "proportion", "log odds",
        ("trials", "overdispersion"),
    ),
    "count": Kind(
        "log", 0, np.inf, True, 0, f"a count {_ABOVE}", "", "log", ("exposure", "overdispersion")
    ),
    "proportion": Kind(
        "logit", 0, 1, False, 4, f"a proportion {_SHARE}", "proportion", "log odds",
        ("precision", "decimals"),
    ),
    "ratio": Kind("log", 0, np.inf, False, 4, f"a ratio {_ABOVE}", "", "log", ("decimals",)),
}  # fmt: skip


def is_whole(scale: Scale) -> bool:
    """Whether an outcome is recorded in whole numbers."""
    return KINDS[scale.kind].whole


def is_linear(scale: Scale) -> bool:
    """Whether deviations act on the outcome itself, without a link."""
    return KINDS[scale.kind].link == "identity"


def needs_residual(scale: Scale) -> bool:
    """Whether rows vary by a declared residual SD, not by the distribution of the mean itself."""
    return is_linear(scale) or scale.kind == "ratio"


def units(scale: Scale) -> tuple[str, str]:
    """Return the units of a latent and of a natural true value.

    A binomial outcome's natural values are proportions, whatever the trials; a count's are per unit
    of exposure. A latent value is a difference of log odds, or of logarithms of means.

    Examples
    --------
    >>> units(Scale("integer", 0, 60, 0, "points"))
    ('points', 'points')
    >>> units(Scale("ratio", 0, None, 2, "%"))
    ('log', '%')
    """
    kind = KINDS[scale.kind]
    return kind.latent_unit or scale.unit, kind.natural_unit or scale.unit
