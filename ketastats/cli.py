"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Final, Literal

from cyclopts import CycloptsError, UnusedCliTokensError

from ketastats.cli_app import Flag, Json, app, command
from ketastats.cli_run import ScriptError, draw_cache, progress
from ketastats.core.errors import (
    EXIT_BAD_INPUT,
    EXIT_FINDING,
    EXIT_INTERRUPTED,
    EXIT_IO,
    EXIT_OK,
    KetastatsError,
    OutputError,
    StudyError,
)

EXIT_FAULT: Final = 70
"""A fault of ketastats itself (EX_SOFTWARE of sysexits.h)."""


@command("ketastats studies", "ketastats studies jelen2025", "ketastats studies --json")
def studies(study: str | None = None, /, *, as_json: Json = False) -> int:
    """List the packaged studies, or show one and its truth.

    The page of one study says where every number comes from.

    Parameters
    ----------
    study
        Packaged name or .toml file.
    as_json
        Write JSON.
    """
    from ketastats.cli_show import study_list, study_page
    from ketastats.study.load import load_study, packaged_studies

    if study is not None:
        print(study_page(load_study(study), as_json), end="")
    else:
        print(study_list([load_study(name) for name in packaged_studies()], as_json), end="")
    return EXIT_OK


@command("ketastats new my-trial.toml", "ketastats new swim-test.toml --design parallel")
def new(
    file: Path, /, *, design: Literal["crossover", "parallel"] = "crossover", force: Flag = False
) -> int:
    """Write a commented Study file that already runs.

    Parameters
    ----------
    file
        Where to write it; ends in .toml.
    design
        What kind of trial.
    force
        Replace the file if there is one.
    """
    from ketastats.core.files import write_text
    from ketastats.study.template import template

    if file.suffix != ".toml":
        raise StudyError(
            "a Study file ends in .toml", where=str(file), mend=f"write it to {file}.toml"
        )
    if file.exists() and not force:
        raise OutputError(
            "is there already", where=str(file), mend="choose another name, or add --force"
        )
    write_text(file, template(design, file.name))
    print(f"wrote {file}")
    return EXIT_OK


@command("ketastats schema --out study.schema.json")
def schema(*, out: Path | None = None) -> int:
    """Write the JSON Schema of a Study file, for editors.

    Parameters
    ----------
    out
        Write it to this file.
    """
    from ketastats.core.files import canonical_json, write_text
    from ketastats.study.schema import json_schema

    text = canonical_json(json_schema())
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        print(f"wrote {out}")
    return EXIT_OK


@command(
    "ketastats simulate jelen2025 --seed 7 --out mydir",
    "ketastats simulate my-trial.toml --out class/ana",
)
def simulate(study: str, /, *, out: Path, seed: int = 1, as_json: Json = False) -> int:
    """Draw synthetic data as CSV with a Data Package and a README.

    Parameters
    ----------
    study
        Packaged name or .toml file.
    out
        Folder to make.
    seed
        The same seed gives the same bytes.
    as_json
        Write JSON.
    """
    from ketastats.cli_show import data_written
    from ketastats.reporting.datapackage import write_data
    from ketastats.study.load import load_study

    write_data(load_study(study), out, seed=seed)
    print(data_written(out, as_json), end="")
    return EXIT_OK


@command(
    "ketastats report jelen2025",
    "ketastats report my-trial.toml --seed 7 --out reports/seven --strict",
)
def report(
    study: str,
    /,
    *,
    out: Path | None = None,
    seed: int = 1,
    analyses: str | None = None,
    draws: int = 2000,
    strict: Flag = False,
    no_cache: Flag = False,
    as_json: Json = False,
) -> int:
    """Draw data, run every analysis, write the report.

    Parameters
    ----------
    study
        Packaged name or .toml file.
    out
        Folder to make; reports/STUDY by default.
    seed
        For the data and the sampler.
    analyses
        Only these, with commas between them.
    draws
        Simulated trials for error rates; 0 leaves them out.
    strict
        Exit with 1 when a gate failed or a fit gave no number.
    no_cache
        Neither read nor keep posterior draws.
    as_json
        Write JSON.
    """
    from ketastats.cli_run import make_report
    from ketastats.cli_show import report_written

    cache = None if no_cache else draw_cache()
    names = None if analyses is None else tuple(n.strip() for n in analyses.split(",") if n.strip())
    with progress() as say:
        made = make_report(study, out, seed=seed, analyses=names, draws=draws, cache=cache, say=say)
    print(report_written(made, as_json), end="")
    return _found(made.findings, strict)


