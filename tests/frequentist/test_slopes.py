"""Random slopes and nesting against R: stored answers of ``tests/reference/features.R``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ketastats.frequentist.lmm import lmm

FEATURES = Path(__file__).parents[1] / "reference" / "features"
FOLDER = Path(os.environ.get("KETASTATS_REFERENCE_DATA", "no-such-folder"))
DDF = ("satterthwaite", "kenward-roger")
RTOL = 1e-7
"""R's search is ended by Newton steps on numerical derivatives, good to a few 1e-8."""
SAS_SETS = {
    "pothoff_roy_sex": "y ~ sex * age + (1 + age | subject)",
    "sasmixed_hr": "y ~ baseline + drug * time + (1 + time | subject)",
}


def stored(name: str) -> dict:
    models = json.loads((FEATURES / "answers.json").read_text(encoding="utf-8"))["models"]
    return next(m for m in models if m["name"] == name)


def table(name: str) -> pd.DataFrame:
    d = pd.read_csv(FEATURES / f"{name}.csv")
    units = [c for c in ("subject", "litter", "mouse") if c in d]
    return d.astype(dict.fromkeys(units, str))


def r_name(name: str) -> str:
    """``armB:time`` from ``arm[T.B]:time``."""
    plain = name.replace("[T.", "").replace("]", "")
    return plain.replace("Intercept", "(Intercept)")


def check_coefficients(fit, wanted, rtol: float = RTOL) -> None:
    got = {r_name(n): row for n, row in fit.coefficients.iterrows()}
    assert set(got) == {w["name"] for w in wanted}
    for w in wanted:
        numbers = dict(w[fit.ddf.replace("-", "_")])
        numbers.setdefault("estimate", w.get("estimate"))
        for key in ("estimate", "se", "df", "p"):
            limit = 20 * rtol if key == "p" else rtol  # far tails: p moves by t dt
            np.testing.assert_allclose(
                got[w["name"]][key], numbers[key], rtol=limit, err_msg=f"{w['name']} {key}"
            )


@pytest.mark.oracle
@pytest.mark.skipif(
    not FOLDER.is_dir(), reason="KETASTATS_REFERENCE_DATA names no folder with reference data"
)
@pytest.mark.parametrize("ddf", DDF)
@pytest.mark.parametrize("name", SAS_SETS)
def test_slopes_of_the_printed_sets_equal_r(name, ddf):
    d = pd.read_csv(FOLDER / name / "data.csv")
    if "drug" in d:
        d["drug"] = pd.Categorical(d["drug"], ["p", "a", "b"])
    answers = json.loads((FOLDER / name / "expected.json").read_text())["computed"]
    wanted = answers["lmm_random_slope"]
    fit = lmm(SAS_SETS[name], d, ddf=ddf)
    slope = "age" if "age" in d else "time"
    v = wanted["variance"]
    names = {
        "subject 1": "subject:(Intercept)",
        f"subject 1, {slope}": f"subject (Intercept) {slope}",
        f"subject {slope}": f"subject:{slope}",
        "residual": "Residual",
    }
    assert list(fit.variance.index) == list(names)
    np.testing.assert_allclose(fit.variance, [v[n] for n in names.values()], rtol=RTOL)
    np.testing.assert_allclose(-2 * fit.loglik, wanted["minus2_reml_loglik"], rtol=1e-11)
    check_coefficients(fit, wanted["fixed"])


CASES = {
    "correlated": ("slopes", "y ~ arm * time + (1 + time | subject)"),
    "uncorrelated": ("slopes", "y ~ arm * time + (1 | subject) + (0 + time | subject)"),
    "litters": ("litters", "y ~ arm + (1 | litter/mouse)"),
}


@pytest.mark.parametrize("ddf", DDF)
@pytest.mark.parametrize("name", CASES)
def test_slopes_and_nesting_equal_r(name, ddf):
    file, formula = CASES[name]
    wanted = stored(name)
    fit = lmm(formula, table(file), ddf=ddf)
    assert fit.status == "ok" and not wanted["singular"]
    values = sorted(v["value"] for v in wanted["variance"])
    np.testing.assert_allclose(sorted(fit.variance), values, rtol=RTOL)
    np.testing.assert_allclose(fit.loglik, wanted["log_likelihood"], rtol=1e-11)
    check_coefficients(fit, wanted["coefficients"])
    np.testing.assert_allclose(fit.predict(), wanted["fitted"], rtol=RTOL)


def test_uncorrelated_terms_have_no_covariance():
    """The same as one term whose covariance is 0; the correlated fit is at least as good."""
    d = table("slopes")
    apart = lmm(CASES["uncorrelated"][1], d)
    together = lmm(CASES["correlated"][1], d)
    assert len(together.variance) == len(apart.variance) + 1
    assert together.loglik > apart.loglik
    ratio = together.compare(apart)
    assert ratio.df == 1
    np.testing.assert_allclose(ratio.statistic, 2 * (together.loglik - apart.loglik), rtol=1e-12)


def test_nesting_written_out_is_the_same():
    d = table("litters").assign(id=lambda x: x["litter"] + "-" + x["mouse"])
    fits = [
        lmm(f"y ~ arm + {terms}", d)
        for terms in ("(1 | litter/mouse)", "(1 | litter) + (1 | litter:mouse)",
                      "(1 | litter) + (1 | id)")
    ]  # fmt: skip
    for other in fits[1:]:  # the same matrices: only rounding
        np.testing.assert_allclose(other.variance, fits[0].variance, rtol=1e-9)
        np.testing.assert_allclose(other.coefficients, fits[0].coefficients, rtol=1e-9)


@pytest.mark.parametrize("ddf", DDF)
def test_a_singular_slope_equals_r_and_is_warned_of(ddf):
    """lme4's search over factors reaches the singular maximum; ours must reach the same.

    The directions in which a singular covariance matrix may still move count in the df.
    """
    wanted = stored("flat")
    assert wanted["singular"]
    fit = lmm("y ~ arm * time + (1 + time | subject)", table("flat"), ddf=ddf)
    assert fit.status == "boundary"
    assert any("covariance matrix of subject is singular (boundary)" in w for w in fit.warnings)
    np.testing.assert_allclose(fit.loglik, wanted["log_likelihood"], rtol=1e-11)
    v = {(x["first"], x["second"]): x["value"] for x in wanted["variance"]}
    order = [("(Intercept)", None), ("(Intercept)", "time"), ("time", None), (None, None)]
    # a BFGS search with a gradient below 1e-6 of the log-likelihood ends it: 1e-5 of a variance
    np.testing.assert_allclose(fit.variance, [v[k] for k in order], rtol=1e-5)
    intercept, covariance, slope, _ = fit.variance
    np.testing.assert_allclose(covariance**2, intercept * slope, rtol=1e-6)
    check_coefficients(fit, wanted["coefficients"], rtol=1e-5)


def test_rescaling_time_rescales_a_slope():
    """The model is the same: variances change by powers of the factor, tests do not change."""
    d = table("slopes")
    days, weeks = (
        lmm("y ~ arm * time + (1 + time | subject)", d.assign(time=d["time"] / c)) for c in (1, 7)
    )
    np.testing.assert_allclose(
        weeks.variance, days.variance * np.array([1, 7, 49, 1]), rtol=1e-8
    )  # two searches over differently scaled parameters
    np.testing.assert_allclose(weeks.coefficients["df"], days.coefficients["df"], rtol=1e-8)
    np.testing.assert_allclose(weeks.coefficients["t"], days.coefficients["t"], rtol=1e-8)
