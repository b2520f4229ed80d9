import shutil
from pathlib import Path

import pytest

import ketastats as ks

TINY = """
schema = 1

[study]
id = "tiny"
title = "A tiny crossover"
summary = "Does B differ from A?"
questions = ["Does B differ from A?"]
citation = "Nobody N. An invented paper. Journal of Examples 2020."
doi = "10.1000/example"
labels = { F = "women", M = "men" }

[study.provenance]
subjects = "assumed"

[design]
kind = "crossover"
sequences = { AB = ["A", "B"], BA = ["B", "A"] }
subjects_per_sequence = 6
times = { pre = 0, post = 1 }
washout_days = 14
strata = { sex = { F = 0.5, M = 0.5 } }

[outcomes.score]
label = "Score (0-60)"
scale = { kind = "integer", min = 0, max = 60, unit = "points" }
higher_is = "worse"
baseline = 30.0
typical_sd = 8.0
effects = [
  { when = { time = "post" }, add = -10.0 },
  { when = { time = "post", treatment = "B" }, add = 4.0 },
  { when = { time = "post", treatment = "B", sex = "M" }, add = 2.0, centred = true },
]
spread = { subject = 4.0, "subject:time" = { sd = 4.0, when = { time = "post" } }, residual = 3.0 }
missing = { at_random = 0.03 }
dropout = { before_period = 2, probability = 0.1, log_odds_per_unit = 0.0, centre = 20 }

[estimands.effect]
outcome = "score"
label = "B minus A in the change"
contrast = { treatment = "B - A", time = "post - pre" }
[estimands.effect_men]
outcome = "score"
label = "the same in men"
contrast = { treatment = "B - A", time = "post - pre" }
within = { sex = "M" }
[estimands.effect_women]
outcome = "score"
label = "the same in women"
contrast = { treatment = "B - A", time = "post - pre" }
within = { sex = "F" }
[estimands.effect_sex]
outcome = "score"
label = "men minus women"
contrast = { treatment = "B - A", time = "post - pre", sex = "M - F" }
[estimands.carried]
outcome = "score"
label = "Carry-over at the second baseline"
contrast = { sequence = "BA - AB", period = "2 - 1" }
within = { time = "pre" }
target = "carry_over"

[analyses.primary]
engine = "reml"
outcome = "score"
label = "REML"
formula = "treatment * time * sex + period * time + (1 | subject) + (1 | subject:time)"
ddf = "kenward-roger"
estimands = ["effect", "effect_men", "effect_women", "effect_sex"]
[analyses.published]
engine = "reml"
outcome = "score"
label = "person only"
role = "published"
formula = "treatment * time * sex + period * time + (1 | subject)"
ddf = "satterthwaite"
estimands = ["effect"]
[analyses.complete]
engine = "reml"
outcome = "score"
label = "completers only"
role = "sensitivity"
completers = true
formula = "treatment * time * sex + period * time + (1 | subject) + (1 | subject:time)"
ddf = "kenward-roger"
estimands = ["effect"]
[analyses.carry]
engine = "reml"
outcome = "score"
label = "second baselines"
role = "sensitivity"
formula = "sequence * period * time + (1 | subject) + (1 | subject:time)"
ddf = "kenward-roger"
estimands = ["carried"]

[[claims]]
text = "F(1,33) = 5.0, P = 0.03"
about = "effect"
source = "abstract of the invented paper"
"""

DRAWS = 200
SEED = 3


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("study") / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny(tiny_file):
    return ks.load_study(tiny_file)


@pytest.fixture(scope="session")
def made(tiny, tiny_file, tmp_path_factory):
    """One report of the tiny study; tests only read it."""
    out = tmp_path_factory.mktemp("reports") / "tiny"
    return ks.report(tiny, out, seed=SEED, draws=DRAWS, source=tiny_file)


@pytest.fixture
def copied(made, tmp_path):
    """A copy of the report that a test may spoil."""
    return Path(shutil.copytree(made.folder, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def tiny_text() -> str:
    """The declaration of the tiny study."""
    return TINY
