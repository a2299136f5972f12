"""Fleets of any size, drawn like the embedded scenario."""

from __future__ import annotations

import math
from itertools import cycle, islice
from typing import Any

from mafl_opt.core.draws import AXES, axis_of
from mafl_opt.core.errors import InputError
from mafl_opt.core.fields import FIELDS, Field
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.scenario_files import (
    check_memory,
    default_text,
    parse_toml,
    scenario_from_specs,
)

__all__ = ["draw_scenario"]

#: Keys of a table that hold amounts, as against shapes of a distribution.
_AMOUNTS = ("uniform", "log_uniform", "normal", "choice", "integers", "values", "min", "max")


def draw_scenario(*, devices: int, tasks: int, slots: int, seed: int) -> Scenario:
    """Draw a fleet like the embedded one, of any size.

    The draws are those of ``default.toml``. Samples and uplinks grow with the number of devices,
    energy budgets with the number of slots, so that fleets of different size are alike. Lists go
    round: task 3 is drawn like task 0, under the name ``task3``.

    Raises
    ------
    InputError
        If a size is below 1 or the fleet would not fit in memory.
    """
    data = parse_toml(default_text(), "default.toml")
    old = {letter: data["size"][f"{noun}s"] for noun, letter in AXES.items()}
    data["size"] = {"devices": devices, "tasks": tasks, "slots": slots}
    for name, size in data["size"].items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InputError(name, "an integer >= 1", size)
    new = {"I": devices, "J": tasks, "G": slots}
    check_memory(new)
    data["seed"] = seed
    names = data["tasks"]["name"]
    for field in FIELDS.values():
        section = data.get(field.group, {}) if field.group else data
        if field.name in section:
            section[field.name] = _resized(field, section[field.name], old, new)
    data["tasks"]["name"] = [*names[:tasks], *(f"task{j}" for j in range(old["J"], tasks))]
    for path, factor in (
        ("pairs.samples", devices / old["I"]),
        ("network.uplink_capacity", devices / old["I"]),
        ("devices.energy_budget_j", slots / old["G"]),
    ):
        field = FIELDS[path]
        section = data[field.group]
        section[field.name] = _scaled(section[field.name], factor, field.kind == "int")
    return scenario_from_specs(data)


def _resized(field: Field, spec: Any, old: dict[str, int], new: dict[str, int]) -> Any:
    """Repeat or cut the lists of a value so that they fit the new sizes."""
    listed = spec.get("values") if isinstance(spec, dict) else spec
    if not isinstance(listed, list):
        return spec
    named = isinstance(spec, dict) and "per" in spec
    axis = AXES[spec["per"]] if named else axis_of(field, listed, old)
    rows = [
        list(islice(cycle(entry), new[field.dims[1]])) if isinstance(entry, list) else entry
        for entry in listed
    ]
    values = list(islice(cycle(rows), new[axis]))
    if field.kind in ("str", "staleness"):
        return values
    # At the new sizes the length alone may no longer tell the axis.
    noun = next(noun for noun, letter in AXES.items() if letter == axis)
    return {"per": noun, "values": values}


def _scaled(spec: Any, factor: float, whole: bool) -> Any:
    """Multiply the amounts of a value; whole numbers are rounded down, but not below 1."""
    if isinstance(spec, list):
        return [_scaled(entry, factor, whole) for entry in spec]
    if isinstance(spec, dict):
        keys = ("total",) if "total" in spec else _AMOUNTS
        return {
            key: _scaled(value, factor, whole or key == "integers") if key in keys else value
            for key, value in spec.items()
        }
    # 1e-9 keeps 900 * (1000 / 10) / 100 and the like from falling below the integer they are.
    return max(1, math.floor(spec * factor + 1e-9)) if whole else spec * factor
