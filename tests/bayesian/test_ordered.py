"""Ordered categories: brute force, statsmodels, two categories, calibration."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.polynomial.hermite_e import hermegauss
from numpy.polynomial.legendre import leggauss
from scipy import integrate, stats
from scipy.special import expit, logit, ndtri

from ketastats.bayesian import mcmc, natural, predictive, sampling
from ketastats.bayesian.categories import to_data_units, without_intercept
from ketastats.bayesian.design import standard_design
from ketastats.bayesian.families import FAMILIES, cut_points
from ketastats.bayesian.likelihood import Likelihood
from ketastats.bayesian.sampling import Draws
from ketastats.bayesian.summaries import convergence
from ketastats.core.errors import DataError, FormulaError, StudyError
from ketastats.problem.build import build_problem
from ketastats.problem.questions import as_estimands
from ketastats.study.priors import Prior

SHORT = {"draws": 1000, "tune": 500, "thin": 2}
GIVEN = {"effects": "normal(0, 0.7)", "cutpoints": "dirichlet(1.5)", "sd": "half-normal(0.8)"}
"""Narrow, so that a prior on another scale or of another parameter would show."""

NAMES = ("none", "mild", "severe")


def rows_of(scores):
    labels = tuple(f"{s:g}" for s in scores)
    scores = np.array(scores, dtype=float)
    return Likelihood(FAMILIES["ordered"], groups=(), scores=scores, categories=labels)


def log_density(rows, y, eta, cuts):
    import pymc as pm
    import pytensor.tensor as pt

    with sampling.ensure_reproducible(), pm.Model() as model:
        mean, cut = pm.Flat("mean", shape=len(y)), {"cutpoints": pt.as_tensor_variable(cuts)}
        rows.family.density(mean, cut, np.asarray(y, dtype=float), rows)
        return tuple(
            compiled(mode="FAST_COMPILE")({"mean": eta})
            for compiled in (model.compile_logp, model.compile_dlogp)
        )


def test_two_categories_are_binomial():
    rng = np.random.default_rng(1)
    eta, y, cut = rng.normal(0, 2, 20), rng.integers(0, 2, 20), np.array([0.4])
    rows = replace(rows_of([0, 1]), categories=("0", "1"))
    log, slope = log_density(rows, y, eta, cut)
    # some twenty terms of double precision
    assert log == pytest.approx(stats.binom.logpmf(y, 1, expit(eta - 0.4)).sum(), rel=1e-12)
    np.testing.assert_allclose(slope, y - expit(eta - 0.4), rtol=1e-12)


def test_the_density_is_that_of_statsmodels():
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 2)), rng.integers(0, 4, 40)
    cuts, beta = np.array([-0.8, 0.1, 1.7]), np.array([0.6, -1.1])
    model = OrderedModel(y, x, distr="logit")
    theirs = model.loglike(np.array([*beta, cuts[0], *np.log(np.diff(cuts))]))
    assert log_density(rows_of([0, 1, 2, 3]), y, x @ beta, cuts)[0] == pytest.approx(
        theirs, rel=1e-9
    )  # statsmodels adds 1e-20 to probabilities and takes differences of them


@pytest.mark.parametrize("far", [-700.0, 700.0])
def test_in_the_tails_density_and_gradient_are_right(far):
    cuts = np.array([-1.0, 2.0])
    log, slope = log_density(rows_of([0, 1, 2]), np.arange(3), np.full(3, far), cuts)
    # the largest terms of log sigma: those of the two categories that are next to impossible
    inner = np.log1p(-np.exp(-3.0))
    expected = (far - 2.0) + (far + 1.0) if far < 0 else -(far + 1.0) - (far - 2.0)
    assert log == pytest.approx(expected + inner, rel=1e-12)
    np.testing.assert_allclose(slope, [0, 1, 1] if far < 0 else [-1, -1, 0], atol=1e-12)


def test_the_whole_model_is_priors_times_density():
    """Up to a constant: two points, so that the units in which the sampler moves fall out."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(12, 1)), np.arange(12) % 3 * 1.0
    rows, weight = rows_of([0, 1, 2]), 0.7
    inputs = sampling.Inputs(
        y, x, (), (), (), np.zeros(1), np.full(1, 1.5), Prior("half-normal", (1.0,)), rows,
        (Prior("dirichlet", (weight,)),),
    )  # fmt: skip
    with sampling.ensure_reproducible():
        model = sampling.build_model(inputs)
        logp = model.compile_logp(jacobian=False, mode="FAST_COMPILE")
    centre, step, _ = sampling.unit_of(inputs)
    changes = []
    for p, b in (([0.2, 0.5, 0.3], 0.4), ([0.6, 0.15, 0.25], -1.9)):
        p = np.array(p)
        free = np.log(p) - np.log(p).mean()
        point = {"unit": (np.array([b]) - centre) / step, "cutpoints_shares_simplex__": free[:-1]}
        by_hand = stats.dirichlet.logpdf(p, np.full(3, weight)) + stats.norm.logpdf(b, 0, 1.5)
        cuts = logit(np.cumsum(p)[:-1])
        by_hand += log_density(rows, y, x[:, 0] * b, cuts)[0]
        changes.append((float(logp(point)), by_hand))
    (a, b), (c, d) = changes
    assert abs(d - b) > 0.1
    assert c - a == pytest.approx(d - b, abs=1e-8)


