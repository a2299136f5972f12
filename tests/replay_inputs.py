"""Small scenarios, plans and data sets for replaying, and the learning rule once more in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.validation.data import DataSet
from mafl_opt.validation.partition import partition_labels


def replay_scenario(
    names: tuple[str, ...] = ("points",),
    samples: tuple[tuple[int, ...], ...] = ((12,), (7,), (9,)),
    slots: int = 4,
    **tasks: Any,
) -> Scenario:
    """Devices that can do anything in a slot of 10 s, so that only the learning rule matters."""
    devices, count = len(samples), len(names)

    def every(value: float, *shape: int) -> Any:
        return np.full(shape, value).tolist()

    fields: dict[str, Any] = {
        "name": list(names),
        "weight": every(1.0, count),
        "model_bits": every(1e6, count),
        "smoothness": every(5.0, count),
        "gradient_bound": every(4.0, count),
        "learning_rate": every(0.05, count),
        "proximal": every(0.0, count),
        "server_rate": every(0.8, count),
        "step_cap": every(0.1, count),
        "initial_gap": every(2.0, count),
        "iterations_max": every(20, count),
        "batch_max": every(64, count),
        "staleness_max": every(4, count),
    }
    return Scenario.from_dict(
        {
            "time": {"slot_s": every(10.0, slots)},
            "devices": {
                "f_min_hz": every(1e8, devices),
                "f_max_hz": every(1e9, devices),
                "capacitance": every(1e-28, devices),
                "tx_power_w": every(0.1, devices),
                "rx_power_w": every(0.05, devices),
                "bandwidth_hz": every(1e6, devices),
                "energy_budget_j": every(100.0, devices),
            },
            "tasks": {**fields, **tasks},
            "pairs": {
                "samples": [list(row) for row in samples],
                "cycles_per_sample": every(1e6, devices, count),
                "gradient_std": every(1.0, devices, count),
                "dissimilarity": every(1.0, devices, count),
            },
            "network": {
                "gain": every(1e-10, slots, devices),
                "noise_w_per_hz": 4e-21,
                "downlink_bps": every(1e7, slots, devices),
                "uplink_capacity": every(devices, slots),
            },
            "energy_weight": 0.01,
        }
    )


def plan_of(*rows: tuple[int, int, int, int, int, int]) -> Plan:
    """Plan from (device, task, receive, upload, batch_size, iterations)."""
    names = ("device", "task", "receive", "upload", "batch_size", "iterations")
    sessions = [{**dict(zip(names, row, strict=True)), "cpu_hz": 3e8} for row in rows]
    return Plan(
        sessions=Sessions.from_rows(sessions),
        backend="test",
        termination=Termination.COMPLETED,
        point=PointStatus.FEASIBLE,
    )


def point_clouds(name: str = "points", *, samples: int = 40, seed: int = 3) -> DataSet:
    """Three overlapping clouds of points in four dimensions, float64."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(3, 4))
    labels = generator.integers(3, size=2 * samples)
    labels[:3] = labels[samples : samples + 3] = (0, 1, 2)
    inputs = centres[labels] + generator.normal(size=(2 * samples, 4))
    return DataSet(
        name=name,
        kind="tabular",
        train_inputs=inputs[:samples],
        train_labels=labels[:samples],
        test_inputs=inputs[samples:],
        test_labels=labels[samples:],
        num_classes=3,
    )


def stream(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))


def softmax_loss(w: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> float:
    logits = inputs @ w[:, :-1].T + w[:, -1]
    top = logits.max(axis=1)
    norm = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return float((norm - logits[np.arange(len(labels)), labels]).mean())


def softmax_gradient(w: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Gradient of `softmax_loss`; w holds weights and bias, shape (classes, features + 1)."""
    logits = inputs @ w[:, :-1].T + w[:, -1]
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1.0
    return p.T @ np.hstack([inputs, np.ones((len(inputs), 1))]) / len(labels)


def reference_losses(
    scenario: Scenario, plan: Plan, data: DataSet, *, rule: str, seed: int = 0, task: int = 0
) -> list[float]:
    """Test loss after every aggregation, by the model page's section 4 written out in numpy."""
    held = scenario.pairs.samples[:, task]
    rows = partition_labels(data.train_labels, held, 0.5, stream(seed, 0, task))
    eta, rho = scenario.tasks.learning_rate[task], scenario.tasks.proximal[task]
    alpha, discount = scenario.tasks.server_rate[task], scenario.tasks.staleness_weight[task]
    models = [np.zeros((data.num_classes, data.train_inputs.shape[1] + 1))]
    losses = [softmax_loss(models[0], data.test_inputs, data.test_labels)]
    for u in range(1, scenario.num_slots + 1):
        ending = [s for s in plan.sessions.rows() if s["upload"] == u and s["task"] == task]
        shares, results, starts = [], [], []
        for s in sorted(ending, key=lambda s: s["device"]):
            i, r = s["device"], s["receive"]
            inputs, labels = data.train_inputs[rows[i]], data.train_labels[rows[i]]
            draws = stream(seed, 2, i, task, r)
            y = models[r].copy()
            for _ in range(s["iterations"]):
                batch = draws.choice(held[i], s["batch_size"], replace=False)
                y -= eta * (
                    softmax_gradient(y, inputs[batch], labels[batch]) + rho * (y - models[r])
                )
            shares.append(held[i] * float(discount(u - 1 - r)))
            results.append(y)
            starts.append(models[r])
        w = models[-1].copy()
        if ending and rule == "delta":
            for share, y, start in zip(shares, results, starts, strict=True):
                w += alpha * share / held.sum() * (y - start)
        elif ending:
            w *= 1.0 - alpha
            for share, y in zip(shares, results, strict=True):
                w += alpha * share / sum(shares) * y
        models.append(w)
        losses.append(softmax_loss(w, data.test_inputs, data.test_labels))
    return losses
