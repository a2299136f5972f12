"""What is had before prices are learned: a plan of some devices, a bound, and whether any plan is.

A search that is cut short while it learns prices returns these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.check import TOLERANCE
from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.solvers.prices.fleet.arrays import Fleet, Tasks, fleet_of, tasks_of
from mafl_opt.solvers.prices.fleet.assignment import Assignment
from mafl_opt.solvers.prices.fleet.learning import ratio_prices
from mafl_opt.solvers.prices.fleet.proof import root_range

__all__ = ["opening_plan", "unpriced_certificate", "untrainable_task"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Devices that are planned in less than a second.
_MOST = 4000
# Prices that are tried, each more generous.
_GENEROUS = 5
_BLOCK = 1 << 16


def opening_plan(
    fleet: Fleet, chosen: Ints, tasks: Tasks, totals: tuple[Floats, Floats], accuracy: float,
    stop: Callable[[], bool],
) -> Sessions | None:  # fmt: skip
    """Plan some devices, one after the other in the room that the ones before leave; others idle.

    Parameters
    ----------
    fleet : Fleet
    chosen : (devices,)
        Who may act; of many, the first few thousand.
    tasks : Tasks
    totals : (tasks,), (tasks,)
        Progress and errors at whose ratios the first sweep is made.
    accuracy : float
        A device's plan may be this far from the best.
    stop : callable

    Returns
    -------
    sessions : Sessions or None
        None when a weighted task is left untrained.
    """
    chosen = chosen[:_MOST]
    part = fleet.take(chosen)
    plan = Assignment(part, tasks, np.zeros(part.size), accuracy)
    progress, error = totals
    for _ in range(_GENEROUS):
        table = ratio_prices(tasks, progress, error)
        plan.sweep(table, stop=stop)
        if np.isfinite(plan.objective):
            plan.sweep(plan.marginal(table, 1.0), stop=stop)
            return plan.sessions(chosen)
        # Few are asked, and nobody acts yet: the less progress there is, the more it is worth.
        progress = 0.25 * progress
    return None


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
