"""Fleets of five regimes, for `regimes.py`: small worlds that differ in what is hard about them.

They are unlike those of `Scenario.draw`, whose devices are alike but for their size: here devices
are slow in a regime's share, path loss is shadowed, figures are drawn in wide ranges, and server
rates and caps differ by task. Nothing of this package takes part in the drawing, so that the same
regime, seed and size are the same numbers in every version of it.
"""

import math
import random
from dataclasses import dataclass

import mafl_opt as mo

__all__ = ["REGIMES", "Regime", "draw_fleet", "draw_numbers"]

#: Samples a device holds, bits of a model, and others that do not depend on the regime.
SAMPLES, MODEL_BITS = (200, 1500), (0.5e6, 2.5e6)
NOISE_W_PER_HZ = 10 ** (-17.4) * 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """What makes a regime.

    Attributes
    ----------
    slow : float
        Chance of a device to be slow, with twice the data and less of its own.
    uplinks : float
        Uplinks of a slot, in parts of the devices.
    budget_j : (float, float)
        Range of the energy budgets, for twelve slots.
    energy_weight : float
        Of ten devices.
    drifting : bool
        Whether data and losses drift, channels fade from slot to slot, and devices are away.
    """

    slow: float = 0.3
    uplinks: float = 0.6
    budget_j: tuple[float, float] = (0.8, 3.0)
    energy_weight: float = 0.3
    drifting: bool = False


REGIMES = {
    "stale": Regime(slow=0.6, uplinks=0.9, energy_weight=1.0),
    "mixed": Regime(),
    "tight": Regime(budget_j=(0.15, 0.6), energy_weight=0.5),
    "drift": Regime(drifting=True),
    "fast": Regime(slow=0.0, energy_weight=0.1),
}


def draw_fleet(regime, seed, devices=10, tasks=3, slots=12):
    """Draw a fleet as a scenario."""
    return mo.Scenario.from_dict(draw_numbers(regime, seed, devices, tasks, slots))


def draw_numbers(regime, seed, devices=10, tasks=3, slots=12):
    """Draw a fleet as resolved numbers, named as in section 8 of the model page.

    The order of the draws is what a seed means: changing it changes every fleet.
    """
    kind = REGIMES[regime]
    stream = random.Random(f"public {regime} {seed} {devices}x{tasks}x{slots}")
    uniform, fleet, work = stream.uniform, range(devices), range(tasks)

    def by_pair(draw):
        return [[draw(i) for _ in work] for i in fleet]

    slow = [stream.random() < kind.slow for _ in fleet]
    loss_db = [128.1 + 37.6 * math.log10(uniform(0.05, 0.4)) + stream.gauss(0, 6) for _ in fleet]
    fading_db = 2 if kind.drifting else 0
    gain = [
        [10 ** (-(loss + stream.gauss(0, fading_db)) / 10) for loss in loss_db]
        for _ in range(slots)
    ]
    samples = by_pair(lambda i: stream.randint(*SAMPLES) * (2 if slow[i] else 1))
    return {
        "time": {"slot_s": [1.0] * slots},
        "devices": {
            "f_min_hz": [5e7] * devices,
            "f_max_hz": [uniform(1.2e8, 2.5e8) if slow[i] else uniform(0.6e9, 2e9) for i in fleet],
            "capacitance": [1e-28 * uniform(0.7, 1.4) for _ in fleet],
            "tx_power_w": [uniform(0.05, 0.2) for _ in fleet],
            "rx_power_w": [uniform(0.02, 0.06) for _ in fleet],
            "bandwidth_hz": [1e6] * devices,
            "energy_budget_j": [uniform(*kind.budget_j) * slots / 12 for _ in fleet],
        },
        "tasks": {
            "name": [f"task{j}" for j in work],
            "weight": [uniform(0.5, 2) for _ in work],
            "model_bits": [float(int(uniform(*MODEL_BITS))) for _ in work],
            "smoothness": [uniform(3, 6) for _ in work],
            "gradient_bound": [uniform(4, 6) for _ in work],
            "learning_rate": [0.005] * tasks,
            "proximal": [0.0 if stream.random() < 0.5 else uniform(1, 10) for _ in work],
            "server_rate": [3.0 * uniform(0.8, 1.2) for _ in work],
            "step_cap": [uniform(0.015, 0.03) for _ in work],
            "error_split": [0.25] * tasks,
            "initial_gap": [uniform(1.2, 2.4) for _ in work],
            "iterations_max": [stream.choice([5, 8, 10]) for _ in work],
            "batch_max": [64] * tasks,
            "staleness_max": [stream.choice([1, 2, 3]) for _ in work],
        },
        "pairs": {
            "samples": samples,
            "cycles_per_sample": by_pair(lambda _: uniform(5e6, 4e7)),
            "gradient_std": by_pair(lambda _: uniform(10, 25)),
            "dissimilarity": by_pair(lambda i: uniform(0.2, 0.5) if slow[i] else uniform(0.3, 1.3)),
            "gradient_drift": by_pair(lambda _: uniform(0, 0.1) if kind.drifting else 0.0),
        },
        "network": {
            "gain": gain,
            "noise_w_per_hz": NOISE_W_PER_HZ,
            "downlink_bps": [[uniform(1e7, 3e7)] * devices for _ in range(slots)],
            "uplink_capacity": [max(2, int(kind.uplinks * devices))] * slots,
            "available": [
                [not (kind.drifting and stream.random() < 0.15) for _ in fleet]
                for _ in range(slots)
            ],
        },
        "loss_drift": [
            [uniform(0, 0.02) if kind.drifting else 0.0 for _ in work] for _ in range(slots)
        ],
        "energy_weight": kind.energy_weight * 10 / devices,
    }
