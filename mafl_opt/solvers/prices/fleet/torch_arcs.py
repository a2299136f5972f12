"""The device program at any prices for many devices at once, on a torch device.

What `arcs` does, operation by operation in the same order, all columns beside each other instead of
one after the other. Each operation is rounded alike everywhere, so that results are those of the
compiled program, but for cube roots, which are rounded down to integers, and ties.

The last axis of every tensor is that of the devices.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mafl_opt.solvers.prices.fleet.arcs import SLACK, Table
from mafl_opt.solvers.prices.fleet.arrays import Fleet, Tasks, error_part, noise_part

__all__ = ["Solved", "put_fleet", "put_table", "put_tasks", "solve_devices"]

# Fleets, tasks and tables of tensors are records with the fields of those of arrays: Any below.


class Solved(NamedTuple):
    """Devices at energy prices.

    cost : (devices,), without the price of energy
    energy : (devices,), J
    plan : (5, G, devices)
        Task, receive, upload, iterations, batch of the session that ends in a slot; 0 for none.
    """

    cost: Tensor
    energy: Tensor
    plan: Tensor


class _Columns(NamedTuple):
    """The best column of every arc, (G, T, devices): upload - 1 and staleness; cost 0 for none."""

    cost: Tensor
    task: Tensor
    iterations: Tensor
    batch: Tensor


class _Windows(NamedTuple):
    """Sessions of a task and staleness, (uploads, devices), from slot ``staleness + 1`` on.

    exists : bool
    time : s, left to compute; none of it leaves no batch size
    radio : J
    """

    exists: Tensor
    time: Tensor
    radio: Tensor


class _Terms(NamedTuple):
    """What their columns have in common in all slots, (iterations, 1, devices); see `arcs`."""

    step: Tensor
    base: Tensor
    gain: Tensor
    wish: Tensor
    root: Tensor
    work: Tensor


def _put(array: Any, device: torch.device) -> Tensor:
    dtype = torch.bool if array.dtype == np.bool_ else torch.float64
    return torch.tensor(array, dtype=dtype, device=device)


def put_fleet(fleet: Fleet, device: torch.device) -> Any:
    """Return a fleet of tensors, (J, I) and (G, I) where the arrays are (I, J) and (I, G)."""
    return Fleet._make(_put(array.T, device) for array in fleet)


def put_table(table: Table, device: torch.device) -> Any:
    """Return a table of tensors."""
    return Table._make(_put(array, device) for array in table)


def put_tasks(tasks: Tasks, device: torch.device) -> Any:
    """Return tasks of tensors; counts and the energy weight stay where they are, for loops."""
    return Tasks._make(
        _put(entry, device) if isinstance(entry, np.ndarray) and entry.dtype.kind == "f" else entry
        for entry in tasks
    )


def solve_devices(fleet: Any, tasks: Any, table: Any, price: Tensor) -> Solved:
    """Solve devices, their budgets priced.

    Parameters
    ----------
    fleet, tasks, table
        Of tensors.
    price : (devices,)
        Energy prices.
    """
    columns = _best_columns(fleet, tasks, table, tasks.energy_weight + price)
    value, taken = _programs(columns.cost)
    energy, plan = _read_plans(fleet, tasks, columns, taken)
    return Solved(cost=value - price * energy, energy=energy, plan=plan)


def _best_columns(fleet: Any, tasks: Any, table: Any, e: Tensor) -> _Columns:
    """Find the best column of every arc at energy prices `e`, where one costs less than 0."""
    slots, stale = fleet.up_rate.shape[0], tasks.moved.shape[1]
    cost = e.new_zeros(slots, stale, e.numel())
    best = _Columns(cost, *(torch.zeros_like(cost, dtype=torch.int64) for _ in range(3)))
    free = fleet.reachable
    for tau in range(stale):
        if tau:
            # Reachable in all slots from that of the download on.
            free = free[:-1] & fleet.reachable[tau:]
        for j in range(tasks.bits.numel()):
            if tau > tasks.most_stale[j]:
                continue
            windows = _windows(j, tau, free, fleet, tasks)
            terms = _terms(j, tau, fleet, tasks, table, e)
            price, iterations, batch = _weigh(j, tau, windows, terms, fleet, tasks, table, e)
            cheaper = price < best.cost[tau:, tau]
            found = (price, torch.full_like(iterations, j), iterations, batch)
            for kept, new in zip(best, found, strict=True):
                kept[tau:, tau] = torch.where(cheaper, new, kept[tau:, tau])
    return best


def _windows(j: int, tau: int, free: Tensor, fleet: Any, tasks: Any) -> _Windows:
    """Work out which sessions exist; `free`: the device is reachable in all their slots."""
    length = tasks.instants.diff()[:, None]
    last = length.numel() - tau
    down, up = tasks.bits[j] / fleet.down_rate, tasks.bits[j] / fleet.up_rate
    exists = free & (down <= length)[:last] & (up <= length)[tau:]
    exists &= tasks.capacity[tau:, None] >= 1.0
    down, up = down[:last], up[tau:]
    time = (tasks.instants[tau + 1 :] - tasks.instants[:last])[:, None] - down - up
    return _Windows(exists, time, fleet.tx_power * up + fleet.rx_power * down)


def _terms(j: int, tau: int, fleet: Any, tasks: Any, table: Any, e: Tensor) -> _Terms:
    """Work out what does not depend on the slot."""
    most = int(tasks.most_iterations[j])
    count = torch.arange(1, most + 1, dtype=e.dtype, device=e.device)[:, None, None]
    first, drift_0, drift_1, drift_2, noise_1, noise_2, noise_3 = (
        sums[j, 1 : most + 1, None, None]
        for sums in (
            tasks.first, tasks.drift_0, tasks.drift_1, tasks.drift_2,
            tasks.noise_1, tasks.noise_2, tasks.noise_3,
        )
    )  # fmt: skip
    c = tasks.rate[j] * fleet.share[j] * tasks.stale_weight[j, tau]
    apart = tasks.moved[j, tau] + fleet.dissimilarity[j] + fleet.drift[j] * (tau + 1)
    error = error_part(c, apart, tasks.slope[j], drift_0, drift_1, drift_2)
    noise = noise_part(c, fleet.variance[j], noise_1, noise_2, noise_3)
    step, gain = c * first, table.error[j] * noise
    base = table.error[j] * (error - noise / fleet.samples[j]) - 0.5 * table.progress[j] * step
    work = fleet.cycles[j] * count
    priced = e * fleet.capacitance * fleet.cycles[j] * count
    wish = (gain / priced).sqrt() / fleet.f_min
    root = ((gain / (3.0 * priced)).sqrt() / work).sqrt()
    return _Terms(
        step=step, base=base, gain=gain, wish=torch.where(gain > 0.0, wish, 1.0),
        root=torch.where(gain > 0.0, root, 0.0), work=work,
    )  # fmt: skip


def _weigh(
    j: int, tau: int, windows: _Windows, terms: _Terms, fleet: Any, tasks: Any, table: Any,
    e: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Find the best batch size of every column, and of these the best iteration count.

    Returns
    -------
    cost, iterations, batch : (uploads, devices)
        Cost inf where there is no column.
    """
    exists, time, radio = windows
    step, base, gain, wish, root, work = terms
    f_min, kappa = fleet.f_min, fleet.capacitance
    rate = work / time
    top = (fleet.f_max * time / work * (1.0 + SLACK)).floor()
    top = top.minimum(fleet.samples[j].clamp(max=float(tasks.most_batch[j])))
    size = wish.minimum((f_min / rate).maximum(root * time.sqrt()))
    low = size.clamp(min=1.0).minimum(top).floor()
    high = (low + 1.0).minimum(top)
    possible = exists & (step <= tasks.cap[j]) & (high >= 1.0)
    f = f_min.maximum(rate * high)
    dear = possible & (radio + kappa * work * high * f * f > fleet.budget)
    if dear.any():
        terms_of_energy = (fleet.budget, radio, kappa * work, f_min, rate, high)
        high[dear] = _affordable(*(entry.expand_as(high)[dear] for entry in terms_of_energy))
        low = low.minimum(high)
        possible &= high >= 1.0
    unit = e * kappa * work
    f = f_min.maximum(rate * low)
    price = gain / low + unit * low * f * f
    f = f_min.maximum(rate * high)
    upper = gain / high + unit * high * f * f
    size = torch.where(upper < price, high, low)
    charge = (table.uplink[tau:, None] + e * radio) + table.step[tau:, j, None] * step
    price = price.minimum(upper) + (base + charge)
    cost, index = torch.where(possible, price, torch.inf).min(dim=0)
    return cost, index + 1, size.gather(0, index[None])[0].long()


