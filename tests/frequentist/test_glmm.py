"""``glmm`` from formula to answer: against R, brute-force integration, statsmodels and itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import expit, ndtr
from scipy.stats import norm

from ketastats.core.errors import DataError, NotEstimable
from ketastats.frequentist.glmm import glmm, glmm_many
from ketastats.frequentist.glmm_answers import coefficients_of, evaluate, infer
from ketastats.frequentist.inference import lay_out
from ketastats.frequentist.quadrature import GlmmFit
from ketastats.problem.questions import as_estimands

FOLDER = Path(__file__).parents[1] / "reference" / "glmm"
ANSWERS = json.loads((FOLDER / "answers.json").read_text(encoding="utf-8"))["models"]
R_RTOL = 1e-7
"""R's optima are polished by Newton steps (glmm.R)."""
R_ERRORS = 5e-6
"""R's Hessians are numerical derivatives; z follows them."""
P_RTOL = 1e-4
"""p below 1e-10 moves by z dz, some 30 times what the standard error does."""
SAME = 1e-10
"""One fit, one data set, written in two ways: the search stops within 1e-9 standard errors and its
arithmetic is the same but for the order of sums."""
FORMULAS = {
    "mice": "drug * phase + sex + (1 | mouse)",
    "branches": "arm + (1 | mouse)",
}
QUESTION = {"drug": "saline - ketamine", "phase": "treated - helpless"}
COLUMNS = ("estimate", "se", "z", "p", "ci_low", "ci_high")
BY_FAMILY = {
    "binomial": ("failures", "mice"),
    "binomial-probit": ("failures", "mice"),
    "beta-binomial": ("failures", "mice"),
    "poisson": ("count", "branches"),
    "negative-binomial": ("clumped", "branches"),
}


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(FOLDER / f"{name}.csv")


def fitted(family: str, data: pd.DataFrame | None = None, formula: str = "", **options):
    outcome, name = BY_FAMILY[family]
    amount = {"size": "trials"} if name == "mice" else {"exposure": "length"}
    data = table(name) if data is None else data
    return glmm(
        f"{outcome} ~ {formula or FORMULAS[name]}", data, family=family, **amount, **options
    )


def family_of(answer: dict) -> str:
    counts = answer.get("trials") is None
    if "overdispersed" in answer["name"]:
        return "negative-binomial" if counts else "beta-binomial"
    if "probit" in answer["name"]:
        return "binomial-probit"
    return "poisson" if counts else "binomial"


def of_answer(answer: dict):
    name = answer["table"][:-4]
    amount = {"size": "trials"} if name == "mice" else {"exposure": "length"}
    return glmm(
        f"{answer['outcome']} ~ {FORMULAS[name]}", table(name), family=family_of(answer),
        nodes=answer["nodes"], **amount,
    )  # fmt: skip


def r_name(name: str) -> str:
    return name.replace("[T.", "").replace("]", "").replace("Intercept", "(Intercept)")


every_answer = pytest.mark.parametrize(
    "answer", ANSWERS, ids=[f"{a['name']} {a['engine']} {a['nodes']}" for a in ANSWERS]
)


# ---- against R ----------------------------------------------------------------------------------


@every_answer
def test_coefficients_and_tests_equal_lme4_and_glmmtmb(answer):
    fit = of_answer(answer)
    got = fit.coefficients.rename(index=r_name)
    assert list(got.index) == answer["terms"]
    assert fit.status == ("boundary" if answer["sd"] == 0 else "ok")
    np.testing.assert_allclose(got["estimate"], answer["beta"], rtol=R_RTOL)
    np.testing.assert_allclose(got["se"], answer["se"], rtol=R_ERRORS)
    np.testing.assert_allclose(got["z"], answer["z"], rtol=R_ERRORS)
    np.testing.assert_allclose(got["p"], answer["p"], rtol=P_RTOL)
    assert (got["df"] == np.inf).all()
    spreads = fit.spreads
    np.testing.assert_allclose(spreads["estimate"].iloc[0], answer["sd"], rtol=R_RTOL)
    np.testing.assert_allclose(fit.variance["mouse"], answer["sd"] ** 2, rtol=R_RTOL)
    if "dispersion" in answer:
        name = "alpha" if family_of(answer) == "negative-binomial" else "rho"
        np.testing.assert_allclose(spreads.loc[name, "estimate"], answer["dispersion"], rtol=R_RTOL)
    np.testing.assert_allclose(fit.loglik, answer["loglik"], atol=1e-7)
    parameters = len(answer["terms"]) + len(spreads)
    assert fit.aic == pytest.approx(-2 * answer["loglik"] + 2 * parameters, abs=1e-6)
    logs = np.log(len(fit.problem.y))
    assert fit.bic == pytest.approx(-2 * answer["loglik"] + logs * parameters, abs=1e-6)


