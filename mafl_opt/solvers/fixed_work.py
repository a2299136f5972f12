"""What the rule-based baselines share: one (iterations, batch size) for the whole fleet, tuned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.schedule import Schedule

__all__ = ["Lookup", "tune"]


class Lookup:
    """Columns by (device, task, receive, upload, iterations).

    Parameters
    ----------
    problem : Problem
    """

    def __init__(self, problem: Problem) -> None:
        s, c = problem.scenario, problem.columns
        self._problem = problem
        self._shape = (
            s.num_devices, s.num_tasks, s.num_slots + 1, s.num_slots + 1,
            int(s.tasks.iterations_max.max()) + 1,
        )  # fmt: skip
        self._keys = np.ravel_multi_index(
            (c.device, c.task, c.receive, c.upload, c.iterations), self._shape
        )
        self._order = np.argsort(self._keys)

    def __call__(self, device: int, task: int, receive: int, upload: int, iterations: int) -> int:
        """Return the column, or -1 when there is none."""
        key = np.ravel_multi_index((device, task, receive, upload, iterations), self._shape)
        at = int(np.searchsorted(self._keys, key, sorter=self._order))
        if at == self._keys.size or self._keys[self._order[at]] != key:
            return -1
        return int(self._order[at])

    def try_insert(self, schedule: Schedule, k: int, batch: int) -> bool:
        """Insert column `k` with up to `batch` samples a step if it fits; say whether it did."""
        columns = self._problem.columns
        size = min(batch, int(columns.batch_hi[k]))
        if not schedule.fits(k, size):
            return False
        schedule.insert(k, size)
        return True


def tune(run: Run, build: Callable[[int, int], Schedule], event: str) -> None:
    """Offer the rule's schedule for every (iterations, batch size) worth trying.

    A rule with one setting for the whole fleet is only a fair rival at its best setting.
    """
    tasks = run.problem.scenario.tasks
    most = int(tasks.iterations_max.max())
    sizes = _powers(int(tasks.batch_max.max()))
    steps = sorted({int(v) for v in np.unique(np.linspace(1, most, min(most, 10)).round())})
    for iterations in steps:
        for batch in sizes:
            if run.stop():
                return
            run.offer(build(iterations, int(batch)), event)


def _powers(most: int) -> NDArray[np.int64]:
    return np.unique([*(2 ** np.arange(int(np.log2(most)) + 1)), most])
