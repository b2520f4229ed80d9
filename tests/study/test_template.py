"""The files that ``ketastats new`` writes: commented, complete, and ready to run."""

import re
import tomllib

import pytest

import ketastats as ks
from ketastats.core.errors import StudyError
from ketastats.study.describe import parameters
from ketastats.study.template import TEMPLATES, study_id, template

OPTION = re.compile(r"(?m)^#(?=\S)")  # "Lines that begin with # and no blank are options"


def with_options(text):
    return OPTION.sub("", text)


@pytest.mark.parametrize("design", TEMPLATES)
@pytest.mark.parametrize("options", [False, True], ids=["as it is", "every option taken"])
def test_a_template_loads_simulates_and_is_analysed(design, options):
    text = template(design)
    study = ks.parse_study(with_options(text) if options else text)
    assert study.design.kind == design
    data = study.simulate(seed=1)
    assert data[study.outcomes[0].name].notna().sum() > 0.8 * len(data)
    results = ks.analyse(study, data, analyses=["primary"])
    estimates = results.estimates
    asked = study.analysis("primary").estimands or [e.name for e in study.estimands]
    assert estimates["estimand"].tolist() == list(asked)
    assert (estimates["status"] == "ok").all()
    assert estimates[["estimate", "se", "df", "p"]].notna().all(axis=None)


@pytest.mark.parametrize("design", TEMPLATES)
def test_the_primary_analysis_covers_the_truth(design):
    """Estimates of 40 draws average to the true values, within four standard errors.

    An analysis that asks another question than the estimand would be off by whole points.
    """
    study = ks.parse_study(template(design))
    truth = study.true_values().set_index("estimand")["natural"]
    frames = [ks.analyse(study, seed=s, analyses=["primary"]).estimates for s in range(40)]
    for name in truth.index:
        rows = [f.set_index("estimand").loc[name] for f in frames]
        mean = sum(r["estimate"] for r in rows) / len(rows)
        se = (sum(r["se"] ** 2 for r in rows) ** 0.5) / len(rows)
        assert abs(mean - truth[name]) < 4 * se


@pytest.mark.parametrize("design", TEMPLATES)
def test_the_options_hold_a_bayesian_companion_and_a_claim(design):
    study = ks.parse_study(with_options(template(design)))
    assert [(a.engine, a.role) for a in study.analyses] == [
        ("reml", "primary"),
        ("mcmc", "companion"),
    ]
    assert len(study.claims) == 1
    assert [a.engine for a in ks.parse_study(template(design)).analyses] == ["reml"]


@pytest.mark.parametrize("design", TEMPLATES)
def test_every_key_has_a_comment_where_it_first_stands(design):
    table, above, seen, bare = "", "", set(), []
    for line in template(design).splitlines():
        body = OPTION.sub("", line)
        if header := re.match(r"\[+([a-z_.]+)\]+$", body):
            table = re.sub(r"^(outcomes|estimands|analyses)\.\w+$", r"\1", header[1])
            if table.endswith(("provenance", "groups")):  # one comment for the whole table
                assert above.startswith("# ")
        elif key := re.match(r'("?[\w:.]+"?) = ', body):
            place = (table, "" if table.endswith(("provenance", "groups")) else key[1])
            if place[1] and place not in seen and not above.startswith("# "):
                bare.append(place)
            seen.add(place)
        above = line
    assert len(seen) > 30
    assert bare == []


@pytest.mark.parametrize("design", TEMPLATES)
@pytest.mark.parametrize("options", [False, True], ids=["as it is", "every option taken"])
def test_every_parameter_says_where_it_comes_from(design, options):
    text = template(design)
    study = ks.parse_study(with_options(text) if options else text)
    sources = [source for _, _, _, source in parameters(study)]
    assert sources
    assert [s.key for s in sources if s.note == "not stated in the Study file"] == []


def test_the_name_of_the_file_becomes_the_id_and_stands_in_the_commands():
    text = template("crossover", "some/where/My Trial (2).toml")
    assert tomllib.loads(text)["study"]["id"] == "my-trial-2"
    assert "ketastats simulate 'My Trial (2).toml' --seed 1 --out my-trial-2-data" in text


@pytest.mark.parametrize(
    ("file", "name"), [("Äpfel.toml", "pfel"), ("___.toml", "my-trial"), ("a\nb\x07.toml", "a-b")]
)
def test_any_file_name_gives_a_valid_file(file, name):
    assert study_id(file) == name
    assert ks.parse_study(template("parallel", file)).id == name


def test_an_unknown_design_is_refused():
    with pytest.raises(StudyError, match="'paralel'; did you mean 'parallel'"):
        template("paralel")