@every_answer
def test_contrasts_on_the_link_scale_equal_emmeans(answer):
    fit = of_answer(answer)
    for asked in answer["asked"]:
        row = fit.contrast(asked["contrast"], within=asked.get("within")).iloc[0]
        wanted = asked["link"]
        assert row["estimate"] == pytest.approx(wanted["estimate"], rel=R_ERRORS)
        assert row["se"] == pytest.approx(wanted["se"], rel=R_ERRORS)
        assert row["statistic"] == pytest.approx(wanted["z"], rel=R_ERRORS)
        assert row["p"] == pytest.approx(wanted["p"], rel=P_RTOL)
        assert row["ci_low"] == pytest.approx(wanted["ci_low"], abs=R_ERRORS * wanted["se"])
        assert row["ci_high"] == pytest.approx(wanted["ci_high"], abs=R_ERRORS * wanted["se"])


@every_answer
def test_natural_scale_equals_integration_and_the_delta_method_in_r(answer):
    """R's integrate() over the random intercept, and numDeriv's gradient; none at a spread of 0."""
    fit = of_answer(answer)
    for asked in answer["asked"]:
        row = fit.contrast(asked["contrast"], within=asked.get("within"), scale="natural").iloc[0]
        wanted = asked["natural"]
        assert row["estimate"] == pytest.approx(wanted["estimate"], rel=2e-7, abs=1e-9)
        assert row["se"] == pytest.approx(wanted["se"], rel=1e-5)
        if " - " in next(iter(asked["contrast"].values())):
            z = wanted["estimate"] / wanted["se"]
            assert row["p"] == pytest.approx(2 * norm.sf(abs(z)), rel=1e-3)
            half = norm.ppf(0.975) * wanted["se"]
            assert row["ci_high"] == pytest.approx(wanted["estimate"] + half, rel=1e-5)


# ---- natural scale ------------------------------------------------------------------------------

INVERSE = {"logit": expit, "probit": ndtr, "log": np.exp}


@pytest.mark.parametrize("family", BY_FAMILY)
def test_means_of_the_population_are_integrals_over_its_animals(family):
    fit = fitted(family)
    inverse, sd = INVERSE[fit.rows.family.link], float(fit.fit.sd[0])
    factors = [name for name, _ in fit.problem.fixed.factors]
    link, natural = (fit.means(*factors, scale=s) for s in ("link", "natural"))
    for eta, got in zip(link["estimate"], natural["estimate"], strict=True):
        wanted = quad(lambda v, e=eta: inverse(e + sd * v) * norm.pdf(v), -12, 12, epsabs=1e-13)[0]
        assert got == pytest.approx(wanted, rel=1e-10)
    first = factors[0]
    averaged = fit.means(first, scale="natural")["estimate"].to_numpy()
    np.testing.assert_allclose(averaged, natural["estimate"].groupby(first).mean(), rtol=1e-12)


@pytest.mark.parametrize("family", BY_FAMILY)
def test_the_interval_of_a_mean_is_made_on_the_link_scale_and_it_has_no_test(family):
    fit = fitted(family)
    factor, levels = fit.problem.fixed.factors[0]
    row = fit.contrast({factor: levels[0]}, scale="natural").iloc[0]
    forward, slope = {
        "logit": (lambda m: np.log(m / (1 - m)), lambda m: m * (1 - m)),
        "probit": (norm.ppf, lambda m: norm.pdf(norm.ppf(m))),
        "log": (np.log, lambda m: m),
    }[fit.rows.family.link]
    half = norm.ppf(0.975) * row["se"] / slope(row["estimate"])
    for sign, end in ((-1, "ci_low"), (1, "ci_high")):
        wanted = INVERSE[fit.rows.family.link](forward(row["estimate"]) + sign * half)
        assert row[end] == pytest.approx(wanted, rel=1e-12)
    assert row["ci_low"] < row["estimate"] < row["ci_high"]
    assert np.isnan(row["p"]) and np.isnan(row["statistic"]) and row["status"] == "ok"


