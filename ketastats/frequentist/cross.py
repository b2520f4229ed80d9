"""X'MX summed over blocks, in whichever form costs less."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class CrossProducts:
    """Sum over blocks of X_k' M X_k, for any symmetric M per pattern.

    Either from the sums of x_a x_b' (cheap for small blocks), or from the distinct X blocks of each
    pattern, weighted by how often they occur (cheap for large blocks of designed experiments, where
    subjects of one arm have the same X). The cheaper one is kept.

    Attributes
    ----------
    sums : numpy.ndarray, shape (P * m * m, q * q)
        Empty when ``blocks`` serve.
    blocks : tuple of numpy.ndarray, shape (m, u * q) each
        Per pattern its u distinct X blocks side by side, each times sqrt(count).
    stacked : tuple of numpy.ndarray, shape (u * m, q) each
        The same blocks on top of each other.
    """

    sums: np.ndarray
    blocks: tuple[np.ndarray, ...]
    stacked: tuple[np.ndarray, ...]

    def contract(self, m: np.ndarray) -> np.ndarray:
        """Return sum_k X_k' M X_k over all patterns.

        Parameters
        ----------
        m : numpy.ndarray, shape (K, P, m, m)
            K symmetric matrices per pattern.

        Returns
        -------
        numpy.ndarray, shape (K, q * q)
        """
        if not self.blocks:
            return m.reshape(len(m), -1) @ self.sums
        k, rows, q = len(m), m.shape[-1], self.stacked[0].shape[1]
        total = np.zeros((k, q * q))
        for p, (side, stack) in enumerate(zip(self.blocks, self.stacked, strict=True)):
            u = side.shape[1] // q
            mx = (m[:, p].reshape(k * rows, rows) @ side).reshape(k, rows, u, q)
            mx = mx.transpose(0, 3, 2, 1).reshape(k * q, u * rows)
            total += (mx @ stack).reshape(k, q * q)
        return total


def cross_products(x: list[np.ndarray]) -> CrossProducts:
    """Choose the cheaper form for the X blocks of each pattern, arrays of shape (blocks, m, q)."""
    m, q = x[0].shape[1:]
    distinct = [np.unique(b.reshape(len(b), -1), axis=0, return_counts=True) for b in x]
    by_blocks = sum(len(d) * (m * m * q + m * q * q) for d, _ in distinct)
    if by_blocks < len(x) * m * m * q * q:
        weighted = [(d * np.sqrt(c)[:, None]).reshape(-1, m, q) for d, c in distinct]
        return CrossProducts(
            np.empty((0, 0)),
            tuple(w.transpose(1, 0, 2).reshape(m, -1) for w in weighted),
            tuple(w.reshape(-1, q) for w in weighted),
        )
    sums = []
    for b in x:
        flat = b.reshape(len(b), m * q)
        cross = (flat.T @ flat).reshape(m, q, m, q).transpose(0, 2, 1, 3)
        sums.append(cross.reshape(m * m, q * q))
    return CrossProducts(np.concatenate(sums), (), ())
