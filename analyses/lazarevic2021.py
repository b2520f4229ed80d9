"""Ketamine, HNK and an adenosine blocker: SYNTHETIC data, blockade as an interaction.

Run alone with ``python analyses/lazarevic2021.py``; ``make reports`` runs it with the others.
"""

import os
from pathlib import Path

import ketastats as ks

REPORTS = Path(os.environ.get("KETASTATS_REPORTS", "reports"))
CACHE = Path(os.environ.get("KETASTATS_CACHE", ".ketastats-cache"))


def main() -> None:
    """Analyse one synthetic experiment and write its report."""
    study = ks.load_study("lazarevic2021")
    print(study)

    glutamate = study.simulate(seed=1, outcome="glutamate")
    primary = study.analysis("primary")
    print("\nDPCPX's change of ketamine's release (points of % of own baseline, 30 to 60 min)")
    for words, residual in (("serial correlation", primary.residual), ("without it", None)):
        fit = ks.lmm(primary.formula, glutamate, outcome="glutamate", residual=residual)
        asked = [study.estimand(n) for n in ("blockade", "blockade_sex", "release_growth")]
        for row in fit.contrast(estimands=asked).itertuples():
            print(
                f"  {words}: {row.estimand} {row.estimate:.1f} "
                f"({row.ci_low:.1f} to {row.ci_high:.1f}), df {row.df:.0f}, p {row.p:.3f}"
            )

    field = study.simulate(seed=1, outcome="distance")
    fit = ks.lmm(study.analysis("field_primary").formula, field, outcome="distance", ddf="residual")
    moved = fit.contrast(estimands=[study.estimand("field_ketamine")])
    print("\nKetamine and locomotion, bounds of a quarter of the usual 37 m:")
    print(ks.equivalence(moved, -9.0, 9.0).to_string(index=False))

    written = ks.report(study, REPORTS / study.id, seed=1, draw_cache=CACHE)
    print(f"\n{written}")


if __name__ == "__main__":
    main()
