"""Population-averaged models: against R, statsmodels, dense algebra and closed forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import linalg, optimize, stats

from ketastats.frequentist import gee_kernel
from ketastats.frequentist.gee import gee
from ketastats.frequentist.gee_answers import on_scale
from ketastats.frequentist.gee_kernel import FAMILIES, POWERS
from ketastats.problem.questions import as_estimands

STORED = Path(__file__).parents[1] / "reference" / "gee"
GEEPACK = 1e-7
"""geepack stops when no coefficient moves by 1e-13 of itself; its correlation, which has no such
rule of its own, is then known to about 1e-8, and standard errors follow it."""
EXACT = 1e-9
"""Dense algebra on the same equations: what is left is rounding, 1e-16 times the condition."""

FORMULAS = {
    "y": ("gaussian", "y ~ drug * time + sex", {}),
    "escaped": ("binomial", "escaped ~ drug + time + sex", {}),
    "failures": ("binomial", "failures ~ drug * time + sex", {"size": "trials"}),
    "bouts": ("poisson", "bouts ~ drug * time + sex", {"exposure": "minutes"}),
}


def answers() -> dict:
    return json.loads((STORED / "answers.json").read_text(encoding="utf-8"))


def mice() -> pd.DataFrame:
    d = pd.read_csv(STORED / "mice.csv", dtype={"mouse": str})
    return d.assign(time=pd.Categorical(d["time"], ["pre", "h1", "h24"]))


def fitted(outcome: str, **options):
    family, formula, more = FORMULAS[outcome]
    return gee(formula + " + (1 | mouse)", mice(), family=family, **more, **options)


def as_geepack(stored: dict, monkeypatch):
    """Return the model of a stored answer.

    geepack's correlation of rows with trials weighs products by the trials of both rows, as if
    their residuals had one variance; ours is of residuals in units of their own. There the
    correlation is taken from geepack, and the equations are the same.
    """
    if stored["outcome"] == "failures":
        given = (float(stored["correlation"]), False)
        monkeypatch.setattr(gee_kernel, "_correlation", lambda rows, pearson: given)
    return fitted(stored["outcome"], working=stored["working"], covariance="robust", ddf="z")


def r_name(name: str) -> str:
    return name.replace("[T.", "").replace("]", "").replace("Intercept", "(Intercept)")


# ---- against R ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stored", answers()["models"], ids=lambda m: f"{m['outcome']}-{m['working']}"
)
def test_coefficients_and_robust_errors_equal_geepack(stored, monkeypatch):
    fit = as_geepack(stored, monkeypatch)
    table = fit.coefficients.rename(index=r_name)
    assert set(table.index) == set(stored["estimate"])
    np.testing.assert_allclose(fit.correlation, stored["correlation"], rtol=GEEPACK)
    for column in ("estimate", "se"):
        wanted = [stored[column][name] for name in table.index]
        np.testing.assert_allclose(table[column], wanted, rtol=GEEPACK, err_msg=column)


@pytest.mark.parametrize(
    "stored", [m for m in answers()["models"] if m.get("natural")],
    ids=lambda m: f"{m['outcome']}-{m['working']}",
)  # fmt: skip
def test_natural_scale_equals_emmeans(stored, monkeypatch):
    fit = as_geepack(stored, monkeypatch)
    asked = {
        "drug": ({"drug": "B - A"}, None),
        "at_24": ({"drug": "B - A"}, {"time": "h24"}),
        "change": ({"drug": "B - A", "time": "h24 - pre"}, None),
    }
    for name, wanted in stored["natural"].items():
        contrast, within = asked[name]
        row = fit.contrast(contrast, within=within, scale="natural").iloc[0]
        for column in ("estimate", "se"):
            np.testing.assert_allclose(row[column], wanted[column], rtol=GEEPACK, err_msg=name)


KINDS = {"CR0": "robust", "CR2": "kauermann-carroll", "CR3": "bias-reduced"}


@pytest.mark.parametrize(
    ("working", "stored"),
    [(c["working"], a) for c in answers()["corrected"] for a in c["answers"]],
    ids=lambda v: v if isinstance(v, str) else v["type"],
)
def test_small_sample_covariance_and_df_equal_clubsandwich(working, stored):
    """CR2 is Kauermann & Carroll's under independence only: elsewhere its root is another one."""
    fit = fitted("y", working=working, covariance=KINDS[stored["type"]], ddf="satterthwaite")
    table = fit.coefficients.rename(index=r_name)
    for column in ("se", "df"):
        wanted = [stored[column][name] for name in table.index]
        np.testing.assert_allclose(table[column], wanted, rtol=GEEPACK, err_msg=column)


