"""Pointing at a line of a packaged study by outcome, estimand and analysis."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

import ketastats as ks
from ketastats.study.model import Analysis, Estimand, Study

load = cache(ks.load_study)


@cache
def truths(name: str, scale: str) -> dict[str, float]:
    return load(name).true_values().set_index("estimand")[scale].to_dict()


def natural(study: Study, estimand: str) -> float:
    return truths(study.id, "natural")[estimand]


def sides(e: Estimand, factor: str) -> dict[str, float]:
    return dict(dict(e.contrast)[factor])


def random_terms(a: Analysis) -> set[str]:
    return set(re.findall(r"\(1 \| ([^)]+)\)", a.formula))


def df_of(study: Study, analysis: str, estimand: str) -> float:
    table = ks.analyse(study, seed=1, analyses=[analysis]).estimates
    return table.set_index("estimand").loc[estimand, "df"]


def pointed(name: str, outcome: str, estimand: str, analysis: str, check) -> None:
    """The analysis is of the outcome and asks the estimand, which has a value; then the check."""
    study = load(name)
    e, a = study.estimand(estimand), study.analysis(analysis)
    assert e.outcome == a.outcome == study.outcome(outcome).name
    assert e in study.estimands_of(a)
    assert np.isfinite(natural(study, estimand))
    check(study, e, a)


def lines(*rows):
    """Return the parametrisation of a study's lines: what is shown, where, and its check."""
    names = ("outcome", "estimand", "analysis", "check")
    return pytest.mark.parametrize(names, [pytest.param(*r[1:], id=r[0]) for r in rows])