def agree(draws, p, values):
    """Compare mean and SD with an integral within 4 Monte-Carlo errors: 1 in 16 000 by chance."""
    known = convergence(draws[:, :, None])
    truth = p @ values
    spread = np.sqrt(p @ (values - truth) ** 2)
    kurtosis = p @ (values - truth) ** 4 / spread**4
    assert abs(draws.mean() - truth) < 4 * known.mcse[0]
    # error of an SD: sqrt((kurtosis - 1) / 4n) of it; doubled n for squares that mix less well
    assert abs(draws.std() / spread - 1) < 4 * np.sqrt((kurtosis - 1) / (2 * known.ess_bulk[0]))


def nodes(low, high, count):
    x, w = leggauss(count)
    return low + (high - low) * (x + 1) / 2, w * (high - low) / 2


def shares_grid(count, weight):
    """Return cut points over all triples of probabilities, (2, G), and log prior times weights."""
    u, w = nodes(0.0, 1.0, count)
    first, rest = (a.ravel() for a in np.meshgrid(u, u, indexing="ij"))
    log = np.log(np.outer(w, w).ravel()) + np.log1p(-first)  # (p2, p3) = (1 - p1) (v, 1 - v)
    p = np.array([first, (1 - first) * rest, (1 - first) * (1 - rest)])
    log += (weight - 1) * np.log(p).sum(axis=0)
    return np.array([np.log(p[0]) - np.log1p(-p[0]), np.log1p(-p[2]) - np.log(p[2])]), log


def categories_of(eta, cuts):
    """Return probabilities of three categories: shape of eta and of a cut point, (3, ...)."""
    below = expit(cuts - eta)
    return np.array([below[0], below[1] - below[0], 1 - below[1]])


def tiny():
    severity = [0, 0, 1, 0, 1, 2, 0, 1, 1, 2, 2, 0, 1, 2]
    return pd.DataFrame(
        {
            "arm": np.tile(["a", "b"], 7),
            "mouse": np.repeat(np.arange(7), 2),
            "severity": pd.Categorical.from_codes(severity, NAMES, ordered=True),
            "items": severity,
        }
    )


@pytest.fixture(scope="module")
def fitted(draw_cache):
    return mcmc.mcmc(
        "severity ~ arm", tiny(), family="ordered", priors=GIVEN, draw_cache=draw_cache, **SHORT
    )


@pytest.fixture(scope="module")
def integrated():
    """Cut points and the effect over a grid, with their posterior probabilities."""
    cuts, log = shares_grid(50, 1.5)
    b, w = nodes(-2.6, 3.4, 44)
    data = tiny()
    code, y = np.where(data["arm"] == "b", 0.5, -0.5), data["items"].to_numpy()
    total = log[:, None] + np.log(w) + stats.norm.logpdf(b, 0, 0.7)
    for arm in (-0.5, 0.5):
        p = categories_of(arm * b, cuts[:, :, None])
        count = np.bincount(y[code == arm], minlength=3)
        total = total + np.tensordot(count, np.log(p), 1)
    p = np.exp(total - total.max())
    p /= p.sum()
    grids = np.broadcast_arrays(b, cuts[0][:, None], cuts[1][:, None])
    return [g.ravel() for g in grids], p.ravel()


