"""Bayesian workflow: what priors say of the outcome, replicated data, other priors, sceptics."""

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
SHADES = ((0.025, 0.975, 0.16), (0.25, 0.75, 0.30))
"""Bands of replicated distributions: lower and upper share, and opacity."""


def predictive(
    prior: np.ndarray | None,
    replicated: np.ndarray,
    y: np.ndarray,
    *,
    low: float | None,
    high: float | None,
    unit: str,
    ident: str,
) -> str:
    """Draw what the priors alone say of the outcome, and data that the fitted model would give.

    On the left the distribution of all values under the priors, with the bounds of the scale; on
    the right the distribution function of the data over those of replicated data.

    Parameters
    ----------
    prior : numpy.ndarray, shape (n, rows), or None
        None where a prior is improper.
    replicated : numpy.ndarray, shape (n, rows)
    y : numpy.ndarray, shape (rows,)
    low, high : float or None
        Bounds of the scale.
    unit, ident : str

    Returns
    -------
    str
        SVG.
    """
    label = unit or "outcome"

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        _prior(left, prior, y, low, high)
        left.set_xlabel(label)
        left.set_title("Priors alone")
        _functions(right, replicated, y, low, high)
        right.set_xlabel(label)
        right.set_ylabel("share of values below")
        right.set_title("Data among replicated data")

    beyond = "" if prior is None else f"{100 * outside(prior, low, high):.0f} % of prior values"
    return draw(
        paint,
        size=(WIDTH, 2.9),
        ident=ident,
        title="Prior predictive distribution, and data among replicated data",
        desc=f"{beyond} outside the scale; {len(replicated)} replicates of {len(y)} rows",
    )


def outside(values: np.ndarray, low: float | None, high: float | None) -> float:
    """Return the share of values beyond the bounds of a scale."""
    beyond = np.zeros(values.shape, dtype=bool)
    if low is not None:
        beyond |= values < low
    if high is not None:
        beyond |= values > high
    return float(beyond.mean())


