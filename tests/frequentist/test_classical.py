"""Classical t tests of AB/BA trials against R, published figures and their own algebra."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ketastats as ks
from ketastats.core.errors import DataError, StudyError
from ketastats.frequentist.binary import binary_tests
from ketastats.frequentist.classical import first_period_only, hills_armitage, paired_t
from ketastats.frequentist.randomisation import randomisation_test
from ketastats.frequentist.ranks import rank_tests
from ketastats.frequentist.t_tests import effect_scores, effect_tests, two_sample_t
from ketastats.frequentist.two_stage import two_stage, two_stage_tests

# Grizzle 1965, Biometrics 21:467-480 (correction 1974), as printed: period 1, period 2.
GRIZZLE = {
    "AB": [(0.2, 1.0), (0.0, -0.7), (-0.8, 0.2), (0.6, 1.1), (0.3, 0.4), (1.5, 1.2)],
    "BA": [(1.3, 0.9), (-2.3, 1.0), (0.0, 0.6), (-0.8, -0.3), (-0.4, -1.0), (-2.9, 1.7),
           (-1.9, -0.3), (-2.9, 0.9)],
}  # fmt: skip
ANALYSES = {
    "hills_armitage": hills_armitage,
    "paired_t": paired_t,
    "first_period_only": first_period_only,
    "two_stage": two_stage,
    "rank_tests": rank_tests,
    "randomisation_test": randomisation_test,
}


def long(trial: dict[str, list[tuple[float, float]]]) -> pd.DataFrame:
    rows = [
        (f"{s}{k:02d}", s, p, s[p - 1], y)
        for s, people in trial.items()
        for k, pair in enumerate(people)
        for p, y in enumerate(pair, start=1)
    ]
    return pd.DataFrame(rows, columns=["subject", "sequence", "period", "treatment", "y"])


@pytest.fixture
def grizzle() -> pd.DataFrame:
    return long(GRIZZLE)


def reference(name: str) -> tuple[pd.DataFrame, dict]:
    root = os.environ.get("KETASTATS_REFERENCE_DATA")
    folder = Path(root or "") / name
    if not root or not folder.is_dir():
        pytest.skip(f"KETASTATS_REFERENCE_DATA does not name a folder with {name}")
    computed = json.loads((folder / "expected.json").read_text())["computed"]
    block = computed.get("two_sample_t") or computed["two_sample_t_completers"]
    return pd.read_csv(folder / "data.csv"), block


# ------------------------------------------------------------------ published and R figures


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        ("grizzle_1965_abba", "A - B"),
        ("chow_liu_auc_abba", "T - R"),
        ("jk_copd_pefr", "A - B"),
    ],
)
def test_reference_data(name: str, contrast: str) -> None:
    data, expected = reference(name)
    table = hills_armitage(data, "y", contrast=contrast)
    staged = two_stage(data, "y", contrast=contrast)
    rows = {
        "treatment_A_minus_B": table.loc["treatment"],
        "period_1_minus_2": table.loc["period"],
        "carryover_or_sequence_AB_minus_BA_on_subject_totals": table.loc["carry_over"],
        "period1_only_A_minus_B": first_period_only(data, "y", contrast=contrast).iloc[0],
        "ignoring_period_paired_A_minus_B": paired_t(data, "y", contrast=contrast).iloc[0],
    }
    for key, row in rows.items():
        want = expected[key]
        for column in ("estimate", "se", "df", "t", "p"):
            # the file has 13 digits
            assert row[column] == pytest.approx(want[column], rel=1e-9), (key, column)
        if "ci95" in want:
            assert [row["ci_low"], row["ci_high"]] == pytest.approx(want["ci95"], rel=1e-9)
    assert staged.loc["carry_over", "p"] == rows[
        "carryover_or_sequence_AB_minus_BA_on_subject_totals"
    ]["p"]  # fmt: skip
    assert staged.loc["first_period", "p"] == rows["period1_only_A_minus_B"]["p"]
    assert staged.loc["crossover", "p"] == table.loc["treatment", "p"]


def test_grizzle_as_published(grizzle: pd.DataFrame) -> None:
    # SAS type III F of treatment and period and their p, as printed (2 and 4 decimals)
    table = hills_armitage(grizzle, "y")
    assert table.loc["treatment", "t"] ** 2 == pytest.approx(2.86, abs=0.005)
    assert table.loc["treatment", "p"] == pytest.approx(0.1165, abs=5e-5)
    assert table.loc["period", "t"] ** 2 == pytest.approx(5.01, abs=0.005)
    assert table.loc["period", "p"] == pytest.approx(0.0449, abs=5e-5)


def test_welch_equals_r(grizzle: pd.DataFrame) -> None:
    # R 4.2.2: with h the half-differences, s the sums, y1 period 1: t.test(h[AB], h[BA]), ...
    table = hills_armitage(grizzle, "y", equal_variance=False)
    columns = ["se", "df", "p", "ci_low", "ci_high"]
    assert table.loc["treatment", columns].tolist() == pytest.approx(
        [0.3765121627918, 8.913890923165, 0.0881405780296, -0.132152212035, 1.573818878701],
        rel=1e-9,  # the t quantile of SciPy 1.15 moves interval limits by 2e-10
    )
    assert table.loc["carry_over", columns].tolist() == pytest.approx(
        [0.7515961850601, 11.505488716073, 0.0514432823166, -0.0120945118066, 3.278761178473],
        rel=1e-9,
    )
    row = first_period_only(grizzle, "y", equal_variance=False).iloc[0]
    assert row[columns].tolist() == pytest.approx(
        [0.6161528586626, 10.760687701872, 0.0301828724654, 0.1776679075195, 2.897332092480],
        rel=1e-9,
    )


@pytest.mark.parametrize("equal_variance", [True, False])
def test_the_kernel_is_scipys_t_test(equal_variance: bool) -> None:
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(3)
    x, y = rng.normal(1, 2, (50, 7)), rng.normal(0, 1, (50, 11))
    ours = two_sample_t(x, y, 1.0, equal_variance=equal_variance)
    theirs = ttest_ind(x, y, axis=1, equal_var=equal_variance)
    for a, b in ((ours.t, theirs.statistic), (ours.p, theirs.pvalue), (ours.df, theirs.df)):
        np.testing.assert_allclose(a, b, rtol=1e-11)  # sums in another order


def test_the_paired_test_is_scipys(grizzle: pd.DataFrame) -> None:
    from scipy.stats import ttest_rel

    by = grizzle.pivot(index="subject", columns="treatment", values="y")
    theirs = ttest_rel(by["B"], by["A"])
    row = paired_t(grizzle, "y", contrast="B - A").loc["treatment"]
    interval = theirs.confidence_interval(0.95)
    assert [row["t"], row["p"], row["df"], row["ci_low"], row["ci_high"]] == pytest.approx(
        [theirs.statistic, theirs.pvalue, 13, interval.low, interval.high], rel=1e-11
    )


# ------------------------------------------------------------------ one is a batch of one


def test_a_row_of_a_batch_is_the_trial_alone(grizzle: pd.DataFrame) -> None:
    rng = np.random.default_rng(1)
    first = np.arange(14) < 6
    y = rng.normal(size=(20, 14, 2))
    batch, staged = effect_tests(y, first), two_stage_tests(y, first)
    frame = grizzle.sort_values(["subject", "period"])
    for b in range(20):
        table = hills_armitage(frame.assign(y=y[b].ravel()), "y")
        for effect, test in batch.items():
            # one reduction over a longer axis may round otherwise
            assert table.loc[effect, "p"] == pytest.approx(test.p[b], rel=1e-12)
        alone = two_stage(frame.assign(y=y[b].ravel()), "y")
        assert alone.loc["treatment", "p"] == pytest.approx(staged.p[b], rel=1e-12)


def test_half_differences_are_the_mixed_model(grizzle: pd.DataFrame) -> None:
    rng = np.random.default_rng(8)
    people = rng.normal(0, 3, 14).repeat(2)  # an interior variance of subjects
    frame = grizzle.sort_values(["subject", "period"])
    frame = frame.assign(y=frame["y"] + people).astype({"period": str})
    fit = ks.lmm("y ~ sequence + period + treatment + (1|subject)", frame, ddf="kenward-roger")
    row = fit.coefficients.filter(like="treatment", axis=0).iloc[0]
    table = hills_armitage(frame, "y")
    want = table.loc["treatment", ["t", "df", "p"]].tolist()
    # the same number by algebra; 1e-10 is the bar that the project holds itself to
    assert [abs(row["t"]), row["df"], row["p"]] == pytest.approx(
        [abs(want[0]), *want[1:]], rel=1e-10
    )


# ------------------------------------------------------------------ the two-stage procedure


def simulate(
    n: int, correlation: float, draws: int, carry: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(20)
    first = np.arange(2 * n) < n
    y = np.sqrt(1 - correlation) * rng.normal(size=(draws, 2 * n, 2))
    y += np.sqrt(correlation) * rng.normal(size=(draws, 2 * n, 1))
    y[:, first, 1] += carry
    return y, first


@pytest.mark.parametrize(
    ("n", "correlation", "size"), [(12, 0.5, 0.081), (24, 0.7, 0.088), (12, 0.8, 0.090)]
)
def test_the_true_type_one_error_of_the_two_stage_procedure(
    n: int, correlation: float, size: float
) -> None:
    draws = 60_000
    result = two_stage_tests(*simulate(n, correlation, draws))
    rejected, gated = result.p < 0.05, result.gated
    se = np.sqrt(size * (1 - size) / draws + size * (1 - size) / 200_000)
    # three Monte-Carlo SE of ours and of the 200,000 trials of the stored figure, and its rounding
    assert abs(rejected.mean() - size) < 3 * se + 0.0005
    conditional = rejected[gated].mean()
    se_conditional = np.sqrt(0.4 * 0.6 / gated.sum())
    assert 0.36 - 3 * se_conditional < conditional < 0.45 + 3 * se_conditional
    # sums and differences of normals are independent: without the gate the size is right
    assert abs(rejected[~gated].mean() - 0.05) < 3 * np.sqrt(0.05 * 0.95 / (~gated).sum())
    assert abs(gated.mean() - 0.10) < 3 * np.sqrt(0.1 * 0.9 / draws)


def test_with_carry_over_the_gate_hardly_helps() -> None:
    draws = 40_000
    result = two_stage_tests(*simulate(12, 0.7, draws, carry=0.5))
    se = 3 * np.sqrt(0.3 * 0.7 / draws) + 0.005  # stored to whole percents
    assert abs(result.gated.mean() - 0.17) < se
    assert abs((result.p < 0.05).mean() - 0.31) < se
    assert abs((result.crossover.p < 0.05).mean() - 0.33) < se


def test_the_branch_taken_and_the_warning(grizzle: pd.DataFrame) -> None:
    lax, strict = two_stage(grizzle, "y"), two_stage(grizzle, "y", gate=0.05)
    assert set(lax["branch"]) == {"first_period"}  # carry-over p = 0.054
    assert set(strict["branch"]) == {"crossover"}
    assert lax.loc["treatment", "p"] == lax.loc["first_period", "p"]
    assert strict.loc["treatment", "p"] == strict.loc["crossover", "p"]
    assert lax["notes"].str.contains("for teaching, not for use").all()
    assert "taught against" in (two_stage.__doc__ or "")
    with pytest.raises(DataError, match="gate is 10"):
        two_stage(grizzle, "y", gate=10)


def test_drop_out_after_period_one(grizzle: pd.DataFrame) -> None:
    data = grizzle.copy()
    data.loc[(data["subject"] == "AB00") & (data["period"] == 2), "y"] = np.nan
    assert hills_armitage(data, "y").loc["treatment", "n"] == 13
    assert first_period_only(data, "y").loc["treatment", "n"] == 14
    staged = two_stage(data, "y")
    assert staged.loc["first_period", "n"] == 14
    assert staged.loc["crossover", "n"] == 13
    dropped = two_stage(data.dropna(), "y")
    pd.testing.assert_frame_equal(staged, dropped)
    assert staged.loc["first_period", "p"] == first_period_only(data, "y").iloc[0]["p"]
    assert staged.loc["crossover", "p"] == hills_armitage(data, "y").loc["treatment", "p"]


# ------------------------------------------------------------------ times, directions, order


def test_changes_and_means_over_time() -> None:
    data = ks.load_study("jelen2025").simulate(seed=4, outcome="madrs")
    wide = data.pivot(index=["subject", "period"], columns="time", values="madrs").astype(float)
    keys = data.drop_duplicates(["subject", "period"]).drop(columns=["time", "madrs"])
    for change, values in (
        (("pre", "day1"), wide["day1"] - wide["pre"]),
        (None, (wide["day1"] + wide["pre"]) / 2),
    ):
        simple = keys.merge(values.rename("v").reset_index(), on=["subject", "period"])
        a = hills_armitage(data, "madrs", change=change, contrast="naltrexone - placebo")
        b = hills_armitage(simple, "v", contrast="naltrexone - placebo")
        numbers = ["estimate", "se", "df", "t", "p", "n"]
        np.testing.assert_allclose(a[numbers].to_numpy(), b[numbers].to_numpy(), rtol=1e-12)
        assert a["notes"].str.contains("day1").all()


@pytest.mark.parametrize("name", ANALYSES)
def test_the_contrast_turns_the_sign(name: str, grizzle: pd.DataFrame) -> None:
    one = ANALYSES[name](grizzle, "y", contrast="A - B").loc["treatment"]
    other = ANALYSES[name](grizzle, "y", contrast="B - A").loc["treatment"]
    assert one["contrast"] == "A - B"
    assert other["contrast"] == "B - A"
    assert other["estimate"] == pytest.approx(-one["estimate"], rel=1e-12)
    assert other["ci_low"] == pytest.approx(-one["ci_high"], rel=1e-12)
    assert other["p"] == pytest.approx(one["p"], rel=1e-12)


@pytest.mark.parametrize("name", ANALYSES)
@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shift=st.sampled_from([-1000.0, -3.0, 0.0, 64.0]),
    scale=st.sampled_from([0.25, 1.0, 8.0, 1024.0]),  # powers of 2: ties stay ties
)
def test_rows_names_shift_and_scale(name: str, seed: int, shift: float, scale: float) -> None:
    data = long(GRIZZLE)
    plain = ANALYSES[name](data, "y")
    rng = np.random.default_rng(seed)
    moved = data.sample(frac=1.0, random_state=seed)
    names = dict(zip(data["subject"].unique(), rng.permutation(14), strict=True))
    moved = moved.assign(y=(moved["y"] + shift) * scale, subject=moved["subject"].map(names))
    after = ANALYSES[name](moved, "y")
    np.testing.assert_allclose(after["p"], plain["p"], rtol=1e-7)  # 1000 costs three digits
    if name != "rank_tests":
        np.testing.assert_allclose(after["estimate"], plain["estimate"] * scale, rtol=1e-7)


# ------------------------------------------------------------------ bad input


def without(data: pd.DataFrame, column: str) -> pd.DataFrame:
    return data.rename(columns={column: column[:-1]})


BAD = {
    "no column, with a suggestion": (
        lambda d: without(d, "treatment"),
        r"no column 'treatment'.*did you mean 'treatmen'\?",
    ),
    "no outcome": (lambda d: d.rename(columns={"y": "yy"}), "no column 'y'"),
    "three sequences": (
        lambda d: d.assign(sequence=d["sequence"].where(d["subject"] != "AB00", "CC")),
        "not an AB/BA trial",
    ),
    "three periods": (
        lambda d: pd.concat([d, d.query("period == 2").assign(period=3)]),
        "not an AB/BA trial",
    ),
    "AA and BB": (lambda d: d.assign(treatment=d["sequence"].str[0]), "not an AB/BA trial"),
    "a treatment against the label": (
        lambda d: d.assign(treatment=d["treatment"].where(d.index != 0, "B")),
        "sequence 'AB' receives 'A', 'B' in period 1",
    ),
    "a person in two sequences": (
        lambda d: d.assign(subject=d["subject"].replace("BA00", "AB00")),
        "subject 'AB00' has more than one sequence",
    ),
    "one person in a sequence": (
        lambda d: d[~d["subject"].isin([f"AB0{k}" for k in range(1, 6)])],
        "fewer than two people of sequence 'AB'",
    ),
    "duplicated rows": (lambda d: pd.concat([d, d.iloc[:1]]), "more than one row for subject"),
    "all missing": (lambda d: d.assign(y=np.nan), "every value is missing"),
    "constant": (lambda d: d.assign(y=3.0), "the same in every person"),
    "text": (lambda d: d.assign(y="much"), "not numbers"),
    "infinite": (lambda d: d.assign(y=d["y"].where(d.index != 3, np.inf)), "infinite"),
    "an empty label": (
        lambda d: d.assign(sequence=d["sequence"].where(d.index != 3)),
        "'sequence' is empty in some rows",
    ),
}


@pytest.mark.parametrize("name", [*ANALYSES, "binary_tests"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_has_one_message(name: str, case: str, grizzle: pd.DataFrame) -> None:
    spoil, message = BAD[case]
    function = {**ANALYSES, "binary_tests": binary_tests}[name]
    with pytest.raises(DataError, match=message) as error:
        function(spoil(grizzle), "y")
    assert "\n" not in str(error.value)
    assert error.value.where == "y"


def test_bad_directions_and_times(grizzle: pd.DataFrame) -> None:
    with pytest.raises(StudyError, match="C"):
        hills_armitage(grizzle, "y", contrast="A - C")
    with pytest.raises(DataError, match="not a difference"):
        hills_armitage(grizzle, "y", contrast="2*A - B")
    with pytest.raises(DataError, match="no column 'time'"):
        hills_armitage(grizzle, "y", change=("pre", "post"))
    data = ks.load_study("jelen2025").simulate(seed=4, outcome="madrs")
    with pytest.raises(DataError, match="did you mean 'day1'"):
        hills_armitage(data, "madrs", change=("pre", "day"))
    with pytest.raises(DataError, match="twice"):
        hills_armitage(data, "madrs", change=("pre", "pre"))


@pytest.mark.parametrize("effect", [0.0, 0.1])
@pytest.mark.parametrize("name", ANALYSES)
def test_differences_without_spread_are_flagged(name: str, effect: float) -> None:
    # 0.1 is not a binary fraction: rounding must not pass for spread
    people = np.array([10.1, 12.3, 9.7, 11.9, 14.2])
    period = 0.7
    trial = {
        "AB": [(v + effect, v + period) for v in people],
        "BA": [(v, v + effect + period) for v in people + 1.3],
    }
    table = ANALYSES[name](long(trial), "y")
    numbers = table.select_dtypes("number")
    assert not numbers.isna().any(axis=None)
    row = table.loc["treatment"]
    if name in ("hills_armitage", "two_stage"):
        assert row["status"] == "boundary"
        assert row["se"] == 0
        assert row["p"] == (0.0 if effect else 1.0)
        assert "do not vary" in row["notes"]
    elif effect == 0 and name in ("rank_tests", "randomisation_test"):
        assert row["status"] == "boundary"
        assert row["p"] == 1.0
    else:  # these have a spread left, or none is needed
        assert row["status"] == "ok"
        assert 0 < row["p"] <= 1


def test_paired_differences_without_spread_are_flagged() -> None:
    trial = {
        "AB": [(v + 0.1, v) for v in (1.7, 2.9, 3.3)],
        "BA": [(v, v + 0.1) for v in (4.0, 5.1)],
    }
    row = paired_t(long(trial), "y").loc["treatment"]
    assert (row["status"], row["p"], row["se"]) == ("boundary", 0.0, 0.0)
    assert row["estimate"] == pytest.approx(0.1, rel=1e-12)


def test_scores_are_what_they_are_called() -> None:
    # mean 50, period 2 higher by 3, A better by 2, carry-over of A by 1: exact without noise
    y = np.array([[52.0, 54.0], [52.0, 54.0], [50.0, 55.0], [50.0, 55.0]])
    first = np.array([True, True, False, False])
    means = {k: s[first].mean() - s[~first].mean() for k, s in effect_scores(y, first).items()}
    assert means == {"treatment": 2 - 1 / 2, "period": -3 - 1 / 2, "carry_over": 1.0}
