"""What the exact posterior refuses, each with one sentence that names the place and the mend."""

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.core.errors import DataError, FormulaError, KetastatsError, NotEstimable, StudyError
from ketastats.study.model import Estimand


@pytest.fixture(scope="module")
def data():
    """Six synthetic people in two visits, twice each."""
    rng = np.random.default_rng(2)
    rows = [(f"s{s}", "FM"[s % 2], v, k) for s in range(6) for v in ("pre", "post") for k in (1, 2)]
    table = pd.DataFrame(rows, columns=["subject", "sex", "visit", "run"])
    table["site"] = [f"c{s[1]}"[:2] if s < "s3" else "c9" for s in table["subject"]]
    return table.assign(y=np.round(rng.normal(5, 1, 24), 2), dose=np.arange(24) % 5 + 0.5,
                        time=np.tile([1, 2, 3, 4], 6))  # fmt: skip


FORMULA = "y ~ visit * sex + (1|subject)"
VISIT = Estimand(
    "visit", "y", (("visit", (("post", 1.0), ("pre", -1.0))),), (), (), "direct", "visit"
)
REVERSE = Estimand(
    "reverse", "y", (("visit", (("pre", 1.0), ("post", -1.0))),), (), (), "direct", "reverse"
)
ABSENT = Estimand("arm", "y", (("arm", (("a", 1.0), ("b", -1.0))),), (), (), "direct", "arm")


def refuse(error, *parts):
    """Return a context that checks type and sentence: its parts in order, and one sentence only."""
    return _Refusal(error, parts)


class _Refusal:
    def __init__(self, error, parts):
        self.parts, self.inside = parts, pytest.raises(error)

    def __enter__(self):
        self.caught = self.inside.__enter__()

    def __exit__(self, *found):
        out = self.inside.__exit__(*found)
        assert self.caught.type in (DataError, FormulaError, NotEstimable, StudyError)
        assert isinstance(self.caught.value, KetastatsError) and self.caught.value.mend
        text = str(self.caught.value)
        at = [text.find(p) for p in self.parts]
        assert -1 not in at and at == sorted(at), text
        assert "\n" not in text and "Traceback" not in text
        return out


# --- priors as text -------------------------------------------------------------------------------


@pytest.mark.parametrize("role, text, what", [
    ("effects", "normal(0, 0)", "a scale that is not positive"),
    ("effects", "normal(0, -2)", "a scale that is not positive"),
    ("sd", "half-normal(-1)", "a scale that is not positive"),
    ("sd", "half-t(0, 1)", "a scale that is not positive"),
    ("residual", "exponential(0)", "a scale that is not positive"),
    ("effects", "standardised-cauchy(0)", "a scale that is not positive"),
    ("effects", "hierarchical(-1)", "a scale that is not positive"),
    ("correlation", "lkj(0)", "a scale that is not positive"),
    ("effects", "normal(0, 1e999)", "a number that is too large"),
    ("intercept", "normal(1e999, 1)", "a number that is too large"),
    ("effects", "normal(0)", "normal takes 2 numbers"),
    ("effects", "flat(1)", "flat takes 0 numbers"),
    ("effects", "cauchy(1)", "cannot read the prior 'cauchy(1)'"),
    ("effects", "normal(0, nan)", "cannot read the prior"),
    ("effects", "normal(0, 1e)", "cannot read the prior"),
    ("effects", "", "cannot read the prior ''"),
    ("sd", "normal(0, 1)", "cannot read the prior"),
    ("sd", "jeffreys", "cannot read the prior"),
    ("sd", "flat", "cannot read the prior"),
    ("residual", "flat", "cannot read the prior"),
    ("intercept", "hierarchical(1)", "cannot read the prior"),
    ("visit", "half-normal(1)", "cannot read the prior"),
])  # fmt: skip
def test_a_prior_that_cannot_be_used(data, role, text, what):
    with refuse(StudyError, f"priors.{role}: ", what, "use one of "):
        ks.posterior(FORMULA, data, priors={role: text})


@pytest.mark.parametrize("priors", [{"effects": 2.0}, {"sd": None}, {3: "normal(0, 1)"}])
def test_a_prior_that_is_no_text(data, priors):
    with refuse(StudyError, "priors.", "is not a text", 'write "normal(0, 10)"'):
        ks.posterior(FORMULA, data, priors=priors)


def test_priors_that_are_no_mapping(data):
    with refuse(StudyError, "priors is 'normal(0, 1)', not a mapping", "write {"):
        ks.posterior(FORMULA, data, priors="normal(0, 1)")


@pytest.mark.parametrize("role, near", [
    ("effect", "effects"), ("residuals", "residual"), ("visits", "visit"), ("Sd", "sd"),
    ("visit:sax", "visit:sex"),
])  # fmt: skip
def test_an_unknown_role_gets_a_suggestion(data, role, near):
    with refuse(StudyError, f"priors: there is no prior for {role!r}", near):
        ks.posterior(FORMULA, data, priors={role: "normal(0, 1)"})


