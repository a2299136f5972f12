"""What is had before prices are learned: a plan of some devices, a bound, and whether any plan is.

A search that is cut short while it learns prices returns these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.check import TOLERANCE
from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.solvers.prices.fleet.arrays import (
    Fleet,
    Tasks,
    error_part,
    fleet_of,
    noise_part,
    tasks_of,
)
from mafl_opt.solvers.prices.fleet.proof import root_range

__all__ = ["Opening", "opening_plan", "unpriced_certificate", "untrainable_task"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Devices that are planned in about a second.
_MOST = 4000
# Progress that is hoped for at first, as parts of what step caps allow; the less, the dearer it is.
_HOPES = (0.5, 0.1, 1e-2, 1e-4, 1e-6, 1e-9)
_BLOCK = 1 << 16
_EXACT = 1.0 - 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opening:
    """A first plan.

    sessions : Sessions
    progress, error : (tasks,)
        A_j and R_j = N_j - Gamma'_j of the plan.
    """

    sessions: Sessions
    progress: Floats
    error: Floats


def opening_plan(fleet: Fleet, chosen: Ints, tasks: Tasks) -> Opening | None:
    """Plan some devices slot by slot, each slot's best sessions first; nothing is compiled.

    Prices are the marginal ones of the totals that the slots so far promise. A device may spend its
    budget as fast as time goes.

    Parameters
    ----------
    fleet : Fleet
    chosen : (devices,)
        Who may act; of many, the first few thousand.
    tasks : Tasks

    Returns
    -------
    opening : Opening or None
        None when a weighted task is left untrained.
    """
    chosen = np.sort(chosen[:_MOST])
    part, used = fleet.take(chosen), tasks.weight > 0
    for hope in _HOPES:
        rows, progress, error = _fill(part, tasks, hope)
        if (progress[used] > 0).all():
            return Opening(sessions=_sessions(rows, chosen), progress=progress, error=error)
    return None


def _fill(fleet: Fleet, tasks: Tasks, hope: float) -> tuple[Floats, Floats, Floats]:
    """Return sessions (sessions, 7), device by number in `fleet`, and their A_j and R_j."""
    num_tasks, slots = tasks.bits.size, tasks.capacity.size
    progress, error = np.zeros(num_tasks), np.zeros(num_tasks)
    free, spent = np.zeros(fleet.size, dtype=np.int64), np.zeros(fleet.size)
    most, rows = 0.5 * slots * tasks.cap, [np.zeros((0, 7))]
    for u in range(1, slots + 1):
        told = progress > 0
        promised = np.where(told, np.minimum(progress * slots / max(u - 1, 1), most), hope * most)
        excess = np.where(told, error / np.where(told, progress, 1.0), 0.0)
        lam = tasks.weight / promised
        mu = lam * (tasks.start / promised + excess)
        allowed = np.maximum(fleet.budget * _EXACT * u / slots - spent, 0.0)
        offers = [_offers(fleet, tasks, j, u, free, allowed, lam[j], mu[j])
                  for j in range(num_tasks)]  # fmt: skip
        cost = np.array([offer[0] for offer in offers])
        room, uplinks = tasks.cap * _EXACT, int(tasks.capacity[u - 1])
        for _ in range(num_tasks):
            wanted = np.where(cost.min(axis=0) < 0.0, cost.argmin(axis=0), -1)
            for j in range(num_tasks):
                own = np.flatnonzero(wanted == j)
                value, receive, steps, batch, frequency, energy, phi, step = offers[j]
                own = own[np.argsort(value[own] / step[own], kind="stable")]
                own = own[np.cumsum(step[own]) <= room[j]][:uplinks]
                cost[j, wanted == j] = np.inf
                cost[:, own] = np.inf
                room[j] -= step[own].sum()
                uplinks -= own.size
                free[own], spent[own] = u, spent[own] + energy[own]
                progress[j] += 0.5 * step[own].sum()
                error[j] += phi[own].sum()
                rows.append(np.column_stack([
                    own, np.full(own.size, j), receive[own], np.full(own.size, u), frequency[own],
                    batch[own], steps[own],
                ]))  # fmt: skip
    return np.concatenate(rows), progress, error


def _offers(
    fleet: Fleet, tasks: Tasks, j: int, u: int, free: Ints, allowed: Floats, lam: float, mu: float
) -> tuple[Floats, ...]:  # fmt: skip
    """Best session of a task that every device can end at u.

    Returns cost (inf for none), receive, iterations, batch size, frequency, energy, phi and step.
    """
    best = [np.full(fleet.size, np.inf), *(np.zeros(fleet.size) for _ in range(7))]
    slot_s, steps = np.diff(tasks.instants), np.arange(1, int(tasks.most_iterations[j]) + 1)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        up = tasks.bits[j] / fleet.up_rate[:, u - 1]
        for tau in range(min(int(tasks.most_stale[j]), u - 1) + 1):
            r = u - 1 - tau
            down = tasks.bits[j] / fleet.down_rate[:, r]
            time = (tasks.instants[u] - tasks.instants[r]) - down - up
            good = (free <= r) & (fleet.samples[:, j] > 0) & fleet.reachable[:, r:u].all(axis=1)
            good &= (down <= slot_s[r]) & (up <= slot_s[u - 1]) & (time > 0)
            i = np.flatnonzero(good)
            if not i.size:
                continue
            radio = (fleet.tx_power * up + fleet.rx_power * down)[i, None]
            work, kappa = fleet.cycles[i, j, None] * steps, fleet.capacitance[i, None]
            rate, f_min = work / time[i, None], fleet.f_min[i, None]
            samples = fleet.samples[i, j, None]
            c = tasks.rate[j] * fleet.share[i, j, None] * tasks.stale_weight[j, tau]
            apart = fleet.dissimilarity[i, j, None] + fleet.drift[i, j, None] * (tau + 1)
            phi = error_part(
                c, apart + tasks.moved[j, tau], tasks.slope[j], tasks.drift_0[j, steps],
                tasks.drift_1[j, steps], tasks.drift_2[j, steps],
            )  # fmt: skip
            noise = noise_part(
                c, fleet.variance[i, j, None], tasks.noise_1[j, steps], tasks.noise_2[j, steps],
                tasks.noise_3[j, steps],
            )  # fmt: skip
            # Fact 2 of the model page, and what budget and deadline leave of it.
            unit = tasks.energy_weight * kappa * work
            linear = np.sqrt(lam * noise / unit) / f_min
            cubic = (lam * noise / (3.0 * unit)) ** 0.25 / np.sqrt(rate)
            size = np.minimum(linear, np.maximum(f_min / rate, cubic))
            size = np.where(lam * noise > 0, np.where(unit > 0, size, np.inf), 1.0)
            left = (allowed[i, None] - radio) / (kappa * work)
            size = np.minimum(size, np.minimum(left / f_min**2, np.cbrt(left / rate**2)) * _EXACT)
            size = np.minimum(size, np.minimum(samples, tasks.most_batch[j]))
            batch = np.floor(np.minimum(size, fleet.f_max[i, None] / rate * _EXACT))
            frequency = np.maximum(f_min, rate * batch)
            energy, step = radio + kappa * work * batch * frequency**2, c * tasks.first[j, steps]
            phi = phi + noise * (1.0 / batch - 1.0 / samples)
            cost = lam * phi - 0.5 * mu * step + tasks.energy_weight * energy
            cost = np.where((batch >= 1) & (step <= tasks.cap[j] * _EXACT), cost, np.inf)
            at = np.arange(i.size), cost.argmin(axis=1)
            better = cost[at] < best[0][i]
            found = (cost, np.broadcast_to(r, cost.shape), np.broadcast_to(steps, cost.shape),
                     batch, frequency, energy, phi, step)  # fmt: skip
            for kept, value in zip(best, found, strict=True):
                kept[i[better]] = value[at][better]
    return tuple(best)


def _sessions(rows: Floats, names: Ints) -> Sessions:
    device, task, receive, upload, frequency, batch, iterations = rows.T
    return Sessions(
        device=names[device.astype(np.int64)], task=task.astype(np.int64),
        receive=receive.astype(np.int64), upload=upload.astype(np.int64), cpu_hz=frequency,
        batch_size=batch.astype(np.int64), iterations=iterations.astype(np.int64),
    ).sorted()  # fmt: skip


def unpriced_certificate(fleet: Fleet, tasks: Tasks, objective: float) -> dict[str, Any]:
    """Return a certificate whose prices are all 0: progress at its caps, errors at their least.

    Parameters
    ----------
    objective : float
        Of some plan.
    """
    root, _ = root_range(fleet, tasks, objective)
    bound = float(tasks.weight @ (tasks.start / root.high + root.excess_low))
    slots, count = tasks.capacity.size, tasks.bits.size
    prices = {
        "numerator": [0.0] * count, "progress": [0.0] * count, "uplink": [0.0] * slots,
        "step_cap": [[0.0] * count] * slots,
    }  # fmt: skip
    return {"kind": "tree", "bound": bound, "prices": [prices], "tree": {"prices": 0}}


def untrainable_task(scenario: Scenario) -> str | None:
    """Name the first task of positive weight that no device can ever train; None: there is none.

    A session of one iteration on one sample asks least of deadline, budget, uplink and step cap.
    """
    tasks, fleet = tasks_of(scenario), fleet_of(scenario)
    for j in np.flatnonzero(tasks.weight > 0):
        blocks = range(0, fleet.size, _BLOCK)
        if not any(_trains(fleet.part(k, k + _BLOCK), tasks, int(j)) for k in blocks):
            return scenario.tasks.name[j]
    return None


def _trains(fleet: Fleet, tasks: Tasks, j: int) -> bool:
    """Whether a device of a block has a session of the task."""
    slots = tasks.capacity.size
    slot_s, room = np.diff(tasks.instants), 1.0 + TOLERANCE
    step = tasks.rate[j] * fleet.share[:, j] * tasks.first[j, 1]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        down, up = tasks.bits[j] / fleet.down_rate, tasks.bits[j] / fleet.up_rate
        for r in range(slots):
            for u in range(r + 1, min(slots, r + 1 + int(tasks.most_stale[j])) + 1):
                if tasks.capacity[u - 1] < 1:
                    continue
                time = tasks.instants[u] - tasks.instants[r] - down[:, r] - up[:, u - 1]
                rate = np.maximum(fleet.cycles[:, j] / time, fleet.f_min)
                energy = fleet.tx_power * up[:, u - 1] + fleet.rx_power * down[:, r]
                energy = energy + fleet.capacitance * fleet.cycles[:, j] * rate**2
                good = (fleet.samples[:, j] > 0) & fleet.reachable[:, r:u].all(axis=1) & (time > 0)
                good &= (down[:, r] <= slot_s[r] * room) & (up[:, u - 1] <= slot_s[u - 1] * room)
                good &= (rate <= fleet.f_max * room) & (energy <= fleet.budget * room)
                good &= step * tasks.stale_weight[j, u - 1 - r] <= tasks.cap[j] * room
                if good.any():
                    return True
    return False
