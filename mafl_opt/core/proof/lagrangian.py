"""The Lagrangian of P without its ratios, at the prices and splits of a leaf, from below."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.proof.budgets import Bracket, bracket, sharpen
from mafl_opt.core.proof.devices import DevicePrograms
from mafl_opt.core.proof.fleet_sessions import FleetSessions
from mafl_opt.core.proof.guards import ROUNDING, WIDENING
from mafl_opt.core.proof.knapsacks import Items, Knapsacks
from mafl_opt.core.proof.leaves import DeviceSplit, Leaf
from mafl_opt.core.proof.price_table import PriceTable
from mafl_opt.core.proof.ratio import Ratio, Survey
from mafl_opt.core.proof.session_table import SessionTable
from mafl_opt.core.scenario import Scenario

__all__ = ["Lagrangian", "Report"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: A message and the fraction done, if known.
Report = Callable[[str, float | None], None]

#: Blocks of large fleets that one thread works on in turn.
_TOGETHER = 16
#: What all budgets and caps together may be off before labels are made, relative to the claim.
_SLACK = 1e-7


class Lagrangian:
    """Values of the Lagrangian (model page, section 6.3), each price table evaluated once.

    Parameters
    ----------
    scenario : Scenario
    prices : sequence of PriceTable
    claim : float
        The scale on which differences matter.
    report : callable, optional
        Called on the way.
    """

    def __init__(
        self, scenario: Scenario, prices: Sequence[PriceTable], claim: float,
        report: Report | None = None,
    ) -> None:  # fmt: skip
        self.scenario = scenario
        self.prices = prices
        self._slack = _SLACK * abs(claim)
        self._report = report or (lambda message, fraction: None)
        self._sessions = FleetSessions(scenario)
        self._blocks = self._sessions.blocks
        self._known: dict[int, _Devices] = {}
        self._caps: dict[tuple[int, bool], float] = {}
        self._parts: dict[tuple[int, bool, object], float] = {}
        self._trains = np.zeros((scenario.num_devices, scenario.num_tasks), dtype=bool)
        self._survey, self._lock = Survey.of(scenario), Lock()
        if self._sessions.are_kept:
            for table in self._sessions.tables():
                self._take_in(table)
        else:
            self._solve_blocks()
        self.ratios: list[Ratio] = self._survey.ratios()

    def prepare(self, leaves: Iterable[Leaf]) -> None:
        """Do nothing: parts are found one by one, and a proof may end at the first that fails."""

    def part(self, leaf: Leaf, *, exact: bool) -> float:
        """Return a lower bound of all but the ratios; infinite where no plan is left.

        Parameters
        ----------
        leaf : Leaf
        exact : bool
            Also solve budgets and caps by labels, where prices leave a gap.
        """
        splits = leaf.by_device()
        if splits and not self._can_train(splits):
            return np.inf
        # Leaves that differ in their ranges of A, Xi and Y alone share what follows.
        about = tuple(splits.items())
        for k, _ in leaf.prices:
            if (k, exact, about) not in self._parts:
                self._parts[k, exact, about] = self._value(k, splits, exact=exact)
        return sum(weight * self._parts[k, exact, about] for k, weight in leaf.prices)

    def _value(
        self, k: int, splits: Mapping[int, tuple[DeviceSplit, ...]], *, exact: bool
    ) -> float:
        """Return the part at one price table."""
        prices, scenario = self.prices[k], self.scenario
        with np.errstate(over="ignore", invalid="ignore"):
            minima, size = self._devices(k, splits, exact=exact)
            wide = 1 + WIDENING
            gaps = scenario.tasks.initial_gap + scenario.loss_drift.sum(axis=0)
            gain = float(prices.error @ gaps)
            paid = float(prices.uplink @ scenario.network.uplink_capacity.astype(float))
            open_caps = np.where(prices.is_listed, 0.0, prices.steps)
            paid += wide * float((open_caps @ scenario.tasks.step_cap).sum())
            paid += self._cap_charges(k, exact=exact)
            if prices.energy is not None:
                paid += wide * float(prices.energy @ scenario.devices.energy_budget_j)
            value = gain - paid + minima - ROUNDING * (gain + paid + size)
        return -np.inf if np.isnan(value) else float(value)

    # -- large fleets ------------------------------------------------------------------------

    def _solve_blocks(self) -> None:
        """Find the least costs of all devices at all prices, some blocks at a time."""
        for k in range(len(self.prices)):
            self._known[k] = _Devices.unknown(self.scenario.num_devices)
        cheapest = PriceTable.cheapest(self.prices)
        starts = range(0, len(self._blocks), _TOGETHER)

        def work(start: int) -> None:
            # One listing serves all price tables; few of its rows are worth running in any.
            waiting: list[SessionTable] = []
            last = min(start + _TOGETHER, len(self._blocks)) - 1
            for number in range(start, last + 1):
                table = self._sessions.table(number)
                self._take_in(table)
                waiting.append(
                    table.take(cheapest.may_pay(self.scenario, table, table.floors()))
                )  # fmt: skip
                if number == last or sum(len(one) for one in waiting) > len(table):
                    self._solve_all(SessionTable.joined(waiting))
                    waiting.clear()

        # Blocks touch no others' devices, and numpy lets go of the interpreter.
        with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
            done = threads.map(work, starts)
            try:
                for count, _ in enumerate(done):
                    self._report("devices", (count + 1) / len(starts))
            except BaseException:
                # Whoever has no more patience does not wait for what has not begun.
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _solve_all(self, table: SessionTable) -> None:
        """Find the least costs of the devices of a table at all prices, budgets by labels."""
        floors = table.floors()
        for k, prices in enumerate(self.prices):
            # Where budgets bind, a table takes seconds, and whoever waits may have had enough.
            self._report(f"price table {k + 1} of {len(self.prices)}", None)
            some = table.take(prices.may_pay(self.scenario, table, floors))
            mine = self._worthwhile(some, prices)
            # Who has no session worth running idles.
            self._known[k].least[table.devices] = 0.0
            self._solve(k, mine, np.unique(mine.device) - table.devices.start, exact=True)

    def _take_in(self, table: SessionTable) -> None:
        self._trains[table.device, table.task] = True
        with self._lock:
            self._survey.add(table)

    # -- devices -----------------------------------------------------------------------------

    def _devices(
        self, k: int, splits: Mapping[int, tuple[DeviceSplit, ...]], *, exact: bool
    ) -> tuple[float, float]:
        """Return the sum of the devices' least costs, and that of their magnitudes."""
        least: list[Floats] = []
        for number, devices in enumerate(self._blocks):
            mine = {i: s for i, s in splits.items() if devices.start <= i < devices.stop}
            missing = self._missing(k, devices, mine, exact=exact)
            if missing.size or mine:
                table = self._sessions.table(number)
                self._solve(k, table, missing, exact=exact)
                least.append(self._split_devices(k, table, mine, exact=exact))
                self._report("devices", (number + 1) / len(self._blocks))
        plain = np.ones(self.scenario.num_devices, dtype=bool)
        plain[list(splits)] = False
        values = np.concatenate([self._known[k].least[plain], *least])
        return float(values.sum()), float(np.abs(values).sum())

    def _missing(
        self, k: int, devices: slice, splits: Sequence[int] | Mapping[int, object], *, exact: bool
    ) -> Ints:
        """Return which devices of a block are not yet known well enough, from 0."""
        known = self._known.setdefault(k, _Devices.unknown(self.scenario.num_devices))
        close = self._tolerance if exact else np.inf
        wanted = np.flatnonzero(np.isnan(known.least[devices]) | (known.gap[devices] > close))
        return np.setdiff1d(wanted, np.array([i - devices.start for i in splits], dtype=np.int64))

    @property
    def _tolerance(self) -> float:
        return self._slack / self.scenario.num_devices

    def _solve(self, k: int, table: SessionTable, wanted: Ints, *, exact: bool = False) -> None:
        """Find the least costs of some devices of a block without splits."""
        if wanted.size:
            count = table.devices.stop - table.devices.start
            busy = np.zeros((count, self.scenario.num_slots + 1), dtype=bool)
            programs = self.prices[k].programs(self.scenario, table, busy).of_owners(wanted)
            known = self._known[k]
            at = wanted + table.devices.start
            known.least[at], known.gap[at], known.price[at] = self._least(
                k, programs, known.price[at], exact=exact
            )

    def _worthwhile(self, table: SessionTable, prices: PriceTable) -> SessionTable:
        """Return the rows that cost less than nothing; instead of others a device idles."""
        idle = np.zeros((table.devices.stop - table.devices.start, self.scenario.num_slots + 1))
        programs = prices.programs(self.scenario, table, idle.astype(bool))
        cost, _ = programs.rows_at(np.zeros(idle.shape[0]))
        return table.take(cost < 0.0)

    def _split_devices(
        self, k: int, table: SessionTable, splits: Mapping[int, tuple[DeviceSplit, ...]],
        *, exact: bool,
    ) -> Floats:  # fmt: skip
        """Return the least costs of the devices of a block that have splits."""
        if not splits:
            return np.zeros(0)
        count = table.devices.stop - table.devices.start
        busy = np.zeros((count, self.scenario.num_slots + 1), dtype=bool)
        for device, own in splits.items():
            for split in own:
                if split.high:
                    busy[device - table.devices.start, split.slot] = True
        programs = self.prices[k].programs(self.scenario, _within(table, splits), busy)
        at = np.array(list(splits))
        programs = programs.of_owners(at - table.devices.start)
        least, _, _ = self._least(k, programs, self._known[k].price[at], exact=exact)
        return least

    def _least(
        self, k: int, programs: DevicePrograms, price: Floats, *, exact: bool
    ) -> tuple[Floats, Floats, Floats]:
        """Return least costs, how much higher they may be, and prices of the budgets."""
        if self.prices[k].energy is not None:
            return programs.minima(), np.zeros(price.size), price
        found = bracket(programs, price, self._tolerance)
        if exact:
            return sharpen(programs, found, self._tolerance), np.zeros(price.size), found.price
        with np.errstate(invalid="ignore"):
            gap = np.where(np.isinf(found.bound), 0.0, found.ceiling - found.bound)
        return found.bound, gap, found.price

    def _can_train(self, splits: Mapping[int, tuple[DeviceSplit, ...]]) -> bool:
        """Whether each weighted task is left with a session."""
        others = np.ones(self.scenario.num_devices, dtype=bool)
        others[list(splits)] = False
        trained = np.array(self._trains[others].any(axis=0))
        for number, devices in enumerate(self._blocks):
            mine = {i: s for i, s in splits.items() if devices.start <= i < devices.stop}
            if mine and not trained[self.scenario.tasks.weight > 0].all():
                trained[_within(self._sessions.table(number), mine).task] = True
        return bool(trained[self.scenario.tasks.weight > 0].all())

    # -- caps --------------------------------------------------------------------------------

    def _cap_charges(self, k: int, *, exact: bool) -> float:
        """Return the most that the sessions at the caps with listed sessions are charged."""
        prices = self.prices[k]
        if not prices.is_listed.any():
            return 0.0
        if (k, exact) not in self._caps:
            items = Items.joined(
                [prices.items(self.scenario, table).unbeaten() for table in self._sessions.tables()]
            )
            theta = np.broadcast_to(self.scenario.tasks.step_cap, prices.is_listed.shape)
            knapsacks = Knapsacks.of(items, theta[prices.is_listed] * (1 + WIDENING))
            tolerance = self._slack / prices.is_listed.sum()
            found: Bracket = bracket(knapsacks, np.zeros(prices.is_listed.sum()), tolerance)
            least = sharpen(knapsacks, found, tolerance) if exact else found.bound
            self._caps[k, exact] = float(-least.sum()) * (1 + ROUNDING)
        return self._caps[k, exact]


