"""Multiple-choice knapsacks one after another, compiled: a Lagrangian bound, then label setting."""

from __future__ import annotations

from typing import Any

import numpy as np

from mafl_opt.core.compiling import compiled

__all__ = ["buffers", "knapsack", "solve_knapsacks"]

_compiled = compiled(error_model="numpy")

_PRICE_ROUNDS = 30
_UPGRADES = 4
# Differences below this part of the costs are round-off.
_ROUND_OFF = 1e-12


@_compiled
def _at_price(price: float, cost: Any, weight: Any, first: Any, choice: Any) -> Any:
    """Choose every device's least cost + price * weight; returns cost and weight of the choice."""
    total = load = 0.0
    for device in range(first.size - 1):
        best, least = first[device], 0.0
        for option in range(first[device] + 1, first[device + 1]):
            reduced = cost[option] + price * weight[option]
            if reduced < least:
                best, least = option, reduced
        choice[device] = best
        total += cost[best]
        load += weight[best]
    return total, load


@_compiled
def _bracket(
    capacity: float, start: float, cost: Any, weight: Any, first: Any, choice: Any, light: Any
) -> Any:
    """Search the price of the capacity; `light` becomes the best choice met that fits.

    Each price gives a line of the concave dual function, rising (too heavy a choice) or falling
    (one that fits). The next price is where the last two of them cross.
    """
    total, load = _at_price(0.0, cost, weight, first, choice)
    if load <= capacity:
        for device in range(light.size):
            light[device] = choice[device]
        return total, total, 0.0
    bound, ceiling, price = total, 0.0, 0.0
    for device in range(light.size):
        light[device] = first[device]
    light_cost = light_load = 0.0
    heavy_cost, heavy_load = total, load
    following = start if start > 0.0 else -heavy_cost / heavy_load
    for _ in range(_PRICE_ROUNDS):
        total, load = _at_price(following, cost, weight, first, choice)
        lower = total + following * (load - capacity)
        if lower > bound or price == 0.0:
            bound, price = max(lower, bound), following
        if load <= capacity:
            if total < ceiling:
                ceiling = total
                for device in range(light.size):
                    light[device] = choice[device]
            light_cost, light_load = total, load
        else:
            heavy_cost, heavy_load = total, load
        margin = _ROUND_OFF * abs(total)
        following = (light_cost - heavy_cost) / (heavy_load - light_load)
        reach = light_cost + following * (light_load - capacity)
        if reach - bound <= margin or ceiling - bound <= margin:
            break
    return bound, ceiling, price


@_compiled
def _upgrade(
    capacity: float, ceiling: float, cost: Any, weight: Any, first: Any, light: Any
) -> float:
    """Let the device that gains most by it change its option, a few times."""
    for _ in range(_UPGRADES):
        spare = capacity
        for device in range(light.size):
            spare -= weight[light[device]]
        gain, which, better = 0.0, -1, -1
        for device in range(light.size):
            now = light[device]
            for option in range(first[device], first[device + 1]):
                change = cost[option] - cost[now]
                if change < gain and weight[option] - weight[now] <= spare:
                    gain, which, better = change, device, option
        if which < 0:
            break
        light[which] = better
        ceiling += gain
    return ceiling


@_compiled
def _trace(
    stage: int, label: int, order: Any, parent: Any, taken: Any, base: Any, picked: Any
) -> None:
    """Write the choice of a label, the devices not yet decided taking their base option."""
    for device in range(picked.size):
        picked[device] = base[device]
    for step in range(stage, 0, -1):
        picked[order[step - 1]] = taken[step, label]
        label = parent[step, label]


