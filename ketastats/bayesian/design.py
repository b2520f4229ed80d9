"""The design in units of the priors: covariates centred and divided by their SD."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ketastats.core.errors import FormulaError
from ketastats.problem.build import Problem, RandomDesign
from ketastats.problem.fixed import fixed_spec
from ketastats.study.priors import Prior


@dataclass(frozen=True, slots=True, eq=False)
class StandardDesign:
    """What the sampler works on, and the way back.

    Attributes
    ----------
    x : numpy.ndarray, shape (rows, q)
        Columns made of factors only are those of the problem; the others are centred and divided
        by the SD of their covariate.
    back : numpy.ndarray, shape (q, q)
        Coefficients of the problem = back @ coefficients of ``x``.
    intercept : int
        Column of the intercept; -1 when there is none.
    covariates : tuple of (str, float)
        Columns with a covariate and the SD they were divided by.
    centred : bool
        Whether covariates are centred: not without an intercept, and not when an interaction
        stands without its main effects.
    z : tuple of numpy.ndarray, each of shape (rows,)
        Design of each random term, divided by ``z_scale``; zero where a row has no group.
    z_scale : numpy.ndarray, shape (terms,)
        1 for intercepts, the covariate's SD for slopes.
    """

    x: np.ndarray
    back: np.ndarray
    intercept: int
    covariates: tuple[tuple[str, float], ...]
    centred: bool
    z: tuple[np.ndarray, ...]
    z_scale: np.ndarray


def standard_design(problem: Problem, data: pd.DataFrame) -> StandardDesign:
    """Standardise a problem in difference coding, for the sampler.

    Raises
    ------
    FormulaError
        As :func:`scaled_design`, and when a random term has correlated effects.
    """
    check_random(problem.random)
    return scaled_design(problem, data)


def scaled_design(problem: Problem, data: pd.DataFrame) -> StandardDesign:
    """Standardise a problem in difference coding.

    Parameters
    ----------
    problem : Problem
    data : pandas.DataFrame
        The table the problem was built on.

    Raises
    ------
    FormulaError
        When the formula leaves out an intercept or main effect that other terms contain.
    """
    names = problem.names
    intercept = names.index("Intercept") if "Intercept" in names else -1
    used = data.iloc[problem.rows]
    _check_fixed(problem)
    shifted = _with_centred_covariates(problem, used)
    parts = [covariate_parts(n, [f for f, _ in problem.fixed.factors]) for n in names]
    x, back, centred = problem.x, np.eye(len(names)), False
    if intercept >= 0 and any(parts):
        x, back, centred = _centred(problem, shifted, parts)
    sds = _covariate_sds(parts, shifted)
    z_scale = np.array([slope_sd(r, 0) for r in problem.random])
    return StandardDesign(
        x=x / sds,
        back=back / sds,
        intercept=intercept,
        covariates=tuple((n, float(s)) for n, s, p in zip(names, sds, parts, strict=True) if p),
        centred=centred,
        z=tuple(r.z[:, 0] / s for r, s in zip(problem.random, z_scale, strict=True)),
        z_scale=z_scale,
    )


def _centred(
    problem: Problem, shifted: pd.DataFrame, parts: list[tuple[str, ...]]
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return the centred columns, the way back, and True.

    Where centring would change the model: the columns as they are and False.
    """
    x = problem.fixed.matrix(shifted)[:, list(problem.aliasing.kept)]
    for j, name in enumerate(problem.names):
        if parts[j] and ":".join(parts[j]) == name:
            x[:, j] -= x[:, j].mean()
    back = np.linalg.lstsq(problem.x, x, rcond=None)[0]
    size = max(1.0, float(np.abs(x).max()))
    if np.allclose(problem.x @ back, x, rtol=0, atol=1e-8 * size):
        return x, back, True
    return problem.x, np.eye(len(parts)), False


