r"""Two Gaussian outcomes in one PyMC model: correlated deviations, correlated residuals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ketastats.bayesian.sampling import Inputs, fixed_part, sd_prior
from ketastats.problem.build import Problem


@dataclass(frozen=True, slots=True, eq=False)
class Links:
    """What two outcomes share.

    Attributes
    ----------
    terms : tuple of (int, int)
        Random terms of the first and second outcome that have the same groups.
    names : tuple of str
        Of the correlations: shared terms, then the residual where rows are shared.
    group : tuple of (numpy.ndarray, numpy.ndarray)
        Per shared term the group of every row, among those of both outcomes; -1 for none.
    levels : tuple of int
        Groups per shared term.
    first, second : numpy.ndarray of int, shape (shared rows,)
        Places of the shared rows in either outcome.
    """

    terms: tuple[tuple[int, int], ...]
    names: tuple[str, ...]
    group: tuple[tuple[np.ndarray, np.ndarray], ...]
    levels: tuple[int, ...]
    first: np.ndarray
    second: np.ndarray


def links_of(one: Problem, two: Problem) -> Links:
    """Find the random terms and the rows of the table that two problems share."""
    terms, names, groups, levels = [], [], [], []
    for i, a in enumerate(one.random):
        for j, b in enumerate(two.random):
            if (a.term.group, a.effects) != (b.term.group, b.effects):
                continue
            every = {level: k for k, level in enumerate(dict.fromkeys((*a.levels, *b.levels)))}
            places = [np.array([*(every[v] for v in r.levels), -1]) for r in (a, b)]
            terms.append((i, j))
            names.append(a.parameters[0][2])
            groups.append((places[0][a.group], places[1][b.group]))
            levels.append(len(every))
    _, first, second = np.intersect1d(one.rows, two.rows, return_indices=True)
    some = ("residual",) if len(first) else ()
    return Links(
        tuple(terms), (*names, *some), tuple(groups), tuple(levels), first, second
    )  # fmt: skip


def build_linked(pair: tuple[Inputs, Inputs], links: Links, shape: float) -> Any:
    r"""Return the PyMC model of two outcomes.

    Deviations of a shared term are :math:`d_1 = \tau_1 z_1` and
    :math:`d_2 = \tau_2 (r z_1 + \sqrt{1 - r^2} z_2)`, z standard normal. Residuals of a shared row
    are normal with correlation :math:`\rho`, as the first and the second given the first:
    :math:`e_2 \mid e_1 \sim N(\rho \sigma_2 e_1 / \sigma_1, \sigma_2^2 (1 - \rho^2))`. The prior of
    a correlation of two is that of Lewandowski, Kurowicka & Joe (2009, J Multivar Anal 100:1989),
    :math:`p(r) \propto (1 - r^2)^{\eta - 1}`: a beta distribution of (1 + r) / 2.

    Parameters
    ----------
    pair : (Inputs, Inputs)
    links : Links
    shape : float
        Eta.

    Returns
    -------
    pymc.Model
        With ``gamma_0``, ``sd_0``, ``sigma_0``, those of the second outcome, and ``correlation``.
        The outcomes are the data ``y_0`` and ``y_1``, which may be changed after compilation.
    """
    import pymc as pm
    import pytensor.tensor as pt

    with pm.Model() as model:
        eta = np.array(float(shape))  # a number would be taken for single precision
        half = pm.Beta("half", eta, eta, shape=len(links.names))
        r = pm.Deterministic("correlation", 2 * half - 1)
        means, sds, sigmas = [], [], []
        for i, inputs in enumerate(pair):
            mean, start = fixed_part(inputs, f"_{i}")
            terms = len(inputs.z)
            sds.append(
                sd_prior(f"sd_{i}", inputs.sd, initval=np.full(terms, start)) if terms else ()
            )
            sigmas.append(sd_prior(f"sigma_{i}", inputs.sd, initval=start))
            for k in set(range(terms)) - {t[i] for t in links.terms}:
                z = pm.Normal(f"deviation_{i}_{k}", 0.0, 1.0, shape=inputs.levels[k])
                group = np.maximum(inputs.group[k], 0)
                mean = mean + sds[i][k] * z[group] * inputs.z[k]
            means.append(mean)
        for k, both in enumerate(links.terms):
            z = pm.Normal(f"deviation_{k}", 0.0, 1.0, shape=(2, links.levels[k]))
            z = (z[0], r[k] * z[0] + pt.sqrt(1 - r[k] ** 2) * z[1])
            for i, term in enumerate(both):
                group = np.maximum(links.group[k][i], 0)
                means[i] = means[i] + sds[i][term] * z[i][group] * pair[i].z[term]
        y = [pm.Data(f"y_{i}", inputs.y) for i, inputs in enumerate(pair)]
        error = [(y[i] - means[i]) / sigmas[i] for i in range(2)]
        pm.Potential("first", _log_normal(error[0], sigmas[0]))
        rho = r[-1] if len(links.first) else np.array(0.0)
        alone = np.setdiff1d(np.arange(len(pair[1].y)), links.second)
        left = pt.sqrt(1 - rho**2)
        given = (error[1][links.second] - rho * error[0][links.first]) / left
        pm.Potential("second", _log_normal(given, sigmas[1] * left))
        pm.Potential("second_alone", _log_normal(error[1][alone], sigmas[1]))
    return model


def _log_normal(z: Any, sd: Any) -> Any:
    """Return the log-density of normal residuals z times sd."""
    import pytensor.tensor as pt

    constant = np.array(0.5 * np.log(2 * np.pi))
    return -0.5 * (z**2).sum() - z.shape[0] * (pt.log(sd) + constant)