@_compiled
def _labels(
    capacity: float, bound: float, ceiling: float, price: float, tolerance: float, most: int,
    cost: Any, weight: Any, first: Any, base: Any, light: Any, work: Any, parent: Any, taken: Any,
) -> Any:  # fmt: skip
    """Close the gap between bound and ceiling by label setting; `light` becomes the best choice.

    A label is dropped when its reduced cost reaches the gap, and when a lighter one costs as
    little. Completing labels by the devices' cheapest options gives better ceilings on the way.

    Returns
    -------
    ceiling : float
    exact : bool
        Whether there were enough labels.
    """
    devices = first.size - 1
    load, red = work[0], work[1]
    next_load, next_red = work[2], work[3]
    margin = _ROUND_OFF * abs(bound)
    reduced = np.empty(first[devices])
    order = np.empty(devices, dtype=np.int64)
    count = 0
    slack = ceiling - bound - tolerance
    fixed_load = 0.0
    for device in range(devices):
        least = np.inf
        for option in range(first[device], first[device + 1]):
            reduced[option] = cost[option] + price * weight[option]
            if reduced[option] < least:
                least, base[device] = reduced[option], option
        several = 0
        for option in range(first[device], first[device + 1]):
            reduced[option] -= least
            several += reduced[option] <= slack
        fixed_load += weight[base[device]]
        if several > 1:
            order[count] = device
            count += 1
    # What the devices from a stage on weigh: at least, at most, and by their cheapest options.
    below, above, rest = np.empty(count + 1), np.empty(count + 1), np.empty(count + 1)
    below[count] = above[count] = rest[count] = 0.0
    for stage in range(count - 1, -1, -1):
        device = order[stage]
        low, high = np.inf, 0.0
        for option in range(first[device], first[device + 1]):
            if reduced[option] <= slack:
                low, high = min(low, weight[option]), max(high, weight[option])
        below[stage], above[stage] = below[stage + 1] + low, above[stage + 1] + high
        rest[stage] = rest[stage + 1] + weight[base[device]]
    size = 1
    load[0], red[0] = fixed_load - rest[0], 0.0
    for stage in range(count):
        device = order[stage]
        total = 0
        for option in range(first[device], first[device + 1]):
            if reduced[option] > slack:
                continue
            # Merge the labels so far with those that take this option, in order of load.
            old, new, merged = 0, 0, 0
            kept = np.inf
            out_load, out_red = work[4], work[5]
            out_parent, out_taken = parent[0], taken[0]
            while old < total or new < size:
                from_new = old >= total or (
                    new < size and load[new] + weight[option] < next_load[old]
                )
                if from_new:
                    w, r = load[new] + weight[option], red[new] + reduced[option]
                    who, what = new, option
                    new += 1
                else:
                    w, r = next_load[old], next_red[old]
                    who, what = parent[stage + 1, old], taken[stage + 1, old]
                    old += 1
                room = capacity - w
                if room < below[stage + 1]:
                    continue
                unused = price * max(room - above[stage + 1], 0.0)
                if r + unused > slack + margin:
                    continue
                real = r - price * w
                if real >= kept:
                    continue
                if merged >= most:
                    return ceiling, False
                kept = real
                out_load[merged], out_red[merged] = w, r
                out_parent[merged], out_taken[merged] = who, what
                merged += 1
            total = merged
            for label in range(total):
                next_load[label], next_red[label] = out_load[label], out_red[label]
                parent[stage + 1, label] = out_parent[label]
                taken[stage + 1, label] = out_taken[label]
        size = total
        for label in range(size):
            load[label], red[label] = next_load[label], next_red[label]
            room = capacity - load[label] - rest[stage + 1]
            if room >= 0.0:
                value = bound + red[label] + price * room
                if value < ceiling - margin:
                    ceiling = value
                    slack = ceiling - bound - tolerance
                    _trace(stage + 1, label, order, parent, taken, base, light)
    return ceiling, True


