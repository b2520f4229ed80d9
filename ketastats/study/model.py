"""The frozen values a Study file becomes.

Nothing here reads files or computes: :mod:`ketastats.study.schema` builds these values from TOML,
:mod:`ketastats.study.plan` expands a design, :mod:`ketastats.study.truth` evaluates a truth.
Mappings are stored as tuples of pairs so that no frozen value hides a mutable one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ketastats.study.outcome import (
    Amount,
    BinomialScale,
    CarryOver,
    CountScale,
    Dropout,
    Effect,
    Entry,
    LinkedSpread,
    Missing,
    Occasions,
    Outcome,
    Pairs,
    ProportionScale,
    Provenance,
    Scale,
    SerialSpread,
    Spread,
    When,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Amount",
    "Analysis",
    "Association",
    "BinomialScale",
    "CarryOver",
    "Cluster",
    "CountScale",
    "Design",
    "Dropout",
    "Effect",
    "Entry",
    "Estimand",
    "Group",
    "LinkedSpread",
    "Missing",
    "Occasions",
    "Outcome",
    "Pairs",
    "Pitfall",
    "Printed",
    "ProportionScale",
    "Provenance",
    "PublishedClaim",
    "Reference",
    "Scale",
    "SerialSpread",
    "Spread",
    "Stratum",
    "Study",
    "When",
]


@dataclass(frozen=True, slots=True)
class Stratum:
    """A between-subject factor given as shares, such as sex."""

    name: str
    levels: tuple[str, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """One arm of a parallel or factorial design: its factor levels and its number of subjects."""

    name: str
    levels: Pairs
    n: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """Subjects that share something: a cage, a litter, a batch.

    Attributes
    ----------
    name : str
        Column of the plan.
    size : int
        Subjects in a full cluster.
    where : Pairs
        Only subjects with these levels are clustered (isolated mice have no cage).
    within : tuple of str
        A cluster never mixes levels of these factors (same-sex cages).
    """

    name: str
    size: int
    where: Pairs
    within: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Design:
    """A crossover or a parallel (factorial) design.

    Attributes
    ----------
    kind : str
        ``crossover`` or ``parallel``.
    subject : str
        What a subject is called: person, mouse.
    sequences : tuple of (str, tuple of str)
        Crossover: sequence label and its treatment per period. Empty for parallel designs.
    treatments : tuple of str
        Levels of ``treatment``; the first is the reference. Empty for parallel designs.
    subjects_per_sequence : tuple of int
        One number per sequence.
    groups : tuple of Group
        Parallel: the arms. Empty for crossovers.
    factors : tuple of (str, tuple of str)
        Parallel: between-subject factors and their levels, the first the reference.
    occasions : tuple of Occasions
        Repeated measurements, outermost first.
    washout_days : float or None
        From dosing in one period to dosing in the next.
    strata : tuple of Stratum
    clusters : tuple of Cluster
    """

    kind: str
    subject: str
    sequences: tuple[tuple[str, tuple[str, ...]], ...]
    treatments: tuple[str, ...]
    subjects_per_sequence: tuple[int, ...]
    groups: tuple[Group, ...]
    factors: tuple[tuple[str, tuple[str, ...]], ...]
    occasions: tuple[Occasions, ...]
    washout_days: float | None
    strata: tuple[Stratum, ...]
    clusters: tuple[Cluster, ...]

    @property
    def n_subjects(self) -> int:
        """Number of subjects planned."""
        return sum(self.subjects_per_sequence) + sum(g.n for g in self.groups)

    @property
    def n_periods(self) -> int:
        """Number of periods; 1 for a parallel design."""
        return len(self.sequences[0][1]) if self.sequences else 1


@dataclass(frozen=True, slots=True)
class Estimand:
    """One question: a contrast per named factor, the other factors averaged.

    Attributes
    ----------
    name : str
    outcome : str
    contrast : tuple of (str, tuple of (str, float))
        Factor and its level coefficients, ``(("treatment", (("naltrexone", 1.0), ...)),)``.
    within : Pairs
        Factors held at one level.
    weights : tuple of (str, tuple of (str, float))
        Averaging weights per factor; factors not named are averaged with equal weights.
    target : str
        ``direct`` (carry-over zero) or ``carry_over`` (the carry-over itself).
    label : str
        For people.
    scale : str
        ``natural`` (means as recorded: points, shares, counts per unit) or ``link`` (log odds,
        logarithms; the same where there is no link).
    equivalence : tuple of float
        Bounds in the unit of the estimand within which an effect would not matter; empty when no
        equivalence is asked.
    """

    name: str
    outcome: str
    contrast: tuple[tuple[str, tuple[tuple[str, float], ...]], ...]
    within: Pairs
    weights: tuple[tuple[str, tuple[tuple[str, float], ...]], ...]
    target: str
    label: str
    scale: str = "natural"
    equivalence: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Analysis:
    """How to answer: engine, formula (right side only) and its options.

    ``family`` is the distribution of a row, ``residual`` a structure of Gaussian residuals, and
    ``response`` what a Gaussian model is fitted to: ``natural`` (a share of the trials, a count per
    unit of exposure, else the outcome as it is) or ``log``. ``draws``, ``tune``, ``chains`` and
    ``thin`` (every thin-th draw is kept) are for the sampler.
    """

    name: str
    engine: str
    formula: str
    outcome: str
    estimands: tuple[str, ...]
    ddf: str
    level: float
    priors: tuple[tuple[str, str], ...]
    draws: int
    tune: int
    chains: int
    completers: bool
    label: str
    role: str
    family: str = "gaussian"
    residual: str = ""
    response: str = "natural"
    thin: int = 8


@dataclass(frozen=True, slots=True)
class Printed:
    """An F statistic as a paper computed it, so that its place among draws can be found.

    Attributes
    ----------
    f : float
    term : str
        Term of the formula that it tests, ``drug:trial``.
    formula : str
        Of the published type, right side only.
    where : tuple of (str, tuple of str)
        Factors and the levels of the rows that entered; all rows of other factors.
    """

    f: float
    term: str
    formula: str
    where: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class PublishedClaim:
    """A statistic printed by the paper, kept as text, and as a number where it can be drawn."""

    text: str
    about: str
    source: str
    statistic: Printed | None = None


@dataclass(frozen=True, slots=True)
class Association:
    """A correlation over subjects between two outcomes, and what is left of it beside a third.

    Attributes
    ----------
    name, title, why : str
    x, y : tuple of (str, Pairs)
        An outcome and the occasion at which it is taken.
    given : tuple of (str, Pairs)
        What is partialled out; empty for nothing.
    where : Pairs
        Subjects that enter; empty for all.
    printed : tuple of float
        Correlations that the paper prints.
    printed_n : int
        Their number of subjects; 0 when none is printed.
    """

    name: str
    title: str
    why: str
    x: tuple[str, Pairs]
    y: tuple[str, Pairs]
    given: tuple[str, Pairs] | tuple[()] = ()
    where: Pairs = ()
    printed: tuple[float, ...] = ()
    printed_n: int = 0


@dataclass(frozen=True, slots=True)
class Pitfall:
    """A tempting analysis beside the right one, for a question that both seem to answer.

    Attributes
    ----------
    name, title, why : str
    rule : str
        ``analysis``: another analysis of the same rows. ``two tests``: one effect is significant
        and another is not, taken for a difference. ``own control``: each part of the experiment
        re-expressed on the mean of its own controls, which are then dropped. ``two stages``:
        carry-over is tested first, and period 1 alone used where it is significant.
        ``responders``: subjects split by their own change, and the halves compared.
    estimand, right : str
        The question, and the analysis that answers it.
    tempting : str
        Rule ``analysis``: its name.
    asks : str
        Rule ``analysis``: the estimand that the tempting analysis answers, when it is another.
    shown, not_shown : str
        Rule ``two tests``: the effect that is significant and the one that is not.
    control : Pairs
        Rule ``own control``: factor and level of the controls.
    by : str
        Rule ``own control``: factor that divides the experiment.
    without : str
        Factor whose effects are taken away for the null; the first one of the contrast by default.
    alike : tuple of (str, str, str)
        Instead: factor, a level, and the level whose effects it gets.
    component : str
        Rule ``responders``: the part of the spread by which responses differ; zero for the null.
    spread : tuple of (str, float)
        SDs of the outcome's spread to use instead of the declared ones.
    """

    name: str
    title: str
    why: str
    rule: str
    estimand: str
    right: str
    tempting: str = ""
    asks: str = ""
    shown: str = ""
    not_shown: str = ""
    control: Pairs = ()
    by: str = ""
    without: str = ""
    alike: tuple[tuple[str, str, str], ...] = ()
    component: str = ""
    spread: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """A work cited by a study."""

    key: str
    text: str
    doi: str


@dataclass(frozen=True, slots=True)
class Study:
    """One declaration: design, outcomes with their truth, estimands, analyses, claims.

    Load one with :func:`ketastats.load_study`.

    Examples
    --------
    >>> import ketastats as ks
    >>> study = ks.load_study("jelen2025")
    >>> study.design.n_subjects
    26
    """

    id: str
    title: str
    summary: str
    doi: str
    citation: str
    design: Design
    outcomes: tuple[Outcome, ...]
    estimands: tuple[Estimand, ...]
    analyses: tuple[Analysis, ...]
    claims: tuple[PublishedClaim, ...]
    questions: tuple[str, ...]
    references: tuple[Reference, ...]
    provenance: tuple[Provenance, ...]
    factor_labels: tuple[tuple[str, str], ...]
    pitfalls: tuple[Pitfall, ...] = ()
    associations: tuple[Association, ...] = ()

    def outcome(self, name: str | None = None) -> Outcome:
        """Return the outcome called ``name`` (the first one without a name)."""
        from ketastats.study.lookup import pick

        return self.outcomes[0] if name is None else pick(self.outcomes, name, "outcome")

    def estimand(self, name: str) -> Estimand:
        """Return the estimand called ``name``."""
        from ketastats.study.lookup import pick

        return pick(self.estimands, name, "estimand")

    def analysis(self, name: str) -> Analysis:
        """Return the analysis called ``name``."""
        from ketastats.study.lookup import pick

        return pick(self.analyses, name, "analysis")

    def estimands_of(self, analysis: Analysis) -> tuple[Estimand, ...]:
        """Return the estimands an analysis answers, in declared order."""
        wanted = set(analysis.estimands)
        return tuple(
            e
            for e in self.estimands
            if e.outcome == analysis.outcome and (e.name in wanted or not wanted)
        )

    @property
    def hash(self) -> str:
        """SHA-256 of everything that decides results: not the prose. See :mod:`.hashing`."""
        from ketastats.study.hashing import study_hash

        return study_hash(self)

    def plan(self, outcome: str | None = None) -> pd.DataFrame:
        """Expand the design to its table of planned observations, one row each.

        Parameters
        ----------
        outcome : str, optional
            Outcome whose occasions are planned; the first declared one by default.

        Returns
        -------
        pandas.DataFrame
            Categorical columns in design order: subject, sequence, period, treatment (crossover)
            or the group factors (parallel), occasions, strata, clusters.

        Examples
        --------
        >>> import ketastats as ks
        >>> len(ks.load_study("jelen2025").plan("madrs"))
        104
        """
        from ketastats.study.plan import expand, plan_frame

        return plan_frame(expand(self.design, self.outcome(outcome).occasions))

    def true_values(self) -> pd.DataFrame:
        """Return the true value of every estimand, latent and natural, and the carry-over bias."""
        from ketastats.study.truth import true_values

        return true_values(self)

    def simulate(self, seed: int = 1, *, draw: int = 0, outcome: str | None = None) -> pd.DataFrame:
        """Draw synthetic data with the declared truth.

        Parameters
        ----------
        seed : int
            Any non-negative integer.
        draw : int
            Which of the seed's independent draws.
        outcome : str, optional
            Only this outcome's rows. By default all outcomes; outcomes measured on other
            occasions stand in rows of their own, with the foreign columns empty.

        Returns
        -------
        pandas.DataFrame
            The plan with one column per outcome. SYNTHETIC: drawn, not observed.

        Examples
        --------
        >>> import ketastats as ks
        >>> data = ks.load_study("jelen2025").simulate(seed=1, outcome="madrs")
        >>> data.columns[-1]
        'madrs'
        """
        from importlib import import_module  # a higher floor, reached lazily on purpose

        return import_module("ketastats.synthesis.frames").simulate_frame(
            self, seed, draw=draw, outcome=outcome
        )

    def _repr_html_(self) -> str:
        from ketastats.study.describe import as_html

        return as_html(self)

    def __str__(self) -> str:
        from ketastats.study.describe import as_text

        return as_text(self)
