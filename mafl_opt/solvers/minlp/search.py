"""Boxes of A_j: prices from the linear relaxation, and an integer program where one is left open.

A plan better than the incumbent lies in a leaf that is not closed, and uses only columns and batch
sizes that the leaf's prices do not rule out (`points.batch_range`). On those the integer program
is a relaxation of P, so that HiGHS's lower bound, less its tolerances, is one of P.
"""

from __future__ import annotations

import time

import numpy as np

from mafl_opt.formulations.boxes import BoxRules, box_rules
from mafl_opt.formulations.pricing import Box
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.branching import objective_ceiling
from mafl_opt.solvers.cones import OutOfTime
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.leaves import Leaf, RelaxedPoint
from mafl_opt.solvers.minlp.engine import DUAL_TOLERANCE, TOLERANCE, Answer, Engine
from mafl_opt.solvers.minlp.master import Master
from mafl_opt.solvers.minlp.points import batch_range, grid, whole
from mafl_opt.solvers.minlp.rounding import rounded

__all__ = ["LinearRelaxation", "make_master", "search"]

# Batch sizes of the relaxation grow by this factor: any prices give a valid bound.
_GROWTH = 2.0
# Points that Pyomo writes down in a second, roughly, and as many as there is memory and time for.
_PER_SECOND, _MOST_POINTS = 5_000, 100_000
_TANGENT_ROUNDS = 3
# How far tangents may be off, and HiGHS's own gap, by the gap asked for.
_TANGENT_SHARE, _GAP_SHARE = 0.1, 0.4
# Tangents of the relaxation, in scaled objectives.
_TIGHT = 1e-4
# Below this a session of a binary point is not chosen.
_CHOSEN = 1e-3
# A bound that may be off by more than this part of itself is not claimed.
_MOST_LOSS = 1e-4


class LinearRelaxation:
    """The lifted relaxation by tangents, on some batch sizes of every column.

    Parameters
    ----------
    problem : Problem
    top : float
        Objective that plans stay below.
    """

    def __init__(self, problem: Problem, top: float) -> None:
        self._problem, self._top = problem, top
        self._points = grid(problem.columns, _GROWTH)
        self._engine: Engine | None = None

    def solve(self, box: Box, top: float, time_limit: float | None) -> RelaxedPoint | None:
        """Solve on a box. None: too large to write down, or no point from HiGHS.

        Raises
        ------
        OutOfTime
            When too little time is left to write it down.
        """
        began = time.perf_counter()

        def left() -> float | None:
            return None if time_limit is None else time_limit - (time.perf_counter() - began)

        if self._engine is None:
            if not _affordable(len(self._points), time_limit):
                return None
            rules = box_rules(self._problem)
            self._master = Master(self._problem, rules, self._points, self._top, integer=False)
        self._master.frame(box.progress_min, box.progress_max)
        self._engine = self._engine or Engine(self._master)
        for more in range(_TANGENT_ROUNDS, -1, -1):
            answer = self._engine.solve(time_limit=left(), gap=_TIGHT)
            if answer.values is None or answer.value is None or not answer.done:
                return None
            if not more or not self._master.tighten(answer.values, _TIGHT):
                break
        assert answer.values is not None
        assert answer.value is not None
        if not self._engine.has_duals or not (answer.values["A"] > 0).all():
            return None
        return self._master.point(answer.value, answer.values, self._engine.duals)


def _affordable(points: int, seconds: float | None) -> bool:
    """Whether so many points can be written down at all; raises `OutOfTime` if not in time."""
    if points > _MOST_POINTS:
        return False
    if seconds is not None and points > seconds * _PER_SECOND:
        raise OutOfTime
    return True


def search(run: Run, improver: Improver, leaves: list[Leaf]) -> None:
    """Solve an integer program on every leaf that is left open, weakest first.

    Parameters
    ----------
    run : Run
        Gets plans and bounds.
    improver : Improver
    leaves : list
        A cover of every plan better than the incumbent.
    """
    rules, ceiling = box_rules(run.problem), objective_ceiling(run.problem)
    claims = np.array([leaf.bound for leaf in leaves])
    for k in np.argsort(claims, kind="stable").tolist():
        top = min(run.objective, ceiling)
        if run.stop() or claims[k] >= top * (1.0 - run.options.gap):
            return
        master = make_master(run.problem, rules, leaves[k], top, run.remaining())
        loss = _tolerance_loss(run.problem, rules, top)
        if master is None or loss > _MOST_LOSS:
            return
        answer = _solve(run, improver, master)
        bound = 1.0 if answer.infeasible else answer.bound
        if bound is not None:
            claims[k] = max(claims[k], min(bound - loss, 1.0) * top)
        run.raise_bound(min(float(claims.min()), run.objective), "HiGHS")
        if not answer.done and not answer.infeasible:
            return


def _tolerance_loss(problem: Problem, rules: BoxRules, top: float) -> float:
    """How much too high HiGHS's tolerances can make its bound, as a part of `top`.

    A reduced cost of the wrong sign costs itself times the range of its variable: every device
    fills each slot once at most, and the totals are a few units.
    """
    places = problem.scenario.num_devices * problem.scenario.num_slots
    wrong_signs = DUAL_TOLERANCE * (2.0 * places + 10.0 * (1 + rules.weight.size))
    return wrong_signs + rules.tolerance_loss(top, TOLERANCE, places)


def make_master(
    problem: Problem, rules: BoxRules, leaf: Leaf, top: float, seconds: float | None = None
) -> Master | None:
    """Return the integer program of every plan below `top` in a leaf; None if too large."""
    near, low, high = batch_range(problem, leaf.prices, max(top - leaf.bound, 0.0))
    if not _affordable(int((high - low + 1)[near].sum()), seconds):
        return None
    index = np.flatnonzero(near)
    points = whole(index, low[index], high[index])
    master = Master(problem, rules, points, top, integer=True)
    master.frame(leaf.low, leaf.high)
    return master


def _solve(run: Run, improver: Improver, master: Master) -> Answer:
    """Solve an integer program, adding tangents while they matter; offer what it finds."""
    engine, aim = Engine(master), run.options.gap
    while True:
        answer = engine.solve(time_limit=run.remaining(), gap=_GAP_SHARE * aim)
        if answer.values is None:
            return answer
        points, z = master.points, answer.values["z"]
        plan = improver.descend(rounded(run.problem, points.column, points.batch, z, _CHOSEN))
        run.offer(plan, "HiGHS and local search")
        if not answer.done or run.stop():
            return answer
        if not master.tighten(answer.values, max(_TANGENT_SHARE * aim, TOLERANCE)):
            return answer
