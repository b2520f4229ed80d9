"""What a set says in R or in a short expression, as ours: formulas, references, derived columns."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ketastats.core.errors import DataError

MEND = "give the model in harness.toml"


def call_formula(text: str, function: str = "lmer") -> str | None:
    """Return the formula of the first ``lmer(...)`` in a text, None where there is none.

    The first argument of the call is the formula, whatever stands before and after the call.
    """
    found = re.search(rf"\b{function}\(", text)
    if found is None:
        return None
    depth = 1
    for i, ch in enumerate(text[found.end() :], start=found.end()):
        depth += {"(": 1, ")": -1}.get(ch, 0)
        if depth == 0 or (depth == 1 and ch == ","):
            formula = text[found.end() : i].strip()
            return formula if "~" in formula else None
    return None


def translated(formula: str) -> tuple[str, str]:
    """Return the left side (a column or an expression) and the right side in our syntax.

    R's lme4 syntax is nearly ours: ``factor(x)`` is ``C(x)``, ``^`` is ``**``, and
    ``(1 + x || g)`` is written out as terms without covariance.
    """
    sides = formula.split("~")
    if len(sides) != 2 or not sides[0].strip():
        raise DataError(f"cannot read the formula {formula!r}", mend="write y ~ terms")
    right = our_name(sides[1].strip()).replace("^", "**")
    return sides[0].strip(), re.sub(r"\(([^()|]*)\|\|([^()|]*)\)", _apart, right)


def our_name(name: str) -> str:
    """Return a term or coefficient of R with ``C(x)`` for ``factor(x)``."""
    return re.sub(r"\b(?:as\.)?factor\(\s*(\w+)\s*\)", r"C(\1)", name)


def _apart(found: re.Match[str]) -> str:
    effects = [e.strip() for e in found[1].split("+")]
    slopes = [e for e in effects if e not in ("0", "1")]
    terms = [] if "0" in effects else [f"(1 | {found[2].strip()})"]
    return " + ".join([*terms, *(f"(0 + {s} | {found[2].strip()})" for s in slopes)])


def stated_references(text: str, levels: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return the reference levels that the words beside a call name.

    ``treatment reference R`` names the factor; in ``references Asian, Female and PBO`` each level
    belongs to the one factor that has it.
    """
    out = {}
    for found in re.finditer(r"(?:\b(\w+) )?\breferences? ([^;()]+)", text):
        for value in re.split(r",|\band\b", found[2]):
            owners = [f for f, of in levels.items() if value.strip() in of]
            if found[1] in owners:
                owners = [found[1]]
            if len(owners) == 1:
                out[owners[0]] = value.strip()
    return out


# ---- expressions --------------------------------------------------------------------------------

ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
NUMERIC = {"log": np.log, "log2": np.log2, "log10": np.log10, "exp": np.exp, "sqrt": np.sqrt}
GROUPED = {"mean": "mean", "count": "count"}


def evaluate(text: str, data: pd.DataFrame) -> pd.Series:
    """Return an expression over the columns of a table, one value per row.

    Numbers, columns and ``'levels'``; ``+ - * /``; comparisons, which are 1 or 0; ``log``,
    ``log2``, ``log10``, ``exp``, ``sqrt``; ``factor(x)``; ``mean(x, g)`` and ``count(x, g)`` over
    the rows that share g and have x. Nothing else is evaluated.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        tree = None
    value = _value(tree, text, data)
    return value if isinstance(value, pd.Series) else pd.Series(value, index=data.index)


def _value(node: ast.AST | None, text: str, data: pd.DataFrame) -> Any:
    match node:
        case ast.Constant(value=int() | float() | str()):
            return node.value
        case ast.Name():
            if node.id not in data:
                raise DataError(f"there is no column {node.id!r}", where=text)
            return data[node.id]
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand, text, data)
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            sides = (_value(n, text, data) for n in (node.left, node.right))
            return ARITHMETIC[type(node.op)](*sides)
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            sides = [_value(n, text, data) for n in (node.left, node.comparators[0])]
            out = COMPARISONS[type(op)](*sides)
            if isinstance(op, ast.Eq) and isinstance(sides[1], str) and not out.any():
                raise DataError(f"no row has the level {sides[1]!r}", where=text)
            return out.astype(float)
        case ast.Call(func=ast.Name(id=name), args=[of], keywords=[]) if name in NUMERIC:
            with np.errstate(invalid="ignore", divide="ignore"):
                return NUMERIC[name](_value(of, text, data))
        case ast.Call(func=ast.Name(id="factor"), args=[of], keywords=[]):
            return _value(of, text, data).astype("category")
        case ast.Call(func=ast.Name(id=name), args=[of, by], keywords=[]) if name in GROUPED:
            of, by = _value(of, text, data), _value(by, text, data)
            return of.groupby(by).transform(GROUPED[name]).astype(float)
    raise DataError(
        f"cannot read the expression {text!r}",
        mend="use columns, numbers, + - * /, comparisons, mean(x, g), count(x, g), factor(x), log, "
        "exp and sqrt",
    )
