"""What the data cannot tell apart is named, and questions about it are flagged, not answered."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ketastats.frequentist.lmm import lmm


@pytest.fixture(scope="module")
def trial() -> pd.DataFrame:
    """Return a synthetic AB/BA crossover: sequence:period and treatment are one and the same."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(10):
        sequence, person = ("AB", "BA")[i % 2], rng.normal(0, 2)
        for p in (0, 1):
            rows.append((f"s{i}", sequence, str(p + 1), sequence[p], person + rng.normal()))
    return pd.DataFrame(rows, columns=["subject", "sequence", "period", "treatment", "y"])


def test_aliased_column_is_named_with_what_it_equals(trial):
    fit = lmm("y ~ sequence * period + treatment + (1 | subject)", trial)
    assert [a.name for a in fit.problem.aliasing.aliased] == ["sequence[T.BA]:period[T.2]"]
    (note,) = [w for w in fit.warnings if "left out" in w]
    assert note == (
        "column sequence[T.BA]:period[T.2] is left out: it equals "
        "0.5 sequence[T.BA] + 0.5 period[T.2] - 0.5 treatment[T.B]"
    )
    x, (alias,) = fit.problem.x, fit.problem.aliasing.aliased
    both = (trial["sequence"] == "BA") & (trial["period"] == "2")
    np.testing.assert_allclose(x @ np.array(alias.combination), both.astype(float), atol=1e-12)


def test_contrast_over_aliased_columns_is_flagged(trial):
    fit = lmm("y ~ sequence * period + treatment + (1 | subject)", trial)
    row = fit.contrast({"treatment": "B - A"}).iloc[0]
    assert row["status"] == "not_estimable"
    assert "sequence[T.BA]:period[T.2]" in row["notes"]
    assert np.isnan(row[["estimate", "se", "df", "p", "ci_low", "ci_high"]].astype(float)).all()


def test_contrast_that_the_data_do_answer_is_answered_beside_it(trial):
    """Sequence is between people and unaffected when treatment stands for the interaction."""
    full = lmm("y ~ sequence + period + treatment + (1 | subject)", trial)
    question = {"treatment": "B - A"}
    assert full.contrast(question)["status"].item() == "ok"
    twice = trial.assign(copy=trial["treatment"].map({"A": "a", "B": "b"}))
    both = lmm("y ~ sequence + period + treatment + copy + (1 | subject)", twice)
    assert both.contrast(question)["status"].item() == "not_estimable"
    row = both.contrast({"period": "2 - 1"}).iloc[0]
    assert row["status"] == "ok"
    wanted = full.contrast({"period": "2 - 1"}).iloc[0]
    np.testing.assert_allclose(row["estimate"], wanted["estimate"], rtol=1e-12)


def test_empty_cell_makes_its_own_contrasts_not_estimable_and_no_others(trial):
    """Nobody of group z had B: the effect within z is unknown, within w it is known."""
    group = np.where(np.arange(len(trial)) < 8, "z", "w")
    data = trial.assign(group=group)
    data = data[~((data["group"] == "z") & (data["treatment"] == "B"))]
    fit = lmm("y ~ treatment * group + (1 | subject)", data)
    ask = {"treatment": "B - A"}
    inside = {g: fit.contrast(ask, within={"group": g})["status"].item() for g in "wz"}
    assert inside == {"w": "ok", "z": "not_estimable"}
    assert fit.contrast(ask)["status"].item() == "not_estimable"


def test_subjects_as_fixed_effects_alias_the_sequence(trial):
    fit = lmm("y ~ sequence + subject + period + treatment", trial, ddf="residual")
    (alias,) = fit.problem.aliasing.aliased
    assert alias.name == "subject[T.s9]"
    np.testing.assert_allclose(fit.coefficients["df"], len(trial) - 12, rtol=1e-12)


def test_covariate_that_is_a_sum_of_others_is_left_out(trial):
    rng = np.random.default_rng(2)
    data = trial.assign(a=rng.normal(size=len(trial)), b=rng.normal(size=len(trial)))
    data["c"] = 2 * data["a"] - data["b"]
    fit = lmm("y ~ a + b + c + (1 | subject)", data)
    assert "column c is left out: it equals 2 a - b" in fit.warnings


@pytest.mark.parametrize("ddf", ["kenward-roger", "satterthwaite"])
def test_a_random_term_that_fixed_effects_absorb_is_left_out_by_name(ddf, trial):
    """Its variance has no information; kept, it would spoil the small-sample covariance."""
    fit = lmm("y ~ treatment + C(subject) + (1 | subject)", trial, ddf=ddf)
    plain = lmm("y ~ treatment + C(subject)", trial, ddf=ddf)
    assert list(fit.variance.index) == ["residual"]
    assert fit.warnings[-1] == (
        "(1 | subject) is left out: the fixed effects already tell its groups apart"
    )
    pd.testing.assert_frame_equal(fit.coefficients, plain.coefficients)


def test_levels_without_rows_are_named(trial):
    data = trial.assign(treatment=pd.Categorical(trial["treatment"], ["A", "B", "C", "D"]))
    fit = lmm("y ~ period + treatment + (1 | subject)", data)
    assert "treatment has no rows at its levels C, D, left out" in fit.warnings
    plain = lmm("y ~ period + treatment + (1 | subject)", trial)
    pd.testing.assert_frame_equal(fit.coefficients, plain.coefficients)


@pytest.mark.parametrize("ddf", ["kenward-roger", "satterthwaite", "containment", "z"])
def test_every_table_names_its_method(ddf, trial):
    fit = lmm("y ~ period + treatment + (1 | subject)", trial, ddf=ddf)
    asked = {"treatment": "B - A"}
    tables = [fit.coefficients, fit.anova(), fit.means("treatment"), fit.effect_sizes(asked)]
    assert all(ddf in str(t.columns.name) and ddf in t.to_string() for t in tables)
    assert fit.contrast(asked)["method"].item() == ddf


def test_a_difference_that_the_model_holds_at_zero_is_no_estimate(trial):
    """Without period:treatment the effect is the same in both periods, by assumption."""
    data = trial.assign(sex=np.where(trial["subject"].str[1:].astype(int) % 4 < 2, "F", "M"))
    fit = lmm("y ~ period + treatment + sex + (1 | subject)", data)
    row = fit.contrast({"treatment": "B - A", "sex": "M - F"}).iloc[0]
    assert row["status"] == "not_estimable" and np.isnan(row["estimate"])
    assert row["notes"] == "the model holds it at zero: add treatment:sex to the formula"
    assert fit.contrast({"treatment": "B - A"})["status"].item() in ("ok", "boundary")
