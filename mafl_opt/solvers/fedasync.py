"""Baseline: asynchronous federated learning where nobody ever waits or plans."""

from __future__ import annotations

from mafl_opt.core.plan import Plan
from mafl_opt.core.status import Termination
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.fixed_work import Lookup, tune
from mafl_opt.solvers.schedule import Schedule

__all__ = ["FedAsync"]


class FedAsync:
    """Every device is always busy: it takes a model, trains (l, B), uploads as soon as it can.

    Staleness is what falls out. A device that cannot deliver within the staleness bound gives up
    and takes the next task; a device out of budget rests. Of all (l, B) the best by the objective
    is kept.
    """

    name = "fedasync"
    summary = "every device always busy, uploads when ready, staleness as it falls"
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
                schedule = Schedule(run.problem)
                task = [i % s.num_tasks for i in range(s.num_devices)]
                since = [0] * s.num_devices
                for g in range(1, s.num_slots + 1):
                    for step in range(s.num_devices):
                        i = (g + step) % s.num_devices
                        j = task[i]
                        k = lookup(
                            i, j, since[i], g, min(iterations, int(s.tasks.iterations_max[j]))
                        )
                        # Ready means: the whole batch is done by now, not a cut one.
                        ready = k >= 0 and run.problem.columns.batch_hi[k] >= min(
                            batch, int(s.tasks.batch_max[j]), int(s.pairs.samples[i, j])
                        )
                        done = ready and lookup.try_insert(schedule, k, batch)
                        if done or g - since[i] > s.tasks.staleness_max[j]:
                            task[i], since[i] = (j + 1) % s.num_tasks, g
                return schedule

            tune(run, build, self.name)
        return run.plan(self.name, Termination.COMPLETED)
