"""The master's linear relaxation on boxes of A: prices for the certified bound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.boxes import box_rules
from mafl_opt.formulations.pricing import Box, lagrangian_bound
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.leaves import RelaxedPoint
from mafl_opt.solvers.minlp.engine import Engine
from mafl_opt.solvers.minlp.master import Master
from mafl_opt.solvers.minlp.points import batch_range, outer_points

__all__ = ["LinearRelaxation"]

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Batch sizes at which the first relaxation takes an edge grow by this factor, later ones by that.
_COARSE, _FINE = 2.0, 1.25
# Columns within this share of the gap of the best plan are seen by the relaxation.
_KEEP = 0.1
# The relaxation's columns will do when the bound over all loses at most this share of the gap.
_LOSS = 0.05
_MOST_PASSES = 4
_TANGENT_ROUNDS = 3
_TIGHT = 1e-4


class LinearRelaxation:
    """The lifted relaxation by tangents, on the columns that matter.

    A bound is valid at any prices as long as it is taken over all columns, so that the first box is
    solved with every column and few edges, later ones with the columns that came near.

    Parameters
    ----------
    problem : Problem
    scale : float
    """

    def __init__(self, problem: Problem, scale: float) -> None:
        self._problem, self._scale = problem, scale
        self._rules = box_rules(problem)
        every = np.arange(len(problem.columns))
        self._compile(every, np.ones_like(every), problem.columns.batch_hi, _COARSE)
        self._kept = np.zeros(every.size, dtype=bool)
        self._low, self._high = problem.columns.batch_hi.copy(), np.ones_like(every)

    def solve(self, box: Box, top: float, time_limit: float | None) -> RelaxedPoint | None:
        """Solve on a box; `top` is the incumbent's objective. None: no point from HiGHS."""
        problem = self._problem
        point = None
        for _ in range(_MOST_PASSES):
            found = self._solve(box, top, time_limit)
            if found is None:
                return point
            point = found
            bound, _, _ = lagrangian_bound(
                problem.scenario, problem.columns, problem.program, point.prices, box
            )
            gap = max(top - bound, 1e-6 * abs(top))
            first = not self._kept.any()
            if not first and point.value - bound <= _LOSS * gap:
                return point
            near, low, high = batch_range(problem, point.prices, _KEEP * gap)
            near |= point.x > _TIGHT
            wider = near & ~(self._kept & (low >= self._low) & (high <= self._high))
            if not wider.any():
                return point
            self._low = np.where(near, np.minimum(self._low, low), self._low)
            self._high = np.where(near, np.maximum(self._high, high), self._high)
            self._kept |= near
            kept = np.flatnonzero(self._kept)
            self._compile(kept, self._low[kept], self._high[kept], _FINE)
            if first:
                return point
        return point

    def _compile(self, kept: Ints, low: Ints, high: Ints, growth: float) -> None:
        points = outer_points(self._problem.columns, kept, low, high, growth)
        self._master = Master(self._problem, points, self._scale, "none")
        self._engine: Engine | None = None

    def _solve(self, box: Box, top: float, time_limit: float | None) -> RelaxedPoint | None:
        master = self._master
        master.frame(self._rules, box.progress_min, box.progress_max, top, 1)
        self._engine = self._engine or Engine(master)
        for more in range(_TANGENT_ROUNDS, -1, -1):
            answer = self._engine.solve(time_limit=time_limit)
            if answer.values is None or answer.value is None or not answer.done:
                return None
            if not more or master.loose(answer.values) <= _TIGHT:
                break
            master.tighten(answer.values)
        assert answer.values is not None
        assert answer.value is not None
        totals = master.totals(answer.values)
        return RelaxedPoint(
            value=answer.value * self._scale, x=master.wish(answer.values["z"]),
            numerator=totals.numerator, progress=totals.progress, ratio=totals.ratio,
            prices=master.prices(self._engine.duals),
        )  # fmt: skip
