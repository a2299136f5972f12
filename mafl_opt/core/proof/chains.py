"""Least-cost chains of arcs that do not overlap, many small programs at once.

A chain walks from stage 0 to the last stage of its owner, by arcs and by idle steps of cost 0. Two
things are chains: the sessions of a device, over the slots (model page, section 6, fact 3), and the
sessions that share a step cap, over the devices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chains", "by_owner", "frontier", "ranges", "totals"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chains:
    """The arcs of all owners.

    Attributes
    ----------
    busy : (owners, stages + 1)
        Stages into which no idle step leads.
    owner, start, end : (arcs,)
        An arc leads from stage ``start`` to ``end`` > ``start``; each (owner, start, end) once.
    """

    busy: Bools
    owner: Ints
    start: Ints
    end: Ints

    @property
    def num_owners(self) -> int:
        """Number of programs."""
        return int(self.busy.shape[0])

    @property
    def num_stages(self) -> int:
        """Number of the last stage."""
        return int(self.busy.shape[1]) - 1

    @property
    def width(self) -> int:
        """Stages that the longest arc leads on."""
        return int((self.end - self.start).max(initial=1))

    def idle(self) -> Floats:
        """Cost of the idle step into each stage; (owners, stages + 1)."""
        return np.where(self.busy, np.inf, 0.0)

    def _table(self, values: Floats) -> Floats:
        """Values by (end - 1, length - 1, owner)."""
        table = np.full((self.num_stages, self.width, self.num_owners), np.inf)
        table[self.end - 1, self.end - 1 - self.start, self.owner] = values
        return table

    def forward(self, cost: Floats, use: Floats) -> tuple[Floats, Floats]:
        """Return the least cost to reach each stage, and what a best chain uses.

        Parameters
        ----------
        cost, use : (arcs,)

        Returns
        -------
        cost, use : (owners, stages + 1)
            Infinite cost where no chain leads.
        """
        arcs, uses, idle = self._table(cost), self._table(use), self.idle().T
        value = np.zeros((self.num_stages + 1, self.num_owners))
        used = np.zeros_like(value)
        for end in range(1, self.num_stages + 1):
            best, taken = value[end - 1] + idle[end], used[end - 1]
            for k in range(min(self.width, end)):
                offer = value[end - 1 - k] + arcs[end - 1, k]
                better = offer < best
                best = np.where(better, offer, best)
                taken = np.where(better, used[end - 1 - k] + uses[end - 1, k], taken)
            value[end], used[end] = best, taken
        return value.T, used.T

    def backward(self, cost: Floats) -> Floats:
        """Return the least cost from each stage to the last; (owners, stages + 1)."""
        arcs, idle = self._table(cost), self.idle().T
        value = np.zeros((self.num_stages + 1, self.num_owners))
        for start in range(self.num_stages - 1, -1, -1):
            best = value[start + 1] + idle[start + 1]
            for k in range(min(self.width, self.num_stages - start)):
                best = np.minimum(best, arcs[start + k, k] + value[start + 1 + k])
            value[start] = best
        return value.T


def frontier(owner: Ints, use: Floats, cost: Floats) -> Ints:
    """Return which entries no other of their owner beats, sorted by owner and use; (kept,).

    An entry is beaten by one of at most its use and at most its cost.
    """
    order = np.argsort(cost, kind="stable")
    size = order.size
    rank = np.empty(size, dtype=np.int64)
    # Equal costs have the same rank.
    rank[order] = np.append(0, (np.diff(cost[order]) > 0).cumsum())[:size]
    order = order[by_owner(owner[order], use[order])]
    # Owners come one after the other, and within one the cost has to fall.
    height = owner[order] * size + (size - 1 - rank[order])
    kept = np.ones(size, dtype=bool)
    kept[1:] = height[1:] > np.maximum.accumulate(height)[:-1]
    chosen: Ints = order[kept]
    return chosen


def totals(owner: Ints, value: Floats, owners: int) -> Floats:
    """Return the sum of the values of each owner; (owners,)."""
    return np.asarray(np.bincount(owner, weights=value, minlength=owners), dtype=np.float64)


def by_owner(owner: Ints, value: Floats) -> Ints:
    """Return the order of entries by owner, then value, then place; (entries,)."""
    order = np.argsort(value, kind="stable")
    few = int(owner.max(initial=0)) < 2**16
    # Short integers are sorted by their digits, several times as fast.
    number = owner[order].astype(np.uint16) if few else owner[order]
    sorted_: Ints = order[np.argsort(number, kind="stable")]
    return sorted_


def ranges(start: Ints, count: Ints) -> Ints:
    """Return start, start + 1, ... for each entry, `count` numbers each, one after the other."""
    ends = count.cumsum()
    out: Ints = np.arange(count.sum()) + np.repeat(start - ends + count, count)
    return out
