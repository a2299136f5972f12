"""Small scenarios in plain numbers, for any test; two devices and three slots can be enumerated."""

from __future__ import annotations

from typing import Any

import numpy as np

from mafl_opt.core.scenario import Scenario


def plain_numbers() -> dict[str, Any]:
    """Two devices, two tasks, three slots: every field written out, nothing drawn."""
    return {
        "time": {"slot_s": [1.0, 1.0, 1.5]},
        "devices": {
            "f_min_hz": [1e8, 1.5e8],
            "f_max_hz": [4e8, 6e8],
            "capacitance": [4e-28, 2e-28],
            "tx_power_w": [0.1, 0.05],
            "rx_power_w": [0.02, 0.02],
            "bandwidth_hz": [1e6, 1e6],
            "energy_budget_j": [0.09, 0.05],
        },
        "tasks": {
            "name": ["digits", "signals"],
            "weight": [1.0, 2.0],
            "model_bits": [1e6, 5e5],
            "smoothness": [5.0, 4.0],
            "gradient_bound": [4.5, 3.0],
            "learning_rate": [0.005, 0.008],
            "proximal": [0.0, 10.0],
            "server_rate": [3.0, 2.5],
            "step_cap": [0.025, 0.03],
            "error_split": [0.25, 0.5],
            "initial_gap": [2.0, 1.5],
            "iterations_max": [2, 2],
            "batch_max": [3, 2],
            "staleness_max": [2, 1],
            "staleness_weight": [{"kind": "constant"}, {"kind": "polynomial", "a": 0.5}],
        },
        "pairs": {
            "samples": [[60, 20], [40, 50]],
            "cycles_per_sample": [[4e7, 2e7], [3e7, 5e7]],
            "gradient_std": [[12.0, 15.0], [14.0, 10.0]],
            "dissimilarity": [[0.5, 0.8], [0.7, 0.4]],
            "gradient_drift": [[0.0, 0.1], [0.2, 0.0]],
        },
        "network": {
            "gain": [[2e-12, 1e-12], [1e-12, 3e-12], [4e-12, 2e-12]],
            "noise_w_per_hz": 4e-21,
            "downlink_bps": [[8e6, 5e6], [6e6, 9e6], [7e6, 7e6]],
            "uplink_capacity": [1, 2, 2],
            "available": [[True, True], [True, True], [True, True]],
        },
        "loss_drift": [[0.01, 0.0], [0.0, 0.02], [0.01, 0.0]],
        "energy_weight": 200.0,
    }


def plain_scenario(**changes: Any) -> Scenario:
    """`plain_numbers` as a scenario, with fields replaced by dotted path."""
    return Scenario.from_dict(plain_numbers()).replace(**changes)


def drawn_scenario(
    seed: int, *, devices: int = 2, tasks: int = 1, slots: int = 3, **changes: Any
) -> Scenario:
    """Draw a small scenario in which caps, uplinks and budgets can all bind.

    At most two iterations and mini-batches of three, so that two devices, two tasks and three
    slots have a few thousand plans a device.
    """
    rng = np.random.default_rng(seed)

    def uniform(low: float, high: float, *shape: int) -> Any:
        return rng.uniform(low, high, shape).tolist()

    def count(low: int, high: int, *shape: int) -> Any:
        return rng.integers(low, high, shape, endpoint=True).tolist()

    kinds = [
        {"kind": "constant"},
        {"kind": "polynomial", "a": 0.5},
        {"kind": "hinge", "a": 1.0, "b": 0},
    ]
    data = {
        "time": {"slot_s": uniform(0.7, 1.6, slots)},
        "devices": {
            "f_min_hz": uniform(5e7, 1.5e8, devices),
            "f_max_hz": uniform(2e8, 8e8, devices),
            "capacitance": uniform(1e-28, 6e-28, devices),
            "tx_power_w": uniform(0.02, 0.2, devices),
            "rx_power_w": uniform(0.0, 0.05, devices),
            "bandwidth_hz": uniform(8e5, 1.2e6, devices),
            "energy_budget_j": uniform(0.02, 0.15, devices),
        },
        "tasks": {
            "name": [f"task{j}" for j in range(tasks)],
            "weight": uniform(0.5, 2.0, tasks),
            "model_bits": uniform(3e5, 1.5e6, tasks),
            "smoothness": uniform(3.0, 6.0, tasks),
            "gradient_bound": uniform(2.0, 5.0, tasks),
            "learning_rate": uniform(0.004, 0.01, tasks),
            "proximal": [float(rng.choice([0.0, 20.0])) for _ in range(tasks)],
            "server_rate": uniform(1.5, 4.0, tasks),
            "step_cap": uniform(0.01, 0.04, tasks),
            "error_split": uniform(0.2, 0.6, tasks),
            "initial_gap": uniform(0.2, 2.0, tasks),
            "iterations_max": [2] * tasks,
            "batch_max": [3] * tasks,
            "staleness_max": count(min(1, slots - 1), slots - 1, tasks),
            "staleness_weight": [kinds[int(rng.integers(3))] for _ in range(tasks)],
        },
        "pairs": {
            "samples": count(3, 60, devices, tasks),
            "cycles_per_sample": uniform(2e7, 8e7, devices, tasks),
            "gradient_std": uniform(2.0, 20.0, devices, tasks),
            "dissimilarity": uniform(0.0, 1.5, devices, tasks),
            "gradient_drift": uniform(0.0, 0.3, devices, tasks),
        },
        "network": {
            "gain": uniform(3e-13, 4e-12, slots, devices),
            "noise_w_per_hz": 4e-21,
            "downlink_bps": uniform(3e6, 1e7, slots, devices),
            "uplink_capacity": count(1, devices, slots),
            "available": (rng.random((slots, devices)) < 0.9).tolist(),
        },
        "loss_drift": uniform(0.0, 0.05, slots, tasks),
        "energy_weight": float(10.0 ** rng.uniform(0.0, 3.0)),
    }  # fmt: skip
    return Scenario.from_dict(data).replace(**changes)
