"""Reduced costs, boxes and mini-batches of the engine of small fleets against plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pattern_draws import drawn_counts, drawn_multipliers
from small_scenarios import drawn_scenario
from tolerances import CANCELLED, SAME_FORMULA

from mafl_opt.core.check import TOLERANCE
from mafl_opt.formulations.boxes import BoxRules
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.improve import fill
from mafl_opt.solvers.prices.patterns.batches import resized
from mafl_opt.solvers.prices.patterns.box import Box, block_minimum, cut, root_box, tighten
from mafl_opt.solvers.prices.patterns.sessions import Sessions
from mafl_opt.solvers.schedule import Schedule

seeded = settings(derandomize=True, deadline=None, max_examples=60)
seeds = st.integers(0, 2**32 - 1)


# -- reduced costs ------------------------------------------------------------------------------


@seeded
@given(seed=seeds, weight=st.sampled_from([0.0, 1e-9, 1.0, 1e6]))
def test_reduced_cost_is_the_least_over_all_mini_batches(seed, weight):
    rng = np.random.default_rng(seed)
    s = drawn_scenario(
        seed, tasks=2, **{"tasks.batch_max": [40, 7], "energy_weight": weight}
    )  # fmt: skip
    problem = Problem(scenario=s)
    c, sessions = problem.columns, Sessions.of(problem)
    if not len(c):
        return
    prices = drawn_multipliers(s, rng, 100.0, 0.5 * s.tasks.step_cap * rng.uniform(0.3, 2, 2))
    counts = drawn_counts(s, rng)
    object.__setattr__(prices, "counts", 20.0 * rng.normal(size=len(counts)))
    cost, batch = sessions.reduced_costs(prices, weight, counts)
    for n in rng.permutation(len(sessions))[:30].tolist():
        k = int(sessions.column[n])
        one, i, j = c.take(np.array([k])), c.device[k], c.task[k]
        paid = []
        for size in range(1, int(c.batch_hi[k]) + 1):
            value = prices.error[j] * one.error_at(np.array([size]))[0]
            value += (weight + prices.energy[i]) * one.energy(np.array([size]))[0]
            value += prices.uplink[c.upload[k] - 1] - prices.progress[j] * c.progress[k]
            value += prices.device_slot[i, c.receive[k] : c.upload[k]].sum()
            for count, price in zip(counts, prices.counts.tolist(), strict=True):
                fits = count.device in (None, i) and count.task in (None, j)
                fits = fits and count.upload in (None, c.upload[k])
                fits = fits and c.iterations[k] > count.iterations_above
                value += price * (fits and size > count.batch_above)
            paid.append(value)
        size = np.abs(paid).max() + prices.progress[j] * c.progress[k]
        assert cost[n] == pytest.approx(min(paid), abs=CANCELLED * size)
        assert paid[int(batch[n]) - 1] == pytest.approx(min(paid), abs=CANCELLED * size)


def test_sessions_are_sorted_into_blocks_and_leave_tasks_without_weight_out():
    problem = Problem(scenario=drawn_scenario(3, tasks=2, **{"tasks.weight": [0.0, 1.0]}))
    c = Sessions.of(problem)
    assert 0 < len(c) == (problem.columns.task == 1).sum()
    keys = list(zip(c.block.tolist(), c.device.tolist(), c.step.tolist(), strict=True))
    assert keys == sorted(keys)
    assert (c.block == (c.upload - 1) * 2 + c.task).all()


# -- boxes --------------------------------------------------------------------------------------


def drawn_box(rng, tasks):
    weight = 10.0 ** rng.uniform(-3, 3, tasks) * (rng.random(tasks) < 0.8)
    start = rng.uniform(0.1, 3.0, tasks) * (rng.random(tasks) < 0.9)
    most = 10.0 ** rng.uniform(-3, 1, tasks)
    rules = BoxRules(
        weight=weight, start=start, slope=np.where(weight > 0, rng.uniform(0, 3, tasks), 0.0),
        progress_least=np.where(weight > 0, 1e-3 * most, 0.0), progress_most=most,
        rest=np.zeros(tasks),
    )  # fmt: skip
    return rules, root_box(rules)


@seeded
@given(seed=seeds)
def test_tightened_box_keeps_all_better_points_and_no_worse_end(seed):
    rng = np.random.default_rng(seed)
    rules, box = drawn_box(rng, int(rng.integers(1, 4)))
    used = rules.weight > 0

    def objective(progress, excess):
        ratio = rules.start[used] / progress[..., used] + excess[..., used]
        return (rules.weight[used] * ratio).sum(axis=-1)

    points = rng.uniform(box.low, box.high, (400, used.size)), rules.slope + rng.exponential(
        size=(400, used.size)
    )  # fmt: skip
    values = objective(*points)
    top = float(np.quantile(values, 0.5))
    tight = tighten(rules, box, top)
    assert (tight.low >= box.low).all() and (tight.high <= box.high).all()
    assert (tight.excess_low >= box.excess_low).all()
    inside = (points[0] >= tight.low * (1 - CANCELLED)) & (points[0] <= tight.high)
    inside &= (points[1] >= tight.excess_low) & (points[1] <= tight.excess_high * (1 + CANCELLED))
    assert inside[values < top][:, used].all()
    # A moved end of A is as good as `top` with everything else at its best: no further in.
    for j in np.flatnonzero(used & (tight.low > box.low)).tolist():
        best = tight.high.copy()
        best[j] = tight.low[j]
        assert objective(best, tight.excess_low) == pytest.approx(top, rel=CANCELLED)
    for kind, ends in (("progress", (box.low, box.high)), ("excess", (tight.excess_low,) * 2)):
        at = 0.5 * (ends[0] + ends[1])[-1]
        low, high = cut(tight, kind, used.size - 1, float(at))
        assert not (low.low - tight.low).any() and not (high.high - tight.high).any()
        sides = (low.high, high.low) if kind == "progress" else (low.excess_high, high.excess_low)
        assert sides[0][-1] == sides[1][-1] == at


def test_box_without_better_points_is_empty():
    rules, box = drawn_box(np.random.default_rng(0), 2)
    floor = float(rules.weight @ (rules.start / rules.progress_most + rules.slope))
    assert floor > 0 and not tighten(rules, box, 1.01 * floor).empty
    assert tighten(rules, box, 0.99 * floor).empty
    assert Box(
        low=box.low, high=box.high, excess_low=box.excess_low, excess_high=box.excess_high,
        counts={None: (2, 1)},
    ).empty  # fmt: skip


@seeded
@given(seed=seeds)
def test_block_minimum_is_below_a_grid_and_near_it(seed):
    rng = np.random.default_rng(seed)
    weight, start = 10.0 ** rng.uniform(-2, 2), rng.uniform(0, 2) * (rng.random() < 0.9)
    high = 10.0 ** rng.uniform(-3, 1)
    low = high * rng.uniform(0.1, 1)
    excess = np.sort(rng.uniform(0.0, 3.0, 2))
    error, progress = rng.uniform(0, 2, 2) * (weight / high, weight * (start / high + 1) / high)
    value = block_minimum(weight, start, (low, high), tuple(excess), error, progress)
    a, y = np.meshgrid(np.linspace(low, high, 400), np.linspace(*excess, 400))
    terms = weight * (start / a + y) - error * y * a + progress * a
    size = np.abs(terms).max() + progress * high
    assert value <= terms.min() + CANCELLED * size
    # A grid of 400 misses the minimum by about as much as its step moves the terms.
    assert value >= terms.min() - 0.02 * size


# -- mini-batches -------------------------------------------------------------------------------


@seeded
@given(seed=seeds, tight=st.booleans())
def test_mini_batches_are_the_best_of_all_within_the_budgets(seed, tight):
    rng = np.random.default_rng(seed)
    budget = [9.0, 9.0] if not tight else rng.uniform(0.02, 0.15, 2).tolist()
    problem = Problem(scenario=drawn_scenario(seed, tasks=2, **{
        "tasks.batch_max": [12, 12], "devices.energy_budget_j": budget,
    }))  # fmt: skip
    schedule, c = Schedule(problem), problem.columns
    if not len(c):
        return
    fill(schedule)
    for k in list(schedule.batch):
        schedule.withdraw(k)
        schedule.insert(k, 1)
    if not np.isfinite(schedule.objective()):
        return
    found = resized(schedule)
    assert set(found.batch) == set(schedule.batch)
    assert found.objective() <= schedule.objective()
    chosen = list(schedule.batch)
    for i in np.unique(c.device[chosen]).tolist():
        mine = np.array([k for k in chosen if c.device[k] == i])
        own = c.take(mine)
        grid = np.array(list(itertools.product(*(range(1, n + 1) for n in own.batch_hi))))
        energy = np.array([own.energy(row).sum() for row in grid])
        pull = problem.scenario.tasks.weight[own.task] / schedule.progress[own.task] * own.noise
        value = problem.scenario.energy_weight * energy + (pull / grid).sum(axis=1)
        limit = problem.scenario.devices.energy_budget_j[i] * (1 + TOLERANCE)
        best = value[energy <= limit].min()
        sizes = np.array([found.batch[int(k)] for k in mine])
        assert own.energy(sizes).sum() <= limit
        mine_value = problem.scenario.energy_weight * own.energy(sizes).sum() + (pull / sizes).sum()
        if tight:
            # Exchanges of one for one miss the best once in some hundred draws, by 1e-5.
            assert mine_value <= best + 1e-4 * schedule.objective()
        else:
            assert mine_value == pytest.approx(best, rel=SAME_FORMULA)
