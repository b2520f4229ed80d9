"""A family together with what it needs to know of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ketastats.bayesian.families import FAMILIES, RHO, Family, Own
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
    def own(self) -> tuple[Own, ...]:
        """Parameters beside coefficients and SDs."""
        return (*self.family.own, *((RHO,) if self.residual == "ar1" else ()))

    @property
    def names(self) -> tuple[str, ...]:
        """Residual SDs, then the family's own parameters, as in the tables."""
        return (
            *(f"{self.family.residual} {g}" for g in self.groups),
            *(p.name for p in self.own),
        )

    @property
    def title(self) -> str:
        """What the model is called."""
        if self.family.name == "gaussian":
            return "linear mixed model"
        link = "" if self.family.link == "identity" else f", {self.family.link} link"
        return f"mixed model ({self.family.name}{link})"

    def unpack(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Return parameters by name from an array of shape (..., parameters).

        ``sigma`` has the shape (...), or (..., groups) for a residual SD per group.
        """
        out: dict[str, np.ndarray] = {}
        k = len(self.groups)
        if k:
            out["sigma"] = values[..., :k] if self.residual == "by" else values[..., 0]
        return out | {p.name: values[..., k + i] for i, p in enumerate(self.own)}

    def reported(self, values: np.ndarray) -> np.ndarray:
        """Turn sampled variables into the parameters reported, shape (..., parameters)."""
        out, k = values.copy(), len(self.groups)
        for i, parameter in enumerate(self.own):
            out[..., k + i] = parameter.reported(values[..., k + i])
        return out

    def working(self, y: np.ndarray) -> np.ndarray:
        """Return the outcome on the scale of the linear predictor, for starting values.

        Half a success and half a failure, or half a count, are added, so that none is infinite.
        """
        if self.family.link == "log":
            return np.asarray(np.log(y + 0.5) - self.log_exposure)
        if self.family.link == "logit" and len(self.trials):
            return np.asarray(np.log(y + 0.5) - np.log(self.trials - y + 0.5))
        return np.asarray(np.log(y) - np.log1p(-y)) if self.family.link == "logit" else y

    @property
    def facts(self) -> Mapping[str, Any]:
        """What decides the posterior beside arrays and priors."""
        bounds = [None if np.isinf(b) else b for b in (self.low, self.high)]
        return {"family": self.family.name, "bounds": bounds, "residual": self.residual,
                "groups": len(self.groups)}  # fmt: skip

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays that decide the posterior."""
        return (self.trials, self.log_exposure, self.level, self.previous, self.gap)


GAUSSIAN = Likelihood(FAMILIES["gaussian"])
"""One residual SD."""
