"""The frozen values of an outcome: its scale, and the truth declared for it.

A kind of scale or spread that needs more than the common fields has a class of its own, so that
each carries what it needs and older declarations keep their hash.
:mod:`ketastats.study.model` holds the rest of a Study and gives these names too.
"""

from __future__ import annotations

from dataclasses import dataclass

Pairs = tuple[tuple[str, str], ...]
"""Factor-level pairs, ``(("time", "day1"), ("sex", "M"))``."""

When = tuple[tuple[str, tuple[str, ...]], ...]
"""Conditions, ``(("time", ("day1",)),)``."""


@dataclass(frozen=True, slots=True)
class Occasions:
    """A factor measured repeatedly within each period (or within each unit).

    Attributes
    ----------
    name : str
        Column of the plan, such as ``time``, ``trial`` or ``spectrum``.
    levels : tuple of str
        In order.
    days : tuple of float
        Time of each level after the start of its period, in days; zeros when not declared.
    """

    name: str
    levels: tuple[str, ...]
    days: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Amount:
    """One number for every row, or one per level of a factor.

    Attributes
    ----------
    value : float
        When not by level.
    by : str or None
        Factor whose level decides.
    levels : tuple of (str, float)
    """

    value: float
    by: str | None = None
    levels: tuple[tuple[str, float], ...] = ()

    @property
    def values(self) -> tuple[float, ...]:
        """Every number that occurs."""
        return (self.value,) if self.by is None else tuple(v for _, v in self.levels)


@dataclass(frozen=True, slots=True)
class Scale:
    """How an outcome is measured.

    Attributes
    ----------
    kind : str
        ``integer`` (rounded to whole points), ``real``, ``ratio`` (positive, log-normal), or one of
        the kinds with a class of their own.
    min, max : float or None
        Bounds; latent values beyond them are recorded at the bound.
    decimals : int
        Decimals recorded (0 for whole numbers).
    unit : str
        Unit in words: points, s, %.
    """

    kind: str
    min: float | None
    max: float | None
    decimals: int
    unit: str


@dataclass(frozen=True, slots=True)
class BinomialScale(Scale):
    r"""Successes (or failures) out of a number of trials.

    Attributes
    ----------
    trials : Amount
    overdispersion : Amount
        Intraclass correlation :math:`\rho` of two trials of one row, given the row's probability
        p: variance m p (1 - p) (1 + (m - 1) rho), the beta-binomial. 0: binomial.
    """

    trials: Amount
    overdispersion: Amount


@dataclass(frozen=True, slots=True)
class CountScale(Scale):
    r"""Whole numbers from 0.

    Attributes
    ----------
    exposure : Amount
        What a row counts over: minutes, micrometres, sections. The declared mean is per unit of it.
    overdispersion : Amount
        :math:`\alpha` in the variance mu + alpha mu^2, the negative binomial. 0: Poisson.
    """

    exposure: Amount
    overdispersion: Amount


@dataclass(frozen=True, slots=True)
class ProportionScale(Scale):
    r"""A share between 0 and 1 without a denominator.

    Attributes
    ----------
    precision : Amount
        :math:`\varphi` of a beta distribution: variance mu (1 - mu) / (1 + phi).
    """

    precision: Amount


@dataclass(frozen=True, slots=True)
class Effect:
    """An addition to the mean of every cell that matches ``when``.

    With ``centred`` the strata named in ``when`` enter as indicator minus 1/levels, so that the
    effect averages to zero over them: ``add = 2`` for men is +1 in men and -1 in women.
    """

    when: When
    add: float
    centred: bool
    provenance: str


@dataclass(frozen=True, slots=True)
class Spread:
    """One variance component: independent normal deviations per level of ``factors``.

    Attributes
    ----------
    name : str
        As declared: ``subject``, ``subject:period``, ``cage``, ``residual``.
    factors : tuple of str
        Columns of the plan whose combination shares one deviation; empty for the residual.
    sd : float
        Standard deviation (when not by group), in outcome units; on the link scale (logit, log)
        for a binomial, count, proportion or ratio.
    by : str or None
        Stratum or factor whose level decides the SD.
    by_sd : tuple of (str, float)
    when : tuple of (str, tuple of str)
        Rows to which the deviation applies; empty for all. ``{time = "day1"}`` makes
        ``subject:time`` the person's own response.
    """

    name: str
    factors: tuple[str, ...]
    sd: float
    by: str | None
    by_sd: tuple[tuple[str, float], ...]
    when: When


@dataclass(frozen=True, slots=True)
class SerialSpread(Spread):
    """A residual with serial correlation within a subject over the levels of an occasion factor.

    Series of other occasions and periods of the same subject are independent.

    Attributes
    ----------
    ar1 : float
        Correlation of neighbouring levels; over several steps its power.
    over : str
    spaced : bool
        Whether steps follow the days of the levels: ``ar1`` is then the correlation over the
        shortest step.
    """

    ar1: float
    over: str
    spaced: bool


@dataclass(frozen=True, slots=True)
class LinkedSpread(Spread):
    """Deviations of a subject that are correlated with those of another outcome.

    Attributes
    ----------
    linked_with : str
        An outcome declared above with a component of the same name.
    correlation : float
    """

    linked_with: str
    correlation: float


@dataclass(frozen=True, slots=True)
class CarryOver:
    """What an earlier period leaves behind.

    Attributes
    ----------
    of : str
        ``previous response`` (each subject's own latent response, decaying) or ``treatment``.
    amounts : tuple of (str, float)
        For ``treatment``: outcome units that each treatment leaves behind, counted at its own
        dosing and decaying from then on.
    half_life_days : float or None
        Decay against the elapsed time; None keeps the amount whole and lets only the
        immediately preceding period act.
    response : tuple of str
        For ``previous response``: (from level, to level) of the innermost time factor.
    """

    of: str
    amounts: tuple[tuple[str, float], ...]
    half_life_days: float | None
    response: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Missing:
    """Lost observations: each row with probability ``at_random``, whatever its value."""

    at_random: float


@dataclass(frozen=True, slots=True)
class Dropout:
    """Loss of every row from period ``before_period`` on.

    The probability is ``expit(logit(probability) + log_odds_per_unit * (last - centre))`` where
    ``last`` is the last value recorded before that period.
    """

    before_period: int
    probability: float
    log_odds_per_unit: float
    centre: float


@dataclass(frozen=True, slots=True)
class Entry:
    """Only people whose first measurement is at least (or at most) a threshold are enrolled."""

    at_least: float | None
    at_most: float | None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a parameter comes from.

    ``kind`` is one of: read in the paper, read in a secondary source, derived, typical of the
    literature, assumed.
    """

    key: str
    kind: str
    note: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One measured outcome with its declared truth."""

    name: str
    label: str
    scale: Scale
    occasions: tuple[Occasions, ...]
    baseline: float
    effects: tuple[Effect, ...]
    spread: tuple[Spread, ...]
    carry_over: CarryOver | None
    missing: Missing | None
    dropout: Dropout | None
    entry: Entry | None
    higher_is: str
    typical_sd: float | None
    provenance: tuple[Provenance, ...]
