"""What the replay trains on: one frozen `DataSet` a task, standardised and split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError

__all__ = ["SPLIT_SEED", "DataSet", "build_data_set", "split_rows"]

#: The split belongs to the data: it is the same for every seed of a replay.
SPLIT_SEED = 20230513

_KINDS = ("image", "tabular")
_CHUNK = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DataSet:
    """A classification task: standardised inputs and labels, read-only.

    Attributes
    ----------
    name : str
    kind : {"image", "tabular"}
    train_inputs, test_inputs : (samples, channels, height, width) or (samples, features)
    train_labels, test_labels : (samples,), int64 in 0..num_classes-1
    num_classes : int
    """

    name: str
    kind: str
    train_inputs: NDArray[Any]
    train_labels: NDArray[np.int64]
    test_inputs: NDArray[Any]
    test_labels: NDArray[np.int64]
    num_classes: int

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InputError(f"data.{self.name}.kind", "image or tabular", self.kind)
        axes = 4 if self.kind == "image" else 2
        for part in ("train", "test"):
            path = f"data.{self.name}.{part}"
            inputs, labels = getattr(self, f"{part}_inputs"), getattr(self, f"{part}_labels")
            if inputs.ndim != axes or inputs.dtype.kind != "f":
                found = f"{inputs.dtype} with {inputs.ndim} axes"
                raise InputError(f"{path}_inputs", f"floats with {axes} axes", found)
            if inputs.shape[1:] != self.input_shape or not len(inputs):
                expected = f"at least one input of shape {self.input_shape}"
                raise InputError(f"{path}_inputs", expected, f"shape {inputs.shape}")
            if labels.shape != (len(inputs),) or labels.dtype != np.int64:
                found = f"{labels.dtype} of shape {labels.shape}"
                raise InputError(f"{path}_labels", f"{len(inputs)} int64 labels", found)
            if labels.min() < 0 or labels.max() >= self.num_classes:
                found = f"{labels.min()}..{labels.max()}"
                raise InputError(f"{path}_labels", f"labels 0..{self.num_classes - 1}", found)
            if not np.isfinite(inputs).all():
                raise InputError(f"{path}_inputs", "finite numbers", "NaN or infinity")
            inputs.setflags(write=False)
            labels.setflags(write=False)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.train_inputs.shape[1:])


def build_data_set(
    name: str,
    kind: str,
    train: tuple[NDArray[Any], NDArray[Any]],
    test: tuple[NDArray[Any], NDArray[Any]],
) -> DataSet:
    """Standardise inputs with the train part's statistics only and freeze the set.

    Images are standardised a channel, tables a column; a constant one is only centred. Statistics
    are taken in float64 and chunk by chunk, so that raw bytes never stand in memory as floats of
    eight bytes.

    Parameters
    ----------
    train, test : (inputs, labels)
        Raw numbers; images as (samples, channels, height, width).
    """
    axes = (0, 2, 3) if kind == "image" else (0,)
    mean = train[0].mean(axis=axes, keepdims=True, dtype=np.float64)
    squares = sum(
        ((chunk - mean) ** 2).sum(axis=axes, keepdims=True) for chunk in _chunks(train[0])
    )
    deviation = np.sqrt(squares * mean.size / train[0].size)
    deviation[deviation == 0] = 1.0
    labels = train[1].astype(np.int64), test[1].astype(np.int64)

    def standardise(raw: NDArray[Any]) -> NDArray[np.float32]:
        out = np.empty(raw.shape, dtype=np.float32)
        for chunk, target in zip(_chunks(raw), _chunks(out), strict=True):
            target[:] = (chunk - mean) / deviation
        return out

    return DataSet(
        name=name,
        kind=kind,
        train_inputs=standardise(train[0]),
        train_labels=labels[0],
        test_inputs=standardise(test[0]),
        test_labels=labels[1],
        num_classes=int(max(part.max() for part in labels)) + 1,
    )


def _chunks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for first in range(0, len(array), _CHUNK):
        yield array[first : first + _CHUNK]


def split_rows(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split row numbers 80/20 into train and test, always the same way."""
    order = np.random.default_rng(SPLIT_SEED).permutation(count)
    held = round(0.2 * count)
    return np.sort(order[held:]), np.sort(order[:held])
