"""A fleet as plain arrays, device by device, for the compiled device programs.

What does not depend on prices or slots is worked out here once: rates, shares, sums over local
steps, staleness weights. Arrays are device-major, so that a block of devices is a slice.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.bound import local_sums
from mafl_opt.formulations.radio import uplink_rate

__all__ = ["Fleet", "Tasks", "error_part", "fleet_of", "noise_part", "read_only", "tasks_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Record = TypeVar("Record", bound=NamedTuple)


class Fleet(NamedTuple):
    """Devices of a scenario, or some of them; I devices, J tasks, G slots.

    f_min, f_max, capacitance, tx_power, rx_power, budget : (I,)
    samples, cycles, share, variance, dissimilarity, drift : (I, J)
    up_rate, down_rate : (I, G), bit/s
    reachable : (I, G), bool
    """

    f_min: Floats
    f_max: Floats
    capacitance: Floats
    tx_power: Floats
    rx_power: Floats
    budget: Floats
    samples: Ints
    cycles: Floats
    share: Floats
    variance: Floats
    dissimilarity: Floats
    drift: Floats
    up_rate: Floats
    down_rate: Floats
    reachable: NDArray[np.bool_]

    @property
    def size(self) -> int:
        """Number of devices."""
        return int(self.f_min.size)

    def part(self, start: int, stop: int) -> Fleet:
        """Return the devices start..stop-1, without copying; not to be written to."""
        return read_only(Fleet._make(array[start:stop] for array in self))

    def take(self, index: Ints) -> Fleet:
        """Return a copy of some devices."""
        return Fleet._make(np.ascontiguousarray(array[index]) for array in self)


class Tasks(NamedTuple):
    """Tasks and slots; J tasks, G slots, T staleness values, L the largest iteration count.

    bits, rate, cap, weight, start : (J,)
        model size; server rate times learning rate; theta; gamma; Gamma'
    most_iterations, most_batch, most_stale : (J,)
    smooth, slope : (J,), L and L eta V
    stale_weight, moved : (J, T), s(tau) and L M(tau)
    first, drift_0, drift_1, drift_2 : (J, L + 1), see `bound.LocalSums`
    noise_1, noise_2, noise_3 : (J, L + 1)
        noise part of phi by powers of c_s
    instants : (G + 1,), s
    capacity : (G,), uplinks
    noiseless_weight : float, energy weight xi
    """

    bits: Floats
    rate: Floats
    cap: Floats
    weight: Floats
    start: Floats
    most_iterations: Ints
    most_batch: Ints
    most_stale: Ints
    slope: Floats
    stale_weight: Floats
    moved: Floats
    first: Floats
    drift_0: Floats
    drift_1: Floats
    drift_2: Floats
    noise_1: Floats
    noise_2: Floats
    noise_3: Floats
    instants: Floats
    capacity: Floats
    energy_weight: float


def read_only(record: Record) -> Record:
    """Return a named tuple with views of its arrays that cannot be written to.

    Compiled functions are specialised on that, so that it has to be alike everywhere.
    """
    entries = []
    for entry in record:
        if isinstance(entry, np.ndarray):
            entry = entry.view()
            entry.flags.writeable = False
        entries.append(entry)
    return record._make(entries)


def fleet_of(scenario: Scenario) -> Fleet:
    """Gather the devices of a scenario."""
    d, p, n = scenario.devices, scenario.pairs, scenario.network

    def floats(array: NDArray[np.generic]) -> Floats:
        return np.ascontiguousarray(array, dtype=np.float64)

    return Fleet(
        f_min=floats(d.f_min_hz), f_max=floats(d.f_max_hz), capacitance=floats(d.capacitance),
        tx_power=floats(d.tx_power_w), rx_power=floats(d.rx_power_w),
        budget=floats(d.energy_budget_j),
        samples=np.ascontiguousarray(p.samples, dtype=np.int64),
        cycles=floats(p.cycles_per_sample), share=floats(p.data_share),
        variance=floats(p.gradient_std**2), dissimilarity=floats(p.dissimilarity),
        drift=floats(p.gradient_drift), up_rate=floats(uplink_rate(scenario).T),
        down_rate=floats(n.downlink_bps.T),
        reachable=np.ascontiguousarray(np.asarray(n.available, dtype=bool).T),
    )  # fmt: skip


def tasks_of(scenario: Scenario) -> Tasks:
    """Gather the tasks and slots of a scenario, with all that no device changes."""
    t, p = scenario.tasks, scenario.pairs
    steps = int(t.iterations_max.max())
    stale = int(min(t.staleness_max.max(), scenario.num_slots - 1))
    tau = np.arange(stale + 1)
    shape = (scenario.num_tasks, steps + 1)
    tables = {name: np.zeros(shape) for name in (
        "first", "drift_0", "drift_1", "drift_2", "noise_1", "noise_2", "noise_3")}  # fmt: skip
    weights, moved = np.zeros((shape[0], stale + 1)), np.zeros((shape[0], stale + 1))
    for j in range(scenario.num_tasks):
        eta, smooth, split = t.learning_rate[j], t.smoothness[j], t.error_split[j]
        theta, bound = t.step_cap[j], t.gradient_bound[j]
        sums = local_sums(1.0 - eta * t.proximal[j], split, steps)
        for name in ("first", "drift_0", "drift_1", "drift_2"):
            tables[name][j] = getattr(sums, name)
        tables["noise_1"][j] = 0.5 * (1.0 + 1.0 / split) * (smooth * eta) ** 2 * sums.noise
        tables["noise_2"][j] = 0.5 * smooth * sums.square
        later = (sums.square - 1.0) * smooth * (sums.first - sums.last_weight)
        tables["noise_3"][j] = 0.5 * smooth * later / (1.0 - smooth * theta)
        weights[j] = t.staleness_weight[j](tau)
        rate = t.server_rate[j] * eta
        loudest = (rate * p.data_share[:, j] * p.gradient_std[:, j] ** 2).max()
        moved[j] = smooth * (tau * theta * bound + np.sqrt(tau * theta * loudest))
    tasks = Tasks(
        bits=np.asarray(t.model_bits, dtype=np.float64), rate=t.server_rate * t.learning_rate,
        cap=np.asarray(t.step_cap, dtype=np.float64),
        weight=np.asarray(t.weight, dtype=np.float64),
        start=t.initial_gap + scenario.loss_drift.sum(axis=0),
        most_iterations=np.asarray(t.iterations_max, dtype=np.int64),
        most_batch=np.asarray(t.batch_max, dtype=np.int64),
        most_stale=np.asarray(t.staleness_max, dtype=np.int64),
        slope=t.smoothness * t.learning_rate * t.gradient_bound,
        stale_weight=weights, moved=moved, **tables,
        instants=np.asarray(scenario.time.instants_s, dtype=np.float64),
        capacity=np.asarray(scenario.network.uplink_capacity, dtype=np.float64),
        energy_weight=float(scenario.energy_weight),
    )  # fmt: skip
    return read_only(tasks)


# These two are compiled, and called with arrays and tensors as well.
def error_part(c: Any, apart: Any, slope: Any, drift_0: Any, drift_1: Any, drift_2: Any) -> Any:
    """Systematic part of phi (model page, section 5)."""
    return 0.5 * c * (apart * apart * drift_0 + 2.0 * apart * slope * drift_1 + slope**2 * drift_2)


def noise_part(c: Any, variance: Any, noise_1: Any, noise_2: Any, noise_3: Any) -> Any:
    """Part of phi that nu(B) multiplies (model page, section 5)."""
    return variance * c * (noise_1 + c * (noise_2 + c * noise_3))
