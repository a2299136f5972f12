"""Compiling within a time limit: in another process, which can be ended, into numba's cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from mafl_opt.core.compiling import is_compiled

__all__ = ["compile_ahead"]

_POLL_S = 0.05


def compile_ahead(stop: Callable[[], bool], command: str, last: Any) -> None:
    """Fill numba's cache until `stop` says so; at once where it is full, or where there is none.

    numba cannot be interrupted. What it had finished when the other process ends is kept, so that
    the next search goes on from there.

    Parameters
    ----------
    stop : callable
    command : str
        Python code that calls everything that is to be compiled.
    last : numba dispatcher
        The function that is compiled last.
    """
    if is_compiled(last):
        return
    path = os.pathsep.join(folder for folder in sys.path if folder)
    child = subprocess.Popen(
        [sys.executable, "-c", command], env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not stop():
            try:
                child.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                continue
            return
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
