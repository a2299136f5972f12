"""What sessions that end together for one task can be charged at most within its step cap."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.proof.chains import frontier, ranges, totals
from mafl_opt.core.proof.guards import ROUNDING
from mafl_opt.core.proof.options import Options

__all__ = ["Items", "Knapsacks"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """Sessions that a cap may hold; all of shape (items,).

    cap : which cap
    device : at most one session a device
    step, charge : c_s C1(l), and the session's price p_s
    """

    cap: Ints
    device: Ints
    step: Floats
    charge: Floats

    def unbeaten(self) -> Items:
        """Drop what another session of the device at the same cap beats: less step, more charge."""
        place = self.cap * (int(self.device.max(initial=0)) + 1) + self.device
        kept = frontier(place, self.step, -self.charge)
        return Items(
            cap=self.cap[kept], device=self.device[kept], step=self.step[kept],
            charge=self.charge[kept],
        )  # fmt: skip

    def at_caps(self, first: int) -> Items:
        """Return the items with their caps numbered from `first` instead of 0."""
        return replace(self, cap=self.cap + first)

    @classmethod
    def joined(cls, parts: list[Items]) -> Items:
        """Put the items of several blocks of devices together."""
        names = ("cap", "device", "step", "charge")
        return cls(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Knapsacks:
    """Multiple-choice knapsacks: of each device at most one choice, all within the budget.

    Attributes
    ----------
    owner : (arcs,)
        The knapsack of each arc, ascending; an arc is a device in a knapsack.
    device : (arcs,)
    arc : (choices,)
        The arc of each choice; sorted by arc, then use.
    first : (arcs,)
        First choice of each arc.
    cost, use : (choices,)
        The charge, negative, and the step, both rounded downwards.
    budget : (owners,)
        theta_j, widened.
    """

    owner: Ints
    device: Ints
    arc: Ints
    first: Ints
    cost: Floats
    use: Floats
    budget: Floats

    @classmethod
    def of(cls, items: Items, budget: Floats) -> Knapsacks:
        """Build the knapsacks of all caps.

        Parameters
        ----------
        items : Items
            With caps numbered from 0.
        budget : (caps,)
            Widened.
        """
        items = items.unbeaten()
        new = np.ones(items.cap.size, dtype=bool)
        new[1:] = np.diff(items.cap) != 0
        new[1:] |= np.diff(items.device) != 0
        first = np.flatnonzero(new)
        return cls(
            owner=items.cap[first], device=items.device[first], arc=new.cumsum() - 1, first=first,
            cost=-items.charge * (1 + ROUNDING), use=items.step * (1 - ROUNDING), budget=budget,
        )  # fmt: skip

    def cheapest(self, price: Floats) -> tuple[Floats, Floats]:
        """Return the least of cost + price * use of each knapsack, and the use of what has it."""
        priced, owners = self.priced(price), self.budget.size
        if not priced.size:
            return np.zeros(owners), np.zeros(owners)
        least = np.minimum.reduceat(priced, self.first)
        best = np.flatnonzero(priced == least[self.arc])
        use = np.zeros(least.size)
        use[self.arc[best]] = self.use[best]
        taken = least < 0
        owner = self.owner[taken]
        return totals(owner, least[taken], owners), totals(owner, use[taken], owners)

    def thriftiest(self) -> tuple[Floats, Floats]:
        """Return use and cost of the empty set."""
        return np.zeros(self.budget.size), np.zeros(self.budget.size)

    def within(self, price: Floats, bound: Floats, aim: Floats) -> Floats:
        """Return the least cost within the budget, or the aim where that is smaller; (owners,).

        Parameters
        ----------
        price : (owners,)
        bound : (owners,)
            Least of cost + price * use, less price * budget, rounded downwards.
        aim : (owners,)
        """
        loss, idle_loss = self.losses(price)
        room = aim - bound
        some = np.flatnonzero(loss < room[self.owner][self.arc])
        idle = np.flatnonzero(idle_loss < room[self.owner])
        options = Options.of(
            owners=self.budget.size, arc_owner=self.owner,
            arc=np.concatenate([idle, self.arc[some]]),
            use=np.concatenate([np.zeros(idle.size), self.use[some]]),
            loss=np.concatenate([idle_loss[idle], loss[some]]),
        )  # fmt: skip
        return np.minimum(aim, bound + options.least_excess(self.budget, price, room))

    def of_owners(self, chosen: Ints) -> Knapsacks:
        """Return some knapsacks, numbered anew in this order; one may be chosen many times."""
        if np.array_equal(chosen, np.arange(self.budget.size)):
            return self
        begin, end = (np.searchsorted(self.owner, chosen, side=side) for side in ("left", "right"))
        owner = np.repeat(np.arange(chosen.size), end - begin)
        return self._of_arcs(ranges(begin, end - begin), owner, self.budget[chosen])

    def without(self, barred: Sequence[Collection[int]]) -> Knapsacks:
        """Return the knapsacks, each without some devices."""
        span = int(self.device.max(initial=0)) + 1
        keys = [n * span + i for n, devices in enumerate(barred) for i in devices if i < span]
        kept = np.flatnonzero(~np.isin(self.owner * span + self.device, keys))
        return self._of_arcs(kept, self.owner[kept], self.budget)

    def _of_arcs(self, arcs: Ints, owner: Ints, budget: Floats) -> Knapsacks:
        """Return the knapsacks of some arcs, with owners as given."""
        count = np.diff(self.first, append=self.arc.size)[arcs]
        rows = ranges(self.first[arcs], count)
        return Knapsacks(
            owner=owner, device=self.device[arcs], arc=np.repeat(np.arange(arcs.size), count),
            first=count.cumsum() - count, cost=self.cost[rows], use=self.use[rows], budget=budget,
        )  # fmt: skip

    def losses(self, price: Floats) -> tuple[Floats, Floats]:
        """Return what each choice, and an idle device, is dearer than the best of its device.

        Returns
        -------
        loss : (choices,)
        idle : (arcs,)
        """
        priced = self.priced(price)
        if not priced.size:
            return np.zeros(0), np.zeros(0)
        least = np.minimum(np.minimum.reduceat(priced, self.first), 0.0)
        return priced - least[self.arc], -least

    def priced(self, price: Floats) -> Floats:
        """Return cost + price * use of each choice, rounded downwards; (choices,)."""
        paid = price[self.owner][self.arc] * self.use
        priced: Floats = self.cost + paid - ROUNDING * (paid - self.cost)
        return priced
