"""Plans from the points of solvers: sessions by weight, as far as they fit together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.improve import fill
from mafl_opt.solvers.schedule import Schedule

__all__ = ["rounded"]

Ints = NDArray[np.int64]


def rounded(
    problem: Problem, column: Ints, batch: Ints, weight: NDArray[np.float64], least: float
) -> Schedule:
    """Return a schedule of the sessions whose weight is at least so much, the surest first.

    Parameters
    ----------
    problem : Problem
    column, batch, weight : (points,)
        Columns of the problem, with mini-batches that are lowered where the energy is not enough.
    least : float
    """
    schedule, columns = Schedule(problem), problem.columns
    for p in np.argsort(-weight, kind="stable").tolist():
        if weight[p] < least:
            break
        k = int(column[p])
        one = np.array([k])
        if schedule.room(one)[0]:
            left = columns.take(one).batch_within(schedule.energy_left()[columns.device[k]])
            if left[0] >= 1:
                schedule.insert(k, int(min(batch[p], left[0])))
    fill(schedule)
    return schedule
