"""What a fit is asked for: means, pairs, tables, comparison, intervals, residuals, sizes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ketastats.core.errors import DataError, NotEstimable
from ketastats.frequentist.baseline import baseline_split
from ketastats.frequentist.effect_sizes import spreads
from ketastats.frequentist.lmm import lmm
from ketastats.frequentist.residuals import block_covariance
from ketastats.frequentist.small_sample import parameter_covariance

FEATURES = Path(__file__).parents[1] / "reference" / "features"
FOLDER = Path(os.environ.get("KETASTATS_REFERENCE_DATA", "no-such-folder"))
outside = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="KETASTATS_REFERENCE_DATA names no folder with reference data"
)
DDF = ("satterthwaite", "kenward-roger")
RTOL = 1e-6
"""R's numbers come from a maximum found with numerical derivatives (a few 1e-8); p values of
pairs move by several times that."""
TUKEY = 1e-5
"""Of a p value by the studentised range: R's ptukey stops its own integration at 1e-8 absolute."""
ARMS = "y ~ treatment * sex + base + (1 | subject)"
SLOPES = "y ~ arm * time + (1 + time | subject)"


def stored() -> dict:
    return json.loads((FEATURES / "answers.json").read_text(encoding="utf-8"))


def model(name: str) -> dict:
    return next(m for m in stored()["models"] if m["name"] == name)


def table(name: str) -> pd.DataFrame:
    d = pd.read_csv(FEATURES / f"{name}.csv")
    return d.astype({"subject": str})


def arms(ddf: str = "kenward-roger", **options):
    return lmm(ARMS, table("arms"), ddf=ddf, **options)


# ---- against R ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ddf", DDF)
def test_means_equal_emmeans(ddf):
    """Covariates at their means over the rows, as emmeans holds them."""
    got = arms(ddf).means("treatment", "sex")
    wanted = stored()["means"][ddf.replace("-", "_")]
    assert len(got) == len(wanted) == 6
    for w in wanted:
        row = got.loc[(w["treatment"], w["sex"])]
        pairs = {"estimate": "emmean", "se": "SE", "df": "df", "ci_low": "lower.CL",
                 "ci_high": "upper.CL"}  # fmt: skip
        for mine, theirs in pairs.items():
            np.testing.assert_allclose(row[mine], w[theirs], rtol=RTOL)


@pytest.mark.parametrize("ddf", DDF)
@pytest.mark.parametrize("adjust", ["tukey", "holm", "bonferroni", None])
def test_pairs_equal_emmeans(ddf, adjust):
    got = arms(ddf).pairs("treatment", adjust=adjust)
    wanted = stored()["pairs"][ddf.replace("-", "_")][adjust or "none"]
    names = [n.replace("'", "") for n in got["estimand"]]
    for w in wanted:
        row = got.iloc[names.index(w["contrast"])]
        for mine, theirs in {"estimate": "estimate", "se": "SE", "df": "df"}.items():
            np.testing.assert_allclose(row[mine], w[theirs], rtol=RTOL)
        np.testing.assert_allclose(row["statistic"], w["t.ratio"], rtol=RTOL)
        p = row["p_adjusted"] if adjust else row["p"]
        limit = TUKEY if adjust == "tukey" else RTOL
        np.testing.assert_allclose(p, w["p.value"], rtol=limit, atol=2e-8)


@pytest.mark.parametrize("ddf", DDF)
def test_pairs_within_men_equal_emmeans(ddf):
    got = arms(ddf).pairs("treatment", within={"sex": "M"})
    wanted = stored()["pairs"][ddf.replace("-", "_")]["men_tukey"]
    assert len(got) == 3
    for w in wanted:
        (row,) = (r for _, r in got.iterrows()
                  if r["estimand"].replace("'", "").startswith(w["contrast"]))  # fmt: skip
        np.testing.assert_allclose(row["estimate"], w["estimate"], rtol=RTOL)
        np.testing.assert_allclose(row["df"], w["df"], rtol=RTOL)
        np.testing.assert_allclose(row["p_adjusted"], w["p.value"], rtol=TUKEY, atol=2e-8)


