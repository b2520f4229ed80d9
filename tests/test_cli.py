"""The commands of the command line, run in this process."""

import json
import re
import sys

import jsonschema
import pytest

import ketastats as ks
from ketastats.cli import main
from ketastats.study.template import template

STUDIES = ks.packaged_studies()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder with one Study file in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KETASTATS_CACHE", raising=False)
    (tmp_path / "trial.toml").write_text(template("crossover", "trial.toml"))
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run a command; returns exit code, standard output and standard error."""

    def call(*argv):
        capsys.readouterr()
        code = main(list(argv))
        out, err = capsys.readouterr()
        return code, out, err

    return call


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


# what the command line says of itself


def test_help_names_every_command_its_examples_and_the_exit_codes(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for command in ("studies", "new", "schema", "simulate", "report", "reproduce", "verify"):
        assert f"\n  {command}: " in out
    for line in ("0    all is well", "1    a finding", "2    bad input", "130  interrupted"):
        assert f"\n  {line}" in out
    assert "KETASTATS_CACHE" in out


@pytest.mark.parametrize(
    "command", ["studies", "new", "schema", "simulate", "report", "reproduce", "verify"]
)
def test_every_command_has_help_with_examples(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"Examples:\n  ketastats {command}" in out


def test_no_arguments_show_the_help(run):
    assert run()[1] == run("--help")[1]


def test_the_version(run):
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("ketastats ")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["reprot"], 'Unknown command "reprot". Did you mean "report"?'),
        (["report", "jelen2025", "--sed", "3"], "Unknown option: --sed. Did you mean --seed?"),
        (["report", "jelen2025", "--seed", "x"], 'unable to convert "x" into int'),
        (["report"], "STUDY requires an argument"),
        (["simulate", "jelen2025"], "--out requires an argument"),
        (["report", "jelen2025", "again"], "too many arguments: again"),
        (["verify"], "FOLDERS requires an argument"),
        (["new", "a.toml", "--design", "paralel"], 'Did you mean "parallel"?'),
        (["report", "jelen2024"], "no study called 'jelen2024'; did you mean 'jelen2025'?"),
        (["report", "nowhere.toml"], "nowhere.toml: there is no such file"),
        (["simulate", "jelen2025", "--out", "d", "--seed", "-1"], "seed -1 is negative"),
        (["report", "jelen2025", "--analyses", "primry"], "'primry'; did you mean 'primary'?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, here, argv, says):
    before = contents(here)
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("ketastats: ")
    assert err.count("\n") == 1
    assert says in err
    assert contents(here) == before


def test_an_error_with_control_characters_stays_one_clean_line(run, here):
    code, _, err = run("studies", "a\nb\x1b[31m.toml")
    assert code == 2
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_a_fault_is_not_taken_for_a_finding(run, monkeypatch):
    monkeypatch.setattr("ketastats.cli_show.study_list", lambda *_: 1 / 0)
    code, _, err = run("studies")
    assert code == 70
    assert "ZeroDivisionError" in err
    assert err.splitlines()[-1].startswith("ketastats: this is a fault of ketastats")


# studies


def test_studies_lists_every_packaged_study(run):
    code, out, err = run("studies")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == list(STUDIES)


def test_studies_as_json(run):
    _, out, _ = run("studies", "--json")
    said = json.loads(out)
    assert said["schema"] == 1
    assert [s["id"] for s in said["studies"]] == list(STUDIES)
    assert said["studies"][0]["outcomes"][0] == {
        "name": "madrs",
        "label": "MADRS (0-60, higher is worse)",
        "unit": "points",
    }


def test_one_study_shows_its_truth_and_where_the_numbers_come_from(run):
    code, out, _ = run("studies", "jelen2025")
    assert code == 0
    assert "SYNTHETIC" in out
    assert "Naltrexone's attenuation of the day-1 fall" in out
    assert "baseline = 30 points [typical of the literature: " in out


@pytest.mark.parametrize("name", STUDIES)
def test_one_study_as_json_has_true_values_and_parameters(run, name):
    _, out, _ = run("studies", name, "--json")
    said, study = json.loads(out), ks.load_study(name)
    assert said["study_hash"] == study.hash
    truth = study.true_values()
    assert [e["estimand"] for e in said["estimands"]] == truth["estimand"].tolist()
    assert [e["natural"] for e in said["estimands"]] == truth["natural"].tolist()
    assert all(p["source"] for p in said["parameters"])


def test_a_study_file_can_be_shown_too(run, here):
    code, out, _ = run("studies", "trial.toml")
    assert code == 0
    assert out.startswith("Study trial: My crossover")


# new and schema


@pytest.mark.parametrize("design", ["crossover", "parallel"])
def test_new_writes_a_file_that_loads_and_simulates(run, here, design):
    code, out, err = run("new", "my-trial.toml", "--design", design)
    assert (code, out, err) == (0, "wrote my-trial.toml\n", "")
    study = ks.load_study("my-trial.toml")
    assert (study.id, study.design.kind) == ("my-trial", design)
    assert run("simulate", "my-trial.toml", "--out", "drawn")[0] == 0
    results = ks.analyse(study, analyses=["primary"])
    assert (results.estimates["status"] == "ok").all()


def test_new_does_not_overwrite_unless_forced(run, here):
    (here / "mine.toml").write_text("mine")
    code, _, err = run("new", "mine.toml")
    assert code == 3
    assert err == "ketastats: mine.toml: is there already; choose another name, or add --force\n"
    assert (here / "mine.toml").read_text() == "mine"
    assert run("new", "mine.toml", "--force")[0] == 0
    assert ks.load_study("mine.toml").id == "mine"


def test_new_wants_the_ending_that_the_other_commands_look_for(run, here):
    code, _, err = run("new", "jelen2025")
    assert code == 2
    assert "write it to jelen2025.toml" in err


def test_the_schema_accepts_every_study_and_template_and_refuses_unknown_keys(run, here):
    import tomllib
    from importlib import resources

    assert run("schema", "--out", "s.json")[0] == 0
    schema = json.loads((here / "s.json").read_text())
    assert json.loads(run("schema")[1]) == schema
    jsonschema.Draft202012Validator.check_schema(schema)
    folder = resources.files("ketastats") / "studies"
    texts = [(folder / f"{name}.toml").read_text(encoding="utf-8") for name in STUDIES]
    texts += [template("crossover"), template("parallel")]
    for text in texts:
        jsonschema.validate(tomllib.loads(text), schema)
    with pytest.raises(jsonschema.ValidationError, match="colour"):
        jsonschema.validate(tomllib.loads("colour = 1\n" + texts[0]), schema)


# simulate


def test_simulate_writes_a_data_package_and_says_so(run, here):
    code, out, err = run("simulate", "jelen2025", "--seed", "7", "--out", "mydir")
    assert (code, err) == (0, "")
    assert (
        out
        == "wrote mydir: synthetic data of jelen2025, seed 7 (madrs.csv, glx.csv, response.csv)\n"
    )
    ks.write_data(ks.load_study("jelen2025"), here / "again", seed=7)
    assert contents(here / "mydir") == contents(here / "again")


def test_simulate_as_json_gives_the_hashes(run, here):
    _, out, _ = run("simulate", "trial.toml", "--out", "d", "--json")
    said = json.loads(out)
    described = json.loads((here / "d" / "datapackage.json").read_text())
    assert (said["schema"], said["seed"], said["synthetic"]) == (1, 1, True)
    assert said["study_hash"] == ks.load_study("trial.toml").hash
    assert [f["hash"] for f in said["files"]] == [r["hash"] for r in described["resources"]]


def test_simulate_does_not_replace_a_folder_of_other_files(run, here):
    code, _, err = run("simulate", "trial.toml", "--out", ".")
    assert code == 3
    assert "holds files but no datapackage.json, so it is not replaced" in err
    assert [p.name for p in here.iterdir()] == ["trial.toml"]


# report


def test_report_writes_where_the_study_says_and_repeats_its_answer(run, here):
    code, out, err = run("report", "trial.toml", "--draws", "0")
    assert (code, err) == (0, "")
    assert out.startswith("wrote reports/trial/report.html\n  SYNTHETIC data: Active minus placebo")
    assert (here / "reports" / "trial" / "study.toml").read_text() == (
        here / "trial.toml"
    ).read_text()


def test_report_as_json_lists_the_files_and_takes_the_chosen_seed(run, here):
    argv = ("report", "trial.toml", "--draws", "0", "--seed", "7", "--out", "r", "--json")
    code, out, err = run(*argv)
    said = json.loads(out)
    assert (code, err) == (0, "")
    assert (said["schema"], said["study"], said["seed"], said["findings"]) == (1, "trial", 7, [])
    assert set(said["files"]) == set(contents(here / "r"))
    assert ks.read_results("r").seed == 7


GATES = "ketastats.reporting.opening.failed_gates"


def test_a_failed_gate_is_said_and_is_an_exit_code_only_when_strict(run, here, monkeypatch):
    monkeypatch.setattr(GATES, lambda _: ["R-hat 1.20 is above 1.01", "3 divergences"])
    code, _, err = run("report", "trial.toml", "--draws", "0")
    assert code == 0
    lines = ["ketastats: found: R-hat 1.20 is above 1.01", "ketastats: found: 3 divergences"]
    assert err.splitlines() == lines
    code, out, err = run("report", "trial.toml", "--draws", "0", "--strict", "--json")
    assert code == 1
    assert json.loads(out)["findings"] == ["R-hat 1.20 is above 1.01", "3 divergences"]
    assert err.splitlines() == lines
    assert (here / "reports" / "trial" / "report.html").exists()  # it is written all the same


@pytest.mark.slow
def test_a_sampler_that_ran_too_short_fails_under_strict(run, here):
    short = re.sub(r"(?m)^#(?=\S)", "", template("parallel")).replace(
        'engine = "mcmc"', 'engine = "mcmc"\ndraws = 100\ntune = 100\nchains = 2'
    )
    (here / "short.toml").write_text(short)
    code, out, _ = run("report", "short.toml", "--draws", "0", "--json")
    assert code == 0
    assert json.loads(out)["findings"]
    assert run("report", "short.toml", "--draws", "0", "--strict")[0] == 1
    assert (here / ".ketastats-cache").is_dir()


def test_report_runs_only_the_analyses_that_are_named(run, here):
    second = template().split("[analyses.primary]")[1].split("# The same questions")[0]
    (here / "two.toml").write_text(template() + "[analyses.second]" + second)
    assert [a.name for a in ks.load_study("two.toml").analyses] == ["primary", "second"]
    argv = ("report", "two.toml", "--draws", "0", "--out", "r", "--analyses")
    assert run(*argv, "second")[0] == 0
    assert ks.read_results("r").estimates["analysis"].unique().tolist() == ["second"]
    assert run(*argv, "second, primary")[0] == 0
    assert set(ks.read_results("r").estimates["analysis"]) == {"primary", "second"}


@pytest.mark.parametrize(
    ("argv", "variable", "expected"),
    [
        ([], None, ".ketastats-cache"),
        ([], "elsewhere", "elsewhere"),
        (["--no-cache"], "elsewhere", None),
    ],
)
def test_where_posterior_draws_are_kept(run, here, monkeypatch, argv, variable, expected):
    from ketastats import cli_run

    asked = {}

    def stop(*_, cache, **__):
        asked["cache"] = cache
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_run, "make_report", stop)
    if variable is not None:
        monkeypatch.setenv("KETASTATS_CACHE", variable)
    assert run("report", "trial.toml", *argv)[0] == 130
    assert asked["cache"] is None if expected is None else str(asked["cache"]) == expected


# verify


def test_verify_says_equal_and_finds_a_changed_byte(run, here):
    assert run("report", "trial.toml", "--draws", "0")[0] == 0
    code, out, err = run("verify", "reports/trial")
    assert (code, err) == (0, "")
    assert re.match(r"reports/trial: equal: \d+ files compared byte by byte\n", out)
    path = here / "reports" / "trial" / "tables" / "truth.csv"
    path.write_bytes(path.read_bytes().replace(b"-", b"+", 1))
    code, out, _ = run("verify", "reports/trial")
    assert code == 1
    assert out.startswith("reports/trial: DIFFERS: ")
    assert "truth.csv" in out


def test_verify_as_json(run, here):
    assert run("report", "trial.toml", "--draws", "0")[0] == 0
    code, out, _ = run("verify", "reports/trial", "--json")
    said = json.loads(out)
    assert (code, said["schema"], said["equal"]) == (0, 1, True)
    assert said["reports"][0]["compared"] > 5
    (here / "reports" / "trial" / "report.html").write_text("")
    code, out, _ = run("verify", "reports/trial", "--json")
    said = json.loads(out)
    assert (code, said["equal"], said["reports"][0]["equal"]) == (1, False, False)
    assert said["reports"][0]["differences"]


def test_verify_of_what_is_no_report(run, here):
    code, out, err = run("verify", "nowhere")
    assert (code, out) == (2, "")
    assert "nowhere" in err


# reproduce

SCRIPT = """\
import os
from pathlib import Path

