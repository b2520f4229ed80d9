"""Population-averaged models: what is refused, what is flagged, and what a reader is shown."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from ketastats.core.errors import DataError, FormulaError, NotEstimable
from ketastats.frequentist import gee_kernel
from ketastats.frequentist.gee import gee
from ketastats.frequentist.gee_fit import separated
from ketastats.frequentist.gee_kernel import FAMILIES, Rows, between_df
from ketastats.problem.questions import as_estimands

FORMULA = "hits ~ drug * time + (1 | mouse)"


def table(mice: int = 10, seed: int = 1) -> pd.DataFrame:
    """Return synthetic successes of 20 at three times in mice of two drugs and two sexes."""
    rng = np.random.default_rng(seed)
    d = pd.DataFrame(
        [(f"m{m}", "AB"[m % 2], "FM"[(m // 2) % 2], t) for m in range(mice) for t in "abc"],
        columns=["mouse", "drug", "sex", "time"],
    )
    own = rng.normal(0, 0.6, mice)[np.repeat(np.arange(mice), 3)]
    return d.assign(of=20, hits=rng.binomial(20, expit(own)), y=own + rng.normal(size=3 * mice))


def binomial(data: pd.DataFrame, formula: str = FORMULA, **options):
    return gee(formula, data, family="binomial", size="of", **options)


# ---- degrees of freedom -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "lost"),
    [
        ("y ~ time + (1 | mouse)", 1),
        ("y ~ drug * time + (1 | mouse)", 2),
        ("y ~ drug * time + sex + (1 | mouse)", 3),
        ("y ~ drug * sex * time + (1 | mouse)", 4),
        ("y ~ 0 + drug + (1 | mouse)", 2),
        ("y ~ drug * age + (1 | mouse)", 4),
    ],
)
def test_df_are_units_minus_columns_constant_within_them(formula, lost):
    d = table()
    d["age"] = d["mouse"].str[1:].astype(float) ** 2
    fit = gee(formula, d)
    assert set(fit.coefficients["df"]) == {10.0 - lost}


def test_df_are_judged_from_the_data():
    """A column that moves within one unit only is not between units."""
    group = np.repeat(np.arange(4), 2)
    x = np.column_stack([np.ones(8), np.repeat([0.0, 0, 1, 1], 2)])
    assert between_df(x, group) == 2
    x[0, 1] = 1
    assert between_df(x, group) == 3


# ---- failures -----------------------------------------------------------------------------------


def test_separation_names_the_cell():
    d = table()
    d.loc[(d["drug"] == "B") & (d["time"] == "c"), "hits"] = 0
    fit = binomial(d)
    assert fit.status == "failed"
    (said,) = fit.warnings
    assert "separation: 5 rows (drug=B, time=c) are 0" in said
    assert fit.coefficients.isna().all(axis=None)
    for scale in ("link", "natural"):
        row = fit.contrast({"drug": "B - A"}, scale=scale).iloc[0]
        assert row["status"] == "failed" and "separation" in row["notes"]
        assert np.isnan(row["estimate"]) and np.isnan(row["p"])
    d.loc[d["time"] == "c", "hits"] = np.where(d.loc[d["time"] == "c", "drug"] == "B", 20, 3)
    assert "successes only" in binomial(d).warnings[0]


def test_a_threshold_in_a_covariate_is_separation():
    d = pd.DataFrame({"mouse": range(12), "dose": np.arange(12.0), "hit": np.arange(12) > 5})
    fit = gee("hit ~ dose + (1 | mouse)", d.astype({"hit": int}), family="binomial")
    assert fit.status == "failed" and "rows are at a limit" in fit.warnings[0]


def test_a_cell_without_counts_is_separation_in_poisson():
    d = table().assign(n=lambda f: f["hits"])
    d.loc[d["time"] == "a", "n"] = 0
    fit = gee("n ~ drug + time + (1 | mouse)", d, family="poisson")
    assert (
        fit.status == "failed" and "(time=a)" in fit.warnings[0] and "log scale" in fit.warnings[0]
    )


def test_counts_far_from_1_are_not_separation():
    d = table().assign(n=lambda f: 10**7 + 1000 * f["hits"])
    assert gee("n ~ drug * time + (1 | mouse)", d, family="poisson").status == "ok"


@pytest.mark.parametrize("seed", range(30))
def test_separation_is_found_where_directions_tried_one_by_one_find_it(seed):
    """Small integer designs: every direction with entries -3 ... 3 is tried."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(9), rng.integers(0, 2, 9), rng.integers(-1, 2, 9)]).astype(float)
    y = rng.choice([0.0, 0.5, 1.0], 9, p=[0.45, 0.1, 0.45])
    one = np.ones(9)
    rows = Rows(x, y, np.arange(9), one, 0 * one, FAMILIES["binomial"], False)
    sign = np.where(y == 1, 1.0, np.where(y == 0, -1.0, 0.0))
    found = np.zeros(9, dtype=bool)
    for d in itertools.product(range(-3, 4), repeat=3):
        along = x @ np.array(d, dtype=float)
        if (along[sign == 0] == 0).all() and (along * sign >= 0).all():
            found |= along * sign > 0
    assert separated(rows).any() == found.any()
    assert not (separated(rows) & ~found).any()


