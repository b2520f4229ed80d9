"""Correlations between outcomes over subjects: on the data, over draws, and as printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri, stdtr

from ketastats.analysis.responses import share_of_trials
from ketastats.core.errors import DataError
from ketastats.core.threads import one_thread
from ketastats.diagnosis.batch import draw_complete, share_of
from ketastats.study.model import Association, BinomialScale, Pairs, Study

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.analysis.run import Results

FEWEST = 5
"""Subjects below which none is computed: Fisher's interval needs n - 3 - covariates above 0."""


@dataclass(frozen=True, slots=True, eq=False)
class AssociationPanel:
    """A correlation beside what is left of it.

    Attributes
    ----------
    association : Association
    on_data : pandas.DataFrame
        which (``plain`` or ``partial``), r, ci_low, ci_high, p, n.
    draws : pandas.DataFrame
        which, median, low, high (central 95 % of the draws), significant (share with p < 0.05),
        mc_se, draws, n; no rows when no draws were asked for.
    printed : pandas.DataFrame
        r, ci_low, ci_high, p, n of the printed correlations.
    """

    association: Association
    on_data: pd.DataFrame
    draws: pd.DataFrame
    printed: pd.DataFrame


@one_thread()
def association_panels(results: Results, *, draws: int, seed: int) -> tuple[AssociationPanel, ...]:
    """Answer every association that a Study declares.

    Parameters
    ----------
    results : Results
    draws : int
        Draws of the Study behind the distribution of the correlations.
    seed : int

    Raises
    ------
    DataError
        When fewer than five subjects have all values.
    """
    import pandas as pd

    panels = []
    for a in results.study.associations:
        values = _from_tables(results, a)
        records = _over_draws(results.study, a, draws, seed) if draws > 0 else []
        names = ["which", "median", "low", "high", "significant", "mc_se", "draws", "n"]
        panels.append(
            AssociationPanel(
                a, _observed(a, values), pd.DataFrame(records, columns=names), _printed(a)
            )
        )
    return tuple(panels)


def fisher_interval(
    r: np.ndarray, n: int, covariates: int = 0, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the interval of a correlation by Fisher's z, shapes of r.

    :math:`\tanh(\mathrm{artanh}\, r \pm z / \sqrt{n - 3 - k})` with k covariates partialled out
    (Fisher 1924, Metron 3:329).

    Examples
    --------
    >>> low, high = fisher_interval(np.array([0.63]), 11)
    >>> [round(float(v), 2) for v in (low[0], high[0])]
    [0.05, 0.89]
    """
    half = ndtri(0.5 + level / 2) / np.sqrt(n - 3 - covariates)
    z = np.arctanh(np.clip(r, -1 + 1e-15, 1 - 1e-15))
    return np.tanh(z - half), np.tanh(z + half)


def correlation_p(r: np.ndarray, n: int, covariates: int = 0) -> np.ndarray:
    """Return p of t = r sqrt(df / (1 - r^2)) with df = n - 2 - covariates."""
    df = n - 2 - covariates
    with np.errstate(divide="ignore"):
        t = np.abs(r) * np.sqrt(df / np.maximum(1 - r**2, 0.0))
    return np.asarray(2 * stdtr(df, -t))


def correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Pearson's r of rows, shape (B,); NaN for a row without spread."""
    x = x - x.mean(axis=1, keepdims=True)
    y = y - y.mean(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.clip(r, -1.0, 1.0)


def partial(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    r"""Return the correlation of rows beside a third, shape (B,).

    :math:`(r_{xy} - r_{xz} r_{yz}) / \sqrt{(1 - r_{xz}^2)(1 - r_{yz}^2)}` (Yule 1907, Proc R Soc A
    79:182).
    """
    xy, xz, yz = correlations(x, y), correlations(x, z), correlations(y, z)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.clip((xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2)), -1.0, 1.0)


def _from_tables(results: Results, a: Association) -> pd.DataFrame:
    """Return one row per subject with all values: columns x, y and, if asked, given."""
    import pandas as pd

    parts = {"x": a.x, "y": a.y} | ({"given": a.given} if a.given else {})
    columns = {}
    for key, (name, at) in parts.items():
        outcome, frame = results.study.outcome(name), results.data[name]
        if isinstance(outcome.scale, BinomialScale):
            frame = share_of_trials(outcome, frame)
        for factor, level in (*at, *a.where):
            frame = frame[frame[factor].astype(str) == level]
        columns[key] = frame.set_index(frame["subject"].astype(str))[name].astype(float)
    whole = pd.DataFrame(columns).dropna()
    if len(whole) < FEWEST:
        raise DataError(
            f"{len(whole)} subjects have all values of {a.name!r}", where=f"associations.{a.name}",
            mend=f"a correlation needs {FEWEST}",
        )  # fmt: skip
    return whole


def _observed(a: Association, values: pd.DataFrame) -> pd.DataFrame:
    """Return the correlations of the data, by pingouin."""
    import pandas as pd
    import pingouin as pg

    n, rows = len(values), []
    plain = pg.corr(values["x"], values["y"])
    found = [("plain", float(plain["r"].iloc[0]), 0)]
    if a.given:
        left = pg.partial_corr(values, x="x", y="y", covar="given")
        found.append(("partial", float(left["r"].iloc[0]), 1))
    for which, r, k in found:
        low, high = fisher_interval(np.array([r]), n, k)
        p = float(correlation_p(np.array([r]), n, k)[0])
        rows.append((which, r, float(low[0]), float(high[0]), p, n))
    return pd.DataFrame(rows, columns=["which", "r", "ci_low", "ci_high", "p", "n"])


def _over_draws(study: Study, a: Association, draws: int, seed: int) -> list[dict[str, object]]:
    """Return how the correlations vary over draws of the Study."""
    x, y = (_drawn(study, m, a.where, draws, seed) for m in (a.x, a.y))
    found = [("plain", correlations(x, y), 0)]
    if a.given:
        z = _drawn(study, a.given, a.where, draws, seed)
        found.append(("partial", partial(x, y, z), 1))
    records: list[dict[str, object]] = []
    for which, r, k in found:
        known = r[np.isfinite(r)]
        share = float(np.mean(correlation_p(known, x.shape[1], k) < 0.05))
        low, median, high = np.quantile(known, [0.025, 0.5, 0.975])
        records.append(
            {"which": which, "median": float(median), "low": float(low), "high": float(high),
             "significant": share, "mc_se": float(np.sqrt(share * (1 - share) / len(known))),
             "draws": len(known), "n": x.shape[1]}
        )  # fmt: skip
    return records


def _drawn(
    study: Study, measure: tuple[str, Pairs], where: Pairs, draws: int, seed: int
) -> np.ndarray:
    """Return an outcome at one occasion in the chosen subjects, shape (draws, subjects)."""
    name, at = measure
    plan = study.plan(name)
    kept = np.ones(len(plan), dtype=bool)
    for factor, level in (*at, *where):
        kept &= (plan[factor].astype(str) == level).to_numpy()
    return share_of(study, name, draw_complete(study, name, seed, draws))[:, kept]


def _printed(a: Association) -> pd.DataFrame:
    import pandas as pd

    r = np.array(a.printed)
    low, high = fisher_interval(r, a.printed_n) if len(r) else (r, r)
    p = correlation_p(r, a.printed_n) if len(r) else r
    return pd.DataFrame({"r": r, "ci_low": low, "ci_high": high, "p": p, "n": a.printed_n})
