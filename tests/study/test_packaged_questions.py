"""What each packaged study is there to show: every line by its outcome, estimand and analysis."""

from __future__ import annotations

import pytest

import ketastats as ks
from ketastats.study.model import SerialSpread
from tests.study.pointing import df_of, lines, natural, pointed, random_terms, sides, truths

EXACT = 1e-9
"""True values are sums of declared numbers; on links they are solved to 1e-12."""

# ---- Jelen --------------------------------------------------------------------------------------


def period(study, e, a):
    assert sides(e, "period") == {"2": 1.0, "1": -1.0}
    assert "period * time" in a.formula  # the question is a change, so its period effect is one too


def carry_over(study, e, a):
    assert e.target == "carry_over" and study.outcome("madrs").carry_over is not None
    assert "sequence" in a.formula and "treatment" not in a.formula
    # what placebo leaves minus what naltrexone leaves of 15 and 10.8 points, three half-lives on
    assert truths(study.id, "latent")["carry_over"] == pytest.approx(4.2 * 0.5 ** (19 / 6))


def response(study, e, a):
    scale = study.outcome("response").scale
    assert scale.kind == "binomial" and scale.trials.values == (1.0,)
    assert natural(study, e.name) == pytest.approx(-0.19, abs=EXACT)


def binary_crossover(study, e, a):
    assert (a.engine, a.family, random_terms(a)) == ("gee", "binomial", {"subject"})
    plan = study.plan("response")
    assert (plan.groupby("subject", observed=True)["treatment"].nunique() == 2).all()
    assert len(plan) == 2 * study.design.n_subjects


def session_as_unit(study, e, a):
    assert "subject:period" in random_terms(a)
    assert "subject:period" not in random_terms(study.analysis("glx_published"))
    # 26 people in two sessions leave 24 df for a drug given once per session; 312 spectra do not
    assert df_of(study, a.name, e.name) < 24 < 200 < df_of(study, "glx_published", e.name)


@lines(
    ("period", "madrs", "period", "primary", period),
    ("carry-over", "madrs", "carry_over", "carry_over", carry_over),
    ("response", "response", "response", "response_primary", response),
    ("binary crossover by GEE", "response", "response", "response_primary", binary_crossover),
    ("session as unit", "glx", "glx", "glx_primary", session_as_unit),
)
def test_jelen(outcome, estimand, analysis, check):
    pointed("jelen2025", outcome, estimand, analysis, check)


# ---- Yokoyama -----------------------------------------------------------------------------------


def directly(study, e, a):
    assert sides(e, "drug") == {"R": 1.0, "S": -1.0}
    two = natural(study, "memory_R") - natural(study, "memory_S")
    assert natural(study, e.name) == pytest.approx(two, abs=EXACT)


def ceiling(study, e, a):
    assert a.family == "censored" and study.outcome("immobility").scale.max == 240
    drawn = [study.simulate(seed, outcome="immobility")["immobility"] for seed in range(1, 6)]
    assert all((d == 240).any() and d.max() == 240 for d in drawn)


def positions(study, e, a):
    assert random_terms(a) == {"subject"}
    assert not random_terms(study.analysis("insula_published"))
    per_mouse = study.plan("insula").groupby("subject", observed=True)["position"].nunique()
    assert set(per_mouse) == {10}
    assert [df_of(study, name, e.name) > 500 for name in (a.name, "insula_published")] == [
        False, True,
    ]  # fmt: skip


def sixty_regions(study, e, a):
    regions = study.outcome("density").occasions[-1].levels
    names = {x.name for x in study.estimands_of(a)}
    assert len(regions) == 60 and {f"region_{r}" for r in regions} <= names
    for r in regions:
        x = study.estimand(f"region_{r}")
        assert sides(x, "drug") == {"R": 1.0, "saline": -1.0} and dict(x.within)["region"] == r
    respond = {r for r in regions if abs(natural(study, f"region_{r}")) > EXACT}
    assert respond == {"aIC", "PL", "ACC", "BLA", "NAcSh", "PVT"}


