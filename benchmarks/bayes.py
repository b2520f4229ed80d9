"""How long exact posteriors take: every row a ratio measured side by side in one run.

``python benchmarks/bayes.py`` prints the table; ``--write`` also stores it in benchmarks/README.md.
rstanarm runs where ``Rscript`` finds it and is named as absent otherwise.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import shutil
import subprocess
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from lmm import BAYES, FIXED, ONE, THREE, Row, best, r_number, table

import ketastats as ks
from ketastats.bayesian.sampling import ensure_reproducible
from ketastats.core.threads import one_thread
from ketastats.study.model import Study
from ketastats.synthesis.draw import draw_outcomes

PRIORS = {"effects": "normal(0, 10)", "intercept": "normal(30, 30)", "sd": "half-normal(10)"}
SAMPLED = 20


def sampler_seconds(study: Study, y: np.ndarray) -> float:
    """Return seconds per data set of a PyMC model compiled once, its data swapped (nutpie)."""
    import nutpie
    import pymc as pm

    from ketastats.problem.build import build_problem

    plan = study.plan("madrs")
    problem = build_problem(FIXED, plan, coding="difference")
    subject = pd.factorize(plan["subject"])[0]
    with ensure_reproducible(), pm.Model() as model:
        observed = pm.Data("observed", y[0])
        intercept = pm.Normal("intercept", 30, 30)
        effects = pm.Normal("effects", 0, 10, shape=problem.x.shape[1] - 1)
        tau, sigma = pm.HalfNormal("tau", 10), pm.HalfNormal("sigma", 10)
        z = pm.Normal("z", 0, 1, shape=int(subject.max()) + 1)
        mean = intercept + problem.x[:, 1:] @ effects + tau * z[subject]
        pm.Normal("y", mean, sigma, observed=observed)
        compiled = nutpie.compile_pymc_model(model)
    settings = {"draws": 1000, "tune": 500, "chains": 4, "cores": 2, "progress_bar": False,
                "adaptation": "low_rank"}  # fmt: skip
    nutpie.sample(compiled, seed=1, **settings)
    start = time.perf_counter()
    for k in range(SAMPLED):
        nutpie.sample(compiled.with_data(observed=y[k]), seed=k, **settings)
    return (time.perf_counter() - start) / SAMPLED


def rstanarm_seconds(frame: pd.DataFrame) -> float | None:
    """Return seconds per stan_lmer fit; None without Rscript or the package."""
    code = (
        "options(mc.cores = 2);"
        "t <- system.time(stan_lmer(y ~ treatment*time*sex + period*time + (1 | subject), d,"
        "prior = normal(0, 10), prior_intercept = normal(30, 30), refresh = 0, seed = 1));"
        "cat(t[['elapsed']])"
    )
    return r_number(frame, "rstanarm", code)


def rows_of(study: Study, draws: int) -> list[Row]:
    """Time single posteriors, batches, the sampler and rstanarm."""
    plan = study.plan("madrs")
    y = draw_outcomes(study, "madrs", 1, range(draws), missing=False)
    asked = [e for e in study.estimands if e.outcome == "madrs" and e.target == "direct"]
    frame = plan.assign(y=y[0])
    peer = sampler_seconds(study, y)
    stan = rstanarm_seconds(frame)
    rows: list[Row] = []
    with one_thread():

        def one(formula: str) -> None:
            post = ks.posterior(f"y ~ {formula}", frame, priors=PRIORS)
            assert post.status == "ok"

        def many(formula: str, level: float | None, some: np.ndarray) -> None:
            found = ks.posterior_many(
                formula, plan, some, priors=PRIORS, estimands=asked, level=level
            )
            assert found.converged.all()

        seconds = best(lambda: one(ONE), 15)
        rows.append(
            ("one posterior, subject and residual, from formula and table",
             f"{seconds * 1e3:.1f} ms", "under 10 ms",
             f"nutpie, compiled once {peer * 1e3:.0f} ms: {peer / seconds:,.0f} x")
        )  # fmt: skip
        for level, what, bar in (
            (None, "mean, SD, P(> 0)", "under 1.5 s"),
            (0.95, "with 95 % intervals", "under 5 s"),
        ):
            many(ONE, level, y[:100])
            seconds = best(lambda level=level: many(ONE, level, y), 2)
            each = seconds / len(y)
            beside = [f"nutpie {peer * 1e3:.0f} ms: {peer / each:,.0f} x (bar 500)"]
            if stan is None:
                beside.append("rstanarm absent")
            else:
                beside.append(f"rstanarm {stan:.1f} s: {stan / each:,.0f} x (bar 5,000)")
            rows.append(
                (f"{len(y):,} posteriors, {len(asked)} estimands, {what}", f"{seconds:.2f} s", bar,
                 "; ".join(beside))
            )  # fmt: skip
        seconds = best(lambda: one(THREE), 7)
        rows.append(
            ("one posterior, three random terms and residual", f"{seconds * 1e3:.0f} ms",
             "under 100 ms", f"nutpie with one term {peer * 1e3:.0f} ms")
        )  # fmt: skip
        some = y[: max(len(y) // 20, 50)]
        seconds = best(lambda: many(THREE, None, some), 1)
        rows.append(
            (f"{len(some):,} posteriors, three random terms and residual",
             f"{seconds / len(some) * 1e3:.1f} ms each", "far below 10 ms", "")
        )  # fmt: skip
        start = time.perf_counter()
        found = ks.sbc(study, "bayes_one", draws=draws, seed=1)
        seconds = time.perf_counter() - start
        rows.append(
            (f"{draws:,} draws of simulation-based calibration, {len(found.names)} parameters",
             f"{seconds:.1f} s", "seconds", f"nutpie would take {peer * draws / 60:,.0f} min")
        )  # fmt: skip
    return rows


def versions() -> str:
    """Return what was compared."""
    names = ("numpy", "scipy", "numba", "pymc", "nutpie")
    text = ", ".join(f"{p} {version(p)}" for p in names)
    r = "R absent"
    if shutil.which("Rscript") is not None:
        code = 'cat(R.version.string, "rstanarm", as.character(packageVersion("rstanarm")))'
        done = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=False)
        r = done.stdout.strip() or "R without rstanarm"
    return f"Python {platform.python_version()}, {text}; {r}"


def main() -> None:
    """Print the table, and store it with ``--write``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    study = ks.load_study("jelen2025")
    study = replace(study, outcomes=tuple(replace(o, missing=None) for o in study.outcomes))
    own = replace(
        study.analysis("bayes"), name="bayes_one", formula=ONE, priors=tuple(PRIORS.items())
    )
    study = replace(study, analyses=(*study.analyses, own))
    rows = rows_of(study, options.draws)
    head = (
        f"Measured {datetime.date.today().isoformat()} on {platform.machine()}, {versions()}. "
        "One BLAS thread; the sampler on two cores."
    )
    text = f"{head}\n\n{table(rows)}\n"
    print(text)
    if options.write:
        target = Path(__file__).with_name("README.md")
        old = target.read_text(encoding="utf-8").partition(BAYES)[0].rstrip("\n")
        intro = (
            "## Exact posteriors\n\n`python benchmarks/bayes.py --write` measures this part.\n\n"
        )
        target.write_text(f"{old}\n\n{BAYES}{intro}{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
