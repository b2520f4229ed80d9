"""record.json: what rebuilds a report, and on what it was built."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketastats.core.files import sha256_of
from ketastats.core.random import Purpose, integer_seed
from ketastats.reporting.datapackage import csv_text
from ketastats.reporting.tables import csv_text as full_csv
from ketastats.study.model import Study

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
FILE = "record.json"
PACKAGES = (
    "arviz", "formulaic", "jinja2", "ketastats", "matplotlib", "numba", "numpy", "nutpie",
    "pandas", "pymc", "pytensor", "scipy", "statsmodels",
)  # fmt: skip


@cache
def environment() -> dict[str, Any]:
    """Return versions and platform: within one of these, bytes are the same.

    Returns
    -------
    dict
        python, packages, system, machine, cpu.
    """
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "packages": packages,
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": cpu_family(),
    }


def cpu_family() -> str:
    """Return the family of processors.

    Vendor, family and model on Linux, else what the platform module says.
    """
    wanted = {"vendor_id": "", "cpu family": "", "model": ""}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in wanted and not wanted[key.strip()]:
            wanted[key.strip()] = value.strip()
    return " ".join(v for v in wanted.values() if v) or platform.processor()


def meta() -> dict[str, Any]:
    """Return what may differ between two builds of the same report."""
    import os
    from datetime import UTC, datetime

    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
    }


def data_texts(study: Study, data: Mapping[str, pd.DataFrame], synthetic: bool) -> dict[str, str]:
    """Return the CSV text of every outcome's data.

    Synthetic data to their declared decimals, as in a Data Package; given data in full.
    """
    if synthetic:
        return {o.name: csv_text(data[o.name], o) for o in study.outcomes}
    return {o.name: full_csv(data[o.name]) for o in study.outcomes}


def record_data(
    study: Study,
    *,
    source: str,
    data: Mapping[str, str],
    synthetic: bool,
    analyses: Sequence[str],
    seed: int,
    draws: int,
    command: str,
) -> dict[str, Any]:
    """Return the content of record.json.

    Parameters
    ----------
    study : Study
    source : str
        ``packaged``, ``file`` (copied to study.toml) or ``python`` (study.json, no rebuild).
    data : mapping of str to str
        CSV text per outcome.
    synthetic : bool
    analyses : sequence of str
        Those run.
    seed, draws : int
    command : str
    """
    outcomes = {
        name: {"rows": text.count("\n") - 1, "sha256": sha256_of(text.encode("utf-8"))}
        for name, text in data.items()
    }
    samplers = {
        a: integer_seed(seed, Purpose.SAMPLER, a, 0)
        for a in analyses
        if study.analysis(a).engine == "mcmc"
    }
    return {
        "schema": SCHEMA_VERSION,
        "study": {"id": study.id, "hash": study.hash, "source": source},
        "data": {"synthetic": synthetic, "outcomes": outcomes},
        "analyses": list(analyses),
        "seeds": {"seed": seed, "samplers": samplers},
        "draws": draws,
        "command": command,
        "environment": environment(),
        "meta": meta(),
    }
