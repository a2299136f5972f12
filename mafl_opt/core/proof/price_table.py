"""One table of prices of a certificate: what every session costs under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.proof.devices import DevicePrograms
from mafl_opt.core.proof.entries import prices, table, wholes
from mafl_opt.core.proof.guards import ROUNDING
from mafl_opt.core.proof.knapsacks import Items
from mafl_opt.core.proof.row_costs import RowCosts
from mafl_opt.core.proof.session_table import SessionTable
from mafl_opt.core.scenario import Scenario

__all__ = ["PriceTable"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_SESSION = ("device", "task", "receive", "upload", "iterations", "price")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """Prices, all >= 0 (model page, section 6.3).

    Attributes
    ----------
    error, progress : (tasks,)
        lam and mu, prices of N_j and A_j; 0 for tasks of weight 0, which have no ratio.
    uplink : (slots,)
    steps : (slots, tasks)
        Prices of the step caps.
    energy : (devices,) or None
        Prices of the budgets, 1/J; without them each device keeps its own budget.
    listed : (sessions,)
        Sorted keys of the sessions with a price of their own, as `SessionTable.keys`.
    extra : (sessions,)
        That price.
    is_listed : (slots, tasks)
        The caps of which a session is listed.
    """

    error: Floats
    progress: Floats
    uplink: Floats
    steps: Floats
    energy: Floats | None
    listed: Ints
    extra: Floats
    is_listed: Bools

    @classmethod
    def read(cls, scenario: Scenario, path: str, entry: Any, *, energy: bool) -> PriceTable:
        """Read a table from a certificate.

        Parameters
        ----------
        scenario : Scenario
        path : str
            Where it stands, for errors.
        entry : mapping
        energy : bool
            Whether prices of the budgets must be there.

        Raises
        ------
        InputError
            With the path of the entry.
        """
        slots, devices, tasks = scenario.num_slots, scenario.num_devices, scenario.num_tasks
        names = ("numerator", "progress", "uplink", "step_cap", *(("energy",) if energy else ()))
        data = table(path, entry, names)
        shapes = {"uplink": (slots,), "step_cap": (slots, tasks), "energy": (devices,)}
        read = {
            name: prices(f"{path}.{name}", data[name], shapes.get(name, (tasks,)))
            for name in (*names, *(("energy",) if "energy" in data and not energy else ()))
        }
        weighted = scenario.tasks.weight > 0
        listed, extra = np.zeros(0, dtype=np.int64), np.zeros(0)
        is_listed = np.zeros((slots, tasks), dtype=bool)
        if "sessions" in data:
            listed, extra = _sessions(scenario, f"{path}.sessions", data["sessions"], is_listed)
        return cls(
            error=np.where(weighted, read["numerator"], 0.0),
            progress=np.where(weighted, read["progress"], 0.0),
            uplink=read["uplink"], steps=read["step_cap"], energy=read.get("energy"),
            listed=listed, extra=extra, is_listed=is_listed,
        )  # fmt: skip

    @classmethod
    def cheapest(cls, tables: Sequence[PriceTable]) -> PriceTable:
        """Return prices at which every session costs at most what it costs in each of the tables.

        A session that costs something there is in no device's best plan under any of them.
        """
        first = tables[0]
        return cls(
            error=np.min([t.error for t in tables], axis=0),
            progress=np.max([t.progress for t in tables], axis=0),
            uplink=np.min([t.uplink for t in tables], axis=0),
            steps=np.min([t.steps for t in tables], axis=0), energy=None,
            listed=np.zeros(0, dtype=np.int64), extra=np.zeros(0),
            is_listed=np.zeros_like(first.is_listed),
        )  # fmt: skip

    def programs(self, scenario: Scenario, rows: SessionTable, busy: Bools) -> DevicePrograms:
        """Return the device programs of a block at these prices.

        Parameters
        ----------
        scenario : Scenario
        rows : SessionTable
        busy : (devices of the block, slots + 1)
            Slots in which a device must not idle.
        """
        error = self.error[rows.task]
        with np.errstate(over="ignore", invalid="ignore"):
            fixed = error * rows.systematic + self.uplink[rows.upload - 1]
            fixed += self.charges(scenario, rows)
            gain = self.progress[rows.task] * rows.progress
        joule = np.full(busy.shape[0], scenario.energy_weight)
        if self.energy is not None:
            joule += self.energy[rows.devices]
        costs = RowCosts(table=rows, error=error, fixed=fixed, gain=gain)
        return DevicePrograms.of(scenario, costs, joule, busy)

    def may_pay(
        self, scenario: Scenario, rows: SessionTable, floors: tuple[Floats, Floats]
    ) -> Bools:
        """Return which rows may cost less than nothing, quickly; instead of others devices idle.

        Parameters
        ----------
        scenario : Scenario
        rows : SessionTable
        floors : (rows,), (rows,)
            Of the rows, see `SessionTable.floors`.
        """
        phi, joules = floors
        with np.errstate(over="ignore", invalid="ignore"):
            cost = self.error[rows.task] * phi + scenario.energy_weight * joules
            cost += (
                self.uplink[rows.upload - 1] + self.steps[rows.upload - 1, rows.task] * rows.step
            )
            gain = self.progress[rows.task] * rows.progress
            pays: Bools = ~(cost * (1 - ROUNDING) >= gain * (1 + ROUNDING))
        return pays

    def items(self, scenario: Scenario, rows: SessionTable) -> Items:
        """Return the sessions of a block that end at a cap with listed sessions."""
        mine = rows.take(self.is_listed[rows.upload - 1, rows.task])
        number = self.is_listed.ravel().cumsum() - 1
        return Items(
            cap=number[(mine.upload - 1) * scenario.num_tasks + mine.task], device=mine.device,
            step=mine.step, charge=self.charges(scenario, mine),
        )  # fmt: skip

    def charges(self, scenario: Scenario, rows: SessionTable) -> Floats:
        """p_s of each row, (rows,): its part of the step cap's price, and its own price."""
        charge: Floats = self.steps[rows.upload - 1, rows.task] * rows.step
        if self.listed.size:
            longest = int(scenario.tasks.iterations_max.max())
            keys = rows.keys(scenario.num_tasks, scenario.num_slots, longest)
            at = np.searchsorted(keys, self.listed)
            at[at == keys.size] = 0
            found = keys[at] == self.listed if keys.size else np.zeros(0, dtype=bool)
            charge[at[: found.size][found]] += self.extra[: found.size][found]
        return charge


