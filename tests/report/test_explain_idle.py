"""Why devices idle: a fleet with a device for every reason, and every session put into the plan."""

from __future__ import annotations

import math

import numpy as np
import pytest
from enumeration import session_options
from plain_terms import Facts as PlainFacts
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import ROUNDED_DOWN

import mafl_opt as mo
from mafl_opt.core.check import check
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.report.explain.idle import REASONS

SLOTS = 4
#: What keeps each device idle; the first one works.
FLEET = ("working", "no data", "unreachable", "radio", "no uplink", "deadline", "step cap",
         "budget", "not worth it", "uplinks full", "step caps full", "room left")  # fmt: skip


def fleet():
    """A fleet in which device k idles for reason k of `FLEET`, and a plan of device 0."""
    count = len(FLEET)
    at = {name: k for k, name in enumerate(FLEET)}

    def every(value, **others):
        out = [value] * count
        for name, other in others.items():
            out[at[name.replace("_", " ")]] = other
        return out

    reach = np.ones((SLOTS, count), dtype=bool)
    reach[:, at["unreachable"]] = False
    # Slot 2 has no uplinks, slot 1 one of them, and aggregation 3 a step cap that is used up.
    for name, slot in (("no uplink", 2), ("uplinks full", 1), ("step caps full", 3)):
        reach[:, at[name]] = np.arange(1, SLOTS + 1) == slot
    samples = every(100, no_data=0, step_cap=100_000)
    scenario = mo.Scenario.from_dict({
        "time": {"slot_s": [1.0] * SLOTS},
        "devices": {
            "f_min_hz": every(1e8), "f_max_hz": every(1e9),
            "capacitance": every(1e-28, not_worth_it=1e-16),
            "tx_power_w": every(0.01), "rx_power_w": every(0.0), "bandwidth_hz": every(1e6),
            "energy_budget_j": every(1e9, budget=1e-9),
        },
        "tasks": {
            "name": ["digits"], "weight": [1.0], "model_bits": [5e5], "smoothness": [5.0],
            "gradient_bound": [4.0], "learning_rate": [0.005], "server_rate": [300.0],
            "step_cap": [0.004], "initial_gap": [2.0], "iterations_max": [3], "batch_max": [2],
            "staleness_max": [1],
        },
        "pairs": {
            "samples": [[n] for n in samples],
            "cycles_per_sample": [[c] for c in every(1e7, deadline=1e13)],
            "gradient_std": [[1.0]] * count, "dissimilarity": [[0.1]] * count,
        },
        "network": {
            "gain": [every(1e-11, radio=1e-20)] * SLOTS, "noise_w_per_hz": 4e-21,
            "downlink_bps": [every(1e7)] * SLOTS, "uplink_capacity": [1, 0, 5, 5],
            "available": reach.tolist(),
        },
        "energy_weight": 1e-3,
    })  # fmt: skip
    row = {"device": 0, "task": 0, "cpu_hz": 1e8, "batch_size": 2}
    rows = [
        {**row, "receive": 0, "upload": 1, "iterations": 2},
        {**row, "receive": 2, "upload": 3, "iterations": 2},
    ]
    return scenario, plan_of(scenario, rows)


def plan_of(scenario, rows):
    return Plan(
        sessions=Sessions.from_rows(rows), backend="hand", termination=Termination.COMPLETED,
        point=PointStatus.FEASIBLE, scenario_sha256=scenario.sha256,
    )  # fmt: skip


def with_session(plan, row):
    return plan.replace(sessions=Sessions.from_rows([*plan.sessions.rows(), row]))


def test_every_idle_device_has_its_reason():
    scenario, plan = fleet()
    # The cap of aggregation 3 is left with less than one iteration of any device.
    step = check(scenario, plan).tasks[0].progress
    scenario = scenario.replace(**{"tasks.step_cap": [1.2 * step]})
    assert check(scenario, plan).ok
    found = mo.explain(scenario, plan, top=50)
    assert {d.device: d.reason for d in found.idle.listed} == dict(enumerate(FLEET[1:], start=1))
    assert found.idle.devices == len(FLEET) - 1
    assert found.idle.reasons == dict.fromkeys(FLEET[1:], 1)
    assert found.idle.wanted is None


