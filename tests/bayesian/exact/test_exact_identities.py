"""The exact posterior against the dense oracle, closed forms, REML, and itself under changes that
must not matter."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

import ketastats as ks
from ketastats.bayesian.exact import mixture
from ketastats.bayesian.exact.nodes import at_nodes, covariances, information
from ketastats.frequentist.likelihood import evaluate
from ketastats.frequentist.moments import make_moments
from ketastats.study.model import Estimand
from tests.bayesian import dense

FLOOR = 2e-8
"""The oracle moves by this when nodes are added; a reported error below it is not checked."""
FLOOR_3 = 5e-6
"""The same with 10 nodes a panel on three axes; quantiles are the worst."""
OF_SDS = 15.0
"""Reported errors are of the posterior's mass. What is cut off of an SD with few levels lies 5 to
10 of its SDs out."""
ALGEBRA = 1e-10
"""The same sums in another order."""
CLOSED = 1e-9
"""Ten times the finest tolerance, 1e-10, as an error of a quantile is one of mass over density."""
SAME = 1e-9
"""Relative: two runs at a tolerance of 1e-10."""


# --- a small table --------------------------------------------------------------------------------


def trial():
    """Eight synthetic people in two visits, twice each, three doses, and two rows missing."""
    rng = np.random.default_rng(12)
    rows = [
        (f"s{s}", "FM"[s % 2], visit, ("low", "mid", "high")[(s + 2 * v + k) % 3], 0.5 * s + v)
        for s in range(8)
        for v, visit in enumerate(("pre", "post"))
        for k in range(2)
    ]
    data = pd.DataFrame(rows, columns=["subject", "sex", "visit", "dose", "age"])
    person, at = rng.normal(0, 1.2, 8), rng.normal(0, 0.8, (8, 2))
    s, v = data["subject"].str[1:].astype(int).to_numpy(), (data["visit"] == "post").to_numpy(int)
    effect = 1.1 * v + 0.7 * (data["dose"] == "high").to_numpy()
    noise = rng.normal(0, np.where(data["sex"] == "M", 1.3, 0.8))
    data["y"] = np.round(5 + person[s] + at[s, v] + effect + noise, 2)
    data.loc[[3, 18], "y"] = np.nan
    return data


DATA = trial()
PRIORS = {
    "effects": "normal(0, 2)",
    "intercept": "normal(4, 5)",
    "sd": "half-normal(2)",
    "residual": "half-normal(3)",
}


def contrast(name, contrast, within=()):
    return Estimand(name, "y", tuple(contrast), tuple(within), (), "direct", name)


VISIT = contrast("visit", [("visit", (("post", 1.0), ("pre", -1.0)))])
HIGH = contrast("high", [("dose", (("high", 1.0), ("low", -1.0)))])
SEX = contrast("sex", [("sex", (("M", 1.0), ("F", -1.0)))])
BOTH = contrast("visit by sex", [*VISIT.contrast, *SEX.contrast])
POST = contrast("post", [("visit", (("post", 1.0),))])
PRE = contrast("pre", [("visit", (("pre", 1.0),))])


def differences(k):
    """The coding in which any two of k levels differ by one unit, built here anew: any basis of
    contrasts has the same prior."""
    basis = np.linalg.svd(np.eye(k) - 1 / k)[0][:, : k - 1]
    return basis / np.sqrt(2)


def columns(data, *factors):
    """Intercept, and a block of coded columns per factor or product of factors."""
    out = [np.ones((len(data), 1))]
    for factor in factors:
        block = np.ones((len(data), 1))
        for name in factor.split(":"):
            levels = sorted(data[name].unique())
            codes = differences(len(levels))[[levels.index(v) for v in data[name]]]
            block = (block[:, :, None] * codes[:, None, :]).reshape(len(data), -1)
        out.append(block)
    return np.hstack(out)


def indicator(*names):
    keys = DATA.dropna()[list(names)].agg(" ".join, axis=1)
    return pd.get_dummies(keys).to_numpy(float)


def row(*factors, **cells):
    """Coefficients of a contrast: the columns of one cell minus those of another, other factors
    averaged."""
    used = sorted({f for term in factors for f in term.split(":")})
    levels = {f: sorted(DATA[f].unique()) for f in used}
    total = np.zeros(0)
    for cell in itertools.product(*levels.values()):
        named = dict(zip(used, cell, strict=True))
        weight = 1.0
        for f in used:
            weight *= dict(cells[f]).get(named[f], 0.0) if f in cells else 1 / len(levels[f])
        frame = pd.concat([pd.DataFrame([named]), DATA[used]])
        found = columns(frame, *factors)[0] * weight
        total = found if not total.size else total + found
    return total


UP = (("post", 1.0), ("pre", -1.0))
HIGHER = (("high", 1.0), ("low", -1.0))
MALE = (("M", 1.0), ("F", -1.0))


@dataclass(frozen=True)
class Case:
    """A model of the package and the same in the oracle's terms."""

    formula: str
    priors: dict
    estimand: Estimand
    factors: tuple
    rows: np.ndarray
    sds: list  # of the oracle, in the order of the package's axes
    zs: list = field(default_factory=list)
    residual: str | None = None
    m: np.ndarray | None = None
    precision: np.ndarray | None = None
    asked: tuple = ()
    panels: tuple = ((0, 0.1, 0.3, 0.7, 1.2, 2, 4, 10), (0.3, 0.7, 1, 1.5, 3, 8))

    @property
    def floor(self):
        return FLOOR_3 if len(self.sds) > 2 else FLOOR

    def fit(self, tolerance):
        return ks.posterior(
            f"y ~ {self.formula}", DATA, priors=PRIORS | self.priors, residual=self.residual,
            estimands=self.asked, tolerance=tolerance,
        )  # fmt: skip

    def oracle(self):
        data = DATA.dropna()
        x = columns(data, *self.factors)
        q = x.shape[1]
        groups = None if self.residual is None else data["sex"].to_numpy()
        k = len(self.zs)
        few, many = self.panels
        panels = [few] * k + [many] * (len(self.sds) - k)
        nodes = {2: 20, 3: 10}[len(self.sds)]
        return dense.dense_posterior(
            data["y"].to_numpy(), x, self.zs, self.sds, rows_K=self.rows, scale=1.0,
            m=np.r_[4.0, np.zeros(q - 1)] if self.m is None else self.m,
            precision=np.r_[0.04, np.full(q - 1, 0.25)]
            if self.precision is None else self.precision,
            groups=groups, panels=panels, nodes=nodes,
        )  # fmt: skip


