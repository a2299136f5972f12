"""The mixed-integer search: what the boxes left open, as masters that HiGHS solves.

A plan better than the incumbent lies in a leaf that is not closed, and uses only columns and batch
sizes that the leaf's prices do not rule out (`points.batch_range`). On what is left the master is
a relaxation of P, so HiGHS's lower bound, less its tolerances, is one of P.
"""

from __future__ import annotations

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
from mafl_opt.solvers.schedule import Schedule

__all__ = ["make_master", "search"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Up to this many points, each batch size is a point of its own and each z is binary; beyond, batch
# polygons have fewer corners and only the sessions are binary.
_POINTS_MAX = 40_000
_COARSE = 1.6
_FIRST_PIECES, _MOST_PIECES = 12, 48
# Nodes of one solve, so that a search without a time limit ends.
_NODES = 20_000
# HiGHS's own gap, and what the ratio's pieces may lose, by the gap asked for.
_SHARE = 0.4
# A small master comes first, of about so many points: its plans rule out columns of the whole one.
# It may take this share of the time left and so many nodes.
_SMALL_POINTS = 800
_SMALL_TIME = 0.15
_SMALL_NODES = 300
# A bound on the way is news when it is this share of the gap asked for above the last one.
_NEWS = 0.5


def search(run: Run, improver: Improver, leaves: list[Leaf], ceiling: float) -> None:
    """Solve masters until the gap is reached, time is up, or nothing is left to refine.

    Parameters
    ----------
    run : Run
        Gets plans and HiGHS's bounds.
    improver : Improver
    leaves : list
        A cover of every plan better than the incumbent.
    ceiling : float
        Objective no plan exceeds, in place of an incumbent's.
    """
    pieces = _FIRST_PIECES
    rules = box_rules(run.problem)
    small = True
    while not run.stop():
        top = min(run.objective, ceiling)
        share = _small_share(run.problem, leaves, top) if small else 1.0
        master = make_master(run.problem, rules, leaves, top, pieces, share)
        if master is None:
            run.raise_bound(top, "nothing left")
            return
        if share < 1.0:
            small = _solve_small(run, improver, Engine(master), master)
            continue
        answer, loose = _solve(run, improver, Engine(master), master)
        if gap_reached(run) or answer.infeasible or not answer.done:
            return
        if run.objective < top * (1.0 - _SHARE * run.options.gap):
            # A better incumbent rules out more columns.
            continue
        if loose <= _SHARE * run.options.gap or pieces >= _MOST_PIECES:
            return
        pieces *= 2


def gap_reached(run: Run) -> bool:
    """Whether the bound is within the gap asked for."""
    if run.bound is None or run.best is None:
        return False
    return run.objective - run.bound <= run.options.gap * abs(run.objective)


def make_master(
    problem: Problem, rules: BoxRules, leaves: list[Leaf], top: float, pieces: int,
    share: float = 1.0,
) -> Master | None:  # fmt: skip
    """Return the master of every plan below `top`; None when the leaves hold none.

    With a `share` below 1 it keeps what lies within that share of the gap only: a small master,
    good for plans but without a bound to speak of.
    """
    alive = [leaf for leaf in leaves if leaf.bound < top]
    if not alive:
        return None
    index, low, high = _left(problem, alive, top, share)
    points = outer_points(problem.columns, index, low, high, 1.0)
    integer = "point"
    if len(points) > _POINTS_MAX:
        points = outer_points(problem.columns, index, low, high, _COARSE)
        integer = "session"
    master = Master(problem, points, top, integer)
    root_low, root_high = rules.root(top)
    box_low = np.maximum(np.min([leaf.low for leaf in alive], axis=0), root_low)
    box_high = np.minimum(np.max([leaf.high for leaf in alive], axis=0), root_high)
    master.frame(rules, np.minimum(box_low, box_high), box_high, top, pieces)
    return master


def _left(problem: Problem, alive: list[Leaf], top: float, share: float) -> tuple[Ints, Ints, Ints]:
    """Columns and ranges of batch sizes that some leaf leaves open."""
    count = len(problem.columns)
    kept = np.zeros(count, dtype=bool)
    low, high = problem.columns.batch_hi.copy(), np.ones(count, dtype=np.int64)
    for leaf in alive:
        near, first, last = batch_range(problem, leaf.prices, share * (top - leaf.bound))
        low[near], high[near] = np.minimum(low, first)[near], np.maximum(high, last)[near]
        kept |= near
    index = np.flatnonzero(kept)
    return index, low[index], high[index]


def _small_share(problem: Problem, leaves: list[Leaf], top: float) -> float:
    """Share of the gap within which about `_SMALL_POINTS` points lie; 1 when few are left."""
    alive = [leaf for leaf in leaves if leaf.bound < top]
    share = 1.0
    while alive:
        _, low, high = _left(problem, alive, top, share)
        if (high - low + 1).sum() <= _SMALL_POINTS or share < 1e-3:
            break
        share *= 0.6
    return share


def _solve_small(run: Run, improver: Improver, engine: Engine, master: Master) -> bool:
    """Solve a small master for its plans alone; returns whether another is worth while."""
    before, limit = run.objective, run.remaining()
    if run.best is not None:
        engine.start(_weights(master.points, run.schedule))

    def found(_: float | None, z: Floats | None) -> bool:
        if z is not None:
            run.offer(_schedule(run.problem, master.points, z), "HiGHS, small")
        return gap_reached(run)

    answer = engine.solve(
        time_limit=None if limit is None else _SMALL_TIME * limit, nodes=_SMALL_NODES,
        gap=_SHARE * run.options.gap, found=found,
    )  # fmt: skip
    if answer.values is not None:
        plan = improver.descend(_schedule(run.problem, master.points, answer.values["z"]))
        run.offer(plan, "HiGHS, small")
    return run.objective < before * (1.0 - run.options.gap)


def _solve(run: Run, improver: Improver, engine: Engine, master: Master) -> tuple[Answer, float]:
    """Solve a master, adding tangents while they matter; returns what the pieces still lose."""
    top, aim = master.scale, _SHARE * run.options.gap

    heard = [-np.inf]

    def claim(bound: float) -> None:
        run.raise_bound(min(bound * top - master.margin(), top, run.objective), "HiGHS")

    def found(bound: float | None, z: Floats | None) -> bool:
        if bound is not None and bound > heard[0] + _NEWS * run.options.gap:
            heard[0] = bound
            claim(bound)
        if z is not None:
            run.offer(_schedule(run.problem, master.points, z), "HiGHS")
        return gap_reached(run)

    if run.best is not None:
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
