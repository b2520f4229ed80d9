import numpy as np
import pytest

from ketastats.bayesian.mcmc import mcmc
from ketastats.bayesian.summaries import convergence, moments
from ketastats.core.errors import DataError, FormulaError, NotEstimable, StudyError
from ketastats.problem.estimates import COLUMNS

FORMULA = "y ~ treatment + period + (1|subject)"
CONTRAST = {"treatment": "naltrexone - placebo", "time": "day1 - pre"}


def test_the_shared_model_passes_every_gate(madrs):
    assert [g.name for g in madrs.gates if not g.passed] == []
    assert madrs.status == "ok"
    assert madrs.settings.method == "nutpie, 4 x 1000 draws, 1 in 8 kept"
    assert madrs.draws.energy.shape == (4, 8000)
    assert set(madrs.diagnostics) == {
        "r_hat",
        "ess_bulk",
        "ess_tail",
        "divergences",
        "e_bfmi",
        "mcse_over_sd",
    }


def test_estimates_are_summaries_of_the_estimand_s_draws(madrs, study):
    asked = study.estimands_of(study.analysis("bayes"))
    table = madrs.contrast(estimands=asked)
    draws = madrs.estimand_draws(asked)
    assert tuple(table.columns) == COLUMNS
    assert draws.shape == (4, 1000, len(asked))
    m = moments(draws, 0.95)
    for column, values in zip(
        ("estimate", "se", "ci_low", "ci_high", "prob_positive"),
        (m.mean, m.sd, m.low, m.high, m.positive),
        strict=True,
    ):
        assert table[column].tolist() == values.tolist()
    assert table["estimand"].tolist() == [e.name for e in asked]
    assert set(table["engine"]) == {"mcmc"}
    assert set(table["status"]) == {"ok"}
    assert table[["df", "p", "statistic"]].isna().all(axis=None)


def test_men_minus_women_is_the_interaction_draw_by_draw(madrs):
    effect = [madrs.contrast(CONTRAST, within={"sex": s})["estimate"].item() for s in "MF"]
    both = madrs.contrast({**CONTRAST, "sex": "M - F"})["estimate"].item()
    mean = madrs.contrast(CONTRAST)["estimate"].item()
    assert effect[0] - effect[1] == pytest.approx(both, abs=1e-10)  # linear: rounding only
    assert (effect[0] + effect[1]) / 2 == pytest.approx(mean, abs=1e-10)


def test_the_priors_used_are_on_the_result_and_printed(madrs):
    assert madrs.priors == {
        "intercept": "normal(30, 30)",
        "effects": "normal(0, 10)",
        "sd": "half-normal(10)",
    }
    assert "prior of intercept: normal(30, 30)" in str(madrs)
    assert "<li>effects: normal(0, 10)</li>" in madrs._repr_html_()


def test_summary_names_every_parameter(madrs):
    table = madrs.summary()
    assert tuple(table.index) == madrs.parameters
    assert madrs.parameters[-4:] == (
        "sd subject",
        "sd subject:period",
        "sd subject:time",
        "sd residual",
    )
    assert (table["ci_low"] < table["mean"]).all()
    assert (table["mcse"] < table["sd"]).all()
    assert table["r_hat"].max() == madrs.diagnostics["r_hat"]
    assert madrs.to_frame().columns[0] == "parameter"


def test_densities_follow_the_draws(madrs, study):
    asked = study.estimands_of(study.analysis("bayes"))
    densities = madrs.densities(asked, points=50)
    assert list(densities) == [e.name for e in asked]
    draws = madrs.estimand_draws(asked)
    for k, (at, density) in enumerate(densities.values()):
        # the mean of a kernel density is that of its draws, but for what the ends cut off
        mean = np.trapezoid(at * density, at)
        assert mean == pytest.approx(draws[:, :, k].mean(), abs=0.02 * draws[:, :, k].std())


def test_predictive_draws_look_like_the_data_they_came_from(madrs):
    new = madrs.predictive(400)
    y = madrs.problem.y
    assert new.shape == (400, len(y))
    assert (new == madrs.predictive(400)).all()
    assert (new != madrs.predictive(400, seed=2)).all()
    # the model has the data's mean and spread among its parameters: neither may be in the tails
    for statistic in (np.mean, np.std):
        assert 0.01 < (statistic(new, axis=1) > statistic(y)).mean() < 0.99
    with pytest.raises(DataError, match="between 1 and the 4000"):
        madrs.predictive(4001)


