"""The knapsacks of a problem's step caps: at most one session a device, within the cap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.prices.patterns.kernel import solve_knapsacks
from mafl_opt.solvers.prices.patterns.slots import solve_slots

__all__ = ["Choices", "Knapsacks"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Branchings on devices that several knapsacks want, and what waiting ones may take.
_NODES, _CELLS = 200, 3_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choices:
    """What the knapsacks hold.

    Attributes
    ----------
    value : (knapsacks,)
        Least cost, or a lower bound on it; at most 0.
    exact : bool
        Whether labels were enough for all.
    owner : (choices,)
        Knapsack of each choice found; empty choices are left out.
    cost : (choices,)
    first : (choices + 1,)
        Where its options begin in `option`.
    option : (taken options,)
        Numbers of the options, as they were given.
    """

    value: Floats
    exact: bool
    owner: Ints
    cost: Floats
    first: Ints
    option: Ints


class Knapsacks:
    """Knapsacks over the same devices, with fixed weights and changing costs.

    Parameters
    ----------
    knapsack, device : (options,)
        Of each option; options are sorted by knapsack, device and weight.
    weight : (options,), >= 0
    capacity : (knapsacks,)
    num_devices : int
    together : int
        So many consecutive knapsacks share the devices: each is in one of them at most. What
        follows then speaks of such groups.
    """

    def __init__(
        self, knapsack: Ints, device: Ints, weight: Floats, capacity: Floats, num_devices: int,
        *, together: int = 1,
    ) -> None:  # fmt: skip
        size = np.bincount(knapsack * num_devices + device, minlength=capacity.size * num_devices)
        self._first = np.concatenate([[0], size.cumsum()])
        self._weight, self._capacity = weight, capacity
        self._price = np.zeros(capacity.size)
        self._num_devices, self._together = num_devices, together

    def solve(self, cost: Floats, *, labels: int, tolerance: float, relative: float) -> Choices:
        """Find the choices of least cost.

        Parameters
        ----------
        cost : (options,)
            May be infinite.
        labels : int
            Labels of a knapsack; where more are needed, the price of its capacity has the last
            word on its value.
        tolerance, relative : float
            How far a value may lie below the least cost: at most the larger of the first (of each
            knapsack that shares the devices) and the second times the cost with parts of options.
        """
        count = self._capacity.size // self._together
        value, total = np.empty(count), np.empty(count)
        picked = np.empty((self._capacity.size, self._num_devices), dtype=np.int64)
        given = (cost, self._weight, self._first, self._capacity, self._price)
        limits = (labels, tolerance, relative)
        if self._together == 1:
            exact = solve_knapsacks(*given, *limits, value, total, picked)
        else:
            nodes = min(_NODES, _CELLS // (self._together**2 * self._num_devices) + 1)
            exact = solve_slots(*given, *limits, self._together, nodes, value, total, picked)
        picked = picked.reshape(count, -1)
        size = (picked >= 0).sum(axis=1)
        owner = np.flatnonzero(size)
        return Choices(
            value=value, exact=bool(exact), owner=owner, cost=total[owner],
            first=np.concatenate([[0], size[owner].cumsum()]), option=picked[picked >= 0],
        )  # fmt: skip
