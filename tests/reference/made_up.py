"""A made-up crossover whose answers have a closed form, written as a set of the outside folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import linalg, stats

CALL = "lmer(y ~ sequence + period + treatment + (1|subject)), treatment reference B"
COLUMNS = ("subject", "sequence", "period", "treatment", "y")


def trial(seed: int = 3, sizes: tuple[int, int] = (9, 7)) -> pd.DataFrame:
    """Return a synthetic AB/BA crossover whose people differ."""
    rng = np.random.default_rng(seed)
    rows = []
    for sequence, n in zip(("AB", "BA"), sizes, strict=True):
        for i in range(n):
            person = rng.normal(5, 1)
            for p in range(2):
                y = person + 0.4 * p + 0.8 * (sequence[p] == "A") + rng.normal(0, 0.5)
                rows.append((f"{sequence}{i}", sequence, p + 1, sequence[p], round(y, 6)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def closed_form(d: pd.DataFrame) -> dict:
    """Return the answers for a complete AB/BA trial: t tests on half differences and on sums."""
    wide = d.pivot(index=["sequence", "subject"], columns="period", values="y")
    half, total = (wide[1] - wide[2]) / 2, wide[1] + wide[2]
    n = wide.groupby("sequence").size()
    df = int(n.sum() - 2)

    def pooled(v: pd.Series) -> float:
        return float(sum(((g - g.mean()) ** 2).sum() for _, g in v.groupby("sequence")) / df)

    def row(estimate: float, variance: float) -> dict:
        se = float(np.sqrt(variance * (1 / n).sum()))
        t, wing = estimate / se, stats.t.ppf(0.975, df) * se
        p = float(2 * stats.t.sf(abs(t), df))
        ci = [estimate - wing, estimate + wing]
        return {"estimate": estimate, "se": se, "df": df, "t": t, "p": p, "ci95": ci}

    m, s = half.groupby("sequence").mean(), total.groupby("sequence").mean()
    rows = {
        "sequenceBA": row((s["BA"] - s["AB"]) / 2, pooled(total) / 4),
        "period2": row(-(m["AB"] + m["BA"]), pooled(half)),
        "treatmentA": row(m["AB"] - m["BA"], pooled(half)),
    }
    residual = 2 * pooled(half)
    variance = {"subject:(Intercept)": pooled(total) / 4 - residual / 2, "Residual": residual}
    assert variance["subject:(Intercept)"] > 0  # only then is REML the table above
    tests = {
        name[:-1].removesuffix("B"): {"num_df": 1, "den_df": df, "F": r["t"] ** 2, "p": r["p"]}
        for name, r in rows.items()
    }
    methods = ("satterthwaite", "kenward_roger")
    return {
        "r_call": CALL,
        "n_obs": len(d),
        "minus2_reml_loglik": minus2_reml(d, *variance.values()),
        "singular": False,
        "variance": variance,
        "fixed": [{"name": k} | dict.fromkeys(methods, r) for k, r in rows.items()],
        "type3": dict.fromkeys(methods, tests),
    }


def minus2_reml(d: pd.DataFrame, between: float, within: float) -> float:
    """Return -2 x the density of the error contrasts K'y, with lme4's constant log|X'X|."""
    columns = [d["sequence"] == "BA", d["period"] == 2, d["treatment"] == "A"]
    x = np.column_stack([np.ones(len(d)), *columns]).astype(float)
    same = d["subject"].to_numpy()[:, None] == d["subject"].to_numpy()[None, :]
    k = linalg.null_space(x.T)
    v = k.T @ (between * same + within * np.eye(len(d))) @ k
    density = stats.multivariate_normal(np.zeros(len(v)), v).logpdf(k.T @ d["y"].to_numpy())
    return float(-2 * density + np.linalg.slogdet(x.T @ x)[1])


def drop_in(folder: Path, data: pd.DataFrame, block: dict | None = None, toml: str = "") -> Path:
    """Write a set in the form of the reference folder."""
    folder.mkdir(parents=True)
    data.to_csv(folder / "data.csv", index=False)
    (folder / "SOURCE.md").write_text("# made up: synthetic data\n")
    if block is not None:
        answers = {"dataset": folder.name, "computed": {"note": "closed form", "lmm": block}}
        (folder / "expected.json").write_text(json.dumps(answers))
    if toml:
        (folder / "harness.toml").write_text(toml)
    return folder