def shared_cages(study, e, a):
    assert "cage" in random_terms(a)
    mice = study.plan("investigation").drop_duplicates("subject")
    grouped = mice["housing"] == "grouped"
    assert mice["cage"].notna().tolist() == grouped.tolist()
    cages = mice[grouped].groupby("cage", observed=True)["sex"]
    assert set(cages.size()) == {3} and set(cages.nunique()) == {1}


@lines(
    ("R against S directly", "investigation", "memory_R_S", "primary", directly),
    ("ceiling of forced swim", "immobility", "swim_R", "swim_bayes", ceiling),
    ("positions within mice", "insula", "insula_R", "insula_primary", positions),
    ("60 regions", "density", "region_aIC", "density_primary", sixty_regions),
    ("cages shared by some", "investigation", "isolation", "primary", shared_cages),
)
def test_yokoyama(outcome, estimand, analysis, check):
    pointed("yokoyama2024", outcome, estimand, analysis, check)


def one_interaction(study, e, a):
    assert set(dict(e.contrast)) > {"silencing", "drug"}
    assert "silencing * drug" in a.formula
    parts = natural(study, "memory_R_silenced") - natural(study, "memory_R")
    assert natural(study, e.name) == pytest.approx(parts, abs=EXACT)


@lines(("silencing x drug", "investigation", "offset", "primary", one_interaction))
def test_silencing(outcome, estimand, analysis, check):
    pointed("yokoyama2024_silencing", outcome, estimand, analysis, check)


# ---- Moda-Sava ----------------------------------------------------------------------------------


def nested_counts(study, e, a):
    assert study.outcome("formation").scale.kind == "count"
    assert {"subject", "subject:branch"} <= random_terms(a)
    assert {"subject", "subject:branch"} <= {s.name for s in study.outcome("formation").spread}
    assert not random_terms(study.analysis("formation_branches"))


def manipulation_by_time(study, e, a):
    assert sides(e, "arm") == {"deleted": 1.0, "ketamine": -1.0}
    assert sides(e, "time") == {"day2": 1.0, "h3": -1.0}
    assert "arm * time" in a.formula


def equivalence(study, e, a):
    """Nothing differs between the arms before the deletion, and much after it."""
    assert sides(e, "arm") == {"deleted": 1.0, "ketamine": -1.0}
    assert set(sides(e, "time")) == {"h3", "stress"}
    assert truths(study.id, "latent")[e.name] == pytest.approx(0.0, abs=EXACT)
    assert truths(study.id, "latent")["maintenance"] == pytest.approx(36.0, abs=EXACT)


def against_chance(study, e, a):
    assert sides(e, "site") == {"lost": 1.0, "shuffled": -1.0}
    # where more spines form, more fall on any place: the raw difference holds chance as well
    chance = natural(study, "restored_raw") - natural(study, e.name)
    assert chance == pytest.approx(0.05, abs=EXACT)


def timing(study, e, a):
    """Behaviour changes at 3 h, joint activity by 6 h, formation not before 12 h."""
    assert sides(e, "time") == {"h3": 1.0, "stress": -1.0}
    latent = truths(study.id, "latent")
    assert latent["rapid"] == pytest.approx(-45.0, abs=EXACT)
    assert latent["rapid_order"] == pytest.approx(0.0, abs=EXACT)
    assert 0 < natural(study, "ensembles_h3") < natural(study, "ensembles_h6")
    assert natural(study, e.name) == pytest.approx(0.0, abs=EXACT)
    assert natural(study, "formation_order") == pytest.approx(0.04, abs=EXACT)
    hours = dict(zip(study.design.occasions[0].levels, study.design.occasions[0].days, strict=True))
    assert hours["stress"] < hours["h3"] < hours["h6"] < hours["h12"] < hours["day2"]


@lines(
    (
        "counts in branch and mouse",
        "formation",
        "formation_late",
        "formation_nested",
        nested_counts,
    ),
    ("manipulation x time", "immobility", "maintenance", "primary", manipulation_by_time),
    ("equivalence", "immobility", "early", "primary", equivalence),
    (
        "lost against shuffled",
        "restored",
        "restored_above_chance",
        "restored_primary",
        against_chance,
    ),
    ("timing order", "formation", "formation_h3", "formation_primary", timing),
)
def test_moda_sava(outcome, estimand, analysis, check):
    pointed("modasava2019", outcome, estimand, analysis, check)


