"""A schedule under construction: chosen columns with running totals of all that P adds up.

The one mutable object of the solvers; heuristics insert and withdraw columns here and ask what a
change does to the objective. Capacity, step cap, budgets and exclusiveness hold at all times.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.plan import Sessions
from mafl_opt.formulations.bound import initial_error
from mafl_opt.formulations.candidates import Candidates
from mafl_opt.formulations.limits import widened
from mafl_opt.formulations.pricing import best_batches
from mafl_opt.formulations.problem import Problem

__all__ = ["Schedule"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# An improvement smaller than this, relative, is none.
_WORTH = 1e-10


class Schedule:
    """Chosen columns of a problem, with totals.

    Attributes
    ----------
    batch : dict
        Batch size by chosen column.
    numerator, progress : (tasks,)
        N_j and A_j.
    energy_j : (devices,), J
    uploads : (slots,)
    step : (slots, tasks)
    busy : (slots, devices), bool
    """

    def __init__(self, problem: Problem) -> None:
        s = problem.scenario
        self.problem = problem
        self.batch: dict[int, int] = {}
        self._error: dict[int, float] = {}
        self._energy: dict[int, float] = {}
        self._start = initial_error(s)
        self.numerator = self._start.copy()
        self.progress = np.zeros(s.num_tasks)
        self.energy_j = np.zeros(s.num_devices)
        self.uploads = np.zeros(s.num_slots, dtype=np.int64)
        self.step = np.zeros((s.num_slots, s.num_tasks))
        self.busy = np.zeros((s.num_slots, s.num_devices), dtype=bool)

    def copy(self) -> Schedule:
        """Return an independent copy."""
        other = Schedule.__new__(Schedule)
        other.problem, other._start = self.problem, self._start
        other.assign(self)
        return other

    def assign(self, other: Schedule) -> None:
        """Become a copy of another schedule of the same problem."""
        for name in (
            "batch", "numerator", "progress", "energy_j", "uploads", "step", "busy", "_error",
            "_energy",
        ):  # fmt: skip
            setattr(self, name, getattr(other, name).copy())

    @classmethod
    def from_sessions(cls, problem: Problem, sessions: Sessions) -> Schedule:
        """Take over the sessions of a plan that still fit; the frequency is set anew."""
        schedule = cls(problem)
        columns = problem.columns
        for k, batch in zip(columns.locate(sessions), sessions.batch_size, strict=True):
            if k >= 0:
                size = min(int(batch), int(columns.batch_hi[k]))
                if size >= 1 and schedule.fits(int(k), size):
                    schedule.insert(int(k), size)
        return schedule

    @classmethod
    def of(cls, problem: Problem, index: Ints, batch: Ints) -> Schedule:
        """Choose columns that keep every limit together, with their batch sizes."""
        schedule, c = cls(problem), problem.columns.take(index)
        error, energy, columns = c.error_at(batch), c.energy(batch), index.tolist()
        schedule.batch = dict(zip(columns, batch.tolist(), strict=True))
        schedule._error = dict(zip(columns, error.tolist(), strict=True))
        schedule._energy = dict(zip(columns, energy.tolist(), strict=True))
        np.add.at(schedule.numerator, c.task, error)
        np.add.at(schedule.progress, c.task, c.progress)
        np.add.at(schedule.energy_j, c.device, energy)
        np.add.at(schedule.uploads, c.upload - 1, 1)
        np.add.at(schedule.step, (c.upload - 1, c.task), c.step)
        for i, r, u in zip(c.device, c.receive, c.upload, strict=True):
            schedule.busy[r:u, i] = True
        return schedule

    # -- changes ---------------------------------------------------------------------------

    def insert(self, k: int, batch: int) -> None:
        """Add column `k`; the caller has made sure that it fits."""
        c = self.problem.columns
        one, sized = c.take(slice(k, k + 1)), np.array([batch])
        i, j, u = c.device[k], c.task[k], c.upload[k] - 1
        self.batch[k] = batch
        self._error[k], self._energy[k] = float(one.error_at(sized)[0]), float(one.energy(sized)[0])
        self.numerator[j] += self._error[k]
        self.progress[j] += c.progress[k]
        self.energy_j[i] += self._energy[k]
        self.uploads[u] += 1
        self.step[u, j] += c.step[k]
        self.busy[c.receive[k] : c.upload[k], i] = True

    def withdraw(self, k: int) -> int:
        """Take column `k` out and return its batch size."""
        c = self.problem.columns
        i, j, u = c.device[k], c.task[k], c.upload[k] - 1
        batch = self.batch.pop(k)
        del self._error[k], self._energy[k]
        self.uploads[u] -= 1
        self.busy[c.receive[k] : c.upload[k], i] = False
        # Counted anew: a difference of sums would leave round-off behind, which is all there is
        # where a session of weight 1 went and one of weight 1e-18 stays.
        rest = np.fromiter(self.batch, np.int64, len(self.batch))
        of_task, of_device = c.task[rest] == j, c.device[rest] == i
        error = np.fromiter(self._error.values(), float, rest.size)
        energy = np.fromiter(self._energy.values(), float, rest.size)
        self.numerator[j] = self._start[j] + error[of_task].sum()
        self.progress[j] = c.progress[rest[of_task]].sum()
        self.energy_j[i] = energy[of_device].sum()
        self.step[u, j] = c.step[rest[of_task & (c.upload[rest] == u + 1)]].sum()
        return batch

    def withdraw_device(self, device: int) -> list[tuple[int, int]]:
        """Take all columns of a device out; returns them with their batch sizes."""
        owned = [k for k in self.batch if self.problem.columns.device[k] == device]
        return [(k, self.withdraw(k)) for k in owned]

    # -- questions -------------------------------------------------------------------------

    def value(self) -> tuple[int, float]:
        """Weighted tasks never trained, and O without their terms: smaller is better.

        The second number is O itself when the first is 0.
        """
        s = self.problem.scenario
        used = (s.tasks.weight > 0) & self.served()
        ratios = self.numerator[used] / self.progress[used]
        total = s.tasks.weight[used] @ ratios + s.energy_weight * self.energy_j.sum()
        return int(((s.tasks.weight > 0) & ~used).sum()), float(total)

    def better_than(self, other: Schedule) -> bool:
        """Whether the value is smaller by more than round-off, which a search could circle on."""
        missing, total = self.value()
        missing_other, total_other = other.value()
        if missing != missing_other:
            return missing < missing_other
        return total < total_other - _WORTH * abs(total_other)

    def objective(self) -> float:
        """O of the schedule; inf while a weighted task is never trained."""
        missing, total = self.value()
        return np.inf if missing else total

    def served(self) -> NDArray[np.bool_]:
        """Tasks with at least one session; (tasks,)."""
        served = np.zeros(self.problem.scenario.num_tasks, dtype=bool)
        served[self.problem.columns.task[list(self.batch)]] = True
        return served

    def slopes(self) -> tuple[Floats, Floats]:
        """Return the derivatives of O by N_j and by -A_j; two arrays (tasks,).

        A task that is never trained is taken to have the progress of the largest column.
        """
        weight, served = self.problem.scenario.tasks.weight, self.served()
        typical = self.problem.columns.progress.max(initial=np.finfo(np.float64).tiny)
        progress = np.where(served, self.progress, typical)
        lam = weight / progress
        return lam, lam * self.numerator / progress

    def fits(self, k: int, batch: int) -> bool:
        """Whether column `k` can be added with this batch size."""
        one = self.problem.columns.take(slice(k, k + 1))
        return bool(self._room(one)[0]) and bool(
            one.energy(np.array([batch]))[0] <= self.energy_left()[one.device[0]]
        )

    def energy_left(self) -> Floats:
        """Budget left on every device, with its slack; (devices,), J. Never negative."""
        budget = widened(self.problem.scenario.devices.energy_budget_j)
        return np.maximum(budget - self.energy_j, 0.0)

    def room(self, index: Ints | None = None) -> NDArray[np.bool_]:
        """Columns that exclusiveness, uplink and step cap would still admit; (columns,)."""
        c = self.problem.columns
        return self._room(c if index is None else c.take(index))

    def _room(self, c: Candidates) -> NDArray[np.bool_]:
        s = self.problem.scenario
        taken = np.concatenate([np.zeros((1, s.num_devices), int), np.cumsum(self.busy, axis=0)])
        free = taken[c.upload, c.device] == taken[c.receive, c.device]
        left = (widened(s.tasks.step_cap) - self.step)[c.upload - 1, c.task]
        return np.asarray(
            free & (self.uploads < s.network.uplink_capacity)[c.upload - 1] & (c.step <= left)
        )

    def insertions(self, index: Ints | None = None) -> tuple[Floats, Ints]:
        """Change of the objective and best batch size for adding each column.

        Parameters
        ----------
        index : (asked columns,), optional
            All columns by default.

        Returns
        -------
        change : (asked columns,)
            inf where the column does not fit. The first session of a weighted task counts as a
            change below any other, the better the lower the task's term becomes.
        batch : (asked columns,)
        """
        s = self.problem.scenario
        c = self.problem.columns if index is None else self.problem.columns.take(index)
        j = c.task
        weight = s.tasks.weight[j]
        after = self.progress[j] + c.progress
        batch = best_batches(c, weight / after, np.full(len(c), s.energy_weight))
        batch = np.minimum(batch, c.batch_within(self.energy_left()[c.device]))
        fits = (batch >= 1) & self._room(c)
        batch = np.maximum(batch, 1)
        term = weight * (self.numerator[j] + c.error_at(batch)) / after
        served = self.served()
        now = np.zeros(s.num_tasks)
        np.divide(s.tasks.weight * self.numerator, self.progress, out=now, where=served)
        cost = term + s.energy_weight * c.energy(batch)
        first = 10.0 * (1.0 + now.sum() + cost.max(initial=0.0))
        now[~served & (s.tasks.weight > 0)] = first
        return np.where(fits, cost - now[j], np.inf), batch

    def sessions(self) -> Sessions:
        """Return the schedule as a table of sessions."""
        index = np.array(sorted(self.batch), dtype=np.int64)
        batch = np.array([self.batch[int(k)] for k in index], dtype=np.int64)
        return self.problem.columns.sessions(index, batch)
