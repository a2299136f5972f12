"""One process at a time at a checkpoint or in a folder of results.

The lock is the operating system's, on a file beside the one it guards: it ends with the process
that holds it, however that ends, so none has to be removed by hand.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import remove_leftovers

__all__ = ["sole_use"]

_IN_FOLDER = ".mafl-opt.lock"
_MOST_SHOWN = 200


@contextmanager
def sole_use(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Keep other processes, and other calls in this one, from writing to a file or folder.

    What a process that was killed left half-written beside the file is removed.

    Parameters
    ----------
    path : path or None
        A file, which need not exist yet, or a folder that does; None: nothing is guarded.

    Raises
    ------
    InputError
        If someone else is at work there, or no lock can be had.
    """
    if path is None:
        yield
        return
    target = Path(path)
    if not target.parent.is_dir():
        raise InputError(str(target), "a file in an existing folder", str(target.parent))
    lock = target / _IN_FOLDER if target.is_dir() else target.with_name(f".{target.name}.lock")
    handle = _take(target, lock)
    try:
        if not target.is_dir():
            remove_leftovers(target)
        yield
    finally:
        # Removed before it is given back: whoever opened it meanwhile sees that it is gone.
        lock.unlink(missing_ok=True)
        os.close(handle)


def _take(target: Path, lock: Path) -> int:
    """Open and lock a file that still has its name afterwards."""
    import fcntl

    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            expected = "a place where a lock file can be made"
            raise InputError(str(target), expected, error.strerror) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, lock):
                os.ftruncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return handle
        except BlockingIOError:
            who = os.pread(handle, _MOST_SHOWN, 0).decode(errors="replace")
            os.close(handle)
            expected = "that nobody else is writing to it"
            hint = "wait for it to end, or name another"
            raise InputError(str(target), expected, who or "another process", hint) from None
        except OSError as error:
            os.close(handle)
            raise InputError(str(target), "a file system with locks", error.strerror) from error
        os.close(handle)


def _is_at(handle: int, lock: Path) -> bool:
    """Whether the open file is the one of that name, and not one that was removed."""
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False
