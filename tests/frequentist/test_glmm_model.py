"""Generalised mixed models: what is refused, what is flagged, compared, drawn again and shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import chi2, norm

from ketastats.core.errors import DataError, FormulaError, NotEstimable
from ketastats.core.random import Purpose, generator
from ketastats.frequentist import quadrature
from ketastats.frequentist.glmm import glmm
from ketastats.frequentist.glmm_bootstrap import Bootstrap, draw_outcomes
from ketastats.frequentist.inference import Drawn
from ketastats.frequentist.marginal import marginal_mean
from ketastats.problem.questions import as_estimands

FORMULA = "hits ~ drug * time + (1 | mouse)"
QUESTION = {"drug": "B - A", "time": "c - a"}


def table(mice: int = 30, seed: int = 1, sd: float = 0.8, rho: float = 0.0) -> pd.DataFrame:
    """Return synthetic successes of 20, and counts, at three times in mice of two drugs."""
    rng = np.random.default_rng(seed)
    d = pd.DataFrame(
        [(f"m{m}", "AB"[m % 2], "FM"[(m // 2) % 2], t) for m in range(mice) for t in "abc"],
        columns=["mouse", "drug", "sex", "time"],
    )
    own = rng.normal(0, sd, mice)[np.repeat(np.arange(mice), 3)]
    p = expit(own + 0.2)
    if rho:
        p = rng.beta(p * (1 - rho) / rho, (1 - p) * (1 - rho) / rho)
    minutes = rng.integers(5, 15, len(d))
    counts = rng.poisson(minutes * np.exp(own - 0.5))
    return d.assign(of=20, hits=rng.binomial(20, p), minutes=minutes, n=counts)


def binomial(data: pd.DataFrame | None = None, formula: str = FORMULA, **options):
    data = table() if data is None else data
    return glmm(formula, data, **({"family": "binomial", "size": "of"} | options))


# ---- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"formula": "hits ~ 1 + (1 | drug/sex/mouse)"}, "3 random terms.*use ks.mcmc, or ks"),
        ({}, {"formula": "hits ~ drug + (1 | time) + (1 | mouse)"}, "are crossed.*use ks.mcmc, or"),
        ({}, {"formula": "hits ~ drug + (1 + time | mouse)"}, r"slopes.*write \(1\|mouse\).*mcmc"),
        ({}, {"formula": "hits ~ drug + (0 + time | mouse)"}, "slopes.*ks.mcmc"),
        ({}, {"formula": "drug + (1 | mouse)"}, "names no outcome"),
        ({}, {"outcome": "of"}, "the formula names 'hits' and the outcome is 'of'"),
        ({}, {"family": "gaussian"}, "no gaussian family; use ks.lmm"),
        ({}, {"family": "binomal"}, "did you mean 'binomial'"),
        ({}, {"family": "gamma", "size": None}, "no family 'gamma'; use binomial, binomial-probit"),
        ({}, {"family": "poisson"}, "of: size belongs to the binomial families"),
        ({}, {"exposure": "minutes"}, "minutes: exposure belongs to the families of counts"),
        ({}, {"size": "trials"}, "no column 'trials'"),
        ({}, {"size": None}, "hits: .* is not 0 or 1; name the trials with size="),
        ({}, {"family": "beta-binomial", "size": None}, "needs the number of trials; name their"),
        ({}, {"level": 95}, "not between 0 and 1"),
        ({}, {"nodes": 0}, "nodes = 0 is not between 1 and 100"),
        ({}, {"contrasts": "helmert"}, "no contrasts 'helmert'"),
        ({"of": 0}, {}, "of: 0 is not a whole number of 1 or more"),
        ({"of": 19.5}, {}, "of: 19.5 is not a whole number"),
        ({"hits": 21}, {}, "hits: 21 is not a count of up to 20 successes; correct the column"),
        ({"hits": -1}, {}, "-1 is not a count"),
        ({"hits": 2.5}, {}, "2.5 is not a count of up to 20 successes"),
        ({"hits": 0.5, "of": 1}, {"size": None, "formula": "hits ~ drug"}, "not shares"),
        ({"hits": "many"}, {}, "not numeric"),
        ({"hits": np.inf}, {}, "infinite"),
        ({"mouse": "m"}, {}, "1 group; .*drop the term"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(change, options, message):
    d = table().astype({"hits": object, "of": float, "mouse": object})
    if options.get("size", "of") is None and change:
        d["hits"] = 0.0
    rows = range(90) if change.get("mouse") == "m" else [3]
    for column, value in change.items():
        d.loc[list(rows), column] = value
    d = d.infer_objects()
    given = {"formula": FORMULA, "family": "binomial", "size": "of"} | options
    with pytest.raises((DataError, FormulaError), match=message):
        glmm(given.pop("formula"), d, **given)


def test_counts_and_exposures_are_checked():
    d = table().astype({"minutes": float, "n": float})
    d.loc[4, "n"] = 1.5
    with pytest.raises(DataError, match=r"n: 1\.5 is not a count; correct the column"):
        glmm("n ~ drug + (1 | mouse)", d, family="poisson")
    d.loc[4, "n"], d.loc[4, "minutes"] = 2, 0
    with pytest.raises(DataError, match="minutes: 0 is not more than 0"):
        glmm("n ~ drug + (1 | mouse)", d, family="poisson", exposure="minutes")
    with pytest.raises(DataError, match="not a pandas DataFrame"):
        glmm("n ~ drug", d.to_dict(), family="poisson")


def test_a_group_must_show_a_spread():
    d = table()
    once = d[d["time"] == "a"]
    for_counts = "has one row per group, and so does the overdispersion"
    with pytest.raises(DataError, match=for_counts):
        binomial(once, "hits ~ drug + (1 | mouse)", family="beta-binomial")
    with pytest.raises(DataError, match=for_counts):
        glmm("n ~ drug + (1 | mouse)", once, family="negative-binomial")
    with pytest.raises(DataError, match="has one trial per group, which shows no spread"):
        glmm("hit ~ drug + (1 | mouse)", once.assign(hit=once["hits"] > 10), family="binomial")
    # one row of 20 trials per mouse shows one: more than binomial
    fit = binomial(once, "hits ~ drug + (1 | mouse)")
    assert fit.status == "ok" and fit.spreads.loc["sd mouse", "estimate"] > 0.3
    taken = binomial(d.assign(side=d["drug"]), "hits ~ drug + (1 | side)")
    assert taken.group == ""
    assert "(1 | side) is left out: the fixed effects already tell" in taken.warnings[0]


def test_questions_that_cannot_be_asked_are_refused():
    fit = binomial()
    with pytest.raises(NotEstimable, match="no factor 'sex'"):
        fit.contrast({"sex": "M - F"})
    with pytest.raises(DataError, match="scale 'log'"):
        fit.contrast(QUESTION, scale="log")
    with pytest.raises(DataError, match="scale 'log'"):
        fit.predict(scale="log")
    with pytest.raises(DataError, match="there is no interval 'profile'"):
        fit.contrast(QUESTION, interval="profile")
    with pytest.raises(DataError, match=r"18 draws are too few for intervals of level 0\.95"):
        fit.contrast(QUESTION, interval="bootstrap", draws=18)
    with pytest.raises(DataError, match="the seed -1 is negative"):
        fit.contrast(QUESTION, interval="bootstrap", seed=-1)
    with pytest.raises(DataError, match="no adjustment 'sidak'"):
        fit.contrast(QUESTION, adjust="sidak")


def test_declared_questions_without_an_answer_are_rows_that_say_why():
    d = table()
    fit = binomial(d[~((d["drug"] == "B") & (d["time"] == "c"))])
    whole = binomial(d, "hits ~ drug * time + sex + (1 | mouse)")
    asked = as_estimands(whole.problem, {"sex": "M - F"})
    for scale in ("link", "natural"):
        lost = fit.contrast({"drug": "B - A"}, scale=scale).iloc[0]
        assert lost["status"] == "not_estimable" and "aliased" in lost["notes"]
        kept = fit.contrast({"drug": "B - A"}, within={"time": "b"}, scale=scale).iloc[0]
        assert kept["status"] == "ok" and np.isfinite(kept["p"])
        unknown = fit.contrast(estimands=asked, scale=scale).iloc[0]
        assert unknown["status"] == "not_estimable" and "does not contain" in unknown["notes"]
    both = (*asked, *as_estimands(whole.problem, {"time": "b - a"}))
    kept = binomial(d).contrast(estimands=both, interval="bootstrap", draws=39)
    assert list(kept["status"]) == ["not_estimable", "ok"] and kept["notes"].iloc[1] == ""
    plain = binomial(d, "hits ~ drug + time + (1 | mouse)")
    held = plain.contrast(QUESTION).iloc[0]
    assert held["status"] == "not_estimable" and "add drug:time to the formula" in held["notes"]
    # shares of parallel curves differ, by a number
    shares = plain.contrast(QUESTION, scale="natural").iloc[0]
    assert shares["status"] == "ok" and shares["se"] > 0


# ---- failures -----------------------------------------------------------------------------------


def test_separation_names_the_terms_that_run_off():
    d = table()
    d.loc[(d["drug"] == "B") & (d["time"] == "c"), "hits"] = 0
    fit = binomial(d)
    assert fit.status == "failed"
    assert fit.warnings == (
        "separation: drug[T.B]:time[T.c] is infinite, since the formula can fit rows at a limit of "
        "the outcome exactly; join cells, or use a model with priors (ks.mcmc)",
    )
    assert fit.coefficients.isna().all(axis=None)
    assert np.isnan([fit.loglik, fit.aic, fit.bic]).all() and np.isnan(fit.predict()).all()
    assert fit.spreads[["estimate", "se", "ci_low"]].isna().all(axis=None)
    for more in ({}, {"scale": "natural"}, {"interval": "bootstrap"}):
        row = fit.contrast(QUESTION, **more).iloc[0]
        assert row["status"] == "failed" and "separation: drug[T.B]:time[T.c]" in row["notes"]
        assert np.isnan(row["estimate"]) and np.isnan(row["p"])
    with pytest.raises(DataError, match="status failed has no likelihood"):
        fit.compare(binomial())
    at_either_end = np.where(d["time"] == "c", np.where(d["drug"] == "B", 20, 0), d["hits"])
    (said,) = binomial(d.assign(hits=at_either_end)).warnings
    assert said.startswith("separation: time[T.c], drug[T.B]:time[T.c] are infinite")


def test_a_constant_outcome_is_separation_only_at_a_limit():
    d = table()
    none = binomial(d.assign(hits=0), "hits ~ 1 + (1 | mouse)")
    assert none.status == "failed" and "Intercept is infinite" in none.warnings[0]
    half = binomial(d.assign(hits=10), "hits ~ 1 + (1 | mouse)")
    assert half.status == "boundary"
    share = half.predict(d.iloc[:1])
    assert share == pytest.approx(0.5)


def test_all_or_nothing_sends_the_overdispersion_off():
    d = table()[["mouse", "of"]].assign(hits=np.tile([0, 20, 20, 0], 25)[:90])
    fit = glmm("hits ~ 1", d, family="beta-binomial", size="of")
    assert fit.status == "failed"
    assert "the spread runs off" in fit.warnings[0] and "priors" in fit.warnings[0]


def test_an_unconverged_fit_has_no_numbers(monkeypatch):
    plain = quadrature._result

    def stalled(batch, nodes):
        batch.reason[:] = 3
        return plain(batch, nodes)

    monkeypatch.setattr(quadrature, "_result", stalled)
    fit = binomial()
    assert fit.status == "unconverged"
    assert fit.warnings[0] == "the search did not converge; do not use it"
    row = fit.contrast(QUESTION).iloc[0]
    assert row["status"] == "unconverged" and np.isnan(row["se"]) and "converge" in row["notes"]


# ---- warnings -----------------------------------------------------------------------------------


def test_a_fit_on_the_boundary_says_which_spread():
    fit = binomial(table(sd=0.0, seed=3), family="beta-binomial")
    assert fit.status == "boundary"
    assert "sd mouse and rho estimated as 0 (boundary)" in fit.warnings
    assert fit.spreads["boundary"].all() and fit.spreads["ci_low"].isna().all()
    row = fit.contrast(QUESTION).iloc[0]
    assert row["status"] == "boundary" and row["se"] > 0 and "estimated as 0" in row["notes"]


def test_rough_quadrature_asks_for_more_nodes():
    d = table(sd=2.0)
    assert "1 nodes leave the log-likelihood uncertain by" in binomial(d, nodes=1).warnings[0]
    assert "such as nodes=3" in binomial(d, nodes=1).warnings[0]
    assert binomial(d).warnings == ()


def test_few_groups_are_warned_of_with_their_number():
    said = binomial(table(mice=16)).warnings[0]
    assert "there are 16 of mouse" in said and 'interval="bootstrap"' in said
    assert binomial(table(mice=26)).warnings == ()
    assert "bootstrap" not in "".join(binomial(table(mice=16), "hits ~ drug").warnings)


def test_more_variation_than_the_family_allows_is_warned_of():
    d = table(rho=0.1)
    (said,) = binomial(d).warnings
    ratio = 2 * (binomial(d, family="beta-binomial").loglik - binomial(d).loglik)
    assert said.startswith("rows vary more than the binomial family allows (rho 0.")
    assert f"likelihood ratio {ratio:.3g}, p = " in said and "use family='beta-binomial'" in said
    assert binomial(d, family="beta-binomial").warnings == ()
    assert binomial(table()).warnings == ()
    # one row a mouse: its random intercept is that variation
    assert binomial(d[d["time"] == "a"], "hits ~ drug + (1 | mouse)").warnings == ()
    counts = d.assign(n=d["hits"])
    assert "use family='negative-binomial'" in "".join(
        glmm("n ~ drug", counts, family="poisson").warnings
    )


def test_a_unit_that_the_model_leaves_out_is_named():
    d = table()
    (said,) = [w for w in binomial(d, "hits ~ drug * time").warnings if "independent" in w]
    assert said == (
        "drug varies between the 30 units of mouse, and the model takes their 90 rows for "
        "independent: add (1 | mouse)"
    )
    cages = d.assign(cage=d["drug"] + d["sex"])
    (said,) = binomial(cages).warnings
    assert said.endswith("add (1 | cage)")
    nested = binomial(cages, "hits ~ drug * time + (1 | cage/mouse)")
    assert nested.warnings[-1].startswith("z is for many groups, and there are 4 of cage")
    pairs = d.assign(cage=d["drug"] + d["sex"], litter=d["drug"] + d["mouse"].str[-1])
    said = binomial(pairs, "hits ~ drug * time + (1 | litter/mouse)").warnings[-1]
    assert said.endswith(
        "add (1 | cage); beside (1 | litter) and (1 | litter:mouse) that takes ks.mcmc"
    )
    assert "cage" in binomial(cages).contrast({"drug": "B - A"})["notes"].item()
    assert "cage" not in binomial(cages).contrast({"time": "b - a"})["notes"].item()


# ---- spreads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["beta-binomial", "negative-binomial"])
def test_intervals_of_spreads_are_walds_where_they_cannot_leave_their_range(family):
    d = table(rho=0.1).assign(clumped=lambda f: f["hits"])
    outcome, more = ("hits", {"size": "of"}) if family == "beta-binomial" else ("clumped", {})
    fit = glmm(f"{outcome} ~ drug + (1 | mouse)", d, family=family, level=0.9, **more)
    se = np.sqrt(np.diag(fit.fit.covariance[0]))[-2:]
    z = norm.ppf(0.95)
    sd, other = fit.spreads.iloc[0], fit.spreads.iloc[1]
    np.testing.assert_allclose([sd["se"], other["se"]], se, rtol=1e-12)
    for end, sign in (("ci_low", -1), ("ci_high", 1)):
        assert sd[end] == pytest.approx(sd["estimate"] * np.exp(sign * z * se[0] / sd["estimate"]))
        m = other["estimate"]
        wanted = m * np.exp(sign * z * se[1] / m)
        if family == "beta-binomial":
            wanted = expit(np.log(m / (1 - m)) + sign * z * se[1] / (m * (1 - m)))
        assert other[end] == pytest.approx(wanted)


# ---- comparison ---------------------------------------------------------------------------------


def test_likelihood_ratios_and_their_references():
    d = table(rho=0.05)
    plain, mixed = binomial(d, "hits ~ drug * time"), binomial(d)
    both = binomial(d, family="beta-binomial")
    less = binomial(d, "hits ~ drug + time + (1 | mouse)", contrasts="sum")
    fixed = mixed.compare(less)
    assert fixed.statistic == pytest.approx(2 * (mixed.loglik - less.loglik))
    assert (fixed.df, fixed.reference) == (2, "chi-squared on 2 df")
    assert fixed.p == pytest.approx(chi2.sf(fixed.statistic, 2))
    for large, small in ((mixed, plain), (both, mixed)):
        spread = small.compare(large)
        assert spread.df == 1 and spread.reference.startswith("half-and-half mixture")
        assert spread.p == pytest.approx(chi2.sf(spread.statistic, 1) / 2)
    two = both.compare(plain)
    assert two.df == 2 and two.reference.endswith("an upper bound")
    wanted = (chi2.sf(two.statistic, 1) + chi2.sf(two.statistic, 2)) / 2
    assert two.p == pytest.approx(wanted)
    mixture = both.compare(less)
    assert mixture.df == 3 and mixture.reference == (
        "half-and-half mixture of chi-squared on 2 and 3 df"
    )


def test_what_is_not_nested_is_not_compared():
    d = table()
    fit = binomial(d)
    others = {
        "different rows": binomial(d.iloc[:-3]),
        "different rows ": binomial(d.assign(of=21), "hits ~ drug * time + sex + (1 | mouse)"),
        "families binomial and binomial-probit": binomial(
            d, "hits ~ drug * time + sex + (1 | mouse)", family="binomial-probit"
        ),
        "fixed parts": binomial(d, "hits ~ sex * time + (1 | mouse)"),
        "random parts": binomial(d, "hits ~ drug * time + sex + (1 | sex)"),
        "different nodes": binomial(d, "hits ~ drug * time + sex + (1 | mouse)", nodes=9),
        "same parameters": binomial(d),
    }
    for message, other in others.items():
        with pytest.raises(DataError, match=message.strip()):
            fit.compare(other)


# ---- predictions --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["binomial", "negative-binomial"])
def test_predictions_of_rows_have_their_own_mouse_and_new_rows_are_averaged(family):
    d = table(rho=0.1)
    more = {"size": "of"} if family == "binomial" else {"exposure": "minutes"}
    outcome = "hits" if family == "binomial" else "n"
    fit = glmm(f"{outcome} ~ drug * time + (1 | mouse)", d, family=family, **more)
    inverse = expit if family == "binomial" else np.exp
    eta = fit.problem.x @ fit.coefficients["estimate"].to_numpy()
    own = eta + fit.fit.modes[0][fit.rows.group]
    np.testing.assert_allclose(fit.predict(scale="link"), own, rtol=1e-12)
    np.testing.assert_allclose(fit.predict(), inverse(own), rtol=1e-12)
    new = d[["drug", "time"]].iloc[:6]
    np.testing.assert_allclose(fit.predict(new, scale="link"), eta[:6], rtol=1e-12)
    averaged = marginal_mean(fit.rows.family, eta[:6], fit.fit.sd[0]).mean
    np.testing.assert_allclose(fit.predict(new), averaged, rtol=1e-12)
    means = fit.means("drug", "time", scale="natural")["estimate"]
    cell = means[d["drug"].iloc[0], d["time"].iloc[0]]
    assert fit.predict(new)[0] == pytest.approx(cell, rel=1e-10)


# ---- bootstrap ----------------------------------------------------------------------------------


def test_a_bootstrap_is_reproducible_by_its_seed_and_draws_share_addresses():
    fit = binomial(table(mice=12))
    ask = {"interval": "bootstrap", "draws": 99}
    one, again = (fit.contrast(QUESTION, **ask, seed=5) for _ in range(2))
    pd.testing.assert_frame_equal(one, again)
    other = fit.contrast(QUESTION, **ask, seed=6)
    assert other["ci_low"].item() != one["ci_low"].item()
    assert other["estimate"].item() == one["estimate"].item()
    how = Bootstrap(9, 5, "hits")
    whole = draw_outcomes(fit.rows, fit.fit, how, range(9))
    np.testing.assert_array_equal(whole[4:6], draw_outcomes(fit.rows, fit.fit, how, range(4, 6)))


def test_the_bootstrap_is_what_fitting_every_draw_gives():
    """Each draw made by hand at its address and fitted by ``glmm``; t, its quantile and p."""
    d = table(mice=12)
    fit = binomial(d)
    draws, asked = 39, as_estimands(fit.problem, QUESTION)
    for scale in ("link", "natural"):
        row = fit.contrast(estimands=asked, scale=scale).iloc[0]
        sizes = []
        for k in range(draws):
            rng = generator(7, Purpose.RESAMPLING, "hits", k)
            own = float(fit.fit.sd[0]) * rng.standard_normal(12)
            eta = fit.problem.x @ fit.coefficients["estimate"].to_numpy() + own[fit.rows.group]
            again = binomial(d.assign(hits=rng.binomial(20, expit(eta))))
            there = again.contrast(estimands=asked, scale=scale).iloc[0]
            sizes.append(abs(there["estimate"] - row["estimate"]) / there["se"])
        factor = np.sort(sizes)[round(0.95 * 40) - 1]
        got = fit.contrast(
            estimands=asked, scale=scale, interval="bootstrap", draws=draws, seed=7
        ).iloc[0]
        assert got["estimate"] == row["estimate"] and got["se"] == row["se"]
        assert np.isnan(got["df"]) and got["statistic"] == row["statistic"]
        assert got["ci_low"] == pytest.approx(row["estimate"] - factor * row["se"], rel=1e-7)
        assert got["ci_high"] == pytest.approx(row["estimate"] + factor * row["se"], rel=1e-7)
        larger = (np.array(sizes) >= abs(row["statistic"])).sum()
        assert got["p"] == (1 + larger) / 40


def test_the_bootstrap_of_a_share_is_made_on_the_link_scale():
    d = table(mice=12)
    fit = binomial(d)
    share, t = fit.contrast({"drug": "B"}, scale="natural").iloc[0], []
    y = draw_outcomes(fit.rows, fit.fit, Bootstrap(39, 7, "hits"), range(39))
    for row in y:
        there = binomial(d.assign(hits=row)).contrast({"drug": "B"}, scale="natural").iloc[0]
        apart = logit(there["estimate"]) - logit(share["estimate"])
        t.append(abs(apart) * there["estimate"] * (1 - there["estimate"]) / there["se"])
    half = np.sort(t)[37] * share["se"] / (share["estimate"] * (1 - share["estimate"]))
    got = fit.contrast({"drug": "B"}, scale="natural", interval="bootstrap", draws=39, seed=7)
    wanted = expit(logit(share["estimate"]) + half * np.array([-1, 1]))
    np.testing.assert_allclose(got[["ci_low", "ci_high"]].iloc[0], wanted, rtol=1e-7)
    assert got["p"].isna().all()


@pytest.mark.parametrize("family", ["binomial", "beta-binomial", "poisson", "negative-binomial"])
def test_drawn_outcomes_have_the_moments_of_the_model(family):
    """Mean of the population; variance within a mouse, averaged, and between mice."""
    d = table(mice=20, rho=0.1)
    counts = family in ("poisson", "negative-binomial")
    more = {"exposure": "minutes"} if counts else {"size": "of"}
    fit = glmm(f"{'n' if counts else 'hits'} ~ drug + (1 | mouse)", d, family=family, **more)
    y = draw_outcomes(fit.rows, fit.fit, Bootstrap(4000, 1, "y"), range(4000))
    amount = d["minutes" if counts else "of"].to_numpy()
    eta = fit.problem.x @ fit.coefficients["estimate"].to_numpy()
    mean = amount * marginal_mean(fit.rows.family, eta, fit.fit.sd[0]).mean
    error = y.std(axis=0) / np.sqrt(4000)
    assert np.abs((y.mean(axis=0) - mean) / error).max() < 4.5  # 60 rows
    own = fit.fit.sd[0] * np.random.default_rng(1).normal(size=200_000)
    for i in (0, 3):
        here = amount[i] * (np.exp if counts else expit)(eta[i] + own)
        spread = float(fit.fit.dispersion[0])
        of_trials = here * (1 - here / 20) * (1 + 19 * spread)
        within = here + spread * here**2 if counts else of_trials
        wanted = within.mean() + here.var()
        # of 4000 draws: an error of 2.2 % where y is normal, and some 5 % of long-tailed counts
        assert y[:, i].var() == pytest.approx(wanted, rel=0.15)


def test_draws_without_a_fit_count_as_larger_and_are_told():
    drawn = Drawn(np.array([[0.5, np.inf], [1.0, np.inf], [2.0, 0.1]]))
    np.testing.assert_allclose(drawn.factor(0.5), [1.0, np.inf])
    np.testing.assert_allclose(drawn.factor(0.99), [np.inf, np.inf])
    np.testing.assert_allclose(drawn.p(np.array([1.5, 9.0])), [0.5, 0.75])
    assert np.isnan(drawn.p(np.array([np.nan, 1.0]))[0])
    d = table(mice=10)
    d.loc[(d["drug"] == "B") & (d["time"] == "c"), "hits"] = [0, 1, 0, 0, 0]
    row = binomial(d).contrast({"time": "b - a"}, interval="bootstrap", draws=59).iloc[0]
    assert "of 59 draws have no finite fit and count as larger" in row["notes"]
    assert row["p"] > 1 / 3 and row["ci_high"] == np.inf


def test_p_below_5_percent_and_an_interval_without_0_are_one_statement():
    rng = np.random.default_rng(3)
    for draws in (19, 39, 199, 250):
        drawn = Drawn(np.abs(rng.normal(size=(draws, 1))))
        for t in np.linspace(1, 3, 81):
            outside = t > drawn.factor(0.95)[0]
            assert outside == (drawn.p(np.array([t]))[0] <= 0.05 + 1e-12), (draws, t)


# ---- what is shown ------------------------------------------------------------------------------


def test_tables_name_engine_method_and_scale():
    fit = binomial()
    row = fit.contrast(QUESTION, scale="natural").iloc[0]
    assert (row["engine"], row["outcome"], row["level"]) == ("glmm", "hits", 0.95)
    assert row["method"] == "ML, 25 nodes, z, natural scale"
    drawn = fit.contrast(QUESTION, interval="bootstrap", draws=19, seed=2)
    assert drawn["method"].item() == "ML, 25 nodes, bootstrap of 19 draws, seed 2, link scale"
    assert binomial(formula="hits ~ drug * time").contrast(QUESTION)["method"].item() == (
        "ML, z, link scale"
    )


def test_pairs_and_contrasts_are_adjusted_and_the_unadjusted_p_stays():
    d = table()
    d.loc[d["time"] == "c", "hits"] //= 2
    fit = binomial(d)
    plain, holm, tukey = (fit.pairs("time", adjust=a) for a in (None, "holm", "tukey"))
    assert len(holm) == 3 and (holm["p"] == plain["p"]).all() and (holm["level"] == 0.95).all()
    assert holm["p_adjusted"].min() == pytest.approx(3 * plain["p"].min())
    wide = norm.ppf(1 - 0.05 / 6) * plain["se"]
    np.testing.assert_allclose(holm["ci_high"], plain["estimate"] + wide, rtol=1e-10)
    assert ((tukey["ci_high"] - tukey["estimate"]) < wide).all()
    asked = as_estimands(fit.problem, {"drug": "A"}) + as_estimands(fit.problem, {"drug": "B"})
    means = fit.contrast(estimands=asked, scale="natural", adjust="bonferroni")
    alone = fit.contrast(estimands=asked, scale="natural")
    assert (means["ci_low"] < alone["ci_low"]).all() and means["ci_low"].between(0, 1).all()
    drawn = {"interval": "bootstrap", "draws": 199}
    one, both = (fit.contrast(estimands=asked, **drawn, adjust=a) for a in (None, "holm"))
    assert ((both["ci_high"] - both["ci_low"]) > (one["ci_high"] - one["ci_low"])).all()


def test_a_fit_prints_what_it_is():
    d = table(mice=16, rho=0.1)
    text = str(binomial(d, family="beta-binomial"))
    assert text.startswith(
        "Generalised linear mixed model, beta-binomial (logit): hits ~ drug * time + (1 | mouse)\n"
        "48 rows of 16 groups of mouse; maximum likelihood, 25 nodes; log-likelihood -"
    )
    assert "\nsd mouse " in text and ", rho 0." in text and "warning: z is for many" in text
    fit = binomial(d, "hits ~ drug")
    assert repr(fit) == str(fit) and "Generalised linear model, binomial (logit)" in repr(fit)
    assert "warning: rows vary more" in fit._repr_html_() and "<table" in fit._repr_html_()
    assert "&lt;" not in fit._repr_html_().split("<table")[0]
    d.loc[d["time"] == "c", "hits"] = 0
    failed = binomial(d)
    assert "warning: separation" in str(failed) and "nan" not in str(failed).lower()
    assert list(failed.to_frame()["term"]) == list(failed.problem.names)


def test_the_outcome_may_be_named_beside_the_formula_and_data_stay_as_they_are():
    d = table()
    before = d.copy()
    aside = binomial(
        d.rename(columns={"hits": "no. of hits"}), "drug * time + (1 | mouse)",
        outcome="no. of hits",
    )  # fmt: skip
    pd.testing.assert_frame_equal(aside.coefficients, binomial(d).coefficients)
    pd.testing.assert_frame_equal(d, before)
