"""Bayes factors against R, pingouin, closed forms, brute force, and each way against the other."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import ketastats as ks
from ketastats.bayesian.exact.evidence import bayes_factor, compare_evidence, words_of
from ketastats.core.errors import DataError, NotEstimable, StudyError
from ketastats.study.model import Estimand
from tests.bayesian import dense

JZS_FOLDER = Path(__file__).parents[2] / "reference" / "jzs"
JZS = json.loads((JZS_FOLDER / "answers.json").read_text(encoding="utf-8"))
TABLES = {
    name: pd.read_csv(JZS_FOLDER / f"{name}.csv", dtype={"treatment": str, "b": str})
    for name in ("sleep", "maize", "tooth", "uneven")
}

FINE = 1e-9
"""Tolerance asked for."""
STORED = 1e-7
"""R's quadrature errs by 1e-12, FINE asks for 1e-9 of one integral out of two."""
THREE_SCALES = 2e-5
"""Twice the default tolerance, for four axes: a finer one takes a million nodes."""
TAIL = 1e-6
"""Relative, of a density under the posterior's own nodes, which end where theirs is negligible; at
FINE the places tested lie within it."""
BRUTE = 1e-8
"""The oracle moves by 1e-9 when nodes are added."""
LINEAR = 1e-9
"""The same sums in another order."""
SAMPLED = 4.0
"""lmBF draws at random: its stated proportional error is one standard error."""

JEFFREYS = {"intercept": "flat", "residual": "jeffreys"}
MEAN = Estimand("mean", "y", (), (), (), "direct", "mean")
PROPER = {
    "effects": "normal(0, 2)",
    "intercept": "normal(4, 5)",
    "sd": "half-normal(2)",
    "residual": "half-normal(3)",
}


def cauchy(r):
    return f"standardised-cauchy({float(r)!r})"


def t_test(answer, tolerance=FINE):
    """The posterior of a t test, and its contrast: the later level minus the earlier."""
    table, r = TABLES[answer["data"]], answer["rscale"]
    factor = "treatment" if "treatment" in table else "a"
    first, last = sorted(table[factor].unique())
    if answer["kind"] == "one-sample":
        priors = {"intercept": cauchy(r), "residual": "jeffreys"}
        post = ks.posterior(
            "y ~ 1", table[table[factor] == last], priors=priors, tolerance=tolerance
        )
        return post, {"estimands": [MEAN]}
    priors = JEFFREYS | {"effects": cauchy(r)}
    formula = f"y ~ {factor}"
    if answer["kind"] == "paired":  # the SD of a difference is sqrt(2) residual SDs
        priors |= {"effects": cauchy(np.sqrt(2) * r), "subject": "flat"}
        formula += " + subject"
    post = ks.posterior(formula, table, priors=priors, tolerance=tolerance)
    return post, {"contrast": {factor: f"'{last}' - '{first}'"}}


# --- stored answers -------------------------------------------------------------------------------

TESTS = [pytest.param(a, id=f"{a['kind']}-{a['data']}-{a['rscale']:.2f}") for a in JZS["tests"]]


@pytest.mark.parametrize("answer", TESTS)
def test_a_jzs_t_test_equals_bayesfactor(answer):
    post, asked = t_test(answer)
    found = post.bayes_factor(**asked)
    assert found.log_bf10 == pytest.approx(answer["log_bf_quadrature"], abs=STORED)
    assert found.log_bf10 == pytest.approx(answer["log_bf"], abs=STORED + answer["error"])
    assert found.log_savage_dickey == pytest.approx(answer["log_bf_quadrature"], abs=STORED)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
@pytest.mark.parametrize("answer", TESTS)
def test_the_reported_error_bounds_that_of_a_jzs_t_test(answer, tolerance):
    post, asked = t_test(answer, tolerance)
    found = post.bayes_factor(**asked)
    assert found.log_bf10 == pytest.approx(answer["log_bf_quadrature"], abs=found.error)


