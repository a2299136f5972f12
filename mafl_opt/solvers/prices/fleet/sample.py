"""Prices learned on a sample of the devices, corrected by what the whole fleet answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.base import Run
from mafl_opt.solvers.prices.fleet.arcs import Table
from mafl_opt.solvers.prices.fleet.arrays import Tasks
from mafl_opt.solvers.prices.fleet.learning import ROUNDS, Lesson, first_totals, learn
from mafl_opt.solvers.prices.fleet.master import Master, worth
from mafl_opt.solvers.prices.fleet.oracle import Oracle
from mafl_opt.solvers.prices.fleet.whole import Whole

__all__ = ["OPEN", "Sample", "draw"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# What learning leaves open, of the objective and at least of the gap asked for.
_ACCURACY, _PART = 1e-5, 0.01
#: What all devices' programs together leave open of the objective.
OPEN = 1e-5
# One device in so many, not fewer and not more.
_ONE_IN, _LEAST, _MOST = 25, 4000, 20_000


def draw(names: Ints, random: np.random.Generator) -> tuple[Ints, float]:
    """Draw some devices, in random order; all of them when they are few.

    Returns
    -------
    chosen : (sample,)
    copies : float
        How many devices each of them stands for.
    """
    most = int(np.clip(names.size // _ONE_IN, _LEAST, _MOST))
    chosen = np.sort(random.permutation(names.size)[:most])
    random.shuffle(chosen)
    return names[chosen], names.size / chosen.size


class Sample:
    """Devices that stand for a fleet, in strata, with the master that learns from their answers.

    Parameters
    ----------
    tasks : Tasks
    oracle : Oracle
    acting : int
        How many devices may act, in the whole fleet.
    totals : (tasks,), (tasks,) or None
        A_j and R_j of a plan to start from.
    """

    def __init__(
        self, tasks: Tasks, oracle: Oracle, acting: int, totals: tuple[Floats, Floats] | None
    ) -> None:
        self.tasks, self.oracle = tasks, oracle
        answers: list[tuple[Table, Floats]] = []
        if totals is None:
            self.progress, self.error, answers = first_totals(oracle)
        else:
            self.progress, self.error = totals
        used = tasks.weight > 0
        #: Whether every weighted task has somebody to train it.
        self.trains = bool((self.progress[used] > 0).all())
        if not self.trains:
            return
        self.progress = np.where(used, self.progress, 1.0)
        ratio = (tasks.start + self.error) / self.progress
        #: A typical objective.
        self.scale = float(tasks.weight[used] @ ratio[used])
        #: How far a device's plan may be from its bound.
        self.accuracy = oracle.accuracy = OPEN * self.scale / acting
        self.master = Master(tasks, oracle.groups, self.scale)
        for table, summed in answers:
            self.master.add(table, summed)
        self._missing: Floats | None = None

    def learn(self, run: Run, last: Lesson | None = None) -> Lesson:
        """Learn prices, from the start or on from the last lesson."""
        used = self.tasks.weight > 0
        progress, error, table = self.progress, self.error, None
        if last is not None:
            progress = np.where(used, last.point.progress, 1.0)
            error, table = last.point.error, last.table
        lesson = learn(
            self.oracle, self.master, progress, error, table=table,
            accuracy=max(_ACCURACY, _PART * run.options.gap),
            stop=run.stop,
        )  # fmt: skip
        # Cut short, the mixture may leave a task untrained.
        known = {"relaxed": lesson.objective} if np.isfinite(lesson.objective) else {}
        run.note("prices", steps=lesson.steps, **known)
        return lesson

    def correct(self, whole: Whole, table: Table) -> None:
        """Find what the sample misses of the whole fleet's answer."""
        mine = self.oracle.ask(table, rounds=ROUNDS).totals.sum(axis=0)
        self._missing = whole.ask(table, rounds=ROUNDS).totals.sum(axis=0) - mine
        self.master.correct(self._missing)

    def value(self, table: Table) -> float:
        """Estimate the dual of the whole fleet at a table, and let the master know the answer."""
        answer = self.oracle.ask(table, rounds=ROUNDS)
        self.master.add(table, answer.totals)
        missing = 0.0 if self._missing is None else worth(self.tasks, table, self._missing)
        return answer.value + missing
