"""The harness over outside data sets, on sets made up here: what it picks up and what fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.reference.conftest import Comparison
from tests.reference.harness import VARIABLE, Case, check, run
from tests.reference.made_up import closed_form, drop_in, trial
from tests.reference.sets import read_set

BOTH = ("satterthwaite", "kenward-roger")
OWN_NAMES = {"subject": "patient", "sequence": "arm", "period": "visit", "treatment": "drug"}
OWN_TOML = """
factors = ["visit"]
reference = { drug = "B" }
derive = { score = "log(level)" }
[models]
lmm = "score ~ arm + visit + drug + (1 | patient)"
"""


def own_names(block: dict) -> dict:
    """Return answers with other names of columns and without a call."""
    text = json.dumps({k: v for k, v in block.items() if k != "r_call"})
    for theirs, mine in OWN_NAMES.items():
        text = text.replace(theirs, mine)
    return json.loads(text)


@pytest.fixture
def data() -> pd.DataFrame:
    return trial()


@pytest.fixture
def block(data) -> dict:
    return closed_form(data)


def test_a_set_with_a_call_needs_no_description(tmp_path, data, block):
    """Formula, factors (period is a number) and the reference level are read off the answers."""
    drop_in(tmp_path / "made_up", data, block)
    assert run(tmp_path, {}) == {f"made_up-lmm-{ddf}": "" for ddf in BOTH}


def test_a_set_with_its_own_harness_toml(tmp_path, data, block):
    """Columns of other names, an outcome on the log scale, a model that no call gives."""
    other = data.assign(y=np.exp(data["y"])).rename(columns=OWN_NAMES | {"y": "level"})
    drop_in(tmp_path / "made_up", other, own_names(block), OWN_TOML)
    assert run(tmp_path, {}) == {f"made_up-lmm-{ddf}": "" for ddf in BOTH}
    # its own words win over what is known of a set of that name
    known = {"made_up": {"models": {"lmm": "level ~ drug + (1 | patient)"}}}
    assert set(run(tmp_path, known).values()) == {""}


def test_a_set_without_answers_runs_the_plain_crossover_model(tmp_path, data):
    drop_in(tmp_path / "bare", data[data["y"] > 4])  # incomplete people
    drop_in(tmp_path / "pk", data.assign(y=np.exp(data["y"])).rename(columns={"y": "pk"}))
    assert set(run(tmp_path, {}).values()) == {""}
    fits = [read_set(tmp_path / n, {}).fitted("lmm", "satterthwaite") for n in ("bare", "pk")]
    assert {f.problem.formula for f in fits} == {"sequence + period + treatment + (1 | subject)"}
    assert [f.problem.outcome for f in fits] == ["y", "log_pk"]


WRONG = {  # where in the block, and by how much of itself: three times the limit
    "a variance": (("variance", "subject:(Intercept)"), 3e-7),
    "the likelihood": (("minus2_reml_loglik",), 3e-7),
    "the rows": (("n_obs",), 1 / 32),
    "an estimate": (("fixed", 2, "kenward_roger", "estimate"), 3e-7),
    "a standard error": (("fixed", 1, "satterthwaite", "se"), 3e-7),
    "df by Satterthwaite": (("fixed", 2, "satterthwaite", "df"), 3e-6),
    "df by Kenward-Roger": (("fixed", 0, "kenward_roger", "df"), 3e-6),
    "p": (("fixed", 2, "kenward_roger", "p"), 3e-6),
    "an end of an interval": (("fixed", 2, "satterthwaite", "ci95", 1), 3e-6),
    "F": (("type3", "satterthwaite", "period", "F"), 3e-7),
    "df of F": (("type3", "kenward_roger", "treatment", "den_df"), 3e-6),
    "p of F": (("type3", "kenward_roger", "sequence", "p"), 3e-6),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_number_fails(what, tmp_path, data, block):
    """And only by the method that it belongs to, where it belongs to one."""
    path, share = WRONG[what]
    block = json.loads(json.dumps(block))  # the methods share their rows
    place = block
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] *= 1 + share
    drop_in(tmp_path / "made_up", data, block)
    failed = {name for name, sentence in run(tmp_path, {}).items() if sentence}
    methods = [m for m in BOTH if m.replace("-", "_") in path] or BOTH
    assert failed == {f"made_up-lmm-{m}" for m in methods}


def test_a_wrong_p_far_in_the_tail_fails(tmp_path, data):
    """By its ratio: the difference is one that counts as none."""
    block = closed_form(far := data.assign(y=data["y"] + 4.0 * (data["treatment"] == "A")))
    assert 0 < block["fixed"][2]["kenward_roger"]["p"] < 1e-9
    drop_in(tmp_path / "right", far, json.loads(json.dumps(block)))
    block["fixed"][2]["kenward_roger"]["p"] *= 1 + 3e-5
    drop_in(tmp_path / "wrong", far, block)
    said = run(tmp_path, {})
    assert not any(sentence for name, sentence in said.items() if name.startswith("right"))
    assert "tail p" in said["wrong-lmm-kenward-roger"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b.update(singular=True), "boundary"),
        (lambda b: b["fixed"][2].update(name="treatmentC"), "no coefficient 'treatmentC'"),
        (lambda b: b["type3"]["satterthwaite"].pop("period"), "period"),
        (lambda b: b["variance"].pop("Residual"), "variances"),
        (lambda b: b.update(r_call="see the paper"), "holds no lmer() call; write harness.toml"),
    ],
)
def test_answers_that_do_not_fit_the_model_fail(change, words, tmp_path, data, block):
    change(block)
    drop_in(tmp_path / "made_up", data, block)
    assert words in run(tmp_path, {})["made_up-lmm-satterthwaite"]


def test_a_set_that_cannot_be_read_says_why_and_stops_no_other(tmp_path, data, block):
    drop_in(tmp_path / "good", data, block)
    drop_in(tmp_path / "columns", data.drop(columns=["period", "y"]))
    drop_in(tmp_path / "one_period", data[data["period"] == 1])
    drop_in(tmp_path / "key", data, toml="modles = 1")
    drop_in(tmp_path / "model", data, toml='models = { lmm = { fromula = "y ~ 1" } }')
    drop_in(tmp_path / "toml", data, toml="models = ")
    drop_in(tmp_path / "json", data).joinpath("expected.json").write_text("{")
    drop_in(tmp_path / "table", data, block).joinpath("data.csv").unlink()
    (tmp_path / "notes").mkdir()
    said = run(tmp_path, {})
    assert {n: w for n, w in said.items() if n.startswith("good")} == {
        f"good-lmm-{ddf}": "" for ddf in BOTH
    }
    words = {
        "columns": "no description says which model to fit and there is no column period, y",
        "one_period": "the plain crossover model does not fit (",
        "key": "there is no key 'modles'; did you mean 'models'?",
        "model": "a model is a formula, or formula and where",
        "toml": "cannot read it (",
        "json": "cannot read it (",
        "table": "there is no data.csv",
    }
    first = {name.split("-")[0]: sentence for name, sentence in said.items()}
    assert set(first) == {*words, "good"}
    for name, part in words.items():
        assert part in first[name], (name, first[name])
    assert all("write harness.toml beside" in first[n] for n in ("columns", "one_period"))


def test_what_nothing_compares_is_named(tmp_path, data, block):
    block["profile"] = [1, 2]
    folder = drop_in(tmp_path / "made_up", data, block)
    answers = json.loads((folder / "expected.json").read_text())
    answers["computed"]["bayes"] = {"mean": 1.0}
    (folder / "expected.json").write_text(json.dumps(answers))
    assert check(Case(folder, "lmm", "satterthwaite"), {}, Comparison()) == ["profile"]
    assert check(Case(folder, "bayes"), {}, Comparison()) == ["bayes"]


def run_pytest(folder: Path | None) -> subprocess.CompletedProcess[str]:
    """Run test_external.py as the command line does, over a folder or without one."""
    here = Path(__file__).parent
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", VARIABLE))}
    if folder is not None:
        environment[VARIABLE] = str(folder)
    command = [sys.executable, "-m", "pytest", "-rsf", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, str(here / "test_external.py")],
        cwd=here.parents[1], env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_without_the_folder_everything_is_skipped_and_says_why():
    done = run_pytest(None)
    assert done.returncode == 0, done.stdout
    last = done.stdout.strip().splitlines()[-1]
    assert "skipped" in last and "passed" not in last and "failed" not in last
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert skipped and all(f"{VARIABLE} names no folder" in line for line in skipped)


def test_the_folder_of_the_variable_is_tested(tmp_path, data, block):
    """A right set and one with a wrong number, dropped in without a change of any file here."""
    drop_in(tmp_path / "right", data, block)
    wrong = json.loads(json.dumps(block))
    wrong["fixed"][2]["satterthwaite"]["se"] *= 1.001
    drop_in(tmp_path / "wrong", data, wrong)
    done = run_pytest(tmp_path)
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1 and "test_answers_are_reached[wrong-lmm-satterthwaite]" in failed[0]
    # the folder, two sets by two methods, by answers and by identities, less the failure
    assert "8 passed" in done.stdout.strip().splitlines()[-1]