def test_the_posterior_is_the_one_brute_force_gives(fitted, integrated):
    (b, one, two), p = integrated
    assert fitted.parameters == ("arm[1]", "cut none|mild", "cut mild|severe")
    for k, values in enumerate((b, one, two)):
        drawn = fitted.draws.gamma[:, :, 0] if k == 0 else fitted.draws.own[:, :, k - 1]
        agree(drawn, p, values)
    assert fitted.status == "ok"


def test_means_and_probabilities_are_those_of_brute_force(fitted, integrated):
    (b, one, two), p = integrated
    asked = as_estimands(fitted.problem, {"arm": "b - a"})
    sides = [categories_of(s * b, np.array([one, two])) for s in (0.5, -0.5)]
    mean = np.array([1, 2, 3]) @ (sides[0] - sides[1])
    agree(fitted.estimand_draws(asked, scale="natural")[:, :, 0], p, mean)
    severe = fitted.at_least("severe")
    agree(severe.estimand_draws(asked, scale="natural")[:, :, 0], p, sides[0][2] - sides[1][2])
    # the mean score is 1 + P(mild or worse) + P(severe), draw by draw
    parts = [fitted.at_least(k).estimand_draws(asked, scale="natural") for k in NAMES[1:]]
    whole = fitted.estimand_draws(asked, scale="natural")
    np.testing.assert_allclose(parts[0] + parts[1], whole, atol=1e-14)


def test_tables_say_family_scale_and_threshold(fitted):
    row = fitted.contrast({"arm": "b - a"}).iloc[0]
    assert row["method"] == "ordered, nutpie, 4 x 1000 draws, 1 in 2 kept, link scale"
    assert row["estimate"] == pytest.approx(fitted.draws.gamma.mean(), rel=1e-12)
    severe = fitted.at_least("severe").contrast({"arm": "b - a"}, scale="natural").iloc[0]
    assert (severe["outcome"], severe["status"]) == ("severity >= severe", "ok")
    assert "mixed model (ordered, logit link): severity ~ arm" in str(fitted)
    assert "prior of cutpoints: dirichlet(1.5) on the probabilities" in str(fitted)
    assert "prior of intercept" not in str(fitted)
    assert fitted.datatree["posterior"]["cutpoints"].dims == ("chain", "draw", "cut")
    assert (
        "in means the categories of severity count by their place: none as 1, mild as 2, severe "
        "as 3" in fitted.warnings
    )


def test_the_same_seed_gives_the_same_bytes_without_the_cache(fitted):
    again = mcmc.mcmc("severity ~ arm", tiny(), family="ordered", priors=GIVEN, **SHORT)
    for name in ("gamma", "own", "energy"):
        assert getattr(again.draws, name).tobytes() == getattr(fitted.draws, name).tobytes()


def test_new_outcomes_have_the_model_s_frequencies(fitted):
    n, eta = 40_000, np.array([-1.2, 0.4])
    own = {"cutpoints": np.tile([-0.5, 0.8], (n, 1))}
    y = predictive.ordered(np.random.default_rng(4), np.tile(eta, (n, 1)), own, fitted.rows)
    for k in range(2):
        expected = categories_of(eta[k], np.array([-0.5, 0.8]))
        found = (y[:, k, None] == [1, 2, 3]).mean(axis=0)
        assert (np.abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / n)).all()
    assert set(np.unique(fitted.predictive(50))) == {1.0, 2.0, 3.0}
    assert set(np.unique(fitted.at_least("mild").predictive(50))) == {0.0, 1.0}


