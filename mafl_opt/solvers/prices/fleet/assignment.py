"""Plans of a large fleet: devices planned one after the other in the room that the others leave.

No single price table makes devices' own plans add up to the limits, mixtures of answers do. So the
first sweep gives every device one of the tables of a mixture; further sweeps, at the marginal
prices of what has been reached, let single devices improve. O is followed exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.plan import Sessions
from mafl_opt.solvers.prices.fleet.arcs import Table, scratch
from mafl_opt.solvers.prices.fleet.arrays import Fleet, Tasks, read_only
from mafl_opt.solvers.prices.fleet.kernel import assign_devices
from mafl_opt.solvers.prices.fleet.labels import pool
from mafl_opt.solvers.prices.fleet.logs import SweepLog
from mafl_opt.solvers.prices.fleet.ratio import mix

__all__ = ["Assignment"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK = 2048
# The search for a device's energy price, and how close its plan must come to its bound.
_ROUNDS = 8


class Assignment:
    """Sessions of every device, with their totals.

    Parameters
    ----------
    fleet : Fleet
    tasks : Tasks
    energy_price : (devices,)
        Where to start for each.
    accuracy : float
        A device's plan may be this far from the best.
    log : SweepLog or None
        Sweeps made before, if the search is resumed; gets those that are finished.

    Attributes
    ----------
    totals : (1 + 2 J + G + G J,)
    """

    def __init__(
        self, fleet: Fleet, tasks: Tasks, energy_price: Floats, accuracy: float,
        log: SweepLog | None = None,
    ) -> None:  # fmt: skip
        self.fleet, self.tasks, self.accuracy = fleet, tasks, accuracy
        num_tasks, slots = tasks.bits.size, tasks.capacity.size
        self.totals = np.zeros(1 + 2 * num_tasks + slots * (1 + num_tasks))
        self._energy_price = energy_price
        self._plans = np.zeros((fleet.size, slots, 5), dtype=np.int32)
        self._counts = np.zeros(fleet.size, dtype=np.int32)
        self._log = log
        if log is not None and log.rows is not None and log.counts is not None:
            self._counts[:] = log.counts
            self._plans[self._kept()] = log.rows
        self._pool, self._scratch = pool(), scratch(tasks)

    @property
    def objective(self) -> float:
        """O of the plan; inf while a weighted task is never trained."""
        t, most = self.tasks, self.tasks.bits.size
        used = t.weight > 0
        progress = self.totals[1 + most : 1 + 2 * most][used]
        if (progress <= 1e-12 * t.cap[used]).any():
            return np.inf
        error = (t.start + self.totals[1 : 1 + most])[used]
        return float(t.weight[used] @ (error / progress) + t.energy_weight * self.totals[0])

    def sweep(self, table: Table, *, stop: Callable[[], bool]) -> int:
        """Plan every device anew at the prices; returns how many got a new plan.

        A sweep that the log knows is not made again.
        """
        return self._sweep(table, [(table, np.arange(self.fleet.size))], stop)

    def spread(
        self, tables: list[Table], shares: Floats, seed: int, *, stop: Callable[[], bool]
    ) -> int:
        """Plan every device at one of some tables, drawn at random: as `sweep`.

        Parameters
        ----------
        tables : list of Table
        shares : (tables,)
            How much of the fleet gets each; sums to 1.
        seed : int
        stop : callable
        """
        size, random = self.fleet.size, np.random.default_rng(seed)
        drawn = random.permutation(size)
        cuts = np.rint(np.cumsum(shares) * size).astype(np.int64)
        parts = [
            (table, np.sort(drawn[first:last]))
            for table, first, last in zip(tables, [0, *cuts], cuts, strict=False)
        ]
        return self._sweep(mix(tables, shares), parts, stop)

    def _sweep(self, key: Table, parts: list[tuple[Table, Ints]], stop: Callable[[], bool]) -> int:
        """Plan some devices at each table; the log knows the sweep by `key`."""
        known = None if self._log is None else self._log.recall(key)
        if known is not None:
            self.totals[:] = known
            return 0
        changed = 0
        for table, devices in parts:
            for start in range(0, devices.size, _BLOCK):
                if stop():
                    return changed
                block = devices[start : start + _BLOCK]
                plans, counts = self._plans[block], self._counts[block]
                changed += assign_devices(
                    read_only(self.fleet.take(block)), self.tasks, read_only(table),
                    self._energy_price[block], _ROUNDS, self.accuracy, self._pool, self._scratch,
                    plans, counts, self.totals,
                )  # fmt: skip
                self._plans[block], self._counts[block] = plans, counts
        if self._log is not None:
            self._log.keep(key, self.totals, self._plans[self._kept()], self._counts)
        return changed

    def marginal(self, table: Table, share: float) -> Table:
        """Return the marginal prices of the totals reached, with a share of the others'."""
        t, most = self.tasks, self.tasks.bits.size
        progress = np.where(t.weight > 0, self.totals[1 + most : 1 + 2 * most], 1.0)
        error = t.weight / progress
        return Table(
            error=error, progress=error * (t.start + self.totals[1 : 1 + most]) / progress,
            uplink=share * table.uplink, step=share * table.step,
        )  # fmt: skip

    def _kept(self) -> NDArray[np.bool_]:
        """Rows of the plans that are sessions; (devices, slots)."""
        return np.arange(self._plans.shape[1]) < self._counts[:, None]

    def sessions(self, names: Ints) -> Sessions:
        """Return the plan as a table, each session at its best frequency.

        Parameters
        ----------
        names : (devices,)
            Numbers of the devices in the scenario.
        """
        f, t = self.fleet, self.tasks
        device = np.repeat(np.arange(f.size), self._counts)
        rows = self._plans[self._kept()]
        task, receive, upload, iterations, batch = rows.T.astype(np.int64)
        down = t.bits[task] / f.down_rate[device, receive]
        up = t.bits[task] / f.up_rate[device, upload - 1]
        time = t.instants[upload] - t.instants[receive] - down - up
        rate = f.cycles[device, task] * iterations * batch / time
        return Sessions(
            device=names[device], task=task, receive=receive, upload=upload,
            cpu_hz=np.clip(rate, f.f_min[device], f.f_max[device]), batch_size=batch,
            iterations=iterations,
        ).sorted()  # fmt: skip
