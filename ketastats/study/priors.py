"""Prior distributions as text: ``normal(0, 10)``, ``half-normal(10)``, ``flat``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ketastats.core.errors import StudyError
from ketastats.study.lookup import suggestion

_PATTERN = re.compile(r"\s*([a-z-]+)\s*(?:\(\s*([-+.\deE]+(?:\s*,\s*[-+.\deE]+)*)\s*\))?\s*$")
_SD = {"half-normal": 1, "exponential": 1, "half-t": 2}
_EFFECTS = {"normal": 2, "standardised-cauchy": 1, "hierarchical": 1, "flat": 0}
FAMILIES = {
    "effects": _EFFECTS,
    "intercept": {"normal": 2, "standardised-cauchy": 1, "flat": 0},
    "sd": _SD,
    "residual": _SD | {"jeffreys": 0},
    "correlation": {"lkj": 1},
    "cutpoints": {"dirichlet": 1},
    "a term": _EFFECTS,
}
"""By role; any other role is the name of a term or of an estimand."""
EXACT = ("standardised-cauchy", "hierarchical", "flat", "jeffreys", "lkj")
"""What only the exact posterior takes."""
_SLOTS = {
    "normal": "mean, sd",
    "half-normal": "scale",
    "exponential": "scale",
    "half-t": "df, scale",
    "dirichlet": "weight",
    "standardised-cauchy": "scale",
    "hierarchical": "scale",
    "lkj": "shape",
}


@dataclass(frozen=True, slots=True)
class Prior:
    """A distribution and its parameters.

    normal(mean, sd), half-normal(scale), exponential(scale), half-t(df, scale), dirichlet(weight);
    for the exact posterior also standardised-cauchy(scale) of effects in residual SDs,
    hierarchical(scale) for normal(0, s) effects with s half-normal(scale), flat, jeffreys (1 / SD)
    and lkj(shape) of a correlation.
    """

    family: str
    parameters: tuple[float, ...]

    def __str__(self) -> str:
        inside = ", ".join(f"{p:g}" for p in self.parameters)
        return f"{self.family}({inside})" if inside else self.family


def parse_prior(text: str, role: str, *, where: str = "priors") -> Prior:
    """Parse one prior.

    Parameters
    ----------
    text : str
    role : str
        ``effects``, ``intercept``, ``sd``, ``residual``, ``correlation``, ``cutpoints``, or the
        name of a term of the formula or of an estimand.
    where : str
        Named in errors.

    Examples
    --------
    >>> str(parse_prior("half-normal(10)", "sd"))
    'half-normal(10)'
    """
    place = f"{where}.{role}"
    match = _PATTERN.match(text)
    allowed = FAMILIES.get(role, FAMILIES["a term"])
    mend = "use one of " + ", ".join(f"{f}({_SLOTS[f]})" if n else f for f, n in allowed.items())
    if match is None or match.group(1) not in allowed:
        raise StudyError(f"cannot read the prior {text!r}", where=place, mend=mend)
    try:
        parameters = tuple(float(p) for p in (match.group(2) or "").split(",") if p)
    except ValueError:
        raise StudyError(f"cannot read the prior {text!r}", where=place, mend=mend) from None
    family = match.group(1)
    if len(parameters) != allowed[family]:
        raise StudyError(f"{family} takes {allowed[family]} numbers", where=place, mend=mend)
    if any(math.isinf(p) for p in parameters):
        raise StudyError(
            f"the prior {text!r} has a number that is too large", where=place, mend=mend
        )
    positive = parameters[1:] if family == "normal" else parameters
    if any(p <= 0 for p in positive):
        raise StudyError(
            f"the prior {text!r} has a scale that is not positive", where=place, mend=mend
        )
    return Prior(family, parameters)


def check_priors(
    raw: Mapping[str, str], factors: Iterable[str], estimands: Iterable[str], where: str
) -> None:
    """Raise StudyError for a prior of nothing, or one that cannot be read.

    Parameters
    ----------
    raw : mapping of str to str
        By role, term (``treatment:sex``) or estimand.
    factors : iterable of str
        Whose terms may have a prior of their own.
    estimands : iterable of str
        That may have one.
    where : str
    """
    factors, estimands = set(factors), set(estimands)
    roles = [r for r in FAMILIES if r != "a term"]
    for role, text in raw.items():
        known = role in roles or role in estimands or set(role.split(":")) <= factors
        if not known:
            raise StudyError(
                f"there is nothing called {role!r} to have a prior",
                where=f"{where}.{role}",
                mend=suggestion(role, [*roles, *sorted(estimands), *sorted(factors)]),
            )
        parse_prior(text, role, where=where)
