"""Work that is killed: in a forked process, at a moment of one's choosing."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable

__all__ = ["killed_after", "leftovers"]


def killed_after(seconds: float, work: Callable[[], object]) -> bool:
    """Do the work in a forked process that is killed after so long; true if it came to its end.

    Forked, because loading what a search needs takes longer than the search.
    """
    begun, begin = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of other threads in the process that forks; none of them is used.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(begin, b"x")
            work()
            code = 0
        finally:
            os._exit(code)
    os.read(begun, 1)
    os.close(begun)
    os.close(begin)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, f"the work itself failed: {status}"
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def leftovers(folder: os.PathLike[str]) -> list[str]:
    """Names that no one asked for."""
    return sorted(name for name in os.listdir(folder) if name.startswith("."))
