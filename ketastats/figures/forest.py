"""Forest plots: both schools and the truth, one estimand a row."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.figures.svg import INK, PALETTE, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.0
MARKS = ((PALETTE[0], "o"), (PALETTE[1], "s"))
"""Colour and marker of the two schools."""
Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One estimand.

    Attributes
    ----------
    label : str
    true : float
        NaN when there is none.
    frequentist, bayesian : tuple of (float, float, float)
        Estimate, low, high; NaN where absent.
    """

    label: str
    true: float
    frequentist: tuple[float, float, float]
    bayesian: tuple[float, float, float]


def forest(
    rows: Sequence[ForestRow],
    *,
    x_label: str,
    ident: str,
    title: str,
    schools: Names = ("REML", "posterior"),
) -> str:
    """Draw estimates with intervals and the true values.

    Parameters
    ----------
    rows : sequence of ForestRow
    x_label : str
        With the unit.
    ident, title : str
    schools : tuple of str
        What the frequentist and the Bayesian answers are called.

    Returns
    -------
    str
        SVG.
    """
    shown = [
        k
        for k, name in enumerate(("frequentist", "bayesian"))
        if any(np.isfinite(getattr(r, name)[0]) for r in rows)
    ]
    truth = any(np.isfinite(r.true) for r in rows)

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        ax.axvline(0, color=INK, linewidth=0.8, alpha=0.6)
        for i, row in enumerate(rows):
            if i % 2:
                ax.axhspan(-i - 0.5, -i + 0.5, color=INK, alpha=0.05, linewidth=0)
            _row(ax, -i, row, shown)
        ax.set_yticks(
            [-i for i in range(len(rows))], [textwrap.fill(r.label, 38) for r in rows], size=8.5
        )
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.set_ylim(-len(rows) + 0.45, 0.55)
        ax.set_xlabel(x_label)
        ax.grid(axis="x", color=INK, alpha=0.12, linewidth=0.6)
        figure.legend(handles=_handles(shown, truth, schools), loc="outside upper right", ncols=3)

    return draw(
        paint,
        size=(WIDTH, 0.95 + 0.46 * len(rows)),
        ident=ident,
        title=title,
        desc="; ".join(_in_words(r, shown, schools) for r in rows),
    )


def _row(ax: Axes, y: float, row: ForestRow, shown: Sequence[int]) -> None:
    if np.isfinite(row.true):
        ax.plot([row.true] * 2, [y - 0.4, y + 0.4], color=INK, linewidth=2.0, zorder=1,
                solid_capstyle="butt")  # fmt: skip
    offsets = (0.17, -0.17) if len(shown) > 1 else (0.0,)
    for offset, k in zip(offsets, shown, strict=False):
        colour, marker = MARKS[k]
        estimate, low, high = (row.frequentist, row.bayesian)[k]
        if np.isfinite([low, high]).all():
            ax.plot([low, high], [y + offset] * 2, color=colour, linewidth=1.6, zorder=2)
        if np.isfinite(estimate):
            ax.plot([estimate], [y + offset], color=colour, marker=marker, markersize=5.5, zorder=3)


def _handles(shown: Sequence[int], truth: bool, schools: Names) -> list[object]:
    from matplotlib.lines import Line2D

    handles: list[object] = [
        Line2D([], [], color=MARKS[k][0], marker=MARKS[k][1], label=f"{schools[k]}, interval")
        for k in shown
    ]
    if truth:
        handles.append(
            Line2D([], [], color=INK, marker="|", markersize=9, markeredgewidth=2, linewidth=0,
                   label="true value")
        )  # fmt: skip
    return handles


def _in_words(row: ForestRow, shown: Sequence[int], schools: Names) -> str:
    parts = [f"true {row.true:.3g}"] if np.isfinite(row.true) else []
    for k in shown:
        estimate, low, high = (row.frequentist, row.bayesian)[k]
        if np.isfinite(estimate):
            ends = f" ({low:.3g} to {high:.3g})" if np.isfinite([low, high]).all() else ""
            parts.append(f"{schools[k]} {estimate:.3g}{ends}")
    return f"{row.label}: " + (", ".join(parts) or "no estimate")
