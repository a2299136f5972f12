"""The Lagrangian of P at a tariff, minimised exactly on a node of the search tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.boxes import box_rules
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.prices.exact.budgets import choice_slacks, plan_devices
from mafl_opt.solvers.prices.exact.choices import list_choices
from mafl_opt.solvers.prices.exact.knapsack import cap_rows, most_value
from mafl_opt.solvers.prices.exact.ratios import RatioBox, block_minimum
from mafl_opt.solvers.prices.exact.tariff import Tariff

__all__ = ["Answer", "DeviceSplit", "Limits", "Oracle", "Plans"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Plans of single devices: the device and its choices, increasing.
Plans = list[tuple[int, tuple[int, ...]]]


# Session prices of columns that are this many times dearer than the price are not needed.
_SPARE = 3.0
_LOST = 1e-9
# What knapsacks may earn less than the cuts say, relative to the objective.
_NEAR = 5e-5


class DeviceSplit(NamedTuple):
    """One side of a split on the session of a device that covers a slot, if there is one.

    `attribute` (task, receive, upload, iterations or batch_size) is at most `at` on the low side,
    where the device may idle in the slot too; it is above `at` on the high side.
    """

    device: int
    slot: int
    attribute: str
    at: int
    high: bool


class Limits(NamedTuple):
    """Device splits of a node, ready for use.

    barred : (choices,), bool
    forced : (devices, slots), bool; where a device must not idle
    """

    barred: NDArray[np.bool_]
    forced: NDArray[np.bool_]


class Answer(NamedTuple):
    """Device part of the Lagrangian.

    value : (devices,)
        Lower bound of every device's cost; inf when it has no plan left.
    price : (devices,)
        A good price of every device's energy.
    plans : Plans
        Plans found, the best of each device among them.
    """

    value: Floats
    price: Floats
    plans: Plans


class Oracle:
    """Device programs, step caps and ratio blocks of one problem.

    Parameters
    ----------
    problem : Problem
    """

    def __init__(self, problem: Problem) -> None:
        s, c = problem.scenario, problem.columns
        self.problem, self.rules = problem, box_rules(problem)
        self.choices = list_choices(problem)
        self.caps = cap_rows(problem)
        self.columns = c
        at = self.choices.column
        self.task, self.progress = c.task[at], c.progress[at]
        self._paid = s.energy_weight * self.choices.energy
        self._budget = np.array(s.devices.energy_budget_j, dtype=np.float64)
        self.free = self.limits(())

    def limits(self, splits: Sequence[DeviceSplit]) -> Limits:
        """Prepare device splits."""
        s, c, at = self.problem.scenario, self.columns, self.choices.column
        barred = np.zeros(at.size, dtype=bool)
        forced = np.zeros((s.num_devices, s.num_slots), dtype=bool)
        for split in splits:
            covers = (c.device == split.device) & (c.receive < split.slot)
            covers = (covers & (c.upload >= split.slot))[at]
            value = self.attribute(split.attribute)
            barred |= covers & ((value <= split.at) if split.high else (value > split.at))
            if split.high:
                forced[split.device, split.slot - 1] = True
        return Limits(barred, forced)

    def attribute(self, name: str) -> Ints:
        """Values of a split's attribute; (choices,)."""
        if name == "batch_size":
            return self.choices.batch
        return np.asarray(getattr(self.columns, name)[self.choices.column])

    def costs(self, tariff: Tariff) -> Floats:
        """Reduced cost of every choice; (choices,)."""
        c = self.columns
        fixed = tariff.toll(c) - tariff.progress[c.task] * c.progress
        return np.asarray(
            tariff.numerator[self.task] * self.choices.error
            + self._paid
            + fixed[self.choices.column]
        )

    def ask(self, tariff: Tariff, limits: Limits, *, exact: bool = True) -> Answer:
        """Cheapest plan of every device, budgets inside."""
        s = self.problem.scenario
        cost = self.costs(tariff)
        if limits.barred.any():
            cost[limits.barred] = np.inf
        devices = s.num_devices
        least, bound, price = np.zeros(devices), np.zeros(devices), np.zeros(devices)
        plans = np.zeros((devices, 2, s.num_slots), dtype=np.int64)
        counts = np.zeros((devices, 2), dtype=np.int64)
        plan_devices(
            self.choices, cost, limits.forced, self._budget, exact, least, bound, price, plans,
            counts,
        )  # fmt: skip
        found = [
            (i, tuple(sorted(plans[i, k, : counts[i, k]].tolist())))
            for i in range(devices)
            for k in range(2)
            if counts[i, k]
        ]
        return Answer(bound, price, found)

    def slacks(self, tariff: Tariff, limits: Limits, answer: Answer) -> Floats:
        """How much the bound rises at least when a choice must be used; (choices,)."""
        cost = np.where(limits.barred, np.inf, self.costs(tariff))
        out = np.empty(cost.size)
        choice_slacks(self.choices, cost, limits.forced, answer.price, out)
        worth = answer.price * self._budget + answer.value
        return np.asarray(out - worth[self.columns.device[self.choices.column]])

    def settled(
        self, tariff: Tariff, limits: Limits, box: RatioBox, target: float
    ) -> tuple[Tariff, float]:
        """Return a tariff as it will be written, and a bound that it gives on a node.

        Session prices that no device's cheapest plans meet are dropped, if the bound stands. A
        column that costs a device several times its price too much stays out without it, and caps
        earn no more with a price less; certificates get several times shorter. Knapsacks are only
        solved where that may lift the bound to the target.
        """
        tariff = tariff.shortened()
        value, answer = self.bound(tariff, limits, box, exact=False)
        if not np.isfinite(value):
            return tariff, value
        least = np.full(len(self.columns), np.inf)
        np.minimum.at(least, self.choices.column, self.slacks(tariff, limits, answer))
        session = np.where(least > _SPARE * tariff.session, 0.0, tariff.session)
        thin = replace(tariff, session=session)
        kept = self.bound(thin, limits, box, exact=False)[0]
        if kept < value - _LOST * abs(value):
            thin, kept = tariff, value
        if 0 < target - kept < _NEAR * abs(target):
            kept = self.bound(thin, limits, box)[0]
        return thin, kept

    def shared(self, tariff: Tariff, *, exact: bool = True) -> float:
        """Return what the shared capacities earn at most: uplinks and step caps.

        Exactly by the knapsacks, or a little more by the cuts that session prices come from.
        """
        s = self.problem.scenario
        total = float(tariff.uplink @ s.network.uplink_capacity)
        if not exact:
            return total + float((tariff.step @ s.tasks.step_cap).sum() + tariff.earned[0])
        priced = tariff.session > 0
        for row in self.caps:
            rate = tariff.step[row.slot - 1, row.task] * s.tasks.step_cap[row.task]
            if priced[row.columns].any():
                total += most_value(row, rate * row.step + tariff.session[row.columns])
            else:
                total += float(rate)
        return total

    def ratios(self, tariff: Tariff, box: RatioBox) -> float:
        """Ratio blocks of the weighted tasks, with what prices add to them."""
        rules, total = self.rules, 0.0
        for j in np.flatnonzero(rules.weight > 0):
            lam, mu = float(tariff.numerator[j]), float(tariff.progress[j])
            total += lam * float(rules.start[j]) + block_minimum(rules, box, int(j), lam, mu)
        return total

    def bound(
        self, tariff: Tariff, limits: Limits, box: RatioBox, *, exact: bool = True
    ) -> tuple[float, Answer]:
        """Lower bound of O on a node, with the device plans that attain it."""
        answer = self.ask(tariff, limits)
        value = float(answer.value.sum()) - self.shared(tariff, exact=exact)
        return value + self.ratios(tariff, box), answer
