import builtins
import errno
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketastats.core.errors import OutputError
from ketastats.core.files import canonical_json, sha256_of, staged_folder, write_bytes, write_text

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1

as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def failing(code: int):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return fail


# hashes


def test_sha256_of_bytes_and_of_a_file_agree(tmp_path):
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    assert sha256_of(b"abc") == sha256_of(file) == sha256_of(str(file)) == ABC


def test_sha256_of_a_missing_file_is_the_system_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        sha256_of(tmp_path / "none")


# canonical JSON


def test_canonical_json_has_one_form():
    text = canonical_json({"b": (1, 2.5), "a": {"δ": None, "c": True}})
    assert text == (
        '{\n  "a": {\n    "c": true,\n    "δ": null\n  },\n  "b": [\n    1,\n    2.5\n  ]\n}\n'
    )
    assert canonical_json({"x": 1, "y": 2}) == canonical_json({"y": 2, "x": 1})


def test_canonical_json_takes_numpy_values():
    value = {
        "scalar": np.float64(0.1),
        "int": np.int64(3),
        "flag": np.True_,
        "text": np.str_("a"),
        "array": np.arange(4).reshape(2, 2),
        "zero": np.array(1.5),
    }
    assert json.loads(canonical_json(value)) == {
        "scalar": 0.1,
        "int": 3,
        "flag": True,
        "text": "a",
        "array": [[0, 1], [2, 3]],
        "zero": 1.5,
    }


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), np.float64("nan")])
def test_canonical_json_refuses_what_is_not_finite_and_says_where(bad):
    with pytest.raises(ValueError, match=r"^rows\[1\]\.p is (nan|inf|-inf)"):
        canonical_json({"rows": [{"p": 0.5}, {"p": bad}]})


def test_canonical_json_says_where_in_an_array():
    with pytest.raises(ValueError, match=r"^a\[0\]\[1\] is nan"):
        canonical_json({"a": np.array([[1.0, np.nan]])})


def test_canonical_json_refuses_other_types_and_says_where():
    with pytest.raises(TypeError, match=r"^a\.b is of type set"):
        canonical_json({"a": {"b": {1}}})
    with pytest.raises(TypeError, match="the key 1"):
        canonical_json({"a": {1: 2}})
    with pytest.raises(TypeError, match="the value is of type object"):
        canonical_json(object())


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_canonical_json_reads_back_to_the_same_value_and_bytes(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


# one file


def test_write_text_is_utf8_with_line_ends_as_given(tmp_path):
    write_text(tmp_path / "deep" / "er" / "a.txt", "α\r\nβ\n")
    assert (tmp_path / "deep" / "er" / "a.txt").read_bytes() == "α\r\nβ\n".encode()


def test_write_replaces_and_leaves_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    write_bytes(str(tmp_path / "a.txt"), b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX matter")
def test_a_written_file_has_the_mode_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "ours", b"")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EACCES, "may not be written; change its permissions"),
        (errno.EROFS, "is on a read-only file system; choose another place"),
        (errno.EIO, "cannot be written"),
    ],
)
def test_a_write_that_fails_leaves_the_old_file_and_says_why(
    tmp_path, monkeypatch, call, code, says
):
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(code))
        with pytest.raises(OutputError) as caught:
            write_text(file, "new")
    assert str(caught.value).startswith(f"{file}: {says}")
    assert caught.value.exit_code == 3
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_disk_that_fills_in_the_middle_of_a_write_leaves_nothing(tmp_path, monkeypatch):
    real = builtins.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *args):
            self.file.close()

        def write(self, data):
            self.file.write(data[:1])
            self.file.flush()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", lambda *args, **kwargs: Full(real(*args, **kwargs)))
        with pytest.raises(OutputError, match="the disk is full"):
            write_bytes(tmp_path / "a.bin", b"12345")
    assert names(tmp_path) == []


