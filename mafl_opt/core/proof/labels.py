"""Least-cost chains within a budget by labels (stage, use, cost) with dominance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.proof.chains import Chains, frontier

__all__ = ["Choices", "Labels", "extended", "least_within"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Labels of one owner at one stage, beyond which neighbours are merged.
_LABELS = 20_000
#: Extensions made at a time: some hundred megabytes of temporary arrays.
_PAIRS = 2_000_000


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


@dataclass(frozen=True, slots=True)
class Labels:
    """What partial solutions use and cost; all of shape (labels,), sorted by owner."""

    owner: Ints
    use: Floats
    cost: Floats

    @classmethod
    def empty(cls, owners: int) -> Labels:
        """Return the empty solution of each owner."""
        return cls(np.arange(owners), np.zeros(owners), np.zeros(owners))

    @classmethod
    def joined(cls, parts: Sequence[Labels]) -> Labels:
        """Put labels together."""
        if len(parts) == 1:
            return parts[0]
        owner = np.concatenate([part.owner for part in parts])
        order = np.argsort(owner, kind="stable")
        use = np.concatenate([part.use for part in parts])
        cost = np.concatenate([part.cost for part in parts])
        return cls(owner[order], use[order], cost[order])

    def take(self, rows: Ints | Bools) -> Labels:
        """Return some labels."""
        return Labels(self.owner[rows], self.use[rows], self.cost[rows])

    def first(self, owners: int) -> Ints:
        """Return where the labels of each owner begin, and where the last ones end."""
        begin: Ints = np.searchsorted(self.owner, np.arange(owners + 1))
        return begin

    def unbeaten(self) -> Labels:
        """Return the labels that no other of their owner beats, sorted by owner and use.

        Where more are left than memory is given to, neighbours are merged: the least use of
        several with their least cost. What follows from such labels is still a lower bound.
        """
        labels = self.take(frontier(self.owner, self.use, self.cost))
        counts = np.bincount(labels.owner)
        if counts.max(initial=0) <= _LABELS:
            return labels
        place = np.arange(labels.owner.size) - (counts.cumsum() - counts)[labels.owner]
        many = np.maximum(counts, _LABELS)[labels.owner]
        group = np.where(many > _LABELS, place * _LABELS // many, place)
        new = np.ones(group.size, dtype=bool)
        new[1:] = (np.diff(group) != 0) | (np.diff(labels.owner) != 0)
        start = np.flatnonzero(new)
        # In order of use cost falls: the last one of a group is its cheapest.
        end = np.append(start[1:], group.size) - 1
        return Labels(labels.owner[start], labels.use[start], labels.cost[end])


def extended(
    labels: Labels, first: Ints, options: tuple[Ints, Floats, Floats],
    keeps: Callable[[Labels], Bools],
) -> Labels:  # fmt: skip
    """Return the unbeaten ones of every label with every option of its owner.

    Parameters
    ----------
    labels : Labels
    first : (owners + 1,)
        Of the labels.
    options : owner, use and cost, (options,) each
        Sorted by owner.
    keeps : callable
        Which labels are worth keeping.
    """
    owner, use, cost = options
    counts = first[owner + 1] - first[owner]
    total = counts.cumsum()
    parts, start = [], 0
    while start < owner.size:
        limit = total[start] - counts[start] + _PAIRS
        end = max(start + 1, int(np.searchsorted(total, limit, side="right")))
        many = counts[start:end]
        ends = many.cumsum()
        label = np.arange(ends[-1]) + np.repeat(first[owner[start:end]] - ends + many, many)
        option = np.repeat(np.arange(start, end), many)
        made = Labels(
            owner[option], labels.use[label] + use[option], labels.cost[label] + cost[option]
        )
        parts.append(made.take(keeps(made)).unbeaten())
        start = end
    if not parts:
        return labels.take(np.zeros(0, dtype=np.int64))
    return parts[0] if len(parts) == 1 else Labels.joined(parts).unbeaten()


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
    """
    owners, stages = chains.num_owners, chains.num_stages
    choices, place = choices.sorted(stages)
    reached = [Labels.empty(owners)]
    begins = [reached[0].first(owners)]
    for end in range(1, stages + 1):

        def keeps(made: Labels, end: int = end) -> Bools:
            owner = made.owner
            least = made.cost + rest[owner, end] - price[owner] * (budget[owner] - made.use)
            good: Bools = (made.use <= budget[owner]) & (least < ceiling[owner])
            return good

        before = reached[-1].take(~chains.busy[reached[-1].owner, end])
        parts = [before.take(keeps(before))]
        for length in range(1, min(chains.width, end) + 1):
            where = end * (stages + 1) + length
            arcs = slice(place[where], place[where + 1])
            options = choices.owner[arcs], choices.use[arcs], choices.cost[arcs]
            if arcs.start < arcs.stop:
                parts.append(extended(reached[end - length], begins[end - length], options, keeps))
        reached.append(Labels.joined(parts).unbeaten())
        begins.append(reached[-1].first(owners))
    final = ceiling.copy()
    np.minimum.at(final, reached[-1].owner, reached[-1].cost)
    return final
