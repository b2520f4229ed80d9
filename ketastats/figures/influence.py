"""Subjects left out in turn: who carries the conclusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ketastats.figures.svg import INK, PALETTE, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

WIDTH = 7.0
_DASHED = (0, (4, 2))


def left_out(
    subjects: Sequence[str],
    estimate: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    p: np.ndarray,
    *,
    true: float,
    alpha: float,
    x_label: str,
    ident: str,
) -> str:
    """Draw the estimate without each subject in turn, sorted.

    Parameters
    ----------
    subjects : sequence of str
        The first, empty, is the estimate with everybody.
    estimate, low, high, p : numpy.ndarray, shape (len(subjects),)
    true : float
    alpha : float
        Where a p-value changes sides.
    x_label : str
    ident : str

    Returns
    -------
    str
        SVG.
    """
    below = bool(p[0] < alpha)
    order = 1 + np.argsort(estimate[1:], kind="stable")
    order = order[np.isfinite(estimate[order])]
    moved = [int(i) for i in order if bool(p[i] < alpha) != below]

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        _reference_lines(ax, estimate[0], true)
        for position, i in enumerate(order):
            away = int(i) in moved
            colour = PALETTE[1] if away else PALETTE[0]
            ax.plot([position] * 2, [low[i], high[i]], color=colour, linewidth=1.2, alpha=0.7)
            ax.plot([position], [estimate[i]], color=colour, marker="D" if away else "o",
                    markersize=4.5)  # fmt: skip
        ax.set_xticks(range(len(order)), [subjects[i] for i in order], rotation=90,
                      size=6 if len(order) > 30 else 7.5)  # fmt: skip
        ax.set_xlim(-0.8, len(order) - 0.2)
        ax.set_xlabel("left out")
        ax.set_ylabel(x_label)
        handles = _handles(below, alpha, bool(moved), bool(np.isfinite(true)))
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))

    return draw(
        paint,
        size=(WIDTH, 3.2),
        ident=ident,
        title="Estimate with each subject left out in turn",
        desc=f"with everybody {estimate[0]:.3g}, p {p[0]:.2g}; without one subject between "
        f"{np.nanmin(estimate[1:], initial=np.inf):.3g} and "
        f"{np.nanmax(estimate[1:], initial=-np.inf):.3g}; p crosses {alpha:g} without "
        + (", ".join(subjects[i] for i in moved) or "nobody"),
    )


def _reference_lines(ax: Axes, whole: float, true: float) -> None:
    ax.axhline(0, color=INK, linewidth=0.8, alpha=0.6)
    ax.axhline(whole, color=INK, linewidth=1, linestyle=_DASHED)
    if np.isfinite(true):
        ax.axhline(true, color=INK, linewidth=2)
    ax.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)


def _handles(below: bool, alpha: float, moved: bool, truth: bool) -> list[Line2D]:
    from matplotlib.lines import Line2D

    side = f"p stays {'below' if below else 'at or above'} {alpha:g}"
    handles = [Line2D([], [], color=PALETTE[0], marker="o", label=side)]
    if moved:
        label = f"p crosses {alpha:g}"
        handles.append(Line2D([], [], color=PALETTE[1], marker="D", label=label))
    handles.append(
        Line2D([], [], color=INK, linewidth=1, linestyle=_DASHED, label="nobody left out")
    )
    if truth:
        handles.append(Line2D([], [], color=INK, linewidth=2, label="true value"))
    return handles
