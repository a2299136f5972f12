"""Backend `conic`: bounds, limits of time and patience, starts, seeds, solvers, odd scenarios."""

from __future__ import annotations

import numpy as np
import pytest
from enumeration import enumerate_optimum
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import ENUMERATED, NEAR_OPTIMAL, SOLVED

import mafl_opt as mo
from mafl_opt.formulations.boxes import box_rules
from mafl_opt.formulations.pricing import lagrangian_bound
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.conic import Relaxation

INSTALLED = ["clarabel", "ecos", "scs"]


def judged(s, plan):
    """The verdict, after what every plan of this backend owes."""
    report = mo.check(s, plan)
    assert plan.point is mo.PointStatus.FEASIBLE
    assert report.ok, str(report)
    assert plan.bound is not None
    assert plan.bound == report.certified_bound
    assert plan.bound <= plan.objective
    return report


def fleet():
    return mo.Scenario.draw(devices=4, tasks=2, slots=4, seed=0)


# -- the relaxation ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def optima():
    out = []
    for seed in range(14):
        changes = {"energy_weight": 0.0} if seed % 2 else {}
        s = drawn_scenario(seed, tasks=1 + seed % 3 // 2, **changes)
        z, plan = enumerate_optimum(s)
        if plan is not None:
            out.append((Problem(scenario=s), z))
    assert len(out) >= 8
    return out


def relaxed(problem, top, solver="clarabel"):
    rules = box_rules(problem)
    box = rules.box(*rules.root(top), top)
    kept = np.arange(len(problem.columns))
    return box, Relaxation(problem, solver, top, kept).solve(box)


@pytest.mark.parametrize("factor", [1.001, 1.5, 5.0])
def test_relaxation_lies_below_the_optimum(optima, factor):
    for problem, z in optima:
        _, point = relaxed(problem, z * factor)
        assert point.value <= z * (1 + SOLVED)


def test_relaxation_is_tighter_on_a_smaller_box(optima):
    for problem, z in optima:
        values = [relaxed(problem, z * factor)[1].value for factor in (1.001, 1.5, 5.0)]
        assert values[0] >= values[1] * (1 - SOLVED) >= values[2] * (1 - SOLVED) ** 2


def test_prices_of_the_relaxation_prove_nearly_its_value(optima):
    """Weak duality loses nothing here: the Lagrangian's own minimum is the relaxation's."""
    shares = []
    for problem, z in optima:
        box, point = relaxed(problem, z * 1.001)
        s = problem.scenario
        bound, _, _ = lagrangian_bound(s, problem.columns, problem.program, point.prices, box)
        # The Lagrangian keeps batch sizes integer, so that it may lie above the relaxation.
        assert bound <= z * 1.001
        shares.append(bound / point.value)
    assert min(shares) > 1 - 1e3 * SOLVED


def test_relaxed_point_obeys_the_linear_rows(optima):
    for problem, z in optima:
        _, point = relaxed(problem, z * 1.2)
        s, c = problem.scenario, problem.columns
        uploads = np.bincount(c.upload - 1, point.x, minlength=s.num_slots)
        assert (uploads <= s.network.uplink_capacity + SOLVED).all()
        for g in range(s.num_slots):
            inside = (c.receive <= g) & (c.upload > g)
            busy = np.bincount(c.device[inside], point.x[inside], minlength=s.num_devices)
            assert (busy <= 1 + SOLVED).all()


@pytest.mark.parametrize("solver", INSTALLED)
def test_every_numerical_solver_gives_the_same_relaxation(optima, solver):
    problem, z = optima[0]
    exact = relaxed(problem, z * 1.2)[1].value
    assert relaxed(problem, z * 1.2, solver)[1].value == pytest.approx(exact, rel=1e-2)


@pytest.mark.parametrize("solver", INSTALLED)
def test_every_numerical_solver_proves_a_valid_bound(solver):
    for seed in (0, 2):
        s = drawn_scenario(seed, tasks=2)
        z, _ = enumerate_optimum(s)
        plan = mo.solve(s, solver=solver)
        judged(s, plan)
        assert plan.bound <= z * (1 + ENUMERATED)
        assert plan.bound >= 0.3 * z
        assert plan.objective <= z * (1 + NEAR_OPTIMAL)


# -- limits, starts, seeds ---------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 0.05, 0.3, 1.0])
def test_time_limit_gives_the_best_plan_so_far(limit):
    # On the small fleet a quick machine is done within a second.
    s = mo.Scenario.draw(devices=10, tasks=3, slots=12, seed=0)
    plan = mo.solve(s, "conic", time_limit=limit)
    assert plan.termination is mo.Termination.TIME_LIMIT
    report = mo.check(s, plan)
    assert report.ok, str(report)
    if plan.bound is not None:
        assert plan.bound <= plan.objective


@pytest.mark.parametrize("when", [1, 2, 4])
def test_interrupt_gives_the_best_plan_so_far(when):
    said = []

    def progress(message, fraction):
        said.append(message)
        if len(said) == when:
            raise KeyboardInterrupt

    s = fleet()
    plan = mo.solve(s, progress=progress)
    assert plan.termination is mo.Termination.INTERRUPTED
    assert plan.point is mo.PointStatus.FEASIBLE
    report = mo.check(s, plan)
    assert report.ok, str(report)
    assert len(said) == when


def test_interrupt_after_boxes_keeps_the_proof():
    def progress(message, fraction):
        if message.startswith("box"):
            raise KeyboardInterrupt

    s = drawn_scenario(0, tasks=2)
    plan = mo.solve(s, progress=progress)
    assert plan.termination is mo.Termination.INTERRUPTED
    judged(s, plan)
    assert plan.bound > 0


def test_progress_tells_of_objective_and_bound():
    said = []
    mo.solve(drawn_scenario(0, tasks=2), progress=lambda message, fraction: said.append(message))
    assert said[0].startswith("greedy: objective ")
    assert any("bound" in message for message in said)


def test_same_seed_gives_the_same_plan():
    s = fleet()
    first, second = mo.solve(s, seed=3), mo.solve(s, seed=3)
    assert first.sessions == second.sessions
    assert first.bound == second.bound


@pytest.mark.parametrize("backend", ["greedy", "random", "conic"])
def test_start_is_never_worsened(backend):
    s = fleet()
    options = {} if backend == "greedy" else {"seed": 1}
    start = mo.solve(s, backend, **options)
    plan = mo.solve(s, start=start, time_limit=0)
    assert plan.objective <= start.objective * (1 + ENUMERATED)
    assert mo.check(s, plan).ok


def test_start_of_another_scenario_is_taken_as_far_as_it_fits():
    s = fleet()
    start = mo.solve(s.replace(**{"devices.energy_budget_j": [50.0] * 4}), "greedy")
    plan = mo.solve(s, start=start, time_limit=0)
    report = mo.check(s, plan)
    assert report.ok, str(report)


def test_gap_stops_early():
    s = drawn_scenario(0, tasks=1, devices=3)
    wide, narrow = mo.solve(s, gap=0.5), mo.solve(s, gap=1e-4)
    assert wide.termination is mo.Termination.GAP_REACHED
    assert wide.gap <= 0.5
    assert len(wide.trace) <= len(narrow.trace)
    assert narrow.gap <= wide.gap
    for plan in (wide, narrow):
        judged(s, plan)


def test_certificate_survives_a_file(tmp_path):
    s = drawn_scenario(0, tasks=2)
    plan = mo.solve(s)
    plan.save(tmp_path / "plan.json")
    assert mo.check(s, mo.Plan.load(tmp_path / "plan.json")).certified_bound == plan.bound


# -- odd scenarios -----------------------------------------------------------------------------

ODD = {
    "no weight on one task": {"tasks.weight": [1.0, 0.0]},
    "free energy": {"energy_weight": 0.0},
    "dear energy": {"energy_weight": 1e7},
    "unreachable device": {"network.available": [[True, False]] * 3},
    "empty budget": {"devices.energy_budget_j": [0.0, 0.1]},
    "short budgets": {"devices.energy_budget_j": [0.012, 0.02], "energy_weight": 0.0},
    "single uplink": {"network.uplink_capacity": [1, 1, 1], "energy_weight": 1.0},
    "slot without uplink": {"network.uplink_capacity": [2, 0, 2]},
    "tight step caps": {"tasks.step_cap": [0.0125, 0.0145]},
    "strong proximal terms": {"tasks.proximal": [100.0, 80.0]},
    "drift": {"loss_drift": [[1.0, 2.0]] * 3, "pairs.gradient_drift": [[1.0, 0.5]] * 2},
    "no gradient noise": {"pairs.gradient_std": [[0.0, 0.0]] * 2},
    "no initial gap": {"tasks.initial_gap": [0.0, 0.0], "loss_drift": [[0.0, 0.0]] * 3},
    "no data on one device": {"pairs.samples": [[60, 0], [40, 50]]},
    "free computing": {"devices.capacitance": [0.0, 0.0]},
    "free radio": {"devices.tx_power_w": [1e-9, 1e-9], "devices.rx_power_w": [0.0, 0.0]},
    "one iteration, one sample": {"tasks.iterations_max": [1, 1], "tasks.batch_max": [1, 1]},
    "nothing stale": {"tasks.staleness_max": [0, 0]},
    "tiny weights": {"tasks.weight": [1e-6, 1e-6], "energy_weight": 1e-6},
    "huge weights": {"tasks.weight": [1e9, 1e9]},
}


@pytest.mark.parametrize("name", sorted(ODD))
def test_odd_scenario_is_solved_near_its_optimum(name):
    changes = ODD[name]
    if "free radio" in name:
        changes = {**changes, "network.gain": [[1e-3, 1e-3]] * 3}
    s = plain_scenario(**changes)
    z, best = enumerate_optimum(s)
    assert best is not None
    plan = mo.solve(s)
    judged(s, plan)
    assert plan.bound <= z * (1 + ENUMERATED)
    assert z * (1 - ENUMERATED) <= plan.objective <= z * (1 + NEAR_OPTIMAL)


def test_tasks_without_any_weight_need_no_session():
    s = plain_scenario(**{"tasks.weight": [0.0, 0.0]})
    plan = mo.solve(s)
    assert plan.point is mo.PointStatus.FEASIBLE
    assert plan.objective == 0.0
    assert mo.check(s, plan).ok


NOBODY = {
    "no data": {"pairs.samples": [[60, 0], [40, 0]]},
    "no budget": {"devices.energy_budget_j": [1e-5, 1e-5]},
    "no uplink": {"network.uplink_capacity": [0, 0, 0]},
    "no reach": {"network.available": [[False, False]] * 3},
    "no rate": {"network.downlink_bps": [[0.0, 0.0]] * 3},
    "no time": {"devices.f_min_hz": [1e6, 1e6], "devices.f_max_hz": [1e6, 1e6]},
    "no room": {"tasks.step_cap": [1e-4, 1e-4]},
}


@pytest.mark.parametrize("name", sorted(NOBODY))
def test_task_nobody_can_train_is_infeasible(name):
    said = []
    changes = NOBODY[name]
    if name == "no data":
        # A task needs data somewhere; give it to a device that is never reachable.
        changes = {
            "pairs.samples": [[60, 0], [40, 50]],
            "network.available": [[True, False]] * 3,
        }
    s = plain_scenario(**changes)
    assert enumerate_optimum(s)[1] is None
    plan = mo.solve(s, progress=lambda message, fraction: said.append(message))
    assert plan.termination is mo.Termination.INFEASIBLE
    assert plan.point is mo.PointStatus.NONE
    assert len(plan.sessions) == 0 and plan.objective is None
    assert any("no device can ever train it" in message for message in said)


def test_task_of_no_weight_may_stay_untrainable():
    s = plain_scenario(
        **{
            "pairs.samples": [[60, 0], [40, 50]],
            "network.available": [[True, False]] * 3,
            "tasks.weight": [1.0, 0.0],
        }
    )
    judged(s, mo.solve(s))
