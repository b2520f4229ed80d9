"""Tables against a Study and against themselves: what passes, and one sentence for what does not.

No tolerances: everything here is equal or it is not.
"""

from __future__ import annotations

import io
import re
from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ketastats as ks
from ketastats.core.errors import DataError
from ketastats.study.build import all_factors
from ketastats.study.conform import check_table
from ketastats.study.load import packaged_studies
from ketastats.study.tables import contradictions, numbers

BALAAM = """
schema = 1
[study]
id = "balaam"
title = "Two treatments in four sequences, two of which repeat one"
[design]
kind = "crossover"
name = "balaam"
treatments = ["a", "b"]
subjects_per_sequence = 4
strata = { sex = { F = 0.5, M = 0.5 }, site = { x = 0.5, y = 0.5 } }
[outcomes.y]
scale = { kind = "real", decimals = 1 }
baseline = 10.0
spread = { subject = 2.0, residual = 1.0 }
[estimands.effect]
outcome = "y"
contrast = { treatment = "b - a" }
within = { sex = "M" }
[analyses.primary]
engine = "reml"
formula = "treatment + period + (1 | subject)"
"""
WILLIAMS = (
    BALAAM.replace('id = "balaam"', 'id = "williams"')
    .replace('name = "balaam"', 'name = "williams"')
    .replace('["a", "b"]', '["a", "b", "c"]')
    .replace(
        "subjects_per_sequence = 4", "subjects_per_sequence = 2\ntimes = { pre = 0, post = 1 }"
    )
)
ONE_ROW_EACH = """
schema = 1
[study]
id = "arms"
title = "Two arms, one value per mouse"
[design]
kind = "parallel"
subject = "mouse"
factors = { dose = ["0", "10"] }
[design.groups]
control = { dose = "0", n = 6 }
treated = { dose = "10", n = 6 }
[outcomes.y]
scale = { kind = "real", decimals = 1 }
baseline = 10.0
spread = { residual = 1.0 }
[estimands.effect]
outcome = "y"
contrast = { dose = "10 - 0" }
[analyses.primary]
engine = "reml"
formula = "dose"
"""
STUDIES = {name: ks.load_study(name) for name in packaged_studies()} | {
    s.id: s for s in map(ks.parse_study, (BALAAM, WILLIAMS, ONE_ROW_EACH))
}
PAIRS = [(name, o.name) for name, study in STUDIES.items() for o in study.outcomes]
DATA = {pair: STUDIES[pair[0]].simulate(seed=1, outcome=pair[1]) for pair in PAIRS}


def factors_of(name: str, outcome: str) -> list[str]:
    study = STUDIES[name]
    return list(all_factors(study.design, study.outcome(outcome)))


def as_type(frame: pd.DataFrame, column: str, kind: str) -> pd.DataFrame:
    """Return the frame with a column as text, objects, categories, or numbers where it can be."""
    if kind == "number":
        found = pd.to_numeric(frame[column].astype(object), errors="coerce")
        return frame if found.isna().any() else frame.assign(**{column: found})
    if kind == "float":
        return as_type(as_type(frame, column, "number"), column, "same").pipe(
            lambda f: f.astype({column: float}) if f[column].dtype.kind == "i" else f
        )
    if kind == "nullable":
        return frame.assign(**{column: frame[column].astype(object).convert_dtypes()})
    types = {"text": "str", "object": object, "category": "category"}
    return frame.astype({column: types[kind]}) if kind in types else frame


KINDS = st.sampled_from(["same", "text", "object", "category", "number", "float", "nullable"])


# what passes


