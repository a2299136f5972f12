"""Compiled knapsacks of step caps against trying every choice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from tolerances import SAME_FORMULA, SOLVED

from mafl_opt.solvers.prices.patterns.knapsack import Knapsacks

seeded = settings(derandomize=True, deadline=None, max_examples=80)
seeds = st.integers(0, 2**32 - 1)
KNAPSACKS, DEVICES = 4, 4


class Drawn:
    """Options of a few knapsacks over the same devices, of any magnitude; some weigh nothing."""

    def __init__(self, rng: np.random.Generator, *, together: int = 1) -> None:
        size = int(rng.integers(0, 45 if together < KNAPSACKS else 25))
        knapsack, device = rng.integers(KNAPSACKS, size=size), rng.integers(DEVICES, size=size)
        unit = 10.0 ** rng.uniform(-9, 9)
        weight = unit * rng.uniform(0.1, 1.0, size) * (rng.random(size) < 0.9)
        order = np.lexsort((weight, device, knapsack))
        self.rng, self.together = rng, together
        self.knapsack, self.device = knapsack[order], device[order]
        self.weight = weight[order]
        self.capacity = unit * rng.uniform(0.2, 2.0, KNAPSACKS) * (rng.random(KNAPSACKS) < 0.9)
        self.program = Knapsacks(
            self.knapsack, self.device, self.weight, self.capacity, DEVICES, together=together
        )

    def costs(self):
        cost = 10.0 ** self.rng.uniform(-9, 9) * self.rng.normal(-0.3, 0.5, self.weight.size)
        cost[self.rng.random(cost.size) < 0.1] = np.inf
        return cost

    def fits(self, options) -> bool:
        """Whether each device is in one knapsack of the group at most, and no cap is broken."""
        mine = np.array(options, dtype=np.int64)
        load = np.bincount(self.knapsack[mine], self.weight[mine], KNAPSACKS)
        # The program adds in another order.
        fine = (load <= self.capacity * (1 + SAME_FORMULA)).all()
        return bool(fine) and np.unique(self.device[mine]).size == mine.size

    def least(self, cost, group: int) -> float:
        """Least cost of a group, every choice of every device tried."""
        useful = np.flatnonzero((self.knapsack // self.together == group) & (cost < 0))
        choices = [[-1, *useful[self.device[useful] == i].tolist()] for i in range(DEVICES)]
        return min(
            float(cost[taken].sum())
            for taken in ([k for k in way if k >= 0] for way in itertools.product(*choices))
            if self.fits(taken)
        )

    def relaxed(self, cost):
        """Least cost with parts of options, each knapsack by itself; (groups,)."""
        useful = np.flatnonzero(cost < 0)
        if not useful.size:
            return np.zeros(KNAPSACKS // self.together)
        place = self.knapsack[useful] * DEVICES + self.device[useful]
        rows = np.zeros((KNAPSACKS * (DEVICES + 1), useful.size))
        rows[place, np.arange(useful.size)] = 1.0
        unit = self.weight.max(initial=0.0) or 1.0
        rows[KNAPSACKS * DEVICES + self.knapsack[useful], np.arange(useful.size)] = (
            self.weight[useful] / unit
        )
        size = np.abs(cost[useful]).max()
        found = linprog(
            cost[useful] / size, rows,
            np.append(np.ones(KNAPSACKS * DEVICES), self.capacity / unit),
        )  # fmt: skip
        group = self.knapsack[useful] // self.together
        return np.bincount(group, found.x * cost[useful], KNAPSACKS // self.together)


def solved(drawn, cost, *, labels=10_000, tolerance=0.0, relative=0.0):
    """Solve, check that the choices are what they are said to be; returns least, value and cost."""
    found = drawn.program.solve(cost, labels=labels, tolerance=tolerance, relative=relative)
    groups = KNAPSACKS // drawn.together
    chosen = np.zeros(groups)
    for n, owner in enumerate(found.owner.tolist()):
        options = found.option[found.first[n] : found.first[n + 1]]
        assert options.size and drawn.fits(options)
        assert (drawn.knapsack[options] // drawn.together == owner).all()
        assert found.cost[n] == pytest.approx(cost[options].sum(), rel=SAME_FORMULA)
        chosen[owner] = found.cost[n]
    assert found.first[-1] == found.option.size
    least = np.array([drawn.least(cost, group) for group in range(groups)])
    return found, least, chosen


def rounding(cost) -> float:
    return SAME_FORMULA * float(np.abs(cost[np.isfinite(cost)]).sum())


@pytest.mark.parametrize("together", [1, 2, 4])
@seeded
@given(seed=seeds)
def test_least_cost_is_that_of_trying_every_choice(together, seed):
    drawn = Drawn(np.random.default_rng(seed), together=together)
    # The second time the price of the capacity starts from the first.
    for _ in range(2):
        cost = drawn.costs()
        found, least, chosen = solved(drawn, cost)
        assert found.exact
        assert found.value == pytest.approx(least, rel=SAME_FORMULA, abs=rounding(cost))
        assert chosen == pytest.approx(least, rel=SAME_FORMULA, abs=rounding(cost))


@pytest.mark.parametrize("together", [1, 2])
@seeded
@given(seed=seeds, part=st.floats(0.0, 0.5), by=st.sampled_from(["tolerance", "relative"]))
def test_value_is_below_the_least_cost_by_the_tolerance_at_most(together, seed, part, by):
    drawn = Drawn(np.random.default_rng(seed), together=together)
    cost = drawn.costs()
    size = part * float(np.abs(cost[np.isfinite(cost)]).max(initial=0.0))
    found, least, chosen = solved(drawn, cost, **{by: size if by == "tolerance" else part})
    most = together * size if by == "tolerance" else -part * drawn.relaxed(cost)
    assert found.exact
    assert (found.value <= least + rounding(cost)).all()
    assert (found.value >= least - most * (1 + SOLVED) - rounding(cost)).all()
    assert (chosen <= least + most * (1 + SOLVED) + rounding(cost)).all()


@pytest.mark.parametrize("together", [1, 4])
@seeded
@given(seed=seeds, labels=st.integers(1, 4))
def test_few_labels_give_a_lower_bound_all_the_same(together, seed, labels):
    drawn = Drawn(np.random.default_rng(seed), together=together)
    cost = drawn.costs()
    found, least, _ = solved(drawn, cost, labels=labels)
    assert (found.value <= least + rounding(cost)).all()
    if found.exact:
        assert found.value == pytest.approx(least, rel=SAME_FORMULA, abs=rounding(cost))


def test_one_label_is_too_few_somewhere():
    """Else the test above tests nothing."""
    assert not all(
        drawn.program.solve(drawn.costs(), labels=1, tolerance=0.0, relative=0.0).exact
        for drawn in (Drawn(np.random.default_rng(seed)) for seed in range(40))
    )


def test_nothing_to_choose_costs_nothing():
    none, no_costs = np.zeros(0, dtype=np.int64), np.zeros(0)
    program = Knapsacks(none, none, no_costs, np.ones(6), 3)
    found = program.solve(no_costs, labels=10, tolerance=1.0, relative=0.1)
    assert found.exact and found.owner.size == 0 and found.option.size == 0
    # Nothing costs less than nothing, whatever the tolerance.
    assert found.value.tolist() == [0.0] * 6
