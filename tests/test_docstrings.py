"""Every example in a docstring runs, and every public name has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import ketastats as ks

MODULES = sorted(m.name for m in pkgutil.walk_packages(ks.__path__, "ketastats."))
SLOW = {"ketastats.bayesian.mcmc"}  # compiles a model


def run_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


@pytest.mark.parametrize("name", [m for m in MODULES if m not in SLOW and "__main__" not in m])
def test_examples_run(name: str) -> None:
    run_examples(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SLOW))
def test_slow_examples_run(name: str) -> None:
    run_examples(name)


@pytest.mark.parametrize("name", ks.__all__)
def test_public_names_are_documented(name: str) -> None:
    thing = getattr(ks, name)
    doc = inspect.getdoc(thing) or ""
    assert len(doc) > 20
    if inspect.isfunction(thing):
        for section in ("Parameters", "Examples"):
            assert section in doc or not inspect.signature(thing).parameters, section
        undocumented = [
            p for p in inspect.signature(thing).parameters if f"{p} :" not in doc and p not in doc
        ]
        assert undocumented == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys, ketastats; ketastats.load_study;"
        "heavy = {'pymc', 'arviz', 'matplotlib', 'statsmodels', 'pingouin', 'pandas'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
