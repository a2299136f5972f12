"""P in natural form: Pyomo evaluates it as the checker does, block by block."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from small_scenarios import drawn_scenario
from tolerances import CANCELLED

import mafl_opt as mo
from mafl_opt.formulations.bound import session_terms
from mafl_opt.formulations.natural_model import fix_plan, natural_model, violations
from mafl_opt.formulations.problem import Problem, session_energy

ROUND_OFF = 1e-9


@pytest.fixture(scope="module")
def fleet():
    s = mo.Scenario.draw(devices=4, tasks=2, slots=4, seed=0)
    problem = Problem(scenario=s)
    return problem, natural_model(problem), mo.solve(problem, "greedy")


def evaluated(fleet, plan):
    problem, model, _ = fleet
    fix_plan(model, problem, plan)
    return pyo.value(model.O), violations(model)


def changed(plan, row, **values):
    rows = [dict(r) for r in plan.sessions.rows()]
    rows[row].update(values)
    return plan.replace(sessions=mo.Sessions.from_rows(rows), objective=None)


def broken(fleet, plan):
    """Blocks the checker and the model see violated."""
    report = mo.check(fleet[0].scenario, plan)
    seen = {v.constraint for v in report.violations}
    _, amounts = evaluated(fleet, plan)
    return seen, {block for block, amount in amounts.items() if amount > ROUND_OFF}


@pytest.mark.parametrize("backend", ["greedy", "random", "fedavg"])
def test_model_at_a_plan_has_the_checkers_objective_and_no_violation(fleet, backend):
    plan = mo.solve(fleet[0], backend)
    objective, amounts = evaluated(fleet, plan)
    assert objective == pytest.approx(mo.check(fleet[0].scenario, plan).objective, rel=CANCELLED)
    assert max(amounts.values()) <= ROUND_OFF


@pytest.mark.parametrize("seed", range(6))
def test_model_agrees_with_the_checker_on_drawn_scenarios(seed):
    s = drawn_scenario(seed, tasks=2)
    problem = Problem(scenario=s)
    plan = mo.solve(problem, "greedy")
    if plan.objective is None:
        pytest.skip("greedy finds no plan here")
    model = natural_model(problem)
    fix_plan(model, problem, plan)
    assert pyo.value(model.O) == pytest.approx(plan.objective, rel=CANCELLED)
    assert max(violations(model).values()) <= ROUND_OFF


def test_slow_frequency_breaks_the_deadline_in_both(fleet):
    problem, _, plan = fleet
    low = problem.scenario.devices.f_min_hz
    rows = list(plan.sessions.rows())
    row = next(k for k, r in enumerate(rows) if r["cpu_hz"] > low[r["device"]] * 1.01)
    slow = changed(plan, row, cpu_hz=float(low[rows[row]["device"]]))
    assert broken(fleet, slow) == ({"deadline"}, {"deadline"})


def test_high_frequency_breaks_the_box_in_both(fleet):
    problem, _, plan = fleet
    high = problem.scenario.devices.f_max_hz[plan.sessions.device[0]]
    seen, found = broken(fleet, changed(plan, 0, cpu_hz=float(high * 1.5)))
    assert "box" in seen & found
    assert seen == found


def test_large_batch_breaks_the_box_in_both(fleet):
    seen, found = broken(fleet, changed(fleet[2], 0, batch_size=10**6))
    assert "box" in seen & found


@pytest.mark.parametrize(
    ("block", "field"),
    [
        ("energy", "devices.energy_budget_j"),
        ("step_cap", "tasks.step_cap"),
        ("uplink", "network.uplink_capacity"),
    ],
)
def test_tighter_limit_is_violated_in_both(fleet, block, field):
    """A plan of the ample scenario, in the model of one that each session fits, but not all."""
    s = fleet[0].scenario.replace(**{"tasks.step_cap": [0.3, 0.3]})
    plan = mo.solve(s, "greedy")
    sessions = plan.sessions
    terms = session_terms(
        s, sessions.device, sessions.task, sessions.receive, sessions.upload, sessions.iterations
    )
    shared = np.zeros((s.num_slots, s.num_tasks))
    np.add.at(shared, (sessions.upload - 1, sessions.task), terms.step)
    room = {
        "energy": [1.01 * session_energy(s, sessions).max()] * s.num_devices,
        "step_cap": [0.5 * (terms.step.max() + shared.max())] * s.num_tasks,
        "uplink": [1] * s.num_slots,
    }
    tight = Problem(scenario=s.replace(**{field: room[block]}))
    seen, found = broken((tight, natural_model(tight), plan), plan.replace(objective=None))
    assert block in seen & found


def test_overlap_breaks_exclusive_in_both(fleet):
    problem, model, plan = fleet
    rows = list(plan.sessions.rows())
    row = rows[0]
    other = next(
        key for key in model.choices
        if key[0] == row["device"] and key[2] == row["receive"]
        and key[:4] != tuple(row[n] for n in ("device", "task", "receive", "upload"))
    )  # fmt: skip
    names = ("device", "task", "receive", "upload", "iterations")
    extra = dict(zip(names, other, strict=True)) | {"batch_size": 1, "cpu_hz": row["cpu_hz"]}
    both = plan.replace(sessions=mo.Sessions.from_rows([*rows, extra]), objective=None)
    seen, found = broken(fleet, both)
    assert "exclusive" in seen & found
    assert problem.columns is not None


def test_untrained_task_breaks_the_ratio_in_both(fleet):
    plan = fleet[2]
    rows = [r for r in plan.sessions.rows() if r["task"] != 0]
    seen, found = broken(fleet, plan.replace(sessions=mo.Sessions.from_rows(rows), objective=None))
    assert "ratio" in seen & found


def test_session_that_cannot_exist_is_refused(fleet):
    problem, model, plan = fleet
    with pytest.raises(mo.InputError, match=r"sessions\[0\]"):
        fix_plan(model, problem, changed(plan, 0, upload=99))


def test_no_coefficient_is_small_enough_to_be_dropped(fleet, tmp_path):
    problem, model, plan = fleet
    fix_plan(model, problem, plan)
    for block in ("energy", "step_cap", "deadline"):
        for row in getattr(model, block).values():
            body = [abs(pyo.value(term)) for term in row.body.args]
            assert all(size == 0 or size > 1e-9 for size in body)
