"""Intervals of variances and covariances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtri, ndtri

from ketastats.frequentist.reml import RemlFit
from ketastats.frequentist.small_sample import parameter_covariance
from ketastats.problem.build import Problem

if TYPE_CHECKING:
    import pandas as pd


def variance_intervals(problem: Problem, fit: RemlFit, level: float) -> pd.DataFrame:
    """Return estimate, se, interval and method of every covariance parameter.

    Variances: Satterthwaite's chi-squared with df 2 (variance / se)^2 (as SAS's CL option);
    covariances and correlations: normal. A variance on the boundary has no interval.
    """
    import pandas as pd

    theta = fit.theta[0]
    w = parameter_covariance(fit, "observed", "leave out")[0]
    se = np.sqrt(np.maximum(np.diag(w), 0.0))
    tail, records = (1 - level) / 2, []
    diagonal = [i == j for r in problem.random for i, j, _ in r.parameters]
    diagonal += [kind == 1 for kind in problem.residual.structure.kinds]
    for value, s, is_variance, at_zero in zip(theta, se, diagonal, fit.boundary[0], strict=True):
        low = high = float("nan")
        method = "boundary: no interval"
        if not at_zero and s > 0 and is_variance:
            df = 2 * (value / s) ** 2
            low, high = df * value / chdtri(df, tail), df * value / chdtri(df, 1 - tail)
            method = "chi-squared, Satterthwaite"
        elif not at_zero and s > 0:
            low, high = value + s * ndtri(tail), value - s * ndtri(tail)
            method = "normal"
        records.append((value, s if not at_zero else float("nan"), low, high, method))
    return pd.DataFrame(
        records,
        columns=["estimate", "se", "ci_low", "ci_high", "method"],
        index=list(problem.parameters),
    )
