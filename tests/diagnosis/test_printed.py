"""Printed F statistics among draws."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import ketastats as ks
from ketastats.diagnosis.batch import draw_complete
from ketastats.diagnosis.printed import _f_of, _laid_out, _rows_of, printed_panels

CLAIMS = [
    ("yokoyama2024", "F(4,112) = 3.36", 4, 150),
    ("lazarevic2021", "F(2,39) = 2.48", 2, 46),
    ("lazarevic2021", "F(1,39) = 0.142", 1, 46),
    ("wu2021", "F(1.89,13.23) = 27.9", 2, 24),
]


def claim_of(study, text):
    return next(c for c in study.claims if c.text.startswith(text))


@pytest.mark.parametrize(("name", "text", "df", "rows"), CLAIMS)
def test_the_published_type_has_the_rows_and_the_df_of_the_paper(name, text, df, rows):
    study = ks.load_study(name)
    claim = claim_of(study, text)
    outcome = study.estimand(claim.about).outcome
    problem, kept = _laid_out(study, outcome, claim.statistic)
    assert len(_rows_of(problem, claim.statistic)) == df
    assert kept.sum() == rows


def test_f_is_that_of_the_analysis_of_variance():
    """Against statsmodels' sums of squares (two-way, unequal cells, type III)."""
    import statsmodels.api as sm
    import statsmodels.formula.api as smf

    study = ks.load_study("lazarevic2021")
    y = draw_complete(study, "immobility", 5, 3)
    plan = study.plan("immobility")
    for text, row in (("F(2,39) = 2.48", "C(drug, Sum):C(blocker, Sum)"),
                      ("F(1,39) = 0.142", "C(blocker, Sum)")):  # fmt: skip
        printed = claim_of(study, text).statistic
        problem, kept = _laid_out(study, "immobility", printed)
        f, converged = _f_of(problem, _rows_of(problem, printed), y[:, kept])
        assert converged.all()
        for b in range(3):
            fit = smf.ols("y ~ C(drug, Sum) * C(blocker, Sum)", plan.assign(y=y[b])).fit()
            table = sm.stats.anova_lm(fit, typ=3)
            assert f[b] == pytest.approx(table.loc[row, "F"], rel=1e-8)  # REML stops at 1e-12


def test_f_of_repeated_measures_is_that_of_pingouin():
    import pingouin as pg

    study = ks.load_study("wu2021")
    printed = claim_of(study, "F(1.89,13.23)").statistic
    problem, kept = _laid_out(study, "failures", printed)
    y = draw_complete(study, "failures", 2, 6)[:, kept]
    f, _ = _f_of(problem, _rows_of(problem, printed), y)
    part = study.plan("failures")[kept]
    same = 0
    for b in range(6):
        frame = part.assign(y=y[b], subject=part["subject"].astype(str),
                            phase=part["phase"].astype(str))  # fmt: skip
        table = pg.rm_anova(frame, dv="y", within="phase", subject="subject", detailed=True)
        classical = float(table["F"].iloc[0])
        # equal while the variance between mice is above zero, smaller where it is held at zero
        same += abs(f[b] / classical - 1) < 1e-6
    assert same >= 3


def test_the_share_falls_with_f_and_has_the_size_of_the_null():
    """Under no effect of any kind the share is the upper tail of F(2, 40)."""
    study = ks.load_study("lazarevic2021")
    claim = claim_of(study, "F(2,39) = 2.48")
    outcomes = tuple(
        replace(o, effects=()) if o.name == "immobility" else o for o in study.outcomes
    )
    null = replace(study, outcomes=outcomes, claims=(claim,))
    table = printed_panels(null, draws=1500, seed=4)[0].table
    tail = stats.f.sf(2.48, 2, 40)
    # four Monte-Carlo standard errors; the ceiling at 240 s hardly touches it
    np.testing.assert_allclose(
        table["share_above"], tail, atol=4 * np.sqrt(tail * (1 - tail) / 1500)
    )


def test_larger_truths_give_larger_f():
    study = ks.load_study("wu2021")
    table = printed_panels(study, draws=200, seed=1)[0].table.set_index("truth")
    assert table["median_f"].is_monotonic_increasing
    assert table.loc["none", "effect"] == 0
    assert (table["percentile"] == 100 * (1 - table["share_above"])).all()
