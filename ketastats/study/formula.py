"""Formulas as data: random terms split off, every factor checked before anything is built.

A formula comes from files other people wrote. Nothing here or later evaluates text that has not
passed :func:`check_formula`: names, numbers and a short list of functions.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache

from ketastats.core.errors import FormulaError, nearest

ALLOWED_FUNCTIONS = ("C", "log", "exp", "sqrt", "poly", "center", "scale")
_BALANCE = "close every ( with a )"
MAX_LENGTH = 2000
"""Characters in a formula; far more than a model with a hundred terms."""
MAX_POWER = 5
MAX_DEGREE = 10
_NAME = re.compile(r"[^\W\d]\w*$")


@dataclass(frozen=True, slots=True)
class RandomTerm:
    """One random term of a formula.

    Attributes
    ----------
    columns : tuple of str
        ``"1"`` for the intercept and names of covariates or factors: ``("1", "time")``.
    group : tuple of str
        Columns whose combination is one level of the group: ``("subject", "period")``.
    text : str
        As written, for messages and tables.
    """

    columns: tuple[str, ...]
    group: tuple[str, ...]
    text: str

    @property
    def name(self) -> str:
        """The group's name: ``subject:period``."""
        return ":".join(self.group)


@dataclass(frozen=True, slots=True)
class SplitFormula:
    """A formula taken apart.

    Attributes
    ----------
    outcome : str or None
        Left side; None when the formula is a right side only.
    fixed : str
        The fixed part, checked.
    random : tuple of RandomTerm
    """

    outcome: str | None
    fixed: str
    random: tuple[RandomTerm, ...]


def split_formula(text: str) -> SplitFormula:
    """Split a formula into outcome, fixed part and random terms, and check every factor.

    Parameters
    ----------
    text : str
        Such as ``"y ~ treatment*sex + period + (1|subject) + (1|subject:period)"``.

    Returns
    -------
    SplitFormula

    Raises
    ------
    FormulaError
        For syntax that is not understood, code, or a function outside the short list.

    Examples
    --------
    >>> split = split_formula("y ~ treatment*sex + (1|litter/mouse)")
    >>> split.fixed, [t.name for t in split.random]
    ('treatment*sex', ['litter', 'litter:mouse'])
    """
    if not isinstance(text, str) or not text.strip():
        raise FormulaError(
            "the formula is empty", mend='write one such as "treatment + (1|subject)"'
        )
    if len(text) > MAX_LENGTH:
        raise FormulaError(
            f"the formula has {len(text)} characters; at most {MAX_LENGTH} are read",
            mend="shorten the names or the formula",
        )
    forbidden = re.search(r"[{}\[\]`\"\\;@!$%^&=<>?]", text)
    if forbidden:
        raise FormulaError(
            f"the formula {text!r} contains {forbidden.group()!r}",
            mend="use names, numbers, + - * : / ( ) and " + ", ".join(ALLOWED_FUNCTIONS),
        )
    sides = text.split("~")
    if len(sides) > 2:
        raise FormulaError(
            f"the formula {text!r} has more than one ~", mend="write outcome ~ terms"
        )
    outcome = sides[0].strip() if len(sides) == 2 else None
    if outcome is not None and not _NAME.match(outcome):
        raise FormulaError(
            f"the left side {outcome!r} is not a column name",
            mend="transform the outcome in the data first and name the new column",
        )
    fixed, random = _split_random(sides[-1].strip(), text)
    return SplitFormula(outcome or None, check_fixed(fixed, text), tuple(random))


def _split_random(right: str, text: str) -> tuple[str, list[RandomTerm]]:
    """Take every top-level ``( ... | ... )`` out of the right side."""
    terms: list[RandomTerm] = []
    kept: list[str] = []
    depth, start = 0, 0
    for i, ch in enumerate(right):
        if ch == "(":
            if depth == 0:
                start = i
            depth += 1
        elif ch == ")":
            depth -= 1
            if depth < 0:
                raise FormulaError(f"unbalanced parentheses in {text!r}", mend=_BALANCE)
            if depth == 0:
                inside = right[start + 1 : i]
                if "|" in inside:
                    terms += _random_terms(inside, text)
                    kept.append("\0")
                else:
                    kept.append(right[start : i + 1])
        elif depth == 0:
            kept.append(ch)
    if depth:
        raise FormulaError(f"unbalanced parentheses in {text!r}", mend=_BALANCE)
    pieces = re.split(r"(\+|-)", "".join(kept))
    fixed = _drop_random_pieces(pieces, text)
    seen: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    for term in terms:
        same = (term.columns, tuple(sorted(term.group)))
        if same in seen:
            raise FormulaError(
                f"the random term ({term.text}) stands twice in {text!r}", mend="leave one out"
            )
        seen.add(same)
    return fixed, terms


def _drop_random_pieces(pieces: list[str], text: str) -> str:
    out: list[str] = []
    sign = "+"
    for piece in pieces:
        if piece in ("+", "-"):
            sign = piece
            continue
        body = piece.strip()
        if "\0" in body:
            if body != "\0" or sign == "-":
                raise FormulaError(
                    f"random terms can only be added in {text!r}",
                    mend="join them with +, such as ... + (1|subject)",
                )
            continue
        if body:
            out.append(f"{sign} {body}")
        elif out:
            raise FormulaError(f"two operators in a row in {text!r}", mend="leave one out")
    joined = " ".join(out)
    return joined[2:] if joined.startswith("+ ") else (joined or "1")


