"""Pitfalls and printed statistics of a Study file: what is refused, and what changes a hash."""

from importlib import resources

import pytest

import ketastats as ks
from ketastats.core.errors import StudyError

TEXT = (resources.files("ketastats") / "studies" / "lazarevic2021.toml").read_text("utf-8")
OWN = "[pitfalls.own_control]\n"
F = 'statistic = { F = 2.48, term = "drug:blocker", formula = "drug * blocker" }'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('tempting = "published"', 'tempting = "publishd"', "did you mean 'published'"),
        ('by = "blocker"\n', "", "the rule 'own control' needs 'by'"),
        ('by = "blocker"\n', 'by = "blocked"\n', "did you mean 'blocker'"),
        ('control = { drug = "vehicle" }', 'control = { drug = "vehicel" }', "did you mean"),
        ('rule = "own control"', 'rule = "analysis"', "needs 'tempting'"),
        ('by = "blocker"\n', 'by = "blocker"\nshown = "swim_HNK"\n', "belongs to the rule"),
        ('right = "swim_primary"', 'right = "primary"', "is not an analysis of immobility"),
        (F, F.replace("drug:blocker", "drug:block"), "factor of the formula"),
        (F, F.replace("drug * blocker", "drug * blcker"), "column of this design"),
        (F, F.replace(" }", ', where = { state = "sad" } }'), "level of state"),
        ("equivalence = [-9, 9]", "equivalence = [9, -9]", "not in order"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_mend(old, new, said):
    assert old in TEXT
    with pytest.raises(StudyError, match=said):
        ks.parse_study(TEXT.replace(old, new, 1), where="mine.toml")


def test_prose_of_a_pitfall_changes_no_hash_and_its_rule_does():
    study = ks.parse_study(TEXT)
    why = study.pitfalls[0].why
    assert ks.parse_study(TEXT.replace(why, "Another reason.")).hash == study.hash
    changed = TEXT.replace('tempting = "animal_only"', 'tempting = "published"')
    assert ks.parse_study(changed).hash != study.hash
    assert ks.parse_study(TEXT.replace("F = 2.48", "F = 2.49")).hash != study.hash
    assert ks.parse_study(TEXT.replace('text = "F(2,39) = 2.48, ', 'text = "')).hash == study.hash
