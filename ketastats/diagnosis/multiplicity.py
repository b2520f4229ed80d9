"""The questions of a study in families: adjusted beside unadjusted p values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.analysis.run import Results
from ketastats.analysis.schools import FREQUENTIST, SCHOOLS
from ketastats.study.model import Estimand, Study

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 8
"""Questions of one kind that make a family of their own: fewer say too little of their share."""


@dataclass(frozen=True, slots=True)
class Family:
    """Questions of one kind: estimands that differ only in the level of one factor.

    Attributes
    ----------
    outcome : str
    factor : str
    levels : tuple of str
        The level that each estimand is held at.
    estimands : tuple of str
        Their names, in declared order.
    """

    outcome: str
    factor: str
    levels: tuple[str, ...]
    estimands: tuple[str, ...]

    @property
    def name(self) -> str:
        """Outcome and factor: what tables call the family."""
        return f"{self.outcome}, {self.factor}"


def families(study: Study) -> tuple[Family, ...]:
    """Find the families of exchangeable questions of a Study.

    Parameters
    ----------
    study : Study

    Returns
    -------
    tuple of Family
        At least :data:`FEWEST` estimands of one outcome that ask for the same contrast on the same
        scale and hold the same factors, all but one at the same level.

    Examples
    --------
    >>> import ketastats as ks
    >>> [(f.name, len(f.estimands)) for f in families(ks.load_study("yokoyama2024"))]
    [('density, region', 60)]
    """
    kinds: dict[tuple[object, ...], dict[str, Estimand]] = {}
    for e in study.estimands:
        for factor, level in e.within:
            rest = frozenset(pair for pair in e.within if pair[0] != factor)
            kind = (e.outcome, factor, _contrast(e), rest, frozenset(e.weights), e.target, e.scale)
            kinds.setdefault(kind, {}).setdefault(level, e)
    return tuple(
        Family(str(kind[0]), str(kind[1]), tuple(asked), tuple(e.name for e in asked.values()))
        for kind, asked in kinds.items()
        if len(asked) >= FEWEST
    )


def _contrast(e: Estimand) -> frozenset[tuple[str, frozenset[tuple[str, float]]]]:
    return frozenset((factor, frozenset(levels)) for factor, levels in e.contrast)


def adjusted_p(results: Results) -> pd.DataFrame:
    """Adjust the p values of the primary frequentist answers within their families.

    The questions of one outcome are one family; those of one kind (:func:`families`) are a family
    of their own and do not count among the others.

    Parameters
    ----------
    results : Results

    Returns
    -------
    pandas.DataFrame
        outcome, family, estimand, label, p, p_holm (Holm 1979, Scand J Stat 6:65), p_bh (Benjamini
        & Hochberg 1995, J R Stat Soc B 57:289); rows without a p value keep none.

    Examples
    --------
    >>> import ketastats as ks
    >>> results = ks.analyse(ks.load_study("jelen2025"), seed=1, analyses=["primary"])
    >>> table = adjusted_p(results)
    >>> bool((table.p_holm >= table.p_bh).all() and (table.p_bh >= table.p).all())
    True
    """
    import pandas as pd

    frames = [
        a.estimates.loc[a.estimates["status"] != "not_estimable", ["outcome", "estimand", "p"]]
        for a in results.answers
        if a.analysis.engine in SCHOOLS[FREQUENTIST]
        and a.analysis.role == "primary"
        and not a.analysis.completers
    ]
    columns = ["outcome", "family", "estimand", "label", "p", "p_holm", "p_bh"]
    if not frames:
        return pd.DataFrame(columns=columns)
    table = pd.concat(frames, ignore_index=True).drop_duplicates("estimand", ignore_index=True)
    of_kind = {name: f.name for f in families(results.study) for name in f.estimands}
    labels = {e.name: e.label for e in results.study.estimands}
    table["family"] = [
        of_kind.get(e, o) for e, o in zip(table["estimand"], table["outcome"], strict=True)
    ]
    table["label"] = table["estimand"].map(labels)
    table["p_holm"] = table["p_bh"] = float("nan")
    for _, part in table.groupby("family", sort=False):
        for column, method in (("p_holm", "holm"), ("p_bh", "fdr_bh")):
            table.loc[part.index, column] = adjust(part["p"].to_numpy(dtype=float), method)
    return table[columns]


def adjust(p: Sequence[float] | np.ndarray, method: str) -> np.ndarray:
    """Adjust the p values of one family; NaN stays and is not counted.

    Parameters
    ----------
    p : array_like, shape (K,)
    method : str
        Of statsmodels' ``multipletests``: ``holm``, ``fdr_bh``, ``bonferroni``.

    Examples
    --------
    >>> adjust([0.01, 0.02, float("nan")], "holm").tolist()
    [0.02, 0.02, nan]
    """
    from statsmodels.stats.multitest import multipletests

    p = np.asarray(p, dtype=float)
    out, tested = np.full(len(p), np.nan), ~np.isnan(p)
    if tested.any():
        out[tested] = multipletests(p[tested], method=method)[1]
    return out
