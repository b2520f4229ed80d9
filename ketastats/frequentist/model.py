"""A fitted mixed model and everything a reader asks of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError, NotEstimable
from ketastats.frequentist import small_sample
from ketastats.frequentist.adjust import adjusted, simultaneous_factor
from ketastats.frequentist.boundary import BoundaryAnswers, boundary_answers
from ketastats.frequentist.comparison import LikelihoodRatio, compare
from ketastats.frequentist.effect_sizes import spreads, standardised
from ketastats.frequentist.fit import contrast_table, estimate_rows, statuses
from ketastats.frequentist.reml import RemlFit
from ketastats.frequentist.residuals import residuals
from ketastats.frequentist.variances import variance_intervals
from ketastats.problem.build import Problem
from ketastats.problem.estimates import estimates_frame
from ketastats.problem.hypotheses import (
    interacting_numbers,
    type1_rows,
    type2_rows,
    type3_rows,
)
from ketastats.problem.questions import as_estimands, ask, mean_estimands, pair_estimands
from ketastats.problem.strata import Units, missing_units

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.figures.svg import Drawing
    from ketastats.study.model import Estimand

INTERVENTIONS = ("treatment", "drug", "arm", "group", "condition", "dose")
"""Factors whose missing units are warned of with the fit; those of any other factor with the
contrast that asks for it."""


@dataclass(frozen=True, slots=True, eq=False)
class MixedModel:
    """A fitted linear mixed model; made by :func:`lmm`.

    Attributes
    ----------
    problem : Problem
        The matrices.
    fit : RemlFit
        The batch of one.
    ddf : str
        Method of the degrees of freedom, named in every table.
    level : float
        Level of the intervals.
    units : Units
        Units of the table, for the error-stratum check.
    ml : bool
        Fitted by maximum likelihood instead of REML.
    """

    problem: Problem
    fit: RemlFit
    ddf: str
    level: float
    units: Units
    ml: bool = False

    @property
    def status(self) -> str:
        """One of ok, boundary, unconverged."""
        return statuses(self.fit)[0]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know before using the numbers."""
        out = list(self.problem.notes)
        zero, singular = self._at_boundary()
        if singular:
            out.append(
                f"the covariance matrix of {', '.join(singular)} is singular (boundary): its "
                "effects are perfectly correlated or one does not vary"
            )
        if zero:
            kept = "counts it" if self.ddf.startswith("kenward-roger") else "does not count it"
            out.append(
                f"the variance of {', '.join(zero)} is estimated as 0 (boundary); {self.ddf} "
                f"{kept} in the degrees of freedom"
            )
        if not self.fit.converged[0]:
            out.append(
                f"the fit did not converge in {self.fit.iterations[0]} iterations; "
                "do not use the numbers"
            )
        factors = tuple(n for n, _ in self.problem.fixed.factors if n in INTERVENTIONS)
        out += [str(m) for m in missing_units(self.units, factors)]
        return tuple(out)

    def _at_boundary(self) -> tuple[list[str], list[str]]:
        """Return variances estimated as zero, and terms of several effects that lost rank."""
        zero: list[str] = []
        singular: list[str] = []
        at = 0
        for r in self.problem.random:
            k = len(r.parameters)
            if self.fit.boundary[0, at : at + k].any():
                (zero if k == 1 else singular).append(r.term.name if k > 1 else r.parameters[0][2])
            at += k
        return zero, singular

    @property
    def loglik(self) -> float:
        """Log-likelihood (REML or ML), constants as in lme4."""
        return float(self.fit.at.loglik[0])

    @property
    def n_parameters(self) -> int:
        """Fixed effects and covariance parameters together, as lme4 counts them."""
        return len(self.problem.names) + len(self.problem.parameters)

    @property
    def aic(self) -> float:
        """-2 log-likelihood + 2 parameters; compare REML values only with equal fixed parts."""
        return -2 * self.loglik + 2 * self.n_parameters

    @property
    def bic(self) -> float:
        """-2 log-likelihood + parameters x log(rows), as lme4."""
        return -2 * self.loglik + self.n_parameters * float(np.log(len(self.problem.y)))

    @property
    def variance(self) -> pd.Series:
        """Variances and covariances by random term, ``residual`` last."""
        import pandas as pd

        return pd.Series(self.fit.theta[0], index=list(self.problem.parameters), name="variance")

    @property
    def coefficients(self) -> pd.DataFrame:
        """Fixed effects by term: estimate, se, df, t, p, ci_low, ci_high."""
        import pandas as pd

        c = self._contrasts(np.eye(len(self.problem.names)))
        columns = {
            k: getattr(c, k)[0] for k in ("estimate", "se", "df", "t", "p", "ci_low", "ci_high")
        }
        frame = pd.DataFrame(columns, index=pd.Index(self.problem.names, name="term"))
        frame.attrs["ddf"] = self.ddf
        frame.columns.name = self.ddf
        return frame

    def _contrasts(self, rows: np.ndarray) -> small_sample.ContrastTable:
        return contrast_table(self.problem, self.fit, rows, self.ddf, self.level)

    def contrast(
        self,
        contrast: Mapping[str, str] | None = None,
        *,
        within: Mapping[str, str] | None = None,
        weights: Mapping[str, Mapping[str, float]] | None = None,
        estimands: Sequence[Estimand] | None = None,
        adjust: str | None = None,
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
        adjust : str, optional
            ``holm`` or ``bonferroni`` over the estimands asked for; the unadjusted p stays,
            ``p_adjusted`` is added and the intervals become simultaneous.

        Returns
        -------
        pandas.DataFrame
            The tidy Estimates table, one row per estimand. An estimand the data cannot answer has
            the status ``not_estimable`` and a note that says why.

        Raises
        ------
        NotEstimable
            For a factor that the model does not contain.

        Examples
        --------
        >>> import ketastats as ks
        >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
        >>> fit = ks.lmm("madrs ~ treatment*time + period + (1|subject)", data)
        >>> row = fit.contrast({"treatment": "naltrexone - placebo", "time": "day1 - pre"})
        >>> row["status"].item()
        'ok'
        """
        return self._answer(
            as_estimands(self.problem, contrast, within, weights, estimands), adjust
        )

    def _answer(
        self, asked: Sequence[Estimand], adjust: str | None, family: int = 0
    ) -> pd.DataFrame:
        records = estimate_rows(self.problem, self.fit, asked, self.ddf, self.level)
        beside = self._beside(asked)
        for k, (record, estimand) in enumerate(zip(records, asked, strict=True)):
            missing = missing_units(self.units, tuple(f for f, _ in estimand.contrast))
            notes = [str(record.get("notes", "")), *(str(m) for m in missing)]
            if beside is not None and record["status"] == "boundary":
                notes.append(beside.sentence(k))
            record["notes"] = "; ".join(n for n in notes if n)
        frame = estimates_frame(records)
        if adjust is not None:
            frame["p_adjusted"] = adjusted(frame, adjust, family)
            frame["adjust"] = adjust
            factor = simultaneous_factor(frame, adjust, family, self.level)
            frame["ci_low"] = frame["estimate"] - factor * frame["se"]
            frame["ci_high"] = frame["estimate"] + factor * frame["se"]
        return frame

    def _beside(self, asked: Sequence[Estimand]) -> BoundaryAnswers | None:
        rows = ask(self.problem, asked).rows
        return boundary_answers(self.problem, self.fit, rows, self.ddf, self.level, ml=self.ml)

    def at_boundary(
        self, contrast: Mapping[str, str] | None = None, *, within: Mapping[str, str] | None = None
    ) -> pd.DataFrame:
        """Set side by side what a variance estimated as zero leaves open.

        Parameters
        ----------
        contrast, within : mapping of str to str, optional
            As for :meth:`contrast`; all coefficients without it.

        Returns
        -------
        pandas.DataFrame
            For every term estimate, se, df and p three times: with the zero component ``kept`` in
            the degrees of freedom (as pbkrtest), ``left out`` (as lmerTest), and with its groups
            as fixed effects, where that can answer. No rows when no random intercept is zero.

        Examples
        --------
        >>> import ketastats as ks, pandas as pd
        >>> data = pd.DataFrame({"subject": [1, 1, 2, 2, 3, 3, 4, 4], "drug": list("ABABABAB"),
        ...     "y": [1.0, 4.0, 3.0, 2.0, 2.0, 4.5, 3.5, 2.5]})
        >>> fit = ks.lmm("y ~ drug + (1|subject)", data)
        >>> fit.at_boundary().xs("df", axis=1, level=1).loc["drug[T.B]"].round(2).tolist()
        [3.0, 6.0, 3.0]
        """
        import pandas as pd

        if contrast is None:
            rows, names = np.eye(len(self.problem.names)), list(self.problem.names)
        else:
            asked = as_estimands(self.problem, contrast, within)
            rows = ask(self.problem, asked).rows
            names = [e.name for e in asked]
        found = boundary_answers(self.problem, self.fit, rows, self.ddf, self.level, ml=self.ml)
        columns = {} if found is None else found.columns()
        index = pd.Index(names if columns else [], name="term")
        return pd.DataFrame(columns, index=index)

    def pairs(
        self,
        factor: str,
        *,
        within: Mapping[str, str] | None = None,
        adjust: str | None = "tukey",
    ) -> pd.DataFrame:
        """Compare all levels of a factor two by two.

        Parameters
        ----------
        factor : str
        within : mapping of str to str, optional
        adjust : str or None
            ``tukey`` (studentised range), ``holm``, ``bonferroni`` or None. Intervals are
            simultaneous to match (Bonferroni's for Holm).

        Returns
        -------
        pandas.DataFrame
            The Estimates table with ``p_adjusted``.
        """
        asked = pair_estimands(self.problem, factor, within)
        return self._answer(asked, adjust, family=len(dict(self.problem.fixed.factors)[factor]))

    def means(self, *factors: str, within: Mapping[str, str] | None = None) -> pd.DataFrame:
        """Return marginal means: cells of the named factors, the others averaged equally.

        Parameters
        ----------
        *factors : str
        within : mapping of str to str, optional
            Factors held at one level.

        Returns
        -------
        pandas.DataFrame
            Indexed by the factors: estimate, se, df, ci_low, ci_high, status. Covariates are held
            at their means over the rows.
        """
        import pandas as pd

        names = tuple(n for f in factors for n in ([f] if isinstance(f, str) else f))
        cells, asked = mean_estimands(self.problem, names, within)
        frame = estimates_frame(estimate_rows(self.problem, self.fit, asked, self.ddf, self.level))
        out = frame[["estimate", "se", "df", "ci_low", "ci_high", "status"]]
        out.index = pd.MultiIndex.from_tuples(cells, names=list(names))
        out.columns.name = self.ddf
        return out

    def test(self, rows: np.ndarray) -> small_sample.FTest:
        """Test several linear combinations of the coefficients jointly.

        Parameters
        ----------
        rows : numpy.ndarray, shape (l, coefficients)
            Linearly independent.
        """
        rows = np.atleast_2d(np.asarray(rows, dtype=float))
        if rows.shape[1] != len(self.problem.names):
            raise NotEstimable(
                f"the rows have {rows.shape[1]} columns and the model {len(self.problem.names)}",
                mend="one number per coefficient, in the order of fit.coefficients",
            )
        if np.linalg.matrix_rank(rows) < len(rows):
            raise NotEstimable("the rows are linearly dependent", mend="drop the redundant ones")
        return self._fs([rows])[0]

    def _fs(self, hypotheses: Sequence[np.ndarray]) -> list[small_sample.FTest]:
        if self.ddf == "satterthwaite":
            return [small_sample.satterthwaite_f(self.fit, rows) for rows in hypotheses]
        if self.ddf.startswith("kenward-roger"):
            return small_sample.kenward_roger_fs(self.fit, hypotheses, self.ddf)
        dfs = [self._contrasts(rows).df.min() for rows in hypotheses]
        return [
            small_sample.wald_f(self.fit, rows, float(df))
            for rows, df in zip(hypotheses, dfs, strict=True)
        ]

    def compare(self, other: MixedModel) -> LikelihoodRatio:
        """Compare with a nested model by likelihood ratio; see :func:`.comparison.compare`."""
        return compare(
            (self.problem, self.loglik, self.ml), (other.problem, other.loglik, other.ml)
        )

    def variance_intervals(self) -> pd.DataFrame:
        """Return intervals of variances and covariances.

        Variances: Satterthwaite's chi-squared with df 2 (variance / se)^2 (as SAS's CL option);
        covariances and correlations: normal. A variance on the boundary has no interval and says
        so.
        """
        return variance_intervals(self.problem, self.fit, self.level)

    def residuals(self, kind: str = "conditional") -> np.ndarray:
        """Return residuals in the order of the rows used: raw, conditional or scaled."""
        if kind not in ("raw", "conditional", "scaled"):
            raise DataError(f"there are no {kind!r} residuals", mend="raw, conditional or scaled")
        p = self.problem
        return residuals(p, p.y, self.fit.beta[0], self.fit.theta[0], kind)

    def plot(self) -> Drawing:
        """Draw conditional residuals against fitted values, and their normal Q-Q plot.

        Returns
        -------
        Drawing
            Shown in a notebook; ``fit.plot().save("residuals.svg")`` writes it.
        """
        from ketastats.figures.diagnostics import residual_plots
        from ketastats.figures.svg import Drawing

        groups = [r.term.name for r in self.problem.random]
        svg = residual_plots(
            self.predict(),
            self.residuals(),
            unit=self.problem.outcome,
            ident="residuals",
            subject=groups[0] if groups else "row",
        )
        return Drawing(svg, f"Residuals of {self.problem.outcome} ~ {self.problem.formula}")

    def predict(self, data: pd.DataFrame | None = None) -> np.ndarray:
        """Predict the mean.

        Parameters
        ----------
        data : pandas.DataFrame, optional
            New rows: the fixed part only. Without it the rows used, with their subjects' predicted
            deviations (conditional means).
        """
        if data is None:
            return self.problem.y - self.residuals("conditional")
        matrix = self.problem.fixed.matrix(data)[:, list(self.problem.aliasing.kept)]
        return matrix @ self.fit.beta[0]

    def effect_sizes(
        self, contrast: Mapping[str, str], *, within: Mapping[str, str] | None = None
    ) -> pd.DataFrame:
        """Return a contrast in raw units, then divided by three named SDs.

        Returns
        -------
        pandas.DataFrame
            Indexed by scale (raw, residual SD, within-unit SD, total SD): sd, estimate, se, df,
            ci_low, ci_high. Intervals of standardised sizes by the delta method.
        """
        import pandas as pd

        row = self.contrast(contrast, within=within).iloc[0]
        if row["status"] not in ("ok", "boundary"):
            raise NotEstimable(f"the contrast has the status {row['status']}")
        half = (row["ci_high"] - row["estimate"]) / row["se"]
        records = [("raw", 1.0, row["estimate"], row["se"])]
        for s in spreads(self.problem, self.fit.theta[0]):
            d, se = standardised(self.fit, s, float(row["estimate"]), float(row["se"]))
            records.append((s.name, float(np.sqrt(s.variance)), d, se))
        frame = pd.DataFrame(records, columns=["scale", "sd", "estimate", "se"]).set_index("scale")
        frame["df"] = row["df"]
        frame["ci_low"] = frame["estimate"] - half * frame["se"]
        frame["ci_high"] = frame["estimate"] + half * frame["se"]
        frame.columns.name = self.ddf
        return frame

    def anova(self, type: int = 3, *, covariates: str = "zero") -> pd.DataFrame:
        """Test every term of the fixed part: num_df, den_df, F, p.

        Parameters
        ----------
        type : int
            1: each term after those before it. 2: each term after all that do not contain it.
            3: differences over the term's factors with equal weights over the others.
        covariates : str
            Where type 3 asks for a factor that interacts with a covariate: at ``zero``, as R and
            SAS, or at the ``mean`` over the rows. The value stands above the table.

        Returns
        -------
        pandas.DataFrame
            Indexed by term.
        """
        import pandas as pd

        if type not in (1, 2, 3):
            raise NotEstimable(f"there is no anova of type {type}", mend="use 1, 2 or 3")
        if covariates not in ("zero", "mean") or (covariates == "mean" and type != 3):
            raise NotEstimable(
                f"anova of type {type} has no covariates={covariates!r}",
                mend='use type 3 with covariates="zero" or "mean"',
            )
        if type == 3:
            asked = type3_rows(self.problem, covariates)
        else:
            asked = type1_rows(self.problem) if type == 1 else type2_rows(self.problem)
        tests = self._fs([rows for _, rows in asked])
        frame = pd.DataFrame(
            [(f.num_df, float(f.den_df[0]), float(f.f[0]), float(f.p[0])) for f in tests],
            columns=["num_df", "den_df", "F", "p"],
            index=pd.Index([term for term, _ in asked], name="term"),
        )
        frame.attrs["ddf"] = self.ddf
        frame.columns.name = f"type {type}, {self.ddf}"
        if type == 3 and (held := interacting_numbers(self.problem)):
            at = {n: mean if covariates == "mean" else 0.0 for n, mean in held}
            frame.attrs["covariates"] = at
            frame.columns.name += ", at " + ", ".join(f"{n} = {v:.4g}" for n, v in at.items())
        return frame

    def to_frame(self) -> pd.DataFrame:
        """Return the coefficients as a plain DataFrame."""
        return self.coefficients.reset_index()

    def __str__(self) -> str:
        p = self.problem
        by = "ML" if self.ml else "REML"
        head = f"Linear mixed model by {by}: {p.outcome} ~ {p.formula}"
        if p.residual.spec.kind != "id":
            head += f"; residual {p.residual.spec}"
        blocks = len(np.unique(p.block))
        lines = [
            head,
            f"{len(p.y)} rows in {blocks} independent blocks; log-likelihood {self.loglik:.4f}; "
            f"df: {self.ddf}",
            "",
            self.coefficients.to_string(float_format=lambda v: f"{v:.4g}"),
            "",
            "variances: " + ", ".join(f"{k} {v:.4g}" for k, v in self.variance.items()),
        ]
        lines += [f"warning: {w}" for w in self.warnings]
        beside = self.at_boundary()
        if len(beside):
            table = beside.to_string(float_format=lambda v: f"{v:.4g}", na_rep="-")
            lines += ["", "the zero variance kept, left out, and its groups fixed:", table]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        notes = "".join(f"<p>warning: {escape(w)}</p>" for w in self.warnings)
        model = escape(f"{self.problem.outcome} ~ {self.problem.formula}; {self.ddf}")
        head = f"<p>{model}</p>"
        return head + self.coefficients.to_html(float_format=lambda v: f"{v:.4g}") + notes
