"""The device program with the budget inside, compiled (model page, section 6, fact 3).

First the budget by its own price, which gives a bound and often the optimum; where the two sides
differ, labels (slot, energy, cost) with dominance, pruned by what completing them costs at a few
energy prices.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

__all__ = ["plan_devices"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Two sides of a device this close, relative, are equal but for round-off.
_SAME = 1e-12
_MOST_LINES = 60


@nb.njit(cache=True)
def _fronts(choices, cost, forced, first, last, front, start):
    """Undominated choices of every arc, by rising energy; those dearer than idling are left out."""
    n = 0
    for a in range(first, last):
        start[a - first] = n
        least = 0.0
        for g in range(choices.arc_receive[a], choices.arc_upload[a]):
            if forced[g]:
                least = np.inf
        for k in range(choices.arc_start[a], choices.arc_start[a + 1]):
            if cost[k] < least:
                least = cost[k]
                front[n] = k
                n += 1
    start[last - first] = n


@nb.njit(cache=True)
def _backward(choices, cost, forced, first, last, front, start, price, value, spent, paid):
    """Cheapest completion from every instant at an energy price; its energy and own cost."""
    slots = forced.size
    value[slots], spent[slots], paid[slots] = 0.0, 0.0, 0.0
    for g in range(slots - 1, -1, -1):
        value[g], spent[g], paid[g] = value[g + 1], spent[g + 1], paid[g + 1]
        if forced[g]:
            value[g] = np.inf
        for a in range(first, last):
            if choices.arc_receive[a] != g:
                continue
            u = choices.arc_upload[a]
            for q in range(start[a - first], start[a - first + 1]):
                k = front[q]
                offer = cost[k] + price * choices.energy[k] + value[u]
                if offer < value[g]:
                    value[g] = offer
                    spent[g] = choices.energy[k] + spent[u]
                    paid[g] = cost[k] + paid[u]


@nb.njit(cache=True)
def _grow(array):
    bigger = np.empty(2 * array.size, array.dtype)
    bigger[: array.size] = array
    return bigger


@nb.njit(cache=True)
def _labels(choices, cost, forced, first, last, front, start, budget, ceiling, prices, after,
            spent, paid, plan):  # fmt: skip
    """Exact minimum within the budget, below or at `ceiling`; writes the plan."""
    slots = forced.size
    energy, value = np.empty(4096), np.empty(4096)
    parent, taken = np.empty(4096, np.int64), np.empty(4096, np.int64)
    begin = np.zeros(slots + 2, np.int64)
    energy[0], value[0], parent[0], taken[0] = 0.0, 0.0, -1, -1
    begin[1] = n = 1
    e_new, v_new = np.empty(4096), np.empty(4096)
    p_new, k_new = np.empty(4096, np.int64), np.empty(4096, np.int64)
    best = ceiling
    a = first
    for g in range(1, slots + 1):
        m = 0
        while a < last and choices.arc_upload[a] < g:
            a += 1
        b = a - 1
        while True:
            # b = a - 1 stands for idling in slot g, the rest are the arcs that end at g.
            if b >= a and (b >= last or choices.arc_upload[b] != g):
                break
            idle = b < a
            r = g - 1 if idle else choices.arc_receive[b]
            low = 0 if idle else start[b - first]
            high = 1 if idle else start[b - first + 1]
            if not (idle and forced[g - 1]):
                for p in range(begin[r], begin[r + 1]):
                    for q in range(low, high):
                        k = -1 if idle else front[q]
                        e = energy[p] + (0.0 if idle else choices.energy[k])
                        if e > budget:
                            break
                        v = value[p] + (0.0 if idle else cost[k])
                        bound = -np.inf
                        for w in range(prices.size):
                            offer = v + after[w, g] - prices[w] * (budget - e)
                            if offer > bound:
                                bound = offer
                        if bound > best:
                            continue
                        if e + spent[g] <= budget and v + paid[g] < best:
                            best = v + paid[g] + _SAME * abs(best)
                        if m == e_new.size:
                            e_new, v_new = _grow(e_new), _grow(v_new)
                            p_new, k_new = _grow(p_new), _grow(k_new)
                        e_new[m], v_new[m], p_new[m], k_new[m] = e, v, p, k
                        m += 1
            b += 1
        begin[g] = n
        least = np.inf
        for q in np.argsort(e_new[:m]):
            if v_new[q] < least:
                least = v_new[q]
                if n == energy.size:
                    energy, value = _grow(energy), _grow(value)
                    parent, taken = _grow(parent), _grow(taken)
                energy[n], value[n] = e_new[q], v_new[q]
                parent[n], taken[n] = p_new[q], k_new[q]
                n += 1
        begin[g + 1] = n
    found, at = np.inf, -1
    for p in range(begin[slots], begin[slots + 1]):
        if value[p] < found:
            found, at = value[p], p
    count = 0
    while at >= 0:
        if taken[at] >= 0:
            plan[count] = taken[at]
            count += 1
        at = parent[at]
    return found, count, n


@nb.njit(cache=True)
def _trace(choices, cost, forced, first, last, front, start, price, value, plan):
    """Read the plan behind a backward program at an energy price; returns its length."""
    slots, g, count = forced.size, 0, 0
    while g < slots:
        pick, to = -1, g + 1
        gap = np.inf if forced[g] else abs(value[g + 1] - value[g])
        for a in range(first, last):
            if choices.arc_receive[a] != g:
                continue
            u = choices.arc_upload[a]
            for q in range(start[a - first], start[a - first + 1]):
                k = front[q]
                off = abs(cost[k] + price * choices.energy[k] + value[u] - value[g])
                if off < gap:
                    gap, pick, to = off, k, u
        if pick >= 0:
            plan[count] = pick
            count += 1
        g = to
    return count


@nb.njit(cache=True)
def _solve(choices, cost, forced, first, last, budget, exact, front, start, plans, counts):
    """Cost of the best plan of one device, a lower bound of it, its energy price; labels taken."""
    slots = forced.size
    value, spent, paid = np.empty(slots + 1), np.empty(slots + 1), np.empty(slots + 1)
    _fronts(choices, cost, forced, first, last, front, start)
    _backward(choices, cost, forced, first, last, front, start, 0.0, value, spent, paid)
    counts[:] = 0
    if not value[0] < np.inf:
        return np.inf, np.inf, 0.0, 0
    counts[0] = _trace(choices, cost, forced, first, last, front, start, 0.0, value, plans[0])
    if spent[0] <= budget:
        return value[0], value[0], 0.0, 0
    counts[0] = 0
    over_cost, over_energy = paid[0], spent[0]
    good_cost, good_energy = 0.0, 0.0
    if forced.any():
        # The plan of least energy, found at a price that outweighs all costs.
        top = 1e9 * (1.0 + abs(over_cost)) / max(over_energy, 1e-300)
        _backward(choices, cost, forced, first, last, front, start, top, value, spent, paid)
        if spent[0] > budget:
            return np.inf, np.inf, 0.0, 0
        counts[0] = _trace(choices, cost, forced, first, last, front, start, top, value, plans[0])
        good_cost, good_energy = paid[0], spent[0]
    bound, best_price = -np.inf, 0.0
    for _ in range(_MOST_LINES):
        price = (good_cost - over_cost) / (over_energy - good_energy)
        if not price > 0.0:
            break
        _backward(choices, cost, forced, first, last, front, start, price, value, spent, paid)
        lower = value[0] - price * budget
        if lower > bound:
            bound, best_price = lower, price
        cross = over_cost + price * (over_energy - budget)
        if lower >= cross - _SAME * (abs(cross) + price * budget):
            break
        if spent[0] > budget:
            over_cost, over_energy = paid[0], spent[0]
        else:
            good_cost, good_energy = paid[0], spent[0]
            counts[0] = _trace(
                choices, cost, forced, first, last, front, start, price, value, plans[0]
            )  # fmt: skip
    slack = _SAME * (1.0 + abs(bound))
    if good_cost - bound <= slack or not exact:
        return good_cost, bound, best_price, 0
    prices = np.array([best_price, 0.0, 0.8 * best_price, 1.25 * best_price])
    after = np.empty((prices.size, slots + 1))
    for w in range(prices.size - 1, -1, -1):
        # The last one read is the best price: `spent` and `paid` are of its completions.
        _backward(
            choices, cost, forced, first, last, front, start, prices[w], after[w], spent, paid
        )  # fmt: skip
    found, count, size = _labels(
        choices, cost, forced, first, last, front, start, budget, good_cost + slack, prices,
        after, spent, paid, plans[1],
    )  # fmt: skip
    counts[1] = count
    return found, found, best_price, size


@nb.njit(cache=True, nogil=True)
def plan_devices(choices, cost, forced, budget, exact, least, bound, price, plans, counts):
    """Solve every device.

    Parameters
    ----------
    choices : Choices
    cost : (choices,)
        Reduced costs; inf for what must not be used.
    forced : (I, G), bool
        Slots in which a device must not idle.
    budget : (I,), J
    exact : bool
        Whether budgets are held exactly; else by an energy price each.
    least, bound, price : (I,)
        Get the cost of the best plan found, the lower bound (the same where it is exact) and the
        energy price; inf, inf, 0 for a device without a plan.
    plans : (I, 2, G)
        Get the choices of up to two plans of every device.
    counts : (I, 2)
        Get their lengths.

    Returns
    -------
    labels : int
        How many labels it took.
    """
    front = np.empty(cost.size, np.int64)
    start = np.empty(choices.arc_receive.size + 1, np.int64)
    labels = 0
    for i in range(budget.size):
        first, last = choices.device_start[i], choices.device_start[i + 1]
        least[i], bound[i], price[i], size = _solve(
            choices, cost, forced[i], first, last, budget[i], exact, front, start, plans[i],
            counts[i],
        )  # fmt: skip
        labels += size
    return labels


@nb.njit(cache=True, nogil=True)
def choice_slacks(choices, cost, forced, price, out):
    """Cost of every device's cheapest plan through a choice, at an energy price each.

    Parameters
    ----------
    choices, cost, forced
        See `plan_devices`.
    price : (I,)
    out : (choices,)
        Gets the cost, budgets' worth not taken off.
    """
    slots = forced.shape[1]
    before, after = np.empty(slots + 1), np.empty(slots + 1)
    for i in range(price.size):
        first, last = choices.device_start[i], choices.device_start[i + 1]
        before[:], after[:] = np.inf, np.inf
        before[0], after[slots] = 0.0, 0.0
        # Arcs are ordered by upload.
        a = first
        for g in range(1, slots + 1):
            if not forced[i, g - 1]:
                before[g] = before[g - 1]
            while a < last and choices.arc_upload[a] == g:
                for k in range(choices.arc_start[a], choices.arc_start[a + 1]):
                    offer = before[choices.arc_receive[a]] + cost[k] + price[i] * choices.energy[k]
                    before[g] = min(before[g], offer)
                a += 1
        for g in range(slots, 0, -1):
            # Arcs that end at g are met last first, so every completion from g is known.
            if not forced[i, g - 1]:
                after[g - 1] = min(after[g - 1], after[g])
            while a > first and choices.arc_upload[a - 1] == g:
                a -= 1
                r = choices.arc_receive[a]
                for k in range(choices.arc_start[a], choices.arc_start[a + 1]):
                    through = cost[k] + price[i] * choices.energy[k] + after[g]
                    after[r] = min(after[r], through)
                    out[k] = before[r] + through
