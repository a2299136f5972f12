"""Sums over the sessions of a plan and the constraints they break, in blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.ledger import LISTED, Ledger, within
from mafl_opt.core.plan import COLUMNS, Sessions
from mafl_opt.core.terms import Facts
from mafl_opt.core.verdict import TOLERANCE

__all__ = ["Tally"]

Array = NDArray[Any]
Where = Callable[[int], str]

#: Rows handled at once: some ten MB of intermediate columns.
BLOCK = 1 << 16
_PARTS = ("staleness", "dissimilarity", "local_drift", "gradient_noise")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Some sessions of a plan with their numbers; every array has shape (rows,)."""

    number: Array
    device: Array
    task: Array
    receive: Array
    upload: Array
    cpu_hz: Array
    batch_size: Array
    iterations: Array

    def take(self, keep: Array) -> _Rows:
        """Return the rows where `keep` is true."""
        return _Rows(**{name: getattr(self, name)[keep] for name in self.__slots__})


class Tally:
    """Sums over the sessions and the violations met on the way.

    Attributes
    ----------
    ledger : Ledger
        Violations session by session, then those that no single session can tell.
    left_out : (sessions,)
        Numbers of those without meaning, which are in no sum.
    energy : (devices,), J
    progress, sessions : (tasks,)
        A_j, and the number of sessions in it.
    parts : dict of (tasks,)
        What the sessions add to N_j.
    uploads : (slots,)
        Sessions that end at each aggregation.
    steps : (slots, tasks)
        What each aggregation has used of its step caps, sum of c_s C1(l).
    """

    def __init__(self, facts: Facts) -> None:
        scenario = facts.scenario
        tasks, slots = scenario.num_tasks, scenario.num_slots
        self.facts: Facts = facts
        self.ledger: Ledger = Ledger()
        self.left_out: Array = np.zeros(0, dtype=np.int64)
        self.energy: Array = np.zeros(scenario.num_devices)
        self.progress: Array = np.zeros(tasks)
        self.sessions: Array = np.zeros(tasks, dtype=np.int64)
        self.parts: dict[str, Array] = {name: np.zeros(tasks) for name in _PARTS}
        self.steps: Array = np.zeros((slots, tasks))
        self.uploads: Array = np.zeros(slots, dtype=np.int64)
        self._busy = np.zeros(scenario.num_devices * slots, dtype=np.int32)

    def add(self, sessions: Sessions) -> None:
        """Check all sessions, by themselves and together, and sum them up."""
        # Absurd numbers overflow to infinity or NaN, which no limit admits.
        with np.errstate(all="ignore"):
            left_out = [self.left_out]
            for rows in _blocks(sessions):
                left_out.append(self._add(rows))
                self.ledger.flush()
            self.left_out = np.concatenate(left_out)
            self._close(sessions)
            self.ledger.flush()

    def _box(self, rows: _Rows, column: str, low: Any, high: Any) -> Array:
        """Tell where low <= column <= high up to the tolerance, and record where not."""
        found = getattr(rows, column)
        low, high = np.broadcast_to(low, found.shape), np.broadcast_to(high, found.shape)
        under = found < low - TOLERANCE * np.abs(low)
        good = ~under & within(found, high)
        limit = np.where(under, low, high)
        self.ledger.report("box", ~good, self._named(rows, f" {column}"), found, limit, rows.number)
        return np.asarray(good)

    def _named(self, rows: _Rows, more: str = "", slot: Array | None = None) -> Where:
        """Return words for a session, its device, task and instants, and for a slot."""
        names = self.facts.scenario.tasks.name

        def where(k: int) -> str:
            who = f"device {rows.device[k]}, task {names[rows.task[k]]}"
            when = f"{rows.receive[k]} -> {rows.upload[k]}"
            place = f"sessions[{rows.number[k]}] ({who}, {when})"
            return place + (more if slot is None else more.format(slot[k] + 1))

        return where

    # -- one block -------------------------------------------------------------------------

    def _add(self, rows: _Rows) -> Array:
        """Add a block up, and return the numbers of the sessions left out."""
        self._check_flow(rows)
        flows = self._flows(rows)
        left_out = rows.number[~flows]
        rows = rows.take(flows)
        facts, scenario = self.facts, self.facts.scenario
        i, j, r, u = rows.device, rows.task, rows.receive, rows.upload
        self.uploads += np.bincount(u - 1, minlength=self.uploads.size)
        tau = u - 1 - r
        most = scenario.tasks.staleness_max[j]
        self.ledger.report(
            "staleness", ~within(tau, most), self._named(rows), tau, most, rows.number
        )
        self._occupy(rows)
        receive_s, upload_s = facts.receive_s(i, j, r), facts.upload_s(i, j, u)
        for moved_s, slot, more in (
            (receive_s, r, " download in slot {}"), (upload_s, u - 1, " upload in slot {}"),
        ):  # fmt: skip
            limit = scenario.time.slot_s[slot]
            self.ledger.report(
                "available", ~within(moved_s, limit), self._named(rows, more, slot), moved_s,
                limit, rows.number,
            )  # fmt: skip
        good = self._in_boxes(rows)
        self._spend(rows.take(good), receive_s[good], upload_s[good])
        return np.sort(np.concatenate([left_out, rows.number[~good]]))

    def _ends(self) -> dict[str, int]:
        scenario = self.facts.scenario
        devices, tasks, slots = scenario.num_devices, scenario.num_tasks, scenario.num_slots
        return {"device": devices - 1, "task": tasks - 1, "receive": slots - 1, "upload": slots}

    def _flows(self, rows: _Rows) -> Array:
        """Tell which sessions are the model's: a device, a task, 0 <= r < u <= G."""
        good = rows.receive < rows.upload
        for column, high in self._ends().items():
            found = getattr(rows, column)
            good &= (found >= 0) & (found <= high)
        return good

    def _check_flow(self, rows: _Rows) -> None:
        inside = np.ones(rows.number.shape, dtype=bool)
        for column, high in self._ends().items():
            found = getattr(rows, column)
            bad = (found < 0) | (found > high)
            inside &= ~bad
            self.ledger.report(
                "flow", bad, partial(_place, rows, f".{column}"), found,
                np.where(found < 0, 0, high), rows.number,
            )  # fmt: skip
        self.ledger.report(
            "flow", inside & (rows.receive >= rows.upload),
            partial(_place, rows, " upload after receive"), rows.upload, rows.receive + 1,
            rows.number,
        )  # fmt: skip

    def _occupy(self, rows: _Rows) -> None:
        """Count the sessions of each device and slot, and check that it is reachable there."""
        available = self.facts.scenario.network.available
        for after, inside, key in self._slots(rows):
            np.add.at(self._busy, key, 1)
            held = rows.take(inside)
            slot = held.receive + after
            self.ledger.report(
                "available", ~available[slot, held.device],
                self._named(held, " slot {} reachable", slot), 0.0, 1.0, held.number,
            )  # fmt: skip

    def _slots(self, rows: _Rows) -> Iterator[tuple[int, Array, Array]]:
        """Yield, slot after slot since reception, who is at work and in which (device, slot)."""
        slots = self.facts.scenario.num_slots
        for after in range(int((rows.upload - rows.receive).max(initial=0))):
            inside = rows.receive + after < rows.upload
            yield after, inside, rows.device[inside] * slots + rows.receive[inside] + after

    def _in_boxes(self, rows: _Rows) -> Array:
        """Check f, B and l; false where the session's figures then have no meaning."""
        devices = self.facts.scenario.devices
        i, j = rows.device, rows.task
        self._box(rows, "cpu_hz", devices.f_min_hz[i], devices.f_max_hz[i])
        good = rows.cpu_hz > 0
        good &= self._box(rows, "batch_size", 1, self.facts.largest_batch(i, j))
        good &= self._box(rows, "iterations", 1, self.facts.scenario.tasks.iterations_max[j])
        for column in ("batch_size", "iterations"):
            value = getattr(rows, column)
            if value.dtype.kind == "i":
                continue
            whole = np.floor(value)
            self.ledger.report(
                "integral", value != whole, self._named(rows, f" {column}"), value, whole,
                rows.number,
            )  # fmt: skip
            if column == "iterations":
                good &= value == whole
        return good

    def _spend(self, rows: _Rows, receive_s: Array, upload_s: Array) -> None:
        """Check deadlines, and add up energies, progress and errors."""
        facts, i, j = self.facts, rows.device, rows.task
        iterations = rows.iterations.astype(np.int64)
        cycles = facts.scenario.pairs.cycles_per_sample[i, j] * iterations * rows.batch_size
        spent_s = receive_s + cycles / rows.cpu_hz + upload_s
        window = facts.window_s(rows.receive, rows.upload)
        self.ledger.report(
            "deadline", ~within(spent_s, window), self._named(rows), spent_s, window, rows.number
        )
        spent_j = facts.radio_j(i, receive_s, upload_s) + facts.compute_j(i, cycles, rows.cpu_hz)
        np.add.at(self.energy, i, spent_j)
        tau = rows.upload - 1 - rows.receive
        sums = facts.local_sums(j, iterations)
        moved = facts.step(i, j, tau) * sums.steps
        np.add.at(self.steps, (rows.upload - 1, j), moved)
        self.progress += self._by_task(j, 0.5 * moved)
        self.sessions += np.bincount(j, minlength=self.sessions.size)
        error = facts.errors(i, j, tau, sums)
        for part in ("staleness", "dissimilarity", "local_drift"):
            self.parts[part] += self._by_task(j, getattr(error, part))
        nu = 1.0 / rows.batch_size - 1.0 / facts.scenario.pairs.samples[i, j]
        self.parts["gradient_noise"] += self._by_task(j, error.noise * nu)

    def _by_task(self, j: Array, values: Array) -> Array:
        return np.bincount(j, weights=values, minlength=self.progress.size)

    # -- all sessions together -------------------------------------------------------------

    def _close(self, sessions: Sessions) -> None:
        scenario = self.facts.scenario
        names, slots = scenario.tasks.name, scenario.num_slots
        self._exclusive(sessions)
        limit: Array = scenario.network.uplink_capacity
        self.ledger.report(
            "uplink", ~within(self.uploads, limit), lambda g: f"aggregation {g + 1}",
            self.uploads, limit,
        )  # fmt: skip
        steps = self.steps.ravel()
        limit = np.tile(scenario.tasks.step_cap, slots)
        self.ledger.report(
            "step_cap", ~within(steps, limit),
            lambda k: f"aggregation {k // len(names) + 1}, task {names[k % len(names)]}",
            steps, limit,
        )  # fmt: skip
        limit = scenario.devices.energy_budget_j
        self.ledger.report(
            "energy", ~within(self.energy, limit), lambda i: f"device {i}", self.energy, limit
        )
        self.ledger.report(
            "ratio", (scenario.tasks.weight > 0) & ~(self.progress > 0),
            lambda j: f"task {names[j]} is never trained", self.progress, 0.0,
        )  # fmt: skip

    def _exclusive(self, sessions: Sessions) -> None:
        """Name the sessions of every device and slot that has more than one."""
        slots = self.facts.scenario.num_slots
        places = np.flatnonzero(self._busy > 1)
        if not places.size:
            return
        last = places[:LISTED][-1]
        keys, numbers = [], []
        for rows in _blocks(sessions):
            flowing = rows.take(self._flows(rows))
            for _, inside, key in self._slots(flowing):
                shared = (self._busy[key] > 1) & (key <= last)
                keys.append(key[shared])
                numbers.append(flowing.number[inside][shared])
        key, number = np.concatenate(keys), np.concatenate(numbers)
        order = np.lexsort((number, key))
        who = np.split(number[order], np.searchsorted(key[order], places[1:LISTED]))

        def where(k: int) -> str:
            device, slot = divmod(int(places[k]), slots)
            return f"device {device}, slot {slot + 1} (sessions {', '.join(map(str, who[k]))})"

        self.ledger.report(
            "exclusive", np.ones(places.shape, dtype=bool), where, self._busy[places], 1
        )


def _place(rows: _Rows, more: str, k: int) -> str:
    return f"sessions[{rows.number[k]}]{more}"


def _blocks(sessions: Sessions) -> Iterator[_Rows]:
    for first in range(0, len(sessions), BLOCK):
        part = slice(first, min(first + BLOCK, len(sessions)))
        columns = {name: getattr(sessions, name)[part] for name in COLUMNS}
        yield _Rows(number=np.arange(part.start, part.stop), **columns)
