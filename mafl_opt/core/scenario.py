"""The scenario: physics, data figures and prices, as read-only arrays (model page, section 8)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.arguments import did_you_mean, require_path
from mafl_opt.core.digest import array_digest, text_digest
from mafl_opt.core.errors import InputError
from mafl_opt.core.fields import (
    FIELDS,
    GROUPS,
    StalenessWeight,
    array_from,
    check_length,
    weights_from,
)
from mafl_opt.core.notebook import html_table

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Devices", "Network", "Pairs", "Scenario", "Tasks", "Time"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Time:
    """Aggregation instants.

    slot_s : (slots,), s
    """

    slot_s: Floats

    @property
    def instants_s(self) -> Floats:
        """Times t_0 = 0 .. t_G; shape (slots + 1,), s."""
        return np.concatenate([[0.0], np.cumsum(self.slot_s)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Devices:
    """What each device is made of; every array has shape (devices,), units in the names."""

    f_min_hz: Floats
    f_max_hz: Floats
    capacitance: Floats
    tx_power_w: Floats
    rx_power_w: Floats
    bandwidth_hz: Floats
    energy_budget_j: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tasks:
    """What each task is; every array has shape (tasks,)."""

    name: tuple[str, ...]
    weight: Floats
    model_bits: Floats
    smoothness: Floats
    gradient_bound: Floats
    learning_rate: Floats
    proximal: Floats
    server_rate: Floats
    step_cap: Floats
    error_split: Floats
    initial_gap: Floats
    iterations_max: Ints
    batch_max: Ints
    staleness_max: Ints
    staleness_weight: tuple[StalenessWeight, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """What a device knows of a task; every array has shape (devices, tasks)."""

    samples: Ints
    cycles_per_sample: Floats
    gradient_std: Floats
    dissimilarity: Floats
    gradient_drift: Floats

    @property
    def data_share(self) -> Floats:
        """Weights q_ij = D_ij / sum_i D_ij; shape (devices, tasks)."""
        return np.asarray(self.samples / self.samples.sum(axis=0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """The radio network over the slots.

    gain : (slots, devices); downlink_bps : (slots, devices), bit/s; available : (slots, devices);
    uplink_capacity : (slots,); noise_w_per_hz : W/Hz
    """

    gain: Floats
    noise_w_per_hz: float
    downlink_bps: Floats
    uplink_capacity: Ints
    available: Bools


_CLASSES: dict[str, Any] = {
    "time": Time,
    "devices": Devices,
    "tasks": Tasks,
    "pairs": Pairs,
    "network": Network,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scenario:
    """One fleet, its tasks, its network and its horizon; checked once, read-only from then on.

    Build it with `load` (TOML or JSON file), `from_dict` (resolved numbers), `draw` (a random
    fleet) or `default`. Two scenarios are equal when all their numbers are.

    Attributes
    ----------
    time, devices, tasks, pairs, network
        Groups of arrays, named as in the files.
    loss_drift : (slots, tasks)
        Most the loss drifts at an aggregation, Delta_F.
    energy_weight : float, 1/J
        Price xi of a joule in the objective.
    sha256 : str
        Digest of all numbers (`mafl_opt.core.digest.array_digest`).
    """

    time: Time
    devices: Devices
    tasks: Tasks
    pairs: Pairs
    network: Network
    loss_drift: Floats
    energy_weight: float
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        _check_across(self)
        groups = self._groups()
        entries = {
            path: (groups[field.group] if field.group else groups)[field.name]
            for path, field in FIELDS.items()
        }
        object.__setattr__(self, "sha256", array_digest(entries))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scenario) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return (
            f"Scenario({self.num_devices} devices, {self.num_tasks} tasks, "
            f"{self.num_slots} slots, sha256 {self.sha256[:12]})"
        )

    def _repr_html_(self) -> str:
        rows = [
            (
                name, float(self.tasks.weight[j]), float(self.tasks.model_bits[j]),
                int(self.pairs.samples[:, j].sum()), float(self.tasks.initial_gap[j]),
                float(self.tasks.step_cap[j]), int(self.tasks.staleness_max[j]),
            )
            for j, name in enumerate(self.tasks.name)
        ]  # fmt: skip
        heads = ("task", "weight", "model, bit", "samples", "initial gap", "step cap", "staleness")
        budget = float(self.devices.energy_budget_j.sum())
        notes = [
            f"{float(self.time.slot_s.sum()):.6g} s in all, {budget:.6g} J of budgets, "
            f"{int(self.network.uplink_capacity.sum())} uplinks, "
            f"energy weight {self.energy_weight:.6g} per J"
        ]
        return html_table(repr(self), heads, rows, notes)

    @property
    def num_devices(self) -> int:
        """Number of devices I."""
        return int(self.pairs.samples.shape[0])

    @property
    def num_tasks(self) -> int:
        """Number of tasks J."""
        return int(self.pairs.samples.shape[1])

    @property
    def num_slots(self) -> int:
        """Number of slots G."""
        return int(self.time.slot_s.size)

    # -- ways in ---------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Scenario:
        """Build a scenario from resolved numbers, named as in section 8 of the model page.

        Parameters
        ----------
        data : dict
            Nested dict of lists or numpy arrays. Fields with a default may be missing.

        Raises
        ------
        InputError
            With the path of the field, what was found and what was expected; unknown keys too.
        """
        _check_keys(data)
        sizes: dict[str, int | None] = {"G": None, "I": None, "J": None}
        # These three fix the sizes, so that a wrong length elsewhere is blamed on the right field.
        for path in ("time.slot_s", "devices.f_min_hz", "tasks.weight"):
            array_from(FIELDS[path], _lookup(data, path), sizes)
        values: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
        for path, spec in FIELDS.items():
            raw = _lookup(data, path)
            if raw is None:
                raw = _broadcast(spec.default, [sizes[axis] or 0 for axis in spec.dims])
            values[spec.group][spec.name] = _entry(path, raw, sizes)
        top = values.pop("")
        groups = {group: _CLASSES[group](**entries) for group, entries in values.items()}
        return cls(**groups, **top)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scenario:
        """Read a scenario file: ``.json`` (resolved numbers) or ``.toml`` (numbers and draws)."""
        from mafl_opt.core.scenario_files import load_scenario

        require_path("scenario", path)
        return load_scenario(Path(path))

    @classmethod
    def draw(cls, *, devices: int = 10, tasks: int = 3, slots: int = 12, seed: int = 0) -> Scenario:
        """Draw a fleet like the default one, of any size; the same seed gives the same fleet."""
        from mafl_opt.core.drawn_fleet import draw_scenario

        return draw_scenario(devices=devices, tasks=tasks, slots=slots, seed=seed)

    @classmethod
    def default(cls) -> Scenario:
        """Return the embedded scenario: 10 devices, 3 tasks on embedded data sets."""
        from mafl_opt.core.scenario_files import default_text, scenario_from_toml

        return scenario_from_toml(default_text(), "default.toml")

    # -- ways out --------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved scenario as plain lists and numbers, exactly the model page's."""
        return {
            key: {name: _plain(item) for name, item in value.items()}
            if isinstance(value, dict)
            else _plain(value)
            for key, value in self._groups().items()
        }

    def _groups(self) -> dict[str, Any]:
        """Return the entries nested as in the files, arrays as they are."""
        out: dict[str, Any] = {}
        for group, paths in GROUPS.items():
            holder = getattr(self, group) if group else self
            entries = {FIELDS[path].name: getattr(holder, FIELDS[path].name) for path in paths}
            out.update(entries if not group else {group: entries})
        return out

    def to_json(self) -> str:
        """Return the resolved scenario as JSON text; floats survive the round trip unchanged."""
        return json.dumps(self.to_dict())

    def to_xarray(self) -> xr.Dataset:
        """Return every field as a labelled array, with unit and meaning in its ``attrs``.

        Returns
        -------
        xarray.Dataset
            Variables named as in the files without their section, over ``slot`` (1..G), ``device``
            and ``task``; staleness weights as text.
        """
        import xarray as xr

        axes = {"G": "slot", "I": "device", "J": "task"}
        groups, variables = self._groups(), {}
        for path, spec in FIELDS.items():
            if path == "tasks.name":
                continue
            value = (groups[spec.group] if spec.group else groups)[spec.name]
            if spec.kind == "staleness":
                value = [json.dumps(weight.to_dict()) for weight in value]
            attrs = {"units": spec.unit or "1", "long_name": spec.meaning}
            variables[spec.name] = (tuple(axes[letter] for letter in spec.dims), value, attrs)
        labels = {
            "slot": np.arange(1, self.num_slots + 1), "device": np.arange(self.num_devices),
            "task": list(self.tasks.name),
        }  # fmt: skip
        return xr.Dataset(variables, coords=labels, attrs={"sha256": self.sha256})

    def is_named_by(self, digest: str) -> bool:
        """Whether a digest in a plan names this scenario: `sha256`, or that of older plans."""
        return digest == self.sha256 or digest == text_digest(self._groups())

    def replace(self, **changes: Any) -> Scenario:
        """Return a copy with fields replaced, by dotted path.

        Parameters
        ----------
        **changes
            ``s.replace(energy_weight=0.1)`` or ``s.replace(**{"tasks.weight": [1, 1, 10]})``.
        """
        data = self._groups()
        for path, value in changes.items():
            if path not in FIELDS:
                near = did_you_mean(path, FIELDS)
                raise InputError(path, "the dotted path of a scenario field", path, near)
            group, _, name = path.rpartition(".")
            (data[group] if group else data)[name] = value
        return Scenario.from_dict(data)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return [v.to_dict() if isinstance(v, StalenessWeight) else v for v in value]
    return value