@pytest.mark.parametrize("eta, sd", [(-3.0, 0.4), (0.5, 1.7), (2.0, 4.0)])
def test_mean_scores_are_averaged_over_the_deviations(eta, sd):
    cuts, scores = np.array([-1.0, 0.3, 2.5]), np.array([0.0, 1.0, 4.0, 5.0])

    def mean(u):
        ends = expit(np.array([np.inf, *-cuts, -np.inf]) + eta + sd * u)
        return scores @ -np.diff(ends) * stats.norm.pdf(u)

    expected = sum(integrate.quad(mean, a, a + 1, epsabs=0, epsrel=1e-11)[0] for a in range(-9, 9))
    own = {"cutpoints": cuts[None]}
    found = natural.scored(np.array([eta]), np.array([sd]), own, rows_of(scores))
    assert found[0] == pytest.approx(expected, rel=1e-9)  # tolerance of quad, with room


def test_cut_points_far_out_leave_a_mean():
    own = {"cutpoints": np.array([[-900.0, 900.0]])}
    for eta in (-2000.0, 0.0, 2000.0):
        found = natural.scored(np.array([eta]), np.array([1.0]), own, rows_of([0, 1, 2]))
        assert np.isfinite(found[0])
        assert found[0] == pytest.approx(1 + np.sign(eta), abs=1e-9)


def with_dose():
    rng = np.random.default_rng(9)
    return pd.DataFrame(
        {
            "arm": np.tile(["a", "b", "c"], 8),
            "dose": rng.uniform(3, 9, 24),
            "mouse": np.repeat(np.arange(8), 3),
            "items": np.arange(24) % 4,
        }
    )


def test_draws_go_back_to_the_data_s_units():
    data = with_dose()
    problem = build_problem("items ~ arm*dose", data, coding="difference")
    design = standard_design(problem, data)
    assert design.centred
    rng = np.random.default_rng(10)
    gamma, cuts = rng.normal(size=(2, 5, 5)), np.sort(rng.normal(size=(2, 5, 3)))
    b, moved = to_data_units(gamma, cuts, design.back, design.intercept)
    x = np.delete(design.x, design.intercept, axis=1)
    before = cuts[..., None] - (gamma @ x.T)[:, :, None]
    after = moved[..., None] - (b @ without_intercept(problem).x.T)[:, :, None]
    np.testing.assert_allclose(after, before, atol=1e-12)
    assert np.abs(moved - cuts).max() > 0.1  # the means of the covariate have moved over


@pytest.fixture
def sampled(monkeypatch):
    """Run mcmc up to the sampler; return what it would sample, and a Posterior of made draws."""
    seen = {}

    def fake(inputs, settings, folder, *, progress=False):
        rng = np.random.default_rng(1)
        kept = (settings.chains, settings.draws)
        seen["inputs"] = inputs
        return Draws(
            gamma=rng.normal(size=(*kept, inputs.x.shape[1])),
            sd=np.abs(rng.normal(size=(*kept, len(inputs.z)))),
            own=np.sort(rng.normal(size=(*kept, len(inputs.rows.names)))),
            diverging=np.zeros(kept, dtype=bool),
            energy=rng.normal(size=kept),
        )

    monkeypatch.setattr(mcmc, "cached_sample", fake)

    def run(formula, data, **kwargs):
        options = {"family": "ordered", "draws": 50, "thin": 1}
        return seen, mcmc.mcmc(formula, data, **(options | kwargs))

    return run


def test_the_cut_points_take_the_intercept(sampled):
    data = with_dose()
    seen, post = sampled("items ~ arm + dose + (1|mouse)", data)
    assert seen["inputs"].x.shape == (24, 3)
    assert post.problem.names == ("arm[1]", "arm[2]", "dose")
    assert post.parameters[3:] == ("sd mouse", "cut 0|1", "cut 1|2", "cut 2|3")
    # means per cell against the definition: eta of the cell without the intercept
    asked = as_estimands(post.problem, {"arm": "c - a"})
    found = post.estimand_draws(asked, scale="natural")[:, :, 0]
    grid, matrix = post.problem.fixed.grid()
    eta, sd = post.draws.gamma @ matrix[:, 1:].T, post.draws.sd[:, :, 0].ravel()
    own = {"cutpoints": post.draws.own.reshape(-1, 3)}
    mean = [natural.scored(eta[:, :, k].ravel(), sd, own, post.rows) for k in (0, 2)]
    assert list(grid.column("arm")) == ["a", "b", "c"]
    np.testing.assert_allclose(found.ravel(), mean[1] - mean[0], atol=1e-12)


