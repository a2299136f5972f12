"""Arrays in one file: an uncompressed .npz, each array looked at before it is read.

Nothing in it is pickled, so numpy reads these files too. What a file says of itself is compared
with what is admitted before memory is taken, and every checksum is compared.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import atomic_path, parse_json

__all__ = ["Archive", "write_archive"]

_SUFFIX = ".npy"

Array = NDArray[Any]


def write_archive(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write arrays by name, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


class Archive:
    """An .npz that is open for reading.

    Parameters
    ----------
    path : path

    Raises
    ------
    InputError
        If there is no such file, it is no archive, or its arrays are compressed or claim more than
        the file has bytes.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        try:
            size = self._path.stat().st_size
            self._archive = zipfile.ZipFile(self._path)
        except OSError as error:
            raise self.wrong("", "a readable file", _reason(error)) from error
        except _DAMAGE as error:
            raise self.wrong("", "a checkpoint", _reason(error)) from error
        members = self._archive.infolist()
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        if not stored or sum(member.file_size for member in members) > size:
            self._archive.close()
            raise self.wrong("", "an archive that is not compressed", "another")
        #: Of the arrays.
        self.names = [
            member.filename.removesuffix(_SUFFIX)
            for member in members
            if member.filename.endswith(_SUFFIX)
        ]

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._archive.close()

    def wrong(self, name: str, expected: str, found: object) -> InputError:
        """Return the error that names the file and the array."""
        where = f"{self._path}: {name}" if name else os.fspath(self._path)
        return InputError(where, expected, found)

    def has(self, name: str) -> bool:
        """Whether there is an array of that name."""
        return name in self.names

    def text(self, name: str, most: int) -> str:
        """Read UTF-8 text, kept as an array of at most so many bytes."""
        data = bytes(self.array(name, np.dtype(np.uint8), (most,), exact=()))
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise self.wrong(name, "UTF-8 text", f"byte {error.start} is not") from error

    def table(self, name: str, most: int) -> dict[str, Any]:
        """Read a JSON object, kept as text."""
        found = parse_json(self.text(name, most), str(self._path))
        if not isinstance(found, dict):
            raise self.wrong(name, "an object", found)
        return found

    def floats(self, name: str, most: tuple[int, ...], *, exact: tuple[int, ...]) -> Array:
        """Read finite numbers of at most this shape, on the axes `exact` of just this."""
        array = self.array(name, np.dtype(np.float64), most, exact=exact)
        if not np.isfinite(array).all():
            raise self.wrong(name, "finite numbers", "others")
        return array

    def integers(
        self, name: str, most: tuple[int, ...], kind: type[np.integer[Any]],
        between: tuple[int, int], *, exact: tuple[int, ...] | None = None,
    ) -> Array:  # fmt: skip
        """Read integers within a range; shapes as for `array`."""
        array = self.array(name, np.dtype(kind), most, exact=exact)
        if array.size and (array.min() < between[0] or array.max() > between[1]):
            raise self.wrong(name, f"integers from {between[0]} to {between[1]}", "others")
        return array

    def array(
        self,
        name: str,
        kind: np.dtype[Any],
        *shapes: tuple[int, ...],
        exact: tuple[int, ...] | None,
    ) -> Array:
        """Read an array of a kind.

        Parameters
        ----------
        name : str
        kind : dtype
        *shapes : tuple of int
            Largest sizes of the axes; several shapes are alternatives.
        exact : tuple of int or None
            Axes on which the size must be just this; None: all.

        Returns
        -------
        array : read-only

        Raises
        ------
        InputError
            If it is missing, damaged, or of another kind or shape.
        """
        try:
            with self._archive.open(name + _SUFFIX) as file:
                version = np.lib.format.read_magic(file)
                if version != (1, 0):
                    raise self.wrong(name, "an array of format 1.0", version)
                shape, by_column, found = np.lib.format.read_array_header_1_0(file)
                fits = any(_fits(shape, most, exact) for most in shapes)
                # An array of one axis is said to be stored by row.
                if not fits or by_column or found != kind:
                    words = f"{kind} of shape up to {' or '.join(map(str, shapes))}"
                    raise self.wrong(name, words, f"{found} {shape}")
                wanted = math.prod(shape) * kind.itemsize
                # One more than wanted, so that the end is reached and the checksum compared.
                data = file.read(wanted + 1)
        except KeyError as error:
            raise self.wrong(name, "this array", "nothing of the name") from error
        except _DAMAGE as error:
            if isinstance(error, InputError):
                raise
            raise self.wrong(name, "an undamaged array", _reason(error)) from error
        if len(data) != wanted:
            raise self.wrong(name, f"{wanted} bytes", len(data))
        return np.frombuffer(data, dtype=kind).reshape(shape)


#: What zipfile and numpy raise over damaged archives. Encrypted members are a RuntimeError.
_DAMAGE = (
    OSError, ValueError, EOFError, NotImplementedError, RuntimeError, TypeError, OverflowError,
    SyntaxError, zipfile.BadZipFile,
)  # fmt: skip


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


def _fits(shape: tuple[int, ...], most: tuple[int, ...], exact: tuple[int, ...] | None) -> bool:
    return len(shape) == len(most) and all(
        size == limit if exact is None or axis in exact else 0 <= size <= limit
        for axis, (size, limit) in enumerate(zip(shape, most, strict=True))
    )
