"""From any schedule to a good one: insertion, re-planning of single devices, annealing.

Every step is judged by the exact objective, so nothing here can make a schedule worse.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.pricing import DeviceProgram, Prices, best_batches
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.schedule import Schedule

if TYPE_CHECKING:
    from mafl_opt.solvers.annealing import Annealer

__all__ = ["Improver", "fill"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Stop = Callable[[], bool]

# An improvement smaller than this, relative, is round-off and would let a search run in circles.
_WORTH = 1e-10
_REPRICE_ROUNDS = 3
_BUDGET_STEPS = 14


def fill(schedule: Schedule, index: Ints | None = None, stop: Stop | None = None) -> None:
    """Insert the column of best marginal gain until none improves the objective.

    Parameters
    ----------
    schedule : Schedule
        Changed in place.
    index : (columns,), optional
        Columns to choose from; all by default.
    stop : callable, optional
        Asked between insertions; true ends it as soon as every weighted task is trained, so that
        there is a plan.
    """
    c = schedule.problem.columns
    index = np.arange(len(c)) if index is None else index
    change, batch = schedule.insertions(index)
    while index.size and not (stop is not None and schedule.value()[0] == 0 and stop()):
        best = int(np.argmin(change))
        if not change[best] < -_WORTH * abs(schedule.value()[1]):
            return
        k, missing = int(index[best]), schedule.value()[0]
        schedule.insert(k, int(batch[best]))
        # Insertions only take room, so what does not fit now never will.
        fits = np.isfinite(change)
        index, change, batch = index[fits], change[fits], batch[fits]
        if missing:
            # Changes of untrained tasks compare among those worked out together.
            change, batch = schedule.insertions(index)
            continue
        old = c.task[index] == c.task[k]
        old |= (c.device[index] == c.device[k]) | (c.upload[index] == c.upload[k])
        change[old], batch[old] = schedule.insertions(index[old])


class Improver:
    """Local search over the devices of one problem.

    Parameters
    ----------
    problem : Problem
    seed : int
    stop : callable
        Asked between steps; true ends the search at once.
    """

    def __init__(self, problem: Problem, seed: int, stop: Stop) -> None:
        self.problem = problem
        self.stop = stop
        self.random = np.random.default_rng(seed)
        columns = problem.columns
        edges = np.searchsorted(columns.device, np.arange(problem.scenario.num_devices + 1))
        self._own = [np.arange(a, b) for a, b in pairwise(edges)]
        self._columns = [columns.take(own) for own in self._own]
        self._programs = [DeviceProgram(problem.scenario, own) for own in self._columns]

    @cached_property
    def _annealer(self) -> Annealer:
        # Imported here: numba takes a while, and greedy insertion goes without.
        from mafl_opt.solvers.annealing import Annealer

        return Annealer(self.problem, self.random, self.stop)

    # -- searches --------------------------------------------------------------------------

    def descend(self, schedule: Schedule) -> Schedule:
        """Re-plan devices in turn until none improves; returns the better schedule."""
        best = schedule
        stale = 0
        devices = self.problem.scenario.num_devices
        while stale < devices and not self.stop():
            for device in self.random.permutation(devices):
                candidate = best.copy()
                candidate.withdraw_device(int(device))
                self.replan(candidate, int(device), best)
                if candidate.better_than(best):
                    best, stale = candidate, 0
                else:
                    stale += 1
                if stale >= devices or self.stop():
                    break
            candidate = self.resize(best)
            fill(candidate, stop=self.stop)
            if candidate.better_than(best):
                best, stale = candidate, 0
        return best

    def anneal(
        self, schedule: Schedule, *, effort: int, found: Callable[[Schedule], None],
        warm: bool = False, seconds: float | None = None,
    ) -> Schedule:  # fmt: skip
        """Cool down from a schedule; see `annealing.Annealer.search`."""
        return self._annealer.search(
            schedule, effort=effort, found=found, warm=warm, seconds=seconds
        )

    # -- moves -----------------------------------------------------------------------------

    def round(self, wish: Floats, prices: Prices) -> Schedule:
        """Turn a fractional point into a schedule, device by device.

        Each device takes its cheapest plan at the relaxation's prices, with a discount on the
        columns the fractional point uses, among what uplinks, step caps and budget still admit.

        Parameters
        ----------
        wish : (columns,)
            x of the relaxation, in [0, 1].
        prices : Prices
        """
        c, s = self.problem.columns, self.problem.scenario
        schedule = Schedule(self.problem)
        e = s.energy_weight + prices.energy[c.device]
        batch = best_batches(c, prices.numerator[c.task], e)
        cost = prices.reduced_costs(s, c, batch)
        # The cheapest columns all cost about the same; the discount makes the used ones win.
        cost -= wish * (
            np.abs(cost[wish > 0.01]).max(initial=0.0) + prices.progress[c.task] * c.progress
        )
        size = np.array([wish[own].sum() for own in self._own])
        for device in np.argsort(-size, kind="stable"):
            own, columns = self._own[device], self._columns[device]
            if not own.size:
                continue
            room = schedule.room(own)
            _, chosen = self._programs[device].solve(np.where(room, cost[own], np.inf))
            for k in chosen[np.argsort(cost[own][chosen], kind="stable")]:
                left = columns.take(chosen[chosen == k]).batch_within(
                    schedule.energy_left()[device]
                )
                if left[0] >= 1:
                    schedule.insert(int(own[k]), int(min(left[0], batch[own[k]])))
        fill(schedule, stop=self.stop)
        return schedule

    def replan(self, schedule: Schedule, device: int, reference: Schedule) -> None:
        """Give an idle device its best plan: exact at fixed prices, prices taken anew each round.

        The device's uplinks and step-cap shares never add up (its sessions end in different
        slots), so what the others leave over binds session by session and the dynamic program is
        exact; the budget is priced.

        Parameters
        ----------
        schedule : Schedule
            With nothing on the device; changed in place.
        device : int
        reference : Schedule
            Whose totals give the first prices.
        """
        own, columns, program = self._own[device], self._columns[device], self._programs[device]
        if not own.size:
            return
        room = schedule.room(own)
        budget = float(schedule.energy_left()[device])
        room &= columns.batch_within(budget) >= 1
        best, totals = schedule.copy(), reference
        fill(best, own)
        for attempt in range(_REPRICE_ROUNDS):
            chosen, batch = self._cheapest(device, program, room, budget, totals)
            trial = schedule.copy()
            for k, size in zip(chosen, batch, strict=True):
                trial.insert(int(own[k]), int(size))
            fill(trial, own)
            if trial.better_than(best):
                best = trial.copy()
            elif attempt:
                break
            totals = trial
        schedule.assign(best)

    def _cheapest(
        self, device: int, program: DeviceProgram, room: NDArray[np.bool_], budget: float,
        totals: Schedule,
    ) -> tuple[Ints, Ints]:  # fmt: skip
        """Cheapest plan of a device within its budget, at the marginal prices of `totals`."""
        columns, s = self._columns[device], self.problem.scenario
        lam, mu = totals.slopes()

        def plan(extra: float) -> tuple[Ints, Ints, float]:
            e = np.full(len(columns), s.energy_weight + extra)
            batch = best_batches(columns, lam[columns.task], e)
            batch = np.clip(np.minimum(batch, columns.batch_within(budget)), 1, None)
            energy = columns.energy(batch)
            cost = lam[columns.task] * columns.error_at(batch)
            cost -= mu[columns.task] * columns.progress
            cost = np.where(room, cost + e * energy, np.inf)
            _, chosen = program.solve(cost)
            return chosen, batch[chosen], float(energy[chosen].sum())

        chosen, batch, spent = plan(0.0)
        if spent <= budget:
            return chosen, batch
        worth = float((mu[columns.task] * columns.progress).max())
        low, high = 0.0, max(s.energy_weight, 1e-6 * worth / max(budget, 1e-12), 1e-12)
        kept = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
        for _ in range(_BUDGET_STEPS * 3):
            chosen, batch, spent = plan(high)
            if spent <= budget:
                kept = chosen, batch
                break
            low, high = high, high * 8.0
        for _ in range(_BUDGET_STEPS):
            middle = 0.5 * (low + high)
            chosen, batch, spent = plan(middle)
            if spent <= budget:
                kept, high = (chosen, batch), middle
            else:
                low = middle
        return kept

    def resize(self, schedule: Schedule) -> Schedule:
        """Take every session out in turn and put its slots' best column back.

        Sees iteration counts, batch sizes and tasks at exact objective.
        """
        best = schedule.copy()
        columns = self.problem.columns
        for k in self.random.permutation(list(schedule.batch)):
            if self.stop():
                break
            i, r, u = columns.device[k], columns.receive[k], columns.upload[k]
            own = self._own[i]
            inside = own[(columns.receive[own] >= r) & (columns.upload[own] <= u)]
            trial = best.copy()
            trial.withdraw(int(k))
            fill(trial, inside)
            if trial.better_than(best):
                best = trial
        return best
