"""What ``ks.sbc`` returns: PIT values of every parameter and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ketastats.bayesian.calibration import (
    BINS,
    Uniformity,
    ecdf_bands,
    ecdf_difference,
    histogram_band,
    judge,
    rank_counts,
)
from ketastats.core.errors import DataError
from ketastats.study.lookup import suggestion

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.figures.calibration import EcdfPanel, RankPanel
    from ketastats.figures.svg import Drawing

LEVELS = (0.50, 0.80, 0.95)
"""Of the equal-tailed intervals whose coverage is counted."""
KINDS = ("ecdf", "ranks")


def covered(pit: np.ndarray, level: float) -> np.ndarray:
    """Return whether equal-tailed intervals contain the truth: 1, 0, or NaN where a fit failed.

    Examples
    --------
    >>> covered(np.array([0.2, 0.3, np.nan]), 0.5)
    array([ 0.,  1., nan])
    """
    inside = np.abs(pit - 0.5) <= level / 2
    return np.where(np.isnan(pit), np.nan, inside)


def share(hits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return share, Monte-Carlo standard error and count over draws, NaN left out; (K,) each.

    Parameters
    ----------
    hits : numpy.ndarray, shape (draws, K)
        1, 0 or NaN.
    """
    n = (~np.isnan(hits)).sum(axis=0)
    p = np.divide(np.nansum(hits, axis=0), n, out=np.full(len(n), np.nan), where=n > 0)
    return p, np.sqrt(p * (1 - p) / np.maximum(n, 1)), n


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Posteriors of outcomes that were drawn from the prior; made by :func:`ketastats.sbc`.

    Attributes
    ----------
    study, outcome, analysis, engine : str
    seed : int
    names : tuple of str
        K parameters: estimands, then SDs and the other parameters of the covariance.
    estimands : int
        How many of them are estimands.
    truth, pit, mean, sd, prob_positive : numpy.ndarray, shape (draws, K)
        The drawn value, the posterior probability below it, posterior mean and SD, and the
        posterior probability of being above 0 (of estimands only). NaN where a fit failed.
    failed : numpy.ndarray of bool, shape (draws,)
        Quadratures above their tolerance, samplers with a failed gate. Their numbers are not used;
        whether one fails depends on the outcome alone, so that the others stay uniform.
    prior_text : tuple of (str, str)
        The priors drawn from.
    analysed_with : str
        How the analysis differs from the model drawn from; empty when it does not.
    notes : tuple of str
    prob : float
        Coverage of all bands together.
    """

    study: str
    outcome: str
    analysis: str
    engine: str
    seed: int
    names: tuple[str, ...]
    estimands: int
    truth: np.ndarray
    pit: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    prob_positive: np.ndarray
    failed: np.ndarray
    prior_text: tuple[tuple[str, str], ...]
    analysed_with: str = ""
    notes: tuple[str, ...] = ()
    prob: float = 0.95

    @property
    def draws(self) -> int:
        """Draws from the prior."""
        return len(self.pit)

    @property
    def priors(self) -> dict[str, str]:
        """The priors drawn from, as text."""
        return dict(self.prior_text)

    @property
    def uniformity(self) -> tuple[Uniformity, ...]:
        """Every parameter against its simultaneous band."""
        return judge(self.pit, self.names, self.prob)

    @property
    def passed(self) -> bool:
        """Whether every parameter has values and none leaves its band."""
        return all(u.passed for u in self.uniformity)

    @property
    def verdict(self) -> str:
        """One or two sentences for a reader."""
        judged = self.uniformity
        off = [str(u) for u in judged if not u.passed]
        few = int(self.failed.sum())
        failures = f"; {few:,} of {self.draws:,} fits failed and are not in this" if few else ""
        if not off:
            return (
                f"PIT values of all {len(judged)} parameters are compatible with a uniform "
                f"distribution{failures}"
            )
        return f"{len(off)} of {len(judged)} parameters are off{failures}. {'. '.join(off)}"

    def coverage(self) -> pd.DataFrame:
        """Return the coverage of equal-tailed intervals with Monte-Carlo errors, one row each."""
        import pandas as pd

        frames = []
        for level in LEVELS:
            p, se, n = share(covered(self.pit, level))
            columns = {"parameter": self.names, "level": level, "coverage": p, "se": se, "draws": n}
            frames.append(pd.DataFrame(columns))
        whole = pd.concat(frames, ignore_index=True)
        order = whole["parameter"].map({n: i for i, n in enumerate(self.names)})
        return whole.iloc[order.argsort(kind="stable").to_numpy()].reset_index(drop=True)

    def table(self) -> pd.DataFrame:
        """Return one row per parameter: verdict, coverage with Monte-Carlo errors, failures."""
        import pandas as pd

        judged = self.uniformity
        columns: dict[str, object] = {
            "parameter": self.names,
            "uniform": [u.passed for u in judged],
            "p_adjusted": [u.p_adjusted for u in judged],
            "departure": [u.departure for u in judged],
        }
        for level in LEVELS:
            p, se, _ = share(covered(self.pit, level))
            name = f"covered_{100 * level:.0f}"
            columns |= {name: p, f"{name}_se": se}
        columns |= {"draws": [u.draws for u in judged], "failed": [u.failed for u in judged]}
        return pd.DataFrame(columns)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per draw and parameter: truth, PIT, mean, SD, probability above 0."""
        import pandas as pd

        k = len(self.names)
        columns = {
            "draw": np.repeat(np.arange(self.draws), k),
            "parameter": self.names * self.draws,
        }
        of = ("truth", "pit", "mean", "sd", "prob_positive")
        return pd.DataFrame(columns | {n: getattr(self, n).ravel() for n in of})

    def plot(self, kind: str = "ecdf") -> Drawing:
        """Draw ECDF minus uniform with bands (``ecdf``), or rank histograms (``ranks``).

        Examples
        --------
        >>> import ketastats as ks
        >>> made = ks.sbc(ks.load_study("jelen2025"), "published", engine="posterior", draws=100)
        >>> print(made.plot("ranks"))
        Rank histograms with binomial bands (SVG; shown in a notebook, written by .save(path))
        """
        from ketastats.figures import calibration as figures

        if kind not in KINDS:
            raise DataError(
                f"there is no plot {kind!r}", where="kind", mend=suggestion(kind, KINDS)
            )
        ident = f"sbc-{self.study}-{self.analysis}-{kind}"
        judged = self.uniformity
        if kind == "ecdf":
            return figures.ecdf_difference(
                [self._ecdf_panel(k, u) for k, u in enumerate(judged)], ident=ident,
                band=f"{100 * self.prob:g} % band of all {len(judged)} together",
            )  # fmt: skip
        return figures.rank_histogram(
            [self._rank_panel(k, u) for k, u in enumerate(judged)], ident=ident
        )

    def _ecdf_panel(self, k: int, u: Uniformity) -> EcdfPanel:
        from ketastats.figures.calibration import EcdfPanel

        difference = ecdf_difference(self.pit[:, k : k + 1])[:, 0]
        band = ecdf_bands(max(u.draws, 1), prob=u.prob)
        return EcdfPanel(u.name, band.z, difference, band.low - band.z, band.high - band.z,
                         u.departure)  # fmt: skip

    def _rank_panel(self, k: int, u: Uniformity) -> RankPanel:
        from ketastats.figures.calibration import RankPanel

        bins = int(np.clip(u.draws // 5, 2, BINS))
        low, high = histogram_band(u.draws, bins)
        counts = rank_counts(self.pit[:, k : k + 1], bins)[:, 0]
        return RankPanel(u.name, counts, low, high, u.departure)

    @property
    def _title(self) -> str:
        how = f", analysed with {self.analysed_with}" if self.analysed_with else ""
        return (
            f"Simulation-based calibration of {self.analysis} ({self.engine}) of study "
            f"{self.study}, {self.outcome}: {self.draws:,} draws from the prior{how}"
        )

    def __str__(self) -> str:
        columns = [
            "parameter",
            "uniform",
            "p_adjusted",
            *(f"covered_{100 * v:.0f}" for v in LEVELS),
        ]
        table = self.table()[[*columns, "failed"]]
        lines = [
            self._title,
            *(f"prior of {k}: {v}" for k, v in self.prior_text),
            "",
            table.to_string(index=False, float_format=lambda v: f"{v:.3g}"),
            "",
            self.verdict,
        ]
        return "\n".join(lines + [f"note: {n}" for n in self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>note: {escape(n)}</p>" for n in self.notes)
        table = self.table().to_html(index=False, float_format=lambda v: f"{v:.3g}")
        return f"<p>{escape(self._title)}</p>{table}<p>{escape(self.verdict)}</p>{notes}"
