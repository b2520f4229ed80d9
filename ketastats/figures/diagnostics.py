"""Residuals of a fit, and posterior densities with their priors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from ketastats.figures.svg import INK, PALETTE, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.0


def normal_quantiles(n: int) -> np.ndarray:
    """Return expected normal quantiles of n ordered values, shape (n,).

    Blom (1958), Statistical Estimates and Transformed Beta-Variables: (i - 3/8) / (n + 1/4).

    Examples
    --------
    >>> normal_quantiles(3).round(3).tolist()
    [-0.869, 0.0, 0.869]
    """
    return ndtri((np.arange(1, n + 1) - 0.375) / (n + 0.25))


def residual_plots(
    fitted: np.ndarray,
    residual: np.ndarray,
    *,
    unit: str,
    ident: str,
    subject: str = "subject",
) -> str:
    """Draw conditional residuals against fitted values, and their normal Q-Q plot.

    Parameters
    ----------
    fitted, residual : numpy.ndarray, shape (rows,)
    unit : str
    ident : str

    Returns
    -------
    str
        SVG.
    """
    sd = float(np.std(residual)) or 1.0
    ordered = np.sort(residual) / sd
    quantiles = normal_quantiles(len(ordered))
    bracket = f" ({unit})" if unit else ""

    def paint(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        left.axhline(0, color=INK, linewidth=0.8, alpha=0.6)
        left.plot(fitted, residual, ".", color=PALETTE[0], markersize=5, alpha=0.75)
        left.set_xlabel(f"fitted for this {subject}{bracket}")
        left.set_ylabel(f"residual{bracket}")
        left.set_title("Residuals")
        right.axline((0, 0), slope=1, color=INK, linewidth=0.8, alpha=0.6)
        right.plot(quantiles, ordered, ".", color=PALETTE[0], markersize=5, alpha=0.75)
        right.set_xlabel("expected normal quantile")
        right.set_ylabel("residual divided by its SD")
        right.set_title("Normal Q-Q")

    worst = float(np.abs(ordered).max(initial=0.0))
    return draw(
        paint,
        size=(WIDTH, 3.0),
        ident=ident,
        title="Conditional residuals and their normal Q-Q plot",
        desc=f"{len(residual)} residuals, SD {sd:.3g}{' ' + unit if unit else ''}, the largest "
        f"{worst:.2g} SDs from zero, skewness {_skewness(ordered):.2f}",
    )


def _skewness(z: np.ndarray) -> float:
    centred = z - z.mean()
    spread = float(np.mean(centred**2)) ** 1.5
    return float(np.mean(centred**3)) / spread if spread > 0 else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Density:
    """Posterior density of one estimand, and its normal prior.

    Attributes
    ----------
    label : str
    x, posterior : numpy.ndarray, shape (grid,)
    prior : tuple of (float, float) or None
        Mean and SD; None where it is not normal.
    true : float
    interval : tuple of (float, float)
    """

    label: str
    x: np.ndarray
    posterior: np.ndarray
    prior: tuple[float, float] | None
    true: float
    interval: tuple[float, float]


def densities(rows: Sequence[Density], *, unit: str, ident: str) -> str:
    """Draw posterior densities with the prior over them and the true value marked.

    Parameters
    ----------
    rows : sequence of Density
    unit : str
    ident : str

    Returns
    -------
    str
        SVG.
    """
    import textwrap

    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)

    def paint(figure: Figure) -> None:
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for ax, row in zip(axes, rows, strict=False):
            _density(ax, row)
            ax.set_title(textwrap.fill(row.label, 28), size=8.5)
        for ax in axes[len(rows) :]:
            ax.set_visible(False)
        figure.supxlabel(unit or "difference", size=9)
        handles: list[Line2D | Patch] = [
            Patch(facecolor=PALETTE[1], alpha=0.35, label="posterior (interval shaded)"),
            Line2D([], [], color=INK, linestyle=(0, (4, 2)), linewidth=1, label="prior"),
        ]
        if any(np.isfinite(r.true) for r in rows):
            handles.append(Line2D([], [], color=INK, linewidth=2, label="true value"))
        figure.legend(handles=handles, loc="outside upper center", ncols=3)

    return draw(
        paint,
        size=(WIDTH, 0.7 + 1.65 * lines),
        ident=ident,
        title="Posterior densities with their priors",
        desc="; ".join(
            f"{r.label}: interval {r.interval[0]:.3g} to {r.interval[1]:.3g}" for r in rows
        ),
    )


def _density(ax: Axes, row: Density) -> None:
    low, high = row.interval
    inside = (row.x >= low) & (row.x <= high)
    ax.fill_between(row.x, row.posterior, where=inside.tolist(), color=PALETTE[1], alpha=0.35,
                    linewidth=0)  # fmt: skip
    ax.plot(row.x, row.posterior, color=PALETTE[1], linewidth=1.5)
    if row.prior is not None:
        ends = [row.x.min(), row.x.max(), 0.0]
        grid = np.linspace(min(ends), max(ends), 201)
        z = (grid - row.prior[0]) / row.prior[1]
        prior = np.exp(-0.5 * z * z) / (row.prior[1] * np.sqrt(2 * np.pi))
        ax.plot(grid, prior, color=INK, linestyle=(0, (4, 2)), linewidth=1)
    if np.isfinite(row.true):
        ax.axvline(row.true, color=INK, linewidth=2)
    ax.axvline(0, color=INK, linewidth=0.8, alpha=0.5)
    ax.set_ylim(0, None)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
