"""Boxes of (N_j, A_j): where a plan better than the incumbent must lie (model page, fact 6).

A box is kept as its ranges of A only; the range of N follows from it, so that a certificate needs
to list nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.bound import initial_error
from mafl_opt.formulations.pricing import Box, Prices, ratio_minimum
from mafl_opt.formulations.problem import Problem

__all__ = ["BoxRules", "UnitScales", "box_rules", "trim"]

Floats = NDArray[np.float64]
_BISECTIONS = 40
# Ranges are widened by this, more than round-off and the checker's own widening together.
_MARGIN = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxRules:
    """Figures every box of a problem rests on; arrays of shape (tasks,).

    weight : gamma_j
    start : Gamma'_j
    slope : rho_j = min over columns of phi / a
    progress_least : smallest a of a column; a plan without any does not train the task
    progress_most : largest A_j that step caps and uplinks admit, slot by slot
    rest : lower bound of the other tasks' terms of O
    """

    weight: Floats
    start: Floats
    slope: Floats
    progress_least: Floats
    progress_most: Floats
    rest: Floats

    def root(self, incumbent: float) -> tuple[Floats, Floats]:
        """Range of A_j of any plan with an objective below `incumbent`; two arrays (tasks,).

        Below the range, gamma_j (Gamma'_j / A_j + rho_j) + rest_j alone exceeds the incumbent.
        """
        used = self.weight > 0
        low = np.zeros_like(self.weight)
        room = incumbent - self.rest - self.weight * self.slope
        # No room at all: the incumbent cannot be beaten, and an empty box says the same.
        np.divide(self.weight * self.start, room, out=low, where=used & (room > 0))
        low[used & (room <= 0)] = self.progress_most[used & (room <= 0)]
        low = np.maximum(low, self.progress_least)
        return np.where(used, np.minimum(low, self.progress_most), 0.0), self.progress_most.copy()

    def scales(self, top: float) -> UnitScales:
        """Return the scales of plans with an objective up to `top` > 0."""
        progress = np.where(self.progress_most > 0, self.progress_most, 1.0)
        return UnitScales(progress=progress, error=self.weight / progress / top)

    def tolerance_loss(self, top: float, tolerance: float, absorbed: int) -> float:
        """How far a solver's tolerance on rows can move the objective, as a part of `top`.

        A row missed by `tolerance` in the units of `scales` moves N'/A' <= 1 by that over A', at
        its least A'. A coefficient below the tolerance may be dropped besides: `absorbed` of them
        can be in a plan, where the least progress of a task is one.
        """
        used = np.flatnonzero(self.weight > 0)
        unit = self.scales(top).progress[used]
        low = np.maximum(self.root(top)[0][used] / unit, tolerance)
        rows = 3.0 + absorbed * (self.progress_least[used] / unit < tolerance)
        return float((2.0 * rows * tolerance / low).sum())

    def box(self, low: Floats, high: Floats, incumbent: float) -> Box:
        """Complete a range of A by the range of N of plans below `incumbent`."""
        used = self.weight > 0
        most = np.zeros_like(low)
        np.divide((incumbent - self.rest) * high, self.weight, out=most, where=used)
        most = np.maximum(most, 0.0)
        least = np.minimum(self.start + self.slope * low, most)
        return Box(numerator_min=least, numerator_max=most, progress_min=low, progress_max=high)

    def keep(
        self, low: Floats, high: Floats, incumbent: float, prices: Prices, slack: float
    ) -> tuple[Floats, Floats]:
        """Shrink a range of A to where the Lagrangian stays below the incumbent.

        Parameters
        ----------
        low, high : (tasks,)
        incumbent : float
        prices : Prices
        slack : float
            Incumbent minus the Lagrangian of the whole box.

        Returns
        -------
        low, high : (tasks,)
            What is cut off has a Lagrangian of at least the incumbent at the same prices, task by
            task, each cut taken with the other tasks at their full range.
        """
        kept_low, kept_high = low.copy(), high.copy()
        box = self.box(low, high, incumbent)
        for j in np.flatnonzero(self.weight > 0):
            block = RatioBlock(
                weight=float(self.weight[j]), error_price=float(prices.numerator[j]),
                progress_price=float(prices.progress[j]),
                numerator=(float(box.numerator_min[j]), float(box.numerator_max[j])),
            )  # fmt: skip
            kept_low[j], kept_high[j] = trim(block.least, float(low[j]), float(high[j]), slack)
        return kept_low, kept_high


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitScales:
    """Scales for numerical solvers; A_j and every term of O are then in [0, 1] below an objective.

    With ``A' = A / progress`` and ``N' = error * N``, ``N' / A' = gamma N / A / top``.

    progress, error : (tasks,)
    """

    progress: Floats
    error: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioBlock:
    """One task's part of the Lagrangian, gamma N / A - lam N + mu A, over a range of N."""

    weight: float
    error_price: float
    progress_price: float
    numerator: tuple[float, float]

    def least(self, low: float, high: float) -> float:
        """Minimum for A in [low, high]."""
        box = (*self.numerator, low, high)
        return ratio_minimum(self.weight, self.error_price, self.progress_price, box)[0]


def trim(
    least: Callable[[float, float], float], low: float, high: float, slack: float
) -> tuple[float, float]:
    """Cut both ends of [low, high] as far as the minimum there stays `slack` above.

    Parameters
    ----------
    least : callable
        Minimum over a part of the range.
    low, high : float
    slack : float
    """
    limit = least(low, high) + slack
    first = _furthest(lambda a: least(low, a) >= limit, low, high)
    last = _furthest(lambda a: least(a, high) >= limit, high, first)
    return first, last


def _furthest(good: Callable[[float], bool], start: float, end: float) -> float:
    """Furthest point from `start` towards `end` up to which `good` holds, by bisection."""
    if not good(start):
        return start
    near, far = start, end
    for _ in range(_BISECTIONS):
        middle = 0.5 * (near + far)
        near, far = (middle, far) if good(middle) else (near, middle)
    return near


def box_rules(problem: Problem) -> BoxRules:
    """Derive the figures of a problem's boxes.

    Every task of positive weight must have a column.
    """
    s, c = problem.scenario, problem.columns
    slope, least = np.full(s.num_tasks, np.inf), np.full(s.num_tasks, np.inf)
    np.minimum.at(slope, c.task, c.error_at(c.batch_hi) / c.progress)
    np.minimum.at(least, c.task, c.progress)
    most, start = _progress_most(problem), initial_error(s)
    used = s.tasks.weight > 0
    terms = np.zeros(s.num_tasks)
    terms[used] = s.tasks.weight[used] * (start[used] / most[used] + slope[used])
    return BoxRules(
        weight=s.tasks.weight,
        start=start,
        slope=np.where(used, slope, 0.0),
        progress_least=np.where(used, least * (1.0 - _MARGIN), 0.0),
        progress_most=most,
        rest=terms.sum() - terms,
    )


def _progress_most(problem: Problem) -> Floats:
    """Largest A_j: in every slot the step cap's half, or what the uplinks can bring."""
    s, c = problem.scenario, problem.columns
    best = np.zeros((s.num_slots, s.num_tasks, s.num_devices))
    np.maximum.at(best, (c.upload - 1, c.task, c.device), c.progress)
    best = -np.sort(-best, axis=2)
    fits = np.arange(s.num_devices) < s.network.uplink_capacity[:, None, None]
    per_slot = np.minimum((best * fits).sum(axis=2), s.tasks.step_cap / 2.0)
    return np.asarray(per_slot.sum(axis=0) * (1.0 + _MARGIN))
