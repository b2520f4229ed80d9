"""Binary outcomes of an AB/BA trial: McNemar, Mainland-Gart and Prescott."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError
from ketastats.frequentist.abba import CrossoverArrays, read_crossover
from ketastats.frequentist.ranks import sum_distribution, two_sided
from ketastats.frequentist.t_tests import effect_table, effect_tests, t_row

if TYPE_CHECKING:
    import pandas as pd

EXACT_UP_TO = 200
"""People up to whom Prescott's test is exact unless asked otherwise."""
PAIRS = ("1,1", "1,0", "0,1", "0,0")
"""Columns of the paired table: outcome of period 1, outcome of period 2."""
_NO_PREFERENCE = "nobody had different outcomes in the two periods"


@dataclass(frozen=True, slots=True, eq=False)
class BinaryCrossover:
    """Tests of a binary outcome with the tables they are made of.

    Attributes
    ----------
    tests : pandas.DataFrame
        Indexed by test (mcnemar, mainland_gart, prescott): contrast, scale, estimate, statistic,
        p, ci_low, ci_high, n (people who count in the test), method, status, notes.
    pairs : pandas.DataFrame
        People by sequence and outcomes: ``"1,0"`` is 1 in period 1 and 0 in period 2.
    preferences : pandas.DataFrame
        People by sequence and the treatment under which their outcome was 1, or none.
    """

    tests: pd.DataFrame
    pairs: pd.DataFrame
    preferences: pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """Return the tests."""
        return self.tests

    def __str__(self) -> str:
        parts = (self.pairs, self.preferences, self.tests.drop(columns=["method", "notes"]))
        return "\n\n".join(p.to_string(float_format=lambda v: f"{v:.4g}") for p in parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = (self.pairs, self.preferences, self.tests)
        return "".join(p.to_html(float_format=lambda v: f"{v:.4g}") for p in parts)


def prescott_p(table: np.ndarray) -> float:
    """Return the exact two-sided p of Prescott's test.

    The number who preferred period 1 less the number who preferred period 2 in the first
    sequence, given both margins of the table (Prescott 1981, Appl Stat 30:9): the randomisation
    test of the half-differences. Two-sided: outcomes at least as far from the expectation.

    Parameters
    ----------
    table : numpy.ndarray
        Shape (2, 3): by sequence, people who preferred period 1, neither, period 2.

    Returns
    -------
    float

    Examples
    --------
    >>> round(prescott_p(np.array([[9, 3, 0], [1, 5, 6]])), 6)
    0.00047
    """
    margin, n1 = table.sum(axis=0), int(table[0].sum())
    scores = np.repeat([2, 1, 0], margin)
    observed = float(2 * table[0, 0] + table[0, 1])
    return two_sided(observed, *sum_distribution(scores, n1))


def binary_tests(
    data: pd.DataFrame,
    outcome: str,
    *,
    contrast: str | None = None,
    method: str = "auto",
    level: float = 0.95,
) -> BinaryCrossover:
    r"""Compare two treatments on a binary outcome of people observed in both periods.

    Three tests (Jones & Kenward 2014, Design and Analysis of Cross-Over Trials, chapter 2):

    * McNemar's, which ignores the period: exact binomial over those with a preference.
    * Mainland-Gart: Fisher's exact test of sequence by preferred period, among those with a
      preference. Its table's odds ratio is the square of the treatment's, so the root is given
      (Gart 1969, Biometrika 56:75).
    * Prescott's, which counts those without a preference as well: trend over preference for
      period 1, neither, period 2 (Prescott 1981, Appl Stat 30:9). The estimate is the difference
      of risks adjusted for the period, with Welch's interval on the half-differences.

    Parameters
    ----------
    data, outcome, contrast, level
        As for :func:`~ketastats.frequentist.classical.hills_armitage`; the outcome is 0 or 1.
    method : {"auto", "exact", "asymptotic"}
        Of Prescott's test: exact up to 200 people, else by its permutation variance.

    Returns
    -------
    BinaryCrossover

    Raises
    ------
    DataError
        As for ``hills_armitage``, or for an outcome that is not 0 or 1.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = [(s, q, p, q[p - 1], y) for q, who in (("AB", [1, 1, 0, 1]), ("BA", [0, 0, 1, 0]))
    ...         for k, y1 in enumerate(who) for s in (q + str(k),)
    ...         for p, y in ((1, y1), (2, 1 - y1))]
    >>> data = pd.DataFrame(rows, columns=["subject", "sequence", "period", "treatment", "y"])
    >>> binary_tests(data, "y").tests["p"].round(4).to_dict()
    {'mcnemar': 0.2891, 'mainland_gart': 0.4857, 'prescott': 0.4857}
    """
    if method not in ("auto", "exact", "asymptotic"):
        raise DataError(
            f"there is no method {method!r}", where=outcome, mend="use auto, exact or asymptotic"
        )
    trial = read_crossover(data, outcome, contrast=contrast).observed()
    if not np.isin(trial.y, (0.0, 1.0)).all():
        raise DataError(
            "a binary outcome is 0 or 1 in every row", where=outcome, mend="code it as 0 and 1"
        )
    counts = _counts(trial)
    exact = method == "exact" or (method == "auto" and len(trial.y) <= EXACT_UP_TO)
    tests = effect_table(
        [
            _mcnemar(trial, counts, level),
            _mainland_gart(trial, counts, level),
            _prescott(trial, counts, level, exact),
        ]
    )
    return BinaryCrossover(tests.rename_axis("test"), *_tables(trial, counts))


def _counts(trial: CrossoverArrays) -> np.ndarray:
    """Return people by sequence and (1,1), (1,0), (0,1), (0,0), shape (2, 4)."""
    column = (3 - 2 * trial.y[:, 0] - trial.y[:, 1]).astype(int)
    row = (~trial.first).astype(int)
    return np.bincount(4 * row + column, minlength=8).reshape(2, 4)


def _tables(trial: CrossoverArrays, counts: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    import pandas as pd

    index = pd.Index([*trial.sequences, "all"], name="sequence")
    whole = np.vstack([counts, counts.sum(axis=0)])
    pairs = pd.DataFrame(whole, index=index, columns=list(PAIRS)).assign(n=whole.sum(axis=1))
    left = np.array([counts[0, 1], counts[1, 2]])  # 1 under the left treatment only
    right = np.array([counts[0, 2], counts[1, 1]])
    none = counts[:, 0] + counts[:, 3]
    prefer = np.column_stack([left, none, right])
    prefer = np.vstack([prefer, prefer.sum(axis=0)])
    a, b = trial.treatments
    return pairs, pd.DataFrame(prefer, index=index, columns=[a, "none", b])


def _mcnemar(trial: CrossoverArrays, counts: np.ndarray, level: float) -> dict[str, object]:
    """Exact McNemar test; the odds ratio left over right among those with a preference."""
    from scipy.stats import binomtest
    from statsmodels.stats.contingency_tables import mcnemar

    left, right = int(counts[0, 1] + counts[1, 2]), int(counts[0, 2] + counts[1, 1])
    same = int(counts[:, 0].sum()), int(counts[:, 3].sum())
    test = mcnemar([[same[0], left], [right, same[1]]], exact=True)
    low, high = 0.0, 1.0
    if left + right:
        interval = binomtest(left, left + right).proportion_ci(level)  # Clopper-Pearson
        low, high = float(interval.low), float(interval.high)
    return _record(
        trial,
        "mcnemar",
        scale="odds ratio",
        estimate=_ratio(left, right),
        statistic=float(left),
        p=float(test.pvalue),
        interval=(_ratio(low, 1 - low), _ratio(high, 1 - high)),
        n=left + right,
        method="McNemar, exact binomial, ignores the period",
    )


def _mainland_gart(trial: CrossoverArrays, counts: np.ndarray, level: float) -> dict[str, object]:
    """Fisher's exact test of sequence by preferred period."""
    from scipy.stats import fisher_exact
    from scipy.stats.contingency import odds_ratio

    table = counts[:, 1:3]
    estimate, low, high = np.nan, 0.0, np.inf
    if table.sum(axis=0).all() and table.sum(axis=1).all():
        result = odds_ratio(table, kind="conditional")
        interval = result.confidence_interval(level)
        estimate, low, high = np.sqrt([result.statistic, interval.low, interval.high]).tolist()
    return _record(
        trial,
        "mainland_gart",
        scale="odds ratio",
        estimate=estimate,
        statistic=float(table[0, 0]),
        p=float(fisher_exact(table).pvalue),
        interval=(low, high),
        n=int(table.sum()),
        method="Mainland-Gart, Fisher exact: sequence by preferred period",
    )


def _prescott(
    trial: CrossoverArrays, counts: np.ndarray, level: float, exact: bool
) -> dict[str, object]:
    """Prescott's trend test; the difference of risks with Welch's interval."""
    table = np.column_stack([counts[:, 1], counts[:, 0] + counts[:, 3], counts[:, 2]])
    test = effect_tests(trial.y, trial.first, equal_variance=False)["treatment"]
    row = t_row("", "", test, level, 0, "", "")
    if exact or not (table[:, 0].sum() or table[:, 2].sum()):
        p = prescott_p(table)
    else:
        from statsmodels.stats.contingency_tables import Table

        trend = Table(table, shift_zeros=False).test_ordinal_association(
            np.array([1, 0]), np.array([1, 0, -1])
        )
        p = float(trend.pvalue)
    return _record(
        trial,
        "prescott",
        scale="risk difference",
        estimate=float(test.estimate),
        statistic=float(table[0, 0] - table[0, 2]),
        p=p,
        interval=(float(str(row["ci_low"])), float(str(row["ci_high"]))),
        n=int(table.sum()),
        method=f"Prescott, {'exact' if exact else 'asymptotic (permutation variance)'}",
    )


def _ratio(a: float, b: float) -> float:
    """Return a/b, infinite when only b is 0 and NaN when both are."""
    return a / b if b else (np.inf if a else np.nan)


def _record(
    trial: CrossoverArrays,
    test: str,
    *,
    scale: str,
    estimate: float,
    statistic: float,
    p: float,
    interval: tuple[float, float],
    n: int,
    method: str,
) -> dict[str, object]:
    status, note = "ok", ""
    if np.isnan(estimate):
        status, note = "not_estimable", "too few with a preference to estimate the odds ratio"
    elif scale == "odds ratio" and (estimate == 0 or np.isinf(estimate)):
        status, note = "boundary", "a cell of the table is 0: the odds ratio is 0 or infinite"
    elif interval[0] == interval[1]:
        status, note = "boundary", "the half-differences do not vary within sequences"
    return {
        "effect": test,
        "contrast": trial.labels["treatment"],
        "scale": scale,
        "estimate": estimate,
        "statistic": statistic,
        "p": min(1.0, p),
        "ci_low": interval[0],
        "ci_high": interval[1],
        "n": n,
        "method": method,
        "status": status,
        "notes": "; ".join(filter(None, (trial.notes, note))),
    }
