"""Ketamine and learned helplessness: SYNTHETIC data, failures out of trials.

Run alone with ``python analyses/wu2021.py``; ``make reports`` runs it with the others.
"""

import os
from pathlib import Path

import ketastats as ks

REPORTS = Path(os.environ.get("KETASTATS_REPORTS", "reports"))
CACHE = Path(os.environ.get("KETASTATS_CACHE", ".ketastats-cache"))


def main() -> None:
    """Analyse one synthetic experiment and write its report."""
    study = ks.load_study("wu2021")
    print(study)

    mice = study.simulate(seed=1, outcome="failures")
    mice["trials"] = mice["paradigm"].map({"strong": 30, "weak": 100}).astype(int)
    formula = study.analysis("primary").formula
    asked = [study.estimand(n) for n in ("rescue", "rescue_males", "rescue_females", "rescue_sex")]
    columns = ["estimand", "estimate", "ci_low", "ci_high", "p"]
    population = ks.gee(formula, mice, outcome="failures", family="binomial", size="trials")
    print("\nShare of failures, ketamine minus saline, change: population average")
    print(population.contrast(estimands=asked, scale="natural")[columns].to_string(index=False))
    mouse = ks.glmm(formula, mice, outcome="failures", family="beta-binomial", size="trials")
    print("\nThe same from a mouse model with overdispersed trials")
    print(mouse.contrast(estimands=asked, scale="natural")[columns].to_string(index=False))

    groups = study.analysis("percentages_by_drug")
    shares = mice.assign(failures=mice["failures"] / mice["trials"])
    alike, apart = (
        ks.lmm(groups.formula, shares, outcome="failures", residual=r) for r in (None, "by drug")
    )
    print("\nDo ketamine mice differ more among themselves than saline mice?")
    print(apart.variance.round(4).to_dict())
    print(apart.compare(alike))

    written = ks.report(study, REPORTS / study.id, seed=1, draw_cache=CACHE)
    print(f"\n{written}")


if __name__ == "__main__":
    main()
