"""The device program at any prices, compiled: closed-form batch sizes, a program over the slots.

Model page, section 6, facts 1 to 3. Plain sequential arithmetic, one device after the other; no
fast-math, so that the same numbers come out on any number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.compiling import compiled
from mafl_opt.solvers.prices.fleet.arrays import Tasks, error_part, noise_part

__all__ = [
    "SLACK",
    "Room",
    "Scratch",
    "Table",
    "entry",
    "inner",
    "iterations",
    "read_plan",
    "scratch",
    "session",
    "solve_arcs",
    "transfers",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_options = {"nogil": True, "error_model": "numpy"}
#: For functions that are called from Python.
entry = compiled(**_options)
#: For all others, whose calls from Python take as long to compile as they do themselves.
inner = compiled(**_options, no_cpython_wrapper=True, no_cfunc_wrapper=True)
# For numbers only: every array that an inlined function is given is counted at every call, which
# took two thirds of the time once.
_inlined = compiled(**_options, inline="always")

# Round-off in f_max T' / (cyc l) must not cost a sample that fits exactly.
SLACK = 1e-12


class Table(NamedTuple):
    """Prices of what devices share.

    error, progress : (J,), lam and mu
    uplink : (G,)
    step : (G, J)
    """

    error: Floats
    progress: Floats
    uplink: Floats
    step: Floats


class Room(NamedTuple):
    """What is left of uplinks (G,) and step caps (G, J) for a device's sessions."""

    uplink: Floats
    step: Floats


class Scratch(NamedTuple):
    """Room for one device at a time; arcs are (upload - 1, staleness)."""

    cost: Floats  # (G, T), the best column of every arc
    task: Ints
    iterations: Ints
    batch: Ints
    value: Floats  # (G + 1,), the dynamic program
    taken: Ints  # (G + 1,), staleness of the arc taken, -1 for none
    gone: Ints  # (G + 1,), slots out of reach so far
    down: Floats  # (G,), s, of one task
    up: Floats
    base: Floats  # (L + 1,), of one task and staleness
    gain: Floats
    steps: Floats
    wish: Floats
    root: Floats
    least: Floats
    order: Ints  # (L,), iteration counts by rising `least`
    back: Floats  # (G + 1,), the dynamic program from the end
    found: Ints  # (G, 5): task, receive, upload, iterations, batch of a plan
    plan: Ints  # the same of the best plan within the budget


def scratch(tasks: Tasks) -> Scratch:
    """Make room for the device program."""
    slots, stale = tasks.capacity.size, tasks.moved.shape[1]
    steps = tasks.first.shape[1]
    arcs = (slots, stale)

    def ints(*shape: int) -> Ints:
        return np.zeros(shape, dtype=np.int64)

    return Scratch(
        cost=np.zeros(arcs), task=ints(*arcs), iterations=ints(*arcs), batch=ints(*arcs),
        value=np.zeros(slots + 1), taken=ints(slots + 1), gone=ints(slots + 1),
        down=np.zeros(slots), up=np.zeros(slots), base=np.zeros(steps), gain=np.zeros(steps),
        steps=np.zeros(steps), wish=np.zeros(steps), root=np.zeros(steps), least=np.zeros(steps),
        order=ints(steps), back=np.zeros(slots + 1), found=ints(slots, 5), plan=ints(slots, 5),
    )  # fmt: skip


@inner
def _affordable(budget, fixed, unit, f_min, rate, batch):
    """Largest batch size up to `batch` whose energy stays within the budget; 0 for none."""
    left = budget - fixed
    if left < 0.0:
        return 0.0
    if unit <= 0.0:
        return batch
    most = batch
    if unit * f_min * f_min * most > left:
        most = left / (unit * f_min * f_min)
    if unit * rate * rate * most * most * most > left:
        most = np.cbrt(left / (unit * rate * rate))
    most = np.floor(most * (1.0 + SLACK))
    if most >= 1.0:
        f = max(f_min, rate * most)
        if fixed + unit * most * f * f > budget:
            most -= 1.0
    return most


@inner
def transfers(i, j, fleet, tasks, s):
    """Download and upload time of every slot; inf where it is longer than the slot."""
    for g in range(tasks.capacity.size):
        length = tasks.instants[g + 1] - tasks.instants[g]
        down, up = fleet.down_rate[i, g], fleet.up_rate[i, g]
        s.down[g] = tasks.bits[j] / down if down > 0.0 else np.inf
        s.up[g] = tasks.bits[j] / up if up > 0.0 else np.inf
        if s.down[g] > length:
            s.down[g] = np.inf
        if s.up[g] > length:
            s.up[g] = np.inf


