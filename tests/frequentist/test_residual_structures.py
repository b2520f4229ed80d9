"""Repeated structures: against SAS and nlme, and their derivatives by finite differences."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ketastats.core.errors import DataError, FormulaError
from ketastats.frequentist.likelihood import evaluate
from ketastats.frequentist.lmm import lmm
from ketastats.frequentist.moments import make_moments
from ketastats.problem.build import build_problem
from ketastats.problem.residual import residual_structure

FOLDER = Path(os.environ.get("KETASTATS_REFERENCE_DATA", "no-such-folder"))
FEATURES = Path(__file__).parents[1] / "reference" / "features"
outside = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="KETASTATS_REFERENCE_DATA names no folder with reference data"
)
KINDS = ("cs", "csh", "ar1", "arh1", "toep", "toeph", "un")
SAS_DDF = {
    "kr": "kenward-roger-observed",
    "kr(linear)": "kenward-roger-observed-linear",
}
SAS_RTOL = dict.fromkeys(KINDS, 4e-4) | {"cs": 1e-6, "ar1": 1e-6, "toeph": 5e-6}
"""SAS stops its search on its own criterion, for these structures up to 4e-4 (df) before the
maximum; that ours is at it is asserted beside. A p value moves by df and t together: ten times."""
NEWTON = 1e-9
"""Score of a finished fit in units of its standard error: what one last Newton step leaves."""


def fev() -> pd.DataFrame:
    d = pd.read_csv(FOLDER / "mmrm_fev" / "data.csv")
    return d.assign(arm=pd.Categorical(d["arm"], ["PBO", "TRT"]))


def sas() -> dict:
    return json.loads((FOLDER / "mmrm_fev" / "expected.json").read_text())["published"]


def newton_step(fit) -> float:
    """Return the largest step to the maximum that is left, in standard errors."""
    at = fit.fit.at
    step = np.linalg.solve(at.observed[0], at.score[0])
    return float(np.max(np.abs(step) * np.sqrt(np.diag(at.observed[0]))))


@pytest.mark.oracle
@outside
@pytest.mark.parametrize("ddf", SAS_DDF)
@pytest.mark.parametrize("kind", KINDS)
def test_fits_equal_sas(kind, ddf):
    fit = lmm("y ~ arm", fev(), residual=f"{kind}(visit | subject)", ddf=SAS_DDF[ddf])
    block = sas()["sas_reml_arm_TRT_minus_PBO_by_covariance"]["results"]
    wanted = block[f"{'us' if kind == 'un' else kind} ddfm={ddf}"]
    row = fit.coefficients.loc["arm[T.TRT]"]
    assert len(fit.problem.y) == 537
    assert fit.status == "ok"
    assert newton_step(fit) < NEWTON
    for name in ("estimate", "se", "df", "t"):
        np.testing.assert_allclose(row[name], wanted[name], rtol=SAS_RTOL[kind], err_msg=name)
    ends = [wanted["lower95"], wanted["upper95"]]
    np.testing.assert_allclose([row["ci_low"], row["ci_high"]], ends, rtol=SAS_RTOL[kind])
    np.testing.assert_allclose(row["p"], wanted["p"], rtol=20 * SAS_RTOL[kind])


@pytest.mark.oracle
@outside
def test_ar1_needs_second_derivatives():
    """Both figures as printed: with the second derivatives of V and without."""
    fits = [lmm("y ~ arm", fev(), residual="ar1(visit | subject)", ddf=d) for d in SAS_DDF.values()]
    se = [f.coefficients.loc["arm[T.TRT]", "se"] for f in fits]
    np.testing.assert_allclose(se, [0.958654, 0.960581], atol=1.5e-6)  # 6 decimals, SAS's stop


@pytest.mark.oracle
@outside
@pytest.mark.parametrize("kind", [3, 2])
def test_tables_under_ar1_equal_sas(kind):
    fit = lmm(
        "y ~ arm * sex + arm * baseline - baseline", fev(),
        residual="ar1(visit | subject)", ddf="satterthwaite",
    )  # fmt: skip
    assert newton_step(fit) < NEWTON
    names = {"ARMCD": "arm", "SEX": "sex", "SEX*ARMCD": "arm:sex", "FEV1_BL*ARMCD": "arm:baseline"}
    table = fit.anova(kind)
    for sas_name, wanted in sas()[f"sas_reml_ar1_satterthwaite_type{kind}"]["tests"].items():
        row = table.loc[names[sas_name]]
        assert row["num_df"] == wanted["num_df"]
        # SAS stops early: F moves by up to 3e-6, and p = .0027 by the twice that its tail gives
        for name, rtol in (("den_df", 5e-6), ("F", 5e-6), ("p", 1e-5)):
            np.testing.assert_allclose(row[name], wanted[name], rtol=rtol, err_msg=sas_name)


@pytest.mark.oracle
@outside
def test_adjusted_means_of_an_mmrm_equal_sas():
    fit = lmm(
        "y ~ race + sex + arm * visit", fev(),
        residual="un(visit | subject)", ddf="satterthwaite",
    )  # fmt: skip
    means, wanted = fit.means("visit", "arm"), sas()["sas_reml_us_lsmeans"]
    # printed to four decimals, from a search that stopped 5e-5 of a standard error short
    np.testing.assert_allclose(means["estimate"], wanted["mean"], atol=1.5e-4)
    np.testing.assert_allclose(means["se"], wanted["se"], atol=1e-4)
    # rounded to integers, and SAS's stop moves df by up to 3e-4 (see SAS_RTOL)
    np.testing.assert_allclose(means["df"], wanted["df_rounded"], atol=0.5, rtol=3e-4)
    race = fit.anova().loc["race"]
    np.testing.assert_allclose(race["F"], 36.92, rtol=4e-4)
    np.testing.assert_allclose(race["den_df"], 166, atol=0.51)


def stored() -> dict:
    return json.loads((FEATURES / "answers.json").read_text(encoding="utf-8"))


def repeated() -> pd.DataFrame:
    d = pd.read_csv(FEATURES / "repeated.csv")
    return d.assign(visit=d["visit"].astype(str), subject=d["subject"].astype(str))


GLS_NAMES = {
    "(Intercept)": "Intercept", "armB": "arm[T.B]", "sexM": "sex[T.M]",
    **{f"factor(visit){v}": f"visit[T.{v}]" for v in "234"},
    **{f"armB:factor(visit){v}": f"arm[T.B]:visit[T.{v}]" for v in "234"},
}  # fmt: skip


def residual_matrix(fit) -> np.ndarray:
    structure = fit.problem.residual.structure
    own = fit.fit.theta[:, fit.fit.theta.shape[1] - len(structure.names) :]
    return structure.evaluate(own)[0][0]


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("kind", ["cs", "csh", "ar1", "arh1", "un", "by sex"])
def test_fits_equal_nlme(kind, method):
    """The script ends gls's search by Newton steps on numerical derivatives, so that 1e-6 holds."""
    (wanted,) = (
        a for a in stored()["gls"] if (a["structure"], a["method"]) == (kind, method)
    )  # fmt: skip
    text = kind if kind.startswith("by") else f"{kind}(visit | subject)"
    fit = lmm(
        "y ~ arm * visit + sex", repeated(), residual=text, ddf="residual", method=method.lower()
    )
    assert newton_step(fit) < NEWTON
    table = fit.coefficients
    for name, value in wanted["estimate"].items():
        np.testing.assert_allclose(table.loc[GLS_NAMES[name], "estimate"], value, rtol=1e-6)
    n, q = fit.problem.x.shape
    # under ML gls reports standard errors with the variance over n - q
    ratio = np.sqrt(n / (n - q)) if method == "ML" else 1.0
    for name, value in wanted["se"].items():
        np.testing.assert_allclose(table.loc[GLS_NAMES[name], "se"] * ratio, value, rtol=1e-6)
    np.testing.assert_allclose(fit.loglik, wanted["log_likelihood"], atol=1e-7)
    c = residual_matrix(fit)
    levels = fit.problem.residual.structure.levels
    by_level = dict(zip(levels, np.diag(c), strict=True))
    assert set(wanted["variance"]) == ({"all"} if kind in ("cs", "ar1") else set(by_level))
    for level, value in wanted["variance"].items():
        np.testing.assert_allclose(by_level.get(level, c[0, 0]), value, rtol=1e-6)
    if wanted["correlation"]:
        sd = np.sqrt(np.diag(c))
        corr = (c / np.outer(sd, sd))[np.triu_indices(len(c), 1)]
        got = corr if kind == "un" else corr[:1]
        np.testing.assert_allclose(got, wanted["correlation"], rtol=1e-6)


