"""Files that are written whole or not at all, their hashes, and JSON in one canonical form."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ketastats.core.errors import OutputError

_count = itertools.count()

_ELSEWHERE = "choose another place"
_CAUSES: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", "free some space and run it again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run it again"),
    errno.EACCES: ("may not be written", "change its permissions or choose another place"),
    errno.EPERM: ("may not be written", "change its permissions or choose another place"),
    errno.EROFS: ("is on a read-only file system", _ELSEWHERE),
    errno.ENOTDIR: ("a part of this path is a file, not a folder", _ELSEWHERE),
    errno.EEXIST: ("a part of this path is a file, not a folder", _ELSEWHERE),
    errno.EISDIR: ("is a folder, not a file", "choose another name"),
}


def sha256_of(path_or_bytes: str | os.PathLike[str] | bytes) -> str:
    """Hash a file or some bytes.

    Parameters
    ----------
    path_or_bytes
        Bytes are hashed as they are; anything else is the path of a file.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> sha256_of(b"")[:16]
    'e3b0c44298fc1c14'
    """
    if isinstance(path_or_bytes, bytes):
        return hashlib.sha256(path_or_bytes).hexdigest()
    with open(path_or_bytes, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(obj: object) -> str:
    """Write a value as JSON in one form only, so that equal values give equal bytes.

    Keys are sorted, the indent is two spaces, text is kept as it is, numbers are written with
    the fewest digits that read back exactly, and a newline ends the text.

    Parameters
    ----------
    obj
        Mappings with text keys, lists, tuples, text, numbers, truth values and None; NumPy
        scalars and arrays count as the plain values that they hold.

    Returns
    -------
    str
        The JSON text.

    Raises
    ------
    ValueError
        When a number is not finite; the path of its key is named.
    TypeError
        When a value or key has no place in JSON; its path is named.

    Examples
    --------
    >>> print(canonical_json({"p": 0.023, "F": 5.39}), end="")
    {
      "F": 5.39,
      "p": 0.023
    }
    """
    return json.dumps(_plain(obj, ""), ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def write_text(path: str | os.PathLike[str], text: str) -> None:
    r"""Write text as UTF-8, whole or not at all; see `write_bytes`.

    Parameters
    ----------
    path
        The file. Missing folders above it are made.
    text
        Its new content. Line ends are written as they are.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(Path(folder) / "a.txt", "α\n")
    ...     (Path(folder) / "a.txt").read_bytes()
    b'\xce\xb1\n'
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file whole or not at all.

    The bytes go to a temporary file beside it, which takes its place when it is complete. Whatever
    happens, the old file or the new one is there, and no temporary file stays behind.

    Parameters
    ----------
    path
        The file. Missing folders above it are made.
    data
        Its new content.

    Raises
    ------
    OutputError
        When it cannot be written, with the reason and what to do.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bytes(Path(folder) / "a.bin", b"1")
    ...     sorted(file.name for file in Path(folder).iterdir())
    ['a.bin']
    """
    path = Path(path)
    partial = path.parent / f".{path.name}.{os.getpid()}-{next(_count)}.partial"
    with _output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def staged_folder(
    final: str | os.PathLike[str], *, mark: str | None = "record.json"
) -> Iterator[Path]:
    """Fill a folder out of sight and put it in place when it is complete.

    On success it takes the place of the old folder; on any exception, an interrupt too, it is
    removed and the old folder is as it was.

    Parameters
    ----------
    final
        The folder to make or replace. Missing folders above it are made.
    mark
        A folder that holds anything is replaced only if it holds this file, so that a mistyped
        path never costs anybody their own files. None replaces whatever is there.

    Yields
    ------
    pathlib.Path
        The temporary folder to write into, beside the final one.

    Raises
    ------
    OutputError
        When it cannot be written or must not be replaced.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as home:
    ...     with staged_folder(Path(home) / "report") as folder:
    ...         write_text(folder / "record.json", "{}")
    ...     (Path(home) / "report" / "record.json").read_text()
    '{}'
    """
    place = Path(os.path.realpath(final))
    partial = place.parent / f".{place.name}.partial-{os.getpid()}"
    old = place.parent / f".{place.name}.old-{os.getpid()}"
    with _output_errors(final):
        _check_replaceable(place, mark)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with _output_errors(final):
            partial.mkdir(parents=True)
        yield partial
        with _output_errors(final):
            _swap(partial, place, old)
    except OSError as error:
        if _is_about(error, partial):
            raise _output_error(final, error) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _swap(new: Path, place: Path, old: Path) -> None:
    try:
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.rename(place, old)
        os.rename(new, place)
    except BaseException:
        if old.exists() and not place.exists():
            os.rename(old, place)
        raise


def _check_replaceable(place: Path, mark: str | None) -> None:
    if not place.exists():
        return
    if not place.is_dir():
        raise OutputError("is a file, not a folder", where=str(place), mend="choose another name")
    if mark is not None and any(place.iterdir()) and not (place / mark).exists():
        raise OutputError(
            f"holds files but no {mark}, so it is not replaced",
            where=str(place),
            mend="choose a new or empty folder",
        )


@contextlib.contextmanager
def _output_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _output_error(path, error) from error


def _output_error(path: str | os.PathLike[str], error: OSError) -> OutputError:
    """Put into one sentence what the system says about writing `path`."""
    unknown = (f"cannot be written ({error.strerror or error})", _ELSEWHERE)
    message, mend = _CAUSES.get(error.errno or 0, unknown)
    return OutputError(message, where=os.fspath(path), mend=mend)


def _is_about(error: OSError, folder: Path) -> bool:
    """Tell whether an error of the caller's own code is about writing into `folder`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    file = error.filename
    return isinstance(file, str | os.PathLike) and Path(file).is_relative_to(folder)


def _plain(value: object, path: str) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{path or 'the value'} is {value}, which JSON cannot hold")
        return float(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{path or 'the value'} has the key {key!r}, which is not text")
        dot = "." if path else ""
        return {str(key): _plain(item, f"{path}{dot}{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}[{i}]") for i, item in enumerate(value)]
    raise TypeError(f"{path or 'the value'} is of type {type(value).__name__}, not for JSON")
