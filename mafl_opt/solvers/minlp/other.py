"""P in natural form by whatever solver Pyomo knows under a name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.common.errors import ApplicationError, PyomoException
from pyomo.common.log import LoggingIntercept
from pyomo.opt import TerminationCondition
from pyomo.opt.base.solvers import UnknownSolver

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.core.status import Termination
from mafl_opt.formulations.natural_model import fix_plan, natural_model
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.minlp.rounding import rounded
from mafl_opt.solvers.recovery import polish, warm_up
from mafl_opt.solvers.schedule import Schedule

__all__ = ["solve_natural"]

# Below this a relaxed session counts as not chosen; solvers that keep to integers say 0 or 1.
_CHOSEN = 0.1
# What a solver raises when it breaks down, or cannot take a model of this class.
_FAILURES = (ApplicationError, PyomoException, ArithmeticError, OSError, RuntimeError,
             TypeError, ValueError)  # fmt: skip
_USELESS = {
    TerminationCondition.infeasible, TerminationCondition.error,
    TerminationCondition.internalSolverError, TerminationCondition.solverFailure,
    TerminationCondition.noSolution, TerminationCondition.licensingProblems,
}  # fmt: skip


def solve_natural(run: Run, name: str) -> Plan:
    """Hand P to the solver that the options name, from the best plan of a local search.

    Whatever point comes back is turned into a schedule and improved; solvers of continuous
    problems return a relaxed one, which is rounded. A bound, if the solver has one, is not taken:
    P is not convex, and few solvers say whether theirs holds globally.

    Raises
    ------
    InputError
        When Pyomo does not know the solver or cannot run it here.
    """
    wanted = str(run.options.pyomo_solver)
    solver = _find(wanted)
    ended = Termination.COMPLETED
    with run.interruptible():
        improver = Improver(run.problem, run.options.seed, run.stop)
        warm_up(run, improver)
        if not run.stop():
            model = natural_model(run.problem)
            if run.best is not None:
                fix_plan(model, run.problem, run.plan(name, Termination.COMPLETED))
            run.say(f"{wanted} on {model.nvariables()} variables")
            try:
                found, word = _call(solver, model, run.remaining())
            except _FAILURES as error:
                run.note(f"{wanted} failed: {' '.join(str(error).split())}")
                ended = Termination.NUMERICAL
            else:
                run.note(f"{wanted}: {word}")
                if found:
                    run.offer(improver.descend(_schedule(run.problem, model)), wanted)
                elif word != TerminationCondition.optimal:
                    ended = Termination.NUMERICAL
            polish(run, improver)
    return run.plan(name, ended)


def _find(wanted: str) -> Any:
    # Pyomo logs a traceback for every name it does not know.
    with LoggingIntercept(module="pyomo"):
        solver = pyo.SolverFactory(wanted)
        if isinstance(solver, UnknownSolver):
            hint = "`pyomo help --solvers` lists them"
            raise InputError("pyomo_solver", "a solver that Pyomo knows", wanted, hint)
        if not solver.available(exception_flag=False):
            hint = "Pyomo knows it, but neither program nor package of it is here"
            raise InputError("pyomo_solver", "a solver that is installed", wanted, hint)
    return solver


def _call(
    solver: Any, model: pyo.ConcreteModel, limit: float | None
) -> tuple[bool, TerminationCondition]:
    """Solve; return whether the model holds a point of the solver's, and what the solver says."""
    known = getattr(solver, "CONFIG", None)
    settings: dict[str, Any] = {}
    if known is None or "load_solutions" in known:
        if limit is not None:
            settings["timelimit"] = max(1, round(limit))
        results = solver.solve(model, load_solutions=False, **settings)
        found = len(results.solution) > 0
        if found:
            model.solutions.load_from(results)
        return found, results.solver.termination_condition
    # Solvers made of other solvers (gdpopt, mindtpy) put their point into the model themselves.
    if limit is not None and "time_limit" in known:
        settings["time_limit"] = max(1, round(limit))
    if "mip_solver" in known:
        settings["mip_solver"] = "appsi_highs"
    results = solver.solve(model, **settings)
    word = results.solver.termination_condition
    return word not in _USELESS, word


def _schedule(problem: Problem, model: pyo.ConcreteModel) -> Schedule:
    """Sessions of a point, the surest first, as far as they fit together."""
    c = problem.columns
    keys = list(
        zip(
            c.device.tolist(), c.task.tolist(), c.receive.tolist(), c.upload.tolist(),
            c.iterations.tolist(), strict=True,
        )
    )  # fmt: skip
    weight = np.array([pyo.value(model.y[key], exception=False) or 0.0 for key in keys])
    chosen = np.flatnonzero(weight >= _CHOSEN)
    size = [round(pyo.value(model.B[keys[k][:4]])) for k in chosen]
    batch = np.clip(np.array(size, dtype=np.int64), 1, c.batch_hi[chosen])
    return rounded(problem, chosen, batch, weight[chosen], _CHOSEN)
