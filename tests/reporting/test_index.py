from html.parser import HTMLParser

import pytest

from ketastats.core.errors import DataError, OutputError
from ketastats.reporting.index import write_index


def hrefs(page):
    found = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.extend(v for k, v in attrs if k in ("href", "src"))

    Links().feed(page.read_text(encoding="utf-8"))
    return found


def test_the_index_lists_a_report_with_its_answer(made):
    home = made.folder.parent
    page = write_index(home, [made])
    text = page.read_text(encoding="utf-8")
    assert page == home / "index.html"
    assert "A tiny crossover" in text and "SYNTHETIC DATA, seed 3" in text
    assert "B minus A in the change:" in text and "true value" in text
    assert "<script" not in text


def test_links_lead_to_files(made, tmp_path):
    home = made.folder.parent
    page = write_index(home, [made.folder])
    links = hrefs(page)
    assert len(links) == 4
    assert all((home / link).is_file() for link in links)


def test_reports_and_folders_give_the_same_page(made):
    home = made.folder.parent
    one = write_index(home, [made]).read_bytes()
    assert write_index(home, [str(made.folder)]).read_bytes() == one


def test_no_report_is_said_so(tmp_path):
    assert "no report yet" in write_index(tmp_path, []).read_text(encoding="utf-8")


def test_a_folder_that_is_no_report_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"results\.json"):
        write_index(tmp_path, [tmp_path / "nothing"])
    assert not (tmp_path / "index.html").exists()


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError):
        write_index(tmp_path / "file", [])
