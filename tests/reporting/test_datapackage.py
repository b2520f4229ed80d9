import csv
import hashlib
import json
import re
from dataclasses import replace

import frictionless
import pandas as pd
import pytest

import ketastats as ks
from ketastats.core.errors import DataError, OutputError, StudyError
from ketastats.reporting import datapackage
from ketastats.reporting.datapackage import data_differences, read_data
from ketastats.study.describe import parameters

STUDIES = ks.packaged_studies()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("data")
    return {name: ks.write_data(ks.load_study(name), home / name, seed=7) for name in STUDIES}


def descriptor(folder):
    return json.loads((folder / "datapackage.json").read_text(encoding="utf-8"))


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def small(extra_outcome=""):
    return ks.parse_study(
        f"""
schema = 1
[study]
id = "small"
title = "A | b"
[design]
kind = "crossover"
sequences = {{ AB = ["A", "B"], BA = ["B", "A"] }}
subjects_per_sequence = 3
[outcomes.y]
scale = {{ kind = "real", min = -5, max = 5, decimals = 3, unit = "mm" }}
baseline = 0
spread = {{ residual = 4 }}
missing = {{ at_random = 0.3 }}
{extra_outcome}
"""
    )


# what is written


@pytest.mark.parametrize("name", STUDIES)
def test_frictionless_finds_nothing_wrong(folders, name):
    report = frictionless.validate(str(folders[name] / "datapackage.json"))
    assert report.stats["tasks"] == len(ks.load_study(name).outcomes)
    assert report.valid, report.flatten(["type", "note"])


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b",placebo,", b",plazebo,", "constraint-error"),  # not a declared level
        (b"P02,", b"P01,", "primary-key"),  # a row twice
        (b",28\n", b",61\n", "constraint-error"),  # above the declared maximum
    ],
)
def test_frictionless_would_find_a_wrong_cell(tmp_path, old, new, error):
    folder = ks.write_data(ks.load_study("jelen2025"), tmp_path / "d", seed=1)
    path = folder / "madrs.csv"
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    report = frictionless.validate(str(folder / "datapackage.json"))
    assert error in {row[0] for row in report.flatten(["type"])}


@pytest.mark.parametrize("name", STUDIES)
def test_every_file_is_described_with_its_hash_and_size(folders, name):
    folder = folders[name]
    described = {r["path"]: r for r in descriptor(folder)["resources"]}
    written = {p.name for p in folder.iterdir()}
    assert written == {*described, "datapackage.json", "README.md"}
    for path, entry in described.items():
        content = (folder / path).read_bytes()
        assert entry["hash"] == "sha256:" + hashlib.sha256(content).hexdigest()
        assert entry["bytes"] == len(content)


