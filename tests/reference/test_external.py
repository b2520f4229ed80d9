"""Data sets of the field with answers by R, SAS and NIST, read from a folder outside.

The folder is named by the environment variable ``KETASTATS_REFERENCE_DATA``. Any set in the form
that README.md describes can be dropped into it. Sets that may be copied are in ``external/`` here
and are tested in test_stored_answers.py and test_nist.py without the folder.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

from tests.reference.harness import VARIABLE, Case, cases, check, check_identities
from tests.reference.sets import described

FOLDER = Path(os.environ.get(VARIABLE) or "no-such-folder")
KNOWN = described()
CASES = list(cases(FOLDER, KNOWN))
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(
        not FOLDER.is_dir(), reason=f"{VARIABLE} names no folder with reference data"
    ),
]


def test_the_folder_holds_sets():
    assert CASES, f"{FOLDER} holds no folder with data.csv"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_answers_are_reached(case, comparison):
    """Against expected.json where there is one; elsewhere every number must be a number."""
    unread = check(case, KNOWN, comparison)
    if unread and not comparison.worst:
        pytest.skip(f"nothing here compares {unread} of {case.folder.name}")
    if unread:
        warnings.warn(f"nothing compares {unread} of {case}", stacklevel=1)


@pytest.mark.parametrize("case", [c for c in CASES if c.ddf], ids=str)
def test_identities_hold(case):
    """Without answers: dense algebra, the maximum of the likelihood, another order and coding."""
    check_identities(case, KNOWN)


@pytest.mark.parametrize(
    ("name", "block", "ddf", "kind"),
    [
        ("jk_claudication_4x4", "lmm_carry", "satterthwaite", "joint F"),
        ("jk_claudication_4x4", "lmm_carry", "kenward-roger", "joint F"),
        ("lmertest_ham_sex", "emmeans_product", "", "ci_low"),
        ("ema_replicate_ds1", "method_A_all_fixed", "", "log_se"),
        ("replicatebe_ds17_unbalanced", "method_A_all_fixed", "", "log_se"),
        ("chow_liu_auc_abba", "two_sample_t", "", "model statistic"),
        ("jk_copd_pefr", "two_sample_t_completers", "", "model statistic"),
    ],
)
def test_answers_beside_the_models_are_compared(name, block, ddf, kind, comparison):
    """A joint test, adjusted means, subjects as fixed effects, and the t test as a model."""
    if not (FOLDER / name).is_dir():
        pytest.skip(f"{VARIABLE} names a folder without {name}")
    assert check(Case(FOLDER / name, block, ddf), KNOWN, comparison) == []
    assert kind in comparison.worst
