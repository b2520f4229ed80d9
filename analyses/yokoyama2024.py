"""(R)- and (S)-ketamine and social memory: SYNTHETIC data, mice in cages, a direct comparison.

Run alone with ``python analyses/yokoyama2024.py``; ``make reports`` runs it with the others.
"""

import os
from pathlib import Path

import ketastats as ks

REPORTS = Path(os.environ.get("KETASTATS_REPORTS", "reports"))
CACHE = Path(os.environ.get("KETASTATS_CACHE", ".ketastats-cache"))


def main() -> None:
    """Analyse one synthetic experiment and write its report."""
    study = ks.load_study("yokoyama2024")
    print(study)
    print("\nTrue values (latent, and as recorded on the scale):")
    print(study.true_values().to_string(index=False, float_format="{:.2f}".format))

    mice = study.simulate(seed=1, outcome="investigation")
    primary = study.analysis("primary")
    fit = ks.lmm(primary.formula, mice, outcome="investigation")
    print("\nVariances:", fit.variance.round(1).to_dict())
    for warning in fit.warnings:
        print("warning:", warning)

    novel = {"trial": "5 - mean(2, 3, 4)"}
    held = {"housing": "isolated", "test": "after"}
    print("\nNovel minus familiar after the drug, isolated mice (s)")
    for drugs in ("R - saline", "S - saline", "R - S"):
        row = fit.contrast(novel | {"drug": drugs}, within=held).iloc[0]
        print(
            f"  {drugs}: {row['estimate']:.1f} ({row['ci_low']:.1f} to {row['ci_high']:.1f}), "
            f"df {row['df']:.0f}, p {row['p']:.3f}"
        )
    print("  The last line is the comparison; the first two cannot replace it.")

    written = ks.report(study, REPORTS / study.id, seed=1, draw_cache=CACHE)
    print(f"\n{written}")


if __name__ == "__main__":
    main()