def with_question(rows, mean, sd, m, covariance):
    """Prior mean and precision when rows over the coefficients have priors of their own, by
    conditioning: coefficients = gain times the rows + what is independent of them."""
    rows = np.atleast_2d(rows)
    inside = rows @ covariance @ rows.T
    gain = covariance @ rows.T @ np.linalg.inv(inside)
    new = covariance + gain @ (np.diag(np.atleast_1d(sd) ** 2.0) - inside) @ gain.T
    return m + gain @ (np.atleast_1d(mean) - rows @ m), np.linalg.inv(new)


def flat_but(count, proper):
    return np.r_[np.zeros(count), proper]


HALF = [("half-normal", 2.0), ("half-normal", 3.0)]
NORMAL = np.diag([25.0, 4, 4, 4])
DOSE_ROW = row("visit", "dose", dose=HIGHER)
TWO_ROW = row("visit", "sex", "visit:sex", visit=UP, sex=MALE)
DOSE_PRIOR = with_question(DOSE_ROW, 1.5, 0.4, np.array([4.0, 0, 0, 0]), NORMAL)
TWO_PRIOR = with_question(TWO_ROW, -0.5, 0.3, np.array([4.0, 0, 0, 0]), NORMAL)
MEANS = np.array([row("visit", visit=(("post", 1.0),)), row("visit", visit=(("pre", 1.0),))])

