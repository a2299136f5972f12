"""Backend `sca`: successive convex approximation on the natural form, then integer recovery.

Model page, section 7.1. From any point, feasible or not: an elastic first phase, descent of the
relaxed objective on the columns that matter (the others are priced, and taken in when they would
pay), a growing integrality penalty, descent at its last weight. Plans come from the one integer
recovery around the stationary points; there is no bound.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.core.status import Termination
from mafl_opt.formulations.pricing import best_batches
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.cones import choose_solver
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.recovery import first_plan, polish, quick_search, recover
from mafl_opt.solvers.sca.descent import Descent
from mafl_opt.solvers.sca.point import Weights
from mafl_opt.solvers.schedule import Schedule

__all__ = ["Sca"]

Floats = NDArray[np.float64]

# Iterations on a set of columns before it is chosen anew: the first prices are rough.
_ROUNDS = (4, 8, 30, 30)
_PHASE_1 = 10
_INITIAL = ("greedy", "random")
# Weights of the integrality penalty, in scaled objectives; a session is worth about 0.01 to 0.1.
_PENALTIES = (0.001, 0.003, 0.01, 0.03)
_PENALTY_ROUNDS = 4
_LAST_ROUNDS = 20
_LAST_EXCHANGES = 3
# Sum of min(x, 1 - x) at which the point is as good as integer.
_INTEGER = 0.01


class Sca:
    """Convex surrogates from point to point, KKT residual, integer recovery."""

    name = "sca"
    summary = "successive convex approximation (cvxpy) from any start, integer recovery"
    proves_bound = False
    accepts = frozenset({"time_limit", "seed", "solver", "start", "initial"})

    def missing(self) -> str:
        """Nothing beyond the core is needed."""
        return ""

    def solve(self, run: Run) -> Plan:
        """Descend to a stationary point, then search plans around it."""
        if run.options.initial not in _INITIAL:
            raise InputError("initial", "one of " + ", ".join(_INITIAL), run.options.initial)
        choose_solver(run.options.solver)
        verdict = Termination.COMPLETED
        if not len(run.problem.columns):
            # Nothing can be done, and nothing needs to be where this is reached.
            run.offer(Schedule(run.problem), "no session exists")
            return run.plan(self.name, verdict)
        with run.interruptible():
            improver = Improver(run.problem, run.options.seed, run.stop)
            descent = Descent(run)
            _set_out(run, descent, improver)
            verdict = _descend(run, descent, improver)
            polish(run, improver)
        if run.best is None:
            # Out of time before the first rounding; a plan is worth a tenth of a second more.
            first_plan(run)
        if run.best is None and verdict is not Termination.TIME_LIMIT:
            verdict = Termination.COMPLETED
        return run.plan(self.name, verdict)


def _set_out(run: Run, descent: Descent, improver: Improver) -> None:
    """Find a plan and put the descent at its start: a plan given, a greedy one, a random point."""
    problem = run.problem
    if run.start is None and run.options.initial == "random":
        random = np.random.default_rng(run.options.seed)
        n = len(problem.columns)
        batch = 1.0 + random.random(n) * (problem.columns.batch_hi - 1.0)
        descent.begin(random.random(n), batch, random.random(n))
        return
    if run.start is not None:
        schedule = Schedule.from_sessions(problem, run.start.sessions)
        run.offer(schedule, "start")
    else:
        schedule = first_plan(run)
    # Before anything is compiled; the descent sets out from the plan given or the greedy one.
    quick_search(run, improver)
    x, batch, rank = _around(problem, schedule)
    descent.begin(x, batch, rank)


def _around(problem: Problem, schedule: Schedule) -> tuple[Floats, Floats, Floats]:
    """x, B and a first ranking of all columns by what they would do for a schedule."""
    s, c = problem.scenario, problem.columns
    lam, mu = schedule.slopes()
    batch = best_batches(c, lam[c.task], np.full(len(c), s.energy_weight))
    batch = np.clip(np.minimum(batch, c.batch_within(s.devices.energy_budget_j[c.device])), 1, None)
    rank = lam[c.task] * c.error_at(batch) - mu[c.task] * c.progress
    rank += s.energy_weight * c.energy(batch)
    x, size = np.zeros(len(c)), batch.astype(np.float64)
    for k, chosen in schedule.batch.items():
        x[k], size[k] = 1.0, chosen
    return x, size, rank


def _descend(run: Run, descent: Descent, improver: Improver) -> Termination:
    """Go through the phases; says how the last one ended."""
    relaxed = Weights(objective=1.0, integrality=0.0)
    if descent.infeasible():
        descent.iterate(Weights(objective=0.0, integrality=0.0), _PHASE_1, "feasibility")
    for rounds in _ROUNDS:
        ended = descent.iterate(relaxed, rounds, "descent")
        if ended is Termination.TIME_LIMIT:
            break
        changed = not run.stop() and descent.exchange(relaxed)
        if not changed and ended is not Termination.ITERATION_LIMIT:
            break
    if not run.stop():
        recover(run, improver, descent.wish(), descent.prices(), thorough=True)
    weights = relaxed
    for penalty in _PENALTIES:
        if run.stop() or descent.fraction() <= _INTEGER:
            break
        weights = Weights(objective=1.0, integrality=penalty)
        descent.iterate(weights, _PENALTY_ROUNDS, "penalty")
    for _ in range(_LAST_EXCHANGES):
        verdict = descent.iterate(weights, _LAST_ROUNDS, "last")
        if run.stop() or verdict is Termination.TIME_LIMIT or not descent.exchange(weights):
            break
    else:
        verdict = Termination.ITERATION_LIMIT
    if not run.stop():
        recover(run, improver, descent.wish(), descent.prices(), thorough=True)
    return verdict
