"""Relabelling devices or tasks changes nothing; more room never makes anything worse."""

from __future__ import annotations

import numpy as np
import pytest
from enumeration import enumerate_optimum
from hypothesis import given, settings
from hypothesis import strategies as st
from small_plans import hand_made_plan
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import ENUMERATED, ROUNDED_DOWN, SAME_FORMULA

from mafl_opt.core.check import check
from mafl_opt.core.fields import FIELDS
from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.boxes import box_rules
from mafl_opt.formulations.pricing import Prices, lagrangian_bound
from mafl_opt.formulations.problem import Problem


def relabelled(s, devices, tasks):
    """The scenario with device n in the place of devices[n] and task n in that of tasks[n]."""
    order = {"I": devices, "J": tasks}
    data = s.to_dict()
    for path, field in FIELDS.items():
        holder = data[field.group] if field.group else data
        _, _, name = path.rpartition(".")
        value = holder[name]
        for axis, letter in enumerate(field.dims):
            if letter in order:
                value = [value[k] for k in order[letter]] if axis == 0 else [
                    [row[k] for k in order[letter]] for row in value
                ]  # fmt: skip
        holder[name] = value
    return Scenario.from_dict(data)


def prices_of(s, rng):
    return Prices(
        numerator=rng.exponential(30.0, s.num_tasks),
        progress=rng.exponential(3000.0, s.num_tasks),
        uplink=rng.exponential(3.0, s.num_slots),
        step_cap=rng.exponential(200.0, (s.num_slots, s.num_tasks)),
        energy=rng.exponential(100.0, s.num_devices),
    )


def root_bound(s, prices, top):
    problem = Problem(scenario=s)
    rules = box_rules(problem)
    box = rules.box(*rules.root(top), top)
    return lagrangian_bound(s, problem.columns, problem.program, prices, box)[0]


@settings(max_examples=40, derandomize=True, deadline=None)
@given(data=st.data(), seed=st.integers(0, 20))
def test_relabelling_leaves_the_bound_at_the_same_prices(data, seed):
    s = drawn_scenario(seed, devices=4, tasks=3, slots=3)
    devices = data.draw(st.permutations(range(4)))
    tasks = data.draw(st.permutations(range(3)))
    p = prices_of(s, np.random.default_rng(seed))
    moved = Prices(
        numerator=p.numerator[tasks], progress=p.progress[tasks], uplink=p.uplink,
        step_cap=p.step_cap[:, tasks], energy=p.energy[devices],
    )  # fmt: skip
    found = root_bound(relabelled(s, devices, tasks), moved, 2000.0)
    assert found == pytest.approx(root_bound(s, p, 2000.0), rel=ROUNDED_DOWN)


@pytest.mark.parametrize("devices", [(0, 1), (1, 0)])
@pytest.mark.parametrize("tasks", [(0, 1), (1, 0)])
def test_relabelling_leaves_the_checkers_objective_and_the_optimum(devices, tasks):
    s = plain_scenario()
    other = relabelled(s, devices, tasks)
    plan = hand_made_plan(s)
    rows = [
        {**row, "device": devices.index(row["device"]), "task": tasks.index(row["task"])}
        for row in plan.sessions.rows()
    ]
    report = check(other, plan.replace(sessions=Sessions.from_rows(rows), scenario_sha256=""))
    assert report.ok
    assert report.objective == pytest.approx(plan.objective, rel=SAME_FORMULA)
    optimum = enumerate_optimum(s)[0]
    assert enumerate_optimum(other)[0] == pytest.approx(optimum, rel=SAME_FORMULA)


ROOM = {
    "budget": lambda s: {"devices.energy_budget_j": (1.4 * s.devices.energy_budget_j).tolist()},
    "uplink": lambda s: {"network.uplink_capacity": (s.network.uplink_capacity + 1).tolist()},
    "reach": lambda s: {"network.available": [[True] * s.num_devices] * s.num_slots},
    "staleness": lambda s: {"tasks.staleness_max": [s.num_slots - 1] * s.num_tasks},
    "batch": lambda s: {"tasks.batch_max": (s.tasks.batch_max + 1).tolist()},
    "speed": lambda s: {"devices.f_max_hz": (1.5 * s.devices.f_max_hz).tolist()},
}


@pytest.mark.parametrize("what", sorted(ROOM))
@pytest.mark.parametrize("seed", range(5))
def test_more_room_never_worsens_the_optimum(what, seed):
    s = drawn_scenario(seed, tasks=1 + seed % 2)
    wider = s.replace(**ROOM[what](s))
    before, after = enumerate_optimum(s)[0], enumerate_optimum(wider)[0]
    assert after <= before * (1 + ENUMERATED)


@pytest.mark.parametrize("what", sorted(ROOM))
@pytest.mark.parametrize("seed", range(8))
def test_more_room_never_raises_the_bound_at_the_same_prices(what, seed):
    s = drawn_scenario(seed, devices=3, tasks=2)
    wider = s.replace(**ROOM[what](s))
    rng = np.random.default_rng(seed)
    for _ in range(5):
        p = prices_of(s, rng)
        assert root_bound(wider, p, 2000.0) <= root_bound(s, p, 2000.0) + ROUNDED_DOWN


def test_scaling_the_unit_of_energy_changes_nothing():
    s = drawn_scenario(4, tasks=1)
    scaled = s.replace(
        **{
            "devices.capacitance": (1e3 * s.devices.capacitance).tolist(),
            "devices.energy_budget_j": (1e3 * s.devices.energy_budget_j).tolist(),
            "devices.rx_power_w": (1e3 * s.devices.rx_power_w).tolist(),
            "devices.tx_power_w": (1e3 * s.devices.tx_power_w).tolist(),
            "network.gain": (1e-3 * s.network.gain).tolist(),
            "energy_weight": 1e-3 * s.energy_weight,
        }
    )
    assert enumerate_optimum(scaled)[0] == pytest.approx(enumerate_optimum(s)[0], rel=ENUMERATED)
