"""How long mixed models take: every row a ratio measured side by side in one run.

``python benchmarks/lmm.py`` prints the table; ``--write`` also stores it in benchmarks/README.md.
R peers (lme4, lmerTest, pbkrtest) run where ``Rscript`` is found and are named as absent otherwise.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import shutil
import subprocess
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

import ketastats as ks
from ketastats.frequentist.lmm import lmm_many
from ketastats.study.model import Study
from ketastats.synthesis.draw import draw_outcomes

FIXED = "treatment * time * sex + period * time"
ONE = f"{FIXED} + (1 | subject)"
THREE = f"{ONE} + (1 | subject:period) + (1 | subject:time)"
R_ONE = "y ~ treatment * time * sex + period * time + (1 | subject)"
R_THREE = f"{R_ONE} + (1 | subject:period) + (1 | subject:time)"

Row = tuple[str, str, str, str]

BAYES = "<!-- bayes -->\n"
"""In benchmarks/README.md: what follows belongs to bayes.py."""


def best(run: Callable[[], object], times: int = 3) -> float:
    """Return the shortest of some runs in seconds, after one to warm up."""
    run()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def r_number(frame: pd.DataFrame, package: str, code: str) -> float | None:
    """Return the number R prints last, the frame being its ``d``; None without Rscript."""
    if shutil.which("Rscript") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        frame.to_csv(path, index=False)
        code = (
            f"suppressPackageStartupMessages(library({package}));"
            f'd <- read.csv("{path}", stringsAsFactors = TRUE); d$period <- factor(d$period);{code}'
        )
        done = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=False)
    try:
        return float(done.stdout.strip().split()[-1])
    except (ValueError, IndexError):
        return None


def r_seconds(frame: pd.DataFrame, formula: str, repeats: int = 20) -> float | None:
    """Return seconds per lmerTest fit with a Kenward-Roger table; None without Rscript."""
    code = (
        f"run <- function() {{ m <- suppressMessages(lmer({formula}, d));"
        'summary(m, ddf = "Kenward-Roger")$coefficients }; run();'
        f"cat(system.time(for (i in 1:{repeats}) run())[['elapsed']] / {repeats})"
    )
    return r_number(frame, "lmerTest", code)


def statsmodels_seconds(frame: pd.DataFrame) -> float:
    """Return seconds per statsmodels MixedLM fit with one random intercept (z tests)."""
    import statsmodels.formula.api as smf

    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            formula = "y ~ treatment * time * sex + period * time"
            smf.mixedlm(formula, frame, groups=frame["subject"]).fit(reml=True)

    return best(run)


def batches(study: Study, draws: int) -> list[Row]:
    """Time batches of Kenward-Roger fits, complete and with rows missing."""
    plan = study.plan("madrs")
    y = draw_outcomes(study, "madrs", 1, range(draws), missing=False)
    holes = np.random.default_rng(1).random(y.shape) < 0.1
    ragged = np.where(holes, np.nan, y)
    frame = plan.assign(y=y[0])
    drawing = best(lambda: [np.random.default_rng(i).standard_normal(260) for i in range(draws)], 1)
    python = statsmodels_seconds(frame) / 1.0
    rows: list[Row] = []
    for words, formula, r_formula, limits in (
        ("one term", ONE, R_ONE, (60, 150)),
        ("three terms", THREE, R_THREE, (60, 350)),
    ):
        peer = r_seconds(frame, r_formula)
        for data, what, limit in zip(
            (y, ragged), ("complete", "10 % missing"), limits, strict=True
        ):
            lmm_many(formula, plan, data[:50])
            each = best(lambda d=data, f=formula: lmm_many(f, plan, d), 1) / draws
            ratios = [f"statsmodels one term {python * 1e3:.1f} ms: {python / each:,.0f} x"]
            if peer is None:
                ratios.append("lmerTest absent (no Rscript)")
            else:
                ratios.append(f"lmerTest KR {peer * 1e3:.0f} ms: {peer / each:,.0f} x")
            ratios.append(f"{each * draws / drawing:.1f} x the cost of drawing the normals")
            rows.append(
                (f"{draws:,} KR fits, {words}, {what}", f"{each * 1e6:.0f} us each",
                 f"at most {limit} us", "; ".join(ratios))
            )  # fmt: skip
    return rows


def single(study: Study) -> Row:
    """Time one fit from a formula and a table, all tables."""
    frame = study.simulate(seed=1, outcome="madrs")

    def run() -> None:
        fit = ks.lmm(f"madrs ~ {THREE}", frame)
        assert len(fit.coefficients) and len(fit.anova()) and len(fit.variance)

    seconds = best(run, 5)
    plain = frame.rename(columns={"madrs": "y"}).dropna(subset=["y"]).astype({"y": float})
    peer = statsmodels_seconds(plain)
    beside = f"statsmodels one term, no anova {peer * 1e3:.1f} ms: {peer / seconds:.1f} x"
    work = "one fit, three terms, coefficients, anova, variances"
    return (work, f"{seconds * 1e3:.1f} ms", "under 15 ms", beside)


def large(subjects: int) -> Row:
    """Time an unstructured covariance over many subjects."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "subject": np.repeat(np.arange(subjects), 4),
            "visit": pd.Categorical(np.tile(list("abcd"), subjects)),
            "arm": pd.Categorical(np.repeat(rng.choice(["P", "T"], subjects), 4)),
            "y": np.repeat(rng.normal(size=subjects), 4) + rng.normal(size=4 * subjects),
        }
    )
    start = time.perf_counter()
    fit = ks.lmm("y ~ arm*visit", frame, residual="un(visit | subject)")
    assert np.isfinite(fit.coefficients.to_numpy()).all()
    seconds = time.perf_counter() - start
    tracemalloc.start()
    ks.lmm("y ~ arm*visit", frame, residual="un(visit | subject)")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    rows = len(frame)
    return (f"{subjects:,} subjects x 4 rows, unstructured, KR", f"{seconds:.1f} s", "under 5 s",
            f"peak {peak / 2**20:.0f} MiB, {peak / rows:.0f} bytes a row")  # fmt: skip


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| work | ketastats | bar | beside it |", "|---|---|---|---|"]
    return "\n".join([*lines, *("| " + " | ".join(r) + " |" for r in rows)])


