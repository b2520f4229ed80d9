"""Engines by name, completers, and truth beside both schools."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.analysis.engines import Context, run_engine
from ketastats.analysis.run import Results
from ketastats.core.errors import DataError, StudyError
from ketastats.problem.estimates import COLUMNS, STATUSES, estimates_frame
from ketastats.study.model import Study


@pytest.fixture(scope="module")
def study() -> Study:
    return ks.load_study("jelen2025")


@pytest.fixture(scope="module")
def results(study: Study) -> Results:
    names = [a.name for a in study.analyses if a.engine == "reml"]
    return ks.analyse(study, seed=1, analyses=names)


def test_the_estimates_table(results: Results) -> None:
    table = results.estimates
    assert tuple(table.columns) == COLUMNS
    assert set(table["status"]) <= set(STATUSES)
    assert set(table["study"]) == {"jelen2025"}
    fitted = table[table["status"].isin(["ok", "boundary"])]
    numbers = fitted[["estimate", "se", "df", "statistic", "p", "ci_low", "ci_high"]]
    assert np.isfinite(numbers.to_numpy()).all()
    assert (fitted["ci_low"] < fitted["estimate"]).all()
    assert (fitted["estimate"] < fitted["ci_high"]).all()


def test_sex_effects_add_up(results: Results) -> None:
    e = results.answer("primary").estimates.set_index("estimand")["estimate"]
    assert e["attenuation_men"] - e["attenuation_women"] == pytest.approx(e["attenuation_sex"])
    assert (e["attenuation_men"] + e["attenuation_women"]) / 2 == pytest.approx(e["attenuation"])


def test_the_published_type_random_part_changes_df(results: Results) -> None:
    by = {n: results.answer(n).estimates.set_index("estimand") for n in ("primary", "published")}
    # two-period people: 26 minus two sequences minus sex is about 23 df; the pooled residual has 70
    assert by["primary"].loc["attenuation", "df"] < 25
    assert by["published"].loc["attenuation", "df"] > 60


def test_completers_are_people_seen_in_every_period(study: Study, results: Results) -> None:
    data = results.data["madrs"]
    full = ks.completers(data, "madrs")
    seen = data[data["madrs"].notna()].groupby("subject", observed=True)["period"].nunique()
    assert set(full["subject"]) == set(seen[seen == 2].index)
    assert results.answer("completers").details["subjects"] == full["subject"].nunique()
    assert results.answer("primary").details["subjects"] >= full["subject"].nunique()


def test_side_by_side_has_one_row_per_estimand(study: Study, results: Results) -> None:
    table = results.side_by_side("madrs")
    assert table["estimand"].tolist() == [e.name for e in study.estimands if e.outcome == "madrs"]
    row = table.set_index("estimand").loc["attenuation"]
    assert row["latent"] == pytest.approx(4.2)
    assert row["frequentist_analysis"] == "primary"
    assert "SYNTHETIC" in str(results)


def test_given_data_are_checked_against_declared_levels(study: Study) -> None:
    frames = {o.name: study.simulate(seed=1, outcome=o.name) for o in study.outcomes}
    frames["madrs"] = frames["madrs"].astype({"treatment": str})
    frames["madrs"].loc[0, "treatment"] = "naltrexon"
    with pytest.raises(DataError, match="did you mean 'naltrexone'"):
        ks.analyse(study, frames, analyses=["primary"])


def test_given_data_give_the_same_answers_as_drawn_ones(study: Study, results: Results) -> None:
    frames = {o.name: study.simulate(seed=1, outcome=o.name) for o in study.outcomes}
    text = {
        name: f.astype(dict.fromkeys(("sequence", "period", "treatment", "sex"), str))
        for name, f in frames.items()
    }
    again = ks.analyse(study, text, analyses=["primary"])
    columns = ["estimate", "se", "df", "p"]
    expected = results.answer("primary").estimates[columns]
    # rows that are missing are dropped first, so sums run in the same order: equal to rounding
    pd.testing.assert_frame_equal(again.estimates[columns], expected, rtol=1e-10)


def test_a_registered_engine_answers_by_name(study: Study) -> None:

    def mean_difference(data: pd.DataFrame, estimands: tuple[object, ...]) -> pd.DataFrame:
        means = data.groupby("treatment", observed=True)["madrs"].mean()
        value = float(means["naltrexone"] - means["placebo"])
        return pd.DataFrame({"estimand": ["day1"], "estimate": [value]})

    ks.register_engine("difference-of-means", mean_difference)
    analysis = replace(study.analysis("primary"), engine="difference-of-means")
    data = study.simulate(seed=1, outcome="madrs")
    answer = run_engine(analysis, (study.estimand("day1"),), data, Context(study, 1, None))
    assert answer.estimates["engine"].tolist() == ["difference-of-means"]
    assert tuple(answer.estimates.columns) == COLUMNS
    with pytest.raises(StudyError, match="built-in"):
        ks.register_engine("reml", mean_difference)
    wrong = replace(analysis, engine="remll")
    with pytest.raises(StudyError, match="did you mean 'reml'"):
        run_engine(wrong, (study.estimand("day1"),), data, Context(study, 1, None))


def test_estimates_refuse_unknown_columns_and_statuses() -> None:
    with pytest.raises(KeyError):
        estimates_frame([{"estimator": 1}])
    with pytest.raises(ValueError, match="status"):
        estimates_frame([{"status": "fine"}])


def test_an_engine_that_does_not_exist_is_named_before_anything_runs(study: Study) -> None:
    ran: list[str] = []
    wrong = replace(study.analysis("completers"), engine="remml")
    changed = replace(study, analyses=(study.analysis("primary"), wrong))
    with pytest.raises(StudyError, match="there is no engine 'remml'; did you mean 'reml'"):
        ks.analyse(changed, seed=1, progress=ran.append)
    assert not ran


def test_a_formula_without_the_estimands_factor_is_a_row_and_no_end(study: Study) -> None:
    """The other estimands of the analysis are answered."""
    short = replace(study.analysis("primary"), formula="treatment * time + period + (1 | subject)")
    changed = replace(study, analyses=(short,))
    table = ks.analyse(changed, seed=1).estimates.set_index("estimand")
    lost = table[table["status"] == "not_estimable"]
    assert len(lost) and len(lost) < len(table)
    why = lost["notes"].drop("period")
    assert why.str.contains("names 'sex', which the model does not contain").all()
    assert "the model holds it at zero: add period:time" in lost.loc["period", "notes"]
    assert lost["estimate"].isna().all() and lost["p"].isna().all()
    answered = table[table["status"] == "ok"]
    assert {"attenuation", "day1"} <= set(answered.index) and answered["p"].notna().all()
