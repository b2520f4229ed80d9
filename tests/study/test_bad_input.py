"""Study files that cannot be used: every message names the file, the key path and the mend."""

import re
from pathlib import Path

import pytest

import ketastats as ks
from ketastats.core.errors import EXIT_BAD_INPUT, StudyError

CROSSOVER = """\
schema = 1

[study]
id = "trial"
title = "A trial"

[study.references.senn]
text = "Senn S. Cross-over Trials in Clinical Research."

[study.provenance]
subjects = "assumed: four per sequence"

[design]
kind = "crossover"
sequences = { PN = ["placebo", "naltrexone"], NP = ["naltrexone", "placebo"] }
subjects_per_sequence = 4
times = { pre = 0, day1 = 1 }
washout_days = 19
strata = { sex = { F = 0.5, M = 0.5 } }

[outcomes.madrs]
scale = { kind = "integer", min = 0, max = 60, unit = "points" }
baseline = 30.0
effects = [{ when = { time = "day1" }, add = -15.0, provenance = "assumed" }]
spread = { subject = 4.5, residual = 4.0 }

[estimands.effect]
outcome = "madrs"
contrast = { treatment = "naltrexone - placebo", time = "day1 - pre" }

[analyses.primary]
engine = "reml"
formula = "treatment * time + (1 | subject)"

[[claims]]
text = "F(1,7) = 5.39"
about = "effect"
"""

PARALLEL = """\
schema = 1

[study]
id = "mice"
title = "Mice"

[design]
kind = "parallel"
subject = "mouse"
factors = { drug = ["saline", "R"] }
within = { trial = 2 }

[design.groups]
control = { drug = "saline", n = 4 }
treated = { drug = "R", n = 4 }

[outcomes.seconds]
scale = { kind = "real", decimals = 1 }
baseline = 30
spread = { subject = 4, residual = 4 }

[estimands.effect]
outcome = "seconds"
contrast = { drug = "R - saline" }

[analyses.primary]
engine = "reml"
formula = "drug + trial + (1 | subject)"
"""

SEQUENCES = 'sequences = { PN = ["placebo", "naltrexone"], NP = ["naltrexone", "placebo"] }'
FORMULA = "treatment * time + (1 | subject)"
TREATMENTS = "naltrexone - placebo"


def change(text: str, old: str, new: str) -> str:
    assert text.count(old) >= 1, old
    return text.replace(old, new, 1)


def error_of(text: str) -> StudyError:
    with pytest.raises(StudyError) as caught:
        ks.parse_study(text, where="trial.toml")
    assert caught.value.exit_code == EXIT_BAD_INPUT
    return caught.value


def expect(text: str, key: str, says: str, mend: str) -> None:
    """Demand one line: file, key path, what is wrong (a pattern), and the mend (a pattern)."""
    error = error_of(text)
    line = str(error)
    assert "\n" not in line
    place = f"trial.toml: {key}: " if key else "trial.toml: "
    assert line.startswith(place), line
    assert re.search(says, error.message), error.message
    assert error.mend, f"no mend in: {line}"
    assert re.search(mend, error.mend), error.mend
    assert line.endswith(f"; {error.mend}")


@pytest.mark.parametrize("text", [CROSSOVER, PARALLEL])
def test_the_files_that_are_spoiled_below_are_good(text):
    study = ks.parse_study(text, where="trial.toml")
    assert len(study.simulate(seed=1)) == study.design.n_subjects * (4 if text == CROSSOVER else 2)


# the file


def test_a_missing_file_is_named_with_the_way_to_make_one(tmp_path):
    path = tmp_path / "none.toml"
    with pytest.raises(StudyError) as caught:
        ks.load_study(path)
    assert str(caught.value) == (
        f"{path}: there is no such file; make one with: ketastats new my-trial.toml"
    )


def test_an_unknown_study_name_suggests_the_nearest():
    with pytest.raises(StudyError, match=r"no study called 'jelen'; did you mean 'jelen2025'\?"):
        ks.load_study("jelen")


