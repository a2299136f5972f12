"""Magnitudes far from the usual: other units, sessions of no weight, nothing to choose from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from enumeration import enumerate_optimum
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import ENUMERATED, SAME_FORMULA

import mafl_opt as mo
from mafl_opt.core.check import TOLERANCE
from mafl_opt.formulations.candidates import enumerate_candidates
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.schedule import Schedule

BACKENDS = {info.name: info for info in mo.backends() if info.available}
each_backend = pytest.mark.parametrize("backend", sorted(BACKENDS))
STEEP = [{"kind": "polynomial", "a": 25.0}, {"kind": "polynomial", "a": 25.0}]


def solve(scenario, backend, **more):
    options = {"time_limit": 20.0} if "time_limit" in BACKENDS[backend].accepts else {}
    return mo.solve(scenario, backend, **options, **more)


@each_backend
def test_empty_plan_where_nothing_is_affordable_and_nothing_needed(backend):
    scenario = plain_scenario(**{"tasks.weight": [0.0, 0.0], "devices.energy_budget_j": [0.0, 0.0]})
    plan = solve(scenario, backend)
    assert plan.point is mo.PointStatus.FEASIBLE
    assert len(plan.sessions) == 0
    assert plan.objective == 0.0


def test_sessions_whose_weight_underflows_are_no_columns():
    steep = [{"kind": "polynomial", "a": 2000.0}] * 2
    columns = enumerate_candidates(plain_scenario(**{"tasks.staleness_weight": steep}))
    assert len(columns)
    assert (columns.progress > 0).all()
    assert (columns.upload - columns.receive == 1).all()


@each_backend
def test_plans_of_steep_staleness_are_sound(backend):
    scenario = plain_scenario(**{"tasks.staleness_weight": STEEP})
    optimum, _ = enumerate_optimum(scenario)
    plan = solve(scenario, backend)
    assert mo.check(scenario, plan).ok
    assert optimum * (1 - ENUMERATED) <= plan.objective
    assert plan.bound is None or 0 <= plan.bound <= optimum * (1 + TOLERANCE)


@pytest.mark.parametrize("seed", range(20))
def test_totals_after_withdrawals_are_those_of_what_is_left(seed):
    """A difference of sums would leave 1 + 1e-17 - 1 of the progress of stale sessions."""
    scenario = plain_scenario(**{"tasks.staleness_weight": STEEP})
    problem = Problem(scenario=scenario)
    rng = np.random.default_rng(seed)
    schedule = Schedule(problem)
    for k in rng.permutation(len(problem.columns)):
        if schedule.fits(int(k), 1):
            schedule.insert(int(k), 1)
    for k in list(schedule.batch):
        if rng.random() < 0.6:
            schedule.withdraw(k)
    fresh = Schedule(problem)
    for k, batch in schedule.batch.items():
        fresh.insert(k, batch)
    for name in ("numerator", "progress", "energy_j", "step"):
        np.testing.assert_allclose(
            getattr(schedule, name), getattr(fresh, name), rtol=SAME_FORMULA, atol=0.0
        )


@pytest.mark.parametrize("factor", [1e-9, 1e9])
@pytest.mark.parametrize("backend", [b for b in ("conic", "minlp", "scip") if b in BACKENDS])
def test_units_of_the_objective_change_nothing(backend, factor):
    scenario = drawn_scenario(4)
    scaled = scenario.replace(
        **{"tasks.weight": (factor * scenario.tasks.weight).tolist()},
        energy_weight=factor * scenario.energy_weight,
    )
    plain, other = (mo.solve(s, backend, gap=1e-3) for s in (scenario, scaled))
    assert other.objective == pytest.approx(factor * plain.objective, rel=1e-3)
    assert other.bound == pytest.approx(factor * plain.bound, rel=0.01)


@each_backend
def test_no_bound_above_the_optimum_where_progress_is_tiny(backend):
    """Progress of 1e-9 of the caps: SCIP's tolerance on t A >= N was 19 % of the objective."""
    scenario = mo.Scenario.load(Path(__file__).parent / "cases" / "tiny_progress.json")
    optimum, _ = enumerate_optimum(scenario)
    plan = solve(scenario, backend)
    if plan.objective is not None:
        assert mo.check(scenario, plan).ok
    assert plan.bound is None or plan.bound <= optimum * (1 + TOLERANCE)


def test_task_of_a_weight_of_nothing_beside_another_is_no_trouble_for_minlp():
    scenario = drawn_scenario(1, tasks=2, **{"tasks.weight": [1.0, 1e-12]})
    plan = solve(scenario, "minlp")
    assert mo.check(scenario, plan).ok
    assert plan.bound <= enumerate_optimum(scenario)[0] * (1 + TOLERANCE)
