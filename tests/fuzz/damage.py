"""Damage to files: at the level of bytes, of text, and of the tree that a JSON file holds."""

from __future__ import annotations

import copy
import io
import json
import math
import struct
import zipfile
from typing import Any

import numpy as np
from hypothesis import strategies as st

__all__ = ["bytes_damaged", "claiming", "text_damaged", "tree_damaged", "zip_damaged"]

_EXTREMES = (0, 1, -1, 127, 2**15, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**62, -1 * 2**62)
_ENCODINGS = ("utf-16", "utf-32", "utf-8-sig", "latin-1", "utf-7")
_WORDS = (
    "nan", "inf", "-1", "1e400", "true", "null", "{}", "[", "]", ",", ",,", "\n", "\r", "\0", '"',
    "'''", "=", "[[x]]", "a.b.c=1", "0x10", "1_000", "9" * 30, "9" * 5000, "\ufeff", "\ud7ff",
    "\U0010ffff", "#", "12:30:00", "2020-01-01", "[fleet]", "seed=-1", "slots=1000000000000",
)  # fmt: skip


def _deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


#: What no field wants, or only some.
_VALUES = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e-320, 1e308, -1e308, 2**31, 2**53, 2**62, 2**63,
    -(2**63), 10**12, 10**400, math.nan, math.inf, -math.inf, "", "x", "3", "\0", "\ud800",
    "a" * 200, "tree", [], {}, [[]], [0], [1.5, 2], {"kind": "constant"}, {"": 0}, _deep(50),
)  # fmt: skip


