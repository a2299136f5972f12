"""Compiling within a time limit: in another process, which can be ended, into numba's cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.prices.fleet import kernel
from mafl_opt.solvers.prices.fleet.search import Search

__all__ = ["compile_ahead", "compile_all"]

_POLL_S = 0.05
_COMMAND = f"from {__name__} import compile_all; compile_all()"


def compile_ahead(stop: Callable[[], bool]) -> None:
    """Fill numba's cache until `stop` says so; at once where it is full, or where there is none.

    numba cannot be interrupted. What it had finished when the other process ends is kept, so that
    the next search goes on from there.
    """
    if kernel.assign_devices.signatures or _is_cached():
        return
    path = os.pathsep.join(folder for folder in sys.path if folder)
    child = subprocess.Popen(
        [sys.executable, "-c", _COMMAND], env={**os.environ, "PYTHONPATH": path},
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


def compile_all() -> None:
    """Compile what a search calls, by searching on a small fleet to a gap that is soon met."""
    scenario = Scenario.draw(devices=6, tasks=2, slots=4, seed=0)
    search = Search(Run(problem=Problem(scenario=scenario), options=Options(gap=0.5)))
    search.work()
    search.close()


def _is_cached() -> bool:
    """Whether the last function that is compiled has been, or nothing can be kept."""
    folder = kernel.assign_devices.stats.cache_path
    if folder is None:
        return True
    source = Path(kernel.__file__).stat().st_mtime
    found = Path(folder).glob(f"{Path(kernel.__file__).stem}.assign_devices-*.nbi")
    return any(index.stat().st_mtime >= source for index in found)
