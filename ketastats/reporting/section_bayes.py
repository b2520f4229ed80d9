"""Section: what a Bayesian referee asks: priors, checks, other priors, calibration."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ketastats.bayesian.exact.evidence import words_of
from ketastats.figures import bayes as figures
from ketastats.reporting import numbers as n
from ketastats.reporting.document import (
    Block,
    Heading,
    Items,
    Picture,
    Section,
    Table,
    cell,
    code,
    paragraph,
    rich,
    table,
)
from ketastats.reporting.material import Material
from ketastats.reporting.words import capital, listing

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.diagnosis.bayes_panel import BayesPanel
    from ketastats.diagnosis.sbc import Calibration
    from ketastats.study.model import Estimand


def bayes_section(material: Material) -> Section | None:
    """Return the panels of every exact posterior; None without one."""
    blocks: list[Block] = []
    several = len(material.bayes) > 1
    for panel in material.bayes:
        if several:
            blocks.append(Heading(rich(panel.outcome.label)))
        blocks += _of(material, panel)
    return Section("bayes", "Prior to posterior", tuple(blocks)) if blocks else None


def _of(material: Material, panel: BayesPanel) -> list[Block]:
    a = panel.answer.analysis
    blocks: list[Block] = [paragraph(f"Of {a.label} (", code(a.name), ").")]
    blocks += [_predictive(material, panel), *_moved(material, panel), _spreads(material, panel)]
    blocks += [_checks(panel), paragraph(_checks_sentence(panel))]
    if panel.factors:
        blocks.append(_factors(material, panel))
    blocks += _sensitivity(material, panel)
    blocks += _sceptics(material, panel)
    blocks += _calibration(panel)
    blocks += _loo(panel)
    if panel.left_out:
        items = tuple(rich(f"{capital(t)}.") for t in panel.left_out)
        blocks += [paragraph("Not computed:"), Items(items)]
    return blocks


def _unit(material: Material, panel: BayesPanel) -> str:
    log = panel.answer.analysis.response == "log"
    return material.unit(panel.outcome.name, "link" if log else "natural")


# priors and replicated data


def _predictive(material: Material, panel: BayesPanel) -> Picture:
    post = panel.answer.result
    plain = panel.answer.analysis.response != "log"
    low, high = (panel.outcome.scale.min, panel.outcome.scale.max) if plain else (None, None)
    name = f"predictive-{panel.outcome.name}"
    svg = figures.predictive(
        panel.prior, panel.replicated, post.problem.y, low=low, high=high,  # type: ignore[attr-defined]
        unit=_unit(material, panel), ident=name,
    )  # fmt: skip
    said = ""
    if panel.prior is not None and (low is not None or high is not None):
        share = figures.outside(panel.prior, low, high)
        said = f" Of the values that the priors alone give, {n.percent(share)} lie beyond the scale"
        said += ", where a Gaussian model has no end."
    return Picture(
        name,
        svg,
        rich(
            "Left: outcomes under the priors alone, and the data, each scaled to its highest bar. "
            "Right: distribution function of the data over that of replicated data of new people."
            + said
        ),
    )


def _spreads(material: Material, panel: BayesPanel) -> Picture:
    from ketastats.bayesian.exact.axes import log_prior

    post = panel.answer.result
    declared = {}
    if material.synthetic and panel.answer.analysis.response != "log":
        declared = {f"sd {s.name}": s.sd for s in panel.outcome.spread if s.by is None}
    rows = []
    for axis in post.model.axes:  # type: ignore[attr-defined]
        if not axis.name.startswith("sd "):
            continue
        x, density = post.axis_density(axis.name)  # type: ignore[attr-defined]
        prior = np.exp(log_prior(axis.prior, x))
        true = declared.get(axis.name, math.nan)
        rows.append(figures.Spread(axis.name.removeprefix("sd "), x, density, prior, true))
    name = f"sds-{panel.outcome.name}"
    return Picture(
        name,
        figures.spreads(rows, unit=_unit(material, panel), ident=name),
        rich("Standard deviations: posterior densities over their priors."),
    )


def moved(material: Material, outcome: str) -> pd.DataFrame:
    """Return prior and posterior of every question that an exact analysis answers.

    Columns analysis, estimand, prior_mean, prior_sd, mean, sd and learnt: the share of the prior
    variance that the data took away. Questions without a normal prior are left out.
    """
    import pandas as pd

    from ketastats.bayesian.exact.posterior import ExactPosterior

    rows = []
    for answer in material.answers_of(outcome, "posterior"):
        a, post = answer.analysis, answer.result
        if a.completers or not isinstance(post, ExactPosterior):
            continue
        asked = material.study.estimands_of(a)
        priors = post.prior_of(asked)
        found = {str(r["estimand"]): r for r in answer.estimates.to_dict(orient="records")}
        for e in asked:
            if e.name in priors:
                mean, sd = priors[e.name]
                after = float(found[e.name]["se"])
                rows.append(
                    (a.name, e.name, mean, sd, float(found[e.name]["estimate"]), after,
                     1 - (after / sd) ** 2)
                )  # fmt: skip
    columns = ["analysis", "estimand", "prior_mean", "prior_sd", "mean", "sd", "learnt"]
    return pd.DataFrame(rows, columns=columns)


LITTLE = 0.5
"""Share of the prior variance below which an answer rests on its prior more than on the data."""


def _moved(material: Material, panel: BayesPanel) -> list[Block]:
    frame = moved(material, panel.outcome.name)
    if not len(frame):
        return []
    rows = []
    for r in frame.to_dict(orient="records"):
        before, sd = float(r["prior_mean"]), float(r["sd"])
        little = float(r["learnt"]) < LITTLE
        rows.append(
            [
                cell(capital(material.estimand(str(r["estimand"])).label)),
                cell(code(str(r["analysis"]))),
                cell(f"{n.plain(before)} ({n.plain(float(r['prior_sd']))})"),
                cell(f"{n.value(float(r['mean']), sd)} ({n.value(sd, sd)})"),
                cell(n.percent(float(r["learnt"])), kind="warning" if little else ""),
            ]
        )
    blocks: list[Block] = [
        table(
            "From prior to posterior, mean (SD); learnt is the share of the prior variance that "
            "the data took away.",
            ("question", "analysis", "prior", "posterior", "learnt"), rows, numbers=(2, 3, 4),
            file="prior_to_posterior.csv",
        )
    ]  # fmt: skip
    few = [material.estimand(str(e)).label for e in frame.loc[frame["learnt"] < LITTLE, "estimand"]]
    if few:
        blocks.append(
            paragraph(
                f"The data hardly move {listing(few)}: what is said of it is said by its prior "
                "more than by these data."
            )
        )
    return blocks


def _checks(panel: BayesPanel) -> Table:
    rows = []
    for c in panel.checks:
        low, high = c.central
        rows.append(
            [
                cell(c.name),
                cell(n.plain(c.observed)),
                cell(f"{n.plain(low)} to {n.plain(high)}"),
                cell(n.probability(c.p), kind="warning" if c.surprising else ""),
            ]
        )
    return table(
        "Posterior predictive checks: statistics of the data, and of replicated data (central "
        "95 %); p is the share of replicates above the data, ties halved.",
        ("statistic", "data", "replicates", "p"), rows, numbers=(1, 2, 3), file="checks.csv",
    )  # fmt: skip


def _checks_sentence(panel: BayesPanel) -> str:
    bad = [c.name for c in panel.checks if c.surprising]
    if not bad:
        return "None of them lies in the outer 5 % of the replicates."
    return (
        f"Outside the central 95 % of the replicates: {listing(bad)}. There the model differs from "
        "the data; with this many checks one in twenty does so by chance."
    )


# evidence


def _factors(material: Material, panel: BayesPanel) -> Table:
    rows = []
    for e, f in zip(panel.asked, panel.factors, strict=False):
        rows.append(
            [
                cell(capital(e.label)),
                cell(n.plain(f.bf10)),
                cell(n.plain(math.exp(f.log_savage_dickey))),
                cell(n.plain(math.exp(f.log_bf_positive))),
                cell(words_of(f.log_bf10, "an effect", "none")),
            ]
        )
    return table(
        "Bayes factors against no effect, from marginal likelihoods and from densities at 0 "
        "(Savage-Dickey), and of an effect above 0 against none. They depend on the width of the "
        "prior of the effects.",
        ("question", "BF10", "Savage-Dickey", "BF+0", "in words"), rows, numbers=(1, 2, 3),
        file="bayes_factors.csv",
    )  # fmt: skip


# other priors


def _sensitivity(material: Material, panel: BayesPanel) -> list[Block]:
    frame = panel.sensitivity
    if frame is None:
        return []
    name = f"priors-{panel.outcome.name}"
    panels = []
    for e in panel.asked:
        own = frame[frame["estimand"] == e.name]
        panels.append(
            (
                capital(e.label),
                [
                    figures.Interval(
                        str(r["prior"]), float(r["estimate"]), float(r["ci_low"]),
                        float(r["ci_high"]), k == 0,
                    )
                    for k, (_, r) in enumerate(own.iterrows())
                ],
            )
        )  # fmt: skip
    worst = max(frame.to_dict(orient="records"), key=lambda r: abs(float(r["shift"])))
    label = next(e.label for e in panel.asked if e.name == worst["estimand"])
    ranges = []
    for e in panel.asked:
        p = frame.loc[frame["estimand"] == e.name, "prob_positive"].to_numpy(dtype=float)
        low, high = n.probability(float(p.min())), n.probability(float(p.max()))
        ranges.append(f"{e.label} {low} to {high}")
    blocks: list[Block] = [
        Picture(
            name,
            figures.under_priors(panels, unit=_unit(material, panel), ident=name),
            rich("The same data under other priors; every row is a refit (tables/priors.csv)."),
        ),
        paragraph(
            f"The largest move is that of {label} with “{worst['prior']}”: "
            f"{n.fixed(abs(float(worst['shift'])), 2)} posterior SDs. Probability of being above 0 "
            f"over all priors: {listing(ranges)}."
        ),
    ]
    if panel.scaling is not None:
        blocks.append(_scaling(panel.scaling))
    return blocks


def _scaling(frame: pd.DataFrame) -> Table:
    rows = []
    for name, r in frame.to_dict(orient="index").items():
        said = str(r["diagnosis"])
        rows.append(
            [
                cell(code(str(name))),
                cell(n.fixed(float(r["prior"]), 3)),
                cell(n.fixed(float(r["likelihood"]), 3)),
                cell(
                    "ok" if said in ("✓", "-") else said,
                    kind="" if said in ("✓", "-") else "warning",
                ),
            ]
        )
    return table(
        "Power-scaling sensitivity (Kallioinen et al. 2024, through ArviZ): how much a parameter "
        "moves when the prior, or the likelihood, is given slightly more weight; above 0.05 it "
        "matters.",
        ("parameter", "prior", "likelihood", "diagnosis"), rows, numbers=(1, 2),
        file="power_scaling.csv",
    )  # fmt: skip


def _sceptics(material: Material, panel: BayesPanel) -> list[Block]:
    frame = panel.views
    if frame is None:
        return []
    e, unit = panel.asked[-1], _unit(material, panel)
    rows = []
    for _, r in frame.iterrows():
        needed = float(r["needed"])
        rows.append(
            [
                cell(str(r["view"])),
                cell(str(r["prior"])),
                cell(n.with_interval(r["estimate"], r["ci_low"], r["ci_high"], r["se"])),
                cell(n.probability(float(r["prob_claimed"]))),
                cell("none would do" if math.isinf(needed) else n.value(needed, float(r["se"]))),
            ]
        )
    claim = n.plain(panel.claim)
    seen = n.value(float(frame["seen"].iloc[0]), float(frame["se"].max()))
    blocks: list[Block] = [
        table(
            f"{capital(e.label)}: three readers of an effect of {claim}{n.NB}{unit}. The sceptic "
            "expects none and gives 5 % to more than that; the enthusiast expects it and gives 5 % "
            "to the other direction (Spiegelhalter, Freedman & Parmar 1994).",
            ("reader", "prior", "posterior", "P(direction)", "estimate needed for P = 0.975"),
            rows, numbers=(2, 3, 4), file="sceptics.csv",
        ),
        paragraph(f"Without a prior of it these data estimate {seen}{n.NB}{unit}."),
    ]  # fmt: skip
    if np.isinf(frame["needed"]).any():
        blocks.append(
            paragraph(
                "Where no estimate would do, data that contradict the prior more strongly are "
                "explained by larger standard deviations instead: a trial of this size cannot "
                "convince that reader."
            )
        )
    return blocks


# calibration


def _calibration(panel: BayesPanel) -> list[Block]:
    found = panel.calibration
    if found is None:
        return []
    name = f"calibration-{panel.outcome.name}"
    coverage = found.coverage()
    widest = coverage[coverage["level"] == coverage["level"].max()]
    p, se = (widest[c].to_numpy(dtype=float) for c in ("coverage", "se"))
    return [
        paragraph(
            f"Calibration: parameters drawn from the priors and outcomes from the model, "
            f"{found.draws} times, each analysed in the same way. {found.verdict}. Intervals of "
            f"{100 * float(widest['level'].iloc[0]):g} % held the true value in "
            f"{n.percent(float(p.min()))} to {n.percent(float(p.max()))} of the draws (Monte-Carlo "
            f"SE up to {n.percent(float(se.max()))}).",
            kind="" if found.passed else "warning",
        ),
        Picture(
            name,
            found.plot().svg,
            rich(
                "Distribution function of the posterior probabilities below the true value, less "
                "that of the uniform distribution, with simultaneous 95 % bands. Coverage: "
                "tables/calibration.csv."
            ),
        ),
        paragraph(" ".join(_assurance(panel, found, e) for e in panel.asked)),
    ]


def _assurance(panel: BayesPanel, found: Calibration, e: Estimand) -> str:
    from ketastats.diagnosis.sbc import assurance

    a = assurance(found, estimand=e.name)
    wrong = n.percent(a.wrong, a.wrong_se) if a.wrong > 0 else f"none of {a.draws}"
    return (
        f"{capital(e.label)}: over the prior, a direction with posterior probability "
        f"{a.at_least:g} or more is found rightly in {n.percent(a.right, a.right_se)} of the "
        f"draws, and wrongly in {wrong}."
    )


def _loo(panel: BayesPanel) -> list[Block]:
    rows = []
    for label, found in (
        ("one row at a time", panel.loo_rows),
        ("one subject at a time", panel.loo_subjects),
    ):
        if found is not None:
            rows.append(
                [
                    cell(label),
                    cell(n.value(found.elpd, found.se)),
                    cell(n.value(found.se, found.se)),
                    cell(str(len(found.pointwise))),
                ]
            )
    if not rows:
        return []
    return [
        table(
            "Exact expected log predictive density of what is left out, for comparing models of "
            "the same rows.",
            ("left out", "log density", "SE", "units"), rows, numbers=(1, 2, 3), file="loo.csv",
        )
    ]  # fmt: skip


# tables


def bayes_tables(material: Material) -> dict[str, pd.DataFrame]:
    """Return what the section shows, at full precision, by file name."""
    import pandas as pd

    checks, factors, loo = [], [], []
    frames: dict[str, list[pd.DataFrame]] = {}
    for panel in material.bayes:
        o, a = panel.outcome.name, panel.answer.analysis.name
        for c in panel.checks:
            low, high = c.central
            checks.append((o, a, c.name, c.observed, low, high, c.p))
        factors += [
            (o, a, f.estimands[0], f.log_bf10, f.log_savage_dickey, f.log_bf_positive, f.error)
            for f in panel.factors
        ]
        for what, found in (("row", panel.loo_rows), ("subject", panel.loo_subjects)):
            if found is not None:
                loo.append((o, a, what, found.elpd, found.se, len(found.pointwise)))
        before = moved(material, o)
        scaling = None
        if panel.scaling is not None:
            scaling = panel.scaling.rename_axis("parameter").reset_index()
        table_ = panel.calibration.table().reset_index() if panel.calibration else None
        for name, frame in (
            ("priors.csv", panel.sensitivity), ("sceptics.csv", panel.views),
            ("power_scaling.csv", scaling), ("calibration.csv", table_),
            ("prior_to_posterior.csv", before),
        ):  # fmt: skip
            if frame is not None:
                own = {"outcome": o} if "analysis" in frame else {"outcome": o, "analysis": a}
                frames.setdefault(name, []).append(frame.assign(**own))
    out = {k: pd.concat(v, ignore_index=True) for k, v in frames.items()}
    out["checks.csv"] = pd.DataFrame(
        checks,
        columns=["outcome", "analysis", "statistic", "data", "low", "high", "p"],
    )
    out["bayes_factors.csv"] = pd.DataFrame(
        factors,
        columns=["outcome", "analysis", "estimand", "log_bf10", "log_savage_dickey",
                 "log_bf_positive", "error"],
    )  # fmt: skip
    out["loo.csv"] = pd.DataFrame(
        loo, columns=["outcome", "analysis", "left_out", "elpd", "se", "units"]
    )
    return out
