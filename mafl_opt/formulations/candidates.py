"""Every session that can exist, with its iteration count: the columns of the lifted form.

A column is (device, task, receive, upload, iterations); batch size and frequency stay free. It
carries all that problem P needs to know about it (model page, sections 3, 5 and 7), so solvers
never go back to the scenario for physics.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.bound import session_terms
from mafl_opt.formulations.limits import SLACK, widened
from mafl_opt.formulations.radio import (
    best_frequency,
    compute_energy,
    downlink_times,
    uplink_times,
)

__all__ = ["Candidates", "enumerate_candidates"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Columns above this would take more than a few GiB here; larger fleets go device by device.
MAX_COLUMNS = 20_000_000
# Round-off in a quotient must not cost a sample that fits exactly; too many are seen afterwards.
_FLOOR_SLACK = 1e-12
# Progress below the smallest normal float has lost its digits, and quotients by it overflow.
_LEAST_PROGRESS = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Columns ordered by device, receive, upload, task, iterations; arrays of shape (columns,).

    device, task, receive, upload, iterations : indices and counts
    progress, error, noise, step : see `bound.SessionTerms`
    time_s : s, what download and upload leave for computing, T' > 0; where a sample more fits
        by the slack of the deadline alone, with that slack
    cycles : CPU cycles per unit of batch size, cyc * l
    capacitance, f_min_hz, f_max_hz : of the device; f_max with its slack in the same places
    fixed_energy_j : J, upload and download energy
    batch_hi : largest batch size that box, deadline and budget admit, >= 1
    samples : D of device and task
    """

    device: Ints
    task: Ints
    receive: Ints
    upload: Ints
    iterations: Ints
    progress: Floats
    error: Floats
    noise: Floats
    step: Floats
    time_s: Floats
    cycles: Floats
    capacitance: Floats
    f_min_hz: Floats
    f_max_hz: Floats
    fixed_energy_j: Floats
    batch_hi: Ints
    samples: Ints

    def __len__(self) -> int:
        return int(self.device.size)

    def take(self, index: Ints | NDArray[np.bool_] | slice) -> Candidates:
        """Return the columns at `index` (or where the mask is true); a slice copies nothing."""
        return Candidates(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def frequency(self, batch: Floats | Ints) -> Floats:
        """Best frequency of every column at the given batch sizes (fact 1); (columns,), Hz."""
        return best_frequency(self.cycles * batch, self.time_s, self.f_min_hz, self.f_max_hz)

    def energy(self, batch: Floats | Ints) -> Floats:
        """Session energy at the given batch sizes and best frequency; (columns,), J."""
        frequency = self.frequency(batch)
        return self.fixed_energy_j + compute_energy(
            self.capacitance, self.cycles * batch, frequency
        )

    def error_at(self, batch: Floats | Ints) -> Floats:
        """phi_s at the given batch sizes; (columns,)."""
        return np.asarray(self.error + self.noise * (1.0 / batch - 1.0 / self.samples))

    def batch_within(self, energy_j: Floats | float) -> Ints:
        """Largest batch size whose energy stays within `energy_j`; 0 where not even 1 does."""
        left = np.maximum(np.asarray(energy_j) - self.fixed_energy_j, 0.0)
        unit = self.capacitance * self.cycles
        with np.errstate(divide="ignore", invalid="ignore"):
            flat = np.where(unit > 0, left / (unit * self.f_min_hz**2), np.inf)
            steep = np.cbrt(left * self.time_s**2 / (unit * self.cycles**2))
            steep = np.where(unit > 0, steep, np.inf)
        most = np.minimum(np.minimum(flat, steep), self.batch_hi)
        batch = np.floor(most * (1 + _FLOOR_SLACK)).astype(np.int64)
        over = (batch > 0) & (self.energy(np.maximum(batch, 1)) > energy_j)
        # Free computing (capacitance 0) says nothing about what the radio takes.
        return np.where(self.fixed_energy_j <= energy_j, batch - over, 0)

    def sessions(self, index: Ints, batch: Ints) -> Sessions:
        """Return the sessions of columns `index` with batch sizes `batch`, at best frequency."""
        chosen = self.take(index)
        return Sessions(
            device=chosen.device, task=chosen.task, receive=chosen.receive, upload=chosen.upload,
            cpu_hz=chosen.frequency(batch), batch_size=batch, iterations=chosen.iterations,
        ).sorted()  # fmt: skip

    def locate(self, sessions: Sessions) -> Ints:
        """Column of each session; -1 where there is none; shape (sessions,)."""
        names = ("device", "receive", "upload", "task", "iterations")
        where = {
            key: k
            for k, key in enumerate(zip(*(getattr(self, n).tolist() for n in names), strict=True))
        }
        keys = zip(*(getattr(sessions, n).tolist() for n in names), strict=True)
        return np.array([where.get(key, -1) for key in keys], dtype=np.int64)


def enumerate_candidates(scenario: Scenario) -> Candidates:
    """List every column of a scenario that some feasible plan may hold.

    A session exists when the device is reachable in all its slots, holds data, its staleness is
    within K_j, download and upload fit their slots, and one sample fits the deadline at f_max.
    What would break a step cap, a budget or an uplink capacity of 0 all by itself is left out, and
    ``batch_hi`` is what deadline and budget admit: no plan loses by it, relaxations gain. Every
    limit is closed as `limits` says. Sessions so stale that their weight is 0 in floating point
    add nothing but cost, and are left out too.

    Raises
    ------
    InputError
        When there would be more than `MAX_COLUMNS`.
    """
    parts = _sessions_that_exist(scenario)
    tasks = scenario.tasks
    if parts["task"].size * int(tasks.iterations_max.max()) > MAX_COLUMNS:
        raise InputError(
            "scenario", f"at most {MAX_COLUMNS} columns for this backend",
            parts["task"].size * int(tasks.iterations_max.max()), "use a smaller fleet",
        )  # fmt: skip
    counts = tasks.iterations_max[parts["task"]]
    repeat = np.repeat(np.arange(counts.size), counts)
    columns = {name: array[repeat] for name, array in parts.items()}
    first = np.repeat(np.cumsum(counts) - counts, counts)
    columns["iterations"] = np.arange(repeat.size) - first + 1
    i, j = columns["device"], columns["task"]
    d = scenario.devices
    columns["cycles"] = scenario.pairs.cycles_per_sample[i, j] * columns["iterations"]
    columns["samples"] = scenario.pairs.samples[i, j]
    columns["f_max_hz"] = d.f_max_hz[i]
    _fit_deadlines(columns, np.minimum(tasks.batch_max[j], columns["samples"]))
    keep = columns["batch_hi"] >= 1
    columns = {name: array[keep] for name, array in columns.items()}
    order = np.lexsort([columns[n] for n in ("iterations", "task", "upload", "receive", "device")])
    columns = {name: array[order] for name, array in columns.items()}
    i = columns["device"]
    terms = session_terms(
        scenario, i, columns["task"], columns["receive"], columns["upload"], columns["iterations"]
    )
    listed = Candidates(
        **columns, progress=terms.progress, error=terms.error, noise=terms.noise, step=terms.step,
        capacitance=d.capacitance[i], f_min_hz=d.f_min_hz[i],
    )  # fmt: skip
    affordable = listed.batch_within(widened(d.energy_budget_j)[i])
    alone = (affordable >= 1) & (listed.step <= widened(tasks.step_cap)[listed.task])
    alone &= scenario.network.uplink_capacity[listed.upload - 1] >= 1
    alone &= listed.progress >= _LEAST_PROGRESS
    return replace(listed, batch_hi=affordable).take(alone)


def _fit_deadlines(columns: dict[str, NDArray[Any]], most: Ints) -> None:
    """Set the largest batch sizes that deadlines admit, up to `most`.

    Where the slack of deadline and frequency admits more than they do without it, the column gets
    both: `time_s` and `f_max_hz` change there, and there alone.
    """
    wide_s = columns["time_s"] + columns.pop("slack_s")
    wide_hz = widened(columns["f_max_hz"])
    with np.errstate(over="ignore"):
        plain = np.floor(columns["f_max_hz"] * columns["time_s"] / columns["cycles"])
        wide = np.floor(wide_hz * wide_s / columns["cycles"])
    more = np.minimum(wide, most) > np.minimum(plain, most)
    columns["time_s"] = np.where(more, wide_s, columns["time_s"])
    columns["f_max_hz"] = np.where(more, wide_hz, columns["f_max_hz"])
    columns["batch_hi"] = np.clip(np.where(more, wide, plain), 0, most).astype(np.int64)


def _sessions_that_exist(scenario: Scenario) -> dict[str, NDArray[np.generic]]:
    """Sessions without their iteration counts, as parallel arrays."""
    d, time = scenario.devices, scenario.time
    instants = time.instants_s
    slots, longest = scenario.num_slots, int(scenario.tasks.staleness_max.max()) + 1
    down, up = downlink_times(scenario), uplink_times(scenario)
    holds = scenario.pairs.samples > 0
    found: dict[str, list[NDArray[np.generic]]] = {
        name: []
        for name in (
            "device", "task", "receive", "upload", "time_s", "slack_s", "fixed_energy_j",
        )
    }  # fmt: skip
    slot_s = widened(time.slot_s)
    for r in range(slots):
        for u in range(r + 1, min(slots, r + longest) + 1):
            reachable = scenario.network.available[r:u].all(axis=0)
            window = instants[u] - instants[r]
            left = window - down[r] - up[u - 1]
            fresh = np.asarray(scenario.tasks.staleness_max >= u - 1 - r)
            exists = holds & np.asarray(reachable)[:, None] & fresh
            exists &= (down[r] <= slot_s[r]) & (up[u - 1] <= slot_s[u - 1])
            exists &= left + SLACK * window > 0
            i, j = np.nonzero(exists)
            found["device"].append(i)
            found["task"].append(j)
            found["receive"].append(np.full(i.size, r))
            found["upload"].append(np.full(i.size, u))
            found["time_s"].append(left[i, j])
            found["slack_s"].append(np.full(i.size, SLACK * window))
            energy = d.tx_power_w[i] * up[u - 1][i, j] + d.rx_power_w[i] * down[r][i, j]
            found["fixed_energy_j"].append(energy)
    return {name: np.concatenate(parts) for name, parts in found.items()}
