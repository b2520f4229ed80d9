"""Two versions of a file: whether they are the same, and where they first differ."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from typing import Any

REML_DIGITS = 6
"""Where bytes cannot be asked for: other BLAS, other last bits, the same converged fit."""
SAMPLED_DIGITS = 2
"""Draws of another platform differ, and agree within their Monte-Carlo error."""
DIGITS = {"posterior": 4, "mcmc": SAMPLED_DIGITS}
"""By engine: another lattice, chosen by last bits, agrees to the quadrature error."""
FLOOR = 1e-9
"""Numbers below this are zero in another arithmetic."""
_WIDTH = 60


def bytes_difference(name: str, report: bytes, rebuilt: bytes) -> str | None:
    r"""Say where two files first differ; None when every byte is the same.

    Examples
    --------
    >>> bytes_difference("a.csv", b"x\n1\n", b"x\n2\n")
    "a.csv: line 2: '1' in the report, '2' rebuilt"
    """
    if report == rebuilt:
        return None
    if name.endswith(".json"):
        try:
            found = json_difference(json.loads(report), json.loads(rebuilt))
        except ValueError:
            found = None
        if found is not None:
            return f"{name}: {found}"
    return f"{name}: {_line_difference(report, rebuilt)}"


def _line_difference(report: bytes, rebuilt: bytes) -> str:
    one = report.decode("utf-8", "replace").split("\n")
    other = rebuilt.decode("utf-8", "replace").split("\n")
    for k, (a, b) in enumerate(zip(one, other, strict=False), start=1):
        if a != b:
            return f"line {k}: {_around(a, b)!r} in the report, {_around(b, a)!r} rebuilt"
    shorter = min(len(one), len(other))
    return f"line {shorter + 1}: {len(one)} lines in the report, {len(other)} rebuilt"


def _around(text: str, other: str) -> str:
    """Return the part of a line where it leaves another one."""
    same = next(
        (k for k, (a, b) in enumerate(zip(text, other, strict=False)) if a != b),
        min(len(text), len(other)),
    )
    start = max(same - _WIDTH // 2, 0)
    return text[start : start + _WIDTH]


def json_difference(report: Any, rebuilt: Any, path: str = "") -> str | None:
    """Return the path of the first key at which two JSON values differ, with both values.

    Examples
    --------
    >>> json_difference({"a": [{"p": 0.1}]}, {"a": [{"p": 0.2}]})
    'a[0].p: 0.1 in the report, 0.2 rebuilt'
    """
    if isinstance(report, dict) and isinstance(rebuilt, dict):
        for key in sorted({*report, *rebuilt}):
            at = f"{path}.{key}" if path else key
            if key not in report or key not in rebuilt:
                where = "in the report" if key not in report else "rebuilt"
                return f"{at}: absent {where}"
            found = json_difference(report[key], rebuilt[key], at)
            if found is not None:
                return found
        return None
    if isinstance(report, list) and isinstance(rebuilt, list):
        for k, (a, b) in enumerate(zip(report, rebuilt, strict=False)):
            found = json_difference(a, b, f"{path}[{k}]")
            if found is not None:
                return found
        if len(report) != len(rebuilt):
            return f"{path}: {len(report)} entries in the report, {len(rebuilt)} rebuilt"
        return None
    if report == rebuilt and type(report) is type(rebuilt):
        return None
    return f"{path}: {_short(report)} in the report, {_short(rebuilt)} rebuilt"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."


def agree(a: float, b: float, digits: int, scale: float = 0.0) -> bool:
    """Tell whether two numbers agree to some significant digits.

    Parameters
    ----------
    a, b : float
    digits : int
    scale : float
        The difference is held against the largest of |a|, |b| and this, such as a standard error.

    Examples
    --------
    >>> agree(1.234561, 1.234562, 6), agree(1.2345, 1.2346, 6), agree(0.01, 0.02, 2, scale=1.0)
    (True, False, True)
    """
    if math.isnan(a) or math.isnan(b) or math.isinf(a) or math.isinf(b):
        return a == b or (math.isnan(a) and math.isnan(b))
    return abs(a - b) <= max(0.5 * 10.0 ** (1 - digits) * max(abs(a), abs(b), scale), FLOOR)


def close_difference(
    report: Any, rebuilt: Any, digits: int, path: str = "", scale: float = 0.0
) -> str | None:
    """Return the first place where two JSON values differ in more than the last digits.

    In a record with a key ``se`` numbers are held against it.
    """
    if isinstance(report, dict) and isinstance(rebuilt, dict):
        own = report.get("se")
        inner = abs(own) if isinstance(own, float) else scale
        for key in sorted({*report, *rebuilt}):
            at = f"{path}.{key}" if path else key
            if key not in report or key not in rebuilt:
                where = "in the report" if key not in report else "rebuilt"
                return f"{at}: absent {where}"
            found = close_difference(report[key], rebuilt[key], digits, at, inner)
            if found is not None:
                return found
        return None
    if isinstance(report, list) and isinstance(rebuilt, list):
        if len(report) != len(rebuilt):
            return f"{path}: {len(report)} entries in the report, {len(rebuilt)} rebuilt"
        for k, (a, b) in enumerate(zip(report, rebuilt, strict=True)):
            found = close_difference(a, b, digits, f"{path}[{k}]", scale)
            if found is not None:
                return found
        return None
    if _number(report) and _number(rebuilt):
        same = agree(float(report), float(rebuilt), digits, scale)
    else:
        same = report == rebuilt
    return None if same else f"{path}: {_short(report)} in the report, {_short(rebuilt)} rebuilt"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def results_close(report: Mapping[str, Any], rebuilt: Mapping[str, Any]) -> str | None:
    """Compare two results.json by their numbers: REML and truth to 6 digits, sampled ones to 2.

    Diagnostics of the sampler, and sentences, are not compared.
    """
    for key in ("schema", "study", "synthetic", "seed", "truth"):
        found = close_difference(report.get(key), rebuilt.get(key), REML_DIGITS, key)
        if found is not None:
            return found
    one, other = report["estimates"], rebuilt["estimates"]
    if len(one) != len(other):
        return f"estimates: {len(one)} entries in the report, {len(other)} rebuilt"
    for k, (a, b) in enumerate(zip(one, other, strict=True)):
        digits = DIGITS.get(str(a["engine"]), REML_DIGITS)
        scale = 1.0 if a["engine"] == "mcmc" else 0.0  # of the probability of direction
        keys = [x for x in a if x not in ("notes", "prob_positive")]
        found = close_difference(
            {x: a[x] for x in keys}, {x: b.get(x) for x in keys}, digits, f"estimates[{k}]"
        ) or close_difference(
            a["prob_positive"], b["prob_positive"], digits, f"estimates[{k}].prob_positive", scale
        )
        if found is not None:
            return found
    panels, again = report["panels"], rebuilt["panels"]
    for key in panels:
        if key == "mcse":
            continue
        digits = SAMPLED_DIGITS if key == "random_part" else REML_DIGITS
        scale = 1.0 if key == "random_part" else 0.0  # rates: two digits of the whole
        found = close_difference(panels[key], again.get(key), digits, f"panels.{key}", scale)
        if found is not None:
            return found
    return None


def csv_close(report: str, rebuilt: str) -> str | None:
    """Compare two CSV texts cell by cell, numbers to 6 digits."""
    one, other = (list(csv.reader(io.StringIO(t))) for t in (report, rebuilt))
    if len(one) != len(other):
        return f"{len(one)} lines in the report, {len(other)} rebuilt"
    for k, (a, b) in enumerate(zip(one, other, strict=True), start=1):
        if len(a) != len(b):
            return f"line {k}: {len(a)} cells in the report, {len(b)} rebuilt"
        for x, y in zip(a, b, strict=True):
            if x != y and not _cells_agree(x, y):
                return f"line {k}: {x!r} in the report, {y!r} rebuilt"
    return None


def _cells_agree(a: str, b: str) -> bool:
    try:
        return agree(float(a), float(b), REML_DIGITS)
    except ValueError:
        return False
