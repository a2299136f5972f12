"""The integer program that SCIP is given, and what is heard from SCIP on the way.

Binaries: x_s, whether session s takes place, and y_k, whether it does with the iterations and the
batch size of choice k. Everything P adds up is linear in y, but for the ratio, which enters as

    sum_j gamma_j t_j + xi sum_k E_k y_k,   t_j A_j >= N_j,

a non-convex quadratic constraint that SCIP branches on. Rows are scaled to limits of one.
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
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.schedule import Schedule

__all__ = ["GridModel"]

Ints = NDArray[np.int64]

# Rows may be broken by this, relative to their limit: what the checker lets pass.
_FEASIBILITY = 1e-9
_LIMIT = 1.0 + _FEASIBILITY
# Taken off SCIP's bound, relative to it: its tolerances add up over rows.
_BOUND_LOSS = 1e-6
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
        start = initial_error(s)
        self._by_n = np.where(start > 0, start, 1.0)
        self._by_a = s.num_slots * s.tasks.step_cap / 2.0
        per_ratio = s.tasks.weight * self._by_n / self._by_a
        self._scale = run.objective if np.isfinite(run.objective) else float(per_ratio.sum())
        self._scale = self._scale if self._scale > 0 else 1.0
        self._model = Model()
        self._model.hideOutput()
        self._y = [self._model.addVar(vtype="B") for _ in range(self._column.size)]
        self._ratio: dict[int, tuple[Any, Any, Any]] = {}
        sessions = self._sessions()
        self._limits(sessions)
        cost = [self._task(int(j), float(per_ratio[j])) for j in np.flatnonzero(s.tasks.weight)]
        joule = s.energy_weight * self._energy / self._scale
        cost.append(self._sum(joule, np.flatnonzero(joule)))
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

    def _task(self, j: int, per_ratio: float) -> Any:
        """Add N, A and t of a weighted task; return its term of the objective."""
        c, model = self._problem.columns, self._model
        which = np.flatnonzero(c.task[self._column] == j)
        start = float(initial_error(self._problem.scenario)[j])
        n, a = model.addVar(lb=0.0), model.addVar(lb=0.0, ub=1.0 + _FEASIBILITY)
        # No better plan has a term above the objective of the best one so far.
        best = self._run.objective
        top = best / per_ratio * (1 + _BOUND_LOSS) if np.isfinite(best) else None
        t = model.addVar(lb=0.0, ub=top)
        progress = c.progress[self._column] / self._by_a[j]
        model.addCons(n == start / self._by_n[j] + self._sum(self._error / self._by_n[j], which))
        model.addCons(a == self._sum(progress, which))
        model.addCons(t * a >= n)
        # Without this, N = A = 0 would pass for a task that starts without error.
        model.addCons(quicksum(self._y[k] for k in which) >= 1)
        self._ratio[j] = (n, a, t)
        return per_ratio / self._scale * t

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
        if abs(dual) >= self._model.infinity():
            return
        bound = dual * self._scale
        # A proof that nothing beats the best plan bounds the others by that plan.
        bound = min(bound, self._run.objective)
        bound -= _BOUND_LOSS * abs(bound)
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
