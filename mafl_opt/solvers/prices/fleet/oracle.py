"""Answers to prices: the dual of a large fleet, block of devices by block.

Blocks are cut without regard to who solves them and added up in their order, so that the numbers do
not depend on the engine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.prices.fleet.arcs import Table
from mafl_opt.solvers.prices.fleet.arrays import Fleet, Tasks
from mafl_opt.solvers.prices.fleet.engines import Question, start_engine
from mafl_opt.solvers.prices.fleet.logs import Answer, AnswerLog

__all__ = ["Oracle"]

Floats = NDArray[np.float64]

_BLOCK = 2048


class Oracle:
    """A fleet that answers price tables.

    Parameters
    ----------
    fleet : Fleet
    tasks : Tasks
    strata : sequence of (int, float)
        Sizes of consecutive parts, and how many devices each device there stands for.
    groups : int
        Consecutive parts whose plans are added up apart.
    accuracy : float
        A device's bound and plan may differ by this much.
    engine : str
        See `engines`.
    log : AnswerLog or None
        What it answered before, if the search is resumed; gets what it answers.
    """

    def __init__(
        self, fleet: Fleet, tasks: Tasks, *, strata: Sequence[tuple[int, float]], groups: int,
        accuracy: float, engine: str = "local", log: AnswerLog | None = None,
    ) -> None:  # fmt: skip
        self.fleet, self.tasks, self.accuracy = fleet, tasks, accuracy
        self._log = log
        known = None if log is None else log.energy_price
        self.energy_price = np.zeros(fleet.size) if known is None else known
        self.answers = 0
        size = max(1, min(_BLOCK, -(-fleet.size // groups)))
        starts: list[int] = []
        copies: list[float] = []
        first = 0
        for part, each in strata:
            cuts = range(first, first + part, size)
            starts.extend(cuts)
            copies.extend([each] * len(cuts))
            first += part
        edges, self._copies = np.array([*starts, first]), np.array(copies)
        blocks = edges.size - 1
        self._group = np.arange(blocks) * min(groups, blocks) // blocks
        self._engine = start_engine(engine, fleet, tasks, edges)

    @property
    def groups(self) -> int:
        """Rows of the totals of an answer."""
        return int(self._group[-1]) + 1

    def close(self) -> None:
        """Give back what the engine holds."""
        self._engine.close()

    def ask(self, table: Table, *, rounds: int = 3) -> Answer:
        """Solve every device at the prices; `rounds` bounds the search for its energy price.

        An answer that the log knows is not worked out again.
        """
        answer = None if self._log is None else self._log.recall(table, rounds)
        if answer is None:
            answer, self.energy_price = self._solve(table, rounds)
            if self._log is not None:
                self._log.keep(table, rounds, answer, self.energy_price)
        self.answers += 1
        return answer

    def acting(self, table: Table) -> NDArray[np.int64]:
        """Find the devices that act at the prices, their budgets left out; increasing."""
        question = Question(table, 1, self.accuracy)
        blocks = self._engine.solve_blocks(question, np.zeros(self.fleet.size))
        return np.flatnonzero(np.concatenate([block.acts for block in blocks]))

    def _solve(self, table: Table, rounds: int) -> tuple[Answer, Floats]:
        tasks, num_tasks = self.tasks, self.tasks.bits.size
        question = Question(table, rounds, self.accuracy)
        blocks = self._engine.solve_blocks(question, self.energy_price)
        grouped = np.zeros((self.groups, blocks[0].totals.size))
        totals = np.array([block.totals for block in blocks])
        np.add.at(grouped, self._group, self._copies[:, None] * totals)
        bound = self._copies * np.array([block.bound for block in blocks])
        cost = self._copies * np.array([block.cost for block in blocks])
        parts = np.array([
            bound.sum(), table.error @ tasks.start, -table.uplink @ tasks.capacity,
            -(table.step * tasks.cap).sum(),
        ])  # fmt: skip
        total = grouped.sum(axis=0)
        inside = table.error @ total[1 : 1 + num_tasks] + tasks.energy_weight * total[0]
        inside += table.progress @ total[1 + num_tasks : 1 + 2 * num_tasks]
        answer = Answer(
            value=float(parts.sum()), gap=float((cost - bound).sum()),
            size=float(np.abs(parts).sum() + inside), totals=grouped,
        )  # fmt: skip
        return answer, np.concatenate([block.energy_price for block in blocks])
