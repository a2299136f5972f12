"""What backend `prices` has at once on a large fleet, and how its multipliers are looked for."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mafl_opt as mo
from mafl_opt.core.compiling import compiled
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.branching import verdict
from mafl_opt.solvers.prices import compilation
from mafl_opt.solvers.prices.cuts import far_cut
from mafl_opt.solvers.prices.fleet.arcs import Table
from mafl_opt.solvers.prices.fleet.arrays import fleet_of, tasks_of
from mafl_opt.solvers.prices.fleet.assignment import Assignment
from mafl_opt.solvers.prices.fleet.master import Master, worth
from mafl_opt.solvers.prices.fleet.opening import opening_plan
from mafl_opt.solvers.prices.fleet.ratio import Range, ratio_blocks


def opening_of(scenario):
    return opening_plan(fleet_of(scenario), np.arange(scenario.num_devices), tasks_of(scenario))


@pytest.mark.parametrize(
    ("devices", "tasks", "slots", "changes"),
    [
        (60, 3, 12, {}),
        (41, 8, 4, {}),
        (41, 12, 12, {}),
        (50, 2, 6, {"devices.energy_budget_j": lambda s: 0.1 * s.devices.energy_budget_j}),
        (50, 2, 6, {"network.uplink_capacity": lambda s: np.ones_like(s.network.uplink_capacity)}),
        (50, 2, 6, {"energy_weight": lambda _: 0.0}),
    ],
)
def test_first_plan_is_feasible_and_its_totals_are_its_own(devices, tasks, slots, changes):
    scenario = mo.Scenario.draw(devices=devices, tasks=tasks, slots=slots, seed=3)
    scenario = scenario.replace(**{name: change(scenario) for name, change in changes.items()})
    opening = opening_of(scenario)
    report = mo.check(scenario, mo.Plan(
        sessions=opening.sessions, backend="t", termination=mo.Termination.COMPLETED,
        point=mo.PointStatus.FEASIBLE,
    ))  # fmt: skip
    assert report.ok
    t = tasks_of(scenario)
    ratio = (t.start + opening.error) / opening.progress
    energy = t.energy_weight * np.sum(report.device_energy_j)
    assert t.weight @ ratio + energy == pytest.approx(report.objective, rel=1e-9)


def test_first_plan_is_had_without_the_compiler():
    code = (
        "import sys, numba\n"
        "def refuse(*args, **more): raise AssertionError('compiled')\n"
        "numba.core.dispatcher.Dispatcher.compile = refuse\n"
        "import mafl_opt as mo\n"
        "plan = mo.solve(mo.Scenario.draw(devices=70, seed=1), 'prices', time_limit=0.001)\n"
        "assert plan.point == 'FEASIBLE' and plan.termination == 'TIME_LIMIT', plan\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_compiling_ends_when_time_is_up_and_leaves_no_process(monkeypatch):
    started = []
    popen = subprocess.Popen

    def start(command, **more):
        started.append(popen([command[0], "-c", "import time; time.sleep(60)"], **more))
        return started[-1]

    monkeypatch.setattr(compilation, "is_compiled", lambda function: False)
    monkeypatch.setattr(compilation.subprocess, "Popen", start)
    times = iter([False, False, True])
    compilation.compile_ahead(lambda: next(times), "", None)
    assert [one.poll() is not None for one in started] == [True]


def test_functions_are_compiled_where_nothing_can_be_kept(monkeypatch):
    from numba.core import caching

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    twice = compiled()(lambda x: 2 * x)
    assert twice(4) == 8
    assert twice.stats.cache_path is None


@pytest.mark.parametrize(("devices", "tasks", "slots"), [(41, 8, 4), (41, 12, 12)])
def test_many_tasks_are_solved_with_a_gap(devices, tasks, slots):
    scenario = mo.Scenario.draw(devices=devices, tasks=tasks, slots=slots, seed=0)
    plan = mo.solve(scenario, "prices", time_limit=15, gap=0.05)
    assert plan.point is mo.PointStatus.FEASIBLE
    assert plan.gap is not None
    assert mo.check(scenario, plan, certificate=True).ok


def priced_master(scenario, seed, tables=4):
    """A master with answers of three groups to random tables, each group's plans being one of two.

    Returns it, the box, and the dual's value at any table.
    """
    t, random = tasks_of(scenario), np.random.default_rng(seed)
    most, slots = t.bits.size, t.capacity.size
    width = 1 + 2 * most + slots * (1 + most)
    share = np.full(most, 0.4) * 0.5 * slots * t.cap
    plans = random.uniform(0.2, 1.0, (3, 5, width)) * np.concatenate([
        [1.0], t.start * 0.05, share, t.capacity * 0.6, np.tile(t.cap * 0.6, slots)
    ])  # fmt: skip
    master = Master(t, 3, 10.0)

    def ask(table):
        cost = np.array([[worth(t, table, plan) for plan in group] for group in plans])
        best = plans[np.arange(3), cost.argmin(axis=1)]
        limits = (table.uplink @ t.capacity) + (table.step * t.cap).sum()
        return best, float(np.minimum(cost.min(axis=1), np.inf).sum() - limits) + float(
            table.error @ t.start
        )

    for _ in range(tables):
        table = Table(
            error=random.uniform(1, 5, most), progress=random.uniform(5, 50, most),
            uplink=random.uniform(0, 0.01, slots), step=random.uniform(0, 5, (slots, most)),
        )  # fmt: skip
        totals, value = ask(table)
        master.add(table, totals, value)
    box = Range(low=share / 2, high=share * 3, excess_low=t.start * 0.01 / share,
                excess_high=t.start / share)  # fmt: skip
    return t, master, box, ask


def test_trust_region_holds_the_multipliers_of_limits_near_its_centre():
    scenario = mo.Scenario.draw(devices=6, tasks=2, slots=4, seed=0)
    t, master, box, _ = priced_master(scenario, 1)
    _, centre = master.dual(box)
    for radius in (0.01, 0.1):
        near = master.solve(box, centre, radius).table
        reach = radius * 0.5 * centre.progress
        assert (np.abs(near.step - centre.step) <= reach + 1e-7).all()
        uplink = radius * (0.5 * centre.progress * t.cap).sum() / np.maximum(t.capacity, 1.0)
        assert (np.abs(near.uplink - centre.uplink) <= uplink + 1e-7).all()


@pytest.mark.parametrize("seed", range(3))
def test_dual_is_below_the_mixture_and_is_that_of_the_table_named(seed):
    scenario = mo.Scenario.draw(devices=6, tasks=2, slots=4, seed=0)
    t, master, box, ask = priced_master(scenario, seed)
    dual, table = master.dual(box)
    assert dual == pytest.approx(
        ask(table)[1] + ratio_blocks(t, table.error, table.progress, box), rel=1e-9
    )
    assert dual <= master.solve(box).value + 1e-9 * abs(dual)


def test_exchanges_keep_all_limits_and_never_raise_the_objective():
    scenario = mo.Scenario.draw(devices=60, tasks=2, slots=6, seed=4)
    fleet, t = fleet_of(scenario), tasks_of(scenario)
    opening = opening_of(scenario)
    progress = np.maximum(opening.progress, 1e-12)
    table = Table(
        error=t.weight / progress, progress=t.weight * (t.start + opening.error) / progress**2,
        uplink=np.zeros(6), step=np.full((6, 2), 0.1) * (t.weight * t.start / progress**2),
    )  # fmt: skip
    plan = Assignment(fleet, t, np.zeros(60), 1e-9)
    plan.sweep(table, stop=lambda: False)
    before = plan.objective
    plan.exchange(table, 0, aim=-np.inf, stop=lambda: False)
    assert plan.objective < before
    sessions = plan.sessions(np.arange(60))
    report = mo.check(scenario, mo.Plan(
        sessions=sessions, backend="t", termination=mo.Termination.COMPLETED,
        point=mo.PointStatus.FEASIBLE,
    ))  # fmt: skip
    assert report.ok
    assert report.objective == pytest.approx(plan.objective, rel=1e-9)


def test_search_that_gives_up_says_so_and_names_what_did():
    scenario = mo.Scenario.draw(devices=70, tasks=2, slots=4, seed=1)
    plan = mo.solve(scenario, "prices", gap=1e-7)
    assert plan.termination in (mo.Termination.STALLED, mo.Termination.OPTIMAL)
    assert plan.gap is not None
    if plan.termination is mo.Termination.STALLED:
        assert plan.trace[-1]["event"].startswith("stalled by ")
        assert plan.gap > 1e-7


def test_completed_is_never_the_verdict_on_a_bound():
    run = Run(
        problem=Problem(scenario=mo.Scenario.draw(devices=3, tasks=1, slots=3)), options=Options()
    )
    run.bound = 0.0
    assert verdict(run) is mo.Termination.STALLED


def test_time_limit_is_kept_with_derivation(tmp_path):
    scenario = mo.Scenario.draw(devices=70, tasks=3, slots=12, seed=2)
    mo.solve(scenario, "prices", time_limit=60, gap=0.5)
    plan = mo.solve(scenario, "prices", time_limit=3, gap=1e-6)
    assert plan.seconds <= 3.3
    saved = tmp_path / "plan.json"
    plan.save(saved)
    assert json.loads(Path(saved).read_text())["termination"] in ("TIME_LIMIT", "STALLED")


def test_fleet_whose_data_do_not_differ_is_proved():
    """Without dissimilarity the range of the excess ratio begins at 0."""
    scenario = mo.Scenario.draw(devices=160, tasks=2, slots=5, seed=4)
    none = np.zeros_like(scenario.pairs.dissimilarity)
    scenario = scenario.replace(**{"pairs.dissimilarity": none, "pairs.gradient_drift": none})
    plan = mo.solve(scenario, "prices", gap=1e-3, time_limit=30)
    assert plan.termination is mo.Termination.GAP_REACHED
    assert mo.check(scenario, plan, certificate=True).certified_bound == plan.bound


def test_cuts_lie_inside_ranges_and_leave_the_point_room():
    assert far_cut([("a", 1.0, 16.0, 1.0), ("b", 1.0, 2.0, 1.5)]) == ("a", pytest.approx(2.0))
    kind, value = far_cut([("a", 0.0, 1.0, 0.5)])
    assert kind == "a" and 0.0 < value < 0.5
    assert far_cut([("a", 0.0, 0.0, 0.0), ("b", 1.0, 1.0, 1.0), ("c", 1.0, np.inf, 1.0)]) is None
