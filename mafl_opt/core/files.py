"""Reading with limits, writing whole or not at all."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mafl_opt.core.errors import InputError

__all__ = [
    "atomic_path",
    "make_folder",
    "parse_json",
    "read_text",
    "remove_leftovers",
    "write_text",
]

#: A scenario of a million devices belongs in a fleet table, not in text of this size.
MAX_TEXT_BYTES = 1 << 30


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name in the same folder and rename it to `path` when the body succeeds.

    If the body raises, the temporary file is removed and whatever stood at `path` is untouched.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(str(target), "a file name", "a folder")
    if not target.parent.is_dir():
        raise InputError(str(target), "a file in an existing folder", str(target.parent))
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent
        )
    except OSError as error:
        raise InputError(str(target), "a file that can be written", str(error)) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove what `atomic_path` was writing for this file when its process was killed.

    Only while nobody else writes it, see `mafl_opt.core.locks.sole_use`.
    """
    target = Path(path)
    # Eight letters, digits or underscores of `tempfile` stand between the two.
    pattern = re.compile(rf"\.{re.escape(target.name)}\.\w{{8}}{re.escape(target.suffix)}")
    for found in target.parent.iterdir() if target.parent.is_dir() else ():
        if pattern.fullmatch(found.name):
            found.unlink(missing_ok=True)


def make_folder(name: str | os.PathLike[str]) -> Path:
    """Make a folder if it is missing, and return its path.

    Raises
    ------
    InputError
        If it cannot be made, or one may not write to it.
    """
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(str(folder), "a folder that can be made", str(error.strerror)) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(str(folder), "a folder one may write to", str(folder))
    return folder


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_text(path: str | os.PathLike[str], *, limit: int = MAX_TEXT_BYTES) -> str:
    """Read UTF-8 text, checking the size before memory is taken.

    Raises
    ------
    InputError
        If the file is missing, larger than `limit` bytes, or not UTF-8.
    """
    source = Path(path)
    try:
        size = source.stat().st_size
        if size > limit:
            raise InputError(str(source), f"at most {limit} bytes", size)
        return source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(str(source), "UTF-8 text", f"byte {error.start} is not") from error
    except OSError as error:
        raise InputError(str(source), "a readable file", error.strerror) from error


def parse_json(text: str, source: str) -> Any:
    """Parse JSON strictly: no NaN or infinity, no duplicate keys.

    Raises
    ------
    InputError
        With `source` (and the line) as path.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in items:
            if key in out:
                raise InputError(f"{source}: {key}", "each key once", "a duplicate key")
            out[key] = value
        return out

    def constant(name: str) -> Any:
        raise InputError(source, "finite numbers", name)

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise InputError(f"{source}:{error.lineno}", "JSON", error.msg) from error
    except InputError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(source, "numbers of a sane length", str(error)) from error
    except RecursionError as error:
        raise InputError(source, "JSON nested a few levels deep", "hundreds of levels") from error