def point(kind: str, k: int) -> np.ndarray:
    """Return parameters inside the space, all different."""
    structure = residual_structure(kind, [str(i) for i in range(k)])
    theta, variances, free = [], 0, 0
    for i, sort in enumerate(structure.kinds):
        if sort == 1:
            theta.append(1.0 + 0.3 * variances)
            variances += 1
        elif structure.names[i].startswith("rho"):
            theta.append(0.4 / (1 + free))
            free += 1
        else:
            theta.append(0.35 / (1 + free))
            free += 1
    return np.array(theta)


ALL = ("id", "by", *KINDS)


@pytest.mark.parametrize("kind", ALL)
def test_derivatives_of_a_structure_by_finite_differences(kind):
    """Central differences: error h^2 of the third derivative, and rounding over h."""
    k = 1 if kind == "id" else 4
    structure = residual_structure(kind, [str(i) for i in range(k)])
    theta, h = point(kind, k), 1e-5
    c, d, dd = (a[0] for a in structure.evaluate(theta[None]))
    np.testing.assert_allclose(c, c.T)
    assert np.linalg.eigvalsh(c).min() > 0
    np.testing.assert_allclose(dd, dd.transpose(1, 0, 2, 3), atol=1e-15)
    for r in range(len(theta)):
        e = h * np.eye(len(theta))[r]
        up, down = structure.evaluate((theta + e)[None]), structure.evaluate((theta - e)[None])
        np.testing.assert_allclose((up[0][0] - down[0][0]) / (2 * h), d[r], atol=1e-9)
        np.testing.assert_allclose((up[1][0] - down[1][0]) / (2 * h), dd[r], atol=1e-9)


