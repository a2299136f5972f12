"""P in natural form by whatever solver Pyomo knows under a name."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
from pyomo.common.errors import ApplicationError
from pyomo.opt import TerminationCondition

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.core.status import Termination
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import Improver, fill
from mafl_opt.solvers.minlp.natural import fix_plan, natural_model
from mafl_opt.solvers.recovery import polish, warm_up
from mafl_opt.solvers.schedule import Schedule

__all__ = ["solve_natural"]

_CHOSEN = 0.5


def solve_natural(run: Run, name: str) -> Plan:
    """Hand P to the solver that the options name, from the best plan of a local search.

    Whatever point comes back is turned into a schedule and improved. Its bound, if the solver has
    one, is not taken: P is not convex, and few solvers say whether theirs holds globally.

    Raises
    ------
    InputError
        When Pyomo does not know the solver or cannot run it here.
    """
    wanted = str(run.options.pyomo_solver)
    solver = pyo.SolverFactory(wanted)
    if not solver.available(exception_flag=False):
        raise InputError(
            "pyomo_solver", "a solver that Pyomo can run here", wanted,
            "see `pyomo help --solvers`",
        )  # fmt: skip
    ended = Termination.COMPLETED
    with run.interruptible():
        improver = Improver(run.problem, run.options.seed, run.stop)
        warm_up(run, improver)
        if not run.stop():
            model = natural_model(run.problem)
            if run.best is not None:
                fix_plan(model, run.problem, run.plan(name, Termination.COMPLETED))
            run.say(f"{wanted} on {model.nvariables()} variables")
            limit = run.remaining()
            settings = {} if limit is None else {"timelimit": max(1, round(limit))}
            try:
                results = solver.solve(model, load_solutions=False, **settings)
            except (ApplicationError, ValueError, RuntimeError) as error:
                # The solver's own failure, or a class of models it cannot take.
                run.say(f"{wanted} failed: {' '.join(str(error).split())}")
                ended = Termination.NUMERICAL
            else:
                if len(results.solution) > 0:
                    model.solutions.load_from(results)
                    run.offer(improver.descend(_schedule(run.problem, model)), wanted)
                elif results.solver.termination_condition != TerminationCondition.optimal:
                    ended = Termination.NUMERICAL
            polish(run, improver)
    return run.plan(name, ended)


def _schedule(problem: Problem, model: pyo.ConcreteModel) -> Schedule:
    """Sessions of a point, the surest first, as far as they fit together."""
    c, schedule = problem.columns, Schedule(problem)
    weight = np.array(
        [
            pyo.value(model.y[key], exception=False) or 0.0
            for key in zip(
                c.device.tolist(), c.task.tolist(), c.receive.tolist(), c.upload.tolist(),
                c.iterations.tolist(), strict=True,
            )
        ]
    )  # fmt: skip
    for k in np.argsort(-weight, kind="stable").tolist():
        if weight[k] < _CHOSEN:
            break
        session = (c.device[k], c.task[k], c.receive[k], c.upload[k])
        size = round(pyo.value(model.B[tuple(int(n) for n in session)]))
        batch = int(np.clip(size, 1, c.batch_hi[k]))
        if schedule.fits(k, batch):
            schedule.insert(k, batch)
    fill(schedule)
    return schedule
