"""Formulas are data: what is split, what is refused, and that nothing in them ever runs."""

from __future__ import annotations

import builtins
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketastats.core.errors import FormulaError
from ketastats.study.formula import names_in, split_formula


@pytest.mark.parametrize(
    ("text", "outcome", "fixed", "random"),
    [
        ("y ~ a*b + (1|s)", "y", "a*b", [(("1",), ("s",))]),
        ("a*b + (1 | s)", None, "a*b", [(("1",), ("s",))]),
        ("y ~ (1|s)", "y", "1", [(("1",), ("s",))]),
        ("y ~ (1|s) + a", "y", "a", [(("1",), ("s",))]),
        ("y ~ a + (1|s) + b", "y", "a + b", [(("1",), ("s",))]),
        ("y ~ 0 + a + (1|s)", "y", "0 + a", [(("1",), ("s",))]),
        ("y ~ a - 1 + (1|s)", "y", "a - 1", [(("1",), ("s",))]),
        ("y ~ a + (1|s) + (1|s:p)", "y", "a", [(("1",), ("s",)), (("1",), ("s", "p"))]),
        (
            "y ~ a + (1|litter/mouse)",
            "y",
            "a",
            [(("1",), ("litter",)), (("1",), ("litter", "mouse"))],
        ),
        (
            "y ~ a + (1|x/y/z)",
            "y",
            "a",
            [(("1",), ("x",)), (("1",), ("x", "y")), (("1",), ("x", "y", "z"))],
        ),
        ("y ~ t + (1 + t | s)", "y", "t", [(("1", "t"), ("s",))]),
        ("y ~ t + (t | s)", "y", "t", [(("1", "t"), ("s",))]),
        ("y ~ t + (0 + t | s)", "y", "t", [(("t",), ("s",))]),
        ("y ~ t + (1|s) + (0 + t|s)", "y", "t", [(("1",), ("s",)), (("t",), ("s",))]),
        (
            "y ~ (a + b) * c + (1|s) + (1|item)",
            "y",
            "(a + b) * c",
            [(("1",), ("s",)), (("1",), ("item",))],
        ),
        ("y ~ log(a + 1) + poly(b, 2) + C(c)", "y", "log(a + 1) + poly(b, 2) + C(c)", []),
        ("y~a:b+(1|s)", "y", "a:b", [(("1",), ("s",))]),
    ],
)
def test_outcome_fixed_part_and_random_terms(text, outcome, fixed, random):
    split = split_formula(text)
    assert (split.outcome, split.fixed) == (outcome, fixed)
    assert [(t.columns, t.group) for t in split.random] == random


CODE = [
    "{__import__('os').system('x')}",
    "y ~ {__import__('os').system('x')}",
    "y ~ a + {open('x', 'w')}",
    "y ~ __import__('os')",
    "y ~ __import__('os').system('x')",
    "y ~ log(__import__('os').system('x'))",
    "y ~ C(a, __import__('os').system('x'))",
    "y ~ (lambda: 1)()",
    "y ~ log(lambda: 1)",
    "y ~ np.log(x)",
    "y ~ x.real",
    "y ~ log(x.real)",
    "y ~ x[0]",
    "y ~ log(x)[0]",
    "y ~ 'text'",
    "y ~ log('text')",
    "y ~ f'{x}'",
    'y ~ f"{x}"',
    "y ~ b'x'",
    "y ~ [i for i in x]",
    "y ~ (i for i in x)",
    "y ~ x if z else y",
    "y ~ x and z",
    "y ~ not x",
    "y ~ (x := 3)",
    "y ~ x, z",
    "y ~ x; z",
    "y ~ (yield)",
    "y ~ *x",
    "y ~ ...",
    "y ~ None",
    "y ~ True",
    "y ~ 1j",
    "y ~ x < z",
    "y ~ x @ z",
    "y ~ `x`",
    "y ~ eval(x)",
    "y ~ exec(x)",
    "y ~ I(x)",
    "y ~ Q('x')",
    "y ~ C(x)(z)",
    "y ~ log(x, base=2)",
    "y ~ log(*x)",
    "y ~ __builtins__",
    "y ~ log(__builtins__)",
    "y ~ a + (1 | __import__('os'))",
    "y ~ a + (log(x) | s)",
    "y ~ a + (x.real | s)",
    "y ~ a + (1 | s[0])",
    "log(y) ~ x",
    "__import__('os') ~ x",
    "{x} ~ a",
]


@pytest.mark.parametrize("text", CODE)
def test_code_is_refused_and_never_runs(text, monkeypatch):
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("something ran")

    for name in ("eval", "exec", "open"):
        monkeypatch.setattr(builtins, name, forbidden)
    monkeypatch.setattr(os, "system", forbidden)
    with pytest.raises(FormulaError):
        split_formula(text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("y ~ a ~ b", "more than one ~"),
        ("y ~ (1|s", "unbalanced parentheses"),
        ("y ~ a)", "unbalanced parentheses"),
        ("y ~ a ++ b", "two operators in a row"),
        ("y ~ a | s", "a bar outside parentheses"),
        ("y ~ (1|s)*a", "random terms can only be added"),
        ("y ~ a - (1|s)", "random terms can only be added"),
        ("y ~ (1|a|b)", "cannot read the random term (1|a|b)"),
        ("y ~ (1||a)", "cannot read the random term (1||a)"),
        ("y ~ (1|)", "needs column names after the bar"),
        ("y ~ (|s)", "may hold 0, 1 and column names before the bar"),
        ("y ~ (0|s)", "is empty"),
        ("y ~ (1|s) + (1|s)", "stands twice"),
        ("y ~ (1|log(s))", "needs column names after the bar"),
        ("y ~ lag(x)", "did you mean 'log'?"),
        ("y ~ log()", "log() has no argument"),
        ("y ~ np.log(x)", "not allowed"),
        ("y ~ log(y", "unbalanced parentheses"),
        ("log(y) ~ x", "the left side 'log(y)' is not a column name"),
    ],
)
def test_message_says_what_is_wrong(text, part):
    with pytest.raises(FormulaError) as error:
        split_formula(text)
    assert part in str(error.value)


def test_the_same_groups_in_another_order_stand_twice():
    with pytest.raises(FormulaError, match="twice"):
        split_formula("y ~ a + (1|s:p) + (1|p:s)")


@pytest.mark.parametrize(
    "text",
    [
        "y ~ exp(9**9**9)",
        "y ~ exp(9**9**9 * x)",
        "y ~ (a + b + c + d)**99",
        "y ~ poly(x, 10**10)",
        "y ~ " + "x + " * 5000 + "x",
        "y ~ " + "(" * 5000 + "x" + ")" * 5000,
    ],
    ids=["power", "power times x", "power of a sum", "degree", "long", "deep"],
)
def test_a_formula_that_would_run_for_ever_is_refused(text):
    """Powers of numbers are worked out before any data are seen: a bound on them is needed."""
    with pytest.raises(FormulaError):
        split_formula(text)


def test_names_are_columns_and_not_functions():
    assert names_in("treatment*sex + log(dose) + C(batch):sex") == (
        "treatment",
        "sex",
        "dose",
        "batch",
    )


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.text(alphabet="ylogC0123ab ~+-*:/()|._,'\"{}[]\n\\", max_size=30))
def test_any_text_is_split_or_refused(text):
    """Whatever is written, the answer is a SplitFormula of plain names or a FormulaError."""
    try:
        split = split_formula(text)
    except FormulaError:
        return
    assert all(part.isidentifier() for t in split.random for part in t.group)
    assert all(name.isidentifier() and not name.startswith("__") for name in names_in(split.fixed))
