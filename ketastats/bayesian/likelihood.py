"""A family together with what it needs to know of the rows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ketastats.bayesian.families import FAMILIES, RHO, Family, Own, cut_points
from ketastats.study.model import Scale


def _none() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Likelihood:
    """A family and its rows.

    Attributes
    ----------
    family : Family
    trials : numpy.ndarray of int, shape (rows,)
        Empty for other families than the binomial ones.
    log_exposure : numpy.ndarray, shape (rows,)
        Empty for other families than counts.
    scale : Scale or None
        The bounds of a censored or truncated outcome.
    residual : str
        ``id`` (one residual SD), ``by`` (one per group) or ``ar1``; the last two Gaussian.
    groups : tuple of str
        Names of the residual SDs; none in a family without.
    level : numpy.ndarray of int, shape (rows,)
        Residual SD of every row, for ``by``.
    previous, gap : numpy.ndarray of int, shape (rows,)
        For ``ar1``: the row before it in its series, -1 for none, and the levels between them.
    scores : numpy.ndarray, shape (categories,)
        For ordered categories: what each counts in a mean, rising.
    categories : tuple of str
        Their names.
    """

    family: Family
    trials: np.ndarray = field(default_factory=_none)
    log_exposure: np.ndarray = field(default_factory=lambda: np.empty(0))
    scale: Scale | None = None
    residual: str = "id"
    groups: tuple[str, ...] = ("residual",)
    level: np.ndarray = field(default_factory=_none)
    previous: np.ndarray = field(default_factory=_none)
    gap: np.ndarray = field(default_factory=_none)
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))
    categories: tuple[str, ...] = ()

    @property
    def low(self) -> float:
        """Lower bound; minus infinity for none."""
        none = self.scale is None or self.scale.min is None
        return -np.inf if none else float(self.scale.min)  # type: ignore[union-attr, arg-type]

    @property
    def high(self) -> float:
        """Upper bound; infinity for none."""
        none = self.scale is None or self.scale.max is None
        return np.inf if none else float(self.scale.max)  # type: ignore[union-attr, arg-type]

    @property
    def cuts(self) -> tuple[str, ...]:
        """Names of the cut points between the categories."""
        return tuple(f"cut {a}|{b}" for a, b in itertools.pairwise(self.categories))

    @property
    def own(self) -> tuple[Own, ...]:
        """Parameters beside coefficients and SDs."""
        serial = (RHO,) if self.residual == "ar1" else ()
        return (*self.family.own, *serial, *((cut_points(len(self.scores)),) if self.cuts else ()))

    @property
    def names(self) -> tuple[str, ...]:
        """Residual SDs, then the family's own parameters, as in the tables."""
        return (
            *(f"{self.family.residual} {g}" for g in self.groups),
            *(name for p in self.own for name in self._columns(p)),
        )

    def _columns(self, parameter: Own) -> tuple[str, ...]:
        return self.cuts if parameter.role == "shares" else (parameter.name,)

    @property
    def title(self) -> str:
        """What the model is called."""
        if self.family.name == "gaussian":
            return "linear mixed model"
        link = "" if self.family.link == "identity" else f", {self.family.link} link"
        return f"mixed model ({self.family.name}{link})"

    def unpack(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Return parameters by name from an array of shape (..., parameters).

        ``sigma`` has the shape (...), or (..., groups) for a residual SD per group; ``cutpoints``
        (..., cut points).
        """
        out: dict[str, np.ndarray] = {}
        k = len(self.groups)
        if k:
            out["sigma"] = values[..., :k] if self.residual == "by" else values[..., 0]
        for p in self.own:
            width = len(self._columns(p))
            out[p.name] = values[..., k : k + width] if p.role == "shares" else values[..., k]
            k += width
        return out

    def reported(self, values: np.ndarray) -> np.ndarray:
        """Turn sampled variables into the parameters reported, shape (..., parameters)."""
        out, k = values.copy(), len(self.groups)
        for p in self.own:
            width = len(self._columns(p))
            out[..., k : k + width] = p.reported(values[..., k : k + width])
            k += width
        return out

    def working(self, y: np.ndarray) -> np.ndarray:
        """Return the outcome on the scale of the linear predictor, for starting values.

        Half a success and half a failure, or half a count, are added, so that none is infinite; of
        a category it is the log odds of its middle rank.
        """
        if self.cuts:
            category = np.searchsorted(self.scores, y)
            share = np.bincount(category, minlength=len(self.scores)) / len(y)
            rank = (np.cumsum(share) - share / 2)[category]
            return np.asarray(np.log(rank) - np.log1p(-rank))
        if self.family.link == "log":
            return np.asarray(np.log(y + 0.5) - self.log_exposure)
        if self.family.link == "logit" and len(self.trials):
            return np.asarray(np.log(y + 0.5) - np.log(self.trials - y + 0.5))
        return np.asarray(np.log(y) - np.log1p(-y)) if self.family.link == "logit" else y

    @property
    def facts(self) -> Mapping[str, Any]:
        """What decides the posterior beside arrays and priors."""
        bounds = [None if np.isinf(b) else b for b in (self.low, self.high)]
        facts = {"family": self.family.name, "bounds": bounds, "residual": self.residual,
                 "groups": len(self.groups)}  # fmt: skip
        return facts | ({"scores": self.scores.tolist()} if self.cuts else {})

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays that decide the posterior."""
        return (self.trials, self.log_exposure, self.level, self.previous, self.gap)


GAUSSIAN = Likelihood(FAMILIES["gaussian"])
"""One residual SD."""