def test_what_the_data_cannot_answer_is_flagged_and_explained(made, small):
    post = made("y ~ treatment*period + sequence + (1|subject)", small)
    row = post.contrast({"sequence": "BA - AB"}).iloc[0]
    assert row["status"] == "not_estimable"
    assert row["notes"] == "aliased: treatment[1]:period[1] equals - 0.5 sequence[1]"
    assert np.isnan(row["estimate"])
    assert post.contrast({"treatment": "B - A"})["status"].item() == "ok"
    from ketastats.problem.questions import as_estimands

    asked = as_estimands(post.problem, {"sequence": "BA - AB"})
    with pytest.raises(NotEstimable, match="cannot answer"):
        post.estimand_draws(asked)
    assert post.densities(asked) == {}


def test_notes_of_the_problem_and_the_priors_are_warnings(made, small):
    post = made("y ~ treatment*period + sequence + (1|subject)", small)
    assert any("sequence" in w for w in post.warnings)
    assert all(f"warning: {w}" in str(post) for w in post.warnings)


@pytest.mark.parametrize(
    "keywords, error, words",
    [
        ({"level": 1.0}, DataError, "level"),
        ({"target_accept": 1.0}, DataError, "target_accept"),
        ({"draws": 3}, DataError, "draws = 3"),
        ({"chains": 0}, DataError, "chains = 0"),
        ({"tune": 0}, DataError, "tune = 0"),
        ({"thin": 0}, DataError, "thin = 0"),
        ({"seed": -1}, DataError, "seed = -1"),
        ({"draws": 1000.0}, DataError, "draws = 1000.0"),
        ({"priors": {"sd": "gamma(1, 1)"}}, StudyError, "priors.sd"),
        ({"typical_sd": -1.0}, DataError, "typical_sd"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_before_anything_is_compiled(
    small, keywords, error, words
):
    with pytest.raises(error, match=words):
        mcmc(FORMULA, small, **keywords)


def test_formulas_that_cannot_be_sampled_are_refused(small):
    with pytest.raises(DataError, match="names no outcome"):
        mcmc("treatment + (1|subject)", small)
    with pytest.raises(FormulaError, match=r"\(1\|subject\) \+ \(1\|subject:treatment\)"):
        mcmc("y ~ treatment + (1+treatment|subject)", small)


def test_a_posterior_without_random_terms_is_whole(made, small):
    post = made("y ~ treatment + period", small)
    assert post.parameters[-1] == "sd residual"
    assert post.draws.sd.shape == (4, 500, 0)
    assert post.predictive(5).shape == (5, len(small))
    assert "sd" not in post.datatree["posterior"]


def test_the_datatree_saved_is_the_one_read_back(madrs, tmp_path):
    import xarray as xr

    first, second = tmp_path / "new" / "a.nc", tmp_path / "b.nc"
    madrs.save(first)
    madrs.save(second)
    assert first.read_bytes() == second.read_bytes()
    assert b"created_at" not in first.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.nc", "new"]
    with xr.open_datatree(first, engine="h5netcdf") as tree:
        assert tree.attrs["schema"] == 1
        assert tree.attrs["priors"].startswith("intercept: normal(30, 30)")
        assert (tree["posterior"]["gamma"].values == madrs.draws.gamma).all()
        assert tree["posterior"]["coefficient"].values.tolist() == list(madrs.problem.names)
        assert tree["posterior"]["draw"].values[:2].tolist() == [7, 15]
        assert tree["sample_stats"]["energy"].shape == (4, 8000)
        assert (tree["observed_data"]["madrs"].values == madrs.problem.y).all()


def test_arviz_reads_the_datatree_and_agrees(madrs):
    import arviz as az

    table = az.summary(madrs.datatree, kind="diagnostics", round_to="none")
    own = convergence(madrs.draws.sd)
    assert table.loc["sd[subject]", "r_hat"] == pytest.approx(own.r_hat[0], rel=1e-9)
    assert table.loc["sd[subject]", "ess_bulk"] == pytest.approx(own.ess_bulk[0], rel=1e-9)
    assert float(az.bfmi(madrs.datatree)["energy"].min()) == pytest.approx(
        madrs.diagnostics["e_bfmi"], rel=0.01
    )  # ArviZ divides by n - 1 and n, or the like
