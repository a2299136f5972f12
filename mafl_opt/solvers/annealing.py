"""Simulated annealing around a schedule, at exact objective; its moves are compiled."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.limits import SLACK
from mafl_opt.formulations.pricing import best_batches
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers import moves
from mafl_opt.solvers.schedule import Schedule
from mafl_opt.solvers.state import COLUMN, DEVICE, LOG, SLOT, TASK, State

__all__ = ["Annealer", "compile_moves"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# First temperature for any schedule and for one that is good already, and the last one, by the
# worth of a session: the objective over the number of sessions.
_HOT, _WARM, _COLD = 0.4, 0.08, 8e-4
# Moves between two temperatures: few enough to stop in time, and to take many temperatures.
_LEAST_STAGES, _MOST_MOVES = 40, 50_000
# Fewest moves of a search: the smallest problems need no fewer than those a little larger.
_LEAST_MOVES = 20_000
# Columns that gain much are proposed often, this share of the proposals is any column.
_POWER, _ANY = 1.5, 0.05


@cache
def _prepared() -> Thread:
    """Begin to load the moves, or to compile them where no earlier run has, beside the caller."""
    thread = Thread(target=compile_moves, daemon=True)
    thread.start()
    return thread


def compile_moves() -> None:
    """Compile the moves."""
    kinds = (COLUMN, DEVICE, TASK, SLOT)
    records = [np.zeros(0, dtype=kind) for kind in kinds]
    table = np.zeros((0, 0), dtype=np.int64)
    state = State(
        columns=records[0], devices=records[1], tasks=records[2], slots=records[3],
        step=np.zeros((0, 0)), held=table, batch=table, log=table, spent=np.zeros(1),
    )  # fmt: skip
    moves.anneal(
        state, table, table, 0.0, np.zeros(0, dtype=np.int64), np.zeros((0, moves.DRAWS)), 0.0, 0.0
    )


class Annealer:
    """Simulated annealing over the sessions of one problem.

    Parameters
    ----------
    problem : Problem
    random : numpy.random.Generator
    stop : callable
        Asked every few hundredths of a second; true ends a search.
    """

    def __init__(
        self, problem: Problem, random: np.random.Generator, stop: Callable[[], bool]
    ) -> None:
        s, c = problem.scenario, problem.columns
        self.problem, self.random, self.stop = problem, random, stop
        key = (c.device, c.receive, c.upload, c.task)
        new = np.ones(len(c), dtype=bool)
        new[1:] = np.logical_or.reduce([a[1:] != a[:-1] for a in key])
        first = np.flatnonzero(new)
        group = np.cumsum(new) - 1
        self._columns = _records(
            COLUMN, device=c.device, task=c.task, receive=c.receive, upload=c.upload,
            first=first[group], last=np.append(first[1:], len(c))[group], batch_hi=c.batch_hi,
            progress=c.progress, error=c.error - c.noise / c.samples, noise=c.noise, step=c.step,
            fixed=c.fixed_energy_j, unit=c.capacitance * c.cycles, f_min=c.f_min_hz,
            pace=c.cycles / c.time_s,
        )  # fmt: skip
        # Half the slack of the limits; sums that come and go may use up some of the rest.
        wide = 1.0 + 0.5 * SLACK
        self._budget, self._cap = s.devices.energy_budget_j * wide, s.tasks.step_cap * wide
        self._price = float(s.energy_weight)

    def search(
        self, schedule: Schedule, *, effort: int, found: Callable[[Schedule], None],
        warm: bool = False, seconds: float | None = None,
    ) -> Schedule:  # fmt: skip
        """Cool down from a schedule; returns the best met.

        Parameters
        ----------
        schedule : Schedule
        effort : int
            Moves a device and slot.
        found : callable
            Told about every better schedule.
        warm : bool
            Whether the schedule is good already and its neighbourhood is to be searched.
        seconds : float, optional
            Time to be cold by; fewer moves are made then.
        """
        began = time.perf_counter()
        cells = schedule.busy.size
        _prepared().join(seconds)
        if not len(self._columns) or _prepared().is_alive():
            return schedule
        many = max(effort * cells, _LEAST_MOVES)
        stage = min(many // _LEAST_STAGES, _MOST_MOVES)
        hot = _WARM if warm else _HOT
        chances = np.cumsum(self._chances(schedule))
        best, held, batch = schedule, *_cells(schedule)
        done = 0.0
        while done < 1.0 and not self.stop():
            state = self._state(held, batch)
            size = abs(best.value()[1])
            worth = size / max(len(best.batch), 1)
            best_held, best_batch = np.empty_like(held), np.empty_like(batch)
            draws = self.random.random((stage, moves.DRAWS + 1))
            proposals = np.searchsorted(chances, draws[:, -1] * chances[-1], side="right")
            moves.anneal(
                state, best_held, best_batch, self._price,
                np.minimum(proposals, len(self._columns) - 1),
                np.ascontiguousarray(draws[:, :-1]), worth * hot * (_COLD / hot) ** done,
                2.0 * size,
            )  # fmt: skip
            candidate = self._schedule(best_held, best_batch)
            if candidate.better_than(best):
                best = candidate
                found(best)
            done += stage / many
            if seconds is not None:
                done = max(done, (time.perf_counter() - began) / max(seconds, 1e-9))
        return best

    def _chances(self, schedule: Schedule) -> Floats:
        """How often to propose a column, by what it gains at the slopes of a schedule."""
        c = self.problem.columns
        lam, mu = schedule.slopes()
        batch = best_batches(c, lam[c.task], np.full(len(c), self._price))
        with np.errstate(over="ignore", invalid="ignore"):
            gain = mu[c.task] * c.progress - lam[c.task] * c.error_at(batch)
            gain = np.maximum(gain - self._price * c.energy(batch), 0.0)
            share = (gain / gain.max()) ** _POWER
            share /= share.sum()
        if not np.isfinite(share).all():
            share = np.zeros(len(c))
        return np.asarray((1.0 - _ANY) * share + _ANY / len(c))

    def _state(self, held: Ints, batch: Ints) -> State:
        s, schedule = self.problem.scenario, self._schedule(held, batch)
        task = self.problem.columns.task[list(schedule.batch)]
        return State(
            columns=self._columns,
            devices=_records(DEVICE, energy=schedule.energy_j, budget=self._budget),
            tasks=_records(
                TASK, numerator=schedule.numerator, progress=schedule.progress,
                sessions=np.bincount(task, minlength=s.num_tasks), weight=s.tasks.weight,
                cap=self._cap,
            ),
            slots=_records(
                SLOT, uploads=schedule.uploads, capacity=s.network.uplink_capacity
            ),
            step=schedule.step, held=held, batch=batch,
            log=np.empty((LOG, 3), dtype=np.int64),
            spent=schedule.energy_j.sum(keepdims=True),
        )  # fmt: skip

    def _schedule(self, held: Ints, batch: Ints) -> Schedule:
        begins = batch > 0
        return Schedule.of(self.problem, held[begins], batch[begins])


def _cells(schedule: Schedule) -> tuple[Ints, Ints]:
    """Column that occupies a slot, -1 for none, and batch sizes where sessions begin."""
    c, shape = schedule.problem.columns, schedule.busy.T.shape
    held = np.full(shape, -1)
    batch = np.zeros(shape, dtype=np.int64)
    for k, size in schedule.batch.items():
        held[c.device[k], c.receive[k] : c.upload[k]] = k
        batch[c.device[k], c.receive[k]] = size
    return held, batch


def _records(kind: np.dtype[np.void], **values: NDArray[Any]) -> NDArray[np.void]:
    table = np.empty(len(next(iter(values.values()))), dtype=kind)
    for name, value in values.items():
        table[name] = value
    return table