def _affordable(
    budget: Tensor, fixed: Tensor, unit: Tensor, f_min: Tensor, rate: Tensor, batch: Tensor
) -> Tensor:
    """Find the largest batch sizes up to `batch` whose energy stays within budgets.

    Below 1, or not a number, for none.
    """
    left = budget - fixed
    most = torch.where(unit * f_min * f_min * batch > left, left / (unit * f_min * f_min), batch)
    fast = unit * rate * rate
    most = torch.where(fast * most * most * most > left, (left / fast) ** (1.0 / 3.0), most)
    most = (most * (1.0 + SLACK)).floor()
    f = f_min.maximum(rate * most)
    beyond = (most >= 1.0) & (fixed + unit * most * f * f > budget)
    return torch.where(beyond, most - 1.0, most)


def _programs(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Choose arcs that do not overlap at least cost.

    Returns
    -------
    value : (devices,)
    taken : (G, devices)
        Staleness + 1 of the arc that ends in a slot; 0 for none.
    """
    slots, stale, _ = cost.shape
    value, taken = [torch.zeros_like(cost[0, 0])], []
    for u in range(1, slots + 1):
        before = torch.stack(value[: -stale - 1 : -1])
        offer, tau = (before + cost[u - 1, : len(before)]).min(dim=0)
        cheaper = offer < value[-1]
        taken.append(torch.where(cheaper, tau + 1, 0))
        value.append(torch.where(cheaper, offer, value[-1]))
    return value[-1], torch.stack(taken)


def _read_plans(fleet: Any, tasks: Any, columns: _Columns, taken: Tensor) -> tuple[Tensor, Tensor]:
    """Follow the arcs back from the end; returns energy and sessions as in `Solved`."""
    slots, devices = taken.shape
    at, chosen = torch.full_like(taken[0], slots), torch.zeros_like(taken)
    for u in range(slots, 0, -1):
        here = at == u
        chosen[u - 1] = torch.where(here, taken[u - 1], 0)
        at = torch.where(here, u - taken[u - 1].clamp(min=1), at)
    used, tau = chosen > 0, (chosen - 1).clamp(min=0)
    task, iterations, batch = (entries.gather(1, tau[:, None])[:, 0] for entries in columns[1:])
    upload = torch.arange(1, slots + 1, device=taken.device)[:, None].expand(slots, devices)
    receive = upload - 1 - tau
    # As in `arcs.session`.
    bits, down_rate = tasks.bits[task], fleet.down_rate.gather(0, receive)
    down, up = bits / down_rate, bits / fleet.up_rate
    time = tasks.instants[upload] - tasks.instants[receive] - down - up
    work = fleet.cycles.gather(0, task) * iterations * batch
    f = fleet.f_min.maximum(work / time).minimum(fleet.f_max)
    energy = fleet.tx_power * up + fleet.rx_power * down + fleet.capacitance * work * f * f
    energy = torch.where(used, energy, 0.0)
    total = torch.zeros_like(energy[0])
    for g in range(slots - 1, -1, -1):
        total = total + energy[g]
    return total, torch.stack([task, receive, upload, iterations, batch]) * used