def test_one_unit_in_a_cell_is_too_few_and_is_named():
    d = table()
    d = d[(d["drug"] == "A") | (d["mouse"] == "m3")]
    fit = gee("y ~ drug * time + (1 | mouse)", d)
    assert fit.status == "failed"
    assert "mouse 'm3' alone decides drug[T.B], drug[T.B]:time[T.b]" in fit.warnings[0]
    row = fit.contrast({"time": "b - a"}).iloc[0]
    assert row["status"] == "failed" and "two units or more" in row["notes"]


def test_no_unit_left_over_is_too_few():
    d = table(mice=3).assign(age=[1.0] * 3 + [4.0] * 3 + [2.0] * 3)
    fit = gee("y ~ drug + age + time + (1 | mouse)", d)
    assert fit.status == "failed"
    assert "3 units of mouse leave 0 degrees of freedom" in fit.warnings[0]


def test_few_units_are_warned_of():
    fit = gee("y ~ drug + time + (1 | mouse)", table(mice=5))
    assert fit.status == "ok" and "leave 3 degrees of freedom" in fit.warnings[0]
    assert gee("y ~ drug + time + (1 | mouse)", table(mice=6)).warnings == ()


def test_an_unconverged_fit_has_no_numbers(monkeypatch):
    monkeypatch.setattr(gee_kernel, "MAX_ITERATIONS", 1)
    fit = binomial(table())
    assert fit.status == "unconverged" and "did not converge in 1 iterations" in fit.warnings[0]
    row = fit.contrast({"drug": "B - A"}).iloc[0]
    assert row["status"] == "unconverged" and np.isnan(row["se"])


def test_a_correlation_that_no_matrix_has_is_held_and_said():
    """Rows of a unit are the same but for a trace: nothing varies within units."""
    d = table()
    d["y"] = d.groupby("mouse")["y"].transform("first") + 1e-4 * d["y"]
    fit = gee("y ~ drug + (1 | mouse)", d)
    assert (fit.status, fit.correlation) == ("boundary", 0.99)
    row = fit.contrast({"drug": "B - A"}).iloc[0]
    assert row["status"] == "boundary" and "held at 0.99" in row["notes"] and row["p"] > 0
    independent = gee("y ~ drug + (1 | mouse)", d, working="independence")
    # balanced units: the working correlation moves nothing
    np.testing.assert_allclose(fit.coefficients, independent.coefficients, rtol=1e-8)


def test_a_cell_that_does_not_vary_has_no_standard_error():
    d = table()
    d.loc[d["drug"] == "A", "y"] = 2.0
    fit = gee("y ~ drug + (1 | mouse)", d)
    row = fit.contrast({"drug": "A"}).iloc[0]
    assert row["status"] == "failed" and "does not vary" in row["notes"] and np.isnan(row["p"])
    assert np.isnan(fit.coefficients.loc["Intercept", "se"])
    assert fit.contrast({"drug": "B - A"})["status"].item() == "ok"


