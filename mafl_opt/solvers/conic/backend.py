"""Backend `conic`: the lifted form through cvxpy, boxes of A_j, integer recovery.

The relaxation is convex on a box of the A_j; `solvers.branching` does the rest.
"""

from __future__ import annotations

from mafl_opt.core.plan import Plan
from mafl_opt.core.status import Termination
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.branching import branch, certificate, verdict
from mafl_opt.solvers.cones import OutOfTime, choose_solver
from mafl_opt.solvers.conic.relaxation import ColumnPool
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.leaves import Leaf
from mafl_opt.solvers.recovery import polish, warm_up

__all__ = ["Conic"]

_MOST_BOXES = 60


class Conic:
    """Convex relaxation on boxes of A_j, prices, bound, integer recovery."""

    name = "conic"
    summary = "convex lifting on boxes (cvxpy), certified bound, integer recovery"
    proves_bound = True
    accepts = frozenset({"time_limit", "gap", "seed", "solver", "start"})

    def missing(self) -> str:
        """Nothing beyond the core is needed."""
        return ""

    def solve(self, run: Run) -> Plan:
        """Bound by boxes, then search around what they suggest."""
        solver = choose_solver(run.options.solver)
        leaves: list[Leaf] = []
        with run.interruptible():
            improver = Improver(run.problem, run.options.seed, run.stop)
            warm_up(run, improver)
            ended = Termination.STALLED
            try:
                branch(
                    run, improver, lambda top: ColumnPool(run.problem, solver, top).solve, leaves,
                    most_boxes=_MOST_BOXES,
                )  # fmt: skip
            except OutOfTime:
                # The search for plans can use what is left.
                ended = Termination.TIME_LIMIT
            if verdict(run) is Termination.STALLED:
                polish(run, improver)
            if verdict(run) is Termination.STALLED:
                run.termination = run.termination or ended
        return run.plan(self.name, verdict(run), certificate(run.bound, run, leaves))