@pytest.mark.parametrize("side", ["greater", "less"])
@pytest.mark.parametrize("answer", [t for t in TESTS if t.values[0]["rscale"] == 1])
def test_a_direction_equals_the_one_sided_integral(answer, side):
    """The half of the Cauchy prior on one side, by scipy: the likelihood of t given delta is a
    noncentral t."""
    post, asked = t_test(answer)
    found = post.bayes_factor(**asked)
    n = answer["n_x"]
    if answer["kind"] == "two-sample":
        n = answer["n_x"] * answer["n_y"] / (answer["n_x"] + answer["n_y"])
    df = answer["n_x"] + answer.get("n_y", 0) - 2
    df = answer["n_x"] - 1 if answer["kind"] != "two-sample" else df
    # R's t is the first minus the second
    t = answer["t"] if answer["kind"] == "one-sample" else -answer["t"]
    t = t if side == "greater" else -t

    def inside(delta):
        return 2 * stats.cauchy.pdf(delta) * stats.nct.pdf(t, df, delta * np.sqrt(n))

    total = sum(
        integrate.quad(inside, *e, epsabs=0, epsrel=1e-10)[0] for e in ((0, 1), (1, 4), (4, 12))
    )
    expected = np.log(total / stats.t.pdf(t, df))
    one = found.log_bf_positive if side == "greater" else found.log_bf_negative
    # beyond 12 there is nothing left of the likelihood of n = 5 and t < 5
    assert one == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("answer", TESTS)
def test_pingouin_has_the_same_bayes_factor(answer):
    """Its integral, unnormalised, is left to quad's absolute tolerance of 1.5e-8."""
    import pingouin

    post, asked = t_test(answer)
    theirs = pingouin.bayesfactor_ttest(
        answer["t"], answer["n_x"], answer.get("n_y"),
        paired=answer["kind"] == "paired", r=answer["rscale"],
    )  # fmt: skip
    n, t = answer["n_x"] + answer.get("n_y", 0), answer["t"]
    df = n - 2 if answer["kind"] == "two-sample" else answer["n_x"] - 1
    room = 1.5e-8 * (1 + t**2 / df) ** ((df + 1) / 2)
    bf = post.bayes_factor(**asked).bf10
    assert bf == pytest.approx(float(theirs), abs=room + STORED * bf)


def model(answer, terms, tolerance):
    """Two levels are sqrt(2) apart in BayesFactor's columns, a difference of differences 2."""
    r = dict(zip(answer["terms"], answer["rscale"], strict=True))
    priors = {t: cauchy(2 ** ((t.count(":") + 1) / 2) * r[t]) for t in terms}
    formula = "y ~ " + (" + ".join(terms) or "1")
    return ks.posterior(
        formula, TABLES[answer["data"]], priors=JEFFREYS | priors, tolerance=tolerance
    )


MODELS = [pytest.param(a, id=f"{a['data']}-{'+'.join(a['terms'])}") for a in JZS["models"]]


@pytest.mark.parametrize("answer", MODELS)
def test_effects_with_scales_of_their_own_equal_bayesfactor(answer):
    many = len(answer["terms"]) > 2
    tolerance, room = (1e-5, THREE_SCALES) if many else (FINE, STORED)
    one, none = (model(answer, t, tolerance) for t in (answer["terms"], []))
    found = compare_evidence(one, none)
    assert found.log_bf == pytest.approx(answer["log_bf_quadrature"], abs=room)
    assert found.log_bf == pytest.approx(answer["log_bf"], abs=room + SAMPLED * answer["error"])


def test_an_effect_beside_another_equals_the_ratio_of_two_stored_answers():
    """BayesFactor's a + b over b; b is stored with another scale, so that it is fitted here."""
    answer = next(a for a in JZS["models"] if a["data"] == "uneven" and len(a["terms"]) == 2)
    both, one, none = (model(answer, t, FINE) for t in (["a", "b"], ["b"], []))
    found = both.bayes_factor({"a": "a2 - a1"})
    against = compare_evidence(one, none).log_bf
    assert found.log_bf10 == pytest.approx(answer["log_bf_quadrature"] - against, abs=STORED)


# --- two ways, and brute force --------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    """Ten synthetic people, three doses and two visits, both sexes; two rows are missing."""
    rng = np.random.default_rng(3)
    rows = [
        (f"s{s}", "FM"[s % 2], dose, visit, float(time))
        for s in range(10)
        for dose in ("low", "mid", "high")
        for time, visit in enumerate(("pre", "post"))
    ]
    data = pd.DataFrame(rows, columns=["subject", "sex", "dose", "visit", "time"])
    person = rng.normal(0, 1, 10)[data["subject"].str[1:].astype(int)]
    effect = data["dose"].map({"low": 0.0, "mid": 0.6, "high": 1.1}) * data["time"]
    data["y"] = np.round(4 + person + effect + rng.normal(0, 1, len(data)), 2)
    data.loc[[4, 31], "y"] = np.nan
    return data


def contrast(name, contrast, within=()):
    return Estimand(name, "y", tuple(contrast), tuple(within), (), "direct", name)


