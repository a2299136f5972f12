"""One table of prices of a certificate of kind patterns: what every session costs under it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.proof.counts import Counted, split_batches
from mafl_opt.core.proof.entries import listed, number, prices, table
from mafl_opt.core.proof.guards import ROUNDING, WIDENING
from mafl_opt.core.proof.knapsacks import Items
from mafl_opt.core.proof.leaves import Leaf
from mafl_opt.core.proof.row_costs import RowCosts
from mafl_opt.core.proof.session_table import SessionTable
from mafl_opt.core.scenario import Scenario

__all__ = ["PatternPrices"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternPrices:
    """Multipliers (model page, eq. 45c), all >= 0 but those of counts.

    Attributes
    ----------
    error, progress : (tasks,)
        lam and mu, of N_j and A_j; 0 for tasks of weight 0, which have no ratio.
    uplink : (slots,)
        nu.
    energy : (devices,)
        omega, of the budgets, 1/J.
    slots : (devices, slots)
        pi, of each device in each slot.
    counts : mapping from Counted to float
        sigma, of numbers of sessions, of any sign.
    whole_slots : bool
        Whether patterns of all tasks together have a device once (model page, eq. 45e).
    """

    error: Floats
    progress: Floats
    uplink: Floats
    energy: Floats
    slots: Floats
    counts: Mapping[Counted, float]
    whole_slots: bool

    @classmethod
    def read(cls, scenario: Scenario, path: str, entry: Any) -> PatternPrices:
        """Read a table from a certificate.

        Raises
        ------
        InputError
            With the path of the entry.
        """
        slots, devices, tasks = scenario.num_slots, scenario.num_devices, scenario.num_tasks
        shapes: dict[str, tuple[int, ...]] = {
            "numerator": (tasks,), "progress": (tasks,), "uplink": (slots,),
            "energy": (devices,), "device_slot": (devices, slots),
        }  # fmt: skip
        data = table(path, entry, tuple(shapes))
        read = {name: prices(f"{path}.{name}", data[name], shapes[name]) for name in shapes}
        weighted = scenario.tasks.weight > 0
        counts: dict[Counted, float] = {}
        for n, one in enumerate(listed(f"{path}.counts", data.get("counts", ()), "counts")):
            where = f"{path}.counts[{n}]"
            price = number(f"{where}.price", table(where, one, ("price",))["price"])
            counted = Counted.read(scenario, where, one)
            if counted in counts:
                raise InputError(where, "each count once", "a second time")
            counts[counted] = price
        together = data.get("whole_slots", False)
        if not isinstance(together, bool):
            raise InputError(f"{path}.whole_slots", "true or false", together)
        return cls(
            error=np.where(weighted, read["numerator"], 0.0),
            progress=np.where(weighted, read["progress"], 0.0), uplink=read["uplink"],
            energy=read["energy"], slots=read["device_slot"], counts=counts,
            whole_slots=together,
        )  # fmt: skip

    def items(self, scenario: Scenario, rows: SessionTable) -> Items:
        """Return what may be in a cheapest pattern; of each device all that nothing beats.

        A cap is numbered ``(upload - 1) * tasks + task``, and the charge is what a session saves.
        """
        rows = self.sized(rows)
        costs = self.costs(rows)
        joule = (scenario.energy_weight + self.energy)[rows.device]
        least, _ = costs.least(joule)
        pays = np.flatnonzero(least < 0.0)
        mine = rows.take(pays)
        return Items(
            cap=(mine.upload - 1) * scenario.num_tasks + mine.task, device=mine.device,
            step=mine.step, charge=-least[pays],
        ).unbeaten()  # fmt: skip

    def sized(self, rows: SessionTable) -> SessionTable:
        """Return rows at whose mini-batches the same counts are priced."""
        return split_batches(rows, [counted for counted, price in self.counts.items() if price])

    def costs(self, rows: SessionTable) -> RowCosts:
        """Return what each row costs, but for its joules."""
        error = self.error[rows.task]
        added, taken = self.count_prices(rows)
        with np.errstate(over="ignore", invalid="ignore"):
            fixed = error * rows.systematic + self.uplink[rows.upload - 1]
            fixed += self.occupied(rows) + added
            gain = self.progress[rows.task] * rows.progress + taken
        return RowCosts(table=rows, error=error, fixed=fixed, gain=gain)

    def occupied(self, rows: SessionTable) -> Floats:
        """Return the sum of pi over the slots that each row occupies, (rows,)."""
        # Sums of each length by themselves: differences of running sums would cancel.
        devices, slots = self.slots.shape
        width = int((rows.upload - rows.receive).max(initial=1))
        sums = np.zeros((width + 1, devices, slots))
        for length in range(1, width + 1):
            last = slots - length + 1
            sums[length, :, :last] = sums[length - 1, :, :last] + self.slots[:, length - 1 :]
        found: Floats = sums[rows.upload - rows.receive, rows.device, rows.receive]
        return found

    def count_prices(self, rows: SessionTable) -> tuple[Floats, Floats]:
        """Return what counts add to each row and what they take off, (rows,) each.

        Parameters
        ----------
        rows : SessionTable
            As `sized` makes them.
        """
        added, taken = np.zeros(len(rows)), np.zeros(len(rows))
        for counted, price in self.counts.items():
            if price:
                side = added if price > 0 else taken
                side[counted.among(rows, rows.batch_min)] += abs(price)
        return added, taken

    def constants(self, scenario: Scenario) -> tuple[float, float]:
        """Return what does not depend on sessions: what is gained, and what limits cost."""
        gaps = scenario.tasks.initial_gap + scenario.loss_drift.sum(axis=0)
        gain = float(self.error @ gaps)
        paid = float(self.uplink @ scenario.network.uplink_capacity.astype(float))
        paid += (1 + WIDENING) * float(self.energy @ scenario.devices.energy_budget_j)
        return gain, paid + float(self.slots.sum())

    def count_part(self, leaf: Leaf) -> float:
        """Return what the ranges of the counts in a leaf add, rounded downwards."""
        total = size = 0.0
        for counted, price in self.counts.items():
            least, most = leaf.counts.get(counted, (0.0, math.inf))
            if price != 0:
                term = price * (most if price > 0 else least)
                total, size = total - term, size + abs(term)
        value = total - ROUNDING * size
        return value if not math.isnan(value) else -math.inf