@pytest.mark.parametrize("ddf", DDF)
@pytest.mark.parametrize("kind", [1, 2, 3])
def test_tables_equal_lmertest(ddf, kind):
    """Satterthwaite's joint df depend on the basis of the rows: a term that no other contains is
    tested by its own coefficients, in types 2 and 3 alike."""
    got = arms(ddf).anova(kind)
    wanted = stored()["tables"][ddf.replace("-", "_")][str(kind)]
    assert set(got.index) == set(wanted)
    for term, w in wanted.items():
        for name in ("num_df", "den_df", "F", "p"):
            np.testing.assert_allclose(
                got.loc[term, name], w[name], rtol=RTOL, err_msg=f"{term} {name}"
            )


def test_type_2_of_a_factor_that_meets_a_covariate_equals_lmertest_and_sas():
    """A factor is not contained in its product with a covariate: both adjust it for the slopes."""
    fit = lmm("y ~ arm * time + (1 | subject)", table("slopes"), ddf="satterthwaite")
    got = fit.anova(2)
    for term, w in stored()["covariate_type2"].items():
        for name in ("num_df", "den_df", "F", "p"):
            np.testing.assert_allclose(
                got.loc[term, name], w[name], rtol=RTOL, err_msg=f"{term} {name}"
            )


@pytest.mark.parametrize("ddf", DDF)
def test_joint_test_of_rows_equals_lmertest(ddf):
    fit, wanted = arms(ddf), stored()["joint"]
    plain = [
        n.replace("[T.", "").replace("]", "").replace("Intercept", "(Intercept)")
        for n in fit.problem.names
    ]
    rows = np.array(wanted["rows"])[:, [wanted["terms"].index(n) for n in plain]]
    got, answer = fit.test(rows), wanted[ddf.replace("-", "_")]
    assert got.num_df == answer["num_df"] == 3
    np.testing.assert_allclose(got.f[0], answer["F"], rtol=RTOL)
    np.testing.assert_allclose(got.den_df[0], answer["den_df"], rtol=RTOL)
    np.testing.assert_allclose(got.p[0], answer["p"], rtol=RTOL)
    mixed = np.array([[1.0, 2, -1], [0, 1, 3], [0, 0, 2]]) @ rows  # the same hypothesis
    np.testing.assert_allclose(fit.test(mixed).f[0], got.f[0], rtol=1e-9)


def test_rows_that_cannot_be_tested_are_refused():
    fit = arms()
    row = np.eye(len(fit.problem.names))[1]
    with pytest.raises(NotEstimable, match="dependent"):
        fit.test(np.array([row, 2 * row]))
    with pytest.raises(NotEstimable, match="columns"):
        fit.test(row[:-1])
    with pytest.raises(NotEstimable, match="type 4"):
        fit.anova(4)


@pytest.mark.parametrize("name", ["correlated", "arms"])
def test_conditional_means_equal_fitted(name):
    formula, file = {"correlated": (SLOPES, "slopes"), "arms": (ARMS, "arms")}[name]
    fit = lmm(formula, table(file))
    np.testing.assert_allclose(fit.predict(), model(name)["fitted"], rtol=RTOL)
    np.testing.assert_allclose(
        fit.problem.y - fit.predict(), fit.residuals("conditional"), atol=1e-12
    )


def test_maximum_likelihood_equals_lme4():
    fit = lmm(SLOPES, table("slopes"), method="ml", ddf="satterthwaite")
    wanted = model("ml")
    np.testing.assert_allclose(fit.loglik, wanted["log_likelihood"], rtol=1e-10)
    np.testing.assert_allclose([fit.aic, fit.bic], [wanted["aic"], wanted["bic"]], rtol=1e-10)
    reml = lmm(SLOPES, table("slopes"))
    wanted = model("correlated")
    np.testing.assert_allclose([reml.aic, reml.bic], [wanted["aic"], wanted["bic"]], rtol=1e-10)


@pytest.mark.oracle
@outside
def test_criteria_of_the_heart_rates_as_printed():
    d = pd.read_csv(FOLDER / "sasmixed_hr" / "data.csv")
    fit = lmm("y ~ time * drug + baseline + (1 + time | subject)", d, method="ml",
              ddf="satterthwaite")  # fmt: skip
    # printed to two decimals
    np.testing.assert_allclose([fit.loglik, fit.aic, fit.bic], [-393.88, 809.75, 840.42], atol=5e-3)


