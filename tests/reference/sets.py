"""Data sets in the form of the reference folder: what each says of itself, its models, its checks.

A set is a folder with ``data.csv``, perhaps with ``expected.json`` (answers) and ``harness.toml``
(what the other two do not say). README.md in this folder describes the form.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ketastats.core.errors import DataError, KetastatsError, nearest
from ketastats.frequentist.lmm import MixedModel, lmm
from ketastats.study.formula import names_in, split_formula
from tests.reference.conftest import RTOL
from tests.reference.translate import (
    call_formula,
    evaluate,
    our_name,
    stated_references,
    translated,
)

SETS = Path(__file__).with_name("sets.toml")
METHODS = ("satterthwaite", "kenward-roger")
KEYS = ("factors", "reference", "derive", "models", "limits", "contrasts", "joint", "likelihoods")
FACTORS = ("subject", "sequence", "period", "treatment")
OUTCOMES = {"y": "y", "pk": "log(pk)"}
"""Columns recognised as the outcome; pharmacokinetic measures are analysed as logarithms."""
MISSING = ("", "NA", ".")
PUBLISHED = ("method_A_all_fixed", "method_B_containment_df", "cv_within_reference_percent", "F")
SHOWS_A_MODEL = {"fixed", "type3", "variance", "minus2_reml_loglik"}


@dataclass(frozen=True)
class Model:
    """A formula in R's syntax and the rows it is fitted to (an expression; all by default)."""

    formula: str
    where: str = ""
    plain: bool = False


@dataclass(frozen=True, eq=False)
class DataSet:
    """A set as read: table with factors and derived columns, models by block, answers."""

    name: str
    data: pd.DataFrame
    models: Mapping[str, Model]
    answers: Mapping[str, Any]
    said: Mapping[str, Any]

    @property
    def blocks(self) -> dict[str, Any]:
        """Blocks of answers: computed ones, and published ones that carry a tolerance."""
        published = self.answers.get("published", {})
        exact = "derived" in self.answers or "tolerance_relative" in published
        kept = {k: v for k, v in published.items() if exact and k.startswith(PUBLISHED)}
        derived = {k: v for k, v in self.answers.items() if k == "derived"}
        return {**self.answers.get("computed", {}), **derived} | {
            f"published.{k}": v for k, v in kept.items()
        }

    def limits(self, block: str, kinds: Iterable[str]) -> dict[str, float]:
        """Return the limit of every kind of number: the set's own, then that of all sets."""
        published = self.answers.get("published", {})
        if block.startswith("published.") and "tolerance_relative" in published:
            return {"": published["tolerance_relative"]}
        own = self.said.get("limits", {})
        out = {}
        for kind in sorted(kinds, key=len, reverse=True):  # a longer name before its beginning
            usual = BY_DERIVATIVES if kind.split()[-1] in FOLLOW_DF else RTOL
            usual = own.get("all", usual)
            usual = {"nlme": NLME, "tail": TAIL}.get(kind.split()[0], usual)
            out[kind] = next((v for k, v in own.items() if kind.startswith(k)), usual)
        return out

    def rows(self, block: str) -> pd.DataFrame:
        """Return the rows that the model of a block is fitted to."""
        where = self.models[block].where
        return self.data[evaluate(where, self.data) != 0] if where else self.data

    def fitted(self, block: str, ddf: str, **options: Any) -> MixedModel:
        """Fit the model of a block."""
        model = self.models.get(block, Model(""))
        if not model.formula:
            raise DataError(
                f"the block {block!r} of {self.name!r} holds no lmer() call",
                where="expected.json",
                mend=f'write harness.toml beside it: [models] {block} = "y ~ ... + (1 | subject)"',
            )
        outcome, right = translated(model.formula)
        column = outcome if outcome in self.data else column_name(outcome)
        try:
            return lmm(f"{column} ~ {right}", self.rows(block), ddf=ddf, **options)
        except KetastatsError as error:
            if not model.plain:
                raise
            raise DataError(
                f"the plain crossover model does not fit ({error})",
                where=self.name,
                mend=DESCRIBE,
            ) from error


FOLLOW_DF = ("df", "den_df", "p", "ci_low", "ci_high")
BY_DERIVATIVES = 1e-6
"""Limit of df, which other software has from numerical derivatives, and of what follows them."""
NLME = 5e-7
"""Limit where R's answer is nlme's, whose search stops up to 1e-7 of a standard error early."""
TAIL = 1e-5
"""Limit of the ratio of small p values, which move by several times what df and t do."""
DESCRIBE = 'write harness.toml beside data.csv: [models] lmm = "y ~ treatment + (1 | subject)"'


def column_name(expression: str) -> str:
    """``log(pk)`` -> ``log_pk``: the column that holds a transformed outcome."""
    return "_".join("".join(c if c.isalnum() else " " for c in expression).split())


# ---- reading ------------------------------------------------------------------------------------


def folders(root: Path) -> list[Path]:
    """Return the folders that hold a set."""
    return sorted(
        p for p in root.iterdir() if (p / "data.csv").is_file() or (p / "expected.json").is_file()
    )


def described(file: Path = SETS) -> dict[str, Any]:
    """Return what a TOML file says, nothing where there is none."""
    return parsed(file, tomllib.loads)


