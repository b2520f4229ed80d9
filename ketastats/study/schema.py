"""The Study file: what TOML may contain, checked by pydantic, turned into frozen values.

Unknown keys are refused with the nearest valid key; every error names the file, the key path and
the mend. This module is the border: nothing beyond it sees pydantic.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ketastats.study.lookup import suggestion

SCHEMA_VERSION = 1

PROVENANCE_KINDS = {
    "paper": "read in the paper",
    "secondary": "read in a secondary source",
    "derived": "derived",
    "typical": "typical of the literature",
    "assumed": "assumed",
}

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0, le=100_000)]
Level = Annotated[str, Field(min_length=1)]
Levels = Annotated[list[Level], Field(min_length=1)]
Times = list[Level] | dict[Level, Finite]
Within = dict[Name, int | list[Level] | dict[Level, Finite]]
When = dict[str, str | list[str]]
ByLevel = dict[str, str | Finite]
"""``{ by = "phase", before = 0.04, after = 0.2 }``: a number per level of a factor."""


class Strict(BaseModel):
    """Base of all parts of a Study file: unknown keys are errors with a suggestion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            known = {f.alias or name for name, f in cls.model_fields.items()}
            for key in value:
                if key not in known:
                    raise ValueError(f"unknown key {key!r}; {suggestion(str(key), sorted(known))}")
        return value


class StudyTable(Strict):
    """[study]: who is asking what. Prose: not part of the Study's hash."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: str
    summary: str = ""
    doi: str = ""
    citation: str = ""
    questions: list[str] = []
    references: dict[str, ReferenceTable] = {}
    provenance: dict[str, str] = {}
    labels: dict[str, str] = {}


class ReferenceTable(Strict):
    """A cited work."""

    text: str
    doi: str = ""


class GroupTable(BaseModel):
    """One arm: its factor levels and n."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    n: Count


class ClusterTable(Strict):
    """Subjects sharing a cage, litter or batch."""

    size: Annotated[int, Field(gt=0)]
    where: dict[str, str] = {}
    within: list[str] = []


class DesignTable(Strict):
    """[design]."""

    kind: Literal["crossover", "parallel"]
    subject: str = "person"
    name: str = ""
    treatments: list[Level] = []
    sequences: dict[Level, Levels] = {}
    subjects_per_sequence: Count | dict[str, Count] | None = None
    washout_days: NonNegative | None = None
    factors: dict[Name, Levels] = {}
    groups: dict[str, GroupTable] = {}
    times: Times | None = None
    within: Within = {}
    strata: dict[Name, dict[Level, Probability]] = {}
    clusters: dict[Name, ClusterTable] = {}


class ScaleTable(Strict):
    """How an outcome is recorded.

    integer: whole points, rounded, recorded at the bounds beyond them. real: decimals, recorded at
    the bounds beyond them (seconds with a ceiling). binomial: successes or failures out of
    ``trials``; ``overdispersion`` is the intraclass correlation of the trials of a row
    (beta-binomial). count: whole numbers from 0, over an ``exposure``; ``overdispersion`` is alpha
    in the variance mu + alpha mu^2 (negative binomial). proportion: a share between 0 and 1, beta
    with ``precision`` phi, variance mu (1 - mu) / (1 + phi). ratio: positive, log-normal.
    """

    kind: Literal["integer", "real", "binomial", "count", "proportion", "ratio"]
    min: Finite | None = None
    max: Finite | None = None
    decimals: Annotated[int, Field(ge=0, le=9)] = 2
    unit: str = ""
    trials: Count | ByLevel | None = None
    exposure: Finite | ByLevel | None = None
    overdispersion: Finite | ByLevel | None = None
    precision: Finite | ByLevel | None = None


class EffectTable(Strict):
    """One addition to the mean."""

    when: When
    add: Finite
    centred: bool = False
    provenance: str = ""


class SpreadTable(BaseModel):
    """An SD with a condition, or by the levels of a factor; for the residual serial correlation.

    SDs are in outcome units for the kinds integer and real, on the logit scale for binomial and
    proportion, on the log scale for count and ratio.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    sd: NonNegative | None = None
    when: When = {}
    by: str | None = None
    ar1: Annotated[float, Field(gt=-1, lt=1)] | None = None
    over: str | None = None
    spaced: bool = False


class LinkedTable(BaseModel):
    """Correlation of this outcome's deviations with those of another, per component of spread."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    with_: Annotated[str, Field(alias="with")]


class CarryOverTable(Strict):
    """What an earlier period leaves behind."""

    of: Literal["previous response", "treatment"] = "treatment"
    amounts: dict[str, Finite] = {}
    half_life_days: Positive | None = None
    response: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None