def test_effects_have_no_direction_before_the_data(data):
    """The sign of an effect depends on the order of the levels; an estimand has a direction."""
    with refuse(StudyError, "priors.effects: ", "write normal(0, s)"):
        ks.posterior(FORMULA, data, priors={"effects": "normal(1, 2)"})


# --- improper posteriors --------------------------------------------------------------------------


def test_jeffreys_with_effects_that_fit_every_row_is_improper(data):
    few = data.iloc[:4].assign(subject=["a", "a", "b", "c"])
    with refuse(DataError, "priors.residual: the posterior is improper", "half-normal"):
        ks.posterior("y ~ dose + (1|subject)", few, priors={"residual": "jeffreys"}, typical_sd=1)


def test_jeffreys_is_for_one_residual_sd(data):
    with refuse(StudyError, "priors.residual: a Jeffreys prior is for one residual SD", "use half"):
        ks.posterior("y ~ visit", data, priors={"residual": "jeffreys"}, residual="by sex")


def test_standardised_effects_need_one_residual_sd(data):
    with refuse(StudyError, "priors.visit: effects in residual SDs need one residual SD"):
        ks.posterior(
            "y ~ visit", data, priors={"effects": "standardised-cauchy(1)"}, residual="by sex"
        )


# --- models for the sampler -----------------------------------------------------------------------


def test_more_components_than_the_grid_takes_are_for_the_sampler(data):
    with refuse(FormulaError, "random terms: 5 components", "takes 4", "use ks.mcmc"):
        ks.posterior(
            "y ~ visit + (1|subject) + (1|site) + (1|subject:visit) + (1|site:visit)", data
        )
    with refuse(FormulaError, "random terms: ", "takes 4", "use ks.mcmc"):
        ks.posterior("y ~ visit + (1 + dose + run|subject)", data)
    priors = {"effects": "standardised-cauchy(1)"}
    with refuse(FormulaError, "random terms: 5 components", "scales of priors", "use ks.mcmc"):
        ks.posterior("y ~ visit * sex + (1|subject)", data, priors=priors)


@pytest.mark.parametrize("residual", ["ar1(time | subject)", "un(time | subject)"])
def test_other_residual_structures_are_for_the_sampler(data, residual):
    with refuse(FormulaError, "residual: the residual structure", "use ks.mcmc"):
        ks.posterior("y ~ visit", data, residual=residual)


@pytest.mark.parametrize("priors, role", [
    ({"effects": "flat"}, "effects"), ({"effects": "standardised-cauchy(1)"}, "effects"),
    ({"effects": "hierarchical(1)"}, "effects"), ({"intercept": "flat"}, "intercept"),
])  # fmt: skip
def test_the_sampler_refuses_what_only_the_grid_takes(data, priors, role):
    with refuse(StudyError, f"priors.{role}: the sampler has no prior", "use ks.posterior"):
        ks.mcmc(FORMULA, data, priors=priors)


def test_the_sampler_has_no_residual_prior_of_its_own(data):
    with refuse(StudyError, "priors: there is no prior for 'residual'"):
        ks.mcmc(FORMULA, data, priors={"residual": "jeffreys"})


# --- data -----------------------------------------------------------------------------------------


def test_a_formula_without_outcome(data):
    with refuse(DataError, "the formula names no outcome", 'write "y ~ ..." or pass outcome='):
        ks.posterior("visit + (1|subject)", data)


def test_unknown_columns_and_levels(data):
    with pytest.raises(KetastatsError, match="visits"):
        ks.posterior("y ~ visits", data)
    post = ks.posterior("y ~ visit", data)
    with refuse(NotEstimable, "the model has no factor 'visits'", "visit"):
        post.contrast({"visits": "post - pre"})
    with refuse(NotEstimable, "no contrast is given", "such as"):
        post.contrast()


def test_rows_that_miss_a_predictor_are_left_out_with_a_note(data):
    gone = data.assign(dose=data["dose"].where(data.index != 4))
    post = ks.posterior("y ~ visit + dose", gone)
    assert len(post.problem.y) == 23
    assert any("1 row" in n for n in post.warnings)


def test_a_constant_outcome(data):
    """Its likelihood has no upper end as the residual SD goes to 0."""
    with pytest.raises(KetastatsError) as caught:
        ks.posterior(FORMULA, data.assign(y=5.0), typical_sd=1)
    assert "constant (5)" in str(caught.value) and caught.value.mend


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_outcomes(data, value):
    infinite = data["y"].where(data.index != 3, value)
    with pytest.raises(KetastatsError, match="infinite"):
        ks.posterior(FORMULA, data.assign(y=infinite))
    with refuse(DataError, "y: y has infinite values", "set them to NaN"):
        ks.posterior_many("visit", data, infinite.to_numpy()[None])


