"""The reference instances are what they say: reproducible, optimal as stored, each binding."""

from __future__ import annotations

import json

import pytest
from enumeration import enumerate_optimum
from instances.make import FOLDER, HOW, instances, names, read
from tolerances import SAME_FORMULA

from mafl_opt.core.check import check
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.status import PointStatus, Termination

AMPLE = {
    "binding_budget": {"devices.energy_budget_j": [9.0, 9.0]},
    "binding_uplink": {"network.uplink_capacity": [3, 3, 3]},
    # A wider cap makes staleness dearer, so a lower optimum is owed to the room alone.
    "binding_step_cap": {"tasks.step_cap": [0.026, 0.032]},
    "unreachable_device": {"network.available": [[True, True]] * 3},
    "zero_budget_device": {"devices.energy_budget_j": [0.2, 0.2]},
    "free_computing": {"devices.energy_budget_j": [9.0, 9.0]},
    "infeasible_together": {"network.uplink_capacity": [2]},
}


def test_stored_instances_are_those_the_script_makes():
    made = instances()
    assert names() == sorted(made)
    assert len(made) >= 12
    for name, (what, scenario) in made.items():
        stored, sidecar = read(name)
        assert stored == scenario, name
        assert (sidecar["what"], sidecar["how"]) == (what, HOW)


def test_folder_holds_nothing_but_instances():
    files = {path.name for path in FOLDER.iterdir() if path.is_file()}
    expected = {f"{name}{end}" for name in names() for end in (".json", ".optimum.json")}
    assert files == expected | {"make.py"}


@pytest.mark.parametrize("name", names())
def test_stored_optimum_is_the_enumerated_one(name):
    scenario, sidecar = read(name)
    objective, plan = enumerate_optimum(scenario)
    if sidecar["optimum"] is None:
        assert plan is None
        return
    assert objective == pytest.approx(sidecar["optimum"], rel=SAME_FORMULA)


@pytest.mark.parametrize("name", names())
def test_stored_sessions_have_the_stored_optimum(name):
    scenario, sidecar = read(name)
    if sidecar["optimum"] is None:
        assert sidecar["sessions"] == []
        return
    plan = Plan(
        sessions=Sessions.from_rows(sidecar["sessions"]), backend="stored",
        termination=Termination.COMPLETED, point=PointStatus.FEASIBLE,
        objective=sidecar["optimum"],
    )  # fmt: skip
    report = check(scenario, plan)
    assert report.ok, str(report)


@pytest.mark.parametrize("name", sorted(AMPLE))
def test_limit_of_an_instance_binds(name):
    scenario, sidecar = read(name)
    relaxed, plan = enumerate_optimum(scenario.replace(**AMPLE[name]))
    assert plan is not None
    if sidecar["optimum"] is not None:
        assert relaxed < 0.999 * sidecar["optimum"]


def test_forced_staleness_leaves_no_fresh_session():
    scenario, sidecar = read("staleness_forced")
    tau = [row["upload"] - 1 - row["receive"] for row in sidecar["sessions"]]
    assert max(tau) >= 1
    fresh, plan = enumerate_optimum(scenario.replace(**{"tasks.staleness_max": [0, 0]}))
    assert plan is None or fresh > sidecar["optimum"]


def test_sidecars_are_plain_json():
    for name in names():
        text = (FOLDER / f"{name}.optimum.json").read_text()
        assert set(json.loads(text)) == {"what", "how", "optimum", "sessions"}
