from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from small_plans import hand_made_plan
from small_scenarios import plain_scenario

from mafl_opt.cli.main import main


@pytest.fixture
def folder(tmp_path):
    scenario = plain_scenario()
    (tmp_path / "scenario.json").write_text(scenario.to_json(), encoding="utf-8")
    hand_made_plan(scenario).save(tmp_path / "hand.json")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def test_report_writes_a_page_of_a_folder(folder):
    result = run(folder, "--out", folder / "page.html", "--quiet")
    assert result.exit_code == 0, result.output
    assert "1 plans, 0 fail the check" in result.stdout
    assert (folder / "page.html").read_text().lstrip().startswith("<!doctype html>")


def test_report_prints_json_alone(folder):
    plan, out = folder / "hand.json", folder / "page.html"
    result = run(
        plan, "--scenario", folder / "scenario.json", "--no-classes", "--out", out, "--json"
    )
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed == {
        "report": str(out), "bytes": out.stat().st_size, "plans": ["hand"], "failed": [],
        "replays": 0, "notes": [],
    }  # fmt: skip
    assert result.stderr == ""
    assert "The constraints were not classified." in out.read_text()


def test_report_of_a_broken_plan_is_written_and_fails(folder):
    plan = json.loads((folder / "hand.json").read_text())
    plan["objective"] = 1.0
    (folder / "hand.json").write_text(json.dumps(plan))
    result = run(folder, "--out", folder / "page.html", "--quiet")
    assert result.exit_code == 1
    assert "Check failed" in (folder / "page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "page.html"], "Missing argument"),
        (["hand.json", "--out", "page.html"], "name the scenario"),
        ([".", "--out", "page.txt"], "ending in .html"),
        (["hand.json", "--scenario", "none.toml", "--out", "page.html"], "none.toml"),
        (["scenario.json", "--out", "page.html"], "a plan, a replay or a folder"),
    ],
)
def test_bad_input_is_one_line(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    result = run(*arguments, "--quiet")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (folder / "page.html").exists()


def test_compare_leaves_what_report_needs(folder):
    out = folder / "compared"
    arguments = ["compare", str(folder / "scenario.json"), "--backends", "greedy", "--quiet"]
    result = CliRunner().invoke(main, [*arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    result = run(out, "--out", folder / "page.html", "--quiet")
    assert result.exit_code == 0, result.output