@pytest.mark.parametrize("ml", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_score_and_observed_information_by_finite_differences(kind, ml):
    problem = build_problem("y ~ arm + visit", repeated(), residual=f"{kind}(visit | subject)")
    moments = make_moments(problem, problem.y[None])
    theta, h, row = point(kind, 4), 1e-5, np.array([0])
    at = evaluate(moments, theta[None], row, ml=ml)
    for r in range(len(theta)):
        e = h * np.eye(len(theta))[r]
        up = evaluate(moments, (theta + e)[None], row, ml=ml)
        down = evaluate(moments, (theta - e)[None], row, ml=ml)
        slope = (up.loglik - down.loglik) / (2 * h)
        # log-likelihoods near 200 carry 3e-14 each: 2e-9 after division by 2h, and h^2 terms
        np.testing.assert_allclose(slope, at.score[:, r], rtol=1e-7, atol=1e-6)
        curve = -(up.score - down.score) / (2 * h)
        np.testing.assert_allclose(curve, at.observed[:, r], rtol=1e-6, atol=1e-6)


def test_expected_information_is_the_mean_of_the_observed():
    """AR(1), drawn at the truth: the mean of 4,000 draws within five standard errors."""
    problem = build_problem("y ~ arm", repeated(), residual="ar1(visit | subject)")
    truth = np.array([1.3, 0.5])
    c = problem.residual.structure.evaluate(truth[None])[0][0]
    level, same = problem.residual.level, problem.residual.same(np.arange(len(problem.y)))
    root = np.linalg.cholesky(c[np.ix_(level, level)] * same)
    y = np.random.default_rng(7).standard_normal((4000, len(root))) @ root.T
    moments = make_moments(problem, y)
    scaled = np.stack([truth[0] / moments.scale, np.full(4000, truth[1])], axis=1)
    at = evaluate(moments, scaled, np.arange(4000))
    unit = np.stack([moments.scale, np.ones(4000)], axis=1)
    back = at.observed / (unit[:, :, None] * unit[:, None, :])
    wanted = at.expected / (unit[:, :, None] * unit[:, None, :])
    gap = back - wanted
    z = gap.mean(axis=0) / (gap.std(axis=0) / np.sqrt(4000))
    assert np.abs(z).max() < 5


@pytest.mark.parametrize(
    ("residual", "words"),
    [
        ("ar(visit | subject)", "ar1"),
        ("un(visit)", "un(visit | subject)"),
        ("by day", "day"),
        ("un(arm | subject)", "two rows"),
    ],
)
def test_what_cannot_be_read_is_said(residual, words):
    with pytest.raises((FormulaError, DataError)) as error:
        lmm("y ~ arm", repeated(), residual=residual)
    assert words in str(error.value)


def test_toeplitz_of_two_visits_is_compound_symmetry():
    d = repeated()
    d = d[d["visit"].isin(["1", "2"])]
    fits = [lmm("y ~ arm", d, residual=f"{k}(visit | subject)") for k in ("cs", "toep", "ar1")]
    for other in fits[1:]:  # three searches, one optimum
        np.testing.assert_allclose(other.loglik, fits[0].loglik, rtol=1e-12)
        np.testing.assert_allclose(
            other.coefficients["estimate"], fits[0].coefficients["estimate"], rtol=1e-9
        )
