"""``mafl-opt study``."""

import json

from click.testing import CliRunner

from mafl_opt.cli.main import main


def run(*arguments):
    return CliRunner().invoke(main, ["study", *map(str, arguments)])


def test_study_without_a_name_lists_the_studies():
    for arguments in ((), ("--list",)):
        result = run(*arguments)
        assert result.exit_code == 0
        assert "energy-accuracy" in result.output
        assert "unbounded-delays" in result.output
    listed = json.loads(run("--json").stdout)
    assert len(listed) == 12
    assert set(listed[0]) == {"name", "source", "question"}


def test_study_prints_its_reading_and_files(tmp_path):
    result = run("heterogeneity", "--tiny", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "reading.md").read_text().splitlines()[2] in result.stdout
    assert "4 runs, 0 of them found finished" in result.stdout
    assert "4 of them found finished" in run("heterogeneity", "--tiny", "--out", tmp_path).stdout
    assert "heterogeneity" in result.stderr  # progress


def test_study_as_json_is_one_value(tmp_path):
    result = run("heterogeneity", "--tiny", "--seeds", 1, "--out", tmp_path, "--json")
    value = json.loads(result.stdout)
    assert value["study"] == "heterogeneity"
    assert value["runs"] == 2
    assert result.stderr == ""


def test_study_says_that_a_damaged_run_was_done_again(tmp_path):
    run("heterogeneity", "--tiny", "--seeds", 1, "--out", tmp_path)
    path = next((tmp_path / "runs").glob("*.json"))
    path.write_text("{")
    result = run("heterogeneity", "--tiny", "--seeds", 1, "--out", tmp_path)
    assert result.exit_code == 0
    assert "a damaged run file was done again" in result.stderr
    assert path.name in result.stderr


def test_study_refuses_in_one_line(tmp_path):
    for arguments, text in (
        (("alchemy", "--out", tmp_path), "study: expected one of bound-measurement"),
        (("heterogeneity",), "--out: expected a folder"),
        (("--out", tmp_path), "study: expected a NAME to run"),
        (("heterogeneity", "--out", tmp_path, "--data", tmp_path), "data: expected nothing for"),
        (("quorum", "--out", tmp_path / "x", "--data", tmp_path / "no"), "a folder of image files"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert text in result.stderr
        assert len(result.stderr.splitlines()) == 1
