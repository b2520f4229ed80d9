"""The posterior of a mixed model: what ``ks.mcmc`` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ketastats.bayesian import summaries
from ketastats.bayesian.answers import (
    Answers,
    Said,
    answer,
    estimate_rows,
    no_expectation,
    stacked,
)
from ketastats.bayesian.categories import at_least
from ketastats.bayesian.gates import Gate, diagnose_draws, gates_of
from ketastats.bayesian.likelihood import GAUSSIAN, Likelihood
from ketastats.bayesian.predictive import replicate
from ketastats.bayesian.sampling import Draws, Settings
from ketastats.bayesian.texts import as_html, as_text
from ketastats.bayesian.tree import as_datatree, save_datatree
from ketastats.core.errors import DataError, NotEstimable
from ketastats.core.random import Purpose, generator
from ketastats.problem.build import Problem
from ketastats.problem.estimates import estimates_frame
from ketastats.problem.questions import as_estimands

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.study.model import Estimand


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Draws from the posterior of a mixed model; made by :func:`mcmc`.

    Attributes
    ----------
    problem : Problem
        The matrices, in difference coding.
    prior_text : tuple of (str, str)
        The priors used.
    level : float
        Level of the equal-tailed intervals.
    seed : int
        As given.
    settings : Settings
        Of the sampler.
    draws : Draws
        In the units of the data.
    known : Convergence
        Of every parameter, in the order of ``parameters``.
    notes : tuple of str
        Where the priors come from.
    rows : Likelihood
        The family and its rows.
    """

    problem: Problem
    prior_text: tuple[tuple[str, str], ...]
    level: float
    seed: int
    settings: Settings
    draws: Draws
    known: summaries.Convergence
    notes: tuple[str, ...]
    rows: Likelihood = GAUSSIAN

    @property
    def family(self) -> str:
        """Name of the outcome family."""
        return self.rows.family.name

    @property
    def priors(self) -> dict[str, str]:
        """The priors used, as text."""
        return dict(self.prior_text)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Fixed effects, SDs of the random terms and of the residual, the family's own."""
        terms = (name for r in self.problem.random for _, _, name in r.parameters)
        return (*self.problem.names, *(f"sd {t}" for t in terms), *self.rows.names)

    @property
    def datatree(self) -> Any:
        """An ArviZ DataTree: posterior, sample_stats, observed_data; no clock times in it."""
        facts = {
            "formula": f"{self.problem.outcome} ~ {self.problem.formula}",
            "priors": "; ".join(f"{k}: {v}" for k, v in self.prior_text),
            "method": self.settings.method,
            "seed": str(self.seed),
        }
        if self.family != "gaussian":
            facts["family"] = self.family
        return as_datatree(self.problem, self.draws, self.rows, self.settings, facts)

    @property
    def diagnostics(self) -> dict[str, float]:
        """Worst R-hat, ESS and MCSE over fixed effects and SDs, divergences, worst E-BFMI."""
        sd = summaries.moments(stacked(self.draws), self.level).sd
        return diagnose_draws(self.known, sd, self.draws.diverging, self.draws.energy)

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Every diagnostic against its threshold; see :mod:`ketastats.bayesian.gates`."""
        return gates_of(self.diagnostics)

    @property
    def status(self) -> str:
        """Ok, or unconverged when a gate fails."""
        return "ok" if all(g.passed for g in self.gates) else "unconverged"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know before using the numbers."""
        failed = [str(g) for g in self.gates if not g.passed]
        gate = [
            f"a gate failed ({'; '.join(failed)}): do not use the numbers; sample longer (tune, "
            "thin) or, against divergences, raise target_accept"
        ]
        return (*self.problem.notes, *self.notes, *(gate if failed else []))

    def contrast(
        self,
        contrast: Mapping[str, str] | None = None,
        *,
        within: Mapping[str, str] | None = None,
        weights: Mapping[str, Mapping[str, float]] | None = None,
        estimands: Sequence[Estimand] | None = None,
        scale: str = "link",
    ) -> pd.DataFrame:
        """Answer estimands.

        Parameters
        ----------
        contrast : mapping of str to str
            ``{"treatment": "naltrexone - placebo", "time": "day1 - pre"}``: a contrast per named
            factor; adding ``sex="M - F"`` asks for the interaction.
        within : mapping of str to str, optional
            Factors held at one level: ``{"sex": "M"}`` for the effect in men.
        weights : mapping, optional
            Weights of the averaged factors, equal by default.
        estimands : sequence of Estimand, optional
            Declared estimands instead of the above.
        scale : str
            ``link`` (log odds, log rates; the latent value of a censored outcome) or ``natural``
            (shares, counts per unit of exposure, values as recorded, mean scores of categories):
            the weights over the cells of the reference grid are then applied to their population
            means, new people drawn.

        Returns
        -------
        pandas.DataFrame
            The tidy Estimates table: posterior mean and SD, equal-tailed interval, probability of
            being above 0. Where a gate fails, of the model or of the estimand's own draws, the
            status is ``unconverged``, the numbers stand and a note names the gate.

        Raises
        ------
        NotEstimable
            For a factor that the model does not contain.

        Examples
        --------
        >>> import ketastats as ks
        >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
        >>> post = ks.mcmc("madrs ~ treatment*time + period + (1|subject)", data)
        >>> row = post.contrast({"treatment": "naltrexone - placebo", "time": "day1 - pre"})
        >>> row["status"].item()
        'ok'
        """
        asked = as_estimands(self.problem, contrast, within, weights, estimands)
        failed = tuple(str(g) for g in self.gates if not g.passed)
        notes = no_expectation(self.rows, self.problem, self.priors["sd"], scale)
        said = Said(self.problem.outcome, self.level, self._method(scale), failed, notes)
        return estimates_frame(estimate_rows(self._answer(asked, scale), asked, said))

    def estimand_draws(self, estimands: Sequence[Estimand], scale: str = "link") -> np.ndarray:
        """Return the draws of estimands on a scale, shape (chains, draws, K).

        Raises NotEstimable when the data cannot answer one of them.
        """
        answers = self._answer(estimands, scale)
        for e, reason in zip(estimands, answers.reasons, strict=True):
            if reason:
                raise NotEstimable(
                    f"the data cannot answer {e.name!r}: {reason}",
                    where=f"estimands.{e.name}",
                    mend="ask for something else or change the formula",
                )
        return answers.draws

    def densities(
        self, estimands: Sequence[Estimand], points: int = 200, scale: str = "link"
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return the posterior density of every estimand that can be answered, for plotting.

        By name of the estimand: where, and the density there; each of shape (points,).
        """
        answers = self._answer(estimands, scale)
        return {
            e.name: summaries.kernel_density(answers.draws[:, :, k], points)
            for k, e in enumerate(estimands)
            if answers.estimable[k]
        }

    def predictive(self, n: int = 200, seed: int | None = None) -> np.ndarray:
        """Draw outcomes anew for the same rows and new people, shape (n, rows).

        As the family has them: Gaussian ones are not rounded and not held to the bounds of the
        scale, censored ones stand at a bound beyond it.

        Parameters
        ----------
        n : int
            Each from another posterior draw, evenly spaced over all.
        seed : int, optional
            That of the sampler by default.
        """
        gamma = self.draws.gamma.reshape(-1, self.draws.gamma.shape[-1])
        if not 1 <= n <= len(gamma):
            raise DataError(f"n = {n} is not between 1 and the {len(gamma)} posterior draws")
        pick = np.linspace(0, len(gamma) - 1, n).round().astype(int)
        rng = generator(
            self.seed if seed is None else seed, Purpose.RESAMPLING, self.problem.outcome, 0
        )
        return replicate(
            rng,
            gamma[pick] @ self.problem.x.T,
            [(r.z[:, 0], r.group, len(r.levels)) for r in self.problem.random],
            self.draws.sd.reshape(len(gamma), -1)[pick],
            self.rows.unpack(self.draws.own.reshape(len(gamma), -1)[pick]),
            self.rows,
        )

    def at_least(self, category: object) -> Posterior:
        """Return the same draws with another outcome: whether a row is in a category or above it.

        Of the ordered family; on the natural scale its answers are differences of probabilities.

        Parameters
        ----------
        category : str or number
            Above the lowest; of whole numbers also one without rows.

        Examples
        --------
        >>> import ketastats as ks, pandas as pd
        >>> data = pd.DataFrame({"drug": list("AAAABBBB"), "items": [3, 2, 3, 1, 0, 1, 0, 2]})
        >>> post = ks.mcmc("items ~ drug", data, family="ordered")
        >>> post.at_least(2).contrast({"drug": "B - A"}, scale="natural")["outcome"].item()
        'items >= 2'
        """
        problem, rows = at_least(self.problem, self.rows, category)
        return replace(self, problem=problem, rows=rows)

    def summary(self) -> pd.DataFrame:
        """Return mean, sd, interval, MCSE, ESS and R-hat of every parameter."""
        import pandas as pd

        m = summaries.moments(stacked(self.draws), self.level)
        columns = {"mean": m.mean, "sd": m.sd, "ci_low": m.low, "ci_high": m.high}
        columns |= {k: getattr(self.known, k) for k in ("mcse", "ess_bulk", "ess_tail", "r_hat")}
        return pd.DataFrame(columns, index=pd.Index(self.parameters, name="parameter"))

    def to_frame(self) -> pd.DataFrame:
        """Return the summary as a plain DataFrame."""
        return self.summary().reset_index()

    def save(self, path: str | Path) -> None:
        """Write the DataTree as netCDF, whole or not at all; equal draws give equal bytes."""
        save_datatree(self.datatree, path)

    def __str__(self) -> str:
        return as_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(self)

    def _answer(self, estimands: Sequence[Estimand], scale: str) -> Answers:
        return answer(self.problem, self.draws, self.rows, estimands, scale)

    def _method(self, scale: str) -> str:
        """Return what stands in the tables: family and scale where they are not the usual ones."""
        if self.family == "gaussian":
            return self.settings.method
        said = f"{self.family}, {self.settings.method}"
        return said if self.rows.family.mean is None else f"{said}, {scale} scale"
