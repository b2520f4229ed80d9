"""Places that cannot be written: exit code 3, one line, and the old content as it was."""

import errno
import os

import pytest

from ketastats.cli import main
from ketastats.study.template import template

COMMANDS = {
    "simulate": ["simulate", "trial.toml", "--seed", "2", "--out", "out"],
    "report": ["report", "trial.toml", "--draws", "0", "--seed", "2", "--out", "out"],
    "new": ["new", "out/new.toml", "--force"],
    "schema": ["schema", "--out", "out/schema.json"],
}
FIRST = {
    "simulate": ["simulate", "trial.toml", "--out", "out"],
    "report": ["report", "trial.toml", "--draws", "0", "--out", "out"],
    "new": ["new", "out/new.toml"],
    "schema": ["schema", "--out", "out/schema.json"],
}


@pytest.fixture(params=list(COMMANDS))
def written(request, tmp_path, monkeypatch, capsys):
    """A command whose output is there already, from another seed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trial.toml").write_text(template())
    assert main(FIRST[request.param]) == 0
    capsys.readouterr()
    return COMMANDS[request.param]


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(argv, capsys, says):
    code = main(argv)
    out, err = capsys.readouterr()
    assert (code, out) == (3, "")
    assert err.startswith("ketastats: ")
    assert err.count("\n") == 1
    assert says in err


def failing(code):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return fail


def test_a_disk_that_fills_up_while_writing(written, tmp_path, monkeypatch, capsys):
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.ENOSPC))
        refused(written, capsys, "the disk is full; free some space")
    assert contents(tmp_path) == before
    assert main(written) == 0  # nothing is in the way afterwards


def test_a_disk_that_fills_up_at_the_last_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trial.toml").write_text(template())
    assert main(FIRST["simulate"]) == 0
    before, real, calls = contents(tmp_path), os.fsync, []
    capsys.readouterr()

    def third_fails(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "full")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", third_fails)
    refused(COMMANDS["simulate"], capsys, "the disk is full")
    assert len(calls) == 3
    assert contents(tmp_path) == before


def test_a_folder_that_may_not_be_made(written, tmp_path, monkeypatch, capsys):
    before = contents(tmp_path)
    elsewhere = [
        word.replace("out", "new/out", 1) if "out" in word[:3] else word for word in written
    ]
    assert elsewhere != written
    monkeypatch.setattr(os, "mkdir", failing(errno.EACCES))
    refused(elsewhere, capsys, "may not be written; change its permissions")
    assert contents(tmp_path) == before


def test_a_path_that_leads_through_a_file(written, tmp_path, capsys):
    before = contents(tmp_path)
    through = [
        word.replace("out", "trial.toml/out", 1) if "out" in word[:3] else word for word in written
    ]
    refused(through, capsys, "a part of this path is a file, not a folder")
    assert contents(tmp_path) == before


def test_a_folder_without_permission(written, tmp_path, capsys):
    before = contents(tmp_path)
    tmp_path.chmod(0o500)
    (tmp_path / "out").chmod(0o500)
    try:
        if os.access(tmp_path / "out", os.W_OK):
            pytest.skip("this user may write everywhere")
        refused(written, capsys, "may not be written")
    finally:
        tmp_path.chmod(0o700)
        (tmp_path / "out").chmod(0o700)
    assert contents(tmp_path) == before
