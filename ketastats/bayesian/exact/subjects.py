r"""Shrunken deviations of subjects and other groups: the posterior of every random effect.

At a node, with G the covariance of one group's effects and Z its design (Laird & Ware 1982,
Biometrics 38:963),

.. math::
   E[u] &= G Z' V^{-1} (y - X E[\beta]), \\
   \mathrm{Var}[u] &= G - G Z' V^{-1} Z G + (G Z' C) A^{-1} (G Z' C)', \quad C = V^{-1} X,

and the posterior is the mixture over nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from ketastats.bayesian.exact import mixture
from ketastats.bayesian.exact.given import (
    Pattern,
    coefficients,
    inverse,
    passes,
    patterns,
    roots,
)
from ketastats.bayesian.exact.nodes import Gaussian, covariances
from ketastats.frequentist.moments import Moments
from ketastats.problem.build import RandomDesign

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.bayesian.exact.posterior import ExactPosterior

LIGHT = 1e-9
"""Nodes with less posterior probability are left out."""
POINT = 1e-6
"""SD at a node, over that of the mixture, under which a node counts as a point: where a random
term's SD is 0."""


def effects(post: ExactPosterior, level: float | None = None) -> pd.DataFrame:
    """Return the posterior of every group's deviation.

    Parameters
    ----------
    post : ExactPosterior
    level : float, optional
        Of the equal-tailed intervals; that of the posterior by default.

    Returns
    -------
    pandas.DataFrame
        term, group, mean, sd, ci_low, ci_high; ``raw`` is the deviation without shrinkage, by
        least squares of the group's rows less the fixed effects (for an intercept their mean; it
        holds the deviations of other random terms too).
    """
    import pandas as pd

    level = post.level if level is None else level
    p = np.array([0.5 - level / 2, 0.5 + level / 2])
    model, y = post.model, post.problem.y
    heavy = post.weight > LIGHT
    weight = post.weight[heavy] / post.weight[heavy].sum()
    beta, means, sds = at_nodes(model, post.quadrature.table.moments, y, post.nodes[heavy])
    rest = y - model.problem.x @ (weight @ beta)
    out = []
    for r, mean, sd in zip(model.problem.random, means, sds, strict=True):
        unshrunken = raw(r, rest)
        names = [name for a, b, name in r.parameters if a == b]
        for i, name in enumerate(names):
            table = summarise(weight, mean[:, :, i], sd[:, :, i], p)
            table.insert(0, "term", name)
            table.insert(1, "group", list(r.levels))
            out.append(table.assign(raw=unshrunken[:, i]))
    if not out:
        columns = ["term", "group", "mean", "sd", "ci_low", "ci_high", "raw"]
        return pd.DataFrame(columns=columns)
    return pd.concat(out, ignore_index=True)


def summarise(weight: np.ndarray, mean: np.ndarray, sd: np.ndarray, p: np.ndarray) -> pd.DataFrame:
    """Return mean, sd and two quantiles of mixtures, one row each.

    Parameters
    ----------
    weight : numpy.ndarray, shape (J,)
    mean, sd : numpy.ndarray, shape (J, K)
    p : numpy.ndarray, shape (2,)
    """
    import pandas as pd

    centre, spread = mixture.moments(weight[None], mean[None], sd)
    sd = np.maximum(sd, POINT * spread)
    mean, sd = np.ascontiguousarray(mean), np.ascontiguousarray(sd)
    ends = mixture.quantiles(weight[None], mean[None], sd, centre, spread, ndtri(p), p)[:, 0]
    columns = {"mean": centre[0], "sd": spread[0], "ci_low": ends[0], "ci_high": ends[1]}
    return pd.DataFrame(columns)


