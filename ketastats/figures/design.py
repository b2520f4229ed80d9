"""The design drawn: sequences by periods of a crossover, arms by time of a parallel trial."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ketastats.figures.svg import INK, colours, draw
from ketastats.study.model import Design

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.0
SPAN = 2.5
_BOX = 0.62


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of the diagram.

    Attributes
    ----------
    name : str
        Sequence or arm.
    size : str
        How many, in words.
    boxes : tuple of (float, float, str, str)
        Left end, right end, text, colour.
    """

    name: str
    size: str
    boxes: tuple[tuple[float, float, str, str], ...]


def design_diagram(
    design: Design,
    *,
    sizes: Mapping[str, str],
    factor: str,
    names: Mapping[str, str],
    acts_at: frozenset[str] = frozenset(),
    ident: str = "design",
) -> str:
    """Draw who gets what when.

    Parameters
    ----------
    design : Design
    sizes : mapping of str to str
        Text on the size of every sequence or arm.
    factor : str
        The factor that gives a parallel arm its colour.
    names : mapping of str to str
        Names of levels for people.
    acts_at : frozenset of str
        Parallel: levels of the outermost occasion at which the factor acts; empty for all.
    ident : str

    Returns
    -------
    str
        SVG.
    """
    crossover = design.kind == "crossover"
    if crossover:
        lanes = _crossover_lanes(design, sizes, names)
    else:
        lanes = _parallel_lanes(design, sizes, factor, names, acts_at)
    what = "Sequences by periods" if crossover else "Arms by time"
    desc = "; ".join(
        f"{lane.name} ({lane.size}): " + ", then ".join(b[2] or "untreated" for b in lane.boxes)
        for lane in lanes
    )
    ticks = [] if crossover else _occasion_ticks(design, names)

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        _lanes(ax, lanes)
        if crossover:
            _crossover_axis(ax, design, len(lanes), names)
        else:
            _time_axis(ax, ticks, len(lanes))

    height = 0.95 + 0.55 * len(lanes)
    return draw(paint, size=(WIDTH, height), ident=ident, title=what, desc=desc)


def _crossover_lanes(
    design: Design, sizes: Mapping[str, str], names: Mapping[str, str]
) -> list[Lane]:
    colour = colours(design.treatments)
    return [
        Lane(
            label,
            sizes.get(label, ""),
            tuple(
                (1.5 * k, 1.5 * k + 1.0, names.get(t, t), colour[t])
                for k, t in enumerate(treatments)
            ),
        )
        for label, treatments in design.sequences
    ]


def _parallel_lanes(
    design: Design,
    sizes: Mapping[str, str],
    factor: str,
    names: Mapping[str, str],
    acts_at: frozenset[str],
) -> list[Lane]:
    levels = dict(design.factors)
    colour = colours(levels.get(factor, ()))
    outer = design.occasions[0].levels if design.occasions and acts_at else ("",)
    step = SPAN / len(outer)
    lanes = []
    for g in design.groups:
        given = dict(g.levels).get(factor, "")
        others = ", ".join(names.get(v, v) for f, v in g.levels if f != factor)
        boxes = tuple(
            (step * k + 0.03, step * (k + 1) - 0.03, names.get(given, given),
             colour.get(given, INK))
            if not acts_at or level in acts_at
            else (step * k + 0.03, step * (k + 1) - 0.03, "", INK)
            for k, level in enumerate(outer)
        )  # fmt: skip
        lanes.append(Lane(others or g.name, sizes.get(g.name, ""), boxes))
    return lanes


def _lanes(ax: Axes, lanes: Sequence[Lane]) -> None:
    from matplotlib.patches import FancyBboxPatch

    for row, lane in enumerate(lanes):
        y = -row
        ax.text(-0.08, y + 0.09, lane.name, ha="right", va="center", weight="bold")
        ax.text(-0.08, y - 0.19, lane.size, ha="right", va="center", size=8)
        for left, right, text, colour in lane.boxes:
            shade, line = (0.06, 0.35) if colour == INK else (0.22, 1.0)
            for face, alpha, edge in ((colour, shade, "none"), ("none", line, colour)):
                ax.add_patch(
                    FancyBboxPatch(
                        (left, y - _BOX / 2), right - left, _BOX,
                        boxstyle="round,pad=0,rounding_size=0.06",
                        facecolor=face, edgecolor=edge, alpha=alpha, linewidth=1.3,
                    )
                )  # fmt: skip
            ax.text((left + right) / 2, y, text, ha="center", va="center")
        for (_, end, _, _), (start, _, _, _) in zip(lane.boxes, lane.boxes[1:], strict=False):
            ax.annotate(
                "", xy=(start - 0.03, y), xytext=(end + 0.03, y),
                arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 0.8},
            )  # fmt: skip
    ax.set_axis_off()


def _crossover_axis(ax: Axes, design: Design, rows: int, names: Mapping[str, str]) -> None:
    periods = design.n_periods
    for k in range(periods):
        ax.text(1.5 * k + 0.5, 0.55, f"period {k + 1}", ha="center", va="bottom", weight="bold")
    if design.washout_days is not None:
        for k in range(periods - 1):
            ax.text(
                1.5 * k + 1.25, -(rows - 1) / 2 + (0.0 if rows % 2 == 0 else 0.5),
                f"{design.washout_days:g} days", ha="center", va="center", size=8,
            )  # fmt: skip
    ax.set_xlim(-0.85, 1.5 * periods - 0.45)
    if design.occasions:
        inner = design.occasions[0]
        for k in range(periods):
            text = ", ".join(names.get(v, v) for v in inner.levels)
            ax.text(1.5 * k + 0.5, -rows + 0.45, text, ha="center", va="top", size=8)
    ax.set_ylim(-rows + 0.05, 0.95)


def _occasion_ticks(design: Design, names: Mapping[str, str]) -> list[str]:
    if not design.occasions:
        return ["measured as listed for each outcome"]
    outer = design.occasions[0]
    inner = [f"{o.name} 1-{len(o.levels)}" for o in design.occasions[1:]]
    return [
        (f"{outer.name}: " if len(outer.levels) < 5 else "")
        + names.get(v, v)
        + (f"\n({', '.join(inner)})" if inner else "")
        for v in outer.levels
    ]


def _wrap(text: str, width: int) -> str:
    return "\n".join(
        textwrap.fill(line, max(width, 8), break_long_words=False) for line in text.split("\n")
    )


def _time_axis(ax: Axes, ticks: Sequence[str], rows: int) -> None:
    step = SPAN / len(ticks)
    wrapped = [_wrap(text, 66 // len(ticks)) for text in ticks]
    for k, text in enumerate(wrapped):
        ax.text(step * (k + 0.5), 0.5, text, ha="center", va="bottom", size=8.5)
        if k:
            ax.plot([step * k] * 2, [0.45, -rows + 0.55], color=INK, linewidth=0.7, alpha=0.5,
                    linestyle=(0, (3, 3)))  # fmt: skip
    ax.set_xlim(-1.05, SPAN + 0.05)
    ax.set_ylim(-rows + 0.4, 1.05)
