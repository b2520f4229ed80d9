"""Small synthetic tables and posteriors, and the same models row by row."""

from functools import cache

import numpy as np
import pandas as pd

import ketastats as ks
from ketastats.bayesian.exact.nodes import covariances
from ketastats.frequentist.moments import basis_of

PROPER = {"effects": "normal(0, 4)", "intercept": "normal(20, 8)", "sd": "half-normal(3)"}
TWO = "y ~ treatment*time + period + (1|subject)"


@cache
def table(seed=1, people=9, subject=2.5, slope=0.0, lost=3):
    """Two treatments in two periods, before and after in each, some rows lost; x is a covariate."""
    rng = np.random.default_rng([17, seed])
    rows = [
        (f"s{i}", f"p{p}", "AB"[(i + p) % 2], time)
        for i in range(people)
        for p in range(2)
        for time in ("before", "after")
    ]
    data = pd.DataFrame(rows, columns=["subject", "period", "treatment", "time"])
    person = data["subject"].str[1:].astype(int).to_numpy()
    x = rng.normal(size=len(data))
    u = rng.normal(size=(2, people))
    y = 20 + 3 * (data["treatment"] == "B") + subject * u[0, person] + slope * u[1, person] * x
    data = data.assign(x=x.round(2), y=(y + rng.normal(0, 2, len(data))).round(2))
    return data.drop(index=rng.choice(len(data), lost, replace=False)).reset_index(drop=True)


CASES = {
    "intercept": (TWO, {}, {}, {}),
    "no variance between people": (TWO, {"subject": 0.0, "seed": 4}, {}, {}),
    "nested": ("y ~ treatment + (1|subject) + (1|subject:period)", {}, {}, {}),
    "two correlated effects": ("y ~ treatment + x + (1+x|subject)", {"slope": 1.5}, {}, {}),
    "slope alone": ("y ~ treatment + x + (1|subject) + (0+x|subject)", {"slope": 1.5}, {}, {}),
    "exponential": (TWO, {}, {"sd": "exponential(2)"}, {}),
    "heavy tails": (TWO, {}, {"sd": "half-t(3, 2)"}, {}),
    "two residuals": (TWO, {}, {}, {"residual": "by time"}),
    "flat": (TWO, {}, {"effects": "flat", "intercept": "flat", "residual": "jeffreys"}, {}),
    "hierarchical": (TWO, {}, {"effects": "hierarchical(3)"}, {}),
    "Cauchy": (TWO, {}, {"treatment": "standardised-cauchy(0.7)"}, {}),
}
"""Formula, arguments of the table, priors besides the proper ones, arguments of the posterior."""


@cache
def posterior(name):
    formula, of_table, priors, others = CASES[name]
    return ks.posterior(formula, table(**of_table), priors=PROPER | priors, **others)


def dense_arguments(post):
    """Arguments of the oracle: y, X, Z of every term, priors, and those of the coefficients."""
    problem, axes = post.model.problem, post.model.axes
    designs = []
    for r in problem.random:
        for i in range(len(r.effects)):
            z = np.zeros((len(problem.y), len(r.levels)))
            z[np.arange(len(z)), np.maximum(r.group, 0)] = r.z[:, i]
            designs.append(z)
    priors = [(a.prior.family, *a.prior.parameters) for a in axes]
    keywords = {"m": post.model.location, "precision": post.model.precision}
    return (problem.y, problem.x, designs, priors), keywords


def joint(model, values):
    """Posterior of coefficients and random effects at one node, as one big regression.

    Returns means and covariance, the coefficients first, then the groups of every effect in turn.
    """
    problem = model.problem
    theta = covariances(model, values[None])[0]
    n, q = problem.x.shape
    parts, at = [problem.x], 0
    inverse = [model.precision]
    for r in problem.random:
        k, own = len(r.effects), theta[at : at + len(r.parameters)]
        at += len(own)
        g = np.zeros((k, k))
        for value, (i, j, _) in zip(own, r.parameters, strict=True):
            g[i, j] = g[j, i] = value
        z = np.zeros((k, n, len(r.levels)))
        for i in range(k):
            z[i, np.arange(n), np.maximum(r.group, 0)] = r.z[:, i]
        parts += list(z)
        inverse.append(np.kron(np.linalg.inv(g), np.eye(len(r.levels))))
    design = np.concatenate(parts, axis=1)
    sizes = [len(p) for p in inverse]
    precision = np.zeros((sum(sizes), sum(sizes)))
    for size, end, part in zip(sizes, np.cumsum(sizes), inverse, strict=True):
        precision[end - size : end, end - size : end] = part
    level = problem.residual.level
    noise = theta[-len(problem.residual.structure.names) :][level]
    right = design.T @ (problem.y / noise)
    right[:q] += model.precision @ model.location
    covariance = np.linalg.inv((design.T / noise) @ design + precision)
    return covariance @ right, covariance


def covariance_of_rows(model, values):
    """V of all rows at one node, from the basis the likelihood uses."""
    basis = basis_of(model.problem, np.arange(len(model.problem.y)))
    return np.einsum("r,rij->ij", covariances(model, values[None])[0], basis)