def test_a_folder_is_not_a_study_file(tmp_path):
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    with pytest.raises(StudyError, match=re.escape(f"{folder}: cannot read the file")):
        ks.load_study(folder)


def test_a_file_that_is_not_text_says_so(tmp_path):
    path = tmp_path / "picture.toml"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(StudyError, match=r"picture\.toml: cannot read .*; it must be UTF-8 text"):
        ks.load_study(path)


def test_errors_in_a_file_name_its_path(tmp_path):
    path = tmp_path / "spoiled.toml"
    path.write_text(change(CROSSOVER, "baseline = 30.0", "baseline = 99.0"))
    with pytest.raises(StudyError, match=re.escape(f"{path}: outcomes.madrs.baseline: ")):
        ks.load_study(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('kind = "crossover"', 'kind = "crossover'),
        ('title = "A trial"', 'title = "A trial"\ntitle = "Again"'),
        ("[design]", "[design"),
        ("F = 0.5, M = 0.5 }", "F = 0.5, M = 0.5"),
    ],
)
def test_malformed_toml_names_the_line(old, new):
    expect(change(CROSSOVER, old, new), "", r"not valid TOML: .*line \d+", "quotes, brackets")


@pytest.mark.parametrize(
    ("line", "says", "mend"),
    [
        ("", "declares no schema", r'put "schema = 1" on the first line'),
        ("schema = 2\n", "schema = 2; this version reads schema = 1", "version of ketastats"),
        ('schema = "1"\n', "schema = '1'", "."),
        ("schema = true\n", "schema = True", "."),
    ],
)
def test_a_missing_or_newer_schema_is_refused_by_name(line, says, mend):
    expect(change(CROSSOVER, "schema = 1\n", line), "schema", says, mend)


# unknown keys


@pytest.mark.parametrize(
    ("old", "new", "key", "near"),
    [
        ("[outcomes.madrs]", "[outcome.madrs]", "", "outcomes"),
        ('title = "A trial"', 'titel = "A trial"', "study", "title"),
        ("text = ", "txt = ", "study.references.senn", "text"),
        ("washout_days", "washout", "design", "washout_days"),
        ("baseline", "base_line", "outcomes.madrs", "baseline"),
        ("unit =", "units =", "outcomes.madrs.scale", "unit"),
        ("add =", "ad =", "outcomes.madrs.effects.0", "add"),
        ("contrast =", "contrasts =", "estimands.effect", "contrast"),
        ("engine =", "engin =", "analyses.primary", "engine"),
        ("about =", "abut =", "claims.0", "about"),
        ("spread =", "missing = { random = 0.1 }\nspread =", "outcomes.madrs.missing", "at_random"),
        (
            "spread =",
            "carry_over = { half_life = 3 }\nspread =",
            "outcomes.madrs.carry_over",
            "half_life_days",
        ),
        (
            "[outcomes.madrs]",
            "[design.clusters.ward]\nsizes = 3\n[outcomes.madrs]",
            "design.clusters.ward",
            "size",
        ),
    ],
)
def test_an_unknown_key_at_any_depth_suggests_the_nearest(old, new, key, near):
    expect(change(CROSSOVER, old, new), key, "^unknown key", f"^did you mean '{near}'")


def test_an_unknown_key_with_nothing_near_lists_the_valid_ones():
    text = change(CROSSOVER, "spread =", "missing = { xyz = 0.1 }\nspread =")
    expect(text, "outcomes.madrs.missing", "unknown key 'xyz'", "use one of 'at_random'")


def test_a_missing_key_is_named():
    text = change(CROSSOVER, "baseline = 30.0\n", "")
    expect(text, "outcomes.madrs", "the key 'baseline' is missing", "baseline = ")


# values of the wrong kind


