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
from mafl_opt.solvers.prices.fleet.arcs import Room, Table, scratch
from mafl_opt.solvers.prices.fleet.arrays import Fleet, Tasks, read_only
from mafl_opt.solvers.prices.fleet.kernel import assign_devices, cost_plans, price_devices
from mafl_opt.solvers.prices.fleet.labels import pool
from mafl_opt.solvers.prices.fleet.logs import SweepLog
from mafl_opt.solvers.prices.fleet.ratio import mix

__all__ = ["Assignment"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK = 2048
# The search for a device's energy price, and how close its plan must come to its bound.
_ROUNDS = 8
# Devices that exchange room, tries in all and without success, and the least relative change that
# counts.
_FEWEST, _MOST = 2, 16
_TRIES, _PATIENCE = 10_000, 1000
_WORTH = 1e-9
# After so many in vain, devices' plans are no longer the best at their last energy prices alone,
# which takes a tenth of the time, but the best within their budgets.
_QUICK = 800
# Tries between looks at who loses what: so many, and one for so many devices.
_FRESH, _LOOKED_AT = 20, 1000
# Parts of the fleet by how much their plans gain.
_BANDS = 10
# Shares of the prices of limits: below 1, what is left of the room is used as well.
_EAGER = (1.0, 0.95, 0.8, 0.5)


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
        return self._value(self.totals)

    def _value(self, totals: Floats) -> float:
        t, most = self.tasks, self.tasks.bits.size
        used = t.weight > 0
        progress = totals[1 + most : 1 + 2 * most][used]
        if (progress <= 1e-12 * t.cap[used]).any():
            return np.inf
        error = (t.start + totals[1 : 1 + most])[used]
        return float(t.weight[used] @ (error / progress) + t.energy_weight * totals[0])

    def sweep(self, table: Table, *, stop: Callable[[], bool]) -> None:
        """Plan every device anew at the prices.

        A sweep that the log knows is not made again.
        """
        self._sweep(table, [(table, np.arange(self.fleet.size))], stop)

    def spread(
        self, tables: list[Table], shares: Floats, seed: int, *, stop: Callable[[], bool]
    ) -> None:
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
        drawn, cuts = random.permutation(size), np.rint(np.cumsum(shares) * size).astype(np.int64)
        which = np.empty(size, dtype=np.int64)
        which[drawn] = np.searchsorted(cuts, np.arange(size), side="right")
        # Whoever gains most chooses first; the others fill what is left.
        ranked = np.argsort(self._least(mix(tables, shares)), kind="stable")
        parts = [
            (tables[k], band[which[band] == k])
            for band in np.array_split(ranked, _BANDS)
            for k in np.unique(which[band])
        ]
        self._sweep(mix(tables, shares), parts, stop)

    def _sweep(self, key: Table, parts: list[tuple[Table, Ints]], stop: Callable[[], bool]) -> None:
        """Plan some devices at each table; the log knows the sweep by `key`."""
        if self._recall(key):
            return
        for table, devices in parts:
            for start in range(0, devices.size, _BLOCK):
                if stop():
                    return
                part = devices[start : start + _BLOCK]
                self._plan(table, part, rounds=_ROUNDS, together=False)
        self._keep(key)

    def exchange(self, table: Table, seed: int, *, aim: float, stop: Callable[[], bool]) -> None:
        """Let few devices at a time exchange their room, those first that lose most by the plan.

        Where limits are full, no device gets a better plan alone. At the prices of a relaxation
        O is above the bound by what devices' plans cost more than their best ones, and by limits
        not used up. So some of the devices that lose much give their room back, with some others,
        and are planned anew, dearest first (ruin and recreate).

        Parameters
        ----------
        table : Table
        seed : int
        aim : float
            Objective that is good enough.
        stop : callable
        """
        if self._recall(table):
            return
        random, least = np.random.default_rng(seed), self._least(table)
        fresh = max(_FRESH, least.size // _LOOKED_AT)
        tries = since = 0
        while self.objective > aim and since < _PATIENCE and tries < _TRIES and not stop():
            if tries % fresh == 0:
                lost = np.maximum(self._costs(table) - least, 0.0)
                chance = np.cumsum(lost / max(float(lost.sum()), 1e-300) + 1.0 / lost.size)
                now = self.marginal(table, float(random.choice(_EAGER)), moved=True)
            drawn = random.random(int(random.integers(_FEWEST, _MOST + 1))) * chance[-1]
            chosen = np.unique(np.searchsorted(chance[:-1], drawn, side="right"))
            chosen = chosen[np.argsort(-lost[chosen], kind="stable")]
            rounds = 1 if since < _QUICK else _ROUNDS
            since = 0 if self._plan(now, chosen, rounds=rounds, together=True) else since + 1
            tries += 1
        if not stop():
            self._keep(table)

    def _plan(self, table: Table, block: Ints, *, rounds: int, together: bool) -> bool:
        """Plan some devices in this order; together they keep their plans if no better come out."""
        plans, counts, totals = self._plans[block], self._counts[block], self.totals.copy()
        assign_devices(
            read_only(self.fleet.take(block)), self.tasks, read_only(table),
            self._energy_price[block], rounds, self.accuracy, self._pool, self._scratch,
            plans, counts, totals, together,
        )  # fmt: skip
        if together and not self._value(totals) < self.objective * (1.0 - _WORTH):
            return False
        self._plans[block], self._counts[block], self.totals[:] = plans, counts, totals
        return True

    def _least(self, table: Table) -> Floats:
        """Cost of every device's best plan, with all the room there is, or a little less."""
        size, slots = self.fleet.size, self.tasks.capacity.size
        least, cost, totals = np.zeros(size), np.zeros(size), np.zeros(self.totals.size)
        room = Room(uplink=self.tasks.capacity, step=np.tile(self.tasks.cap, (slots, 1)))
        price_devices(
            read_only(self.fleet), self.tasks, read_only(table), room, self._energy_price.copy(),
            _ROUNDS, self.accuracy, self._pool, self._scratch, least, cost, totals,
        )  # fmt: skip
        return least

    def _costs(self, table: Table) -> Floats:
        cost = np.zeros(self.fleet.size)
        cost_plans(
            read_only(self.fleet), self.tasks, read_only(table), self._plans, self._counts, cost
        )
        return cost

    def _recall(self, key: Table) -> bool:
        """Whether the log knows a sweep; if so, its totals are those reached."""
        known = None if self._log is None else self._log.recall(key)
        if known is not None:
            self.totals[:] = known
        return known is not None

    def _keep(self, key: Table) -> None:
        if self._log is not None:
            self._log.keep(key, self.totals, self._plans[self._kept()], self._counts)

    def marginal(self, table: Table, share: float, *, moved: bool = False) -> Table:
        """Return the marginal prices of the totals reached, with a share of the others'.

        A session gains mu / 2 less the price of the cap for a step. Where caps fix A_j, prices say
        that difference and no more: `moved` takes those of caps along with mu.
        """
        t, most = self.tasks, self.tasks.bits.size
        reached = np.where(t.weight > 0, self.totals[1 + most : 1 + 2 * most], 1.0)
        error = t.weight / reached
        progress = error * (t.start + self.totals[1 : 1 + most]) / reached
        step = table.step
        if moved:
            step = np.maximum(step + 0.5 * (progress - table.progress), 0.0)
        return Table(error=error, progress=progress, uplink=share * table.uplink, step=share * step)

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
