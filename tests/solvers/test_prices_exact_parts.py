"""Device programs within budgets, knapsack cuts and ratio blocks against plain enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_scenarios import drawn_scenario
from tolerances import CANCELLED

from mafl_opt.formulations.boxes import box_rules
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.prices.exact.frontiers import frontier
from mafl_opt.solvers.prices.exact.knapsack import cap_rows, most_value, separate
from mafl_opt.solvers.prices.exact.oracle import DeviceSplit, Oracle
from mafl_opt.solvers.prices.exact.ratios import RatioBox, block_minimum
from mafl_opt.solvers.prices.exact.tariff import Tariff

seeded = settings(derandomize=True, deadline=None, max_examples=25)


def drawn_tariff(problem: Problem, rng: np.random.Generator) -> Tariff:
    """Prices of a likely size, some of them 0."""
    s, c = problem.scenario, problem.columns
    size = s.tasks.weight * s.tasks.initial_gap / (s.tasks.step_cap * s.num_slots / 4) ** 2

    def some(*shape: int) -> np.ndarray:
        return rng.uniform(0, 1, shape) * (rng.random(shape) < 0.6)

    return Tariff(
        numerator=size * s.tasks.step_cap * some(s.num_tasks), progress=size * some(s.num_tasks),
        uplink=0.1 * some(s.num_slots), step=0.2 * size * some(s.num_slots, s.num_tasks),
        session=0.05 * some(len(c)), earned=np.zeros(1),
    )  # fmt: skip


def plans_of(oracle: Oracle, device: int, splits: tuple[DeviceSplit, ...]):
    """All plans of a device within its budget that keep to the splits, by plain recursion."""
    o, c = oracle.choices, oracle.columns
    own = np.flatnonzero(c.device[o.column] == device)
    receive, upload = c.receive[o.column], c.upload[o.column]

    def extend(g: int):
        yield ()
        for k in own[receive[own] >= g]:
            for rest in extend(int(upload[k])):
                yield (int(k), *rest)

    budget = oracle.problem.scenario.devices.energy_budget_j[device]
    for plan in extend(0):
        if o.energy[list(plan)].sum() > budget:
            continue
        fine = True
        for split in splits:
            over = [k for k in plan if receive[k] < split.slot <= upload[k]]
            value = max((int(oracle.attribute(split.attribute)[k]) for k in over), default=-1)
            fine &= value > split.at if split.high else value <= split.at
        if fine:
            yield plan


def some_splits(problem: Problem, rng: np.random.Generator, device: int):
    """Return a few splits of one device."""
    names = ("task", "receive", "upload", "iterations", "batch_size")
    return tuple(
        DeviceSplit(device, int(rng.integers(1, problem.scenario.num_slots + 1)),
                    str(rng.choice(names)), int(rng.integers(-1, 3)), bool(rng.integers(2)))
        for _ in range(rng.integers(0, 3))
    )  # fmt: skip


@seeded
@given(st.integers(0, 10_000))
def test_device_program_is_the_cheapest_plan_within_the_budget(seed):
    rng = np.random.default_rng(seed)
    problem = Problem(scenario=drawn_scenario(seed, devices=2, tasks=1, slots=3))
    if not len(problem.columns):
        return
    budget = np.array(problem.scenario.devices.energy_budget_j) * rng.uniform(0.3, 1.0, 2)
    problem = Problem(scenario=problem.scenario.replace(**{"devices.energy_budget_j": budget}))
    if not len(problem.columns):
        return
    oracle, tariff = Oracle(problem), drawn_tariff(problem, rng)
    splits = some_splits(problem, rng, 0)
    cost = oracle.costs(tariff)
    answer = oracle.ask(tariff, oracle.limits(splits))
    for device, own in ((0, splits), (1, ())):
        values = [cost[list(plan)].sum() for plan in plans_of(oracle, device, own)]
        least = min(values, default=np.inf)
        assert answer.value[device] == pytest.approx(least, rel=CANCELLED, abs=CANCELLED)
        for owner, plan in answer.plans:
            if owner == device:
                assert set(plan) in [set(p) for p in plans_of(oracle, device, own)]


@seeded
@given(st.integers(0, 10_000))
def test_slack_is_what_a_choice_costs_at_least(seed):
    rng = np.random.default_rng(seed)
    problem = Problem(scenario=drawn_scenario(seed, devices=1, tasks=1, slots=3))
    if not len(problem.columns):
        return
    oracle, tariff = Oracle(problem), drawn_tariff(problem, rng)
    cost, answer = oracle.costs(tariff), oracle.ask(tariff, oracle.free)
    slack = oracle.slacks(tariff, oracle.free, answer)
    for plan in plans_of(oracle, 0, ()):
        value = cost[list(plan)].sum() - answer.value[0]
        for k in plan:
            assert slack[k] <= value + CANCELLED * (1 + abs(cost[list(plan)]).sum())


def items(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A small multiple-choice knapsack: steps by rising size, values, groups."""
    sizes = rng.integers(1, 4, rng.integers(1, 5))
    steps = [np.sort(rng.uniform(0.05, 0.9, n)) for n in sizes]
    group = np.append(0, np.cumsum(sizes))
    return np.concatenate(steps), rng.uniform(0, 1, group[-1]), group


