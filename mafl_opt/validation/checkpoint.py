"""Checkpoints: a run's snapshot in one file, without code in it.

The file is an uncompressed ``.npz``: one JSON text and one array a tensor. Reading it builds only
the classes that the reader names, never unpickles, and takes no more memory than the file has
bytes. Floats and tensors come back bit for bit; a digest of all of them is kept beside them, so
that a state that no run has written is not gone on from.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mafl_opt.core.archive import Archive, write_archive
from mafl_opt.core.errors import InputError

__all__ = ["load_checkpoint", "require_checkpoint_name", "save_checkpoint"]

FORMAT = "mafl-opt checkpoint 2"
MAX_TEXT_BYTES = 1 << 30
MAX_TENSORS = 1 << 16
_TYPE, _VALUE = "type", "value"


def require_checkpoint_name(path: str | os.PathLike[str]) -> Path:
    """Return the path of a checkpoint; its name must end in ``.npz``."""
    target = Path(path)
    if target.suffix != ".npz":
        raise InputError(str(target), "a name ending in .npz", target.suffix)
    return target


def save_checkpoint(path: str | os.PathLike[str], snapshot: object, identity: str) -> None:
    """Write a snapshot whole or not at all.

    Parameters
    ----------
    path : path ending in ``.npz``
    snapshot : nested frozen dataclasses, tuples, dicts, numbers, words and tensors
    identity : str
        Digest of everything that must be the same when the run goes on.
    """
    target = require_checkpoint_name(path)
    writer = _Writer()
    content = {"format": FORMAT, "identity": identity, "snapshot": writer.encode(snapshot)}
    content["digest"] = _digest(content["snapshot"], writer.arrays)
    text = np.frombuffer(json.dumps(content, allow_nan=False).encode(), dtype=np.uint8)
    write_archive(target, {"text": text, **writer.arrays})


def load_checkpoint(
    path: str | os.PathLike[str],
    classes: Iterable[type],
    identity: str,
    *,
    shapes: Iterable[tuple[int, ...]],
    like: Tensor,
) -> Any:
    """Read a snapshot back.

    Parameters
    ----------
    path : path
    classes : iterable of type
        Dataclasses that the snapshot may hold.
    identity : str
        Of the run that goes on.
    shapes : iterable of tuple
        Shapes a tensor may have.
    like : Tensor
        Of the dtype and on the device of every tensor.

    Raises
    ------
    InputError
        If the file is missing, damaged, no checkpoint, or of another run.
    """
    source = require_checkpoint_name(path)
    dtype = torch.zeros(0, dtype=like.dtype).numpy().dtype
    with Archive(source) as archive:
        names = [name for name in archive.names if name != "text"]
        if len(names) > MAX_TENSORS:
            raise archive.wrong("", f"at most {MAX_TENSORS} arrays", len(names))
        content = archive.table("text", MAX_TEXT_BYTES)
        if content.get("format") != FORMAT:
            raise archive.wrong("text", FORMAT, content.get("format"))
        if content.get("identity") != identity:
            hint = "scenario, plan, data, options and seed must be those of the run that wrote it"
            raise InputError(str(source), "a checkpoint of this run", "one of another run", hint)
        arrays = {name: archive.array(name, dtype, *set(shapes), exact=None) for name in names}
        snapshot = content.get("snapshot")
        if content.get("digest") != _digest(snapshot, arrays):
            raise archive.wrong("text", "the digest of what the file holds", content.get("digest"))
    # torch takes no arrays that are read-only.
    tensors = {n: torch.from_numpy(array.copy()).to(like.device) for n, array in arrays.items()}
    return decode_snapshot(snapshot, str(source), tensors, classes)


def decode_snapshot(
    value: Any, source: str, tensors: Mapping[str, Tensor], classes: Iterable[type]
) -> Any:
    """Build a snapshot from the plain values a file holds.

    Raises
    ------
    InputError
        If they are not what a run has written.
    """
    reader = _Reader(source, tensors, {kind.__name__: kind for kind in classes})
    try:
        return reader.decode(value)
    except RecursionError as error:
        raise InputError(source, "a snapshot some levels deep", "hundreds of levels") from error


def _digest(snapshot: Any, arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of a snapshot's text and tensors."""
    digest = hashlib.sha256(json.dumps(snapshot, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(name.encode() + str(arrays[name].shape).encode() + arrays[name].tobytes())
    return digest.hexdigest()


class _Writer:
    """Nested values as JSON, with the tensors set apart, each stored once."""

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self._names: dict[int, str] = {}

    def encode(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            # A received model is held by many jobs; the snapshot keeps the tensors alive.
            if id(value) not in self._names:
                self._names[id(value)] = f"tensor{len(self.arrays)}"
                self.arrays[self._names[id(value)]] = value.detach().cpu().numpy()
            return {_TYPE: "Tensor", _VALUE: self._names[id(value)]}
        if is_dataclass(value):
            entries = {f.name: self.encode(getattr(value, f.name)) for f in fields(value)}
            return {_TYPE: type(value).__name__, _VALUE: entries}
        if isinstance(value, Mapping):
            pairs = [[self.encode(key), self.encode(entry)] for key, entry in value.items()]
            return {_TYPE: "dict", _VALUE: pairs}
        if isinstance(value, tuple):
            return [self.encode(entry) for entry in value]
        if isinstance(value, float) and not math.isfinite(value):
            return {_TYPE: "float", _VALUE: str(value)}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise TypeError(f"a snapshot cannot hold {type(value).__name__}")


class _Reader:
    """The way back; lists become tuples."""

    def __init__(
        self, source: str, tensors: Mapping[str, Tensor], classes: Mapping[str, type]
    ) -> None:
        self.source, self.tensors, self.classes = source, tensors, classes

    def decode(self, value: Any) -> Any:
        if isinstance(value, list):
            return tuple(self.decode(entry) for entry in value)
        if not isinstance(value, dict):
            return value
        kind, content = value.get(_TYPE), value.get(_VALUE)
        if kind == "float" and content in ("inf", "-inf", "nan"):
            return float(content)
        if kind == "Tensor" and isinstance(content, str) and content in self.tensors:
            return self.tensors[content]
        try:
            if kind == "dict" and isinstance(content, list):
                return {self.decode(key): self.decode(entry) for key, entry in content}
            if isinstance(kind, str) and kind in self.classes and isinstance(content, dict):
                made = self.classes[kind]
                if set(content) == {field.name for field in fields(made)}:
                    return made(**{name: self.decode(entry) for name, entry in content.items()})
        except InputError:
            raise
        # No pairs, no keys, or entries that the class does not take: tensors for numbers, say.
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise InputError(f"{self.source}: {kind}", "part of a snapshot", str(error)) from error
        raise InputError(f"{self.source}: {kind}", "part of a snapshot", content)