class MissingTable(Strict):
    """Observations lost completely at random."""

    at_random: Annotated[float, Field(ge=0, lt=1)]


class DropoutTable(Strict):
    """People lost before a period."""

    before_period: Annotated[int, Field(ge=2)] = 2
    probability: Annotated[float, Field(gt=0, lt=1)]
    log_odds_per_unit: Finite = 0.0
    centre: Finite = 0.0


class EntryTable(Strict):
    """Enrolment by the first measurement."""

    at_least: Finite | None = None
    at_most: Finite | None = None


class OutcomeTable(Strict):
    """[outcomes.NAME].

    ``baseline`` and ``effects`` add up to the population mean of every cell, on the scale a reader
    thinks in: points, seconds, a probability per trial (binomial), an expected count per unit of
    exposure, a mean proportion, the arithmetic mean of a ratio.
    """

    label: str = ""
    scale: ScaleTable
    baseline: Finite
    effects: list[EffectTable] = []
    spread: dict[str, NonNegative | SpreadTable]
    linked: LinkedTable | None = None
    times: Times | None = None
    within: Within | None = None
    carry_over: CarryOverTable | None = None
    missing: MissingTable | None = None
    dropout: DropoutTable | None = None
    entry: EntryTable | None = None
    higher_is: Literal["better", "worse", "neither"] = "neither"
    typical_sd: Positive | None = None
    provenance: dict[str, str] = {}


class EstimandTable(Strict):
    """[estimands.NAME]."""

    outcome: str
    contrast: Annotated[dict[str, str], Field(min_length=1)]
    within: dict[str, str] = {}
    weights: dict[str, dict[str, Probability]] = {}
    target: Literal["direct", "carry_over"] = "direct"
    scale: Literal["natural", "link"] = "natural"
    equivalence: Annotated[list[Finite], Field(min_length=2, max_length=2)] | None = None
    label: str = ""


class AnalysisTable(Strict):
    """[analyses.NAME]."""

    engine: str
    formula: str
    outcome: str | None = None
    estimands: list[str] = []
    family: str = "gaussian"
    residual: str = ""
    response: Literal["natural", "log"] = "natural"
    ddf: Literal[
        "kenward-roger", "kenward-roger-observed", "kenward-roger-observed-linear",
        "satterthwaite", "containment", "between", "residual", "z",
    ] = "kenward-roger"  # fmt: skip
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    priors: dict[str, str] = {}
    draws: Annotated[int, Field(ge=100)] = 1000
    tune: Annotated[int, Field(ge=100)] = 1000
    chains: Annotated[int, Field(ge=2)] = 4
    thin: Annotated[int, Field(ge=1, le=100)] = 8
    completers: bool = False
    label: str = ""
    role: Literal["primary", "companion", "published", "sensitivity"] = "primary"


class PrintedTable(Strict):
    """An F statistic that can be drawn: the published type of formula and its rows."""

    F: Positive
    term: str
    formula: str
    where: dict[str, str | list[str]] = {}


class ClaimTable(Strict):
    """[[claims]]: a published statistic, kept as text."""

    text: str
    about: str
    source: str = ""
    statistic: PrintedTable | None = None


class MeasureTable(Strict):
    """An outcome at one occasion."""

    outcome: str
    at: dict[str, str] = {}


class AssociationTable(Strict):
    """[associations.NAME]: a correlation over subjects."""

    title: str
    why: str = ""
    x: MeasureTable
    y: MeasureTable
    given: MeasureTable | None = None
    where: dict[str, str] = {}
    printed: list[Annotated[float, Field(gt=-1, lt=1)]] = []
    printed_n: Annotated[int, Field(ge=5)] | None = None


class PitfallTable(Strict):
    """[pitfalls.NAME]: a tempting analysis beside the right one."""

    title: str
    why: str = ""
    rule: Literal["analysis", "two tests", "own control", "two stages", "responders"] = "analysis"
    estimand: str
    right: str
    tempting: str = ""
    asks: str = ""
    shown: str = ""
    not_shown: str = ""
    control: dict[str, str] = {}
    by: str = ""
    without: str = ""
    alike: dict[str, dict[str, str]] = {}
    component: str = ""
    spread: dict[str, NonNegative] = {}


class StudyFile(Strict):
    """A whole Study file."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    study: StudyTable
    design: DesignTable
    outcomes: Annotated[dict[Name, OutcomeTable], Field(min_length=1)]
    estimands: dict[Name, EstimandTable] = {}
    analyses: dict[Name, AnalysisTable] = {}
    claims: list[ClaimTable] = []
    pitfalls: dict[Name, PitfallTable] = {}
    associations: dict[Name, AssociationTable] = {}


StudyTable.model_rebuild()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a Study file, for editors."""
    schema = StudyFile.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "ketastats Study file"
    return schema