# ---- against statsmodels ------------------------------------------------------------------------


@pytest.mark.parametrize("working", ["exchangeable", "independence"])
@pytest.mark.parametrize("outcome", ["y", "escaped", "bouts"])
def test_coefficients_and_covariances_equal_statsmodels(outcome, working):
    """It has no row sizes; its moments are asked not to be corrected for the coefficients."""
    fit = fitted(outcome, working=working)
    d, problem = mice(), fit.problem
    family = {"y": sm.families.Gaussian, "escaped": sm.families.Binomial,
              "bouts": sm.families.Poisson}[outcome]()  # fmt: skip
    structure = {"exchangeable": sm.cov_struct.Exchangeable,
                 "independence": sm.cov_struct.Independence}[working]()  # fmt: skip
    theirs = sm.GEE(
        d[outcome], problem.x, groups=d["mouse"], family=family, cov_struct=structure,
        exposure=d["minutes"] if outcome == "bouts" else None,
    )  # fmt: skip
    got = theirs.fit(cov_type="bias_reduced", ddof_scale=0, ctol=1e-10, maxiter=500)
    # it stops at a score of 1e-10; an information of 1 or more leaves 1e-10 in a coefficient
    np.testing.assert_allclose(fit.coefficients["estimate"], got.params, rtol=1e-8)
    np.testing.assert_allclose(fit.fit.made.covariance, got.cov_robust_bc, rtol=1e-7, atol=1e-10)
    robust = fitted(outcome, working=working, covariance="robust")
    np.testing.assert_allclose(robust.fit.made.covariance, got.cov_robust, rtol=1e-7, atol=1e-10)


# ---- against dense algebra ----------------------------------------------------------------------


