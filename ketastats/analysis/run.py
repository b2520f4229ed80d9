"""Running a Study's analyses on data and setting truth and both schools side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketastats.analysis.engines import Answer, Context, check_engine, run_engine
from ketastats.analysis.schools import FREQUENTIST, SCHOOLS, engines_of
from ketastats.core.errors import DataError
from ketastats.core.threads import one_thread
from ketastats.study.conform import check_table
from ketastats.study.model import Analysis, Study
from ketastats.study.truth import true_values

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """Answers of all analyses of a Study on one data set; made by :func:`analyse`.

    Attributes
    ----------
    study : Study
    data : mapping of str to pandas.DataFrame
        Per outcome.
    truth : pandas.DataFrame
        True values of the estimands.
    answers : tuple of Answer
    seed : int or None
        Seed of the synthetic data; None for data that were given.
    """

    study: Study
    data: Mapping[str, pd.DataFrame]
    truth: pd.DataFrame
    answers: tuple[Answer, ...]
    seed: int | None

    @property
    def estimates(self) -> pd.DataFrame:
        """All estimates, one row per analysis and estimand."""
        import pandas as pd

        frames = []
        for a in self.answers:
            frames.append(a.estimates.assign(study=self.study.id, analysis=a.analysis.name))
        return pd.concat(frames, ignore_index=True)

    def answer(self, name: str) -> Answer:
        """Return the answer of one analysis."""
        return next(a for a in self.answers if a.analysis.name == name)

    def side_by_side(self, outcome: str | None = None) -> pd.DataFrame:
        """Return truth and both schools of every estimand in one row each.

        Parameters
        ----------
        outcome : str, optional
            Only this outcome.

        Returns
        -------
        pandas.DataFrame
            Columns estimand, label, true, latent, then per school (``frequentist_``,
            ``bayesian_``: the first analysis that answers) engine, estimate, interval, df and p
            or probability of direction, status.
        """
        import pandas as pd

        rows = []
        for e in self.study.estimands:
            if outcome is not None and e.outcome != outcome:
                continue
            true = self.truth.set_index("estimand").loc[e.name]
            asked = "latent" if e.scale == "link" else "natural"
            row = {"estimand": e.name, "outcome": e.outcome, "label": e.label,
                   "true": true[asked], "latent": true["latent"]}  # fmt: skip
            for school in SCHOOLS:
                row |= _school(self, e.name, school)
            rows.append(row)
        return pd.DataFrame(rows)

    def to_frame(self) -> pd.DataFrame:
        """Return the Estimates table."""
        return self.estimates

    def __str__(self) -> str:
        table = self.side_by_side()
        return (
            f"Results of study {self.study.id} (SYNTHETIC data, seed {self.seed})\n"
            if self.seed is not None
            else f"Results of study {self.study.id}\n"
        ) + table.drop(columns=["outcome", "latent"]).to_string(
            index=False, float_format=lambda v: f"{v:.3g}"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.side_by_side().to_html(index=False, float_format=lambda v: f"{v:.3g}")


def _school(results: Results, estimand: str, school: str) -> dict[str, object]:
    """Return the columns of one school for one estimand; see :func:`row_of`."""
    found = row_of(results.answers, estimand, school)
    if found is None:
        return {}
    answer, r = found
    names = ["engine", "estimate", "ci_low", "ci_high", "status"]
    names += ["df", "p"] if school == FREQUENTIST else ["prob_positive"]
    return {f"{school}_{n}": r[n] for n in names} | {f"{school}_analysis": answer.analysis.name}


def row_of(
    answers: Sequence[Answer], estimand: str, school: str
) -> tuple[Answer, pd.Series[Any]] | None:
    """Return the answer of a school, or of an engine, to an estimand and its Estimates row.

    From the first analysis that has an estimate, leaving out the published type and completers
    only; when none has one, from the first that says why.
    """
    found = None
    for answer in answers:
        a = answer.analysis
        if a.engine not in engines_of(school) or a.role == "published" or a.completers:
            continue
        hit = answer.estimates[answer.estimates["estimand"] == estimand]
        if len(hit):
            row = hit.iloc[0]
            if row["status"] != "not_estimable":
                return answer, row
            found = found or (answer, row)
    return found


def completers(data: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Return the rows of subjects observed in every period; without periods, in every row.

    Parameters
    ----------
    data : pandas.DataFrame
        With a column ``subject`` and, for a crossover, ``period``.
    outcome : str
        Column of the outcome.

    Returns
    -------
    pandas.DataFrame

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"subject": [1, 1, 2, 2], "period": [1, 2, 1, 2],
    ...                       "y": [1.0, 2.0, 3.0, None]})
    >>> completers(frame, "y")["subject"].tolist()
    [1, 1]
    """
    import pandas as pd

    observed = data[outcome].notna()
    if "period" in data.columns:
        seen = data[observed].groupby("subject", observed=True)["period"].nunique()
        full = seen[seen == data["period"].nunique()].index
    else:
        full = pd.Index(data["subject"]).difference(pd.Index(data["subject"][~observed]))
    return data[data["subject"].isin(full)]


@one_thread()
def analyse(
    study: Study,
    data: Mapping[str, pd.DataFrame] | pd.DataFrame | None = None,
    *,
    seed: int = 1,
    analyses: Sequence[str] | None = None,
    draw_cache: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Results:
    """Run a Study's analyses.

    Parameters
    ----------
    study : Study
    data : DataFrame or mapping of outcome to DataFrame, optional
        Your data; drawn from the Study with ``seed`` when not given.
    seed : int
        Seed of the synthetic data and of the sampler.
    analyses : sequence of str, optional
        Only these.
    draw_cache : Path, optional
        Folder in which posterior draws are kept.
    progress : callable, optional
        Called with one line of text before each analysis.

    Returns
    -------
    Results

    Raises
    ------
    DataError
        For data that contradict the Study or each other.

    Examples
    --------
    >>> import ketastats as ks
    >>> results = ks.analyse(ks.load_study("jelen2025"), seed=1, analyses=["primary"])
    >>> results.estimates["engine"].unique().tolist()
    ['reml']
    """
    chosen = study.analyses if analyses is None else tuple(study.analysis(n) for n in analyses)
    for a in chosen:
        check_engine(a)
    frames = _frames(study, data, seed)
    answers = []
    for a in chosen:
        if progress is not None:
            progress(f"{study.id}: {a.outcome}, {a.label}")
        answers.append(_answer(study, a, frames[a.outcome], seed, draw_cache))
    return Results(
        study=study,
        data=frames,
        truth=true_values(study),
        answers=tuple(answers),
        seed=seed if data is None else None,
    )


def _answer(
    study: Study, a: Analysis, frame: pd.DataFrame, seed: int, draw_cache: Path | None
) -> Answer:
    used = completers(frame, a.outcome) if a.completers else frame
    return run_engine(a, study.estimands_of(a), used, Context(study, seed, draw_cache))


def _frames(
    study: Study, data: Mapping[str, pd.DataFrame] | pd.DataFrame | None, seed: int
) -> dict[str, pd.DataFrame]:
    if data is None:
        return {o.name: study.simulate(seed, outcome=o.name) for o in study.outcomes}
    if not isinstance(data, Mapping):
        return {o.name: check_table(study, o.name, data) for o in study.outcomes}
    names = [o.name for o in study.outcomes]
    for name in names:
        if name not in data:
            raise DataError(
                f"there is no table for the outcome {name!r}",
                where=study.id,
                mend="give one for each of " + ", ".join(repr(n) for n in names),
            )
    return {name: check_table(study, name, data[name]) for name in names}
