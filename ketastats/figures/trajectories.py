"""Individual trajectories in small multiples, with the means of those observed."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ketastats.figures.svg import INK, colours, draw, markers
from ketastats.study.model import Design, Outcome

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.0
LEGEND = 130
"""Letters that fit into a line of the legend, its marks counted as eight."""
CROWDED = 18
"""More occasions than this in a panel, and it takes the whole width."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Measurements joined by a line.

    Attributes
    ----------
    x : numpy.ndarray, shape (k,)
    values : numpy.ndarray, shape (subjects, k)
        NaN where nothing was recorded.
    level : str
        Treatment, which decides the colour.
    head : str
        What stands above the run: period, test.
    ticks : tuple of str
        Names of the k occasions.
    """

    x: np.ndarray
    values: np.ndarray
    level: str
    head: str
    ticks: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One sequence or arm."""

    title: str
    runs: tuple[Run, ...]


def panels_of(
    design: Design,
    outcome: Outcome,
    frame: pd.DataFrame,
    factor: str,
    names: Mapping[str, str],
) -> list[Panel]:
    """Arrange a data frame as panels: one per sequence or arm, one run per visit.

    Parameters
    ----------
    design : Design
    outcome : Outcome
    frame : pandas.DataFrame
    factor : str
        ``treatment``, or the factor that gives a parallel arm its colour.
    names : mapping of str to str

    Returns
    -------
    list of Panel
        Runs without any observation are left out.
    """
    outer = [(o.name, o.levels) for o in outcome.occasions[:-1]]
    if design.kind == "crossover":
        outer = [("period", tuple(str(k + 1) for k in range(design.n_periods))), *outer]
    inner = outcome.occasions[-1] if outcome.occasions else None
    ticks = inner.levels if inner is not None else ("",)
    panels = []
    for title, conditions, level_of in _arms(design, factor, names):
        part = frame
        for name, level in conditions:
            part = part[part[name].astype(str) == level]
        runs, left = [], 0.0
        for cell in _combinations(outer):
            rows = part
            for (name, _), level in zip(outer, cell, strict=True):
                rows = rows[rows[name].astype(str) == level]
            matrix = _matrix(rows, outcome.name, None if inner is None else inner.name, ticks)
            x = left + np.arange(len(ticks), dtype=float)
            left += len(ticks) + (0.6 if len(ticks) > 2 else 0.4)
            if len(matrix):
                head = ", ".join(
                    f"{n} {v}" if n == "period" else names.get(v, v)
                    for (n, _), v in zip(outer, cell, strict=True)
                )
                runs.append(Run(x, matrix, level_of(cell), head, tuple(ticks)))
        panels.append(Panel(title, tuple(runs)))
    return panels


def _arms(design: Design, factor: str, names: Mapping[str, str]):  # type: ignore[no-untyped-def]
    if design.kind == "crossover":
        for label, treatments in design.sequences:
            text = " then ".join(names.get(t, t) for t in treatments)
            yield (
                f"{label}: {text}",
                [("sequence", label)],
                lambda cell, ts=treatments: ts[int(cell[0]) - 1],
            )
        return
    for g in design.groups:
        level = dict(g.levels).get(factor, "")
        title = ", ".join(names.get(v, v) for _, v in g.levels)
        yield title, list(g.levels), lambda cell, v=level: v


def _combinations(outer: Sequence[tuple[str, tuple[str, ...]]]) -> list[tuple[str, ...]]:
    from itertools import product

    return list(product(*(levels for _, levels in outer)))


def _matrix(
    rows: pd.DataFrame, outcome: str, inner: str | None, ticks: Sequence[str]
) -> np.ndarray:
    """Return one row per subject and one column per occasion, shape (subjects, k)."""
    if inner is None:
        y = rows[outcome].to_numpy(dtype=float, na_value=np.nan)[:, None]
    else:
        subjects = rows["subject"].astype(str).to_numpy()
        order = list(dict.fromkeys(subjects))
        y = np.full((len(order), len(ticks)), np.nan)
        at = {s: i for i, s in enumerate(order)}
        where = {t: j for j, t in enumerate(ticks)}
        values = rows[outcome].to_numpy(dtype=float, na_value=np.nan)
        for s, t, v in zip(subjects, rows[inner].astype(str), values, strict=True):
            y[at[s], where[t]] = v
    return y[~np.isnan(y).all(axis=1)]