def _sessions(scenario: Scenario, path: str, entry: Any, is_listed: Bools) -> tuple[Ints, Floats]:
    """Return keys and prices of the listed sessions, sorted; mark their caps."""
    data = table(path, entry, _SESSION)
    slots, tasks = scenario.num_slots, scenario.num_tasks
    longest = int(scenario.tasks.iterations_max.max())
    limits = {"device": (0, scenario.num_devices - 1), "task": (0, tasks - 1)}
    limits |= {"receive": (0, slots - 1), "upload": (1, slots), "iterations": (1, longest)}
    size: int | None = None
    columns = {}
    for name, (low, high) in limits.items():
        columns[name] = wholes(f"{path}.{name}", data[name], size, low, high)
        size = columns[name].size
    own = prices(f"{path}.price", data["price"], (columns["device"].size,))
    key = columns["device"]
    for name, base in (("receive", slots), ("upload", slots + 1), ("task", tasks)):
        key = key * base + columns[name]
    key = key * (longest + 1) + columns["iterations"]
    order = np.argsort(key, kind="stable")
    for k in np.flatnonzero(np.diff(key[order]) == 0)[:1]:
        raise InputError(f"{path}[{order[k + 1]}]", "each session once", "a second time")
    is_listed[columns["upload"] - 1, columns["task"]] = True
    return key[order], own[order]
