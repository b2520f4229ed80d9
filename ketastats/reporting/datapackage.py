"""Synthetic data as a Frictionless Data Package: CSV, datapackage.json and a README.

The descriptor follows https://datapackage.org (version 2, also valid as version 1). It holds no
clock and no name of a machine or folder: the same Study and seed give the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketastats.core.errors import DataError, StudyError
from ketastats.core.files import canonical_json, staged_folder, write_bytes
from ketastats.reporting.dictionary import (
    DESCRIPTOR,
    SCHEMA_VERSION,
    content_hash,
    descriptor,
    file_name,
    readme,
    resource,
)
from ketastats.study.model import Outcome, Scale, Study

if TYPE_CHECKING:
    import pandas as pd


def write_data(study: Study, out: str | PathLike[str], *, seed: int = 1, draw: int = 0) -> Path:
    """Draw synthetic data and write them as a Data Package.

    The folder appears whole or not at all; an older Data Package in its place is replaced.

    Parameters
    ----------
    study : Study
    out : path
        Folder to make: one CSV file per outcome, ``datapackage.json`` and ``README.md``.
    seed : int
        Any non-negative integer.
    draw : int
        Which of the seed's independent draws.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    OutputError
        When the folder cannot be written, or holds files that are not a Data Package.

    Examples
    --------
    >>> import tempfile
    >>> import ketastats as ks
    >>> with tempfile.TemporaryDirectory() as home:
    ...     folder = ks.write_data(ks.load_study("jelen2025"), f"{home}/trial", seed=7)
    ...     sorted(file.name for file in folder.iterdir())
    ['README.md', 'datapackage.json', 'glx.csv', 'madrs.csv', 'response.csv']
    """
    files = package_files(study, seed=seed, draw=draw)
    with staged_folder(out, mark=DESCRIPTOR) as folder:
        for name, content in files.items():
            write_bytes(folder / name, content)
    return Path(out)


def read_data(folder: str | PathLike[str]) -> dict[str, pd.DataFrame]:
    """Read a Data Package written by :func:`write_data`.

    Parameters
    ----------
    folder : path

    Returns
    -------
    dict of str to pandas.DataFrame
        One frame per outcome, with every factor as a category in its declared order.

    Raises
    ------
    DataError
        When a file is missing or is not the one that the descriptor was written for.

    Examples
    --------
    >>> import tempfile
    >>> import ketastats as ks
    >>> with tempfile.TemporaryDirectory() as home:
    ...     frames = read_data(ks.write_data(ks.load_study("jelen2025"), f"{home}/trial"))
    >>> frames["madrs"]["treatment"].cat.categories.tolist()
    ['placebo', 'naltrexone']
    """
    folder = Path(folder)
    frames = {}
    for entry in _read_descriptor(folder)["resources"]:
        path = folder / Path(entry["path"]).name
        content = _read(path)
        if entry["hash"] != content_hash(content):
            raise DataError(
                f"does not have the sha256 that {DESCRIPTOR} gives",
                where=str(path),
                mend="draw the data again, or change them under another name",
            )
        fields = entry["schema"]["fields"]
        frames[fields[-1]["name"]] = _frame(content.decode("utf-8"), fields, path)
    return frames


def data_differences(study: Study, folder: str | PathLike[str]) -> list[str]:
    """Say where a Data Package differs from what its Study draws now with the recorded seed.

    Parameters
    ----------
    study : Study
    folder : path

    Returns
    -------
    list of str
        One sentence per difference; empty when every byte is the same.

    Raises
    ------
    DataError
        When there is no Data Package to compare.

    Examples
    --------
    >>> import tempfile
    >>> import ketastats as ks
    >>> study = ks.load_study("jelen2025")
    >>> with tempfile.TemporaryDirectory() as home:
    ...     data_differences(study, ks.write_data(study, f"{home}/trial"))
    []
    """
    folder = Path(folder)
    record = _read_descriptor(folder)["ketastats"]
    out = []
    if record["study_hash"] != study.hash:
        out.append(
            f"{DESCRIPTOR} was made for Study {record['study_hash'][:12]}, "
            f"which is now {study.hash[:12]}"
        )
    expected = package_files(study, seed=record["seed"], draw=record["draw"])
    present = {p.name for p in folder.iterdir() if not p.name.startswith(".")}
    out += [f"{name} does not belong to the package" for name in sorted(present - set(expected))]
    for name, content in expected.items():
        if name not in present:
            out.append(f"{name} is missing")
        elif (line := _first_difference((folder / name).read_bytes(), content)) is not None:
            out.append(f"{name} differs from what the Study draws, first in line {line}")
    return out


def package_files(study: Study, *, seed: int = 1, draw: int = 0) -> dict[str, bytes]:
    """Return the files of a Data Package by name: the CSV files, the descriptor, the README."""
    tables = {}
    for outcome in study.outcomes:
        frame = study.simulate(seed, draw=draw, outcome=outcome.name)
        tables[outcome.name] = (outcome, frame, csv_text(frame, outcome).encode("utf-8"))
    files = {file_name(name): content for name, (_, _, content) in tables.items()}
    if len(files) < len(tables):
        raise StudyError(
            "two outcomes differ by upper and lower case only", where="outcomes", mend="rename one"
        )
    resources = [resource(study, o, frame, content) for o, frame, content in tables.values()]
    described = descriptor(study, resources, seed, draw)
    files[DESCRIPTOR] = canonical_json(described).encode("utf-8")
    files["README.md"] = readme(study, resources, seed, draw).encode("utf-8")
    return files


def csv_text(frame: pd.DataFrame, outcome: Outcome) -> str:
    r"""Write a plan with its outcome as CSV: LF line ends, nothing for missing, declared decimals.

    Examples
    --------
    >>> import ketastats as ks
    >>> study = ks.load_study("jelen2025")
    >>> frame = study.simulate(seed=1, outcome="madrs")
    >>> csv_text(frame, study.outcome("madrs")).splitlines()[0]
    'subject,sequence,period,treatment,time,sex,madrs'
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(frame.columns)
    columns = [frame[name].astype(object).where(frame[name].notna(), "") for name in frame.columns]
    columns[-1] = columns[-1].map(lambda v: _number(v, outcome.scale))
    writer.writerows(zip(*columns, strict=True))
    return buffer.getvalue()


