"""Devices at given prices, compiled: each solved within its own energy budget, totals added up."""

from __future__ import annotations

import numpy as np

from mafl_opt.solvers.prices.fleet.arcs import (
    SLACK,
    Room,
    entry,
    inner,
    read_plan,
    session,
    solve_arcs,
)
from mafl_opt.solvers.prices.fleet.labels import within_budget

__all__ = ["assign_devices", "complete_devices", "cost_plans", "price_devices"]

# A better energy price is not looked for when it would close less than this part of the gap.
_WORTH = 1e-3
_DEARER = (1.001, 1.01, 1.05, 1.2, 1.6)


@inner
def _evaluate(i, fleet, tasks, table, room, price, s):
    """Solve one device at an energy price; returns its cost without it, energy and sessions."""
    value = solve_arcs(i, fleet, tasks, table, room, tasks.energy_weight + price, 0.0, s)
    count, energy = read_plan(i, fleet, tasks, s)
    return value - price * energy, energy, count


@inner
def _keep(s, count):
    """Make what was found the plan; copies of slices would bring texts of errors along."""
    for k in range(count):
        for part in range(5):
            s.plan[k, part] = s.found[k, part]


@inner
def _priced(i, fleet, tasks, table, room, start, rounds, tolerance, s):
    """Solve one device with its budget priced, searching for the best price.

    Returns the lower bound of its cost, the energy price, and cost and size of the best plan within
    the budget, which is left in ``s.plan``.
    """
    budget = fleet.budget[i]
    most = budget * (1.0 + SLACK)
    bound, best_price, price = -np.inf, 0.0, start
    good_cost, good_count, good_energy = 0.0, 0, 0.0
    # A plan over the budget and the one within give lines cost + price (energy - budget).
    over, over_cost, over_energy = False, 0.0, 0.0
    for attempt in range(rounds):
        cost, energy, count = _evaluate(i, fleet, tasks, table, room, price, s)
        if cost + price * (energy - budget) > bound:
            bound, best_price = cost + price * (energy - budget), price
        if energy > most:
            over, over_cost, over_energy = True, cost, energy
        elif cost < good_cost:
            good_cost, good_count, good_energy = cost, count, energy
            _keep(s, count)
        if good_cost - bound <= tolerance or (price == 0.0 and energy <= most):
            break
        if not over:
            price = 0.0 if attempt else 0.7 * price
            continue
        price = (good_cost - over_cost) / (over_energy - good_energy)
        rise = over_cost + price * (over_energy - budget) - bound
        if rise <= _WORTH * (good_cost - bound):
            break
    if rounds > 1 and good_cost - bound > tolerance:
        # The best price sits where plans change; the plan on the dear side is the one within.
        for factor in _DEARER:
            cost, energy, count = _evaluate(
                i, fleet, tasks, table, room, best_price * factor, s
            )  # fmt: skip
            if energy <= most and cost < good_cost:
                good_cost, good_count = cost, count
                _keep(s, count)
    return bound, best_price, good_cost, good_count


@inner
def _solve_device(i, fleet, tasks, table, room, start, rounds, tolerance, pool, s):
    """Solve one device within its budget, by its price and, where that leaves a gap, by labels.

    Returns what `_priced` does.
    """
    low, price, high, count = _priced(i, fleet, tasks, table, room, start, rounds, tolerance, s)
    if rounds > 1 and high - low > tolerance:
        low, high, count = within_budget(
            i, fleet, tasks, table, room, price, tolerance, low, high, count, pool, s
        )
    return low, price, high, count


@entry
def price_devices(
    fleet, tasks, table, room, price, rounds, tolerance, pool, s, bound, cost, totals
):
    """Solve the devices of a fleet one after the other, each within its own budget.

    Parameters
    ----------
    fleet : Fleet
    tasks : Tasks
    table : Table
    room : Room
        Sessions that need more are left out.
    price : (I,)
        Energy prices: where to start; gets the best ones found.
    rounds : int
        Most evaluations of a device for its energy price.
    tolerance : float
        A device is done when its bound and its plan are this close; with ``rounds`` above 1, those
        that no price brings so close are solved by labels.
    pool : Pool
    s : Scratch
    bound, cost : (I,)
        Get the lower bound of every device's cost and the cost of its best plan.
    totals : (1 + 2 J + G + G J,)
        Gets what the plans add up to: energy, sum of phi and of a by task, uploads by slot, steps.

    Returns
    -------
    open : int
        Devices whose two sides are further apart than the tolerance.
    """
    totals[:] = 0.0
    apart = 0
    for i in range(fleet.f_min.size):
        bound[i], price[i], cost[i], count = _solve_device(
            i, fleet, tasks, table, room, price[i], rounds, tolerance, pool, s
        )
        apart += cost[i] - bound[i] > tolerance
        _add(i, fleet, tasks, s.plan[:count], 1.0, totals)
    return apart


