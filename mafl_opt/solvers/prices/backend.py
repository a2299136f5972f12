"""Backend `prices`: devices at prices, exactly; bounds that are derived again from the prices."""

from __future__ import annotations

from mafl_opt.core.plan import Plan
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.branching import verdict
from mafl_opt.solvers.prices import exact

__all__ = ["Prices"]


class Prices:
    """Branch and price over device plans, step caps as knapsacks, boxes of A and Xi."""

    name = "prices"
    summary = "prices on what devices share, exact device programs, branching (HiGHS, numba)"
    proves_bound = True
    accepts = frozenset({"time_limit", "gap", "seed", "start"})

    def missing(self) -> str:
        """Nothing beyond the core is needed."""
        return ""

    def solve(self, run: Run) -> Plan:
        """Search to the gap and wrap up."""
        proof = exact.solve(run)
        return run.plan(self.name, verdict(run), proof)
