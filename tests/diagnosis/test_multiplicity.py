"""Families of questions, and p values adjusted within them."""

from dataclasses import replace

import numpy as np
import pytest

import ketastats as ks
from ketastats.diagnosis.family_rates import _holm
from ketastats.diagnosis.multiplicity import FEWEST, adjust, adjusted_p, families

# a few products and minima of double precision
EXACT = 1e-14

P = [0.00034, 0.0081, 0.0081, 0.0123, 0.04, 0.049, 0.2, 0.63, 0.91, 1.0]
# R 4: p.adjust(P, "holm") and p.adjust(P, "BH")
R_HOLM = [0.0034, 0.0729, 0.0729, 0.0861, 0.24, 0.245, 0.8, 1.0, 1.0, 1.0]
R_BH = [0.0034, 0.027, 0.027, 0.03075, 0.08, 0.0816666666666666791, 0.2857142857142857539,
        0.7875, 1.0, 1.0]  # fmt: skip


def test_holm_and_bh_are_those_of_r():
    np.testing.assert_allclose(adjust(P, "holm"), R_HOLM, rtol=EXACT)
    np.testing.assert_allclose(adjust(P, "fdr_bh"), R_BH, rtol=EXACT)


def test_holm_over_many_rows_is_holm_of_each():
    rng = np.random.default_rng(1)
    p = np.vstack([P, rng.permutation(P), rng.random(10), rng.random(10) ** 4])
    np.testing.assert_allclose(_holm(p), [adjust(row, "holm") for row in p], rtol=EXACT)


def test_a_question_without_p_is_not_counted():
    out = adjust([0.01, np.nan, 0.02], "holm")
    np.testing.assert_array_equal(out, [0.02, np.nan, 0.02])
    assert np.isnan(adjust([np.nan], "fdr_bh")).all()


@pytest.fixture(scope="module")
def study():
    return ks.load_study("yokoyama2024")


def test_regions_are_one_family(study):
    (family,) = families(study)
    assert (family.outcome, family.factor) == ("density", "region")
    assert set(family.levels) == set(study.outcome("density").occasions[0].levels)
    for name, level in zip(family.estimands, family.levels, strict=True):
        e = study.estimand(name)
        assert dict(e.within)["region"] == level
        assert [f for f, _ in e.contrast] == ["drug"]
    # other drugs, one sex or a difference of regions are other questions
    others = {"region_aIC_R_S", "region_aIC_rest", "brain_R"}
    assert not others & set(family.estimands)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": "natural"},
        {"contrast": (("drug", (("S", 1.0), ("saline", -1.0))),)},
        {"within": (("region", "DG"), ("sex", "M"))},
        {"target": "carry_over"},
        {"weights": (("sex", (("F", 1.0), ("M", 0.0))),)},
    ],
)
def test_another_question_is_no_member(study, change):
    odd = tuple(replace(e, **change) if e.name == "region_DG" else e for e in study.estimands)
    (family,) = families(replace(study, estimands=odd))
    assert "region_DG" not in family.estimands and len(family.estimands) == 59


def test_the_order_of_levels_and_factors_is_no_difference(study):
    def turned(e):
        contrast = tuple((f, levels[::-1]) for f, levels in e.contrast)
        return replace(e, contrast=contrast, within=e.within[::-1])

    odd = tuple(turned(e) if e.name == "region_DG" else e for e in study.estimands)
    assert families(replace(study, estimands=odd)) == families(study)


def test_few_questions_are_no_family(study):
    names = families(study)[0].estimands
    for kept, found in ((FEWEST - 1, 0), (FEWEST, 1)):
        few = tuple(e for e in study.estimands if e.name not in names[kept:])
        assert len(families(replace(study, estimands=few))) == found


@pytest.fixture(scope="module")
def results(study):
    """The answers of three outcomes, one of them with a family."""
    return ks.analyse(study, seed=1, analyses=["swim_primary", "insula_primary", "density_primary"])


def test_every_outcome_and_every_family_is_adjusted_by_itself(results):
    table = adjusted_p(results)
    assert set(table["family"]) == {"immobility", "insula", "density", "density, region"}
    assert not table["estimand"].duplicated().any()
    for _, part in table.groupby("family"):
        p, k = part["p"].to_numpy(), len(part)
        ranked = np.sort(p)
        # the definitions, written out: min over j >= i of k p_j / j; max over j <= i
        bh = [min([1.0, *(k * q / (i + 1) for i, q in enumerate(ranked) if q >= x)]) for x in p]
        holm = [min(1.0, max((k - i) * q for i, q in enumerate(ranked) if q <= x)) for x in p]
        np.testing.assert_allclose(part["p_bh"], bh, rtol=EXACT)
        np.testing.assert_allclose(part["p_holm"], holm, rtol=EXACT)
    assert (table["family"] == "density, region").sum() == 60


def test_only_primary_answers_count(study):
    names = ["swim_primary", "swim_published"]
    table = adjusted_p(ks.analyse(study, seed=1, analyses=names))
    alone = adjusted_p(ks.analyse(study, seed=1, analyses=names[:1]))
    assert table.equals(alone)
    none = adjusted_p(ks.analyse(study, seed=1, analyses=names[1:]))
    assert len(none) == 0 and list(none.columns) == list(table.columns)
