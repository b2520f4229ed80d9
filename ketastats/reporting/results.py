"""results.json: every number of a report at full precision, written and read back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ketastats.core.errors import DataError
from ketastats.problem.estimates import COLUMNS, TEXT, estimates_frame
from ketastats.reporting.material import Material
from ketastats.reporting.opening import findings, headline

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
FILE = "results.json"
_TRUTH = ("estimand", "outcome", "label", "latent", "natural", "carry_over_bias")
_MEND = "make it with: ketastats report"


@dataclass(frozen=True, slots=True, eq=False)
class StoredResults:
    """Results as they were stored; made by :func:`read_results`.

    Attributes
    ----------
    study : str
        Id of the Study.
    title : str
    hash : str
        Hash of the Study.
    synthetic : bool
        Whether the data were drawn from the Study's truth.
    seed : int
    estimates : pandas.DataFrame
        The Estimates table.
    truth : pandas.DataFrame
        True values, latent and natural, and the carry-over bias.
    details : mapping
        Per analysis: rows, variances, warnings, priors, gates.
    panels : mapping
        ``random_part``, ``pitfalls``, ``pitfalls_on_data``, ``printed``, ``families``,
        ``associations``, ``heterogeneity``,
        ``method_choices``, ``left_out``, ``adjusted_p`` and ``mcse``.
    """

    study: str
    title: str
    hash: str
    synthetic: bool
    seed: int
    estimates: pd.DataFrame
    truth: pd.DataFrame
    details: Mapping[str, Any]
    panels: Mapping[str, Any]

    def to_frame(self) -> pd.DataFrame:
        """Return the Estimates table."""
        return self.estimates

    def __str__(self) -> str:
        kind = f"SYNTHETIC data, seed {self.seed}" if self.synthetic else "data given"
        shown = self.estimates[["analysis", "estimand", "estimate", "ci_low", "ci_high", "status"]]
        body = shown.to_string(index=False, float_format=lambda v: f"{v:.3g}")
        return f"Stored results of study {self.study} ({kind})\n{body}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.estimates.to_html(index=False, float_format=lambda v: f"{v:.3g}")


def plain(value: Any) -> Any:
    """Return a value that JSON can hold: NaN as null, infinity as text.

    Examples
    --------
    >>> plain({"p": float("nan"), "df": float("inf"), "n": 3})
    {'p': None, 'df': 'Infinity', 'n': 3}
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return str(value)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame as JSON-ready records."""
    return [plain(row) for row in frame.to_dict(orient="records")]


def results_data(material: Material) -> dict[str, Any]:
    """Return the content of results.json."""
    results, study = material.results, material.study
    return {
        "schema": SCHEMA_VERSION,
        "study": {
            "id": study.id,
            "title": study.title,
            "summary": study.summary,
            "hash": study.hash,
        },
        "synthetic": material.synthetic,
        "seed": material.seed,
        "headline": headline(material),
        "findings": findings(material),
        "truth": records(results.truth),
        "estimates": records(results.estimates),
        "details": {a.analysis.name: plain(dict(a.details)) for a in results.answers},
        "panels": {
            "random_part": [
                {"outcome": p.outcome, "estimand": p.estimand, "claim": p.claim, "note": p.note,
                 "table": records(p.table)}
                for p in material.random_part
            ],
            "pitfalls": [
                {"pitfall": p.pitfall.name, "title": p.pitfall.title, "table": records(p.table)}
                for p in material.pitfalls
            ],
            "pitfalls_on_data": {k: records(v) for k, v in material.said.items()},
            "printed": [
                {"claim": p.claim.text, "about": p.claim.about, "num_df": p.num_df,
                 "rows": p.rows, "table": records(p.table)}
                for p in material.printed
            ],
            "families": [
                {"outcome": p.family.outcome, "factor": p.family.factor,
                 "table": records(p.table), "rates": records(p.rates)}
                for p in material.families
            ],
            "associations": [
                {"association": p.association.name, "on_data": records(p.on_data),
                 "draws": records(p.draws), "printed": records(p.printed)}
                for p in material.associations
            ],
            "heterogeneity": [
                {"estimand": p.estimand, "sd": p.sd, "table": records(p.table)}
                for p in material.heterogeneity
            ],
            "method_choices": {k: records(v) for k, v in material.choices.items()},
            "left_out": {k: records(v) for k, v in material.left_out.items()},
            "adjusted_p": [] if material.adjusted is None else records(material.adjusted),
            "mcse": [
                {"analysis": a, "estimand": e, "mcse": plain(error)}
                for (a, e), error in material.mcse.items()
            ],
            "omitted": dict(material.omitted),
        },
    }  # fmt: skip


def read_json(path: Path, schema: int) -> dict[str, Any]:
    """Read a JSON file of this package and check its schema.

    Raises
    ------
    DataError
        When it cannot be read, is no JSON object, or has another schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DataError(f"cannot be read ({reason})", where=str(path), mend=_MEND) from error
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DataError(f"is not valid JSON ({error})", where=str(path), mend=_MEND) from error
    if not isinstance(content, dict) or "schema" not in content:
        raise DataError("has no schema", where=str(path), mend=_MEND)
    if content["schema"] != schema:
        newer = isinstance(content["schema"], int) and content["schema"] > schema
        raise DataError(
            f"has schema {content['schema']!r}; this version reads schema {schema}",
            where=str(path),
            mend="use a newer version of ketastats"
            if newer
            else "use the version of ketastats that wrote it",
        )
    return content


def read_results(path: str | PathLike[str]) -> StoredResults:
    """Read the results.json of a report.

    Parameters
    ----------
    path : path
        The file, or the report's folder.

    Returns
    -------
    StoredResults

    Raises
    ------
    DataError
        When the file cannot be read or has another schema.

    Examples
    --------
    >>> import ketastats as ks
    >>> ks.read_results("no/such/results.json")
    Traceback (most recent call last):
        ...
    ketastats.core.errors.DataError: no/such/results.json: cannot be read (No such file or directory); make it with: ketastats report
    """  # noqa: E501
    import pandas as pd

    path = Path(path)
    path = path / FILE if path.is_dir() else path
    content = read_json(path, SCHEMA_VERSION)
    try:
        truth = pd.DataFrame(content["truth"], columns=list(_TRUTH))
        numeric = ["latent", "natural", "carry_over_bias"]
        truth[numeric] = truth[numeric].astype("float64")
        return StoredResults(
            study=content["study"]["id"],
            title=content["study"]["title"],
            hash=content["study"]["hash"],
            synthetic=content["synthetic"],
            seed=content["seed"],
            estimates=estimates_frame(_estimate(r) for r in content["estimates"]),
            truth=truth,
            details=content["details"],
            panels=content["panels"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"is not a results file of ketastats ({error})", where=str(path), mend=_MEND
        ) from error


def _estimate(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return one stored row with its numbers as numbers."""
    return {
        k: record[k] if k in TEXT else float("nan") if record[k] is None else float(record[k])
        for k in COLUMNS
    }
