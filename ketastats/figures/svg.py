"""Matplotlib to SVG text: the only module that knows how a figure becomes a file.

A figure is drawn on a :class:`matplotlib.figure.Figure`, never through pyplot's state. The text
that comes back is the same for the same input: fixed fonts drawn as paths, a fixed salt for the
ids, no date. Neutral ink becomes ``currentColor``, so a page in dark mode turns it light; the
background is left transparent; ids carry the figure's name, so that several figures stand in one
page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketastats.core.errors import DataError
from ketastats.core.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""Drawn in this colour, a line or text takes the colour of the page's text."""

PALETTE = ("#3a84c9", "#d4691e", "#2a9d78", "#b764a8", "#a8861b", "#6b7f94")
"""Told apart by people with any common colour vision deficiency (Okabe & Ito's hues, brought to
one lightness that has contrast 3:1 or more on white and on near-black)."""

MARKERS = ("o", "s", "^", "D", "v", "P")
LINES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", (0, (5, 2)), (0, (2, 2)), "-.")

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "svg.fonttype": "path",
    "svg.hashsalt": "ketastats",
    "savefig.transparent": True,
    "savefig.bbox": None,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.unicode_minus": True,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.2,
    "path.simplify": False,
    "text.usetex": False,
    "text.parse_math": False,  # a dollar sign in somebody's label is a dollar sign
} | dict.fromkeys(
    (
        "text.color",
        "axes.edgecolor",
        "axes.labelcolor",
        "axes.titlecolor",
        "xtick.color",
        "xtick.labelcolor",
        "ytick.color",
        "ytick.labelcolor",
        "legend.labelcolor",
        "lines.color",
        "patch.edgecolor",
        "hatch.color",
    ),
    INK,
)

_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_COMMENT = re.compile(r"\s*<!--.*?-->", re.DOTALL)
_STYLE = re.compile(r"\s*<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)
_ID = re.compile(r' id="([^"]*)"')
_REFERENCE = re.compile(r'(?<=href="#)[^"]+|(?<=url\(#)[^)]+')
_GEOMETRY = re.compile(r' (?:d|x|y|points)="[^"]*"')
_LONG = re.compile(r"-?\d+\.\d{3,}")


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure as SVG text; notebooks show it, :meth:`save` writes it.

    Attributes
    ----------
    svg : str
        One ``<svg>`` element.
    title : str
    """

    svg: str
    title: str

    def save(self, path: str | Path) -> Path:
        """Write the figure to a file that ends in ``.svg``; an older one is replaced whole.

        Raises
        ------
        DataError
            For another ending.
        OutputError
            When the file cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() != ".svg":
            raise DataError(
                f"a figure is saved as SVG, not as {target.suffix or 'a file without ending'}",
                where=str(target),
                mend="end the name in .svg",
            )
        write_text(target, '<?xml version="1.0" encoding="UTF-8"?>\n' + self.svg)
        return target

    def _repr_svg_(self) -> str:
        return self.svg

    def __str__(self) -> str:
        return f"{self.title} (SVG; shown in a notebook, written by .save(path))"

    __repr__ = __str__


def draw(
    paint: Callable[[Figure], None],
    *,
    size: tuple[float, float],
    ident: str,
    title: str,
    desc: str,
) -> str:
    """Draw a figure and return it as SVG text.

    Parameters
    ----------
    paint : callable
        Fills an empty Figure with constrained layout.
    size : (float, float)
        Width and height in inches.
    ident : str
        Name of the figure; prefix of every id in it. Letters, digits, ``-`` and ``_``.
    title, desc : str
        For screen readers: what it is and what it shows.

    Returns
    -------
    str
        One ``<svg>`` element and a newline.

    Examples
    --------
    >>> def paint(figure):
    ...     figure.subplots().plot([1, 2])
    >>> text = draw(paint, size=(2, 1), ident="a", title="T", desc="D")
    >>> text.startswith('<svg') and 'aria-labelledby="a-title a-desc"' in text
    True
    """
    import io

    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    if not re.fullmatch(r"[A-Za-z][\w-]*", ident):
        raise ValueError(f"{ident!r} cannot be the name of a figure")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)  # type: ignore[arg-type]
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return _finish(out.getvalue(), ident, title, desc)


def _finish(text: str, ident: str, title: str, desc: str) -> str:
    """Strip what is not drawing, set ids, accessible names and page colours."""
    text = text.replace("xlink:href", "href")
    text = text.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    for pattern in (_COMMENT, _METADATA, _STYLE):
        text = pattern.sub("", text)
    used = set(_REFERENCE.findall(text))
    text = _ID.sub(lambda m: f' id="{ident}-{m.group(1)}"' if m.group(1) in used else "", text)
    text = _REFERENCE.sub(lambda m: f"{ident}-{m.group()}", text)
    text = _GEOMETRY.sub(_compact, text)
    text = _HEAD.sub("", text, count=1).replace(INK, "currentColor")
    label = (
        ' stroke-linejoin="round" stroke-linecap="butt" role="img"'
        f' aria-labelledby="{ident}-title {ident}-desc">'
        f'\n <title id="{ident}-title">{escape(title)}</title>'
        f'\n <desc id="{ident}-desc">{escape(desc)}</desc>'
    )
    end = text.index(">")
    text = text[:end] + label + text[end + 1 :]
    return "\n".join(line.strip() for line in text.strip().splitlines()) + "\n"


def _compact(match: re.Match[str]) -> str:
    """Write one geometry attribute on one line, to a hundredth of a point."""
    one_line = " " + " ".join(match.group().split()).replace(' "', '"')
    return _LONG.sub(lambda m: f"{float(m.group()):.2f}".rstrip("0").rstrip("."), one_line)


def colours(levels: Sequence[str]) -> dict[str, str]:
    """Return a fixed colour per level of a treatment, in declared order.

    Examples
    --------
    >>> colours(["placebo", "naltrexone"])["placebo"]
    '#3a84c9'
    """
    return {level: PALETTE[i % len(PALETTE)] for i, level in enumerate(levels)}


def markers(levels: Sequence[str]) -> dict[str, str]:
    """Return a fixed marker per level: what colour alone should not have to tell."""
    return {level: MARKERS[i % len(MARKERS)] for i, level in enumerate(levels)}
