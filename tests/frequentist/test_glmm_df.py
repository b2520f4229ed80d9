"""Degrees of freedom of ``glmm``: z, or those between units; identities and sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm, t

from ketastats.core.errors import DataError
from ketastats.frequentist.gee import gee
from ketastats.frequentist.glmm import glmm, glmm_many
from ketastats.frequentist.quadrature import REASONS
from ketastats.problem.questions import as_estimands

RIGHT = "drug * time + (1 | mouse)"
COUNTS = "drug * position + (1 | mouse)"
QUESTION = {"drug": "B - A", "time": "post - pre"}
DRAWS = 2000
ERROR = float(np.sqrt(0.05 * 0.95 / DRAWS))
"""Monte-Carlo error of a size of 5 %: half a percent."""
SIZES = {
    "8 a drug": {"z": (0.0465, 0.0695), "between": (0.0300, 0.0485)},
    "11 a drug": {"z": (0.0585, 0.0665), "between": (0.0405, 0.0510)},
    "counts": {"z": (0.0570, 0.0675), "between": (0.0535, 0.0590)},
}
"""Measured on the link scale: the interaction with time or position, and the drug averaged over it.
They are those of docs/outcomes.md."""


def plan(mice: int) -> pd.DataFrame:
    """Return ``mice`` mice per drug, before and after, 30 trials each."""
    rows = [(f"m{m}", "AB"[m >= mice], time) for m in range(2 * mice) for time in ("pre", "post")]
    d = pd.DataFrame(rows, columns=["mouse", "drug", "time"])
    return d.assign(time=pd.Categorical(d["time"], ["pre", "post"]), of=30)


def positions(mice: int = 24) -> pd.DataFrame:
    """Return ``mice`` mice per drug with one count at each of ten positions."""
    rows = [(f"m{m}", "AB"[m >= mice], p) for m in range(2 * mice) for p in "abcdefghij"]
    return pd.DataFrame(rows, columns=["mouse", "drug", "position"])


def failures(d: pd.DataFrame, count: int, seed: int) -> np.ndarray:
    """Return synthetic outcomes without an effect of the drug; mice differ with an SD of 0.8."""
    rng = np.random.default_rng(seed)
    mouse, post = pd.factorize(d["mouse"])[0], (d["time"] == "post").to_numpy(float)
    own = rng.normal(0, 0.8, (count, mouse.max() + 1))[:, mouse]
    return rng.binomial(30, expit(-0.5 + 0.8 * post + own)).astype(float)


def clumped(d: pd.DataFrame, count: int, seed: int) -> np.ndarray:
    """Return synthetic counts of 2 to 12 without an effect; alpha 0.3, an SD of 0.5 of mice."""
    rng = np.random.default_rng(seed)
    mouse, place = (pd.factorize(d[c])[0] for c in ("mouse", "position"))
    eta = (
        0.7
        + 1.8 * np.sin(np.pi * place / 9)
        + rng.normal(0, 0.5, (count, mouse.max() + 1))[:, mouse]
    )
    return rng.poisson(np.exp(eta) * rng.gamma(1 / 0.3, 0.3, eta.shape)).astype(float)


def fitted(d: pd.DataFrame, y: np.ndarray, ddf: str, **options):
    given = {"family": "binomial", "size": "of"} | options
    return glmm(f"hits ~ {RIGHT}", d.assign(hits=y), ddf=ddf, **given)


# ---- what it is ---------------------------------------------------------------------------------


def test_between_is_t_with_the_units_less_the_rank_between_them():
    d = plan(8)
    z, between = (fitted(d, failures(d, 1, 1)[0], ddf) for ddf in ("z", "between"))
    assert list(between.coefficients.columns)[:5] == ["estimate", "se", "df", "t", "p"]
    assert list(z.coefficients.columns)[3] == "z" and (z.coefficients["df"] == np.inf).all()
    a, b = z.coefficients, between.coefficients
    np.testing.assert_array_equal(a[["estimate", "se"]], b[["estimate", "se"]])
    np.testing.assert_array_equal(a["z"], b["t"])
    assert (b["df"] == 14).all()  # 16 mice, intercept and drug
    np.testing.assert_allclose(b["p"], 2 * t.sf(np.abs(b["t"]), 14), rtol=1e-12)
    half = t.ppf(0.975, 14) * b["se"]
    np.testing.assert_allclose(b["ci_high"] - b["estimate"], half, rtol=1e-10)
    for scale in ("link", "natural"):
        one, two = (f.contrast(QUESTION, scale=scale).iloc[0] for f in (z, between))
        assert one["method"] == f"ML, 25 nodes, z, {scale} scale"
        assert two["method"] == f"ML, 25 nodes, between-unit t, {scale} scale"
        assert two["df"] == 14 and one["df"] == np.inf
        assert one["statistic"] == two["statistic"]
        assert two["p"] == pytest.approx(2 * t.sf(abs(two["statistic"]), 14), rel=1e-12)
    mean = between.contrast({"drug": "A"}, scale="natural").iloc[0]
    assert 0 < mean["ci_low"] < z.contrast({"drug": "A"}, scale="natural")["ci_low"].item()
    drawn = between.contrast(QUESTION, interval="bootstrap", draws=39).iloc[0]
    assert np.isnan(drawn["df"]) and "bootstrap of 39 draws" in drawn["method"]
    assert "between-unit t" in str(between) and "z is for many" not in str(between)


def test_the_df_are_those_of_gee():
    d = plan(8).assign(sex=lambda f: np.where(f["mouse"].str[-1].astype(int) % 2, "F", "M"))
    y = failures(d, 1, 2)[0]
    y[[3, 8, 9]] = np.nan  # one row of a mouse, and another mouse whole
    d = d.assign(hits=y)
    for right in (RIGHT, "drug * sex + time + (1 | mouse)", "time + (1 | mouse)"):
        options = {"family": "binomial", "size": "of", "ddf": "between"}
        wanted = gee(f"hits ~ {right}", d, **options).coefficients["df"]
        got = glmm(f"hits ~ {right}", d, **options).coefficients["df"]
        assert got.tolist() == wanted.tolist()
    assert fitted(d, y, "between").df == 13


def test_each_of_many_has_the_df_of_its_own_rows():
    d = plan(8)
    y = failures(d, 4, 3)
    y[1, :4] = np.nan
    y[2] = np.nan
    many = glmm_many(RIGHT, d, y, family="binomial", size="of", ddf="between")
    np.testing.assert_array_equal(many.df[:, 0], [14, 12, np.nan, 14])
    for b in (0, 1, 3):
        alone = fitted(d, y[b], "between").coefficients
        np.testing.assert_allclose(many.p[b], alone["p"], rtol=1e-10)
        np.testing.assert_allclose(many.ci_low[b], alone["ci_low"], rtol=1e-10)
    plain = glmm_many(RIGHT, d, y, family="binomial", size="of")
    np.testing.assert_allclose(plain.p[0], 2 * norm.sf(np.abs(plain.z[0])), rtol=1e-12)
    np.testing.assert_array_equal(plain.z, many.z)


def test_without_a_random_intercept_rows_are_the_units():
    d = plan(8)
    fit = glmm(
        "hits ~ drug * time", d.assign(hits=failures(d, 1, 4)[0]), family="binomial", size="of",
        ddf="between",
    )  # fmt: skip
    assert fit.df == 32 - 4


def test_as_many_coefficients_as_units_leave_no_test():
    """Four mice, intercept, drug and dose between them; the second outcome has three of them."""
    d = plan(2)
    d["dose"] = d["mouse"].map({"m0": 0.0, "m1": 1.0, "m2": 2.0, "m3": 4.0})
    y = np.array([[9.0, 14, 8, 12, 14, 16, 12, 9]] * 2)
    y[1, 6:] = np.nan
    right, options = "dose + drug + time + (1 | mouse)", {"family": "binomial", "size": "of"}
    fit = glmm_many(right, d, y, ddf="between", **options)
    assert fit.df[0, 0] == 1 and np.isfinite(fit.p[0]).all()
    assert fit.status[1] == "failed" and REASONS[fit.reason[1]].endswith("no degrees of freedom")
    assert np.isnan([fit.estimate[1], fit.p[1], fit.ci_low[1]]).all() and np.isnan(fit.sd[1])
    assert np.isfinite(glmm_many(right, d, y, **options).p).all()


def test_another_ddf_is_refused():
    d = plan(8)
    with pytest.raises(DataError, match="ddf: there is no ddf 'betwen'; did you mean 'between'"):
        fitted(d, failures(d, 1, 5)[0], "betwen")
    with pytest.raises(DataError, match="no ddf 'satterthwaite'; use one of 'z', 'between'"):
        glmm_many(RIGHT, d, failures(d, 1, 5), family="binomial", size="of", ddf="satterthwaite")


def test_an_analysis_of_a_study_has_t_only_where_it_says_between():
    """Any other ddf of an analysis is for other engines: z, as ever."""
    import ketastats as ks

    folder = Path(__file__).parents[1] / "study" / "examples"
    analysis = """
