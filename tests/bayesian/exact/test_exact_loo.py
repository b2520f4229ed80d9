"""Leave-one-out densities against brute force, a closed form, ArviZ and quadratures done anew."""

import arviz as az
import numpy as np
import pytest
from scipy import stats
from statsmodels.api import OLS

import ketastats as ks
from ketastats.bayesian.exact import loo as module
from ketastats.bayesian.exact.draws import draw_from_prior, draw_outcomes_given
from ketastats.core.errors import DataError
from tests.bayesian import dense
from tests.bayesian.exact.cases import CASES, PROPER, TWO, dense_arguments, posterior, table

DENSE = 5e-5
"""Of log densities: twice the errors that the table states, which are of 1e-5 each."""
ANEW = 2e-4
"""Twice the largest error that is not done anew."""
CLOSED = 1e-4
"""Student's t: the quadrature's tolerance of 1e-5 in posterior and evidence."""
SE = 4.0
"""Standard errors: one in 16,000 comparisons is farther off."""


def rows_of(post, unit, by):
    of, names = module.units_of(post, by)
    return np.flatnonzero(of == names.index(unit))


@pytest.mark.parametrize("name", ["intercept", "exponential"])
@pytest.mark.parametrize("by", [None, "subject"])
def test_densities_are_those_of_the_dense_oracle(name, by):
    post = posterior(name)
    arguments, keywords = dense_arguments(post)
    pointwise = post.loo(by).pointwise
    for u in (0, len(pointwise) // 2):
        out = rows_of(post, pointwise["unit"][u], by)
        exact = dense.left_out_log_density(*arguments, out, **keywords, nodes=10)
        assert pointwise["log_density"][u] == pytest.approx(exact, abs=DENSE)


def outlying():
    """One subject far from all others, whose absence moves the posterior."""
    data = table(people=7)
    return data.assign(y=data["y"] + 25.0 * (data["subject"] == "s3"))


def test_a_subject_far_from_the_others_has_the_density_of_the_dense_oracle():
    post = ks.posterior(TWO, outlying(), priors=PROPER)
    found = post.loo("subject").pointwise.set_index("unit")
    assert found["log_density"].idxmin() == "s3"
    arguments, keywords = dense_arguments(post)
    out = rows_of(post, "s3", "subject")
    exact = dense.left_out_log_density(*arguments, out, **keywords, nodes=10)
    assert found["log_density"]["s3"] == pytest.approx(exact, abs=DENSE)


def test_without_random_terms_and_priors_rows_are_students_t():
    """Studentised residuals follow t; statsmodels has them (Cook & Weisberg 1982, section 2.2)."""
    data = table()
    flat = {"effects": "flat", "intercept": "flat", "residual": "jeffreys"}
    post = ks.posterior("y ~ treatment*time + period", data, priors=flat, tolerance=1e-7)
    found = post.loo().pointwise
    x, y = post.problem.x, post.problem.y
    fit = OLS(y, x).fit().get_influence()
    df = len(y) - x.shape[1] - 1
    t = fit.resid_studentized_external
    gap = fit.resid / (1 - fit.hat_matrix_diag)  # y less its prediction from the others
    exact = stats.t.logpdf(t, df) - np.log(np.abs(gap / t))
    assert np.allclose(found["log_density"], exact, atol=CLOSED)
    assert np.allclose(found["pit"], stats.t.cdf(t, df), atol=CLOSED)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("by", [None, "subject"])
def test_reweighting_and_quadratures_done_anew_agree(name, by, monkeypatch):
    post, good = posterior(name), module.GOOD
    monkeypatch.setattr(module, "GOOD", np.inf)
    quick = post.loo(by).pointwise
    worst = np.argsort(quick["error"].to_numpy())[[0, -2, -1]]
    of, _ = module.units_of(post, by)
    for u in worst:
        log, error, pit = module._recomputed(post, of == u)
        stated = quick["error"][u] + error
        if stated > good:  # what is done anew anyway: then the estimate is an order of magnitude
            stated *= 5
        assert quick["log_density"][u] == pytest.approx(log, abs=stated)
        if by is None:
            assert quick["pit"][u] == pytest.approx(pit, abs=stated)
        else:
            assert np.isnan(quick["pit"][u])


def test_poor_units_are_done_anew_and_say_so(monkeypatch):
    post = posterior("intercept")
    assert post.loo("subject").diagnostic < module.GOOD
    monkeypatch.setattr(module, "GOOD", np.inf)
    before = post.loo("subject")
    assert set(before.pointwise["method"]) == {"reweighted"}
    error = before.pointwise["error"].to_numpy()
    monkeypatch.setattr(module, "GOOD", 0.0)  # the posterior's own tolerance is left
    after = post.loo("subject")
    again = after.pointwise["method"] == "recomputed"
    assert np.array_equal(again, error > post.tolerance)
    assert 0 < again.sum() < len(error)
    assert np.allclose(after.pointwise["log_density"], before.pointwise["log_density"], atol=ANEW)
    assert f"{again.sum()} of them recomputed" in str(after)


def test_the_total_and_its_error_are_those_of_the_table():
    found = posterior("intercept").loo()
    values = found.pointwise["log_density"].to_numpy()
    assert found.elpd == pytest.approx(values.sum(), rel=1e-12)
    assert found.se == pytest.approx(np.sqrt(len(values)) * np.std(values, ddof=1), rel=1e-12)
    assert found.pointwise["unit"].tolist() == posterior("intercept").problem.rows.tolist()


def test_psis_of_arviz_from_draws_agrees():
    """Twelve rows per person: one row changes little, and the smoothed weights are reliable."""
    rng = np.random.default_rng(31)
    person = np.repeat(np.arange(8), 12)
    data = table().iloc[:0].reindex(range(96))[["subject", "treatment", "y"]]
    data["subject"] = [f"s{i}" for i in person]
    data["treatment"] = np.tile(["A", "B"], 48)
    data["y"] = 20 + 2 * rng.normal(size=8)[person] + 2 * rng.normal(size=96)
    post = ks.posterior("y ~ treatment + (1|subject)", data, priors=PROPER)
    exact = post.loo()
    found = [az.loo(post.datatree(4000, seed), pointwise=True) for seed in range(8)]
    assert max(float(f.pareto_k.max()) for f in found) < 0.7
    totals = np.array([f.elpd for f in found])
    assert abs(totals.mean() - exact.elpd) < SE * totals.std(ddof=1) / np.sqrt(8)
    each = np.array([f.elpd_i.values for f in found])
    off = (each.mean(0) - exact.pointwise["log_density"]) / (each.std(0, ddof=1) / np.sqrt(8))
    assert np.abs(off).max() < 8.0  # of 96 with 7 df each
    assert found[0].se == pytest.approx(exact.se, rel=0.02)  # the noise of the pointwise values
    pit = az.loo_pit(post.datatree(4000, 1))["y"].values
    assert np.abs(pit - exact.pointwise["pit"]).max() < SE * 0.5 / np.sqrt(1000)


def test_a_model_that_leaves_out_an_effect_predicts_worse():
    data = table(people=20, lost=0)
    data = data.assign(y=data["y"] + 8.0 * (data["time"] == "after"))
    large = ks.posterior("y ~ treatment + time + (1|subject)", data, priors=PROPER).loo()
    small = ks.posterior("y ~ treatment + (1|subject)", data, priors=PROPER).loo()
    gain = large.compare(small)
    each = (large.pointwise["log_density"] - small.pointwise["log_density"]).to_numpy()
    assert gain.elpd == pytest.approx(large.elpd - small.elpd, rel=1e-9)
    assert gain.se == pytest.approx(np.sqrt(len(each)) * np.std(each, ddof=1), rel=1e-9)
    assert gain.elpd > 3 * gain.se
    assert small.compare(large).elpd == pytest.approx(-gain.elpd, rel=1e-9)
    assert str(gain) == f"elpd {gain.elpd:+.4g} (se {gain.se:.3g}) over 80 units"


def test_different_units_or_outcomes_are_not_compared():
    first = posterior("intercept")
    changed = ks.posterior(TWO, table().assign(y=lambda d: np.log(d["y"])), priors=PROPER)
    for other in (first.loo("subject"), changed.loo()):
        with pytest.raises(DataError, match="have not left out the same units of the same outcome"):
            first.loo().compare(other)


def test_an_unknown_grouping_is_refused_with_the_nearest():
    with pytest.raises(DataError, match=r"by: the model has no random term of 'subjct'.*subject"):
        posterior("intercept").loo("subjct")


def test_a_row_that_alone_decides_a_flat_coefficient_is_refused():
    data = table().assign(rare=lambda d: np.where(d.index == 5, "yes", "no"))
    flat = PROPER | {"rare": "flat", "intercept": "flat"}
    post = ks.posterior("y ~ treatment + rare + (1|subject)", data, priors=flat)
    with pytest.raises(DataError, match="loo: without row 5 a coefficient with a flat prior"):
        post.loo()
    proper = ks.posterior("y ~ treatment + rare + (1|subject)", data, priors=PROPER).loo()
    assert np.isfinite(proper.elpd)


@pytest.mark.slow
def test_left_out_values_of_outcomes_from_the_prior_are_uniform():
    data, post = table(), posterior("intercept")
    rng, pit = np.random.default_rng(5), []
    parameters, beta = draw_from_prior(post.model, 250, rng)
    y = draw_outcomes_given(post.model, parameters, beta, rng)
    for one in y:
        again = ks.posterior(TWO, data.assign(y=one), priors=PROPER, tolerance=1e-4)
        pit.append(again.loo().pointwise["pit"][3])
    assert stats.kstest(pit, "uniform").pvalue > 0.01
