"""Data of one's own: what contradicts the Study is refused before any analysis runs."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.core.errors import EXIT_BAD_INPUT, DataError
from ketastats.study.model import Study


@pytest.fixture(scope="module")
def study() -> Study:
    return ks.load_study("jelen2025")


@pytest.fixture(scope="module")
def drawn(study: Study) -> dict[str, pd.DataFrame]:
    return {o.name: study.simulate(seed=1, outcome=o.name) for o in study.outcomes}


def with_value(frame: pd.DataFrame, row: int, column: str, value: object) -> pd.DataFrame:
    frame = frame.astype({column: object})
    frame.loc[row, column] = value
    return frame


BAD = {
    "missing column": (lambda d: d.drop(columns="sex"), "sex: there is no column 'sex'"),
    "one subject": (lambda d: d[d["subject"] == "P01"], "subject: all observed rows are of one"),
    "one level": (lambda d: d[d["sex"] == "F"], "sex: the factor 'sex' has only one level (F)"),
    "one time": (
        lambda d: d[d["time"] == "pre"],
        "time: the factor 'time' has only one level (pre)",
    ),
    "all missing": (lambda d: d.assign(madrs=np.nan), "madrs: every value is missing"),
    "constant": (lambda d: d.assign(madrs=20), "madrs: the outcome is constant (20)"),
    "not numeric": (lambda d: d.assign(madrs="mild"), "madrs: the values are not numbers"),
    "infinite": (
        lambda d: with_value(d, 4, "madrs", np.inf),
        "madrs: there are infinite values, first in row 4",
    ),
    "beyond the scale": (
        lambda d: with_value(d, 4, "madrs", 66),
        "madrs: the value 66 in row 4 is above the declared maximum 60",
    ),
    "rows twice": (
        lambda d: pd.concat([d, d.iloc[:3]]),
        "madrs: more than one row for subject 'P01', period '1', time 'pre'",
    ),
    "a treatment per subject": (
        lambda d: d.assign(treatment=np.where(d["sequence"] == "PN", "placebo", "naltrexone")),
        "treatment: no person has more than one treatment",
    ),
    "sequence against treatment": (
        lambda d: d.assign(sequence=np.where(d["sequence"] == "PN", "NP", "PN")),
        "treatment: subject 'P01' has 'placebo' in period '1' (row 0), where sequence 'NP'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_refused_in_one_sentence(case, study, drawn):
    spoil, expected = BAD[case]
    with pytest.raises(DataError) as error:
        ks.analyse(study, drawn | {"madrs": spoil(drawn["madrs"])}, analyses=["primary"])
    text = str(error.value)
    assert text.startswith(expected)
    assert "; " in text and "\n" not in text
    assert error.value.exit_code == EXIT_BAD_INPUT


def test_an_outcome_without_a_table_is_named(study, drawn):
    with pytest.raises(DataError) as error:
        ks.analyse(study, {"madrs": drawn["madrs"]}, analyses=["primary"])
    assert str(error.value) == (
        "jelen2025: there is no table for the outcome 'glx'; give one for each of 'madrs', 'glx', "
        "'response'"
    )
    with pytest.raises(DataError, match="glx: there is no column 'glx' in the data"):
        ks.analyse(study, drawn["madrs"], analyses=["primary"])


@pytest.mark.parametrize("data", ["trial.csv", 3.0, [1.0, 2.0]])
def test_what_is_no_table_is_refused(data, study):
    with pytest.raises(DataError, match="not a pandas DataFrame; read them with pandas first"):
        ks.analyse(study, data, analyses=["primary"])


def test_one_file_of_all_outcomes_gives_the_answers_of_the_drawn_data(study):
    whole = pd.read_csv(io.StringIO(study.simulate(seed=1).to_csv(index=False)))
    before = whole.copy(deep=True)
    names = ["primary", "carry_over", "glx_primary"]
    got = ks.analyse(study, whole.sample(frac=1, random_state=1), analyses=names).estimates
    expected = ks.analyse(study, seed=1, analyses=names).estimates
    columns = ["estimate", "se", "df", "p"]
    # rows in another order are summed in another order: equal to rounding
    pd.testing.assert_frame_equal(got[columns], expected[columns], rtol=1e-10)
    pd.testing.assert_frame_equal(whole, before)


def test_numbers_kept_as_objects_are_analysed(study, drawn):
    objects = drawn | {"madrs": drawn["madrs"].astype({"madrs": object})}
    got = ks.analyse(study, objects, analyses=["primary"]).estimates["estimate"]
    expected = ks.analyse(study, drawn, analyses=["primary"]).estimates["estimate"]
    pd.testing.assert_series_equal(got, expected, rtol=0, atol=0)
