"""Finding a named value, with a suggestion when the name is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ketastats.core.errors import StudyError, nearest


def pick[T](items: Iterable[T], name: str, what: str) -> T:
    """Return the item whose ``name`` attribute equals ``name``.

    Raises
    ------
    StudyError
        When there is none; names the nearest and what exists.
    """
    by_name: dict[str, Any] = {getattr(item, "name"): item for item in items}  # noqa: B009
    if name in by_name:
        return by_name[name]
    raise StudyError(
        f"there is no {what} {name!r}", mend=suggestion(name, by_name) or f"no {what} is declared"
    )


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return the mend for an unknown word: the nearest known one, else all of them."""
    known = list(known)
    near = nearest(word, known)
    if near is not None:
        return f"did you mean {near!r}?"
    return "use one of " + ", ".join(repr(k) for k in known) if known else ""
