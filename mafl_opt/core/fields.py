"""The one table of scenario fields: names, shapes, kinds, limits, units (model page, section 8).

Everything that reads, writes, draws or documents a scenario goes through this table, so a field
has one spelling, one shape and one error message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError

__all__ = [
    "FIELDS",
    "GROUPS",
    "Field",
    "StalenessWeight",
    "array_from",
    "check_length",
    "weights_from",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One array (or number) of a scenario.

    Attributes
    ----------
    group : str
        Section of the file; empty for the two fields at the top level.
    dims : str
        Letters of the axes in file order: G slots, I devices, J tasks; empty for a number.
    kind : str
        ``float``, ``int``, ``bool``, ``str`` or ``staleness``.
    minimum, maximum : float
        Limits; `above` makes the lower one exclusive.
    default : object
        Value of a field the user may leave out; ``None`` when it is required.
    """

    group: str
    name: str
    dims: str
    kind: str
    unit: str
    meaning: str
    minimum: float = -np.inf
    above: bool = False
    maximum: float = np.inf
    default: Any = None

    @property
    def path(self) -> str:
        """Dotted path in the file."""
        return f"{self.group}.{self.name}" if self.group else self.name

    @property
    def expected(self) -> str:
        """What an entry must be, in words."""
        words = {
            "float": "a finite number",
            "int": "an integer",
            "bool": "true or false",
            "str": "a non-empty string",
            "staleness": "a staleness weight table",
        }[self.kind]
        if self.kind in ("float", "int"):
            if np.isfinite(self.minimum):
                words += f" {'>' if self.above else '>='} {self.minimum:g}"
            if np.isfinite(self.maximum):
                words += f"{' and' if np.isfinite(self.minimum) else ''} <= {self.maximum:g}"
        return words


def _f(path: str, dims: str, unit: str, meaning: str, **more: Any) -> Field:
    group, _, name = path.rpartition(".")
    return Field(
        group=group, name=name, dims=dims, unit=unit, meaning=meaning,
        **{"kind": "float", "minimum": 0.0, **more},
    )  # fmt: skip


_TABLE = (
    _f("time.slot_s", "G", "s", "length T_g of each slot", above=True),
    _f("devices.f_min_hz", "I", "Hz", "lowest CPU frequency", above=True),
    _f("devices.f_max_hz", "I", "Hz", "highest CPU frequency", above=True),
    _f("devices.capacitance", "I", "J s^2", "effective switched capacitance kappa"),
    _f("devices.tx_power_w", "I", "W", "uplink transmit power p"),
    _f("devices.rx_power_w", "I", "W", "power while receiving"),
    _f("devices.bandwidth_hz", "I", "Hz", "width W of the uplink sub-channel", above=True),
    _f("devices.energy_budget_j", "I", "J", "energy budget E over the horizon"),
    _f("tasks.name", "J", "", "name; replay looks its data up by it", kind="str"),
    _f("tasks.weight", "J", "", "importance gamma in the objective"),
    _f("tasks.model_bits", "J", "bit", "model size M", above=True),
    _f("tasks.smoothness", "J", "", "smoothness L of every device's loss", above=True),
    _f("tasks.gradient_bound", "J", "", "bound V on the gradient norm", above=True),
    _f("tasks.learning_rate", "J", "", "local step size eta", above=True),
    _f("tasks.proximal", "J", "", "proximal weight rho", default=0.0),
    _f("tasks.server_rate", "J", "", "server rate alpha", above=True),
    _f("tasks.step_cap", "J", "", "cap theta on the progress of one aggregation", above=True),
    _f("tasks.error_split", "J", "", "split h of the error terms", above=True, default=0.25),
    _f("tasks.initial_gap", "J", "", "Gamma: loss at the start minus the least loss at the end"),
    _f(
        "tasks.iterations_max",
        "J",
        "",
        "most SGD iterations of a session",
        kind="int",
        minimum=1,
        maximum=1e6,
    ),
    _f("tasks.batch_max", "J", "", "largest mini-batch", kind="int", minimum=1),
    _f("tasks.staleness_max", "J", "", "staleness bound K", kind="int"),
    _f("tasks.staleness_weight", "J", "", "s(tau)", kind="staleness", default={"kind": "constant"}),
    _f("pairs.samples", "IJ", "", "number of samples D; 0 = none", kind="int", maximum=1e12),
    _f("pairs.cycles_per_sample", "IJ", "cycle", "CPU cycles a sample", above=True),
    _f("pairs.gradient_std", "IJ", "", "sigma: spread of sample gradients"),
    _f("pairs.dissimilarity", "IJ", "", "delta: distance of the device's gradient to the task's"),
    _f("pairs.gradient_drift", "IJ", "", "growth of the dissimilarity a slot", default=0.0),
    _f("network.gain", "GI", "", "linear uplink channel power gain h"),
    _f("network.noise_w_per_hz", "", "W/Hz", "noise power spectral density N0", above=True),
    _f("network.downlink_bps", "GI", "bit/s", "downlink rate"),
    _f("network.uplink_capacity", "G", "", "uploads that fit one aggregation", kind="int"),
    _f("network.available", "GI", "", "device reachable in the slot", kind="bool", default=True),
    _f("loss_drift", "GJ", "", "most the loss drifts at an aggregation", default=0.0),
    _f("energy_weight", "", "1/J", "price xi of a joule in the objective"),
)

