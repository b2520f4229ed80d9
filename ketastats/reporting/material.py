"""Everything a report is written from, gathered before the first word is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ketastats.analysis.engines import Answer
from ketastats.analysis.run import Results, row_of
from ketastats.analysis.schools import engines_of, label_of
from ketastats.core.errors import KetastatsError
from ketastats.study.model import Estimand, Study
from ketastats.study.scales import units

if TYPE_CHECKING:
    import pandas as pd

    from ketastats.diagnosis.association import AssociationPanel
    from ketastats.diagnosis.bayes_panel import BayesPanel
    from ketastats.diagnosis.family import FamilyPanel
    from ketastats.diagnosis.heterogeneity import HeterogeneityPanel
    from ketastats.diagnosis.pitfalls import PitfallPanel
    from ketastats.diagnosis.printed import PrintedPanel
    from ketastats.diagnosis.random_part import RandomPartPanel

FAMILY_DRAWS = 300
"""Draws per truth for families of questions: a model of thousands of rows each."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What the sections of a report read.

    Attributes
    ----------
    results : Results
    draws : int
        Draws behind the operating characteristics; 0 when they were not asked for.
    seed : int
        Seed of data, sampler and draws.
    random_part : tuple of RandomPartPanel
    choices, left_out : mapping of str to DataFrame
        By main estimand.
    adjusted : DataFrame or None
        p-values adjusted over all primary questions; None when there are none.
    mcse : mapping of (str, str) to float
        Monte-Carlo standard error of a posterior mean, by analysis and estimand.
    omitted : mapping of str to str
        What could not be computed, and why.
    environment : mapping
        Versions and platform.
    command : str
        What writes the report again; empty when no command does.
    rebuildable : bool
        Whether the folder holds, or names, all that ``verify`` needs.
    pitfalls : tuple of PitfallPanel
    said : mapping of str to DataFrame
        By pitfall: what both sides say about the data at hand.
    printed : tuple of PrintedPanel
    families : tuple of FamilyPanel
        Questions of one kind, such as many brain regions.
    associations : tuple of AssociationPanel
    heterogeneity : tuple of HeterogeneityPanel
        Of a two-period crossover: people who differ in the effect.
    bayes : tuple of BayesPanel
        Of the exact posteriors: priors, checks, other priors, calibration.
    """

    results: Results
    draws: int
    seed: int
    random_part: tuple[RandomPartPanel, ...]
    choices: Mapping[str, pd.DataFrame]
    left_out: Mapping[str, pd.DataFrame]
    adjusted: pd.DataFrame | None
    mcse: Mapping[tuple[str, str], float]
    omitted: Mapping[str, str]
    environment: Mapping[str, Any]
    command: str
    rebuildable: bool
    pitfalls: tuple[PitfallPanel, ...] = ()
    said: Mapping[str, pd.DataFrame] = field(default_factory=lambda: MappingProxyType({}))
    printed: tuple[PrintedPanel, ...] = ()
    families: tuple[FamilyPanel, ...] = ()
    associations: tuple[AssociationPanel, ...] = ()
    heterogeneity: tuple[HeterogeneityPanel, ...] = ()
    bayes: tuple[BayesPanel, ...] = ()

    @property
    def study(self) -> Study:
        """The Study."""
        return self.results.study

    @property
    def synthetic(self) -> bool:
        """Whether the data were drawn from the Study's truth."""
        return self.results.seed is not None

    @property
    def names(self) -> dict[str, str]:
        """Names of factor levels for people."""
        return dict(self.study.factor_labels)

    def true_value(self, estimand: str) -> float:
        """Return the true value on the scale that is asked; NaN for data that were given."""
        if not self.synthetic:
            return float("nan")
        truth = self.results.truth
        scale = "latent" if self.study.estimand(estimand).scale == "link" else "natural"
        return float(truth.loc[truth["estimand"] == estimand, scale].iloc[0])

    def row(self, estimand: str, school: str) -> pd.Series[Any] | None:
        """Return the Estimates row of a school or an engine; see :func:`.run.row_of`."""
        found = row_of(self.results.answers, estimand, school)
        if found is None:
            return None
        answer, row = found
        row = row.copy()
        row["analysis"] = answer.analysis.name
        return row

    def answer_for(self, estimand: str, school: str) -> Answer | None:
        """Return the answer that :meth:`row` is taken from."""
        found = row_of(self.results.answers, estimand, school)
        return found[0] if found is not None else None

    def school_label(self, estimands: Sequence[Estimand], school: str) -> str:
        """Return what a table calls a school: the engines that answered."""
        rows = [self.row(e.name, school) for e in estimands]
        return label_of(str(r["engine"]) for r in rows if r is not None)

    def answers_of(self, outcome: str, engine: str | None = None) -> list[Answer]:
        """Return the answers for one outcome, of one engine or school if given."""
        return [
            a
            for a in self.results.answers
            if a.analysis.outcome == outcome
            and (engine is None or a.analysis.engine in engines_of(engine))
        ]

    def estimand(self, name: str) -> Estimand:
        """Return a declared estimand."""
        return self.study.estimand(name)

    def unit(self, outcome: str, scale: str = "natural") -> str:
        """Return the unit of an outcome's values on a scale, in words."""
        latent, natural = units(self.study.outcome(outcome).scale)
        return latent if scale == "link" else natural


