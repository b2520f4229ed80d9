"""Two schools of statistics, and the engines that belong to each."""

from __future__ import annotations

from collections.abc import Iterable

FREQUENTIST = "frequentist"
BAYESIAN = "bayesian"
SCHOOLS = {FREQUENTIST: ("reml", "glmm", "gee"), BAYESIAN: ("posterior", "mcmc")}
NAMES = {
    "reml": "REML",
    "glmm": "GLMM",
    "gee": "GEE",
    "posterior": "posterior",
    "mcmc": "posterior",
}
"""What tables and figures call an engine."""


def engines_of(name: str) -> tuple[str, ...]:
    """Return the engines of a school; the name of an engine is its own.

    Examples
    --------
    >>> engines_of("frequentist")
    ('reml', 'glmm', 'gee')
    >>> engines_of("reml")
    ('reml',)
    """
    return SCHOOLS.get(name, (name,))


def label_of(engines: Iterable[str]) -> str:
    """Return one name for the engines of a table's column, in their order of appearance.

    Examples
    --------
    >>> label_of(["glmm", "reml", "glmm"])
    'GLMM or REML'
    """
    return " or ".join(dict.fromkeys(NAMES.get(e, e) for e in engines))