CASES = {
    "intercept": Case(
        "visit + (1|subject)", {}, VISIT, ("visit",), row("visit", visit=UP), HALF,
        [indicator("subject")],
    ),
    "nested": Case(
        "visit + (1|subject) + (1|subject:visit)", {}, VISIT, ("visit",), row("visit", visit=UP),
        [HALF[0], *HALF], [indicator("subject"), indicator("subject", "visit")],
        panels=((0, 0.3, 0.8, 1.6, 3.5, 10), (0.3, 0.7, 1.1, 1.7, 4)),
    ),
    "by group": Case(
        "visit + sex", {}, SEX, ("visit", "sex"), row("visit", "sex", sex=MALE),
        [HALF[1], HALF[1]], residual="by sex",
    ),
    "half-t": Case(
        "visit + (1|subject)", {"sd": "half-t(4, 1.5)", "residual": "half-t(3, 2)"}, VISIT,
        ("visit",), row("visit", visit=UP), [("half-t", 4, 1.5), ("half-t", 3, 2.0)],
        [indicator("subject")],
        panels=((0, 0.1, 0.3, 0.7, 1.2, 2, 4, 10, 40, 160), (0.3, 0.7, 1, 1.5, 3, 8, 20)),
    ),
    "exponential": Case(
        "visit + (1|subject)", {"sd": "exponential(1.5)", "residual": "exponential(2)"}, VISIT,
        ("visit",), row("visit", visit=UP), [("exponential", 1.5), ("exponential", 2.0)],
        [indicator("subject")],
        panels=((0, 0.1, 0.3, 0.7, 1.2, 2, 4, 10, 25), (0.3, 0.7, 1, 1.5, 3, 8)),
    ),
    "flat": Case(
        "visit + (1|subject)", {"effects": "flat", "intercept": "flat"}, VISIT, ("visit",),
        row("visit", visit=UP), HALF, [indicator("subject")], precision=np.zeros(2),
    ),
    "estimand of three levels": Case(
        "visit + dose + (1|subject)", {"high": "normal(1.5, 0.4)"}, HIGH, ("visit", "dose"),
        DOSE_ROW, HALF, [indicator("subject")], m=DOSE_PRIOR[0], precision=DOSE_PRIOR[1],
        asked=(HIGH,),
    ),
    "difference of differences": Case(
        "visit * sex + (1|subject)", {"visit by sex": "normal(-0.5, 0.3)"}, VISIT,
        ("visit", "sex", "visit:sex"), row("visit", "sex", "visit:sex", visit=UP), HALF,
        [indicator("subject")], m=TWO_PRIOR[0], precision=TWO_PRIOR[1], asked=(BOTH,),
    ),
    "means of cells": Case(
        "visit + (1|subject)",
        {"intercept": "flat", "post": "normal(6, 1)", "pre": "normal(5, 0.5)"}, VISIT, ("visit",),
        row("visit", visit=UP), HALF, [indicator("subject")],
        m=np.linalg.solve(MEANS, [6.0, 5.0]), precision=MEANS.T @ np.diag([1.0, 4.0]) @ MEANS,
        asked=(POST, PRE),
    ),
}  # fmt: skip
LEVELS = np.array([0.025, 0.2, 0.5, 0.9, 0.975])


def true_errors(case, post, oracle):
    """Errors of the numbers, relative to what a posterior error is relative to: SDs, and mass."""
    mean, sd = float(oracle.contrast_mean()[0]), float(oracle.contrast_sd()[0])
    found = post.contrast(estimands=[case.estimand]).iloc[0]
    m, s = post.of_rows(post.asked([case.estimand]).rows)
    known = np.array([oracle.quantile(p)[0] for p in LEVELS])
    weights = post.weight[None], m[None], s
    centre = mixture.moments(*weights)
    quantiles = mixture.quantiles(*weights, *centre, special.ndtri(LEVELS), LEVELS)[:, 0, 0]
    at = mean + sd * np.array([-2.0, 0.3, 1.0])
    density = mixture.density(post.weight, m, s, np.ascontiguousarray(at[:, None]))[:, 0]
    true_density = np.array([oracle.density(a)[0] for a in at])
    out = {
        "mean": (found["estimate"] - mean) / sd,
        "sd": found["se"] / sd - 1,
        "positive": found["prob_positive"] - float(oracle.prob_positive()[0]),
        "quantiles": np.abs(quantiles - known).max() / sd * np.min(true_density) * sd,
        "density": np.abs(density - true_density).max() / true_density.max(),
        "evidence": post.log_evidence - oracle.log_marginal_likelihood,
    }
    if case.priors.get("effects") == "flat":
        del out["evidence"]  # another constant: see the REML identity
    return out


def sd_errors(post, oracle):
    table = post.sds()
    out = {}
    for k, name in enumerate(table.index):
        sd = float(oracle.sd_sd()[k])
        out[f"mean of {name}"] = (table["mean"].iloc[k] - oracle.sd_mean()[k]) / sd
        for p, column in ((0.025, "ci_low"), (0.975, "ci_high")):
            out[f"{column} of {name}"] = oracle.sd_cdf(k, table[column].iloc[k]) - p
    return out


@pytest.fixture(scope="module")
def oracles():
    return {}


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("name", CASES)
def test_the_reported_error_bounds_the_true_one(name, tolerance, oracles):
    case = CASES[name]
    if name not in oracles:
        oracles[name] = case.oracle()
    post = case.fit(tolerance)
    assert post.status == "ok" and post.error <= tolerance
    room = max(post.error, case.floor)
    for what, error in true_errors(case, post, oracles[name]).items():
        assert abs(error) <= room, what
    for what, error in sd_errors(post, oracles[name]).items():
        assert abs(error) <= OF_SDS * room, what


