"""The estimand grammar: contrasts of levels, and weights over the cells of a grid.

A contrast is a sum of levels with coefficients: ``naltrexone - placebo``, ``5 - mean(2, 3, 4)``,
``2*placebo - 2*naltrexone``. Levels with blanks or signs stand in quotes: ``'day 1' - pre``.
The same weights over cells serve the truth, the frequentist fit and the posterior.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ketastats.core.errors import NotEstimable, StudyError
from ketastats.study.lookup import suggestion
from ketastats.study.model import Estimand

_TOKEN = re.compile(
    r"\s*(?:(?P<quoted>'[^']*'|\"[^\"]*\")|(?P<op>[-+*/(),])|(?P<word>[^\s+*/(),'\"-]+))"
)
_NUMBER = re.compile(r"\d+(\.\d+)?$")


def parse_contrast(
    text: str, levels: Sequence[str], *, where: str = "contrast"
) -> tuple[tuple[str, float], ...]:
    """Parse a contrast over the levels of one factor.

    Parameters
    ----------
    text : str
        Such as ``"naltrexone - placebo"`` or ``"5 - mean(2, 3, 4)"``.
    levels : sequence of str
        Levels that may be named.
    where : str
        Named in errors.

    Returns
    -------
    tuple of (str, float)
        Level and coefficient, zero coefficients dropped.

    Raises
    ------
    StudyError
        For unknown levels or a text that is not a contrast.

    Examples
    --------
    >>> parse_contrast("5 - mean(3, 4)", ["1", "2", "3", "4", "5"])
    (('3', -0.5), ('4', -0.5), ('5', 1.0))
    """
    tokens = _tokens(text, where)
    out = dict.fromkeys(levels, 0.0)
    position = 0
    while position < len(tokens):
        sign = 1.0
        while position < len(tokens) and tokens[position] in (("op", "+"), ("op", "-")):
            sign = -sign if tokens[position][1] == "-" else sign
            position += 1
        position = _term(tokens, position, sign, out, text, where)
        if position < len(tokens) and tokens[position] not in (("op", "+"), ("op", "-")):
            raise StudyError(f"cannot read the contrast {text!r}", where=where, mend=_MEND)
    result = tuple((level, c) for level, c in out.items() if abs(c) > 1e-15)
    if not result:
        raise StudyError(f"the contrast {text!r} is empty or cancels out", where=where, mend=_MEND)
    return result


_MEND = 'write levels joined by + and -, such as "day1 - pre" or "5 - mean(2, 3, 4)"'


def _tokens(text: str, where: str) -> list[tuple[str, str]]:
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise StudyError(f"cannot read the contrast {text!r}", where=where, mend=_MEND)
        position = match.end()
        kind = match.lastgroup or ""
        value = match.group(kind)
        tokens.append(("word", value[1:-1]) if kind == "quoted" else (kind, value))
    if not tokens:
        raise StudyError("the contrast is empty", where=where, mend=_MEND)
    return tokens


def _term(
    tokens: list[tuple[str, str]],
    position: int,
    sign: float,
    out: dict[str, float],
    text: str,
    where: str,
) -> int:
    """Read ``[number *] level [/ number]`` or ``mean(level, ...)`` and add it to ``out``."""

    def fail() -> StudyError:
        return StudyError(f"cannot read the contrast {text!r}", where=where, mend=_MEND)

    def at(offset: int) -> tuple[str, str]:
        index = position + offset
        return tokens[index] if index < len(tokens) else ("end", "")

    if at(0)[0] == "word" and _NUMBER.match(at(0)[1]) and at(1) == ("op", "*"):
        sign *= float(at(0)[1])
        position += 2
    if at(0)[0] != "word":
        raise fail()
    if at(0)[1] == "mean" and at(1) == ("op", "("):
        names, position = [], position + 2
        while True:
            if at(0)[0] != "word":
                raise fail()
            names.append(at(0)[1])
            closing = at(1)
            position += 2
            if closing == ("op", ")"):
                break
            if closing != ("op", ","):
                raise fail()
    else:
        names, position = [at(0)[1]], position + 1
    if at(0) == ("op", "/"):
        if not _NUMBER.match(at(1)[1]) or float(at(1)[1]) == 0:
            raise fail()
        sign /= float(at(1)[1])
        position += 2
    for name in names:
        if name not in out:
            raise StudyError(
                f"{name!r} is not a level in the contrast {text!r}",
                where=where,
                mend=suggestion(name, out),
            )
        out[name] += sign / len(names)
    return position


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells over which estimands are weights.

    Attributes
    ----------
    factors : tuple of (str, tuple of str)
        Factor names and levels.
    codes : tuple of tuple of int
        One tuple per cell: the level code of every factor.
    """

    factors: tuple[tuple[str, tuple[str, ...]], ...]
    codes: tuple[tuple[int, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Factor names in order."""
        return tuple(name for name, _ in self.factors)

    def column(self, name: str) -> list[str]:
        """Return the level of ``name`` in every cell."""
        index = self.names.index(name)
        levels = self.factors[index][1]
        return [levels[cell[index]] for cell in self.codes]


def full_grid(factors: Sequence[tuple[str, tuple[str, ...]]]) -> Grid:
    """Return the grid of all level combinations."""
    ranges = [range(len(levels)) for _, levels in factors]
    return Grid(tuple(factors), tuple(itertools.product(*ranges)))


def cell_weights(estimand: Estimand, grid: Grid) -> np.ndarray:
    r"""Return the weights of an estimand over the cells of a grid.

    For contrast coefficients :math:`c_{fl}` and averaging weights :math:`a_{gl}` the weight of a
    cell is :math:`\prod_f c_{f,l_f} \prod_g a_{g,l_g}`, with factors held at one level entering as
    indicators. Where cells are missing from the grid (a factorial with empty arms), the cells
    averaged over must be the same for every level of the contrast.

    Returns
    -------
    numpy.ndarray, shape (cells,)

    Raises
    ------
    NotEstimable
        When a factor is not in the grid or the averaged cells differ between contrast levels.
    """
    contrast, within, weights = (
        dict(estimand.contrast),
        dict(estimand.within),
        dict(estimand.weights),
    )
    for name in [*contrast, *within]:
        if name not in grid.names:
            raise NotEstimable(
                f"estimand {estimand.name!r} names {name!r}, which the model does not contain",
                where=f"estimands.{estimand.name}",
                mend=f"add {name} to the formula or leave it out of the contrast",
            )
    rest = [i for i, n in enumerate(grid.names) if n not in contrast and n not in within]
    chosen = [i for i, n in enumerate(grid.names) if n in contrast]
    by_contrast: dict[tuple[int, ...], dict[tuple[int, ...], int]] = {}
    for index, cell in enumerate(grid.codes):
        if _inside(cell, grid, contrast, within):
            key = tuple(cell[i] for i in chosen)
            by_contrast.setdefault(key, {})[tuple(cell[i] for i in rest)] = index
    _same_cells(estimand, grid, by_contrast, chosen, contrast)
    out = np.zeros(len(grid.codes))
    for key, cells in by_contrast.items():
        coefficient = 1.0
        for i, code in zip(chosen, key, strict=True):
            name, levels = grid.factors[i]
            coefficient *= dict(contrast[name])[levels[code]]
        average = np.array([_average(r, rest, grid, weights) for r in cells])
        out[list(cells.values())] = coefficient * average / average.sum()
    return out


def _inside(
    cell: tuple[int, ...],
    grid: Grid,
    contrast: Mapping[str, tuple[tuple[str, float], ...]],
    within: Mapping[str, str],
) -> bool:
    for (name, levels), code in zip(grid.factors, cell, strict=True):
        level = levels[code]
        if name in within and level != within[name]:
            return False
        if name in contrast and level not in dict(contrast[name]):
            return False
    return True


def _average(
    cell: tuple[int, ...],
    rest: list[int],
    grid: Grid,
    weights: Mapping[str, tuple[tuple[str, float], ...]],
) -> float:
    product = 1.0
    for i, code in zip(rest, cell, strict=True):
        name, levels = grid.factors[i]
        if name in weights:
            product *= dict(weights[name]).get(levels[code], 0.0)
    return product


def _same_cells(
    estimand: Estimand,
    grid: Grid,
    by_contrast: Mapping[tuple[int, ...], Mapping[tuple[int, ...], int]],
    chosen: list[int],
    contrast: Mapping[str, tuple[tuple[str, float], ...]],
) -> None:
    expected = int(np.prod([len(contrast[grid.names[i]]) for i in chosen], dtype=int))
    sets = {frozenset(cells) for cells in by_contrast.values()}
    if len(by_contrast) == expected and len(sets) == 1:
        return
    rest = [n for n in grid.names if n not in contrast and n not in dict(estimand.within)]
    raise NotEstimable(
        f"estimand {estimand.name!r} compares levels that do not occur with the same levels of "
        + (", ".join(rest) or "the other factors"),
        where=f"estimands.{estimand.name}",
        mend='hold the unbalanced factor at one level, such as within = { housing = "isolated" }',
    )
