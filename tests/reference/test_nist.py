"""One-way layouts of the NIST reference data: what constant leading digits do to the arithmetic.

In a balanced one-way layout with the group mean square above that within, REML equals the analysis
of variance: the residual variance is the mean square within, the group variance the difference of
the mean squares divided by the replicates.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ketastats.frequentist.lmm import lmm

FOLDER = Path(__file__).parent / "external"
CERTIFIED = json.loads((FOLDER / "nist.json").read_text(encoding="utf-8"))
CERTIFIED_RTOL = 1e-9
"""Nine of the digits that NIST certifies, the mean squares of AtmWtAg included: its doubles carry
1e-14 of 107.87 against differences of 1e-5."""
F_RTOL = 1e-8
"""The F of AtmWtAg rests on a difference of 1.7e-5 between means of 107.87, whose doubles are
1.4e-14 apart: 8e-10 of the difference and twice that of F."""
EXACT_RTOL = 1e-10
"""Against exact arithmetic on the same doubles: what the search leaves (DECREMENT in reml.py)."""


def table(name: str) -> pd.DataFrame:
    frame = pd.read_csv(FOLDER / f"{name}.csv")
    return frame.assign(treatment=frame["treatment"].astype("category"))


def exact_mean_squares(frame: pd.DataFrame) -> tuple[Fraction, Fraction, int]:
    groups = [[Fraction(v) for v in g] for _, g in frame.groupby("treatment", observed=True)["y"]]
    k, n = len(groups), len(groups[0])
    means = [sum(g, Fraction(0)) / n for g in groups]
    grand = sum(means, Fraction(0)) / k
    between = n * sum(((m - grand) ** 2 for m in means), Fraction(0)) / (k - 1)
    within = sum(((v - m) ** 2 for g, m in zip(groups, means, strict=True) for v in g), Fraction(0))
    return between, within / (k * (n - 1)), n


@pytest.mark.parametrize("name", ["nist_sirstv", "nist_atmwtag"])
def test_variances_equal_the_certified_mean_squares(name):
    wanted = CERTIFIED[name]
    fit = lmm("y ~ 1 + (1 | treatment)", table(name))
    group = (wanted["between_ms"] - wanted["within_ms"]) / wanted["replicates"]
    assert fit.status == "ok"
    np.testing.assert_allclose(fit.variance["residual"], wanted["within_ms"], rtol=CERTIFIED_RTOL)
    np.testing.assert_allclose(fit.variance["treatment"], group, rtol=CERTIFIED_RTOL)


@pytest.mark.parametrize("name", ["nist_sirstv", "nist_atmwtag"])
def test_fixed_layout_gives_the_certified_f(name):
    """Without a random term the F test of the groups is that of the analysis of variance."""
    wanted = CERTIFIED[name]
    row = lmm("y ~ treatment", table(name)).anova().loc["treatment"]
    assert (row["num_df"], round(row["den_df"], 6)) == (wanted["between_df"], wanted["within_df"])
    np.testing.assert_allclose(row["F"], wanted["F"], rtol=F_RTOL)


@pytest.mark.parametrize("name", ["nist_sirstv", "nist_atmwtag", "nist_smls07"])
def test_variances_equal_exact_arithmetic_on_the_same_doubles(name):
    """SmLs07 has 12 constant leading digits: y is 1e12 and its spread 0.1."""
    frame = table(name)
    between, within, n = exact_mean_squares(frame)
    fit = lmm("y ~ 1 + (1 | treatment)", frame)
    assert fit.status == "ok"
    np.testing.assert_allclose(fit.variance["residual"], float(within), rtol=EXACT_RTOL)
    np.testing.assert_allclose(
        fit.variance["treatment"], float((between - within) / n), rtol=EXACT_RTOL
    )
