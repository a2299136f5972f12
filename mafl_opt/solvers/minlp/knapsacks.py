"""Step caps as knapsacks: what one slot and task can take, whole sessions only.

The step cap of a slot and task admits some sets of sessions, one a device at most. A relaxation
that knows the cap as a linear row fills it to the brim with fractions, which whole sessions
cannot. Here the best set at any tolls is found exactly, by a dynamic program over the cap's room.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.minlp.rows import WIDE

__all__ = ["Knapsacks", "Packing"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Parts of a cap; sizes are rounded down to whole parts, so that no set that fits is lost.
_PARTS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """The best set of one knapsack.

    toll : float
        What it collects, >= 0; no set collects more.
    kinds : (chosen kinds,), indices of the kinds in it
    """

    toll: float
    kinds: Ints


class Knapsacks:
    """The knapsacks of a problem, one for every slot and task.

    A kind is what columns have in common that a knapsack sees: slot, task, device and size.

    Parameters
    ----------
    problem : Problem

    Attributes
    ----------
    kind : (columns,)
        Kind of every column.
    row : (kinds,)
        Knapsack of every kind, slot * tasks + task.
    rows : int
        Number of knapsacks, some of them without kinds.
    """

    def __init__(self, problem: Problem) -> None:
        s, c = problem.scenario, problem.columns
        row = (c.upload - 1) * s.num_tasks + c.task
        size = np.floor(c.step / (s.tasks.step_cap[c.task] * (1 + WIDE)) * _PARTS)
        key = np.stack([row, c.device, size.astype(np.int64)])
        names, kind = np.unique(key, axis=1, return_inverse=True)
        self.kind: Ints = kind.ravel()
        self.row, self._device, self._size = names
        self.rows = s.num_slots * s.num_tasks
        bounds = np.searchsorted(self.row, np.arange(self.rows + 1))
        # Kinds of every knapsack, device by device.
        self._items = [
            [
                first + np.flatnonzero(self._device[first:last] == i)
                for i in np.unique(self._device[first:last])
            ]
            for first, last in pairwise(bounds)
        ]

    def __len__(self) -> int:
        """Return the number of kinds."""
        return int(self.row.size)

    def pack(self, toll: Floats) -> list[Packing]:
        """Return the set of every knapsack that collects most.

        Parameters
        ----------
        toll : (kinds,)
            What a session of the kind pays, >= 0.
        """
        return [self._pack(items, toll) for items in self._items]

    def _pack(self, items: list[Ints], toll: Floats) -> Packing:
        """Dynamic program over devices and room; ``most[w]``: what fits into w parts collects."""
        most = np.zeros(_PARTS + 1)
        taken: list[tuple[Ints, Ints]] = []
        for own in items:
            paying = own[toll[own] > 0]
            if not paying.size:
                continue
            best, choice = most.copy(), np.full(_PARTS + 1, -1)
            for kind in paying:
                size = self._size[kind]
                offer = most[: _PARTS + 1 - size] + toll[kind]
                better = offer > best[size:]
                best[size:][better] = offer[better]
                choice[size:][better] = kind
            most = best
            taken.append((choice, own))
        room, kinds = _PARTS, []
        for choice, _ in reversed(taken):
            kind = int(choice[room])
            if kind >= 0:
                kinds.append(kind)
                room -= int(self._size[kind])
        return Packing(toll=float(most[-1]), kinds=np.array(sorted(kinds), dtype=np.int64))