_error, _noise = _inlined(error_part), _inlined(noise_part)


@inner
def iterations(i, j, tau, fleet, tasks, table, e, s):
    """Work out what columns of one task and staleness have in common in all slots.

    Returns the largest iteration count that the step cap admits.
    """
    lam, mu, samples = table.error[j], table.progress[j], fleet.samples[i, j]
    box = float(min(tasks.most_batch[j], samples))
    f_min, cycles, unit = fleet.f_min[i], fleet.cycles[i, j], e * fleet.capacitance[i]
    c = tasks.rate[j] * fleet.share[i, j] * tasks.stale_weight[j, tau]
    apart = tasks.moved[j, tau] + fleet.dissimilarity[i, j] + fleet.drift[i, j] * (tau + 1)
    slope, variance, cap = tasks.slope[j], fleet.variance[i, j], tasks.cap[j]
    first, most = tasks.first[j], tasks.most_iterations[j]
    drift_0, drift_1, drift_2 = tasks.drift_0[j], tasks.drift_1[j], tasks.drift_2[j]
    noise_1, noise_2, noise_3 = tasks.noise_1[j], tasks.noise_2[j], tasks.noise_3[j]
    for steps in range(1, most + 1):
        step = c * first[steps]
        if step > cap:
            return steps - 1
        error = _error(c, apart, slope, drift_0[steps], drift_1[steps], drift_2[steps])
        noise = _noise(c, variance, noise_1[steps], noise_2[steps], noise_3[steps])
        gain = lam * noise
        work = unit * cycles * steps
        s.steps[steps] = step
        s.base[steps] = lam * (error - noise / samples) - 0.5 * mu * step
        s.gain[steps] = gain
        if gain <= 0.0:
            s.wish[steps], s.root[steps] = 1.0, 0.0
        elif work <= 0.0:
            s.wish[steps], s.root[steps] = np.inf, np.inf
        else:
            s.wish[steps] = np.sqrt(gain / work) / f_min
            s.root[steps] = np.sqrt(np.sqrt(gain / (3.0 * work)) / (cycles * steps))
        free = min(max(s.wish[steps], 1.0), box)
        # Below any cost the column can have: no deadline, real batch size.
        s.least[steps] = s.base[steps] + gain / free + work * f_min * f_min * free
    return most


@inner
def _rank(most, s):
    """Order iteration counts by the least that a column can cost; few are out of place."""
    for steps in range(1, most + 1):
        place = steps - 1
        while place > 0 and s.least[s.order[place - 1]] > s.least[steps]:
            s.order[place] = s.order[place - 1]
            place -= 1
        s.order[place] = steps


@inner
def _reach(i, fleet, s):
    """Count the slots out of reach."""
    for g in range(s.gone.size - 1):
        s.gone[g + 1] = s.gone[g] + (0 if fleet.reachable[i, g] else 1)


