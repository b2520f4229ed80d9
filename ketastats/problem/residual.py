r"""Residual covariance structures over the levels of one factor, with exact derivatives.

A structure gives the covariance C of the k levels (visits, or the groups of ``by``); a residual
between two rows of one subject is C at their levels. Parameters are SAS's: variances and
covariances where C is linear in them (un, cs, toep, by), variances and correlations where SAS has
correlations (csh, ar1, arh1, toeph). Second derivatives serve Kenward-Roger from the observed
information.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ketastats.core.errors import DataError, FormulaError
from ketastats.study.lookup import suggestion

LINEAR = ("id", "by", "cs", "toep", "un")
CORRELATED = ("csh", "ar1", "arh1", "toeph")

BOUNDED, POSITIVE, FREE = 0, 1, 2
"""Kinds of a parameter: a variance that may be zero, a variance that may not, a covariance or
correlation."""

_CALL = re.compile(r"\s*([a-z0-9]+)\s*\(\s*(\w+)\s*\|\s*(\w+)\s*\)\s*$")
_BY = re.compile(r"\s*by\s+(\w+)\s*$")


@dataclass(frozen=True, slots=True)
class ResidualSpec:
    """A structure as written: ``by sex`` or ``ar1(visit | subject)``."""

    kind: str
    factor: str
    group: str

    def __str__(self) -> str:
        if self.kind == "id":
            return "homogeneous"
        return (
            f"by {self.factor}"
            if self.kind == "by"
            else f"{self.kind}({self.factor} | {self.group})"
        )


def parse_residual(text: str | None) -> ResidualSpec:
    """Read a residual structure.

    Parameters
    ----------
    text : str or None
        None for one variance, ``"by sex"`` for a variance per level, or a structure over an ordered
        factor within subjects: ``cs``, ``csh``, ``ar1``, ``arh1``, ``toep``, ``toeph``, ``un``,
        written ``"un(visit | subject)"``.

    Raises
    ------
    FormulaError

    Examples
    --------
    >>> str(parse_residual("ar1( visit|subject )"))
    'ar1(visit | subject)'
    """
    if text is None:
        return ResidualSpec("id", "", "")
    if match := _BY.match(text):
        return ResidualSpec("by", match.group(1), "")
    known = [k for k in (*LINEAR, *CORRELATED) if k not in ("id", "by")]
    match = _CALL.match(text)
    if match is None or match.group(1) not in known:
        word = text.split("(")[0].strip()
        raise FormulaError(
            f"cannot read the residual structure {text!r}",
            mend=f'write "by sex" or "un(visit | subject)"; {suggestion(word, known)}',
        )
    return ResidualSpec(match.group(1), match.group(2), match.group(3))


@dataclass(frozen=True, slots=True, eq=False)
class ResidualStructure:
    """A structure over k levels.

    Attributes
    ----------
    kind : str
    levels : tuple of str
    names : tuple of str
        Parameter names.
    kinds : tuple of int
        BOUNDED, POSITIVE or FREE per parameter.
    """

    kind: str
    levels: tuple[str, ...]
    names: tuple[str, ...]
    kinds: tuple[int, ...]

    @property
    def units(self) -> tuple[bool, ...]:
        """Whether each parameter is in squared outcome units; correlations are not."""
        return tuple(k == POSITIVE or self.linear for k in self.kinds)

    @property
    def linear(self) -> bool:
        """Whether C is linear in the parameters."""
        return self.kind in LINEAR

    def start(self, variance: float) -> np.ndarray:
        """Return starting values: equal variances, no correlation."""
        return np.array([variance if kind == POSITIVE else 0.0 for kind in self.kinds])

    def basis(self) -> np.ndarray:
        """Return the constant derivatives of a linear structure, shape (R, k, k)."""
        k = len(self.levels)
        i, j = np.indices((k, k))
        if self.kind in ("id", "by"):
            return np.array([np.diag((np.arange(k) == a).astype(float)) for a in range(k)])
        if self.kind == "cs":
            return np.array([np.ones((k, k)), np.eye(k)])
        if self.kind == "toep":
            return np.array([(np.abs(i - j) == d).astype(float) for d in range(k)])
        pairs = [(a, b) for a in range(k) for b in range(a, k)]
        return np.array(
            [((i == a) & (j == b)) | ((i == b) & (j == a)) for a, b in pairs], dtype=float
        )

    def evaluate(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        r"""Return C, its first and its second derivatives.

        For the correlated kinds :math:`C_{ij} = \prod_l v_l^{e_{ijl}} R_{ij}(\rho)` with
        :math:`e_{ijl}` half for each of i, j that is l (1 throughout with one variance).

        Parameters
        ----------
        theta : numpy.ndarray, shape (B, R)

        Returns
        -------
        c : numpy.ndarray, shape (B, k, k)
        d : numpy.ndarray, shape (B, R, k, k)
        dd : numpy.ndarray, shape (B, R, R, k, k)
        """
        b, r = theta.shape
        k = len(self.levels)
        if self.linear:
            basis = self.basis()
            c = np.einsum("br,rij->bij", theta, basis)
            return c, np.broadcast_to(basis, (b, r, k, k)), np.zeros((b, r, r, k, k))
        exponents = _exponents(self.kind, k)
        n_v = len(exponents)
        v, rho = theta[:, :n_v], theta[:, n_v:]
        scale = np.exp(np.einsum("bl,lij->bij", np.log(np.maximum(v, 1e-300)), exponents))
        corr, d_corr, dd_corr = _correlation(self.kind, rho, k)
        ratio = exponents[None] / v[:, :, None, None]  # e_l / v_l
        d = np.concatenate(
            [scale[:, None] * ratio * corr[:, None], scale[:, None] * d_corr], axis=1
        )
        dd = np.zeros((b, r, r, k, k))
        outer = ratio[:, :, None] * ratio[:, None, :]
        own = exponents[None] / v[:, :, None, None] ** 2
        for a in range(n_v):
            outer[:, a, a] -= own[:, a]
        dd[:, :n_v, :n_v] = (scale * corr)[:, None, None] * outer
        cross = scale[:, None, None] * ratio[:, :, None] * d_corr[:, None]
        dd[:, :n_v, n_v:] = cross
        dd[:, n_v:, :n_v] = cross.transpose(0, 2, 1, 3, 4)
        dd[:, n_v:, n_v:] = scale[:, None, None] * dd_corr
        return scale * corr, d, dd


def residual_structure(kind: str, levels: Sequence[str]) -> ResidualStructure:
    """Return the structure of a kind over given levels."""
    k, names, lags = len(levels), list(levels), range(1, len(levels))
    if kind == "id":
        return ResidualStructure(kind, ("",), ("residual",), (POSITIVE,))
    if kind == "by":
        own = tuple(f"residual {n}" for n in names)
        return ResidualStructure(kind, tuple(names), own, (POSITIVE,) * k)
    if kind == "cs":
        return ResidualStructure(kind, tuple(names), ("CS", "residual"), (FREE, POSITIVE))
    if kind == "toep":
        toep = ("residual", *(f"TOEP({d + 1})" for d in lags))
        return ResidualStructure(kind, tuple(names), toep, (POSITIVE,) + (FREE,) * (k - 1))
    if kind == "un":
        pairs = [(a, b) for a in range(k) for b in range(a, k)]
        un = tuple(names[a] if a == b else f"{names[a]}, {names[b]}" for a, b in pairs)
        kinds = tuple(POSITIVE if a == b else FREE for a, b in pairs)
        return ResidualStructure(kind, tuple(names), un, kinds)
    variances = ("residual",) if kind == "ar1" else tuple(names)
    rho = tuple(f"rho {d}" for d in lags) if kind == "toeph" else ("rho",)
    kinds = (POSITIVE,) * len(variances) + (FREE,) * len(rho)
    return ResidualStructure(kind, tuple(names), variances + rho, kinds)


def _exponents(kind: str, k: int) -> np.ndarray:
    """Return the exponents of the variances in every covariance, shape (variances, k, k)."""
    if kind == "ar1":
        return np.ones((1, k, k))
    i, j = np.indices((k, k))
    return np.array([0.5 * (i == a) + 0.5 * (j == a) for a in range(k)])


def _correlation(kind: str, rho: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return R(rho) and its derivatives: (B, k, k), (B, r, k, k), (B, r, r, k, k)."""
    b, r = rho.shape
    i, j = np.indices((k, k))
    lag = np.abs(i - j)
    if kind in ("ar1", "arh1"):
        x = rho[:, 0][:, None, None]
        first = np.where(lag > 0, lag * x ** np.maximum(lag - 1, 0), 0.0)
        second = np.where(lag > 1, lag * (lag - 1) * x ** np.maximum(lag - 2, 0), 0.0)
        return x**lag, first[:, None], second[:, None, None]
    if kind == "csh":
        masks = (lag > 0)[None].astype(float)
    else:
        masks = np.array([lag == d for d in range(1, k)], dtype=float)
    corr = np.eye(k) + np.einsum("br,rij->bij", rho, masks)
    return corr, np.broadcast_to(masks, (b, r, k, k)), np.zeros((b, r, r, k, k))


