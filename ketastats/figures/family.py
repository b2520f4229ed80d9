"""Many questions of one kind: raw estimates, shrunken ones and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.figures.svg import INK, PALETTE, Drawing, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH = 7.0
CROWDED = 40
"""Levels above which their names are set smaller."""


@dataclass(frozen=True, slots=True, eq=False)
class FamilyDots:
    """What is drawn; arrays of shape (K,), NaN where absent.

    Attributes
    ----------
    levels : tuple of str
    estimate, low, high : numpy.ndarray
    shrunken : numpy.ndarray
    false_sign : numpy.ndarray
        Probability that the better sign is wrong.
    true : numpy.ndarray
    """

    levels: tuple[str, ...]
    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    shrunken: np.ndarray
    false_sign: np.ndarray
    true: np.ndarray

    def sorted(self) -> FamilyDots:
        """Return the levels that have an estimate, the smallest first."""
        order = np.argsort(self.estimate, kind="stable")
        order = order[np.isfinite(self.estimate[order])]
        arrays = (self.estimate, self.low, self.high, self.shrunken, self.false_sign, self.true)
        return FamilyDots(tuple(self.levels[i] for i in order), *(a[order] for a in arrays))


def family_dots(
    dots: FamilyDots, *, alpha: float, x_label: str, y_label: str, ident: str, title: str
) -> Drawing:
    """Draw raw estimates with intervals in grey, shrunken ones on top, the truth as a tick.

    Parameters
    ----------
    dots : FamilyDots
    alpha : float
        A shrunken estimate is filled where its sign is wrong with a probability below this.
    x_label : str
        The factor.
    y_label : str
        With the unit.
    ident, title : str

    Returns
    -------
    Drawing

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones(2)
    >>> dots = FamilyDots(("a", "b"), one, one - 1, one + 1, one / 2, one / 10, one)
    >>> drawing = family_dots(dots, alpha=0.05, x_label="", y_label="", ident="f", title="T")
    >>> print(drawing)
    T (SVG; shown in a notebook, written by .save(path))
    """
    d = dots.sorted()
    truth = bool(np.isfinite(d.true).any())

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        ax.axhline(0, color=INK, linewidth=0.8, alpha=0.6)
        _raw(ax, d)
        _shrunken(ax, d, alpha)
        at = range(len(d.levels))
        ax.set_xticks(at, d.levels, rotation=90, size=6 if len(d.levels) > CROWDED else 7.5)
        ax.set_xlim(-0.8, len(d.levels) - 0.2)
        ax.tick_params(axis="x", length=0)
        ax.set_xlabel(x_label)
        ax.set_ylabel(y_label)
        ax.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
        handles = _handles(alpha, truth)
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))

    svg = draw(
        paint, size=(WIDTH, 3.6), ident=ident, title=title, desc=_in_words(d, alpha)
    )  # fmt: skip
    return Drawing(svg, title)


def _raw(ax: Axes, d: FamilyDots) -> None:
    for i in range(len(d.levels)):
        ax.plot([i, i], [d.low[i], d.high[i]], color=INK, alpha=0.3, linewidth=1.6,
                solid_capstyle="butt")  # fmt: skip
        ax.plot([i], [d.estimate[i]], color=INK, alpha=0.4, marker="o", markersize=3)
        if np.isfinite(d.true[i]):
            ax.plot([i - 0.42, i + 0.42], [d.true[i]] * 2, color=INK, linewidth=1.8,
                    solid_capstyle="butt", zorder=5)  # fmt: skip


def _shrunken(ax: Axes, d: FamilyDots, alpha: float) -> None:
    for i in range(len(d.levels)):
        if np.isfinite(d.shrunken[i]):
            sure = bool(d.false_sign[i] < alpha)
            ax.plot([i], [d.shrunken[i]], zorder=4, **_mark(sure))  # type: ignore[arg-type]


def _mark(sure: bool) -> dict[str, object]:
    """Return marker, size and colour: filled and pointed where the sign is sure."""
    return {
        "color": PALETTE[1],
        "marker": "D" if sure else "o",
        "markersize": 4.6 if sure else 3.8,
        "markerfacecolor": PALETTE[1] if sure else "none",
        "markeredgewidth": 1.0,
    }


def _handles(alpha: float, truth: bool) -> list[Line2D]:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=INK, alpha=0.4, marker="o", markersize=3, linewidth=1.6,
                      label="raw, interval")]  # fmt: skip
    for sure, sign in ((False, "≥"), (True, "<")):
        label = f"shrunken, false sign {sign} {alpha:.3g}"
        handles.append(Line2D([], [], linewidth=0, label=label, **_mark(sure)))  # type: ignore[arg-type]
    if truth:
        handles.append(Line2D([], [], color=INK, linewidth=1.8, label="true value"))
    return handles


def _in_words(d: FamilyDots, alpha: float) -> str:
    if not d.levels:
        return "no estimate"
    out = [k for k in range(len(d.levels)) if not d.low[k] <= 0 <= d.high[k]]
    sure = [k for k in range(len(d.levels)) if d.false_sign[k] < alpha]
    text = (
        f"{len(d.levels)} estimates from {d.estimate[0]:.3g} ({d.levels[0]}) to "
        f"{d.estimate[-1]:.3g} ({d.levels[-1]}); shrunken they run from "
        f"{np.nanmin(d.shrunken):.3g} to {np.nanmax(d.shrunken):.3g}; the unadjusted interval "
        f"leaves out 0 in {_named(d, out)}; the shrunken sign is sure in {_named(d, sure)}"
    )
    effects = [k for k in range(len(d.levels)) if abs(d.true[k]) > 1e-9]
    return text + (f"; true effects in {_named(d, effects)}" if effects else "")


def _named(d: FamilyDots, which: Sequence[int]) -> str:
    return ", ".join(d.levels[k] for k in which) or "none"