@seeded
@given(st.integers(0, 10_000))
def test_frontier_ends_at_the_best_pattern(seed):
    step, value, group = items(np.random.default_rng(seed))
    choices = [(None, *range(a, b)) for a, b in itertools.pairwise(group.tolist())]
    best = max(
        sum(value[k] for k in pattern if k is not None)
        for pattern in itertools.product(*choices)
        if sum(step[k] for k in pattern if k is not None) <= 1.0
    )
    at, worth = frontier(step, value, group, -1, 1.0)
    assert worth[-1] == pytest.approx(best)
    assert (np.diff(at) > 0).all()
    assert (np.diff(worth) > 0).all()


@seeded
@given(st.integers(0, 10_000))
def test_cut_holds_for_every_pattern_and_cuts_the_point_off(seed):
    rng = np.random.default_rng(seed)
    problem = Problem(scenario=drawn_scenario(seed % 50, devices=4, tasks=1, slots=2))
    for index, row in enumerate(cap_rows(problem)):
        # A point of the linear relaxation: shares of the cap, at most one session a device.
        x = np.zeros(row.columns.size)
        for a, b in itertools.pairwise(row.group.tolist()):
            x[rng.integers(a, b)] = rng.uniform(0.3, 1.0)
        x /= max(1.0, float(row.step @ x))
        found = separate(row, index, x)
        if found is None:
            continue
        value = np.zeros(row.columns.size)
        value[np.searchsorted(row.columns, found.columns, sorter=np.argsort(row.columns))] = 0.0
        where = {int(k): n for n, k in enumerate(row.columns)}
        for k, coefficient in zip(found.columns, found.coefficient, strict=True):
            value[where[int(k)]] = coefficient
        assert most_value(row, value) <= 1.0 + CANCELLED
        assert value @ x > 1.0


@seeded
@given(st.integers(0, 10_000))
def test_block_minimum_is_attained_and_below_a_grid(seed):
    rng = np.random.default_rng(seed)
    problem = Problem(scenario=drawn_scenario(3))
    rules = box_rules(problem)
    high = float(rules.progress_most[0])
    low = float(rng.uniform(0.2, 0.9)) * high
    floor = rules.start[0] / high + rules.slope[0]
    ends = np.sort(rng.uniform(0.1, 2.0, 2)) * floor
    box = RatioBox(
        progress_min=np.array([low]), progress_max=np.array([high]),
        excess_min=ends[:1], excess_max=ends[1:],
    )  # fmt: skip
    lam, mu = rng.uniform(0, 2, 2) * (rules.weight[0] / high, rules.weight[0] * floor / high)
    value = block_minimum(rules, box, 0, lam, mu)
    a, y = np.meshgrid(np.linspace(low, high, 200), np.linspace(*ends, 200))
    xi = rules.start[0] / a + y
    terms = rules.weight[0] * xi - lam * xi * a + mu * a
    size = rules.weight[0] * xi.max() + (lam * xi.max() + mu) * high
    assert value <= terms.min() + CANCELLED * size
    # A grid of 200 misses the minimum by about as much as its step moves the terms.
    assert value >= terms.min() - 0.03 * size
