"""Simulation-based calibration with the exact posterior."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import ketastats as ks
from ketastats.bayesian.exact import marginal, mixture, search
from ketastats.bayesian.exact.axes import places
from ketastats.bayesian.exact.integrate import quadrature
from ketastats.bayesian.exact.search import Tolerance
from ketastats.core.errors import DataError, StudyError
from ketastats.diagnosis import sbc_exact
from ketastats.diagnosis.sbc import assurance, coverage_at
from ketastats.diagnosis.sbc_exact import BLOCK, lay_out, pit_of
from ketastats.diagnosis.sbc_profiles import share_below
from ketastats.diagnosis.sbc_result import LEVELS, Calibration, covered
from ketastats.synthesis.draw import draw_outcomes
from tests.bayesian import dense

PIT = 1e-3
"""What a PIT value may be off: a fifth of the standard error of an ECDF of 10,000 values. The
quadrature is asked for 1e-3 of the posterior's mass."""
TAIL = 0.01
"""Moments of SDs: the nodes end where the density is exp(-8.7) of its maximum, and a value there is
far from the mean."""
BATCH = 1e-4
"""Alone or in a batch: functions are interpolated to 1e-9 of their size; where the residual SD is a
thousandth of the outcome's, that is 1e-3 of a log density of the order of 1, at 1e-5 of PIT values
on average."""
ERRORS = 4.0
"""Monte-Carlo standard errors: 6 in 100,000 lie beyond."""
FAMILIES = ("half-normal(4)", "half-t(4, 4)", "exponential(4)")

TOML = """
schema = 1
[study]
id = "small"
title = "A small crossover"
[design]
kind = "crossover"
sequences = { AB = ["a", "b"], BA = ["b", "a"] }
subjects_per_sequence = 4
times = { pre = 0, post = 1 }
washout_days = 7
[outcomes.score]
scale = { kind = "real", decimals = 1 }
baseline = 20.0
typical_sd = 5.0
effects = [{ when = { time = "post", treatment = "b" }, add = 3.0 }]
spread = { subject = 3.0, residual = 2.0 }
missing = { at_random = 0.1 }
[estimands.effect]
outcome = "score"
contrast = { treatment = "b - a", time = "post - pre" }
[estimands.late]
outcome = "score"
contrast = { treatment = "b - a" }
within = { time = "post" }
[analyses.one]
engine = "reml"
outcome = "score"
formula = "treatment * time + period * time + (1 | subject)"
[analyses.two]
engine = "reml"
outcome = "score"
formula = "treatment * time + period * time + (1 | subject) + (1 | subject:period)"
"""


@pytest.fixture(scope="module")
def study():
    return ks.parse_study(TOML)


def analysis_of(study, name="one", sd="half-normal(4)", **changes):
    priors = (("effects", "normal(0, 5)"), ("intercept", "normal(20, 10)"), ("sd", sd))
    return replace(study.analysis(name), engine="posterior", priors=priors, **changes)


@pytest.fixture(scope="module")
def made(study):
    return ks.sbc(study, analysis_of(study), draws=1500)


# --- calibration ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sd", FAMILIES)
def test_the_posterior_is_calibrated_whatever_the_family_of_its_priors(study, sd):
    made = ks.sbc(study, analysis_of(study, sd=sd), draws=1500)
    assert made.names == ("effect", "late", "sd subject", "sd residual")
    assert made.passed, made.verdict
    assert not made.failed.any()
    for level in LEVELS:
        rate = covered(made.pit, level).mean(axis=0)
        limit = ERRORS * np.sqrt(level * (1 - level) / made.draws)
        assert np.abs(rate - level).max() < limit


def test_two_random_terms_are_calibrated(study):
    made = ks.sbc(study, analysis_of(study, "two"), draws=150)
    assert made.names[2:] == ("sd subject", "sd subject:period", "sd residual")
    assert made.passed, made.verdict


WRONG = [
    ({"priors": {"effects": "normal(0, 5)", "intercept": "normal(20, 10)", "sd": "half-normal(1)"}},
     "one", {"sd subject", "sd residual"}),
    ({"priors": {"effects": "normal(0, 1)", "intercept": "normal(20, 10)", "sd": "half-normal(4)"}},
     "one", {"effect", "late"}),
    ({"formula": "treatment * time + (1 | subject)"}, "one", {"effect", "sd residual"}),
    ({"formula": "treatment * time + period * time"}, "one", {"sd residual"}),
    ({"formula": "treatment * time + period * time + (1 | subject)"}, "two",
     {"late", "sd subject"}),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "name", "off"), WRONG)