@pytest.mark.oracle
@outside
@pytest.mark.parametrize(
    ("formula", "residual", "minus2"),
    [
        ("y ~ sex * C(age)", "un(age | subject)", 416.509),
        ("y ~ sex * age", "un(age | subject)", 419.477),
        ("y ~ sex * age", "ar1(age | subject)", 440.681),
        ("y ~ sex * age + (1 + age | subject)", None, 427.806),
        ("y ~ sex * age", "cs(age | subject)", 428.639),
        ("y ~ sex * age + (1 | subject)", None, 428.639),
    ],
)
def test_likelihoods_of_the_growth_data_as_printed(formula, residual, minus2):
    d = pd.read_csv(FOLDER / "pothoff_roy_sex" / "data.csv")
    fit = lmm(formula, d, residual=residual, method="ml", ddf="satterthwaite")
    assert fit.status == "ok"
    np.testing.assert_allclose(-2 * fit.loglik, minus2, atol=5.5e-4)  # three decimals


# ---- by hand ------------------------------------------------------------------------------------


def test_one_more_variance_is_compared_with_half_and_half():
    """One variance: half a point mass at 0, half chi-squared on 1."""
    d = table("arms")
    small, large = (
        lmm("y ~ treatment", d, ddf="satterthwaite"),
        lmm("y ~ treatment + (1 | subject)", d, ddf="satterthwaite"),
    )
    ratio = large.compare(small)
    statistic = 2 * (large.loglik - small.loglik)
    np.testing.assert_allclose(ratio.statistic, statistic, rtol=1e-12)
    np.testing.assert_allclose(ratio.p, 0.5 * stats.chi2.sf(statistic, 1), rtol=1e-10)
    assert ratio.df == 1 and "mixture" in ratio.reference
    assert small.compare(large) == ratio


def test_a_slope_with_its_covariance_is_compared_with_one_and_two():
    d = table("slopes")
    large, small = lmm(SLOPES, d), lmm("y ~ arm * time + (1 | subject)", d)
    ratio = large.compare(small)
    wanted = 0.5 * (stats.chi2.sf(ratio.statistic, 1) + stats.chi2.sf(ratio.statistic, 2))
    np.testing.assert_allclose(ratio.p, wanted, rtol=1e-10)
    assert ratio.df == 2


def test_fixed_parts_are_compared_by_ml_only():
    d = table("arms")
    ml = [lmm(f"y ~ {f} + (1 | subject)", d, method="ml", ddf="satterthwaite")
          for f in ("sex", "treatment + sex")]  # fmt: skip
    ratio = ml[1].compare(ml[0])
    assert ratio.df == 2
    np.testing.assert_allclose(ratio.p, stats.chi2.sf(ratio.statistic, 2), rtol=1e-10)
    reml = [lmm(f"y ~ {f} + (1 | subject)", d) for f in ("sex", "treatment + sex")]
    with pytest.raises(DataError, match="REML"):
        reml[1].compare(reml[0])
    with pytest.raises(DataError, match="one by ML"):
        reml[0].compare(ml[0])
    with pytest.raises(DataError, match="not nested"):
        lmm("y ~ base + (1 | subject)", d).compare(reml[1])
    with pytest.raises(DataError, match="different rows"):
        lmm("y ~ sex + (1 | subject)", d.iloc[3:]).compare(reml[0])


def test_structures_that_are_not_nested_are_refused():
    """AR(1) is no special case of uncorrelated rows with a variance per sex, nor the reverse."""
    d = pd.read_csv(FEATURES / "repeated.csv").astype({"subject": str, "visit": str})
    ar1 = lmm("y ~ arm", d, residual="ar1(visit | subject)")
    toep = lmm("y ~ arm", d, residual="toep(visit | subject)")
    assert toep.compare(ar1).df == 2
    arh1 = lmm("y ~ arm", d, residual="arh1(visit | subject)")
    by_sex = lmm("y ~ arm", d, residual="by sex")
    with pytest.raises(DataError, match="not nested"):
        arh1.compare(by_sex)


