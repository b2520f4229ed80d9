"""Naltrexone before ketamine: SYNTHETIC data, both schools, what would change the conclusion.

Run alone with ``python analyses/jelen2025.py``; ``make reports`` runs it with the others.
"""

import os
from pathlib import Path

import ketastats as ks

REPORTS = Path(os.environ.get("KETASTATS_REPORTS", "reports"))
CACHE = Path(os.environ.get("KETASTATS_CACHE", ".ketastats-cache"))


def main() -> None:
    """Analyse one synthetic trial and write its report."""
    study = ks.load_study("jelen2025")
    print(study)
    print("\nTrue values (latent, and as recorded on the scale):")
    print(study.true_values().to_string(index=False, float_format="{:.2f}".format))

    madrs = study.simulate(seed=1, outcome="madrs")
    fit = ks.lmm(study.analysis("primary").formula, madrs, outcome="madrs")
    print(f"\n{fit}")
    change = {"treatment": "naltrexone - placebo", "time": "day1 - pre"}
    print("\nAttenuation of the day-1 fall: all, men, women, and the difference")
    for within, contrast in (
        ({}, change),
        ({"sex": "M"}, change),
        ({"sex": "F"}, change),
        ({}, change | {"sex": "M - F"}),
    ):
        row = fit.contrast(contrast, within=within).iloc[0]
        print(
            f"  {row['estimand']}: {row['estimate']:.1f} "
            f"({row['ci_low']:.1f} to {row['ci_high']:.1f}), "
            f"df {row['df']:.1f}, p {row['p']:.3f}"
        )

    responses = study.simulate(seed=1, outcome="response")
    print("\nResponse (a fall of half or more), pairs of a person kept together")
    print(ks.binary_tests(responses, "response"))

    written = ks.report(study, REPORTS / study.id, seed=1, draw_cache=CACHE)
    print(f"\n{written}")


if __name__ == "__main__":
    main()
