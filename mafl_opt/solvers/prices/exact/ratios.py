"""The ratio block of a task, gamma Xi - lam Xi A + mu A, on a box of A and Xi, in closed form.

With N = Xi A the Lagrangian of a task's totals is bilinear. On a box the loss against gamma N / A
is a quarter of the product of the two relative widths at most, so both A and Xi are branched on.
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
    """Ranges of A_j and of Xi_j = N_j / A_j; arrays of shape (tasks,)."""

    progress_min: Floats
    progress_max: Floats
    ratio_min: Floats
    ratio_max: Floats

    def cut(self, name: str, task: int, at: float) -> tuple[RatioBox, RatioBox]:
        """Split the range of ``progress`` or ``ratio`` of a task; low and high part."""
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
    most = np.zeros_like(low)
    np.divide(incumbent - rules.rest, rules.weight, out=most, where=used)
    least = np.zeros_like(low)
    np.divide(rules.start, high, out=least, where=used & (high > 0))
    least = np.where(used, least + rules.slope, 0.0)
    return RatioBox(
        progress_min=low * (1 - _HAIR), progress_max=high * (1 + _HAIR),
        ratio_min=least * (1 - _HAIR), ratio_max=np.maximum(most, 0.0) * (1 + _HAIR),
    )  # fmt: skip


def tighten(rules: BoxRules, box: RatioBox, incumbent: float) -> RatioBox:
    """Cut the upper ends of Xi, and the lower ends of A, to what the other tasks leave over."""
    used = rules.weight > 0
    least = np.zeros_like(rules.weight)
    np.divide(rules.start, box.progress_max, out=least, where=used & (box.progress_max > 0))
    least = np.where(used, np.maximum(least + rules.slope, box.ratio_min), 0.0)
    terms = rules.weight * least
    most = np.full_like(terms, np.inf)
    np.divide(incumbent - (terms.sum() - terms), rules.weight, out=most, where=used)
    most = np.minimum(box.ratio_max, np.maximum(most, 0.0) * (1 + _HAIR))
    low, spare = np.zeros_like(terms), most - rules.slope
    np.divide(rules.start, spare, out=low, where=used & (spare > 0))
    return RatioBox(
        progress_min=np.maximum(box.progress_min, low * (1 - _HAIR)),
        progress_max=box.progress_max,
        ratio_min=np.maximum(box.ratio_min, least * (1 - _HAIR)), ratio_max=most,
    )  # fmt: skip


def block_minimum(
    rules: BoxRules, box: RatioBox, j: int, error_price: float, progress_price: float
) -> float:
    """Minimise gamma Xi - lam Xi A + mu A over a task's box with Xi >= Gamma'/A + rho.

    For fixed A the block is linear in Xi, so Xi is at an end; each end is closed form in A.
    Infinite when the box holds no point.
    """
    gamma, start, slope = float(rules.weight[j]), float(rules.start[j]), float(rules.slope[j])
    low, high = float(box.progress_min[j]), float(box.progress_max[j])
    least, most = float(box.ratio_min[j]), float(box.ratio_max[j])
    spare = most - slope
    if start > 0:
        if spare <= 0:
            return math.inf
        low = max(low, start / spare)
    elif spare < 0:
        return math.inf
    # What is empty by a hair here may not be in another's arithmetic.
    low, least = low * (1 - _HAIR), least * (1 - _HAIR)
    if low > high or least > most:
        return math.inf
    lam, mu = error_price, progress_price

    def value(ratio: float, a: float) -> float:
        return gamma * ratio - lam * ratio * a + mu * a

    best = min(value(most, low), value(most, high))
    # Above `bend` the box's own lower end of Xi is what binds.
    bend = start / (least - slope) if least > slope else math.inf
    if bend <= high:
        best = min(best, value(least, max(low, bend)), value(least, high))
    if low <= bend:
        end = min(high, bend)
        pull = mu - lam * slope
        wish = math.sqrt(gamma * start / pull) if pull > 0 else end
        for a in (low, end, min(max(wish, low), end)):
            best = min(best, value(start / a + slope, a))
    return best
