import pickle

import pytest

from ketastats.core import errors
from ketastats.core.errors import (
    DataError,
    FormulaError,
    KetastatsError,
    MissingExtra,
    NotEstimable,
    OutputError,
    StudyError,
    nearest,
)

SUBCLASSES = [StudyError, DataError, FormulaError, NotEstimable, OutputError]


@pytest.mark.parametrize("cls", [KetastatsError, *SUBCLASSES])
def test_text_is_where_message_mend_in_one_sentence(cls):
    assert str(cls("no such column")) == "no such column"
    assert str(cls("no such column", where="a.csv")) == "a.csv: no such column"
    assert str(cls("no such column.", where="a.csv", mend="add it")) == (
        "a.csv: no such column; add it"
    )
    assert str(cls("no such column", mend="add it")) == "no such column; add it"
    assert issubclass(cls, KetastatsError)


def test_study_error_says_file_and_key_path():
    error = StudyError("must be 1 or more", file="my.toml", key="design.subjects", mend="give 1")
    assert str(error) == "my.toml: design.subjects: must be 1 or more; give 1"
    assert (error.file, error.key) == ("my.toml", "design.subjects")
    assert str(StudyError("bad", key="design")) == "design: bad"
    assert str(StudyError("bad", file="my.toml")) == "my.toml: bad"
    assert str(StudyError("bad", file="my.toml", where="line 3")) == "line 3: bad"


def test_missing_extra_names_the_install_line():
    error = MissingExtra("teach", "the teaching notebook")
    assert str(error) == (
        "the teaching notebook needs the extra 'teach'; pip install \"ketastats[teach]\""
    )
    assert (error.extra, error.what) == ("teach", "the teaching notebook")


def test_exit_codes():
    assert (errors.EXIT_OK, errors.EXIT_FINDING, errors.EXIT_BAD_INPUT) == (0, 1, 2)
    assert (errors.EXIT_IO, errors.EXIT_INTERRUPTED) == (3, 130)
    assert OutputError.exit_code == 3
    for cls in (KetastatsError, StudyError, DataError, FormulaError, NotEstimable, MissingExtra):
        assert cls.exit_code == 2


@pytest.mark.parametrize(
    "error",
    [
        KetastatsError("a", where="b", mend="c"),
        StudyError("a", file="b", key="c", mend="d"),
        MissingExtra("parallel", "a cluster", where="here"),
        OutputError("a", where="b"),
    ],
)
def test_an_error_survives_the_way_from_a_worker(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_nearest_suggests_what_was_meant():
    words = ["placebo", "naltrexone", "ketamine"]
    assert nearest("naltrexon", words) == "naltrexone"
    assert nearest("Plcebo", words) == "placebo"
    assert nearest("glx", ["Glx", "madrs"]) == "Glx"
    assert nearest("quux", words) is None
    assert nearest("x", []) is None
    assert nearest("", words) is None
    assert nearest("ketamin", iter(words)) == "ketamine"