def test_a_wrong_analysis_is_caught(study, changes, name, off):
    """Prior scales, a visit effect left out, a random term left out."""
    made = ks.sbc(study, analysis_of(study, name), draws=600, analysed_with=changes)
    assert not made.passed
    assert off <= {u.name for u in made.uniformity if not u.passed}
    assert next(iter(changes)) in made.analysed_with


def test_sds_too_small_a_priori_are_called_too_narrow_or_too_low(study):
    made = ks.sbc(study, analysis_of(study), draws=600, analysed_with=WRONG[0][0])
    subject = next(u for u in made.uniformity if u.name == "sd subject")
    assert "shifted down" in subject.departure


# --- numbers --------------------------------------------------------------------------------------


def test_pit_values_are_those_of_brute_force(study):
    """Against matrices of rows by rows and Gauss-Legendre panels on either SD."""
    analysis = analysis_of(study)
    exact = lay_out(study, analysis, 1)
    asked, parameters, y = exact.draw(3, "one", 0, 4)
    found = pit_of(exact, y, asked, parameters)
    subject = study.plan("score")["subject"].cat.codes.to_numpy()
    z = (subject[:, None] == np.arange(8)).astype(float)
    for k in range(4):
        post = dense.dense_posterior(
            y[k], exact.model.problem.x, [z], [("half-normal", 4.0)] * 2, m=exact.model.location,
            precision=exact.model.precision, rows_K=exact.rows, nodes=10, scale=4.0,
            panels=(0.0, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0),
        )  # fmt: skip
        truth = [post.cdf(asked[k]), [post.sd_cdf(a, parameters[k, a]) for a in (0, 1)]]
        assert found.pit[k] == pytest.approx(np.concatenate(truth), abs=PIT)
        assert found.mean[k, :2] == pytest.approx(post.contrast_mean(), abs=PIT * 4)
        off = np.abs(found.mean[k, 2:] - post.sd_mean()) / post.sd_sd()
        assert (off < TAIL).all()
        assert found.sd[k, 2:] == pytest.approx(post.sd_sd(), rel=3 * TAIL)
        assert found.prob_positive[k, :2] == pytest.approx(post.prob_positive(), abs=PIT)


@pytest.mark.parametrize("sd", FAMILIES)
def test_pit_values_are_accurate_over_the_whole_prior(study, sd):
    """Against a lattice asked for 1e-6, the axis refined and integrated by the cardinal series."""
    exact = lay_out(study, analysis_of(study, sd=sd), 1)
    asked, parameters, y = exact.draw(2, "one", 0, 150)
    found = pit_of(exact, y, asked, parameters)
    tight = quadrature(exact.model, y, exact.rows, Tolerance(1e-6, 15.0))
    assert tight.rectangles.found.all()
    for part in tight.parts():
        below = mixture.cdf(part.weight, part.mean, part.sd, asked[part.outcomes])
        assert np.abs(found.pit[part.outcomes, :2] - below).max() < PIT
    for a, axis in enumerate(exact.model.axes):
        for part in marginal.refined(tight, a):
            level, low, _ = part.rectangle[:, a].tolist()
            t, mass = places(axis, parameters[part.outcomes, a]), marginal.masses(part, a)
            below = marginal.cumulative(axis, level, low, mass, t)
            assert found.pit[part.outcomes, 2 + a] == pytest.approx(below, abs=PIT)


def test_a_tiny_residual_is_computed_as_if_alone(study):
    """Its SD is a fifty-thousandth of the outcome's: in a batch a PIT was off by 0.004."""
    exact = lay_out(study, analysis_of(study, sd="exponential(4)"), 1)
    asked, parameters, y = exact.draw(2, "one", 400, 500)
    k = int(parameters[:, 1].argmin())
    assert parameters[k, 1] < 1e-4 * parameters[k, 0]
    one = slice(k, k + 1)
    alone = pit_of(exact, y[one], asked[one], parameters[one])
    assert pit_of(exact, y, asked, parameters).pit[k] == pytest.approx(alone.pit[0], abs=BATCH)


@pytest.mark.parametrize("step", [0.6, 1.0, 1.2])
def test_the_share_below_is_exact_for_a_normal_density(step):
    """But for the tails beyond the nodes, 1.6e-4 at step 0.6, which are taken to be exponential."""
    k = np.arange(-6, 7)
    u = np.linspace(-1, 13, 57)
    mass = np.tile(stats.norm.pdf(k * step), (len(u), 1))
    assert share_below(mass, u, False) == pytest.approx(stats.norm.cdf((u - 6) * step), abs=2e-4)


def test_the_share_below_of_a_density_that_ends_evenly_at_zero():
    k, u = np.arange(7), np.linspace(0, 8, 33)
    mass = stats.norm.pdf(k * 1.0)
    mass[0] /= 2
    below = share_below(np.tile(mass, (len(u), 1)), u, True)
    assert below == pytest.approx(2 * stats.norm.cdf(u) - 1, abs=1e-5)


