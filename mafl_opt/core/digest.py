"""Digests of a resolved scenario, computed block by block."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.fields import StalenessWeight

__all__ = ["array_digest", "text_digest"]

#: Numbers handled at once.
_BLOCK = 1 << 18
#: First bytes of what is hashed; another layout gets another number.
_LAYOUT = b"mafl-opt scenario 2\n"
#: Types of the numbers, the same on every machine.
_TYPES = {"f": "<f8", "i": "<i8", "b": "|u1"}


def array_digest(entries: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a scenario's numbers, by which plans name it.

    What is hashed is a line of text that names the layout; then, for each field in the order of
    the mapping, the JSON text ``[path, type, shape]``, a line end, and the bytes of the array,
    little-endian and row by row. Entries that are no numbers (names, staleness weights) are hashed
    as their JSON text in place of ``[path, type, shape]``. Negative zeros count as zeros.

    Parameters
    ----------
    entries : mapping
        Arrays, numbers and tuples by dotted path.
    """
    digest = hashlib.sha256(_LAYOUT)
    for path, value in entries.items():
        if isinstance(value, tuple):
            digest.update(json.dumps([path, _plain(value)]).encode() + b"\n")
            continue
        array = np.asarray(value)
        kind = _TYPES[array.dtype.kind]
        digest.update(json.dumps([path, kind, list(array.shape)]).encode() + b"\n")
        for block in _blocks(np.atleast_1d(array)):
            numbers = block + 0.0 if kind == "<f8" else block
            digest.update(np.ascontiguousarray(numbers, dtype=kind).tobytes())
    return digest.hexdigest()


def text_digest(groups: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a scenario as JSON text with sorted keys and no blanks.

    Plans written before the digest of arrays name their scenario by this one, which costs some
    microseconds a number.

    Parameters
    ----------
    groups : mapping
        Nested like the JSON of a scenario, with arrays in place of lists.
    """
    digest = hashlib.sha256()
    for piece in _pieces(groups):
        digest.update(piece.encode())
    return digest.hexdigest()


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for index, key in enumerate(sorted(value)):
            yield f"{',' if index else '{'}{json.dumps(key)}:"
            yield from _pieces(value[key])
        yield "}"
    elif isinstance(value, np.ndarray):
        for index, block in enumerate(_blocks(value)):
            yield ("," if index else "[") + _text(block.tolist())[1:-1]
        yield "]"
    else:
        yield _text(_plain(value) if isinstance(value, tuple) else value)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _plain(value: tuple[Any, ...]) -> list[Any]:
    return [item.to_dict() if isinstance(item, StalenessWeight) else item for item in value]


def _blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield rows of an array of at least one axis, some at a time."""
    rows = max(1, _BLOCK * len(array) // max(array.size, 1))
    for first in range(0, len(array), rows):
        yield array[first : first + rows]