@st.composite
def bytes_damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Flip, cut, insert, repeat or overwrite bytes, up to four times."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        how = draw(st.sampled_from(("flip", "put", "cut", "drop", "insert", "repeat", "number")))
        length = draw(st.integers(1, 16))
        if how == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "put" and data:
            data[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del data[at:]
        elif how == "drop":
            del data[at : at + length]
        elif how == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif how == "repeat":
            data[at:at] = data[at : at + length] * draw(st.integers(1, 40))
        else:
            kind = draw(st.sampled_from(("<i", ">i", "<q", ">q")))
            size = 32 if kind[1] == "i" else 64
            value = draw(st.sampled_from(_EXTREMES))
            value = (value + 2 ** (size - 1)) % 2**size - 2 ** (size - 1)
            data[at : at + size // 8] = struct.pack(kind, value)
    return bytes(data)


@st.composite
def text_damaged(draw: st.DrawFn, whole: str) -> bytes:
    """Put words where they do not belong, repeat or swap lines, or encode the text otherwise."""
    text = whole
    for _ in range(draw(st.integers(1, 3))):
        how = draw(st.sampled_from(("word", "number", "line", "drop", "swap", "encode")))
        lines = text.splitlines(keepends=True) or [""]
        k = draw(st.integers(0, len(lines) - 1))
        at = draw(st.integers(0, len(text)))
        if how == "word":
            text = text[:at] + draw(st.sampled_from(_WORDS)) + text[at:]
        elif how == "number":
            digits = [n for n, letter in enumerate(text) if letter.isdigit()] or [0]
            place = draw(st.sampled_from(digits))
            text = text[:place] + draw(st.sampled_from(_WORDS)) + text[place + 1 :]
        elif how == "line":
            text = "".join([*lines[: k + 1], *lines[k:]])
        elif how == "drop":
            text = "".join(lines[:k] + lines[k + 1 :])
        elif how == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[k], lines[other] = lines[other], lines[k]
            text = "".join(lines)
        else:
            return text.encode(draw(st.sampled_from(_ENCODINGS)), errors="replace")
    return text.encode()


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all entries, the root's first."""
    out = [path]
    if isinstance(value, dict):
        for key in value:
            out += _places(value[key], (*path, key))
    elif isinstance(value, list):
        for k, entry in enumerate(value):
            out += _places(entry, (*path, k))
    return out


def _value(draw: st.DrawFn) -> Any:
    """Draw a value of its own, which later damage does not change for the next case."""
    return copy.deepcopy(draw(st.sampled_from(_VALUES)))


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        tree = tree[step]
    return tree


@st.composite
def tree_damaged(draw: st.DrawFn, whole: Any) -> Any:
    """Replace, drop, repeat, rename, wrap or swap entries of a tree, up to three times."""
    tree = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(tree)
        path = draw(st.sampled_from(places))
        if not path:
            tree = _value(draw) if draw(st.booleans()) else tree
            continue
        parent, key = _at(tree, path[:-1]), path[-1]
        how = draw(st.sampled_from(("put", "put", "drop", "repeat", "rename", "wrap", "swap")))
        if how == "put":
            parent[key] = _value(draw)
        elif how == "drop":
            del parent[key]
        elif how == "repeat" and isinstance(parent, list):
            parent[key:key] = [copy.deepcopy(parent[key])] * draw(st.integers(1, 5))
        elif how == "rename" and isinstance(parent, dict):
            parent[draw(st.sampled_from(("x", "", "kind", "\ud800", "at")))] = parent.pop(key)
        elif how == "wrap":
            parent[key] = [parent[key]]
        else:
            other = _at(tree, draw(st.sampled_from(places)))
            parent[key] = copy.deepcopy(other)
    return tree


def json_bytes(draw: st.DrawFn, tree: Any) -> bytes:
    """Write a tree as JSON that may hold NaN, a key twice, or ever deeper lists."""
    text = json.dumps(tree)
    how = draw(st.sampled_from(("plain",) * 6 + ("twice", "deep")))
    if how == "twice" and isinstance(tree, dict) and tree:
        key = json.dumps(draw(st.sampled_from(sorted(tree))))
        text = f"{{{key}: 1, {text[1:]}"
    elif how == "deep":
        levels = draw(st.sampled_from((5, 200, 5000)))
        text = text.replace("1", "[" * levels + "]" * levels, 1)
    return text.encode()


@st.composite
def json_damaged(draw: st.DrawFn, whole: Any) -> bytes:
    """Damage a tree and write it as JSON."""
    return json_bytes(draw, draw(tree_damaged(whole)))


@st.composite
def zip_damaged(draw: st.DrawFn, whole: bytes, text: str) -> bytes:
    """Damage arrays of an .npz and the JSON inside it (array `text`); checksums are right again."""
    with np.load(io.BytesIO(whole), allow_pickle=False) as found:
        arrays = dict(found)
    names, tree = sorted(arrays), json.loads(bytes(arrays[text]))
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(names))
        if name not in arrays:
            continue
        how = draw(st.sampled_from(("text", "drop", "shape", "kind", "value", "other")))
        array = arrays[name]
        if how == "text" or (name == text and how == "value"):
            made = json_bytes(draw, draw(tree_damaged(tree)))
            arrays[text] = np.frombuffer(made, np.uint8)
        elif how == "drop":
            del arrays[name]
        elif how == "shape":
            arrays[name] = draw(st.sampled_from((array[:-1], array[None], array.reshape(-1)[:0])))
        elif how == "kind" and array.dtype.kind in "fiu":
            kind = draw(st.sampled_from(("f4", "f8", "i8", "u1", "<U3", "?", "c16")))
            with np.errstate(all="ignore"):
                arrays[name] = array.astype(kind)
        elif how == "value" and array.size and array.dtype.kind in "fiu":
            flat = array.copy().reshape(-1)
            value = draw(st.sampled_from((0, -1, 1e308, math.nan, math.inf, 2**31 - 1, 77)))
            if flat.dtype.kind == "f" or (math.isfinite(value) and abs(value) < 2**31):
                at = draw(st.integers(0, flat.size - 1))
                with np.errstate(all="ignore"):
                    flat[at] = np.array(value).astype(flat.dtype)
            arrays[name] = flat.reshape(array.shape)
        elif how == "other":
            arrays[draw(st.sampled_from(("x", "../x", "text", "header")))] = array
    out = io.BytesIO()
    packing = draw(
        st.sampled_from((zipfile.ZIP_STORED,) * 5 + (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    )
    claims = draw(st.booleans()) and draw(st.booleans())
    with zipfile.ZipFile(out, "w", packing) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=False)
            content = member.getvalue()
            if claims:
                content = claiming(content, draw(st.sampled_from((10**12, 10**18, 10**30, -1))))
            archive.writestr(f"{name}.npy", content)
    return out.getvalue()


def claiming(member: bytes, count: int) -> bytes:
    """Return a .npy whose header claims a number of entries that are not there."""
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({count},), }}"
    padded = head.ljust(117) + "\n"
    return member[:8] + struct.pack("<H", len(padded)) + padded.encode() + b"12345678"