def test_starting_values_rise_with_the_category_and_are_finite():
    rows = rows_of([0, 1, 7])
    at = rows.working(np.array([0.0, 0.0, 1.0, 7.0]))
    np.testing.assert_allclose(at, logit([0.25, 0.25, 0.625, 0.875]))  # middle ranks


def test_categories_without_rows_are_left_out_and_named(sampled):
    data = with_dose()
    data["items"] = data["items"].replace({1: 15})
    seen, post = sampled("items ~ arm", data)
    assert seen["inputs"].rows.scores.tolist() == [0, 2, 3, 15]
    empty = "items has no rows at its categories 1, 4, 5, 6, 7, 8, 9, 10 and 4 more, left out"
    assert empty in post.warnings
    assert post.parameters[-1] == "cut 3|15"
    far = data.assign(items=data["items"].replace({15: 10**12}))  # no list of all between
    assert sampled("items ~ arm", far)[0]["inputs"].rows.scores.tolist() == [0, 2, 3, 1e12]
    assert post.at_least(7).rows.scores.tolist() == [0, 0, 0, 1]  # a number without rows
    labels = ["no", "low", "mid", "high", "top"]
    codes = data["items"].map({0: 0, 2: 1, 3: 3, 15: 4})
    data["items"] = pd.Categorical.from_codes(codes, labels, ordered=True)
    data.loc[3, "items"] = None
    seen, post = sampled("items ~ arm", data)
    assert seen["inputs"].rows.scores.tolist() == [1, 2, 4, 5]
    assert "items has no rows at its category mid, left out" in post.warnings
    assert "1 rows without an outcome are left out" in post.warnings
    assert len(post.problem.y) == 23
    data["items"] = pd.Categorical.from_codes(codes, [0.5, 1, 2, 3, 8], ordered=True)
    seen, post = sampled("items ~ arm", data)
    assert seen["inputs"].rows.scores.tolist() == [0.5, 1, 3, 8]
    assert not any("by their place" in w for w in post.warnings)


def as_category(labels, codes, ordered=True):
    def change(data):
        values = pd.Categorical.from_codes(np.arange(24) % codes, labels, ordered=ordered)
        return data.assign(items=values)

    return change


WRONG = [
    (lambda d: d.assign(items=d["items"] // 2), {}, "items has 2 categories with rows, and the "
     'ordered family needs three; code them as 0 and 1 and use family="binomial"'),
    (as_category(["a", "b", "c"], 2), {}, "items has 2 categories with rows"),
    (lambda d: d.assign(items=d["items"] > 1), {}, "items has 2 categories with rows"),
    (lambda d: d.assign(items=d["items"].map("abcd".__getitem__)), {},
     "items: the outcome 'items' is text, which has no order; make it one: pandas.Categorical("),
    (as_category(["a", "b", "c"], 3, ordered=False), {},
     "items: the categories of 'items' have no order; name it, lowest first: pandas.Categorical("
     "items, ['a', 'b', 'c'], ordered=True)"),
    (as_category([3, 2, 1], 3), {},
     "items: the categories of 'items' are numbers that do not rise; order them from low to high"),
    (lambda d: d.assign(items=d["items"] + 0.5), {},
     "items: 0.5 is not a whole number, and categories are; use another family, or cut"),
    (None, {"priors": {"intercept": "normal(0, 1)"}},
     "priors.intercept: the ordered family has cut points instead of an intercept"),
    (None, {"priors": {"cutpoints": "normal(0, 1)"}},
     "priors.cutpoints: cannot read the prior 'normal(0, 1)'; write dirichlet(weight)"),
    (None, {"priors": {"cutpoints": "dirichlet(0)"}}, "priors.cutpoints: cannot read"),
    (None, {"priors": {"cutpoints": "dirichlet(1-1)"}}, "priors.cutpoints: cannot read"),
    (None, {"size": "dose"}, "size: trials belong to the binomial families"),
    (None, {"residual": "by arm"}, "belongs to the gaussian family"),
]  # fmt: skip


@pytest.mark.parametrize("change, keywords, words", WRONG)
def test_what_the_family_cannot_take_is_one_sentence(change, keywords, words):
    data = with_dose() if change is None else change(with_dose())
    with pytest.raises((DataError, StudyError)) as caught:
        mcmc.mcmc("items ~ arm + (1|mouse)", data, family="ordered", **keywords)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "formula, words", [("items ~ 0 + dose", "leaves the intercept out"), ("items ~ 1", "only an")]
)
def test_the_fixed_part_needs_more_than_an_intercept_and_not_less(formula, words):
    with pytest.raises(FormulaError, match=words):
        mcmc.mcmc(formula, with_dose(), family="ordered")