@pytest.mark.parametrize(
    ("old", "new", "key", "says", "mend"),
    [
        ('id = "trial"', 'id = "My trial"', "study.id", "'My trial'", "small letters"),
        ('title = "A trial"', "title = 3", "study.title", "string", "in quotes"),
        ('kind = "crossover"', 'kind = "cross-over"', "design.kind", "'cross-over'", "'crossover'"),
        (
            "subjects_per_sequence = 4",
            "subjects_per_sequence = 4.5",
            "design.subjects_per_sequence",
            "integer",
            "whole number",
        ),
        (
            "subjects_per_sequence = 4",
            "subjects_per_sequence = 0",
            "design.subjects_per_sequence",
            "greater than 0",
            "above 0",
        ),
        ("subject = 4.5", 'subject = "4.5"', "outcomes.madrs.spread.subject", "number", "number"),
        ("subject = 4.5", "subject = true", "outcomes.madrs.spread.subject", "number", "number"),
        ("subject = 4.5", "subject = inf", "outcomes.madrs.spread.subject", "finite", "finite"),
        ("baseline = 30.0", "baseline = nan", "outcomes.madrs.baseline", "finite", "finite"),
        (
            'engine = "reml"',
            'engine = "reml"\nddf = "kenward-rogers"',
            "analyses.primary.ddf",
            "'kenward-rogers'",
            "did you mean 'kenward-roger'",
        ),
        (
            'engine = "reml"',
            'engine = "reml"\nlevel = 95',
            "analyses.primary.level",
            "less than 1",
            "below 1",
        ),
        (
            'engine = "reml"',
            'engine = "mcmc"\npriors = { effect = "normal(0, 1)" }',
            "analyses.primary.priors.effect",
            "'effect'",
            "did you mean 'effects'",
        ),
        ("[outcomes.madrs]", '[outcomes."a b"]', "outcomes.a b", "'a b'", "letters, digits and _"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_and_mended(old, new, key, says, mend):
    expect(change(CROSSOVER, old, new), key, says, mend)


# impossible designs


def test_a_treatment_in_no_sequence():
    text = change(
        CROSSOVER,
        "washout_days",
        'treatments = ["placebo", "naltrexone", "naltrexon"]\nwashout_days',
    )
    expect(text, "design.treatments", "'naltrexon' is in no sequence", "did you mean 'naltrexone'")


def test_a_treatment_that_is_not_declared():
    text = change(CROSSOVER, SEQUENCES, SEQUENCES.replace('NP = ["nal', 'NP = ["nel'))
    text = change(text, "washout_days", 'treatments = ["placebo", "naltrexone"]\nwashout_days')
    expect(text, "design.sequences", "'neltrexone'.* not among", "did you mean 'naltrexone'")


def test_period_counts_that_differ():
    text = change(CROSSOVER, 'NP = ["naltrexone", ', 'NP = ["naltrexone", "placebo", ')
    expect(text, "design.sequences", "NP has 3 periods and PN has 2", "the same number of periods")


@pytest.mark.parametrize(
    ("shares", "says", "mend"),
    [
        ("{ F = 0.5, M = 0.6 }", r"add up to 1\.1", "add up to 1"),
        ("{ F = 0.5, M = 0.4 }", r"add up to 0\.9", "add up to 1"),
        ("{ F = 1.0 }", "two levels or more", "level"),
    ],
)
def test_strata_that_do_not_add_up(shares, says, mend):
    text = change(CROSSOVER, "{ F = 0.5, M = 0.5 }", shares)
    expect(text, "design.strata.sex", says, mend)


def test_a_negative_share():
    text = change(CROSSOVER, "{ F = 0.5, M = 0.5 }", "{ F = 1.5, M = -0.5 }")
    expect(text, "design.strata.sex.F", "less than or equal to 1", "1 or less")


@pytest.mark.parametrize("name", ["period", "treatment", "sequence", "subject", "time"])
def test_a_stratum_with_the_name_of_another_column(name):
    text = change(CROSSOVER, "strata = { sex", f"strata = {{ {name}")
    expect(text, "design", f"'{name}' is declared twice", "rename")


@pytest.mark.parametrize("name", ["period", "treatment", "sequence", "subject", "sex"])
def test_repeated_measurements_with_the_name_of_another_column(name):
    text = change(CROSSOVER, "spread =", f"within = {{ {name} = 3 }}\neffects = []\nspread =")
    text = re.sub(r"(?m)^effects = \[\{.*\n", "", text)
    expect(text, f"outcomes.madrs.within.{name}", f"'{name}' is declared twice", "rename")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"placebo", "naltrexone"', '"", "naltrexone"', "design.sequences.PN.0"),
        ("F = 0.5", '"" = 0.5', "design.strata.sex."),
        ("pre = 0", '"" = 0', "design.times."),
    ],
)
def test_a_level_without_a_name(old, new, key):
    expect(change(CROSSOVER, old, new), key, "at least 1 character", "name")


@pytest.mark.parametrize(
    ("size", "key"),
    [("4000000000", "design.subjects_per_sequence"), ("-1", "design.subjects_per_sequence")],
)
def test_more_subjects_than_a_computer_holds_or_fewer_than_one(size, key):
    text = change(CROSSOVER, "subjects_per_sequence = 4", f"subjects_per_sequence = {size}")
    expect(text, key, size, r"\d")


def test_sizes_for_sequences_that_are_not_there():
    text = change(
        CROSSOVER, "subjects_per_sequence = 4", "subjects_per_sequence = { PN = 4, PP = 4 }"
    )
    expect(text, "design.subjects_per_sequence", "every sequence", "PN, NP")


def test_no_sizes():
    text = change(CROSSOVER, "subjects_per_sequence = 4\n", "")
    expect(text, "design", "subjects_per_sequence is missing", "set it")


@pytest.mark.parametrize(
    ("declared", "key", "says", "mend"),
    [
        ('name = "wiliams"\ntreatments = ["A", "B"]', "design.name", "'wiliams'", "'williams'"),
        ('name = "AB/BA"\ntreatments = ["A", "B", "C"]', "design.name", "3 are declared", "letter"),
        ('name = "AB/BAA"\ntreatments = ["A", "B"]', "design.name", "differ in length", "period"),
        ('name = "balaam"\ntreatments = ["A"]', "design.name", "two treatments", "two"),
        ('name = "williams"\ntreatments = ["A"]', "design.name", "two treatments", "two"),
        ('name = "AB/BA"', "design", "needs its treatments", "treatments = "),
        (f'name = "AB/BA"\n{SEQUENCES}', "design", "sequences, or the name", "name = "),
        ('sequences = { A = ["x"], B = ["y"] }', "design.sequences", "two periods", "period"),
        (
            'sequences = { A = ["x", "x"], B = ["x", "x"] }',
            "design.sequences",
            "two treatments",
            "treatment",
        ),
    ],
)
def test_a_wrong_named_design_or_none(declared, key, says, mend):
    expect(change(CROSSOVER, SEQUENCES, declared), key, says, mend)


def test_times_that_are_not_distinct():
    text = change(CROSSOVER, "times = { pre = 0, day1 = 1 }", 'times = ["pre", "pre"]')
    expect(text, "design.times", "time are empty or not distinct", "once")


def test_groups_in_a_crossover_and_sequences_in_parallel_groups():
    text = change(CROSSOVER, "washout_days", "groups = { a = { n = 3 } }\nwashout_days")
    expect(text, "design.groups", "a crossover design has no groups", "leave it out")
    text = change(PARALLEL, "within", 'sequences = { A = ["a", "b"] }\nwithin')
    expect(text, "design.sequences", "a parallel design has no sequences", "leave it out")


def test_a_group_with_an_unknown_level():
    text = change(PARALLEL, 'drug = "R", n', 'drug = "r", n')
    expect(text, "design.groups.treated", "drug = 'r' is not one of its levels", "mean 'R'")


def test_a_group_without_a_level_of_every_factor():
    text = change(PARALLEL, 'treated = { drug = "R", n = 4 }', "treated = { n = 4 }")
    expect(text, "design.groups.treated", "drug", "'saline', 'R'")


def test_a_group_with_an_unknown_key():
    text = change(PARALLEL, 'treated = { drug = "R"', 'treated = { drg = "R"')
    expect(text, "design.groups.treated", "unknown key 'drg'", "did you mean 'drug'")


def test_a_group_without_its_size():
    text = change(PARALLEL, 'drug = "R", n = 4', 'drug = "R"')
    expect(text, "design.groups.treated", "the key 'n' is missing", "n = ")


def test_duplicate_groups():
    text = change(PARALLEL, 'drug = "R", n', 'drug = "saline", n')
    expect(text, "design.groups.treated", "two groups have the same levels", "join|differ|level")


def test_a_level_that_no_group_has():
    text = change(PARALLEL, '["saline", "R"]', '["saline", "R", "S"]')
    expect(text, "design.factors", "'S' of drug is in no group", "group")


def test_no_groups():
    text = PARALLEL[: PARALLEL.index("[design.groups]")]
    text += PARALLEL[PARALLEL.index("[outcomes") :]
    expect(text, "design", "needs factors and groups", "factors = ")


def test_a_cluster_of_a_level_that_is_not_there():
    cluster = '[design.clusters.cage]\nsize = 3\nwhere = { drug = "r" }\n[outcomes.seconds]'
    text = change(PARALLEL, "[outcomes.seconds]", cluster)
    expect(text, "design.clusters.cage.where", "drug = 'r'", "'R'")


# impossible truths


@pytest.mark.parametrize(
    ("spread", "key"),
    [
        ("subject = -4.5", "outcomes.madrs.spread.subject"),
        ("subject = { sd = -4.5 }", "outcomes.madrs.spread.subject.sd"),
        ('subject = { by = "sex", F = -1.0, M = 2.0 }', "outcomes.madrs.spread.subject"),
        ('subject = { by = "sex", F = inf, M = 2.0 }', "outcomes.madrs.spread.subject"),
    ],
)
def test_a_negative_spread(spread, key):
    expect(
        change(CROSSOVER, "subject = 4.5", spread),
        key,
        "greater than or equal to 0|non-negative",
        "0 or more",
    )


def test_a_spread_by_group_that_leaves_a_level_out():
    text = change(CROSSOVER, "subject = 4.5", 'subject = { by = "sex", F = 1.0 }')
    expect(text, "outcomes.madrs.spread.subject", "for level 'M'", "M = ")


def test_a_spread_of_an_unknown_factor():
    text = change(CROSSOVER, "subject = 4.5", '"subject:perod" = 4.5')
    expect(text, "outcomes.madrs.spread.subject:perod", "'perod'", "did you mean 'period'")


def test_a_spread_that_is_neither_number_nor_table():
    text = change(CROSSOVER, "subject = 4.5", "subject = { sdd = 4 }")
    expect(text, "outcomes.madrs.spread.subject", "cannot read this spread", "write a number")


def test_a_missing_residual():
    text = change(CROSSOVER, ", residual = 4.0", "")
    expect(text, "outcomes.madrs.spread", "the residual SD is missing", "add residual = ")


def test_a_carry_over_half_life_without_washout():
    text = change(CROSSOVER, "washout_days = 19\n", "")
    carry = "carry_over = { amounts = { naltrexone = 1.0 }, half_life_days = 3 }\nspread ="
    expect(
        change(text, "spread =", carry),
        "outcomes.madrs.carry_over",
        "needs the washout",
        r"set design\.washout_days",
    )


def test_a_carry_over_of_an_unknown_treatment():
    text = change(CROSSOVER, "spread =", "carry_over = { amounts = { naltrexon = 1.0 } }\nspread =")
    expect(text, "outcomes.madrs.carry_over.amounts", "'naltrexon'", "did you mean 'naltrexone'")


def test_a_carry_over_between_parallel_groups():
    text = change(PARALLEL, "spread =", "carry_over = { amounts = { R = 1.0 } }\nspread =")
    expect(text, "outcomes.seconds.carry_over", "needs a crossover", "leave it out")


def test_a_dropout_before_a_period_that_is_not_there():
    dropout = "dropout = { before_period = 3, probability = 0.1 }\nspread ="
    text = change(CROSSOVER, "spread =", dropout)
    expect(text, "outcomes.madrs.dropout", "no period 3", "the design has 2")


@pytest.mark.parametrize("baseline", ["61.0", "-1.0"])
def test_a_baseline_outside_the_scale(baseline):
    text = change(CROSSOVER, "baseline = 30.0", f"baseline = {baseline}")
    expect(text, "outcomes.madrs.baseline", "lies outside the scale", "0 to 60")


def test_bounds_in_the_wrong_order():
    text = change(CROSSOVER, "min = 0, max = 60", "min = 60, max = 0")
    expect(text, "outcomes.madrs.scale", "60 is not below max 0", "min")


@pytest.mark.parametrize("bound", ["min = 0.25", "max = 60.05"])
def test_bounds_finer_than_the_recorded_decimals(bound):
    text = change(PARALLEL, "decimals = 1", f"decimals = 1, {bound}")
    expect(text, "outcomes.seconds.scale", "decimals", "decimals")


@pytest.mark.parametrize(
    ("when", "key", "says", "mend"),
    [
        ('{ time = "day2" }', "when.time", "'day2' is not a level of time", "'day1'"),
        ('{ tim = "day1" }', "when", "'tim' is not a factor", "'time'"),
    ],
)
def test_an_effect_on_what_is_not_there(when, key, says, mend):
    text = change(CROSSOVER, 'when = { time = "day1" }', f"when = {when}")
    expect(text, f"outcomes.madrs.effects.0.{key}", says, f"did you mean {mend}")


def test_an_entry_threshold_on_both_sides():
    text = change(CROSSOVER, "spread =", "entry = { at_least = 3, at_most = 4 }\nspread =")
    expect(text, "outcomes.madrs.entry", "at_least or at_most", "one of")


# estimands


@pytest.mark.parametrize(
    ("old", "new", "key", "says", "mend"),
    [
        (
            TREATMENTS,
            "naltrexon - placebo",
            "contrast.treatment",
            "'naltrexon' is not a level",
            "did you mean 'naltrexone'",
        ),
        (
            "{ treatment =",
            "{ treatmnt =",
            "contrast",
            "'treatmnt' is not a factor",
            "did you mean 'treatment'",
        ),
        (
            'outcome = "madrs"',
            'outcome = "madr"',
            "outcome",
            "'madr' is not an outcome",
            "did you mean 'madrs'",
        ),
        (
            "contrast =",
            'within = { sex = "m" }\ncontrast =',
            "within.sex",
            "'m' is not a level of sex",
            "did you mean 'M'",
        ),
        (
            "contrast =",
            'within = { sx = "M" }\ncontrast =',
            "within",
            "'sx' is not a factor",
            "did you mean 'sex'",
        ),
        (
            "contrast =",
            "weights = { sex = { F = 0.5, M = 0.4 } }\ncontrast =",
            "weights.sex",
            "do not add up to 1",
            "add up to 1",
        ),
        (
            "contrast =",
            'within = { time = "day1" }\ncontrast =',
            "within.time",
            "'time' is in the contrast",
            "leave it out",
        ),
        (
            "contrast =",
            "weights = { time = { pre = 0.5, day1 = 0.5 } }\ncontrast =",
            "weights.time",
            "'time' is not averaged",
            "leave its weights out",
        ),
        (TREATMENTS, "placebo - placebo", "contrast.treatment", "cancels out", "write levels"),
        (TREATMENTS, "__import__('os')", "contrast.treatment", "'__import__'", "'placebo'"),
    ],
)
def test_an_estimand_that_names_what_is_not_there(old, new, key, says, mend):
    expect(change(CROSSOVER, old, new), f"estimands.effect.{key}", says, mend)


def test_a_claim_about_an_unknown_estimand():
    text = change(CROSSOVER, 'about = "effect"', 'about = "efect"')
    expect(text, "claims.0.about", "'efect' is not an estimand", "did you mean 'effect'")


# analyses


@pytest.mark.parametrize(
    ("formula", "says", "mend"),
    [
        ("treatment + {__import__('os').mkdir('PWNED')}", "contains '{'", "use names, numbers"),
        ("treatment + __import__('os').mkdir('PWNED')", "not allowed", "use names, numbers"),
        ("treatment + eval('1')", "'eval' is not allowed", "C, log"),
        ("treatment.__class__", "not allowed", "use names, numbers"),
        ("[t for t in treatment]", r"contains '\['", "use names, numbers"),
        ("treatment + lg(time)", "'lg' is not allowed", "did you mean 'log'"),
        ("treatmnt * time + (1 | subject)", "'treatmnt' is not a column", "mean 'treatment'"),
        ("treatment + (1 | subjct)", "'subjct' is not a column", "mean 'subject'"),
        ("treatment + (1 | subject", "unbalanced parentheses", "close every"),
        ("madrs ~ treatment", "has a left side", "right side only"),
        ("", "is empty", "write one"),
    ],
)
def test_a_formula_with_code_or_unknown_names(formula, says, mend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = change(CROSSOVER, f'"{FORMULA}"', f'"{formula}"')
    expect(text, "analyses.primary.formula", says, mend)
    assert not Path("PWNED").exists()


@pytest.mark.parametrize(
    ("prior", "key", "says", "mend"),
    [
        ('effects = "gauss(0, 1)"', "effects", r"cannot read the prior 'gauss\(0, 1\)'", "normal"),
        ('effects = "normal(0)"', "effects", "takes 2 numbers", "normal"),
        ('sd = "half-normal(-1)"', "sd", "not positive", "half-normal"),
        ('sd = "half-normal(1"', "sd", "cannot read", "half-normal"),
    ],
)
def test_an_unreadable_prior(prior, key, says, mend):
    text = change(CROSSOVER, 'engine = "reml"', f'engine = "mcmc"\npriors = {{ {prior} }}')
    expect(text, f"analyses.primary.priors.{key}", says, mend)


def test_an_analysis_of_an_unknown_estimand():
    text = change(CROSSOVER, 'engine = "reml"', 'engine = "reml"\nestimands = ["efect"]')
    expect(text, "analyses.primary.estimands", "'efect' is not an estimand", "mean 'effect'")


# provenance


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"assumed: four per sequence"', '"four per sequence"', "study.provenance.subjects"),
        ('provenance = "assumed"', 'provenance = "my guess"', "outcomes.madrs.effects.0"),
        (
            "spread =",
            'provenance = { baseline = "a guess" }\nspread =',
            "outcomes.madrs.provenance.baseline",
        ),
    ],
)
def test_a_provenance_without_its_kind(old, new, key):
    text = change(CROSSOVER, old, new)
    error = error_of(text)
    assert str(error).startswith(f"trial.toml: {key}")
    assert "does not start with where the value comes from" in error.message
    for kind in ("paper", "secondary", "derived", "typical", "assumed"):
        assert f'"{kind}:"' in str(error.mend)


@pytest.mark.parametrize(
    ("old", "new", "key", "near"),
    [
        ("subjects = ", "subject = ", "study.provenance.subject", "subjects"),
        (
            "spread =",
            'provenance = { "spread.subjct" = "assumed" }\nspread =',
            "outcomes.madrs.provenance.spread.subjct",
            "spread.subject",
        ),
    ],
)
def test_a_provenance_of_what_is_not_there(old, new, key, near):
    expect(change(CROSSOVER, old, new), key, "parameter", f"did you mean '{near}'")
