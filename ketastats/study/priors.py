"""Prior distributions as text: ``normal(0, 10)``, ``half-normal(10)``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ketastats.core.errors import StudyError

_PATTERN = re.compile(r"\s*([a-z-]+)\s*\(\s*([-+.\deE]+(?:\s*,\s*[-+.\deE]+)*)\s*\)\s*$")
FAMILIES = {
    "effects": {"normal": 2},
    "intercept": {"normal": 2},
    "sd": {"half-normal": 1, "exponential": 1, "half-t": 2},
    "cutpoints": {"dirichlet": 1},
}
_SLOTS = {
    "normal": "mean, sd",
    "half-normal": "scale",
    "exponential": "scale",
    "half-t": "df, scale",
    "dirichlet": "weight",
}


@dataclass(frozen=True, slots=True)
class Prior:
    """A distribution and its parameters.

    normal(mean, sd), half-normal(scale), exponential(scale), half-t(df, scale), dirichlet(weight).
    """

    family: str
    parameters: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.family}({', '.join(f'{p:g}' for p in self.parameters)})"


def parse_prior(text: str, role: str, *, where: str = "priors") -> Prior:
    """Parse one prior.

    Parameters
    ----------
    text : str
    role : str
        ``effects``, ``intercept``, ``sd`` or ``cutpoints``.
    where : str
        Named in errors.

    Examples
    --------
    >>> str(parse_prior("half-normal(10)", "sd"))
    'half-normal(10)'
    """
    place = f"{where}.{role}"
    match = _PATTERN.match(text)
    allowed = FAMILIES[role]
    mend = "use one of " + ", ".join(f"{f}({_SLOTS[f]})" for f in allowed)
    if match is None or match.group(1) not in allowed:
        raise StudyError(f"cannot read the prior {text!r}", where=place, mend=mend)
    try:
        parameters = tuple(float(p) for p in match.group(2).split(","))
    except ValueError:
        raise StudyError(f"cannot read the prior {text!r}", where=place, mend=mend) from None
    family = match.group(1)
    if len(parameters) != allowed[family]:
        raise StudyError(f"{family} takes {allowed[family]} numbers", where=place, mend=mend)
    positive = parameters[1:] if family == "normal" else parameters
    if any(p <= 0 for p in positive):
        raise StudyError(
            f"the prior {text!r} has a scale that is not positive", where=place, mend=mend
        )
    return Prior(family, parameters)


def check_priors(raw: Mapping[str, str], where: str) -> None:
    """Raise StudyError for a prior that cannot be read."""
    for role, text in raw.items():
        parse_prior(text, role, where=where)
