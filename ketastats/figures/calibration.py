"""Simulation-based calibration: ECDF differences with their bands, and rank histograms."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ketastats.core.errors import DataError
from ketastats.figures.svg import INK, PALETTE, Drawing, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.0
COLUMNS = 3
INSIDE, OUTSIDE = PALETTE[0], PALETTE[1]
BAND: dict[str, Any] = {"facecolor": INK, "alpha": 0.13, "linewidth": 0}
X_LABEL = "posterior probability below the true value"
_EQUAL = 1e-12
"""Counts on the edge of a band are inside, whatever the last digit of their shares."""


@dataclass(frozen=True, slots=True, eq=False)
class EcdfPanel:
    """One parameter; arrays have shape (points,), NaN when there is no value.

    Attributes
    ----------
    label : str
    z : numpy.ndarray
        Evaluation points, rising, between 0 and 1.
    difference : numpy.ndarray
        ECDF minus uniform.
    low, high : numpy.ndarray
        Band of the difference.
    note : str
        Said in the title when the ECDF leaves its band, for instance how it departs.
    """

    label: str
    z: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    note: str = ""

    @property
    def outside(self) -> np.ndarray:
        """Which points lie outside the band, shape (points,)."""
        return (self.difference < self.low - _EQUAL) | (self.difference > self.high + _EQUAL)


@dataclass(frozen=True, slots=True, eq=False)
class RankPanel:
    """One parameter.

    Attributes
    ----------
    label : str
    counts : numpy.ndarray, shape (bins,)
        Values per bin of equal width, from 0 to 1.
    low, high : float
        Binomial band of a count.
    note : str
        Said in the title when a bin leaves the band.
    """

    label: str
    counts: np.ndarray
    low: float
    high: float
    note: str = ""

    @property
    def outside(self) -> np.ndarray:
        """Which bins lie outside the band, shape (bins,)."""
        return (self.counts < self.low) | (self.counts > self.high)


def ecdf_difference(
    panels: Sequence[EcdfPanel],
    *,
    ident: str,
    band: str = "simultaneous 95 % band",
    title: str = "ECDF of PIT values minus uniform, with simultaneous bands",
) -> Drawing:
    """Draw ECDF minus uniform inside its simultaneous band, one panel per parameter.

    Below zero at first and above it later, a posterior is too wide; above and then below, too
    narrow; above throughout it lies too high, below throughout too low. Every panel has a scale
    of its own, which shows band and ECDF whole.

    Parameters
    ----------
    panels : sequence of EcdfPanel
    ident : str
    band : str
        What the band is, for the legend.
    title : str

    Returns
    -------
    Drawing

    Examples
    --------
    >>> import numpy as np
    >>> z = np.array([0.25, 0.5, 0.75])
    >>> wide = np.full(3, 0.2)
    >>> print(ecdf_difference([EcdfPanel("effect", z, z - z, -wide, wide)], ident="e"))
    ECDF of PIT values minus uniform, with simultaneous bands (SVG; shown in a notebook, ...
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Line2D([], [], color=INSIDE, linewidth=1.5, label="ECDF minus uniform"),
        Patch(**BAND, label=band),
    ]
    if any(p.outside.any() for p in panels):
        handles.append(
            Line2D([], [], color=OUTSIDE, linewidth=1.5, marker="o", markersize=3.5,
                   label="outside the band")
        )  # fmt: skip
    svg = draw(
        _small_multiples(panels, _difference, "ECDF minus uniform", handles),
        size=_size(panels),
        ident=ident,
        title=title,
        desc="; ".join(_difference_in_words(p) for p in panels),
    )
    return Drawing(svg, title)


