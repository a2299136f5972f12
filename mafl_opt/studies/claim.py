"""A claim on a run, which ends with the process that holds it, however that ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mafl_opt.core.errors import InputError

__all__ = ["claim"]


@contextmanager
def claim(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Yield whether this process alone holds the lock file; it is removed afterwards.

    The lock is the operating system's, not the file's existence: what a killed process leaves
    behind blocks nobody.

    Parameters
    ----------
    path : Path
    wait : bool
        Wait for a claim that another process holds.

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
        # Before the lock is given back: whoever gets it next sees that the name is another file's.
        path.unlink(missing_ok=True)
        os.close(handle)


def _locked(path: Path, wait: bool) -> int | None:
    """Open and lock; once more if the file was removed between the two."""
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


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
