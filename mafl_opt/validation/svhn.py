"""SVHN (street view house numbers, cropped digits): MATLAB files with the arrays X and y."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.validation.matlab import read_matlab

__all__ = ["SvhnFolder", "find_svhn", "read_svhn"]

#: Bytes of one array; the largest known file, extra_32x32.mat, has 531,131 * 3072 of them.
MAX_BYTES = 1 << 31
_CLASSES = 10

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class SvhnFolder:
    """Where the files are; without `train`, the test file is all there is."""

    test: Path
    train: Path | None = None


def find_svhn(folder: Path) -> SvhnFolder | None:
    """Find ``test_32x32.mat`` and ``train_32x32.mat``; ``None`` if there is neither.

    Raises
    ------
    InputError
        If there is a training file without the test file.
    """
    train, test = folder / "train_32x32.mat", folder / "test_32x32.mat"
    if test.is_file():
        return SvhnFolder(test=test, train=train if train.is_file() else None)
    if train.is_file():
        raise InputError(str(folder), "test_32x32.mat beside train_32x32.mat", "no such file")
    return None


def read_svhn(path: Path) -> tuple[Bytes, Bytes]:
    """Read one file: X of shape (height, width, 3, samples), y of shape (samples, 1).

    Nothing but X and y is read. The digit 0, which the files call 10, becomes class 0.

    Returns
    -------
    images : (samples, 3, height, width), uint8
    labels : (samples,), uint8 in 0..9

    Raises
    ------
    InputError
        If the file is missing, no such MATLAB file (version 5 to 7.2), damaged or too large, or a
        label is not 1..10.
    """
    arrays = read_matlab(path, ("X", "y"), limit=MAX_BYTES)
    for name in ("X", "y"):
        if name not in arrays:
            held = ", ".join(sorted(arrays)) or "neither X nor y"
            raise InputError(str(path), f"the array {name}", held)
    pixels, digits = arrays["X"], arrays["y"]
    shape = pixels.shape
    if len(shape) != 4 or shape[2] != 3 or min(shape) < 1 or pixels.dtype != np.uint8:
        expected = "X of uint8, (height, width, 3, samples)"
        raise InputError(str(path), expected, f"{pixels.dtype} of shape {shape}")
    if digits.shape not in ((shape[3], 1), (1, shape[3])):
        raise InputError(str(path), f"y of shape ({shape[3]}, 1)", f"shape {digits.shape}")
    digits = digits.reshape(-1)
    for k in np.flatnonzero(~np.isin(digits, np.arange(1, _CLASSES + 1)))[:1]:
        raise InputError(f"{path}: y[{k}]", f"a label 1..{_CLASSES}", digits[k].item())
    labels = (digits % _CLASSES).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), labels