HIGH = contrast("high", [("dose", (("high", 1.0), ("low", -1.0)))])
MID = contrast("mid", [("dose", (("mid", 1.0), ("low", -1.0)))])
VISIT = contrast("visit", [("visit", (("post", 1.0), ("pre", -1.0)))])
LATER = contrast("later", [*HIGH.contrast, *VISIT.contrast])
IN_POST = contrast("in post", HIGH.contrast, [("visit", "post")])

CASES = {
    "normal": ("dose + visit + (1|subject)", {}, [HIGH], 0.0),
    "elsewhere": ("dose + visit + (1|subject)", {}, [HIGH], 1.7),
    "jointly": ("dose + visit + (1|subject)", {}, [HIGH, MID], 0.0),
    "two values": ("dose * visit + (1|subject)", {}, [HIGH, LATER], [0.3, -0.4]),
    "flat intercept": ("dose + visit + (1|subject)", {"intercept": "flat"}, [VISIT, MID], 0.0),
    "other priors": (
        "dose + visit + (1|subject)", {"sd": "exponential(2)", "residual": "half-t(3, 2)"},
        [HIGH], 0.0,
    ),
    "flat neighbours": ("dose + visit", JEFFREYS | {"dose": "flat"}, [VISIT], 0.0),
    "of an estimand": ("dose * visit + (1|subject)", {"later": "normal(1, 0.5)"}, [LATER], 0.0),
    "beside an estimand": ("dose * visit + (1|subject)", {"later": "normal(1, 0.5)"}, [HIGH], 0.0),
    "hierarchical elsewhere": ("dose + visit", {"effects": "hierarchical(2)"}, [HIGH], 1.0),
    "hierarchical neighbours": ("dose + visit", {"dose": "hierarchical(2)"}, [VISIT], 0.0),
    "part of a scale": ("dose + visit", JEFFREYS | {"effects": cauchy(1)}, [HIGH], 0.0),
    "two parts": ("dose * visit", JEFFREYS | {"effects": "normal(0, 1)", "dose": cauchy(1),
                  "dose:visit": cauchy(0.5)}, [IN_POST], 0.0),
    "all of a scale": ("dose + visit", JEFFREYS | {"effects": cauchy(1)}, [HIGH, MID], 0.0),
    "scale and person": ("visit + (1|subject)", JEFFREYS | {"effects": cauchy(1)}, [VISIT], 0.0),
}  # fmt: skip


def fit(table, name, tolerance=1e-7, **changes):
    right, priors, estimands, at = CASES[name]
    post = ks.posterior(
        f"y ~ {right}", table, priors=PROPER | priors, tolerance=tolerance, **changes,
        estimands=[e for e in [*estimands, LATER] if e.name in priors][:1],
    )  # fmt: skip
    return post, estimands, at


@pytest.mark.parametrize("name", CASES)
def test_two_ways_agree_within_their_errors(table, name):
    post, estimands, at = fit(table, name)
    found = bayes_factor(post, estimands, at)
    assert abs(found.difference) <= max(found.error, LINEAR)
    assert found.error < 1e-6


@pytest.mark.parametrize("name", [n for n in CASES if len(CASES[n][2]) == 1])
def test_savage_dickey_from_the_posterior_s_own_mixture(table, name):
    """Prior densities here in closed form, or by scipy over the scale."""
    post, (estimand,), at = fit(table, name, FINE)
    mean, sd = post.of_rows(post.asked([estimand]).rows)
    unit, prior = np.ones(len(mean)), dict(post.priors)
    if "cauchy" in prior["effects"] or name == "two parts":
        unit = post.nodes[:, [a.map for a in post.model.axes].index("log")]
        # a difference of two levels has the scale of one coefficient; within a level the
        # difference adds half a difference of differences, whose Cauchy scale adds likewise
        log_prior = -np.log(np.pi * (1.25 if name == "two parts" else 1.0))
    elif name == "hierarchical elsewhere":
        log_prior = np.log(
            integrate.quad(
                lambda s: stats.halfnorm.pdf(s, scale=2) * stats.norm.pdf(1.0, 0, s),
                1e-3, 40, epsabs=0, epsrel=1e-10, limit=200,
            )[0]
        )  # fmt: skip
    elif name == "of an estimand":
        log_prior = stats.norm.logpdf(0, 1, 0.5)
    else:
        log_prior = stats.norm.logpdf(at, 0, 2)
    density = post.weight @ (unit * stats.norm.pdf(at, mean[:, 0], sd[:, 0]))
    found = bayes_factor(post, [estimand], at)
    # N(1; 0, sd) has no power series at sd = 0: nodes that serve the posterior are coarse for it
    room = 1e-3 if name == "hierarchical elsewhere" else TAIL
    assert found.log_bf10 == pytest.approx(log_prior - np.log(density), abs=room)


