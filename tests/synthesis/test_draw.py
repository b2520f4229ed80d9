"""Draws: addresses, moments, missing data, entry threshold."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.core.errors import StudyError
from ketastats.study.model import Dropout, Entry, Missing, Outcome, Study
from ketastats.synthesis.draw import draw_outcomes


@pytest.fixture(scope="module")
def study() -> Study:
    return ks.load_study("jelen2025")


def changed(study: Study, name: str = "madrs", **changes: object) -> Study:
    outcomes = tuple(replace(o, **changes) if o.name == name else o for o in study.outcomes)
    return replace(study, outcomes=outcomes)


def gaussian(o: Outcome) -> dict[str, object]:
    scale = replace(o.scale, kind="real", min=None, max=None, decimals=6)
    return {"scale": scale, "missing": None, "dropout": None, "carry_over": None}


def test_a_draw_is_the_same_alone_and_in_any_batch(study: Study) -> None:
    batch = draw_outcomes(study, "madrs", 3, [0, 5, 2])
    for row, draw in zip(batch, [0, 5, 2], strict=True):
        alone = draw_outcomes(study, "madrs", 3, [draw])[0]
        assert np.array_equal(alone, row, equal_nan=True)
    assert not np.array_equal(batch[0], draw_outcomes(study, "madrs", 4, [0])[0], equal_nan=True)


def test_a_larger_trial_shares_its_first_people(study: Study) -> None:
    large = replace(study, design=replace(study.design, subjects_per_sequence=(20, 20)))
    # men and women sit elsewhere in the larger trial: compare where neither the mean nor the
    # carry-over depends on sex
    small_y = draw_outcomes(study, "madrs", 1, [0], missing=False)[0].reshape(26, 2, 2)
    large_y = draw_outcomes(large, "madrs", 1, [0], missing=False)[0].reshape(40, 2, 2)
    assert np.array_equal(small_y[:, 0, 0], large_y[:26, 0, 0])


def test_moments_follow_the_declared_spread(study: Study) -> None:
    s = changed(study, **gaussian(study.outcome("madrs")))
    y = draw_outcomes(s, "madrs", 1, range(3000)).reshape(3000, 26, 2, 2)
    y = y - y.mean(axis=0)
    tolerance = 4 * np.sqrt(2 / (3000 * 26))  # four SE of a variance ratio of independent people
    pre, change = y[..., 0], y[..., 1] - y[..., 0]
    assert pre.var() == pytest.approx(4.5**2 + 2**2 + 4**2, rel=tolerance)
    assert change.var() == pytest.approx(7**2 + 2 * 4**2, rel=tolerance)
    double = (change[:, :, 0] - change[:, :, 1]).var()
    assert double == pytest.approx(4 * 4**2, rel=tolerance)  # the response cancels between periods


def test_whole_points_within_bounds(study: Study) -> None:
    y = draw_outcomes(study, "madrs", 1, range(200), missing=False)
    assert y.min() >= 0 and y.max() <= 60
    assert np.array_equal(y, np.round(y))
    assert not np.signbit(y).any()


def test_missing_rows_at_the_declared_rate(study: Study) -> None:
    s = changed(study, missing=Missing(0.1), dropout=None)
    share = np.isnan(draw_outcomes(s, "madrs", 1, range(500))).mean()
    assert share == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / (500 * 104)))


def test_dropout_takes_the_second_period_and_follows_the_outcome(study: Study) -> None:
    s = changed(study, missing=None, dropout=Dropout(2, 0.2, 0.3, 15.0))
    y = draw_outcomes(s, "madrs", 1, range(400)).reshape(400, 26, 2, 2)
    gone = np.isnan(y[:, :, 1]).all(axis=2)
    assert not np.isnan(y[:, :, 0]).any()
    assert (np.isnan(y[:, :, 1]).any(axis=2) == gone).all()
    last = y[:, :, 0, 1]
    assert last[gone].mean() > last[~gone].mean() + 3  # 0.3 log odds per point over an SD of 9


def test_the_entry_threshold_holds_exactly_and_mimics_a_period_effect(study: Study) -> None:
    s = changed(study, **(gaussian(study.outcome("madrs")) | {"entry": Entry(28.0, None)}))
    y = draw_outcomes(s, "madrs", 1, range(800)).reshape(800, 26, 2, 2)
    assert y[:, :, 0, 0].min() >= 28.0 - 0.5e-6
    # second baselines fall back towards the mean; without selection they would be 1 point lower
    fall = (y[:, :, 0, 0] - y[:, :, 1, 0]).mean()
    z = (28 - 30) / np.sqrt(40.25)
    from scipy.special import ndtr

    excess = np.sqrt(40.25) * np.exp(-z * z / 2) / np.sqrt(2 * np.pi) / ndtr(-z)
    kept = 4.5**2 / 40.25  # only the person's own level comes back in period 2
    expected = excess * (1 - kept) + 1.0
    assert fall == pytest.approx(expected, abs=4 * 6.5 / np.sqrt(800 * 26))


def test_the_truncated_normal_equals_rejection_sampling(study: Study) -> None:
    s = changed(study, **(gaussian(study.outcome("madrs"))))
    enrolled = changed(s, entry=Entry(33.0, None))
    free = draw_outcomes(s, "madrs", 2, range(3000)).reshape(-1, 2, 2)
    accepted = free[free[:, 0, 0] >= 33.0]
    exact = draw_outcomes(enrolled, "madrs", 3, range(600)).reshape(-1, 2, 2)
    n = min(len(accepted), len(exact))
    for value in (lambda v: v[:, 0, 0], lambda v: v[:, 1, 0], lambda v: v[:, 0, 1]):
        a, b = value(accepted), value(exact)
        se = np.sqrt(a.var() / len(a) + b.var() / len(b))
        assert abs(a.mean() - b.mean()) < 4 * se
        assert a.std() == pytest.approx(b.std(), rel=4 / np.sqrt(2 * n))


def test_an_entry_threshold_nobody_passes_is_refused(study: Study) -> None:
    s = changed(study, entry=Entry(90.0, None))
    with pytest.raises(StudyError, match="one in a million"):
        draw_outcomes(s, "madrs", 1, [0])


def test_cage_mates_are_alike_and_isolated_mice_are_not() -> None:
    mice = ks.load_study("yokoyama2024")
    o = mice.outcome("investigation")
    spread = tuple(s for s in o.spread if s.name in ("cage", "residual"))
    mice = changed(mice, "investigation", **(gaussian(o) | {"spread": spread}))
    y = draw_outcomes(mice, "investigation", 1, range(2000))
    plan = mice.plan()
    first = plan.drop_duplicates("subject")
    y = (y - y.mean(axis=0))[:, first.index]
    caged = (first["housing"] == "grouped").to_numpy()
    cage = first["cage"].cat.codes.to_numpy()
    pair = np.flatnonzero(cage == 0)[:2]
    assert np.mean(y[:, pair[0]] * y[:, pair[1]]) == pytest.approx(
        25.0, abs=4 * 106 / np.sqrt(2000)
    )
    assert y[:, ~caged].var() == pytest.approx(64.0, rel=0.05)
    assert y[:, caged].var() == pytest.approx(64.0 + 25.0, rel=0.05)


def test_the_frame_of_all_outcomes(study: Study) -> None:
    frame = study.simulate(seed=1)
    assert len(frame) == 104 + 312 + 52
    assert list(frame.columns[-3:]) == ["madrs", "glx", "response"]
    assert frame["madrs"].dtype == pd.Int64Dtype()
    assert frame.loc[frame["madrs"].notna(), "spectrum"].isna().all()
    assert frame.loc[frame["glx"].notna(), "time"].isna().all()
    assert frame.loc[frame["response"].notna(), ["time", "spectrum"]].isna().all(axis=None)


def test_a_negative_seed_is_refused(study: Study) -> None:
    with pytest.raises(StudyError, match="negative"):
        study.simulate(seed=-1)


def test_outcomes_with_different_numbers_of_trials_keep_every_row():
    study = ks.load_study("wu2021")
    whole = study.simulate(1)
    assert whole["trial"].cat.categories.tolist() == [str(k) for k in range(1, 12)]
    alone = study.simulate(1, outcome="transient")
    rows = whole[whole["transient"].notna()]
    assert rows["trial"].notna().all()
    assert len(rows) == alone["transient"].notna().sum()