@pytest.mark.parametrize("shape", [1.0, 3.0, 20.0])
def test_the_share_below_of_a_skewed_density(shape):
    """The logarithm of a gamma variable, nodes one SD apart."""
    step, centre = np.sqrt(1 / shape), np.log(shape)
    k = np.arange(-9, 5)
    mass = stats.loggamma.pdf(centre + k * step, shape)
    u = np.linspace(0, 13, 53)
    below = share_below(np.tile(mass, (len(u), 1)), u, False)
    assert below == pytest.approx(stats.loggamma.cdf(centre + (u - 9) * step, shape), abs=2 * PIT)


# --- addresses ------------------------------------------------------------------------------------


def test_the_same_call_gives_the_same_bytes(study, made):
    again = ks.sbc(study, analysis_of(study), draws=1500)
    for name in ("truth", "pit", "mean", "sd", "prob_positive", "failed"):
        assert getattr(again, name).tobytes() == getattr(made, name).tobytes()


def test_a_draw_is_the_same_whatever_the_number_of_draws(study, made):
    few = ks.sbc(study, analysis_of(study), draws=BLOCK + 30)
    assert few.truth.tobytes() == made.truth[: BLOCK + 30].tobytes()
    assert np.abs(few.pit - made.pit[: BLOCK + 30]).max() < BATCH
    one = lay_out(study, analysis_of(study), 1).draw(1, "one", BLOCK + 7, BLOCK + 8)
    assert np.hstack(one[:2])[0].tobytes() == made.truth[BLOCK + 7].tobytes()


def test_another_seed_gives_other_draws(study, made):
    other = ks.sbc(study, analysis_of(study), draws=20, seed=2)
    assert not np.isclose(other.truth, made.truth[:20]).any()


def test_chunks_do_not_change_the_values(study, made, monkeypatch):
    monkeypatch.setattr(sbc_exact, "CHUNK", 70)
    small = ks.sbc(study, analysis_of(study), draws=300)
    assert np.abs(small.pit - made.pit[:300]).max() < BATCH


def test_priors_without_a_declared_scale_are_those_of_the_studys_own_data(study):
    analysis = replace(study.analysis("one"), engine="posterior")
    bare = replace(study, outcomes=(replace(study.outcome("score"), typical_sd=None),))
    given = ks.posterior(analysis.formula, bare.simulate(4), outcome="score")
    assert dict(given.priors) == ks.sbc(bare, analysis, draws=5, seed=4).priors


# --- what is reported -----------------------------------------------------------------------------


def test_failures_are_counted_and_never_dropped(study, monkeypatch):
    monkeypatch.setattr(search, "ROUNDS", 6)
    made = ks.sbc(study, analysis_of(study), draws=200)
    n = int(made.failed.sum())
    assert 0 < n < 200
    assert made.draws == 200
    assert (np.isnan(made.pit).all(axis=1) == made.failed).all()
    assert (made.table()["failed"] == n).all()
    assert f"{n} of 200 fits failed" in made.verdict


def test_the_table_has_coverage_with_its_error(made):
    table = made.table().set_index("parameter")
    inside = np.abs(made.pit[:, 0] - 0.5) <= 0.4
    row = table.loc["effect"]
    assert row["covered_80"] == inside.mean()
    assert row["covered_80_se"] == pytest.approx(inside.std() / np.sqrt(1500), rel=1e-12)
    long = made.coverage()
    assert len(long) == 12
    assert (
        long.loc[(long["parameter"] == "effect") & (long["level"] == 0.8), "coverage"].item()
        == (row["covered_80"])
    )


def test_the_result_prints_and_becomes_a_frame(made):
    assert "compatible with a uniform" in str(made)
    assert "1,500 draws from the prior" in made._repr_html_()
    frame = made.to_frame()
    assert len(frame) == 1500 * 4
    row = frame.iloc[4 * 7 + 2]
    assert (row["draw"], row["parameter"], row["pit"]) == (7, "sd subject", made.pit[7, 2])
    assert np.isnan(row["prob_positive"])


@pytest.mark.parametrize("kind", ["ecdf", "ranks"])
def test_plots_have_a_panel_per_parameter(made, kind):
    svg = made.plot(kind)._repr_svg_()
    assert "sd subject" in svg
    assert "outside the band at" not in svg


