"""ketastats: the statistics of small trials with a known truth.

Declare a trial, draw its data, ask it the same question in two schools of statistics, and hand
over a report that anybody can rebuild. Names load when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "load_study": "ketastats.study.load",
    "parse_study": "ketastats.study.load",
    "packaged_studies": "ketastats.study.load",
    "lmm": "ketastats.frequentist.lmm",
    "lmm_many": "ketastats.frequentist.lmm",
    "hills_armitage": "ketastats.frequentist.classical",
    "paired_t": "ketastats.frequentist.classical",
    "first_period_only": "ketastats.frequentist.classical",
    "two_stage": "ketastats.frequentist.two_stage",
    "rank_tests": "ketastats.frequentist.ranks",
    "randomisation_test": "ketastats.frequentist.randomisation",
    "binary_tests": "ketastats.frequentist.binary",
    "baseline_split": "ketastats.frequentist.baseline",
    "add_carry_over": "ketastats.frequentist.carry_over",
    "gee": "ketastats.frequentist.gee",
    "equivalence": "ketastats.frequentist.equivalence",
    "friedman": "ketastats.frequentist.friedman",
    "rank_interaction": "ketastats.frequentist.rank_interaction",
    "glmm": "ketastats.frequentist.glmm",
    "glmm_many": "ketastats.frequentist.glmm",
    "mcmc": "ketastats.bayesian.mcmc",
    "posterior": "ketastats.bayesian.exact.fit",
    "posterior_many": "ketastats.bayesian.exact.fit",
    "analyse": "ketastats.analysis.run",
    "completers": "ketastats.analysis.run",
    "register_engine": "ketastats.analysis.engines",
    "mcmc_linked": "ketastats.bayesian.linked",
    "sbc": "ketastats.diagnosis.sbc",
    "shrink": "ketastats.diagnosis.shrinkage",
    "shrink_estimands": "ketastats.diagnosis.shrinkage",
    "gee_many": "ketastats.frequentist.gee",
    "report": "ketastats.reporting.report",
    "verify": "ketastats.reporting.verify",
    "read_results": "ketastats.reporting.results",
    "write_data": "ketastats.reporting.datapackage",
    "KetastatsError": "ketastats.core.errors",
    "StudyError": "ketastats.core.errors",
    "DataError": "ketastats.core.errors",
    "FormulaError": "ketastats.core.errors",
    "NotEstimable": "ketastats.core.errors",
    "MissingExtra": "ketastats.core.errors",
    "OutputError": "ketastats.core.errors",
}

if TYPE_CHECKING:
    from ketastats.analysis.engines import register_engine
    from ketastats.analysis.run import analyse, completers
    from ketastats.bayesian.exact.fit import posterior, posterior_many
    from ketastats.bayesian.linked import mcmc_linked
    from ketastats.bayesian.mcmc import mcmc
    from ketastats.core.errors import (
        DataError,
        FormulaError,
        KetastatsError,
        MissingExtra,
        NotEstimable,
        OutputError,
        StudyError,
    )
    from ketastats.diagnosis.sbc import sbc
    from ketastats.diagnosis.shrinkage import shrink, shrink_estimands
    from ketastats.frequentist.baseline import baseline_split
    from ketastats.frequentist.binary import binary_tests
    from ketastats.frequentist.carry_over import add_carry_over
    from ketastats.frequentist.classical import first_period_only, hills_armitage, paired_t
    from ketastats.frequentist.equivalence import equivalence
    from ketastats.frequentist.friedman import friedman
    from ketastats.frequentist.gee import gee, gee_many
    from ketastats.frequentist.glmm import glmm, glmm_many
    from ketastats.frequentist.lmm import lmm, lmm_many
    from ketastats.frequentist.randomisation import randomisation_test
    from ketastats.frequentist.rank_interaction import rank_interaction
    from ketastats.frequentist.ranks import rank_tests
    from ketastats.frequentist.two_stage import two_stage
    from ketastats.reporting.datapackage import write_data
    from ketastats.reporting.report import report
    from ketastats.reporting.results import read_results
    from ketastats.reporting.verify import verify
    from ketastats.study.load import load_study, packaged_studies, parse_study

__all__ = [
    "DataError",
    "FormulaError",
    "KetastatsError",
    "MissingExtra",
    "NotEstimable",
    "OutputError",
    "StudyError",
    "add_carry_over",
    "analyse",
    "baseline_split",
    "binary_tests",
    "completers",
    "equivalence",
    "first_period_only",
    "friedman",
    "gee",
    "gee_many",
    "glmm",
    "glmm_many",
    "hills_armitage",
    "lmm",
    "lmm_many",
    "load_study",
    "mcmc",
    "mcmc_linked",
    "packaged_studies",
    "paired_t",
    "parse_study",
    "posterior",
    "posterior_many",
    "randomisation_test",
    "rank_interaction",
    "rank_tests",
    "read_results",
    "register_engine",
    "report",
    "sbc",
    "shrink",
    "shrink_estimands",
    "two_stage",
    "verify",
    "write_data",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ketastats")
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'ketastats' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
