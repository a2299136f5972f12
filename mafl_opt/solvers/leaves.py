"""Leaves of the branching on A_j: boxes, what bounds them, how they are cut and split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.boxes import BoxRules
from mafl_opt.formulations.pricing import Prices, lagrangian_bound
from mafl_opt.formulations.problem import Problem

__all__ = ["Leaf", "RelaxedPoint", "cut", "reprice"]

Floats = NDArray[np.float64]

# A box whose envelope is this close to the ratio, relative to the incumbent, is not worth a split.
_ENVELOPE_WORTH = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RelaxedPoint:
    """Optimum of the relaxation on a box.

    value : float
        Optimum of the relaxation; not a bound to rely on, that is `lagrangian_bound`'s.
    x : (columns,)
    numerator, progress, ratio : (weighted tasks,)
        N_j, A_j and the envelope's value of N_j / A_j.
    prices : Prices
    """

    value: float
    x: Floats
    numerator: Floats
    progress: Floats
    ratio: Floats
    prices: Prices


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leaf:
    """A range of A, the best bound known for it and the prices that prove it."""

    low: Floats
    high: Floats
    bound: float
    prices: Prices

    def to_dict(self) -> dict[str, Any]:
        """Return the leaf as a certificate lists it."""
        return {
            "progress_min": self.low.tolist(),
            "progress_max": self.high.tolist(),
            "prices": self.prices.to_dict(),
        }


def reprice(problem: Problem, rules: BoxRules, leaf: Leaf, prices: Prices, top: float) -> Leaf:
    """Give a leaf the new prices if they prove more than the ones it had."""
    box = rules.box(leaf.low, leaf.high, top)
    bound, _, _ = lagrangian_bound(problem.scenario, problem.columns, problem.program, prices, box)
    if bound <= leaf.bound:
        return leaf
    return Leaf(low=leaf.low, high=leaf.high, bound=bound, prices=prices)


def cut(
    rules: BoxRules, leaf: Leaf, point: RelaxedPoint, top: float
) -> tuple[list[Leaf], list[Leaf]]:
    """Cut off what cannot beat the incumbent; split the rest where the envelope is loose.

    Returns
    -------
    slabs : list
        Cut off, each proved to hold nothing below `top`.
    children : list
        What is left: two leaves, or one when a split does not pay.
    """
    if leaf.bound >= top:
        return [], [leaf]
    low, high = rules.keep(leaf.low, leaf.high, top, leaf.prices, top - leaf.bound)
    slabs = []
    for j in range(low.size):
        for first, last in ((leaf.low[j], low[j]), (high[j], leaf.high[j])):
            if last > first:
                slab_low, slab_high = leaf.low.copy(), leaf.high.copy()
                slab_low[j], slab_high[j] = first, last
                slabs.append(Leaf(low=slab_low, high=slab_high, bound=top, prices=leaf.prices))
    used = np.flatnonzero(rules.weight > 0)
    loose = rules.weight[used] * (point.numerator / point.progress - point.ratio)
    rest = Leaf(low=low, high=high, bound=leaf.bound, prices=leaf.prices)
    if loose.max() < _ENVELOPE_WORTH * top:
        return slabs, [rest]
    j = used[int(np.argmax(loose))]
    width = high[j] - low[j]
    at = float(
        np.clip(point.progress[int(np.argmax(loose))], low[j] + 0.2 * width, high[j] - 0.2 * width)
    )
    left, right = high.copy(), low.copy()
    left[j] = right[j] = at
    return slabs, [
        Leaf(low=low, high=left, bound=leaf.bound, prices=leaf.prices),
        Leaf(low=right, high=high, bound=leaf.bound, prices=leaf.prices),
    ]
