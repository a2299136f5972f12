"""Random numbers for scenario fields: distributions, splits of samples, channel gains."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.fields import Field, array_from

__all__ = ["SAMPLERS", "apportion", "draw_gain", "generator", "split_total"]

Array = NDArray[Any]
Shape = tuple[int, ...]
Sizes = Mapping[str, int]
Table = dict[str, Any]


def generator(seed: int, path: str) -> np.random.Generator:
    """Return the stream of one field or entry of a file."""
    # crc32 and not hash(): the same in every process and on every machine.
    return np.random.default_rng([seed, zlib.crc32(path.encode())])


def _number(value: Any, path: str, *, above: float = -math.inf, least: float = -math.inf) -> Any:
    words = "a finite number"
    words += f" > {above:g}" if math.isfinite(above) else ""
    words += f" >= {least:g}" if math.isfinite(least) else ""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    # Beyond 1e300 the difference of two ends would overflow.
    if not good or not abs(value) < 1e300 or value < least or value <= above:
        raise InputError(path, words, value)
    return float(value)


def _integer(value: Any, path: str, *, least: int | None = None) -> int:
    good = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**62
    if not good or (least is not None and value < least):
        raise InputError(path, "an integer" + (f" >= {least}" if least is not None else ""), value)
    return int(value)


def _two(table: Table, key: str, path: str, check: Callable[..., Any], **limits: Any) -> Any:
    """Return the two numbers of ``key = [x, y]``."""
    value = table[key]
    if not isinstance(value, list) or len(value) != 2:
        raise InputError(f"{path}.{key}", "a list of two numbers", value)
    return tuple(check(item, f"{path}.{key}[{k}]", **limits) for k, item in enumerate(value))


def _range(table: Table, key: str, path: str, check: Callable[..., Any], **limits: Any) -> Any:
    low, high = _two(table, key, path, check, **limits)
    if low > high:
        raise InputError(f"{path}.{key}", "[lowest, highest]", table[key])
    return low, high


def _uniform(rng: np.random.Generator, shape: Shape, table: Table, field: Field) -> Array:
    low, high = _range(table, "uniform", field.path, _number)
    return np.asarray(np.clip(low + (high - low) * rng.random(shape), low, high))


def _log_uniform(rng: np.random.Generator, shape: Shape, table: Table, field: Field) -> Array:
    low, high = _range(table, "log_uniform", field.path, _number, above=0.0)
    exponent = math.log(low) + (math.log(high) - math.log(low)) * rng.random(shape)
    return np.asarray(np.clip(np.exp(exponent), low, high))


def _normal(rng: np.random.Generator, shape: Shape, table: Table, field: Field) -> Array:
    mean, spread = _two(table, "normal", field.path, _number)
    _number(spread, f"{field.path}.normal[1]", least=0.0)
    low, high = (
        _number(table[key], f"{field.path}.{key}") if key in table else missing
        for key, missing in (("min", -math.inf), ("max", math.inf))
    )
    if low > high:
        raise InputError(f"{field.path}.min", f"at most max = {high:g}", low)
    return np.asarray(np.clip(mean + spread * rng.standard_normal(shape), low, high))


def _choice(rng: np.random.Generator, shape: Shape, table: Table, field: Field) -> Array:
    path, values = f"{field.path}.choice", table["choice"]
    if not isinstance(values, list) or not values:
        raise InputError(path, "a list of at least one value", values)
    options = array_from(replace(field, group="", name=path, dims="G"), values, {"G": None})
    return np.asarray(options[rng.integers(len(values), size=shape)])


def _integers(rng: np.random.Generator, shape: Shape, table: Table, field: Field) -> Array:
    low, high = _range(table, "integers", field.path, _integer)
    return np.asarray(rng.integers(low, high, size=shape, endpoint=True))


def _probability(rng: np.random.Generator, shape: Shape, table: Table, field: Field) -> Array:
    chance = table["probability"]
    if isinstance(chance, bool) or not isinstance(chance, (int, float)) or not 0 <= chance <= 1:
        raise InputError(f"{field.path}.probability", "a number from 0 to 1", chance)
    return np.asarray(rng.random(shape) < chance)


SAMPLERS: dict[str, Callable[[np.random.Generator, Shape, Table, Field], Array]] = {
    "uniform": _uniform,
    "log_uniform": _log_uniform,
    "normal": _normal,
    "choice": _choice,
    "integers": _integers,
    "probability": _probability,
}


# -- draws of one field --------------------------------------------------------------------


def split_total(field: Field, table: Table, sizes: Sizes, seed: int) -> Array:
    """Split a task's samples over the devices by Dirichlet shares; the sum is exact.

    Each device gets ``min`` samples, and the rest in proportion to shares drawn from the
    symmetric Dirichlet distribution, rounded by largest remainders.
    """
    if "I" not in field.dims:
        raise InputError(f"{field.path}.total", "an integer (the list runs over devices)", table)
    least = _integer(table.get("min", 0), f"{field.path}.min", least=0)
    total = _integer(table["total"], f"{field.path}.total", least=0)
    # Below 1e-3 all samples land on one device anyway, and numpy's sampler underflows.
    spread = _number(table.get("dirichlet"), f"{field.path}.dirichlet", least=1e-3)
    devices = sizes["I"]
    # Up to here floating-point shares give exact counts.
    if total > 10**12:
        raise InputError(f"{field.path}.total", "at most 1e12", total)
    if total < least * devices:
        expected = f"at least min = {least} for each of {devices} devices"
        raise InputError(f"{field.path}.total", expected, total)
    shares = generator(seed, field.path).dirichlet(np.full(devices, float(spread)))
    return apportion(total - least * devices, shares) + least


def apportion(total: int, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Split `total` in proportion to shares that add up to 1, by largest remainders; exact sum."""
    exact = shares * total
    counts = np.floor(exact).astype(np.int64)
    missing = total - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return counts