def dense(fit, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return covariance and Satterthwaite df from D, V and H as the papers write them.

    Mancl & DeRouen 2001, equation 2, with V of all rows as one matrix; the df as moments of the
    quadratic form whose expectation is the variance of a coefficient.
    """
    rows, alpha = fit.fit.rows, fit.correlation
    eta = rows.x @ fit.fit.solution.beta + rows.offset
    if rows.family.name == "gaussian":
        mu, d, v = eta, rows.x, np.ones(len(eta))
    elif rows.family.name == "binomial":
        mu = 1 / (1 + np.exp(-eta))
        d, v = rows.x * (mu * (1 - mu))[:, None], mu * (1 - mu) / rows.size
    else:
        mu = np.exp(eta)
        d, v = rows.x * mu[:, None], mu
    same = rows.group[:, None] == rows.group[None, :]
    big = np.where(np.eye(len(eta), dtype=bool), 1.0, alpha * same) * np.sqrt(np.outer(v, v))
    inverse = np.linalg.inv(big)
    bread = np.linalg.inv(d.T @ inverse @ d)
    hat = d @ bread @ d.T @ inverse
    residual, n = rows.y - mu, len(eta)
    cross = (np.eye(n) - hat) @ big @ (np.eye(n) - hat).T  # of the residuals
    meat, lifts = np.zeros_like(bread), []
    for k in range(rows.group.max() + 1):
        own = np.flatnonzero(rows.group == k)
        left = np.eye(len(own)) - hat[np.ix_(own, own)]
        power = {"robust": np.eye(len(own)), "bias-reduced": np.linalg.inv(left),
                 "kauermann-carroll": np.linalg.inv(linalg.sqrtm(left))}[kind]  # fmt: skip
        lift = np.zeros((bread.shape[0], n))
        lift[:, own] = d[own].T @ inverse[np.ix_(own, own)] @ power
        score = lift @ residual
        meat += np.outer(score, score)
        lifts.append(bread @ lift)
    df = []
    for j in range(len(bread)):
        u = np.array([lift[j] for lift in lifts])
        g = u @ cross @ u.T
        df.append(np.trace(g) ** 2 / np.sum(g * g))
    return bread @ meat @ bread, np.array(df)


@pytest.mark.parametrize("kind", POWERS)
@pytest.mark.parametrize("working", ["exchangeable", "independence"])
@pytest.mark.parametrize("outcome", FORMULAS)
def test_covariance_and_df_equal_dense_algebra(outcome, working, kind):
    fit = fitted(outcome, working=working, covariance=kind, ddf="satterthwaite")
    covariance, df = dense(fit, kind)
    np.testing.assert_allclose(fit.fit.made.covariance, covariance, rtol=EXACT, atol=1e-12)
    np.testing.assert_allclose(fit.coefficients["df"], df, rtol=1e-8)


@pytest.mark.parametrize("outcome", FORMULAS)
def test_the_equations_are_solved(outcome):
    """The estimating function is 0: sum D' V^-1 (y - mu), from matrices made here."""
    fit = fitted(outcome)
    solution = fit.fit.solution
    size = np.abs(solution.x).T @ np.abs(solution.residual)
    assert (np.abs(solution.x.T @ solution.residual) < 1e-9 * size).all()


# ---- closed forms -------------------------------------------------------------------------------


def one_each(n1: int = 6, n2: int = 9, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = np.repeat(["A", "B"], [n1, n2])
    y = rng.normal(10, np.where(group == "A", 1.0, 2.5))
    return pd.DataFrame(
        {"mouse": np.arange(n1 + n2), "drug": group, "age": rng.normal(size=n1 + n2), "y": y}
    )


@pytest.mark.parametrize(
    ("kind", "hc"), [("robust", "HC0"), ("kauermann-carroll", "HC2"), ("bias-reduced", "HC3")]
)
def test_one_row_a_unit_is_least_squares_with_hc_errors(kind, hc):
    data = one_each()
    fit = gee("y ~ drug * age + (1 | mouse)", data, covariance=kind)
    wanted = sm.OLS(data["y"], fit.problem.x).fit(cov_type=hc)
    np.testing.assert_allclose(fit.coefficients["estimate"], wanted.params, rtol=EXACT)
    np.testing.assert_allclose(fit.coefficients["se"], wanted.bse, rtol=EXACT)


def test_two_groups_are_welchs_test():
    data = one_each()
    a, b = (data.loc[data["drug"] == g, "y"].to_numpy() for g in "AB")
    shares = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    exact = gee("y ~ drug + (1 | mouse)", data, covariance="kauermann-carroll", ddf="satterthwaite")
    row = exact.contrast({"drug": "B - A"}).iloc[0]
    assert row["se"] == pytest.approx(np.sqrt(shares.sum()), rel=EXACT)
    # Bell & McCaffrey's df: Welch's with equal variances in place of the estimated ones
    one, two = 1 / len(a), 1 / len(b)
    df = (one + two) ** 2 / (one**2 / (len(a) - 1) + two**2 / (len(b) - 1))
    assert row["df"] == pytest.approx(df, rel=EXACT)
    wider = gee("y ~ drug + (1 | mouse)", data).contrast({"drug": "B - A"}).iloc[0]
    inflated = shares * np.array([len(a) / (len(a) - 1), len(b) / (len(b) - 1)])
    assert wider["se"] == pytest.approx(np.sqrt(inflated.sum()), rel=EXACT)
    assert wider["df"] == len(data) - 2
    assert wider["p"] == pytest.approx(2 * stats.t.sf(abs(wider["statistic"]), 13), rel=EXACT)


def test_trials_in_one_row_or_in_many_are_the_same_under_independence():
    together = mice()
    apart = together.loc[together.index.repeat(together["trials"])].copy()
    place = apart.groupby(level=0).cumcount()
    apart["hit"] = (place < apart["failures"]).astype(int)
    formula = "~ drug * time + sex + (1 | mouse)"
    a = gee(
        "failures " + formula, together, family="binomial", size="trials", working="independence"
    )
    b = gee("hit " + formula, apart, family="binomial", working="independence")
    pd.testing.assert_frame_equal(a.coefficients, b.coefficients, rtol=1e-8)


def test_order_of_rows_and_names_of_units_do_not_matter():
    d = mice()
    other = d.sample(frac=1, random_state=4).assign(mouse=lambda f: "m" + f["mouse"])
    a = gee("y ~ drug * time + (1 | mouse)", d).coefficients
    b = gee("y ~ drug * time + (1 | mouse)", other).coefficients
    pd.testing.assert_frame_equal(a, b, rtol=EXACT)


@pytest.mark.parametrize("unit", [1e-9, 1e7])
def test_units_of_the_outcome_do_not_matter(unit):
    d = mice()
    a = gee("y ~ drug * time + (1 | mouse)", d).coefficients
    b = gee("z ~ drug * time + (1 | mouse)", d.assign(z=d["y"] * unit)).coefficients
    np.testing.assert_allclose(b[["estimate", "se"]], a[["estimate", "se"]] * unit, rtol=1e-8)
    np.testing.assert_allclose(b[["t", "p"]], a[["t", "p"]], rtol=1e-8)


def test_an_exposure_is_an_offset():
    """Twice the exposure everywhere halves the rate and leaves every ratio alone."""
    d = mice().assign(double=lambda f: 2 * f["minutes"])
    formula = "bouts ~ drug * time + (1 | mouse)"
    a, b = (gee(formula, d, family="poisson", exposure=e) for e in ("minutes", "double"))
    shift = np.where(a.coefficients.index == "Intercept", np.log(2), 0)
    np.testing.assert_allclose(
        a.coefficients["estimate"] - shift, b.coefficients["estimate"], atol=1e-10
    )
    np.testing.assert_allclose(a.coefficients["se"], b.coefficients["se"], rtol=1e-8)
    rates = a.means("drug", "time", scale="natural")["estimate"]
    np.testing.assert_allclose(
        rates, 2 * b.means("drug", "time", scale="natural")["estimate"], rtol=1e-9
    )


# ---- natural scale ------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", FORMULAS)
def test_gradients_are_those_of_the_value(outcome):
    """Delta method: against differences of the value as a function of the coefficients."""
    fit = fitted(outcome)
    asked = as_estimands(fit.problem, {"drug": "B - mean(A, C)", "time": "h24 - pre"}, {"sex": "M"})
    made = on_scale(fit.problem, fit.fit, asked, "natural")
    grid = fit.problem.fixed.grid()[1]
    inverse = FAMILIES[fit.family].inverse

    def value(beta: np.ndarray) -> float:
        mean = dict(zip(cells(fit), inverse(grid @ beta), strict=True))
        b, a, c = (mean[g, "h24", "M"] - mean[g, "pre", "M"] for g in "BAC")
        return float(b - (a + c) / 2)

    beta = fit.fit.solution.beta
    assert made.value[0] == pytest.approx(value(beta), rel=1e-12)
    slope = optimize.approx_fprime(beta, value, 1e-6)
    np.testing.assert_allclose(made.gradient[0], slope, atol=1e-5)


def cells(fit) -> list[tuple[str, ...]]:
    """Return drug, time and sex of every cell of the reference grid."""
    grid = fit.problem.fixed.grid()[0]
    return list(zip(*(grid.column(n) for n in ("drug", "time", "sex")), strict=True))


def test_the_mean_of_one_cell_is_the_inverse_link_and_so_is_its_interval():
    fit = fitted("failures")
    link, natural = (fit.means("drug", "time", "sex", scale=s) for s in ("link", "natural"))
    for column in ("estimate", "ci_low", "ci_high"):
        np.testing.assert_allclose(natural[column], 1 / (1 + np.exp(-link[column])), rtol=1e-10)
    share = natural["estimate"]
    np.testing.assert_allclose(natural["se"], link["se"] * share * (1 - share), rtol=1e-10)


def test_a_mean_over_cells_is_the_mean_of_their_means_and_has_no_test():
    fit = fitted("bouts")
    by_cell = fit.means("drug", "time", "sex", scale="natural")["estimate"]
    got = fit.means("drug", scale="natural")
    wanted = by_cell.groupby(level=0).mean()
    np.testing.assert_allclose(got["estimate"], wanted.loc[["A", "B", "C"]], rtol=1e-12)
    assert (got["ci_low"] > 0).all()
    row = fit.contrast({"drug": "A"}, scale="natural").iloc[0]
    assert np.isnan(row["p"]) and row["status"] == "ok"


def test_saturated_cells_have_their_observed_shares():
    """With sizes equal in a cell the share of a cell is its mean, whatever the correlation."""
    rng = np.random.default_rng(8)
    d = pd.DataFrame(
        {
            "mouse": np.repeat(np.arange(12), 2),
            "time": ["a", "b"] * 12,
            "drug": np.repeat(["A", "B"], 12),
            "hits": rng.integers(2, 19, 24),
            "of": 20,
        }
    )
    fit = gee("hits ~ drug * time + (1 | mouse)", d, family="binomial", size="of")
    got = fit.means("drug", "time", scale="natural")["estimate"]
    wanted = d.groupby(["drug", "time"])["hits"].mean() / 20
    np.testing.assert_allclose(got.to_numpy(), wanted.to_numpy(), rtol=1e-9)
