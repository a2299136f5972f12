"""The command ``export``."""

from __future__ import annotations

import os
import re

import pytest
from click.testing import CliRunner
from nl_file import read_nl
from small_scenarios import plain_scenario

from mafl_opt.cli.main import main
from mafl_opt.formulations.natural_model import natural_model
from mafl_opt.formulations.problem import Problem


@pytest.fixture
def folder(tmp_path):
    """A folder with a small scenario."""
    (tmp_path / "scenario.json").write_text(plain_scenario().to_json(), encoding="utf-8")
    return tmp_path


def export(folder, out, *flags):
    words = ["export", str(folder / "scenario.json"), "--out", str(folder / out), *flags]
    return CliRunner().invoke(main, words)


def names(folder):
    return {path.name for path in folder.iterdir()} - {"scenario.json"}


def assert_refused(result, *words):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("mafl-opt: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("flags", [(), ("--format", "nl")])
def test_export_writes_nl_with_its_names(folder, flags):
    result = export(folder, "p.nl", *flags)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"wrote {folder / 'p.nl'}\n"
    assert names(folder) == {"p.nl", "p.row", "p.col"}
    file, model = read_nl(folder / "p.nl"), natural_model(Problem(scenario=plain_scenario()))
    assert (len(file.columns), len(file.rows)) == (model.nvariables(), model.nconstraints())


def test_export_writes_gms(folder):
    assert export(folder, "p.gms", "--format", "gms").exit_code == 0
    assert names(folder) == {"p.gms"}
    assert re.search(r"SOLVE \w+ USING minlp minimizing", (folder / "p.gms").read_text())


def test_export_writes_mps(folder):
    assert export(folder, "p.mps").exit_code == 0
    assert names(folder) == {"p.mps"}
    assert (folder / "p.mps").read_text().rstrip().endswith("ENDATA")


def test_export_takes_the_embedded_scenario(tmp_path):
    result = CliRunner().invoke(main, ["export", "default", "--out", str(tmp_path / "p.nl")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "p.nl").stat().st_size > 1e6


@pytest.mark.parametrize(
    ("out", "flags", "words"),
    [
        ("p.lp", (), (".nl or .gms or .mps", ".lp")),
        ("p", (), (".nl or .gms or .mps",)),
        ("p.nl", ("--format", "gms"), (".gms", ".nl")),
        ("p.nl", ("--format", "lp"), ("lp",)),
        ("missing/p.nl", (), ("existing folder",)),
        ("taken.nl", (), ("a folder",)),
        ("other.nl", (), ("other.col", "a folder")),
    ],
)
def test_export_refuses_bad_names_and_writes_nothing(folder, out, flags, words):
    (folder / "taken.nl").mkdir()
    (folder / "other.col").mkdir()
    assert_refused(export(folder, out, *flags), *words)
    assert names(folder) == {"taken.nl", "other.col"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_export_refuses_a_closed_folder(folder):
    closed = folder / "closed"
    closed.mkdir(mode=0o500)
    assert_refused(export(folder, "closed/p.nl"), "may write")


def test_export_does_not_overwrite_the_scenario(folder):
    scenario = folder / "scenario.json"
    result = CliRunner().invoke(main, ["export", str(scenario), "--out", str(scenario)])
    assert_refused(result, "scenario.json")
    assert scenario.read_text(encoding="utf-8") == plain_scenario().to_json()


def test_export_leaves_what_stood_there_when_it_fails(folder, monkeypatch):
    """Half a file never gets the name."""
    from mafl_opt.solvers.minlp import export as module

    (folder / "p.nl").write_text("before", encoding="utf-8")

    class Writer:
        def write(self, model, stream, **options):
            stream.write("half")
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "NLWriter", Writer)
    assert_refused(export(folder, "p.nl"), "No space left")
    assert names(folder) == {"p.nl"}
    assert (folder / "p.nl").read_text(encoding="utf-8") == "before"


@pytest.mark.parametrize("missing", ["nobody.toml", "nobody.json"])
def test_export_refuses_a_missing_scenario(tmp_path, missing):
    result = CliRunner().invoke(main, ["export", missing, "--out", str(tmp_path / "p.nl")])
    assert_refused(result, missing)
