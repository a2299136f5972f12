from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from compare_plugins import install_plugins
from small_scenarios import plain_scenario

from mafl_opt.cli.main import main
from mafl_opt.solvers import registry


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a small scenario, and backends that end badly."""
    (tmp_path / "scenario.json").write_text(plain_scenario().to_json(), encoding="utf-8")
    install_plugins(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    registry._found.cache_clear()
    yield tmp_path
    registry._found.cache_clear()


def run(folder, *arguments):
    fixed = [str(folder / "scenario.json"), "--out", str(folder / "out"), "--quiet"]
    return CliRunner().invoke(main, ["compare", *fixed, *arguments])


def test_compare_prints_a_table_and_writes_the_files(folder):
    result = run(folder, "--backends", "greedy, dies", "--time-limit", "20")
    assert result.exit_code == 0, result.output
    assert "SIGSEGV" in result.stdout
    names = {path.name for path in (folder / "out").iterdir()}
    assert {"comparison.json", "comparison.csv", "curves.csv", "time_to_gap.png"} < names
    rows = json.loads((folder / "out" / "comparison.json").read_text())["backends"]
    assert [row["ending"] for row in rows] == ["done", "crashed"]


def test_compare_prints_json_alone(folder):
    result = run(folder, "--backends", "greedy", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["backends"][0]["check_ok"] is True
    assert result.stderr == ""


def test_compare_draws_what_a_strange_trace_leaves_to_draw(folder):
    result = run(folder, "--backends", "conic,odd,garbles", "--time-limit", "60")
    assert result.exit_code == 0, result.output
    rows = json.loads((folder / "out" / "comparison.json").read_text())["backends"]
    assert [row["ending"] for row in rows] == ["done", "done", "failed"]
    lines = (folder / "out" / "curves.csv").read_text().splitlines()
    odd = [line.split(",")[:3] for line in lines if line.startswith("odd,")]
    assert odd[:4] == [
        ["odd", "", ""],
        ["odd", "", ""],
        ["odd", "", ""],
        ["odd", "0.5", "1000000000.0"],
    ]


@pytest.mark.parametrize("backends", ["dies", "lies,greedy"])
def test_compare_fails_without_a_plan_or_with_a_false_one(folder, backends):
    assert run(folder, "--backends", backends).exit_code == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--backends", "greedy,nobody"), "backends[1]"),
        (("--backends", ""), "backends[0]"),
        (("--backends", "greedy", "--gap", "0.1"), "gap"),
        (("--backends", "greedy", "--time-limit", "-1"), "finite number"),
    ],
)
def test_compare_refuses_bad_input_in_one_line(folder, flags, words):
    result = run(folder, *flags)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_classify_prints_every_block_with_its_class():
    result = CliRunner().invoke(main, ["classify", "default"])
    assert result.exit_code == 0, result.output
    for block, kind in (("flow", "CEQ"), ("uplink", "CIE"), ("ratio", "NEQ"), ("energy", "NIE")):
        assert any(line.split()[:2] == [block, kind] for line in result.stdout.splitlines())


def test_classify_prints_json_alone():
    result = CliRunner().invoke(main, ["classify", "default", "--json"])
    assert result.exit_code == 0, result.output
    rows = {row["id"]: row for row in json.loads(result.stdout)}
    assert len(rows) == 11
    assert rows["deadline"]["class"] == rows["deadline"]["computed"] == "NIE"
    assert rows["deadline"]["witness"]["amount"] > 0
    assert rows["uplink"]["natural"]["compiled"] is True
