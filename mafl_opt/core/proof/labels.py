"""Least-cost chains within a budget, exactly: labels (stage, use, cost) with dominance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.proof.chains import Chains, frontier

__all__ = ["Choices", "least_within"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Labels of one owner at one stage, beyond which its program is given up.
_LABELS = 20_000
#: Extensions made at a time; with more, the owners with most of them are given up.
_PAIRS = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The ways to take each arc; all of shape (choices,).

    owner, start, end : as in `Chains`
    cost, use : what the choice costs and takes of the budget, both rounded downwards
    """

    owner: Ints
    start: Ints
    end: Ints
    cost: Floats
    use: Floats

    def sorted(self, stages: int) -> tuple[Choices, Ints]:
        """Return the unbeaten choices by end and length, and where each (end, length) begins."""
        size = stages + 1
        arc = (self.end * size + (self.end - self.start)) * (int(self.owner.max(initial=0)) + 1)
        kept = frontier(arc + self.owner, self.use, self.cost)
        owner, start, end = self.owner[kept], self.start[kept], self.end[kept]
        cost, use = self.cost[kept], self.use[kept]
        place = end * size + (end - start)
        first = np.searchsorted(place, np.arange(size * size + 1))
        return Choices(owner=owner, start=start, end=end, cost=cost, use=use), first


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    owner: Ints
    use: Floats
    cost: Floats
    first: Ints

    @classmethod
    def of(cls, owners: int, owner: Ints, use: Floats, cost: Floats) -> _Stage:
        first = np.searchsorted(owner, np.arange(owners + 1))
        return cls(owner=owner, use=use, cost=cost, first=first)


def least_within(
    chains: Chains, choices: Choices, budget: Floats, ceiling: Floats, price: Floats, rest: Floats
) -> Floats:
    """Return min(ceiling, least cost of a chain within its budget) of each owner; (owners,).

    A label is dropped when its cost and the least of what must follow reach the ceiling, whatever
    the ceiling is: so the result is a lower bound of the least cost for any.

    Parameters
    ----------
    chains : Chains
    choices : Choices
        At least all that a chain below the ceiling can hold.
    budget, ceiling : (owners,)
    price : (owners,)
        Price of the budget at which `rest` was found.
    rest : (owners, stages + 1)
        Least of cost + price * use from each stage to the last.

    Returns
    -------
    least : (owners,)
        NaN where the program was given up for its size.
    """
    owners, stages = chains.num_owners, chains.num_stages
    choices, place = choices.sorted(stages)
    lost = np.zeros(owners, dtype=bool)
    start = _Stage.of(owners, np.arange(owners), np.zeros(owners), np.zeros(owners))
    reached = [start]
    for end in range(1, stages + 1):
        before = reached[-1]
        idle = ~chains.busy[before.owner, end]
        parts = [(before.owner[idle], before.use[idle], before.cost[idle])]
        for length in range(1, min(chains.width, end) + 1):
            where = end * (stages + 1) + length
            arcs = slice(place[where], place[where + 1])
            if arcs.start < arcs.stop:
                parts.append(_extended(reached[end - length], choices, arcs, lost))
        owner, use, cost = (np.concatenate(column) for column in zip(*parts, strict=True))
        least = cost + rest[owner, end] - price[owner] * (budget[owner] - use)
        good = np.flatnonzero((use <= budget[owner]) & (least < ceiling[owner]) & ~lost[owner])
        good = good[frontier(owner[good], use[good], cost[good])]
        lost |= np.bincount(owner[good], minlength=owners) > _LABELS
        good = good[~lost[owner[good]]]
        reached.append(_Stage.of(owners, owner[good], use[good], cost[good]))
    final = ceiling.copy()
    np.minimum.at(final, reached[-1].owner, reached[-1].cost)
    return np.where(lost, np.nan, final)


def _extended(
    stage: _Stage, choices: Choices, arcs: slice, lost: NDArray[np.bool_]
) -> tuple[Ints, Floats, Floats]:
    """Every label of a stage with every choice of its owner."""
    owner = choices.owner[arcs]
    counts = stage.first[owner + 1] - stage.first[owner]
    while counts.sum() > _PAIRS:
        lost[np.bincount(owner, weights=counts).argmax()] = True
        counts[lost[owner]] = 0
    ends = counts.cumsum()
    label = np.arange(ends[-1]) + np.repeat(stage.first[owner] - ends + counts, counts)
    taken = np.repeat(np.arange(arcs.start, arcs.stop), counts)
    return (
        choices.owner[taken],
        stage.use[label] + choices.use[taken],
        stage.cost[label] + choices.cost[taken],
    )