def parsed(file: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Return what a file holds, nothing where there is none."""
    if not file.is_file():
        return {}
    try:
        out: dict[str, Any] = parse(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"cannot read it ({error})", where=str(file), mend="correct it") from error
    return out


def description(folder: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of a set; a key of its own harness.toml wins."""
    said = {**known.get(folder.name, {}), **described(folder / "harness.toml")}
    for key in said:
        if key not in KEYS:
            raise DataError(
                f"there is no key {key!r}",
                where=f"{folder.name}/harness.toml",
                mend=f"did you mean {nearest(key, KEYS)!r}?" if nearest(key, KEYS) else
                "use " + ", ".join(KEYS),
            )  # fmt: skip
    return said


def read_set(folder: Path, known: Mapping[str, Any]) -> DataSet:
    """Read a set: what is said of it, then what its answers show, then what R would assume."""
    said = description(folder, known)
    answers = parsed(folder / "expected.json", json.loads)
    data = read_table(folder / "data.csv")
    for name, expression in said.get("derive", {}).items():
        data[name] = evaluate(expression, data)
    blocks = {k: b for k, b in answers.get("computed", {}).items() if is_model(b)}
    models = {k: Model(call_formula(b.get("r_call", "")) or "") for k, b in blocks.items()}
    models |= {k: said_model(m, f"{folder.name}: {k}") for k, m in said.get("models", {}).items()}
    models = models or {"lmm": plain_model(folder.name, data)}
    for model in models.values():
        if model.formula and (left := translated(model.formula)[0]) not in data:
            data[column_name(left)] = evaluate(left, data)
    levels = factor_levels(data, fixed_variables(models), said, list(blocks.values()))
    data = data.assign(**{f: pd.Categorical(data[f], list(of)) for f, of in levels.items()})
    return DataSet(folder.name, data, models, answers, said)


def said_model(said: str | Mapping[str, str], where: str) -> Model:
    """Return a model as described: a formula, or a table with the rows too."""
    table = {"formula": said} if isinstance(said, str) else dict(said)
    if not {"formula"} <= set(table) <= {"formula", "where"}:
        raise DataError("a model is a formula, or formula and where", where=where, mend=DESCRIBE)
    return Model(**table)


def is_model(block: object) -> bool:
    """Whether a block of answers is a mixed model."""
    return isinstance(block, dict) and bool(SHOWS_A_MODEL & set(block))


def read_table(file: Path) -> pd.DataFrame:
    """Read a table as R's read.csv would, with ``.`` missing too."""
    if not file.is_file():
        raise DataError("there is no data.csv", where=file.parent.name, mend="put the table there")
    data = pd.read_csv(file, keep_default_na=False, na_values=list(MISSING))
    for name in data.select_dtypes("bool"):
        data[name] = data[name].map({True: "TRUE", False: "FALSE"})
    for name in data.select_dtypes("float").columns[data.select_dtypes("float").isna().any()]:
        if (data[name].dropna() % 1 == 0).all():
            data[name] = data[name].astype("Int64")  # a level 2 stays 2 where another is missing
    return data


def plain_model(name: str, data: pd.DataFrame) -> Model:
    """Return the crossover model of a set that nobody described."""
    outcome = next((OUTCOMES[c] for c in OUTCOMES if c in data), "")
    absent = [c for c in ("subject", "period", "treatment") if c not in data]
    if absent or not outcome:
        lacking = ", ".join(absent + ([] if outcome else ["y"]))
        raise DataError(
            f"no description says which model to fit and there is no column {lacking}",
            where=name,
            mend=DESCRIBE,
        )
    sequence = "sequence + " if "sequence" in data else ""
    return Model(f"{outcome} ~ {sequence}period + treatment + (1 | subject)", plain=True)


# ---- factors and their levels -------------------------------------------------------------------


def fixed_variables(models: Mapping[str, Model]) -> tuple[str, ...]:
    """Return the columns of all fixed parts; those inside C() are factors there already."""
    out: list[str] = []
    for model in models.values():
        if model.formula:
            fixed = split_formula(translated(model.formula)[1]).fixed
            out += names_in(fixed)
    return tuple(dict.fromkeys(out))


def factor_levels(
    data: pd.DataFrame,
    variables: tuple[str, ...],
    said: Mapping[str, Any],
    blocks: list[Mapping[str, Any]],
) -> dict[str, tuple[Any, ...]]:
    """Return the levels of every factor, the reference first.

    Which columns are factors and what their references are is said, or shown by the names of
    stored coefficients and the df of stored tests, or R's default.
    """
    shown = {p for b in blocks for e in b.get("fixed", []) for p in our_name(e["name"]).split(":")}
    tests = [t for b in blocks for t in b.get("type3", {}).values()]
    num_df = {term: row["num_df"] for t in tests for term, row in t.items()}
    declared = {*FACTORS, *said.get("factors", [])}
    levels = {}
    for name in dict.fromkeys([*variables, *said.get("factors", [])]):
        if name not in data:
            continue  # the fit names it better
        column = data[name].dropna()
        of = tuple(sorted(column.unique(), key=lambda v: v.casefold() if isinstance(v, str) else v))
        if name in declared or is_factor(column, of, name, shown, num_df.get(name)):
            levels[name] = of
    texts = {f: tuple(str(v) for v in of) for f, of in levels.items()}
    first: dict[str, str] = {}
    for block in blocks:
        first |= stated_references(block.get("r_call", ""), texts)
    for f, of in texts.items():
        absent = [v for v in of if f + v not in shown]
        if len(absent) == 1 and len(of) > 1:
            first[f] = absent[0]
    first |= said.get("reference", {})
    return {f: tuple(sorted(of, key=lambda v: str(v) != first.get(f))) for f, of in levels.items()}


def is_factor(
    column: pd.Series, levels: tuple[Any, ...], name: str, shown: set[str], num_df: int | None
) -> bool:
    """Whether a column is a factor: text is; a number is where the answers have its levels."""
    if not pd.api.types.is_numeric_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype):
        return True
    if any(f"{name}{v}" in shown for v in levels):
        return True
    if name in shown or num_df is None:
        return False
    return pd.api.types.is_integer_dtype(column) and num_df == len(levels) - 1
