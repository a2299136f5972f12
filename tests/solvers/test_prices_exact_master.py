"""Pool, master and dives of the branching part of backend prices."""

from __future__ import annotations

import numpy as np
import pytest
from test_prices_exact_parts import drawn_tariff, some_splits
from tolerances import CANCELLED

import mafl_opt as mo
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.improve import fill
from mafl_opt.solvers.prices.exact.dive import dive
from mafl_opt.solvers.prices.exact.master import Master
from mafl_opt.solvers.prices.exact.node import Effort, generate
from mafl_opt.solvers.prices.exact.oracle import DeviceSplit, Oracle
from mafl_opt.solvers.prices.exact.pool import Pool
from mafl_opt.solvers.prices.exact.ratios import root_box
from mafl_opt.solvers.prices.exact.tariff import Tariff
from mafl_opt.solvers.schedule import Schedule


@pytest.fixture(scope="module")
def fleet():
    return Problem(scenario=mo.Scenario.draw(devices=5, tasks=2, slots=5, seed=1))


def filled_pool(problem, rng):
    """A pool with the plans of a few random tariffs."""
    oracle = Oracle(problem)
    pool = Pool(oracle)
    plans = [
        plan for _ in range(6) for plan in oracle.ask(drawn_tariff(problem, rng), oracle.free).plans
    ]
    assert pool.add(plans) == len(set(plans)) == len(pool)
    assert pool.add(plans) == 0
    return oracle, pool, list(dict.fromkeys(plans))


def test_pool_adds_up_what_its_plans_hold(fleet):
    rng = np.random.default_rng(0)
    oracle, pool, plans = filled_pool(fleet, rng)
    s, c, o = fleet.scenario, fleet.columns, oracle.choices
    assert len(plans) > 8
    for n, (device, chosen) in enumerate(plans):
        at = [int(o.column[k]) for k in chosen]
        assert pool.device[n] == device
        assert pool.energy[n] == pytest.approx(sum(o.energy[k] for k in chosen))
        for j in range(s.num_tasks):
            mine = [(k, a) for k, a in zip(chosen, at, strict=True) if c.task[a] == j]
            assert pool.error[n, j] == pytest.approx(sum(o.error[k] for k, _ in mine))
            assert pool.progress[n, j] == pytest.approx(sum(c.progress[a] for _, a in mine))
            for g in range(1, s.num_slots + 1):
                step = sum(c.step[a] for _, a in mine if c.upload[a] == g) / s.tasks.step_cap[j]
                place = s.num_slots + (g - 1) * s.num_tasks + j
                assert pool.shared[n, place] == pytest.approx(step)
        for g in range(1, s.num_slots + 1):
            assert pool.shared[n, g - 1] == sum(c.upload[a] == g for a in at)


def test_pool_bars_the_plans_that_break_a_split(fleet):
    rng = np.random.default_rng(1)
    oracle, pool, plans = filled_pool(fleet, rng)
    seen = set()
    for _ in range(40):
        splits = some_splits(fleet, rng, int(rng.integers(fleet.scenario.num_devices)))
        barred = pool.barred(oracle.limits(splits))
        for n, (device, chosen) in enumerate(plans):
            kept = True
            for split in splits:
                if split.device != device:
                    continue
                c, at = fleet.columns, oracle.choices.column
                over = [k for k in chosen if c.receive[at[k]] < split.slot <= c.upload[at[k]]]
                value = oracle.attribute(split.attribute)[over[0]] if over else -1
                kept &= bool(value > split.at) == split.high
            assert barred[n] != kept
            seen.add(kept)
    assert seen == {False, True}


def test_pool_that_forgets_keeps_the_rest_in_order(fleet):
    rng = np.random.default_rng(2)
    oracle, pool, plans = filled_pool(fleet, rng)
    which = np.arange(1, len(plans), 2)
    energy, cost = pool.energy[which], rng.uniform(size=oracle.choices.column.size)
    value = pool.values(cost)[which]
    pool.keep(which)
    assert pool.energy.tolist() == energy.tolist()
    assert pool.values(cost) == pytest.approx(value)
    assert pool.add(plans) == len(plans) - which.size


def test_program_kept_from_node_to_node_is_that_of_the_node(fleet):
    """A node's value does not depend on which nodes were worked on before."""
    plan = mo.solve(fleet, "greedy")
    oracle = Oracle(fleet)
    box = root_box(oracle.rules, plan.objective)
    middle = 0.5 * (box.progress_min[0] + box.progress_max[0])
    nothing, effort = Tariff.nothing(fleet), Effort(rounds=0, iterations=300)
    splits = (DeviceSplit(1, 3, "task", -1, True), DeviceSplit(2, 2, "task", 0, False))

    def value(master, part, limits):
        bound, _, point = generate(
            master, limits, part, nothing, np.inf, effort, lambda: False
        )  # fmt: skip
        assert point is not None
        assert bound == pytest.approx(point.value, rel=1e-4)
        return bound

    kept = Master(oracle, box, plan.objective)
    nodes = [(part, limits) for part in (box, *box.cut("progress", 0, middle))
             for limits in (oracle.free, oracle.limits(splits))]  # fmt: skip
    for part, limits in [*nodes, *reversed(nodes)]:
        fresh = value(Master(oracle, box, plan.objective), part, limits)
        assert value(kept, part, limits) == pytest.approx(fresh, rel=1e-4)


def test_dive_ends_in_plans_that_keep_all_limits(fleet):
    plan = mo.solve(fleet, "greedy")
    oracle = Oracle(fleet)
    box = root_box(oracle.rules, plan.objective)
    master = Master(oracle, box, plan.objective)
    _, _, point = generate(
        master, oracle.free, box, Tariff.nothing(fleet), np.inf, Effort(rounds=2, iterations=200),
        lambda: False,
    )  # fmt: skip
    chosen = dive(master, point, oracle.free, lambda: False)
    schedule = Schedule(fleet)
    for k in chosen:
        column, batch = int(oracle.choices.column[k]), int(oracle.choices.batch[k])
        assert schedule.fits(column, batch)
        schedule.insert(column, batch)
    fill(schedule)
    # What prices leave over is little, and the whole better than what greedy finds.
    assert point.value < schedule.objective() < plan.objective


def test_settled_tariff_gives_at_least_the_bound_it_is_said_to_give(fleet):
    rng = np.random.default_rng(3)
    plan = mo.solve(fleet, "greedy")
    oracle = Oracle(fleet)
    box = root_box(oracle.rules, plan.objective)
    master = Master(oracle, box, plan.objective)
    _, tariff, _ = generate(
        master, oracle.free, box, Tariff.nothing(fleet), np.inf, Effort(rounds=4, iterations=200),
        lambda: False,
    )  # fmt: skip
    assert (tariff.session > 0).any()
    for _ in range(10):
        other = tariff.blend(Tariff.nothing(fleet), float(rng.uniform(0, 0.3)))
        for target in (np.inf, 1.00002 * oracle.bound(other, oracle.free, box, exact=False)[0]):
            short, bound = oracle.settled(other, oracle.free, box, target)
            exact = oracle.bound(short, oracle.free, box)[0]
            assert bound <= exact + CANCELLED * abs(exact)
            assert (short.session > 0).sum() <= (other.session > 0).sum()
