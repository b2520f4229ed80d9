"""Many outcomes over one table: the same fits as one at a time."""

import numpy as np
import pandas as pd
import pytest

import ketastats as ks
from ketastats.analysis.responses import response
from ketastats.core.errors import DataError, NotEstimable
from ketastats.diagnosis.batch import draw_complete
from ketastats.frequentist.gee import gee, gee_many
from ketastats.study.model import Estimand


@pytest.mark.parametrize(
    ("name", "analysis", "scale"),
    [("wu2021", "primary", "natural"), ("modasava2019", "ensembles_primary", "link"),
     ("modasava2019", "restored_primary", "natural")],
)  # fmt: skip
def test_rows_equal_single_fits(name, analysis, scale):
    study = ks.load_study(name)
    a = study.analysis(analysis)
    y = draw_complete(study, a.outcome, 1, 3)
    asked = [e for e in study.estimands_of(a) if e.scale == "natural"][:3]
    plan = study.plan(a.outcome)
    for b in range(3):
        ready = response(study.outcome(a.outcome), a, plan.assign(**{a.outcome: y[b]}))
        kw = {"family": a.family, "size": ready.size, "exposure": ready.exposure}
        one = gee(a.formula, ready.data, outcome=a.outcome, **kw)
        table = one.contrast(estimands=asked, scale=scale)
        if b == 0:
            bare = ready.data.drop(columns=a.outcome)
            many = gee_many(a.formula, bare, y, estimands=asked, scale=scale, **kw)
            assert many.converged.all()
        for column in ("estimate", "se", "df", "p", "ci_low", "ci_high"):
            # the same code on the same numbers
            np.testing.assert_allclose(getattr(many, column)[b], table[column], rtol=1e-12)


def test_an_outcome_that_separates_is_flagged_and_has_no_numbers():
    plan = pd.DataFrame({"mouse": range(12), "drug": list("AB") * 6, "n": 10})
    asked = [Estimand("d", "y", (("drug", (("B", 1.0), ("A", -1.0))),), (), (), "direct", "d")]
    rng = np.random.default_rng(1)
    y = np.stack([rng.binomial(10, 0.4, 12), np.where(np.arange(12) % 2, 10, 0)])
    many = gee_many("drug + (1|mouse)", plan, y, family="binomial", size="n", estimands=asked)
    assert many.converged.tolist() == [True, False]
    assert np.isfinite(many.p[0]).all() and np.isnan(many.p[1]).all()


def test_bad_input_is_said_in_one_sentence():
    study = ks.load_study("wu2021")
    plan = pd.DataFrame({"mouse": range(4), "drug": list("ABAB")})
    with pytest.raises(DataError, match="give one complete row"):
        gee_many("drug + (1|mouse)", plan, np.full((2, 4), np.nan), estimands=[])
    with pytest.raises(NotEstimable):
        gee_many("drug + (1|mouse)", plan, np.arange(4.0)[None],
                 estimands=[study.estimand("rescue")])  # fmt: skip
