import numpy as np
import pandas as pd
import pytest

from ketastats.bayesian.design import covariate_parts, prior_lines, standard_design
from ketastats.bayesian.mcmc import model_inputs
from ketastats.bayesian.priors import choose_priors
from ketastats.core.errors import FormulaError
from ketastats.problem.build import build_problem
from ketastats.problem.questions import as_estimands, ask
from ketastats.study.priors import Prior

GIVEN = {"effects": "normal(0, 3)", "intercept": "normal(1, 20)", "sd": "half-normal(2)"}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(1)
    n = 60
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "g": np.repeat(np.arange(12), 5),
            "arm": np.tile(["a", "b", "c"], 20),
            "sex": np.repeat(["F", "M"], 30),
            "age": rng.normal(50, 8, n),
            "dose": np.tile([0.0, 1.0, 2.0, 4.0, 8.0], 12),
        }
    )


def standard(formula, table):
    problem = build_problem(formula, table, coding="difference")
    return problem, standard_design(problem, table)


def test_columns_of_factors_only_are_left_alone(table):
    problem, design = standard("y ~ arm*sex + (1|g)", table)
    np.testing.assert_allclose(design.x, problem.x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(design.back, np.eye(6), rtol=0, atol=1e-12)
    assert (design.covariates, design.intercept) == ((), 0)
    assert design.z_scale.tolist() == [1.0]


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ arm*age",
        "y ~ arm*age*dose",
        "y ~ sex + log(age)",
        "y ~ sex*poly(dose, 2)",
        "y ~ 0 + age",
    ],
)
def test_standard_columns_are_the_same_model(table, formula):
    problem, design = standard(formula, table)
    delta = np.random.default_rng(2).normal(size=design.x.shape[1])
    expected = design.x @ delta
    # a change of basis: what is lost are the last digits of a covariate with mean 50
    np.testing.assert_allclose(problem.x @ (design.back @ delta), expected, rtol=0, atol=1e-9)


def test_a_covariate_is_centred_and_divided_by_its_sd(table):
    problem, design = standard("y ~ sex*age", table)
    sd = table["age"].std()
    code = problem.x[:, problem.names.index("sex[1]")]
    age = (table["age"] - table["age"].mean()) / sd
    np.testing.assert_allclose(design.x[:, problem.names.index("age")], age, atol=1e-12)
    np.testing.assert_allclose(
        design.x[:, problem.names.index("sex[1]:age")], code * age, atol=1e-12
    )
    assert dict(design.covariates) == pytest.approx({"age": sd, "sex[1]:age": sd})


def test_the_priors_of_covariates_and_slopes_are_printed(table):
    problem, design = standard("y ~ sex + age + (1|g) + (0+dose|g)", table)
    lines = dict(
        prior_lines(design, problem, Prior("normal", (0.0, 3.0)), Prior("half-t", (3, 2.0)))
    )
    age, dose = table["age"].std(), table["dose"].std()
    assert lines == {
        "age": f"normal(0, {3 / age:.4g}): that of the effects / {age:.4g}, the SD of the "
        "covariate, which is centred",
        "sd g dose": f"half-t(3, {2 / dose:.4g}): that of the SDs / {dose:.4g}, the SD of the "
        "covariate",
    }
    np.testing.assert_allclose(design.z[1] * dose, table["dose"])


def test_without_an_intercept_nothing_is_centred(table):
    problem, design = standard("y ~ 0 + age", table)
    np.testing.assert_allclose(design.x[:, 0], table["age"] / table["age"].std())
    assert (design.intercept, design.centred) == (-1, False)
    assert (
        "centred"
        not in prior_lines(design, problem, Prior("normal", (0, 1)), Prior("x", (1,)))[0][1]
    )


@pytest.mark.parametrize(
    "fixed", ["0 + arm", "arm - 1", "0 + sex*arm", "0 + arm + age", "arm:sex", "arm + arm:age"]
)
def test_a_fixed_part_without_an_intercept_or_main_effect_it_contains_is_refused(table, fixed):
    with pytest.raises(FormulaError, match="leaves out an intercept or a main effect"):
        standard(f"y ~ {fixed} + (1|g)", table)


@pytest.mark.parametrize("fixed", ["arm*sex", "arm + sex", "arm*age", "0 + age", "age:dose", "1"])
def test_the_model_has_as_many_coefficients_as_in_treatment_coding(table, fixed):
    _, design = standard(f"y ~ {fixed}", table)
    other = build_problem(f"y ~ {fixed}", table, coding="treatment")
    assert np.linalg.matrix_rank(np.hstack([design.x, other.x])) == len(other.names)
    assert design.x.shape[1] == len(other.names)


@pytest.mark.parametrize(
    "term, mend",
    [
        ("(1+dose|g)", r"\(1\|g\) \+ \(0\+dose\|g\)"),
        ("(dose|g)", r"\(1\|g\) \+ \(0\+dose\|g\)"),
        ("(1+arm|g)", r"\(1\|g\) \+ \(1\|g:arm\)"),
        ("(0+arm|g)", r"\(1\|g:arm\)"),
    ],
)
def test_a_correlated_term_is_refused_with_what_to_write(table, term, mend):
    with pytest.raises(FormulaError, match=f"write it as uncorrelated terms: {mend}$") as caught:
        standard(f"y ~ arm + {term}", table)
    assert term.strip("()").replace("|", " | ").replace("+", " + ") in str(caught.value)


def test_covariate_parts_tells_factors_from_covariates():
    assert covariate_parts("Intercept", ["sex"]) == ()
    assert covariate_parts("sex[1]:arm[2]", ["sex", "arm"]) == ()
    assert covariate_parts("sex[1]:sexual_age:log(dose)", ["sex"]) == ("sexual_age", "log(dose)")


def prior_of(formula, table, contrast):
    """Return mean and SD of a contrast under the prior."""
    problem, design = standard(formula, table)
    inputs = model_inputs(problem, design, choose_priors(GIVEN, problem.y, "y", None, None))
    rows = ask(problem, as_estimands(problem, contrast)).rows
    row = rows[0] @ design.back
    return row @ inputs.location, np.sqrt(row**2 @ inputs.scale**2)


@pytest.mark.parametrize("levels", [("a", "b", "c"), ("c", "a", "b"), ("b", "c", "a")])
@pytest.mark.parametrize(
    "contrast",
    [{"arm": "b - a"}, {"arm": "c - b"}, {"sex": "M - F"}, {"arm": "c - a", "sex": "M - F"}],
)
def test_every_difference_has_the_prior_of_the_effects_whatever_the_reference(
    table, levels, contrast
):
    ordered = table.assign(arm=pd.Categorical(table["arm"], categories=levels))
    for formula in ("y ~ arm*sex + (1|g)", "y ~ arm*sex*age"):
        # exact algebra: only rounding is left
        assert prior_of(formula, ordered, contrast) == pytest.approx((0.0, 3.0), abs=1e-9)
