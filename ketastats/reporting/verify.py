"""``ks.verify``: rebuild a report elsewhere and say whether it comes out the same."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketastats.core.errors import DataError
from ketastats.reporting import record
from ketastats.reporting.compare import (
    REML_DIGITS,
    SAMPLED_DIGITS,
    bytes_difference,
    csv_close,
    results_close,
)
from ketastats.reporting.results import FILE as RESULTS
from ketastats.reporting.results import read_json

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.study.model import Study

_MIXED = ("estimates.csv", "side_by_side.csv", "variances.csv", "gates.csv", "random_part.csv")
"""Tables with sampled numbers; results.json holds the same and is compared instead."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What a rebuild showed; made by :func:`verify`.

    Attributes
    ----------
    equal : bool
    differences : tuple of str
        The first difference of every file that differs: file, line or key, both values.
    compared : int
        Files compared.
    scope : str
        How: byte by byte, or to how many digits and why.
    """

    equal: bool
    differences: tuple[str, ...]
    compared: int
    scope: str

    def __str__(self) -> str:
        head = "equal" if self.equal else "DIFFERS"
        lines = [f"{head}: {self.compared} files compared {self.scope}"]
        return "\n".join(lines + [f"  {d}" for d in self.differences])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        return "".join(f"<div>{escape(line)}</div>" for line in str(self).splitlines())


def verify(
    folder: str | PathLike[str], *, progress: Callable[[str], None] | None = None
) -> Verification:
    """Rebuild a report in a temporary folder and compare every file.

    Posterior draws are sampled anew, not taken from a cache. On the versions, operating system
    and family of processors of the record every byte must be the same, outside the block ``meta``
    of record.json. Elsewhere the numbers in results.json and in the tables without sampled values
    are compared, to 6 digits (2 for sampled and simulated values); pages and figures are not.

    Parameters
    ----------
    folder : path
        Of a report.
    progress : callable, optional
        Called with one line of text before each step.

    Returns
    -------
    Verification

    Raises
    ------
    DataError
        When the folder holds no report, or one that cannot be rebuilt.

    Examples
    --------
    >>> import tempfile
    >>> import ketastats as ks
    >>> with tempfile.TemporaryDirectory() as home:
    ...     made = ks.report(
    ...         ks.load_study("jelen2025"), f"{home}/jelen", analyses=["primary"], draws=0
    ...     )
    ...     verify(made.folder).equal
    True
    """
    folder = Path(folder)
    stored = read_json(folder / record.FILE, record.SCHEMA_VERSION)
    with tempfile.TemporaryDirectory(prefix="ketastats-verify-") as home:
        rebuilt = Path(home) / "report"
        _rebuild(folder, stored, rebuilt, progress)
        if progress is not None:
            progress(f"{stored['study']['id']}: comparing")
        one, other = _files(folder), _files(rebuilt)
        changed = environment_changes(stored["environment"], record.environment())
        differences = []
        for name in sorted({*one, *other}):
            found = _difference(name, one.get(name), other.get(name), bytewise=not changed)
            if found is not None:
                differences.append(found)
    scope = "byte by byte"
    if changed:
        scope = (
            f"by their numbers, to {REML_DIGITS} digits for REML and {SAMPLED_DIGITS} for sampled "
            f"and simulated values, without pages and figures, because {'; '.join(changed)}"
        )
    return Verification(not differences, tuple(differences), len({*one, *other}), scope)


def environment_changes(stored: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Say in what the environment of a record differs from this one.

    Examples
    --------
    >>> environment_changes({"python": "3.12.1", "packages": {}}, {"python": "3.13.0"})
    ['python was 3.12.1 and is 3.13.0']
    """
    out = []
    for key in ("python", "system", "machine", "cpu"):
        if stored.get(key) != here.get(key):
            out.append(f"{key} was {stored.get(key)} and is {here.get(key)}")
    one, other = stored.get("packages", {}), here.get("packages", {})
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            out.append(f"{name} was {one.get(name, 'absent')} and is {other.get(name, 'absent')}")
    return out


def _rebuild(
    folder: Path,
    stored: Mapping[str, Any],
    out: Path,
    progress: Callable[[str], None] | None,
) -> None:
    from ketastats.reporting.report import report
    from ketastats.study.load import load_study, read_study_file

    place = str(folder / record.FILE)
    try:
        source, name = stored["study"]["source"], stored["study"]["id"]
        synthetic, seed = stored["data"]["synthetic"], stored["seeds"]["seed"]
        analyses, draws = stored["analyses"], stored["draws"]
        stored["environment"]["packages"]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"is not the record of a report ({error})",
            where=place,
            mend="make the report again with: ketastats report",
        ) from error
    if source == "python":
        raise DataError(
            "the study was made in Python, so the report cannot be rebuilt",
            where=place,
            mend="write the Study to a .toml file and give it to report as source",
        )
    copy = folder / "study.toml"
    study = load_study(name) if source == "packaged" else read_study_file(copy)
    data = None if synthetic else given_data(study, folder / "data")
    report(
        study, out, data=data, seed=seed, analyses=analyses, draws=draws,
        source=None if source == "packaged" else copy, progress=progress,
    )  # fmt: skip


def given_data(study: Study, folder: Path) -> dict[str, pd.DataFrame]:
    """Read the copies of data that were given: factors as text, all else as it looks.

    Raises
    ------
    DataError
        When a file cannot be read.
    """
    import pandas as pd

    from ketastats.study.build import all_factors

    out = {}
    for o in study.outcomes:
        path = folder / f"{o.name}.csv"
        factors = [
            "subject",
            *all_factors(study.design, o),
            *(c.name for c in study.design.clusters),
        ]
        try:
            head = pd.read_csv(path, nrows=0).columns
            out[o.name] = pd.read_csv(
                path,
                dtype={f: "str" for f in factors if f in head},
                encoding="utf-8",
            )
        except (OSError, ValueError) as error:
            raise DataError(
                f"cannot be read ({error})", where=str(path), mend="make the report again"
            ) from error
    return out


def _files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and not any(x.startswith(".") for x in p.relative_to(folder).parts)
    }


def _difference(
    name: str, report: bytes | None, rebuilt: bytes | None, *, bytewise: bool
) -> str | None:
    if report is None:
        return f"{name}: is missing in the report"
    if rebuilt is None:
        return f"{name}: is in the report and is not rebuilt"
    if name == record.FILE:
        ignored = ("meta",) if bytewise else ("meta", "environment")
        report, rebuilt = (_without(x, ignored) for x in (report, rebuilt))
        return bytes_difference(name, report, rebuilt)
    if bytewise or name.startswith("study."):
        return bytes_difference(name, report, rebuilt)
    if name == RESULTS:
        try:
            found = results_close(json.loads(report), json.loads(rebuilt))
        except (ValueError, KeyError, TypeError, AttributeError):
            found = "is not the results.json of a report"
        return found and f"{name}: {found}"
    table = name.startswith(("tables/", "data/")) and Path(name).name not in _MIXED
    if table:
        found = csv_close(report.decode("utf-8", "replace"), rebuilt.decode("utf-8", "replace"))
        return found and f"{name}: {found}"
    return None


def _without(content: bytes, keys: tuple[str, ...]) -> bytes:
    """Return a JSON object without some keys, every other byte that matters kept."""
    whole = json.loads(content)
    return json.dumps({k: v for k, v in whole.items() if k not in keys}, sort_keys=True).encode()
