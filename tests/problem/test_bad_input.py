"""Tables that do not fit: one sentence that names the column and the mend."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ketastats.core.errors import DataError, FormulaError, KetastatsError, NotEstimable
from ketastats.frequentist.lmm import lmm
from ketastats.problem.build import build_problem

MODEL = "y ~ treatment + period + (1 | subject)"


@pytest.fixture
def trial() -> pd.DataFrame:
    """Return a small synthetic AB/BA crossover with a covariate."""
    rng = np.random.default_rng(0)
    person = rng.normal(0, 2, 12)
    rows = []
    for i in range(12):
        sequence = ("AB", "BA")[i % 2]
        for p in (0, 1):
            y, x = 10 + person[i] + rng.normal(), 1 + rng.random()
            rows.append((f"s{i}", sequence, str(p + 1), sequence[p], "FM"[i // 2 % 2], x, y))
    return pd.DataFrame(
        rows, columns=["subject", "sequence", "period", "treatment", "sex", "x", "y"]
    )


def change(**columns):
    return lambda d: d.assign(**columns)


BAD = {
    "unknown predictor": (
        "y ~ treatmnt + (1 | subject)",
        lambda d: d,
        "there is no column 'treatmnt' in the data; did you mean 'treatment'?",
    ),
    "unknown outcome": (
        "yy ~ x + (1 | subject)",
        lambda d: d,
        "there is no column 'yy' in the data",
    ),
    "unknown group": (
        "y ~ x + (1 | subjct)",
        lambda d: d,
        "there is no column 'subjct' in the data; did you mean 'subject'?",
    ),
    "unknown slope": (
        "y ~ x + (1 + dose | subject)",
        lambda d: d,
        "there is no column 'dose' in the data",
    ),
    "one level": (
        "y ~ sex + (1 | subject)",
        lambda d: d[d["sex"] == "F"],
        "sex: the factor 'sex' has only one level (F) in the rows used",
    ),
    "one level where the outcome is there": (
        "y ~ sex + (1 | subject)",
        lambda d: d.assign(y=d["y"].where(d["sex"] == "F")),
        "sex: the factor 'sex' has only one level (F) in the rows used",
    ),
    "constant outcome": (MODEL, change(y=3.0), "y: the outcome 'y' is constant (3)"),
    "text outcome": (MODEL, change(y="high"), "y: the outcome 'y' is not numeric"),
    "infinite outcome": (
        MODEL,
        lambda d: d.assign(y=d["y"].where(d.index != 3, np.inf)),
        "y: the outcome 'y' has 1 infinite values",
    ),
    "all missing": (MODEL, change(y=np.nan), "the outcome is missing in every row"),
    "predictor all missing": (
        "y ~ x + (1 | subject)",
        change(x=np.nan),
        "no row has both an outcome and all predictors",
    ),
    "infinite predictor": (
        "y ~ x + (1 | subject)",
        change(x=np.inf),
        "x: the column 'x' has infinite values",
    ),
    "logarithm of nothing": (
        "y ~ log(x) + (1 | subject)",
        lambda d: d.assign(x=d["x"] - d["x"].min()),
        "log(x)",
    ),
    "exponential overflows": ("y ~ exp(x) + (1 | subject)", change(x=1e4), "exp(x)"),
    "one group": (
        "y ~ x + (1 | ward)",
        change(ward="a"),
        "ward: the random term (1 | ward) has 1 group",
    ),
    "a group per row": (
        "y ~ x + (1 | row)",
        lambda d: d.assign(row=np.arange(len(d))),
        "row: the random term (1 | row) has one row per group, like the residual",
    ),
    "a group per row by two columns": (
        MODEL + " + (1 | subject:period)",
        lambda d: d,
        "subject:period: the random term (1 | subject:period) has one row per group",
    ),
    "too few rows": (MODEL, lambda d: d.iloc[:3], "y: 3 rows cannot estimate 3 fixed effects"),
    "no rows": (MODEL, lambda d: d.iloc[:0], ""),
    "outcome twice": (
        MODEL,
        lambda d: pd.concat([d, d[["y"]]], axis=1),
        "the data have 2 columns called 'y'; rename one",
    ),
    "group twice": (
        MODEL,
        lambda d: pd.concat([d, d[["subject"]]], axis=1),
        "the data have 2 columns called 'subject'; rename one",
    ),
    "predictor twice": (
        MODEL,
        lambda d: pd.concat([d, d[["treatment"]]], axis=1),
        "the data have 2 columns called 'treatment'; rename one",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_table_that_does_not_fit(name, trial):
    formula, spoil, message = BAD[name]
    with pytest.raises(DataError) as error:
        lmm(formula, spoil(trial))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_not_a_table():
    with pytest.raises(DataError, match="not a pandas DataFrame"):
        build_problem(MODEL, {"y": [1.0]})  # type: ignore[arg-type]


def test_outcome_fitted_exactly_is_said_and_not_tested(trial):
    """No residual is left: there is nothing to measure an effect against."""
    person = pd.factorize(trial["subject"])[0].astype(float)
    for y in (
        2.0 * (trial["treatment"] == "B"),
        person,
        person + 2.0 * (trial["treatment"] == "B"),
    ):
        try:
            fit = lmm("y ~ treatment + (1 | subject)", trial.assign(y=y))
        except KetastatsError as error:
            assert "y" in str(error)
            continue
        assert fit.status in ("unconverged", "failed")
        row = fit.contrast({"treatment": "B - A"}).iloc[0]
        assert np.isnan(row["p"]) and row["notes"]


def test_model_without_a_fixed_part_is_fitted_or_refused_in_words(trial):
    try:
        fit = lmm("y ~ 0 + (1 | subject)", trial)
    except KetastatsError:
        return
    assert len(fit.coefficients) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ddf": "kenward"}, "there is no ddf method 'kenward'; did you mean 'kenward-roger'?"),
        ({"level": 95}, "level = 95 is not between 0 and 1"),
        ({"level": 0}, "level = 0 is not between 0 and 1"),
    ],
)
def test_options(arguments, message, trial):
    with pytest.raises(DataError) as error:
        lmm(MODEL, trial, **arguments)
    assert message in str(error.value)


def test_outcome_named_nowhere_or_twice(trial):
    with pytest.raises(DataError, match="names no outcome"):
        lmm("treatment + (1 | subject)", trial)
    with pytest.raises(FormulaError, match="'y' and the outcome is 'x'"):
        lmm(MODEL, trial, outcome="x")


@pytest.mark.parametrize("code", ["{__import__('os').system('x')}", "__import__('os')", "x.real"])
def test_code_in_a_formula_never_reaches_the_data(code, trial):
    with pytest.raises(FormulaError):
        lmm(f"y ~ treatment + {code} + (1 | subject)", trial)


@pytest.mark.parametrize(
    ("contrast", "within", "message"),
    [
        ({"sex": "M - F"}, None, "the model has no factor 'sex'"),
        ({"treatmnt": "B - A"}, None, "did you mean 'treatment'?"),
        ({"treatment": "B - A"}, {"period": "3"}, "'3' is not a level of period"),
        ({}, None, "no contrast is given"),
    ],
)
def test_questions_that_the_model_cannot_hold(contrast, within, message, trial):
    fit = lmm(MODEL, trial)
    with pytest.raises(NotEstimable) as error:
        fit.contrast(contrast, within=within)
    assert message in str(error.value)


def test_level_that_does_not_exist(trial):
    with pytest.raises(KetastatsError, match="'C' is not a level in the contrast 'C - A'"):
        lmm(MODEL, trial).contrast({"treatment": "C - A"})


def test_data_are_never_changed(trial):
    before = trial.copy(deep=True)
    lmm("y ~ treatment * period + log(x) + (1 | subject)", trial)
    pd.testing.assert_frame_equal(trial, before)


def test_rows_left_out_are_counted(trial):
    holes = trial.assign(
        y=trial["y"].where(trial.index != 0), x=trial["x"].where(~trial.index.isin([0, 1, 2]))
    )
    fit = lmm("y ~ treatment + x + (1 | subject)", holes)
    assert fit.warnings[:2] == (
        "1 rows without an outcome are left out",
        "2 rows without x are left out",
    )
    assert len(fit.problem.rows) == len(trial) - 3


def test_roles_that_are_factors_whatever_their_type(trial):
    """A period coded 1, 2 is not a straight line; other numbers are, unless C() says otherwise."""
    numbers = trial.assign(period=trial["period"].astype(int), dose=np.arange(len(trial)) % 3)
    assert list(lmm("y ~ period + (1 | subject)", numbers).coefficients.index)[1] == "period[T.2]"
    plain = lmm("y ~ dose + (1 | subject)", numbers).coefficients.index
    forced = lmm("y ~ C(dose) + (1 | subject)", numbers).coefficients.index
    assert (list(plain[1:]), list(forced[1:])) == (["dose"], ["dose[T.1]", "dose[T.2]"])
