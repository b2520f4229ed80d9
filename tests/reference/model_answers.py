"""Comparison of a mixed model with its block of an ``expected.json``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ketastats.core.errors import DataError
from ketastats.frequentist.lmm import MixedModel
from tests.reference.conftest import Comparison, by_term, term_key
from tests.reference.sets import DataSet
from tests.reference.translate import our_name

Block = Mapping[str, Any]
OF_A_MODEL = {"r_call", "n_obs", "minus2_reml_loglik", "singular", "variance", "fixed", "type3"}
SMALL = 1e-6
"""p values under this are compared by their ratio too."""


def read_model(d: DataSet, block: str, fit: MixedModel, comparison: Comparison) -> None:
    """Compare a fit with all that its block of answers holds for the fit's method."""
    wanted, key = d.blocks[block], fit.ddf.replace("-", "_")
    if "n_obs" in wanted:
        comparison.add("n_obs", len(fit.problem.rows), wanted["n_obs"], block)
    if "variance" in wanted:
        comparison.variances(fit, our_variances(fit, wanted["variance"]))
    if "minus2_reml_loglik" in wanted:
        comparison.loglik(fit, wanted["minus2_reml_loglik"])
    fixed = [e | {"name": our_name(e["name"])} for e in wanted.get("fixed", []) if key in e]
    if any(e["name"] == "(Intercept)" for e in fixed):  # then all of them are stored
        comparison.add("coefficients", len(fit.coefficients), len(fixed), block)
    if fixed:
        known = by_term(fit.coefficients)
        absent = [e["name"] for e in fixed if term_key(e["name"]) not in known]
        if absent:
            raise DataError(
                f"the fit has no coefficient {absent[0]!r} but {', '.join(fit.coefficients.index)}",
                where=f"{d.name}: {block}",
                mend="say factors or reference in harness.toml",
            )
        comparison.coefficients(fit, fixed)
        tails(known, {e["name"]: e[key] for e in fixed}, comparison)
    if key in wanted.get("type3", {}):
        stored = {our_name(term): row for term, row in wanted["type3"][key].items()}
        comparison.type3(fit, stored)
        tails(by_term(fit.anova()), stored, comparison)
    if "singular" in wanted:
        comparison.add("boundary", fit.status == "boundary", wanted["singular"], block)
    for name, asked in d.said.get("contrasts", {}).items():
        entry = next((c for c in wanted.get("contrasts", []) if c["name"] == name), None)
        if entry is not None:
            row = fit.contrast(**asked).iloc[0]
            comparison.numbers(row, as_row(entry[key]), name, "contrast ")
    for name, columns in d.said.get("joint", {}).items():
        if name in wanted:
            f = joint_f(fit, columns)
            comparison.numbers(f, wanted[name][key], name, "joint ")


def our_variances(fit: MixedModel, stored: Mapping[str, float]) -> dict[str, float]:
    """Return stored variances by the fit's names.

    R writes ``block:A:(Intercept)``, ``subject:age``, ``subject (Intercept) age``. A group that R
    was given under another name (a column made of two) is the one that is left over.
    """
    ours = {(frozenset({"Residual"}), frozenset()): "residual"}
    for r in fit.problem.random:
        for i, j, name in r.parameters:
            effects = {"(Intercept)" if r.effects[k] == "1" else r.effects[k] for k in (i, j)}
            ours[frozenset(r.term.group), frozenset(effects)] = name
    theirs = {variance_key(k): v for k, v in stored.items()}
    out = {ours.pop(k): theirs.pop(k) for k in list(theirs) if k in ours}
    (mine, name), (other, value) = (next(iter(x.items()), (None, None)) for x in (ours, theirs))
    if len(ours) == len(theirs) == 1 and mine[1] == other[1]:
        return out | {name: value}
    assert not ours and not theirs, f"variances {sorted(ours.values())} and {list(stored)} differ"
    return out


def variance_key(stored: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return group and effects of a variance named by R."""
    if stored == "Residual":
        return frozenset({stored}), frozenset()
    group, *effects = stored.split(" ") if " " in stored else stored.rsplit(":", 1)
    return frozenset(re.sub(r"\.\d+$", "", group).split(":")), frozenset(effects)


def as_row(stored: Block) -> dict[str, Any]:
    """Return a stored contrast by the names of Estimates."""
    out = dict(stored)
    if "t" in out:
        out["statistic"] = out.pop("t")
    for name in ("ci95", "ci"):
        if name in out:
            out["ci_low"], out["ci_high"] = out.pop(name)
    return out


def joint_f(fit: MixedModel, columns: list[str]) -> dict[str, float]:
    """Test some coefficients at once."""
    f = fit.test(np.eye(len(fit.problem.names))[[fit.problem.names.index(c) for c in columns]])
    return {"num_df": f.num_df, "den_df": f.den_df[0], "F": f.f[0], "p": f.p[0]}


def tails(
    got: Mapping[frozenset[str], Any], stored: Mapping[str, Block], comparison: Comparison
) -> None:
    """Compare p values that are too small for a difference to count, by their ratio."""
    for name, wanted in stored.items():
        if 0 < wanted.get("p", 0) < SMALL:
            ratio = got[term_key(name)]["p"] / wanted["p"]
            comparison.add("tail p", ratio, 1.0, f"{name}: p = {wanted['p']:.3g}, ratio")
