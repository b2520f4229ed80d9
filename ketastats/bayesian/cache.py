"""Draws kept on disk, by everything that decides them."""

from __future__ import annotations

import hashlib
import io
import platform
import sys
import zipfile
import zlib
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ketastats.bayesian.sampling import ADAPTATION, Draws, Inputs, Settings, sample
from ketastats.core.files import canonical_json, write_bytes

FORMAT = 2
"""Raised whenever the model or the stored arrays change."""
PACKAGES = ("arviz", "numba", "numpy", "nutpie", "pymc", "pytensor")


def cached_sample(
    inputs: Inputs, settings: Settings, folder: Path | None, *, progress: bool = False
) -> Draws:
    """Return the draws from the folder, else sample and keep them there.

    A file that cannot be used is ignored and written anew.
    """
    if folder is None:
        return sample(inputs, settings, progress=progress)
    path = Path(folder) / f"{cache_key(inputs, settings)}.npz"
    draws = read_draws(path, inputs, settings)
    if draws is None:
        draws = sample(inputs, settings, progress=progress)
        write_draws(path, draws)
    return draws


def cache_key(inputs: Inputs, settings: Settings) -> str:
    """Hash data, design, priors, settings and versions: 64 hexadecimal digits."""
    facts = {
        "format": FORMAT,
        "adaptation": ADAPTATION,
        "settings": {
            name: getattr(settings, name)
            for name in ("draws", "tune", "chains", "thin", "seed", "target_accept")
        },
        "sd": [inputs.sd.family, *inputs.sd.parameters],
        "own": [[p.family, *p.parameters] for p in inputs.own],
        **inputs.rows.facts,
        "levels": inputs.levels,
        "versions": {p: version(p) for p in PACKAGES},
        "python": list(sys.version_info[:2]),
        "platform": [platform.system(), platform.machine()],
    }
    digest = hashlib.sha256(canonical_json(facts).encode())
    arrays = [inputs.y, inputs.x, inputs.location, inputs.scale, *inputs.z, *inputs.group]
    arrays += inputs.rows.arrays
    for array in arrays:
        kind = np.int64 if array.dtype.kind == "i" else np.float64
        digest.update(f"{array.shape}".encode())
        digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return digest.hexdigest()


def write_draws(path: Path, draws: Draws) -> None:
    """Write draws whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: getattr(draws, name) for name in Draws.__slots__})
    write_bytes(path, buffer.getvalue())


def read_draws(path: Path, inputs: Inputs, settings: Settings) -> Draws | None:
    """Return stored draws; None when there are none or the file is not what it should be."""
    kept = (settings.chains, settings.draws)
    every = (settings.chains, settings.draws * settings.thin)
    expected = {
        "gamma": (np.float64, (*kept, inputs.x.shape[1])),
        "sd": (np.float64, (*kept, len(inputs.z))),
        "own": (np.float64, (*kept, len(inputs.rows.names))),
        "diverging": (np.bool_, every),
        "energy": (np.float64, every),
    }
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in expected}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    if any(arrays[n].dtype != d or arrays[n].shape != s for n, (d, s) in expected.items()):
        return None
    return Draws(**arrays)
