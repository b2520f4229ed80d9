"""A fitted generalised linear mixed model and what a reader asks of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError
from ketastats.frequentist import glmm_answers as answers
from ketastats.frequentist.askable import Askable, Records, make_records
from ketastats.frequentist.comparison import LikelihoodRatio
from ketastats.frequentist.glmm_answers import DISPERSIONS, Rows
from ketastats.frequentist.glmm_bootstrap import Bootstrap, bootstrap
from ketastats.frequentist.glmm_comparison import Fitted, likelihood_ratio
from ketastats.frequentist.glmm_df import DDF
from ketastats.frequentist.glmm_notes import few_groups, reason, rough_quadrature
from ketastats.frequentist.inference import LINKS, SCALES, Inference, lay_out
from ketastats.frequentist.marginal import marginal_mean
from ketastats.frequentist.quadrature import GlmmFit
from ketastats.problem.build import Problem
from ketastats.problem.questions import as_estimands
from ketastats.problem.strata import Units, missing_units
from ketastats.study.lookup import suggestion

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.study.model import Estimand

INTERVALS = ("delta", "bootstrap")
NO_ERROR = "there is no standard error"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GeneralisedModel(Askable):
    """A fitted generalised linear mixed model; made by :func:`~ketastats.frequentist.glmm.glmm`.

    Attributes
    ----------
    problem : Problem
        The matrices, with the random intercepts as random terms, the larger unit first.
    rows : Rows
        What was fitted: family, trials, exposure, nodes.
    fit : GlmmFit
        The batch of one.
    level : float
        Level of the intervals.
    units : Units
        Units of the table, for the error-stratum check.
    extra : str
        What is said of rows that vary more than the family allows; empty where they do not.
    ddf : str
        z or between.
    df : float
        Degrees of freedom of every test; infinite for z.
    """

    problem: Problem
    rows: Rows
    fit: GlmmFit
    level: float
    units: Units
    extra: str = ""
    ddf: str = "z"
    df: float = np.inf

    @property
    def status(self) -> str:
        """One of ok, boundary, unconverged, failed."""
        return answers.status_names(self.fit.reason, self.fit.boundary.any(axis=1))[0]

    @property
    def family(self) -> str:
        """Name of the outcome family."""
        return self.rows.family.name

    @property
    def group(self) -> str:
        """What has a random intercept, the larger unit of two; empty without one."""
        return self.problem.random[0].term.name if self.problem.random else ""

    @property
    def loglik(self) -> float:
        """Log-likelihood, all constants in it (lme4 leaves them out with several nodes)."""
        return float(self.fit.loglik[0]) if self.fit.converged[0] else float("nan")

    @property
    def n_parameters(self) -> int:
        """Coefficients, spread and overdispersion together."""
        return len(self.problem.names) + len(self.fit.spreads)

    @property
    def aic(self) -> float:
        """-2 log-likelihood + 2 parameters."""
        return -2 * self.loglik + 2 * self.n_parameters

    @property
    def bic(self) -> float:
        """-2 log-likelihood + parameters x log(rows), as lme4 and glmmTMB."""
        return -2 * self.loglik + self.n_parameters * float(np.log(len(self.problem.y)))

    @property
    def variance(self) -> pd.Series:
        """Variances of the random intercepts on the link scale by term, as in ``ks.lmm``."""
        import pandas as pd

        names = [r.term.name for r in self.problem.random]
        values = [float(v[0]) ** 2 for v in (self.fit.sd, self.fit.inner_sd)][: len(names)]
        return pd.Series(values, index=names, name="variance", dtype=float)

    @property
    def spreads(self) -> pd.DataFrame:
        """Standard deviations of the random intercepts, and overdispersion.

        ``sd mouse`` and ``sd mouse:branch`` are on the link scale. ``rho`` is the intraclass
        correlation of a beta-binomial's trials; ``alpha`` of a negative binomial makes the variance
        mu + alpha mu^2. Columns estimate, se, ci_low, ci_high, boundary; intervals are Wald's on
        the log scale (rho: logit), and there is none on the boundary.
        """
        import pandas as pd

        terms = [r.term.name for r in self.problem.random]
        called = {"sd": f"sd {self.group}", "dispersion": DISPERSIONS.get(self.family, "")}
        called["inner_sd"] = f"sd {terms[-1]}" if terms else ""
        names = [called[n] for n in self.fit.spreads]
        columns = ["estimate", "se", "ci_low", "ci_high", "boundary"]
        index = pd.Index(names, name="spread", dtype=str)
        return pd.DataFrame(answers.spread_rows(self.fit, self.level), index=index, columns=columns)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know before using the numbers."""
        out = [*self.problem.notes, *self._state(), self.extra]
        out.append(rough_quadrature(self.rows, self.fit))
        if self.group and self.ddf == "z":
            out.append(few_groups(len(self.problem.random[0].levels), self.group, self.fit))
        return tuple([w for w in out if w] + self._missing(self._interventions()))

    def _state(self) -> list[str]:
        """Say why the status is not ok."""
        if not self.fit.converged[0]:
            return [reason(self.fit, self.problem.names)]
        zero = [str(n) for n, held in self.spreads["boundary"].items() if held]
        return [f"{' and '.join(zero)} estimated as 0 (boundary)"] if zero else []

    def _missing(self, factors: Sequence[str]) -> list[str]:
        """Say which units contrasts of some factors vary at and the model leaves out."""
        beside = " and ".join(f"(1 | {r.term.name})" for r in self.problem.random)
        more = f"; beside {beside} that takes ks.mcmc" if len(self.problem.random) > 1 else ""
        return [f"{m}{more}" for m in missing_units(self.units, tuple(factors))]

    def contrast(
        self,
        contrast: Mapping[str, str] | None = None,
        *,
        within: Mapping[str, str] | None = None,
        weights: Mapping[str, Mapping[str, float]] | None = None,
        estimands: Sequence[Estimand] | None = None,
        scale: str = "link",
        adjust: str | None = None,
        interval: str = "delta",
        draws: int = 999,
        seed: int = 1,
    ) -> pd.DataFrame:
        """Answer estimands.

        Parameters
        ----------
        contrast, within, weights, estimands
            As in :meth:`.MixedModel.contrast`.
        scale : str
            ``link``: of one animal (log odds, log counts at its own random intercept).
            ``natural``: of the population, weights over the cells' shares or counts averaged over
            the random intercept; counts are per unit of exposure.
        adjust : str, optional
            ``holm`` or ``bonferroni`` over the estimands asked for.
        interval : str
            ``delta``: z or t, as the model was fitted. ``bootstrap``: the estimate by its standard
            error is referred to its distribution in outcomes drawn from the fitted model, each
            fitted again; it stays sound with few groups. A draw without a finite fit counts as
            larger than any z.
        draws, seed : int
            Of the bootstrap; the same seed gives the same numbers.

        Returns
        -------
        pandas.DataFrame
            The tidy Estimates table, one row per estimand. A single mean on the natural scale has
            an interval inside the range of the outcome and no test. A bootstrap has no df.

        Raises
        ------
        NotEstimable
            For a factor that the model does not contain.

        Examples
        --------
        >>> import pandas as pd
        >>> from ketastats.frequentist.glmm import glmm
        >>> data = pd.DataFrame({"mouse": range(8), "drug": list("AAAABBBB"),
        ...     "failed": [12, 9, 14, 7, 4, 6, 2, 5], "trials": 15})
        >>> fit = glmm("failed ~ drug + (1|mouse)", data, family="binomial", size="trials")
        >>> asked = {"drug": "B - A"}
        >>> z = fit.contrast(asked, scale="natural")
        >>> drawn = fit.contrast(asked, scale="natural", interval="bootstrap", draws=199)
        >>> drawn["estimate"].equals(z["estimate"]), drawn["p"].item() > z["p"].item()
        (True, True)
        """
        if interval not in INTERVALS:
            raise DataError(
                f"there is no interval {interval!r}", mend=suggestion(interval, INTERVALS)
            )
        asked = as_estimands(self.problem, contrast, within, weights, estimands)
        if interval == "delta":
            return self._answer(asked, scale, adjust)
        how = Bootstrap(draws, seed, self.problem.outcome)
        return self._answer(
            asked, scale, adjust, make=lambda e, s, cover: self._records(e, s, cover, how)
        )

    def _records(
        self, asked: Sequence[Estimand], scale: str, cover: float, how: Bootstrap | None = None
    ) -> Records:
        cells = lay_out(self.problem, asked, scale)
        state, method = self._state(), "ML"
        if self.group:
            method += f", {self.rows.nodes} nodes"
        method += (
            f", bootstrap of {how.draws} draws, seed {how.seed}" if how else f", {DDF[self.ddf]}"
        )
        numbers = drawn = None
        if self.fit.converged[0]:
            if how is not None:
                how.check(cover)
                drawn = bootstrap(self.rows, self.fit, cells, how)
                if lost := int(np.isinf(drawn.size[:, cells.estimable]).any(axis=1).sum()):
                    state.append(
                        f"{lost} of {how.draws} draws have no finite fit and count as larger"
                    )
            there = answers.evaluate(cells, self.fit)
            every = answers.infer(there, self.fit, cover, drawn, self.df)
            numbers = every.first()
        base = {
            "engine": "glmm",
            "method": f"{method}, {scale} scale",
            "status": self.status,
            "notes": "; ".join(state),
        }
        missing = ["; ".join(self._missing([f for f, _ in e.contrast])) for e in asked]
        return make_records(self.problem, asked, cells.reasons, numbers, base, missing, NO_ERROR)

    def _coefficients(self) -> tuple[Inference | None, str]:
        name = "z" if self.ddf == "z" else "t"
        if not self.fit.converged[0]:
            return None, name
        every = answers.infer(answers.coefficients_of(self.fit), self.fit, self.level, df=self.df)
        return every.first(), name

    def compare(self, other: GeneralisedModel) -> LikelihoodRatio:
        """Compare with a nested model by likelihood ratio; see :func:`.likelihood_ratio`.

        Binomial is within beta-binomial and Poisson within negative binomial; a random intercept
        or an overdispersion more has the half-and-half mixture of chi-squared as reference.
        """
        for model in (self, other):
            if not model.fit.converged[0]:
                raise DataError(
                    f"a fit with the status {model.status} has no likelihood to compare",
                    where=model.problem.formula,
                    mend="see its warnings",
                )
        return likelihood_ratio(self._fitted(), other._fitted())

    def _fitted(self) -> Fitted:
        return self.rows, self.problem.y, self.loglik, self.fit.spreads

    def predict(self, data: pd.DataFrame | None = None, *, scale: str = "natural") -> np.ndarray:
        """Predict shares, or counts per unit of exposure.

        Parameters
        ----------
        data : pandas.DataFrame, optional
            New rows: means of the population, averaged over the random intercept. Without it the
            rows used, with the modes of their groups' random intercepts.
        scale : str
            ``natural`` or ``link``: the linear predictor.
        """
        if scale not in SCALES:
            raise DataError(f"there is no scale {scale!r}", mend=suggestion(scale, SCALES))
        family, beta = self.rows.family, self.fit.beta[0]
        if data is None:
            eta = self.problem.x @ beta
            for of, modes in (
                (self.rows.group, self.fit.modes), (self.rows.inner, self.fit.inner_modes)
            ):  # fmt: skip
                if of is not None:
                    eta = eta + np.append(modes[0], 0.0)[of]  # the last for rows without a group
            return eta if scale == "link" else LINKS[family.link].inverse(eta)
        eta = self.problem.fixed.matrix(data)[:, list(self.problem.aliasing.kept)] @ beta
        return (
            eta
            if scale == "link"
            else marginal_mean(family, eta, answers.whole_sd(self.fit)[0]).mean
        )

    def _head(self) -> str:
        family = self.rows.family
        kind = "Generalised linear mixed model" if self.group else "Generalised linear model"
        model = f"{self.problem.outcome} ~ {self.problem.formula}"
        return f"{kind}, {family.name} ({family.link}): {model}"

    def _lines(self) -> tuple[list[str], list[str]]:
        above = f"{len(self.problem.y)} rows"
        if self.group:
            units = (f"{len(r.levels)} groups of {r.term.name}" for r in self.problem.random)
            above += f" of {', '.join(units)}"
        above += "; maximum likelihood" + (f", {self.rows.nodes} nodes" if self.group else "")
        if not self.fit.converged[0]:
            return [above], []
        table = self.spreads
        under = ", ".join(f"{n} {v:.4g}" for n, v in table["estimate"].items())
        return [f"{above}; log-likelihood {self.loglik:.4f}; {DDF[self.ddf]}"], [
            under
        ] if under else []
