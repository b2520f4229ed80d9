"""tables/*.csv: what the report shows, at full precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ketastats.analysis.schools import BAYESIAN, engines_of
from ketastats.reporting.material import Material
from ketastats.reporting.section_bayes import bayes_tables
from ketastats.reporting.section_diagnostics import reml_components
from ketastats.reporting.section_equivalence import equivalence_table
from ketastats.reporting.section_posterior import posterior_sds
from ketastats.reporting.summaries import as_shown, cell_means, missing_rows, sizes
from ketastats.study.describe import parameters

if TYPE_CHECKING:
    import pandas as pd


def all_tables(material: Material) -> dict[str, pd.DataFrame]:
    """Return every table by file name, those without rows left out."""
    import pandas as pd

    study, results = material.study, material.results
    out = {
        "estimates.csv": results.estimates,
        "side_by_side.csv": results.side_by_side(),
        "sizes.csv": sizes(study),
        "parameters.csv": pd.DataFrame(
            [(o, name, value, p.kind, p.note) for o, name, value, p in parameters(study)],
            columns=["outcome", "parameter", "value", "source", "note"],
        ),
        "variances.csv": _variances(material),
        "gates.csv": _gates(material),
        "random_part.csv": _stacked(
            {p.estimand: p.table for p in material.random_part}, "estimand"
        ),
        "method_choices.csv": _stacked(dict(material.choices), "estimand"),
        "left_out.csv": _stacked(dict(material.left_out), "estimand"),
    }
    out["equivalence.csv"] = equivalence_table(material)
    out["pitfalls.csv"] = _stacked({p.pitfall.name: p.table for p in material.pitfalls}, "pitfall")
    out["pitfalls-on-data.csv"] = _stacked(dict(material.said), "pitfall")
    out["family.csv"] = _stacked({p.family.name: p.table for p in material.families}, "family")
    out["family-rates.csv"] = _stacked(
        {p.family.name: p.rates for p in material.families}, "family"
    )
    out["heterogeneity.csv"] = _stacked(
        {p.estimand: p.table for p in material.heterogeneity}, "estimand"
    )
    out["associations.csv"] = _stacked(
        {p.association.name: p.on_data for p in material.associations}, "association"
    )
    out["associations-drawn.csv"] = _stacked(
        {p.association.name: p.draws for p in material.associations}, "association"
    )
    out["printed.csv"] = _stacked({p.claim.text: p.table for p in material.printed}, "printed")
    out |= bayes_tables(material)
    if material.adjusted is not None:
        out["adjusted_p.csv"] = material.adjusted
    if material.synthetic:
        out["truth.csv"] = results.truth
    for o in study.outcomes:
        frame = results.data[o.name]
        out[f"means-{o.name}.csv"] = cell_means(study, o, as_shown(o, frame))
        out[f"missing-{o.name}.csv"] = missing_rows(study, o, frame)
    return {name: frame for name, frame in out.items() if len(frame)}


def _stacked(frames: dict[str, pd.DataFrame], key: str) -> pd.DataFrame:
    import pandas as pd

    parts = []
    for name, frame in frames.items():
        part = frame.copy()
        part.insert(0, key, name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _variances(material: Material) -> pd.DataFrame:
    """Return every random SD of every analysis, the declared ones too."""
    import pandas as pd

    rows = []
    if material.synthetic:
        for o in material.study.outcomes:
            for s in o.spread:
                sd = float("nan") if s.by is not None else s.sd
                when = "; ".join(f"{f} = {'/'.join(v)}" for f, v in s.when)
                rows.append((o.name, "declared", s.name, sd, float("nan"), when))
    for answer in material.results.answers:
        a = answer.analysis
        if a.engine == "reml" and answer.result is not None:
            for name, c in reml_components(answer.result).items():  # type: ignore[arg-type]
                note = "" if c.is_sd else "a covariance or correlation, not an SD"
                rows.append((a.outcome, a.name, name, c.value, c.se, note))
        if a.engine in engines_of(BAYESIAN) and answer.result is not None:
            for name, found in posterior_sds(answer).items():
                rows.append((a.outcome, a.name, name, found["mean"], found["sd"], ""))
    return pd.DataFrame(rows, columns=["outcome", "analysis", "component", "sd", "se", "note"])


def _gates(material: Material) -> pd.DataFrame:
    import pandas as pd

    rows = [
        (a.analysis.name, g["name"], g["value"], str(g["threshold"]), bool(g["passed"]))
        for a in material.results.answers
        for g in a.details.get("gates", ())
    ]
    return pd.DataFrame(rows, columns=["analysis", "check", "value", "threshold", "passed"])


def csv_text(frame: pd.DataFrame) -> str:
    """Return a frame as CSV with LF line ends and numbers in full."""
    return str(frame.to_csv(index=False, lineterminator="\n"))
