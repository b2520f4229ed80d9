import time
from dataclasses import replace

import numpy as np
import pytest

from ketastats.bayesian import cache
from ketastats.bayesian.families import FAMILIES
from ketastats.bayesian.likelihood import Likelihood
from ketastats.bayesian.mcmc import mcmc
from ketastats.bayesian.sampling import Draws, Inputs, Settings
from ketastats.core.errors import OutputError
from ketastats.study.model import Scale
from ketastats.study.priors import Prior

SETTINGS = Settings(draws=5, tune=10, chains=2, thin=3, seed=1)
INPUTS = Inputs(
    y=np.array([1.0, 2.0, 4.0, 3.0]),
    x=np.array([[1.0, -0.5], [1.0, 0.5], [1.0, -0.5], [1.0, 0.5]]),
    z=(np.ones(4),),
    group=(np.array([0, 0, 1, 1]),),
    levels=(2,),
    location=np.zeros(2),
    scale=np.array([10.0, 3.0]),
    sd=Prior("half-normal", (2.0,)),
)


@pytest.fixture
def counted(monkeypatch):
    """Replace the sampler by one that counts and returns known draws."""
    calls = []

    def sample(inputs, settings, *, progress=False):
        calls.append(settings.seed)
        rng = np.random.default_rng(settings.seed)
        return Draws(
            gamma=rng.normal(size=(2, 5, 2)),
            sd=rng.random((2, 5, 1)),
            own=rng.random((2, 5, 1)),
            diverging=rng.random((2, 15)) < 0.5,
            energy=rng.normal(size=(2, 15)),
        )

    monkeypatch.setattr(cache, "sample", sample)
    return calls


def same(a, b):
    return all(getattr(a, n).tobytes() == getattr(b, n).tobytes() for n in Draws.__slots__)


def test_a_cached_result_equals_the_fresh_one_in_every_byte(
    madrs, madrs_arguments, study, monkeypatch, tmp_path
):
    def never(*args, **kwargs):
        raise AssertionError("sampled again")

    monkeypatch.setattr(cache, "sample", never)
    arguments, keywords = madrs_arguments
    again = mcmc(*arguments, **keywords)
    asked = study.estimands_of(study.analysis("bayes"))
    assert again.contrast(estimands=asked).to_csv() == madrs.contrast(estimands=asked).to_csv()
    assert again.summary().to_csv() == madrs.summary().to_csv()
    assert str(again) == str(madrs)
    assert same(again.draws, madrs.draws)
    again.save(tmp_path / "again.nc")
    time.sleep(1.1)  # HDF5 counts seconds, and must write none into the file
    madrs.save(tmp_path / "fresh.nc")
    assert (tmp_path / "again.nc").read_bytes() == (tmp_path / "fresh.nc").read_bytes()


def test_draws_are_sampled_once_and_without_a_folder_every_time(counted, tmp_path):
    first = cache.cached_sample(INPUTS, SETTINGS, tmp_path / "draws")
    second = cache.cached_sample(INPUTS, SETTINGS, tmp_path / "draws")
    assert same(first, second)
    assert len(counted) == 1
    cache.cached_sample(INPUTS, SETTINGS, None)
    assert len(counted) == 2
    assert [p.suffix for p in (tmp_path / "draws").iterdir()] == [".npz"]


