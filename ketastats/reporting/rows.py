"""Rows of the Estimates table as cells and as values for sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ketastats.reporting import numbers as n
from ketastats.reporting.document import Cell, cell
from ketastats.reporting.material import Material
from ketastats.reporting.words import STATUS, STATUS_MEANING, Estimate

if TYPE_CHECKING:
    import pandas as pd


def as_estimate(row: pd.Series[Any] | None, name: str) -> Estimate:
    """Return an Estimates row for the sentences; all NaN when there is none."""
    if row is None:
        return Estimate(name, *[math.nan] * 6)
    keys = ("estimate", "se", "df", "ci_low", "ci_high", "p")
    return Estimate(name, *(float(row[k]) for k in keys))


def why_absent(row: pd.Series[Any] | None) -> str:
    """Return why a row gives no number."""
    if row is None:
        return "no analysis answers this"
    meaning = STATUS_MEANING.get(str(row["status"]), str(row["status"]))
    notes = str(row["notes"])
    return f"{meaning}: {notes}" if notes else meaning


def absent_or(text: str, row: pd.Series[Any] | None) -> Cell:
    """Return a cell; an absent number says why in its title."""
    return cell(text, why_absent(row)) if text == n.ABSENT else cell(text)


def mcse(material: Material, row: pd.Series[Any] | None) -> float:
    """Return the Monte-Carlo standard error of an estimate; NaN when it has none."""
    if row is None:
        return math.nan
    return material.mcse.get((str(row["analysis"]), str(row["estimand"])), math.nan)


def reml_cells(row: pd.Series[Any] | None) -> list[Cell]:
    """Return estimate with interval, df and p."""
    if row is None:
        return [cell(n.ABSENT, why_absent(None))] * 3
    text = n.with_interval(row["estimate"], row["ci_low"], row["ci_high"], row["se"])
    return [absent_or(t, row) for t in (text, n.df(row["df"]), n.p_value(row["p"]))]


def posterior_cells(material: Material, row: pd.Series[Any] | None) -> list[Cell]:
    """Return posterior mean with interval, and the probability of direction."""
    if row is None:
        return [cell(n.ABSENT, why_absent(None))] * 2
    error = mcse(material, row)
    text = n.with_interval(row["estimate"], row["ci_low"], row["ci_high"], row["se"], error)
    return [absent_or(t, row) for t in (text, n.direction(row["prob_positive"]))]


def status_cell(rows: dict[str, pd.Series[Any] | None]) -> Cell:
    """Return the statuses of the schools in one cell: ok, or what is not."""
    found = {school: str(r["status"]) for school, r in rows.items() if r is not None}
    title = "; ".join(f"{s}: {STATUS_MEANING.get(v, v)}" for s, v in found.items())
    if set(found.values()) <= {"ok"}:
        return cell("ok" if found else n.ABSENT, title or why_absent(None))
    words = STATUS | ({"unconverged": "check failed"} if "posterior" in found else {})
    text = "; ".join(f"{s} {words.get(v, v)}" for s, v in found.items() if v != "ok")
    bad = any(v not in ("ok", "boundary") for v in found.values())
    return cell(text, title, "failure" if bad else "warning")
