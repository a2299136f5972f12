"""Baseline: sessions drawn at random, kept while they fit."""

from __future__ import annotations

import numpy as np

from mafl_opt.core.plan import Plan
from mafl_opt.core.status import Termination
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.schedule import Schedule

__all__ = ["RandomPlan"]


class RandomPlan:
    """Draw columns in random order with random batch sizes; keep each that fits."""

    name = "random"
    summary = "random sessions, kept while they fit the constraints"
    proves_bound = False
    accepts = frozenset({"seed"})

    def missing(self) -> str:
        """Nothing beyond the core is needed."""
        return ""

    def solve(self, run: Run) -> Plan:
        """Fill a schedule at random; one draw of a batch size a column."""
        with run.interruptible():
            columns = run.problem.columns
            random = np.random.default_rng(run.options.seed)
            schedule = Schedule(run.problem)
            order = random.permutation(len(columns))
            draw = random.random(len(columns))
            while order.size:
                # Everything that no longer fits is dropped at once; the first that fits goes in.
                most = columns.take(order).batch_within(
                    schedule.energy_left()[columns.device[order]]
                )
                order = order[schedule.room(order) & (most >= 1)]
                if order.size:
                    k = int(order[0])
                    left = schedule.energy_left()[columns.device[k]]
                    limit = int(columns.take(order[:1]).batch_within(left)[0])
                    schedule.insert(k, 1 + int(draw[k] * limit))
                    order = order[1:]
            run.offer(schedule, "random")
        return run.plan(self.name, Termination.COMPLETED)