@pytest.mark.parametrize("ddf", ["kenward-roger", "kenward-roger-observed"])
def test_kenward_roger_is_refused_under_ml(ddf):
    with pytest.raises(DataError, match="REML"):
        arms(ddf, method="ml")


def test_intervals_of_variances_by_the_formula():
    """Chi-squared with 2 (v / se)^2 df for variances, normal for covariances."""
    fit = lmm(SLOPES, table("slopes"))
    got = fit.variance_intervals()
    se = np.sqrt(np.diag(np.linalg.inv(fit.fit.at.observed[0])))
    np.testing.assert_allclose(got["se"], se, rtol=1e-9)  # two ways to invert
    for name in ("subject 1", "subject time", "residual"):
        row = got.loc[name]
        df = 2 * (row["estimate"] / row["se"]) ** 2
        ends = df * row["estimate"] / stats.chi2.ppf([0.975, 0.025], df)
        np.testing.assert_allclose([row["ci_low"], row["ci_high"]], ends, rtol=1e-9)
    row = got.loc["subject 1, time"]
    ends = row["estimate"] + row["se"] * stats.norm.ppf([0.025, 0.975])
    np.testing.assert_allclose([row["ci_low"], row["ci_high"]], ends, rtol=1e-9)
    assert row["method"] == "normal"


def test_a_variance_on_the_boundary_has_no_interval():
    d = table("arms").assign(y=lambda x: x["base"] * 0 + np.resize([1.0, -1.0, 0.3], len(x)))
    fit = lmm("y ~ sex + (1 | subject)", d)
    assert fit.status == "boundary"
    row = fit.variance_intervals().loc["subject"]
    assert np.isnan([row["ci_low"], row["ci_high"], row["se"]]).all()
    assert "boundary" in row["method"]


@pytest.mark.parametrize(
    ("file", "formula", "residual"),
    [
        ("slopes", SLOPES, None),
        ("arms", ARMS, "by sex"),
        ("repeated", "y ~ arm * visit", "arh1(visit | subject)"),
    ],
)
def test_scaled_residuals_have_identity_covariance(file, formula, residual):
    """The map from y to scaled residuals is L^-1: L^-1 V L^-T = I, found by unit vectors."""
    d = table(file)
    d = d.assign(visit=d["visit"].astype(str)) if "visit" in d else d
    fit = lmm(formula, d, residual=residual)
    p, theta = fit.problem, fit.fit.theta[0]
    n = len(p.y)
    v = np.zeros((n, n))
    for b in np.unique(p.block):
        rows = np.flatnonzero(p.block == b)
        v[np.ix_(rows, rows)] = block_covariance(p, theta, rows)
    np.testing.assert_allclose(fit.residuals("raw"), p.y - p.x @ fit.fit.beta[0], atol=1e-12)
    from ketastats.frequentist.residuals import residuals

    none = np.zeros_like(fit.fit.beta[0])
    linear = np.array([residuals(p, e, none, theta, "scaled") for e in np.eye(n)]).T
    np.testing.assert_allclose(linear @ v @ linear.T, np.eye(n), atol=1e-10)
    np.testing.assert_allclose(linear @ fit.residuals("raw"), fit.residuals("scaled"), rtol=1e-9)
    # the REML quadratic form y'Py is the sum of squares of the scaled residuals
    quadratic = fit.residuals("raw") @ np.linalg.solve(v, fit.residuals("raw"))
    np.testing.assert_allclose((fit.residuals("scaled") ** 2).sum(), quadratic, rtol=1e-10)
    np.testing.assert_allclose(quadratic, n - p.x.shape[1], rtol=1e-8)  # by the score equations
    with pytest.raises(DataError, match="studentised"):
        fit.residuals("studentised")


