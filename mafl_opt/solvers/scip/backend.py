"""Backend `scip`: P as an integer program on every choice of session, l and B, solved by SCIP.

The reference for small scenarios: it shares the columns with the other backends and nothing else,
no relaxation, no prices, no boxes. Its bound is what SCIP says, less a tolerance. It comes without
a certificate, so the checker cannot derive it again and says so, and OPTIMAL is never claimed.
"""

from __future__ import annotations

from importlib.util import find_spec

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.core.status import Termination
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import fill
from mafl_opt.solvers.schedule import Schedule

__all__ = ["Scip"]

#: Choices of session, iterations and batch size beyond which SCIP would get nowhere.
MOST_CHOICES = 200_000

_TERMINATION = {
    "optimal": Termination.COMPLETED,
    "gaplimit": Termination.COMPLETED,
    "infeasible": Termination.INFEASIBLE,
    "inforunbd": Termination.INFEASIBLE,
    "timelimit": Termination.TIME_LIMIT,
    "userinterrupt": Termination.INTERRUPTED,
}


class Scip:
    """The integer program on the full grid of iterations and batch sizes, through SCIP."""

    name = "scip"
    summary = "integer program on all (l, B) through SCIP, small scenarios; bound only claimed"
    proves_bound = False
    accepts = frozenset({"time_limit", "gap", "seed", "start"})

    def missing(self) -> str:
        """Name the extra that brings SCIP when it is not installed."""
        return "" if find_spec("pyscipopt") else "pip install mafl-opt[exact]"

    def solve(self, run: Run) -> Plan:
        """Give SCIP the whole grid, with the best plan at hand to start from.

        Raises
        ------
        InputError
            When there are more than `MOST_CHOICES` choices.
        """
        choices = int(run.problem.columns.batch_hi.sum())
        if choices > MOST_CHOICES:
            raise InputError(
                "scenario", f"at most {MOST_CHOICES} choices of session, iterations and batch size",
                choices, "this backend is for small scenarios; try conic",
            )  # fmt: skip
        from mafl_opt.solvers.scip.model import GridModel

        status = "userinterrupt"
        with run.interruptible():
            if run.start is not None:
                run.offer(Schedule.from_sessions(run.problem, run.start.sessions), "start")
            schedule = Schedule(run.problem)
            fill(schedule, stop=run.stop)
            run.offer(schedule, "greedy")
            if run.objective == 0.0 or not choices:
                # Nothing is below 0, and without choices there is nothing else.
                return run.plan(self.name, Termination.COMPLETED)
            if not run.stop():
                model = GridModel(run)
                status = model.solve()
                if status == "infeasible" and not model.is_trusted:
                    status = "numerical trouble"
        termination = _TERMINATION.get(status, Termination.NUMERICAL)
        plan = run.plan(self.name, termination)
        if plan.gap is not None and plan.gap <= run.options.gap:
            plan = plan.replace(termination=Termination.GAP_REACHED)
        return plan
