"""Backend `conic`: the lifted form through cvxpy, boxes of A_j, integer recovery.

The relaxation is convex on a box of the A_j. Each box gives prices; the prices give a lower bound
in closed form that owes nothing to the solver's tolerances (`pricing.lagrangian_bound`), a
fractional point that is rounded device by device, and cuts of the box against the incumbent.
Boxes are split while the envelope of N/A is what holds the bound back.
"""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.core.status import Termination
from mafl_opt.formulations.boxes import box_rules
from mafl_opt.formulations.pricing import Prices, lagrangian_bound
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.conic.leaves import Leaf, cut, reprice
from mafl_opt.solvers.conic.relaxation import SOLVERS, ColumnPool
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.recovery import polish, recover, warm_up

__all__ = ["Conic"]

_MOST_BOXES = 60
# Boxes stop paying when this many of them close less than this share of the gap.
_PATIENCE = 8
_PAY = 0.1
_OPTIMAL_GAP = 1e-6


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
        solver = run.options.solver or "clarabel"
        if solver not in SOLVERS or SOLVERS[solver] not in cp.installed_solvers():
            usable = [name for name, code in SOLVERS.items() if code in cp.installed_solvers()]
            raise InputError("solver", "one of " + ", ".join(usable), solver)
        leaves: list[Leaf] = []
        with run.interruptible():
            improver = Improver(run.problem, run.options.seed, run.stop)
            warm_up(run, improver)
            self._bound(run, improver, solver, leaves)
            if self._verdict(run) is Termination.COMPLETED:
                polish(run, improver)
        return run.plan(self.name, self._verdict(run), _certificate(run, leaves))

    def _bound(self, run: Run, improver: Improver, solver: str, leaves: list[Leaf]) -> None:
        """Branch on boxes of A; `leaves` always covers every plan better than the incumbent."""
        problem, rules = run.problem, box_rules(run.problem)
        top = run.objective if run.best is not None else _objective_ceiling(run.problem)
        pool: ColumnPool | None = None
        low, high = rules.root(top)
        no_prices = _no_prices(problem)
        first = lagrangian_bound(
            problem.scenario, problem.columns, problem.program, no_prices, rules.box(low, high, top)
        )[0]
        open_leaves = [Leaf(low=low, high=high, bound=first, prices=no_prices)]
        leaves[:] = open_leaves
        run.raise_bound(min(first, run.objective), "no prices")
        closed: list[Leaf] = []
        history: list[float] = []
        while open_leaves and len(history) < _MOST_BOXES and not run.stop():
            top = min(top, run.objective)
            leaf = min(open_leaves, key=lambda leaf: leaf.bound)
            if leaf.bound >= top * (1.0 - run.options.gap) or _stalled(history, top):
                break
            pool = pool or ColumnPool(problem, solver, top)
            point = pool.solve(rules.box(leaf.low, leaf.high, top), top, run.remaining())
            open_leaves.remove(leaf)
            if point is None:
                closed.append(leaf)
                history.append(leaf.bound)
                continue
            recover(run, improver, point.x, point.prices, thorough=not history)
            leaf = reprice(problem, rules, leaf, point.prices, top)
            slabs, children = cut(rules, leaf, point, min(top, run.objective))
            closed += slabs
            (open_leaves if len(children) > 1 else closed).extend(children)
            leaves[:] = [*open_leaves, *closed]
            bound = min(leaf.bound for leaf in leaves)
            history.append(bound)
            run.raise_bound(min(bound, run.objective), f"box {len(history)}")

    def _verdict(self, run: Run) -> Termination:
        if run.bound is None:
            return Termination.NUMERICAL
        if run.best is None:
            proved = run.bound >= _objective_ceiling(run.problem)
            return Termination.INFEASIBLE if proved else Termination.COMPLETED
        # An objective of 0 has no relative gap: it is met or it is not.
        distance = run.objective - run.bound
        if distance <= 0:
            return Termination.OPTIMAL
        gap = distance / abs(run.objective) if run.objective else np.inf
        if gap <= _OPTIMAL_GAP:
            return Termination.OPTIMAL
        return Termination.GAP_REACHED if gap <= run.options.gap else Termination.COMPLETED


def _stalled(history: list[float], top: float) -> bool:
    """Whether the last boxes closed too little of the gap to go on."""
    if len(history) <= _PATIENCE:
        return False
    return history[-1] - history[-1 - _PATIENCE] < _PAY * (top - history[-1])


def _no_prices(problem: Problem) -> Prices:
    s = problem.scenario
    return Prices(
        numerator=np.zeros(s.num_tasks), progress=np.zeros(s.num_tasks),
        uplink=np.zeros(s.num_slots), step_cap=np.zeros((s.num_slots, s.num_tasks)),
        energy=np.zeros(s.num_devices),
    )  # fmt: skip


def _objective_ceiling(problem: Problem) -> float:
    """No feasible plan has a larger objective: all errors over the smallest progress."""
    s, c = problem.scenario, problem.columns
    total = float(s.energy_weight * s.devices.energy_budget_j.sum())
    for j in np.flatnonzero(s.tasks.weight > 0):
        own = c.task == j
        most = s.loss_drift[:, j].sum() + s.tasks.initial_gap[j]
        ones = np.ones(int(own.sum()))
        most += float(c.take(own).error_at(ones).sum())
        total += float(s.tasks.weight[j] * most / c.progress[own].min())
    return total


def _certificate(run: Run, leaves: list[Leaf]) -> dict[str, Any] | None:
    if run.bound is None or not leaves:
        return None
    bound = run.bound if run.best is None else min(run.bound, run.objective)
    return {
        "kind": "lagrangian",
        "bound": bound,
        "leaves": [leaf.to_dict() for leaf in leaves],
    }