def test_predictions_for_new_rows_are_the_fixed_part():
    fit, d = arms(), table("arms")
    new = d.iloc[[0, 5, 9]].drop(columns=["y", "subject"])
    beta = fit.coefficients["estimate"]
    wanted = []
    for _, row in new.iterrows():
        b, c, m = row["treatment"] == "B", row["treatment"] == "C", row["sex"] == "M"
        values = {"Intercept": 1, "treatment[T.B]": b, "treatment[T.C]": c, "sex[T.M]": m,
                  "base": row["base"], "treatment[T.B]:sex[T.M]": b * m,
                  "treatment[T.C]:sex[T.M]": c * m}  # fmt: skip
        wanted.append(sum(float(values[n]) * beta[n] for n in beta.index))
    np.testing.assert_allclose(fit.predict(new), wanted, rtol=1e-12)


# ---- sizes --------------------------------------------------------------------------------------


def test_sizes_are_the_contrast_over_named_deviations():
    fit = arms("satterthwaite")
    got = fit.effect_sizes({"treatment": "B - A"})
    row = fit.contrast({"treatment": "B - A"}).iloc[0]
    person, residual = fit.variance
    sd = {"raw": 1.0, "residual SD": residual**0.5, "within-unit SD": residual**0.5,
          "total SD": (person + residual) ** 0.5}  # fmt: skip
    assert list(got.index) == list(sd)
    np.testing.assert_allclose(got["sd"], list(sd.values()), rtol=1e-9)
    np.testing.assert_allclose(got["estimate"], row["estimate"] / got["sd"], rtol=1e-9)
    raw = got.loc["raw"]
    np.testing.assert_allclose(raw[["ci_low", "ci_high"]].astype(float),
                               row[["ci_low", "ci_high"]].astype(float), rtol=1e-10)  # fmt: skip
    w = parameter_covariance(fit.fit, "observed", "leave out")[0]
    d = row["estimate"] / sd["total SD"]
    total = person + residual
    wanted = np.sqrt(row["se"] ** 2 / total + d**2 * w.sum() / (4 * total**2))
    # the gradient is a central difference over steps of 1e-6: 1e-9 of rounding
    np.testing.assert_allclose(got.loc["total SD", "se"], wanted, rtol=1e-7)
    np.testing.assert_allclose(spreads(fit.problem, fit.fit.theta[0])[2].gradient, 1, rtol=1e-7)


def test_standard_error_of_a_size_by_simulation():
    """400 draws: the spread of d against the mean of its own standard errors."""
    from ketastats.frequentist.lmm import lmm_many

    d = table("arms")
    rng = np.random.default_rng(8)
    who, _ = pd.factorize(d["subject"])
    y = rng.normal(0, 1.0, (400, who.max() + 1))[:, who] + rng.normal(size=(400, len(d)))
    y = y + 1.5 * (d["treatment"] == "B").to_numpy()
    right = "treatment + (1 | subject)"
    many = lmm_many(right, d, y, ddf="satterthwaite")
    column = many.terms.index("treatment[T.B]")
    size = many.estimate[:, column] / np.sqrt(many.variance[:, -1])
    se = [
        lmm(f"y ~ {right}", d.assign(y=row), ddf="satterthwaite")
        .effect_sizes({"treatment": "B - A"}).loc["residual SD", "se"]
        for row in y[:40]
    ]  # fmt: skip
    # the spread of 400 draws has a standard error of 1/28, the mean of 40 one of about 0.02;
    # dividing by an estimated SD (33 df) makes the truth about 4 per cent larger: 0.17 in all
    np.testing.assert_allclose(np.mean(se), size.std(ddof=1), rtol=0.17)


# ---- period baselines ---------------------------------------------------------------------------


@pytest.mark.oracle
@outside
def test_period_baselines_of_the_asthma_trial():
    """Mean and deviation, one call: the formula with both columns, as written by hand."""
    d = pd.read_csv(FOLDER / "senn_asthma_pef" / "data.csv")
    split = baseline_split(d, "baseline")
    mean = d.groupby("subject")["baseline"].transform("mean")
    np.testing.assert_allclose(split["baseline_mean"], mean, rtol=1e-14)
    np.testing.assert_allclose(split["baseline_within"], d["baseline"] - mean, atol=1e-12)
    d = split.astype({"subject": str, "period": str})
    formula = "y ~ sequence + period + treatment + baseline_mean + baseline_within + (1 | subject)"
    fit = lmm(formula, d)
    assert fit.status in ("ok", "boundary")
    assert np.isfinite(fit.coefficients.to_numpy()).all()
    both = fit.contrast({"treatment": "F - S"}).iloc[0]
    # the mean per person cannot touch a comparison within complete people
    without = lmm(formula.replace(" + baseline_mean", ""), d).contrast({"treatment": "F - S"})
    np.testing.assert_allclose(both["estimate"], without["estimate"].item(), rtol=1e-9)