[analyses.{0}]
engine = "glmm"
family = "beta-binomial"
outcome = "failures"
formula = "drug * phase + sex + (1 | subject)"
role = "companion"
"""
    text = (folder / "mice.toml").read_text(encoding="utf-8") + analysis.format("plain")
    text += analysis.format("few") + 'ddf = "between"\n'
    study = ks.parse_study(text, where="mice")
    table_ = ks.analyse(study, seed=3).estimates
    plain, few = (table_[table_["analysis"] == n].iloc[0] for n in ("plain", "few"))
    assert plain["df"] == np.inf and plain["method"] == "ML, 25 nodes, z, natural scale"
    assert few["df"] == 22 - 3 and few["method"] == "ML, 25 nodes, between-unit t, natural scale"
    assert few["estimate"] == plain["estimate"] and few["p"] > plain["p"]


# ---- sizes --------------------------------------------------------------------------------------


def shares(case: str, ddf: str, scale: str = "link") -> np.ndarray:
    """Return how often p < 0.05 where nothing differs: the interaction, and the drug averaged."""
    if case == "counts":
        d, right, inside = positions(), COUNTS, {"drug": "B - A", "position": "j - a"}
        y, options = clumped(d, DRAWS, 20261130), {"family": "negative-binomial"}
    else:
        d, right, inside = plan(int(case.split()[0])), RIGHT, QUESTION
        y, options = failures(d, DRAWS, 20261121 + len(d)), {"family": "binomial", "size": "of"}
    problem = glmm(f"hits ~ {right}", d.assign(hits=y[0]), **options).problem
    asked = (*as_estimands(problem, inside), *as_estimands(problem, {"drug": "B - A"}))
    fits = glmm_many(right, d, y, ddf=ddf, estimands=asked, scale=scale, **options)
    assert fits.converged.mean() > 0.999
    return (fits.p[fits.converged] < 0.05).mean(axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("ddf", ["z", "between"])
@pytest.mark.parametrize("case", SIZES)
def test_sizes_are_those_of_the_documentation(case, ddf):
    """Seeds are fixed, so the sizes are too, up to two draws at the very edge."""
    got = shares(case, ddf)
    np.testing.assert_allclose(got, SIZES[case][ddf], atol=0.0011)
    if ddf == "between":  # conservative within mice at worst, and never liberal beyond 1 %
        assert np.all(got < 0.05 + 2 * ERROR)
