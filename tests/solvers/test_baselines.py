"""Each baseline keeps its own rule, besides what every backend owes."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from plain_terms import Facts
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import CANCELLED

import mafl_opt as mo
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.schedule import Schedule

#: Uplinks for all and budgets that last, so that the rules alone decide.
FREE = {
    "network.uplink_capacity": [4] * 6,
    "devices.energy_budget_j": [9.0] * 4,
    "network.available": [[True] * 4] * 6,
    "tasks.step_cap": [0.08, 0.08],
    "tasks.iterations_max": [4, 3],
    "tasks.batch_max": [8, 6],
}


def roomy(seed, **changes):
    return drawn_scenario(seed, devices=4, tasks=2, slots=6, **{**FREE, **changes})


seeds = pytest.mark.parametrize("seed", range(6))


# -- fedavg ----------------------------------------------------------------------------------


@seeds
def test_fedavg_is_synchronous_with_the_tasks_in_turn(seed):
    for s in (roomy(seed), drawn_scenario(seed, devices=4, tasks=3, slots=7)):
        plan = mo.solve(s, "fedavg")
        assert (plan.sessions.staleness == 0).all()
        turn = plan.sessions.receive % s.num_tasks
        assert plan.sessions.task.tolist() == turn.tolist()


@seeds
def test_fedavg_gives_everybody_in_a_round_the_same_iterations(seed):
    rounds = defaultdict(set)
    for row in mo.solve(roomy(seed), "fedavg").sessions.rows():
        rounds[row["upload"]].add(row["iterations"])
    assert rounds
    assert all(len(counts) == 1 for counts in rounds.values())


@seeds
def test_fedavg_takes_all_that_can_where_nothing_is_short(seed):
    s = roomy(seed)
    plan = mo.solve(s, "fedavg")
    c, facts = Problem(scenario=s).columns, Facts.of(s)
    for g, rows in itertools.groupby(
        sorted(plan.sessions.rows(), key=lambda row: row["upload"]), lambda row: row["upload"]
    ):
        rows = list(rows)
        task, count = rows[0]["task"], rows[0]["iterations"]
        able = (c.receive == g - 1) & (c.upload == g) & (c.task == task)
        able &= c.iterations == count
        steps = sum(facts.step(i, task, 0) * facts.steps_sum(task, count) for i in c.device[able])
        if steps <= s.tasks.step_cap[task]:
            assert {row["device"] for row in rows} == set(c.device[able].tolist())


def test_fedavg_serves_devices_in_turn_where_uplinks_are_short():
    s = roomy(
        0, **{"network.uplink_capacity": [2] * 6, "devices.f_max_hz": [3e9] * 4,
              "network.gain": [[3e-12] * 4] * 6, "network.downlink_bps": [[1e7] * 4] * 6},
    )  # fmt: skip
    plan = mo.solve(s, "fedavg")
    times = Counter(plan.sessions.device.tolist())
    assert set(times) == {0, 1, 2, 3}
    assert max(times.values()) - min(times.values()) <= 1


# -- fedasync --------------------------------------------------------------------------------


@seeds
def test_fedasync_never_waits_between_sessions(seed):
    """From one upload to the next a device idles only where its session did not fit."""
    s = roomy(seed)
    plan = mo.solve(s, "fedasync")
    assert len(plan.sessions)
    for i in range(s.num_devices):
        mine = [row for row in plan.sessions.sorted().rows() if row["device"] == i]
        for before, after in itertools.pairwise(mine):
            if after["receive"] != before["upload"]:
                # It gave up on a task in between: the whole staleness bound went by.
                waited = after["receive"] - before["upload"]
                assert waited > s.tasks.staleness_max.min()


@seeds
def test_fedasync_uploads_as_soon_as_it_is_ready(seed):
    s = roomy(seed)
    plan = mo.solve(s, "fedasync")
    columns = Problem(scenario=s).columns
    for row in plan.sessions.rows():
        for earlier in range(row["receive"] + 1, row["upload"]):
            same = (columns.device == row["device"]) & (columns.task == row["task"])
            same &= (columns.receive == row["receive"]) & (columns.upload == earlier)
            same &= columns.iterations == row["iterations"]
            assert not (columns.batch_hi[same] >= row["batch_size"]).any()


@seeds
def test_fedasync_uploads_whole_batches_of_one_size(seed):
    """Ready means that the whole batch is done; nothing is cut to meet an aggregation."""
    s = roomy(seed, **{"devices.f_max_hz": [2e8] * 4, "energy_weight": 0.0})
    rows = mo.solve(s, "fedasync").sessions.rows()
    assert rows
    limits = [
        min(s.tasks.batch_max[r["task"]], s.pairs.samples[r["device"], r["task"]]) for r in rows
    ]
    size = max(row["batch_size"] for row in rows)
    assert [row["batch_size"] for row in rows] == [min(size, limit) for limit in limits]


@seeds
def test_fedasync_takes_the_tasks_in_turn(seed):
    s = roomy(seed)
    for i in range(s.num_devices):
        rows = [r for r in mo.solve(s, "fedasync").sessions.sorted().rows() if r["device"] == i]
        for before, after in itertools.pairwise(rows):
            if after["receive"] == before["upload"]:
                assert after["task"] == (before["task"] + 1) % s.num_tasks


def test_fedasync_staleness_falls_where_a_device_is_slow():
    slow = {"devices.f_max_hz": [8e7, 3e9, 3e9, 3e9], "devices.f_min_hz": [5e7] * 4,
            "pairs.cycles_per_sample": [[6e7] * 2] * 4, "tasks.staleness_max": [5, 5],
            "time.slot_s": [1.0] * 6, "network.gain": [[3e-12] * 4] * 6}  # fmt: skip
    plan = mo.solve(roomy(1, **slow), "fedasync")
    tau = plan.sessions.staleness
    assert tau[plan.sessions.device == 0].min() >= 1
    assert (tau[plan.sessions.device != 0] == 0).any()


# -- random ----------------------------------------------------------------------------------


def test_random_seed_decides_the_plan():
    s = roomy(0)
    plans = [mo.solve(s, "random", seed=seed) for seed in (0, 0, 1, 2)]
    assert plans[0].sessions == plans[1].sessions
    assert plans[0].sessions != plans[2].sessions != plans[3].sessions


@seeds
def test_random_ends_when_nothing_fits(seed):
    problem = Problem(scenario=drawn_scenario(seed, devices=3, tasks=2, slots=4))
    plan = mo.solve(problem, "random", seed=seed)
    if plan.objective is None:
        return
    schedule = Schedule.from_sessions(problem, plan.sessions)
    assert not any(schedule.fits(k, 1) for k in range(len(problem.columns)))


def test_random_draws_batches_from_the_whole_range():
    s = roomy(0)
    sizes = [mo.solve(s, "random", seed=seed).sessions.batch_size for seed in range(8)]
    assert set(np.concatenate(sizes).tolist()) == set(range(1, 9))


# -- greedy ----------------------------------------------------------------------------------


@seeds
def test_greedy_ends_where_no_session_improves(seed):
    problem = Problem(scenario=drawn_scenario(seed, devices=3, tasks=2, slots=4))
    plan = mo.solve(problem, "greedy")
    if plan.objective is None:
        return
    schedule = Schedule.from_sessions(problem, plan.sessions)
    for k in range(len(problem.columns)):
        for batch in range(1, int(problem.columns.batch_hi[k]) + 1):
            if schedule.fits(k, batch):
                trial = schedule.copy()
                trial.insert(k, batch)
                assert trial.objective() >= plan.objective * (1 - CANCELLED)


def test_greedy_goes_on_from_a_start():
    s = roomy(2)
    start = mo.solve(s, "random", seed=4)
    plan = mo.solve(s, "greedy", start=start)
    assert plan.objective <= start.objective
    assert mo.check(s, plan).ok


def test_greedy_of_one_possible_session_takes_it():
    s = plain_scenario(
        **{
            "tasks.weight": [1.0, 0.0],
            "network.available": [[True, False], [False, False], [False, False]],
        }
    )
    rows = mo.solve(s, "greedy").sessions.rows()
    assert {(r["device"], r["receive"], r["upload"]) for r in rows} == {(0, 0, 1)}


@pytest.mark.parametrize("backend", ["greedy", "random"])
def test_interrupt_by_the_progress_keeps_the_plan(backend):
    def progress(message, fraction):
        raise KeyboardInterrupt

    s = roomy(0)
    plan = mo.solve(s, backend, progress=progress)
    assert plan.termination is mo.Termination.INTERRUPTED
    assert plan.point is mo.PointStatus.FEASIBLE
    assert mo.check(s, plan).ok


@pytest.mark.parametrize("backend", ["fedavg", "fedasync"])
def test_no_time_gives_no_plan_rather_than_a_bad_one(backend):
    plan = mo.solve(roomy(0), backend, time_limit=0)
    assert plan.termination is mo.Termination.TIME_LIMIT
    assert plan.point is mo.PointStatus.NONE