def trajectories(
    panels: Sequence[Panel],
    *,
    levels: Sequence[str],
    names: Mapping[str, str],
    y_label: str,
    x_label: str,
    ident: str,
    subject: str = "subject",
) -> str:
    """Draw the panels.

    Parameters
    ----------
    panels : sequence of Panel
    levels : sequence of str
        Treatments in declared order.
    names : mapping of str to str
    y_label, x_label : str
    ident : str
    subject : str
        What a thin line is.

    Returns
    -------
    str
        SVG.
    """
    once = all(len(r.x) == 1 for p in panels for r in p.runs)
    strip = once and all(len(p.runs) <= 1 for p in panels)
    crowded = max((sum(len(r.x) for r in p.runs) for p in panels), default=0) > CROWDED
    columns = 2 if len(panels) > 1 and not strip and not crowded else 1
    lines = -(-len(panels) // columns) if not strip else 1
    colour, marker = colours(levels), markers(levels)
    used = [v for v in levels if any(r.level == v for p in panels for r in p.runs)]

    def paint(figure: Figure) -> None:
        if strip:
            _strip(figure.subplots(), panels, colour, marker, y_label)
            handles = _handles()
            figure.legend(
                handles=handles, loc="outside upper center", ncols=_legend_columns(handles)
            )
            return
        axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for ax, panel in zip(axes, panels, strict=False):
            _panel(ax, panel, colour, marker, names)
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        figure.supylabel(textwrap.fill(y_label, 24 * lines), size=9)
        figure.supxlabel(x_label, size=9)
        handles = _handles()
        figure.legend(handles=handles, loc="outside upper center", ncols=_legend_columns(handles))

    def _handles() -> list[object]:
        from matplotlib.lines import Line2D

        handles: list[object] = [
            Line2D([], [], color=colour[v], marker=marker[v], linewidth=0 if once else 2,
                   label=f"mean, {names.get(v, v)}")
            for v in used
        ]  # fmt: skip
        point = {"marker": "."} if once else {}
        handles.append(
            Line2D([], [], color=INK, alpha=0.4, linewidth=0 if once else 0.8,
                   label=f"one {subject}", **point)  # type: ignore[arg-type]
        )  # fmt: skip
        return handles

    return draw(
        paint,
        size=(WIDTH, 0.6 + (1.9 if crowded else 2.35) * lines + (0.4 if strip else 0.0)),
        ident=ident,
        title=f"{y_label}: individual {'values' if once else 'trajectories'}",
        desc="; ".join(_in_words(p, names) for p in panels),
    )


def _legend_columns(handles: Sequence[Any]) -> int:
    """Return how many entries stand beside each other within the width."""
    width = [len(str(h.get_label())) + 8 for h in handles]
    return max((k for k in range(1, len(width) + 1) if k * max(width) <= LEGEND), default=1)


def _strip(
    ax: Axes,
    panels: Sequence[Panel],
    colour: Mapping[str, str],
    marker: Mapping[str, str],
    y_label: str,
) -> None:
    """Draw what was measured once: a column of points per arm, spread out by their order."""
    for k, panel in enumerate(panels):
        for run in panel.runs:
            values = run.values[:, 0]
            c = colour.get(run.level, INK)
            spread = 0.14 * ((np.arange(len(values)) * 0.618) % 1.0 - 0.5)
            ax.plot(k + 0.12 + spread, values, color=c, alpha=0.45, marker="o", markersize=3.5,
                    linewidth=0)  # fmt: skip
            ax.plot([k - 0.12], _means(run.values), color=c, markersize=7, linewidth=0,
                    marker=marker.get(run.level, "o"))  # fmt: skip
    width = max(80 // max(len(panels), 1), 8)
    shown = [textwrap.fill(p.title, width, break_long_words=False) for p in panels]
    ax.set_xticks(range(len(panels)), shown, size=8)
    ax.set_xlim(-0.5, len(panels) - 0.5)
    ax.set_ylabel(textwrap.fill(y_label, 34), size=9)
    ax.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)


def _panel(
    ax: Axes,
    panel: Panel,
    colour: Mapping[str, str],
    marker: Mapping[str, str],
    names: Mapping[str, str],
) -> None:
    heads = len(panel.runs) > 1
    lines = max((_head(panel, r).count("\n") + 1 for r in panel.runs), default=1)
    ax.set_title(panel.title, pad=6 + 12 * lines if heads else 6)
    ticks, labels = [], []
    for run in panel.runs:
        c = colour.get(run.level, INK)
        for row in run.values:
            ax.plot(run.x, row, color=c, alpha=0.32, linewidth=0.8,
                    marker="." if len(run.x) == 1 else None)  # fmt: skip
        ax.plot(run.x, _means(run.values), color=c, linewidth=2.2, markersize=5,
                marker=marker.get(run.level, "o"))  # fmt: skip
        ticks += run.x.tolist()
        labels += [names.get(t, t) for t in run.ticks]
        if heads:
            ax.annotate(
                _head(panel, run), (float(run.x.mean()), 1.0), xycoords=("data", "axes fraction"),
                xytext=(0, 4), textcoords="offset points", ha="center", size=8.5,
            )  # fmt: skip
    long = max((len(t) for t in labels), default=0) > 8
    width = min(max(56 // max(len(labels), 1), 6), 14)
    shown = [
        t.replace(" (", "\n(") if "(" in t else textwrap.fill(t, width, break_long_words=False)
        for t in labels
    ]
    if len(ticks) > CROWDED:  # the first of every five
        each = max(len(panel.runs[0].x), 1)
        shown = [t if (k % each) % 5 == 0 else "" for k, t in enumerate(shown)]
    ax.set_xticks(ticks, shown, size=7.5 if long else 8.5)
    ax.set_xlim(min(ticks, default=0) - 0.5, max(ticks, default=1) + 0.5)
    ax.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)


def _head(panel: Panel, run: Run) -> str:
    """Return the head of a run, wrapped to its share of the panel."""
    whole = 90 if sum(len(r.x) for r in panel.runs) > CROWDED else 54
    return textwrap.fill(run.head, max(whole // len(panel.runs), 12), break_long_words=False)


def _means(values: np.ndarray) -> np.ndarray:
    """Return the mean of each column over those observed, NaN where nobody was."""
    seen = ~np.isnan(values)
    total = np.where(seen, values, 0.0).sum(axis=0)
    return np.divide(total, seen.sum(axis=0), out=np.full(total.shape, np.nan),
                     where=seen.any(axis=0))  # fmt: skip


def _in_words(panel: Panel, names: Mapping[str, str]) -> str:
    parts = []
    for run in panel.runs:
        means = ", ".join(
            f"{names.get(t, t)} {m:.3g}".strip()
            for t, m in zip(run.ticks, _means(run.values), strict=True)
            if np.isfinite(m)
        )
        parts.append(f"{run.head} n {len(run.values)}, means {means}".strip())
    return f"{panel.title}: " + "; ".join(parts)