class _Devices:
    """What is known of all devices at one price table; every array has shape (devices,).

    least : lower bound of the least cost, NaN where unknown
    gap : how much higher the least cost may be
    price : price of the budget
    """

    def __init__(self, least: Floats, gap: Floats, price: Floats) -> None:
        self.least, self.gap, self.price = least, gap, price

    @classmethod
    def unknown(cls, devices: int) -> _Devices:
        return cls(np.full(devices, np.nan), np.zeros(devices), np.zeros(devices))


def _within(table: SessionTable, splits: Mapping[int, tuple[DeviceSplit, ...]]) -> SessionTable:
    """Return the rows of the split devices that their splits admit."""
    rows = np.flatnonzero(np.isin(table.device, list(splits)))
    table = table.take(rows)
    keep = np.ones(len(table), dtype=bool)
    low, high = table.batch_min.copy(), table.batch_max.copy()
    for device, own in splits.items():
        mine = table.device == device
        for split in own:
            covers = mine & (table.receive < split.slot) & (split.slot <= table.upload)
            if split.attribute == "batch_size":
                if split.high:
                    low[covers] = np.maximum(low[covers], split.at + 1)
                else:
                    high[covers] = np.minimum(high[covers], split.at)
            else:
                above = getattr(table, split.attribute) > split.at
                keep &= ~covers | (above if split.high else ~above)
    return table.cut_batches(low, high).take(keep & (low <= high))
