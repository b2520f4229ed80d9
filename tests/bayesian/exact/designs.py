"""Synthetic tables of common designs, drawn here, and the models that are put to them.

Every table has an address of its own and is rounded to the decimals it is stored with. The true SDs
are of the order of the priors, and the priors narrow enough to move the answers, so that an engine
with another prior gives other answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

SEED = 20240701
DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Design:
    """A table and the model that is put to it.

    Attributes
    ----------
    make : callable
        Table from a generator.
    formula : str
    priors : mapping of str to str
        As both engines take them.
    questions : tuple of mapping
        Arguments of ``contrast``: contrast, and within where there is one.
    residual : str or None
    """

    make: Callable[[np.random.Generator], pd.DataFrame]
    formula: str
    priors: Mapping[str, str]
    questions: tuple[Mapping[str, Mapping[str, str]], ...]
    residual: str | None = None


def rng_of(name: str) -> np.random.Generator:
    """Return the generator of a table, by its name."""
    return np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=tuple(name.encode())))


def table_of(name: str) -> pd.DataFrame:
    """Draw the table of a design."""
    data = DESIGNS[name].make(rng_of(name))
    return data.assign(y=data["y"].round(DECIMALS)).reset_index(drop=True)


# --- tables: one row per observation; every label is text -----------------------------------------


def people(n: int, digits: int = 2) -> list[str]:
    return [f"s{i + 1:0{digits}d}" for i in range(n)]


def crossover(n: int, times: tuple[str, ...] = ("after",)) -> pd.DataFrame:
    """Return two sequences of two periods, both sexes in each: 2 n rows per time, no outcome."""
    rows = [
        (s, "FM"[i // 2 % 2], sequence, f"p{p + 1}", t, sequence[p])
        for i, s in enumerate(people(n))
        for sequence in (("AB", "BA")[i % 2],)
        for p in range(2)
        for t in times
    ]
    return pd.DataFrame(rows, columns=["subject", "sex", "sequence", "period", "time", "treatment"])


def deviations(rng: np.random.Generator, data: pd.DataFrame, *by: str, sd: float) -> np.ndarray:
    """Return one normal deviation per group of columns, spread over its rows."""
    group = data.groupby(list(by), sort=False).ngroup().to_numpy()
    return rng.normal(0.0, sd, group.max() + 1)[group]


def abba(rng: np.random.Generator) -> pd.DataFrame:
    """14 people, AB/BA, one row per period."""
    data = crossover(14).drop(columns="time")
    mean = 10 + 1.2 * (data["treatment"] == "B") + 0.5 * (data["period"] == "p2")
    return data.assign(
        y=mean + deviations(rng, data, "subject", sd=2.0) + rng.normal(0, 1.3, len(data))
    )


def repeated(rng: np.random.Generator) -> pd.DataFrame:
    """20 people, two periods, before and after in each, both sexes."""
    data = crossover(20, ("before", "after"))
    after, drug = data["time"] == "after", data["treatment"] == "B"
    mean = 12 - 2.0 * after + 1.5 * (after & drug) + 1.0 * (after & drug & (data["sex"] == "M"))
    return data.assign(
        y=mean
        + deviations(rng, data, "subject", sd=1.6)
        + deviations(rng, data, "subject", "period", sd=0.8)
        + rng.normal(0, 1.2, len(data))
    )


def lost(rng: np.random.Generator) -> pd.DataFrame:
    """The same of 22 other people, of whose rows about 15 % are lost at random."""
    full = crossover(22, ("before", "after"))
    mean = 12 + 1.0 * (full["treatment"] == "B") + 0.6 * (full["sex"] == "M")
    full = full.assign(
        y=mean
        + deviations(rng, full, "subject", sd=1.0)
        + deviations(rng, full, "subject", "period", sd=1.1)
        + rng.normal(0, 1.0, len(full))
    )
    return full[rng.random(len(full)) >= 0.15]


def litters(rng: np.random.Generator) -> pd.DataFrame:
    """9 litters of 2 to 4 mice, each mouse with one drug and two measurements."""
    sizes = (3, 4, 2, 3, 4, 3, 2, 4, 3)
    rows = [
        (f"l{k + 1}", f"m{j + 1}", "FM"[(j // 2 + k) % 2], ("saline", "drug")[(j + k) % 2], side)
        for k, size in enumerate(sizes)
        for j in range(size)
        for side in ("left", "right")
    ]
    data = pd.DataFrame(rows, columns=["litter", "mouse", "sex", "drug", "side"])
    mean = 5 + 0.9 * (data["drug"] == "drug") + 0.4 * (data["sex"] == "M")
    return data.assign(
        y=mean
        + deviations(rng, data, "litter", sd=0.7)
        + deviations(rng, data, "litter", "mouse", sd=0.5)
        + rng.normal(0, 0.6, len(data))
    )


def williams(rng: np.random.Generator) -> pd.DataFrame:
    """12 people in a Williams design of four treatments (Williams 1949)."""
    squares = ("ABDC", "BCAD", "CDBA", "DACB")
    rows = [
        (s, squares[i % 4], f"p{p + 1}", squares[i % 4][p])
        for i, s in enumerate(people(12))
        for p in range(4)
    ]
    data = pd.DataFrame(rows, columns=["subject", "sequence", "period", "treatment"])
    mean = 20 + data["treatment"].map({"A": 0.0, "B": 1.0, "C": 2.5, "D": 2.0})
    return data.assign(
        y=mean + deviations(rng, data, "subject", sd=3.0) + rng.normal(0, 2.0, len(data))
    )


def mice(rng: np.random.Generator) -> pd.DataFrame:
    """A drug and a stress in 2 x 2 mice of each sex, four to a cage; males vary more."""
    rows = [
        (f"c{k + 1:02d}", f"m{4 * k + j + 1:02d}", "FM"[k % 2], ("saline", "drug")[j % 2],
         ("calm", "stress")[j // 2])
        for k in range(12)
        for j in range(4)
    ]  # fmt: skip
    data = pd.DataFrame(rows, columns=["cage", "mouse", "sex", "drug", "stress"])
    drug, stress = data["drug"] == "drug", data["stress"] == "stress"
    mean = 30 - 4.0 * drug + 3.0 * stress - 3.0 * (drug & stress)
    return data.assign(
        y=mean
        + deviations(rng, data, "cage", sd=1.5)
        + rng.normal(0, 1, len(data)) * np.where(data["sex"] == "M", 4.0, 2.0)
    )


def doses(rng: np.random.Generator) -> pd.DataFrame:
    """15 people on two diets at five doses each, whose responses to the dose differ."""
    rows = [
        (s, "FM"[i % 2], ("rich", "plain")[i // 2 % 2], dose)
        for i, s in enumerate(people(15))
        for dose in (0.0, 2.0, 5.0, 10.0, 20.0)
    ]
    data = pd.DataFrame(rows, columns=["subject", "sex", "diet", "dose"])
    slope = 0.15 + 0.05 * (data["sex"] == "M") + deviations(rng, data, "subject", sd=0.12)
    mean = 8 + slope * data["dose"] + 0.8 * (data["sex"] == "M")
    return data.assign(
        y=mean + deviations(rng, data, "subject", sd=1.4) + rng.normal(0, 1.0, len(data))
    )


# --- the models: every family of priors that both engines take ------------------------------------

CROSSED = " + (1|subject) + (1|subject:period)"

DESIGNS = {
    "abba": Design(
        abba,
        "y ~ treatment + period + sequence + (1|subject)",
        {"effects": "normal(0, 1.5)", "intercept": "normal(9, 3)", "sd": "half-normal(1.5)"},
        ({"contrast": {"treatment": "B - A"}}, {"contrast": {"period": "p1 - p2"}}),
    ),
    "repeated": Design(
        repeated,
        f"y ~ treatment*time*sex + period{CROSSED}",
        {"effects": "normal(0, 2)", "intercept": "normal(10, 5)", "sd": "half-normal(1)"},
        (
            {"contrast": {"treatment": "B - A", "time": "after - before"}},
            {"contrast": {"treatment": "B - A"}, "within": {"sex": "M", "time": "after"}},
        ),
    ),
    "lost": Design(
        lost,
        f"y ~ treatment*sex + period + time{CROSSED}",
        {"effects": "normal(0, 1)", "intercept": "normal(10, 5)", "sd": "half-t(3, 1)"},
        (
            {"contrast": {"treatment": "B - A", "sex": "M - F"}},
            {"contrast": {"treatment": "B - A"}, "within": {"sex": "F"}},
        ),
    ),
    "litters": Design(
        litters,
        "y ~ drug*sex + side + (1|litter/mouse)",
        {"effects": "normal(0, 1)", "intercept": "normal(5, 2)", "sd": "exponential(0.7)"},
        (
            {"contrast": {"drug": "drug - saline"}, "within": {"sex": "M"}},
            {"contrast": {"sex": "M - F"}},
        ),
    ),
    "williams": Design(
        williams,
        "y ~ treatment + period + (1|subject)",
        {"effects": "normal(0, 2)", "intercept": "normal(20, 4)", "sd": "half-t(4, 2)"},
        (
            {"contrast": {"treatment": "C - mean(A, B)"}},
            {"contrast": {"treatment": "D - B"}, "within": {"period": "p1"}},
        ),
    ),
    "mice": Design(
        mice,
        "y ~ drug*stress*sex + (1|cage)",
        {"effects": "normal(0, 4)", "intercept": "normal(30, 5)", "sd": "half-normal(3)"},
        (
            {"contrast": {"drug": "drug - saline", "stress": "stress - calm"}},
            {"contrast": {"drug": "drug - saline", "sex": "M - F"}, "within": {"stress": "stress"}},
        ),
        residual="by sex",
    ),
    "doses": Design(
        doses,
        "y ~ dose*sex + diet + (1|subject) + (0+dose|subject)",
        {"effects": "normal(0, 1.5)", "intercept": "normal(9, 3)", "sd": "exponential(1)"},
        (
            {"contrast": {"sex": "M - F"}},
            {"contrast": {"diet": "plain - rich"}, "within": {"sex": "F"}},
        ),
    ),
}
"""By name; the tables of :mod:`tests.reference.posterior` and their answers belong to these."""