def test_an_interrupt_leaves_the_old_file(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    write_text(tmp_path / "a.txt", "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_writing_under_a_file_or_onto_a_folder_is_explained(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=r"file/a\.txt: a part of this path is a file"):
        write_text(tmp_path / "file" / "a.txt", "y")
    with pytest.raises(OutputError, match=r"file/b/a\.txt: a part of this path is a file"):
        write_text(tmp_path / "file" / "b" / "a.txt", "y")
    with pytest.raises(OutputError, match="folder: is a folder, not a file"):
        write_text(tmp_path / "folder", "y")
    assert names(tmp_path) == ["file", "folder"]


@as_root
def test_an_unwritable_folder_is_explained(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="may not be written"):
        write_text(tmp_path / "closed" / "a.txt", "x")
    with (
        pytest.raises(OutputError, match="may not be written"),
        staged_folder(tmp_path / "closed" / "report"),
    ):
        pass


# a folder


def fill(folder: Path, text: str) -> None:
    write_text(folder / "record.json", text)
    write_text(folder / "tables" / "a.csv", text)


def make_old(tmp_path: Path) -> Path:
    final = tmp_path / "report"
    with staged_folder(final) as folder:
        fill(folder, "old")
        write_text(folder / "gone.txt", "old")
    return final


def test_a_staged_folder_is_out_of_sight_until_it_is_complete(tmp_path):
    final = tmp_path / "deep" / "report"
    with staged_folder(final) as folder:
        assert folder.parent == final.parent
        assert folder.name == f".report.partial-{os.getpid()}"
        fill(folder, "new")
        assert not final.exists()
    assert names(final.parent) == ["report"]
    assert (final / "tables" / "a.csv").read_text() == "new"


def test_a_staged_folder_replaces_the_old_one_whole(tmp_path):
    final = make_old(tmp_path)
    with staged_folder(str(final)) as folder:
        assert (final / "record.json").read_text() == "old"
        fill(folder, "new")
    assert names(final) == ["record.json", "tables"]
    assert (final / "record.json").read_text() == "new"
    assert names(tmp_path) == ["report"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_interrupted_staged_folder_leaves_the_old_one(tmp_path, error):
    final = make_old(tmp_path)

    def interrupted():
        with staged_folder(final) as folder:
            fill(folder, "new")
            raise error

    with pytest.raises(error):
        interrupted()
    assert (final / "record.json").read_text() == "old"
    assert names(final) == ["gone.txt", "record.json", "tables"]
    assert names(tmp_path) == ["report"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EACCES, "no")])
@pytest.mark.parametrize("at", [1, 2])
def test_a_swap_that_fails_restores_the_old_folder(tmp_path, monkeypatch, error, at):
    final = make_old(tmp_path)
    real, calls = os.rename, []

    def rename(*args):
        calls.append(args)
        if len(calls) == at:
            raise error
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename)
        with (
            pytest.raises((KeyboardInterrupt, OutputError)),
            staged_folder(final) as folder,
        ):
            fill(folder, "new")
    assert (final / "record.json").read_text() == "old"
    assert names(tmp_path) == ["report"]


def test_a_disk_that_fills_inside_a_staged_folder_is_explained(tmp_path):
    final = make_old(tmp_path)

    def full():
        with staged_folder(final):
            raise OSError(errno.ENOSPC, "full")  # as other libraries raise it

    with pytest.raises(OutputError, match="report: the disk is full"):
        full()
    assert (final / "record.json").read_text() == "old"
    assert names(tmp_path) == ["report"]


def test_errors_of_reading_elsewhere_are_not_taken_for_errors_of_writing(tmp_path):
    def reads():
        with staged_folder(tmp_path / "report"):
            (tmp_path / "none.csv").read_text()

    with pytest.raises(FileNotFoundError):
        reads()
    assert names(tmp_path) == []


def test_a_stale_partial_folder_is_not_taken_over(tmp_path):
    stale = tmp_path / f".report.partial-{os.getpid()}"
    stale.mkdir()
    (stale / "rest.txt").write_text("half")
    with staged_folder(tmp_path / "report") as folder:
        assert names(folder) == []
    assert names(tmp_path) == ["report"]


def test_a_folder_of_other_files_is_never_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")

    def replace(**options):
        with staged_folder(tmp_path, **options) as folder:
            write_text(folder / "a.txt", "new")

    with pytest.raises(OutputError, match=r"holds files but no record\.json"):
        replace()
    with pytest.raises(OutputError, match=r"holds files but no datapackage\.json"):
        replace(mark="datapackage.json")
    assert names(tmp_path) == ["thesis.txt"]
    replace(mark=None)
    assert names(tmp_path) == ["a.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    with staged_folder(tmp_path) as folder:
        fill(folder, "new")
    assert names(tmp_path) == ["record.json", "tables"]


def test_a_file_in_the_place_of_the_folder_is_explained(tmp_path):
    (tmp_path / "report").write_text("x")
    with (
        pytest.raises(OutputError, match="report: is a file, not a folder"),
        staged_folder(tmp_path / "report"),
    ):
        pass
    with (
        pytest.raises(OutputError, match="a part of this path is a file"),
        staged_folder(tmp_path / "report" / "deep" / "er"),
    ):
        pass
    assert names(tmp_path) == ["report"]


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_a_link_to_a_folder_stays_a_link(tmp_path):
    make_old(tmp_path)
    (tmp_path / "link").symlink_to("report")
    with staged_folder(tmp_path / "link") as folder:
        fill(folder, "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "report" / "record.json").read_text() == "new"
    assert names(tmp_path) == ["link", "report"]
