"""``ks.report``: a Study, its analyses and everything around them as one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from ketastats.analysis.run import Results, analyse
from ketastats.core.errors import StudyError
from ketastats.core.files import canonical_json, staged_folder, write_text
from ketastats.core.threads import one_thread
from ketastats.reporting import record
from ketastats.reporting.compose import report_files
from ketastats.reporting.material import Progress, gather
from ketastats.reporting.opening import findings, headline
from ketastats.reporting.section_sources import folder_name
from ketastats.study.hashing import as_data
from ketastats.study.model import Study

if TYPE_CHECKING:
    import pandas as pd

DRAWS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A report that was written; made by :func:`report`.

    Attributes
    ----------
    folder : pathlib.Path
        Holds report.html, results.json, record.json, tables, figures and a copy of the Study.
    results : Results
    headline : str
        The main answer in one line.
    findings : tuple of str
        Failed gates and fits without a usable number; empty when all is well.
    """

    folder: Path
    results: Results
    headline: str
    findings: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every gate passed and every fit gave a number."""
        return not self.findings

    def to_frame(self) -> pd.DataFrame:
        """Return the Estimates table."""
        return self.results.estimates

    def __str__(self) -> str:
        lines = [f"Report of study {self.results.study.id}: {self.folder / 'report.html'}"]
        if self.results.seed is not None:
            lines.append(f"  SYNTHETIC data, seed {self.results.seed}")
        if self.headline:
            lines.append(f"  {self.headline}")
        return "\n".join(lines + [f"  FAILED: {f}" for f in self.findings])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        return "".join(f"<div>{escape(line)}</div>" for line in str(self).splitlines())


def report(
    study: Study | str | PathLike[str],
    out: str | PathLike[str],
    *,
    data: Mapping[str, pd.DataFrame] | pd.DataFrame | None = None,
    seed: int = 1,
    analyses: Sequence[str] | None = None,
    draws: int = DRAWS,
    draw_cache: Path | None = None,
    source: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Write the report of a Study.

    The folder appears whole or not at all; an older report in its place is replaced.

    Parameters
    ----------
    study : Study, or str or path
        A Study, the name of a packaged one, or the path of a TOML file.
    out : path
        Folder to make.
    data : DataFrame or mapping of outcome to DataFrame, optional
        Your data; drawn from the Study with ``seed`` when not given. Given data are copied into
        the folder, so that ``verify`` can rebuild the report.
    seed : int
        Seed of the synthetic data, of the sampler and of the draws.
    analyses : sequence of str, optional
        Only these.
    draws : int
        Draws per truth for the false-positive rates; 0 leaves them out.
    draw_cache : Path, optional
        Folder in which posterior draws are kept.
    source : path, optional
        The TOML file that the Study was loaded from, copied into the folder. Not needed for a
        packaged Study.
    progress : callable, optional
        Called with one line of text before each step.

    Returns
    -------
    Report

    Raises
    ------
    OutputError
        When the folder cannot be written or holds files that are not a report.
    StudyError
        When ``source`` does not declare this Study.

    Examples
    --------
    >>> import tempfile
    >>> import ketastats as ks
    >>> study = ks.load_study("jelen2025")
    >>> with tempfile.TemporaryDirectory() as home:
    ...     made = ks.report(study, f"{home}/jelen", analyses=["primary"], draws=0)
    ...     sorted(p.name for p in made.folder.iterdir())
    ['figures', 'record.json', 'report.html', 'results.json', 'study.toml', 'tables']
    """
    if not isinstance(study, Study):
        from ketastats.study.load import load_study, packaged_studies

        name = str(study)
        source = source if name in packaged_studies() else (source or name)
        study = load_study(name)
    origin, copy_name, copy_text = _declaration(study, source)
    if analyses is not None and list(analyses) == [a.name for a in study.analyses]:
        analyses = None
    with staged_folder(out, mark=record.FILE) as folder, one_thread():
        results = analyse(
            study, data, seed=seed, analyses=analyses, draw_cache=draw_cache, progress=progress
        )
        synthetic = data is None
        command = _command(study, origin, synthetic, seed, analyses, draws)
        material = gather(
            results, draws=draws, seed=seed, environment=record.environment(), command=command,
            rebuildable=origin != "python", progress=progress,
        )  # fmt: skip
        if progress is not None:
            progress(f"{study.id}: writing")
        files = report_files(material)
        files[copy_name] = copy_text
        texts = record.data_texts(study, results.data, synthetic)
        if not synthetic:
            files |= {f"data/{name}.csv": text for name, text in texts.items()}
        ran = [a.analysis.name for a in results.answers]
        written = record.record_data(
            study, source=origin, data=texts, synthetic=synthetic, analyses=ran, seed=seed,
            draws=draws, command=command,
        )  # fmt: skip
        files[record.FILE] = canonical_json(written)
        for name, text in files.items():
            write_text(folder / name, text)
    main = headline(material)
    line = f"{main['label']}: {main['text']}" if main["label"] else ""
    line = line.replace("\N{NO-BREAK SPACE}", " ")  # it holds numbers and units together on pages
    return Report(Path(out), results, line, tuple(findings(material)))


def _declaration(study: Study, source: str | PathLike[str] | None) -> tuple[str, str, str]:
    """Return where the Study comes from, and name and text of its copy."""
    from importlib import resources

    from ketastats.study.load import load_study, packaged_studies, read_study_file

    if source is not None:
        path = Path(source)
        if read_study_file(path) != study:
            raise StudyError(
                "declares another Study than the one to report",
                where=str(path),
                mend="load the Study from this file, or leave source out",
            )
        return "file", "study.toml", path.read_text(encoding="utf-8")
    if study.id in packaged_studies() and load_study(study.id) == study:
        text = (resources.files("ketastats") / "studies" / f"{study.id}.toml").read_text("utf-8")
        return "packaged", "study.toml", text
    declared = {"schema": 1, "hash": study.hash, "title": study.title, "study": as_data(study)}
    return "python", "study.json", canonical_json(declared)


def _command(
    study: Study,
    origin: str,
    synthetic: bool,
    seed: int,
    analyses: Sequence[str] | None,
    draws: int,
) -> str:
    """Return the command that writes the report again; empty when there is none."""
    if origin == "python" or not synthetic:
        return ""
    folder = folder_name(study.id)
    name = study.id if origin == "packaged" else f"{folder}/study.toml"
    words = ["ketastats report", name, f"--seed {seed}"]
    if analyses is not None:
        words.append(f"--analyses {','.join(analyses)}")
    if draws != DRAWS:
        words.append(f"--draws {draws}")
    return " ".join([*words, f"--out {folder}"])