@inner
def solve_arcs(i, fleet, tasks, table, room, e, ceiling, s):
    """Find the best column of every arc at energy price `e`, if it costs less than `ceiling`."""
    slots = tasks.capacity.size
    s.cost[:, :] = ceiling
    s.task[:, :] = -1
    _reach(i, fleet, s)
    f_min, f_max = fleet.f_min[i], fleet.f_max[i]
    kappa, budget = fleet.capacitance[i], fleet.budget[i]
    tx_power, rx_power = fleet.tx_power[i], fleet.rx_power[i]
    gone, down, up, instants = s.gone, s.down, s.up, tasks.instants
    for j in range(tasks.bits.size):
        if fleet.samples[i, j] < 1:
            continue
        box = float(min(tasks.most_batch[j], fleet.samples[i, j]))
        transfers(i, j, fleet, tasks, s)
        for tau in range(min(tasks.most_stale[j], slots - 1) + 1):
            most = iterations(i, j, tau, fleet, tasks, table, e, s)
            _rank(most, s)
            for u in range(tau + 1, slots + 1):
                r = u - 1 - tau
                time = instants[u] - instants[r] - down[r] - up[u - 1]
                if time <= 0.0 or gone[u] > gone[r] or room.uplink[u - 1] < 1.0:
                    continue
                radio = tx_power * up[u - 1] + rx_power * down[r]
                charge, toll = table.uplink[u - 1] + e * radio, table.step[u - 1, j]
                root_time, left = np.sqrt(time), room.step[u - 1, j]
                best = s.cost[u - 1, tau]
                for place in range(most):
                    steps = s.order[place]
                    # Step caps only add to it.
                    if s.least[steps] + charge >= best:
                        break
                    extra = charge + toll * s.steps[steps]
                    if s.steps[steps] > left or s.least[steps] + extra >= best:
                        continue
                    work = fleet.cycles[i, j] * steps
                    top = min(np.floor(f_max * time / work * (1.0 + SLACK)), box)
                    if top < 1.0:
                        continue
                    rate = work / time
                    size = min(s.wish[steps], max(f_min / rate, s.root[steps] * root_time))
                    low = np.floor(min(max(size, 1.0), top))
                    high = min(low + 1.0, top)
                    f = max(f_min, rate * high)
                    if radio + kappa * work * high * f * f > budget:
                        high = _affordable(budget, radio, kappa * work, f_min, rate, high)
                        low = min(low, high)
                        if high < 1.0:
                            continue
                    unit = e * kappa * work
                    f, g = max(f_min, rate * low), max(f_min, rate * high)
                    size, price = low, s.gain[steps] / low + unit * low * f * f
                    upper = s.gain[steps] / high + unit * high * g * g
                    if upper < price:
                        size, price = high, upper
                    price += s.base[steps] + extra
                    if price < best:
                        best = price
                        s.cost[u - 1, tau] = price
                        s.task[u - 1, tau] = j
                        s.iterations[u - 1, tau] = steps
                        s.batch[u - 1, tau] = int(size)
    return _program(s)


@inner
def _program(s):
    """Choose arcs that do not overlap at least cost; returns the cost."""
    slots = s.cost.shape[0]
    s.value[0] = 0.0
    for u in range(1, slots + 1):
        best, arc = s.value[u - 1], -1
        for tau in range(min(s.cost.shape[1], u)):
            if s.task[u - 1, tau] >= 0:
                offer = s.value[u - 1 - tau] + s.cost[u - 1, tau]
                if offer < best:
                    best, arc = offer, tau
        s.value[u], s.taken[u] = best, arc
    return s.value[slots]


@inner
def session(i, fleet, tasks, j, r, u, steps, batch):
    """Return energy, phi, a and step of one session at its best frequency."""
    down, up = tasks.bits[j] / fleet.down_rate[i, r], tasks.bits[j] / fleet.up_rate[i, u - 1]
    time = tasks.instants[u] - tasks.instants[r] - down - up
    work = fleet.cycles[i, j] * steps * batch
    f = min(max(fleet.f_min[i], work / time), fleet.f_max[i])
    energy = fleet.tx_power[i] * up + fleet.rx_power[i] * down + fleet.capacitance[i] * work * f * f
    tau = u - 1 - r
    c = tasks.rate[j] * fleet.share[i, j] * tasks.stale_weight[j, tau]
    apart = tasks.moved[j, tau] + fleet.dissimilarity[i, j] + fleet.drift[i, j] * (tau + 1)
    drift = tasks.drift_0[j, steps], tasks.drift_1[j, steps], tasks.drift_2[j, steps]
    error = _error(c, apart, tasks.slope[j], drift[0], drift[1], drift[2])
    parts = tasks.noise_1[j, steps], tasks.noise_2[j, steps], tasks.noise_3[j, steps]
    noise = _noise(c, fleet.variance[i, j], parts[0], parts[1], parts[2])
    step = c * tasks.first[j, steps]
    return energy, error + noise * (1.0 / batch - 1.0 / fleet.samples[i, j]), 0.5 * step, step


@inner
def read_plan(i, fleet, tasks, s):
    """Write the chosen sessions into ``s.found``; returns how many and their energy."""
    u, count, energy = s.cost.shape[0], 0, 0.0
    while u > 0:
        tau = s.taken[u]
        if tau < 0:
            u -= 1
            continue
        r = u - 1 - tau
        j, steps, batch = s.task[u - 1, tau], s.iterations[u - 1, tau], s.batch[u - 1, tau]
        row = s.found[count]
        row[0], row[1], row[2], row[3], row[4] = j, r, u, steps, batch
        energy += session(i, fleet, tasks, j, r, u, steps, batch)[0]
        count += 1
        u = r
    return count, energy
