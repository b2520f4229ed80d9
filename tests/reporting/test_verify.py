import json
import re

import pytest

import ketastats as ks
from ketastats.core.errors import DataError, StudyError
from ketastats.reporting.verify import environment_changes

SEED = 3


def replaced(path, pattern, by):
    """Replace the first match in a file; the test is void when there is none."""
    text = path.read_text(encoding="utf-8")
    new, count = re.subn(pattern, by, text, count=1)
    assert count == 1, f"{pattern} is not in {path.name}"
    path.write_text(new, encoding="utf-8")


def test_an_untouched_report_is_rebuilt_to_the_byte(made):
    said = []
    found = ks.verify(made.folder, progress=said.append)
    assert found.equal and found.differences == () and found.scope == "byte by byte"
    assert found.compared == sum(p.is_file() for p in made.folder.rglob("*"))
    assert said[-1] == "tiny: comparing"
    assert str(found).startswith("equal:")


def test_a_changed_digit_is_found_and_named_wherever_it_is(copied):
    row = json.loads((copied / "results.json").read_text(encoding="utf-8"))["estimates"][0]
    old = json.dumps(row["estimate"])
    # three places from the end: the last of 17 digits may still spell the same float
    new = old[:-3] + ("1" if old[-3] != "1" else "2") + old[-2:]
    replaced(copied / "results.json", f'"estimate": {re.escape(old)}', f'"estimate": {new}')
    replaced(copied / "tables" / "missing-score.csv", r"AB,1,6,", "AB,1,7,")
    cell = '<td class="n" data-head="p">'
    replaced(copied / "report.html", f"{cell}0\\.", f"{cell}1.")
    found = ks.verify(copied)
    assert not found.equal and str(found).startswith("DIFFERS")
    by_file = {d.split(":")[0]: d for d in found.differences}
    assert set(by_file) == {"results.json", "tables/missing-score.csv", "report.html"}
    assert by_file["results.json"] == (
        f"results.json: estimates[0].estimate: {float(new)!r} in the report, {old} rebuilt"
    )
    assert "line 2" in by_file["tables/missing-score.csv"]
    assert re.search(r"report\.html: line \d+: .*'.*1\..*' in the report", by_file["report.html"])


def test_files_that_are_missing_or_strange_are_named(copied):
    (copied / "tables" / "truth.csv").unlink()
    (copied / "notes.txt").write_text("?", encoding="utf-8")
    found = ks.verify(copied)
    assert set(found.differences) == {
        "tables/truth.csv: is missing in the report",
        "notes.txt: is in the report and is not rebuilt",
    }


def test_a_changed_study_is_found(copied):
    replaced(copied / "study.toml", r"baseline = 30\.0", "baseline = 31.0")
    found = ks.verify(copied)
    assert any(d.startswith("record.json: ") for d in found.differences)
    assert any(d.startswith("results.json: ") for d in found.differences)


def test_a_changed_hash_of_the_data_is_found(copied):
    replaced(copied / "record.json", r'"sha256": "\w', '"sha256": "x')
    (difference,) = ks.verify(copied).differences
    assert difference.startswith("record.json: data.outcomes.score.sha256")


def test_the_metadata_may_differ(copied):
    replaced(copied / "record.json", r'"created": "[^"]*"', '"created": "1999-12-31T23:59:59"')
    assert ks.verify(copied).equal


@pytest.fixture
def elsewhere(copied):
    """The report as if another version of Python had made it."""
    replaced(copied / "record.json", r'"python": "[^"]*"', '"python": "3.11.0"')
    return copied


def test_elsewhere_numbers_are_compared_and_the_page_is_not(elsewhere):
    replaced(elsewhere / "report.html", "Question and design", "Question")
    path = elsewhere / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["estimates"][0]["estimate"] *= 1 + 1e-8
    path.write_text(json.dumps(content), encoding="utf-8")
    found = ks.verify(elsewhere)
    assert found.equal, found.differences
    assert "6 digits" in found.scope and "python was 3.11.0" in found.scope


def test_elsewhere_a_number_that_moved_is_found(elsewhere):
    path = elsewhere / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["estimates"][0]["estimate"] *= 1 + 1e-4
    path.write_text(json.dumps(content), encoding="utf-8")
    replaced(elsewhere / "tables" / "missing-score.csv", r"AB,1,6,", "AB,1,7,")
    found = ks.verify(elsewhere)
    assert [d.split(": ")[0] for d in found.differences] == [
        "results.json", "tables/missing-score.csv",
    ]  # fmt: skip


def test_elsewhere_a_ruined_results_file_is_found(elsewhere):
    (elsewhere / "results.json").write_text("[]", encoding="utf-8")
    (difference,) = ks.verify(elsewhere).differences
    assert difference.startswith("results.json: ")


def test_every_part_of_the_environment_counts():
    base = {"python": "3.13", "system": "Linux", "machine": "x86_64", "cpu": "a",
            "packages": {"numpy": "2"}}  # fmt: skip
    assert environment_changes(base, base) == []
    for key in ("python", "system", "machine", "cpu"):
        assert len(environment_changes(base, base | {key: "other"})) == 1
    assert environment_changes(base, base | {"packages": {}}) == ["numpy was 2 and is absent"]


def test_a_folder_without_a_record_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"record\.json"):
        ks.verify(tmp_path)


@pytest.mark.parametrize("text", ['{"schema": 1}', '{"schema": 1, "study": 3}'])
def test_a_record_of_something_else_is_refused(copied, text):
    (copied / "record.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="not the record of a report"):
        ks.verify(copied)


def test_a_newer_record_is_refused(copied):
    replaced(copied / "record.json", r'"schema": 1', '"schema": 9')
    with pytest.raises(DataError, match="schema 9"):
        ks.verify(copied)


def test_a_study_made_in_python_is_reported_and_said_not_to_be_rebuildable(tiny, tmp_path):
    made = ks.report(tiny, tmp_path / "out", draws=0, seed=SEED, analyses=["primary"])
    assert (made.folder / "study.json").exists() and not (made.folder / "study.toml").exists()
    assert "no command can rebuild" in " ".join(
        (made.folder / "report.html").read_text(encoding="utf-8").split()
    )
    with pytest.raises(DataError, match="made in Python"):
        ks.verify(made.folder)


def test_a_study_file_that_is_gone_is_named(copied):
    (copied / "study.toml").unlink()
    with pytest.raises(StudyError, match=r"study\.toml"):
        ks.verify(copied)
