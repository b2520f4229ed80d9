"""Outcomes on scales with a link: their truth, their words, and what is refused."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, optimize
from scipy.special import expit

import ketastats as ks
from ketastats.core.errors import StudyError
from ketastats.study.describe import parameters
from ketastats.study.model import Amount, BinomialScale, CountScale, Study
from ketastats.study.scales import units

EXAMPLES = Path(__file__).parent / "examples"
MICE = (EXAMPLES / "mice.toml").read_text()
PEOPLE = (EXAMPLES / "people.toml").read_text()


@pytest.fixture(scope="module")
def mice() -> Study:
    return ks.parse_study(MICE)


def typical(mean: float, sd: float) -> float:
    """Return the logit of a typical subject, by integration and bisection."""

    def miss(eta: float) -> float:
        def f(z: float) -> float:
            return float(expit(eta + sd * z) * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))

        return integrate.quad(f, -12, 12, epsabs=1e-13, epsrel=1e-13)[0] - mean

    return optimize.brentq(miss, -30, 30, xtol=1e-13)


# truth


def test_the_truth_of_a_binomial_outcome_by_brute_force(mice):
    truth = mice.true_values().set_index("estimand")
    sd = np.sqrt(0.5**2 + 0.6**2 + 0.3**2)
    # treated ketamine: 0.30 in females, 0.38 in males; all else treated or shocked: 0.74
    female, male, other = (typical(m, sd) for m in (0.30, 0.38, 0.74))
    assert truth.loc["rescue", "natural"] == pytest.approx(-0.4, abs=1e-12)
    assert truth.loc["rescue", "latent"] == pytest.approx((female + male) / 2 - other, abs=1e-9)
    assert truth.loc["rescue_sex", "natural"] == pytest.approx(0.08, abs=1e-12)
    assert truth.loc["rescue_sex", "latent"] == pytest.approx(male - female, abs=1e-9)


def test_the_truth_of_the_other_kinds(mice):
    truth = mice.true_values().set_index("estimand")
    # log link: eta = log m - sd^2 / 2, and the SD is the same in both arms
    assert truth.loc["formation", "latent"] == pytest.approx(np.log(11 / 6), abs=1e-12)
    assert truth.loc["formation", "natural"] == pytest.approx(5.0, abs=1e-12)
    loss = typical(0.65, 0.4) - typical(0.8, 0.4)
    assert truth.loc["loss", "latent"] == pytest.approx(loss, abs=1e-9)
    assert truth.loc["loss", "natural"] == pytest.approx(-0.15, abs=1e-12)
    assert truth.loc["weaker", "latent"] == pytest.approx(np.log(0.7), abs=1e-12)
    assert truth.loc["weaker", "natural"] == pytest.approx(-30, abs=1e-12)


def test_an_sd_by_level_moves_the_typical_subject_of_that_level(mice):
    contrast = (("sex", (("M", 1.0), ("F", -1.0))),)
    sexes = replace(mice.estimand("formation"), contrast=contrast, within=())
    study = replace(mice, estimands=(sexes,))
    row = study.true_values().iloc[0]
    assert row["natural"] == pytest.approx(0.0, abs=1e-12)  # equal means
    assert row["latent"] == pytest.approx(-(0.5**2 - 0.2**2) / 2, abs=1e-12)


def test_the_truth_of_a_yes_or_no_in_a_crossover():
    study = ks.parse_study(PEOPLE)
    row = study.true_values().iloc[0]
    assert row["natural"] == pytest.approx(0.3, abs=1e-12)
    expected = np.mean([typical(b + 0.3, 1.0) - typical(b, 1.0) for b in (0.3, 0.35)])
    assert row["latent"] == pytest.approx(expected, abs=1e-9)


def test_a_scale_says_the_units_of_its_true_values(mice):
    assert units(mice.outcome("failures").scale) == ("log odds", "proportion")
    assert units(mice.outcome("spines").scale) == ("log", "spines per branch")
    assert units(mice.outcome("dopamine").scale) == ("log", "%")
    assert units(ks.load_study("jelen2025").outcome("madrs").scale) == ("points", "points")


def test_a_panel_of_regions_has_its_sparse_effects_where_they_are_declared():
    names = [f"region{i}" for i in range(60)]
    levels = ", ".join(f'"{n}"' for n in names)
    text = MICE[: MICE.index("[outcomes.failures]")]
    text = text.replace('["before", "shocked", "treated"]', f"[{levels}]")
    text += """
