"""Branching on boxes of A_j around any convex relaxation: prices, bound, integer recovery.

Each box gives prices; the prices give a lower bound in closed form that owes nothing to the
numerical solver's tolerances (`pricing.lagrangian_bound`), a fractional point that is rounded
device by device, and cuts of the box against the incumbent. Boxes are split while the envelope of
N/A is what holds the bound back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mafl_opt.core.check import CLAIM_TOLERANCE
from mafl_opt.core.status import Termination
from mafl_opt.formulations.boxes import box_rules
from mafl_opt.formulations.pricing import Box, Prices, lagrangian_bound
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.leaves import Leaf, RelaxedPoint, cut, reprice
from mafl_opt.solvers.recovery import recover

__all__ = ["Relax", "branch", "certificate", "objective_ceiling", "verdict"]

#: Solves a relaxation on a box, given the incumbent's objective and the seconds left; None when
#: the numerical solver gave no point.
Relax = Callable[[Box, float, float | None], RelaxedPoint | None]

# Boxes stop paying when this many of them close less than this share of the gap.
_PATIENCE = 8
_PAY = 0.1


def branch(
    run: Run,
    improver: Improver,
    prepare: Callable[[float], Relax],
    leaves: list[Leaf],
    *,
    most_boxes: int,
) -> None:
    """Branch on boxes of A until the gap is reached, boxes stop paying, or time is up.

    Parameters
    ----------
    run : Run
        Gets plans and bounds.
    improver : Improver
    prepare : callable
        Makes the relaxation, given a typical objective; called when a first box is to be solved.
    leaves : list
        Kept up to date: at all times they cover every plan better than the incumbent.
    most_boxes : int
    """
    problem, rules = run.problem, box_rules(run.problem)
    top = run.objective if run.best is not None else objective_ceiling(run.problem)
    relax: Relax | None = None
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
    while open_leaves and len(history) < most_boxes and not run.stop():
        top = min(top, run.objective)
        leaf = min(open_leaves, key=lambda leaf: leaf.bound)
        if leaf.bound >= top * (1.0 - run.options.gap) or _stalled(history, top):
            break
        relax = relax or prepare(top)
        point = relax(rules.box(leaf.low, leaf.high, top), top, run.remaining())
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


def verdict(run: Run) -> Termination:
    """Say why a search that was not cut short ended."""
    if run.bound is None:
        return Termination.NUMERICAL
    if run.best is None:
        proved = run.bound >= objective_ceiling(run.problem)
        return Termination.INFEASIBLE if proved else Termination.STALLED
    # An objective of 0 has no relative gap: it is met or it is not.
    distance = run.objective - run.bound
    if distance <= 0:
        return Termination.OPTIMAL
    gap = distance / abs(run.objective) if run.objective else np.inf
    if gap <= CLAIM_TOLERANCE:
        return Termination.OPTIMAL
    return Termination.GAP_REACHED if gap <= run.options.gap else Termination.STALLED


def objective_ceiling(problem: Problem) -> float:
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


def certificate(bound: float | None, run: Run, leaves: list[Leaf]) -> dict[str, Any] | None:
    """Return what proves `bound` again; None when there is nothing to prove it with."""
    if bound is None or not leaves:
        return None
    return {
        "kind": "lagrangian",
        "bound": bound if run.best is None else min(bound, run.objective),
        "leaves": [leaf.to_dict() for leaf in leaves],
    }


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
