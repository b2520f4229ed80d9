"""Material -> Document -> files."""

from __future__ import annotations

from ketastats.core.files import canonical_json
from ketastats.reporting import tables
from ketastats.reporting.document import Document
from ketastats.reporting.html import report_page
from ketastats.reporting.material import Material
from ketastats.reporting.opening import banner, facts, short_answers
from ketastats.reporting.results import FILE as RESULTS
from ketastats.reporting.results import results_data
from ketastats.reporting.section_answers import both_schools, interaction_section
from ketastats.reporting.section_association import association_section
from ketastats.reporting.section_bayes import bayes_section
from ketastats.reporting.section_change import what_would_change
from ketastats.reporting.section_data import the_data
from ketastats.reporting.section_design import question_and_design
from ketastats.reporting.section_diagnostics import diagnostics
from ketastats.reporting.section_family import family_section
from ketastats.reporting.section_methods import methods
from ketastats.reporting.section_pitfalls import tempting_analyses
from ketastats.reporting.section_sources import provenance, rebuild, references


def compose(material: Material) -> Document:
    """Write the report as a document.

    Parameters
    ----------
    material : Material

    Returns
    -------
    Document
    """
    study = material.study
    sections = (
        question_and_design(material),
        the_data(material),
        both_schools(material),
        interaction_section(material),
        family_section(material, material.families),
        association_section(material),
        tempting_analyses(material),
        diagnostics(material),
        bayes_section(material),
        what_would_change(material),
        methods(material),
        references(material),
        provenance(material),
        rebuild(material),
    )
    return Document(
        title=study.title or study.id,
        summary=study.summary,
        banner=banner(material),
        facts=facts(material),
        short=short_answers(material),
        sections=tuple(s for s in sections if s is not None and s.blocks),
        synthetic=material.synthetic,
    )


def report_files(material: Material) -> dict[str, str]:
    """Return every file of a report that its material decides, by path inside the folder.

    ``record.json`` and the copy of the Study come from elsewhere.
    """
    document = compose(material)
    files = {
        "report.html": report_page(document),
        RESULTS: canonical_json(results_data(material)),
    }
    for name, frame in tables.all_tables(material).items():
        files[f"tables/{name}"] = tables.csv_text(frame)
    for picture in document.pictures:
        files[f"figures/{picture.name}.svg"] = picture.svg
    return files
