"""Write the synthetic tables that the R scripts are run on, and what is asked of them.

Run ``python tests/reference/make_inputs.py`` and then the R scripts. What it writes is stored: the
R answers stay valid when a study file changes, because they belong to the stored table and the
stored formula.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from study_inputs import family_models, model, study_models

from ketastats.core.files import canonical_json, write_text

HERE = Path(__file__).parent


def golden_tables() -> dict[str, pd.DataFrame]:
    """Return a balanced crossover and the same with rows lost: 26 subjects, 2 periods, 2 times."""
    rng = np.random.default_rng(20240611)
    rows = []
    for i in range(26):
        sex = "F" if i % 2 else "M"
        seq = "AB" if (i // 2) % 2 else "BA"
        u = rng.normal(0, 1.2)
        for p in (1, 2):
            trt = seq[p - 1]
            v = rng.normal(0, 0.7)
            for t in (0, 1):
                b, f = float(trt == "B"), float(sex == "F")
                mean = 5 + 0.8 * b + 0.3 * (p == 2) + 0.2 * t + 0.5 * f + 0.4 * b * f
                rows.append((f"S{i + 1:02d}", seq, p, trt, t, sex, mean + u + v + rng.normal(0, 1)))
    names = ["subj", "seq", "period", "trt", "time", "sex", "y"]
    full = pd.DataFrame(rows, columns=names)
    return {"bal": full, "unb": full[rng.random(104) > 0.18]}


def golden_models() -> list[dict[str, Any]]:
    fixed = "trt * sex + period + time + seq"
    return [
        model(f"{table}_{name}", f"{table}.csv", "y", f"{fixed} + {random}")
        for table in ("bal", "unb")
        for name, random in (("ri", "(1 | subj)"), ("vc", "(1 | subj) + (1 | subj:period)"))
    ]


def nested_table() -> pd.DataFrame:
    """Return 46 mice without a cage and 12 mice in 4 cages of 3, three trials each; some lost."""
    rng = np.random.default_rng(20240612)
    cage = rng.normal(0, 4.0, 4)
    rows = []
    for i in range(58):
        grouped = i >= 46
        home = f"c{(i - 46) // 3 + 1}" if grouped else None
        drug = ("saline", "R", "S")[i % 3]
        mouse = rng.normal(0, 3.0) + (cage[(i - 46) // 3] if grouped else 0.0)
        for trial in (1, 2, 3):
            mean = 20 + 3.0 * (drug == "R") + 1.0 * (drug == "S") - 2.0 * trial - 2.0 * grouped
            y = mean + mouse + rng.normal(0, 2.5)
            if rng.random() > 0.1:
                housing = "grouped" if grouped else "isolated"
                rows.append(
                    (f"M{i + 1:02d}", housing, int(grouped), home, drug, trial, round(y, 2))
                )
    names = ["mouse", "housing", "grouped", "cage", "drug", "trial", "y"]
    return pd.DataFrame(rows, columns=names)


def type3_table() -> pd.DataFrame:
    """Return a crossover with a covariate and a three-level factor, rows lost."""
    rng = np.random.default_rng(20240615)
    rows = []
    for i in range(18):
        sequence, own = ("AB", "BA")[i % 2], rng.normal(0, 2)
        for p in (0, 1):
            x = round(1 + 3 * rng.random(), 3)
            b, dose = sequence[p] == "B", ("low", "mid", "high")[(i + p) % 3]
            y = 5 + own + 0.8 * x + b * (1 + 0.5 * x) + (dose == "high") + rng.normal()
            if rng.random() > 0.08:
                sex = "FM"[i // 2 % 2]
                rows.append((f"S{i + 1:02d}", str(p + 1), sequence[p], sex, dose, x, round(y, 3)))
    names = ["subject", "period", "treatment", "sex", "dose", "x", "y"]
    table = as_categories(pd.DataFrame(rows, columns=names), tuple(names[:5]))
    table["dose"] = table["dose"].cat.reorder_categories(["low", "mid", "high"])
    return table


TYPE3_FIXED = (
    "dose * treatment + period",
    "x * treatment + period",
    "x * treatment * sex",
    "poly(x, 2) + treatment + period",
    "log(x) * treatment + period",
    "scale(x) * treatment + period",
    "poly(x, 2) * treatment + period",
    "x:treatment + period",
    "treatment:sex + period",
)


def external_tables() -> dict[str, pd.DataFrame]:
    """Return the printed data sets, with the levels in the order R is to use."""
    crossover = ("subject", "sequence", "period", "treatment")
    reads = {
        "grizzle_1965_abba": (crossover, ["B", "A"]),
        "chow_liu_auc_abba": (crossover, ["R", "T"]),
        "pothoff_roy_sex": (("subject", "sex"), None),
    }
    out = {}
    for name, (factors, order) in reads.items():
        table = as_categories(pd.read_csv(HERE / "external" / f"{name}.csv"), factors)
        if order:
            table["treatment"] = table["treatment"].cat.reorder_categories(order)
        out[f"{name}.csv"] = table
    return out


def external_models() -> list[dict[str, Any]]:
    crossover = "sequence + period + treatment + (1 | subject)"
    return [
        model("grizzle", "grizzle_1965_abba.csv", "y", crossover),
        model("chow_liu", "chow_liu_auc_abba.csv", "y", crossover),
        model("pothoff_roy", "pothoff_roy_sex.csv", "y", "sex * age + (1 | subject)"),
    ]


def levels_of(tables: dict[str, pd.DataFrame]) -> dict[str, dict[str, list[str]]]:
    """Return the levels of every categorical column in their order."""
    return {
        name: {
            str(c): [str(v) for v in t[c].cat.categories]
            for c in t.columns
            if t[c].dtype == "category"
        }
        for name, t in tables.items()
    }


def as_categories(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    return frame.assign(**{c: frame[c].astype("category") for c in columns})


def write(folder: Path, tables: dict[str, pd.DataFrame], models: list[dict[str, Any]]) -> None:
    for name, table in tables.items():
        if folder.name != "external":  # those are read, never written
            write_text(folder / name, table.to_csv(index=False, lineterminator="\n"))
    spec = {"schema": 1, "levels": levels_of(tables), "models": models}
    write_text(folder / "models.json", canonical_json(spec))


def main() -> None:
    factors = ("subj", "seq", "period", "trt", "time", "sex")
    golden = {f"{k}.csv": as_categories(t, factors) for k, t in golden_tables().items()}
    write(HERE / "golden", golden, golden_models())
    write(HERE / "external", external_tables(), external_models())
    three = [model(f, "type3.csv", "y", f"{f} + (1 | subject)") for f in TYPE3_FIXED]
    write(HERE / "type3", {"type3.csv": type3_table()}, three)
    tables, models = study_models()
    nested = as_categories(nested_table(), ("mouse", "housing", "cage", "drug", "trial"))
    nested["drug"] = nested["drug"].cat.reorder_categories(["saline", "R", "S"])
    tables["nested.csv"] = nested
    random = "(1 | mouse) + (0 + grouped | cage)"
    models.append(model("nested", "nested.csv", "y", f"drug * trial + housing + {random}"))
    write(HERE / "studies", tables, models)
    spec = {"schema": 1, "levels": levels_of(tables), "models": family_models()}
    write_text(HERE / "families" / "models.json", canonical_json(spec))


if __name__ == "__main__":
    main()
