"""Compiling within a time limit: in another process, which can be ended, into numba's cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["compile_ahead", "is_compiled"]

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


def is_compiled(function: Any) -> bool:
    """Whether a function is here or in numba's cache, or nothing can be kept there."""
    folder, source = function.stats.cache_path, Path(function.py_func.__code__.co_filename)
    if function.signatures or folder is None:
        return True
    found = Path(folder).glob(f"{source.stem}.{function.py_func.__name__}-*.nbi")
    return any(index.stat().st_mtime >= source.stat().st_mtime for index in found)
