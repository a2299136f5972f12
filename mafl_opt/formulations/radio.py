"""Radio, delay and energy of a session (model page, section 3). SI units throughout."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario

__all__ = ["best_frequency", "compute_energy", "downlink_times", "uplink_rate", "uplink_times"]

Floats = NDArray[np.float64]


def uplink_rate(scenario: Scenario) -> Floats:
    """Rate W log2(1 + p h / (N0 W)) of every slot and device; (slots, devices), bit/s."""
    d = scenario.devices
    noise = scenario.network.noise_w_per_hz * d.bandwidth_hz
    # Without noise to speak of the rate is infinite.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        snr = d.tx_power_w * scenario.network.gain / noise
    # log1p keeps weak channels exact where 1 + snr would round to 1.
    return np.asarray(d.bandwidth_hz * np.log1p(snr) / np.log(2.0))


def uplink_times(scenario: Scenario) -> Floats:
    """Upload time M_j / r of slot, device, task; (slots, devices, tasks), s; inf without a rate."""
    return _transfer_times(scenario, uplink_rate(scenario))


def downlink_times(scenario: Scenario) -> Floats:
    """Download time of slot, device, task; (slots, devices, tasks), s; inf without a rate."""
    return _transfer_times(scenario, scenario.network.downlink_bps)


def _transfer_times(scenario: Scenario, rate: Floats) -> Floats:
    times = np.full((*rate.shape, scenario.num_tasks), np.inf)
    bits = np.broadcast_to(scenario.tasks.model_bits, times.shape)
    with np.errstate(over="ignore"):
        np.divide(bits, rate[:, :, None], out=times, where=rate[:, :, None] > 0)
    return times


def best_frequency(cycles: Floats, time_s: Floats, f_min: Floats, f_max: Floats) -> Floats:
    """Lowest admissible frequency that does `cycles` in `time_s` (fact 1); any shape, Hz.

    The energy grows with the frequency, so the lowest is the best. Where even ``f_max`` is too
    slow by no more than round-off, ``f_max`` is returned.
    """
    return np.asarray(np.minimum(np.maximum(f_min, cycles / time_s), f_max))


def compute_energy(capacitance: Floats, cycles: Floats, frequency: Floats) -> Floats:
    """Energy kappa * cycles * f^2; any shape, J."""
    return np.asarray(capacitance * cycles * frequency**2)
