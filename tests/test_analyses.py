"""The scripts in analyses/: one per study, public API only, each writes its report."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

import ketastats as ks

SCRIPTS = sorted((Path(__file__).parents[1] / "analyses").glob("*.py"))


def test_every_packaged_study_has_its_script():
    assert [s.stem for s in SCRIPTS] == list(ks.packaged_studies())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_a_script_uses_the_public_api_only(script):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"os", "pathlib", "ketastats"}
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "ks"
    }
    assert used <= set(ks.__all__)
    assert "SYNTHETIC" in (ast.get_docstring(tree) or "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_a_script_runs_and_asks_for_its_report(script, monkeypatch, tmp_path, capsys):
    """All but the report itself, which `make reports` writes with every sampler."""
    asked = []

    def report(study, out, **options):
        asked.append((study.id, Path(out), options))
        return "a report"

    monkeypatch.setattr(ks, "report", report)
    monkeypatch.setenv("KETASTATS_REPORTS", str(tmp_path))
    runpy.run_path(str(script), run_name="__main__")
    assert asked[0][:2] == (script.stem, tmp_path / script.stem)
    assert len(asked) == 1 and asked[0][2]["seed"] == 1
    said = capsys.readouterr().out
    assert "data drawn from it are SYNTHETIC" in said and said.rstrip().endswith("a report")
