"""The ratio block of a task on a box of A and of the excess Y = Xi - Gamma' / A, in closed form.

With N = Gamma' + Y A the Lagrangian of a task's totals is gamma (Gamma' / A + Y) - lam (Gamma' +
Y A) + mu A. Most of the ratio, Gamma' / A, is convex; on a box the rest loses a quarter of the
product of the widths of A and Y at most, so both are branched on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.boxes import BoxRules

__all__ = ["RatioBox", "block_minimum", "root_box", "tighten"]

Floats = NDArray[np.float64]

_HAIR = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RatioBox:
    """Ranges of A_j and of Y_j = (N_j - Gamma'_j) / A_j; arrays of shape (tasks,)."""

    progress_min: Floats
    progress_max: Floats
    excess_min: Floats
    excess_max: Floats

    def cut(self, name: str, task: int, at: float) -> tuple[RatioBox, RatioBox]:
        """Split the range of ``progress`` or ``excess`` of a task; low and high part."""
        arrays = {n: getattr(self, n).copy() for n in self.__slots__}
        low, high = dict(arrays), dict(arrays)
        low[f"{name}_max"] = arrays[f"{name}_max"].copy()
        high[f"{name}_min"] = arrays[f"{name}_min"].copy()
        low[f"{name}_max"][task] = min(at, low[f"{name}_max"][task])
        high[f"{name}_min"][task] = max(at, high[f"{name}_min"][task])
        return RatioBox(**low), RatioBox(**high)


def root_box(rules: BoxRules, incumbent: float) -> RatioBox:
    """Ranges that every plan with an objective below `incumbent` keeps (fact 6)."""
    low, high = rules.root(incumbent)
    used = rules.weight > 0
    whole = RatioBox(
        progress_min=low * (1 - _HAIR), progress_max=high * (1 + _HAIR),
        excess_min=np.where(used, rules.slope * (1 - _HAIR), 0.0),
        excess_max=np.where(used, np.inf, 0.0),
    )  # fmt: skip
    return tighten(rules, whole, incumbent)


def tighten(rules: BoxRules, box: RatioBox, incumbent: float) -> RatioBox:
    """Cut the upper ends of Y, and the lower ends of A, to what the other tasks leave over."""
    used = rules.weight > 0
    convex = np.zeros_like(rules.weight)
    np.divide(rules.start, box.progress_max, out=convex, where=used & (box.progress_max > 0))
    terms = np.where(used, rules.weight * (convex + box.excess_min), 0.0)
    most = np.full_like(terms, np.inf)
    np.divide(incumbent - (terms.sum() - terms), rules.weight, out=most, where=used)
    most = np.maximum(most, 0.0) * (1 + _HAIR)
    low, spare = np.zeros_like(terms), most - box.excess_min
    np.divide(rules.start, spare, out=low, where=used & (spare > 0))
    # Nothing spare: no plan is left, and an empty range says so.
    low[used & (spare <= 0)] = np.inf
    return RatioBox(
        progress_min=np.where(
            used, np.maximum(box.progress_min, low * (1 - _HAIR)), box.progress_min
        ),
        progress_max=box.progress_max,
        excess_min=box.excess_min,
        excess_max=np.where(used, np.minimum(box.excess_max, most - convex), box.excess_max),
    )  # fmt: skip


def block_minimum(
    rules: BoxRules, box: RatioBox, j: int, error_price: float, progress_price: float
) -> float:
    """Minimise gamma (Gamma' / A + Y) - lam (Gamma' + Y A) + mu A over a task's box.

    For given A it is linear in Y, so Y is at an end; each end is closed form in A. Infinite when
    the box holds no point.
    """
    gamma, start = float(rules.weight[j]), float(rules.start[j])
    # What is empty by a hair here may not be in another's arithmetic.
    low, high = float(box.progress_min[j]) * (1 - _HAIR), float(box.progress_max[j])
    least, most = float(box.excess_min[j]) * (1 - _HAIR), float(box.excess_max[j])
    if low > high or least > most or high <= 0:
        return math.inf
    best = math.inf
    for y in (least, most):
        slope = progress_price - error_price * y
        wish = math.sqrt(gamma * start / slope) if slope > 0 else high
        for a in {low, min(max(wish, low), high), high}:
            convex = gamma * start / a if start > 0 else 0.0
            best = min(best, convex + gamma * y + slope * a)
    return best - error_price * start
