"""Checkpoints: the logs of a search in one file, written while it runs, read to resume it.

An uncompressed .npz with plain arrays (nothing pickled) and a header in JSON. What is read is
believed as little as a plan: shapes and ranges are checked before memory is taken and before
compiled code, which checks no index, sees them. Prices prove what they prove; answers are taken at
their word, and whoever derives the certificate finds a wrong one.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.archive import Archive, write_archive
from mafl_opt.core.errors import InputError
from mafl_opt.core.scenario import Scenario
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.prices.fleet.logs import Answer, AnswerLog, Asked, SweepLog, Swept

__all__ = ["Journal"]

_FORMAT = "mafl-opt checkpoint"
_VERSION = 2
_EVERY_S = 30.0
_MOST_HEADER = 1 << 16
# More than any search asks.
_MOST_ENTRIES = 100_000
_MOST_GROUPS = 1000
_ORACLES = ("scout", "sample", "full", "everyone")

Array = NDArray[Any]
Ints = NDArray[np.int64]


class Journal:
    """The logs of a search and the file they go to.

    Parameters
    ----------
    run : Run
        Its options ``checkpoint`` (file to write), ``resume`` (file to read, and to write if there
        is no other) and ``seed``.

    Raises
    ------
    InputError
        If the file cannot be written or read, is damaged, or belongs to another scenario, seed or
        version.
    """

    def __init__(self, run: Run) -> None:
        source, target = run.options.resume, run.options.checkpoint
        self._path = target or source
        self._saved = time.perf_counter()
        self._header: dict[str, Any] = {}
        self._answers: dict[str, AnswerLog] = {}
        self._sweeps = SweepLog(self._save_if_due)
        self._stop = run.stop
        #: Numbers of the devices that may act, increasing, and the factor to the generous prices
        #: that tell; None before they are known.
        self.acting: Ints | None = None
        self.generosity: float | None = None
        if self._path is None:
            return
        scenario = run.problem.scenario
        self._header = {
            "format": _FORMAT, "version": _VERSION, "seed": run.options.seed,
            "scenario_sha256": scenario.sha256,
        }  # fmt: skip
        if source is not None:
            with Archive(source) as reader:
                _require(reader, self._header)
                self._read(reader, scenario)
        # No hour of work ends at a folder that is closed.
        self.save()

    def answers(self, name: str, devices: int) -> AnswerLog | None:
        """Return the log of the oracle of a name; None when nothing is to be kept.

        Raises
        ------
        InputError
            When the checkpoint holds answers of another number of devices.
        """
        if self._path is None:
            return None
        log = self._answers.setdefault(name, AnswerLog(self._stop, self._save_if_due))
        if log.energy_price is not None and log.energy_price.size != devices:
            raise InputError(
                f"resume: {name}.energy_price", f"{devices} devices", log.energy_price.size
            )
        return log

    def sweeps(self) -> SweepLog | None:
        """Return the log of the assignment; None when nothing is to be kept."""
        return None if self._path is None else self._sweeps

    def save(self) -> None:
        """Write all logs, whole or not at all; nothing without a path."""
        if self._path is None:
            return
        header = np.frombuffer(json.dumps(self._header).encode(), dtype=np.uint8)
        arrays: dict[str, Array] = {"header": header}
        if self.acting is not None:
            arrays["acting"], arrays["generosity"] = self.acting, np.array([self.generosity])
        for name, log in self._answers.items():
            if not log.entries or log.energy_price is None:
                continue
            arrays[f"{name}.tables"] = np.array([entry.table for entry in log.entries])
            arrays[f"{name}.rounds"] = np.array([entry.rounds for entry in log.entries])
            arrays[f"{name}.figures"] = np.array([
                (entry.answer.value, entry.answer.gap, entry.answer.size) for entry in log.entries
            ])  # fmt: skip
            arrays[f"{name}.totals"] = np.array([entry.answer.totals for entry in log.entries])
            arrays[f"{name}.energy_price"] = log.energy_price
        sweeps = self._sweeps
        if sweeps.entries and sweeps.rows is not None and sweeps.counts is not None:
            arrays["sweeps.tables"] = np.array([entry.table for entry in sweeps.entries])
            arrays["sweeps.totals"] = np.array([entry.totals for entry in sweeps.entries])
            arrays["plan.rows"], arrays["plan.counts"] = sweeps.rows, sweeps.counts
        write_archive(self._path, arrays)
        self._saved = time.perf_counter()

    def _save_if_due(self) -> None:
        if time.perf_counter() - self._saved >= _EVERY_S:
            self.save()

    def _read(self, reader: Archive, scenario: Scenario) -> None:
        tasks, slots = scenario.num_tasks, scenario.num_slots
        prices, width = 2 * tasks + slots * (1 + tasks), 1 + 2 * tasks + slots * (1 + tasks)
        devices = scenario.num_devices
        if reader.has("acting"):
            (self.generosity,) = reader.floats("generosity", (1,), exact=(0,)).tolist()
            last = (0, devices - 1)
            self.acting = reader.integers("acting", (devices,), np.int64, last, exact=())
            if (np.diff(self.acting) <= 0).any():
                raise reader.wrong("acting", "increasing numbers of devices", "others")
        for name in _ORACLES:
            if not reader.has(f"{name}.tables"):
                continue
            tables = reader.floats(f"{name}.tables", (_MOST_ENTRIES, prices), exact=(1,))
            count = tables.shape[0]
            rounds = reader.integers(f"{name}.rounds", (count,), np.int64, (0, 1 << 30))
            figures = reader.floats(f"{name}.figures", (count, 3), exact=(0, 1))
            totals = reader.floats(
                f"{name}.totals", (count, _MOST_GROUPS, width), exact=(0, 2)
            )  # fmt: skip
            energy_price = reader.floats(f"{name}.energy_price", (devices,), exact=())
            if (energy_price < 0).any():
                raise reader.wrong(f"{name}.energy_price", "numbers >= 0", energy_price.min())
            entries = [
                Asked(
                    table=tables[k], rounds=int(rounds[k]),
                    answer=Answer(
                        value=float(figures[k, 0]), gap=float(figures[k, 1]),
                        size=float(figures[k, 2]), totals=totals[k],
                    ),
                )
                for k in range(count)
            ]  # fmt: skip
            self._answers[name] = AnswerLog(self._stop, self._save_if_due, entries, energy_price)
        if reader.has("sweeps.tables"):
            tables = reader.floats("sweeps.tables", (_MOST_ENTRIES, prices), exact=(1,))
            after = reader.floats("sweeps.totals", (tables.shape[0], width), exact=(0, 1))
            swept = [Swept(table=tables[k], totals=after[k]) for k in range(tables.shape[0])]
            rows, counts = _read_plan(reader, scenario, self.acting)
            self._sweeps = SweepLog(self._save_if_due, swept, rows, counts)


def _read_plan(reader: Archive, scenario: Scenario, acting: Ints | None) -> tuple[Array, Array]:
    """Read sessions by acting device, each within the ranges that compiled code relies on."""
    slots, t = scenario.num_slots, scenario.tasks
    names = np.arange(scenario.num_devices) if acting is None else acting
    counts = reader.integers("plan.counts", (names.size,), np.int32, (0, slots))
    rows = reader.integers("plan.rows", (int(counts.sum()), 5), np.int32, (0, (1 << 31) - 1))
    task, receive, upload, iterations, batch = rows.T
    good = (task < scenario.num_tasks) & (receive < upload) & (upload <= slots) & (batch >= 1)
    if good.all():
        good &= (iterations >= 1) & (iterations <= t.iterations_max[task])
        good &= upload - 1 - receive <= t.staleness_max[task]
        device = np.repeat(names, counts)
        good &= batch <= scenario.pairs.samples[device, task]
    if not good.all():
        raise reader.wrong("plan.rows", "sessions that can exist", rows[np.argmin(good)].tolist())
    return rows, counts


def _require(reader: Archive, header: dict[str, Any]) -> None:
    """Refuse a file whose header does not say what it must."""
    found = reader.table("header", _MOST_HEADER)
    for key, value in header.items():
        if found.get(key) != value:
            raise reader.wrong(key, f"{value!r}, as this run has", found.get(key))
