"""What sessions that end together for one task can be charged at most within its step cap."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.proof.chains import Chains, frontier
from mafl_opt.core.proof.guards import ROUNDING
from mafl_opt.core.proof.labels import Choices

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
    """Multiple-choice knapsacks as chains over the devices, one owner a cap.

    The charge is a negative cost, the step what is used of the budget.

    Attributes
    ----------
    chains : Chains
        One arc a cap and device.
    choice : Choices
        Sorted by arc.
    arc : (choices,)
        The arc of each choice.
    first : (arcs,)
        First choice of each arc.
    budget : (owners,)
        theta_j, widened.
    """

    chains: Chains
    choice: Choices
    arc: Ints
    first: Ints
    budget: Floats

    @classmethod
    def of(cls, items: Items, budget: Floats) -> Knapsacks:
        """Build the programs of all caps.

        Parameters
        ----------
        items : Items
            With caps numbered from 0.
        budget : (caps,)
            Widened.
        """
        items = items.unbeaten()
        # Stages are the devices met, numbered anew.
        _, stage = np.unique(items.device, return_inverse=True)
        order = np.lexsort((items.step, stage, items.cap))
        cap, stage = items.cap[order], stage[order]
        new = np.ones(cap.size, dtype=bool)
        new[1:] = (cap[1:] != cap[:-1]) | (stage[1:] != stage[:-1])
        first = np.flatnonzero(new)
        stages = int(stage.max(initial=0)) + 1
        return cls(
            chains=Chains(
                busy=np.zeros((budget.size, stages + 1), dtype=bool), owner=cap[first],
                start=stage[first], end=stage[first] + 1,
            ),
            choice=Choices(
                owner=cap, start=stage, end=stage + 1,
                cost=-items.charge[order] * (1 + ROUNDING),
                use=items.step[order] * (1 - ROUNDING),
            ),
            arc=new.cumsum() - 1, first=first, budget=budget,
        )  # fmt: skip

    def at(self, price: Floats) -> tuple[Floats, Floats]:
        """Return the least of cost + price * use of each arc, and the use of what has it."""
        if not self.first.size:
            return np.zeros(0), np.zeros(0)
        priced = self._priced(price)
        least = np.minimum.reduceat(priced, self.first)
        best = np.flatnonzero(priced == least[self.arc])
        use = np.zeros(least.size)
        use[self.arc[best]] = self.choice.use[best]
        return least, use

    def thriftiest(self) -> tuple[Floats, Floats]:
        """Return the least use of each arc, and what that costs."""
        return self.choice.use[self.first], self.choice.cost[self.first]

    def choices(self, price: Floats, reach: Floats) -> Choices:
        """Return the choices that stay below the reach of their arc."""
        return self._taken(np.flatnonzero(self._priced(price) < reach[self.arc]))

    def of_owners(self, chosen: Ints) -> Knapsacks:
        """Return the programs of some caps, numbered anew in ascending order."""
        if chosen.size == self.chains.num_owners:
            return self
        number = np.full(self.chains.num_owners, -1)
        number[chosen] = np.arange(chosen.size)
        arcs = number[self.chains.owner] >= 0
        rows = np.flatnonzero(arcs[self.arc])
        arc = (arcs.cumsum() - 1)[self.arc[rows]]
        chains = Chains(
            busy=self.chains.busy[chosen], owner=number[self.chains.owner[arcs]],
            start=self.chains.start[arcs], end=self.chains.end[arcs],
        )  # fmt: skip
        choice = self._taken(rows)
        renumbered = Choices(
            owner=number[choice.owner], start=choice.start, end=choice.end, cost=choice.cost,
            use=choice.use,
        )  # fmt: skip
        return Knapsacks(
            chains=chains, choice=renumbered, arc=arc,
            first=np.searchsorted(arc, np.arange(chains.owner.size)), budget=self.budget[chosen],
        )  # fmt: skip

    def _priced(self, price: Floats) -> Floats:
        paid = price[self.choice.owner] * self.choice.use
        priced: Floats = self.choice.cost + paid - ROUNDING * (paid - self.choice.cost)
        return priced

    def _taken(self, rows: Ints) -> Choices:
        choice = self.choice
        return Choices(
            owner=choice.owner[rows], start=choice.start[rows], end=choice.end[rows],
            cost=choice.cost[rows], use=choice.use[rows],
        )  # fmt: skip
