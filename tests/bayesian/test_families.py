"""Families without sampling: bad input, priors, names, what is kept of the rows."""

import numpy as np
import pandas as pd
import pytest

from ketastats.bayesian import mcmc
from ketastats.bayesian.families import FAMILIES
from ketastats.bayesian.likelihood import Likelihood
from ketastats.bayesian.priors import choose_priors
from ketastats.bayesian.sampling import Draws
from ketastats.core.errors import DataError, FormulaError, StudyError
from ketastats.study.model import Scale
from ketastats.study.priors import Prior

SECONDS = Scale("real", 0.0, 10.0, 1, "s")


@pytest.fixture
def table():
    rng = np.random.default_rng(2)
    mouse = np.repeat(np.arange(8), 3)
    return pd.DataFrame(
        {
            "mouse": mouse,
            "drug": np.where(mouse % 2, "ket", "sal"),
            "sex": np.where(mouse < 4, "F", "M"),
            "day": np.tile([1, 2, 3], 8),
            "failed": rng.integers(0, 15, 24) * 1.0,
            "trials": 15,
            "share": rng.uniform(0.1, 0.9, 24),
            "latency": rng.uniform(1, 9, 24),
            "minutes": 5.0,
        }
    )


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
            own=np.abs(rng.normal(size=(*kept, len(inputs.rows.names)))),
            diverging=np.zeros(kept, dtype=bool),
            energy=rng.normal(size=kept),
        )

    monkeypatch.setattr(mcmc, "cached_sample", fake)

    def run(*args, **kwargs):
        post = mcmc.mcmc(*args, **({"draws": 50, "thin": 1} | kwargs))
        return seen["inputs"], post

    return run


def changed(column, value):
    def change(data):
        data = data.copy()
        data[column] = data[column].astype(float)
        data.loc[4, column] = value
        return data

    return change


BINOMIAL = {"family": "binomial", "size": "trials"}
CENSORED = {"family": "censored", "scale": SECONDS}
WRONG = [
    ({"family": "gausian"}, None, "failed",
     "family: there is no family 'gausian'; did you mean 'gaussian'?"),
    (BINOMIAL, changed("failed", 2.5), "failed",
     "failed: 2.5 is not a number of successes: a whole number from 0; correct the column"),
    (BINOMIAL, changed("failed", -1.0), "failed",
     "failed: -1 is not a number of successes: a whole number from 0; correct the column"),
    (BINOMIAL, changed("failed", 16.0), "failed",
     "failed: 16 successes out of 15 trials; correct failed or trials"),
    (BINOMIAL, changed("trials", 0.0), "failed",
     "trials: 0 is not a whole number of trials; correct the column"),
    (BINOMIAL, changed("trials", 14.5), "failed",
     "trials: 14.5 is not a whole number of trials; correct the column"),
    ({"family": "binomial"}, None, "failed",
     'size: the binomial family needs the number of trials; name its column: size="trials"'),
    ({"family": "beta-binomial"}, None, "failed",
     'size: the beta-binomial family needs the number of trials; name its column: size="trials"'),
    ({"family": "binomial", "size": "trails"}, None, "failed",
     "there is no column 'trails' in the data; did you mean 'trials'?"),
    ({"family": "binomial", "size": 15}, None, "failed",
     "size: 15 is not the name of a column; name a column"),
    ({"family": "beta-binomial", "size": "ones"},
     lambda d: d.assign(ones=1, failed=(d["failed"] > 6) * 1.0), "failed",
     'ones: single trials cannot show overdispersion; use family="binomial"'),
    ({"family": "poisson"}, changed("failed", -2.0), "failed",
     "failed: -2 is not a count: a whole number from 0; correct the column"),
    ({"family": "negative-binomial"}, lambda d: d.assign(failed=d["failed"] + 0.5), "failed",
     "such rows); correct the column"),
    ({"family": "poisson", "exposure": "minutes"}, changed("minutes", 0.0), "failed",
     "minutes: 0 is not an exposure: a number above 0; correct the column"),
    ({"family": "poisson", "size": "trials"}, None, "failed",
     "size: trials belong to the binomial families, and the family is poisson; leave it out"),
    ({"exposure": "minutes"}, None, "failed",
     "exposure: an exposure belongs to the families of counts, and the family is gaussian; leave"),
    ({"family": "beta"}, changed("share", 1.0), "share",
     "share: a value is exactly 0 or 1, where the beta family has no density; use counts out of "
     'trials with family="binomial" or "beta-binomial"'),
    ({"family": "beta"}, changed("share", 1.2), "share",
     "share: 1.2 is not a share between 0 and 1; correct the column"),
    ({"family": "censored"}, None, "latency",
     "scale: the censored family needs a bound; pass a scale with min, max or both"),
    ({"family": "truncated", "scale": Scale("real", None, None, 1, "")}, None, "latency",
     "scale: the truncated family needs a bound; pass a scale with min, max or both"),
    (CENSORED, changed("latency", 10.5), "latency",
     "latency: 10.5 lies above the bound 10; correct the value or the scale"),
    (CENSORED | {"family": "truncated"}, changed("latency", -0.5), "latency",
     "latency: -0.5 lies below the bound 0; correct the value or the scale"),
    (BINOMIAL | {"residual": "by sex"}, None, "failed",
     "residual: the residual structure 'by sex' belongs to the gaussian family, and the family is "
     "binomial; leave it out"),
    ({"priors": {"nu": "exponential(29)"}}, None, "latency", "priors: there is no prior for 'nu'"),
    ({"family": "student-t", "priors": {"nu": "normal(0, 1)"}}, None, "latency",
     "priors.nu: cannot read the prior 'normal(0, 1)'"),
]  # fmt: skip


