r"""Leave-one-out predictive densities of rows, or of subjects with all their rows.

Over the nodes :math:`\theta_j` with probabilities :math:`w_j`,

.. math:: \frac{1}{p(y_S \mid y_{-S})} = \sum_j \frac{w_j}{p(y_S \mid y_{-S}, \theta_j)},

a quadrature over the posterior without S. Its nodes were chosen for the posterior with S: what the
lattice leaves out of the other one is estimated as in :mod:`ketastats.bayesian.exact.search`, and
where that is too much the quadrature is done anew without S.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from ketastats.bayesian.exact.integrate import Part, quadrature
from ketastats.bayesian.exact.left_out import decide_alone, log_densities
from ketastats.bayesian.exact.search import BEYOND, ONE, aliasing
from ketastats.core.errors import DataError
from ketastats.study.lookup import suggestion

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.bayesian.exact.posterior import ExactPosterior

GOOD = 1e-4
"""Largest relative error of a density before its quadrature is done anew. Up to five times this the
estimate is larger than the error; far above it can be three times too small (ten small designs)."""
TOGETHER = 20_000_000
"""Nodes times units in memory at a time."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two models on the same units.

    Attributes
    ----------
    elpd : float
        Sum of the log densities of the first less that of the second.
    se : float
        Its standard error over the units.
    units : int
    """

    elpd: float
    se: float
    units: int

    def __str__(self) -> str:
        return f"elpd {self.elpd:+.4g} (se {self.se:.3g}) over {self.units} units"


@dataclass(frozen=True, slots=True, eq=False)
class Loo:
    """Leave-one-out predictive densities.

    Attributes
    ----------
    outcome : str
    by : str
        ``row``, or the grouping left out at a time.
    elpd : float
        Sum of the log densities (Vehtari, Gelman & Gabry 2017, Stat Comput 27:1413).
    se : float
        Its standard error over the units.
    pointwise : pandas.DataFrame
        unit, log_density, pit (of units with one row: the probability of less than what was
        observed), error (estimated, of the density, relative), method (``reweighted``, or
        ``recomputed`` without the unit).
    diagnostic : float
        Largest of the errors.
    observed : numpy.ndarray, shape (rows,)
    """

    outcome: str
    by: str
    elpd: float
    se: float
    pointwise: pd.DataFrame
    diagnostic: float
    observed: np.ndarray

    def compare(self, other: Loo) -> Difference:
        """Return how much better this model predicts than another, on the same units.

        Parameters
        ----------
        other : Loo

        Raises
        ------
        DataError
            When the units or their outcomes are not the same.
        """
        mine, theirs = self.pointwise, other.pointwise
        same = mine["unit"].tolist() == theirs["unit"].tolist()
        if self.by != other.by or not same or not np.array_equal(self.observed, other.observed):
            raise DataError(
                "the two models have not left out the same units of the same outcome",
                where="compare",
                mend="fit both on the same rows and leave out by the same",
            )
        gap = (mine["log_density"] - theirs["log_density"]).to_numpy()
        return Difference(float(gap.sum()), _se(gap), len(gap))

    def to_frame(self) -> pd.DataFrame:
        """Return the table by unit."""
        return self.pointwise.copy()

    def __str__(self) -> str:
        again = int((self.pointwise["method"] == "recomputed").sum())
        return (
            f"Leave-one-{self.by}-out of {self.outcome}: elpd {self.elpd:.5g} (se {self.se:.3g}) "
            f"over {len(self.pointwise)} units, {again} of them recomputed; errors up to "
            f"{self.diagnostic:.1g}"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{self}</p>{self.pointwise.to_html(index=False)}"


def _se(values: np.ndarray) -> float:
    return float(np.sqrt(len(values) * np.var(values, ddof=1))) if len(values) > 1 else np.nan


def loo(post: ExactPosterior, by: str | None = None) -> Loo:
    """Leave out one row at a time, or one group of rows.

    Parameters
    ----------
    post : ExactPosterior
    by : str, optional
        Grouping of a random term, such as ``subject``; single rows by default.

    Returns
    -------
    Loo

    Raises
    ------
    DataError
        For a grouping that the model does not have, or a unit without which a flat coefficient
        cannot be estimated.
    """
    import pandas as pd

    unit, names = units_of(post, by)
    alone = np.flatnonzero(decide_alone(post.model, unit))
    if alone.size:
        raise DataError(
            f"without {by or 'row'} {names[alone[0]]} a coefficient with a flat prior cannot be "
            "estimated",
            where="loo",
            mend="give it a normal prior",
        )
    part = next(post.quadrature.parts())
    count = max(1, TOGETHER // len(part.nodes.values))
    log, error, pit = (np.empty(len(names)) for _ in range(3))
    for i in range(0, len(names), count):
        some = np.arange(i, min(i + count, len(names)))
        own = np.where(np.isin(unit, some), unit - i, -1)
        log[some], error[some], pit[some] = _reweighted(post, part, own)
    poor = np.flatnonzero(~(error <= max(GOOD, post.tolerance)))
    for u in poor:
        log[u], error[u], pit[u] = _recomputed(post, unit == u)
    pit[np.bincount(unit[unit >= 0]) > 1] = np.nan
    method = np.full(len(names), "reweighted", dtype=object)
    method[poor] = "recomputed"
    columns = {"unit": names, "log_density": log, "pit": pit, "error": error, "method": method}
    return Loo(
        outcome=post.problem.outcome,
        by=by or "row",
        elpd=float(log.sum()),
        se=_se(log),
        pointwise=pd.DataFrame(columns),
        diagnostic=float(error.max()),
        observed=post.problem.y,
    )


def units_of(post: ExactPosterior, by: str | None) -> tuple[np.ndarray, list[object]]:
    """Return the unit of every row, (rows,), and the names of the units."""
    problem = post.problem
    if by is None:
        return np.arange(len(problem.y)), list(problem.rows.tolist())
    groupings = {r.term.name: r for r in problem.random}
    if by not in groupings:
        raise DataError(
            f"the model has no random term of {by!r}",
            where="by",
            mend=suggestion(by, groupings) if groupings else "leave out single rows",
        )
    r = groupings[by]
    if (r.group < 0).any():
        raise DataError(
            f"some rows belong to no {by}", where="by", mend="leave out single rows or other groups"
        )
    return r.group, list(r.levels)


def _reweighted(
    post: ExactPosterior, part: Part, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log densities, their errors and PIT values from the nodes of the full posterior."""
    axes, moments = post.model.axes, post.quadrature.table.moments
    weight = part.weight[0]
    log, z = log_densities(post.model, moments, post.problem.y, part.nodes.values, unit)
    with np.errstate(divide="ignore"):
        log_weight = np.log(weight)[:, None]
    ratio = np.where(weight[:, None] > 0, log_weight - log, -np.inf)
    top = ratio.max(axis=0)
    mass = np.exp(ratio - top).T  # (units, J)
    total = mass.sum(axis=1)
    deep = log_weight[:, 0] < log_weight.max() - ONE.at(post.tolerance).depth
    outside = BEYOND * mass[:, deep].sum(axis=1) / total
    error = np.empty(len(total))
    step = max(1, TOGETHER // int(np.prod(part.nodes.shape)))
    for i in range(0, len(total), step):
        grid = np.zeros((len(mass[i : i + step]), int(np.prod(part.nodes.shape))))
        grid[:, part.nodes.at] = mass[i : i + step]
        alias = aliasing(axes, part.rectangle, grid.reshape(-1, *part.nodes.shape))
        error[i : i + step] = 0.5 * alias.reshape(len(alias), -1)[:, 1:].sum(axis=1)
    pit = np.einsum("uj,ju->u", mass, ndtr(z)) / total
    return -(top + np.log(total)), error + outside, pit


def _recomputed(post: ExactPosterior, out: np.ndarray) -> tuple[float, float, float]:
    """Return log density, error and PIT value of rows from the posterior of the others."""
    model = post.model
    y = np.where(out, np.nan, post.problem.y)
    rest = quadrature(
        model, y[None], np.zeros((0, model.problem.x.shape[1])), ONE.at(post.tolerance)
    )
    part = next(rest.parts())
    unit = np.where(out, 0, -1)
    moments = post.quadrature.table.moments
    _, z = log_densities(model, moments, post.problem.y, part.nodes.values, unit)
    log = post.log_evidence - float(part.log_evidence[0])
    error = post.error + float(rest.rectangles.error[0])
    return log, error, float(part.weight[0] @ ndtr(z[:, 0]))
