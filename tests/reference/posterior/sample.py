"""Sample the models of ``tests/bayesian/exact/designs.py`` and store what the draws say.

Writes a table per design and ``answers.json``: mean, SD, quantiles and P(> 0) of every coefficient,
estimand and SD by ``ks.mcmc``, each with its Monte-Carlo standard error. Run from the root of the
repository, which takes some minutes:  python -m tests.reference.posterior.sample
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import ketastats as ks
from ketastats.bayesian.posterior import Posterior
from ketastats.core.files import canonical_json, write_text
from ketastats.problem.questions import as_estimands
from tests.bayesian.exact.designs import DECIMALS, DESIGNS, Design, table_of

HERE = Path(__file__).parent
QUANTILES = (0.025, 0.5, 0.975)
SETTINGS = {"draws": 20_000, "tune": 2000, "chains": 4, "thin": 4, "seed": 1}
"""80,000 draws kept: the errors are about 0.4 % of a posterior SD."""
DIGITS = 8
"""Significant ones that are stored: far beyond the errors."""


def model_of(design: Design) -> dict[str, Any]:
    """Return what an answer belongs to besides the table."""
    return {
        "formula": design.formula,
        "priors": dict(design.priors),
        "residual": design.residual,
        "questions": [{k: dict(v) for k, v in q.items()} for q in design.questions],
    }


def named_draws(post: Posterior, design: Design) -> dict[str, np.ndarray]:
    """Return draws of shape (chains, draws) of coefficients, SDs and estimands, by name."""
    estimands = [e for q in design.questions for e in as_estimands(post.problem, **q)]
    blocks = [post.draws.gamma, post.draws.sd, post.draws.own, post.estimand_draws(estimands)]
    names = [*post.parameters, *(e.name for e in estimands)]
    return dict(zip(names, np.moveaxis(np.concatenate(blocks, axis=2), 2, 0), strict=True))


def summary_of(draws: np.ndarray, sign: bool) -> dict[str, Any]:
    """Return what draws of shape (chains, draws) say, and how well they know it.

    P(> 0), if ``sign``, has its effective sample size in place of an error, which depends on P.
    """
    import arviz as az

    axes = {"chain_axis": 0, "draw_axis": 1}
    out = {
        "mean": draws.mean(),
        "sd": draws.std(ddof=1),
        "quantiles": np.quantile(draws, QUANTILES),
        "mean_error": az.mcse(draws, method="mean", **axes),
        "sd_error": az.mcse(draws, method="sd", **axes),
        "quantile_errors": [az.mcse(draws, method="quantile", prob=p, **axes) for p in QUANTILES],
    }
    if sign:
        above = (draws > 0).astype(float)
        mixed = 0.0 < above.mean() < 1.0
        ess = az.ess(above if mixed else draws, method="mean" if mixed else "bulk", **axes)
        out |= {"prob_positive": above.mean(), "prob_ess": min(float(ess), float(draws.size))}
    return {k: rounded(v) for k, v in out.items()}


def rounded(value: Any) -> Any:
    if np.ndim(value):
        return [rounded(v) for v in value]
    return float(f"{float(value):.{DIGITS}g}")


def sampled(name: str, data: Any, **settings: int) -> dict[str, Any]:
    """Sample a design and return its summaries by name of the quantity."""
    design = DESIGNS[name]
    post = ks.mcmc(design.formula, data, priors=design.priors, residual=design.residual, **settings)
    if post.status != "ok":
        raise RuntimeError(f"{name}: {[str(g) for g in post.gates if not g.passed]}")
    draws = named_draws(post, design)
    return {k: summary_of(v, sign=not k.startswith("sd ")) for k, v in draws.items()}


def main() -> None:
    answers = {}
    for name, design in DESIGNS.items():
        data = table_of(name)
        text = data.to_csv(index=False, lineterminator="\n", float_format=f"%.{DECIMALS}f")
        write_text(HERE / f"{name}.csv", text)
        answers[name] = {"model": model_of(design), "sampled": sampled(name, data, **SETTINGS)}
    used = {p: version(p) for p in ("pymc", "nutpie", "arviz", "numpy")}
    record = {"settings": SETTINGS, "versions": used, "designs": answers}
    write_text(HERE / "answers.json", canonical_json(record))


if __name__ == "__main__":
    main()
