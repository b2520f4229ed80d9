"""A document as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from ketastats.reporting.document import Block, Document

if TYPE_CHECKING:
    from jinja2 import Environment

_KINDS = {
    "Paragraph": "paragraph",
    "Items": "items",
    "Heading": "heading",
    "Commands": "commands",
    "Table": "table",
    "Picture": "picture",
}


@cache
def _environment() -> Environment:
    """Return Jinja with autoescape on: every text is escaped, whoever wrote it."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["kind_of"] = kind_of
    return environment


def _template(name: str) -> str:
    folder = resources.files("ketastats.reporting") / "templates"
    return (folder / name).read_text(encoding="utf-8")


def kind_of(block: Block) -> str:
    """Return what a block is called in the template."""
    return _KINDS[type(block).__name__]


def report_page(document: Document) -> str:
    """Render a report.

    Parameters
    ----------
    document : Document

    Returns
    -------
    str
        HTML with its style and drawings inside; no script, nothing to fetch.
    """
    return _render("report.html.j2", document=document)


def index_page(cards: Sequence[dict[str, Any]]) -> str:
    """Render the index of several reports."""
    return _render("index.html.j2", cards=cards)


def _render(template: str, **values: Any) -> str:
    from markupsafe import Markup

    # the style sheet is the package's own; drawings are marked in the template
    style = Markup(_template("style.css"))  # noqa: S704
    return _environment().get_template(template).render(style=style, **values)
