"""What the README shows runs."""

import re
import shlex
from pathlib import Path

import pytest

import ketastats as ks

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def test_the_python_block_runs_up_to_the_sampler() -> None:
    (block,) = blocks("python")
    before = block.split("post = ")[0]
    assert "ks.lmm" in before
    exec(compile(before, "README", "exec"), {})


@pytest.mark.slow
def test_the_whole_python_block_runs() -> None:
    (block,) = blocks("python")
    exec(compile(block, "README", "exec"), {})


def test_the_study_file_loads_and_is_analysed() -> None:
    (block,) = blocks("toml")
    study = ks.parse_study(block, where="README")
    results = ks.analyse(study, seed=1)
    assert results.estimates["status"].isin(["ok", "boundary"]).all()


def test_the_commands_exist() -> None:
    from ketastats.cli import main

    commands = {
        shlex.split(line, comments=True)[1]
        for block in blocks("sh")
        for line in block.splitlines()
        if line.startswith("ketastats ")
    }
    assert {"studies", "new", "simulate", "report", "verify", "reproduce"} <= commands
    for command in commands - {"--help"}:
        assert main([command, "--help"]) == 0


def test_the_picture_is_there() -> None:
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[1] / path).stat().st_size > 10_000
