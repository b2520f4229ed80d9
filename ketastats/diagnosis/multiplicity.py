"""The questions of a study as one family: adjusted beside unadjusted p values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ketastats.analysis.run import Results

if TYPE_CHECKING:
    import pandas as pd


def adjusted_p(results: Results, *, method: str = "holm") -> pd.DataFrame:
    """Adjust the p values of all primary REML answers over the whole study.

    Parameters
    ----------
    results : Results
    method : str
        Any method of statsmodels' ``multipletests``: ``holm``, ``fdr_bh``, ``bonferroni``.

    Returns
    -------
    pandas.DataFrame
        outcome, estimand, label, p, p_adjusted, method; rows without a p value keep none.

    Examples
    --------
    >>> import ketastats as ks
    >>> results = ks.analyse(ks.load_study("jelen2025"), seed=1, analyses=["primary"])
    >>> table = adjusted_p(results)
    >>> bool((table.p_adjusted >= table.p).all())
    True
    """
    import pandas as pd
    from statsmodels.stats.multitest import multipletests

    frames = [
        a.estimates[a.estimates["status"] != "not_estimable"]
        for a in results.answers
        if a.analysis.engine == "reml" and a.analysis.role == "primary"
    ]
    labels = {e.name: e.label for e in results.study.estimands}
    table = pd.concat(frames, ignore_index=True)[["outcome", "estimand", "p"]]
    table.insert(2, "label", table["estimand"].map(labels))
    tested = table["p"].notna()
    table["p_adjusted"] = float("nan")
    if tested.any():
        table.loc[tested, "p_adjusted"] = multipletests(table.loc[tested, "p"], method=method)[1]
    table["method"] = method
    return table