#: Every field by its dotted path, in file order.
FIELDS: dict[str, Field] = {field.path: field for field in _TABLE}
#: Field paths of each section, in file order; the empty name holds the top-level fields.
GROUPS: dict[str, tuple[str, ...]] = {
    group: tuple(f.path for f in _TABLE if f.group == group)
    for group in dict.fromkeys(f.group for f in _TABLE)
}

#: The fields a scenario's sizes are taken from.
_SIZE_GIVERS = {
    "G": ("slots", "time.slot_s"),
    "I": ("devices", "devices.f_min_hz"),
    "J": ("tasks", "tasks.weight"),
}

_DTYPES: dict[str, Any] = {"float": np.float64, "int": np.int64, "bool": np.bool_}


def array_from(field: Field, value: Any, sizes: dict[str, int | None]) -> NDArray[Any]:
    """Check nested lists (or an array) against a field and return a read-only array.

    Parameters
    ----------
    field : Field
        Entry of `FIELDS` of kind float, int or bool.
    value : nested lists, numpy array or number
        Integers are taken for floats; nothing else is converted (no ``"3"``, no ``true``).
    sizes : dict
        Length of each axis letter; a ``None`` is filled in by the first field that has the axis.

    Returns
    -------
    array : shape given by ``field.dims``, dtype float64, int64 or bool, read-only

    Raises
    ------
    InputError
        With the path of the offending entry, e.g. ``pairs.samples[3][0]``.
    """
    if isinstance(value, np.ndarray):
        array = _array_from_numpy(field, value)
        _check_shape(field, array.shape, sizes)
    else:
        flat: list[Any] = []
        _flatten(field, value, field.dims, field.path, sizes, flat)
        shape = tuple(sizes[axis] or 0 for axis in field.dims)
        try:
            array = np.array(flat, dtype=_DTYPES[field.kind]).reshape(shape)
        except OverflowError as error:
            raise InputError(field.path, f"{field.expected} below 2^63", max(flat)) from error
    if field.kind != "bool":
        _check_limits(field, array)
    array.setflags(write=False)
    return array


def _array_from_numpy(field: Field, value: NDArray[Any]) -> NDArray[Any]:
    allowed = {"float": "fiu", "int": "iu", "bool": "b"}[field.kind]
    if value.dtype.kind not in allowed:
        raise InputError(field.path, f"an array of {field.kind}", f"dtype {value.dtype}")
    return value.astype(_DTYPES[field.kind], copy=True)


def _check_shape(field: Field, shape: tuple[int, ...], sizes: dict[str, int | None]) -> None:
    if len(shape) != len(field.dims):
        raise InputError(field.path, f"{len(field.dims)} axes [{field.dims}]", f"shape {shape}")
    for axis, length in zip(field.dims, shape, strict=True):
        check_length(field.path, axis, length, sizes)


def check_length(path: str, axis: str, length: int, sizes: dict[str, int | None]) -> None:
    """Check the length of a list against its axis; the first list of an axis fixes its size."""
    known = sizes[axis]
    noun, first = _SIZE_GIVERS[axis]
    if known is None:
        if length == 0:
            raise InputError(path, f"at least one entry ({noun})", [])
        sizes[axis] = length
    elif known != length:
        expected = f"{known} entries (one for each of the {noun}, as many as {first} has)"
        raise InputError(path, expected, f"{length} entries")


