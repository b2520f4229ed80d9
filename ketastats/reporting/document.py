"""A report as data: sections of blocks, before anybody decides how they look.

Nothing here knows HTML. A renderer turns a :class:`Document` into a page; another one could turn
the same document into Markdown or PDF.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Some words in one style.

    Attributes
    ----------
    text : str
    style : str
        Empty, or one of ``i``, ``b``, ``sub``, ``sup``, ``code``, ``term``: a piece of a formula
        that is not broken over two lines.
    href : str
        Where the words link to; empty for no link.
    """

    text: str
    style: str = ""
    href: str = ""


Text = tuple[Span, ...]


def rich(*parts: str | Span | Text) -> Text:
    """Join words, styled words and texts to one text.

    Examples
    --------
    >>> rich("V = ", i("G"), sub("r"))[1].style
    'i'
    """
    out: list[Span] = []
    for part in parts:
        if isinstance(part, str):
            out.append(Span(part))
        elif isinstance(part, Span):
            out.append(part)
        else:
            out += part
    return tuple(s for s in out if s.text)


def i(text: str) -> Span:
    """Return italics."""
    return Span(text, "i")


def b(text: str) -> Span:
    """Return bold."""
    return Span(text, "b")


def sub(text: str) -> Span:
    """Return a subscript."""
    return Span(text, "sub")


def sup(text: str) -> Span:
    """Return a superscript."""
    return Span(text, "sup")


def code(text: str) -> Span:
    """Return literal text, such as a formula or a file name."""
    return Span(text, "code")


def formula(text: str) -> Text:
    """Return a formula that breaks only between its terms.

    Examples
    --------
    >>> [s.text for s in formula("a * b + (1 | subject)")]
    ['a * b', ' + ', '(1 | subject)']
    """
    pieces: list[Span] = []
    for k, term in enumerate(text.split(" + ")):
        pieces += [Span(" + ")] * bool(k) + [Span(term, "term")]
    return tuple(pieces)


def doi_link(doi: str, text: str = "") -> Span:
    """Return a link to a DOI."""
    return Span(text or f"doi:{doi}", "", f"https://doi.org/{doi}")


def plain_text(text: Text) -> str:
    """Return the words without their styles.

    Examples
    --------
    >>> plain_text(rich("p = ", b("0.03")))
    'p = 0.03'
    """
    return "".join(s.text for s in text)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph; ``kind`` is empty, ``note``, ``warning``, ``failure`` or ``formula``."""

    text: Text
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: tuple[Text, ...]
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading under a section's own."""

    text: Text


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines to type into a terminal."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes
    ----------
    text : Text
    title : str
        Why a value is absent, or what a short text stands for.
    kind : str
        Empty, ``failure`` or ``warning``.
    """

    text: Text
    title: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """Head of a column; numbers are aligned to the right."""

    head: Text
    number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of a row names it.

    Attributes
    ----------
    caption : Text
    columns : tuple of Column
    rows : tuple of tuple of Cell
    file : str
        The CSV file that holds the same at full precision; empty when there is none.
    """

    caption: Text
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    file: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure: its SVG text, its caption and the file that holds it."""

    name: str
    svg: str
    caption: Text


Block = Paragraph | Items | Heading | Commands | Table | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A numbered part of the report."""

    ident: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report.

    Attributes
    ----------
    title, summary : str
    banner : Text
        What must be read before anything else.
    facts : tuple of (str, str)
        Short facts for the head: study, seed, hash.
    short : tuple of Block
        The answers in a few lines.
    sections : tuple of Section
    synthetic : bool
    """

    title: str
    summary: str
    banner: Text
    facts: tuple[tuple[str, str], ...]
    short: tuple[Block, ...]
    sections: tuple[Section, ...]
    synthetic: bool = True

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Every figure, in order."""
        return tuple(x for s in self.sections for x in s.blocks if isinstance(x, Picture))


def paragraph(*parts: str | Span | Text, kind: str = "") -> Paragraph:
    """Return a paragraph of the parts."""
    return Paragraph(rich(*parts), kind)


def cell(value: str | Span | Text, title: str = "", kind: str = "") -> Cell:
    """Return a cell."""
    return Cell(rich(value), title, kind)


def table(
    caption: str | Text,
    heads: Iterable[str | Text],
    rows: Iterable[Iterable[str | Span | Text | Cell]],
    *,
    numbers: Iterable[int] = (),
    file: str = "",
) -> Table:
    """Return a table from plain values.

    Parameters
    ----------
    caption : str or Text
    heads : iterable of str or Text
    rows : iterable of iterable
    numbers : iterable of int
        Columns of numbers.
    file : str
    """
    right = set(numbers)
    columns = tuple(Column(rich(h), k in right) for k, h in enumerate(heads))
    body = tuple(tuple(c if isinstance(c, Cell) else cell(c) for c in row) for row in rows)
    wrong = [len(r) for r in body if len(r) != len(columns)]
    if wrong:
        raise ValueError(f"a row of {wrong[0]} cells in a table of {len(columns)} columns")
    return Table(rich(caption), columns, body, file)
