"""Local search: never worse, always feasible, and greedy insertion at its own word."""

from __future__ import annotations

import time

import numpy as np
import pytest
from enumeration import enumerate_optimum
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import CANCELLED, NEAR_OPTIMAL

from mafl_opt.core.check import check
from mafl_opt.core.plan import Plan
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.formulations.pricing import Prices
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.improve import Improver, fill
from mafl_opt.solvers.schedule import Schedule

WIDE = {"tasks.batch_max": [12, 9], "pairs.samples": [[50, 25], [7, 60], [40, 5]]}


def never():
    return False


def wide(seed, **changes):
    return Problem(
        scenario=drawn_scenario(seed, devices=3, tasks=2, slots=4, **{**WIDE, **changes})
    )


def broken(schedule):
    plan = Plan(
        sessions=schedule.sessions(), backend="t", termination=Termination.COMPLETED,
        point=PointStatus.FEASIBLE,
    )  # fmt: skip
    return {v.constraint for v in check(schedule.problem.scenario, plan).violations} - {"ratio"}


def random_schedule(problem, seed, share=1.0):
    rng, schedule = np.random.default_rng(seed), Schedule(problem)
    for k in rng.permutation(len(problem.columns)):
        batch = 1 + int(rng.random() * problem.columns.batch_hi[k])
        if rng.random() < share and schedule.fits(int(k), batch):
            schedule.insert(int(k), batch)
    return schedule


def prices(problem, seed):
    s, rng = problem.scenario, np.random.default_rng(seed)
    return Prices(
        numerator=rng.exponential(30.0, s.num_tasks),
        progress=rng.exponential(3000.0, s.num_tasks),
        uplink=rng.exponential(1.0, s.num_slots),
        step_cap=rng.exponential(100.0, (s.num_slots, s.num_tasks)),
        energy=rng.exponential(10.0, s.num_devices),
    )


seeds = pytest.mark.parametrize("seed", range(6))


@seeds
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_fill_only_lowers_the_objective_and_ends_where_nothing_does(seed, share):
    schedule = random_schedule(wide(seed), seed, share)
    before = schedule.value()
    fill(schedule)
    assert schedule.value() <= before
    assert not broken(schedule)
    change, _ = schedule.insertions()
    assert change.min() >= -CANCELLED * (1 + abs(schedule.value()[1]))


@seeds
def test_fill_inserts_the_best_column_each_time(seed):
    problem = wide(seed)
    schedule, by_hand = Schedule(problem), Schedule(problem)
    fill(schedule)
    for _ in range(len(schedule.batch)):
        values = []
        for k in range(len(problem.columns)):
            most = problem.columns.batch_hi[k]
            for batch in range(1, int(most) + 1):
                if by_hand.fits(k, batch):
                    trial = by_hand.copy()
                    trial.insert(k, batch)
                    values.append((trial.value(), k, batch))
        # While tasks are untrained the order is by the inserted column's own cost.
        if by_hand.served().all():
            best = min(value for value, _, _ in values)
            inserted = next(k for k in schedule.batch if k not in by_hand.batch)
            mine = min(value for value, k, _ in values if k == inserted)
            assert mine[1] == pytest.approx(best[1], rel=CANCELLED)
        at = len(by_hand.batch)
        k = list(schedule.batch)[at]
        by_hand.insert(k, schedule.batch[k])
    assert by_hand.objective() == pytest.approx(schedule.objective(), rel=CANCELLED)


def test_fill_takes_only_columns_it_may():
    problem = wide(0)
    mine = np.flatnonzero(problem.columns.device == 1)
    schedule = Schedule(problem)
    fill(schedule, mine)
    assert schedule.batch and set(schedule.batch) <= set(mine.tolist())
    fill(schedule, mine[:0])
    assert set(schedule.batch) <= set(mine.tolist())


@seeds
def test_descend_never_worsens_and_keeps_every_limit(seed):
    problem = wide(seed)
    start = random_schedule(problem, seed)
    before = start.value()
    found = Improver(problem, seed, never).descend(start)
    assert found.value() <= before
    assert not broken(found)
    assert start.value() == before


@seeds
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("warm", [False, True])
def test_anneal_never_worsens_and_tells_of_every_improvement(seed, share, warm):
    problem = wide(seed)
    start, told = random_schedule(problem, seed, share), []
    before = start.value()
    found = Improver(problem, seed, never).anneal(
        start, effort=100, warm=warm, found=lambda best: told.append(best.value())
    )
    assert start.value() == before
    assert found.value() <= before
    assert told == sorted(told, reverse=True)
    assert (told[-1] if told else before) == found.value()
    assert not broken(found)