def rank_histogram(
    panels: Sequence[RankPanel],
    *,
    ident: str,
    band: str = "binomial band, 95 % for all bins",
    title: str = "Rank histograms with binomial bands",
) -> Drawing:
    """Draw the histogram of PIT values with a binomial band, one panel per parameter.

    High in the middle, a posterior is too wide; high at both ends, too narrow; high on the left
    it lies too high, high on the right too low.

    Parameters
    ----------
    panels : sequence of RankPanel
    ident : str
    band : str
        What the band is, for the legend.
    title : str

    Returns
    -------
    Drawing

    Examples
    --------
    >>> import numpy as np
    >>> print(rank_histogram([RankPanel("effect", np.array([9, 11]), 4, 16)], ident="r"))
    Rank histograms with binomial bands (SVG; shown in a notebook, written by .save(path))
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=INSIDE, alpha=0.75, label="values in a bin"),
        Patch(**BAND, label=band),
        Line2D([], [], color=INK, linewidth=1, label="uniform"),
    ]
    if any(p.outside.any() for p in panels):
        handles.insert(1, Patch(facecolor=OUTSIDE, hatch="////", label="outside the band"))
    svg = draw(
        _small_multiples(panels, _histogram, "values in a bin", handles),
        size=_size(panels),
        ident=ident,
        title=title,
        desc="; ".join(_histogram_in_words(p) for p in panels),
    )
    return Drawing(svg, title)


def _size(panels: Sequence[object]) -> tuple[float, float]:
    return WIDTH, 0.75 + 1.7 * -(-len(panels) // COLUMNS)


def _small_multiples(
    panels: Sequence[Any],
    paint_one: Callable[[Axes, Any], None],
    y_label: str,
    handles: Sequence[Any],
) -> Callable[[Figure], None]:
    """Return what fills a figure: a panel each, one pair of axis labels, one legend."""
    if not panels:
        raise DataError("no panel to draw", where="panels", mend="give one per parameter")
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)

    def paint(figure: Figure) -> None:
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for i, (ax, panel) in enumerate(zip(axes, panels, strict=False)):
            paint_one(ax, panel)
            _title(ax, panel, 90 // columns)
            ax.set_xlim(0, 1)
            ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            ax.tick_params(axis="x", labelbottom=i + columns >= len(panels))
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        figure.supxlabel(X_LABEL, size=9)
        figure.supylabel(y_label, size=9)
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))

    return paint


def _title(ax: Axes, panel: EcdfPanel | RankPanel, letters: int) -> None:
    lines = textwrap.wrap(panel.label, letters)
    if panel.outside.any():
        lines += textwrap.wrap(f"outside: {panel.note}" if panel.note else "outside", letters + 5)
    ax.set_title("\n".join(lines), size=8.5)


def _nothing(ax: Axes) -> None:
    ax.text(0.5, 0.5, "no values", transform=ax.transAxes, ha="center", va="center", size=8.5)
    ax.set_yticks([])


def _difference(ax: Axes, panel: EcdfPanel) -> None:
    if not np.isfinite(panel.difference).all():
        return _nothing(ax)
    x, y, low, high = (
        np.concatenate(([start], values, [end]))
        for values, start, end in (
            (panel.z, 0.0, 1.0),
            (panel.difference, 0.0, 0.0),
            (panel.low, 0.0, 0.0),
            (panel.high, 0.0, 0.0),
        )
    )
    ax.fill_between(x, low, high, **BAND)
    ax.axhline(0, color=INK, linewidth=0.8, alpha=0.6)
    ax.plot(x, y, color=INSIDE, linewidth=1.5)
    out = np.where(panel.outside, panel.difference, np.nan)
    if panel.outside.any():
        ax.plot(panel.z, out, color=OUTSIDE, linewidth=1.5, marker="o", markersize=2)
    reach = 1.15 * float(np.abs([y, low, high]).max())
    ax.set_ylim(-reach, reach)
    ax.locator_params(axis="y", nbins=5)


def _histogram(ax: Axes, panel: RankPanel) -> None:
    total, bins = int(panel.counts.sum()), len(panel.counts)
    if not total:
        return _nothing(ax)
    left, out = np.arange(bins) / bins, panel.outside
    ax.axhspan(panel.low, panel.high, **BAND)
    for which, colour, alpha, hatch in ((~out, INSIDE, 0.75, None), (out, OUTSIDE, 0.9, "////")):
        ax.bar(left[which], panel.counts[which], 0.86 / bins, align="edge", color=colour,
               alpha=alpha, hatch=hatch, linewidth=0)  # fmt: skip
    ax.axhline(total / bins, color=INK, linewidth=1)
    ax.set_ylim(0, 1.12 * max(float(panel.counts.max()), panel.high))
    ax.locator_params(axis="y", nbins=4, integer=True)


def _difference_in_words(panel: EcdfPanel) -> str:
    if not np.isfinite(panel.difference).all():
        return f"{panel.label}: no values"
    worst = int(np.abs(panel.difference).argmax())
    text = (
        f"{panel.label}: at most {abs(panel.difference[worst]):.2g} from uniform, "
        f"at {panel.z[worst]:.3g}"
    )
    return f"{text}, {_count_outside(panel, 'point')}"


def _histogram_in_words(panel: RankPanel) -> str:
    if not panel.counts.sum():
        return f"{panel.label}: no values"
    text = (
        f"{panel.label}: {int(panel.counts.min())} to {int(panel.counts.max())} values in a bin, "
        f"band {panel.low:g} to {panel.high:g}"
    )
    return f"{text}, {_count_outside(panel, 'bin')}"


def _count_outside(panel: EcdfPanel | RankPanel, of: str) -> str:
    n, total = int(panel.outside.sum()), len(panel.outside)
    if not n:
        return "inside the band"
    return f"outside the band at {n} of {total} {of}s" + (f" ({panel.note})" if panel.note else "")