def test_reasons_come_with_their_figures():
    scenario, plan = fleet()
    step = check(scenario, plan).tasks[0].progress
    scenario = scenario.replace(**{"tasks.step_cap": [1.2 * step]})
    details = {d.reason: d.detail for d in mo.explain(scenario, plan, top=50).idle.listed}
    assert "0 of 4 slots" in details["unreachable"]
    assert "of a slot of 1 s" in details["radio"]
    assert "1e+04 s at the highest frequency, of 2 s" in details["deadline"]
    assert "of a budget of 1e-09 J" in details["budget"]
    assert "aggregation 1 has 1 uplinks, all of them used" in details["uplinks full"]
    assert "of aggregation 3, which has" in details["step caps full"]
    assert "3 -> 4" in details["room left"]


def test_list_is_cut_and_counts_are_not():
    scenario, plan = fleet()
    found = mo.explain(scenario, plan, top=2).idle
    assert [d.device for d in found.listed] == [FLEET.index("step cap"), 2]
    assert sum(found.reasons.values()) == found.devices == len(FLEET) - 1


def test_reasons_are_all_explained():
    assert set(FLEET[1:]) == set(REASONS)


@pytest.mark.parametrize("seed", range(6))
def test_change_is_what_the_best_session_does_to_the_objective(seed):
    """Against every session of the enumeration, put into the plan and checked."""
    scenario = drawn_scenario(seed, devices=3, tasks=2, **{"tasks.step_cap": [0.04, 0.04]})
    facts = PlainFacts.of(scenario)
    # The first device trains both tasks, or whichever it can; the others idle.
    rows, free = [], 0
    for (r, _), options in sorted(session_options(facts, 0).items()):
        fresh = [row for row, _ in options if row["task"] == len(rows) % 2]
        if r >= free and fresh:
            rows.append(fresh[0])
            free = fresh[0]["upload"]
    plan = plan_of(scenario, rows)
    before = check(scenario, plan).objective
    found = {device.device: device for device in mo.explain(scenario, plan).idle.listed}
    assert sorted(found) == ([1, 2] if rows else [0, 1, 2])
    for i in found:
        options = [row for pair in session_options(facts, i).values() for row, _ in pair]
        if not options:
            assert found[i].change is None
            continue
        after = [check(scenario, with_session(plan, row)) for row in options]
        if math.isinf(before):
            assert any(math.isfinite(report.objective) for report in after) or (
                found[i].change == -math.inf
            )
            continue
        best = min(report.objective for report in after) - before
        fits = [r.objective - before for r in after if not r.violations]
        assert (found[i].reason == "room left") == (min(fits, default=0.0) < 0)
        assert (found[i].reason == "not worth it") == (best >= 0)
        shown = min(fits) if found[i].reason == "room left" else best
        assert found[i].change == pytest.approx(shown, rel=ROUNDED_DOWN, abs=ROUNDED_DOWN)


def test_device_that_would_train_an_untrained_task_has_room():
    scenario = plain_scenario(energy_weight=0.0)
    plan = plan_of(scenario, [{"device": 0, "task": 0, "receive": 0, "upload": 1,
                               "cpu_hz": 3e8, "batch_size": 2, "iterations": 2}])  # fmt: skip
    (idle,) = mo.explain(scenario, plan).idle.listed
    assert (idle.device, idle.reason, idle.change) == (1, "room left", -math.inf)
    assert "that nobody trains" in idle.detail
    assert mo.explain(scenario, plan).to_dict()["idle"]["listed"][0]["change"] is None


def test_task_of_weight_zero_is_not_worth_a_session():
    scenario, plan = fleet()
    scenario = scenario.replace(**{"tasks.weight": [0.0]})
    reasons = mo.explain(scenario, plan).idle.reasons
    assert "room left" not in reasons
    assert reasons["not worth it"] >= 4


def test_plan_without_sessions_leaves_all_idle():
    scenario = plain_scenario()
    found = mo.explain(scenario, plan_of(scenario, []))
    assert found.idle.devices == scenario.num_devices
    assert found.idle.reasons == {"room left": 2}
    assert [task.dominant for task in found.tasks] == [None, None]


def test_blocks_of_a_large_fleet_add_up_to_the_whole():
    """Fleets are looked at in blocks; a fleet of one block and the same twice agree."""
    scenario = mo.Scenario.draw(devices=300, tasks=2, slots=8, seed=3)
    rows = [{"device": i, "task": i % 2, "receive": 0, "upload": 1, "cpu_hz": 1e9,
             "batch_size": 1, "iterations": 1} for i in (7, 8)]  # fmt: skip
    found = mo.explain(scenario, plan_of(scenario, rows), top=300).idle
    assert found.devices == 298
    assert sum(found.reasons.values()) == 298
    assert {d.device for d in found.listed} == set(range(300)) - {7, 8}
    counted = [d.reason for d in found.listed]
    assert {name: counted.count(name) for name in set(counted)} == dict(found.reasons)
