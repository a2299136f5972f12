"""What a step cap can hold at most, against trying all sets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tolerances import ROUNDED_DOWN

from mafl_opt.core.proof import labels
from mafl_opt.core.proof.budgets import bracket, sharpen
from mafl_opt.core.proof.knapsacks import Items, Knapsacks


def drawn_items(seed, caps=3, devices=5):
    rng = np.random.default_rng(seed)
    rows = [
        (cap, device, rng.uniform(0.1, 1.0), rng.choice([0.0, 1.0]) * rng.uniform(0.1, 3.0))
        for cap in range(caps)
        for device in rng.choice(40, size=devices, replace=False)
        for _ in range(int(rng.integers(0, 4)))
    ]
    cap, device, step, charge = (np.array(column) for column in zip(*rows, strict=True))
    budget = rng.uniform(0.2, 2.5, caps)
    return Items(cap=cap, device=device, step=step, charge=charge), budget


def best_charge(items, cap, budget):
    """The most that sessions of different devices within the cap are charged."""
    mine = np.flatnonzero(items.cap == cap)
    choices = [
        [None, *mine[items.device[mine] == device]] for device in np.unique(items.device[mine])
    ]
    best = 0.0
    for chosen in itertools.product(*choices):
        rows = [row for row in chosen if row is not None]
        if items.step[rows].sum() <= budget:
            best = max(best, float(items.charge[rows].sum()))
    return best


@pytest.mark.parametrize("seed", range(20))
def test_most_charge_is_that_of_trying_all_sets_of_sessions(seed):
    items, budget = drawn_items(seed)
    programs = Knapsacks.of(items, budget)
    between = bracket(programs, np.zeros(3), 0.0)
    most = -sharpen(programs, between, 0.0)
    for cap in range(3):
        true = best_charge(items, cap, budget[cap])
        assert -between.bound[cap] >= most[cap] >= true
        assert most[cap] == pytest.approx(true, rel=ROUNDED_DOWN, abs=ROUNDED_DOWN)


def test_prices_leave_a_gap_that_labels_close():
    gaps = []
    for seed in range(20):
        items, budget = drawn_items(seed)
        programs = Knapsacks.of(items, budget)
        between = bracket(programs, np.zeros(3), 0.0)
        gaps += list(sharpen(programs, between, 0.0) - between.bound)
    assert sum(gap > 0.1 for gap in gaps) > 10


@pytest.mark.parametrize("limit", [0, 2])
def test_caps_given_up_for_their_size_are_charged_at_least_the_most(limit, monkeypatch):
    monkeypatch.setattr(labels, "_LABELS", limit)
    monkeypatch.setattr(labels, "_PAIRS", 10 + limit)
    above = 0
    for seed in range(20):
        items, budget = drawn_items(seed)
        programs = Knapsacks.of(items, budget)
        most = -sharpen(programs, bracket(programs, np.zeros(3), 0.0), 0.0)
        for cap in range(3):
            true = best_charge(items, cap, budget[cap])
            assert most[cap] >= true
            above += most[cap] > true + 1e-3
    assert above > 0


@pytest.mark.parametrize("seed", range(4))
def test_merged_labels_keep_most_of_the_bound(seed, monkeypatch):
    """Where labels become too many, fewer give a weaker bound, not none."""
    rng = np.random.default_rng(seed)
    count, devices = 200, 20
    step = rng.uniform(0.1, 1.0, count)
    items = Items(
        cap=np.zeros(count, dtype=np.int64), device=rng.integers(0, devices, count), step=step,
        charge=step * rng.uniform(0.9, 1.1, count) + 0.05,
    )  # fmt: skip
    programs = Knapsacks.of(items, np.array([3.0]))
    between = bracket(programs, np.zeros(1), 0.0)
    (exact,) = sharpen(programs, between, 0.0)
    parts = []
    for limit in (10, 1000):
        monkeypatch.setattr(labels, "_LABELS", limit)
        (merged,) = sharpen(programs, between, 0.0)
        assert between.bound[0] < merged <= exact
        parts.append((merged - between.bound[0]) / (exact - between.bound[0]))
    assert parts[0] < 0.9
    assert parts[1] > 0.99


def test_a_cap_without_sessions_is_charged_nothing():
    none = np.zeros(0, dtype=np.int64)
    empty = Items(cap=none, device=none, step=np.zeros(0), charge=np.zeros(0))
    programs = Knapsacks.of(empty, np.array([1.0, 2.0]))
    between = bracket(programs, np.zeros(2), 0.0)
    assert np.abs(between.bound).max() == 0.0
    assert np.abs(sharpen(programs, between, 0.0)).max() == 0.0


def test_items_of_blocks_are_put_together():
    items, budget = drawn_items(3)
    halves = [
        Items(cap=items.cap[rows], device=items.device[rows], step=items.step[rows],
              charge=items.charge[rows])
        for rows in (items.device < 20, items.device >= 20)
    ]  # fmt: skip
    joined = Items.joined([half.unbeaten() for half in halves])
    for source in (items, joined):
        programs = Knapsacks.of(source, budget)
        most = -sharpen(programs, bracket(programs, np.zeros(3), 0.0), 0.0)
        true = [best_charge(items, cap, budget[cap]) for cap in range(3)]
        assert most == pytest.approx(np.array(true), rel=ROUNDED_DOWN, abs=ROUNDED_DOWN)
