"""What every fitted generalised model can be asked, and how it shows itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError
from ketastats.frequentist.adjust import adjusted, simultaneous_factor
from ketastats.frequentist.inference import SCALES, Inference
from ketastats.frequentist.model import INTERVENTIONS
from ketastats.problem.build import Problem
from ketastats.problem.estimates import estimates_frame
from ketastats.problem.questions import as_estimands, mean_estimands, pair_estimands
from ketastats.problem.strata import Units
from ketastats.study.lookup import suggestion

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.study.model import Estimand

NUMBERS = ("estimate", "se", "df", "statistic", "p", "ci_low", "ci_high")
Records = list[dict[str, object]]


class Askable:
    """Questions of a fitted model, in terms of ``_records``; values are those of the subclass.

    Attributes
    ----------
    problem : Problem
    level : float
        Level of the intervals.
    units : Units
        Units of the table, for the check of the error strata.
    """

    __slots__ = ()
    problem: Problem
    level: float
    units: Units

    def _records(self, asked: Sequence[Estimand], scale: str, cover: float) -> Records:
        """Return one record of the Estimates table per estimand, with intervals of level cover."""
        raise NotImplementedError

    def _coefficients(self) -> tuple[Inference | None, str]:
        """Return inference for every coefficient, None without a fit, and the statistic's name."""
        raise NotImplementedError

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know before using the numbers."""
        raise NotImplementedError

    def _head(self) -> str:
        """Return the line that says what was fitted."""
        raise NotImplementedError

    def _lines(self) -> tuple[list[str], list[str]]:
        """Return what is printed above the coefficients and what under them."""
        raise NotImplementedError

    @property
    def coefficients(self) -> pd.DataFrame:
        """Coefficients on the link scale by term: estimate, se, df, t or z, p, ci_low, ci_high."""
        import pandas as pd

        numbers, statistic = self._coefficients()
        index = pd.Index(self.problem.names, name="term")
        columns = [statistic if n == "statistic" else n for n in NUMBERS]
        if numbers is None:
            return pd.DataFrame(np.nan, index=index, columns=columns)
        values = (getattr(numbers, n) for n in NUMBERS)
        return pd.DataFrame(dict(zip(columns, values, strict=True)), index=index)

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
        self,
        asked: Sequence[Estimand],
        scale: str,
        adjust: str | None,
        family: int = 0,
        make: Callable[[Sequence[Estimand], str, float], Records] | None = None,
    ) -> pd.DataFrame:
        """Return the Estimates table; ``make`` stands in for ``_records``.

        Intervals are simultaneous to match an adjustment, Bonferroni's for Holm.
        """
        if scale not in SCALES:
            raise DataError(f"there is no scale {scale!r}", mend=suggestion(scale, SCALES))
        cover = self.level
        if adjust in ("holm", "bonferroni"):
            cover = 1 - (1 - self.level) / max(len(asked), 1)
        records = (make or self._records)(asked, scale, cover)
        frame = estimates_frame(r | {"level": self.level} for r in records)
        if adjust is None:
            return frame
        frame["p_adjusted"] = adjusted(frame, adjust, family)
        frame["adjust"] = adjust
        if adjust == "tukey":
            half = simultaneous_factor(frame, adjust, family, self.level) * frame["se"]
            frame["ci_low"], frame["ci_high"] = frame["estimate"] - half, frame["estimate"] + half
        return frame

    def _interventions(self) -> tuple[str, ...]:
        """Return the factors whose missing units are warned of with the fit."""
        return tuple(n for n, _ in self.problem.fixed.factors if n in INTERVENTIONS)

    def to_frame(self) -> pd.DataFrame:
        """Return the coefficients as a plain DataFrame."""
        return self.coefficients.reset_index()

    def __str__(self) -> str:
        above, under = self._lines()
        table = self.coefficients.to_string(float_format=lambda v: f"{v:.4g}", na_rep="-")
        notes = [f"warning: {w}" for w in self.warnings]
        return "\n".join(
            [self._head(), *above, "", table, *([""] if under else []), *under, *notes]
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        above, under = self._lines()
        table = self.coefficients.to_html(float_format=lambda v: f"{v:.4g}", na_rep="-")
        notes = "".join(
            f"<p>{escape(t)}</p>" for t in [*under, *map("warning: {}".format, self.warnings)]
        )
        return f"<p>{escape('; '.join([self._head(), *above]))}</p>{table}{notes}"


def make_records(
    problem: Problem,
    estimands: Sequence[Estimand],
    reasons: Sequence[str],
    numbers: Inference | None,
    base: Mapping[str, object],
    notes: Sequence[str],
    no_error: str = "",
) -> Records:
    """Return one record of the Estimates table per estimand.

    Parameters
    ----------
    problem : Problem
    estimands : sequence of Estimand
    reasons : sequence of str
        Why an estimand has no answer; empty where it has.
    numbers : Inference or None
        Of shape (k,); None without a fit.
    base : mapping
        Columns that all share: engine, method, status, notes.
    notes : sequence of str
        More notes per estimand.
    no_error : str
        What to say of an estimate without a standard error.
    """
    out = []
    for k, estimand in enumerate(estimands):
        record = {"outcome": problem.outcome, "estimand": estimand.name} | dict(base)
        if reasons[k]:
            record |= {"status": "not_estimable", "notes": reasons[k]}
        elif numbers is not None and np.isnan(numbers.se[k]):
            record |= {"status": "failed", "notes": no_error}
        elif numbers is not None:
            record |= {n: float(getattr(numbers, n)[k]) for n in NUMBERS}
        record["notes"] = "; ".join(n for n in (str(record["notes"]), notes[k]) if n)
        out.append(record)
    return out