def check_random(random: tuple[RandomDesign, ...]) -> None:
    """Raise FormulaError for a random term with correlated effects, naming what to write."""
    for r in random:
        if len(r.effects) == 1:
            continue
        group = ":".join(r.term.group)
        terms = [
            f"(1|{group})"
            if c == "1"
            else f"(0+{c}|{group})"
            if c in r.effects
            else f"(1|{group}:{c})"
            for c in r.term.columns
        ]
        raise FormulaError(
            f"the random term ({r.term.text}) has {len(r.effects)} correlated effects, which mcmc "
            "does not offer",
            where=group,
            mend=f"write it as uncorrelated terms: {' + '.join(terms)}",
        )


def covariate_parts(column: str, factors: list[str]) -> tuple[str, ...]:
    """Return the parts of a column's name that are not levels of a factor.

    Examples
    --------
    >>> covariate_parts("sex[1]:dose", ["sex"])
    ('dose',)
    """
    if column == "Intercept":
        return ()
    return tuple(p for p in column.split(":") if not any(p.startswith(f"{f}[") for f in factors))


def prior_lines(
    design: StandardDesign, problem: Problem, effects: Prior, sd: Prior
) -> tuple[tuple[str, str], ...]:
    """Return the priors of covariates and slopes in their own units, as text."""
    centred = ", which is centred" if design.centred else ""
    lines = [
        (
            name,
            f"normal(0, {effects.parameters[1] / s:.4g}): that of the effects / {s:.4g}, "
            f"the SD of the covariate{centred}",
        )
        for name, s in design.covariates
        if effects.family == "normal"
    ]
    for r in problem.random:
        for i, effect in enumerate(r.effects):
            if effect == "1":
                continue
            s = slope_sd(r, i)
            scaled = Prior(sd.family, (*sd.parameters[:-1], float(f"{sd.parameters[-1] / s:.4g}")))
            name = next(n for a, b, n in r.parameters if a == b == i)
            lines.append(
                (f"sd {name}", f"{scaled}: that of the SDs / {s:.4g}, the SD of the covariate")
            )
    return tuple(lines)


def _check_fixed(problem: Problem) -> None:
    """Refuse a fixed part that leaves out an intercept or main effect which its terms contain.

    Priors are for an intercept and differences; such a part means one mean per level instead.
    """
    if any(part.every for part in problem.fixed.parts):
        raise FormulaError(
            f"the fixed part {problem.fixed.text!r} leaves out an intercept or a main effect that "
            "its other terms contain, and priors are for an intercept and differences",
            mend="write them out, such as a*b for a:b and no 0; every contrast stays the same",
        )


def _with_centred_covariates(problem: Problem, used: pd.DataFrame) -> pd.DataFrame:
    """Centre the covariates that enter as they are; log(dose) must keep its argument."""
    tree = ast.parse(problem.fixed.text.replace(":", "*"), mode="eval")
    inside = {
        n.id
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for argument in call.args
        for n in ast.walk(argument)
        if isinstance(n, ast.Name)
    }
    return used.assign(
        **{
            name: used[name].to_numpy(dtype=np.float64) - mean
            for name, mean in problem.fixed.covariates
            if name not in inside
        }
    )


def _covariate_sds(parts: list[tuple[str, ...]], shifted: pd.DataFrame) -> np.ndarray:
    """Return the SD of the covariate in every column, 1 where there is none, shape (q,)."""
    single = list(dict.fromkeys(re.sub(r"\[[^\]]*\]$", "", p) for ps in parts for p in ps))
    if not single:
        return np.ones(len(parts))
    spec = fixed_spec("0 + " + " + ".join(single), shifted, "difference")
    matrix = spec.matrix(shifted)
    sds = np.ones(len(parts))
    for j, ps in enumerate(parts):
        if ps:
            product = np.prod([matrix[:, spec.columns.index(p)] for p in ps], axis=0)
            sds[j] = np.std(product, ddof=1)
    return sds


def slope_sd(r: RandomDesign, effect: int) -> float:
    """Return the SD of a random slope's covariate, 1 for an intercept."""
    if r.effects[effect] == "1":
        return 1.0
    return float(np.std(r.z[r.group >= 0, effect], ddof=1)) or 1.0
