"""Ranges of progress and excess of every task, and of numbers of sessions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.boxes import BoxRules
from mafl_opt.solvers.prices.patterns.multipliers import Count

__all__ = ["Box", "block_minimum", "cut", "root_box", "tighten"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Box:
    """Where the totals of a plan lie; arrays of shape (tasks,).

    Attributes
    ----------
    low, high : A_j
    excess_low, excess_high : Y_j = Xi_j - Gamma'_j / A_j
    counts : smallest and largest numbers of sessions, where they are limited
    """

    low: Floats
    high: Floats
    excess_low: Floats
    excess_high: Floats
    counts: Mapping[Count, tuple[int, float]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def empty(self) -> bool:
        """Whether no plan is in it."""
        return bool(
            (self.low > self.high).any() or (self.excess_low > self.excess_high).any()
        ) or any(low > high for low, high in self.counts.values())


def root_box(rules: BoxRules) -> Box:
    """Return the ranges of all plans."""
    none = np.zeros_like(rules.weight)
    return Box(
        low=rules.progress_least.copy(), high=np.where(rules.weight > 0, rules.progress_most, 0.0),
        excess_low=np.where(rules.weight > 0, rules.slope, 0.0), excess_high=none + np.inf,
    )  # fmt: skip


def tighten(rules: BoxRules, box: Box, top: float) -> Box:
    """Leave of a box what plans with O < top can be in (model page, fact 6)."""
    used = np.flatnonzero(rules.weight > 0)
    w, start = rules.weight[used], rules.start[used]
    low, high = box.low.copy(), box.high.copy()
    least, most = box.excess_low.copy(), box.excess_high.copy()
    for _ in range(3):
        if (low > high).any() or (least > most).any():
            break
        terms = w * (start / high[used] + least[used])
        # The most a task's ratio can be.
        ratio = (top - (terms.sum() - terms)) / w
        spare = ratio - least[used]
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(spare > 0, start / spare, np.where(start > 0, np.inf, 0.0))
        low[used] = np.maximum(low[used], reach)
        most[used] = np.minimum(most[used], ratio - start / high[used])
    return replace(box, low=low, high=high, excess_low=least, excess_high=most)


def cut(box: Box, kind: str, task: int, at: float) -> tuple[Box, Box]:
    """Return the two sides of a value of A_j (`progress`) or Y_j (`excess`)."""
    names = ("low", "high") if kind == "progress" else ("excess_low", "excess_high")
    low, high = getattr(box, names[0]).copy(), getattr(box, names[1]).copy()
    high[task] = low[task] = at
    return replace(box, **{names[1]: high}), replace(box, **{names[0]: low})


def block_minimum(
    weight: float, start: float, ends: tuple[float, float], excess: tuple[float, float],
    error: float, progress: float,
) -> float:  # fmt: skip
    """Minimise gamma (Gamma' / A + Y) - lam Y A + mu A over ranges of A and Y (eq. 45b)."""
    best = math.inf
    for y in excess:
        slope = progress - error * y
        at = math.sqrt(weight * start / slope) if slope > 0 else ends[1]
        a = min(max(at, ends[0]), ends[1])
        best = min(best, weight * (start / a + y) + slope * a)
    return best