@pytest.mark.parametrize("name", STUDIES)
def test_the_values_are_those_that_the_study_draws(folders, name):
    study = ks.load_study(name)
    for outcome in study.outcomes:
        with (folders[name] / f"{outcome.name}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        drawn = study.simulate(seed=7, outcome=outcome.name)
        assert len(rows) == len(drawn)
        for row, (_, expected) in zip(rows, drawn.iterrows(), strict=True):
            for column, value in expected.items():
                if pd.isna(value):
                    assert row[column] == ""
                elif column == outcome.name:
                    assert float(row[column]) == value
                else:
                    assert row[column] == value


def test_numbers_have_exactly_the_declared_decimals_and_lines_end_with_lf(tmp_path):
    content = (ks.write_data(small(), tmp_path / "d") / "y.csv").read_bytes()
    assert b"\r" not in content
    assert content.endswith(b"\n")
    values = [line.rsplit(b",", 1)[1] for line in content.splitlines()[1:]]
    assert b"" in values  # 30 % are missing
    assert all(v == b"" or re.fullmatch(rb"-?\d\.\d{3}", v) for v in values)


def test_whole_points_have_no_decimals(folders):
    lines = (folders["jelen2025"] / "madrs.csv").read_text().splitlines()[1:]
    assert all(re.fullmatch(r"\d*", line.rsplit(",", 1)[1]) for line in lines)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_values(tmp_path):
    study = ks.load_study("yokoyama2024")
    one = contents(ks.write_data(study, tmp_path / "one", seed=3))
    assert contents(ks.write_data(study, tmp_path / "two", seed=3)) == one
    other = contents(ks.write_data(study, tmp_path / "three", seed=4))
    assert other["investigation.csv"] != one["investigation.csv"]
    other_draw = contents(ks.write_data(study, tmp_path / "four", seed=3, draw=1))
    assert other_draw["investigation.csv"] != one["investigation.csv"]


@pytest.mark.parametrize("name", STUDIES)
def test_the_descriptor_says_synthetic_and_how_the_data_came_to_be(folders, name):
    study, said = ks.load_study(name), descriptor(folders[name])
    assert said["title"].startswith("Synthetic")
    assert said["description"].startswith("Synthetic")
    assert said["licenses"][0]["name"] == "CC0-1.0"
    record = said["ketastats"]
    assert (record["schema"], record["study"], record["seed"], record["draw"]) == (1, name, 7, 0)
    assert record["study_hash"] == study.hash
    assert [(p["outcome"], p["parameter"], p["value"]) for p in record["parameters"]] == [
        row[:3] for row in parameters(study)
    ]
    assert all(p["source"] for p in record["parameters"])


def test_fields_carry_type_unit_levels_bounds_and_labels(folders):
    resources = {r["name"]: r for r in descriptor(folders["jelen2025"])["resources"]}
    fields = {f["name"]: f for f in resources["madrs"]["schema"]["fields"]}
    assert fields["madrs"]["type"] == "integer"
    assert fields["madrs"]["unit"] == "points"
    assert fields["madrs"]["constraints"] == {"minimum": 0, "maximum": 60}
    assert fields["treatment"]["constraints"]["enum"] == ["placebo", "naltrexone"]
    assert fields["sex"]["labels"] == {"F": "women", "M": "men"}
    assert fields["sequence"]["labels"]["NP"] == "naltrexone then placebo"
    assert "pre 0, day1 1" in fields["time"]["description"]
    assert resources["madrs"]["schema"]["missingValues"] == [""]
    glx = resources["glx"]["schema"]["fields"][-1]
    assert (glx["type"], glx["decimals"], glx["constraints"]) == ("number", 1, {"minimum": 0.0})


def test_a_cluster_may_be_empty_and_says_for_whom(folders):
    fields = descriptor(folders["yokoyama2024"])["resources"][0]["schema"]["fields"]
    cage = next(f for f in fields if f["name"] == "cage")
    assert cage["constraints"]["required"] is False
    assert "Only with housing grouped" in cage["description"]
    assert "never of different sex" in cage["description"]


@pytest.mark.parametrize("name", STUDIES)
def test_the_readme_says_synthetic_first_and_lists_columns_and_sources(folders, name):
    study = ks.load_study(name)
    text = (folders[name] / "README.md").read_text(encoding="utf-8")
    assert "synthetic" in text.splitlines()[0].lower()
    for entry in descriptor(folders[name])["resources"]:
        for field in entry["schema"]["fields"]:
            assert f"| {field['name']} |" in text
    for _, parameter, value, source in parameters(study):
        assert f"| {parameter} | {' '.join(value.split())} | {source.kind}" in text
    assert f"ketastats simulate {name} --seed 8 --out" in text


def test_a_bar_in_a_text_does_not_break_the_tables(tmp_path):
    study = replace(small(), factor_labels=(("A", "a | b"),))
    text = (ks.write_data(study, tmp_path / "d") / "README.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| treatment |"))
    assert row.count(" | ") == 3
    assert r"a \| b" in row


