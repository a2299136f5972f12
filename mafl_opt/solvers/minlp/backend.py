"""Backend `minlp`: the lifted form as a mixed-integer linear program through Pyomo and HiGHS.

First the linear relaxation on boxes of A_j, which gives prices and the certified bound
(`solvers.branching`); then the integer program on the boxes left open (`search`), whose bound is
HiGHS's word. With ``pyomo_solver`` P in natural form goes to that solver instead, and what it
returns is rounded and improved; no bound is taken from it.
"""

from __future__ import annotations

from typing import Any

from mafl_opt.core.plan import Plan
from mafl_opt.core.status import Termination
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.branching import branch, certificate, verdict
from mafl_opt.solvers.cones import OutOfTime
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.leaves import Leaf
from mafl_opt.solvers.minlp.engine import highs_version
from mafl_opt.solvers.minlp.other import solve_natural
from mafl_opt.solvers.minlp.search import LinearRelaxation, search
from mafl_opt.solvers.recovery import polish, warm_up

__all__ = ["Minlp"]

_MOST_BOXES = 8


class Minlp:
    """Mixed-integer linear program by outer approximation, or any Pyomo solver on P itself."""

    name = "minlp"
    summary = "mixed-integer program (Pyomo, HiGHS): plans and a bound, part of it certified"
    proves_bound = True
    accepts = frozenset({"time_limit", "gap", "seed", "start", "pyomo_solver"})

    def missing(self) -> str:
        """Nothing beyond the core is needed."""
        return ""

    def solve(self, run: Run) -> Plan:
        """Bound by boxes, then let HiGHS close what is left."""
        if run.options.pyomo_solver is not None:
            return solve_natural(run, self.name)
        leaves: list[Leaf] = []
        with run.interruptible():
            improver = Improver(run.problem, run.options.seed, run.stop)
            warm_up(run, improver)
            ended = Termination.STALLED
            try:
                branch(
                    run, improver, lambda top: LinearRelaxation(run.problem, top).solve, leaves,
                    most_boxes=_MOST_BOXES,
                )  # fmt: skip
                if verdict(run) is Termination.STALLED:
                    search(run, improver, leaves)
            except OutOfTime:
                # The search for plans can use what is left.
                ended = Termination.TIME_LIMIT
            if verdict(run) is Termination.STALLED:
                polish(run, improver)
            if verdict(run) is Termination.STALLED:
                run.termination = run.termination or ended
        proof = _certificate(run, leaves)
        ended = verdict(run)
        if ended is Termination.OPTIMAL and proof is not None and proof["kind"] != "lagrangian":
            # That word is for what the checker derives again.
            ended = Termination.GAP_REACHED
        return run.plan(self.name, ended, proof)


def _certificate(run: Run, leaves: list[Leaf]) -> dict[str, Any] | None:
    """Return what the leaves prove; around it, if it says more, what HiGHS claims."""
    if not leaves:
        return None
    proof = certificate(min(leaf.bound for leaf in leaves), run, leaves)
    if proof is None or run.bound is None or run.bound <= proof["bound"]:
        return proof
    return {
        "kind": "milp", "bound": min(run.bound, run.objective), "proved": proof,
        "claimed_by": highs_version(),
    }  # fmt: skip
