"""The error-stratum check: the unit at which a contrast varies, read off the data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.frequentist.lmm import lmm


def stratum_warnings(fit) -> list[str]:
    return [w for w in fit.warnings if "varies between" in w]


def note(fit, contrast, **held) -> str:
    return fit.contrast(contrast, **held)["notes"].item()


@pytest.fixture(scope="module")
def jelen():
    study = ks.load_study("jelen2025")
    return study, {o: study.simulate(seed=1, outcome=o) for o in ("madrs", "glx")}


@pytest.fixture(scope="module")
def cages():
    study = ks.load_study("yokoyama2024")
    return study, study.simulate(seed=1, outcome="investigation")


PRIMARY = ("primary", "glx_primary")
PUBLISHED = ("published", "glx_published")


@pytest.mark.parametrize("name", [*PRIMARY, *PUBLISHED])
def test_published_formulas_are_warned_of_and_primary_ones_not(name, jelen):
    study, data = jelen
    analysis = next(a for a in study.analyses if a.name == name)
    d = data[analysis.outcome]
    fit = lmm(analysis.formula, d, outcome=analysis.outcome, ddf="satterthwaite")
    found = stratum_warnings(fit)
    if name in PRIMARY:
        assert not found
        assert "varies" not in note(fit, {"period": "2 - 1"})
        return
    used = d.dropna(subset=analysis.outcome)
    units = len(used.drop_duplicates(["subject", "period"]))
    assert found == [
        f"treatment varies between the {units} units of subject:period, and the model takes their "
        f"{len(used)} rows for independent: add (1 | subject:period)"
    ]


def test_the_terms_that_are_asked_for_silence_the_warning(jelen):
    """Add what every message names, until none is left: the published formula ends as primary."""
    study, data = jelen
    formula = next(a for a in study.analyses if a.name == "published").formula
    fit = lmm(formula, data["madrs"], outcome="madrs", ddf="satterthwaite")
    contrast = {"treatment": "naltrexone - placebo", "time": "day1 - pre"}
    assert "add (1 | subject:period)" in note(fit, contrast)
    assert "add (1 | subject:time)" in note(fit, contrast)
    more = f"{formula} + (1 | subject:period) + (1 | subject:time)"
    full = lmm(more, data["madrs"], outcome="madrs", ddf="satterthwaite")
    assert not stratum_warnings(full) and "add" not in note(full, contrast)


def test_spectra_in_sessions(jelen):
    """Treatment is one per session: without the session its spectra pass for replicates."""
    _, data = jelen
    d = data["glx"].assign(
        session=lambda x: x["subject"].astype(str) + "-" + x["period"].astype(str)
    )
    base = "glx ~ treatment * sex + period + spectrum"
    short = lmm(f"{base} + (1 | subject)", d, ddf="satterthwaite")
    (words,) = stratum_warnings(short)
    assert "add (1 | session)" in words or "add (1 | subject:period)" in words
    for term in ("(1 | session)", "(1 | subject:period)"):  # the same partition, either name
        assert not stratum_warnings(lmm(f"{base} + (1 | subject) + {term}", d, ddf="satterthwaite"))


def test_cages_left_out_are_warned_of(cages):
    """Drug is one per cage; isolated animals have no cage and are not counted in the units."""
    study, d = cages
    formulas = {a.name: a.formula for a in study.analyses}
    out = {
        n: lmm(formulas[n], d, outcome="investigation", ddf="satterthwaite")
        for n in ("primary", "no_cage")
    }
    assert not stratum_warnings(out["primary"])
    (words,) = stratum_warnings(out["no_cage"])
    caged = d["cage"].notna() & d["investigation"].notna()
    assert words.startswith(f"drug varies between the {d['cage'].nunique()} units of cage")
    assert f"their {caged.sum()} rows" in words and "add (1 | cage)" in words


def test_unstructured_visits_know_subject_by_period(jelen):
    """An unstructured residual holds every deviation of a visit; compound symmetry does not."""
    _, data = jelen
    d = data["madrs"].assign(visit=lambda x: x["period"].astype(str) + x["time"].astype(str))
    for kind, warned in (("un", False), ("toeph", False), ("cs", True)):
        fit = lmm("madrs ~ treatment*time + period", d, residual=f"{kind}(visit | subject)",
                  ddf="satterthwaite")  # fmt: skip
        assert bool(stratum_warnings(fit)) == warned, kind


def cells(seed: int = 1) -> pd.DataFrame:
    """Return synthetic mice of two drugs with slices, and cells in slices."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"m{i}", f"m{i}s{j}", f"m{i}s{j}c{k}", "AB"[i % 2])
        for i in range(10)
        for j in range(3)
        for k in range(2)
    ]
    d = pd.DataFrame(rows, columns=["mouse", "slice", "neuron", "drug"])
    return d.assign(y=rng.normal(size=10).repeat(6) + rng.normal(size=60))


def test_cells_in_mice():
    """Drug varies between mice: mouse and slice hold it constant; each must have a term."""
    d = cells()
    none = stratum_warnings(lmm("y ~ drug + (1 | slice)", d, ddf="satterthwaite"))
    assert any("10 units of mouse" in w and "add (1 | mouse)" in w for w in none)
    enough = "y ~ drug + (1 | mouse) + (1 | slice)"
    assert not stratum_warnings(lmm(enough, d, ddf="satterthwaite"))
    one_per_mouse = d.drop(columns="slice")
    assert not stratum_warnings(lmm("y ~ drug + (1 | mouse)", one_per_mouse, ddf="satterthwaite"))


def test_a_fixed_analysis_of_cells_is_warned_of():
    """No random term at all: cells for mice, the commonest mistake of all."""
    fit = lmm("y ~ drug", cells().drop(columns=["slice", "neuron"]), ddf="residual")
    (words,) = stratum_warnings(fit)
    assert "10 units of mouse" in words and "60 rows" in words


def test_one_row_per_unit_needs_no_term():
    d = cells().groupby(["mouse", "drug"], as_index=False)["y"].mean()
    assert not stratum_warnings(lmm("y ~ drug", d, ddf="residual"))


def test_names_of_units_do_not_matter_where_the_formula_groups_by_them():
    d = cells().rename(columns={"mouse": "zebra", "slice": "stripe"})
    fit = lmm(
        "y ~ drug + (1 | stripe)", d.assign(neuron=1).drop(columns="neuron"), ddf="satterthwaite"
    )
    assert not any("stripe" in w for w in stratum_warnings(fit))
    nested = lmm("y ~ drug + (1 | zebra/stripe)", d, ddf="satterthwaite")
    assert not stratum_warnings(nested)


def test_a_label_code_with_gaps_is_the_same_partition():
    """The check compares partitions: relabelled animals, in another order, give the same words."""
    d = cells()
    other = d.assign(mouse=d["mouse"].map(lambda m: f"z{(int(m[1:]) * 7) % 10}"))
    other = other.sample(frac=1, random_state=2)
    words = [stratum_warnings(lmm("y ~ drug + (1 | slice)", x, ddf="satterthwaite"))
             for x in (d, other)]  # fmt: skip
    assert words[0] == words[1]