# how it is written


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"no datapackage\.json"):
        ks.write_data(small(), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_an_older_package_is_replaced_whole(tmp_path):
    folder = ks.write_data(ks.load_study("jelen2025"), tmp_path / "d")
    ks.write_data(small(), folder)
    assert {p.name for p in folder.iterdir()} == {"y.csv", "datapackage.json", "README.md"}


def test_an_interrupt_while_writing_leaves_the_old_package(tmp_path, monkeypatch):
    folder = ks.write_data(small(), tmp_path / "d")
    before = contents(folder)
    write = datapackage.write_bytes

    def stop_at_readme(path, data):
        if path.name == "README.md":
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(datapackage, "write_bytes", stop_at_readme)
    with pytest.raises(KeyboardInterrupt):
        ks.write_data(small(), folder, seed=2)
    assert contents(folder) == before
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_outcomes_that_differ_by_case_only_are_refused(tmp_path):
    study = small(
        '[outcomes.Y]\nscale = { kind = "integer" }\nbaseline = 0\nspread = { residual = 1 }'
    )
    with pytest.raises(StudyError, match=r"upper and lower case only; rename one"):
        ks.write_data(study, tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


# reading back


@pytest.mark.parametrize("name", STUDIES)
def test_reading_gives_the_frames_that_were_drawn(folders, name):
    study, frames = ks.load_study(name), read_data(folders[name])
    assert set(frames) == {o.name for o in study.outcomes}
    for outcome, frame in frames.items():
        pd.testing.assert_frame_equal(frame, study.simulate(seed=7, outcome=outcome))


def test_changed_data_are_not_read(tmp_path):
    folder = ks.write_data(small(), tmp_path / "d")
    path = folder / "y.csv"
    path.write_bytes(path.read_bytes().replace(b",A,", b",B,", 1))
    with pytest.raises(DataError, match=r"y\.csv: does not have the sha256 .*; draw the data"):
        read_data(folder)


def test_a_missing_file_or_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.*datapackage\.json: cannot be read"):
        read_data(tmp_path / "nowhere")
    folder = ks.write_data(small(), tmp_path / "d")
    (folder / "y.csv").unlink()
    with pytest.raises(DataError, match=r"y\.csv: cannot be read"):
        read_data(folder)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"ketastats": 3}'])
def test_a_foreign_descriptor_is_refused(tmp_path, text):
    (tmp_path / "datapackage.json").write_text(text)
    with pytest.raises(DataError, match="is not a Data Package of ketastats"):
        read_data(tmp_path)


def test_a_newer_schema_is_refused_by_name(tmp_path):
    (tmp_path / "datapackage.json").write_text('{"ketastats": {"schema": 2}, "resources": []}')
    with pytest.raises(DataError, match="has schema 2; this version reads schema 1"):
        read_data(tmp_path)


def test_only_files_of_the_folder_are_read(tmp_path):
    folder = ks.write_data(small(), tmp_path / "d")
    (tmp_path / "secret.csv").write_bytes((folder / "y.csv").read_bytes())
    said = descriptor(folder)
    said["resources"][0]["path"] = "../secret.csv"
    (folder / "datapackage.json").write_text(json.dumps(said))
    with pytest.raises(DataError, match=r"d.secret\.csv: cannot be read"):
        read_data(folder)


# committed data against their Study


def test_fresh_data_do_not_differ(folders):
    for name, folder in folders.items():
        assert data_differences(ks.load_study(name), folder) == []


def test_a_changed_value_is_found_with_its_line(tmp_path):
    folder = ks.write_data(small(), tmp_path / "d")
    lines = (folder / "y.csv").read_bytes().splitlines(keepends=True)
    lines[4] = b"P9" + lines[4]
    (folder / "y.csv").write_bytes(b"".join(lines))
    assert data_differences(small(), folder) == [
        "y.csv differs from what the Study draws, first in line 5"
    ]


def test_a_changed_study_is_found(tmp_path):
    folder = ks.write_data(small(), tmp_path / "d")
    bigger = replace(small(), design=replace(small().design, subjects_per_sequence=(4, 4)))
    found = data_differences(bigger, folder)
    assert found[0].startswith("datapackage.json was made for Study")
    assert any(line.startswith("y.csv differs") for line in found)


def test_changed_prose_is_found_too(tmp_path):
    folder = ks.write_data(small(), tmp_path / "d")
    found = data_differences(replace(small(), title="Another"), folder)
    assert [line.split()[0] for line in found] == ["datapackage.json", "README.md"]


def test_missing_and_foreign_files_are_found(tmp_path):
    folder = ks.write_data(small(), tmp_path / "d")
    (folder / "y.csv").unlink()
    (folder / "notes.txt").write_text("")
    assert data_differences(small(), folder) == [
        "notes.txt does not belong to the package",
        "y.csv is missing",
    ]