@seeds
def test_anneal_finds_the_optimum_of_small_problems(seed):
    """From nothing at all, so that every kind of move has to do its part."""
    scenario = drawn_scenario(seed, tasks=2)
    optimum, _ = enumerate_optimum(scenario)
    problem = Problem(scenario=scenario)
    found = Improver(problem, 0, never).anneal(Schedule(problem), effort=2000, found=lambda _: None)
    assert found.objective() == pytest.approx(optimum, rel=CANCELLED)


def test_anneal_takes_the_same_way_each_time():
    problem = wide(3)
    found = [
        Improver(problem, 7, never).anneal(Schedule(problem), effort=50, found=lambda _: None)
        for _ in range(2)
    ]
    assert found[0].batch == found[1].batch


def test_anneal_is_cold_when_its_time_is_up():
    problem = wide(0)
    improver = Improver(problem, 0, never)
    improver.anneal(Schedule(problem), effort=1, found=lambda _: None)
    began = time.perf_counter()
    found = improver.anneal(Schedule(problem), effort=10**9, found=lambda _: None, seconds=0.5)
    assert time.perf_counter() - began < 5.0
    assert np.isfinite(found.objective())


@seeds
def test_round_keeps_every_limit_at_any_wish(seed):
    problem, rng = wide(seed), np.random.default_rng(seed)
    improver = Improver(problem, seed, never)
    for _ in range(4):
        wish = rng.random(len(problem.columns)) * (rng.random(len(problem.columns)) < 0.3)
        assert not broken(improver.round(wish, prices(problem, int(rng.integers(1000)))))


@seeds
def test_round_takes_a_plan_it_is_told(seed):
    """At an integer wish and the plan's own slopes, rounding is no worse than greedy insertion."""
    problem = Problem(
        scenario=drawn_scenario(seed, tasks=1, **{"network.uplink_capacity": [2] * 3})
    )
    _, plan = enumerate_optimum(problem.scenario)
    if plan is None:
        pytest.skip("this draw has no plan")
    wish = np.zeros(len(problem.columns))
    wish[problem.columns.locate(plan.sessions)] = 1.0
    best = Schedule.from_sessions(problem, plan.sessions)
    slope = problem.scenario.tasks.weight / best.progress
    zero = prices(problem, 0)
    told = Prices(
        numerator=slope, progress=slope * best.numerator / best.progress,
        uplink=0 * zero.uplink, step_cap=0 * zero.step_cap, energy=0 * zero.energy,
    )  # fmt: skip
    found = Improver(problem, 0, never).round(wish, told)
    assert not broken(found)
    assert found.objective() <= 1.3 * plan.objective


@seeds
def test_replan_gives_an_idle_device_a_plan_within_its_budget(seed):
    problem = wide(seed, **{"devices.energy_budget_j": [0.03, 0.02, 0.04], "energy_weight": 0.0})
    improver, best = Improver(problem, seed, never), random_schedule(problem, seed)
    for device in range(3):
        idle = best.copy()
        idle.withdraw_device(device)
        alone = idle.value()
        improver.replan(idle, device, best)
        assert idle.value() <= alone
        assert not broken(idle)


@seeds
def test_resize_never_worsens(seed):
    problem = wide(seed)
    start = random_schedule(problem, seed)
    found = Improver(problem, seed, never).resize(start)
    assert found.value() <= start.value()
    assert not broken(found)


def test_search_stops_when_told():
    problem = wide(0)
    start = random_schedule(problem, 0)
    improver = Improver(problem, 0, lambda: True)
    assert improver.descend(start).value() == start.value()
    assert improver.anneal(start, effort=50, found=pytest.fail).value() == start.value()
    assert improver.resize(start).value() == start.value()


def test_search_on_an_unreachable_fleet_is_empty():
    problem = Problem(scenario=plain_scenario(**{"network.available": [[False, False]] * 3}))
    improver = Improver(problem, 0, never)
    found = improver.anneal(improver.descend(Schedule(problem)), effort=3, found=pytest.fail)
    assert not found.batch


@pytest.mark.parametrize("seed", [506, 509, 513, 520, 540, 555])
def test_search_swaps_tasks_that_share_a_dear_slot(seed):
    """Energy is all that counts and greedy insertion gives the cheap slot to the wrong task."""
    scenario = drawn_scenario(seed, tasks=2, energy_weight=1e6)
    optimum, _ = enumerate_optimum(scenario)
    problem = Problem(scenario=scenario)
    improver, schedule = Improver(problem, 0, never), Schedule(problem)
    fill(schedule)
    greedy = schedule.objective()
    found = improver.anneal(schedule, effort=2000, found=lambda _: None)
    assert found.objective() <= optimum * (1 + NEAR_OPTIMAL)
    assert found.objective() < greedy
