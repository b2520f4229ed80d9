"""Type 3 tables against lmerTest, for fixed parts where a definition can go wrong.

In R a covariate is held at 0 in the form in which it enters: with ``scale(x) * treatment`` the
treatments are compared where ``scale(x)`` is 0, the mean of x, and not where x is 0.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from ketastats.frequentist.lmm import lmm

HERE = Path(__file__).parent / "type3"
SPEC = json.loads((HERE / "models.json").read_text(encoding="utf-8"))
ANSWERS = json.loads((HERE / "answers.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    levels = SPEC["levels"]["type3.csv"]
    frame = pd.read_csv(HERE / "type3.csv", dtype=dict.fromkeys(levels, "str"))
    return frame.assign(**{c: pd.Categorical(frame[c], categories=v) for c, v in levels.items()})


CASES = [
    (model, answer, ddf)
    for model, answer in zip(SPEC["models"], ANSWERS["models"], strict=True)
    for ddf in ("satterthwaite", "kenward-roger")
    # Satterthwaite's joint df depend on which columns stand for a term without its margins, which
    # is a matter of taste; Kenward-Roger's do not
    if not (ddf == "satterthwaite" and model["name"].startswith("treatment:sex"))
]


@pytest.mark.parametrize(
    ("model", "answer", "ddf"), CASES, ids=[f"{m['name']}-{ddf}" for m, _, ddf in CASES]
)
def test_type3_table_equals_lmertest(model, answer, ddf, table, comparison):
    assert model["name"] == answer["name"]
    fit = lmm(model["formula"], table, outcome="y", ddf=ddf)
    comparison.loglik(fit, answer["minus2_reml_loglik"])
    comparison.type3(fit, answer["type3"][ddf.replace("-", "_")])
    comparison.check()