def _random_terms(inside: str, text: str) -> list[RandomTerm]:
    """Expand ``1 + time | litter/mouse`` to one term per nesting level."""
    parts = inside.split("|")
    if len(parts) != 2:
        raise FormulaError(f"cannot read the random term ({inside})", mend="write (1|subject)")
    columns = tuple(c.strip() for c in parts[0].split("+"))
    if not all(c in ("0", "1") or _NAME.match(c) for c in columns):
        raise FormulaError(
            f"the random term ({inside}) may hold 0, 1 and column names before the bar",
            mend="write (1|subject) or (1 + time|subject)",
        )
    slopes = [c for c in columns if c not in ("0", "1")]
    effects = tuple(slopes if "0" in columns else ["1", *slopes])
    if not effects:
        raise FormulaError(f"the random term ({inside}) is empty", mend="write (1|subject)")
    nested = [level.strip() for level in parts[1].split("/")]
    out: list[RandomTerm] = []
    group: list[str] = []
    for level in nested:
        names = [n.strip() for n in level.split(":")]
        if not all(_NAME.match(n) for n in names):
            raise FormulaError(
                f"the random term ({inside}) needs column names after the bar",
                mend="write (1|subject), (1|subject:period) or (1|litter/mouse)",
            )
        group = [*group, *names]
        left = " + ".join(columns)
        out.append(RandomTerm(effects, tuple(group), f"{left} | {':'.join(group)}"))
    return out


def check_fixed(fixed: str, text: str) -> str:
    """Return the fixed part when every factor of it passes; see :func:`check_formula`."""
    if "|" in fixed:
        raise FormulaError(f"a bar outside parentheses in {text!r}", mend="write (1|subject)")
    # '*', ':', '+', '-', '/' and parentheses join factors; ':' is not Python, so read it as '*'
    try:
        tree = ast.parse(fixed.replace(":", "*"), mode="eval")
    except (SyntaxError, ValueError) as error:
        raise FormulaError(
            f"cannot read the fixed part {fixed!r} of {text!r}",
            mend="join names with +, - , *, : and /",
        ) from error
    _walk(tree.body, text)
    return fixed


def _walk(node: ast.AST, text: str) -> None:
    """Allow operators, names, numbers and calls of the short list; refuse everything else."""
    if isinstance(node, ast.BinOp) and isinstance(
        node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow
    ):
        if isinstance(node.op, ast.Pow):
            _check_power(node, text)
        _walk(node.left, text)
        _walk(node.right, text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        _walk(node.operand, text)
    elif isinstance(node, ast.Name):
        if node.id.startswith("__"):
            raise FormulaError(
                f"the name {node.id!r} is not allowed in the formula {text!r}",
                mend="rename the column",
            )
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        pass
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        if node.func.id not in ALLOWED_FUNCTIONS:
            near = nearest(node.func.id, ALLOWED_FUNCTIONS)
            raise FormulaError(
                f"the function {node.func.id!r} is not allowed in the formula {text!r}",
                mend=f"did you mean {near!r}?" if near else "use " + ", ".join(ALLOWED_FUNCTIONS),
            )
        if not node.args:
            raise FormulaError(f"{node.func.id}() has no argument in the formula {text!r}")
        for argument in node.args:
            _walk(argument, text)
        if node.func.id == "poly":
            _check_degree(node, text)
    else:
        raise FormulaError(
            f"the formula {text!r} contains code that is not allowed ({type(node).__name__})",
            mend="use names, numbers, + - * : / ( ) and " + ", ".join(ALLOWED_FUNCTIONS),
        )


def _check_power(node: ast.BinOp, text: str) -> None:
    """Allow a small whole power of something that is not a number: never 9**9**9."""
    power = node.right.value if isinstance(node.right, ast.Constant) else None
    numeric = not any(isinstance(n, ast.Name) for n in ast.walk(node.left))
    if type(power) is not int or not 1 <= power <= MAX_POWER or numeric:
        raise FormulaError(
            f"a power in the formula {text!r} is not a whole number from 1 to {MAX_POWER} of a "
            "column",
            mend="write (a + b)**2, or name the columns",
        )


def _check_degree(node: ast.Call, text: str) -> None:
    """Allow polynomials of a degree that data can carry."""
    degree = node.args[1] if len(node.args) > 1 else ast.Constant(1)
    value = degree.value if isinstance(degree, ast.Constant) else None
    if type(value) is not int or not 1 <= value <= MAX_DEGREE:
        raise FormulaError(
            f"poly() in the formula {text!r} needs a degree from 1 to {MAX_DEGREE}",
            mend="write poly(dose, 2)",
        )


@lru_cache(maxsize=256)
def names_in(fixed: str) -> tuple[str, ...]:
    """Return the column names a checked fixed part uses, in order of appearance.

    Examples
    --------
    >>> names_in("treatment*sex + log(dose)")
    ('treatment', 'sex', 'dose')
    """
    tree = ast.parse(fixed.replace(":", "*"), mode="eval")
    calls = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    found = [
        (n.lineno, n.col_offset, n.id)
        for n in ast.walk(tree)
        if isinstance(n, ast.Name) and id(n) not in calls
    ]
    return tuple(dict.fromkeys(name for _, _, name in sorted(found)))