def brute(y, x, z, m, precision):
    priors = [("half-normal", 2.0), ("half-normal", 3.0)]
    found = dense.dense_posterior(
        y, x, [z], priors, m=m, precision=precision, scale=1.0, nodes=14,
        panels=[(0, 0.3, 0.7, 1, 1.5, 3, 10), (0.4, 0.7, 1, 1.5, 3)],
    )  # fmt: skip
    return found.log_marginal_likelihood


@pytest.mark.parametrize("at", [0.0, 1.7])
def test_a_point_null_equals_two_dense_integrals(table, at):
    """The null by hand: high = low + at in cell coordinates, conditioned as a normal."""
    post, estimands, _ = fit(table, "normal", FINE)
    known = table.dropna()
    dose = pd.get_dummies(known["dose"])[["low", "mid", "high"]].to_numpy(float)
    visit = np.where(known["visit"] == "post", 0.5, -0.5)
    z = pd.get_dummies(known["subject"]).to_numpy(float)
    y = known["y"].to_numpy()
    # coefficients: three cell means and the visit; any two doses differ by N(0, 2²) a priori
    x = np.column_stack([dose, visit])
    m = np.array([4.0, 4.0, 4.0, 0.0])
    centred = np.eye(3) - 1 / 3
    covariance = np.zeros((4, 4))
    covariance[:3, :3] = 25 + 2.0**2 / 2 * centred
    covariance[3, 3] = 4.0
    c = np.array([-1.0, 0.0, 1.0, 0.0])
    gain = covariance @ c / (c @ covariance @ c)
    held_m = m + gain * (at - c @ m)
    held = covariance - np.outer(gain, c @ covariance)
    # low, mid and visit determine high: x becomes that of three coefficients and an offset
    keep, t = [0, 1, 3], np.array([[1.0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    offset = x @ np.array([0, 0, at, 0])
    null = brute(y - offset, x @ t, z, held_m[keep], np.linalg.inv(held[np.ix_(keep, keep)]))
    full = brute(y, x, z, m, np.linalg.inv(covariance))
    found = bayes_factor(post, estimands, at)
    assert found.log_bf10 == pytest.approx(full - null, abs=BRUTE)


@pytest.mark.parametrize("name, without", [
    ("all of a scale", "visit"), ("scale and person", "(1|subject)"),
    ("jointly", "visit + (1|subject)"), ("flat neighbours", "dose"),
    ("hierarchical neighbours", "dose"),
])  # fmt: skip
def test_a_whole_term_is_tested_against_the_model_without_it(table, name, without):
    post, estimands, _ = fit(table, name, FINE)
    priors = {k: v for k, v in (PROPER | CASES[name][1]).items() if k != "visit"}
    other = ks.posterior(f"y ~ {without}", table, priors=priors, tolerance=FINE)
    found, against = bayes_factor(post, estimands), compare_evidence(post, other)
    assert found.log_bf10 == pytest.approx(against.log_bf, abs=1e-8)  # FINE, four integrals
    assert compare_evidence(other, post).log_bf == -against.log_bf


def test_a_value_is_a_shift_of_the_outcome(table):
    """high = 1.7 in y is high = 0 in y without 1.7 for the high dose, with the prior moved."""
    priors = PROPER | {"high": "normal(0.5, 2)"}
    formula = "y ~ dose + visit + (1|subject)"
    post = ks.posterior(formula, table, priors=priors, estimands=[HIGH], tolerance=FINE)
    moved = table.assign(y=table["y"] - 1.7 * (table["dose"] == "high"))
    # the mean over doses falls by 1.7 / 3, mid against the mean of the others rises by 1.7 / 2
    rest = contrast("rest", [("dose", (("mid", 1.0), ("low", -0.5), ("high", -0.5)))])
    priors |= {"intercept": f"normal({4 - 1.7 / 3!r}, 5)", "high": "normal(-1.2, 2)",
               "rest": f"normal(0.85, {float(np.sqrt(3))!r})"}  # fmt: skip
    other = ks.posterior(formula, moved, priors=priors, estimands=[HIGH, rest], tolerance=FINE)
    one, two = bayes_factor(post, [HIGH], 1.7), bayes_factor(other, [HIGH], 0.0)
    assert one.log_bf10 == pytest.approx(two.log_bf10, abs=1e-8)
    assert one.log_bf_positive == pytest.approx(two.log_bf_positive, abs=1e-8)


def test_far_out_two_ways_still_agree(table):
    """20 SDs: the posterior's nodes say nothing of the density there, new ones are sought."""
    far = table.assign(y=table["y"] + 40 * (table["visit"] == "post"))
    post = ks.posterior(
        "y ~ visit + (1|subject)", far, priors=PROPER | {"effects": "normal(0, 20)"}
    )
    found = post.bayes_factor({"visit": "post - pre"})
    assert found.log_bf10 > 60
    assert abs(found.difference) <= found.error
    assert found.bf10 == pytest.approx(np.exp(found.log_bf10))
    assert "10^" in found.words and "extreme" in found.words


# --- directions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["normal", "elsewhere", "of an estimand", "part of a scale"])
def test_both_directions_average_to_the_two_sided_factor(table, name):
    """With the prior probability of each; that of the estimand's own prior is not a half."""
    post, estimands, at = fit(table, name, FINE)
    found = bayes_factor(post, estimands, at)
    below = {"of an estimand": stats.norm.cdf(0, 1, 0.5), "elsewhere": stats.norm.cdf(1.7, 0, 2)}
    p = 1 - below.get(name, 0.5)
    both = p * np.exp(found.log_bf_positive) + (1 - p) * np.exp(found.log_bf_negative)
    assert np.log(both) == pytest.approx(found.log_bf10, abs=1e-8)
    mean, sd = post.of_rows(post.asked(estimands).rows)
    positive = post.weight @ stats.norm.sf(at, mean[:, 0], sd[:, 0])
    expected = found.log_bf10 + np.log(positive / p)
    assert found.log_bf_positive == pytest.approx(expected, abs=TAIL)


def test_several_estimands_have_no_direction(table):
    post, estimands, _ = fit(table, "jointly")
    found = bayes_factor(post, estimands)
    assert np.isnan([found.log_bf_positive, found.log_bf_negative]).all()


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bf, name", [
    (1.0, "anecdotal"), (2.9, "anecdotal"), (3.1, "moderate"), (9.9, "moderate"), (11, "strong"),
    (29, "strong"), (31, "very strong"), (99, "very strong"), (101, "extreme"), (1e20, "extreme"),
])  # fmt: skip
def test_words_name_the_category_both_ways(bf, name):
    assert f": {name} evidence for A against B" in words_of(np.log(bf), "A", "B")
    if bf > 1:
        assert f": {name} evidence for B against A" in words_of(-np.log(bf), "A", "B")


def test_a_bayes_factor_prints_with_its_priors(table):
    post, estimands, _ = fit(table, "normal")
    text = str(bayes_factor(post, estimands))
    assert "prior of effects: normal(0, 2)" in text
    assert "high = 0" in text and "Jeffreys 1961" in text
    assert "no effect" not in text


# --- refused --------------------------------------------------------------------------------------


def refuse(post, error, text, estimands=(HIGH,), at=0.0):
    with pytest.raises(error) as caught:
        bayes_factor(post, list(estimands), at)
    assert text in str(caught.value)


def test_flat_effects_have_no_bayes_factor(table):
    post = ks.posterior("y ~ dose + visit", table, priors=PROPER | {"effects": "flat"})
    refuse(post, StudyError, "priors.effects: a Bayes factor of high needs a proper prior")
    post = ks.posterior("y ~ dose + visit", table, priors=PROPER | {"dose": "flat"})
    refuse(post, StudyError, "priors.dose: a Bayes factor of high needs a proper prior")
    refuse(post, StudyError, "use normal(0, s) or standardised-cauchy(r)")
    post = ks.posterior("y ~ dose + visit", table, priors=PROPER | {"intercept": "flat"})
    refuse(post, StudyError, "priors.intercept: a Bayes factor of mean", [MEAN])


def test_effects_in_residual_sds_are_tested_at_0_only(table):
    post, estimands, _ = fit(table, "part of a scale", 1e-5)
    refuse(post, StudyError, "at: the prior of 'high' is in residual SDs", estimands, 0.5)


def test_effects_of_two_kinds_are_not_tested_in_one_sum(table):
    priors = PROPER | {"dose": cauchy(1)}
    post = ks.posterior("y ~ dose * visit", table, priors=priors)
    refuse(post, StudyError, "'in post' has effects whose prior is in residual SDs", [IN_POST])


def test_a_hierarchical_prior_is_infinite_at_0(table):
    post, estimands, _ = fit(table, "hierarchical elsewhere", 1e-5)
    refuse(post, StudyError, "priors.effects: the prior density of high is infinite", estimands)
    assert "compare_evidence" in _message(post, estimands)


def _message(post, estimands):
    with pytest.raises(StudyError) as caught:
        bayes_factor(post, estimands)
    return str(caught.value)


def test_other_questions_that_have_no_bayes_factor(table):
    post, _, _ = fit(table, "normal", 1e-5)
    other = contrast("other", [("dose", (("high", 1.0), ("mid", -1.0)))])
    refuse(post, DataError, "high, mid, other determine each other", [HIGH, MID, other])
    refuse(post, DataError, "at = [1, 2] is not one number", [HIGH], [1, 2])
    refuse(post, DataError, "at = nan", [HIGH], np.nan)
    refuse(post, DataError, "at = zero", [HIGH], "zero")
    refuse(post, DataError, "for 0 estimands", [])
    refuse(post, NotEstimable, "the data cannot answer 'later'", [LATER])
    rectangles = replace(post.quadrature.rectangles, found=np.zeros(1, dtype=bool))
    failed = replace(post, quadrature=replace(post.quadrature, rectangles=rectangles))
    refuse(failed, DataError, "there is no Bayes factor")


def compared(a, b, error, text):
    with pytest.raises(error) as caught:
        compare_evidence(a, b)
    assert text in str(caught.value)


def test_evidences_are_compared_only_where_improper_parts_cancel(table):
    base = ks.posterior("y ~ dose + visit", table, priors=PROPER)
    one = table.drop(index=0)
    compared(base, ks.posterior("y ~ visit", one, priors=PROPER), DataError, "different outcomes")
    more = table.assign(y=table["y"] + 1)
    compared(base, ks.posterior("y ~ visit", more, priors=PROPER), DataError, "different outcomes")
    jeffreys = ks.posterior("y ~ visit", table, priors=PROPER | {"residual": "jeffreys"})
    compared(base, jeffreys, StudyError, "priors.residual: one model has a Jeffreys prior")
    flat = ks.posterior("y ~ dose + visit", table, priors=PROPER | {"dose": "flat"})
    compared(base, flat, StudyError, "different coefficients with a flat prior")
    other = ks.posterior("y ~ dose + visit", table, priors=PROPER | {"visit": "flat"})
    compared(flat, other, StudyError, "different coefficients with a flat prior")
    double = table.assign(
        dose2=1.0 * (table["dose"] == "high"), dose3=(table["dose"] == "high") * 2.0
    )
    kept = ks.posterior("y ~ dose + visit", table, priors=PROPER | {"intercept": "flat"})
    fewer = ks.posterior("y ~ dose3", double, priors=PROPER | {"intercept": "flat"})
    assert np.isfinite(compare_evidence(kept, fewer).log_bf)


# --- calibration ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_posterior_odds_are_calibrated():
    """Half of the outcomes are drawn from the null, half from the model: P(model | y) must be the
    share of those from the model, overall and where it is low or high; 3.5 standard errors."""
    rng = np.random.default_rng(8)
    rows = [(f"s{s}", v) for s in range(6) for v in ("pre", "post")] * 2
    data = pd.DataFrame(rows, columns=["subject", "visit"])
    person = data["subject"].str[1:].astype(int).to_numpy()
    x = np.where(data["visit"] == "post", 0.5, -0.5)
    p, true = np.empty(600), rng.random(600) < 0.5
    for i, effect in enumerate(true):
        sd, sigma = np.abs(rng.normal(0, 2)), np.abs(rng.normal(0, 3))
        y = rng.normal(4, 5) + effect * rng.normal(0, 2) * x
        y = y + sd * rng.normal(size=6)[person] + sigma * rng.normal(size=len(x))
        post = ks.posterior("y ~ visit + (1|subject)", data.assign(y=y), priors=PROPER,
                            tolerance=1e-3)  # fmt: skip
        p[i] = 1 / (1 + np.exp(-post.bayes_factor({"visit": "post - pre"}).log_bf10))
    for part in (p >= 0, p < 0.3, (p >= 0.3) & (p < 0.6), p >= 0.6):
        assert part.sum() > 50
        z = (p[part] - true[part]).sum() / np.sqrt((p[part] * (1 - p[part])).sum())
        assert abs(z) < 3.5
