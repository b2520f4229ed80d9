"""What any fit must satisfy without stored answers, by dense algebra and by fitting again.

V is one N x N matrix made from the groups of the fit; the restricted likelihood is written from
Patterson & Thompson (1971) and differentiated numerically; X is compared with formulaic's own.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from formulaic import model_matrix
from scipy.linalg import cho_factor, cho_solve

from ketastats.frequentist.lmm import MixedModel, lmm
from ketastats.study.formula import split_formula

ALGEBRA = 1e-8
"""Dense V^-1 costs a few digits where variances differ by orders of magnitude."""
REFIT = 1e-7
"""Two searches end within DECREMENT of one optimum (reml.py); df are steep functions of it."""
SLOPE = 1e-6
"""Of the log-likelihood by the logarithm of a parameter. Rounding leaves 1e-9 (five points, step
1e-3); a variance wrong by 1e-6 of itself leaves n/2 times that."""
DENSE_UP_TO = 2000
"""Rows: an N x N inverse takes seconds beyond."""


@dataclass(frozen=True)
class DenseModel:
    """y, X and the matrices G_r of V = sum theta_r G_r; ``shift`` was taken off y."""

    y: np.ndarray
    x: np.ndarray
    basis: tuple[np.ndarray, ...]
    shift: np.ndarray

    @classmethod
    def of(cls, fit: MixedModel) -> DenseModel:
        """Return the dense model of a fit with one residual variance."""
        p = fit.problem
        basis = []
        for r in p.random:
            same = (r.group[:, None] == r.group[None, :]) & (r.group[:, None] >= 0)
            for i, j, _ in r.parameters:
                outer = np.outer(r.z[:, i], r.z[:, j])
                basis.append(same * (outer if i == j else outer + outer.T))
        # constant leading digits are taken off exactly: a dense quadratic form would lose the rest
        shift = np.array([p.y[0] if n == "Intercept" else 0.0 for n in p.names])
        return cls(p.y - p.x @ shift, p.x, (*basis, np.eye(len(p.y))), shift)

    def at(self, theta: np.ndarray) -> DensePoint:
        return DensePoint(self, tuple(theta))


@dataclass(frozen=True)
class DensePoint:
    """The dense model at given parameters."""

    model: DenseModel
    theta: tuple[float, ...]

    @cached_property
    def factor(self) -> Any:
        pairs = zip(self.theta, self.model.basis, strict=True)
        return cho_factor(sum(t * g for t, g in pairs), lower=True)

    @cached_property
    def vx(self) -> np.ndarray:
        """V^-1 X."""
        return cho_solve(self.factor, self.model.x)

    @cached_property
    def phi(self) -> np.ndarray:
        """(X' V^-1 X)^-1."""
        return np.linalg.inv(self.model.x.T @ self.vx)

    @cached_property
    def beta(self) -> np.ndarray:
        """Generalised least squares."""
        return self.phi @ (self.vx.T @ self.model.y)

    @cached_property
    def quadratic(self) -> float:
        r = self.model.y - self.model.x @ self.beta
        return float(r @ cho_solve(self.factor, r))

    @cached_property
    def log_determinants(self) -> float:
        """log|V| + log|X' V^-1 X|."""
        log_v = 2 * np.log(np.diag(self.factor[0])).sum()
        return float(log_v - np.linalg.slogdet(self.phi)[1])

    def loglik(self) -> float:
        free = self.model.x.shape[0] - self.model.x.shape[1]
        return -0.5 * (free * np.log(2 * np.pi) + self.log_determinants + self.quadratic)

    def profiled(self) -> float:
        """Return the log-likelihood at the best common factor of all parameters."""
        free = self.model.x.shape[0] - self.model.x.shape[1]
        scale = self.quadratic / free
        return -0.5 * (free * (np.log(2 * np.pi * scale) + 1) + self.log_determinants)

    @cached_property
    def information(self) -> tuple[np.ndarray, np.ndarray]:
        """Return expected and observed information of the parameters."""
        inverse = cho_solve(self.factor, np.eye(len(self.model.y)))
        p = inverse - self.vx @ self.phi @ self.vx.T
        pg, py = [p @ g for g in self.model.basis], p @ self.model.y
        expected = np.array([[0.5 * np.sum(a * b.T) for b in pg] for a in pg])
        gpy = [g @ py for g in self.model.basis]
        return expected, np.array([[a @ p @ b for b in gpy] for a in gpy]) - expected

    def inference(self, ddf: str, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return se and df of every coefficient.

        df = 2 v^2 / (g' W g) with v the variance and g its gradient. Kenward-Roger (1997, eq. 3)
        reduces to that for one row, with W from the expected information and the adjusted se.
        Satterthwaite has W from the observed one without the parameters that are ``held`` at 0.
        """
        expected, observed = self.information
        w = np.zeros_like(expected)
        free = np.flatnonzero(~held | (ddf == "kenward-roger"))
        info = expected if ddf == "kenward-roger" else observed
        w[np.ix_(free, free)] = np.linalg.inv(info[np.ix_(free, free)])
        gvx = [g @ self.vx for g in self.model.basis]
        p = np.array([-self.vx.T @ a for a in gvx])
        gradient = -np.einsum("ia,rab,bi->ri", self.phi, p, self.phi)
        df = 2 * np.diag(self.phi) ** 2 / np.einsum("ri,rs,si->i", gradient, w, gradient)
        if ddf == "satterthwaite":
            return np.sqrt(np.diag(self.phi)), df
        middle = np.zeros_like(self.phi)
        for r, s in np.ndindex(w.shape):
            q = gvx[r].T @ cho_solve(self.factor, gvx[s])
            middle += w[r, s] * (q - p[r] @ self.phi @ p[s])
        return np.sqrt(np.diag(self.phi + 2 * self.phi @ middle @ self.phi)), df


# ---- checks -------------------------------------------------------------------------------------


def near(got: Any, wanted: Any, limit: Any, what: str) -> None:
    """Fail where two arrays differ by more than a limit."""
    gap = np.abs(np.asarray(got, dtype=float) - np.asarray(wanted, dtype=float))
    limit = np.asarray(limit, dtype=float)
    assert (gap <= limit).all(), f"{what}: {np.max(gap / np.maximum(limit, 1e-300)):.3g} limits"


def check_table(fit: MixedModel) -> None:
    """Every number is one, and a variance at 0 is said."""
    assert fit.status in ("ok", "boundary"), f"the fit is {fit.status}"
    assert np.isfinite(fit.coefficients.to_numpy()).all(), "a coefficient is no number"
    assert np.isfinite(fit.anova().to_numpy(float)).all(), "a test is no number"
    variances = [fit.variance[n] for r in fit.problem.random for i, j, n in r.parameters if i == j]
    assert min([0.0, *variances]) >= 0 and fit.variance["residual"] > 0, "a variance is negative"
    warned = any("boundary" in w for w in fit.warnings)
    assert warned == (fit.status == "boundary"), "status and warnings differ"


def check_columns(fit: MixedModel, data: pd.DataFrame) -> None:
    """X spans what formulaic's own matrix of the fixed part spans."""
    rows = data.iloc[fit.problem.rows].copy()
    for name, _ in fit.problem.fixed.factors:
        rows[name] = rows[name].astype(str)
    fixed, functions = split_formula(fit.problem.formula).fixed, {"sqrt": np.sqrt}
    other = np.asarray(model_matrix(fixed, rows, context=functions), dtype=float)
    x = fit.problem.x
    left = other - x @ np.linalg.lstsq(x, other, rcond=None)[0]
    near(left / np.abs(other).max(axis=0), 0.0, ALGEBRA, "columns of the fixed part")
    rank = np.linalg.matrix_rank(other / np.abs(other).max(axis=0))
    assert rank == x.shape[1], f"{x.shape[1]} columns and rank {rank}"


def check_dense(fit: MixedModel) -> None:
    """Estimates, se, df and likelihood are those of dense algebra at the fitted variances."""
    model, theta = DenseModel.of(fit), fit.variance.to_numpy()
    at, table = model.at(theta), fit.coefficients
    se, df = at.inference(fit.ddf, fit.fit.boundary[0])
    beta = at.beta + model.shift
    digits = 4 * np.finfo(float).eps * np.abs(beta)  # what a double near 1e12 can hold
    near(table["estimate"], beta, ALGEBRA * se + digits, "generalised least squares")
    near(table["se"], se, ALGEBRA * se, "standard errors")
    near(table["df"], df, 10 * ALGEBRA * df, "degrees of freedom")
    near(fit.loglik, at.loglik(), ALGEBRA, "log-likelihood")


def check_optimum(fit: MixedModel) -> None:
    """The slope of the likelihood is 0 inside, not upwards at 0, and no other point is higher."""
    model, theta = DenseModel.of(fit), fit.variance.to_numpy()
    best = model.at(theta).loglik()
    diagonal, units = parameter_units(fit)
    for r, held in enumerate(fit.fit.boundary[0]):
        step = np.zeros_like(theta)
        step[r] = 1e-3 * units[r]
        if held:  # a covariance cannot move alone where the matrix has lost rank
            higher = r in diagonal and model.at(theta + step).loglik() > best
            assert not higher, f"{fit.variance.index[r]} is not 0 at the maximum"
            continue
        values = np.array([model.at(theta + k * step).loglik() for k in (-2, -1, 1, 2)])
        slope = np.array([1, -8, 8, -1]) @ values / 12e-3
        near(slope, 0.0, SLOPE, f"slope of the likelihood by {fit.variance.index[r]}")
    shares = [np.mean(np.diag(model.basis[r])) for r in diagonal]
    for ratios in itertools.product((0.0, 0.1, 1.0, 10.0), repeat=len(diagonal)):
        point = np.zeros_like(theta)
        point[[*diagonal, -1]] = [*np.divide(ratios, shares), 1.0]
        assert model.at(point).profiled() <= best + ALGEBRA, f"higher at ratios {ratios}"


def parameter_units(fit: MixedModel) -> tuple[list[int], np.ndarray]:
    """Return the positions of the variances of random terms, and a size for every parameter."""
    theta, diagonal = fit.variance, []
    units = np.full(len(theta), float(theta["residual"]))
    pairs = [(r, i, j, name) for r in fit.problem.random for i, j, name in r.parameters]
    own = {(id(r), i): theta[name] for r, i, j, name in pairs if i == j}
    for at, (r, i, j, _) in enumerate(pairs):
        size = float(np.sqrt(own[id(r), i] * own[id(r), j]))
        units[at] = size or 1e-6 * theta["residual"]
        diagonal += [at] if i == j else []
    return diagonal, units


def check_again(fit: MixedModel, data: pd.DataFrame) -> None:
    """Rows in another order and sum-to-zero coding give the same fit."""
    p = fit.problem
    formula = f"{p.outcome} ~ {p.formula}"
    order = np.random.default_rng(1).permutation(len(data))
    moved = lmm(formula, data.iloc[order], ddf=fit.ddf)
    summed = lmm(formula, data, ddf=fit.ddf, contrasts="sum")
    own, se = fit.coefficients, fit.coefficients["se"]
    other = moved.coefficients.loc[own.index]
    digits = 4 * np.finfo(float).eps * own["estimate"].abs()
    near(other["estimate"], own["estimate"], REFIT * se + digits, "estimates, rows permuted")
    for name in ("se", "df"):
        near(other[name], own[name], REFIT * own[name], f"{name}, rows permuted")
    tests = fit.anova().astype(float)
    for again, what in ((moved, "rows permuted"), (summed, "sum-to-zero coding")):
        largest = fit.variance.abs().max()
        near(again.variance[fit.variance.index], fit.variance, REFIT * largest, what)
        same = again.anova().loc[tests.index].astype(float)
        if again is summed and fit.ddf == "satterthwaite":
            # Fai & Cornelius take the eigenvectors of rows that the coding chooses: F is the same
            several = tests["num_df"] > 1
            same.loc[several, ["den_df", "p"]] = tests.loc[several, ["den_df", "p"]]
        near(same, tests, REFIT * tests.abs() + 1e-12, f"tests, {what}")


def check_all(fit: MixedModel, data: pd.DataFrame) -> None:
    """Run every check on a fit to the rows of a table."""
    check_columns(fit, data)
    check_again(fit, data)
    if len(fit.problem.y) <= DENSE_UP_TO:
        check_optimum(fit)
        check_dense(fit)
