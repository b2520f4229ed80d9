"""The posterior of two linked outcomes: what ``ks.mcmc_linked`` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.bayesian import summaries
from ketastats.bayesian.gates import Gate, diagnose_draws, gates_of
from ketastats.bayesian.posterior import Posterior
from ketastats.core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class Linked:
    """Draws from the posterior of two linked outcomes; made by :func:`mcmc_linked`.

    Attributes
    ----------
    posteriors : tuple of (Posterior, Posterior)
        One per outcome, from the same draws; ``linked["distance"]`` takes one by name.
    names : tuple of str
        Of the correlations.
    draws : numpy.ndarray, shape (chains, draws, correlations)
    known : Convergence
        Of the correlations.
    shape : float
        Of the prior of every correlation.
    notes : tuple of str
    """

    posteriors: tuple[Posterior, Posterior]
    names: tuple[str, ...]
    draws: np.ndarray
    known: summaries.Convergence
    shape: float
    notes: tuple[str, ...]

    def __getitem__(self, outcome: str) -> Posterior:
        for post in self.posteriors:
            if post.problem.outcome == outcome:
                return post
        raise DataError(f"{outcome!r} is not one of the linked outcomes", where="outcome")

    @property
    def correlations(self) -> pd.DataFrame:
        """Mean, SD, interval, probability above 0 and convergence of every correlation."""
        import pandas as pd

        m = summaries.moments(self.draws, self.posteriors[0].level)
        columns = {"mean": m.mean, "sd": m.sd, "ci_low": m.low, "ci_high": m.high}
        columns |= {"prob_positive": m.positive}
        columns |= {k: getattr(self.known, k) for k in ("mcse", "ess_bulk", "ess_tail", "r_hat")}
        return pd.DataFrame(columns, index=pd.Index(self.names, name="correlation"))

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Every diagnostic against its threshold, over both outcomes and the correlations."""
        of_draws = self.posteriors[0].draws
        sd = self.draws.reshape(-1, len(self.names)).std(axis=0)
        parts = [p.diagnostics for p in self.posteriors]
        parts.append(diagnose_draws(self.known, sd, of_draws.diverging, of_draws.energy))
        worst = {k: max if k in ("r_hat", "divergences", "mcse_over_sd") else min for k in parts[0]}
        return gates_of({k: float(f([p[k] for p in parts])) for k, f in worst.items()})

    @property
    def status(self) -> str:
        """Ok, or unconverged when a gate fails."""
        return "ok" if all(g.passed for g in self.gates) else "unconverged"

    def contrast(
        self,
        contrast: Mapping[str, str],
        *,
        within: Mapping[str, str] | None = None,
        weights: Mapping[str, Mapping[str, float]] | None = None,
    ) -> pd.DataFrame:
        """Answer one question of both outcomes; arguments and table as for a Posterior."""
        import pandas as pd

        tables = [p.contrast(contrast, within=within, weights=weights) for p in self.posteriors]
        table = pd.concat(tables, ignore_index=True)
        failed = "; ".join(str(g) for g in self.gates if not g.passed)
        if failed:  # of a correlation, where the outcome's own parameters are fine
            fine = table["status"] == "ok"
            table.loc[fine, ["status", "notes"]] = ["unconverged", failed]
        return table

    def to_frame(self) -> pd.DataFrame:
        """Return the correlations as a plain DataFrame."""
        return self.correlations.reset_index()

    def __str__(self) -> str:
        table = self.correlations.to_string(float_format=lambda v: f"{v:.4g}")
        gates = "; ".join(str(g) for g in self.gates)
        lines = [f"prior of correlations: lkj({self.shape:g})", "", table, "", gates]
        lines += [f"warning: {n}" for n in self.notes]
        return "\n\n".join(str(p) for p in self.posteriors) + "\n\n" + "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = "".join(p._repr_html_() for p in self.posteriors)
        table = self.correlations.to_html(float_format=lambda v: f"{v:.4g}")
        return f"{parts}<p>Correlations, prior lkj({self.shape:g})</p>{table}"
