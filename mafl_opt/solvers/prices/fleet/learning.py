"""Prices of a large fleet: column generation, smoothed, on a box that follows the point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.prices.fleet.arcs import Table
from mafl_opt.solvers.prices.fleet.arrays import Tasks
from mafl_opt.solvers.prices.fleet.master import Master, Point
from mafl_opt.solvers.prices.fleet.oracle import Oracle
from mafl_opt.solvers.prices.fleet.ratio import Range

__all__ = ["ROUNDS", "Lesson", "blend", "first_totals", "learn", "ratio_prices"]

Floats = NDArray[np.float64]

# Weight of the best prices so far in the next ones asked (Wentges), and the trust region around
# them: at first, at last.
_SMOOTHING = 0.3
_RADIUS, _LEAST_RADIUS = 0.2, 0.02
# While bound and mixture are further apart than this, relative, the box stays where it is.
_FAR = 0.02
# The box around the point: at first, at last, and how fast it shrinks.
_WIDEST, _NARROWEST, _SHRINK = 1.5, 1.03, 0.8
_MOST_STEPS, _MOST_MOVES = 120, 10
#: Evaluations of a device for its energy price: enough for all but a few.
ROUNDS = 8
# The same while the prices of what devices share are still far off, and when they no longer are.
_FIRST_ROUNDS, _CLOSE = 3, 1e-3
# Steps to the progress to start from, and by how much the first ones change it at most, squared.
_START_STEPS, _LEAP = 24, 1e4
# It is this part of the caps at least; devices may be so far from their best plans, of O, and their
# plans may miss this part of what they could be worth.
_SMALLEST, _COARSE, _LOST = 1e-11, 1e-3, 0.75


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """What learning ends with.

    objective : float
        O of the mixture of answers, about the optimum of the relaxation.
    point : Point
    table : Table
        The prices, smoothed.
    steps : int
    """

    objective: float
    point: Point
    table: Table
    steps: int


def blend(old: Table, new: Table, weight: float) -> Table:
    """Return weight * old + (1 - weight) * new."""
    return Table(*(weight * a + (1.0 - weight) * b for a, b in zip(old, new, strict=True)))


def first_totals(oracle: Oracle) -> tuple[Floats, Floats, list[tuple[Table, Floats]]]:
    """Find totals to start from: A_j that devices bring at the prices that belong to it.

    Returns
    -------
    progress : (tasks,)
        0 for a task that nobody trains at any price.
    error : (tasks,)
    answers : list of (Table, totals)
        For the master.
    """
    t = oracle.tasks
    num_tasks, slots = t.bits.size, t.capacity.size
    most = 0.5 * slots * t.cap
    start = np.where(t.start > 0, t.start, 1.0)
    used, answers = t.weight > 0, []
    for rounds in (1, _FIRST_ROUNDS):
        progress, found = most, np.zeros(num_tasks)
        for k in range(_START_STEPS):
            table = ratio_prices(t, progress, start)
            typical = float((t.weight * start)[used] @ (1.0 / progress[used]))
            oracle.accuracy = _COARSE * typical / oracle.fleet.size
            answer = oracle.ask(table, rounds=rounds)
            answers.append((table, answer.totals))
            brought = answer.totals.sum(axis=0)[1 + num_tasks : 1 + 2 * num_tasks]
            # A part of the way, in logs, and ever less of it: tasks take devices from each other.
            step = np.clip(brought / progress, 1.0 / _LEAP, _LEAP) ** min(0.5, 1.5 / max(k, 1))
            progress = np.clip(progress * step, _SMALLEST * most, most)
            found = np.where(brought > 0, progress, found)
        # In one round a device whose budget binds has no plan. If that is most of them, again.
        if answer.gap <= _LOST * abs(answer.value):
            break
    return found, start, answers


def ratio_prices(tasks: Tasks, progress: Floats, error: Floats) -> Table:
    """Return the prices of the ratio at a point, everything else free."""
    slots = tasks.capacity.size
    return Table(
        error=tasks.weight / progress,
        progress=tasks.weight * (tasks.start + error) / progress**2,
        uplink=np.zeros(slots), step=np.zeros((slots, tasks.bits.size)),
    )  # fmt: skip


def learn(
    oracle: Oracle, master: Master, progress: Floats, error: Floats, *, table: Table | None,
    accuracy: float, stop: Callable[[], bool],
) -> Lesson:  # fmt: skip
    """Find prices at which devices' own plans make a good plan together.

    Parameters
    ----------
    oracle, master
    progress, error : (tasks,)
        A_j and R_j to start from.
    table : Table or None
        Prices to start from.
    accuracy : float
        Relative to the objective: when the mixture and the bound at fixed ratio weights are this
        close, learning ends.
    stop : callable
    """
    t = oracle.tasks
    used = t.weight > 0
    excess = np.maximum(error, 1e-12 * t.start) / progress
    width = _WIDEST if table is None else 1.2
    if table is None:
        table = ratio_prices(t, progress, error)
    most = 0.5 * t.capacity.size * t.cap
    rounds, radius = _FIRST_ROUNDS, _RADIUS
    for step in range(_MOST_STEPS):
        answer = oracle.ask(table, rounds=rounds)
        master.add(table, answer.totals, answer.value)
        for _ in range(_MOST_MOVES):
            box = Range(
                low=progress / width, high=np.minimum(progress * width, most),
                excess_low=excess / width, excess_high=excess * width,
            )  # fmt: skip
            dual, centre = master.dual(box)
            point = master.solve(box, centre, radius)
            far = point.value - dual
            if far > _FAR * abs(dual):
                # Plans outside the limits, at a price that is too low: no point to follow.
                break
            new = np.where(used, np.minimum(point.progress, most), progress)
            ratio = point.error / np.maximum(point.progress, 1e-300)
            ratio = np.where(used, np.maximum(ratio, 1e-12), excess)
            moved = max(np.abs(new / progress - 1.0).max(), np.abs(ratio / excess - 1.0).max())
            progress, excess = new, ratio
            if moved < 0.3 * (width - 1.0):
                break
        done = step > 5 and far <= accuracy * abs(dual) + answer.gap and rounds == ROUNDS
        if stop() or (done and width == _NARROWEST):
            break
        if far <= _CLOSE * abs(dual) + answer.gap:
            rounds = ROUNDS
        table = blend(centre, point.table, _SMOOTHING)
        if far <= _FAR * abs(dual):
            width = max(_NARROWEST, 1.0 + (width - 1.0) * _SHRINK)
        radius = max(_LEAST_RADIUS, _SHRINK * radius)
    point = master.solve(box)
    return Lesson(objective=point.objective(t), point=point, table=centre, steps=step + 1)