# ---- Lazarevic ----------------------------------------------------------------------------------


def blockade(study, e, a):
    assert {"blocker", "drug"} <= set(dict(e.contrast))
    assert "drug * blocker" in a.formula
    parts = natural(study, "release_blocked") - natural(study, "release")
    assert natural(study, e.name) == pytest.approx(parts, abs=EXACT)
    assert natural(study, e.name) == pytest.approx(26.0, abs=EXACT)


def serial(study, e, a):
    assert a.residual == "ar1(time | subject)" and random_terms(a) == {"subject"}
    (own,) = [s for s in study.outcome("glutamate").spread if isinstance(s, SerialSpread)]
    assert own.over == "time"
    assert not study.analysis("animal_only").residual


def unequal_arms(study, e, a):
    assert [g.n for g in study.design.groups] == [7, 8, 8, 8, 8, 7]
    assert study.design.n_subjects == len(study.plan("immobility")) == 46
    assert df_of(study, "swim_published", e.name) == pytest.approx(40)  # six means; 39 is printed


@lines(
    ("blockade interaction", "glutamate", "blockade", "primary", blockade),
    ("serial correlation", "glutamate", "blockade", "primary", serial),
    ("46 animals, unequal n", "immobility", "swim_blockade", "swim_primary", unequal_arms),
)
def test_lazarevic(outcome, estimand, analysis, check):
    pointed("lazarevic2021", outcome, estimand, analysis, check)


# ---- Wu -----------------------------------------------------------------------------------------


def beta_binomial(study, e, a):
    scale = study.outcome("failures").scale
    assert a.family == "beta-binomial" and min(scale.overdispersion.values) > 0
    assert dict(scale.trials.levels) == {"strong": 30, "weak": 100}
    assert study.analysis("no_overdispersion").family == "binomial"


def three_way(study, e, a):
    assert {"drug", "phase", "paradigm"} == set(dict(e.contrast))
    parts = natural(study, "rescue_weak") - natural(study, "rescue_strong")
    assert natural(study, e.name) == pytest.approx(parts, abs=EXACT)


def censored(study, e, a):
    """A trial ends after 10 s: the change as scored is half of the one behind it."""
    assert a.family == "censored" and study.outcome("latency").scale.max == 10
    assert truths(study.id, "latent")[e.name] == pytest.approx(-3.3, abs=EXACT)
    assert abs(natural(study, "latency_rescue")) < 0.6 * 3.3
    assert 0.3 < (study.simulate(1, outcome="latency")["latency"] == 10).mean() < 0.7


def trial_level(study, e, a):
    assert {"subject", "subject:phase"} == random_terms(a)
    assert not random_terms(study.analysis("transient_trials"))
    assert df_of(study, a.name, e.name) < 2 * study.design.n_subjects
    assert df_of(study, "transient_trials", e.name) > 900  # of 1023 rows, some lost


def variance_by_drug(study, e, a):
    assert a.residual == "by drug"
    variances = ks.analyse(study, seed=1, analyses=[a.name]).answer(a.name).details["variances"]
    assert {"residual saline", "residual ketamine"} <= set(variances)
    differs = [s for s in study.outcome("failures").spread if ("drug", ("ketamine",)) in s.when]
    assert differs  # ketamine mice are declared to differ more among themselves


@lines(
    ("beta-binomial", "failures", "rescue", "conditional", beta_binomial),
    ("ketamine x time x group", "failures", "rescue_paradigm", "by_paradigm", three_way),
    ("censored latency", "latency", "latency_rescue_latent", "latency_bayes", censored),
    ("trial level", "transient", "transient_rescue", "transient_primary", trial_level),
    ("variance by drug", "failures", "rescue", "percentages_by_drug", variance_by_drug),
)
def test_wu(outcome, estimand, analysis, check):
    pointed("wu2021", outcome, estimand, analysis, check)