@pytest.mark.parametrize("keywords, change, outcome, words", WRONG)
def test_what_a_family_cannot_take_is_one_sentence(table, keywords, change, outcome, words):
    data = table if change is None else change(table)
    with pytest.raises((DataError, StudyError)) as caught:
        mcmc.mcmc(f"{outcome} ~ drug + (1|mouse)", data, **keywords)
    assert words in str(caught.value)


def test_other_residual_structures_are_refused(table):
    with pytest.raises(FormulaError, match=r"does not offer .* use \"by sex\" or \"ar1"):
        mcmc.mcmc("latency ~ drug", table, residual="un(day | mouse)")


def test_what_is_no_table_is_said_with_trials_too():
    with pytest.raises(DataError, match="not a pandas DataFrame"):
        mcmc.mcmc("y ~ x", [1, 2], **BINOMIAL)


def test_rows_without_trials_are_left_out_and_counted(table, sampled):
    data = changed("failed", np.nan)(table).astype({"trials": float})
    data.loc[[4, 7], "trials"] = np.nan
    inputs, post = sampled("failed ~ drug + (1|mouse)", data, **BINOMIAL)
    assert len(inputs.y) == len(inputs.rows.trials) == 22
    assert post.problem.rows.tolist() == [i for i in range(24) if i not in (4, 7)]
    assert any("rows without trials are left out" in n for n in post.warnings)
    assert inputs.y.tolist() == data["failed"].drop([4, 7]).tolist()


def test_an_outcome_of_0_and_1_needs_no_trials(table, sampled):
    data = table.assign(responded=(table["failed"] > 6) * 1)
    inputs, _ = sampled("responded ~ drug", data, family="binomial")
    assert inputs.rows.trials.tolist() == [1] * 24


def test_the_exposure_enters_as_its_logarithm(table, sampled):
    data = table.assign(minutes=np.linspace(1, 10, 24))
    inputs, _ = sampled("failed ~ drug", data, family="poisson", exposure="minutes")
    np.testing.assert_allclose(inputs.rows.log_exposure, np.log(data["minutes"]))
    inputs, _ = sampled("failed ~ drug", data, family="poisson")
    assert (inputs.rows.log_exposure == 0).all()


def test_bounds_that_no_value_touches_or_that_many_touch_are_said(table, sampled):
    _, post = sampled("latency ~ drug", table, **CENSORED)
    assert "no value of latency stands at a bound: this is the gaussian family" in post.warnings
    ceiling = table.assign(latency=np.where(table["latency"] > 6, 10.0, table["latency"]))
    _, post = sampled("latency ~ drug", ceiling, **CENSORED)
    assert not any("bound" in w for w in post.warnings)
    _, post = sampled("latency ~ drug", ceiling, **(CENSORED | {"family": "truncated"}))
    assert any("use the censored family" in w for w in post.warnings)