def test_an_aliased_question_is_not_estimable_on_either_scale():
    d = table()
    d = d[~((d["drug"] == "B") & (d["time"] == "c"))]
    fit = binomial(d)
    for scale in ("link", "natural"):
        lost = fit.contrast({"drug": "B - A"}, scale=scale).iloc[0]
        assert lost["status"] == "not_estimable" and "aliased" in lost["notes"]
        kept = fit.contrast({"drug": "B - A"}, within={"time": "b"}, scale=scale).iloc[0]
        assert kept["status"] == "ok" and np.isfinite(kept["p"])


def test_declared_questions_without_an_answer_are_rows_that_say_why():
    d = table()
    asked = as_estimands(binomial(d, "hits ~ sex + (1 | mouse)").problem, {"sex": "M - F"})
    fit = binomial(d, "hits ~ drug + time + (1 | mouse)")
    for scale in ("link", "natural"):
        row = fit.contrast(estimands=asked, scale=scale).iloc[0]
        assert row["status"] == "not_estimable" and "does not contain" in row["notes"]
    change = {"drug": "B - A", "time": "c - a"}
    held = fit.contrast(change).iloc[0]
    assert held["status"] == "not_estimable" and "add drug:time to the formula" in held["notes"]
    shares = fit.contrast(change, scale="natural").iloc[0]  # of curves parallel on the link scale
    assert shares["status"] == "ok" and shares["se"] > 0


# ---- units --------------------------------------------------------------------------------------


def test_a_unit_smaller_than_the_treatments_is_warned_of():
    d = table().assign(cage=lambda f: f["drug"] + f["sex"])
    fit = gee("y ~ drug + time + (1 | mouse)", d)
    (said,) = fit.warnings
    assert said == (
        "drug varies between the 4 units of cage, and the model takes the units of mouse within "
        "them for independent: write (1 | cage)"
    )
    assert said in fit.contrast({"drug": "B - A"})["notes"].item()
    assert "cage" not in fit.contrast({"time": "b - a"})["notes"].item()
    assert gee("y ~ drug + time + (1 | cage)", d).warnings[0].startswith("4 units of cage leave")


def test_cells_within_the_unit_are_covered():
    d = table().assign(cell=lambda f: f["mouse"] + f["time"])
    assert gee("y ~ drug + (1 | mouse)", d).warnings == ()
    assert "(1 | mouse)" in gee("y ~ group + (1 | cell)", d.assign(group=d["drug"])).warnings[0]


