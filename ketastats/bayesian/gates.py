"""What draws must pass before their numbers are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ketastats.bayesian.summaries import Convergence, e_bfmi

R_HAT = 1.01
"""Largest R-hat; Vehtari et al. (2021), Bayesian Analysis 16:667."""
ESS = 400.0
"""Smallest bulk and tail effective sample size; Vehtari et al. (2021), with 4 chains."""
DIVERGENCES = 0.0
"""Most divergent transitions; Betancourt (2017), arXiv:1701.02434."""
E_BFMI = 0.3
"""Smallest E-BFMI of a chain; Betancourt (2016), arXiv:1604.00695."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One threshold and whether it is kept.

    Attributes
    ----------
    name : str
    value : float
        The worst over the parameters or chains.
    threshold : float
    passed : bool
    sign : str
        ``<=`` or ``>=``: how value and threshold must stand.
    """

    name: str
    value: float
    threshold: float
    passed: bool
    sign: str

    def __str__(self) -> str:
        relation = self.sign if self.passed else f"fails {self.sign}"
        return f"{self.name} {self.value:.4g} {relation} {self.threshold:g}"


def diagnose_draws(
    known: Convergence, sd: np.ndarray, diverging: np.ndarray, energy: np.ndarray
) -> dict[str, float]:
    """Return the worst value of every diagnostic; NaN where one cannot be computed.

    Parameters
    ----------
    known : Convergence
        Of K parameters.
    sd : numpy.ndarray, shape (K,)
        Posterior SDs.
    diverging, energy : numpy.ndarray, shape (chains, all draws)
    """
    return {
        "r_hat": float(np.max(known.r_hat)),
        "ess_bulk": float(np.min(known.ess_bulk)),
        "ess_tail": float(np.min(known.ess_tail)),
        "divergences": float(diverging.sum()),
        "e_bfmi": float(np.min(e_bfmi(energy))),
        "mcse_over_sd": float(np.max(known.mcse / np.where(sd > 0, sd, np.nan))),
    }


def gates_of(diagnostics: Mapping[str, float]) -> tuple[Gate, ...]:
    """Hold diagnostics against the thresholds; what is NaN fails.

    Examples
    --------
    >>> values = dict(r_hat=1.02, ess_bulk=900, ess_tail=800, divergences=0, e_bfmi=0.7)
    >>> [str(g) for g in gates_of(values) if not g.passed]
    ['R-hat 1.02 fails <= 1.01']
    """
    rules = (
        ("R-hat", "r_hat", "<=", R_HAT),
        ("bulk ESS", "ess_bulk", ">=", ESS),
        ("tail ESS", "ess_tail", ">=", ESS),
        ("divergences", "divergences", "<=", DIVERGENCES),
        ("E-BFMI", "e_bfmi", ">=", E_BFMI),
    )
    out = []
    for name, key, sign, threshold in rules:
        value = float(diagnostics[key])
        passed = value <= threshold if sign == "<=" else value >= threshold
        out.append(Gate(name, value, threshold, bool(passed), sign))
    return tuple(out)


def failed_estimands(known: Convergence) -> np.ndarray:
    """Tell per estimand whether its own R-hat or ESS misses the thresholds, shape (K,)."""
    fine = (known.r_hat <= R_HAT) & (known.ess_bulk >= ESS) & (known.ess_tail >= ESS)
    return ~fine