def test_a_flat_evidence_lacks_a_constant_only():
    """The data change, and both evidences by the same amount."""
    case = CASES["flat"]
    moved = DATA.assign(y=DATA["y"] + 0.7 * (DATA["visit"] == "post") * (DATA["sex"] == "M"))
    post = ks.posterior(f"y ~ {case.formula}", moved, priors=PRIORS | case.priors, tolerance=1e-9)
    change = post.log_evidence - case.fit(1e-9).log_evidence
    options = {"scale": 1.0, "panels": list(case.panels), "nodes": 16}
    x = columns(DATA.dropna(), "visit")
    one, other = (
        dense.dense_posterior(d.dropna()["y"].to_numpy(), x, case.zs, HALF, **options)
        for d in (moved, DATA)
    )
    expected = one.log_marginal_likelihood - other.log_marginal_likelihood
    assert change == pytest.approx(expected, abs=2 * FLOOR)


# --- scales of priors, slopes ---------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_hierarchical_effects_equal_an_integral_over_their_sd(tolerance):
    """Three coefficients that share it: the oracle integrates at 120 SDs, and Gauss-Legendre does
    the rest."""
    data = DATA.dropna()
    x = columns(data, "visit", "dose")
    s, w = dense.gauss_legendre([0, 0.2, 0.5, 1, 2, 4, 10], 20)
    each = [
        dense.dense_posterior(
            data["y"].to_numpy(), x, [], [HALF[1]], m=np.array([4.0, 0, 0, 0]),
            precision=np.r_[0.04, np.full(3, t**-2.0)], scale=1.0, nodes=20,
            panels=(0.3, 0.7, 1, 1.5, 3, 8), rows_K=DOSE_ROW,
        )
        for t in s
    ]  # fmt: skip
    log = np.array([o.log_marginal_likelihood for o in each])
    log += np.log(w) + stats.halfnorm.logpdf(s, scale=1.5)
    weight = special.softmax(log)
    mean = weight @ [o.contrast_mean()[0] for o in each]
    square = weight @ [o.contrast_sd()[0] ** 2 + o.contrast_mean()[0] ** 2 for o in each]
    sd = np.sqrt(square - mean**2)
    post = ks.posterior("y ~ visit + dose", DATA, priors=PRIORS | {"effects": "hierarchical(1.5)"},
                        tolerance=tolerance)  # fmt: skip
    found = post.contrast(estimands=[HIGH]).iloc[0]
    room = max(post.error, FLOOR)
    assert post.log_evidence == pytest.approx(special.logsumexp(log), abs=room)
    assert found["estimate"] == pytest.approx(mean, abs=room * sd)
    assert found["se"] == pytest.approx(sd, rel=room)
    positive = weight @ [o.prob_positive()[0] for o in each]
    assert found["prob_positive"] == pytest.approx(positive, abs=room)
    assert post.sds().loc["scale of effects", "mean"] == pytest.approx(
        weight @ s, abs=OF_SDS * room * np.sqrt(weight @ (s - weight @ s) ** 2)
    )


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_cauchy_effects_equal_the_oracle(tolerance):
    data, sds = DATA.dropna(), [("jeffreys",)]
    oracle = dense.dense_posterior(
        data["y"].to_numpy(), columns(data, "visit"), [], sds, cauchy=[([1], 0.8)], scale=1.0,
        nodes=16, rows_K=row("visit", visit=UP), panels=(0.3, 0.7, 1, 1.5, 3, 8),
        cauchy_nodes=16,
    )  # fmt: skip
    priors = {"effects": "standardised-cauchy(0.8)", "intercept": "flat", "residual": "jeffreys"}
    post = ks.posterior("y ~ visit", DATA, priors=priors, tolerance=tolerance)
    found, room = post.contrast(estimands=[VISIT]).iloc[0], max(post.error, FLOOR)
    sd = oracle.contrast_sd()[0]
    assert post.log_evidence == pytest.approx(oracle.log_marginal_likelihood, abs=room)
    assert found["estimate"] == pytest.approx(oracle.contrast_mean()[0], abs=room * sd)
    assert found["se"] == pytest.approx(sd, rel=room)
    assert found["prob_positive"] == pytest.approx(oracle.prob_positive()[0], abs=room)


