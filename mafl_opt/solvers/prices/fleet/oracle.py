"""Answers to prices: the dual of a large fleet, block of devices by block.

Blocks are cut without regard to how many threads there are and added up in their order, so that the
numbers do not depend on the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.prices.fleet.arcs import Room, Table, scratch
from mafl_opt.solvers.prices.fleet.arrays import Fleet, Tasks
from mafl_opt.solvers.prices.fleet.kernel import price_devices
from mafl_opt.solvers.prices.fleet.labels import pool

__all__ = ["Answer", "Oracle"]

Floats = NDArray[np.float64]

_BLOCK = 2048


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What a fleet answers to a price table.

    value : float
        The dual there, ratio blocks left out.
    gap : float
        How far the devices' plans are above their bounds, in all.
    size : float
        Sum of the magnitudes that the value is a sum of.
    totals : (groups, 1 + 2 J + G + G J)
        What the plans add up to, see `kernel`.
    """

    value: float
    gap: float
    size: float
    totals: Floats


class Oracle:
    """A fleet that answers price tables.

    Parameters
    ----------
    fleet : Fleet
    tasks : Tasks
    copies : float
        How many devices each one stands for.
    groups : int
        Consecutive parts whose plans are added up apart.
    accuracy : float
        A device's bound and plan may differ by this much.
    """

    def __init__(
        self, fleet: Fleet, tasks: Tasks, *, copies: float, groups: int, accuracy: float
    ) -> None:
        self.fleet, self.tasks, self.copies, self.accuracy = fleet, tasks, copies, accuracy
        self.energy_price = np.zeros(fleet.size)
        self.answers = 0
        size = max(1, min(_BLOCK, -(-fleet.size // groups)))
        self._edges = np.append(np.arange(0, fleet.size, size), fleet.size)
        blocks = self._edges.size - 1
        self._group = np.arange(blocks) * min(groups, blocks) // blocks
        self._room = Room(
            uplink=tasks.capacity, step=np.tile(tasks.cap, (tasks.capacity.size, 1))
        )  # fmt: skip
        self._scratch = [(pool(), scratch(tasks)) for _ in range(os.cpu_count() or 1)]

    @property
    def groups(self) -> int:
        """Rows of the totals of an answer."""
        return int(self._group[-1]) + 1

    def ask(self, table: Table, *, rounds: int = 3) -> Answer:
        """Solve every device at the prices; `rounds` bounds the search for its energy price."""
        tasks = self.tasks
        num_tasks, slots = tasks.bits.size, tasks.capacity.size
        blocks = self._edges.size - 1
        totals = np.zeros((blocks, 1 + 2 * num_tasks + slots * (1 + num_tasks)))
        bound, cost = np.zeros(self.fleet.size), np.zeros(self.fleet.size)

        def solve(block: int) -> None:
            start, stop = self._edges[block : block + 2]
            with self._room_for_one() as (labels, own):
                price_devices(
                    self.fleet.part(start, stop), tasks, table, self._room,
                    self.energy_price[start:stop], rounds, self.accuracy, labels, own,
                    bound[start:stop], cost[start:stop], totals[block],
                )  # fmt: skip

        if blocks == 1 or len(self._scratch) == 1:
            for block in range(blocks):
                solve(block)
        else:
            with ThreadPoolExecutor(len(self._scratch)) as threads:
                list(threads.map(solve, range(blocks)))
        self.answers += 1
        grouped = np.zeros((self.groups, totals.shape[1]))
        np.add.at(grouped, self._group, totals)
        parts = np.array([
            self.copies * bound.sum(), table.error @ tasks.start, -table.uplink @ tasks.capacity,
            -(table.step * tasks.cap).sum(),
        ])  # fmt: skip
        total = grouped.sum(axis=0)
        inside = table.error @ total[1 : 1 + num_tasks] + tasks.energy_weight * total[0]
        inside += table.progress @ total[1 + num_tasks : 1 + 2 * num_tasks]
        return Answer(
            value=float(parts.sum()), gap=float(self.copies * (cost - bound).sum()),
            size=float(np.abs(parts).sum() + self.copies * inside), totals=self.copies * grouped,
        )  # fmt: skip

    @contextmanager
    def _room_for_one(self) -> Iterator[tuple[object, object]]:
        """Lend scratch room to a thread; there is one for each."""
        lent = self._scratch.pop()
        try:
            yield lent
        finally:
            self._scratch.append(lent)
