"""Data sets of torch: any map-style `torch.utils.data.Dataset` becomes a `DataSet`."""

from __future__ import annotations

import math
from collections.abc import Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, IterableDataset

from mafl_opt.core.errors import InputError
from mafl_opt.validation.data import DataSet, build_data_set, split_rows

__all__ = ["data_set_from_torch"]

#: Bytes of all inputs of one part as float32.
MAX_BYTES = 1 << 33


def data_set_from_torch(
    name: str, train: Dataset[Any], test: Dataset[Any] | None = None
) -> DataSet:
    """Read a data set of torch into memory, standardised.

    An entry is (input, label). Inputs are tensors or arrays of one shape, (features,) or (channels,
    height, width), or images of PIL; (height, width) gets one channel. Transformations that draw
    anew at each access are seen once.

    Parameters
    ----------
    name : str
    train : torch.utils.data.Dataset
        Map-style: it has a length and takes an index.
    test : torch.utils.data.Dataset, optional
        Without it, 20 % of `train` are held back, always the same ones.

    Raises
    ------
    InputError
        If a part has no length, is empty or too large, or an entry is of another form than the
        first; the size is worked out from the first entry before the rest is read.
    """
    first = _read(f"data.{name}.train", train)
    if test is None:
        keep, held = split_rows(len(first[1]))
        parts = [(first[0][rows], first[1][rows]) for rows in (keep, held)]
        if not all(len(labels) for _, labels in parts):
            raise InputError(f"data.{name}.train", "enough entries to split", len(first[1]))
    else:
        parts = [first, _read(f"data.{name}.test", test)]
    kind = "image" if first[0].ndim == 4 else "tabular"
    return build_data_set(name, kind, parts[0], parts[1])


def _read(path: str, part: Dataset[Any]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if isinstance(part, IterableDataset) or not isinstance(part, Sized):
        raise InputError(path, "a map-style Dataset, with a length", type(part).__name__)
    count = len(part)
    if count < 1:
        raise InputError(path, "at least one entry", count)
    shape = _entry(f"{path}[0]", part[0])[0].shape
    total = 4 * count * math.prod(shape)
    if total > MAX_BYTES:
        raise InputError(path, f"at most {MAX_BYTES} bytes as float32", total)
    inputs = np.empty((count, *shape), dtype=np.float32)
    labels = np.empty(count, dtype=np.int64)
    for k in range(count):
        array, labels[k] = _entry(f"{path}[{k}]", part[k])
        if array.shape != shape:
            raise InputError(f"{path}[{k}]", f"shape {shape}, as entry 0", f"shape {array.shape}")
        inputs[k] = array
    return inputs, labels


def _entry(path: str, entry: Any) -> tuple[NDArray[Any], int]:
    if not isinstance(entry, (tuple, list)) or len(entry) != 2:
        raise InputError(path, "a pair (input, label)", type(entry).__name__)
    array = np.asarray(entry[0])
    if array.dtype.kind not in "fiub":
        raise InputError(path, "an input of numbers", f"dtype {array.dtype}")
    # An image of PIL knows its mode, and has its channels last.
    if hasattr(entry[0], "mode") and array.ndim == 3:
        array = array.transpose(2, 0, 1)
    if array.ndim == 2:
        array = array[None]
    if array.ndim not in (1, 3):
        raise InputError(path, "(features,) or (channels, height, width)", f"shape {array.shape}")
    label = np.asarray(entry[1])
    if label.dtype.kind not in "iu" or label.size != 1 or label.item() < 0:
        raise InputError(path, "a label, an integer >= 0", entry[1])
    return array, int(label.item())
