"""Spines and the maintenance of ketamine's effect: SYNTHETIC data, counts nested in mice.

Run alone with ``python analyses/modasava2019.py``; ``make reports`` runs it with the others.
"""

import os
from pathlib import Path

import ketastats as ks

REPORTS = Path(os.environ.get("KETASTATS_REPORTS", "reports"))
CACHE = Path(os.environ.get("KETASTATS_CACHE", ".ketastats-cache"))


def main() -> None:
    """Analyse one synthetic experiment and write its report."""
    study = ks.load_study("modasava2019")
    print(study)

    tests = study.simulate(seed=1, outcome="immobility")
    fit = ks.lmm(study.analysis("primary").formula, tests, outcome="immobility")
    print("\nMaintenance: the difference between times, not two tests")
    asked = [study.estimand(n) for n in ("deleted_early", "deleted_late", "maintenance")]
    print(fit.contrast(estimands=asked)[["estimand", "estimate", "p"]].to_string(index=False))
    print("\nNot induction: can a difference of 20 s before the deletion be ruled out?")
    early = fit.contrast(estimands=[study.estimand("early"), study.estimand("early_all")])
    print(ks.equivalence(early, -20.0, 20.0).to_string(index=False))

    spines = study.simulate(seed=1, outcome="formation").assign(spines=40)
    counts = study.analysis("formation_primary")
    model = ks.gee(counts.formula, spines, outcome="formation", family="poisson", exposure="spines")
    print("\nSpines formed: mice are the units, branches are not")
    asked = [study.estimand(n) for n in ("formation_late", "formation_late_sex", "formation_h3")]
    print(model.contrast(estimands=asked, scale="natural")
          [["estimand", "estimate", "ci_low", "ci_high", "p"]].to_string(index=False))  # fmt: skip

    written = ks.report(study, REPORTS / study.id, seed=1, draw_cache=CACHE)
    print(f"\n{written}")


if __name__ == "__main__":
    main()
