"""Mini-batch sizes of chosen sessions, improved within the budgets at exact objective."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.candidates import Candidates
from mafl_opt.formulations.limits import widened
from mafl_opt.formulations.pricing import best_batches
from mafl_opt.solvers.schedule import Schedule

__all__ = ["resized"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BISECTIONS = 30


def resized(schedule: Schedule) -> Schedule:
    """Return the same sessions with mini-batches that are best, or nearly, within the budgets.

    With the sessions fixed the objective is a sum of convex functions of the mini-batches, tied
    together only by each device's budget: the price of the budget is searched, and what it leaves
    over is spent where it gains most.
    """
    s, columns = schedule.problem.scenario, schedule.problem.columns
    chosen = np.array(sorted(schedule.batch), dtype=np.int64)
    if not chosen.size:
        return schedule
    c = columns.take(chosen)
    served = schedule.progress > 0
    price = np.zeros(s.num_tasks)
    np.divide(s.tasks.weight, schedule.progress, out=price, where=served)
    batch, budgets = np.ones(chosen.size, dtype=np.int64), widened(s.devices.energy_budget_j)
    for device in np.unique(c.device):
        mine = np.flatnonzero(c.device == device)
        own = c.take(mine)
        budget = float(budgets[device])
        batch[mine] = _within(own, price[own.task], s.energy_weight, budget)
    other = Schedule(schedule.problem)
    for column, size in zip(chosen.tolist(), batch.tolist(), strict=True):
        if not other.fits(column, size):
            return schedule
        other.insert(column, size)
    return other if other.objective() < schedule.objective() else schedule


def _within(c: Candidates, price: Floats, energy_weight: float, budget: float) -> Ints:
    """Return mini-batches of one device's sessions; (sessions,)."""

    def best(extra: float) -> Ints:
        return best_batches(c, price, np.full(len(c), energy_weight + extra))

    batch = best(0.0)
    if c.energy(batch).sum() <= budget:
        return batch
    low, high = 0.0, max(energy_weight, 1e-9)
    for _ in range(200):
        batch = best(high)
        if c.energy(batch).sum() <= budget:
            break
        low, high = high, 4.0 * high
    else:
        return np.ones(len(c), dtype=np.int64)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        trial = best(middle)
        if c.energy(trial).sum() <= budget:
            batch, high = trial, middle
        else:
            low = middle
    return _exchanged(c, price * c.noise, energy_weight, budget, batch)


def _exchanged(
    c: Candidates, pull: Floats, energy_weight: float, budget: float, batch: Ints
) -> Ints:
    """Make mini-batches larger one by one, or one larger and another smaller, while it pays."""
    batch = batch.copy()

    def cost(sizes: Ints) -> Floats:
        return np.asarray(pull / sizes + energy_weight * c.energy(sizes))

    for _ in range(50 * batch.size):
        spent, now = c.energy(batch), cost(batch)
        up, down = np.minimum(batch + 1, c.batch_hi), np.maximum(batch - 1, 1)
        rise, fall = c.energy(up) - spent, c.energy(down) - spent
        gain_up, gain_down = cost(up) - now, cost(down) - now
        spare = budget - spent.sum()
        alone = np.where((up > batch) & (rise <= spare), gain_up, 0.0)
        pairs = np.where(
            (rise[:, None] + fall <= spare) & (up > batch)[:, None] & (down < batch),
            gain_up[:, None] + gain_down, 0.0,
        )  # fmt: skip
        np.fill_diagonal(pairs, 0.0)
        least = min(alone.min(), pairs.min())
        if least >= -1e-13 * np.abs(now).sum():
            break
        if alone.min() <= pairs.min():
            batch[alone.argmin()] += 1
        else:
            first, second = np.unravel_index(pairs.argmin(), pairs.shape)
            batch[first] += 1
            batch[second] -= 1
    return batch
