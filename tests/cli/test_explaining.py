"""The command ``explain``."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from small_plans import hand_made_plan
from small_scenarios import plain_scenario

import mafl_opt as mo
from mafl_opt.cli.main import main


@pytest.fixture
def folder(tmp_path):
    """A folder with a small scenario and a plan of it."""
    scenario = plain_scenario()
    (tmp_path / "scenario.json").write_text(scenario.to_json(), encoding="utf-8")
    hand_made_plan(scenario).save(tmp_path / "plan.json")
    return tmp_path


def explain(folder, *flags):
    words = ["explain", str(folder / "scenario.json"), str(folder / "plan.json"), *flags]
    return CliRunner().invoke(main, words)


def test_explain_prints_the_explanation(folder):
    result = explain(folder, "--quiet")
    assert result.exit_code == 0, result.output
    scenario = plain_scenario()
    assert result.stdout == f"{mo.explain(scenario, hand_made_plan(scenario))}\n"
    assert result.stderr == ""


def test_explain_prints_json_and_nothing_else(folder):
    result = explain(folder, "--json", "--top", "1")
    assert result.exit_code == 0, result.output
    scenario = plain_scenario()
    found = mo.explain(scenario, hand_made_plan(scenario), top=1)
    assert json.loads(result.stdout) == json.loads(json.dumps(found.to_dict()))
    assert len(json.loads(result.stdout)["limits"][0]["listed"]) == 1
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("flags", "words"), [(("--top", "-1"), "--top"), (("--sorted",), "--sorted")]
)
def test_explain_refuses_bad_flags(folder, flags, words):
    result = explain(folder, *flags)
    assert result.exit_code == 2
    assert words in result.stderr


def test_explain_refuses_a_missing_plan(folder):
    (folder / "plan.json").unlink()
    result = explain(folder)
    assert result.exit_code == 2
    assert "plan.json" in result.stderr
    assert result.stderr.count("\n") == 1
