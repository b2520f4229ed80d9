"""Compare a fit with stored answers: the largest relative difference of every kind of number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pytest

from ketastats.frequentist.lmm import MixedModel

RTOL = 1e-7
"""What every number must reach; README.md in this folder says what each kind does reach. R's
variances come from a search polished by Newton steps on numerical derivatives and its Satterthwaite
df from numerical derivatives (both a few 1e-8), everything else from closed forms."""

FLOOR = 2e-12
"""Absolute difference that counts as none: external answers are stored to 12 decimals."""

Block = Mapping[str, Any]


def term_key(name: str) -> frozenset[str]:
    """Name a term alike for both: ``sex[T.M]:period[T.2]`` and ``period2:sexM``."""
    plain = name.replace("[T.", "").replace("]", "")
    return frozenset("(Intercept)" if p == "Intercept" else p for p in plain.split(":"))


def by_term(frame: pd.DataFrame) -> dict[frozenset[str], pd.Series]:
    out = {term_key(str(name)): row for name, row in frame.iterrows()}
    assert len(out) == len(frame)
    return out


class Comparison:
    """Keeps the worst relative difference per kind of number."""

    def __init__(self) -> None:
        self.worst: dict[str, tuple[float, str]] = {}

    def add(self, kind: str, got: float, wanted: float, where: str) -> None:
        gap = abs(float(got) - float(wanted))
        gap = 0.0 if gap <= FLOOR else gap / max(abs(float(wanted)), FLOOR)
        if not gap <= self.worst.get(kind, (-1.0, ""))[0]:  # a NaN is the worst of all
            self.worst[kind] = (gap, f"{where}: {float(got)!r}, stored {float(wanted)!r}")

    def numbers(self, got: Block | pd.Series, wanted: Block, where: str, prefix: str = "") -> None:
        """Compare the numbers that have the same name on both sides."""
        names = [k for k in wanted if k in got and isinstance(wanted[k], int | float)]
        assert names, (list(got), list(wanted))
        for name in names:
            self.add(prefix + name, got[name], wanted[name], where)

    def variances(self, fit: MixedModel, stored: Mapping[str, float]) -> None:
        """Compare variances, relative to the largest of them.

        R finds a variance that the data hardly determine (four cages) to a share of its own wide
        standard error, not to a share of itself.
        """
        assert set(fit.variance.index) == set(stored)
        largest = max(abs(v) for v in stored.values())
        for name, value in stored.items():
            self.add("variance", 1 + (fit.variance[name] - value) / largest, 1.0, name)

    def loglik(self, fit: MixedModel, minus2: float) -> None:
        self.add("loglik", -2 * fit.loglik, minus2, "-2 log-likelihood")

    def coefficients(self, fit: MixedModel, stored: Sequence[Block]) -> None:
        """Compare coefficients; every stored one must be found."""
        got = by_term(fit.coefficients)
        for entry in stored:
            row, wanted = got[term_key(entry["name"])], dict(entry[fit.ddf.replace("-", "_")])
            wanted |= {k: entry[k] for k in ("estimate",) if k in entry}
            if "ci95" in wanted:
                wanted["ci_low"], wanted["ci_high"] = wanted.pop("ci95")
            self.numbers(row, wanted, entry["name"])

    def type3(self, fit: MixedModel, stored: Mapping[str, Block]) -> None:
        got = by_term(fit.anova())
        assert set(got) == {term_key(t) for t in stored}
        for term, wanted in stored.items():
            self.numbers(got[term_key(term)], wanted, f"type 3 {term}", "type 3 ")

    def check(self, limits: Mapping[str, float] | None = None) -> None:
        """Fail on any difference over RTOL, or over the limit given for a prefix of its kind."""
        assert self.worst, "nothing was compared"
        given = limits or {}

        def limit(kind: str) -> float:
            return next((v for k, v in given.items() if kind.startswith(k)), RTOL)

        wrong = {k: v for k, v in self.worst.items() if not v[0] <= limit(k)}
        assert not wrong, wrong


@pytest.fixture
def comparison() -> Comparison:
    return Comparison()