def test_thresholds_that_cannot_be_are_refused(fitted, made, small):
    for category in ("none", "sever", 2):
        with pytest.raises(DataError, match="is not a category above the lowest"):
            fitted.at_least(category)
    with pytest.raises(DataError, match="belongs to the ordered family"):
        fitted.at_least("mild").at_least("severe")
    with pytest.raises(DataError, match="belongs to the ordered family"):
        made("y ~ treatment + (1|subject)", small).at_least(3)


def test_the_default_prior_weighs_no_more_than_three_rows(sampled):
    _, post = sampled("items ~ arm", with_dose())
    weight = cut_points(4).prior.parameters[0]
    assert weight == 0.45  # 1 / (0.8 + 0.35 * 4), two digits
    assert post.priors["cutpoints"].startswith("dirichlet(0.45) on the probabilities of the cat")
    assert all(k * cut_points(k).prior.parameters[0] < 3 for k in range(3, 200))


def test_an_analysis_of_a_study_takes_the_family(study, sampled, monkeypatch):
    from ketastats.analysis.engines import Context, run_engine

    analysis = replace(study.analysis("bayes_sampled"), family="ordered", priors=())
    asked = study.estimands_of(analysis)
    sampled("items ~ arm", with_dose())
    data = study.simulate(seed=1, outcome="madrs")
    answer = run_engine(analysis, asked, data, Context(study, 1, None))
    assert answer.result.problem.y.tolist() == data["madrs"].dropna().tolist()
    assert answer.estimates["method"].str.endswith("natural scale").all()
    # log odds: the typical SD of the outcome in points does not set the scale of the priors
    assert answer.details["priors"]["effects"] == "normal(0, 1.5)"
    assert answer.estimates["estimate"].notna().all()


@pytest.mark.slow
def test_a_random_intercept_agrees_with_quadrature_over_every_mouse():
    data = tiny()
    post = mcmc.mcmc("items ~ arm + (1|mouse)", data, family="ordered", priors=GIVEN, **SHORT)
    cuts, log = shares_grid(26, 1.5)
    (b, wb), (tau, wt) = nodes(-2.6, 3.4, 24), nodes(0.0, 4.0, 24)
    u, w = hermegauss(24)
    w = w / w.sum()
    y = data["items"].to_numpy().reshape(7, 2)
    total = log[:, None, None] + np.log(wb * np.exp(stats.norm.logpdf(b, 0, 0.7)))[:, None]
    total = total + np.log(wt * np.exp(stats.halfnorm.logpdf(tau, scale=0.8)))
    pairs, count = np.unique(y, axis=0, return_counts=True)
    below = cuts[:, :, None, None, None]
    arms = [categories_of(s * b[:, None, None] + tau[:, None] * u, below) for s in (-0.5, 0.5)]
    for (first, second), times in zip(pairs, count, strict=True):
        total = total + times * np.log((arms[0][first] * arms[1][second]) @ w)
    p = np.exp(total - total.max())
    p = (p / p.sum()).ravel()
    values = np.broadcast_arrays(
        b[:, None], tau, cuts[0][:, None, None], cuts[1][:, None, None], total
    )[:4]
    drawn = (post.draws.gamma[..., 0], post.draws.sd[..., 0], *np.moveaxis(post.draws.own, 2, 0))
    for draws, v in zip(drawn, values, strict=True):
        agree(draws, p, v.ravel())