@pytest.mark.parametrize(("name", "outcome"), PAIRS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_drawn_data_pass_and_come_back_observed_in_declared_order(name, outcome, seed):
    study = STUDIES[name]
    drawn = study.simulate(seed=seed, outcome=outcome)
    before = drawn.copy(deep=True)
    table = check_table(study, outcome, drawn)
    pd.testing.assert_frame_equal(table, drawn[drawn[outcome].notna()])
    pd.testing.assert_frame_equal(drawn, before)


@pytest.mark.parametrize("name", STUDIES)
def test_all_outcomes_in_one_file_read_back_as_text_and_numbers_pass(name):
    """Where outcomes have other occasions, 1 and 2 come back as 1.0 and 2.0."""
    study = STUDIES[name]
    file = io.StringIO(study.simulate(seed=1).to_csv(index=False))
    whole = pd.read_csv(file)
    for o in study.outcomes:
        expected = check_table(study, o.name, DATA[name, o.name])
        got = check_table(study, o.name, whole)[factors_of(name, o.name)]
        expected = expected[got.columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(got.reset_index(drop=True), expected)


@settings(deadline=None, max_examples=150)
@given(data=st.data(), pair=st.sampled_from(PAIRS))
def test_fewer_rows_in_any_order_and_type_under_other_names_pass(data, pair):
    name, outcome = pair
    study, frame = STUDIES[name], DATA[pair]
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    keep = rng.random(len(frame)) < data.draw(st.floats(0, 1))
    # two subjects stay, one of them under two treatments: fewer is another refusal
    full = frame[frame[outcome].notna()].groupby("subject", observed=True)
    if study.design.kind == "crossover":
        order = full["treatment"].nunique().sort_values(ascending=False).index
    else:
        order = full.size().index
    keep |= frame["subject"].isin(order[:2]).to_numpy()
    frame = frame[keep].iloc[rng.permutation(keep.sum())]
    for column in factors_of(*pair):
        frame = as_type(frame, column, data.draw(KINDS))
    ids = rng.permutation(500)[: frame["subject"].cat.categories.size]
    frame = frame.assign(subject=ids[frame["subject"].cat.codes], note="x", age=40.0)
    frame = frame.reset_index(drop=data.draw(st.booleans()))
    table = check_table(study, outcome, frame)
    assert table["subject"].tolist() == frame["subject"][frame[outcome].notna()].tolist()
    for column in factors_of(*pair):
        expected = [str(v).removesuffix(".0") for v in frame.loc[table.index, column]]
        assert table[column].astype(str).tolist() == expected


def test_outcome_as_objects_or_nullable_numbers_passes():
    study, frame = STUDIES["jelen2025"], DATA["jelen2025", "madrs"]
    expected = check_table(study, "madrs", frame)["madrs"].astype(float)
    for kind in (object, "Float64", "float32"):
        table = check_table(study, "madrs", frame.astype({"madrs": kind}))
        assert pd.api.types.is_numeric_dtype(table["madrs"])
        pd.testing.assert_series_equal(table["madrs"].astype(float), expected)


def test_a_stratum_that_nothing_names_may_be_left_out():
    """Sex is in an estimand, site in nothing."""
    frame = DATA["balaam", "y"]
    assert "site" not in check_table(STUDIES["balaam"], "y", frame.drop(columns="site"))
    with pytest.raises(DataError, match=r"^sex: there is no column 'sex'"):
        check_table(STUDIES["balaam"], "y", frame.drop(columns="sex"))
    with pytest.raises(DataError, match=r"^site: the data have 2 columns called 'site'; rename"):
        check_table(STUDIES["balaam"], "y", pd.concat([frame, frame[["site"]]], axis=1))


def test_rows_without_the_outcome_may_say_anything():
    study, frame = STUDIES["jelen2025"], DATA["jelen2025", "madrs"]
    lost = frame["madrs"].isna().to_numpy()
    assert lost.any()
    odd = frame.astype({"treatment": str, "time": str})
    odd.loc[lost, ["treatment", "time"]] = ["none", None]
    pd.testing.assert_frame_equal(
        check_table(study, "madrs", odd), check_table(study, "madrs", frame)
    )


# what does not


@settings(deadline=None, max_examples=150)
@given(data=st.data(), pair=st.sampled_from(PAIRS))
def test_one_wrong_label_is_refused_and_named(data, pair):
    name, outcome = pair
    study, frame = STUDIES[name], DATA[pair]
    design = study.design
    factors = all_factors(design, study.outcome(outcome))
    crossover = design.kind == "crossover"
    columns = ["treatment", "sequence"] if crossover else [f for f, _ in design.factors]
    columns += [s.name for s in design.strata if s.name != "site"]  # that may be empty
    observed = frame[frame[outcome].notna()]
    often = observed.groupby("subject", observed=True)["subject"].transform("size") > 1
    if not often.any():  # one row per subject: nothing in the table can tell
        return
    column = data.draw(st.sampled_from(columns))
    row = data.draw(st.sampled_from(observed.index[often].tolist()))
    others = [v for v in factors[column] if v != frame.loc[row, column]]
    wrong = data.draw(st.sampled_from([*others, "nonsense", None]))
    kind = data.draw(st.sampled_from(["text", "object"]))
    spoilt = as_type(frame, column, kind)
    spoilt.loc[row, column] = wrong
    spoilt = spoilt.sample(frac=1, random_state=data.draw(st.integers(0, 100)))
    with pytest.raises(DataError) as error:
        check_table(study, outcome, spoilt)
    text = str(error.value)
    assert column in text
    assert error.value.where == column
    assert error.value.mend and "\n" not in text
    if wrong is not None:
        assert repr(wrong) in text


def cut(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return frame.astype(dict.fromkeys(columns, "str"))


def put(row, column, value):
    def spoil(frame):
        frame = cut(frame, column) if isinstance(value, str) else frame.copy()
        frame.loc[row, column] = value
        return frame

    return spoil


def change(**columns):
    return lambda frame: frame.assign(**columns)


CROSSOVER = {
    "not a table": (
        lambda d: d.to_numpy(),
        "madrs: the data are not a pandas DataFrame; read them with pandas first",
    ),
    "no subject": (
        lambda d: d.rename(columns={"subject": "Subject"}),
        "subject: there is no column 'subject' in the data; did you mean 'Subject'?",
    ),
    "no sequence": (
        lambda d: d.drop(columns="sequence"),
        "sequence: there is no column 'sequence' in the data; use one of 'subject', 'period', "
        "'treatment', 'time', 'sex', 'madrs'",
    ),
    "no period": (
        lambda d: d.rename(columns={"period": "periods"}),
        "period: there is no column 'period' in the data; did you mean 'periods'?",
    ),
    "no treatment": (
        lambda d: d.rename(columns={"treatment": "treatmnt"}),
        "treatment: there is no column 'treatment' in the data; did you mean 'treatmnt'?",
    ),
    "no time": (
        lambda d: d.rename(columns={"time": "times"}),
        "time: there is no column 'time' in the data; did you mean 'times'?",
    ),
    "no sex": (
        lambda d: d.rename(columns={"sex": "SEX"}),
        "sex: there is no column 'sex' in the data; did you mean 'SEX'?",
    ),
    "no outcome": (
        lambda d: d.rename(columns={"madrs": "MADRS"}),
        "madrs: there is no column 'madrs' in the data; did you mean 'MADRS'?",
    ),
    "a column twice": (
        lambda d: pd.concat([d, d[["sex"]]], axis=1),
        "sex: the data have 2 columns called 'sex'; rename one",
    ),
    "the outcome twice": (
        lambda d: pd.concat([d, d[["madrs"]]], axis=1),
        "madrs: the data have 2 columns called 'madrs'; rename one",
    ),
    "no row": (
        lambda d: d.iloc[:0],
        "madrs: every value is missing; check the column, or choose another",
    ),
    "nothing observed": (
        change(madrs=None),
        "madrs: every value is missing; check the column, or choose another",
    ),
    "text among numbers": (
        lambda d: d.astype({"madrs": object}).pipe(put(5, "madrs", "31,5")),
        "madrs: the values are not numbers, first '31,5' in row 5; convert the column, for "
        "example with pandas.to_numeric",
    ),
    "numbers as text": (
        lambda d: d.astype({"madrs": "str"}),
        "madrs: the values are not numbers, first '28' in row 0; convert the column, for example "
        "with pandas.to_numeric",
    ),
    "dates": (
        change(madrs=pd.Timestamp("2020-02-03")),
        "madrs: the values are not numbers, first '2020-02-03 00:00:00' in row 0; convert the "
        "column, for example with pandas.to_numeric",
    ),
    "complex numbers": (
        change(madrs=1j),
        "madrs: the values are not numbers, first '1j' in row 0; convert the column, for example "
        "with pandas.to_numeric",
    ),
    "infinite": (
        lambda d: d.astype({"madrs": float}).pipe(put(7, "madrs", -np.inf)),
        "madrs: there are infinite values, first in row 7; correct them or set them to missing",
    ),
    "above the scale": (
        put(6, "madrs", 61),
        "madrs: the value 61 in row 6 is above the declared maximum 60; correct it or set it to "
        "missing; or declare other bounds in the Study",
    ),
    "below the scale": (
        lambda d: d.astype({"madrs": float}).pipe(put(8, "madrs", -0.5)),
        "madrs: the value -0.5 in row 8 is below the declared minimum 0; correct it or set it to "
        "missing; or declare other bounds in the Study",
    ),
    "constant": (change(madrs=30), "madrs: the outcome is constant (30); check the column"),
    "one subject": (
        lambda d: d[d["subject"] == "P02"],
        "subject: all observed rows are of one subject, 'P02'; give the rows of every subject, "
        "each with a name of its own",
    ),
    "one row": (
        lambda d: d.iloc[:1],
        "subject: all observed rows are of one subject, 'P01'; give the rows of every subject, "
        "each with a name of its own",
    ),
    "an empty cell": (
        put(9, "time", None),
        "time: the column 'time' is empty in some rows, first in row 9; fill it in, or leave "
        "these rows out",
    ),
    "a subject without a name": (
        put(9, "subject", None),
        "subject: the column 'subject' is empty in some rows, first in row 9; fill it in, or "
        "leave these rows out",
    ),
    "a level that is not declared": (
        put(3, "treatment", "Naltrexone"),
        "treatment: 'Naltrexone' is not a declared level of treatment; did you mean 'naltrexone'?",
    ),
    "a period that is not declared": (
        put(3, "period", "3"),
        "period: '3' is not a declared level of period; use one of '1', '2'",
    ),
    "two sequences": (
        put(2, "sequence", "NP"),
        "sequence: subject 'P01' has more than one sequence: 'PN' in row 0 and 'NP' in row 2; "
        "give every subject one sequence, and a name of its own",
    ),
    "two sexes": (
        put(1, "sex", "M"),
        "sex: subject 'P01' has more than one sex: 'F' in row 0 and 'M' in row 1; give every "
        "subject one sex, and a name of its own",
    ),
    "subjects numbered within their sequence": (
        lambda d: d.assign(subject=d.groupby(["sequence", "period", "time"]).cumcount() + 1),
        "sequence: subject '1' has more than one sequence: 'PN' in row 0 and 'NP' in row 4; give "
        "every subject one sequence, and a name of its own",
    ),
    "a treatment that never varies": (
        lambda d: d.assign(treatment=np.where(d["sequence"] == "PN", "placebo", "naltrexone")),
        "treatment: no person has more than one treatment in the observed rows, and the Study is "
        "a crossover; check the column, or declare a parallel design",
    ),
    "one treatment": (
        change(treatment="placebo"),
        "treatment: no person has more than one treatment in the observed rows, and the Study is "
        "a crossover; check the column, or declare a parallel design",
    ),
    "one period": (
        lambda d: d[d["period"] == "1"],
        "treatment: no person has more than one treatment in the observed rows, and the Study is "
        "a crossover; check the column, or declare a parallel design",
    ),
    "a treatment against the sequence": (
        put(2, "treatment", "placebo"),
        "treatment: subject 'P01' has 'placebo' in period '2' (row 2), where sequence 'PN' of the "
        "Study gives 'naltrexone'; correct the treatment, the period or the sequence",
    ),
    "periods the wrong way round": (
        lambda d: d.assign(period=np.where(d["period"] == "1", 2, 1)),
        "treatment: subject 'P01' has 'placebo' in period '2' (row 0), where sequence 'PN' of the "
        "Study gives 'naltrexone'; correct the treatment, the period or the sequence",
    ),
    "a row twice": (
        lambda d: pd.concat([d, d.iloc[[4]]], ignore_index=True),
        "madrs: more than one row for subject 'P02', period '1', time 'pre': rows 4 and 104; keep "
        "one, average them, or declare in the Study what tells them apart",
    ),
    "a time twice": (
        put(4, "time", "day1"),
        "madrs: more than one row for subject 'P02', period '1', time 'day1': rows 4 and 5; keep "
        "one, average them, or declare in the Study what tells them apart",
    ),
}


@pytest.mark.parametrize("case", CROSSOVER)
def test_tables_of_a_crossover_that_do_not_fit(case):
    spoil, expected = CROSSOVER[case]
    with pytest.raises(DataError) as error:
        check_table(STUDIES["jelen2025"], "madrs", spoil(DATA["jelen2025", "madrs"]))
    assert str(error.value) == expected


def mouse(name, column, value):
    """Change a column in all rows of a mouse."""
    return lambda d: cut(d, column).assign(
        **{column: lambda f: f[column].where(f["subject"] != name, value)}
    )


PARALLEL = {
    "no cage": (
        lambda d: d.drop(columns="cage"),
        r"^cage: there is no column 'cage' in the data; ",
    ),
    "no trial": (
        lambda d: d.rename(columns={"trial": "trials"}),
        r"^trial: there is no column 'trial' in the data; did you mean 'trials'\?",
    ),
    "two drugs": (
        put(3, "drug", "R"),
        r"^drug: subject 'M01' has more than one drug: 'saline' in row 0 and 'R' in row 3; "
        r"give every subject one drug, and a name of its own$",
    ),
    "two cages": (
        lambda d: cut(d, "cage").pipe(put(d.index[d["cage"].notna()][1], "cage", "c99")),
        r"^cage: subject 'M04' has more than one cage: 'cage1' in row 30 and 'c99' in row 31; ",
    ),
    "cages numbered within sex": (
        lambda d: cut(d, "cage").assign(cage=lambda f: f["cage"].where(f["cage"].isna(), "1")),
        r"^sex: cage '1' has more than one sex: 'F' in row \d+ and 'M' in row \d+; "
        r"give every cage one sex, and a name of its own$",
    ),
    "an arm that is not there": (
        mouse("M04", "drug", "S"),
        r"^drug: subject 'M04' has housing 'grouped' with drug 'S', which is no group of the "
        r"Study; correct the housing or the drug, or declare the group$",
    ),
    "a row twice": (
        lambda d: pd.concat([d, d], ignore_index=True),
        r"^investigation: more than one row for subject 'M01', test 'before', trial '1': "
        r"rows 0 and 560; ",
    ),
}


@pytest.mark.parametrize("case", PARALLEL)
def test_tables_of_a_parallel_trial_that_do_not_fit(case):
    spoil, expected = PARALLEL[case]
    with pytest.raises(DataError) as error:
        check_table(
            STUDIES["yokoyama2024"], "investigation", spoil(DATA["yokoyama2024", "investigation"])
        )
    assert re.search(expected, str(error.value)), str(error.value)


def test_a_subject_twice_in_a_trial_of_one_row_each_is_refused():
    frame = DATA["arms", "y"].astype({"subject": "str"})
    frame.loc[2, "subject"] = frame.loc[0, "subject"]
    with pytest.raises(DataError, match="more than one row for subject 'M01': rows 0 and 2;"):
        check_table(STUDIES["arms"], "y", frame)


@pytest.mark.parametrize("pair", PAIRS)
def test_every_column_of_the_design_is_missed_by_name(pair):
    frame = DATA[pair]
    for column in frame.columns.difference(["site"]):  # that nothing asks for
        with pytest.raises(DataError) as error:
            check_table(STUDIES[pair[0]], pair[1], frame.drop(columns=column))
        assert error.value.where == column
        assert f"there is no column {column!r}" in error.value.message


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from([1.5, -2, 0, True, None, np.nan, np.inf, "2", "x", 1j])))
def test_numbers_are_floats_or_refused(values):
    column = pd.Series(values, dtype=object)
    there = [v for v in values if v is not None and v == v]
    good = all(isinstance(v, float | int) for v in there)
    # True among numbers is a number; so are only Trues
    mixed = any(v is True for v in there) and any(v is not True for v in there)
    if mixed:
        return
    if good and np.inf not in there:
        expected = [np.nan if v is None else float(v) for v in values]
        np.testing.assert_array_equal(numbers(column, "y"), expected)
        return
    with pytest.raises(DataError, match="infinite" if good else "not numbers"):
        numbers(column, "y")


# a table against itself


TABLE = pd.DataFrame(
    [
        (f"s{i}", sequence, p, sequence[p - 1], time)
        for i in range(6)
        for sequence in ("AB", "BA")[i % 2 : i % 2 + 1]
        for p in (1, 2)
        for time in ("pre", "post")
    ],
    columns=["subject", "sequence", "period", "treatment", "time"],
)


@pytest.mark.parametrize("pair", PAIRS)
def test_drawn_tables_do_not_contradict_themselves(pair):
    assert contradictions(DATA[pair]) == ()
    assert contradictions(cut(DATA[pair], *factors_of(*pair))) == ()


def test_each_contradiction_is_a_sentence():
    assert contradictions(TABLE) == ()
    # s0 is in AB: rows 0, 1 of period 1 and rows 2, 3 of period 2
    one = TABLE.pipe(put(2, "treatment", "A"))
    assert contradictions(one) == (
        "subject 's0' has more than one treatment in period '2': check the labels",
        "sequence 'AB' has treatment 'B' in period '2', but subject 's0' has 'A': check the labels",
    )
    both = TABLE.assign(treatment=TABLE["treatment"].where(~TABLE.index.isin([2, 3]), "A"))
    assert contradictions(both) == (
        "sequence 'AB' has treatment 'B' in period '2', but subject 's0' has 'A': check the labels",
    )
    order = TABLE.assign(sequence=TABLE["sequence"].where(TABLE["subject"] != "s0", "BA"))
    assert contradictions(order) == (
        "sequence 'BA' has treatment 'B' in period '1', but subject 's0' has 'A' (and 1 more "
        "visit): check the labels",
    )
    three = TABLE.assign(sequence=TABLE["sequence"].where(TABLE.index % 4 != 3, "CC"))
    assert contradictions(three) == (
        "subject 's0' has more than one sequence (and 5 more subjects): check the labels",
        # one row of each visit in period 2 is now of a sequence that holds three As and three Bs
    )


def test_a_label_that_is_no_order_of_treatments_is_left_alone():
    """Half of a cohort has each treatment: the column means something else."""
    cohort = TABLE.assign(sequence="cohort 1")
    assert contradictions(cohort) == ()


@pytest.mark.parametrize("column", ["subject", "sequence", "period", "treatment"])
def test_without_the_columns_there_is_nothing_to_say(column):
    wrong = TABLE.pipe(put(2, "treatment", "A"))
    assert contradictions(wrong.drop(columns=column)) == ()
    assert contradictions(pd.concat([wrong, wrong[[column]]], axis=1)) == ()
    assert contradictions(wrong.iloc[:0]) == ()
    if column != "sequence":  # a subject with two treatments in a period has them without it
        assert contradictions(wrong.assign(**{column: None})) == ()


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["s1", "s2", "s3", "s4", None]),
        st.sampled_from(["AB", "BA", None]),
        st.sampled_from([1, 2, None]),
        st.sampled_from(["A", "B", "C", None]),
    ),
    max_size=14,
)


