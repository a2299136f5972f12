from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from small_plans import hand_made_plan
from small_scenarios import plain_scenario

from mafl_opt.core.check import check
from mafl_opt.core.fields import FIELDS
from mafl_opt.core.plan import Sessions
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.report.summary import (
    backend_digest,
    describe_backends,
    describe_plan,
    describe_replay,
    describe_scenario,
    plan_digest,
    replay_digest,
)


def test_scenario_summary_shows_every_field_and_task():
    text = describe_scenario(plain_scenario())
    assert text.startswith("2 devices, 2 tasks, 3 slots over 3.5 s")
    for path in FIELDS:
        assert path == "tasks.name" or f"\n{path} " in text
    assert "digits" in text and "signals" in text
    assert "polynomial a=0.5" in text


def test_scenario_summary_shows_the_range_of_a_field():
    (line,) = (line for line in describe_scenario(plain_scenario()).splitlines()
               if line.startswith("devices.f_max_hz"))  # fmt: skip
    assert line.split()[1:4] == ["4e+08", "5e+08", "6e+08"]


def test_plan_digest_is_json_with_energy_and_staleness():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    digest = plan_digest(plan, check(scenario, plan))
    assert json.loads(json.dumps(digest, allow_nan=False)) == digest
    assert digest["sessions"] == 4
    assert digest["stale_sessions"] == 2
    assert digest["energy_j"] == pytest.approx(0.0567665, rel=1e-5)
    assert digest["check_ok"] is True


def test_plan_summary_names_what_the_check_found():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    assert "check     passed" in describe_plan(plan, check(scenario, plan))
    worse = plan.replace(objective=1.0)
    text = describe_plan(worse, check(scenario, worse))
    assert "check     FAILED" in text
    assert "objective:" in text


def test_plan_summary_says_unproven_when_there_is_no_bound():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    assert "bound     unproven" in describe_plan(plan, check(scenario, plan))


def test_plan_summary_of_an_infeasible_scenario_shows_no_numbers():
    scenario = plain_scenario()
    plan = hand_made_plan(
        scenario, sessions=Sessions.empty(), objective=None, point=PointStatus.NONE,
        termination=Termination.INFEASIBLE,
    )  # fmt: skip
    text = describe_plan(plan, check(scenario, plan))
    assert "objective -" in text
    assert Termination.INFEASIBLE.explanation in text


def test_replay_summary_shows_accuracy_loss_and_notes():
    replay = SimpleNamespace(
        accuracy={"digits": 0.875}, loss={"digits": 0.5}, energy_j=1.25, notes=("small set",)
    )
    text = describe_replay(replay)
    assert "87.50 %" in text and "0.5" in text and "1.25 J" in text and "note: small set" in text


def test_replay_digest_writes_a_diverged_loss_as_null():
    replay = SimpleNamespace(accuracy={"a": 0.1}, loss={"a": float("nan")}, energy_j=1.0)
    assert replay_digest(replay) == {"accuracy": {"a": 0.1}, "loss": {"a": None}, "energy_j": 1.0}


def test_backend_table_says_what_is_missing():
    info = SimpleNamespace(
        name="scip", summary="Exact search.", proves_bound=True, available=False,
        missing="pyscipopt", accepts=frozenset({"time_limit", "gap"}),
    )  # fmt: skip
    text = describe_backends([info])
    assert "--gap --time-limit" in text and "missing: pyscipopt" in text and "yes" in text
    assert backend_digest(info)["accepts"] == ["gap", "time_limit"]
