"""SVHN (street view house numbers, cropped digits): MATLAB files with the arrays X and y."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError

from mafl_opt.core.errors import InputError

__all__ = ["SvhnFolder", "find_svhn", "read_svhn"]

#: Bytes of one array; the largest known file, extra_32x32.mat, has 531,131 * 3072 of them.
MAX_BYTES = 1 << 31
_CLASSES = 10
#: A byte of deflate never stands for more than this many.
_MOST_EXPANSION = 1032
#: What scipy's reader raises on damaged files.
_READ_ERRORS = (
    MatReadError, OSError, EOFError, ValueError, TypeError, KeyError, IndexError,
    NotImplementedError, zlib.error,
)  # fmt: skip

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

    The header tells shapes and types; they are compared with each other, with a limit and with what
    the file's size allows before an array is read. Nothing but X and y is read. The digit 0, which
    the files call 10, becomes class 0.

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
    shape = _require_header(path)
    try:
        arrays = loadmat(path, variable_names=("X", "y"))
        pixels, digits = np.asarray(arrays["X"]), np.asarray(arrays["y"]).reshape(-1)
    except _READ_ERRORS as error:
        raise InputError(str(path), "a readable MATLAB file", str(error)) from error
    if pixels.dtype != np.uint8 or pixels.shape != shape or digits.shape != shape[3:]:
        found = f"{pixels.dtype} of shape {pixels.shape}, {digits.size} labels"
        raise InputError(str(path), f"what its header says, uint8 of shape {shape}", found)
    for k in np.flatnonzero(~np.isin(digits, np.arange(1, _CLASSES + 1)))[:1]:
        raise InputError(f"{path}: y[{k}]", f"a label 1..{_CLASSES}", digits[k].item())
    labels = (digits % _CLASSES).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), labels


def _require_header(path: Path) -> tuple[int, ...]:
    """Check what the file says it holds and return the shape of X."""
    try:
        size = path.stat().st_size
        found = {name: (shape, kind) for name, shape, kind in whosmat(path)}
    except _READ_ERRORS as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(str(path), "a MATLAB file, version 5 to 7.2", reason) from error
    for name in ("X", "y"):
        if name not in found:
            held = ", ".join(sorted(found)) or "nothing"
            raise InputError(str(path), f"the array {name}", held)
    shape, kind = found["X"]
    if len(shape) != 4 or shape[2] != 3 or min(shape) < 1 or kind != "uint8":
        expected = "X of uint8, (height, width, 3, samples)"
        raise InputError(str(path), expected, f"{kind} of shape {shape}")
    if found["y"][0] not in ((shape[3], 1), (1, shape[3])):
        raise InputError(str(path), f"y of shape ({shape[3]}, 1)", f"shape {found['y'][0]}")
    total = math.prod(shape)
    if total > MAX_BYTES:
        raise InputError(str(path), f"at most {MAX_BYTES} bytes of data", total)
    if total > size * _MOST_EXPANSION:
        raise InputError(str(path), f"{total} bytes in X, as its header says", f"{size} bytes")
    return tuple(shape)
