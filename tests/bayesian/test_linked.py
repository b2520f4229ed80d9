"""Linked outcomes: brute force, separate fits, REML on stacked rows, calibration."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.polynomial.legendre import leggauss
from scipy import stats
from scipy.special import ndtri

from ketastats.bayesian import linked, sampling
from ketastats.bayesian.design import standard_design
from ketastats.bayesian.linked import mcmc_linked
from ketastats.bayesian.linked_model import build_linked, links_of
from ketastats.bayesian.mcmc import model_inputs
from ketastats.bayesian.priors import choose_priors
from ketastats.bayesian.summaries import convergence, moments
from ketastats.core.errors import DataError, FormulaError, StudyError
from ketastats.frequentist.lmm import lmm
from ketastats.problem.build import build_problem

SHORT = {"draws": 1000, "tune": 500, "thin": 2}
GIVEN = {"intercept": "normal(1, 2)", "effects": "normal(0, 0.8)", "sd": "half-normal(0.7)"}
"""Narrow, so that a prior on another scale or of another parameter would show."""

BOTH = {"still": "arm + (1|mouse)", "far": "arm + (1|mouse)"}


def tiny():
    """Twelve synthetic occasions; each outcome is lost in two of them, not in the same."""
    rng = np.random.default_rng(17)
    e = rng.multivariate_normal([0, 0], [[1.0, -1.1], [-1.1, 2.0]], 12)
    data = pd.DataFrame({"arm": np.tile(["a", "b"], 6), "mouse": np.repeat(np.arange(4), 3)})
    data["still"] = 1 + 0.5 * (data["arm"] == "b") + e[:, 0]
    data["far"] = 2 - 0.7 * (data["arm"] == "b") + e[:, 1]
    data.loc[[1, 6], "still"] = np.nan
    data.loc[[4, 9], "far"] = np.nan
    return data


def inputs_of(formulas, data, priors=GIVEN):
    problems = [build_problem(f, data, outcome=y, coding="difference") for y, f in formulas.items()]
    each = [
        model_inputs(p, standard_design(p, data), choose_priors(priors, p.y, p.outcome, None, None))
        for p in problems
    ]
    return tuple(each), links_of(*problems)


@pytest.fixture(scope="module")
def fitted():
    priors = {"still": GIVEN, "far": GIVEN}
    return mcmc_linked({"still": "arm", "far": "arm"}, tiny(), priors=priors, lkj=1.5, **SHORT)


def test_the_posterior_is_the_one_brute_force_gives(fitted):
    """Given SDs and correlation the coefficients are normal, exactly; those are on a grid."""
    data = tiny()
    node, weight = leggauss(24)  # 32 nodes change no number by more than 0.001
    u, w = (node + 1) / 2, weight / 2
    sd, r = stats.halfnorm.ppf(u, scale=0.7), 2 * stats.beta.ppf(u, 1.5, 1.5) - 1
    one, two, rho = (g.ravel() for g in np.meshgrid(sd, sd, r, indexing="ij"))
    prior = np.multiply.outer(np.multiply.outer(w, w), w).ravel()
    code = np.where(data["arm"] == "b", 0.5, -0.5)
    x = np.kron(np.eye(2), np.column_stack([np.ones(12), code]))
    y = np.concatenate([data["still"], data["far"]])
    seen = ~np.isnan(y)
    x, y, row = x[seen], y[seen], np.tile(np.arange(12), 2)[seen]
    side = np.repeat([0, 1], 12)[seen]
    sds = np.stack([one, two])[side].T
    across = np.where(side[:, None] == side, 1.0, rho[:, None, None])
    v = sds[:, :, None] * sds[:, None, :] * across * (row[:, None] == row)
    b0, scale = np.array([1.0, 0, 1.0, 0]), np.array([2.0, 0.8, 2.0, 0.8])
    e = y - x @ b0
    marginal = v + (x * scale**2) @ x.T
    solved = np.linalg.solve(marginal, np.broadcast_to(e[:, None], (len(v), len(e), 1)))[:, :, 0]
    p = prior * np.exp(-0.5 * (np.linalg.slogdet(marginal)[1] + solved @ e))
    p /= p.sum()
    mean = b0 + scale**2 * (solved @ x)  # E b = b0 + cov(b, y) var(y)^-1 e
    drawn = np.concatenate([q.draws.gamma for q in fitted.posteriors], axis=2)
    others = [fitted.draws, *(q.draws.own for q in fitted.posteriors)]
    drawn = np.concatenate([drawn, *others], axis=2)
    truth = np.concatenate([p @ mean, [p @ rho, p @ one, p @ two]])
    m, known = moments(drawn, 0.95), convergence(drawn)
    # 4 Monte-Carlo errors: 1 in 16 000 by chance, for each number
    assert (np.abs(m.mean - truth) < 4 * known.mcse).all()
    spread = np.sqrt([p @ v**2 - (p @ v) ** 2 for v in (rho, one, two)])
    kurtosis = np.array([p @ (v - p @ v) ** 4 for v in (rho, one, two)]) / spread**4
    error = np.sqrt((kurtosis - 1) / (2 * known.ess_bulk[4:]))  # of an SD, doubled n to be safe
    assert (np.abs(m.sd[4:] / spread - 1) < 4 * error).all()


def test_tables_and_texts(fitted):
    table = fitted.contrast({"arm": "b - a"})
    assert table["outcome"].tolist() == ["still", "far"]
    assert table["method"].str.endswith("linked with far").tolist() == [True, False]
    assert table["method"].str.endswith("linked with still").tolist() == [False, True]
    alone = fitted["far"].contrast({"arm": "b - a"})
    assert alone["estimate"].item() == table["estimate"].iloc[1]
    with pytest.raises(DataError, match="'speed' is not one of the linked outcomes"):
        fitted["speed"]
    c = fitted.correlations
    assert list(c.index) == ["residual"]
    assert c["ci_low"].item() < c["mean"].item() < c["ci_high"].item() < 0.5
    assert c["prob_positive"].item() == (fitted.draws > 0).mean()
    assert (fitted.status, fitted["far"].status) == ("ok", "ok")
    # the worst of all parameters: as large as every part's
    gate = {g.name: g.value for g in fitted.gates}
    parts = [p.diagnostics["r_hat"] for p in fitted.posteriors]
    assert gate["R-hat"] == max(*parts, fitted.known.r_hat[0])
    assert gate["bulk ESS"] <= fitted.known.ess_bulk[0]
    for words in ("prior of correlations: lkj(1.5)", "still ~ arm", "far ~ arm", "residual"):
        assert words in str(fitted)
    assert "lkj(1.5)" in fitted._repr_html_()
    assert fitted.to_frame()["correlation"].tolist() == ["residual"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(fitted):
    priors = {"still": GIVEN, "far": GIVEN}
    again = mcmc_linked({"still": "arm", "far": "arm"}, tiny(), priors=priors, lkj=1.5, **SHORT)
    assert again.draws.tobytes() == fitted.draws.tobytes()
    for a, b in zip(again.posteriors, fitted.posteriors, strict=True):
        assert a.draws.gamma.tobytes() == b.draws.gamma.tobytes()


def test_a_correlation_that_is_not_known_flags_the_answers(fitted):
    poor = replace(fitted.known, r_hat=np.array([1.2]))
    bad = replace(fitted, known=poor)
    assert bad.status == "unconverged"
    table = bad.contrast({"arm": "b - a"})
    assert set(table["status"]) == {"unconverged"}
    assert set(table["notes"]) == {"R-hat 1.2 fails <= 1.01"}
    assert table["estimate"].equals(fitted.contrast({"arm": "b - a"})["estimate"])


def log_density(model, point):
    return float(model.compile_logp(jacobian=False, mode="FAST_COMPILE")(point))


def test_without_correlation_the_model_is_that_of_two_separate_fits():
    data = tiny()
    each, links = inputs_of({"still": "arm + (1|mouse)", "far": "arm + (1|mouse)"}, data)
    rng = np.random.default_rng(2)
    with sampling.ensure_reproducible():
        both, alone = build_linked(each, links, 2.0), [sampling.build_model(i) for i in each]
    point = {"half_logodds__": np.zeros(2), "deviation_0": rng.normal(size=(2, 4))}
    total = 2 * stats.beta.logpdf(0.5, 2, 2)
    for i, model in enumerate(alone):
        unit, sd, sigma = rng.normal(size=2), rng.normal(size=1), np.array(rng.normal())
        point |= {f"unit_{i}": unit, f"sd_{i}_log__": sd, f"sigma_{i}_log__": sigma}
        mine = {"unit": unit, "sd_log__": sd, "sigma_log__": sigma}
        total += log_density(model, mine | {"deviation_0": point["deviation_0"][i]})
    assert log_density(both, point) == pytest.approx(total, rel=1e-12)


def test_with_correlations_the_rows_are_bivariate_normal():
    """Given the deviations, which are a Cholesky factor times standard normal ones."""
    data = tiny().assign(cage=np.repeat(["k", "l"], 6))
    formulas = {"still": "arm + (1|cage) + (1|mouse)", "far": "arm + (1|mouse)"}
    each, links = inputs_of(formulas, data)
    assert links.names == ("mouse", "residual")
    assert links.terms == ((1, 0),)
    with sampling.ensure_reproducible():
        model = build_linked(each, links, 2.0)
    rng = np.random.default_rng(5)
    z, cage = rng.normal(size=(2, 4)), rng.normal(size=2)
    sd, sigma = [np.array([0.4, 0.9]), np.array([1.3])], np.array([0.8, 1.7])
    mouse = data["mouse"].to_numpy()
    y = data[["still", "far"]].to_numpy()
    point = {"deviation_0": z, "deviation_0_0": cage, "unit_0": np.zeros(2), "unit_1": np.zeros(2)}
    point |= {"sd_0_log__": np.log(sd[0]), "sd_1_log__": np.log(sd[1])}
    point |= {f"sigma_{i}_log__": np.log(sigma[i]) for i in range(2)}
    found, by_hand = [], []
    for r, rho in ((0.0, 0.0), (0.7, -0.6)):
        half = (1 + np.array([r, rho])) / 2
        found.append(log_density(model, point | {"half_logodds__": np.log(half / (1 - half))}))
        root = np.linalg.cholesky([[1, r], [r, 1]])
        d = (root @ z).T * [sd[0][1], sd[1][0]]
        means = np.empty((12, 2))
        for i, inputs in enumerate(each):
            centre = sampling.unit_of(inputs)[0]
            code = np.where(data["arm"] == "b", 0.5, -0.5)
            means[:, i] = centre[0] + centre[1] * code + d[mouse, i]
        means[:, 0] += sd[0][0] * cage[np.repeat([0, 1], 6)]
        v = np.diag(sigma) @ [[1, rho], [rho, 1]] @ np.diag(sigma)
        total = stats.beta.logpdf(half, 2, 2).sum()
        for k in range(12):
            seen = ~np.isnan(y[k])
            total += stats.multivariate_normal.logpdf(
                y[k][seen], means[k][seen], v[np.ix_(seen, seen)]
            )
        by_hand.append(total)
    assert abs(by_hand[1] - by_hand[0]) > 0.1
    assert found[1] - found[0] == pytest.approx(by_hand[1] - by_hand[0], abs=1e-9)


def test_groups_are_matched_by_name_where_an_outcome_lacks_some():
    data = tiny()
    data.loc[data["mouse"] == 0, "far"] = np.nan
    one, two = (build_problem("arm + (1|mouse)", data, outcome=y) for y in BOTH)
    links = links_of(one, two)
    assert links.levels == (4,)
    names = np.array(one.random[0].levels)
    for problem, group in zip((one, two), links.group[0], strict=True):
        assert names[group].tolist() == [str(m) for m in data["mouse"].iloc[problem.rows]]
    assert (one.rows[links.first] == two.rows[links.second]).all()
    assert set(one.rows[links.first]) == set(data.index[data[["still", "far"]].notna().all(axis=1)])


@pytest.fixture
def sampled(monkeypatch):
    """Run mcmc_linked with draws made up."""

    def fake(model, names, settings, progress):
        rng = np.random.default_rng(1)
        shapes = {n: model[n].shape.eval() for n in names}
        kept = (settings.chains, settings.draws)
        draws = {
            n: np.abs(rng.normal(size=(*kept, *([1] if len(s) == 0 else s))))
            for n, s in shapes.items()
        }
        flat = {"diverging": np.zeros(kept, dtype=bool), "energy": rng.normal(size=kept)}
        return draws, flat

    monkeypatch.setattr(linked, "run", fake)


def test_outcomes_that_never_meet_share_their_subjects_only(sampled):
    data = tiny()
    data.loc[data.index % 2 == 0, "far"] = np.nan
    data.loc[data.index % 2 == 1, "still"] = np.nan
    formulas = {"still": "1 + (1|mouse)", "far": "1 + (1|mouse)"}
    post = mcmc_linked(formulas, data, draws=50, thin=1)
    assert post.names == ("mouse",)
    assert post.notes == (
        "no row has both still and far: the correlation of their residuals is left out",
    )
    assert post.notes[0] in str(post)
    with pytest.raises(DataError, match="nothing links the outcomes"):
        mcmc_linked({"still": "1", "far": "1"}, data, draws=50, thin=1)


@pytest.mark.parametrize(
    "formulas, keywords, error, words",
    [
        ({"still": "arm"}, {}, FormulaError, "linked are two outcomes"),
        (["still ~ arm"], {}, FormulaError, "linked are two outcomes"),
        ({"still": "far ~ arm", "far": "arm"}, {}, FormulaError, "names another outcome"),
        (BOTH, {"lkj": 0.0}, DataError, "lkj = 0.0 is not a positive number"),
        (BOTH, {"priors": {"sd": "normal"}}, DataError, "priors: 'sd' is not one of the linked"),
        (BOTH, {"priors": {"far": {"nu": "x"}}}, StudyError, "there is no prior for 'nu'"),
        (BOTH, {"draws": 3}, DataError, "draws = 3"),
        ({"still": "arm + (1+arm|mouse)", "far": "arm"}, {}, FormulaError, "correlated effects"),
    ],
)
def test_what_cannot_be_linked_is_one_sentence(formulas, keywords, error, words):
    with pytest.raises(error) as caught:
        mcmc_linked(formulas, tiny(), **keywords)
    assert words in str(caught.value)


@pytest.mark.slow
def test_with_wide_priors_and_many_mice_it_is_reml_on_stacked_rows():
    rng = np.random.default_rng(23)
    mouse, day = np.repeat(np.arange(120), 3), np.tile(["1", "2", "3"], 120)
    d = rng.multivariate_normal([0, 0], [[4.0, -2.4], [-2.4, 3.0]], 120)[mouse]
    e = rng.multivariate_normal([0, 0], [[1.0, 0.5], [0.5, 2.0]], 360)
    arm = np.where((mouse + np.arange(360)) % 2, "b", "a")
    data = pd.DataFrame({"mouse": mouse, "day": day, "arm": arm})
    data["still"], data["far"] = (d + e + np.where(arm == "b", 1.0, 0.0)[:, None]).T
    wide = {"effects": "normal(0, 1000)", "intercept": "normal(0, 1000)", "sd": "half-t(3, 100)"}
    post = mcmc_linked(BOTH, data, priors={"still": wide, "far": wide}, lkj=1.0, **SHORT)
    stacked = data.melt(["mouse", "day", "arm"], ["still", "far"], "which", "y")
    stacked["occasion"] = stacked["mouse"].astype(str) + "/" + stacked["day"]
    for name in ("still", "far"):
        stacked[f"is_{name}"] = (stacked["which"] == name) * 1.0
    fit = lmm(
        "y ~ which*arm + (0 + is_still + is_far|mouse)", stacked,
        residual="un(which | occasion)",
    )  # fmt: skip
    for name in ("still", "far"):
        b = post[name].contrast({"arm": "b - a"}).iloc[0]
        f = fit.contrast({"arm": "b - a"}, within={"which": name}).iloc[0]
        # posterior and REML differ by 1/n of an SE, here some 2 %, and a Monte-Carlo error of 2 %
        assert abs(b["estimate"] - f["estimate"]) < 0.1 * f["se"]
        assert b["se"] == pytest.approx(f["se"], rel=0.06)
    v = fit.variance
    reml = {
        "mouse": v["mouse is_still, is_far"] / np.sqrt(v["mouse is_still"] * v["mouse is_far"]),
        "residual": v["far, still"] / np.sqrt(v["far"] * v["still"]),
    }
    c = post.correlations
    for part, value in reml.items():
        # the mean of a skewed posterior against a mode: a part of its SD, which is 0.05
        assert c.loc[part, "mean"] == pytest.approx(value, abs=0.25 * c.loc[part, "sd"])
    assert c.loc["mouse", "mean"] < -0.5 < 0.2 < c.loc["residual", "mean"]


@pytest.mark.slow
def test_ranks_of_the_truth_are_uniform():
    """Simulation-based calibration (Talts et al. 2018, arXiv:1804.06788), compiled once."""
    import nutpie

    rng = np.random.default_rng(41)
    data = pd.DataFrame({"mouse": np.repeat(np.arange(12), 4), "arm": np.tile(["a", "b"], 24)})
    code = np.where(data["arm"] == "b", 0.5, -0.5)
    lost = [np.array([0, 17, 30]), np.array([5, 17, 44, 45])]

    def simulated():
        b = rng.normal([1, 0], [2, 0.8], (2, 2))
        sd, sigma = np.abs(rng.normal(0, 0.7, (2, 2)))
        r = 2 * rng.beta(2, 2, 2) - 1
        cov = [np.outer(s, s) * [[1, k], [k, 1]] for s, k in zip((sd, sigma), r, strict=True)]
        y = b[:, 0] + np.outer(code, b[:, 1]) + rng.multivariate_normal([0, 0], cov[1], 48)
        y += rng.multivariate_normal([0, 0], cov[0], 12)[data["mouse"]]
        return [*r, *b[0], sd[0], sigma[0], *b[1], sd[1], sigma[1]], y

    _, y = simulated()
    for k, name in enumerate(BOTH):
        data[name] = y[:, k]
        data.loc[lost[k], name] = np.nan
    each, links = inputs_of(BOTH, data)
    names = ["correlation", "gamma_0", "sd_0", "sigma_0", "gamma_1", "sd_1", "sigma_1"]
    scores = []
    with sampling.ensure_reproducible():
        compiled = nutpie.compile_pymc_model(build_linked(each, links, 2.0), var_names=names)
        for seed in range(60):
            truth, y = simulated()
            new = {f"y_{k}": np.delete(y[:, k], lost[k]) for k in range(2)}
            tree = nutpie.sample(
                compiled.with_data(**new), draws=500, tune=500, chains=2, cores=2, seed=seed,
                target_accept=0.95, progress_bar=False, save_warmup=False, **sampling.ADAPTATION,
            )  # fmt: skip
            drawn = [tree["posterior"][n].values.reshape(1000, -1)[::5] for n in names]
            rank = (np.concatenate(drawn, axis=1) < truth).sum(axis=0)
            scores.append(ndtri((rank + 0.5) / 201))
    z = np.array(scores)
    # means of 60 normal scores and their sums of squares; each fails 1 in 1000 by chance
    assert (np.abs(z.mean(axis=0)) < 3.29 / np.sqrt(60)).all()
    assert (np.abs(stats.chi2.cdf((z**2).sum(axis=0), 60) - 0.5) < 0.4995).all()
