"""The knapsacks of all tasks of a slot together, compiled: branch and bound on shared devices."""

from __future__ import annotations

from typing import Any

import numpy as np

from mafl_opt.core.compiling import compiled
from mafl_opt.solvers.prices.patterns.kernel import buffers, knapsack

__all__ = ["solve_slots"]

_compiled = compiled(error_model="numpy")


@_compiled
def _conflict(picked: Any, cost: Any) -> int:
    """Return the device in several knapsacks that gains most in its second best; -1 if none is."""
    found, most = -1, 0.0
    for device in range(picked.shape[1]):
        best = second = 0.0
        for j in range(picked.shape[0]):
            if picked[j, device] >= 0:
                gain = -cost[picked[j, device]]
                if gain > best:
                    best, second = gain, best
                elif gain > second:
                    second = gain
        if second > most:
            found, most = device, second
    return found


@_compiled
def _repaired(picked: Any, cost: Any, choice: Any) -> float:
    """Keep every device in the knapsack where it gains most; returns the cost."""
    total = 0.0
    for device in range(picked.shape[1]):
        best, kept = 0.0, -1
        for j in range(picked.shape[0]):
            choice[j, device] = -1
            if picked[j, device] >= 0 and cost[picked[j, device]] < best:
                best, kept = cost[picked[j, device]], j
        if kept >= 0:
            choice[kept, device] = picked[kept, device]
            total += best
    return total


@_compiled
def solve_slots(
    cost: Any, weight: Any, first: Any, capacity: Any, price: Any, most: int, tolerance: float,
    relative: float, tasks: int, nodes: int, value: Any, total: Any, picked: Any,
) -> bool:  # fmt: skip
    """Solve the knapsacks of all tasks of a slot together: a device is in one of them at most.

    Branch and bound on devices that are in several. Parameters as `solve_knapsacks`, with `value`
    and `total` for each slot, and at most so many nodes a slot.
    """
    knapsacks, devices = picked.shape
    room, numbers, work, parent, taken = buffers(first, knapsacks, devices, most)
    # The nodes that wait: who is allowed where, values and choices of the knapsacks.
    size = (nodes + 1) * tasks + 2
    allowed = np.empty((size, tasks, devices), dtype=np.bool_)
    values = np.empty((size, tasks))
    choices = np.empty((size, tasks, devices), dtype=np.int64)
    repaired = np.empty((tasks, devices), dtype=np.int64)
    all_exact = True
    for slot in range(knapsacks // tasks):
        base = slot * tasks
        first_bound = 0.0
        for j in range(tasks):
            for device in range(devices):
                allowed[0, j, device] = True
                picked[base + j, device] = -1
        best, waiting, solved, open_bound = 0.0, 1, 0, np.inf
        # Which knapsacks of the top node are to be solved anew: at first all of them.
        stale = tasks
        gap = 0.0
        while waiting:
            waiting -= 1
            for j in range(tasks):
                if stale > 0 or not np.isfinite(values[waiting, j]):
                    values[waiting, j], _, exact, here = knapsack(
                        base + j, cost, weight, first, capacity[base + j], price[base + j], most,
                        tolerance, relative, allowed[waiting, j], room, numbers, work, parent,
                        taken, choices[waiting, j],
                    )  # fmt: skip
                    all_exact = all_exact and exact
                    if stale > 0:
                        price[base + j] = here
            bound = 0.0
            for j in range(tasks):
                bound += values[waiting, j]
            if stale > 0:
                stale, first_bound = 0, bound
                gap = max(tolerance * tasks, -relative * first_bound)
            total_here = _repaired(choices[waiting], cost, repaired)
            if total_here < best:
                best = total_here
                for j in range(tasks):
                    for device in range(devices):
                        picked[base + j, device] = repaired[j, device]
            if bound >= best - gap:
                continue
            conflict = _conflict(choices[waiting], cost)
            if conflict < 0 or solved >= nodes:
                # Nothing to branch on: the gap is the knapsacks' own; or no nodes left.
                open_bound = min(open_bound, bound)
                all_exact = all_exact and conflict < 0
                continue
            solved += 1
            # The device in one of the knapsacks it is in, or in none of these. Children go on top
            # of their parent's place, the last one into it.
            number = 0
            for only in range(tasks - 1, -2, -1):
                if only >= 0 and choices[waiting, only, conflict] < 0:
                    continue
                number += 1
            children = number
            for only in range(-1, tasks):
                if only >= 0 and choices[waiting, only, conflict] < 0:
                    continue
                number -= 1
                at = waiting + number
                for j in range(tasks):
                    used = choices[waiting, j, conflict] >= 0
                    leaves = used if only < 0 else j != only
                    if number > 0:
                        values[at, j] = values[waiting, j]
                        for device in range(devices):
                            allowed[at, j, device] = allowed[waiting, j, device]
                            choices[at, j, device] = choices[waiting, j, device]
                    if leaves and allowed[at, j, conflict]:
                        allowed[at, j, conflict] = False
                        if used:
                            values[at, j] = np.nan
            waiting += children
        value[slot] = min(best - gap, open_bound)
        total[slot] = best
    return all_exact
