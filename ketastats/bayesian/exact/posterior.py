"""The exact posterior of one mixed model: what ``ks.posterior`` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from ketastats.bayesian.design import StandardDesign
from ketastats.bayesian.exact import marginal, mixture
from ketastats.bayesian.exact.integrate import Part, Quadrature
from ketastats.bayesian.exact.nodes import Gaussian, at_nodes, prior_of_rows
from ketastats.bayesian.gates import Gate
from ketastats.core.errors import DataError, NotEstimable
from ketastats.problem.build import Problem
from ketastats.problem.estimates import estimates_frame
from ketastats.problem.questions import Asked, as_estimands, ask

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.bayesian.exact.compile import Chosen
    from ketastats.bayesian.exact.evidence import BayesFactor
    from ketastats.bayesian.exact.joint import ExactDraws
    from ketastats.bayesian.exact.loo import Loo
    from ketastats.study.model import Estimand

INTERVALS = ("equal-tailed", "highest-density")


@dataclass(frozen=True, slots=True, eq=False)
class ExactPosterior:
    """The posterior of a Gaussian mixed model by quadrature; made by :func:`posterior`.

    Attributes
    ----------
    problem : Problem
        The matrices, in difference coding.
    design : StandardDesign
        The same in the units of the priors.
    quadrature : Quadrature
        Of the batch of one.
    weight : numpy.ndarray, shape (J,)
        Posterior probabilities of the nodes.
    nodes : numpy.ndarray, shape (J, axes)
        Values of SDs, correlations and scales there.
    prior_text : tuple of (str, str)
        The priors used.
    level : float
        Level of the intervals.
    notes : tuple of str
        Where the priors come from.
    log_evidence : float
        Log density of the data; a constant is missing where a coefficient is flat or the residual
        has a Jeffreys prior.
    tolerance : float
        Error, relative to the posterior's mass, at which the grid is fine enough.
    chosen : Chosen
        The priors, parsed.
    named : tuple of Estimand
        Those with a prior of their own.
    """

    problem: Problem
    design: StandardDesign
    quadrature: Quadrature
    weight: np.ndarray
    nodes: np.ndarray
    prior_text: tuple[tuple[str, str], ...]
    level: float
    notes: tuple[str, ...]
    log_evidence: float
    tolerance: float
    chosen: Chosen
    named: tuple[Estimand, ...]

    @property
    def model(self) -> Gaussian:
        """The model in standard units."""
        return self.quadrature.model

    @property
    def priors(self) -> dict[str, str]:
        """The priors used, as text."""
        return dict(self.prior_text)

    @property
    def error(self) -> float:
        """Estimated quadrature error, relative to the posterior's mass and SDs."""
        return float(self.quadrature.rectangles.error[0])

    @property
    def status(self) -> str:
        """Ok, or unconverged when the error is above the tolerance."""
        return "ok" if self.quadrature.rectangles.found[0] else "unconverged"

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The quadrature error against its tolerance."""
        return (Gate("quadrature error", self.error, self.tolerance, self.status == "ok", "<="),)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Fixed effects, then SDs, correlations and scales of priors."""
        return (*self.problem.names, *(a.name for a in self.model.axes))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know before using the numbers."""
        failed = [
            f"the quadrature error is about {self.error:.2g} and should be {self.tolerance:g}: do "
            "not use the numbers; priors that are less wide, or ks.mcmc"
        ]
        return (*self.problem.notes, *self.notes, *(failed if self.status != "ok" else []))

    def of_rows(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return means and SDs of rows over the problem's coefficients at every node, (J, K)."""
        found = at_nodes(
            self.model, self.quadrature.table.moments, self.nodes, rows @ self.design.back,
            np.zeros(1, dtype=np.int64),
        )  # fmt: skip
        return found.mean[:, :, 0].T, np.sqrt(found.var.T)

    def contrast(
        self,
        contrast: Mapping[str, str] | None = None,
        *,
        within: Mapping[str, str] | None = None,
        weights: Mapping[str, Mapping[str, float]] | None = None,
        estimands: Sequence[Estimand] | None = None,
        interval: str = "equal-tailed",
        level: float | None = None,
    ) -> pd.DataFrame:
        """Answer estimands.

        Parameters
        ----------
        contrast, within, weights, estimands
            As for :meth:`ketastats.bayesian.posterior.Posterior.contrast`.
        interval : str
            ``equal-tailed`` or ``highest-density`` (the shortest).
        level : float, optional
            Of the intervals; that of the posterior by default.

        Returns
        -------
        pandas.DataFrame
            The tidy Estimates table: posterior mean and SD, interval, probability of being above
            0.

        Raises
        ------
        NotEstimable
            For a factor that the model does not contain.

        Examples
        --------
        >>> import ketastats as ks
        >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
        >>> post = ks.posterior("madrs ~ treatment*time + period + (1|subject)", data)
        >>> row = post.contrast({"treatment": "naltrexone - placebo", "time": "day1 - pre"})
        >>> row["status"].item()
        'ok'
        """
        level = self.level if level is None else level
        if interval not in INTERVALS:
            raise DataError(f"there is no interval {interval!r}", mend=" or ".join(INTERVALS))
        if not 0 < level < 1:
            raise DataError(f"level = {level} is not between 0 and 1", mend="use 0.95")
        asked_for = as_estimands(self.problem, contrast, within, weights, estimands)
        asked = ask(self.problem, asked_for)
        mean, sd, low, high, positive = self._answers(asked.rows, interval, level)
        method = "quadrature" if interval == INTERVALS[0] else f"quadrature, {interval} interval"
        notes = "" if self.status == "ok" else self.warnings[-1]
        records = []
        for k, e in enumerate(asked_for):
            record: dict[str, object] = {
                "outcome": self.problem.outcome,
                "estimand": e.name,
                "engine": "posterior",
                "level": level,
                "method": method,
            }
            if not asked.estimable[k]:
                record |= {"status": "not_estimable", "notes": asked.reasons[k]}
            else:
                record |= {
                    "estimate": float(mean[k]),
                    "se": float(sd[k]),
                    "prob_positive": float(positive[k]),
                    "ci_low": float(low[k]),
                    "ci_high": float(high[k]),
                    "status": self.status,
                    "notes": notes,
                }
            records.append(record)
        return estimates_frame(records)

    def _answers(self, rows: np.ndarray, interval: str, level: float) -> tuple[np.ndarray, ...]:
        m, s = self.of_rows(rows)
        s = np.maximum(s, 1e-300)  # rows of zeros: not estimable
        mean, sd = mixture.moments(self.weight[None], m[None], s)
        zero = np.zeros((1, len(rows)))
        positive = mixture.cdf(self.weight[None], -m[None], s, zero)[0]
        if interval == INTERVALS[0]:
            p = np.array([0.5 - level / 2, 0.5 + level / 2])
            ends = mixture.quantiles(self.weight[None], m[None], s, mean, sd, ndtri(p), p)
            low, high = ends[:, 0]
        else:
            low, high = mixture.highest(self.weight, m, s, level)
        return mean[0], sd[0], low, high, positive

    def asked(self, estimands: Sequence[Estimand]) -> Asked:
        """Return estimands as rows over the problem's coefficients.

        Raises
        ------
        NotEstimable
            When the data cannot answer one of them.
        """
        found = ask(self.problem, estimands)
        for e, reason in zip(estimands, found.reasons, strict=True):
            if reason:
                raise NotEstimable(
                    f"the data cannot answer {e.name!r}: {reason}",
                    where=f"estimands.{e.name}",
                    mend="ask for something else or change the formula",
                )
        return found

    def prior_of(self, estimands: Sequence[Estimand]) -> dict[str, tuple[float, float]]:
        """Return prior mean and SD of estimands that have a normal prior, by name."""
        asked = ask(self.problem, estimands)
        mean, sd = prior_of_rows(self.model, asked.rows @ self.design.back)
        fine = asked.estimable & np.isfinite(sd)
        mean = np.where(np.abs(mean) < 1e-9 * np.where(fine, sd, 0.0), 0.0, mean)  # rounding
        return {
            e.name: (float(m), float(s))
            for e, m, s, ok in zip(estimands, mean, sd, fine, strict=True)
            if ok
        }

    def probability(
        self,
        contrast: Mapping[str, str],
        *,
        above: float = -np.inf,
        below: float = np.inf,
        within: Mapping[str, str] | None = None,
    ) -> float:
        """Return the posterior probability that an estimand lies between two values.

        Parameters
        ----------
        contrast, within : mapping
            As for :meth:`contrast`.
        above, below : float
            In the units of the outcome: ``above=-2, below=2`` for a region of practical
            equivalence.

        Examples
        --------
        >>> import ketastats as ks
        >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
        >>> post = ks.posterior("madrs ~ treatment + period + (1|subject)", data)
        >>> p = post.probability({"treatment": "naltrexone - placebo"}, above=0)
        >>> 0 < p < 1
        True
        """
        if not above < below:
            raise DataError(f"above = {above} is not less than below = {below}", mend="swap them")
        asked = self.asked(as_estimands(self.problem, contrast, within))
        m, s = self.of_rows(asked.rows)
        ends = [np.clip(np.full((1, 1), v), -1e300, 1e300) for v in (above, below)]
        low, high = (mixture.cdf(self.weight[None], m[None], s, e)[0, 0] for e in ends)
        return float(high - low)

    def with_priors(
        self,
        priors: Mapping[str, str],
        estimands: Sequence[Estimand] = (),
        tolerance: float | None = None,
    ) -> ExactPosterior:
        """Return the posterior under other priors of the same data.

        Parameters
        ----------
        priors : mapping of str to str
            Replaces those of the same role, term or estimand; the others stay.
        estimands : sequence of Estimand
            Those that ``priors`` name.
        tolerance : float, optional
            Another than this posterior's.

        Examples
        --------
        >>> import ketastats as ks
        >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
        >>> post = ks.posterior("madrs ~ treatment + period + (1|subject)", data, typical_sd=10)
        >>> post.with_priors({"effects": "normal(0, 1)"}).priors["effects"]
        'normal(0, 1)'
        """
        from ketastats.bayesian.exact.fit import under_priors

        return under_priors(self, priors, estimands, tolerance)

    def bayes_factor(
        self,
        contrast: Mapping[str, str] | None = None,
        *,
        within: Mapping[str, str] | None = None,
        weights: Mapping[str, Mapping[str, float]] | None = None,
        estimands: Sequence[Estimand] | None = None,
        at: float | Sequence[float] = 0.0,
    ) -> BayesFactor:
        """Return the Bayes factor of this model against one with estimands held at values.

        Parameters
        ----------
        contrast, within, weights, estimands
            As for :meth:`contrast`; several estimands are held together.
        at : float or sequence of float
            Their values, 0 by default.

        Raises
        ------
        StudyError
            When the prior of the estimands is flat, or has no density at the values.
        NotEstimable
            When the data cannot answer one of them.

        Examples
        --------
        >>> import ketastats as ks
        >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
        >>> post = ks.posterior("madrs ~ treatment + period + (1|subject)", data, typical_sd=10)
        >>> found = post.bayes_factor({"treatment": "naltrexone - placebo"})
        >>> abs(found.difference) < 1e-4
        True
        """
        from ketastats.bayesian.exact.evidence import bayes_factor

        asked = as_estimands(self.problem, contrast, within, weights, estimands)
        return bayes_factor(self, asked, at)

    def densities(
        self, estimands: Sequence[Estimand], points: int = 200
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return the posterior density of every estimand that can be answered, for plotting.

        By name of the estimand: where, and the density there; each of shape (points,).
        """
        asked = ask(self.problem, estimands)
        fine = [k for k, fine in enumerate(asked.estimable) if fine]
        m, s = self.of_rows(asked.rows[fine])
        mean, sd = mixture.moments(self.weight[None], m[None], s)
        at = mean[0] + np.linspace(-4.5, 4.5, points)[:, None] * sd[0]
        found = mixture.density(self.weight, m, s, np.ascontiguousarray(at))
        names = [estimands[k].name for k in fine]
        return {n: (at[:, i], found[:, i]) for i, n in enumerate(names)}

    def summary(self) -> pd.DataFrame:
        """Return mean, sd and equal-tailed interval of every parameter."""
        import pandas as pd

        eye = np.eye(len(self.problem.names))
        mean, sd, low, high, _ = self._answers(eye, INTERVALS[0], self.level)
        rows = [mean, sd, low, high]
        columns = ["mean", "sd", "ci_low", "ci_high"]
        names = pd.Index(self.problem.names, name="parameter")
        return pd.concat([pd.DataFrame(np.array(rows).T, columns=columns, index=names), self.sds()])

    def sds(self) -> pd.DataFrame:
        """Return mean, sd and equal-tailed interval of SDs, correlations and scales of priors."""
        import pandas as pd

        own = [self._of_axis(a) for a in range(len(self.model.axes))]
        names = pd.Index([a.name for a in self.model.axes], name="parameter")
        return pd.DataFrame(own, columns=["mean", "sd", "ci_low", "ci_high"], index=names)

    def refined(self, axis: int) -> Part:
        """Integrate again with one axis refined."""
        return marginal.refined(self.quadrature, axis)[0]

    def _of_axis(self, axis: int) -> list[float]:
        """Return mean, SD and interval of what is on an axis."""
        part = self.refined(axis)
        mean = marginal.axis_mean(self.model.axes[axis], part, axis)
        sd = float(np.sqrt(self.weight @ self.nodes[:, axis] ** 2 - mean**2))
        p = np.array([0.5 - self.level / 2, 0.5 + self.level / 2])
        ends = marginal.axis_quantiles(self.model.axes[axis], part, axis, p)
        return [mean, sd, *ends.tolist()]

    def axis_density(self, name: str, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
        """Return where and how dense the posterior of an SD, correlation or scale is."""
        axis = [a.name for a in self.model.axes].index(name)
        of, part = self.model.axes[axis], self.refined(axis)
        level, low, _ = part.rectangle[:, axis].tolist()
        mass = marginal.masses(part, axis)[0]
        ends = marginal.axis_quantiles(of, part, axis, np.array([1e-4, 1 - 1e-4]))
        first = 1e-3 * ends[1] if of.map in ("even", "end") else float(ends[0])
        at = np.linspace(first, ends[1], points)
        return at, marginal.density(of, level, low, mass, at)

    def shares(self) -> pd.DataFrame:
        """Return the posterior of every random intercept's share of the variance (the ICC).

        Mean, sd and equal-tailed interval of its variance over the sum of all variances of
        intercepts and the residual, which must be one.
        """
        import pandas as pd

        if len(self.problem.residual.structure.names) > 1:
            raise DataError(
                "with a variance per group there is no one share of it",
                where="residual",
                mend="leave out the residual structure",
            )
        sds = list(range(len(self.problem.random)))
        slopes = [r for r in self.problem.random if r.effects != ("1",)]
        if slopes:
            raise DataError(
                f"with the slope ({slopes[0].term.text}) shares of variance differ between rows",
                where=slopes[0].term.name,
                mend="leave the slope out",
            )
        residual = next(i for i, a in enumerate(self.model.axes) if a.map == "log")
        of = [*sds, residual]
        total = (self.nodes[:, of] ** 2).sum(axis=1)
        p = np.array([0.5 - self.level / 2, 0.5 + self.level / 2])
        table = {}
        for i in sds:
            share = self.nodes[:, i] ** 2 / total
            mean = float(self.weight @ share)
            sd = float(np.sqrt(self.weight @ (share - mean) ** 2))
            part, others = self.refined(i), [j for j in of if j != i]

            def below(
                x: np.ndarray, part: Part = part, i: int = i, others: Any = others
            ) -> np.ndarray:
                axes = self.model.axes
                return np.array([marginal.share_below(axes, part, i, others, v) for v in x])

            ends = marginal.invert(below, p, 0.0, 1.0)
            table[self.model.axes[i].name.removeprefix("sd ")] = [mean, sd, *ends.tolist()]
        columns = ["mean", "sd", "ci_low", "ci_high"]
        return pd.DataFrame.from_dict(table, orient="index", columns=columns)

    def draws(self, n: int = 1000, seed: int = 1) -> ExactDraws:
        """Return independent joint draws of SDs, coefficients and random effects.

        They are not confined to the nodes, and as exact as the quadrature.

        Examples
        --------
        >>> import ketastats as ks
        >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
        >>> post = ks.posterior("madrs ~ treatment + period + (1|subject)", data, typical_sd=10)
        >>> draws = post.draws(500)
        >>> draws.gamma.shape, draws.effects[0].shape
        ((500, 3), (500, 26))
        """
        from ketastats.bayesian.exact.joint import joint_draws

        return joint_draws(self, n, seed)

    def predictive(self, n: int = 200, seed: int = 1) -> np.ndarray:
        """Draw outcomes anew for the same rows and new people, shape (n, rows).

        They are not rounded and not held to the bounds of the scale.

        Examples
        --------
        >>> import ketastats as ks
        >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
        >>> post = ks.posterior("madrs ~ treatment + period + (1|subject)", data, typical_sd=10)
        >>> post.predictive(20).shape == (20, len(post.problem.y))
        True
        """
        from ketastats.bayesian.exact.joint import predictive

        return predictive(self, n, seed)

    def prior_predictive(self, n: int = 200, seed: int = 1) -> np.ndarray:
        """Draw outcomes for the same rows from the priors alone, shape (n, rows).

        Raises DataError where a prior is improper.

        Examples
        --------
        >>> import ketastats as ks
        >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
        >>> post = ks.posterior("madrs ~ treatment + period + (1|subject)", data, typical_sd=10)
        >>> bool(post.prior_predictive(100).std() > post.problem.y.std())
        True
        """
        from ketastats.bayesian.exact.draws import prior_predictive

        return prior_predictive(self, n, seed)

    def datatree(self, n: int = 4000, seed: int = 1, prior: bool = False) -> Any:
        """Return joint draws as an ArviZ DataTree; ``prior`` adds outcomes from the priors.

        Examples
        --------
        >>> import ketastats as ks
        >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
        >>> post = ks.posterior("madrs ~ treatment + period + (1|subject)", data, typical_sd=10)
        >>> post.datatree(400)["posterior"]["gamma"].shape
        (4, 100, 3)
        """
        from ketastats.bayesian.exact.datatree import datatree

        return datatree(self, n, seed, prior)

    def effects(self, level: float | None = None) -> pd.DataFrame:
        """Return the deviations of subjects and other groups, shrunken by the model.

        Per group of every random term posterior mean, SD and equal-tailed interval; ``raw`` is
        the deviation without shrinkage.

        Examples
        --------
        >>> import ketastats as ks
        >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
        >>> post = ks.posterior("madrs ~ treatment + period + (1|subject)", data, typical_sd=10)
        >>> found = post.effects()
        >>> bool((found["mean"].abs() < found["raw"].abs()).mean() > 0.9)
        True
        """
        from ketastats.bayesian.exact.subjects import effects

        return effects(self, level)

    def loo(self, by: str | None = None) -> Loo:
        """Leave out one row at a time, or with ``by="subject"`` one subject.

        Examples
        --------
        >>> import ketastats as ks
        >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
        >>> small = ks.posterior("madrs ~ treatment + (1|subject)", data, typical_sd=10)
        >>> large = ks.posterior("madrs ~ treatment*time + (1|subject)", data, typical_sd=10)
        >>> gain = large.loo("subject").compare(small.loo("subject"))
        >>> gain.elpd > gain.se
        True
        """
        from ketastats.bayesian.exact.loo import loo

        return loo(self, by)

    def to_frame(self) -> pd.DataFrame:
        """Return the summary as a plain DataFrame."""
        return self.summary().reset_index()

    def __str__(self) -> str:
        p = self.problem
        lines = [
            f"Exact posterior of a mixed model: {p.outcome} ~ {p.formula}",
            f"{len(p.y)} rows in {len(np.unique(p.block))} independent blocks; {len(self.weight)} "
            f"nodes over {len(self.model.axes)} parameters, error about {self.error:.1g}",
            *(f"prior of {k}: {v}" for k, v in self.prior_text),
            "",
            self.summary().to_string(float_format=lambda v: f"{v:.4g}"),
            "",
            f"log density of the data {self.log_evidence:.6g}",
        ]
        return "\n".join(lines + [f"warning: {w}" for w in self.warnings])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        p = self.problem
        priors = "".join(f"<li>{escape(k)}: {escape(v)}</li>" for k, v in self.prior_text)
        notes = "".join(f"<p>warning: {escape(w)}</p>" for w in self.warnings)
        table = self.summary().to_html(float_format=lambda v: f"{v:.4g}")
        return (
            f"<p>{escape(p.outcome)} ~ {escape(p.formula)}; exact posterior</p><p>Priors</p>"
            f"<ul>{priors}</ul>{table}{notes}"
        )