def slope_oracle(y, x, age, group):
    """(1 + age | group) with lkj(2), over a grid of both SDs, the correlation and the residual."""
    slope = np.std(age, ddof=1)
    rules = [
        dense.gauss_legendre(e, n)
        for e, n in (
            ((0, 0.5, 1.5, 4, 10), 8),
            ((0, 0.5, 1.5, 4, 10), 8),
            ((0.4, 1.3, 2, 3.2, 9), 7),
        )
    ]
    r, rw = np.polynomial.legendre.leggauss(12)
    nodes = np.array(list(itertools.product(rules[0][0], rules[1][0] / slope, r, rules[2][0])))
    log_w = sum(
        np.meshgrid(
            np.log(rules[0][1]) + stats.halfnorm.logpdf(rules[0][0], scale=2),
            np.log(rules[1][1]) + stats.halfnorm.logpdf(rules[1][0], scale=2),
            np.log(rw) + np.log(0.75 * (1 - r**2)),
            np.log(rules[2][1]) + stats.halfnorm.logpdf(rules[2][0], scale=3),
            indexing="ij",
        )
    ).ravel()
    same = (group[:, None] == group[None]).astype(float)
    parts = [same, same * (age[:, None] + age), same * np.outer(age, age), np.eye(len(y))]
    a, b, c, e = nodes.T
    size = np.stack([a**2, a * b * c, b**2, e**2])
    log, mean, var = [], [], []
    m, precision = np.r_[4.0, np.zeros(x.shape[1] - 1)], np.diag(np.r_[0.04, 0.25])
    for at in np.array_split(np.arange(len(nodes)), 40):
        v = np.tensordot(size[:, at].T, np.array(parts), 1)
        log.append(dense.log_marginal(y, x, v, m, precision))
        beta, cov = dense.conditional(y, x, v, m, precision)
        mean.append(beta[:, 1])
        var.append(cov[:, 1, 1])
    log, mean, var = np.concatenate(log) + log_w, np.concatenate(mean), np.concatenate(var)
    weight = special.softmax(log)
    centre = weight @ mean
    return (
        special.logsumexp(log), centre, np.sqrt(weight @ (var + (mean - centre) ** 2)),
        weight @ nodes,
    )  # fmt: skip


def test_a_correlated_slope_equals_brute_force():
    data = DATA.dropna().iloc[:20].reset_index(drop=True)
    age = np.tile([-1.0, -0.5, 0.5, 1.0], 5)
    data = data.assign(age=age, subject=np.repeat(list("abcde"), 4))
    y, group = data["y"].to_numpy(), data["subject"].to_numpy()
    log, mean, sd, theta = slope_oracle(y, columns(data, "sex"), age, group)
    contrast = {"sex": "M - F"}
    for tolerance in (1e-3, 1e-5):
        post = ks.posterior("y ~ sex + (1 + age | subject)", data, priors=PRIORS,
                            tolerance=tolerance)  # fmt: skip
        found, room = post.contrast(contrast).iloc[0], max(post.error, FLOOR_3)
        assert post.log_evidence == pytest.approx(log, abs=room)
        assert found["estimate"] == pytest.approx(mean, abs=room * sd)
        assert found["se"] == pytest.approx(sd, rel=room)
        order = [a.name for a in post.model.axes]
        found = {n: float(post.weight @ post.nodes[:, i]) for i, n in enumerate(order)}
        sds = [n for n in order if n.startswith("sd") and "residual" not in n]
        table = post.sds()["mean"]
        assert table[sds].tolist() == pytest.approx(theta[:2].tolist(), rel=OF_SDS * room)
        rho = next(n for n in order if n.startswith("correlation"))
        assert found[rho] == pytest.approx(theta[2], abs=OF_SDS * room)


# --- REML, closed forms ---------------------------------------------------------------------------


