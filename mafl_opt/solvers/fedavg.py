"""Baseline: synchronous federated averaging, the tasks taking turns round by round."""

from __future__ import annotations

from mafl_opt.core.plan import Plan
from mafl_opt.core.status import Termination
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.fixed_work import Lookup, tune
from mafl_opt.solvers.schedule import Schedule

__all__ = ["FedAvg"]


class FedAvg:
    """Every slot is a round of one task: all devices that can, tau = 0, the same (l, B).

    A device takes part while it is reachable, its slot's deadline admits at least one sample a
    step, and its budget lasts; its batch is cut to what the deadline admits. Where the uplink or
    the step cap cannot take all, the first devices after the last one served go. Of all (l, B) the
    best by the objective is kept.
    """

    name = "fedavg"
    summary = "synchronous rounds, tasks in turn, all devices that can take part"
    proves_bound = False
    accepts = frozenset({"time_limit"})

    def missing(self) -> str:
        """Nothing beyond the core is needed."""
        return ""

    def solve(self, run: Run) -> Plan:
        """Try the rule at every (iterations, batch size)."""
        with run.interruptible():
            s, lookup = run.problem.scenario, Lookup(run.problem)

            def build(iterations: int, batch: int) -> Schedule:
                schedule, first = Schedule(run.problem), 0
                for g in range(s.num_slots):
                    task = g % s.num_tasks
                    for step in range(s.num_devices):
                        i = (first + step) % s.num_devices
                        k = lookup(
                            i, task, g, g + 1, min(iterations, int(s.tasks.iterations_max[task]))
                        )
                        if k >= 0 and lookup.try_insert(schedule, k, batch):
                            last = i
                    if schedule.uploads[g]:
                        first = last + 1
                return schedule

            tune(run, build, self.name)
        return run.plan(self.name, Termination.COMPLETED)
