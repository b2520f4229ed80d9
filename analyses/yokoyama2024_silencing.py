"""Silencing and (R)-ketamine: SYNTHETIC data, silencing as an interaction with the drug.

Run alone with ``python analyses/yokoyama2024_silencing.py``; ``make reports`` runs it too.
"""

import os
from pathlib import Path

import ketastats as ks

REPORTS = Path(os.environ.get("KETASTATS_REPORTS", "reports"))
CACHE = Path(os.environ.get("KETASTATS_CACHE", ".ketastats-cache"))


def main() -> None:
    """Analyse one synthetic experiment and write its report."""
    study = ks.load_study("yokoyama2024_silencing")
    print(study)

    mice = study.simulate(seed=1, outcome="investigation")
    fit = ks.lmm(study.analysis("primary").formula, mice, outcome="investigation")
    print("\nNovel minus familiar (s): two effects, and the difference that is the claim")
    for name in ("memory_R", "memory_R_silenced", "offset", "offset_sex"):
        row = fit.contrast(estimands=[study.estimand(name)]).iloc[0]
        print(
            f"  {study.estimand(name).label}: {row['estimate']:.1f} "
            f"({row['ci_low']:.1f} to {row['ci_high']:.1f}), p {row['p']:.3f}"
        )

    written = ks.report(study, REPORTS / study.id, seed=1, draw_cache=CACHE)
    print(f"\n{written}")


if __name__ == "__main__":
    main()
