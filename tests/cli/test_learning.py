"""The commands ``federate`` and ``stress``, and ``replay`` in drawn worlds."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from replay_inputs import plan_of, replay_scenario

import mafl_opt as mo
from mafl_opt.cli.main import main

TASKS = ("digits",)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_refused(result, *words):
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("mafl-opt: ") and result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


@pytest.fixture
def files(tmp_path):
    """A folder with a scenario of three devices and a plan that passes its check."""
    scenario = replay_scenario(TASKS, server_rate=[0.2])
    (tmp_path / "scenario.json").write_text(scenario.to_json(), encoding="utf-8")
    plan = plan_of((0, 0, 0, 1, 4, 3), (1, 0, 0, 2, 2, 4), (2, 0, 1, 3, 1, 2))
    plan.save(tmp_path / "plan.json")
    return tmp_path


def test_federate_writes_a_history_and_tells_what_it_reached(tmp_path):
    out = tmp_path / "history.json"
    arguments = ("federate", "fedbuff", "--model", "logistic", "--rounds", 6, "--set", "buffer=2",
                 "--set", "optimizer=adam", "--set", "learning_rate=0.01", "--evaluate-every", 2,
                 "--out", out)  # fmt: skip
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "fedbuff on digits" in result.stdout and f"wrote {out}" in result.stdout
    stored = json.loads(out.read_text())
    assert stored["rounds"] == 6 and stored["sessions"] == 12
    assert stored["settings"]["buffer"] == 2 and stored["settings"]["optimizer"] == "adam"
    told = json.loads(run(*arguments, "--json").stdout)
    assert told["accuracy"] == stored["accuracy"] and told["lost"] == {}
    assert told["history"] == str(out) and "records" not in told


def test_federate_runs_in_real_time_for_a_number_of_sessions(tmp_path):
    out = tmp_path / "history.json"
    result = run("federate", "fedasync", "--model", "logistic", "--sessions", 4, "--real-time",
                 0.002, "--clients", 3, "--dirichlet", "inf", "--out", out, "--quiet")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(out.read_text())["sessions"] == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fedsgd",), ("system", "one of mafl, afl")),
        (("fedavg", "--set", "buffer=2"), ("system.buffer", "fedavg has no such setting")),
        (("fedavg", "--set", "buffer"), ("--set", "KEY=VALUE")),
        (("fedavg", "--rounds", 0), ("--rounds",)),
        (("fedavg", "--rounds", 3, "--sessions", 3), ("either rounds or sessions",)),
        (("fedavg", "--data", "nowhere"), ("nowhere",)),
        (("fedavg", "--model", "transformer"), ("transformer",)),
        (("fedavg", "--real-time", 0), ("clock.scale",)),
    ],
)
def test_federate_refuses_what_has_no_meaning(arguments, words, tmp_path):
    assert_refused(run("federate", *arguments, "--out", tmp_path / "h.json"), *words)
    assert not (tmp_path / "h.json").exists()


def test_federate_spreads_data_as_told_and_resumes_with_equal_bits(tmp_path):
    common = ("federate", "fedavg", "--model", "logistic", "--clients", 4, "--partition", "shards",
              "--shards", 3, "--drift", "class", "--drift-period", 2, "--quiet")  # fmt: skip
    kept, outs = tmp_path / "kept.npz", [tmp_path / f"{k}.json" for k in range(3)]
    whole = ("--rounds", 4, "--checkpoint", kept, "--checkpoint-every", 3)
    assert run(*common, *whole, "--out", outs[0]).exit_code == 0
    assert run(*common, "--rounds", 4, "--resume", kept, "--out", outs[1]).exit_code == 0
    first, second = (json.loads(out.read_text()) for out in outs[:2])
    assert first == second
    options = first["settings"]["options"]
    assert options["partition"]["kind"] == "shards" and options["partition"]["shards"] == 3
    assert options["drift"]["kind"] == "class" and options["drift"]["period"] == 2
    other = run("federate", "fedavg", "--model", "logistic", "--clients", 4, "--partition", "iid",
                "--rounds", 4, "--resume", kept, "--out", outs[2])  # fmt: skip
    assert_refused(other, "a checkpoint of this run")


def test_replay_takes_network_partition_drift_and_rule_from_its_flags(files):
    common = ("replay", files / "scenario.json", files / "plan.json", "--quiet", "--out")
    out = files / "replay.json"
    result = run(*common, out, "--model", "logistic", "--partition", "iid", "--drift", "label",
                 "--drift-period", 2, "--aggregation", "mixing", "--evaluate-every",
                 2)  # fmt: skip
    assert result.exit_code == 0, result.output
    stored = json.loads(out.read_text())
    options = stored["options"]
    assert options["partition"]["kind"] == "iid" and options["drift"]["kind"] == "label"
    assert options["aggregation"] == "mixing" and stored["parameters"] == {"digits": 650}
    tested = [record["slot"] for record in stored["records"] if record["loss"] is not None]
    assert tested == [0, *range(2, stored["records"][-1]["slot"] + 1, 2)]
    # Without flags, what the Python function does without options.
    assert run(*common, out).exit_code == 0
    same = mo.replay(mo.Scenario.load(files / "scenario.json"), mo.Plan.load(files / "plan.json"))
    assert json.loads(out.read_text())["loss"] == same.loss


def test_stress_says_how_often_a_plan_breaks(files):
    scenario, plan = files / "scenario.json", files / "plan.json"
    result = run("stress", scenario, plan, "--outage", 1, "--draws", 3)
    assert result.exit_code == 0, result.output
    assert "sessions that miss their deadline  100.00 %" in result.stdout
    calm = json.loads(run("stress", scenario, plan, "--gain-db", 0, "--draws", 3, "--json").stdout)
    assert calm["late"] == 0.0 and calm["lost"] == {} and calm["draws"] == 3
    assert calm["uncertainty"]["late"] == "wait"


def test_stress_refuses_a_calm_world_and_a_plan_that_fails_its_check(files):
    scenario, plan = files / "scenario.json", files / "plan.json"
    assert_refused(run("stress", scenario, plan), "at least one of --gain-db")
    assert_refused(run("stress", scenario, plan, "--outage", 2, "--draws", 1), "--outage")
    plan_of((0, 0, 0, 1, 4, 3), (0, 0, 0, 2, 4, 3)).save(plan)
    failed = run("stress", scenario, plan, "--outage", 0.1)
    assert failed.exit_code == 1 and "fails the check" in failed.stderr


def test_replay_in_a_drawn_world_goes_on_from_a_checkpoint(files):
    scenario, plan = files / "scenario.json", files / "plan.json"
    common = ("replay", scenario, plan, "--outage", 0.5, "--late", "drop", "--seed", 1, "--quiet")
    kept = files / "kept.npz"
    one = run(*common, "--checkpoint", kept, "--out", files / "one.json")
    two = run(*common, "--resume", kept, "--out", files / "two.json")
    assert one.exit_code == two.exit_code == 0, one.output + two.output
    assert (files / "one.json").read_bytes() == (files / "two.json").read_bytes()
    stored = json.loads((files / "one.json").read_text())
    assert stored["strain"]["late"] == 2 and stored["strain"]["lost"] == {"late": 2}
    other = run("replay", scenario, plan, "--resume", kept, "--out", files / "three.json")
    assert_refused(other, "a checkpoint of this run")


def test_replay_starts_warm_and_runs_in_real_time_when_asked(files):
    scenario, plan = files / "scenario.json", files / "plan.json"
    out = files / "replay.json"
    result = run("replay", scenario, plan, "--warm", "digits=200", "--real-time", 0.001, "--out",
                 out, "--quiet")  # fmt: skip
    assert result.exit_code == 0, result.output
    stored = json.loads(out.read_text())
    assert stored["options"]["warm_steps"] == {"digits": 200}
    assert stored["records"][0]["accuracy"] > 0.5
    for word in ("digits", "digits=x", "letters=3"):
        assert_refused(run("replay", scenario, plan, "--warm", word, "--out", out), "warm")
