"""A fitted population-averaged model and what a reader asks of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError
from ketastats.frequentist.adjust import adjusted, simultaneous_factor
from ketastats.frequentist.gee_answers import DDF, SCALES, Asked, estimate_rows, infer
from ketastats.frequentist.gee_fit import GeeFit
from ketastats.frequentist.model import INTERVENTIONS
from ketastats.problem.build import Problem
from ketastats.problem.estimates import estimates_frame
from ketastats.problem.questions import as_estimands, mean_estimands, pair_estimands
from ketastats.problem.strata import Units
from ketastats.study.lookup import suggestion

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.study.model import Estimand

FEW = 4.0
"""Degrees of freedom between units below which a reader is warned."""


@dataclass(frozen=True, slots=True, eq=False)
class PopulationModel:
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
        factors = tuple(n for n, _ in self.problem.fixed.factors if n in INTERVENTIONS)
        return tuple(out + self._outer(factors))

    def _outer(self, factors: Sequence[str]) -> list[str]:
        """Say which factors vary between larger units than the one named."""
        codes, group = dict(self.units.factors), self.problem.random[0].group
        out = []
        for factor in factors:
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

    @property
    def coefficients(self) -> pd.DataFrame:
        """Coefficients on the link scale by term: estimate, se, df, t, p, ci_low, ci_high."""
        import pandas as pd

        eye = np.eye(len(self.problem.names))
        index = pd.Index(self.problem.names, name="term")
        columns = ["estimate", "se", "df", "t", "p", "ci_low", "ci_high"]
        if self.fit.made is None:
            return pd.DataFrame(np.nan, index=index, columns=columns)
        no, yes = np.zeros(len(eye), dtype=bool), np.ones(len(eye), dtype=bool)
        numbers = infer(self.fit, Asked(self.fit.solution.beta, eye, no, yes), self.ddf, self.level)
        names = ["estimate", "se", "df", "statistic", "p", "ci_low", "ci_high"]
        values = dict(zip(columns, (getattr(numbers, n) for n in names), strict=True))
        frame = pd.DataFrame(values, index=index)
        frame.attrs["ddf"] = self.ddf
        return frame

    def contrast(
        self,
        contrast: Mapping[str, str] | None = None,
        *,
        within: Mapping[str, str] | None = None,
        weights: Mapping[str, Mapping[str, float]] | None = None,
        estimands: Sequence[Estimand] | None = None,
        scale: str = "link",
        adjust: str | None = None,
    ) -> pd.DataFrame:
        """Answer estimands.

        Parameters
        ----------
        contrast, within, weights, estimands
            As in :meth:`.MixedModel.contrast`.
        scale : str
            ``link`` (log odds, log counts) or ``natural`` (shares, counts): the weights over the
            cells of the reference grid are then applied to their means.
        adjust : str, optional
            ``holm`` or ``bonferroni`` over the estimands asked for.

        Returns
        -------
        pandas.DataFrame
            The tidy Estimates table, one row per estimand. A single mean on the natural scale has
            an interval inside the range of the outcome and no test.

        Raises
        ------
        NotEstimable
            For a factor that the model does not contain.

        Examples
        --------
        >>> import pandas as pd
        >>> from ketastats.frequentist.gee import gee
        >>> data = pd.DataFrame({"mouse": range(8), "drug": list("AAAABBBB"),
        ...     "failed": [12, 9, 14, 7, 4, 6, 2, 5], "trials": 15})
        >>> fit = gee("failed ~ drug + (1|mouse)", data, family="binomial", size="trials")
        >>> table = fit.contrast({"drug": "B - A"}, scale="natural")
        >>> round(table["estimate"].item(), 4) == round((17 - 42) / 60, 4)
        True
        """
        asked = as_estimands(self.problem, contrast, within, weights, estimands)
        return self._answer(asked, scale, adjust)

    def pairs(
        self,
        factor: str,
        *,
        within: Mapping[str, str] | None = None,
        scale: str = "link",
        adjust: str | None = "holm",
    ) -> pd.DataFrame:
        """Compare all levels of a factor two by two.

        Parameters
        ----------
        factor : str
        within : mapping of str to str, optional
        scale : str
            ``link`` or ``natural``.
        adjust : str or None
            ``tukey``, ``holm``, ``bonferroni`` or None.

        Returns
        -------
        pandas.DataFrame
            The Estimates table with ``p_adjusted``.
        """
        asked = pair_estimands(self.problem, factor, within)
        family = len(dict(self.problem.fixed.factors)[factor])
        return self._answer(asked, scale, adjust, family)

    def means(
        self, *factors: str, within: Mapping[str, str] | None = None, scale: str = "link"
    ) -> pd.DataFrame:
        """Return marginal means: cells of the named factors, the others averaged equally.

        Parameters
        ----------
        *factors : str
        within : mapping of str to str, optional
        scale : str
            ``link``, or ``natural``: means of the cells' shares or counts, not the inverse link of
            their mean, with an interval inside the range of the outcome.

        Returns
        -------
        pandas.DataFrame
            Indexed by the factors: estimate, se, df, ci_low, ci_high, status. Covariates are held
            at their means over the rows, an exposure at 1.
        """
        import pandas as pd

        cells, asked = mean_estimands(self.problem, factors, within)
        frame = self._answer(asked, scale, None)
        out = frame[["estimate", "se", "df", "ci_low", "ci_high", "status"]]
        out.index = pd.MultiIndex.from_tuples(cells, names=list(factors))
        return out

    def _answer(
        self, asked: Sequence[Estimand], scale: str, adjust: str | None, family: int = 0
    ) -> pd.DataFrame:
        if scale not in SCALES:
            raise DataError(f"there is no scale {scale!r}", mend=suggestion(scale, SCALES))
        method = f"{self.covariance}, {DDF[self.ddf]}"
        if self.fit.rows.family.link != "identity":
            method += f", {scale} scale"
        records = estimate_rows(
            self.problem, self.fit, asked, method=method, ddf=self.ddf, level=self.level,
            scale=scale,
        )  # fmt: skip
        for record, estimand in zip(records, asked, strict=True):
            notes = [str(record["notes"]), *self._outer([f for f, _ in estimand.contrast])]
            record["notes"] = "; ".join(n for n in notes if n)
        frame = estimates_frame(records)
        if adjust is not None:
            frame["p_adjusted"] = adjusted(frame, adjust, family)
            frame["adjust"] = adjust
            half = simultaneous_factor(frame, adjust, family, self.level) * frame["se"]
            frame["ci_low"], frame["ci_high"] = frame["estimate"] - half, frame["estimate"] + half
        return frame

    def to_frame(self) -> pd.DataFrame:
        """Return the coefficients as a plain DataFrame."""
        return self.coefficients.reset_index()

    def _head(self) -> str:
        family = self.fit.rows.family
        return (
            f"Population-averaged {self.family} model ({family.link}) by GEE: "
            f"{self.problem.outcome} ~ {self.problem.formula}"
        )

    def __str__(self) -> str:
        lines = [
            self._head(),
            f"{len(self.problem.y)} rows of {self.fit.units} independent units of {self.unit}; "
            f"{self.working} working correlation; {self.covariance} covariance; {DDF[self.ddf]}",
            "",
            self.coefficients.to_string(float_format=lambda v: f"{v:.4g}", na_rep="-"),
        ]
        if self.fit.made is not None:
            lines += ["", f"scale {self.scale:.4g}, working correlation {self.correlation:.4g}"]
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        notes = "".join(f"<p>warning: {escape(w)}</p>" for w in self.warnings)
        table = self.coefficients.to_html(float_format=lambda v: f"{v:.4g}", na_rep="-")
        return f"<p>{escape(self._head())}; {self.covariance}</p>{table}{notes}"


def _groups(*codes: np.ndarray) -> int:
    return int(np.unique(np.stack(codes), axis=1).shape[1])
