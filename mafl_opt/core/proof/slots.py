"""Slots as wholes: what ends at an aggregation for any task, each device in one session at most.

Without that condition the tasks are apart, a knapsack each. Where the choices of several hold the
same device, the sets of sessions are parted by the task that has the device: branch and bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.proof.budgets import bracket, sharpen
from mafl_opt.core.proof.knapsacks import Knapsacks
from mafl_opt.core.proof.solutions import solutions

__all__ = ["Slots"]

Floats = NDArray[np.float64]

#: Branchings of a slot; what is open then counts as it is bounded.
_BRANCHINGS = 200

#: A knapsack and the devices that are barred from it.
Key = tuple[int, frozenset[int]]


@dataclass(frozen=True, slots=True)
class _Knapsack:
    """Least cost, the price of the budget, and what each device held costs."""

    least: float
    price: float
    held: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class _Node:
    """Sets of sessions of a slot that leave out the barred devices, none cheaper than the bound."""

    slot: int
    keys: tuple[Key, ...]
    bound: float


class Slots:
    """Least costs of whole slots.

    Parameters
    ----------
    knapsacks : Knapsacks
        Of all tasks of the first slot, then of the next one, and so on.
    tasks : int
    tolerance : float
        What the least cost of a knapsack may be off.
    """

    def __init__(self, knapsacks: Knapsacks, tasks: int, tolerance: float) -> None:
        self._knapsacks, self._tasks, self._tolerance = knapsacks, tasks, tolerance
        self._known: dict[Key, _Knapsack] = {}

    def least(self) -> Floats:
        """Return a lower bound of each slot's least cost, exact unless branchings ran out."""
        slots = self._knapsacks.budget.size // self._tasks
        least, ceiling = np.full(slots, np.inf), np.zeros(slots)
        branchings = np.zeros(slots, dtype=np.int64)
        caps = np.arange(slots * self._tasks).reshape(slots, self._tasks).tolist()
        nodes = [
            _Node(slot, tuple((cap, frozenset[int]()) for cap in row), -np.inf)
            for slot, row in enumerate(caps)
        ]
        while nodes:
            self._solve({key for node in nodes for key in node.keys} - self._known.keys())
            nodes = [self._bounded(node) for node in nodes]
            for node in nodes:
                ceiling[node.slot] = min(ceiling[node.slot], self._repaired(node))
            # Those of low bounds first, should branchings run out.
            waiting, nodes = sorted(nodes, key=lambda node: node.bound), []
            for node in waiting:
                close = node.bound >= ceiling[node.slot] - self._tasks * self._tolerance
                device = None if close else self._conflict(node)
                if device is None or branchings[node.slot] >= _BRANCHINGS:
                    # Not a number, should prices be too large, has to stay that.
                    least[node.slot] = np.minimum(least[node.slot], node.bound)
                else:
                    branchings[node.slot] += 1
                    nodes += self._parts(node, device)
        return least

    def _solve(self, keys: Iterable[Key]) -> None:
        """Solve knapsacks from which devices are barred."""
        wanted = sorted(keys, key=lambda key: (key[0], sorted(key[1])))
        caps = np.array([cap for cap, _ in wanted], dtype=np.int64)
        some = self._knapsacks.of_owners(caps).without([barred for _, barred in wanted])
        root = [self._known.get((cap, frozenset())) for cap, _ in wanted]
        start = np.array([known.price if known else 0.0 for known in root])
        found = bracket(some, start, self._tolerance)
        least = sharpen(some, found, self._tolerance)
        held: list[dict[int, float]] = [{} for _ in wanted]
        chosen = solutions(some, found, least, self._tolerance)
        arc = some.arc[chosen]
        for owner, device, cost in zip(
            some.owner[arc].tolist(), some.device[arc].tolist(), some.cost[chosen].tolist(),
            strict=True,
        ):  # fmt: skip
            held[owner][device] = cost
        for key, value, price, own in zip(
            wanted, least.tolist(), found.price.tolist(), held, strict=True
        ):
            self._known[key] = _Knapsack(value, price, own)

    def _bounded(self, node: _Node) -> _Node:
        """Return the node with its own bound, if that is higher than the one it came with."""
        bound = sum(self._known[key].least for key in node.keys)
        return node if bound <= node.bound else _Node(node.slot, node.keys, bound)

    def _repaired(self, node: _Node) -> float:
        """Return the cost of what is held, each device only where it costs least."""
        best: dict[int, float] = {}
        for key in node.keys:
            for device, cost in self._known[key].held.items():
                best[device] = min(best.get(device, 0.0), cost)
        return sum(best.values())

    def _conflict(self, node: _Node) -> int | None:
        """Return the device held several times that gains most where it gains second most."""
        costs: dict[int, list[float]] = {}
        for key in node.keys:
            for device, cost in self._known[key].held.items():
                costs.setdefault(device, []).append(cost)
        several = {device: sorted(own)[1] for device, own in costs.items() if len(own) > 1}
        return min(several, key=several.__getitem__) if several else None

    def _parts(self, node: _Node, device: int) -> list[_Node]:
        """Return the node with the device in one of the knapsacks that hold it, or in none."""
        holds = [device in self._known[key].held for key in node.keys]
        allowed = [device not in barred for _, barred in node.keys]
        stays = [
            [k == only for k in range(self._tasks)] for only in range(self._tasks) if holds[only]
        ]
        others = [not held for held in holds]
        if any(may and other for may, other in zip(allowed, others, strict=True)):
            stays.append(others)
        return [
            _Node(
                node.slot,
                tuple(
                    key if stay else self._barred(key, device)
                    for key, stay in zip(node.keys, row, strict=True)
                ),
                node.bound,
            )
            for row in stays
        ]

    def _barred(self, key: Key, device: int) -> Key:
        """Return a knapsack without a device; one that does not hold it stays as it is."""
        cap, barred = key
        new = cap, barred | {device}
        if device not in self._known[key].held and new not in self._known:
            self._known[new] = self._known[key]
        return new
