"""Slots as wholes, each device in one session: against all ways to deal devices to tasks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tolerances import ROUNDED_DOWN

from mafl_opt.core.proof import slots, solutions
from mafl_opt.core.proof.budgets import bracket, sharpen
from mafl_opt.core.proof.knapsacks import Items, Knapsacks
from mafl_opt.core.proof.slots import Slots

TASKS, DEVICES = 3, 5


def drawn_items(seed, count=2, devices=DEVICES, gains=(0.1, 3.0)):
    rng = np.random.default_rng(seed)
    rows = [
        (cap, device, rng.uniform(0.1, 1.0), rng.uniform(*gains))
        for cap in range(count * TASKS)
        for device in range(devices)
        for _ in range(int(rng.integers(0, 3)))
    ]
    cap, device, step, charge = (np.array(column) for column in zip(*rows, strict=True))
    budget = rng.uniform(0.2, 2.0, count * TASKS)
    return Items(cap=cap, device=device, step=step, charge=charge), budget


def best_charge(items, cap, budget, devices):
    """The most that sessions of these devices within the cap are charged."""
    mine = np.flatnonzero(items.cap == cap)
    choices = [[None, *mine[items.device[mine] == device]] for device in devices]
    best = 0.0
    for chosen in itertools.product(*choices):
        rows = [row for row in chosen if row is not None]
        if items.step[rows].sum() <= budget:
            best = max(best, float(items.charge[rows].sum()))
    return best


def most_charged(items, budget, slot):
    """The most over all ways to deal the devices to the tasks."""
    most = {
        (j, devices): best_charge(items, slot * TASKS + j, budget[slot * TASKS + j], devices)
        for j in range(TASKS)
        for size in range(DEVICES + 1)
        for devices in itertools.combinations(range(DEVICES), size)
    }
    return max(
        sum(most[j, tuple(np.flatnonzero(np.array(dealt) == j).tolist())] for j in range(TASKS))
        for dealt in itertools.product(range(TASKS), repeat=DEVICES)
    )


def apart(knapsacks):
    """Least costs with each task by itself, (slots,)."""
    found = bracket(knapsacks, np.zeros(knapsacks.budget.size), 1e-12)
    return sharpen(knapsacks, found, 1e-12).reshape(-1, TASKS).sum(axis=1)


@pytest.mark.parametrize("seed", range(15))
def test_least_cost_is_that_of_trying_all_ways_to_deal_the_devices(seed):
    # Some draws with charges that are all alike, so that there are many best sets.
    items, budget = drawn_items(seed, gains=(1.0, 1.0) if seed % 3 == 0 else (0.1, 3.0))
    knapsacks = Knapsacks.of(items, budget)
    least = Slots(knapsacks, TASKS, 1e-12).least()
    for slot in range(2):
        true = -most_charged(items, budget, slot)
        assert least[slot] <= true
        assert least[slot] == pytest.approx(true, rel=ROUNDED_DOWN)
        assert apart(knapsacks)[slot] <= least[slot]


def test_branchings_matter_and_running_out_of_them_costs_tightness_only(monkeypatch):
    items, budget = drawn_items(5, count=20, devices=8)
    knapsacks = Knapsacks.of(items, budget)
    exact, alone = Slots(knapsacks, TASKS, 1e-12).least(), apart(knapsacks)
    assert (exact > alone * (1 - ROUNDED_DOWN)).sum() > 10
    before = alone
    for few in (0, 1, 3):
        monkeypatch.setattr(slots, "_BRANCHINGS", few)
        least = Slots(knapsacks, TASKS, 1e-12).least()
        assert (least <= exact * (1 - 1e-12)).all()
        assert (least >= before * (1 + 1e-12)).all()
        if few == 0:
            np.testing.assert_allclose(least, alone, rtol=ROUNDED_DOWN)
        before = least
    assert before.sum() > alone.sum() * (1 - ROUNDED_DOWN)


def test_too_few_labels_cost_tightness_only(monkeypatch):
    items, budget = drawn_items(5, count=20, devices=8)
    knapsacks = Knapsacks.of(items, budget)
    exact = Slots(knapsacks, TASKS, 1e-12).least()
    monkeypatch.setattr(solutions, "_LABELS", 1)
    least = Slots(knapsacks, TASKS, 1e-12).least()
    assert (least <= exact * (1 - 1e-12)).all()
    assert (least >= apart(knapsacks) * (1 + 1e-12)).all()


@pytest.mark.parametrize("tolerance", [1e-12, 0.05])
def test_solutions_keep_the_budget_and_cost_the_least(tolerance):
    items, budget = drawn_items(7, count=20, devices=8)
    knapsacks = Knapsacks.of(items, budget)
    found = bracket(knapsacks, np.zeros(budget.size), tolerance)
    least = sharpen(knapsacks, found, tolerance)
    chosen = solutions.solutions(knapsacks, found, least, tolerance)
    arc = knapsacks.arc[chosen]
    assert np.unique(arc).size == arc.size
    owner = knapsacks.owner[arc]
    used = np.bincount(owner, weights=knapsacks.use[chosen], minlength=budget.size)
    cost = np.bincount(owner, weights=knapsacks.cost[chosen], minlength=budget.size)
    assert (used <= budget).all()
    assert (cost >= least * (1 + 1e-12)).all()
    assert (cost <= least + tolerance + ROUNDED_DOWN).all()


def test_knapsacks_without_devices_are_those_of_the_others():
    items, budget = drawn_items(2)
    knapsacks = Knapsacks.of(items, budget)
    barred = [{0}, {1, 2}, set(), {4}, {0, 1, 2, 3, 4}, {99}]
    some = knapsacks.without(barred)
    least = sharpen(some, bracket(some, np.zeros(6), 0.0), 0.0)
    for cap, out in enumerate(barred):
        rest = [device for device in range(DEVICES) if device not in out]
        assert -least[cap] == pytest.approx(
            best_charge(items, cap, budget[cap], rest), rel=ROUNDED_DOWN
        )


def test_a_device_may_go_to_a_task_that_did_not_hold_it():
    # Tasks 0 and 1 hold device 0, but each has another nearly as good; task 2, which holds device 1
    # at first, is left with device 0 when task 0 keeps device 1.
    rows = [
        (0, 0, 2.0, 3.0), (0, 1, 1.0, 2.5), (0, 2, 2.0, 2.9),
        (1, 0, 1.0, 3.0), (1, 3, 1.0, 2.9),
        (2, 0, 1.0, 1.5), (2, 1, 1.0, 2.0),
    ]  # fmt: skip
    cap, device, step, charge = (np.array(column) for column in zip(*rows, strict=True))
    items = Items(cap=cap, device=device, step=step, charge=charge)
    least = Slots(Knapsacks.of(items, np.array([3.0, 1.0, 1.0])), TASKS, 1e-12).least()
    assert least == pytest.approx([-(2.5 + 2.9 + 2.9 + 1.5)], rel=ROUNDED_DOWN)
