import errno
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

import ketastats as ks
from ketastats.analysis.engines import Answer
from ketastats.core.errors import OutputError, StudyError
from ketastats.reporting import numbers as n
from ketastats.reporting import report as report_module
from ketastats.reporting.compose import compose, report_files
from ketastats.reporting.html import report_page
from ketastats.reporting.index import write_index
from ketastats.reporting.material import gather
from ketastats.study.load import parse_study

SEED, DRAWS = 3, 200  # those of the fixture


def files_of(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


class Page(HTMLParser):
    """What a page holds: tags, attributes, ids and its words."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words).replace(n.NB, " "))


@pytest.fixture(scope="module")
def page(made):
    return Page((made.folder / "report.html").read_text(encoding="utf-8"))


# the folder


def test_the_folder_holds_what_was_promised(made):
    names = set(files_of(made.folder))
    assert {"report.html", "results.json", "record.json", "study.toml"} <= names
    assert {"tables/side_by_side.csv", "tables/missing-score.csv", "figures/design.svg"} <= names
    assert made.ok and made.findings == ()
    assert str(made).startswith("Report of study tiny") and "SYNTHETIC" in str(made)


def test_a_users_file_is_copied_whole(made, tiny_file):
    assert (made.folder / "study.toml").read_bytes() == tiny_file.read_bytes()


def test_two_processes_write_the_same_bytes(made, tiny_file, tmp_path):
    script = (
        "import sys, ketastats as ks\n"
        "ks.report(ks.load_study(sys.argv[1]), sys.argv[2], seed=int(sys.argv[3]),"
        " draws=int(sys.argv[4]), source=sys.argv[1])\n"
    )
    out = tmp_path / "again"
    root = Path(ks.__file__).parents[1]
    environment = os.environ | {"PYTHONHASHSEED": "77", "PYTHONPATH": str(root)}
    arguments = [str(tiny_file), str(out), str(SEED), str(DRAWS)]
    subprocess.run([sys.executable, "-c", script, *arguments], env=environment, check=True)
    one, other = files_of(made.folder), files_of(out)
    assert set(one) == set(other)
    assert [k for k in one if one[k] != other[k] and k != "record.json"] == []
    assert ks.verify(out).equal


def test_a_source_that_declares_another_study_is_refused(tiny, tiny_text, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(tiny_text.replace("baseline = 30.0", "baseline = 31.0"), encoding="utf-8")
    with pytest.raises(StudyError, match="another Study"):
        ks.report(tiny, tmp_path / "out", source=other)
    assert not (tmp_path / "out").exists()


# the page


def test_nothing_is_fetched_and_nothing_runs(page):
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "srcset", "action", "data", "xlink:href"), (tag, name)
        if name == "href":
            allowed = "https://doi.org/" if tag == "a" else "#"
            assert value.startswith(("#", allowed)), (tag, value)


def test_styles_name_no_address(made):
    text = (made.folder / "report.html").read_text(encoding="utf-8")
    assert "@import" not in text
    assert all(u.startswith("#") for u in re.findall(r"url\(([^)]*)\)", text))


def test_ids_do_not_clash_and_every_reference_has_its_target(page):
    ids = [v for _, k, v in page.attributes if k == "id"]
    assert len(ids) == len(set(ids))
    targets = {v[1:] for _, k, v in page.attributes if k == "href" and v.startswith("#")}
    targets |= {x for _, k, v in page.attributes if k == "aria-labelledby" for x in v.split()}
    assert targets <= set(ids)


def test_every_drawing_has_a_name_and_a_description(page):
    drawings = page.tags.count("svg")
    assert drawings >= 5
    named = [v for t, k, v in page.attributes if t == "svg" and k == "aria-labelledby"]
    assert len(named) == drawings


def test_the_page_says_first_that_the_data_are_synthetic(page):
    body = page.text.index("SYNTHETIC DATA:")
    assert body < page.text.index("Question and design")
    assert "imitates the design of Nobody N." in page.text
    assert "Reproduces none of its data." in page.text


def test_the_sections_stand_in_order(page):
    titles = ["Question and design", "Data", "Analysis in both schools", "Sex interaction",
              "Diagnostics", "What would change the conclusion", "Methods", "References",
              "Where every assumption comes from", "How to rebuild"]  # fmt: skip
    places = [page.text.index(f"{k} {title}") for k, title in enumerate(titles, start=1)]
    assert places == sorted(places)


def test_every_estimand_stands_with_its_truth_and_its_numbers(made, page):
    truth = made.results.truth.set_index("estimand")
    shown = made.results.estimates.query("analysis in ('primary', 'carry')")
    assert len(shown) == 5
    for _, r in shown.iterrows():
        interval = n.with_interval(r["estimate"], r["ci_low"], r["ci_high"], r["se"])
        true = n.value(truth.loc[r["estimand"], "natural"], r["se"])
        row = f"{true} {interval} {n.df(r['df'])} {n.p_value(r['p'])}"
        assert row.replace(n.NB, " ") in page.text, r["estimand"]


def test_no_nan_and_no_none_is_printed(page):
    assert not re.search(r"\b(nan|NaN|None|inf)\b", page.text)


def test_the_random_part_is_judged_from_its_numbers(page):
    assert re.search(r"“Person only”, with \(1 \| subject\), tests on \d+\.\d df", page.text)
    assert "where 5 % is promised" in page.text
    assert "An F as large as the printed one (F(1,33) = 5.0, P = 0.03)" in page.text


def test_the_published_claim_stands_as_printed(page):
    assert "F(1,33) = 5.0, P = 0.03" in page.text
    assert "abstract of the invented paper" in page.text


def test_carry_over_is_reported_and_never_a_gate(page):
    assert "the measurement before each dosing shows what the first period left" in page.text
    assert "never a gate" in page.text


def test_one_occasion_per_period_is_said_to_alias_carry_over():
    from ketastats.reporting.section_truth import carry_over_text

    study = ks.load_study("jelen2025")
    results = ks.analyse(study, analyses=["glx_primary"])
    material = gather(results, draws=0, seed=1, environment={}, command="")
    text = carry_over_text(material, study.outcome("glx"))
    assert "aliased with sequence" in text and "not tested" in text


def test_the_commands_that_rebuild_stand_in_the_page(page):
    assert f"ketastats report reports/tiny/study.toml --seed {SEED} --draws {DRAWS}" in page.text
    assert "ketastats verify reports/tiny" in page.text


def test_every_parameter_has_its_source(page):
    assert "parameters:" in page.text
    assert "not stated in the Study file" in page.text


# failures are shown


def failing(made, tiny):
    """The tiny results with an invented posterior whose chains did not mix."""
    from ketastats.study.model import Analysis

    first = made.results.answers[0]
    fake = Analysis(**{f: getattr(first.analysis, f) for f in Analysis.__slots__} | {
        "name": "bayes", "engine": "mcmc", "label": "Bayes", "role": "companion"})  # fmt: skip
    frame = first.estimates.assign(engine="mcmc", status="unconverged", prob_positive=0.97,
                                   notes="R-hat 1.2 fails <= 1.01")  # fmt: skip
    gates = [
        {"name": "R-hat", "value": 1.2, "threshold": 1.01, "passed": False},
        {"name": "bulk ESS", "value": 900.0, "threshold": 400.0, "passed": True},
    ]
    details = {"rows": 40, "gates": gates, "status": "unconverged", "warnings": []}
    answer = Answer(fake, frame, details, None)
    study = replace(tiny, analyses=(*tiny.analyses, fake))
    results = replace(made.results, study=study, answers=(*made.results.answers, answer))
    return gather(results, draws=0, seed=SEED, environment={"packages": {}}, command="")


def test_a_failed_gate_is_a_red_line_and_a_finding(made, tiny):
    material = failing(made, tiny)
    text = report_page(compose(material))
    page = Page(text)
    assert '<p class="failure">Check failed in Bayes (bayes): R-hat 1.2, threshold 1.01' in text
    assert "FAILED" in page.text and "check failed" in page.text
    assert re.search(r'<td class="failure"[^>]*data-head="result">FAILED', text)


def test_files_of_a_failing_report_can_be_written(made, tiny):
    files = report_files(failing(made, tiny))
    assert '"findings": [\n    "check failed in Bayes' in files["results.json"]


def test_a_question_the_data_cannot_answer_is_a_dash_with_its_reason(tiny_text, tmp_path):
    text = tiny_text.replace('sequences = { AB = ["A", "B"], BA = ["B", "A"] }',
                        'sequences = { AB = ["A", "B"] }').replace(
        '[estimands.carried]\noutcome = "score"\nlabel = "Carry-over at the second baseline"\n'
        'contrast = { sequence = "BA - AB", period = "2 - 1" }\nwithin = { time = "pre" }\n'
        'target = "carry_over"\n', "")  # fmt: skip
    text = text[: text.index("[analyses.carry]")] + text[text.index("[[claims]]") :]
    made = ks.report(parse_study(text), tmp_path / "out", draws=0)
    status = made.results.estimates.set_index(["analysis", "estimand"])["status"]
    assert status["primary", "effect"] == "not_estimable"
    html = (made.folder / "report.html").read_text(encoding="utf-8")
    assert re.search(r'title="these data cannot answer the question: aliased[^"]*"[^>]*>–<', html)
    assert not re.search(r"\b(nan|NaN)\b", Page(html).text)


# hostile words


def test_hostile_words_are_escaped_everywhere(tiny_text, tmp_path):
    evil = "<script>alert(1)</script>"
    shape = '\\"><img src=x onerror=alert(1)> $\\\\frac{ {{ 7 * 7 }}'
    text = (
        tiny_text.replace("A tiny crossover", evil)
        .replace("Does B differ from A?", f"{evil} {shape}")
        .replace("B minus A in the change", shape)
        .replace("An invented paper", shape)
        .replace('label = "REML"', f'label = "{evil}"')
        .replace('F = "women"', f'F = "{shape}"')
        .replace("abstract of the invented paper", evil)
        .replace('unit = "points"', f'unit = "{evil}"')
        .replace('doi = "10.1000/example"', "doi = 'javascript:alert(1)//\"onclick=\"x'")
    )
    made = ks.report(parse_study(text), tmp_path / "out", draws=0, analyses=["primary"])
    html = (made.folder / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    test_nothing_is_fetched_and_nothing_runs(page)
    assert evil in page.text and "{{ 7 * 7 }}" in page.text
    for svg in (made.folder / "figures").glob("*.svg"):
        assert "<script" not in svg.read_text(encoding="utf-8")
    index = Page(write_index(tmp_path, [made]).read_text(encoding="utf-8"))
    assert "img" not in index.tags and evil in index.text


# whole or not at all


def test_a_folder_that_cannot_be_made_is_an_output_error(tiny, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError):
        ks.report(tiny, tmp_path / "file" / "out", draws=0)


def test_somebody_elses_folder_is_not_replaced(tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match=r"record\.json"):
        ks.report(tiny, tmp_path, draws=0)
    assert files_of(tmp_path) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(errno.ENOSPC, "No space left on device"), OutputError),
     (KeyboardInterrupt(), KeyboardInterrupt)],
)  # fmt: skip
def test_an_old_report_survives_what_stops_a_new_one(copied, tiny, monkeypatch, error, raised):
    before, written = files_of(copied), []

    def fails(path, text):
        written.append(path)
        if len(written) == 4:
            raise error
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")

    monkeypatch.setattr(report_module, "write_text", fails)
    with pytest.raises(raised):
        ks.report(tiny, copied, draws=0, seed=99)
    assert len(written) == 4
    assert files_of(copied) == before
    assert [p.name for p in copied.parent.iterdir()] == [copied.name]


# data of one's own


def test_given_data_get_no_true_values_and_can_be_verified(tiny, tiny_file, tmp_path):
    data = tiny.simulate(11, outcome="score")
    data["score"] = data["score"].astype("float64") + 0.25  # finer than the declared scale
    made = ks.report(tiny, tmp_path / "own", data=data, draws=0, source=tiny_file)
    page = Page((made.folder / "report.html").read_text(encoding="utf-8"))
    assert "DATA GIVEN, NOT DRAWN" in page.text and "SYNTHETIC DATA" not in page.text
    assert "true value" not in page.text.replace("no true value is shown", "")
    assert (made.folder / "data" / "score.csv").exists()
    assert not (made.folder / "tables" / "truth.csv").exists()
    found = ks.verify(made.folder)
    assert found.equal, found.differences


def test_only_the_analyses_asked_for_are_run_and_rebuilt(tiny, tiny_file, tmp_path):
    made = ks.report(tiny, tmp_path / "some", analyses=["carry"], draws=0, source=tiny_file)
    assert set(made.results.estimates["analysis"]) == {"carry"}
    assert "--analyses carry" in (made.folder / "report.html").read_text(encoding="utf-8")
    assert ks.verify(made.folder).equal


def test_tables_hold_numbers_in_full(made):
    frame = pd.read_csv(made.folder / "tables" / "estimates.csv", dtype="str")
    # float() reads back what was written; older parsers of pandas are off by one last digit
    assert [float(v) for v in frame["estimate"]] == made.results.estimates["estimate"].tolist()


@pytest.mark.slow
def test_a_report_with_draws_is_the_same_in_a_second_process(tiny_text, tmp_path):
    text = tiny_text.replace(
        "[[claims]]",
        """
[analyses.bayes]
engine = "mcmc"
outcome = "score"
label = "Bayes"
role = "companion"
formula = "treatment * time * sex + period * time + (1 | subject) + (1 | subject:time)"
priors = { effects = "normal(0, 10)", sd = "half-normal(10)" }
draws = 200
tune = 300
chains = 2
estimands = ["effect", "effect_sex"]
[[claims]]""",
    )
    file = tmp_path / "bayes.toml"
    file.write_text(text, encoding="utf-8")
    study = ks.load_study(file)
    made = ks.report(study, tmp_path / "out", draws=0, source=file, draw_cache=tmp_path / "cache")
    script = (
        "import sys, ketastats as ks\n"
        "found = ks.verify(sys.argv[1])\nprint(found)\nsys.exit(not found.equal)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(ks.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script, str(made.folder)], env=environment,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "byte by byte" in done.stdout
    page = Page((made.folder / "report.html").read_text(encoding="utf-8"))
    row = made.results.estimates.query("engine == 'mcmc' and estimand == 'effect'").iloc[0]
    assert n.direction(row["prob_positive"]).replace(n.NB, " ") in page.text
    assert "posterior-score" in "".join(files_of(made.folder))