def _lookup(data: dict[str, Any], path: str) -> Any:
    spec = FIELDS[path]
    holder = data.get(spec.group, {}) if spec.group else data
    value = holder.get(spec.name)
    if value is None and spec.default is None:
        raise InputError(path, spec.expected, None, "the field is missing")
    return value


def _broadcast(value: Any, shape: list[int]) -> Any:
    for length in reversed(shape):
        value = [value] * length
    return value


def _entry(path: str, raw: Any, sizes: dict[str, int | None]) -> Any:
    spec = FIELDS[path]
    if spec.kind == "staleness":
        return weights_from(raw, sizes["J"] or 0)
    if spec.kind == "str":
        return _names(path, raw, sizes["J"] or 0)
    array = array_from(spec, raw, sizes)
    return array if spec.dims else float(array)


def _names(path: str, raw: Any, num_tasks: int) -> tuple[str, ...]:
    if not isinstance(raw, (list, tuple)):
        raise InputError(path, f"a list of {num_tasks} names", raw)
    check_length(path, "J", len(raw), {"J": num_tasks})
    for index, name in enumerate(raw):
        if not isinstance(name, str) or not name or len(name) > 100 or not name.isprintable():
            raise InputError(f"{path}[{index}]", "a printable name of 1 to 100 characters", name)
        if name in raw[:index]:
            raise InputError(f"{path}[{index}]", "a name no other task has", name)
    return tuple(raw)


