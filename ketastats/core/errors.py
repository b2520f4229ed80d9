"""Errors that say where, what and how to mend it, and the exit codes of the command line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from typing import ClassVar, Final

EXIT_OK: Final = 0
"""All is well."""
EXIT_FINDING: Final = 1
"""Something was found: an inconsistent claim, a failed gate, a report that differs."""
EXIT_BAD_INPUT: Final = 2
"""The input cannot be used."""
EXIT_IO: Final = 3
"""Something could not be read or written."""
EXIT_INTERRUPTED: Final = 130
"""The user stopped it."""


class KetastatsError(Exception):
    """Root of every error that ketastats raises on purpose.

    Its text is one sentence, ``where: message; mend``.

    Parameters
    ----------
    message
        What is wrong.
    where
        The file, key, column or term that it is about.
    mend
        What to do about it.

    Examples
    --------
    >>> raise KetastatsError("no column 'sex'", where="trial.csv", mend="add it")
    Traceback (most recent call last):
        ...
    ketastats.core.errors.KetastatsError: trial.csv: no column 'sex'; add it
    """

    exit_code: ClassVar[int] = EXIT_BAD_INPUT
    """What the command line exits with."""

    def __init__(self, message: str, *, where: str | None = None, mend: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.mend = mend

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text.rstrip('.')}; {self.mend}" if self.mend else text


class StudyError(KetastatsError):
    """A Study that cannot be used: malformed, impossible, or with an unknown key.

    Parameters
    ----------
    message
        What is wrong.
    file
        The file that the Study came from.
    key
        Dotted path of the key, for instance ``design.sequences``.
    where
        Used as it is in place of `file` and `key`.
    mend
        What to do about it.

    Examples
    --------
    >>> print(StudyError("must be 1 or more", file="a.toml", key="design.subjects"))
    a.toml: design.subjects: must be 1 or more
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | os.PathLike[str] | None = None,
        key: str | None = None,
        where: str | None = None,
        mend: str | None = None,
    ) -> None:
        self.file = None if file is None else os.fspath(file)
        self.key = key
        place = ": ".join(part for part in (self.file, key) if part)
        super().__init__(message, where=where or place or None, mend=mend)


class DataError(KetastatsError):
    """Data that do not fit what is asked of them."""


class FormulaError(KetastatsError):
    """A formula that cannot be read, or that holds more than a formula may."""


class NotEstimable(KetastatsError):
    """A question that the data and the formula cannot answer."""


class MissingExtra(KetastatsError):
    """An optional package is not installed.

    Parameters
    ----------
    extra
        Name of the extra of the package ``ketastats``.
    what
        What needs it.
    where, mend
        As for `KetastatsError`; without `mend` the install line is given.

    Examples
    --------
    >>> print(MissingExtra("parallel", "running on a cluster"))
    running on a cluster needs the extra 'parallel'; pip install "ketastats[parallel]"
    """

    def __init__(
        self, extra: str, what: str, *, where: str | None = None, mend: str | None = None
    ) -> None:
        super().__init__(
            f"{what} needs the extra '{extra}'",
            where=where,
            mend=mend or f'pip install "ketastats[{extra}]"',
        )
        self.args = (extra, what)  # what a copy in another process is made from
        self.extra = extra
        self.what = what


class OutputError(KetastatsError):
    """A file or folder that cannot be written."""

    exit_code: ClassVar[int] = EXIT_IO


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Find the candidate that is most like a word, to suggest it.

    Parameters
    ----------
    word
        What was written.
    candidates
        What could have been meant. Among equals the first wins.

    Returns
    -------
    str or None
        The nearest candidate, or None when none is near. Upper and lower case count as the same.

    Examples
    --------
    >>> nearest("naltrexon", ["placebo", "naltrexone"])
    'naltrexone'
    >>> nearest("xyz", ["placebo", "naltrexone"]) is None
    True
    """
    spelled: dict[str, str] = {}
    for candidate in candidates:
        spelled.setdefault(candidate.casefold(), candidate)
    found = difflib.get_close_matches(word.casefold(), list(spelled), n=1)
    return spelled[found[0]] if found else None
