"""What knapsacks of known least cost hold: sets of choices that have it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.proof.budgets import Bracket
from mafl_opt.core.proof.chains import frontier, ranges, totals
from mafl_opt.core.proof.guards import ROUNDING
from mafl_opt.core.proof.knapsacks import Knapsacks

__all__ = ["solutions"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Labels of a knapsack; where there are more, some are dropped and a solution may be missed.
_LABELS = 2_000


@dataclass(frozen=True, slots=True)
class _Labels:
    """Sets of choices: their knapsack, use and cost less price * use, and the last choice made."""

    owner: Ints
    use: Floats
    cost: Floats
    step: Ints

    def take(self, rows: Ints) -> _Labels:
        return _Labels(self.owner[rows], self.use[rows], self.cost[rows], self.step[rows])

    def few(self) -> _Labels:
        """Return the unbeaten ones, sorted by owner and use."""
        kept = self.take(frontier(self.owner, self.use, self.cost))
        count = np.bincount(kept.owner)
        place = np.arange(kept.owner.size) - (count.cumsum() - count)[kept.owner]
        return kept.take(np.flatnonzero(place < _LABELS))


def solutions(knapsacks: Knapsacks, found: Bracket, least: Floats, tolerance: float) -> Ints:
    """Return the choices of a set of least cost of each knapsack, or of one nearly as cheap.

    Label setting, as `Options` does it, with the choices remembered. As the least cost is known,
    few labels are left. Where none is (the least cost is a lower bound only), nothing is returned.

    Parameters
    ----------
    knapsacks : Knapsacks
    found : Bracket
    least : (owners,)
        Least costs within the budget.
    tolerance : float
        What a set may be dearer.
    """
    owners = knapsacks.budget.size
    room = least - found.bound + tolerance
    room += ROUNDING * (np.abs(found.bound) + found.price * knapsacks.budget)
    loss, idle = knapsacks.losses(found.price)
    some = np.flatnonzero(loss <= room[knapsacks.owner][knapsacks.arc])
    rests = np.flatnonzero(idle <= room[knapsacks.owner])
    # Choice -1 is to leave a device out.
    arc = np.concatenate([rests, knapsacks.arc[some]])
    choice = np.concatenate([np.full(rests.size, -1), some])
    use = np.concatenate([np.zeros(rests.size), knapsacks.use[some]])
    loss = np.concatenate([idle[rests], loss[some]])
    alone = np.bincount(arc, minlength=knapsacks.owner.size)[arc] == 1
    left = knapsacks.budget - totals(knapsacks.owner[arc[alone]], use[alone], owners)
    open_, turn = np.unique(arc[~alone], return_inverse=True)
    owner = knapsacks.owner[open_]
    turn = (np.arange(open_.size) - np.searchsorted(owner, owner))[turn]
    owner = knapsacks.owner[arc[~alone]]
    steps = _Steps(
        owner=owner, turn=turn, choice=choice[~alone], use=use[~alone], loss=loss[~alone]
    )  # fmt: skip
    solved, chosen = steps.best(left, found.price, room)
    alone &= solved[knapsacks.owner[arc]]
    held = np.concatenate([choice[alone], chosen])
    return held[held >= 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steps:
    """Choices of devices with several, each device at its turn; every array is (choices,)."""

    owner: Ints
    turn: Ints
    choice: Ints
    use: Floats
    loss: Floats

    def best(self, left: Floats, price: Floats, room: Floats) -> tuple[Bools, Ints]:
        """Return which knapsacks have a set within what is left, and what the cheapest holds."""
        owners = left.size
        labels = _Labels(
            np.arange(owners), np.zeros(owners), np.zeros(owners), np.full(owners, -1)
        ).take(np.flatnonzero(left >= 0))  # fmt: skip
        parents, choices, made = [], [], 0
        for turn in range(int(self.turn.max(initial=-1)) + 1):
            mine = np.flatnonzero(self.turn == turn)
            begin, end = (
                np.searchsorted(labels.owner, self.owner[mine], side=side)
                for side in ("left", "right")
            )
            option = np.repeat(mine, end - begin)
            before = labels.take(ranges(begin, end - begin))
            use = before.use + self.use[option]
            cost = before.cost + self.loss[option] - price[before.owner] * self.use[option]
            fits = (use <= left[before.owner]) & (
                cost + price[before.owner] * use <= room[before.owner]
            )
            waiting = np.ones(owners, dtype=bool)
            waiting[self.owner[mine]] = False
            others = labels.take(np.flatnonzero(waiting[labels.owner]))
            option = option[fits]
            parents.append(before.step[fits])
            choices.append(self.choice[option])
            labels = _Labels(
                np.concatenate([others.owner, before.owner[fits]]),
                np.concatenate([others.use, use[fits]]),
                np.concatenate([others.cost, cost[fits]]),
                np.concatenate([others.step, made + np.arange(option.size)]),
            ).few()
            made += option.size
        # Costs fall with use, so the last label of an owner is its cheapest.
        last = np.flatnonzero(np.diff(labels.owner, append=owners))
        step, held = labels.step[last], [np.zeros(0, dtype=np.int64)]
        solved = np.zeros(owners, dtype=bool)
        solved[labels.owner] = True
        while (step := step[step >= 0]).size:
            held.append(np.concatenate(choices)[step])
            step = np.concatenate(parents)[step]
        return solved, np.concatenate(held)
