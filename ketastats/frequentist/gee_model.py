"""A fitted population-averaged model and what a reader asks of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ketastats.frequentist.askable import Askable, Records, make_records
from ketastats.frequentist.gee_answers import DDF, cells_of, evaluate, infer
from ketastats.frequentist.gee_fit import GeeFit
from ketastats.frequentist.inference import Asked, Inference
from ketastats.problem.build import Problem
from ketastats.problem.strata import Units
from ketastats.study.model import Estimand

FEW = 4.0
"""Degrees of freedom between units below which a reader is warned."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PopulationModel(Askable):
    """A fitted population-averaged model; made by :func:`~ketastats.frequentist.gee.gee`.

    Attributes
    ----------
    problem : Problem
        The matrices, with the unit as the one random term.
    fit : GeeFit
    covariance : str
        Of the coefficients: bias-reduced, kauermann-carroll or robust.
    ddf : str
        Degrees of freedom: between, satterthwaite or z.
    working : str
        Working correlation: exchangeable or independence.
    level : float
        Level of the intervals.
    units : Units
        Units of the table, for the check that the right one was named.
    """

    problem: Problem
    fit: GeeFit
    covariance: str
    ddf: str
    working: str
    level: float
    units: Units

    @property
    def status(self) -> str:
        """One of ok, boundary, unconverged, failed."""
        return self.fit.status

    @property
    def family(self) -> str:
        """Name of the outcome family."""
        return self.fit.rows.family.name

    @property
    def unit(self) -> str:
        """What is independent."""
        return self.problem.random[0].term.name

    @property
    def correlation(self) -> float:
        """Working correlation of two rows of a unit; nan without an answer."""
        return self.fit.solution.correlation if self.fit.made is not None else float("nan")

    @property
    def scale(self) -> float:
        """Mean squared Pearson residual: 1 for pure binomial or Poisson rows, more with extra."""
        return self.fit.solution.scale if self.fit.made is not None else float("nan")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know before using the numbers."""
        out = [*self.problem.notes, *self.fit.reasons]
        if self.fit.made is not None and self.fit.between < FEW:
            out.append(
                f"{self.fit.units} units of {self.unit} leave {self.fit.between:.0f} degrees of "
                "freedom: the standard errors of so few units are themselves uncertain"
            )
        return tuple(out + self._outer(self._interventions()))

    def _outer(self, factors: Sequence[str]) -> list[str]:
        """Say which factors vary between larger units than the one named."""
        codes, group = dict(self.units.factors), self.problem.random[0].group
        out = []
        for factor in [f for f in factors if f in codes]:
            for name, outer in zip(self.units.names, self.units.codes, strict=True):
                inside = outer >= 0
                count = _groups(outer[inside])
                constant = _groups(outer[inside], codes[factor][inside]) == count
                if constant and count < _groups(outer[inside], group[inside]):
                    out.append(
                        f"{factor} varies between the {count} units of {name}, and the model takes "
                        f"the units of {self.unit} within them for independent: write (1 | {name})"
                    )
        return out

    def _coefficients(self) -> tuple[Inference | None, str]:
        if self.fit.made is None:
            return None, "t"
        beta = self.fit.solution.beta
        no, yes = np.zeros(len(beta), dtype=bool), np.ones(len(beta), dtype=bool)
        return infer(self.fit, Asked(beta, np.eye(len(beta)), no, yes), self.ddf, self.level), "t"

    def _records(self, asked: Sequence[Estimand], scale: str, cover: float) -> Records:
        cells = cells_of(self.problem, self.fit, asked, scale)
        numbers = None
        if self.fit.made is not None:
            numbers = infer(self.fit, evaluate(cells, self.fit), self.ddf, cover)
        method = f"{self.covariance}, {DDF[self.ddf]}"
        if self.fit.rows.family.link != "identity":
            method += f", {scale} scale"
        base = {
            "engine": "gee",
            "method": method,
            "status": self.status,
            "notes": "; ".join(self.fit.reasons),
        }
        outer = ["; ".join(self._outer([f for f, _ in e.contrast])) for e in asked]
        flat = "the outcome does not vary between the units asked about: there is no standard error"
        return make_records(self.problem, asked, cells.reasons, numbers, base, outer, flat)

    def _head(self) -> str:
        family = self.fit.rows.family
        return (
            f"Population-averaged {self.family} model ({family.link}) by GEE: "
            f"{self.problem.outcome} ~ {self.problem.formula}"
        )

    def _lines(self) -> tuple[list[str], list[str]]:
        above = (
            f"{len(self.problem.y)} rows of {self.fit.units} independent units of {self.unit}; "
            f"{self.working} working correlation; {self.covariance} covariance; {DDF[self.ddf]}"
        )
        if self.fit.made is None:
            return [above], []
        under = f"scale {self.scale:.4g}, working correlation {self.correlation:.4g}"
        return [above], [under]


def _groups(*codes: np.ndarray) -> int:
    return int(np.unique(np.stack(codes), axis=1).shape[1])