# ---- covariates under type 3, pictures, blocks --------------------------------------------------


@pytest.mark.oracle
@outside
def test_type_three_prints_the_covariate_it_is_asked_at():
    """Sex by age in the growth data: F is .45 at age 0 and 9.29 at the mean age."""
    d = pd.read_csv(FOLDER / "pothoff_roy_sex" / "data.csv")
    fit = lmm("y ~ sex * age + (1 | subject)", d)
    at_zero, at_mean = fit.anova(), fit.anova(covariates="mean")
    assert at_zero.loc["sex", "F"] == pytest.approx(0.45, abs=0.005)
    assert at_mean.loc["sex", "F"] == pytest.approx(9.29, abs=0.005)
    assert "at age = 0" in str(at_zero) and "at age = 11" in str(at_mean)
    # terms that hold no covariate fixed are the same tests
    pd.testing.assert_frame_equal(at_zero.loc[["sex:age"]], at_mean.loc[["sex:age"]], rtol=1e-9,
                                  check_names=False)  # fmt: skip


def test_at_the_mean_equals_centring_the_column():
    d = table("slopes")
    for formula in ("y ~ arm * time", "y ~ arm * time + arm * C(half)"):
        d = d.assign(half=np.arange(len(d)) % 2)
        fit = lmm(f"{formula} + (1 | subject)", d)
        used = d.iloc[fit.problem.rows]
        centred = d.assign(time=d["time"] - used["time"].mean())
        wanted = lmm(f"{formula} + (1 | subject)", centred).anova()
        # the same hypotheses of the same model in other columns
        np.testing.assert_allclose(fit.anova(covariates="mean"), wanted, rtol=1e-7)
        assert not np.allclose(fit.anova().loc["arm"], wanted.loc["arm"], rtol=1e-3)


def test_at_the_mean_is_refused_where_centring_changes_the_model():
    fit = lmm("y ~ arm:time + (1 | subject)", table("slopes"))
    with pytest.raises(NotEstimable, match="is another model"):
        fit.anova(covariates="mean")
    with pytest.raises(NotEstimable, match="has no covariates='mean'"):
        fit.anova(2, covariates="mean")


def test_a_factor_alone_names_no_covariate():
    frame = lmm("y ~ arm + time + (1 | subject)", table("slopes")).anova()
    assert frame.columns.name == "type 3, kenward-roger"


def test_residuals_are_drawn_and_saved(tmp_path):
    fit = lmm("y ~ arm * time + (1 | subject)", table("slopes"))
    picture = fit.plot()
    assert "Q-Q" in picture.svg and picture._repr_svg_() == picture.svg
    points = picture.svg.count("<use")
    assert points >= 2 * len(fit.residuals())  # one mark per row in either panel
    saved = picture.save(tmp_path / "residuals.svg")
    assert saved.read_text(encoding="utf-8").endswith(picture.svg)
    with pytest.raises(DataError, match=r"saved as SVG, not as \.png"):
        picture.save(tmp_path / "residuals.png")
    assert "fitted for this subject" not in repr(picture) and "SVG" in repr(picture)


def test_a_block_too_large_to_invert_is_refused():
    """Raters crossed with people tie every row to every other."""
    rng = np.random.default_rng(0)
    n = 2100
    d = pd.DataFrame({"person": np.arange(n) // 3, "rater": rng.integers(0, 7, n)})
    d = d.assign(drug=np.where(d["person"] % 2, "a", "b"), y=rng.normal(size=n))
    with pytest.raises(DataError, match="tie 2100 rows into one block, and at most 2000"):
        lmm("y ~ drug + (1 | person) + (1 | rater)", d)
    # nested, the same rows are blocks of three
    assert lmm("y ~ drug + (1 | person)", d).status in ("ok", "boundary")
