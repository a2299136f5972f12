"""Multiple-choice knapsacks, compiled: best value by capacity used, and lifting by it."""

from __future__ import annotations

import numba as nb
import numpy as np

__all__ = ["frontier", "lift"]


@nb.njit(cache=True)
def frontier(step, value, group, skip, room):
    """Best value by step used, at most one item a group, `skip` left out; two arrays."""
    at, worth = np.zeros(1), np.zeros(1)
    for i in range(group.size - 1):
        if i == skip:
            continue
        count = 0
        new_at = np.empty(at.size * (group[i + 1] - group[i] + 1))
        new_worth = np.empty(new_at.size)
        for p in range(at.size):
            new_at[count], new_worth[count] = at[p], worth[p]
            count += 1
        most = 0.0
        for k in range(group[i], group[i + 1]):
            # Items come by rising step: one that is worth no more than a smaller one is useless.
            if value[k] <= most:
                continue
            most = value[k]
            for p in range(at.size):
                if at[p] + step[k] > room:
                    break
                new_at[count], new_worth[count] = at[p] + step[k], worth[p] + value[k]
                count += 1
        order = np.argsort(new_at[:count])
        at, worth = np.empty(count), np.empty(count)
        kept, best = 0, -1.0
        for q in order:
            if new_worth[q] > best:
                # The last of equal steps stands for all of them.
                if kept and at[kept - 1] == new_at[q]:
                    kept -= 1
                best = new_worth[q]
                at[kept], worth[kept] = new_at[q], best
                kept += 1
        at, worth = at[:kept], worth[:kept]
    return at, worth


@nb.njit(cache=True)
def lift(step, value, group, room):
    """Raise coefficients as far as the rows with right-hand side 1 allow, device by device."""
    for i in range(group.size - 1):
        at, worth = frontier(step, value, group, i, room)
        p = at.size - 1
        for k in range(group[i], group[i + 1]):
            while p > 0 and at[p] + step[k] > room:
                p -= 1
            value[k] = max(value[k], 1.0 - worth[p])
