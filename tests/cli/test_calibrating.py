from __future__ import annotations

import json

import numpy as np
from click.testing import CliRunner
from replay_inputs import replay_scenario

from mafl_opt.cli.main import main
from mafl_opt.core.scenario import Scenario

QUICK = ("--runs", "2", "--points", "2", "--model", "logistic", "--quiet")


def small(tmp_path):
    path = tmp_path / "scenario.json"
    base = replay_scenario(("wine", "iris"), ((30, 20), (20, 25), (25, 0)), slots=3)
    path.write_text(base.to_json())
    return path, base


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_calibrate_writes_a_scenario_and_says_what_it_found(tmp_path):
    path, base = small(tmp_path)
    out, figures = tmp_path / "out.json", tmp_path / "figures.json"
    done = run("calibrate", path, "--out", out, "--figures", figures, "--seed", 3, *QUICK)
    assert done.exit_code == 0, done.output
    found = Scenario.load(out)
    assert found.time.slot_s.tolist() == base.time.slot_s.tolist()
    assert (found.tasks.smoothness != base.tasks.smoothness).all()
    assert found.pairs.gradient_std[2, 1] == base.pairs.gradient_std[2, 1]
    told = json.loads(figures.read_text())
    assert told["tasks"][0]["smoothness"]["value"] == found.tasks.smoothness[0]
    assert told["seed"] == 3
    assert "wine" in done.output
    assert f"wrote {out} and {figures}" in done.output
    assert "L smoothness" in done.output


def test_calibrate_prints_json_and_nothing_else(tmp_path):
    path, _ = small(tmp_path)
    done = run(
        "calibrate", path, "--out", tmp_path / "o.json", "--json", "--drift", "class", *QUICK
    )
    told = json.loads(done.output)
    assert told["options"]["drift"]["kind"] == "class"
    assert np.max(told["tasks"][0]["gradient_drift"]["value"]) > 0


def test_calibrate_writes_sizes_for_a_processor(tmp_path):
    path, _ = small(tmp_path)
    out = tmp_path / "out.json"
    done = run("calibrate", path, "--out", out, "--operations-per-cycle", 0.5, *QUICK)
    assert done.exit_code == 0, done.output
    found = Scenario.load(out)
    assert found.tasks.model_bits.tolist() == [32 * (13 * 3 + 3), 32 * (4 * 3 + 3)]
    # Forward and weight gradient, two operations a product, twice as many cycles.
    assert found.pairs.cycles_per_sample[0].tolist() == [2 * 4 * 13 * 3, 2 * 4 * 4 * 3]


def test_calibrate_from_a_warm_start_finds_a_smaller_gap(tmp_path):
    path, _ = small(tmp_path)
    gaps = []
    for words in ((), ("--warm-steps", 200)):
        out = tmp_path / "out.json"
        assert run("calibrate", path, "--out", out, *words, *QUICK).exit_code == 0
        gaps.append(Scenario.load(out).tasks.initial_gap)
    assert (gaps[1] < 0.7 * gaps[0]).all()


def test_calibrate_refuses_to_overwrite_its_input_and_bad_options(tmp_path):
    path, _ = small(tmp_path)
    assert run("calibrate", path, "--out", path, *QUICK).exit_code == 2
    done = run("calibrate", path, "--out", tmp_path / "o.json", "--dirichlet", "0", *QUICK)
    assert done.exit_code == 2
    assert "partition.concentration: expected a number > 0" in done.output
