"""IDX files, the format of MNIST and Fashion-MNIST: reading with every length checked first."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError

__all__ = ["IdxFolder", "find_idx", "read_idx"]

#: Bytes of one array; the largest known set, EMNIST, has 814,255 * 784 of them.
MAX_BYTES = 1 << 30
_UNSIGNED_BYTE = 0x08
_MAX_AXES = 4
#: A byte of deflate never stands for more than this many.
_MOST_EXPANSION = 1032


@dataclass(frozen=True, slots=True, kw_only=True)
class IdxFolder:
    """Where the files of one data set are: (images, labels) a part; ``train`` may be missing."""

    test: tuple[Path, Path]
    train: tuple[Path, Path] | None = None


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, plain or gzip.

    The header is two zero bytes, the type (8), the number of axes, and one big-endian 32-bit length
    an axis; exactly the product of the lengths must follow. The product is compared with a limit
    and with what the file's size allows before memory is taken.

    Parameters
    ----------
    path : Path
        Compressed if its name ends in ``.gz``.

    Returns
    -------
    array : shape of the header, read-only

    Raises
    ------
    InputError
        If the file is missing, no IDX file, shorter or longer than its header says, or too large.
    """
    try:
        with _open(path) as stream:
            shape = _read_header(stream, path)
            size = math.prod(shape)
            if size > MAX_BYTES:
                raise InputError(str(path), f"at most {MAX_BYTES} bytes of data", size)
            left = path.stat().st_size
            if path.suffix == ".gz":
                enough = size <= left * _MOST_EXPANSION
            else:
                left -= stream.tell()
                enough = left == size
            if not enough:
                raise InputError(str(path), _expected(shape), f"{left} bytes")
            # One byte more than promised: a longer file must not pass for a good one.
            data = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(str(path), "a readable IDX file", reason) from error
    if len(data) != size:
        found = f"{len(data)} bytes" if len(data) < size else "more bytes"
        raise InputError(str(path), _expected(shape), found)
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def find_idx(folder: Path) -> IdxFolder | None:
    """Find the IDX files of a folder; ``None`` if it holds no test files.

    Names are those of MNIST: ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, and with
    ``train`` for ``t10k``, each plain or with ``.gz``.

    Raises
    ------
    InputError
        If images come without labels or the other way round.
    """
    train, test = (_pair(folder, part) for part in ("train", "t10k"))
    if test is None:
        if train is not None:
            raise InputError(str(folder), "t10k files beside the train files", "train files only")
        return None
    return IdxFolder(test=test, train=train)


def _pair(folder: Path, part: str) -> tuple[Path, Path] | None:
    names = (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
    found = [
        next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
        for name in names
    ]
    images, labels = found
    if images is not None and labels is not None:
        return images, labels
    if images is None and labels is None:
        return None
    missing = names[0] if images is None else names[1]
    raise InputError(str(folder), f"{missing} (or .gz)", "no such file")


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _read_header(stream: IO[bytes], path: Path) -> tuple[int, ...]:
    magic = stream.read(4)
    good = len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] == _UNSIGNED_BYTE
    if not good or not 1 <= magic[3] <= _MAX_AXES:
        expected = f"an IDX header 00 00 08 01..0{_MAX_AXES}"
        raise InputError(str(path), expected, magic.hex(" ") or "an empty file")
    lengths = stream.read(4 * magic[3])
    if len(lengths) != 4 * magic[3]:
        raise InputError(str(path), f"{magic[3]} lengths in the header", f"{len(lengths)} bytes")
    return tuple(int(n) for n in np.frombuffer(lengths, dtype=">u4"))


def _expected(shape: tuple[int, ...]) -> str:
    product = " x ".join(map(str, shape))
    return f"{math.prod(shape)} bytes after the header ({product})"