@dataclass(frozen=True, slots=True, eq=False)
class ResidualDesign:
    """A residual structure over the rows.

    Attributes
    ----------
    spec : ResidualSpec
    structure : ResidualStructure
    level : numpy.ndarray of int, shape (rows,)
        Level of the structure's factor in every row.
    group : numpy.ndarray of int, shape (rows,)
        Rows of one group are correlated; -1 where a row is correlated with itself only.
    """

    spec: ResidualSpec
    structure: ResidualStructure
    level: np.ndarray
    group: np.ndarray

    def same(self, rows: np.ndarray) -> np.ndarray:
        """Return 1 where two of the rows may be correlated, shape (m, m)."""
        g = self.group[rows]
        return np.eye(len(rows)) if (g < 0).any() else (g[:, None] == g[None, :]).astype(float)


def residual_design(spec: ResidualSpec, data: pd.DataFrame) -> ResidualDesign:
    """Lay a residual structure out over the rows of a table.

    Raises
    ------
    DataError
        When a subject has two rows at one level, or the factor has one level.
    """
    n = len(data)
    alone = np.full(n, -1)
    if spec.kind == "id":
        return ResidualDesign(spec, residual_structure("id", ("",)), np.zeros(n, dtype=int), alone)
    level, levels = _codes(data, spec.factor)
    if len(levels) < 2:
        raise DataError(f"the residual factor {spec.factor!r} has one level", where=spec.factor)
    structure = residual_structure(spec.kind, levels)
    if spec.kind == "by":
        return ResidualDesign(spec, structure, level, alone)
    group, _ = _codes(data, spec.group)
    seen = group * len(levels) + level
    if len(np.unique(seen)) < n:
        twice = int(np.flatnonzero(np.bincount(seen) > 1)[0])
        raise DataError(
            f"a {spec.group} has two rows at {spec.factor} = {levels[twice % len(levels)]}",
            where=spec.factor,
            mend=f"name a factor that tells the rows of a {spec.group} apart",
        )
    return ResidualDesign(spec, structure, level, group)


def _codes(data: pd.DataFrame, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return codes and levels of a column in their order: categories, else sorted values."""
    if name not in data.columns:
        raise DataError(
            f"there is no column {name!r} in the data",
            mend=suggestion(name, [str(c) for c in data.columns]),
        )
    category = data[name].astype("category").cat.remove_unused_categories()
    if category.isna().any():
        raise DataError(f"the column {name!r} has missing values", where=name)
    return category.cat.codes.to_numpy(dtype=np.int64), tuple(
        str(v) for v in category.cat.categories
    )