@pytest.mark.slow
def test_with_wide_priors_and_many_rows_it_is_maximum_likelihood():
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    rng = np.random.default_rng(12)
    arm, dose = np.tile([0.0, 1.0], 400), rng.uniform(0, 4, 800)
    latent = 0.8 * arm - 0.4 * dose + rng.logistic(size=800)
    items = np.digitize(latent, [-3, -2, -1, 0, 1, 2])
    data = pd.DataFrame({"arm": np.where(arm, "b", "a"), "dose": dose, "items": items})
    wide = {"effects": "normal(0, 1000)"}
    post = mcmc.mcmc("items ~ arm + dose", data, family="ordered", priors=wide, **SHORT)
    x = np.column_stack([arm - 0.5, dose])
    fit = OrderedModel(items, x, distr="logit").fit(method="bfgs", disp=False)
    cuts = np.cumsum([fit.params[2], *np.exp(fit.params[3:])])
    found = post.summary()
    # of order 1/n between mean and mode, 0.1 SE with 800 rows, and the Monte-Carlo error
    se = np.asarray(fit.bse)[:2]
    assert (np.abs(found["mean"].iloc[:2] - fit.params[:2]) < 0.15 * se).all()
    np.testing.assert_allclose(found["sd"].iloc[:2], se, rtol=0.06)
    assert (np.abs(found["mean"].iloc[2:] - cuts) < 0.15 * found["sd"].iloc[2:]).all()


def simulated(rng, code, mouse):
    """Return parameters from their priors and outcomes with all four categories.

    What is kept depends on the outcome only, so that the posterior stays what it is.
    """
    while True:
        p, b, tau = rng.dirichlet(np.full(4, 2.0)), rng.normal(0, 1), abs(rng.normal(0, 0.8))
        cuts = logit(np.cumsum(p)[:-1])
        eta = b * code + tau * rng.normal(size=10)[mouse]
        y = (rng.logistic(eta)[:, None] > cuts).sum(axis=1)
        if len(np.unique(y)) == 4:
            return [b, tau, *cuts], y.astype(float)


@pytest.mark.slow
def test_ranks_of_the_truth_are_uniform():
    """Simulation-based calibration (Talts et al. 2018, arXiv:1804.06788), compiled once."""
    import nutpie
    import pymc as pm

    rng = np.random.default_rng(31)
    mouse, code = np.repeat(np.arange(10), 4), np.tile([-0.5, 0.5], 20)
    _, first = simulated(rng, code, mouse)
    real = FAMILIES["ordered"]

    def density(mean, own, y, rows):
        real.density(mean, own, pm.Data("outcome", y), rows)

    rows = replace(rows_of([0, 1, 2, 3]), family=replace(real, density=density))
    inputs = sampling.Inputs(
        first, code[:, None], (np.ones(40),), (mouse,), (10,), np.zeros(1), np.ones(1),
        Prior("half-normal", (0.8,)), rows, (Prior("dirichlet", (2.0,)),),
    )  # fmt: skip
    scores = []
    with sampling.ensure_reproducible():
        names = ["gamma", "sd", "cutpoints"]
        compiled = nutpie.compile_pymc_model(sampling.build_model(inputs), var_names=names)
        for seed in range(60):
            truth, y = simulated(rng, code, mouse)
            tree = nutpie.sample(
                compiled.with_data(outcome=y), draws=500, tune=500, chains=2, cores=2, seed=seed,
                target_accept=0.95, progress_bar=False, save_warmup=False, **sampling.ADAPTATION,
            )  # fmt: skip
            drawn = np.concatenate([tree["posterior"][n].values for n in names], axis=2)
            rank = (drawn[:, ::5].reshape(200, -1) < truth).sum(axis=0)
            scores.append(ndtri((rank + 0.5) / 201))
    z = np.array(scores)
    # means of 60 normal scores and their sums of squares; each fails 1 in 1000 by chance
    assert (np.abs(z.mean(axis=0)) < 3.29 / np.sqrt(60)).all()
    assert (np.abs(stats.chi2.cdf((z**2).sum(axis=0), 60) - 0.5) < 0.4995).all()