def test_residual_structures_name_their_parameters(table, sampled):
    inputs, post = sampled("latency ~ drug + (1|mouse)", table, residual="by sex")
    assert post.parameters[2:] == ("sd mouse", "sd residual F", "sd residual M")
    assert inputs.rows.level.tolist() == (table["sex"] == "M").astype(int).tolist()
    assert post.datatree["posterior"]["sigma"].dims == ("chain", "draw", "residual")
    inputs, post = sampled("latency ~ drug + (1|mouse)", table, residual="ar1(day | mouse)")
    assert post.parameters[2:] == ("sd mouse", "sd residual", "rho")
    assert inputs.rows.previous[:4].tolist() == [-1, 0, 1, -1]
    assert post.priors["rho"] == "normal(0, 0.9) on Fisher's z of rho"
    assert "prior of rho: normal(0, 0.9) on Fisher's z of rho" in str(post)
    # what is sampled is Fisher's z: its draws were |normal|, reported ones are their tanh
    assert (post.draws.own[..., 1] < 1).all()


@pytest.mark.parametrize(
    "name, own",
    [("student-t", "nu"), ("beta", "precision"), ("negative-binomial", "overdispersion"),
     ("beta-binomial", "overdispersion")],
)  # fmt: skip
def test_parameters_of_its_own_are_reported_and_take_a_prior(table, sampled, name, own):
    outcome = {"beta": "share", "student-t": "latency"}.get(name, "failed")
    keywords = {"size": "trials"} if name == "beta-binomial" else {}
    priors = {own: "exponential(0.7)"}
    inputs, post = sampled(f"{outcome} ~ drug", table, family=name, priors=priors, **keywords)
    assert inputs.own == (Prior("exponential", (0.7,)),)
    assert post.parameters[-1] == own
    assert post.priors[own].startswith("exponential(0.7) on ")
    assert own in post.datatree["posterior"]
    assert post.datatree.attrs["family"] == name


def test_own_parameters_are_reported_in_the_units_of_their_variance():
    own = {name: family.own[0] for name, family in FAMILIES.items() if family.own}
    omega = np.array([0.1, 0.5, 2.0])
    mu, m = 0.3, 20
    # beta with a + b = 1 / omega²: variance by its textbook formula, then in terms of the reported
    a, b = mu / omega**2, (1 - mu) / omega**2
    variance = a * b / ((a + b) ** 2 * (a + b + 1))
    phi, rho = own["beta"].reported(omega), own["beta-binomial"].reported(omega)
    np.testing.assert_allclose(mu * (1 - mu) / (1 + phi), variance)
    np.testing.assert_allclose(mu * (1 - mu) * rho, variance)
    whole = m * a * b * (a + b + m) / ((a + b) ** 2 * (a + b + 1))
    np.testing.assert_allclose(m * mu * (1 - mu) * (1 + (m - 1) * rho), whole)
    np.testing.assert_allclose(own["negative-binomial"].reported(omega), omega**2)
    np.testing.assert_allclose(own["student-t"].reported(omega), 1 + omega)


def test_priors_of_a_link_are_on_its_scale_and_say_so():
    rows = Likelihood(FAMILIES["binomial"], trials=np.full(4, 20), groups=())
    chosen = choose_priors(None, np.array([1.0, 5, 12, 19]), "failed", SECONDS, None, rows)
    assert dict(chosen.text) == {
        "intercept": "normal(0, 2.5)",
        "effects": "normal(0, 1.5)",
        "sd": "half-normal(1)",
        "link": "logit: intercept, effects and SDs are in log odds",
    }
    assert chosen.notes == ()
    spent = np.array([1.0, 2, 3, 4])
    rows = Likelihood(FAMILIES["negative-binomial"], log_exposure=np.log(spent), groups=())
    chosen = choose_priors(None, np.array([4.0, 30, 40, 76]), "spines", None, None, rows)
    assert dict(chosen.text) == {
        "intercept": "normal(2.7, 2.5)",  # log of 150 / 10, two digits
        "effects": "normal(0, 1)",
        "sd": "half-normal(0.5)",
        "overdispersion": "half-normal(1) on the square root of alpha in the variance "
        "mu + alpha mu²",
        "link": "log: intercept, effects and SDs are in logarithms",
    }
    assert ["mean rate of spines" in n for n in chosen.notes] == [True]
    chosen = choose_priors({"intercept": "normal(3, 1)"}, spent, "y", None, 0.4, rows)
    assert (str(chosen.effects), str(chosen.sd)) == ("normal(0, 0.4)", "half-normal(0.4)")
    assert chosen.notes == ()


def test_a_posterior_prints_its_family_and_link(table, sampled):
    _, post = sampled("failed ~ drug + (1|mouse)", table, **BINOMIAL)
    lines = str(post).splitlines()
    assert lines[0] == "Bayesian mixed model (binomial, logit link): failed ~ drug + (1|mouse)"
    assert "link: logit: intercept, effects and SDs are in log odds" in lines
    assert post.family == "binomial"
    assert "sd residual" not in post.parameters
