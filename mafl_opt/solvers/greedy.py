"""Baseline: always add the session of best marginal gain of the objective."""

from __future__ import annotations

from mafl_opt.core.plan import Plan
from mafl_opt.core.status import Termination
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import fill
from mafl_opt.solvers.schedule import Schedule

__all__ = ["Greedy"]


class Greedy:
    """Insert sessions, each at its best iteration count and batch size, while O falls."""

    name = "greedy"
    summary = "best marginal gain of the objective, one session at a time"
    proves_bound = False
    accepts = frozenset({"start", "time_limit"})

    def missing(self) -> str:
        """Nothing beyond the core is needed."""
        return ""

    def solve(self, run: Run) -> Plan:
        """Fill an empty schedule, or the one given to start from."""
        with run.interruptible():
            problem = run.problem
            if run.start is not None:
                schedule = Schedule.from_sessions(problem, run.start.sessions)
            else:
                schedule = Schedule(problem)
            fill(schedule, stop=run.stop)
            run.offer(schedule, "greedy")
        return run.plan(self.name, Termination.COMPLETED)