@settings(deadline=None, max_examples=400)
@given(rows=ROWS, kind=st.sampled_from([object, "category", None]))
def test_contradictions_are_those_found_by_counting(rows, kind):
    frame = pd.DataFrame(rows, columns=["subject", "sequence", "period", "treatment"], dtype=kind)
    orders, visits, cells = defaultdict(set), defaultdict(set), defaultdict(set)
    for s, q, p, t in rows:
        if s and q:
            orders[s].add(q)
        if s and p and t:
            visits[s, p].add(t)
        if q and p and t:
            cells[q, p].add((s, t))
    several = [len([v for v in d.values() if len(v) > 1]) for d in (orders, visits)]
    unusual = set()
    for (q, p), members in cells.items():
        people = {s for s, _ in members if s}
        counts = Counter(t for s, t in members if s)
        usual = [t for t, n in counts.items() if 2 * n > len(people)]
        if len(usual) == 1:
            unusual |= {(s, q, p, t) for s, t in members if s and t != usual[0]}
    text = contradictions(frame)
    words = ("more than one sequence", "more than one treatment", "but subject")
    found = [[t for t in text if w in t] for w in words]
    assert [len(f) for f in found] == [several[0] > 0, several[1] > 0, bool(unusual)]
    for sentences, n, what in zip(found, several, ("subject", "visit"), strict=False):
        for sentence in sentences:
            more = re.search(rf"and (\d+) more {what}", sentence)
            assert (int(more[1]) if more else 0) == n - 1
    for sentence in found[2]:
        s, q, p, t = next(r for r in rows if r in unusual)
        assert sentence.startswith(f"sequence {q!r} has treatment")
        assert f"in period {str(p)!r}, but subject {str(s)!r} has {t!r}" in sentence


def test_labels_of_any_size_are_crossed():
    """Columns that are no labels (one value per row) neither overflow nor fill the memory."""
    n = 100_000
    value = np.arange(n) * 1e6
    frame = pd.DataFrame({"subject": value, "sequence": value, "period": value, "treatment": value})
    assert contradictions(frame) == ()
    frame.loc[1, ["subject", "period"]] = frame.loc[0, ["subject", "period"]].to_numpy()
    assert contradictions(frame) == (
        "subject '0' has more than one sequence: check the labels",
        "subject '0' has more than one treatment in period '0': check the labels",
    )
