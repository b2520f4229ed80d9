from pathlib import Path

import pytest

import ketastats as ks
from ketastats.reporting.datapackage import data_differences, read_data

DATA = Path(__file__).parents[1] / "data" / "synthetic"


@pytest.mark.parametrize("name", ks.packaged_studies())
def test_committed_data_equal_what_the_study_draws(name):
    found = data_differences(ks.load_study(name), DATA / name)
    assert not found, f"{'; '.join(found)} (draw them anew with: make data)"


@pytest.mark.parametrize("name", ks.packaged_studies())
def test_committed_data_can_be_read(name):
    assert set(read_data(DATA / name)) == {o.name for o in ks.load_study(name).outcomes}


def test_every_committed_data_set_has_its_study():
    assert {p.name for p in DATA.iterdir() if p.is_dir()} == set(ks.packaged_studies())