@pytest.mark.parametrize("formula, residual", [
    ("visit + (1|subject)", None), ("dose + (1|subject) + (1|subject:visit)", None),
    ("visit * sex", "by sex"), ("age + (1 + age | subject)", None),
])  # fmt: skip
def test_with_flat_coefficients_the_likelihood_is_reml_at_every_node(formula, residual):
    priors = PRIORS | {"effects": "flat", "intercept": "flat"}
    post = ks.posterior(f"y ~ {formula}", DATA, priors=priors, residual=residual, tolerance=1e-3)
    some = post.nodes[:: max(1, len(post.nodes) // 40)]
    moments = make_moments(post.model.problem, post.problem.y[None])
    found = at_nodes(post.model, moments, some, np.zeros((0, moments.q)), np.zeros(1, dtype=int))
    log = found.constant - 0.5 * found.quad[:, 0]
    theta = covariances(post.model, some)
    reml = np.array([
        evaluate(moments, t[None] / moments.scale[0], np.zeros(1, dtype=int)).loglik[0]
        for t in theta
    ])  # fmt: skip
    apart = log - reml
    assert np.ptp(log) > 1  # the nodes are different
    np.testing.assert_allclose(apart, apart[0], rtol=0, atol=1e-9 * np.abs(log).max())
    x = post.model.problem.x
    a, *_ = information(post.model, moments, theta, np.zeros(1, dtype=int))
    v = np.array([
        sum(t * b for t, b in zip(one, dense_basis(post), strict=True)) for one in theta[:3]
    ])  # fmt: skip
    np.testing.assert_allclose(a[:3], x.T @ np.linalg.solve(v, np.tile(x, (3, 1, 1))), rtol=1e-9)
    one = [dense.reml_loglik(post.problem.y, x, m) for m in v]
    np.testing.assert_allclose(log[:3], one, rtol=ALGEBRA)


def dense_basis(post):
    from ketastats.frequentist.moments import basis_of

    return basis_of(post.model.problem, np.arange(len(post.problem.y)))


@pytest.mark.parametrize("seed", range(3))
def test_flat_effects_and_jeffreys_are_students_t(seed):
    """beta ~ t around least squares with n - p df; the residual SD's square is inverse gamma."""
    rng = np.random.default_rng(seed)
    data = DATA.dropna().assign(y=rng.normal(0, 10.0**seed, 30) + 100)
    priors = {"effects": "flat", "intercept": "flat", "residual": "jeffreys"}
    post = ks.posterior("y ~ visit + dose", data, priors=priors, tolerance=1e-10, level=0.9)
    x, y = columns(data, "visit", "dose"), data["y"].to_numpy()
    beta = np.linalg.lstsq(x, y, rcond=None)[0]
    df, rest = len(y) - 4, ((y - x @ beta) ** 2).sum()
    se = np.sqrt(DOSE_ROW @ np.linalg.inv(x.T @ x) @ DOSE_ROW * rest / df)
    t = stats.t(df, DOSE_ROW @ beta, se)
    found = post.contrast(estimands=[HIGH]).iloc[0]
    assert found["estimate"] == pytest.approx(t.mean(), abs=1e-10 * se)
    assert found["se"] == pytest.approx(t.std(), rel=1e-10)
    assert found["prob_positive"] == pytest.approx(t.sf(0), abs=1e-10)
    for column, p in (("ci_low", 0.05), ("ci_high", 0.95)):
        assert found[column] == pytest.approx(t.ppf(p), abs=CLOSED * se)
    sigma2 = stats.invgamma(df / 2, scale=rest / 2)
    table = post.sds().loc["sd residual"]
    half = np.exp(special.gammaln(df / 2 - 0.5) - special.gammaln(df / 2)) * np.sqrt(rest / 2)
    assert table["mean"] == pytest.approx(half, rel=1e-10)
    assert table["sd"] == pytest.approx(np.sqrt(sigma2.mean() - half**2), rel=1e-9)
    for column, p in (("ci_low", 0.05), ("ci_high", 0.95)):
        assert table[column] == pytest.approx(np.sqrt(sigma2.ppf(p)), rel=CLOSED)
    # the integral of N(y; x beta, s²) / s over both, in closed form; x is that of the package
    unit = np.linalg.slogdet(post.model.problem.x.T @ post.model.problem.x)[1]
    log = special.gammaln(df / 2) - np.log(2) - df / 2 * np.log(np.pi * rest) - unit / 2
    assert post.log_evidence == pytest.approx(log, abs=1e-9)


def test_a_proper_prior_and_one_scale_equal_a_line_integral():
    """y ~ N(4, 25 J + s² I), the only free parameter the residual SD: scipy's quad."""
    data = DATA.dropna()
    y = data["y"].to_numpy()
    n, mean, rest = len(y), y.mean(), ((y - y.mean()) ** 2).sum()

    def log_joint(s):
        spread = 25 + s**2 / n
        out = stats.norm.logpdf(mean, 4, np.sqrt(spread)) - 0.5 * np.log(n)
        out -= 0.5 * (n - 1) * np.log(2 * np.pi * s**2) + rest / (2 * s**2)
        return out + stats.halfnorm.logpdf(s, scale=3)

    top = log_joint(1.3)
    edges = [(0.5, 1), (1, 1.5), (1.5, 2.5), (2.5, 8)]
    total = sum(
        integrate.quad(lambda s: np.exp(log_joint(s) - top), *e, epsabs=0, epsrel=1e-12)[0]
        for e in edges
    )
    post = ks.posterior("y ~ 1", data, priors=PRIORS, tolerance=1e-10)
    assert post.log_evidence == pytest.approx(np.log(total) + top, abs=CLOSED)


# --- what must not matter -------------------------------------------------------------------------


def answers(data, formula, priors, estimands, asked=(), **options):
    post = ks.posterior(formula, data, priors=priors, estimands=asked, tolerance=1e-10, **options)
    table = post.contrast(estimands=estimands)
    values = table[["estimate", "se", "prob_positive", "ci_low", "ci_high"]].to_numpy(float)
    return post, values


FORMULA = "y ~ visit * dose + sex + (1|subject)"
ASKED = [VISIT, HIGH, contrast("later", [*VISIT.contrast, *HIGH.contrast])]


@pytest.fixture(scope="module")
def base():
    return answers(DATA, FORMULA, PRIORS | {"high": "normal(1, 0.8)"}, ASKED, (HIGH,))


def same(found, base, scale=1.0, shift=0.0):
    (post, values), (first, expected) = found, base
    unit = np.array([scale, scale, 1.0, scale, scale])
    size = np.abs(expected[:, 1:2] * unit)
    assert np.abs(values - expected * unit).max() <= (SAME * size).max()
    n = len(first.problem.y)
    assert post.log_evidence == pytest.approx(first.log_evidence - n * np.log(scale), abs=1e-8)


def test_the_order_of_levels_does_not_matter(base):
    for order in itertools.permutations(["low", "mid", "high"]):
        data = DATA.assign(
            dose=pd.Categorical(DATA["dose"], order),
            visit=pd.Categorical(DATA["visit"], ["pre", "post"]),
            sex=pd.Categorical(DATA["sex"], ["M", "F"]),
        )
        same(answers(data, FORMULA, PRIORS | {"high": "normal(1, 0.8)"}, ASKED, (HIGH,)), base)


def test_names_do_not_matter(base):
    names = {"low": "z3", "mid": "a 1", "high": "m-2"}
    data = DATA.assign(dose=DATA["dose"].map(names), subject="id " + DATA["subject"])

    def renamed(e):
        swap = tuple((f, tuple((names.get(v, v), c) for v, c in cs)) for f, cs in e.contrast)
        return contrast(e.name, swap)

    asked = [renamed(e) for e in ASKED]
    same(answers(data, FORMULA, PRIORS | {"high": "normal(1, 0.8)"}, asked, (asked[1],)), base)


def test_the_order_of_rows_does_not_matter(base):
    data = DATA.sample(frac=1, random_state=4)
    same(answers(data, FORMULA, PRIORS | {"high": "normal(1, 0.8)"}, ASKED, (HIGH,)), base)


@pytest.mark.parametrize("scale, shift", [(1000.0, 0.0), (1e-4, 0.0), (1.0, 300.0), (7.0, -40.0)])
def test_units_do_not_matter(base, scale, shift):
    """The evidence has the Jacobian of n rows."""
    priors = {
        "effects": f"normal(0, {2 * scale!r})",
        "intercept": f"normal({4 * scale + shift!r}, {5 * scale!r})",
        "sd": f"half-normal({2 * scale!r})",
        "residual": f"half-normal({3 * scale!r})",
        "high": f"normal({scale!r}, {0.8 * scale!r})",
    }
    data = DATA.assign(y=DATA["y"] * scale + shift)
    same(answers(data, FORMULA, priors, ASKED, (HIGH,)), base, scale)


@pytest.mark.parametrize("priors", [
    {"effects": "standardised-cauchy(1)"}, {"effects": "normal(0, 2)", "sd": "half-t(3, 2)"},
])  # fmt: skip
def test_levels_and_rows_do_not_matter_for_other_priors(priors):
    formula = "y ~ dose + (1|subject)"
    priors = {"intercept": "flat", "residual": "jeffreys"} | priors
    first = answers(DATA, formula, priors, [HIGH])
    data = DATA.sample(frac=1, random_state=2)
    data["dose"] = pd.Categorical(data["dose"], ["high", "low", "mid"])
    same(answers(data, formula, priors, [HIGH]), first)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 3), min_size=3, max_size=6),
    seed=st.integers(0, 2**20),
    power=st.integers(-3, 3),
)
def test_random_designs_do_not_see_order_or_units(sizes, seed, power):
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(len(sizes)), [2 * s for s in sizes])
    data = pd.DataFrame({
        "subject": [f"s{s}" for s in subject],
        "visit": np.tile(["pre", "post"], sum(sizes)),
        "y": rng.normal(5, 1, len(subject)) + rng.normal(0, 1, len(sizes))[subject],
    })  # fmt: skip
    scale = 10.0**power
    first = answers(data, "y ~ visit + (1|subject)", PRIORS, [VISIT])
    priors = {
        "effects": f"normal(0, {2 * scale!r})",
        "intercept": f"normal({4 * scale!r}, {5 * scale!r})",
        "sd": f"half-normal({2 * scale!r})", "residual": f"half-normal({3 * scale!r})",
    }  # fmt: skip
    other = data.assign(y=data["y"] * scale).iloc[rng.permutation(len(data))]
    same(answers(other, "y ~ visit + (1|subject)", priors, [VISIT]), first, scale)


