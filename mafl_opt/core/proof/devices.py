"""The devices at given prices: least cost of a set of sessions (model page, section 6, fact 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.proof.chains import Chains
from mafl_opt.core.proof.guards import WIDENING
from mafl_opt.core.proof.labels import Choices, least_within
from mafl_opt.core.proof.row_costs import RowCosts
from mafl_opt.core.scenario import Scenario

__all__ = ["DevicePrograms"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePrograms:
    """Sessions of some devices as chains over the slots, one owner a device.

    Attributes
    ----------
    rows : RowCosts
    chains : Chains
        Arcs are the pairs (receive, upload) of each device.
    arc : (rows,)
        The arc of each row.
    first : (arcs,)
        First row of each arc.
    budget, joule : (owners,)
        Widened energy budget, J, and the price of a joule that is part of the costs, 1/J.
    """

    rows: RowCosts
    chains: Chains
    arc: Ints
    first: Ints
    budget: Floats
    joule: Floats

    @classmethod
    def of(
        cls, scenario: Scenario, rows: RowCosts, joule: Floats, busy: Bools
    ) -> DevicePrograms:  # fmt: skip
        """Put rows and their prices together.

        Parameters
        ----------
        scenario : Scenario
        rows : RowCosts
        joule : (devices of the table,)
        busy : (devices of the table, slots + 1)
            Slots in which a device must not idle.
        """
        table = rows.table
        owner = table.device - table.devices.start
        new = np.ones(len(table), dtype=bool)
        columns = np.stack([owner, table.receive, table.upload])
        new[1:] = (columns[:, 1:] != columns[:, :-1]).any(axis=0)
        first = np.flatnonzero(new)
        chains = Chains(
            busy=busy, owner=owner[first], start=table.receive[first], end=table.upload[first]
        )
        budget = scenario.devices.energy_budget_j[table.devices] * (1 + WIDENING)
        return cls(
            rows=rows, chains=chains, arc=new.cumsum() - 1, first=first, budget=budget, joule=joule
        )

    def minima(self) -> Floats:
        """Return the least cost of each device without regard to its budget; (owners,)."""
        cost, use = self.at(np.zeros(self.chains.num_owners))
        value, _ = self.chains.forward(cost, use)
        return value[:, -1]

    def at(self, price: Floats) -> tuple[Floats, Floats]:
        """Return the least cost of each arc with the joules at `price` more, and its energy."""
        if not self.first.size:
            return np.zeros(0), np.zeros(0)
        cost, batch = self.rows_at(price)
        least = np.minimum.reduceat(cost, self.first)
        best = np.flatnonzero(cost == least[self.arc])
        use = np.zeros(least.size)
        use[self.arc[best]] = self.rows.table.take(best).energy_j(batch[best])
        return least, use

    def rows_at(self, price: Floats) -> tuple[Floats, Floats]:
        """Return the least cost of each row with the joules at `price` more, and its mini-batch."""
        return self.rows.least((self.joule + price)[self.chains.owner][self.arc])

    def cheapest(self, price: Floats) -> tuple[Floats, Floats]:
        """Return the least cost of each device with the joules at `price` more, and its energy."""
        value, used = self.chains.forward(*self.at(price))
        return value[:, -1], used[:, -1]

    def within(self, price: Floats, bound: Floats, aim: Floats) -> Floats:
        """Return the least cost within the budget, or the aim where that is smaller; (owners,)."""
        cost, use = self.at(price)
        before, _ = self.chains.forward(cost, use)
        after = self.chains.backward(cost)
        owner, start, end = self.chains.owner, self.chains.start, self.chains.end
        reach = (aim + price * self.budget)[owner] - before[owner, start] - after[owner, end]
        choices = self.choices(price, reach)
        return least_within(self.chains, choices, self.budget, aim, price, after)

    def thriftiest(self) -> tuple[Floats, Floats]:
        """Return the least energy of each device, and what that costs."""
        least, paid = self.chains.forward(*self._thriftiest())
        return least[:, -1], paid[:, -1]

    def _thriftiest(self) -> tuple[Floats, Floats]:
        """Return the least energy of each arc, and what that costs."""
        if not self.first.size:
            return np.zeros(0), np.zeros(0)
        batch = self.rows.table.batch_min
        energy = self.rows.table.energy_j(batch)
        least = np.minimum.reduceat(energy, self.first)
        best = np.flatnonzero(energy == least[self.arc])
        cost = np.zeros(least.size)
        cost[self.arc[best]] = self.rows.at(batch, self.joule[self.chains.owner][self.arc])[best]
        return least, cost

    def choices(self, price: Floats, reach: Floats) -> Choices:
        """Return the rows with those mini-batches that stay below the reach of their arc."""
        joule = (self.joule + price)[self.chains.owner][self.arc]
        least, best = self.rows.least(joule)
        rows = np.flatnonzero(least < reach[self.arc])
        best, some = best[rows], self._of_rows(rows)
        joule, limit = joule[rows], reach[self.arc[rows]]
        # Costs are convex in the mini-batch: what stays below the reach is an interval.
        smallest = some._last_below(best, some.rows.table.batch_min, joule, limit)
        largest = some._last_below(best, some.rows.table.batch_max, joule, limit)
        counts = (largest - smallest).astype(np.int64) + 1
        ends = counts.cumsum()
        row = np.repeat(np.arange(rows.size), counts)
        batch = smallest[row] + np.arange(row.size) - (ends - counts)[row]
        every = some._of_rows(row)
        own = self.joule[self.chains.owner][every.arc]
        arc = every.arc
        return Choices(
            owner=self.chains.owner[arc], start=self.chains.start[arc], end=self.chains.end[arc],
            cost=every.rows.at(batch, own), use=every.rows.table.energy_j(batch),
        )  # fmt: skip

    def of_owners(self, chosen: Ints) -> DevicePrograms:
        """Return the programs of some devices, numbered anew in ascending order."""
        if chosen.size == self.chains.num_owners:
            return self
        number = np.full(self.chains.num_owners, -1)
        number[chosen] = np.arange(chosen.size)
        arcs = number[self.chains.owner] >= 0
        rows = np.flatnonzero(arcs[self.arc])
        anew = arcs.cumsum() - 1
        chains = Chains(
            busy=self.chains.busy[chosen], owner=number[self.chains.owner[arcs]],
            start=self.chains.start[arcs], end=self.chains.end[arcs],
        )  # fmt: skip
        arc = anew[self.arc[rows]]
        first = np.searchsorted(arc, np.arange(chains.owner.size))
        picked = self._of_rows(rows)
        return replace(
            picked, chains=chains, arc=arc, first=first, budget=self.budget[chosen],
            joule=self.joule[chosen],
        )  # fmt: skip

    def _of_rows(self, rows: Ints) -> DevicePrograms:
        """Rows with their prices; arcs keep their numbers, `first` is void."""
        return replace(self, rows=self.rows.take(rows), arc=self.arc[rows], first=self.first[:0])

    def _last_below(self, best: Floats, end: Floats, joule: Floats, limit: Floats) -> Floats:
        """Return the mini-batch farthest from the best one towards `end` that stays below."""
        good, bad = best.copy(), end.copy()
        fits = self.rows.at(bad, joule) < limit
        good[fits] = bad[fits]
        while (open_ := np.abs(good - bad) > 1).any():
            middle = np.where(open_, np.floor(0.5 * (good + bad)), good)
            fits = self.rows.at(middle, joule) < limit
            good = np.where(open_ & fits, middle, good)
            bad = np.where(open_ & ~fits, middle, bad)
        return good