@pytest.mark.parametrize("family", BY_FAMILY)
@pytest.mark.parametrize("scale", ["link", "natural"])
def test_delta_errors_follow_from_differences_of_the_estimate(family, scale):
    """The estimate as a function of beta, sd and dispersion, moved by 1e-5 standard errors."""
    fit = fitted(family)
    factor, levels = fit.problem.fixed.factors[0]
    asked = as_estimands(fit.problem, {factor: f"{levels[1]} - {levels[0]}"})
    cells = lay_out(fit.problem, asked, scale)
    covariance = fit.fit.covariance[0]
    q, p = len(fit.problem.names), len(covariance)

    def moved(step: np.ndarray) -> float:
        par = np.array([*fit.fit.beta[0], fit.fit.sd[0], fit.fit.dispersion[0]])
        par[:p] += step
        values = {k: getattr(fit.fit, k) for k in GlmmFit.__slots__}
        values |= {"beta": par[None, :q], "sd": par[q : q + 1], "dispersion": par[q + 1 :]}
        return float(evaluate(cells, GlmmFit(**values)).value[0, 0])

    h = 1e-5 * np.diag(np.sqrt(np.diag(covariance)))
    slope = np.array([(moved(s) - moved(-s)) / (2 * s.sum()) for s in h])
    wanted = np.sqrt(slope @ covariance @ slope)
    assert fit.contrast(estimands=asked, scale=scale)["se"].item() == pytest.approx(
        wanted, rel=1e-7
    )


def test_without_variation_between_mice_both_scales_are_the_plain_model():
    """On the boundary, estimate and standard error are those of a model without the term."""
    d = table("mice")
    both = [
        glmm("quiet ~ drug * phase + sex" + term, d, family="binomial", size="trials")
        for term in (" + (1 | mouse)", "")
    ]
    assert [f.status for f in both] == ["boundary", "ok"]
    for scale in ("link", "natural"):
        held, plain = (f.contrast(QUESTION, scale=scale).iloc[0] for f in both)
        for column in ("estimate", "se", "ci_low", "p"):
            assert held[column] == pytest.approx(plain[column], rel=1e-8)


# ---- without a random part ----------------------------------------------------------------------


@pytest.mark.parametrize("family", ["binomial", "binomial-probit", "poisson"])
def test_without_a_random_intercept_it_is_statsmodels_glm(family):
    import statsmodels.api as sm

    outcome, name = BY_FAMILY[family]
    d, formula = table(name), FORMULAS[name].replace(" + (1 | mouse)", "")
    fit = fitted(family, formula=formula)
    if name == "mice":
        link = sm.families.links.Probit() if "probit" in family else None
        both = np.stack([d[outcome], d["trials"] - d[outcome]], axis=1)
        model = sm.GLM(both, fit.problem.x, sm.families.Binomial(link))
    else:
        exposure = d["length"].to_numpy()
        model = sm.GLM(
            d[outcome].to_numpy(), fit.problem.x, sm.families.Poisson(), exposure=exposure
        )
    wanted = model.fit(tol=1e-14, method="newton")
    table_ = fit.coefficients
    np.testing.assert_allclose(table_["estimate"], wanted.params, rtol=1e-8)
    assert fit.loglik == pytest.approx(wanted.llf, rel=1e-10)
    if "probit" not in family:  # of the probit statsmodels gives the expected information
        np.testing.assert_allclose(table_["se"], wanted.bse, rtol=1e-7)
        np.testing.assert_allclose(table_["p"], wanted.pvalues, rtol=1e-5)
    assert len(fit.spreads) == 0 and len(fit.variance) == 0 and fit.group == ""


def test_a_saturated_model_has_the_observed_shares():
    d = pd.DataFrame({"drug": ["A", "A", "B", "B"], "time": ["1", "2"] * 2, "hits": [3, 9, 4, 14]})
    fit = glmm("hits ~ drug * time", d.assign(of=20), family="binomial", size="of")
    got = fit.means("drug", "time", scale="natural")["estimate"]
    np.testing.assert_allclose(got, d["hits"] / 20, rtol=1e-8)


