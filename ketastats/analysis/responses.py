"""From an outcome as recorded to what an analysis is fitted to, and the scale it answers on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError
from ketastats.study.model import (
    Amount,
    Analysis,
    BinomialScale,
    CountScale,
    Outcome,
    Scale,
)
from ketastats.study.scales import is_linear
from ketastats.study.tables import numbers

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """A table ready for an engine.

    Attributes
    ----------
    data : pandas.DataFrame
        The outcome's column holds the response.
    size : str or None
        Column of the trials.
    exposure : str or None
        Column of the exposure.
    scales : tuple of str
        Scales on which the analysis can answer: natural, link.
    """

    data: pd.DataFrame
    size: str | None
    exposure: str | None
    scales: tuple[str, ...]


def response(outcome: Outcome, analysis: Analysis, data: pd.DataFrame) -> Response:
    """Prepare a table for an analysis.

    A Gaussian model of a binomial outcome is fitted to the share of the trials, one of a count to
    the count per unit of exposure. Trials and exposure are those of a column
    ``<outcome>_trials`` or ``<outcome>_exposure`` when there is one, else the declared ones.

    Parameters
    ----------
    outcome : Outcome
    analysis : Analysis
    data : pandas.DataFrame
        Rows with the outcome, factors as categories.

    Raises
    ------
    DataError
        For trials or an exposure that cannot be.
    """
    name, scale = outcome.name, outcome.scale
    both = ("natural", "link") if is_linear(scale) else ("natural",)
    if isinstance(scale, BinomialScale):
        column = f"{name}_trials"
        data = _with_amount(data, column, scale.trials)
        _check_trials(data, name, column)
        if analysis.family == "gaussian":
            return Response(_divided(data, name, column), None, None, both)
        return Response(data, column, None, ("natural", "link"))
    if isinstance(scale, CountScale):
        column = f"{name}_exposure"
        data = _with_amount(data, column, scale.exposure)
        if analysis.family == "gaussian":
            return Response(_divided(data, name, column), None, None, both)
        return Response(data, None, column, ("natural", "link"))
    if analysis.response == "log":
        logs = np.log(numbers(data[name], name))
        return Response(data.assign(**{name: logs}), None, None, ("link",))
    if analysis.family in ("gaussian", "student-t", "censored", "truncated"):
        return Response(data, None, None, both)
    return Response(data, None, None, ("natural", "link"))


def share_of_trials(outcome: Outcome, data: pd.DataFrame) -> pd.DataFrame:
    """Return a table of a binomial outcome with the share of its trials in the outcome's column."""
    column = f"{outcome.name}_trials"
    scale = outcome.scale
    if not isinstance(scale, BinomialScale):
        raise DataError("is not a number out of trials", where=outcome.name)
    return _divided(_with_amount(data, column, scale.trials), outcome.name, column)


def _with_amount(data: pd.DataFrame, column: str, amount: Amount) -> pd.DataFrame:
    if column in data.columns:
        values = numbers(data[column], column)
        if not (values > 0).all():
            raise DataError(
                "there are values that are not above 0", where=column, mend="fill in the column"
            )
        return data
    values = np.full(len(data), amount.value)
    if amount.by is not None:
        if amount.by not in data.columns:
            raise DataError(
                f"there is no column {amount.by!r}, which decides {column!r}",
                where=amount.by,
                mend=f"add it, or a column {column!r}",
            )
        table = dict(amount.levels)
        values = np.array([table[str(v)] for v in data[amount.by]])
    return data.assign(**{column: values})


def _check_trials(data: pd.DataFrame, name: str, column: str) -> None:
    over = numbers(data[name], name) > data[column].to_numpy(dtype=float)
    if over.any():
        i = int(np.argmax(over))
        raise DataError(
            f"row {data.index[i]} has {data[name].iloc[i]} out of {data[column].iloc[i]:g} trials",
            where=name,
            mend=f"correct it, or give the trials of every row in a column {column!r}",
        )


def _divided(data: pd.DataFrame, name: str, column: str) -> pd.DataFrame:
    return data.assign(**{name: numbers(data[name], name) / data[column].to_numpy(dtype=float)})


def prior_scales(outcome: Outcome, analysis: Analysis) -> tuple[Scale | None, float | None]:
    """Return the declared scale and typical SD that priors not given may use, None for neither.

    Both are in the units of the outcome: with a link they say nothing, and of ordered categories
    the typical SD says nothing.
    """
    if not is_linear(outcome.scale):
        return None, None
    return outcome.scale, None if analysis.family == "ordered" else outcome.typical_sd
