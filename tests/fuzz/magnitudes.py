"""Tiny scenarios of any magnitude, small enough for the enumeration to find every optimum."""

from __future__ import annotations

from typing import Any

import numpy as np

from mafl_opt.core.scenario import Scenario

#: Devices, tasks, slots, most iterations and batch sizes: at most some ten thousand plans.
SIZES = (
    (1, 1, 1, 3, 3), (1, 1, 2, 3, 3), (1, 1, 3, 2, 3), (1, 2, 2, 2, 2), (1, 2, 3, 2, 2),
    (2, 1, 1, 3, 3), (2, 1, 2, 2, 2), (2, 1, 3, 1, 2), (2, 2, 1, 2, 2), (2, 2, 2, 1, 2),
    (3, 1, 1, 2, 3), (3, 2, 1, 1, 2), (3, 1, 2, 1, 1),
)  # fmt: skip
_OFTEN, _SELDOM = 0.5, 0.15


def scenario_of_any_magnitude(seed: int) -> Scenario:
    """Draw one: whatever may be of any magnitude is log-uniform, whatever may be 0 sometimes is.

    Half of the quantities stay near their usual values, and limits are drawn around what they
    limit, since most scenarios would have no plan at all otherwise.
    """
    rng = np.random.default_rng(seed)
    devices, tasks, slots, iterations, batches = SIZES[rng.integers(len(SIZES))]

    def near(usual: float, *shape: int) -> Any:
        return (usual * rng.uniform(0.5, 2.0, shape)).tolist()

    def far(usual: float, low: float, high: float, *shape: int) -> Any:
        """Draw around the usual value, or log-uniformly from 10^low to 10^high of it."""
        if rng.random() < _OFTEN:
            return near(usual, *shape)
        # All of one magnitude, or every one of its own.
        drawn = rng.uniform(low, high, shape if rng.random() < _OFTEN else (1,) * len(shape))
        return np.broadcast_to(usual * 10.0**drawn, shape).tolist()

    def zeros(values: Any) -> Any:
        """Set some of the values to 0, in some scenarios."""
        values = np.array(values)
        share = rng.random() if rng.random() < _SELDOM else 0.0
        return np.where(rng.random(values.shape) < share, np.zeros_like(values), values).tolist()

    def weight() -> dict[str, Any]:
        kind = rng.choice(["constant", "polynomial", "hinge"])
        rule: dict[str, Any] = {"kind": str(kind)}
        if kind != "constant":
            rule["a"] = float(10.0 ** rng.uniform(-3.0, 3.0))
        if kind == "hinge":
            rule["b"] = int(rng.integers(3))
        return rule

    slot_s = np.array(far(1.0, -3.0, 3.0, slots))
    f_max = np.array(far(5e8, -2.0, 2.0, devices))
    smoothness = np.array(far(5.0, -3.0, 3.0, tasks))
    step_cap = 0.5 / smoothness * 10.0 ** rng.uniform(-4.0, 0.0, tasks)
    samples = np.array(zeros(rng.integers(1, 60, (devices, tasks))))
    for j in np.flatnonzero(samples.sum(axis=0) == 0):
        samples[rng.integers(devices), j] = 7
    learning_rate = np.array(far(0.005, -3.0, 3.0, tasks))
    proximal = rng.uniform(0.0, 0.9, tasks) / learning_rate * (rng.random(tasks) < _OFTEN)
    capacitance = np.array(zeros(far(2e-28, -6.0, 6.0, devices)))
    tx_power_w = np.array(zeros(far(0.1, -6.0, 6.0, devices)))
    model_bits = np.array(far(5e5, -6.0, 1.0, tasks))
    usual_s, usual_hz = float(np.median(slot_s)), float(np.median(f_max))
    usual_bps = float(np.median(model_bits)) / usual_s
    usual_w = float(np.median(capacitance)) * usual_hz**3 + float(np.median(tx_power_w))
    # Rate of an uplink whose signal is as strong as the noise: its bandwidth.
    bandwidth_hz = far(4.0 * usual_bps, -1.0, 4.0, devices)
    return Scenario.from_dict({
        "time": {"slot_s": slot_s.tolist()},
        "devices": {
            "f_min_hz": (f_max * rng.uniform(0.01, 1.0, devices)).tolist(),
            "f_max_hz": f_max.tolist(),
            "capacitance": capacitance.tolist(),
            "tx_power_w": tx_power_w.tolist(),
            "rx_power_w": zeros(far(0.02, -6.0, 6.0, devices)),
            "bandwidth_hz": bandwidth_hz,
            "energy_budget_j": zeros(far((usual_w or 1.0) * usual_s, -3.0, 6.0, devices)),
        },
        "tasks": {
            "name": [f"task{j}" for j in range(tasks)],
            "weight": zeros(far(1.0, -12.0, 12.0, tasks)),
            "model_bits": model_bits.tolist(),
            "smoothness": smoothness.tolist(),
            "gradient_bound": far(4.0, -6.0, 6.0, tasks),
            "learning_rate": learning_rate.tolist(),
            "proximal": proximal.tolist(),
            "server_rate": (step_cap / learning_rate * far(1.0, -6.0, 1.0, tasks)).tolist(),
            "step_cap": step_cap.tolist(),
            "error_split": near(0.25, tasks),
            "initial_gap": zeros(far(1.0, -9.0, 9.0, tasks)),
            "iterations_max": [iterations] * tasks,
            "batch_max": [batches] * tasks,
            "staleness_max": rng.integers(0, slots, tasks).tolist(),
            "staleness_weight": [weight() for _ in range(tasks)],
        },
        "pairs": {
            "samples": samples.tolist(),
            "cycles_per_sample": far(0.1 * usual_hz * usual_s, -6.0, 1.0, devices, tasks),
            "gradient_std": zeros(far(10.0, -6.0, 6.0, devices, tasks)),
            "dissimilarity": zeros(far(0.5, -6.0, 6.0, devices, tasks)),
            "gradient_drift": zeros(far(0.1, -6.0, 6.0, devices, tasks)),
        },
        "network": {
            "gain": zeros(far(4e-20 * bandwidth_hz[0], -2.0, 6.0, slots, devices)),
            "noise_w_per_hz": 4e-21,
            "downlink_bps": zeros(far(8.0 * usual_bps, -1.0, 6.0, slots, devices)),
            "uplink_capacity": zeros(rng.integers(1, devices + 1, slots)),
            "available": (rng.random((slots, devices)) < 0.95).tolist(),
        },
        "loss_drift": zeros(far(0.01, -6.0, 6.0, slots, tasks)),
        "energy_weight": float(np.squeeze(zeros(far(1.0, -12.0, 12.0, 1)))),
    })  # fmt: skip
