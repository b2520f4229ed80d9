"""What the command line says of itself, and how commands are registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from cyclopts import App, Parameter

from ketastats.cli_run import CACHE

# lines of help are kept under 78 characters, so that a narrow terminal does not break them
_HELP = """\
Declare a trial, draw its data, analyse it in two schools of statistics, and
hand over a report that anybody can rebuild. The data that it draws are
synthetic, and say so.

STUDY is the name of a packaged study, such as jelen2025, or a .toml file.
"""

_EPILOGUE = f"""\
Examples:
  ketastats studies
  ketastats report jelen2025
  ketastats verify reports/jelen2025
  ketastats new my-trial.toml

Exit codes:
  0    all is well
  1    a finding: verify differs, a gate failed under --strict, a script failed
  2    bad input
  3    something cannot be written
  70   a fault of ketastats itself
  130  interrupted

Posterior draws are kept in {CACHE} in the current folder, or in the
folder that KETASTATS_CACHE names. It may be deleted at any time.
"""


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"ketastats {version('ketastats')}"
    except PackageNotFoundError:
        return "ketastats (not installed)"


app = App(
    name="ketastats",
    help=_HELP,
    help_epilogue=_EPILOGUE,
    help_format="plaintext",
    help_formatter="plain",
    version=_version,
    version_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

Flag = Annotated[bool, Parameter(negative=(), show_default=False)]
Json = Annotated[bool, Parameter(name="--json", negative=(), show_default=False)]


def command[F: Callable[..., int]](*examples: str) -> Callable[[F], F]:
    """Register a command; its help ends with the examples."""
    lines = "".join(f"  {line}\n" for line in examples)

    def register(function: F) -> F:
        app.command(function, help_epilogue=f"Examples:\n{lines}")
        return function

    return register
