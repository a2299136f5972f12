"""Backend `prices`: devices at prices, exactly; bounds that are derived again from the prices."""

from __future__ import annotations

from mafl_opt.core.certificate import is_large
from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.core.status import Termination
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.branching import verdict
from mafl_opt.solvers.recovery import first_plan

__all__ = ["Prices"]

# Up to so many devices patterns prove more in less time, whatever the budgets; up to so many more
# they close what devices at multipliers leave open (decision 0033). Above, few are fractional.
_SMALL, _MIDDLE = 40, 150
# Smallest gap for which that is tried: nearer, a middle fleet's tree would grow without an end.
_NEAREST = 1e-4
# What stalls there.
_STALLED = "splits of totals and of numbers of sessions"
# Seconds for deriving the bound of a larger one again where there is no time limit; else the part
# of the limit that is kept for it, and where it ends. After that the bound is a claim.
_PATIENCE_S, _RESERVE, _OVER = 30.0, 0.08, 1.03


class Prices:
    """Small fleets by branch and price, large ones by prices learned on a sample."""

    name = "prices"
    summary = "prices on what devices share, exact device programs, branching (HiGHS, numba)"
    proves_bound = True
    accepts = frozenset({
        "time_limit", "gap", "seed", "start", "engine", "checkpoint", "resume",
    })  # fmt: skip

    def missing(self) -> str:
        """Nothing beyond the core is needed."""
        return ""

    def solve(self, run: Run) -> Plan:
        """Search to the gap and wrap up.

        Raises
        ------
        InputError
            For an engine that is not there, or any where the fleet is small, or a checkpoint that
            cannot be used.
        """
        if run.problem.scenario.num_devices <= _SMALL:
            if run.options.engine != Options().engine:
                expected = f"a fleet of more than {_SMALL} devices"
                raise InputError("engine", expected, run.options.engine, "leave engine out")
            # A plan first: what follows loads the compiler.
            with run.interruptible():
                first_plan(run)
            from mafl_opt.solvers.prices import patterns

            proof = patterns.solve(run)
            return run.plan(self.name, verdict(run), proof, limit=_STALLED)
        from mafl_opt.solvers.prices import fleet

        limit = run.options.time_limit
        run.reserve = 0.0 if limit is None else _RESERVE * limit
        proof, stalled = fleet.solve(run)
        ended = verdict(run) if run.best is not None else Termination.NUMERICAL
        if self._goes_on(run):
            from mafl_opt.solvers.prices import patterns

            closer = patterns.refine(run)
            if closer is not None and (proof is None or closer["bound"] > proof["bound"]):
                proof, stalled = closer, _STALLED
            ended = verdict(run)
        if run.best is None and run.termination is None:
            task = fleet.untrainable_task(run.problem.scenario)
            if task is not None:
                run.say(f"task {task} has weight but no device can ever train it")
                ended = Termination.INFEASIBLE
        # Deriving the bound of a huge fleet again takes minutes; `check --certificate` does it.
        large = proof is not None and is_large(run.problem.scenario, proof)
        patience = _PATIENCE_S if limit is None else limit * _OVER - run.seconds
        return run.plan(self.name, ended, proof, derive_s=0.0 if large else patience, limit=stalled)

    @staticmethod
    def _goes_on(run: Run) -> bool:
        """Whether a middle fleet's gap is still open, and nothing speaks against a closer look."""
        s, options = run.problem.scenario, run.options
        middle = s.num_devices <= _MIDDLE and run.problem.is_listable
        alone = options.checkpoint is None and options.resume is None
        open_ = run.best is not None and verdict(run) is Termination.STALLED
        return middle and alone and open_ and options.gap >= _NEAREST and not run.stop()
