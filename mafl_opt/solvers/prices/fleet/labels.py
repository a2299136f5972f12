"""A device's plans within its energy budget, exactly: labels (slot, energy, cost) with dominance.

Prices of energy leave a gap on devices whose budget pays for a few sessions only. What such a price
does tell is how much dearer a plan gets by using a column; columns that cost more than the gap are
in no better plan, and the few that are left are combined by labels (model page, section 6, fact 3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.prices.fleet.arcs import (
    SLACK,
    inner,
    iterations,
    solve_arcs,
    transfers,
)

__all__ = ["Pool", "pool", "within_budget"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Options of a device and labels altogether; one that needs more keeps its bound by price.
_OPTIONS = 1 << 14
_LABELS = 1 << 17
# Parts of the gap that are searched one after the other, and what may come of it but a plan.
_PARTS = (1 / 256, 1 / 64, 1 / 16, 1 / 4, 1.0)
_NONE, _TOO_MANY = -1, -2


class Pool(NamedTuple):
    """Room for the options and labels of one device.

    option : (options, 6), arc, task, receive, upload, iterations, batch
    joules, charge : (options,), energy and cost without the energy price
    head : (labels, 2), the label before and the option taken
    energy, cost : (labels,)
    """

    option: Ints
    joules: Floats
    charge: Floats
    head: Ints
    energy: Floats
    cost: Floats


def pool() -> Pool:
    """Make room for labels."""
    return Pool(
        option=np.zeros((_OPTIONS, 6), dtype=np.int64), joules=np.zeros(_OPTIONS),
        charge=np.zeros(_OPTIONS), head=np.zeros((_LABELS, 2), dtype=np.int64),
        energy=np.zeros(_LABELS), cost=np.zeros(_LABELS),
    )  # fmt: skip


@inner
def _backward(s):
    """Least cost from every slot to the end."""
    slots = s.cost.shape[0]
    s.back[slots] = 0.0
    for g in range(slots - 1, -1, -1):
        best = s.back[g + 1]
        for tau in range(min(s.cost.shape[1], slots - g)):
            if s.task[g + tau, tau] >= 0:
                best = min(best, s.cost[g + tau, tau] + s.back[g + 1 + tau])
        s.back[g] = best


@inner
def _list_options(i, fleet, tasks, table, room, price, gap, pool, s):
    """List the columns, batch sizes and all, that cost less than `gap` more than the best plan.

    Returns how many; -1 if there are too many.
    """
    slots, count = tasks.capacity.size, 0
    e, f_min = tasks.energy_weight + price, fleet.f_min[i]
    total = s.value[slots]
    for j in range(tasks.bits.size):
        if fleet.samples[i, j] < 1:
            continue
        box = float(min(tasks.most_batch[j], fleet.samples[i, j]))
        transfers(i, j, fleet, tasks, s)
        for tau in range(min(tasks.most_stale[j], slots - 1) + 1):
            most = iterations(i, j, tau, fleet, tasks, table, e, s)
            for u in range(tau + 1, slots + 1):
                r = u - 1 - tau
                time = tasks.instants[u] - tasks.instants[r] - s.down[r] - s.up[u - 1]
                if time <= 0.0 or s.gone[u] > s.gone[r] or room.uplink[u - 1] < 1.0:
                    continue
                radio = fleet.tx_power[i] * s.up[u - 1] + fleet.rx_power[i] * s.down[r]
                around = s.value[r] + s.back[u] - total
                if around + s.cost[u - 1, tau] >= gap:
                    continue
                for steps in range(1, most + 1):
                    if s.steps[steps] > room.step[u - 1, j]:
                        break
                    shared = table.uplink[u - 1] + table.step[u - 1, j] * s.steps[steps]
                    if around + shared + e * radio + s.least[steps] >= gap:
                        continue
                    work = fleet.cycles[i, j] * steps
                    rate = work / time
                    top = min(np.floor(fleet.f_max[i] / rate * (1.0 + SLACK)), box)
                    if top < 1.0:
                        break
                    wish = min(s.wish[steps], max(f_min / rate, s.root[steps] * np.sqrt(time)))
                    first = min(max(np.floor(wish), 1.0), top)
                    for side in range(2):
                        size = first + side
                        while 1.0 <= size <= top:
                            f = max(f_min, rate * size)
                            joules = radio + fleet.capacitance[i] * work * size * f * f
                            charge = s.base[steps] + shared + s.gain[steps] / size
                            charge += tasks.energy_weight * joules
                            # Convex in the batch size: beyond this one none is cheap enough.
                            if around + charge + price * joules >= gap:
                                break
                            if joules <= fleet.budget[i]:
                                if count == pool.joules.size:
                                    return -1
                                row = pool.option[count]
                                row[0], row[1], row[2] = (u - 1) * s.cost.shape[1] + tau, j, r
                                row[3], row[4], row[5] = u, steps, int(size)
                                pool.joules[count], pool.charge[count] = joules, charge
                                count += 1
                            size += 1.0 if side else -1.0
    return count


@inner
def _fronts(count, arcs, pool):
    """Sort the options by arc and energy and drop dominated ones.

    Returns the order and where every arc starts in it, (arcs + 1,).
    """
    order = np.argsort(pool.joules[:count])
    size = np.zeros(arcs + 1, dtype=np.int64)
    least = np.full(arcs, np.inf)
    kept = np.zeros(count, dtype=np.bool_)
    for k in order:
        arc = pool.option[k, 0]
        if pool.charge[k] < least[arc]:
            least[arc] = pool.charge[k]
            kept[k] = True
            size[arc + 1] += 1
    start = np.cumsum(size)
    fill = start.copy()
    out = np.zeros(start[arcs], dtype=np.int64)
    for k in order:
        if kept[k]:
            arc = pool.option[k, 0]
            out[fill[arc]] = k
            fill[arc] += 1
    return out, start


@inner
def within_budget(
    i, fleet, tasks, table, room, price, tolerance, bound, cost, size, pool, s
):  # fmt: skip
    """Solve a device exactly within its budget, given its best energy price.

    The best plan is looked for a little above the bound first, then further up: few columns are
    that good, and finding none proves as much.

    Parameters
    ----------
    price, bound : float
        Best energy price and what it proves.
    cost, size : float, int
        Cost and sessions of the best plan within the budget, which is in ``s.plan``.
    tolerance : float
        Plans better by less are not looked for.

    Returns
    -------
    bound, cost, size
        As given, improved; the plan is in ``s.plan``.
    """
    proved, gap = bound, cost - tolerance - bound
    for part in _PARTS:
        limit = bound + part * gap
        best, count = _below(i, fleet, tasks, table, room, price, bound, limit, pool, s)
        if count >= 0:
            return best, best, count
        if count == _TOO_MANY:
            break
        proved = limit
    return proved, cost, size


@inner
def _below(i, fleet, tasks, table, room, price, bound, limit, pool, s):
    """Find the best plan of those that cost less than a limit.

    Returns
    -------
    cost : float
    size : int
        Its sessions, which are in ``s.plan``; `_NONE` where there is no such plan, `_TOO_MANY`
        where there was no room to find out.
    """
    slots, stale = s.cost.shape
    budget = fleet.budget[i]
    gap = limit - bound
    solve_arcs(i, fleet, tasks, table, room, tasks.energy_weight + price, gap, s)
    _backward(s)
    count = _list_options(i, fleet, tasks, table, room, price, gap, pool, s)
    if count < 0:
        return limit, _TOO_MANY
    order, start = _fronts(count, slots * stale, pool)
    # Labels of slot g are first[g]..first[g + 1] - 1; label 0 is the empty plan.
    first = np.zeros(slots + 2, dtype=np.int64)
    first[1] = 1
    pool.energy[0], pool.cost[0] = 0.0, 0.0
    pool.head[0, 0], pool.head[0, 1] = -1, -1
    most = pool.energy.size
    for u in range(1, slots + 1):
        # Candidates are put behind the labels, then the front of them is moved down.
        end = first[u]
        for k in range(first[u - 1], first[u]):
            if end == most:
                return limit, _TOO_MANY
            pool.energy[end], pool.cost[end] = pool.energy[k], pool.cost[k]
            pool.head[end, 0], pool.head[end, 1] = pool.head[k, 0], pool.head[k, 1]
            end += 1
        for tau in range(min(stale, u)):
            arc = (u - 1) * stale + tau
            for k in range(first[u - 1 - tau], first[u - tau]):
                for at in range(start[arc], start[arc + 1]):
                    o = order[at]
                    energy, total = pool.energy[k] + pool.joules[o], pool.cost[k] + pool.charge[o]
                    if energy > budget:
                        break
                    if total + price * (energy - budget) + s.back[u] >= limit:
                        continue
                    if end == most:
                        return limit, _TOO_MANY
                    pool.energy[end], pool.cost[end] = energy, total
                    pool.head[end, 0], pool.head[end, 1] = k, o
                    end += 1
        rank = np.argsort(pool.energy[first[u] : end])
        width = rank.size
        energy, total = pool.energy[first[u] : end].copy(), pool.cost[first[u] : end].copy()
        head = pool.head[first[u] : end].copy()
        kept, least = first[u], np.inf
        for k in range(width):
            at = rank[k]
            if total[at] < least:
                least = total[at]
                pool.energy[kept], pool.cost[kept] = energy[at], total[at]
                pool.head[kept, 0], pool.head[kept, 1] = head[at, 0], head[at, 1]
                kept += 1
        first[u + 1] = kept
    best = -1
    for k in range(first[slots], first[slots + 1]):
        if pool.cost[k] < limit:
            best, limit = k, pool.cost[k]
    if best < 0:
        return limit, _NONE
    size, k = 0, best
    while pool.head[k, 1] >= 0:
        for part in range(5):
            s.plan[size, part] = pool.option[pool.head[k, 1], 1 + part]
        size += 1
        k = pool.head[k, 0]
    return limit, size
