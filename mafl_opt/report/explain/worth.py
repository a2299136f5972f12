"""What the sessions of idle devices would change: in this plan, and at the prices of a certificate.

A session of task j added to a plan changes gamma N / A by gamma (phi - Xi a) / (A + a), exactly,
and the energy term by xi E. What is negative alone for no session is so for no set of them: the
numerators of several sessions of a task add up, and A + sum a only lowers them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.check import CheckReport
from mafl_opt.core.ledger import within
from mafl_opt.core.proof.local_sums import LocalSums
from mafl_opt.core.proof.session_table import SessionTable, fleet_blocks
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.tally import Tally
from mafl_opt.report.explain.findings import PricedSession
from mafl_opt.report.explain.prices import LeafPrices

__all__ = ["Offer", "Survey", "survey_idle"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Report = Callable[[str, "float | None"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The session of a device that changes the objective most to the better.

    Among those that fit the plan if one of them does, and otherwise among all.

    Attributes
    ----------
    task, receive, upload, iterations, batch_size : int
    change : float
        Of the objective; minus infinity for the first session of a weighted task.
    progress, error, energy : float
        Its parts: gamma Xi a / (A + a) with a minus sign, gamma phi / (A + a) and xi E.
    step : float
        c_s C1(l).
    """

    task: int
    receive: int
    upload: int
    iterations: int
    batch_size: int
    change: float
    progress: float
    error: float
    energy: float
    step: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The best sessions of all devices; every array has shape (devices,).

    Attributes
    ----------
    change : objective after less before, at best; infinite for devices without any session
    fitting : the same among the sessions for which uplinks and step caps have room
    blocked : whether the best session ends where all uplinks are used
    net : least reduced cost at the prices; infinite without prices
    offers, priced : dict
        By device, for those asked for.
    """

    change: Floats
    fitting: Floats
    blocked: Bools
    net: Floats
    offers: dict[int, Offer]
    priced: dict[int, PricedSession]


def survey_idle(
    scenario: Scenario, check: CheckReport, tally: Tally, idle: Bools, listed: Ints,
    prices: LeafPrices | None, report: Report | None = None,
) -> Survey:  # fmt: skip
    """Look at every session of every idle device.

    Parameters
    ----------
    scenario : Scenario
    check : CheckReport
        Of the plan.
    tally : Tally
        Of the plan's sessions.
    idle : (devices,)
        Which devices to look at.
    listed : (n,)
        Devices whose best sessions are kept.
    prices : LeafPrices or None
    report : callable, optional
        Called with a message and the fraction done.
    """
    count = scenario.num_devices
    out = Survey(
        change=np.full(count, np.inf), fitting=np.full(count, np.inf),
        blocked=np.zeros(count, dtype=bool), net=np.full(count, np.inf), offers={}, priced={},
    )  # fmt: skip
    sums, wanted = LocalSums.of(scenario), set(listed.tolist())
    for block in fleet_blocks(scenario):
        if idle[block].any():
            rows = SessionTable.of(scenario, sums, block)
            rows = rows.take(idle[rows.device])
            _add_changes(scenario, check, tally, rows, wanted, out)
            if prices is not None:
                _add_prices(scenario, prices, rows, wanted, out)
        if report is not None:
            report("idle devices", block.stop / count)
    return out


def _add_changes(
    scenario: Scenario, check: CheckReport, tally: Tally, rows: SessionTable, wanted: set[int],
    out: Survey,
) -> None:  # fmt: skip
    j = rows.task
    total = np.array([task.progress for task in check.tasks])
    ratio = np.array([task.bound for task in check.tasks])
    trained = total > 0
    rate = scenario.tasks.weight[j] / (total[j] + rows.progress)
    joule = np.full(len(rows), scenario.energy_weight)
    batch = _best_batch(rows, rate, joule)
    error, energy = rate * _error(rows, batch), joule * rows.energy_j(batch)
    gained = rate * np.where(trained, ratio, 0.0)[j] * rows.progress
    change = error + energy - gained
    change[(scenario.tasks.weight > 0)[j] & ~trained[j]] = -np.inf
    free = tally.uploads < scenario.network.uplink_capacity
    room = free[rows.upload - 1] & within(
        tally.steps[rows.upload - 1, j] + rows.step, scenario.tasks.step_cap[j]
    )
    first = _least(rows, change, out.change)
    inside = _least(rows, np.where(room, change, np.inf), out.fitting)
    out.blocked[rows.device[first]] = ~free[rows.upload[first] - 1]
    first = np.where(out.fitting[rows.device[first]] < 0, inside, first)
    for k in first[np.isin(rows.device[first], list(wanted))].tolist():
        out.offers[int(rows.device[k])] = Offer(
            task=int(j[k]), receive=int(rows.receive[k]), upload=int(rows.upload[k]),
            iterations=int(rows.iterations[k]), batch_size=int(batch[k]),
            change=float(change[k]), progress=-float(gained[k]), error=float(error[k]),
            energy=float(energy[k]), step=float(rows.step[k]),
        )  # fmt: skip


def _add_prices(
    scenario: Scenario, prices: LeafPrices, rows: SessionTable, wanted: set[int], out: Survey
) -> None:
    rows = prices.sized(rows)
    j = rows.task
    joule = np.full(len(rows), scenario.energy_weight)
    if prices.energy is not None:
        joule = joule + prices.energy[rows.device]
    batch = _best_batch(rows, prices.error[j], joule)
    error, energy = prices.error[j] * _error(rows, batch), joule * rows.energy_j(batch)
    uplink, cap = prices.uplink[rows.upload - 1], prices.charges(scenario, rows)
    slots = prices.occupied(rows)
    gained = prices.progress[j] * rows.progress
    first = _least(rows, error + energy + uplink + cap + slots - gained, out.net)
    for k in first[np.isin(rows.device[first], list(wanted))].tolist():
        out.priced[int(rows.device[k])] = PricedSession(
            brings=float(gained[k]), error=float(error[k]), energy=float(energy[k]),
            uplink=float(uplink[k]), step_cap=float(cap[k]), slots=float(slots[k]),
        )  # fmt: skip


def _best_batch(rows: SessionTable, error_price: Floats, joule_price: Floats) -> Floats:
    """Return the best integer mini-batch of each row (model page, section 6, fact 2); (rows,)."""
    real = rows.best_batch(error_price, joule_price)
    low, high = np.floor(real), np.ceil(real)
    costs = [
        error_price * rows.noise / batch + joule_price * rows.energy_j(batch)
        for batch in (low, high)
    ]
    return np.where(costs[0] <= costs[1], low, high)


def _error(rows: SessionTable, batch: Floats) -> Floats:
    """Return phi_s of each row at a mini-batch, (rows,)."""
    return np.asarray(rows.systematic + rows.noise * (1.0 / batch - 1.0 / rows.samples))


def _least(rows: SessionTable, value: Floats, out: Floats) -> Ints:
    """Write the least value of each device, and return the first row of each that has it."""
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    new = np.concatenate([[True], rows.device[1:] != rows.device[:-1]])
    starts = np.flatnonzero(new)
    least = np.minimum.reduceat(value, starts)
    out[rows.device[starts]] = least
    group = new.cumsum() - 1
    hit = np.flatnonzero(value == least[group])
    _, first = np.unique(group[hit], return_index=True)
    return np.asarray(hit[first])
