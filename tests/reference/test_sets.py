"""What a set of the outside folder says of itself: calls, references, factors, expressions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ketastats.core.errors import DataError
from ketastats.frequentist.lmm import lmm
from tests.reference.made_up import closed_form, drop_in, trial
from tests.reference.model_answers import our_variances
from tests.reference.sets import read_set
from tests.reference.translate import call_formula, evaluate, stated_references, translated


@pytest.fixture
def data() -> pd.DataFrame:
    return trial()


@pytest.fixture
def block(data) -> dict:
    return closed_form(data)


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("lmer(y ~ a + (1|s), REML)", "y ~ a + (1|s)"),
        ("lmer(log(pk) ~ a + (1|s)), treatment reference R", "log(pk) ~ a + (1|s)"),
        (
            "m = mean of x; lmerTest::lmer(y ~ a*factor(t) + (1+t|s), d)",
            "y ~ a*factor(t) + (1+t|s)",
        ),
        ("same as lmm_all_data, completers only", None),
        ("lmer(formula, data)", None),
    ],
)
def test_the_formula_of_a_call(text, formula):
    assert call_formula(text) == formula


def test_a_formula_of_r_in_our_syntax():
    given = "log(pk) ~ a*factor(t) + (b + c)^2 + (1 + t || s) + (0 + u || g)"
    ours = "a*C(t) + (b + c)**2 + (1 | s) + (0 + t | s) + (0 + u | g)"
    assert translated(given) == ("log(pk)", ours)
    with pytest.raises(DataError, match="write y ~ terms"):
        translated("treatment + period")


def test_references_in_words():
    levels = {"arm": ("PBO", "TRT"), "sex": ("F", "M"), "drug": ("F", "S")}
    assert stated_references("lmer(y ~ arm), drug reference F", levels) == {"drug": "F"}
    assert stated_references("references PBO and M", levels) == {"arm": "PBO", "sex": "M"}
    assert stated_references("reference F", levels) == {}  # of two factors


def test_factors_and_references_are_read_off_the_answers(tmp_path, data, block):
    """A number is a factor where coefficients carry its levels, or a test its df."""
    made = data.assign(dose=data["period"] * 10, site=np.arange(len(data)) % 3)
    block["r_call"] = "lmer(y ~ treatment + dose + site + (1|subject))"
    names = ("treatmentA", "dose20")
    block["fixed"] = [{"name": n, "satterthwaite": {}} for n in names]
    block["type3"] = {"satterthwaite": {"site": {"num_df": 2}}}
    table = read_set(drop_in(tmp_path / "made_up", made, block), {}).data
    assert list(table["treatment"].cat.categories) == ["B", "A"]
    assert list(table["dose"].cat.categories) == [10, 20]
    assert list(table["site"].cat.categories) == [0, 1, 2]
    block["type3"] = {"satterthwaite": {"site": {"num_df": 1}}}
    table = read_set(drop_in(tmp_path / "number", made, block), {}).data
    assert pd.api.types.is_numeric_dtype(table["site"])


def test_whole_numbers_stay_whole_and_a_dot_is_missing(tmp_path, data):
    made = data.assign(y=data["y"].astype(str), site=[1, *[2] * (len(data) - 1)]).astype(object)
    made.loc[3, ["y", "site"]] = [".", ""]
    folder = drop_in(tmp_path / "made_up", made, toml='factors = ["site"]')
    table = read_set(folder, {}).data
    assert list(table["site"].cat.categories) == [1, 2]
    assert table["y"].isna().sum() == 1


def test_expressions():
    d = pd.DataFrame({"g": list("aabb"), "x": [1.0, 3.0, np.nan, 8.0], "c": list("ABAB")})
    assert evaluate("mean(x, g)", d).tolist() == [2, 2, 8, 8]
    assert evaluate("count(x, g) == 2", d).tolist() == [1, 1, 0, 0]
    assert evaluate("(c == 'A') - (c == 'B')", d).tolist() == [1, -1, 1, -1]
    np.testing.assert_allclose(evaluate("-log(x) / 2 + 1", d)[0], 1)
    assert list(evaluate("factor(c)", d).cat.categories) == ["A", "B"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x == 'Q'", "no row has the level 'Q'"),
        ("z + 1", "there is no column 'z'"),
        ("__import__('os')", "cannot read the expression"),
        ("x.values", "cannot read the expression"),
        ("x +", "cannot read the expression"),
    ],
)
def test_other_expressions_are_refused(text, words):
    with pytest.raises(DataError, match=words.replace("(", r"\(")):
        evaluate(text, pd.DataFrame({"x": ["a", "b"]}))


def slopes() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    who, time = np.repeat(np.arange(12), 5), np.tile(np.arange(5.0), 12)
    deviation = rng.normal(0, 1, (12, 2))
    y = deviation[who, 0] + deviation[who, 1] * time + rng.normal(0, 0.5, 60)
    d = pd.DataFrame({"plot": who.astype(str), "time": time, "y": y})
    return d.assign(block=np.where(who % 2, "u", "v"))


def test_variances_of_slopes_are_found_by_r_names():
    fit = lmm("y ~ time + (1 + time | plot:block)", slopes())
    stored = {
        "block:plot:(Intercept)": 1.0,
        "block:plot:time": 2.0,
        "block:plot (Intercept) time": 3.0,
        "Residual": 4.0,
    }
    ours = our_variances(fit, stored)
    assert set(ours) == set(fit.variance.index)
    by_effects = ("plot:block 1", "plot:block time", "plot:block 1, time", "residual")
    assert [ours[n] for n in by_effects] == [1, 2, 3, 4]


def test_a_group_that_r_was_given_under_another_name_is_the_one_left_over():
    fit = lmm("y ~ time + (1 | plot) + (0 + time | plot)", slopes())
    stored = {"plot:(Intercept)": 1.0, "plot.1:time": 2.0, "Residual": 4.0}
    assert our_variances(fit, stored) == {"plot": 1, "plot time": 2, "residual": 4}
    fit = lmm("y ~ time + (1 | plot)", slopes())
    assert our_variances(fit, {"unit:(Intercept)": 1.0, "Residual": 4.0})["plot"] == 1
    for stored in ({"plot:(Intercept)": 1.0}, {"unit:time": 1.0, "Residual": 4.0}):
        with pytest.raises(AssertionError, match="differ"):
            our_variances(fit, stored)