def cut(data):
    return data[: len(data) // 2]


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


@pytest.mark.parametrize("spoil", [cut, flipped, lambda data: b"", lambda data: b"draws"])
def test_a_corrupt_file_is_ignored_and_written_anew(counted, tmp_path, spoil):
    first = cache.cached_sample(INPUTS, SETTINGS, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(spoil(whole))
    assert same(cache.cached_sample(INPUTS, SETTINGS, tmp_path), first)
    assert len(counted) == 2
    assert file.read_bytes() == whole


def test_a_file_of_other_shapes_or_with_an_array_less_is_ignored(counted, tmp_path):
    draws = cache.cached_sample(INPUTS, SETTINGS, tmp_path)
    (file,) = tmp_path.iterdir()
    cache.write_draws(file, replace(draws, sd=draws.sd[:, :3]))
    assert cache.read_draws(file, INPUTS, SETTINGS) is None
    np.savez(file, gamma=draws.gamma)
    assert cache.read_draws(file, INPUTS, SETTINGS) is None
    np.savez(file, gamma=np.array([{}], dtype=object))  # a pickle is never opened
    assert cache.read_draws(file, INPUTS, SETTINGS) is None


@pytest.mark.parametrize(
    "change",
    [
        {"y": np.array([1.0, 2.0, 4.0, 3.5])},
        {"x": INPUTS.x * 2},
        {"z": (np.array([1.0, 1.0, 1.0, 0.0]),)},
        {"group": (np.array([0, 1, 1, 0]),)},
        {"levels": (3,)},
        {"location": np.array([0.0, 1.0])},
        {"scale": np.array([10.0, 4.0])},
        {"sd": Prior("half-normal", (3.0,))},
        {"sd": Prior("exponential", (2.0,))},
    ],
)
def test_whatever_decides_the_posterior_is_in_the_key(change):
    assert cache.cache_key(replace(INPUTS, **change), SETTINGS) != cache.cache_key(INPUTS, SETTINGS)


TRIALS = Inputs(
    y=np.array([1.0, 2.0, 4.0, 3.0]),
    x=np.ones((4, 1)),
    z=(),
    group=(),
    levels=(),
    location=np.zeros(1),
    scale=np.ones(1),
    sd=Prior("half-normal", (2.0,)),
    rows=Likelihood(FAMILIES["beta-binomial"], trials=np.full(4, 9), groups=()),
    own=(Prior("half-normal", (0.5,)),),
)
SECONDS = Scale("real", 0.0, 10.0, 1, "s")


@pytest.mark.parametrize(
    "change",
    [
        {"own": (Prior("half-normal", (0.6,)),)},
        {"own": (Prior("exponential", (0.5,)),)},
        {"rows": replace(TRIALS.rows, family=FAMILIES["binomial"])},
        {"rows": replace(TRIALS.rows, trials=np.array([9, 9, 9, 10]))},
        {"rows": replace(TRIALS.rows, log_exposure=np.zeros(4))},
        {"rows": replace(TRIALS.rows, scale=SECONDS)},
        {"rows": replace(TRIALS.rows, groups=("a", "b"))},
        {"rows": replace(TRIALS.rows, residual="ar1")},
        {"rows": replace(TRIALS.rows, level=np.array([0, 1, 0, 1]))},
        {"rows": replace(TRIALS.rows, previous=np.array([-1, 0, 1, 2]))},
        {"rows": replace(TRIALS.rows, gap=np.array([0, 1, 1, 2]))},
        {"rows": replace(TRIALS.rows, scores=np.arange(3.0), categories=("a", "b", "c"))},
    ],
)
def test_the_family_and_all_its_options_are_in_the_key(change):
    assert cache.cache_key(replace(TRIALS, **change), SETTINGS) != cache.cache_key(TRIALS, SETTINGS)


@pytest.mark.parametrize("bound", ["min", "max"])
def test_each_bound_is_in_the_key_and_what_is_no_bound_is_not(bound):
    bounded = replace(TRIALS, rows=replace(TRIALS.rows, scale=SECONDS))
    key = cache.cache_key(bounded, SETTINGS)
    other = replace(TRIALS, rows=replace(TRIALS.rows, scale=replace(SECONDS, **{bound: 5.0})))
    assert cache.cache_key(other, SETTINGS) != key
    renamed = replace(TRIALS, rows=replace(TRIALS.rows, scale=replace(SECONDS, unit="min")))
    assert cache.cache_key(renamed, SETTINGS) == key


def test_an_array_does_not_pass_for_another_in_the_key():
    one = replace(TRIALS, rows=replace(TRIALS.rows, previous=np.arange(4), gap=np.empty(0, int)))
    two = replace(TRIALS, rows=replace(TRIALS.rows, previous=np.empty(0, int), gap=np.arange(4)))
    assert cache.cache_key(one, SETTINGS) != cache.cache_key(two, SETTINGS)


@pytest.mark.parametrize("name", ["draws", "tune", "chains", "thin", "seed", "target_accept"])
def test_every_setting_is_in_the_key(name):
    value = 0.9 if name == "target_accept" else 7
    changed = replace(SETTINGS, **{name: value})
    assert cache.cache_key(INPUTS, changed) != cache.cache_key(INPUTS, SETTINGS)


@pytest.mark.parametrize("package", ["pymc", "pytensor", "nutpie", "numba", "numpy"])
def test_another_version_of_the_sampler_is_another_key(monkeypatch, package):
    before = cache.cache_key(INPUTS, SETTINGS)
    real = cache.version
    monkeypatch.setattr(cache, "version", lambda p: "0.0" if p == package else real(p))
    assert cache.cache_key(INPUTS, SETTINGS) != before


def test_the_same_values_in_another_layout_have_the_same_key():
    other = replace(
        INPUTS, x=np.asfortranarray(INPUTS.x), group=(np.array([0, 0, 1, 1], np.int32),)
    )
    assert cache.cache_key(other, SETTINGS) == cache.cache_key(INPUTS, SETTINGS)


def test_a_folder_that_cannot_be_written_is_said(counted, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        cache.cached_sample(INPUTS, SETTINGS, tmp_path / "file")


def test_a_cached_result_imports_no_sampler(madrs, madrs_arguments, tmp_path):
    import os
    import pickle
    import subprocess
    import sys
    from pathlib import Path

    import ketastats

    (tmp_path / "a.pickle").write_bytes(pickle.dumps(madrs_arguments))
    script = (
        "import pickle, sys\n"
        "from ketastats.bayesian.mcmc import mcmc\n"
        f"a, k = pickle.load(open({str(tmp_path / 'a.pickle')!r}, 'rb'))\n"
        "assert mcmc(*a, **k).draws.gamma.shape == (4, 1000, 10)\n"
        "print(sorted({'pymc', 'nutpie', 'numba', 'pytensor'} & set(sys.modules)))\n"
    )
    root = str(Path(ketastats.__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