@entry
def complete_devices(
    fleet, tasks, table, room, price, rounds, tolerance, pool, s, bound, cost, totals,
    known, ends, sessions,
):  # fmt: skip
    """Solve the devices that nobody solved before, and add up all as `price_devices` does.

    Parameters
    ----------
    price, bound, cost : (I,)
        Of the known devices as found, changed for the others alone.
    totals : (1 + 2 J + G + G J,)
        Gets what the plans of all devices add up to.
    known : (I,), bool
    ends : (I + 1,)
        Device i has the sessions ends[i] .. ends[i + 1] - 1, if it is known.
    sessions : (sessions, 5)
        Task, receive, upload, iterations, batch.
    """
    totals[:] = 0.0
    for i in range(fleet.f_min.size):
        if known[i]:
            _add(i, fleet, tasks, sessions[ends[i] : ends[i + 1]], 1.0, totals)
        else:
            bound[i], price[i], cost[i], count = _solve_device(
                i, fleet, tasks, table, room, price[i], rounds, tolerance, pool, s
            )
            _add(i, fleet, tasks, s.plan[:count], 1.0, totals)


@inner
def _add(i, fleet, tasks, plan, sign, totals):
    """Add what the sessions of a device take and bring, or take it away."""
    num_tasks, slots = tasks.bits.size, tasks.capacity.size
    for k in range(plan.shape[0]):
        j, r, u = plan[k, 0], plan[k, 1], plan[k, 2]
        energy, phi, a, step = session(i, fleet, tasks, j, r, u, plan[k, 3], plan[k, 4])
        totals[0] += sign * energy
        totals[1 + j] += sign * phi
        totals[1 + num_tasks + j] += sign * a
        totals[2 * num_tasks + u] += sign
        totals[1 + 2 * num_tasks + slots + (u - 1) * num_tasks + j] += sign * step


@inner
def _objective(tasks, table, totals):
    """O of totals and what they pay for uplinks and steps; inf while a weighted task has none."""
    num_tasks, slots = tasks.bits.size, tasks.capacity.size
    total = tasks.energy_weight * totals[0]
    for g in range(slots):
        total += table.uplink[g] * totals[1 + 2 * num_tasks + g]
        for j in range(num_tasks):
            total += table.step[g, j] * totals[1 + 2 * num_tasks + slots + g * num_tasks + j]
    for j in range(num_tasks):
        if tasks.weight[j] > 0.0:
            progress = totals[1 + num_tasks + j]
            # What withdrawals leave behind is round-off, not progress.
            if progress <= 1e-12 * tasks.cap[j]:
                return np.inf
            total += tasks.weight[j] * (tasks.start[j] + totals[1 + j]) / progress
    return total


@entry
def assign_devices(
    fleet, tasks, table, price, rounds, tolerance, pool, s, plans, counts, totals, together
):  # fmt: skip
    """Plan the devices anew, one after the other, in the room that the others leave.

    A device gets the cheapest plan at the prices, if O and what all pay for uplinks and steps do
    not rise by it together: so it makes room where others gain more.

    Parameters
    ----------
    price : (I,)
        Energy prices to start from.
    plans : (I, G, 5), counts : (I,)
        Sessions of every device: task, receive, upload, iterations, batch; changed in place.
    totals : (1 + 2 J + G + G J,)
        Of the whole fleet, these devices included; changed in place.
    together : bool
        Whether they all give their room back before the first of them is planned.
    """
    num_tasks, slots = tasks.bits.size, tasks.capacity.size
    room = Room(np.empty(slots), np.empty((slots, num_tasks)))
    before = np.empty(totals.size)
    if together:
        for i in range(fleet.f_min.size):
            _add(i, fleet, tasks, plans[i, : counts[i]], -1.0, totals)
            counts[i] = 0
    for i in range(fleet.f_min.size):
        before[:] = totals
        old = _objective(tasks, table, totals)
        _add(i, fleet, tasks, plans[i, : counts[i]], -1.0, totals)
        for g in range(slots):
            room.uplink[g] = tasks.capacity[g] - totals[1 + 2 * num_tasks + g] + SLACK
            for j in range(num_tasks):
                used = totals[1 + 2 * num_tasks + slots + g * num_tasks + j]
                room.step[g, j] = tasks.cap[j] - used
        _, _, _, count = _solve_device(
            i, fleet, tasks, table, room, price[i], rounds, tolerance, pool, s
        )
        _add(i, fleet, tasks, s.plan[:count], 1.0, totals)
        new = _objective(tasks, table, totals)
        if new < old or (old == np.inf and count > 0):
            counts[i] = count
            for k in range(count):
                for part in range(5):
                    plans[i, k, part] = s.plan[k, part]
        else:
            totals[:] = before


@entry
def cost_plans(fleet, tasks, table, plans, counts, cost):
    """Work out what the plans of devices cost at the prices.

    Parameters
    ----------
    plans : (I, G, 5), counts : (I,)
    cost : (I,)
        Gets the costs.
    """
    for i in range(fleet.f_min.size):
        cost[i] = 0.0
        for k in range(counts[i]):
            j, r, u = plans[i, k, 0], plans[i, k, 1], plans[i, k, 2]
            energy, phi, a, step = session(
                i, fleet, tasks, j, r, u, plans[i, k, 3], plans[i, k, 4]
            )  # fmt: skip
            cost[i] += table.error[j] * phi - table.progress[j] * a + tasks.energy_weight * energy
            cost[i] += table.uplink[u - 1] + table.step[u - 1, j] * step
