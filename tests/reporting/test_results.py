import json
import math

import pandas as pd
import pytest

import ketastats as ks
from ketastats.core.errors import DataError
from ketastats.reporting.results import plain


def test_estimates_come_back_as_they_were(made):
    stored = ks.read_results(made.folder / "results.json")
    pd.testing.assert_frame_equal(stored.estimates, made.results.estimates, check_exact=True)
    pd.testing.assert_frame_equal(stored.truth, made.results.truth, check_exact=True)


def test_a_folder_is_read_like_its_file(made):
    stored = ks.read_results(made.folder)
    assert (stored.study, stored.hash) == (made.results.study.id, made.results.study.hash)
    assert stored.synthetic and stored.seed == 3
    assert set(stored.details) == {a.name for a in made.results.study.analyses}
    assert stored.to_frame() is stored.estimates


def test_stored_results_say_that_they_are_synthetic(made):
    stored = ks.read_results(made.folder)
    assert "SYNTHETIC" in str(stored) and "SYNTHETIC" in repr(stored)
    assert "<table" in stored._repr_html_()


def test_stored_results_are_frozen(made):
    with pytest.raises(AttributeError):
        ks.read_results(made.folder).seed = 2


def test_panels_keep_infinite_df(made):
    choices = ks.read_results(made.folder).panels["method_choices"]["effect"]
    z = next(c for c in choices if c["ddf"] == "z")
    assert float(z["df"]) == math.inf


@pytest.mark.parametrize(
    ("schema", "mend"), [(2, "newer version"), (0, "version of ketastats that wrote it")]
)
def test_another_schema_is_refused_by_name(copied, schema, mend):
    path = copied / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"schema": schema}), encoding="utf-8")
    with pytest.raises(DataError, match=f"schema {schema}") as caught:
        ks.read_results(path)
    assert mend in str(caught.value) and "results.json" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "{}", '{"schema": 1}', '{"schema": 1, "study": 3, "truth": []}']
)
def test_what_is_no_results_file_is_refused(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"results\.json"):
        ks.read_results(path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "results.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match="not UTF-8"):
        ks.read_results(tmp_path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        ks.read_results(tmp_path / "no.json")


def test_values_become_json():
    frame = pd.Series([1, 2])
    got = plain({"a": (1.5, math.nan), "b": frame.to_numpy(), "c": True, "d": -math.inf, 3: None})
    assert got == {"a": [1.5, None], "b": [1, 2], "c": True, "d": "-Infinity", "3": None}