@command(
    "ketastats reproduce",
    "ketastats reproduce --out reports --strict",
    "ketastats reproduce --out elsewhere --data elsewhere/data",
)
def reproduce(
    *,
    out: Path = Path("reports"),
    data: Path | None = None,
    strict: Flag = False,
    no_cache: Flag = False,
) -> int:
    """Draw the data and write every report and their index page.

    Runs every script in ./analyses, in the order of their names, with
    KETASTATS_REPORTS and KETASTATS_CACHE set. Without that folder it writes
    the reports of all packaged studies. It stops at the first that fails.

    Parameters
    ----------
    out
        Folder of the reports.
    data
        Where to draw the data; data/synthetic if it is here.
    strict
        Exit with 1 when a gate failed or a fit gave no number.
    no_cache
        Neither read nor keep posterior draws.
    """
    from ketastats import cli_run

    with progress() as say, cli_run.cache_folder(no_cache) as cache:
        if data is None and Path("data/synthetic").is_dir():
            data = Path("data/synthetic")
        if data is not None:
            cli_run.draw_all(data, say)
        found = cli_run.all_reports(out, cache, say)
    print(f"wrote {out / 'index.html'}: {', '.join(found) or 'no report'}")
    return _found([f"{name}: {line}" for name, lines in found.items() for line in lines], strict)


@command("ketastats verify reports/jelen2025", "ketastats verify reports/* --json")
def verify(folders: list[Path], /, *, as_json: Json = False) -> int:
    """Rebuild reports elsewhere and compare them byte by byte.

    Parameters
    ----------
    folders
        Reports to rebuild.
    as_json
        Write JSON.
    """
    from ketastats.cli_show import verified
    from ketastats.reporting.verify import verify as rebuild

    with progress() as say:
        found = [(folder, rebuild(folder, progress=say)) for folder in folders]
    print(verified(found, as_json), end="")
    return EXIT_OK if all(v.equal for _, v in found) else EXIT_FINDING


def _found(findings: Sequence[str], strict: bool) -> int:
    """Name failed gates and fits without a number; strict users get them as exit code too."""
    for line in findings:
        _complain(f"found: {line}")
    return EXIT_FINDING if findings and strict else EXIT_OK


def _complain(text: str) -> None:
    """Write one line to standard error, whatever the text holds."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    with suppress(OSError, ValueError):
        print(f"ketastats: {line}", file=sys.stderr, flush=True)


def _print_anything() -> None:
    """Let a terminal that cannot show a character show its number instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(argv: Sequence[str] | None) -> int:
    try:
        code = app(argv, exit_on_error=False, print_error=False)
    except UnusedCliTokensError as error:
        extra = " ".join(error.unused_tokens or ())
        _complain(f"too many arguments: {extra} (see ketastats --help)")
        return EXIT_BAD_INPUT
    except CycloptsError as error:
        _complain(f"{str(error).strip().rstrip('.')} (see ketastats --help)")
        return EXIT_BAD_INPUT
    sys.stdout.flush()
    return code if isinstance(code, int) else EXIT_OK


def _silence_output() -> None:
    """Send what is left of standard output to nowhere."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        See ``ketastats --help``.

    Examples
    --------
    >>> main(["verify", "--json"]) == EXIT_BAD_INPUT  # no folder is named
    True
    """
    if argv is None:
        _print_anything()
    try:
        return _run(argv)
    except ScriptError as error:
        _complain(str(error))
        return error.code
    except KetastatsError as error:
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted; what was finished stays, nothing is half-written")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough, as in: ketastats studies | head -1
        _silence_output()
        return EXIT_OK
    except OSError as error:
        if error.filename is None:
            _silence_output()  # what could not be written is not tried again at exit
        what = error.strerror or str(error)
        _complain(f"{error.filename}: {what}" if error.filename else f"cannot write: {what}")
        return EXIT_IO
    except Exception:
        import traceback

        traceback.print_exc()
        _complain("this is a fault of ketastats, please report it with the lines above")
        return EXIT_FAULT