def test_messages_name_the_mend(study, made):
    with pytest.raises(StudyError, match="has no posterior to calibrate"):
        ks.sbc(study, "one")
    with pytest.raises(DataError, match=r"cannot change 'prior'.*priors"):
        ks.sbc(study, analysis_of(study), analysed_with={"prior": {}})
    with pytest.raises(DataError, match="draws = 0"):
        ks.sbc(study, analysis_of(study), draws=0)
    with pytest.raises(DataError, match="flat prior"):
        flat = replace(analysis_of(study), priors=(("effects", "flat"),))
        ks.sbc(study, flat, draws=10)
    with pytest.raises(DataError, match="has no sampler"):
        ks.sbc(study, analysis_of(study), draws=10, sampler={"draws": 5})
    with pytest.raises(StudyError, match="Gaussian"):
        ks.sbc(study, analysis_of(study, family="student-t"), draws=10)
    with pytest.raises(DataError, match=r"no plot 'rank'.*ranks"):
        made.plot("rank")


# --- at the declared truth ------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
def test_coverage_at_the_truth_is_that_of_the_intervals(study, missing):
    analysis = analysis_of(study)
    n = 30 if missing else 200
    table = coverage_at(study, analysis, draws=n, seed=2, missing=missing)
    y = draw_outcomes(study, "score", 2, range(n), missing=missing)
    many = ks.posterior_many(
        analysis.formula, study.plan("score"), y, priors=dict(analysis.priors), typical_sd=5.0,
        estimands=study.estimands_of(analysis), level=0.8,
    )  # fmt: skip
    row = table[(table["estimand"] == "effect") & (table["of"] == "latent")].iloc[0]
    inside = (many.ci_low[:, 0] <= 3.0) & (many.ci_high[:, 0] >= 3.0)
    assert row["covered_80"] == pytest.approx(inside.mean())
    off = many.mean[:, 0] - 3.0
    assert row["bias"] == pytest.approx(off.mean(), abs=1e-3)
    assert row["bias_se"] == pytest.approx(off.std() / np.sqrt(n), rel=1e-2)
    assert row["rmse"] == pytest.approx(np.sqrt((off**2).mean()), rel=1e-2)
    assert (row["true"], row["draws"], row["failed"]) == (3.0, n, 0)


def test_natural_and_latent_truths_stand_beside_each_other():
    """A bounded outcome: its recorded means differ by less than those before the bounds."""
    jelen = ks.load_study("jelen2025")
    table = coverage_at(jelen, "published", draws=50).set_index(["estimand", "of"])
    true = jelen.true_values().set_index("estimand")
    for of in ("natural", "latent"):
        assert table.loc[("attenuation", of), "true"] == true.loc["attenuation", of]
    gap = (
        table.loc[("attenuation", "latent"), "bias"] - table.loc[("attenuation", "natural"), "bias"]
    )
    shift = true.loc["attenuation", "natural"] - true.loc["attenuation", "latent"]
    assert gap == pytest.approx(shift, abs=1e-12)


def test_assurance_counts_right_and_wrong_conclusions():
    truth = np.array([1.0, 1.0, -1.0, -1.0, 2.0])[:, None]
    positive = np.array([0.99, 0.01, 0.02, 0.6, np.nan])[:, None]
    none = np.full((5, 1), 0.5)
    made = Calibration(
        "s", "y", "a", "posterior", 1, ("effect",), 1, truth, none, none, none, positive,
        np.isnan(positive[:, 0]), (),
    )  # fmt: skip
    found = assurance(made)
    assert (found.right, found.wrong, found.draws, found.failed) == (0.5, 0.25, 4, 1)
    assert found.right_se == pytest.approx(0.25)
    assert found.wrong_se == pytest.approx(np.sqrt(0.25 * 0.75 / 4))
    assert "1 fits failed" in str(found)


def test_assurance_of_a_study_is_that_of_its_draws(study, made):
    found = assurance(study, analysis_of(study), "late", draws=1500, at_least=0.9)
    assert found == assurance(made, estimand="late", at_least=0.9)
    assert found.wrong < 0.1 < found.right
    with pytest.raises(DataError, match="not an estimand"):
        assurance(made, estimand="sd subject")


# --- slow -----------------------------------------------------------------------------------------

ONE = "treatment * time * sex + period * time + (1 | subject)"
THREE = ONE + " + (1 | subject:period) + (1 | subject:time)"


@pytest.mark.slow
@pytest.mark.parametrize("sd", ["half-normal(10)", "half-t(4, 10)", "exponential(10)"])
@pytest.mark.parametrize(("formula", "draws"), [(ONE, 10_000), (THREE, 200)])
def test_the_packaged_analysis_is_calibrated(formula, draws, sd):
    """Three random terms cost a hundred times as much per draw, hence fewer."""
    study = ks.load_study("jelen2025")
    priors = (("effects", "normal(0, 10)"), ("sd", sd))
    analysis = replace(study.analysis("bayes"), formula=formula, priors=priors)
    made = ks.sbc(study, analysis, draws=draws, engine="posterior", seed=3)
    assert made.passed, made.verdict
    assert made.failed.sum() <= draws / 1000