def r_versions() -> str:
    """Return the versions of the R peers."""
    if shutil.which("Rscript") is None:
        return "R absent"
    names = ("lme4", "lmerTest", "pbkrtest")
    code = "cat(R.version.string, paste(sapply(c({}), function(p) paste(p, packageVersion(p)))))"
    quoted = ", ".join(f'"{n}"' for n in names)
    done = subprocess.run(
        ["Rscript", "-e", code.format(quoted)], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "R without its packages"


def main() -> None:
    """Print the table, and store it with ``--write``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--subjects", type=int, default=100_000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    study = ks.load_study("jelen2025")
    study = replace(study, outcomes=tuple(replace(o, missing=None) for o in study.outcomes))
    rows = [*batches(study, options.draws), single(study), large(options.subjects)]
    python = ", ".join(f"{p} {version(p)}" for p in ("numpy", "scipy", "numba", "statsmodels"))
    head = (
        f"Measured {datetime.date.today().isoformat()} on {platform.machine()}, "
        f"Python {platform.python_version()}, {python}; {r_versions()}."
    )
    text = f"{head}\n\n{table(rows)}\n"
    print(text)
    if options.write:
        target = Path(__file__).with_name("README.md")
        intro = (
            "# Benchmarks\n\n`python benchmarks/lmm.py --write` measures and rewrites this page. "
            "A bar is what the project asks of itself\non two cores; ratios are firmer than "
            "seconds.\n\n"
        )
        _, mark, rest = target.read_text(encoding="utf-8").partition(BAYES)
        after = f"\n{mark}{rest}" if mark else ""
        target.write_text(intro + text + after, encoding="utf-8")


if __name__ == "__main__":
    main()
