"""How often a Study's Bayesian analysis is right: at its truth, and in strong conclusions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ketastats.core.errors import DataError
from ketastats.diagnosis.batch import as_fitted
from ketastats.diagnosis.sbc_exact import check_draws, lay_out, pit_of
from ketastats.diagnosis.sbc_result import LEVELS, Calibration, covered, share
from ketastats.study.lookup import suggestion
from ketastats.study.model import Analysis, Study
from ketastats.study.truth import estimand_truth
from ketastats.synthesis.draw import draw_outcomes

if TYPE_CHECKING:
    import pandas as pd


def coverage_at(
    study: Study,
    analysis: str | Analysis,
    *,
    draws: int = 1000,
    seed: int = 1,
    missing: bool = False,
) -> pd.DataFrame:
    """Return how the exact posterior does at the Study's declared truth.

    Averaged over its prior a posterior has its nominal coverage; at one truth it need not.

    Parameters
    ----------
    study : Study
    analysis : str or Analysis
        Gaussian, of any engine: its formula and priors.
    draws : int
        Outcomes, drawn as recorded: rounded, bounded, with carry-over.
    seed : int
    missing : bool
        Whether declared missing rows and dropout apply; every draw is then computed alone.

    Returns
    -------
    pandas.DataFrame
        Per estimand and truth (natural: of the outcome as recorded; latent: before rounding and
        bounds): the true value, bias and RMSE of the posterior mean, coverage of equal-tailed
        intervals at 50, 80 and 95 %, all with Monte-Carlo standard errors; draws and failed.

    Examples
    --------
    >>> import ketastats as ks
    >>> from ketastats.diagnosis.sbc import coverage_at
    >>> table = coverage_at(ks.load_study("jelen2025"), "published", draws=200)
    >>> table.loc[table["of"] == "latent", "true"].round(1).tolist()
    [4.2, 2.0]
    """
    import pandas as pd

    check_draws(draws, seed)
    found = study.analysis(analysis) if isinstance(analysis, str) else analysis
    exact = lay_out(study, found, seed)
    both = np.array([estimand_truth(study, study.estimand(n)) for n in exact.estimands])
    y = draw_outcomes(study, found.outcome, seed, range(draws), missing=missing)
    y = as_fitted(study, found, y)
    none = np.full((draws, len(exact.model.axes)), np.nan)
    e, records = len(exact.estimands), []
    twice = replace(
        exact, rows=np.tile(exact.rows, (2, 1)), names=exact.estimands + exact.names,
        estimands=2 * exact.estimands,
    )  # fmt: skip
    values = pit_of(twice, y, np.tile(both.T.ravel(), (draws, 1)), none)
    for k, of in ((1, "natural"), (0, "latent")):
        own = slice(k * e, (k + 1) * e)
        off, pit = values.mean[:, own] - both[:, k], values.pit[:, own]
        for i, name in enumerate(exact.estimands):
            records.append(
                {"estimand": name, "of": of, "true": both[i, k], **_errors(off[:, i])}
                | _coverages(pit[:, i : i + 1])
                | {"draws": int((~values.failed).sum()), "failed": int(values.failed.sum())}
            )
    order = {n: i for i, n in enumerate(exact.estimands)}
    records.sort(key=lambda r: order[str(r["estimand"])])
    return pd.DataFrame(records)


def _errors(off: np.ndarray) -> dict[str, object]:
    """Return bias and RMSE with their Monte-Carlo standard errors, failed ones left out."""
    seen = off[~np.isnan(off)]
    n = max(len(seen), 1)
    square = float(np.mean(seen**2)) if len(seen) else float("nan")
    rmse = square**0.5
    return {
        "bias": float(np.mean(seen)) if len(seen) else float("nan"),
        "bias_se": float(np.std(seen) / np.sqrt(n)),
        "rmse": rmse,
        "rmse_se": float(np.std(seen**2) / np.sqrt(n) / (2 * rmse)) if rmse else float("nan"),
    }


def _coverages(pit: np.ndarray) -> dict[str, object]:
    out: dict[str, object] = {}
    for level in LEVELS:
        p, se, _ = share(covered(pit, level))
        out |= {
            f"covered_{100 * level:.0f}": float(p[0]),
            f"covered_{100 * level:.0f}_se": float(se[0]),
        }
    return out


@dataclass(frozen=True, slots=True)
class Assurance:
    """How often an analysis comes to a strong conclusion, over its prior.

    Attributes
    ----------
    estimand : str
    at_least : float
        Posterior probability of a direction from which a conclusion is strong.
    right, right_se : float
        Share of draws that conclude the direction of the drawn value, and Monte-Carlo error.
    wrong, wrong_se : float
        Share that conclude the other one.
    draws, failed : int
    """

    estimand: str
    at_least: float
    right: float
    right_se: float
    wrong: float
    wrong_se: float
    draws: int
    failed: int

    def to_frame(self) -> pd.DataFrame:
        """Return one row."""
        import pandas as pd

        return pd.DataFrame([{n: getattr(self, n) for n in self.__slots__}])

    def __str__(self) -> str:
        failed = f"; {self.failed:,} fits failed" if self.failed else ""
        return (
            f"{self.estimand}: a direction with probability {self.at_least:g} or more is concluded "
            f"rightly in {self.right:.1%} (SE {self.right_se:.1%}) and wrongly in {self.wrong:.2%} "
            f"(SE {self.wrong_se:.2%}) of {self.draws:,} draws from the prior{failed}"
        )


def assurance(
    source: Calibration | Study,
    analysis: str | Analysis | None = None,
    estimand: str | None = None,
    *,
    at_least: float = 0.975,
    draws: int = 2000,
    seed: int = 1,
    engine: str | None = None,
) -> Assurance:
    """Return the probability of a strong conclusion, right or wrong, over the prior.

    Parameters
    ----------
    source : Calibration or Study
        Draws that were made, or where to make them.
    analysis : str or Analysis, optional
        With a Study.
    estimand : str, optional
        The first one by default.
    at_least : float
        Posterior probability of a direction that counts as strong, above a half.
    draws, seed, engine
        As for :func:`sbc`, with a Study.

    Examples
    --------
    >>> import ketastats as ks
    >>> from ketastats.diagnosis.sbc import assurance
    >>> made = ks.sbc(ks.load_study("jelen2025"), "published", engine="posterior", draws=300)
    >>> found = assurance(made, estimand="attenuation")
    >>> found.right > 0.5 and found.wrong < 0.025
    True
    """
    if not 0.5 < at_least < 1:
        raise DataError(
            f"at_least = {at_least} is not between 0.5 and 1", where="at_least", mend="use 0.975"
        )
    if isinstance(source, Study):
        if analysis is None:
            raise DataError("no analysis is named", where="analysis", mend="name one of the Study")
        from ketastats.diagnosis.sbc import sbc  # which offers this function too

        source = sbc(source, analysis, draws=draws, seed=seed, engine=engine)
    names = source.names[: source.estimands]
    name = names[0] if estimand is None else estimand
    if name not in names:
        raise DataError(
            f"{name!r} is not an estimand of this", where="estimand", mend=suggestion(name, names)
        )
    k = names.index(name)
    positive, truth = source.prob_positive[:, k], source.truth[:, k]
    none = np.isnan(positive)
    up, down = positive >= at_least, 1 - positive >= at_least
    right = np.where(none, np.nan, (up & (truth > 0)) | (down & (truth < 0)))
    wrong = np.where(none, np.nan, (up & (truth < 0)) | (down & (truth > 0)))
    p, se, n = share(np.stack([right, wrong], axis=1))
    return Assurance(name, at_least, float(p[0]), float(se[0]), float(p[1]), float(se[1]),
                     int(n[0]), int(none.sum()))  # fmt: skip
