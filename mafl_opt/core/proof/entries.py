"""Entries of a certificate, checked one by one and refused with their path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError

__all__ = ["listed", "number", "prices", "table", "whole", "wholes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def table(path: str, value: Any, keys: Sequence[str]) -> Mapping[str, Any]:
    """Return a table that has all the keys."""
    if not isinstance(value, Mapping):
        raise InputError(path, "a table with " + ", ".join(keys), value)
    for key in keys:
        if key not in value:
            raise InputError(f"{path}.{key}", "an entry", None, "the key is missing")
    return value


def listed(path: str, value: Any, what: str, size: int | None = None) -> Sequence[Any]:
    """Return a list, of `size` entries if given."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise InputError(path, f"a list of {what}", value)
    if size is not None and len(value) != size:
        raise InputError(path, f"a list of {size} {what}", f"{len(value)} entries")
    return value


def number(path: str, value: Any) -> float:
    """Return a finite number."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    # Integers may be too long for a float.
    if not good or not (-1e308 <= value <= 1e308):
        raise InputError(path, "a finite number", value)
    return float(value)


def whole(path: str, value: Any, low: int, high: int) -> int:
    """Return an integer within its limits, both included."""
    if type(value) is not int or not low <= value <= high:
        raise InputError(path, f"an integer from {low} to {high}", value)
    return value


def prices(path: str, value: Any, shape: tuple[int, ...]) -> Floats:
    """Return numbers >= 0 of the given shape."""
    rows = listed(path, value, "entries", shape[0])
    if len(shape) > 1:
        return np.array([prices(f"{path}[{k}]", row, shape[1:]) for k, row in enumerate(rows)])
    if set(map(type, rows)) <= {float}:
        numbers = np.array(rows)
    else:
        numbers = np.array([number(f"{path}[{k}]", entry) for k, entry in enumerate(rows)])
    for k in np.flatnonzero(~(numbers >= 0) | ~np.isfinite(numbers))[:1]:
        number(f"{path}[{k}]", numbers[k].item())
        raise InputError(f"{path}[{k}]", "a number >= 0", numbers[k].item())
    return numbers


def wholes(path: str, value: Any, size: int | None, low: int, high: int) -> Ints:
    """Return integers within their limits, both included."""
    rows = listed(path, value, "entries", size)
    if not set(map(type, rows)) <= {int} or (rows and not low <= min(rows) <= max(rows) <= high):
        for k, entry in enumerate(rows):
            whole(f"{path}[{k}]", entry, low, high)
    return np.array(rows, dtype=np.int64)
