"""One process at a time at a checkpoint, in a folder of results, or at a run of a study.

The lock is the operating system's, on a file beside what it guards: it ends with the process that
holds it, however that ends, so none has to be removed by hand.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import remove_leftovers

__all__ = ["claim", "sole_use"]

_IN_FOLDER = ".mafl-opt.lock"
_MOST_SHOWN = 200


@contextmanager
def claim(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Yield whether this process alone holds a lock file; it is removed afterwards.

    Parameters
    ----------
    path : Path
        The lock file.
    wait : bool
        Wait for a claim that someone else holds.

    Raises
    ------
    InputError
        If the file cannot be made, or its file system has no locks.
    """
    handle = _locked(path, wait)
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        # Removed before it is given back: whoever opened it meanwhile sees that it is gone.
        path.unlink(missing_ok=True)
        os.close(handle)


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
    with claim(lock) as is_mine:
        if not is_mine:
            expected, hint = "that nobody else is writing to it", "wait, or name another"
            raise InputError(str(target), expected, _holder(lock), hint)
        if not target.is_dir():
            remove_leftovers(target)
        yield


def _locked(path: Path, wait: bool) -> int | None:
    """Open and lock a file that still has its name afterwards; None when someone else holds it."""
    import fcntl  # not on every system; nothing else of the package needs it

    how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise InputError(str(path), "a file that can be made", str(error.strerror)) from error
        try:
            fcntl.flock(handle, how)
            if _is_at(handle, path):
                os.ftruncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError as error:
            os.close(handle)
            expected = "a file system with locks"
            raise InputError(str(path), expected, str(error.strerror)) from error
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _holder(lock: Path) -> str:
    """Who says that it holds the lock."""
    try:
        with lock.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MOST_SHOWN) or "another process"
    except FileNotFoundError:
        return "another process, which has just ended"


def _is_at(handle: int, lock: Path) -> bool:
    """Whether the open file is the one of that name, and not one that was removed."""
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False
