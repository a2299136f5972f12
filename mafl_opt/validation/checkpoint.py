"""Checkpoints: a run's snapshot in one file, without code in it.

The file is an uncompressed ``.npz``: one JSON text and one array a tensor. Reading it builds only
the classes that the reader names, never unpickles, and takes no more memory than the file has
bytes. Floats and tensors come back bit for bit.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import atomic_path, parse_json

__all__ = ["load_checkpoint", "require_checkpoint_name", "save_checkpoint"]

FORMAT = "mafl-opt checkpoint 1"
MAX_BYTES = 1 << 34
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
    text = np.frombuffer(json.dumps(content, allow_nan=False).encode(), dtype=np.uint8)
    with atomic_path(target) as temporary, temporary.open("wb") as stream:
        np.savez(stream, text=text, **writer.arrays)  # type: ignore[arg-type]


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
    arrays = _read_arrays(source)
    if "text" not in arrays or arrays["text"].dtype != np.uint8:
        raise InputError(str(source), "a checkpoint", "an archive without its text")
    try:
        text = arrays.pop("text").tobytes().decode()
    except UnicodeDecodeError as error:
        raise InputError(str(source), "UTF-8 text", f"byte {error.start} is not") from error
    content = parse_json(text, str(source))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(str(source), FORMAT, "something else")
    if content.get("identity") != identity:
        hint = "scenario, plan, data, options and seed must be those of the run that wrote it"
        raise InputError(str(source), "a checkpoint of this run", "one of another run", hint)
    dtype = torch.zeros(0, dtype=like.dtype).numpy().dtype
    allowed = set(shapes)
    for name, array in arrays.items():
        if array.shape not in allowed or array.dtype != dtype:
            expected = f"{dtype} of a shape among {sorted(allowed)}"
            raise InputError(f"{source}: {name}", expected, f"{array.dtype} of {array.shape}")
    tensors = {name: torch.from_numpy(array).to(like.device) for name, array in arrays.items()}
    return _Reader(str(source), tensors, {kind.__name__: kind for kind in classes}).decode(
        content.get("snapshot")
    )


def _read_arrays(source: Path) -> dict[str, NDArray[Any]]:
    try:
        size = source.stat().st_size
        if size > MAX_BYTES:
            raise InputError(str(source), f"at most {MAX_BYTES} bytes", size)
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
            if not stored or sum(member.file_size for member in members) > size:
                raise InputError(str(source), "an archive that is not compressed", "another")
            if len(members) > MAX_TENSORS:
                raise InputError(str(source), f"at most {MAX_TENSORS} arrays", len(members))
        with np.load(source, allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(str(source), "a checkpoint", str(error)) from error
    except OSError as error:
        raise InputError(str(source), "a readable file", error.strerror or str(error)) from error


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
        if kind == "dict" and isinstance(content, list):
            return {self.decode(key): self.decode(entry) for key, entry in content}
        if isinstance(kind, str) and kind in self.classes and isinstance(content, dict):
            made = self.classes[kind]
            names = {field.name for field in fields(made)}
            if set(content) == names:
                return made(**{name: self.decode(entry) for name, entry in content.items()})
        raise InputError(f"{self.source}: {kind}", "part of a snapshot", content)