@pytest.mark.parametrize("y", [np.zeros((2, 23)), np.zeros(23), np.zeros((24, 1))])
def test_outcomes_of_another_shape(data, y):
    with refuse(DataError, f"y: y has {np.atleast_2d(y).shape[1]} columns and the data 24 rows"):
        ks.posterior_many("visit", data, y)


def test_outcomes_in_three_dimensions(data):
    with refuse(DataError, "y: y has 3 dimensions", "one row per outcome"):
        ks.posterior_many("visit", data, np.zeros((1, 24, 2)))


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 95, np.nan])
def test_levels_outside_0_and_1(data, level):
    with refuse(DataError, f"level = {level} is not between 0 and 1", "use 0.95"):
        ks.posterior("y ~ visit", data, level=level)
    with refuse(DataError, f"level = {level} is not between 0 and 1", "use 0.95"):
        ks.posterior_many("visit", data, data["y"].to_numpy(), level=level)
    post = ks.posterior("y ~ visit", data)
    with refuse(DataError, f"level = {level} is not between 0 and 1", "use 0.95"):
        post.contrast({"visit": "post - pre"}, level=level)


@pytest.mark.parametrize("tolerance", [0.0, 1e-12, 0.5, -1e-5, np.nan])
def test_tolerances_out_of_range(data, tolerance):
    with refuse(DataError, f"tolerance = {tolerance} is not between 1e-10 and 0.1", "leave it out"):
        ks.posterior("y ~ visit", data, tolerance=tolerance)
    with refuse(DataError, f"tolerance = {tolerance} is not between 1e-10 and 0.1", "leave it out"):
        ks.posterior_many("visit", data, data["y"].to_numpy(), tolerance=tolerance)


def test_a_typical_sd_that_is_not_positive(data):
    with refuse(DataError, "typical_sd = -1 is not a positive number", "leave it out"):
        ks.posterior("y ~ visit", data, typical_sd=-1)


def test_an_interval_of_no_kind(data):
    with refuse(DataError, "there is no interval 'hdi'", "equal-tailed or highest-density"):
        ks.posterior("y ~ visit", data).contrast({"visit": "post - pre"}, interval="hdi")


# --- priors of estimands --------------------------------------------------------------------------


def asked(data, priors, estimands, formula=FORMULA):
    return ks.posterior(formula, data, priors=priors, estimands=estimands)


def test_a_prior_of_a_question_without_an_answer(data):
    with refuse(StudyError, "priors.arm: there is no prior of 'arm' without an answer", "leave it"):
        asked(data, {"arm": "normal(0, 1)"}, [ABSENT])


def test_a_prior_of_a_question_that_is_not_given(data):
    with refuse(StudyError, "priors: there is no prior for 'arm'"):
        asked(data, {"arm": "normal(0, 1)"}, [])


def test_priors_that_determine_each_other(data):
    change = Estimand("change", *[getattr(VISIT, n) for n in VISIT.__slots__[1:7]])
    priors = {"change": "normal(0, 1)", "reverse": "normal(1, 1)"}
    with refuse(StudyError, "priors: the estimands change, reverse determine each other"):
        asked(data, priors, [change, REVERSE])


def test_a_prior_of_an_estimand_is_normal(data):
    change = Estimand("change", *[getattr(VISIT, n) for n in VISIT.__slots__[1:7]])
    for text in ("flat", "hierarchical(1)", "standardised-cauchy(1)"):
        with refuse(StudyError, "priors.change: ", "is not normal", "write normal(mean, sd)"):
            asked(data, {"change": text}, [change])


def test_a_prior_of_an_estimand_over_effects_with_a_scale(data):
    change = Estimand("change", *[getattr(VISIT, n) for n in VISIT.__slots__[1:7]])
    priors = {"change": "normal(0, 1)", "visit": "standardised-cauchy(1)"}
    with refuse(StudyError, "priors: an estimand with a prior of its own", "give those effects"):
        asked(data, priors, [change])


# --- answers --------------------------------------------------------------------------------------


def test_a_probability_between_values_that_are_swapped(data):
    post = ks.posterior("y ~ visit", data)
    with refuse(DataError, "above = 2 is not less than below = -2", "swap them"):
        post.probability({"visit": "post - pre"}, above=2, below=-2)


def test_shares_where_there_are_none(data):
    with refuse(DataError, "residual: with a variance per group there is no one share"):
        ks.posterior("y ~ visit + (1|subject)", data, residual="by sex").shares()
    with refuse(DataError, "with the slope", "shares of variance differ between rows"):
        ks.posterior("y ~ dose + (1|subject) + (0 + dose|subject)", data).shares()
