"""The index page over several reports."""

from __future__ import annotations

import os
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ketastats.core.files import write_text
from ketastats.reporting.html import index_page
from ketastats.reporting.report import Report
from ketastats.reporting.results import FILE, SCHEMA_VERSION, read_json


def write_index(
    folder: str | PathLike[str], reports: Iterable[Report | str | PathLike[str]]
) -> Path:
    """Write index.html, which lists reports with their main answers and links to them.

    Parameters
    ----------
    folder : path
        Where index.html goes; links are relative to it.
    reports : iterable of Report or path
        Reports, or their folders.

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    DataError
        When a folder holds no report.
    OutputError
        When the page cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as home:
    ...     write_index(home, []).name
    'index.html'
    """
    page = Path(folder) / "index.html"
    cards = [_card(Path(folder), r.folder if isinstance(r, Report) else Path(r)) for r in reports]
    write_text(page, index_page(cards))
    return page


def _card(folder: Path, report: Path) -> dict[str, Any]:
    content = read_json(report / FILE, SCHEMA_VERSION)
    study, main = content["study"], content.get("headline", {})
    return {
        "href": quote(Path(os.path.relpath(report, folder)).as_posix()),
        "title": study["title"] or study["id"],
        "summary": study["summary"],
        "synthetic": content["synthetic"],
        "seed": content["seed"],
        "key_label": main.get("label", ""),
        "key": main.get("text", ""),
        "findings": content.get("findings", []),
    }
