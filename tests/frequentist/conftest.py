"""A second implementation, dense and slow, written from the papers and from nothing else.

V is one N x N matrix; the projection P = V^-1 - V^-1 X (X'V^-1 X)^-1 X'V^-1 is made in full; the
likelihood is maximised by scipy and then by Newton steps. Nothing of the package is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats


@dataclass(frozen=True)
class Dense:
    """y, X and the basis matrices G_r of V = sum theta_r G_r, residual last."""

    y: np.ndarray
    x: np.ndarray
    basis: tuple[np.ndarray, ...]

    def v_inverse(self, theta: np.ndarray) -> np.ndarray:
        return np.linalg.inv(sum(t * g for t, g in zip(theta, self.basis, strict=True)))

    def phi(self, theta: np.ndarray) -> np.ndarray:
        return np.linalg.inv(self.x.T @ self.v_inverse(theta) @ self.x)

    def projection(self, theta: np.ndarray) -> np.ndarray:
        vi = self.v_inverse(theta)
        return vi - vi @ self.x @ self.phi(theta) @ self.x.T @ vi

    def loglik(self, theta: np.ndarray) -> float:
        """Restricted log-likelihood (Patterson & Thompson 1971) with lme4's constant."""
        v = sum(t * g for t, g in zip(theta, self.basis, strict=True))
        sign, log_v = np.linalg.slogdet(v)
        if sign <= 0:
            return -np.inf
        log_xx = -np.linalg.slogdet(self.phi(theta))[1]
        n, q = self.x.shape
        quadratic = self.y @ self.projection(theta) @ self.y
        return float(-0.5 * ((n - q) * np.log(2 * np.pi) + log_v + log_xx + quadratic))

    def score(self, theta: np.ndarray) -> np.ndarray:
        p = self.projection(theta)
        py = p @ self.y
        return np.array([0.5 * (py @ g @ py - np.trace(p @ g)) for g in self.basis])

    def expected(self, theta: np.ndarray) -> np.ndarray:
        """Return 0.5 tr(P G_r P G_s)."""
        pg = [self.projection(theta) @ g for g in self.basis]
        return np.array([[0.5 * np.trace(a @ b) for b in pg] for a in pg])

    def observed(self, theta: np.ndarray) -> np.ndarray:
        p = self.projection(theta)
        py = p @ self.y
        quadratic = [[py @ a @ p @ b @ py for b in self.basis] for a in self.basis]
        return np.array(quadratic) - self.expected(theta)

    def maximum(self) -> np.ndarray:
        """Return the best of several bounded searches, zeros set, the rest polished."""
        s2, r = float(np.var(self.y)), len(self.basis)
        bounds = [(0.0, None)] * (r - 1) + [(1e-6 * s2, None)]
        starts = [np.full(r, s2 / r), np.array([0.01 * s2] * (r - 1) + [s2])]
        starts += [np.array([s2 if k == j else 0.01 * s2 for k in range(r)]) for j in range(r - 1)]
        found = [
            optimize.minimize(
                lambda t: -self.loglik(t), s, jac=lambda t: -self.score(t), bounds=bounds,
                method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000},
            )
            for s in starts
        ]  # fmt: skip
        theta = min(found, key=lambda f: f.fun).x
        theta[theta < 1e-7 * s2] = 0.0
        free = np.flatnonzero(theta > 0)
        for _ in range(20):
            pick = np.ix_(free, free)
            theta[free] += np.linalg.solve(self.observed(theta)[pick], self.score(theta)[free])
        return theta

    def beta(self, theta: np.ndarray) -> np.ndarray:
        return self.phi(theta) @ self.x.T @ self.v_inverse(theta) @ self.y

    def kr_pieces(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return W, the derivatives P_r of X'V^-1 X and the adjusted covariance (K&R, eq. 3)."""
        vi, phi = self.v_inverse(theta), self.phi(theta)
        w = np.linalg.inv(self.expected(theta))
        p = np.array([-self.x.T @ vi @ g @ vi @ self.x for g in self.basis])
        middle = np.zeros_like(phi)
        for r, a in enumerate(self.basis):
            for s, b in enumerate(self.basis):
                q = self.x.T @ vi @ a @ vi @ b @ vi @ self.x
                middle += w[r, s] * (q - p[r] @ phi @ p[s])
        return w, p, phi + 2 * phi @ middle @ phi

    def kenward_roger(self, theta: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """Return scaled F, df and p of rows @ beta = 0 (Kenward & Roger 1997, section 3)."""
        w, p, adjusted = self.kr_pieces(theta)
        phi, ell = self.phi(theta), len(rows)
        big = rows.T @ np.linalg.inv(rows @ phi @ rows.T) @ rows
        a1 = a2 = 0.0
        for r in range(len(w)):
            for s in range(len(w)):
                left, right = big @ phi @ p[r] @ phi, big @ phi @ p[s] @ phi
                a1 += w[r, s] * np.trace(left) * np.trace(right)
                a2 += w[r, s] * np.trace(left @ right)
        b = (a1 + 6 * a2) / (2 * ell)
        g = ((ell + 1) * a1 - (ell + 4) * a2) / ((ell + 2) * a2)
        d = 3 * ell + 2 * (1 - g)
        c1, c2, c3 = g / d, (ell - g) / d, (ell + 2 - g) / d
        e = 1 / (1 - a2 / ell)
        v = (2 / ell) * (1 + c1 * b) / ((1 - c2 * b) ** 2 * (1 - c3 * b))
        rho = v / (2 * e**2)
        df = 4 + (ell + 2) / (ell * rho - 1)
        scale = df / (e * (df - 2))
        effect = rows @ self.beta(theta)
        f = float(scale * effect @ np.linalg.inv(rows @ adjusted @ rows.T) @ effect / ell)
        return {"F": f, "df": float(df), "p": float(stats.f.sf(f, ell, df))}

    def satterthwaite_df(self, theta: np.ndarray, row: np.ndarray) -> float:
        """Return 2 v^2 / Var(v) for v = row' Phi row; components at 0 are left out of the model."""
        free = np.flatnonzero(theta > 0)
        vi, phi = self.v_inverse(theta), self.phi(theta)
        half = vi @ self.x @ phi @ row
        gradient = np.array([half @ self.basis[r] @ half for r in free])
        w = np.linalg.inv(self.observed(theta)[np.ix_(free, free)])
        return float(2 * (row @ phi @ row) ** 2 / (gradient @ w @ gradient))

    def satterthwaite_f(self, theta: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """Return F, df and p by the eigenvectors of the covariance (Fai & Cornelius 1996)."""
        covariance = rows @ self.phi(theta) @ rows.T
        values, vectors = np.linalg.eigh(covariance)
        nu = np.array([self.satterthwaite_df(theta, v @ rows) for v in vectors.T])
        t2 = (vectors.T @ rows @ self.beta(theta)) ** 2 / values
        e, ell = float(np.sum(nu / (nu - 2))), len(rows)
        assert (nu > 2).all()
        df = 2 * e / (e - ell)
        f = float(t2.sum() / ell)
        return {"F": f, "df": df, "p": float(stats.f.sf(f, ell, df))}


def indicator(*columns: pd.Series) -> np.ndarray:
    """Return the matrix whose entry is 1 where two rows have the same, not missing, levels."""
    same = np.ones((len(columns[0]), len(columns[0])))
    for c in columns:
        code = pd.factorize(c)[0]
        same *= (code[:, None] == code[None, :]) & (code[:, None] >= 0)
    return same


def crossover_frame(seed: int, sd: tuple[float, ...], subjects: int = 9) -> pd.DataFrame:
    """Return a synthetic two-period crossover with two times per period and rows lost.

    ``sd`` are the deviations of subject, subject:period, subject:time and residual.
    """
    rng = np.random.default_rng(seed)
    person = rng.normal(0, sd[0], subjects)
    visit, response = rng.normal(0, sd[1], (subjects, 2)), rng.normal(0, sd[2], (subjects, 2))
    rows = []
    for i in range(subjects):
        sequence = "AB" if i % 3 else "BA"
        for p in range(2):
            for t in range(2):
                mean = 10 + 1.5 * (sequence[p] == "B") * t - 2.0 * t + 0.5 * p
                y = mean + person[i] + visit[i, p] + response[i, t] + rng.normal(0, sd[3])
                rater = f"r{(i + 2 * p + t) % 4}"
                rows.append(
                    (f"s{i}", sequence, str(p + 1), sequence[p], "ab"[t], "FM"[i % 2], rater, y)
                )
    names = ["subject", "sequence", "period", "treatment", "time", "sex", "rater", "y"]
    frame = pd.DataFrame(rows, columns=names)
    return frame[rng.random(len(frame)) > 0.12].reset_index(drop=True)


@pytest.fixture(scope="session")
def dense() -> type[Dense]:
    return Dense


@pytest.fixture(scope="session")
def same_group():
    return indicator


@pytest.fixture(scope="session")
def crossover():
    return crossover_frame
