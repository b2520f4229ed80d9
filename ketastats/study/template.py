"""Study files to begin with: commented, complete, and ready to run."""

from __future__ import annotations

import re
import shlex
from importlib import resources
from pathlib import PurePath
from typing import Final

from ketastats.core.errors import StudyError
from ketastats.study.lookup import suggestion

TEMPLATES: Final = ("crossover", "parallel")
"""Kinds of design that there is a file for in ``templates/``; @FILE@ and @ID@ are filled in."""


def template(design: str = "crossover", file: str = "my-trial.toml") -> str:
    """Return a commented Study file that runs as it is.

    Parameters
    ----------
    design : str
        ``crossover`` or ``parallel``.
    file : str
        Name of the file that it is for; the Study's id is made from it.

    Returns
    -------
    str
        TOML.

    Raises
    ------
    StudyError
        For another design.

    Examples
    --------
    >>> import ketastats as ks
    >>> ks.parse_study(template("parallel", "swim test.toml")).id
    'swim-test'
    """
    if design not in TEMPLATES:
        raise StudyError(
            f"there is no template for a design {design!r}", mend=suggestion(design, TEMPLATES)
        )
    name = PurePath(file).name
    source = resources.files("ketastats") / "study" / "templates" / f"{design}.toml"
    text = source.read_text(encoding="utf-8")
    return text.replace("@FILE@", _quoted(name)).replace("@ID@", study_id(name))


def study_id(file: str) -> str:
    """Return an id for a Study from the name of its file.

    Examples
    --------
    >>> study_id("My Trial (2).toml")
    'my-trial-2'
    """
    stem = PurePath(file).stem.lower()
    return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_") or "my-trial"


def _quoted(name: str) -> str:
    """Return a file name as it is typed in a shell, without what a comment cannot hold."""
    return shlex.quote("".join(c for c in name if c.isprintable()))