def draw_gain(field: Field, table: Any, sizes: Sizes, seed: int) -> Array:
    """Draw channel power gains: path loss, log-normal shadowing, Rayleigh fading.

    Path loss 128.1 + 37.6 log10(distance / km) dB at a distance drawn uniformly once a device;
    shadowing in dB normal, once a device; fading an exponential factor of mean 1, fresh in every
    slot (model page, section on reference figures).
    """
    path = f"{field.path}.path_loss_db"
    if not isinstance(table, dict):
        raise InputError(path, "a table with distance_m, shadowing_db, fading", table)
    for key in table:
        if key not in ("distance_m", "shadowing_db", "fading"):
            expected = "one of distance_m, shadowing_db, fading"
            raise InputError(f"{path}.{key}", expected, key, "unknown key")
    if "distance_m" not in table:
        raise InputError(f"{path}.distance_m", "[lowest, highest] in m", None)
    if "G" not in field.dims:
        raise InputError(path, "one table, or one a device", "one a slot")
    low, high = _range(table, "distance_m", path, _number, above=0.0)
    shadowing = _number(table.get("shadowing_db", 0.0), f"{path}.shadowing_db", least=0.0)
    if shadowing > 100.0:
        raise InputError(f"{path}.shadowing_db", "at most 100 dB", shadowing)
    fading = table.get("fading", "none")
    if fading not in ("none", "rayleigh"):
        raise InputError(f"{path}.fading", '"rayleigh" or "none"', fading)
    devices = tuple(sizes[axis] for axis in field.dims if axis != "G")
    distance = low + (high - low) * generator(seed, f"{path}.distance_m").random(devices)
    loss_db = 128.1 + 37.6 * np.log10(distance / 1000.0)
    loss_db -= shadowing * generator(seed, f"{path}.shadowing_db").standard_normal(devices)
    factor = np.ones(tuple(sizes[axis] for axis in field.dims))
    if fading == "rayleigh":
        factor = generator(seed, f"{path}.fading").exponential(size=factor.shape)
    return np.asarray(factor * 10.0 ** (-loss_db / 10.0))
