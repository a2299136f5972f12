"""Reference instances: small scenarios, each with one feature, and their enumerated optima.

``python tests/instances/make.py`` writes ``NAME.json`` (a scenario) and ``NAME.optimum.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from enumeration import enumerate_optimum
from small_scenarios import drawn_scenario, plain_numbers, plain_scenario

from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario

FOLDER = Path(__file__).parent
HOW = "enumeration of every plan of every device (tests/enumeration.py), best frequencies"


def instances() -> dict[str, tuple[str, Scenario]]:
    """Every instance by name: what it is there for, and the scenario."""
    three = drawn_scenario(4, devices=3, tasks=1, **{"network.available": [[True] * 3] * 3})
    return {
        "one_device": ("a single device serves a single task", drawn_scenario(3, devices=1)),
        "one_task": ("two devices share one task", drawn_scenario(5, tasks=1)),
        "two_tasks": ("every field plain numbers", plain_scenario()),
        "three_devices": ("three devices, one task", three),
        "four_slots": ("a longer horizon", drawn_scenario(11, devices=2, tasks=1, slots=4)),
        "binding_budget": (
            "energy is free but the budgets are short",
            plain_scenario(**{"devices.energy_budget_j": [0.06, 0.035], "energy_weight": 0.0}),
        ),
        "binding_uplink": (
            "one upload an aggregation for three devices",
            three.replace(**{"network.uplink_capacity": [1, 1, 1], "energy_weight": 0.5}),
        ),
        "binding_step_cap": (
            "the step caps keep devices apart",
            plain_scenario(**{"tasks.step_cap": [0.013, 0.016], "energy_weight": 1.0}),
        ),
        "unreachable_device": (
            "device 1 is never reachable",
            plain_scenario(**{"network.available": [[True, False]] * 3}),
        ),
        "zero_budget_device": (
            "device 0 has no energy at all",
            plain_scenario(**{"devices.energy_budget_j": [0.0, 0.2]}),
        ),
        "zero_energy_weight": ("energy is free", plain_scenario(energy_weight=0.0)),
        "huge_energy_weight": ("energy is all that counts", plain_scenario(energy_weight=1e6)),
        "zero_weight_task": (
            "task 1 counts for nothing",
            plain_scenario(**{"tasks.weight": [1.0, 0.0]}),
        ),
        "drift": (
            "losses and gradients drift",
            plain_scenario(
                loss_drift=[[0.3, 0.1], [0.2, 0.4], [0.1, 0.2]],
                **{"pairs.gradient_drift": [[0.5, 0.8], [0.9, 0.4]]},
            ),
        ),
        "proximal": (
            "strong proximal terms",
            plain_scenario(**{"tasks.proximal": [60.0, 40.0], "energy_weight": 20.0}),
        ),
        "staleness_forced": (
            "no session fits one slot, so tau >= 1",
            plain_scenario(**{"devices.f_max_hz": [1.2e8, 1.5e8], "tasks.model_bits": [4e6, 2e6],
                              "pairs.cycles_per_sample": [[9e7, 8e7], [9e7, 1.1e8]],
                              "devices.energy_budget_j": [1.0, 1.0]}),
        ),
        "free_computing": (
            "computing costs nothing, the radio binds the budgets",
            plain_scenario(**{"devices.capacitance": [0.0, 0.0], "energy_weight": 0.0,
                              "devices.energy_budget_j": [0.035, 0.015]}),
        ),
        "nothing_to_gain": (
            "no initial gap: any single session is best",
            plain_scenario(**{"tasks.initial_gap": [0.0, 0.0], "loss_drift": [[0.0, 0.0]] * 3}),
        ),
        "infeasible_minimum": (
            "the budgets pay for no session at all",
            plain_scenario(**{"devices.energy_budget_j": [1e-4, 1e-4]}),
        ),
        "infeasible_together": (
            "each task could be trained, but there is one upload for both",
            _one_slot(),
        ),
    }  # fmt: skip


def _one_slot() -> Scenario:
    numbers = plain_numbers()
    numbers["time"]["slot_s"] = [1.5]
    for name in ("gain", "downlink_bps", "available"):
        numbers["network"][name] = numbers["network"][name][:1]
    numbers["network"]["uplink_capacity"] = [1]
    numbers["tasks"]["staleness_max"] = [0, 0]
    numbers["loss_drift"] = numbers["loss_drift"][:1]
    return Scenario.from_dict(numbers)


def names() -> list[str]:
    """Names of the stored instances."""
    return sorted(path.name.removesuffix(".optimum.json") for path in FOLDER.glob("*.optimum.json"))


def read(name: str) -> tuple[Scenario, dict[str, Any]]:
    """Return a stored instance and its sidecar; the optimum is None when there is no plan."""
    sidecar = json.loads((FOLDER / f"{name}.optimum.json").read_text())
    return Scenario.load(FOLDER / f"{name}.json"), sidecar


def sidecar_of(what: str, objective: float, plan: Plan | None) -> dict[str, Any]:
    """What stands beside an instance."""
    return {
        "what": what,
        "how": HOW,
        "optimum": None if plan is None else objective,
        "sessions": [] if plan is None else plan.sessions.rows(),
    }


def make() -> None:
    """Write every instance and its sidecar."""
    for name, (what, scenario) in instances().items():
        sidecar = sidecar_of(what, *enumerate_optimum(scenario))
        (FOLDER / f"{name}.json").write_text(scenario.to_json() + "\n")
        (FOLDER / f"{name}.optimum.json").write_text(json.dumps(sidecar, indent=1) + "\n")
        print(f"{name}: {sidecar['optimum']}")


if __name__ == "__main__":
    make()
