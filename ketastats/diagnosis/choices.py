"""The same question under other reasonable choices of analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ketastats.analysis.run import Results
from ketastats.analysis.schools import FREQUENTIST, SCHOOLS
from ketastats.diagnosis.influence import primary_of
from ketastats.frequentist.classical import hills_armitage
from ketastats.frequentist.fit import estimate_rows
from ketastats.frequentist.model import MixedModel
from ketastats.problem.estimates import estimates_frame
from ketastats.study.scales import is_linear

if TYPE_CHECKING:
    import pandas as pd

_NAMES = {
    "kenward-roger": "Kenward-Roger",
    "satterthwaite": "Satterthwaite",
    "residual": "residual df",
    "z": "z test (infinite df)",
}


def method_choices(results: Results, estimand: str) -> pd.DataFrame:
    """Answer an estimand with every df method and with every other frequentist analysis.

    Parameters
    ----------
    results : Results
    estimand : str

    Returns
    -------
    pandas.DataFrame
        choice, formula, ddf, estimate, se, df, p, status.
    """
    import pandas as pd

    primary = primary_of(results, estimand)
    asked = (results.study.estimand(estimand),)
    records: list[dict[str, object]] = []
    model = results.answer(primary.name).result
    if not isinstance(model, MixedModel):
        return pd.DataFrame(records)
    for ddf in _NAMES:
        rows = estimate_rows(model.problem, model.fit, asked, ddf, primary.level)
        row = estimates_frame(rows).iloc[0]
        records.append(
            _record(f"{primary.label.split(',')[0]}, {_NAMES[ddf]}", primary.formula, row)
        )
    for answer in results.answers:
        a = answer.analysis
        if a.name != primary.name and a.engine in SCHOOLS[FREQUENTIST]:
            known = answer.estimates[answer.estimates["status"] != "not_estimable"]
            hit = known[known["estimand"] == estimand]
            if len(hit):
                records.append(_record(a.label, a.formula, hit.iloc[0]))
    records += _half_differences(results, estimand)
    return pd.DataFrame(records)


def _half_differences(results: Results, estimand: str) -> list[dict[str, object]]:
    """Return the classical answer where the estimand is the treatment effect of an AB/BA trial."""
    e = results.study.estimand(estimand)
    contrast, design = dict(e.contrast), results.study.design
    plain = set(contrast) <= {"treatment", "time"} and "treatment" in contrast and not e.within
    linear = is_linear(results.study.outcome(e.outcome).scale)
    if (
        not linear
        or design.kind != "crossover"
        or len(design.sequences) != 2
        or design.n_periods != 2
    ):
        return []
    if not plain or e.target != "direct":
        return []
    change = None
    if "time" in contrast:
        by_sign = {c: level for level, c in contrast["time"]}
        change = (by_sign[-1.0], by_sign[1.0]) if set(by_sign) == {1.0, -1.0} else None
        if change is None:
            return []
    data = results.data[e.outcome].copy()
    data[e.outcome] = data[e.outcome].astype(float)
    if change is None:  # several rows a session: their mean is the session's value
        keys = ["subject", "sequence", "period", "treatment"]
        data = data.groupby(keys, observed=True)[e.outcome].mean().reset_index()
    table = hills_armitage(data, e.outcome, change=change)
    row, n = table.loc["treatment"], int(table["n"].to_numpy()[0])
    first, _ = row["contrast"].split(" - ")
    sign = dict(contrast["treatment"]).get(first, 0.0)
    return [
        {
            "choice": f"two-sample t on half-differences ({n} complete, sex left out)",
            "formula": "",
            "ddf": "exact",
            "estimate": sign * row["estimate"],
            "se": row["se"],
            "df": row["df"],
            "p": row["p"],
            "status": "ok",
        }
    ]


def _record(choice: str, formula: str, row: pd.Series) -> dict[str, object]:
    names = ("estimate", "se", "df", "p", "status")
    return {"choice": choice, "formula": formula, "ddf": row["method"]} | {n: row[n] for n in names}
