"""The harness: every set of a folder through its models, against its answers and by identities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ketastats.core.errors import KetastatsError
from tests.reference import identities
from tests.reference.conftest import Comparison
from tests.reference.model_answers import OF_A_MODEL, read_model
from tests.reference.other_answers import reader
from tests.reference.sets import METHODS, DataSet, folders, read_set

VARIABLE = "KETASTATS_REFERENCE_DATA"


@dataclass(frozen=True)
class Case:
    """One block of one set: a model by one method, or other answers (no method)."""

    folder: Path
    block: str
    ddf: str = ""

    def __str__(self) -> str:
        return "-".join(part for part in (self.folder.name, self.block, self.ddf) if part)


def cases(root: Path, known: Mapping[str, Any]) -> Iterator[Case]:
    """Return the models of every set in a folder and the other blocks of its answers."""
    for folder in folders(root) if root.is_dir() else []:
        try:
            dataset = read_set(folder, known)
        except Exception:
            yield Case(folder, "unreadable", METHODS[0])  # the check reads it again and says why
            continue
        for block in dataset.models:
            yield from (Case(folder, block, ddf) for ddf in METHODS)
        for block, wanted in dataset.blocks.items():
            if block not in dataset.models and not isinstance(wanted, str):  # a note
                yield Case(folder, block)


def check(case: Case, known: Mapping[str, Any], seen: Comparison) -> list[str]:
    """Compare a case with its answers; return what among them nothing compares.

    Raises
    ------
    AssertionError, KetastatsError
        For a number that differs, or a set that does not say enough.
    """
    dataset = read_set(case.folder, known)
    wanted = dataset.blocks.get(case.block)
    if case.ddf:
        fit = dataset.fitted(case.block, case.ddf)
        identities.check_table(fit)
        if wanted is None:
            return []
        read_model(dataset, case.block, fit, seen)
    elif read := reader(case.block):
        read(dataset, case.block.removeprefix("published."), wanted, seen)
    if seen.worst:
        seen.check(dataset.limits(case.block, seen.worst))
    return unread(dataset, case.block)


def unread(d: DataSet, block: str) -> list[str]:
    """Return what a block holds that nothing compares."""
    wanted = d.blocks[block]
    if block in d.models:
        left = [k for k in wanted if k not in OF_A_MODEL | {"contrasts"}]
        left = [k for k in left if k not in d.said.get("joint", {})]
        stored = [c["name"] for c in wanted.get("contrasts", [])]
        return left + [c for c in stored if c not in d.said.get("contrasts", {})]
    if block == "minus2_ml_loglik":
        return [k for k in wanted if k not in d.said.get("likelihoods", {})]
    return [] if reader(block) else [block]


def check_identities(case: Case, known: Mapping[str, Any]) -> None:
    """Check a model without its answers: dense algebra, the likelihood, other ways to fit it."""
    dataset = read_set(case.folder, known)
    fit = dataset.fitted(case.block, case.ddf)
    identities.check_all(fit, dataset.rows(case.block))


def run(root: Path, known: Mapping[str, Any]) -> dict[str, str]:
    """Run everything in a folder; return the sentence of each failure by case, "" without one."""
    out = {}
    for case in cases(root, known):
        try:
            check(case, known, Comparison())
            if case.ddf:
                check_identities(case, known)
            out[str(case)] = ""
        except (AssertionError, KetastatsError) as error:
            out[str(case)] = str(error) or repr(error)
    return out
