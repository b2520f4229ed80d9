"""Draws as an ArviZ DataTree, and its file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ketastats.bayesian.likelihood import Likelihood
from ketastats.bayesian.sampling import Draws, Settings
from ketastats.core.files import write_bytes
from ketastats.problem.build import Problem


def as_datatree(
    problem: Problem,
    draws: Draws,
    rows: Likelihood,
    settings: Settings,
    facts: Mapping[str, str],
) -> Any:
    """Return an ArviZ DataTree without clock times.

    The group ``sample_stats`` holds every draw, those that thinning leaves out too: E-BFMI
    compares neighbours. Its coordinate ``draw`` numbers them; ``posterior`` has every thin-th.

    Parameters
    ----------
    problem : Problem
    draws : Draws
    rows : Likelihood
    settings : Settings
    facts : mapping of str to str
        Attributes of the root.

    Returns
    -------
    xarray.DataTree
    """
    import arviz as az

    posterior: dict[str, np.ndarray] = {"gamma": draws.gamma}
    posterior |= rows.unpack(draws.own)
    if draws.sd.shape[-1]:
        posterior["sd"] = draws.sd
    every = np.arange(draws.energy.shape[1])
    kept = every[settings.thin - 1 :: settings.thin]
    terms = [name for r in problem.random for _, _, name in r.parameters]
    coords = {"coefficient": list(problem.names), "term": terms}
    dims = {"gamma": ["coefficient"], "sd": ["term"]}
    if rows.residual == "by":
        coords["residual"], dims["sigma"] = list(rows.groups), ["residual"]
    if rows.cuts:
        coords["cut"], dims["cutpoints"] = list(rows.cuts), ["cut"]
    tree = az.from_dict({"posterior": posterior}, coords=coords | {"draw": kept}, dims=dims)
    stats = {"diverging": draws.diverging, "energy": draws.energy}
    tree.update(az.from_dict({"sample_stats": stats}, coords={"draw": every}))
    observed = {"observed_data": {problem.outcome: problem.y}}
    of_rows = {"dims": {problem.outcome: ["row"]}, "coords": {"row": problem.rows}}
    tree.update(az.from_dict(observed, sample_dims=[], **of_rows))
    for node in tree.children.values():
        node.attrs = {}
    tree.attrs = {"schema": 1, **facts}
    return tree


def save_datatree(tree: Any, path: str | Path) -> None:
    """Write a DataTree as netCDF, whole or not at all, the same bytes every time."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "posterior.nc"
        tree.to_netcdf(file, engine="h5netcdf")
        write_bytes(path, file.read_bytes())