def _flatten(
    field: Field, value: Any, dims: str, path: str, sizes: dict[str, int | None], out: list[Any]
) -> None:
    if dims:
        if not isinstance(value, (list, tuple)):
            raise InputError(path, f"a list of entries {field.expected}", value)
        check_length(path, dims[0], len(value), sizes)
        for index, item in enumerate(value):
            _flatten(field, item, dims[1:], f"{path}[{index}]", sizes, out)
        return
    good = {"float": (int, float), "int": (int,), "bool": (bool,)}[field.kind]
    # bool is a subclass of int: `true` is not a number here.
    if not isinstance(value, good) or (field.kind != "bool" and isinstance(value, bool)):
        raise InputError(path, field.expected, value)
    out.append(value)


def _check_limits(field: Field, array: NDArray[Any]) -> None:
    bad = ~np.isfinite(array) | (array > field.maximum)
    bad |= (array <= field.minimum) if field.above else (array < field.minimum)
    if bad.any():
        index = tuple(int(k) for k in np.argwhere(bad)[0])
        where = field.path + "".join(f"[{k}]" for k in index)
        raise InputError(where, field.expected, array[index].item())


@dataclass(frozen=True, slots=True, kw_only=True)
class StalenessWeight:
    """Weight s(tau) of a session of staleness tau (model page, section 4).

    ``constant``: 1. ``polynomial``: (1 + tau)^-a. ``hinge``: 1 if tau <= b else 1/(a (tau-b) + 1).
    """

    kind: str = "constant"
    a: float = 0.0
    b: int = 0

    def __call__(self, staleness: NDArray[Any] | float) -> NDArray[np.float64]:
        """Weight of each staleness; shape as given, in (0, 1]."""
        tau = np.asarray(staleness, dtype=float)
        if self.kind == "polynomial":
            return np.asarray((1.0 + tau) ** -self.a)
        if self.kind == "hinge":
            return np.where(tau <= self.b, 1.0, 1.0 / (self.a * np.maximum(tau - self.b, 0) + 1.0))
        return np.ones_like(tau)

    def to_dict(self) -> dict[str, Any]:
        """Return the table a file holds."""
        keys = {"constant": (), "polynomial": ("a",), "hinge": ("a", "b")}[self.kind]
        return {"kind": self.kind, **{key: getattr(self, key) for key in keys}}

    @classmethod
    def from_dict(cls, value: Any, path: str) -> StalenessWeight:
        """Read a table such as ``{"kind": "hinge", "a": 0.5, "b": 2}``.

        Raises
        ------
        InputError
            On an unknown kind, a missing or unknown key, or a value out of range.
        """
        if not isinstance(value, dict):
            raise InputError(path, "a table with the key kind", value)
        kind = value.get("kind")
        needed = {"constant": set(), "polynomial": {"a"}, "hinge": {"a", "b"}}
        if not isinstance(kind, str) or kind not in needed:
            raise InputError(f"{path}.kind", "constant, polynomial or hinge", kind)
        for key in value:
            if key != "kind" and key not in needed[kind]:
                raise InputError(f"{path}.{key}", f"only {_keys(needed[kind])}", key)
        for key in sorted(needed[kind]):
            entry = value.get(key)
            good = (int,) if key == "b" else (int, float)
            number = isinstance(entry, good) and not isinstance(entry, bool)
            if not number or not 0 <= entry < np.inf:  # type: ignore[operator]
                words = "an integer >= 0" if key == "b" else "a finite number >= 0"
                raise InputError(f"{path}.{key}", words, entry)
        return cls(kind=kind, a=float(value.get("a", 0.0)), b=int(value.get("b", 0)))


def _keys(names: set[str]) -> str:
    return "kind" + "".join(f", {name}" for name in sorted(names))


def weights_from(value: Any, num_tasks: int) -> tuple[StalenessWeight, ...]:
    """Read the list of staleness weights, one a task."""
    path = "tasks.staleness_weight"
    if not isinstance(value, (list, tuple)):
        raise InputError(path, f"a list of {num_tasks} tables", value)
    check_length(path, "J", len(value), {"J": num_tasks})
    return tuple(
        item
        if isinstance(item, StalenessWeight)
        else StalenessWeight.from_dict(item, f"{path}[{index}]")
        for index, item in enumerate(value)
    )
