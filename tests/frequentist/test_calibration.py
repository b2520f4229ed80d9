"""Does a nominal 5 % test reject a true null 5 % of the time?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ketastats.frequentist.fit import fit_problem, statuses
from ketastats.frequentist.small_sample import contrasts
from ketastats.problem.build import build_problem

pytestmark = pytest.mark.slow
DRAWS = 4000


def plan() -> pd.DataFrame:
    """Return 9 people of AB and 5 of BA; four of them miss a period."""
    rows = [
        (f"s{i}", sequence, str(p + 1), sequence[p])
        for i, sequence in enumerate(["AB"] * 9 + ["BA"] * 5)
        for p in (0, 1)
        if (i, p) not in {(0, 1), (1, 1), (4, 0), (11, 1)}
    ]
    return pd.DataFrame(rows, columns=["subject", "sequence", "period", "treatment"])


def drawn(frame: pd.DataFrame, person: float, seed: int) -> np.ndarray:
    """Return synthetic outcomes without a treatment effect, residual SD 1, shape (DRAWS, rows)."""
    rng = np.random.default_rng(seed)
    code = pd.factorize(frame["subject"])[0]
    shift = 0.5 * (frame["period"] == "2").to_numpy(float)
    own = rng.normal(0, person, (DRAWS, code.max() + 1))[:, code]
    return 10 + shift + own + rng.normal(size=(DRAWS, len(frame)))


@pytest.mark.parametrize("person", [1.0, 2.0, 5.0])
def test_size_of_kenward_roger_in_an_unbalanced_crossover_with_missing_periods(person):
    frame = plan()
    problem = build_problem("sequence + period + treatment + (1 | subject)", frame)
    fit = fit_problem(problem, drawn(frame, person, seed=20240613))
    assert "unconverged" not in statuses(fit)
    row = np.array([[float(n == "treatment[T.B]") for n in problem.names]])
    table = contrasts(fit, row, "kenward-roger", 0.95)
    assert not np.isnan(table.p).any()
    size = float((table.p < 0.05).mean())
    coverage = float(((table.ci_low <= 0) & (table.ci_high >= 0)).mean())
    error = np.sqrt(0.05 * 0.95 / DRAWS)
    assert abs(size - 0.05) < 3 * error
    assert coverage == pytest.approx(1 - size)
    bias = table.estimate[:, 0]
    assert abs(bias.mean()) < 3 * bias.std() / np.sqrt(DRAWS)
    # the squared standard error is, on average, the variance over the draws, whose own Monte-Carlo
    # error is sqrt(2 / DRAWS) = 2.2 %
    assert (table.se**2).mean() / bias.var() == pytest.approx(1, abs=0.07)


def test_size_of_naive_z_is_visibly_wrong_where_kenward_roger_is_right():
    """The check above can fail: with z in place of the small-sample df it does."""
    frame = plan()
    problem = build_problem("sequence + period + treatment + (1 | subject)", frame)
    fit = fit_problem(problem, drawn(frame, 2.0, seed=20240613))
    row = np.array([[float(n == "treatment[T.B]") for n in problem.names]])
    size = float((contrasts(fit, row, "z", 0.95).p < 0.05).mean())
    assert size > 0.05 + 3 * np.sqrt(0.05 * 0.95 / DRAWS)


def test_size_in_the_studies_own_random_part():
    """People, visits and responses; rows lost at random; the change over time as the question."""
    rng = np.random.default_rng(20240614)
    rows = [
        (f"s{i}", sequence, str(p + 1), sequence[p], "ab"[t])
        for i, sequence in enumerate(["AB"] * 9 + ["BA"] * 7)
        for p in (0, 1)
        for t in (0, 1)
    ]
    frame = pd.DataFrame(rows, columns=["subject", "sequence", "period", "treatment", "time"])
    frame = frame[rng.random(len(frame)) > 0.08].reset_index(drop=True)
    groups = [["subject"], ["subject", "period"], ["subject", "time"]]
    random = " + ".join(f"(1 | {':'.join(g)})" for g in groups)
    problem = build_problem(f"treatment * time + period * time + {random}", frame)
    y = rng.normal(0, 4.0, (DRAWS, len(frame)))
    for columns, sd in zip(groups, (4.5, 2.0, 7.0), strict=True):
        code = frame.groupby(columns).ngroup().to_numpy()
        y += rng.normal(0, sd, (DRAWS, code.max() + 1))[:, code]
    fit = fit_problem(problem, y)
    row = np.array([[float(n == "treatment[T.B]:time[T.b]") for n in problem.names]])
    size = float((contrasts(fit, row, "kenward-roger", 0.95).p < 0.05).mean())
    assert abs(size - 0.05) < 3 * np.sqrt(0.05 * 0.95 / DRAWS)