def raw(r: RandomDesign, rest: np.ndarray) -> np.ndarray:
    """Return least-squares deviations of every group, (groups, effects), NaN where not unique.

    Parameters
    ----------
    r : RandomDesign
    rest : numpy.ndarray, shape (rows,)
        Outcome less fixed effects.
    """
    inside = r.group >= 0
    k = len(r.effects)
    zz, zy = np.zeros((len(r.levels), k, k)), np.zeros((len(r.levels), k))
    z = r.z[inside]
    np.add.at(zz, r.group[inside], z[:, :, None] * z[:, None, :])
    np.add.at(zy, r.group[inside], z * rest[inside, None])
    values = np.linalg.eigvalsh(zz)
    unique = values[:, 0] > 1e-10 * np.maximum(values[:, -1], 1e-300)
    out = np.full((len(r.levels), k), np.nan)
    out[unique] = np.linalg.solve(zz[unique], zy[unique, :, None])[:, :, 0]
    return out


def at_nodes(
    model: Gaussian, moments: Moments, y: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Return coefficients and random effects at J nodes.

    Parameters
    ----------
    model : Gaussian
    moments : Moments
    y : numpy.ndarray, shape (rows,)
    values : numpy.ndarray, shape (J, axes)

    Returns
    -------
    beta : numpy.ndarray, shape (J, q)
        Their means, in standard units.
    mean, sd : list of numpy.ndarray, shape (J, groups, effects) each
        One per random term.
    """
    random, x = model.problem.random, model.problem.x
    found = patterns(model.problem)
    shapes = [(len(values), len(r.levels), len(r.effects)) for r in random]
    mean, var = [np.empty(s) for s in shapes], [np.empty(s) for s in shapes]
    beta = np.empty((len(values), x.shape[1]))
    for some in passes(found, x.shape[1], len(values)):
        theta, factors = covariances(model, values[some]), roots(model, values[some])
        beta[some], half = coefficients(model, moments, values[some])
        rest = y - beta[some] @ x.T
        for p in found:
            v = inverse(p, theta)
            for r, root, m, s in zip(random, factors, mean, var, strict=True):
                _of_pattern(p, r, v, root @ np.swapaxes(root, 1, 2), half, rest, m[some], s[some])
    return beta, mean, [np.sqrt(np.maximum(v, 0.0)) for v in var]


def _of_pattern(
    p: Pattern,
    r: RandomDesign,
    v: np.ndarray,
    g: np.ndarray,
    half: np.ndarray,
    rest: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
) -> None:
    """Fill in mean and variance of the groups of one term in blocks of one pattern.

    Parameters
    ----------
    p : Pattern
    r : RandomDesign
    v : numpy.ndarray, shape (J, m, m)
        V^-1.
    g : numpy.ndarray, shape (J, k, k)
        Covariance of the k effects.
    half : numpy.ndarray, shape (J, q, q)
        H with A^-1 = H H'.
    rest : numpy.ndarray, shape (J, rows)
    mean, var : numpy.ndarray, shape (J, groups, k)
    """
    local, z = local_design(r, p.rows[0])  # (g,), (m, g, k)
    if not len(local):
        return
    groups = r.group[p.rows[:, local]]  # (blocks, g)
    j, (m, n, k) = len(v), z.shape
    share = (v @ z.reshape(m, n * k)).reshape(j, m, n, k)  # V^-1 Z
    pull = np.einsum("jmnk,jkl->jnlm", share, g)  # G Z' V^-1
    own = np.einsum("jnlm,mnk,jkl->jnl", pull, z, g, optimize=True)
    own = np.einsum("jkk->jk", g)[:, None] - own
    flat = pull.reshape(j, n * k, m)
    to_rows = flat[:, None] @ p.x @ half[:, None]  # (J, cells, n k, q)
    more = (to_rows**2).sum(axis=3).reshape(j, -1, n, k)
    blocks = len(groups)
    found = flat @ np.moveaxis(rest[:, p.rows], 1, 2)  # (J, n k, blocks)
    mean[:, groups] = found.reshape(j, n, k, blocks).transpose(0, 3, 1, 2)
    var[:, groups] = own[:, None] + more[:, p.cell]


def local_design(r: RandomDesign, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row of every group in a block, and the design, (m, groups, effects)."""
    group = r.group[rows]
    numbers, first, own = np.unique(group, return_index=True, return_inverse=True)
    z = np.zeros((len(rows), len(numbers), len(r.effects)))
    z[np.arange(len(rows)), own.ravel()] = r.z[rows]
    inside = numbers >= 0
    return first[inside], z[:, inside]
