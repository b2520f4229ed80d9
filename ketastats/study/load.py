"""Reading a Study: a packaged one by name, or a TOML file by path."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ketastats.core.errors import StudyError
from ketastats.study.build import build_study
from ketastats.study.lookup import suggestion
from ketastats.study.model import Study

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


def packaged_studies() -> tuple[str, ...]:
    """Return the names of the studies that come with the package."""
    folder = resources.files("ketastats") / "studies"
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml")))


def load_study(name_or_path: str | Path) -> Study:
    """Load a Study.

    Parameters
    ----------
    name_or_path : str or Path
        A packaged study, such as ``"jelen2025"``, or a path to a ``.toml`` file.

    Returns
    -------
    Study

    Raises
    ------
    StudyError
        When there is no such study, the file cannot be read, or the declaration is wrong. The
        message names file, key path and mend.

    Examples
    --------
    >>> import ketastats as ks
    >>> ks.load_study("jelen2025").design.kind
    'crossover'
    """
    text = str(name_or_path)
    if text in packaged_studies():
        return _packaged(text)
    path = Path(name_or_path)
    if path.suffix != ".toml" and not path.exists():
        raise StudyError(
            f"there is no study called {text!r}",
            mend=suggestion(text, packaged_studies()) + " (or give the path of a .toml file)",
        )
    return read_study_file(path)


@cache
def _packaged(name: str) -> Study:
    source = resources.files("ketastats") / "studies" / f"{name}.toml"
    return parse_study(source.read_text(encoding="utf-8"), where=f"{name}.toml")


def read_study_file(path: Path) -> Study:
    """Read one Study file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(
            "there is no such file",
            where=str(path),
            mend="make one with: ketastats new my-trial.toml",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(
            f"cannot read the file ({error})", where=str(path), mend="it must be UTF-8 text"
        ) from error
    return parse_study(text, where=str(path))


def parse_study(text: str, *, where: str = "study") -> Study:
    """Turn the text of a Study file into a Study.

    Parameters
    ----------
    text : str
        TOML.
    where : str
        Name of the source, for messages.

    Returns
    -------
    Study

    Raises
    ------
    StudyError
        With file, key path, what is wrong and the mend.

    Examples
    --------
    >>> try:
    ...     parse_study("schema = 2", where="my.toml")
    ... except StudyError as error:
    ...     print(error)
    my.toml: schema: the file declares schema = 2; this version reads schema = 1; ...
    """
    from pydantic import ValidationError

    from ketastats.study.schema import SCHEMA_VERSION, StudyFile

    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(
            f"this is not valid TOML: {error}",
            where=where,
            mend="check quotes, brackets and commas",
        ) from error
    version = raw.get("schema")
    if type(version) is not int or version != SCHEMA_VERSION:
        said = "no schema" if version is None else f"schema = {version!r}"
        raise StudyError(
            f"the file declares {said}; this version reads schema = {SCHEMA_VERSION}",
            where=f"{where}: schema",
            mend=f'put "schema = {SCHEMA_VERSION}" on the first line'
            if version is None
            else "use the version of ketastats that wrote it",
        )
    try:
        checked = StudyFile.model_validate(raw)
    except ValidationError as error:
        raise _as_study_error(error, where) from None
    return build_study(checked, where)


def _as_study_error(error: ValidationError, where: str) -> StudyError:
    """Turn the first pydantic error into one sentence; count the others."""
    details = error.errors(include_url=False)
    first = _most_telling(details)
    keys = _keys(first)
    message = str(first["msg"]).removeprefix("Value error, ").replace("Input should", "must")
    if first["type"] == "missing":
        message, keys = f"the key {keys[-1]!r} is missing", keys[:-1]
    got = first.get("input")
    if isinstance(got, str | int | float | bool) and first["type"] != "value_error":
        message += f" (got {got!r})"
    others = len({d["loc"][:2] for d in details}) - 1
    message, _, mend = message.partition("; ")
    more = f" — and {others} more such place{'s' if others > 1 else ''}" if others > 0 else ""
    place = f"{where}: {'.'.join(keys)}" if keys else where
    return StudyError(message + more, where=place, mend=mend or _mend(first))


def _keys(detail: ErrorDetails) -> list[str]:
    return [str(part) for part in detail["loc"] if not _is_union_tag(part)]


def _most_telling(details: list[ErrorDetails]) -> ErrorDetails:
    """Return the first error, or the one deepest inside the same value.

    A value that may be a number or a table gives an error for each; a table with a mistake in it
    has the deeper one.
    """
    start = _keys(details[0])
    return max((d for d in details if _keys(d)[: len(start)] == start), key=lambda d: len(_keys(d)))


def _mend(detail: ErrorDetails) -> str:
    """Return what to do about one pydantic error."""
    limits, kind = detail.get("ctx", {}), detail["type"]
    if kind == "missing":
        return f"add {detail['loc'][-1]} = ..."
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", str(limits["expected"]))
        return suggestion(str(detail["input"]), allowed)
    if kind == "string_pattern_mismatch":
        small = detail["loc"] == ("study", "id")
        return "use small letters, digits, - and _" if small else "use letters, digits and _"
    if kind == "string_too_short":
        return "give it a name"
    for name, words in _LIMITS.items():
        if name in limits:
            return words.format(limits[name])
    return next((words for start, words in _KINDS.items() if kind.startswith(start)), _KINDS[""])


_LIMITS = {
    "ge": "give {:g} or more",
    "gt": "give a number above {:g}",
    "le": "give {:g} or less",
    "lt": "give a number below {:g}",
    "min_length": "give {} or more",
    "max_length": "give {} or fewer",
}
_KINDS = {
    "finite": "give a finite number",
    "float": "give a number, without quotes",
    "int": "give a whole number, without quotes",
    "string": "give text in quotes",
    "bool": "give true or false",
    "list": 'give a list, such as ["a", "b"]',
    "dict": "give a table, such as { a = 1 }",
    "model": "give a table, such as { a = 1 }",
    "": "see ketastats schema for what may stand here",
}


def _is_union_tag(part: object) -> bool:
    """Whether a part of pydantic's location names a type, not a key."""
    text = str(part)
    return text.startswith(("list[", "dict[", "function-", "constrained-")) or text in (
        "[key]",
        "int",
        "float",
        "str",
        "SpreadTable",
    )