[outcomes.cells]
scale = { kind = "count", overdispersion = 0.05 }
baseline = 20
effects = [
  { when = { phase = ["region3", "region7"], drug = "ketamine" }, add = 8 },
  { when = { phase = "region20" }, add = 10 },
]
spread = { subject = 0.2 }
"""
    for n in names:
        text += f'[estimands.{n}]\noutcome = "cells"\n'
        text += f'contrast = {{ drug = "ketamine - saline" }}\nwithin = {{ phase = "{n}" }}\n'
    truth = ks.parse_study(text).true_values()
    assert truth["natural"].round(12).tolist() == [8.0 if i in (3, 7) else 0.0 for i in range(60)]


# declaration


def test_scales_carry_what_is_declared(mice):
    failures = mice.outcome("failures").scale
    assert isinstance(failures, BinomialScale)
    assert failures.trials == Amount(30.0)
    assert failures.overdispersion.levels == (("before", 0.04), ("shocked", 0.2), ("treated", 0.2))
    assert (failures.min, failures.max, failures.decimals) == (0, 30, 0)
    spines = mice.outcome("spines").scale
    assert isinstance(spines, CountScale)
    assert spines.exposure.by == "phase"
    assert mice.outcome("preference").scale.decimals == 4


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("trials = 30", "trials = 31"),
        ("before = 0.04", "before = 0.05"),
        ("before = 2.0", "before = 3.0"),
        ("precision = 20", "precision = 21"),
        ("ar1 = 0.5", "ar1 = 0.4"),
        ("subject = -0.6", "subject = -0.5"),
    ],
)
def test_the_hash_covers_the_parameters_of_a_scale(mice, old, new):
    assert old in MICE
    assert ks.parse_study(MICE.replace(old, new)).hash != mice.hash
    assert ks.parse_study(MICE).hash == mice.hash


def test_parameters_are_described_with_their_scale_and_source(mice):
    rows = {(o, p): (v, s) for o, p, v, s in parameters(mice)}
    value, source = rows["failures", "overdispersion"]
    assert value == "intraclass correlation before 0.04, shocked 0.2, treated 0.2"
    assert (source.kind, source.note) == ("derived", "the variance of failures between mice")
    assert rows["failures", "scale"][0] == (
        "number out of 30 trials; true values as proportion and differences of log odds"
    )
    assert rows["failures", "SD: subject"][0] == "0.5 on the logit scale"
    assert rows["spines", "exposure"][0] == "before 2, shocked 1, treated 1"
    assert rows["spines", "SD: subject"][0] == "F 0.2, M 0.5 on the log scale"
    assert rows["preference", "precision"][0] == "20"
    assert rows["dopamine", "linked"][0] == "correlation with failures: subject -0.6"
    assert rows["dopamine", "SD: residual"][0] == (
        "0.15 on the log scale, serial correlation 0.5 from one level to the next of phase"
    )


# what is refused


def refused(text: str, old: str, new: str) -> StudyError:
    assert text.count(old) >= 1, old
    with pytest.raises(StudyError) as caught:
        ks.parse_study(text.replace(old, new, 1), where="trial.toml")
    return caught.value


FAILURES, SPINES, PREFERENCE, DOPAMINE, SLEEP, MOOD, RESPONSE = (
    f"outcomes.{name}"
    for name in ("failures", "spines", "preference", "dopamine", "sleep", "mood", "response")
)
RHO = 'overdispersion = { by = "phase", before = 0.04, shocked = 0.2, treated = 0.2 }'


@pytest.mark.parametrize(
    ("old", "new", "key", "says", "mend"),
    [
        ("trials = 30, ", "", f"{FAILURES}.scale.trials", "trials is missing", "1 or more"),
        ("trials = 30", "trials = 0", f"{FAILURES}.scale.trials", "greater than 0", "above 0"),
        ("trials = 30", "trials = 2.5", f"{FAILURES}.scale.trials", "integer", "whole number"),
        (
            "trials = 30",
            'trials = { by = "phase", before = 30, shocked = 2.5, treated = 30 }',
            f"{FAILURES}.scale.trials",
            "2.5 at shocked is not a whole number of trials",
            "1 or more",
        ),
        (
            "trials = 30",
            'trials = { by = "phase", before = 30, shocked = 30 }',
            f"{FAILURES}.scale.trials",
            "needs a number for level 'treated'",
            "set treated = ",
        ),
        (
            "trials = 30",
            'trials = { by = "phse", before = 30 }',
            f"{FAILURES}.scale.trials.by",
            "'phse' is not a factor",
            "did you mean 'phase'",
        ),
        (
            "trials = 30",
            'trials = { by = "phase", befor = 30 }',
            f"{FAILURES}.scale.trials",
            "'befor' is not a level",
            "did you mean 'before'",
        ),
        (
            "trials = 30",
            "trials = { before = 30 }",
            f"{FAILURES}.scale.trials",
            "the factor whose levels have trials of their own is missing",
            'by = "phase"',
        ),
        ("trials = 30", "trials = 1", f"{FAILURES}.scale.overdispersion", "single trials", "more"),
        ("trials = 30", "trials = 1001", f"{FAILURES}.scale.trials", "at most 1000", "fewer"),
        (
            "shocked = 0.2",
            "shocked = 1.0",
            f"{FAILURES}.scale.overdispersion",
            "1.0 at shocked is not an intraclass correlation",
            "below 1",
        ),
        (
            RHO,
            "overdispersion = -0.1",
            f"{FAILURES}.scale.overdispersion",
            "-0.1 is not an intraclass correlation",
            "0 or more and below 1",
        ),
        (
            RHO,
            "overdispersion = nan",
            f"{FAILURES}.scale.overdispersion",
            "finite",
            "finite",
        ),
        (
            "overdispersion = 0.3",
            "overdispersion = -1.0",
            f"{SPINES}.scale.overdispersion",
            "-1.0 is not 0 or more",
            "0 or more",
        ),
        ("before = 2.0", "before = 0.0", f"{SPINES}.scale.exposure", "above 0", "above 0"),
        ("precision = 20", "precision = 0", f"{PREFERENCE}.scale.precision", "above 0", "above"),
        (
            ", precision = 20",
            "",
            f"{PREFERENCE}.scale.precision",
            "precision is missing",
            "above 0",
        ),
        (
            "precision = 20",
            "precision = 20, decimals = 0",
            f"{PREFERENCE}.scale.decimals",
            "hardly ever",
            "2 or more",
        ),
        (
            "precision = 20",
            "precision = 20, max = 1.0",
            f"{PREFERENCE}.scale.max",
            "a proportion scale has no max",
            "precision, decimals",
        ),
        (
            'kind = "ratio"',
            'kind = "ratio", trials = 3',
            f"{DOPAMINE}.scale.trials",
            "a ratio scale has no trials",
            "leave it out",
        ),
        (
            'kind = "ratio", decimals = 1',
            'kind = "integer", exposure = 3',
            f"{DOPAMINE}.scale.exposure",
            "an integer scale has no exposure",
            "min, max",
        ),
        ('kind = "ratio"', 'kind = "ratios"', f"{DOPAMINE}.scale.kind", "'ratios'", "'ratio'"),
        # means outside the range
        (
            "add = 0.72",
            "add = 1.2",
            f"{FAILURES}.effects",
            r"^the mean at drug = saline, phase = shocked, sex = F is 1\.22, not a probability",
            "every cell",
        ),
        ("baseline = 0.02", "baseline = 74", f"{FAILURES}.effects", "is 74, not", "0.74, not 74"),
        ("add = 5.0", "add = -6.0", f"{SPINES}.effects", "is 0, not a count above 0", "cell"),
        ("baseline = 100", "baseline = 0", f"{DOPAMINE}.effects", "not a ratio above 0", "cell"),
        (
            "baseline = 0.3\neffects = [{ when = { treatment = \"drug\" }, add = 0.3 }, "
            "{ when = { period = \"2\" }, add = 0.05 }]",
            "baseline = 30.0",
            f"{RESPONSE}.baseline",
            r"^the mean is 30, not a probability between 0 and 1$",
            "0.74, not 74",
        ),
        # spread
        (
            "{ subject = 0.5, ",
            "{ subject = 12.0, ",
            f"{FAILURES}.spread",
            "12 on the logit scale",
            "not in outcome units; together at most 5",
        ),
        (
            "spread = { subject = 0.4 }",
            "spread = { subject = 0.4, residual = 0.1 }",
            f"{PREFERENCE}.spread.residual",
            "a proportion outcome has no residual SD",
            r"scale\.precision",
        ),
        (
            "cage = 0.3 }",
            "residual = 0.3 }",
            f"{FAILURES}.spread.residual",
            "a binomial outcome has no residual SD",
            r"scale\.overdispersion",
        ),
        (
            ', residual = { sd = 0.15, ar1 = 0.5, over = "phase" }',
            "",
            f"{DOPAMINE}.spread",
            "the residual SD is missing",
            r"residual = 0\.1",
        ),
        # serial correlation
        ("ar1 = 0.5", "ar1 = 1.0", f"{DOPAMINE}.spread.residual.ar1", "less than 1", "below 1"),
        (
            "ar1 = 0.5, ",
            "",
            f"{DOPAMINE}.spread.residual",
            "the size of the serial correlation is missing",
            "ar1 = ",
        ),
        (
            'over = "phase"',
            'over = "phas"',
            f"{DOPAMINE}.spread.residual.over",
            "'phas' is not a factor measured repeatedly",
            "'phase'",
        ),
        (
            ', over = "phase"',
            "",
            f"{DOPAMINE}.spread.residual.over",
            "'' is not a factor measured repeatedly",
            "'phase'",
        ),
        (
            'over = "phase"',
            'over = "phase", spaced = true',
            f"{DOPAMINE}.spread.residual.spaced",
            "the days of phase do not rise",
            "its day",
        ),
        (
            "spread = { subject = 0.2,",
            'spread = { subject = { sd = 0.2, ar1 = 0.5, over = "phase" },',
            f"{DOPAMINE}.spread.subject.ar1",
            "that of the residual, not of subject",
            "residual = ",
        ),
        (
            "ar1 = 0.6, over",
            "ar1 = -0.6, over",
            f"{MOOD}.spread.residual.ar1",
            "no power for uneven steps",
            "0 or more",
        ),
        # links
        (
            'with = "failures"',
            'with = "failure"',
            f"{DOPAMINE}.linked.with",
            "no outcome 'failure' is declared above",
            "did you mean 'failures'",
        ),
        (
            'with = "failures"',
            'with = "dopamine"',
            f"{DOPAMINE}.linked.with",
            "no outcome 'dopamine' is declared above",
            "failures",
        ),
        ('with = "failures", subject = -0.6', 'with = "failures"', f"{DOPAMINE}.linked",
         "no correlation is given", "subject = "),
        (
            "subject = -0.6",
            "subject = -1.6",
            f"{DOPAMINE}.linked.subject",
            "-1.6 is not a correlation",
            "from -1 to 1",
        ),
        (
            "subject = -0.6",
            "sex = 0.6",
            f"{DOPAMINE}.linked",
            "'sex' is not a component of its spread that subjects own",
            "subject",
        ),
        (
            'linked = { with = "mood", subject = -0.5',
            'times = { a = 0, b = 1 }\nlinked = { with = "mood", subject = -0.5',
            f"{SLEEP}.linked.subject:time",
            "time has other levels in mood",
            "share",
        ),
        (
            "subject = 10,",
            '"subject:period" = 2,',
            f"{SLEEP}.linked",
            "'subject' is not a component of its spread",
            "subject:time",
        ),
        (
            'spread = { subject = 4, "subject:time"',
            'spread = { "subject:time"',
            f"{SLEEP}.linked",
            "'subject' is not a component of the spread of mood",
            "subject:time",
        ),
        # what a link leaves undefined
        (
            "missing = { at_random = 0.05 }",
            "carry_over = { amounts = { drug = 0.1 } }",
            f"{RESPONSE}.carry_over",
            "a carry-over is not defined for a binomial outcome",
            "kind integer or real",
        ),
        (
            "missing = { at_random = 0.05 }",
            "entry = { at_least = 1.0 }",
            f"{RESPONSE}.entry",
            "an entry threshold is not defined for a binomial outcome",
            "leave it out",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(old, new, key, says, mend):
    error = refused(MICE if old in MICE else PEOPLE, old, new)
    line = str(error)
    assert "\n" not in line
    assert line.startswith(f"trial.toml: {key}: "), line
    assert re.search(says, error.message), error.message
    assert re.search(mend, error.mend), error.mend


def test_a_truth_changed_beyond_its_range_is_refused_when_it_is_used(mice):
    failures = replace(mice.outcome("failures"), baseline=0.5)
    study = replace(mice, outcomes=(failures,), estimands=(mice.estimand("rescue"),))
    with pytest.raises(StudyError, match="a mean of failures is not a probability"):
        study.true_values()
    with pytest.raises(StudyError, match="a mean of failures is not a probability"):
        study.simulate(seed=1)