@_compiled
def knapsack(
    k: int, cost: Any, weight: Any, first: Any, capacity: float, start: float, most: int,
    tolerance: float, relative: float, allowed: Any, room: Any, numbers: Any, work: Any,
    parent: Any, taken: Any, picked: Any,
) -> Any:  # fmt: skip
    """Solve the knapsack `k` over the devices allowed in it.

    Returns
    -------
    value, total : float
        Lower bound on the least cost, and the cost of the choice written to `picked`.
    exact : bool
    price : float
        Of the capacity.
    """
    devices = picked.size
    lean_cost, lean_weight = room[0], room[1]
    number, lean, choice, light = numbers[0], numbers[1], numbers[2], numbers[3]
    lean = lean[: devices + 1]
    choice, light = choice[:devices], light[:devices]
    size = 0
    for device in range(devices):
        lean[device] = size
        lean_cost[size], lean_weight[size], number[size] = 0.0, 0.0, -1
        size += 1
        if not allowed[device]:
            continue
        least = 0.0
        # An option no better than a lighter one is never needed.
        for option in range(first[k * devices + device], first[k * devices + device + 1]):
            if cost[option] < least:
                least = cost[option]
                lean_cost[size], lean_weight[size] = least, weight[option]
                number[size] = option
                size += 1
    lean[devices] = size
    bound, ceiling, price = _bracket(capacity, start, lean_cost, lean_weight, lean, choice, light)
    if ceiling > bound:
        ceiling = _upgrade(capacity, ceiling, lean_cost, lean_weight, lean, light)
    gap = max(tolerance, -relative * bound)
    exact = True
    if ceiling - bound > gap:
        ceiling, exact = _labels(
            capacity, bound, ceiling, price, gap, most, lean_cost, lean_weight, lean, choice,
            light, work, parent, taken,
        )  # fmt: skip
    total = 0.0
    for device in range(devices):
        picked[device] = number[light[device]]
        total += lean_cost[light[device]]
    return max(ceiling - gap, bound) if exact else bound, total, exact, price


@_compiled
def solve_knapsacks(
    cost: Any, weight: Any, first: Any, capacity: Any, price: Any, most: int, tolerance: float,
    relative: float, value: Any, total: Any, picked: Any,
) -> bool:  # fmt: skip
    """Solve knapsacks over the same devices.

    Parameters
    ----------
    cost, weight : (options,)
        Sorted by knapsack, device and weight.
    first : (knapsacks * devices + 1,)
        Where the options of each begin.
    capacity : (knapsacks,)
    price : (knapsacks,)
        Of the capacity, to begin with; changed to the one that gives the bound.
    most : int
        Labels of a stage.
    tolerance, relative : float
        How far a value may lie below the least cost: the larger of the first and a part of it.
    value, total : (knapsacks,), out
        Lower bound on the least cost, and the cost of the choice.
    picked : (knapsacks, devices), out
        Options of the choice; -1 for nothing.

    Returns
    -------
    exact : bool
        Whether labels were enough for all.
    """
    knapsacks, devices = picked.shape
    room, numbers, work, parent, taken = buffers(first, knapsacks, devices, most)
    allowed = np.ones(devices, dtype=np.bool_)
    all_exact = True
    for k in range(knapsacks):
        value[k], total[k], exact, price[k] = knapsack(
            k, cost, weight, first, capacity[k], price[k], most, tolerance, relative, allowed,
            room, numbers, work, parent, taken, picked[k],
        )  # fmt: skip
        all_exact = all_exact and exact
    return all_exact


@_compiled
def buffers(first: Any, knapsacks: int, devices: int, most: int) -> Any:
    """Return what `knapsack` works in: costs, weights and numbers of options, and labels."""
    longest = 0
    for k in range(knapsacks):
        longest = max(longest, first[(k + 1) * devices] - first[k * devices])
    size = longest + devices + 1
    return (
        np.empty((2, size)), np.empty((4, size), dtype=np.int64), np.empty((6, most)),
        np.empty((devices + 1, most), dtype=np.int64),
        np.empty((devices + 1, most), dtype=np.int64),
    )  # fmt: skip