def _number(value: Any, scale: Scale) -> str:
    return "" if value == "" else f"{value:.{scale.decimals}f}"


def _first_difference(one: bytes, other: bytes) -> int | None:
    """Return the number of the first line that differs, None when every byte is the same."""
    if one == other:
        return None
    a, b = one.splitlines(keepends=True), other.splitlines(keepends=True)
    same = [x == y for x, y in zip(a, b, strict=False)]
    return 1 + (same.index(False) if False in same else len(same))


# reading back


@dataclass(frozen=True, slots=True)
class _Field:
    """One column as its descriptor gives it."""

    name: str
    type: str
    levels: tuple[str, ...]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})",
            where=str(path),
            mend="make the folder with: ketastats simulate",
        ) from error


def _read_descriptor(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTOR
    try:
        content = json.loads(_read(path))
        version = content["ketastats"]["schema"]
    except (ValueError, KeyError, TypeError):
        raise DataError(
            "is not a Data Package of ketastats",
            where=str(path),
            mend="make the folder with: ketastats simulate",
        ) from None
    if version != SCHEMA_VERSION:
        raise DataError(
            f"has schema {version!r}; this version reads schema {SCHEMA_VERSION}",
            where=str(path),
            mend="use the version of ketastats that wrote it",
        )
    return content


def _frame(text: str, fields: list[dict[str, Any]], path: Path) -> pd.DataFrame:
    import pandas as pd

    head, *rows = csv.reader(io.StringIO(text))
    declared = [
        _Field(f["name"], f["type"], tuple(f["constraints"].get("enum", ()))) for f in fields
    ]
    if head != [f.name for f in declared]:
        raise DataError(f"has other columns than {DESCRIPTOR} gives", where=str(path))
    columns = zip(*rows, strict=True) if rows else ((),) * len(head)
    return pd.DataFrame(
        {f.name: _column(f, values) for f, values in zip(declared, columns, strict=True)}
    )


def _column(field: _Field, values: tuple[str, ...]) -> Any:
    import pandas as pd

    if field.levels:
        return pd.Categorical([v or None for v in values], categories=list(field.levels))
    if field.type == "integer":
        return pd.array([int(v) if v else None for v in values], dtype="Int64")
    return pd.array([float(v) if v else float("nan") for v in values], dtype="float64").to_numpy()