# --- batches --------------------------------------------------------------------------------------


def outcomes(count, seed=3):
    """Outcomes of scales from 0.1 to 100, far from 0 or not, in four patterns of missing rows."""
    rng = np.random.default_rng(seed)
    person = DATA["subject"].str[1:].astype(int).to_numpy()
    y = rng.normal(0, 1, (count, 32)) + rng.normal(0, 1, (count, 8))[:, person]
    y *= np.resize([1.0, 0.1, 30.0, 100.0, 1.0], count)[:, None]
    y += np.resize([0.0, 5.0, 200.0], count)[:, None]
    gone = [[], [0], [5, 6, 30], list(range(8))]
    for i in range(count):
        y[i, gone[i % 4]] = np.nan
    return y


MANY = "visit + dose + (1|subject)"
BROAD = {"effects": "normal(0, 20)", "intercept": "normal(0, 100)", "sd": "half-t(3, 5)"}


def alike(count):
    """Outcomes of one scale that miss one row: more than 64 take the table's skeleton."""
    rng = np.random.default_rng(6)
    person = DATA["subject"].str[1:].astype(int).to_numpy()
    y = 12 + rng.normal(0, 2, (count, 32)) + rng.normal(0, 2, (count, 8))[:, person]
    y[:, 4] = np.nan
    return y


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
@pytest.mark.parametrize("make, count", [(outcomes, 12), (alike, 90)])
def test_a_row_of_a_batch_is_the_row_alone(make, count, tolerance):
    y, data = make(count), DATA.drop(columns="y")
    many = ks.posterior_many(MANY, data, y, priors=BROAD, estimands=[VISIT, HIGH],
                             tolerance=tolerance)  # fmt: skip
    assert many.converged.all() and (many.error <= tolerance).all()
    for i in range(0, count, 7 if count > 64 else 1):
        post = ks.posterior(f"y ~ {MANY}", data.assign(y=y[i]), priors=BROAD, tolerance=tolerance)
        alone = post.contrast(estimands=[VISIT, HIGH])
        room, sd = post.error + many.error[i] + 1e-8, alone["se"].to_numpy()
        assert np.abs(many.mean[i] - alone["estimate"]).max() <= room * sd.max()
        assert np.abs(many.sd[i] / sd - 1).max() <= room
        assert np.abs(many.prob_positive[i] - alone["prob_positive"]).max() <= room
        assert abs(many.log_evidence[i] - post.log_evidence) <= room
        # an error of mass is one of mass / density: 17 SDs at the ends of a 95 % interval
        for ends, column in ((many.ci_low, "ci_low"), (many.ci_high, "ci_high")):
            assert np.abs(ends[i] - alone[column]).max() <= 17 * room * sd.max()