# ---- invariances --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", BY_FAMILY)
def test_order_of_rows_and_names_of_mice_do_not_matter(family):
    d = table(BY_FAMILY[family][1])
    other = d.sample(frac=1, random_state=3).assign(mouse=lambda f: "x" + f["mouse"].str[::-1])
    a, b = fitted(family, d), fitted(family, other)
    np.testing.assert_allclose(a.coefficients, b.coefficients, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(a.loglik, b.loglik, rtol=SAME)
    factor, levels = a.problem.fixed.factors[0]
    pair = {factor: f"{levels[1]} - {levels[0]}"}
    for scale in ("link", "natural"):
        one, two = (f.contrast(pair, scale=scale)["estimate"].item() for f in (a, b))
        assert one == pytest.approx(two, rel=1e-7)


@pytest.mark.parametrize("family", ["beta-binomial", "negative-binomial"])
def test_missing_rows_are_rows_left_out_and_are_counted(family):
    outcome, name = BY_FAMILY[family]
    amount = "trials" if name == "mice" else "length"
    factor = "sex" if name == "mice" else "arm"
    d = table(name).astype({outcome: float, amount: float, factor: object})
    d.loc[2, outcome], d.loc[[4, 9], amount], d.loc[11, factor] = np.nan, np.nan, None
    d.loc[[20, 21, 22], outcome] = np.nan
    fit = fitted(family, d)
    kept = [k for k in range(len(d)) if k not in (2, 4, 9, 11, 20, 21, 22)]
    assert list(fit.problem.rows) == kept
    assert fit.warnings[:3] == (
        f"2 rows without {amount} are left out",
        "4 rows without an outcome are left out",
        f"1 rows without {factor} are left out",
    )
    np.testing.assert_array_equal(fit.coefficients, fitted(family, d.iloc[kept]).coefficients)


def test_coding_moves_coefficients_and_no_answer():
    a, b = (fitted("beta-binomial", contrasts=c) for c in ("treatment", "sum"))
    assert abs(a.coefficients["estimate"].iloc[0] - b.coefficients["estimate"].iloc[0]) > 0.1
    for scale in ("link", "natural"):
        one, two = (f.contrast(QUESTION, scale=scale).iloc[0] for f in (a, b))
        for column in ("estimate", "se", "p"):
            assert one[column] == pytest.approx(two[column], rel=1e-7)


def test_trials_in_one_row_or_in_many_are_the_same():
    together = table("mice")
    apart = together.loc[together.index.repeat(together["trials"])].copy()
    apart["hit"] = (apart.groupby(level=0).cumcount() < apart["failures"]).astype(int)
    a = fitted("binomial", together)
    b = glmm(f"hit ~ {FORMULAS['mice']}", apart, family="binomial")
    np.testing.assert_allclose(a.coefficients, b.coefficients, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("unit", [1000, 1e-15])
def test_an_exposure_makes_means_per_unit_of_exposure(unit):
    d = table("branches").assign(other=lambda f: f["length"] / unit)
    a, b = (
        glmm("count ~ arm + (1 | mouse)", d, family="poisson", exposure=e)
        for e in ("length", "other")
    )
    for column in ("estimate", "se", "ci_low"):
        one, two = (f.means("arm", scale="natural")[column] for f in (a, b))
        np.testing.assert_allclose(unit * one, two, rtol=1e-7)
    np.testing.assert_allclose(a.predict() * unit, b.predict(), rtol=1e-7)


def test_rows_without_a_group_carry_no_deviation():
    """A cage that half of the animals have: the others count with the fixed part only."""
    d = table("mice").assign(cage=lambda f: f["mouse"].where(f["drug"] == "saline"))
    fit = fitted("binomial", d, "drug * phase + (1 | cage)")
    assert f"{(d['drug'] == 'ketamine').sum()} rows belong to no cage" in fit.warnings[0]
    ketamine = d[d["drug"] == "ketamine"]
    alone = fitted("binomial", ketamine, "phase").means("phase")["estimate"]
    together = fit.means("phase", within={"drug": "ketamine"})["estimate"]
    np.testing.assert_allclose(together, alone, rtol=1e-7)


# ---- many ---------------------------------------------------------------------------------------


def outcomes(family: str, draws: int, seed: int = 4) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a plan and synthetic outcomes with rows lost, each outcome its own but the first."""
    _, name = BY_FAMILY[family]
    d = table(name)
    rng = np.random.default_rng(seed)
    mouse = pd.factorize(d["mouse"])[0]
    own = rng.normal(0, 0.7, (draws, mouse.max() + 1))[:, mouse]
    if name == "mice":
        p = expit(own - 0.3)
        y = rng.binomial(30, rng.beta(9 * p, 9 * (1 - p))).astype(float)
    else:
        mu = d["length"].to_numpy() * np.exp(own - 2.2)
        y = rng.poisson(mu * rng.gamma(3, 1 / 3, mu.shape)).astype(float)
    lost = rng.random(y.shape) < 0.1
    lost[0] = False
    return d, np.where(lost, np.nan, y)


@pytest.mark.parametrize("family", BY_FAMILY)
def test_a_row_of_many_is_the_outcome_alone(family):
    outcome, name = BY_FAMILY[family]
    d, y = outcomes(family, 6)
    amount = {"size": "trials"} if name == "mice" else {"exposure": "length"}
    many = glmm_many(FORMULAS[name], d, y, family=family, **amount)
    assert many.converged.all()
    for b in range(6):
        alone = fitted(family, d.assign(**{outcome: y[b]}))
        assert tuple(alone.coefficients.index) == many.terms
        assert alone.status == many.status[b]
        for column in (*COLUMNS, "df"):
            got, wanted = getattr(many, column)[b], alone.coefficients[column]
            np.testing.assert_allclose(got, wanted, rtol=SAME, atol=1e-12, err_msg=column)
        np.testing.assert_allclose(many.loglik[b], alone.loglik, rtol=1e-12)
        spreads = alone.spreads["estimate"].to_numpy()
        np.testing.assert_allclose(many.sd[b], spreads[0], rtol=SAME)
        np.testing.assert_allclose(many.dispersion[b], [*spreads, 0.0][1], rtol=SAME)
        one = glmm_many(FORMULAS[name], d, y[b], family=family, **amount)
        for column in (*COLUMNS, "sd", "dispersion", "loglik"):
            np.testing.assert_array_equal(getattr(one, column)[0], getattr(many, column)[b])


@pytest.mark.parametrize("scale", ["link", "natural"])
def test_estimands_of_many_are_those_of_one(scale):
    d, y = outcomes("beta-binomial", 4)
    alone = fitted("beta-binomial", d.assign(failures=y[0]))
    asked = (
        *as_estimands(alone.problem, QUESTION),
        *as_estimands(alone.problem, {"drug": "saline"}, {"phase": "treated"}),
    )
    many = glmm_many(
        FORMULAS["mice"], d, y, family="beta-binomial", size="trials", estimands=asked, scale=scale
    )
    assert many.estimate.shape == (4, 2) and many.terms == tuple(e.name for e in asked)
    for b in range(4):
        frame = fitted("beta-binomial", d.assign(failures=y[b])).contrast(
            estimands=asked, scale=scale
        )
        for column in COLUMNS:
            wanted = frame["statistic" if column == "z" else column]
            np.testing.assert_allclose(getattr(many, column)[b], wanted, rtol=SAME, atol=1e-12)


@pytest.mark.parametrize("draws", [4, 501])
def test_outcomes_without_an_answer_are_nan_and_say_why(draws):
    """501: the second chunk must know its own failures."""
    d, y = outcomes("binomial", draws)
    clean = glmm_many(FORMULAS["mice"], d, y, family="binomial", size="trials")
    y[1] = np.nan
    y[draws - 1, (d["phase"] == "treated").to_numpy()] = 30
    many = glmm_many(FORMULAS["mice"], d, y, family="binomial", size="trials")
    assert not many.converged[[1, draws - 1]].any()
    assert [many.status[1], many.status[-1]] == ["failed", "failed"]
    assert (many.reason[1], many.reason[-1]) == (4, 1)
    for column in (*COLUMNS, "df", "sd", "loglik"):
        assert np.isnan(getattr(many, column)[[1, draws - 1]]).all()
    others = np.setdiff1d(np.arange(draws), [1, draws - 1])
    for column in (*COLUMNS, "sd", "loglik"):
        np.testing.assert_array_equal(getattr(many, column)[others], getattr(clean, column)[others])


def test_many_refuses_what_it_cannot_use():
    d, y = outcomes("binomial", 2)
    asked = as_estimands(fitted("binomial").problem, {"sex": "M - F"})
    given = {"family": "binomial", "size": "trials"}
    with pytest.raises(DataError, match="y has 40 columns and the data 41 rows"):
        glmm_many(FORMULAS["mice"], d, y[:, 1:], **given)
    infinite = np.where(y == y[0, 0], np.inf, y)
    with pytest.raises(DataError, match="y: inf is not a count of up to 30"):
        glmm_many(FORMULAS["mice"], d, infinite, **given)
    with pytest.raises(DataError, match="y: inf is not a count"):
        glmm_many(FORMULAS["mice"], d, infinite, family="poisson")
    with pytest.raises(DataError, match="no scale 'log'"):
        glmm_many(FORMULAS["mice"], d, y, scale="log", **given)
    with pytest.raises(NotEstimable, match="cannot answer 'M - F'"):
        glmm_many("drug * phase + (1 | mouse)", d, y, estimands=asked, **given)


def test_a_batch_of_coefficients_is_what_the_table_shows():
    fit = fitted("negative-binomial")
    numbers = infer(coefficients_of(fit.fit), fit.fit, 0.8)
    half = norm.ppf(0.9) * fit.coefficients["se"]
    np.testing.assert_allclose(numbers.ci_high[0], fit.coefficients["estimate"] + half, rtol=1e-12)
