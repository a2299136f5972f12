"""CIFAR-10 in its binary version: records of one label and 3 x 32 x 32 pixels, no header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError

__all__ = ["CifarFolder", "find_cifar", "read_cifar"]

#: Bytes of one file; those of CIFAR-10 have 10,000 records, 30.7 MB.
MAX_BYTES = 1 << 30
_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_CLASSES = 10
#: The folder that the published archive unpacks to.
_ARCHIVE_FOLDER = "cifar-10-batches-bin"

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class CifarFolder:
    """Where the files are; without `train`, the test file is all there is."""

    test: Path
    train: tuple[Path, ...] = ()


def find_cifar(folder: Path) -> CifarFolder | None:
    """Find the files of CIFAR-10, ``None`` if there are none.

    Names are those of the published archive, ``data_batch_1.bin`` to ``data_batch_5.bin`` and
    ``test_batch.bin``, in `folder` or in ``cifar-10-batches-bin`` in it.

    Raises
    ------
    InputError
        If there are training files without the test file.
    """
    for place in (folder, folder / _ARCHIVE_FOLDER):
        names = [f"data_batch_{k}.bin" for k in range(1, 6)]
        train = tuple(place / name for name in names if (place / name).is_file())
        test = place / "test_batch.bin"
        if test.is_file():
            return CifarFolder(test=test, train=train)
        if train:
            raise InputError(str(place), "test_batch.bin beside data_batch_*.bin", "no such file")
    return None


def read_cifar(path: Path) -> tuple[Bytes, Bytes]:
    """Read one file of records.

    The size must be a whole number of records and under a limit; it is asked for before memory is
    taken.

    Returns
    -------
    images : (samples, 3, 32, 32), uint8
    labels : (samples,), uint8 in 0..9

    Raises
    ------
    InputError
        If the file is missing, empty, cut short or too large, or a label is above 9.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(str(path), f"at most {MAX_BYTES} bytes", size)
        if size == 0 or size % _RECORD:
            raise InputError(str(path), f"whole records of {_RECORD} bytes", f"{size} bytes")
        records = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise InputError(str(path), "a readable file", error.strerror) from error
    if records.size != size:
        raise InputError(str(path), f"{size} bytes", f"{records.size} bytes")
    table = records.reshape(-1, _RECORD)
    labels = table[:, 0].copy()
    for k in np.flatnonzero(labels >= _CLASSES)[:1]:
        raise InputError(f"{path}: record {k}", f"a label 0..{_CLASSES - 1}", int(labels[k]))
    return table[:, 1:].reshape(-1, *_SHAPE), labels