import ketastats as ks

study = ks.load_study("trial.toml")
ks.report(study, Path(os.environ["KETASTATS_REPORTS"]) / study.id, draws=0, source="trial.toml")
Path("cache.txt").write_text(os.environ["KETASTATS_CACHE"])
print("a table that nobody asked for")
"""


@pytest.fixture
def scripts(here, monkeypatch):
    """A folder with one script, run with this checkout."""
    from pathlib import Path

    monkeypatch.setenv("PYTHONPATH", str(Path(ks.__file__).parents[1]))
    (here / "analyses").mkdir()
    (here / "analyses" / "one.py").write_text(SCRIPT)
    (here / "analyses" / "_helpers.py").write_text("raise SystemExit(3)")
    return here


def test_reproduce_runs_the_scripts_and_writes_the_index(run, scripts):
    code, out, err = run("reproduce", "--out", "made")
    assert (code, out, err) == (0, "wrote made/index.html: trial\n", "")
    assert (scripts / "made" / "trial" / "report.html").exists()
    assert "trial/report.html" in (scripts / "made" / "index.html").read_text()
    assert (scripts / "cache.txt").read_text() == ".ketastats-cache"
    assert not (scripts / "data").exists()


def test_reproduce_without_cache_lends_the_scripts_one_that_vanishes(run, scripts):
    text = "import os\nopen('cache.txt', 'w').write(os.environ['KETASTATS_CACHE'])\n"
    (scripts / "analyses" / "one.py").write_text(text)
    assert run("reproduce", "--no-cache")[0] == 0
    lent = (scripts / "cache.txt").read_text()
    assert lent not in ("", ".", ".ketastats-cache")
    assert not (scripts / lent).exists()


def test_reproduce_draws_the_data_where_they_are_kept(run, scripts):
    (scripts / "analyses" / "one.py").write_text("")
    place = scripts / "data" / "synthetic"
    place.mkdir(parents=True)
    assert run("reproduce")[0] == 0
    assert {p.name for p in place.iterdir()} == set(STUDIES)
    good = contents(place)
    stale = place / STUDIES[0] / "README.md"
    stale.write_text("old")
    fresh = place / STUDIES[1] / "README.md"
    before = fresh.stat().st_mtime_ns
    assert run("reproduce")[0] == 0
    assert contents(place) == good
    assert fresh.stat().st_mtime_ns == before  # what is as it should be is left alone
    assert run("reproduce", "--data", "other")[0] == 0
    assert contents(scripts / "other") == good


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("sys.exit(2)", 2),
        ("sys.exit(3)", 3),
        ("sys.exit(130)", 130),
        ("1 / 0", 1),
        ("sys.exit(99)", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", 1),
    ],
)
def test_a_script_that_fails_is_named_and_stops_the_rest(
    run, scripts, monkeypatch, ending, expected
):
    from ketastats import cli_run

    monkeypatch.setattr(cli_run, "AT_ONCE", 1)
    text = f"import os, signal, sys\nprint('so far', flush=True)\n{ending}\n"
    (scripts / "analyses" / "a.py").write_text(text)
    code, out, err = run("reproduce")
    assert (code, out) == (expected, "")
    assert "so far" in err
    assert err.splitlines()[-1].startswith("ketastats: analyses/a.py: ended with exit code")
    assert not (scripts / "reports").exists()


def test_a_script_that_fails_ends_the_one_beside_it(run, scripts):
    slow = (
        "import time\nfrom pathlib import Path\n"
        "try:\n    Path('started').write_text('')\n    time.sleep(600)\n"
        "finally:\n    Path('tidy').write_text('')\n"
    )
    failing = (
        "import sys, time\nfrom pathlib import Path\n"
        "while not Path('started').exists():\n    time.sleep(0.05)\nsys.exit(3)\n"
    )
    for path in (scripts / "analyses").glob("*.py"):
        path.unlink()
    (scripts / "analyses" / "a.py").write_text(slow)
    (scripts / "analyses" / "b.py").write_text(failing)
    code, _, err = run("reproduce")
    assert code == 3
    assert "analyses/b.py: ended with exit code 3" in err
    assert (scripts / "tidy").exists()


def test_reproduce_is_strict_about_every_report_in_the_folder(run, scripts):
    failing = (
        f"import {GATES.rpartition('.')[0]} as m\nm.failed_gates = lambda _: ['3 divergences']\n"
    )
    (scripts / "analyses" / "one.py").write_text(failing + SCRIPT)
    code, out, err = run("reproduce", "--strict")
    assert code == 1
    assert out == "wrote reports/index.html: trial\n"
    assert err == "ketastats: found: trial: 3 divergences\n"


def test_reproduce_without_scripts_reports_every_packaged_study(run, here, monkeypatch):
    from ketastats import cli_run

    asked = []
    monkeypatch.setattr(cli_run, "make_report", lambda name, out, **_: asked.append((name, out)))
    assert run("reproduce", "--out", "made")[0] == 0
    assert [(name, str(out)) for name, out in asked] == [(n, f"made/{n}") for n in STUDIES]


# progress


def test_progress_is_silent_when_nobody_watches(run, capsys):
    from ketastats.cli_run import progress

    assert not sys.stderr.isatty()
    with progress() as say:
        say("half way")
    assert capsys.readouterr() == ("", "")
