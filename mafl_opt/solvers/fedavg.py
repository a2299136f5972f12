"""Baseline: synchronous federated averaging, the tasks taking turns round by round."""

from __future__ import annotations

from mafl_opt.core.plan import Plan
from mafl_opt.core.status import Termination
from mafl_opt.formulations.limits import widened
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.fixed_work import Lookup, tune
from mafl_opt.solvers.schedule import Schedule

__all__ = ["FedAvg"]


class FedAvg:
    """Every slot is a round of one task: all devices that can, tau = 0, the same (l, B).

    A device takes part when it is reachable, its slot's deadline admits at least one sample a
    step and its budget lasts; its batch is cut to what the deadline admits. The round's iterations
    are cut to what the step cap admits with everybody aboard, as federated averaging wants it.
    Where uplink or cap cannot take all even so, the first devices after the last one served go. Of
    all (l, B) the best by the objective is kept.
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
            lookup = Lookup(run.problem)
            tune(run, lambda iterations, batch: _rounds(run, lookup, iterations, batch), self.name)
        return run.plan(self.name, Termination.COMPLETED)


def _rounds(run: Run, lookup: Lookup, iterations: int, batch: int) -> Schedule:
    """Schedule all rounds, the tasks in turn."""
    s, columns = run.problem.scenario, run.problem.columns
    schedule, first = Schedule(run.problem), 0
    for g in range(s.num_slots):
        task = g % s.num_tasks
        # From the wish downwards: the first count at which everybody fits the step cap.
        for count in range(min(iterations, int(s.tasks.iterations_max[task])), 0, -1):
            able = [lookup(i, task, g, g + 1, count) for i in range(s.num_devices)]
            if sum(columns.step[k] for k in able if k >= 0) <= widened(s.tasks.step_cap[task]):
                break
        served = [
            i
            for i in ((first + step) % s.num_devices for step in range(s.num_devices))
            if able[i] >= 0 and lookup.try_insert(schedule, able[i], batch)
        ]
        first = served[-1] + 1 if served else first
    return schedule
