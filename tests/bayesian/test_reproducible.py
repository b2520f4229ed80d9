"""Same seed, same bytes: in a process that compiles, in one that does not, on one core and two."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ketastats

SCRIPT = """
import hashlib, os, sys
os.cpu_count = lambda: int(sys.argv[1])
from ketastats.bayesian.mcmc import mcmc
from ketastats.study.load import load_study
study = load_study("jelen2025")
data = study.simulate(seed=1, outcome="madrs")
post = mcmc("madrs ~ treatment*time + (1|subject) + (1|subject:time)", data, typical_sd=10.0,
            draws=200, tune=300)
data["trials"], data["points"] = 60, data["madrs"].clip(0, 60).round()
own = mcmc("points ~ treatment*time + (1|subject)", data, family="beta-binomial", size="trials",
           draws=100, tune=300)
table = post.contrast({"treatment": "naltrexone - placebo", "time": "day1 - pre"}).to_csv()
table += own.contrast({"treatment": "naltrexone - placebo"}, scale="natural").to_csv()
parts = [own.draws.gamma, own.draws.own, own.draws.energy, own.predictive(9)]
for part in (*parts, post.draws.gamma, post.draws.sd, post.draws.sigma, post.draws.energy):
    table += hashlib.sha256(part.tobytes()).hexdigest()
print(table)
"""


def run(folder, *, cores, hash_seed, flags="", threads="2"):
    root = str(Path(ketastats.__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    flags = ",".join(filter(None, [f"base_compiledir={folder}", flags]))
    env = os.environ | {"PYTHONPATH": path, "PYTENSOR_FLAGS": flags, "PYTHONHASHSEED": hash_seed}
    env |= {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(cores)],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "nutpie" in done.stdout
    return done.stdout


@pytest.mark.slow
def test_fresh_and_cached_compilation_and_any_number_of_cores_draw_the_same_bytes(tmp_path):
    compiled = run(tmp_path / "one", cores=2, hash_seed="1")
    assert any((tmp_path / "one").rglob("*"))  # the second process finds what the first compiled
    loaded = run(tmp_path / "one", cores=1, hash_seed="2", threads="1")
    elsewhere = run(tmp_path / "two", cores=2, hash_seed="3", flags="numba__fastmath=True")
    assert compiled == loaded
    assert compiled == elsewhere
