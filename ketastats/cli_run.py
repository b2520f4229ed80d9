"""What the longer commands do: draw data, run scripts, write reports, say where they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from ketastats.core.errors import (
    EXIT_BAD_INPUT,
    EXIT_FINDING,
    EXIT_INTERRUPTED,
    EXIT_IO,
    KetastatsError,
)

if TYPE_CHECKING:
    from ketastats.reporting.report import Report

Say = Callable[[str], None]

CACHE: Final = ".ketastats-cache"
"""Where posterior draws are kept, in the current folder, unless KETASTATS_CACHE says otherwise."""

GRACE: Final = 10.0
"""Seconds that an interrupted script has to tidy up."""


class ScriptError(KetastatsError):
    """A script in ./analyses that did not end well.

    ``code`` is what to exit with: the script's own exit code where it has a meaning here.
    """

    def __init__(self, script: Path, code: int) -> None:
        super().__init__(f"ended with exit code {code}", where=str(script), mend="see above")
        known = (EXIT_FINDING, EXIT_BAD_INPUT, EXIT_IO, EXIT_INTERRUPTED)
        self.code = EXIT_INTERRUPTED if code == -signal.SIGINT else code
        if self.code not in known:
            self.code = EXIT_FINDING


def draw_cache() -> Path:
    """Return the folder in which posterior draws are kept."""
    return Path(os.environ.get("KETASTATS_CACHE") or CACHE)


@contextmanager
def cache_folder(no_cache: bool) -> Iterator[Path]:
    """Give the folder for posterior draws; one that vanishes when nothing is to be kept."""
    if not no_cache:
        yield draw_cache()
        return
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="ketastats-") as folder:
        yield Path(folder)


@contextmanager
def progress() -> Iterator[Say]:
    """Give a function that says on a terminal what is being done, and says nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda line: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting")
        yield lambda line: bar.update(task, description=line)


def make_report(
    name: str,
    out: Path | None,
    *,
    seed: int,
    draws: int,
    cache: Path | None,
    say: Say,
    analyses: tuple[str, ...] | None = None,
) -> Report:
    """Write the report of a packaged study or of a Study file."""
    from ketastats.reporting.report import report
    from ketastats.study.load import load_study, packaged_studies

    study = load_study(name)
    return report(
        study,
        Path("reports") / study.id if out is None else out,
        seed=seed,
        analyses=analyses,
        draws=draws,
        draw_cache=cache,
        source=None if name in packaged_studies() else name,
        progress=say,
    )


def draw_all(folder: Path, say: Say) -> None:
    """Draw the data of every packaged study, leaving those alone that are as they should be."""
    from ketastats.reporting.datapackage import DESCRIPTOR, data_differences, write_data
    from ketastats.study.load import load_study, packaged_studies

    for name in packaged_studies():
        say(f"{name}: synthetic data")
        study, place = load_study(name), folder / name
        if not (place / DESCRIPTOR).exists() or data_differences(study, place):
            write_data(study, place)


def all_reports(out: Path, cache: Path, say: Say) -> dict[str, list[str]]:
    """Run ./analyses, or write all packaged reports without it; then the index page.

    Returns
    -------
    dict of str to list of str
        For every report in the folder, by its name: failed gates and fits without a number.
    """
    from ketastats.reporting.index import write_index
    from ketastats.reporting.results import FILE, SCHEMA_VERSION, read_json
    from ketastats.study.load import packaged_studies

    scripts = sorted(p for p in Path("analyses").glob("*.py") if not p.name.startswith("_"))
    environment = os.environ | {"KETASTATS_REPORTS": str(out), "KETASTATS_CACHE": str(cache)}
    run_scripts(scripts, environment, say)
    if not scripts:
        for name in packaged_studies():
            make_report(name, out / name, seed=1, draws=2000, cache=cache, say=say)
    say("writing the index page")
    folders = sorted(path.parent for path in out.glob(f"*/{FILE}"))
    write_index(out, folders)
    return {f.name: read_json(f / FILE, SCHEMA_VERSION).get("findings", []) for f in folders}


AT_ONCE: Final = 2
"""Scripts that run beside each other where there are as many cores."""


def run_scripts(scripts: Sequence[Path], environment: Mapping[str, str], say: Say) -> None:
    """Run scripts with this Python, two beside each other; what one prints is shown if it fails.

    Raises
    ------
    ScriptError
        When an exit code is not 0; the other script is ended first.
    """
    from contextlib import ExitStack
    from tempfile import TemporaryFile

    waiting, running = list(scripts), list[tuple[Path, subprocess.Popen[bytes], IO[bytes]]]()
    with ExitStack() as logs:
        try:
            while waiting or running:
                while waiting and len(running) < min(AT_ONCE, os.cpu_count() or 1):
                    script, log = waiting.pop(0), logs.enter_context(TemporaryFile())
                    say(f"running {script}")
                    running.append((script, _started(script, environment, log), log))
                time.sleep(POLL)
                for entry in [e for e in running if e[1].poll() is not None]:
                    running.remove(entry)
                    _judge(*entry)
        finally:
            for _, process, _ in running:
                stop(process)


def _started(
    script: Path, environment: Mapping[str, str], log: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  the user's own scripts, named by reproduce --help
        [sys.executable, os.fspath(script)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
    )


POLL: Final = 0.05
"""Seconds between looks at the running scripts."""


def _judge(script: Path, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    """Raise for a script that failed, after showing what it said."""
    if process.returncode:
        log.seek(0)
        sys.stderr.write(log.read().decode(errors="replace"))
        raise ScriptError(script, process.returncode)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Let an interrupted process tidy up, then end it.

    A terminal interrupts the whole group, so the process may know already; a second interrupt
    would disturb its tidying.
    """
    for wait, then in ((1.0, signal.SIGINT), (GRACE, signal.SIGTERM), (1.0, signal.SIGKILL)):
        try:
            process.wait(wait)
            return
        except subprocess.TimeoutExpired:
            process.send_signal(then)
    process.wait()
