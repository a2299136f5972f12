"""The integer program that SCIP is given, and what is heard from SCIP on the way.

Binaries: x_s, whether session s takes place, and y_k, whether it does with the iterations and the
batch size of choice k. Everything P adds up is linear in y, but for the ratio, which enters as

    sum_j gamma_j t_j + xi sum_k E_k y_k,   t_j A_j >= N_j,

a non-convex quadratic constraint that SCIP branches on. Rows are scaled to limits of one: A by the
most that caps and uplinks admit, and N and t so that the best plan known has the objective 1. What
would be above 1 alone is in no better plan and gets no variable, so every coefficient is in [0, 1].

SCIP lets every row be missed by 1e-9 and takes smaller coefficients for 0. On t A >= N that is an
error of 1e-9 / A in t. It is added up at the least A of a better plan (fact 6) and taken off the
bound; where it is too much of it, there is no bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyscipopt import SCIP_EVENTTYPE, SCIP_STAGE, Eventhdlr, Model, quicksum

from mafl_opt.core.status import Termination
from mafl_opt.formulations.bound import initial_error
from mafl_opt.formulations.boxes import box_rules
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.branching import objective_ceiling
from mafl_opt.solvers.schedule import Schedule

__all__ = ["GridModel"]

Ints = NDArray[np.int64]

# Rows may be broken by this, relative to their limit: what the checker lets pass.
_FEASIBILITY = 1e-9
_LIMIT = 1.0 + _FEASIBILITY
# No better plan has a term above 1, and the best one known must not be lost.
_TOP = 1.0 + 1e-6
# Taken off SCIP's bound, relative to it: its tolerances add up over rows.
_BOUND_LOSS = 1e-6
# A bound that may be off by more than this part of itself is not printed.
_MOST_LOSS = 1e-4
# A bound is worth a line in the trace when it has risen by this much of itself.
_WORTH_NOTING = 1e-3
_WAIT_S = 0.1


class GridModel:
    """P of one run in SCIP.

    Parameters
    ----------
    run : Run
        Gets every plan and bound that SCIP finds; its best plan is where SCIP starts.
    """

    def __init__(self, run: Run) -> None:
        self._run, self._problem = run, run.problem
        s, c = run.problem.scenario, run.problem.columns
        self._column: Ints = np.repeat(np.arange(len(c)), c.batch_hi)
        first = np.repeat(np.cumsum(c.batch_hi) - c.batch_hi, c.batch_hi)
        self._batch: Ints = np.arange(self._column.size) - first + 1
        grid = c.take(self._column)
        self._energy, self._error = grid.energy(self._batch), grid.error_at(self._batch)
        rules = box_rules(run.problem)
        self._scale = min(run.objective, objective_ceiling(run.problem))
        scales = rules.scales(self._scale)
        self._by_a = scales.progress
        self._error *= scales.error[grid.task]
        self._start = initial_error(s) * scales.error
        joule = s.energy_weight * self._energy / self._scale
        sessions_most = s.num_devices * s.num_slots
        rows = rules.tolerance_loss(self._scale, _FEASIBILITY, sessions_most)
        self._loss = _BOUND_LOSS + rows
        self._model = Model()
        self._model.hideOutput()
        useful = (self._error <= _TOP) & (joule <= _TOP)
        self._y = [self._model.addVar(vtype="B", ub=float(u)) for u in useful]
        sessions = self._sessions()
        self._limits(sessions)
        cost = [self._task(int(j), useful) for j in np.flatnonzero(s.tasks.weight)]
        cost.append(self._sum(joule, np.flatnonzero(useful & (joule > 0))))
        self._model.setObjective(quicksum(cost), "minimize")
        if run.schedule is not None:
            self._begin_with(run.schedule)

    def solve(self) -> str:
        """Solve and return SCIP's status."""
        model, options = self._model, self._run.options
        # Probing thousands of binaries takes longer than most solves.
        model.setParam("propagating/probing/maxprerounds", 0)
        model.setParam("misc/catchctrlc", False)
        model.setParam("numerics/feastol", _FEASIBILITY)
        model.setParam("numerics/dualfeastol", _FEASIBILITY)
        model.setParam("limits/gap", options.gap)
        model.setParam("randomization/randomseedshift", options.seed % 2**31)
        remaining = self._run.remaining()
        if remaining is not None:
            model.setParam("limits/time", remaining)
        watch = _Watch(self)
        model.includeEventhdlr(watch, "mafl_opt", "tells the run what was found")
        self._optimize()
        status = str(model.getStatus())
        if status not in ("infeasible", "inforunbd"):
            self.hear_plan()
            self.hear_bound(always=True)
        return status

    def _optimize(self) -> None:
        """Run SCIP in a thread, because Ctrl-C only reaches a main thread that runs Python."""
        worker = Thread(target=self._model.optimizeNogil, daemon=True)
        worker.start()
        try:
            while worker.is_alive():
                worker.join(_WAIT_S)
        except KeyboardInterrupt:
            self._run.termination = Termination.INTERRUPTED
            # SCIP takes no interruption while it sets up the search.
            while worker.is_alive() and self._model.getStage() == SCIP_STAGE.INITSOLVE:
                worker.join(_WAIT_S)
            self._model.interruptSolve()
            worker.join()

    # -- rows ------------------------------------------------------------------------------

    def _sum(self, factors: NDArray[np.float64], which: Iterable[int]) -> Any:
        return quicksum(float(factors[k]) * self._y[k] for k in which)

    def _sessions(self) -> list[tuple[int, Any]]:
        """Add x of every session, tied to its choices; return its first column and x."""
        c = self._problem.columns
        keys = np.stack([c.device, c.task, c.receive, c.upload])
        _, first, session = np.unique(keys, axis=1, return_index=True, return_inverse=True)
        owner = session.ravel()[self._column]
        order = np.argsort(owner, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)
        out = []
        for column, choices in zip(first.tolist(), parts, strict=True):
            x = self._model.addVar(vtype="B")
            self._model.addCons(quicksum(self._y[k] for k in choices) == x)
            out.append((column, x))
        return out

    def _limits(self, sessions: list[tuple[int, Any]]) -> None:
        """Add exclusive, uplink, energy and step_cap."""
        s, c = self._problem.scenario, self._problem.columns
        model, grid = self._model, c.take(self._column)
        for g in range(s.num_slots):
            here = [(k, x) for k, x in sessions if c.receive[k] <= g < c.upload[k]]
            for i in range(s.num_devices):
                model.addCons(quicksum(x for k, x in here if c.device[k] == i) <= 1)
            ending = [x for k, x in here if c.upload[k] == g + 1]
            model.addCons(quicksum(ending) <= int(s.network.uplink_capacity[g]))
            for j in range(s.num_tasks):
                which = np.flatnonzero((grid.upload == g + 1) & (grid.task == j))
                model.addCons(self._sum(grid.step / s.tasks.step_cap[j], which) <= _LIMIT)
        for i, budget in enumerate(s.devices.energy_budget_j.tolist()):
            which = np.flatnonzero(grid.device == i)
            unit = budget if budget > 0 else max(float(self._energy.max(initial=0.0)), 1.0)
            model.addCons(self._sum(self._energy / unit, which) <= budget / unit * _LIMIT)

    def _task(self, j: int, useful: NDArray[np.bool_]) -> Any:
        """Add N, A and t of a weighted task; return t, its term of the objective."""
        c, model = self._problem.columns, self._model
        which = np.flatnonzero((c.task[self._column] == j) & useful)
        n, a = model.addVar(lb=0.0, ub=_TOP), model.addVar(lb=0.0, ub=_LIMIT)
        t = model.addVar(lb=0.0, ub=_TOP)
        progress = c.progress[self._column] / self._by_a[j]
        model.addCons(n == float(self._start[j]) + self._sum(self._error, which))
        model.addCons(a == self._sum(progress, which))
        model.addCons(t * a >= n)
        # Without this, N = A = 0 would pass for a task that starts without error.
        model.addCons(quicksum(self._y[k] for k in which) >= 1)
        return t

    @property
    def is_trusted(self) -> bool:
        """Whether SCIP's tolerances leave its bound a meaning."""
        return self._loss <= _MOST_LOSS

    # -- to and from SCIP ------------------------------------------------------------------

    def _begin_with(self, schedule: Schedule) -> None:
        solution = self._model.createPartialSol()
        first = np.cumsum(self._problem.columns.batch_hi) - self._problem.columns.batch_hi
        chosen = {int(first[k]) + batch - 1 for k, batch in schedule.batch.items()}
        for k, y in enumerate(self._y):
            self._model.setSolVal(solution, y, float(k in chosen))
        self._model.addSol(solution)

    def hear_plan(self) -> None:
        """Offer SCIP's best solution to the run; what breaks a limit by round-off is left out."""
        if self._model.getNSols() == 0:
            return
        solution = self._model.getBestSol()
        schedule = Schedule(self._problem)
        for k, y in enumerate(self._y):
            if self._model.getSolVal(solution, y) > 0.5:
                column, batch = int(self._column[k]), int(self._batch[k])
                if schedule.fits(column, batch):
                    schedule.insert(column, batch)
        self._run.offer(schedule, "SCIP solution")

    def hear_bound(self, *, always: bool = False) -> None:
        """Tell the run SCIP's bound, less a tolerance, if it rose enough to be worth it."""
        dual = self._model.getDualbound()
        if not self.is_trusted or abs(dual) >= self._model.infinity():
            return
        bound = dual * self._scale
        # A proof that nothing beats the best plan bounds the others by that plan.
        bound = min(bound, self._run.objective)
        bound -= self._loss * abs(bound)
        known = self._run.bound
        if always or known is None or bound > known + _WORTH_NOTING * abs(known):
            self._run.raise_bound(bound, "SCIP bound")


class _Watch(Eventhdlr):  # type: ignore[misc]
    """Passes plans and bounds on while SCIP works."""

    _EVENTS = (SCIP_EVENTTYPE.BESTSOLFOUND, SCIP_EVENTTYPE.NODESOLVED)

    def __init__(self, grid: GridModel) -> None:
        self._grid = grid

    def eventinit(self) -> None:
        for event in self._EVENTS:
            self.model.catchEvent(event, self)

    def eventexit(self) -> None:
        for event in self._EVENTS:
            self.model.dropEvent(event, self)

    def eventexec(self, event: Any) -> None:
        if event.getType() == SCIP_EVENTTYPE.BESTSOLFOUND:
            self._grid.hear_plan()
        self._grid.hear_bound()
