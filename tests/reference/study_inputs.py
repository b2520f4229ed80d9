"""Draws of the packaged studies and what their analyses ask of R; for make_inputs.py."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ketastats.analysis.responses import response
from ketastats.analysis.run import completers
from ketastats.study.load import load_study
from ketastats.study.model import Analysis, BinomialScale, Estimand, Study

DRAWS = [  # study, outcome, seed, analyses (None: all by REML); 2, 3 and 6 lie on a boundary
    ("jelen2025", "madrs", 1, None),
    ("jelen2025", "madrs", 3, ("primary",)),
    ("jelen2025", "glx", 1, None),
    ("jelen2025", "glx", 6, ("glx_primary",)),
    ("yokoyama2024", "investigation", 1, None),
    ("yokoyama2024", "investigation", 2, ("primary",)),
    ("jelen2025", "response", 1, None),
    ("jelen2025", "response", 7, ()),
    ("lazarevic2021", "glutamate", 1, None),
    ("lazarevic2021", "immobility", 1, None),
    ("lazarevic2021", "distance", 1, None),
    ("modasava2019", "immobility", 1, None),
    ("modasava2019", "formation", 1, None),
    ("modasava2019", "elimination", 1, None),
    ("modasava2019", "restored", 1, None),
    ("modasava2019", "ensembles", 1, None),
    ("wu2021", "failures", 1, None),
    ("wu2021", "latency", 1, None),
    ("wu2021", "distance", 1, None),
    ("wu2021", "transient", 1, None),
    ("yokoyama2024", "immobility", 1, None),
    ("yokoyama2024", "insula", 1, None),
    ("yokoyama2024", "density", 1, None),
    ("yokoyama2024_silencing", "investigation", 1, None),
    ("yokoyama2024_silencing", "immobility", 1, None),
]
# Ten of the sixty regions: pbkrtest works with dense matrices of rows by rows, and all regions have
# 3360 rows and up to 480 columns. The formula is the same; "all regions" are these ten.
SOME = {
    ("yokoyama2024", "density"): (
        "region",
        ["PL", "ACC", "aIC", "pIC", "M1", "NAcSh", "BLA", "CPu", "PVT", "LC"],
    )
}
FAMILIES = [  # study, seed, analyses by GEE and GLMM; their tables are among those of DRAWS
    ("jelen2025", 1, ("response_primary", "response_person")),  # the person's SD runs away
    ("jelen2025", 7, ("response_person",)),
    ("yokoyama2024", 1, ("insula_primary", "insula_likelihood")),
    ("modasava2019", 1, ("formation_primary", "formation_conditional")),
    ("modasava2019", 1, ("restored_primary", "restored_conditional")),
    ("wu2021", 1, ("primary", "conditional", "by_paradigm", "no_overdispersion")),
]


def model(
    name: str,
    data: str,
    outcome: str,
    formula: str,
    estimands: list[dict[str, Any]] | None = None,
    **more: str,
) -> dict[str, Any]:
    """Return one entry of models.json."""
    asked = estimands or []
    return {
        "name": name,
        "data": data,
        "outcome": outcome,
        "formula": formula,
        "estimands": asked,
        **more,
    }


def asked(e: Estimand) -> dict[str, Any]:
    """Return an estimand as level coefficients per factor."""
    contrast = {factor: dict(levels) for factor, levels in e.contrast}
    return {"name": e.name, "contrast": contrast, "within": dict(e.within)}


def study_models() -> tuple[dict[str, pd.DataFrame], list[dict[str, Any]]]:
    tables: dict[str, pd.DataFrame] = {}
    models: list[dict[str, Any]] = []
    for name, outcome, seed, wanted in DRAWS:
        study = load_study(name)
        frame = drawn(study, outcome, seed)
        stem = f"{name}_{outcome}_{seed}"
        tables[f"{stem}.csv"] = frame
        some = completers(frame, outcome)
        asks = any(a.completers and a.outcome == outcome for a in study.analyses)
        if wanted is None and asks and len(some) < len(frame):
            tables[f"{stem}_completers.csv"] = some
        for a in study.analyses:
            if a.engine != "reml" or a.outcome != outcome:
                continue
            if wanted is not None and a.name not in wanted:
                continue
            data = f"{stem}_completers.csv" if a.completers else f"{stem}.csv"
            data = data if data in tables else f"{stem}.csv"  # nobody left: the same people
            models.append(study_model(study, a, f"{stem}_{a.name}", data, tables[data]))
    return tables, models


def drawn(study: Study, outcome: str, seed: int) -> pd.DataFrame:
    """Return a draw, with a column of trials or exposure where the scale has them."""
    frame = study.simulate(seed=seed, outcome=outcome)
    if (study.id, outcome) in SOME:
        factor, levels = SOME[study.id, outcome]
        frame = frame[frame[factor].isin(levels)].reset_index(drop=True)
        frame[factor] = frame[factor].cat.set_categories(levels)
    by_count = next((a for a in study.analyses if a.outcome == outcome and a.engine == "gee"), None)
    return frame if by_count is None else response(study.outcome(outcome), by_count, frame).data


def study_model(study: Study, a: Analysis, name: str, data: str, table: pd.DataFrame) -> dict:
    """Return the entry of an analysis by REML: the response, the questions it can answer."""
    per = [c for c in table if c in (f"{a.outcome}_trials", f"{a.outcome}_exposure")]
    more = {"study": study.id, "ddf": a.ddf}
    more |= {"response": a.response} if a.response != "natural" else {}
    more |= {"residual": a.residual} if a.residual else {}
    more |= {"per": per[0]} if per else {}
    scale = "link" if a.response == "log" else "natural"
    there = [e for e in study.estimands_of(a) if e.scale == scale and within_table(e, table)]
    return model(name, data, a.outcome, a.formula, [asked(e) for e in there], **more)


def within_table(e: Estimand, table: pd.DataFrame) -> bool:
    """Return whether the table has every level that a question names."""
    named = [*e.within, *((f, level) for f, levels in e.contrast for level, _ in levels)]
    return all(level in set(table[f].astype(str)) for f, level in named)


def family_models() -> list[dict[str, Any]]:
    """Return the models by GEE and GLMM on the tables of the studies."""
    models = []
    for name, seed, analyses in FAMILIES:
        study = load_study(name)
        for a in map(study.analysis, analyses):
            scale = study.outcome(a.outcome).scale
            amount = "trials" if isinstance(scale, BinomialScale) else "exposure"
            questions = [asked(e) | {"scale": e.scale} for e in study.estimands_of(a)]
            table = f"{name}_{a.outcome}_{seed}.csv"
            more = {"study": name, "engine": a.engine, "family": a.family}
            more["amount"] = f"{a.outcome}_{amount}"
            entry = f"{name}_{seed}_{a.name}"
            models.append(model(entry, table, a.outcome, a.formula, questions, **more))
    return models
