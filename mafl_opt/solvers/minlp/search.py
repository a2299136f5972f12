"""The search for what the boxes left open: a tree, and masters that HiGHS solves.

A plan better than the incumbent lies in a leaf that is not closed, and uses only columns and batch
sizes that the leaf's prices do not rule out (`points.batch_range`). Much of that goes to the tree
(`tree`); little, and what the tree cannot fork, to a master. On what is left the master is a
relaxation of P, so HiGHS's lower bound, less its tolerances, is one of P.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.boxes import BoxRules, box_rules
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import Improver, fill
from mafl_opt.solvers.leaves import Leaf
from mafl_opt.solvers.minlp.engine import Answer, Engine
from mafl_opt.solvers.minlp.master import Master
from mafl_opt.solvers.minlp.points import Points, batch_range, outer_points
from mafl_opt.solvers.minlp.tolls import Region
from mafl_opt.solvers.minlp.tree import Node, Tree
from mafl_opt.solvers.schedule import Schedule

__all__ = ["Left", "gap_reached", "left_open", "make_master", "search"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Up to this many points, each batch size is a point of its own and each z is binary; beyond, batch
# polygons have fewer corners and only the sessions are binary.
_POINTS_MAX = 40_000
_COARSE = 1.6
_FIRST_PIECES, _MOST_PIECES = 12, 48
# With more points than the first number the tree comes first; with more than the second, its linear
# programs would take minutes each.
_FEW_POINTS, _MANY_POINTS = 2_000, 400_000
# Nodes of one solve, so that a search without a time limit ends.
_NODES = 20_000
# HiGHS's own gap, and what the ratio's pieces may lose, by the gap asked for.
_SHARE = 0.4
# A bound on the way is news when it is this share of the gap asked for above the last one.
_NEWS = 0.5


def search(run: Run, improver: Improver, leaves: list[Leaf], ceiling: float) -> None:
    """Search until the gap is reached, time is up, or nothing is left to refine.

    Parameters
    ----------
    run : Run
        Gets plans and bounds.
    improver : Improver
    leaves : list
        A cover of every plan better than the incumbent.
    ceiling : float
        Objective no plan exceeds, in place of an incumbent's.
    """
    rules = box_rules(run.problem)
    top = min(run.objective, ceiling)
    left = left_open(run.problem, rules, leaves, top)
    if left is None:
        run.raise_bound(top, "nothing left")
        return
    cap = np.inf
    if _FEW_POINTS < left.points <= _MANY_POINTS:
        tree = Tree(
            run, improver, _root(rules, left, top), (left.batch_low, left.batch_high), ceiling
        )
        tree.search()
        if gap_reached(run) or not tree.whole or run.stop():
            return
        cap = tree.open_bound()
        whole = [node for _, node in tree.whole]
        left = replace(
            left,
            columns=left.columns & np.logical_or.reduce([~node.barred for node in whole]),
            low=np.min([node.region.low for node in whole], axis=0),
            high=np.max([node.region.high for node in whole], axis=0),
        )
    _solve_masters(run, improver, left, ceiling, cap)


def _root(rules: BoxRules, left: Left, top: float) -> Node:
    region = Region(rules=rules, low=left.low, high=left.high, top=top)
    return Node(region=region, barred=~left.columns)


def _solve_masters(
    run: Run, improver: Improver, left: Left, ceiling: float, cap: float
) -> None:  # fmt: skip
    """Solve masters with more and more pieces; `cap` bounds what is not in them."""
    pieces, rules = _FIRST_PIECES, box_rules(run.problem)
    while not run.stop():
        top = min(run.objective, ceiling)
        master = make_master(run.problem, rules, left, top, pieces)
        answer, loose = _solve(run, improver, Engine(master), master, cap)
        if gap_reached(run) or answer.infeasible or not answer.done:
            return
        if run.objective < top * (1.0 - _SHARE * run.options.gap):
            # A better incumbent shortens the pieces.
            continue
        if loose <= _SHARE * run.options.gap or pieces >= _MOST_PIECES:
            return
        pieces *= 2


def gap_reached(run: Run) -> bool:
    """Whether the bound is within the gap asked for."""
    if run.bound is None or run.best is None:
        return False
    return run.objective - run.bound <= run.options.gap * abs(run.objective)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Left:
    """Where a plan better than the incumbent may lie.

    columns : (columns,), bool
    batch_low, batch_high : (columns,)
        Range of batch sizes.
    low, high : (tasks,)
        Range of A_j.
    """

    columns: NDArray[np.bool_]
    batch_low: Ints
    batch_high: Ints
    low: Floats
    high: Floats

    @property
    def points(self) -> int:
        """Number of columns with a batch size."""
        return int((self.batch_high - self.batch_low + 1)[self.columns].sum())


def left_open(problem: Problem, rules: BoxRules, leaves: list[Leaf], top: float) -> Left | None:
    """Return what leaves leave open for plans below `top`; None when that is nothing."""
    alive = [leaf for leaf in leaves if leaf.bound < top]
    if not alive:
        return None
    count = len(problem.columns)
    columns = np.zeros(count, dtype=bool)
    low, high = problem.columns.batch_hi.copy(), np.ones(count, dtype=np.int64)
    for leaf in alive:
        near, first, last = batch_range(problem, leaf.prices, top - leaf.bound)
        low[near], high[near] = np.minimum(low, first)[near], np.maximum(high, last)[near]
        columns |= near
    root_low, root_high = rules.root(top)
    box_low = np.maximum(np.min([leaf.low for leaf in alive], axis=0), root_low)
    box_high = np.minimum(np.max([leaf.high for leaf in alive], axis=0), root_high)
    return Left(
        columns=columns, batch_low=low, batch_high=high, low=np.minimum(box_low, box_high),
        high=box_high,
    )  # fmt: skip


def make_master(problem: Problem, rules: BoxRules, left: Left, top: float, pieces: int) -> Master:
    """Return the master of every plan below `top` in what is left."""
    index = np.flatnonzero(left.columns)
    low, high = left.batch_low[index], left.batch_high[index]
    points, integer = outer_points(problem.columns, index, low, high, 1.0), "point"
    if len(points) > _POINTS_MAX:
        points, integer = outer_points(problem.columns, index, low, high, _COARSE), "session"
    master = Master(problem, points, top, integer)
    master.frame(rules, left.low, left.high, top, pieces)
    return master


def _solve(
    run: Run, improver: Improver, engine: Engine, master: Master, cap: float
) -> tuple[Answer, float]:
    """Solve a master, adding tangents while they matter; returns what the pieces still lose."""
    top, aim = master.scale, _SHARE * run.options.gap

    heard = [-np.inf]

    def claim(bound: float) -> None:
        run.raise_bound(min(bound * top - master.margin(), top, cap, run.objective), "HiGHS")

    def found(bound: float | None, z: Floats | None) -> bool:
        if bound is not None and bound > heard[0] + _NEWS * run.options.gap:
            heard[0] = bound
            claim(bound)
        if z is not None:
            run.offer(_schedule(run.problem, master.points, z), "HiGHS")
        return gap_reached(run)

    if run.schedule is not None:
        engine.start(_weights(master.points, run.schedule))

    while True:
        answer = engine.solve(time_limit=run.remaining(), gap=aim, nodes=_NODES, found=found)
        if answer.bound is not None:
            claim(answer.bound)
        if answer.infeasible and run.best is not None:
            claim(1.0)
        if answer.values is None:
            return answer, 0.0
        plan = improver.descend(_schedule(run.problem, master.points, answer.values["z"]))
        run.offer(plan, "HiGHS and local search")
        if not answer.done or gap_reached(run) or run.stop():
            return answer, 0.0
        if master.loose(answer.values) <= 0.25 * aim:
            return answer, master.ratio_loss(answer.values)
        master.tighten(answer.values)


def _schedule(problem: Problem, points: Points, z: Floats) -> Schedule:
    """Turn a master's point into a schedule: sessions by weight, with the batch sizes that fit."""
    schedule, columns = Schedule(problem), problem.columns
    for p in np.argsort(-z, kind="stable"):
        if z[p] < 1e-3:
            break
        k, batch = int(points.column[p]), int(points.batch[p])
        if schedule.room(np.array([k]))[0]:
            left = columns.take(np.array([k])).batch_within(
                schedule.energy_left()[columns.device[k]]
            )
            if left[0] >= 1:
                schedule.insert(k, int(min(batch, left[0])))
    fill(schedule)
    return schedule


def _weights(points: Points, schedule: Schedule) -> Floats:
    """Return z of a schedule, as far as the points hold it; (points,)."""
    z = np.zeros(len(points))
    for k, batch in schedule.batch.items():
        own = np.flatnonzero((points.column == k) & (points.batch <= batch))
        if own.size:
            z[own[np.argmax(points.batch[own])]] = 1.0
    return z