def test_neither_order_nor_company_changes_a_row():
    y, data = outcomes(24), DATA.drop(columns="y")
    options = {"priors": BROAD, "estimands": [VISIT]}
    whole = ks.posterior_many(MANY, data, y, **options)
    order = np.random.default_rng(1).permutation(24)
    moved = ks.posterior_many(MANY, data, y[order], **options)
    parts = [ks.posterior_many(MANY, data, y[i : i + 5], **options) for i in range(0, 24, 5)]
    for field_ in ("mean", "sd", "prob_positive", "ci_low", "ci_high", "log_evidence"):
        own = getattr(whole, field_)
        size = whole.sd if own.ndim == 2 and field_ != "prob_positive" else 1.0
        rooms = (2 * whole.error[:, None] if own.ndim == 2 else 2 * whole.error) * 17 + 1e-8
        other = np.empty_like(own)
        other[order] = getattr(moved, field_)
        assert (np.abs(other - own) <= rooms * size).all(), field_
        joined = np.concatenate([getattr(p, field_) for p in parts])
        assert (np.abs(joined - own) <= rooms * size).all(), field_


def test_an_outcome_without_rows_leaves_the_others_alone():
    y = outcomes(8)
    y[3] = np.nan
    data = DATA.drop(columns="y")
    found = ks.posterior_many(MANY, data, y, priors=BROAD, estimands=[VISIT])
    kept = np.arange(8) != 3
    assert not found.converged[3] and np.isnan(found.mean[3]).all()
    assert found.converged[kept].all()
    other = ks.posterior_many(MANY, data, y[kept], priors=BROAD, estimands=[VISIT])
    rooms = (found.error[kept] + other.error)[:, None] * other.sd
    assert (np.abs(found.mean[kept] - other.mean) <= rooms).all()