def _prior(
    ax: Axes, prior: np.ndarray | None, y: np.ndarray, low: float | None, high: float | None
) -> None:
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    if prior is None:
        ax.text(0.5, 0.5, "a prior is improper", ha="center", va="center", transform=ax.transAxes)
        return
    ends = np.quantile(prior, [0.005, 0.995])
    edges = np.linspace(min(ends[0], y.min()), max(ends[1], y.max()), 61)
    for values, color, name in ((prior.ravel(), PALETTE[0], "priors"), (y, PALETTE[1], "data")):
        height, _ = np.histogram(values, bins=edges)
        height = height / len(values)
        ax.stairs(height / height.max(), edges, color=color, fill=True, alpha=0.35)
        ax.stairs(height / height.max(), edges, color=color, linewidth=1.1, label=name)
    for bound in (low, high):
        if bound is not None:
            ax.axvline(bound, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
    if low is not None or high is not None:
        ax.plot([], [], color=INK, linewidth=0.9, linestyle=(0, (4, 2)), label="end of the scale")
    ax.set_ylim(0, 1.45)
    ax.legend(loc="upper right", ncols=1)


def _functions(
    ax: Axes, replicated: np.ndarray, y: np.ndarray, low: float | None, high: float | None
) -> None:
    x = np.linspace(min(replicated.min(), y.min()), max(replicated.max(), y.max()), 161)
    functions = np.array(
        [np.searchsorted(np.sort(r), x, side="right") / len(r) for r in replicated]
    )
    for a, b, shade in SHADES:
        band = np.quantile(functions, [a, b], axis=0)
        ax.fill_between(x, band[0], band[1], color=PALETTE[0], alpha=shade, linewidth=0,
                        label=f"replicates, central {100 * (b - a):.0f} %")  # fmt: skip
    ax.step(x, np.searchsorted(np.sort(y), x, side="right") / len(y), color=PALETTE[1],
            linewidth=1.4, where="post", label="data")  # fmt: skip
    for bound in (low, high):
        if bound is not None and x[0] < bound < x[-1]:
            ax.axvline(bound, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
    ax.legend(loc="upper left")


@dataclass(frozen=True, slots=True)
class Interval:
    """One row of a figure of intervals.

    Attributes
    ----------
    label : str
    estimate, low, high : float
    own : bool
        The prior as declared.
    """

    label: str
    estimate: float
    low: float
    high: float
    own: bool = False


def under_priors(panels: Sequence[tuple[str, Sequence[Interval]]], *, unit: str, ident: str) -> str:
    """Draw the same answers under many priors, one panel per question.

    Parameters
    ----------
    panels : sequence of (str, sequence of Interval)
        Title, and a row per prior in the same order in all panels.
    unit, ident : str

    Returns
    -------
    str
        SVG.
    """
    labels = [r.label for r in panels[0][1]]

    def paint(figure: Figure) -> None:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False).ravel()
        for ax, (title, rows) in zip(axes, panels, strict=True):
            for k, row in enumerate(rows):
                color = PALETTE[1] if row.own else PALETTE[0]
                ax.plot([row.low, row.high], [k, k], color=color, linewidth=2.4 if row.own else 1.4)
                ax.plot(row.estimate, k, "o", color=color, markersize=5 if row.own else 4)
            ax.axvline(0, color=INK, linewidth=0.8, alpha=0.5)
            own = next((r for r in rows if r.own), None)
            if own is not None:
                ax.axvline(own.estimate, color=PALETTE[1], linewidth=0.8, alpha=0.6)
            ax.set_title(textwrap.fill(title, 40), size=8.5)
            ax.set_yticks(range(len(labels)), [textwrap.shorten(x, 44) for x in labels])
            ax.set_ylim(len(labels) - 0.5, -0.5)
            ax.set_xlabel(unit or "difference")

    return draw(
        paint,
        size=(WIDTH, 0.9 + 0.24 * len(labels)),
        ident=ident,
        title="The same answers under other priors",
        desc="; ".join(
            f"{title}: {min(r.estimate for r in rows):.3g} to {max(r.estimate for r in rows):.3g}"
            for title, rows in panels
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Posterior density of an SD, and its prior.

    Attributes
    ----------
    label : str
    x, posterior, prior : numpy.ndarray, shape (grid,)
    true : float
    """

    label: str
    x: np.ndarray
    posterior: np.ndarray
    prior: np.ndarray
    true: float


def spreads(rows: Sequence[Spread], *, unit: str, ident: str) -> str:
    """Draw posterior densities of SDs with their priors.

    Parameters
    ----------
    rows : sequence of Spread
    unit, ident : str

    Returns
    -------
    str
        SVG.
    """
    columns = min(4, len(rows))
    lines = -(-len(rows) // columns)

    def paint(figure: Figure) -> None:
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for ax, row in zip(axes, rows, strict=False):
            ax.fill_between(row.x, row.posterior, color=PALETTE[1], alpha=0.3, linewidth=0)
            ax.plot(row.x, row.posterior, color=PALETTE[1], linewidth=1.4, label="posterior")
            ax.plot(row.x, row.prior, color=INK, linestyle=(0, (4, 2)), linewidth=1, label="prior")
            if np.isfinite(row.true):
                ax.axvline(row.true, color=INK, linewidth=2, label="declared")
            ax.set_title(textwrap.fill(row.label, 24), size=8.5)
            ax.set_xlim(0, None)
            ax.set_ylim(0, None)
            ax.set_yticks([])
            ax.spines["left"].set_visible(False)
        for ax in axes[len(rows) :]:
            ax.set_visible(False)
        handles, names = axes[0].get_legend_handles_labels()
        figure.supxlabel(f"SD ({unit})" if unit else "SD", size=9)
        figure.legend(handles, names, loc="outside upper center", ncols=3)

    return draw(
        paint,
        size=(WIDTH, 0.75 + 1.45 * lines),
        ident=ident,
        title="Posterior densities of the standard deviations with their priors",
        desc="; ".join(
            f"{r.label}: most likely near {r.x[int(np.argmax(r.posterior))]:.3g}" for r in rows
        ),
    )
