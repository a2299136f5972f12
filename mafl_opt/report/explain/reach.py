"""Why a device can run no session at all, from the least demanding session of each kind.

One iteration on one sample asks least of deadline, step cap and budget. What even that cannot keep
is what stands in the way.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.ledger import within
from mafl_opt.core.terms import Facts
from mafl_opt.formulations.radio import best_frequency

__all__ = ["OBSTACLES", "obstacles"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: What can stand in the way, in the order in which it is looked for.
OBSTACLES = ("no data", "unreachable", "radio", "no uplink", "deadline", "step cap", "budget")

#: Sessions looked at together.
_BLOCK = 200_000


def obstacles(facts: Facts, devices: Ints) -> tuple[Ints, list[tuple[float, float]]]:
    """Return for each device what leaves it without a session, and by how much.

    Parameters
    ----------
    facts : Facts
    devices : (n,)
        Devices that cannot run any session.

    Returns
    -------
    reason : (n,)
        Place in `OBSTACLES`: what the last sessions that are left fail at.
    figures : n pairs
        What was found and what was allowed, at the session that comes closest.
    """
    reason = np.zeros(devices.size, dtype=np.int64)
    figures: list[tuple[float, float]] = []
    pairs = _pairs(facts)
    size = max(1, _BLOCK // (pairs.shape[1] * facts.scenario.num_tasks))
    for first in range(0, devices.size, size):
        block = devices[first : first + size]
        found, numbers = _block(facts, block, pairs)
        reason[first : first + size] = found
        figures += numbers
    return reason, figures


def _pairs(facts: Facts) -> Ints:
    """Return all (receive, upload) that some task's staleness bound admits; shape (2, pairs)."""
    scenario = facts.scenario
    slots, most = scenario.num_slots, int(scenario.tasks.staleness_max.max())
    pairs = [(r, u) for r in range(slots) for u in range(r + 1, min(slots, r + 1 + most) + 1)]
    return np.array(pairs, dtype=np.int64).T


def _block(facts: Facts, devices: Ints, pairs: Ints) -> tuple[Ints, list[tuple[float, float]]]:
    tasks = facts.scenario.num_tasks
    count = tasks * pairs.shape[1]
    owner = np.repeat(np.arange(devices.size), count)
    j = np.tile(np.repeat(np.arange(tasks), pairs.shape[1]), devices.size)
    r, u = (np.tile(side, devices.size * tasks) for side in pairs)
    left = np.asarray(u - 1 - r <= facts.scenario.tasks.staleness_max[j])
    reason = np.full(devices.size, -1)
    found, allowed = np.zeros(devices.size), np.zeros(devices.size)
    with np.errstate(all="ignore"):
        for stage, (use, limit) in enumerate(_stages(facts, devices[owner], j, r, u)):
            ratio = np.where(limit > 0, use / limit, np.where(use > 0, np.inf, 0.0))
            ratio = np.where(left & ~np.isnan(ratio), ratio, np.inf).reshape(-1, count)
            nearest = ratio.argmin(axis=1) + np.arange(devices.size) * count
            left &= within(use, limit)
            stuck = (reason < 0) & ~left.reshape(-1, count).any(axis=1)
            reason[stuck] = stage
            found[stuck], allowed[stuck] = use[nearest[stuck]], limit[nearest[stuck]]
    # Nothing stands in the way of a device that the caller should not have asked about.
    if (reason < 0).any():
        raise ValueError(f"device {devices[reason < 0][0]} can run a session")
    return reason, list(zip(found.tolist(), allowed.tolist(), strict=True))


def _stages(facts: Facts, i: Ints, j: Ints, r: Ints, u: Ints) -> Iterator[tuple[Floats, Floats]]:
    """Yield, for each of `OBSTACLES`, what the sessions use and what they may; (sessions,) each."""
    scenario = facts.scenario
    network, slot_s, fleet = scenario.network, scenario.time.slot_s, scenario.devices
    ones = np.ones(i.size)
    yield ones, scenario.pairs.samples[i, j].astype(float)
    away = np.concatenate([np.zeros((1, scenario.num_devices)), ~network.available]).cumsum(axis=0)
    yield away[u, i] - away[r, i], np.zeros(i.size)
    receive_s, upload_s = facts.receive_s(i, j, r), facts.upload_s(i, j, u)
    slower = upload_s / slot_s[u - 1] > receive_s / slot_s[r]
    yield np.where(slower, upload_s, receive_s), np.where(slower, slot_s[u - 1], slot_s[r])
    yield ones, network.uplink_capacity[u - 1].astype(float)
    window = facts.window_s(r, u)
    cycles = scenario.pairs.cycles_per_sample[i, j]
    yield receive_s + cycles / fleet.f_max_hz[i] + upload_s, window
    yield facts.step(i, j, u - 1 - r), scenario.tasks.step_cap[j]
    time_s = window - receive_s - upload_s
    cpu_hz = best_frequency(cycles, time_s, fleet.f_min_hz[i], fleet.f_max_hz[i])
    spent = facts.radio_j(i, receive_s, upload_s) + facts.compute_j(i, cycles, cpu_hz)
    yield spent, fleet.energy_budget_j[i]
