"""MATLAB files of version 5 to 7.2: arrays of numbers, every length checked before it is believed.

A reader of our own because some damaged files end scipy's in a segmentation fault. The format is a
header of 128 bytes and then elements, each a tag (type, bytes) with its data; an array is an
element that holds four others: flags, lengths, name, numbers; it may be compressed as a whole.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError

__all__ = ["read_matlab"]

_HEADER, _TAG = 128, 8
_INT32, _UINT32, _INT8, _MATRIX, _COMPRESSED = 5, 6, 1, 14, 15
#: Numbers as they are stored.
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
           13: "u8"}  # fmt: skip
#: Classes of arrays of plain numbers: double, single and the integers.
_NUMERIC = range(6, 16)
_COMPLEX = 0x0800
_MAX_AXES, _MAX_NAME = 8, 64
#: Enough for tags, flags, lengths and name of any array that is read.
_HEAD = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """What stands before the numbers of an array: `start` is where they begin."""

    name: str
    shape: tuple[int, ...]
    stored: int
    size: int
    start: int


def read_matlab(path: Path, names: Collection[str], *, limit: int) -> dict[str, NDArray[Any]]:
    """Read some arrays of a file; the others are skipped.

    Parameters
    ----------
    path : Path
    names : collection of str
        Arrays to read; those the file does not hold are missing in the result.
    limit : int
        Most bytes of one array.

    Returns
    -------
    arrays : dict
        As stored, a whole number in a byte may come back as one; axes as in MATLAB, read-only.

    Raises
    ------
    InputError
        If the file is missing or no such file, an element is longer than what is left of the file,
        the bytes of an array are not those of its shape or above the limit, or it is no array of
        plain numbers.
    """
    try:
        with path.open("rb") as stream:
            return _read(stream, path, names, limit)
    except OSError as error:
        raise InputError(str(path), "a readable file", error.strerror) from error


def _read(
    stream: IO[bytes], path: Path, names: Collection[str], limit: int
) -> dict[str, NDArray[Any]]:
    order = _byte_order(stream.read(_HEADER), path)
    left = path.stat().st_size - _HEADER
    found: dict[str, NDArray[Any]] = {}
    while left > 0:
        tag = stream.read(_TAG)
        kind, size = struct.unpack(order + "II", tag) if len(tag) == _TAG else (0, left)
        left -= _TAG
        if kind not in (_MATRIX, _COMPRESSED) or size > left:
            place = f"{kind} of {size} bytes with {max(left, 0)} left"
            raise InputError(str(path), "an array that fits into the file", f"type {place}")
        body = stream.read(size)
        left -= size
        if len(body) != size:
            raise InputError(str(path), f"{size} bytes of an array", f"{len(body)} bytes")
        array = _array(body, order, path, names, limit, packed=kind == _COMPRESSED)
        if array is None:
            continue
        if array[0] in found:
            raise InputError(str(path), f"one array {array[0]}", "two")
        found[array[0]] = array[1]
    return found


def _byte_order(header: bytes, path: Path) -> str:
    for mark, order in ((b"IM", "<"), (b"MI", ">")):
        if header[126:] == mark and struct.unpack(order + "H", header[124:126]) == (0x0100,):
            return order
    raise InputError(str(path), "a MATLAB file, version 5 to 7.2", header[:20] or "an empty file")


def _array(
    body: bytes, order: str, path: Path, names: Collection[str], limit: int, *, packed: bool
) -> tuple[str, NDArray[Any]] | None:
    """Return name and array of an element, ``None`` for one that is not asked for."""
    if packed:
        stream = zlib.decompressobj()
        text = _inflate(stream, body, _TAG + _HEAD, path)
        if len(text) < _TAG or struct.unpack_from(order + "I", text)[0] != _MATRIX:
            raise InputError(str(path), "an array in a compressed element", "something else")
        head = _head(text[_TAG:], order, path, names)
    else:
        head = _head(body[:_HEAD], order, path, names)
    if head is None:
        return None
    where = f"{path}: {head.name}"
    dtype = np.dtype(order + _STORED[head.stored])
    size = math.prod(head.shape) * dtype.itemsize
    if size > limit:
        raise InputError(where, f"at most {limit} bytes of data", size)
    if size != head.size:
        shape = " x ".join(map(str, head.shape))
        raise InputError(where, f"{size} bytes ({shape})", f"{head.size} bytes")
    if packed:
        missing = _TAG + head.start + size - len(text)
        if missing > 0:
            text += _inflate(stream, stream.unconsumed_tail, missing, path)
        # A few bytes of padding, and the checksum behind them.
        _inflate(stream, stream.unconsumed_tail, _TAG, path)
        if not stream.eof:
            raise InputError(where, f"the end of the array after {size} bytes", "more, or a cut")
        body = text[_TAG:]
    numbers = body[head.start : head.start + size]
    if len(numbers) != size:
        raise InputError(where, f"{size} bytes of data", f"{len(numbers)} bytes")
    return head.name, np.frombuffer(numbers, dtype=dtype).reshape(head.shape, order="F")


def _inflate(stream: zlib._Decompress, packed: bytes, most: int, path: Path) -> bytes:
    try:
        return stream.decompress(packed, most)
    except zlib.error as error:
        raise InputError(str(path), "compressed data", str(error)) from error


def _head(text: bytes, order: str, path: Path, names: Collection[str]) -> _Head | None:
    """Read flags, lengths and name of an array, and the tag of its numbers."""
    flags, at = _part(text, 0, order, path, _UINT32, 8)
    lengths, at = _part(text, at, order, path, _INT32, 4 * _MAX_AXES)
    letters, at = _part(text, at, order, path, _INT8, _MAX_NAME)
    name = letters.decode("latin-1")
    if name not in names:
        return None
    bits = struct.unpack_from(order + "I", flags)[0] if len(flags) == 8 else 0
    shape = struct.unpack(f"{order}{len(lengths) // 4}i", lengths[: len(lengths) // 4 * 4])
    if bits & 0xFF not in _NUMERIC or bits & _COMPLEX or len(shape) < 2 or min(shape) < 0:
        found = f"class {bits & 0xFF} of shape {shape}"
        raise InputError(f"{path}: {name}", "an array of plain numbers", found)
    stored, size, start = _tag(text, at, order, path)
    if stored not in _STORED:
        raise InputError(f"{path}: {name}", "numbers", f"type {stored}")
    return _Head(name=name, shape=shape, stored=stored, size=size, start=start)


def _part(text: bytes, at: int, order: str, path: Path, kind: int, most: int) -> tuple[bytes, int]:
    """Return the data of a small part of an array and where the next one begins."""
    found, size, start = _tag(text, at, order, path)
    if found != kind or size > most or start + size > len(text):
        place = f"type {found} of {size} bytes"
        raise InputError(str(path), f"type {kind} of at most {most} bytes", place)
    end = start + size
    # The short form fills eight bytes with its tag; the long form is padded to eight.
    return text[start:end], at + 8 if start == at + 4 else end + -end % 8


def _tag(text: bytes, at: int, order: str, path: Path) -> tuple[int, int, int]:
    """Return type, bytes and place of the data of the element at a place."""
    if at + _TAG > len(text):
        raise InputError(str(path), "a whole array", "one that is cut short")
    kind, size = struct.unpack_from(order + "II", text, at)
    if kind >> 16:
        return kind & 0xFFFF, min(kind >> 16, 4), at + 4
    return kind, size, at + _TAG
