"""Multiple-choice knapsacks by labels (use, loss), from both ends.

At a price of the budget each option has a *loss*, what it is dearer than the best one of its
device. A set of options costs the bound at that price, plus its losses, plus the price of what it
leaves of the budget. So few options and few sets stay below an aim little above the bound.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.proof.chains import by_owner, totals
from mafl_opt.core.proof.labels import Labels, extended

__all__ = ["Options"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of devices that have more than one, dealt to two halves.

    Attributes
    ----------
    fixed : (owners,)
        What the devices with one option use.
    half, turn : (options,)
        Which half an option's device belongs to, and when it is its turn there.
    owner, use, loss : (options,)
    """

    fixed: Floats
    half: Ints
    turn: Ints
    owner: Ints
    use: Floats
    loss: Floats

    @classmethod
    def of(
        cls, owners: int, arc_owner: Ints, arc: Ints, use: Floats, loss: Floats
    ) -> Options:  # fmt: skip
        """Deal the options.

        Parameters
        ----------
        owners : int
        arc_owner : (arcs,)
            The owner of each device.
        arc, use, loss : (options,)
            The device of each option; each device has one of loss 0.
        """
        counts = np.bincount(arc, minlength=arc_owner.size)
        alone = counts[arc] == 1
        fixed = totals(arc_owner[arc[alone]], use[alone], owners)
        # Within an owner the devices with most options come first, dealt by turns.
        order = by_owner(arc_owner, -counts.astype(float))
        start = np.searchsorted(arc_owner[order], np.arange(owners))
        place = np.empty(arc_owner.size, dtype=np.int64)
        place[order] = np.arange(order.size) - start[arc_owner[order]]
        arc, use, loss = arc[~alone], use[~alone], loss[~alone]
        return cls(
            fixed=fixed, half=place[arc] % 2, turn=place[arc] // 2, owner=arc_owner[arc],
            use=use, loss=loss,
        )  # fmt: skip

    def least_excess(self, budget: Floats, price: Floats, room: Floats) -> Floats:
        """Return the least of losses and price of what is left, infinite if not below the room.

        Parameters
        ----------
        budget, price, room : (owners,)
        """
        left = budget - self.fixed

        def keeps(made: Labels) -> Bools:
            loss = made.cost + price[made.owner] * made.use
            good: Bools = (made.use <= left[made.owner]) & (loss < room[made.owner])
            return good

        # Less the price of what is used, a loss is a cost.
        cost = self.loss - price[self.owner] * self.use
        one, two = (self._sets(half, cost, keeps, left.size) for half in (0, 1))
        return _cheapest_pairs(one, two, left) + price * left

    def _sets(
        self, half: int, cost: Floats, keeps: Callable[[Labels], Bools], owners: int
    ) -> Labels:
        """Return the unbeaten sets of options of the devices of a half."""
        labels = Labels.empty(owners)
        mine = np.flatnonzero(self.half == half)
        mine = mine[np.lexsort((self.owner[mine], self.turn[mine]))]
        last = int(self.turn[mine].max(initial=-1))
        ends = np.searchsorted(self.turn[mine], np.arange(last + 2))
        for start, end in itertools.pairwise(ends):
            rows = mine[start:end]
            options = self.owner[rows], self.use[rows], cost[rows]
            others = np.ones(owners, dtype=bool)
            others[options[0]] = False
            made = extended(labels, labels.first(owners), options, keeps)
            labels = Labels.joined([labels.take(others[labels.owner]), made])
        return labels


def _cheapest_pairs(one: Labels, two: Labels, left: Floats) -> Floats:
    """Return the least cost of a label of each half that use no more than what is left.

    Both are sorted by owner and use, and cost falls with use; infinite where there is no pair.
    """
    owner = np.concatenate([two.owner, one.owner])
    # Right before each label of the first half stands the last one of the other that fits.
    order = by_owner(owner, np.concatenate([two.use, left[one.owner] - one.use]))
    of_two = order < two.owner.size
    last = np.maximum.accumulate(np.where(of_two, order, -1))[~of_two]
    label = order[~of_two] - two.owner.size
    good = np.flatnonzero((last >= 0) & (two.owner[last] == one.owner[label]))
    least = np.full(left.size, np.inf)
    cost = one.cost[label[good]] + two.cost[last[good]]
    np.minimum.at(least, one.owner[label[good]], cost)
    return least