def test_rows_left_out_are_counted():
    d = table().astype({"of": float, "hits": float})
    d.loc[[0, 1], "of"] = np.nan
    d.loc[5, "hits"] = np.nan
    d.loc[7, "time"] = None
    fit = binomial(d)
    assert len(fit.problem.y) == 26
    assert list(fit.problem.rows) == [k for k in range(30) if k not in (0, 1, 5, 7)]
    assert fit.warnings == (
        "2 rows without of are left out",
        "1 rows without an outcome are left out",
        "1 rows without time are left out",
    )
    pd.testing.assert_frame_equal(
        fit.coefficients, binomial(d.drop([0, 1, 5, 7])).coefficients, rtol=1e-12
    )


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"formula": "hits ~ drug"}, "0 terms for the independent units"),
        ({}, {"formula": "hits ~ drug + (1 | sex/mouse)"}, "2 terms"),
        ({}, {"formula": "hits ~ drug + (1 + time | mouse)"}, "slopes"),
        ({}, {"formula": "drug + (1 | mouse)"}, "names no outcome"),
        ({}, {"family": "beta-binomial"}, "use 'binomial'"),
        ({}, {"family": "negative-binomial"}, "use 'poisson'"),
        ({}, {"family": "binomal"}, "did you mean 'binomial'"),
        ({}, {"family": "poisson"}, "size belongs to the family binomial"),
        ({}, {"exposure": "of"}, "exposure belongs to the family poisson"),
        ({}, {"covariance": "biased"}, "covariance 'biased'"),
        ({}, {"working": "ar1"}, "working correlation 'ar1'"),
        ({}, {"ddf": "kenward-roger"}, "ddf 'kenward-roger'"),
        ({}, {"level": 95}, "not between 0 and 1"),
        ({}, {"size": None}, "name the trials with size="),
        ({"of": 0}, {}, "0 is not a whole number of 1 or more"),
        ({"of": 19.5}, {}, "19.5 is not a whole number"),
        ({"hits": 21}, {}, "21 is not a count of up to 20 successes"),
        ({"hits": -1}, {}, "-1 is not a count"),
        ({"mouse": None}, {}, "belong to no mouse"),
        ({"mouse": "m"}, {}, "only one mouse"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(change, options, message):
    d = table().astype({"hits": float, "of": float, "mouse": object})
    rows = range(30) if change.get("mouse") == "m" else [3]
    for column, value in change.items():
        d.loc[list(rows), column] = value
    given = {"formula": FORMULA, "family": "binomial", "size": "of"} | options
    with pytest.raises((DataError, FormulaError), match=message):
        gee(given.pop("formula"), d, **given)


def test_counts_are_whole_and_shares_need_no_trials():
    d = table()
    with pytest.raises(DataError, match="is not a count"):
        gee("y ~ drug + (1 | mouse)", d.assign(y=d["hits"] / 20), family="poisson")
    shares = gee("s ~ drug * time + (1 | mouse)", d.assign(s=d["hits"] / 20), family="binomial")
    pd.testing.assert_frame_equal(shares.coefficients, binomial(d).coefficients, rtol=1e-8)


def test_questions_that_cannot_be_asked_are_refused():
    fit = binomial(table())
    with pytest.raises(NotEstimable, match="no factor 'sex'"):
        fit.contrast({"sex": "M - F"})
    with pytest.raises(DataError, match="scale 'log'"):
        fit.contrast({"drug": "B - A"}, scale="log")


# ---- what is shown ------------------------------------------------------------------------------


def test_tables_name_engine_method_and_scale():
    fit = binomial(table())
    row = fit.contrast({"drug": "B - A"}, scale="natural").iloc[0]
    assert (row["engine"], row["outcome"]) == ("gee", "hits")
    assert row["method"] == "bias-reduced, between-unit t, natural scale"
    other = gee("y ~ drug + (1 | mouse)", table(), covariance="robust", ddf="z")
    assert other.contrast({"drug": "B - A"})["method"].item() == "robust, z"
    assert other.coefficients["df"].eq(np.inf).all()


def test_pairs_are_adjusted_and_the_unadjusted_p_stays():
    d = table()
    d.loc[d["time"] == "c", "hits"] //= 2
    fit = binomial(d)
    plain, holm = fit.pairs("time", adjust=None), fit.pairs("time")
    assert len(holm) == 3 and (holm["p"] == plain["p"]).all()
    assert holm["p_adjusted"].min() == pytest.approx(3 * plain["p"].min())
    assert ((holm["ci_high"] - holm["ci_low"]) > (plain["ci_high"] - plain["ci_low"])).all()


def test_a_fit_prints_what_it_is():
    text = str(binomial(table()))
    assert "Population-averaged binomial model (logit) by GEE: hits ~ drug * time" in text
    assert "30 rows of 10 independent units of mouse; exchangeable working correlation" in text
    assert "bias-reduced covariance; between-unit t" in text and "scale " in text
    assert repr(binomial(table())) == text
    d = table()
    d.loc[d["time"] == "c", "hits"] = 0
    failed = binomial(d)
    assert "warning: separation" in str(failed) and "nan" not in str(failed).lower()
    assert "warning: separation" in failed._repr_html_()
    assert list(failed.to_frame()["term"]) == list(failed.problem.names)


def test_the_outcome_may_be_named_beside_the_formula():
    d = table()
    aside = gee("drug * time + (1 | mouse)", d.rename(columns={"hits": "no. of hits"}),
                outcome="no. of hits", family="binomial", size="of")  # fmt: skip
    pd.testing.assert_frame_equal(aside.coefficients, binomial(d).coefficients)
    with pytest.raises(FormulaError, match="the formula names 'hits'"):
        binomial(d, outcome="of")


def test_the_data_are_not_changed():
    d = table()
    before = d.copy()
    binomial(d)
    pd.testing.assert_frame_equal(d, before)