def _check_keys(data: Any) -> None:
    if not isinstance(data, dict):
        raise InputError("scenario", "a table of sections", data)
    top = {FIELDS[path].name for path in GROUPS[""]}
    for key, value in data.items():
        if key in top:
            continue
        if key not in _CLASSES:
            names = [*_CLASSES, *sorted(top)]
            raise InputError(str(key), _one_of(names), key, _unknown(key, names))
        if not isinstance(value, dict):
            raise InputError(key, "a table", value)
        known = [f.name for f in fields(_CLASSES[key])]
        for name in value:
            if name not in known:
                hint = _unknown(name, known)
                raise InputError(f"{key}.{name}", _one_of(known), name, hint)


def _unknown(key: object, known: list[str]) -> str:
    near = did_you_mean(key, known)
    return f"unknown key; {near}" if near else "unknown key"


def _one_of(names: list[str]) -> str:
    return "one of " + ", ".join(names)


def _check_across(s: Scenario) -> None:
    """Check what no single field can tell."""
    low, high = s.devices.f_min_hz, s.devices.f_max_hz
    for i in np.flatnonzero(low > high)[:1]:
        raise InputError(f"devices.f_min_hz[{i}]", f"at most f_max_hz = {high[i]:g}", float(low[i]))
    theta, most = s.tasks.step_cap, 1.0 / (2.0 * s.tasks.smoothness)
    # The proof needs theta <= 1/(2 L); a few ulps let 1/(2 L) itself pass however it was computed.
    for j in np.flatnonzero(theta > most * (1 + 1e-12))[:1]:
        expected = f"at most 1/(2 smoothness) = {most[j]:g}"
        raise InputError(f"tasks.step_cap[{j}]", expected, float(theta[j]))
    rho = s.tasks.proximal
    for j in np.flatnonzero(s.tasks.learning_rate * rho >= 1.0)[:1]:
        raise InputError(f"tasks.proximal[{j}]", "below 1 / learning_rate", float(rho[j]))
    for j in np.flatnonzero(s.pairs.samples.sum(axis=0) == 0)[:1]:
        raise InputError("pairs.samples", f"some samples for task {j}", "none on any device")