def gather(
    results: Results,
    *,
    draws: int,
    seed: int,
    environment: Mapping[str, Any],
    command: str,
    rebuildable: bool = True,
    progress: Progress | None = None,
) -> Material:
    """Run what a report needs beyond the analyses: draws, choices, subjects left out.

    Parameters
    ----------
    results : Results
    draws : int
        0 leaves the operating characteristics out.
    seed : int
    environment : mapping
    command : str
    rebuildable : bool
    progress : callable, optional

    Returns
    -------
    Material
    """
    from ketastats.diagnosis.association import association_panels
    from ketastats.diagnosis.bayes_panel import bayes_panels
    from ketastats.diagnosis.choices import method_choices
    from ketastats.diagnosis.family import family_panels
    from ketastats.diagnosis.heterogeneity import heterogeneity_panels
    from ketastats.diagnosis.influence import leave_one_out
    from ketastats.diagnosis.multiplicity import adjusted_p
    from ketastats.diagnosis.pitfalls import on_data, pitfall_panels
    from ketastats.diagnosis.printed import printed_panels

    say = progress or (lambda _: None)
    omitted: dict[str, str] = {}
    panels: tuple[RandomPartPanel, ...] = ()
    with _noting(omitted, "the random part"):
        panels = _panels(results, draws, seed, say)
    pitfalls: tuple[PitfallPanel, ...] = ()
    printed: tuple[PrintedPanel, ...] = ()
    said: dict[str, pd.DataFrame] = {}
    if draws > 0:
        with _noting(omitted, "the tempting analyses"):
            pitfalls = pitfall_panels(results.study, draws=draws, seed=seed, progress=say)
        with _noting(omitted, "the printed statistics"):
            printed = printed_panels(results.study, draws=draws, seed=seed, progress=say)
    associations: tuple[AssociationPanel, ...] = ()
    with _noting(omitted, "associations between outcomes"):
        associations = association_panels(results, draws=draws, seed=seed)
    differing: tuple[HeterogeneityPanel, ...] = ()
    if draws > 0:
        with _noting(omitted, "people who differ in the effect"):
            differing = heterogeneity_panels(results.study, draws=draws, seed=seed)
    bayes: tuple[BayesPanel, ...] = ()
    with _noting(omitted, "priors and calibration"):
        bayes = bayes_panels(results, draws=draws, seed=seed, progress=progress)
    families: tuple[FamilyPanel, ...] = ()
    with _noting(omitted, "questions of one kind"):
        families = family_panels(results, draws=min(draws, FAMILY_DRAWS), seed=seed)
    for p in results.study.pitfalls:
        with _noting(omitted, p.title):
            said[p.name] = on_data(results, p)
    choices: dict[str, pd.DataFrame] = {}
    left_out: dict[str, pd.DataFrame] = {}
    for e in _main_questions(results):
        say(f"{results.study.id}: {e.outcome}, other choices and subjects left out")
        with _noting(omitted, f"{e.label} under other choices"):
            choices[e.name] = method_choices(results, e.name)
        with _noting(omitted, f"{e.label} with subjects left out"):
            left_out[e.name] = leave_one_out(results, e.name)
    adjusted = adjusted_p(results)
    return Material(
        results=results,
        draws=draws,
        seed=seed,
        random_part=panels,
        choices=choices,
        left_out=left_out,
        adjusted=adjusted if len(adjusted) else None,
        mcse=monte_carlo_errors(results),
        omitted=omitted,
        environment=environment,
        command=command,
        rebuildable=rebuildable,
        pitfalls=pitfalls,
        said=said,
        printed=printed,
        families=families,
        associations=associations,
        heterogeneity=differing,
        bayes=bayes,
    )


@contextmanager
def _noting(omitted: dict[str, str], what: str) -> Iterator[None]:
    """Keep why something could not be computed, for the report to say so."""
    try:
        yield
    except (KetastatsError, np.linalg.LinAlgError) as error:
        omitted[what] = str(error)


def _panels(results: Results, draws: int, seed: int, say: Progress) -> tuple[RandomPartPanel, ...]:
    from ketastats.diagnosis.random_part import random_part_panels

    study = results.study
    if draws <= 0 or not any(a.role == "published" for a in study.analyses):
        return ()
    say(f"{study.id}: {draws} draws per truth for the random part")
    return random_part_panels(study, draws=draws, seed=seed)


def _main_questions(results: Results) -> list[Estimand]:
    """Return the main estimand of every outcome for which a primary REML analysis was run."""
    from ketastats.reporting.questions import main_estimand

    answered = {
        str(e)
        for a in results.answers
        if a.analysis.engine == "reml" and a.analysis.role == "primary"
        for e in a.estimates.loc[a.estimates["status"] != "not_estimable", "estimand"]
    }
    found = [main_estimand(results.study, o) for o in results.study.outcomes]
    return [e for e in found if e is not None and e.name in answered]


def monte_carlo_errors(results: Results) -> dict[tuple[str, str], float]:
    """Return the Monte-Carlo standard error of every posterior mean, by analysis and estimand."""
    out: dict[tuple[str, str], float] = {}
    for answer in results.answers:
        if answer.analysis.engine != "mcmc" or answer.result is None:
            continue
        from ketastats.bayesian.posterior import Posterior
        from ketastats.bayesian.summaries import convergence

        post = answer.result
        known = answer.estimates["estimate"].notna()
        names = [str(e) for e in answer.estimates.loc[known, "estimand"]]
        if isinstance(post, Posterior) and names:
            for scale in ("natural", "link"):
                asked = [e for e in map(results.study.estimand, names) if e.scale == scale]
                if asked:
                    errors = convergence(post.estimand_draws(asked, scale)).mcse
                    for e, error in zip(asked, errors, strict=True):
                        out[answer.analysis.name, e.name] = float(error)
    return out
